"""Steps of the background between the tiles of a mosaic, along whole parts of rows and columns of pixels."""

import itertools
import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from hyper_py.arrays import BoolArray, FloatArray, IntArray
from hyper_py.numerics.medians import MAD_TO_RMS, medians, scatter
from hyper_py.numerics.tiles import sample_step

_BLOCK_PIXELS, _BLOCK_BEAMS = 32, 8.0
"""Length of the pieces of which medians are compared, at least, in pixels and in beams."""
_FEWEST = 16
"""Known pixels of such a piece, at least."""
_IN_A_ROW = 2
"""Pieces of a seam with a step that lie next to each other, at least."""
_REACH = 4
"""Boundaries on either side of one that show no step where that does: no seam is nearer to another."""
_STANDS_OUT, _NOTABLE = 10.0, 3.0
"""A step exceeds what is usual by the first factor, and the noise by the second."""
_SEEN = 3.0
"""Where one seam is notable, others are seen whose steps, all along, are what is usual times this."""
_ABRUPT = 0.25
"""The boundaries beside a step differ by less than this share of it: an edge seen through a beam of 1.5
pixels, less sharp than any beam should be, has 0.3 there."""
_MOST_SEAMS = 30
"""Along an axis; more are no mosaic."""
_NOISE_STEP = 2.0
"""Beams between pixels of which the differences show the noise."""


@dataclass(frozen=True, eq=False)
class MosaicLevels:
    """Levels of the rectangles between seams.

    Attributes
    ----------
    rows, columns : ndarray of int, shape (m,), (n,)
        First row, and column, of pixels behind each seam.
    levels : ndarray, shape (m + 1, n + 1)
    highest : float
        Largest step over the noise.
    """

    rows: IntArray
    columns: IntArray
    levels: FloatArray
    highest: float

    def image(self, shape: tuple[int, int]) -> FloatArray:
        """Return the level of each pixel, shape (ny, nx)."""
        row, column = (
            np.searchsorted(seams, np.arange(n), side="right")
            for seams, n in zip((self.rows, self.columns), shape, strict=True)
        )
        level: FloatArray = self.levels[row][:, column]
        return level


def mosaic_levels(data: FloatArray, *, fwhm: float) -> MosaicLevels | None:
    """Find the seams of a mosaic at which the background jumps, and the levels of its tiles.

    A step from one pixel to the next is sharper than anything seen through the beam. The median of the
    differences across a seam does not see sources; levels are the least-squares solution of all steps.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
        Blank pixels are NaN.
    fwhm : float
        Of the beam in pixels.

    Returns
    -------
    MosaicLevels or None
        None if there is no such seam.
    """
    noise = _noise(data, fwhm=fwhm)
    if not noise > 0.0:
        return None
    found = [_seams(part, fwhm=fwhm, noise=noise) for part in (data.T, data)]
    rows, columns = (seen for _, seen in found)
    if not any(notable.size for notable, _ in found) or max(rows.size, columns.size) > _MOST_SEAMS:
        return None
    levels, highest = _solved(data, rows, columns)
    return MosaicLevels(rows, columns, levels, highest / noise)


def _noise(data: FloatArray, *, fwhm: float) -> float:
    """Return the scatter of differences of pixels some beams apart, as that of pixels."""
    lag, step = math.ceil(_NOISE_STEP * fwhm), sample_step(data.shape)
    difference = data[::step, lag::step] - data[::step, :-lag:step]
    known = difference[np.isfinite(difference)]
    if not known.size:
        return 0.0
    return scatter(known) / math.sqrt(2.0)


def _seams(data: FloatArray, *, fwhm: float, noise: float) -> tuple[IntArray, IntArray]:
    """Return the first columns behind seams with notable steps, and behind all that are seen at all."""
    n = len(data) // max(_BLOCK_PIXELS, math.ceil(_BLOCK_BEAMS * fwhm))
    if n < _IN_A_ROW or data.shape[1] <= 2 * _REACH + 1:
        nothing = np.empty(0, dtype=np.intp)
        return nothing, nothing
    pieces = [_steps(part) for part in np.array_split(data, n)]
    step, spread = (np.array(part) for part in zip(*pieces, strict=True))
    ratio = np.abs(np.divide(step, spread, out=np.zeros(step.shape), where=spread > 0.0))
    usual = MAD_TO_RMS * float(np.median(ratio[ratio > 0.0])) if ratio.any() else 0.0
    # Beside pixels of one value, such as a frame of zeros, is an edge of the map.
    varies = ndimage.minimum_filter1d(spread, 2 * _REACH + 1, mode="nearest") > 0.0
    size = np.abs(step)
    is_step = varies & (ratio > _STANDS_OUT * usual) & (size > _NOTABLE * noise) & _is_abrupt(size)
    whole = np.sqrt((ratio**2).mean(axis=0, keepdims=True))
    notable = _adjacent(np.sign(step) * is_step)
    seen = notable | (varies.any(axis=0) & (whole > _SEEN * usual) & _is_abrupt(whole))[0]
    return 1 + np.flatnonzero(notable), 1 + np.flatnonzero(seen)


def _is_abrupt(size: FloatArray) -> BoolArray:
    """Return where steps in rows stand alone, and not near the ends."""
    beside = np.ones(2 * _REACH + 1, dtype=bool)
    beside[_REACH] = False
    alone: BoolArray = ndimage.maximum_filter(size, footprint=beside[None, :]) < _ABRUPT * size
    alone[:, :_REACH] = alone[:, -_REACH:] = False
    return alone


def _adjacent(sign: FloatArray) -> BoolArray:
    """Return in which columns enough rows next to each other have one sign that is not 0."""
    found = np.zeros(sign.shape[1], dtype=bool)
    for first in range(len(sign) - _IN_A_ROW + 1):
        found |= np.abs(sign[first : first + _IN_A_ROW].sum(axis=0)) == _IN_A_ROW
    return found


def _steps(data: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the step from each column to the next, less that of those beside, and the spread in rows.

    Both of shape (nx - 1,), and 0 where few rows are known.
    """
    difference = np.diff(data, axis=1).T
    count = np.count_nonzero(np.isfinite(difference), axis=1)
    enough = count >= _FEWEST
    step = np.where(enough, medians(difference, count), 0.0)
    spread = medians(np.abs(difference - step[:, None]), count)
    gradient = ndimage.median_filter(step, 2 * _REACH + 1, mode="nearest")
    return np.where(enough, step - gradient, 0.0), np.where(enough, spread, 0.0)


def _solved(data: FloatArray, rows: IntArray, columns: IntArray) -> tuple[FloatArray, float]:
    """Return the levels of the rectangles between seams, and the largest step."""
    ends = [np.array([0, *seams, n]) for seams, n in zip((rows, columns), data.shape, strict=True)]
    number = np.arange((ends[0].size - 1) * (ends[1].size - 1)).reshape(ends[0].size - 1, -1)
    equations: list[tuple[int, int, float, int]] = []
    for part, cells, (along, across) in ((data, number, ends), (data.T, number.T, ends[::-1])):
        for row, (first, last) in enumerate(itertools.pairwise(along.tolist())):
            step, spread = _steps(part[first:last])
            for column, seam in enumerate(across[1:-1].tolist()):
                if spread[seam - 1] > 0.0:
                    before, behind = cells[row, column : column + 2].tolist()
                    equations.append((before, behind, float(step[seam - 1]), last - first))
    before, behind, steps, pixels = (np.array(part) for part in zip(*equations, strict=True))
    weight = np.sqrt(pixels)
    matrix = np.zeros((steps.size, number.size))
    matrix[np.arange(steps.size), before], matrix[np.arange(steps.size), behind] = -weight, weight
    levels = np.linalg.lstsq(matrix, weight * steps, rcond=1e-10)[0].reshape(number.shape)
    return levels - np.median(levels), float(np.abs(steps).max())
