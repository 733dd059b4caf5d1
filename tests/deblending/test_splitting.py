"""Larger models, and the splits that come of them."""

from dataclasses import replace

import numpy as np
import pytest

from helpers.blends import (
    BEAM,
    SHIFT,
    SIGMA_LIMITS,
    beam_sources,
    best_addition,
    fit_of,
    make_whitener,
    noise_of,
    value,
    window_of,
)
from helpers.groups import bounds_around, fit_all, fitted_group
from hyper_py.deblending.splitting import (
    SplitLimits,
    TypicalShape,
    residual_variance_at_last,
    split_groups,
)
from hyper_py.numerics import gaussians
from hyper_py.numerics.solvers import SolverOptions

LIMITS = SplitLimits(sigma_limits=SIGMA_LIMITS, shift=SHIFT, significance=4.0)


def split_all(groups):
    return split_groups(groups, beam=BEAM, typical=BEAM, limits=LIMITS, solver=SolverOptions())


def splits_of(data, window, whitener, fit, *, fixed=None):
    return split_all([fitted_group(fit, window, whitener, data=data, fixed=fixed)])


def variance_of(data, window, whitener, fit):
    return residual_variance_at_last(fitted_group(fit, window, whitener, data=data))


# ---- splits


@pytest.mark.parametrize("kind", ["white", "correlated"])
@pytest.mark.parametrize("angle", [0.2, 1.4])
def test_a_pair_beyond_a_beam_is_found_and_measured(kind, angle):
    rng = np.random.default_rng(6)
    separation = 1.2 * 2.3548 * 1.9
    dx, dy = separation * np.cos(angle), separation * np.sin(angle)
    truth = beam_sources((60, 22.2, 22.1), (40, 22.2 + dx, 22.1 + dy))
    window = window_of(truth[:1], radius=12.0)
    whitener = make_whitener(window, kind)
    data = value(truth, window) + noise_of(window, kind, rng)
    split = splits_of(data, window, whitener, fit_of(data, window, whitener, truth[:1]))[0]
    assert split.members.tolist() == [0]
    assert split.parameters.shape == (2, 6)
    assert split.typical.shape == (2,)
    order = np.argsort(-split.parameters[:, 0])
    found = split.parameters[order]
    np.testing.assert_allclose(found[:, 1:3], truth[:, 1:3], atol=0.35)
    np.testing.assert_allclose(gaussians.gaussian_flux(found), gaussians.gaussian_flux(truth), rtol=0.25)


@pytest.mark.parametrize("kind", ["white", "correlated"])
@pytest.mark.parametrize(("separation", "snr", "at_least", "at_most"), [
    (1.0, 60, 20, 20), (0.75, 60, 15, 20), (0.3, 8, 0, 1), (1.0, 2, 0, 3),
])  # fmt: skip
def test_pairs_are_split_where_the_noise_allows_it(kind, separation, snr, at_least, at_most):
    rng = np.random.default_rng(7)
    found = 0
    for _ in range(20):
        dx = 0.5 * separation * 2.3548 * 1.9
        truth = beam_sources((snr, 23.1 - dx, 22.3), (snr, 23.1 + dx, 22.3))
        start = beam_sources((1.5 * snr, 23.1, 22.3))
        window = window_of(start, radius=11.0)
        whitener = make_whitener(window, kind)
        data = value(truth, window) + noise_of(window, kind, rng)
        found += bool(splits_of(data, window, whitener, fit_of(data, window, whitener, start)))
    assert at_least <= found <= at_most


@pytest.mark.parametrize("kind", ["white", "correlated"])
@pytest.mark.parametrize("source", [[50, 23.1, 22.3, 3.4, 2.1, 0.9], [12, 23.1, 22.3, 2.0, 1.8, 0.4]])
def test_one_source_elongated_or_not_stays_one(kind, source):
    rng = np.random.default_rng(8)
    truth = np.array([source])
    window = window_of(truth)
    whitener = make_whitener(window, kind)
    false = 0
    for _ in range(60):
        data = value(truth, window) + noise_of(window, kind, rng)
        false += bool(splits_of(data, window, whitener, fit_of(data, window, whitener, truth)))
    assert false <= 1


def test_groups_that_need_nothing_are_left_alone():
    truth = beam_sources((60, 22.2, 22.1), (50, 28.2, 22.1))
    window = window_of(truth[:1])
    whitener = make_whitener(window, "white")
    data = value(truth, window) + noise_of(window, "white", np.random.default_rng(1))
    alone = value(truth[:1], window)
    asking, content = (
        fitted_group(
            fit_of(values, window, whitener, truth[:1]), window, whitener, data=values, members=members
        )
        for values, members in ((data, np.array([7])), (alone, np.array([3])))
    )
    assert [s.members.tolist() for s in split_all([content, asking])] == [[7]]
    assert split_all([]) == []
    assert split_all([content]) == []


def test_fixed_parameters_of_the_old_source_stay_and_typical_shapes_are_told():
    truth = beam_sources((60, 22.2, 22.1), (30, 28.4, 23.1))
    window = window_of(truth[:1], radius=12.0)
    whitener = make_whitener(window, "white")
    data = value(truth, window) + noise_of(window, "white", np.random.default_rng(2))
    fixed = np.zeros((1, 6), dtype=bool)
    fixed[0, gaussians.SIGMA_1 :] = True
    lower, upper = bounds_around(
        truth[:1], sigma_limits=SIGMA_LIMITS, amplitude_limits=(-np.inf, np.inf), shift=SHIFT
    )
    lower, upper = np.where(fixed, truth[:1], lower), np.where(fixed, truth[:1], upper)
    fit = fit_all([data], [window], [whitener], [truth[:1]], lower=[lower], upper=[upper])[0]
    split = splits_of(data, window, whitener, fit, fixed=fixed)[0]
    np.testing.assert_allclose(split.parameters[0, 3:], BEAM)
    for kept, source in zip(split.typical, split.parameters, strict=True):
        if kept:
            np.testing.assert_allclose(source[3:], BEAM)


def test_the_typical_shape_is_that_of_the_brighter_sources():
    rng = np.random.default_rng(3)
    sources = np.tile(np.array([[1.0, 0.0, 0.0, *BEAM]]), (400, 1))
    sources[:, gaussians.AMPLITUDE] = rng.uniform(1.0, 100.0, 400)
    sources[:, gaussians.SIGMA_1 : gaussians.THETA] *= np.exp(rng.normal(0.2, 0.1, (400, 2)))
    sources[sources[:, gaussians.AMPLITUDE] < 30.0, gaussians.SIGMA_1] *= 5.0  # noise
    typical = TypicalShape.of(sources, BEAM)
    np.testing.assert_allclose(typical.shape[:2], BEAM[:2] * np.exp(0.2), rtol=0.02)
    np.testing.assert_allclose(np.sqrt(typical.variance[3:5]), 0.1 * typical.shape[:2], rtol=0.15)
    assert typical.shape[2] == BEAM[2]
    assert np.flatnonzero(typical.variance).tolist() == [3, 4]


@pytest.mark.parametrize("n", [0, 5])
def test_few_sources_leave_the_shape_of_the_beam(n):
    sources = np.tile(np.array([[1.0, 0.0, 0.0, 3.0, 3.0, 0.0]]), (n, 1))
    typical = TypicalShape.of(sources, BEAM)
    np.testing.assert_array_equal(typical.shape, BEAM)
    np.testing.assert_allclose(typical.variance[3:5], (0.15 * BEAM[:2]) ** 2)


# ---- light that is no Gaussian


@pytest.mark.parametrize("kind", ["white", "correlated"])
def test_errors_of_a_bright_sources_own_light_are_rarely_taken_for_a_companion(kind):
    """Without regard to what is left there, more than half of these are split."""
    rng = np.random.default_rng(9)
    found = 0
    for _ in range(30):
        truth = beam_sources((400, *rng.uniform((22.7, 21.6), (23.7, 22.6))))
        window = window_of(truth)
        whitener = make_whitener(window, kind)
        light = value(truth, window) * (1.0 + 0.1 * rng.normal(size=window.y.size))
        data = light + noise_of(window, kind, rng)
        found += bool(splits_of(data, window, whitener, fit_of(data, window, whitener, truth)))
    assert found <= 6


def test_a_companion_outside_the_imperfect_light_is_found():
    rng = np.random.default_rng(10)
    found = 0
    for _ in range(20):
        truth = beam_sources((400, *rng.uniform((22.7, 21.6), (23.7, 22.6))))
        companion = beam_sources((14, truth[0, 1] + 7.0, truth[0, 2]))
        window = window_of(truth)
        whitener = make_whitener(window, "white")
        light = value(truth, window) * (1.0 + 0.03 * rng.normal(size=window.y.size))
        data = light + value(companion, window) + noise_of(window, "white", rng)
        splits = splits_of(data, window, whitener, fit_of(data, window, whitener, truth))
        found += any(np.hypot(*(s.parameters[-1, 1:3] - companion[0, 1:3])) < 1.0 for s in splits)
    assert found >= 16


@pytest.mark.parametrize("peak", [0.0, 1e-200, 1.0])
def test_what_is_left_at_a_source_does_not_depend_on_its_peak(peak):
    truth = beam_sources((40, 23.2, 22.1), (peak, 27.5, 24.0))
    window = window_of(truth)
    whitener = make_whitener(window, "correlated")
    noise = noise_of(window, "correlated", np.random.default_rng(3))
    fit = replace(fit_of(value(truth, window) + noise, window, whitener, truth), parameters=truth)
    louder = replace(fit, parameters=truth + beam_sources((0, 0, 0), (7, 0, 0)) * [1, 0, 0, 0, 0, 0])
    expected = variance_of(value(louder.parameters, window) + noise, window, whitener, louder)
    np.testing.assert_allclose(variance_of(value(truth, window) + noise, window, whitener, fit), expected)


@pytest.mark.parametrize("kind", ["white", "correlated"])
def test_what_is_left_at_the_last_source_is_weighted_by_what_it_has_of_its_own(kind):
    rng = np.random.default_rng(11)
    truth = beam_sources((60, 21.2, 22.1), (40, 26.9, 22.9))
    window = window_of(truth[:1])
    whitener = make_whitener(window, kind)
    data = value(truth, window) + noise_of(window, kind, rng) * (1.0 + (window.x > 24))
    fit = fit_of(data, window, whitener, truth)
    left, n_left = variance_of(data, window, whitener, fit)

    whiten = np.eye(window.y.size) if whitener.matrix is None else whitener.matrix.values
    y, x = window.y.astype(float), window.x.astype(float)
    model, jacobian = gaussians.gaussian_sum_and_jacobian(fit.parameters[None], y[None], x[None])
    first = whiten @ jacobian[0, :6].T
    own = whiten @ jacobian[0, 6]  # by the amplitude: the source's own shape
    own = own - first @ np.linalg.solve(first.T @ first, first.T @ own)
    squares = (whiten @ (data - model[0])) ** 2
    assert left == pytest.approx(np.average(squares, weights=own**2), rel=1e-6)
    assert left > 2.0  # twice the noise in amplitude where this source is, none too much on average
    assert n_left == pytest.approx(np.sum(own**2) ** 2 / np.sum(own**4), rel=1e-6)


# ---- large units, and sources that are no Gaussians


def grid_of_sources():
    """Nine sources two beams apart, too many for all to be fitted around each place that is tried."""
    step = 2.0 * 2.3548 * BEAM[0]
    return beam_sources(*((40, 22 + step * i, 21 + step * j) for i in (-1, 0, 1) for j in (-1, 0, 1)))


@pytest.mark.parametrize("kind", ["white", "correlated"])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_large_unit_gains_several_sources_at_once_each_beside_those_near_it(kind, seed):
    rng = np.random.default_rng(seed)
    known = grid_of_sources()
    hidden = beam_sources((25, known[0, 1] - 5.5, known[0, 2]), (25, known[8, 1] + 5.5, known[8, 2]))
    window = window_of(known, radius=9.0)
    whitener = make_whitener(window, kind)
    data = value(np.concatenate([known, hidden]), window) + noise_of(window, kind, rng)
    fit = fit_of(data, window, whitener, known)
    splits = splits_of(data, window, whitener, fit)
    assert len(splits) == 2
    for place in hidden[:, [1, 2]]:
        assert min(np.hypot(*(split.parameters[:, [1, 2]] - place).T).min() for split in splits) < 1.0
    for split in splits:
        assert len(split.members) == 6
        distance = np.hypot(*(fit.parameters[:, [1, 2]] - split.parameters[-1, [1, 2]]).T)
        assert set(np.argsort(distance)[:3]) <= set(split.members)


def test_the_cost_around_a_place_is_no_smaller_than_that_of_the_whole_unit():
    rng = np.random.default_rng(5)
    known = grid_of_sources()
    hidden = beam_sources((30, known[4, 1] + 4.0, known[4, 2] + 3.0))
    window = window_of(known, radius=9.0)
    whitener = make_whitener(window, "correlated")
    data = value(np.concatenate([known, hidden]), window) + noise_of(window, "correlated", rng)
    fit = fit_of(data, window, whitener, known)
    (split,) = splits_of(data, window, whitener, fit)
    start = fit.parameters.copy()
    start[split.members] = split.parameters[:-1]
    larger = np.concatenate([start, split.parameters[-1:]])
    whole = fit_of(data, window, whitener, larger)
    cost = 0.5 * np.sum(whitener.project(data - value(larger, window)) ** 2)
    assert whole.cost < cost < fit.cost


@pytest.mark.parametrize("kind", ["white", "correlated"])
def test_a_core_in_an_envelope_is_one_source(kind):
    """A pair apart describes it better than a single Gaussian does, and a pair in one place even better."""
    taken, asked = 0, 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        core = beam_sources((50, 23.2, 22.1))
        off = 0.5 * np.array([np.cos(seed), np.sin(seed)])
        envelope = np.array([[50, 23.2 + off[0], 22.1 + off[1], 3.6, 2.2, 0.3 * seed]])
        window = window_of(core)
        whitener = make_whitener(window, kind)
        data = value(np.concatenate([core, envelope]), window) + noise_of(window, kind, rng)
        fit = fit_of(data, window, whitener, core)
        asked += best_addition(data, window, whitener, fit, beam=BEAM) is not None
        taken += len(splits_of(data, window, whitener, fit))
    assert asked >= 6
    assert taken == 0
