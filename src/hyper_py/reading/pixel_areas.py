"""Areas of pixels on the sky: one number, or one a pixel where the projection changes them."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from hyper_py.arrays import FloatArray
from hyper_py.geometry import grid_nodes, local_jacobian


def pixel_areas(wcs: Any, shape: tuple[int, int], *, tolerance: float = 1e-6) -> float | FloatArray:
    """Return the solid angle of the pixels of a map.

    Varying areas are computed on a coarse grid and interpolated by cubic splines. The grid is refined until
    the spline agrees with the areas at its midpoints. The areas of a map that extends beyond the projection
    are computed pixel by pixel.

    Parameters
    ----------
    wcs : astropy.wcs.WCS
        Celestial, two axes.
    shape : (int, int)
        (ny, nx).
    tolerance : float
        Relative accuracy of interpolated areas. Areas that vary by less are returned as one number.

    Returns
    -------
    float or ndarray, shape (ny, nx)
        arcsec2; NaN outside the projection.
    """
    parts = pixel_areas_in_parts(wcs, shape, tolerance=tolerance)
    if isinstance(parts, float):
        return parts
    ny, nx = shape
    rows = max(1, 200_000 // nx)
    strips = [parts(slice(y0, min(y0 + rows, ny)), slice(0, nx)) for y0 in range(0, ny, rows)]
    return np.concatenate(strips)


def pixel_areas_in_parts(
    wcs: Any, shape: tuple[int, int], *, tolerance: float = 1e-6
) -> float | Callable[[slice, slice], FloatArray]:
    """Return the areas of `pixel_areas` as one number, or as a function of rows and columns."""
    ny, nx = shape
    for nodes in (9, 17, 33, 65):
        y, x = grid_nodes(ny, 2 * nodes - 1), grid_nodes(nx, 2 * nodes - 1)
        fine = _areas_at(wcs, x, y)
        if not np.isfinite(fine).all() or fine.min() <= 0:
            break
        if np.ptp(fine) <= tolerance * fine.mean():
            return float(fine.mean())
        kx, ky = min(3, len(x[::2]) - 1), min(3, len(y[::2]) - 1)
        if not kx or not ky:
            break
        from scipy.interpolate import RectBivariateSpline  # slow to import, and few maps need it

        spline = RectBivariateSpline(y[::2], x[::2], fine[::2, ::2], kx=ky, ky=kx)
        if np.max(np.abs(spline(y, x) / fine - 1.0)) <= tolerance:
            return _spline_in_parts(spline, shape)
    return lambda rows, columns: _areas_at(wcs, _pixels(columns), _pixels(rows))


def _spline_in_parts(spline: Any, shape: tuple[int, int]) -> Callable[[slice, slice], FloatArray]:
    """Return a spline of y and x on the pixels of any rows and columns of a map.

    The spline is a sum of products of B-splines of one variable each. These are evaluated once for all rows
    and all columns, so that a small piece is cheap.
    """
    from scipy.interpolate import BSpline

    *knots, coefficients = spline.tck
    down, across = (
        BSpline.design_matrix(np.arange(size, dtype=np.float64), t, degree).toarray()
        for size, t, degree in zip(shape, knots, spline.degrees, strict=True)
    )
    down = down @ coefficients.reshape(down.shape[1], across.shape[1])
    return lambda rows, columns: down[rows] @ across[columns].T


def _pixels(part: slice) -> FloatArray:
    return np.arange(part.start, part.stop, dtype=np.float64)


def _areas_at(wcs: Any, x: ArrayLike, y: ArrayLike) -> FloatArray:
    """Return pixel areas in arcsec2 on the grid of `y` and `x`; NaN without sky."""
    jacobian = local_jacobian(wcs, *np.meshgrid(x, y))
    areas: FloatArray = np.abs(
        jacobian[..., 0, 0] * jacobian[..., 1, 1] - jacobian[..., 0, 1] * jacobian[..., 1, 0]
    )
    return areas
