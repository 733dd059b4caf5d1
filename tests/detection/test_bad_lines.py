"""Rows and columns of pixels that the beam would smooth."""

import numpy as np
import pytest
from scipy import ndimage

from hyper_py.detection.bad_lines import find_bad_lines

SHAPE = (150, 200)
FWHM = 3.0


def smoothed(seed: int = 1, *, fwhm: float = FWHM) -> np.ndarray:
    data = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(SHAPE), fwhm / 2.3548)
    return data / data.std()


def said(data: np.ndarray) -> list[str]:
    return [lines.describe() for lines in find_bad_lines(data, noise=1.0)]


@pytest.mark.parametrize("height", [-5.0, 2.0, 40.0])
def test_bad_rows_and_columns_are_said(height):
    data = smoothed()
    data[[20, 90]] += height
    data[:, 77] -= height
    rows, columns = said(data)
    assert rows.startswith("2 rows of pixels (y = 20, 90) differ ")
    assert columns.startswith("1 column of pixels (x = 77) differs ")


def test_rows_near_each_other_and_at_the_border_are_said():
    data = smoothed()
    data[[1, 60, 62, 64, 148]] += 5.0
    (rows,) = said(data)
    assert rows.startswith("5 rows of pixels (y = 1, 60, 62, 64, 148) differ ")


@pytest.mark.parametrize("rows", [[60, 62], [60, 62, 64], [60, 62, 64, 66]])
@pytest.mark.parametrize("seed", range(6))
def test_a_good_row_between_bad_ones_is_not_bad(rows, seed):
    """It differs from those beside it as much as they do."""
    data = smoothed(seed)
    data[rows] += 5.0
    (found,) = find_bad_lines(data)
    assert found.numbers.tolist() == rows


def test_a_bad_row_of_a_map_in_a_blank_frame_is_said():
    data = smoothed()
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    data[np.hypot(y - 75.0, x - 100.0) > 70.0] = np.nan
    data[40] += 4.0
    (row,) = said(data)
    assert "(y = 40)" in row


@pytest.mark.parametrize("seed", range(5))
def test_noise_sources_and_structure_seen_through_the_beam_are_no_bad_rows(seed):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    stripes = ndimage.gaussian_filter1d(rng.standard_normal(SHAPE[0]), FWHM / 2.3548)[:, None]
    filament = 30.0 * np.exp(-0.5 * ((y - 75.0) / (FWHM / 2.3548)) ** 2) * (np.abs(x - 90) < 60)
    source = 3000.0 * np.exp(-0.5 * ((y - 30.0) ** 2 + (x - 50.0) ** 2) / (FWHM / 2.3548) ** 2)
    assert said(smoothed(seed) + 20.0 * stripes + filament + source + 5.0 * y) == []
    assert said(rng.standard_normal(SHAPE)) == []
    edge = rng.standard_normal(SHAPE) * np.where(y < 6, 30.0, 1.0)
    assert said(edge) == []


@pytest.mark.parametrize("fwhm", [1.5, 2.0])
def test_a_straight_filament_seen_through_few_pixels_is_no_bad_row(fwhm):
    y = np.mgrid[: SHAPE[0], : SHAPE[1]][0]
    filament = 30.0 * np.exp(-0.5 * ((y - 75.0) / (fwhm / 2.3548)) ** 2)
    assert said(np.random.default_rng(2).standard_normal(SHAPE) + filament) == []


def test_a_map_of_few_rows_or_known_pixels_says_nothing():
    data = smoothed()
    data[20] += 30.0
    assert said(data[10:35]) == []
    data[:, 25:] = np.nan
    assert said(data) == []


def test_rows_that_all_differ_from_their_neighbours_are_no_bad_rows():
    jitter = 3.0 * np.random.default_rng(5).standard_normal(SHAPE[0])
    assert said(smoothed() + jitter[:, None]) == []


@pytest.mark.parametrize("seed", range(10))
def test_loud_rows_of_few_pixels_are_no_bad_rows(seed):
    """A SCUBA-2 map that ends in a loud point had one."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    data = np.random.default_rng(seed).standard_normal(SHAPE) * np.exp(y / 40.0)
    assert said(np.where(np.abs(x - 100.0) < 80.0 - 0.4 * y, data, np.nan)) == []
