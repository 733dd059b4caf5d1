import numpy as np
import pytest

from hyper_py.detection.field import Field
from hyper_py.detection.fit_residual import (
    BINS,
    CORE_RESIDUAL,
    FEWEST,
    FIRST_BIN,
    RING_RESIDUAL,
    RingNoise,
    fit_residual_noise,
    ring_medians,
    strong_sources,
)
from hyper_py.detection.maxima import neighbourhood
from hyper_py.detection.weights import EDGE_CLASSES, EdgeWeights
from hyper_py.numerics.gaussians import render

FWHM = 4.0
COVARIANCE = np.eye(2) * (FWHM / 2.3548) ** 2
SOURCE = np.array([[100.0, 80.0, 75.0, FWHM / 2.3548, FWHM / 2.3548, 0.0]])


def test_noise_of_misfit_follows_model_and_rings() -> None:
    field = Field.of(np.random.default_rng(1).normal(size=(150, 160)), beam_covariance=COVARIANCE, size=None)
    assert field is not None
    model = render(SOURCE, field.shape)
    weights = EdgeWeights(np.tile([1.0, 0, 0, 0, 0, 0], (EDGE_CLASSES.size, 1)))
    whole = slice(0, 150), slice(0, 160)
    filtered = weights.apply(field.smoothed(model)[whole], field.distance[whole])
    # The only weight is that of the map less its widest mean, which for a source is near the map.
    assert filtered[75:76, 80:81][0, 0] == pytest.approx(100.0 * (1 - 1 / 17), rel=1e-3)
    residual = fit_residual_noise(field, model, filtered, near=neighbourhood(0.6 * FWHM))[:, :]
    assert RING_RESIDUAL * 100 < residual[75, 80] < np.hypot(RING_RESIDUAL, CORE_RESIDUAL) * 100
    assert residual[75, 80 + 30] < 0.2


def test_rings_are_noise_and_a_neighbour_is_not() -> None:
    rng = np.random.default_rng(2)
    significance = rng.normal(size=(150, 160))
    radius = np.hypot(*(np.indices(significance.shape) - np.array([75, 80])[:, None, None]))
    significance[(radius > 7) & (radius < 10)] *= 8.0
    significance[radius < 0.1] = 0.0
    significance[71:75, 92:96] = 30.0
    noise = RingNoise.measure(significance, SOURCE, fwhm=FWHM)
    factor = noise.factor((slice(0, 150), slice(0, 160)))
    assert factor[75, 80 + 8] > 4.0
    assert factor[72, 93] < 2.0
    assert factor[75, 80 + 40] == 1.0
    part = slice(60, 90), slice(85, 120)
    assert np.array_equal(noise.factor(part), factor[part])


def test_strong_sources_are_those_that_may_leave_three_sigma() -> None:
    sources = np.repeat(SOURCE, 3, axis=0)
    assert len(strong_sources(sources, np.array([29.0, -31.0, 31.0]), np.ones(3))) == 2


@pytest.mark.parametrize("seed", range(5))
def test_medians_of_rings_are_those_of_each_ring(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, ring = rng.normal(size=(31, 29)), rng.integers(0, BINS + 3, (31, 29))
    values[rng.random(values.shape) < 0.3] = np.nan
    ring[ring == 4] = BINS
    ring.flat[: FEWEST - 1] = 4
    expected = np.zeros(BINS)
    for b in range(FIRST_BIN, BINS):
        own = values[(ring == b) & np.isfinite(values)]
        expected[b] = np.median(own) if own.size >= FEWEST else 0.0
    assert expected[4] == 0.0
    assert np.array_equal(ring_medians(values, ring), expected)
