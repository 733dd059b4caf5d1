"""Several maps of one field: images in, `BandsExtraction` out. Touches no file."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Unpack

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import QTable
from numpy.typing import NDArray

from hyper_py.arrays import FloatArray
from hyper_py.bands.aperture import CommonApertures, common_apertures
from hyper_py.bands.band import Band, common_plane
from hyper_py.bands.catalog import JointTable, column_suffixes
from hyper_py.bands.estimates import Estimates
from hyper_py.bands.given import given_sources
from hyper_py.bands.images import BandImage, check_names, reference_band
from hyper_py.bands.joint_fit import FitChoices, fit_jointly, wide_prior
from hyper_py.bands.offsets import BandOffsets, OffsetChoices
from hyper_py.bands.refine import align, joint_sources, on_maps, refine
from hyper_py.bands.search import SearchChoices, find_sources
from hyper_py.bands.shapes import sky_ellipses
from hyper_py.bands.sources import JointSources
from hyper_py.bands.spectra import GreyBodies, SpectralIndices, fit_grey_bodies, spectral_indices
from hyper_py.bands.surroundings import background_under
from hyper_py.detection.given import FixedSources
from hyper_py.diagnostics import ConfigurationError, InputError
from hyper_py.display import shows_keywords
from hyper_py.fitting.binning import bin_size
from hyper_py.fitting.setup import COMPACT_BEAMS
from hyper_py.image import SkyImage, checked_image
from hyper_py.noise.covariance import beam_covariance_model, clipped_statistics
from hyper_py.noise.level import NoiseLevel
from hyper_py.noise.statistics import NoiseStatistics
from hyper_py.numerics import gaussians
from hyper_py.options import OptionChanges, Options
from hyper_py.pipeline.bands_results import BandsResultMethods
from hyper_py.pipeline.defects import mended
from hyper_py.pipeline.peaks import check_noise
from hyper_py.stages import tell

if TYPE_CHECKING:
    from regions import Regions


@dataclass(frozen=True, kw_only=True, eq=False)
class MeasuredBand:
    """One band of a field with the sources that were fitted in it.

    Attributes
    ----------
    band : BandImage
    noise : NoiseStatistics
        Its covariance is in (Jy/pixel)^2.
    parameters : ndarray, shape (n, 6)
        The Gaussian of each source in pixels of this map (`hyper_py.numerics.gaussians`), its amplitude in
        Jy/pixel, 0 where the map does not see the source.
    shape : ndarray, shape (n, 3)
        Covariance xx, xy, yy in arcsec^2 of the source as the band shows it, beam included.
    pattern : ndarray, shape (ny, nx), optional
        What the image of the PSF adds to the Gaussians, in Jy/pixel.
    background : ndarray, shape (ny, nx), optional
        Jy/pixel, under and around the sources; NaN where none was estimated.
    """

    band: BandImage
    noise: NoiseStatistics
    parameters: FloatArray
    shape: FloatArray
    pattern: FloatArray | None = None
    background: FloatArray | None = None

    @cached_property
    def _model(self) -> FloatArray:
        model = gaussians.render(self.parameters, self.band.image.shape)
        return model if self.pattern is None else model + self.pattern

    def model_image(self) -> FloatArray:
        """Return all sources in Jy/pixel, shape (ny, nx)."""
        return self._model.copy()

    def residual_image(self) -> FloatArray:
        """Return map minus model, background left in, in Jy/pixel."""
        return self.band.image.data - self._model


@dataclass(frozen=True, kw_only=True, eq=False)
class BandsExtraction(BandsResultMethods):
    """What was found and measured on the maps of one field.

    Attributes
    ----------
    measured : tuple of MeasuredBand
        In the order given.
    options : Options
    sources : JointSources
    offsets : BandOffsets
    apertures : CommonApertures, optional
        With `bands.common_aperture`.
    name : str
        Of the field.
    ids : ndarray of str, shape (n,), optional
        Identifiers of given sources; the column ID of the catalogue.

    Examples
    --------
    >>> import hyper_py
    >>> field = hyper_py.simulate_bands(seed=1, size=500.0, n_sources=4, pair_fraction=0.0)
    >>> images = {name: field[name].image for name in ("s250", "s350")}
    >>> found = hyper_py.extract_bands(images, wavelengths={"s250": 250, "s350": 350})
    >>> [band.name for band in found.bands]
    ['s250', 's350']
    >>> len(found.long_catalog) == 2 * len(found.catalog)
    True
    >>> found.residual_image("s250").shape == images["s250"].shape
    True
    """

    measured: tuple[MeasuredBand, ...]
    options: Options
    sources: JointSources
    offsets: BandOffsets
    apertures: CommonApertures | None = None
    name: str = "bands"
    ids: NDArray[np.str_] | None = None

    @property
    def bands(self) -> tuple[BandImage, ...]:
        """The maps, in the order given."""
        return tuple(one.band for one in self.measured)

    @property
    def wavelengths(self) -> list[float]:
        """Micron, in the order of the bands."""
        return [band.wavelength for band in self.bands]

    def band(self, name: str) -> MeasuredBand:
        """Return one band by its name.

        Raises
        ------
        InputError
            If there is none of this name.
        """
        for one in self.measured:
            if one.band.name == name:
                return one
        names = ", ".join(band.name for band in self.bands)
        raise InputError(f"{name}: no band of this name; there are {names}")

    def model_image(self, name: str) -> FloatArray:
        """Return all sources of a band in Jy/pixel, shape (ny, nx)."""
        return self.band(name).model_image()

    def residual_image(self, name: str) -> FloatArray:
        """Return the map of a band minus its model, background left in, in Jy/pixel."""
        return self.band(name).residual_image()

    def background_image(self, name: str) -> FloatArray:
        """Return the background of a band in Jy/pixel; NaN where none was estimated."""
        one = self.band(name)
        return np.full(one.band.image.shape, np.nan) if one.background is None else one.background.copy()

    @cached_property
    def spectral_indices(self) -> SpectralIndices:
        """Spectral indices between adjacent bands."""
        return spectral_indices(self.sources.flux, self.sources.flux_covariance, wavelengths=self.wavelengths)

    @cached_property
    def grey_bodies(self) -> GreyBodies | None:
        """Grey bodies fitted to the spectra; None without `bands.grey_body`."""
        if not self.options.bands.grey_body:
            return None
        return fit_grey_bodies(
            self.sources.flux, self.sources.flux_covariance, wavelengths=self.wavelengths,
            beta=self.options.bands.beta, calibration_errors=[band.calibration_error for band in self.bands],
        )  # fmt: skip

    @property
    def table(self) -> JointTable:
        """What the catalogues are made of."""
        return JointTable(
            name=self.name, bands=self.bands, sources=self.sources,
            shapes=[one.shape for one in self.measured], offsets=self.offsets,
            indices=self.spectral_indices, apertures=self.apertures,
            grey_bodies=self.grey_bodies, free_shapes=self.options.bands.shape == "free",
            convert_mjy=self.options.convert_mJy, ids=self.ids,
        )  # fmt: skip

    @cached_property
    def catalog(self) -> QTable:
        """The catalogue with one row a source; columns of a band have its name after them: FLUX_s500."""
        return self.table.wide()

    @cached_property
    def long_catalog(self) -> QTable:
        """The catalogue with one row a source and band."""
        return self.table.long()

    def regions(self, name: str) -> "Regions":
        """Return the sources that a band sees as sky regions in ICRS: their FWHM in it, HYPER_ID as text."""
        from regions import EllipseSkyRegion, RegionMeta, Regions

        b = [band.name for band in self.bands].index(self.band(name).band.name)
        ra, dec = self.sources.sky
        major, minor, angle = sky_ellipses(self.measured[b].shape)
        return Regions(
            [
                EllipseSkyRegion(
                    SkyCoord(ra[i], dec[i], unit="deg", frame="icrs"),
                    width=minor[i] * u.arcsec, height=major[i] * u.arcsec, angle=angle[i] * u.deg,
                    meta=RegionMeta(text=str(i + 1)),
                )
                for i in np.flatnonzero(self.sources.seen[:, b])
            ]
        )  # fmt: skip


_LIST_AGAIN = 0.05
"""The list is made again when offsets, in beams, are clearly so much other than it was made with."""
_PATTERN_FITS = 2
"""Fits of all sources on maps less what images of the PSF add to them."""


@shows_keywords(OptionChanges)
def extract_bands(
    images: Sequence[BandImage] | Mapping[str, SkyImage],
    *,
    wavelengths: Mapping[str, float] | None = None,
    options: Options | None = None,
    fixed: FixedSources | None = None,
    name: str = "bands",
    progress: Callable[[str], None] | None = None,
    **changes: Unpack[OptionChanges],
) -> BandsExtraction:
    """Find and measure the sources of one field in several bands: what `hyper_py.extract_bands` does.

    Parameters
    ----------
    images : sequence of BandImage, or mapping of name to SkyImage
    fixed : FixedSources, optional
        Measure these instead of searching.
    progress : callable, optional
        Called with a line of text at each step.
    wavelengths, options, name, **changes
        As there.

    Returns
    -------
    BandsExtraction

    Raises
    ------
    InputError, ConfigurationError
        As there.
    """
    options = Options.chosen(options, **changes)
    bands = _band_images(images, wavelengths)
    check_names(bands)
    column_suffixes([band.name for band in bands])
    check_aperture(options.bands.common_aperture, [band.name for band in bands])
    if options.detection.negative:
        raise ConfigurationError(
            "detection.negative: sources of several bands are positive; for others measure each map by itself"
        )
    say = progress or (lambda _: None)
    bands = [_usable(band, options, detected=fixed is None) for band in bands]
    plane = common_plane(bands)
    placed = [Band.of(band, plane) for band in bands]
    placed = [_in_bins(band) for band in placed]
    free = options.bands.shape == "free"
    largest = options.photometry.aper_sup or COMPACT_BEAMS
    fit = FitChoices(prior=wide_prior(placed, free=free), largest=max(largest**2 - 1.0, 0.0))
    reference = reference_band(bands)
    aligning = (
        OffsetChoices(reference=reference) if options.bands.measure_offsets and len(bands) > 1 else None
    )
    offsets = BandOffsets.none(len(bands), reference=reference)
    spectra: FloatArray | None = None
    if fixed is None:
        choices = SearchChoices(
            threshold=options.bands.sigma_thres, temperatures=options.bands.temperatures,
            beta=1.8 if options.bands.beta is None else options.bands.beta, fit=fit, offsets=aligning,
        )  # fmt: skip
        estimates, placed, offsets = _listed(placed, choices=choices, offsets=offsets, say=say)
        spectra = choices.spectra(placed)
    else:
        estimates = given_sources(placed, fixed, plane)
        fit = replace(fit, fixed_position=True, fixed_shape=fixed.fwhm_1 is not None)
        placed = _with_first_noise(placed, estimates)
        if aligning is not None and len(estimates):
            estimates, placed, offsets = align(placed, estimates, fit=fit, choices=aligning)
    say(f"{len(estimates)} sources listed; last fits")
    tell("first fits")
    estimates, placed, patterns = _fitted(placed, estimates, fit=fit, free=free, spectra=spectra)
    estimates, placed = on_maps(placed, estimates, patterns)
    say(f"{len(estimates)} sources fitted")
    tell("apertures")
    sources = joint_sources(placed, estimates, plane)
    apertures = None
    if options.bands.common_aperture != "none":
        apertures = common_apertures(
            placed, estimates, band=options.bands.common_aperture,
            radius_in_fwhm=options.photometry.fwhm_radius_ratio,
        )  # fmt: skip
    return BandsExtraction(
        measured=tuple(
            _measured(image, band, estimates, b, pattern)
            for b, (image, band, pattern) in enumerate(zip(bands, placed, patterns, strict=True))
        ),
        options=options, sources=sources, offsets=offsets, apertures=apertures, name=name,
        ids=None if fixed is None else fixed.ids,
    )  # fmt: skip


def _usable(band: BandImage, options: Options, *, detected: bool) -> BandImage:
    """Return a band without its defects: taken for sources, which others must show, they would move maps.

    Raises
    ------
    InputError
        It is blank, or sources shall be detected and it has no noise.
    """
    image = replace(band.image, name=band.name)
    if not np.isfinite(image.data).any():
        raise InputError(f"{band.name}: every pixel is blank: nothing to measure")
    if options.detection.defects == "mend":
        image = mended(image)
    if detected:
        statistics = clipped_statistics(image.data)
        check_noise(image, NoiseLevel(mean=statistics.mean, rms=statistics.rms), options)
    return replace(band, image=replace(image, name=band.image.name))


def check_aperture(aperture: str, names: Sequence[str]) -> None:
    """Check the name of a common aperture against those of the bands.

    Raises
    ------
    ConfigurationError
        If it is neither none, largest nor the name of a band.
    """
    if aperture not in ("none", "largest", *names):
        raise ConfigurationError(
            f"bands.common_aperture = {aperture!r}: must be none, largest, or a band: {', '.join(names)}"
        )


def _band_images(
    images: Sequence[BandImage] | Mapping[str, SkyImage], wavelengths: Mapping[str, float] | None
) -> list[BandImage]:
    if not isinstance(images, Mapping):
        if not isinstance(images, Sequence) or not all(isinstance(one, BandImage) for one in images):
            raise InputError(
                "images: give maps by the names of their bands, {'s250': image, ...}, or a list of BandImage"
            )
        return list(images)
    for name, image in images.items():
        checked_image(image, name=f"images[{name!r}]")
    if wavelengths is not None and not isinstance(wavelengths, Mapping):
        raise InputError("wavelengths=: give them by the names of the bands: {'s250': 250, ...}, in micron")
    lacking = [name for name in images if name not in (wavelengths or {})]
    if lacking:
        raise InputError(
            f"{lacking[0]}: its wavelength is not known: give it in micron, "
            f"wavelengths={{{lacking[0]!r}: ...}}"
        )
    return [
        BandImage(name=name, image=image, wavelength=(wavelengths or {})[name])
        for name, image in images.items()
    ]


def _in_bins(band: Band) -> Band:
    """Return a band as it is fitted: on bins of pixels where its beam is many pixels wide."""
    binned = band.binned(bin_size(band.beam_fwhm_pix))
    return binned if np.isfinite(binned.data).any() else band


def _listed(
    bands: list[Band], *, choices: SearchChoices, offsets: BandOffsets, say: Callable[[str], None]
) -> tuple[Estimates, list[Band], BandOffsets]:
    """Return sources and aligned bands; the list is made again if it was made with other offsets."""
    for _ in range(2):
        estimates, found_with = find_sources(bands, choices=choices, progress=say)
        if choices.offsets is None or not len(estimates):
            return estimates, found_with, offsets
        estimates, aligned, offsets = align(found_with, estimates, fit=choices.fit, choices=choices.offsets)
        bands = aligned
        change = np.array([new.offset - old.offset for new, old in zip(aligned, found_with, strict=True)])
        clear = (np.abs(change) > 3.0 * np.nan_to_num(offsets.errors, nan=np.inf)).any(axis=1)
        share = np.where(clear, np.hypot(*change.T) / np.array([band.fwhm for band in aligned]), 0.0)
        if share.max() <= _LIST_AGAIN:
            break
        say(f"maps are off by up to {share.max():.2f} beams more: the list is made again")
    return estimates, aligned, offsets


def _with_first_noise(bands: Sequence[Band], estimates: Estimates) -> list[Band]:
    """Return the bands with their noise measured outside given sources, which are not fitted yet."""
    return [
        band.with_noise_outside(band.gaussians(estimates.position, estimates.shape, np.zeros(len(estimates))))
        for band in bands
    ]


def _fitted(
    bands: list[Band], estimates: Estimates, *, fit: FitChoices, free: bool, spectra: FloatArray | None
) -> tuple[Estimates, list[Band], list[FloatArray | None]]:
    """Return the sources of the last fit, on maps less what images of the PSF add to them.

    Without `spectra` they are given sources, which all stay.
    """
    patterns: list[FloatArray | None] = [None] * len(bands)
    known = any(band.image.beam.psf_residual is not None for band in bands)
    for _ in range(_PATTERN_FITS if known else 0):
        estimates = fit_jointly(bands, estimates, choices=fit, max_iterations=2).estimates
        patterns = [band.pattern(estimates.gaussians(band.binned(1), b)) for b, band in enumerate(bands)]
        bands = [band.less(pattern) for band, pattern in zip(bands, patterns, strict=True)]
    forced = spectra is None
    estimates, bands, _ = refine(
        bands, estimates, fit=fit, free=free, spectra=spectra, fitted=known or not forced, keep_all=forced
    )
    return estimates, bands, patterns


def _measured(
    image: BandImage, band: Band, estimates: Estimates, b: int, pattern: FloatArray | None
) -> MeasuredBand:
    """Return a band with the sources as it shows them."""
    assert band.noise is not None
    beam = image.image.central_beam_covariance
    of_beam = beam_covariance_model(beam, rms=1.0, max_lag=band.noise.covariance.reach, white_fraction=0.0)
    size = bin_size(image.image.beam_fwhm_pix)
    noise = NoiseStatistics(
        covariance=band.noise.covariance, step=1, beam=of_beam, beam_fwhm=image.image.beam_fwhm_pix,
        use="the sources were fitted in it" + (f", on bins of {size} x {size} pixels" if size > 1 else ""),
    )  # fmt: skip
    parameters = estimates.gaussians(band, b)
    return MeasuredBand(
        band=image, noise=noise, parameters=parameters,
        shape=band.shown(estimates.position, estimates.band_shape(b)), pattern=pattern,
        background=background_under(band, parameters, estimates.seen[:, b]),
    )  # fmt: skip
