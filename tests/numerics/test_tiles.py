import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from hyper_py.numerics import tiles as tiles_module
from hyper_py.numerics.tiles import (
    Correlator,
    LazyPlane,
    at,
    cutouts,
    edges,
    grown,
    is_inside,
    number_of_tile,
    rows_at,
    sample,
    tiles,
)

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


def test_correlations_in_another_order_are_the_same(rng):
    correlator = Correlator(*(rng.standard_normal((side, side)) for side in (3, 7, 5)))
    data = rng.standard_normal((40, 31))
    expected = correlator(data)
    for k, found in zip([2, 0, 1], correlator.each(data, [2, 0, 1]), strict=True):
        np.testing.assert_array_equal(found, expected[k])


def test_tiles_of_large_maps_share_few_transforms_of_the_kernels():
    correlator, sides = Correlator(np.ones((77, 77))), (550, 588, 580, 406)
    shapes = {correlator.prepare((ny, nx)) for ny in sides for nx in sides}
    assert len(shapes) == 4
    assert all(min(shape) >= 406 + 38 for shape in shapes)
    assert correlator.prepare((100, 200)) == (144, 240)


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


@pytest.mark.parametrize("is_lazy", [False, True])
def test_rows_of_pixels_are_not_a_number_beyond_the_map(is_lazy):
    image = np.random.default_rng(2).normal(size=(20, 30))
    plane = LazyPlane(image.shape, lambda *where: image[where]) if is_lazy else image
    y, x = np.array([[3, 4, 5], [-1, 0, 19], [19, 20, 21]]), np.array([[7, 8, 9], [0, -2, 29], [29, 30, 0]])
    expected = np.pad(image, 2, constant_values=np.nan)[y + 2, x + 2]
    np.testing.assert_array_equal(rows_at(plane, y, x), expected)
    assert rows_at(plane, y[:0], x[:0]).shape == (0, 3)
    assert rows_at(image > 0.0, y, x)[0].tolist() == (image > 0.0)[3:6, 7:10].diagonal().tolist()


@pytest.mark.parametrize("is_lazy", [False, True])
def test_cutouts_continue_the_border_and_say_what_is_on_the_map(is_lazy):
    image = np.random.default_rng(3).normal(size=(20, 30))
    plane = LazyPlane(image.shape, lambda *where: image[where]) if is_lazy else image
    corners = np.array([[4, 5], [-3, 27], [17, -2], [40, 50], [-30, 3]])
    values, inside = cutouts(plane, corners, (6, 5))
    padded, known = np.pad(image, 60, mode="edge"), np.pad(np.ones(image.shape, bool), 60)
    for part, shown, (top, left) in zip(values, inside, corners + 60, strict=True):
        where = slice(top, top + 6), slice(left, left + 5)
        np.testing.assert_array_equal(part, padded[where])
        np.testing.assert_array_equal(shown, known[where])
    assert cutouts(plane, corners[:0], (6, 5))[0].shape == (0, 6, 5)


@pytest.mark.parametrize("size", [None, 7])
def test_sample_of_a_blank_map(size):
    assert sample(np.full((20, 20), np.nan), size=size).size == 0


@pytest.mark.parametrize("size", [20, 33, 0])
def test_each_pixel_is_in_the_tile_of_its_number(rng, size):
    shape = (70, 95)
    cut = [*tiles(shape, size=size)]
    y, x = rng.integers(0, shape[0], 200), rng.integers(0, shape[1], 200)
    for number, row, column in zip(number_of_tile(cut, y, x), y, x, strict=True):
        assert is_inside(cut[number], row, column)
