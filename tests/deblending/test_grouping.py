"""Groups against a direct definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyper_py.deblending.grouping import members, partition_groups
from hyper_py.numerics.pairs import friends_of_friends


def brute_force(points, length):
    labels = list(range(len(points)))
    for i in range(len(points)):
        for j in range(i):
            if np.hypot(*(points[i] - points[j])) <= length:
                old, new = labels[i], labels[j]
                labels = [new if k == old else k for k in labels]
    return labels


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=25), st.integers(1, 8))
def test_same_groups_as_brute_force(points, length):
    points = np.array(points, dtype=float).reshape(-1, 2)
    labels = friends_of_friends(points[:, 0], points[:, 1], linking_length=length)
    expected = np.array(brute_force(points, length))
    np.testing.assert_array_equal(labels[:, None] == labels, expected[:, None] == expected)
    first = [int(np.flatnonzero(labels == k)[0]) for k in range(labels.max(initial=-1) + 1)]
    assert first == sorted(first)


@pytest.mark.parametrize("max_size", [1, 3, 8])
def test_units_hold_every_point_once_and_stay_small(max_size):
    rng = np.random.default_rng(max_size)
    x, y = rng.uniform(0, 100, (2, 400))
    units = partition_groups(x, y, linking_length=12.0, max_size=max_size, min_length=1.0)
    assert sorted(np.concatenate(units)) == list(range(400))
    assert max(u.size for u in units) <= max_size
    assert [u[0] for u in units] == sorted(u[0] for u in units)


def test_large_group_is_cut_where_its_chain_is_longest():
    x = np.array([0.0, 1.0, 2.0, 6.0, 7.0, 8.0])
    units = partition_groups(x, np.zeros(6), linking_length=5.0, max_size=3, min_length=0.5)
    assert [list(u) for u in units] == [[0, 1, 2], [3, 4, 5]]


def test_coincident_points_are_cut_too():
    units = partition_groups(np.zeros(9), np.zeros(9), linking_length=5.0, max_size=2, min_length=1.0)
    assert max(u.size for u in units) <= 2
    assert sum(u.size for u in units) == 9


def test_no_points():
    assert members(friends_of_friends([], [], linking_length=1.0)) == []
    assert partition_groups(np.empty(0), np.empty(0), linking_length=1.0, max_size=3, min_length=0.1) == []


def test_units_are_no_wider_than_allowed():
    rng = np.random.default_rng(4)
    x, y = rng.uniform(0, 60, (2, 300))
    units = partition_groups(x, y, linking_length=8.0, max_size=50, min_length=2.0, max_extent=20.0)
    assert sorted(np.concatenate(units).tolist()) == list(range(300))
    assert max(max(np.ptp(x[unit]), np.ptp(y[unit])) for unit in units) <= 20.0
    assert max(len(unit) for unit in units) > 6
