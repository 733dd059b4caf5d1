"""The last fits of a map: which sources stay, and what is measured of them."""

from dataclasses import dataclass

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray, IntArray
from hyper_py.background.separate import SeparateBackground
from hyper_py.deblending.merging import find_mergers, merge_sources
from hyper_py.deblending.model_selection import Model, apart_after_fit, recentred, remove_sources, restarted
from hyper_py.diagnostics import Flag
from hyper_py.fitting.group_fit import INITIAL_TOLERANCE
from hyper_py.fitting.groups import Group
from hyper_py.fitting.iterative import alternative_starts, fit_iteratively, retry_failed
from hyper_py.fitting.other_sources import with_other_sources
from hyper_py.fitting.problem import AT_LARGEST, MOST_GROWTH, FitProblem
from hyper_py.fitting.setup import COMPACT_BEAMS, FitSetup
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.noise.covariance import CovarianceModel
from hyper_py.numerics import gaussians
from hyper_py.numerics.solvers import SolverOptions
from hyper_py.numerics.tiles import Plane
from hyper_py.options import Options
from hyper_py.photometry.conditional_flux import measure_on_conditional
from hyper_py.photometry.kept_sources import CLEAR_SNR, above_noise, are_lost, with_fluxes_of_fits
from hyper_py.photometry.measurements import MeasuredMap, table_of_groups
from hyper_py.pipeline.polynomial import measured_on_polynomials


@dataclass(frozen=True, kw_only=True, eq=False)
class MapNoise:
    """The noise of a map: its covariance, and the local rms over its median, a Plane (ny, nx)."""

    covariance: CovarianceModel
    relative_rms: Plane


@dataclass(frozen=True, eq=False)
class Detected:
    """What was detected: significance (n_given,) and Gaussians (n_given, 6); added ones come after."""

    snr: FloatArray
    gaussians: FloatArray

    def only(self, kept: BoolArray | IntArray) -> "Detected":
        """Return some of them."""
        return Detected(self.snr[kept], self.gaussians[kept])


def merge_pieces(
    model: Model, detected: Detected, *, setup: FitSetup, solver: SolverOptions
) -> tuple[Model, BoolArray, Detected]:
    """Return the fit with one source for the pieces of one, which detections stay, and what these are.

    It is as significant as the clearest of its pieces.
    """
    mergers = find_mergers(
        with_other_sources(model.groups, model.sources), beam_fwhm=model.problem.beam_fwhm,
        largest_sigma=setup.sigma_limits[1], solver=solver.with_tolerance(INITIAL_TOLERANCE),
    )  # fmt: skip
    if not mergers:
        return model, np.ones(detected.snr.size, dtype=bool), detected
    snr, found = detected.snr.copy(), detected.gaussians.copy()
    for pieces, gaussian in mergers:
        own = np.sort(pieces[pieces < snr.size])
        if own.size:
            snr[own[0]], found[own[0]] = snr[own].max(), gaussian
    model, kept = merge_sources(model, mergers, setup=setup)
    kept = kept[: snr.size]
    return fit_model(model, solver, stage="deblending"), kept, Detected(snr, found).only(kept)


def fit_model(model: Model, solver: SolverOptions, *, stage: str) -> Model:
    """Fit the groups of a model that are not fitted, and those beside them."""
    sources, groups = fit_iteratively(
        model.groups, model.sources, solver=solver, max_iterations=5, stage=stage
    )
    return Model(model.problem, sources, groups)


def measure_above_noise(
    model: Model, setup: FitSetup, options: Options, *, noise: MapNoise, detected: Detected
) -> tuple[Model, MeasuredMap, BoolArray]:
    """Measure the sources of a model; those that vanished in the fit go, and their groups are fitted anew.

    In complexes clear ones spread over all that is beside them: they are fitted once more as what was found.

    Parameters
    ----------
    detected : Detected

    Returns
    -------
    model : Model
    measured : MeasuredMap
    kept : bool ndarray, shape (n_given,)
        Which of the given sources remain. Forced ones all do.
    """
    snr, found, solver = detected.snr, detected.gaussians, options.fit_options.solver()
    n_given, remaining = snr.size, np.arange(snr.size)
    largest_sigma = setup.sigma_limits[1]
    may_restart = (snr >= CLEAR_SNR) & (MOST_GROWTH * found[:, gaussians.SIGMA_1] < largest_sigma)
    may_restart &= options.has_detected_sizes
    while True:
        sources, groups = retry_failed(
            model.groups, model.sources, starts=alternative_starts(model.problem, model.sources),
            solver=solver,
        )  # fmt: skip
        model = Model(model.problem, sources, groups)
        measured = _measured(model.problem, sources, groups, setup=setup, noise=noise, options=options)
        kept = np.ones(len(sources), dtype=bool)
        if not (model.problem.forced or options.policy.keep_below_noise):
            wide = COMPACT_BEAMS * model.problem.beam_fwhm / FWHM_PER_SIGMA
            measured = with_fluxes_of_fits(measured, snr[remaining], wide_sigma=wide)
            kept = above_noise(
                measured, snr[remaining], wide_sigma=wide, largest_sigma=largest_sigma,
                apart=apart_after_fit(model), found_sigma=found[remaining, gaussians.SIGMA_1],
            )  # fmt: skip
        if kept.all():
            return model, measured, np.isin(np.arange(n_given), remaining)
        spread = _spread(
            model, kept, lost=are_lost(measured, snr[remaining], found[remaining, gaussians.SIGMA_1]),
            snr=snr[remaining], largest_sigma=largest_sigma,
        )  # fmt: skip
        again = np.flatnonzero(spread & may_restart[remaining])
        if again.size:
            may_restart[remaining[again]] = False
            model = restarted(model, again, found[remaining[again]], setup=setup)
            model = fit_model(model, solver, stage="apertures")
            continue
        if not kept.any():
            return remove_sources(model, kept, setup=setup), measured.of_nothing(), np.zeros(n_given, bool)
        remaining = remaining[kept[: remaining.size]]
        model = remove_sources(recentred(model, kept), kept, setup=setup)
        model = fit_model(model, solver, stage="apertures")


def _spread(
    model: Model, kept: BoolArray, *, lost: BoolArray, snr: FloatArray, largest_sigma: float
) -> BoolArray:
    """Return which detections have fits that are not what was found.

    They fill the largest size, or lost what was found, and are not kept; or they fill it beside a clear one
    that is not kept: they have its light.
    """
    filling = model.sources[: snr.size, gaussians.SIGMA_1] >= AT_LARGEST * largest_sigma
    going = ~kept[: snr.size]
    spread = going & (filling | lost[: snr.size])
    for group in model.groups:
        own = group.members[group.members < snr.size]
        if (going[own] & (snr[own] >= CLEAR_SNR)).any():
            spread[own] |= filling[own]
    return spread


def _measured(
    problem: FitProblem,
    sources: FloatArray,
    groups: list[Group],
    *,
    setup: FitSetup,
    noise: MapNoise,
    options: Options,
) -> MeasuredMap:
    """Measure apertures and errors of all groups on their backgrounds."""
    if options.background.method == "conditional":
        found = measure_on_conditional(
            groups, sources, cache=setup.cache, radius_in_fwhm=options.photometry.fwhm_radius_ratio,
            beam_area=problem.beam_area, usable=problem.usable,
        )  # fmt: skip
        measured = MeasuredMap(
            sources=table_of_groups(sources, found), groups=found, noise=noise.covariance,
            given=np.arange(len(sources)),
        )  # fmt: skip
        measured = measured.with_flags(Flag.NOISE_ASSUMED, noise.covariance.assumed)
        filtered = noise.covariance.filtered and not problem.psf_is_dirty
        return measured.with_flags(Flag.FILTERED_MAP, filtered)
    measured = measured_on_polynomials(
        problem, sources, groups, problem.without(sources), noise=noise.covariance,
        relative_rms=noise.relative_rms, options=options,
    )  # fmt: skip
    poor = np.zeros(len(sources), dtype=bool)
    for group in groups:
        if isinstance(group.background, SeparateBackground):
            poor[group.members] = bool(group.background.polynomial.flag)
    return measured.with_flags(Flag.BACKGROUND_POOR, poor)
