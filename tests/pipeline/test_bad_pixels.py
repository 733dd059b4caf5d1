"""Pixels that were not seen through the beam are blank before anything is found, and are said."""

from dataclasses import replace

import numpy as np
import pytest

from helpers.maps import FWHM, make_image, make_map, sources_of
from hyper_py.noise.covariance import clipped_statistics
from hyper_py.numerics.tiles import LazyPlane
from hyper_py.options import DetectionOptions, Options
from hyper_py.pipeline.bad_pixels import without_bad_pixels
from hyper_py.pipeline.extraction import extract_sources

SHAPE = (120, 130)
PLACES = ((30.0, 25.0), (90.0, 40.0), (60.0, 95.0))
IMAGE = make_image(make_map(sources_of(*[(40.0, x, y) for x, y in PLACES]), SHAPE, seed=1))


def blank(image):
    return set(zip(*np.nonzero(np.isnan(np.asarray(image.data))), strict=True))


def with_values(values):
    data = IMAGE.data.copy()
    for place, value in values.items():
        data[place] = value
    return replace(IMAGE, data=data)


def test_a_map_without_bad_pixels_is_returned_as_it_is():
    assert without_bad_pixels(IMAGE) is IMAGE


@pytest.mark.parametrize("values", [{(40, 60): 1e15}, {(40, 60): -1e9, (90, 20): 3e22}, {(70, 70): -12.0}])
def test_single_pixels_are_blank_and_said(values):
    """Beside those of an overflow the map has no noise."""
    usable = without_bad_pixels(with_values(values))
    assert blank(usable) == set(values)
    (y, x), largest = max(values.items(), key=lambda item: abs(item[1]))
    (said,) = usable.meta["fill"]
    assert f"at x = {x}, y = {y} of {largest:.3g} Jy/pixel" in said
    assert said.startswith("1 pixel, at" if len(values) == 1 else "2 pixels, one at")
    assert clipped_statistics(usable.data).rms == pytest.approx(clipped_statistics(IMAGE.data).rms, rel=1e-3)


def test_values_are_said_in_the_unit_of_the_map():
    areas = 2.0 + 1e-6 * np.arange(SHAPE[1]) * np.ones(SHAPE)
    image = replace(with_values({(40, 60): 500.0}), jy_per_pixel=areas, unit="MJy/sr")
    assert "of 250 MJy/sr" in without_bad_pixels(image).meta["fill"][0]


def test_rows_and_columns_are_blank_and_said_beside_what_was_said_before():
    data = IMAGE.data.copy()
    data[[20, 77]] += 6.0
    data[:, 50] -= 6.0
    usable = without_bad_pixels(replace(IMAGE, data=data, meta={"fill": ("-99 is blank",)}))
    expected = np.zeros(SHAPE, dtype=bool)
    expected[[20, 77]] = True
    expected[:, 50] = True
    np.testing.assert_array_equal(np.isnan(usable.data), expected)
    before, rows, columns = usable.meta["fill"]
    assert before == "-99 is blank"
    assert rows.startswith("2 rows of pixels (y = 20, 77) differ")
    assert columns.startswith("1 column of pixels (x = 50) differs")
    assert not np.isnan(data).any()


def test_single_pixels_of_a_map_in_its_file_are_blank():
    image = with_values({(40, 60): 90.0, (5, 129): -90.0})
    lazy = replace(image, data=LazyPlane(SHAPE, lambda rows, columns: image.data[rows, columns]))
    usable = without_bad_pixels(lazy, size=32)
    assert not usable.is_whole
    assert blank(usable) == {(40, 60), (5, 129)}
    assert usable.meta["fill"] == without_bad_pixels(image).meta["fill"]


def test_bright_sources_without_noise_are_not_bad():
    image = make_image(make_map(sources_of(*[(40.0, x, y) for x, y in PLACES]), SHAPE, seed=1, noise=1e-9))
    assert without_bad_pixels(image) is image


@pytest.mark.parametrize("bad", ["pixels", "rows"])
def test_sources_are_measured_as_without_bad_pixels(bad):
    spoilt = IMAGE.data.copy()
    if bad == "pixels":
        spoilt[[25, 42, 80], [35, 92, 20]] += [60.0, -200.0, 60.0]  # beside two sources, and alone
    else:
        spoilt[[26, 70, 93]] += 5.0
    found, expected = (extract_sources(image).catalog for image in (replace(IMAGE, data=spoilt), IMAGE))
    assert len(found) == len(expected) == 3
    for table in (found, expected):
        table.sort("X")
    np.testing.assert_allclose(found["X"].value, expected["X"].value, atol=0.05 * FWHM)
    pull = (found["FLUX"] - expected["FLUX"]) / expected["FLUX_ERR"]
    assert np.abs(pull).max() < 1.0


def test_they_are_kept_if_asked_for():
    image = with_values({(70, 70): 60.0})
    kept = extract_sources(image, options=Options(detection=DetectionOptions(defects="keep")))
    assert not np.isnan(kept.image.data).any()
    assert "fill" not in kept.image.meta
