"""Cholesky factors that are kept."""

import numpy as np
import pytest

from hyper_py.bands import factors
from hyper_py.bands.factors import FactorCache, step_between_pixels
from hyper_py.noise.covariance import CovarianceModel, beam_covariance_model

COVARIANCE = beam_covariance_model(1.7**2 * np.eye(2), rms=2.0, max_lag=20)


def disc(radius, *, y0, x0):
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    inside = y**2 + x**2 <= radius**2
    return y[inside] + y0, x[inside] + x0


def test_a_factor_is_that_of_the_covariance_and_is_made_once_for_a_shape():
    cache = FactorCache(COVARIANCE)
    y, x = disc(4, y0=30, x0=12)
    lower = cache.factor(y, x)
    np.testing.assert_allclose(lower @ lower.T, COVARIANCE.matrix(y, x), rtol=1e-10, atol=1e-12)
    assert not np.triu(lower, 1).any()
    assert cache.factor(y + 7, x - 3) is lower
    assert cache.factor(y[:-1], x[:-1]) is not lower


def test_a_covariance_that_is_not_positive_definite_has_no_factor():
    lags = np.zeros((5, 5))
    lags[2, 2], lags[2, 1], lags[2, 3] = 1.0, 2.0, 2.0
    assert FactorCache(CovarianceModel(lags)).factor(np.array([0, 0]), np.array([0, 1])) is None


def test_what_was_not_used_for_longest_is_dropped(monkeypatch):
    y, x = disc(3, y0=10, x0=10)
    monkeypatch.setattr(factors, "CACHE_BYTES", 2 * 8 * y.size**2)
    cache = FactorCache(COVARIANCE)
    first, second = cache.factor(y, x), cache.factor(y[1:], x[1:])
    assert cache.factor(y, x) is first
    cache.factor(y[:-1], x[:-1])
    assert cache.factor(y, x) is first
    assert cache.factor(y[1:], x[1:]) is not second


def test_large_factors_are_not_kept(monkeypatch):
    y, x = disc(3, y0=10, x0=10)
    monkeypatch.setattr(factors, "LARGEST_KEPT", 8 * y.size**2 - 1)
    cache = FactorCache(COVARIANCE)
    first = cache.factor(y, x)
    again = cache.factor(y, x)
    assert again is not first
    np.testing.assert_array_equal(again, first)


@pytest.mark.parametrize(
    ("beam", "white", "expected"), [(12.0, 0.0, 3), (7.0, 0.0, 2), (3.4, 0.0, 1), (12.0, 0.9, 1)]
)
def test_every_pixel_is_fitted_but_where_more_tell_nothing_more(beam, white, expected):
    covariance = beam_covariance_model(
        (beam / 2.3548) ** 2 * np.eye(2), rms=1.0, max_lag=int(4 * beam), white_fraction=white
    )
    assert step_between_pixels(covariance, beam_fwhm=beam) == expected
