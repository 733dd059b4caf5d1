"""Weights of pixels against their definition."""

import numpy as np
import pytest

from helpers.group_cases import sources_at
from hyper_py.fitting.weights import WEIGHTS, per_rms, pixel_weights
from hyper_py.numerics.fit_pixels import select_fit_pixels


def weights_of(kind, values, *, sources=None, window=None, **changes):
    sources = sources_at((10, 10)) if sources is None else sources
    if window is None:
        window = select_fit_pixels(
            sources[:, 1], sources[:, 2], radius=np.full(len(sources), 5.0), usable=np.ones((21, 21), bool)
        )
    given = {"power_snr": 3.0, "spatial_sigma": 2.0, "mean": -0.3, "std": 0.5, **changes}
    return pixel_weights(kind, values, window, sources, **given), window


def test_weights_are_as_defined():
    window = weights_of(None, np.zeros(81))[1]
    values = np.linspace(-2, 3, window.y.size)
    expected = {
        None: np.ones(values.size),
        "inverse_rms": np.full(values.size, 1 / 0.8),
        "snr": np.where(values > 0, values / 0.5, 0),
        "power_snr": np.where(values > 0, values / 0.5, 0) ** 3,
        "map": values,
        "mask": np.where((values >= -1.8) & (values <= 1.2), 1.0, 0.0),
        "spatial": np.exp(-((window.x - 10) ** 2 + (window.y - 10) ** 2) / 8.0),
    }
    assert set(expected) == {None, *WEIGHTS}
    for kind, value in expected.items():
        np.testing.assert_allclose(weights_of(kind, values)[0], value, rtol=1e-12, atol=1e-12)


def test_spatial_weight_in_a_group_is_that_of_the_nearest():
    sources = sources_at((8, 10), (13, 11))
    window = select_fit_pixels(
        sources[:, 1], sources[:, 2], radius=np.full(2, 5.0), usable=np.ones((21, 21), bool)
    )
    weights, _ = weights_of("spatial", np.zeros(window.y.size), sources=sources, window=window)
    distance = np.minimum(np.hypot(window.x - 8, window.y - 10), np.hypot(window.x - 13, window.y - 11))
    np.testing.assert_allclose(weights, np.exp(-(distance**2) / 8.0))


def test_unknown_weights_are_an_error():
    with pytest.raises(ValueError, match="inverse_rms"):
        weights_of("none", np.zeros(81))


@pytest.mark.parametrize(("kind", "power"), [(None, -1), ("snr", -1), ("inverse_rms", 0), ("map", -2)])
def test_weighted_residuals_are_in_standard_deviations(kind, power):
    rms = np.array([0.5, 2.0, 4.0])
    np.testing.assert_allclose(per_rms(kind, rms), rms**power)
