"""From peaks to measured sources on one map; everything in pixels and Jy/pixel.

Starting values, bounds and units are made here; the measuring itself has two ways:
`hyper_py.pipeline.polynomial` for white noise on a polynomial background, and
`hyper_py.pipeline.correlated` for all else.
"""

from dataclasses import dataclass

import numpy as np

from hyper_py.arrays import FloatArray
from hyper_py.background.plane import trend_of, with_trend, without_trend
from hyper_py.catalog import Measurement
from hyper_py.deblending.grouping import friends_of_friends, partition_groups
from hyper_py.deblending.model_selection import partition_correlated
from hyper_py.detection.highpass import Peaks
from hyper_py.diagnostics import Flag
from hyper_py.fitting.binning import bin_size, binned_task, unbinned_measurement
from hyper_py.fitting.iterative import FitProblem, Measured
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.image import SkyImage
from hyper_py.numerics import models
from hyper_py.numerics.pairs import pairs_within
from hyper_py.numerics.tiles import Where, is_inside, usable
from hyper_py.numerics.trend import Trend
from hyper_py.options import Options
from hyper_py.pipeline.correlated import measure_correlated
from hyper_py.pipeline.polynomial import measure_weighted
from hyper_py.psf.residual import PATTERN_BEAMS

_LARGEST_WHITE_GROUP = 6
"""Larger groups are fitted piecewise in white noise."""
_AT_BOUND_FLAGS = {
    Flag.AMPLITUDE_AT_BOUND: [models.AMPLITUDE],
    Flag.POSITION_AT_BOUND: [models.X, models.Y],
    Flag.SIZE_AT_BOUND: [models.SIGMA_1, models.SIGMA_2],
}


@dataclass(frozen=True, kw_only=True, eq=False)
class MeasuredField:
    """The sources of a map as measured, and the background pieces that were estimated.

    Attributes
    ----------
    measurement : Measurement
    measured : Measured
    shape : (int, int)
        (ny, nx) of the map.
    peaks : Peaks
        Those of the first sources; the others were added.
    explained : Peaks
        Those that side lobes of brighter sources explain; they were not measured.
    """

    measurement: Measurement
    measured: Measured
    shape: tuple[int, int]
    peaks: Peaks
    explained: Peaks

    def background_image(self) -> FloatArray:
        """Return the background in Jy/pixel, pieces averaged where they overlap; NaN where there is none."""
        return self.background_part((slice(0, self.shape[0]), slice(0, self.shape[1])))

    def background_part(self, where: Where) -> FloatArray:
        """Return a part of `background_image`."""
        rows, columns = where
        shape = rows.stop - rows.start, columns.stop - columns.start
        total, weight = np.zeros(shape), np.zeros(shape)
        for patch in self.measured.patches:
            y, x, values, weights = patch.paint()
            own = is_inside(where, y, x)  # boxes near the border reach beyond it
            if own.any():
                place = y[own] - rows.start, x[own] - columns.start
                total[place] += weights[own] * values[own]
                weight[place] += weights[own]
        background: FloatArray = np.divide(total, weight, out=np.full(shape, np.nan), where=weight > 0.0)
        return background


def measure_sources(
    image: SkyImage,
    peaks: Peaks,
    *,
    rms: float | FloatArray,
    options: Options,
    shapes: FloatArray | None = None,
    forced: bool = False,
) -> MeasuredField:
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

    Returns
    -------
    MeasuredField
    """
    task, linking = make_task(image, peaks, rms=rms, options=options, shapes=shapes, forced=forced)
    measured = measure_weighted(task, options) if _is_classical(options) else _measure_field(task, options)
    own = peaks.select(measured.given)
    centre = measured.parameters[:, models.X], measured.parameters[:, models.Y]
    labels = friends_of_friends(*centre, linking_length=linking)
    sizes = np.bincount(labels, minlength=1)[labels]
    flags = measured.flags | np.where(sizes > 1, int(Flag.BLENDED), 0)
    if forced:
        flags |= int(Flag.FORCED)
    for flag, columns in _AT_BOUND_FLAGS.items():
        flags |= np.where(measured.at_bound[:, columns].any(axis=1), int(flag), 0)
    local = _at_nearest(rms, *centre, image.shape)
    n_added = len(sizes) - len(own)
    snr = np.append(own.snr, measured.parameters[len(own) :, models.AMPLITUDE] / local[len(own) :])
    beyond = image.beam.flux_factor(_sky_fwhm(image, measured.parameters)) * measured.flux_factor
    fraction = measured.aperture_fraction / beyond
    correction = beyond if options.photometry.aperture_correction else measured.aperture_fraction
    # Light beyond the Gaussians was seen to some distance only: how much more there is, is as uncertain.
    unsure = abs(1.0 - 1.0 / measured.flux_factor)
    flux, flux_gauss = measured.flux * correction, models.gaussian_flux(measured.parameters) * beyond
    measurement = Measurement(
        parameters=measured.parameters,
        covariance=measured.covariance,
        flux=flux,
        flux_err=np.hypot(measured.flux_err * correction, unsure * flux),
        flux_gauss=flux_gauss,
        flux_gauss_err=np.hypot(measured.flux_gauss_err * beyond, unsure * flux_gauss),
        aperture_fraction=fraction,
        local_rms=local,
        snr=snr,
        background=measured.background,
        shoulder_score=np.append(own.shoulder_score, np.full(n_added, np.nan)),
        order=measured.order,
        n_in_group=sizes.astype(np.int64),
        n_blank=measured.n_blank,
        status=measured.status,
        flags=flags,
        nmse=measured.nmse,
        chi2_red=measured.chi2_red,
        bic=measured.bic,
    )
    left_out = peaks.select(np.delete(np.arange(len(peaks)), measured.given))
    again, _ = pairs_within(
        np.column_stack(centre), np.column_stack([left_out.x, left_out.y]), 0.5 * image.beam_fwhm_pix
    )
    return MeasuredField(
        measurement=measurement, measured=measured, shape=image.shape, peaks=own,
        explained=left_out.select(np.delete(np.arange(len(left_out)), again)),
    )  # fmt: skip


def _measure_field(task: FitProblem, options: Options) -> Measured:
    """Measure a task in correlated noise, on its map no finer than it need be.

    The plane through it is part of the background, if there is one.
    """
    trend = trend_of(task) if options.background.is_subtracted else Trend()
    size = bin_size(task.beam_fwhm)
    flat = binned_task(without_trend(task, trend), size)
    return with_trend(unbinned_measurement(measure_correlated(flat, options), size), trend)


def _sky_fwhm(image: SkyImage, parameters: FloatArray) -> FloatArray:
    """Return the geometric mean FWHM of Gaussians in arcsec, shape (n,)."""
    jacobian = image.jacobian(parameters[:, models.X], parameters[:, models.Y])
    area = parameters[:, models.SIGMA_1] * parameters[:, models.SIGMA_2] * np.abs(np.linalg.det(jacobian))
    fwhm: FloatArray = FWHM_PER_SIGMA * np.sqrt(area)
    return fwhm


def _is_classical(options: Options) -> bool:
    return options.fit_options.noise_model == "white" and options.background.method != "conditional"


def make_task(
    image: SkyImage,
    peaks: Peaks,
    *,
    rms: float | FloatArray,
    options: Options,
    shapes: FloatArray | None,
    forced: bool,
) -> tuple[FitProblem, float]:
    """Return the task of a map and the linking length of its groups in pixels."""
    ny, nx = image.shape
    fwhm, photometry = image.beam_fwhm_pix, options.photometry
    beam = image.beam_covariance(peaks.x, peaks.y)
    # A blank pixel has no peak; not a number would spread to all neighbours.
    peak = np.where(np.isfinite(peaks.peak), peaks.peak, np.nanmedian(rms))
    start = np.column_stack(
        [peak, peaks.x, peaks.y, models.shape_parameters(beam) if shapes is None else shapes]
    )
    fixed = np.zeros(start.shape, dtype=bool)
    fixed[:, models.SIGMA_1 :] = shapes is not None
    fixed[:, models.X : models.Y + 1] = forced or not options.fit_options.vary
    beyond = image.beam.beyond
    linking = 2.0 * photometry.aper_sup * photometry.fwhm_radius_ratio * fwhm
    if _is_classical(options):
        units = partition_groups(
            peaks.x, peaks.y, linking_length=linking, max_size=_LARGEST_WHITE_GROUP, min_length=0.5 * fwhm
        )
    else:
        units = partition_correlated(peaks.x, peaks.y, beam_fwhm=fwhm)
    task = FitProblem(
        data=image.data,
        usable=usable(image.data),
        tile_size=options.tile_size_pix,
        rms=rms,
        relative_rms=image.relative_rms,
        start=start,
        fixed=fixed,
        assumed=np.zeros(start.shape),
        shift=np.full(len(start), 1.0 if options.original else 0.5 * fwhm),
        units=units,
        beam_fwhm=fwhm,
        beam_area=image.beam_area_pix,
        beam_covariance=image.beam_covariance(0.5 * (nx - 1), 0.5 * (ny - 1)),
        forced=forced,
        beyond=None if beyond is None else beyond.on_grid(
            image.jacobian(0.5 * (nx - 1), 0.5 * (ny - 1)), reach=int(PATTERN_BEAMS * fwhm)
        ),
    )  # fmt: skip
    return task, linking


def _at_nearest(
    values: float | FloatArray, x: FloatArray, y: FloatArray, shape: tuple[int, int]
) -> FloatArray:
    """Return a map's values, or the one value, at the pixels nearest to positions."""
    if not isinstance(values, np.ndarray):
        return np.full(x.shape, values)
    rows = np.clip(np.rint(y).astype(int), 0, shape[0] - 1)
    columns = np.clip(np.rint(x).astype(int), 0, shape[1] - 1)
    nearest: FloatArray = values[rows, columns]
    return nearest
