"""Generalised least squares in the noise that is really there.

Noise and structured background are one correlated random field; a unit of sources is fitted on discs around
them with the inverse covariance of that field as metric and the local mean as a free nuisance parameter
(Hancock et al. 2018, PASA 35, e011, for the metric; the mean is eliminated). The same covariance says what
the field is under a source given its surroundings: the conditional mean, which is taken off the aperture.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hyper_py.diagnostics import Flag
from hyper_py.geometry import FWHM_PER_SIGMA, FloatArray
from hyper_py.numerics import models
from hyper_py.numerics.blocks import LazyPlane, Plane, at, combined, size_of
from hyper_py.numerics.noise import CovarianceModel
from hyper_py.options import Options
from hyper_py.pipeline.conditional import ConditionalPatch, footprint, photometry_of_alike
from hyper_py.pipeline.deblending import (
    CLOSEST_BEAMS,
    TypicalShape,
    amplitude_significance,
    closest_neighbour,
    split_units,
)
from hyper_py.pipeline.joint import JointSky, NoSky, Sky, affordable_orders, choose_orders, window_scaling
from hyper_py.pipeline.misfit import CommonMisfit, common_misfit, known_misfit, pixel_error_of_light
from hyper_py.pipeline.noise_field import measure_noise, outside_sources
from hyper_py.pipeline.noise_windows import WindowCache
from hyper_py.pipeline.sweeps import (
    Bounds,
    Collector,
    Measured,
    Task,
    affordable,
    means_on,
    models_on,
    other_starts,
    retry_failed,
    sweep_units,
    unit_values,
)
from hyper_py.pipeline.unit_backgrounds import UnitBackground
from hyper_py.pipeline.weighted import add_units, fit_backgrounds
from hyper_py.steps.fitting import (
    Metric,
    UnitFit,
    Window,
    alike_units,
    bounds,
    fit_window,
    linear_terms,
)
from hyper_py.steps.photometry import source_apertures

IntArray: TypeAlias = NDArray[np.int64]
BoolArray: TypeAlias = NDArray[np.bool_]


_WINDOW_BEAMS = 2.5
"""Radius of the discs that are fitted; results are flat between 2 and 4."""
_SURROUNDINGS_BEAMS = 0.5
"""What a disc must have around the largest aperture."""
_LARGEST_WINDOW_BEAMS = 3.5
"""A unit of such discs still fits into the reach of the covariance; beyond it the model stands in."""
_MOST_ADDITIONS = 3
"""Rounds of deblending: sources that a unit can gain."""
_SPLIT_SHIFT_BEAMS = 0.15
"""How far the sources of a split unit may move from where the split put them."""
_LARGEST_DEBLENDED = 6
"""Larger units are not searched for more sources."""
_MOST_PATTERNS = 3
"""Rounds in which what all sources have in common is measured, each without what it explains."""
_EXPLAINED = 0.15
"""Detections of which the pattern of brighter ones makes this share of the peak are left to the search."""
_KNOWN_ROUNDS = 3
"""Fits after each of which the known shape of the beam is drawn anew, with the fluxes that it left."""
_ROUGH = {"ftol": 1e-4, "xtol": 1e-4, "gtol": 1e-4}
"""The first fit only serves to clean the map on which the noise is measured."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Ground:
    """Polynomial backgrounds of the units: those fitted before, and the orders of those fitted along."""

    apart: list[UnitBackground] | None = None
    orders: list[int] | None = None

    def below(self, k: int) -> Sky:
        """Return what is subtracted before a unit is fitted."""
        return NoSky() if self.apart is None else self.apart[k]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Round:
    """What the fits of one round need: windows, data, metrics, backgrounds and bounds of all units."""

    windows: list[Window]
    data: list[FloatArray]
    metrics: Sequence[Metric]
    scales: list[float]
    backgrounds: list[FloatArray]
    limits: Bounds
    cache: WindowCache
    ground: _Ground

    @classmethod
    def make(
        cls,
        task: Task,
        options: Options,
        cache: WindowCache,
        level: Plane,
        ground: _Ground,
        *,
        previous: "_Round | None" = None,
        fits: Sequence[UnitFit | None] = (),
    ) -> "_Round":
        """Return the round of a task; units that have a fit keep the windows of the previous round."""
        sigma_limits = _limits(task, options)
        lower, upper = bounds(
            task.start,
            sigma_limits=sigma_limits,
            shift=task.shift,
            amplitude_limits=(-np.inf if task.forced else 0.0, np.inf),
        )
        radius = _window_radii(task, options)
        windows, data = [], []
        for k, unit in enumerate(task.units):
            if previous is not None and k < len(fits) and fits[k] is not None:
                window, values = previous.windows[k], previous.data[k]
            else:
                window = fit_window(
                    task.start[unit, models.X], task.start[unit, models.Y],
                    radius=radius[unit], usable=task.usable,
                )  # fmt: skip
                values = at(task.data, window.y, window.x)
            windows.append(window)
            data.append(values)
        scales = means_on(level, windows)
        if options.fit_options.noise_model == "white":
            metrics: Sequence[Metric] = [_white_metric(w, task.rms) for w in windows]
        elif ground.orders is not None:
            metrics = [
                _joint_metric(cache, w, s, order, options)
                for w, s, order in zip(windows, scales, ground.orders, strict=True)
            ]
        else:
            metrics = cache.metrics(windows, scales)
        return cls(
            windows=windows,
            data=data,
            metrics=metrics,
            scales=scales,
            backgrounds=[ground.below(k).at(w.y, w.x) for k, w in enumerate(windows)],
            limits=Bounds(
                lower=np.where(task.fixed, task.start, lower), upper=np.where(task.fixed, task.start, upper)
            ),
            cache=cache,
            ground=ground,
        )

    def sky(self, k: int, fit: UnitFit) -> Sky:
        """Return the polynomial background under a unit after its fit."""
        below, window = self.ground.below(k), self.windows[k]
        if self.ground.orders is None or not window.y.size:
            return below
        return JointSky(
            order=self.ground.orders[k], scaling=window_scaling(window), coefficients=fit.coefficients,
            window=window, below=below,
        )  # fmt: skip


def _joint_metric(cache: WindowCache, window: Window, scale: float, order: int, options: Options) -> Metric:
    fit = options.fit_options
    ridge = fit.lambda_l2 if fit.use_l2_regularization else 0.0
    return cache.joint_metric(window, scale, order=order, ridge=ridge)


def _white_metric(window: Window, rms: float | FloatArray) -> Metric:
    """Return the metric of independent noise, the local mean being free."""
    at = window.y, window.x
    weights = 1.0 / (rms[at] if isinstance(rms, np.ndarray) else np.full(at[0].size, rms))
    if not weights.size:
        return Metric(weights=weights)
    return Metric(weights=weights, terms=linear_terms(np.ones((weights.size, 1)), weights=weights))


def _ground(
    task: Task,
    sources: FloatArray,
    options: Options,
    this: _Round | None = None,
    solver: dict[str, Any] | None = None,
) -> _Ground:
    """Fit backgrounds apart, and say of which order those are that are fitted along.

    Orders are chosen by fits with the metrics of a round; without one the highest are taken.
    """
    background = options.background
    if background.method == "conditional":
        return _Ground()
    apart, orders = None, None
    if background.apart:
        data = task.data[:, :]
        residual = data if this is None else data - models.render(sources, size_of(task.data))
        apart = fit_backgrounds(residual, sources, task, options)
    if background.fit_gauss_and_bg_together and this is None:
        orders = [max(background.polynomial_orders)] * len(task.units)
    elif background.fit_gauss_and_bg_together and this is not None:
        choices = [
            {
                order: _joint_metric(this.cache, w, s, order, options)
                for order in affordable_orders(
                    background.polynomial_orders, n_pixels=w.y.size, n_sources=len(unit)
                )
            }
            for unit, w, s in zip(task.units, this.windows, this.scales, strict=True)
        ]
        below = [(NoSky() if apart is None else apart[k]).at(w.y, w.x) for k, w in enumerate(this.windows)]
        orders = choose_orders(
            unit_values(this.data, sources, task.units, this.windows, below), this.windows, choices,
            [sources[unit] for unit in task.units],
            lower=[this.limits.lower[unit] for unit in task.units],
            upper=[this.limits.upper[unit] for unit in task.units],
            criterion=options.fit_options.min_method, rms=below, beam_area=task.beam_area, **(solver or {}),
        )  # fmt: skip
    return _Ground(apart=apart, orders=orders)


def _limits(task: Task, options: Options) -> tuple[float, float]:
    """Return the smallest and largest sigma of a source in pixels."""
    photometry = options.photometry
    return task.size_limits(photometry.aper_inf, photometry.aper_sup, round_beam=options.original)


def _window_radii(task: Task, options: Options) -> FloatArray:
    """Return the radii in pixels of the discs to fit: apertures need surroundings in them."""
    given = task.fixed[:, models.SIGMA_1]
    beams = np.where(
        given, FWHM_PER_SIGMA * task.start[:, models.SIGMA_1] / task.beam_fwhm, options.photometry.aper_sup
    )
    reach = options.photometry.fwhm_radius_ratio * beams + _SURROUNDINGS_BEAMS
    return task.beam_fwhm * np.clip(reach, _WINDOW_BEAMS, _LARGEST_WINDOW_BEAMS)


def measure_correlated(task: Task, options: Options) -> Measured:
    """Fit and measure all sources of a map in the noise that the map itself shows.

    The covariance is measured with the sources masked, and once more from the residual of a first fit.
    Then units that ask for one more source get it, until none does.
    """
    fit_options = options.fit_options
    solver: dict[str, Any] = {
        "loss": fit_options.loss, "f_scale": fit_options.f_scale, "ftol": fit_options.ftol,
        "xtol": fit_options.xtol, "gtol": fit_options.gtol, "max_evaluations": fit_options.max_nfev,
    }  # fmt: skip
    noise, level = _noise(task, task.start, subtracted=False)
    white = fit_options.noise_model == "white"
    this = _Round.make(task, options, WindowCache(noise), level, _ground(task, task.start, options))
    sources, rough = _rough_fit(task, task.start, this, solver)
    noise, level = _noise(task, sources, subtracted=True)
    # Only in the noise that is really there a residual can be told from a source.
    search = options.detection.deblend_residual and not (task.forced or noise.assumed or white)
    given, whole = np.arange(len(sources)), task.data
    pattern = known = _known_misfit(task)
    measurable = not (white or noise.assumed or task.forced)
    for measured in (False,) * _KNOWN_ROUNDS * (known is not None) + (True,) * _MOST_PATTERNS * measurable:
        if measured:
            more = common_misfit(task.data, sources, noise=noise, level=level, beam_fwhm=task.beam_fwhm)
            if more is None:
                break
            pattern = more if pattern is None else pattern + more
        assert pattern is not None  # known, or just measured
        # What is real among those left out is found again in the residual.
        explained = search & (pattern.share(sources) >= _EXPLAINED)
        given = given[~explained]
        task, sources, _ = _without(task, sources, rough, ~explained)
        task = _without_pattern(task, whole, pattern.drawn(sources, size_of(whole)))
        this = _Round.make(task, options, WindowCache(noise), level, _ground(task, sources, options))
        sources, rough = _rough_fit(task, sources, this, solver)
        noise, level = _noise(task, sources, subtracted=True)
        if measured and not explained.any():
            break
    n_given = len(given)
    cache = WindowCache(noise, grain=_grain(task, sources, level))
    searched: Sequence[UnitFit] = ()
    fits: Sequence[UnitFit | None] = [None] * len(task.units)
    this = _Round.make(task, options, cache, level, this.ground, previous=this, fits=rough)
    ground = _ground(task, sources, options, this, solver)
    for n_left in range(_MOST_ADDITIONS if search else 0, -1, -1):
        this = _Round.make(task, options, cache, level, ground, previous=this, fits=fits)
        sources, done = sweep_units(
            this.data, sources, task.units, this.windows, this.metrics, this.backgrounds, bounds=this.limits,
            max_sweeps=5, previous=fits, **solver,
        )  # fmt: skip
        larger = _deblended(task, sources, done, searched, this, options, solver) if n_left else None
        if larger is None:
            break
        searched = done
        task, sources, fits = larger
    for _ in range(_MOST_ADDITIONS):
        kept = _confirmed(task, sources, done, this, options, n_given=n_given)
        if kept.all():
            break
        task, sources, fits = _without(task, sources, done, kept)
        this = _Round.make(task, options, cache, level, ground, previous=this, fits=fits)
        sources, done = sweep_units(
            this.data, sources, task.units, this.windows, this.metrics, this.backgrounds, bounds=this.limits,
            max_sweeps=5, previous=fits, **solver,
        )  # fmt: skip
    sources, fits, retried = retry_failed(
        this.data, sources, done, task.units, this.windows, this.metrics, this.backgrounds,
        starts=other_starts(task, sources), bounds=this.limits, **solver,
    )  # fmt: skip
    if options.background.method == "conditional":
        collected = _collect(task, sources, fits, retried, this, options)
    else:
        collected = _collect_polynomial(task, sources, fits, retried, this, noise, level, options)
    collected.flags[n_given:] |= int(Flag.ADDED_IN_RESIDUAL)
    collected.flags[_assumed(task).any(axis=1)] |= int(Flag.SHAPE_ASSUMED)
    if noise.assumed:
        collected.flags |= int(Flag.NOISE_ASSUMED)
    return collected.measured(sources, noise=noise, given=given)


def _rough_fit(
    task: Task, sources: FloatArray, this: _Round, solver: dict[str, Any]
) -> tuple[FloatArray, list[UnitFit]]:
    """Fit all sources well enough to clean the map of them."""
    return sweep_units(
        this.data, sources, task.units, this.windows, this.metrics, this.backgrounds, bounds=this.limits,
        max_sweeps=2, **{**solver, **_ROUGH},
    )  # fmt: skip


def _noise(task: Task, sources: FloatArray, *, subtracted: bool) -> tuple[CovarianceModel, Plane]:
    """Measure the noise of a map, sources subtracted or not, outside the sources."""
    return measure_noise(
        outside_sources(task.data, sources, subtract=subtracted),
        beam_covariance=task.beam_covariance, beam_fwhm=task.beam_fwhm,
        relative=task.relative_noise, size=task.block_size,
    )  # fmt: skip


def _known_misfit(task: Task) -> CommonMisfit | None:
    """Return what the image of the beam has beyond its Gaussian, if there is one."""
    if task.beyond is None:
        return None
    return known_misfit(task.beyond, beam_covariance=task.beam_covariance)


def _without_pattern(task: Task, whole: Plane, pattern: Plane) -> Task:
    """Return the task on a map less what all sources have in common beyond Gaussians."""
    data: Plane = combined(np.subtract, whole, pattern)
    return replace(task, data=data[:, :] if isinstance(whole, np.ndarray) else data)


def _grain(task: Task, sources: FloatArray, level: Plane) -> Plane | None:
    """Return the independent error of pixels that grows with the light on them; None if there is none."""
    drawn = models.SourcesByPlace(sources, n_sigma=6.0)

    def make(rows: slice, columns: slice) -> FloatArray:
        shape = rows.stop - rows.start, columns.stop - columns.start
        return models.render(drawn[rows, columns], shape)

    light: Plane = LazyPlane(size_of(task.data), make)
    if isinstance(task.data, np.ndarray):
        light = light[:, :]
    share = pixel_error_of_light(task.data, light, level=level, size=task.block_size)
    return LazyPlane(size_of(light), lambda rows, columns: share * light[rows, columns]) if share else None


def _deblended(
    task: Task,
    sources: FloatArray,
    fits: list[UnitFit],
    searched: Sequence[UnitFit],
    this: _Round,
    options: Options,
    solver: dict[str, Any],
) -> tuple[Task, FloatArray, list[UnitFit | None]] | None:
    """Return the task and sources with one more source in each unit that asks for it, and no fit for these.

    Units that were `searched` with the fit that they still have are left out; None if none asks.
    """
    beam = models.shape_parameters(task.beam_covariance)
    alone = np.array([unit[0] for unit in task.units if len(unit) == 1], dtype=np.int64)
    typical = TypicalShape.of(sources[alone[~task.fixed[alone, models.SIGMA_1]]], beam)
    values = unit_values(this.data, sources, task.units, this.windows, this.backgrounds)
    open_units = [
        k for k, unit in enumerate(task.units)
        if len(unit) < _LARGEST_DEBLENDED and not (searched and searched[k] is fits[k])
    ]  # fmt: skip
    splits = [
        split
        for chunk in affordable(open_units, this.windows, this.metrics)
        for split in split_units(
            values, this.windows, this.metrics, fits, units=[k for _, k in chunk],
            beam=beam, typical=typical.shape,
            fixed=[task.fixed[unit] for unit in task.units], sigma_limits=_limits(task, options),
            shift=0.5 * task.beam_fwhm, significance=options.detection.sigma_thres,
            **{**solver, **_ROUGH},
        )
    ]  # fmt: skip
    splits.sort(key=lambda split: split.unit)
    if not splits:
        return None
    left: list[UnitFit | None] = list(fits)
    start, fixed, sources, units = task.start.copy(), task.fixed.copy(), sources.copy(), list(task.units)
    assumed = _assumed(task)
    shift = np.append(task.shift, np.empty(len(splits)))
    for split in splits:
        unit, left[split.unit] = units[split.unit], None
        sources[unit] = start[unit] = split.parameters[:-1]
        units[split.unit] = np.append(unit, len(sources))
        start, sources = (np.concatenate([v, split.parameters[-1:]]) for v in (start, sources))
        fixed = np.concatenate([fixed, np.zeros((1, models.N_PARAMETERS), dtype=bool)])
        held = units[split.unit][split.typical]
        fixed[held, models.SIGMA_1 :] = True
        assumed = np.concatenate([assumed, np.zeros((1, models.N_PARAMETERS))])
        assumed[held] = typical.variance
        # Near where the evidence put them: free to go, one of two close sources would wander off.
        shift[units[split.unit]] = _SPLIT_SHIFT_BEAMS * task.beam_fwhm
    return replace(task, start=start, fixed=fixed, assumed=assumed, shift=shift, units=units), sources, left


def _assumed(task: Task) -> FloatArray:
    """Return the variances of what is assumed of the sources of a task, shape (n, 6)."""
    return np.zeros(task.start.shape) if task.assumed is None else task.assumed


def _confirmed(
    task: Task, sources: FloatArray, fits: list[UnitFit], this: _Round, options: Options, *, n_given: int
) -> BoolArray:
    """Return which sources stay: of those added, the ones still significant, compact and apart.

    In each unit only the weakest of those that fail goes at once.
    """
    kept = np.ones(len(sources), dtype=bool)
    smallest, largest = np.multiply(_limits(task, options), (1.01, 0.99))
    for k, unit in enumerate(task.units):
        added = np.flatnonzero(unit >= n_given)
        if not added.size:
            continue
        own = sources[unit]
        significance = amplitude_significance(
            fits[k], this.windows[k], this.metrics[k], fixed=task.fixed[unit]
        )
        doubtful = (significance < options.detection.sigma_thres) | (own[:, models.SIGMA_1] > largest)
        # Narrower than anything seen through the beam: noise of pixels.
        doubtful |= own[:, models.SIGMA_2] < smallest
        doubtful |= closest_neighbour(own) < CLOSEST_BEAMS * task.beam_fwhm
        failing = added[doubtful[added]]
        if failing.size:
            kept[unit[failing[np.argmin(significance[failing])]]] = False
    return kept


def _without(
    task: Task, sources: FloatArray, fits: Sequence[UnitFit], kept: BoolArray
) -> tuple[Task, FloatArray, list[UnitFit | None]]:
    """Return the task and sources without those that are not kept, and no fit for the units of these."""
    new = np.cumsum(kept) - 1
    some = [k for k, unit in enumerate(task.units) if kept[unit].any()]
    units = [new[task.units[k][kept[task.units[k]]]] for k in some]
    return (
        replace(
            task,
            start=task.start[kept],
            fixed=task.fixed[kept],
            assumed=_assumed(task)[kept],
            shift=task.shift[kept],
            units=units,
        ),
        sources[kept],
        [fits[k] if kept[task.units[k]].all() else None for k in some],
    )


def _collect(
    task: Task, sources: FloatArray, fits: list[UnitFit], retried: BoolArray, this: _Round, options: Options
) -> Collector:
    """Measure apertures and errors of all units."""
    collected = Collector(len(sources))
    for unit, window in zip(task.units, this.windows, strict=True):
        if window.y.size == 0:
            collected.add_nothing(unit)
    seen = [k for k, window in enumerate(this.windows) if window.y.size]
    for chunk in affordable(seen, this.windows, this.metrics):
        _collect_some(collected, task, sources, fits, retried, this, options, [k for _, k in chunk])
    return collected


def _collect_some(
    collected: Collector,
    task: Task,
    sources: FloatArray,
    fits: list[UnitFit],
    retried: BoolArray,
    this: _Round,
    options: Options,
    units: list[int],
) -> None:
    """Measure apertures and errors of some units."""
    radius, assumed = options.photometry.fwhm_radius_ratio, _assumed(task)
    own, metrics = [this.windows[k] for k in units], [this.metrics[k] for k in units]
    data = [this.data[k] for k in units]
    residuals = [values - model for values, model in zip(data, models_on(sources, own), strict=True)]
    sizes = [len(task.units[k]) for k in units]
    for batch in alike_units(sizes, own, metrics, same_shape=True):
        ks, windows, left = [units[i] for i in batch], [own[i] for i in batch], [residuals[i] for i in batch]
        n = sizes[batch[0]]
        found = source_apertures(np.concatenate([fits[k].parameters for k in ks]), radius_in_fwhm=radius)
        apertures = [found[i : i + n] for i in range(0, len(found), n)]
        measured = photometry_of_alike(
            left, [fits[k] for k in ks], windows, [metrics[i] for i in batch],
            this.cache.at(windows[0], this.scales[ks[0]]),
            apertures, footprints=[footprint(fits[k].parameters, this.windows[k]) for k in ks],
            scales=[this.scales[k] for k in ks], fixed=[task.fixed[task.units[k]] for k in ks],
            assumed=[assumed[task.units[k]] for k in ks],
        )  # fmt: skip
        for i, k in enumerate(ks):
            unit, y, x = task.units[k], windows[i].y, windows[i].x
            photometry, background = measured[i]
            in_sigmas = metrics[batch[i]].project(left[i])
            collected.add_fit(
                unit, fits[k], left[i], data[batch[i]], n_free=int((~task.fixed[unit]).sum()) + 1,
                chi2=float(in_sigmas @ in_sigmas), n_beams=y.size / task.beam_area,
                retried=bool(retried[k]),
            )  # fmt: skip
            collected.add_photometry(unit, photometry, apertures[i], task.usable)
            known = np.isfinite(background)
            patch = ConditionalPatch(y=y[known], x=x[known], values=background[known])
            collected.add_background(unit, patch, order=-1)


def _collect_polynomial(
    task: Task,
    sources: FloatArray,
    fits: list[UnitFit],
    retried: BoolArray,
    this: _Round,
    noise: CovarianceModel,
    level: Plane,
    options: Options,
) -> Collector:
    """Measure apertures and errors of all units on their polynomials."""
    residual = task.data[:, :] - models.render(sources, size_of(task.data))
    collected, apart = Collector(len(sources)), this.ground.apart
    add_units(
        collected, task, residual, fits, this.windows, this.metrics,
        [this.sky(k, fit) for k, fit in enumerate(fits)], apart, noise, level[:, :],
        options=options, retried=retried,
    )  # fmt: skip
    for unit, background in zip(task.units, apart or [], strict=False):
        collected.flags[unit] |= int(background.polynomial.flag)
    return collected
