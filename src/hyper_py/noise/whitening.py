"""Whitening: the linear map that turns correlated noise into independent noise of variance 1.

With a noise covariance C = L L^T, the cost of a residual r is r^T C^-1 r = |L^-1 r|^2: the sum of squares of
the whitened residual. A mean, or a polynomial, that is fitted jointly is eliminated from that cost.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.linalg import LinAlgError, blas, cholesky, lapack

from hyper_py.arrays import FloatArray

_ROWS = 256
"""Rows of large matrices that are worked on at once, to save memory."""


def inverse_factor(covariance: FloatArray) -> FloatArray:
    """Return L^-1 of a covariance L L^T, shape (n, n).

    Raises
    ------
    numpy.linalg.LinAlgError
        If the covariance is not positive definite.
    """
    if covariance.size == 0:
        return covariance
    lower = cholesky(covariance, lower=True, check_finite=False)
    inverse, info = lapack.dtrtri(lower, lower=1, overwrite_c=1)
    if info != 0:
        raise LinAlgError("singular covariance")
    factor: FloatArray = np.tril(inverse)
    return factor


def whitening_matrix(covariance: FloatArray) -> FloatArray:
    """Return M with |M r|^2 = min over m of (r - m)^T C^-1 (r - m): whitened, the mean eliminated.

    Each whitened pixel is compared with the best mean of those before it, so that M is triangular as L^-1
    is: with e = L^-1 1, the rows of Helmert's matrix that is orthogonal to e (Lancaster 1965, American
    Mathematical Monthly 72, 4) times L^-1.

    Parameters
    ----------
    covariance : ndarray, shape (n, n)
        Positive definite.

    Returns
    -------
    ndarray, shape (n, n)
        Lower triangular; its first row is zero.

    Raises
    ------
    numpy.linalg.LinAlgError
        If the covariance is not positive definite.
    """
    if covariance.size == 0:
        return covariance
    inverse = inverse_factor(covariance)
    ones = inverse.sum(axis=1)[:, None]
    weight = np.cumsum(ones**2, axis=0)
    matrix, total = np.zeros_like(inverse), np.zeros(len(inverse))
    for first in range(0, len(inverse) - 1, _ROWS):
        # Row k of the matrix takes the sum of the rows before it; the last sum goes on to the next rows.
        own = slice(first, min(first + _ROWS, len(inverse) - 1))
        after = slice(first + 1, own.stop + 1)
        before = ones[own] * inverse[own]
        before[0] += total
        np.cumsum(before, axis=0, out=before)
        total = before[-1].copy()
        rest = weight[own] * inverse[after] - ones[after] * before
        matrix[after] = rest / np.sqrt(weight[own] * weight[after])
    return matrix


@dataclass(frozen=True, eq=False)
class TriangularMatrix:
    """A lower triangular matrix, shape (n, n). Groups that share one such object are fitted as one batch."""

    values: FloatArray

    def times(self, vectors: FloatArray) -> FloatArray:
        """Return M v for vectors v of shape (..., n)."""
        return self._product(vectors, transposed=False)

    def transposed_times(self, vectors: FloatArray) -> FloatArray:
        """Return M^T v for vectors v of shape (..., n)."""
        return self._product(vectors, transposed=True)

    def _product(self, vectors: FloatArray, *, transposed: bool) -> FloatArray:
        """Return one product for all vectors; half of a triangular matrix is not worth multiplying by."""
        if not vectors.size:
            return vectors
        columns = vectors.reshape(-1, vectors.shape[-1]).T
        # BLAS stores columns first: for it the matrix is the transposed, upper one.
        result: FloatArray = blas.dtrmm(1.0, self.values.T, columns, trans_a=not transposed)
        return result.T.reshape(vectors.shape)


class LinearTerms(NamedTuple):
    """Terms that a fit determines jointly with the Gaussians, such as a polynomial, and their elimination.

    For given Gaussians the best coefficients c are those of a linear fit to the residual r. They leave the
    part of r that is orthogonal to the terms: with Q an orthonormal basis of the weighted terms, their
    penalties below, the cost is |(1 - Q Q^T) (r, 0)|^2 (Golub & Pereyra 2003, Inverse Problems 19, R1).

    Attributes
    ----------
    design : ndarray, shape (n, k)
        Value of each term at each pixel.
    penalty : ndarray, shape (k,)
        |penalty c|^2 is added to the cost (ridge regression).
    basis : ndarray, shape (n, k)
        Rows of Q that belong to pixels.
    tail : ndarray, shape (k, k)
        Rows of Q that belong to penalties.
    solution : ndarray, shape (k, n)
        c = solution @ r.
    """

    design: FloatArray
    penalty: FloatArray
    basis: FloatArray
    tail: FloatArray
    solution: FloatArray

    def scaled(self, factor: float) -> "LinearTerms":
        """Return the terms for weights and penalties that are both `factor` times as large."""
        return self._replace(penalty=factor * self.penalty)


def linear_terms(
    design: FloatArray,
    *,
    weights: FloatArray,
    matrix: TriangularMatrix | None = None,
    penalty: FloatArray | None = None,
) -> LinearTerms:
    """Prepare the elimination of linear terms.

    Parameters
    ----------
    design : ndarray, shape (n, k)
    weights, matrix
        See `Whitener`.
    penalty : ndarray, shape (k,), optional
        Zero if not given. Linearly dependent combinations of terms are left out.
    """
    k = design.shape[1]
    penalty = np.zeros(k) if penalty is None else penalty
    weighted = design * weights[:, None]
    stacked = np.vstack([weighted if matrix is None else matrix.values @ weighted, np.diag(penalty)])
    norm = np.linalg.norm(stacked, axis=0)
    norm[norm == 0.0] = 1.0
    u, s, vt = np.linalg.svd(stacked / norm, full_matrices=False)
    identifiable = s > 1e-9 * s[:1]
    u[:, ~identifiable] = 0.0
    inverse = np.divide(1.0, s, out=np.zeros_like(s), where=identifiable)
    back = u[:-k] if matrix is None else matrix.values.T @ u[:-k]
    solution = (vt.T * inverse) @ (back * weights[:, None]).T / norm[:, None]
    return LinearTerms(design, penalty, u[:-k], u[-k:], solution)


@dataclass(frozen=True, kw_only=True, eq=False)
class Whitener:
    """The cost of a residual: |matrix (weights * residual)|^2, linear terms eliminated.

    Attributes
    ----------
    weights : ndarray, shape (n,)
    matrix : TriangularMatrix, optional
        The identity if not given.
    terms : LinearTerms, optional
        What is fitted jointly; it must have been prepared with these weights and this matrix.
    """

    weights: FloatArray
    matrix: TriangularMatrix | None = None
    terms: LinearTerms | None = None

    @property
    def n_terms(self) -> int:
        """Number of linear terms."""
        return 0 if self.terms is None else self.terms.penalty.size

    def project(self, values: FloatArray) -> FloatArray:
        """Return values (..., n) weighted and whitened, without what the linear terms take up."""
        result = values * self.weights
        if self.matrix is not None:
            result = self.matrix.times(result)
        if self.terms is not None:
            taken = result @ self.terms.basis
            result = np.concatenate(
                [result - taken @ self.terms.basis.T, -taken @ self.terms.tail.T], axis=-1
            )
        return result

    def precision_times(self, values: FloatArray) -> FloatArray:
        """Return the precision matrix of the cost, project^T project, times values (..., n)."""
        result = self.project(values)[..., : self.weights.size]
        if self.matrix is not None:
            result = self.matrix.transposed_times(result)
        return result * self.weights


def white_whitener(rms: FloatArray) -> Whitener:
    """Return the whitener of independent noise of some rms, (n,); the local mean is free."""
    weights = 1.0 / rms
    if not weights.size:
        return Whitener(weights=weights)
    return Whitener(weights=weights, terms=linear_terms(np.ones((weights.size, 1)), weights=weights))
