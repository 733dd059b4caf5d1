"""Medians and scatters; the referees are NumPy and scipy."""

import numpy as np
import pytest
from scipy import stats

from hyper_py.numerics.medians import medians, scatter


@pytest.mark.parametrize("size", [1, 6, 301])
def test_scatter_is_that_of_scipy_and_leaves_the_values(rng, size):
    values = rng.normal(3.0, 2.0, size)
    before = values.copy()
    expected = stats.median_abs_deviation(values, scale="normal")
    assert scatter(values) == pytest.approx(expected, rel=1e-4)
    np.testing.assert_array_equal(values, before)


def test_medians_are_those_of_numpy_where_anything_is_known(rng):
    values = rng.normal(size=(4, 5, 30))
    values[rng.random(values.shape) < 0.4] = np.nan
    values[1, 2] = np.nan
    count = np.isfinite(values).sum(axis=-1)
    values_of_some = np.where(count[..., None] > 0, values, 0.0)
    np.testing.assert_array_equal(medians(values, count), np.nanmedian(values_of_some, axis=-1))
