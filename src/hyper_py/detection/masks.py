"""Masks of sources: near points, or near bright pixels."""

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from scipy import ndimage

from hyper_py.arrays import BoolArray, FloatArray
from hyper_py.numerics.tiles import Plane, Where, grown, size_of

_DISC_PIXELS = 100_000
"""Pixels of discs that are computed at once."""


@dataclass(frozen=True, eq=False)
class SourceMask:
    """True within a radius (n,) of any of the points (n, 2), in the order (x, y)."""

    points: FloatArray
    radii: FloatArray

    def __call__(self, where: Where, *, more: float = 0.0) -> BoolArray:
        """Return the mask of rows and columns, the radii larger by `more`."""
        rows, columns = where
        mask = np.zeros((rows.stop - rows.start, columns.stop - columns.start), dtype=bool)
        for radius in np.unique(self.radii):
            reach = float(radius) + more
            near = self.points[self.radii == radius]
            inside = (near[:, 0] > columns.start - reach) & (near[:, 0] < columns.stop + reach)
            inside &= (near[:, 1] > rows.start - reach) & (near[:, 1] < rows.stop + reach)
            _add_discs(mask, near[inside] - [columns.start, rows.start], reach)
        return mask


def _add_discs(mask: BoolArray, points: FloatArray, radius: float) -> None:
    """Set a mask to True within a radius of points (n, 2), in the order (x, y)."""
    side = math.floor(2.0 * radius) + 1
    step = max(1, _DISC_PIXELS // side**2)
    for first in range(0, len(points), step):
        centres = points[first : first + step, :, None]
        pixels = np.ceil(centres - radius).astype(np.intp) + np.arange(side)
        square = (pixels - centres) ** 2
        on_map = (pixels >= 0) & (pixels < np.array([mask.shape[1], mask.shape[0]])[:, None])
        square[~on_map] = np.inf
        disc, row, column = np.nonzero(square[:, 1, :, None] + square[:, 0, None, :] <= radius**2)
        mask[pixels[disc, 1, row], pixels[disc, 0, column]] = True


@dataclass(frozen=True, eq=False)
class PixelMask:
    """True near pixels of which the absolute value exceeds a limit."""

    plane: Plane
    limit: float
    radius: float

    def __call__(self, where: Where, *, more: float = 0.0) -> BoolArray:
        """Return the mask of rows and columns, the radius larger by `more`."""
        radius = self.radius + more
        outer, inner = grown(where, math.ceil(radius) + 1, size_of(self.plane))
        high = np.abs(self.plane[outer]) > self.limit
        if not high.any():
            return high[inner]
        mask: BoolArray = (ndimage.distance_transform_edt(~high) <= radius)[inner]
        return mask


Mask: TypeAlias = PixelMask | SourceMask


@dataclass(frozen=True, eq=False)
class Masks:
    """Where a map is not noise alone: near clear sources, and near those that may be some, too."""

    sources: Mask
    faint: Mask
