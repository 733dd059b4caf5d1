"""Backgrounds of a cube smoothed along its spectrum."""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from hyper_py.arrays import FloatArray
from hyper_py.geometry import FWHM_PER_SIGMA

_KERNEL_SIGMAS = 2.5
"""Where the kernel ends."""


def smooth_spectrally(
    read: Callable[[int], FloatArray], n_channels: int, *, fwhm: float
) -> Iterator[FloatArray]:
    """Yield planes averaged over neighbouring channels with Gaussian weights.

    Blank pixels take no part, and stay blank. Memory holds the planes under the kernel.

    Parameters
    ----------
    read : callable
        Gives the plane (ny, nx) of a channel from 0; called once for each, in order.
    n_channels : int
    fwhm : float
        Of the weights, in channels.
    """
    sigma = fwhm / FWHM_PER_SIGMA
    half = max(1, math.ceil(_KERNEL_SIGMAS * sigma))
    planes: deque[FloatArray] = deque()
    first = 0
    for centre in range(n_channels):
        if first < centre - half:
            planes.popleft()
            first += 1
        while first + len(planes) < min(centre + half + 1, n_channels):
            planes.append(read(first + len(planes)))
        yield _weighted_mean(planes, first - centre, centre - first, sigma=sigma)


def _weighted_mean(planes: Sequence[FloatArray], start: int, own: int, *, sigma: float) -> FloatArray:
    """Return the mean of planes at distances start, start + 1, ... of which number `own` is to be blank."""
    shape = planes[own].shape
    total, weight = np.zeros(shape), np.zeros(shape)
    for k, plane in enumerate(planes):
        share, known = math.exp(-0.5 * ((start + k) / sigma) ** 2), np.isfinite(plane)
        total[known] += share * plane[known]
        weight[known] += share
    kept = np.isfinite(planes[own])
    mean: FloatArray = np.divide(total, weight, out=np.full(shape, np.nan), where=kept)
    return mean
