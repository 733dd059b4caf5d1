"""Rows and columns of pixels that differ from those beside them as nothing seen through a beam does."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from hyper_py.arrays import FloatArray, IntArray
from hyper_py.display import named
from hyper_py.noise.covariance import clipped_statistics

_CLIPPED = 3.0
"""Pixels count with at most so many times the scatter of the map in the mean of their row."""
_STANDS_OUT = 10.0
"""A row of pixels is bad if it exceeds those beside it by so many times what is usual,"""
_ABRUPT, _BETWEEN = 0.4, 0.875
"""and these are below those beside them by this share of it: half for a single row, less than a tenth for a
straight filament seen through a beam of two pixels. They are below by all of it beside a good row between two
bad ones, by three quarters beside either of these."""
_LARGEST = 0.75
"""Share that it has of what rows beside it exceed theirs by: a good row beside a bad one has half."""
_LEVEL_ROWS = 31
"""The scatter of a row is that of so many."""
_FEWEST_ROWS, _FEWEST_PIXELS = 30, 30
"""Rows of pixels from which one can stand out, and pixels of a row with neighbours."""
_NOTABLE = 0.5
"""Times the noise of the map that a row must exceed those beside it by to matter."""


@dataclass(frozen=True, eq=False)
class BadLines:
    """The bad rows, or columns, of a map.

    Attributes
    ----------
    name : str
        `row` or `column`.
    numbers : ndarray of int, shape (n,)
    height : float
        Largest, in units of the noise.
    """

    name: str
    numbers: IntArray
    height: float

    def describe(self) -> str:
        """Return `2 rows of pixels (y = 20, 90) differ from those beside them by ...`."""
        axis = f"{'y' if self.name == 'row' else 'x'} = {named(self.numbers)}"
        many = (
            f"1 {self.name} of pixels ({axis}) differs from those beside it by"
            if self.numbers.size == 1
            else f"{self.numbers.size} {self.name}s of pixels ({axis}) differ from those beside them by up to"
        )
        return f"{many} {self.height:.2g} times the noise, which the beam would smooth"


def find_bad_lines(data: FloatArray, *, noise: float | None = None) -> list[BadLines]:
    """Return the bad rows and the bad columns of a map, as far as it has any.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
        Blank pixels are NaN.
    noise : float, optional
        The scatter of all pixels if None.
    """
    found = []
    for name, lines in (("row", data), ("column", data.T)):
        numbers, height = _bad_rows(lines)
        if not numbers.size:
            continue
        noise = clipped_statistics(data).rms if noise is None else noise
        notable = np.abs(height) > _NOTABLE * noise
        if notable.any():
            largest = float(np.abs(height[notable]).max()) / noise
            found.append(BadLines(name, numbers[notable], largest))
    return found


def _bad_rows(data: FloatArray) -> tuple[IntArray, FloatArray]:
    """Return what `_clear_bad_rows` does, and those that are seen once these are blank."""
    numbers, height = _clear_bad_rows(data)
    more = numbers
    while more.size:
        data = data.copy()
        data[more] = np.nan
        more, higher = _clear_bad_rows(data)
        numbers, height = np.append(numbers, more), np.append(height, higher)
    order = np.argsort(numbers)
    return numbers[order], height[order]


def _clear_bad_rows(data: FloatArray) -> tuple[IntArray, FloatArray]:
    """Return the rows of a map that stand out abruptly from those beside them.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
        Blank pixels are NaN.

    Returns
    -------
    rows : ndarray of int, shape (n,)
    height : ndarray, shape (n,)
        Median of what they exceed the mean of the two beside them by.
    """
    nothing = np.empty(0, dtype=np.intp), np.empty(0)
    if len(data) < _FEWEST_ROWS:
        return nothing
    beyond = np.full(data.shape, np.nan)
    beyond[1:-1] = data[1:-1] - 0.5 * (data[:-2] + data[2:])
    known = np.isfinite(beyond)
    count = known.sum(axis=1)
    enough = count >= _FEWEST_PIXELS
    if np.count_nonzero(enough) < _FEWEST_ROWS:
        return nothing
    limit = _CLIPPED * clipped_statistics(beyond).rms
    clipped = np.where(known, np.clip(beyond, -limit, limit), 0.0)
    count, total, squares = (part[enough] for part in (count, clipped.sum(axis=1), (clipped**2).sum(axis=1)))
    # A row of few loud pixels differs by chance; a bad one is seen in three rows, and so not in the median.
    error = np.sqrt(ndimage.median_filter(squares / count, _LEVEL_ROWS) / count)
    significance = np.divide(total / count, error, out=np.zeros(total.size), where=error > 0.0)
    usual = clipped_statistics(significance).rms
    likely = np.flatnonzero(enough)[np.abs(significance) > _STANDS_OUT * usual]

    def height(row: int) -> float:
        own = beyond[row][known[row]]
        return float(np.median(own)) if own.size else np.nan

    heights = np.array([[height(row + k) for k in (-1, 0, 1)] for row in likely.tolist()]).reshape(-1, 3)
    sign = np.sign(heights[:, 1])
    before, own, after = (sign * column for column in heights.T)
    # The first and the last row of a map, and those beside blank ones, have no height: as beside one bad row.
    beside = np.array([before, after])
    beside = np.where(np.isnan(beside), -0.5 * own, beside)
    below = -beside.mean(axis=0)
    bad = (own > _LARGEST * np.abs(beside).max(axis=0)) & (below >= _ABRUPT * own) & (below < _BETWEEN * own)
    return likely[bad], heights[bad, 1]
