"""Two concentric Gaussians: their sum, derivatives, flux and moments."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from hyper_py.numerics import concentric, gaussians

BOTH = np.array([3.0, 21.3, 18.6, 3.1, 2.2, 0.7, 1.4, 2.1])


def test_the_sum_is_that_of_both_gaussians():
    y, x = (axis.ravel().astype(float) for axis in np.mgrid[:40, :44])
    value, _ = concentric.concentric_and_jacobian(BOTH, y, x)
    outer = [1.4, 21.3, 18.6, 2.1 * 3.1, 2.1 * 2.2, 0.7]
    np.testing.assert_allclose(value, gaussians.gaussian_sum(np.array([BOTH[:6], outer]), y, x))


@pytest.mark.parametrize("place", [(18.6, 21.3), (20.0, 25.0), (12.5, 20.1)])
def test_derivatives_are_those_of_finite_differences(place):
    y, x = (np.array([axis]) for axis in place)
    _, jacobian = concentric.concentric_and_jacobian(BOTH, y, x)
    expected = approx_fprime(BOTH, lambda p: concentric.concentric_and_jacobian(p, y, x)[0][0], 1e-6)
    np.testing.assert_allclose(jacobian[:, 0], expected, atol=2e-5)


@pytest.mark.parametrize("inner", [3.0, 0.0])
def test_the_gaussian_that_stands_for_both_has_their_flux_and_moments(inner):
    both = np.array([inner, *BOTH[1:]])
    y, x = (axis.ravel().astype(float) for axis in np.mgrid[-60:100, -60:104])
    value, _ = concentric.concentric_and_jacobian(both, y, x)
    gaussian = concentric.as_gaussian(both)
    assert gaussians.gaussian_flux(gaussian[None])[0] == pytest.approx(value.sum(), rel=1e-9)
    away = np.stack([x - BOTH[gaussians.X], y - BOTH[gaussians.Y]])
    moments = (value * away) @ away.T / value.sum()
    np.testing.assert_allclose(moments, gaussians.source_covariance(gaussian), rtol=1e-6)
