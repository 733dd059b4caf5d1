"""Generalised least squares in the noise that is really there.

Noise and structured background are one correlated random field; a unit of sources is fitted on discs around
them with the inverse covariance of that field as whitener and the local mean as a free nuisance parameter
(Hancock et al. 2018, PASA 35, e011, for the whitener; the mean is eliminated). The same covariance says what
the field is under a source given its surroundings: the conditional mean, which is taken off the aperture.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray, IntArray
from hyper_py.background.conditional import ConditionalPatch, footprint, photometry_of_alike
from hyper_py.deblending.model_selection import confirmed, typical_shape, with_more_sources, without
from hyper_py.diagnostics import Flag
from hyper_py.fitting.group_fit import (
    GroupFit,
    alike_groups,
)
from hyper_py.fitting.iterative import (
    Collector,
    FitProblem,
    Measured,
    affordable,
    alternative_starts,
    fit_iteratively,
    models_on,
    retry_failed,
)
from hyper_py.noise.covariance import CovarianceModel
from hyper_py.noise.measure import measure_noise, outside_sources
from hyper_py.noise.multiplicative import multiplicative_noise
from hyper_py.noise.whitening import WhitenerCache
from hyper_py.numerics import models
from hyper_py.numerics.tiles import LazyPlane, Plane, combined, kept_like, size_of
from hyper_py.options import Options
from hyper_py.photometry.aperture import source_apertures
from hyper_py.pipeline.fit_setup import INITIAL_TOLERANCES, FitSetup, Seen, ground_of
from hyper_py.pipeline.polynomial import add_groups
from hyper_py.psf.residual import (
    BeamPattern,
    ResidualPattern,
    known_residual_pattern,
    measure_residual_pattern,
)

_MOST_ADDITIONS = 3
"""Rounds of deblending."""
_MOST_PATTERNS = 3
"""Rounds in which what all sources have in common is measured, and drawn with the fits that it left."""
_EXPLAINED = 0.15
"""Detections of which the pattern of brighter ones makes this share of the peak are left to the search."""
_KNOWN_ROUNDS = 3
"""Fits after each of which the known shape of the beam is drawn anew, with the fluxes that it left."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Fitted:
    """A map as far as it is fitted.

    Attributes
    ----------
    task : FitProblem
    sources : ndarray, shape (n, 6)
    fits : list of GroupFit
    this : FitSetup
        In which that was done.
    noise : CovarianceModel
    level : Plane, shape (ny, nx)
        Both measured on what the fits left, or before the next ones.
    """

    task: FitProblem
    sources: FloatArray
    fits: list[GroupFit]
    this: FitSetup
    noise: CovarianceModel
    level: Plane

    def seen(self, fits: Sequence[GroupFit | None]) -> list[Seen | None]:
        """Return the windows and data of the units that have one of these fits; None for no fit."""
        own = (id(fit) for fit in self.fits)
        known = dict(zip(own, zip(self.this.windows, self.this.data, strict=True), strict=True))
        return [None if fit is None else known[id(fit)] for fit in fits]


def measure_correlated(task: FitProblem, options: Options) -> Measured:
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
    rough = _rough_fit(task, task.start, noise, level, options, solver)
    # Only in the noise that is really there a residual can be told from a source.
    real = fit_options.noise_model != "white" and not (task.forced or rough.noise.assumed)
    search = options.detection.deblend_residual and real
    rough, given, flux_factor = _without_patterns(rough, options, solver, measurable=real, search=search)
    fitted = _deblended(rough, options, solver, n_given=given.size, search=search)
    this, task = fitted.this, fitted.task
    sources, fits, retried = retry_failed(
        this.data, fitted.sources, fitted.fits, task.units, this.windows, this.whiteners, this.backgrounds,
        starts=alternative_starts(task, fitted.sources), bounds=this.limits, **solver,
    )  # fmt: skip
    if options.background.method == "conditional":
        collected = _collect(task, sources, fits, retried, this, options)
    else:
        collected = _collect_polynomial(
            task, sources, fits, retried, this, fitted.noise, fitted.level, options
        )
    collected.flags[given.size :] |= int(Flag.ADDED_IN_RESIDUAL)
    collected.flags[task.assumed.any(axis=1)] |= int(Flag.SHAPE_ASSUMED)
    if fitted.noise.assumed:
        collected.flags |= int(Flag.NOISE_ASSUMED)
    return collected.measured(sources, noise=fitted.noise, given=given, flux_factor=flux_factor)


def _rough_fit(
    task: FitProblem,
    sources: FloatArray,
    noise: CovarianceModel,
    level: Plane,
    options: Options,
    solver: dict[str, Any],
) -> _Fitted:
    """Fit all sources well enough to clean the map of them, and measure the noise that is left."""
    this = FitSetup.make(task, options, WhitenerCache(noise), level, ground_of(task, sources, options))
    sources, fits = fit_iteratively(
        this.data, sources, task.units, this.windows, this.whiteners, this.backgrounds, bounds=this.limits,
        max_iterations=2, **{**solver, **INITIAL_TOLERANCES},
    )  # fmt: skip
    noise, level = _noise(task, sources, subtracted=True)
    return _Fitted(task=task, sources=sources, fits=fits, this=this, noise=noise, level=level)


def _without_patterns(
    rough: _Fitted, options: Options, solver: dict[str, Any], *, measurable: bool, search: bool
) -> tuple[_Fitted, IntArray, float]:
    """Return the fit on the map less what the sources have beyond Gaussians, and which sources are left.

    That is known from an image of the beam, or, where it is `measurable`, common to all sources. Detections
    that it explains are left to the search in the residual; without a search all stay. The number is what
    the flux of a source is over that of its Gaussian.
    """
    task, given = rough.task, np.arange(len(rough.sources))

    def less(pattern: ResidualPattern) -> tuple[_Fitted, BoolArray]:
        explained = search & (pattern.share(rough.sources) >= _EXPLAINED)
        left, sources, _ = without(rough.task, rough.sources, rough.fits, ~explained)
        drawn = combined(np.subtract, task.data, pattern.drawn(sources, size_of(task.data)))
        left = replace(left, data=kept_like(drawn, task.data))
        return _rough_fit(left, sources, rough.noise, rough.level, options, solver), ~explained

    beam: BeamPattern | None = None
    if task.beyond is not None:
        beam = known_residual_pattern(task.beyond, beam_covariance=task.beam_covariance)
        for _ in range(_KNOWN_ROUNDS):
            rough, kept = less(beam)
            given = given[kept]
    for _ in range(_MOST_PATTERNS * measurable):
        more = measure_residual_pattern(
            rough.task.data, rough.sources, noise=rough.noise, level=rough.level, beam_fwhm=task.beam_fwhm,
            beam=beam,
        )  # fmt: skip
        pattern = beam if more is None else more
        if pattern is None:
            break
        before = rough.sources
        rough, kept = less(pattern)
        given = given[kept]
        if not isinstance(pattern, BeamPattern):
            light = pattern.flux_share * models.gaussian_flux(before[kept]).sum()
            return rough, given, 1.0 + light / models.gaussian_flux(rough.sources).sum()
        if kept.all():
            break
        beam = pattern
    return rough, given, 1.0


def _deblended(
    rough: _Fitted, options: Options, solver: dict[str, Any], *, n_given: int, search: bool
) -> _Fitted:
    """Return the full fit, with the sources that the residual asks for and without those that do not hold."""
    task, sources, noise, level = rough.task, rough.sources, rough.noise, rough.level
    cache = WhitenerCache(noise, grain=_grain(task, sources, level))
    before = FitSetup.make(task, options, cache, level, rough.this.ground, seen=rough.seen(rough.fits))
    ground = ground_of(task, sources, options, before, solver)

    def fit(
        task: FitProblem, sources: FloatArray, fits: Sequence[GroupFit | None], seen: Sequence[Seen | None]
    ) -> _Fitted:
        this = FitSetup.make(task, options, cache, level, ground, seen=seen)
        sources, done = fit_iteratively(
            this.data, sources, task.units, this.windows, this.whiteners, this.backgrounds,
            bounds=this.limits, max_iterations=5, previous=fits, **solver,
        )  # fmt: skip
        return _Fitted(task=task, sources=sources, fits=done, this=this, noise=noise, level=level)

    fitted = fit(task, sources, [None] * len(task.units), ())
    typical = typical_shape(fitted.task, fitted.sources)
    searched: Sequence[GroupFit] = ()
    for _ in range(_MOST_ADDITIONS * search):
        larger = with_more_sources(
            fitted.task, fitted.sources, fitted.fits, searched, typical, fitted.this, options, solver
        )
        if larger is None:
            break
        searched = fitted.fits
        fitted = fit(*larger, fitted.seen(larger[-1]))
    for _ in range(_MOST_ADDITIONS):
        kept = confirmed(fitted.task, fitted.sources, fitted.fits, fitted.this, options, n_given=n_given)
        if kept.all():
            break
        smaller = without(fitted.task, fitted.sources, fitted.fits, kept)
        fitted = fit(*smaller, fitted.seen(smaller[-1]))
    return fitted


def _noise(task: FitProblem, sources: FloatArray, *, subtracted: bool) -> tuple[CovarianceModel, Plane]:
    """Measure the noise of a map, sources subtracted or not, outside the sources."""
    return measure_noise(
        outside_sources(task.data, sources, subtract=subtracted),
        beam_covariance=task.beam_covariance, beam_fwhm=task.beam_fwhm,
        relative=task.relative_rms, size=task.tile_size,
    )  # fmt: skip


def _grain(task: FitProblem, sources: FloatArray, level: Plane) -> Plane | None:
    """Return the independent error of pixels that grows with the light on them; None if there is none."""
    light = kept_like(models.drawn(sources, size_of(task.data)), task.data)
    share = multiplicative_noise(task.data, light, level=level, size=task.tile_size)
    return LazyPlane(size_of(light), lambda rows, columns: share * light[rows, columns]) if share else None


def _collect(
    task: FitProblem,
    sources: FloatArray,
    fits: list[GroupFit],
    retried: BoolArray,
    this: FitSetup,
    options: Options,
) -> Collector:
    """Measure apertures and errors of all units."""
    collected = Collector(len(sources))
    for unit, window in zip(task.units, this.windows, strict=True):
        if window.y.size == 0:
            collected.add_nothing(unit)
    seen = [k for k, window in enumerate(this.windows) if window.y.size]
    for chunk in affordable(seen, this.windows, this.whiteners):
        _collect_some(collected, task, sources, fits, retried, this, options, [k for _, k in chunk])
    return collected


def _collect_some(
    collected: Collector,
    task: FitProblem,
    sources: FloatArray,
    fits: list[GroupFit],
    retried: BoolArray,
    this: FitSetup,
    options: Options,
    units: list[int],
) -> None:
    """Measure apertures and errors of some units."""
    radius, assumed = options.photometry.fwhm_radius_ratio, task.assumed
    own, whiteners = [this.windows[k] for k in units], [this.whiteners[k] for k in units]
    data = [this.data[k] for k in units]
    residuals = [values - model for values, model in zip(data, models_on(sources, own), strict=True)]
    sizes = [len(task.units[k]) for k in units]
    for batch in alike_groups(sizes, own, whiteners, same_shape=True):
        ks, windows, left = [units[i] for i in batch], [own[i] for i in batch], [residuals[i] for i in batch]
        n = sizes[batch[0]]
        found = source_apertures(np.concatenate([fits[k].parameters for k in ks]), radius_in_fwhm=radius)
        apertures = [found[i : i + n] for i in range(0, len(found), n)]
        measured = photometry_of_alike(
            left, [fits[k] for k in ks], windows, [whiteners[i] for i in batch],
            this.cache.at(windows[0], this.scales[ks[0]]),
            apertures, footprints=[footprint(fits[k].parameters, this.windows[k]) for k in ks],
            scales=[this.scales[k] for k in ks], fixed=[task.fixed[task.units[k]] for k in ks],
            assumed=[assumed[task.units[k]] for k in ks],
        )  # fmt: skip
        for i, k in enumerate(ks):
            unit, y, x = task.units[k], windows[i].y, windows[i].x
            photometry, background = measured[i]
            in_sigmas = whiteners[batch[i]].project(left[i])
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
    task: FitProblem,
    sources: FloatArray,
    fits: list[GroupFit],
    retried: BoolArray,
    this: FitSetup,
    noise: CovarianceModel,
    level: Plane,
    options: Options,
) -> Collector:
    """Measure apertures and errors of all units on their polynomials."""
    residual = task.data[:, :] - models.render(sources, size_of(task.data))
    collected, apart = Collector(len(sources)), this.ground.apart
    add_groups(
        collected, task, residual, fits, this.windows, this.whiteners,
        [this.sky(k, fit) for k, fit in enumerate(fits)], apart, noise, level,
        options=options, retried=retried,
    )  # fmt: skip
    for unit, background in zip(task.units, apart or [], strict=False):
        collected.flags[unit] |= int(background.polynomial.flag)
    return collected
