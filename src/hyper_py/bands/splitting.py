"""Blends that were found as one source: replaced by two where the data of all bands ask for it.

A pair closer than a beam, or than its members are wide, is one peak, and its fit one Gaussian that leaves too
little to be found beside it. So each source bright enough is tried as two: where the score test says that a
further one would help most (`score`), and as the two halves of an elongated one. Two are kept if the cost
falls by more than noise, or a profile that is no Gaussian, lets it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray
from hyper_py.bands.band import Band
from hyper_py.bands.blocks import Block, FieldView
from hyper_py.bands.estimates import DIFFERENT_SHAPE, Estimates
from hyper_py.bands.group_fit import Bounds, GroupResult, fit_group
from hyper_py.bands.joint_fit import FitChoices, bounds_of, fit_jointly, population_prior
from hyper_py.bands.score import further_source
from hyper_py.bands.shapes import symmetric
from hyper_py.geometry import FWHM_PER_SIGMA

LEAST_SNR = 7.0
"""Fainter sources are not tried: two would not be told from one."""
LEAST_GAIN, LEAST_SPECTRAL_GAIN = 40.0, 26.0
"""Fall of the cost by a further source of any spectrum, and of one with that of a grey body: some ten and
seven parameters, of which noise makes 30 and 24 in one of a thousand."""
PROFILE_SHARE = 0.02
"""A fit of a profile that is no Gaussian leaves about this share of it: such a gain needs no second one."""
LEAST_PART = 4.0
"""S/N of both in some band, for their positions and shapes."""
LEAST_DISTANCE = 0.4
"""Between the two, in FWHM of the sharpest beam that shows the source."""
WORTH_A_FIT = 0.4
"""Share of the gain that is needed which the score test must promise: it is short of what the fit finds."""
AGAIN = 1.25
"""What stayed one is tried again when its S/N has grown so much: before, others were taken for noise."""
MOST_TRIALS = 3
"""Trials in a row: what was parted once may be part of a triple."""
PLACE_STEP, _PLACES_IN_FWHM = 0.4, 1.1
"""Places of the score test: their distance, in that FWHM, and how far out, in FWHM of the source there."""
_APART = 0.9
"""Of a step: places nearer to a known source are none. Those beside the source itself are one step away."""
_FREE_BEAMS = 1.0
"""How far the two may move from their start, in that FWHM."""


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


def part_blends(
    bands: Sequence[Band], estimates: Estimates, *, spectra: FloatArray, choices: FitChoices, first: int
) -> tuple[Estimates, int]:
    """Split blends until none is left, and fit what was split and what is beside it.

    Returns the sources and the next identity. Parameters as `split_blends`.
    """
    for _ in range(MOST_TRIALS):
        split = split_blends(bands, estimates, spectra=spectra, choices=choices, first=first)
        n_new = len(split.estimates) - len(estimates)
        first, estimates = first + n_new, split.estimates
        if not n_new:
            break
        estimates = fit_jointly(
            bands, estimates, choices=choices, changed=split.changed, max_iterations=2
        ).estimates
    return estimates, first


def split_blends(
    bands: Sequence[Band], estimates: Estimates, *, spectra: FloatArray, choices: FitChoices, first: int
) -> Split:
    """Try each source that is bright enough as two, and keep the two where that is clearly better.

    Sources beside keep positions and shapes meanwhile; of two near each other one is split, the brighter.
    Shapes are as likely as in `population_prior`.

    Parameters
    ----------
    bands : sequence of Band
        With their noise.
    estimates : Estimates
        As `fit_jointly` left them.
    spectra : ndarray, shape (n_spectra, n_bands)
        Fluxes that sources may have, of any scale.
    choices : FitChoices
    first : int
        Identity of the first source that is added.
    """
    estimates = estimates.copied()
    free = choices.prior.band_sigma is not None
    choices = replace(choices, prior=population_prior(bands, estimates, free=free))
    best = estimates.snr.max(axis=1, initial=0.0)
    view = FieldView.of(bands, estimates)
    reach = np.max([part.reach for part in view.parts], axis=0)
    added: list[Estimates] = []
    changed = np.zeros(len(estimates), dtype=bool)
    for i in np.argsort(-best, kind="stable"):
        if best[i] < max(LEAST_SNR, AGAIN * estimates.tried[i]):
            continue
        near = np.hypot(*(estimates.position - estimates.position[i]).T) < reach[i]
        if (near & changed).any():
            continue
        estimates.tried[i] = best[i]
        new = _try(view, int(i), spectra, choices, identity=first + len(added))
        if new is not None:
            added.append(new)
            changed[i], estimates.tried[i] = True, 0.0
    for new in added:
        estimates = estimates.joined(new)
    return Split(estimates=estimates, changed=np.append(changed, np.ones(len(added), dtype=bool)))


def _try(
    view: FieldView, i: int, spectra: FloatArray, choices: FitChoices, *, identity: int
) -> Estimates | None:
    """Return a companion of a source if two are better than one; the source is then changed in place."""
    estimates, row = view.estimates, np.array([i])
    blocks = view.blocks(row)
    theta = np.hstack([estimates.position[row], estimates.shape[row]])
    difference, bounds = estimates.difference[row], bounds_of(view, row, blocks, choices)
    one = fit_group(
        blocks, theta, difference, prior=choices.prior, bounds=bounds, tolerance=1.0, max_iterations=4
    )
    profile = PROFILE_SHARE**2 * float(np.nansum(estimates.snr[i] ** 2))
    scale = float(estimates.scale[i])
    best: GroupResult | None = None
    differs = np.abs(np.nan_to_num(estimates.misfit[i])).max() > DIFFERENT_SHAPE
    needed = max(LEAST_GAIN if differs else LEAST_SPECTRAL_GAIN, profile)
    for start in _starts(view, blocks, one.theta[0], scale, choices, needed=needed):
        two = fit_group(
            [_with_companion(block) for block in blocks], start, np.concatenate([difference, difference]),
            prior=choices.prior, bounds=_two_bounds(bounds, start[:, :2], radius=_FREE_BEAMS * scale),
            tolerance=1.0,
        )  # fmt: skip
        if best is None or two.cost < best.cost:
            best = two
    if best is None or not _are_two(best, scale):
        return None
    gain = one.cost - best.cost
    if gain < max(LEAST_GAIN, profile) and gain - _other_spectrum(best, spectra) < needed:
        return None
    estimates.position[i] = estimates.start[i] = best.theta[0, :2]
    estimates.shape[i], estimates.flux[i] = best.theta[0, 2:], best.flux[0]
    new = Estimates.of(
        best.theta[1:, :2], shape=best.theta[1:, 2:], scale=estimates.scale[row],
        significance=np.array([np.sqrt(gain)]), flux=best.flux[1:], first=identity,
    )  # fmt: skip
    return replace(new, seen=np.isfinite(best.flux[1:]))


def _starts(
    view: FieldView,
    blocks: Sequence[Block],
    theta: FloatArray,
    scale: float,
    choices: FitChoices,
    *,
    needed: float,
) -> list[FloatArray]:
    """Return positions and shapes of two sources, (2, 5), from which a fit may find them better than one."""
    value, vector = np.linalg.eigh(symmetric(theta[2:]))
    narrow = max(float(value[0]), 0.0)
    round_shape = np.array([narrow, 0.0, narrow])
    starts = []
    # Two even sources of half separation h have h^2 more variance along their axis than across.
    half = np.sqrt(max(float(value[1] - value[0]), 0.0))
    if 2.0 * half > LEAST_DISTANCE * scale:
        ends = theta[:2] + half * np.outer([-1.0, 1.0], vector[:, 1])
        starts.append(np.column_stack([ends, np.tile(round_shape, (2, 1))]))
    places = places_beside(view.estimates.position, theta, scale=scale)
    if len(places):
        shape = np.minimum(round_shape, (0.5 * scale / FWHM_PER_SIGMA) ** 2)
        weight = np.append(np.zeros(2), choices.prior.sigma**-2)
        gains = further_source(blocks, theta, places, shape=shape, weight=weight).gains
        best = int(gains.argmax())
        if gains[best] > WORTH_A_FIT * needed:
            starts.append(np.array([theta, np.append(places[best], shape)]))
    return starts


def places_beside(known: FloatArray, theta: FloatArray, *, scale: float) -> FloatArray:
    """Return a grid of places (m, 2) around a source, none of them much nearer to a known one than its step.

    The step is `PLACE_STEP`. They reach as far as the source is wide.

    Parameters
    ----------
    known : ndarray, shape (n, 2)
    theta : ndarray, shape (5,)
        Position and intrinsic shape of the source.
    scale : float
        FWHM in arcsec of the sharpest beam that shows it.
    """
    centre, step = theta[:2], PLACE_STEP * scale
    largest = float(np.linalg.eigvalsh(symmetric(theta[2:]))[1])
    reach = _PLACES_IN_FWHM * float(np.hypot(scale, FWHM_PER_SIGMA * np.sqrt(max(largest, 0.0))))
    n = int(reach / step)
    # Counted in steps: four places are one step away exactly, and rounding must not decide about them.
    steps = np.stack(np.meshgrid(*2 * [np.arange(-n, n + 1)]), axis=-1).reshape(-1, 2)
    squared = (steps**2).sum(axis=1)
    places = centre + step * steps[(squared > 0) & (squared * step**2 <= reach**2)]
    others = known[np.hypot(*(known - centre).T) < 2.0 * reach]
    beside = np.hypot(*(places[:, None] - others).transpose(2, 0, 1)) < _APART * step
    kept: FloatArray = places[~beside.any(axis=1)]
    return kept


def _with_companion(block: Block) -> Block:
    """Return the block of one source with a second one there."""
    return replace(
        block, members=np.array([0, 1]), beam=np.tile(block.beam, (2, 1)), factor=np.tile(block.factor, 2)
    )


def _two_bounds(bounds: Bounds, places: FloatArray, *, radius: float) -> Bounds:
    both = np.zeros(2, dtype=np.int64)
    return replace(
        bounds, start=places, radius=np.full(2, radius), low=bounds.low[both], high=bounds.high[both]
    )


def _are_two(result: GroupResult, scale: float) -> bool:
    """Return whether both are sources of their own, where they are and as large as they are.

    Which light is whose may stay open: then the errors of both are large, and their fluxes correlated.
    """
    distance = float(np.hypot(*(result.theta[0, :2] - result.theta[1, :2])))
    significant = np.nan_to_num(result.conditional_snr).max(axis=1) >= LEAST_PART
    return bool(significant.all() and distance >= LEAST_DISTANCE * scale)


def _other_spectrum(result: GroupResult, spectra: FloatArray) -> float:
    """Return by how much the cost rises if the fainter of two sources has the best of some spectra."""
    k = int(np.nan_to_num(result.conditional_snr).max(axis=1).argmin())
    seen = result.seen[k]
    inverse = np.linalg.pinv(result.flux_covariance[k][:, k][np.ix_(seen, seen)], hermitian=True)
    flux, known = result.flux[k, seen], spectra[:, seen]
    along, norm = known @ inverse @ flux, np.einsum("sb,bc,sc->s", known, inverse, known)
    explained = np.maximum(along, 0.0) ** 2 / np.where(norm > 0.0, norm, np.inf)
    return float(flux @ inverse @ flux - explained.max())
