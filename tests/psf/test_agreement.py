"""Whether residuals have something in common, against random signs and a known share."""

import numpy as np
import pytest

from hyper_py.psf.agreement import agreement

SEED = 20261129


def correlated_residuals(rng, n=120, m=200):
    """Of mean zero; a few directions have most of the power, and a few residuals too."""
    power = np.geomspace(1.0, 1e-4, m)
    return rng.standard_normal((n, m)) * np.sqrt(power) * rng.lognormal(0.0, 1.5, (n, 1))


def test_residuals_of_any_power_agree_by_chance_only():
    """In 400 draws mean 0 and standard deviation 1; few lie beyond 5, though few directions count."""
    rng = np.random.default_rng(SEED)
    sigmas = np.array([agreement(correlated_residuals(rng)).sigmas for _ in range(400)])
    assert abs(sigmas.mean()) < 3.0 / np.sqrt(sigmas.size)
    assert sigmas.std() == pytest.approx(1.0, abs=0.15)
    assert np.mean(sigmas > 5.0) < 0.01


def test_the_standard_deviation_is_that_under_random_signs():
    """The other way: signs are drawn and all sums of products counted."""
    rng = np.random.default_rng(SEED)
    residuals = correlated_residuals(rng, n=40) + 0.3 * np.sin(np.arange(200))
    normed = residuals / np.linalg.norm(residuals, axis=1, keepdims=True)
    flips = rng.choice([-1.0, 1.0], (20_000, 40))
    sums = np.sum((flips @ normed) ** 2, axis=1) - 40.0
    observed = np.sum(normed.sum(axis=0) ** 2) - 40.0
    assert agreement(residuals).sigmas == pytest.approx(observed / sums.std(), rel=0.03)


def test_the_share_is_that_of_the_power_that_is_common():
    rng = np.random.default_rng(SEED)
    common = rng.standard_normal(300)
    common *= np.sqrt(0.2) / np.linalg.norm(common)
    residuals = common + rng.standard_normal((150, 300)) * np.sqrt(0.8 / 300)
    found = agreement(7.0 * residuals)
    assert found.share == pytest.approx(0.2, abs=0.01)
    assert found.sigmas > 20.0


@pytest.mark.parametrize("n", [0, 1, 3])
def test_nothing_agrees_with_nothing(n):
    assert agreement(np.zeros((n, 5))) == (0.0, 0.0)
