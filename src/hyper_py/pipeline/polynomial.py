"""The classical way: a polynomial background fitted apart, weighted least squares, hybrid apertures.

The fit may weigh pixels as it likes; its errors come from the measured noise covariance all the same, carried
through the fit, the background and the aperture, which are all linear in the data to first order.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray
from hyper_py.background.evaluate import backgrounds_at, on_windows
from hyper_py.background.group_polynomials import GroupBackground, group_backgrounds
from hyper_py.background.joint import (
    BackgroundModel,
    JointBackground,
    NoBackground,
    affordable_orders,
    choose_orders,
    window_scaling,
)
from hyper_py.diagnostics import Flag
from hyper_py.fitting.group_fit import (
    FitPixels,
    GroupFit,
    Whitener,
    bounds,
    disc,
    linear_terms,
    second_moments,
    select_fit_pixels,
)
from hyper_py.fitting.iterative import (
    Bounds,
    Collector,
    FitProblem,
    Measured,
    alternative_starts,
    fit_iteratively,
    group_data,
    means_on,
    retry_failed,
    rms_on,
    values_on,
)
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.noise.covariance import CovarianceModel, clipped_rows
from hyper_py.noise.measure import measure_noise
from hyper_py.numerics import models
from hyper_py.numerics.interpolation import interpolate_masked
from hyper_py.numerics.polynomial import Scaling, polynomial_design
from hyper_py.numerics.tiles import Plane
from hyper_py.options import Options
from hyper_py.photometry.aperture import aperture_fractions, source_apertures
from hyper_py.photometry.flux_errors import FittedGroup, group_errors, hybrid_fluxes

_INTERPOLATED_SIGMA = 3.0
"""Sources are replaced by interpolation out to this: 1% of their peak."""
_CHUNK_NUMBERS = 50_000
"""Pixels of cutouts looked at at once: they stay in the cache."""
WEIGHTS = ("inverse_rms", "snr", "power_snr", "map", "mask", "spatial")


def pixel_weights(
    kind: str | None,
    values: FloatArray,
    window: FitPixels,
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
    window : FitPixels
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


def measure_weighted(task: FitProblem, options: Options) -> Measured:
    """Fit and measure all sources of a map the classical way.

    An original configuration gets one pass, as there; ours a second one, in which the footprints are those of
    the fitted sources and their wings are subtracted before the background is fitted.
    """
    sources, residual = task.start, task.data
    for is_last in (True,) if options.original else (False, True):
        apart = fit_backgrounds(residual, sources, task, options)
        levels = _levels(task.data, apart, options)
        if residual is task.data:
            sources, limits = _starting_point(task, apart, levels[1], options)
        setup = _Setup.make(task, sources, apart, levels, limits, options, choose=is_last)
        sources, fits = fit_iteratively(
            setup.data, sources, task.units, setup.windows, setup.whiteners, setup.values, bounds=limits,
            max_iterations=4 if is_last else 2, **setup.solver,
        )  # fmt: skip
        residual = task.data - models.render(sources, task.data.shape)
    sources, fits, retried = retry_failed(
        setup.data, sources, fits, task.units, setup.windows, setup.whiteners, setup.values,
        starts=alternative_starts(task, sources), bounds=limits, **setup.solver,
    )  # fmt: skip
    residual = task.data - models.render(sources, task.data.shape)
    noise, level = measure_noise(
        residual,
        models.footprints(sources, task.data.shape, n_sigma=3.0) | ~task.usable,
        beam_covariance=task.beam_covariance,
        beam_fwhm=task.beam_fwhm,
        relative=task.relative_rms,
    )
    collected = Collector(len(sources))
    add_groups(
        collected, task, residual, fits, setup.windows, setup.whiteners,
        [setup.sky(k, fit) for k, fit in enumerate(fits)], apart if setup.is_apart else None, noise, level,
        options=options, retried=retried, rms=setup.rms,
    )  # fmt: skip
    left = (
        _cutout_statistics(residual, apart, setup.below, median=True)[2]
        if options.original and not setup.joint
        else np.empty(0)
    )
    for k, unit in enumerate(task.units):
        collected.flags[unit] |= int(apart[k].polynomial.flag)
        if left.size and setup.windows[k].y.size:
            # The original's column RESIDUALS.
            collected.background[unit] = left[k]
    if noise.assumed:
        collected.flags |= int(Flag.NOISE_ASSUMED)
    return collected.measured(sources, noise=noise)


def add_groups(
    collected: Collector,
    task: FitProblem,
    residual: FloatArray,
    fits: Sequence[GroupFit],
    windows: Sequence[FitPixels],
    whiteners: Sequence[Whitener],
    skies: Sequence[BackgroundModel],
    apart: Sequence[GroupBackground] | None,
    noise: CovarianceModel,
    level: Plane,
    *,
    options: Options,
    retried: BoolArray,
    rms: Sequence[FloatArray] | None = None,
) -> None:
    """Measure apertures and errors of all units on polynomial backgrounds.

    Parameters
    ----------
    collected : Collector
        What they are added to.
    residual : ndarray, shape (ny, nx)
        Map minus all models, background left in.
    fits, windows, whiteners
        The units as fitted.
    skies, apart
        The backgrounds, and the parts of them that were fitted before.
    noise, level
        From `measure_noise`.
    retried : bool ndarray, shape (n_groups,)
    rms : sequence of ndarray, shape (n,), optional
        Noise at each pixel, for chi-square; that of the whitener if it is not given.
    """
    seen = [k for k, window in enumerate(windows) if window.y.size]
    for k in set(range(len(windows))).difference(seen):
        collected.add_nothing(task.units[k])
    if not seen:
        return
    sources = np.concatenate([fits[k].parameters for k in seen])
    apertures = source_apertures(sources, radius_in_fwhm=options.photometry.fwhm_radius_ratio)
    fractions = aperture_fractions(sources, apertures)
    places = np.split(np.arange(len(sources)), np.cumsum([len(fits[k].parameters) for k in seen])[:-1])
    units = [
        FittedGroup(
            fit=fits[k], window=windows[k], whitener=whiteners[k], sky=skies[k],
            background=None if apart is None else apart[k],
            apertures=[apertures[i] for i in own], fractions=fractions[own],
            fixed=task.fixed[task.units[k]], assumed=task.assumed[task.units[k]], scale=scale,
        )
        for k, own, scale in zip(seen, places, means_on(level, [windows[k] for k in seen]), strict=True)
    ]  # fmt: skip
    errors = group_errors(units, noise.unconditioned, usable=task.usable)
    below = on_windows([unit.sky for unit in units], [unit.window for unit in units])
    for k, unit, photometry, sky in zip(
        seen, units, hybrid_fluxes(residual, units, errors), below, strict=True
    ):
        own, (y, x) = task.units[k], (unit.window.y, unit.window.x)
        left = residual[y, x] - sky
        in_sigmas = unit.whitener.project(left) if rms is None else left / rms[k]
        collected.add_fit(
            own, unit.fit, left, task.data[y, x],
            n_free=int(np.count_nonzero(~unit.fixed)) + unit.fit.coefficients.size,
            chi2=float(in_sigmas @ in_sigmas), n_beams=y.size / task.beam_area, retried=bool(retried[k]),
        )  # fmt: skip
        collected.add_photometry(own, photometry, unit.apertures, task.usable)
        if _order(unit.sky) >= 0:
            collected.add_background(own, unit.sky, order=_order(unit.sky))
        if options.original and unit.joint is not None:
            # The original's column RESIDUALS.
            collected.background[own] = float(np.mean(sky))


def _order(sky: BackgroundModel) -> int:
    """Return the order of a polynomial; of one on top of another the higher; -1 for none."""
    if isinstance(sky, JointBackground):
        return max(sky.order, _order(sky.below))
    return sky.order if isinstance(sky, GroupBackground) else -1


def fit_backgrounds(
    data: FloatArray, sources: FloatArray, task: FitProblem, options: Options
) -> list[GroupBackground]:
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
    mask, inside = ~task.usable, None
    if options.original and apart:
        # Wider than a mask: the surface would rise to the light at its rim.
        wide = models.footprints(sources, data.shape, n_sigma=_INTERPOLATED_SIGMA)
        data, inside = interpolate_masked(data, wide), sources
    else:
        mask = mask | models.footprints(sources, data.shape)
    return group_backgrounds(
        data, mask, sources, task.units, fwhm=task.beam_fwhm, beam_area=task.beam_area, rms=task.rms,
        min_box=background.fix_min_box, max_box=background.fix_max_box if apart else background.fix_min_box,
        aper_sup=options.photometry.aper_sup, orders=background.pol_orders_separate if apart else (0,),
        estimators=fit.bg_fitters if apart else ("least_squares",), huber_epsilons=fit.huber_epsilons,
        criterion=fit.min_method, own=inside,
    )  # fmt: skip


def _starting_point(
    task: FitProblem, backgrounds: Sequence[GroupBackground], noise: FloatArray, options: Options
) -> tuple[FloatArray, Bounds]:
    """Return starting values from local peaks and second moments above the background, and bounds.

    In an original configuration peaks are at least thrice the noise around their unit, (n_groups,).
    """
    start, sigma = task.start.copy(), task.beam_fwhm / FWHM_PER_SIGMA
    photometry, background = options.photometry, options.background
    has_sky = background.is_subtracted
    skies: Sequence[BackgroundModel] = backgrounds if has_sky else [NoBackground()] * len(task.units)
    limits = task.size_limits(photometry.aper_inf, photometry.aper_sup, round_beam=options.original)
    together = np.zeros(len(start), dtype=bool)
    below: list[BackgroundModel] = [NoBackground()] * len(start)
    for unit, sky in zip(task.units, skies, strict=True):
        together[unit] = len(unit) > 1
        for i in unit:
            below[i] = sky
    peak, shape = _first_look(task, start, below)
    start[:, models.AMPLITUDE] = np.where(np.isfinite(peak), peak, start[:, models.AMPLITUDE])
    known = np.isfinite(shape).all(axis=1) & ~task.fixed[:, models.SIGMA_1]
    moment = np.where(known, shape[:, 0], sigma)
    start[known, models.SIGMA_1 : models.THETA] = np.clip(shape[known, :2], *limits)
    start[known, models.THETA] = shape[known, 2]
    if options.original:
        for unit, faintest in zip(task.units, 3.0 * noise, strict=True):
            if len(unit) == 1:
                start[unit, models.AMPLITUDE] = np.maximum(start[unit, models.AMPLITUDE], faintest)
    amplitude, largest = _limits(start, moment, together, limits[1], options)
    lower, upper = bounds(
        start,
        sigma_limits=(np.full(len(start), limits[0]), largest),
        amplitude_limits=amplitude,
        shift=task.shift,
    )
    return start, Bounds(lower=np.where(task.fixed, start, lower), upper=np.where(task.fixed, start, upper))


def _first_look(
    task: FitProblem, start: FloatArray, skies: Sequence[BackgroundModel]
) -> tuple[FloatArray, FloatArray]:
    """Return sources' local peaks, (n,), and the shapes of their second moments, (n, 3); NaN without any."""
    ny, nx = task.data.shape
    places = start[:, models.Y, None], start[:, models.X, None]
    y, x = (np.rint(p).astype(int) + d for p, d in zip(places, disc(1.2 * task.beam_fwhm), strict=True))
    seen = (y >= 0) & (y < ny) & (x >= 0) & (x < nx)
    at = np.clip(y, 0, ny - 1), np.clip(x, 0, nx - 1)
    values = np.where(seen & task.usable[at], task.data[at] - backgrounds_at(skies, y, x), np.nan)
    dy, dx = y - places[0], x - places[1]
    centre = (np.abs(dy) <= 1.5) & (np.abs(dx) <= 1.5) & np.isfinite(values)
    peak = np.max(values, axis=1, where=centre, initial=-np.inf)
    covariance = second_moments(values, dy, dx, width=task.beam_fwhm / FWHM_PER_SIGMA)
    return peak, models.shape_parameters(covariance)


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
    """Windows, data, whiteners and subtracted backgrounds on them, unit by unit; options of the solver.

    `orders` are those of the polynomials of joint fits, `scalings` their coordinates.
    """

    windows: list[FitPixels]
    data: list[FloatArray]
    whiteners: list[Whitener]
    values: list[FloatArray]
    rms: list[FloatArray]
    solver: dict[str, Any]
    below: list[BackgroundModel]
    is_apart: bool
    orders: list[int]
    scalings: list[Scaling]

    @cached_property
    def joint(self) -> bool:
        """Whether polynomials are fitted along."""
        return any(whitener.terms is not None for whitener in self.whiteners)

    def sky(self, k: int, fit: GroupFit) -> BackgroundModel:
        """Return the background under a unit after its fit."""
        if self.whiteners[k].terms is None:
            return self.below[k]
        return JointBackground(
            order=self.orders[k], scaling=self.scalings[k], coefficients=fit.coefficients,
            window=self.windows[k], below=self.below[k],
        )  # fmt: skip

    @classmethod
    def make(
        cls,
        task: FitProblem,
        sources: FloatArray,
        apart: Sequence[GroupBackground],
        levels: tuple[FloatArray, FloatArray],
        limits: Bounds,
        options: Options,
        *,
        choose: bool,
    ) -> "_Setup":
        """Prepare the fits; the orders of joint polynomials are chosen here, or the highest are taken.

        `levels` are mean and rms of the surroundings of each unit.
        """
        fit, background = options.fit_options, options.background
        below: list[BackgroundModel] = [b if background.apart else NoBackground() for b in apart]
        windows = [_window(sources[unit], task, options) for unit in task.units]
        data, values = values_on(task.data, windows), on_windows(below, windows)
        surroundings = values if options.original else on_windows(apart, windows)
        weights, noise, scalings = [], [], []
        for k, (mean, std) in enumerate(zip(*levels, strict=True)):
            window = windows[k]
            noise.append(rms_on(task.rms, window))
            raw = pixel_weights(
                fit.weights, data[k] - surroundings[k], window, sources[task.units[k]],
                power_snr=fit.power_snr, mean=mean, std=std,
                spatial_sigma=fit.spatial_weight_sigma * task.beam_fwhm / FWHM_PER_SIGMA,
            )  # fmt: skip
            weights.append(raw if options.original else raw * _in_units_of_noise(fit.weights, noise[-1]))
            scalings.append(_cutout_scaling(apart[k]) if options.original else window_scaling(window))
        solver: dict[str, Any] = {
            "loss": fit.loss, "f_scale": fit.f_scale / _working_unit(options), "ftol": fit.ftol,
            "xtol": fit.xtol, "gtol": fit.gtol, "max_evaluations": fit.max_nfev,
        }  # fmt: skip
        setup = cls(
            windows=windows, data=data, whiteners=[Whitener(weights=w) for w in weights], values=values,
            rms=noise, solver=solver, below=below, is_apart=background.apart,
            orders=[-1] * len(windows), scalings=scalings,
        )  # fmt: skip
        if not background.fit_gauss_and_bg_together:
            return setup
        return setup._joint(task, sources, limits, options, choose=choose)

    def _joint(
        self, task: FitProblem, sources: FloatArray, limits: Bounds, options: Options, *, choose: bool
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
            group_data(self.data, sources, task.units, self.windows, self.values), self.windows, choices,
            [sources[unit] for unit in task.units],
            lower=[limits.lower[unit] for unit in task.units],
            upper=[limits.upper[unit] for unit in task.units],
            criterion=options.fit_options.min_method, rms=self.rms, beam_area=task.beam_area, **self.solver,
        )  # fmt: skip
        whiteners = [choice[order] for choice, order in zip(choices, orders, strict=True)]
        return replace(self, whiteners=whiteners, orders=orders)

    def _with_terms(self, k: int, order: int, options: Options) -> Whitener:
        """Return the whitener of a unit with a polynomial fitted along."""
        window, weights, fit = self.windows[k], self.whiteners[k].weights, options.fit_options
        if not window.y.size:
            return self.whiteners[k]
        design = polynomial_design(window.y, window.x, order=order, scaling=self.scalings[k])
        penalty = np.zeros(design.shape[1])
        if fit.use_l2_regularization and options.original:
            # Coefficients in the original's working unit, rows of the cost in that of the weighted residual.
            penalty[:] = fit.lambda_l2 * (1e3 if options.convert_mJy else 1.0) / _working_unit(options)
        elif fit.use_l2_regularization:
            penalty[1:] = fit.lambda_l2 / float(np.mean(self.rms[k]))
        return Whitener(weights=weights, terms=linear_terms(design, weights=weights, penalty=penalty))


def _levels(
    data: FloatArray, apart: Sequence[GroupBackground], options: Options
) -> tuple[FloatArray, FloatArray]:
    """Return mean and rms of the surroundings of each unit.

    An original configuration takes those of the cutout, sources clipped; ours, those of what the background
    left on its own pixels.
    """
    if options.original:
        below = apart if options.background.apart else [NoBackground()] * len(apart)
        return _cutout_statistics(data, apart, below)[:2]
    if options.fit_options.weights in (None, "map", "spatial"):
        return np.zeros(len(apart)), np.ones(len(apart))
    known: dict[int, tuple[float, float]] = {}
    for cutout in apart:
        if id(cutout) not in known:
            y, x = cutout.polynomial.fit_pixels
            left = data[y + cutout.y0, x + cutout.x0] - cutout.polynomial.evaluate(y, x)
            known[id(cutout)] = (float(left.mean()), float(left.std())) if left.size else (0.0, 1.0)
    mean, std = np.array([known[id(cutout)] for cutout in apart]).reshape(-1, 2).T
    return mean, std


def _window(sources: FloatArray, task: FitProblem, options: Options) -> FitPixels:
    """Return the pixels on which a unit is fitted."""
    fit, sigma = options.fit_options, task.beam_fwhm / FWHM_PER_SIGMA
    radius = np.full(len(sources), (options.photometry.aper_sup + fit.fit_aperture_sigma) * sigma)
    if options.original and len(sources) > 1:
        radius = sources[:, models.SIGMA_1] + fit.fit_aperture_sigma * sigma
    elif not options.original and options.background.fit_gauss_and_bg_together:
        radius = np.maximum(radius, options.background.fix_min_box * task.beam_fwhm)
    return select_fit_pixels(sources[:, models.X], sources[:, models.Y], radius=radius, usable=task.usable)


def _working_unit(options: Options) -> float:
    """Return what a weighted residual in the original's unit is in ours: mJy with convert_mJy, else Jy."""
    if not (options.original and options.convert_mJy):
        return 1.0
    return {"inverse_rms": 1.0, "map": 1e6}.get(str(options.fit_options.weights), 1e3)


def _in_units_of_noise(kind: str | None, rms: FloatArray) -> FloatArray:
    """Return what makes a weighted residual a number of sigmas (times a weight without unit)."""
    return np.ones(rms.shape) if kind == "inverse_rms" else rms ** (-2.0 if kind == "map" else -1.0)


def _cutout_scaling(background: GroupBackground) -> Scaling:
    """Return pixel coordinates of the cutout, from its first pixel."""
    y0, _, x0, _ = background.polynomial.box
    return Scaling(float(background.y0 + y0), float(background.x0 + x0), 1.0, 1.0)


def _medians(rows: FloatArray, chosen: BoolArray) -> FloatArray:
    """Return the median of the chosen values of each row, of which there are some."""
    ordered = np.sort(np.where(chosen, rows, np.inf), axis=1)
    count, row = chosen.sum(axis=1), np.arange(len(rows))
    medians: FloatArray = 0.5 * (ordered[row, (count - 1) // 2] + ordered[row, count // 2])
    return medians


def _cutout_statistics(
    data: FloatArray,
    backgrounds: Sequence[GroupBackground],
    skies: Sequence[BackgroundModel],
    *,
    median: bool = False,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return clipped mean, rms and, if wanted, median of the boxes of backgrounds minus skies, each (n,)."""
    statistics = np.tile([0.0, 1.0, 0.0], (len(backgrounds), 1))
    ny, nx = data.shape
    alike: dict[tuple[int, int], list[int]] = {}
    first = {id(background): k for k, background in reversed(list(enumerate(backgrounds)))}
    for k in first.values():
        y0, y1, x0, x1 = backgrounds[k].polynomial.box
        alike.setdefault((y1 - y0, x1 - x0), []).append(k)
    for (height, width), members in alike.items():
        step = max(1, _CHUNK_NUMBERS // (height * width))
        for chunk in (members[i : i + step] for i in range(0, len(members), step)):
            boxes = [backgrounds[k] for k in chunk]
            corners = np.array([(b.y0 + b.polynomial.box[0], b.x0 + b.polynomial.box[2]) for b in boxes])
            y = corners[:, 0, None, None] + np.arange(height)[:, None]
            x = corners[:, 1, None, None] + np.arange(width)
            inside = (y >= 0) & (y < ny) & ((x >= 0) & (x < nx))
            values = data[np.clip(y, 0, ny - 1), np.clip(x, 0, nx - 1)]
            values = np.where(inside, values - backgrounds_at([skies[k] for k in chunk], y, x), np.nan)
            values = values.reshape(len(chunk), -1)
            mean, rms = clipped_rows(values)
            varies, own = rms > 0.0, np.array(chunk)
            statistics[own[varies], :2] = np.column_stack([mean, rms])[varies]
            if median:
                near = np.abs(values - mean[:, None]) <= 3.0 * rms[:, None]
                statistics[own[varies], 2] = _medians(values[varies], near[varies])
    mean, rms, middle = statistics[[first[id(background)] for background in backgrounds]].T
    return mean, rms, middle
