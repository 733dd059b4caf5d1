"""The profile of a source in a band, and its derivatives."""

import numpy as np

from hyper_py.arrays import FloatArray


def unit_gaussian(offsets: FloatArray, shape: FloatArray) -> FloatArray:
    """Return a Gaussian of integral 1 per arcsec^2.

    Parameters
    ----------
    offsets : ndarray, shape (k, n, 2)
        Arcsec from the centres of k sources.
    shape : ndarray, shape (k, 3)
        Covariances xx, xy, yy in arcsec^2.

    Returns
    -------
    ndarray, shape (k, n)
    """
    return _value(offsets, shape)[0]


def unit_gaussian_and_derivatives(offsets: FloatArray, shape: FloatArray) -> FloatArray:
    """Return a Gaussian of integral 1 and its derivatives, shape (k, 6, n).

    In the order: value; derivatives by the position of the centre, east and north; by xx, xy, yy.
    Parameters as `unit_gaussian`.
    """
    value, by_x, by_y, inverse = _value(offsets, shape)
    result = np.empty((len(shape), 6, offsets.shape[1]))
    result[:, 0] = value
    result[:, 1], result[:, 2] = value * by_x, value * by_y
    result[:, 3] = 0.5 * value * (by_x * by_x - inverse[:, :1])
    result[:, 4] = value * (by_x * by_y - inverse[:, 1:2])
    result[:, 5] = 0.5 * value * (by_y * by_y - inverse[:, 2:])
    return result


def _value(offsets: FloatArray, shape: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return value, the inverse covariance times the offset (two parts), and the inverse (k, 3)."""
    xx, xy, yy = shape.T
    determinant = xx * yy - xy * xy
    inverse = np.column_stack([yy, -xy, xx]) / determinant[:, None]
    dx, dy = offsets[..., 0], offsets[..., 1]
    by_x = inverse[:, :1] * dx + inverse[:, 1:2] * dy
    by_y = inverse[:, 1:2] * dx + inverse[:, 2:] * dy
    norm = 1.0 / (2.0 * np.pi * np.sqrt(determinant))
    value: FloatArray = norm[:, None] * np.exp(-0.5 * (by_x * dx + by_y * dy))
    return value, by_x, by_y, inverse
