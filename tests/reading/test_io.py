"""Reading FITS files: what is understood, and what is refused with which words."""

import gzip
import tracemalloc

import numpy as np
import pytest
import radio_beam
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table

from hyper_py.diagnostics import ConfigurationError, InputError
from hyper_py.geometry import Beam, celestial_degrees
from hyper_py.numerics import models
from hyper_py.options import Options
from hyper_py.pipeline.extraction import FixedSources, extract_sources
from hyper_py.reading.inspection import inspect_image
from hyper_py.reading.io import open_cube, read_image

PIXEL, BMAJ, BMIN = 4.0, 20.0, 12.0
BEAM_PIXELS = np.pi / (4 * np.log(2)) * BMAJ * BMIN / PIXEL**2
SHAPE = (24, 30)


def sky_axes(lon, lat):
    """Keywords of the sky on two axes."""
    return {
        f"CTYPE{lon}": "RA---TAN", f"CRVAL{lon}": 83.0, f"CRPIX{lon}": 15.0, f"CDELT{lon}": -PIXEL / 3600,
        f"CTYPE{lat}": "DEC--TAN", f"CRVAL{lat}": -5.0, f"CRPIX{lat}": 12.0, f"CDELT{lat}": PIXEL / 3600,
    }  # fmt: skip


def axis3(kind, value, **others):
    """Keywords of a third axis."""
    return {"CTYPE3": kind, "CRVAL3": value, "CRPIX3": 1.0, "CDELT3": 0.01 * value} | others


def make_header(**changes):
    """A plain map's header; None takes a keyword away."""
    header = fits.Header()
    beam = {"BMAJ": BMAJ / 3600, "BMIN": BMIN / 3600, "BPA": 30.0}
    for key, value in (sky_axes(1, 2) | {"BUNIT": "Jy/beam"} | beam | changes).items():
        if value is not None:
            header[key] = value
    return header


def make_data(shape=SHAPE, seed=3, dtype=np.float64):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def write(path, data=None, hdus=(), **changes):
    data = make_data() if data is None else data
    fits.HDUList([fits.PrimaryHDU(data, make_header(**changes)), *hdus]).writeto(path, output_verify="ignore")
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "map.fits"


def test_plain_map(path):
    image = read_image(write(path, OBJECT="M 42", RESTFRQ=345e9))
    np.testing.assert_allclose(image.data, make_data() / BEAM_PIXELS, rtol=1e-6)
    assert image.name == "map"
    assert image.unit == "Jy/beam"
    assert image.data.dtype == np.float64
    assert (image.beam.major, image.beam.minor, image.beam.pa) == pytest.approx((BMAJ, BMIN, 30.0))
    assert image.meta["frequency"] == 345e9
    assert image.meta["object"] == "M 42"
    assert image.meta["notes"] == ()
    assert image.meta["unit_source"] == "BUNIT"


@pytest.mark.parametrize(
    "name", ["map.fits", "map.fit", "map.FITS", "map.fits.gz", "map.fits.fz", "map.fit.gz"]
)
def test_name_and_packing(tmp_path, name):
    plain = write(tmp_path / "x.fits", BUNIT="MJy/sr")
    data, header = fits.getdata(plain), fits.getheader(plain)
    path = tmp_path / name
    if name.endswith("fz"):
        packed = fits.CompImageHDU(data, header, compression_type="GZIP_2", quantize_level=0)
        fits.HDUList([fits.PrimaryHDU(), packed]).writeto(path)
    elif name.endswith("gz"):
        path.write_bytes(gzip.compress(plain.read_bytes()))
    else:
        path.write_bytes(plain.read_bytes())
    image = read_image(path)
    assert image.name == "map"
    np.testing.assert_allclose(image.data, data * 1e6 * (PIXEL * u.arcsec).to_value(u.rad) ** 2, rtol=1e-6)


def test_scaled_integers_with_blank(path):
    stored = np.arange(24 * 30, dtype=np.int16).reshape(SHAPE)
    hdu = fits.PrimaryHDU(stored, make_header(BUNIT="Jy/pixel", BLANK=7))
    hdu.header["BSCALE"], hdu.header["BZERO"] = 0.25, -3.0
    hdu.writeto(path)
    raw = bytearray(path.read_bytes())  # astropy would have scaled the array while writing
    at = len(hdu.header.tostring())
    raw[at : at + stored.nbytes] = stored.astype(">i2").tobytes()
    path.write_bytes(bytes(raw))
    header = fits.getheader(path)
    if "BSCALE" not in header:
        pytest.fail("the test's file lost its BSCALE")
    image = read_image(path)
    expected = np.where(stored == 7, np.nan, 0.25 * stored - 3.0)
    np.testing.assert_allclose(image.data, expected)


@pytest.mark.parametrize("dtype", [">f4", ">f8", "<f4", ">i4", ">i2", "u1"])
def test_kinds_of_numbers(path, dtype):
    data = np.arange(24 * 30).reshape(SHAPE).astype(dtype)
    np.testing.assert_allclose(read_image(write(path, data, BUNIT="Jy")).data, data.astype(float))


@pytest.mark.parametrize("scale", [1e300, 1e120])
def test_values_that_no_map_has(path, scale):
    with pytest.raises(InputError, match=r"map.*: HDU 0 has values above 1e\+100: correct BSCALE"):
        read_image(write(path, make_data() * scale))
    whole = fits.PrimaryHDU(np.ones(SHAPE, dtype=np.int16), make_header())
    whole.writeto(path, overwrite=True)
    with fits.open(path, mode="update", do_not_scale_image_data=True) as file:
        file[0].header["BSCALE"] = scale
    with pytest.raises(InputError):  # in the precision that astropy gives short integers it is infinite
        read_image(path)


def test_scattered_blank_pixels(path):
    """Sources keep their fluxes: what is blank in an aperture is taken from the model, and counted."""
    rng = np.random.default_rng(17)
    sources = np.array([[40.0, 20.0, 18.0, 2.0, 2.0, 0.0], [30.0, 44.0, 40.0, 2.0, 2.0, 0.0]])
    whole = models.render(sources, (64, 64)) + rng.normal(size=(64, 64))
    blank = np.where(rng.random(whole.shape) < 0.03, np.nan, whole)
    beam = {"BMAJ": 4.71 * PIXEL / 3600, "BMIN": 4.71 * PIXEL / 3600, "CRPIX1": 32.0, "CRPIX2": 32.0}
    full, partly = (
        extract_sources(read_image(write(path.with_name(name), data, **beam))).catalog
        for name, data in (("whole.fits", whole), ("blank.fits", blank))
    )
    assert len(full) == len(partly) == 2
    difference = (partly["FLUX"] - full["FLUX"]) / full["FLUX_ERR"]
    assert (np.abs(difference) < 3.0).all()
    assert partly["N_BLANK"].sum() > 0


def test_infinite_pixels_are_blank(path):
    data = make_data()
    data[2, 3], data[4, 5], data[6, 7] = np.inf, -np.inf, np.nan
    image = read_image(write(path, data))
    assert list(zip(*np.nonzero(np.isnan(image.data)), strict=True)) == [(2, 3), (4, 5), (6, 7)]


# --- files that are no maps


def test_missing_file_and_directory(tmp_path):
    for where in (tmp_path / "none.fits", tmp_path):
        with pytest.raises(InputError, match="no such file"):
            read_image(where)


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"SIMPLE  =                    T", b"\x1f\x8b\x08rubbish", b"\0" * 5000]
)
def test_not_fits(path, content):
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"^map\.fits: "):
        read_image(path)


@pytest.mark.parametrize("keep", [3000, 4000, 5760])
def test_truncated(path, keep):
    path.write_bytes(write(path, make_data((60, 60))).read_bytes()[:keep])
    with pytest.raises(InputError, match=r"map\.fits: .*(cut short|cannot be read)"):
        read_image(path)


def test_truncated_gzip(tmp_path):
    packed = gzip.compress(write(tmp_path / "x.fits", make_data((60, 60))).read_bytes())
    path = tmp_path / "map.fits.gz"
    path.write_bytes(packed[: len(packed) // 2])
    for read in (read_image, open_cube):
        with pytest.raises(InputError, match=r"map\.fits\.gz: "):
            read(path)


@pytest.mark.parametrize("tail", [b"x", b"\0" * 20000, b" " * 2880, b"\n" * 5])
def test_stray_bytes_do_no_harm(path, tail):
    path.write_bytes(write(path).read_bytes() + tail)
    assert read_image(path).shape == SHAPE


def test_more_data_than_the_header_says_is_refused(path):
    write(path, make_data((60, 60)))
    raw = path.read_bytes().replace(b"BITPIX  =                  -64", b"BITPIX  =                  -32")
    path.write_bytes(raw)
    with pytest.raises(InputError, match="a header is wrong"):
        read_image(path)


def test_blank_map(path):
    with pytest.raises(InputError, match=r"^map: every pixel is blank"):
        read_image(write(path, np.full(SHAPE, np.nan)))


def test_table_only(path):
    Table({"x": [1, 2]}).write(path)
    with pytest.raises(InputError, match="no image of two axes or more"):
        read_image(path)


# --- units and beams


def test_all_that_is_missing_is_told_at_once(path):
    with pytest.raises(InputError) as info:
        read_image(write(path, BUNIT=None, BMAJ=None, BMIN=None, FWHM_260=12.5))
    text = str(info.value)
    assert "\n" not in text
    for part in (
        "map: no BUNIT",
        "units.bunit",
        "no beam (the header has FWHM_260 = 12.5)",
        "survey.beam",
        "survey.name",
    ):
        assert part in text


def test_options_go_before_the_header(path):
    write(path, BUNIT="counts", BMAJ="nonsense")
    beam = Beam(major=8.0, minor=8.0)
    image = read_image(path, bunit="mJy/beam", beam=beam)
    assert image.beam is beam
    np.testing.assert_allclose(image.data, 1e-3 * make_data() * PIXEL**2 / beam.solid_angle, rtol=1e-6)
    assert read_image(path, bunit="mJy", survey_code=4).beam.solid_angle == 423.0
    assert read_image(path, bunit="mJy", survey_name="laboca").beam.major == pytest.approx(19.2)
    with pytest.raises(ConfigurationError, match="did you mean"):
        read_image(path, survey_name="labocca")
    with pytest.raises(InputError, match="unit 'furlong' is not known"):
        read_image(path, bunit="furlong", beam=beam)


@pytest.mark.parametrize("key", ["UNIT", "UNITS"])
def test_unit_under_another_keyword(path, key):
    image = read_image(write(path, BUNIT=None, **{key: "mJy/beam"}))
    assert image.meta["unit_source"] == key
    np.testing.assert_allclose(image.data, 1e-3 * make_data() / BEAM_PIXELS, rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "hz"),
    [
        ({"RESTFRQ": 230e9}, 230e9),
        ({"RESTFREQ": 230e9}, 230e9),
        ({"WAVELEN": 0.00085}, 299792458.0 / 0.00085),
        ({"WAVELNTH": 850.0}, 299792458.0 / 0.00085),
        (axis3("FREQ", 100e9, RESTFRQ=90e9), 100e9),
        (axis3("WAVE", 1e-3, CUNIT3="m"), 299792458.0 / 1e-3),
        (axis3("VRAD", 3e6, RESTFRQ=90e9), 90e9 * (1 - 3e6 / 299792458.0)),
        (axis3("VOPT", 3e6, RESTFRQ=90e9), 90e9 / (1 + 3e6 / 299792458.0)),
    ],
)
def test_kelvin_needs_and_finds_a_frequency(path, changes, hz):
    image = read_image(write(path, BUNIT="K(Tmb)", **changes))
    brightness = (1 * u.K).to(u.Jy / u.sr, u.brightness_temperature(hz * u.Hz))
    factor = (brightness * (PIXEL * u.arcsec) ** 2).to_value(u.Jy)
    np.testing.assert_allclose(image.data, factor * make_data(), rtol=1e-6)
    assert read_image(path, frequency=2 * hz).data[0, 0] == pytest.approx(4 * image.data[0, 0])


@pytest.mark.parametrize(
    "changes", [{}, {"RESTFRQ": 1.0}, {"RESTFRQ": "high"}, {"WAVELEN": 0.85}, {"RESTFRQ": -3e9}]
)
def test_kelvin_without_a_plausible_frequency(path, changes):
    with pytest.raises(InputError, match=r"unit 'K' needs a frequency: set units\.frequency"):
        read_image(write(path, BUNIT="K", **changes))
    with pytest.raises(InputError, match=r"units\.frequency of 3\.0 Hz"):
        read_image(path, frequency=3.0)
    assert read_image(path, survey_name="laboca").meta["frequency"] == pytest.approx(344.6e9, rel=1e-3)


def test_beam_in_aips_history(path):
    header = make_header(BMAJ=None, BMIN=None, BPA=None)
    header["HISTORY"] = "AIPS   CLEAN BMAJ=  9.9000E-02 BMIN=  9.8000E-02 BPA=   9.00"
    header["HISTORY"] = "AIPS   CLEAN BMAJ=  5.2500E-03 BMIN=  4.2500E-03 BPA=  -7.00"
    fits.PrimaryHDU(make_data(), header).writeto(path)
    beam, theirs = read_image(path).beam, radio_beam.Beam.from_fits_history(header)
    assert beam.major == pytest.approx(theirs.major.to_value(u.arcsec))
    assert beam.minor == pytest.approx(theirs.minor.to_value(u.arcsec))
    assert beam.pa == pytest.approx(theirs.pa.to_value(u.deg) % 180)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"BMIN": None}, "BMAJ alone"),
        ({"BMAJ": None}, "BMIN alone"),
        ({"BMAJ": "wide"}, "BMAJ = 'wide' is not a number"),
        ({"BMAJ": True}, "BMAJ = True is not a number"),
        ({"BMAJ": 0.0, "BMIN": 0.0}, "must be positive"),
        ({"BMAJ": -0.01, "BMIN": -0.02}, "must be positive"),
        ({"BMAJ": 20.0, "BMIN": 12.0}, "cannot be right on pixels"),
        ({"BMAJ": 5e-6, "BMIN": 3e-6}, "cannot be right on pixels"),
    ],
)
def test_impossible_beams(path, changes, text):
    with pytest.raises(InputError, match=text) as info:
        read_image(write(path, **changes))
    assert "survey.beam" in str(info.value)


def test_beam_axes_in_the_other_order(path):
    beam = read_image(write(path, BMAJ=BMIN / 3600, BMIN=BMAJ / 3600, BPA=30.0)).beam
    assert (beam.major, beam.minor, beam.pa) == pytest.approx((BMAJ, BMIN, 120.0))


def test_missing_position_angle_is_noted(path):
    image = read_image(write(path, BPA=None))
    assert image.beam.pa == 0.0
    assert any("BPA" in note for note in image.meta["notes"])


# --- coordinates


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
        image = read_image(write(tmp_path / f"{style}.fits", **turned(angle, style)))
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
        ({"CRVAL1": 1e10}, "no place on the sky"),
        ({"CTYPE1": "HPLN-TAN", "CTYPE2": "HPLT-TAN"}, "HPLN-TAN, HPLT-TAN cannot be turned into ICRS"),
        ({"CTYPE1": "TLON-CAR", "CTYPE2": "TLAT-CAR"}, "cannot be turned into ICRS"),
        ({"RADESYS": "GAPPT"}, "RADESYS GAPPT cannot be turned into ICRS"),
        ({"CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV"}, "pixels have no area on the sky: correct the coord"),
        ({"CUNIT1": "furlong"}, "used: In CUNIT1"),
    ],
)
def test_coordinates_that_are_refused(path, changes, text):
    with pytest.raises(InputError, match=text) as info:
        read_image(write(path, **changes))
    assert str(info.value).startswith("map: ")


def test_numbers_written_as_text_are_numbers(path):
    image = read_image(write(path, CDELT1=str(-PIXEL / 3600), BMAJ=f"{BMAJ / 3600:.10f}"))
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
    image = read_image(write(path, **changes))
    assert image.frame == frame
    expected = SkyCoord(83.0, -5.0, unit="deg", frame=frame).icrs
    fixed = FixedSources(longitude=np.array([83.0]), latitude=np.array([-5.0]))
    (row,) = extract_sources(image, options=Options(detection_only=True), fixed=fixed).catalog
    assert SkyCoord(row["RA"], row["DEC"]).separation(expected).arcsec < 1e-3
    galactic = SkyCoord(row["GLON"], row["GLAT"], frame="galactic")
    assert galactic.icrs.separation(expected).arcsec < 1e-3


def test_fk4_lands_where_astropy_says(path):
    image = read_image(write(path, EQUINOX=1950.0))
    ours = SkyCoord(*celestial_degrees(image.wcs, 14.0, 11.0), unit="deg", frame=image.frame).icrs
    assert ours.separation(SkyCoord(83.0, -5.0, unit="deg", frame="fk4", equinox="B1950").icrs).arcsec < 1e-3


def test_ncp_and_gls_by_their_own_formulas(tmp_path):
    # NCP: AIPS Memo 27 (Greisen 1983); l = cos(d) sin(da), m = (cos(d0) - cos(d) cos(da)) / sin(d0).
    image = read_image(write(tmp_path / "ncp.fits", CTYPE1="RA---NCP", CTYPE2="DEC--NCP", CRVAL2=-45.0))
    lon, lat = np.radians(celestial_degrees(image.wcs, 28.0, 3.0))
    l, m = np.radians([-PIXEL / 3600 * 14.0, PIXEL / 3600 * -8.0])  # noqa: E741
    d0, da = np.radians(-45.0), lon - np.radians(83.0)
    assert np.cos(lat) * np.sin(da) == pytest.approx(l, rel=1e-9)
    assert (np.cos(d0) - np.cos(lat) * np.cos(da)) / np.sin(d0) == pytest.approx(m, rel=1e-6)
    # GLS: dec = dec0 + m, ra = ra0 + l / cos(dec).
    image = read_image(write(tmp_path / "gls.fits", CTYPE1="RA---GLS", CTYPE2="DEC--GLS", CRVAL2=40.0))
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
    image = read_image(write(path, **header))
    y, x = np.indices(SHAPE)
    r = np.radians(5.0 * np.hypot(x - 14.0, y - 11.0))
    assert np.isnan(image.data[r > 1.1]).all()
    good = r < 0.7
    local = 5.0**2 / np.sqrt(1 - r[good] ** 2) / (np.pi / (4 * np.log(2)) * 15.0**2)
    np.testing.assert_allclose(image.data[good], make_data()[good] * local, rtol=1e-2)


def test_degenerate_axes_in_any_order(tmp_path):
    data = make_data()
    plain = read_image(write(tmp_path / "2d.fits"))
    stokes = {"CTYPE1": "STOKES", "CRVAL1": 1.0, "CRPIX1": 1.0, "CDELT1": 1.0}
    freq = {"CTYPE4": "FREQ", "CRVAL4": 1e11, "CRPIX4": 1.0, "CDELT4": 1e9}
    first = read_image(
        write(tmp_path / "first.fits", data[None, :, :, None], **(stokes | sky_axes(2, 3) | freq))
    )
    turned_over = read_image(write(tmp_path / "swapped.fits", data.T.copy(), **sky_axes(2, 1)))
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
    image = read_image(write(path, data, **axis))
    np.testing.assert_allclose(image.data, data[1] / BEAM_PIXELS, rtol=1e-6)
    assert any("Stokes I" in note for note in image.meta["notes"])


# --- extensions


def extensions():
    data = np.abs(make_data(seed=5)) + 1.0
    return {
        "SIGNAL": (make_data(), "Jy/beam"),
        "ERR": (data, "Jy/beam"),
        "VARIANCE": (data**2, "(Jy/beam)**2"),
        "MILLIVAR": (1e6 * data**2, "mJy2/beam2"),
        "IVAR": (data**-2, None),
        "WEIGHT": (data, None),
        "MASK": ((data > 2).astype(np.int16), None),
        "SMALL": (data[:5, :5], None),
    }


@pytest.fixture
def many(path):
    hdus = [fits.PrimaryHDU(header=fits.Header({"BMAJ": BMAJ / 3600, "BMIN": BMIN / 3600, "BPA": 30.0}))]
    for name, (data, unit) in extensions().items():
        hdus.append(fits.ImageHDU(data, make_header(BUNIT=unit, BMAJ=None, BMIN=None, BPA=None), name=name))
    fits.HDUList(hdus[:1] + hdus[2:3] + hdus[1:2] + hdus[3:]).writeto(path)  # the error comes before the map
    return path


def test_the_map_is_found_before_its_errors(many):
    image = read_image(many)
    np.testing.assert_allclose(image.data, make_data() / BEAM_PIXELS, rtol=1e-6)
    assert image.meta["hdu"] == 2
    for hdu in (2, "2", "signal", "SIGNAL"):
        assert read_image(many, hdu=hdu).meta["hdu"] == 2


@pytest.mark.parametrize("hdu", [0, 99, -1, "nothing", ""])
def test_hdu_that_is_not_there(many, hdu):
    with pytest.raises(
        InputError, match=r"no image in HDU .*the file has 0 PRIMARY no image, 1 ERR 30x24.*io\.hdu"
    ):
        read_image(many, hdu=hdu)


@pytest.mark.parametrize("name", ["ERR", "VARIANCE", "MILLIVAR", "IVAR", "err", 1])
def test_errors_of_all_kinds(many, name):
    image = read_image(many, error_hdu=name)
    np.testing.assert_allclose(image.error, extensions()["ERR"][0] / BEAM_PIXELS, rtol=1e-6)


def test_error_in_another_file(many, tmp_path):
    for where in (f"{many}[VARIANCE]", f"{many}[err]"):
        image = read_image(many, error_hdu=where)
        np.testing.assert_allclose(image.error, extensions()["ERR"][0] / BEAM_PIXELS, rtol=1e-6)
    other = tmp_path / "error.fits"
    fits.PrimaryHDU(extensions()["ERR"][0]).writeto(other)
    np.testing.assert_allclose(read_image(many, error_hdu=other).error, image.error)
    with pytest.raises(InputError, match="no such file"):
        read_image(many, error_hdu="none.fits")


def test_errors_that_are_none(many):
    with pytest.raises(InputError, match=r"HDU WEIGHT has no errors in the map's unit: set io\.error_hdu"):
        read_image(many, error_hdu="WEIGHT")
    with pytest.raises(InputError, match=r"HDU \d is 5 x 5, the map 30 x 24: correct io\.error_hdu"):
        read_image(many, error_hdu="SMALL")
    with pytest.raises(InputError, match=r"set io\.error_hdu"):
        read_image(many, error_hdu="NONE")


def test_pixels_without_error_are_blank(path):
    error = np.ones(SHAPE)
    error[1, 1], error[2, 2], error[3, 3] = 0.0, np.nan, -1.0
    image = read_image(write(path, hdus=[fits.ImageHDU(error, name="ERROR")]), error_hdu="ERROR")
    assert list(zip(*np.nonzero(np.isnan(image.data)), strict=True)) == [(1, 1), (2, 2), (3, 3)]


def test_errors_and_masks_that_leave_nothing(path):
    write(path)
    for given, text in (
        ({"mask": np.ones(SHAPE, dtype=bool)}, "every pixel is blank, with io.mask"),
        ({"error_hdu": path.with_name("e.fits")}, "every pixel is blank, with io.error_hdu"),
    ):
        fits.PrimaryHDU(-np.ones(SHAPE)).writeto(path.with_name("e.fits"), overwrite=True)
        with pytest.raises(InputError, match=text):
            read_image(path, **given)
    fits.PrimaryHDU(np.ones(SHAPE), fits.Header({"BUNIT": "K"})).writeto(path.with_name("k.fits"))
    with pytest.raises(InputError, match=r"map: the errors' unit 'K' needs .*set units\.frequency"):
        read_image(path, error_hdu=path.with_name("k.fits"))


def test_masks(many):
    masked = extensions()["MASK"][0] > 0
    for mask in ("MASK", f"{many}[MASK]", masked):
        np.testing.assert_array_equal(np.isnan(read_image(many, mask=mask).data), masked)
    with pytest.raises(InputError, match="mask of shape"):
        read_image(many, mask=masked[1:])


def test_primary_beam(path):
    response = np.linspace(0.0, 1.0, 24 * 30).reshape(SHAPE)
    hdus = [fits.ImageHDU(response, name="PB"), fits.ImageHDU(np.ones(SHAPE), name="ERROR")]
    write(path, hdus=hdus)
    flat, fixed = make_data() / BEAM_PIXELS, read_image(path)
    with pytest.raises(InputError, match=r"set io\.primary_beam_corrected"):
        read_image(path, primary_beam="PB")
    image = read_image(path, primary_beam="PB", primary_beam_corrected=False, error_hdu="ERROR")
    good = np.isfinite(image.data)
    assert (~good).sum() == 1
    np.testing.assert_allclose(image.flat_noise[good], flat[good], rtol=1e-6)
    np.testing.assert_allclose(image.data[good], (flat / np.where(good, response, 1))[good], rtol=1e-6)
    np.testing.assert_allclose((image.error * response)[good], 1 / BEAM_PIXELS, rtol=1e-6)
    image = read_image(path, primary_beam="PB", primary_beam_corrected=True)
    np.testing.assert_array_equal(image.data[good], fixed.data[good])
    np.testing.assert_allclose(image.flat_noise[good], (fixed.data * response)[good])
    named = path.with_name("map.pbcor.fits")
    named.write_bytes(path.read_bytes())
    np.testing.assert_array_equal(read_image(named, primary_beam="PB").data[good], fixed.data[good])


# --- cubes


CUBE_AXIS = {"CTYPE3": "FREQ", "CRVAL3": 1e11, "CRPIX3": 1.0, "CDELT3": 1e9, "CUNIT3": "Hz"}


def test_a_cube_is_no_map(path):
    data = make_data((5, *SHAPE))
    with pytest.raises(InputError, match=r"a cube of 5 channels: set control\.datacube"):
        read_image(write(path, data, **CUBE_AXIS))
    np.testing.assert_allclose(read_image(path, plane=3).data, data[3] / BEAM_PIXELS, rtol=1e-6)
    with pytest.raises(InputError, match="no plane 5"):
        read_image(path, plane=5)


@pytest.mark.parametrize("packing", ["fits", "gz", "fz"])
def test_channels(tmp_path, packing):
    data = make_data((5, *SHAPE), dtype=np.float32)
    data[4] = np.nan
    path = write(tmp_path / "cube.fits", data, BUNIT="K", **CUBE_AXIS)
    if packing == "gz":
        packed = tmp_path / "cube.fits.gz"
        packed.write_bytes(gzip.compress(path.read_bytes()))
        path = packed
    elif packing == "fz":
        header = fits.getheader(path)
        path = tmp_path / "cube.fits.fz"
        hdu = fits.CompImageHDU(data, header, compression_type="GZIP_1", quantize_level=0)
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
    with open_cube(path) as cube:
        assert cube.shape == (5, *SHAPE)
        assert cube.name == "cube"
        np.testing.assert_allclose(cube.spectral_values, 1e11 + 1e9 * np.arange(5))
        assert cube.spectral_unit == "Hz"
        for k in (3, 0, 4, 2):
            image = cube.channel(k)
            hz = 1e11 + 1e9 * k
            brightness = (1 * u.K).to(u.Jy / u.sr, u.brightness_temperature(hz * u.Hz))
            factor = (brightness * (PIXEL * u.arcsec) ** 2).to_value(u.Jy)
            np.testing.assert_allclose(image.data, factor * data[k].astype(float), rtol=2e-6)
            assert image.meta["frequency"] == pytest.approx(hz)
            assert image.meta["channel"] == k
        assert len(list(cube)) == len(cube) == 5
        with pytest.raises(InputError, match="no channel 5"):
            cube.channel(5)
        header = cube.header
    fits.PrimaryHDU(data, header).writeto(tmp_path / "out.fits")
    with open_cube(tmp_path / "out.fits") as again:
        np.testing.assert_allclose(again.spectral_values, cube.spectral_values)
        np.testing.assert_allclose(again.channel(1).data, cube_plane(path, 1), rtol=1e-9)


def cube_plane(path, k):
    with open_cube(path) as cube:
        return cube.channel(k).data


def test_spectral_axis_first(tmp_path):
    data = make_data((5, *SHAPE))
    axes = {"CTYPE1": "VRAD", "CRVAL1": 1e3, "CRPIX1": 1.0, "CDELT1": 500.0, "CUNIT1": "m/s"} | sky_axes(2, 3)
    path = write(tmp_path / "cube.fits", np.moveaxis(data, 0, -1).copy(), **axes)
    with open_cube(path) as cube:
        np.testing.assert_allclose(cube.channel(2).data, data[2] / BEAM_PIXELS, rtol=1e-6)
        np.testing.assert_allclose(cube.spectral_values, 1e3 + 500.0 * np.arange(5))
        assert cube.header["CTYPE3"] == "VRAD"


def casa_table(majors, unit="arcsec", factor=1.0):
    n = len(majors)
    columns = [
        fits.Column("BMAJ", "1E", unit, array=np.array(majors) * factor),
        fits.Column("BMIN", "1E", unit, array=0.8 * np.array(majors) * factor),
        fits.Column("BPA", "1E", "deg", array=np.full(n, -20.0)),
        fits.Column("CHAN", "1J", array=np.arange(n)),
        fits.Column("POL", "1J", array=np.zeros(n, dtype=int)),
    ]
    return fits.BinTableHDU.from_columns(columns, name="BEAMS")


@pytest.mark.parametrize(("unit", "factor"), [("arcsec", 1.0), ("deg", 1 / 3600)])
def test_a_beam_for_each_channel(path, unit, factor):
    majors = [20.0, 22.0, 24.0, 0.0, 28.0]
    data = make_data((5, *SHAPE))
    no_beam = {"BMAJ": None, "BMIN": None, "BPA": None}
    write(path, data, [casa_table(majors, unit, factor)], CASAMBM=True, **CUBE_AXIS, **no_beam)
    with fits.open(path) as hdus:
        theirs = radio_beam.Beams.from_fits_bintable(hdus[1]) if unit == "arcsec" else None
    with open_cube(path) as cube:
        for k in (0, 2, 4):
            image = cube.channel(k)
            area = np.pi / (4 * np.log(2)) * 0.8 * majors[k] ** 2
            assert image.beam.major == pytest.approx(majors[k], rel=1e-6)
            assert image.beam.pa == pytest.approx(160.0)
            if theirs is not None:
                assert image.beam.solid_angle == pytest.approx(theirs[k].sr.to_value(u.arcsec**2), rel=1e-6)
            np.testing.assert_allclose(image.data, data[k] * PIXEL**2 / area, rtol=1e-5)
        assert cube.channel(3).beam.major == pytest.approx(24.0, rel=1e-6)
        assert any("1 channels have no beam" in note for note in cube.notes)


def test_error_cube_and_mask_map(path):
    data = make_data((3, *SHAPE))
    hdus = [fits.ImageHDU(np.stack([np.full(SHAPE, k + 1.0) for k in range(3)]), name="ERROR")]
    mask = np.zeros(SHAPE, dtype=bool)
    mask[5, 5] = True
    with open_cube(write(path, data, hdus, **CUBE_AXIS), error_hdu="ERROR", mask=mask) as cube:
        image = cube.channel(2)
    assert np.all(np.isclose(image.error, 3.0 / BEAM_PIXELS, rtol=1e-5))
    assert np.isnan(image.data).sum() == 1


@pytest.mark.parametrize("packing", ["fits", "gz", "fz"])
def test_memory_does_not_grow_with_channels(tmp_path, packing):
    n, side = 24, 96
    data = make_data((n, side, side), dtype=np.float32)
    header = make_header(**CUBE_AXIS)
    path = tmp_path / "cube.fits"
    fits.PrimaryHDU(data, header).writeto(path)
    if packing == "gz":
        path = tmp_path / "cube.fits.gz"
        path.write_bytes(gzip.compress((tmp_path / "cube.fits").read_bytes(), 1))
    elif packing == "fz":
        path = tmp_path / "cube.fits.fz"
        fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(data, header)]).writeto(path)
    with open_cube(path) as cube:
        cube.channel(0)
        tracemalloc.start()
        for image in cube:
            assert image.shape == (side, side)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 8 * side * side * 8


# --- inspection


def test_inspection_of_a_complete_map(path):
    found = inspect_image(write(path, RESTFRQ=2e11))
    assert found.problems == ()
    assert found.shape == SHAPE
    assert found.frame == "icrs"
    assert found.pixel == pytest.approx((PIXEL, PIXEL), rel=1e-6)
    assert found.unit == "Jy/beam"
    assert found.jy_per_pixel == pytest.approx((1 / BEAM_PIXELS,) * 2, rel=1e-5)
    assert found.frequency == (2e11, "RESTFRQ")
    assert found.blank_share == 0.0
    assert found.rms == pytest.approx(1.0, abs=0.15)
    assert found.beam_pixels == pytest.approx(np.sqrt(BMAJ * BMIN) / PIXEL, rel=1e-6)


def test_inspection_of_an_incomplete_one(path):
    found = inspect_image(write(path, BUNIT=None, BMAJ=None, CTYPE1=None))
    assert len(found.problems) == 3
    assert found.jy_per_pixel is None
    assert found.pixel is None
    assert found.rms == pytest.approx(1.0, abs=0.15)
    found = inspect_image(write(path.with_name("cube.fits"), make_data((4, *SHAPE)), **CUBE_AXIS))
    assert (found.n_channels, found.problems) == (4, ())


def test_inspection_of_errors(many):
    found = inspect_image(many, error_hdu="ERR")
    error = extensions()["ERR"][0]
    assert found.problems == ()
    assert found.error == pytest.approx((np.median(error), np.std(make_data() / error)), rel=0.3)
    assert not any("error_hdu" in note for note in found.notes)
    plain = inspect_image(many)
    assert (plain.error, plain.problems) == (None, ())
    assert any("HDU 1 ERR, HDU" in note and "set io.error_hdu" in note for note in plain.notes)


@pytest.mark.parametrize(
    "extras",
    [{"error_hdu": "WEIGHT"}, {"error_hdu": "NONE"}, {"mask": "SMALL"}, {"primary_beam": "none.fits"}],
)
def test_inspection_reads_what_goes_with_a_map(many, extras):
    (problem,) = inspect_image(many, **extras).problems
    with pytest.raises(InputError) as told:
        read_image(many, **extras)
    assert str(told.value).endswith(problem)


def test_inspection_of_a_blank_map(path):
    assert inspect_image(write(path, np.full(SHAPE, np.nan))).problems == ("every pixel is blank",)
