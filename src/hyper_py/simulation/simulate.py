"""Maps and cubes with exact truth.

A simulated map is the sum of three arrays: sources, noise and background, each of which is returned, and
each of which has random numbers of its own: changing the number of sources does not change the noise.

Sources are sampled at pixel centres (not integrated over pixels), as in the published maps. Their true
flux is the analytical integral, which the sum over pixels reproduces to 1e-3 and better where the minor
FWHM is above 1.5 pixels. Sizes are those seen in the map: nothing is convolved with the beam afterwards,
except with its side lobes. In a dirty map FLUX is that of the sky, and peaks are those that the map shows.
"""

from __future__ import annotations  # short signatures in notebooks

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from astropy import units as u
from astropy.table import QTable

from hyper_py.arrays import FloatArray, IndexArray
from hyper_py.diagnostics import ConfigurationError
from hyper_py.display import Summarised, Summary, shows_keywords
from hyper_py.geometry import Ellipse, covariance_from_ellipse, pixel_ellipse_from_sky
from hyper_py.image import SkyImage
from hyper_py.simulation import fields, interferometer
from hyper_py.simulation.limits import source_limits
from hyper_py.simulation.presets import SkyModel, sky_model
from hyper_py.simulation.recipe import Recipe, plain_seed
from hyper_py.simulation.resolved import add_resolved
from hyper_py.simulation.truth import draw_profiles, draw_sources, moffat_beta, truth_table

LINE_REACH = 1.5
"""A line is exactly zero beyond this many FWHM from its centre, where it is below 0.2% of its peak."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Simulation(Summarised):
    """One simulated map, its truth and what it was made of.

    Attributes
    ----------
    image : SkyImage
        The map in Jy/pixel; `image.unit` and `image.jy_per_pixel` say how to write it.
    truth : astropy.table.QTable
        One row a source, names and units as in the catalogue; the metadata say how it was made. Rows of
        which CLUMP is true are clumps of complexes, which count neither for nor against a finder
        (`hyper_py.simulation.complexes.on_clumps`): they are in `background`.
    sources, noise, background : ndarray, shape (ny, nx)
        Jy/pixel; their sum is the map, except for blank pixels.
    noise_rms : ndarray, shape (ny, nx)
        True rms of the noise in Jy/pixel.
    sigma : float
        Jy/pixel: the unit of PEAK_SNR (see `SkyModel.peak_scale`).
    grid : (int, int)
        Shape of the grid on which noise and background were made.
    noise_power, background_power : ndarray, shape (gy, gx // 2 + 1)
        Power spectra on that grid as in `hyper_py.simulation.fields`, (Jy/pixel)^2; of the random part of the
        background only, without gradient and filaments; averaged over the map where strengths vary.
    model : SkyModel
        The kind of sky.
    psf : ndarray, shape (gy, gx), optional
        The dirty beam of an interferometer, peak 1 at pixel (gy // 2, gx // 2).

    Examples
    --------
    >>> import hyper_py, numpy as np
    >>> sky = hyper_py.simulate_image("faint", seed=1, shape=(60, 80), n_sources=2)
    >>> bool(np.allclose(sky.image.data, sky.sources + sky.noise + sky.background))
    True
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
    psf: FloatArray | None = None

    def _summary(self) -> Summary:
        image, per_beam = self.image, 1e3 * self.image.beam_area_pix
        ny, nx = image.shape
        rms = float(np.nanmedian(self.noise_rms)) * per_beam
        return Summary(
            title=f"Simulation {image.name!r}: {len(self.truth)} sources",
            facts=(
                ("map", f"{nx} x {ny} pixels of {image.pixel_scale:.4g} arcsec"),
                ("beam", f"{image.beam.major:.4g} x {image.beam.minor:.4g} arcsec"),
                ("noise", f"{rms:.3g} mJy/beam"),
                ("seed", str(self.truth.meta["seed"])),
                ("see", ".image, .truth, .sources, .noise, .background"),
            ),
        )

    def autocovariance(self, radius: int, *, background: bool = True) -> FloatArray:
        """Return the true autocovariance of the noise, and by default of the background with it.

        Shape (2 radius + 1, 2 radius + 1), (Jy/pixel)^2, lag 0 in the middle; averaged over the map
        where strengths vary.
        """
        power = self.noise_power + self.background_power if background else self.noise_power
        return fields.autocovariance(self.grid, power, radius)

    def limits(self, *, radius_beams: float = 4.0, free_mean: bool = True) -> QTable:
        """Return the Cramer-Rao limit of the error of every quantity of every source.

        The bound for estimators that know the covariance of noise and background, and nothing else: for a
        log-normal background, errors are larger than it where the background is bright, and smaller where
        it is faint.

        Parameters
        ----------
        radius_beams : float
            Radius of the window around each source, in beams.
        free_mean : bool
            Whether the local mean is unknown.

        Returns
        -------
        QTable
            ID, and errors named and measured as in the catalogue.

        Raises
        ------
        ConfigurationError
            If sources are not Gaussian, or have side lobes, or the strength of the background varies; for
            interferometers and complexes.
        """
        resolved = self.model.resolved
        other = resolved is not None and set(resolved.profiles) != {"gaussian"}
        if other or self.model.profile != "gaussian" or self.model.side_lobes:
            raise ConfigurationError("limits: only for Gaussian sources without side lobes")
        if self.model.background_variation > 1.0:
            raise ConfigurationError("limits: only on a background of one strength (background_variation)")
        if self.model.interferometer or self.model.complexes:
            raise ConfigurationError("limits: not known for maps of interferometers and for complexes")
        radius, truth = math.ceil(radius_beams * self.model.beam_fwhm_pix), self.truth
        x, y, amplitude = (truth[name].value for name in ("X", "Y", "AMPLITUDE"))
        major, minor, theta = self.pixel_ellipses
        iy, ix = np.rint(y).astype(int), np.rint(x).astype(int)
        varies = self.model.noise_variation > 1 or self.model.coverage is not None
        rms = math.sqrt(fields.plane_mean(self.noise_power, self.grid[1]))
        best = source_limits(
            x=x, y=y, amplitude=amplitude, fwhm_major=major, fwhm_minor=minor, theta=theta,
            autocovariance=self.autocovariance(2 * radius), valid=np.isfinite(self.image.data), radius=radius,
            scale=self.noise_rms[iy, ix] / rms if varies else None,
            noise_autocovariance=self.autocovariance(2 * radius, background=False), free_mean=free_mean,
        )  # fmt: skip
        arcsec = self.image.pixel_scale * u.arcsec
        return QTable(
            {
                "ID": truth["ID"],
                "FLUX_GAUSS_ERR": best.flux * u.Jy,
                "FLUX_PEAK_ERR": best.amplitude / amplitude * truth["FLUX_PEAK"],
                "X_ERR": best.x * u.pix,
                "Y_ERR": best.y * u.pix,
                "FWHM_1_ERR": best.fwhm_major * arcsec,
                "FWHM_2_ERR": best.fwhm_minor * arcsec,
                "FWHM_GEOM_ERR": best.fwhm_geom * arcsec,
                "PA_ERR": np.degrees(best.theta) * u.deg,
            }
        )

    @property
    def pixel_ellipses(self) -> Ellipse:
        """FWHM in pixels and angles from +x of the sources."""
        truth = self.truth
        sky = Ellipse(*(truth[name].value for name in ("FWHM_1", "FWHM_2", "PA")))
        return pixel_ellipse_from_sky(sky, self.image.jacobian(truth["X"].value, truth["Y"].value))

    @property
    def is_dirty(self) -> bool:
        """Whether sources are seen through the dirty beam."""
        array = self.model.interferometer
        return array is not None and array.image == "dirty"

    def header(self) -> dict[str, str | float | int]:
        """Return the FITS keywords that describe the map in its own unit."""
        return _header(self.image, self.truth.meta["seed"])


@dataclass(frozen=True, kw_only=True, eq=False)
class SimulatedCube:
    """A cube as a stream of maps; nothing is kept but what all channels share.

    Attributes
    ----------
    n_channels : int
        Number of channels.
    frequency, channel_width : float
        Hz: of the first channel, and from one channel to the next.
    line_centre, line_fwhm : ndarray, shape (n_sources,)
        Gaussian line of each source, in channels.
    turnover : float
        Channels after which the random background is an independent one.
    """

    n_channels: int
    frequency: float
    channel_width: float
    line_centre: FloatArray
    line_fwhm: FloatArray
    turnover: float
    _recipe: Recipe

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n_channels, ny, nx)."""
        return self.n_channels, *self._recipe.model.shape

    @property
    def model(self) -> SkyModel:
        """The kind of sky."""
        return self._recipe.model

    def __len__(self) -> int:
        return self.n_channels

    def __iter__(self) -> Iterator[Simulation]:
        return (self.channel(index) for index in range(self.n_channels))

    def channel(self, index: int) -> Simulation:
        """Return one channel (zero-based), whose truth holds the sources that shine in it.

        Its random background is cos(a) B1 + sin(a) B2 with a = pi/2 at `turnover`: it changes steadily
        and keeps its spectrum.
        """
        if not 0 <= index < self.n_channels:
            raise IndexError(f"channel {index} of a cube of {self.n_channels} channels, counted from 0")
        recipe, angle = self._recipe, 0.5 * math.pi * index / self.turnover
        first, second = self._backgrounds
        distance = (index - self.line_centre) / self.line_fwhm
        line = np.where(np.abs(distance) < LINE_REACH, np.exp(-4.0 * math.log(2.0) * distance**2), 0.0)
        return _assemble(
            recipe,
            noise=recipe.noise(index),
            background=recipe.shape_background(math.cos(angle) * first + math.sin(angle) * second),
            sigma=self._sigma,
            brightness=line,
            facts={"channel": index, "frequency": self.frequency + index * self.channel_width},
        )

    @cached_property
    def _backgrounds(self) -> tuple[FloatArray, FloatArray]:
        return self._recipe.random_background(0), self._recipe.random_background(1)

    @cached_property
    def _sigma(self) -> float:
        recipe = self._recipe
        return recipe.sigma(recipe.noise(0), recipe.shape_background(self._backgrounds[0]))

    def data(self) -> FloatArray:
        """Return the whole cube in Jy/pixel, shape (n_channels, ny, nx)."""
        return np.stack([simulation.image.data for simulation in self])

    def header(self) -> dict[str, str | float | int]:
        """Return the FITS keywords of the cube in its own unit, frequency along the third axis."""
        recipe = self._recipe
        spectral: dict[str, str | float | int] = {
            "WCSAXES": 3, "CTYPE3": "FREQ", "CUNIT3": "Hz", "CRPIX3": 1.0, "CRVAL3": self.frequency,
            "CDELT3": self.channel_width, "SPECSYS": "LSRK",
        }  # fmt: skip
        return {**_header(recipe.canvas, recipe.seed), **spectral}


@shows_keywords(SkyModel)
def simulate_image(
    preset: str | SkyModel = "alma", *, seed: int | np.random.Generator, **overrides: Any
) -> Simulation:
    """Return a simulated map with exact truth.

    Parameters
    ----------
    preset : str or SkyModel
        A name in `hyper_py.simulation.presets.PRESETS`, such as "alma", "herschel" or "faint", or a sky of
        your own.
    seed : int or numpy.random.Generator
        Same seed, same map. A generator gives the seed by one draw.
    **overrides
        Any field of `hyper_py.simulation.presets.SkyModel`.

    Returns
    -------
    Simulation

    Raises
    ------
    ConfigurationError
        If an option makes no sense, or the sources cannot be placed as asked.

    Examples
    --------
    >>> import hyper_py
    >>> sky = hyper_py.simulate_image("faint", seed=1, shape=(120, 140), n_sources=5)
    >>> sky.image.shape, len(sky.truth)
    ((120, 140), 5)
    """
    recipe = Recipe.of(sky_model(preset, **overrides), plain_seed(seed))
    noise, background = recipe.noise(), recipe.shape_background(recipe.random_background())
    return _assemble(recipe, noise=noise, background=background, sigma=recipe.sigma(noise, background))


@shows_keywords(SkyModel)
def simulate_cube(
    preset: str | SkyModel = "cube",
    *,
    seed: int | np.random.Generator,
    n_channels: int = 24,
    frequency: float = 230.5e9,
    channel_width: float = 1.0e6,
    line_fwhm: tuple[float, float] = (2.0, 8.0),
    turnover: float = 12.0,
    **overrides: Any,
) -> SimulatedCube:
    """Return a simulated cube: sources with Gaussian lines on a background that changes with channel.

    Parameters
    ----------
    preset, seed, **overrides
        As for `simulate_image`. Peaks of the truth of a channel are those in that channel; `peak_range`
        is that of the line centres.
    n_channels : int
        Number of channels.
    frequency, channel_width : float
        Hz: of the first channel, and from one channel to the next.
    line_fwhm : (float, float)
        Range of line widths in channels, uniform; centres are uniform over the cube.
    turnover : float
        Channels after which the random background is an independent one.

    Returns
    -------
    SimulatedCube

    Raises
    ------
    ConfigurationError
        If an option makes no sense.

    Examples
    --------
    >>> import hyper_py
    >>> sky = hyper_py.simulate_cube(seed=1, n_channels=3, shape=(60, 70), n_sources=2)
    >>> sky.data().shape
    (3, 60, 70)
    """
    if n_channels < 1 or channel_width == 0 or frequency <= 0 or turnover <= 0 or not min(line_fwhm) > 0:
        raise ConfigurationError(
            f"simulation: a cube needs at least one channel ({n_channels}), a frequency ({frequency}), "
            f"a channel width ({channel_width}), line widths {line_fwhm} and a turnover ({turnover}) above 0"
        )
    recipe = Recipe.of(sky_model(preset, **overrides), plain_seed(seed))
    rng, n = recipe.rng("lines"), recipe.model.n_sources
    return SimulatedCube(
        n_channels=n_channels, frequency=frequency, channel_width=channel_width,
        line_centre=rng.uniform(0.0, n_channels - 1.0, n), line_fwhm=rng.uniform(*line_fwhm, n),
        turnover=turnover, _recipe=recipe,
    )  # fmt: skip


def _assemble(
    recipe: Recipe, *, noise: FloatArray, background: FloatArray, sigma: float,
    brightness: FloatArray | float = 1.0, facts: dict[str, Any] | None = None,
) -> Simulation:  # fmt: skip
    """Add sources of peaks in units of `sigma`, dimmed by `brightness`, and tell the truth."""
    model = recipe.model
    drawn = draw_sources(
        recipe.rng("sources"), model, sigma, valid=None if model.coverage is None else ~recipe.blank,
        emission=recipe.emission_image, relative_noise=recipe.variation,
        beam_covariance=recipe.beam_covariance,
    )  # fmt: skip
    drawn["amplitude"] = drawn["amplitude"] * brightness
    lit = drawn["amplitude"] > 0
    drawn = {key: values[lit] for key, values in drawn.items()}
    sources = _drawn_sources(recipe, drawn)
    if model.side_lobes:
        sources = fields.convolve(sources, recipe.lobes, recipe.grid)
    if recipe.sampling is not None:
        sources, drawn["peak"] = _through_array(recipe, sources, drawn)
    data = np.where(recipe.blank, np.nan, sources + noise + background)
    noise_rms = recipe.rms * recipe.variation
    image = replace(recipe.canvas, data=data, meta=dict(facts or {}))
    if model.coverage is not None and model.coverage.error_extension:
        image = replace(image, error=np.where(recipe.blank, np.nan, noise_rms))
    drawn, ids = _with_clumps(recipe, drawn, np.flatnonzero(lit) + 1)
    truth = truth_table(image, model, drawn, sigma=sigma, noise_rms=noise_rms, background=background)
    truth["ID"] = ids
    truth.meta.update(seed=recipe.seed, **image.meta)
    return Simulation(
        image=image, truth=truth, sources=sources, noise=noise, background=background,
        noise_rms=noise_rms, sigma=sigma, grid=recipe.grid, noise_power=recipe.noise_power,
        background_power=recipe.background_power, model=model,
        psf=None if recipe.sampling is None else recipe.sampling.dirty_beam,
    )  # fmt: skip


def _drawn_sources(recipe: Recipe, drawn: dict[str, FloatArray]) -> FloatArray:
    """Return the image of the sources, and give those of which some are resolved their fluxes."""
    model = recipe.model
    if model.resolved is None:
        return draw_profiles(model.shape, **drawn, beta=moffat_beta(model))
    simple = drawn["profile"] == 0
    gaussians = {key: values[simple] for key, values in drawn.items() if key != "profile"}
    image = draw_profiles(model.shape, **gaussians, beta=None)
    drawn["flux"], drawn["in_aperture"] = add_resolved(image, drawn, beam_covariance=recipe.beam_covariance)
    return image


def _through_array(
    recipe: Recipe, sources: FloatArray, drawn: dict[str, FloatArray]
) -> tuple[FloatArray, FloatArray]:
    """Return the sources as an interferometer's map shows them, and the peak of each, in Jy/pixel.

    What is drawn is restored with the CLEAN beam. The part that was not cleaned, all in a dirty map, has the
    dirty beam instead.
    """
    model, sampling = recipe.model, recipe.sampling
    assert sampling is not None  # for type checkers
    assert model.interferometer is not None
    shapes = covariance_from_ellipse(drawn["fwhm_major"], drawn["fwhm_minor"], drawn["theta"])
    peak = drawn["amplitude"]
    dirty = np.ones(peak.size)
    if model.interferometer.image == "clean":
        dirty = np.minimum(model.interferometer.clean_depth * recipe.rms / peak, 1.0)
    if not dirty.any():
        return sources, peak
    left = draw_profiles(model.shape, **{**drawn, "amplitude": peak * dirty}, beta=None)
    beam = fields.gaussian_transfer(recipe.grid, sampling.beam_covariance)
    area = interferometer.beam_area(sampling.beam_covariance)
    ratio = np.where(sampling.weight > 0, sampling.transfer(area), 0.0) / beam
    seen = fields.convolve(left, ratio, recipe.grid)
    return sources - left + seen, peak * (1.0 - dirty + dirty * sampling.peak_ratio(shapes))


def _with_clumps(
    recipe: Recipe, drawn: dict[str, FloatArray], ids: IndexArray
) -> tuple[dict[str, FloatArray], IndexArray]:
    """Return the sources with the clumps of the complexes after them, and numbers of all."""
    if recipe.emission is None:
        return drawn, ids
    clumps = recipe.emission.clumps
    n = clumps["x"].size
    clumps = {**clumps, "amplitude": recipe.rms * clumps["amplitude"], "clump": np.ones(n)}
    drawn = {**drawn, "clump": np.zeros(ids.size)}
    first = recipe.model.n_sources + 1
    return {key: np.concatenate([drawn[key], clumps[key]]) for key in clumps}, np.concatenate(
        [ids, np.arange(first, first + n)]
    )


def _header(image: SkyImage, seed: int) -> dict[str, str | float | int]:
    return {
        **dict(image.wcs.to_header(relax=True)),
        "BUNIT": image.unit,
        "BMAJ": image.beam.major / 3600.0,
        "BMIN": image.beam.minor / 3600.0,
        "BPA": image.beam.pa,
        "OBJECT": image.name,
        "SIMSEED": str(seed),
    }
