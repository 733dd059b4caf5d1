"""Shapes of sources as covariances xx, xy, yy in arcsec^2, east and north on the plane of the bands."""

import numpy as np

from hyper_py.arrays import FloatArray
from hyper_py.geometry import Ellipse, ellipse_from_covariance


def symmetric(shape: FloatArray) -> FloatArray:
    """Return the matrices (..., 2, 2) of covariances xx, xy, yy, shape (..., 3)."""
    return np.stack(
        [
            np.stack([shape[..., 0], shape[..., 1]], axis=-1),
            np.stack([shape[..., 1], shape[..., 2]], axis=-1),
        ],
        axis=-2,
    )


def unique_elements(covariance: FloatArray) -> FloatArray:
    """Return xx, xy, yy, shape (..., 3), of symmetric matrices (..., 2, 2)."""
    return np.stack([covariance[..., 0, 0], covariance[..., 0, 1], covariance[..., 1, 1]], axis=-1)


def determinant(shape: FloatArray) -> FloatArray:
    """Return xx yy - xy^2, shape (...)."""
    result: FloatArray = shape[..., 0] * shape[..., 2] - shape[..., 1] ** 2
    return result


def sky_ellipses(shape: FloatArray) -> Ellipse:
    """Return FWHM in arcsec, and position angles in degrees east of north, in [0, 180)."""
    ellipse = ellipse_from_covariance(symmetric(shape))
    return Ellipse(ellipse.major, ellipse.minor, np.mod(90.0 - np.degrees(ellipse.angle), 180.0))


def bounded(shape: FloatArray, *, low: FloatArray | float, high: FloatArray | float) -> FloatArray:
    """Return covariances (n, 3) with eigenvalues within [low, high], numbers or one for each, (n,)."""
    value, vector = np.linalg.eigh(symmetric(shape))
    inside = np.clip(value, np.reshape(low, (-1, 1)), np.reshape(high, (-1, 1)))
    return unique_elements((vector * inside[..., None, :]) @ np.swapaxes(vector, -1, -2))
