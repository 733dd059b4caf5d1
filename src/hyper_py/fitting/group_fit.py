"""The fit of a group: what is minimised, and how.

A group of sources with parameters p (six each: amplitude, x, y, sigma_1, sigma_2, theta) is fitted to its
data d on n pixels, backgrounds and other groups' sources subtracted. In correlated noise of covariance C the
fit minimises

    chi2(p) = min over m of (d - g(p) - m 1)^T C^-1 (d - g(p) - m 1)

within bounds, where g(p) is the sum of the Gaussians and m the local mean, a free nuisance parameter. This
is generalised least squares. With the whitening matrix M of `hyper_py.noise.whitening.whitening_matrix` it
is chi2(p) = |M (d - g(p))|^2, an ordinary least-squares problem for
`hyper_py.numerics.solvers.levenberg_marquardt`; the cost that fits report is chi2 / 2. In white noise M is
diagonal: weights w of the pixels, |w (d - g(p))|^2, or the sum of a robust loss of these residuals. A
joint polynomial takes the place of m (`hyper_py.noise.whitening.LinearTerms`).

Groups of the same size run as one batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray, IntArray
from hyper_py.fitting.groups import Group, GroupFit, alike_groups, points_and_weights
from hyper_py.noise.whitening import TriangularMatrix
from hyper_py.numerics import gaussians
from hyper_py.numerics.gaussians import N_PARAMETERS, gaussian_sum, gaussian_sum_and_jacobian
from hyper_py.numerics.solvers import DEFAULT_OPTIONS, SolverOptions, levenberg_marquardt

_BATCH_GROUPS = 2048
"""Most groups of one batch: bounds the memory."""
_CHUNK_ELEMENTS = 60_000
"""Largest Jacobian evaluated at once, in numbers: with its whitened copy it stays in the cache."""
INITIAL_TOLERANCE = 1e-4
"""Of fits that only clean the map, or are compared with one another."""


def fit_groups(
    groups: Sequence[Group],
    start: Sequence[FloatArray],
    *,
    solver: SolverOptions = DEFAULT_OPTIONS,
) -> list[GroupFit]:
    """Fit the Gaussians of many groups to their data; see the top of this module for what is minimised.

    Parameters
    ----------
    groups : sequence of Group
    start : sequence of ndarray, shape (n_sources, 6)
        Starting values of each group.
    solver : SolverOptions

    Returns
    -------
    list of GroupFit
        In the order of the groups.
    """
    ready = [group.prepared() for group in groups]
    fits: dict[int, GroupFit] = {}
    for batch in alike_groups(ready, most=_BATCH_GROUPS):
        some = [ready[k] for k in batch]
        fits.update(zip(batch, _fit_alike(some, np.stack([start[k] for k in batch]), solver), strict=True))
    return [fits[k] for k in range(len(ready))]


def _fit_alike(groups: Sequence[Group], start: FloatArray, solver: SolverOptions) -> list[GroupFit]:
    """Fit groups of one size from starting values of shape (n_groups, n_sources, 6)."""
    n_groups, n_sources, _ = start.shape
    origins = _origins(start)
    batch = _Batch.of(groups, origins=origins)
    tables = start, *(np.stack([getattr(g.bounds, side) for g in groups]) for side in ("lower", "upper"))
    first, low, high = ((table - origins[:, None]).reshape(n_groups, -1) for table in tables)
    # A robust loss is no sum of squares, so that terms cannot be eliminated: they are fitted.
    explicit = batch.design is not None and solver.loss != "linear"
    if explicit:
        first, low, high = batch.with_coefficients(first, low, high)
    result = levenberg_marquardt(
        batch.explicit_problem if explicit else batch.problem, first, lower=low, upper=high,
        chunk=max(1, _CHUNK_ELEMENTS // max(1, first.shape[1] * batch.y.shape[1])), options=solver,
        x_scale=_typical_sizes(batch.data, first.shape[1], n_sources),
    )  # fmt: skip
    n = n_sources * N_PARAMETERS
    gaussians, at_bound = _ordered(
        result.parameters[:, :n].reshape(start.shape) + origins[:, None],
        result.at_bound[:, :n].reshape(start.shape),
    )
    return [
        GroupFit(
            parameters=gaussians[row], at_bound=at_bound[row], cost=float(result.cost[row]),
            status=int(result.status[row]), n_evaluations=int(result.n_evaluations[row]),
            coefficients=result.parameters[row, n:] if explicit else _coefficients(gaussians[row], group),
        )
        for row, group in enumerate(groups)
    ]  # fmt: skip


def _origins(sources: FloatArray) -> FloatArray:
    """Return what is subtracted from the parameters of groups while they are fitted, (b, 6) of (b, n, 6).

    Whole pixels near their middles. A fit ends when its steps are short compared with its parameters, and
    must not end sooner for being far from the corner of the map.
    """
    origins = np.zeros((len(sources), N_PARAMETERS))
    places = [gaussians.X, gaussians.Y]
    origins[:, places] = np.rint(sources[:, :, places].mean(axis=1))
    return origins


def _typical_sizes(data: FloatArray, n_parameters: int, n_sources: int) -> FloatArray:
    """Return typical sizes of parameters for the solver, (b, p): those in the map's unit go with the data.

    Centres and sizes are of the order of a pixel, angles of a radian. Coefficients of linear terms follow the
    Gaussians.
    """
    largest = np.abs(data).max(axis=1, initial=0.0)
    sizes = np.ones((len(data), n_parameters))
    in_map_unit = [*range(gaussians.AMPLITUDE, N_PARAMETERS * n_sources, N_PARAMETERS)]
    in_map_unit += range(N_PARAMETERS * n_sources, n_parameters)
    sizes[:, in_map_unit] = np.where(largest > 0.0, largest, 1.0)[:, None]
    return sizes


def _coefficients(gaussians: FloatArray, group: Group) -> FloatArray:
    """Return the coefficients of the linear terms that go with a group's Gaussians; none without terms."""
    terms = group.whitener.terms
    if terms is None:
        return np.empty(0)
    y, x = group.pixels.y.astype(np.float64), group.pixels.x.astype(np.float64)
    return terms.solution @ (group.values - gaussian_sum(gaussians, y, x))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Batch:
    """Groups of the same size, padded with zeros to the same number of pixels: arrays (b, n), (b, n, k)."""

    y: FloatArray
    x: FloatArray
    data: FloatArray
    weights: FloatArray
    sizes: IntArray
    matrix: TriangularMatrix | None
    design: FloatArray | None = None
    basis: FloatArray | None = None
    tail: FloatArray | None = None
    penalty: FloatArray | None = None
    solution: FloatArray | None = None

    @classmethod
    def of(cls, groups: Sequence[Group], *, origins: FloatArray) -> "_Batch":
        """Gather groups; their pixels are counted from their `origins`, shape (b, 6)."""
        y, x, weights = points_and_weights(groups)
        y, x = y - origins[:, gaussians.Y, None], x - origins[:, gaussians.X, None]
        n_pixels, data = y.shape[1], np.zeros(y.shape)
        sizes = np.array([group.pixels.y.size for group in groups])
        for row, group in zip(data, groups, strict=True):
            row[: group.pixels.y.size] = group.values
        matrix, terms = groups[0].whitener.matrix, [group.whitener.terms for group in groups]
        known = [t for t in terms if t is not None]
        if not known:
            return cls(y=y, x=x, data=data, weights=weights, sizes=sizes, matrix=matrix)
        shape = len(groups), n_pixels, known[0].penalty.size
        design, basis, solution = (np.zeros(shape) for _ in range(3))
        for row, t in enumerate(known):
            n = len(t.design)
            design[row, :n], basis[row, :n], solution[row, :n] = t.design, t.basis, t.solution.T
        return cls(
            y=y, x=x, data=data, weights=weights, sizes=sizes, matrix=matrix, design=design, basis=basis,
            tail=np.stack([t.tail for t in known]), penalty=np.stack([t.penalty for t in known]),
            solution=solution,
        )  # fmt: skip

    def problem(self, parameters: FloatArray, which: IntArray) -> tuple[FloatArray, FloatArray]:
        """Residuals and Jacobian of the Gaussians, linear terms eliminated."""
        # Sorted by size: beyond the pixels of the last there is only padding.
        n = slice(None) if self.basis is not None else slice(int(self.sizes[which].max()))
        # Neighbours are looked at where they are, others gathered.
        first, last = int(which[0]), int(which[-1]) + 1
        rows = slice(first, last) if last - first == which.size else which
        y, x, data, weights = (image[rows, n] for image in (self.y, self.x, self.data, self.weights))
        sources = parameters.reshape(len(which), -1, N_PARAMETERS)
        value, jacobian = gaussian_sum_and_jacobian(sources, y, x)
        residual = (value - data) * weights
        jacobian *= weights[:, None, :]
        if self.matrix is not None:
            residual, jacobian = self.matrix.times(residual), self.matrix.times(jacobian)
        if self.basis is None or self.tail is None:
            return residual, jacobian
        both = np.concatenate([residual[:, None], jacobian], axis=1)
        taken = both @ self.basis[which]
        both -= taken @ self.basis[which].swapaxes(1, 2)
        if self.tail.any():
            both = np.concatenate([both, -taken @ self.tail[which].swapaxes(1, 2)], axis=2)
        return both[:, 0], both[:, 1:]

    def explicit_problem(self, parameters: FloatArray, which: IntArray) -> tuple[FloatArray, FloatArray]:
        """Residuals and Jacobian of Gaussians and coefficients; penalties are residuals too."""
        assert self.design is not None
        assert self.penalty is not None
        penalty = self.penalty[which]
        k = penalty.shape[1]
        sources = parameters[:, :-k].reshape(len(which), -1, N_PARAMETERS)
        value, jacobian = gaussian_sum_and_jacobian(sources, self.y[which], self.x[which])
        value = value + (self.design[which] @ parameters[:, -k:, None])[..., 0]
        residual = (value - self.data[which]) * self.weights[which]
        jacobian = np.concatenate([jacobian, self.design[which].swapaxes(1, 2)], axis=1)
        jacobian *= self.weights[which][:, None, :]
        if self.matrix is not None:
            residual, jacobian = self.matrix.times(residual), self.matrix.times(jacobian)
        rows = np.zeros((*jacobian.shape[:2], k))
        rows[:, np.arange(-k, 0), np.arange(k)] = penalty
        residual = np.concatenate([residual, penalty * parameters[:, -k:]], axis=1)
        return residual, np.concatenate([jacobian, rows], axis=2)

    def with_coefficients(
        self, start: FloatArray, lower: FloatArray, upper: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return start and bounds with free coefficients appended, which start at their linear fit."""
        assert self.solution is not None
        residual = self.data - gaussian_sum(start.reshape(len(start), -1, N_PARAMETERS), self.y, self.x)
        coefficients = (residual[:, None, :] @ self.solution)[:, 0]
        free = np.full(coefficients.shape, np.inf)
        return (
            np.concatenate([start, coefficients], axis=1),
            np.concatenate([lower, -free], axis=1),
            np.concatenate([upper, free], axis=1),
        )


def _ordered(parameters: FloatArray, at_bound: BoolArray) -> tuple[FloatArray, BoolArray]:
    """Let sigma_1 be the major axis, theta in [0, pi), of tables of shape (..., 6)."""
    swap = parameters[..., gaussians.SIGMA_1] < parameters[..., gaussians.SIGMA_2]
    other = [
        gaussians.AMPLITUDE,
        gaussians.X,
        gaussians.Y,
        gaussians.SIGMA_2,
        gaussians.SIGMA_1,
        gaussians.THETA,
    ]
    parameters, at_bound = (
        np.where(swap[..., None], table[..., other], table) for table in (parameters, at_bound)
    )
    theta = parameters[..., gaussians.THETA]
    parameters[..., gaussians.THETA] = np.mod(np.where(swap, theta + 0.5 * np.pi, theta), np.pi)
    return parameters, at_bound
