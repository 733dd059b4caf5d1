"""Bounded Levenberg-Marquardt for many small least-squares problems of one shape at once.

The cost and the robust losses are those of `scipy.optimize.least_squares`:
cost = 0.5 * sum(f_scale^2 * rho((residual / f_scale)^2)).
Failure is a status in the result, never an exception.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import partial
from typing import Literal, NamedTuple, TypeAlias, get_args

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray, IntArray

Problem: TypeAlias = Callable[[FloatArray, IntArray], tuple[FloatArray, FloatArray]]
"""(parameters (k, p), which problems (k,)) -> (residuals (k, n), jacobian (k, p, n))."""

Loss: TypeAlias = Literal["linear", "soft_l1", "huber", "cauchy", "arctan"]
LOSSES: tuple[Loss, ...] = get_args(Loss)

_FIRST_DAMPING = 1e-3
_LAST_DAMPING = 1e12
_SMALLEST_SCALE = 1e-12
_SMALLEST_CURVATURE = np.finfo(np.float64).eps


@dataclass(frozen=True, kw_only=True)
class SolverOptions:
    """How a fit is iterated and when it stops.

    Attributes
    ----------
    loss : {"linear", "soft_l1", "huber", "cauchy", "arctan"}
        As for `scipy.optimize.least_squares`.
    f_scale : float
        Residual at which a loss other than linear sets in, in the unit of the residuals.
    ftol, xtol : float
        Relative change of the cost, and of the parameters (each scaled by its curvature), at which to stop.
    gtol : float
        Largest cosine between residuals and a column of the Jacobian at which to stop (as MINPACK).
    max_evaluations : int
        Largest number of evaluations of one problem.
    """

    loss: Loss = "linear"
    f_scale: float = 1.0
    ftol: float = 1e-8
    xtol: float = 1e-8
    gtol: float = 1e-8
    max_evaluations: int = 1000

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise ValueError(f"loss must be one of {LOSSES}, not {self.loss!r}")
        for name in ("f_scale", "ftol", "xtol", "gtol", "max_evaluations"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)!r}")

    def with_tolerance(self, tolerance: float) -> "SolverOptions":
        """Return options that stop at `tolerance` by each of the three criteria."""
        return replace(self, ftol=tolerance, xtol=tolerance, gtol=tolerance)


DEFAULT_OPTIONS = SolverOptions()


class FitStatus(IntEnum):
    """Why a fit stopped; positive values are success."""

    NOT_FINITE = -1
    MAX_EVALUATIONS = 0
    GRADIENT = 1
    COST = 2
    STEP = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class FitResult:
    """Solutions of a batch of `b` problems with `p` parameters and `n` residuals.

    Attributes
    ----------
    parameters : ndarray, shape (b, p)
    cost : ndarray, shape (b,)
    at_bound : bool ndarray, shape (b, p)
        Parameters held at a bound that the gradient pushes against.
    status : int ndarray, shape (b,)
        `FitStatus` values.
    n_evaluations : int ndarray, shape (b,)
    """

    parameters: FloatArray
    cost: FloatArray
    at_bound: BoolArray
    status: IntArray
    n_evaluations: IntArray


def loss_terms(
    residuals: FloatArray, *, loss: str, f_scale: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return rho(z) * f_scale^2, rho'(z) and rho'(z) + 2 z rho''(z) at z = (residual / f_scale)^2.

    The names and formulas are those of `scipy.optimize.least_squares`.
    """
    z = (residuals / f_scale) ** 2
    if loss == "soft_l1":
        t = 1.0 + z
        root = np.sqrt(t)
        rho, first, second = 2.0 * (root - 1.0), 1.0 / root, -0.5 / (t * root)
    elif loss == "huber":
        root = np.sqrt(np.maximum(z, 1.0))
        rho, first = np.where(z <= 1.0, z, 2.0 * root - 1.0), 1.0 / root
        second = np.where(z <= 1.0, 0.0, -0.5 / root**3)
    elif loss == "cauchy":
        t = 1.0 + z
        rho, first, second = np.log1p(z), 1.0 / t, -1.0 / t**2
    elif loss == "arctan":
        t = 1.0 + z**2
        rho, first, second = np.arctan(z), 1.0 / t, -2.0 * z / t**2
    else:
        raise ValueError(f"loss must be one of {LOSSES}, not {loss!r}")
    return rho * f_scale**2, first, first + 2.0 * z * second


def levenberg_marquardt(
    problem: Problem,
    start: FloatArray,
    *,
    lower: FloatArray,
    upper: FloatArray,
    options: SolverOptions = DEFAULT_OPTIONS,
    chunk: int | None = None,
    x_scale: FloatArray | None = None,
) -> FitResult:
    """Minimise a batch of bounded nonlinear least-squares problems.

    Marquardt's damping of the normal equations with Nielsen's update (Madsen, Nielsen & Tingleff 2004,
    "Methods for non-linear least squares problems", section 3.2). Parameters at a bound that the gradient
    pushes against are held. All others take their step and are projected onto the bounds.

    Parameters
    ----------
    problem : callable
        See `Problem`; it is called with the problems that still move.
    start, lower, upper : ndarray, shape (b, p)
        Start (clipped into the bounds) and bounds, lower <= upper; equal bounds fix a parameter.
    options : SolverOptions
        Loss, tolerances and the largest number of evaluations.
    chunk : int, optional
        Most problems evaluated at once; None: all.
    x_scale : ndarray, broadcast to shape (b, p), optional
        Typical size of each parameter, positive, in its own unit; None: 1. A parameter whose curvature over
        that size is negligible beside the largest moves no further than that curvature allows.

    Returns
    -------
    FitResult
    """
    x = np.clip(start, lower, upper).astype(np.float64)
    evaluate = partial(_evaluate, problem, options=options, chunk=chunk)
    moving = _Moving.begin(x, lower, upper, evaluate, x_scale)
    batch = _Batch.begin(x, moving)
    moving = batch.stop(moving, ~np.isfinite(moving.cost), FitStatus.NOT_FINITE)
    while moving.which.size:
        held = _held(moving.x, moving.gradient, moving.lower, moving.upper)
        flat = _is_flat(moving.gradient, moving.hessian, moving.cost, held, tolerance=options.gtol)
        ended = flat | (batch.n_evaluations[moving.which] >= options.max_evaluations)
        why = np.where(flat, FitStatus.GRADIENT.value, FitStatus.MAX_EVALUATIONS.value)
        moving, held = batch.stop(moving, ended, why), held[~ended]
        step = _damped_step(moving.gradient, moving.hessian, moving.damping[:, None] * moving.scale, held)
        trial = np.minimum(np.maximum(moving.x + step, moving.lower), moving.upper)
        step = trial - moving.x
        # A short step is taken, but the end of it need not be evaluated: the fit stops there.
        short = moving.squares(step) <= options.xtol**2 * moving.squares(moving.x)
        if short.any():
            moving.x[short] = trial[short]
            moving, trial, step = batch.stop(moving, short, FitStatus.STEP), trial[~short], step[~short]
        if not moving.which.size:
            break
        new = evaluate(trial, moving.which)
        batch.n_evaluations[moving.which] += 1
        small = moving.go_to(trial, step, new, ftol=options.ftol)
        ended = small | (moving.damping >= _LAST_DAMPING)
        moving = batch.stop(moving, ended, np.where(small, FitStatus.COST.value, FitStatus.STEP.value))
    return FitResult(
        parameters=batch.x,
        cost=batch.cost,
        at_bound=_held(batch.x, batch.gradient, lower, upper) & (lower < upper),
        status=batch.status,
        n_evaluations=batch.n_evaluations,
    )


class _Quadratic(NamedTuple):
    """Cost (b,), gradient (b, p) and Gauss-Newton Hessian (b, p, p) at some parameters."""

    cost: FloatArray
    gradient: FloatArray
    hessian: FloatArray


_Evaluate: TypeAlias = Callable[[FloatArray, IntArray], _Quadratic]


def _evaluate(
    problem: Problem, parameters: FloatArray, which: IntArray, *, options: SolverOptions, chunk: int | None
) -> _Quadratic:
    """Evaluate problems, at most `chunk` of them at once."""
    step = chunk or len(which)
    parts = [
        _normal_equations(
            *problem(parameters[i : i + step], which[i : i + step]),
            loss=options.loss,
            f_scale=options.f_scale,
        )
        for i in range(0, max(len(which), 1), max(step, 1))
    ]
    return parts[0] if len(parts) == 1 else _Quadratic(*map(np.concatenate, zip(*parts, strict=True)))


@dataclass(eq=False)
class _Batch:
    """Where each problem of the batch stopped, and why."""

    x: FloatArray
    cost: FloatArray
    gradient: FloatArray
    status: IntArray
    n_evaluations: IntArray

    @classmethod
    def begin(cls, x: FloatArray, moving: "_Moving") -> "_Batch":
        """Return the batch before any problem has stopped."""
        status = np.full(len(x), FitStatus.MAX_EVALUATIONS, dtype=np.int64)
        evaluations = np.ones(len(x), dtype=np.int64)
        return cls(x, moving.cost.copy(), moving.gradient.copy(), status, evaluations)

    def stop(self, moving: "_Moving", stopped: BoolArray, why: IntArray | int) -> "_Moving":
        """Record the problems that stop; return the others."""
        if not stopped.any():
            return moving
        which = moving.which[stopped]
        self.x[which], self.cost[which] = moving.x[stopped], moving.cost[stopped]
        self.gradient[which] = moving.gradient[stopped]
        self.status[which] = np.broadcast_to(why, stopped.shape)[stopped]
        return moving.only(~stopped)


@dataclass(eq=False)
class _Moving:
    """The problems that have not stopped: their numbers, where they are, and what is known there."""

    which: IntArray
    x: FloatArray
    cost: FloatArray
    gradient: FloatArray
    hessian: FloatArray
    scale: FloatArray
    damping: FloatArray
    growth: FloatArray
    lower: FloatArray
    upper: FloatArray

    @classmethod
    def begin(
        cls,
        x: FloatArray,
        lower: FloatArray,
        upper: FloatArray,
        evaluate: _Evaluate,
        x_scale: FloatArray | None,
    ) -> "_Moving":
        """Return all problems at their starting values."""
        everyone = np.arange(len(x))
        cost, gradient, hessian = evaluate(x, everyone)
        scale = np.maximum(np.diagonal(hessian, axis1=1, axis2=2), _smallest_scale(hessian, x_scale))
        damping, growth = np.full(len(x), _FIRST_DAMPING), np.full(len(x), 2.0)
        return cls(everyone, x.copy(), cost, gradient, hessian, scale, damping, growth, lower, upper)

    def only(self, some: BoolArray) -> "_Moving":
        """Return some of them."""
        return _Moving(*(values[some] for values in vars(self).values()))

    def squares(self, vector: FloatArray) -> FloatArray:
        """Return the squared lengths of vectors (b, p), each parameter scaled by its curvature."""
        lengths: FloatArray = np.einsum("bp,bp,bp->b", self.scale, vector, vector)
        return lengths

    def go_to(self, x: FloatArray, step: FloatArray, new: _Quadratic, *, ftol: float) -> BoolArray:
        """Move to the places that are better, with less damping; stay where they are worse, with more.

        Returns where the cost has decreased by no more than `ftol` of it, and about as the quadratic model
        predicts.
        """
        change = np.einsum("bp,bpq,bq->b", step, self.hessian, step)
        predicted = -np.einsum("bp,bp->b", self.gradient, step) - 0.5 * change
        actual = self.cost - new.cost
        better = (actual > 0.0) & (predicted > 0.0)
        gain = np.divide(actual, predicted, out=np.zeros(len(x)), where=better)
        small: BoolArray = better & (actual <= ftol * self.cost) & (gain > 0.25)
        np.copyto(self.x, x, where=better[:, None])
        np.copyto(self.cost, new.cost, where=better)
        np.copyto(self.gradient, new.gradient, where=better[:, None])
        np.copyto(self.hessian, new.hessian, where=better[:, None, None])
        np.maximum(self.scale, np.diagonal(self.hessian, axis1=1, axis2=2), out=self.scale)
        shrink = np.maximum(1.0 / 3.0, 1.0 - (2.0 * np.minimum(gain, 1.0) - 1.0) ** 3)
        self.damping *= np.where(better, shrink, self.growth)
        np.maximum(self.damping, 1e-12, out=self.damping)
        self.growth = np.where(better, 2.0, 2.0 * self.growth)
        return small


def _normal_equations(
    residuals: FloatArray, jacobian: FloatArray, *, loss: str, f_scale: float
) -> _Quadratic:
    """Return the quadratic model of the cost of problems of some residuals (b, n) and Jacobians (b, p, n)."""
    if loss == "linear":
        cost = 0.5 * np.einsum("bn,bn->b", residuals, residuals)
        gradient = (jacobian @ residuals[..., None])[..., 0]
        return _Quadratic(cost, gradient, jacobian @ jacobian.swapaxes(1, 2))
    rho, first, curvature = loss_terms(residuals, loss=loss, f_scale=f_scale)
    weighted = jacobian * np.maximum(curvature, _SMALLEST_CURVATURE)[:, None, :]
    gradient = (jacobian @ (first * residuals)[..., None])[..., 0]
    return _Quadratic(0.5 * rho.sum(axis=1), gradient, weighted @ jacobian.swapaxes(1, 2))


def _smallest_scale(hessian: FloatArray, x_scale: FloatArray | None) -> FloatArray:
    """Return the smallest scale of each parameter, shape (b, p).

    It keeps the damped equations regular where a parameter has no effect (yet). Curvatures are compared per
    typical size of their parameters: in the parameters' own units, amplitudes in Jy would decide what angles
    in radians may do.
    """
    curvature = np.diagonal(hessian, axis1=1, axis2=2)
    size = np.ones(curvature.shape) if x_scale is None else np.broadcast_to(x_scale, curvature.shape)
    largest = (curvature * size**2).max(axis=1, initial=0.0)[:, None]
    return np.where(largest > 0.0, _SMALLEST_SCALE * largest, 1.0) / size**2


def _held(x: FloatArray, gradient: FloatArray, lower: FloatArray, upper: FloatArray) -> BoolArray:
    """Parameters at a bound that a descent step would leave."""
    held: BoolArray = ((x <= lower) & (gradient >= 0.0)) | ((x >= upper) & (gradient <= 0.0))
    return held


def _is_flat(
    gradient: FloatArray, hessian: FloatArray, cost: FloatArray, held: BoolArray, *, tolerance: float
) -> BoolArray:
    """Return where no cosine between the residuals and a free column of the Jacobian is above a tolerance."""
    norm = np.sqrt(np.diagonal(hessian, axis1=1, axis2=2) * 2.0 * cost[:, None])
    steep: BoolArray = ~(np.abs(gradient) <= tolerance * norm) & (norm > 0.0) & ~held
    return np.logical_not(steep.any(axis=1))


def _damped_step(
    gradient: FloatArray, hessian: FloatArray, damping: FloatArray, held: BoolArray
) -> FloatArray:
    """Solve (H + damping) step = -gradient for the free parameters."""
    diagonal = np.where(held, 1.0, np.diagonal(hessian, axis1=1, axis2=2) + damping)
    # Scaling to a unit diagonal keeps amplitudes in Jy and angles in radians within one matrix.
    root = 1.0 / np.sqrt(diagonal)
    free = np.where(held, 0.0, root)
    matrix = hessian * (free[:, :, None] * free[:, None, :])
    np.einsum("bpp->bp", matrix)[...] = diagonal * (root * root)  # a view
    right = (-gradient * free)[..., None]
    try:
        step = np.linalg.solve(matrix, right)
    except np.linalg.LinAlgError:  # one singular problem must not stop the others
        step = np.linalg.pinv(matrix, hermitian=True) @ right
    result: FloatArray = step[..., 0] * root
    return result
