"""Background of a source: polynomials over nested boxes, and the choice between them.

Every candidate (box, order, estimator) is fitted to the unmasked pixels of its own box, and all of them
are compared on one common set: the unmasked pixels of the smallest box. Sums of squared residuals come
from normal matrices, as q - 2 delta.r + delta.A.delta about a reference polynomial fitted to the common
pixels: differences from it are small, so nothing cancels.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from hyper_py.diagnostics import Flag
from hyper_py.geometry import FloatArray
from hyper_py.polynomial import (
    BoolArray,
    Box,
    IntArray,
    Scaling,
    axis_powers,
    block_moments,
    box_moments,
    evaluate_polynomial,
    n_terms,
    normal_matrix,
    normal_vector,
    polynomial_design,
    solve_leading,
    term_powers,
)

CRITERIA = ("nmse", "redchi", "bic", "cv")
ESTIMATORS = ("least_squares", "huber", "theil_sen")

_PIXELS_PER_TERM = 2
"""Fewer unmasked pixels per coefficient than this make a candidate invalid."""
_MOST_BLOCKS = 12
"""Blocks per axis: in very wide boxes a block is then larger than a beam, which costs nothing in rigour."""
_CHUNK = 16
"""Sources handled at once: enough to amortise calls, few enough to stay in the cache."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Background:
    """The chosen polynomial of one cutout, in the cutout's pixel coordinates.

    Attributes
    ----------
    order : int
        Total degree.
    box : (y0, y1, x0, x1)
        Where it was fitted, ends excluded.
    estimator : str
        least_squares, huber, theil_sen or median.
    epsilon : float or None
        Of Huber.
    coefficients : ndarray, shape (n_terms,)
        Of 1, x, y, x^2, xy, y^2, ... in scaled coordinates.
    scaling : Scaling
        Centre and half-size of these coordinates in pixels.
    fit_mask : ndarray of bool, shape of the cutout
        True where a pixel did not determine the coefficients: outside the box, masked, blank, clipped,
        or an outlier of Huber.
    scores : mapping of str to ndarray, shape (n_estimators, n_boxes, n_orders)
        Of all candidates by each criterion; inf where invalid.
    estimators : sequence of (str, float or None)
        Estimators and epsilons along the first axis of the scores.
    n_pixels : int
        Pixels that the fit used.
    n_common : int
        Pixels that all candidates were compared on.
    status : str
        "ok"; "lower_order" when too few pixels forced an order below those asked for; "no_pixels" when
        nothing could be fitted, and the background is 0.
    """

    order: int
    box: Box
    estimator: str
    epsilon: float | None
    coefficients: FloatArray
    scaling: Scaling
    fit_mask: BoolArray
    n_pixels: int
    n_common: int
    status: str = "ok"
    scores: Mapping[str, FloatArray] = field(default_factory=dict)
    estimators: Sequence[tuple[str, float | None]] = ()

    @property
    def flag(self) -> Flag:
        """BACKGROUND_POOR unless all went as asked."""
        return Flag(0) if self.status == "ok" else Flag.BACKGROUND_POOR

    def evaluate(self, y: ArrayLike, x: ArrayLike) -> FloatArray:
        """Return the background at pixels (y, x) of any shape, inside the box or not."""
        return evaluate_polynomial(self.coefficients, y, x, order=self.order, scaling=self.scaling)

    def design(self, y: ArrayLike, x: ArrayLike) -> FloatArray:
        """Return the design matrix (..., n_terms): the background is design @ coefficients."""
        return polynomial_design(y, x, order=self.order, scaling=self.scaling)

    @property
    def fit_pixels(self) -> tuple[IntArray, IntArray]:
        """(y, x) of the pixels that determined the coefficients, shape (n_pixels,) each."""
        y, x = np.nonzero(~self.fit_mask)
        return y, x

    @cached_property
    def normal_inverse(self) -> FloatArray:
        """(D^T D)^-1 on the fit pixels, shape (n_terms, n_terms); zeros where there are no pixels."""
        design = self.design(*self.fit_pixels)
        normal: FloatArray = design.T @ design
        return np.asarray(np.linalg.pinv(normal, hermitian=True), dtype=np.float64)

    def response(self, y: ArrayLike, x: ArrayLike) -> FloatArray:
        """Return d background(y, x) / d data(fit pixels).

        Exact for least squares, linearised for the others (Huber's outliers have no influence).

        Parameters
        ----------
        y, x : array_like, shape (...)
            Where the background is wanted.

        Returns
        -------
        ndarray, shape (..., n_pixels)
            D_p (D^T D)^-1 D^T: with noise covariance C of the fit pixels, that of the background at p
            is response @ C @ response.T.
        """
        result: FloatArray = self.design(y, x) @ self.normal_inverse @ self.design(*self.fit_pixels).T
        return result


def select_background(
    data: FloatArray,
    mask: BoolArray | None = None,
    *,
    boxes: Sequence[Box],
    orders: Sequence[int],
    rms: ArrayLike,
    beam_area: float,
    estimators: Sequence[str] = ("least_squares",),
    huber_epsilons: Sequence[float] = (1.35,),
    criterion: str = "cv",
    clip_sigma: float | None = None,
    seed: int | np.random.Generator = 0,
) -> Background:
    """Fit all candidate backgrounds of one cutout and return the best.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
        The largest cutout; NaN is masked.
    mask : ndarray of bool, shape (ny, nx), optional
        True where a pixel must not be used: the sources.
    rms : float or ndarray of shape (ny, nx)
        Noise per pixel, for chi-square.

    Other parameters are those of `select_backgrounds`.

    Returns
    -------
    Background
    """
    return select_backgrounds(
        data[None],
        None if mask is None else mask[None],
        boxes=boxes,
        orders=orders,
        rms=np.atleast_1d(np.asarray(rms, dtype=np.float64)[None]),
        beam_area=beam_area,
        estimators=estimators,
        huber_epsilons=huber_epsilons,
        criterion=criterion,
        clip_sigma=clip_sigma,
        seed=seed,
    )[0]


def select_backgrounds(
    data: FloatArray,
    mask: BoolArray | None = None,
    *,
    boxes: Sequence[Box],
    orders: Sequence[int],
    rms: ArrayLike,
    beam_area: float,
    estimators: Sequence[str] = ("least_squares",),
    huber_epsilons: Sequence[float] = (1.35,),
    criterion: str = "cv",
    clip_sigma: float | None = None,
    seed: int | np.random.Generator = 0,
) -> list[Background]:
    """Fit all candidate backgrounds of many cutouts of one shape and return the best of each.

    Parameters
    ----------
    data : ndarray, shape (n, ny, nx)
        Cutouts; NaN is masked.
    mask : ndarray of bool, shape (n, ny, nx), optional
        True where a pixel must not be used.
    boxes : sequence of (y0, y1, x0, x1)
        Rectangles of the cutout, the first (the smallest) inside all others.
    orders : sequence of int
        Total degrees of the polynomials.
    rms : array_like
        Noise per pixel: one number, or of shape (n,), or (n, ny, nx); used by redchi, bic and cv.
    beam_area : float
        In pixels: sets the number of independent beams of bic and the blocks of cv.
    estimators : sequence of str
        Of least_squares, huber, theil_sen.
    huber_epsilons : sequence of float
        Each makes an estimator of its own.
    criterion : {"nmse", "redchi", "bic", "cv"}
        On the common pixels: nmse is mean(res^2) / mean(data^2); redchi is chi2 / (n_pixels - k), chi2
        with the given rms; bic is chi2 + k ln(n) with n = n_pixels / beam_area independent beams and
        chi2 = n mean(res^2 / rms^2), since pixels of one beam are one measurement; cv is the mean
        squared error, in units of rms, of predicting each block of about a beam from a fit without it.
    clip_sigma : float, optional
        Mask first what is further than this from the mean, iterated (at most 10 times).
    seed : int or Generator
        For the random subsets of Theil-Sen.

    Returns
    -------
    list of Background
        In the order of the cutouts. Too few pixels are a status, not an error.

    Raises
    ------
    ValueError
        For an unknown estimator or criterion, or boxes that are not nested.
    """
    del seed
    _check_arguments(data.shape, boxes=boxes, estimators=estimators, criterion=criterion)
    plan = _make_plan(data.shape[1:], boxes=boxes, orders=orders, beam_area=beam_area)
    noise = _noise_images(rms, data.shape[0])
    del huber_epsilons
    result: list[Background] = []
    for start in range(0, data.shape[0], _CHUNK):
        part = slice(start, start + _CHUNK)
        used = np.isfinite(data[part])
        if mask is not None:
            used &= ~mask[part]
        if clip_sigma is not None:
            used = clip_pixels(data[part], used, clip_sigma=clip_sigma)
        result += _select_chunk(data[part], used, noise[part], plan=plan, criterion=criterion)
    return result


def clip_pixels(data: FloatArray, used: BoolArray, *, clip_sigma: float, iterations: int = 10) -> BoolArray:
    """Return `used` without the pixels beyond `clip_sigma` standard deviations of the mean of each image.

    Parameters
    ----------
    data, used : ndarray, shape (n, ny, nx)
        Images and the pixels that count.
    clip_sigma : float
        In standard deviations of the pixels left, about their mean.
    iterations : int
        At most.
    """
    values = np.where(used, data, 0.0)
    for _ in range(iterations):
        count = np.maximum(used.sum(axis=(1, 2), keepdims=True), 1)
        deviation = np.where(used, values - values.sum(axis=(1, 2), keepdims=True, where=used) / count, 0.0)
        limit = clip_sigma * np.sqrt((deviation**2).sum(axis=(1, 2), keepdims=True) / count)
        kept = used & (np.abs(deviation) <= limit)
        if np.array_equal(kept, used):
            break
        used = kept
    return used


class _Plan(NamedTuple):
    """What depends on the shape of the cutout only."""

    boxes: tuple[Box, ...]
    orders: tuple[int, ...]
    order: int
    sizes: tuple[int, ...]
    scaling: Scaling
    powers: tuple[FloatArray, FloatArray]
    edges: tuple[IntArray, IntArray]
    beam_area: float


class _Sums(NamedTuple):
    """Weighted sums over blocks of common pixels: of D^T D, D^T r and r^2, blocks last."""

    matrix: FloatArray
    vector: FloatArray
    square: FloatArray


class _Fit(NamedTuple):
    """Coefficients of candidates, zero-padded (k, n, [n_blocks,] n_boxes, n_orders); validity without k."""

    coefficients: FloatArray
    valid: BoolArray


def _check_arguments(
    shape: tuple[int, ...], *, boxes: Sequence[Box], estimators: Sequence[str], criterion: str
) -> None:
    unknown = [name for name in estimators if name not in ESTIMATORS]
    if unknown or not estimators:
        raise ValueError(f"background estimators must be among {ESTIMATORS}, not {unknown}")
    if criterion not in CRITERIA:
        raise ValueError(f"the criterion must be one of {CRITERIA}, not {criterion!r}")
    first = boxes[0]
    for y0, y1, x0, x1 in boxes:
        inside = 0 <= y0 <= first[0] < first[1] <= y1 <= shape[1]
        if not (inside and 0 <= x0 <= first[2] < first[3] <= x1 <= shape[2]):
            raise ValueError(f"box {(y0, y1, x0, x1)} must hold the first, {first}, inside {shape[1:]}")


def _make_plan(
    shape: tuple[int, ...], *, boxes: Sequence[Box], orders: Sequence[int], beam_area: float
) -> _Plan:
    y0, y1, x0, x1 = boxes[0]
    outer = np.array(boxes)
    half_y = 0.5 * (outer[:, 1] - outer[:, 0] - 1).max()
    half_x = 0.5 * (outer[:, 3] - outer[:, 2] - 1).max()
    scaling = Scaling(0.5 * (y0 + y1 - 1), 0.5 * (x0 + x1 - 1), max(half_y, 0.5), max(half_x, 0.5))
    order = max(orders)
    powers = axis_powers((shape[0], shape[1]), degree=2 * order, scaling=scaling)
    edges = _block_edges(y0, y1, beam_area), _block_edges(x0, x1, beam_area)
    sizes = tuple(n_terms(o) for o in orders)
    return _Plan(tuple(boxes), tuple(orders), order, sizes, scaling, powers, edges, beam_area)


def _block_edges(start: int, stop: int, beam_area: float) -> IntArray:
    n_blocks = min(max(round((stop - start) / math.sqrt(max(beam_area, 1.0))), 2), _MOST_BLOCKS, stop - start)
    return np.round(np.linspace(start, stop, n_blocks + 1)).astype(np.intp)


class _Frame(NamedTuple):
    """Cutouts ready to fit: data, used (n, ny, nx), mean level (n,), pixels per box (n, n_boxes)."""

    data: FloatArray
    used: BoolArray
    level: FloatArray
    counts: FloatArray


def _select_chunk(
    data: FloatArray, used: BoolArray, rms: FloatArray, *, plan: _Plan, criterion: str
) -> list[Background]:
    """Fit and compare the candidates of some cutouts; shapes (n, ny, nx), rms (n, 1, 1) or (n, ny, nx)."""
    y0, y1, x0, x1 = plan.boxes[0]
    weight = used.astype(np.float64)
    known = np.where(used, data, 0.0)
    level = known.sum(axis=(1, 2)) / np.maximum(weight.sum(axis=(1, 2)), 1.0)
    values = np.where(used, data - level[:, None, None], 0.0)
    low = plan.powers[0][:, : plan.order + 1], plan.powers[1][:, : plan.order + 1]
    moments = box_moments(weight, boxes=plan.boxes, powers=plan.powers)
    matrix = normal_matrix(moments, order=plan.order)
    vector = normal_vector(box_moments(values, boxes=plan.boxes, powers=low), order=plan.order)
    frame = _Frame(data, used, level, moments[0])
    fit = _fit_candidates(matrix, vector, frame.counts, plan=plan)

    reference, sound = solve_leading(matrix[..., 0], vector[..., 0], sizes=(n_terms(plan.order),))[0]
    reference = np.where(sound, reference, 0.0)
    residual = np.where(used, values - _grid(reference, plan), 0.0)
    sums = _block_sums(weight, residual, plan=plan)
    uniform = rms.shape[1:] == (1, 1)
    unit = rms**2 if uniform else np.ones((1, 1, 1))
    scaled = sums if uniform else _block_sums(weight / rms**2, residual, plan=plan)
    scores = _in_sample_scores(
        _residual_squares(fit.coefficients, reference, _total(sums)),
        _residual_squares(fit.coefficients, reference, _total(scaled)) / unit,
        frame.counts[:, 0],
        (known[:, y0:y1, x0:x1] ** 2).sum(axis=(1, 2)),
        plan=plan,
    )
    if criterion == "cv":
        left = _leave_out(matrix, vector, sums, reference, plan=plan)
        squares = _residual_squares(left.coefficients, reference[..., None], scaled).sum(axis=1) / unit
        scores["cv"] = squares / np.maximum(frame.counts[:, :1, None], 1.0)
        scores["cv"][~left.valid.all(axis=1)] = np.inf
    for score in scores.values():
        score[~fit.valid] = np.inf
    return [
        _choose(
            i,
            {name: score[i][None] for name, score in scores.items()},
            fit,
            frame,
            plan=plan,
            criterion=criterion,
        )
        for i in range(data.shape[0])
    ]


def _noise_images(rms: ArrayLike, n: int) -> FloatArray:
    """Return the rms as (n, 1, 1) where it is one number for each cutout, else as (n, ny, nx)."""
    noise = np.asarray(rms, dtype=np.float64)
    return noise if noise.ndim == 3 else np.broadcast_to(noise.reshape(-1, 1, 1), (n, 1, 1))


def _grid(coefficients: FloatArray, plan: _Plan) -> FloatArray:
    """Evaluate polynomials of the plan's order, coefficients (k, n), on the whole cutout: (n, ny, nx)."""
    table = np.zeros((coefficients.shape[1], plan.order + 1, plan.order + 1))
    power_y, power_x = term_powers(plan.order)
    table[:, power_y, power_x] = coefficients.T
    v, u = (power[:, : plan.order + 1] for power in plan.powers)
    return v @ table @ u.T


def _block_sums(weight: FloatArray, residual: FloatArray, *, plan: _Plan) -> _Sums:
    """Return the sums of each block of the common pixels; shapes (k, k, n, m), (k, n, m), (n, m)."""
    v, u = plan.powers
    low = v[:, : plan.order + 1], u[:, : plan.order + 1]
    weighted = weight * residual
    return _Sums(
        normal_matrix(block_moments(weight, edges=plan.edges, powers=plan.powers), order=plan.order),
        normal_vector(block_moments(weighted, edges=plan.edges, powers=low), order=plan.order),
        block_moments(weighted * residual, edges=plan.edges, powers=(v[:, :1], u[:, :1]))[0],
    )


def _total(sums: _Sums) -> _Sums:
    return _Sums(*(part.sum(axis=-1) for part in sums))


def _residual_squares(coefficients: FloatArray, reference: FloatArray, sums: _Sums) -> FloatArray:
    """Return sum(w (d - D c)^2) from sums about a reference polynomial.

    Shapes: coefficients (k, ..., n_boxes, n_orders), reference (k, n or n, 1), sums with batch axes (...).
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


def _solve_orders(matrix: FloatArray, vector: FloatArray, *, plan: _Plan) -> _Fit:
    """Solve the normal equations for each order, coefficients zero-padded to one size."""
    coefficients = np.zeros((*vector.shape, len(plan.sizes)))
    valid = np.empty(coefficients.shape[1:], dtype=np.bool_)
    for i, (solution, sound) in enumerate(solve_leading(matrix, vector, sizes=plan.sizes)):
        coefficients[: plan.sizes[i], ..., i] = solution
        valid[..., i] = sound
    return _Fit(coefficients, valid)


def _fit_candidates(matrix: FloatArray, vector: FloatArray, counts: FloatArray, *, plan: _Plan) -> _Fit:
    """Fit each box and order by least squares: coefficients (k, n, n_boxes, n_orders)."""
    fit = _solve_orders(matrix, vector, plan=plan)
    needed = _PIXELS_PER_TERM * np.array(plan.sizes)
    enough = (counts[..., None] >= needed) & (counts[:, :1, None] > np.array(plan.sizes))
    return _Fit(fit.coefficients, fit.valid & enough)


def _leave_out(
    matrix: FloatArray, vector: FloatArray, sums: _Sums, reference: FloatArray, *, plan: _Plan
) -> _Fit:
    """Fit each candidate without each block: coefficients (k, n, n_blocks, n_boxes, n_orders)."""
    block_vector = sums.vector + (sums.matrix * reference[None, :, :, None]).sum(axis=1)
    return _solve_orders(
        matrix[:, :, :, None, :] - sums.matrix[..., None],
        vector[:, :, None, :] - block_vector[..., None],
        plan=plan,
    )


def _in_sample_scores(
    rss: FloatArray, chi2: FloatArray, common: FloatArray, square: FloatArray, *, plan: _Plan
) -> dict[str, FloatArray]:
    """Return nmse, redchi and bic, shape (n, n_boxes, n_orders) each."""
    terms = np.array(plan.sizes, dtype=np.float64)
    pixels = np.maximum(common, 1.0)[:, None, None]
    beams = np.maximum(pixels / max(plan.beam_area, 1.0), 1.0)
    total = np.where(square > 0.0, square, 1.0)[:, None, None]
    return {
        "nmse": rss / total,
        "redchi": chi2 / np.maximum(pixels - terms, 1.0),
        "bic": chi2 * (beams / pixels) + terms * np.log(beams),
    }


def _choose(
    index: int, scores: dict[str, FloatArray], fit: _Fit, frame: "_Frame", *, plan: _Plan, criterion: str
) -> Background:
    """Return the candidate of the best score of one cutout, or a simpler polynomial where none is valid."""
    table = scores[criterion]
    best = np.unravel_index(int(np.argmin(table)), table.shape)
    if not np.isfinite(table[best]):
        return _fallback(index, scores, frame, plan=plan)
    _, box, order = (int(i) for i in best)
    coefficients = fit.coefficients[: plan.sizes[order], index, box, order].copy()
    coefficients[0] += frame.level[index]
    fit_mask = _outside(frame.used[index], plan.boxes[box])
    return Background(
        order=plan.orders[order],
        box=plan.boxes[box],
        estimator="least_squares",
        epsilon=None,
        coefficients=coefficients,
        scaling=plan.scaling,
        fit_mask=fit_mask,
        n_pixels=int(frame.counts[index, box]),
        n_common=int(frame.counts[index, 0]),
        scores=scores,
        estimators=(("least_squares", None),),
    )


def _outside(used: BoolArray, box: Box) -> BoolArray:
    """Return True where a pixel is not used or not in the box."""
    y0, y1, x0, x1 = box
    mask = np.ones(used.shape, dtype=np.bool_)
    mask[y0:y1, x0:x1] = ~used[y0:y1, x0:x1]
    return mask


def _fallback(index: int, scores: dict[str, FloatArray], frame: "_Frame", *, plan: _Plan) -> Background:
    """Fit the highest order below those asked for that the widest box has pixels for, else return 0."""
    widest = int(np.argmax(frame.counts[index]))
    n_pixels = int(frame.counts[index, widest])
    fit_mask = _outside(frame.used[index], plan.boxes[widest])
    y, x = np.nonzero(~fit_mask)
    values = frame.data[index][y, x]
    coefficients, order, status = np.zeros(1), 0, "no_pixels"
    for lower in range(min(plan.orders), -1, -1):
        design = polynomial_design(y, x, order=lower, scaling=plan.scaling)
        if n_pixels >= max(_PIXELS_PER_TERM * n_terms(lower), 1):
            solution, _, rank, _ = np.linalg.lstsq(design, values, rcond=1e-6)
            if rank == n_terms(lower):
                coefficients, order, status = solution, lower, "lower_order"
                break
    if status == "no_pixels" and n_pixels:
        coefficients, status = np.array([values.mean()]), "lower_order"
    return Background(
        order=order,
        box=plan.boxes[widest],
        estimator="least_squares",
        epsilon=None,
        coefficients=coefficients,
        scaling=plan.scaling,
        fit_mask=fit_mask,
        n_pixels=n_pixels,
        n_common=int(frame.counts[index, 0]),
        status=status,
        scores=scores,
        estimators=(("least_squares", None),),
    )
