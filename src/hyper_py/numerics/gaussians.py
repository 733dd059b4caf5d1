"""Sums of elliptical Gaussians: values, analytic derivatives, fluxes and enclosed fractions.

A source is six numbers in this order: amplitude, x, y, sigma_1, sigma_2, theta; lengths in pixels, theta in
radians from +x to the axis of sigma_1. Many sums at once share the leading axis, so that one call serves a
batch of fits.
"""

import math
from collections.abc import Iterator

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray, IndexArray, IntArray
from hyper_py.geometry import (
    FWHM_PER_SIGMA,
    covariance_from_ellipse,
    ellipse_from_covariance,
)
from hyper_py.numerics.tiles import LazyPlane

N_PARAMETERS = 6
AMPLITUDE, X, Y, SIGMA_1, SIGMA_2, THETA = range(N_PARAMETERS)
_STAMP_NUMBERS = 30_000
"""Pixels of the stamps that are computed at once; they fit in the cache."""


def gaussian_sum(parameters: FloatArray, y: FloatArray, x: FloatArray) -> FloatArray:
    """Return the sum of Gaussians at given points.

    Parameters
    ----------
    parameters : ndarray, shape (..., n_sources, 6)
    y, x : ndarray, shape (..., n_points)

    Returns
    -------
    ndarray, shape (..., n_points)
        In the unit of the amplitudes.
    """
    dx = x[..., None, :] - parameters[..., X, None]
    dy = y[..., None, :] - parameters[..., Y, None]
    a, b, c = exponents(parameters)
    shape = np.exp(-(a * dx * dx + 2.0 * b * dx * dy + c * dy * dy))
    value: FloatArray = np.einsum("...s,...sn->...n", parameters[..., AMPLITUDE], shape)
    return value


def exponents(parameters: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the coefficients of dx^2, 2 dx dy and dy^2 in the exponent, each (..., n_sources, 1)."""
    half_1, half_2 = 0.5 / parameters[..., SIGMA_1] ** 2, 0.5 / parameters[..., SIGMA_2] ** 2
    cos, sin = np.cos(parameters[..., THETA]), np.sin(parameters[..., THETA])
    a = half_1 * cos**2 + half_2 * sin**2
    b = (half_1 - half_2) * cos * sin
    c = half_1 * sin**2 + half_2 * cos**2
    return a[..., None], b[..., None], c[..., None]


def gaussian_sum_and_jacobian(
    parameters: FloatArray, y: FloatArray, x: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return the sum of Gaussians and its derivatives by every parameter.

    Parameters
    ----------
    parameters : ndarray, shape (n_batch, n_sources, 6)
    y, x : ndarray, shape (n_batch, n_points)

    Returns
    -------
    value : ndarray, shape (n_batch, n_points)
    jacobian : ndarray, shape (n_batch, 6 * n_sources, n_points)
        Rows in the order of the parameters, source after source.
    """
    n_batch, n_sources, _ = parameters.shape
    p = parameters[..., None]
    cos, sin = np.cos(p[:, :, THETA]), np.sin(p[:, :, THETA])
    dx, dy = x[:, None, :] - p[:, :, X], y[:, None, :] - p[:, :, Y]
    u = (cos * dx + sin * dy) / p[:, :, SIGMA_1]
    v = (cos * dy - sin * dx) / p[:, :, SIGMA_2]
    jacobian = np.empty((n_batch, n_sources, N_PARAMETERS, x.shape[-1]))
    shape = np.exp(-0.5 * (u * u + v * v), out=jacobian[:, :, AMPLITUDE])
    value = p[:, :, AMPLITUDE] * shape
    vu, vv = value * u, value * v
    by_1, by_2 = vu / p[:, :, SIGMA_1], vv / p[:, :, SIGMA_2]
    np.subtract(cos * by_1, sin * by_2, out=jacobian[:, :, X])
    np.add(sin * by_1, cos * by_2, out=jacobian[:, :, Y])
    np.multiply(by_1, u, out=jacobian[:, :, SIGMA_1])
    np.multiply(by_2, v, out=jacobian[:, :, SIGMA_2])
    ratio = p[:, :, SIGMA_1] / p[:, :, SIGMA_2]
    np.multiply(vu, v * (ratio - 1.0 / ratio), out=jacobian[:, :, THETA])
    return value.sum(axis=1), jacobian.reshape(n_batch, n_sources * N_PARAMETERS, -1)


def render(
    parameters: FloatArray,
    shape: tuple[int, int],
    *,
    n_sigma: float = 6.0,
    out: FloatArray | None = None,
    origin: tuple[int, int] = (0, 0),
) -> FloatArray:
    """Return the sum of Gaussians as an image, each drawn out to `n_sigma` of its major axis.

    Parameters
    ----------
    parameters : ndarray, shape (n_sources, 6)
    shape : (ny, nx)
    n_sigma : float
        Half-size of the stamp; at 6 the Gaussian has fallen to 1.5e-8 of its peak.
    out : ndarray, shape (ny, nx), optional
        Image to add to instead of a new one of zeros.
    origin : (int, int)
        First row and column of the image in the pixels of the parameters. A part of an image has the same
        bytes as that part of the whole.
    """
    image = np.zeros(shape) if out is None else out
    for sources, places, exponents in _stamps(parameters, shape, n_sigma, origin):
        stamps = parameters[sources, AMPLITUDE, None, None] * np.exp(-exponents)
        for where, stamp in zip(places, stamps, strict=True):
            part = image[where]
            part += stamp[: part.shape[0], : part.shape[1]]
    return image


class SourcesByPlace:
    """Gaussians sorted by row, so that those that reach into a part of a map are found quickly.

    Parameters
    ----------
    parameters : ndarray, shape (n_sources, 6)
    n_sigma : float
        How far each reaches, in units of its larger sigma.
    more : float
        Pixels added to that.
    """

    def __init__(self, parameters: FloatArray, *, n_sigma: float, more: float = 0.0) -> None:
        self._parameters, self._n_sigma = parameters, n_sigma
        self._reach = n_sigma * parameters[:, SIGMA_1 : SIGMA_2 + 1].max(axis=1, initial=0.0) + more
        self._order = np.argsort(parameters[:, Y], kind="stable")
        self._rows = parameters[self._order, Y]
        self._farthest = float(self._reach.max(initial=0.0)) + 1.0

    def indices(self, where: tuple[slice, slice]) -> IndexArray:
        """Return the indices of the sources that reach into rows and columns, in ascending order."""
        rows, columns = where
        ends = np.searchsorted(self._rows, [rows.start - self._farthest, rows.stop + self._farthest])
        likely = np.sort(self._order[slice(*ends)])
        reach, x, y = self._reach[likely], self._parameters[likely, X], self._parameters[likely, Y]
        # A stamp ends at the pixel beyond its reach.
        near = (y + reach + 1.0 > rows.start) & (y - reach < rows.stop)
        near &= (x + reach + 1.0 > columns.start) & (x - reach < columns.stop)
        indices: IndexArray = likely[near]
        return indices

    def __getitem__(self, where: tuple[slice, slice]) -> FloatArray:
        """Return the sources that reach into rows and columns, in the pixel coordinates of that part."""
        own: FloatArray = self._parameters[self.indices(where)]
        own[:, Y] -= where[0].start
        own[:, X] -= where[1].start
        return own

    def light(self, where: tuple[slice, slice]) -> FloatArray:
        """Return the image of rows and columns, see `render`."""
        own, shape, origin = self._part(where)
        return render(own, shape, n_sigma=self._n_sigma, origin=origin)

    def footprints(self, where: tuple[slice, slice]) -> BoolArray:
        """Return the footprints in rows and columns, see `footprints`."""
        own, shape, origin = self._part(where)
        return footprints(own, shape, n_sigma=self._n_sigma, origin=origin)

    def _part(self, where: tuple[slice, slice]) -> tuple[FloatArray, tuple[int, int], tuple[int, int]]:
        """Return the sources that reach into rows and columns, the shape of the part, and its first pixel."""
        rows, columns = where
        shape = rows.stop - rows.start, columns.stop - columns.start
        return self._parameters[self.indices(where)], shape, (rows.start, columns.start)


def drawn(parameters: FloatArray, shape: tuple[int, int]) -> LazyPlane:
    """Return the image of Gaussians out to 6 sigma, computed piece by piece when it is needed.

    Parameters
    ----------
    parameters : ndarray, shape (n_sources, 6)
    shape : (ny, nx)
    """
    placed = SourcesByPlace(parameters, n_sigma=6.0)
    return LazyPlane(shape, lambda *where: placed.light(where))


def footprints(
    parameters: FloatArray,
    shape: tuple[int, int],
    *,
    n_sigma: float = 2.0,
    origin: tuple[int, int] = (0, 0),
) -> BoolArray:
    """Return where any Gaussian is within `n_sigma` of its centre: above exp(-n_sigma^2 / 2) of its peak.

    The first pixel of the mask is the pixel `origin`, (y, x), of the parameters.
    """
    mask = np.zeros(shape, dtype=bool)
    for where, stamp in footprint_stamps(parameters, shape, n_sigma=n_sigma, origin=origin).values():
        mask[where] |= stamp
    return mask


def footprint_stamps(
    parameters: FloatArray,
    shape: tuple[int, int],
    *,
    n_sigma: float = 2.0,
    origin: tuple[int, int] = (0, 0),
) -> dict[int, tuple[tuple[slice, slice], BoolArray]]:
    """Return the footprint of each Gaussian on the map by its index: rows and columns, and a mask."""
    result = {}
    for sources, places, exponents in _stamps(parameters, shape, n_sigma, origin):
        for i, (rows, columns), stamp in zip(
            sources.tolist(), places, exponents <= 0.5 * n_sigma**2, strict=True
        ):
            result[i] = (rows, columns), stamp[: rows.stop - rows.start, : columns.stop - columns.start]
    return result


def _stamps(
    parameters: FloatArray, shape: tuple[int, int], n_sigma: float, origin: tuple[int, int]
) -> Iterator[tuple[IndexArray, list[tuple[slice, slice]], FloatArray]]:
    """Yield some sources at a time: indices, rows and columns of their stamps, and the exponents (positive).

    Exponents have the shape (k, ny, nx) of the largest stamp; smaller stamps are the first rows and columns.
    """
    a, b, c = (e[..., None] for e in exponents(parameters))
    reach = n_sigma * parameters[:, SIGMA_1 : SIGMA_2 + 1].max(axis=1, initial=0.0)
    centres = parameters[:, [Y, X]]
    first, last = np.ceil(centres - reach[:, None]), np.ceil(centres + reach[:, None] + 1.0)
    low = _clip(first - origin, shape)
    sides = _clip(last - origin, shape) - low
    largest = (last - first).max(axis=1, initial=0.0)
    # By size, so that little is computed beyond the smaller stamps: the same order in each part of an image.
    order = np.argsort(-largest, kind="stable")
    order = order[(sides[order] > 0).all(axis=1)]
    while order.size:
        step = max(1, _STAMP_NUMBERS // int(largest[order[0]]) ** 2)
        some, order = order[:step], order[step:]
        start, side, centre = low[some], sides[some], centres[some]
        height, width = side.max(axis=0)
        y, x = start[:, :1] + origin[0] + np.arange(height), start[:, 1:] + origin[1] + np.arange(width)
        dy, dx = (y - centre[:, :1])[:, :, None], (x - centre[:, 1:])[:, None, :]
        places = [
            (slice(y0, y1), slice(x0, x1))
            for (y0, x0), (y1, x1) in np.stack([start, start + side], 1).tolist()
        ]
        yield some, places, a[some] * dx * dx + dy * (2.0 * b[some] * dx + c[some] * dy)


def _clip(value: FloatArray, shape: tuple[int, int]) -> IntArray:
    """Return pixel indices (y, x), (n, 2), inside a map."""
    return np.clip(value, 0, shape).astype(np.int64)


def gaussian_flux(parameters: FloatArray) -> FloatArray:
    """Return the integral over the plane, 2 pi A sigma_1 sigma_2, for parameters of shape (..., 6)."""
    return 2.0 * math.pi * parameters[..., AMPLITUDE] * parameters[..., SIGMA_1] * parameters[..., SIGMA_2]


def source_covariance(parameters: FloatArray) -> FloatArray:
    """Return the second moments (..., 2, 2) in pixels^2, order (x, y), of Gaussians of shape (..., 6)."""
    return covariance_from_ellipse(
        FWHM_PER_SIGMA * parameters[..., SIGMA_1],
        FWHM_PER_SIGMA * parameters[..., SIGMA_2],
        parameters[..., THETA],
    )


def correlation(first: FloatArray, second: FloatArray) -> FloatArray:
    """Return the integrals of products of two Gaussians over the roots of those of their squares, (...).

    It is 1 for equal ones, and does not depend on their amplitudes.
    """
    one, other = source_covariance(first), source_covariance(second)
    away = (first - second)[..., [X, Y]]
    both = one + other
    exponent = np.einsum("...i,...ij,...j->...", away, np.linalg.inv(both), away)
    areas = np.linalg.det(one) * np.linalg.det(other)
    result: FloatArray = 2.0 * areas**0.25 / np.sqrt(np.linalg.det(both)) * np.exp(-0.5 * exponent)
    return result


def shape_parameters(covariance: FloatArray) -> FloatArray:
    """Return (sigma_major, sigma_minor, theta), shape (..., 3), of second moments of shape (..., 2, 2)."""
    ellipse = ellipse_from_covariance(covariance)
    return np.stack([ellipse.major / FWHM_PER_SIGMA, ellipse.minor / FWHM_PER_SIGMA, ellipse.angle], axis=-1)
