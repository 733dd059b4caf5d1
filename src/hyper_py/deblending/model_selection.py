"""Which sources a map has: groups gain sources that the data ask for, and lose those that do not hold.

Between two iterative fits the residual of each group is searched (`hyper_py.deblending.splitting`); added
sources that the full fit does not support are taken out again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray, IndexArray, IntArray
from hyper_py.background.model import NoBackground
from hyper_py.deblending.grouping import (
    LARGEST_EXTENT_BEAMS,
    LINKING_BEAMS,
    linking_sizes,
    partition_correlated,
)
from hyper_py.deblending.splitting import (
    CLOSEST_BEAMS,
    Split,
    SplitLimits,
    TypicalShape,
    closest_neighbour,
    split_groups,
)
from hyper_py.fitting.group_fit import INITIAL_TOLERANCE
from hyper_py.fitting.groups import Group, work_parts
from hyper_py.fitting.linear_response import amplitude_significance
from hyper_py.fitting.other_sources import group_of, outshines, with_other_sources
from hyper_py.fitting.problem import MOST_GROWTH, FitProblem
from hyper_py.fitting.setup import COMPACT_BEAMS, FitSetup, OwnBackground
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.numerics import gaussians
from hyper_py.numerics.pairs import linked_pairs, pairs_within
from hyper_py.numerics.parallel import in_order
from hyper_py.numerics.solvers import SolverOptions

_SPLIT_SHIFT_BEAMS = 0.15
"""How far the sources of a split group may move from where the split put them."""


class Model(NamedTuple):
    """The sources of a map as far as they are known.

    Attributes
    ----------
    problem : FitProblem
    sources : ndarray, shape (n, 6)
        As fitted last.
    groups : list of Group
        Those whose sources have changed are not fitted.
    """

    problem: FitProblem
    sources: FloatArray
    groups: list[Group]


@dataclass(frozen=True, kw_only=True, eq=False)
class Search:
    """How further sources are looked for.

    Attributes
    ----------
    typical : TypicalShape
        Of sources whose shape is not identifiable.
    significance : float
        Least amplitude of an added source in units of its error.
    setup : FitSetup
    solver : SolverOptions
    """

    typical: TypicalShape
    significance: float
    setup: FitSetup
    solver: SolverOptions


def typical_shape(problem: FitProblem, sources: FloatArray) -> TypicalShape:
    """Return what the compact sources look like that were fitted alone."""
    alone = np.array([own[0] for own in problem.partition if len(own) == 1], dtype=np.int64)
    wide = COMPACT_BEAMS * problem.beam_fwhm / FWHM_PER_SIGMA
    alone = alone[sources[alone, gaussians.SIGMA_1] <= wide]
    return TypicalShape.of(
        sources[alone[~problem.fixed[alone, gaussians.SIGMA_1]]],
        gaussians.shape_parameters(problem.beam_covariance),
    )


def add_sources(model: Model, search: Search) -> Model | None:
    """Return the model with more sources in the groups that ask for them; None if none asks.

    Groups whose present fit was searched before are left out.
    """
    problem, groups = model.problem, model.groups
    shared = all(isinstance(group.background, NoBackground) and group.joint is None for group in groups)
    owner = group_of([group.members for group in groups], len(model.sources))
    splits = _splits(model, search)
    if not shared:
        splits = splits_within_reach(problem, groups, splits)
    splits.sort(key=lambda split: int(owner[split.members[0]]))
    if not splits:
        return None
    changed = {int(owner[split.members[0]]) for split in splits}
    problem, sources, added = _with_splits(problem, model.sources, splits, typical=search.typical)
    partition = [group.members for group in groups]
    for split, new in zip(splits, added, strict=True):
        k = int(owner[split.members[0]])
        partition[k] = np.append(partition[k], new)
    kept = [None if k in changed else group.but(searched=True) for k, group in enumerate(groups)]
    if shared:
        partition, kept = joined_groups(partition, kept, problem)
        backgrounds = None
    else:
        backgrounds = [OwnBackground.of(groups[k]) for k in sorted(changed)]
    problem = replace(problem, partition=partition)
    open_ = [own for own, group in zip(partition, kept, strict=True) if group is None]
    made = iter(search.setup.groups(problem, open_, backgrounds=backgrounds))
    return Model(problem, sources, [next(made) if group is None else group for group in kept])


def _splits(model: Model, search: Search) -> list[Split]:
    """Return where the groups that were not searched ask for more sources."""
    problem = model.problem
    limits = SplitLimits(
        sigma_limits=search.setup.sigma_limits, shift=0.5 * problem.beam_fwhm,
        significance=search.significance,
    )  # fmt: skip
    open_ = with_other_sources([group for group in model.groups if not group.searched], model.sources)

    of_part = partial(
        split_groups, beam=gaussians.shape_parameters(problem.beam_covariance),
        typical=search.typical.shape, limits=limits, solver=search.solver.with_tolerance(INITIAL_TOLERANCE),
    )  # fmt: skip
    parts = [[open_[k] for k in part] for part in work_parts(open_)]
    splits = [split for found in in_order(of_part, parts) for split in found]
    if not len(problem.beside) or not splits:
        return splits
    new = np.array([split.parameters[-1] for split in splits])
    held = outshines(new[:, gaussians.AMPLITUDE], new[:, gaussians.X], new[:, gaussians.Y], problem.beside)
    return [split for split, is_held in zip(splits, held, strict=True) if is_held]


def _with_splits(
    problem: FitProblem, sources: FloatArray, splits: Sequence[Split], *, typical: TypicalShape
) -> tuple[FitProblem, FloatArray, list[int]]:
    """Return problem and sources with those of splits, and the row of the new source of each."""
    n_new, n = len(splits), gaussians.N_PARAMETERS
    start = np.concatenate([problem.start, np.zeros((n_new, n))])
    sources = np.concatenate([sources, np.zeros((n_new, n))])
    fixed = np.concatenate([problem.fixed, np.zeros((n_new, n), dtype=bool)])
    prior_variance = np.concatenate([problem.prior_variance, np.zeros((n_new, n))])
    shift = np.append(problem.shift, np.zeros(n_new))
    largest = np.append(problem.largest_sigma, np.full(n_new, np.inf))
    added = list(range(len(problem.start), len(start)))
    for split, row in zip(splits, added, strict=True):
        new = np.append(split.members, row)
        sources[new] = start[new] = split.parameters
        held = new[split.typical]
        fixed[held, gaussians.SIGMA_1 :] = True
        prior_variance[held] = typical.variance
        # Near where the split put them: free to go, one of two close sources would wander off.
        shift[new] = _SPLIT_SHIFT_BEAMS * problem.beam_fwhm
    problem = replace(
        problem, start=start, fixed=fixed, prior_variance=prior_variance, shift=shift, largest_sigma=largest
    )
    return problem, sources, added


def splits_within_reach(problem: FitProblem, groups: Sequence[Group], splits: Sequence[Split]) -> list[Split]:
    """Return the first split of each group that can still be fitted together; two might outgrow it."""
    owner = group_of([group.members for group in groups], len(problem.start))
    chosen: dict[int, Split] = {}
    for split in splits:
        k = int(owner[split.members[0]])
        sources = np.concatenate([problem.start[groups[k].members], split.parameters])
        extent = float(np.ptp(sources[:, gaussians.X : gaussians.Y + 1], axis=0).max())
        if extent <= LARGEST_EXTENT_BEAMS * problem.beam_fwhm:
            chosen.setdefault(k, split)
    return list(chosen.values())


def joined_groups(
    partition: Sequence[IntArray], groups: Sequence[Group | None], problem: FitProblem
) -> tuple[list[IntArray], list[Group | None]]:
    """Return the groups, those that changed (None) joined with those near them as far as they may be large.

    They come last, as None, with their sources in the partition.
    """
    start, beam_fwhm = problem.start, problem.beam_fwhm
    owner = group_of(partition, len(start))
    x, y = start[:, gaussians.X], start[:, gaussians.Y]
    widths = FWHM_PER_SIGMA * start[:, gaussians.SIGMA_1]
    sizes = linking_sizes(widths, beam_fwhm=beam_fwhm)
    linked = linked_pairs(np.column_stack([x, y]), linking_length=LINKING_BEAMS * beam_fwhm, sizes=sizes)
    near = np.column_stack(linked)
    for k, group in enumerate(groups):
        if group is None:
            owner[np.isin(owner, owner[near[owner[near[:, 0]] == owner[partition[k][0]], 1]])] = k
    kept = [k for k, group in enumerate(groups) if group is not None and owner[partition[k][0]] == k]
    open_ = [np.flatnonzero(owner == k) for k in np.setdiff1d(owner, kept)]
    new = [
        own[piece]
        for own in open_
        for piece in partition_correlated(x[own], y[own], beam_fwhm=beam_fwhm, widths=widths[own])
    ]
    return [*(partition[k] for k in kept), *new], [*(groups[k] for k in kept), *[None] * len(new)]


def supported_sources(model: Model, search: Search, *, n_given: int) -> BoolArray:
    """Return which sources stay: of those added, the ones still significant, compact and distant.

    In each group only the weakest of those that fail goes at once.
    """
    kept = np.ones(len(model.sources), dtype=bool)
    # What is added is found with the shape of the beam, and compact.
    compact = min(1.0, COMPACT_BEAMS / search.setup.aper_sup)
    smallest, largest = np.multiply(search.setup.sigma_limits, (1.01, 0.99 * compact))
    for group in model.groups:
        added = np.flatnonzero(group.members >= n_given)
        if not added.size:
            continue
        own = model.sources[group.members]
        significance = amplitude_significance(group.prepared())
        doubtful = (significance < search.significance) | (own[:, gaussians.SIGMA_1] > largest)
        # Narrower than anything seen through the beam: noise of pixels.
        doubtful |= own[:, gaussians.SIGMA_2] < smallest
        doubtful |= closest_neighbour(own) < CLOSEST_BEAMS * model.problem.beam_fwhm
        failing = added[doubtful[added]]
        if failing.size:
            kept[group.members[failing[np.argmin(significance[failing])]]] = False
    return kept


def remove_sources(model: Model, kept: BoolArray, *, setup: FitSetup) -> Model:
    """Return the model without the sources that are not kept; groups that lose some are not fitted."""
    problem, new = model.problem.only(kept), np.cumsum(kept) - 1
    groups: list[Group] = []
    for group in model.groups:
        own = new[group.members[kept[group.members]]]
        if own.size == group.members.size:
            groups.append(group.but(members=own))
        elif own.size:
            groups += setup.groups(problem, [own], backgrounds=[OwnBackground.of(group)])
    problem = replace(problem, partition=[group.members for group in groups])
    return Model(problem, model.sources[kept], groups)


def restarted(model: Model, which: IndexArray, start: FloatArray, *, setup: FitSetup) -> Model:
    """Return the model in which some sources begin anew and may not grow much; their groups are not fitted.

    Parameters
    ----------
    which : ndarray, shape (n,)
        Rows of the sources.
    start : ndarray, shape (n, 6)
    """
    first, sources = model.problem.start.copy(), model.sources.copy()
    first[which] = sources[which] = start
    largest = model.problem.largest_sigma.copy()
    largest[which] = MOST_GROWTH * start[:, gaussians.SIGMA_1]
    problem = replace(model.problem, start=first, largest_sigma=largest)
    groups: list[Group] = []
    for group in model.groups:
        if np.isin(group.members, which).any():
            groups += setup.groups(problem, [group.members], backgrounds=[OwnBackground.of(group)])
        else:
            groups.append(group)
    return Model(problem, sources, groups)


def recentred(model: Model, kept: BoolArray) -> Model:
    """Return the model whose sources may move on from where they are, in groups of which not all are kept.

    Of two detections of one source the one that stays is beside its middle.
    """
    start, places = model.problem.start.copy(), slice(gaussians.X, gaussians.Y + 1)
    for group in model.groups:
        if not kept[group.members].all():
            start[group.members, places] = model.sources[group.members, places]
    return model._replace(problem=replace(model.problem, start=start))


def apart_after_fit(model: Model) -> BoolArray:
    """Return which sources stay where two have moved into one place: the one found first, the brighter.

    Together they describe a profile that is no Gaussian.
    """
    kept = np.ones(len(model.sources), dtype=bool)
    points = model.sources[:, [gaussians.X, gaussians.Y]]
    first, second = pairs_within(points, points, CLOSEST_BEAMS * model.problem.beam_fwhm)
    kept[second[first < second]] = False
    return kept
