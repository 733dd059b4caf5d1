"""Candidate backgrounds by Huber and Theil-Sen: one cutout at a time, boxes from small to large."""

from collections.abc import Iterator

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray, IntArray
from hyper_py.numerics.candidates import Fits, Frames, Plan, box_image, enough_pixels, with_guard
from hyper_py.numerics.polynomial import (
    box_moments,
    grid_moments,
    normal_matrix,
    normal_vector,
    solve_leading,
    term_powers,
)
from hyper_py.numerics.regression import (
    Regression,
    huber_regression,
    leave_out_medians,
    random_subsets,
    spatial_median,
    subset_solutions,
)


def huber_fits(
    frames: Frames, index: int, *, plan: Plan, epsilon: float, leave_out: bool
) -> tuple[Fits, Fits | None, BoolArray]:
    """Fit each box and order of one cutout by Huber regression.

    Parameters
    ----------
    frames : Frames
        Cutouts.
    index : int
        Which one.
    plan : Plan
        Its boxes and orders.
    epsilon : float
        Of Huber.
    leave_out : bool
        Whether to fit without each fold too, by one Newton step from the full fit at its scale. With the
        residuals r clipped at epsilon * scale, the step is sum(D_i clip(r_i)) of the fold times the inverse
        normal matrix of the inliers that remain.

    Returns
    -------
    fits : Fits
        With n = 1.
    left_out : Fits or None
    outliers : ndarray of bool, shape (b, o, ny, nx)
    """
    y, x, design, values = _pixels(frames, index, plan)
    n_boxes, n_orders = len(plan.boxes), len(plan.orders)
    fits = _empty_fits(frames, index, plan)
    outliers = np.zeros((n_boxes, n_orders, *frames.used.shape[1:]), dtype=np.bool_)
    clipped = np.zeros(outliers.shape) if leave_out else None
    start: list[Regression | None] = [None] * n_orders
    for b, o, inside in _candidates(y, x, fits, plan):
        k = plan.sizes[o]
        rows = design[inside, :k]
        result = huber_regression(rows, values[inside], epsilon=epsilon, start=start[o])
        start[o] = result
        fits.coefficients[:k, 0, b, o] = result.coefficients
        fits.valid[0, b, o] = result.converged
        outliers[b, o, y[inside], x[inside]] = result.outliers
        if clipped is not None:
            limit = epsilon * result.scale
            residual = values[inside] - rows @ result.coefficients
            clipped[b, o, y[inside], x[inside]] = np.clip(residual, -limit, limit)
    left_out = None
    if clipped is not None:
        inliers = np.stack([box_image(frames.used[index], box) for box in plan.boxes])[:, None] & ~outliers
        left_out = _newton_left_out(inliers.astype(np.float64), clipped, fits, plan)
    return fits, left_out, outliers


def _newton_left_out(inliers: FloatArray, clipped: FloatArray, fits: Fits, plan: Plan) -> Fits:
    """Take a Newton step to each fit without a fold; inliers and clipped residuals (b, o, ny, nx)."""
    n_boxes, n_orders, ny, nx = inliers.shape
    images, order = inliers.reshape(-1, ny, nx), plan.order
    moments = box_moments(images, boxes=((0, ny, 0, nx),), powers=plan.powers)
    folds = grid_moments(images, edges=plan.edges, powers=plan.powers)
    pulls = grid_moments(clipped.reshape(-1, ny, nx), edges=plan.edges, powers=plan.low_powers)
    matrix = normal_matrix(moments, order=order) - with_guard(normal_matrix(folds, order=order), plan)
    vector = with_guard(normal_vector(pulls, order=order), plan)
    n_folds = matrix.shape[-1]
    coefficients = np.zeros((vector.shape[0], 1, n_folds, n_boxes, n_orders))
    valid = np.zeros(coefficients.shape[1:], dtype=np.bool_)
    for o, k in enumerate(plan.sizes):
        own = slice(o, None, n_orders)
        step, sound = solve_leading(matrix[:k, :k, own], vector[:k, own], sizes=(k,))[0]
        coefficients[:k, 0, :, :, o] = fits.coefficients[:k, 0, None, :, o] - step.transpose(0, 2, 1)
        valid[0, :, :, o] = sound.T & fits.valid[0, :, o]
    return Fits(coefficients, valid)


def theil_sen_fits(
    frames: Frames,
    index: int,
    *,
    plan: Plan,
    n_subsets: int,
    seed: int | np.random.Generator,
    leave_out: bool,
) -> tuple[Fits, Fits | None]:
    """Fit each box and order of one cutout by Theil-Sen regression.

    Parameters are those of `huber_fits`, and `n_subsets` and `seed` for the random subsets; order 0 is the
    median of all pixels. The fit without a fold is the spatial median of the subsets with no pixel in it.

    Returns
    -------
    fits : Fits
        With n = 1.
    left_out : Fits or None
    """
    rng = np.random.default_rng(seed)
    y, x, design, values = _pixels(frames, index, plan)
    fits = _empty_fits(frames, index, plan)
    fold, n_folds = _fold_of(y, x, plan)
    # near[i, j]: fold j is left out with fold i; the last column stands for pixels outside all folds.
    near = np.pad(with_guard(np.eye(n_folds), plan), ((0, 0), (0, 1))) > 0.0
    shape = design.shape[1], 1, n_folds, len(plan.boxes), len(plan.orders)
    left_out = Fits(np.zeros(shape), np.zeros(shape[1:], dtype=np.bool_)) if leave_out else None
    for b, o, inside in _candidates(y, x, fits, plan):
        k = plan.sizes[o]
        if k == 1:
            subsets = inside[:, None]
            points = values[subsets]
        else:
            subsets = inside[random_subsets(inside.size, k, n_subsets=n_subsets, seed=rng)]
            points = subset_solutions(design[:, :k], values, subsets=subsets)
        median, converged, _ = spatial_median(points)
        fits.coefficients[:k, 0, b, o] = median
        fits.valid[0, b, o] = converged
        if left_out is not None:
            kept = np.where(near[:, fold[subsets]].any(axis=2), 0.0, 1.0)
            medians = leave_out_medians(points, median=median, kept=kept)
            left_out.valid[0, :, b, o] = np.isfinite(medians).all(axis=1)
            left_out.coefficients[:k, 0, :, b, o] = np.where(left_out.valid[0, :, b, o], medians.T, 0.0)
    return fits, left_out


def _pixels(frames: Frames, index: int, plan: Plan) -> tuple[IntArray, IntArray, FloatArray, FloatArray]:
    """Return coordinates, design matrix of the highest order, and values of the used pixels of a cutout."""
    y, x = np.nonzero(frames.used[index])
    power_y, power_x = term_powers(plan.order)
    v, u = plan.low_powers
    return y, x, v[y][:, power_y] * u[x][:, power_x], frames.values[index][y, x]


def _empty_fits(frames: Frames, index: int, plan: Plan) -> Fits:
    """Return zero coefficients; valid where there are enough pixels to try."""
    valid = enough_pixels(frames.counts[index : index + 1], plan)
    return Fits(np.zeros((frames.vector.shape[0], *valid.shape)), valid)


def _candidates(y: IntArray, x: IntArray, fits: Fits, plan: Plan) -> Iterator[tuple[int, int, IntArray]]:
    """Yield box, order and the pixels inside, of all candidates that can be tried."""
    for b, (y0, y1, x0, x1) in enumerate(plan.boxes):
        inside = np.flatnonzero((y >= y0) & (y < y1) & (x >= x0) & (x < x1))
        for o in range(len(plan.orders)):
            if fits.valid[0, b, o]:
                yield b, o, inside


def _fold_of(y: IntArray, x: IntArray, plan: Plan) -> tuple[IntArray, int]:
    """Return the fold of each pixel, and the number of folds, which stands for pixels outside all."""
    rows, columns = plan.edges
    n_rows, n_columns = rows.size - 1, columns.size - 1
    row = np.searchsorted(rows, y, side="right") - 1
    column = np.searchsorted(columns, x, side="right") - 1
    inside = (row >= 0) & (row < n_rows) & (column >= 0) & (column < n_columns)
    return np.where(inside, row * n_columns + column, n_rows * n_columns), n_rows * n_columns
