"""Two concentric Gaussians of one shape: discs and cores with wings, values and analytic derivatives.

Eight numbers: those of the inner Gaussian (`hyper_py.numerics.gaussians`), the amplitude of the outer one,
and how many times as wide that is.
"""

import numpy as np

from hyper_py.arrays import FloatArray
from hyper_py.numerics import gaussians

N_PARAMETERS = gaussians.N_PARAMETERS + 2
OUTER, WIDER = gaussians.N_PARAMETERS, gaussians.N_PARAMETERS + 1


def parts(parameters: FloatArray) -> FloatArray:
    """Return the inner and the outer Gaussian, (2, 6), of the numbers (8,) of both."""
    both = np.tile(parameters[: gaussians.N_PARAMETERS], (2, 1))
    both[1, gaussians.AMPLITUDE] = parameters[OUTER]
    both[1, [gaussians.SIGMA_1, gaussians.SIGMA_2]] *= parameters[WIDER]
    return both


def concentric_and_jacobian(
    parameters: FloatArray, y: FloatArray, x: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return two concentric Gaussians and the derivatives of their sum by every parameter.

    Parameters
    ----------
    parameters : ndarray, shape (8,)
    y, x : ndarray, shape (n_points,)

    Returns
    -------
    value : ndarray, shape (n_points,)
    jacobian : ndarray, shape (8, n_points)
    """
    value, both = gaussians.gaussian_sum_and_jacobian(parts(parameters)[None], y[None], x[None])
    inner, outer = both[0].reshape(2, gaussians.N_PARAMETERS, -1)
    sigmas = [gaussians.SIGMA_1, gaussians.SIGMA_2]
    jacobian = np.empty((N_PARAMETERS, x.size))
    jacobian[: gaussians.N_PARAMETERS] = inner + outer
    jacobian[gaussians.AMPLITUDE] = inner[gaussians.AMPLITUDE]
    jacobian[sigmas] = inner[sigmas] + parameters[WIDER] * outer[sigmas]
    jacobian[OUTER] = outer[gaussians.AMPLITUDE]
    jacobian[WIDER] = parameters[sigmas] @ outer[sigmas]
    return value[0], jacobian


def as_gaussian(parameters: FloatArray) -> FloatArray:
    """Return the Gaussian (6,) with the flux and the second moments of two concentric ones (8,)."""
    inner, outer = gaussians.gaussian_flux(parts(parameters))
    gaussian = parameters[: gaussians.N_PARAMETERS].copy()
    gaussian[[gaussians.SIGMA_1, gaussians.SIGMA_2]] *= np.sqrt(
        (inner + outer * parameters[WIDER] ** 2) / (inner + outer)
    )
    gaussian[gaussians.AMPLITUDE] = 1.0
    gaussian[gaussians.AMPLITUDE] = (inner + outer) / gaussians.gaussian_flux(gaussian)
    return gaussian
