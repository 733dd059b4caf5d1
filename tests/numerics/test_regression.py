import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize
from sklearn.linear_model import HuberRegressor, TheilSenRegressor

from helpers.polynomials import square_design
from hyper_py.numerics.regression import (
    huber_regression,
    leave_out_medians,
    random_subsets,
    spatial_median,
    subset_solutions,
)

SIDE = 41


def design_of_order(order, side=SIDE):
    return square_design(side, order=order)


def contaminated(rng, design, fraction):
    values = design @ rng.normal(size=design.shape[1]) + rng.normal(scale=0.3, size=design.shape[0])
    hit = rng.random(values.size) < fraction
    values[hit] += rng.exponential(10.0, hit.sum())
    return values


def huber_objective(design, values, coefficients, scale, epsilon):
    z = np.abs(values - design @ coefficients) / scale
    return np.sum(scale + scale * np.where(z <= epsilon, z**2, 2 * epsilon * z - epsilon**2))


def scikit_huber(design, values, epsilon):
    model = HuberRegressor(epsilon=epsilon, alpha=0.0, max_iter=1000)
    model.fit(design[:, 1:], values)
    return np.r_[model.intercept_, model.coef_], model.scale_


@pytest.mark.parametrize("epsilon", [1.01, 1.1, 1.35, 1.7, 2.0, 3.0])
@pytest.mark.parametrize("fraction", [0.0, 0.05, 0.3, 0.6])
@pytest.mark.parametrize("order", [1, 2])
def test_huber_reaches_the_optimum_of_scikit_learn(epsilon, fraction, order, rng):
    design = design_of_order(order, 25)
    values = contaminated(rng, design, fraction)
    ours = huber_regression(design, values, epsilon=epsilon)
    theirs = huber_objective(design, values, *scikit_huber(design, values, epsilon), epsilon)
    assert ours.converged
    assert huber_objective(design, values, ours.coefficients, ours.scale, epsilon) <= theirs * (1 + 1e-9)


def test_huber_is_the_minimum_in_every_direction(rng):
    design = design_of_order(3, 21)
    values = contaminated(rng, design, 0.1)
    fit = huber_regression(design, values, epsilon=1.2)
    best = huber_objective(design, values, fit.coefficients, fit.scale, 1.2)
    for _ in range(100):
        direction = rng.normal(size=design.shape[1] + 1) * 10.0 ** rng.uniform(-6, 0)
        near = fit.coefficients + direction[:-1], abs(fit.scale + direction[-1])
        assert huber_objective(design, values, *near, 1.2) >= best * (1 - 1e-13)


def test_huber_bounds_the_influence_of_enormous_outliers(rng):
    design = design_of_order(2, 25)
    clean = contaminated(rng, design, 0.0)
    fits = []
    for size in (1e5, 1e8):
        values = clean.copy()
        values[::40] += size
        fits.append(huber_regression(design, values))
    assert all(fit.converged for fit in fits)
    np.testing.assert_allclose(fits[0].coefficients, fits[1].coefficients, atol=1e-6)
    assert fits[0].outliers[::40].all()


@given(
    values=arrays(np.float64, 30, elements=st.floats(-1e3, 1e3, width=32)),
    shift=st.floats(-100, 100),
    factor=st.floats(0.01, 100),
)
@settings(max_examples=60, deadline=None)
def test_huber_follows_shift_and_scale(values, shift, factor):
    design = design_of_order(1, 6)[:30]
    base = huber_regression(design, values)
    moved = huber_regression(design, factor * values + shift)
    assert base.converged
    assert moved.converged
    if base.scale > 1e-6 * (1.0 + np.abs(values).max()):
        expected = factor * huber_objective(design, values, base.coefficients, base.scale, 1.35)
        found = huber_objective(design, factor * values + shift, moved.coefficients, moved.scale, 1.35)
        assert found == pytest.approx(expected, rel=1e-7)


def test_huber_from_a_start_is_the_same(rng):
    design = design_of_order(2)
    values = contaminated(rng, design, 0.05)
    near = huber_regression(design[:-200], values[:-200])
    cold, warm = huber_regression(design, values), huber_regression(design, values, start=near)
    np.testing.assert_allclose(warm.coefficients, cold.coefficients, rtol=1e-9, atol=1e-10)
    assert warm.n_iterations <= cold.n_iterations


def test_huber_of_exact_and_of_too_few_values():
    design = design_of_order(2, 9)
    exact = huber_regression(design, design @ np.arange(6.0))
    assert exact.converged
    np.testing.assert_allclose(exact.coefficients, np.arange(6.0), atol=1e-9)
    mostly = design @ np.arange(6.0)
    mostly[3] += 5.0
    np.testing.assert_allclose(huber_regression(design, mostly).coefficients, np.arange(6.0), atol=1e-3)
    for n in (4, 0):
        few = huber_regression(design[:n], np.ones(n))
        assert not few.converged
        assert np.isfinite(few.coefficients).all()


def test_theil_sen_is_the_spatial_median_of_subset_solutions(rng):
    design = design_of_order(2, 15)
    values = contaminated(rng, design, 0.1)
    subsets = random_subsets(values.size, 6, n_subsets=400, seed=rng)
    solutions = np.array([np.linalg.lstsq(design[s], values[s])[0] for s in subsets])
    median, converged, _ = spatial_median(subset_solutions(design, values, subsets=subsets))

    def distances(c):
        return np.linalg.norm(solutions - c, axis=1).sum()

    referee = minimize(distances, np.median(solutions, axis=0), method="BFGS")
    assert converged
    assert distances(median) <= referee.fun * (1 + 1e-9)


def test_theil_sen_agrees_with_scikit_learn_on_all_subsets(rng):
    x = rng.uniform(-1, 1, size=60)
    design = np.column_stack([np.ones(60), x])
    values = 3.0 + 2.0 * x + rng.normal(scale=0.1, size=60)
    values[:12] += 5.0
    subsets = np.column_stack(np.triu_indices(60, 1))
    median, _, _ = spatial_median(subset_solutions(design, values, subsets=subsets))
    model = TheilSenRegressor(random_state=0, tol=1e-10, max_iter=10000).fit(x[:, None], values)
    np.testing.assert_allclose(median, [model.intercept_, model.coef_[0]], atol=1e-6)


def test_theil_sen_of_a_constant_is_the_median(rng):
    values = rng.exponential(size=51)
    solutions = subset_solutions(np.ones((51, 1)), values, subsets=np.arange(51)[:, None])
    assert spatial_median(solutions)[0][0] == np.median(values)


def test_singular_subsets_get_the_solution_of_smallest_norm(rng):
    design = design_of_order(2, 9)
    values = rng.normal(size=81)
    rows = np.array([[0, 1, 2, 3, 4, 5], [0, 8, 40, 72, 77, 21]])
    solutions = subset_solutions(design, values, subsets=rows)
    expected = [np.linalg.lstsq(design[r], values[r], rcond=1e-12)[0] for r in rows]
    np.testing.assert_allclose(solutions, expected, rtol=1e-8, atol=1e-9)


@given(n=st.integers(2, 40), data=st.data())
@settings(max_examples=60, deadline=None)
def test_random_subsets_repeat_nothing(n, data):
    k = data.draw(st.integers(1, min(n, 15)))
    subsets = random_subsets(n, k, n_subsets=50, seed=data.draw(st.integers(0, 1000)))
    assert subsets.shape == (50, k)
    assert all(len(set(s)) == k for s in subsets.tolist())
    assert subsets.min() >= 0
    assert subsets.max() < n


def test_random_subsets_are_uniform(rng):
    subsets = random_subsets(5, 3, n_subsets=30000, seed=rng)
    share = np.bincount(subsets.ravel(), minlength=5) / subsets.size
    np.testing.assert_allclose(share, 0.2, atol=0.01)


def test_a_median_on_one_of_the_points_is_reached():
    """Four points hold against a pull of 3.9: steps towards them shorten by three per cent only."""
    points = np.array([[1, 0]] * 4 + [[1, 1]] * 3 + [[3, 1], [-1, 1]], dtype=float)
    median, converged, _ = spatial_median(points)
    assert converged
    np.testing.assert_array_equal(median, [1.0, 0.0])


@given(arrays(np.float64, (9, 2), elements=st.integers(-3, 3)))
@settings(max_examples=100, deadline=None)
def test_spatial_median_with_repeated_points(points):
    median, converged, _ = spatial_median(points)
    cost = np.linalg.norm(points - median, axis=1).sum()
    grid = np.stack(np.meshgrid(np.linspace(-3, 3, 31), np.linspace(-3, 3, 31)), axis=-1).reshape(-1, 1, 2)
    assert converged
    assert cost <= np.linalg.norm(points - grid, axis=2).sum(axis=1).min() + 1e-6


def test_medians_without_some_points_are_close_to_exact(rng):
    points = rng.standard_t(2, size=(600, 3))
    kept = (rng.random((8, 600)) < 0.9).astype(float)
    median = spatial_median(points)[0]
    quick = leave_out_medians(points, median=median, kept=kept)
    exact = np.array([spatial_median(points[k > 0])[0] for k in kept])
    # One Newton step from the median of all: the error is of second order in what leaving out changes.
    assert np.abs(quick - exact).max() < 0.2 * np.abs(exact - median).max()
