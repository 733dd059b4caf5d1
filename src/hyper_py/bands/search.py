"""The list of sources of a field: brightest first, on the residuals of the joint fit.

A round fits what is known in all bands, subtracts it, and adds the peaks of what is left that stand above the
threshold of the round. No association by distance is needed: a coarse blend of two known sources leaves
nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray
from hyper_py.bands.band import Band
from hyper_py.bands.band_filter import filtered_band
from hyper_py.bands.estimates import Estimates
from hyper_py.bands.joint_fit import FitChoices, fit_jointly, with_noise
from hyper_py.bands.offsets import OffsetChoices, measure_offsets, with_offsets
from hyper_py.bands.significance import Candidates, Grid, find_candidates
from hyper_py.bands.spectra import grey_body
from hyper_py.bands.splitting import part_blends
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.stages import counter

LEVELS = (25.0, 10.0, 6.5)
"""Significances of the rounds before those at the threshold itself, which end when nothing is added."""
MOST_ROUNDS = 5
"""At the threshold."""
WAITS_BEAMS, WAITS_SHARE = 4.0, 0.15
"""Within so many beams of a source, a peak with less than this share of its significance waits."""
KNOWN_BEAMS, NEW_BEAMS = 0.5, 0.8
"""Peaks closer than this to a known source, or to a more significant peak, are no sources of their own: in
FWHM of the sharpest beam that shows the peak well."""
SHOWN_WELL = 0.5
"""A band shows a source well if its S/N is at least this share of the best."""
LEAST_SNR = 3.0
"""Sources that the fit leaves with less, in every band, are dropped."""
INTRINSIC = 0.37
"""FWHM of the sources that the filters are for, before the beam, in units of the middle beam."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SearchChoices:
    """How sources are looked for.

    Attributes
    ----------
    threshold : float
        Significance.
    temperatures : tuple of float
        K; of the grey bodies that weight the bands.
    beta : float
        Their emissivity index.
    fit : FitChoices
    offsets : OffsetChoices, optional
        None: maps are taken to be aligned.
    """

    threshold: float
    temperatures: tuple[float, ...]
    beta: float
    fit: FitChoices
    offsets: OffsetChoices | None = None

    def spectra(self, bands: Sequence[Band]) -> FloatArray:
        """Return the grey bodies, (n_temperatures, n_bands)."""
        micron = np.array([band.wavelength for band in bands])
        return grey_body(micron, np.asarray(self.temperatures)[:, None], self.beta)


def find_sources(
    bands: Sequence[Band],
    *,
    choices: SearchChoices,
    progress: Callable[[str], None] | None = None,
) -> tuple[Estimates, list[Band]]:
    """Return the sources of a field, fitted, and the bands with noise and offsets as measured meanwhile."""
    advance = counter("detection", len(LEVELS) + MOST_ROUNDS)
    estimates, bands = Estimates.none(len(bands)), list(bands)
    grid, first, spectra = Grid.over(bands), 0, choices.spectra(bands)
    rejected = np.empty((0, 2))
    levels = [level for level in LEVELS if level > choices.threshold]
    levels += [choices.threshold] * MOST_ROUNDS
    for turn, level in enumerate(levels):
        found = search_residual(bands, estimates, grid, choices=choices)
        known = np.concatenate([estimates.position, rejected])
        new = _new_sources(bands, known, found, level=level, first=first)
        first += len(new)
        if progress is not None:
            progress(f"{len(estimates)} sources, {len(new)} new above {level:g}")
        advance(1)
        if not len(new) and level == choices.threshold:
            break
        if not len(new) and not len(estimates):
            continue
        changed = np.repeat([turn < 2, True], [len(estimates), len(new)])
        estimates = estimates.joined(new)
        if bands[0].noise is None or turn <= len(LEVELS):
            bands = with_noise(bands, estimates)
        result = fit_jointly(bands, estimates, choices=choices.fit, changed=changed, max_iterations=2)
        estimates = result.estimates
        if turn:
            estimates, first = part_blends(
                bands, estimates, spectra=spectra, choices=choices.fit, first=first
            )
        if choices.offsets is not None and turn < 2:
            offsets = measure_offsets(bands, result.offsets, choices=choices.offsets)
            bands = with_offsets(bands, offsets)
        stands = estimates.stands(LEAST_SNR)
        if level == choices.threshold:  # else the same peaks would be found in every further round
            rejected = np.concatenate([rejected, estimates.start[~stands]])
        estimates = estimates.select(stands)
        # Neighbours that are parted move apart: bounds follow.
        estimates = replace(estimates, start=estimates.position.copy())
    return estimates, bands


def search_residual(
    bands: Sequence[Band], estimates: Estimates, grid: Grid, *, choices: SearchChoices
) -> Candidates:
    """Return what the filters of all bands find in what known sources leave."""
    intrinsic = INTRINSIC * float(np.median([band.fwhm for band in bands]))
    filtered = (
        filtered_band(band, estimates.gaussians(band, b), intrinsic=intrinsic) for b, band in enumerate(bands)
    )
    return find_candidates(bands, filtered, grid, temperatures=choices.temperatures, beta=choices.beta)


def _new_sources(
    bands: Sequence[Band], known: FloatArray, found: Candidates, *, level: float, first: int
) -> Estimates:
    """Return the candidates above a level that are none of the known positions (n, 2), fitted or rejected."""
    fwhm = np.array([band.fwhm for band in bands])
    scale = scales(fwhm, found.ratio)
    chosen: list[int] = []
    for k in np.flatnonzero(found.significance >= level):
        position = found.position[k]
        away = np.hypot(*(known - position).T)
        brighter = np.hypot(*(found.position[chosen] - position).T) if chosen else np.empty(0)
        if (away < KNOWN_BEAMS * scale[k]).any() or (brighter < NEW_BEAMS * scale[k]).any():
            continue
        much = found.significance[chosen] * WAITS_SHARE > found.significance[k]
        if (much & (brighter < WAITS_BEAMS * np.maximum(scale[chosen], scale[k]))).any():
            continue
        chosen.append(int(k))
    position, ratio = found.position[chosen], found.ratio[chosen]
    variance = (INTRINSIC * float(np.median(fwhm)) / FWHM_PER_SIGMA) ** 2
    new = Estimates.of(
        position, shape=np.tile([variance, 0.0, variance], (len(chosen), 1)), scale=scale[chosen],
        significance=found.significance[chosen], flux=np.zeros(ratio.shape), first=first,
    )  # fmt: skip
    return replace(new, seen=np.column_stack([band.sees(position) for band in bands]).reshape(ratio.shape))


def scales(fwhm: FloatArray, ratio: FloatArray) -> FloatArray:
    """Return the FWHM of the sharpest bands that show sources well, (n,), from their S/N (n, n_bands)."""
    if not len(ratio):
        return np.empty(0)
    well: BoolArray = ratio >= SHOWN_WELL * ratio.max(axis=1, keepdims=True)
    result: FloatArray = np.where(well, fwhm, np.inf).min(axis=1)
    return result
