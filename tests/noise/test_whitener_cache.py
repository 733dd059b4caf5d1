"""Matrices of fit pixels by their shape."""

import numpy as np
import pytest

from helpers.correlated_cases import SOURCE, covariance_lags, window_of
from hyper_py.noise.covariance import CovarianceModel, beam_covariance_model
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


@pytest.mark.parametrize(("size", "white", "spares"), [(1.0, 0.1, False), (3.0, 0.0, True), (3.0, 0.1, True)])
def test_sources_spare_pixels_where_they_lose_nothing(size, white, spares):
    """The error of an amplitude at known place and shape, on all pixels and on those that are taken."""
    beam = 3.3
    lag = np.hypot(*np.mgrid[-30:31, -30:31])
    lags = np.exp(-0.25 * (lag * 2.3548 / beam) ** 2) * (1.0 - white) + white * (lag == 0.0)
    step = WhitenerCache(CovarianceModel(lags)).coarsest(beam, source_fwhm=size * beam)
    y, x = (axis.ravel() for axis in np.mgrid[-14:15, -14:15])
    source = np.exp(-0.5 * (np.hypot(y, x) * 2.3548 / (size * beam)) ** 2)
    matrix = lags[y[:, None] - y + 30, x[:, None] - x + 30] + 1e-3 * np.eye(y.size)

    def error(own):
        return (source[own] @ np.linalg.solve(matrix[np.ix_(own, own)], source[own])) ** -0.5

    every, some = np.arange(y.size), np.flatnonzero((y % step == 0) & (x % step == 0))
    assert error(some) < 1.06 * error(every)
    assert (step > 1) == spares


def test_matrices_are_kept_as_far_as_memory_allows_and_made_anew_alike(monkeypatch):
    windows = [window_of(SOURCE, radius=radius) for radius in (4.0, 3.5, 3.0)]
    sizes = [8 * own.y.size**2 for own in windows]
    assert len({own.key for own in windows}) == 3
    all_kept = WhitenerCache(covariance_lags())
    first = [all_kept.whitening(own) for own in windows]
    assert [all_kept.whitening(own) for own in windows] == first
    monkeypatch.setattr("hyper_py.noise.whitener_cache._KEPT_BYTES", sum(sizes[1:]))
    some_kept = WhitenerCache(covariance_lags())
    again = [some_kept.whitening(own) for own in windows]
    assert [some_kept.whitening(own) for own in windows[1:]] == again[1:]
    anew = some_kept.whitening(windows[0])
    assert anew is not again[0]
    np.testing.assert_array_equal(anew.values, first[0].values)
