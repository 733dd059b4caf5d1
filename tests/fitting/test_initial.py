"""Second moments of sources against their definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyper_py.fitting.initial import second_moments
from hyper_py.numerics import gaussians


@given(st.floats(1.2, 4), st.floats(0.5, 1), st.floats(0, 3.14), st.floats(-0.5, 0.5), st.floats(1.5, 5))
@settings(deadline=None)
def test_second_moments_of_a_gaussian_are_exact(major, ratio, theta, shift, width):
    minor = max(major * ratio, 1.0)
    y, x = (a.ravel().astype(float) for a in np.mgrid[-40:41, -40:41])
    y, x = y + shift, x - shift
    values = 3.0 * gaussians.gaussian_sum(np.array([[1.0, 0, 0, major, minor, theta]]), y, x)
    covariance = second_moments(values, y, x, width=width)
    expected = gaussians.source_covariance(np.array([1.0, 0, 0, major, minor, theta]))
    np.testing.assert_allclose(covariance, expected, rtol=5e-3, atol=5e-3)


@pytest.mark.parametrize(
    "values", [np.zeros(9), -np.ones(9), np.eye(3).ravel() * 0 + [0, 0, 0, 0, 1, 0, 0, 0, 0]]
)
def test_second_moments_that_do_not_exist_are_nan(values):
    y, x = (a.ravel().astype(float) for a in np.mgrid[-1:2, -1:2])
    assert np.isnan(second_moments(values, y, x, width=1.0)).all()


def test_second_moments_wider_than_the_window_allows_are_nan():
    y, x = (a.ravel().astype(float) for a in np.mgrid[-9:10, -9:10])
    assert np.isnan(second_moments(x**2 + y**2, y, x, width=1.5)).all()
