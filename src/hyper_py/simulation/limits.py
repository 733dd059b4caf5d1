"""Cramer-Rao limits: how well a source could be measured at best in noise of known covariance.

No unbiased estimator has a covariance smaller than the inverse of the Fisher matrix J^T C^-1 J (Kay 1993,
Fundamentals of Statistical Signal Processing, section 3.9), J being the derivatives of the model and C the
covariance of noise and random background together. It is computed exactly on a window of pixels, with the
parameters of all sources in the window free, and the local mean too: everything that an observer who knows
C, and nothing else, has to find out. In a window three beams in radius it is within a few percent of what a
larger one gives.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from hyper_py.arrays import BoolArray, FloatArray, IndexArray
from hyper_py.geometry import FWHM_PER_SIGMA, covariance_from_ellipse

RIDGE = 1e-10
"""Share of the variance added as white noise, so that covariances without any can be factored."""


class Limits(NamedTuple):
    """Smallest possible 1-sigma errors of one Gaussian: numbers, or arrays of shape (n,).

    Amplitude in the unit of the map, flux in that unit times pixels, lengths in pixels, angle in radians.
    """

    amplitude: FloatArray
    flux: FloatArray
    x: FloatArray
    y: FloatArray
    fwhm_major: FloatArray
    fwhm_minor: FloatArray
    fwhm_geom: FloatArray
    theta: FloatArray


def source_limits(
    *,
    x: FloatArray,
    y: FloatArray,
    amplitude: FloatArray,
    fwhm_major: FloatArray,
    fwhm_minor: FloatArray,
    theta: FloatArray,
    autocovariance: FloatArray,
    valid: BoolArray,
    radius: int,
    scale: FloatArray | None = None,
    noise_autocovariance: FloatArray | None = None,
    free_mean: bool = True,
) -> Limits:
    """Return the Cramer-Rao limits of every source of a map.

    Parameters
    ----------
    x, y, amplitude, fwhm_major, fwhm_minor, theta : ndarray, shape (n,)
        Zero-based pixels; unit of the map; FWHM in pixels; radians from +x to the major axis.
    autocovariance : ndarray, shape (2 k + 1, 2 k + 1)
        Of noise and random background together, lag 0 in the middle, k >= 2 radius.
    valid : ndarray of bool, shape (ny, nx)
        Pixels that are not blank.
    radius : int
        Of the circular window around each source, pixels.
    scale : ndarray, shape (n,), optional
        Noise rms at each source over that of `noise_autocovariance`, where the noise varies.
    noise_autocovariance : ndarray, shape (2 k + 1, 2 k + 1), optional
        Part of `autocovariance` that `scale` applies to, squared; all of it by default.
    free_mean : bool
        Whether the local mean is unknown.

    Returns
    -------
    Limits
        Arrays of shape (n,); infinite where the window does not determine the source.
    """
    scale = np.ones(x.size) if scale is None else np.exp(np.round(np.log(scale), 2))
    noise = autocovariance if noise_autocovariance is None else noise_autocovariance
    shapes = covariance_from_ellipse(fwhm_major, fwhm_minor, theta)
    factors: dict[tuple[bytes, float], tuple[FloatArray, bool]] = {}
    rows = np.full((x.size, len(Limits._fields)), np.inf)
    for i in range(x.size):
        dy, dx = _window(x[i], y[i], radius, valid)
        key = (np.stack([dy, dx]).tobytes(), float(scale[i]))
        if key not in factors:
            lags = autocovariance + (scale[i] ** 2 - 1.0) * noise
            factors[key] = cho_factor(window_covariance(lags, dy, dx), lower=True)
        near = np.hypot(x - x[i], y - y[i]) < radius
        members = np.concatenate([[i], np.flatnonzero(near & (np.arange(x.size) != i))])
        py, px = dy + round(y[i]), dx + round(x[i])
        columns = [gaussian_derivatives(px, py, x[k], y[k], amplitude[k], shapes[k]) for k in members]
        jacobian = np.column_stack([*columns, np.ones(px.size)] if free_mean else columns)
        covariance = parameter_covariance(jacobian, factors[key])
        rows[i] = derived_errors(covariance[:6, :6], amplitude[i], shapes[i])
    return Limits(*rows.T)


def _window(x: float, y: float, radius: int, valid: BoolArray) -> tuple[IndexArray, IndexArray]:
    """Return the offsets of the valid pixels in a disc around the pixel nearest to a source."""
    dy, dx = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    py, px = dy + round(y), dx + round(x)
    keep = (dy**2 + dx**2 <= radius**2) & (py >= 0) & (px >= 0)
    keep &= (py < valid.shape[0]) & (px < valid.shape[1])
    keep[keep] = valid[py[keep], px[keep]]
    return dy[keep], dx[keep]


def window_covariance(autocovariance: FloatArray, y: IndexArray, x: IndexArray) -> FloatArray:
    """Return the covariance matrix (n, n) of n pixels from the autocovariance, lag 0 in the middle."""
    middle = autocovariance.shape[0] // 2
    covariance: FloatArray = autocovariance[y[:, None] - y + middle, x[:, None] - x + middle]
    covariance[np.diag_indices(y.size)] *= 1.0 + RIDGE
    return covariance


def gaussian_derivatives(
    px: IndexArray, py: IndexArray, x: float, y: float, amplitude: float, shape: FloatArray
) -> FloatArray:
    """Return the derivatives (n, 6) of A exp(-d^T S^-1 d / 2) by A, x, y, S_xx, S_yy, S_xy at n pixels."""
    d = np.stack([px - x, py - y])
    v = np.linalg.solve(shape, d)
    unit = np.exp(-0.5 * np.sum(d * v, axis=0))
    g = amplitude * unit
    by_shape = 0.5 * g * v[0] ** 2, 0.5 * g * v[1] ** 2, g * v[0] * v[1]
    derivatives: FloatArray = np.stack([unit, g * v[0], g * v[1], *by_shape], axis=1)
    return derivatives


def parameter_covariance(jacobian: FloatArray, factor: tuple[FloatArray, bool]) -> FloatArray:
    """Return the inverse Fisher matrix (p, p); infinite on the diagonal if it has none.

    Columns are scaled to unit information first, so that parameters of any unit mix.
    """
    fisher = jacobian.T @ cho_solve(factor, jacobian)
    norm = np.sqrt(np.diag(fisher))
    scaled = fisher / np.outer(norm, norm) if np.all(norm > 0) else np.zeros_like(fisher)
    try:
        inverse = np.linalg.inv(np.linalg.cholesky(scaled))
    except np.linalg.LinAlgError:
        return np.diag(np.full(norm.size, np.inf))
    covariance: FloatArray = inverse.T @ inverse / np.outer(norm, norm)
    return covariance


def derived_errors(covariance: FloatArray, amplitude: float, shape: FloatArray) -> FloatArray:
    """Return the errors named in `Limits` from the covariance (6, 6) of `gaussian_derivatives`' parameters.

    The axes are functions of the eigenvalues of S, the angle one of its eigenvectors; the angle of a
    circle is undetermined (infinite).
    """
    if not np.isfinite(covariance).all():
        return np.full(len(Limits._fields), np.inf)
    (minor2, major2), vectors = np.linalg.eigh(shape)
    p, q = vectors[:, 1], vectors[:, 0]
    flux = 2.0 * math.pi * amplitude * math.sqrt(major2 * minor2)
    geom = FWHM_PER_SIGMA * (major2 * minor2) ** 0.25
    inverse = _gradient(np.linalg.inv(shape))
    split = major2 - minor2
    rows = np.zeros((8, 6))
    rows[0, 0] = rows[2, 1] = rows[3, 2] = 1.0
    rows[1] = np.concatenate([[flux / amplitude, 0.0, 0.0], 0.5 * flux * inverse])
    rows[4, 3:] = 0.5 * FWHM_PER_SIGMA / math.sqrt(major2) * _gradient(np.outer(p, p))
    rows[5, 3:] = 0.5 * FWHM_PER_SIGMA / math.sqrt(minor2) * _gradient(np.outer(q, q))
    rows[6, 3:] = 0.25 * geom * inverse
    if split > 1e-9 * major2:
        rows[7, 3:] = _gradient(0.5 * (np.outer(p, q) + np.outer(q, p))) / split
    errors: FloatArray = np.sqrt(np.einsum("ij,jk,ik->i", rows, covariance, rows))
    errors[7] = errors[7] if split > 1e-9 * major2 else np.inf
    return errors


def _gradient(matrix: NDArray[Any]) -> FloatArray:
    """Return d tr(M S) by (S_xx, S_yy, S_xy) for a symmetric M."""
    return np.array([matrix[0, 0], matrix[1, 1], 2.0 * matrix[0, 1]])
