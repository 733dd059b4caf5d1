"""Binned fits against fits on the map itself."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.problems import make_problem
from hyper_py.fitting.binning import (
    bin_size,
    binned_problem,
    binned_sources,
    unbinned_sources,
)
from hyper_py.numerics import gaussians
from hyper_py.numerics.bins import bin_mean
from hyper_py.pipeline.extraction import extract_sources
from hyper_py.simulation.simulate import simulate_image


@given(
    st.lists(st.tuples(*[st.floats(3.0, 20.0)] * 5, st.floats(0, 3)), min_size=1, max_size=4),
    st.integers(1, 4),
)
def test_unbinning_inverts_binning(values, size):
    sources = np.array(values)
    np.testing.assert_allclose(unbinned_sources(binned_sources(sources, size), size), sources, rtol=1e-9)


@pytest.mark.parametrize("size", [2, 3])
def test_binned_gaussian_is_the_mean_of_the_blocks(size):
    source = np.array([[2.0, 61.3, 57.9, 2.2 * size, 1.7 * size, 0.6]])
    fine = gaussians.render(source, (120, 120), n_sigma=9)
    coarse = gaussians.render(binned_sources(source, size), (120 // size, 120 // size), n_sigma=9)
    np.testing.assert_allclose(bin_mean(fine, size), coarse, atol=4e-3)
    assert coarse.sum() * size**2 == pytest.approx(fine.sum(), rel=1e-6)


def test_bin_mean_ignores_blank_pixels():
    image = np.arange(20.0).reshape(4, 5)
    image[0, 0] = np.nan
    image[2:, 2:4] = np.nan
    result = bin_mean(image, 2)
    assert result.shape == (2, 2)
    assert result[0, 0] == pytest.approx((1 + 5 + 6) / 3)
    assert np.isnan(result[1, 1])


def test_bin_size_keeps_the_beam_sampled():
    assert [bin_size(fwhm) for fwhm in (2.0, 3.3, 7.9, 8.0, 12.5, 20.0)] == [1, 1, 1, 2, 3, 5]


def test_wide_beams_are_measured_without_bias():
    simulation = simulate_image(
        "alma",
        seed=4,
        shape=(400, 400),
        n_sources=20,
        beam=(0.13, 0.12, 30.0),
        margin=2.0,
        crowded_fraction=0.0,
    )
    catalog, truth = extract_sources(simulation.image).catalog, simulation.truth
    x, y = (np.subtract.outer(catalog[c].value, truth[c].value) for c in "XY")
    nearest = np.hypot(x, y).argmin(axis=0)
    flux = catalog["FLUX_GAUSS"][nearest].to_value("Jy")
    pull = (flux - truth["FLUX"].to_value("Jy")) / catalog["FLUX_GAUSS_ERR"][nearest].to_value("Jy")
    assert np.hypot(x, y).min(axis=0).max() < 1.5
    assert abs(np.median(pull)) < 0.8
    assert np.median(np.abs(pull)) < 1.3


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_largest_size_of_a_source_is_the_same_multiple_of_its_start_on_a_binned_map(size):
    """It was divided by the side of the bins twice: blended sources of oversampled maps could hardly grow."""
    sigma = 4.0 / 2.3548
    sources = np.array([[10.0, 30.0, 31.0, sigma, sigma, 0.0]])
    problem = make_problem(sources, np.ones((60, 60)), largest_sigma=np.array([2.5 * sigma]))
    binned = binned_problem(problem, size)
    assert binned.largest_sigma[0] == pytest.approx(2.5 * binned.start[0, gaussians.SIGMA_1])
