from dataclasses import replace
from typing import get_type_hints

import numpy as np
import pytest

from helpers.groups import bounds_around, make_group, whitener_of
from hyper_py.background.model import NoBackground
from hyper_py.fitting.groups import Group, GroupChanges, GroupFit, alike_groups, memory_batches
from hyper_py.noise.covariance import beam_covariance_model
from hyper_py.noise.whitener_cache import WhitenerCache
from hyper_py.numerics.fit_pixels import select_fit_pixels

PAIR = np.array([[1.0, 18.3, 19.6, 2.4, 1.7, 0.6], [0.7, 22.9, 21.2, 1.9, 1.6, 1.9]])


def test_bounds_of_every_parameter():
    lower, upper = bounds_around(
        PAIR, sigma_limits=([1.0, 1.1], [3.0, 4.0]), amplitude_limits=([0.1, 0.2], [2.0, 3.0]), shift=0.7
    )
    np.testing.assert_allclose(
        lower, [[0.1, 17.6, 18.9, 1, 1, -np.inf], [0.2, 22.2, 20.5, 1.1, 1.1, -np.inf]]
    )
    np.testing.assert_allclose(upper, [[2, 19.0, 20.3, 3, 3, np.inf], [3, 23.6, 21.9, 4, 4, np.inf]])
    lower, upper = bounds_around(PAIR, sigma_limits=(1, 2), amplitude_limits=(0, 1), shift=0.0)
    np.testing.assert_array_equal(lower[:, 1:3], upper[:, 1:3])


def pixels_at(x, y, radius):
    return select_fit_pixels(
        np.array([x]), np.array([y]), radius=np.array([radius]), usable=np.ones((90, 90), bool)
    )


def group_at(x, y, radius, noise):
    pixels = pixels_at(x, y, radius)
    return make_group(np.zeros(pixels.y.size), pixels, noise(pixels), PAIR[:1])


def test_batches_hold_every_group_once_and_keep_shared_matrices_together(monkeypatch):
    cache = WhitenerCache(beam_covariance_model(np.eye(2) * 2.9, rms=1.0, max_lag=40))
    groups = [
        group_at(20.0 + 9 * k, 40.0, 4.0 + k % 2, lambda pixels: cache.whitener(pixels, 1.0))
        for k in range(6)
    ]
    small = 8 * groups[1].pixels.y.size ** 2
    monkeypatch.setattr("hyper_py.fitting.groups.CACHE_BYTES", small)
    assert list(memory_batches(groups)) == [[0, 2, 4], [1, 3, 5]]
    monkeypatch.setattr("hyper_py.fitting.groups.CACHE_BYTES", 10 * small)
    assert list(memory_batches(groups)) == [[0, 2, 4, 1, 3, 5]]
    made = [group.prepared() for group in groups]
    assert list(memory_batches(made)) == [[0, 1, 2, 3, 4, 5]]
    assert groups[0].prepared().whitener.matrix is groups[2].prepared().whitener.matrix


def test_groups_alike_share_a_matrix_and_the_number_of_sources():
    matrices = {size: np.eye(size) for size in (pixels_at(40, 40, r).y.size for r in (3.0, 4.0))}
    shared = {size: whitener_of(np.ones(size), matrix=matrix) for size, matrix in matrices.items()}
    groups = [group_at(30.0 + 5 * k, 40.0, 3.0 + k % 2, lambda p: shared[p.y.size]) for k in range(5)]
    assert sorted(map(sorted, alike_groups(groups))) == [[0, 2, 4], [1, 3]]
    assert sorted(map(len, alike_groups(groups, most=2))) == [1, 2, 2]


def test_values_are_the_data_without_background_and_neighbours():
    group = group_at(30.0, 40.0, 3.0, lambda pixels: whitener_of(np.ones(pixels.y.size)))
    n = group.pixels.y.size
    full = make_group(
        np.full(n, 9.0), group.pixels, group.noise, PAIR[:1], below=np.full(n, 2.0), others=np.full(n, 3.0)
    )
    np.testing.assert_array_equal(full.values, 4.0)


def test_a_new_fit_was_not_searched():
    group = group_at(30.0, 40.0, 3.0, lambda pixels: whitener_of(np.ones(pixels.y.size)))
    with pytest.raises(ValueError, match="not been fitted"):
        _ = group.fitted
    fit = GroupFit(parameters=PAIR[:1], at_bound=PAIR[:1] < 0, cost=1.0, status=1, n_evaluations=2)
    again = group.refitted(fit, retried=True)
    assert again.fitted is fit
    assert again.retried
    assert not again.searched
    assert isinstance(again.background_model, NoBackground)


def test_a_group_with_other_values_is_what_replace_makes():
    group = group_at(30.0, 40.0, 3.0, lambda pixels: whitener_of(np.ones(pixels.y.size)))
    changes = {"members": np.array([7]), "noise_scale": 2.0, "searched": True}
    assert vars(group.but(**changes)) == vars(replace(group, **changes))
    assert group.noise_scale == 1.0
    assert get_type_hints(GroupChanges) == get_type_hints(Group)
