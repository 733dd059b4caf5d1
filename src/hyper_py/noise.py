"""The noise of a map: its level, how it varies over the map, and how it is correlated."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from hyper_py.geometry import FloatArray

MIN_VALID_FRACTION = 0.3
"""A mesh cell with less of its pixels valid takes the level of its neighbours."""


@dataclass(frozen=True)
class ClippedStatistics:
    """Mean and rms of the pixels that survive clipping, and how many they are."""

    mean: float
    rms: float
    n_pixels: int


def clipped_statistics(
    data: FloatArray, *, sigma: float = 3.0, max_iterations: int = 10
) -> ClippedStatistics:
    """Return the clipped mean and rms of an array.

    Values further than `sigma` times the rms from the mean are taken away, mean and rms of the rest
    computed anew, until nothing more is clipped.

    Parameters
    ----------
    data : ndarray, any shape
        Values that are not finite are ignored.
    sigma : float
        Clipping limit.
    max_iterations : int
        How often to clip at most.

    Returns
    -------
    ClippedStatistics
        In the unit of `data`; NaN where there is no finite value.
    """
    values = data[np.isfinite(data)]
    if values.size == 0:
        return ClippedStatistics(float("nan"), float("nan"), 0)
    # One offset for all keeps the sums of squares accurate on a high pedestal.
    offset = float(values.mean())
    core, rest = np.empty(0), values - offset
    radius, sums = 0.0, np.zeros(3)
    mean, rms = _moments(rest, sums)
    for _ in range(max_iterations):
        limit = sigma * rms
        if limit < abs(mean) + radius:
            core, rest, radius, sums = np.empty(0), np.concatenate([core, rest]), 0.0, np.zeros(3)
        keep = np.abs(rest - mean) <= limit
        if keep.all():
            break
        rest = rest[keep]
        if core.size == 0:
            # What is deep inside the limits stays; only its sums are needed from here on.
            radius = 0.5 * limit
            inside = np.abs(rest) < radius
            core, rest = rest[inside], rest[~inside]
            sums = np.array([core.size, core.sum(), core @ core])
        mean, rms = _moments(rest, sums)
    return ClippedStatistics(mean + offset, rms, core.size + rest.size)


def _moments(values: FloatArray, sums: FloatArray) -> tuple[float, float]:
    """Return mean and rms of values and of others of which number, sum and sum of squares are given."""
    total = sums + np.array([values.size, values.sum(), values @ values])
    mean = float(total[1] / total[0])
    return mean, math.sqrt(max(float(total[2] / total[0]) - mean * mean, 0.0))


def local_rms_map(
    data: FloatArray, *, mesh: int, mask: NDArray[np.bool_] | None = None, sigma: float = 3.0
) -> FloatArray:
    """Return the noise level at every pixel: the clipped rms on a mesh, interpolated.

    The mesh starts at pixel (0, 0), so that a tile which starts at a multiple of `mesh` gives the same
    values. Cells with too few valid pixels take the level of the nearest cells that have enough.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
        Blank pixels are NaN.
    mesh : int
        Side of a cell in pixels.
    mask : ndarray of bool, shape (ny, nx), optional
        True where a source is, or where the data is not to be used.
    sigma : float
        Clipping limit within a cell.

    Returns
    -------
    ndarray, shape (ny, nx)
        Finite and positive everywhere if any cell has a level, blank pixels included; else NaN.
    """
    values = data if mask is None else np.where(mask, np.nan, data)
    return interpolate_mesh(mesh_rms(values, mesh=mesh, sigma=sigma), shape=data.shape, mesh=mesh)


def mesh_rms(data: FloatArray, *, mesh: int, sigma: float = 3.0, max_iterations: int = 10) -> FloatArray:
    """Return the clipped rms in each cell of a mesh, shape (ceil(ny / mesh), ceil(nx / mesh)).

    NaN where less than `MIN_VALID_FRACTION` of a whole cell is finite, or where all values are equal.
    """
    cells = _cells(data, mesh)
    valid = np.isfinite(cells)
    enough = valid.sum(axis=-1) >= MIN_VALID_FRACTION * mesh * mesh
    scale = np.max(np.abs(cells), where=valid, initial=0.0)
    values = np.where(valid, cells, 0.0) / (scale if scale > 0 else 1.0)
    for _ in range(max_iterations + 1):
        count = np.maximum(valid.sum(axis=-1, keepdims=True), 1)
        mean = (values * valid).sum(axis=-1, keepdims=True) / count
        rms = np.sqrt((((values - mean) ** 2) * valid).sum(axis=-1, keepdims=True) / count)
        keep = valid & (np.abs(values - mean) <= sigma * rms)
        if np.array_equal(keep, valid):
            break
        valid = keep
    level: FloatArray = rms[..., 0] * scale
    return np.where(enough & (level > 0), level, np.nan)


def _cells(data: FloatArray, mesh: int) -> FloatArray:
    """Cut an array into cells, shape (rows, columns, mesh * mesh), padded with NaN."""
    ny, nx = data.shape
    rows, columns = -(-ny // mesh), -(-nx // mesh)
    padded = np.full((rows * mesh, columns * mesh), np.nan)
    padded[:ny, :nx] = data
    blocks = padded.reshape(rows, mesh, columns, mesh).swapaxes(1, 2)
    return blocks.reshape(rows, columns, mesh * mesh)


def interpolate_mesh(levels: FloatArray, *, shape: tuple[int, ...], mesh: int) -> FloatArray:
    """Interpolate mesh values, given at the centres of cells, linearly to pixels, shape `shape`.

    Beyond the outermost centres the values stay constant; NaN cells are filled from the nearest.
    """
    filled = fill_nearest(levels)
    for axis, size in enumerate(shape):
        position = np.clip((np.arange(size) + 0.5) / mesh - 0.5, 0.0, levels.shape[axis] - 1.0)
        low = np.minimum(position.astype(np.intp), max(levels.shape[axis] - 2, 0))
        high = np.minimum(low + 1, levels.shape[axis] - 1)
        weight = (position - low)[:, None] if axis == 0 else position - low
        filled = (1.0 - weight) * filled.take(low, axis=axis) + weight * filled.take(high, axis=axis)
    return filled


def fill_nearest(values: FloatArray) -> FloatArray:
    """Replace NaN by the mean of the finite values at the smallest distance; all NaN stays NaN."""
    missing = ~np.isfinite(values)
    if not missing.any() or missing.all():
        return values
    # Growing rings keep the result free of a preferred direction, unlike one nearest neighbour.
    filled, known = np.where(missing, 0.0, values), (~missing).astype(np.float64)
    kernel = np.ones((3, 3))
    while (known == 0).any():
        total = ndimage.convolve(filled, kernel, mode="constant")
        count = ndimage.convolve(known, kernel, mode="constant")
        new = (known == 0) & (count > 0.5)
        filled[new], known[new] = total[new] / np.rint(count[new]), 1.0
    return filled
