"""Covariances of weighted sums against dense matrices."""

import numpy as np
import pytest

from helpers.group_cases import dense, noise_model
from hyper_py.noise.covariance import CovarianceModel
from hyper_py.noise.weighted_sums import field_covariance, through_noise


@pytest.mark.parametrize("shape", [(9, 14), (30, 23)])
@pytest.mark.parametrize(("reach", "width"), [(12, 1.2), (5, 1.2), (40, 9.0), (17, 9.0)])
@pytest.mark.parametrize("share", [0.03, 1.0])
def test_covariance_of_sums_is_that_of_the_dense_matrix(shape, reach, width, share):
    rng = np.random.default_rng(1)
    noise = noise_model(reach=reach, width=width)
    images = rng.normal(size=(3, *shape)) * (rng.random(shape) < share)
    y, x = (a.ravel() for a in np.mgrid[: shape[0], : shape[1]])
    flat = images.reshape(3, -1)
    expected = flat @ dense(noise, y, x) @ flat.T
    scale = np.sqrt(np.outer(np.diagonal(expected), np.diagonal(expected)))
    np.testing.assert_allclose(field_covariance(images, noise) / scale, expected / scale, atol=1e-9)


def test_covariance_of_white_sums():
    noise = CovarianceModel(np.pad(np.array([[4.0]]), 6))
    images = np.random.default_rng(2).normal(size=(4, 12, 11))
    flat = images.reshape(4, -1)
    np.testing.assert_allclose(field_covariance(images, noise), 4.0 * flat @ flat.T, rtol=1e-9)


def test_images_through_the_noise_are_products_with_the_dense_matrix():
    noise, shape = noise_model(reach=5, width=1.2), (9, 14)
    images = np.random.default_rng(3).normal(size=(2, *shape))
    y, x = (a.ravel() for a in np.mgrid[: shape[0], : shape[1]])
    smooth, own = through_noise(images, noise)
    expected = images.reshape(2, -1) @ dense(noise, y, x)
    np.testing.assert_allclose(smooth.reshape(2, -1), expected, atol=1e-9)
    np.testing.assert_allclose(own, expected @ images.reshape(2, -1).T, atol=1e-9)
