"""The iterative fit against a fit of everything at once, and retries."""

from dataclasses import replace

import numpy as np
import pytest

from helpers.groups import make_group
from hyper_py.fitting.group_fit import fit_groups
from hyper_py.fitting.groups import Bounds
from hyper_py.fitting.iterative import fit_iteratively, retry_failed
from hyper_py.noise.whitening import Whitener
from hyper_py.numerics import gaussians
from hyper_py.numerics.fit_pixels import select_fit_pixels
from hyper_py.numerics.solvers import SolverOptions

SHAPE = (60, 62)
TIGHT = SolverOptions(ftol=1e-14, xtol=1e-12, gtol=1e-13)
NORMAL = SolverOptions()


def chain(n=4, spacing=9.0):
    """Sources in a row, each in the wings of the next."""
    x = 10.0 + spacing * np.arange(n)
    rows = [[1.0 + 0.3 * k, x[k], 30.2 + 0.4 * k, 2.4, 1.9, 0.3 * k + 0.1] for k in range(n)]
    return np.array(rows)


def prepared(sources, data, *, partition=None, radius=9.0, sigma=0.01, shift=2.0, below=0.0):
    """One group a source, unless told otherwise."""
    partition = [np.array([k]) for k in range(len(sources))] if partition is None else partition
    bounds = Bounds.around(sources, sigma_limits=(0.8, 5), amplitude_limits=(-np.inf, np.inf), shift=shift)
    groups = []
    for own in partition:
        pixels = select_fit_pixels(
            sources[own, 1], sources[own, 2], radius=np.full(len(own), radius), usable=np.isfinite(data)
        )
        n = pixels.y.size
        group = make_group(
            data[pixels.y, pixels.x], pixels, Whitener(weights=np.full(n, 1 / sigma)), sources[own],
            members=own, bounds=bounds.of(own), below=np.full(n, below),
        )  # fmt: skip
        groups.append(group)
    return groups


def test_a_chain_converges_to_the_truth():
    truth = chain()
    data = gaussians.render(truth, SHAPE)
    start = truth * [1.3, 1, 1, 1.1, 1.1, 1] + [0, 0.2, -0.2, 0, 0, 0]
    before = start.copy()
    sources, groups = fit_iteratively(prepared(start, data), start, max_iterations=30, solver=TIGHT)
    np.testing.assert_allclose(sources[:, :5], truth[:, :5], rtol=4e-3)
    assert all(group.fitted.converged for group in groups)
    np.testing.assert_array_equal(start, before)


@pytest.mark.parametrize("seed", [1, 2])
def test_iterative_fits_agree_with_one_fit_of_all(seed):
    rng = np.random.default_rng(seed)
    truth = chain(3)
    data = gaussians.render(truth, SHAPE) + 0.01 * rng.normal(size=SHAPE)
    # The same pixels for all, so that both minimise the same sum.
    together = prepared(truth, data, partition=[np.arange(3)], radius=12.0)
    one, (fitted,) = fit_iteratively(together, truth, solver=TIGHT)
    alone = [
        replace(
            together[0], members=np.array([k]), bounds=together[0].bounds.of(np.array([k])),
            fixed=together[0].fixed[[k]], prior_variance=together[0].prior_variance[[k]],
        )
        for k in range(3)
    ]  # fmt: skip
    in_turn, _ = fit_iteratively(alone, truth, max_iterations=60, solver=TIGHT)
    assert fitted.fitted.n_evaluations > 1
    error = np.array([0.01, 0.03, 0.03, 0.03, 0.03, 0.1])
    np.testing.assert_array_less(np.abs(in_turn - one), np.broadcast_to(0.2 * error, one.shape))


def test_lonely_groups_are_fitted_once_and_neighbours_again(monkeypatch):
    truth = np.vstack([chain(2, spacing=9.0), [[1.0, 45.0, 50.0, 2.0, 2.0, 0.0]]])
    data = gaussians.render(truth, SHAPE)
    start = truth * [1.3, 1, 1, 1, 1, 1]
    groups = prepared(start, data, radius=7.0)
    counts = []

    def counting(some, *args, **kwargs):
        counts.append(len(some))
        return fit_groups(some, *args, **kwargs)

    monkeypatch.setattr("hyper_py.fitting.iterative.fit_groups", counting)
    fit_iteratively(groups, start, max_iterations=10, solver=NORMAL)
    assert counts[0] == 3
    assert len(counts) > 1
    assert max(counts[1:]) <= 2
    assert len(counts) < 10
    counts.clear()
    fit_iteratively(groups, start, max_iterations=2, solver=NORMAL)
    assert len(counts) == 2


def test_wide_sources_that_overlap_converge_and_do_not_take_turns_with_one_light(monkeypatch):
    """Fitted at once, all took the light that they share, then none, more so from one round to the next."""
    places = [(26.0, 26.0), (26.0, 34.0), (34.0, 26.0), (34.0, 34.0)]
    truth = np.array([[1.0, x, y, 4.5, 4.0, 0.2] for x, y in places] + [[1.0, 51.0, 51.0, 1.2, 1.0, 0.0]])
    data, start = gaussians.render(truth, SHAPE), truth * [1.3, 1, 1, 1, 1, 1]
    sizes = []

    def counting(some, *args, **kwargs):
        sizes.append(len(some))
        return fit_groups(some, *args, **kwargs)

    monkeypatch.setattr("hyper_py.fitting.iterative.fit_groups", counting)
    left = []
    for rounds in (1, 2, 4, 8):
        sizes.clear()
        sources, _ = fit_iteratively(
            prepared(start, data, radius=14.0), start, max_iterations=rounds, solver=TIGHT
        )
        left.append(np.std(data - gaussians.render(sources, SHAPE)))
        assert sizes[:4] == [2, 1, 1, 1]  # what stands alone is fitted with the first
    assert left == sorted(left, reverse=True)
    assert left[-1] < 0.1 * np.std(data - gaussians.render(start, SHAPE))


def test_groups_with_a_fit_are_fitted_again_only_where_a_neighbour_is_not():
    truth = np.vstack([chain(2, spacing=9.0), [[1.0, 45.0, 50.0, 2.0, 2.0, 0.0]]])
    data = gaussians.render(truth, SHAPE)
    sources, groups = fit_iteratively(prepared(truth, data), truth, solver=NORMAL)
    _, again = fit_iteratively([replace(groups[0], fit=None), *groups[1:]], sources, solver=NORMAL)
    assert again[1].fit is not groups[1].fit
    assert again[2] is groups[2]


def test_backgrounds_are_subtracted_and_blank_pixels_do_not_matter():
    truth = chain(2)
    data = gaussians.render(truth, SHAPE) + 5.0
    data[28:33, 12:14] = np.nan
    start = truth * [1.1, 1, 1, 1, 1, 1]
    groups = prepared(truth, data, below=5.0)
    sources, _ = fit_iteratively(groups, start, max_iterations=40, solver=TIGHT)
    np.testing.assert_allclose(sources[:, :5], truth[:, :5], rtol=4e-3)


def test_no_groups_and_groups_without_pixels():
    sources, groups = fit_iteratively([], np.empty((0, 6)), solver=NORMAL)
    assert len(sources) == len(groups) == 0
    truth = chain(2)
    data = np.ones(SHAPE)
    data[:, :25] = np.nan
    groups = prepared(truth, data)
    assert groups[0].pixels.y.size == 0
    sources, groups = fit_iteratively(groups, truth, solver=NORMAL)
    assert len(groups) == 2
    assert np.isfinite(sources).all()


# ---- retries


def test_only_failed_groups_are_tried_again_and_the_lower_cost_stays():
    truth = chain(2, spacing=20.0)
    data = gaussians.render(truth, SHAPE)
    far = truth * [1, 1, 1, 1.4, 0.8, 1]
    sources, groups = fit_iteratively(prepared(truth, data), far, max_iterations=1, solver=NORMAL)
    few = SolverOptions(max_evaluations=2)
    stuck = fit_iteratively(prepared(truth, data), far, max_iterations=1, solver=few)[1][0]
    assert not stuck.fitted.converged
    sources[0] = stuck.fitted.parameters[0]
    mended, after = retry_failed([stuck, groups[1]], sources, starts=[truth], solver=NORMAL)
    assert [group.retried for group in after] == [True, False]
    assert after[1] is groups[1]
    assert after[0].fitted.converged
    np.testing.assert_allclose(mended[0, :5], truth[0, :5], rtol=1e-3)
    assert sources[0, 0] == stuck.fitted.parameters[0, 0]


def test_a_retry_that_fails_too_is_kept_only_if_it_is_better():
    truth = chain(1)
    groups = prepared(truth, gaussians.render(truth, SHAPE))
    near, far = truth * [1.01, 1, 1, 1, 1, 1], truth * [0.1, 1, 1, 1, 1, 1]
    few = SolverOptions(max_evaluations=1)
    _, good = fit_iteratively(groups, near, solver=few)
    sources, after = retry_failed(good, near, starts=[far], solver=few)
    assert after[0] is good[0]
    assert not after[0].retried
    _, bad = fit_iteratively(groups, far, solver=few)
    sources, after = retry_failed(bad, far, starts=[near], solver=few)
    assert after[0].fitted.cost == pytest.approx(good[0].fitted.cost)
    np.testing.assert_array_equal(sources, near)
    assert not after[0].retried
