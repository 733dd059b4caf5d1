"""Random fields with a known power spectrum, and the power spectra of noise, background and beam.

Spectra are real arrays in the half-plane layout of `scipy.fft.rfft2` on a grid larger than the map, of
which the map is cut, so that opposite borders of the map have nothing in common. They are scaled as the
Fourier transform of the autocovariance: their mean over the full plane is the variance of one pixel.
"""

import math

import numpy as np
from scipy import fft, ndimage

from hyper_py.arrays import FloatArray
from hyper_py.geometry import FWHM_PER_SIGMA

_CREST_WIDTHS = 3.0
"""Crests of filaments are smooth over so many of their widths: shorter knots would be sources."""

GRID_MARGIN = 0.5
"""How much longer than the map the grid of a random field is."""


def grid_shape(shape: tuple[int, int]) -> tuple[int, int]:
    """Return the (even) shape of the grid of which a map of this shape is cut."""
    ny, nx = (2 * fft.next_fast_len(math.ceil(0.5 * (1.0 + GRID_MARGIN) * n), real=True) for n in shape)
    return ny, nx


def frequencies(shape: tuple[int, int]) -> tuple[FloatArray, FloatArray]:
    """Return ky (ny, 1) and kx (1, nx // 2 + 1) in cycles per pixel."""
    return fft.fftfreq(shape[0])[:, None], fft.rfftfreq(shape[1])[None, :]


def plane_mean(half: FloatArray, nx: int) -> float:
    """Return the mean over the full Fourier plane of a half-plane array of an image with nx columns."""
    doubled = 2.0 * half.sum() - half[:, 0].sum() - (half[:, -1].sum() if nx % 2 == 0 else 0.0)
    return float(doubled / (half.shape[0] * nx))


def gaussian_transfer(shape: tuple[int, int], covariance: FloatArray) -> FloatArray:
    """Return the Fourier transform of a unit-integral Gaussian of given covariance (2, 2) in pixels."""
    ky, kx = frequencies(shape)
    quadratic = covariance[0, 0] * kx**2 + 2.0 * covariance[0, 1] * kx * ky + covariance[1, 1] * ky**2
    result: FloatArray = np.exp(-2.0 * math.pi**2 * quadratic)
    return result


def side_lobe_transfer(shape: tuple[int, int], covariance: FloatArray, level: float) -> FloatArray:
    """Return the factor that turns the transfer of a Gaussian beam into that of one with side lobes.

    The factor is 1 + a w(k) cos(6 phi), w rising from 0 to 1 at a third of the beam's width in k: three
    arms of an interferometer seen in one short observation. cos(6 phi) averages to zero, so that peak and
    integral of the beam do not change; a is such that the largest lobe is `level` of the peak.
    """
    ky, kx = frequencies(shape)
    k2 = kx**2 + ky**2
    sigma2 = math.sqrt(float(np.linalg.det(covariance)))
    gaussian = gaussian_transfer(shape, covariance)
    pattern = -np.expm1(-18.0 * math.pi**2 * sigma2 * k2) * np.cos(6.0 * np.arctan2(ky, kx))
    lobes = fft.irfft2(gaussian * pattern, s=shape)
    peak = fft.irfft2(gaussian, s=shape)[0, 0]
    result: FloatArray = 1.0 + level * peak / np.abs(lobes).max() * pattern
    return result


def noise_power(shape: tuple[int, int], transfer: FloatArray, *, white_fraction: float) -> FloatArray:
    """Return the power spectrum of noise of unit rms.

    Parameters
    ----------
    shape : (int, int)
        Of the grid.
    transfer : ndarray, shape (ny, nx // 2 + 1)
        Fourier transform of the kernel that correlates the noise.
    white_fraction : float
        Share of the power that is white.
    """
    correlated = transfer**2
    return (1.0 - white_fraction) * correlated / plane_mean(correlated, shape[1]) + white_fraction


def power_law(shape: tuple[int, int], *, slope: float, outer: float, transfer: FloatArray) -> FloatArray:
    """Return the spectrum k^-slope, flat beyond the scale `outer` (pixels), through a beam, of unit rms.

    The mean of the field is not random: the power at k = 0 is zero.
    """
    ky, kx = frequencies(shape)
    k = np.maximum(np.hypot(kx, ky), 1.0 / outer)
    power = k**-slope * transfer**2
    power[0, 0] = 0.0
    return power / plane_mean(power, shape[1])


def lognormal_power(shape: tuple[int, int], power: FloatArray, contrast: float) -> FloatArray:
    """Return the spectrum of exp(g)/<exp(g)>, of relative rms `contrast`, g having the spectrum `power`.

    `power` is scaled to the variance that gives this contrast: see `lognormal_variance`. From the
    covariance of a log-normal field, exp(C_g) - 1 (Coles & Jones 1991, MNRAS 248, 1).
    """
    covariance = fft.irfft2(power * lognormal_variance(contrast), s=shape)
    result: FloatArray = np.maximum(fft.rfft2(np.expm1(covariance)).real, 0.0)
    return result


def lognormal_variance(contrast: float) -> float:
    """Return the variance of the logarithm of a log-normal field of given rms over mean."""
    return math.log1p(contrast**2)


def random_field(rng: np.random.Generator, shape: tuple[int, int], power: FloatArray) -> FloatArray:
    """Return one Gaussian random field of a given power spectrum, periodic on its grid."""
    white = fft.rfft2(rng.standard_normal(shape))
    result: FloatArray = fft.irfft2(white * np.sqrt(power), s=shape)
    return result


def autocovariance(shape: tuple[int, int], power: FloatArray, radius: int) -> FloatArray:
    """Return the autocovariance at lags up to `radius` pixels, shape (2 radius + 1,) * 2, lag 0 central."""
    lags = np.arange(-radius, radius + 1)
    result: FloatArray = fft.irfft2(power, s=shape)[np.ix_(lags, lags)]
    return result


def power_below(shape: tuple[int, int], power: FloatArray, wavelength: float) -> float:
    """Return the variance at wavelengths shorter than `wavelength` (pixels)."""
    ky, kx = frequencies(shape)
    return plane_mean(np.where(np.hypot(kx, ky) > 1.0 / wavelength, power, 0.0), shape[1])


def convolve(data: FloatArray, transfer: FloatArray, grid: tuple[int, int]) -> FloatArray:
    """Return an image convolved on a larger grid by a transfer function (zeros outside the image)."""
    ny, nx = data.shape
    result: FloatArray = fft.irfft2(fft.rfft2(data, s=grid) * transfer, s=grid)[:ny, :nx]
    return result


def filaments(
    rng: np.random.Generator,
    shape: tuple[int, int],
    *,
    number: int,
    peak: float,
    fwhm: float,
    contrast: float = 0.0,
) -> FloatArray:
    """Return curved ridges of Gaussian cross section, summed.

    Each is a quadratic Bezier curve around a point of the map, 0.5 to 1.2 of the shorter side from end to
    end, laid down as points a fraction of its width apart (bilinearly shared among pixels) and smoothed.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : (int, int)
        (ny, nx).
    number : int
        How many.
    peak, fwhm : float
        Mean height of the crest of each, and width in pixels.
    contrast : float
        Rms of the crest over its mean: log-normal, smooth over `_CREST_WIDTHS`.
    """
    grid = grid_shape(shape)
    sigma = max(fwhm / FWHM_PER_SIGMA, 0.5)
    points = np.zeros(grid)
    oy, ox = (grid[0] - shape[0]) // 2, (grid[1] - shape[1]) // 2
    for _ in range(number):
        middle = rng.uniform(size=2) * shape
        length, bend = min(shape) * rng.uniform(0.5, 1.2), rng.uniform(-0.5, 0.5)
        angle = rng.uniform(0.0, 2.0 * math.pi)
        along = length * np.array([math.sin(angle), math.cos(angle)])
        start = middle - 0.5 * along
        control = middle + bend * along[::-1] * (1.0, -1.0)
        t = np.linspace(0.0, 1.0, max(int(8 * length / sigma), 16))[:, None]
        curve = (1 - t) ** 2 * start + 2 * t * (1 - t) * control + t**2 * (start + along)
        speed = np.hypot(*np.gradient(curve, axis=0).T)
        height = peak * _crest(rng, speed, fwhm=fwhm, contrast=contrast) if contrast else peak
        _deposit(points, curve + np.array([oy, ox]), speed * height * math.sqrt(2.0 * math.pi) * sigma)
    smoothed = fft.irfft2(fft.rfft2(points) * gaussian_transfer(grid, sigma**2 * np.eye(2)), s=grid)
    result: FloatArray = smoothed[oy : oy + shape[0], ox : ox + shape[1]]
    return result


def _crest(rng: np.random.Generator, speed: FloatArray, *, fwhm: float, contrast: float) -> FloatArray:
    """Return the height along a curve, of mean 1, at points that are `speed` pixels apart."""
    sigma = _CREST_WIDTHS * fwhm / float(speed.mean()) / FWHM_PER_SIGMA
    normal = ndimage.gaussian_filter1d(rng.normal(size=speed.size), sigma, mode="wrap")
    normal *= math.sqrt(2.0 * math.sqrt(math.pi) * sigma)  # white noise loses as much when it is smoothed
    variance = lognormal_variance(contrast)
    height: FloatArray = np.exp(math.sqrt(variance) * normal - 0.5 * variance)
    return height


def _deposit(points: FloatArray, curve: FloatArray, weight: FloatArray) -> None:
    """Share weights at (y, x), shape (n, 2), among four pixels each, in place; drop those off the grid."""
    ny, nx = points.shape
    y, x = curve.T
    for dy in (0, 1):
        for dx in (0, 1):
            iy, ix = np.floor(y).astype(int) + dy, np.floor(x).astype(int) + dx
            share = weight * (1 - np.abs(y - iy)) * (1 - np.abs(x - ix))
            inside = (iy >= 0) & (iy < ny) & (ix >= 0) & (ix < nx)
            np.add.at(points, (iy[inside], ix[inside]), share[inside])
