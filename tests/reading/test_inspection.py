"""What `inspect_image` says of complete and incomplete maps."""

import numpy as np
import pytest

from helpers.fits_maps import (
    BEAM_PIXELS,
    BMAJ,
    BMIN,
    CUBE_AXIS,
    PIXEL,
    SHAPE,
    extensions,
    make_data,
    write_map,
)
from hyper_py.diagnostics import InputError
from hyper_py.reading.inspection import inspect_image
from hyper_py.reading.io import read_image


def test_inspection_of_a_complete_map(path):
    found = inspect_image(write_map(path, RESTFRQ=2e11))
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
    found = inspect_image(write_map(path, BUNIT=None, BMAJ=None, CTYPE1=None))
    assert len(found.problems) == 3
    assert found.jy_per_pixel is None
    assert found.pixel is None
    assert found.rms == pytest.approx(1.0, abs=0.15)
    found = inspect_image(write_map(path.with_name("cube.fits"), make_data((4, *SHAPE)), **CUBE_AXIS))
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
    assert inspect_image(write_map(path, np.full(SHAPE, np.nan))).problems == ("every pixel is blank",)
