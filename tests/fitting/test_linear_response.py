"""How fitted parameters respond to the data, against finite differences and Monte Carlo."""

import numpy as np
import pytest

from helpers.groups import fit_all, response_of, whitener_of
from helpers.single_groups import (
    PAIR,
    SINGLE,
    TIGHT,
    fit_one,
    model,
    whitener_and_covariance,
    wide_bounds,
    window_of,
)
from hyper_py.fitting.groups import GroupFit
from hyper_py.fitting.linear_response import linear_response
from hyper_py.numerics import gaussians


@pytest.mark.parametrize("kind", ["white", "correlated"])
@pytest.mark.parametrize("truth", [SINGLE, PAIR], ids=["single", "pair"])
def test_response_is_what_a_changed_pixel_does_to_the_fit(kind, truth):
    window = window_of(truth)
    whitener, _ = whitener_and_covariance(window, kind=kind)
    values = model(truth, window)  # without noise, so that Gauss-Newton is exact
    fit = fit_one(values, window, whitener, truth, **TIGHT)
    moves, _, _ = response_of(fit, window, whitener)
    rng, step = np.random.default_rng(2), 1e-4
    for k in rng.choice(window.y.size, 8, replace=False):
        bump = np.zeros(window.y.size)
        bump[k] = step
        ahead = fit_one(values + bump, window, whitener, truth, **TIGHT).parameters
        behind = fit_one(values - bump, window, whitener, truth, **TIGHT).parameters
        change = ((ahead - behind) / (2 * step)).ravel()
        np.testing.assert_allclose(moves[:, k], change, rtol=2e-3, atol=2e-3 * np.abs(moves).max())


@pytest.mark.parametrize("kind", ["white", "correlated"])
def test_inverse_is_the_covariance_of_many_fits(kind):
    rng = np.random.default_rng(11)
    window = window_of(PAIR)
    whitener, covariance = whitener_and_covariance(window, kind=kind, sigma=0.01)
    noise = rng.normal(size=(400, window.y.size)) @ np.linalg.cholesky(covariance).T
    lower, upper = wide_bounds(PAIR)
    n = len(noise)
    fits = fit_all(
        list(model(PAIR, window) + noise), [window] * n, [whitener] * n, [PAIR] * n,
        lower=[lower] * n, upper=[upper] * n,
    )  # fmt: skip
    truth_fit = fit_one(model(PAIR, window), window, whitener, PAIR, **TIGHT)
    _, inverse, _ = response_of(truth_fit, window, whitener)
    found = np.stack([f.parameters.ravel() for f in fits]) - PAIR.ravel()
    for k in (5, 11):
        found[:, k] = np.mod(found[:, k] + np.pi / 2, np.pi) - np.pi / 2
    np.testing.assert_allclose(found.std(axis=0) / np.sqrt(np.diagonal(inverse)), 1.0, atol=0.15)
    sigma = np.sqrt(np.diagonal(inverse))
    np.testing.assert_allclose(
        np.cov(found.T) / np.outer(sigma, sigma), inverse / np.outer(sigma, sigma), atol=0.25
    )


def test_response_carries_any_noise_through_a_fit_with_other_weights():
    window = window_of(SINGLE)
    weights = np.exp(-0.02 * np.arange(window.y.size))
    fit = fit_one(model(SINGLE, window), window, whitener_of(weights), SINGLE, **TIGHT)
    moves, inverse, jacobian = response_of(fit, window, whitener_of(weights))
    normal = (jacobian * weights**2) @ jacobian.T
    np.testing.assert_allclose(inverse @ normal, np.eye(6), atol=1e-8)
    np.testing.assert_allclose(moves @ jacobian.T, np.eye(6), atol=1e-8)


def test_parameters_that_cannot_move_have_no_influence_nor_variance():
    window = window_of(SINGLE)
    whitener, _ = whitener_and_covariance(window, kind="correlated")
    fixed = np.array([[False, True, True, False, False, False]])
    at_bound = np.array([[False, False, False, True, False, False]])
    fit = GroupFit(parameters=SINGLE, at_bound=at_bound, cost=0.0, status=1, n_evaluations=1)
    moves, inverse, _ = response_of(fit, window, whitener, fixed=fixed)
    held = [1, 2, 3]
    assert not moves[held].any()
    assert not inverse[held].any()
    assert not inverse[:, held].any()
    free = [0, 4, 5]
    _, _, jacobian = response_of(fit, window, whitener)
    whitened = (jacobian[free] * whitener.weights) @ whitener.matrix.values.T
    np.testing.assert_allclose(inverse[np.ix_(free, free)], np.linalg.inv(whitened @ whitened.T), rtol=1e-7)


@pytest.mark.parametrize("peak", [0.0, 1e-320, 1e-154, 1e-120])
def test_of_a_source_that_has_vanished_only_the_peak_has_an_error(peak):
    window = window_of(PAIR)
    whitener, _ = whitener_and_covariance(window, kind="correlated")
    gone = PAIR.copy()
    gone[1, gaussians.AMPLITUDE] = peak
    fit = GroupFit(parameters=gone, at_bound=np.zeros((2, 6), bool), cost=0.0, status=1, n_evaluations=1)
    moves, inverse, _ = response_of(fit, window, whitener)
    assert np.isfinite(moves).all()
    assert (np.diagonal(inverse)[:7] > 0.0).all()
    assert not inverse[7:].any()


def test_no_groups_have_no_response():
    with pytest.raises(ValueError):
        linear_response([])
