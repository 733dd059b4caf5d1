"""Apertures against closed forms and photutils."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from photutils.aperture import EllipticalAperture

from hyper_py.numerics import models
from hyper_py.steps.photometry import (
    aperture_fraction,
    aperture_on_pixels,
    aperture_sum,
    elliptical_aperture,
    flux_gradient,
    model_in_aperture,
    source_aperture,
)


@given(st.floats(5, 25), st.floats(5, 25), st.floats(0.3, 6), st.floats(0.2, 1.0), st.floats(-4, 4))
def test_area_is_that_of_the_ellipse(x, y, major, ratio, theta):
    aperture = elliptical_aperture(x, y, semi_major=major, semi_minor=major * ratio, theta=theta)
    assert aperture.weights.sum() == pytest.approx(np.pi * major**2 * ratio, rel=1e-10)
    assert aperture.weights.max() <= 1 + 1e-12


@given(st.floats(-1, 31), st.floats(-1, 31), st.floats(1, 6), st.floats(0, 3.14))
def test_sum_is_that_of_photutils(x, y, major, theta):
    data = np.random.default_rng(1).normal(size=(30, 31))
    aperture = elliptical_aperture(x, y, semi_major=major, semi_minor=0.6 * major, theta=theta)
    expected = EllipticalAperture((x, y), major, 0.6 * major, theta=theta).do_photometry(
        data, method="exact"
    )[0][0]
    got = aperture_sum(data, aperture).total
    assert np.nan_to_num(got) == pytest.approx(np.nan_to_num(expected), abs=1e-9)


@pytest.mark.parametrize("k", [0.5, 1.0, 1.4])
def test_gaussian_inside_its_own_aperture(k):
    source = np.array([2.0, 40.3, 39.6, 6.0, 4.0, 0.7])
    data = models.render(source[None], (81, 81), n_sigma=12)
    total = aperture_sum(data, source_aperture(source, radius_in_fwhm=k)).total
    assert total / models.gaussian_flux(source) == pytest.approx(models.enclosed_fraction(k), rel=4e-3)


@pytest.mark.parametrize("k", [0.5, 1.0])
@pytest.mark.parametrize("sigma", [1.2, 1.5, 8.0])
def test_fraction_makes_the_corrected_flux_exact(k, sigma):
    source = np.array([3.0, 60.2, 59.7, sigma, 0.8 * sigma, 0.5])
    data = models.render(source[None], (121, 121), n_sigma=9)
    aperture = source_aperture(source, radius_in_fwhm=k)
    fraction = aperture_fraction(source, aperture)
    assert aperture_sum(data, aperture).total / fraction == pytest.approx(
        models.gaussian_flux(source), rel=1e-9
    )
    assert fraction == pytest.approx(models.enclosed_fraction(k), abs=0.15 / sigma**2)


def test_flux_gradient_is_the_derivative():
    parameters = np.array([[2.0, 1, 1, 1.5, 1.1, 0.3], [1.0, 4, 4, 2.0, 1.0, 0.1]])
    gradient = flux_gradient(parameters)
    for k in range(12):
        step = np.zeros(12)
        step[k] = 1e-6
        step = step.reshape(2, 6)
        change = models.gaussian_flux(parameters + step) - models.gaussian_flux(parameters - step)
        np.testing.assert_allclose(gradient[:, k], change / 2e-6, atol=1e-7)


def test_aperture_on_a_list_of_pixels():
    aperture = elliptical_aperture(6.2, 5.1, semi_major=3, semi_minor=2, theta=0.5)
    y, x = np.mgrid[:12, :13]
    weights = aperture_on_pixels(aperture, y.ravel(), x.ravel())
    assert weights.sum() == pytest.approx(6 * np.pi)
    data = np.random.default_rng(0).normal(size=(12, 13))
    assert weights @ data.ravel() == pytest.approx(aperture_sum(data, aperture).total)


def test_blank_pixels_and_the_border_are_filled_by_the_model():
    source = np.array([1.0, 3.0, 10.0, 2.0, 1.5, 0.4])
    whole = models.render(source[None], (21, 21))
    aperture = source_aperture(source, radius_in_fwhm=1.0)
    model = model_in_aperture(source, aperture)
    expected = float((aperture.weights * model).sum())
    data = whole.copy()
    data[10, 3:5] = np.nan
    filled = aperture_sum(data, aperture, model=model)
    assert filled.n_blank == 2
    assert filled.outside
    assert filled.total == pytest.approx(expected, rel=1e-7)
    assert aperture_sum(data, aperture).total < expected


def test_nothing_usable_is_nan():
    aperture = elliptical_aperture(5, 5, semi_major=2, semi_minor=2, theta=0)
    assert np.isnan(aperture_sum(np.full((11, 11), np.nan), aperture).total)
    far = elliptical_aperture(50, 50, semi_major=2, semi_minor=2, theta=0)
    assert np.isnan(aperture_sum(np.ones((11, 11)), far).total)
    negative = elliptical_aperture(-50, -50, semi_major=2, semi_minor=2, theta=0)
    assert np.isnan(aperture_sum(np.ones((11, 11)), negative).total)
