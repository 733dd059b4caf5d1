"""Whitening against the definitions, written out densely."""

import numpy as np
import pytest
from scipy.linalg import LinAlgError
from scipy.optimize import minimize_scalar

from hyper_py.noise.whitening import TriangularMatrix, white_whitener, whitening_matrix


def random_covariance(n, seed):
    a = np.random.default_rng(seed).normal(size=(n, n))
    return a @ a.T + 0.5 * np.eye(n)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_whitened_square_is_the_smallest_over_all_means(seed):
    covariance = random_covariance(12, seed)
    matrix, inverse = whitening_matrix(covariance), np.linalg.inv(covariance)
    assert not np.triu(matrix, 1).any()
    for r in np.random.default_rng(seed).normal(size=(5, 12)):
        best = minimize_scalar(lambda m, r=r: (r - m) @ inverse @ (r - m)).fun
        assert np.sum((matrix @ r) ** 2) == pytest.approx(best, rel=1e-10)
        np.testing.assert_allclose(matrix @ (r + 7.7), matrix @ r, atol=1e-10)


def test_large_matrices_are_those_of_all_rows_at_once():
    covariance = random_covariance(600, 4)
    inverse = np.linalg.inv(np.linalg.cholesky(covariance))
    ones = inverse.sum(axis=1)[:, None]
    before, weight = np.cumsum(ones * inverse, axis=0)[:-1], np.cumsum(ones**2, axis=0)
    expected = (weight[:-1] * inverse[1:] - ones[1:] * before) / np.sqrt(weight[:-1] * weight[1:])
    matrix = whitening_matrix(covariance)
    assert not matrix[0].any()
    np.testing.assert_allclose(matrix[1:], expected, atol=1e-9 * np.abs(expected).max())


def test_singular_covariance_is_an_error():
    with pytest.raises(LinAlgError):
        whitening_matrix(np.ones((3, 3)) - 2 * np.eye(3))


@pytest.mark.parametrize("shape", [(7,), (1, 7), (3, 4, 7), (0, 7), (2, 0)])
def test_whitening_is_the_product_with_a_triangular_matrix(shape):
    rng = np.random.default_rng(1)
    matrix, vectors = np.tril(rng.normal(size=(shape[-1],) * 2)), rng.normal(size=shape)
    kept = vectors.copy()
    np.testing.assert_allclose(TriangularMatrix(matrix).times(vectors), vectors @ matrix.T, atol=1e-14)
    np.testing.assert_allclose(
        TriangularMatrix(matrix).transposed_times(vectors), vectors @ matrix, atol=1e-14
    )
    np.testing.assert_array_equal(vectors, kept)


def test_a_white_whitener_leaves_the_mean_free():
    rms = np.array([1.0, 2.0, 0.5, 1.0])
    values = np.array([3.0, -1.0, 2.0, 0.0])
    whitener = white_whitener(rms)
    best = minimize_scalar(lambda m: np.sum(((values - m) / rms) ** 2)).fun
    assert np.sum(whitener.project(values) ** 2) == pytest.approx(best)
    np.testing.assert_allclose(whitener.project(values + 9.0), whitener.project(values), atol=1e-12)
    assert white_whitener(np.empty(0)).n_terms == 0
