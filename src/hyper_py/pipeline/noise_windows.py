"""The covariance of a window's pixels, and the metrics that fits in correlated noise make of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cholesky, lapack

from hyper_py.geometry import FloatArray
from hyper_py.numerics.noise import CovarianceModel
from hyper_py.numerics.polynomial import polynomial_design
from hyper_py.pipeline.joint import window_scaling
from hyper_py.steps.fitting import LinearTerms, Metric, Window, linear_terms

IntArray: TypeAlias = NDArray[np.int64]
BoolArray: TypeAlias = NDArray[np.bool_]


def inverse_factor(covariance: FloatArray) -> FloatArray:
    """Return L^-1 of a covariance L L^T, shape (n, n).

    Raises
    ------
    numpy.linalg.LinAlgError
        If the covariance is not positive definite.
    """
    if covariance.size == 0:
        return covariance
    inverse, info = lapack.dtrtri(cholesky(covariance, lower=True, check_finite=False), lower=1)
    if info != 0:
        raise LinAlgError("singular covariance")
    factor: FloatArray = np.tril(inverse)
    return factor


def whitening_matrix(covariance: FloatArray) -> FloatArray:
    """Return M with |M r|^2 = min over m of (r - m)^T C^-1 (r - m): whitened, the mean eliminated.

    Parameters
    ----------
    covariance : ndarray, shape (n, n)
        Positive definite.

    Returns
    -------
    ndarray, shape (n, n)

    Raises
    ------
    numpy.linalg.LinAlgError
        If the covariance is not positive definite.
    """
    if covariance.size == 0:
        return covariance
    inverse = inverse_factor(covariance)
    mean = inverse.sum(axis=1)
    mean /= np.linalg.norm(mean)
    matrix: FloatArray = inverse - np.outer(mean, mean @ inverse)
    return matrix


@dataclass(frozen=True, kw_only=True, eq=False)
class NoiseWindow:
    """A window's covariance, whitening matrix and precision, for unit variance scale."""

    covariance: FloatArray
    whitening: FloatArray
    precision: FloatArray


class WindowCache:
    """Noise windows by their shape: a stationary covariance depends on the pixels' separations only."""

    def __init__(self, covariance: CovarianceModel) -> None:
        self._covariance = covariance
        self._known: dict[bytes, NoiseWindow] = {}
        self._factors: dict[bytes, FloatArray] = {}
        self._terms: dict[tuple[bytes, int, float], LinearTerms] = {}

    def __getitem__(self, window: Window) -> NoiseWindow:
        """Return the noise window of a shape, computed at its first use."""
        if window.key not in self._known:
            covariance = self._covariance.matrix(window.y, window.x)
            whitening = whitening_matrix(covariance)
            self._known[window.key] = NoiseWindow(
                covariance=covariance, whitening=whitening, precision=whitening.T @ whitening
            )
        return self._known[window.key]

    def metrics(self, windows: Sequence[Window], scales: Sequence[float]) -> list[Metric]:
        """Return the metric of each window, its noise `scales` times that of the covariance."""
        return [
            Metric(weights=np.full(w.y.size, 1.0 / s), matrix=self[w].whitening)
            for w, s in zip(windows, scales, strict=True)
        ]

    def joint_metric(self, window: Window, scale: float, *, order: int, ridge: float) -> Metric:
        """Return the metric of a window with a polynomial fitted along.

        Parameters
        ----------
        window : Window
        scale : float
            Noise in units of that of the covariance.
        order : int
            Of the polynomial, in coordinates scaled to the window.
        ridge : float
            Penalty of the coefficients but for the constant, in units of the rms.
        """
        if window.key not in self._factors:
            self._factors[window.key] = inverse_factor(self._covariance.matrix(window.y, window.x))
        factor, key = self._factors[window.key], (window.key, order, ridge)
        if key not in self._terms:
            design = polynomial_design(window.y, window.x, order=order, scaling=window_scaling(window))
            reach = self._covariance.reach
            penalty = np.full(design.shape[1], ridge / np.sqrt(self._covariance.lags[reach, reach]))
            penalty[0] = 0.0
            ones = np.ones(window.y.size)
            self._terms[key] = linear_terms(design, weights=ones, matrix=factor, penalty=penalty)
        terms = self._terms[key].scaled(1.0 / scale)
        return Metric(weights=np.full(window.y.size, 1.0 / scale), matrix=factor, terms=terms)
