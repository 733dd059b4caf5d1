"""Weights of the pixels in fits of white noise: what each residual is multiplied by."""

import numpy as np

from hyper_py.arrays import FloatArray
from hyper_py.numerics import gaussians
from hyper_py.numerics.fit_pixels import FitPixels

WEIGHTS = ("inverse_rms", "snr", "power_snr", "map", "mask", "spatial")


def pixel_weights(
    kind: str | None,
    values: FloatArray,
    pixels: FitPixels,
    sources: FloatArray,
    *,
    power_snr: float,
    spatial_sigma: float,
    mean: float,
    std: float,
) -> FloatArray:
    """Return what each residual is multiplied by.

    Parameters
    ----------
    kind : str or None
        None: 1; inverse_rms: 1 / (std + |mean|); snr: max(d / std, 0); power_snr: its power; map: d;
        mask: 1 within 3 std of the mean, else 0; spatial: a Gaussian around the sources.
    values : ndarray, shape (n,)
        The map d on the fit pixels.
    pixels : FitPixels
    sources : ndarray, shape (n_sources, 6)
    power_snr : float
        Exponent of power_snr.
    spatial_sigma : float
        Of the Gaussian of spatial, in pixels.
    mean, std : float
        Clipped statistics of the surroundings.
    """
    if kind is None:
        return np.ones(values.shape)
    if kind == "inverse_rms":
        return np.full(values.shape, 1.0 / (std + abs(mean)))
    if kind == "snr":
        return np.maximum(values / std, 0.0)
    if kind == "power_snr":
        return np.maximum(values / std, 0.0) ** power_snr
    if kind == "map":
        return values.copy()
    if kind == "mask":
        return (np.abs(values - mean) <= 3.0 * std).astype(np.float64)
    if kind == "spatial":
        dy = pixels.y - sources[:, gaussians.Y, None]
        dx = pixels.x - sources[:, gaussians.X, None]
        nearest: FloatArray = np.exp(-0.5 * (dx**2 + dy**2) / spatial_sigma**2).max(axis=0)
        return nearest
    raise ValueError(f"weights must be null or one of {WEIGHTS}, not {kind!r}")


def per_rms(kind: str | None, rms: FloatArray) -> FloatArray:
    """Return what makes a weighted residual a number of standard deviations, times a weight without unit."""
    return np.ones(rms.shape) if kind == "inverse_rms" else rms ** (-2.0 if kind == "map" else -1.0)
