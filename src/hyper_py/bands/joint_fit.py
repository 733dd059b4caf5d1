"""The joint fit of all sources of a field: groups in turn, until none changes another any more."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray, IntArray
from hyper_py.bands.band import Band
from hyper_py.bands.blocks import Block, FieldView
from hyper_py.bands.estimates import Estimates
from hyper_py.bands.group_fit import Bounds, GroupResult, OffsetNormal, ShapePrior, fit_group
from hyper_py.bands.shapes import symmetric
from hyper_py.deblending.grouping import partition_groups
from hyper_py.diagnostics import Flag
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.numerics.pairs import pairs_within

LINK = 1.0
"""Sources closer than so many FWHM of the coarsest beam are fitted together."""
MOST_IN_GROUP, LEAST_LINK = 8, 0.5
"""Larger groups are cut at their longest chains, down to so many FWHM of the sharpest beam."""
POSITION_REACH = 0.6
"""How far a position may move from where it was found, in FWHM of the sharpest beam that shows the source."""
LOWEST_SHAPE = -0.5
"""Least eigenvalue of an intrinsic shape, in units of the sharpest beam's: noise may take a point below 0."""
SETTLED = 0.1
"""Groups beside are fitted again when a flux has changed by more than so many errors."""
COUPLED = 2.2
"""Sources closer than so many times the reach of both change each other's fluxes."""
_FIT_FLAGS = int(Flag.POSITION_AT_BOUND | Flag.SIZE_AT_BOUND | Flag.NOT_CONVERGED | Flag.BLENDED)


@dataclass(frozen=True, kw_only=True, eq=False)
class FitChoices:
    """How sources are fitted.

    Attributes
    ----------
    prior : ShapePrior
    largest : float
        Largest intrinsic variance in units of that of the beam which shows the source best, or of the middle
        band's if that is larger.
    tolerance : float
        See `fit_group`.
    fixed_position, fixed_shape : bool
        Whether given ones are kept.
    """

    prior: ShapePrior
    largest: float
    tolerance: float = 1e-2
    fixed_position: bool = False
    fixed_shape: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class JointFit:
    """Sources after a fit of all of them.

    Attributes
    ----------
    estimates : Estimates
    offsets : list of OffsetNormal
        Of the groups that were fitted last.
    n_fits : int
        Groups fitted, each as often as it was.
    settled : bool
        Whether no group changes another any more.
    """

    estimates: Estimates
    offsets: list[OffsetNormal]
    n_fits: int
    settled: bool


def partition(bands: Sequence[Band], position: FloatArray) -> list[IntArray]:
    """Return which sources are fitted together, in all bands."""
    fwhm = [band.fwhm for band in bands]
    return partition_groups(
        position[:, 0], position[:, 1], linking_length=LINK * max(fwhm), max_size=MOST_IN_GROUP,
        min_length=min(LEAST_LINK * min(fwhm), LINK * max(fwhm)),
    )  # fmt: skip


def fit_jointly(
    bands: Sequence[Band],
    estimates: Estimates,
    *,
    choices: FitChoices,
    changed: BoolArray | None = None,
    beside: bool = True,
    max_iterations: int = 3,
) -> JointFit:
    """Fit the groups, brightest first, and again those beside sources that changed.

    Parameters
    ----------
    bands : sequence of Band
        With their noise.
    estimates : Estimates
    choices : FitChoices
    changed : bool ndarray, shape (n,), optional
        Sources whose groups are fitted; all if None.
    beside : bool
        Whether those near them are fitted as well.
    max_iterations : int
    """
    estimates = estimates.copied()
    groups = partition(bands, estimates.position)
    label = np.empty(len(estimates), dtype=np.int64)
    for number, members in enumerate(groups):
        label[members] = number
    estimates.group[:] = label
    view = FieldView.of(bands, estimates)
    waiting = np.ones(len(groups), dtype=bool)
    if changed is not None:
        waiting[:] = False
        waiting[label[_beside(view, changed) if beside else changed]] = True
    brightness = np.array([np.nan_to_num(estimates.flux[members]).sum() for members in groups])
    normals: dict[int, OffsetNormal] = {}
    n_fits = 0
    for _ in range(max_iterations):
        moved = np.zeros(len(estimates), dtype=bool)
        for number in np.argsort(-brightness, kind="stable"):
            if not waiting[number]:
                continue
            members = groups[number]
            before, was = np.nan_to_num(estimates.flux[members]), estimates.position[members]
            result = _fit(view, members, choices)
            _store(estimates, members, result)
            view.update(members, moved=estimates.position[members] - was)
            normals[int(number)] = result.offsets
            n_fits += 1
            error = np.sqrt(np.diagonal(estimates.flux_covariance[members], axis1=1, axis2=2))
            with np.errstate(invalid="ignore"):
                change = np.abs(np.nan_to_num(result.flux) - before) > SETTLED * error
            moved[members] = change.any(axis=1)
        waiting[:] = False
        near = label[_beside(view, moved)]
        own = np.bincount(label[moved], minlength=len(groups)) > 0
        touched = np.bincount(near, minlength=len(groups)) > 0
        # A group alone has converged by itself.
        alone = ~_has_others(view, label, len(groups))
        waiting = touched & ~(own & alone)
        if not waiting.any():
            break
    return JointFit(
        estimates=estimates, offsets=list(normals.values()), n_fits=n_fits, settled=not waiting.any()
    )


def _reach(view: FieldView) -> FloatArray:
    """Return how far each source matters for the fits of others, in arcsec: in the coarsest band."""
    if not view.parts:
        return np.zeros(len(view.estimates))
    reach: FloatArray = np.max([part.reach for part in view.parts], axis=0)
    return reach


def _beside(view: FieldView, chosen: BoolArray) -> BoolArray:
    """Return some sources and those near them."""
    position, reach = view.estimates.position, _reach(view)
    result = chosen.copy()
    place, point = pairs_within(position, position[chosen], COUPLED * reach[chosen])
    del place
    result[point] = True
    return result


def _has_others(view: FieldView, label: IntArray, n_groups: int) -> BoolArray:
    """Return which groups have sources of other groups near."""
    position, reach = view.estimates.position, _reach(view)
    place, point = pairs_within(position, position, COUPLED * reach)
    across = label[place] != label[point]
    has: BoolArray = np.bincount(label[place[across]], minlength=n_groups) > 0
    return has


def _fit(view: FieldView, members: IntArray, choices: FitChoices) -> GroupResult:
    """Fit one group."""
    estimates = view.estimates
    blocks = view.blocks(members)
    return fit_group(
        blocks, np.hstack([estimates.position[members], estimates.shape[members]]),
        estimates.difference[members], prior=choices.prior,
        bounds=bounds_of(view, members, blocks, choices), tolerance=choices.tolerance,
    )  # fmt: skip


def bounds_of(view: FieldView, members: IntArray, blocks: Sequence[Block], choices: FitChoices) -> Bounds:
    """Return the limits of positions and shapes of a group."""
    estimates = view.estimates
    least = np.full(members.size, np.inf)
    for block in blocks:
        beam = np.linalg.eigvalsh(symmetric(block.beam))[:, 0]
        least[block.members] = np.minimum(least[block.members], beam)
    middle = float(np.median([band.fwhm for band in view.bands]))
    variance = (np.maximum(estimates.scale[members], middle) / FWHM_PER_SIGMA) ** 2
    return Bounds(
        start=estimates.start[members], radius=POSITION_REACH * estimates.scale[members],
        low=np.where(np.isfinite(least), LOWEST_SHAPE * least, 0.0), high=choices.largest * variance,
        fixed_position=choices.fixed_position, fixed_shape=choices.fixed_shape,
    )  # fmt: skip


def _store(estimates: Estimates, members: IntArray, result: GroupResult) -> None:
    """Write what a fit found into the estimates, in place."""
    k, n_bands = result.flux.shape
    estimates.position[members], estimates.shape[members] = result.theta[:, :2], result.theta[:, 2:]
    estimates.difference[members] = result.difference
    estimates.covariance[members] = result.covariance
    estimates.flux[members], estimates.seen[members] = result.flux, result.seen
    estimates.conditional_snr[members] = result.conditional_snr
    estimates.level[members], estimates.misfit[members] = result.level, result.misfit
    each = np.arange(k)
    estimates.flux_covariance[members] = result.flux_covariance[each, :, each, :]
    with np.errstate(invalid="ignore"):
        same_band = np.array([result.flux_covariance[:, b, :, b] for b in range(n_bands)])
        error = np.sqrt(np.diagonal(same_band, axis1=1, axis2=2))
        correlation = np.nan_to_num(same_band / (error[:, :, None] * error[:, None, :]))
    correlation[:, each, each] = 0.0
    worst = np.abs(correlation).argmax(axis=2)
    estimates.correlation[members] = np.take_along_axis(correlation, worst[..., None], axis=2)[..., 0].T
    most = np.abs(correlation).max(axis=0)
    neighbour = np.where(most.max(axis=1) > 0.0, estimates.identity[members[most.argmax(axis=1)]], -1)
    estimates.neighbour[members] = neighbour
    flags = np.where(result.position_at_bound, int(Flag.POSITION_AT_BOUND), 0)
    flags |= np.where(result.shape_at_bound, int(Flag.SIZE_AT_BOUND), 0)
    flags |= 0 if result.converged else int(Flag.NOT_CONVERGED)
    flags |= int(Flag.BLENDED) if k > 1 else 0
    estimates.flags[members] = (estimates.flags[members] & ~_FIT_FLAGS) | flags


def with_noise(bands: Sequence[Band], estimates: Estimates) -> list[Band]:
    """Return the bands with their noise measured outside the sources."""
    return [band.with_noise_outside(estimates.gaussians(band, b)) for b, band in enumerate(bands)]


def wide_prior(bands: Sequence[Band], *, free: bool) -> ShapePrior:
    """Return a prior that hardly matters: intrinsic shapes within about the beam of the middle band."""
    beams = np.array([(band.fwhm / FWHM_PER_SIGMA) ** 2 for band in bands])
    variance = float(np.median(beams))
    band_sigma = np.minimum(BAND_SHAPE * beams, variance) if free else None
    return ShapePrior(mean=np.zeros(3), sigma=np.full(3, variance), band_sigma=band_sigma)


BAND_SHAPE = 0.5
"""With free shapes, how far the shape in a band may be from the common one, in variances of its beam. At most
as far as common shapes may be from a point: sources are no larger for a wide beam."""
BRIGHT, FEWEST_BRIGHT = 50.0, 10
"""Flux over the error of a point, in some band, of those whose shapes stand for all; how many are needed. The
error of a wide source is larger, so that a cut on S/N would take the small ones."""
LIKE_POINT = 10.0
"""Percentile of the errors of fluxes in a band that is taken for the error of a point."""
LEAST_SCATTER = 0.05
"""Smallest scatter of intrinsic variances in a population, in variances of the middle beam."""


def _brightness(estimates: Estimates) -> FloatArray:
    """Return the best ratio of flux to the error of a point, over the bands, (n,)."""
    error = np.sqrt(np.diagonal(estimates.flux_covariance, axis1=1, axis2=2))
    best = np.zeros(len(estimates))
    for b in range(error.shape[1]):
        known = np.isfinite(error[:, b])
        if known.any():
            least = np.percentile(error[known, b], LIKE_POINT)
            best[known] = np.maximum(best[known], estimates.flux[known, b] / least)
    return best


def population_prior(bands: Sequence[Band], estimates: Estimates, *, free: bool) -> ShapePrior:
    """Return the prior that the field's own bright sources give: mean and scatter of their intrinsic shapes.

    That is what a faint source's shape is known to be before it is measured. With few bright ones it is
    `wide_prior`.
    """
    wide = wide_prior(bands, free=free)
    known = _brightness(estimates) > BRIGHT
    if np.count_nonzero(known) < FEWEST_BRIGHT:
        return wide
    shapes = estimates.shape[known]
    least = LEAST_SCATTER * wide.sigma[0]
    mean = float(shapes[:, [0, 2]].mean())
    along = max(float(shapes[:, [0, 2]].std()), least)
    across = max(float(np.sqrt(np.mean(shapes[:, 1] ** 2))), 0.5 * least)
    return replace(wide, mean=np.array([mean, 0.0, mean]), sigma=np.array([along, across, along]))
