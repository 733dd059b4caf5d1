"""Reading maps: coordinates, pixel areas and axes."""

import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from helpers.fits_maps import BEAM_PIXELS, BMAJ, PIXEL, SHAPE, make_data, sky_axes, write_map
from hyper_py.detection.given import FixedSources
from hyper_py.diagnostics import InputError
from hyper_py.geometry import celestial_degrees
from hyper_py.options import Options
from hyper_py.pipeline.extraction import extract_sources
from hyper_py.reading.io import read_image


def turned(angle, style):
    """Keywords of one and the same rotated pixel grid in four styles."""
    cos, sin, step = np.cos(np.radians(angle)), np.sin(np.radians(angle)), PIXEL / 3600
    matrix = {"1_1": cos, "1_2": -sin, "2_1": sin, "2_2": cos}
    # CROTA2 turns as AIPS does: Calabretta and Greisen 2002, section 6.1, with CDELT1 < 0.
    if style == "CROTA2":
        return {"CROTA2": -angle}
    if style == "PC":
        return {f"PC{key}": value for key, value in matrix.items()}
    if style == "PC00i00j":
        return {f"PC00{key[0]}00{key[2]}": value for key, value in matrix.items()}
    cd = {f"CD{key}": value * (-step if key[0] == "1" else step) for key, value in matrix.items()}
    return cd | {"CDELT1": None, "CDELT2": None}


@pytest.mark.parametrize("angle", [0.0, 25.0, -130.0, 90.0])
def test_one_grid_in_four_styles(tmp_path, angle):
    places = []
    for style in ("CD", "PC", "PC00i00j", "CROTA2"):
        image = read_image(write_map(tmp_path / f"{style}.fits", **turned(angle, style)))
        places.append(celestial_degrees(image.wcs, [0.0, 29.0], [5.0, 23.0]))
        assert np.median(image.jy_per_pixel) == pytest.approx(1 / BEAM_PIXELS, rel=1e-5)
    for place in places[1:3]:
        np.testing.assert_allclose(place, places[0], atol=1e-9)
    wcs = image.wcs
    assert np.linalg.det(wcs.pixel_scale_matrix) * 3600**2 == pytest.approx(-(PIXEL**2))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"CTYPE1": None}, "no celestial coordinates"),
        ({"CTYPE1": "LINEAR", "CTYPE2": "LINEAR"}, "no celestial coordinates"),
        ({"CTYPE1": "RA---XYZ", "CTYPE2": "DEC--XYZ"}, "coordinates"),
        ({"CTYPE2": "GLAT-TAN"}, "coordinates"),
        ({"CDELT1": None}, "lacks CDELT1"),
        ({"CDELT2": 0.0}, "CDELT2"),
        ({"CDELT1": "small"}, "CDELT1 = 'small' is not a number"),
        ({"CRVAL1": None}, "lacks CRVAL1"),
        ({"CRPIX2": None}, "lacks CRPIX2"),
        ({"CDELT1": 1.0, "CDELT2": 1e-3}, "cannot be right"),
        ({"CDELT1": 30.0, "CDELT2": 30.0}, "cannot be right"),
        ({"CDELT1": 1e-12, "CDELT2": 1e-12}, "cannot be right"),
        ({"PC1_2": 0.5, "PC2_1": -0.5}, "PC matrix is incomplete"),
        ({"CD1_1": -1e-3}, "CD matrix is incomplete"),
        ({"CD1_1": -1e-3, "CD1_2": 2e-4, "CD2_2": 1e-3}, "CD matrix is incomplete"),
        ({"CD1_1": -1e-3, "CD1_2": 5e-4, "CD2_1": 0.0, "CD2_2": 1e-3}, "cannot be right"),
        ({"CUNIT1": "Hz"}, "coordinates"),
        ({"CRVAL2": 4000.0}, "coordinates cannot be used"),
        ({"CRVAL1": 1e10}, "not a position on the sky"),
        ({"CTYPE1": "HPLN-TAN", "CTYPE2": "HPLT-TAN"}, "HPLN-TAN, HPLT-TAN cannot be turned into ICRS"),
        ({"CTYPE1": "TLON-CAR", "CTYPE2": "TLAT-CAR"}, "cannot be turned into ICRS"),
        ({"RADESYS": "GAPPT"}, "RADESYS GAPPT cannot be turned into ICRS"),
        ({"CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV"}, "pixels have no area on the sky: correct the coord"),
        ({"CUNIT1": "furlong"}, "used: In CUNIT1"),
    ],
)
def test_coordinates_that_are_refused(path, changes, text):
    with pytest.raises(InputError, match=text) as info:
        read_image(write_map(path, **changes))
    assert str(info.value).startswith("map: ")


def test_numbers_written_as_text_are_numbers(path):
    image = read_image(write_map(path, CDELT1=str(-PIXEL / 3600), BMAJ=f"{BMAJ / 3600:.10f}"))
    np.testing.assert_allclose(image.data, make_data() / BEAM_PIXELS, rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "frame"),
    [
        ({}, "icrs"),
        ({"EQUINOX": 2000.0}, "fk5"),
        ({"EPOCH": 2000.0}, "fk5"),
        ({"EQUINOX": 1950.0}, "fk4"),
        ({"EPOCH": 1950.0}, "fk4"),
        ({"EQUINOX": "J2000"}, "fk5"),
        ({"EQUINOX": "B1950.0"}, "fk4"),
        ({"CTYPE1": "ELON-TAN", "CTYPE2": "ELAT-TAN"}, "barycentricmeanecliptic"),
        ({"RADESYS": "ICRS", "EQUINOX": 2000.0}, "icrs"),
        ({"RADECSYS": "FK4"}, "fk4"),
        ({"CTYPE1": "GLON-CAR", "CTYPE2": "GLAT-CAR"}, "galactic"),
        ({"CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN", "RADESYS": "FK5", "EQUINOX": 2000.0}, "galactic"),
        ({"CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN", "RADESYS": "ICRS"}, "galactic"),
        ({"CTYPE1": "SLON-TAN", "CTYPE2": "SLAT-TAN"}, "supergalactic"),
        ({"CTYPE1": "SLON-TAN", "CTYPE2": "SLAT-TAN", "RADESYS": "FK5"}, "supergalactic"),
        ({"CTYPE1": "ELON-TAN", "CTYPE2": "ELAT-TAN", "RADESYS": "FK5"}, "barycentricmeanecliptic"),
    ],
)
def test_frames(path, changes, frame):
    """RA and DEC of the place at which the header has 83, -5 are astropy's of that frame."""
    image = read_image(write_map(path, **changes))
    assert image.frame == frame
    expected = SkyCoord(83.0, -5.0, unit="deg", frame=frame).icrs
    fixed = FixedSources(longitude=np.array([83.0]), latitude=np.array([-5.0]))
    (row,) = extract_sources(image, options=Options(detection_only=True), fixed=fixed).catalog
    assert SkyCoord(row["RA"], row["DEC"]).separation(expected).arcsec < 1e-3
    galactic = SkyCoord(row["GLON"], row["GLAT"], frame="galactic")
    assert galactic.icrs.separation(expected).arcsec < 1e-3


def test_fk4_lands_where_astropy_says(path):
    image = read_image(write_map(path, EQUINOX=1950.0))
    ours = SkyCoord(*celestial_degrees(image.wcs, 14.0, 11.0), unit="deg", frame=image.frame).icrs
    assert ours.separation(SkyCoord(83.0, -5.0, unit="deg", frame="fk4", equinox="B1950").icrs).arcsec < 1e-3


def test_ncp_and_gls_by_their_own_formulas(tmp_path):
    # NCP: AIPS Memo 27 (Greisen 1983); l = cos(d) sin(da), m = (cos(d0) - cos(d) cos(da)) / sin(d0).
    image = read_image(write_map(tmp_path / "ncp.fits", CTYPE1="RA---NCP", CTYPE2="DEC--NCP", CRVAL2=-45.0))
    lon, lat = np.radians(celestial_degrees(image.wcs, 28.0, 3.0))
    l, m = np.radians([-PIXEL / 3600 * 14.0, PIXEL / 3600 * -8.0])  # noqa: E741
    d0, da = np.radians(-45.0), lon - np.radians(83.0)
    assert np.cos(lat) * np.sin(da) == pytest.approx(l, rel=1e-9)
    assert (np.cos(d0) - np.cos(lat) * np.cos(da)) / np.sin(d0) == pytest.approx(m, rel=1e-6)
    # GLS: dec = dec0 + m, ra = ra0 + l / cos(dec).
    image = read_image(write_map(tmp_path / "gls.fits", CTYPE1="RA---GLS", CTYPE2="DEC--GLS", CRVAL2=40.0))
    lon, lat = celestial_degrees(image.wcs, 28.0, 3.0)
    assert lat == pytest.approx(40.0 - 8.0 * PIXEL / 3600)
    assert lon == pytest.approx(83.0 - 14.0 * PIXEL / 3600 / np.cos(np.radians(lat)))


def test_pixels_without_sky_are_blank(path):
    header = {
        "CTYPE1": "RA---SIN",
        "CTYPE2": "DEC--SIN",
        "CDELT1": -5.0,
        "CDELT2": 5.0,
        "BMAJ": 15.0,
        "BMIN": 15.0,
    }
    image = read_image(write_map(path, **header))
    y, x = np.indices(SHAPE)
    r = np.radians(5.0 * np.hypot(x - 14.0, y - 11.0))
    assert np.isnan(image.data[r > 1.1]).all()
    good = r < 0.7
    local = 5.0**2 / np.sqrt(1 - r[good] ** 2) / (np.pi / (4 * np.log(2)) * 15.0**2)
    np.testing.assert_allclose(image.data[good], make_data()[good] * local, rtol=1e-2)


def test_degenerate_axes_in_any_order(tmp_path):
    data = make_data()
    plain = read_image(write_map(tmp_path / "2d.fits"))
    stokes = {"CTYPE1": "STOKES", "CRVAL1": 1.0, "CRPIX1": 1.0, "CDELT1": 1.0}
    freq = {"CTYPE4": "FREQ", "CRVAL4": 1e11, "CRPIX4": 1.0, "CDELT4": 1e9}
    first = read_image(
        write_map(tmp_path / "first.fits", data[None, :, :, None], **(stokes | sky_axes(2, 3) | freq))
    )
    turned_over = read_image(write_map(tmp_path / "swapped.fits", data.T.copy(), **sky_axes(2, 1)))
    np.testing.assert_array_equal(first.data, plain.data)
    np.testing.assert_allclose(turned_over.data.T, plain.data, rtol=1e-6)
    for image, (x, y) in ((first, (20.0, 4.0)), (turned_over, (4.0, 20.0))):
        np.testing.assert_allclose(
            celestial_degrees(image.wcs, x, y), celestial_degrees(plain.wcs, 20.0, 4.0), atol=1e-10
        )
    assert first.meta["frequency"] == 1e11


def test_stokes_i_is_taken(path):
    data = make_data((3, *SHAPE))
    axis = {"CTYPE3": "STOKES", "CRVAL3": 2.0, "CRPIX3": 3.0, "CDELT3": 1.0}  # planes are 0, 1 (I), 2
    image = read_image(write_map(path, data, **axis))
    np.testing.assert_allclose(image.data, data[1] / BEAM_PIXELS, rtol=1e-6)
    assert any("Stokes I" in note for note in image.meta["notes"])
