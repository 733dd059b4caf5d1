"""The pixels that a group of sources is fitted on: the union of discs around its sources, or of bands."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray, IntArray
from hyper_py.numerics.tiles import Plane, at


@dataclass(frozen=True, kw_only=True, eq=False)
class FitPixels:
    """The pixels on which one group is fitted.

    Attributes
    ----------
    y, x : int ndarray, shape (n,)
        Pixels, none blank, in the order of the image.
    key : bytes
        The same for fit pixels of the same shape.
    area : ndarray, shape (n,), optional
        Pixels of the map that each stands for in a sum; 1 if not given.
    """

    y: IntArray
    x: IntArray
    key: bytes
    area: FloatArray | None = None

    @cached_property
    def circle(self) -> tuple[float, float, float]:
        """Middle (x, y) and radius in pixels of a circle around all pixels."""
        if not self.y.size:
            return 0.0, 0.0, 0.0
        x, y = (0.5 * float(axis.min() + axis.max()) for axis in (self.x, self.y))
        return x, y, float(np.hypot(self.x - x, self.y - y).max())


@lru_cache(maxsize=256)
def disc(radius: float) -> tuple[IntArray, IntArray]:
    """Return the integer offsets (y, x) within a radius, in the order of the image."""
    radius *= 1.0 + 1e-12  # a pixel on the rim is inside, whatever the rounding
    reach = int(radius)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    inside = np.hypot(y, x) <= radius
    return y[inside], x[inside]


def select_fit_pixels(
    x: FloatArray,
    y: FloatArray,
    *,
    radius: FloatArray,
    usable: BoolArray | Plane,
    steps: IntArray | None = None,
    bands: FloatArray | None = None,
) -> FitPixels:
    """Return the union of discs around the pixels nearest to the given points.

    Parameters
    ----------
    x, y, radius : ndarray, shape (n_sources,)
        In pixels.
    steps : int ndarray, shape (n_sources,), optional
        Distance in pixels, along each axis, of those that are taken, counted from the middle of the first
        disc that does not take all; 1 if not given.
    bands : ndarray, shape (n_sources, 2), optional
        Half-width in pixels and angle from +x of the band through its middle to which each disc is cut; if
        not given, discs are whole.
    usable : bool ndarray or Plane, shape (ny, nx)
        False, or 0, for blank pixels.
    """
    ny, nx = usable.shape
    flat = []
    bands = np.tile([np.inf, 0.0], (x.size, 1)) if bands is None else bands
    if steps is not None and (steps > 1).any():
        return _coarse_fit_pixels(x, y, radius=radius, usable=usable, steps=steps, bands=bands)
    for x0, y0, r, band in zip(np.rint(x), np.rint(y), radius, bands, strict=True):
        dy, dx = _cut(*disc(float(r)), band)
        py, px = int(y0) + dy, int(x0) + dx
        inside = (py >= 0) & (py < ny) & (px >= 0) & (px < nx)
        flat.append((py * nx + px)[inside])
    pixels = flat[0] if len(flat) == 1 else np.unique(np.concatenate(flat))
    return _shown(pixels, None, usable)


def _cut(y: IntArray, x: IntArray, band: FloatArray) -> tuple[IntArray, IntArray]:
    """Return the offsets that are in a band of a half-width and angle through 0."""
    half, angle = band
    if not np.isfinite(half):
        return y, x
    inside = np.abs(y * np.cos(angle) - x * np.sin(angle)) <= half
    return y[inside], x[inside]


def _coarse_fit_pixels(
    x: FloatArray,
    y: FloatArray,
    *,
    radius: FloatArray,
    usable: BoolArray | Plane,
    steps: IntArray,
    bands: FloatArray,
) -> FitPixels:
    """Return the same where some discs are coarser; a pixel of several counts for the finest."""
    ny, nx = usable.shape
    first = int(np.argmax(steps > 1))
    origin = round(float(y[first])), round(float(x[first]))
    flat, areas = [], []
    for x0, y0, r, step, band in zip(np.rint(x), np.rint(y), radius, steps, bands, strict=True):
        dy, dx = _cut(*disc(float(r)), band)
        py, px = int(y0) + dy, int(x0) + dx
        inside = (py >= 0) & (py < ny) & (px >= 0) & (px < nx)
        inside &= ((py - origin[0]) % step == 0) & ((px - origin[1]) % step == 0)
        flat.append((py * nx + px)[inside])
        areas.append(np.full(flat[-1].size, float(step) ** 2))
    every, area = np.concatenate(flat), np.concatenate(areas)
    order = np.lexsort((area, every))
    pixels, finest = np.unique(every[order], return_index=True)
    return _shown(pixels, area[order][finest], usable)


def _shown(pixels: IntArray, area: FloatArray | None, usable: BoolArray | Plane) -> FitPixels:
    """Return those of some pixels, given by their places in the flat map, that are not blank."""
    nx = usable.shape[1]
    py, px = np.divmod(pixels, nx)
    shown = at(usable, py, px) != 0.0
    py, px = py[shown], px[shown]
    # One number a pixel, of which the differences are different for all separations.
    number = 2 * nx * py + px
    key = (number - number[:1]).tobytes()
    return FitPixels(y=py, x=px, key=key, area=None if area is None else area[shown])


def padded_pixels(pixels: Sequence[FitPixels]) -> tuple[IntArray, IntArray]:
    """Return y and x of several sets of pixels, each (n_sets, n), zero beyond the end of a set."""
    y, x = np.zeros((2, len(pixels), max((own.y.size for own in pixels), default=0)), dtype=np.int64)
    for row, own in enumerate(pixels):
        y[row, : own.y.size], x[row, : own.x.size] = own.y, own.x
    return y, x
