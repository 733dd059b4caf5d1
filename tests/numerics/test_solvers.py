"""Levenberg-Marquardt against scipy.optimize.least_squares, its oracle."""

import numpy as np
import pytest
from scipy.optimize import least_squares

from hyper_py.numerics import gaussians
from hyper_py.numerics.solvers import LOSSES, FitStatus, SolverOptions, levenberg_marquardt, loss_terms

Y, X = (a.ravel().astype(float) for a in np.mgrid[:19, :19])
INFINITY = np.full(6, np.inf)


def gaussian_problem(rng, n_sources=1, noise=0.05, outliers=0.0):
    truth = np.stack(
        [
            np.array(
                [
                    rng.uniform(0.5, 2),
                    rng.uniform(6, 12),
                    rng.uniform(6, 12),
                    rng.uniform(1.5, 2.5),
                    rng.uniform(1.0, 1.4),
                    rng.uniform(-1, 1),
                ]
            )
            for _ in range(n_sources)
        ]
    )
    data = gaussians.gaussian_sum(truth, Y, X) + noise * rng.standard_normal(Y.size)
    hit = rng.random(Y.size) < outliers
    data[hit] += rng.uniform(1, 5, hit.sum())
    start = truth + rng.normal(0, 0.15, truth.shape)
    start[:, 3:5] = np.maximum(start[:, 3:5], 0.6)
    return data, start.ravel(), truth


def batch_problem(data, weights=None):
    data = np.atleast_2d(data)
    weights = np.ones_like(data) if weights is None else np.atleast_2d(weights)

    def problem(parameters, which):
        sources = parameters.reshape(len(which), -1, 6)
        points = (len(which), Y.size)
        value, jacobian = gaussians.gaussian_sum_and_jacobian(
            sources, np.broadcast_to(Y, points), np.broadcast_to(X, points)
        )
        return (value - data[which]) * weights[which], jacobian * weights[which][:, None, :]

    return problem


def scipy_solution(problem, start, lower, upper, **options):
    here = np.array([0])
    return least_squares(
        lambda p: problem(p[None], here)[0][0],
        start,
        jac=lambda p: problem(p[None], here)[1][0].T,
        bounds=(lower, upper),
        method="trf",
        x_scale="jac",
        ftol=1e-12,
        xtol=1e-12,
        gtol=1e-12,
        max_nfev=2000,
        **options,
    )


def solve(problem, start, lower, upper, **options):
    return levenberg_marquardt(
        problem,
        start[None],
        lower=lower[None],
        upper=upper[None],
        options=SolverOptions(**{"ftol": 1e-12, "xtol": 1e-12, "gtol": 1e-9, **options}),
    )


@pytest.mark.parametrize("loss", LOSSES)
def test_reaches_the_cost_of_scipy_for_every_loss(loss):
    rng = np.random.default_rng(11)
    for _ in range(40):
        data, start, _ = gaussian_problem(rng, outliers=0.05 if loss != "linear" else 0.0)
        problem = batch_problem(data)
        lower = np.array([-np.inf, start[1] - 3, start[2] - 3, 0.5, 0.5, -np.inf])
        upper = np.array([np.inf, start[1] + 3, start[2] + 3, 6.0, 6.0, np.inf])
        ours = solve(problem, start, lower, upper, loss=loss, f_scale=0.1)
        theirs = scipy_solution(problem, start, lower, upper, loss=loss, f_scale=0.1)
        assert ours.status[0] > 0
        assert ours.cost[0] <= theirs.cost * (1 + 1e-6)


@pytest.mark.parametrize("index", range(6))
@pytest.mark.parametrize("side", [-1, 1])
def test_every_bound_active(index, side):
    rng = np.random.default_rng(index)
    data, start, truth = gaussian_problem(rng)
    problem = batch_problem(data)
    lower, upper = -INFINITY.copy(), INFINITY.copy()
    lower[3:5] = 0.3
    cut = truth[0, index] + side * 0.2  # the solution is on the far side of the bound
    if side > 0:
        lower[index] = cut
    else:
        upper[index] = cut
    start = np.clip(start, lower, upper)
    ours = solve(problem, start, lower, upper)
    theirs = scipy_solution(problem, np.clip(start, lower + 1e-6, upper - 1e-6), lower, upper)
    assert ours.at_bound[0, index]
    assert ours.at_bound.sum() == 1
    assert ours.cost[0] <= theirs.cost * (1 + 1e-7)
    np.testing.assert_allclose(ours.parameters[0], theirs.x, atol=2e-4)


def test_several_bounds_at_once_and_fixed_parameters():
    data, start, truth = gaussian_problem(np.random.default_rng(5), n_sources=2)
    problem = batch_problem(data)
    lower, upper = np.tile(-INFINITY, 2), np.tile(INFINITY, 2)
    lower[[3, 4, 9, 10]] = 0.5
    upper[3] = truth[0, 3] * 0.8
    lower[10] = truth[1, 4] * 1.2
    for fixed in (1, 8):
        lower[fixed] = upper[fixed] = start[fixed]
    ours = solve(problem, start, lower, upper)
    wide = (lower - 1e-9 * (lower == upper), upper + 1e-9 * (lower == upper))
    theirs = scipy_solution(problem, np.clip(start, wide[0] + 1e-10, wide[1] - 1e-10), *wide)
    assert ours.cost[0] <= theirs.cost * (1 + 1e-6)
    assert ours.parameters[0, 1] == start[1]
    assert not ours.at_bound[0, [1, 8]].any()


def test_batch_gives_what_single_problems_give():
    rng = np.random.default_rng(8)
    problems = [gaussian_problem(rng) for _ in range(7)]
    data = np.stack([p[0] for p in problems])
    start = np.stack([p[1] for p in problems])
    lower = np.tile([-np.inf, -np.inf, -np.inf, 0.3, 0.3, -np.inf], (7, 1))
    together = levenberg_marquardt(batch_problem(data), start, lower=lower, upper=np.full((7, 6), np.inf))
    for i in range(7):
        alone = levenberg_marquardt(
            batch_problem(data[i]), start[i : i + 1], lower=lower[:1], upper=np.full((1, 6), np.inf)
        )
        np.testing.assert_allclose(together.parameters[i], alone.parameters[0], rtol=1e-12)
        assert together.n_evaluations[i] == alone.n_evaluations[0] < 30


def test_result_scales_with_the_data():
    data, start, _ = gaussian_problem(np.random.default_rng(2))
    lower, upper = -INFINITY.copy(), INFINITY.copy()
    lower[3:5] = 0.3
    one = solve(batch_problem(data), start, lower, upper)
    for factor in (1e-9, 1e12):
        scaled = start.copy()
        scaled[0] *= factor
        other = solve(batch_problem(factor * data), scaled, lower, upper)
        np.testing.assert_allclose(other.parameters[0, 1:], one.parameters[0, 1:], rtol=1e-7)
        assert other.parameters[0, 0] == pytest.approx(factor * one.parameters[0, 0], rel=1e-7)


def test_failure_is_a_status():
    data, start, _ = gaussian_problem(np.random.default_rng(1))
    data[3] = np.nan
    bad = solve(batch_problem(data), start, -INFINITY, INFINITY)
    assert bad.status[0] == FitStatus.NOT_FINITE
    data[3] = 0.0
    short = solve(batch_problem(data), start, -INFINITY, INFINITY, max_evaluations=2)
    assert short.status[0] == FitStatus.MAX_EVALUATIONS
    assert short.n_evaluations[0] == 2


def test_two_identical_sources_do_not_stop_the_solver():
    data, start, _ = gaussian_problem(np.random.default_rng(4))
    doubled = np.concatenate([start, start])
    lower = np.tile([-np.inf, -np.inf, -np.inf, 0.3, 0.3, -np.inf], 2)
    result = solve(batch_problem(data), doubled, lower, np.full(12, np.inf))
    assert np.isfinite(result.parameters).all()


@pytest.mark.parametrize("loss", [name for name in LOSSES if name != "linear"])
def test_loss_derivatives(loss):
    residuals = np.linspace(-4, 4, 83)
    _, first, curvature = loss_terms(residuals, loss=loss, f_scale=0.7)
    step = 1e-4
    ahead, here, behind = (
        0.5 * loss_terms(residuals + s, loss=loss, f_scale=0.7)[0] for s in (step, 0, -step)
    )
    np.testing.assert_allclose(first * residuals, (ahead - behind) / (2 * step), atol=1e-6)
    kink = np.abs(np.abs(residuals) - 0.7) > 2 * step
    np.testing.assert_allclose(curvature[kink], ((ahead - 2 * here + behind) / step**2)[kink], atol=1e-5)


def test_unknown_loss_is_an_error():
    with pytest.raises(ValueError, match="loss must be one of"):
        loss_terms(np.zeros(3), loss="lorentz", f_scale=1.0)


@pytest.mark.parametrize(
    "wrong",
    [{"loss": "l1"}, {"f_scale": 0.0}, {"xtol": -1e-8}, {"gtol": float("nan")}, {"max_evaluations": 0}],
)
def test_solver_options_refuse_what_no_fit_can_use(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"^{name} must be"):
        SolverOptions(**wrong)


def test_one_tolerance_for_all_three_criteria():
    options = SolverOptions(loss="huber", f_scale=2.0, max_evaluations=7).with_tolerance(1e-4)
    assert options == SolverOptions(
        loss="huber", f_scale=2.0, ftol=1e-4, xtol=1e-4, gtol=1e-4, max_evaluations=7
    )
