"""The flattened map and its spectrum."""

import numpy as np
import pytest
from scipy import ndimage

from helpers.matched_maps import BEAM, FWHM, noise_field
from hyper_py.detection.power_spectrum import correlated_area, flattened, measure_spectrum

ROUND = FWHM**2 / 8.0 / np.log(2.0) * np.eye(2)


def test_flatten_takes_no_notice_of_blanks():
    data = 1e6 + np.random.default_rng(0).normal(size=(50, 60))
    data[10:20, 10:30] = np.nan
    flat = flattened(data, sigma=4.0)
    np.testing.assert_array_equal(np.isnan(flat), np.isnan(data))
    assert np.nanmax(np.abs(flat)) < 6
    assert np.abs(flat[:, :10].mean()) < 0.3
    np.testing.assert_allclose(flattened(np.full((9, 9), 5.0), sigma=2.0), 0.0, atol=1e-12)


def test_correlated_area():
    """Of a smoothed field, by the scatter of its mean square over realisations."""
    rng, sigma, side = np.random.default_rng(6), 1.5, 64
    k = 2 * np.pi * np.fft.fftfreq(side)
    power = np.exp(-(sigma**2) * (k[:, None] ** 2 + k**2))
    squares = [
        np.mean(ndimage.gaussian_filter(rng.normal(size=(side, side)), sigma, mode="wrap") ** 2)
        for _ in range(400)
    ]
    relative = np.var(squares) / np.mean(squares) ** 2
    assert 2 * correlated_area(power) / side**2 == pytest.approx(relative, rel=0.25)


def test_rings_of_a_small_map_are_nearer_to_the_truth():
    """Against the spectrum of a map of 100 times the area."""
    rng = np.random.default_rng(2)
    large, small = (noise_field(rng, shape) for shape in ((800, 800), (80, 80)))
    true = measure_spectrum(large, beam_covariance=ROUND).power
    plain, rings = (
        np.log(measure_spectrum(small, beam_covariance=ROUND, rings=way).power / true)
        for way in (False, True)
    )
    assert rings.std() < 0.6 * plain.std()
    assert abs(rings.mean()) < abs(plain.mean()) + 0.1


def test_rings_have_one_power_where_the_beam_sees_alike():
    data = noise_field(np.random.default_rng(3), (80, 90))
    plain, rings = (measure_spectrum(data, beam_covariance=BEAM, rings=way) for way in (False, True))
    assert rings.power.sum() == pytest.approx(plain.power.sum(), rel=0.1)
    swapped = measure_spectrum(data.T, beam_covariance=BEAM[::-1, ::-1], rings=True)
    np.testing.assert_allclose(swapped.power.T, rings.power, rtol=1e-8)
    power = measure_spectrum(data, beam_covariance=ROUND, rings=True).power
    np.testing.assert_allclose(power[0, 5], [power[5, 0], power[3, 4], power[4, 3], power[-3, 4]], rtol=1e-12)
