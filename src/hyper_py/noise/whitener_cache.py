"""The covariance of fit pixels, and the whiteners that fits in correlated noise make of it.

The noise of a map is stationary but for its local rms, so that groups on fit pixels of one shape share their
matrices. These are kept as far as memory allows.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from hyper_py.arrays import FloatArray
from hyper_py.noise.covariance import CovarianceModel, power_spectrum
from hyper_py.noise.whitening import (
    LinearTerms,
    TriangularMatrix,
    Whitener,
    inverse_factor,
    linear_terms,
    whitening_matrix,
)
from hyper_py.numerics.fit_pixels import FitPixels
from hyper_py.numerics.polynomial import polynomial_design, scaling_of_pixels
from hyper_py.numerics.sending import SentOnce
from hyper_py.numerics.tiles import Plane, at

CACHE_BYTES = 96_000_000
"""Memory for the matrices of groups that are worked on together."""
_KEPT_BYTES = 300_000_000
"""Memory for matrices that may be needed again: the larger ones of a map are made anew when there are many.
The groups come round after round; of more than fit, none would be there when its turn comes."""
_NEGLIGIBLE = 0.5
"""Multiplicative noise below this share of the noise power at small scales changes no error by a percent."""
_FEWEST_PER_BEAM = 1.5
_WAVELENGTH_SIZES = 1.6
_LOSS = 1.1
"""Noise power that coarser pixels may add at wavelengths of some FWHM of a source, at which it has most of
its own."""


def largest_step(covariance: CovarianceModel, *, most: float, wavelength: float, loss: float) -> int:
    """Return the largest step between pixels that adds little noise power.

    Parameters
    ----------
    covariance : CovarianceModel
    most : float
        No step is larger, except 1.
    wavelength : float
        At which the power counts, in pixels.
    loss : float
        Largest factor by which it may grow, see `CovarianceModel.aliasing`.
    """
    step = 1
    while step + 1 <= most and covariance.aliasing(step + 1, wavelength=wavelength) <= loss:
        step += 1
    return step


@dataclass(frozen=True, kw_only=True, eq=False)
class NoiseMatrices:
    """Covariance and precision of fit pixels, for a noise scale of 1.

    The precision is that of a fit with a free mean. `measured` is the covariance that errors come from,
    which need not be invertible. `make` gives the covariance: few groups need it.
    """

    precision: FloatArray
    measured: FloatArray
    make: Callable[[], FloatArray]

    @cached_property
    def covariance(self) -> FloatArray:
        """Covariance of the fit pixels, as fits take it."""
        return self.make()


@dataclass(frozen=True, kw_only=True, eq=False)
class WhitenerOnDemand:
    """The whitener of some fit pixels, made when it is asked for: its matrix is large.

    Attributes
    ----------
    cache : WhitenerCache
    pixels : FitPixels
    scale : float
        Noise in units of that of the covariance.
    """

    cache: "WhitenerCache"
    pixels: FitPixels
    scale: float

    @property
    def key(self) -> bytes:
        """The same for whiteners that share a matrix."""
        return self.cache.key(self.pixels, self.scale)

    def make(self) -> Whitener:
        """Return the whitener."""
        weights = np.broadcast_to(1.0 / self.scale, self.pixels.y.shape)
        return Whitener(weights=weights, matrix=self.cache.whitening(self.pixels, self.scale))


class WhitenerCache(SentOnce):
    """Matrices by the shape of fit pixels: a stationary covariance depends on separations only.

    They are kept as far as `_KEPT_BYTES` go; the one that was not used for longest is dropped first.

    Parameters
    ----------
    covariance : CovarianceModel
    multiplicative : Plane, shape (ny, nx), optional
        Independent error of each pixel on top of the covariance, such as a share of the light there, in the
        unit of the map. Fit pixels on which it matters share their matrix with no others.
    """

    def __init__(self, covariance: CovarianceModel, *, multiplicative: Plane | None = None) -> None:
        self._covariance, self._multiplicative = covariance, multiplicative
        self._finest = float(np.median(power_spectrum(covariance.lags)))
        self._forget()

    def __getstate__(self) -> dict[str, Any]:
        """Have other processes begin without matrices."""
        empty = WhitenerCache.__new__(WhitenerCache)
        empty._forget()
        return self.__dict__ | empty.__dict__

    def _forget(self) -> None:
        self._known: OrderedDict[bytes, TriangularMatrix] = OrderedDict()
        self._bytes = 0
        self._last: dict[bytes, NoiseMatrices] = {}
        self._factors: dict[bytes, TriangularMatrix] = {}
        self._terms: dict[tuple[bytes, int, float], LinearTerms] = {}
        self._variances: dict[tuple[FitPixels, float], FloatArray | None] = {}

    def coarsest(self, beam_fwhm: float, *, source_fwhm: float) -> int:
        """Return the largest step between pixels at which a wide source loses nothing, see `_LOSS`.

        Parameters
        ----------
        beam_fwhm, source_fwhm : float
            In pixels; the source's along its minor axis.
        """
        return largest_step(
            self._covariance, most=beam_fwhm / _FEWEST_PER_BEAM, wavelength=_WAVELENGTH_SIZES * source_fwhm,
            loss=_LOSS,
        )  # fmt: skip

    def whitening(self, pixels: FitPixels, scale: float | None = None) -> TriangularMatrix:
        """Return the whitening matrix in units of `scale`, multiplicative noise included."""
        variance = self._multiplicative_variance(pixels, scale)
        key = _key(pixels, variance)
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        matrix = TriangularMatrix(whitening_matrix(_matrix(self._covariance, pixels, variance)))
        self._known[key] = matrix
        self._bytes += matrix.values.nbytes
        while self._bytes > _KEPT_BYTES and len(self._known) > 1:
            self._bytes -= self._known.popitem(last=False)[1].values.nbytes
        return matrix

    def key(self, pixels: FitPixels, scale: float) -> bytes:
        """Return the same for fit pixels that share a matrix."""
        return _key(pixels, self._multiplicative_variance(pixels, scale))

    def matrices(self, pixels: FitPixels, scale: float | None = None) -> NoiseMatrices:
        """Return the noise in units of `scale`, multiplicative noise included if there is a scale.

        What was returned last is kept: groups that share matrices come one after another.
        """
        variance = self._multiplicative_variance(pixels, scale)
        key = _key(pixels, variance)
        if key not in self._last:
            whitening = self.whitening(pixels, scale).values
            self._last.clear()
            self._last[key] = NoiseMatrices(
                precision=whitening.T @ whitening,
                measured=_matrix(self._covariance.unconditioned, pixels, variance),
                make=lambda: _matrix(self._covariance, pixels, variance),
            )
        return self._last[key]

    def whitener(self, pixels: FitPixels, scale: float) -> WhitenerOnDemand:
        """Return the whitener for noise `scale` times that of the covariance."""
        return WhitenerOnDemand(cache=self, pixels=pixels, scale=scale)

    def joint_whitener(self, pixels: FitPixels, scale: float, *, order: int, ridge: float) -> Whitener:
        """Return the whitener of a fit that determines a polynomial jointly with the Gaussians.

        Parameters
        ----------
        pixels : FitPixels
        scale : float
            Noise in units of that of the covariance.
        order : int
            Of the polynomial, in coordinates scaled to the fit pixels.
        ridge : float
            Penalty of the coefficients but for the constant, in units of the rms.
        """
        variance = self._multiplicative_variance(pixels, scale)
        shape = _key(pixels, variance)
        if shape not in self._factors:
            factor = inverse_factor(_matrix(self._covariance, pixels, variance))
            self._factors[shape] = TriangularMatrix(factor)
        matrix, key = self._factors[shape], (shape, order, ridge)
        if key not in self._terms:
            scaling = scaling_of_pixels(pixels.y, pixels.x)
            design = polynomial_design(pixels.y, pixels.x, order=order, scaling=scaling)
            penalty = np.full(design.shape[1], ridge / np.sqrt(self._covariance.variance))
            penalty[0] = 0.0
            ones = np.ones(pixels.y.size)
            self._terms[key] = linear_terms(design, weights=ones, matrix=matrix, penalty=penalty)
        terms = self._terms[key].scaled(1.0 / scale)
        return Whitener(weights=np.full(pixels.y.size, 1.0 / scale), matrix=matrix, terms=terms)

    def _multiplicative_variance(self, pixels: FitPixels, scale: float | None) -> FloatArray | None:
        """Return the variance of multiplicative noise in units of scale^2; None where it is negligible."""
        if self._multiplicative is None or scale is None or not pixels.y.size:
            return None
        if (pixels, scale) not in self._variances:
            variance: FloatArray = (at(self._multiplicative, pixels.y, pixels.x) / scale) ** 2
            matters = variance.max() > _NEGLIGIBLE * self._finest
            self._variances[pixels, scale] = variance if matters else None
        return self._variances[pixels, scale]


def _matrix(covariance: CovarianceModel, pixels: FitPixels, variance: FloatArray | None) -> FloatArray:
    """Return the covariance of fit pixels, with the variance of their multiplicative noise."""
    matrix = covariance.matrix(pixels.y, pixels.x)
    if variance is not None:
        matrix[np.diag_indices_from(matrix)] += variance
    return matrix


def _key(pixels: FitPixels, variance: FloatArray | None) -> bytes:
    """Return what fit pixels of the same noise have in common: the shape, and the place if need be."""
    if variance is None:
        return pixels.key
    return pixels.key + np.array([pixels.y[0], pixels.x[0]]).tobytes()
