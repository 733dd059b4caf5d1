"""How many sources of which fluxes: chosen from what is known so far, and from nothing else."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hyper_py.arrays import BoolArray, FloatArray
from hyper_py.diagnostics import ConfigurationError
from hyper_py.injection.curve import BINS_PER_DEX, CompletenessCurve, completeness_curve, crossing
from hyper_py.injection.drawing import BEAM, KINDS, OWN, POSITIONS, FluxRange
from hyper_py.injection.setup import InjectionSetup

STEEP = (0.05, 0.95)
"""Completeness between which the curve has to be precise."""
_AROUND_LIMIT = (0.3, 3.5)
_STEEP_MARGIN = 1.15
_BRIGHT_SNR = 30.0
_PILOT_SOURCES, _PILOT_RUNS = 300, (4, 9)
# With the inverted map ten runs at most.
_STEEP_SHARE = 0.8
_FEWEST_FOUND = 10


@dataclass(frozen=True, kw_only=True)
class InjectionPlan:
    """What is asked of an estimate of completeness.

    Attributes
    ----------
    precision : float
        Largest binomial error of completeness in a bin of peak flux where it rises.
    seed : int
        Of all random numbers.
    positions : {"random", "like-sources"}
        "like-sources": injected sources with the map's own sizes have neighbours as near as the catalogue's.
    max_runs : int
        No more runs of the pipeline with injected sources than these.
    n_surrogates : int
        Maps without sources on which false ones are counted, beside the inverted map.
    n_sources : int, optional
        Sources injected in one realisation; see `hyper_py.injection.setup.make_setup`.
    """

    precision: float = 0.02
    seed: int = 1
    positions: str = "random"
    max_runs: int = 400
    n_surrogates: int = 8
    n_sources: int | None = None

    def __post_init__(self) -> None:
        if not 0.0 < self.precision < 0.5:
            raise ConfigurationError(
                f"completeness: precision is {self.precision}; it must be between 0 and 0.5"
            )
        if self.positions not in POSITIONS:
            raise ConfigurationError(
                f"completeness: positions is {self.positions!r}; it must be {' or '.join(POSITIONS)}"
            )
        for name, least in (("seed", 0), ("max_runs", 1), ("n_surrogates", 0)):
            if getattr(self, name) < least:
                raise ConfigurationError(f"completeness: {name} is {getattr(self, name)}; at least {least}")
        if self.n_sources is not None and self.n_sources < 2:
            raise ConfigurationError(f"completeness: n_sources is {self.n_sources}; at least 2")


def pilot_runs(setup: InjectionSetup, plan: InjectionPlan) -> int:
    """Return how many realisations are made before fluxes are chosen by what they show."""
    low, high = _PILOT_RUNS
    return min(max(low, min(high, math.ceil(_PILOT_SOURCES / setup.n_sources))), plan.max_runs)


def first_ranges(setup: InjectionSetup) -> tuple[FluxRange, FluxRange]:
    """Return amplitudes around the threshold of detection in the noise of the map's quiet and loud parts."""
    sigma = setup.sensitivity.sigma[setup.usable]
    quiet, loud = np.nanpercentile(sigma, [5.0, 95.0])
    threshold = setup.options.detection.sigma_thres
    low, high = _AROUND_LIMIT
    one = FluxRange(
        low=low * threshold * quiet, high=high * threshold * loud,
        bright=max(2.0 * high * threshold, _BRIGHT_SNR) * loud,
    )  # fmt: skip
    return one, one


def next_ranges(
    records: NDArray[np.void], setup: InjectionSetup, previous: tuple[FluxRange, FluxRange]
) -> tuple[FluxRange, FluxRange]:
    """Return amplitudes where the completeness measured so far rises, for both kinds of sources."""
    return _next(records, setup, BEAM, previous), _next(records, setup, OWN, previous)


def _next(
    records: NDArray[np.void], setup: InjectionSetup, kind: int, previous: tuple[FluxRange, FluxRange]
) -> FluxRange:
    chosen, before = records[records["kind"] == kind], previous[kind]
    found = chosen["recovered"] > 0
    if found.sum() < _FEWEST_FOUND:
        return FluxRange(low=before.low, high=2.0 * before.high, bright=2.0 * before.bright)
    low, high = _rising(completeness_curve(chosen["amplitude"], found, trials=0))
    loud = float(np.nanpercentile(setup.sensitivity.sigma[setup.usable], 95.0))
    return FluxRange(low=low, high=high, bright=max(2.0 * high, _BRIGHT_SNR * loud))


def _rising(curve: CompletenessCurve) -> tuple[float, float]:
    """Return between which values a curve rises."""
    at, top = np.log(curve.x), curve.curve[-1]
    low = math.exp(_or(crossing(STEEP[0] * top, at, curve.curve), at[0])) / _STEEP_MARGIN
    high = math.exp(_or(crossing(0.97 * top, at, curve.curve), at[-1])) * _STEEP_MARGIN
    return low, max(high, 1.5 * low)


def _or(value: float, otherwise: float) -> float:
    return float(otherwise) if math.isnan(value) else value


@dataclass(frozen=True, kw_only=True)
class Reached:
    """How precise the curves are.

    Attributes
    ----------
    error : float
        Largest binomial error in the bins where completeness rises, of both kinds.
    n_more : int
        Realisations that the precision asked for still needs, as an estimate; 0 if it is reached.
    """

    error: float
    n_more: int


def reached(
    records: NDArray[np.void], setup: InjectionSetup, plan: InjectionPlan, ranges: tuple[FluxRange, FluxRange]
) -> Reached:
    """Return how precise the completeness against peak flux is."""
    errors, needed = [], []
    for kind in range(len(KINDS)):
        chosen = records[records["kind"] == kind]
        curve = completeness_curve(chosen["peak"], chosen["recovered"] > 0, trials=0)
        errors.append(curve.error)
        width = math.log(10.0) / BINS_PER_DEX
        span = math.log(ranges[kind].high / ranges[kind].low)
        rate = 0.5 * setup.n_sources * _STEEP_SHARE * min(width / span, 1.0)
        needed.append(_missing(curve, plan.precision) / rate)
    error = max(errors)
    if error <= plan.precision:
        return Reached(error=error, n_more=0)
    return Reached(error=error, n_more=max(1, math.ceil(max(needed))))


def _missing(curve: CompletenessCurve, precision: float) -> float:
    """Return how many more sources the least precise bin needs."""
    expected = curve(curve.centres)
    steep = curve.is_steep
    if not steep.any():
        return 100.0
    wanted = expected * (1.0 - expected) / precision**2
    return float(np.max((wanted - curve.injected)[steep], initial=1.0))


def next_snr_range(snr: FloatArray, recovered: BoolArray, previous: FluxRange) -> FluxRange:
    """Return the signal to noise where the completeness measured so far rises.

    Parameters
    ----------
    snr : ndarray, shape (n,)
    recovered : ndarray of bool, shape (n,)
    previous : FluxRange
        What was injected last.
    """
    if recovered.sum() < _FEWEST_FOUND:
        return FluxRange(low=previous.low, high=2.0 * previous.high, bright=2.0 * previous.bright)
    low, high = _rising(completeness_curve(snr, recovered, trials=0))
    return FluxRange(low=low, high=high, bright=max(2.0 * high, _BRIGHT_SNR))


def missing_sources(snr: FloatArray, recovered: BoolArray, *, precision: float) -> tuple[float, float]:
    """Return how many more sources a curve needs for a precision, about, and its present error."""
    curve = completeness_curve(snr, recovered, trials=0)
    bins = max(int(curve.is_steep.sum()), 1)
    return _missing(curve, precision) * bins / _STEEP_SHARE, curve.error
