"""Fits of units: sources that are fitted together, on the pixels around them.

A unit's data are vectors over its pixels. Fits of one size run as a batch; a `Whitener` says what a residual
costs: weights pixel by pixel, or a whitening matrix for correlated noise.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import blas

from hyper_py.arrays import BoolArray, FloatArray, IntArray
from hyper_py.numerics import models
from hyper_py.numerics.models import N_PARAMETERS, gaussian_sum, gaussian_sum_and_jacobian
from hyper_py.numerics.solvers import FitStatus, Loss, SolverOptions, levenberg_marquardt
from hyper_py.numerics.tiles import Plane, at

_UNFELT = 1e-100
"""Squared sigmas a unit of a parameter below which it moves nothing: that of a source that has vanished."""
_BATCH_GROUPS = 2048
"""Most units of one batch: bounds the memory."""
IN_CACHE = 48
"""Most units of which all arrays stay in the cache."""
_CHUNK_ELEMENTS = 60_000
"""Largest Jacobian evaluated at once, in numbers: with its whitened copy it stays in the cache."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FitPixels:
    """The pixels on which one unit is fitted.

    Attributes
    ----------
    y, x : int ndarray, shape (n,)
        Pixels, none blank, in the order of the image.
    key : bytes
        The same for windows of the same shape.
    """

    y: IntArray
    x: IntArray
    key: bytes

    @cached_property
    def circle(self) -> tuple[float, float, float]:
        """Middle (x, y) and radius in pixels of a circle around all pixels."""
        if not self.y.size:
            return 0.0, 0.0, 0.0
        x, y = (0.5 * float(axis.min() + axis.max()) for axis in (self.x, self.y))
        return x, y, float(np.hypot(self.x - x, self.y - y).max())


class LinearTerms(NamedTuple):
    """Terms that a fit determines along with the Gaussians, such as a polynomial, and how to eliminate them.

    For given Gaussians the best coefficients c are those of a linear fit of what is left, r, which leaves
    the part of r that is orthogonal to the terms: with Q an orthonormal basis of the weighted terms,
    their penalties below, the cost is |(1 - Q Q^T) (r, 0)|^2 (Golub & Pereyra 2003, Inverse Problems 19, R1).

    Attributes
    ----------
    design : ndarray, shape (n, k)
        Value of each term at each pixel.
    penalty : ndarray, shape (k,)
        |penalty c|^2 is added to the cost (ridge regression).
    basis : ndarray, shape (n, k)
        Rows of Q that belong to pixels.
    tail : ndarray, shape (k, k)
        Rows of Q that belong to penalties.
    solution : ndarray, shape (k, n)
        c = solution @ r.
    """

    design: FloatArray
    penalty: FloatArray
    basis: FloatArray
    tail: FloatArray
    solution: FloatArray

    def scaled(self, factor: float) -> "LinearTerms":
        """Return the terms for weights and penalties that are both `factor` times as large."""
        return self._replace(penalty=factor * self.penalty)


def linear_terms(
    design: FloatArray,
    *,
    weights: FloatArray,
    matrix: FloatArray | None = None,
    penalty: FloatArray | None = None,
) -> LinearTerms:
    """Prepare the elimination of linear terms.

    Parameters
    ----------
    design : ndarray, shape (n, k)
    weights, matrix
        See `Whitener`.
    penalty : ndarray, shape (k,), optional
        Zero if not given. Combinations of terms that the pixels do not tell apart are left out.
    """
    k = design.shape[1]
    penalty = np.zeros(k) if penalty is None else penalty
    weighted = design * weights[:, None]
    stacked = np.vstack([weighted if matrix is None else matrix @ weighted, np.diag(penalty)])
    norm = np.linalg.norm(stacked, axis=0)
    norm[norm == 0.0] = 1.0
    u, s, vt = np.linalg.svd(stacked / norm, full_matrices=False)
    told = s > 1e-9 * s[:1]
    u[:, ~told] = 0.0
    inverse = np.divide(1.0, s, out=np.zeros_like(s), where=told)
    back = u[:-k] if matrix is None else matrix.T @ u[:-k]
    solution = (vt.T * inverse) @ (back * weights[:, None]).T / norm[:, None]
    return LinearTerms(design, penalty, u[:-k], u[-k:], solution)


@dataclass(frozen=True, kw_only=True, eq=False)
class Whitener:
    """The cost of a residual: |matrix (weights * residual)|^2.

    Attributes
    ----------
    weights : ndarray, shape (n,)
    matrix : ndarray, shape (n, n), optional
        Lower triangular. Units that share this very object are fitted as one batch.
    terms : LinearTerms, optional
        What is fitted along; it must have been prepared with these weights and this matrix.
    """

    weights: FloatArray
    matrix: FloatArray | None = None
    terms: LinearTerms | None = None

    def project(self, values: FloatArray) -> FloatArray:
        """Return values (..., n) weighted and whitened, without what the linear terms take up."""
        result = values * self.weights
        if self.matrix is not None:
            result = whiten(result, self.matrix)
        if self.terms is not None:
            taken = result @ self.terms.basis
            result = np.concatenate(
                [result - taken @ self.terms.basis.T, -taken @ self.terms.tail.T], axis=-1
            )
        return result

    def precision_times(self, values: FloatArray) -> FloatArray:
        """Return the precision matrix that the cost is made of, project^T project, times values (..., n)."""
        result = self.project(values)[..., : self.weights.size]
        return (result if self.matrix is None else whiten_back(result, self.matrix)) * self.weights


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupFit:
    """The fit of one unit of `n_sources` sources.

    Attributes
    ----------
    parameters : ndarray, shape (n_sources, 6)
        sigma_1 >= sigma_2, theta in [0, pi).
    at_bound : bool ndarray, shape (n_sources, 6)
    cost : float
        Half the weighted sum of squares, or of the loss.
    status : int
        `hyper_py.numerics.solvers.FitStatus`.
    n_evaluations : int
    coefficients : ndarray, shape (k,)
        Of the whitener's linear terms.
    """

    parameters: FloatArray
    at_bound: BoolArray
    cost: float
    status: int
    n_evaluations: int
    coefficients: FloatArray = field(default_factory=lambda: np.empty(0))

    @property
    def converged(self) -> bool:
        """Whether a stopping criterion was met."""
        return self.status > FitStatus.MAX_EVALUATIONS


@lru_cache(maxsize=256)
def disc(radius: float) -> tuple[IntArray, IntArray]:
    """Return the integer offsets (y, x) within a radius, in the order of the image."""
    radius *= 1.0 + 1e-12  # a pixel on the rim is inside, whatever the rounding
    reach = int(radius)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    inside = np.hypot(y, x) <= radius
    return y[inside], x[inside]


def select_fit_pixels(
    x: FloatArray, y: FloatArray, *, radius: FloatArray, usable: BoolArray | Plane
) -> FitPixels:
    """Return the union of discs around the pixels nearest to the given points.

    Parameters
    ----------
    x, y, radius : ndarray, shape (n_sources,)
        In pixels.
    usable : bool ndarray or Plane, shape (ny, nx)
        False, or 0, for blank pixels.
    """
    ny, nx = usable.shape
    flat = []
    for x0, y0, r in zip(np.rint(x), np.rint(y), radius, strict=True):
        dy, dx = disc(float(r))
        py, px = int(y0) + dy, int(x0) + dx
        inside = (py >= 0) & (py < ny) & (px >= 0) & (px < nx)
        flat.append((py * nx + px)[inside])
    pixels = flat[0] if len(flat) == 1 else np.unique(np.concatenate(flat))
    py, px = np.divmod(pixels, nx)
    seen = at(usable, py, px) != 0.0
    py, px = py[seen], px[seen]
    # One number a pixel, of which the differences are different for all separations.
    number = 2 * nx * py + px
    return FitPixels(y=py, x=px, key=(number - number[:1]).tobytes())


def second_moments(values: FloatArray, dy: FloatArray, dx: FloatArray, *, width: float) -> FloatArray:
    """Return the covariance of positive values under a round Gaussian window, window removed.

    A Gaussian source of covariance S seen through a window of covariance w^2 has the moments
    (S^-1 + w^-2)^-1; inverting this gives S from a few central pixels, whatever lies further out.

    Parameters
    ----------
    values : ndarray, shape (..., n)
        Background-subtracted; NaN is left out.
    dy, dx : ndarray, shape (..., n)
        Distances from the centre in pixels.
    width : float
        Sigma of the window in pixels.

    Returns
    -------
    ndarray, shape (..., 2, 2)
        NaN where the values have no such covariance.
    """
    weights = np.where(values > 0.0, values, 0.0) * np.exp(-0.5 * (dx**2 + dy**2) / width**2)
    with np.errstate(divide="ignore", invalid="ignore"):
        xx, xy, yy = ((weights * a * b).sum(axis=-1) for a, b in ((dx, dx), (dx, dy), (dy, dy)))
        xx, xy, yy = (moment / weights.sum(axis=-1) for moment in (xx, xy, yy))
        determinant = xx * yy - xy**2
        # Of the precision, which is the inverse of the moments minus that of the window.
        px, pxy, py = yy / determinant - width**-2, -xy / determinant, xx / determinant - width**-2
        determinant_2 = px * py - pxy**2
        sound = (determinant > 0.0) & (determinant_2 > 0.0) & (px > 0.0)
        columns = [np.where(sound, value / determinant_2, np.nan) for value in (py, -pxy, -pxy, px)]
    return np.stack(columns, axis=-1).reshape(*sound.shape, 2, 2)


def fit_groups(
    values: Sequence[FloatArray],
    windows: Sequence[FitPixels],
    whiteners: Sequence[Whitener],
    start: Sequence[FloatArray],
    *,
    lower: Sequence[FloatArray],
    upper: Sequence[FloatArray],
    loss: Loss = "linear",
    f_scale: float = 1.0,
    ftol: float = 1e-8,
    xtol: float = 1e-8,
    gtol: float = 1e-8,
    max_evaluations: int = 1000,
) -> list[GroupFit]:
    """Fit sums of Gaussians to many units; units of the same size run as one batch.

    Parameters
    ----------
    values : sequence of ndarray, shape (n_k,)
        Data of each unit, background and foreign sources removed.
    windows : sequence of FitPixels
    whiteners : sequence of Whitener
    start, lower, upper : sequence of ndarray, shape (n_sources_k, 6)
        Starting values and bounds; equal bounds fix a parameter.
    loss, f_scale, ftol, xtol, gtol, max_evaluations
        See `hyper_py.numerics.solvers.SolverOptions`.

    Returns
    -------
    list of GroupFit
        In the order of the input.
    """
    fits: list[GroupFit | None] = [None] * len(values)
    for batch in alike_groups([len(s) for s in start], windows, whiteners, most=_BATCH_GROUPS):
        n_sources = len(start[batch[0]])
        origins = _origins(np.stack([start[k] for k in batch]))
        pick = _Batch.make(values, windows, whiteners, batch, origins=origins)
        first, low, high = (
            (np.stack([table[k] for k in batch]) - origins[:, None]).reshape(len(batch), -1)
            for table in (start, lower, upper)
        )
        # A robust loss is no sum of squares, so that terms cannot be eliminated: they are fitted.
        explicit = pick.design is not None and loss != "linear"
        if explicit:
            first, low, high = pick.with_coefficients(first, low, high)
        result = levenberg_marquardt(
            pick.explicit_problem if explicit else pick.problem, first, lower=low, upper=high,
            options=SolverOptions(
                loss=loss, f_scale=f_scale, ftol=ftol, xtol=xtol, gtol=gtol, max_evaluations=max_evaluations
            ),
            chunk=max(1, _CHUNK_ELEMENTS // max(1, first.shape[1] * pick.y.shape[1])),
        )  # fmt: skip
        n = n_sources * N_PARAMETERS
        shape = len(batch), n_sources, N_PARAMETERS
        gaussians, at_bound = _ordered(
            result.parameters[:, :n].reshape(shape) + origins[:, None], result.at_bound[:, :n].reshape(shape)
        )
        for row, k in enumerate(batch):
            coefficients = result.parameters[row, n:]
            if whiteners[k].terms is not None and not coefficients.size:
                coefficients = _best_coefficients(gaussians[row], values[k], windows[k], whiteners[k])
            fits[k] = GroupFit(
                parameters=gaussians[row], at_bound=at_bound[row], cost=float(result.cost[row]),
                status=int(result.status[row]), n_evaluations=int(result.n_evaluations[row]),
                coefficients=coefficients,
            )  # fmt: skip
    return [fit for fit in fits if fit is not None]


def _origins(sources: FloatArray) -> FloatArray:
    """Return what is subtracted from the parameters of units while they are fitted, (b, 6) of (b, n, 6).

    Whole pixels near their middles: a fit ends when its steps are short beside its parameters, and must not
    end sooner for being far from the corner of the map.
    """
    origins = np.zeros((len(sources), N_PARAMETERS))
    places = [models.X, models.Y]
    origins[:, places] = np.rint(sources[:, :, places].mean(axis=1))
    return origins


def _best_coefficients(
    gaussians: FloatArray, values: FloatArray, window: FitPixels, whitener: Whitener
) -> FloatArray:
    """Return the coefficients of the linear terms that go with a unit's Gaussians."""
    assert whitener.terms is not None
    left = values - gaussian_sum(gaussians, window.y.astype(np.float64), window.x.astype(np.float64))
    return whitener.terms.solution @ left


@dataclass(frozen=True, kw_only=True, eq=False)
class _Batch:
    """Units of the same size, padded with zeros to the same number of pixels: arrays (b, n), (b, n, k)."""

    y: FloatArray
    x: FloatArray
    data: FloatArray
    weights: FloatArray
    sizes: IntArray
    matrix: FloatArray | None
    design: FloatArray | None = None
    basis: FloatArray | None = None
    tail: FloatArray | None = None
    penalty: FloatArray | None = None
    solution: FloatArray | None = None

    @classmethod
    def make(
        cls,
        values: Sequence[FloatArray],
        windows: Sequence[FitPixels],
        whiteners: Sequence[Whitener],
        batch: Sequence[int],
        *,
        origins: FloatArray,
    ) -> "_Batch":
        """Gather some of the units; their pixels are counted from their `origins`, shape (b, 6)."""
        y, x, weights = points_and_weights([windows[k] for k in batch], [whiteners[k] for k in batch])
        y, x = y - origins[:, models.Y, None], x - origins[:, models.X, None]
        n_pixels, data = y.shape[1], np.zeros(y.shape)
        sizes = np.array([values[k].size for k in batch])
        for row, k in enumerate(batch):
            data[row, : values[k].size] = values[k]
        matrix, terms = whiteners[batch[0]].matrix, [whiteners[k].terms for k in batch]
        known = [t for t in terms if t is not None]
        if not known:
            return cls(y=y, x=x, data=data, weights=weights, sizes=sizes, matrix=matrix)
        shape = len(batch), n_pixels, known[0].penalty.size
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
            residual, jacobian = whiten(residual, self.matrix), whiten(jacobian, self.matrix)
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
            residual, jacobian = whiten(residual, self.matrix), whiten(jacobian, self.matrix)
        rows = np.zeros((*jacobian.shape[:2], k))
        rows[:, np.arange(-k, 0), np.arange(k)] = penalty
        residual = np.concatenate([residual, penalty * parameters[:, -k:]], axis=1)
        return residual, np.concatenate([jacobian, rows], axis=2)

    def with_coefficients(
        self, start: FloatArray, lower: FloatArray, upper: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return start and bounds with free coefficients appended, which start at their linear fit."""
        assert self.solution is not None
        left = self.data - gaussian_sum(start.reshape(len(start), -1, N_PARAMETERS), self.y, self.x)
        coefficients = (left[:, None, :] @ self.solution)[:, 0]
        free = np.full(coefficients.shape, np.inf)
        return (
            np.concatenate([start, coefficients], axis=1),
            np.concatenate([lower, -free], axis=1),
            np.concatenate([upper, free], axis=1),
        )


def whiten(vectors: FloatArray, matrix: FloatArray) -> FloatArray:
    """Return M v for vectors v of shape (..., n) and a lower triangular M, (n, n)."""
    return _triangular_product(vectors, matrix, transposed=False)


def whiten_back(vectors: FloatArray, matrix: FloatArray) -> FloatArray:
    """Return M^T v for vectors v of shape (..., n) and a lower triangular M, (n, n)."""
    return _triangular_product(vectors, matrix, transposed=True)


def _triangular_product(vectors: FloatArray, matrix: FloatArray, *, transposed: bool) -> FloatArray:
    """Return one product for all vectors; half of a triangular matrix is not worth multiplying by."""
    if not vectors.size:
        return vectors
    columns = vectors.reshape(-1, vectors.shape[-1]).T
    # BLAS counts along columns first: to it the matrix is an upper one, transposed.
    result: FloatArray = blas.dtrmm(1.0, matrix.T, columns, trans_a=not transposed)
    return result.T.reshape(vectors.shape)


def alike_groups(
    n_sources: Sequence[int],
    windows: Sequence[FitPixels],
    whiteners: Sequence[Whitener],
    *,
    most: int = IN_CACHE,
    same_shape: bool = False,
) -> Iterator[list[int]]:
    """Yield indices of at most so many units that are alike: as many sources, the same matrix, as many terms.

    Units with windows of similar size are side by side; with `same_shape` windows are all of one shape.
    """
    alike: dict[tuple[int, int, int, bytes], list[int]] = {}
    for k, (n, whitener) in enumerate(zip(n_sources, whiteners, strict=True)):
        n_terms = 0 if whitener.terms is None else whitener.terms.penalty.size
        shape = windows[k].key if same_shape else b""
        key = n, 0 if whitener.matrix is None else id(whitener.matrix), n_terms, shape
        alike.setdefault(key, []).append(k)
    for units in alike.values():
        units.sort(key=lambda k: windows[k].y.size)
        yield from (units[i : i + most] for i in range(0, len(units), most))


def padded_pixels(windows: Sequence[FitPixels]) -> tuple[IntArray, IntArray]:
    """Return y and x of windows, each (n_windows, n), zero beyond a window's own pixels."""
    y, x = np.zeros((2, len(windows), max((window.y.size for window in windows), default=0)), dtype=np.int64)
    for row, window in enumerate(windows):
        y[row, : window.y.size], x[row, : window.x.size] = window.y, window.x
    return y, x


def points_and_weights(
    windows: Sequence[FitPixels], whiteners: Sequence[Whitener]
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return y, x and weights of units, each (n_groups, n), zero beyond a unit's own pixels."""
    y, x = (axis.astype(np.float64) for axis in padded_pixels(windows))
    weights = np.zeros(y.shape)
    for row, whitener in zip(weights, whiteners, strict=True):
        row[: whitener.weights.size] = whitener.weights
    return y, x, weights


def _ordered(parameters: FloatArray, at_bound: BoolArray) -> tuple[FloatArray, BoolArray]:
    """Let sigma_1 be the major axis, theta in [0, pi), of tables of shape (..., 6)."""
    swap = parameters[..., models.SIGMA_1] < parameters[..., models.SIGMA_2]
    other = [models.AMPLITUDE, models.X, models.Y, models.SIGMA_2, models.SIGMA_1, models.THETA]
    parameters, at_bound = (
        np.where(swap[..., None], table[..., other], table) for table in (parameters, at_bound)
    )
    theta = parameters[..., models.THETA]
    parameters[..., models.THETA] = np.mod(np.where(swap, theta + 0.5 * np.pi, theta), np.pi)
    return parameters, at_bound


def influence(
    fit: GroupFit, window: FitPixels, whitener: Whitener, *, fixed: BoolArray | None = None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return how the fitted parameters move with the data, to first order.

    Parameters
    ----------
    fit, window, whitener
        A unit as it was fitted.
    fixed : bool ndarray, shape (n_sources, 6), optional
        Parameters that could not move; those at a bound are added.

    Returns
    -------
    influence : ndarray, shape (6 n_sources, n)
        d parameter / d value of each pixel; zero for parameters that could not move.
    inverse : ndarray, shape (6 n_sources, 6 n_sources)
        Inverse of the normal matrix: the covariance, where the whitener is that of the noise.
    jacobian : ndarray, shape (6 n_sources, n)
        d model / d parameter, not weighted.
    """
    moves, inverse, jacobian = influences(
        [fit], [window], [whitener], fixed=None if fixed is None else [fixed]
    )
    return moves[0], inverse[0], jacobian[0]


def influences(
    fits: Sequence[GroupFit],
    windows: Sequence[FitPixels],
    whiteners: Sequence[Whitener],
    *,
    fixed: Sequence[BoolArray] | None = None,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return `influence` of units alike, as `alike_groups` finds them, each with a leading axis of units.

    Units with fewer pixels than the largest are padded with zeros.
    """
    y, x, weights = points_and_weights(windows, whiteners)
    _, jacobian = gaussian_sum_and_jacobian(np.stack([fit.parameters for fit in fits]), y, x)
    weighted, back = _weighted_and_back(jacobian, weights, windows, whiteners)
    held = np.stack([fit.at_bound.ravel() for fit in fits])
    if fixed is not None:
        held |= np.stack([f.ravel() for f in fixed])
    # A round source has no angle that could move.
    shapes = np.stack([fit.parameters for fit in fits])
    held[:, models.THETA :: N_PARAMETERS] |= np.isclose(
        shapes[..., models.SIGMA_1], shapes[..., models.SIGMA_2], rtol=1e-6, atol=0.0
    )
    normal = weighted @ weighted.swapaxes(1, 2)
    diagonal = np.arange(held.shape[1])
    held |= normal[:, diagonal, diagonal] < _UNFELT
    normal[held[:, :, None] | held[:, None, :]] = 0.0
    normal[:, diagonal, diagonal] += held
    scale = 1.0 / np.sqrt(normal[:, diagonal, diagonal])
    scale = scale[:, :, None] * scale[:, None, :]
    inverse = scale * np.linalg.pinv(normal * scale, rcond=1e-12, hermitian=True)
    inverse[held[:, :, None] | held[:, None, :]] = 0.0
    return inverse @ back, inverse, jacobian


def spread_of_assumed(moves: FloatArray, jacobian: FloatArray, variances: FloatArray) -> FloatArray:
    """Return the covariance that assumed parameters of some variances give to all of a unit.

    Where an assumed parameter is off by d, the fit answers with -M J d on top, M being what it does with a
    change of the data.

    Parameters
    ----------
    moves : ndarray, shape (n_groups, 6 n_sources, n)
        Change of the parameters with the data.
    jacobian : ndarray, shape (n_groups, 6 n_sources, n)
    variances : ndarray, shape (n_groups, 6 n_sources)

    Returns
    -------
    ndarray, shape (n_groups, 6 n_sources, 6 n_sources)
    """
    response = np.eye(moves.shape[1]) - moves @ jacobian.swapaxes(1, 2)
    spread: FloatArray = (response * variances[:, None, :]) @ response.swapaxes(1, 2)
    return spread


def _weighted_and_back(
    jacobian: FloatArray, weights: FloatArray, windows: Sequence[FitPixels], whiteners: Sequence[Whitener]
) -> tuple[FloatArray, FloatArray]:
    """Return a Jacobian as `Whitener.project` and as `Whitener.precision_times` give it, of units alike."""
    matrix = whiteners[0].matrix
    if whiteners[0].terms is None:
        weighted = jacobian * weights[:, None, :]
        if matrix is not None:
            weighted = whiten(weighted, matrix)
        back = weighted if matrix is None else whiten_back(weighted, matrix)
        return weighted, back * weights[:, None, :]
    own = [j[:, : window.y.size] for j, window in zip(jacobian, windows, strict=True)]
    results = [
        [m.project(j) for m, j in zip(whiteners, own, strict=True)],
        [m.precision_times(j) for m, j in zip(whiteners, own, strict=True)],
    ]
    weighted, back = (
        np.stack([np.pad(r, ((0, 0), (0, max(q.shape[1] for q in result) - r.shape[1]))) for r in result])
        for result in results
    )
    return weighted, back


def bounds(
    start: FloatArray,
    *,
    sigma_limits: tuple[ArrayLike, ArrayLike],
    amplitude_limits: tuple[ArrayLike, ArrayLike],
    shift: ArrayLike,
) -> tuple[FloatArray, FloatArray]:
    """Return lower and upper bounds, each (n_sources, 6); the angle is free, being periodic.

    Parameters
    ----------
    start : ndarray, shape (n_sources, 6)
    sigma_limits : (array_like, array_like), each broadcast to (n_sources,)
        Smallest and largest sigma of both axes, in pixels.
    amplitude_limits : (array_like, array_like), each broadcast to (n_sources,)
    shift : array_like, broadcast to (n_sources,)
        Largest move of a centre along x or y, in pixels; 0 fixes it.
    """
    lower, upper = start.copy(), start.copy()
    lower[:, models.AMPLITUDE], upper[:, models.AMPLITUDE] = amplitude_limits
    for axis in (models.X, models.Y):
        lower[:, axis] = start[:, axis] - np.asarray(shift)
        upper[:, axis] = start[:, axis] + np.asarray(shift)
    for axis in (models.SIGMA_1, models.SIGMA_2):
        lower[:, axis], upper[:, axis] = sigma_limits
    lower[:, models.THETA], upper[:, models.THETA] = -np.inf, np.inf
    return lower, upper
