"""Joint fits of Gaussians and polynomial, and every loss and weight, against scipy.optimize.least_squares."""

import math

import numpy as np
import pytest
from scipy.optimize import least_squares

from helpers.groups import bounds_around, fit_all, fitted_group, make_group, response_of
from hyper_py.background.joint import JointPolynomial
from hyper_py.fitting.joint_orders import choose_orders, order_score
from hyper_py.fitting.weights import WEIGHTS, pixel_weights
from hyper_py.noise.whitening import TriangularMatrix, Whitener, linear_terms
from hyper_py.numerics import gaussians
from hyper_py.numerics.fit_pixels import select_fit_pixels
from hyper_py.numerics.polynomial import polynomial_design, scaling_of_pixels
from hyper_py.numerics.solvers import LOSSES, SolverOptions

TIGHT = {"ftol": 1e-14, "xtol": 1e-12, "gtol": 1e-12}


def problem(rng, *, order=None, kind=None, radius=7.0, sigma=0.1):
    """A random group of one or two sources on a polynomial: values, window, whitener, start, bounds."""
    n = int(rng.integers(1, 3))
    truth = np.column_stack(
        [rng.uniform(0.8, 3, n), 20 + 5 * np.arange(n) + rng.uniform(-1, 1, n), 20 + rng.uniform(-1, 1, n),
         rng.uniform(1.6, 2.4, n), rng.uniform(1.2, 1.6, n), rng.uniform(0, math.pi, n)]
    )  # fmt: skip
    window = select_fit_pixels(
        truth[:, 1], truth[:, 2], radius=np.full(n, radius), usable=np.ones((41, 46), bool)
    )
    y, x = window.y.astype(float), window.x.astype(float)
    values = gaussians.gaussian_sum(truth, y, x) + sigma * rng.normal(size=y.size)
    weights = np.ones(y.size)
    if kind is not None:
        weights = pixel_weights(
            kind, values, window, truth, power_snr=1.5, spatial_sigma=4.0, mean=0.05, std=2 * sigma
        )
    terms = None
    if order is not None:
        design = polynomial_design(
            window.y, window.x, order=order, scaling=scaling_of_pixels(window.y, window.x)
        )
        values = values + design @ rng.normal(size=design.shape[1])
        penalty = rng.choice([0.0, 1e-4, 2.0]) * np.append(0.0, np.ones(design.shape[1] - 1))
        terms = linear_terms(design, weights=weights, penalty=penalty)
    start = truth * rng.uniform(0.9, 1.1, truth.shape)
    start[:, 1:3] = truth[:, 1:3] + rng.uniform(-0.3, 0.3, (n, 2))
    limits = bounds_around(start, sigma_limits=(0.5, 5.0), amplitude_limits=(-np.inf, np.inf), shift=2.0)
    return values, window, Whitener(weights=weights, terms=terms), start, limits


def by_scipy(values, window, whitener, start, limits, *, loss, f_scale, first=None):
    """The same with all parameters explicit, penalties as further residuals."""
    y, x = window.y.astype(float), window.x.astype(float)
    n, terms = start.size, whitener.terms
    design = np.zeros((y.size, 0)) if terms is None else terms.design
    penalty = np.zeros(0) if terms is None else terms.penalty

    def residuals(p):
        left = gaussians.gaussian_sum(p[:n].reshape(start.shape), y, x) + design @ p[n:] - values
        return np.concatenate([whitener.weights * left, penalty * p[n:]])

    def jacobian(p):
        _, own = gaussians.gaussian_sum_and_jacobian(p[:n].reshape(1, *start.shape), y[None], x[None])
        top = whitener.weights[:, None] * np.hstack([own[0].T, design])
        return np.vstack([top, np.hstack([np.zeros((penalty.size, n)), np.diag(penalty)])])

    if first is None:
        first = np.zeros(penalty.size)
    if terms is not None and not first.any():
        first = terms.solution @ (values - gaussians.gaussian_sum(start, y, x))
    free = np.full(penalty.size, np.inf)
    low, high = (np.append(end.ravel(), sign * free) for end, sign in zip(limits, (-1, 1), strict=True))
    return least_squares(
        residuals, np.append(start.ravel(), first), jacobian, bounds=(low, high), loss=loss, f_scale=f_scale,
        x_scale="jac", ftol=1e-12, xtol=1e-12, gtol=1e-12, max_nfev=400,
    )  # fmt: skip


def shortfalls(seed, number, *, loss="linear", **kind):
    """Cost of our fits beyond those of scipy, relative, for many random problems."""
    rng, result, others = np.random.default_rng(seed), [], 0
    for _ in range(number):
        values, window, whitener, start, limits = problem(rng, **kind)
        f_scale = 0.15 * max(float(np.median(np.abs(whitener.weights))), 1e-3)
        ours = fit_all(
            [values], [window], [whitener], [start], lower=[limits[0]], upper=[limits[1]], loss=loss,
            f_scale=f_scale, **TIGHT,
        )[0]  # fmt: skip
        theirs = by_scipy(values, window, whitener, start, limits, loss=loss, f_scale=f_scale)
        if ours.cost > theirs.cost * (1 + 1e-6) and whitener.terms is not None:
            # Where a polynomial can imitate a source there are two minima: scipy must stay in ours, too.
            others += 1
            if ours.at_bound[:, [gaussians.SIGMA_1, gaussians.SIGMA_2]].all(axis=1).any():
                # A circle at the size limit has no angle, so that no gradient leads out of there.
                continue
            theirs = by_scipy(
                values, window, whitener, ours.parameters, limits, loss=loss, f_scale=f_scale,
                first=ours.coefficients,
            )  # fmt: skip
        result.append((ours.cost - theirs.cost) / theirs.cost)
    assert others <= 0.01 * number
    return np.array(result)


CASES = [
    *({"loss": loss} for loss in LOSSES),
    *({"kind": kind} for kind in WEIGHTS),
    *({"loss": loss, "order": 2} for loss in LOSSES),
    {"order": 0}, {"order": 4, "radius": 9.0}, {"order": 1, "kind": "snr"}, {"order": 1, "kind": "spatial"},
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_cost_is_no_higher_than_that_of_scipy(case):
    assert shortfalls(1, 5, **case).max() < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=str)
def test_cost_is_no_higher_than_that_of_scipy_in_200_problems(case):
    assert shortfalls(2, 200, **case).max() < 1e-6


def test_eliminated_and_explicit_coefficients_are_the_same():
    rng = np.random.default_rng(4)
    for _ in range(5):
        values, window, whitener, start, limits = problem(rng, order=2)
        ours = fit_all([values], [window], [whitener], [start], lower=[limits[0]], upper=[limits[1]], **TIGHT)
        theirs = by_scipy(values, window, whitener, start, limits, loss="linear", f_scale=1.0)
        np.testing.assert_allclose(ours[0].coefficients, theirs.x[start.size :], rtol=1e-4, atol=1e-5)


def test_groups_with_and_without_terms_and_of_several_orders_in_one_call():
    rng = np.random.default_rng(5)
    cases = [problem(rng, order=order) for order in (None, 2, 0, None, 2, 1, 2)]
    values, windows, whiteners, starts, limits = (list(part) for part in zip(*cases, strict=True))
    together = fit_all(
        values, windows, whiteners, starts,
        lower=[low for low, _ in limits], upper=[high for _, high in limits], **TIGHT,
    )  # fmt: skip
    for case, fit in zip(cases, together, strict=True):
        alone = fit_all(*([part] for part in case[:4]), lower=[case[4][0]], upper=[case[4][1]], **TIGHT)[0]
        np.testing.assert_allclose(fit.parameters, alone.parameters, rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(fit.coefficients, alone.coefficients, rtol=1e-5, atol=1e-7)


def test_influence_of_a_joint_fit_is_what_a_changed_pixel_does():
    rng = np.random.default_rng(6)
    values, window, whitener, start, limits = problem(rng, order=1)

    def fit(data, first=start):
        return fit_all(
            [data], [window], [whitener], [first], lower=[limits[0]], upper=[limits[1]], **TIGHT
        )[0]  # fmt: skip

    # Noise-free data: the Gauss-Newton response is the exact one there.
    y, x = window.y.astype(float), window.x.astype(float)
    centre = fit(values)
    clean = gaussians.gaussian_sum(centre.parameters, y, x) + whitener.terms.design @ np.ones(3)
    whitener = Whitener(
        weights=whitener.weights, terms=linear_terms(whitener.terms.design, weights=whitener.weights)
    )
    base = fit(clean, centre.parameters)
    moves, _, _ = response_of(base, window, whitener)
    for pixel in rng.choice(y.size, 4, replace=False):
        step = np.zeros(y.size)
        step[pixel] = 1e-4
        ahead, behind = fit(clean + step, base.parameters), fit(clean - step, base.parameters)
        expected = (ahead.parameters - behind.parameters).ravel() / 2e-4
        np.testing.assert_allclose(moves[:, pixel], expected, atol=1e-4 * np.abs(moves).max())


def test_terms_that_pixels_cannot_tell_apart_are_left_out():
    design = np.column_stack([np.ones(9), np.arange(9.0), np.arange(9.0)])
    terms = linear_terms(design, weights=np.ones(9))
    np.testing.assert_allclose(terms.solution @ np.arange(9.0), [0.0, 0.5, 0.5], atol=1e-12)
    assert np.linalg.matrix_rank(terms.basis) == 2
    assert not linear_terms(design, weights=np.zeros(9)).solution.any()


def test_ridge_pulls_coefficients_to_zero_as_defined():
    rng = np.random.default_rng(8)
    design, weights = rng.normal(size=(30, 3)), rng.uniform(0.5, 2, 30)
    penalty, values = np.array([0.0, 3.0, 9.0]), rng.normal(size=30)
    weighted = design * weights[:, None]
    expected = np.linalg.solve(weighted.T @ weighted + np.diag(penalty**2), weighted.T @ (weights * values))
    terms = linear_terms(design, weights=weights, penalty=penalty)
    np.testing.assert_allclose(terms.solution @ values, expected)
    # What elimination leaves is the least cost.
    whitener = Whitener(weights=weights, terms=terms)
    left = weights * (values - design @ expected)
    cost = left @ left + np.sum((penalty * expected) ** 2)
    assert np.sum(whitener.project(values) ** 2) == pytest.approx(cost)
    np.testing.assert_allclose(values @ whitener.precision_times(values), cost)


# ---- orders


def candidates_of(values, window, *, weights, limits, rms, matrix=None, orders=(0, 1, 2, 3)):
    """A group with joint polynomials of several orders."""
    scaling = scaling_of_pixels(window.y, window.x)
    shared = None if matrix is None else TriangularMatrix(matrix)
    candidates = []
    for order in orders:
        polynomial = JointPolynomial(order, scaling)
        terms = linear_terms(polynomial.design(window.y, window.x), weights=weights, matrix=shared)
        whitener = Whitener(weights=weights, matrix=shared, terms=terms)
        group = make_group(
            values,
            window,
            whitener,
            limits[0],
            limits=limits,
            joint=polynomial,
            rms=np.full(values.size, rms),
        )
        candidates.append(group)
    return candidates


@pytest.mark.parametrize("criterion", ["nmse", "redchi", "bic", "cv"])
@pytest.mark.parametrize("whiten", [False, True])
def test_criteria_choose_the_true_order_as_they_should(criterion, whiten):
    rng, chosen = np.random.default_rng(9), []
    for _ in range(20):
        values, window, _, start, limits = problem(rng, radius=11.0, sigma=0.1)
        u = (window.x - 22.0) / 11
        values = values + 1.0 * u**2 + 0.5 * u
        weights = np.full(values.size, 10.0)
        candidates = candidates_of(
            values, window, weights=weights, limits=limits, rms=0.1,
            matrix=np.eye(values.size) if whiten else None,
        )  # fmt: skip
        (best,) = choose_orders(
            [candidates], [start], criterion=criterion, beam_area=1.0, solver=SolverOptions()
        )
        chosen.append(best.joint.order)
    share = np.mean(np.array(chosen) == 2)
    if criterion == "nmse":
        assert set(chosen) == {3}
    else:
        assert share >= {"redchi": 0.3, "bic": 0.95, "cv": 0.7}[criterion]
        assert min(chosen) >= 2


def test_prediction_of_left_out_pixels_is_that_of_fits_without_them():
    rng = np.random.default_rng(10)
    values, window, _, start, _ = problem(rng, radius=6.0, sigma=0.05)
    # Everything but the polynomial fixed: refits are linear, and the score exact.
    weights = np.full(values.size, 2.0)
    (group,) = candidates_of(values, window, weights=weights, limits=(start, start), rms=0.5, orders=(1,))
    whitener = group.whitener
    fit = fit_all([values], [window], [whitener], [start], lower=[start], upper=[start])[0]
    fitted = fitted_group(
        fit, window, whitener, data=values, limits=(start, start), joint=group.joint, rms=group.rms
    )
    score = order_score(fitted, criterion="cv", beam_area=9.0)
    y, x = window.y, window.x
    row, column = (y - y.min()) // 3, (x - x.min()) // 3
    left = values - gaussians.gaussian_sum(fit.parameters, y.astype(float), x.astype(float))
    near = np.zeros(y.size, dtype=bool)
    for p in fit.parameters:
        _, _, _, s1, s2, theta = p
        u = (np.cos(theta) * (x - p[1]) + np.sin(theta) * (y - p[2])) / s1
        v = (np.cos(theta) * (y - p[2]) - np.sin(theta) * (x - p[1])) / s2
        near |= u**2 + v**2 <= 4.0
    squares = []
    for k in np.flatnonzero(~near):
        out = (abs(row - row[k]) <= 1) & (abs(column - column[k]) <= 1)
        c = np.linalg.lstsq(whitener.terms.design[~out], left[~out], rcond=None)[0]
        squares.append(((left[k] - whitener.terms.design[k] @ c) / 0.5) ** 2)
    expected = np.mean(squares) * (1 + 3 / (values.size / 9.0))
    assert score == pytest.approx(expected, rel=1e-5)


def test_groups_with_one_candidate_are_not_fitted(monkeypatch):
    rng = np.random.default_rng(11)
    values, window, _, start, limits = problem(rng)
    candidates = candidates_of(
        values, window, weights=np.ones(values.size), limits=limits, rms=1.0, orders=(1,)
    )
    monkeypatch.setattr(
        "hyper_py.fitting.joint_orders.fit_groups", lambda groups, *_, **__: [] if not groups else 1 / 0
    )
    (best,) = choose_orders([candidates], [start], criterion="cv", beam_area=9.0, solver=SolverOptions())
    assert best is candidates[0]
