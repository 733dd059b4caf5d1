"""Numbers that mean blank: found where they are, and no map's own values taken for them."""

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from hyper_py.config import Config
from hyper_py.numerics.tiles import LazyPlane
from hyper_py.reading.fill import find_fill, without_fill
from hyper_py.reading.inspection import inspect_image
from hyper_py.reading.io import open_cube, read_image

SHAPE = (150, 160)
CARDS = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 50.0, "CRVAL2": 20.0, "CRPIX1": 80.0,
         "CRPIX2": 75.0, "CDELT1": -1 / 3600, "CDELT2": 1 / 3600, "BMAJ": 4 / 3600, "BMIN": 4 / 3600,
         "BPA": 0.0, "BUNIT": "Jy/beam"}  # fmt: skip


def sky(seed=3, level=0.0):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(SHAPE), 1.5)
    return level + noise / noise.std()


def region(kind):
    y, x = np.indices(SHAPE)
    return {
        "corner": np.hypot(y, x) < 40,
        "outside": np.hypot(y - 75, x - 80) > 70,
        "checkerboard": (y + x) % 2 == 0,
        "scattered": np.random.default_rng(1).random(SHAPE) < 0.3,
    }[kind]


def blank_values(data, **options):
    return {fill.value for fill in find_fill(data, **options) if fill.blank}


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from(["corner", "outside", "checkerboard", "scattered"]),
    value=st.sampled_from([0.0, -999.0, -1.6375e30, 1e30, -99.0, 12345.0, 0.7]),
    level=st.sampled_from([0.0, 50.0, -3.0]),
    unit=st.integers(-20, 12),
)
def test_fill_is_found_whatever_its_value_place_and_unit(kind, value, level, unit):
    value = value if abs(value) > 1e20 else value * 10.0**unit
    data, where = sky(level=level) * 10.0**unit, region(kind)
    filled = np.where(where, value, data)
    found = find_fill(filled)
    assert [(fill.value, fill.n_pixels, fill.blank) for fill in found] == [(value, where.sum(), True)]
    np.testing.assert_array_equal(without_fill(filled, found), np.where(where, np.nan, data))


def test_several_values_are_found_together():
    data = np.where(region("corner"), -999.0, sky())
    data[:, 140:] = 0.0
    data[3, 100] = -1.6375e30
    assert blank_values(data) == {-999.0, 0.0, -1.6375e30}


@pytest.mark.parametrize("value", [-999.0, -9999.0, -99.0, -32768.0, -1e10])
@pytest.mark.parametrize("level", [0.0, 50.0])
def test_a_single_pixel_of_a_number_that_means_blank(value, level):
    """Far below the rest it is blank; beside other values as low it is one of them."""
    data = 0.01 * sky() + 0.01 * level
    data[30, 40] = value
    (found,) = find_fill(data)
    assert (found.value, found.n_pixels, found.blank) == (value, 1, True)
    assert (
        found.describe()
        == f"1 pixel is exactly {value:g}: it is taken for blank (io.fill_values: [] keeps it)"
    )
    assert np.isnan(without_fill(data, [found])).sum() == 1
    assert not find_fill(data, given=[])
    deep = data.copy()
    deep[100, 50] = 0.2 * value  # a true hole: the number is no longer far below all else
    assert not find_fill(deep)


@pytest.mark.parametrize("value", [-998.7, 999.0, -50.0])
def test_other_single_values_are_the_maps_own(value):
    data = 0.01 * sky()
    data[30, 40] = value
    assert not find_fill(data)


def test_single_numbers_of_several_kinds_and_on_a_map_in_pieces():
    data = sky()
    data[5, 5], data[5, 9], data[90, 90] = -9999.0, -99999.0, -1.6375e30
    assert blank_values(data) == {-9999.0, -99999.0, -1.6375e30}
    plane = LazyPlane(SHAPE, lambda rows, columns: data[rows, columns])
    assert blank_values(plane) == blank_values(data)
    loud = 300.0 * sky()
    loud[7, 7] = -999.0  # in a map of such a unit it is noise
    assert not find_fill(loud)


@pytest.mark.parametrize("low", [-np.inf, 0.0])
def test_a_clipped_map_is_left_as_it_is_and_that_is_said(low):
    """Cut off below 0, and above 1.2: the pixels beside a plateau come near to it."""
    data = np.clip(sky(), low, 1.2)
    found = find_fill(data)
    assert {fill.value for fill in found} == {1.2} | ({0.0} if low == 0.0 else set())
    assert without_fill(data, found) is data
    assert all("are kept (io.fill_values: [" in fill.describe() for fill in found)


def test_a_map_without_noise_keeps_its_zeros():
    y, x = np.indices(SHAPE)
    data = np.exp(-0.1 * ((y - 70) ** 2 + (x - 80) ** 2))
    data[data < 1e-8] = 0.0
    assert not blank_values(data)


@pytest.mark.parametrize("step", [0.05, 0.3, 1.0, 3.0])
def test_maps_of_coarse_digits_have_no_fill(step):
    assert find_fill(step * np.rint(sky() / step)) == ()


@pytest.mark.parametrize("step", [0.3, 1.0, 2.0, 3.0])
@pytest.mark.parametrize("n_bright", [1, 8])
def test_bright_sources_on_a_map_of_coarse_digits_are_no_reason_for_fill(step, n_bright):
    y, x = np.indices(SHAPE)
    data = sky()
    for k in range(n_bright):
        data += 60.0 * np.exp(-0.05 * ((y - 15 * k - 20) ** 2 + (x - 17 * k - 15) ** 2))
    assert find_fill(step * np.rint(data / step)) == ()


@pytest.mark.parametrize("data", [np.zeros(SHAPE), np.full(SHAPE, np.nan), sky(), sky()[:1, :5]])
def test_nothing_is_found_where_there_is_nothing(data):
    assert find_fill(data) == ()


def test_given_values_are_taken_at_their_word():
    data = np.where(region("corner"), np.float32(-999.9), np.clip(sky(), 0.0, None))
    assert blank_values(data, given=[-999.9]) == {float(np.float32(-999.9))}
    assert blank_values(data, given=[0.0]) == {0.0}
    assert find_fill(data, given=[]) == ()
    assert blank_values(data, header_blank=0.0) == {0.0, float(np.float32(-999.9))}


def test_pieces_of_a_large_map_tell_the_same(monkeypatch):
    data = np.where(region("outside"), 0.0, sky(level=4.0))
    whole = find_fill(data)
    monkeypatch.setattr("hyper_py.reading.fill._STEP", 64)
    assert find_fill(LazyPlane(SHAPE, lambda rows, columns: data[rows, columns].copy())) == whole


def write(path, data, **cards):
    fits.PrimaryHDU(data.astype("f4"), fits.Header(CARDS | cards)).writeto(path)
    return path


def test_files_say_what_was_done(tmp_path):
    where = region("corner")
    path = write(tmp_path / "m.fits", np.where(where, -999.0, sky()))
    image = read_image(path)
    np.testing.assert_array_equal(np.isnan(image.data), where)
    (said,) = image.meta["fill"]
    assert said == "many pixels are exactly -999: they are taken for blank (io.fill_values: [] keeps them)"
    streamed = read_image(path, max_memory=1e6)
    assert not streamed.is_whole
    np.testing.assert_array_equal(streamed.data[:, :], image.data)
    assert streamed.meta["fill"] == (said,)
    kept = read_image(path, fill_values=[])
    assert np.isfinite(kept.data).all()
    assert "fill" not in kept.meta
    found = inspect_image(path)
    assert said in found.notes
    assert found.blank_share == pytest.approx(where.mean())


def test_channels_of_a_cube_have_their_own(tmp_path):
    data = np.stack([sky(1), np.where(region("corner"), 0.0, sky(2))])
    axis = {"CTYPE3": "FREQ", "CRVAL3": 1e11, "CDELT3": 1e6, "CRPIX3": 1.0, "CUNIT3": "Hz"}
    with open_cube(write(tmp_path / "c.fits", data, **axis)) as cube:
        blank = [np.isnan(channel.data) for channel in cube]
    assert not blank[0].any()
    np.testing.assert_array_equal(blank[1], region("corner"))


def test_blank_of_the_header_counts_in_floating_point_data(tmp_path):
    data = sky()
    data[10, 20] = -32768.0
    path = write(tmp_path / "m.fits", data)
    text = path.read_bytes()
    end = text.index(b"END     ")
    path.write_bytes(
        text[:end] + b"BLANK   =               -32768".ljust(80) + b"END".ljust(80) + text[end + 160 :]
    )
    image = read_image(path)
    assert np.flatnonzero(np.isnan(image.data)).tolist() == [10 * SHAPE[1] + 20]


def test_the_key_takes_auto_a_list_or_a_number_and_the_original_has_none():
    ours = [Config.from_mapping({"version": 2, "io": {"fill_values": v}}, source="test") for v in (-999, [0])]
    assert [one.io.fill_values for one in ours] == [(-999.0,), (0.0,)]
    assert Config.from_mapping({"version": 2}, source="test").io.fill_values == "auto"
    assert Config.from_mapping({}, source="test").io.fill_values == ()
