"""Aperture fluxes on the conditional mean: what the field is under a source, given what it is around it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray, IntArray
from hyper_py.fitting.group_fit import FitPixels, GroupFit, Whitener, influences, spread_of_assumed
from hyper_py.noise.whitening import NoiseMatrices
from hyper_py.numerics import models
from hyper_py.photometry.aperture import (
    Aperture,
    GroupPhotometry,
    aperture_fractions,
    aperture_on_pixels,
    flux_gradient,
)

_FOOTPRINT_SIGMA = 2.0
"""Pixels this near a source say nothing about the background under it."""


def photometry_of_alike(
    residuals: Sequence[FloatArray],
    fits: Sequence[GroupFit],
    windows: Sequence[FitPixels],
    whiteners: Sequence[Whitener],
    noise: NoiseMatrices,
    apertures: Sequence[Sequence[Aperture]],
    *,
    footprints: Sequence[BoolArray],
    scales: Sequence[float],
    fixed: Sequence[BoolArray] | None = None,
    assumed: Sequence[FloatArray] | None = None,
) -> list[tuple[GroupPhotometry, FloatArray]]:
    """Measure aperture fluxes on the map minus companions and conditional background.

    With r the residual of the fit, K r_s the mean of the field on the footprint given the residual r_s of
    the surroundings, a the aperture and f the fraction of the model in it, the flux is
    F = F_gauss + a (r - K r_s) / f: linear in the data, so that its error follows from the covariance.

    Parameters
    ----------
    residuals : sequence of ndarray, shape (n,)
        Data minus all models on the window of each unit.
    fits, windows, whiteners
        Units that share a noise window and have as many sources, as fitted.
    noise : NoiseMatrices
    apertures : sequence of sequences of Aperture
        One a source of each unit.
    footprints : sequence of bool ndarray, shape (n,)
        Pixels that say nothing about the background: those of the sources.
    scales : sequence of float
        Local noise in units of the noise window's.
    fixed : sequence of bool ndarray, shape (n_sources, 6), optional
        Parameters that were not fitted.
    assumed : sequence of ndarray, shape (n_sources, 6), optional
        Variances of those among them that were assumed.

    Returns
    -------
    list of (GroupPhotometry, ndarray of shape (n,))
        Of each unit; the array is the background on the pixels of the footprint and apertures, NaN on the
        others.
    """
    moves, _, jacobian = influences(fits, windows, whiteners, fixed=fixed)
    variances = np.asarray(scales)[:, None, None] ** 2
    # The whitener is another's than the noise's: white, or conditioned.
    covariance = variances * (_times(moves, noise.measured) @ moves.swapaxes(1, 2))
    if assumed is not None:
        spread = spread_of_assumed(moves, jacobian, np.stack([own.ravel() for own in assumed]))
        covariance = covariance + spread
    gradients = np.stack([flux_gradient(fit.parameters) for fit in fits])
    sums = np.stack(
        [[aperture_on_pixels(a, w.y, w.x) for a in own] for own, w in zip(apertures, windows, strict=True)]
    )
    fractions = aperture_fractions(
        np.concatenate([fit.parameters for fit in fits]), [a for own in apertures for a in own]
    ).reshape(sums.shape[:2])
    inside = np.stack(footprints) | (sums > 0.0).any(axis=1)
    residual = np.stack(residuals)
    outer, background = _surroundings_say(noise, inside, sums, residual)
    weights = (sums - outer) / fractions[..., None]
    of_model = gradients - weights @ jacobian.swapaxes(1, 2)
    influence = weights + of_model @ moves
    variance = np.asarray(scales)[:, None] ** 2 * np.sum(
        _times(influence, noise.measured) * influence, axis=-1
    )
    if assumed is not None:
        variance = variance + np.sum((of_model @ spread) * of_model, axis=-1)
    variance_gauss = np.sum((gradients @ covariance) * gradients, axis=-1)
    correction = np.sum(weights * residual[:, None], axis=-1)
    area = sums.sum(axis=-1)
    below = np.sum(sums * np.where(inside, background, 0.0)[:, None], axis=-1)
    level = np.divide(below, area, out=np.full(area.shape, np.nan), where=area > 0.0)
    return [
        (
            GroupPhotometry(
                flux=models.gaussian_flux(fit.parameters) + correction[k],
                flux_err=np.sqrt(np.maximum(variance[k], 0.0)),
                flux_gauss_err=np.sqrt(np.maximum(variance_gauss[k], 0.0)),
                fraction=fractions[k],
                background=level[k],
                covariance=covariance[k],
            ),
            background[k],
        )
        for k, fit in enumerate(fits)
    ]


def _surroundings_say(
    noise: NoiseMatrices, inside: BoolArray, sums: FloatArray, residual: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return K^T a for apertures a, and K r: the mean of a field inside is K times its values outside.

    With the precision Q of the window, the field's mean eliminated, K = -Q_ii^-1 Q_io (Rue & Held 2005,
    Gaussian Markov Random Fields, theorem 2.5). Only the two products are needed: -Q_oi z, where Q_ii z = a,
    and the solution of Q_ii b = -Q_io r. Without any surroundings only the mean of the field can be told.

    Parameters
    ----------
    noise : NoiseMatrices
    inside : bool ndarray, shape (n_groups, n)
    sums : ndarray, shape (n_groups, n_sources, n)
    residual : ndarray, shape (n_groups, n)

    Returns
    -------
    outer : ndarray, shape (n_groups, n_sources, n)
    background : ndarray, shape (n_groups, n)
        NaN outside.
    """
    pushed = _times(np.where(inside, 0.0, residual), noise.precision)
    spread, background = np.zeros(sums.shape), np.full(residual.shape, np.nan)
    # Without surroundings the precision, the mean eliminated, is singular.
    alone = inside.all(axis=1)
    for k in np.flatnonzero(~alone):
        own = np.flatnonzero(inside[k])
        right = np.column_stack([sums[k][:, own].T, -pushed[k, own]])
        solved = np.linalg.solve(noise.precision[np.ix_(own, own)], right)
        spread[k][:, own], background[k, own] = solved[:, :-1].T, solved[:, -1]
    outer = np.where(inside[:, None], 0.0, -_times(spread, noise.precision))
    if alone.any():
        share = np.linalg.solve(noise.covariance, np.ones(inside.shape[1]))
        share /= share.sum()
        outer[alone] = sums[alone].sum(axis=-1, keepdims=True) * share
        background[alone] = (residual[alone] @ share)[:, None]
    return outer, background


def _times(vectors: FloatArray, matrix: FloatArray) -> FloatArray:
    """Return a symmetric matrix times vectors (..., n): one product, not one for each leading index."""
    product: FloatArray = (vectors.reshape(-1, vectors.shape[-1]) @ matrix).reshape(vectors.shape)
    return product


def footprint(sources: FloatArray, window: FitPixels) -> BoolArray:
    """Return which pixels of a window are within `_FOOTPRINT_SIGMA` of a source."""
    a, b, c = models.exponents(sources)
    dy, dx = window.y - sources[:, models.Y, None], window.x - sources[:, models.X, None]
    exponent = a * dx * dx + 2.0 * b * dx * dy + c * dy * dy
    inside: BoolArray = np.any(exponent <= 0.5 * _FOOTPRINT_SIGMA**2, axis=0)
    return inside


@dataclass(frozen=True, kw_only=True, eq=False)
class ConditionalPatch:
    """The background on a unit's footprint."""

    y: IntArray
    x: IntArray
    values: FloatArray

    def paint(self) -> tuple[IntArray, IntArray, FloatArray, FloatArray]:
        """Return y, x, background and weight of the pixels covered."""
        return self.y, self.x, self.values, np.ones(self.values.shape)
