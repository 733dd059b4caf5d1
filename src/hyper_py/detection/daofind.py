"""DAOFIND's kernel and shape statistics (Stetson 1987, PASP 99, 191) for elliptical beams and many peaks."""

import math
from dataclasses import astuple, dataclass

import numpy as np
from scipy import ndimage

from hyper_py.arrays import BoolArray, FloatArray, IndexArray

KERNEL_SIGMAS = 1.5
"""DAOFIND's kernel ends at this many sigma (Stetson 1987, PASP 99, 191)."""
KERNEL_MIN_RADIUS = 2.0
"""And holds every pixel within this distance, whatever its sigma."""


@dataclass(frozen=True)
class DaofindKernel:
    """DAOFIND's kernel for a beam: `gaussian` of peak 1, zero-sum `weights`, which pixels are `inside`."""

    gaussian: FloatArray
    weights: FloatArray
    inside: BoolArray
    relative_error: float


def daofind_kernel(beam_covariance: FloatArray) -> DaofindKernel:
    """Return the kernel whose convolution gives the peak, fitted by least squares with a constant.

    Stetson 1987, PASP 99, 191, for an elliptical Gaussian; `weights` is its equation for the height.

    Parameters
    ----------
    beam_covariance : ndarray, shape (2, 2)
        Pixels^2, order (x, y).

    Returns
    -------
    DaofindKernel
        Arrays of odd sides.
    """
    half_x, half_y = (
        max(int(KERNEL_SIGMAS * math.sqrt(float(beam_covariance[i, i]))), int(KERNEL_MIN_RADIUS))
        for i in (0, 1)
    )
    y, x = np.mgrid[-half_y : half_y + 1, -half_x : half_x + 1].astype(np.float64)
    inverse = np.linalg.inv(beam_covariance)
    distance = inverse[0, 0] * x * x + 2.0 * inverse[0, 1] * x * y + inverse[1, 1] * y * y
    inside = (distance <= KERNEL_SIGMAS**2) | (x * x + y * y <= KERNEL_MIN_RADIUS**2)
    gaussian = np.exp(-0.5 * distance)
    values = gaussian[inside]
    norm = float(values @ values - values.sum() ** 2 / values.size)
    weights = np.where(inside, gaussian - values.mean(), 0.0) / norm
    return DaofindKernel(gaussian, weights, inside, 1.0 / math.sqrt(norm))


def convolve_kernel(data: FloatArray, weights: FloatArray) -> FloatArray:
    """Correlate a map with a small kernel; beyond the border it is zero."""
    result: FloatArray = ndimage.correlate(data, weights, mode="constant")
    return result


@dataclass(frozen=True)
class DaofindStatistics:
    """Roundness from symmetry, from marginal fits, sharpness, and the convolved value; arrays (n,)."""

    roundness: FloatArray
    roundness_marginal: FloatArray
    sharpness: FloatArray
    convolved: FloatArray

    def within(self, roundlim: tuple[float, float], sharplim: tuple[float, float]) -> BoolArray:
        """Return which are inside the limits, both included; an undefined value is outside."""
        inside = (self.sharpness >= sharplim[0]) & (self.sharpness <= sharplim[1])
        for value in (self.roundness, self.roundness_marginal):
            inside &= (value >= roundlim[0]) & (value <= roundlim[1])
        return inside

    def select(self, index: BoolArray | IndexArray) -> "DaofindStatistics":
        """Return the rows of an index or mask."""
        return DaofindStatistics(*(part[index] for part in astuple(self)))


def daofind_statistics(
    data: FloatArray, convolved: FloatArray, *, kernel: DaofindKernel, x: IndexArray, y: IndexArray
) -> DaofindStatistics:
    """Return DAOFIND's shape statistics at pixels (Stetson 1987, PASP 99, 191).

    Parameters
    ----------
    data, convolved : ndarray, shape (ny, nx)
        Map without NaN, and the same after `convolve_kernel` with the kernel's weights.
    kernel : DaofindKernel
        The kernel.
    x, y : ndarray of int, shape (n,)
        Pixels.

    Returns
    -------
    DaofindStatistics
        Roundness: twofold over fourfold symmetry of the convolved map; marginal roundness: difference of
        the heights of Gaussians fitted to the marginals in x and y over their mean; sharpness: pixel minus
        mean of its neighbours, over the convolved value.
    """
    half_y, half_x = (side // 2 for side in kernel.inside.shape)
    stamps, convolved_stamps = (_stamps(a, x=x, y=y, half_x=half_x, half_y=half_y) for a in (data, convolved))
    surrounding = kernel.inside.copy()
    surrounding[half_y, half_x] = False
    with np.errstate(divide="ignore", invalid="ignore"):
        sharpness = (data[y, x] - stamps[:, surrounding].mean(axis=1)) / convolved[y, x]
        height_x = _marginal_height(stamps, kernel.gaussian)
        height_y = _marginal_height(stamps.swapaxes(1, 2), kernel.gaussian.T)
        marginal = 2.0 * (height_x - height_y) / (height_x + height_y)
        total = np.abs(convolved_stamps).sum(axis=(1, 2)) - np.abs(convolved[y, x])
        roundness = 2.0 * (convolved_stamps * _quadrant_signs(half_y, half_x)).sum(axis=(1, 2)) / total
    return DaofindStatistics(roundness, marginal, sharpness, convolved[y, x])


def _stamps(data: FloatArray, *, x: IndexArray, y: IndexArray, half_x: int, half_y: int) -> FloatArray:
    """Cut windows around pixels, shape (n, 2 half_y + 1, 2 half_x + 1); zero beyond the border."""
    padded = np.pad(data, ((half_y, half_y), (half_x, half_x)))
    rows, columns = np.arange(2 * half_y + 1), np.arange(2 * half_x + 1)
    stamps: FloatArray = padded[y[:, None, None] + rows[:, None], x[:, None, None] + columns]
    return stamps


def _quadrant_signs(half_y: int, half_x: int) -> FloatArray:
    """Return +1 or -1 in four quadrants, each with one half axis, so that a turn maps them on each other."""
    y, x = np.mgrid[-half_y : half_y + 1, -half_x : half_x + 1]
    positive = ((x > 0) & (y <= 0)) | ((x < 0) & (y >= 0))
    signs = np.where(positive, -1.0, 1.0)
    signs[half_y, half_x] = 0.0
    return signs


def _marginal_height(stamps: FloatArray, gaussian: FloatArray) -> FloatArray:
    """Return the height of the Gaussian fitted with a constant to the marginals along the last axis.

    Both sums, over the other axis and in the fit, have triangular weights, largest in the middle.
    """
    weight_other, weight = (side // 2 + 1.0 - np.abs(np.arange(side) - side // 2) for side in gaussian.shape)
    model, marginal = weight_other @ gaussian, np.einsum("i,nij->nj", weight_other, stamps)
    total = weight.sum()
    centred = weight * (model - (weight @ model) / total)
    height: FloatArray = marginal @ centred / (model @ centred)
    return height
