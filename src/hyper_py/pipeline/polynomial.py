"""Weighted least squares in white noise, on a polynomial background that is fitted separately or jointly.

The fit may weight pixels as it likes. Its errors come from the measured noise covariance all the same,
carried through the fit, the background and the aperture, which are all linear in the data to first order.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hyper_py.arrays import FloatArray
from hyper_py.background.joint import JointBackground
from hyper_py.background.model import NoBackground
from hyper_py.background.selection import Choice
from hyper_py.background.separate import Boxes, SeparateBackground, backgrounds_of_groups
from hyper_py.background.surroundings import Surroundings, box_statistics, residual_statistics
from hyper_py.diagnostics import Flag
from hyper_py.fitting.groups import Bounds, Group
from hyper_py.fitting.initial import AmplitudeFactors, in_groups, initial_bounds, initial_values
from hyper_py.fitting.iterative import alternative_starts, fit_iteratively, retry_failed
from hyper_py.fitting.joint_orders import choose_orders
from hyper_py.fitting.other_sources import means_on, with_other_sources
from hyper_py.fitting.problem import FitProblem
from hyper_py.fitting.white import Discs, Ridge, Weighting, joint_candidates, weighted_groups
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.noise.covariance import CovarianceModel
from hyper_py.noise.measure import measure_noise, outside_sources
from hyper_py.numerics import gaussians
from hyper_py.numerics.tiles import Plane
from hyper_py.options import Options
from hyper_py.photometry.aperture_flux import measure_on_polynomials
from hyper_py.photometry.measurements import MeasuredMap, table_of_groups
from hyper_py.stages import tell


def measure_weighted(problem: FitProblem, options: Options) -> MeasuredMap:
    """Fit and measure all sources of a map in white noise on polynomial backgrounds.

    In a second pass the footprints are those of the fitted sources, and their wings are subtracted before the
    background is fitted.
    """
    solver = options.fit_options.solver(residual_unit=_residual_unit(options))
    n_passes, sources, residual = options.policy.background_passes, problem.start, problem.data
    bounds: Bounds | None = None
    for k in range(n_passes):
        separate = separate_backgrounds_of(problem, residual, sources, options)
        surroundings = surroundings_of(problem.data, separate, options)
        if bounds is None:
            sources, bounds = initial_of(problem, surroundings, options)
        is_last = k == n_passes - 1
        groups = _groups(problem, sources, surroundings, bounds, options)
        if options.background.fit_gauss_and_bg_together:
            candidates = _candidates(groups, sources, surroundings, options, highest=not is_last)
            groups = choose_orders(
                candidates, [sources[group.members] for group in groups], solver=solver,
                criterion=options.fit_options.min_method, beam_area=problem.beam_area,
            )  # fmt: skip
        sources, groups = fit_iteratively(
            groups, sources, solver=solver, max_iterations=4 if is_last else 2,
            stage="fits" if is_last else "first fits",
        )  # fmt: skip
        residual = problem.without(sources)
    sources, groups = retry_failed(
        groups, sources, starts=alternative_starts(problem, sources), solver=solver
    )
    tell("apertures")
    residual = problem.without(sources)
    noise, relative_rms = measure_noise(
        outside_sources(problem.data, sources, subtract=True),
        beam_covariance=problem.beam_covariance, beam_fwhm=problem.beam_fwhm,
        relative=problem.relative_rms, size=problem.tile_size,
    )  # fmt: skip
    measured = measured_on_polynomials(
        problem, sources, groups, residual, noise=noise, relative_rms=relative_rms, options=options
    )
    if options.policy.residuals_column == "residual" and not any(group.joint for group in groups):
        medians = box_statistics(residual, separate, [group.background for group in groups], median=True)[2]
        measured = _with_residuals(measured, groups, medians)
    poor = np.zeros(len(sources), dtype=bool)
    for members, own in zip(problem.partition, separate, strict=True):
        poor[members] = bool(own.polynomial.flag)
    return measured.with_flags(Flag.BACKGROUND_POOR, poor)


def separate_backgrounds_of(
    problem: FitProblem, data: Plane, sources: FloatArray, options: Options
) -> list[SeparateBackground]:
    """Fit a background to the surroundings of each group as the options say.

    Where none is to be fitted separately it is only the mean of the smallest box: where a fit starts from.

    Parameters
    ----------
    problem : FitProblem
    data : Plane, shape (ny, nx)
        The map, sources subtracted if they are known.
    sources : ndarray, shape (n, 6)
        Their footprints take no part.
    options : Options
    """
    background, fit = options.background, options.fit_options
    separate = background.is_separate
    boxes = Boxes(
        beam_fwhm=problem.beam_fwhm, beam_area=problem.beam_area, min_box=background.fix_min_box,
        max_box=background.fix_max_box if separate else background.fix_min_box,
        aper_sup=options.largest_size,
    )  # fmt: skip
    choice = Choice(
        orders=background.pol_orders_separate if separate else (0,),
        estimators=fit.bg_fitters if separate else ("least_squares",),
        huber_epsilons=fit.huber_epsilons, criterion=fit.min_method, clip_sigma=3.0,
    )  # fmt: skip
    return backgrounds_of_groups(
        data, sources, problem.partition, boxes=boxes, choice=choice, rms=problem.rms,
        interpolate_neighbours=options.policy.interpolate_neighbours and separate,
    )  # fmt: skip


def measured_on_polynomials(
    problem: FitProblem,
    sources: FloatArray,
    groups: Sequence[Group],
    residual: Plane,
    *,
    noise: CovarianceModel,
    relative_rms: Plane,
    options: Options,
) -> MeasuredMap:
    """Return the map as measured on the polynomial backgrounds of its groups.

    Parameters
    ----------
    problem : FitProblem
    sources : ndarray, shape (n, 6)
    groups : sequence of Group
    residual : Plane, shape (ny, nx)
        Map minus all models, background left in.
    noise, relative_rms
        From `measure_noise`.
    options : Options
    """
    scales = means_on(relative_rms, [group.pixels for group in groups])
    scaled = [replace(group, noise_scale=scale) for group, scale in zip(groups, scales, strict=True)]
    found = measure_on_polynomials(
        residual, scaled, noise=noise.unconditioned, beam_area=problem.beam_area, usable=problem.usable,
        radius_in_fwhm=options.photometry.fwhm_radius_ratio,
    )  # fmt: skip
    table = table_of_groups(sources, found)
    if options.policy.residuals_column == "residual":
        for group in found:
            if isinstance(group.background, JointBackground):
                table.background[group.members] = _mean_below(group.background)
    measured = MeasuredMap(sources=table, groups=found, noise=noise, given=np.arange(len(sources)))
    measured = measured.with_flags(Flag.FILTERED_MAP, noise.filtered and not problem.psf_is_dirty)
    return measured.with_flags(Flag.NOISE_ASSUMED, noise.assumed)


def _mean_below(background: JointBackground) -> float:
    """Return the mean of a background over the pixels of its fit."""
    return float(np.mean(background.at(background.pixels.y, background.pixels.x)))


def _with_residuals(measured: MeasuredMap, groups: Sequence[Group], medians: FloatArray) -> MeasuredMap:
    """Return the map with the column RESIDUALS of the original: the median of the residual in the boxes."""
    background = measured.sources.background.copy()
    for group, median in zip(groups, medians, strict=True):
        if group.pixels.y.size:
            background[group.members] = median
    return replace(measured, sources=replace(measured.sources, background=background))


def initial_of(
    problem: FitProblem, surroundings: Sequence[Surroundings], options: Options
) -> tuple[FloatArray, Bounds]:
    """Return initial values above the backgrounds, and bounds."""
    photometry, policy, background = options.photometry, options.policy, options.background
    limits = problem.size_limits(photometry.aper_inf, options.largest_size, round_beam=policy.round_beam)
    below = [own.background if background.is_subtracted else NoBackground() for own in surroundings]
    initial = initial_values(problem, below, sigma_limits=limits)
    if policy.start_sigma is not None:
        amplitude = initial.start[:, gaussians.AMPLITUDE]
        alone = ~in_groups(problem.partition, len(amplitude))
        for members, own in zip(problem.partition, surroundings, strict=True):
            if alone[members].all():
                amplitude[members] = np.maximum(amplitude[members], policy.start_sigma * own.rms)
    factors = policy.amplitude_bounds_separate if background.is_separate else policy.amplitude_bounds_joint
    bounds = initial_bounds(
        problem, initial, sigma_limits=limits, moment_size_factor=policy.moment_size_factor,
        amplitude=None if factors is None else AmplitudeFactors(**vars(factors)),
    )  # fmt: skip
    return initial.start, bounds


def _groups(
    problem: FitProblem,
    sources: FloatArray,
    surroundings: Sequence[Surroundings],
    bounds: Bounds,
    options: Options,
) -> list[Group]:
    """Return the groups as the options want them fitted, without joint polynomials."""
    fit, policy, background = options.fit_options, options.policy, options.background
    joint = background.fit_gauss_and_bg_together
    return weighted_groups(
        problem, sources, surroundings, subtract=background.is_separate, bounds=bounds,
        discs=Discs(
            aper_sup=options.largest_size, margin=fit.fit_aperture_sigma,
            least_beams=background.fix_min_box if joint and not policy.moment_discs else 0.0,
            by_moments=policy.moment_discs,
        ),
        weighting=Weighting(
            kind=fit.weights, power_snr=fit.power_snr,
            spatial_sigma=fit.spatial_weight_sigma * problem.beam_fwhm / FWHM_PER_SIGMA,
            subtract_background=not policy.cutout_statistics, per_rms=not policy.options_in_flux_unit,
        ),
    )  # fmt: skip


def _candidates(
    groups: Sequence[Group],
    sources: FloatArray,
    surroundings: Sequence[Surroundings],
    options: Options,
    *,
    highest: bool,
) -> list[list[Group]]:
    """Return each group with the joint polynomials that it may have, or with that of the highest order."""
    fit, policy = options.fit_options, options.policy
    penalty = fit.lambda_l2 if fit.use_l2_regularization else 0.0
    if policy.cutout_ridge:
        # Coefficients in the unit of the options, rows of the cost in that of the weighted residual.
        penalty = penalty / options.working_unit / _residual_unit(options)
    ridge = Ridge(penalty=penalty, in_cutout=policy.cutout_ridge)
    return [
        joint_candidates(
            group, options.background.polynomial_orders, cutout=own.background, ridge=ridge, highest=highest
        )
        for group, own in zip(with_other_sources(groups, sources), surroundings, strict=True)
    ]


def surroundings_of(
    data: Plane, separate: Sequence[SeparateBackground], options: Options
) -> list[Surroundings]:
    """Return the surroundings of each group."""
    if options.policy.cutout_statistics:
        below = [own if options.background.is_separate else NoBackground() for own in separate]
        mean, rms, _ = box_statistics(data, separate, below)
    elif options.fit_options.weights in (None, "map", "spatial"):
        mean, rms = np.zeros(len(separate)), np.ones(len(separate))
    else:
        mean, rms = residual_statistics(data, separate)
    return [Surroundings(*own) for own in zip(separate, mean, rms, strict=True)]


def _residual_unit(options: Options) -> float:
    """Return what a weighted residual of 1 in the unit of `f_scale` is in that of the fit."""
    if not options.policy.options_in_flux_unit or not options.convert_mJy:
        return 1.0
    return {"inverse_rms": 1.0, "map": 1e6}.get(str(options.fit_options.weights), 1e3)
