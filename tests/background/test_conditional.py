"""The conditional background against kriging."""

import numpy as np
import pytest

from hyper_py.background.conditional import ConditionalBackground, conditional_mean, source_footprint
from hyper_py.noise.whitener_cache import NoiseMatrices
from hyper_py.noise.whitening import whitening_matrix


def random_covariance(n, seed):
    a = np.random.default_rng(seed).normal(size=(n, n))
    return a @ a.T + 0.5 * np.eye(n)


@pytest.mark.parametrize("seed", [1, 2])
def test_surroundings_say_what_kriging_with_an_unknown_mean_says(seed):
    rng = np.random.default_rng(seed)
    covariance = random_covariance(15, seed)
    inside = np.zeros((2, 15), dtype=bool)
    for row in inside:
        row[rng.choice(15, 4, replace=False)] = True
    matrix = whitening_matrix(covariance)
    noise = NoiseMatrices(precision=matrix.T @ matrix, measured=covariance, make=lambda: covariance)
    sums, residual = inside[:, None] * rng.random((2, 3, 15)), rng.normal(size=(2, 15))
    outer, background = conditional_mean(noise, inside, apertures=sums, residual=residual)
    # An unknown mean is one of huge variance.
    huge = covariance + 1e7
    for k, own in enumerate(inside):
        kriging = huge[np.ix_(own, ~own)] @ np.linalg.inv(huge[np.ix_(~own, ~own)])
        np.testing.assert_allclose(background[k, own], kriging @ residual[k, ~own], atol=1e-5)
        np.testing.assert_allclose(outer[k][:, ~own], sums[k][:, own] @ kriging, atol=1e-5)
        assert np.isnan(background[k, ~own]).all()
        assert not outer[k][:, own].any()


def test_a_conditional_background_is_known_on_its_pixels_only():
    own = ConditionalBackground(y=np.array([4, 5]), x=np.array([7, 9]), values=np.array([0.5, -0.5]))
    np.testing.assert_array_equal(own.at(np.array([5, 4, 4]), np.array([9, 7, 9])), [-0.5, 0.5, np.nan])
    assert own.paint().weights.tolist() == [1.0, 1.0]


def test_a_footprint_ends_at_two_sigma():
    source = np.array([[1.0, 10.0, 20.0, 3.0, 1.5, 0.0]])
    x = np.array([10, 15, 16, 17, 10, 10])
    y = np.array([20, 20, 20, 20, 23, 24])
    assert source_footprint(source, y, x).tolist() == [True, True, True, False, True, False]


@pytest.mark.parametrize("radius", [3.2, 5.6])
def test_few_surroundings_say_the_same_by_their_covariance(radius):
    # 5.6: more pixels inside than around, which takes the other way.
    y, x = (v.ravel() for v in np.mgrid[:12, :12])
    lags = (y[:, None] - y) ** 2 + (x[:, None] - x) ** 2
    covariance = np.exp(-lags / 8.0) + 0.1 * np.eye(144)
    whitening = whitening_matrix(covariance)
    precision = whitening.T @ whitening
    noise = NoiseMatrices(precision=precision, measured=covariance, make=lambda: covariance)
    inside = np.hypot(y - 5, x - 6) < radius
    rng = np.random.default_rng(1)
    apertures, residual = rng.random((1, 2, 144)) * inside, rng.normal(size=(1, 144))
    outer, background = conditional_mean(noise, inside[None], apertures=apertures, residual=residual)
    i, o = np.flatnonzero(inside), np.flatnonzero(~inside)
    kernel = -np.linalg.solve(precision[np.ix_(i, i)], precision[np.ix_(i, o)])
    np.testing.assert_allclose(background[0, i], kernel @ residual[0, o], atol=1e-9)
    np.testing.assert_allclose(outer[0][:, o], apertures[0][:, i] @ kernel, atol=1e-9)
    assert not outer[0][:, i].any()
