"""Fits of units against scipy's least squares, finite differences and Monte Carlo."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares

from hyper_py.fitting.group_fit import (
    FitPixels,
    GroupFit,
    Whitener,
    bounds,
    fit_groups,
    influence,
    second_moments,
    select_fit_pixels,
    whiten,
    whiten_back,
)
from hyper_py.numerics import models
from hyper_py.numerics.solvers import FitStatus

SHAPE = (41, 43)
TIGHT = {"ftol": 1e-14, "xtol": 1e-12, "gtol": 1e-13}
SINGLE = np.array([[1.0, 20.3, 19.6, 2.4, 1.7, 0.6]])
PAIR = np.array([[1.0, 18.3, 19.6, 2.4, 1.7, 0.6], [0.7, 22.9, 21.2, 1.9, 1.6, 1.9]])


def window_of(sources, *, radius=8.0, usable=None):
    usable = np.ones(SHAPE, dtype=bool) if usable is None else usable
    return select_fit_pixels(
        sources[:, models.X], sources[:, models.Y], radius=np.full(len(sources), radius), usable=usable
    )


def correlation(window, *, width=1.3, white=0.2):
    """Covariance of beam-like correlated noise with a white part, unit variance."""
    distance = (window.y[:, None] - window.y) ** 2 + (window.x[:, None] - window.x) ** 2
    return (1 - white) * np.exp(-0.25 * distance / width**2) + white * np.eye(window.y.size)


def metric_of(window, *, kind, sigma=0.02):
    """A whitener, and the covariance of the noise that it belongs to."""
    if kind == "white":
        return Whitener(weights=np.full(window.y.size, 1 / sigma)), sigma**2 * np.eye(window.y.size)
    covariance = correlation(window)
    whitening = np.linalg.inv(np.linalg.cholesky(covariance))
    return Whitener(weights=np.full(window.y.size, 1 / sigma), matrix=whitening), sigma**2 * covariance


def model(sources, window):
    return models.gaussian_sum(sources, window.y.astype(float), window.x.astype(float))


def wide_bounds(start):
    return bounds(start, sigma_limits=(0.5, 6.0), amplitude_limits=(-np.inf, np.inf), shift=3.0)


def fit_one(values, window, whitener, start, *, limits=None, **options):
    lower, upper = limits or wide_bounds(start)
    return fit_groups([values], [window], [whitener], [start], lower=[lower], upper=[upper], **options)[0]


def by_scipy(values, window, whitener, start, *, limits=None, **options):
    lower, upper = limits or wide_bounds(start)
    free = (lower < upper).ravel()

    def residuals(p):
        full = start.ravel().copy()
        full[free] = p
        r = whitener.weights * (model(full.reshape(start.shape), window) - values)
        return r if whitener.matrix is None else whitener.matrix @ r

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
    whitener, covariance = metric_of(window, kind=kind)
    values = model(truth, window) + np.linalg.cholesky(covariance) @ rng.normal(size=window.y.size)
    start = truth * [1.2, 1, 1, 1.1, 1.1, 1] + [0, 0.3, -0.4, 0, 0, 0.2]
    fit = fit_one(values, window, whitener, start, **TIGHT)
    expected, cost = by_scipy(values, window, whitener, start)
    assert fit.converged
    assert fit.cost == pytest.approx(cost, rel=1e-9)
    np.testing.assert_allclose(model(fit.parameters, window), model(expected, window), atol=1e-5)
    assert (fit.parameters[:, models.SIGMA_1] >= fit.parameters[:, models.SIGMA_2]).all()
    assert ((fit.parameters[:, models.THETA] >= 0) & (fit.parameters[:, models.THETA] < np.pi)).all()


@pytest.mark.parametrize("loss", ["soft_l1", "huber", "cauchy", "arctan"])
def test_robust_minimum_is_that_of_scipy(loss):
    rng = np.random.default_rng(7)
    window = window_of(SINGLE)
    whitener, _ = metric_of(window, kind="white")
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
    whitener, _ = metric_of(window, kind="white")
    values = model(SINGLE, window) + 0.02 * rng.normal(size=window.y.size)
    start = SINGLE * [1.0, 1, 1, 0.8, 0.8, 1]
    lower, upper = bounds(start, sigma_limits=(1.2, 2.0), amplitude_limits=(0.0, 0.9), shift=0.0)
    fit = fit_one(values, window, whitener, start, limits=(lower, upper), **TIGHT)
    inside = np.clip(start, lower, upper)
    lower[:, models.THETA], upper[:, models.THETA] = -10, 10
    squeezed = np.where(lower < upper, lower - 1e-13, lower), np.where(lower < upper, upper + 1e-13, upper)
    _, cost = by_scipy(values, window, whitener, inside, limits=squeezed)
    assert fit.cost == pytest.approx(cost, rel=1e-6)
    np.testing.assert_array_equal(fit.parameters[0, 1:3], start[0, 1:3])
    assert fit.at_bound[0].tolist() == [True, False, False, True, False, False]
    assert fit.parameters[0, models.AMPLITUDE] == 0.9
    assert fit.parameters[0, models.SIGMA_1] == 2.0


def test_units_of_all_sizes_in_one_call_keep_their_order():
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
    whiteners = [metric_of(w, kind=k)[0] for w, k in zip(windows, kinds, strict=True)]
    values = [model(t, w) + 0.02 * rng.normal(size=w.y.size) for t, w in zip(truths, windows, strict=True)]
    limits = [wide_bounds(t) for t in truths]
    together = fit_groups(
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
    whitener = metric_of(window, kind="white")[0]
    limits = [wide_bounds(t) for t in truths]
    fits = fit_groups(
        [model(t, window) for t in truths], [window] * 9, [whitener] * 9, [SINGLE] * 9,
        lower=[x[0] for x in limits], upper=[x[1] for x in limits],
    )  # fmt: skip
    np.testing.assert_allclose([f.parameters[0, 0] for f in fits], [t[0, 0] for t in truths], rtol=1e-5)


@pytest.mark.parametrize("kind", ["white", "correlated"])
def test_a_fit_ends_no_sooner_far_from_the_corner_of_the_map(kind):
    """Shifted by whole pixels, it takes the same steps and ends in the same place."""
    window, rng = window_of(PAIR), np.random.default_rng(7)
    whitener = metric_of(window, kind=kind)[0]
    values = model(PAIR, window) + 0.02 * rng.normal(size=window.y.size)
    start = PAIR * [0.8, 1, 1, 1.2, 1.2, 1] + [0, 0.6, -0.5, 0, 0, 0]
    away = np.array([0.0, 11000.0, 9000.0, 0.0, 0.0, 0.0])
    further = FitPixels(y=window.y + 9000, x=window.x + 11000, key=window.key)
    rough = {"ftol": 1e-4, "xtol": 1e-4, "gtol": 1e-4}
    near = fit_one(values, window, whitener, start, **rough)
    far = fit_one(values, further, whitener, start + away, **rough)
    np.testing.assert_allclose(far.parameters - away, near.parameters, atol=1e-9)
    assert (far.n_evaluations, far.status) == (near.n_evaluations, near.status)


def test_too_few_evaluations_and_data_that_are_not_finite_are_a_status():
    window = window_of(SINGLE)
    whitener = metric_of(window, kind="white")[0]
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
    assert fit_groups([], [], [], [], lower=[], upper=[]) == []


@settings(deadline=None, max_examples=20)
@given(st.integers(-9, 6), st.floats(0.2, 5.0))
def test_flux_scale_does_not_matter(exponent, amplitude):
    window = window_of(SINGLE)
    scale = 10.0**exponent
    truth = SINGLE * [amplitude * scale, 1, 1, 1, 1, 1]
    whitener = Whitener(weights=np.full(window.y.size, 1 / (0.02 * scale)))
    noise = 0.02 * scale * np.random.default_rng(1).normal(size=window.y.size)
    fit = fit_one(model(truth, window) + noise, window, whitener, truth * [1.2, 1, 1, 1.1, 0.9, 1])
    reference = fit_one(
        (model(truth, window) + noise) / scale, window, metric_of(window, kind="white")[0],
        truth / [scale, 1, 1, 1, 1, 1] * [1.2, 1, 1, 1.1, 0.9, 1],
    )  # fmt: skip
    assert fit.converged
    np.testing.assert_allclose(fit.parameters / [scale, 1, 1, 1, 1, 1], reference.parameters, rtol=1e-4)


# ---- influence


@pytest.mark.parametrize("kind", ["white", "correlated"])
@pytest.mark.parametrize("truth", [SINGLE, PAIR], ids=["single", "pair"])
def test_influence_is_what_a_changed_pixel_does_to_the_fit(kind, truth):
    window = window_of(truth)
    whitener, _ = metric_of(window, kind=kind)
    values = model(truth, window)  # without noise, so that Gauss-Newton is exact
    fit = fit_one(values, window, whitener, truth, **TIGHT)
    moves, _, _ = influence(fit, window, whitener)
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
    whitener, covariance = metric_of(window, kind=kind, sigma=0.01)
    noise = rng.normal(size=(400, window.y.size)) @ np.linalg.cholesky(covariance).T
    lower, upper = wide_bounds(PAIR)
    n = len(noise)
    fits = fit_groups(
        list(model(PAIR, window) + noise), [window] * n, [whitener] * n, [PAIR] * n,
        lower=[lower] * n, upper=[upper] * n,
    )  # fmt: skip
    truth_fit = fit_one(model(PAIR, window), window, whitener, PAIR, **TIGHT)
    _, inverse, _ = influence(truth_fit, window, whitener)
    found = np.stack([f.parameters.ravel() for f in fits]) - PAIR.ravel()
    for k in (5, 11):
        found[:, k] = np.mod(found[:, k] + np.pi / 2, np.pi) - np.pi / 2
    np.testing.assert_allclose(found.std(axis=0) / np.sqrt(np.diagonal(inverse)), 1.0, atol=0.15)
    sigma = np.sqrt(np.diagonal(inverse))
    np.testing.assert_allclose(
        np.cov(found.T) / np.outer(sigma, sigma), inverse / np.outer(sigma, sigma), atol=0.25
    )


def test_influence_carries_any_noise_through_a_fit_with_other_weights():
    window = window_of(SINGLE)
    weights = np.exp(-0.02 * np.arange(window.y.size))
    fit = fit_one(model(SINGLE, window), window, Whitener(weights=weights), SINGLE, **TIGHT)
    moves, inverse, jacobian = influence(fit, window, Whitener(weights=weights))
    normal = (jacobian * weights**2) @ jacobian.T
    np.testing.assert_allclose(inverse @ normal, np.eye(6), atol=1e-8)
    np.testing.assert_allclose(moves @ jacobian.T, np.eye(6), atol=1e-8)


def test_parameters_that_cannot_move_have_no_influence_nor_variance():
    window = window_of(SINGLE)
    whitener, _ = metric_of(window, kind="correlated")
    fixed = np.array([[False, True, True, False, False, False]])
    at_bound = np.array([[False, False, False, True, False, False]])
    fit = GroupFit(parameters=SINGLE, at_bound=at_bound, cost=0.0, status=1, n_evaluations=1)
    moves, inverse, _ = influence(fit, window, whitener, fixed=fixed)
    held = [1, 2, 3]
    assert not moves[held].any()
    assert not inverse[held].any()
    assert not inverse[:, held].any()
    free = [0, 4, 5]
    _, _, jacobian = influence(fit, window, whitener)
    whitened = (jacobian[free] * whitener.weights) @ whitener.matrix.T
    np.testing.assert_allclose(inverse[np.ix_(free, free)], np.linalg.inv(whitened @ whitened.T), rtol=1e-7)


@pytest.mark.parametrize("peak", [0.0, 1e-320, 1e-154, 1e-120])
def test_of_a_source_that_has_vanished_only_the_peak_has_an_error(peak):
    window = window_of(PAIR)
    whitener, _ = metric_of(window, kind="correlated")
    gone = PAIR.copy()
    gone[1, models.AMPLITUDE] = peak
    fit = GroupFit(parameters=gone, at_bound=np.zeros((2, 6), bool), cost=0.0, status=1, n_evaluations=1)
    moves, inverse, _ = influence(fit, window, whitener)
    assert np.isfinite(moves).all()
    assert (np.diagonal(inverse)[:7] > 0.0).all()
    assert not inverse[7:].any()


# ---- windows


@given(
    st.lists(st.tuples(st.floats(-4, 26), st.floats(-4, 24), st.floats(0.5, 9)), min_size=1, max_size=4),
    st.integers(0, 1000),
)
def test_window_is_the_union_of_discs_without_blanks(discs, seed):
    x, y, radius = (np.array(column) for column in zip(*discs, strict=True))
    usable = np.random.default_rng(seed).random((21, 24)) > 0.2
    window = select_fit_pixels(x, y, radius=radius, usable=usable)
    expected = {
        (row, column)
        for row in range(21)
        for column in range(24)
        if usable[row, column]
        and any(np.hypot(column - np.rint(x0), row - np.rint(y0)) <= r + 1e-9 for x0, y0, r in discs)
    }
    found = list(zip(window.y.tolist(), window.x.tolist(), strict=True))
    assert found == sorted(expected)


def test_windows_of_one_shape_share_their_key():
    usable = np.ones(SHAPE, dtype=bool)

    def key(x, y, radius=4.0):
        return select_fit_pixels(np.array([x]), np.array([y]), radius=np.array([radius]), usable=usable).key

    assert key(15.2, 14.9) == key(20.4, 25.0)
    assert key(15.2, 14.9) != key(15.2, 14.9, radius=5.0)
    assert key(15.2, 14.9) != key(1.0, 14.9)
    assert key(1.0, 14.9) == key(1.0, 20.0)
    usable[15, 16] = False
    assert key(15.2, 14.9) != key(25.2, 14.9)


def test_window_off_the_map_or_all_blank_is_empty():
    usable = np.ones((20, 20), dtype=bool)
    usable[5:15, 5:15] = False
    for x, y in ((-9.0, 3.0), (10.0, 10.0)):
        window = select_fit_pixels(np.array([x]), np.array([y]), radius=np.array([4.0]), usable=usable)
        assert window.y.size == window.x.size == 0


# ---- starting values and bounds


@given(st.floats(1.2, 4), st.floats(0.5, 1), st.floats(0, 3.14), st.floats(-0.5, 0.5), st.floats(1.5, 5))
@settings(deadline=None)
def test_second_moments_of_a_gaussian_are_exact(major, ratio, theta, shift, width):
    minor = max(major * ratio, 1.0)
    y, x = (a.ravel().astype(float) for a in np.mgrid[-40:41, -40:41])
    y, x = y + shift, x - shift
    values = 3.0 * models.gaussian_sum(np.array([[1.0, 0, 0, major, minor, theta]]), y, x)
    covariance = second_moments(values, y, x, width=width)
    expected = models.source_covariance(np.array([1.0, 0, 0, major, minor, theta]))
    np.testing.assert_allclose(covariance, expected, rtol=5e-3, atol=5e-3)


@pytest.mark.parametrize(
    "values", [np.zeros(9), -np.ones(9), np.eye(3).ravel() * 0 + [0, 0, 0, 0, 1, 0, 0, 0, 0]]
)
def test_second_moments_that_do_not_exist_are_nan(values):
    y, x = (a.ravel().astype(float) for a in np.mgrid[-1:2, -1:2])
    assert np.isnan(second_moments(values, y, x, width=1.0)).all()


def test_second_moments_wider_than_the_window_allows_are_nan():
    y, x = (a.ravel().astype(float) for a in np.mgrid[-9:10, -9:10])
    assert np.isnan(second_moments(x**2 + y**2, y, x, width=1.5)).all()


def test_bounds_of_every_parameter():
    lower, upper = bounds(
        PAIR, sigma_limits=([1.0, 1.1], [3.0, 4.0]), amplitude_limits=([0.1, 0.2], [2.0, 3.0]), shift=0.7
    )
    np.testing.assert_allclose(
        lower, [[0.1, 17.6, 18.9, 1, 1, -np.inf], [0.2, 22.2, 20.5, 1.1, 1.1, -np.inf]]
    )
    np.testing.assert_allclose(upper, [[2, 19.0, 20.3, 3, 3, np.inf], [3, 23.6, 21.9, 4, 4, np.inf]])
    lower, upper = bounds(PAIR, sigma_limits=(1, 2), amplitude_limits=(0, 1), shift=0.0)
    np.testing.assert_array_equal(lower[:, 1:3], upper[:, 1:3])


@pytest.mark.parametrize("shape", [(7,), (1, 7), (3, 4, 7), (0, 7), (2, 0)])
def test_whitening_is_the_product_with_a_triangular_matrix(shape):
    rng = np.random.default_rng(1)
    matrix, vectors = np.tril(rng.normal(size=(shape[-1],) * 2)), rng.normal(size=shape)
    kept = vectors.copy()
    np.testing.assert_allclose(whiten(vectors, matrix), vectors @ matrix.T, atol=1e-14)
    np.testing.assert_allclose(whiten_back(vectors, matrix), vectors @ matrix, atol=1e-14)
    np.testing.assert_array_equal(vectors, kept)


def test_window_type_holds_its_pixels():
    window = window_of(PAIR)
    assert isinstance(window, FitPixels)
    assert window.y.dtype == window.x.dtype == np.int64
