"""Reading maps: unit, beam and frequency from the header or the options."""

import numpy as np
import pytest
import radio_beam
from astropy import units as u
from astropy.io import fits

from helpers.fits_maps import BEAM_PIXELS, BMAJ, BMIN, PIXEL, axis3, make_data, make_header, write_map
from hyper_py.diagnostics import ConfigurationError, InputError
from hyper_py.geometry import Beam
from hyper_py.reading.io import read_image


def test_all_that_is_missing_is_told_at_once(path):
    with pytest.raises(InputError) as info:
        read_image(write_map(path, BUNIT=None, BMAJ=None, BMIN=None, FWHM_260=12.5))
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
    write_map(path, BUNIT="counts", BMAJ="nonsense")
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
    image = read_image(write_map(path, BUNIT=None, **{key: "mJy/beam"}))
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
    image = read_image(write_map(path, BUNIT="K(Tmb)", **changes))
    brightness = (1 * u.K).to(u.Jy / u.sr, u.brightness_temperature(hz * u.Hz))
    factor = (brightness * (PIXEL * u.arcsec) ** 2).to_value(u.Jy)
    np.testing.assert_allclose(image.data, factor * make_data(), rtol=1e-6)
    assert read_image(path, frequency=2 * hz).data[0, 0] == pytest.approx(4 * image.data[0, 0])


@pytest.mark.parametrize(
    "changes", [{}, {"RESTFRQ": 1.0}, {"RESTFRQ": "high"}, {"WAVELEN": 0.85}, {"RESTFRQ": -3e9}]
)
def test_kelvin_without_a_plausible_frequency(path, changes):
    with pytest.raises(InputError, match=r"unit 'K' needs a frequency: set units\.frequency"):
        read_image(write_map(path, BUNIT="K", **changes))
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
        read_image(write_map(path, **changes))
    assert "survey.beam" in str(info.value)


def test_beam_axes_in_the_other_order(path):
    beam = read_image(write_map(path, BMAJ=BMIN / 3600, BMIN=BMAJ / 3600, BPA=30.0)).beam
    assert (beam.major, beam.minor, beam.pa) == pytest.approx((BMAJ, BMIN, 120.0))


def test_missing_position_angle_is_noted(path):
    image = read_image(write_map(path, BPA=None))
    assert image.beam.pa == 0.0
    assert any("BPA" in note for note in image.meta["notes"])
