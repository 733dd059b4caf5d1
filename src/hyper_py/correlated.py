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
from scipy.linalg import LinAlgError, cho_factor, cho_solve, cholesky, lapack

from hyper_py import models
from hyper_py.deblending import (
    CLOSEST_BEAMS,
    amplitude_significance,
    closest_neighbour,
    split_units,
)
from hyper_py.diagnostics import Flag
from hyper_py.fitting import (
    LinearTerms,
    Metric,
    UnitFit,
    Window,
    alike_units,
    bounds,
    fit_window,
    influences,
    linear_terms,
    whiten,
)
from hyper_py.geometry import FWHM_PER_SIGMA, FloatArray
from hyper_py.joint import JointSky, NoSky, Sky, affordable_orders, choose_orders, window_scaling
from hyper_py.noise import CovarianceModel
from hyper_py.noise_field import measure_noise
from hyper_py.options import Options
from hyper_py.photometry import (
    Aperture,
    UnitPhotometry,
    aperture_fractions,
    aperture_on_pixels,
    flux_gradient,
    source_aperture,
)
from hyper_py.polynomial import polynomial_design
from hyper_py.sweeps import (
    Bounds,
    Collector,
    Measured,
    Task,
    other_starts,
    retry_failed,
    sweep_units,
    unit_values,
)
from hyper_py.unit_backgrounds import UnitBackground
from hyper_py.weighted import add_unit, fit_backgrounds

IntArray: TypeAlias = NDArray[np.int64]
BoolArray: TypeAlias = NDArray[np.bool_]


_WINDOW_BEAMS = 2.5
"""Radius of the discs that are fitted; results are flat between 2 and 4."""
_SURROUNDINGS_BEAMS = 0.5
"""What a disc must have around the largest aperture."""
_LARGEST_WINDOW_BEAMS = 3.5
"""A unit of such discs still fits into the reach of the covariance; beyond it the model stands in."""
_FINEST_SAMPLING = 4.5
"""Pixels per beam beyond which every second pixel is enough (every third at twice as many, ...)."""
_MASK_SIGMA = 3.0
"""Sources are masked to this many sigma where the noise is measured."""
_FOOTPRINT_SIGMA = 2.0
"""Pixels this near a source say nothing about the background under it."""
_MOST_ADDITIONS = 3
"""Rounds of deblending: sources that a unit can gain."""
_SPLIT_SHIFT_BEAMS = 0.15
"""How far the sources of a split unit may move from where the split put them."""
_LARGEST_DEBLENDED = 6
"""Larger units are not searched for more sources."""
_ROUGH = {"ftol": 1e-4, "xtol": 1e-4, "gtol": 1e-4}
"""The first fit only serves to clean the map on which the noise is measured."""


def inverse_factor(covariance: FloatArray) -> FloatArray:
    """Return L^-1 of a covariance L L^T, shape (n, n).

    Raises
    ------
    numpy.linalg.LinAlgError
        If the covariance is not positive definite.
    """
    if covariance.size == 0:
        return covariance
    inverse, info = lapack.dtrtri(cholesky(covariance, lower=True, check_finite=False), lower=1)
    if info != 0:
        raise LinAlgError("singular covariance")
    factor: FloatArray = np.tril(inverse)
    return factor


def whitening_matrix(covariance: FloatArray) -> FloatArray:
    """Return M with |M r|^2 = min over m of (r - m)^T C^-1 (r - m): whitened, the mean eliminated.

    Parameters
    ----------
    covariance : ndarray, shape (n, n)
        Positive definite.

    Returns
    -------
    ndarray, shape (n, n)

    Raises
    ------
    numpy.linalg.LinAlgError
        If the covariance is not positive definite.
    """
    if covariance.size == 0:
        return covariance
    inverse = inverse_factor(covariance)
    mean = inverse.sum(axis=1)
    mean /= np.linalg.norm(mean)
    matrix: FloatArray = inverse - np.outer(mean, mean @ inverse)
    return matrix


@dataclass(frozen=True, kw_only=True, eq=False)
class NoiseWindow:
    """A window's covariance, whitening matrix and precision, for unit variance scale."""

    covariance: FloatArray
    whitening: FloatArray
    precision: FloatArray


class WindowCache:
    """Noise windows by their shape: a stationary covariance depends on the pixels' separations only."""

    def __init__(self, covariance: CovarianceModel) -> None:
        self._covariance = covariance
        self._known: dict[bytes, NoiseWindow] = {}
        self._factors: dict[bytes, FloatArray] = {}
        self._terms: dict[tuple[bytes, int, float], LinearTerms] = {}

    def __getitem__(self, window: Window) -> NoiseWindow:
        """Return the noise window of a shape, computed at its first use."""
        if window.key not in self._known:
            covariance = self._covariance.matrix(window.y, window.x)
            whitening = whitening_matrix(covariance)
            self._known[window.key] = NoiseWindow(
                covariance=covariance, whitening=whitening, precision=whitening.T @ whitening
            )
        return self._known[window.key]

    def metrics(self, windows: Sequence[Window], scales: Sequence[float]) -> list[Metric]:
        """Return the metric of each window, its noise `scales` times that of the covariance."""
        return [
            Metric(weights=np.full(w.y.size, 1.0 / s), matrix=self[w].whitening)
            for w, s in zip(windows, scales, strict=True)
        ]

    def joint_metric(self, window: Window, scale: float, *, order: int, ridge: float) -> Metric:
        """Return the metric of a window with a polynomial fitted along.

        Parameters
        ----------
        window : Window
        scale : float
            Noise in units of that of the covariance.
        order : int
            Of the polynomial, in coordinates scaled to the window.
        ridge : float
            Penalty of the coefficients but for the constant, in units of the rms.
        """
        if window.key not in self._factors:
            self._factors[window.key] = inverse_factor(self._covariance.matrix(window.y, window.x))
        factor, key = self._factors[window.key], (window.key, order, ridge)
        if key not in self._terms:
            design = polynomial_design(window.y, window.x, order=order, scaling=window_scaling(window))
            reach = self._covariance.reach
            penalty = np.full(design.shape[1], ridge / np.sqrt(self._covariance.lags[reach, reach]))
            penalty[0] = 0.0
            ones = np.ones(window.y.size)
            self._terms[key] = linear_terms(design, weights=ones, matrix=factor, penalty=penalty)
        terms = self._terms[key].scaled(1.0 / scale)
        return Metric(weights=np.full(window.y.size, 1.0 / scale), matrix=factor, terms=terms)


def unit_photometry(
    residual: FloatArray,
    fit: UnitFit,
    window: Window,
    metric: Metric,
    noise: NoiseWindow,
    apertures: Sequence[Aperture],
    *,
    footprint: BoolArray,
    scale: float,
    pixel_area: float = 1.0,
    fixed: BoolArray | None = None,
) -> tuple[UnitPhotometry, FloatArray]:
    """Measure a unit's aperture fluxes on the map minus companions and conditional background.

    With r the residual of the fit, K r_s the mean of the field on the footprint given the residual r_s of
    the surroundings, a the aperture and f the fraction of the model in it, the flux is
    F = F_gauss + a (r - K r_s) / f: linear in the data, so that its error follows from the covariance.

    Parameters
    ----------
    residual : ndarray, shape (n,)
        Data minus all models on the window.
    fit, window, metric
        The unit as fitted.
    noise : NoiseWindow
    apertures : sequence of Aperture, one a source
    footprint : bool ndarray, shape (n,)
        Pixels that say nothing about the background: those of the sources.
    scale : float
        Local noise in units of the noise window's.
    pixel_area : float
        Pixels that each pixel of the window stands for.
    fixed : bool ndarray, shape (n_sources, 6), optional
        Parameters that were not fitted.

    Returns
    -------
    UnitPhotometry
    conditional : ndarray, shape (n,)
        Background on the pixels of the footprint and apertures; NaN on the others.
    """
    return photometry_of_alike(
        [residual], [fit], [window], [metric], noise, [apertures],
        footprints=[footprint], scales=[scale], pixel_area=pixel_area,
        fixed=None if fixed is None else [fixed],
    )[0]  # fmt: skip


def photometry_of_alike(
    residuals: Sequence[FloatArray],
    fits: Sequence[UnitFit],
    windows: Sequence[Window],
    metrics: Sequence[Metric],
    noise: NoiseWindow,
    apertures: Sequence[Sequence[Aperture]],
    *,
    footprints: Sequence[BoolArray],
    scales: Sequence[float],
    pixel_area: float = 1.0,
    fixed: Sequence[BoolArray] | None = None,
) -> list[tuple[UnitPhotometry, FloatArray]]:
    """Return `unit_photometry` of units that share a noise window and have as many sources."""
    moves, inverse, jacobian = influences(fits, windows, metrics, fixed=fixed)
    variances = np.asarray(scales)[:, None, None] ** 2
    if metrics[0].matrix is None:
        # The metric is not the noise's: its inverse says nothing about errors.
        inverse = variances * (whiten(moves, noise.covariance) @ moves.swapaxes(1, 2))
    gradients = np.stack([flux_gradient(fit.parameters) for fit in fits])
    sums = pixel_area * np.stack(
        [[aperture_on_pixels(a, w.y, w.x) for a in own] for own, w in zip(apertures, windows, strict=True)]
    )
    fractions = aperture_fractions(
        np.concatenate([fit.parameters for fit in fits]), [a for own in apertures for a in own]
    ).reshape(sums.shape[:2])
    inside = np.stack(footprints) | (sums > 0.0).any(axis=1)
    residual = np.stack(residuals)
    outer, background = _surroundings_say(noise, inside, sums, residual)
    weights = (sums - outer) / fractions[..., None]
    influence = weights + (gradients - weights @ jacobian.swapaxes(1, 2)) @ moves
    variance = np.asarray(scales)[:, None] ** 2 * np.sum(
        whiten(influence, noise.covariance) * influence, axis=-1
    )
    variance_gauss = np.sum((gradients @ inverse) * gradients, axis=-1)
    correction = np.sum(weights * residual[:, None], axis=-1)
    level = np.sum(sums * np.where(inside, background, 0.0)[:, None], axis=-1) / sums.sum(axis=-1)
    return [
        (
            UnitPhotometry(
                flux=models.gaussian_flux(fit.parameters) + correction[k],
                flux_err=np.sqrt(np.maximum(variance[k], 0.0)),
                flux_gauss_err=np.sqrt(np.maximum(variance_gauss[k], 0.0)),
                fraction=fractions[k],
                background=level[k],
                covariance=inverse[k],
            ),
            background[k],
        )
        for k, fit in enumerate(fits)
    ]


def _surroundings_say(
    noise: NoiseWindow, inside: BoolArray, sums: FloatArray, residual: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return K^T a for apertures a, and K r, where K is the `conditional_mean` of the inside of each unit.

    Only these two products are needed, not K: with the precision Q they are -Q_oi z, where Q_ii z = a, and
    the solution of Q_ii b = -Q_io r. Without any surroundings only the mean of the field can be told.

    Parameters
    ----------
    noise : NoiseWindow
    inside : bool ndarray, shape (n_units, n)
    sums : ndarray, shape (n_units, n_sources, n)
    residual : ndarray, shape (n_units, n)

    Returns
    -------
    outer : ndarray, shape (n_units, n_sources, n)
    background : ndarray, shape (n_units, n)
        NaN outside.
    """
    some = np.flatnonzero(inside.any(axis=0))
    is_in = inside[:, some]
    precision = np.where(is_in[:, :, None] & is_in[:, None, :], noise.precision[np.ix_(some, some)], 0.0)
    diagonal = np.arange(some.size)
    precision[:, diagonal, diagonal] += ~is_in
    pushed = whiten(np.where(inside, 0.0, residual), noise.precision)[:, some]
    right = np.concatenate([sums[..., some], -np.where(is_in, pushed, 0.0)[:, None]], axis=1)
    # Without surroundings the precision, the mean eliminated, is singular: unit by unit below.
    alone = inside.all(axis=1)
    precision[alone] = np.eye(some.size)
    solved = np.linalg.solve(precision, right.swapaxes(1, 2)).swapaxes(1, 2)
    spread = np.zeros(sums.shape)
    spread[..., some] = solved[:, :-1]
    outer = np.where(inside[:, None], 0.0, -whiten(spread, noise.precision))
    background = np.full(residual.shape, np.nan)
    background[:, some] = np.where(is_in, solved[:, -1], np.nan)
    if alone.any():
        share = np.linalg.solve(noise.covariance, np.ones(inside.shape[1]))
        share /= share.sum()
        outer[alone] = sums[alone].sum(axis=-1, keepdims=True) * share
        background[alone] = (residual[alone] @ share)[:, None]
    return outer, background


def conditional_mean(precision: FloatArray, inside: BoolArray) -> FloatArray:
    """Return K: the mean of a field inside is K times its values outside, the field's mean being free.

    With the precision Q of the whole window, K = -Q_ii^-1 Q_io (Rue & Held 2005, Gaussian Markov Random
    Fields, theorem 2.5).

    Parameters
    ----------
    precision : ndarray, shape (n, n)
        Inverse covariance, the mean eliminated.
    inside : bool ndarray, shape (n,)

    Returns
    -------
    ndarray, shape (n_inside, n_outside)
    """
    factor = cho_factor(precision[np.ix_(inside, inside)], check_finite=False)
    conditional: FloatArray = -cho_solve(factor, precision[np.ix_(inside, ~inside)], check_finite=False)
    return conditional


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
    """What the fits of one round need: windows, metrics, backgrounds and bounds of all units."""

    windows: list[Window]
    metrics: list[Metric]
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
        level: FloatArray,
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
        windows = [
            previous.windows[k] if previous is not None and k < len(fits) and fits[k] is not None
            else fit_window(
                task.start[unit, models.X], task.start[unit, models.Y],
                radius=radius[unit], usable=task.usable,
                stride=_stride(task),
            )
            for k, unit in enumerate(task.units)
        ]  # fmt: skip
        scales = [float(np.mean(level[w.y, w.x])) if w.y.size else 1.0 for w in windows]
        if options.fit_options.noise_model == "white":
            metrics = [_white_metric(w, task.rms) for w in windows]
        elif ground.orders is not None:
            metrics = [
                _joint_metric(cache, w, s, order, options)
                for w, s, order in zip(windows, scales, ground.orders, strict=True)
            ]
        else:
            metrics = cache.metrics(windows, scales)
        return cls(
            windows=windows,
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
    if background.method != "polynomial":
        return _Ground()
    apart, orders = None, None
    if background.fit_gauss_and_bg_separately:
        residual = task.data if this is None else task.data - models.render(sources, task.data.shape)
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
            unit_values(task.data, sources, task.units, this.windows, below), this.windows, choices,
            [sources[unit] for unit in task.units],
            lower=[this.limits.lower[unit] for unit in task.units],
            upper=[this.limits.upper[unit] for unit in task.units],
            criterion=options.fit_options.min_method, rms=below, beam_area=task.beam_area, **(solver or {}),
        )  # fmt: skip
    return _Ground(apart=apart, orders=orders)


def _limits(task: Task, options: Options) -> tuple[float, float]:
    """Return the smallest and largest sigma of a source in pixels."""
    sigma = task.beam_fwhm / FWHM_PER_SIGMA
    return options.photometry.aper_inf * sigma, options.photometry.aper_sup * sigma


def _window_radii(task: Task, options: Options) -> FloatArray:
    """Return the radii in pixels of the discs to fit: apertures need surroundings in them."""
    given = task.fixed[:, models.SIGMA_1]
    beams = np.where(
        given, FWHM_PER_SIGMA * task.start[:, models.SIGMA_1] / task.beam_fwhm, options.photometry.aper_sup
    )
    reach = options.photometry.fwhm_radius_ratio * beams + _SURROUNDINGS_BEAMS
    return task.beam_fwhm * np.clip(reach, _WINDOW_BEAMS, _LARGEST_WINDOW_BEAMS)


def _stride(task: Task) -> int:
    return max(1, int(task.beam_fwhm / _FINEST_SAMPLING))


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
    n_given = len(task.start)
    noise, level = _noise(task, task.start, task.data)
    white = fit_options.noise_model == "white"
    this = _Round.make(task, options, WindowCache(noise), level, _ground(task, task.start, options))
    sources, rough = sweep_units(
        task.data, task.start, task.units, this.windows, this.metrics, this.backgrounds, bounds=this.limits,
        max_sweeps=2, **{**solver, **_ROUGH},
    )  # fmt: skip
    noise, level = _noise(task, sources, task.data - models.render(sources, task.data.shape))
    cache = WindowCache(noise)
    searched: Sequence[UnitFit] = ()
    fits: Sequence[UnitFit | None] = [None] * len(task.units)
    this = _Round.make(task, options, cache, level, this.ground, previous=this, fits=rough)
    ground = _ground(task, sources, options, this, solver)
    # Only in the noise that is really there a residual can be told from a source.
    search = options.detection.deblend_residual and not (task.forced or noise.assumed or white)
    for n_left in range(_MOST_ADDITIONS if search else 0, -1, -1):
        this = _Round.make(task, options, cache, level, ground, previous=this, fits=fits)
        sources, done = sweep_units(
            task.data, sources, task.units, this.windows, this.metrics, this.backgrounds, bounds=this.limits,
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
            task.data, sources, task.units, this.windows, this.metrics, this.backgrounds, bounds=this.limits,
            max_sweeps=5, previous=fits, **solver,
        )  # fmt: skip
    sources, fits, retried = retry_failed(
        task.data, sources, done, task.units, this.windows, this.metrics, this.backgrounds,
        starts=other_starts(task, sources), bounds=this.limits, **solver,
    )  # fmt: skip
    if options.background.method == "polynomial":
        collected = _collect_polynomial(task, sources, fits, retried, this, noise, level, options)
    else:
        collected = _collect(task, sources, fits, retried, this, options)
    collected.flags[n_given:] |= int(Flag.ADDED_IN_RESIDUAL)
    if noise.assumed:
        collected.flags |= int(Flag.NOISE_ASSUMED)
    return collected.measured(sources)


def _noise(task: Task, sources: FloatArray, residual: FloatArray) -> tuple[CovarianceModel, FloatArray]:
    """Measure the noise of a residual outside the sources."""
    mask = models.footprints(sources, task.data.shape, n_sigma=_MASK_SIGMA) | ~task.usable
    return measure_noise(
        residual, mask, beam_covariance=task.beam_covariance, beam_fwhm=task.beam_fwhm,
        relative=task.relative_noise,
    )  # fmt: skip


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
    values = unit_values(task.data, sources, task.units, this.windows, this.backgrounds)
    splits = split_units(
        values, this.windows, this.metrics, fits,
        units=[
            k for k, unit in enumerate(task.units)
            if len(unit) < _LARGEST_DEBLENDED and not (searched and searched[k] is fits[k])
        ],
        beam=models.shape_parameters(task.beam_covariance), fixed=[task.fixed[unit] for unit in task.units],
        sigma_limits=_limits(task, options), shift=0.5 * task.beam_fwhm,
        significance=options.detection.sigma_thres, **{**solver, **_ROUGH},
    )  # fmt: skip
    if not splits:
        return None
    left: list[UnitFit | None] = list(fits)
    start, fixed, sources, units = task.start.copy(), task.fixed.copy(), sources.copy(), list(task.units)
    shift = np.append(task.shift, np.empty(len(splits)))
    for split in splits:
        unit, left[split.unit] = units[split.unit], None
        sources[unit] = start[unit] = split.parameters[:-1]
        units[split.unit] = np.append(unit, len(sources))
        start, sources = (np.concatenate([v, split.parameters[-1:]]) for v in (start, sources))
        fixed = np.concatenate([fixed, np.zeros((1, models.N_PARAMETERS), dtype=bool)])
        fixed[units[split.unit][split.beam_shaped], models.SIGMA_1 :] = True
        # Near where the evidence put them: free to go, one of two close sources would wander off.
        shift[units[split.unit]] = _SPLIT_SHIFT_BEAMS * task.beam_fwhm
    return replace(task, start=start, fixed=fixed, shift=shift, units=units), sources, left


def _confirmed(
    task: Task, sources: FloatArray, fits: list[UnitFit], this: _Round, options: Options, *, n_given: int
) -> BoolArray:
    """Return which sources stay: of those added, the ones still significant, compact and apart.

    In each unit only the weakest of those that fail goes at once.
    """
    kept = np.ones(len(sources), dtype=bool)
    largest = 0.99 * _limits(task, options)[1]
    for k, unit in enumerate(task.units):
        added = np.flatnonzero(unit >= n_given)
        if not added.size:
            continue
        own = sources[unit]
        significance = amplitude_significance(
            fits[k], this.windows[k], this.metrics[k], fixed=task.fixed[unit]
        )
        doubtful = (significance < options.detection.sigma_thres) | (own[:, models.SIGMA_1] > largest)
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
    units = [new[unit[kept[unit]]] for unit in task.units]
    return (
        replace(task, start=task.start[kept], fixed=task.fixed[kept], shift=task.shift[kept], units=units),
        sources[kept],
        [fit if kept[unit].all() else None for fit, unit in zip(fits, task.units, strict=True)],
    )


def _collect(
    task: Task, sources: FloatArray, fits: list[UnitFit], retried: BoolArray, this: _Round, options: Options
) -> Collector:
    """Measure apertures and errors of all units."""
    residual = task.data - models.render(sources, task.data.shape)
    stride, radius = _stride(task), options.photometry.fwhm_radius_ratio
    collected = Collector(len(sources))
    for unit, window in zip(task.units, this.windows, strict=True):
        if window.y.size == 0:
            collected.add_nothing(unit)
    for batch in alike_units([len(unit) for unit in task.units], this.windows, this.metrics, same_shape=True):
        windows = [this.windows[k] for k in batch]
        if windows[0].y.size == 0:
            continue
        left = [residual[window.y, window.x] for window in windows]
        apertures = [[source_aperture(p, radius_in_fwhm=radius) for p in fits[k].parameters] for k in batch]
        measured = photometry_of_alike(
            left, [fits[k] for k in batch], windows, [this.metrics[k] for k in batch], this.cache[windows[0]],
            apertures, footprints=[_footprint(fits[k].parameters, this.windows[k]) for k in batch],
            scales=[this.scales[k] for k in batch], pixel_area=stride**2,
            fixed=[task.fixed[task.units[k]] for k in batch],
        )  # fmt: skip
        for i, k in enumerate(batch):
            unit, y, x = task.units[k], windows[i].y, windows[i].x
            photometry, background = measured[i]
            in_sigmas = this.metrics[k].project(left[i])
            collected.add_fit(
                unit, fits[k], left[i], task.data[y, x], n_free=int((~task.fixed[unit]).sum()) + 1,
                chi2=float(in_sigmas @ in_sigmas), n_beams=y.size * stride**2 / task.beam_area,
                retried=bool(retried[k]),
            )  # fmt: skip
            collected.add_photometry(unit, photometry, apertures[i], task.usable)
            known = np.isfinite(background)
            patch = ConditionalPatch(y=y[known], x=x[known], values=background[known])
            collected.add_background(unit, patch, order=-1)
    return collected


def _collect_polynomial(
    task: Task,
    sources: FloatArray,
    fits: list[UnitFit],
    retried: BoolArray,
    this: _Round,
    noise: CovarianceModel,
    level: FloatArray,
    options: Options,
) -> Collector:
    """Measure apertures and errors of all units on their polynomials."""
    residual = task.data - models.render(sources, task.data.shape)
    collected, apart = Collector(len(sources)), this.ground.apart
    for k, unit in enumerate(task.units):
        add_unit(
            collected, task, unit, residual, fits[k], this.windows[k], this.metrics[k],
            this.sky(k, fits[k]), None if apart is None else apart[k], noise, level,
            options=options, retried=bool(retried[k]), stride=_stride(task),
        )  # fmt: skip
        if apart is not None:
            collected.flags[unit] |= int(apart[k].polynomial.flag)
    return collected


def _footprint(sources: FloatArray, window: Window) -> BoolArray:
    """Return which pixels of a window are within `_FOOTPRINT_SIGMA` of a source."""
    a, b, c = models.exponents(sources)
    dy, dx = window.y - sources[:, models.Y, None], window.x - sources[:, models.X, None]
    exponent = a * dx * dx + 2.0 * b * dx * dy + c * dy * dy
    inside: BoolArray = np.any(exponent <= 0.5 * _FOOTPRINT_SIGMA**2, axis=0)
    return inside


@dataclass(frozen=True, kw_only=True, eq=False)
class ConditionalPatch:
    """The background on a unit's footprint."""

    y: IntArray
    x: IntArray
    values: FloatArray

    def paint(self) -> tuple[IntArray, IntArray, FloatArray, FloatArray]:
        """Return y, x, background and weight of the pixels covered."""
        return self.y, self.x, self.values, np.ones(self.values.shape)
