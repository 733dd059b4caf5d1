"""The classical way: a polynomial background fitted apart, weighted least squares, hybrid apertures.

The fit may weigh pixels as it likes; its errors come from the measured noise covariance all the same, carried
through the fit, the background and the aperture, which are all linear in the data to first order.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hyper_py.diagnostics import Flag
from hyper_py.geometry import FWHM_PER_SIGMA, FloatArray
from hyper_py.numerics import models
from hyper_py.numerics.interpolation import interpolate_masked
from hyper_py.numerics.noise import CovarianceModel, clipped_statistics
from hyper_py.numerics.polynomial import Scaling, polynomial_design
from hyper_py.options import Options
from hyper_py.pipeline.joint import JointSky, NoSky, Sky, affordable_orders, choose_orders, window_scaling
from hyper_py.pipeline.noise_field import measure_noise
from hyper_py.pipeline.propagation import Response, hybrid_fluxes, unit_errors
from hyper_py.pipeline.sweeps import (
    Bounds,
    Collector,
    Measured,
    Task,
    other_starts,
    retry_failed,
    sweep_units,
    unit_values,
)
from hyper_py.pipeline.unit_backgrounds import UnitBackground, unit_backgrounds
from hyper_py.steps.fitting import (
    Metric,
    UnitFit,
    Window,
    bounds,
    fit_window,
    linear_terms,
    second_moments,
    unit_influences,
)
from hyper_py.steps.photometry import aperture_fraction, source_aperture

IntArray: TypeAlias = NDArray[np.int64]
BoolArray: TypeAlias = NDArray[np.bool_]

_INTERPOLATED_SIGMA = 3.0
"""Sources are replaced by interpolation out to this: 1% of their peak."""
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
    sources, residual = task.start, task.data
    for is_last in (True,) if options.original else (False, True):
        apart = fit_backgrounds(residual, sources, task, options)
        if residual is task.data:
            sources, limits = _starting_point(task, apart, options)
        setup = _Setup.make(task, sources, apart, limits, options, choose=is_last)
        sources, fits = sweep_units(
            task.data, sources, task.units, setup.windows, setup.metrics, setup.values, bounds=limits,
            max_sweeps=4 if is_last else 2, **setup.solver,
        )  # fmt: skip
        residual = task.data - models.render(sources, task.data.shape)
    sources, fits, retried = retry_failed(
        task.data, sources, fits, task.units, setup.windows, setup.metrics, setup.values,
        starts=other_starts(task, sources), bounds=limits, **setup.solver,
    )  # fmt: skip
    residual = task.data - models.render(sources, task.data.shape)
    noise, level = measure_noise(
        residual,
        models.footprints(sources, task.data.shape, n_sigma=3.0) | ~task.usable,
        beam_covariance=task.beam_covariance,
        beam_fwhm=task.beam_fwhm,
        relative=task.relative_noise,
    )
    collected, left, last = Collector(len(sources)), np.nan, None
    responses = unit_influences(
        fits, setup.windows, setup.metrics, fixed=[task.fixed[unit] for unit in task.units]
    )
    for k, unit in enumerate(task.units):
        add_unit(
            collected, task, unit, residual, fits[k], setup.windows[k], setup.metrics[k],
            setup.sky(k, fits[k]), apart[k] if setup.is_apart else None, noise, level,
            options=options, retried=bool(retried[k]), rms=setup.rms[k], response=responses[k],
        )  # fmt: skip
        collected.flags[unit] |= int(apart[k].polynomial.flag)
        if options.original and not setup.joint and setup.windows[k].y.size:
            # The original's column RESIDUALS.
            if apart[k] is not last:
                left, last = _cutout_median(residual, apart[k], setup.below[k]), apart[k]
            collected.background[unit] = left
    if noise.assumed:
        collected.flags |= int(Flag.NOISE_ASSUMED)
    return collected.measured(sources)


def add_unit(
    collected: Collector,
    task: Task,
    unit: IntArray,
    residual: FloatArray,
    fit: UnitFit,
    window: Window,
    metric: Metric,
    sky: Sky,
    apart: UnitBackground | None,
    noise: CovarianceModel,
    level: FloatArray,
    *,
    options: Options,
    retried: bool,
    rms: FloatArray | None = None,
    response: Response | None = None,
) -> None:
    """Measure a unit's apertures and errors on a polynomial background.

    Parameters
    ----------
    collected : Collector
        What it is added to.
    residual : ndarray, shape (ny, nx)
        Map minus all models, background left in.
    fit, window, metric
        The unit as fitted.
    sky, apart
        The background, and the part of it that was fitted before.
    noise, level
        From `measure_noise`.
    rms : ndarray, shape (n,), optional
        Noise at each pixel, for chi-square; that of the metric if it is not given.
    """
    y, x = window.y, window.x
    if y.size == 0:
        collected.add_nothing(unit)
        return
    joint = sky if isinstance(sky, JointSky) else None
    radius = options.photometry.fwhm_radius_ratio
    apertures = [source_aperture(p, radius_in_fwhm=radius) for p in fit.parameters]
    fractions = np.array([aperture_fraction(p, a) for p, a in zip(fit.parameters, apertures, strict=True)])
    errors = unit_errors(
        fit, window, metric, apart, apertures, fractions, noise, joint=joint,
        scale=float(np.mean(level[y, x])), fixed=task.fixed[unit], usable=task.usable,
        response=response,
    )  # fmt: skip
    photometry = hybrid_fluxes(residual, fit, sky, apertures, fractions, errors)
    left = residual[y, x] - sky.at(y, x)
    in_sigmas = metric.project(left) if rms is None else left / rms
    collected.add_fit(
        unit, fit, left, task.data[y, x], n_free=int((~task.fixed[unit]).sum()) + fit.coefficients.size,
        chi2=float(in_sigmas @ in_sigmas), n_beams=y.size / task.beam_area, retried=retried,
    )  # fmt: skip
    collected.add_photometry(unit, photometry, apertures, task.usable)
    if _order(sky) >= 0:
        collected.add_background(unit, sky, order=_order(sky))
    if options.original and joint is not None:
        # The original's column RESIDUALS.
        collected.background[unit] = float(np.mean(joint.at(y, x)))


def _order(sky: Sky) -> int:
    """Return the order of a polynomial; of one on top of another the higher; -1 for none."""
    if isinstance(sky, JointSky):
        return max(sky.order, _order(sky.below))
    return sky.order if isinstance(sky, UnitBackground) else -1


def fit_backgrounds(
    data: FloatArray, sources: FloatArray, task: Task, options: Options
) -> list[UnitBackground]:
    """Fit a background to the surroundings of each unit as the options say.

    Where none is to be fitted apart it is only the mean of the smallest box: where a fit starts from.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
        The map, sources subtracted if they are known.
    sources : ndarray, shape (n, 6)
        Their footprints take no part. In an original configuration other units' are replaced by a smooth
        interpolation instead.
    task, options
    """
    background, fit = options.background, options.fit_options
    apart = background.apart
    footprints = models.footprints(sources, data.shape)
    mask, inside = footprints | ~task.usable, None
    if options.original and apart:
        # Wider than a mask: the surface would rise to the light at its rim.
        wide = models.footprints(sources, data.shape, n_sigma=_INTERPOLATED_SIGMA)
        data, mask, inside = interpolate_masked(data, wide), ~task.usable, sources
    return unit_backgrounds(
        data, mask, sources, task.units, fwhm=task.beam_fwhm, beam_area=task.beam_area, rms=task.rms,
        min_box=background.fix_min_box, max_box=background.fix_max_box if apart else background.fix_min_box,
        aper_sup=options.photometry.aper_sup, orders=background.pol_orders_separate if apart else (0,),
        estimators=fit.bg_fitters if apart else ("least_squares",), huber_epsilons=fit.huber_epsilons,
        criterion=fit.min_method, own=inside,
    )  # fmt: skip


def _starting_point(
    task: Task, backgrounds: Sequence[UnitBackground], options: Options
) -> tuple[FloatArray, Bounds]:
    """Return starting values from local peaks and second moments above the background, and bounds."""
    start, sigma = task.start.copy(), task.beam_fwhm / FWHM_PER_SIGMA
    photometry, background = options.photometry, options.background
    has_sky = background.is_subtracted
    limits = photometry.aper_inf * sigma, photometry.aper_sup * sigma
    moment, together = np.full(len(start), sigma), np.zeros(len(start), dtype=bool)
    std, last = 0.0, None
    for unit, apart in zip(task.units, backgrounds, strict=True):
        together[unit] = len(unit) > 1
        sky = apart if has_sky else NoSky()
        for i in unit:
            shape = _first_look(task, start[i], sky, fixed_shape=bool(task.fixed[i, models.SIGMA_1]))
            if shape is not None:
                moment[i] = shape[0]
                start[i, models.SIGMA_1 : models.THETA] = np.clip(shape[:2], *limits)
                start[i, models.THETA] = shape[2]
        if options.original and len(unit) == 1:
            if apart is not last:
                std, last = _cutout_statistics(task.data, apart, sky)[1], apart
            start[unit, models.AMPLITUDE] = np.maximum(start[unit, models.AMPLITUDE], 3.0 * std)
    amplitude, largest = _limits(start, moment, together, limits[1], options)
    lower, upper = bounds(
        start,
        sigma_limits=(np.full(len(start), limits[0]), largest),
        amplitude_limits=amplitude,
        shift=task.shift,
    )
    return start, Bounds(lower=np.where(task.fixed, start, lower), upper=np.where(task.fixed, start, upper))


def _first_look(task: Task, start: FloatArray, sky: Sky, *, fixed_shape: bool) -> FloatArray | None:
    """Set a source's amplitude to its local peak; return the shape of its second moments, if it has one."""
    sigma = task.beam_fwhm / FWHM_PER_SIGMA
    near = fit_window(
        start[models.X, None], start[models.Y, None],
        radius=np.array([1.2 * task.beam_fwhm]), usable=task.usable,
    )  # fmt: skip
    if near.x.size == 0:
        return None
    values = task.data[near.y, near.x] - sky.at(near.y, near.x)
    dy, dx = near.y - start[models.Y], near.x - start[models.X]
    centre = (np.abs(dy) <= 1.5) & (np.abs(dx) <= 1.5)
    if centre.any():
        start[models.AMPLITUDE] = values[centre].max()
    if fixed_shape:
        return None
    covariance = second_moments(values, dy, dx, width=sigma)
    return models.shape_parameters(covariance) if np.isfinite(covariance).all() else None


def _limits(
    start: FloatArray, moment: FloatArray, together: BoolArray, largest: float, options: Options
) -> tuple[tuple[FloatArray, FloatArray], FloatArray]:
    """Return the bounds of amplitudes, and the largest sigmas, each (n,)."""
    if not options.original:
        free = np.full(len(start), np.inf)
        return (-free, free), np.full(len(start), largest)
    isolated, grouped, most = (0.8, 0.4, 1.3) if options.background.apart else (0.4, 0.2, 1.5)
    peak = start[:, models.AMPLITUDE]
    ends = np.stack([np.where(together, grouped, isolated) * peak, most * peak])
    return (ends.min(axis=0), ends.max(axis=0)), np.maximum(largest, 1.2 * moment)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Setup:
    """Windows, metrics and subtracted backgrounds on the windows, unit by unit; options of the solver.

    `orders` are those of the polynomials of joint fits, `scalings` their coordinates.
    """

    windows: list[Window]
    metrics: list[Metric]
    values: list[FloatArray]
    rms: list[FloatArray]
    solver: dict[str, Any]
    below: list[Sky]
    is_apart: bool
    orders: list[int]
    scalings: list[Scaling]

    @cached_property
    def joint(self) -> bool:
        """Whether polynomials are fitted along."""
        return any(metric.terms is not None for metric in self.metrics)

    def sky(self, k: int, fit: UnitFit) -> Sky:
        """Return the background under a unit after its fit."""
        if self.metrics[k].terms is None:
            return self.below[k]
        return JointSky(
            order=self.orders[k], scaling=self.scalings[k], coefficients=fit.coefficients,
            window=self.windows[k], below=self.below[k],
        )  # fmt: skip

    @classmethod
    def make(
        cls,
        task: Task,
        sources: FloatArray,
        apart: Sequence[UnitBackground],
        limits: Bounds,
        options: Options,
        *,
        choose: bool,
    ) -> "_Setup":
        """Prepare the fits; the orders of joint polynomials are chosen here, or the highest are taken."""
        fit, background = options.fit_options, options.background
        below: list[Sky] = [b if background.apart else NoSky() for b in apart]
        windows, weights, values, levels, scalings = [], [], [], [], []
        mean, std, last = 0.0, 1.0, None
        for unit, cutout, sky in zip(task.units, apart, below, strict=True):
            window = _window(sources[unit], task, options)
            at = window.y, window.x
            values.append(sky.at(*at))
            levels.append(task.rms[at] if isinstance(task.rms, np.ndarray) else np.full(at[0].size, task.rms))
            if cutout is not last:
                mean, std = _level(task.data, cutout, sky, options)
                last = cutout
            d = task.data[at] - (values[-1] if options.original else cutout.at(*at))
            raw = pixel_weights(
                fit.weights, d, window, sources[unit], power_snr=fit.power_snr,
                spatial_sigma=fit.spatial_weight_sigma * task.beam_fwhm / FWHM_PER_SIGMA, mean=mean, std=std,
            )  # fmt: skip
            windows.append(window)
            weights.append(raw if options.original else raw * _in_units_of_noise(fit.weights, levels[-1]))
            scalings.append(_cutout_scaling(cutout) if options.original else window_scaling(window))
        solver: dict[str, Any] = {
            "loss": fit.loss, "f_scale": fit.f_scale / _working_unit(options), "ftol": fit.ftol,
            "xtol": fit.xtol, "gtol": fit.gtol, "max_evaluations": fit.max_nfev,
        }  # fmt: skip
        setup = cls(
            windows=windows, metrics=[Metric(weights=w) for w in weights], values=values, rms=levels,
            solver=solver, below=below, is_apart=background.apart,
            orders=[-1] * len(windows), scalings=scalings,
        )  # fmt: skip
        if not background.fit_gauss_and_bg_together:
            return setup
        return setup._joint(task, sources, limits, options, choose=choose)

    def _joint(
        self, task: Task, sources: FloatArray, limits: Bounds, options: Options, *, choose: bool
    ) -> "_Setup":
        """Add polynomials, each of the order that is best for its unit."""
        choices = []
        for k, (unit, window) in enumerate(zip(task.units, self.windows, strict=True)):
            orders = affordable_orders(
                options.background.polynomial_orders, n_pixels=window.y.size, n_sources=len(unit)
            )
            orders = orders if choose else [max(orders)]
            choices.append({order: self._with_terms(k, order, options) for order in orders})
        orders = choose_orders(
            unit_values(task.data, sources, task.units, self.windows, self.values), self.windows, choices,
            [sources[unit] for unit in task.units],
            lower=[limits.lower[unit] for unit in task.units],
            upper=[limits.upper[unit] for unit in task.units],
            criterion=options.fit_options.min_method, rms=self.rms, beam_area=task.beam_area, **self.solver,
        )  # fmt: skip
        metrics = [choice[order] for choice, order in zip(choices, orders, strict=True)]
        return replace(self, metrics=metrics, orders=orders)

    def _with_terms(self, k: int, order: int, options: Options) -> Metric:
        """Return the metric of a unit with a polynomial fitted along."""
        window, weights, fit = self.windows[k], self.metrics[k].weights, options.fit_options
        if not window.y.size:
            return self.metrics[k]
        design = polynomial_design(window.y, window.x, order=order, scaling=self.scalings[k])
        penalty = np.zeros(design.shape[1])
        if fit.use_l2_regularization and options.original:
            # Coefficients in the original's working unit, rows of the cost in that of the weighted residual.
            penalty[:] = fit.lambda_l2 * (1e3 if options.convert_mJy else 1.0) / _working_unit(options)
        elif fit.use_l2_regularization:
            penalty[1:] = fit.lambda_l2 / float(np.mean(self.rms[k]))
        return Metric(weights=weights, terms=linear_terms(design, weights=weights, penalty=penalty))


def _level(data: FloatArray, cutout: UnitBackground, sky: Sky, options: Options) -> tuple[float, float]:
    """Return mean and rms of the surroundings of a unit, for its weights.

    An original configuration takes those of the cutout, sources clipped; ours, those of what the background
    left on its own pixels.
    """
    if options.fit_options.weights in (None, "map", "spatial"):
        return 0.0, 1.0
    if options.original:
        return _cutout_statistics(data, cutout, sky)
    y, x = cutout.polynomial.fit_pixels
    left = data[y + cutout.y0, x + cutout.x0] - cutout.polynomial.evaluate(y, x)
    return (float(left.mean()), float(left.std())) if left.size else (0.0, 1.0)


def _window(sources: FloatArray, task: Task, options: Options) -> Window:
    """Return the pixels on which a unit is fitted."""
    fit, sigma = options.fit_options, task.beam_fwhm / FWHM_PER_SIGMA
    radius = np.full(len(sources), (options.photometry.aper_sup + fit.fit_aperture_sigma) * sigma)
    if options.original and len(sources) > 1:
        radius = sources[:, models.SIGMA_1] + fit.fit_aperture_sigma * sigma
    elif not options.original and options.background.fit_gauss_and_bg_together:
        radius = np.maximum(radius, options.background.fix_min_box * task.beam_fwhm)
    return fit_window(sources[:, models.X], sources[:, models.Y], radius=radius, usable=task.usable)


def _working_unit(options: Options) -> float:
    """Return what a weighted residual in the original's unit is in ours: mJy with convert_mJy, else Jy."""
    if not (options.original and options.convert_mJy):
        return 1.0
    return {"inverse_rms": 1.0, "map": 1e6}.get(str(options.fit_options.weights), 1e3)


def _in_units_of_noise(kind: str | None, rms: FloatArray) -> FloatArray:
    """Return what makes a weighted residual a number of sigmas (times a weight without unit)."""
    return np.ones(rms.shape) if kind == "inverse_rms" else rms ** (-2.0 if kind == "map" else -1.0)


def _cutout_scaling(background: UnitBackground) -> Scaling:
    """Return pixel coordinates of the cutout, from its first pixel."""
    y0, _, x0, _ = background.polynomial.box
    return Scaling(float(background.y0 + y0), float(background.x0 + x0), 1.0, 1.0)


def _cutout_values(data: FloatArray, background: UnitBackground, sky: Sky) -> FloatArray:
    """Return the box of a background, minus a sky."""
    y0, y1, x0, x1 = background.polynomial.box
    rows = slice(max(background.y0 + y0, 0), max(background.y0 + y1, 0))
    columns = slice(max(background.x0 + x0, 0), max(background.x0 + x1, 0))
    values = data[rows, columns]
    y, x = np.ogrid[
        rows.start : rows.start + values.shape[0], columns.start : columns.start + values.shape[1]
    ]
    return values - sky.at(y, x)


def _cutout_statistics(data: FloatArray, background: UnitBackground, sky: Sky) -> tuple[float, float]:
    """Return clipped mean and rms of the box of a background, minus a sky."""
    statistics = clipped_statistics(_cutout_values(data, background, sky))
    return (statistics.mean, statistics.rms) if statistics.rms > 0.0 else (0.0, 1.0)


def _cutout_median(data: FloatArray, background: UnitBackground, sky: Sky) -> float:
    """Return the clipped median of the box of a background, minus a sky."""
    values = _cutout_values(data, background, sky)
    statistics = clipped_statistics(values)
    if not statistics.rms > 0.0:
        return 0.0
    return float(np.median(values[np.abs(values - statistics.mean) <= 3.0 * statistics.rms]))
