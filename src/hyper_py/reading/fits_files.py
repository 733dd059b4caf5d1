"""Opening FITS files: their images are listed, and planes are read one at a time."""

import os
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from astropy.io import fits
from astropy.io.fits.verify import VerifyError
from astropy.utils.exceptions import AstropyWarning

from hyper_py.arrays import FloatArray
from hyper_py.diagnostics import InputError
from hyper_py.files import open_regular
from hyper_py.geometry import ARCSEC_PER_RADIAN, Beam
from hyper_py.reading.casa import write_casa_as_fits
from hyper_py.reading.headers import ERROR_WORDS, REMARKS, number, ordered_beam
from hyper_py.reading.recognise import is_casa_image
from hyper_py.reading.unpacking import BLOCK, end_of_hdus, is_packed, unpack

_SUFFIXES = re.compile(r"(\.fits?|\.fts|\.image)?(\.(gz|fz|bz2|z))?$", re.IGNORECASE)
_COPY_STEP = 1000 * BLOCK
_MOST_CHANNELS = 10_000_000
_BLOCK_VALUES = 4_000_000
_LARGEST_VALUE = 1e100
"""Squares of larger values overflow; no map has such values."""
_OWN_MESSAGE = re.compile(r"Header size is not multiple")


@dataclass(frozen=True, kw_only=True)
class FitsFile:
    """An open FITS file.

    Attributes
    ----------
    path : Path
    hdus : list of astropy HDUs
    images : dict
        Index of each HDU that holds an image of two axes or more, and its shape.
    notes : list of str
        Warnings of astropy while the file was read.
    """

    path: Path
    hdus: list[Any]
    images: dict[int, tuple[int, ...]]
    notes: list[str]
    _headers: dict[int, fits.Header] = field(default_factory=dict)

    @property
    def primary(self) -> Any:
        """Header of the first HDU."""
        return self.header(0)

    def header(self, index: int) -> Any:
        """Header of an HDU, in which every value can be read; see `readable_header`."""
        if index not in self._headers:
            self._headers[index] = readable_header(self.hdus[index].header)
        return self._headers[index]

    def label(self, index: int) -> str:
        """Return number and name of an HDU, for messages."""
        return f"HDU {index} {self.hdus[index].name}".rstrip()

    def describe(self) -> str:
        """List of the HDUs, for messages."""
        texts = []
        for i, hdu in enumerate(self.hdus):
            size = "x".join(map(str, self.images[i][::-1])) if i in self.images else "no image"
            texts.append(f"{i} {hdu.name or '(no name)'} {size}")
        return ", ".join(texts)


def readable_header(header: fits.Header) -> fits.Header:
    """Return a copy in which values that break the rules of FITS are texts, unlike values that are absent."""
    result = fits.Header()
    for card in header.cards:
        try:
            is_remark = card.keyword in REMARKS  # any text will do
            result.append(card if is_remark else (card.keyword, card.value, card.comment), end=True)
        except (ValueError, VerifyError):
            keyword, text = card.image[:8].strip(), card.image[9:].strip()
            if keyword.replace("-", "").replace("_", "").isalnum():
                result.append((keyword.upper(), text.encode("ascii", "replace").decode()[:60]), end=True)
    return result


def map_name(path: str | Path) -> str:
    """Return the name of a file without .fits, .fit, .fts, .gz, .fz, .bz2, .Z."""
    return _SUFFIXES.sub("", Path(path).name) or Path(path).name


@contextmanager
def translated(path: Path, action: str) -> Iterator[None]:
    """Turn any error of astropy about a broken file into one line; these errors have no common class."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        text = re.sub(r"\s+", " ", str(error)).strip()[:160] or type(error).__name__
        text = "no SIMPLE card at its beginning" if text.startswith("No SIMPLE card") else text
        raise InputError(f"{path.name}: {action}: {text}") from error


@contextmanager
def open_fits(path: str | Path) -> Iterator[FitsFile]:
    """Open a FITS file, also gzipped or tile-compressed, and list its images.

    A packed file is unpacked, and a CASA image written as FITS, to a temporary file on disk. Planes can then
    be read in any order without keeping the file in memory; in a gzipped file every step back would start
    again at its beginning.

    Parameters
    ----------
    path : str or Path

    Yields
    ------
    FitsFile
        Use it inside `warnings_into(file.notes)`: astropy's warnings then go there.

    Raises
    ------
    InputError
        If there is no such file, it is not FITS, or its size is not what its headers say.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file")
    notes: list[str] = []
    with ExitStack() as stack:
        with warnings_into(notes), translated(path, "not a FITS file that can be read"):
            # Our own handle, since astropy leaves its own open when it fails; no memory map, since planes are
            # read one at a time and the pages of a map would pile up.
            handle = _plain_stream(path, stack, notes)
            hdus = list(stack.enter_context(fits.open(handle, memmap=False, lazy_load_hdus=False)))
            images = {i: tuple(hdu.shape) for i, hdu in enumerate(hdus) if _is_image(hdu)}
        yield FitsFile(path=path, hdus=hdus, images=images, notes=notes)


@contextmanager
def open_stream(stream: IO[bytes], *, name: str) -> Iterator[FitsFile]:
    """Open FITS that is in memory, as `open_fits` does a file; `name` is that of the map in messages."""
    notes: list[str] = []
    with ExitStack() as stack:
        with warnings_into(notes), translated(Path(name), "not FITS that can be read"):
            hdus = list(stack.enter_context(fits.open(stream, memmap=False, lazy_load_hdus=False)))
            images = {i: tuple(hdu.shape) for i, hdu in enumerate(hdus) if _is_image(hdu)}
        yield FitsFile(path=Path(name), hdus=hdus, images=images, notes=notes)


def _plain_stream(path: Path, stack: ExitStack, notes: list[str]) -> IO[bytes]:
    """Open the file, or a temporary copy of it, unpacked and without padding after the last HDU.

    The sizes in the headers are checked before astropy reads them: astropy would loop over an absurd NAXIS,
    fail at padding, and ignore a wrong BITPIX. A temporary file has no name: nothing can leave it behind.
    """
    if is_casa_image(path):
        return _without_name(stack, lambda target: write_casa_as_fits(path, target))
    if is_packed(path):
        plain = _without_name(stack, lambda target: unpack(path, target))
    else:
        plain = stack.enter_context(open_regular(path))
    size = plain.seek(0, os.SEEK_END)
    plain.seek(0)
    # No file system can seek as far as a header can promise.
    end = end_of_hdus(plain, path.name, skip=lambda n: plain.seek(min(plain.tell() + n, size)))
    plain.seek(0)
    if end == 0:
        if size and not plain.read(6) == b"SIMPLE":
            raise OSError("No SIMPLE card found")
        plain.seek(0)
        return plain
    if end - BLOCK >= size:
        raise InputError(
            f"{path.name}: the file is cut short: it has {size} bytes, its headers ask for {end}"
        )
    plain.seek(end)
    rest = plain.read(BLOCK)
    plain.seek(0)
    if rest.strip(b"\0 "):
        if len(rest) == BLOCK:
            raise InputError(
                f"{path.name}: data continue beyond the end given by the headers: a header is wrong"
            )
        notes.append(f"{len(rest)} stray byte{'s' * (len(rest) > 1)} at the end of the file")
    if len(rest) < BLOCK:
        return plain

    def copy(target: IO[bytes]) -> None:
        for at in range(0, end, _COPY_STEP):
            target.write(plain.read(min(_COPY_STEP, end - at)))

    return _without_name(stack, copy)


def _without_name(stack: ExitStack, write: Callable[[IO[bytes]], None]) -> IO[bytes]:
    """Return a temporary file without a name, written by a function and opened for reading."""
    with tempfile.TemporaryFile() as temporary:
        write(temporary)
        temporary.flush()
        stream = stack.enter_context(os.fdopen(os.dup(temporary.fileno()), "rb"))
    stream.seek(0)
    return stream


@contextmanager
def warnings_into(notes: list[str]) -> Iterator[None]:
    """Collect astropy's warnings as texts; others pass."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        text = re.sub(r"\s+", " ", str(warning.message)).strip()[:160]
        if not issubclass(warning.category, AstropyWarning):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        elif text not in notes and not _OWN_MESSAGE.search(text):
            notes.append(text)


def _is_image(hdu: Any) -> bool:
    """Tell whether an HDU holds an image of at least two axes, none of them empty."""
    if not isinstance(hdu, fits.PrimaryHDU | fits.ImageHDU | fits.CompImageHDU):
        return False
    return len(hdu.shape) >= 2 and min(hdu.shape) > 0


def choose_hdu(file: FitsFile, hdu: int | str | None, *, option: str = "io.hdu") -> int:
    """Return the index of the HDU asked for, or of the one that holds the map.

    Parameters
    ----------
    file : FitsFile
    hdu : int, str or None
        Number, or name (EXTNAME, any case); None finds the first image whose name is not that of an error,
        coverage or mask.
    option : str
        Named in messages.

    Raises
    ------
    InputError
        If there is no such image; the message lists what there is.
    """
    if hdu is not None:
        text = str(hdu).strip()
        if text.lstrip("-").isdigit():
            found = [i for i in file.images if i == int(text)]
        else:
            found = [i for i in file.images if file.hdus[i].name.lower() == text.lower()]
        if found:
            return found[0]
        raise InputError(
            f"{file.path.name}: no image in HDU {hdu}; the file has {file.describe()}: set {option}"
        )
    if not file.images:
        raise InputError(
            f"{file.path.name}: no image of two axes or more in the file, which has {file.describe()}"
        )
    maps = [i for i in file.images if not ERROR_WORDS.search(file.hdus[i].name)]
    if not maps:
        raise InputError(
            f"{file.path.name}: no image is named as a map; the file has {file.describe()}: set {option}"
        )
    if len(maps) > 1:
        others = ", ".join(file.label(i) for i in maps[1:])
        file.notes.append(f"{file.label(maps[0])} was taken, not {others}: set {option} for another")
    return maps[0]


def check_scaling(file: FitsFile, index: int) -> None:
    """Raise an error if the scaling of integers is unusable; astropy would silently ignore it."""
    header = file.header(index)
    scale = number(header, "BSCALE")
    number(header, "BZERO")
    if scale == 0:
        raise InputError("BSCALE = 0 makes every pixel the same: correct the file")
    blank = header.get("BLANK")
    if (
        blank is not None
        and int(header["BITPIX"]) > 0
        and (isinstance(blank, bool) or not isinstance(blank, int))
    ):
        raise InputError(f"BLANK = {blank!r} is not an integer: correct the file")
    bits = int(header["BITPIX"])
    low, high = (0, 255) if bits == 8 else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    if blank is not None and bits > 0 and not low <= blank <= high:
        file.notes.append(f"BLANK = {blank} is no value of {bits}-bit integers: no pixel is blank by it")


def header_blank(header: Any) -> float | None:
    """Return BLANK of floating-point data, where FITS gives it no meaning; None if there is none."""
    value = header.get("BLANK")
    known = isinstance(value, int | float) and not isinstance(value, bool) and int(header["BITPIX"]) < 0
    return float(value) if known else None


def read_plane(file: FitsFile, index: int, *, x: int, y: int, fixed: dict[int, int]) -> FloatArray:
    """Read one plane of an image, and no other pixels.

    Parameters
    ----------
    file : FitsFile
    index : int
        HDU.
    x, y : int
        FITS numbers of the axes that stay, x < y.
    fixed : dict
        Zero-based position on each other axis, by its FITS number.

    Returns
    -------
    ndarray, shape (ny, nx)
        float64 in the file's unit; blank and infinite pixels are NaN.

    Raises
    ------
    InputError
        If the data cannot be read, or has absurdly large values.
    """
    shape, section = file.images[index], file.hdus[index].section
    key = tuple(slice(None) if axis in (x, y) else fixed[axis] for axis in range(len(shape), 0, -1))
    unreadable = translated(file.path, f"the data of HDU {index} cannot be read")
    with unreadable, np.errstate(over="ignore", invalid="ignore"):
        if (x, y) == (1, 2):
            plane = np.array(section[key], dtype=np.float64)
        else:  # astropy would read pixel by pixel across the fast axes: take blocks of the slowest instead
            slow = next(i for i, part in enumerate(key) if part == slice(None))
            step = max(1, _BLOCK_VALUES // int(np.prod(shape[slow + 1 :])))
            ranges = (slice(at, at + step) for at in range(0, shape[slow], step))
            blocks = [np.asarray(section[(*key[:slow], rows)])[(..., *key[slow + 1 :])] for rows in ranges]
            plane = np.concatenate(blocks).astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        _make_blank(plane, file.header(index))
    plane[~np.isfinite(plane)] = np.nan
    if np.abs(plane).max(initial=0.0, where=np.isfinite(plane)) > _LARGEST_VALUE:
        raise InputError(
            f"{file.path.name}: HDU {index} has values above {_LARGEST_VALUE:g}: correct BSCALE or the data"
        )
    return plane


def _make_blank(plane: FloatArray, header: Any) -> None:
    """Make the pixels blank whose integers are BLANK: astropy leaves those of 0 and of unsigned integers."""
    blank = header.get("BLANK")
    if int(header["BITPIX"]) > 0 and isinstance(blank, int) and not isinstance(blank, bool):
        scale, zero = number(header, "BSCALE"), number(header, "BZERO") or 0.0
        plane[np.rint((plane - zero) / (1.0 if scale is None else scale)) == float(blank)] = np.nan


def casa_beams(file: FitsFile) -> list[Beam | None]:
    """Return the beam of each channel from a CASA multi-beam table; empty if there is none.

    A channel without a usable beam (flagged channels have axes of zero) is None.
    """
    tables = [hdu for hdu in file.hdus if isinstance(hdu, fits.BinTableHDU) and hdu.name == "BEAMS"]
    if not tables:
        return []
    with translated(file.path, "the BEAMS table cannot be read"):
        table, columns = tables[0].data, tables[0].columns
        to_arcsec = {"arcsec": 1.0, "deg": 3600.0, "rad": ARCSEC_PER_RADIAN, "arcmin": 60.0, "": 1.0}
        axes = [
            np.asarray(table[name], dtype=np.float64)
            * to_arcsec[str(columns[name].unit or "").strip().lower()]
            for name in ("BMAJ", "BMIN")
        ]
        pa = np.asarray(table["BPA"], dtype=np.float64)
        if str(columns["BPA"].unit or "").strip().lower() == "rad":
            pa = np.degrees(pa)
        channel = np.asarray(table["CHAN"]) if "CHAN" in columns.names else np.arange(len(pa))
        first = np.asarray(table["POL"]) == 0 if "POL" in columns.names else np.ones(len(pa), dtype=bool)
        if len(channel) and not 0 <= channel.min() <= channel.max() < _MOST_CHANNELS:
            raise InputError(f"{file.path.name}: the BEAMS table names an impossible channel: correct CHAN")
        beams: list[Beam | None] = [None] * (int(channel.max()) + 1 if len(channel) else 0)
        for k, major, minor, angle in zip(
            channel[first], axes[0][first], axes[1][first], pa[first], strict=True
        ):
            if np.isfinite([major, minor, angle]).all() and min(major, minor) > 1e-4:
                source = f"CASA beams table, channel {k}"
                beams[int(k)] = ordered_beam(float(major), float(minor), float(angle), source=source)
    return beams
