"""Filters in parts, on maps with blanks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal
from scipy.spatial import KDTree

from hyper_py.numerics.blocks import blocks
from hyper_py.steps.filter_parts import FilterBank, FilterParts, _continued
from hyper_py.steps.spectrum import measure_spectrum
from matched_maps import BEAM, FWHM, noise_field

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
    filled = _continued(data, everything, reach=150, fwhm=FWHM)
    np.testing.assert_array_equal(filled[valid], data[valid])
    known, tree = data[valid], KDTree(np.argwhere(valid))
    for place in np.argwhere(~valid):
        distance, _ = tree.query(place)
        nearest = known[tree.query_ball_point(place, distance + 1e-9)]
        expected = nearest * np.exp(-2.0 * np.log(2.0) * (distance / FWHM) ** 2)
        assert np.abs(expected - filled[tuple(place)]).min() < 1e-12
    (seen,) = FilterBank([parts], None, fwhm=FWHM)(data, everything)
    np.testing.assert_array_equal(np.isfinite(seen), valid)
    expected = signal.correlate(filled, parts.kernels[0], mode="same")
    np.testing.assert_allclose(seen[valid], expected[valid], atol=1e-9)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31), size=st.integers(20, 160))
def test_blanks_do_not_depend_on_blocks(parts, seed, size):
    data = with_blanks(seed)
    bank, pieces = FilterBank([parts], None, fwhm=FWHM), np.empty(SHAPE)
    (whole,) = bank(data, (slice(0, SHAPE[0]), slice(0, SHAPE[1])))
    for where in blocks(SHAPE, size=size):
        (pieces[where],) = bank(data, where)
    np.testing.assert_allclose(pieces, whole, atol=1e-9 * np.nanstd(data))


def test_nothing_is_seen_of_nothing(parts):
    (seen,) = FilterBank([parts], None, fwhm=FWHM)(np.full(SHAPE, np.nan), (slice(0, 20), slice(0, 30)))
    assert seen.shape == (20, 30)
    assert np.isnan(seen).all()
