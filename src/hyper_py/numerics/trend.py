"""Least-squares fit of a plane to a map, and a smooth surface through the means of its cells."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from hyper_py.arrays import FloatArray, IntArray
from hyper_py.numerics.mesh import cell_counts, cell_sums, fill_nearest
from hyper_py.numerics.parallel import in_order, in_parts
from hyper_py.numerics.tiles import LazyPlane, Plane, Where, combined, sample_step, size_of, tiles

_TILE = 200
"""Side of tiles in pixels; intermediate arrays of a tile fit in the cache."""
_TOGETHER = 8
"""Tiles that are one part of the work."""
_FEWEST_CELLS = 4
"""A cubic spline needs so many along each axis."""
_LEAST_KNOWN = 0.1
"""Cells of which less than this share is known take the value of their neighbours."""
_MOST_PASSES = 6
"""A surface through the means of cells follows curvature after some corrections."""


@dataclass(frozen=True, eq=False)
class Surface:
    """A bicubic spline through values at the centres of the cells of a mesh.

    Attributes
    ----------
    values : ndarray, shape (ceil(ny / cell), ceil(nx / cell))
        At least four along each axis.
    cell : int
        Side of a cell in pixels; the first begins at pixel (0, 0).
    """

    values: FloatArray
    cell: int

    @cached_property
    def _spline(self) -> Any:
        from scipy.interpolate import RectBivariateSpline  # slow to import, and few maps need it

        centres = [(np.arange(n) + 0.5) * self.cell - 0.5 for n in self.values.shape]
        ends = [side for n in self.values.shape for side in (-0.5, n * self.cell - 0.5)]
        return RectBivariateSpline(*centres, self.values, bbox=ends)

    def at(self, y: FloatArray | IntArray, x: FloatArray | IntArray) -> FloatArray:
        """Return the values at positions, which are broadcast together."""
        values: FloatArray = self._spline.ev(*np.broadcast_arrays(y, x))
        return values

    def part(self, rows: slice, columns: slice) -> FloatArray:
        """Return the values at the pixels of rows and columns."""
        values: FloatArray = self._spline(*(np.arange(part.start, part.stop) for part in (rows, columns)))
        return values


@dataclass(frozen=True, kw_only=True)
class Trend:
    """A plane, value = constant + slope_y y + slope_x x in zero-based pixels, and a surface on it."""

    constant: float = 0.0
    slope_y: float = 0.0
    slope_x: float = 0.0
    surface: Surface | None = None

    def at(self, y: FloatArray | IntArray, x: FloatArray | IntArray) -> FloatArray:
        """Return the values at positions, which are broadcast together."""
        values: FloatArray = self.constant + self.slope_y * y + self.slope_x * x
        return values if self.surface is None else values + self.surface.at(y, x)

    def plane(self, shape: tuple[int, int]) -> LazyPlane:
        """Return the trend on a map of (ny, nx)."""
        flat = replace(self, surface=None)

        def make(rows: slice, columns: slice) -> FloatArray:
            pixels = np.arange(rows.start, rows.stop)[:, None], np.arange(columns.start, columns.stop)
            values = flat.at(*pixels)
            return values if self.surface is None else values + self.surface.part(rows, columns)

        return LazyPlane(shape, make)

    def subtracted_from(self, data: Plane) -> Plane:
        """Return a map minus the trend; an array if the map is one."""
        if not isinstance(data, np.ndarray):
            return combined(np.subtract, data, self.plane(size_of(data)))
        difference = np.empty(data.shape)  # tile by tile, to save memory
        for where in tiles(data.shape):
            difference[where] = data[where] - self.plane(size_of(data))[where]
        return difference


def fit_trend(data: Plane, *, relative_rms: Plane, size: int | None = None) -> Trend:
    """Fit a plane to a map by least squares; coefficients that cannot be determined are zero.

    The weights are the inverse squared relative rms. Otherwise bright regions would determine the plane that
    is subtracted from faint ones. A term proportional to the relative rms is fitted too, and is not part of
    the plane, because the fluctuations of cirrus are proportional to its brightness.

    Parameters
    ----------
    data : Plane, shape (ny, nx)
        Map; pixels that are not used, such as those of sources, are NaN. Of a very large map the pixels of a
        regular grid are used.
    relative_rms : Plane, shape (ny, nx)
        Relative rms: the rms divided by its median.
    size : int, optional
        Side of the tiles in which the map is processed, see `hyper_py.numerics.tiles.tiles`.

    Returns
    -------
    Trend
    """
    ny, nx = shape = size_of(data)
    step = sample_step(shape)

    def of_tile(where: Where) -> tuple[FloatArray, FloatArray]:
        rows, columns = where
        comb = slice(-rows.start % step, None, step), slice(-columns.start % step, None, step)
        values, noise = data[rows, columns][comb], relative_rms[rows, columns][comb]
        known = np.isfinite(values)
        values, noise = np.where(known, values, 0.0), np.where(known, noise, 1.0)
        # The relative rms minus 1, so that this term vanishes for uniform noise.
        weight, excess = known / noise**2, noise - 1.0
        # Coordinates from -1 to 1 over the map, for a well-conditioned matrix.
        y = (2.0 * np.arange(rows.start + comb[0].start, rows.stop, step) - (ny - 1)) / max(ny - 1, 1)
        x = (2.0 * np.arange(columns.start + comb[1].start, columns.stop, step) - (nx - 1)) / max(nx - 1, 1)
        (one, of_x, of_xx), (of_y, of_xy, _), (of_yy, _, _) = _moments(weight, y, x)
        (part, part_x, _), (part_y, _, _), _ = _moments(weight * excess, y, x)
        (value, value_x, _), (value_y, _, _), _ = _moments(weight * values, y, x)
        normal = [
            [one, of_y, of_x, part],
            [of_y, of_yy, of_xy, part_y],
            [of_x, of_xy, of_xx, part_x],
            [part, part_y, part_x, np.vdot(weight * excess, excess)],
        ]
        return np.array(normal), np.array([value, value_y, value_x, np.vdot(weight * excess, values)])

    normal, right = np.zeros((4, 4)), np.zeros(4)
    everywhere = list(tiles(shape, size=_TILE if size is None else size))
    for own, own_right in in_parts(of_tile, everywhere, n=_TOGETHER):
        normal += own
        right += own_right
    constant, along_y, along_x, by_rms = np.linalg.lstsq(normal, right, rcond=1e-10)[0]
    return Trend(
        constant=float(constant - by_rms - along_y - along_x),
        slope_y=float(2.0 * along_y / max(ny - 1, 1)),
        slope_x=float(2.0 * along_x / max(nx - 1, 1)),
    )


def _moments(values: FloatArray, y: FloatArray, x: FloatArray) -> FloatArray:
    """Return sum(values y^i x^j) over an image, in row i and column j: up to squares, (3, 3)."""
    result: FloatArray = np.stack([y**0, y, y**2]) @ values @ np.stack([x**0, x, x**2]).T
    return result


def cell_means(data: Plane, *, cell: int, size: int | None = None) -> FloatArray:
    """Return the means of the cells of a mesh, (ceil(ny / cell), ceil(nx / cell)); NaN where little is known.

    Parameters
    ----------
    data : Plane, shape (ny, nx)
        NaN takes no part.
    cell : int
        Side of a cell in pixels.
    size : int, optional
        Side of the tiles in which the map is processed, see `hyper_py.numerics.tiles.tiles`.
    """
    shape = size_of(data)
    means = np.full(tuple(-(-n // cell) for n in shape), np.nan)

    def of_tile(where: Where) -> FloatArray:
        values = data[where]
        known = np.isfinite(values)
        count = cell_counts(known, cell)
        total = cell_sums(np.where(known, values, 0.0), cell)
        enough = count >= max(_LEAST_KNOWN * cell**2, 1.0)
        own: FloatArray = np.divide(total, count, out=np.full(count.shape, np.nan), where=enough)
        return own

    everywhere = list(tiles(shape, size=size, multiple=cell))
    for where, own in zip(everywhere, in_order(of_tile, everywhere), strict=True):
        means[tuple(slice(part.start // cell, -(-part.stop // cell)) for part in where)] = own
    return means


def fit_surface(data: Plane, *, cell: int, tolerance: float, size: int | None = None) -> Surface | None:
    """Return the smooth surface whose means over the cells of a mesh are those of a map.

    Parameters
    ----------
    data : Plane, shape (ny, nx)
        NaN takes no part.
    cell : int
        Side of a cell in pixels.
    tolerance : float
        How well the means are wanted, in the unit of the map (rms).
    size : int, optional
        As for `cell_means`.

    Returns
    -------
    Surface or None
        None with less than four cells along an axis, or none that is known.
    """
    means = cell_means(data, cell=cell, size=size)
    if min(means.shape) < _FEWEST_CELLS or not np.isfinite(means).any():
        return None
    surface = Surface(fill_nearest(means), cell)
    for _ in range(_MOST_PASSES):
        on_map = LazyPlane(size_of(data), surface.part)
        residual = cell_means(combined(np.subtract, data, on_map), cell=cell, size=size)
        known = np.isfinite(residual)
        if math.sqrt(float(np.mean(residual[known] ** 2))) <= tolerance:
            break
        surface = Surface(surface.values + np.where(known, residual, 0.0), cell)
    return surface
