"""Blends that were found as one source: replaced by two where the data of all bands ask for it.

A pair closer than the sharpest beam is one peak, and its fit one elongated Gaussian that leaves too little to
be found beside it. So each source bright enough is fitted as two on the same pixels; two are kept if the cost
falls by more than noise, or a profile that is no Gaussian, lets it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray, IntArray
from hyper_py.bands.band import Band
from hyper_py.bands.blocks import Block, FieldView
from hyper_py.bands.estimates import Estimates
from hyper_py.bands.group_fit import Bounds, GroupResult, fit_group
from hyper_py.bands.joint_fit import FitChoices, bounds_of, partition
from hyper_py.bands.shapes import symmetric

LEAST_SNR = 10.0
"""Fainter sources are not tried: two would not be told from one."""
LEAST_GAIN = 40.0
"""Fall of the cost by a further source, of some ten parameters: noise gives 30 in one of a thousand."""
PROFILE_SHARE = 0.02
"""A fit of a profile that is no Gaussian leaves about this share of it: such a gain needs no second one."""
LEAST_PART = 5.0
"""S/N of both, in some band."""
LEAST_DISTANCE = 0.4
"""Between the two, in FWHM of the sharpest beam that shows the source."""
_STARTS = ((-1.0, 1.0), (0.0, 1.8), (0.0, -1.8))
"""Where the two start along the major axis, in units of half the separation that an even pair would have."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """Sources after a trial.

    Attributes
    ----------
    estimates : Estimates
        With what was added at the end.
    changed : bool ndarray, shape (n,)
        Sources that were split, and their new companions.
    """

    estimates: Estimates
    changed: BoolArray


def split_blends(
    bands: Sequence[Band], estimates: Estimates, *, tried: BoolArray, choices: FitChoices, first: int
) -> Split:
    """Try each source that is bright enough as two, and keep the two where that is clearly better.

    Parameters
    ----------
    bands : sequence of Band
        With their noise.
    estimates : Estimates
        As `fit_jointly` left them.
    tried : bool ndarray, shape (n,)
        Sources to leave as they are.
    choices : FitChoices
    first : int
        Identity of the first source that is added.
    """
    estimates = estimates.copied()
    bright = (estimates.snr.max(axis=1, initial=0.0) >= LEAST_SNR) & ~tried
    view = FieldView.of(bands, estimates)
    added: list[Estimates] = []
    changed = np.zeros(len(estimates), dtype=bool)
    for members in partition(bands, estimates.position):
        own = np.flatnonzero(bright[members])
        if not own.size:
            continue
        blocks = view.blocks(members)
        for i in own[np.argsort(-estimates.snr[members[own]].max(axis=1))]:
            new = _try(view, blocks, members, int(i), choices, identity=first + len(added))
            if new is not None:
                added.append(new)
                changed[members[i]] = True
                break
    for new in added:
        estimates = estimates.joined(new)
    return Split(estimates=estimates, changed=np.append(changed, np.ones(len(added), dtype=bool)))


def _try(
    view: FieldView, blocks: list[Block], members: IntArray, i: int, choices: FitChoices, *, identity: int
) -> Estimates | None:
    """Return a companion of a source if two are better than one; the source is then changed in place."""
    estimates = view.estimates
    theta = np.hstack([estimates.position[members], estimates.shape[members]])
    difference, bounds = estimates.difference[members], bounds_of(view, members, blocks, choices)
    one = fit_group(
        blocks, theta, difference, prior=choices.prior, bounds=bounds, tolerance=1.0, max_iterations=4
    )
    light = float(np.nansum(estimates.snr[members[i]] ** 2))
    needed = max(LEAST_GAIN, PROFILE_SHARE**2 * light)
    best: GroupResult | None = None
    for start, shape in _starts(one.theta[i], float(estimates.scale[members[i]])):
        two = fit_group(
            [_with_companion(block, i, len(members)) for block in blocks],
            _doubled(one.theta, i, start, shape), np.concatenate([difference, difference[i : i + 1]]),
            prior=choices.prior, bounds=_doubled_bounds(bounds, i, start), tolerance=1.0,
        )  # fmt: skip
        if best is None or two.cost < best.cost:
            best = two
    if best is None or one.cost - best.cost < needed or not _are_two(best, i, estimates.scale[members[i]]):
        return None
    row = members[i]
    estimates.position[row] = estimates.start[row] = best.theta[i, :2]
    estimates.shape[row], estimates.flux[row] = best.theta[i, 2:], best.flux[i]
    new = Estimates.of(
        best.theta[-1:, :2], shape=best.theta[-1:, 2:], scale=estimates.scale[row : row + 1],
        significance=np.array([np.sqrt(one.cost - best.cost)]), flux=best.flux[-1:], first=identity,
    )  # fmt: skip
    return replace(new, seen=np.isfinite(best.flux[-1:]))


def _starts(theta: FloatArray, scale: float) -> list[tuple[FloatArray, FloatArray]]:
    """Return places of two sources, (2, 2), and their shape, for which one of this shape may stand."""
    value, vector = np.linalg.eigh(symmetric(theta[2:]))
    # Two even sources of half separation h have h^2 more variance along their axis than across.
    half = max(np.sqrt(max(value[1] - value[0], 0.0)), LEAST_DISTANCE * scale)
    narrow = max(float(value[0]), 0.0)
    shape = np.array([narrow, 0.0, narrow])
    return [(theta[:2] + half * np.outer(places, vector[:, 1]), shape) for places in _STARTS]


def _with_companion(block: Block, i: int, number: int) -> Block:
    """Return a block with a further source, whose place in the group is `number`, where source i is."""
    own = np.flatnonzero(block.members == i)
    if not own.size:
        return block
    return replace(
        block, members=np.append(block.members, number), beam=np.concatenate([block.beam, block.beam[own]]),
        factor=np.append(block.factor, block.factor[own]),
    )  # fmt: skip


def _doubled(theta: FloatArray, i: int, places: FloatArray, shape: FloatArray) -> FloatArray:
    both = np.concatenate([theta, theta[i : i + 1]])
    both[i], both[-1] = np.append(places[0], shape), np.append(places[1], shape)
    return both


def _doubled_bounds(bounds: Bounds, i: int, places: FloatArray) -> Bounds:
    rows = np.append(np.arange(len(bounds.radius)), i)
    start, radius = bounds.start[rows].copy(), bounds.radius[rows].copy()
    start[i], start[-1] = places
    return replace(bounds, start=start, radius=radius, low=bounds.low[rows], high=bounds.high[rows])


def _are_two(result: GroupResult, i: int, scale: float) -> bool:
    """Return whether both are sources of their own."""
    error = np.sqrt(np.einsum("ibib->ib", result.flux_covariance))
    with np.errstate(invalid="ignore", divide="ignore"):
        snr = np.nan_to_num(result.flux / error)[[i, -1]].max(axis=1)
    distance = float(np.hypot(*(result.theta[i, :2] - result.theta[-1, :2])))
    return bool((snr >= LEAST_PART).all() and distance >= LEAST_DISTANCE * scale)
