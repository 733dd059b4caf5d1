"""Generalised least squares in the noise measured on the map.

Noise and structured background are one correlated random field. A group of sources is fitted on discs around
them with the inverse covariance of that field (`hyper_py.fitting.group_fit`; Hancock et al. 2018, PASA 35,
e011). The same covariance gives the mean of the field under a source, given its surroundings: the
conditional background (`hyper_py.background.conditional`), which is subtracted in the aperture.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray, IntArray
from hyper_py.background.model import BackgroundModel, NoBackground
from hyper_py.deblending.grouping import partition_correlated
from hyper_py.deblending.model_selection import (
    Model,
    Search,
    add_sources,
    remove_sources,
    supported_sources,
    typical_shape,
)
from hyper_py.diagnostics import Flag
from hyper_py.fitting.group_fit import INITIAL_TOLERANCE
from hyper_py.fitting.groups import Group
from hyper_py.fitting.iterative import fit_iteratively
from hyper_py.fitting.joint_orders import choose_orders
from hyper_py.fitting.other_sources import with_other_sources
from hyper_py.fitting.problem import FitProblem
from hyper_py.fitting.setup import COMPACT_BEAMS, FitSetup, OwnBackground, covariance_reach
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.noise.measure import measure_noise, outside_sources
from hyper_py.noise.multiplicative import multiplicative_noise
from hyper_py.noise.whitener_cache import WhitenerCache
from hyper_py.numerics import gaussians
from hyper_py.numerics.solvers import SolverOptions
from hyper_py.numerics.tiles import LazyPlane, Plane, combined, kept_like, size_of
from hyper_py.options import Options
from hyper_py.photometry.growth import growth_curves
from hyper_py.photometry.kept_sources import CLEAR_SNR, are_ridges
from hyper_py.photometry.measurements import MeasuredMap
from hyper_py.photometry.profiles import measure_profiles
from hyper_py.pipeline.final_fit import Detected, MapNoise, fit_model, measure_above_noise, merge_pieces
from hyper_py.pipeline.polynomial import separate_backgrounds_of
from hyper_py.psf.residual import (
    BeamPattern,
    ResidualPattern,
    known_residual_pattern,
    measure_residual_pattern,
)
from hyper_py.stages import tell

_MOST_ADDITIONS = 3
"""Largest number of times that sources are added, and that some are removed."""
_MOST_PATTERNS = 3
"""Largest number of times that the residual pattern of all sources is measured and subtracted."""
_EXPLAINED = 0.15
"""Where patterns of brighter sources make more of its peak, a detection is left to the score test."""
_EXPLAINED_BY_DIRTY_BEAM = 0.5
"""The same with a known dirty beam: its side lobes are everywhere, and subtracted before the last fit."""
_KNOWN_PSF_FITS = 3
"""Fits after each of which the residual of a known PSF is drawn anew, with the latest fluxes."""
_DIRTY_BEAM_FITS = 10
"""The same for a dirty beam, at most: until no amplitude changes by more than `_SETTLED`."""
_SETTLED = 1e-3
_SPIKE_BEAMS = 0.75
"""Geometric mean FWHM of the narrowest sources that show the profile of the beam: hot pixels do not."""
_RESOLVED_BEAMS = 1.3
"""Geometric mean FWHM of sources whose profile is their own, not that of the beam."""
_GROWN_BEAMS = 2.5
"""Rings of growth curves are sums over pixels that do for sources of this size."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Cleaned:
    """A map whose sources were fitted well enough to measure its noise.

    What `is_background` was not clear, and is a ridge or a stripe: long, and as large as is allowed.
    """

    problem: FitProblem
    sources: FloatArray
    groups: list[Group]
    noise: MapNoise
    is_background: BoolArray


def measure_correlated(problem: FitProblem, options: Options) -> MeasuredMap:
    """Fit and measure all sources of a map in the noise that is measured on it.

    The covariance is measured with the sources masked, and once more from the residual of a first fit.
    Then groups that ask for one more source get it, until none does.
    """
    noise = _noise(problem, problem.start, options, subtracted=False)
    initial = _clean(problem, problem.start, noise, options)
    kept = ~initial.is_background | problem.forced | options.policy.keep_below_noise
    if kept.any() and not kept.all():  # the others would go at the end, after fits to thousands of pixels
        return measure_correlated(problem.only(kept), options).among(np.flatnonzero(kept), kept.size)
    # Residuals and sources can be distinguished only in noise that was measured on the map.
    measurable = options.fit_options.noise_model != "white" and not (
        problem.forced or initial.noise.covariance.assumed
    )
    search = options.detection.deblend_residual and measurable
    cleaned, given, flux_factor = _without_patterns(initial, options, measurable=measurable, search=search)
    setup = _setup(cleaned, options)
    model = _deblended(cleaned, setup, options, n_given=given.size, search=search)
    detected, whole = Detected(problem.snr[given], problem.start[given]), np.ones(given.size, dtype=bool)
    if search:
        model, whole, detected = merge_pieces(
            model, detected, setup=setup, solver=options.fit_options.solver()
        )
    given, pieces = given[whole], given[~whole]
    model, measured, kept = measure_above_noise(model, setup, options, noise=cleaned.noise, detected=detected)
    given, vanished = given[kept], given[~kept]
    added = np.arange(len(model.sources)) >= given.size
    measured = measured.with_flags(Flag.ADDED_IN_RESIDUAL, added)
    uncertain: BoolArray = np.any(model.problem.prior_variance > 0.0, axis=1)
    measured = measured.with_flags(Flag.SHAPE_ASSUMED, uncertain)
    if measurable and options.background.method == "conditional":
        step = setup.cache.coarsest(problem.beam_fwhm, source_fwhm=_GROWN_BEAMS * problem.beam_fwhm)
        measured = _with_profiles(model, measured, cleaned.noise, step=step)
    return replace(measured, given=given, vanished=vanished, pieces=pieces, flux_factor=flux_factor)


def _with_profiles(model: Model, measured: MeasuredMap, noise: MapNoise, *, step: int) -> MeasuredMap:
    """Return the same with the growth curves of bright sources, and which are no Gaussians."""
    table, data = measured.sources, model.problem.data
    light = kept_like(gaussians.drawn(model.sources, size_of(data)), data)
    residual = combined(np.subtract, data, light)
    growth = growth_curves(
        residual, model.sources, noise=noise.covariance, step=step, relative_rms=noise.relative_rms,
        snr=np.divide(table.flux, table.flux_err, out=np.zeros(len(table)), where=table.flux_err > 0.0),
    )  # fmt: skip
    table = replace(table, beyond=growth.beyond, beyond_err=growth.error, growth_radius=growth.radius)
    profiles = measure_profiles(with_other_sources(model.groups, model.sources), len(table))
    measured = replace(measured, sources=table).with_flags(
        Flag.OTHER_PROFILE, growth.is_other | profiles.is_other
    )
    area = model.sources[:, gaussians.SIGMA_1] * model.sources[:, gaussians.SIGMA_2]
    resolved = FWHM_PER_SIGMA * np.sqrt(area) > _RESOLVED_BEAMS * model.problem.beam_fwhm
    return measured.with_flags(Flag.PROFILE_UNKNOWN, resolved & profiles.is_unknown & ~growth.is_other)


def _noise(problem: FitProblem, sources: FloatArray, options: Options, *, subtracted: bool) -> MapNoise:
    """Measure the noise of a map, sources subtracted or not, outside the sources."""
    photometry = options.photometry
    covariance, relative_rms = measure_noise(
        outside_sources(problem.data, sources, subtract=subtracted),
        beam_covariance=problem.beam_covariance, beam_fwhm=problem.beam_fwhm,
        relative=problem.relative_rms, size=problem.tile_size,
        reach_beams=covariance_reach(
            problem, aper_sup=options.largest_size, radius_in_fwhm=photometry.fwhm_radius_ratio
        ),
    )  # fmt: skip
    return MapNoise(covariance=covariance, relative_rms=relative_rms)


def _fit_setup(problem: FitProblem, cache: WhitenerCache, relative_rms: Plane, options: Options) -> FitSetup:
    photometry, fit = options.photometry, options.fit_options
    limits = problem.size_limits(
        photometry.aper_inf, options.largest_size, round_beam=options.policy.round_beam
    )
    return FitSetup(
        cache=cache, relative_rms=relative_rms, sigma_limits=limits, aper_sup=options.largest_size,
        radius_in_fwhm=photometry.fwhm_radius_ratio, white=fit.noise_model == "white",
        ridge=fit.lambda_l2 if fit.use_l2_regularization else 0.0,
        coarse=options.background.method == "conditional" and fit.noise_model == "correlated",
    )  # fmt: skip


def _setup(cleaned: _Cleaned, options: Options) -> FitSetup:
    """Return how groups are fitted in the noise of a cleaned map, multiplicative noise included."""
    problem, noise = cleaned.problem, cleaned.noise
    light = kept_like(gaussians.drawn(cleaned.sources, size_of(problem.data)), problem.data)
    share = multiplicative_noise(problem.data, light, relative_rms=noise.relative_rms, size=problem.tile_size)
    multiplicative = LazyPlane(size_of(light), lambda rows, columns: share * light[rows, columns])
    cache = WhitenerCache(noise.covariance, multiplicative=multiplicative if share else None)
    return _fit_setup(problem, cache, noise.relative_rms, options)


def _clean(problem: FitProblem, sources: FloatArray, noise: MapNoise, options: Options) -> _Cleaned:
    """Fit all sources well enough to clean the map of them, and measure the noise of the residual.

    From then on the fit pixels of wide sources are as large as these were found to be, but for those of clear
    detections on ridges.
    """
    setup = _fit_setup(problem, WhitenerCache(noise.covariance), noise.relative_rms, options)
    backgrounds = _backgrounds(problem, problem.data, sources, options)
    groups = setup.groups(problem, backgrounds=backgrounds)
    solver = options.fit_options.solver().with_tolerance(INITIAL_TOLERANCE)
    sources, groups = fit_iteratively(groups, sources, solver=solver, max_iterations=2, stage="first fits")
    is_ridge = are_ridges(sources, largest_sigma=setup.sigma_limits[1])
    is_clear = problem.snr >= CLEAR_SNR
    problem = problem.with_shapes(np.where((is_ridge & is_clear)[:, None], problem.start, sources))
    if not (backgrounds or problem.forced):
        problem = replace(problem, partition=_partition(problem))
    noise = _noise(problem, sources, options, subtracted=True)
    return _Cleaned(
        problem=problem, sources=sources, groups=groups, noise=noise, is_background=is_ridge & ~is_clear
    )


def _partition(problem: FitProblem) -> list[IntArray]:
    """Return which sources are fitted together."""
    x, y = problem.start[:, gaussians.X], problem.start[:, gaussians.Y]
    widths = FWHM_PER_SIGMA * problem.start[:, gaussians.SIGMA_1]
    return partition_correlated(x, y, beam_fwhm=problem.beam_fwhm, widths=widths)


def _backgrounds(
    problem: FitProblem, data: Plane, sources: FloatArray, options: Options
) -> list[OwnBackground] | None:
    """Return the polynomial backgrounds of the groups, joint ones of the highest order; None for none."""
    background = options.background
    order = max(background.polynomial_orders) if background.fit_gauss_and_bg_together else None
    if background.is_separate:
        separate = separate_backgrounds_of(problem, data, sources, options)
        return [OwnBackground(own, order) for own in separate]
    if order is not None:
        return [OwnBackground(NoBackground(), order)] * len(problem.partition)
    return None


def _without_patterns(
    cleaned: _Cleaned, options: Options, *, measurable: bool, search: bool
) -> tuple[_Cleaned, IntArray, float]:
    """Return the fit on the map less the residual pattern of all sources, and which sources remain.

    The pattern is known from an image of the PSF, or, where it is `measurable`, common to all sources.
    Detections that it explains are dropped for the search in the residual to find again; without a search all
    stay. The number is the ratio of the flux of a source to that of its Gaussian.
    """
    problem, given = cleaned.problem, np.arange(len(cleaned.sources))
    explained = _EXPLAINED_BY_DIRTY_BEAM if problem.psf_is_dirty else _EXPLAINED

    def less(pattern: ResidualPattern) -> tuple[_Cleaned, BoolArray]:
        kept = ~(search & (pattern.share(cleaned.sources) >= explained))
        sources = cleaned.sources[kept]
        drawn = combined(np.subtract, problem.data, pattern.drawn(sources, size_of(problem.data)))
        without = replace(cleaned.problem.only(kept), data=kept_like(drawn, problem.data))
        return _clean(without, sources, cleaned.noise, options), kept

    beam: BeamPattern | None = None
    if problem.psf_residual is not None:
        beam = known_residual_pattern(problem.psf_residual, beam_covariance=problem.beam_covariance)
        for _ in range(_DIRTY_BEAM_FITS if problem.psf_is_dirty else _KNOWN_PSF_FITS):
            before = cleaned.sources
            cleaned, kept = less(beam)
            given = given[kept]
            if problem.psf_is_dirty and _have_settled(before[kept], cleaned.sources):
                break
    # The dirty beam is all that sources of an interferometer's map have in common.
    for _ in range(_MOST_PATTERNS * (measurable and not problem.psf_is_dirty)):
        # Wide sources have profiles of their own, and what is far narrower than the beam is no source.
        major, minor = FWHM_PER_SIGMA * cleaned.sources[:, [gaussians.SIGMA_1, gaussians.SIGMA_2]].T
        compact = (major <= COMPACT_BEAMS * problem.beam_fwhm) & (
            np.sqrt(major * minor) >= _SPIKE_BEAMS * problem.beam_fwhm
        )
        data = cleaned.problem.data
        if not compact.all():
            wide = gaussians.drawn(cleaned.sources[~compact], size_of(data))
            data = kept_like(combined(np.subtract, data, wide), data)
        more = measure_residual_pattern(
            data, cleaned.sources[compact], noise=cleaned.noise.covariance,
            relative_rms=cleaned.noise.relative_rms, beam_fwhm=problem.beam_fwhm, beam=beam,
        )  # fmt: skip
        pattern = beam if more is None else more
        if pattern is None:
            break
        before = cleaned.sources
        cleaned, kept = less(pattern)
        given = given[kept]
        if not isinstance(pattern, BeamPattern):
            light = pattern.flux_share * gaussians.gaussian_flux(before[kept]).sum()
            return cleaned, given, 1.0 + light / gaussians.gaussian_flux(cleaned.sources).sum()
        if kept.all():
            break
        beam = pattern
    return cleaned, given, 1.0


def _have_settled(before: FloatArray, after: FloatArray) -> bool:
    amplitudes = before[:, gaussians.AMPLITUDE], after[:, gaussians.AMPLITUDE]
    return np.allclose(*amplitudes, rtol=_SETTLED, atol=0.0)


def _deblended(cleaned: _Cleaned, setup: FitSetup, options: Options, *, n_given: int, search: bool) -> Model:
    """Return the full fit, with the sources that the residual asks for and without those that do not hold."""
    solver = options.fit_options.solver()
    groups = _full_groups(cleaned, setup, options, solver)
    model = fit_model(Model(cleaned.problem, cleaned.sources, groups), solver, stage="fits")
    how = Search(
        typical=typical_shape(model.problem, model.sources), setup=setup, solver=solver,
        significance=max(options.detection.sigma_thres, options.detection.deblend_sigma_thres),
    )  # fmt: skip
    for _ in range(_MOST_ADDITIONS * search):
        tell("deblending")
        larger = add_sources(model, how)
        if larger is None:
            break
        model = fit_model(larger, solver, stage="deblending")
    for _ in range(_MOST_ADDITIONS):
        kept = supported_sources(model, how, n_given=n_given)
        if kept.all():
            break
        model = fit_model(remove_sources(model, kept, setup=setup), solver, stage="deblending")
    return model


def _full_groups(cleaned: _Cleaned, setup: FitSetup, options: Options, solver: SolverOptions) -> list[Group]:
    """Return the groups of the full fit: on backgrounds fitted without the sources, of the best orders."""
    problem, sources, background = cleaned.problem, cleaned.sources, options.background
    data = problem.without(sources) if background.is_separate else problem.data
    backgrounds = _backgrounds(problem, data, sources, options)
    if not background.fit_gauss_and_bg_together or backgrounds is None:
        return setup.groups(problem, backgrounds=backgrounds)
    separate: Sequence[BackgroundModel] = [own.separate for own in backgrounds]
    groups = setup.groups(problem, backgrounds=[OwnBackground(own) for own in separate])
    candidates = [
        setup.candidates(group, group.background, background.polynomial_orders)
        for group in with_other_sources(groups, sources)
    ]
    return choose_orders(
        candidates, [sources[group.members] for group in groups], solver=solver,
        criterion=options.fit_options.min_method, beam_area=problem.beam_area,
    )  # fmt: skip
