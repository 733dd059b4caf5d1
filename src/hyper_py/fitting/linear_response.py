"""How fitted parameters respond to the data, to first order: what errors are propagated with.

Near its minimum the fit is linear. A change e of the data moves the parameters by R e, with

    R = (J^T Q J)^-1 J^T Q,

J the Jacobian of the Gaussians and Q the precision of the cost (`hyper_py.noise.whitening.Whitener`). Noise
of covariance C then gives the parameters the covariance R C R^T; that is (J^T Q J)^-1 where Q belongs to C.
Parameters that are fixed, or that a bound holds, do not move.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hyper_py.arrays import FloatArray
from hyper_py.fitting.groups import Group, points_and_weights
from hyper_py.numerics import gaussians
from hyper_py.numerics.gaussians import N_PARAMETERS, gaussian_sum_and_jacobian

_NO_EFFECT = 1e-100
"""Squared sigmas per unit of a parameter below which it has no effect: that of a source that has vanished."""


class LinearResponse(NamedTuple):
    """How the parameters of groups alike respond to their data.

    Attributes
    ----------
    moves : ndarray, shape (n_groups, 6 n_sources, n)
        d parameter / d value of each pixel; zero for parameters that cannot move.
    inverse : ndarray, shape (n_groups, 6 n_sources, 6 n_sources)
        Inverse of the normal matrix: the covariance, where the whitener is that of the noise.
    jacobian : ndarray, shape (n_groups, 6 n_sources, n)
        d model / d parameter, not weighted.
    """

    moves: FloatArray
    inverse: FloatArray
    jacobian: FloatArray


def linear_response(groups: Sequence[Group]) -> LinearResponse:
    """Return how fitted groups respond to their data.

    Parameters
    ----------
    groups : sequence of Group
        Alike, as `hyper_py.fitting.groups.alike_groups` finds them, with their whiteners made. Groups with
        fewer pixels than the largest are padded with zeros.
    """
    y, x, weights = points_and_weights(groups)
    shapes = np.stack([group.fitted.parameters for group in groups])
    _, jacobian = gaussian_sum_and_jacobian(shapes, y, x)
    weighted, back = _weighted_and_back(jacobian, weights, groups)
    held = np.stack([group.fitted.at_bound.ravel() | group.fixed.ravel() for group in groups])
    # A round source has no angle that could move.
    held[:, gaussians.THETA :: N_PARAMETERS] |= np.isclose(
        shapes[..., gaussians.SIGMA_1], shapes[..., gaussians.SIGMA_2], rtol=1e-6, atol=0.0
    )
    normal = weighted @ weighted.swapaxes(1, 2)
    diagonal = np.arange(held.shape[1])
    # An amplitude of 1 changes pixels by their weights; the other parameters are in no unit of the map.
    scale = np.ones(held.shape)
    scale[:, gaussians.AMPLITUDE :: N_PARAMETERS] = np.max(weights**2, axis=1, initial=0.0)[:, None]
    held |= normal[:, diagonal, diagonal] <= _NO_EFFECT * scale
    normal[held[:, :, None] | held[:, None, :]] = 0.0
    normal[:, diagonal, diagonal] += held
    scale = 1.0 / np.sqrt(normal[:, diagonal, diagonal])
    scale = scale[:, :, None] * scale[:, None, :]
    inverse = scale * np.linalg.pinv(normal * scale, rcond=1e-12, hermitian=True)
    inverse[held[:, :, None] | held[:, None, :]] = 0.0
    return LinearResponse(inverse @ back, inverse, jacobian)


def prior_covariance(response: LinearResponse, prior_variance: FloatArray) -> FloatArray:
    """Return the covariance that uncertain fixed parameters give to all parameters of groups.

    Where a fixed parameter is off by e, the fit answers with -R J e on top: the covariance is
    (1 - R J) V (1 - R J)^T with the prior variances V.

    Parameters
    ----------
    response : LinearResponse
    prior_variance : ndarray, shape (n_groups, 6 n_sources)

    Returns
    -------
    ndarray, shape (n_groups, 6 n_sources, 6 n_sources)
    """
    moves, _, jacobian = response
    change = np.eye(moves.shape[1]) - moves @ jacobian.swapaxes(1, 2)
    covariance: FloatArray = (change * prior_variance[:, None, :]) @ change.swapaxes(1, 2)
    return covariance


def amplitude_significance(group: Group) -> FloatArray:
    """Return the amplitudes of a fitted group's sources in units of their errors, shape (n_sources,)."""
    variance = np.diagonal(linear_response([group]).inverse[0])[gaussians.AMPLITUDE :: N_PARAMETERS]
    error = np.sqrt(np.where(variance > 0.0, variance, np.inf))
    significance: FloatArray = group.fitted.parameters[:, gaussians.AMPLITUDE] / error
    return significance


def _weighted_and_back(
    jacobian: FloatArray, weights: FloatArray, groups: Sequence[Group]
) -> tuple[FloatArray, FloatArray]:
    """Return a Jacobian as `Whitener.project` and as `Whitener.precision_times` give it, of groups alike."""
    matrix = groups[0].whitener.matrix
    if groups[0].whitener.terms is None:
        weighted = jacobian * weights[:, None, :]
        if matrix is not None:
            weighted = matrix.times(weighted)
        back = weighted if matrix is None else matrix.transposed_times(weighted)
        return weighted, back * weights[:, None, :]
    own = [(group.whitener, j[:, : group.pixels.y.size]) for j, group in zip(jacobian, groups, strict=True)]
    return (
        _padded([whitener.project(j) for whitener, j in own]),
        _padded([whitener.precision_times(j) for whitener, j in own]),
    )


def _padded(results: Sequence[FloatArray]) -> FloatArray:
    """Return arrays (k, n) of different n as one, padded with zeros."""
    n = max(result.shape[1] for result in results)
    return np.stack([np.pad(result, ((0, 0), (0, n - result.shape[1]))) for result in results])
