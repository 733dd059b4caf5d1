"""Beams, units and frequencies in the forms that astropy has."""

import numpy as np
import pytest
from astropy import units as u

from hyper_py.diagnostics import InputError
from hyper_py.reading.objects import as_beam, as_frequency, as_unit


@pytest.mark.parametrize(
    ("given", "text"), [("Jy/beam", "Jy/beam"), (u.MJy / u.sr, "MJy / sr"), (u.mJy / u.beam, "mJy / beam")]
)
def test_units(given, text):
    assert as_unit(given) == text


@pytest.mark.parametrize("given", ["adu", u.adu, u.m, "furlong"])
def test_other_units_are_refused(given):
    with pytest.raises(InputError, match=r"^unit="):
        as_unit(given)


def test_frequencies():
    assert as_frequency(1e11) == 1e11
    assert as_frequency(0.5 * u.mm) == pytest.approx(299792458.0 / 5e-4)
    with pytest.raises(InputError, match=r"^frequency="):
        as_frequency(3 * u.kg)


@pytest.mark.parametrize("given", [18, "18 arcsec in words", 3 * u.kg, (18, 18), object(), np.nan * u.deg])
def test_other_beams_are_refused(given):
    with pytest.raises(InputError, match="beam"):
        as_beam(given)
