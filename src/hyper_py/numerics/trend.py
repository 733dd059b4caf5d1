"""The plane through a map by least squares."""

from dataclasses import dataclass

import numpy as np

from hyper_py.arrays import FloatArray, IntArray
from hyper_py.numerics.tiles import LazyPlane, Plane, blocks, combined, sample_step, size_of

_BLOCK = 200
"""Side of blocks in pixels: what is made of one stays in the cache."""


@dataclass(frozen=True, kw_only=True)
class Trend:
    """A plane: value = constant + slope_y y + slope_x x, in zero-based pixels."""

    constant: float = 0.0
    slope_y: float = 0.0
    slope_x: float = 0.0

    def at(self, y: FloatArray | IntArray, x: FloatArray | IntArray) -> FloatArray:
        """Return the values at positions, which are broadcast together."""
        values: FloatArray = self.constant + self.slope_y * y + self.slope_x * x
        return values

    def plane(self, shape: tuple[int, int]) -> LazyPlane:
        """Return the plane itself on a map of (ny, nx)."""
        return LazyPlane(
            shape,
            lambda rows, columns: self.at(
                np.arange(rows.start, rows.stop)[:, None], np.arange(columns.start, columns.stop)
            ),
        )

    def taken_off(self, data: Plane) -> Plane:
        """Return a map without the plane: an array if it is one."""
        if not isinstance(data, np.ndarray):
            return combined(np.subtract, data, self.plane(size_of(data)))
        left = np.empty(data.shape)  # block by block, for the sake of memory
        for where in blocks(data.shape):
            left[where] = data[where] - self.plane(size_of(data))[where]
        return left


def fit_trend(data: Plane, *, level: Plane, size: int | None = None) -> Trend:
    """Fit a plane to a map by least squares; what cannot be told of it is zero.

    Weights are the inverse squared noise level, or bright regions would decide what is taken off quiet ones.
    A part that is proportional to the level is fitted along, and not taken for the plane: cirrus fluctuates
    as much as it is bright.

    Parameters
    ----------
    data : Plane, shape (ny, nx)
        Map; pixels not to be used, such as those of sources, are NaN. Of a very large one a regular comb
        is taken.
    level : Plane, shape (ny, nx)
        Noise over its median.
    size : int, optional
        Side of the blocks in which the map is worked on, see `hyper_py.numerics.tiles.blocks`.

    Returns
    -------
    Trend
    """
    ny, nx = shape = size_of(data)
    step = sample_step(shape)
    normal, right = np.zeros((4, 4)), np.zeros(4)
    for rows, columns in blocks(shape, size=_BLOCK if size is None else size):
        comb = slice(-rows.start % step, None, step), slice(-columns.start % step, None, step)
        values, noise = data[rows, columns][comb], level[rows, columns][comb]
        known = np.isfinite(values)
        values, noise = np.where(known, values, 0.0), np.where(known, noise, 1.0)
        # The level over its median, so that an even one has no part.
        weight, excess = known / noise**2, noise - 1.0
        # From -1 to 1 over the map, for the sake of the numbers.
        y = (2.0 * np.arange(rows.start + comb[0].start, rows.stop, step) - (ny - 1)) / max(ny - 1, 1)
        x = (2.0 * np.arange(columns.start + comb[1].start, columns.stop, step) - (nx - 1)) / max(nx - 1, 1)
        (one, of_x, of_xx), (of_y, of_xy, _), (of_yy, _, _) = _moments(weight, y, x)
        (part, part_x, _), (part_y, _, _), _ = _moments(weight * excess, y, x)
        (value, value_x, _), (value_y, _, _), _ = _moments(weight * values, y, x)
        normal += [
            [one, of_y, of_x, part],
            [of_y, of_yy, of_xy, part_y],
            [of_x, of_xy, of_xx, part_x],
            [part, part_y, part_x, np.vdot(weight * excess, excess)],
        ]
        right += [value, value_y, value_x, np.vdot(weight * excess, values)]
    constant, along_y, along_x, by_level = np.linalg.lstsq(normal, right, rcond=1e-10)[0]
    return Trend(
        constant=float(constant - by_level - along_y - along_x),
        slope_y=float(2.0 * along_y / max(ny - 1, 1)),
        slope_x=float(2.0 * along_x / max(nx - 1, 1)),
    )


def _moments(values: FloatArray, y: FloatArray, x: FloatArray) -> FloatArray:
    """Return sum(values y^i x^j) over an image, in row i and column j: up to squares, (3, 3)."""
    result: FloatArray = np.stack([y**0, y, y**2]) @ values @ np.stack([x**0, x, x**2]).T
    return result
