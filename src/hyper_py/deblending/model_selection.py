"""Between two rounds of fits: units gain sources that the data ask for, and lose those that do not hold."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray, IntArray
from hyper_py.deblending.grouping import partition_groups
from hyper_py.deblending.splitting import (
    CLOSEST_BEAMS,
    Split,
    TypicalShape,
    amplitude_significance,
    closest_neighbour,
    split_groups,
)
from hyper_py.fitting.group_fit import GroupFit
from hyper_py.fitting.iterative import (
    FitProblem,
    affordable,
    group_data,
)
from hyper_py.numerics import models
from hyper_py.numerics.pairs import pairs_within
from hyper_py.options import Options
from hyper_py.pipeline.fit_setup import INITIAL_TOLERANCES, FitSetup, size_limits

_LINKING_BEAMS = 1.6
"""Sources further apart need no common fit in the correlated whitener: the sweeps do."""
_LARGEST_GROUP = 40
"""Larger groups are fitted piecewise: the cost of a unit grows with the cube of its size.

That is not for the better: pieces of a blend do not tell one another's light from the field's.
"""
_LARGEST_EXTENT_BEAMS = 8.5
"""Larger groups too: the window of a unit must fit into the reach of the covariance."""
_SPLIT_SHIFT_BEAMS = 0.15
"""How far the sources of a split unit may move from where the split put them."""


def typical_shape(task: FitProblem, sources: FloatArray) -> TypicalShape:
    """Return what the sources look like that were fitted alone."""
    alone = np.array([unit[0] for unit in task.units if len(unit) == 1], dtype=np.int64)
    return TypicalShape.of(
        sources[alone[~task.fixed[alone, models.SIGMA_1]]], models.shape_parameters(task.beam_covariance)
    )


def with_more_sources(
    task: FitProblem,
    sources: FloatArray,
    fits: list[GroupFit],
    searched: Sequence[GroupFit],
    typical: TypicalShape,
    this: FitSetup,
    options: Options,
    solver: dict[str, Any],
) -> tuple[FitProblem, FloatArray, list[GroupFit | None]] | None:
    """Return the task and sources with more sources in the units that ask for them, and no fit for these.

    Units that were `searched` with the fit that they still have are left out; None if none asks.
    """
    beam = models.shape_parameters(task.beam_covariance)
    values = group_data(this.data, sources, task.units, this.windows, this.backgrounds)
    known = {id(fit) for fit in searched}
    open_units = [k for k, fit in enumerate(fits) if id(fit) not in known]
    splits = [
        split
        for chunk in affordable(open_units, this.windows, this.whiteners)
        for split in split_groups(
            values, this.windows, this.whiteners, fits, units=[k for _, k in chunk],
            beam=beam, typical=typical.shape,
            fixed=[task.fixed[unit] for unit in task.units], sigma_limits=size_limits(task, options),
            shift=0.5 * task.beam_fwhm, significance=options.detection.sigma_thres,
            **{**solver, **INITIAL_TOLERANCES},
        )
    ]  # fmt: skip
    if not this.ground.is_common:
        splits = _within_reach(task, splits)
    splits.sort(key=lambda split: split.unit)
    if not splits:
        return None
    left: list[GroupFit | None] = list(fits)
    start, fixed, sources, units = task.start.copy(), task.fixed.copy(), sources.copy(), list(task.units)
    assumed = task.assumed
    shift = np.append(task.shift, np.empty(len(splits)))
    for split in splits:
        left[split.unit] = None
        old = task.units[split.unit][split.members]
        sources[old] = start[old] = split.parameters[:-1]
        units[split.unit] = np.append(units[split.unit], len(sources))
        new = np.append(old, len(sources))
        start, sources = (np.concatenate([v, split.parameters[-1:]]) for v in (start, sources))
        fixed = np.concatenate([fixed, np.zeros((1, models.N_PARAMETERS), dtype=bool)])
        held = new[split.typical]
        fixed[held, models.SIGMA_1 :] = True
        assumed = np.concatenate([assumed, np.zeros((1, models.N_PARAMETERS))])
        assumed[held] = typical.variance
        # Near where the evidence put them: free to go, one of two close sources would wander off.
        shift[new] = _SPLIT_SHIFT_BEAMS * task.beam_fwhm
    if this.ground.is_common:
        units, left = _joined(units, left, start, beam_fwhm=task.beam_fwhm)
    return replace(task, start=start, fixed=fixed, assumed=assumed, shift=shift, units=units), sources, left


def _within_reach(task: FitProblem, splits: Sequence[Split]) -> list[Split]:
    """Return the first split of each unit that can still be fitted at once; two might outgrow it together."""
    chosen: dict[int, Split] = {}
    for split in splits:
        sources = np.concatenate([task.start[task.units[split.unit]], split.parameters])
        extent = float(np.ptp(sources[:, models.X : models.Y + 1], axis=0).max())
        if extent <= _LARGEST_EXTENT_BEAMS * task.beam_fwhm:
            chosen.setdefault(split.unit, split)
    return list(chosen.values())


def _joined(
    units: list[IntArray], fits: list[GroupFit | None], start: FloatArray, *, beam_fwhm: float
) -> tuple[list[IntArray], list[GroupFit | None]]:
    """Return the units, those without a fit joined with the ones near them, as far as units may be large."""
    owner = np.empty(len(start), dtype=np.int64)
    for k, unit in enumerate(units):
        owner[unit] = k
    x, y = start[:, models.X], start[:, models.Y]
    centres = np.column_stack([x, y])
    near = np.column_stack(pairs_within(centres, centres, _LINKING_BEAMS * beam_fwhm))
    for k, fit in enumerate(fits):
        if fit is None:
            owner[np.isin(owner, owner[near[owner[near[:, 0]] == owner[units[k][0]], 1]])] = k
    kept = [k for k, fit in enumerate(fits) if fit is not None and owner[units[k][0]] == k]
    open_ = [np.flatnonzero(owner == k) for k in np.setdiff1d(owner, kept)]
    new = [
        unit[piece] for unit in open_ for piece in partition_correlated(x[unit], y[unit], beam_fwhm=beam_fwhm)
    ]
    return [*(units[k] for k in kept), *new], [*(fits[k] for k in kept), *[None] * len(new)]


def partition_correlated(x: FloatArray, y: FloatArray, *, beam_fwhm: float) -> list[IntArray]:
    """Return which sources are fitted at once in correlated noise."""
    return partition_groups(
        x, y, linking_length=_LINKING_BEAMS * beam_fwhm, max_size=_LARGEST_GROUP,
        min_length=0.5 * beam_fwhm, max_extent=_LARGEST_EXTENT_BEAMS * beam_fwhm,
    )  # fmt: skip


def confirmed(
    task: FitProblem,
    sources: FloatArray,
    fits: list[GroupFit],
    this: FitSetup,
    options: Options,
    *,
    n_given: int,
) -> BoolArray:
    """Return which sources stay: of those added, the ones still significant, compact and apart.

    In each unit only the weakest of those that fail goes at once.
    """
    kept = np.ones(len(sources), dtype=bool)
    smallest, largest = np.multiply(size_limits(task, options), (1.01, 0.99))
    for k, unit in enumerate(task.units):
        added = np.flatnonzero(unit >= n_given)
        if not added.size:
            continue
        own = sources[unit]
        significance = amplitude_significance(
            fits[k], this.windows[k], this.whiteners[k], fixed=task.fixed[unit]
        )
        doubtful = (significance < options.detection.sigma_thres) | (own[:, models.SIGMA_1] > largest)
        # Narrower than anything seen through the beam: noise of pixels.
        doubtful |= own[:, models.SIGMA_2] < smallest
        doubtful |= closest_neighbour(own) < CLOSEST_BEAMS * task.beam_fwhm
        failing = added[doubtful[added]]
        if failing.size:
            kept[unit[failing[np.argmin(significance[failing])]]] = False
    return kept


def without(
    task: FitProblem, sources: FloatArray, fits: Sequence[GroupFit], kept: BoolArray
) -> tuple[FitProblem, FloatArray, list[GroupFit | None]]:
    """Return the task and sources without those that are not kept, and no fit for the units of these."""
    new = np.cumsum(kept) - 1
    some = [k for k, unit in enumerate(task.units) if kept[unit].any()]
    units = [new[task.units[k][kept[task.units[k]]]] for k in some]
    return (
        replace(
            task,
            start=task.start[kept],
            fixed=task.fixed[kept],
            assumed=task.assumed[kept],
            shift=task.shift[kept],
            units=units,
        ),
        sources[kept],
        [fits[k] if kept[task.units[k]].all() else None for k in some],
    )
