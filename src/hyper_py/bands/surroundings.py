"""What is expected of noise and background on some pixels of a band, given what is left around them.

Noise and background are one random field of covariance C with an unknown mean. With r the residual around,
its expectation inside is m + C_io C_oo^-1 (r - m) with m = 1^T C_oo^-1 r / 1^T C_oo^-1 1, and the variance of
a sum with weights a inside is a^T C_ii a - c^T C_oo^-1 c + (1^T a - 1^T C_oo^-1 c)^2 / 1^T C_oo^-1 1 with c =
C_oi a (universal kriging: Cressie 1993, Statistics for Spatial Data, section 3.4).
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from hyper_py.arrays import BoolArray, FloatArray, IndexArray
from hyper_py.bands.band import Band
from hyper_py.numerics import gaussians
from hyper_py.numerics.tiles import at

AROUND_BEAMS = 1.5
"""Width in beams of the ring of pixels around that are used."""
MOST_AROUND = 400
"""Of these pixels, a regular part of at most so many is used."""
_FEWEST = 6
_FOOTPRINT_SIGMA = 2.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Surroundings:
    """Pixels and those around them.

    Attributes
    ----------
    across : ndarray, shape (n_inside, n_around)
        Covariance of the two.
    within : ndarray, shape (n_inside, n_inside)
    factor : tuple
        Cholesky factor of the covariance of the pixels around.
    residual : ndarray, shape (n_around,)
    """

    across: FloatArray
    within: FloatArray
    factor: tuple[FloatArray, bool]
    residual: FloatArray

    def expected(self) -> FloatArray:
        """Return the expected field inside, (n_inside,)."""
        ones = np.ones(self.residual.size)
        solved = cho_solve(self.factor, np.column_stack([self.residual, ones]), check_finite=False)
        mean = float(solved[:, 0].sum() / solved[:, 1].sum())
        result: FloatArray = mean + self.across @ (solved[:, 0] - mean * solved[:, 1])
        return result

    def variance(self, weights: FloatArray) -> float:
        """Return the variance of a weighted sum of the field inside, (n_inside,), less what is expected."""
        across, ones = self.across.T @ weights, np.ones(self.residual.size)
        solved = cho_solve(self.factor, np.column_stack([across, ones]), check_finite=False)
        of_mean = float(weights.sum() - solved[:, 0].sum()) ** 2 / float(solved[:, 1].sum())
        return max(float(weights @ self.within @ weights - across @ solved[:, 0]), 0.0) + of_mean


def surroundings_of(band: Band, residual: FloatArray, y: IndexArray, x: IndexArray) -> Surroundings | None:
    """Return pixels of a band with those around them.

    Parameters
    ----------
    band : Band
        With its noise.
    residual : ndarray, shape (ny, nx)
        The map less all sources.
    y, x : ndarray, shape (n,)
        Pixels of the map.

    Returns
    -------
    Surroundings or None
        None where there are no pixels around, or they are further apart than the covariance reaches.
    """
    assert band.noise is not None
    if not y.size:
        return None
    covariance, margin = band.noise.covariance, math.ceil(AROUND_BEAMS * band.beam_fwhm_pix)
    ny, nx = residual.shape
    y0, y1 = max(int(y.min()) - margin, 0), min(int(y.max()) + margin + 1, ny)
    x0, x1 = max(int(x.min()) - margin, 0), min(int(x.max()) + margin + 1, nx)
    if max(y1 - y0, x1 - x0) > covariance.reach:
        return None
    usable = np.isfinite(residual[y0:y1, x0:x1])
    usable[y - y0, x - x0] = False
    step = max(1, math.ceil(math.sqrt(np.count_nonzero(usable) / MOST_AROUND)))
    rows, columns = np.nonzero(usable)
    kept = (rows % step == 0) & (columns % step == 0)
    outer_y, outer_x = rows[kept] + y0, columns[kept] + x0
    if outer_y.size < _FEWEST:
        return None
    every_y, every_x = np.concatenate([y, outer_y]), np.concatenate([x, outer_x])
    scale = float(np.mean(at(band.noise.relative_rms, every_y, every_x)))
    matrix = scale**2 * covariance.matrix(every_y, every_x)
    n = y.size
    try:
        factor = cho_factor(matrix[n:, n:], lower=True, check_finite=False)
    except LinAlgError:
        return None
    return Surroundings(
        across=matrix[:n, n:], within=matrix[:n, :n], factor=factor, residual=residual[outer_y, outer_x]
    )


def background_under(band: Band, sources: FloatArray, seen: BoolArray) -> FloatArray:
    """Return the background expected under sources (n, 6), out to 2 sigma, shape (ny, nx); NaN elsewhere.

    Where the footprints of several meet, it is the mean of what is expected with each.
    """
    shape = band.shape
    residual = band.data - gaussians.render(sources, shape)
    total, count = np.zeros(shape), np.zeros(shape)
    stamps = gaussians.footprint_stamps(sources, shape, n_sigma=_FOOTPRINT_SIGMA)
    for i in np.flatnonzero(seen).tolist():
        if i not in stamps:
            continue
        (rows, columns), inside = stamps[i]
        y, x = (
            part + start for part, start in zip(np.nonzero(inside), (rows.start, columns.start), strict=True)
        )
        known = np.isfinite(residual[y, x])
        around = surroundings_of(band, residual, y[known], x[known])
        if around is not None:
            total[y[known], x[known]] += around.expected()
            count[y[known], x[known]] += 1.0
    background: FloatArray = np.divide(total, count, out=np.full(shape, np.nan), where=count > 0.0)
    return background
