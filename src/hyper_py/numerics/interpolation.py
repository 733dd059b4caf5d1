"""Smooth interpolation over masked pixels, which an original configuration asks for over other sources."""

import numpy as np
from scipy import ndimage, sparse
from scipy.sparse.linalg import spsolve

from hyper_py.geometry import FloatArray
from hyper_py.numerics.polynomial import BoolArray


def interpolate_masked(data: FloatArray, mask: BoolArray) -> FloatArray:
    """Replace masked pixels by the smoothest surface through the pixels around them.

    Solves Laplace's equation inside the mask: no value exceeds those at its rim, a plane is continued
    exactly, and nothing depends on a length scale.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
        NaN outside the mask stays NaN and takes no part.
    mask : ndarray of bool, shape (ny, nx)
        True where data is to be replaced.

    Returns
    -------
    ndarray, shape (ny, nx)
        A masked region without any known pixel beside it gets the median of the known pixels, NaN if
        there are none.
    """
    known = np.isfinite(data) & ~mask
    result = data.copy()
    labels, n_regions = ndimage.label(mask)
    touched = np.unique(labels[ndimage.binary_dilation(known) & mask])
    open_mask = np.isin(labels, touched) & mask
    if touched.size < n_regions:
        result[mask & ~open_mask] = np.median(data[known]) if known.any() else np.nan
    if open_mask.any():
        result[open_mask] = _solve_laplace(data, known, open_mask)
    return result


def _solve_laplace(data: FloatArray, known: BoolArray, unknown: BoolArray) -> FloatArray:
    """Return the values of unknown pixels: each the mean of its four neighbours that exist."""
    number = np.full(np.add(data.shape, 2), -1)
    number[1:-1, 1:-1][unknown] = np.arange(int(unknown.sum()))
    values, is_known = np.pad(np.where(known, data, 0.0), 1), np.pad(known, 1)
    y, x = np.nonzero(np.pad(unknown, 1))
    count, right = np.zeros(y.size), np.zeros(y.size)
    rows, columns = [], []
    for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        neighbour, beside = number[y + dy, x + dx], is_known[y + dy, x + dx]
        linked = np.flatnonzero(neighbour >= 0)
        count += beside + (neighbour >= 0)
        right += values[y + dy, x + dx]
        rows.append(linked)
        columns.append(neighbour[linked])
    row, column = np.concatenate(rows), np.concatenate(columns)
    links = sparse.csc_array((np.ones(row.size), (row, column)), shape=(y.size, y.size))
    result: FloatArray = spsolve((sparse.diags_array(count) - links).tocsc(), right)
    return result
