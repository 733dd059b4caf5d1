"""Maps in pieces: planes whose pixels are read when they are needed, and tiles that cover a map.

A filter of finite support needs the pixels of a tile and of a rim around it, its halo. The result of each
tile is then the same as that of the whole map: tiles are not an approximation.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import DTypeLike, NDArray
from scipy import fft

from hyper_py.arrays import BoolArray, FloatArray, IntArray
from hyper_py.numerics.parallel import in_order

Where: TypeAlias = tuple[slice, slice]
"""Rows and columns, with start and stop."""

_AUTOMATIC_SIZE = 512
"""Side of a tile in pixels; the transforms of a tile fit in the cache of a processor."""
_SHORT = 400
"""Transforms of up to this length have lengths of their own: there are few of them, and they cost little."""
_MOST_SAMPLES = 4_000_000
"""Statistics of a whole map need no more pixels than this."""


class Plane(Protocol):
    """A map whose pixels are read or computed piece by piece; an array is one too."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(ny, nx)."""

    def __getitem__(self, where: Where, /) -> FloatArray:
        """Return the pixels of rows and columns."""


@runtime_checkable
class _PointPlane(Protocol):
    """A plane that gives single pixels too."""

    def at(self, y: IntArray, x: IntArray) -> FloatArray:
        """Return the values at pixels, shape (n,)."""


@dataclass(frozen=True, eq=False)
class LazyPlane:
    """A map of which each piece is computed when it is needed.

    Attributes
    ----------
    shape : (int, int)
        (ny, nx).
    make : callable
        Gives float64 pixels of rows and columns.
    """

    shape: tuple[int, int]
    make: Callable[[slice, slice], FloatArray]
    ndim = 2
    dtype = np.dtype(np.float64)

    def __getitem__(self, where: Where) -> FloatArray:
        """Return the pixels of rows and columns; slices may be open, as those of arrays."""
        rows, columns = (slice(*part.indices(size)[:2]) for part, size in zip(where, self.shape, strict=True))
        return self.make(rows, columns)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[np.generic]:
        """Return the whole map as an array."""
        return np.asarray(self[:, :], dtype=dtype)

    def at(self, y: IntArray, x: IntArray) -> FloatArray:
        """Return the values of pixels, shape (n,)."""
        values = np.empty(y.size)
        if not y.size:
            return values
        y0, y1, x0, x1 = int(y.min()), int(y.max()) + 1, int(x.min()), int(x.max()) + 1
        if (y1 - y0) * (x1 - x0) <= _AUTOMATIC_SIZE**2:
            return self[y0:y1, x0:x1][y - y0, x - x0]
        for where in tiles(self.shape):
            own = np.flatnonzero(is_inside(where, y, x))
            if own.size:
                values[own] = self[where][y[own] - where[0].start, x[own] - where[1].start]
        return values


def combined(
    operation: Callable[[FloatArray, FloatArray], FloatArray], one: Plane, other: Plane
) -> LazyPlane:
    """Return two maps of one shape combined pixel by pixel, as by `numpy.divide`."""
    return LazyPlane(size_of(one), lambda rows, columns: operation(one[rows, columns], other[rows, columns]))


def kept_like(lazy: LazyPlane, data: Plane) -> Plane:
    """Return a lazy plane as an array if `data` is an array; else as it is."""
    return lazy[:, :] if isinstance(data, np.ndarray) else lazy


def usable(data: Plane) -> BoolArray | Plane:
    """Return where a map is not blank: a mask, or a plane of 1 and 0 if the map is no array."""
    if isinstance(data, np.ndarray):
        return np.isfinite(data)
    lazy = data
    return LazyPlane(size_of(data), lambda rows, columns: np.isfinite(lazy[rows, columns]).astype(np.float64))


def at(plane: Plane | BoolArray, y: IntArray, x: IntArray) -> FloatArray:
    """Return the values of a plane at pixels, shape (n,)."""
    if isinstance(plane, np.ndarray):
        return np.asarray(plane[y, x], dtype=np.float64)
    if isinstance(plane, _PointPlane):
        return plane.at(y, x)
    return LazyPlane(size_of(plane), lambda rows, columns: plane[rows, columns]).at(y, x)


def rows_at(plane: Plane | BoolArray, y: IntArray, x: IntArray) -> FloatArray:
    """Return the values of a plane at rows of pixels, (n, k), each row near together; NaN beyond the map."""
    ny, nx = size_of(plane)
    inside = (y >= 0) & (y < ny) & (x >= 0) & (x < nx)
    rows, columns = np.clip(y, 0, ny - 1), np.clip(x, 0, nx - 1)
    if isinstance(plane, np.ndarray):
        return np.where(inside, plane[rows, columns], np.nan)
    values = [at(plane, *pixels) for pixels in zip(rows, columns, strict=True)]
    return np.where(inside, np.reshape(values, inside.shape), np.nan)


def cutouts(plane: Plane, corners: IntArray, shape: tuple[int, int]) -> tuple[FloatArray, BoolArray]:
    """Return parts of a plane, which the pixels at its border continue, and which pixels are on the map.

    Parameters
    ----------
    plane : Plane
    corners : int ndarray, shape (n, 2)
        First row and column of each part, on the map or not.
    shape : (int, int)
        Of each part.

    Returns
    -------
    values : ndarray, shape (n, ny, nx)
    inside : bool ndarray, shape (n, ny, nx)
    """
    values, inside = np.empty((len(corners), *shape)), np.empty((len(corners), *shape), dtype=np.bool_)
    for part, known, corner in zip(values, inside, corners.tolist(), strict=True):
        wanted = [start + np.arange(side) for start, side in zip(corner, shape, strict=True)]
        y, x = (np.clip(own, 0, n - 1) for own, n in zip(wanted, size_of(plane), strict=True))
        read = plane[slice(int(y[0]), int(y[-1]) + 1), slice(int(x[0]), int(x[-1]) + 1)]
        part[:] = read[(y - y[0])[:, None], x - x[0]]
        known[:] = (y == wanted[0])[:, None] & (x == wanted[1])
    return values, inside


def size_of(plane: Plane | BoolArray) -> tuple[int, int]:
    """Return (ny, nx) of a plane."""
    return plane.shape[0], plane.shape[1]


def edges(length: int, *, size: int, multiple: int = 1) -> list[int]:
    """Cut an axis into pieces of about `size` pixels, at multiples of `multiple`; `size` 0: one piece."""
    if size <= 0:
        return [0, length]
    step = max(round(size / multiple), 1) * multiple
    return [*range(0, max(length - step // 2, 1), step), length]


def tiles(shape: tuple[int, ...], *, size: int | None = None, multiple: int = 1) -> Iterator[Where]:
    """Yield the rows and columns of tiles that cover a map, row by row.

    Parameters
    ----------
    shape : (ny, nx)
    size : int, optional
        Side in pixels; 0: the whole map at once; None: 512, which fits in the cache of a processor.
    multiple : int
        Tiles begin at multiples of this.
    """
    side = _AUTOMATIC_SIZE if size is None else size
    rows, columns = (edges(n, size=side, multiple=multiple) for n in shape)
    for y0, y1 in itertools.pairwise(rows):
        for x0, x1 in itertools.pairwise(columns):
            yield slice(y0, y1), slice(x0, x1)


def grown(where: Where, halo: int, shape: tuple[int, ...]) -> tuple[Where, Where]:
    """Return a tile with a rim of `halo` pixels, cut at the map's border, and the tile's slices inside it."""
    outer = [
        slice(max(part.start - halo, 0), min(part.stop + halo, size))
        for part, size in zip(where, shape, strict=True)
    ]
    inner = [
        slice(part.start - out.start, part.stop - out.start) for part, out in zip(where, outer, strict=True)
    ]
    return (outer[0], outer[1]), (inner[0], inner[1])


def is_inside(where: Where, y: IntArray, x: IntArray) -> BoolArray:
    """Return which pixels are inside a tile."""
    rows, columns = where
    inside: BoolArray = (y >= rows.start) & (y < rows.stop) & (x >= columns.start) & (x < columns.stop)
    return inside


def number_of_tile(tiles: Sequence[Where], y: IntArray, x: IntArray) -> IntArray:
    """Return in which of the tiles of a map, row by row, each pixel is."""
    rows, columns = (np.unique([where[axis].start for where in tiles]) for axis in (0, 1))
    row, column = np.searchsorted(rows, y, side="right") - 1, np.searchsorted(columns, x, side="right") - 1
    number: IntArray = row * columns.size + column
    return number


def sample_step(shape: tuple[int, ...]) -> int:
    """Return the step in pixels between the rows and columns that `sample` takes."""
    return max(1, math.ceil(math.sqrt(shape[0] * shape[1] / _MOST_SAMPLES)))


def sample(plane: Plane, *, size: int | None = None) -> FloatArray:
    """Return the finite pixels of a map, shape (n,); of a very large map those of a regular grid.

    The grid depends on the shape of the map only.
    """
    step = sample_step(plane.shape)

    def finite(where: Where) -> FloatArray:
        rows, columns = where
        piece = plane[rows, columns][-rows.start % step :: step, -columns.start % step :: step]
        return piece[np.isfinite(piece)]

    if isinstance(plane, np.ndarray):  # there is nothing to do but to look
        return np.concatenate([finite(where) for where in tiles(plane.shape, size=size)])
    return np.concatenate([*in_order(finite, [*tiles(plane.shape, size=size)])])


def _transform_length(least: int) -> int:
    """Return a length at which transforms are fast; long ones within an eighth of each other are the same.

    The transforms of kernels are kept for each, by each process.
    """
    if least > _SHORT:
        step = 1 << (least - 1).bit_length() - 4
        least = -(-least // step) * step
    return int(fft.next_fast_len(least, real=True))


class Correlator:
    """Correlation of tiles with kernels of odd sides by real Fourier transforms; outside a tile all is zero.

    The transforms of the kernels are kept for each shape of tile.
    """

    def __init__(self, *kernels: FloatArray) -> None:
        self._kernels = kernels
        self._known: dict[tuple[int, ...], list[NDArray[np.complex128]]] = {}

    @property
    def radius(self) -> int:
        """Largest half side of a kernel in pixels."""
        return int(max(side // 2 for kernel in self._kernels for side in kernel.shape))

    def __reduce__(self) -> tuple[Any, ...]:
        """Have other processes transform the kernels themselves."""
        return Correlator, tuple(self._kernels)

    def prepare(self, tile: tuple[int, int]) -> tuple[int, ...]:
        """Transform the kernels for tiles of a shape, if they are not; return the shape of the transforms."""
        shape = tuple(_transform_length(max(n, self.radius + 1) + self.radius) for n in tile)
        if shape not in self._known:
            self._known[shape] = [self._transformed(kernel, shape) for kernel in self._kernels]
        return shape

    def __call__(self, data: FloatArray) -> list[FloatArray]:
        """Return the correlation of a tile (ny, nx) with each kernel, of the same shape."""
        return [*self.each(data, range(len(self._kernels)))]

    def each(self, data: FloatArray, order: Iterable[int]) -> Iterator[FloatArray]:
        """Yield the correlations with kernels in some order: one after another takes less memory."""
        ny, nx = data.shape
        shape = self.prepare((ny, nx))
        transform = fft.rfft2(data, shape)
        del data
        for k in order:
            # Columns are transformed first: afterwards only the rows of the tile are needed.
            # Without names: they would keep each array until the next one is made.
            yield fft.irfft(
                fft.ifft(transform * self._known[shape][k], axis=0, overwrite_x=True)[:ny], shape[1], axis=1
            )[:, :nx]

    @staticmethod
    def _transformed(kernel: FloatArray, shape: tuple[int, ...]) -> NDArray[np.complex128]:
        """Return the conjugate transform of a kernel whose centre is at the origin."""
        y, x = (np.arange(-(side // 2), side // 2 + 1) for side in kernel.shape)
        rows = np.zeros((y.size, shape[1]))
        rows[:, x] = kernel
        waves = np.zeros((shape[0], shape[1] // 2 + 1), dtype=np.complex128)
        waves[y] = fft.rfft(rows, axis=1)
        transform: NDArray[np.complex128] = np.conj(fft.fft(waves, axis=0, overwrite_x=True))
        return transform
