"""Matrices of fit pixels by their shape."""

import numpy as np

from helpers.correlated_cases import SOURCE, covariance_lags, window_of
from hyper_py.noise.covariance import beam_covariance_model
from hyper_py.noise.whitener_cache import WhitenerCache


def test_cache_gives_each_shape_its_own_matrices():
    noise = covariance_lags()
    cache = WhitenerCache(noise)
    here, there, other = (
        window_of(np.add(SOURCE, [0, dx, dy, 0, 0, 0])) for dx, dy in ((0, 0), (3, 2), (14, 0))
    )
    assert cache.whitening(here) is cache.whitening(there)
    assert cache.whitening(here) is not cache.whitening(other)
    dy, dx = here.y[:, None] - here.y, here.x[:, None] - here.x
    np.testing.assert_array_equal(
        cache.matrices(here).covariance, noise.lags[dy + noise.reach, dx + noise.reach]
    )
    np.testing.assert_allclose(
        cache.matrices(other).precision,
        cache.whitening(other).values.T @ cache.whitening(other).values,
        rtol=1e-12,
    )
    whiteners = [cache.whitener(here, 2.0).make(), cache.whitener(there, 0.5).make()]
    assert whiteners[0].matrix is whiteners[1].matrix
    assert set(whiteners[0].weights) == {0.5}
    assert set(whiteners[1].weights) == {2.0}


def test_beam_correlated_noise_model_is_factorable_on_every_window():
    noise = beam_covariance_model(np.eye(2) * 1.7**2, rms=2.0, max_lag=64)
    for radius in (1.0, 5.0, 10.0):
        window = window_of(SOURCE, radius=radius)
        assert np.isfinite(WhitenerCache(noise).whitening(window).values).all()
