"""Candidate backgrounds of cutouts: fits over nested boxes and orders, and their scores.

Every candidate (box, order, estimator) is fitted to the unmasked pixels of its own box. All of them are
compared on one common set: the unmasked pixels of the smallest box. Sums of squared residuals come from
normal matrices, as q - 2 delta.r + delta.A.delta about a reference polynomial that is fitted to the common
pixels. Differences from the reference are small, so that rounding errors stay small too.

For cross-validation the common pixels are divided into folds: rectangles of about a beam, each left out in
turn.

Letters in shapes: n cutouts, k terms, m folds, b boxes, o orders.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray, IntArray
from hyper_py.numerics.polynomial import (
    Box,
    Scaling,
    axis_powers,
    box_moments,
    grid_moments,
    n_terms,
    normal_matrix,
    normal_vector,
    solve_leading,
    term_powers,
)

PIXELS_PER_TERM = 2
"""Fewer unmasked pixels per coefficient than this make a candidate invalid."""
_MOST_FOLDS = 12
"""Folds per axis. In very wide boxes a fold is then larger than a beam, which is as rigorous."""


class Plan(NamedTuple):
    """What all cutouts of one shape share.

    `order` is the highest order, `sizes` has the number of terms of each, `guard` is how many folds around a
    fold are left out with it, `parsimony` weights the penalty of further terms.
    """

    boxes: tuple[Box, ...]
    orders: tuple[int, ...]
    order: int
    sizes: tuple[int, ...]
    scaling: Scaling
    powers: tuple[FloatArray, FloatArray]
    low_powers: tuple[FloatArray, FloatArray]
    edges: tuple[IntArray, IntArray]
    beam_area: float
    guard: int
    parsimony: float


class Sums(NamedTuple):
    """Weighted sums over folds of common pixels: D^T D (k, k, n, m), D^T r (k, n, m) and r^2 (n, m)."""

    matrix: FloatArray
    vector: FloatArray
    square: FloatArray

    def total(self) -> "Sums":
        """Return the sums over all folds, without the last axis."""
        return Sums(*(part.sum(axis=-1) for part in self))

    def of(self, index: int) -> "Sums":
        """Return the sums of one cutout."""
        one = slice(index, index + 1)
        return Sums(self.matrix[:, :, one], self.vector[:, one], self.square[one])


class Common(NamedTuple):
    """How candidates of some cutouts are compared.

    Attributes
    ----------
    reference : ndarray, shape (k, n)
        Polynomial of the highest order through the common pixels.
    sums, weighted : Sums
        About the reference; weighted by 1 / rms^2 where the rms is a map.
    variance : ndarray, shape (n,) or (1,)
        By which the weighted squares are divided: squared rms, or 1 where they are weighted already.
    n_pixels, square : ndarray, shape (n,)
        Number of common pixels and the sum of their squared data.
    """

    reference: FloatArray
    sums: Sums
    weighted: Sums
    variance: FloatArray
    n_pixels: FloatArray
    square: FloatArray

    def of(self, index: int) -> "Common":
        """Return what belongs to one cutout."""
        one = slice(index, index + 1)
        variance = self.variance if self.variance.size == 1 else self.variance[one]
        sums, weighted = self.sums.of(index), self.weighted.of(index)
        return Common(self.reference[:, one], sums, weighted, variance, self.n_pixels[one], self.square[one])


class Fits(NamedTuple):
    """Candidates of one estimator; with an axis of folds, the candidates fitted without each fold.

    Coefficients are zero-padded, (k, n, b, o) or (k, n, m, b, o); validity has the same shape without k.
    """

    coefficients: FloatArray
    valid: BoolArray


def make_plan(
    shape: tuple[int, int],
    *,
    boxes: Sequence[Box],
    orders: Sequence[int],
    beam_area: float,
    guard: int = 1,
    parsimony: float = 1.0,
    cross_validated: bool = True,
) -> Plan:
    """Prepare what all cutouts of one shape share; without cross-validation there is one fold."""
    y0, y1, x0, x1 = boxes[0]
    sides = np.array(boxes)
    half_y = 0.5 * float((sides[:, 1] - sides[:, 0]).max() - 1)
    half_x = 0.5 * float((sides[:, 3] - sides[:, 2]).max() - 1)
    scaling = Scaling(0.5 * (y0 + y1 - 1), 0.5 * (x0 + x1 - 1), max(half_y, 0.5), max(half_x, 0.5))
    order = max(orders)
    v, u = axis_powers(shape, degree=2 * order, scaling=scaling)
    low = v[:, : order + 1], u[:, : order + 1]
    edges = np.array([y0, y1]), np.array([x0, x1])
    if cross_validated:
        edges = _fold_edges(y0, y1, beam_area, guard), _fold_edges(x0, x1, beam_area, guard)
    sizes = tuple(n_terms(o) for o in orders)
    return Plan(
        tuple(boxes), tuple(orders), order, sizes, scaling, (v, u), low, edges, beam_area, guard, parsimony
    )


def _fold_edges(start: int, stop: int, beam_area: float, guard: int) -> IntArray:
    """Cut an axis into folds of about a beam, and into enough of them that some remain beside the guard."""
    n_folds = round((stop - start) / math.sqrt(max(beam_area, 1.0)))
    n_folds = min(max(n_folds, 2 * guard + 3), _MOST_FOLDS, stop - start)
    return np.round(np.linspace(start, stop, n_folds + 1)).astype(np.intp)


class Frames(NamedTuple):
    """Cutouts ready to fit.

    Attributes
    ----------
    used : ndarray of bool, shape (n, ny, nx)
    mean : ndarray, shape (n,)
        Mean, subtracted from the values.
    values : ndarray, shape (n, ny, nx)
        0 where not used.
    counts : ndarray, shape (n, b)
        Used pixels of each box.
    matrix, vector : ndarray, shapes (k, k, n, b) and (k, n, b)
        Normal equations of each box.
    """

    used: BoolArray
    mean: FloatArray
    values: FloatArray
    counts: FloatArray
    matrix: FloatArray
    vector: FloatArray


def make_frames(data: FloatArray, used: BoolArray, *, plan: Plan) -> Frames:
    """Prepare the normal equations of cutouts (n, ny, nx)."""
    weight = used.astype(np.float64)
    known = np.where(used, data, 0.0)
    mean = known.sum(axis=(1, 2)) / np.maximum(weight.sum(axis=(1, 2)), 1.0)
    values = known - weight * mean[:, None, None]
    moments = box_moments(weight, boxes=plan.boxes, powers=plan.powers)
    vector = normal_vector(box_moments(values, boxes=plan.boxes, powers=plan.low_powers), order=plan.order)
    return Frames(used, mean, values, moments[0], normal_matrix(moments, order=plan.order), vector)


def make_common(data: FloatArray, frames: Frames, rms: FloatArray, *, plan: Plan) -> Common:
    """Sum up the common pixels of cutouts; rms of shape (n, 1, 1) or (n, ny, nx)."""
    y0, y1, x0, x1 = plan.boxes[0]
    weight = frames.used.astype(np.float64)
    size = (n_terms(plan.order),)
    reference, sound = solve_leading(frames.matrix[..., 0], frames.vector[..., 0], sizes=size)[0]
    reference = np.where(sound, reference, 0.0)
    residual = weight * (frames.values - _grid(reference, plan))
    sums = _fold_sums(weight, residual, plan=plan)
    uniform = rms.shape[1:] == (1, 1)
    weighted = sums if uniform else _fold_sums(_inverse_square(rms) * weight, residual, plan=plan)
    square = (np.where(frames.used, data, 0.0)[:, y0:y1, x0:x1] ** 2).sum(axis=(1, 2))
    variance = rms[:, 0, 0] ** 2 if uniform else np.ones(1)
    return Common(reference, sums, weighted, variance, frames.counts[:, 0], square)


def _inverse_square(rms: FloatArray) -> FloatArray:
    """Return the weights of chi-square: 0 where the rms is not a positive number."""
    known = np.isfinite(rms) & (rms > 0.0)
    return np.divide(1.0, rms**2, out=np.zeros_like(rms), where=known)


def _grid(coefficients: FloatArray, plan: Plan) -> FloatArray:
    """Evaluate polynomials of the plan's order, coefficients (k, n), on the whole cutout: (n, ny, nx)."""
    table = np.zeros((coefficients.shape[1], plan.order + 1, plan.order + 1))
    power_y, power_x = term_powers(plan.order)
    table[:, power_y, power_x] = coefficients.T
    v, u = plan.low_powers
    result: FloatArray = v @ table @ u.T
    return result


def _fold_sums(weight: FloatArray, residual: FloatArray, *, plan: Plan) -> Sums:
    v, u = plan.powers
    weighted = weight * residual
    matrix = grid_moments(weight, edges=plan.edges, powers=plan.powers)
    vector = grid_moments(weighted, edges=plan.edges, powers=plan.low_powers)
    square = grid_moments(weighted * residual, edges=plan.edges, powers=(v[:, :1], u[:, :1]))
    return Sums(normal_matrix(matrix, order=plan.order), normal_vector(vector, order=plan.order), square[0])


def residual_squares(coefficients: FloatArray, reference: FloatArray, sums: Sums) -> FloatArray:
    """Return sum(w (d - D c)^2) of candidates.

    Parameters
    ----------
    coefficients : ndarray, shape (k, ..., b, o)
        Zero-padded.
    reference : ndarray, shape (k, n) or (k, n, 1)
        That the sums are about.
    sums : Sums
        With batch axes (...).

    Returns
    -------
    ndarray, shape (..., b, o)
    """
    delta = coefficients - reference[..., None, None]
    total = np.broadcast_to(sums.square[..., None, None], delta.shape[1:]).copy()
    for i in range(delta.shape[0]):
        row = sums.matrix[i, i][..., None, None] * delta[i] - 2.0 * sums.vector[i][..., None, None]
        for j in range(i):
            row += 2.0 * sums.matrix[i, j][..., None, None] * delta[j]
        row *= delta[i]
        total += row
    return np.maximum(total, 0.0)


def candidate_scores(
    fits: Fits, left_out: Fits | None, common: Common, *, plan: Plan
) -> dict[str, FloatArray]:
    """Return nmse, redchi, bic, and cv where fits without each fold are given; inf where invalid.

    Returns
    -------
    dict of str to ndarray, shape (n, b, o)
    """
    terms = np.array(plan.sizes, dtype=np.float64)
    pixels = np.maximum(common.n_pixels, 1.0)[:, None, None]
    beams = np.maximum(pixels / max(plan.beam_area, 1.0), 1.0)
    variance = common.variance[:, None, None]
    square = np.where(common.square > 0.0, common.square, 1.0)[:, None, None]
    rss = residual_squares(fits.coefficients, common.reference, common.sums.total())
    chi2 = rss
    if common.weighted is not common.sums:
        chi2 = residual_squares(fits.coefficients, common.reference, common.weighted.total())
    chi2 = chi2 / variance
    scores = {
        "nmse": rss / square,
        "redchi": chi2 / np.maximum(pixels - terms, 1.0),
        "bic": chi2 * (beams / pixels) + terms * np.log(beams),
    }
    if left_out is not None:
        squares = residual_squares(left_out.coefficients, common.reference[..., None], common.weighted)
        scores["cv"] = squares.sum(axis=1) / variance / pixels * (1.0 + plan.parsimony * terms / beams)
        scores["cv"][~left_out.valid.all(axis=1)] = np.inf
    for score in scores.values():
        score[~fits.valid] = np.inf
    return scores


def enough_pixels(counts: FloatArray, plan: Plan) -> BoolArray:
    """Return whether each box of counts (n, b), and the common pixels, can carry each order: (n, b, o)."""
    sizes = np.array(plan.sizes)
    return (counts[..., None] >= PIXELS_PER_TERM * sizes) & (counts[:, :1, None] > sizes)


def least_squares_fits(frames: Frames, *, plan: Plan) -> Fits:
    """Fit each box and order by least squares."""
    fits = _solve_orders(frames.matrix, frames.vector, plan=plan)
    return Fits(fits.coefficients, fits.valid & enough_pixels(frames.counts, plan))


def least_squares_left_out(frames: Frames, common: Common, *, plan: Plan) -> Fits:
    """Fit each candidate without each fold of the common pixels, by downdated normal equations."""
    sums = common.sums
    vector = sums.vector + (sums.matrix * common.reference[None, :, :, None]).sum(axis=1)
    return _solve_orders(
        frames.matrix[:, :, :, None, :] - with_guard(sums.matrix, plan)[..., None],
        frames.vector[:, :, None, :] - with_guard(vector, plan)[..., None],
        plan=plan,
    )


def with_guard(sums: FloatArray, plan: Plan) -> FloatArray:
    """Add to the sums of each fold, last axis, those of the folds around it that are left out with it."""
    grid = sums.reshape(*sums.shape[:-1], plan.edges[0].size - 1, plan.edges[1].size - 1)
    for axis in (-2, -1):
        grid = np.moveaxis(grid, axis, -1)
        total = grid.copy()
        for shift in range(1, min(plan.guard, grid.shape[-1] - 1) + 1):
            total[..., shift:] += grid[..., :-shift]
            total[..., :-shift] += grid[..., shift:]
        grid = np.moveaxis(total, -1, axis)
    return np.ascontiguousarray(grid).reshape(sums.shape)


def _solve_orders(matrix: FloatArray, vector: FloatArray, *, plan: Plan) -> Fits:
    """Solve the normal equations for each order, coefficients zero-padded to one size."""
    coefficients = np.zeros((*vector.shape, len(plan.sizes)))
    valid = np.empty(coefficients.shape[1:], dtype=np.bool_)
    for i, (solution, sound) in enumerate(solve_leading(matrix, vector, sizes=plan.sizes)):
        coefficients[: plan.sizes[i], ..., i] = solution
        valid[..., i] = sound
    return Fits(coefficients, valid)


def box_image(used: BoolArray, box: Box) -> BoolArray:
    """Return the used pixels of a cutout that are inside a box."""
    y0, y1, x0, x1 = box
    inside = np.zeros(used.shape, dtype=np.bool_)
    inside[y0:y1, x0:x1] = used[y0:y1, x0:x1]
    return inside
