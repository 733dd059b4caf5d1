"""Matching against brute force and dense assignment; isolation and margins against plain loops."""

from itertools import permutations

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from hyper_py.validation.matching import inside_margin, is_isolated, match_positions, sky_points


def brute_force(a, b, tolerance):
    """Largest number of pairs and, for it, the smallest total distance, over all assignments."""
    if len(a) > len(b):
        a, b = b, a
    best = (0, 0.0)
    for order in permutations(range(len(b)), len(a)):
        distance = [np.hypot(*(a[i] - b[j])) for i, j in enumerate(order)]
        kept = [d for d in distance if d <= tolerance]
        best = min(best, (-len(kept), sum(kept)))
    return -best[0], best[1]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(0, 5), m=st.integers(0, 6), tolerance=st.floats(0.01, 4))
def test_as_brute_force(seed, n, m, tolerance):
    rng = np.random.default_rng(seed)
    a, b = rng.uniform(0, 3, (n, 2)), rng.uniform(0, 3, (m, 2))
    i, j = match_positions(a, b, tolerance=tolerance)
    distance = np.hypot(*(a[i] - b[j]).T)
    count, total = brute_force(a, b, tolerance)
    assert len(i) == count
    assert distance.sum() == pytest.approx(total, abs=1e-9)
    assert len(set(i)) == len(i) == len(set(j))
    assert (distance <= tolerance).all()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_as_dense_assignment_in_a_crowd(seed):
    rng = np.random.default_rng(seed)
    a, b, tolerance = rng.uniform(0, 20, (250, 2)), rng.uniform(0, 20, (300, 2)), 1.3
    i, j = match_positions(a, b, tolerance=tolerance)
    cost = np.hypot(a[:, None, 0] - b[None, :, 0], a[:, None, 1] - b[None, :, 1])
    penalised = np.where(cost <= tolerance, cost, 1e4)
    rows, columns = linear_sum_assignment(penalised)
    good = penalised[rows, columns] < 1e4
    assert len(i) == good.sum()
    assert np.hypot(*(a[i] - b[j]).T).sum() == pytest.approx(cost[rows, columns][good].sum(), rel=1e-10)


def test_more_pairs_come_before_short_ones():
    # The nearest pair, 1.4 and 1.0, would leave both ends alone.
    i, j = match_positions([[0.0], [1.4]], [[1.0], [2.4]], tolerance=1.0)
    np.testing.assert_array_equal((i, j), ([0, 1], [0, 1]))


def test_permuting_rows_changes_nothing():
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=(80, 2)) * 5, rng.normal(size=(90, 2)) * 5
    i, j = match_positions(a, b, tolerance=0.8)
    p, q = rng.permutation(80), rng.permutation(90)
    k, m = match_positions(a[p], b[q], tolerance=0.8)
    assert set(zip(i, j, strict=True)) == set(zip(p[k], q[m], strict=True))


def test_coinciding_points_and_missing_positions():
    i, j = match_positions([[np.nan, 0], [1, 1]], [[1, 1], [1, 1]], tolerance=0.5)
    assert i.tolist() == [1]
    assert len(j) == 1
    for a, b in ((np.empty((0, 2)), [[0, 0]]), ([[0, 0]], np.empty((0, 2))), ([[np.inf, 0]], [[0, 0]])):
        assert match_positions(a, b, tolerance=1.0)[0].size == 0


def test_sky_points_are_arcseconds():
    rng = np.random.default_rng(8)
    lon, lat = np.array([359.9999, 10.0, 83.0]), np.array([-0.5, 89.9999, -69.0])
    other_lon, other_lat = lon + rng.uniform(-2e-4, 2e-4, 3), lat + rng.uniform(-5e-5, 5e-5, 3)
    expected = SkyCoord(lon, lat, unit="deg").separation(SkyCoord(other_lon, other_lat, unit="deg")).arcsec
    chord = np.linalg.norm(sky_points(lon, lat) - sky_points(other_lon, other_lat), axis=1)
    np.testing.assert_allclose(chord, expected, rtol=1e-6, atol=1e-9)


def test_isolation_as_a_loop():
    points = np.random.default_rng(3).uniform(0, 30, (60, 2))
    distance = np.hypot(*(points[:, None] - points[None]).T) + 1e9 * np.eye(60)
    np.testing.assert_array_equal(is_isolated(points, distance=2.5), (distance > 2.5).all(axis=0))
    assert is_isolated(points[:1], distance=5.0).all()


def test_margin_counts_border_and_blanks():
    valid = np.ones((20, 30), dtype=bool)
    valid[10, 15] = False
    x, y = [5, 4, 4.4, 24, 25, 15, 15, 15, -3, 40], [10, 10, 10, 10, 10, 14, 15, 16, 5, 5]
    expected = [True, False, False, True, False, False, False, False, False, False]
    np.testing.assert_array_equal(inside_margin(x, y, valid=valid, margin=5.0), expected)
    assert inside_margin([20.0], [10.0], valid=valid, margin=4.9).all()
