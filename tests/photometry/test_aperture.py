"""Apertures against closed forms and photutils."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from photutils.aperture import EllipticalAperture

from hyper_py.numerics import gaussians
from hyper_py.photometry.aperture import (
    aperture_fraction,
    aperture_on_pixels,
    elliptical_apertures,
    flux_gradient,
    source_apertures,
)


def sum_in(data, aperture):
    """Sum an image over an aperture."""
    y, x = (a.ravel() for a in np.indices(data.shape))
    return aperture_on_pixels(aperture, y, x) @ data.ravel()


def ellipse(x, y, **shape):
    """Return one aperture."""
    shape = {name: np.array([value]) for name, value in shape.items()}
    return elliptical_apertures(np.array([x]), np.array([y]), **shape)[0]


def enclosed_fraction(k):
    """The share of a Gaussian inside the ellipse of semi-axes k FWHM."""
    return 1.0 - 2.0 ** (-4.0 * k**2)


@given(st.floats(5, 25), st.floats(5, 25), st.floats(0.3, 6), st.floats(0.2, 1.0), st.floats(-4, 4))
def test_area_is_that_of_the_ellipse(x, y, major, ratio, theta):
    aperture = ellipse(x, y, semi_major=major, semi_minor=major * ratio, theta=theta)
    assert aperture.weights.sum() == pytest.approx(np.pi * major**2 * ratio, rel=1e-10)
    assert aperture.weights.max() <= 1 + 1e-12


@given(st.floats(-1, 31), st.floats(-1, 31), st.floats(1, 6), st.floats(0, 3.14))
def test_sum_is_that_of_photutils(x, y, major, theta):
    data = np.random.default_rng(1).normal(size=(30, 31))
    aperture = ellipse(x, y, semi_major=major, semi_minor=0.6 * major, theta=theta)
    expected = EllipticalAperture((x, y), major, 0.6 * major, theta=theta).do_photometry(
        data, method="exact"
    )[0][0]
    assert sum_in(data, aperture) == pytest.approx(np.nan_to_num(expected), abs=1e-9)


def test_many_at_once_are_those_one_by_one():
    rng = np.random.default_rng(2)
    x, y, major = rng.uniform(5, 25, (3, 300))
    shape = {"semi_major": major, "semi_minor": 0.7 * major, "theta": rng.uniform(0, 3, 300)}
    for i, aperture in enumerate(elliptical_apertures(x, y, **shape)):
        alone = ellipse(x[i], y[i], **{name: values[i] for name, values in shape.items()})
        assert (aperture.y0, aperture.x0) == (alone.y0, alone.x0)
        np.testing.assert_allclose(aperture.weights, alone.weights, atol=1e-13)


@pytest.mark.parametrize("k", [0.5, 1.0, 1.4])
def test_gaussian_inside_its_own_aperture(k):
    source = np.array([2.0, 40.3, 39.6, 6.0, 4.0, 0.7])
    data = gaussians.render(source[None], (81, 81), n_sigma=12)
    total = sum_in(data, source_apertures(source[None], radius_in_fwhm=k)[0])
    assert total / gaussians.gaussian_flux(source) == pytest.approx(enclosed_fraction(k), rel=4e-3)


@pytest.mark.parametrize("k", [0.5, 1.0])
@pytest.mark.parametrize("sigma", [1.2, 1.5, 8.0])
def test_fraction_makes_the_corrected_flux_exact(k, sigma):
    source = np.array([3.0, 60.2, 59.7, sigma, 0.8 * sigma, 0.5])
    data = gaussians.render(source[None], (121, 121), n_sigma=9)
    aperture = source_apertures(source[None], radius_in_fwhm=k)[0]
    fraction = aperture_fraction(source, aperture)
    assert sum_in(data, aperture) / fraction == pytest.approx(gaussians.gaussian_flux(source), rel=1e-9)
    assert fraction == pytest.approx(enclosed_fraction(k), abs=0.15 / sigma**2)


def test_flux_gradient_is_the_derivative():
    parameters = np.array([[2.0, 1, 1, 1.5, 1.1, 0.3], [1.0, 4, 4, 2.0, 1.0, 0.1]])
    gradient = flux_gradient(parameters)
    for k in range(12):
        step = np.zeros(12)
        step[k] = 1e-6
        step = step.reshape(2, 6)
        change = gaussians.gaussian_flux(parameters + step) - gaussians.gaussian_flux(parameters - step)
        np.testing.assert_allclose(gradient[:, k], change / 2e-6, atol=1e-7)
