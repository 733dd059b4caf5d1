"""The completeness curve: monotone, right within its errors, honest where a limit is not reached."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, ndtr, ndtri

from hyper_py.injection.curve import MonotoneLogit, completeness_curve, crossing, log_likelihood

THRESHOLD = 4.5


def drawn(rng, n, *, top=1.0):
    """Signal to noise of sources, and which are found above a threshold in unit noise."""
    snr = np.exp(rng.uniform(math.log(2.0), math.log(12.0), n))
    return snr, rng.random(n) < top * ndtr(snr - THRESHOLD)


def test_curve_is_the_cumulative_normal_distribution_behind_it(rng):
    curve = completeness_curve(*drawn(rng, 20_000))
    np.testing.assert_allclose(curve.curve, ndtr(curve.x - THRESHOLD), atol=0.03)
    assert (np.diff(curve.curve) >= 0.0).all()
    assert ((curve.low <= curve.curve) & (curve.curve <= curve.high)).all()


def test_limits_are_right_within_their_errors(rng):
    pulls = []
    for _ in range(25):
        curve = completeness_curve(*drawn(rng, 1500))
        for limit in curve.limits:
            true = THRESHOLD + ndtri(limit.level)
            assert limit.low <= limit.value <= limit.high
            pulls.append((limit.value - true) / (0.5 * (limit.high - limit.low)))
    # 75 pulls, three of each curve together: 25 independent ones have a width within 0.7 and 1.4.
    assert 0.65 < np.std(pulls) < 1.5
    assert abs(np.mean(pulls)) < 0.6


def test_a_limit_that_is_not_reached_is_nan_and_the_others_are_not(rng):
    snr, found = drawn(rng, 6000, top=0.85)
    curve = completeness_curve(snr, found)
    assert math.isnan(curve.limit(0.95).value)
    assert curve.limit(0.5).value == pytest.approx(THRESHOLD + ndtri(0.5 / 0.85), rel=0.03)


def test_bins_hold_all_sources_and_their_error_is_the_binomial_one(rng):
    snr, found = drawn(rng, 3000)
    curve = completeness_curve(snr, found)
    assert curve.injected.sum() == snr.size
    assert curve.recovered.sum() == found.sum()
    steep = curve.is_steep
    p, n = curve.shares[steep], curve.injected[steep]
    assert curve.error == pytest.approx(np.sqrt(p * (1 - p) / n).max(), rel=0.05)
    four_times = completeness_curve(np.tile(snr, 4), np.tile(found, 4), trials=0)
    assert four_times.error == pytest.approx(0.5 * curve.error, rel=0.05)


def test_same_seed_same_errors(rng):
    snr, found = drawn(rng, 500)
    first, second = (completeness_curve(snr, found, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.low, second.low)


@pytest.mark.parametrize("n", [15, 300, 20_000])
@pytest.mark.parametrize("penalty", [0.03, 300.0])
def test_the_fit_is_the_minimum_that_a_general_optimiser_finds(rng, n, penalty):
    snr, found = drawn(rng, n, top=0.9)
    model = MonotoneLogit(np.log(snr))
    whole, part = (model.counts(np.log(snr), w) for w in (np.ones(n), found.astype(float)))

    def objective(c):
        logit, steps = model.design @ c, model.roughness @ c
        likelihood = np.sum(whole * np.logaddexp(0.0, logit) - part * logit)
        value = likelihood + 0.5 * penalty * steps @ steps + 5e-4 * c @ c
        slope = (
            model.design.T @ (whole * expit(logit) - part) + penalty * model.roughness.T @ steps + 1e-3 * c
        )
        return value, slope

    ours = model.fit(part, whole, penalty=penalty)
    bounds = [(None, None)] + [(0.0, None)] * (ours.size - 1)
    other = minimize(
        objective, np.ones(ours.size), jac=True, method="L-BFGS-B", bounds=bounds,
        options={"maxiter": 20_000, "maxfun": 100_000, "ftol": 1e-14, "gtol": 1e-9},
    )  # fmt: skip
    assert (ours[1:] >= 0.0).all()
    assert objective(ours)[0] == pytest.approx(other.fun, rel=1e-7)
    np.testing.assert_allclose(expit(model.design @ ours), expit(model.design @ other.x), atol=2e-3)


@pytest.mark.parametrize("found", [0.0, 1.0])
def test_nothing_or_everything_found_gives_no_limit(found):
    snr = np.geomspace(2.0, 10.0, 50)
    curve = completeness_curve(snr, np.full(50, found) > 0)
    assert np.isfinite(curve.curve).all()
    assert math.isnan(curve.limit(0.5).value)
    assert curve.error == math.inf


def test_the_better_predictor_has_the_greater_likelihood(rng):
    snr, found = drawn(rng, 2000)
    assert log_likelihood(snr, found) > log_likelihood(snr * rng.uniform(0.5, 2.0, snr.size), found) + 10.0


def test_crossing_interpolates():
    grid, rising = np.array([0.0, 1.0, 2.0]), np.array([0.0, 0.4, 0.8])
    assert crossing(0.6, grid, rising) == pytest.approx(1.5)
    assert math.isnan(crossing(0.9, grid, rising))
    assert math.isnan(crossing(0.0, grid, rising))
