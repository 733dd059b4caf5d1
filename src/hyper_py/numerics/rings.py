"""Elliptical rings: values and analytic derivatives.

A ring is a Gaussian whose centre is spread evenly over an ellipse of its own shape: seven numbers, those of
the Gaussian (`hyper_py.numerics.gaussians`) and the radius k of the ellipse in units of its sigmas. With t
the distance from the centre in the same units its value is A exp(-(t^2 + k^2) / 2) I0(t k), the density of
Rice (1945, Bell Syst. Tech. J. 24, 46) over t: a Gaussian for k = 0, flat on top near k = 1.4, hollow beyond.
Its flux is that of the Gaussian, and its second moments are larger by 1 + k^2 / 2.
"""

import numpy as np
from scipy import special

from hyper_py.arrays import FloatArray
from hyper_py.numerics import gaussians

N_PARAMETERS = gaussians.N_PARAMETERS + 1
RADIUS = gaussians.N_PARAMETERS


def ring_and_jacobian(parameters: FloatArray, y: FloatArray, x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return a ring and its derivatives by every parameter.

    Parameters
    ----------
    parameters : ndarray, shape (7,)
    y, x : ndarray, shape (n_points,)

    Returns
    -------
    value : ndarray, shape (n_points,)
    jacobian : ndarray, shape (7, n_points)
    """
    amplitude, x0, y0, sigma_1, sigma_2, theta, k = parameters
    cos, sin = np.cos(theta), np.sin(theta)
    dx, dy = x - x0, y - y0
    u, v = (cos * dx + sin * dy) / sigma_1, (cos * dy - sin * dx) / sigma_2
    t = np.hypot(u, v)
    envelope = np.exp(-0.5 * (t - k) ** 2)
    shape, slope = envelope * special.i0e(t * k), envelope * special.i1e(t * k)
    # The derivative by t over t, which stays finite at the centre.
    over_t = k * np.where(t > 1e-8, slope / np.maximum(t, 1e-8), 0.5 * k * envelope) - shape
    ratio = sigma_1 / sigma_2
    by_u_v = (
        (-cos / sigma_1, sin / sigma_2), (-sin / sigma_1, -cos / sigma_2), (-u / sigma_1, 0.0),
        (0.0, -v / sigma_2), (v / ratio, -u * ratio),
    )  # fmt: skip
    jacobian = np.empty((N_PARAMETERS, x.size))
    jacobian[gaussians.AMPLITUDE] = shape
    for row, (by_u, by_v) in enumerate(by_u_v, start=gaussians.X):
        jacobian[row] = amplitude * over_t * (u * by_u + v * by_v)
    jacobian[RADIUS] = amplitude * (t * slope - k * shape)
    return amplitude * shape, jacobian


def as_gaussian(ring: FloatArray) -> FloatArray:
    """Return the Gaussian (6,) with the flux and the second moments of a ring (7,)."""
    wider = 1.0 + 0.5 * ring[RADIUS] ** 2
    gaussian = ring[:RADIUS].copy()
    gaussian[gaussians.AMPLITUDE] /= wider
    gaussian[[gaussians.SIGMA_1, gaussians.SIGMA_2]] *= np.sqrt(wider)
    return gaussian


def from_moments(flux: float, place: FloatArray, covariance: FloatArray, *, radius: float) -> FloatArray:
    """Return the ring (7,) with a flux, a centre (x, y), second moments (2, 2) and a radius."""
    major, minor, theta = gaussians.shape_parameters(covariance[None])[0]
    major, minor = (sigma / np.sqrt(1.0 + 0.5 * radius**2) for sigma in (major, minor))
    return np.array([flux / (2.0 * np.pi * major * minor), *place, major, minor, theta, radius])
