"""Intervals of proportions, for whole arrays of counts."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv, ndtr

from hyper_py.arrays import FloatArray

ONE_SIGMA = float(ndtr(1.0) - ndtr(-1.0))
"""Content of a Gaussian within one sigma."""


def jeffreys_interval(
    part: ArrayLike, whole: ArrayLike, *, level: float = ONE_SIGMA
) -> tuple[FloatArray, FloatArray]:
    """Return the Jeffreys interval of proportions.

    The equal-tailed interval of the Beta(part + 1/2, whole - part + 1/2) distribution, with the ends 0 and
    1 where nothing and where everything was counted (Brown, Cai & DasGupta 2001, Statist. Sci. 16, 101).

    Parameters
    ----------
    part, whole : array_like of int, shape (n,)
    level : float
        Content of the interval.

    Returns
    -------
    low, high : ndarray, shape (n,)
        0 and 1 for 0 of 0.
    """
    k, n = (np.asarray(value, dtype=np.float64) for value in (part, whole))
    tail = 0.5 * (1.0 - level)
    low: FloatArray = np.where(k == 0, 0.0, betaincinv(k + 0.5, n - k + 0.5, tail))
    high: FloatArray = np.where(k == n, 1.0, betaincinv(k + 0.5, n - k + 0.5, 1.0 - tail))
    return low, high


def poisson_interval(count: ArrayLike, *, level: float = ONE_SIGMA) -> tuple[FloatArray, FloatArray]:
    """Return the central interval of the mean of Poisson counts (Garwood 1936, Biometrika 28, 437)."""
    from scipy.special import gammaincinv

    k, tail = np.asarray(count, dtype=np.float64), 0.5 * (1.0 - level)
    low: FloatArray = np.where(k > 0, gammaincinv(np.maximum(k, 1e-9), tail), 0.0)
    high: FloatArray = gammaincinv(k + 1.0, 1.0 - tail)
    return low, high
