"""From peaks to measured sources on one map; everything in pixels and Jy/pixel.

The fit problem is made here. The measuring itself has two ways: `hyper_py.pipeline.polynomial` for white
noise on a polynomial background, and `hyper_py.pipeline.correlated` for all else.
"""

from dataclasses import replace

import numpy as np

from hyper_py.arrays import FloatArray, IntArray
from hyper_py.background.plane import plane_through
from hyper_py.deblending.grouping import partition_correlated, partition_groups
from hyper_py.detection.peaks import Peaks
from hyper_py.diagnostics import Flag
from hyper_py.fitting.binning import bin_size, binned_problem
from hyper_py.fitting.initial import in_groups
from hyper_py.fitting.problem import MOST_GROWTH, FitProblem
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.image import SkyImage
from hyper_py.noise.level import NoiseLevel
from hyper_py.numerics import gaussians
from hyper_py.numerics.pairs import friends_of_friends
from hyper_py.numerics.tiles import usable
from hyper_py.numerics.trend import Trend
from hyper_py.options import Options
from hyper_py.photometry.kept_sources import above_noise
from hyper_py.photometry.measurements import MeasuredMap
from hyper_py.photometry.source_table import corrected_fluxes, without_errors_at_bounds
from hyper_py.photometry.transforms import on_plane, unbinned
from hyper_py.pipeline.correlated import measure_correlated
from hyper_py.pipeline.polynomial import measure_weighted
from hyper_py.psf.residual import DIRTY_BEAMS, PATTERN_BEAMS

_LARGEST_WHITE_GROUP = 6
"""Larger groups are fitted piecewise in white noise."""
MEASURED_BEAMS = 5.0
"""Up to this size fluxes were shown to be right."""
_COMPACT_BEAMS = 2.0
"""Smaller sources are blended as those of this size are."""
_AT_BOUND_FLAGS = {
    Flag.AMPLITUDE_AT_BOUND: [gaussians.AMPLITUDE],
    Flag.POSITION_AT_BOUND: [gaussians.X, gaussians.Y],
    Flag.SIZE_AT_BOUND: [gaussians.SIGMA_1, gaussians.SIGMA_2],
}


def measure_sources(
    image: SkyImage,
    peaks: Peaks,
    *,
    rms: float | FloatArray,
    options: Options,
    shapes: FloatArray | None = None,
    forced: bool = False,
    beside: FloatArray | None = None,
) -> MeasuredMap:
    """Fit and measure peaks.

    Parameters
    ----------
    image : SkyImage
    peaks : Peaks
    rms : float or ndarray of shape (ny, nx)
        Noise level, Jy/pixel.
    options : Options
    shapes : ndarray, shape (n, 3), optional
        Given sigma_1, sigma_2 (pixels) and theta, kept fixed.
    forced : bool
        Whether the positions were given.
    beside : ndarray, shape (k, 6), optional
        Sources of the other sign that were subtracted from the map.

    Returns
    -------
    MeasuredMap
    """
    problem = fit_problem(image, peaks, rms=rms, options=options, shapes=shapes, forced=forced)
    problem = problem if beside is None else replace(problem, beside=beside)
    measured = _in_white_noise(problem, options) if _is_weighted(options) else _in_noise(problem, options)
    table, own = measured.sources, peaks.select(measured.given)
    centre = table.parameters[:, gaussians.X], table.parameters[:, gaussians.Y]
    labels = blend_labels(table.parameters, options=options, beam_fwhm=image.beam_fwhm_pix)
    sizes = np.bincount(labels, minlength=1)[labels]
    flags = table.flags | np.where(sizes > 1, int(Flag.BLENDED), 0)
    if forced:
        flags |= int(Flag.FORCED)
    for flag, columns in _AT_BOUND_FLAGS.items():
        flags |= np.where(table.at_bound[:, columns].any(axis=1), int(flag), 0)
    widest = FWHM_PER_SIGMA * table.parameters[:, gaussians.SIGMA_1] / problem.beam_fwhm
    flags |= np.where(widest > MEASURED_BEAMS, int(Flag.VERY_WIDE), 0)
    table = without_errors_at_bounds(table)
    flags |= np.where(table.at_bound.any(axis=1), int(Flag.FLUX_AT_BOUND), 0)
    local = NoiseLevel(mean=0.0, rms=rms).at(*centre)
    n_added = len(sizes) - len(own)
    snr = np.append(own.snr, table.parameters[len(own) :, gaussians.AMPLITUDE] / local[len(own) :])
    table = replace(
        table, local_rms=local, snr=snr, n_in_group=sizes.astype(np.int64), flags=flags,
        shoulder_score=np.append(own.shoulder_score, np.full(n_added, np.nan)),
    )  # fmt: skip
    beam_factor = image.beam.flux_factor(_sky_fwhm(image, table.parameters))
    table = corrected_fluxes(
        table, beam_factor=beam_factor, flux_factor=measured.flux_factor,
        aperture_correction=options.photometry.aperture_correction,
    )  # fmt: skip
    return replace(measured, sources=table)


def linking_length(options: Options, beam_fwhm: float) -> float:
    """Return the distance in pixels within which apertures of the largest sources overlap.

    In a new configuration apertures have the sizes of their sources, see `blend_labels`.
    """
    largest = options.largest_size if options.original else min(options.largest_size, _COMPACT_BEAMS)
    return 2.0 * largest * options.photometry.fwhm_radius_ratio * beam_fwhm


def blend_labels(sources: FloatArray, *, options: Options, beam_fwhm: float) -> IntArray:
    """Return the blend of each source, (n, 6): chains of sources whose apertures may overlap."""
    x, y = sources[:, gaussians.X], sources[:, gaussians.Y]
    sizes = None
    if not options.original:
        beams = FWHM_PER_SIGMA * sources[:, gaussians.SIGMA_1] / beam_fwhm
        sizes = np.maximum(np.where(np.isfinite(beams), beams, 1.0) / _COMPACT_BEAMS, 1.0)
    return friends_of_friends(x, y, linking_length=linking_length(options, beam_fwhm), sizes=sizes)


def _in_white_noise(problem: FitProblem, options: Options, *, again: bool = False) -> MeasuredMap:
    """Measure a problem in white noise; what the fit leaves nothing of is no source, and is left out."""
    measured = measure_weighted(problem, options)
    if problem.forced or options.policy.keep_below_noise:
        return measured
    # The whole map is measured again: the second time all that fail go at once.
    kept = ~measured.sources.is_below_noise if again else above_noise(measured, problem.snr)
    if kept.all():
        return measured
    if not kept.any():
        return measured.of_nothing()
    return _in_white_noise(problem.only(kept), options, again=True).among(np.flatnonzero(kept), kept.size)


def _in_noise(problem: FitProblem, options: Options) -> MeasuredMap:
    """Measure a problem in correlated noise, on its map, binned where the beam is wide.

    The plane through it is part of the background, if there is one.
    """
    trend = Trend()
    if options.background.is_subtracted:
        trend = plane_through(
            problem.data, problem.start, beam_fwhm=problem.beam_fwhm, tile_size=problem.tile_size
        )
    size = bin_size(problem.beam_fwhm)
    flat = binned_problem(replace(problem, data=trend.subtracted_from(problem.data)), size)
    return on_plane(unbinned(measure_correlated(flat, options), size), trend)


def _sky_fwhm(image: SkyImage, parameters: FloatArray) -> FloatArray:
    """Return the geometric mean FWHM of Gaussians in arcsec, shape (n,)."""
    jacobian = image.jacobian(parameters[:, gaussians.X], parameters[:, gaussians.Y])
    area = (
        parameters[:, gaussians.SIGMA_1] * parameters[:, gaussians.SIGMA_2] * np.abs(np.linalg.det(jacobian))
    )
    fwhm: FloatArray = FWHM_PER_SIGMA * np.sqrt(area)
    return fwhm


def _is_weighted(options: Options) -> bool:
    return options.fit_options.noise_model == "white" and options.background.method != "conditional"


def fit_problem(
    image: SkyImage,
    peaks: Peaks,
    *,
    rms: float | FloatArray,
    options: Options,
    shapes: FloatArray | None,
    forced: bool,
) -> FitProblem:
    """Return what is to be fitted on a map."""
    ny, nx = image.shape
    fwhm = image.beam_fwhm_pix
    beam = image.beam_covariance(peaks.x, peaks.y)
    # A blank pixel has no peak; not a number would spread to all neighbours.
    peak = np.where(np.isfinite(peaks.peak), peaks.peak, NoiseLevel(mean=0.0, rms=rms).typical)
    size = np.clip(peaks.size, 1.0, options.largest_size)
    shape = gaussians.shape_parameters((size**2)[:, None, None] * beam) if shapes is None else shapes
    start = np.column_stack([peak, peaks.x, peaks.y, shape])
    fixed = np.zeros(start.shape, dtype=bool)
    fixed[:, gaussians.SIGMA_1 :] = shapes is not None
    fixed[:, gaussians.X : gaussians.Y + 1] = forced or not options.fit_options.vary
    psf_residual, shift_pix = image.beam.psf_residual, options.policy.shift_pix
    if _is_weighted(options):
        partition = partition_groups(
            peaks.x, peaks.y, linking_length=linking_length(options, fwhm), max_size=_LARGEST_WHITE_GROUP,
            min_length=0.5 * fwhm,
        )  # fmt: skip
    else:
        partition = partition_correlated(
            peaks.x, peaks.y, beam_fwhm=fwhm, widths=FWHM_PER_SIGMA * start[:, gaussians.SIGMA_1]
        )
    limited = in_groups(partition, len(start)) & (options.has_detected_sizes and not forced)
    reach = int((DIRTY_BEAMS if image.beam.is_dirty else PATTERN_BEAMS) * fwhm)
    return FitProblem(
        data=image.data,
        usable=usable(image.data),
        tile_size=options.tile_size_pix,
        rms=rms,
        relative_rms=image.relative_rms,
        start=start,
        snr=peaks.snr,
        fixed=fixed,
        prior_variance=np.zeros(start.shape),
        shift=0.5 * fwhm * size if shift_pix is None else np.full(len(start), shift_pix),
        largest_sigma=np.where(limited, MOST_GROWTH * start[:, gaussians.SIGMA_1], np.inf),
        partition=partition,
        beam_fwhm=fwhm,
        beam_area=image.beam_area_pix,
        beam_covariance=image.central_beam_covariance,
        forced=forced,
        psf_residual=None if psf_residual is None else psf_residual.on_grid(
            image.jacobian(0.5 * (nx - 1), 0.5 * (ny - 1)), reach=reach
        ),
        psf_is_dirty=image.beam.is_dirty,
    )  # fmt: skip
