"""Ellipses, beams and coordinates, refereed by astropy, radio_beam and closed forms."""

import math

import numpy as np
import pytest
import radio_beam
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_area
from hypothesis import given
from hypothesis import strategies as st

from hyper_py.diagnostics import InputError
from hyper_py.geometry import (
    GAUSSIAN_AREA,
    Beam,
    Ellipse,
    celestial_degrees,
    covariance_from_ellipse,
    ellipse_from_covariance,
    local_jacobian,
    pixel_ellipse_from_sky,
    pixel_from_celestial,
    reference_jacobian,
    sky_ellipse_from_pixel,
)
from hyper_py.reading.pixel_areas import pixel_areas

ANGLE = st.floats(0, math.pi)
SIZE = st.floats(0.5, 50)


def make_wcs(
    projection="TAN",
    *,
    lon="RA",
    lat="DEC",
    centre=(83.0, -5.0),
    scale=2.0,
    angle=0.0,
    parity=-1,
    crpix=(50.5, 40.5),
    aspect=1.0,
):
    """A WCS with pixels of `scale` arcsec (times `aspect` along y), turned by `angle` degrees."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = [f"{lon:-<5}{projection}", f"{lat:-<5}{projection}"]
    wcs.wcs.crval, wcs.wcs.crpix = centre, crpix
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    turn = np.array([[cos, -sin], [sin, cos]])
    wcs.wcs.cd = turn @ np.diag([parity * scale, aspect * scale]) / 3600.0
    wcs.wcs.set()
    return wcs


GEOMETRIES = [
    make_wcs(),
    make_wcs(parity=1),
    make_wcs(angle=33.0),
    make_wcs("SIN", angle=-120.0, parity=1),
    make_wcs("SIN", lon="GLON", lat="GLAT", centre=(0.0, 0.1)),
    make_wcs("CAR", lon="GLON", lat="GLAT", centre=(0.0, 0.0), scale=30.0, angle=10.0),
    make_wcs("TAN", centre=(0.0, 89.9), scale=10.0),
    make_wcs("SFL", centre=(10.0, 0.0), scale=60.0, aspect=1.7),
    make_wcs("AIT", centre=(0.0, 0.0), scale=600.0),
]


@given(SIZE, SIZE, ANGLE)
def test_ellipse_and_covariance_are_inverse(a, b, angle):
    major, minor = max(a, b), min(a, b)
    found = ellipse_from_covariance(covariance_from_ellipse(major, minor, angle))
    np.testing.assert_allclose([found.major, found.minor], [major, minor], rtol=1e-7)
    if major > 1.01 * minor:
        assert math.sin(found.angle - angle) == pytest.approx(0.0, abs=1e-5)


def test_beam_area_is_radio_beams():
    ours = Beam(major=12.0, minor=7.0, pa=30.0)
    theirs = radio_beam.Beam(12 * u.arcsec, 7 * u.arcsec, 30 * u.deg)
    assert ours.solid_angle == pytest.approx(theirs.sr.to_value(u.arcsec**2), rel=1e-12)
    assert GAUSSIAN_AREA * ours.fwhm**2 == pytest.approx(ours.solid_angle)


@pytest.mark.parametrize(
    "bad", [(1.0, 2.0, 0.0), (0.0, 0.0, 0.0), (-1.0, -2.0, 0.0), (np.nan, 1.0, 0.0), (1.0, 1.0, np.inf)]
)
def test_impossible_beams_are_refused(bad):
    with pytest.raises(InputError):
        Beam(major=bad[0], minor=bad[1], pa=bad[2])


def test_quantities_are_converted_to_the_units_of_a_beam():
    made = Beam(
        major=0.3 * u.arcmin, minor=16 * u.arcsec, pa=0.5 * u.rad, area=2e-8 * u.sr, wings=np.float32(60)
    )
    assert made.major == pytest.approx(18.0)
    assert (made.minor, made.wings) == (16.0, 60.0)
    assert made.pa == pytest.approx(math.degrees(0.5))
    assert made.area == pytest.approx(2e-8 * math.degrees(3600.0) ** 2)
    assert all(type(value) is float for value in (made.major, made.wings, made.area))
    assert repr(Beam(major=18 * u.arcsec, minor=18)) == "Beam(major=18.0, minor=18.0, pa=0.0, source='given')"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"major": 18 * u.Jy}, r"Beam\(major=<Quantity 18. Jy>\): give one number in arcsec, or a quantity"),
        ({"major": "18"}, r"Beam\(major='18'\)"),
        ({"major": [18.0, 19.0] * u.arcsec}, r"Beam\(major=<Quantity"),
        ({"minor": None}, r"Beam\(minor=None\)"),
        ({"pa": True}, r"Beam\(pa=True\): give one number in deg"),
        ({"area": 3 * u.arcsec}, r"Beam\(area=<Quantity 3. arcsec>\): give one number in arcsec2"),
    ],
)
def test_other_values_of_a_beam_are_named(values, message):
    with pytest.raises(InputError, match=message):
        Beam(**{"major": 18.0, "minor": 18.0, **values})


@given(st.floats(0.05, 0.5), st.floats(1.5, 20.0), st.floats(0.0, 30.0))
def test_flux_behind_a_gaussian_of_a_source_in_a_beam_with_wings(share, wings, size):
    """A source of flux 1, seen by two Gaussians of which one holds `share`; its fit has the peak of both."""
    core = 3.0
    # Per arcsec2, times GAUSSIAN_AREA: peaks of the beam and of the source.
    peak = (1 - share) / core**2 + share / (wings * core) ** 2
    beam = Beam(major=core, minor=core, area=GAUSSIAN_AREA / peak, wings=wings * core)
    seen = (1 - share) / (core**2 + size**2) + share / ((wings * core) ** 2 + size**2)
    fitted = seen * (core**2 + size**2)
    assert beam.flux_factor(np.hypot(core, size)) == pytest.approx(1.0 / fitted, rel=1e-9)


def test_a_gaussian_beam_needs_no_factor():
    assert Beam(major=3.0, minor=2.0).flux_factor([2.0, 9.0]).tolist() == [1.0, 1.0]
    with pytest.raises(InputError, match="wings of 2"):
        Beam(major=3.0, minor=2.0, area=20.0, wings=2.0)


@pytest.mark.parametrize("wcs", GEOMETRIES)
@pytest.mark.parametrize("pa", [0.0, 20.0, 75.0, 110.0, 160.0])
def test_position_angle_against_skycoord(wcs, pa):
    """A thin ellipse towards a point at position angle `pa`, placed by astropy, has that angle."""
    x, y = 30.0, 22.0
    frame = "galactic" if wcs.wcs.ctype[0].startswith("GLON") else "icrs"
    centre = SkyCoord(*celestial_degrees(wcs, x, y) * u.deg, frame=frame)
    step = 0.1 * math.sqrt(proj_plane_pixel_area(wcs)) * u.deg
    other = centre.directional_offset_by(pa * u.deg, step)
    x1, y1 = pixel_from_celestial(wcs, other.spherical.lon.deg, other.spherical.lat.deg)
    sky = sky_ellipse_from_pixel(Ellipse(8.0, 0.01, np.arctan2(y1 - y, x1 - x)), local_jacobian(wcs, x, y))
    assert math.sin(math.radians(float(sky.angle) - pa)) == pytest.approx(0.0, abs=2e-4)


@pytest.mark.parametrize("wcs", GEOMETRIES)
def test_sky_and_pixel_ellipses_are_inverse(wcs):
    jacobian = local_jacobian(wcs, 12.0, 60.0)
    pixel = Ellipse(9.0, 4.0, 1.1)
    back = pixel_ellipse_from_sky(sky_ellipse_from_pixel(pixel, jacobian), jacobian)
    np.testing.assert_allclose(back, pixel, rtol=1e-9)


@pytest.mark.parametrize("wcs", GEOMETRIES)
def test_pixel_positions_are_inverse(wcs):
    x, y = np.array([3.0, 50.0, 71.5]), np.array([10.0, 2.0, 44.0])
    np.testing.assert_allclose(pixel_from_celestial(wcs, *celestial_degrees(wcs, x, y)), [x, y], atol=1e-6)


def test_axes_in_either_order():
    wcs, swapped = make_wcs(angle=20.0), WCS(naxis=2)
    swapped.wcs.ctype, swapped.wcs.crval = list(wcs.wcs.ctype)[::-1], wcs.wcs.crval[::-1]
    swapped.wcs.crpix, swapped.wcs.cd = wcs.wcs.crpix, wcs.wcs.cd[::-1]
    swapped.wcs.set()
    np.testing.assert_allclose(
        celestial_degrees(swapped, 3.0, 4.0), celestial_degrees(wcs, 3.0, 4.0), rtol=1e-12
    )
    np.testing.assert_allclose(local_jacobian(swapped, 3.0, 4.0), local_jacobian(wcs, 3.0, 4.0), rtol=1e-9)


def test_small_maps_have_one_pixel_area():
    wcs = make_wcs("SIN", scale=0.013)
    area = pixel_areas(wcs, (300, 300))
    assert isinstance(area, float)
    assert area == pytest.approx(proj_plane_pixel_area(wcs) * 3600**2, rel=1e-6)


@pytest.mark.parametrize("shape", [(81, 101), (80, 3), (2, 90), (200, 150)])
@pytest.mark.parametrize(
    ("projection", "area"),
    [
        # Calabretta and Greisen 2002, A&A 395, 1077, section 5.1, theta the native latitude:
        # d(sky)/d(plane) is 1/sin(theta) for SIN and sin(theta)^3 for TAN.
        ("SIN", lambda r: 1.0 / np.sqrt(1.0 - r**2)),
        ("TAN", lambda r: (1.0 + r**2) ** -1.5),
        ("ZEA", lambda r: np.ones_like(r)),
    ],
)
def test_pixel_areas_against_closed_forms(projection, area, shape):
    wcs = make_wcs(projection, scale=600.0, crpix=(20.0, 45.0))
    y, x = np.indices(shape)
    r = np.radians(np.hypot(x - 19.0, y - 44.0) * 600.0 / 3600.0)
    found = np.broadcast_to(pixel_areas(wcs, shape), shape)
    # Pixels have a size: chords across 1/6 degree leave 1e-6 of second order.
    np.testing.assert_allclose(found, area(r) * 600.0**2, rtol=1e-5)


def test_car_areas_sum_to_the_zone():
    wcs = make_wcs("CAR", centre=(30.0, 0.0), scale=1800.0, crpix=(360.5, 120.5))
    areas = pixel_areas(wcs, (240, 720))
    total = np.sum(areas) / 3600.0**2
    zone = 4 * math.pi * math.sin(math.radians(60.0)) * math.degrees(1.0) ** 2
    assert total == pytest.approx(zone, rel=1e-4)


def test_areas_beyond_the_sky_are_nan_and_the_rest_exact():
    wcs = make_wcs("SIN", scale=3600.0, crpix=(60.5, 60.5))
    areas = pixel_areas(wcs, (120, 120))
    y, x = np.indices((120, 120))
    r = np.radians(np.hypot(x - 59.5, y - 59.5))
    assert np.isnan(areas[r > 1.03]).all()
    inside = r < 0.8
    np.testing.assert_allclose(areas[inside], 3600.0**2 / np.sqrt(1 - r[inside] ** 2), rtol=1e-3)


def test_reference_falls_back_to_where_the_sky_is():
    wcs = make_wcs("SIN", scale=3600.0, crpix=(-10.0, 30.0))
    jacobian = reference_jacobian(
        wcs, (61, 141)
    )  # the centre, 80 degrees from the pole of the projection, has no sky
    assert np.isfinite(jacobian).all()
    with pytest.raises(InputError, match="no pixel of the map is on the sky"):
        reference_jacobian(make_wcs("SIN", scale=3600.0, crpix=(-100.0, 30.0)), (20, 20))
