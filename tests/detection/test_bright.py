import numpy as np
import pytest

from hyper_py.detection.bright import LARGEST_GROUP, beam_sized, fit_gaussians, partition
from hyper_py.numerics.gaussians import render

BEAM = np.array([[3.0, 0.4], [0.4, 2.0]])
TRUTH = np.array(
    [
        [80.0, 20.3, 30.2, 2.1, 1.6, 0.3],
        [30.0, 23.9, 31.7, 1.9, 1.5, 1.0],
        [-50.0, 60.4, 20.6, 1.8, 1.5, 0.1],
        [40.0, 70.2, 60.1, 2.9, 2.2, 0.7],
    ]
)


def start_near(truth: np.ndarray) -> np.ndarray:
    x, y = np.rint(truth[:, 1]), np.rint(truth[:, 2])
    return beam_sized(x, y, 0.8 * truth[:, 0], beam_covariance=BEAM, size=1.1)


def test_exact_gaussians_are_found_again_pairs_and_holes_too() -> None:
    data = render(TRUTH, (80, 90)) + 0.3
    data[40:44, 10:14] = np.nan
    fitted = start_near(TRUTH)
    for _ in range(4):
        fitted = fit_gaussians(data, fitted, np.ones(4, dtype=bool), beam_covariance=BEAM)
    assert fitted[:, :3] == pytest.approx(TRUTH[:, :3], rel=2e-3)
    assert fitted[:, 3:5].prod(axis=1) == pytest.approx(TRUTH[:, 3:5].prod(axis=1), rel=5e-3)


def test_scale_of_the_map_does_not_matter() -> None:
    data, which = render(TRUTH, (80, 90)), np.ones(4, dtype=bool)
    one = fit_gaussians(data, start_near(TRUTH), which, beam_covariance=BEAM)
    scaled = start_near(TRUTH) * [1e-25, 1, 1, 1, 1, 1]
    other = fit_gaussians(1e-25 * data, scaled, which, beam_covariance=BEAM)
    assert other[:, 0] * 1e25 == pytest.approx(one[:, 0], rel=1e-9)
    assert other[:, 1:] == pytest.approx(one[:, 1:], rel=1e-9)


def test_only_groups_of_those_asked_for_are_fitted() -> None:
    start = start_near(TRUTH)
    fitted = fit_gaussians(render(TRUTH, (80, 90)), start, np.array([0, 1, 0, 0], bool), beam_covariance=BEAM)
    assert (fitted[2:] == start[2:]).all()
    assert (fitted[:2, 0] != start[:2, 0]).all()


def test_fit_without_a_source_fails() -> None:
    data, start = np.full((80, 90), np.nan), start_near(TRUTH)
    assert np.isnan(fit_gaussians(data, start, np.ones(4, bool), beam_covariance=BEAM)).all()


def test_groups_hold_each_source_once() -> None:
    rng = np.random.default_rng(3)
    sources = np.column_stack([rng.uniform(1, 9, 200), rng.uniform(0, 60, (200, 2)), np.ones((200, 3))])
    groups = partition(sources, length=6.0)
    assert sorted(np.concatenate(groups)) == list(range(200))
    assert max(group.size for group in groups) == LARGEST_GROUP
    for group in groups:
        first = sources[group[0]]
        assert (np.hypot(*(sources[group, 1:3] - first[1:3]).T) <= 6.0).all()
        assert (sources[group, 0] <= first[0]).all()


@pytest.mark.parametrize("place", [(-9.0, 30.0), (40.0, -20.0), (120.0, 95.0)])
def test_a_source_that_has_left_the_map_fails_alone(place: tuple[float, float]) -> None:
    start = start_near(TRUTH)
    start[2, 1:3] = place
    fitted = fit_gaussians(render(TRUTH[[0, 1, 3]], (80, 90)), start, np.ones(4, bool), beam_covariance=BEAM)
    assert np.isnan(fitted).any(axis=1).tolist() == [False, False, True, False]
