"""One map: image in, `Extraction` out. Touches no file."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Literal, Unpack

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import QTable, vstack

from hyper_py.arrays import FloatArray
from hyper_py.catalog import empty_catalog, make_catalog, unmeasured_rows
from hyper_py.detection.given import FixedSources, given_peaks, given_shapes
from hyper_py.detection.hot_pixels import are_hot_pixels
from hyper_py.detection.peaks import Peaks
from hyper_py.diagnostics import Flag, InputError
from hyper_py.fitting.binning import binned_beam
from hyper_py.fitting.other_sources import outshines
from hyper_py.geometry import celestial_frame
from hyper_py.image import SkyImage
from hyper_py.noise.covariance import CovarianceModel, beam_covariance_model
from hyper_py.noise.level import NoiseLevel
from hyper_py.noise.measure import measure_noise, outside_sources
from hyper_py.noise.statistics import NoiseStatistics
from hyper_py.numerics import gaussians
from hyper_py.numerics.pairs import pairs_within
from hyper_py.numerics.parallel import once
from hyper_py.numerics.tiles import LazyPlane, sample
from hyper_py.options import OptionChanges, Options
from hyper_py.photometry.measurements import MeasuredMap
from hyper_py.photometry.source_table import SourceTable
from hyper_py.pipeline.both_signs import NO_SOURCES, Found, find_both_signs
from hyper_py.pipeline.defects import mended
from hyper_py.pipeline.measurement import measure_sources
from hyper_py.pipeline.peaks import check_streamable, find_peaks, noise_level
from hyper_py.pipeline.results import ResultMethods
from hyper_py.pipeline.searched import peaks_inside
from hyper_py.stages import OnStage, tell, told_to

if TYPE_CHECKING:
    from regions import Regions


@dataclass(frozen=True, kw_only=True, eq=False)
class Extraction(ResultMethods):
    """What was found and measured on one map.

    Attributes
    ----------
    image : SkyImage
    options : Options
    catalog : astropy.table.QTable
    noise : NoiseLevel
    peaks : Peaks
        The detections, in the order of the catalogue, without those that were left out.
    measured : MeasuredMap, optional
        The table of sources, fits and backgrounds; None when nothing was fitted.
    explained : Peaks, optional
        Detections that side lobes of brighter sources explain; they were not measured.
    vanished : Peaks, optional
        Detections of which the fit left no peak or flux above its own error; they are no sources.
    pieces : Peaks, optional
        Detections that are pieces of a ring or disc, which is one source.
    not_on_map : astropy.table.QTable, optional
        Rows of given sources that are not on the map: a position and a flag.

    Examples
    --------
    >>> import hyper_py
    >>> sky = hyper_py.simulate_image("faint", seed=1, shape=(80, 80), n_sources=3, peak_range=(20, 30))
    >>> extraction = hyper_py.extract_sources(sky.image)
    >>> extraction.catalog["FLUX"].unit
    Unit("mJy")

    Images are in Jy/pixel; the model has the Gaussians only, so that the background stays in the residual:

    >>> rest = sky.image.data - extraction.model_image()
    >>> bool((extraction.residual_image() == rest).all())
    True
    >>> extraction.background_image(extent="plane").shape, extraction.rms_image().shape
    ((80, 80), (80, 80))

    Apertures are regions of the package of that name, which DS9 and CARTA read:

    >>> len(extraction.regions())
    3
    """

    image: SkyImage
    options: Options
    catalog: QTable
    noise: NoiseLevel
    peaks: Peaks
    measured: MeasuredMap | None = None
    explained: Peaks | None = None
    vanished: Peaks | None = None
    pieces: Peaks | None = None
    not_on_map: QTable | None = None

    @property
    def complete_catalog(self) -> QTable:
        """The catalogue with the rows of given sources that are not on the map, in the order of HYPER_ID."""
        if self.not_on_map is None:
            return self.catalog
        rows = vstack([self.catalog, self.not_on_map], metadata_conflicts="silent")
        return rows[np.argsort(np.asarray(rows["HYPER_ID"]), kind="stable")]

    @property
    def rms(self) -> float | FloatArray:
        """Noise level in Jy/pixel: one number, or one a pixel (ny, nx)."""
        return self.noise.rms

    @property
    def sources(self) -> FloatArray:
        """Fitted Gaussians, shape (n, 6), in the order of `hyper_py.numerics.gaussians`."""
        if self.measured is None:
            return np.empty((0, gaussians.N_PARAMETERS))
        return self.measured.sources.parameters

    @cached_property
    def _model(self) -> FloatArray:
        return gaussians.render(self.sources, self.image.shape)

    def model_image(self) -> FloatArray:
        """Return all fitted Gaussians in Jy/pixel, shape (ny, nx)."""
        return self._model.copy()

    def residual_image(self) -> FloatArray:
        """Return map minus model, background left in, in Jy/pixel."""
        return self.image.data - self._model

    def background_image(self, *, extent: Literal["sources", "plane"] = "sources") -> FloatArray:
        """Return the background in Jy/pixel, shape (ny, nx).

        Parameters
        ----------
        extent : {"sources", "plane"}
            "sources": as it was subtracted under and around the sources, NaN elsewhere. "plane": one smooth
            field over the whole map, see `hyper_py.pipeline.cubes.channel_background`.
        """
        if extent not in ("sources", "plane"):
            raise InputError(f"background_image: extent={extent!r}: must be 'sources' or 'plane'")
        if extent == "plane":
            from hyper_py.pipeline.cubes import channel_background

            return channel_background(self, extent="plane")
        ny, nx = self.image.shape
        return self._background_part(slice(0, ny), slice(0, nx))

    def _background_part(self, rows: slice, columns: slice) -> FloatArray:
        if self.measured is None:
            return np.full((rows.stop - rows.start, columns.stop - columns.start), np.nan)
        return self.measured.background_part((rows, columns))

    def rms_image(self) -> FloatArray:
        """Return the noise level in Jy/pixel, shape (ny, nx)."""
        ny, nx = self.image.shape
        return self.noise.part(slice(0, ny), slice(0, nx)).copy()

    def planes(self) -> dict[str, LazyPlane]:
        """Return model, residual, rms and background as these images have them, each made piece by piece."""
        data, shape = self.image.data, self.image.shape
        model = gaussians.drawn(self.sources, shape)
        pieces = {
            "residual": lambda rows, columns: data[rows, columns] - model[rows, columns],
            "rms": self.noise.part,
            "background": self._background_part,
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
    image: SkyImage,
    *,
    options: Options | None = None,
    fixed: FixedSources | None = None,
    progress: OnStage | None = None,
    **changes: Unpack[OptionChanges],
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
    progress : callable, optional
        Called as `progress(stage, done, total)`, with the stages of `hyper_py.stages.SHARES`, such as
        `("fits", 120, 400)`; `total` is 0 where nothing is counted.
    **changes
        Other values of `options`, by the names of its fields: `detection={"sigma_thres": 5}` changes that key
        of the section, a `DetectionOptions` replaces it.

    Returns
    -------
    Extraction
        Its catalogue has one row a source, most significant first (given sources in the order given).

    Raises
    ------
    InputError
        If the map is blank.
    ConfigurationError
        If a value is not allowed, a name is not known, or choices exclude each other.
    """
    options = Options.chosen(options, **changes)
    with told_to(progress):
        return _extracted(image, options, fixed)


def _extracted(image: SkyImage, options: Options, fixed: FixedSources | None) -> Extraction:
    if not image.is_whole:
        check_streamable(image, options)
    elif np.isinf(image.data).any():
        image = image.with_data(np.where(np.isfinite(image.data), image.data, np.nan))
    if not once(lambda: sample(image.data, size=options.tile_size_pix).size):
        raise InputError(f"{image.name}: every pixel is blank: nothing to measure")
    tell("noise")
    if options.detection.defects == "mend":
        image = mended(image, size=options.tile_size_pix)
    noise = noise_level(image, options)
    not_on_map = None
    tell("detection")
    find = partial(_find, noise=noise, options=options)
    if fixed is not None:
        fixed, not_on_map = _on_map(image, fixed, options)
        found = _of_given(image, fixed, noise, options)
    else:
        found = find_both_signs(image, find) if options.detection.negative else find(image)
    if found.measured is not None:
        catalog = make_catalog(found.measured.sources, image, convert_mjy=options.convert_mJy)
    elif len(found.peaks):
        negative = fixed is None and options.detection.negative
        table = _unmeasured(found.peaks, noise, negative=negative)
        catalog = make_catalog(table, image, convert_mjy=options.convert_mJy)
    else:
        catalog = empty_catalog(convert_mjy=options.convert_mJy)
    if fixed is not None:
        name_rows(catalog, fixed)
        catalog["FLAGS"] |= np.where(fixed.below_beam(image.beam), int(Flag.SIZE_BELOW_BEAM), 0)
    hot = are_hot_pixels(
        image.data, x=catalog["X"].value, y=catalog["Y"].value, beam_covariance=image.central_beam_covariance
    )
    catalog["FLAGS"] |= np.where(hot, int(Flag.HOT_PIXEL), 0)
    catalog.meta["frame_of_pa"] = celestial_frame(image.wcs).name
    catalog.meta["noise_model"] = options.fit_options.noise_model
    return Extraction(
        image=image, options=options, catalog=catalog, noise=noise, peaks=found.peaks,
        measured=found.measured, explained=found.explained, vanished=found.vanished, pieces=found.pieces,
        not_on_map=not_on_map,
    )  # fmt: skip


def _of_given(image: SkyImage, fixed: FixedSources, noise: NoiseLevel, options: Options) -> Found:
    """Measure given sources, all of them on the map."""
    peaks = given_peaks(image, fixed, noise)
    if options.detection_only or not len(peaks):
        return Found(peaks=peaks)
    shapes = given_shapes(image, peaks, fixed)
    measured = measure_sources(image, peaks, rms=noise.rms, options=options, forced=True, shapes=shapes)
    return _kept(image, peaks, measured)


def _find(image: SkyImage, beside: FloatArray = NO_SOURCES, *, noise: NoiseLevel, options: Options) -> Found:
    """Find positive sources where they are looked for, and measure them; those `beside` were subtracted."""
    peaks = find_peaks(image, noise, options)
    peaks = peaks.select(outshines(peaks.peak, peaks.x, peaks.y, beside))
    fit: Callable[[SkyImage, Peaks], MeasuredMap] | None = None
    if not options.detection_only:
        fit = partial(measure_sources, rms=noise.rms, options=options, beside=beside)
    on, n_found = image, len(peaks)
    if image.searched is not None:
        n_found = int(np.count_nonzero(image.is_searched(peaks.x, peaks.y)))
        on, peaks = peaks_inside(image, peaks, measure=fit)
    if fit is None or not len(peaks):
        return Found(peaks=peaks)
    measured = fit(on, peaks)
    companions = np.isin(np.arange(len(measured.sources)), np.flatnonzero(measured.given >= n_found))
    return _kept(image, peaks, measured.with_flags(Flag.ADDED_IN_RESIDUAL, companions))


def _kept(image: SkyImage, peaks: Peaks, measured: MeasuredMap) -> Found:
    """Return what was measured of peaks, and those that are no sources of their own."""
    return Found(
        peaks=peaks.select(measured.given), measured=measured, vanished=peaks.select(measured.vanished),
        explained=_explained(peaks, measured, beam_fwhm=image.beam_fwhm_pix),
        pieces=peaks.select(measured.pieces),
    )  # fmt: skip


def _on_map(image: SkyImage, fixed: FixedSources, options: Options) -> tuple[FixedSources, QTable | None]:
    """Return the given sources that are on the map, and rows for the others if there are any."""
    here = fixed.on_map(image)
    if here.all():
        return fixed, None
    others = fixed.only(~here)
    rows = unmeasured_rows(others.sky(image.wcs), name=image.name, convert_mjy=options.convert_mJy)
    rows["FLAGS"][:] = int(Flag.FORCED | Flag.NOT_ON_MAP)
    name_rows(rows, others)
    return fixed.only(here), rows


def name_rows(catalog: QTable, fixed: FixedSources) -> None:
    """Give rows the numbers of given sources, and the user's identifiers if there are any."""
    catalog["HYPER_ID"][:] = fixed.hyper_ids
    if fixed.ids is not None:
        catalog["ID"] = fixed.ids
        catalog["ID"].info.description = "Identifier in the list of given sources"
        catalog["ID"].info.meta = {"ucd": "meta.id"}


def _explained(peaks: Peaks, measured: MeasuredMap, *, beam_fwhm: float) -> Peaks:
    """Return the peaks that were not measured, nor found again in the residual."""
    known = np.concatenate([measured.given, measured.vanished, measured.pieces])
    left_out = peaks.select(np.delete(np.arange(len(peaks)), known))
    centres = measured.sources.parameters[:, [gaussians.X, gaussians.Y]]
    again, _ = pairs_within(centres, np.column_stack([left_out.x, left_out.y]), 0.5 * beam_fwhm)
    return left_out.select(np.delete(np.arange(len(left_out)), again))


def _unmeasured(peaks: Peaks, noise: NoiseLevel, *, negative: bool) -> SourceTable:
    """Return detections with nothing measured but the peak."""
    parameters = np.column_stack([peaks.peak, peaks.x, peaks.y, np.full((len(peaks), 3), np.nan)])
    flags = np.where(negative & (peaks.snr < 0.0), int(Flag.NEGATIVE_SOURCE), 0)
    return replace(
        SourceTable.unmeasured(parameters), local_rms=noise.at(peaks.x, peaks.y), snr=peaks.snr,
        shoulder_score=peaks.shoulder_score, flags=flags,
    )  # fmt: skip


def noise_statistics(extraction: Extraction) -> NoiseStatistics:
    """Return the covariance that the errors of an extraction come from.

    If nothing was fitted, the covariance is measured outside the peaks.
    """
    image, measured = extraction.image, extraction.measured
    beam = image.central_beam_covariance
    if measured is None:
        covariance, step, use = _noise_outside_peaks(extraction, beam), 1, "nothing was fitted"
    else:
        covariance, step = measured.noise.unconditioned, measured.noise_step
        white = extraction.options.fit_options.noise_model == "white"
        use = "errors are for it; the fit took white noise" if white else "the fit's whitener"
    of_beam = beam_covariance_model(
        binned_beam(beam, step), rms=1.0, max_lag=covariance.reach, white_fraction=0.0
    )
    return NoiseStatistics(
        covariance=covariance, step=step, beam=of_beam, beam_fwhm=image.beam_fwhm_pix, use=use
    )


def _noise_outside_peaks(extraction: Extraction, beam: FloatArray) -> CovarianceModel:
    image, peaks = extraction.image, extraction.peaks
    shape = gaussians.shape_parameters(beam)
    sources = np.column_stack([peaks.peak, peaks.x, peaks.y, np.tile(shape, (len(peaks), 1))])
    covariance, _ = measure_noise(
        outside_sources(image.data, sources), beam_covariance=beam, beam_fwhm=image.beam_fwhm_pix,
        relative=image.relative_rms, size=extraction.options.tile_size_pix,
    )  # fmt: skip
    return covariance.unconditioned
