"""Points near places, against a k-d tree."""

import numpy as np
import pytest
from scipy.spatial import KDTree

from hyper_py.numerics import pairs as module
from hyper_py.numerics.pairs import group_pairs, pairs_within


@pytest.mark.parametrize("scale", [1e-9, 0.3, 3.0, 40.0, 1e3])
@pytest.mark.parametrize("is_one_radius", [True, False])
def test_neighbours_are_those_of_a_tree(scale, is_one_radius, monkeypatch):
    monkeypatch.setattr(module, "_PLACES_AT_ONCE", 50)
    rng = np.random.default_rng(1)
    points = np.concatenate([rng.uniform(-20, 80, (300, 2)), rng.integers(0, 9, (40, 2))])
    places = np.concatenate([rng.uniform(-90, 150, (200, 2)), points[::7]])
    radius = scale if is_one_radius else scale * rng.uniform(0.2, 1.0, len(places))
    place, point = pairs_within(points, places, radius)
    apart = group_pairs(place, point, len(places))
    expected = KDTree(points).query_ball_point(places, radius, return_sorted=True)
    for k, near in enumerate(expected):
        assert point[place == k].tolist() == apart[k].tolist() == list(near)
    assert (np.diff(place) >= 0).all()


def test_the_rim_is_near():
    points = np.array([[0, 0], [3, 4], [3, 5]])
    place, point = pairs_within(points, points[:1], 5.0)
    assert place.tolist() == [0, 0]
    assert point.tolist() == [0, 1]


@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 3), (3, 0)])
def test_nothing_is_near_nothing(n, m):
    place, point = pairs_within(np.zeros((n, 2)), np.zeros((m, 2)), 1.0)
    assert place.size == point.size == 0
    assert [near.size for near in group_pairs(place, point, m)] == [0] * m


def test_points_of_one_place_are_near_at_any_radius():
    place, point = pairs_within(np.ones((3, 2)), np.ones((2, 2)), 0.0)
    assert place.tolist() == [0, 0, 0, 1, 1, 1]
    assert point.tolist() == [0, 1, 2, 0, 1, 2]
