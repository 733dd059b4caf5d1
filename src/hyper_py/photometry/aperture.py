"""Elliptical apertures on the map with background and companions removed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hyper_py.arrays import FloatArray, IntArray
from hyper_py.fitting.groups import Group
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.numerics import gaussians
from hyper_py.numerics.overlap import ellipse_overlap

_CHUNK_NUMBERS = 30_000
"""Pixels of apertures that are computed at once: they stay in the cache."""


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
        """Return the part inside a map of this shape: if all of it is, the aperture itself."""
        height, width = self.weights.shape
        if min(self.y0, self.x0) >= 0 and self.y0 + height <= shape[0] and self.x0 + width <= shape[1]:
            return self
        top, left = max(0, -self.y0), max(0, -self.x0)
        weights = self.weights[top : max(top, shape[0] - self.y0), left : max(left, shape[1] - self.x0)]
        return Aperture(y0=self.y0 + top, x0=self.x0 + left, weights=weights)

    @property
    def slices(self) -> tuple[slice, slice]:
        """Where a clipped aperture lies in the map."""
        height, width = self.weights.shape
        return slice(self.y0, self.y0 + height), slice(self.x0, self.x0 + width)


def elliptical_apertures(
    x: FloatArray, y: FloatArray, *, semi_major: FloatArray, semi_minor: FloatArray, theta: FloatArray
) -> list[Aperture]:
    """Return the exact overlap of ellipses with the pixels.

    Parameters
    ----------
    x, y : ndarray, shape (n,)
        Centres, zero-based pixels.
    semi_major, semi_minor : ndarray, shape (n,)
        Pixels.
    theta : ndarray, shape (n,)
        Angles of the major axes, radians from +x.
    """
    cos, sin = np.cos(theta), np.sin(theta)
    centres = np.column_stack([y, x])
    reach = np.hypot(
        semi_major[:, None] * np.column_stack([sin, cos]), semi_minor[:, None] * np.column_stack([cos, sin])
    )
    first = np.floor(centres - reach + 0.5).astype(np.int64)
    sides = np.floor(centres + reach + 0.5).astype(np.int64) + 1 - first
    apertures: dict[int, Aperture] = {}
    # By size, so that little is computed beyond the smaller ones.
    order = np.argsort(-sides.max(axis=1), kind="stable")
    while order.size:
        step = max(1, _CHUNK_NUMBERS // int(sides[order[0]].max()) ** 2)
        some, order = order[:step], order[step:]
        edge, (height, width) = (first - 0.5 - centres)[some, :, None], sides[some].max(axis=0)
        weights = ellipse_overlap(
            edge[:, 0] + np.arange(height + 1), edge[:, 1] + np.arange(width + 1),
            semi_major=semi_major[some], semi_minor=semi_minor[some], theta=theta[some],
        )  # fmt: skip
        for i, own, (y0, x0), (height, width) in zip(
            some.tolist(), weights, first[some].tolist(), sides[some].tolist(), strict=True
        ):
            apertures[i] = Aperture(y0=y0, x0=x0, weights=own[:height, :width])
    return [apertures[i] for i in range(len(centres))]


def source_apertures(sources: FloatArray, *, radius_in_fwhm: float) -> list[Aperture]:
    """Return apertures of semi-axes `radius_in_fwhm` times both FWHM of sources, (n, 6)."""
    scale = radius_in_fwhm * FWHM_PER_SIGMA
    return elliptical_apertures(
        sources[:, gaussians.X],
        sources[:, gaussians.Y],
        semi_major=scale * sources[:, gaussians.SIGMA_1],
        semi_minor=scale * sources[:, gaussians.SIGMA_2],
        theta=sources[:, gaussians.THETA],
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupApertures:
    """A fitted group and the apertures of its sources.

    Attributes
    ----------
    group : Group
    apertures : sequence of Aperture
    fractions : ndarray, shape (n_sources,)
        Share of each source's flux in its aperture.
    """

    group: Group
    apertures: Sequence[Aperture]
    fractions: FloatArray


def group_apertures(groups: Sequence[Group], *, radius_in_fwhm: float) -> list[GroupApertures]:
    """Return the apertures of fitted groups; see `source_apertures`."""
    if not groups:
        return []
    sources = np.concatenate([group.fitted.parameters for group in groups])
    apertures = source_apertures(sources, radius_in_fwhm=radius_in_fwhm)
    fractions = aperture_fractions(sources, apertures)
    ends = np.cumsum([group.n_sources for group in groups]).tolist()
    return [
        GroupApertures(
            group=group, apertures=apertures[end - group.n_sources : end],
            fractions=fractions[end - group.n_sources : end],
        )
        for group, end in zip(groups, ends, strict=True)
    ]  # fmt: skip


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
    a, b, c = (e[owner, 0] for e in gaussians.exponents(sources))
    dy = row + (corners[:, 0] - sources[:, gaussians.Y])[owner]
    dx = column + (corners[:, 1] - sources[:, gaussians.X])[owner]
    values = np.exp(-(a * dx * dx + 2.0 * b * dx * dy + c * dy * dy))
    weights = np.concatenate([aperture.weights.ravel() for aperture in apertures])
    inside = np.bincount(owner, weights * values, minlength=len(apertures))
    area = 2.0 * np.pi * sources[:, gaussians.SIGMA_1] * sources[:, gaussians.SIGMA_2]
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
        parameters[..., k] for k in (gaussians.AMPLITUDE, gaussians.SIGMA_1, gaussians.SIGMA_2)
    )
    gradient = np.zeros((*parameters.shape[:-2], n, n, gaussians.N_PARAMETERS))
    own = np.arange(n)
    gradient[..., own, own, gaussians.AMPLITUDE] = 2.0 * np.pi * sigma_1 * sigma_2
    gradient[..., own, own, gaussians.SIGMA_1] = 2.0 * np.pi * amplitude * sigma_2
    gradient[..., own, own, gaussians.SIGMA_2] = 2.0 * np.pi * amplitude * sigma_1
    return gradient.reshape(*parameters.shape[:-2], n, n * gaussians.N_PARAMETERS)


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupPhotometry:
    """Fluxes and covariances of the sources of one group.

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
