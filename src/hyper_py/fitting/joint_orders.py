"""Which order a polynomial has that is fitted jointly with the Gaussians of a group.

Each order is fitted, and the best is taken by one of four criteria; see `order_score`.
"""

from collections.abc import Sequence

import numpy as np

from hyper_py.arrays import FloatArray
from hyper_py.background.conditional import source_footprint
from hyper_py.fitting.group_fit import INITIAL_TOLERANCE, fit_groups
from hyper_py.fitting.groups import Group
from hyper_py.numerics import gaussians
from hyper_py.numerics.solvers import SolverOptions


def choose_orders(
    candidates: Sequence[Sequence[Group]],
    start: Sequence[FloatArray],
    *,
    criterion: str,
    beam_area: float,
    solver: SolverOptions,
) -> list[Group]:
    """Return each group with the order of the joint polynomial that is best by a criterion.

    Parameters
    ----------
    candidates : sequence of sequences of Group
        Each group with the polynomials that it may have. A group with one candidate is not fitted.
    start : sequence of ndarray, shape (n_sources, 6)
        Starting values of each group.
    criterion : str
        nmse, redchi, bic or cv; see `order_score`.
    beam_area : float
        In pixels.
    solver : SolverOptions

    Returns
    -------
    list of Group
        Not fitted.
    """
    chosen = [min(versions, key=_order) for versions in candidates]
    best = [(np.inf, _order(group)) for group in chosen]
    trials = [(k, group) for k, versions in enumerate(candidates) if len(versions) > 1 for group in versions]
    # Scores differ by more than what a fit gains beyond the initial tolerances.
    fits = fit_groups(
        [group for _, group in trials],
        [start[k] for k, _ in trials],
        solver=solver.with_tolerance(INITIAL_TOLERANCE),
    )
    for (k, group), fit in zip(trials, fits, strict=True):
        score = order_score(group.but(fit=fit), criterion=criterion, beam_area=beam_area), _order(group)
        if score < best[k]:
            best[k], chosen[k] = score, group
    return chosen


def _order(group: Group) -> int:
    return -1 if group.joint is None else group.joint.order


def order_score(group: Group, *, criterion: str, beam_area: float) -> float:
    """Return how good a joint fit is; lower is better.

    Parameters
    ----------
    group : Group
        As fitted. `rms` is needed unless its whitener has a matrix.
    criterion : str
        nmse: mean(res^2) / mean(data^2); redchi: chi-square over degrees of freedom; bic: chi-square + k ln n
        with n independent beams; cv: mean squared error, in units of the noise, of predicting folds of
        a beam outside the sources from a fit without them and their neighbours, times 1 + k / n.
        A whitener with a matrix makes residuals independent: they are their own beams and folds.
    beam_area : float
        In pixels.
    """
    fit, whitener, values = group.fitted, group.whitener, group.values
    terms = whitener.terms
    if terms is None or not np.isfinite(fit.cost):
        return np.inf
    y, x = group.pixels.y.astype(np.float64), group.pixels.x.astype(np.float64)
    value, jacobian = gaussians.gaussian_sum_and_jacobian(fit.parameters[None], y[None], x[None])
    residual = values - value[0] - terms.design @ fit.coefficients
    free = ~((group.bounds.lower >= group.bounds.upper) | fit.at_bound).ravel()
    derivatives = np.vstack([jacobian[0][free], terms.design.T])
    n_free = len(derivatives)
    if criterion == "nmse":
        return float(residual @ residual) / float(values @ values)
    if whitener.matrix is not None:
        white = whitener.matrix.times(residual * whitener.weights)
        chi2, n = float(white @ white), float(residual.size)
    else:
        n = residual.size / beam_area
        chi2 = float(np.sum((residual / _rms(group)) ** 2)) / beam_area
    if criterion == "redchi":
        return float(chi2 / max(n * (1.0 - n_free / residual.size), 1e-9))
    if criterion == "bic":
        return chi2 + n_free * float(np.log(max(n, 1.0)))
    penalty = np.append(np.zeros(n_free - terms.penalty.size), terms.penalty)
    if whitener.matrix is not None:
        error = _left_out_one_by_one(white, whitener.matrix.times(derivatives * whitener.weights), penalty)
    else:
        side = float(np.sqrt(beam_area))
        error = _left_out_in_folds(group, residual, derivatives=derivatives, penalty=penalty, side=side)
    return error * (1.0 + n_free / n)


def _rms(group: Group) -> FloatArray:
    assert group.rms is not None, "white noise needs its rms"
    return group.rms


def _left_out_one_by_one(residual: FloatArray, derivatives: FloatArray, penalty: FloatArray) -> float:
    """Return the mean squared residual of each point from a linear fit without it: r / (1 - leverage)."""
    basis = np.linalg.qr(np.vstack([derivatives.T, np.diag(penalty)]))[0][: residual.size]
    leverage = np.minimum(np.sum(basis**2, axis=1), 1.0 - 1e-9)
    squares = (residual / (1.0 - leverage)) ** 2
    return float(squares.mean())


def _left_out_in_folds(
    group: Group, residual: FloatArray, *, derivatives: FloatArray, penalty: FloatArray, side: float
) -> float:
    """Return the mean squared error of predicting square folds from a fit without them and the next ones."""
    pixels, weights, rms = group.pixels, group.whitener.weights, _rms(group)
    predicted = ~source_footprint(group.fitted.parameters, pixels.y, pixels.x)
    if not predicted.any():
        return np.inf
    row, column = (((v - v.min()) / max(side, 1.0)).astype(np.int64) for v in (pixels.y, pixels.x))
    weighted, weighted_residual = derivatives * weights, residual * weights
    normal = weighted @ weighted.T + np.diag(penalty**2)
    scale = 1.0 / np.sqrt(np.maximum(np.diagonal(normal), np.finfo(np.float64).tiny))
    folds = np.unique(np.column_stack([row, column])[predicted], axis=0)
    matrices, vectors = np.empty((len(folds), *normal.shape)), np.empty((len(folds), len(normal)))
    for i, (r, c) in enumerate(folds):
        out = (np.abs(row - r) <= 1) & (np.abs(column - c) <= 1)
        matrices[i] = normal - weighted[:, out] @ weighted[:, out].T
        vectors[i] = weighted[:, out] @ weighted_residual[out]
    matrices = matrices * scale * scale[:, None] + 1e-9 * np.eye(len(normal))
    change = -scale * np.linalg.solve(matrices, (vectors * scale)[..., None])[..., 0]
    number = np.full((row.max() + 1, column.max() + 1), -1)
    number[folds[:, 0], folds[:, 1]] = np.arange(len(folds))
    fold = number[row, column][predicted]
    error = residual[predicted] - np.einsum("np,pn->n", change[fold], derivatives[:, predicted])
    squares = (error / rms[predicted]) ** 2
    return float(squares.mean())
