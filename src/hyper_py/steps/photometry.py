"""Elliptical apertures on the map with background and companions removed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from hyper_py.geometry import FWHM_PER_SIGMA, FloatArray
from hyper_py.numerics import models

IntArray: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Aperture:
    """An ellipse on the pixel grid.

    Attributes
    ----------
    y0, x0 : int
        Map pixel of `weights[0, 0]`; may lie outside the map.
    weights : ndarray, shape (h, w)
        Area of each pixel inside the ellipse, exact, from 0 to 1.
    """

    y0: int
    x0: int
    weights: FloatArray

    def clipped(self, shape: tuple[int, int]) -> "Aperture":
        """Return the part inside a map of this shape."""
        top, left = max(0, -self.y0), max(0, -self.x0)
        weights = self.weights[top : max(top, shape[0] - self.y0), left : max(left, shape[1] - self.x0)]
        return Aperture(y0=self.y0 + top, x0=self.x0 + left, weights=weights)

    @property
    def slices(self) -> tuple[slice, slice]:
        """Where a clipped aperture lies in the map."""
        height, width = self.weights.shape
        return slice(self.y0, self.y0 + height), slice(self.x0, self.x0 + width)


def elliptical_aperture(
    x: float, y: float, *, semi_major: float, semi_minor: float, theta: float
) -> Aperture:
    """Return the exact overlap of an ellipse with the pixels.

    Parameters
    ----------
    x, y : float
        Centre, zero-based pixels.
    semi_major, semi_minor : float
        Pixels.
    theta : float
        Angle of the major axis, radians from +x.
    """
    from photutils.geometry import elliptical_overlap_grid  # slow to import

    half_x = np.hypot(semi_major * np.cos(theta), semi_minor * np.sin(theta))
    half_y = np.hypot(semi_major * np.sin(theta), semi_minor * np.cos(theta))
    x0, x1 = int(np.floor(x - half_x + 0.5)), int(np.floor(x + half_x + 0.5)) + 1
    y0, y1 = int(np.floor(y - half_y + 0.5)), int(np.floor(y + half_y + 0.5)) + 1
    weights = elliptical_overlap_grid(
        x0 - 0.5 - x, x1 - 0.5 - x, y0 - 0.5 - y, y1 - 0.5 - y, x1 - x0, y1 - y0,
        semi_major, semi_minor, theta, 1, 1,
    )  # fmt: skip
    return Aperture(y0=y0, x0=x0, weights=np.asarray(weights, dtype=np.float64))


def source_aperture(source: FloatArray, *, radius_in_fwhm: float) -> Aperture:
    """Return the aperture of semi-axes `radius_in_fwhm` times both FWHM of a source's six parameters."""
    scale = radius_in_fwhm * FWHM_PER_SIGMA
    return elliptical_aperture(
        float(source[models.X]),
        float(source[models.Y]),
        semi_major=scale * float(source[models.SIGMA_1]),
        semi_minor=scale * float(source[models.SIGMA_2]),
        theta=float(source[models.THETA]),
    )


def aperture_fraction(source: FloatArray, aperture: Aperture) -> float:
    """Return the share of a source's flux that the aperture's sum over pixels holds.

    For wide sources this is 1 - 2^(-4 k^2), semi-axes of k FWHM; for narrow ones the finite pixels, each
    taken as constant, change it by some percent.
    """
    return float(aperture_fractions(source[None], [aperture])[0])


def aperture_fractions(sources: FloatArray, apertures: Sequence[Aperture]) -> FloatArray:
    """Return `aperture_fraction` of many sources, (n, 6), each in its aperture, shape (n,)."""
    sizes = np.array([aperture.weights.size for aperture in apertures])
    owner = np.repeat(np.arange(len(apertures)), sizes)
    widths = np.array([aperture.weights.shape[1] for aperture in apertures])
    corners = np.array([(aperture.y0, aperture.x0) for aperture in apertures])
    place = np.arange(owner.size) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    row, column = np.divmod(place, widths[owner])
    a, b, c = (e[owner, 0] for e in models.exponents(sources))
    dy = row + (corners[:, 0] - sources[:, models.Y])[owner]
    dx = column + (corners[:, 1] - sources[:, models.X])[owner]
    values = np.exp(-(a * dx * dx + 2.0 * b * dx * dy + c * dy * dy))
    weights = np.concatenate([aperture.weights.ravel() for aperture in apertures])
    inside = np.bincount(owner, weights * values, minlength=len(apertures))
    area = 2.0 * np.pi * sources[:, models.SIGMA_1] * sources[:, models.SIGMA_2]
    fractions: FloatArray = inside / area
    return fractions


def aperture_pixels(apertures: Sequence[Aperture]) -> tuple[IntArray, IntArray, FloatArray]:
    """Return the pixels y, x of apertures and their weights, each (n, m), repeated with weight 0 to one m."""
    shapes = [aperture.weights.shape for aperture in apertures]
    height, width = max(h for h, _ in shapes), max(w for _, w in shapes)
    weights = np.zeros((len(apertures), height, width))
    for row, aperture, (h, w) in zip(weights, apertures, shapes, strict=True):
        row[:h, :w] = aperture.weights
    corners = np.array([(aperture.y0, aperture.x0) for aperture in apertures])
    y, x = (
        np.broadcast_to(start[:, None, None] + offset, weights.shape).reshape(len(apertures), -1)
        for start, offset in zip(corners.T, np.ogrid[:height, :width], strict=True)
    )
    return y, x, weights.reshape(len(apertures), -1)


def aperture_on_pixels(aperture: Aperture, y: IntArray, x: IntArray) -> FloatArray:
    """Return the aperture's weights at pixels (y, x) of shape (n,), zero outside it."""
    height, width = aperture.weights.shape
    row, column = y - aperture.y0, x - aperture.x0
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    weights = np.zeros(y.shape)
    weights[inside] = aperture.weights[row[inside], column[inside]]
    return weights


def flux_gradient(parameters: FloatArray) -> FloatArray:
    """Return d flux / d parameter of each of n sources' Gaussians, (..., n, 6 n), from (..., n, 6)."""
    n = parameters.shape[-2]
    amplitude, sigma_1, sigma_2 = (
        parameters[..., k] for k in (models.AMPLITUDE, models.SIGMA_1, models.SIGMA_2)
    )
    gradient = np.zeros((*parameters.shape[:-2], n, n, models.N_PARAMETERS))
    own = np.arange(n)
    gradient[..., own, own, models.AMPLITUDE] = 2.0 * np.pi * sigma_1 * sigma_2
    gradient[..., own, own, models.SIGMA_1] = 2.0 * np.pi * amplitude * sigma_2
    gradient[..., own, own, models.SIGMA_2] = 2.0 * np.pi * amplitude * sigma_1
    return gradient.reshape(*parameters.shape[:-2], n, n * models.N_PARAMETERS)


@dataclass(frozen=True, kw_only=True, eq=False)
class UnitPhotometry:
    """Fluxes and covariances of the sources of one unit.

    Attributes
    ----------
    flux, flux_err, flux_gauss_err : ndarray, shape (n_sources,)
        Jy, aperture correction applied.
    fraction : ndarray, shape (n_sources,)
        Share of each source's flux in its aperture.
    background : ndarray, shape (n_sources,)
        Mean background in the aperture, per pixel.
    covariance : ndarray, shape (6 n_sources, 6 n_sources)
        Of the fitted parameters, cross terms between sources included.
    """

    flux: FloatArray
    flux_err: FloatArray
    flux_gauss_err: FloatArray
    fraction: FloatArray
    background: FloatArray
    covariance: FloatArray
