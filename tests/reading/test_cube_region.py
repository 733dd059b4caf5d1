import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord

from helpers.runner_tasks import make_wcs
from hyper_py.diagnostics import ConfigurationError
from hyper_py.reading.cube_region import bounding_box, region_mask

SHAPE = (60, 64)
WCS_2 = make_wcs(pixel=2.0, angle=20.0)


def sky(x, y):
    return WCS_2.pixel_to_world(x, y)


def distance(place):
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return sky(x, y).separation(place).to_value(u.arcsec)


def test_pixels_include_both_ends():
    mask = region_mask([3, 4, 10, 6], WCS_2, SHAPE)
    assert mask.sum() == 8 * 3
    assert bounding_box(mask) == (slice(4, 7), slice(3, 11))


@pytest.mark.parametrize("frame", ["icrs", "galactic"])
def test_circle_on_the_sky(frame, tmp_path):
    place = sky(30.0, 25.0)
    own = place.transform_to(frame).spherical
    text = f'{frame}; circle({own.lon.deg:.8f}, {own.lat.deg:.8f}, 16.3")'
    mask = region_mask(text, WCS_2, SHAPE)
    np.testing.assert_array_equal(mask, distance(place) < 16.3)
    (tmp_path / "region.reg").write_text(f"# Region file format: DS9\n{text}\n")
    np.testing.assert_array_equal(region_mask("region.reg", WCS_2, SHAPE, base=tmp_path), mask)


def test_box_on_the_sky_and_regions_that_add_up():
    place = sky(30.0, 25.0)
    text = f'icrs; box({place.ra.deg:.8f}, {place.dec.deg:.8f}, 30", 12", 0)'
    mask = region_mask(text, WCS_2, SHAPE)
    assert mask.sum() == pytest.approx(15 * 6, abs=12)
    y, x = np.nonzero(mask)
    north = (sky(x, y).dec - place.dec).to_value(u.arcsec)
    assert np.abs(north).max() < 6.0
    both = region_mask(f"{text}\nimage; circle(5, 5, 3)", WCS_2, SHAPE)
    assert both[4, 4]
    assert (both & mask).sum() == mask.sum()


@pytest.mark.parametrize(
    "region", ["nonsense", "circle(1,2", "missing.reg", 'icrs; circle(0, 0, 1")', [500, 500, 600, 600]]
)
def test_faults_are_one_line(region):
    with pytest.raises(ConfigurationError, match=r"^cube\.region: [^\n]*$"):
        region_mask(region, WCS_2, SHAPE)


def test_a_region_across_the_border_is_cut():
    assert region_mask([-10, -10, 2, 3], WCS_2, SHAPE).sum() == 3 * 4
    assert isinstance(sky(0.0, 0.0), SkyCoord)
