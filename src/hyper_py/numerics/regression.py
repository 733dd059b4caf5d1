"""Robust linear regression: Huber and Theil-Sen on a design matrix.

Both solve the problems of scikit-learn's HuberRegressor (alpha = 0) and TheilSenRegressor by other
algorithms: Huber by exact minimisation over active sets of outliers (`huber_regression`); Theil-Sen by
solving random minimal subsets exactly, all at once (`subset_solutions`), and finding the spatial median of
the solutions with Newton's method (`spatial_median`). The definition with subsets is that of Dang et al. 2008
(Theil-Sen estimators in a multiple linear regression model).
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray, IndexArray

_SMALLEST_SCALE = 1e-13
"""Relative to the largest value: residuals below it are rounding errors."""
_TINY = float(np.finfo(np.float64).tiny)
_SAME_COST = 1e-14
"""Relative changes of an objective below it are rounding errors."""
_SAME = 1e-12
"""Coefficients and scale that change by less, relative to the scale, count as the same."""
_SHORTEST_STEP = 1e-6
_SMALLEST_PIVOT = 1e-13
"""A subset with a smaller pivot is singular; its columns are of order 1."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Regression:
    """Outcome of a Huber regression.

    Attributes
    ----------
    coefficients : ndarray, shape (k,)
        Finite also when nothing could be fitted (then least squares, or 0).
    scale : float
        Huber's sigma: the scatter of the inliers.
    outliers : ndarray of bool, shape (n,)
        Residuals larger than epsilon * scale.
    converged : bool
        False when the iterations ended before the optimum, or there are fewer values than coefficients.
    n_iterations : int
        Passes over the data.
    """

    coefficients: FloatArray
    scale: float
    outliers: BoolArray
    converged: bool
    n_iterations: int


def huber_regression(
    design: FloatArray,
    values: FloatArray,
    *,
    epsilon: float = 1.35,
    start: Regression | None = None,
    max_iterations: int = 100,
) -> Regression:
    """Fit coefficients c and scale s that minimise sum_i [s + s H((values - design c)_i / s)].

    H(z) is z^2 for |z| <= epsilon and 2 epsilon |z| - epsilon^2 beyond: Huber's concomitant scale
    (Huber & Ronchetti 2009, Robust Statistics, section 7.7), jointly convex in c and s. For a given set of
    outliers the minimum is known in closed form. The minimum implies another set of outliers, and so on, with
    a shorter step where the objective would rise. Once the set stays the same, the minimum is exact.

    Parameters
    ----------
    design : ndarray, shape (n, k)
        Finite.
    values : ndarray, shape (n,)
        Finite.
    epsilon : float
        Above 1: where quadratic turns linear, in units of the scale.
    start : Regression, optional
        Where to start, such as the fit to nearly the same values; least squares when not given.
    max_iterations : int
        Closed-form solutions at most.

    Returns
    -------
    Regression
    """
    n, k = design.shape
    normal: FloatArray = design.T @ design
    coefficients = _solve_normal(normal, design.T @ values)
    residual = values - design @ coefficients
    scale = float(np.sqrt(residual @ residual / max(n, 1)))
    floor = max(_SMALLEST_SCALE * float(np.abs(values).max(initial=0.0)), _TINY)
    state = _huber_state(coefficients, max(scale, floor), residual, epsilon)
    if n <= k or scale <= floor:
        return state.as_regression(converged=n > k, n_iterations=0)
    if start is not None and start.converged and start.scale > floor:
        residual = values - design @ start.coefficients
        state = _huber_state(start.coefficients, start.scale, residual, epsilon)
    for iteration in range(1, max_iterations + 1):
        change, new_scale = _huber_step(design, normal, state, epsilon)
        new_scale = max(new_scale, floor)
        step, trial = 1.0, None
        while trial is None and step > _SHORTEST_STEP:
            coefficients = state.coefficients + step * change
            scale = state.scale + step * (new_scale - state.scale)
            trial = _huber_state(coefficients, scale, values - design @ coefficients, epsilon)
            if trial.cost > state.cost * (1.0 + _SAME_COST):
                trial, step = None, 0.5 * step
        if trial is None:
            # The objective cannot be lowered within its own rounding errors.
            return state.as_regression(converged=True, n_iterations=iteration)
        moved = max(float(np.abs(change).max()), abs(new_scale - state.scale))
        if (step == 1.0 and np.array_equal(trial.outliers, state.outliers)) or moved <= _SAME * scale:
            return trial.as_regression(converged=True, n_iterations=iteration)
        state = trial
    return state.as_regression(converged=False, n_iterations=max_iterations)


class _HuberState(NamedTuple):
    coefficients: FloatArray
    scale: float
    residual: FloatArray
    outliers: BoolArray
    cost: float

    def as_regression(self, *, converged: bool, n_iterations: int) -> Regression:
        return Regression(
            coefficients=self.coefficients,
            scale=self.scale,
            outliers=self.outliers,
            converged=converged,
            n_iterations=n_iterations,
        )


def _huber_state(coefficients: FloatArray, scale: float, residual: FloatArray, epsilon: float) -> _HuberState:
    size = np.abs(residual)
    outliers = size > epsilon * scale
    sizes = size[outliers]
    inner = np.where(outliers, 0.0, residual)
    outer = 2.0 * epsilon * float(sizes.sum()) - sizes.size * scale * epsilon**2
    cost = residual.size * scale + float(inner @ inner) / scale + outer
    return _HuberState(coefficients, scale, residual, outliers, cost)


def _huber_step(
    design: FloatArray, normal: FloatArray, state: _HuberState, epsilon: float
) -> tuple[FloatArray, float]:
    """Return the change of the coefficients and the new scale that are best for the present outliers.

    With A = D^T D and b = D^T r of the inliers and g = epsilon sum(sign(r_i) D_i) of the outliers, the
    change is u + s v where A u = b, A v = g and s^2 = |r - D u|^2 / (n - n_out epsilon^2 - v.g).
    """
    index = np.flatnonzero(state.outliers)
    rows = design[index]
    inner = np.where(state.outliers, 0.0, state.residual)
    right = design.T @ inner
    pull = epsilon * (rows.T @ np.sign(state.residual[index]))
    u, v = _solve_normal(normal - rows.T @ rows, np.stack([right, pull], axis=-1)).T
    inner = np.where(state.outliers, 0.0, state.residual - design @ u)
    squares = float(inner @ inner)
    slope = inner.size - index.size * epsilon**2 - float(v @ pull)
    # Without slope the objective falls as the scale grows: too many outliers for this scale.
    scale = float(np.sqrt(squares / slope)) if slope > 0.0 else 2.0 * state.scale
    return u + scale * v, scale


def _solve_normal(matrix: FloatArray, right: FloatArray) -> FloatArray:
    try:
        return np.asarray(np.linalg.solve(matrix, right), dtype=np.float64)
    except np.linalg.LinAlgError:
        return np.asarray(np.linalg.pinv(matrix, hermitian=True) @ right, dtype=np.float64)


def random_subsets(n: int, k: int, *, n_subsets: int, seed: int | np.random.Generator) -> IndexArray:
    """Draw subsets of k out of n without repetition inside a subset: shape (n_subsets, k), k <= n."""
    rng = np.random.default_rng(seed)
    subsets = rng.integers(n, size=(n_subsets, k), dtype=np.intp)
    while True:
        ordered = np.sort(subsets, axis=1)
        repeated = (ordered[:, 1:] == ordered[:, :-1]).any(axis=1)
        if not repeated.any():
            return subsets
        if n < 2 * k:
            # Rejection would take long where nearly every row is needed.
            subsets[repeated] = np.argsort(rng.random((int(repeated.sum()), n)), axis=1)[:, :k]
        else:
            subsets[repeated] = rng.integers(n, size=(int(repeated.sum()), k), dtype=np.intp)


def subset_solutions(design: FloatArray, values: FloatArray, *, subsets: IndexArray) -> FloatArray:
    """Solve each minimal subset exactly: shape (n_subsets, k); smallest norm where it is singular.

    Gaussian elimination with row pivoting along the last axis, for all subsets at once: on a pixel grid
    some subsets are exactly singular (six pixels on a conic), which LAPACK answers for all with an error.
    """
    m, k = subsets.shape
    table = np.empty((k, k + 1, m))
    table[:, :k] = design.T[:, subsets].transpose(2, 0, 1)
    table[:, k] = values[subsets].T
    every = np.arange(m)
    sound = np.ones(m, dtype=np.bool_)
    for j in range(k):
        pivot_row = j + np.argmax(np.abs(table[j:, j]), axis=0)
        pivot = table[pivot_row, j:, every].T
        table[pivot_row, j:, every] = table[j, j:].T
        sound &= np.abs(pivot[0]) > _SMALLEST_PIVOT
        pivot[0, ~sound] = 1.0
        pivot[1:] /= pivot[0]
        table[j, j:] = pivot
        table[j + 1 :, j + 1 :] -= table[j + 1 :, j, None] * pivot[1:]
    for j in range(k - 2, -1, -1):
        table[j, k] -= (table[j, j + 1 : k] * table[j + 1 :, k]).sum(axis=0)
    solutions = table[:, k].T
    bad = np.flatnonzero(~sound)
    solutions[bad] = (np.linalg.pinv(design[subsets[bad]]) @ values[subsets[bad]][..., None])[..., 0]
    return np.ascontiguousarray(solutions)


def spatial_median(
    points: FloatArray, *, tolerance: float = 1e-12, max_iterations: int = 200
) -> tuple[FloatArray, bool, int]:
    """Return the point of least summed distance to the others.

    Newton's method on the sum of distances. Where it does not lower the sum, Weiszfeld's step is taken, with
    the correction of Vardi & Zhang 2000 (PNAS 97, 1423), which converges from anywhere. It converges slowly
    towards one of the points, so that the nearest point is tested first. In one dimension the result is the
    median.

    Parameters
    ----------
    points : ndarray, shape (n, k)
        Finite, n >= 1.
    tolerance : float
        On the last step relative to the median distance, or on the relative decrease of the sum.
    max_iterations : int
        At most.

    Returns
    -------
    median : ndarray, shape (k,)
    converged : bool
    n_iterations : int
    """
    if points.shape[1] == 1:
        return np.median(points, axis=0), True, 1
    median = np.median(points, axis=0)
    difference, distance = _distances(points, median)
    typical = float(np.median(distance))
    cost = float(distance.sum())
    for iteration in range(1, max_iterations + 1):
        if cost == 0.0:
            return median, True, iteration
        trial = median + _newton_step(difference, distance)
        trial_difference, trial_distance = _distances(points, trial)
        trial_cost = float(trial_distance.sum())
        if not trial_cost <= cost:
            nearest = points[distance.argmin()]
            if _rests_at(points, nearest):
                return nearest.copy(), True, iteration
            trial = _weiszfeld(points, median, difference, distance)
            trial_difference, trial_distance = _distances(points, trial)
            trial_cost = float(trial_distance.sum())
        moved = float(np.sqrt(((trial - median) ** 2).sum()))
        done = moved <= tolerance * typical or trial_cost >= cost
        if trial_cost <= cost:
            median, difference, distance, cost = trial, trial_difference, trial_distance, trial_cost
        if done:
            return median, True, iteration
    return median, False, max_iterations


def _distances(points: FloatArray, centre: FloatArray) -> tuple[FloatArray, FloatArray]:
    difference = points - centre
    return difference, np.sqrt(np.einsum("ij,ij->i", difference, difference))


def _newton_step(difference: FloatArray, distance: FloatArray) -> FloatArray:
    """Return the Newton step of sum(distance); NaN where it is undefined."""
    distinct = distance > 0.0
    inverse = np.divide(1.0, distance, out=np.zeros_like(distance), where=distinct)
    direction = difference * inverse[:, None]
    hessian = inverse.sum() * np.eye(direction.shape[1]) - (direction * inverse[:, None]).T @ direction
    try:
        step: FloatArray = np.linalg.solve(hessian, direction.sum(axis=0))
    except np.linalg.LinAlgError:
        return np.full(direction.shape[1], np.nan)
    return step


def _rests_at(points: FloatArray, place: FloatArray) -> bool:
    """Whether the sum of distances is least at a place: the points there outweigh the pull of all others."""
    difference, distance = _distances(points, place)
    distinct = distance > 0.0
    pull = (difference[distinct] / distance[distinct, None]).sum(axis=0)
    return bool(np.sqrt(pull @ pull) <= np.count_nonzero(~distinct))


def _weiszfeld(
    points: FloatArray, centre: FloatArray, difference: FloatArray, distance: FloatArray
) -> FloatArray:
    """Return Weiszfeld's next point, corrected for points that lie at the centre."""
    distinct = distance > 0.0
    inverse = 1.0 / distance[distinct]
    pull = float(np.sqrt(((inverse @ difference[distinct]) ** 2).sum()))
    target = inverse @ points[distinct] / inverse.sum()
    share = min(1.0, float((~distinct).sum()) / pull) if pull > 0.0 else 1.0
    result: FloatArray = (1.0 - share) * target + share * centre
    return result


def leave_out_medians(points: FloatArray, *, median: FloatArray, kept: FloatArray) -> FloatArray:
    """Return the spatial medians of many selections of the points, by one Newton step from that of all.

    Parameters
    ----------
    points : ndarray, shape (n, k)
        All points.
    median : ndarray, shape (k,)
        Their spatial median.
    kept : ndarray, shape (m, n)
        1 for the points in a selection, 0 for those left out.

    Returns
    -------
    ndarray, shape (m, k)
        NaN where a selection does not determine a median.
    """
    n, k = points.shape
    if k == 1:
        return np.array([np.median(points[row > 0.0], axis=0) if row.any() else [np.nan] for row in kept])
    difference, distance = _distances(points, median)
    inverse = np.divide(1.0, distance, out=np.zeros(n), where=distance > 0.0)
    direction = difference * inverse[:, None]
    outer = (direction[:, :, None] * direction[:, None, :]).reshape(n, -1) * inverse[:, None]
    hessian = (kept @ inverse)[:, None, None] * np.eye(k) - (kept @ outer).reshape(-1, k, k)
    try:
        step = np.linalg.solve(hessian, (kept @ direction)[..., None])[..., 0]
    except np.linalg.LinAlgError:
        return np.full((kept.shape[0], k), np.nan)
    return median + step
