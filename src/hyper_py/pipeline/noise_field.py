"""The noise and background of a map as one random field: how it is correlated, and how strong it is where."""

import math
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from hyper_py.geometry import FloatArray
from hyper_py.numerics.noise import (
    CovarianceModel,
    autocovariance,
    beam_covariance_model,
    clipped_statistics,
    covariance_model,
    local_rms_map,
)

_FEWEST_BEAMS = 50
"""With fewer beams outside sources than this the covariance is assumed, not measured."""
_SMALL_SCALE_BEAMS = 1.0
"""The level that matters for a source is that of structure of its own size."""
BoolArray: TypeAlias = NDArray[np.bool_]

_REACH_BEAMS = 16.0
"""Largest separation of pixels in one window, in beams."""
_LEVEL_MESH_BEAMS = 20.0
"""Cells of the map of noise levels: some 400 beams each, so that a level is known to a few percent."""


def measure_noise(
    residual: FloatArray,
    mask: BoolArray,
    *,
    beam_covariance: FloatArray,
    beam_fwhm: float,
    relative: FloatArray | None = None,
) -> tuple[CovarianceModel, FloatArray]:
    """Return the covariance of a map's noise and background, and how its level varies over the map.

    Parameters
    ----------
    residual : ndarray, shape (ny, nx)
        Map, sources subtracted if they are known.
    mask : bool ndarray, shape (ny, nx)
        Sources and blank pixels.
    beam_covariance : ndarray, shape (2, 2)
        In pixels^2; its autocorrelation is assumed where the map is too small to measure another.
    beam_fwhm : float
        In pixels.
    relative : ndarray, shape (ny, nx), optional
        What is known beforehand of how the noise varies, such as an error map; what is left is measured.

    Returns
    -------
    covariance : CovarianceModel
        Of the residual divided by the level.
    level : ndarray, shape (ny, nx)
        Local rms over its median.
    """
    if relative is not None:
        even = measure_noise(residual / relative, mask, beam_covariance=beam_covariance, beam_fwhm=beam_fwhm)
        return even[0], even[1] * relative
    masked = np.where(mask, np.nan, residual)
    reach = math.ceil(_REACH_BEAMS * beam_fwhm)
    rms = clipped_statistics(masked).rms
    mesh = max(8, round(_LEVEL_MESH_BEAMS * beam_fwhm))
    level = np.ones(residual.shape)
    if min(residual.shape) >= 3 * mesh:
        local = local_rms_map(small_scales(masked, width=_SMALL_SCALE_BEAMS * beam_fwhm), mesh=mesh)
        # All NaN where no cell has enough pixels, or nothing varies.
        if np.isfinite(local).all():
            level = local / np.median(local[~mask])
    measurable = min(reach, min(residual.shape) // 3)
    n_beams = np.count_nonzero(np.isfinite(masked)) / beam_fwhm**2
    model = None
    if measurable >= beam_fwhm and n_beams >= _FEWEST_BEAMS:
        lags = autocovariance(masked / level, max_lag=measurable)
        model = covariance_model(extend_lags(lags, reach=reach))
    if model is None:
        model = beam_covariance_model(beam_covariance, rms=rms if rms > 0.0 else 1.0, max_lag=reach)
    return model, level


def small_scales(data: FloatArray, *, width: float) -> FloatArray:
    """Return a map minus its Gaussian-weighted local mean of sigma `width` pixels; NaN takes no part."""
    valid = np.isfinite(data)
    mean, weight = (
        ndimage.gaussian_filter(image, width, mode="constant", truncate=3.0)
        for image in (np.where(valid, data, 0.0), valid.astype(np.float64))
    )
    flattened: FloatArray = data - mean / np.where(valid, weight, 1.0)
    return flattened


def extend_lags(lags: FloatArray, *, reach: int) -> FloatArray:
    """Return an autocovariance out to `reach`, tapered to zero over its outer half (raised cosine)."""
    measured = lags.shape[0] // 2
    lag = np.minimum(np.abs(np.arange(-reach, reach + 1)), measured)
    taper = 0.5 + 0.5 * np.cos(np.pi * np.clip(2.0 * lag / measured - 1.0, 0.0, 1.0))
    full = np.zeros((2 * reach + 1, 2 * reach + 1))
    inner = slice(reach - measured, reach + measured + 1)
    full[inner, inner] = lags
    tapered: FloatArray = full * taper[:, None] * taper
    return tapered
