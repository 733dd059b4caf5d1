"""The score test: where one more source would improve a fit.

The score of a source of the beam's shape at a place is the whitened residual against the
whitened beam there, both cleared of all that the fitted parameters could still take up (Rao 1948, Proc. Camb.
Phil. Soc. 44, 50).
"""

from collections.abc import Sequence

import numpy as np

from hyper_py.arrays import FloatArray, IntArray
from hyper_py.fitting.groups import IN_CACHE, Group, alike_groups, points_and_weights
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.noise.whitening import Whitener
from hyper_py.numerics import gaussians

MEMBERS = 6
"""Sources around a new one that are fitted with it; the others of a large group stand still."""
_SCORE = 3.5
"""Scores below this cannot pay for the three parameters of a source: z^2 is the gain in chi-square."""
_REACH_BEAMS = 1.6
"""How far from a fitted source another is looked for."""
_PLACES_APART = 2.0
"""Beams between places of one group that are tried at the same time."""


def best_additions(groups: Sequence[Group], *, beam: FloatArray) -> list[FloatArray]:
    """Return where one more source of the beam's shape would help the fit of each group most.

    Groups alike share the work.

    Parameters
    ----------
    groups : sequence of Group
        As fitted, with their whiteners made.
    beam : ndarray, shape (3,)
        sigma_1, sigma_2 (pixels) and theta.

    Returns
    -------
    list of ndarray, shape (n_places, 3)
        Amplitude, x and y of sources that are far from one another, the best first: at most one, and one
        more for every `MEMBERS` sources of the group. None where no score reaches the threshold.
    """
    places: dict[int, FloatArray] = {}
    # Linear terms differ from group to group.
    most = IN_CACHE if all(group.whitener.terms is None for group in groups) else 1
    for batch in alike_groups(groups, most=most):
        places.update(zip(batch, _best_of_alike([groups[k] for k in batch], beam=beam), strict=True))
    return [places[k] for k in range(len(groups))]


def _best_of_alike(groups: Sequence[Group], *, beam: FloatArray) -> list[FloatArray]:
    """Return the best places in each group of a batch.

    With T the whitened templates of all places, J the whitened Jacobian and r the whitened residual, the
    score is t (r - J^T (J J^T)^-1 J r) over the norm of what J leaves of t.
    """
    sources = np.stack([group.fitted.parameters for group in groups])
    y, x, weights = points_and_weights(groups)
    data = np.zeros(y.shape)
    for row, group in zip(data, groups, strict=True):
        row[: group.pixels.y.size] = group.values
    value, jacobian = gaussians.gaussian_sum_and_jacobian(sources, y, x)
    beam_fwhm = FWHM_PER_SIGMA * float(np.sqrt(beam[0] * beam[1]))
    distance = np.hypot(
        x[:, None] - sources[..., gaussians.X, None], y[:, None] - sources[..., gaussians.Y, None]
    )
    near = (distance.min(axis=1) <= _REACH_BEAMS * beam_fwhm) & ((x + y) % 2 == 0) & (weights != 0.0)
    places = np.flatnonzero(near.any(axis=0))
    if not places.size:
        return [np.empty((0, 3))] * len(groups)
    shared = slice(None) if groups[0].whitener.matrix is None else slice(1)
    templates, fitted, residual, weight = _projected(
        _beams_at(places, y[shared], x[shared], beam=beam),
        jacobian,
        data - value,
        weights,
        groups[0].whitener,
    )
    basis = np.linalg.qr(fitted.swapaxes(1, 2))[0]
    residual = residual - (basis @ (residual[:, None] @ basis).swapaxes(1, 2))[..., 0]
    power = np.sum(templates**2, axis=-1)
    imitated = np.sum((templates @ basis) ** 2, axis=-1)
    # A place that the fitted parameters can imitate fully has no score of its own.
    own = np.where(power - imitated > 1e-3 * power, power - imitated, np.inf)
    projected = (templates @ residual[..., None])[..., 0]
    score = np.where(near[:, places], projected / np.sqrt(own), -np.inf)
    result = []
    for i in range(len(groups)):
        at = x[i, places], y[i, places]
        best = distant_places(
            score[i], *at, most=1 + sources.shape[1] // MEMBERS, distance=_PLACES_APART * beam_fwhm
        )
        result.append(
            np.column_stack([projected[i, best] / (own[i, best] * weight[i]), *(axis[best] for axis in at)])
        )
    return result


def distant_places(
    score: FloatArray, x: FloatArray, y: FloatArray, *, most: int, distance: float
) -> list[int]:
    """Return the places of the highest scores above the threshold that keep a distance from one another."""
    chosen: list[int] = []
    score = score.copy()
    while len(chosen) < most and score.max() > _SCORE:
        chosen.append(int(score.argmax()))
        score[np.hypot(x - x[chosen[-1]], y - y[chosen[-1]]) < distance] = -np.inf
    return chosen


def _beams_at(places: IntArray, y: FloatArray, x: FloatArray, *, beam: FloatArray) -> FloatArray:
    """Return sources of peak 1 at some of the pixels of each group, shape (n_groups, n_places, n)."""
    a, b, c = (float(e[0, 0]) for e in gaussians.exponents(np.array([[1.0, 0.0, 0.0, *beam]])))
    dy, dx = (v[:, None] - v[:, places, None] for v in (y, x))
    beams: FloatArray = np.exp(-(a * dx * dx + 2.0 * b * dx * dy + c * dy * dy))
    return beams


def _projected(
    templates: FloatArray, jacobian: FloatArray, residual: FloatArray, weights: FloatArray, whitener: Whitener
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return templates, Jacobian and residual of a batch whitened, and what the templates lack.

    That is one factor a group. Groups that share a matrix have their pixels in the same places and one weight
    each, so that they share templates up to their weight: shape (1, n_places, n).
    """
    one, matrix = np.ones(len(residual)), whitener.matrix
    if whitener.terms is not None:
        project = whitener.project
        return project(templates[0])[None], project(jacobian[0])[None], project(residual[0])[None], one
    jacobian, residual = jacobian * weights[:, None], residual * weights
    if matrix is None:
        return templates * weights[:, None], jacobian, residual, one
    return matrix.times(templates[:1]), matrix.times(jacobian), matrix.times(residual), weights[:, 0]
