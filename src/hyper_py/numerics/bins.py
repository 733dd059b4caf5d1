"""Maps averaged in square bins of pixels."""

import numpy as np

from hyper_py.arrays import FloatArray
from hyper_py.numerics.tiles import LazyPlane, Plane


def bin_mean(image: FloatArray, size: int) -> FloatArray:
    """Return the means of bins, shape (ny // size, nx // size); rows and columns left over are dropped.

    Blank pixels take no part; a bin is NaN where less than half of it is known.
    """
    ny, nx = (n // size for n in image.shape)
    bins = image[: ny * size, : nx * size].reshape(ny, size, nx, size)
    known = np.isfinite(bins)
    count = known.sum(axis=(1, 3))
    total = np.where(known, bins, 0.0).sum(axis=(1, 3))
    return np.where(2 * count >= size * size, total / np.maximum(count, 1), np.nan)


def binned(image: Plane, size: int) -> Plane:
    """Return the map of the means of bins: an array where `image` is one."""
    if isinstance(image, np.ndarray):
        return bin_mean(image, size)

    def make(rows: slice, columns: slice) -> FloatArray:
        means = np.empty((rows.stop - rows.start, columns.stop - columns.start))
        # As many pixels are read at once as there are bins.
        step = max(len(means) // size**2, 1)
        for first in range(rows.start, rows.stop, step):
            last = min(first + step, rows.stop)
            fine = image[size * first : size * last, size * columns.start : size * columns.stop]
            means[first - rows.start : last - rows.start] = bin_mean(fine, size)
        return means

    return LazyPlane((image.shape[0] // size, image.shape[1] // size), make)
