import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from hyper_py.numerics import tiles as tiles_module
from hyper_py.numerics.tiles import Correlator, LazyPlane, at, edges, grown, sample, tiles

sizes = st.one_of(st.none(), st.integers(0, 90))


@settings(deadline=None)
@given(st.tuples(st.integers(1, 80), st.integers(1, 80)), sizes, st.integers(1, 30), st.integers(0, 40))
def test_blocks_cover_a_map_once(shape, size, multiple, halo):
    seen, image = np.zeros(shape, int), np.arange(shape[0] * shape[1]).reshape(shape)
    for where in tiles(shape, size=size, multiple=multiple):
        seen[where] += 1
        assert all(part.start % multiple == 0 for part in where)
        outer, inner = grown(where, halo, shape)
        np.testing.assert_array_equal(image[outer][inner], image[where])
    assert (seen == 1).all()


def test_edges():
    assert edges(1000, size=256) == [0, 256, 512, 768, 1000]
    assert edges(1100, size=500) == [0, 500, 1100]  # no sliver
    assert edges(1000, size=256, multiple=25) == [0, 250, 500, 750, 1000]
    assert edges(10, size=0) == [0, 10]


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 60), st.integers(1, 60), st.integers(0, 6), st.integers(0, 9))
def test_correlation_is_that_of_scipy(seed, ny, nx, half_y, half_x):
    rng = np.random.default_rng(seed)
    data, kernel = rng.normal(size=(ny, nx)), rng.normal(size=(2 * half_y + 1, 2 * half_x + 1))
    correlate = Correlator(kernel, 2.0 * kernel)
    expected = np.pad(data, ((half_y, half_y), (half_x, half_x)))
    expected = signal.correlate(expected, kernel, mode="valid", method="direct")
    for _ in range(2):
        once, twice = correlate(data)
        np.testing.assert_allclose(once, expected, atol=1e-12)
        np.testing.assert_allclose(twice, 2.0 * expected, atol=1e-12)


def test_lazy_planes_are_read_where_they_are_asked_for(monkeypatch):
    image = np.random.default_rng(1).normal(size=(40, 50))
    asked = []

    def make(rows, columns):
        asked.append((rows.start, rows.stop, columns.start, columns.stop))
        return image[rows, columns]

    lazy = LazyPlane(image.shape, make)
    np.testing.assert_array_equal(lazy[5:9, :-10], image[5:9, :-10])
    y, x = np.array([30, 32]), np.array([11, 10])
    np.testing.assert_array_equal(at(lazy, y, x), image[y, x])
    np.testing.assert_array_equal(at(image, y, x), image[y, x])
    assert at(lazy, y[:0], x[:0]).size == 0
    assert asked == [(5, 9, 0, 40), (30, 33, 10, 12)]
    np.testing.assert_array_equal(np.asarray(lazy), image)
    image[3, :] = np.nan
    np.testing.assert_array_equal(sample(lazy, size=13).size, 39 * 50)
    monkeypatch.setattr(tiles_module, "_MOST_SAMPLES", 500)
    np.testing.assert_array_equal(
        np.sort(sample(lazy, size=13)), np.sort(image[::2, ::2][np.isfinite(image[::2, ::2])])
    )


@pytest.mark.parametrize("size", [None, 7])
def test_sample_of_a_blank_map(size):
    assert sample(np.full((20, 20), np.nan), size=size).size == 0
