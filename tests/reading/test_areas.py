"""Areas against distances and half-planes on the sky, and against mocpy's own answers."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from mocpy import MOC

from helpers.runner_tasks import make_wcs
from hyper_py.diagnostics import ConfigurationError
from hyper_py.reading.areas import (
    area_plane,
    is_area_name,
    is_excluded,
    moc_plane,
    parse_regions,
    read_regions,
)

SHAPE = (60, 64)
WCS = make_wcs(pixel=2.0, angle=20.0, parity=1)
Y, X = np.mgrid[: SHAPE[0], : SHAPE[1]]


def sky_text(x, y):
    place = WCS.pixel_to_world(x, y)
    return f"{place.ra.deg:.9f}, {place.dec.deg:.9f}"


def separation(x, y):
    return WCS.pixel_to_world(X, Y).separation(WCS.pixel_to_world(x, y)).to_value(u.arcsec)


def inside(where, *, option="detection.region", wcs=WCS):
    return area_plane(where, wcs, SHAPE, option=option)[:, :] == 1.0


def corners_of(points):
    return ", ".join(sky_text(*point) for point in points)


TRIANGLE = [(10.2, 8.3), (50.4, 14.1), (26.7, 51.6)]


def in_triangle():
    """Half-planes, as pixels see them: edges are straight in pixels to a hundredth."""
    sides = []
    for (x0, y0), (x1, y1) in zip(TRIANGLE, TRIANGLE[1:] + TRIANGLE[:1], strict=True):
        sides.append((x1 - x0) * (Y - y0) - (y1 - y0) * (X - x0))
    return np.all(np.array(sides) > 0, axis=0)


def test_exclusions_are_taken_off_wherever_they_stand():
    text = f'icrs; -circle({sky_text(30, 25)}, 11.7") \n icrs; polygon({corners_of(TRIANGLE)})'
    np.testing.assert_array_equal(inside(text), in_triangle() & (separation(30, 25) > 11.7))


def test_of_exclusions_alone_it_is_all_else():
    text = f'icrs; -circle({sky_text(30, 25)}, 11.7")'
    np.testing.assert_array_equal(inside(text), separation(30, 25) > 11.7)


def test_a_mask_of_exclusions_alone_is_refused():
    with pytest.raises(ConfigurationError, match=r"io\.mask: only exclusions.*detection\.region"):
        inside(f'icrs; -circle({sky_text(30, 25)}, 11.7")', option="io.mask")


def test_crtf_polygon_and_excluded_circle(tmp_path):
    points = ", ".join(f"[{sky_text(*point).replace(', ', 'deg, ')}deg]" for point in TRIANGLE)
    circle = f"[[{sky_text(30, 25).replace(', ', 'deg, ')}deg], 11.7arcsec]"
    path = tmp_path / "a.crtf"
    path.write_text(f"#CRTFv0\nglobal coord=ICRS\npoly[{points}]\n-circle{circle}\n")
    assert [is_excluded(one) for one in read_regions(path)] == [False, True]
    np.testing.assert_array_equal(inside(path), in_triangle() & (separation(30, 25) > 11.7))


def test_pieces_are_those_of_the_whole():
    plane = area_plane(f"icrs; polygon({corners_of(TRIANGLE)})", WCS, SHAPE, option="io.mask")
    np.testing.assert_array_equal(plane[17:40, 5:33], in_triangle()[17:40, 5:33])
    rows, columns = np.array([3, 20, 59]), np.array([63, 26, 0])
    np.testing.assert_array_equal(plane.at(rows, columns), in_triangle()[rows, columns])


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("physical\ncircle(10, 20, 3)", "physical"),
        ("circle(10, 20, 3)", "coordinate frame"),
        ('icrs; vector(10, 41, 3", 20)', "vector"),
        ("icrs; point(120, 35)", "point has no area"),
        ("icrs; line(120, 35, 121, 36)", "line has no area"),
        ("nonsense(", "not a valid frame"),
        ("# nothing", "no region"),
    ],
)
def test_what_would_silently_be_left_out_is_refused(text, fault, tmp_path):
    path = tmp_path / "a.reg"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=rf"^detection\.region: [^\n]*{fault}[^\n]*$"):
        inside(path)


def test_regions_elsewhere_on_the_sky_hold_nothing():
    assert not inside('icrs; circle(300, -35, 1000")').any()
    assert not inside('icrs; circle(121, 35, 30")').any()


def test_annuli_have_holes():
    ring = inside(f'icrs; annulus({sky_text(30, 25)}, 8.3", 21.1")')
    np.testing.assert_array_equal(ring, (separation(30, 25) > 8.3) & (separation(30, 25) < 21.1))


@pytest.mark.parametrize("suffix", [".moc", ".json", ".fits"])
@pytest.mark.parametrize("kind", ["RA/DEC", "GLON/GLAT"])
def test_moc(tmp_path, suffix, kind):
    wcs = make_wcs(pixel=20.0, kind=kind)
    centre = wcs.pixel_to_world(31.0, 27.0).icrs
    moc = MOC.from_cone(centre.ra, centre.dec, radius=300 * u.arcsec, max_depth=15)
    path = tmp_path / f"a{suffix}"
    moc.save(path, format={".moc": "ascii", ".json": "json"}.get(suffix, "fits"))
    found = moc_plane(path, wcs, SHAPE, option="io.mask")[:, :] == 1.0
    places = wcs.pixel_to_world(X, Y)
    np.testing.assert_array_equal(found, moc.contains_skycoords(SkyCoord(places).icrs))
    # Cells of depth 15 have sides of 6.4".
    distance = places.separation(centre).to_value(u.arcsec)
    assert found[distance < 300].all()
    assert not found[distance > 315].any()


def test_a_moc_that_is_none(tmp_path):
    path = tmp_path / "a.moc"
    path.write_text("not a moc")
    with pytest.raises(ConfigurationError, match=r"^io\.mask: .*not a MOC[^\n]*$"):
        inside(path, option="io.mask")
    with pytest.raises(ConfigurationError, match="No such file"):
        inside(tmp_path / "b.moc", option="io.mask")


def test_names():
    assert all(map(is_area_name, ("a.reg", "b.CRTF", "c.moc", "d(1).reg", 'icrs; circle(1, 2, 3")')))
    assert not any(map(is_area_name, ("MASK", "mask.fits", "mask (1).fits", "mask.fits[DQ(2)]")))
    assert len(parse_regions('icrs; circle(1, 2, 3") # color=red', option="x")) == 1
