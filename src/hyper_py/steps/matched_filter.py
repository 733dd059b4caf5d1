"""The filter that is optimal for a source in the noise and background that a map itself shows.

The map is flattened (its local mean removed), its power spectrum measured outside sources, and the filter is
template / power spectrum in Fourier space, both as seen through the flattening. Its output is the amplitude
of a source at each pixel, to be compared with the output's own local noise.
"""

import itertools
import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage, signal

from hyper_py.geometry import FWHM_PER_SIGMA, FloatArray, covariance_from_ellipse
from hyper_py.numerics.noise import (
    autocovariance,
    beam_covariance_model,
    clipped_statistics,
    parzen_taper,
    power_spectrum,
)
from hyper_py.steps.detection import local_maxima

BoolArray: TypeAlias = NDArray[np.bool_]
IntArray: TypeAlias = NDArray[np.intp]
TEMPLATE_SIZE = 1.1
"""Size of the template in beams: sources are rarely smaller than the beam, and often a little larger."""
NARROW_SIZE = 0.7
"""Size of the template of the narrower filter in beams."""
FLATTEN_SIZE = 3.0
"""FWHM in beams of the Gaussian mean that flattens the map, so that a steep spectrum cannot leak."""
SPECTRUM_LAG = 8.0
"""Largest lag in beams of the autocovariance behind the spectrum."""
KERNEL_RADIUS = 4.0
"""The filter ends at this many beams; it is below a thousandth of its peak there."""
POWER_FLOOR = 0.1
"""Powers below this fraction of their median are raised to it: they are the estimate's own noise."""
NOISE_WINDOW = 10.0
"""FWHM in beams of the window in which the local noise is measured."""
MASK_RADIUS = 1.3
"""Sources are masked out to this many beams while spectrum and noise are measured."""
MASK_THRESHOLD = 5.0
N_ROUNDS = 3
SEPARATION = 0.6
"""Peaks closer than this many beams are one."""
RING_REACH = 3.0
"""Rings are looked for up to this many beams from a source."""
RING_SIZES, RING_RATIOS, RING_ANGLES = (0.8, 1.0, 1.2, 1.4, 1.55), (1.0, 1.3, 1.6), 6
"""Sizes in beams, axis ratios and number of angles of the sources whose rings are looked for."""
CLIPPED_GAUSSIAN_RMS = 0.98658
"""Rms of a normal distribution cut off at 3 sigma."""


@dataclass(frozen=True, eq=False)
class MatchedFilter:
    """A filter measured on one map, to be used on this map and on its residuals.

    Attributes
    ----------
    kernel : ndarray, odd sides
        To be correlated with the flattened map; the result is the amplitude of a source.
    flattening : float
        Sigma in pixels of the Gaussian mean that flattens.
    noise : ndarray, shape (ny, nx)
        Local rms of the filtered map, in the unit of the map.
    ring : ndarray, odd sides
        Largest response, over plausible sizes, to a source of response 1 in the middle.
    sources : ndarray of bool, shape (ny, nx)
        Where sources were when the noise was measured.
    beam_covariance : ndarray, shape (2, 2)
        Pixels^2, order (x, y).
    assumed : bool
        True where the map was too small to measure its spectrum.
    narrow : MatchedFilter, optional
        The filter for blends, from the same spectrum.
    """

    kernel: FloatArray
    flattening: float
    noise: FloatArray
    ring: FloatArray
    sources: BoolArray
    beam_covariance: FloatArray
    assumed: bool
    narrow: "MatchedFilter | None" = None

    @property
    def fwhm(self) -> float:
        """Geometric mean FWHM of the beam in pixels."""
        return beam_fwhm(self.beam_covariance)

    def apply(self, data: FloatArray) -> FloatArray:
        """Return the filtered map: amplitude of a source at each pixel; NaN where `data` is."""
        filtered = correlate(flatten(data, sigma=self.flattening), self.kernel)
        return np.where(np.isfinite(data), filtered, np.nan)

    def significance(self, data: FloatArray) -> FloatArray:
        """Return the filtered map over its local noise."""
        return self.apply(data) / self.noise


def beam_fwhm(covariance: FloatArray) -> float:
    """Return the geometric mean FWHM of a Gaussian of this covariance."""
    return FWHM_PER_SIGMA * math.sqrt(math.sqrt(float(np.linalg.det(covariance))))


def measure_filter(data: FloatArray, *, beam_covariance: FloatArray) -> MatchedFilter:
    """Measure the optimal filter of a map, and the noise of its output.

    Sources are not known in the beginning: they are found with a first filter, masked, and spectrum, local
    level and filter measured again, `N_ROUNDS` times in all. The spectrum is that of the map over its local
    level, so that loud regions do not decide for quiet ones.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
        Map; blank pixels are NaN.
    beam_covariance : ndarray, shape (2, 2)
        Pixels^2, order (x, y).

    Returns
    -------
    MatchedFilter
    """
    fwhm, valid = beam_fwhm(beam_covariance), np.isfinite(data)
    flattening = FLATTEN_SIZE * fwhm / FWHM_PER_SIGMA
    flat = flatten(data, sigma=flattening)
    sources, level = _bright_peaks(flat, valid=valid, beam_covariance=beam_covariance), np.ones(data.shape)
    for _ in range(N_ROUNDS):
        spectrum = _measure_spectrum(
            np.where(valid, flat / level, np.nan), mask=sources, beam_covariance=beam_covariance
        )
        kernel, noise = _kernel_and_noise(
            flat, valid=valid, mask=sources, spectrum=spectrum, size=TEMPLATE_SIZE
        )
        masked = sources
        y, x = local_maxima(
            np.where(valid, correlate(flat, kernel) / noise, -np.inf),
            footprint=disc(SEPARATION * fwhm),
            threshold=MASK_THRESHOLD,
        )
        sources = disc_mask(data.shape, x=x, y=y, radius=MASK_RADIUS * fwhm)
        level = noise / float(np.median(noise[valid]))
    narrow_kernel, narrow_noise = _kernel_and_noise(
        flat, valid=valid, mask=masked, spectrum=spectrum, size=NARROW_SIZE
    )
    common = (sources, beam_covariance, spectrum.assumed)
    narrow = MatchedFilter(narrow_kernel, flattening, narrow_noise, _ring(spectrum, NARROW_SIZE), *common)
    return MatchedFilter(kernel, flattening, noise, _ring(spectrum, TEMPLATE_SIZE), *common, narrow)


def _bright_peaks(flat: FloatArray, *, valid: BoolArray, beam_covariance: FloatArray) -> BoolArray:
    """Mask what stands out of the flattened map by itself.

    In a small map a few bright sources are most of the spectrum, and a filter made from that finds none.
    """
    fwhm, noise = beam_fwhm(beam_covariance), clipped_statistics(flat[valid]).rms
    peaks = local_maxima(
        np.where(valid, _smooth(flat, 0.5 * fwhm / FWHM_PER_SIGMA), -np.inf),
        footprint=disc(SEPARATION * fwhm),
        threshold=MASK_THRESHOLD * noise,
    )
    return disc_mask(flat.shape, x=peaks[1], y=peaks[0], radius=MASK_RADIUS * fwhm)


def _kernel_and_noise(
    flat: FloatArray, *, valid: BoolArray, mask: BoolArray, spectrum: "_Spectrum", size: float
) -> tuple[FloatArray, FloatArray]:
    """Return the filter for sources of `size` beams, and the local noise of its output."""
    transfer, fwhm = spectrum.filter_transfer(size), beam_fwhm(spectrum.beam_covariance)
    kernel = _centre(transfer, radius=min(math.ceil(KERNEL_RADIUS * fwhm), spectrum.reach))
    noise = local_noise(
        np.where(valid, correlate(flat, kernel), np.nan), mask=mask, window=NOISE_WINDOW * fwhm,
        correlated_area=_correlated_area(np.abs(transfer) ** 2 * spectrum.power),
    )  # fmt: skip
    return kernel, noise


def flatten(data: FloatArray, *, sigma: float) -> FloatArray:
    """Return the map minus its Gaussian-weighted local mean; blank pixels take no part and become 0.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
        Map; blank pixels are NaN.
    sigma : float
        Sigma of the weights in pixels.
    """
    valid = np.isfinite(data)
    centred = np.where(valid, data - data[valid].mean(), 0.0) if valid.any() else np.zeros(data.shape)
    total = _smooth(centred, sigma)
    weight = _smooth(valid.astype(np.float64), sigma)
    return np.where(valid, centred - np.divide(total, weight, out=total, where=valid), 0.0)


def _smooth(data: FloatArray, sigma: float) -> FloatArray:
    result: FloatArray = ndimage.gaussian_filter(data, sigma, mode="constant", truncate=3.0)
    return result


def correlate(data: FloatArray, kernel: FloatArray) -> FloatArray:
    """Return the correlation of a map with a kernel of odd sides; beyond the border the map is zero."""
    result: FloatArray = signal.oaconvolve(data, kernel[::-1, ::-1], mode="same")
    return result


def disc(radius: float) -> BoolArray:
    """Return a disc-shaped footprint; at least the 3 x 3 pixels around the centre."""
    half = max(int(radius), 1)
    rows, columns = np.mgrid[-half : half + 1, -half : half + 1]
    inside: BoolArray = (rows**2 + columns**2 <= radius**2) | (np.maximum(abs(rows), abs(columns)) <= 1)
    return inside


def disc_mask(shape: tuple[int, ...], *, x: IntArray, y: IntArray, radius: float) -> BoolArray:
    """Return a mask that is True within `radius` of any of the pixels."""
    mask = np.zeros(shape, dtype=bool)
    if x.size == 0:
        return mask
    mask[y, x] = True
    near: BoolArray = np.less_equal(ndimage.distance_transform_edt(~mask), radius)
    return near


def local_noise(data: FloatArray, *, mask: BoolArray, window: float, correlated_area: float) -> FloatArray:
    """Return the local rms of a map of mean zero, as far as it can be told from the global one.

    The clipped mean square in a running window (triangular weights). The scatter of its logarithm over the
    map is partly that of the estimate itself; the logarithm is drawn to its mean by that share, so that a
    map of uniform noise gets a uniform level.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
        Blank pixels are NaN.
    mask : ndarray of bool, shape (ny, nx)
        True on sources.
    window : float
        FWHM of the window in pixels.
    correlated_area : float
        Number of pixels that count as one independent value of the square.

    Returns
    -------
    ndarray, shape (ny, nx)
        Positive everywhere.
    """
    valid = np.isfinite(data) & ~mask
    overall = clipped_statistics(data[valid])
    if not overall.rms > 0:
        return np.full(data.shape, 1.0)
    side = 2 * int(0.5 * window) + 1
    square = np.where(valid, data, 0.0) ** 2
    limit = np.full(data.shape, (5.0 * overall.rms) ** 2)
    for sigma in (5.0, 3.0, 3.0):
        used = valid & (square <= limit)
        share = _running_mean(used.astype(np.float64), side)
        enough = share > 0.05
        mean = _running_mean(np.where(used, square, 0.0), side)
        mean = np.where(enough, mean / np.maximum(share, 0.05), overall.rms**2)
        mean = np.maximum(mean, 1e-6 * overall.rms**2)
        limit = sigma**2 * mean
    logarithm = 0.5 * np.log(mean)
    known = np.isfinite(data) & enough
    if not known.any():  # a map much smaller than the window
        return np.full(data.shape, overall.rms / CLIPPED_GAUSSIAN_RMS)
    independent = (1.5 * side) ** 2 * float(share[known].mean()) / correlated_area
    middle, scatter = float(logarithm[known].mean()), float(logarithm[known].var())
    trust = max(0.0, 1.0 - 0.5 / max(independent, 1.0) / scatter) if scatter > 0 else 0.0
    return np.exp(middle + trust * (logarithm - middle)) / CLIPPED_GAUSSIAN_RMS


def _running_mean(data: FloatArray, side: int) -> FloatArray:
    """Return the mean over a square window of odd side, taken twice: triangular weights."""
    half = side // 2
    data = np.pad(data, half)  # the first mean reaches beyond the border, and the second looks there
    for _ in range(2):
        data = ndimage.uniform_filter(data, size=side, mode="constant")
    return data[half : data.shape[0] - half, half : data.shape[1] - half]


@dataclass(frozen=True, eq=False)
class _Spectrum:
    """Power spectrum of a flattened map on a grid of side 2 reach + 1, and what follows from it."""

    power: FloatArray
    flattening: FloatArray
    beam_covariance: FloatArray
    reach: int
    assumed: bool

    def seen(self, covariance: FloatArray) -> FloatArray:
        """Return the transform of a Gaussian source of peak 1 in the flattened map."""
        return _gaussian_transfer(covariance, self.reach) * self.flattening

    def filter_transfer(self, size: float) -> FloatArray:
        """Return template / power for a template of `size` beams, of response 1 to the template."""
        template = self.seen(size**2 * self.beam_covariance)
        transfer = template / self.power
        return transfer / float(np.mean(transfer * template))


def _measure_spectrum(data: FloatArray, *, mask: BoolArray, beam_covariance: FloatArray) -> _Spectrum:
    """Return the tapered spectrum of a flattened map, or one assumed where it cannot be measured."""
    fwhm = beam_fwhm(beam_covariance)
    reach = math.ceil(SPECTRUM_LAG * fwhm)
    flattening = _flattening_transfer(reach, FLATTEN_SIZE * fwhm / FWHM_PER_SIGMA)
    lags = autocovariance(data, max_lag=reach, mask=mask)
    assumed = not np.isfinite(lags).all() or not lags[reach, reach] > 0
    if assumed:
        model = beam_covariance_model(beam_covariance, rms=1.0, max_lag=reach)
        power = power_spectrum(model.lags) * flattening**2
    else:
        power = power_spectrum(lags * parzen_taper(reach))
    return _Spectrum(_raised(power), flattening, beam_covariance, reach, assumed)


def _raised(power: FloatArray) -> FloatArray:
    return np.maximum(power, POWER_FLOOR * float(np.median(power[power > 0])))


def _flattening_transfer(reach: int, sigma: float) -> FloatArray:
    """Return what `flatten` does to a wave, on the grid of the spectrum."""
    unit = np.zeros((2 * reach + 1, 2 * reach + 1))
    unit[reach, reach] = 1.0
    return 1.0 - power_spectrum(_smooth(unit, sigma))


def _gaussian_transfer(covariance: FloatArray, reach: int) -> FloatArray:
    """Return the Fourier transform of a Gaussian of peak 1, on the grid of the spectrum."""
    frequency = 2.0 * np.pi * fft.fftfreq(2 * reach + 1)
    ky, kx = frequency[:, None], frequency
    exponent = covariance[0, 0] * kx * kx + 2.0 * covariance[0, 1] * kx * ky + covariance[1, 1] * ky * ky
    result: FloatArray = 2.0 * np.pi * math.sqrt(float(np.linalg.det(covariance))) * np.exp(-0.5 * exponent)
    return result


def _centre(transfer: FloatArray, *, radius: int) -> FloatArray:
    """Return the kernel of a transfer function, cut at a radius in pixels."""
    kernel = fft.fftshift(fft.ifft2(transfer).real)
    middle = kernel.shape[0] // 2
    result: FloatArray = kernel[middle - radius : middle + radius + 1, middle - radius : middle + radius + 1]
    return result


def _correlated_area(power: FloatArray) -> float:
    """Return how many pixels of a Gaussian field of this power count as one for its mean square.

    The correlation of squares is the square of the correlation; its sum follows from Parseval.
    """
    return float(np.mean(power**2) / np.mean(power) ** 2)


def _ring(spectrum: _Spectrum, template_size: float) -> FloatArray:
    """Return the largest response around sources of all plausible shapes, in units of their own."""
    fwhm, transfer = beam_fwhm(spectrum.beam_covariance), spectrum.filter_transfer(template_size)
    radius = min(math.ceil(RING_REACH * fwhm), spectrum.reach)
    largest = np.zeros((2 * radius + 1, 2 * radius + 1))
    for size, ratio, i in itertools.product(RING_SIZES, RING_RATIOS, range(RING_ANGLES)):
        if ratio == 1.0 and i > 0:
            continue
        root = math.sqrt(ratio)
        shape = covariance_from_ellipse(size * fwhm * root, size * fwhm / root, math.pi * i / RING_ANGLES)
        response = _centre(transfer * spectrum.seen(shape), radius=radius)
        np.maximum(largest, response / response[radius, radius], out=largest)
    return largest
