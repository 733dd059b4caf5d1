"""A smooth background over a whole map, from the noise and background measured on the map.

The map without its sources is noise plus background, two random fields. Of their common power spectrum, the
part that has the shape of the beam, or none, is noise, the excess at long waves is background; the Wiener
filter P_b / (P_b + P_n) then is the linear estimate of the background with the smallest error (Wiener 1949;
Press et al. 2007, Numerical Recipes, section 13.3). Where sources were, the map says nothing: there its value
is what the filter expects from the surroundings. Nothing is cut into boxes, so nothing has seams.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy import fft, ndimage

from hyper_py.arrays import BoolArray, FloatArray
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.noise.covariance import autocovariance, clipped_statistics, local_rms_map
from hyper_py.noise.measure import extend_lags

_REACH_BEAMS = 16.0
_MESH_BEAMS = 20.0
_PAD_BEAMS = 6.0
_ITERATIONS = 8
_REJECT_ITERATIONS = (2, 4, 6)
_REJECT_SIGMA = 3.5
"""Pixels further from background plus noise belong to sources that were not found: they are masked too."""
_WHITE_BELOW, _BEAM_ABOVE = 1e-4, 0.02
"""Squared transfer of the beam: below the first all power is white, above the second the beam matters."""
_LONGEST_RINGS = 3
_FALLBACK_BEAMS = 3.0
"""FWHM of the smoothing where a map is too small to measure a spectrum on it."""


class Split(NamedTuple):
    """Background and noise in a map's power, on the half plane of `scipy.fft.rfft2`: (ny, nx // 2 + 1).

    Attributes
    ----------
    share : ndarray
        Of the background in the power: the Wiener filter; 1 for the mean.
    noise : ndarray
        Power of the noise.
    """

    share: FloatArray
    noise: FloatArray


def smooth_background(
    residual: FloatArray, mask: BoolArray, *, beam_covariance: FloatArray, beam_fwhm: float
) -> FloatArray:
    """Return the background of a map everywhere.

    Parameters
    ----------
    residual : ndarray, shape (ny, nx)
        Map minus sources; NaN where blank.
    mask : bool ndarray, shape (ny, nx)
        True where the map says nothing about the background: under the sources.
    beam_covariance : ndarray, shape (2, 2)
        Pixels^2, order (x, y).
    beam_fwhm : float
        In pixels.

    Returns
    -------
    ndarray, shape (ny, nx)
        In the unit of the map; NaN where it is blank.
    """
    known = np.isfinite(residual) & ~mask
    if not known.any():
        return np.full(residual.shape, np.nan)
    masked = np.where(known, residual, np.nan)
    mean = clipped_statistics(masked).mean
    relative_rms = _relative_rms(masked, beam_fwhm=beam_fwhm)
    scaled = (masked - mean) / relative_rms
    ny, nx = residual.shape
    pad = math.ceil(_PAD_BEAMS * beam_fwhm)
    grid = (fft.next_fast_len(ny + 2 * pad, real=True), fft.next_fast_len(nx + 2 * pad, real=True))
    split = _measured_split(scaled, grid, beam_covariance=beam_covariance, beam_fwhm=beam_fwhm)
    if split is None:
        share, noise = _gaussian_transfer(grid, _FALLBACK_BEAMS**2 * beam_covariance), np.inf
    else:
        share, noise = split.share, math.sqrt(_plane_mean(split.noise, grid[1]))
    trusted = known
    filled = np.where(known, scaled, fill_smoothly(scaled, known))
    smooth = filled
    for k in range(_ITERATIONS):
        smooth = _filtered(filled, share, grid)
        if k in _REJECT_ITERATIONS and np.isfinite(noise):
            far = np.abs(np.where(known, scaled, smooth) - smooth) > _REJECT_SIGMA * noise
            trusted = known & ~ndimage.binary_dilation(far)
        filled = np.where(trusted, scaled, smooth)
    background: FloatArray = np.where(np.isfinite(residual), mean + relative_rms * smooth, np.nan)
    return background


def _relative_rms(masked: FloatArray, *, beam_fwhm: float) -> FloatArray:
    """Return the local rms over its median, 1 on maps that are too small to see it vary."""
    mesh = max(8, round(_MESH_BEAMS * beam_fwhm))
    if min(masked.shape) < 3 * mesh:
        return np.ones(masked.shape)
    rms = local_rms_map(masked, mesh=mesh)
    if not np.isfinite(rms).all():
        return np.ones(masked.shape)
    relative: FloatArray = rms / np.median(rms[np.isfinite(masked)])
    return relative


def _measured_split(
    masked: FloatArray, grid: tuple[int, int], *, beam_covariance: FloatArray, beam_fwhm: float
) -> Split | None:
    """Return the split of a map's power on a grid; None if it is too small, or does not vary."""
    reach = min(math.ceil(_REACH_BEAMS * beam_fwhm), min(masked.shape) // 4)
    if reach < 2.0 * beam_fwhm:
        return None
    lags = autocovariance(masked, max_lag=reach)
    if not np.isfinite(lags).all() or not lags[reach, reach] > 0.0:
        return None
    tapered = extend_lags(lags, reach=reach)
    return split_spectrum(
        0.5 * (tapered + tapered[::-1, ::-1]), grid, beam_covariance=beam_covariance, beam_fwhm=beam_fwhm
    )


def split_spectrum(
    lags: FloatArray, grid: tuple[int, int], *, beam_covariance: FloatArray, beam_fwhm: float
) -> Split:
    """Split the power of a map into noise and background.

    Noise is A B(k)^2 + w: the white part w is the power where the beam's transfer B vanishes, A the smallest
    ratio of the rest to B^2 where the beam is not negligible; the background is the rest, averaged over waves
    of one length in beams. A background is made of long waves: its share in the power never rises towards
    shorter ones. So noise that is not that of the beam is not taken for background.

    Parameters
    ----------
    lags : ndarray, shape (2 reach + 1, 2 reach + 1)
        Autocovariance of the map, tapered to zero.
    grid : (int, int)
        At least as large.
    beam_covariance, beam_fwhm
        As for `smooth_background`.
    """
    reach = lags.shape[0] // 2
    power = _power_of_lags(lags, grid)
    wave = _wave_length_in_beams(grid, beam_covariance)
    beam = np.exp(-(wave**2))
    blind = beam < _WHITE_BELOW
    white = max(float(np.median(power[blind])), 0.0) if np.count_nonzero(blind) > 50 else 0.0
    # Waves closer than this cannot be separated within the reach of the lags.
    step = math.pi * beam_fwhm / (FWHM_PER_SIGMA * reach)
    ring = (wave / step).astype(np.intp)
    count = np.maximum(np.bincount(ring.ravel()), 1)
    mean_power, mean_beam = (np.bincount(ring.ravel(), values.ravel()) / count for values in (power, beam))
    shown = np.flatnonzero(mean_beam > _BEAM_ABOVE)
    ratio = ndimage.uniform_filter1d((mean_power[shown] - white) / mean_beam[shown], 3, mode="nearest")
    amplitude = max(float(ratio[min(_LONGEST_RINGS, ratio.size - 1) :].min()), 0.0)
    excess = np.maximum(mean_power - amplitude * mean_beam - white, 0.0)
    total = np.maximum(mean_power, amplitude * mean_beam + white)
    share = np.divide(excess, total, out=np.zeros_like(excess), where=total > 0.0)
    # The mean was subtracted from the map, and with it some power of the longest waves.
    share[:_LONGEST_RINGS] = share[:_LONGEST_RINGS].max()
    share = np.minimum.accumulate(share)
    filter_ = np.interp(wave, (np.arange(share.size) + 0.5) * step, share)
    filter_[0, 0] = 1.0
    return Split(filter_, amplitude * beam + white)


def _power_of_lags(lags: FloatArray, grid: tuple[int, int]) -> FloatArray:
    reach = lags.shape[0] // 2
    plane = np.zeros(grid)
    place = np.arange(-reach, reach + 1)
    plane[np.ix_(place, place)] = lags
    power: FloatArray = fft.rfft2(plane).real
    return power


def _wave_length_in_beams(grid: tuple[int, int], covariance: FloatArray) -> FloatArray:
    """Return 2 pi sqrt(k C k): the beam's transfer is exp(-half of its square)."""
    ky, kx = fft.fftfreq(grid[0])[:, None], fft.rfftfreq(grid[1])
    square = covariance[0, 0] * kx**2 + 2.0 * covariance[0, 1] * kx * ky + covariance[1, 1] * ky**2
    wave: FloatArray = 2.0 * math.pi * np.sqrt(square)
    return wave


def _gaussian_transfer(grid: tuple[int, int], covariance: FloatArray) -> FloatArray:
    transfer: FloatArray = np.exp(-0.5 * _wave_length_in_beams(grid, covariance) ** 2)
    return transfer


def _plane_mean(half: FloatArray, nx: int) -> float:
    """Return the mean over the whole plane of what is given on its half."""
    weight = np.full(half.shape[1], 2.0)
    weight[0] = 1.0
    if nx % 2 == 0:
        weight[-1] = 1.0
    return float((half @ weight).sum() / (half.shape[0] * nx))


def _filtered(image: FloatArray, transfer: FloatArray, grid: tuple[int, int]) -> FloatArray:
    """Filter an image, continued beyond its borders by its mirror image."""
    ny, nx = image.shape
    top, left = (grid[0] - ny) // 2, (grid[1] - nx) // 2
    margins = ((top, grid[0] - ny - top), (left, grid[1] - nx - left))
    padded = np.pad(image, margins, mode="symmetric")
    result: FloatArray = fft.irfft2(fft.rfft2(padded) * transfer, grid)[top : top + ny, left : left + nx]
    return result


def fill_smoothly(data: FloatArray, known: BoolArray) -> FloatArray:
    """Return an image whose unknown pixels are filled from ever coarser means of the known ones around.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
        Anything where it is not known.
    known : bool ndarray, shape (ny, nx)
        At least one pixel is.
    """
    if known.all():
        return data
    values = np.where(known, data, 0.0)
    if min(data.shape) < 2:
        return np.where(known, data, values.sum() / known.sum())
    ny, nx = (math.ceil(n / 2) for n in data.shape)
    weight = known.astype(np.float64)
    margins = ((0, 2 * ny - data.shape[0]), (0, 2 * nx - data.shape[1]))
    total, count = (np.pad(part, margins).reshape(ny, 2, nx, 2).sum(axis=(1, 3)) for part in (values, weight))
    means = fill_smoothly(np.divide(total, count, out=np.zeros_like(total), where=count > 0.0), count > 0.0)
    doubled = means.repeat(2, axis=0).repeat(2, axis=1)
    blurred = ndimage.uniform_filter(doubled, 3, mode="nearest")[: data.shape[0], : data.shape[1]]
    return np.where(known, data, blurred)
