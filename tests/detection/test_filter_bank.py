"""Filters in parts, on maps with blanks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal
from scipy.spatial import KDTree

from helpers.matched_maps import BEAM, noise_field
from hyper_py.detection.filter_bank import FilterBank, FilterParts, _continued
from hyper_py.detection.power_spectrum import measure_spectrum
from hyper_py.numerics.tiles import blocks

SHAPE = (130, 150)


@pytest.fixture(scope="module")
def parts():
    data = noise_field(np.random.default_rng(1), SHAPE)
    return FilterParts.of(measure_spectrum(data, beam_covariance=BEAM), 1.1, None)


def with_blanks(seed):
    rng = np.random.default_rng(seed)
    data = noise_field(rng, SHAPE)
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    for _ in range(rng.integers(1, 5)):
        y, x = rng.integers(0, SHAPE[0]), rng.integers(0, SHAPE[1])
        data[np.hypot(rows - y, columns - x) < rng.uniform(0.5, 40.0)] = np.nan
    return data


def test_blanks_have_what_a_nearest_pixel_lets_expect(parts):
    """Against a search among all pixels, and a direct correlation."""
    data = with_blanks(3)
    valid = np.isfinite(data)
    assert 0.05 < valid.mean() < 0.95
    everything = slice(0, SHAPE[0]), slice(0, SHAPE[1])
    filled = _continued(data, everything, reach=150, correlation=parts.correlation)
    np.testing.assert_array_equal(filled[valid], data[valid])
    known, tree = data[valid], KDTree(np.argwhere(valid))
    for place in np.argwhere(~valid):
        distance, _ = tree.query(place)
        nearest = known[tree.query_ball_point(place, distance + 1e-9)]
        expected = nearest * np.interp(distance, np.arange(parts.correlation.size), parts.correlation)
        assert np.abs(expected - filled[tuple(place)]).min() < 1e-12
    (seen,) = FilterBank([parts], None)(data, everything)
    np.testing.assert_array_equal(np.isfinite(seen), valid)
    expected = signal.correlate(filled, parts.kernels[0], mode="same")
    np.testing.assert_allclose(seen[valid], expected[valid], atol=1e-9)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31), size=st.integers(20, 160))
def test_blanks_do_not_depend_on_blocks(parts, seed, size):
    data = with_blanks(seed)
    bank, pieces = FilterBank([parts], None), np.empty(SHAPE)
    (whole,) = bank(data, (slice(0, SHAPE[0]), slice(0, SHAPE[1])))
    for where in blocks(SHAPE, size=size):
        (pieces[where],) = bank(data, where)
    np.testing.assert_allclose(pieces, whole, atol=1e-9 * np.nanstd(data))


def test_correlation_is_that_of_the_map(parts):
    """White noise has none; of smooth noise it is counted on neighbouring pixels."""
    rng, shape = np.random.default_rng(4), (300, 300)
    white = FilterParts.of(measure_spectrum(rng.normal(size=shape), beam_covariance=BEAM), 1.1, None)
    assert white.correlation[0] == 1.0
    assert white.correlation[1:].max() < 0.05
    smooth = noise_field(rng, shape, background=0.0, white=0.0)
    seen = FilterParts.of(measure_spectrum(smooth, beam_covariance=BEAM), 1.1, None).correlation
    step = np.mean(smooth[:, 1:] * smooth[:, :-1]) / np.mean(smooth**2)
    assert seen[1] == pytest.approx(step, abs=0.07)


def test_nothing_is_seen_of_nothing(parts):
    (seen,) = FilterBank([parts], None)(np.full(SHAPE, np.nan), (slice(0, 20), slice(0, 30)))
    assert seen.shape == (20, 30)
    assert np.isnan(seen).all()
