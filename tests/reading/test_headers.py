"""What headers say, without files."""

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.wcs import WCS

from hyper_py.diagnostics import InputError
from hyper_py.reading.headers import (
    ERROR_WORDS,
    beam_hints,
    celestial_wcs,
    header_beam,
    header_frequency,
    header_unit,
    number,
    ordered_beam,
    spectral_axis,
    spectral_values,
)

EMPTY = fits.Header()


def cube_header(kind="FREQ", value=1e11, step=1e9, **others):
    cards = {
        "NAXIS": 3, "NAXIS1": 8, "NAXIS2": 9, "NAXIS3": 5, "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN",
        "CRVAL1": 10.0, "CRVAL2": 50.0, "CRPIX1": 4.0, "CRPIX2": 5.0, "CDELT1": -1e-3, "CDELT2": 1e-3,
        "CTYPE3": kind, "CRVAL3": value, "CRPIX3": 2.0, "CDELT3": step,
    }  # fmt: skip
    return fits.Header(cards | others)


@pytest.mark.parametrize(
    ("value", "expected"), [(2, 2.0), (2.5, 2.5), ("1.5", 1.5), ("1.5D-3", 1.5e-3), ("", None)]
)
def test_numbers(value, expected):
    assert number(fits.Header({"KEY": value}), "KEY") == expected
    assert number(EMPTY, "KEY") is None


@pytest.mark.parametrize("value", ["wide", True, "nan", "inf", "1,5"])
def test_what_is_no_number(value):
    with pytest.raises(InputError, match=r"KEY = .* is not a number"):
        number(fits.Header({"KEY": value}), "KEY")


def test_axes_of_a_cube_in_any_order():
    header = cube_header()
    for key in ("CTYPE", "CRVAL", "CRPIX", "CDELT"):  # sky on axes 2 and 3
        header[f"{key}1"], header[f"{key}2"], header[f"{key}3"] = (header[f"{key}{i}"] for i in (3, 1, 2))
    celestial, axes, full = celestial_wcs(header, [])
    assert (axes.x, axes.y, axes.others) == (2, 3, (1,))
    assert spectral_axis(full) == 1
    np.testing.assert_allclose(celestial.wcs_pix2world([[3.0, 4.0]], 0), [[10.0, 50.0]])


@pytest.mark.parametrize("kind", ["FREQ", "VRAD", "WAVE"])
def test_spectral_values(kind):
    full = WCS(cube_header(kind, 3.0, 0.5))
    values, unit = spectral_values(full, 3, [0, 1, 4])
    np.testing.assert_allclose(values, [2.5, 3.0, 4.5])
    assert unit in ("Hz", "m / s", "m")
    assert spectral_values(full, None, 2)[0] == [2.0]


def test_frequencies_along_velocity_axes_are_astropys():
    rest = 115.271e9 * u.Hz
    for kind, convention in (("VRAD", u.doppler_radio), ("VOPT", u.doppler_optical)):
        header = cube_header(kind, 2e6, 1e5, RESTFRQ=rest.value)
        full = WCS(header)
        for channel in (0, 4):
            speed = spectral_values(full, 3, channel)[0][0] * u.m / u.s
            found = header_frequency(full, header, EMPTY, channel)
            assert found == (pytest.approx(speed.to_value(u.Hz, convention(rest))), "spectral axis")


def test_the_axis_goes_before_keywords_and_placeholders_are_passed_over():
    header = cube_header("FREQ", 1.0, 1.0, RESTFRQ=3e11)  # 1 Hz is a placeholder
    assert header_frequency(WCS(header), header, EMPTY) == (3e11, "RESTFRQ")
    assert header_frequency(None, EMPTY, fits.Header({"WAVELNTH": 500.0}))[0] == pytest.approx(
        5.996e11, rel=1e-3
    )
    assert header_frequency(None, EMPTY, EMPTY) is None


def test_beam_of_the_map_goes_before_that_of_the_file():
    beam = fits.Header({"BMAJ": 2.0 / 3600, "BMIN": 1.0 / 3600, "BPA": -10.0})
    assert header_beam(EMPTY, beam, []).pa == pytest.approx(170.0)
    notes = []
    assert header_beam(
        fits.Header({"BMAJ": 3.0 / 3600, "BMIN": 1.0 / 3600}), beam, notes
    ).major == pytest.approx(3.0)
    assert len(notes) == 1
    assert header_beam(EMPTY, EMPTY, []) is None
    assert ordered_beam(1.0, 2.0, 100.0, source="").pa == pytest.approx(10.0)


def test_hints_and_units():
    assert (
        beam_hints(EMPTY, fits.Header({"FWHM_260": 12.5, "NBEAM": "x"}))
        == " (the header has FWHM_260 = 12.5)"
    )
    assert beam_hints(EMPTY, EMPTY) == ""
    texts = fits.Header({"HPBW": "18.2 arcsec", "CLEANBMJ": 0.005, "BEAMNAME": "main", "PSF": True})
    texts["HISTORY"] = "imsub done"
    texts["HISTORY"] = "Restored with a beam of 6.2 x 5.4 arcsec"
    texts["HISTORY"] = "beamforming"
    assert beam_hints(texts, EMPTY) == (
        " (the header has HPBW = 18.2 arcsec, CLEANBMJ = 0.005, the remark "
        "'Restored with a beam of 6.2 x 5.4 arcsec')"
    )
    assert header_unit(fits.Header({"UNIT": "Jy"}), fits.Header({"BUNIT": "K"})) == ("Jy", "UNIT")
    assert header_unit(fits.Header({"BUNIT": " "}), fits.Header({"BUNIT": "K"})) == (
        "K",
        "BUNIT of the primary header",
    )
    assert header_unit(EMPTY, EMPTY) is None


@pytest.mark.parametrize(
    "name", ["error", "STDDEV_1MM", "coverage", "NHITS", "Variance", "WEIGHT", "mask", "RMS"]
)
def test_names_of_what_is_no_map(name):
    assert ERROR_WORDS.search(name)


@pytest.mark.parametrize(
    "name", ["image", "SIGNAL", "SCI", "PRIMARY", "BRIGHTNESS_1MM", "", "intensity", "flux", "data"]
)
def test_names_of_maps(name):
    assert not ERROR_WORDS.search(name)
