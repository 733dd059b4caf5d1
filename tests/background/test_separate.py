"""Separate backgrounds of groups: boxes and cutouts against planes."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.group_cases import FWHM, SETTINGS, backgrounds_with, plane, sources_at
from hyper_py.background.separate import Boxes
from hyper_py.numerics import gaussians


def box_sizes(*, fwhm, min_box, max_box, aper_sup, extent):
    boxes = Boxes(beam_fwhm=fwhm, beam_area=18.1, min_box=min_box, max_box=max_box, aper_sup=aper_sup)
    return boxes.sides(extent)


# ---- boxes


@given(st.floats(1.5, 12), st.floats(0.5, 5), st.floats(0, 5), st.floats(1, 3), st.floats(0, 40))
def test_boxes_are_odd_nested_and_as_large_as_defined(fwhm, smallest, more, aper_sup, extent):
    sides = box_sizes(fwhm=fwhm, min_box=smallest, max_box=smallest + more, aper_sup=aper_sup, extent=extent)
    assert all(side % 2 == 1 for side in sides)
    assert set(np.diff(sides)) <= {2}
    for side, box in ((sides[0], smallest), (sides[-1], smallest + more)):
        defined = 2 * math.ceil(box * fwhm) + 2 * aper_sup * fwhm + extent
        assert defined <= side < defined + 3


def test_a_largest_box_below_the_smallest_is_the_smallest():
    assert len(box_sizes(fwhm=5.0, min_box=4, max_box=2, aper_sup=2, extent=0)) == 1


# ---- backgrounds


@pytest.mark.parametrize(("x", "y"), [(30, 25), (0, 0), (60.4, 49.4), (0, 25), (30.2, 49.0), (3, 2)])
@pytest.mark.parametrize("rms", [1.0, "map"])
def test_background_anywhere_on_the_map_is_that_of_a_plane(x, y, rms):
    shape = (50, 61)
    truth, sources = plane(shape), sources_at((x, y))
    data = truth + gaussians.render(sources, shape) * 50
    mask = gaussians.footprints(sources, shape, n_sigma=6.0)
    mask[20:30, 40:55] = True
    data[20:30, 40:55] = np.nan
    settings = {**SETTINGS, "rms": np.full(shape, 0.5) if rms == "map" else rms, "orders": (0, 1)}
    background = backgrounds_with(data, mask, sources, [np.array([0])], **settings)[0]
    assert background.polynomial.order == 1
    rows, columns = np.mgrid[max(0, int(y) - 5) : int(y) + 6, max(0, int(x) - 5) : int(x) + 6]
    expected = 3.0 + 0.02 * columns - 0.05 * rows
    np.testing.assert_allclose(background.at(rows, columns), expected, rtol=1e-6)
    # The cutout lies around the source, whatever the border.
    half = background.polynomial.fit_mask.shape[0] // 2
    assert (background.y0 + half, background.x0 + half) == (round(y), round(x))
    fit_y, fit_x = background.polynomial.fit_pixels
    fit_y, fit_x = fit_y + background.y0, fit_x + background.x0
    assert fit_y.min() >= 0
    assert fit_x.min() >= 0
    assert not mask[fit_y, fit_x].any()


def test_a_group_shares_one_box_around_its_extent():
    sources = sources_at((20, 20), (34, 24), (50, 12))
    data = plane((60, 70))
    partition = [np.array([0, 1]), np.array([2])]
    pair, single = backgrounds_with(data, np.zeros(data.shape, bool), sources, partition, **SETTINGS)
    size = pair.polynomial.fit_mask.shape[0]
    assert size == box_sizes(fwhm=FWHM, min_box=2, max_box=3, aper_sup=1.5, extent=14)[-1]
    assert (pair.y0 + size // 2, pair.x0 + size // 2) == (22, 27)
    assert single.polynomial.fit_mask.shape[0] == size - 14


@pytest.mark.parametrize("shape", [(40, 71), (71, 40)])
def test_box_zero_is_the_whole_map(shape):
    sources = sources_at((30, 20), (10, 11))
    mask = np.zeros(shape, dtype=bool)
    both = backgrounds_with(
        plane(shape),
        mask,
        sources,
        [np.array([0]), np.array([1])],
        **{**SETTINGS, "min_box": 0, "orders": (0, 1)},
    )
    assert both[0] is both[1]
    assert both[0].polynomial.box == (0, shape[0], 0, shape[1])
    y, x = np.mgrid[: shape[0], : shape[1]]
    np.testing.assert_allclose(both[0].at(y, x), plane(shape), rtol=1e-6, atol=1e-9)


def test_no_pixels_at_all_is_a_flag_and_zero():
    data = np.full((40, 40), np.nan)
    background = backgrounds_with(data, np.isnan(data), sources_at((20, 20)), [np.array([0])], **SETTINGS)[0]
    assert background.polynomial.flag
    assert background.at(np.array([20]), np.array([20])) == 0.0


def test_painted_background_covers_its_box_and_fades():
    background = backgrounds_with(
        plane((50, 61)), np.zeros((50, 61), bool), sources_at((30, 25)), [np.array([0])], **SETTINGS
    )[0]
    y, x, values, weights = background.paint()
    np.testing.assert_allclose(values, 3.0 + 0.02 * x - 0.05 * y, rtol=1e-6)
    assert (weights > 0).all()
    middle = (y == 25) & (x == 30)
    assert weights[middle] == weights.max() == pytest.approx(1.0, abs=0.02)
    assert weights[(y == y.min())].max() < 0.05
