import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hyper_py.numerics.fit_pixels import FitPixels, padded_pixels, select_fit_pixels

SHAPE = (41, 43)


@given(
    st.lists(st.tuples(st.floats(-4, 26), st.floats(-4, 24), st.floats(0.5, 9)), min_size=1, max_size=4),
    st.integers(0, 1000),
)
def test_window_is_the_union_of_discs_without_blanks(discs, seed):
    x, y, radius = (np.array(column) for column in zip(*discs, strict=True))
    usable = np.random.default_rng(seed).random((21, 24)) > 0.2
    window = select_fit_pixels(x, y, radius=radius, usable=usable)
    expected = {
        (row, column)
        for row in range(21)
        for column in range(24)
        if usable[row, column]
        and any(np.hypot(column - np.rint(x0), row - np.rint(y0)) <= r + 1e-9 for x0, y0, r in discs)
    }
    found = list(zip(window.y.tolist(), window.x.tolist(), strict=True))
    assert found == sorted(expected)


def test_windows_of_one_shape_share_their_key():
    usable = np.ones(SHAPE, dtype=bool)

    def key(x, y, radius=4.0):
        return select_fit_pixels(np.array([x]), np.array([y]), radius=np.array([radius]), usable=usable).key

    assert key(15.2, 14.9) == key(20.4, 25.0)
    assert key(15.2, 14.9) != key(15.2, 14.9, radius=5.0)
    assert key(15.2, 14.9) != key(1.0, 14.9)
    assert key(1.0, 14.9) == key(1.0, 20.0)
    usable[15, 16] = False
    assert key(15.2, 14.9) != key(25.2, 14.9)


def test_window_off_the_map_or_all_blank_is_empty():
    usable = np.ones((20, 20), dtype=bool)
    usable[5:15, 5:15] = False
    for x, y in ((-9.0, 3.0), (10.0, 10.0)):
        window = select_fit_pixels(np.array([x]), np.array([y]), radius=np.array([4.0]), usable=usable)
        assert window.y.size == window.x.size == 0


def test_pixels_hold_their_place_and_are_padded_with_zeros():
    sets = [
        select_fit_pixels(
            np.array([20.3]), np.array([19.6]), radius=np.array([r]), usable=np.ones(SHAPE, bool)
        )
        for r in (3.0, 5.0)
    ]
    assert isinstance(sets[0], FitPixels)
    assert sets[0].y.dtype == sets[0].x.dtype == np.int64
    y, x = padded_pixels(sets)
    n = sets[0].y.size
    np.testing.assert_array_equal(y[0, :n], sets[0].y)
    np.testing.assert_array_equal(x[1], sets[1].x)
    assert not y[0, n:].any()
    assert not x[0, n:].any()


def test_coarse_discs_take_every_second_pixel_and_the_finest_of_several_counts():
    usable = np.ones(SHAPE, dtype=bool)
    x, y, radius = np.array([20.0, 26.0]), np.array([20.0, 20.0]), np.array([9.0, 3.0])
    window = select_fit_pixels(x, y, radius=radius, usable=usable, steps=np.array([2, 1]))
    fine = np.hypot(window.x - 26, window.y - 20) <= 3.0
    coarse = (window.x % 2 == 0) & (window.y % 2 == 0) & (np.hypot(window.x - 20, window.y - 20) <= 9.0)
    assert np.all(fine | coarse)
    np.testing.assert_array_equal(window.area, np.where(fine, 1.0, 4.0))
    assert fine.sum() == select_fit_pixels(x[1:], y[1:], radius=radius[1:], usable=usable).y.size
    plain = select_fit_pixels(x, y, radius=radius, usable=usable, steps=np.array([1, 1]))
    assert plain.area is None
    moved = select_fit_pixels(x + 1, y, radius=radius, usable=usable, steps=np.array([2, 1]))
    assert moved.key == window.key


@given(st.floats(0.0, np.pi), st.sampled_from([1, 2]))
def test_a_disc_is_cut_to_a_band_along_its_angle(angle, step):
    usable = np.ones(SHAPE, dtype=bool)
    bands = np.array([[4.0, angle]])
    cut, whole = (
        select_fit_pixels(
            np.array([20.0]), np.array([20.0]), radius=np.array([15.0]), usable=usable,
            steps=np.array([step]), bands=some,
        )
        for some in (bands, None)
    )  # fmt: skip
    along = np.array([np.cos(angle), np.sin(angle)])
    places = np.column_stack([whole.x, whole.y]) - 20.0
    across = np.abs(places[:, 0] * along[1] - places[:, 1] * along[0])
    inside = np.abs(across - 4.0) > 1e-9  # pixels on the rim may be either
    found = set(zip(cut.y.tolist(), cut.x.tolist(), strict=True))
    for y, x, is_in in zip(whole.y[inside], whole.x[inside], across[inside] < 4.0, strict=True):
        assert ((y, x) in found) == is_in
