import numpy as np
import pytest

from hyper_py.fitting.binning import unbinned_sources
from hyper_py.numerics import gaussians
from hyper_py.numerics.trend import Trend
from hyper_py.photometry.transforms import on_plane, unbinned
from hyper_py.pipeline.extraction import extract_sources
from hyper_py.simulation.simulate import simulate_image


@pytest.fixture(scope="module")
def measured():
    return extract_sources(simulate_image("alma", seed=1, shape=(120, 120), n_sources=8).image).measured


def test_backgrounds_get_the_plane_back(measured):
    plane = Trend(constant=1.0, slope_y=2.0, slope_x=3.0)
    raised = on_plane(measured, plane)
    y, x, values, weights = measured.groups[0].background.paint()
    painted = raised.groups[0].background.paint()
    np.testing.assert_allclose(painted.values, values + 1.0 + 2.0 * y + 3.0 * x)
    np.testing.assert_array_equal(painted.weights, weights)
    row = measured.sources.parameters[0]
    under = 1.0 + 2.0 * row[gaussians.Y] + 3.0 * row[gaussians.X]
    assert raised.sources.background[0] == pytest.approx(measured.sources.background[0] + under)


def test_what_was_binned_is_in_terms_of_the_map_again(measured):
    fine, coarse = unbinned(measured, 2), measured.sources
    np.testing.assert_allclose(fine.sources.parameters, unbinned_sources(coarse.parameters, 2))
    np.testing.assert_allclose(fine.sources.flux, 4.0 * coarse.flux)
    np.testing.assert_allclose(fine.sources.flux_gauss, 4.0 * coarse.flux_gauss, rtol=1e-6)
    assert fine.noise_step == 2
    error, before = (np.sqrt(s.covariance[:, gaussians.X, gaussians.X]) for s in (fine.sources, coarse))
    np.testing.assert_allclose(error, 2.0 * before, rtol=1e-6)
    y, x, values, _ = measured.groups[0].background.paint()
    background = fine.groups[0].background
    painted = background.paint()
    assert painted.values.size == 4 * values.size
    np.testing.assert_allclose(background.at(2 * y + 1, 2 * x), values)
