"""What the map itself shows of how far its sources are from the model, in shares of their own light.

Gridding, interpolation and gains leave errors that grow with the light of a source. In maps of smooth noise,
and at a signal to noise of some hundreds, they are all that a residual shows, and no companion.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import brentq

from hyper_py.geometry import FloatArray

BoolArray: TypeAlias = NDArray[np.bool_]

_KERNEL = np.array([[0.0, -0.25, 0.0], [-0.25, 1.0, -0.25], [0.0, -0.25, 0.0]])
"""A pixel minus the mean of its neighbours: smooth noise, background and companions leave little of it."""
_MEDIAN_CHI2 = 0.4549
"""Median of the square of a normal deviate."""
_FEWEST_PIXELS = 20
_LARGEST_SHARE = 1.0


def pixel_error_of_light(
    residual: FloatArray, light: FloatArray, *, level: FloatArray, usable: BoolArray
) -> float:
    """Return the independent error of each pixel in units of the sources' light on it.

    The variance of `_KERNEL` times the residual is that of the noise, measured where there is no light, plus
    share^2 times q, the light squared seen through the kernel squared. The share is that for which the
    squares have the median of such variances, pixels weighted by what they tell.

    Parameters
    ----------
    residual : ndarray, shape (ny, nx)
        Map minus `light`.
    light : ndarray, shape (ny, nx)
        The models of all sources.
    level : ndarray, shape (ny, nx)
        Local noise over its median.
    usable : bool ndarray, shape (ny, nx)

    Returns
    -------
    float
        0 where the noise hides it.
    """
    inside = ndimage.binary_erosion(usable, np.ones((3, 3)))
    differences = ndimage.convolve(np.where(usable, residual, 0.0) / level, _KERNEL)
    power = ndimage.convolve((light / level) ** 2, _KERNEL**2)
    squares = differences**2
    faint = inside & (np.abs(light) <= 0.01 * np.abs(light).max())
    if np.count_nonzero(faint) < _FEWEST_PIXELS:
        return 0.0
    noise = float(np.median(squares[faint])) / _MEDIAN_CHI2
    bright = inside & (power > 0.0)
    squares, power = squares[bright], power[bright]

    def excess(share: float) -> float:
        variance = noise + share**2 * power
        weights = (power / variance) ** 2 if share else power**2
        order = np.argsort(squares / variance)
        total = np.cumsum(weights[order])
        return float((squares / variance)[order][np.searchsorted(total, 0.5 * total[-1])]) - _MEDIAN_CHI2

    if squares.size < _FEWEST_PIXELS or not noise > 0.0 or excess(0.0) <= 0.0 or excess(_LARGEST_SHARE) > 0.0:
        return 0.0
    return float(brentq(excess, 0.0, _LARGEST_SHARE, xtol=1e-5))
