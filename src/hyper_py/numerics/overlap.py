"""Exact areas of pixels inside ellipses."""

import numpy as np
from numpy.typing import NDArray

from hyper_py.arrays import FloatArray

_ROUNDING = 1e-12
"""Rounding error of the area of a pixel outside the ellipse."""


def ellipse_overlap(
    dy: FloatArray, dx: FloatArray, *, semi_major: FloatArray, semi_minor: FloatArray, theta: FloatArray
) -> FloatArray:
    """Return the area of each pixel of grids inside ellipses around the origin.

    In coordinates in which the ellipse is the unit circle, a pixel is a parallelogram. Its area inside the
    circle is the sum over its edges of the signed areas between edge and origin. Adjacent pixels share edges.

    Parameters
    ----------
    dy, dx : ndarray, shapes (n, ny + 1) and (n, nx + 1)
        Edges of the pixels, one apart.
    semi_major, semi_minor, theta : ndarray, shape (n,)
        Semi-axes in pixels; radians from +x to the major axis.

    Returns
    -------
    ndarray, shape (n, ny, nx)
        From 0 to 1.
    """
    turn = np.exp(-1j * theta)[:, None, None]
    corners = turn * (dx[:, None, :] + 1j * dy[:, :, None])
    corners = corners.real / semi_major[:, None, None] + 1j * (corners.imag / semi_minor[:, None, None])
    along_x = _between_origin_and(corners[:, :, :-1], corners[:, :, 1:])
    along_y = _between_origin_and(corners[:, :-1], corners[:, 1:])
    area = along_x[:, :-1] - along_x[:, 1:] + along_y[:, :, 1:] - along_y[:, :, :-1]
    area *= (semi_major * semi_minor)[:, None, None]
    return np.where(area > _ROUNDING, np.minimum(area, 1.0), 0.0)


def _between_origin_and(start: NDArray[np.complex128], end: NDArray[np.complex128]) -> FloatArray:
    """Return the area of the unit disc inside triangles (0, start, end), positive if counter-clockwise.

    Points of the plane are complex numbers. The part of the edge inside the circle spans a triangle; the
    parts before and after it span one sector each. The angles of both sectors are added as the angle of a
    product.
    """
    edge = end - start
    length = edge.real**2 + edge.imag**2
    middle = -(start.real * edge.real + start.imag * edge.imag) / length
    distance = (start.conj() * edge).imag ** 2 / length
    half = np.sqrt(np.maximum(1.0 - distance, 0.0) / length)
    enters, leaves = (start + np.clip(middle + side, 0.0, 1.0) * edge for side in (-half, half))
    sectors = np.angle((start.conj() * enters) * (leaves.conj() * end))
    area: FloatArray = 0.5 * (sectors + (enters.conj() * leaves).imag)
    return area
