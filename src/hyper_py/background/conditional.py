"""The conditional background: the mean of the field under a source, given the field around it.

Noise and structured background are one random field of covariance C. With r the residual of the fit, i the
pixels under the sources and o those around them, the mean of the field under the sources is

    b_i = -Q_ii^-1 Q_io r_o,    Q = C^-1 - C^-1 1 1^T C^-1 / (1^T C^-1 1),

with the precision Q of a field of unknown mean (Rue & Held 2005, Gaussian Markov Random Fields, theorem 2.5).
Nothing is chosen: the covariance, measured on the map, decides how far the surroundings matter. The mean is
linear in the data, so that its error follows from C (`hyper_py.photometry.conditional_flux`).
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from hyper_py.arrays import BoolArray, FloatArray, IntArray
from hyper_py.background.model import Painted
from hyper_py.noise.whitener_cache import NoiseMatrices
from hyper_py.numerics import gaussians

_FOOTPRINT_SIGMA = 2.0
"""Pixels this near a source do not constrain the background under it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ConditionalBackground:
    """The background on the pixels of a group's sources.

    Attributes
    ----------
    y, x : int ndarray, shape (n,)
    values : ndarray, shape (n,)
    """

    y: IntArray
    x: IntArray
    values: FloatArray
    order = -1

    def at(self, y: IntArray, x: IntArray) -> FloatArray:
        """Return the background at map pixels; NaN where it is not known."""
        y, x = np.broadcast_arrays(y, x)
        same = (y[..., None] == self.y) & (x[..., None] == self.x)
        values: FloatArray = np.where(
            same.any(axis=-1), np.where(same, self.values, 0.0).sum(axis=-1), np.nan
        )
        return values

    def paint(self) -> Painted:
        """Return the background on its pixels."""
        return Painted(self.y, self.x, self.values, np.ones(self.values.shape))


def source_footprint(sources: FloatArray, y: IntArray, x: IntArray) -> BoolArray:
    """Return which pixels, (n,), are within 2 sigma of any source, (n_sources, 6)."""
    a, b, c = gaussians.exponents(sources)
    dy, dx = y - sources[:, gaussians.Y, None], x - sources[:, gaussians.X, None]
    exponent = a * dx * dx + 2.0 * b * dx * dy + c * dy * dy
    inside: BoolArray = np.any(exponent <= 0.5 * _FOOTPRINT_SIGMA**2, axis=0)
    return inside


def conditional_mean(
    noise: NoiseMatrices, inside: BoolArray, *, apertures: FloatArray, residual: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return K^T a for apertures a, and K r: the mean of a field inside is K times its values outside.

    K = -Q_ii^-1 Q_io. Only the two products are needed: -Q_oi z, where Q_ii z = a, and the solution of
    Q_ii b = -Q_io r. Where the surroundings are fewer than the pixels inside, the same comes from their
    covariance, see `_kriging`. Without any surroundings only the mean of the field is known.

    Parameters
    ----------
    noise : NoiseMatrices
    inside : bool ndarray, shape (n_groups, n)
    apertures : ndarray, shape (n_groups, n_sources, n)
        Weights of the pixels in each aperture.
    residual : ndarray, shape (n_groups, n)

    Returns
    -------
    outer : ndarray, shape (n_groups, n_sources, n)
    background : ndarray, shape (n_groups, n)
        NaN outside.
    """
    pushed = symmetric_times(np.where(inside, 0.0, residual), noise.precision)
    spread, background = np.zeros(apertures.shape), np.full(residual.shape, np.nan)
    # Without surroundings the precision, the mean eliminated, is singular.
    alone = inside.all(axis=1)
    around = ~inside
    few = ~alone & (around.sum(axis=1) < inside.sum(axis=1))
    for k in np.flatnonzero(~alone & ~few):
        own = np.flatnonzero(inside[k])
        right = np.column_stack([apertures[k][:, own].T, -pushed[k, own]])
        solved = np.linalg.solve(noise.precision[np.ix_(own, own)], right)
        spread[k][:, own], background[k, own] = solved[:, :-1].T, solved[:, -1]
    outer = np.where(inside[:, None], 0.0, -symmetric_times(spread, noise.precision))
    for k in np.flatnonzero(few):
        outer[k], background[k] = _kriging(
            noise.covariance, inside[k], apertures=apertures[k], residual=residual[k]
        )
    if alone.any():
        share = np.linalg.solve(noise.covariance, np.ones(inside.shape[1]))
        share /= share.sum()
        outer[alone] = apertures[alone].sum(axis=-1, keepdims=True) * share
        background[alone] = (residual[alone] @ share)[:, None]
    return outer, background


def _kriging(
    covariance: FloatArray, inside: BoolArray, *, apertures: FloatArray, residual: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return K^T a and K r of one group by way of the covariance C of the field.

    K = C_io C_oo^-1 (1 - 1 w^T) + 1 w^T, with the weights w = C_oo^-1 1 / (1^T C_oo^-1 1) of the best mean of
    the surroundings: kriging with an unknown mean (Cressie 1993, Statistics for Spatial Data, section 3.4).
    """
    within, around = np.flatnonzero(inside), np.flatnonzero(~inside)
    between = covariance[np.ix_(around, within)]
    pushed = between @ apertures[:, within].T
    right = np.column_stack([np.ones(around.size), residual[around], pushed])
    factor = cho_factor(covariance[np.ix_(around, around)], lower=True, check_finite=False)
    solved = cho_solve(factor, right, check_finite=False)
    share = solved[:, 0] / solved[:, 0].sum()
    mean = share @ residual[around]
    outer, background = np.zeros(apertures.shape), np.full(residual.shape, np.nan)
    lacking = apertures[:, within].sum(axis=1) - solved[:, 2:].sum(axis=0)
    outer[:, around] = (solved[:, 2:] + share[:, None] * lacking).T
    background[within] = mean + between.T @ (solved[:, 1] - mean * solved[:, 0])
    return outer, background


def symmetric_times(vectors: FloatArray, matrix: FloatArray) -> FloatArray:
    """Return a symmetric matrix times vectors (..., n): one product, not one for each leading index."""
    product: FloatArray = (vectors.reshape(-1, vectors.shape[-1]) @ matrix).reshape(vectors.shape)
    return product
