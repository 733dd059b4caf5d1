"""How right measured fluxes, positions and their errors are, against signal to noise and neighbours."""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from hyper_py.arrays import BoolArray, FloatArray
from hyper_py.validation.comparison import robust_sigma

SNR_EDGES = (3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 50.0, math.inf)
NEIGHBOUR_EDGES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, math.inf)
"""Distances to the nearest source of the catalogue, in beams."""
MAD_ERROR = 1.166
"""Standard error of 1.4826 MAD of a Gaussian sample, over sigma / sqrt(n): 1.4826 / (4 phi(0.6745))."""
_FEWEST = 3


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Measured against true values of the recovered sources in a range of some quantity.

    Attributes
    ----------
    low, high : float
        The range.
    n_injected, n : int
        Injected sources, and the recovered ones, of which all that follows is.
    flux_bias, flux_scatter, peak_bias, peak_scatter : float
        Median of measured / true - 1 and 1.4826 MAD of the ratio.
    flux_pull, flux_pull_width, peak_pull, peak_pull_width : float
        Median and 1.4826 MAD of (measured - true) / error: 0 and 1 for true errors.
    position_scatter : float
        1.4826 MAD of the differences in x and y together, pixels.
    position_pull_width : float
        The same over the errors.
    """

    low: float
    high: float
    n_injected: int
    n: int
    flux_bias: float
    flux_scatter: float
    flux_pull: float
    flux_pull_width: float
    peak_bias: float
    peak_scatter: float
    peak_pull: float
    peak_pull_width: float
    position_scatter: float
    position_pull_width: float

    @property
    def pull_width_error(self) -> float:
        """Standard error of a width of pulls, over that width."""
        return MAD_ERROR / math.sqrt(self.n) if self.n else math.nan


def accuracy(
    records: NDArray[np.void], values: FloatArray, *, edges: tuple[float, ...] = SNR_EDGES
) -> tuple[Accuracy, ...]:
    """Compare measured with true values in bins of a quantity.

    Parameters
    ----------
    records : ndarray of `hyper_py.injection.recovery.RECORD`, shape (n,)
    values : ndarray, shape (n,)
        The quantity.
    edges : tuple of float
        Of its bins; empty ones are left out.
    """
    result = []
    for low, high in pairwise(edges):
        inside = (values >= low) & (values < high)
        if inside.any():
            result.append(_of(records, inside, low=low, high=high))
    return tuple(result)


def _of(records: NDArray[np.void], inside: BoolArray, *, low: float, high: float) -> Accuracy:
    found = records[inside & (records["recovered"] > 0)]
    flux, flux_pull = _ratio_and_pull(found, "flux")
    peak, peak_pull = _ratio_and_pull(found, "peak")
    shifts = [found[f"{axis}_found"] - found[axis] for axis in "xy"]
    errors = np.concatenate([found["x_err"], found["y_err"]])
    shift = np.concatenate(shifts)
    known = np.isfinite(shift) & (errors > 0)
    return Accuracy(
        low=low, high=high, n_injected=int(inside.sum()), n=len(found),
        flux_bias=_median(flux) - 1.0, flux_scatter=_scatter(flux),
        flux_pull=_median(flux_pull), flux_pull_width=_scatter(flux_pull),
        peak_bias=_median(peak) - 1.0, peak_scatter=_scatter(peak),
        peak_pull=_median(peak_pull), peak_pull_width=_scatter(peak_pull),
        position_scatter=_scatter(shift[np.isfinite(shift)]),
        position_pull_width=_scatter(shift[known] / errors[known]),
    )  # fmt: skip


def _ratio_and_pull(found: NDArray[np.void], name: str) -> tuple[FloatArray, FloatArray]:
    true, measured, error = found[name], found[f"{name}_found"], found[f"{name}_err"]
    ratio, known = measured / true, np.isfinite(measured) & (error > 0)
    return ratio[np.isfinite(ratio)], (measured - true)[known] / error[known]


def _median(values: FloatArray) -> float:
    return float(np.median(values)) if values.size >= _FEWEST else math.nan


def _scatter(values: FloatArray) -> float:
    return robust_sigma(values) if values.size >= _FEWEST else math.nan


def running_bias(snr: FloatArray, ratio: FloatArray, *, at: FloatArray, number: int = 60) -> FloatArray:
    """Return the median of ratio - 1 among the nearest sources in the logarithm of signal to noise.

    Parameters
    ----------
    snr, ratio : ndarray, shape (n,)
        Of recovered sources.
    at : ndarray, shape (k,)
        Signal to noise; NaN gives NaN.
    number : int
        How many sources are nearest; with fewer than that, all are.
    """
    good = np.isfinite(snr) & np.isfinite(ratio) & (snr > 0)
    order = np.argsort(snr[good])
    places, values = np.log(snr[good][order]), ratio[good][order]
    result = np.full(at.shape, np.nan)
    if values.size < _FEWEST:
        return result
    k = min(number, values.size)
    for index in np.flatnonzero(at > 0):
        nearest = np.argpartition(np.abs(places - math.log(at[index])), k - 1)[:k]
        result[index] = np.median(values[nearest]) - 1.0
    return result
