"""The covariance of a window's pixels, and the whiteners that fits in correlated noise make of it."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from scipy.linalg import LinAlgError, cholesky, lapack

from hyper_py.arrays import FloatArray
from hyper_py.background.joint import window_scaling
from hyper_py.fitting.group_fit import FitPixels, LinearTerms, Whitener, linear_terms
from hyper_py.fitting.iterative import CACHE_BYTES, WhitenersOnDemand
from hyper_py.noise.covariance import CovarianceModel, power_spectrum
from hyper_py.numerics.polynomial import polynomial_design
from hyper_py.numerics.tiles import Plane, at

_NEGLIGIBLE = 0.5
"""Grain below this share of the noise power at small scales (its median) changes no error by a percent."""


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
    before = np.cumsum(ones * inverse, axis=0)[:-1]
    weight = np.cumsum(ones**2, axis=0)
    matrix = np.zeros_like(inverse)
    matrix[1:] = (weight[:-1] * inverse[1:] - ones[1:] * before) / np.sqrt(weight[:-1] * weight[1:])
    return matrix


@dataclass(frozen=True, kw_only=True, eq=False)
class NoiseMatrices:
    """A window's covariance, whitening matrix and precision, for unit variance scale.

    `measured` is the covariance that errors come from, which need not be invertible.
    """

    covariance: FloatArray
    whitening: FloatArray
    precision: FloatArray
    measured: FloatArray


class GroupWhiteners(WhitenersOnDemand):
    """The whiteners of windows in one stationary noise, each made when it is asked for."""

    def __init__(self, cache: "WhitenerCache", windows: Sequence[FitPixels], scales: Sequence[float]) -> None:
        self._cache, self._windows, self._scales = cache, windows, scales

    def __len__(self) -> int:
        return len(self._windows)

    @overload
    def __getitem__(self, index: int) -> Whitener: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Whitener]: ...

    def __getitem__(self, index: int | slice) -> Whitener | Sequence[Whitener]:
        """Return the whitener of a window, or of several."""
        if isinstance(index, slice):
            return GroupWhiteners(self._cache, self._windows[index], self._scales[index])
        window = self._windows[index]
        weights = np.broadcast_to(1.0 / self._scales[index], window.y.shape)
        return Whitener(weights=weights, matrix=self._cache.whitening(window, self._scales[index]))

    def key(self, index: int) -> bytes:
        """Return the same for whiteners that share a matrix."""
        return self._cache.key(self._windows[index], self._scales[index])


class WhitenerCache:
    """Matrices of windows by their shape: a stationary covariance depends on the pixels' separations only.

    They are kept as far as `CACHE_BYTES` go; the one that was not used for longest is dropped first.

    Parameters
    ----------
    covariance : CovarianceModel
    grain : Plane, shape (ny, nx), optional
        Independent error of each pixel on top of it, such as a share of the light there, in the unit of the
        map. Windows in which it matters are one of a kind.
    """

    def __init__(self, covariance: CovarianceModel, *, grain: Plane | None = None) -> None:
        self._covariance, self._grain = covariance, grain
        self._finest = float(np.median(power_spectrum(covariance.lags)))
        self._known: OrderedDict[bytes, FloatArray] = OrderedDict()
        self._bytes = 0
        self._factors: dict[bytes, FloatArray] = {}
        self._terms: dict[tuple[bytes, int, float], LinearTerms] = {}
        self._variances: dict[tuple[FitPixels, float], FloatArray | None] = {}

    def whitening(self, window: FitPixels, scale: float | None = None) -> FloatArray:
        """Return the whitening matrix of a window in units of `scale`, its grain included."""
        variance = self._grain_variance(window, scale)
        key = _key(window, variance)
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        matrix = whitening_matrix(_matrix(self._covariance, window, variance))
        self._known[key] = matrix
        self._bytes += matrix.nbytes
        while self._bytes > CACHE_BYTES and len(self._known) > 1:
            self._bytes -= self._known.popitem(last=False)[1].nbytes
        return matrix

    def key(self, window: FitPixels, scale: float) -> bytes:
        """Return the same for windows that share a matrix."""
        return _key(window, self._grain_variance(window, scale))

    def __getitem__(self, window: FitPixels) -> NoiseMatrices:
        """Return the noise window of a shape, without grain."""
        return self.at(window, None)

    def at(self, window: FitPixels, scale: float | None) -> NoiseMatrices:
        """Return the noise of a window in units of `scale`, its grain included."""
        whitening, variance = self.whitening(window, scale), self._grain_variance(window, scale)
        return NoiseMatrices(
            covariance=_matrix(self._covariance, window, variance),
            whitening=whitening,
            precision=whitening.T @ whitening,
            measured=_matrix(self._covariance.unconditioned, window, variance),
        )

    def whiteners(self, windows: Sequence[FitPixels], scales: Sequence[float]) -> GroupWhiteners:
        """Return the whitener of each window, its noise `scales` times that of the covariance."""
        return GroupWhiteners(self, windows, scales)

    def joint_whitener(self, window: FitPixels, scale: float, *, order: int, ridge: float) -> Whitener:
        """Return the whitener of a window with a polynomial fitted along.

        Parameters
        ----------
        window : FitPixels
        scale : float
            Noise in units of that of the covariance.
        order : int
            Of the polynomial, in coordinates scaled to the window.
        ridge : float
            Penalty of the coefficients but for the constant, in units of the rms.
        """
        variance = self._grain_variance(window, scale)
        shape = _key(window, variance)
        if shape not in self._factors:
            self._factors[shape] = inverse_factor(_matrix(self._covariance, window, variance))
        factor, key = self._factors[shape], (shape, order, ridge)
        if key not in self._terms:
            design = polynomial_design(window.y, window.x, order=order, scaling=window_scaling(window))
            penalty = np.full(design.shape[1], ridge / np.sqrt(self._covariance.variance))
            penalty[0] = 0.0
            ones = np.ones(window.y.size)
            self._terms[key] = linear_terms(design, weights=ones, matrix=factor, penalty=penalty)
        terms = self._terms[key].scaled(1.0 / scale)
        return Whitener(weights=np.full(window.y.size, 1.0 / scale), matrix=factor, terms=terms)

    def _grain_variance(self, window: FitPixels, scale: float | None) -> FloatArray | None:
        """Return the variance of the grain of a window in units of scale^2; None where it is negligible."""
        if self._grain is None or scale is None or not window.y.size:
            return None
        if (window, scale) not in self._variances:
            variance: FloatArray = (at(self._grain, window.y, window.x) / scale) ** 2
            matters = variance.max() > _NEGLIGIBLE * self._finest
            self._variances[window, scale] = variance if matters else None
        return self._variances[window, scale]


def _matrix(covariance: CovarianceModel, window: FitPixels, variance: FloatArray | None) -> FloatArray:
    """Return the covariance of the pixels of a window, with the variance of their grain."""
    matrix = covariance.matrix(window.y, window.x)
    if variance is not None:
        matrix[np.diag_indices_from(matrix)] += variance
    return matrix


def _key(window: FitPixels, variance: FloatArray | None) -> bytes:
    """Return what windows of the same noise have in common: the shape, and the place if it has a grain."""
    if variance is None:
        return window.key
    return window.key + np.array([window.y[0], window.x[0]]).tobytes()
