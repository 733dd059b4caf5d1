"""What a map is made of, as far as it needs no file."""

import numpy as np
import pytest

from hyper_py.reading.making import is_constant


@pytest.mark.parametrize("value", [0.0, -999.0, 3e-12])
def test_maps_of_one_value_are_constant_whatever_is_blank(value):
    values = np.full((5, 6), value)
    values[2, 3] = np.nan
    assert is_constant(values)
    values[4, 4] = value + max(1e-6 * abs(value), 1e-20)
    assert not is_constant(values)
