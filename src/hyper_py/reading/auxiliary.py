"""Further images of a map: its error, its mask, and the response of the primary beam."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray
from hyper_py.diagnostics import InputError
from hyper_py.geometry import celestial_degrees, pixel_from_celestial
from hyper_py.numerics.tiles import LazyPlane, kept_like, sample
from hyper_py.reading.areas import area_plane, is_area_file_name, is_area_name, is_moc_table, moc_plane
from hyper_py.reading.fits_files import FitsFile, choose_hdu, open_fits, read_plane
from hyper_py.reading.headers import celestial_wcs, header_unit
from hyper_py.reading.mapfacts import MapFacts
from hyper_py.reading.primary_beam import corrected_by_name
from hyper_py.reading.streamed import streamed_plane
from hyper_py.units import MapUnit, parse_unit

_FILE = re.compile(r"(?P<path>.+\.(?:fits?|fts)(?:\.(?:gz|fz))?)(?:\[(?P<hdu>[^\]]+)\])?", re.IGNORECASE)
_INVERSE = re.compile(r"(?<![a-z])ivar|inv_?var|inverse", re.IGNORECASE)
_VARIANCE = re.compile(r"var", re.IGNORECASE)
_NO_SCALE = re.compile(r"weight|wht|hit|cov|exp|samp|mask|flag|snr", re.IGNORECASE)
_ERRORS = re.compile(r"err|unc|std|sigma|var|rms|noise", re.IGNORECASE)
_WEIGHTS = re.compile(r"weight|wht|hit|coverage|exposure", re.IGNORECASE)
_SAME_PIXEL = 0.1
"""Pixels by which coordinates of a map and errors that are found may differ."""
_OTHER_PIXEL = 1.0
"""The same for what is named: more is another place."""


def is_file_name(where: str) -> bool:
    """Return whether a text names another file, and no HDU: `map.fits`, `map.fits[EXTENSION]`, an area's."""
    return _FILE.fullmatch(where) is not None or is_area_file_name(where)


def is_error_name(name: str) -> bool:
    """Return whether an HDU of this name holds errors, variances or inverse variances."""
    return _ERRORS.search(name) is not None


def find_error(file: FitsFile, facts: MapFacts) -> tuple[int | None, str]:
    """Find the extension with the errors of a map.

    Returns
    -------
    index : int or None
        Of the only HDU that is named as errors, variances or inverse variances and has the map's pixels.
    remark : str
        What was found, and the option; empty if there is nothing that looks like errors.
    """
    alike = [i for i in file.images if i != facts.index and _on_same_pixels(file, i, facts)]
    named = [i for i in alike if is_error_name(file.hdus[i].name)]
    usable = [i for i in named if not _NO_SCALE.search(file.hdus[i].name)]
    usable += [i for i in named if i not in usable and _INVERSE.search(file.hdus[i].name)]
    if len(usable) == 1:
        label = file.label(usable[0])
        return usable[0], f"{label} is used as the error map (io.error_hdu: null ignores it)"
    if usable:
        labels = ", ".join(map(file.label, usable))
        return None, f"{labels} may hold the errors of the map, none is used: set io.error_hdu to one of them"
    weights = [file.label(i) for i in alike if _WEIGHTS.search(file.hdus[i].name)]
    if weights:
        remark = f"{', '.join(weights)} may say where the map is noisy, but holds no errors in its unit: "
        return None, remark + "set io.error_hdu to a file that does, or mask loud edges with io.mask"
    return None, ""


def _on_same_pixels(file: FitsFile, index: int, facts: MapFacts) -> bool:
    """Return whether an HDU has the shape of the map and, if it has coordinates, the same sky."""
    if file.images[index] != file.images[facts.index]:
        return False
    apart = _pixels_apart(file, index, facts)
    return apart is not None and apart <= _SAME_PIXEL


def _pixels_apart(file: FitsFile, index: int, facts: MapFacts) -> float | None:
    """Return how far the pixels of an HDU are from those of the map on the sky, in pixels.

    0 if it has no coordinates; None if they cannot be used.
    """
    header = file.header(index)
    if "CRVAL1" not in header:
        return 0.0
    try:
        wcs, _, _ = celestial_wcs(header, [])
    except InputError:
        return None
    ny, nx = facts.shape
    corners = np.array([[0.0, 0.0], [nx - 1.0, 0.0], [0.0, ny - 1.0], [0.5 * nx, 0.5 * ny]])
    sky = celestial_degrees(facts.wcs, *corners.T)
    here, there = (pixel_from_celestial(one, *sky) for one in (facts.wcs, wcs))
    distance = np.abs(here - there)
    if (np.isfinite(here) != np.isfinite(there)).any():
        return np.inf
    return float(distance.max(initial=0.0, where=np.isfinite(distance)))


def read_error(
    file: FitsFile, facts: MapFacts, where: str | int | Path, *, channel: int, in_pieces: bool = False
) -> tuple[FloatArray, MapUnit]:
    """Read the 1-sigma error of a plane, from errors, variances or inverse variances.

    Parameters
    ----------
    file, facts : FitsFile, MapFacts
        The map's.
    where : str, int or Path
        Name or number of the HDU, or another file: `error.fits`, `error.fits[ERR]`.
    channel : int
        Zero-based.
    in_pieces : bool
        Whether the pixels stay in the file, and are read when they are needed.

    Returns
    -------
    error : ndarray, shape (ny, nx)
        NaN where the error is not positive. A `LazyPlane` if it is read in pieces.
    unit : MapUnit
        Of `error`; the map's own if the HDU has none.

    Raises
    ------
    InputError
        If there is no such HDU, its shape differs from the map's, it holds weights or coverage, or cannot be
        read in pieces.
    """
    option = "io.error_hdu"
    with _opened(file, where, option) as (place, index):
        name, header = place.hdus[index].name, place.header(index)
        plane = _plane(place, index, facts, channel=channel, option=option, in_pieces=in_pieces)
    if _NO_SCALE.search(name) and not _INVERSE.search(name):
        raise InputError(
            f"{facts.name}: HDU {name} has no errors in the map's unit: set {option} to one that has"
        )
    found = header_unit(header, {})
    text = facts.unit.text if found is None else found[0]
    inverse = _INVERSE.search(name) is not None
    squared = _squared_unit(text)
    variance = inverse or _VARIANCE.search(name) is not None or squared is not None

    def make(rows: slice, columns: slice) -> FloatArray:
        values = plane[rows, columns]
        with np.errstate(divide="ignore", invalid="ignore"):
            error = np.sqrt(1.0 / values if inverse else values) if variance else values.copy()
        error[~(np.isfinite(error) & (error > 0))] = np.nan
        return error

    unit = squared if squared is not None else facts.unit if inverse else _error_unit(text, name, facts, file)
    return cast(FloatArray, kept_like(LazyPlane(facts.shape, make), plane)), unit


def _error_unit(text: str, name: str, facts: MapFacts, file: FitsFile) -> MapUnit:
    """Return the unit of an error; raise an error if it is not usable."""
    try:
        unit = parse_unit(text)
    except InputError as error:
        raise InputError(f"{facts.name}: HDU {name}: {error}: correct its BUNIT") from error
    if _VARIANCE.search(name):
        file.notes.append(
            f"the unit of HDU {name}, '{text}', is not squared: its root is taken to be in {text}"
        )
    return unit


def _squared_unit(text: str) -> MapUnit | None:
    """Return the unit of which `text` is the square, such as Jy2/beam2; None if it is no square."""
    try:
        return parse_unit(text, squared=True)
    except InputError:
        return None


def read_mask(
    file: FitsFile,
    facts: MapFacts,
    where: str | int | Path | BoolArray,
    *,
    channel: int,
    option: str = "io.mask",
) -> BoolArray:
    """Read which pixels of a map a mask or an area holds.

    Parameters
    ----------
    file, facts, channel
        As in `read_error`.
    where : str, int, Path or ndarray of bool, shape (ny, nx)
        HDU or other FITS file, of which pixels hold that are not zero; or what
        `hyper_py.reading.areas.area_plane` takes, or a MOC in FITS.
    option : str
        Named in messages. Pixels that are not a number are part of `io.mask`, and of no other area.

    Returns
    -------
    ndarray of bool, shape (ny, nx)
    """
    if isinstance(where, np.ndarray):
        if where.shape != facts.shape:
            raise InputError(
                f"{facts.name}: mask of shape {where.shape} for a map of {facts.shape}: correct {option}"
            )
        return np.asarray(where, dtype=np.bool_)
    area = _area(facts, where, option=option)
    if area is not None:
        held: BoolArray = area[:, :] != 0.0
        return held
    with _opened(file, where, option) as (place, index):
        plane = _plane(place, index, facts, channel=channel, option=option)
    return _is_held(plane, option)


def streamed_mask(
    file: FitsFile,
    facts: MapFacts,
    where: str | int | Path | BoolArray,
    *,
    channel: int,
    option: str = "io.mask",
) -> LazyPlane | None:
    """Return the plane of a mask that is read in pieces: 1 where `read_mask` is True, else 0.

    None if the file cannot be read in pieces.
    """
    if isinstance(where, np.ndarray):
        mask = read_mask(file, facts, where, channel=channel, option=option)
        return LazyPlane(facts.shape, lambda rows, columns: mask[rows, columns].astype(np.float64))
    area = _area(facts, where, option=option)
    if area is not None:
        return area
    with _opened(file, where, option) as (place, index):
        x, y, fixed = _axes(place, index, facts, channel=channel, option=option)
        plane = streamed_plane(place, index, x=x, y=y, fixed=fixed)
    if plane is None:
        return None
    return LazyPlane(
        facts.shape, lambda rows, columns: _is_held(plane[rows, columns], option).astype(np.float64)
    )


def _is_held(plane: FloatArray, option: str) -> BoolArray:
    held: BoolArray = plane != 0.0  # not a number is not equal to zero
    return held if option == "io.mask" else held & ~np.isnan(plane)


def _area(facts: MapFacts, where: str | int | Path, *, option: str) -> LazyPlane | None:
    """Return an area that is no FITS image; None if it is one."""
    if isinstance(where, int):
        return None
    if is_area_name(str(where)):
        return area_plane(where, facts.wcs, facts.shape, option=option)
    match = _FILE.fullmatch(str(where))
    if match is None or match["hdu"] is not None:
        return None
    with open_fits(match["path"]) as other:
        is_moc = not other.images and any(is_moc_table(hdu.header) for hdu in other.hdus)
    return moc_plane(Path(match["path"]), facts.wcs, facts.shape, option=option) if is_moc else None


def read_primary_beam(
    file: FitsFile,
    facts: MapFacts,
    where: str | int | Path,
    *,
    corrected: bool | None,
    channel: int,
    in_pieces: bool = False,
) -> tuple[FloatArray, bool]:
    """Read the response of the primary beam, and find out whether the map is corrected for it.

    Parameters
    ----------
    file, facts, where, channel, in_pieces
        As in `read_error`.
    corrected : bool or None
        Given by the user; if None, the names in header and file decide (`pbcor`).

    Returns
    -------
    response : ndarray, shape (ny, nx)
        NaN where it is not positive. A `LazyPlane` if it is read in pieces.
    corrected : bool

    Raises
    ------
    InputError
        As `read_error`, and if it is not known whether the map is corrected.
    """
    with _opened(file, where, "io.primary_beam") as (place, index):
        plane = _plane(place, index, facts, channel=channel, option="io.primary_beam", in_pieces=in_pieces)

    def make(rows: slice, columns: slice) -> FloatArray:
        values = plane[rows, columns]
        return np.where(values > 0, values, np.nan)

    response = kept_like(LazyPlane(facts.shape, make), plane)
    if not 0.0 < sample(response).max(initial=0.0) <= 1.5:
        raise InputError(
            f"{facts.name}: the primary beam must have values from 0 to 1: correct io.primary_beam"
        )
    if corrected is None:
        corrected = bool(corrected_by_name(facts.name, facts.header)) or None
    if corrected is None:
        raise InputError(
            f"{facts.name}: it is unknown whether the map is corrected for the primary beam: "
            "set io.primary_beam_corrected to true or false"
        )
    return cast(FloatArray, response), corrected


@contextmanager
def _opened(file: FitsFile, where: str | int | Path, option: str) -> Iterator[tuple[FitsFile, int]]:
    """Find an HDU of this file, or of another one."""
    match = None if isinstance(where, int) else _FILE.fullmatch(str(where))
    if match is None:
        yield file, choose_hdu(file, str(where), option=option)
        return
    with open_fits(match["path"]) as other:
        if match["hdu"] is None and len(other.images) == 1:
            yield other, next(iter(other.images))
        else:
            yield other, choose_hdu(other, match["hdu"], option=option)


def _plane(
    place: FitsFile, index: int, facts: MapFacts, *, channel: int, option: str, in_pieces: bool = False
) -> FloatArray:
    """Read the plane of an HDU for a channel of the map."""
    x, y, fixed = _axes(place, index, facts, channel=channel, option=option)
    if not in_pieces:
        return read_plane(place, index, x=x, y=y, fixed=fixed)
    plane = streamed_plane(place, index, x=x, y=y, fixed=fixed)
    if plane is None:
        raise InputError(
            f"{facts.name}: the map is read in pieces, since it is larger than control.max_memory: set that "
            f"higher, or unpack {option}: only plain FITS can be read in pieces"
        )
    return cast(FloatArray, plane)


def _axes(
    place: FitsFile, index: int, facts: MapFacts, *, channel: int, option: str
) -> tuple[int, int, dict[int, int]]:
    """Return the axes of an HDU as `read_plane` takes them; an image of two axes serves all channels."""
    sizes = place.images[index][::-1]
    x, y = (facts.axes.x, facts.axes.y) if len(sizes) >= facts.axes.y and len(sizes) > 2 else (1, 2)
    fixed = {axis: 0 for axis in range(1, len(sizes) + 1) if axis not in (x, y)}
    if facts.channel_axis in fixed and sizes[facts.channel_axis - 1] == facts.n_channels:
        fixed[facts.channel_axis] = channel
    if (sizes[y - 1], sizes[x - 1]) != facts.shape:
        raise InputError(
            f"{facts.name}: {place.path.name} HDU {index} is {sizes[x - 1]} x {sizes[y - 1]}, the map "
            f"{facts.shape[1]} x {facts.shape[0]}: correct {option}"
        )
    if (_pixels_apart(place, index, facts) or 0.0) > _OTHER_PIXEL:
        raise InputError(
            f"{facts.name}: {place.path.name} HDU {index} has the size of the map, but its pixels are "
            f"elsewhere on the sky: correct {option}"
        )
    return x, y, fixed
