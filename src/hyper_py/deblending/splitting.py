"""More sources where the score test asks for them: neighbours hidden in wings, and blends split in two.

Where the score of one more source is high, larger models are fitted, and one replaces the smaller only if the
Bayesian information criterion (Schwarz 1978, Ann. Stat. 6, 461) prefers it clearly. Where that prefers two
sources at one place, what it shows is the shape of one source, and nothing is added.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray, IntArray
from hyper_py.deblending.score_test import MEMBERS, best_additions
from hyper_py.fitting.group_fit import fit_groups
from hyper_py.fitting.groups import Bounds, Group
from hyper_py.fitting.linear_response import amplitude_significance
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.numerics import gaussians
from hyper_py.numerics.medians import scatter
from hyper_py.numerics.solvers import SolverOptions

_CLEARLY = 6.0
"""By how much the criterion must fall: strong evidence (Kass & Raftery 1995, J. Am. Stat. Assoc. 90, 773)."""
_RESIDUAL_SIGMAS = 3.0
"""The residual where a new source is counts when it exceeds noise by so many standard deviations."""
_WIDER = 1.6
"""By how much a source at its size limit may grow when it is compared with two."""
CLOSEST_BEAMS = 0.4
"""Two sources closer than this cannot be separated."""
_FEWEST_SIZES = 10
"""Sources that must be measured alone to give the typical size."""
_UNKNOWN_SPREAD = 0.15
"""Scatter of sizes if there are fewer: from beams to sources of 1.3 beams."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TypicalShape:
    """The shape taken for a source whose own is not identifiable: that of the other sources.

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
        order = np.argsort(-sources[:, gaussians.AMPLITUDE], kind="stable")
        bright = sources[order[: max(len(order) // 2, _FEWEST_SIZES)]]
        larger, spread = 1.0, _UNKNOWN_SPREAD
        if len(bright) >= _FEWEST_SIZES:
            sizes = np.log(bright[:, gaussians.SIGMA_1 : gaussians.THETA] / beam[:2])
            larger = float(np.exp(np.median(sizes)))
            spread = scatter(sizes)
        shape = beam * np.array([larger, larger, 1.0])
        variance = np.zeros(gaussians.N_PARAMETERS)
        variance[gaussians.SIGMA_1 : gaussians.THETA] = (spread * shape[:2]) ** 2
        return cls(shape=shape, variance=variance)


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """Some sources of a group, and one more than before.

    Attributes
    ----------
    members : ndarray of int, shape (n_members,)
        Sources of the group that were fitted again, as places in the table of sources; the group's others
        stood still.
    parameters : ndarray, shape (n_members + 1, 6)
        Gaussians of the members and of the new source, which is the last.
    typical : bool ndarray, shape (n_members + 1,)
        Sources whose shape is kept the typical one.
    """

    members: IntArray
    parameters: FloatArray
    typical: BoolArray


class _Around(NamedTuple):
    """The sources around a place where one more might be, as a group of their own.

    The group's other sources are subtracted. As these stand still, the cost of a larger model is no smaller
    than that of the whole group's.
    """

    place: FloatArray
    group: Group

    @classmethod
    def make(cls, place: FloatArray, group: Group) -> "_Around":
        sources = group.fitted.parameters
        distance = np.hypot(sources[:, gaussians.X] - place[1], sources[:, gaussians.Y] - place[2])
        near = np.zeros(len(sources), dtype=bool)
        near[np.argsort(distance, kind="stable")[:MEMBERS]] = True
        if near.all():
            return cls(place, group)
        y, x = group.pixels.y.astype(np.float64), group.pixels.x.astype(np.float64)
        own = np.flatnonzero(near)
        fit = replace(group.fitted, parameters=sources[near], at_bound=group.fitted.at_bound[near])
        part = group.but(
            members=group.members[near], data=group.values - gaussians.gaussian_sum(sources[~near], y, x),
            below=np.zeros(()), others=np.zeros(()), bounds=group.bounds.of(own), fixed=group.fixed[near],
            prior_variance=group.prior_variance[near], fit=fit,
        )  # fmt: skip
        return cls(place, part)


class _Trial(NamedTuple):
    """Starting values of a larger model around one place, and which shapes are kept the typical one."""

    part: int
    start: FloatArray
    typical: BoolArray


class _Larger(NamedTuple):
    """A larger model that was fitted, its criterion, and which shapes are kept the typical one."""

    criterion: float
    group: Group
    typical: BoolArray

    @property
    def n_free(self) -> int:
        """Number of free parameters."""
        return int((self.group.bounds.lower < self.group.bounds.upper).sum())


@dataclass(frozen=True, kw_only=True, eq=False)
class SplitLimits:
    """What a split may do.

    Attributes
    ----------
    sigma_limits : (float, float)
        Smallest and largest sigma of a source, in pixels.
    shift : float
        Largest move of a centre along x or y, in pixels.
    significance : float
        Every source of a split must have at least this amplitude in units of its error.
    """

    sigma_limits: tuple[float, float]
    shift: float
    significance: float

    def bounds(self, start: FloatArray, fixed: BoolArray, *, wider: float = 1.0) -> Bounds:
        """Return the bounds around starting values, the largest sigma being `wider` times as large."""
        limits = self.sigma_limits[0], wider * self.sigma_limits[1]
        free = Bounds.around(start, sigma_limits=limits, amplitude_limits=(0.0, np.inf), shift=self.shift)
        return free.fixed_at(start, fixed)


def split_groups(
    groups: Sequence[Group],
    *,
    beam: FloatArray,
    typical: FloatArray,
    limits: SplitLimits,
    solver: SolverOptions,
) -> list[Split]:
    """Return where groups clearly ask for one more source.

    Parameters
    ----------
    groups : sequence of Group
        As fitted, with the light of other sources removed.
    beam : ndarray, shape (3,)
        sigma_1, sigma_2 (pixels) and theta of the beam.
    typical : ndarray, shape (3,)
        The same of a source whose shape is not identifiable.
    limits : SplitLimits
    solver : SolverOptions

    Returns
    -------
    list of Split
        In the order of the groups; of a group at most one, and one more for every `MEMBERS` sources that it
        has.
    """
    beam_fwhm = FWHM_PER_SIGMA * float(np.sqrt(beam[0] * beam[1]))
    ready = [group.prepared() for group in groups]
    around = [
        _Around.make(place, group)
        for group, places in zip(ready, best_additions(ready, beam=beam), strict=True)
        for place in places
    ]
    wide = _widened(around, limits, solver)
    trials = [trial for k, part in enumerate(around) for trial in _trials(k, part, typical, limits)]
    best = _best_of(around, trials, limits, solver)
    return [
        Split(
            members=around[k].group.members, parameters=larger.group.fitted.parameters, typical=larger.typical
        )
        for k, larger in best.items()
        if closest_neighbour(larger.group.fitted.parameters).min() >= CLOSEST_BEAMS * beam_fwhm
        and _is_better(around[k].group, larger, cost=min(around[k].group.fitted.cost, wide[k]))
        and amplitude_significance(larger.group).min() >= limits.significance
    ]


def _best_of(
    around: Sequence[_Around], trials: Sequence[_Trial], limits: SplitLimits, solver: SolverOptions
) -> dict[int, _Larger]:
    """Return the model with the lowest criterion of those tried in each place, however close its sources."""
    larger = [_larger_group(around[trial.part].group, trial, limits) for trial in trials]
    results = fit_groups(larger, [trial.start for trial in trials], solver=solver)
    best: dict[int, _Larger] = {}
    for trial, group, fit in zip(trials, larger, results, strict=True):
        if not fit.converged:
            continue
        n_free = int((group.bounds.lower < group.bounds.upper).sum())
        criterion = _criterion(fit.cost, n_free, group.pixels.y.size)
        if trial.part not in best or criterion < best[trial.part].criterion:
            best[trial.part] = _Larger(criterion, group.but(fit=fit), trial.typical)
    return best


def _larger_group(group: Group, trial: _Trial, limits: SplitLimits) -> Group:
    """Return a group with one more source, the last, and some shapes held; not fitted."""
    n = gaussians.N_PARAMETERS
    held = np.zeros(trial.start.shape, dtype=bool)
    held[:-1] = group.fixed
    typical = np.zeros(trial.start.shape, dtype=bool)
    typical[trial.typical, gaussians.SIGMA_1 :] = True
    return group.but(
        fixed=typical, prior_variance=np.concatenate([group.prior_variance, np.zeros((1, n))]),
        bounds=limits.bounds(trial.start, held | typical), fit=None,
    )  # fmt: skip


def _widened(around: Sequence[_Around], limits: SplitLimits, solver: SolverOptions) -> FloatArray:
    """Return the costs where those of the sources that are at the size limit may be larger; inf elsewhere.

    Two sources must beat one that is free to be as large as both, not one that is cut short.
    """
    costs = np.full(len(around), np.inf)
    cut = [
        k for k, part in enumerate(around)
        if (part.group.fitted.parameters[:, gaussians.SIGMA_1] > 0.99 * limits.sigma_limits[1]).any()
    ]  # fmt: skip
    parts = [around[k].group for k in cut]
    starts = [part.fitted.parameters for part in parts]
    wider = [
        part.but(bounds=limits.bounds(start, part.fixed, wider=_WIDER))
        for part, start in zip(parts, starts, strict=True)
    ]
    costs[cut] = [fit.cost for fit in fit_groups(wider, starts, solver=solver)]
    return costs


def _criterion(cost: float, n_free: int, n: int) -> float:
    """Return the Bayesian information criterion on n pixels, the noise being that of the fit.

    Where sources are not quite Gaussians the chi-square of bright ones is above that of noise, and so is
    any gain of a larger model: n ln(chi2 / n) weighs the gain by the residual that there is.
    """
    return n * float(np.log(max(2.0 * cost, np.finfo(np.float64).tiny) / n)) + n_free * float(np.log(n))


def _is_better(group: Group, larger: _Larger, *, cost: float) -> bool:
    """Return whether a larger model, its new source the last, is clearly better than one of a given cost.

    The criterion must say so. Where the larger model also fails just where its new source is, a high score is
    no sign of a source: it comes from the imperfect shapes of its neighbours. The gain in chi-square is then
    scaled by the local residual variance.
    """
    n, n_before, fit = group.pixels.y.size, int((~group.fixed).sum()), larger.group.fitted
    if larger.criterion > _criterion(cost, n_before, n) - _CLEARLY:
        return False
    variance, n_numbers = residual_variance_at_last(larger.group)
    if variance <= 1.0 + _RESIDUAL_SIGMAS * np.sqrt(2.0 / n_numbers):
        return True
    gain = 2.0 * (cost - fit.cost) / variance
    return gain - (larger.n_free - n_before) * float(np.log(n)) > _CLEARLY


def residual_variance_at_last(group: Group) -> tuple[float, float]:
    """Return the mean square of the whitened residual at the last source, and how many numbers are in it.

    The weights are the squares of what this source has of its own, which the others cannot take up. So the
    mean is the variance of its score over that in noise, wherever the residual comes from (White 1980,
    Econometrica 48, 817).
    """
    sources, whitener = group.fitted.parameters, group.whitener
    y, x = group.pixels.y.astype(np.float64), group.pixels.x.astype(np.float64)
    value, jacobian = gaussians.gaussian_sum_and_jacobian(sources[None], y[None], x[None])
    residual = whitener.project(group.values - value[0])
    others = whitener.project(jacobian[0, : -gaussians.N_PARAMETERS])
    # Of peak 1, for it may have vanished in the fit.
    last = whitener.project(gaussians.gaussian_sum(np.array([[1.0, *sources[-1, 1:]]]), y, x))
    basis = np.linalg.qr(others.T)[0]
    weights = (last - basis @ (last @ basis)) ** 2
    return float(weights @ residual**2 / weights.sum()), float(weights.sum() ** 2 / (weights @ weights))


def closest_neighbour(sources: FloatArray) -> FloatArray:
    """Return the distance of each source from the nearest other one, in pixels; inf for a single one."""
    centres = sources[:, [gaussians.X, gaussians.Y]]
    gaps = np.hypot(*(centres[:, None, :] - centres[None, :, :]).transpose(2, 0, 1))
    np.fill_diagonal(gaps, np.inf)
    nearest: FloatArray = gaps.min(axis=1)
    return nearest


def _trials(part: int, around: _Around, typical: FloatArray, limits: SplitLimits) -> list[_Trial]:
    """Return the larger models to try: a new source at a place, and two in place of the nearest one."""
    sources, place = around.group.fitted.parameters, around.place
    n = len(sources)
    low, high = (float(limit) for limit in limits.sigma_limits)
    new = np.array([[place[0], place[1], place[2], *typical]])
    nearest = int(np.argmin(np.hypot(sources[:, gaussians.X] - place[1], sources[:, gaussians.Y] - place[2])))
    added = np.concatenate([sources, new])
    added[:n, gaussians.SIGMA_1 : gaussians.THETA] = np.clip(
        added[:n, gaussians.SIGMA_1 : gaussians.THETA], low, high
    )
    halves = np.concatenate([sources, sources[nearest : nearest + 1]])
    old = sources[nearest]
    reach = np.sqrt(max(old[gaussians.SIGMA_1] ** 2 - typical[0] * typical[1], 0.25 * typical[1] ** 2))
    axis = np.array([np.cos(old[gaussians.THETA]), np.sin(old[gaussians.THETA])])
    for index, side in ((nearest, -1.0), (n, 1.0)):
        halves[index, gaussians.X : gaussians.Y + 1] += side * reach * axis
        halves[index, gaussians.AMPLITUDE] = 0.6 * old[gaussians.AMPLITUDE]
        halves[index, gaussians.SIGMA_1 :] = typical
    free, last, both = (np.zeros(n + 1, dtype=bool) for _ in range(3))
    last[n] = True
    both[[nearest, n]] = True
    return [_Trial(part, *trial) for trial in ((added, last), (added, free), (halves, both), (halves, free))]
