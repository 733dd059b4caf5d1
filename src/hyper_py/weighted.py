"""The classical way: a polynomial background fitted apart, weighted least squares, hybrid apertures.

The fit may weigh pixels as it likes; its errors come from the measured noise covariance all the same, carried
through the fit, the background and the aperture, which are all linear in the data to first order.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from hyper_py import models
from hyper_py.background import Background, select_backgrounds
from hyper_py.diagnostics import Flag
from hyper_py.fitting import Metric, UnitFit, Window, bounds, fit_window, influence, second_moments
from hyper_py.geometry import FWHM_PER_SIGMA, FloatArray
from hyper_py.noise import CovarianceModel
from hyper_py.noise_field import measure_noise
from hyper_py.options import Options
from hyper_py.photometry import (
    Aperture,
    UnitPhotometry,
    aperture_fraction,
    aperture_on_pixels,
    flux_gradient,
    source_aperture,
)
from hyper_py.sweeps import Bounds, Collector, Measured, Task, retry_failed, sweep_units

IntArray: TypeAlias = NDArray[np.int64]
BoolArray: TypeAlias = NDArray[np.bool_]

WEIGHTS = ("inverse_rms", "snr", "power_snr", "map", "mask", "spatial")


@dataclass(frozen=True, kw_only=True, eq=False)
class UnitBackground:
    """A background polynomial and where its cutout lies in the map.

    Attributes
    ----------
    polynomial : Background
    y0, x0 : int
        Map pixel of the cutout's first pixel.
    """

    polynomial: Background
    y0: int
    x0: int

    @property
    def order(self) -> int:
        """Order of the polynomial; -1 if there is none."""
        return -1 if self.polynomial.estimator == "none" else self.polynomial.order

    def at(self, y: IntArray, x: IntArray) -> FloatArray:
        """Return the background at map pixels."""
        return self.polynomial.evaluate(y - self.y0, x - self.x0)

    def paint(self) -> tuple[IntArray, IntArray, FloatArray, FloatArray]:
        """Return y, x, background and weight on the box, the weight falling off towards its edges."""
        y0, y1, x0, x1 = self.polynomial.box
        y, x = np.mgrid[y0:y1, x0:x1]
        across = np.sin(np.pi * (y - y0 + 0.5) / (y1 - y0)) * np.sin(np.pi * (x - x0 + 0.5) / (x1 - x0))
        values, weights = self.polynomial.evaluate(y, x), across**2
        return y.ravel() + self.y0, x.ravel() + self.x0, values.ravel(), weights.ravel()


def box_sizes(*, fwhm: float, min_box: float, max_box: float, aper_sup: float, extent: float) -> list[int]:
    """Return the sides in pixels, odd, in steps of 2, of the background boxes to try.

    Parameters
    ----------
    fwhm : float
        Of the beam, in pixels.
    min_box, max_box : float
        Half-sizes in beams.
    aper_sup : float
        Largest source in beams, added on both sides.
    extent : float
        Largest separation within the group, in pixels.
    """
    smallest, largest = (
        math.ceil(2 * math.ceil(box * fwhm) + 2 * aper_sup * fwhm + extent) // 2 * 2 + 1
        for box in (min_box, max(min_box, max_box))
    )
    return list(range(smallest, largest + 1, 2))


def unit_backgrounds(
    data: FloatArray,
    mask: BoolArray,
    sources: FloatArray,
    units: Sequence[IntArray],
    *,
    fwhm: float,
    beam_area: float,
    rms: float | FloatArray,
    min_box: float,
    max_box: float,
    aper_sup: float,
    orders: Sequence[int],
    estimators: Sequence[str],
    huber_epsilons: Sequence[float],
    criterion: str,
    clip_sigma: float | None = 3.0,
) -> list[UnitBackground]:
    """Choose a background polynomial for each unit.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
    mask : bool ndarray, shape (ny, nx)
        Sources and blank pixels.
    sources : ndarray, shape (n, 6)
    units : sequence of int ndarray
    fwhm, beam_area : float
        Of the beam, in pixels.
    rms : float or ndarray
        Noise per pixel.
    min_box, max_box, aper_sup
        See `box_sizes`; `min_box` 0 takes the whole map for all.
    orders, estimators, huber_epsilons, criterion, clip_sigma
        See `hyper_py.background.select_backgrounds`.
    """
    ny, nx = data.shape

    def select(
        cutouts: FloatArray, masks: BoolArray, levels: FloatArray, boxes: Sequence[tuple[int, int, int, int]]
    ) -> list[Background]:
        return select_backgrounds(
            cutouts,
            masks,
            boxes=boxes,
            orders=orders,
            rms=levels,
            beam_area=beam_area,
            estimators=estimators,
            huber_epsilons=huber_epsilons,
            criterion=criterion,
            clip_sigma=clip_sigma,
        )

    if min_box == 0:
        level = np.atleast_1d(np.nanmedian(rms))
        whole = select(data[None], mask[None], level, [(0, ny, 0, nx)])[0]
        return [UnitBackground(polynomial=whole, y0=0, x0=0)] * len(units)
    sides = [
        box_sizes(
            fwhm=fwhm, min_box=min_box, max_box=max_box, aper_sup=aper_sup, extent=_extent(sources[unit])
        )
        for unit in units
    ]
    pad = max((s[-1] for s in sides), default=1) // 2 + 1
    padded = np.pad(np.where(mask, np.nan, data), pad, constant_values=np.nan)
    levels = np.pad(rms, pad, mode="edge") if isinstance(rms, np.ndarray) else None
    chosen: list[UnitBackground | None] = [None] * len(units)
    alike: dict[tuple[int, ...], list[int]] = {}
    for k, s in enumerate(sides):
        alike.setdefault((s[0], s[-1]), []).append(k)
    for (smallest, largest), members in alike.items():
        boxes = [_centred(side, largest) for side in range(smallest, largest + 1, 2)]
        corners = np.array([_corner(sources[units[k]], largest) for k in members])
        rows = corners[:, 0, None] + pad + np.arange(largest)
        columns = corners[:, 1, None] + pad + np.arange(largest)
        np.clip(rows, 0, padded.shape[0] - 1, out=rows)
        np.clip(columns, 0, padded.shape[1] - 1, out=columns)
        where = rows[:, :, None], columns[:, None, :]
        cutouts = padded[where]
        noise = np.atleast_1d(rms) if levels is None else levels[where]
        picks = select(cutouts, ~np.isfinite(cutouts), np.asarray(noise), boxes)
        for k, (y0, x0), polynomial in zip(members, corners, picks, strict=True):
            chosen[k] = UnitBackground(polynomial=polynomial, y0=int(y0), x0=int(x0))
    return [background for background in chosen if background is not None]


def _extent(sources: FloatArray) -> float:
    """Largest separation of sources along x or y."""
    return float(np.ptp(sources[:, [models.X, models.Y]], axis=0).max())


def _centred(side: int, largest: int) -> tuple[int, int, int, int]:
    start = (largest - side) // 2
    return start, start + side, start, start + side


def _corner(sources: FloatArray, side: int) -> tuple[int, int]:
    """Return (y0, x0) of a square of this side around the middle of the sources."""
    low, high = sources[:, [models.Y, models.X]].min(axis=0), sources[:, [models.Y, models.X]].max(axis=0)
    y, x = np.rint(0.5 * (low + high)).astype(int) - side // 2
    return int(y), int(x)


def pixel_weights(
    kind: str | None,
    values: FloatArray,
    window: Window,
    sources: FloatArray,
    *,
    power_snr: float,
    spatial_sigma: float,
    mean: float,
    std: float,
) -> FloatArray:
    """Return what each residual is multiplied by.

    Parameters
    ----------
    kind : str or None
        None: 1; inverse_rms: 1 / (std + |mean|); snr: max(d / std, 0); power_snr: its power; map: d;
        mask: 1 within 3 std of the mean, else 0; spatial: a Gaussian around the sources.
    values : ndarray, shape (n,)
        The map d on the window.
    window : Window
    sources : ndarray, shape (n_sources, 6)
    power_snr : float
        Exponent of power_snr.
    spatial_sigma : float
        Of the Gaussian of spatial, in pixels.
    mean, std : float
        Clipped statistics of the surroundings.
    """
    if kind is None:
        return np.ones(values.shape)
    if kind == "inverse_rms":
        return np.full(values.shape, 1.0 / (std + abs(mean)))
    if kind == "snr":
        return np.maximum(values / std, 0.0)
    if kind == "power_snr":
        return np.maximum(values / std, 0.0) ** power_snr
    if kind == "map":
        return values.copy()
    if kind == "mask":
        return (np.abs(values - mean) <= 3.0 * std).astype(np.float64)
    if kind == "spatial":
        dy = window.y - sources[:, models.Y, None]
        dx = window.x - sources[:, models.X, None]
        nearest: FloatArray = np.exp(-0.5 * (dx**2 + dy**2) / spatial_sigma**2).max(axis=0)
        return nearest
    raise ValueError(f"weights must be null or one of {WEIGHTS}, not {kind!r}")


def measure_weighted(task: Task, options: Options) -> Measured:
    """Fit and measure all sources of a map the classical way.

    An original configuration gets one pass, as there; ours a second one, in which the footprints are those of
    the fitted sources and their wings are subtracted before the background is fitted.
    """
    sources = task.start
    residual = task.data
    for is_last in (True,) if options.original else (False, True):
        mask = models.footprints(sources, task.data.shape) | ~task.usable
        backgrounds = _backgrounds(residual, mask, sources, task, options)
        if residual is task.data:
            sources, limits = _starting_point(task, backgrounds, options)
        setup = _Setup.make(task, sources, backgrounds, options)
        sources, fits = sweep_units(
            task.data, sources, task.units, setup.windows, setup.metrics, setup.values, bounds=limits,
            max_sweeps=4 if is_last else 2, **setup.solver,
        )  # fmt: skip
        residual = task.data - models.render(sources, task.data.shape)
    sources, fits, retried = retry_failed(
        task.data, sources, fits, task.units, setup.windows, setup.metrics, setup.values,
        starts=[task.start], bounds=limits, **setup.solver,
    )  # fmt: skip
    noise, level = measure_noise(
        residual,
        models.footprints(sources, task.data.shape, n_sigma=3.0) | ~task.usable,
        beam_covariance=task.beam_covariance,
        beam_fwhm=task.beam_fwhm,
        relative=task.relative_noise,
    )
    collected = Collector(len(sources))
    for k, unit in enumerate(task.units):
        fit, window, background = fits[k], setup.windows[k], backgrounds[k]
        if window.y.size == 0:
            collected.add_nothing(unit)
            continue
        apertures = [
            source_aperture(p, radius_in_fwhm=options.photometry.fwhm_radius_ratio) for p in fit.parameters
        ]
        fractions = np.array(
            [aperture_fraction(p, a) for p, a in zip(fit.parameters, apertures, strict=True)]
        )
        errors = unit_errors(
            fit, window, setup.metrics[k], background, apertures, fractions, noise,
            scale=float(np.mean(level[window.y, window.x])), fixed=task.fixed[unit], usable=task.usable,
        )  # fmt: skip
        photometry = hybrid_fluxes(residual, fit, background, apertures, fractions, errors)
        left = residual[window.y, window.x] - setup.values[k]
        collected.add_fit(
            unit, fit, left, task.data[window.y, window.x], n_free=int((~task.fixed[unit]).sum()),
            chi2=float(np.sum((left / setup.rms[k]) ** 2)), n_beams=left.size / task.beam_area,
            retried=bool(retried[k]),
        )  # fmt: skip
        collected.add_photometry(unit, photometry, apertures, task.usable)
        collected.order[unit] = background.order
        collected.flags[unit] |= int(background.polynomial.flag)
    collected.patches.extend(background for background in backgrounds if background.order >= 0)
    if noise.assumed:
        collected.flags |= int(Flag.NOISE_ASSUMED)
    return collected.measured(sources)


def _backgrounds(
    data: FloatArray, mask: BoolArray, sources: FloatArray, task: Task, options: Options
) -> list[UnitBackground]:
    """Choose the backgrounds of all units as the options say."""
    background, fit = options.background, options.fit_options
    if background.method == "none":
        return [UnitBackground(polynomial=Background.none(), y0=0, x0=0)] * len(task.units)
    return unit_backgrounds(
        data, mask, sources, task.units, fwhm=task.beam_fwhm, beam_area=task.beam_area, rms=task.rms,
        min_box=background.fix_min_box, max_box=background.fix_max_box, aper_sup=options.photometry.aper_sup,
        orders=background.pol_orders_separate, estimators=fit.bg_fitters, huber_epsilons=fit.huber_epsilons,
        criterion=fit.min_method,
    )  # fmt: skip


def _starting_point(
    task: Task, backgrounds: Sequence[UnitBackground], options: Options
) -> tuple[FloatArray, Bounds]:
    """Return starting values from local peaks and second moments above the background, and bounds."""
    start, sigma = task.start.copy(), task.beam_fwhm / FWHM_PER_SIGMA
    photometry = options.photometry
    limits = photometry.aper_inf * sigma, photometry.aper_sup * sigma
    moment = np.full(len(start), sigma)
    for unit, background in zip(task.units, backgrounds, strict=True):
        for i in unit:
            near = fit_window(
                start[i : i + 1, models.X], start[i : i + 1, models.Y],
                radius=np.array([1.2 * task.beam_fwhm]), usable=task.usable,
            )  # fmt: skip
            if near.x.size == 0:
                continue
            values = task.data[near.y, near.x] - background.at(near.y, near.x)
            dy, dx = near.y - start[i, models.Y], near.x - start[i, models.X]
            centre = (np.abs(dy) <= 1.5) & (np.abs(dx) <= 1.5)
            if centre.any():
                start[i, models.AMPLITUDE] = values[centre].max()
            if not task.fixed[i, models.SIGMA_1]:
                covariance = second_moments(values, dy, dx, width=sigma)
                if np.isfinite(covariance).all():
                    shape = models.shape_parameters(covariance)
                    moment[i] = shape[0]
                    start[i, models.SIGMA_1 : models.THETA] = np.clip(shape[:2], *limits)
                    start[i, models.THETA] = shape[2]
    peak = start[:, models.AMPLITUDE]
    if options.original:
        together = np.zeros(len(start), dtype=bool)
        for unit in task.units:
            together[unit] = len(unit) > 1
        ends = np.stack([np.where(together, 0.4, 0.8) * peak, 1.3 * peak])
        amplitude = ends.min(axis=0), ends.max(axis=0)
        largest = np.maximum(limits[1], 1.2 * moment)
    else:
        amplitude = np.full(len(start), -np.inf), np.full(len(start), np.inf)
        largest = np.full(len(start), limits[1])
    lower, upper = bounds(
        start,
        sigma_limits=(np.full(len(start), limits[0]), largest),
        amplitude_limits=amplitude,
        shift=task.shift,
    )
    return start, Bounds(lower=np.where(task.fixed, start, lower), upper=np.where(task.fixed, start, upper))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Setup:
    """Windows, metrics and backgrounds on the windows, unit by unit; options of the solver."""

    windows: list[Window]
    metrics: list[Metric]
    values: list[FloatArray]
    rms: list[FloatArray]
    solver: dict[str, Any]

    @classmethod
    def make(
        cls, task: Task, sources: FloatArray, backgrounds: Sequence[UnitBackground], options: Options
    ) -> "_Setup":
        fit, sigma = options.fit_options, task.beam_fwhm / FWHM_PER_SIGMA
        windows, metrics, values, levels = [], [], [], []
        for unit, background in zip(task.units, backgrounds, strict=True):
            own = sources[unit]
            if options.original and len(unit) > 1:
                radius = own[:, models.SIGMA_1] + fit.fit_aperture_sigma * sigma
            else:
                radius = np.full(len(unit), (options.photometry.aper_sup + fit.fit_aperture_sigma) * sigma)
            window = fit_window(own[:, models.X], own[:, models.Y], radius=radius, usable=task.usable)
            sky = background.at(window.y, window.x)
            rms = (
                task.rms[window.y, window.x] if isinstance(task.rms, np.ndarray)
                else np.full(sky.shape, task.rms)
            )  # fmt: skip
            weights = pixel_weights(
                fit.weights, task.data[window.y, window.x] - sky, window, own, power_snr=fit.power_snr,
                spatial_sigma=fit.spatial_weight_sigma * sigma, **_surroundings(task.data, background),
            )  # fmt: skip
            windows.append(window)
            metrics.append(Metric(weights=weights if options.original else weights / rms))
            values.append(sky)
            levels.append(rms)
        # Residuals of an original configuration are in mJy with convert_mJy, and so is its f_scale.
        unit_of_scale = 1.0
        if options.original and options.convert_mJy:
            unit_of_scale = {"inverse_rms": 1.0, "map": 1e6}.get(str(fit.weights), 1e3)
        solver = {
            "loss": fit.loss, "f_scale": fit.f_scale / unit_of_scale, "ftol": fit.ftol, "xtol": fit.xtol,
            "gtol": fit.gtol, "max_evaluations": fit.max_nfev,
        }  # fmt: skip
        return cls(windows=windows, metrics=metrics, values=values, rms=levels, solver=solver)


def _surroundings(data: FloatArray, background: UnitBackground) -> dict[str, float]:
    """Return mean and standard deviation of what the background left on its own pixels."""
    y, x = background.polynomial.fit_pixels
    left = data[y + background.y0, x + background.x0] - background.polynomial.evaluate(y, x)
    return {"mean": float(left.mean()), "std": float(left.std())} if left.size else {"mean": 0.0, "std": 1.0}


@dataclass(frozen=True, kw_only=True, eq=False)
class UnitErrors:
    """Errors of one unit's fluxes and parameters; see `hyper_py.photometry.UnitPhotometry`."""

    flux_err: FloatArray
    flux_gauss_err: FloatArray
    covariance: FloatArray


def hybrid_fluxes(
    residual: FloatArray,
    fit: UnitFit,
    background: UnitBackground,
    apertures: Sequence[Aperture],
    fractions: FloatArray,
    errors: UnitErrors,
) -> UnitPhotometry:
    """Return the aperture fluxes of a unit on the map minus background and companions.

    The aperture sum of a source is that of its own model, which is f times its flux, plus that of the
    residual; pixels that are blank or off the map have no residual, so the model stands in for them.

    Parameters
    ----------
    residual : ndarray, shape (ny, nx)
        Map minus all models, background left in.
    fit, background, apertures, fractions, errors
        Of the unit; `fractions` are the shares f of the sources in their apertures.
    """
    flux, level = models.gaussian_flux(fit.parameters), np.full(len(apertures), np.nan)
    shape = residual.shape[0], residual.shape[1]
    for i, aperture in enumerate(apertures):
        inside = aperture.clipped(shape)
        y, x = (axis.ravel() for axis in np.mgrid[inside.slices])
        sky = background.at(y, x)
        left = residual[inside.slices].ravel() - sky
        weights = np.where(np.isfinite(left), inside.weights.ravel(), 0.0)
        flux[i] += np.sum(weights * np.where(np.isfinite(left), left, 0.0)) / fractions[i]
        level[i] = np.sum(weights * sky) / weights.sum() if weights.any() else np.nan
    return UnitPhotometry(
        flux=flux, flux_err=errors.flux_err, flux_gauss_err=errors.flux_gauss_err, fraction=fractions,
        background=level, covariance=errors.covariance,
    )  # fmt: skip


def unit_errors(
    fit: UnitFit,
    window: Window,
    metric: Metric,
    background: UnitBackground,
    apertures: Sequence[Aperture],
    fractions: FloatArray,
    noise: CovarianceModel,
    *,
    scale: float = 1.0,
    fixed: BoolArray | None = None,
    usable: BoolArray | None = None,
) -> UnitErrors:
    """Carry the noise covariance through fit, background and apertures of one unit.

    Every result is, to first order, a weighted sum over pixels of the data; drawn as an image w, its
    variance is w C w, summed in Fourier space.

    Parameters
    ----------
    fit, window, metric, background
        The unit as fitted.
    apertures : sequence of Aperture
    fractions : ndarray, shape (n_sources,)
        Share of each source in its aperture.
    noise : CovarianceModel
    scale : float
        Local noise in units of `noise`.
    fixed : bool ndarray, shape (n_sources, 6), optional
    usable : bool ndarray, shape (ny, nx), optional
        False where the map is blank: there, and off the map, the model stands in for the data.
    """
    moves, _, _ = influence(fit, window, metric, fixed=fixed)
    gradients = flux_gradient(fit.parameters)
    polynomial = background.polynomial
    fit_y, fit_x = polynomial.fit_pixels
    sky_y, sky_x = fit_y + background.y0, fit_x + background.x0
    pixels = _Box.around(
        [window.y, sky_y, *(_rows(a) for a in apertures)],
        [window.x, sky_x, *(_columns(a) for a in apertures)],
    )
    grid_y, grid_x = pixels.grid()
    sums = np.stack([aperture_on_pixels(a, grid_y, grid_x) for a in apertures]) / fractions[:, None]
    if usable is not None:
        sums *= _are_usable(grid_y, grid_x, usable)
    touched = sums.any(axis=0)
    _, jacobian = models.gaussian_sum_and_jacobian(
        fit.parameters[None],
        grid_y[touched].astype(np.float64)[None],
        grid_x[touched].astype(np.float64)[None],
    )
    n_parameters = len(moves)
    images = np.zeros((n_parameters + 2 * len(apertures), grid_y.size))
    at_window = pixels.index(window.y, window.x)
    images[:n_parameters, at_window] = moves
    images[n_parameters : n_parameters + len(apertures)] = gradients @ images[:n_parameters]
    correction = gradients - sums[:, touched] @ jacobian[0].T
    images[n_parameters + len(apertures) :] = sums + correction @ images[:n_parameters]
    reached = images.any(axis=0)
    design = polynomial.design(grid_y[reached] - background.y0, grid_x[reached] - background.x0)
    seen = images[:, reached] @ design @ polynomial.normal_inverse
    images[:, pixels.index(sky_y, sky_x)] -= seen @ polynomial.design(fit_y, fit_x).T
    covariance = scale**2 * field_covariance(images.reshape(-1, *pixels.shape), noise)
    variance = np.diagonal(covariance)
    return UnitErrors(
        flux_err=np.sqrt(variance[n_parameters + len(apertures) :]),
        flux_gauss_err=np.sqrt(variance[n_parameters : n_parameters + len(apertures)]),
        covariance=covariance[:n_parameters, :n_parameters],
    )


@dataclass(frozen=True)
class _Box:
    """A rectangle of map pixels."""

    y0: int
    x0: int
    shape: tuple[int, int]

    @classmethod
    def around(cls, y: Sequence[IntArray], x: Sequence[IntArray]) -> "_Box":
        y0, y1 = min(int(v.min()) for v in y if v.size), max(int(v.max()) for v in y if v.size)
        x0, x1 = min(int(v.min()) for v in x if v.size), max(int(v.max()) for v in x if v.size)
        return cls(y0, x0, (y1 - y0 + 1, x1 - x0 + 1))

    def grid(self) -> tuple[IntArray, IntArray]:
        y, x = np.mgrid[self.y0 : self.y0 + self.shape[0], self.x0 : self.x0 + self.shape[1]]
        return y.ravel(), x.ravel()

    def index(self, y: IntArray, x: IntArray) -> IntArray:
        return (y - self.y0) * self.shape[1] + (x - self.x0)


def _are_usable(y: IntArray, x: IntArray, usable: BoolArray) -> BoolArray:
    """Whether pixels are on the map and not blank."""
    ny, nx = usable.shape
    inside: BoolArray = (y >= 0) & (y < ny) & (x >= 0) & (x < nx)
    inside[inside] = usable[y[inside], x[inside]]
    return inside


def _rows(aperture: Aperture) -> IntArray:
    return np.array([aperture.y0, aperture.y0 + aperture.weights.shape[0] - 1])


def _columns(aperture: Aperture) -> IntArray:
    return np.array([aperture.x0, aperture.x0 + aperture.weights.shape[1] - 1])


def field_covariance(images: FloatArray, noise: CovarianceModel) -> FloatArray:
    """Return the covariances of weighted sums over noise pixels.

    Parameters
    ----------
    images : ndarray, shape (k, ny, nx)
        Weights of the pixels.
    noise : CovarianceModel

    Returns
    -------
    ndarray, shape (k, k)
    """
    _, ny, nx = images.shape
    shape = fft.next_fast_len(ny + 8, real=True), fft.next_fast_len(nx + 8, real=True)
    power, count = _power(noise, shape)
    waves = fft.rfft2(images, shape).reshape(len(images), -1)
    weighted = waves * (power * count)
    covariance: FloatArray = (waves.real @ weighted.real.T + waves.imag @ weighted.imag.T) / (
        shape[0] * shape[1]
    )
    return covariance


@lru_cache(maxsize=64)
def _power(noise: CovarianceModel, shape: tuple[int, int]) -> tuple[FloatArray, FloatArray]:
    """Power spectrum of the noise on a periodic grid, and how often each half-plane wave counts."""
    reach_y, reach_x = (min(noise.reach, (n - 1) // 2) for n in shape)
    centre = noise.reach
    lags = noise.lags[centre - reach_y : centre + reach_y + 1, centre - reach_x : centre + reach_x + 1]
    grid = np.zeros(shape)
    y, x = np.arange(-reach_y, reach_y + 1), np.arange(-reach_x, reach_x + 1)
    grid[np.ix_(y, x)] = lags
    power = np.maximum(fft.rfft2(grid).real, 0.0).ravel()
    count = np.full((shape[0], shape[1] // 2 + 1), 2.0)
    count[:, 0] = 1.0
    if shape[1] % 2 == 0:
        count[:, -1] = 1.0
    return power, count.ravel()
