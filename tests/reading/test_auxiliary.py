"""Errors, masks and primary beams of a plane."""

import numpy as np
import pytest
from astropy.io import fits

from hyper_py.diagnostics import InputError
from hyper_py.reading.auxiliary import read_error, read_mask, read_primary_beam
from hyper_py.reading.fits_files import open_fits
from hyper_py.reading.mapfacts import Given, understand

CARDS = {
    "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 10.0, "CRVAL2": 50.0, "CRPIX1": 4.0, "CRPIX2": 5.0,
    "CDELT1": -1e-3, "CDELT2": 1e-3, "BMAJ": 3e-3, "BMIN": 3e-3, "BUNIT": "mJy/beam",
}  # fmt: skip
SHAPE = (3, 12, 10)


def opened(stack, tmp_path, **extensions):
    """A cube of three channels with extensions."""
    path = tmp_path / "cube.fits"
    hdus = [fits.PrimaryHDU(np.zeros(SHAPE), fits.Header(CARDS))]
    for name, (data, unit) in extensions.items():
        hdus.append(fits.ImageHDU(data, fits.Header({"BUNIT": unit} if unit else {}), name=name))
    fits.HDUList(hdus).writeto(path)
    file = stack.enter_context(open_fits(path))
    return file, understand(file, Given())


@pytest.fixture
def stack():
    from contextlib import ExitStack

    with ExitStack() as opened_files:
        yield opened_files


@pytest.mark.parametrize(
    ("name", "power", "unit", "scale"),
    [
        ("ERROR", 1, None, 1e-3),
        ("ERROR", 1, "Jy/beam", 1.0),
        ("VARIANCE", 2, "(Jy/beam)**2", 1.0),
        ("VARIANCE", 2, "mJy/beam", 1e-3),  # not squared in the header, as happens
        ("ANY", 2, "uJy2/beam2", 1e-6),  # squared by its unit alone
        ("IVAR", -2, None, 1e-3),
        ("INV_VAR", -2, None, 1e-3),
    ],
)
def test_kinds_of_errors(stack, tmp_path, name, power, unit, scale):
    truth = np.random.default_rng(2).uniform(1.0, 2.0, SHAPE)
    file, facts = opened(stack, tmp_path, **{name: (truth**power, unit)})
    for channel in (0, 2):
        error, found = read_error(file, facts, name, channel=channel)
        np.testing.assert_allclose(error, truth[channel])
        assert found.scale == pytest.approx(scale)


def test_one_error_serves_all_channels(stack, tmp_path):
    truth = np.ones(SHAPE[1:])
    truth[0, 0], truth[1, 1], truth[2, 2] = 0.0, -1.0, np.nan
    file, facts = opened(stack, tmp_path, RMS=(truth, None))
    error = read_error(file, facts, "RMS", channel=2)[0]
    assert np.isnan(error).sum() == 3


def test_unit_of_an_error_that_is_none(stack, tmp_path):
    file, facts = opened(stack, tmp_path, ERROR=(np.ones(SHAPE), "counts"))
    with pytest.raises(InputError, match="HDU ERROR: unit 'counts' is not known"):
        read_error(file, facts, "ERROR", channel=0)


def test_mask_counts_not_a_number_as_masked(stack, tmp_path):
    plane = np.zeros(SHAPE[1:])
    plane[0, 0], plane[1, 1] = 1.0, np.nan
    file, facts = opened(stack, tmp_path, MASK=(plane, None))
    assert list(zip(*np.nonzero(read_mask(file, facts, "MASK", channel=1)), strict=True)) == [(0, 0), (1, 1)]


def test_primary_beam_must_be_one(stack, tmp_path):
    plane = np.full(SHAPE[1:], 0.5)
    plane[0, 0] = 0.0
    file, facts = opened(stack, tmp_path, PB=(plane, None), WRONG=(100 * plane, None))
    response, corrected = read_primary_beam(file, facts, "PB", corrected=True, channel=0)
    assert corrected
    assert np.isnan(response[0, 0])
    assert response[1, 1] == 0.5
    with pytest.raises(InputError, match="values from 0 to 1"):
        read_primary_beam(file, facts, "WRONG", corrected=True, channel=0)
