"""What a band of a field may be."""

from dataclasses import replace

import numpy as np
import pytest
from astropy import units as u

from helpers.fields_of_options import small_map
from hyper_py.bands.images import BandImage, check_names, reference_band
from hyper_py.diagnostics import InputError
from hyper_py.geometry import Beam


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"wavelength": 0.0}, "wavelength of 0.0"),
        ({"wavelength": "500 um"}, "wavelength='500 um': give micron, or a quantity"),
        ({"wavelength": 500 * u.Jy}, "wavelength=<Quantity 500. Jy>: give micron"),
        ({"image": np.ones((3, 3))}, "a ndarray: make a map of it first"),
        ({"calibration_error": -1.0}, "error of -1.0"),
    ],
)
def test_wrong_numbers_are_named(wrong, message):
    with pytest.raises(InputError, match=f"^s500: .*{message}"):
        BandImage(**{"name": "s500", "image": small_map(), "wavelength": 500.0, **wrong})


def test_a_wavelength_is_a_number_of_micron_or_a_quantity():
    for given in (500.0, 0.5 * u.mm, (299792458.0 / 500e-6) * u.Hz):
        made = BandImage(name="s500", image=small_map(), wavelength=given)
        assert made.wavelength == pytest.approx(500.0, rel=1e-12)


def test_every_band_has_a_name_of_its_own_and_the_sharpest_is_the_reference():
    image = small_map()
    bands = [
        BandImage(
            name=name,
            image=replace(image, beam=Beam(major=size, minor=size)),
            wavelength=wave,
        )
        for name, size, wave in (("a", 36.0, 500.0), ("b", 7.0, 100.0), ("c", 18.0, 250.0))
    ]
    assert reference_band(bands) == 1
    with pytest.raises(InputError, match=r"^a: several bands have this name"):
        check_names([*bands, bands[0]])
    with pytest.raises(InputError, match="no band"):
        check_names([])
    assert np.isfinite(image.data).any()
