"""Parts of the sky from files of others: DS9 and CRTF regions, and multi-order coverage maps (MOC).

As the pixels of one map see them: a pixel belongs to an area if its centre is in it.
"""

import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord

from hyper_py.arrays import BoolArray, FloatArray
from hyper_py.diagnostics import ConfigurationError
from hyper_py.geometry import celestial_degrees, celestial_frame
from hyper_py.numerics.tiles import LazyPlane

REGION_SUFFIXES = (".reg", ".ds9", ".crtf")
MOC_SUFFIXES = (".moc", ".json")
_FILE_SUFFIXES = (*REGION_SUFFIXES, *MOC_SUFFIXES, ".fits", ".fit", ".fts", ".gz", ".fz", "]")
_REGION_TEXT = re.compile(r"[a-z]\s*\(.+\)", re.IGNORECASE)
_WITHOUT_AREA = ("Point", "Line", "Text")
_MOC_KEYS = ("MOCORDER", "MOCORD_S", "MOCVERS")


def is_area_name(where: str) -> bool:
    """Return whether a text names a file of regions or a MOC in ASCII or JSON, or is DS9 text itself."""
    return is_area_file_name(where) or _is_region_text(where)


def is_area_file_name(where: str) -> bool:
    """Return whether a text names a file of regions, or a MOC in ASCII or JSON."""
    return where.lower().endswith(REGION_SUFFIXES + MOC_SUFFIXES)


def _is_region_text(where: str) -> bool:
    return _REGION_TEXT.search(where) is not None and not where.lower().endswith(_FILE_SUFFIXES)


def area_plane(where: str | Path, wcs: Any, shape: tuple[int, int], *, option: str) -> LazyPlane:
    """Return which pixels of a map are in an area: 1 inside, 0 outside.

    Parameters
    ----------
    where : str or Path
        Name of a DS9 or CRTF region file, or of a MOC in ASCII or JSON; or DS9 text.
    wcs : astropy.wcs.WCS
        Two celestial axes.
    shape : (ny, nx)
        Of the map.
    option : str
        Named in messages. Where it is `io.mask`, a file of exclusions alone is refused.

    Raises
    ------
    ConfigurationError
        If it cannot be read, or holds shapes without an area.
    """
    text = str(where)
    if text.lower().endswith(MOC_SUFFIXES):
        return moc_plane(Path(text), wcs, shape, option=option)
    found = parse_regions(text, option=option) if _is_region_text(text) else read_regions(Path(text), option)
    return regions_plane(found, wcs, shape, option=option)


def read_regions(path: Path, option: str = "") -> list[Any]:
    """Return the regions of a DS9 or CRTF file; `option` begins the messages.

    Raises
    ------
    ConfigurationError
        If it cannot be read.
    """
    label = f"{option}: {path}" if option else str(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigurationError(f"{label}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{label}: not a region file") from None
    return parse_regions(text, option=label)


def parse_regions(text: str, *, option: str) -> list[Any]:
    """Return the regions of a DS9 or CRTF text.

    Raises
    ------
    ConfigurationError
        If it cannot be read as one, or holds shapes or frames that astropy's regions does not know: these
        would silently be left out. `option` begins the message.
    """
    from regions import Regions

    form = "crtf" if text.lstrip().startswith("#CRTF") else "ds9"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = list(Regions.parse(text, format=form))
        except Exception as error:  # the parsers raise whatever they meet
            reason = " ".join(str(error).split())[:120]
            raise ConfigurationError(f"{option}: not a DS9 or CRTF region file: {reason}") from None
    left_out = [str(one.message) for one in caught if "skipping" in str(one.message)]
    if left_out:
        reason = " ".join(left_out[0].removesuffix(", skipping.").split())[:160]
        raise ConfigurationError(f"{option}: {reason}: save the regions in a frame of the sky or in pixels")
    return found


def is_excluded(region: Any) -> bool:
    """Return whether a region is an exclusion, such as `-circle(...)` in DS9 and CRTF."""
    return region.meta.get("include", True) in (False, 0, "-")


def regions_plane(found: Sequence[Any], wcs: Any, shape: tuple[int, int], *, option: str) -> LazyPlane:
    """Return which pixels of a map are in regions: 1 inside, 0 outside.

    Exclusions are taken off the others, wherever they stand in the file. Of exclusions alone it is all else.

    Parameters
    ----------
    found : sequence of regions
        On the sky or in pixels.
    wcs, shape, option
        As in `area_plane`.
    """
    if not found:
        raise ConfigurationError(f"{option}: no region in it")
    for one in found:
        shape_name = type(one).__name__.removesuffix("PixelRegion").removesuffix("SkyRegion")
        if shape_name in _WITHOUT_AREA:
            raise ConfigurationError(
                f"{option}: a {shape_name.lower()} has no area: draw a shape that has one"
            )
    inside = _on_pixels([one for one in found if not is_excluded(one)], wcs)
    outside = _on_pixels([one for one in found if is_excluded(one)], wcs)
    everywhere = all(is_excluded(one) for one in found)
    if everywhere and option == "io.mask":
        raise ConfigurationError(
            f"{option}: only exclusions, which as a mask leave nothing but their insides: draw them as "
            "regions (without '-'), or give the file to detection.region"
        )

    def make(rows: slice, columns: slice) -> FloatArray:
        area = np.full((rows.stop - rows.start, columns.stop - columns.start), everywhere)
        for one in inside:
            _paint(area, one, rows, columns, value=True)
        for one in outside:
            _paint(area, one, rows, columns, value=False)
        return area.astype(np.float64)

    return LazyPlane(shape, make)


def _on_pixels(found: Sequence[Any], wcs: Any) -> list[Any]:
    """Return regions in pixels; those on the other side of the sky are left out."""
    from regions import PixelRegion

    pixels = []
    for one in found:
        try:
            own = one if isinstance(one, PixelRegion) else one.to_pixel(wcs)
            own.bounding_box  # noqa: B018 - a ValueError for vertices without pixels
        except ValueError:
            continue
        pixels.append(own)
    return pixels


def _paint(area: BoolArray, region: Any, rows: slice, columns: slice, *, value: bool) -> None:
    """Set the pixels of a piece of a map that are in a region."""
    from regions import PixCoord

    box = region.bounding_box
    y0, y1 = max(box.iymin, rows.start), min(box.iymax, rows.stop)
    x0, x1 = max(box.ixmin, columns.start), min(box.ixmax, columns.stop)
    if y0 >= y1 or x0 >= x1:
        return
    y, x = np.mgrid[y0:y1, x0:x1]
    # `contains` of an exclusion is its outside, and so that of a mask: the meaning of `-` is ours.
    plain = region.copy()
    plain.meta["include"] = True
    inside = plain.contains(PixCoord(x.astype(np.float64), y.astype(np.float64)))
    area[y0 - rows.start : y1 - rows.start, x0 - columns.start : x1 - columns.start][inside] = value


def moc_plane(path: Path, wcs: Any, shape: tuple[int, int], *, option: str) -> LazyPlane:
    """Return which pixels of a map are in a MOC: 1 inside, 0 outside.

    Parameters
    ----------
    path : Path
        ASCII, JSON or FITS.
    wcs, shape, option
        As in `area_plane`.

    Raises
    ------
    ConfigurationError
        If it cannot be read, or mocpy is not installed.
    """
    try:
        from mocpy import MOC
    except ImportError:
        raise ConfigurationError(
            f"{option}: {path}: a MOC needs the package mocpy: pip install 'hyper-py[moc]'"
        ) from None
    suffix = path.suffix.lower()
    form = {".moc": "ascii", ".json": "json"}.get(suffix, "fits")
    try:
        if form == "ascii" and path.read_bytes()[:6] == b"SIMPLE":
            form = "fits"
        moc = MOC.load(str(path), format=form)
    except OSError as error:
        raise ConfigurationError(f"{option}: {path}: {error.strerror or 'not a MOC'}") from None
    except Exception as error:  # the parser raises whatever it meets
        reason = " ".join(str(error).split())[:120]
        raise ConfigurationError(f"{option}: {path}: not a MOC: {reason}") from None
    return LazyPlane(shape, _pixels_in_moc(moc, wcs))


def _pixels_in_moc(moc: Any, wcs: Any) -> Callable[[slice, slice], FloatArray]:
    frame = celestial_frame(wcs)

    def make(rows: slice, columns: slice) -> FloatArray:
        y, x = np.mgrid[rows, columns]
        longitude, latitude = celestial_degrees(wcs, x.astype(np.float64), y.astype(np.float64))
        known = np.isfinite(longitude) & np.isfinite(latitude)
        place = SkyCoord(longitude[known], latitude[known], unit="deg", frame=frame).icrs
        area = np.zeros(y.shape)
        area[known] = moc.contains_lonlat(place.ra.to(u.deg), place.dec.to(u.deg))
        return area

    return make


def is_moc_table(header: Any) -> bool:
    """Return whether the header of a binary table is that of a MOC."""
    return any(key in header for key in _MOC_KEYS) or str(header.get("ORDERING", "")).strip() == "NUNIQ"
