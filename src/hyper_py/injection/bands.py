"""How complete the catalogue of several bands is: sources with its own spectra, injected into all maps."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree

from hyper_py.arrays import BoolArray, FloatArray
from hyper_py.bands.band import Band
from hyper_py.bands.images import BandImage, reference_band
from hyper_py.bands.plane import TangentPlane
from hyper_py.diagnostics import InputError
from hyper_py.injection.curve import CompletenessCurve, completeness_curve
from hyper_py.injection.drawing import FluxRange
from hyper_py.injection.plan import InjectionPlan
from hyper_py.injection.recovery import TOLERANCE_BEAMS, inject, match_new_rows
from hyper_py.injection.sensitivity import Sensitivity, measure_sensitivity
from hyper_py.injection.setup import (
    BEAMS_PER_SOURCE,
    FEWEST,
    LEAST_ROOM,
    SEPARATION_BEAMS,
    SHARE_OF_SOURCES,
    pickled_copy,
)
from hyper_py.numerics import gaussians
from hyper_py.options import Options
from hyper_py.pipeline.bands import BandsExtraction, MeasuredBand, extract_bands
from hyper_py.validation.comparison import robust_sigma

_LEAST_SNR = 8.0
_FEWEST_SPECTRA = 5
_ROUNDS = 50
FIRST_RANGE = FluxRange(low=1.5, high=15.0, bright=40.0)
"""Of the joint signal to noise, before anything is known."""


@dataclass(frozen=True, kw_only=True, eq=False)
class BandsSetup:
    """All that realisations have in common; picklable.

    Attributes
    ----------
    bands : tuple of BandImage
    options : Options
    plane : TangentPlane
        That of the field, on which positions are.
    offsets : ndarray, shape (n_bands, 2)
        Of the maps' astrometry, arcsec.
    sensitivities : tuple of Sensitivity
    models : tuple of ndarray, shape (n, 6)
        Gaussians of the field's own catalogue in pixels of each map.
    known : ndarray, shape (n, 2)
        Arcsec: their positions.
    known_snr : ndarray, shape (n,)
        Their joint signal to noise.
    shapes, spectra : ndarray, shapes (k, 3) and (k, n_bands)
        Intrinsic covariances (arcsec^2) and fluxes of well measured sources.
    usable : ndarray, shape (m, 2)
        Arcsec: positions of the pixels of the sharpest map on which sources are injected.
    separation, tolerance : float
        Arcsec: least distance between injected sources, and largest distance of a match.
    n_sources : int
    """

    bands: tuple[BandImage, ...]
    options: Options
    plane: TangentPlane
    offsets: FloatArray
    sensitivities: tuple[Sensitivity, ...]
    models: tuple[FloatArray, ...]
    known: FloatArray
    known_snr: FloatArray
    shapes: FloatArray
    spectra: FloatArray
    usable: FloatArray
    separation: float
    tolerance: float
    n_sources: int

    @cached_property
    def placed(self) -> tuple[Band, ...]:
        """The maps on the plane."""
        return tuple(
            replace(Band.of(band, self.plane), offset=offset)
            for band, offset in zip(self.bands, self.offsets, strict=True)
        )

    def signal_to_noise(self, position: FloatArray, shape: FloatArray, flux: FloatArray) -> FloatArray:
        """Return the joint signal to noise of sources, (n,): that of all bands in quadrature."""
        return _joint(self.placed, self.sensitivities, position, shape, flux)


def _joint(
    placed: tuple[Band, ...], sensitivities: tuple[Sensitivity, ...],
    position: FloatArray, shape: FloatArray, flux: FloatArray,
) -> FloatArray:  # fmt: skip
    total = np.zeros(len(position))
    for b, (band, sensitivity) in enumerate(zip(placed, sensitivities, strict=True)):
        if len(position):
            own = sensitivity.signal_to_noise(band.gaussians(position, shape, flux[:, b]))
            total += np.nan_to_num(own) ** 2
    return np.sqrt(total)


def make_bands_setup(extraction: BandsExtraction, *, n_sources: int | None = None) -> BandsSetup:
    """Prepare injections into the maps of a field of which the sources are known.

    Parameters
    ----------
    extraction : BandsExtraction
        Of the maps as they are; sources that were found, not given.
    n_sources : int, optional
        How many to inject in one realisation; by default a quarter of the catalogue or one in 250 of the
        largest beams, whichever is more.

    Raises
    ------
    InputError
        If the field is too small for two sources far enough from its edges and from each other.
    """
    # All realisations see a WCS that has been through the text of a header, as those of workers do.
    bands: tuple[BandImage, ...] = pickled_copy(extraction.bands)
    sources, plane = extraction.sources, extraction.sources.plane
    sensitivities = tuple(_sensitivity(one) for one in extraction.measured)
    offsets = extraction.offsets.values
    placed = tuple(replace(Band.of(one, plane), offset=o) for one, o in zip(bands, offsets, strict=True))
    flux = np.nan_to_num(sources.flux)
    snr = _joint(placed, sensitivities, sources.position, sources.shape, flux)
    sharp, widest = reference_band(bands), max(band.image.beam.fwhm for band in bands)
    usable = _usable(placed[sharp], sensitivities[sharp])
    separation = SEPARATION_BEAMS * widest
    area = len(usable) * bands[sharp].image.pixel_scale ** 2
    capacity = int(area / (2.0 * separation**2))
    if capacity < LEAST_ROOM:
        raise InputError(
            f"{extraction.name}: too small: no room for {LEAST_ROOM} injected sources {SEPARATION_BEAMS:g} "
            "of the largest beams apart"
        )
    if n_sources is None:
        by_area = area / (BEAMS_PER_SOURCE * 1.133 * widest**2)
        n_sources = max(round(SHARE_OF_SOURCES * len(sources)), round(by_area), FEWEST)
    shapes, spectra = _own_sources(sources.shape, flux, snr, placed, sensitivities)
    return BandsSetup(
        bands=bands, options=extraction.options, plane=plane, offsets=offsets, sensitivities=sensitivities,
        models=tuple(one.parameters for one in extraction.measured), known=sources.position, known_snr=snr,
        shapes=shapes, spectra=spectra, usable=usable,
        separation=separation, tolerance=TOLERANCE_BEAMS * bands[sharp].image.beam.fwhm,
        n_sources=min(n_sources, capacity),
    )  # fmt: skip


def _sensitivity(measured: MeasuredBand) -> Sensitivity:
    image = measured.band.image
    return measure_sensitivity(
        measured.residual_image(), beam_covariance=image.central_beam_covariance,
        relative_rms=image.relative_rms,
    )  # fmt: skip


def _usable(band: Band, sensitivity: Sensitivity) -> FloatArray:
    """Return the positions of the pixels half a beam and more from edges and blank pixels, (m, 2)."""
    distance = distance_transform_edt(np.pad(sensitivity.valid, 1))[1:-1, 1:-1]
    rows, columns = np.nonzero(distance > 0.5 * band.image.beam_fwhm_pix)
    return band.positions(np.column_stack([columns, rows]).astype(np.float64))


def _own_sources(
    shape: FloatArray, flux: FloatArray, snr: FloatArray, placed: tuple[Band, ...],
    sensitivities: tuple[Sensitivity, ...],
) -> tuple[FloatArray, FloatArray]:  # fmt: skip
    """Return shapes and spectra of well measured sources; of points equally clear in all bands if few are."""
    good = snr >= _LEAST_SNR
    if good.sum() < _FEWEST_SPECTRA:
        areas = [2.0 * math.pi * math.sqrt(np.linalg.det(one.image.beam_covariance(0, 0))) for one in placed]
        noise = [float(np.nanmedian(one.sigma)) for one in sensitivities]
        return np.zeros((1, 3)), np.array([areas]) * np.array([noise])
    return shape[good], np.maximum(flux[good], 0.0)


def draw_in_bands(
    setup: BandsSetup, rng: np.random.Generator, snr_range: FluxRange
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return position (n, 2), intrinsic shape (n, 3) and flux (n, n_bands) of the sources of one realisation.

    Spectra and shapes are those of sources of the catalogue; they are scaled so that the joint signal to
    noise is log-uniform. Fewer than asked for where no free place was found.
    """
    n = setup.n_sources
    own = rng.integers(len(setup.shapes), size=n)
    wanted, position = snr_range.draw(rng, n), np.full((n, 2), np.nan)
    for _ in range(_ROUNDS):
        missing = np.flatnonzero(np.isnan(position[:, 0]))
        if not missing.size:
            break
        tried = setup.usable[rng.integers(len(setup.usable), size=missing.size)]
        for k, place in zip(missing, tried, strict=True):
            others = position[np.isfinite(position[:, 0])]
            if not len(others) or np.hypot(*(others - place).T).min() >= setup.separation:
                position[k] = place
    placed = np.isfinite(position[:, 0])
    position, shape, flux = position[placed], setup.shapes[own[placed]], setup.spectra[own[placed]]
    now = setup.signal_to_noise(position, shape, flux)
    seen = now > 0.0
    scale = wanted[placed][seen] / now[seen]
    return position[seen], shape[seen], flux[seen] * scale[:, None]


def band_record(n_bands: int) -> np.dtype[np.void]:
    """Return the type of the records of injected sources; fluxes are in Jy."""
    one = ("realisation", "snr", "recovered", "neighbour")
    each = ("flux", "flux_found", "flux_err")
    return np.dtype([*((name, "f8") for name in one), *((name, "f8", (n_bands,)) for name in each)])


def realise_in_bands(setup: BandsSetup, *, seed: tuple[int, ...], snr_range: FluxRange) -> NDArray[np.void]:
    """Inject sources into all bands, extract the field, and return one record for each of them.

    Parameters
    ----------
    setup : BandsSetup
    seed : tuple of int
        The user's seed, then the number of the realisation.
    snr_range : FluxRange
        Of the joint signal to noise.
    """
    position, shape, flux = draw_in_bands(setup, np.random.default_rng(seed), snr_range)
    images = [
        replace(one, image=inject(one.image, band.gaussians(position, shape, flux[:, b])))
        for b, (one, band) in enumerate(zip(setup.bands, setup.placed, strict=True))
    ]
    found = extract_bands(images, options=setup.options).sources
    rows = setup.plane.offsets(*found.sky).reshape(-1, 2)
    snr = setup.signal_to_noise(position, shape, flux)
    row, source, _ = match_new_rows(
        rows, known=setup.known, injected=position, brightness=(setup.known_snr, snr),
        tolerance=setup.tolerance,
    )  # fmt: skip
    records = np.zeros(len(position), dtype=band_record(len(images)))
    records["realisation"], records["snr"], records["flux"] = seed[-1], snr, flux
    records["neighbour"] = cKDTree(setup.known).query(position)[0] if len(setup.known) else np.inf
    records["flux_found"] = records["flux_err"] = np.nan
    records["recovered"][source] = 1.0
    records["flux_found"][source] = found.flux[row]
    records["flux_err"][source] = np.sqrt(np.diagonal(found.flux_covariance[row], axis1=1, axis2=2))
    return records


def rows_on_inverted_bands(setup: BandsSetup) -> int:
    """Return how many rows the maps without sources have when the sign of their deviations is turned."""
    images = []
    for one, sensitivity, model in zip(setup.bands, setup.sensitivities, setup.models, strict=True):
        residual = one.image.data - gaussians.render(model, one.image.shape)
        images.append(replace(one, image=one.image.with_data(2.0 * sensitivity.mean - residual)))
    return len(extract_bands(images, options=setup.options).sources)


@dataclass(frozen=True, kw_only=True)
class BandAccuracy:
    """Measured against true fluxes of recovered sources in one band.

    Attributes
    ----------
    band : str
    n : int
    bias : float
        Median of measured over true flux, minus 1.
    scatter : float
        1.4826 MAD of measured over true flux.
    pull_width : float
        1.4826 MAD of (measured - true) / error; 1 for true errors.
    """

    band: str
    n: int
    bias: float
    scatter: float
    pull_width: float


@dataclass(frozen=True, kw_only=True, eq=False)
class BandsCompleteness:
    """Completeness of the catalogue of a field in several bands.

    Attributes
    ----------
    extraction : BandsExtraction
    setup : BandsSetup
    plan : InjectionPlan
    records : ndarray of `band_record`, shape (n,)
    n_inverted : int
        Rows on the inverted maps without sources: what false rows to expect, if the noise is symmetric.
    error : float
        Largest binomial error of completeness in a bin of joint signal to noise where it rises.
    """

    extraction: BandsExtraction
    setup: BandsSetup
    plan: InjectionPlan
    records: NDArray[np.void]
    n_inverted: int
    error: float

    @property
    def name(self) -> str:
        """Name of the field."""
        return self.extraction.name

    @property
    def band_names(self) -> tuple[str, ...]:
        """Names of the bands."""
        return tuple(band.name for band in self.setup.bands)

    @property
    def n_runs(self) -> int:
        """Runs of the pipeline with injected sources."""
        return np.unique(self.records["realisation"]).size

    @cached_property
    def curves(self) -> dict[str, CompletenessCurve]:
        """Completeness against the joint signal to noise (`SNR`) and the flux in each band (`FLUX_s250`)."""
        found = self.records["recovered"] > 0
        curves = {"SNR": completeness_curve(self.records["snr"], found, seed=self.plan.seed)}
        for b, name in enumerate(self.band_names):
            flux = self.records["flux"][:, b] * self.setup.options.flux_per_jy
            seen = flux > 0.0
            if seen.any():
                curves[f"FLUX_{name}"] = completeness_curve(flux[seen], found[seen], seed=self.plan.seed)
        return curves

    @property
    def units(self) -> dict[str, str]:
        """Unit of each of the curves."""
        return {name: "" if name == "SNR" else self.setup.options.flux_unit for name in self.curves}

    @cached_property
    def accuracy(self) -> tuple[BandAccuracy, ...]:
        """Measured against true fluxes of sources of a joint signal to noise of 8 and more, band by band."""
        strong = (self.records["recovered"] > 0) & (self.records["snr"] >= _LEAST_SNR)
        return tuple(_accuracy(name, self.records[strong], b) for b, name in enumerate(self.band_names))

    def summary(self) -> dict[str, Any]:
        """Return the main numbers, ready for JSON."""
        return {
            "field": self.name,
            "bands": list(self.band_names),
            "n_sources": len(self.extraction.sources),
            "n_injected": len(self.records),
            "n_runs": self.n_runs,
            "seed": self.plan.seed,
            "precision": self.plan.precision,
            "error": self.error,
            "n_inverted": self.n_inverted,
            "units": self.units,
            "limits": {
                name: {f"{one.level:.0%}": [one.value, one.low, one.high] for one in curve.limits}
                for name, curve in self.curves.items()
            },
        }


def _accuracy(name: str, records: NDArray[np.void], b: int) -> BandAccuracy:
    true, found, error = (records[key][:, b] for key in ("flux", "flux_found", "flux_err"))
    good: BoolArray = (true > 0.0) & np.isfinite(found + error) & (error > 0.0)
    if not good.any():
        return BandAccuracy(band=name, n=0, bias=math.nan, scatter=math.nan, pull_width=math.nan)
    ratio = found[good] / true[good]
    return BandAccuracy(
        band=name, n=int(good.sum()), bias=float(np.median(ratio)) - 1.0, scatter=robust_sigma(ratio),
        pull_width=robust_sigma((found[good] - true[good]) / error[good]),
    )  # fmt: skip
