"""More sources where a fit leaves evidence for them: neighbours hidden in wings, and blends split in two.

The evidence for one more source of the beam's shape at a place is its score test: the whitened residual
against the whitened beam there, both cleared of all that the fitted parameters could still take up
(Rao 1948, Proc. Camb. Phil. Soc. 44, 50). Where it is high the larger models are fitted, and one replaces the
smaller only if the Bayesian information criterion (Schwarz 1978, Ann. Stat. 6, 461) prefers it clearly.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hyper_py import models
from hyper_py.fitting import Metric, UnitFit, Window, bounds, fit_units, influence
from hyper_py.geometry import FWHM_PER_SIGMA, FloatArray

IntArray: TypeAlias = NDArray[np.int64]
BoolArray: TypeAlias = NDArray[np.bool_]

_SCORE = 3.5
"""Scores below this cannot pay for the three parameters of a source: z^2 is the gain in chi-square."""
_CLEARLY = 6.0
"""By how much the criterion must fall: strong evidence (Kass & Raftery 1995, J. Am. Stat. Assoc. 90, 773)."""
_WIDER = 1.6
"""By how much a source at its size limit may grow when it is compared with two."""
CLOSEST_BEAMS = 0.4
"""Two sources closer than this cannot be told apart."""
_REACH_BEAMS = 1.6
"""How far from a fitted source another is looked for."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """A unit with one more source than before; the new one is the last.

    Attributes
    ----------
    unit : int
        Which unit.
    fit : UnitFit
    beam_shaped : bool ndarray, shape (n_sources + 1,)
        Sources whose shape is kept that of the beam.
    """

    unit: int
    fit: UnitFit
    beam_shaped: BoolArray

    @property
    def fixed(self) -> BoolArray:
        """Parameters that were not fitted, shape (n_sources + 1, 6)."""
        fixed = np.zeros(self.parameters.shape, dtype=bool)
        fixed[self.beam_shaped, models.SIGMA_1 :] = True
        return fixed

    @property
    def parameters(self) -> FloatArray:
        """Gaussians of the unit, shape (n_sources + 1, 6)."""
        return self.fit.parameters


def split_units(
    values: Sequence[FloatArray],
    windows: Sequence[Window],
    metrics: Sequence[Metric],
    fits: Sequence[UnitFit],
    *,
    units: Sequence[int],
    beam: FloatArray,
    fixed: Sequence[BoolArray],
    sigma_limits: tuple[float, float],
    shift: float,
    significance: float,
    **solver: Any,
) -> list[Split]:
    """Return the units whose data clearly ask for one more source.

    Parameters
    ----------
    values : sequence of ndarray, shape (n_k,)
        Data of each unit, foreign sources removed.
    windows, metrics, fits
        The units as fitted.
    units : sequence of int
        Which of them to look at.
    beam : ndarray, shape (3,)
        sigma_1, sigma_2 (pixels) and theta of the beam.
    fixed : sequence of bool ndarray, shape (n_sources_k, 6)
        Parameters that are not fitted.
    sigma_limits, shift
        See `hyper_py.fitting.bounds`.
    significance : float
        Every source of a split unit must have at least this amplitude in units of its error.
    **solver
        Options of `hyper_py.fitting.fit_units`.

    Returns
    -------
    list of Split
        At most one a unit.
    """
    beam_fwhm = FWHM_PER_SIGMA * float(np.sqrt(beam[0] * beam[1]))
    trials: list[tuple[int, FloatArray, BoolArray]] = []
    wide = _widened(values, windows, metrics, fits, units, sigma_limits, shift, fixed, solver)
    for k in units:
        place = best_addition(values[k], windows[k], metrics[k], fits[k], beam=beam)
        if place is not None:
            trials.extend((k, *trial) for trial in _trials(fits[k], place, beam, sigma_limits))
    if not trials:
        return []
    lower, upper = [], []
    for k, start, beam_shaped in trials:
        low, high = bounds(start, sigma_limits=sigma_limits, amplitude_limits=(0.0, np.inf), shift=shift)
        held = np.zeros(start.shape, dtype=bool)
        held[: len(fixed[k])] = fixed[k]
        held[beam_shaped, models.SIGMA_1 :] = True
        lower.append(np.where(held, start, low))
        upper.append(np.where(held, start, high))
    results = fit_units(
        [values[k] for k, _, _ in trials],
        [windows[k] for k, _, _ in trials],
        [metrics[k] for k, _, _ in trials],
        [start for _, start, _ in trials],
        lower=lower,
        upper=upper,
        **solver,
    )
    best: dict[int, tuple[float, Split]] = {}
    for (k, _, beam_shaped), result, low, high in zip(trials, results, lower, upper, strict=True):
        apart = closest_neighbour(result.parameters).min() >= CLOSEST_BEAMS * beam_fwhm
        if not result.converged or not apart:
            continue
        n_free = int((low < high).sum())
        criterion = _criterion(result.cost, n_free, windows[k])
        if k not in best or criterion < best[k][0]:
            best[k] = criterion, Split(unit=k, fit=result, beam_shaped=beam_shaped)
    return [
        split
        for k, (criterion, split) in best.items()
        if criterion
        < _criterion(min(fits[k].cost, wide.get(k, np.inf)), int((~fixed[k]).sum()), windows[k]) - _CLEARLY
        and amplitude_significance(split.fit, windows[k], metrics[k], fixed=split.fixed).min() >= significance
    ]


def _widened(
    values: Sequence[FloatArray],
    windows: Sequence[Window],
    metrics: Sequence[Metric],
    fits: Sequence[UnitFit],
    units: Sequence[int],
    sigma_limits: tuple[float, float],
    shift: float,
    fixed: Sequence[BoolArray],
    solver: dict[str, Any],
) -> dict[int, float]:
    """Return the cost of units with a source at the size limit when that limit is wider.

    Two sources must beat one that is free to be as large as both, not one that is cut short.
    """
    cut = [k for k in units if (fits[k].parameters[:, models.SIGMA_1] > 0.99 * sigma_limits[1]).any()]
    if not cut:
        return {}
    limits = sigma_limits[0], _WIDER * sigma_limits[1]
    starts = [fits[k].parameters for k in cut]
    ends = [
        bounds(start, sigma_limits=limits, amplitude_limits=(0.0, np.inf), shift=shift) for start in starts
    ]
    results = fit_units(
        [values[k] for k in cut],
        [windows[k] for k in cut],
        [metrics[k] for k in cut],
        starts,
        lower=[np.where(fixed[k], s, low) for k, s, (low, _) in zip(cut, starts, ends, strict=True)],
        upper=[np.where(fixed[k], s, high) for k, s, (_, high) in zip(cut, starts, ends, strict=True)],
        **solver,
    )
    return {k: result.cost for k, result in zip(cut, results, strict=True)}


def amplitude_significance(fit: UnitFit, window: Window, metric: Metric, *, fixed: BoolArray) -> FloatArray:
    """Return the amplitudes of a unit's sources in units of their errors, shape (n_sources,)."""
    _, covariance, _ = influence(fit, window, metric, fixed=fixed)
    variance = np.diagonal(covariance)[models.AMPLITUDE :: models.N_PARAMETERS]
    error = np.sqrt(np.where(variance > 0.0, variance, np.inf))
    significance: FloatArray = fit.parameters[:, models.AMPLITUDE] / error
    return significance


def _criterion(cost: float, n_free: int, window: Window) -> float:
    """Bayesian information criterion in the metric of the fit."""
    return 2.0 * cost + n_free * float(np.log(window.y.size))


def closest_neighbour(sources: FloatArray) -> FloatArray:
    """Return the distance of each source from the nearest other one, in pixels; inf for a single one."""
    centres = sources[:, [models.X, models.Y]]
    gaps = np.hypot(*(centres[:, None, :] - centres[None, :, :]).transpose(2, 0, 1))
    np.fill_diagonal(gaps, np.inf)
    nearest: FloatArray = gaps.min(axis=1)
    return nearest


def best_addition(
    values: FloatArray, window: Window, metric: Metric, fit: UnitFit, *, beam: FloatArray
) -> FloatArray | None:
    """Return the place where one more source of the beam's shape would help the fit most.

    Returns
    -------
    ndarray, shape (3,), or None
        Amplitude, x and y of the source; None where no score reaches the threshold.
    """
    y, x = window.y.astype(np.float64), window.x.astype(np.float64)
    value, jacobian = models.gaussian_sum_and_jacobian(fit.parameters[None], y[None], x[None])
    near = np.min(
        [np.hypot(x - p[models.X], y - p[models.Y]) for p in fit.parameters], axis=0
    ) <= _REACH_BEAMS * FWHM_PER_SIGMA * np.sqrt(beam[0] * beam[1])
    near &= (window.y + window.x) % 2 == 0
    if not near.any():
        return None
    a, b, c = (float(e[0, 0]) for e in models.exponents(np.array([[1.0, 0.0, 0.0, *beam]])))
    dy, dx = y - y[near, None], x - x[near, None]
    shapes = np.exp(-(a * dx * dx + 2.0 * b * dx * dy + c * dy * dy))
    templates, fitted, residual = (metric.project(v) for v in (shapes, jacobian[0], values - value[0]))
    basis = np.linalg.qr(fitted.T)[0]
    residual = residual - basis @ (basis.T @ residual)
    power = np.sum(templates**2, axis=1)
    left = power - np.sum((templates @ basis) ** 2, axis=1)
    # A place that the fitted parameters can imitate fully has no evidence of its own.
    left = np.where(left > 1e-3 * power, left, np.inf)
    projected = templates @ residual
    score = projected / np.sqrt(left)
    k = int(np.argmax(score))
    if not score[k] > _SCORE:
        return None
    return np.array([projected[k] / left[k], x[near][k], y[near][k]])


def _trials(
    fit: UnitFit, place: FloatArray, beam: FloatArray, sigma_limits: tuple[float, float]
) -> list[tuple[FloatArray, BoolArray]]:
    """Return starting values and which sources keep the beam's shape, for each larger model to try."""
    sources = fit.parameters
    n = len(sources)
    low, high = (float(limit) for limit in sigma_limits)
    new = np.array([[place[0], place[1], place[2], *beam]])
    nearest = int(np.argmin(np.hypot(sources[:, models.X] - place[1], sources[:, models.Y] - place[2])))
    added = np.concatenate([sources, new])
    added[:n, models.SIGMA_1 : models.THETA] = np.clip(added[:n, models.SIGMA_1 : models.THETA], low, high)
    halves = np.concatenate([sources, sources[nearest : nearest + 1]])
    old = sources[nearest]
    reach = np.sqrt(max(old[models.SIGMA_1] ** 2 - beam[0] * beam[1], 0.25 * beam[1] ** 2))
    along = np.array([np.cos(old[models.THETA]), np.sin(old[models.THETA])])
    for index, side in ((nearest, -1.0), (n, 1.0)):
        halves[index, models.X : models.Y + 1] += side * reach * along
        halves[index, models.AMPLITUDE] = 0.6 * old[models.AMPLITUDE]
        halves[index, models.SIGMA_1 :] = beam
    free, last, both = (np.zeros(n + 1, dtype=bool) for _ in range(3))
    last[n] = True
    both[[nearest, n]] = True
    return [(added, last), (added, free), (halves, both), (halves, free)]
