"""From a list to the last fit: noise, offsets and shapes measured with it, what does not hold dropped."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray
from hyper_py.bands.band import Band
from hyper_py.bands.confusion import with_confusion
from hyper_py.bands.estimates import DIFFERENT_SHAPE, Estimates
from hyper_py.bands.joint_fit import FitChoices, fit_jointly, population_prior, with_noise
from hyper_py.bands.offsets import BandOffsets, OffsetChoices, measure_offsets, with_offsets
from hyper_py.bands.plane import TangentPlane
from hyper_py.bands.sources import JointSources
from hyper_py.bands.splitting import LEAST_DISTANCE, part_blends
from hyper_py.diagnostics import Flag
from hyper_py.numerics.pairs import pairs_within

MINIMUM = 3.5
"""Best S/N of a source in any band after the last fit: less is no source (but see `Estimates.stands`)."""
OFFSET_FITS = 3
BRIGHT, FEWEST_BRIGHT = 20.0, 20
"""S/N in some band of the sources with which offsets are measured."""
FINAL_TOLERANCE = 1e-3
MOST_ITERATIONS = 6


def align(
    bands: Sequence[Band], estimates: Estimates, *, fit: FitChoices, choices: OffsetChoices
) -> tuple[Estimates, list[Band], BandOffsets]:
    """Measure the offsets of the maps in fits of the bright sources (all if they are few) until they stay."""
    bands, bright = list(bands), estimates.snr.max(axis=1, initial=0.0) > BRIGHT
    if np.count_nonzero(bright) < FEWEST_BRIGHT:
        bright[:] = True
    offsets = BandOffsets.none(len(bands), reference=choices.reference)
    for _ in range(OFFSET_FITS):
        result = fit_jointly(bands, estimates, choices=fit, changed=bright, beside=False, max_iterations=1)
        estimates = result.estimates
        before = np.array([band.offset for band in bands])
        offsets = measure_offsets(bands, result.offsets, choices=choices)
        bands = with_offsets(bands, offsets)
        if not (np.abs(offsets.values - before) > np.nan_to_num(0.2 * offsets.errors)).any():
            break
    return estimates, bands, offsets


def refine(
    bands: Sequence[Band],
    estimates: Estimates,
    *,
    fit: FitChoices,
    free: bool,
    spectra: FloatArray | None = None,
    fitted: bool = False,
    keep_all: bool = False,
) -> tuple[Estimates, list[Band], Estimates]:
    """Fit a list to the end, in noise measured with it, with the prior of the field's bright sources.

    Parameters
    ----------
    bands : sequence of Band
    estimates : Estimates
    fit : FitChoices
    free : bool
        Whether each band has a shape of its own.
    spectra : ndarray, shape (n_spectra, n_bands), optional
        With them blends are parted once more, in this noise (`splitting`), and errors contain what neighbours
        that were not found may do (`confusion`).
    fitted : bool
        Whether the estimates are those of a fit.
    keep_all : bool

    Returns
    -------
    estimates : Estimates
        Brightest first.
    bands : list of Band
    vanished : Estimates
        What the fit left no significant flux of, or moved onto another source; it is no source. None is
        dropped with `keep_all`.
    """
    if not fitted:
        bands = with_noise(bands, estimates)
        estimates = fit_jointly(bands, estimates, choices=fit, max_iterations=2).estimates
    vanished = estimates.select(np.zeros(len(estimates), dtype=bool))
    bands = with_noise(bands, estimates)
    final = replace(fit, tolerance=FINAL_TOLERANCE)
    if not fit.fixed_shape:
        final = replace(final, prior=population_prior(bands, estimates, free=free))
    if spectra is not None and len(estimates):
        first = int(estimates.identity.max()) + 1
        estimates, _ = part_blends(bands, estimates, spectra=spectra, choices=final, first=first)
    changed = np.ones(len(estimates), dtype=bool)
    while True:
        estimates = fit_jointly(
            bands, estimates, choices=final, changed=changed, max_iterations=MOST_ITERATIONS
        ).estimates
        stays = estimates.stands(MINIMUM) & ~_in_one_place(estimates)
        if keep_all or stays.all():
            break
        gone = estimates.select(~stays)
        vanished = vanished.joined(gone)
        estimates = estimates.select(stays)
        distance = np.hypot(*(estimates.position[:, None] - gone.position).transpose(2, 0, 1))
        changed = (distance < 2.0 * max(band.fwhm for band in bands)).any(axis=1)
    if spectra is not None:
        estimates = with_confusion(bands, estimates, prior=final.prior)
    if not keep_all:
        order = np.argsort(-estimates.snr.max(axis=1, initial=0.0), kind="stable")
        estimates = estimates.select(order)
    return estimates, bands, vanished


def _in_one_place(estimates: Estimates) -> BoolArray:
    """Return which sources the fit has moved to where another one of better S/N is."""
    best = estimates.snr.max(axis=1, initial=0.0)
    place, point = pairs_within(estimates.position, estimates.position, LEAST_DISTANCE * estimates.scale)
    worse = (best[place] < best[point]) | ((best[place] == best[point]) & (place > point))
    near = np.hypot(*(estimates.position[place] - estimates.position[point]).T)
    worse &= near < LEAST_DISTANCE * np.minimum(estimates.scale[place], estimates.scale[point])
    result: BoolArray = np.bincount(place[worse], minlength=len(estimates)) > 0
    return result


def on_maps(
    bands: Sequence[Band], estimates: Estimates, patterns: Sequence[FloatArray | None]
) -> tuple[Estimates, list[Band]]:
    """Return sources and bands on the pixels of the maps, where they were fitted on bins of these.

    Patterns are subtracted, and the noise of the pixels is measured.
    """
    sizes = np.array([band.size for band in bands])
    maps = []
    for b, (band, pattern) in enumerate(zip(bands, patterns, strict=True)):
        if band.size > 1:
            whole = band.binned(1).less(pattern)
            band = whole.with_noise_outside(estimates.gaussians(whole, b))
        maps.append(band)
    return replace(estimates, level=estimates.level / sizes**2), maps


def joint_sources(bands: Sequence[Band], estimates: Estimates, plane: TangentPlane) -> JointSources:
    """Return the table of sources of a final fit."""
    n = len(estimates)
    misfit = np.nan_to_num(estimates.misfit)
    differs = np.where(np.abs(misfit).max(axis=1, initial=0.0) > DIFFERENT_SHAPE, int(Flag.SHAPE_DIFFERS), 0)
    row = {identity: i for i, identity in enumerate(estimates.identity.tolist())}
    neighbour = np.array([row.get(number, -1) for number in estimates.neighbour.tolist()], dtype=np.int64)
    _, group = np.unique(estimates.group, return_inverse=True)
    per_flux = np.array([_peak_per_flux(band, estimates, b) for b, band in enumerate(bands)])
    per_flux = per_flux.reshape(len(bands), n).T  # n may be 0
    error = np.sqrt(np.diagonal(estimates.flux_covariance, axis1=1, axis2=2))
    return JointSources(
        plane=plane, position=estimates.position, position_covariance=estimates.covariance[:, :2, :2],
        shape=estimates.shape, shape_covariance=estimates.covariance[:, 2:, 2:],
        band_shape=estimates.shape[:, None] + estimates.difference, flux=estimates.flux,
        flux_covariance=estimates.flux_covariance, peak=per_flux * estimates.flux, peak_err=per_flux * error,
        background=estimates.level, seen=estimates.seen, significance=estimates.significance,
        misfit=misfit, correlation=estimates.correlation, neighbour=neighbour,
        group=group.astype(np.int64).reshape(n) + 1, flags=estimates.flags | differs,
    )  # fmt: skip


def _peak_per_flux(band: Band, estimates: Estimates, b: int) -> FloatArray:
    """Return Jy/beam for a flux of 1 Jy: area of the beam over that of the source as the band shows it."""
    shown = band.shown(estimates.position, estimates.band_shape(b))
    determinant = shown[:, 0] * shown[:, 2] - shown[:, 1] ** 2
    area = 2.0 * np.pi * np.sqrt(determinant)
    per_flux: FloatArray = band.image.beam.solid_angle * band.gains(shown) / area
    return per_flux
