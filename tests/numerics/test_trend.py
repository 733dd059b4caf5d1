from dataclasses import replace

import numpy as np
import pytest

from hyper_py.numerics.tiles import LazyPlane
from hyper_py.numerics.trend import Trend, cell_means, fit_surface, fit_trend

PLANE = Trend(constant=-3.0, slope_y=0.7, slope_x=-0.2)


def test_a_plane_is_found_between_blanks_and_taken_off_to_nothing():
    y, x = np.mgrid[:47, :61]
    data = np.where((y - 20) ** 2 + (x - 9) ** 2 < 100, np.nan, PLANE.at(y, x))
    found = fit_trend(data, relative_rms=np.ones(data.shape))
    np.testing.assert_allclose([found.constant, found.slope_y, found.slope_x], [-3.0, 0.7, -0.2], rtol=1e-9)
    left = found.subtracted_from(data)
    assert np.array_equal(np.isnan(left), np.isnan(data))
    assert np.nanmax(np.abs(left)) < 1e-9


def test_least_squares_as_by_lstsq_whatever_the_blocks(rng):
    data = rng.standard_normal((40, 90)) + PLANE.at(*np.mgrid[:40, :90])
    data[rng.random(data.shape) < 0.2] = np.nan
    y, x = np.nonzero(np.isfinite(data))
    level = rng.uniform(0.5, 2.0, data.shape)
    design = np.stack([np.ones(y.size), y, x, level[y, x]], axis=1) / level[y, x, None]
    wanted = np.linalg.lstsq(design, data[y, x] / level[y, x], rcond=None)[0][:3]
    for size in (None, 0, 7, 32):
        for plane in (data, LazyPlane(data.shape, lambda rows, columns: data[rows, columns])):
            found = fit_trend(plane, relative_rms=level, size=size)
            np.testing.assert_allclose([found.constant, found.slope_y, found.slope_x], wanted, rtol=1e-9)


@pytest.mark.parametrize("shape", [(1, 1), (1, 20), (20, 1)])
def test_a_slope_that_cannot_be_told_is_zero(shape):
    found = fit_trend(np.full(shape, 4.0), relative_rms=np.ones(shape))
    assert np.allclose(found.at(*np.indices(shape)), 4.0)
    assert found.slope_y == pytest.approx(0.0, abs=1e-12)
    assert found.slope_x == pytest.approx(0.0, abs=1e-12)


def test_a_map_without_pixels_has_no_plane():
    assert fit_trend(np.full((5, 6), np.nan), relative_rms=np.ones((5, 6))) == Trend()


def test_what_is_as_bright_as_it_fluctuates_is_no_plane():
    """A bright half of the map tilts the plane through it; an offset is still found."""
    level = np.where(np.arange(80) < 40, 1.0, 6.0) * np.ones((50, 1))
    found = fit_trend(10.0 + 3.0 * level, relative_rms=level)
    np.testing.assert_allclose([found.constant, found.slope_y, found.slope_x], [10.0, 0.0, 0.0], atol=1e-9)


def bump(shape: tuple[int, int], *, sigma: float) -> np.ndarray:
    y, x = np.indices(shape)
    return np.exp(-((y - 130.0) ** 2 + (x - 170.0) ** 2) / (2.0 * sigma**2)) + np.exp(-y / 90.0)


def test_means_of_cells_are_those_of_their_known_pixels(rng):
    data = rng.normal(size=(50, 73))
    data[rng.random(data.shape) < 0.3] = np.nan
    data[20:40, 40:60] = np.nan
    means = cell_means(data, cell=20)
    assert means.shape == (3, 4)
    assert np.isnan(means[1, 2])
    assert means[2, 3] == pytest.approx(np.nanmean(data[40:, 60:]))
    assert means[0, 0] == pytest.approx(np.nanmean(data[:20, :20]))


def test_a_smooth_surface_is_followed_between_blanks_up_to_the_borders():
    truth = bump((300, 330), sigma=70.0)
    data = truth.copy()
    data[100:118, 150:175] = np.nan
    surface = fit_surface(data, cell=40, tolerance=1e-6)
    assert surface is not None
    left = surface.part(slice(0, 300), slice(0, 330)) - truth
    assert np.abs(left).max() < 0.025
    assert np.abs(left[10:-10, 10:-10]).max() < 0.01
    y, x = np.array([[0], [299]]), np.array([0.0, 100.5, 329.0])
    corners = [surface.part(slice(k, k + 1), slice(0, 1))[0, 0] for k in (0, 299)]
    np.testing.assert_allclose(surface.at(y, x)[:, 0], corners)


def test_a_surface_does_not_depend_on_tiles_and_goes_with_the_unit(rng):
    data = bump((300, 330), sigma=70.0) + 0.1 * rng.normal(size=(300, 330))
    whole = fit_surface(data, cell=40, tolerance=0.01)
    lazy = LazyPlane(data.shape, lambda rows, columns: data[rows, columns])
    pieces = fit_surface(lazy, cell=40, tolerance=0.01, size=80)
    scaled = fit_surface(1e-20 * data, cell=40, tolerance=1e-22)
    np.testing.assert_allclose(pieces.values, whole.values, rtol=1e-9)
    np.testing.assert_allclose(scaled.values, 1e-20 * whole.values, rtol=1e-9)


def test_few_cells_have_no_surface():
    assert fit_surface(np.ones((119, 400)), cell=40, tolerance=1.0) is None
    assert fit_surface(np.full((400, 400), np.nan), cell=40, tolerance=1.0) is None


def test_a_trend_is_its_plane_and_its_surface():
    surface = fit_surface(bump((300, 330), sigma=70.0), cell=40, tolerance=1e-6)
    trend = replace(PLANE, surface=surface)
    where = slice(17, 120), slice(200, 330)
    y, x = np.indices((300, 330))
    wanted = PLANE.at(y, x)[where] + surface.part(*where)
    np.testing.assert_allclose(trend.plane((300, 330))[where], wanted, rtol=1e-12)
    np.testing.assert_allclose(trend.at(y, x)[where], wanted, rtol=1e-9)
    assert np.abs(trend.subtracted_from(trend.at(y, x))).max() < 1e-9
