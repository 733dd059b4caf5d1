"""Smooth interpolation over masked pixels; an original configuration uses it for other sources."""

from collections.abc import Callable

import numpy as np
from scipy import ndimage
from scipy.linalg import solveh_banded

from hyper_py.arrays import BoolArray, FloatArray, IntArray

_PIXELS_AT_ONCE = 20_000
"""Most pixels of regions that are interpolated together."""
_BAND_NUMBERS = 10_000_000
"""Most numbers of a banded matrix; larger systems use a sparse matrix."""


def interpolate_masked(
    data: FloatArray, mask: BoolArray, *, level: Callable[[], float] | None = None
) -> FloatArray:
    """Replace masked pixels by the smoothest surface through the pixels around them.

    Solves Laplace's equation inside the mask: no value exceeds those at its rim, a plane is continued
    exactly, and nothing depends on a length scale.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
        NaN outside the mask stays NaN and is not used.
    mask : ndarray of bool, shape (ny, nx)
        True where data is to be replaced.
    level : callable, optional
        Gives the value of regions without any known pixel beside them.

    Returns
    -------
    ndarray, shape (ny, nx)
        Without `level`, a masked region without any known pixel beside it gets the median of the known
        pixels, NaN if there are none.
    """
    known = np.isfinite(data) & ~mask
    result = data.copy()
    labels, n_regions = ndimage.label(mask)
    is_open = np.zeros(n_regions + 1, dtype=bool)
    is_open[labels[ndimage.binary_dilation(known) & mask]] = True
    unknown = is_open[labels]
    if not is_open[1:].all():
        if level is None:
            result[mask & ~unknown] = np.median(data[known]) if known.any() else np.nan
        else:
            result[mask & ~unknown] = level()
    if not unknown.any():
        return result
    y, x = np.nonzero(unknown)
    # Region by region: no pixel is linked to one of another region.
    region = labels[y, x]
    order = np.argsort(region, kind="stable")
    y, x, region = y[order], x[order], region[order]
    starts = np.flatnonzero(np.diff(region, prepend=0))
    ends = starts[np.diff(starts // _PIXELS_AT_ONCE, prepend=0) > 0]
    values, is_known = np.pad(np.where(known, data, 0.0), 1), np.pad(known, 1)
    for some in zip(np.split(y, ends), np.split(x, ends), strict=True):
        result[some] = _solve_laplace(values, is_known, *some)
    return result


def _solve_laplace(values: FloatArray, known: BoolArray, y: IntArray, x: IntArray) -> FloatArray:
    """Return the values of the unknown pixels (y, x): each the mean of its four neighbours that exist.

    The images have a border of one pixel, and 0 where values are not known.
    """
    number = np.full((np.ptp(y) + 3, np.ptp(x) + 3), -1)
    number[y - y.min() + 1, x - x.min() + 1] = np.arange(y.size)
    count, right = np.zeros(y.size), np.zeros(y.size)
    rows, columns = [], []
    for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        at = y + dy + 1, x + dx + 1
        neighbour = number[at[0] - y.min(), at[1] - x.min()]
        linked = np.flatnonzero(neighbour >= 0)
        count += known[at] | (neighbour >= 0)
        right += values[at]
        rows.append(linked)
        columns.append(neighbour[linked])
    row, column = np.concatenate(rows), np.concatenate(columns)
    width = int((row - column).max(initial=0))
    if width * y.size <= _BAND_NUMBERS:
        band = np.zeros((width + 1, y.size))
        band[0] = count
        below = row > column
        band[(row - column)[below], column[below]] = -1.0
        solution = solveh_banded(band, right, lower=True, overwrite_ab=True, check_finite=False)
    else:
        from scipy.sparse import csc_array, diags_array
        from scipy.sparse.linalg import spsolve  # slow to import, and few maps need it

        links = csc_array((np.ones(row.size), (row, column)), shape=(y.size, y.size))
        solution = spsolve((diags_array(count) - links).tocsc(), right)
    return np.asarray(solution, dtype=np.float64)
