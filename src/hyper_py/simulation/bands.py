"""One field in several bands with exact truth: grey bodies on a common cirrus, seen by maps of their own.

A source is an elliptical Gaussian on the sky, convolved with the round beam of each band, and sampled at
pixel centres. Sources, cirrus and noise of a band are returned apart, and have random numbers of their own:
those of a band do not change when another band is left out, and noise does not change with the number of
sources.
"""

from __future__ import annotations  # short signatures in notebooks

import math
import zlib
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import QTable
from astropy.wcs import WCS
from scipy import fft
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree

from hyper_py.arrays import FloatArray
from hyper_py.bands.spectra import grey_body
from hyper_py.display import Summarised, Summary, shows_keywords
from hyper_py.geometry import (
    ARCSEC_PER_RADIAN,
    FWHM_PER_SIGMA,
    GAUSSIAN_AREA,
    Beam,
    Ellipse,
    celestial_degrees,
    celestial_frame,
    covariance_from_ellipse,
    ellipse_from_covariance,
    pixel_from_celestial,
    transform_covariance,
)
from hyper_py.image import SkyImage
from hyper_py.simulation import fields
from hyper_py.simulation.band_models import BandModel, BandsModel, bands_model
from hyper_py.simulation.truth import draw_profiles

CIRRUS_SAMPLES = 3.5
"""Pixels of the cirrus' grid in the FWHM of the sharpest beam."""
_STREAMS = {"sources": 0, "cirrus": 1, "own cirrus": 2, "noise": 3, "offset": 4}


@dataclass(frozen=True, kw_only=True, eq=False)
class SimulatedBand:
    """One band of a simulated field.

    Attributes
    ----------
    band : BandModel
    image : SkyImage
        The map in Jy/pixel, coordinates displaced by `offset`; `image.unit` is that of the file.
    sources, cirrus, noise : ndarray, shape (ny, nx)
        Jy/pixel; their sum is the map.
    offset : (float, float)
        Arcsec east and north by which the map's coordinates are displaced.
    seed : int
    """

    band: BandModel
    image: SkyImage
    sources: FloatArray
    cirrus: FloatArray
    noise: FloatArray
    offset: tuple[float, float]
    seed: int

    def header(self) -> dict[str, str | float | int]:
        """Return the FITS keywords that describe the map in its own unit."""
        return {
            **dict(self.image.wcs.to_header(relax=True)),
            "BUNIT": self.image.unit,
            "BMAJ": self.band.beam / 3600.0,
            "BMIN": self.band.beam / 3600.0,
            "BPA": 0.0,
            "WAVELNTH": self.band.wavelength,
            "OBJECT": self.band.name,
            "SIMSEED": str(self.seed),
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class SimulatedBands(Summarised):
    """A simulated field in several bands.

    Attributes
    ----------
    maps : tuple of SimulatedBand
        From the shortest wavelength to the longest.
    truth : astropy.table.QTable
        One row a source: RA, DEC, GLON, GLAT; intrinsic FWHM_1, FWHM_2, PA (ICRS); TEMPERATURE; for each band
        its FLUX, its PEAK_TO_NOISE on the map, and whether the map COVERS the source, each with the band's
        name after it, as in FLUX_s500; distance to the NEAREST other source. The metadata say how it was
        made.
    model : BandsModel
    seed : int

    Examples
    --------
    >>> import hyper_py
    >>> field = hyper_py.simulate_bands(seed=1, size=300.0, n_sources=3, pair_fraction=0.0)
    >>> field["s500"].image.shape, len(field.truth)
    ((25, 25), 3)
    """

    maps: tuple[SimulatedBand, ...]
    truth: QTable
    model: BandsModel
    seed: int

    def _summary(self) -> Summary:
        facts = [
            (
                one.band.name,
                f"{one.band.wavelength:g} um, beam {one.image.beam.fwhm:.3g} arcsec, "
                f"{one.image.shape[1]} x {one.image.shape[0]} pixels",
            )
            for one in self.maps
        ]
        facts += [("seed", str(self.seed)), ("see", ".maps, .truth, [name].image")]
        title = f"SimulatedBands: {len(self.truth)} sources in {len(self.maps)} bands"
        return Summary(title=title, facts=tuple(facts))

    def __getitem__(self, name: str) -> SimulatedBand:
        """Return a band by its name."""
        return next(one for one in self.maps if one.band.name == name)


@shows_keywords(BandsModel)
def simulate_bands(
    preset: str | BandsModel = "bands", *, seed: int | np.random.Generator, **overrides: Any
) -> SimulatedBands:
    """Return a simulated field in several bands with exact truth.

    Parameters
    ----------
    preset : str or BandsModel
        A name in `hyper_py.simulation.band_models.BANDS_PRESETS`, or a field of your own.
    seed : int or numpy.random.Generator
        Same seed, same field. A generator gives the seed by one draw.
    **overrides
        Any field of `hyper_py.simulation.band_models.BandsModel`; see
        `hyper_py.simulation.band_models.bands_model` for bands.

    Returns
    -------
    SimulatedBands

    Raises
    ------
    ConfigurationError
        If an option makes no sense.

    Examples
    --------
    >>> import hyper_py
    >>> field = hyper_py.simulate_bands(seed=1, size=300.0, n_sources=3, pair_fraction=0.0)
    >>> [one.band.name for one in field.maps]
    ['p100', 'p160', 's250', 's350', 's500']
    """
    from hyper_py.simulation.recipe import plain_seed

    sky = _Sky(bands_model(preset, **overrides), plain_seed(seed))
    maps = tuple(_observe(sky, band) for band in sky.model.bands)
    return SimulatedBands(maps=maps, truth=_truth(sky, maps), model=sky.model, seed=sky.seed)


@dataclass(frozen=True, eq=False)
class _Sky:
    """A model and a seed, and what all bands share."""

    model: BandsModel
    seed: int

    def rng(self, stream: str, name: str = "") -> np.random.Generator:
        """Return the random numbers of one component (of one band): no two share any."""
        key = (_STREAMS[stream], zlib.crc32(name.encode()))
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key))

    @cached_property
    def wcs(self) -> WCS:
        """Tangent plane in ICRS whose reference pixel 0 is the field's centre, of 1 arcsec pixels."""
        wcs = WCS(naxis=2)
        wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], self.model.centre, [1.0, 1.0]
        wcs.wcs.cdelt, wcs.wcs.cunit, wcs.wcs.radesys = [1 / 3600, 1 / 3600], ["deg", "deg"], "ICRS"
        wcs.wcs.set()
        return wcs

    @cached_property
    def sources(self) -> dict[str, FloatArray]:
        """Arcsec east and north of the centre; temperature; flux and shape at the reference wavelength."""
        model = self.model
        positions, physics = self.rng("sources").spawn(2)
        n, half = model.n_sources, 0.5 * model.size - model.margin
        east, north = positions.uniform(-half, half, (2, n))
        n_pairs = round(0.5 * model.pair_fraction * n)
        angle = positions.uniform(0.0, 2.0 * math.pi, n_pairs)
        distance = positions.uniform(*model.pair_separation, n_pairs)
        east[:n_pairs] = east[n_pairs : 2 * n_pairs] + distance * np.cos(angle)
        north[:n_pairs] = north[n_pairs : 2 * n_pairs] + distance * np.sin(angle)
        low, high = model.flux_range
        flux = low * (high / low) ** physics.random(n)
        temperature = physics.uniform(*model.temperature_range, n)
        fwhm = physics.uniform(*model.fwhm_range, n)
        ratio = np.sqrt(physics.uniform(*model.axis_ratio_range, n))
        shape = covariance_from_ellipse(fwhm * ratio, fwhm / ratio, physics.uniform(0.0, math.pi, n))
        return {"east": east, "north": north, "flux": flux, "temperature": temperature, "shape": shape}

    @cached_property
    def places(self) -> SkyCoord:
        """Where the sources are."""
        return SkyCoord(*celestial_degrees(self.wcs, self.sources["east"], self.sources["north"]), unit="deg")

    def fluxes(self, wavelength: float) -> FloatArray:
        """Flux densities of all sources in Jy."""
        temperature, beta = self.sources["temperature"], self.model.beta
        there, here = (
            grey_body(np.asarray(w), temperature, beta) for w in (self.model.reference_wavelength, wavelength)
        )
        fluxes: FloatArray = self.sources["flux"] * here / there
        return fluxes

    def shapes(self, wavelength: float) -> FloatArray:
        """Covariances (n, 2, 2) before any beam, arcsec2, axes east and north."""
        growth = (wavelength / self.model.reference_wavelength) ** self.model.size_exponent
        shapes: FloatArray = growth**2 * self.sources["shape"]
        return shapes

    @cached_property
    def cirrus_pixel(self) -> float:
        """Arcsec."""
        return min(band.beam for band in self.model.bands) / CIRRUS_SAMPLES

    @cached_property
    def cirrus_grid(self) -> tuple[int, int]:
        """Shape of the periodic grid of the cirrus."""
        n = 2 * fft.next_fast_len(math.ceil(0.55 * self.model.size / self.cirrus_pixel), real=True)
        return n, n

    def pattern(self, stream: str, name: str = "") -> FloatArray:
        """Return a power-law field of mean 0 and rms 1 on the cirrus' grid."""
        power = fields.power_law(
            self.cirrus_grid, slope=self.model.cirrus_slope, outer=float(self.cirrus_grid[0]),
            transfer=np.ones((self.cirrus_grid[0], self.cirrus_grid[1] // 2 + 1)),
        )  # fmt: skip
        field = fields.random_field(self.rng(stream, name), self.cirrus_grid, power)
        scaled: FloatArray = (field - field.mean()) / field.std()
        return scaled

    @cached_property
    def common_pattern(self) -> FloatArray:
        """What all bands have in common."""
        return self.pattern("cirrus")

    def cirrus(self, band: BandModel) -> FloatArray:
        """Return the cirrus of a band through its beam on the cirrus' grid, Jy/arcsec2."""
        model = self.model
        pattern = math.sqrt(1.0 - model.cirrus_own) * self.common_pattern
        if model.cirrus_own:
            pattern = pattern + math.sqrt(model.cirrus_own) * self.pattern("own cirrus", band.name)
        there, here = (
            grey_body(np.asarray(w), model.cirrus_temperature, model.cirrus_beta)
            for w in (model.reference_wavelength, band.wavelength)
        )
        sigma = band.beam / FWHM_PER_SIGMA / self.cirrus_pixel
        transfer = fields.gaussian_transfer(self.cirrus_grid, sigma**2 * np.eye(2))
        smooth = fft.irfft2(fft.rfft2(pattern) * transfer, s=self.cirrus_grid)
        result: FloatArray = model.cirrus * 1e6 / ARCSEC_PER_RADIAN**2 * float(here / there) * smooth
        return result

    def offset(self, band: BandModel) -> tuple[float, float]:
        """Return the astrometric offset of a band, arcsec east and north."""
        if band.offset is not None:
            return band.offset
        if band.beam == min(one.beam for one in self.model.bands):
            return 0.0, 0.0
        east, north = self.model.offset_rms * self.rng("offset", band.name).standard_normal(2)
        return float(east), float(north)


def _observe(sky: _Sky, band: BandModel) -> SimulatedBand:
    """Return the map of one band."""
    side = round(sky.model.size / band.pixel_scale)
    shape = side, max(round(band.coverage * side), 1)
    true_wcs = _band_wcs(band, side, SkyCoord(*sky.model.centre, unit="deg"))
    x, y, jacobian = _on_map(true_wcs, sky.places)
    beam_covariance = (band.beam / FWHM_PER_SIGMA) ** 2 * np.eye(2)
    seen = transform_covariance(sky.shapes(band.wavelength) + beam_covariance, np.linalg.inv(jacobian))
    major, minor, theta = ellipse_from_covariance(seen)
    flux = sky.fluxes(band.wavelength)
    sources = draw_profiles(
        shape, x=x, y=y, amplitude=flux / (GAUSSIAN_AREA * major * minor), fwhm_major=major, fwhm_minor=minor,
        theta=theta,
    )  # fmt: skip
    pixel_area = band.pixel_scale**2
    cirrus = pixel_area * _resampled(sky, sky.cirrus(band), true_wcs, shape)
    per_beam = pixel_area / (GAUSSIAN_AREA * band.beam**2)
    noise = band.noise * per_beam * _unit_noise(sky, band, shape)
    offset = sky.offset(band)
    east, north = (value * u.arcsec for value in offset)
    displaced = SkyCoord(*sky.model.centre, unit="deg").spherical_offsets_by(east, north)
    image = SkyImage(
        data=sources + cirrus + noise, wcs=_band_wcs(band, side, displaced), name=band.name,
        beam=Beam(major=band.beam, minor=band.beam, source="simulated"), unit="Jy/beam",
        jy_per_pixel=per_beam,
        meta={"frequency": (band.wavelength * u.um).to_value(u.Hz, u.spectral())},
    )  # fmt: skip
    return SimulatedBand(
        band=band, image=image, sources=sources, cirrus=cirrus, noise=noise, offset=offset, seed=sky.seed
    )


def _band_wcs(band: BandModel, side: int, centre: SkyCoord) -> WCS:
    """Return the coordinates of a map of `side` columns and rows with its middle at `centre`."""
    wcs = WCS(naxis=2)
    axes = ("GLON", "GLAT") if band.frame == "galactic" else ("RA--", "DEC-")
    wcs.wcs.ctype = [f"{axis}-{band.projection}" for axis in axes]
    place = centre.transform_to(band.frame).spherical
    wcs.wcs.crval = [place.lon.deg, place.lat.deg]
    wcs.wcs.crpix, wcs.wcs.cunit = [0.5 * (side + 1), 0.5 * (side + 1)], ["deg", "deg"]
    wcs.wcs.cdelt = np.array([-1.0, 1.0]) * band.pixel_scale / 3600.0
    cos, sin = math.cos(math.radians(band.rotation)), math.sin(math.radians(band.rotation))
    wcs.wcs.pc = [[cos, -sin], [sin, cos]]
    if band.frame != "galactic":
        wcs.wcs.radesys = band.frame.upper()
    if band.frame == "fk5":
        wcs.wcs.equinox = 2000.0
    wcs.wcs.set()
    return wcs


def _on_map(wcs: WCS, places: SkyCoord) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return zero-based pixels, and arcsec east and north (ICRS) of one pixel along x and y, (n, 2, 2)."""

    def pixels(sky: SkyCoord) -> FloatArray:
        own = sky.transform_to(celestial_frame(wcs)).spherical
        return pixel_from_celestial(wcs, own.lon.deg, own.lat.deg)

    step = 0.5 * u.arcsec
    east, north = (
        pixels(places.spherical_offsets_by(a, b)) - pixels(places.spherical_offsets_by(-a, -b))
        for a, b in ((step, 0.0 * u.arcsec), (0.0 * u.arcsec, step))
    )
    jacobian: FloatArray = np.linalg.inv(np.stack([east.T, north.T], axis=-1))
    x, y = pixels(places)
    return x, y, jacobian


def _resampled(sky: _Sky, grid: FloatArray, wcs: WCS, shape: tuple[int, int]) -> FloatArray:
    """Return a periodic field on the tangent plane at the pixels of a map."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    longitude, latitude = celestial_degrees(wcs, x, y)
    icrs = SkyCoord(longitude, latitude, unit="deg", frame=celestial_frame(wcs)).icrs
    east, north = pixel_from_celestial(sky.wcs, icrs.ra.deg, icrs.dec.deg)
    middle = 0.5 * (grid.shape[0] - 1)
    places = [middle + axis / sky.cirrus_pixel for axis in (north, east)]
    result: FloatArray = map_coordinates(grid, places, order=3, mode="grid-wrap")
    return result


def _unit_noise(sky: _Sky, band: BandModel, shape: tuple[int, int]) -> FloatArray:
    """Return noise of rms 1."""
    grid = fields.grid_shape(shape)
    sigma = sky.model.noise_kernel * band.beam / FWHM_PER_SIGMA / band.pixel_scale
    transfer = fields.gaussian_transfer(grid, sigma**2 * np.eye(2))
    power = fields.noise_power(grid, transfer, white_fraction=sky.model.noise_white_fraction)
    return fields.random_field(sky.rng("noise", band.name), grid, power)[: shape[0], : shape[1]].copy()


def _truth(sky: _Sky, maps: tuple[SimulatedBand, ...]) -> QTable:
    """Return the table of true values."""
    places, drawn, model = sky.places, sky.sources, sky.model
    major, minor, angle = ellipse_from_covariance(drawn["shape"])
    shape = Ellipse(major, minor, np.mod(90.0 - np.degrees(angle), 180.0))
    table = QTable(
        {
            "ID": np.arange(1, model.n_sources + 1),
            "RA": places.icrs.ra.deg * u.deg,
            "DEC": places.icrs.dec.deg * u.deg,
            "GLON": places.galactic.l.deg * u.deg,
            "GLAT": places.galactic.b.deg * u.deg,
            "FWHM_1": shape.major * u.arcsec,
            "FWHM_2": shape.minor * u.arcsec,
            "PA": shape.angle * u.deg,
            "TEMPERATURE": drawn["temperature"] * u.K,
            "NEAREST": _nearest(drawn["east"], drawn["north"]) * u.arcsec,
        }
    )
    for one in maps:
        band, flux = one.band, sky.fluxes(one.band.wavelength)
        seen = sky.shapes(band.wavelength) + (band.beam / FWHM_PER_SIGMA) ** 2 * np.eye(2)
        dilution = (band.beam / FWHM_PER_SIGMA) ** 2 / np.sqrt(np.linalg.det(seen))
        own = places.spherical_offsets_by(*(value * u.arcsec for value in one.offset))
        x, y, _ = _on_map(one.image.wcs, own)
        ny, nx = one.image.shape
        table[f"FLUX_{band.name}"] = flux * u.Jy
        table[f"PEAK_TO_NOISE_{band.name}"] = flux * dilution / band.noise
        table[f"COVERS_{band.name}"] = (x >= -0.5) & (x < nx - 0.5) & (y >= -0.5) & (y < ny - 0.5)
    bands = {
        one.band.name: {"wavelength": one.band.wavelength, "beam": one.band.beam, "offset": list(one.offset)}
        for one in maps
    }
    table.meta.update(field=model.name, seed=sky.seed, bands=bands, beta=model.beta, pa_frame="icrs")
    return table


def _nearest(east: FloatArray, north: FloatArray) -> FloatArray:
    """Return the distance of each source to the nearest other; infinite for a single one."""
    if east.size < 2:
        return np.full(east.size, np.inf)
    points = np.column_stack([east, north])
    return np.asarray(cKDTree(points).query(points, k=2)[0])[:, 1]


def as_mapping(model: BandsModel) -> dict[str, Any]:
    """Return a model as YAML has it."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(one) for key, one in value.items()}
        return [plain(one) for one in value] if isinstance(value, list | tuple) else value

    mapping: dict[str, Any] = plain(asdict(model))
    return mapping
