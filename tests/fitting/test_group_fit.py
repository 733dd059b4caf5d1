"""Fits of groups against scipy's least squares, finite differences and Monte Carlo."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares

from helpers.groups import bounds_around, fit_all, whitener_of
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
from hyper_py.numerics import gaussians
from hyper_py.numerics.fit_pixels import FitPixels
from hyper_py.numerics.solvers import FitStatus


def by_scipy(values, window, whitener, start, *, limits=None, **options):
    lower, upper = limits or wide_bounds(start)
    free = (lower < upper).ravel()

    def residuals(p):
        full = start.ravel().copy()
        full[free] = p
        r = whitener.weights * (model(full.reshape(start.shape), window) - values)
        return r if whitener.matrix is None else whitener.matrix.values @ r

    result = least_squares(
        residuals, start.ravel()[free], bounds=(lower.ravel()[free], upper.ravel()[free]),
        x_scale="jac", ftol=1e-14, xtol=1e-14, gtol=1e-14, **options,
    )  # fmt: skip
    full = start.ravel().copy()
    full[free] = result.x
    return full.reshape(start.shape), result.cost


@pytest.mark.parametrize("kind", ["white", "correlated"])
@pytest.mark.parametrize("truth", [SINGLE, PAIR], ids=["single", "pair"])
@pytest.mark.parametrize("seed", [1, 2])
def test_minimum_is_that_of_scipy(kind, truth, seed):
    rng = np.random.default_rng(seed)
    window = window_of(truth)
    whitener, covariance = whitener_and_covariance(window, kind=kind)
    values = model(truth, window) + np.linalg.cholesky(covariance) @ rng.normal(size=window.y.size)
    start = truth * [1.2, 1, 1, 1.1, 1.1, 1] + [0, 0.3, -0.4, 0, 0, 0.2]
    fit = fit_one(values, window, whitener, start, **TIGHT)
    expected, cost = by_scipy(values, window, whitener, start)
    assert fit.converged
    assert fit.cost == pytest.approx(cost, rel=1e-9)
    np.testing.assert_allclose(model(fit.parameters, window), model(expected, window), atol=1e-5)
    assert (fit.parameters[:, gaussians.SIGMA_1] >= fit.parameters[:, gaussians.SIGMA_2]).all()
    assert ((fit.parameters[:, gaussians.THETA] >= 0) & (fit.parameters[:, gaussians.THETA] < np.pi)).all()


@pytest.mark.parametrize("loss", ["soft_l1", "huber", "cauchy", "arctan"])
def test_robust_minimum_is_that_of_scipy(loss):
    rng = np.random.default_rng(7)
    window = window_of(SINGLE)
    whitener, _ = whitener_and_covariance(window, kind="white")
    values = model(SINGLE, window) + 0.02 * rng.normal(size=window.y.size)
    values[::17] += 0.3
    start = SINGLE * [1.05, 1, 1, 1.05, 1.05, 1]
    fit = fit_one(values, window, whitener, start, loss=loss, f_scale=1.5, **TIGHT)
    expected, cost = by_scipy(values, window, whitener, start, loss=loss, f_scale=1.5)
    assert fit.cost == pytest.approx(cost, rel=1e-8)
    np.testing.assert_allclose(fit.parameters[0, :5], np.abs(expected[0, :5]), rtol=1e-4)


def test_bounds_and_fixed_parameters_as_in_scipy():
    rng = np.random.default_rng(3)
    window = window_of(SINGLE)
    whitener, _ = whitener_and_covariance(window, kind="white")
    values = model(SINGLE, window) + 0.02 * rng.normal(size=window.y.size)
    start = SINGLE * [1.0, 1, 1, 0.8, 0.8, 1]
    lower, upper = bounds_around(start, sigma_limits=(1.2, 2.0), amplitude_limits=(0.0, 0.9), shift=0.0)
    fit = fit_one(values, window, whitener, start, limits=(lower, upper), **TIGHT)
    inside = np.clip(start, lower, upper)
    lower[:, gaussians.THETA], upper[:, gaussians.THETA] = -10, 10
    squeezed = np.where(lower < upper, lower - 1e-13, lower), np.where(lower < upper, upper + 1e-13, upper)
    _, cost = by_scipy(values, window, whitener, inside, limits=squeezed)
    assert fit.cost == pytest.approx(cost, rel=1e-6)
    np.testing.assert_array_equal(fit.parameters[0, 1:3], start[0, 1:3])
    assert fit.at_bound[0].tolist() == [True, False, False, True, False, False]
    assert fit.parameters[0, gaussians.AMPLITUDE] == 0.9
    assert fit.parameters[0, gaussians.SIGMA_1] == 2.0


def test_groups_of_all_sizes_in_one_call_keep_their_order():
    rng = np.random.default_rng(5)
    truths = [
        SINGLE,
        PAIR,
        np.add(SINGLE, [0, 3, 1, 0, 0, 0]),
        np.add(PAIR, [0.1, 2, 0, 0, 0, 0]),
        np.add(SINGLE, [1, 0, 0, 0, 0, 0]),
    ]
    windows = [window_of(t, radius=r) for t, r in zip(truths, [6.0, 8.0, 7.0, 9.0, 10.0], strict=True)]
    kinds = ["white", "correlated", "correlated", "white", "white"]
    whiteners = [whitener_and_covariance(w, kind=k)[0] for w, k in zip(windows, kinds, strict=True)]
    values = [model(t, w) + 0.02 * rng.normal(size=w.y.size) for t, w in zip(truths, windows, strict=True)]
    limits = [wide_bounds(t) for t in truths]
    together = fit_all(
        values,
        windows,
        whiteners,
        truths,
        lower=[x[0] for x in limits],
        upper=[x[1] for x in limits],
        **TIGHT,
    )
    for fit, v, w, m, t in zip(together, values, windows, whiteners, truths, strict=True):
        alone = fit_one(v, w, m, t, **TIGHT)
        assert fit.cost == pytest.approx(alone.cost, rel=1e-12)
        np.testing.assert_allclose(fit.parameters, alone.parameters, rtol=1e-6)


def test_large_batches_are_cut_and_nothing_is_lost(monkeypatch):
    window = window_of(SINGLE)
    truths = [SINGLE * [a, 1, 1, 1, 1, 1] for a in np.linspace(0.5, 2, 9)]
    monkeypatch.setattr("hyper_py.fitting.group_fit._BATCH_GROUPS", 5)
    monkeypatch.setattr("hyper_py.fitting.group_fit._CHUNK_ELEMENTS", 2 * 6 * window.y.size)
    whitener = whitener_and_covariance(window, kind="white")[0]
    limits = [wide_bounds(t) for t in truths]
    fits = fit_all(
        [model(t, window) for t in truths], [window] * 9, [whitener] * 9, [SINGLE] * 9,
        lower=[x[0] for x in limits], upper=[x[1] for x in limits],
    )  # fmt: skip
    np.testing.assert_allclose([f.parameters[0, 0] for f in fits], [t[0, 0] for t in truths], rtol=1e-5)


@pytest.mark.parametrize("kind", ["white", "correlated"])
def test_a_fit_ends_no_sooner_far_from_the_corner_of_the_map(kind):
    """Shifted by whole pixels, it takes the same steps and ends in the same place."""
    window, rng = window_of(PAIR), np.random.default_rng(7)
    whitener = whitener_and_covariance(window, kind=kind)[0]
    values = model(PAIR, window) + 0.02 * rng.normal(size=window.y.size)
    start = PAIR * [0.8, 1, 1, 1.2, 1.2, 1] + [0, 0.6, -0.5, 0, 0, 0]
    away = np.array([0.0, 11000.0, 9000.0, 0.0, 0.0, 0.0])
    further = FitPixels(y=window.y + 9000, x=window.x + 11000, key=window.key)
    coarse = {"ftol": 1e-4, "xtol": 1e-4, "gtol": 1e-4}
    near = fit_one(values, window, whitener, start, **coarse)
    far = fit_one(values, further, whitener, start + away, **coarse)
    np.testing.assert_allclose(far.parameters - away, near.parameters, atol=1e-9)
    assert (far.n_evaluations, far.status) == (near.n_evaluations, near.status)


def test_too_few_evaluations_and_data_that_are_not_finite_are_a_status():
    window = window_of(SINGLE)
    whitener = whitener_and_covariance(window, kind="white")[0]
    values = model(SINGLE, window)
    start = SINGLE * [1.5, 1, 1, 1.3, 1.3, 1]
    few = fit_one(values, window, whitener, start, max_evaluations=1)
    assert not few.converged
    assert few.status == FitStatus.MAX_EVALUATIONS
    broken = fit_one(np.full(values.shape, np.nan), window, whitener, start)
    assert not broken.converged
    assert broken.status == FitStatus.NOT_FINITE
    np.testing.assert_array_equal(broken.parameters, start)


def test_nothing_to_fit_is_no_fit():
    assert fit_all([], [], [], [], lower=[], upper=[]) == []


@settings(deadline=None, max_examples=20)
@given(st.integers(-9, 6), st.floats(0.2, 5.0))
def test_flux_scale_does_not_matter(exponent, amplitude):
    window = window_of(SINGLE)
    scale = 10.0**exponent
    truth = SINGLE * [amplitude * scale, 1, 1, 1, 1, 1]
    whitener = whitener_of(np.full(window.y.size, 1 / (0.02 * scale)))
    noise = 0.02 * scale * np.random.default_rng(1).normal(size=window.y.size)
    fit = fit_one(model(truth, window) + noise, window, whitener, truth * [1.2, 1, 1, 1.1, 0.9, 1])
    reference = fit_one(
        (model(truth, window) + noise) / scale, window, whitener_and_covariance(window, kind="white")[0],
        truth / [scale, 1, 1, 1, 1, 1] * [1.2, 1, 1, 1.1, 0.9, 1],
    )  # fmt: skip
    assert fit.converged
    np.testing.assert_allclose(fit.parameters / [scale, 1, 1, 1, 1, 1], reference.parameters, rtol=1e-4)
