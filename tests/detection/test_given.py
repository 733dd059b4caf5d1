"""Sources that are given: any numbers, and nothing that does not fit together."""

import numpy as np
import pytest
from astropy import units as u
from numpy.testing import assert_allclose

from hyper_py.detection.given import FixedSources
from hyper_py.diagnostics import InputError


def test_lists_and_quantities_are_arrays_in_the_units_of_the_object():
    made = FixedSources(
        longitude=[10.0, 11.0],
        latitude=[-300.0, 60.0] * u.arcmin,
        fwhm_1=0.5 * u.arcmin,
        pa=[0.1, 0.2] * u.rad,
    )
    assert_allclose(made.longitude, [10.0, 11.0])
    assert_allclose(made.latitude, [-5.0, 1.0])
    assert_allclose(made.fwhm_1, [30.0])
    assert_allclose(made.pa, np.degrees([0.1, 0.2]))
    assert made.hyper_ids.tolist() == [1, 2]
    assert FixedSources(longitude=[], latitude=[]).hyper_ids.size == 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"latitude": [1.0]}, "1 values of latitude for 2 of longitude"),
        ({"fwhm_1": [1.0, 2.0, 3.0]}, "3 values of fwhm_1 for 2 of longitude"),
        ({"ids": np.array(["a"])}, "1 values of ids for 2"),
        ({"latitude": [1.0, 2.0] * u.Jy}, "latitude: give numbers in deg, or a quantity"),
        ({"longitude": ["10h", "11h"]}, "longitude: give numbers in deg"),
        ({"frame": "equatorial"}, "frame='equatorial' is not known"),
    ],
)
def test_what_does_not_fit_together_is_named(values, message):
    with pytest.raises(InputError, match=message):
        FixedSources(**{"longitude": [1.0, 2.0], "latitude": [1.0, 2.0], **values})
