"""The field inside expected from that around, against many realisations."""

from dataclasses import replace

import numpy as np
import pytest

from helpers.aligned_bands import small_field
from hyper_py.bands.surroundings import background_under, surroundings_of


def test_the_variance_of_a_sum_is_that_of_many_realisations(rng):
    _, bands, _ = small_field(seed=6)
    band = bands[2]
    side = 30
    grid_y, grid_x = (part.ravel() for part in np.mgrid[:side, :side])
    band = replace(band, noise=replace(band.noise, relative_rms=np.ones((side, side))))
    lower = np.linalg.cholesky(band.noise.covariance.matrix(grid_y, grid_x))
    inside = (grid_y - 15) ** 2 + (grid_x - 14) ** 2 < 10
    y, x = grid_y[inside], grid_x[inside]
    weights = rng.uniform(0.2, 1.0, y.size)
    sums, expected = [], None
    for _ in range(300):
        field = (lower @ rng.normal(size=side**2)).reshape(side, side) + 5.0  # whatever the mean is
        around = surroundings_of(band, field, y, x)
        sums.append(weights @ (field[y, x] - around.expected()))
        expected = around.variance(weights)
    assert np.std(sums) == pytest.approx(np.sqrt(expected), rel=0.15)
    assert abs(np.mean(sums)) < 4.0 * np.sqrt(expected / 300)


def test_without_pixels_around_nothing_is_expected():
    _, bands, _ = small_field(seed=6)
    residual = np.full(bands[2].data.shape, np.nan)
    residual[10, 10] = 1.0
    assert surroundings_of(bands[2], residual, np.array([10]), np.array([10])) is None


def test_the_background_under_sources_is_that_of_the_cirrus():
    simulated, bands, truth = small_field(seed=6, cirrus=6.0, n_sources=12, size=500.0)
    band, one = bands[2], simulated.maps[2]
    found = background_under(band, truth.gaussians(band, 2), np.ones(len(truth), dtype=bool))
    under = np.isfinite(found)
    assert 0 < under.sum() < 0.5 * under.size
    left = (found - one.cirrus)[under]
    assert left.std() < 0.5 * one.cirrus[under].std()
    nothing = background_under(band, truth.gaussians(band, 2), np.zeros(len(truth), dtype=bool))
    assert np.isnan(nothing).all()
