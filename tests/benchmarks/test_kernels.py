"""Time of the kernels, beside what they reached: run with `pytest tests/benchmarks --benchmark-enable`.

Regressions are timed beside scikit-learn's (`--benchmark-group-by=func`).
"""

import numpy as np
import pytest
from sklearn.linear_model import HuberRegressor, TheilSenRegressor

from helpers.groups import bounds_around, make_group
from helpers.polynomials import square_design, theil_sen
from hyper_py.deblending.score_test import best_additions
from hyper_py.detection.checks import PeakLimits
from hyper_py.detection.matched import detect_matched
from hyper_py.fitting.group_fit import fit_groups
from hyper_py.fitting.linear_response import linear_response
from hyper_py.noise.covariance import autocovariance, beam_covariance_model
from hyper_py.noise.whitener_cache import WhitenerCache
from hyper_py.noise.whitening import Whitener
from hyper_py.numerics import gaussians
from hyper_py.numerics.fit_pixels import select_fit_pixels
from hyper_py.numerics.regression import huber_regression

SHAPE, SIGMA, N_GROUPS = (400, 400), 1.6, 64
BEAM = np.array([SIGMA, SIGMA, 0.0])


@pytest.fixture(scope="module")
def field():
    """Sources on a grid in white noise, their fit pixels, and the map."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[30:370:48, 30:370:48] + rng.uniform(-2, 2, (2, 8, 8))
    shape = np.full(N_GROUPS, SIGMA)
    amplitude = rng.uniform(10, 30, N_GROUPS)
    sources = np.column_stack([amplitude, x.ravel(), y.ravel(), 1.2 * shape, shape, 0.4 * shape])
    data = gaussians.render(sources, SHAPE) + rng.normal(size=SHAPE)
    usable = np.ones(SHAPE, dtype=bool)
    windows = [select_fit_pixels(s[1:2], s[2:3], radius=np.array([8.5]), usable=usable) for s in sources]
    return sources[:, None], data, windows


def groups_of(field, kind):
    sources, data, windows = field
    noise = beam_covariance_model(np.eye(2) * SIGMA**2, rms=1.0, max_lag=40)
    cache = WhitenerCache(noise)
    return [
        make_group(
            data[w.y, w.x], w,
            Whitener(weights=np.ones(w.y.size)) if kind == "white" else cache.whitener(w, 1.0), s,
            limits=bounds_around(s, sigma_limits=(0.8, 4), amplitude_limits=(0, np.inf), shift=2.0),
        )
        for s, w in zip(sources, windows, strict=True)
    ]  # fmt: skip


def fitted(field, kind):
    return fit_groups(groups_of(field, kind), list(field[0]))


def fitted_groups(field):
    groups = groups_of(field, "correlated")
    fits = fit_groups(groups, list(field[0]))
    return [group.prepared().refitted(fit) for group, fit in zip(groups, fits, strict=True)]


@pytest.mark.parametrize("kind", ["white", "correlated"])
def test_fits(benchmark, field, kind):
    fits = benchmark(fitted, field, kind)
    evaluations = float(np.mean([fit.n_evaluations for fit in fits]))
    cost = sum(fit.cost for fit in fits) / sum(w.y.size for w in field[2])
    benchmark.extra_info |= {"evaluations": evaluations, "cost_a_pixel": cost}
    assert all(fit.converged for fit in fits)
    assert evaluations < 15
    if kind == "white":
        # Half a unit of chi-square a pixel, six parameters in each of some 220 pixels.
        assert cost == pytest.approx(0.5 * (1 - 6 / field[2][0].y.size), rel=0.05)


def test_linear_response(benchmark, field):
    moves, inverse, jacobian = benchmark(linear_response, fitted_groups(field))
    # Moving the data by the model's own derivative moves the parameter by one.
    np.testing.assert_allclose(moves @ jacobian.swapaxes(1, 2) @ inverse, inverse, rtol=1e-5, atol=1e-9)


def test_search_for_neighbours(benchmark, field):
    places = benchmark(best_additions, fitted_groups(field), beam=BEAM)
    assert len(places) == N_GROUPS


def test_render(benchmark, field):
    sources = field[0][:, 0]
    image = benchmark(gaussians.render, sources, SHAPE)
    assert image.sum() == pytest.approx(gaussians.gaussian_flux(sources).sum(), rel=1e-6)


def test_autocovariance(benchmark):
    noise = np.random.default_rng(1).normal(size=SHAPE)
    lags = benchmark(autocovariance, noise, max_lag=40)
    assert lags[40, 40] == pytest.approx(noise.var(), rel=1e-9)


def test_detection(benchmark, field):
    peaks = benchmark.pedantic(
        detect_matched,
        (field[1],),
        {"beam_covariance": np.eye(2) * SIGMA**2, "limits": PeakLimits()},
        rounds=3,
    )
    apart = np.hypot(peaks.x[:, None] - field[0][:, 0, 1], peaks.y[:, None] - field[0][:, 0, 2])
    assert (apart.min(axis=0) < 1.0).mean() > 0.9


@pytest.fixture(scope="module")
def plane(random_seed):
    """A quadratic background in 41 x 41 pixels, a twentieth of them far off: design, values, truth."""
    rng = np.random.default_rng(random_seed)
    design = square_design(41, order=2)
    truth = rng.normal(size=design.shape[1])
    values = design @ truth + rng.normal(scale=0.3, size=design.shape[0])
    hit = rng.random(values.size) < 0.05
    values[hit] += rng.exponential(10.0, hit.sum())
    return design, values, truth


def scikit(model, design, values):
    model.fit(design[:, 1:], values)
    return np.r_[model.intercept_, model.coef_]


@pytest.mark.parametrize("whose", ["ours", "scikit-learn"])
def test_huber(benchmark, plane, whose):
    design, values, truth = plane
    model = HuberRegressor(epsilon=1.35, alpha=0.0, max_iter=1000)
    if whose == "ours":
        found = benchmark(lambda: huber_regression(design, values).coefficients)
    else:
        found = benchmark(scikit, model, design, values)
    np.testing.assert_allclose(found, truth, atol=0.3)


@pytest.mark.parametrize("whose", ["ours", "scikit-learn"])
def test_theil_sen(benchmark, plane, whose):
    design, values, truth = plane
    model = TheilSenRegressor(n_subsamples=6, max_subpopulation=3000, random_state=0)
    if whose == "ours":
        found = benchmark(lambda: theil_sen(design, values, n_subsets=3000))
    else:
        found = benchmark.pedantic(scikit, (model, design, values), rounds=3)
    np.testing.assert_allclose(found, truth, atol=0.6)
