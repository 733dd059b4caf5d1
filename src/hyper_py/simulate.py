"""Maps and cubes with exact truth.

A simulated map is the sum of three arrays: sources, noise and background, each of which is returned, and
each of which has random numbers of its own: changing the number of sources does not change the noise.

Sources are sampled at pixel centres (not integrated over pixels), as in the published maps. Their true
flux is the analytical integral, which the sum over pixels reproduces to better than 1e-3 where the minor
FWHM is above 1.5 pixels. Sizes are those seen in the map: nothing is convolved with the beam afterwards,
except with its side lobes.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import QTable
from astropy.wcs import WCS
from numpy.typing import NDArray
from scipy.interpolate import RectBivariateSpline
from scipy.spatial import cKDTree

from hyper_py import fields
from hyper_py.diagnostics import ConfigurationError
from hyper_py.geometry import (
    FWHM_PER_SIGMA,
    GAUSSIAN_AREA,
    Ellipse,
    FloatArray,
    celestial_degrees,
    local_jacobian,
    sky_ellipse_from_pixel,
)
from hyper_py.image import SkyImage
from hyper_py.presets import SkyModel, sky_model

STRUCTURE_BEAMS = 3.0
"""`peak_scale: structure` counts the background at wavelengths below this many beams."""
ISOLATION_BEAMS = 2.0
GAUSSIAN_REACH = 6.0
"""Sigmas of the major axis out to which a Gaussian is drawn: 1.5e-8 of its peak."""
MOFFAT_REACH = 40.0
"""FWHM of the major axis out to which a Moffat profile is drawn."""
_STREAMS = {"noise": 0, "background": 1, "sources": 2, "filaments": 3, "trends": 4, "lines": 5}


@dataclass(frozen=True, kw_only=True, eq=False)
class Simulation:
    """One simulated map, its truth and what it was made of.

    Attributes
    ----------
    image : SkyImage
        The map in Jy/pixel; `image.unit` and `image.jy_per_pixel` say how to write it.
    truth : astropy.table.QTable
        One row a source, names and units as in the catalogue; metadata say how it was made.
    sources, noise, background : ndarray, shape (ny, nx)
        Jy/pixel; their sum is the map, blanks apart.
    noise_rms : ndarray, shape (ny, nx)
        True rms of the noise in Jy/pixel.
    sigma : float
        Jy/pixel: the unit of PEAK_SNR (see `SkyModel.peak_scale`).
    grid : (int, int)
        Shape of the grid on which noise and background were made.
    noise_power, background_power : ndarray, shape (gy, gx // 2 + 1)
        Power spectra on that grid as in `hyper_py.fields`, (Jy/pixel)^2; of the random part of the
        background only, without gradient and filaments.
    model : SkyModel
        The kind of sky.
    """

    image: SkyImage
    truth: QTable
    sources: FloatArray
    noise: FloatArray
    background: FloatArray
    noise_rms: FloatArray
    sigma: float
    grid: tuple[int, int]
    noise_power: FloatArray
    background_power: FloatArray
    model: SkyModel

    def autocovariance(self, radius: int, *, background: bool = True) -> FloatArray:
        """Return the true autocovariance of the noise, and by default of the background with it.

        Shape (2 radius + 1, 2 radius + 1), (Jy/pixel)^2, lag 0 in the middle.
        """
        power = self.noise_power + self.background_power if background else self.noise_power
        return fields.autocovariance(self.grid, power, radius)

    def header(self) -> dict[str, str | float | int]:
        """Return the FITS keywords that describe the map in its own unit."""
        beam = self.image.beam
        return {
            **dict(self.image.wcs.to_header()),
            "BUNIT": self.image.unit,
            "BMAJ": beam.major / 3600.0,
            "BMIN": beam.minor / 3600.0,
            "BPA": beam.pa,
            "OBJECT": self.image.name,
            "SIMSEED": str(self.truth.meta["seed"]),
        }


def simulate_image(
    preset: str | SkyModel = "alma", *, seed: int | np.random.Generator, **overrides: Any
) -> Simulation:
    """Return a simulated map with exact truth.

    Parameters
    ----------
    preset : str or SkyModel
        A name in `hyper_py.presets.PRESETS`, or a sky of your own.
    seed : int or numpy.random.Generator
        Same seed, same map. A generator gives the seed by one draw.
    **overrides
        Any field of `SkyModel`.

    Returns
    -------
    Simulation

    Raises
    ------
    ConfigurationError
        If an option makes no sense, or the sources cannot be placed as asked.
    """
    model, seed = sky_model(preset, **overrides), _plain_seed(seed)
    canvas = _empty_image(model)
    parts = _Parts(model, canvas, seed)
    noise, background = parts.noise(), parts.background()
    return _assemble(parts, noise=noise, background=background)


class _Parts:
    """What does not change between the channels of a cube: spectra, beam, scales, streams of numbers."""

    def __init__(self, model: SkyModel, canvas: SkyImage, seed: int) -> None:
        self.model, self.canvas, self.seed = model, canvas, seed
        self.grid = fields.grid_shape(model.shape)
        self.rms = model.noise_rms / canvas.beam_area_pix
        ny, nx = model.shape
        self.beam_covariance = canvas.beam_covariance(0.5 * (nx - 1), 0.5 * (ny - 1))
        self.lobes = (
            fields.side_lobe_transfer(self.grid, self.beam_covariance, model.side_lobes)
            if model.side_lobes
            else np.float64(1.0)
        )
        kernel = fields.gaussian_transfer(self.grid, self.beam_covariance * model.noise_kernel**2)
        self.noise_power = self.rms**2 * fields.noise_power(
            self.grid, kernel * self.lobes, white_fraction=model.noise_white_fraction
        )
        self.log_power = self._unit_background_power()
        self.background_power = self._background_power()

    def rng(self, stream: str, *key: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(_STREAMS[stream], *key)))

    def cut(self, field: FloatArray) -> FloatArray:
        ny, nx = self.model.shape
        return field[:ny, :nx].copy()

    def noise(self, *key: int) -> FloatArray:
        field = fields.random_field(self.rng("noise", *key), self.grid, self.noise_power)
        return self.cut(field) * self.variation()

    def variation(self) -> FloatArray:
        """Noise rms across the map over its root mean square."""
        ramp = np.exp(math.log(self.model.noise_variation) * self._slope(0))
        return ramp / np.sqrt(np.mean(ramp**2))

    def _slope(self, index: int) -> FloatArray:
        """Plane from 0 to 1 across the map along a random direction, shape (ny, nx)."""
        ny, nx = self.model.shape
        angle = 2.0 * math.pi * self.rng("trends").random(2)[index]
        y, x = np.mgrid[:ny, :nx]
        plane = math.cos(angle) * (x / (nx - 1) - 0.5) + math.sin(angle) * (y / (ny - 1) - 0.5)
        return plane / np.ptp(plane) + 0.5

    def _unit_background_power(self) -> FloatArray:
        model, grid = self.model, self.grid
        if model.background == "none" or model.background_rms == 0:
            return np.zeros((grid[0], grid[1] // 2 + 1))
        if model.background == "smooth":
            sigma = model.background_scale * model.beam_fwhm_pix / FWHM_PER_SIGMA
            power = fields.gaussian_transfer(grid, sigma**2 * np.eye(2)) ** 2
            return power / fields.plane_mean(power, grid[1])
        beam = fields.gaussian_transfer(grid, self.beam_covariance) * self.lobes
        return fields.power_law(
            grid,
            slope=model.background_slope,
            outer=model.background_outer * max(model.shape),
            transfer=beam if model.background_in_beam else np.ones_like(beam),
        )

    def _background_power(self) -> FloatArray:
        scale = (self.model.background_rms * self.rms) ** 2
        if self.model.background != "lognormal" or scale == 0:
            return scale * self.log_power
        contrast = self.model.lognormal_contrast
        return scale / contrast**2 * fields.lognormal_power(self.grid, self.log_power, contrast)

    def random_background(self, *key: int) -> FloatArray:
        """Return the random part on the map, of unit variance (its logarithm's, if log-normal)."""
        if not self.log_power.any():
            return np.zeros(self.model.shape)
        return self.cut(fields.random_field(self.rng("background", *key), self.grid, self.log_power))

    def shape_background(self, field: FloatArray) -> FloatArray:
        """Turn a unit random field into the background: scale, logarithm, level, trends."""
        model = self.model
        result = model.background_rms * self.rms * field
        if model.background == "lognormal" and model.background_rms:
            variance = fields.lognormal_variance(model.lognormal_contrast)
            mean = model.background_rms * self.rms / model.lognormal_contrast
            result = mean * np.exp(math.sqrt(variance) * field - 0.5 * variance)
        result = result + model.background_level * self.rms
        if model.gradient:
            result = result + model.gradient * self.rms * self._slope(1)
        if model.n_filaments:
            result = result + fields.filaments(
                self.rng("filaments"),
                model.shape,
                number=model.n_filaments,
                peak=model.filament_peak * self.rms,
                fwhm=model.filament_width * model.beam_fwhm_pix,
            )
        return result

    def background(self) -> FloatArray:
        return self.shape_background(self.random_background())

    def blank(self) -> NDArray[np.bool_]:
        width, mask = self.model.blank_border, np.ones(self.model.shape, dtype=bool)
        mask[width : mask.shape[0] - width, width : mask.shape[1] - width] = False
        return mask

    def sigma(self, noise: FloatArray, background: FloatArray) -> float:
        """Return the unit of the peaks in Jy/pixel: see `SkyModel.peak_scale`."""
        if self.model.peak_scale == "noise":
            return self.rms
        if self.model.peak_scale == "total":
            return float(np.std((noise + background)[~self.blank()]))
        wavelength = STRUCTURE_BEAMS * self.model.beam_fwhm_pix
        structure = fields.power_below(self.grid, self.background_power, wavelength)
        return math.sqrt(self.rms**2 + structure)


def _assemble(
    parts: _Parts, *, noise: FloatArray, background: FloatArray, brightness: FloatArray | None = None,
    sigma: float | None = None, name: str | None = None,
) -> Simulation:  # fmt: skip
    model, canvas = parts.model, parts.canvas
    sigma = parts.sigma(noise, background) if sigma is None else sigma
    catalogue = _draw_sources(parts.rng("sources"), model, sigma)
    if brightness is not None:
        catalogue["amplitude"] = catalogue["amplitude"] * brightness
    sources = draw_profiles(model.shape, **catalogue, beta=_beta(model))
    if model.side_lobes:
        sources = fields.convolve(sources, parts.lobes, parts.grid)
    noise_rms = parts.rms * parts.variation()
    image = replace(canvas, data=np.where(parts.blank(), np.nan, sources + noise + background))
    image = replace(image, name=name or model.name)
    truth = _truth_table(image, model, catalogue, sigma=sigma, noise_rms=noise_rms, background=background)
    truth.meta.update(seed=parts.seed, preset=model.name)
    return Simulation(
        image=image, truth=truth, sources=sources, noise=noise, background=background, noise_rms=noise_rms,
        sigma=sigma, grid=parts.grid, noise_power=parts.noise_power,
        background_power=parts.background_power, model=model,
    )  # fmt: skip


def _beta(model: SkyModel) -> float | None:
    return model.moffat_beta if model.profile == "moffat" else None


def _plain_seed(seed: int | np.random.Generator) -> int:
    if isinstance(seed, np.random.Generator):
        return int(seed.integers(2**63))
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ConfigurationError(f"simulation: seed is {seed!r}; it must be a whole number, zero or more")
    return int(seed)


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


def _empty_image(model: SkyModel) -> SkyImage:
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
    arcsec2_per_steradian = (180.0 / math.pi * 3600.0) ** 2
    factor = 1.0 / image.beam.solid_angle if model.unit == "Jy/beam" else 1e6 / arcsec2_per_steradian
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


def _draw_sources(rng: np.random.Generator, model: SkyModel, sigma: float) -> dict[str, FloatArray]:
    """Return x, y, amplitude (Jy/pixel), fwhm_major, fwhm_minor (pixels) and theta, shape (n,) each."""
    n, beam = model.n_sources, model.beam_fwhm_pix
    shapes, positions = rng.spawn(2)
    low, high = model.peak_range
    share = shapes.random(n)
    peak = low * (high / low) ** share if model.peak_log else low + (high - low) * share
    size = beam * shapes.uniform(*model.size_range, n)
    ratio = np.sqrt(shapes.uniform(*model.axis_ratio_range, n))
    theta = shapes.uniform(0.0, math.pi, n)
    x, y = _place(positions, model)
    return {
        "x": x, "y": y, "amplitude": peak * sigma,
        "fwhm_major": size * ratio, "fwhm_minor": size / ratio, "theta": theta,
    }  # fmt: skip


def _place(rng: np.random.Generator, model: SkyModel) -> FloatArray:
    """Return positions (2, n) of pairs and single sources, in random order."""
    n, beam, tries = model.n_sources, model.beam_fwhm_pix, 2000
    edge = model.margin * beam + model.blank_border
    low, high = np.array([edge, edge]), np.array(model.shape[::-1]) - 1.0 - edge
    n_pairs = round(0.5 * model.crowded_fraction * n)
    placed = np.full((n, 2), np.inf)

    def free(point: FloatArray, count: int) -> bool:
        distance = np.hypot(*(placed[:count] - point).T)
        return bool(np.all(point >= low) and np.all(point <= high)) and bool(
            np.all(distance >= model.min_separation * beam)
        )

    done = 0
    for _ in range(tries * max(n, 1)):
        if done == n or np.any(low > high):
            break
        first = rng.uniform(low, high)
        if not free(first, done):
            continue
        if done < 2 * n_pairs:
            length, angle = beam * rng.uniform(*model.crowded_separation), rng.uniform(0.0, 2.0 * math.pi)
            second = first + length * np.array([math.cos(angle), math.sin(angle)])
            if not free(second, done):
                continue
            placed[done + 1] = second
        placed[done] = first
        done += 2 if done < 2 * n_pairs else 1
    if done < n:
        raise ConfigurationError(
            f"simulation: no room for {n} sources in {model.shape[1]} x {model.shape[0]} pixels "
            f"(placed {done}); ask for fewer, or lower min_separation or margin"
        )
    return placed[rng.permutation(n)].T


def draw_profiles(
    shape: tuple[int, int], *, x: FloatArray, y: FloatArray, amplitude: FloatArray, fwhm_major: FloatArray,
    fwhm_minor: FloatArray, theta: FloatArray, beta: float | None = None,
) -> FloatArray:  # fmt: skip
    """Return the sum of elliptical Gaussians, or Moffat profiles, sampled at pixel centres.

    Parameters
    ----------
    shape : (int, int)
        (ny, nx).
    x, y, amplitude, fwhm_major, fwhm_minor, theta : ndarray, shape (n,)
        Zero-based pixels; the unit of the result; FWHM in pixels; radians from +x to the major axis.
    beta : float, optional
        Exponent of the Moffat profile; None for a Gaussian.
    """
    image = np.zeros(shape)
    reach = MOFFAT_REACH if beta else GAUSSIAN_REACH / FWHM_PER_SIGMA
    for x0, y0, peak, major, minor, angle in zip(x, y, amplitude, fwhm_major, fwhm_minor, theta, strict=True):
        bottom, top = (int(np.clip(y0 + s * reach * major + (s > 0), 0, shape[0])) for s in (-1, 1))
        left, right = (int(np.clip(x0 + s * reach * major + (s > 0), 0, shape[1])) for s in (-1, 1))
        dy, dx = np.arange(bottom, top)[:, None] - y0, np.arange(left, right)[None, :] - x0
        along, across = (
            dx * math.cos(angle) + dy * math.sin(angle),
            dy * math.cos(angle) - dx * math.sin(angle),
        )
        r2 = (along / major) ** 2 + (across / minor) ** 2
        image[bottom:top, left:right] += peak * _profile(r2, beta)
    return image


def _profile(r2: FloatArray, beta: float | None) -> FloatArray:
    """Return a profile of peak 1 and FWHM 1 at squared radii."""
    if beta is None:
        return np.exp(-4.0 * math.log(2.0) * r2)
    return (1.0 + 4.0 * (2.0 ** (1.0 / beta) - 1.0) * r2) ** -beta


def profile_area(beta: float | None) -> float:
    """Return the integral of a profile of peak 1 and both FWHM 1."""
    return GAUSSIAN_AREA if beta is None else math.pi / (4.0 * (2.0 ** (1.0 / beta) - 1.0) * (beta - 1.0))


def _truth_table(
    image: SkyImage, model: SkyModel, catalogue: dict[str, FloatArray], *, sigma: float,
    noise_rms: FloatArray, background: FloatArray,
) -> QTable:  # fmt: skip
    x, y, amplitude = catalogue["x"], catalogue["y"], catalogue["amplitude"]
    major, minor, theta = catalogue["fwhm_major"], catalogue["fwhm_minor"], catalogue["theta"]
    jacobian = image.jacobian(x, y)
    sky = sky_ellipse_from_pixel(Ellipse(major, minor, theta), jacobian)
    beam_area = image.beam.solid_angle / np.abs(np.linalg.det(jacobian))
    coordinates = SkyCoord(*celestial_degrees(image.wcs, x, y), unit="deg", frame=model.frame)
    icrs, galactic = coordinates.icrs, coordinates.galactic
    iy, ix = np.rint(y).astype(int), np.rint(x).astype(int)
    nearest = np.full(x.size, np.inf)
    if x.size > 1:
        points = np.column_stack([x, y])
        nearest = cKDTree(points).query(points, k=2)[0][:, 1] / model.beam_fwhm_pix
    jy_pixel = u.Jy / u.pix
    table = QTable(
        {
            "ID": np.arange(1, x.size + 1),
            "X": x * u.pix,
            "Y": y * u.pix,
            "RA": icrs.ra.deg * u.deg,
            "DEC": icrs.dec.deg * u.deg,
            "GLON": galactic.l.deg * u.deg,
            "GLAT": galactic.b.deg * u.deg,
            "FLUX": amplitude * major * minor * profile_area(_beta(model)) * u.Jy,
            "FLUX_PEAK": amplitude * beam_area * u.Jy / u.beam,
            "AMPLITUDE": amplitude * jy_pixel,
            "FWHM_1": sky.major * u.arcsec,
            "FWHM_2": sky.minor * u.arcsec,
            "PA": sky.angle * u.deg,
            "PEAK_SNR": amplitude / sigma,
            "PEAK_TO_NOISE": amplitude / noise_rms[iy, ix],
            "BACKGROUND": background[iy, ix] * jy_pixel,
            "NEAREST": nearest,
            "ISOLATED": nearest > ISOLATION_BEAMS,
        }
    )
    table.meta.update(
        map=image.name, profile=model.profile, shape=list(image.shape), beam=list(model.beam),
        beam_pixels=model.beam_fwhm_pix, sigma_jy_per_pixel=sigma, pa_frame=model.frame,
    )  # fmt: skip
    return table
