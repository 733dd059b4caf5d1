"""Background of a source: polynomials over nested boxes, and the choice between them.

Candidates (box, order, estimator) are fitted in `hyper_py.numerics.candidates` and
`hyper_py.numerics.robust`; here the best one is chosen and becomes a `Background`. The background of a map
without sources is here too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from hyper_py.arrays import BoolArray, FloatArray, IntArray
from hyper_py.diagnostics import Flag
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
from hyper_py.numerics.polynomial import (
    Box,
    Scaling,
    evaluate_polynomial,
    inverse_or_pseudo,
    n_terms,
    polynomial_design,
)
from hyper_py.numerics.robust import huber_fits, theil_sen_fits

Estimator: TypeAlias = tuple[str, float | None]
"""Name, and epsilon if it is Huber's."""

CRITERIA = ("nmse", "redchi", "bic", "cv")
ESTIMATORS = ("least_squares", "huber", "theil_sen")

_CHUNK = 16
"""Cutouts handled at once: enough to amortise calls, few enough to stay in the cache."""


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
        least_squares, huber, theil_sen, median or none.
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
        Unmasked pixels of the box.
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
    estimators: Sequence[Estimator] = ()

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
        """(y, x) of the pixels that determined the coefficients, one-dimensional."""
        y, x = np.nonzero(~self.fit_mask)
        return y, x

    @cached_property
    def normal_inverse(self) -> FloatArray:
        """(D^T D)^-1 on the fit pixels, shape (n_terms, n_terms); zeros where there are no pixels."""
        design = self.design(*self.fit_pixels)
        return inverse_or_pseudo(design.T @ design)

    def response(self, y: ArrayLike, x: ArrayLike) -> FloatArray:
        """Return d background(y, x) / d data(fit pixels).

        Exact for least squares, linearised for the others (Huber's outliers have no influence).

        Parameters
        ----------
        y, x : array_like, shape (...)
            Where the background is wanted.

        Returns
        -------
        ndarray, shape (..., number of fit pixels)
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
    guard: int = 1,
    parsimony: float = 1.0,
    clip_sigma: float | None = None,
    n_subsets: int = 1000,
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
        guard=guard,
        parsimony=parsimony,
        clip_sigma=clip_sigma,
        n_subsets=n_subsets,
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
    guard: int = 1,
    parsimony: float = 1.0,
    clip_sigma: float | None = None,
    n_subsets: int = 1000,
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
        squared error, in units of rms, of predicting each block of about a beam from a fit without it
        (Huber by one Newton step, Theil-Sen with the subsets that miss the block).
    guard : int
        Blocks around each block that cv leaves out with it: noise is correlated over a beam, so that
        without a guard the nearest pixels tell the noise and high orders win (h-block cross-validation,
        Burman et al. 1994, Biometrika 81, 351). 0 leaves out the block alone.
    parsimony : float
        The score of cv is the prediction error x (1 + parsimony k / n), n beams as for bic: of orders that
        predict about equally well, which is chance, the lower is better under the source (measured in
        benchmarks/background.py). 0 is the plain prediction error.
    clip_sigma : float, optional
        Mask first what is further than this from the mean, iterated (at most 10 times).
    n_subsets : int
        Random minimal subsets of Theil-Sen, for each candidate.
    seed : int or Generator
        For drawing them; with an int a cutout's result does not depend on the others.

    Returns
    -------
    list of Background
        In the order of the cutouts. Too few pixels are a status, not an error.

    Raises
    ------
    ValueError
        For an unknown estimator or criterion, or boxes that are not nested.
    """
    _check_arguments(data.shape, boxes=boxes, estimators=estimators, criterion=criterion)
    plan = make_plan(
        (data.shape[1], data.shape[2]),
        boxes=boxes,
        orders=orders,
        beam_area=beam_area,
        guard=guard,
        parsimony=parsimony,
        cross_validated=criterion == "cv",
    )
    noise = _noise_images(rms, data.shape[0])
    names = _expand_estimators(estimators, huber_epsilons)
    result: list[Background] = []
    for start in range(0, data.shape[0], _CHUNK):
        part = slice(start, start + _CHUNK)
        used = np.isfinite(data[part])
        if mask is not None:
            used &= ~mask[part]
        if clip_sigma is not None:
            used = clip_pixels(data[part], used, clip_sigma=clip_sigma)
        frames = make_frames(data[part], used, plan=plan)
        common = make_common(data[part], frames, noise[part], plan=plan)
        squares = _least_squares(frames, common, plan=plan, criterion=criterion)
        for i in range(used.shape[0]):
            candidates = [
                squares[i]
                if name == "least_squares"
                else _robust(
                    (name, epsilon),
                    frames,
                    common,
                    i,
                    plan=plan,
                    criterion=criterion,
                    n_subsets=n_subsets,
                    seed=seed,
                )
                for name, epsilon in names
            ]
            result.append(_choose(candidates, frames, i, plan=plan, criterion=criterion))
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
        left = valid.sum(axis=1)
        goes_on = left < count
        moving, rows, valid, count = moving[goes_on], rows[goes_on], valid[goes_on], left[goes_on]
        if not moving.size:
            break
        kept[moving] = valid
    return kept.reshape(used.shape)


def _expand_estimators(estimators: Sequence[str], huber_epsilons: Sequence[float]) -> list[Estimator]:
    """Return the estimators, Huber's once for each epsilon."""
    result: list[Estimator] = []
    for name in estimators:
        result += [(name, epsilon) for epsilon in huber_epsilons] if name == "huber" else [(name, None)]
    return result


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
    left = least_squares_left_out(frames, common, plan=plan) if criterion == "cv" else None
    scores = candidate_scores(fits, left, common, plan=plan)
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
    criterion: str,
    n_subsets: int,
    seed: int | np.random.Generator,
) -> _Candidates:
    """Fit and score one cutout by Huber (which has an epsilon) or Theil-Sen."""
    leave_out, outliers = criterion == "cv", None
    if estimator[1] is not None:
        fits, left, outliers = huber_fits(frames, index, plan=plan, epsilon=estimator[1], leave_out=leave_out)
    else:
        fits, left = theil_sen_fits(
            frames, index, plan=plan, n_subsets=n_subsets, seed=seed, leave_out=leave_out
        )
    scores = candidate_scores(fits, left, common.of(index), plan=plan)
    return _Candidates(estimator, fits.coefficients[:, 0], {n: s[0] for n, s in scores.items()}, outliers)


def _choose(
    candidates: Sequence[_Candidates], frames: Frames, index: int, *, plan: Plan, criterion: str
) -> Background:
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
        coefficients[0] += frames.level[index]
    return Background(
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
) -> Background:
    """Return the background of a map in which no source was found.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
        The map; NaN is masked.
    mask : ndarray of bool, shape (ny, nx), optional
        True where a pixel must not be used.
    orders : sequence of int
        Order 0 is the clipped median; of several orders the one of the best score is taken.
    rms, beam_area, criterion, clip_sigma
        As in `select_background`; least squares over the whole map.

    Returns
    -------
    Background
        Its estimator is "median" for order 0.
    """
    ny, nx = data.shape
    background = select_background(
        data,
        mask,
        boxes=((0, ny, 0, nx),),
        orders=orders,
        rms=rms,
        beam_area=beam_area,
        criterion=criterion,
        clip_sigma=clip_sigma,
    )
    if background.order > 0 or background.status == "no_pixels":
        return background
    median = np.median(data[~background.fit_mask], keepdims=True)
    return replace(background, estimator="median", coefficients=median)
