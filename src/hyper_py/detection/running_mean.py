"""A map minus its running mean."""

import math

import numpy as np

from hyper_py.arrays import FloatArray, IntArray
from hyper_py.numerics.parallel import in_order
from hyper_py.numerics.tiles import LazyPlane, Plane, Where, grown, kept_like, sample, size_of, tiles


def default_kernel_size(fwhm: float) -> int:
    """Return the side of the running mean for a beam FWHM in pixels: its floor, squared, made odd.

    At least 3, since a mean over one pixel leaves nothing.
    """
    side = math.floor(fwhm) ** 2
    return max(side + 1 - side % 2, 3)


def high_pass(data: Plane, *, kernel_size: int, size: int | None = None) -> Plane:
    """Return the map minus its running mean over a square.

    Sums are of whole numbers: they are the same in any tile, and equal pixels leave exactly nothing.

    Parameters
    ----------
    data : Plane, shape (ny, nx)
        Blank pixels (NaN) take no part in any mean, nor do places beyond the border.
    kernel_size : int
        Side of the square in pixels; an even one is made odd by adding 1.
    size : int, optional
        Side of the tiles in which the map is looked at, see `hyper_py.numerics.tiles.tiles`.

    Returns
    -------
    Plane, shape (ny, nx)
        NaN exactly where `data` is blank; an array if that is one.
    """
    side, shape, known = kernel_size + 1 - kernel_size % 2, size_of(data), sample(data, size=size)
    # Taking the level away first keeps the sums accurate on a high pedestal.
    level = float(np.median(known)) if known.size else 0.0
    unit = _unit_of_sums(data, level, n_pixels=side**2, size=size)

    def make(rows: slice, columns: slice) -> FloatArray:
        outer, inner = grown((rows, columns), side // 2, shape)
        values = data[outer]
        valid = np.isfinite(values)
        numbers = np.where(valid, np.rint((values - level) / unit), 0.0).astype(np.int64)
        total, count = (_square_sums(own, side)[inner] for own in (numbers, valid.astype(np.int64)))
        over: FloatArray = (unit * (count * numbers[inner] - total)).astype(np.float64)
        np.divide(over, count, out=over, where=valid[inner])
        over[~valid[inner]] = np.nan
        return over

    return kept_like(LazyPlane(shape, make), data)


def _unit_of_sums(data: Plane, level: float, *, n_pixels: int, size: int | None) -> float:
    """Return a power of two of which so many pixels of a map less its level are at most 2^61."""

    def largest(where: Where) -> float:
        values = np.abs(data[where] - level)
        return float(np.max(values, where=np.isfinite(values), initial=0.0))

    everywhere = [*tiles(size_of(data), size=size)]
    found = map(largest, everywhere) if isinstance(data, np.ndarray) else in_order(largest, everywhere)
    highest = max(found) * n_pixels
    return 2.0 ** (math.ceil(math.log2(highest)) - 61) if highest > 0.0 else 1.0


def _square_sums(values: IntArray, side: int) -> IntArray:
    """Return the sums over a square of odd side around each pixel; beyond the border is nothing."""
    for axis in (0, 1):
        n = values.shape[axis]
        below = np.cumsum(np.insert(values, 0, 0, axis=axis), axis=axis)
        place = np.arange(n)
        upper, lower = np.minimum(place + side // 2 + 1, n), np.maximum(place - side // 2, 0)
        values = np.take(below, upper, axis=axis) - np.take(below, lower, axis=axis)
    return values
