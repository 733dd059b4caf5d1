"""Where the residual of a fit has evidence for one more source.

The evidence for a source of the beam's shape at a place is its score test: the whitened residual against the
whitened beam there, both cleared of all that the fitted parameters could still take up (Rao 1948, Proc. Camb.
Phil. Soc. 44, 50).
"""

from collections.abc import Sequence

import numpy as np

from hyper_py.arrays import FloatArray, IntArray
from hyper_py.fitting.group_fit import (
    IN_CACHE,
    FitPixels,
    GroupFit,
    Whitener,
    alike_groups,
    points_and_weights,
    whiten,
)
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.numerics import models

MEMBERS = 6
"""Sources around a new one that are fitted with it; the others of a large unit stand still."""
_SCORE = 3.5
"""Scores below this cannot pay for the three parameters of a source: z^2 is the gain in chi-square."""
_REACH_BEAMS = 1.6
"""How far from a fitted source another is looked for."""
_PLACES_APART = 2.0
"""Beams between places of one unit that are tried at the same time."""


def best_additions(
    values: Sequence[FloatArray],
    windows: Sequence[FitPixels],
    whiteners: Sequence[Whitener],
    fits: Sequence[GroupFit],
    *,
    beam: FloatArray,
) -> list[FloatArray]:
    """Return where one more source of the beam's shape would help the fit of each unit most.

    Those alike share the work.

    Returns
    -------
    list of ndarray, shape (n_places, 3)
        Amplitude, x and y of sources that are far from one another, the best first: at most one, and one
        more for every `MEMBERS` sources of the unit. None where no score reaches the threshold.
    """
    places = [np.empty((0, 3))] * len(values)
    # Terms that are fitted along differ from unit to unit.
    most = IN_CACHE if all(whitener.terms is None for whitener in whiteners) else 1
    for batch in alike_groups([len(fit.parameters) for fit in fits], windows, whiteners, most=most):
        found = _best_of_alike(
            [values[k] for k in batch],
            [windows[k] for k in batch],
            [whiteners[k] for k in batch],
            np.stack([fits[k].parameters for k in batch]),
            beam=beam,
        )
        for k, place in zip(batch, found, strict=True):
            places[k] = place
    return places


def _best_of_alike(
    values: Sequence[FloatArray],
    windows: Sequence[FitPixels],
    whiteners: Sequence[Whitener],
    sources: FloatArray,
    *,
    beam: FloatArray,
) -> list[FloatArray]:
    """Return the best places in each unit of a batch, sources of shape (n_groups, n_sources, 6).

    With T the whitened templates of all places, J the whitened Jacobian and r the whitened residual, the
    score is t (r - J^T (J J^T)^-1 J r) over the norm of what J leaves of t.
    """
    matrix = whiteners[0].matrix
    y, x, weights = points_and_weights(windows, whiteners)
    data = np.zeros(y.shape)
    for row, own in enumerate(values):
        data[row, : own.size] = own
    value, jacobian = models.gaussian_sum_and_jacobian(sources, y, x)
    beam_fwhm = FWHM_PER_SIGMA * float(np.sqrt(beam[0] * beam[1]))
    distance = np.hypot(x[:, None] - sources[..., models.X, None], y[:, None] - sources[..., models.Y, None])
    near = (distance.min(axis=1) <= _REACH_BEAMS * beam_fwhm) & ((x + y) % 2 == 0) & (weights != 0.0)
    places = np.flatnonzero(near.any(axis=0))
    if not places.size:
        return [np.empty((0, 3))] * len(values)
    templates, fitted, residual, weight = _projected(
        _beams_at(places, *((y, x) if matrix is None else (y[:1], x[:1])), beam=beam),
        jacobian,
        data - value,
        weights,
        whiteners,
    )
    basis = np.linalg.qr(fitted.swapaxes(1, 2))[0]
    residual = residual - (basis @ (residual[:, None] @ basis).swapaxes(1, 2))[..., 0]
    power = np.sum(templates**2, axis=-1)
    imitated = np.sum((templates @ basis) ** 2, axis=-1)
    # A place that the fitted parameters can imitate fully has no evidence of its own.
    left = np.where(power - imitated > 1e-3 * power, power - imitated, np.inf)
    projected = (templates @ residual[..., None])[..., 0]
    score = np.where(near[:, places], projected / np.sqrt(left), -np.inf)
    result = []
    for i in range(len(values)):
        at = x[i, places], y[i, places]
        best = _apart(score[i], *at, most=1 + sources.shape[1] // MEMBERS, distance=_PLACES_APART * beam_fwhm)
        result.append(
            np.column_stack([projected[i, best] / (left[i, best] * weight[i]), *(axis[best] for axis in at)])
        )
    return result


def _apart(score: FloatArray, x: FloatArray, y: FloatArray, *, most: int, distance: float) -> list[int]:
    """Return the places of the highest scores above the threshold that keep a distance from one another."""
    chosen: list[int] = []
    score = score.copy()
    while len(chosen) < most and score.max() > _SCORE:
        chosen.append(int(score.argmax()))
        score[np.hypot(x - x[chosen[-1]], y - y[chosen[-1]]) < distance] = -np.inf
    return chosen


def _beams_at(places: IntArray, y: FloatArray, x: FloatArray, *, beam: FloatArray) -> FloatArray:
    """Return sources of peak 1 at some of the pixels of each unit, shape (n_groups, n_places, n)."""
    a, b, c = (float(e[0, 0]) for e in models.exponents(np.array([[1.0, 0.0, 0.0, *beam]])))
    dy, dx = (v[:, None] - v[:, places, None] for v in (y, x))
    beams: FloatArray = np.exp(-(a * dx * dx + 2.0 * b * dx * dy + c * dy * dy))
    return beams


def _projected(
    templates: FloatArray,
    jacobian: FloatArray,
    residual: FloatArray,
    weights: FloatArray,
    whiteners: Sequence[Whitener],
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return templates, Jacobian and residual of a batch in its whitener, and what the templates lack.

    That is one factor a unit. Units that share a matrix have their pixels in the same places and one weight
    each, so that they share templates up to their weight: shape (1, n_places, n).
    """
    one, matrix = np.ones(len(residual)), whiteners[0].matrix
    if whiteners[0].terms is not None:
        project = whiteners[0].project
        return project(templates[0])[None], project(jacobian[0])[None], project(residual[0])[None], one
    jacobian, residual = jacobian * weights[:, None], residual * weights
    if matrix is None:
        return templates * weights[:, None], jacobian, residual, one
    return whiten(templates[:1], matrix), whiten(jacobian, matrix), whiten(residual, matrix), weights[:, 0]
