"""Intervals of proportions and counts have the content that they claim."""

import numpy as np
import pytest
from scipy import stats

from hyper_py.injection.binomial import ONE_SIGMA, jeffreys_interval, poisson_interval


def test_jeffreys_interval_is_that_of_the_beta_distribution():
    part, whole = np.array([3, 10, 50]), np.array([10, 12, 200])
    low, high = jeffreys_interval(part, whole, level=0.9)
    posterior = stats.beta(part + 0.5, whole - part + 0.5)
    np.testing.assert_allclose(low, posterior.ppf(0.05), rtol=1e-9)
    np.testing.assert_allclose(high, posterior.ppf(0.95), rtol=1e-9)


def test_ends_are_closed_where_nothing_or_everything_was_counted():
    low, high = jeffreys_interval([0, 5, 0], [5, 5, 0])
    assert low[0] == 0.0
    assert 0.0 < high[0] < 0.5
    assert high[1] == 1.0
    assert (low[2], high[2]) == (0.0, 1.0)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.93])
def test_jeffreys_interval_covers_the_truth_as_often_as_it_says(p):
    n = 60
    counts = np.arange(n + 1)
    low, high = jeffreys_interval(counts, np.full(n + 1, n))
    covered = stats.binom.pmf(counts, n, p)[(low <= p) & (p <= high)].sum()
    assert covered == pytest.approx(ONE_SIGMA, abs=0.06)  # counts are whole numbers


def test_poisson_interval_is_that_of_chi_square():
    low, high = poisson_interval([0, 1, 7])
    tail = 0.5 * (1 - ONE_SIGMA)
    assert low[0] == 0.0
    np.testing.assert_allclose(low[1:], 0.5 * stats.chi2.ppf(tail, [2, 14]), rtol=1e-9)
    np.testing.assert_allclose(high, 0.5 * stats.chi2.ppf(1 - tail, [2, 4, 16]), rtol=1e-9)
