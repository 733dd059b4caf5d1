"""More sources where a fit leaves evidence for them: neighbours hidden in wings, and blends split in two.

Where the score of one more source is high, larger models are fitted, and one replaces the smaller only if the
Bayesian information criterion (Schwarz 1978, Ann. Stat. 6, 461) prefers it clearly. Where that prefers two
sources at one place, what it shows is the shape of one source, and nothing is added.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray, IntArray
from hyper_py.deblending.score_test import MEMBERS, best_additions
from hyper_py.fitting.group_fit import FitPixels, GroupFit, Whitener, bounds, fit_groups, influence
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.numerics import models

_CLEARLY = 6.0
"""By how much the criterion must fall: strong evidence (Kass & Raftery 1995, J. Am. Stat. Assoc. 90, 773)."""
_MISFIT_SIGMAS = 3.0
"""What is left where a new source is counts when it exceeds noise by so many standard deviations."""
_WIDER = 1.6
"""By how much a source at its size limit may grow when it is compared with two."""
CLOSEST_BEAMS = 0.4
"""Two sources closer than this cannot be told apart."""
_FEWEST_SIZES = 10
"""Sources that must be measured alone before they tell the size of those that cannot be."""
_UNKNOWN_SPREAD = 0.15
"""Scatter of sizes that is taken where they do not: beams to sources of 1.3 beams."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TypicalShape:
    """What a source looks like whose shape the data do not tell: as its neighbours do.

    Attributes
    ----------
    shape : ndarray, shape (3,)
        sigma_1, sigma_2 (pixels) and theta: those of the beam, larger by the median of the others.
    variance : ndarray, shape (6,)
        Of the parameters of a source: how far from this the others are.
    """

    shape: FloatArray
    variance: FloatArray

    @classmethod
    def of(cls, sources: FloatArray, beam: FloatArray) -> "TypicalShape":
        """Return the shape typical of sources (n, 6) that were measured alone, for a beam of shape (3,)."""
        order = np.argsort(-sources[:, models.AMPLITUDE], kind="stable")
        bright = sources[order[: max(len(order) // 2, _FEWEST_SIZES)]]
        larger, spread = 1.0, _UNKNOWN_SPREAD
        if len(bright) >= _FEWEST_SIZES:
            sizes = np.log(bright[:, models.SIGMA_1 : models.THETA] / beam[:2])
            larger = float(np.exp(np.median(sizes)))
            spread = float(1.4826 * np.median(np.abs(sizes - np.median(sizes))))
        shape = beam * np.array([larger, larger, 1.0])
        variance = np.zeros(models.N_PARAMETERS)
        variance[models.SIGMA_1 : models.THETA] = (spread * shape[:2]) ** 2
        return cls(shape=shape, variance=variance)


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """Some sources of a unit, and one more than before.

    Attributes
    ----------
    unit : int
        Which unit.
    members : ndarray of int, shape (n_members,)
        Which of its sources were fitted again; the others stood still.
    fit : GroupFit
        Of the members and the new source, which is the last.
    typical : bool ndarray, shape (n_members + 1,)
        Sources whose shape is kept the typical one.
    """

    unit: int
    members: IntArray
    fit: GroupFit
    typical: BoolArray

    @property
    def fixed(self) -> BoolArray:
        """Parameters that were not fitted, shape (n_members + 1, 6)."""
        fixed = np.zeros(self.parameters.shape, dtype=bool)
        fixed[self.typical, models.SIGMA_1 :] = True
        return fixed

    @property
    def parameters(self) -> FloatArray:
        """Gaussians, shape (n_members + 1, 6)."""
        return self.fit.parameters


@dataclass(frozen=True, kw_only=True, eq=False)
class _Around:
    """The sources of a unit around a place where one more might be, the others being subtracted.

    As these stand still, the cost of a larger model is no smaller than that of the whole unit's.
    """

    unit: int
    place: FloatArray
    members: IntArray
    values: FloatArray
    window: FitPixels
    whitener: Whitener
    fit: GroupFit
    fixed: BoolArray

    @classmethod
    def make(
        cls,
        unit: int,
        place: FloatArray,
        values: FloatArray,
        window: FitPixels,
        whitener: Whitener,
        fit: GroupFit,
        fixed: BoolArray,
    ) -> "_Around":
        sources = fit.parameters
        distance = np.hypot(sources[:, models.X] - place[1], sources[:, models.Y] - place[2])
        near = np.zeros(len(sources), dtype=bool)
        near[np.argsort(distance, kind="stable")[:MEMBERS]] = True
        if not near.all():
            y, x = window.y.astype(np.float64), window.x.astype(np.float64)
            values = values - models.gaussian_sum(sources[~near], y, x)
        return cls(
            unit=unit, place=place, members=np.flatnonzero(near), values=values, window=window,
            whitener=whitener, fixed=fixed[near],
            fit=replace(fit, parameters=sources[near], at_bound=fit.at_bound[near]),
        )  # fmt: skip


class _Trial(NamedTuple):
    """Starting values of a larger model around one place, and which shapes are kept the typical one."""

    part: int
    start: FloatArray
    typical: BoolArray


class _Larger(NamedTuple):
    """A larger model that was fitted, its criterion, and how many of its parameters were free."""

    criterion: float
    n_free: int
    split: Split


def split_groups(
    values: Sequence[FloatArray],
    windows: Sequence[FitPixels],
    whiteners: Sequence[Whitener],
    fits: Sequence[GroupFit],
    *,
    units: Sequence[int],
    beam: FloatArray,
    typical: FloatArray,
    fixed: Sequence[BoolArray],
    sigma_limits: tuple[float, float],
    shift: float,
    significance: float,
    **solver: Any,
) -> list[Split]:
    """Return where units clearly ask for one more source.

    Parameters
    ----------
    values : sequence of ndarray, shape (n_k,)
        Data of each unit, foreign sources removed.
    windows, whiteners, fits
        The units as fitted.
    units : sequence of int
        Which of them to look at.
    beam : ndarray, shape (3,)
        sigma_1, sigma_2 (pixels) and theta of the beam.
    typical : ndarray, shape (3,)
        The same of a source whose shape the data do not tell.
    fixed : sequence of bool ndarray, shape (n_sources_k, 6)
        Parameters that are not fitted.
    sigma_limits, shift
        See `hyper_py.fitting.group_fit.bounds`.
    significance : float
        Every source of a split must have at least this amplitude in units of its error.
    **solver
        Options of `hyper_py.fitting.group_fit.fit_groups`.

    Returns
    -------
    list of Split
        In the order of `units`; of a unit at most one, and one more for every `MEMBERS` sources that it has.
    """
    beam_fwhm = FWHM_PER_SIGMA * float(np.sqrt(beam[0] * beam[1]))
    places = best_additions(
        [values[k] for k in units],
        [windows[k] for k in units],
        [whiteners[k] for k in units],
        [fits[k] for k in units],
        beam=beam,
    )
    around = [
        _Around.make(k, place, values[k], windows[k], whiteners[k], fits[k], fixed[k])
        for k, found in zip(units, places, strict=True)
        for place in found
    ]
    wide = _widened(around, sigma_limits, shift, solver)

    trials = [
        trial
        for k, part in enumerate(around)
        for trial in _trials(k, part.fit, part.place, typical, sigma_limits)
    ]
    best = _best_of(around, trials, sigma_limits, shift, solver)
    return [
        larger.split
        for k, larger in best.items()
        if closest_neighbour(larger.split.parameters).min() >= CLOSEST_BEAMS * beam_fwhm
        and _is_better(around[k], larger, cost=min(around[k].fit.cost, wide[k]))
        and amplitude_significance(
            larger.split.fit, around[k].window, around[k].whitener, fixed=larger.split.fixed
        ).min() >= significance
    ]  # fmt: skip


def _best_of(
    around: Sequence[_Around],
    trials: Sequence[_Trial],
    sigma_limits: tuple[float, float],
    shift: float,
    solver: dict[str, Any],
) -> dict[int, _Larger]:
    """Return the model with the lowest criterion of those tried in each place, sources of it apart or not."""
    lower, upper = [], []
    for trial in trials:
        low, high = bounds(
            trial.start, sigma_limits=sigma_limits, amplitude_limits=(0.0, np.inf), shift=shift
        )
        held = np.zeros(low.shape, dtype=bool)
        held[:-1] = around[trial.part].fixed
        held[trial.typical, models.SIGMA_1 :] = True
        lower.append(np.where(held, trial.start, low))
        upper.append(np.where(held, trial.start, high))
    results = fit_groups(
        [around[trial.part].values for trial in trials],
        [around[trial.part].window for trial in trials],
        [around[trial.part].whitener for trial in trials],
        [trial.start for trial in trials],
        lower=lower,
        upper=upper,
        **solver,
    )
    best: dict[int, _Larger] = {}
    for trial, result, low, high in zip(trials, results, lower, upper, strict=True):
        if not result.converged:
            continue
        n_free, own = int((low < high).sum()), around[trial.part]
        criterion = _criterion(result.cost, n_free, own.window)
        if trial.part not in best or criterion < best[trial.part].criterion:
            split = Split(unit=own.unit, members=own.members, fit=result, typical=trial.typical)
            best[trial.part] = _Larger(criterion=criterion, n_free=n_free, split=split)
    return best


def _widened(
    around: Sequence[_Around], sigma_limits: tuple[float, float], shift: float, solver: dict[str, Any]
) -> FloatArray:
    """Return the costs where those of the sources that are at the size limit may be larger; inf elsewhere.

    Two sources must beat one that is free to be as large as both, not one that is cut short.
    """
    costs = np.full(len(around), np.inf)
    cut = [
        k for k, part in enumerate(around)
        if (part.fit.parameters[:, models.SIGMA_1] > 0.99 * sigma_limits[1]).any()
    ]  # fmt: skip
    parts = [around[k] for k in cut]
    limits = sigma_limits[0], _WIDER * sigma_limits[1]
    starts = [part.fit.parameters for part in parts]
    ends = [
        bounds(start, sigma_limits=limits, amplitude_limits=(0.0, np.inf), shift=shift) for start in starts
    ]
    results = fit_groups(
        [part.values for part in parts],
        [part.window for part in parts],
        [part.whitener for part in parts],
        starts,
        lower=[
            np.where(part.fixed, part.fit.parameters, low) for part, (low, _) in zip(parts, ends, strict=True)
        ],
        upper=[
            np.where(part.fixed, part.fit.parameters, high)
            for part, (_, high) in zip(parts, ends, strict=True)
        ],
        **solver,
    )
    costs[cut] = [result.cost for result in results]
    return costs


def amplitude_significance(
    fit: GroupFit, window: FitPixels, whitener: Whitener, *, fixed: BoolArray
) -> FloatArray:
    """Return the amplitudes of a unit's sources in units of their errors, shape (n_sources,)."""
    _, covariance, _ = influence(fit, window, whitener, fixed=fixed)
    variance = np.diagonal(covariance)[models.AMPLITUDE :: models.N_PARAMETERS]
    error = np.sqrt(np.where(variance > 0.0, variance, np.inf))
    significance: FloatArray = fit.parameters[:, models.AMPLITUDE] / error
    return significance


def _criterion(cost: float, n_free: int, window: FitPixels) -> float:
    """Return the Bayesian information criterion, the noise level being that of the fit.

    Where sources are not quite Gaussians the chi-square of bright ones is above that of noise, and so is
    any gain of a larger model: n ln(chi2 / n) weighs the gain by the misfit that there is.
    """
    n = window.y.size
    return n * float(np.log(max(2.0 * cost, np.finfo(np.float64).tiny) / n)) + n_free * float(np.log(n))


def _is_better(around: _Around, larger: _Larger, *, cost: float) -> bool:
    """Return whether a larger model, its new source the last, is clearly better than one of a given cost.

    The criterion must say so. Where the larger model fails as well just where its new source is, evidence
    there is not that of a source, but of the imperfect shapes of its neighbours: the gain in chi-square is
    then counted in units of the mean square that is left there.
    """
    window, n_before, fit = around.window, int((~around.fixed).sum()), larger.split.fit
    if larger.criterion > _criterion(cost, n_before, window) - _CLEARLY:
        return False
    left, n_left = _left_at_last(around.values, window, around.whitener, fit)
    if left <= 1.0 + _MISFIT_SIGMAS * np.sqrt(2.0 / n_left):
        return True
    gain = 2.0 * (cost - fit.cost) / left
    return gain - (larger.n_free - n_before) * float(np.log(window.y.size)) > _CLEARLY


def _left_at_last(
    values: FloatArray, window: FitPixels, whitener: Whitener, fit: GroupFit
) -> tuple[float, float]:
    """Return the mean square of the whitened residual at the last source, and of how many numbers it is.

    The weights are the squares of what this source has of its own, which the others cannot take up. So the
    mean is the variance of its score over that in noise, wherever the misfit is (White 1980,
    Econometrica 48, 817).
    """
    y, x = window.y.astype(np.float64), window.x.astype(np.float64)
    value, jacobian = models.gaussian_sum_and_jacobian(fit.parameters[None], y[None], x[None])
    residual = whitener.project(values - value[0])
    others = whitener.project(jacobian[0, : -models.N_PARAMETERS])
    # Of peak 1, for it may have vanished in the fit.
    last = whitener.project(models.gaussian_sum(np.array([[1.0, *fit.parameters[-1, 1:]]]), y, x))
    basis = np.linalg.qr(others.T)[0]
    weights = (last - basis @ (last @ basis)) ** 2
    return float(weights @ residual**2 / weights.sum()), float(weights.sum() ** 2 / (weights @ weights))


def closest_neighbour(sources: FloatArray) -> FloatArray:
    """Return the distance of each source from the nearest other one, in pixels; inf for a single one."""
    centres = sources[:, [models.X, models.Y]]
    gaps = np.hypot(*(centres[:, None, :] - centres[None, :, :]).transpose(2, 0, 1))
    np.fill_diagonal(gaps, np.inf)
    nearest: FloatArray = gaps.min(axis=1)
    return nearest


def _trials(
    part: int, fit: GroupFit, place: FloatArray, typical: FloatArray, sigma_limits: tuple[float, float]
) -> list[_Trial]:
    """Return the larger models to try: a new source at a place, and two in place of the nearest one."""
    sources = fit.parameters
    n = len(sources)
    low, high = (float(limit) for limit in sigma_limits)
    new = np.array([[place[0], place[1], place[2], *typical]])
    nearest = int(np.argmin(np.hypot(sources[:, models.X] - place[1], sources[:, models.Y] - place[2])))
    added = np.concatenate([sources, new])
    added[:n, models.SIGMA_1 : models.THETA] = np.clip(added[:n, models.SIGMA_1 : models.THETA], low, high)
    halves = np.concatenate([sources, sources[nearest : nearest + 1]])
    old = sources[nearest]
    reach = np.sqrt(max(old[models.SIGMA_1] ** 2 - typical[0] * typical[1], 0.25 * typical[1] ** 2))
    along = np.array([np.cos(old[models.THETA]), np.sin(old[models.THETA])])
    for index, side in ((nearest, -1.0), (n, 1.0)):
        halves[index, models.X : models.Y + 1] += side * reach * along
        halves[index, models.AMPLITUDE] = 0.6 * old[models.AMPLITUDE]
        halves[index, models.SIGMA_1 :] = typical
    free, last, both = (np.zeros(n + 1, dtype=bool) for _ in range(3))
    last[n] = True
    both[[nearest, n]] = True
    return [_Trial(part, *trial) for trial in ((added, last), (added, free), (halves, both), (halves, free))]
