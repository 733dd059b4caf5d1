"""The region of interest of a cube (`cube.region`)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hyper_py.arrays import BoolArray
from hyper_py.diagnostics import ConfigurationError
from hyper_py.reading.areas import area_plane, parse_regions, regions_plane

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
        DS9 or CRTF file, or of a MOC in ASCII or JSON. Several regions are combined; excluded ones
        (`-circle(...)`) are removed.
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
    mask = _box(region, shape) if not isinstance(region, str) else _area(region, wcs, shape, base or Path())
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


def _area(text: str, wcs: Any, shape: tuple[int, int], base: Path) -> BoolArray:
    path = base / Path(text).expanduser()
    if "(" not in text and not path.is_file():
        raise ConfigurationError(f"cube.region: {text!r} is no region and no file: give {_EXAMPLES}")
    if "(" in text and not path.is_file():
        found = parse_regions(text, option=f"cube.region: {text!r}")
        area = regions_plane(found, wcs, shape, option=f"cube.region: {text!r}")
    else:
        area = area_plane(path, wcs, shape, option="cube.region")
    inside: BoolArray = area[:, :] != 0.0
    return inside


def bounding_box(mask: BoolArray) -> tuple[slice, slice]:
    """Return the smallest rectangle of rows and columns that holds all True pixels."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
