"""Smooth maps, such as the local rms, known by their values on a mesh."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import DTypeLike, NDArray
from scipy import ndimage

from hyper_py.arrays import BoolArray, FloatArray, IntArray
from hyper_py.numerics.sending import SentOnce
from hyper_py.numerics.tiles import Where


@dataclass(frozen=True, eq=False)
class MeshMap(SentOnce):
    """A map known at the centres of the cells of a mesh, with linear interpolation between them.

    Beyond the outermost centres it stays constant.

    Attributes
    ----------
    values : ndarray, shape (ceil(ny / mesh), ceil(nx / mesh))
    mesh : float
        Side of a cell in pixels; the first cell begins at the corner of pixel (0, 0).
    shape : (int, int)
        (ny, nx) of the map.
    """

    values: FloatArray
    mesh: float
    shape: tuple[int, int]

    @classmethod
    def uniform(cls, value: float, shape: tuple[int, int]) -> "MeshMap":
        """Return a map of one value."""
        return cls(np.full((1, 1), value), max(shape), shape)

    def __getitem__(self, where: Where) -> FloatArray:
        """Return the values at the pixels of rows and columns."""
        rows, columns = (
            np.arange(*part.indices(size)[:2]) for part, size in zip(where, self.shape, strict=True)
        )
        if self.values.size == 1:
            return np.full((rows.size, columns.size), self.values[0, 0])
        if not (rows.size and columns.size):
            return np.empty((rows.size, columns.size))
        (first, down), (low, across) = self._weights(rows, axis=0), self._weights(columns, axis=1)
        near = self.values[first : first + down.shape[1], low : low + across.shape[1]]
        values: FloatArray = down @ (near @ across.T)
        return values

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[np.generic]:
        """Return the whole map as an array."""
        return np.asarray(self[:, :], dtype=dtype)

    def at(self, y: IntArray, x: IntArray) -> FloatArray:
        """Return the values at pixels, y and x of any one shape."""
        (row, down), (column, right) = self._place(y, axis=0), self._place(x, axis=1)
        below = np.minimum(row + 1, self.values.shape[0] - 1)
        beside = np.minimum(column + 1, self.values.shape[1] - 1)
        values: FloatArray = (1.0 - down) * (
            (1.0 - right) * self.values[row, column] + right * self.values[row, beside]
        ) + down * ((1.0 - right) * self.values[below, column] + right * self.values[below, beside])
        return values

    def scaled(self, factor: float) -> "MeshMap":
        """Return the map times a factor."""
        return replace(self, values=factor * self.values)

    def _weights(self, pixels: IntArray, *, axis: int) -> tuple[int, FloatArray]:
        """Return the first cell near pixels (n,), and the weights of it and those after it, (n, cells)."""
        low, away = self._place(pixels, axis=axis)
        first, last = int(low.min()), min(int(low.max()) + 1, self.values.shape[axis] - 1)
        weights, pixel = np.zeros((pixels.size, last - first + 1)), np.arange(pixels.size)
        weights[pixel, low - first] = 1.0 - away
        weights[pixel, np.minimum(low + 1, last) - first] += away
        return first, weights

    def _place(self, pixels: IntArray, *, axis: int) -> tuple[IntArray, FloatArray]:
        """Return the cell whose centre is below each pixel, and the distance from it in cells."""
        size = self.values.shape[axis]
        position = np.clip((pixels + 0.5) / self.mesh - 0.5, 0.0, size - 1.0)
        low = np.minimum(position.astype(np.int64), max(size - 2, 0))
        return low, position - low


def cell_counts(mask: BoolArray, cell: int) -> FloatArray:
    """Return how many pixels of each cell of a mesh are True."""
    return cell_sums(mask.astype(np.float64), cell)


def cell_sums(values: FloatArray, cell: int) -> FloatArray:
    """Return the sums of the cells of a mesh."""
    for axis in (0, 1):
        values = np.add.reduceat(values, np.arange(0, values.shape[axis], cell), axis=axis)
    return values


def mesh_map(values: FloatArray, *, mesh: int, shape: tuple[int, int]) -> MeshMap:
    """Return the map of values in the cells of a mesh; missing ones (NaN) are filled from the nearest."""
    return MeshMap(fill_nearest(values), mesh, shape)


def fill_nearest(values: FloatArray) -> FloatArray:
    """Replace NaN by the mean of the finite values at the smallest distance; all NaN stays NaN."""
    missing = ~np.isfinite(values)
    if not missing.any() or missing.all():
        return values
    # Averages over growing rings have no preferred direction, unlike the nearest cell alone.
    filled, known = np.where(missing, 0.0, values), (~missing).astype(np.float64)
    kernel = np.ones((3, 3))
    while (known == 0).any():
        total = ndimage.convolve(filled, kernel, mode="constant")
        count = ndimage.convolve(known, kernel, mode="constant")
        new = (known == 0) & (count > 0.5)
        filled[new], known[new] = total[new] / np.rint(count[new]), 1.0
    return filled
