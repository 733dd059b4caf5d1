"""Statistics of surroundings against those of their pixels one by one."""

import numpy as np
import pytest

from helpers.group_cases import SETTINGS, backgrounds_with, plane, sources_at
from hyper_py.background.model import NoBackground
from hyper_py.background.surroundings import Surroundings, box_statistics, residual_statistics
from hyper_py.noise.covariance import clipped_statistics

SHAPE = (60, 70)


@pytest.fixture
def case(rng):
    data = plane(SHAPE) + rng.normal(size=SHAPE)
    sources = sources_at((20, 25), (50, 30), (3, 4))
    partition = [np.array([k]) for k in range(3)]
    return data, backgrounds_with(data, np.zeros(SHAPE, bool), sources, partition, **SETTINGS)


def test_residuals_are_those_on_the_pixels_of_the_fit(case):
    data, backgrounds = case
    mean, rms = residual_statistics(data, backgrounds)
    for k, own in enumerate(backgrounds):
        y, x = own.polynomial.fit_pixels
        residual = (data - own.at(*np.indices(SHAPE)))[y + own.y0, x + own.x0]
        assert mean[k] == pytest.approx(residual.mean(), abs=1e-9)
        assert rms[k] == pytest.approx(residual.std())
    assert Surroundings(backgrounds[0], mean[0], rms[0]).rms == rms[0]


@pytest.mark.parametrize("subtracted", [False, True])
def test_boxes_are_clipped_and_end_at_the_border_of_the_map(case, subtracted):
    data, boxes = case
    data[25, 20] += 500.0
    below = boxes if subtracted else [NoBackground()] * 3
    found = box_statistics(data, boxes, below, median=True)
    for k, own in enumerate(boxes):
        y0, y1, x0, x1 = own.box
        part = slice(max(y0, 0), y1), slice(max(x0, 0), x1)
        values = (data - below[k].at(*np.indices(SHAPE)))[part]
        expected = clipped_statistics(values)
        kept = values[np.abs(values - expected.mean) <= 3.0 * expected.rms]
        assert found[0][k] == pytest.approx(expected.mean, abs=1e-9)
        assert found[1][k] == pytest.approx(expected.rms)
        assert found[2][k] == pytest.approx(np.median(kept))
