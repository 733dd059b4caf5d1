"""What the fits of one round need: windows, whiteners in the noise measured so far, backgrounds, bounds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from hyper_py.arrays import FloatArray
from hyper_py.background.group_polynomials import GroupBackground
from hyper_py.background.joint import (
    BackgroundModel,
    JointBackground,
    NoBackground,
    affordable_orders,
    choose_orders,
    window_scaling,
)
from hyper_py.fitting.group_fit import (
    FitPixels,
    GroupFit,
    Whitener,
    bounds,
    linear_terms,
    select_fit_pixels,
)
from hyper_py.fitting.iterative import (
    Bounds,
    FitProblem,
    group_data,
    means_on,
    rms_on,
)
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.noise.whitening import WhitenerCache
from hyper_py.numerics import models
from hyper_py.numerics.tiles import Plane, at, size_of
from hyper_py.options import Options
from hyper_py.pipeline.polynomial import fit_backgrounds

_WINDOW_BEAMS = 2.5
"""Radius of the discs that are fitted; results are flat between 2 and 4."""
_SURROUNDINGS_BEAMS = 0.5
"""What a disc must have around the largest aperture."""
_LARGEST_WINDOW_BEAMS = 3.5
"""A unit of such discs still fits into the reach of the covariance; beyond it the model stands in."""
INITIAL_TOLERANCES = {"ftol": 1e-4, "xtol": 1e-4, "gtol": 1e-4}
"""The first fit only serves to clean the map on which the noise is measured."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Ground:
    """Polynomial backgrounds of the units: those fitted before, and the orders of those fitted along."""

    apart: list[GroupBackground] | None = None
    orders: list[int] | None = None

    @property
    def is_common(self) -> bool:
        """Whether no unit has a background of its own."""
        return self.apart is None and self.orders is None

    def below(self, k: int) -> BackgroundModel:
        """Return what is subtracted before a unit is fitted."""
        return NoBackground() if self.apart is None else self.apart[k]


Seen: TypeAlias = tuple[FitPixels, FloatArray]
"""The window of a unit, and the map on it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FitSetup:
    """What the fits of one round need: windows, data, whiteners, backgrounds and bounds of all units."""

    windows: list[FitPixels]
    data: list[FloatArray]
    whiteners: Sequence[Whitener]
    scales: list[float]
    backgrounds: list[FloatArray]
    limits: Bounds
    cache: WhitenerCache
    ground: Ground

    @classmethod
    def make(
        cls,
        task: FitProblem,
        options: Options,
        cache: WhitenerCache,
        level: Plane,
        ground: Ground,
        *,
        seen: Sequence[Seen | None] = (),
    ) -> "FitSetup":
        """Return the round of a task; units keep the windows and data in which they were `seen`, if any."""
        sigma_limits = size_limits(task, options)
        lower, upper = bounds(
            task.start,
            sigma_limits=sigma_limits,
            shift=task.shift,
            amplitude_limits=(-np.inf if task.forced else 0.0, np.inf),
        )
        radius = _window_radii(task, options)
        windows, data = [], []
        for k, unit in enumerate(task.units):
            known = seen[k] if seen else None
            if known is not None:
                window, values = known
            else:
                window = select_fit_pixels(
                    task.start[unit, models.X], task.start[unit, models.Y],
                    radius=radius[unit], usable=task.usable,
                )  # fmt: skip
                values = at(task.data, window.y, window.x)
            windows.append(window)
            data.append(values)
        scales = means_on(level, windows)
        if options.fit_options.noise_model == "white":
            whiteners: Sequence[Whitener] = [_white_whitener(w, task.rms) for w in windows]
        elif ground.orders is not None:
            whiteners = [
                _joint_whitener(cache, w, s, order, options)
                for w, s, order in zip(windows, scales, ground.orders, strict=True)
            ]
        else:
            whiteners = cache.whiteners(windows, scales)
        return cls(
            windows=windows,
            data=data,
            whiteners=whiteners,
            scales=scales,
            backgrounds=[ground.below(k).at(w.y, w.x) for k, w in enumerate(windows)],
            limits=Bounds(
                lower=np.where(task.fixed, task.start, lower), upper=np.where(task.fixed, task.start, upper)
            ),
            cache=cache,
            ground=ground,
        )

    def sky(self, k: int, fit: GroupFit) -> BackgroundModel:
        """Return the polynomial background under a unit after its fit."""
        below, window = self.ground.below(k), self.windows[k]
        if self.ground.orders is None or not window.y.size:
            return below
        return JointBackground(
            order=self.ground.orders[k], scaling=window_scaling(window), coefficients=fit.coefficients,
            window=window, below=below,
        )  # fmt: skip


def _joint_whitener(
    cache: WhitenerCache, window: FitPixels, scale: float, order: int, options: Options
) -> Whitener:
    fit = options.fit_options
    ridge = fit.lambda_l2 if fit.use_l2_regularization else 0.0
    return cache.joint_whitener(window, scale, order=order, ridge=ridge)


def _white_whitener(window: FitPixels, rms: float | FloatArray) -> Whitener:
    """Return the whitener of independent noise, the local mean being free."""
    weights = 1.0 / rms_on(rms, window)
    if not weights.size:
        return Whitener(weights=weights)
    return Whitener(weights=weights, terms=linear_terms(np.ones((weights.size, 1)), weights=weights))


def ground_of(
    task: FitProblem,
    sources: FloatArray,
    options: Options,
    this: FitSetup | None = None,
    solver: dict[str, Any] | None = None,
) -> Ground:
    """Fit backgrounds apart, and say of which order those are that are fitted along.

    Orders are chosen by fits with the whiteners of a round; without one the highest are taken.
    """
    background = options.background
    if background.method == "conditional":
        return Ground()
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
                order: _joint_whitener(this.cache, w, s, order, options)
                for order in affordable_orders(
                    background.polynomial_orders, n_pixels=w.y.size, n_sources=len(unit)
                )
            }
            for unit, w, s in zip(task.units, this.windows, this.scales, strict=True)
        ]
        below = [
            (NoBackground() if apart is None else apart[k]).at(w.y, w.x) for k, w in enumerate(this.windows)
        ]
        orders = choose_orders(
            group_data(this.data, sources, task.units, this.windows, below), this.windows, choices,
            [sources[unit] for unit in task.units],
            lower=[this.limits.lower[unit] for unit in task.units],
            upper=[this.limits.upper[unit] for unit in task.units],
            criterion=options.fit_options.min_method, rms=below, beam_area=task.beam_area, **(solver or {}),
        )  # fmt: skip
    return Ground(apart=apart, orders=orders)


def size_limits(task: FitProblem, options: Options) -> tuple[float, float]:
    """Return the smallest and largest sigma of a source in pixels."""
    photometry = options.photometry
    return task.size_limits(photometry.aper_inf, photometry.aper_sup, round_beam=options.original)


def _window_radii(task: FitProblem, options: Options) -> FloatArray:
    """Return the radii in pixels of the discs to fit: apertures need surroundings in them."""
    given = task.fixed[:, models.SIGMA_1]
    beams = np.where(
        given, FWHM_PER_SIGMA * task.start[:, models.SIGMA_1] / task.beam_fwhm, options.photometry.aper_sup
    )
    reach = options.photometry.fwhm_radius_ratio * beams + _SURROUNDINGS_BEAMS
    return task.beam_fwhm * np.clip(reach, _WINDOW_BEAMS, _LARGEST_WINDOW_BEAMS)
