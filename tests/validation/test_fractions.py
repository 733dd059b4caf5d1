"""Confidence intervals of shares against astropy's."""

import math

import numpy as np
from astropy.stats import binom_conf_interval
from hypothesis import given
from hypothesis import strategies as st

from hyper_py.validation.fractions import binomial_fraction


@given(whole=st.integers(1, 5000), data=st.data(), level=st.floats(0.5, 0.999))
def test_intervals_as_astropy(whole, data, level):
    part = data.draw(st.integers(0, whole))
    ours = binomial_fraction(part, whole, level=level)
    expected = binom_conf_interval(part, whole, confidence_level=level, interval="wilson")
    np.testing.assert_allclose((ours.low, ours.high), expected, atol=1e-12)
    assert ours.low <= ours.value <= ours.high


def test_nothing_counted_says_nothing():
    nothing = binomial_fraction(0, 0)
    assert math.isnan(nothing.value)
    assert (nothing.low, nothing.high) == (0.0, 1.0)
