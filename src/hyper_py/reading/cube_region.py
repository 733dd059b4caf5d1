"""The region of interest of a cube (`cube.region`)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hyper_py.arrays import BoolArray
from hyper_py.diagnostics import ConfigurationError

_EXAMPLES = (
    "[x0, y0, x1, y1] in pixels from 0, DS9 text such as 'icrs; circle(10.5, 41.2, 30\")' or "
    "'galactic; box(59.1, 0.2, 2\\', 1\\', 0)', or the name of a .reg file"
)


def region_mask(
    region: str | Sequence[float], wcs: Any, shape: tuple[int, int], *, base: Path | None = None
) -> BoolArray:
    """Return which pixels of a plane have their centres inside a region.

    Parameters
    ----------
    region : str or sequence of four numbers
        First and last pixel (x0, y0, x1, y1), from 0, both included; or DS9 region text; or the name of a
        file with such text. Several regions are combined; excluded ones (`-circle(...)`) are removed.
    wcs : astropy.wcs.WCS
        Two celestial axes.
    shape : (ny, nx)
    base : Path, optional
        Directory of relative file names.

    Raises
    ------
    ConfigurationError
        If it cannot be read as a region, or holds no pixel.
    """
    mask = _box(region, shape) if not isinstance(region, str) else _ds9(region, wcs, shape, base or Path())
    if not mask.any():
        raise ConfigurationError(
            f"cube.region: {region!r} holds no pixel of the cube ({shape[1]} x {shape[0]})"
        )
    return mask


def _box(limits: Sequence[float], shape: tuple[int, int]) -> BoolArray:
    x0, y0, x1, y1 = limits
    y, x = np.mgrid[: shape[0], : shape[1]]
    inside: BoolArray = (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)
    return inside


def _ds9(text: str, wcs: Any, shape: tuple[int, int], base: Path) -> BoolArray:
    from regions import PixelRegion, Regions

    try:
        path = base / Path(text).expanduser()
        is_file = "(" not in text and path.is_file()
        found = Regions.read(path, format="ds9") if is_file else Regions.parse(text, format="ds9")
    except Exception as error:  # the parser's errors have no common class
        reason = " ".join(str(error).split())[:120]
        raise ConfigurationError(
            f"cube.region: {text!r} cannot be read ({reason}): give {_EXAMPLES}"
        ) from None
    if not len(found):
        raise ConfigurationError(f"cube.region: {text!r} is no region and no file: give {_EXAMPLES}")
    inside, outside = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    for one in found:
        try:
            pixels = one if isinstance(one, PixelRegion) else one.to_pixel(wcs)
            image = pixels.to_mask(mode="center").to_image(shape)
        except ValueError:  # on the other side of the sky
            continue
        if image is not None:
            target = outside if one.meta.get("include") in (False, "-") else inside
            target |= image > 0
    return inside & ~outside


def bounding_box(mask: BoolArray) -> tuple[slice, slice]:
    """Return the smallest rectangle of rows and columns that holds all True pixels."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
