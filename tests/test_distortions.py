"""SIP and TPV distortions, refereed by astropy's full transformation."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given
from hypothesis import strategies as st

from helpers.fits_maps import make_data, write_map
from hyper_py.diagnostics import InputError
from hyper_py.geometry import (
    ARCSEC_PER_RADIAN,
    celestial_degrees,
    local_jacobian,
    pixel_from_celestial,
)
from hyper_py.reading.io import open_cube, read_image
from hyper_py.reading.pixel_areas import pixel_areas
from hyper_py.writing.images import write_image

SHAPE = (90, 120)
TERMS = ("2_0", "1_1", "0_2", "3_0", "0_3")
STRENGTH = st.floats(-1.5, 1.5)


def sip_cards(a, b, *, edge=60.0):
    """SIP cards: the size in pixels of each term at `edge` pixels from the reference."""
    cards = {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 3, "B_ORDER": 3}
    for letter, sizes in (("A", a), ("B", b)):
        for term, size in zip(TERMS, sizes, strict=True):
            cards[f"{letter}_{term}"] = size / edge ** sum(map(int, term.split("_")))
    return cards


def tpv_cards(sizes):
    """TPV cards: departures from PVi_1 = 1 in the quadratic and cubic terms."""
    cards = {"CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV", "PV1_1": 1.0, "PV2_1": 1.0}
    return cards | {f"PV{i}_{k}": size for (i, k), size in sizes.items()}


def wcs_of(cards, *, scale=30.0):
    header = fits.Header({"NAXIS": 2, "NAXIS1": SHAPE[1], "NAXIS2": SHAPE[0], "CTYPE1": "RA---TAN"})
    header.update({"CTYPE2": "DEC--TAN", "CRVAL1": 83.0, "CRVAL2": -35.0, "CRPIX1": 60.5, "CRPIX2": 45.5})
    header.update({"CD1_1": -scale / 3600, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": scale / 3600})
    header.update(cards)
    return WCS(header)


def on_sphere(longitude, latitude):
    lon, lat = np.radians(longitude), np.radians(latitude)
    return np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])


def check(wcs):
    """Positions, their inverse, and areas: of the triangles that pixels are on the sphere."""
    y, x = np.mgrid[0 : SHAPE[0] - 1 : 7j, 0 : SHAPE[1] - 1 : 7j]
    places = celestial_degrees(wcs, x, y)
    np.testing.assert_allclose(places, wcs.all_pix2world(x, y, 0), rtol=0, atol=1e-11)
    np.testing.assert_allclose(pixel_from_celestial(wcs, *places), [x, y], rtol=0, atol=1e-6)
    corners = [
        on_sphere(*wcs.all_pix2world(x + i, y + j, 0))
        for i, j in ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5))
    ]
    halves = [np.cross(b - a, c - a, axis=0) for a, b, c in (corners[:3], [corners[0], *corners[2:]])]
    area = sum(0.5 * np.linalg.norm(half, axis=0) for half in halves) * ARCSEC_PER_RADIAN**2
    jacobian = local_jacobian(wcs, x, y)
    np.testing.assert_allclose(np.abs(np.linalg.det(jacobian)), area, rtol=1e-4)
    rows, columns = np.rint(y).astype(int), np.rint(x).astype(int)
    areas = np.broadcast_to(pixel_areas(wcs, SHAPE), SHAPE)
    here = np.abs(np.linalg.det(local_jacobian(wcs, columns, rows)))
    np.testing.assert_allclose(areas[rows, columns], here, rtol=2e-6)


@given(a=st.tuples(*[STRENGTH] * 5), b=st.tuples(*[STRENGTH] * 5))
def test_sip_is_astropys(a, b):
    check(wcs_of(sip_cards(a, b)))


@pytest.mark.parametrize("n", [2, 3, 6, 11])
@pytest.mark.parametrize("frame", [("RA---", "DEC--"), ("GLON-", "GLAT-")])
def test_old_headers_of_scamp_are_tpv(tmp_path, n, frame):
    """TAN with PV: wcslib knows them only where there are many."""
    cards = {f"PV{axis}_{k}": {0: 0.0, 1: 1.01, 2: 0.002}.get(k, 1e-4) for axis in (1, 2) for k in range(n)}
    cards = {key: value for key, value in cards.items() if key not in ("PV1_3", "PV2_3")}

    def named(kind):
        return cards | {f"CTYPE{k}": f"{one}{kind}" for k, one in enumerate(frame, start=1)}

    path = write_map(tmp_path / "m.fits", make_data(SHAPE), **named("TAN"))
    image = read_image(path)
    right = WCS(fits.Header({**fits.getheader(path), **named("TPV")}))
    x, y = np.array([0.0, 60.0, 119.0]), np.array([0.0, 45.0, 89.0])
    np.testing.assert_allclose(celestial_degrees(image.wcs, x, y), right.all_pix2world(x, y, 0), rtol=1e-12)
    assert any("distortions of SCAMP" in note for note in image.meta["notes"])


def test_zeros_that_casa_writes_are_no_distortions(tmp_path):
    path = write_map(tmp_path / "m.fits", make_data(SHAPE), PV2_1=0.0, PV2_2=0.0, LONPOLE=180.0)
    plain = read_image(write_map(tmp_path / "p.fits", make_data(SHAPE)))
    x, y = np.array([0.0, 60.0, 119.0]), np.array([0.0, 45.0, 89.0])
    found = celestial_degrees(read_image(path).wcs, x, y)
    np.testing.assert_array_equal(found, celestial_degrees(plain.wcs, x, y))


@given(
    st.dictionaries(
        st.sampled_from([(i, k) for i in (1, 2) for k in (4, 5, 6, 7, 10)]), st.floats(-0.03, 0.03)
    )
)
def test_tpv_is_astropys(sizes):
    check(wcs_of(tpv_cards(sizes)))


def test_places_that_the_polynomial_does_not_reach_have_no_pixel():
    wcs = wcs_of(sip_cards([1.5] * 5, [1.5] * 5))
    x, y = pixel_from_celestial(
        wcs, np.array([83.0, 83.0, 120.0, 263.0]), np.array([-35.0, -36.0, 20.0, 35.0])
    )
    assert np.hypot(x[0] - 59.5, y[0] - 44.5) < 1e-6
    known = np.isfinite(x)
    assert known[:1].all()
    assert not known[3]
    np.testing.assert_allclose(
        celestial_degrees(wcs, x[known], y[known])[1], np.array([-35.0, -36.0, 20.0, 35.0])[known]
    )


def test_products_and_cutouts_keep_the_distortions(tmp_path):
    cards = sip_cards([1.0, 0.5, 0, 0, 0], [0, 0, -0.7, 0, 0], edge=20.0)
    image = read_image(write_map(tmp_path / "map.fits", **cards))
    assert image.wcs.has_distortion
    write_image(tmp_path / "model.fits", image.data, image, what="model")
    part = image.wcs[5:20, 3:25]
    np.testing.assert_allclose(
        celestial_degrees(part, 2.0, 4.0), celestial_degrees(image.wcs, 5.0, 9.0), atol=1e-11
    )
    again = read_image(tmp_path / "model.fits")
    np.testing.assert_allclose(
        celestial_degrees(again.wcs, 3.0, 4.0), celestial_degrees(image.wcs, 3.0, 4.0), atol=1e-11
    )


def test_a_cube_is_distorted_like_its_planes(tmp_path):
    cards = sip_cards([1.0, 0.5, 0, 0, 0], [0, 0, -0.7, 0, 0], edge=20.0)
    flat = read_image(write_map(tmp_path / "map.fits", **cards))
    spectral = {"CTYPE3": "FREQ", "CRVAL3": 1e11, "CDELT3": 1e8, "CRPIX3": 1.0, "CUNIT3": "Hz"}
    path = write_map(tmp_path / "cube.fits", np.array([make_data()] * 2), **cards, **spectral)
    with open_cube(path) as cube:
        np.testing.assert_allclose(cube.spectral_values, [1e11, 1.001e11])
        place = celestial_degrees(cube.channel(1).wcs, 3.0, 4.0)
    np.testing.assert_allclose(place, celestial_degrees(flat.wcs, 3.0, 4.0), atol=1e-11)


def test_distortions_of_other_axes_are_refused(tmp_path):
    cards = sip_cards([1.0] * 5, [1.0] * 5) | {"CTYPE1": "FREQ", "CRVAL1": 1e11, "CDELT1": 1e8, "CRPIX1": 1.0}
    moved = {
        "CTYPE2": "RA---TAN",
        "CTYPE3": "DEC--TAN",
        "CRVAL3": -5.0,
        "CDELT3": 1e-3,
        "CRPIX3": 5.0,
        "CUNIT1": "Hz",
    }
    path = write_map(tmp_path / "cube.fits", np.array([make_data()] * 2), **(cards | moved))
    with pytest.raises(InputError, match="SIP distortions"):
        read_image(path)
