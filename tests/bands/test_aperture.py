"""One aperture for all bands."""

import numpy as np
import pytest

from helpers.aligned_bands import small_field
from hyper_py.bands.aperture import LARGEST, common_apertures
from hyper_py.bands.joint_fit import FitChoices, fit_jointly, wide_prior
from hyper_py.bands.shapes import sky_ellipses


@pytest.fixture(scope="module")
def fitted():
    _, bands, truth = small_field(seed=6, flux_range=(0.8, 2.0), n_sources=12, size=500.0)
    fit = FitChoices(prior=wide_prior(bands, free=False), largest=3.0)
    return bands, truth, fit_jointly(bands, truth, choices=fit, max_iterations=3).estimates


def test_fluxes_in_it_are_true_within_their_errors(fitted):
    bands, truth, estimates = fitted
    found = common_apertures(bands, estimates, band="s250", radius_in_fwhm=1.0)
    pulls = (found.flux - truth.flux) / found.flux_err
    assert np.isfinite(pulls).mean() > 0.9
    assert 0.6 < 1.4826 * np.nanmedian(np.abs(pulls)) < 1.6
    assert abs(np.nanmedian((found.flux / truth.flux)[:, :4]) - 1.0) < 0.04


def test_the_fraction_in_the_named_band_is_that_of_a_gaussian_in_its_own_ellipse(fitted):
    bands, _, estimates = fitted
    found = common_apertures(bands, estimates, band="s250", radius_in_fwhm=1.0)
    np.testing.assert_allclose(found.fraction[:, 2], 1.0 - 2.0**-4, atol=0.015)  # of 3 pixels a beam
    assert (found.fraction[:, 0] > found.fraction[:, 2]).all()
    assert (found.fraction[:, 4] < found.fraction[:, 2]).all()


def test_the_largest_is_that_of_the_coarsest_band(fitted):
    bands, _, estimates = fitted
    largest = common_apertures(bands, estimates, band=LARGEST, radius_in_fwhm=0.5)
    named = common_apertures(bands, estimates, band="s500", radius_in_fwhm=0.5)
    np.testing.assert_array_equal(largest.ellipse, named.ellipse)
    assert (sky_ellipses(largest.ellipse).minor > 30.0).all()
    np.testing.assert_array_equal(largest.flux, named.flux)
