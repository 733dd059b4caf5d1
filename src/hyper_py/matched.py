"""Detection by the filter that is optimal for a source in the noise and background that the map itself shows.

The map is flattened (its local mean removed), its power spectrum measured outside sources, and the filter is
template / power spectrum in Fourier space. Its output is the amplitude of a source at each pixel, which is
compared with the output's own local noise. A source that is not of the template's size leaves a ring in the
output, up to a fifth of its peak; a peak counts only by what it has more than brighter neighbours explain.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage, signal
from scipy.spatial import KDTree

from hyper_py.detection import (
    Peaks,
    convolve_kernel,
    daofind_kernel,
    daofind_statistics,
    empty_peaks,
    inside_margin,
    local_maxima,
    refine_positions,
    shoulder_score,
)
from hyper_py.geometry import FWHM_PER_SIGMA, FloatArray, covariance_from_ellipse
from hyper_py.noise import (
    autocovariance,
    beam_covariance_model,
    clipped_statistics,
    parzen_taper,
    power_spectrum,
)

BoolArray = NDArray[np.bool_]

TEMPLATE_SIZE = 1.1
"""Size of the template in beams: sources are rarely smaller than the beam, and often a little larger."""
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
TAIL_START = 2.5
"""False peaks are counted above this significance."""


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
    """

    kernel: FloatArray
    flattening: float
    noise: FloatArray
    ring: FloatArray
    sources: BoolArray
    beam_covariance: FloatArray
    assumed: bool

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
    reach = math.ceil(SPECTRUM_LAG * fwhm)
    template = TEMPLATE_SIZE**2 * beam_covariance
    sources, level, noise = np.zeros(data.shape, dtype=bool), np.ones(data.shape), np.ones(data.shape)
    for _ in range(N_ROUNDS):
        power = _measured_power(np.where(valid, flat / level, np.nan), mask=sources, reach=reach)
        assumed = power is None
        if power is None:
            model = beam_covariance_model(beam_covariance, rms=1.0, max_lag=reach)
            power = _raised(power_spectrum(model.lags) * _flattening_transfer(reach, flattening) ** 2)
        transfer = _filter_transfer(power, template=template, reach=reach, flattening=flattening)
        kernel = _centre(transfer, radius=min(math.ceil(KERNEL_RADIUS * fwhm), reach))
        filtered = correlate(flat, kernel)
        noise = local_noise(
            np.where(valid, filtered, np.nan), mask=sources, window=NOISE_WINDOW * fwhm,
            correlated_area=_correlated_area(np.abs(transfer) ** 2 * power),
        )  # fmt: skip
        y, x = local_maxima(
            np.where(valid, filtered / noise, -np.inf),
            footprint=disc(SEPARATION * fwhm),
            threshold=MASK_THRESHOLD,
        )
        sources = disc_mask(data.shape, x=x, y=y, radius=MASK_RADIUS * fwhm)
        level = noise / float(np.median(noise[valid]))
    ring = _ring(transfer, beam_covariance=beam_covariance, reach=reach, flattening=flattening)
    return MatchedFilter(kernel, flattening, noise, ring, sources, beam_covariance, assumed)


def detect_matched(
    data: FloatArray,
    *,
    beam_covariance: FloatArray,
    sigma_threshold: float = 4.0,
    max_false_rate: float | None = None,
    matched_filter: MatchedFilter | None = None,
    roundlim: tuple[float, float] = (-4.0, 4.0),
    sharplim: tuple[float, float] = (-2.0, 2.0),
    min_distance: float = 0.0,
    margin: float = 0.0,
    shoulder_threshold: float | None = None,
    shoulder_ring_factor: float = 1.5,
    shoulder_n_angles: int = 16,
    shoulder_neighbor_mask: float = 1.0,
) -> Peaks:
    """Find peaks with the filter that is optimal in the map's own noise.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
        Map; blank pixels are NaN.
    beam_covariance : ndarray, shape (2, 2)
        Pixels^2, order (x, y).
    sigma_threshold : float
        In units of the filtered map's local noise.
    max_false_rate : float, optional
        Number of false detections to expect in the map; if given, it sets the threshold instead.
    matched_filter : MatchedFilter, optional
        From `measure_filter` on this map; measured if None.
    min_distance : float
        Of peaks closer than this in pixels the more significant stays; 0: 0.6 beams.
    roundlim, sharplim, margin, shoulder_threshold, shoulder_ring_factor, shoulder_n_angles
        As in `detect_high_pass`, on the flattened map.
    shoulder_neighbor_mask
        As in `detect_high_pass`.

    Returns
    -------
    Peaks
        Most significant first; `snr` is the significance of what brighter neighbours do not explain.
    """
    if not np.isfinite(data).any():
        return empty_peaks()
    optimal = matched_filter or measure_filter(data, beam_covariance=beam_covariance)
    filtered = optimal.apply(data)
    if max_false_rate is not None:
        sigma_threshold = threshold_for_false_rate(
            filtered / optimal.noise, mask=optimal.sources, fwhm=optimal.fwhm, number=max_false_rate
        )
    distance = min_distance or SEPARATION * optimal.fwhm
    y, x, snr = significant_peaks(
        filtered, matched_filter=optimal, threshold=sigma_threshold, distance=distance
    )
    inside = inside_margin(data.shape, x=x, y=y, margin=margin)
    flat = flatten(data, sigma=optimal.flattening)
    kernel = daofind_kernel(beam_covariance)
    shape = daofind_statistics(flat, convolve_kernel(flat, kernel.weights), kernel=kernel, x=x, y=y)
    keep = np.flatnonzero(inside & shape.within(roundlim, sharplim))
    keep = keep[np.argsort(-snr[keep], kind="stable")]
    x, y, shape = x[keep], y[keep], shape.select(keep)
    base = data - float(np.nanmean(data))
    x_fine, y_fine = refine_positions(filtered, x=x, y=y)
    score = shoulder_score(
        base, x=x_fine, y=y_fine, peak=base[y, x], radius=shoulder_ring_factor * optimal.fwhm,
        n_angles=shoulder_n_angles, neighbor_radius=shoulder_neighbor_mask * optimal.fwhm,
    )  # fmt: skip
    peaks = Peaks(
        x_fine, y_fine, base[y, x], snr[keep], shape.roundness, shape.roundness_marginal,
        shape.sharpness, score,
    )  # fmt: skip
    return peaks if shoulder_threshold is None else peaks.select(~(score > shoulder_threshold))


def detect_in_residual(
    residual: FloatArray,
    *,
    matched_filter: MatchedFilter,
    x: FloatArray,
    y: FloatArray,
    sigma_threshold: float,
    max_distance: float,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Find what a fit has left over near the sources that it fitted.

    Parameters
    ----------
    residual : ndarray, shape (ny, nx)
        Map minus model.
    matched_filter : MatchedFilter
        Measured on the map.
    x, y : ndarray, shape (n,)
        Positions of the fitted sources.
    sigma_threshold : float
        In units of the filtered map's local noise.
    max_distance : float
        Largest distance from a fitted source in pixels.

    Returns
    -------
    x, y, snr : ndarray, shape (m,)
        Most significant first.
    """
    if x.size == 0:
        return np.empty(0), np.empty(0), np.empty(0)
    filtered = matched_filter.apply(residual)
    row, column, snr = significant_peaks(
        filtered, matched_filter=matched_filter, threshold=sigma_threshold,
        distance=SEPARATION * matched_filter.fwhm,
    )  # fmt: skip
    tree: Any = KDTree(np.column_stack([x, y]))
    nearest, _ = tree.query(np.column_stack([column, row]))
    order = np.argsort(-snr, kind="stable")
    order = order[nearest[order] <= max_distance]
    x_fine, y_fine = refine_positions(filtered, x=column[order], y=row[order])
    return x_fine, y_fine, snr[order]


def significant_peaks(
    filtered: FloatArray, *, matched_filter: MatchedFilter, threshold: float, distance: float
) -> tuple[NDArray[np.intp], NDArray[np.intp], FloatArray]:
    """Return y, x and significance of peaks, less what rings of brighter ones explain, above a threshold."""
    significance = filtered / matched_filter.noise
    y, x = local_maxima(significance, footprint=disc(distance), threshold=threshold)
    if x.size == 0:
        return y, x, np.empty(0)
    amplitude = filtered[y, x]
    half = matched_filter.ring.shape[0] // 2
    pairs = KDTree(np.column_stack([x, y])).query_pairs(half * math.sqrt(2.0), output_type="ndarray")
    faint = np.where(amplitude[pairs[:, 0]] < amplitude[pairs[:, 1]], pairs[:, 0], pairs[:, 1])
    bright = pairs.sum(axis=1) - faint
    dx, dy = x[faint] - x[bright], y[faint] - y[bright]
    near = np.maximum(np.abs(dx), np.abs(dy)) <= half
    faint, bright, dx, dy = faint[near], bright[near], dx[near], dy[near]
    explained = np.zeros(x.size)
    np.maximum.at(explained, faint, amplitude[bright] * matched_filter.ring[half + dy, half + dx])
    snr = (amplitude - explained) / matched_filter.noise[y, x]
    keep = snr >= threshold
    return y[keep], x[keep], snr[keep]


def threshold_for_false_rate(
    significance: FloatArray, *, mask: BoolArray, fwhm: float, number: float
) -> float:
    """Return the significance above which a map is expected to hold a given number of false peaks.

    Negative peaks outside the sources are noise alone. The number of peaks of a Gaussian field above t falls
    as exp(-t^2 / 2 w^2) (Bond & Efstathiou 1987, MNRAS 226, 655, up to a slow factor); w, which is above 1
    where the tail is heavier, is the likeliest for those seen.

    Parameters
    ----------
    significance : ndarray, shape (ny, nx)
        Filtered map over its noise; blank pixels are NaN.
    mask : ndarray of bool, shape (ny, nx)
        True on sources.
    fwhm : float
        Beam in pixels.
    number : float
        Expected number of false detections in the whole map.

    Returns
    -------
    float
        Never below `TAIL_START`.
    """
    y, x = np.nonzero(mask)
    usable = np.isfinite(significance) & ~disc_mask(mask.shape, x=x, y=y, radius=fwhm)
    if not usable.any():
        return TAIL_START
    negative = np.where(usable, -significance, -np.inf)
    y, x = local_maxima(negative, footprint=disc(SEPARATION * fwhm), threshold=TAIL_START)
    count, excess = max(y.size, 1), negative[y, x] ** 2 - TAIL_START**2
    spread = float(excess.mean()) if y.size else 2.0
    expected = count * np.isfinite(significance).sum() / usable.sum()
    return math.sqrt(TAIL_START**2 + spread * max(math.log(expected / number), 0.0))


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


def disc_mask(
    shape: tuple[int, ...], *, x: NDArray[np.intp], y: NDArray[np.intp], radius: float
) -> BoolArray:
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


def _measured_power(data: FloatArray, *, mask: BoolArray, reach: int) -> FloatArray | None:
    """Return the tapered power spectrum, small values raised; None where it cannot be measured."""
    lags = autocovariance(data, max_lag=reach, mask=mask)
    if not np.isfinite(lags).all() or not lags[reach, reach] > 0:
        return None
    return _raised(power_spectrum(lags * parzen_taper(reach)))


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


def _filter_transfer(power: FloatArray, *, template: FloatArray, reach: int, flattening: float) -> FloatArray:
    """Return template / power for the flattened map, of response 1 to the template."""
    seen = _gaussian_transfer(template, reach) * _flattening_transfer(reach, flattening)
    transfer = seen / power
    return transfer / float(np.mean(transfer * seen))


def _centre(transfer: FloatArray, *, radius: int) -> FloatArray:
    """Return the kernel of a transfer function, cut at a radius in pixels."""
    kernel = fft.fftshift(fft.ifft2(transfer).real)
    middle = kernel.shape[0] // 2
    return kernel[middle - radius : middle + radius + 1, middle - radius : middle + radius + 1]


def _correlated_area(power: FloatArray) -> float:
    """Return how many pixels of a Gaussian field of this power count as one for its mean square.

    The correlation of squares is the square of the correlation; its sum follows from Parseval.
    """
    return float(np.mean(power**2) / np.mean(power) ** 2)


def _ring(transfer: FloatArray, *, beam_covariance: FloatArray, reach: int, flattening: float) -> FloatArray:
    """Return the largest response around sources of all plausible shapes, in units of their own."""
    fwhm = beam_fwhm(beam_covariance)
    radius = min(math.ceil(RING_REACH * fwhm), reach)
    common = transfer * _flattening_transfer(reach, flattening)
    largest = np.zeros((2 * radius + 1, 2 * radius + 1))
    for size in RING_SIZES:
        for ratio in RING_RATIOS:
            for i in range(RING_ANGLES if ratio > 1 else 1):
                root = math.sqrt(ratio)
                shape = covariance_from_ellipse(
                    size * fwhm * root, size * fwhm / root, math.pi * i / RING_ANGLES
                )
                response = _centre(common * _gaussian_transfer(shape, reach), radius=radius)
                np.maximum(largest, response / response[radius, radius], out=largest)
    return largest
