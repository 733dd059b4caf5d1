import numpy as np
import pytest

from hyper_py.numerics.tiles import LazyPlane
from hyper_py.numerics.trend import Trend, fit_trend

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
