"""One map: image in, `Extraction` out. Touches no file."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import QTable
from numpy.typing import ArrayLike, NDArray

from hyper_py.catalog import Measurement, empty_catalog, make_catalog
from hyper_py.detection.matched import detect_matched
from hyper_py.diagnostics import ConfigurationError, InputError
from hyper_py.geometry import (
    FWHM_PER_SIGMA,
    Ellipse,
    FloatArray,
    celestial_frame,
    pixel_ellipse_from_sky,
    pixel_from_celestial,
)
from hyper_py.image import SkyImage
from hyper_py.numerics import models
from hyper_py.numerics.blocks import LazyPlane, at, sample
from hyper_py.numerics.noise import clipped_statistics, local_rms_map
from hyper_py.options import Options, check_options
from hyper_py.pipeline.measurement import MeasuredField, measure_sources
from hyper_py.steps.detection import Peaks, detect_high_pass

if TYPE_CHECKING:
    from regions import Regions

IntArray: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class FixedSources:
    """Positions, and apertures if given, that are measured instead of detected ones.

    Attributes
    ----------
    longitude, latitude : ndarray, shape (n,)
        Degrees.
    frame : str
        "map" for the map's own frame, or an astropy frame name such as "icrs".
    fwhm_1, fwhm_2, pa : ndarray, shape (n,) or (1,), optional
        Shape in arcsec and degrees east of north; None leaves it to the fit. One value serves all.
    """

    longitude: FloatArray
    latitude: FloatArray
    frame: str = "map"
    fwhm_1: FloatArray | None = None
    fwhm_2: FloatArray | None = None
    pa: FloatArray | None = None

    def pixels(self, wcs: Any) -> tuple[FloatArray, FloatArray]:
        """Return x, y on a map; NaN where its coordinates do not reach."""
        longitude, latitude = self.longitude, self.latitude
        if self.frame != "map":
            sky = SkyCoord(longitude, latitude, unit="deg", frame=self.frame)
            own = sky.transform_to(celestial_frame(wcs)).spherical
            longitude, latitude = own.lon.deg, own.lat.deg
        x, y = pixel_from_celestial(wcs, longitude, latitude)
        return x, y


@dataclass(frozen=True, kw_only=True)
class NoiseLevel:
    """Mean of the map and its noise: one number, or one a pixel; Jy/pixel."""

    mean: float
    rms: float | FloatArray

    @property
    def typical(self) -> float:
        """Median rms over the map."""
        return float(np.nanmedian(self.rms))

    def at(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Return the rms at the pixels nearest to positions of shape (n,)."""
        if not isinstance(self.rms, np.ndarray):
            return np.full(x.shape, self.rms)
        ny, nx = self.rms.shape
        rows = np.clip(np.rint(y).astype(int), 0, ny - 1)
        columns = np.clip(np.rint(x).astype(int), 0, nx - 1)
        values: FloatArray = self.rms[rows, columns]
        return values


@dataclass(frozen=True, kw_only=True, eq=False)
class Extraction:
    """What was found and measured on one map.

    Attributes
    ----------
    image : SkyImage
    options : Options
    catalog : astropy.table.QTable
    noise : NoiseLevel
    peaks : Peaks
        The detections, in the order of the catalogue, without those that side lobes explain.
    field : MeasuredField, optional
        Fits and backgrounds; None when nothing was fitted.
    """

    image: SkyImage
    options: Options
    catalog: QTable
    noise: NoiseLevel
    peaks: Peaks
    field: MeasuredField | None

    @property
    def rms(self) -> float | FloatArray:
        """Noise level in Jy/pixel: one number, or one a pixel."""
        return self.noise.rms

    @property
    def sources(self) -> FloatArray:
        """Fitted Gaussians, shape (n, 6), in the order of `hyper_py.numerics.models`."""
        return np.empty((0, models.N_PARAMETERS)) if self.field is None else self.field.measurement.parameters

    @cached_property
    def _model(self) -> FloatArray:
        return models.render(self.sources, self.image.shape)

    def model_image(self) -> FloatArray:
        """Return all fitted Gaussians in Jy/pixel, shape (ny, nx)."""
        return self._model.copy()

    def residual_image(self) -> FloatArray:
        """Return map minus model, background left in, in Jy/pixel."""
        return self.image.data - self._model

    def background_image(self) -> FloatArray:
        """Return the background under and around the sources in Jy/pixel; NaN where none was estimated."""
        if self.field is None:
            return np.full(self.image.shape, np.nan)
        return self.field.background_image()

    def rms_image(self) -> FloatArray:
        """Return the noise level in Jy/pixel, shape (ny, nx)."""
        return np.broadcast_to(np.asarray(self.noise.rms, dtype=np.float64), self.image.shape).copy()

    def planes(self) -> dict[str, LazyPlane]:
        """Return model, residual, rms and background as these images have them, each made piece by piece."""
        data, shape = self.image.data, self.image.shape
        model = models.drawn(self.sources, shape)

        def background(rows: slice, columns: slice) -> FloatArray:
            if self.field is None:
                return np.full((rows.stop - rows.start, columns.stop - columns.start), np.nan)
            return self.field.background_part((rows, columns))

        pieces = {
            "residual": lambda rows, columns: data[rows, columns] - model[rows, columns],
            "rms": lambda rows, columns: np.full(
                (rows.stop - rows.start, columns.stop - columns.start), self.noise.typical
            ),
            "background": background,
        }
        return {"model": model} | {what: LazyPlane(shape, make) for what, make in pieces.items()}

    def regions(self) -> "Regions":
        """Return the sources' apertures as sky regions in ICRS, with their HYPER_ID as text."""
        from regions import EllipseSkyRegion, RegionMeta, Regions

        table, ratio = self.catalog, self.options.photometry.fwhm_radius_ratio
        return Regions(
            [
                EllipseSkyRegion(
                    SkyCoord(row["RA"], row["DEC"], frame="icrs"),
                    width=2.0 * ratio * row["FWHM_2"],
                    height=2.0 * ratio * row["FWHM_1"],
                    angle=row["PA"],
                    meta=RegionMeta(text=str(row["HYPER_ID"])),
                )
                for row in table
                if np.isfinite(row["FWHM_1"].value)
            ]
            if len(table)
            else []
        )


def extract_sources(
    image: SkyImage, *, options: Options | None = None, fixed: FixedSources | None = None
) -> Extraction:
    """Find the compact sources of a map and measure them.

    Parameters
    ----------
    image : SkyImage
        From `hyper_py.read_image`, or made from an array, a WCS and a beam.
    options : Options, optional
        Default: those of a new configuration.
    fixed : FixedSources, optional
        Measure these instead of detecting.

    Returns
    -------
    Extraction
        Its catalogue has one row a source, brightest first (given sources in the order given).

    Raises
    ------
    InputError
        If the map is blank.
    ConfigurationError
        If options exclude each other.
    """
    options = options or Options()
    check_options(options)
    if not image.is_whole:
        check_streamable(image, options)
    elif np.isinf(image.data).any():
        image = image.with_data(np.where(np.isfinite(image.data), image.data, np.nan))
    if not sample(image.data, size=options.tile_size_pix).size:
        raise InputError(f"{image.name}: every pixel is blank: nothing to measure")
    noise = noise_level(image, options)
    facts: dict[str, float] = {}
    if fixed is not None:
        peaks = given_peaks(image, fixed, noise)
    else:
        peaks, facts = find_peaks(image, noise, options)
    if len(peaks) == 0:
        catalog, measured = empty_catalog(convert_mjy=options.convert_mJy), None
    elif options.detection_only:
        catalog = make_catalog(_unmeasured(peaks, noise), image, convert_mjy=options.convert_mJy)
        measured = None
    else:
        measured = measure_sources(
            image, peaks, rms=noise.rms, options=options, shapes=_given_shapes(image, peaks, fixed),
            forced=fixed is not None,
        )  # fmt: skip
        catalog = make_catalog(measured.measurement, image, convert_mjy=options.convert_mJy)
        peaks = measured.peaks
    catalog.meta["frame_of_pa"] = celestial_frame(image.wcs).name
    catalog.meta["noise_model"] = options.fit_options.noise_model
    catalog.meta.update(facts)
    return Extraction(image=image, options=options, catalog=catalog, noise=noise, peaks=peaks, field=measured)


def check_streamable(image: SkyImage, options: Options) -> None:
    """Refuse choices that need the whole map in memory for a map of which the pixels stay in their file.

    Raises
    ------
    ConfigurationError
        Says which.
    """
    demands = {
        "detection.method": (options.detection.method, "matched"),
        "detection.rms_map": (options.detection.rms_map, "global"),
        "fit_options.noise_model": (options.fit_options.noise_model, "correlated"),
        "background.method": (options.background.method, "conditional"),
    }
    if options.detection_only:
        demands = {key: demands[key] for key in list(demands)[:2]}
    for key, (given, needed) in demands.items():
        if given != needed:
            raise ConfigurationError(
                f"{image.name}: {key} = {given} needs the whole map in memory, which is more than "
                f"control.max_memory: set that higher, or {key}: {needed}"
            )


def noise_level(image: SkyImage, options: Options) -> NoiseLevel:
    """Return mean and rms of a map as the options say: given, from its error map, or measured.

    On a map with a primary beam it is measured where the noise is even, and then divided by the response.
    """
    detection = options.detection
    size = options.tile_size_pix
    mean = clipped_statistics(sample(image.data, size=size)).mean
    if detection.use_manual_rms:
        unit = 1e-3 if options.original and options.convert_mJy else 1.0
        return NoiseLevel(mean=mean, rms=detection.rms_value * unit)
    if image.error is not None and image.relative_noise is not None:
        known = np.isfinite(image.data) & np.isfinite(image.error)
        return NoiseLevel(mean=mean, rms=float(np.median(image.error[known])) * image.relative_noise)
    rms: float | FloatArray = clipped_statistics(sample(image.even_noise, size=size)).rms
    if detection.rms_map == "local":
        mesh = max(round(detection.rms_mesh_beams * image.beam_fwhm_pix), 8)
        rms = local_rms_map(image.even_noise, mesh=mesh)
    return NoiseLevel(mean=mean, rms=rms if image.relative_noise is None else rms * image.relative_noise)


def find_peaks(image: SkyImage, noise: NoiseLevel, options: Options) -> tuple[Peaks, dict[str, float]]:
    """Detect peaks as section `detection` of the options says, where the noise is even.

    Returns
    -------
    peaks : Peaks
    facts : dict
        For the metadata of the catalogue: `local_spectrum_gain`, the share of the filtered map's variance
        that following the local spectrum takes off, where it is followed.
    """
    if not noise.typical > 0.0:
        raise InputError(f"{image.name}: the map does not vary: nothing to detect")
    detection = options.detection
    ny, nx = image.shape
    common: dict[str, Any] = {
        "beam_covariance": image.beam_covariance(0.5 * (nx - 1), 0.5 * (ny - 1)),
        "sigma_threshold": detection.sigma_thres,
        "roundlim": detection.roundlim,
        "sharplim": detection.sharplim,
        "min_distance": detection.dist_limit_arcsec / image.pixel_scale,
        "margin": options.photometry.aper_inf * image.beam_fwhm_pix,
        "shoulder_threshold": detection.shoulder_threshold if detection.shoulder_filter else None,
        "shoulder_ring_factor": detection.shoulder_ring_factor,
        "shoulder_n_angles": detection.shoulder_n_angles,
        "shoulder_neighbor_mask": detection.shoulder_neighbor_mask,
    }
    data, relative = image.even_noise, image.relative_noise
    facts, size = {}, options.tile_size_pix
    if detection.method == "matched":
        peaks = detect_matched(data, max_false_rate=detection.max_false_rate, size=size, **common)
    else:
        peaks = detect_high_pass(
            data,
            rms=noise.rms if relative is None else noise.rms / relative,
            kernel_size=detection.kernel_size_pix,
            snap_radius=detection.snap_radius_pix,
            **common,
        )
    if relative is not None:
        peaks = replace(peaks, peak=peaks.peak * NoiseLevel(mean=0.0, rms=relative).at(peaks.x, peaks.y))
    return peaks, facts


def given_peaks(image: SkyImage, fixed: FixedSources, noise: NoiseLevel) -> Peaks:
    """Turn given positions into peaks.

    Raises
    ------
    InputError
        If a position is not on the map.
    """
    longitude, latitude = fixed.longitude, fixed.latitude
    x, y = fixed.pixels(image.wcs)
    ny, nx = image.shape
    inside = (x > -0.5) & (x < nx - 0.5) & (y > -0.5) & (y < ny - 0.5)
    if not inside.all():
        k = int(np.flatnonzero(~inside)[0])
        raise InputError(
            f"{image.name}: given source {k + 1} at ({longitude[k]:.6f}, {latitude[k]:.6f}) deg "
            f"is not on the map ({int((~inside).sum())} of {inside.size} are not): remove it from the list"
        )
    peak = at(image.data, np.rint(y).astype(int), np.rint(x).astype(int)) - noise.mean
    nothing = np.full(x.shape, np.nan)
    return Peaks(
        x=x, y=y, peak=peak, snr=peak / noise.at(x, y), roundness=nothing, roundness_marginal=nothing,
        sharpness=nothing, shoulder_score=nothing,
    )  # fmt: skip


def _given_shapes(image: SkyImage, peaks: Peaks, fixed: FixedSources | None) -> FloatArray | None:
    """Return (sigma_1, sigma_2, theta) in pixels of given apertures, shape (n, 3)."""
    if fixed is None or fixed.fwhm_1 is None:
        return None
    jacobian = image.jacobian(peaks.x, peaks.y)

    def column(values: ArrayLike | None, default: ArrayLike) -> FloatArray:
        chosen = default if values is None else values
        return np.broadcast_to(np.asarray(chosen, dtype=np.float64), peaks.x.shape)

    major = column(fixed.fwhm_1, 0.0)
    ellipse = pixel_ellipse_from_sky(
        Ellipse(major, column(fixed.fwhm_2, major), column(fixed.pa, 0.0)), jacobian
    )
    return np.column_stack([ellipse.major / FWHM_PER_SIGMA, ellipse.minor / FWHM_PER_SIGMA, ellipse.angle])


def _unmeasured(peaks: Peaks, noise: NoiseLevel) -> Measurement:
    """Return detections with the shape of the beam and nothing measured but the peak."""
    n = len(peaks)
    nothing, zero = np.full(n, np.nan), np.zeros(n, dtype=np.int64)
    shape = np.full((n, 3), np.nan)
    parameters = np.column_stack([peaks.peak, peaks.x, peaks.y, shape])
    return Measurement(
        parameters=parameters,
        covariance=np.full((n, models.N_PARAMETERS, models.N_PARAMETERS), np.nan),
        flux=nothing, flux_err=nothing, flux_gauss=nothing, flux_gauss_err=nothing, aperture_fraction=nothing,
        local_rms=noise.at(peaks.x, peaks.y), snr=peaks.snr, background=nothing,
        shoulder_score=peaks.shoulder_score, order=zero - 1, n_in_group=zero + 1, n_blank=zero,
        status=zero, flags=zero, nmse=nothing, chi2_red=nothing, bic=nothing,
    )  # fmt: skip
