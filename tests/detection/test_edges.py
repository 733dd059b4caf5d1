import numpy as np
import pytest

from hyper_py.detection.edges import FARTHEST, edge_distance

FWHM = 4.0


def test_distance_from_the_border_and_from_a_hole() -> None:
    data = np.zeros((100, 120))
    data[40:60, 50:70] = np.nan
    distance = edge_distance(data, fwhm=FWHM)[:, :]
    assert distance[30, 5] == pytest.approx(6 / FWHM)  # the first pixel beyond the border is 6 away
    assert distance[50, 44] == pytest.approx(6 / FWHM)
    assert distance[50, 60] == 0.0
    assert distance.max() == FARTHEST


@pytest.mark.parametrize("what", ["checkerboard", "pixels", "lines"])
def test_blanks_without_an_inside_are_no_edges(what: str) -> None:
    data = np.zeros((80, 80))
    if what == "checkerboard":
        data[np.indices(data.shape).sum(axis=0) % 2 == 0] = np.nan
    elif what == "pixels":
        data[::9, ::7] = np.nan
    else:
        data[30, :] = data[:, 50] = np.nan
    distance = edge_distance(data, fwhm=FWHM)[:, :]
    assert distance[25:60, 25:60].min() == FARTHEST


def test_parts_are_those_of_the_whole() -> None:
    rng = np.random.default_rng(3)
    data = rng.normal(size=(150, 170))
    y, x = np.indices(data.shape)
    for _ in range(12):
        data[np.hypot(y - rng.uniform(0, 150), x - rng.uniform(0, 170)) < rng.uniform(1, 12)] = np.nan
    plane = edge_distance(data, fwhm=FWHM)
    whole = plane[:, :]
    for rows in (slice(0, 50), slice(50, 97), slice(97, 150)):
        for columns in (slice(0, 61), slice(61, 170)):
            assert np.array_equal(plane[rows, columns], whole[rows, columns])
