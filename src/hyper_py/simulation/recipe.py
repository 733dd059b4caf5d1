"""What follows from a model of the sky and a seed, before any source is placed."""

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from astropy.wcs import WCS
from scipy.interpolate import RectBivariateSpline

from hyper_py.arrays import BoolArray, FloatArray
from hyper_py.diagnostics import ConfigurationError
from hyper_py.geometry import (
    ARCSEC_PER_RADIAN,
    FWHM_PER_SIGMA,
    ellipse_from_covariance,
    local_jacobian,
    sky_ellipse_from_pixel,
)
from hyper_py.image import SkyImage
from hyper_py.simulation import fields, interferometer
from hyper_py.simulation.complexes import Emission, draw_complexes
from hyper_py.simulation.coverage import relative_noise
from hyper_py.simulation.presets import SkyModel
from hyper_py.simulation.truth import draw_profiles

STRUCTURE_BEAMS = 3.0
"""`peak_scale: structure` counts the background at wavelengths below this many beams."""
_STREAMS = {"noise": 0, "background": 1, "sources": 2, "filaments": 3, "trends": 4, "lines": 5,
            "complexes": 6, "coverage": 7}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Recipe:
    """A model and a seed, and all that follows from them; what the channels of a cube share."""

    model: SkyModel
    seed: int
    sampling: interferometer.Sampling | None = None

    @classmethod
    def of(cls, model: SkyModel, seed: int) -> "Recipe":
        """Return the recipe of a model, whose beam becomes that of its interferometer, if it has one."""
        array = model.interferometer
        if array is None:
            return cls(model, seed)
        jacobian = empty_image(model).reference_jacobian
        sampling = interferometer.sample(
            array, grid=fields.grid_shape(model.shape), jacobian=jacobian, declination=model.centre[1],
            fwhm=model.beam_fwhm_pix,
        )  # fmt: skip
        beam = sky_ellipse_from_pixel(ellipse_from_covariance(sampling.beam_covariance), jacobian)
        axes = float(beam.major), float(beam.minor), float(beam.angle)
        return cls(replace(model, beam=axes), seed, sampling)

    def rng(self, stream: str, *key: int) -> np.random.Generator:
        """Return the random numbers of one component (and channel): no two share any."""
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(_STREAMS[stream], *key)))

    @cached_property
    def canvas(self) -> SkyImage:
        """The map without anything in it."""
        return empty_image(self.model)

    @cached_property
    def rms(self) -> float:
        """Noise in Jy/pixel."""
        return self.model.noise_rms / self.canvas.beam_area_pix

    @cached_property
    def grid(self) -> tuple[int, int]:
        """Shape of the grid on which random fields are made."""
        return fields.grid_shape(self.model.shape)

    @cached_property
    def beam_covariance(self) -> FloatArray:
        """Covariance (2, 2) of the beam in pixels in the middle of the map."""
        return self.canvas.central_beam_covariance

    @cached_property
    def lobes(self) -> FloatArray:
        """Transfer of the beam over that of the Gaussian beam."""
        level = self.model.side_lobes
        if level:
            return fields.side_lobe_transfer(self.grid, self.beam_covariance, level)
        return np.ones((self.grid[0], self.grid[1] // 2 + 1))

    @cached_property
    def noise_power(self) -> FloatArray:
        """Spectrum of the noise, (Jy/pixel)^2."""
        white = self.model.noise_white_fraction
        if self.sampling is not None:
            return self.rms**2 * ((1.0 - white) * self.sampling.noise_power + white)
        kernel = fields.gaussian_transfer(self.grid, self.beam_covariance * self.model.noise_kernel**2)
        return self.rms**2 * fields.noise_power(self.grid, kernel * self.lobes, white_fraction=white)

    @cached_property
    def field_power(self) -> FloatArray:
        """Spectrum of the random field of unit rms from which the background is made."""
        model, grid = self.model, self.grid
        if model.background == "none" or not model.background_rms:
            return np.zeros((grid[0], grid[1] // 2 + 1))
        if model.background == "smooth":
            sigma = model.background_scale * model.beam_fwhm_pix / FWHM_PER_SIGMA
            power = fields.gaussian_transfer(grid, sigma**2 * np.eye(2)) ** 2
            return power / fields.plane_mean(power, grid[1])
        beam = fields.gaussian_transfer(grid, self.beam_covariance) * self.lobes
        on_sky = not model.background_in_beam or self.sampling is not None
        transfer = np.ones_like(beam) if on_sky else beam
        outer = model.background_outer * max(model.shape)
        return fields.power_law(grid, slope=model.background_slope, outer=outer, transfer=transfer)

    @cached_property
    def background_power(self) -> FloatArray:
        """Spectrum of the random background, (Jy/pixel)^2."""
        model, scale = self.model, (self.model.background_rms * self.rms) ** 2
        power = self.field_power
        if model.background == "lognormal" and scale:
            contrast = model.lognormal_contrast
            power = fields.lognormal_power(self.grid, power, contrast) / contrast**2
        if self.sampling is None or not power.any():
            return scale * power
        power = power * self.sampling.weight**2
        return scale / fields.plane_mean(power, self.grid[1]) * power

    @cached_property
    def variation(self) -> FloatArray:
        """Noise rms across the map over its root mean square, or over that at full coverage."""
        ramp, coverage = self._ramp(self.model.noise_variation, 0), self.coverage_noise
        if self.model.coverage is None:
            return ramp
        return ramp * np.where(np.isfinite(coverage), coverage, self.model.coverage.largest_noise)

    @cached_property
    def coverage_noise(self) -> FloatArray:
        """Noise over that at full coverage; NaN where nothing was observed."""
        model = self.model
        if model.coverage is None:
            return np.ones(model.shape)
        return relative_noise(
            self.rng("coverage"), model.shape, beam=model.beam_fwhm_pix, coverage=model.coverage
        )

    @cached_property
    def emission(self) -> Emission | None:
        """The complexes, in units of the noise."""
        if self.model.complexes is None:
            return None
        return draw_complexes(
            self.rng("complexes"), self.model.complexes, shape=self.model.shape,
            beam=self.model.beam_fwhm_pix, beam_covariance=self.beam_covariance,
        )  # fmt: skip

    @cached_property
    def emission_image(self) -> FloatArray | None:
        """Envelopes and clumps of the complexes together, in units of the noise."""
        if self.emission is None:
            return None
        return self.emission.envelope + draw_profiles(self.model.shape, **self.emission.clumps, beta=None)

    @cached_property
    def background_variation(self) -> FloatArray:
        """Strength of the random background across the map over its root mean square."""
        return self._ramp(self.model.background_variation, 2)

    @cached_property
    def blank(self) -> BoolArray:
        """True on the blank border, and where nothing was observed."""
        width, mask = self.model.blank_border, np.ones(self.model.shape, dtype=bool)
        mask[width : mask.shape[0] - width, width : mask.shape[1] - width] = False
        return mask | ~np.isfinite(self.coverage_noise)

    def _ramp(self, largest: float, index: int) -> FloatArray:
        """Exponential from 1 to `largest` across the map along a random direction, over its rms."""
        ramp = np.exp(math.log(largest) * self._slope(index))
        scaled: FloatArray = ramp / np.sqrt(np.mean(ramp**2))
        return scaled

    def _slope(self, index: int) -> FloatArray:
        """Plane from 0 to 1 across the map along a random direction."""
        ny, nx = self.model.shape
        angle = 2.0 * math.pi * self.rng("trends").random(3)[index]
        y, x = np.mgrid[:ny, :nx]
        plane: FloatArray = math.cos(angle) * (x / (nx - 1) - 0.5) + math.sin(angle) * (y / (ny - 1) - 0.5)
        return plane / np.ptp(plane) + 0.5

    def _cut(self, field: FloatArray) -> FloatArray:
        ny, nx = self.model.shape
        return field[:ny, :nx].copy()

    def noise(self, *key: int) -> FloatArray:
        """Return the noise in Jy/pixel."""
        field = fields.random_field(self.rng("noise", *key), self.grid, self.noise_power)
        return self._cut(field) * self.variation

    def random_background(self, *key: int) -> FloatArray:
        """Return a random field of unit rms; for an interferometer on the whole grid, as the sky has it."""
        on_sky = self.sampling is not None
        if not self.field_power.any():
            return np.zeros(self.grid if on_sky else self.model.shape)
        field = fields.random_field(self.rng("background", *key), self.grid, self.field_power)
        return field if on_sky else self._cut(field)

    def shape_background(self, field: FloatArray) -> FloatArray:
        """Turn a field of unit rms into the background in Jy/pixel: scale, logarithm, level, trends."""
        model, rms = self.model, self.rms
        if self.sampling is not None:
            return self._sampled_background(field)
        background = model.background_level * rms + model.gradient * rms * self._slope(1)
        scale = model.background_rms * rms * self.background_variation
        if model.background == "lognormal" and model.background_rms:
            variance = fields.lognormal_variance(model.lognormal_contrast)
            mean = scale / model.lognormal_contrast
            background += mean * np.exp(math.sqrt(variance) * field - 0.5 * variance)
        else:
            background += scale * field
        if model.n_filaments:
            background += fields.filaments(
                self.rng("filaments"),
                model.shape,
                number=model.n_filaments,
                peak=model.filament_peak * rms,
                fwhm=model.filament_width * model.beam_fwhm_pix,
                contrast=model.filament_contrast,
            )
        if self.emission_image is not None:
            background += rms * self.emission_image
        return background

    def _sampled_background(self, field: FloatArray) -> FloatArray:
        """Return the background in Jy/pixel as an interferometer sees it: no level, no gradient."""
        model, sampling = self.model, self.sampling
        assert sampling is not None  # for type checkers
        if not self.background_power.any():
            return np.zeros(model.shape)
        power = self.field_power
        if model.background == "lognormal":
            contrast = model.lognormal_contrast
            variance = fields.lognormal_variance(contrast)
            field = np.exp(math.sqrt(variance) * field - 0.5 * variance) / contrast
            power = fields.lognormal_power(self.grid, power, contrast) / contrast**2
        rms = math.sqrt(fields.plane_mean(power * sampling.weight**2, self.grid[1]))
        seen = fields.convolve(field, sampling.weight / rms, self.grid)
        return model.background_rms * self.rms * self.background_variation * self._cut(seen)

    def sigma(self, noise: FloatArray, background: FloatArray) -> float:
        """Return the unit of the peaks in Jy/pixel: see `SkyModel.peak_scale`."""
        if self.model.peak_scale in ("noise", "local"):
            return self.rms
        if self.model.peak_scale == "total":
            return float(np.std((noise + background)[~self.blank]))
        wavelength = STRUCTURE_BEAMS * self.model.beam_fwhm_pix
        return math.sqrt(self.rms**2 + fields.power_below(self.grid, self.background_power, wavelength))


def make_wcs(model: SkyModel) -> WCS:
    """Return the celestial WCS of a model, its reference pixel in the middle of the map."""
    wcs = WCS(naxis=2)
    longitude, latitude = {"icrs": ("RA--", "DEC-"), "galactic": ("GLON", "GLAT")}[model.frame]
    wcs.wcs.ctype = [f"{axis}-{model.projection}" for axis in (longitude, latitude)]
    wcs.wcs.crval = model.centre
    wcs.wcs.crpix = [0.5 * (model.shape[1] + 1), 0.5 * (model.shape[0] + 1)]
    wcs.wcs.cunit = ["deg", "deg"]
    sign = 1.0 if model.mirrored else -1.0
    wcs.wcs.cdelt = np.array([sign, 1.0]) * model.pixel_scale / 3600.0
    cos, sin = math.cos(math.radians(model.rotation)), math.sin(math.radians(model.rotation))
    wcs.wcs.pc = [[cos, sign * sin], [-sign * sin, cos]]
    if model.frame == "icrs":
        wcs.wcs.radesys = "ICRS"
    wcs.wcs.set()
    return wcs


def empty_image(model: SkyModel) -> SkyImage:
    """Return the map of a model without anything in it."""
    image = SkyImage(
        data=np.zeros(model.shape),
        wcs=make_wcs(model),
        beam=model.sky_beam(),
        name=model.name,
        unit=model.unit,
    )
    if model.unit == "Jy/pixel":
        return image
    area = _pixel_areas(image)
    factor = 1.0 / image.beam.solid_angle if model.unit == "Jy/beam" else 1e6 / ARCSEC_PER_RADIAN**2
    return replace(image, jy_per_pixel=area * factor)


def _pixel_areas(image: SkyImage) -> float | FloatArray:
    """Return pixel areas in arcsec2: one number where they differ by less than 1e-6, else a map.

    The map is a cubic spline through exact values on a 9 x 9 mesh: projections are smooth.
    """
    ny, nx = image.shape
    y, x = np.linspace(0.0, ny - 1.0, 9), np.linspace(0.0, nx - 1.0, 9)
    mesh = np.abs(np.linalg.det(local_jacobian(image.wcs, *np.meshgrid(x, y))))
    if np.ptp(mesh) < 1e-6 * mesh.mean():
        return float(mesh.mean())
    areas: FloatArray = RectBivariateSpline(y, x, mesh)(np.arange(ny), np.arange(nx))
    return areas


def plain_seed(seed: int | np.random.Generator) -> int:
    """Return a seed; that of a generator is drawn from it."""
    if isinstance(seed, np.random.Generator):
        return int(seed.integers(2**63))
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ConfigurationError(f"simulation: seed is {seed!r}; it must be a whole number, zero or more")
    return int(seed)
