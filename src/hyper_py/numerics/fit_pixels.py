"""The pixels that a group of sources is fitted on: the union of discs around its sources."""

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
    """

    y: IntArray
    x: IntArray
    key: bytes

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
    x: FloatArray, y: FloatArray, *, radius: FloatArray, usable: BoolArray | Plane
) -> FitPixels:
    """Return the union of discs around the pixels nearest to the given points.

    Parameters
    ----------
    x, y, radius : ndarray, shape (n_sources,)
        In pixels.
    usable : bool ndarray or Plane, shape (ny, nx)
        False, or 0, for blank pixels.
    """
    ny, nx = usable.shape
    flat = []
    for x0, y0, r in zip(np.rint(x), np.rint(y), radius, strict=True):
        dy, dx = disc(float(r))
        py, px = int(y0) + dy, int(x0) + dx
        inside = (py >= 0) & (py < ny) & (px >= 0) & (px < nx)
        flat.append((py * nx + px)[inside])
    pixels = flat[0] if len(flat) == 1 else np.unique(np.concatenate(flat))
    py, px = np.divmod(pixels, nx)
    shown = at(usable, py, px) != 0.0
    py, px = py[shown], px[shown]
    # One number a pixel, of which the differences are different for all separations.
    number = 2 * nx * py + px
    return FitPixels(y=py, x=px, key=(number - number[:1]).tobytes())


def padded_pixels(pixels: Sequence[FitPixels]) -> tuple[IntArray, IntArray]:
    """Return y and x of several sets of pixels, each (n_sets, n), zero beyond the end of a set."""
    y, x = np.zeros((2, len(pixels), max((own.y.size for own in pixels), default=0)), dtype=np.int64)
    for row, own in enumerate(pixels):
        y[row, : own.y.size], x[row, : own.x.size] = own.y, own.x
    return y, x
