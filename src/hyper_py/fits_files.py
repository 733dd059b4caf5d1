"""FITS files as they come: opened, their images listed, and planes read one at a time."""

import gzip
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning

from hyper_py.diagnostics import InputError
from hyper_py.geometry import ARCSEC_PER_RADIAN, Beam, FloatArray
from hyper_py.headers import ERROR_WORDS, number, ordered_beam

_SUFFIXES = re.compile(r"(\.fits?|\.fts)?(\.(gz|fz|bz2|z))?$", re.IGNORECASE)
_BLOCK = 2880
_LONGEST_HEADER = 2000 * _BLOCK
_BLOCK_VALUES = 4_000_000


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
        What astropy remarked while the file was read.
    """

    path: Path
    hdus: list[Any]
    images: dict[int, tuple[int, ...]]
    notes: list[str]

    @property
    def primary(self) -> Any:
        """Header of the first HDU."""
        return self.hdus[0].header

    def header(self, index: int) -> Any:
        """Header of an HDU."""
        return self.hdus[index].header

    def describe(self) -> str:
        """List of the HDUs, for messages."""
        texts = []
        for i, hdu in enumerate(self.hdus):
            size = "x".join(map(str, self.images[i][::-1])) if i in self.images else "no image"
            texts.append(f"{i} {hdu.name or '(no name)'} {size}")
        return ", ".join(texts)


def map_name(path: str | Path) -> str:
    """Return the name of a file without .fits, .fit, .fts, .gz, .fz, .bz2, .Z."""
    return _SUFFIXES.sub("", Path(path).name) or Path(path).name


@contextmanager
def translated(path: Path, action: str) -> Iterator[None]:
    """Turn whatever astropy raises on a broken file into one line: its errors have no common class."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        text = re.sub(r"\s+", " ", str(error)).strip()[:160] or type(error).__name__
        raise InputError(f"{path.name}: {action}: {text}") from error


@contextmanager
def open_fits(path: str | Path, *, seekable: bool = False) -> Iterator[FitsFile]:
    """Open a FITS file, also gzipped or tile-compressed, and list its images.

    Parameters
    ----------
    path : str or Path
    seekable : bool
        Unpack a gzipped file to a temporary one on disk, so that many planes can be read from it in any
        order: in a gzipped file every step back starts again from its beginning.

    Yields
    ------
    FitsFile
        Use it inside `warnings_into(file.notes)`: astropy's warnings then go there.

    Raises
    ------
    InputError
        If there is no such file, it is not FITS, or it is cut short.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    notes: list[str] = []
    with ExitStack() as stack:
        with warnings_into(notes), translated(path, "not a FITS file that can be read"):
            source = path
            if seekable and is_gzip(path):
                source = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "cube.fits"
                with gzip.open(path, "rb") as packed, source.open("wb") as plain:
                    shutil.copyfileobj(packed, plain, 1 << 20)
            hdus = _readable_hdus(source, stack)
            images = {i: tuple(hdu.shape) for i, hdu in enumerate(hdus) if _is_image(hdu)}
            _check_end(path, hdus, notes)
        yield FitsFile(path=path, hdus=hdus, images=images, notes=notes)


def _readable_hdus(path: Path, stack: ExitStack) -> list[Any]:
    """Return the HDUs; padding after the last, at which astropy stumbles, is cut off in a temporary copy.

    Without memory maps: planes are read one at a time, and the pages of a map would pile up.
    """
    try:
        return list(stack.enter_context(fits.open(path, memmap=False, lazy_load_hdus=False)))
    except OSError:
        end = _end_of_hdus(path)
        if end == 0:
            raise
        _check_rest(path, end, [])
        part = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "part.fits"
        with _opener(path)(path, "rb") as source, part.open("wb") as copy:
            for at in range(0, end, _BLOCK):
                copy.write(source.read(min(_BLOCK, end - at)))
        return list(stack.enter_context(fits.open(part, memmap=False, lazy_load_hdus=False)))


def _end_of_hdus(path: Path) -> int:
    """Return the byte at which the last HDU with a whole header ends, by its own account."""
    end = 0
    with _opener(path)(path, "rb") as stream:
        while end == stream.seek(end):
            header = b""
            while not re.search(rb"END {77}", header) and len(header) < _LONGEST_HEADER:
                block = stream.read(_BLOCK)
                if len(block) < _BLOCK or not block.isascii() or not (header or block[:8].strip(b"\0 ")):
                    return end
                header += block
            try:
                cards = fits.Header.fromstring(header)
                sizes = [int(cards[f"NAXIS{i}"]) for i in range(1, int(cards["NAXIS"]) + 1)]
                values = int(np.prod(sizes, dtype=object)) + int(cards.get("PCOUNT", 0)) if sizes else 0
                size = abs(int(cards["BITPIX"])) // 8 * values * int(cards.get("GCOUNT", 1))
            except (KeyError, ValueError, TypeError):
                return end
            end += len(header) + -(-size // _BLOCK) * _BLOCK
    return end


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
        elif text not in notes:
            notes.append(text)


def _is_image(hdu: Any) -> bool:
    """Tell whether an HDU holds an image of at least two axes, none of them empty."""
    if not isinstance(hdu, fits.PrimaryHDU | fits.ImageHDU | fits.CompImageHDU):
        return False
    return len(hdu.shape) >= 2 and min(hdu.shape) > 0


def _check_end(path: Path, hdus: list[Any], notes: list[str]) -> None:
    """Raise if the file is much shorter or longer than its headers say: then a header is wrong."""
    info = hdus[-1].fileinfo()
    end = info["datLoc"] + info["datSpan"]
    expansion = 1100 if is_gzip(path) else 1  # deflate compresses by 1032 at most
    if end - _BLOCK > expansion * path.stat().st_size:
        raise InputError(f"{path.name}: the file is cut short: its headers ask for {end} bytes")
    _check_rest(path, end, notes)


def _check_rest(path: Path, end: int, notes: list[str]) -> None:
    """Raise if data goes on after `end`; a few stray bytes, or padding by zeros or blanks, are harmless."""
    with _opener(path)(path, "rb") as stream:
        stream.seek(end)
        rest = stream.read(_BLOCK)
    if len(rest) == _BLOCK and rest.strip(b"\0 "):
        raise InputError(f"{path.name}: data goes on after the end that the headers give: a header is wrong")
    if rest.strip(b"\0 "):
        notes.append(f"{len(rest)} stray bytes at the end of the file")


def _opener(path: Path) -> Any:
    """Return the function that opens a file, gzipped or not."""
    return gzip.open if is_gzip(path) else open


def is_gzip(path: Path) -> bool:
    """Tell whether a file is gzipped, by its first bytes."""
    with path.open("rb") as stream:
        return stream.read(2) == b"\x1f\x8b"


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
        file.notes.append(f"HDU {maps[0]} was taken of {file.describe()}: set {option} for another")
    return maps[0]


def check_scaling(file: FitsFile, index: int) -> None:
    """Raise if the scaling of integers is unusable: astropy would pass over it in silence."""
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


def read_plane(file: FitsFile, index: int, *, x: int, y: int, fixed: dict[int, int]) -> FloatArray:
    """Read one plane of an image and nothing else of it.

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
    """
    shape, section = file.images[index], file.hdus[index].section
    key = tuple(slice(None) if axis in (x, y) else fixed[axis] for axis in range(len(shape), 0, -1))
    with translated(file.path, f"the data of HDU {index} cannot be read"):
        if (x, y) == (1, 2):
            plane = np.array(section[key], dtype=np.float64)
        else:  # astropy would read pixel by pixel across the fast axes: take blocks of the slowest instead
            slow = next(i for i, part in enumerate(key) if part == slice(None))
            step = max(1, _BLOCK_VALUES // int(np.prod(shape[slow + 1 :])))
            ranges = (slice(at, at + step) for at in range(0, shape[slow], step))
            blocks = [np.asarray(section[(*key[:slow], rows)])[(..., *key[slow + 1 :])] for rows in ranges]
            plane = np.concatenate(blocks).astype(np.float64)
    plane[~np.isfinite(plane)] = np.nan
    return plane


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
        beams: list[Beam | None] = [None] * (int(channel.max()) + 1 if len(channel) else 0)
        for k, major, minor, angle in zip(
            channel[first], axes[0][first], axes[1][first], pa[first], strict=True
        ):
            if np.isfinite([major, minor, angle]).all() and min(major, minor) > 1e-4:
                source = f"CASA beams table, channel {k}"
                beams[int(k)] = ordered_beam(float(major), float(minor), float(angle), source=source)
    return beams
