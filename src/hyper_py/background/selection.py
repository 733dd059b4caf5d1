"""How the background under a source is chosen: polynomials over nested boxes, and the best of them.

The candidates of a cutout are all combinations of a box around the sources, an order and an estimator (least
squares, Huber, Theil-Sen), each fitted to the unmasked pixels of its own box. All are compared on one common
set: the unmasked pixels of the smallest box. The candidate with the lowest value of a criterion is taken::

    nmse     mean(res^2) / mean(data^2)
    redchi   chi2 / (n_pixels - k),    chi2 = sum(res^2 / rms^2), k terms
    bic      n mean(res^2 / rms^2) + k ln n,    n = n_pixels / beam_area independent beams
    cv       (1 + k / n) x mean squared error, over rms^2, of predicting each block of about a beam from a
             fit without it

`cv`, the default, is the only one that predicts; in-sample criteria elect small boxes and high orders.
Candidates are fitted in `hyper_py.numerics.candidates` and `hyper_py.numerics.robust`. The background of a
map without sources is here too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from hyper_py.arrays import BoolArray, FloatArray
from hyper_py.background.cutout_polynomial import CutoutPolynomial, Estimator
from hyper_py.numerics.candidates import (
    PIXELS_PER_TERM,
    Common,
    Frames,
    Plan,
    box_image,
    candidate_scores,
    least_squares_fits,
    least_squares_left_out,
    make_common,
    make_frames,
    make_plan,
)
from hyper_py.numerics.polynomial import Box, n_terms, polynomial_design
from hyper_py.numerics.robust import huber_fits, theil_sen_fits

CRITERIA = ("nmse", "redchi", "bic", "cv")
ESTIMATORS = ("least_squares", "huber", "theil_sen")

_CHUNK = 16
"""Cutouts handled at once: enough to amortise calls, few enough to stay in the cache."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which polynomials are tried, and which of them is the best.

    Attributes
    ----------
    orders : sequence of int
        Total degrees of the polynomials.
    estimators : sequence of str
        Of least_squares, huber, theil_sen.
    huber_epsilons : sequence of float
        Each makes an estimator of its own.
    criterion : {"nmse", "redchi", "bic", "cv"}
        See the top of this module. In cv Huber takes one Newton step without each block, Theil-Sen the
        subsets that miss it.
    guard : int
        Blocks around each block that cv leaves out with it. Noise is correlated over a beam: without a guard
        the nearest pixels predict the noise and high orders win (h-block cross-validation, Burman et al.
        1994, Biometrika 81, 351). 0 leaves out the block alone.
    parsimony : float
        The score of cv is the prediction error x (1 + parsimony k / n): of orders that predict about equally
        well, which is chance, the lower is better under the source (measured in benchmarks/background.py).
        0 is the plain prediction error.
    clip_sigma : float, optional
        Mask first what is further than this from the mean, iterated (at most 10 times).
    n_subsets : int
        Random minimal subsets of Theil-Sen, for each candidate.
    seed : int or Generator
        For drawing them; with an int a cutout's result does not depend on the others.

    Raises
    ------
    ValueError
        For an unknown estimator or criterion.
    """

    orders: Sequence[int]
    estimators: Sequence[str] = ("least_squares",)
    huber_epsilons: Sequence[float] = (1.35,)
    criterion: str = "cv"
    guard: int = 1
    parsimony: float = 1.0
    clip_sigma: float | None = None
    n_subsets: int = 1000
    seed: int | np.random.Generator = 0

    def __post_init__(self) -> None:
        unknown = [name for name in self.estimators if name not in ESTIMATORS]
        if unknown or not self.estimators:
            raise ValueError(f"background estimators must be among {ESTIMATORS}, not {unknown}")
        if self.criterion not in CRITERIA:
            raise ValueError(f"the criterion must be one of {CRITERIA}, not {self.criterion!r}")

    @property
    def named(self) -> list[Estimator]:
        """The estimators, Huber's once for each epsilon."""
        result: list[Estimator] = []
        for name in self.estimators:
            result += [(name, e) for e in self.huber_epsilons] if name == "huber" else [(name, None)]
        return result


def select_background(
    data: FloatArray,
    mask: BoolArray | None = None,
    *,
    boxes: Sequence[Box],
    choice: Choice,
    rms: ArrayLike,
    beam_area: float,
) -> CutoutPolynomial:
    """Fit all candidate backgrounds of one cutout and return the best.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
        The largest cutout; NaN is masked.
    mask : ndarray of bool, shape (ny, nx), optional
        True where a pixel must not be used: the sources.
    rms : float or ndarray of shape (ny, nx)
        Noise per pixel, for chi-square.
    boxes, choice, beam_area
        See `select_backgrounds`.
    """
    return select_backgrounds(
        data[None],
        None if mask is None else mask[None],
        boxes=boxes,
        choice=choice,
        rms=np.atleast_1d(np.asarray(rms, dtype=np.float64)[None]),
        beam_area=beam_area,
    )[0]


def select_backgrounds(
    data: FloatArray,
    mask: BoolArray | None = None,
    *,
    boxes: Sequence[Box],
    choice: Choice,
    rms: ArrayLike,
    beam_area: float,
) -> list[CutoutPolynomial]:
    """Fit all candidate backgrounds of many cutouts of one shape and return the best of each.

    Parameters
    ----------
    data : ndarray, shape (n, ny, nx)
        Cutouts; NaN is masked.
    mask : ndarray of bool, shape (n, ny, nx), optional
        True where a pixel must not be used.
    boxes : sequence of (y0, y1, x0, x1)
        Rectangles of the cutout, the first (the smallest) inside all others.
    choice : Choice
    rms : array_like
        Noise per pixel: one number, or of shape (n,), or (n, ny, nx); used by redchi, bic and cv.
    beam_area : float
        In pixels: sets the number of independent beams of bic and the blocks of cv.

    Returns
    -------
    list of CutoutPolynomial
        In the order of the cutouts. Too few pixels are a status, not an error.

    Raises
    ------
    ValueError
        For boxes that are not nested.
    """
    _check_boxes(data.shape, boxes)
    plan = make_plan(
        (data.shape[1], data.shape[2]),
        boxes=boxes,
        orders=choice.orders,
        beam_area=beam_area,
        guard=choice.guard,
        parsimony=choice.parsimony,
        cross_validated=choice.criterion == "cv",
    )
    noise = _noise_images(rms, data.shape[0])
    result: list[CutoutPolynomial] = []
    for start in range(0, data.shape[0], _CHUNK):
        part = slice(start, start + _CHUNK)
        used = np.isfinite(data[part])
        if mask is not None:
            used &= ~mask[part]
        if choice.clip_sigma is not None:
            used = clip_pixels(data[part], used, clip_sigma=choice.clip_sigma)
        frames = make_frames(data[part], used, plan=plan)
        common = make_common(data[part], frames, noise[part], plan=plan)
        squares = _least_squares(frames, common, plan=plan, criterion=choice.criterion)
        for i in range(used.shape[0]):
            candidates = [
                squares[i]
                if estimator[0] == "least_squares"
                else _robust(estimator, frames, common, i, plan=plan, choice=choice)
                for estimator in choice.named
            ]
            result.append(_best(candidates, frames, i, plan=plan, criterion=choice.criterion))
    return result


def clip_pixels(data: FloatArray, used: BoolArray, *, clip_sigma: float, iterations: int = 10) -> BoolArray:
    """Return `used` without the pixels beyond `clip_sigma` standard deviations of the mean of each image.

    Parameters
    ----------
    data, used : ndarray, shape (n, ny, nx)
        Images and the pixels that count.
    clip_sigma : float
        In standard deviations of the remaining pixels, about their mean.
    iterations : int
        At most.
    """
    kept = used.reshape(len(used), -1).copy()
    rows, valid, moving = data.reshape(kept.shape).copy(), kept.copy(), np.arange(len(kept))
    count = valid.sum(axis=1)
    for _ in range(iterations):
        np.copyto(rows, 0.0, where=~valid)
        number = np.maximum(count, 1)
        deviation = rows - (rows.sum(axis=1) / number)[:, None]
        np.copyto(deviation, 0.0, where=~valid)
        limit = clip_sigma * np.sqrt(np.einsum("rn,rn->r", deviation, deviation) / number)
        valid &= np.abs(deviation, out=deviation) <= limit[:, None]
        kept_now = valid.sum(axis=1)
        goes_on = kept_now < count
        moving, rows, valid, count = moving[goes_on], rows[goes_on], valid[goes_on], kept_now[goes_on]
        if not moving.size:
            break
        kept[moving] = valid
    return kept.reshape(used.shape)


class _Candidates(NamedTuple):
    """All candidates of one estimator for one cutout.

    Coefficients (k, b, o), scores (b, o), and of Huber the outliers (b, o, ny, nx).
    """

    estimator: Estimator
    coefficients: FloatArray
    scores: dict[str, FloatArray]
    outliers: BoolArray | None = None


def _least_squares(frames: Frames, common: Common, *, plan: Plan, criterion: str) -> list[_Candidates]:
    """Fit and score all cutouts at once."""
    fits = least_squares_fits(frames, plan=plan)
    predicted = least_squares_left_out(frames, common, plan=plan) if criterion == "cv" else None
    scores = candidate_scores(fits, predicted, common, plan=plan)
    return [
        _Candidates(("least_squares", None), fits.coefficients[:, i], {n: s[i] for n, s in scores.items()})
        for i in range(frames.used.shape[0])
    ]


def _robust(
    estimator: Estimator,
    frames: Frames,
    common: Common,
    index: int,
    *,
    plan: Plan,
    choice: Choice,
) -> _Candidates:
    """Fit and score one cutout by Huber (which has an epsilon) or Theil-Sen."""
    leave_out, outliers = choice.criterion == "cv", None
    if estimator[1] is not None:
        fits, predicted, outliers = huber_fits(
            frames, index, plan=plan, epsilon=estimator[1], leave_out=leave_out
        )
    else:
        fits, predicted = theil_sen_fits(
            frames, index, plan=plan, n_subsets=choice.n_subsets, seed=choice.seed, leave_out=leave_out
        )
    scores = candidate_scores(fits, predicted, common.of(index), plan=plan)
    return _Candidates(estimator, fits.coefficients[:, 0], {n: s[0] for n, s in scores.items()}, outliers)


def _best(
    candidates: Sequence[_Candidates], frames: Frames, index: int, *, plan: Plan, criterion: str
) -> CutoutPolynomial:
    """Return the candidate of the best score, or a simpler polynomial where none is valid.

    Where too few pixels are left beside the blocks to predict them, bic stands in for cv.
    """
    scores = {name: np.stack([c.scores[name] for c in candidates]) for name in candidates[0].scores}
    table = scores[criterion if np.isfinite(scores[criterion]).any() else "bic"]
    best, b, o = (int(i) for i in np.unravel_index(int(np.argmin(table)), table.shape))
    used, counts = frames.used[index], frames.counts[index]
    estimator: Estimator
    if np.isfinite(table[best, b, o]):
        estimator, order, status = candidates[best].estimator, plan.orders[o], "ok"
        coefficients = candidates[best].coefficients[: plan.sizes[o], b, o].copy()
        outliers = candidates[best].outliers
        fit_mask = ~box_image(used, plan.boxes[b])
        if outliers is not None:
            fit_mask |= outliers[b, o]
    else:
        estimator, b = ("least_squares", None), int(np.argmax(counts))
        fit_mask = ~box_image(used, plan.boxes[b])
        coefficients, order, status = _fit_lower_order(frames.values[index], fit_mask, plan=plan)
    if status != "no_pixels":
        coefficients[0] += frames.mean[index]
    return CutoutPolynomial(
        order=order,
        box=plan.boxes[b],
        estimator=estimator[0],
        epsilon=estimator[1],
        coefficients=coefficients,
        scaling=plan.scaling,
        fit_mask=fit_mask,
        n_pixels=int(counts[b]),
        n_common=int(counts[0]),
        status=status,
        scores=scores,
        estimators=tuple(c.estimator for c in candidates),
    )


def _check_boxes(shape: tuple[int, ...], boxes: Sequence[Box]) -> None:
    first = boxes[0]
    for y0, y1, x0, x1 in boxes:
        inside = 0 <= y0 <= first[0] < first[1] <= y1 <= shape[1]
        if not (inside and 0 <= x0 <= first[2] < first[3] <= x1 <= shape[2]):
            raise ValueError(f"box {(y0, y1, x0, x1)} must hold the first, {first}, inside {shape[1:]}")


def _noise_images(rms: ArrayLike, n: int) -> FloatArray:
    """Return the rms as (n, 1, 1) where it is one number for each cutout, else as (n, ny, nx)."""
    noise = np.asarray(rms, dtype=np.float64)
    return noise if noise.ndim == 3 else np.broadcast_to(noise.reshape(-1, 1, 1), (n, 1, 1))


def _fit_lower_order(values: FloatArray, mask: BoolArray, *, plan: Plan) -> tuple[FloatArray, int, str]:
    """Fit the highest order, of those asked for or below, that the pixels can carry."""
    y, x = np.nonzero(~mask)
    known = values[y, x]
    if not known.size:
        return np.zeros(1), 0, "no_pixels"
    for order in range(plan.order, 0, -1):
        if known.size >= PIXELS_PER_TERM * n_terms(order):
            design = polynomial_design(y, x, order=order, scaling=plan.scaling)
            solution, _, rank, _ = np.linalg.lstsq(design, known, rcond=1e-6)
            if rank == n_terms(order):
                return np.asarray(solution, dtype=np.float64), order, "lower_order"
    return np.array([known.mean()]), 0, "lower_order"


def background_without_sources(
    data: FloatArray,
    mask: BoolArray | None = None,
    *,
    orders: Sequence[int],
    rms: ArrayLike,
    beam_area: float,
    criterion: str = "cv",
    clip_sigma: float = 3.0,
) -> CutoutPolynomial:
    """Return the background of a map in which no source was found.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
        The map; NaN is masked.
    mask : ndarray of bool, shape (ny, nx), optional
        True where a pixel must not be used.
    orders : sequence of int
        Order 0 is the clipped median; of several orders the one of the best score is taken.
    rms, beam_area
        As in `select_background`.
    criterion, clip_sigma
        As in `Choice`; least squares over the whole map.

    Returns
    -------
    CutoutPolynomial
        Its estimator is "median" for order 0.
    """
    ny, nx = data.shape
    background = select_background(
        data,
        mask,
        boxes=((0, ny, 0, nx),),
        choice=Choice(orders=orders, criterion=criterion, clip_sigma=clip_sigma),
        rms=rms,
        beam_area=beam_area,
    )
    if background.order > 0 or background.status == "no_pixels":
        return background
    median = np.median(data[~background.fit_mask], keepdims=True)
    return replace(background, estimator="median", coefficients=median)
