"""The classical way: a polynomial background fitted apart, weighted least squares, hybrid apertures.

The fit may weigh pixels as it likes; its errors come from the measured noise covariance all the same, carried
through the fit, the background and the aperture, which are all linear in the data to first order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hyper_py import models
from hyper_py.diagnostics import Flag
from hyper_py.fitting import Metric, Window, bounds, fit_window, second_moments
from hyper_py.geometry import FWHM_PER_SIGMA, FloatArray
from hyper_py.noise_field import measure_noise
from hyper_py.options import Options
from hyper_py.photometry import aperture_fraction, source_aperture
from hyper_py.propagation import hybrid_fluxes, unit_errors
from hyper_py.sweeps import Bounds, Collector, Measured, Task, retry_failed, sweep_units
from hyper_py.unit_backgrounds import UnitBackground, unit_backgrounds

IntArray: TypeAlias = NDArray[np.int64]
BoolArray: TypeAlias = NDArray[np.bool_]

WEIGHTS = ("inverse_rms", "snr", "power_snr", "map", "mask", "spatial")


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
        collected.order[unit] = background.polynomial.order
        collected.flags[unit] |= int(background.polynomial.flag)
    collected.patches.extend(backgrounds)
    if noise.assumed:
        collected.flags |= int(Flag.NOISE_ASSUMED)
    return collected.measured(sources)


def _backgrounds(
    data: FloatArray, mask: BoolArray, sources: FloatArray, task: Task, options: Options
) -> list[UnitBackground]:
    """Choose the backgrounds of all units as the options say."""
    background, fit = options.background, options.fit_options
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
