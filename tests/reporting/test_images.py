"""Pictures without a plotting library, read back by Pillow and compared with matplotlib's palettes."""

import io

import matplotlib
import numpy as np
import pytest
from PIL import Image

from hyper_py.reporting.images import indexed, palette, png


def test_grey_pixels_come_back():
    grey = np.random.default_rng(1).integers(0, 256, (7, 12))
    picture = Image.open(io.BytesIO(png(grey)))
    assert picture.mode == "L"
    np.testing.assert_array_equal(np.asarray(picture), grey)


def test_indexed_pixels_have_their_colours_and_blank_ones_are_clear():
    values = np.array([[0.0, 1.0, 2.0], [np.nan, -5.0, 7.0]])
    numbers = indexed(values, 0.0, 2.0)
    np.testing.assert_array_equal(numbers, [[1, 128, 255], [0, 1, 255]])
    colours = palette("viridis", 255)
    picture = np.asarray(Image.open(io.BytesIO(png(numbers, colours=colours))).convert("RGBA"))
    np.testing.assert_array_equal(picture[0, :, :3], colours[[0, 127, 254]])
    np.testing.assert_array_equal(picture[..., 3], [[255, 255, 255], [0, 255, 255]])


@pytest.mark.parametrize("name", ["inferno", "viridis", "cividis"])
def test_palettes_are_the_ones_of_their_names(name):
    expected = 255 * matplotlib.colormaps[name](np.linspace(0.0, 1.0, 256))[:, :3]
    assert np.abs(palette(name) - expected).max() < 5
