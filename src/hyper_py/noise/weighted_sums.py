"""Variances of weighted sums over the pixels of stationary noise.

A sum over pixels with weights w, an image, has the variance w C w. The covariance C depends on separations
only, so that the sum over all pairs of pixels is one over waves: the power spectrum of the noise times that
of the image.
"""

import math
from functools import lru_cache

import numpy as np
from scipy import fft

from hyper_py.arrays import FloatArray
from hyper_py.noise.covariance import CovarianceModel

_TRANSFORMED_NUMBERS = 25_000
"""Pixels of all images that are transformed at once: their waves stay in the cache."""
_MATRIX_NUMBERS = 4
"""Numbers of a covariance matrix that take no longer than the waves of one pixel of one image."""


def field_covariance(images: FloatArray, noise: CovarianceModel) -> FloatArray:
    """Return the covariances of weighted sums over noise pixels.

    Parameters
    ----------
    images : ndarray, shape (..., k, ny, nx)
        Weights of the pixels.
    noise : CovarianceModel

    Returns
    -------
    ndarray, shape (..., k, k)
    """
    *lead, k, ny, nx = images.shape
    groups = images.reshape(-1, k, ny, nx)
    covariances = np.empty((len(groups), k, k))
    # Where few pixels have weights, their covariance matrix is smaller than the waves of the images.
    largest = _MATRIX_NUMBERS * k * ny * nx if max(ny, nx) <= noise.reach else 0
    many = []
    for i, image in enumerate(groups):
        y, x = np.nonzero(image.any(axis=0))
        if y.size**2 > largest:
            many.append(i)
        else:
            weights = image[:, y, x]
            covariances[i] = weights @ noise.matrix(y, x) @ weights.T
    if many:
        covariances[many] = _covariance_of_waves(groups[many], noise)
    return covariances.reshape(*lead, k, k)


def _covariance_of_waves(images: FloatArray, noise: CovarianceModel) -> FloatArray:
    """Return `field_covariance` of images (n, k, ny, nx), summed in Fourier space."""
    n, k, ny, nx = images.shape
    shape = _padded(ny, nx, noise)
    power, count = _power(noise, shape)
    weights = np.repeat(power * count, 2) / math.prod(shape)
    covariances = np.empty((n, k, k))
    step = max(1, _TRANSFORMED_NUMBERS // (k * ny * nx))
    for some in (slice(i, i + step) for i in range(0, n, step)):
        # Rows first, so that those of zeros are not transformed.
        waves = fft.fft(fft.rfft(images[some], shape[1]), shape[0], axis=-2, overwrite_x=True)
        parts = waves.reshape(*waves.shape[:2], -1).view(np.float64)
        covariances[some] = (parts * weights) @ parts.swapaxes(1, 2)
    return covariances


def _padded(ny: int, nx: int, noise: CovarianceModel) -> tuple[int, int]:
    """Return the shape of a periodic grid so large that opposite borders do not come within reach."""
    y, x = (n + min(noise.reach, n - 1) for n in (ny, nx))
    return fft.next_fast_len(y), fft.next_fast_len(x, real=True)


@lru_cache(maxsize=64)
def _power(noise: CovarianceModel, shape: tuple[int, int]) -> tuple[FloatArray, FloatArray]:
    """Power spectrum of the noise on a periodic grid, and how often each half-plane wave counts."""
    reach_y, reach_x = (min(noise.reach, (n - 1) // 2) for n in shape)
    centre = noise.reach
    lags = noise.lags[centre - reach_y : centre + reach_y + 1, centre - reach_x : centre + reach_x + 1]
    grid = np.zeros(shape)
    y, x = np.arange(-reach_y, reach_y + 1), np.arange(-reach_x, reach_x + 1)
    grid[np.ix_(y, x)] = lags
    power = fft.rfft2(grid).real.ravel()
    count = np.full((shape[0], shape[1] // 2 + 1), 2.0)
    count[:, 0] = 1.0
    if shape[1] % 2 == 0:
        count[:, -1] = 1.0
    return power, count.ravel()


def through_noise(images: FloatArray, noise: CovarianceModel) -> tuple[FloatArray, FloatArray]:
    """Return C G^T, shape (k, ny, nx), and G C G^T, (k, k), for images G of shape (k, ny, nx)."""
    k, ny, nx = images.shape
    shape = _padded(ny, nx, noise)
    power, _ = _power(noise, shape)
    smooth = np.empty_like(images)
    for term, image in zip(smooth, images, strict=True):
        waves = fft.rfft2(image, shape)
        term[...] = fft.irfft2(waves * power.reshape(waves.shape), shape)[:ny, :nx]
    return smooth, images.reshape(k, -1) @ smooth.reshape(k, -1).T
