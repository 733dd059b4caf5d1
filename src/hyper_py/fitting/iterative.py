"""The iterative fit: groups are fitted in turn, each with the present models of all others subtracted.

This is block coordinate descent on the cost of the whole map. Groups whose neighbours have moved are fitted
again, until nothing moves. Groups that hardly overlap are fitted at once; of those that do, the second is
fitted with what the first has become: at once, both would take the light that they share, then neither, and
so on, without end where several overlap.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray, IndexArray
from hyper_py.fitting.group_fit import fit_groups
from hyper_py.fitting.groups import Group, GroupFit, work_parts
from hyper_py.fitting.other_sources import group_of, sources_in_reach, with_other_sources
from hyper_py.fitting.problem import FitProblem
from hyper_py.numerics import gaussians
from hyper_py.numerics.pairs import group_pairs
from hyper_py.numerics.parallel import in_order
from hyper_py.numerics.solvers import SolverOptions
from hyper_py.stages import counter

_FLUX_TOLERANCE = 1e-3
"""Groups are fitted again until no flux moves by more than this share of its source's."""
_OVERLAP = 0.1
"""Correlation of two Gaussians from which their groups are fitted one after the other."""


def fit_iteratively(
    groups: Sequence[Group],
    sources: FloatArray,
    *,
    solver: SolverOptions,
    max_iterations: int = 4,
    stage: str = "fits",
) -> tuple[FloatArray, list[Group]]:
    """Fit all groups, each with the present models of all others subtracted, until nothing moves.

    Parameters
    ----------
    groups : sequence of Group
        Those that have a fit are fitted again only where a neighbour moves.
    sources : ndarray, shape (n, 6)
        Starting values.
    solver : SolverOptions
    max_iterations : int
        Groups without neighbours in reach are fitted once.
    stage : str
        As which the groups of the first iteration are counted, see `hyper_py.stages`.

    Returns
    -------
    sources : ndarray, shape (n, 6)
    groups : list of Group
        With their fits.
    """
    sources, groups = sources.copy(), list(groups)
    reach = sources_in_reach(groups, sources)
    moved = np.zeros(len(sources), dtype=bool)
    for group in groups:
        moved[group.members] = group.fit is None
    todo = [k for k, near in enumerate(reach) if groups[k].fit is None or moved[near].any()]
    fitted: Callable[[int], None] | None = counter(stage, len(todo))
    for _ in range(max_iterations):
        before = sources.copy()
        for turn in _turns(groups, todo, reach, sources):
            present = with_other_sources([groups[k] for k in turn], sources)
            parts = work_parts(present)
            fit = partial(_fit_part, sources=sources.copy(), solver=solver)
            some = [[present[i] for i in part] for part in parts]
            for part, fits in zip(parts, in_order(fit, some), strict=True):
                for i, one in zip(part, fits, strict=True):
                    groups[turn[i]] = groups[turn[i]].refitted(one)
                    sources[groups[turn[i]].members] = one.parameters
                if fitted is not None:
                    fitted(len(part))
        moved, fitted = _moved(before, sources), None
        todo = [k for k, near in enumerate(reach) if near.size and moved[near].any()]
        if not todo:
            break
    return sources, groups


def _turns(
    groups: Sequence[Group], todo: Sequence[int], reach: Sequence[IndexArray], sources: FloatArray
) -> list[list[int]]:
    """Return the groups to fit in as many sets as it takes, so that no two of a set overlap."""
    owner = group_of([group.members for group in groups], len(sources))
    is_open = np.zeros(len(groups), dtype=bool)
    is_open[todo] = True
    near = [reach[k][is_open[owner[reach[k]]]] for k in todo]
    pairs = [
        (np.repeat(groups[k].members, own.size), np.tile(own, groups[k].n_sources))
        for k, own in zip(todo, near, strict=True)
        if own.size
    ]
    if not pairs:
        return [list(todo)]
    first, second = (np.concatenate(side) for side in zip(*pairs, strict=True))
    overlap = gaussians.correlation(sources[first], sources[second]) > _OVERLAP
    beside = group_pairs(owner[first[overlap]], owner[second[overlap]], len(groups))
    turn = np.full(len(groups), -1)
    for k in todo:
        taken = set(turn[beside[k]].tolist())
        turn[k] = next(n for n in range(len(todo)) if n not in taken)
    own = turn[todo]
    return [[k for k, n in zip(todo, own.tolist(), strict=True) if n == one] for one in range(own.max() + 1)]


def _fit_part(groups: Sequence[Group], *, sources: FloatArray, solver: SolverOptions) -> list[GroupFit]:
    """Fit groups from the sources as they are."""
    return fit_groups(groups, [sources[group.members] for group in groups], solver=solver)


def alternative_starts(problem: FitProblem, sources: FloatArray) -> list[FloatArray]:
    """Return starting values of other fits where the first did not converge, one set a try.

    Where it stopped, so that it may go on; the peak with the beam's shape; the same, smaller and fainter.
    """
    beam = problem.start.copy()
    free = ~problem.fixed[:, gaussians.SIGMA_1]
    beam[free, gaussians.SIGMA_1 :] = gaussians.shape_parameters(problem.beam_covariance)
    small = beam.copy()
    small[free, gaussians.SIGMA_1 : gaussians.THETA] *= 0.8
    small[:, gaussians.AMPLITUDE] *= np.where(problem.fixed[:, gaussians.AMPLITUDE], 1.0, 0.7)
    return [sources.copy(), beam, small]


def retry_failed(
    groups: Sequence[Group], sources: FloatArray, *, starts: Sequence[FloatArray], solver: SolverOptions
) -> tuple[FloatArray, list[Group]]:
    """Fit the groups that did not converge again, from other starts; the lowest cost is kept.

    Parameters
    ----------
    groups : sequence of Group
        With their fits.
    sources : ndarray, shape (n, 6)
        As fitted.
    starts : sequence of ndarray, shape (n, 6)
        Starting values of all sources, one set a try.
    solver : SolverOptions

    Returns
    -------
    sources : ndarray, shape (n, 6)
    groups : list of Group
        Those whose fit converged only from another start say so.
    """
    sources, groups = sources.copy(), list(groups)
    for start in starts:
        failed = [k for k, group in enumerate(groups) if not group.fitted.converged]
        if not failed:
            break
        present = with_other_sources([groups[k] for k in failed], sources)
        for k, group in zip(failed, present, strict=True):
            before, again = group.fitted, fit_groups([group], [start[group.members]], solver=solver)[0]
            if again.converged or not np.isfinite(before.cost) or again.cost < before.cost:
                groups[k] = groups[k].refitted(again, retried=again.converged)
                sources[group.members] = again.parameters
    return sources, groups


def _moved(before: FloatArray, after: FloatArray) -> BoolArray:
    """Whether a source changed enough to matter to its neighbours."""
    flux = np.abs(gaussians.gaussian_flux(after))
    change = np.abs(gaussians.gaussian_flux(after) - gaussians.gaussian_flux(before))
    shift = np.abs(after[:, gaussians.X : gaussians.Y + 1] - before[:, gaussians.X : gaussians.Y + 1]).max(
        axis=1
    )
    moved: BoolArray = (change > _FLUX_TOLERANCE * flux) | (
        shift > _FLUX_TOLERANCE * after[:, gaussians.SIGMA_1]
    )
    return moved
