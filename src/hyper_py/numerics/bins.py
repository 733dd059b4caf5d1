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
        fine = (slice(size * part.start, size * part.stop) for part in (rows, columns))
        return bin_mean(image[next(fine), next(fine)], size)

    return LazyPlane((image.shape[0] // size, image.shape[1] // size), make)
