"""The fit of a group of sources in all bands at once.

Minimised is

    sum over blocks of |L^-1 (d - sum_i F_i g_i - c)|^2 + sum over sources of (s - s0)^T V^-1 (s - s0),

with L L^T the covariance of a block's pixels, g_i source i as the band shows it (its intrinsic Gaussian
convolved with the beam), F_i its flux in the band, c the local mean and the fluxes of sources beside. F and c
are linear and eliminated in each block; what is iterated are positions and intrinsic shapes, which all bands
share. The second term is what is known of intrinsic shapes beforehand. With shapes that are free there is one
more covariance for each band, the difference to the common one, and its prior.

Errors are those of the whole normal matrix: the covariance of positions and shapes is the inverse of what is
left of it when the fluxes are eliminated, and fluxes have, besides their own errors, those that positions and
shapes pass on to them: cov(F_b, F_c) = D_b V D_c^T + delta_bc (G_b^T G_b)^-1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from hyper_py.arrays import BoolArray, FloatArray
from hyper_py.bands.blocks import Block, Normal, whitened
from hyper_py.bands.estimates import SHAPE_PARAMETERS
from hyper_py.bands.shapes import bounded

_SMALLEST = 1e-9
"""Added to the normal matrix: a parameter that no band sees stays where it is."""
_FIRST_DAMPING, _LARGEST_DAMPING = 1e-3, 1e6
_AT_BOUND = 1e-6


@dataclass(frozen=True, kw_only=True, eq=False)
class ShapePrior:
    """What is known beforehand of intrinsic shapes, in arcsec^2.

    Attributes
    ----------
    mean, sigma : ndarray, shape (3,)
        Of xx, xy, yy.
    band_sigma : ndarray, shape (n_bands,), optional
        How far a band's shape may be from the common one; None: shapes are shared.
    """

    mean: FloatArray
    sigma: FloatArray
    band_sigma: FloatArray | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Bounds:
    """Limits of the parameters of k sources.

    Attributes
    ----------
    start : ndarray, shape (k, 2)
    radius : ndarray, shape (k,)
        How far from there a position may move, in arcsec.
    low, high : ndarray, shape (k,)
        Least and largest eigenvalue of an intrinsic shape; the least is below 0, so that points are not
        biased.
    fixed_position, fixed_shape : bool
        Whether these stay as they are.
    """

    start: FloatArray
    radius: FloatArray
    low: FloatArray
    high: FloatArray
    fixed_position: bool = False
    fixed_shape: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class OffsetNormal:
    """Normal equations of the offsets of all maps, positions and shapes marginalised.

    Attributes
    ----------
    matrix : ndarray, shape (n_bands, 2, n_bands, 2)
    gradient : ndarray, shape (n_bands, 2)
    """

    matrix: FloatArray
    gradient: FloatArray


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupResult:
    """What the fit of k sources gave.

    Attributes
    ----------
    theta : ndarray, shape (k, 5)
        Position and common shape.
    difference : ndarray, shape (k, n_bands, 3)
    covariance : ndarray, shape (k, 5, 5)
    flux : ndarray, shape (k, n_bands)
        NaN where a band has no block for a source.
    flux_covariance : ndarray, shape (k, n_bands, k, n_bands)
        NaN there too.
    conditional_snr : ndarray, shape (k, n_bands)
        Flux over its error for these positions and shapes.
    level, misfit : ndarray, shape (k, n_bands)
    seen : bool ndarray, shape (k, n_bands)
    offsets : OffsetNormal
    cost : float
    n_iterations : int
    converged : bool
    position_at_bound, shape_at_bound : bool ndarray, shape (k,)
        A shape at its largest; the least, that of a point, is no bound that hides anything.
    """

    theta: FloatArray
    difference: FloatArray
    covariance: FloatArray
    flux: FloatArray
    flux_covariance: FloatArray
    conditional_snr: FloatArray
    level: FloatArray
    misfit: FloatArray
    seen: BoolArray
    offsets: OffsetNormal
    cost: float
    n_iterations: int
    converged: bool
    position_at_bound: BoolArray
    shape_at_bound: BoolArray


class _Problem:
    """The parameters of a group, and what its blocks make of them.

    Parameters of a source: position (2), common shape (3), and with free shapes the difference of each band
    (3).
    """

    def __init__(self, blocks: Sequence[Block], n_sources: int, n_bands: int, prior: ShapePrior) -> None:
        self.blocks, self.n, self.n_bands, self.prior = blocks, n_sources, n_bands, prior
        self.n_each = SHAPE_PARAMETERS + (0 if prior.band_sigma is None else 3 * n_bands)
        mean, sigma = np.zeros(self.n_each), np.full(self.n_each, np.inf)
        mean[2:5], sigma[2:5] = prior.mean, prior.sigma
        if prior.band_sigma is not None:
            sigma[5:] = np.repeat(prior.band_sigma, 3)
        self.centre, self.weight = np.tile(mean, n_sources), np.tile(sigma**-2, n_sources)
        self.places = [self._places(block) for block in blocks]

    def _places(self, block: Block) -> FloatArray:
        """Return the matrix (5 k, n_parameters) from the parameters of the group to those of a block."""
        matrix = np.zeros((block.members.size * SHAPE_PARAMETERS, self.n * self.n_each))
        for row, i in enumerate(block.members):
            here, there = row * SHAPE_PARAMETERS, i * self.n_each
            matrix[here + np.arange(5), there + np.arange(5)] = 1.0
            if self.prior.band_sigma is not None:
                matrix[here + 2 + np.arange(3), there + 5 + 3 * block.band + np.arange(3)] = 1.0
        return matrix

    def normals(self, theta: FloatArray) -> tuple[list[Normal], float]:
        """Return the normal equations of all blocks and the cost."""
        parts = [
            block.normal((place @ theta).reshape(-1, SHAPE_PARAMETERS))
            for block, place in zip(self.blocks, self.places, strict=True)
        ]
        away = theta - self.centre
        return parts, sum(part.cost for part in parts) + float(self.weight @ away**2)

    def joint(self, parts: Sequence[Normal], theta: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return normal matrix and gradient of positions and shapes."""
        matrix, gradient = np.diag(self.weight + _SMALLEST), -self.weight * (theta - self.centre)
        for part, place in zip(parts, self.places, strict=True):
            matrix += place.T @ part.matrix @ place
            gradient += place.T @ part.gradient
        return matrix, gradient

    def bounded(self, theta: FloatArray, bounds: Bounds) -> FloatArray:
        """Return parameters inside the bounds."""
        each = theta.reshape(self.n, self.n_each).copy()
        away = each[:, :2] - bounds.start
        distance = np.hypot(*away.T)
        share = np.minimum(1.0, bounds.radius / np.maximum(distance, 1e-12))
        each[:, :2] = bounds.start + away * share[:, None]
        each[:, 2:5] = bounded(each[:, 2:5], low=bounds.low, high=bounds.high)
        for first in range(5, self.n_each, 3):
            own = each[:, 2:5] + each[:, first : first + 3]
            each[:, first : first + 3] = bounded(own, low=bounds.low, high=bounds.high) - each[:, 2:5]
        return each.ravel()


def fit_group(
    blocks: Sequence[Block],
    theta: FloatArray,
    difference: FloatArray,
    *,
    prior: ShapePrior,
    bounds: Bounds,
    tolerance: float,
    max_iterations: int = 30,
) -> GroupResult:
    """Fit the sources of a group in all bands by Levenberg-Marquardt.

    Parameters
    ----------
    blocks : sequence of Block
        Of all bands.
    theta : ndarray, shape (k, 5)
        Start: positions and common shapes.
    difference : ndarray, shape (k, n_bands, 3)
        Start: shape of each band less the common one; not used where shapes are shared.
    prior : ShapePrior
    bounds : Bounds
    tolerance : float
        The fit has converged when the cost falls by less than this.
    max_iterations : int

    Returns
    -------
    GroupResult
    """
    n_bands = difference.shape[1]
    problem = _Problem(blocks, len(theta), n_bands, prior)
    start = theta if prior.band_sigma is None else np.hstack([theta, difference.reshape(len(theta), -1)])
    point = problem.bounded(start.ravel(), bounds)
    free = _free(problem, bounds)
    parts, cost = problem.normals(point)
    damping, converged, iteration, rise = _FIRST_DAMPING, not free.any(), 0, 0.0
    while not converged and iteration < max_iterations and damping < _LARGEST_DAMPING:
        iteration += 1
        matrix, gradient = problem.joint(parts, point)
        trial = point.copy()
        trial[free] += _step(matrix[np.ix_(free, free)], gradient[free], damping)
        trial = problem.bounded(trial, bounds)
        tried, new_cost = problem.normals(trial)
        rise = new_cost - cost
        if not rise < 0.0:
            # A step of nothing is the end; a step too far is tried again, shorter.
            converged = bool(np.abs(trial - point).max() < _AT_BOUND)
            damping *= 8.0
            continue
        converged, damping = -rise < tolerance, damping / 8.0
        point, parts, cost = trial, tried, new_cost
    # At a bound even short steps may lead nowhere.
    converged |= 0.0 <= rise < tolerance
    return _result(problem, parts, point, bounds=bounds, free=free, cost=cost, found=(iteration, converged))


def _free(problem: _Problem, bounds: Bounds) -> BoolArray:
    """Return which parameters are fitted."""
    each = np.ones((problem.n, problem.n_each), dtype=bool)
    each[:, :2], each[:, 2:] = not bounds.fixed_position, not bounds.fixed_shape
    return each.ravel()


def _step(matrix: FloatArray, gradient: FloatArray, damping: float) -> FloatArray:
    try:
        damped = matrix + damping * np.diag(np.diag(matrix))
        step: FloatArray = cho_solve(cho_factor(damped, check_finite=False), gradient, check_finite=False)
    except LinAlgError:
        return np.zeros_like(gradient)
    return step


def _result(
    problem: _Problem,
    parts: Sequence[Normal],
    point: FloatArray,
    *,
    bounds: Bounds,
    free: BoolArray,
    cost: float,
    found: tuple[int, bool],
) -> GroupResult:
    """Return fluxes and errors at the best point."""
    n, n_bands, size = problem.n, problem.n_bands, problem.n * problem.n_each
    matrix, _ = problem.joint(parts, point)
    covariance = np.zeros((size, size))
    covariance[np.ix_(free, free)] = np.linalg.pinv(matrix[np.ix_(free, free)], hermitian=True)
    flux, conditional_snr, level, misfit = (np.full((n, n_bands), np.nan) for _ in range(4))
    derivatives = np.zeros((n, n_bands, size))
    own = np.full((n, n_bands, n, n_bands), np.nan)
    each = point.reshape(n, problem.n_each)
    for block, part, place in zip(problem.blocks, parts, problem.places, strict=True):
        rows, b = block.members, block.band
        flux[rows, b] = part.flux
        variance = np.diagonal(part.flux_covariance)
        conditional_snr[rows, b] = part.flux / np.sqrt(np.where(variance > 0.0, variance, np.inf))
        derivatives[rows, b] = part.flux_derivatives @ place
        level[rows, b] = _level(block, part, (place @ point).reshape(-1, SHAPE_PARAMETERS))
        misfit[rows, b] = _score_of_size(part, place, covariance)
    seen = np.isfinite(flux)
    flat = derivatives.reshape(n * n_bands, size)
    passed_on = (flat @ covariance @ flat.T).reshape(n, n_bands, n, n_bands)
    both = seen[:, :, None, None] & seen[None, None]
    own[both] = passed_on[both]
    for block, part in zip(problem.blocks, parts, strict=True):
        for row, i in enumerate(block.members):
            own[i, block.band, block.members, block.band] += part.flux_covariance[row]
    blocks_of = covariance.reshape(n, problem.n_each, n, problem.n_each)
    difference = np.zeros((n, n_bands, 3))
    if problem.prior.band_sigma is not None:
        difference = each[:, 5:].reshape(n, n_bands, 3).copy()
    eigenvalue = np.linalg.eigvalsh(each[:, [[2, 3], [3, 4]]])
    away = np.hypot(*(each[:, :2] - bounds.start).T)
    return GroupResult(
        theta=each[:, :5].copy(), difference=difference,
        covariance=np.array([blocks_of[i, :5, i, :5] for i in range(n)]), flux=flux, flux_covariance=own,
        conditional_snr=conditional_snr,
        level=level, misfit=misfit, seen=seen, offsets=_offset_normal(problem, parts, covariance), cost=cost,
        n_iterations=found[0], converged=found[1],
        position_at_bound=away >= (1.0 - _AT_BOUND) * bounds.radius,
        shape_at_bound=eigenvalue[:, 1] >= (1.0 - _AT_BOUND) * bounds.high,
    )  # fmt: skip


def _level(block: Block, part: Normal, theta: FloatArray) -> float:
    """Return the local mean of what the sources leave of a block, weighted by its covariance."""
    residual = block.plain - part.flux @ block.model(theta)
    both = np.column_stack([np.ones(residual.size), residual])
    one, left = whitened(block.unit_lower, both, scale=block.noise_scale).T
    return float(one @ left / (one @ one))


def _score_of_size(part: Normal, place: FloatArray, covariance: FloatArray) -> FloatArray:
    """Return the score test of another size in this band alone, in sigma: positive where it is larger.

    The derivative of the cost by such a change over its standard deviation, all other parameters fitted (Rao
    1948, Proc. Cambridge Philos. Soc. 44, 50); no fit is needed.
    """
    k = part.flux.size
    scores = np.zeros(k)
    projected = part.matrix @ place
    for row in range(k):
        size = np.zeros(k * SHAPE_PARAMETERS)
        size[row * SHAPE_PARAMETERS + np.array([2, 4])] = 1.0
        across = size @ projected
        variance = size @ part.matrix @ size - across @ covariance @ across
        if variance > 1e-9 * (size @ part.matrix @ size):
            scores[row] = size @ part.gradient / np.sqrt(variance)
    return scores


def _offset_normal(problem: _Problem, parts: Sequence[Normal], covariance: FloatArray) -> OffsetNormal:
    n_bands = problem.n_bands
    matrix, gradient = np.zeros((n_bands, 2, n_bands, 2)), np.zeros((n_bands, 2))
    across = np.zeros((n_bands, 2, covariance.shape[0]))
    total = np.zeros(covariance.shape[0])
    for block, part, place in zip(problem.blocks, parts, problem.places, strict=True):
        moved = np.zeros((2, part.gradient.size))
        moved[0, 0::SHAPE_PARAMETERS], moved[1, 1::SHAPE_PARAMETERS] = 1.0, 1.0
        matrix[block.band, :, block.band] += moved @ part.matrix @ moved.T
        gradient[block.band] += moved @ part.gradient
        across[block.band] += moved @ part.matrix @ place
        total += place.T @ part.gradient
    flat = across.reshape(2 * n_bands, -1)
    matrix -= (flat @ covariance @ flat.T).reshape(n_bands, 2, n_bands, 2)
    gradient -= (flat @ covariance @ total).reshape(n_bands, 2)
    return OffsetNormal(matrix=matrix, gradient=gradient)
