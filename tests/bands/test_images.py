"""What a band of a field may be."""

from dataclasses import replace

import numpy as np
import pytest

from helpers.fields_of_options import small_map
from hyper_py.bands.images import BandImage, check_names, reference_band
from hyper_py.diagnostics import InputError
from hyper_py.geometry import Beam


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"wavelength": 0.0}, "wavelength of 0.0"), ({"calibration_error": -1.0}, "error of -1.0")],
)
def test_wrong_numbers_are_named(wrong, message):
    with pytest.raises(InputError, match=f"^s500: .*{message}"):
        BandImage(**{"name": "s500", "image": small_map(), "wavelength": 500.0, **wrong})


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
