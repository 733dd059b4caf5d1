"""Local maxima of a plane, tile by tile."""

from typing import NamedTuple

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray, IndexArray, IntArray
from hyper_py.detection.field import Field
from hyper_py.detection.peaks import local_maxima, peak_heights, refine_positions
from hyper_py.numerics.tiles import LazyPlane, Plane, Where, grown, is_inside

SEPARATION = 0.6
"""Peaks closer than this many beams are one."""
LOWEST_PIXEL = 0.8
"""The highest pixel of a peak has at least this share of its height, even where the beam has two pixels."""


class Maxima(NamedTuple):
    """Local maxima: pixels and values, shape (n,) each, in the order of the pixels."""

    y: IndexArray
    x: IndexArray
    value: FloatArray

    @property
    def points(self) -> FloatArray:
        """Positions (n, 2), order (x, y)."""
        return np.column_stack([self.x, self.y]).astype(np.float64)

    def select(self, index: BoolArray | IndexArray) -> "Maxima":
        """Return some of them."""
        return Maxima(self.y[index], self.x[index], self.value[index])


def neighbourhood(radius: float) -> BoolArray:
    """Return a disc as a footprint; at least the 3 x 3 pixels around the centre."""
    half = max(int(radius), 1)
    rows, columns = np.mgrid[-half : half + 1, -half : half + 1]
    inside: BoolArray = (rows**2 + columns**2 <= radius**2) | (np.maximum(abs(rows), abs(columns)) <= 1)
    return inside


def find_maxima(field: Field, plane: Plane, *, threshold: float, radius: float | None = None) -> Maxima:
    """Return the pixels above a threshold that none within a radius (0.6 beams if None) exceeds."""
    near = neighbourhood(radius or SEPARATION * field.fwhm)

    def in_tile(where: Where) -> tuple[IntArray, IntArray, FloatArray]:
        outer, _ = grown(where, near.shape[0] // 2 + 1, field.shape)
        image = plane[outer]
        y, x = local_maxima(image, footprint=near, threshold=threshold)
        own = is_inside(where, y + outer[0].start, x + outer[1].start)
        return y[own] + outer[0].start, x[own] + outer[1].start, image[y[own], x[own]]

    pieces = [piece for _, piece in field.pieces(in_tile)]
    y, x, value = (np.concatenate(part) for part in zip(*pieces, strict=True))
    return Maxima(y, x, value).select(np.lexsort((x, y)))


def negative(plane: Plane, shape: tuple[int, int]) -> LazyPlane:
    """Return a plane times -1."""
    return LazyPlane(shape, lambda rows, columns: -plane[rows, columns])


def between_pixels(field: Field, plane: Plane, peaks: Maxima) -> Maxima:
    """Return maxima with their heights between pixels; at edges, those of their pixels."""
    heights = np.empty(peaks.x.size)

    def of_tile(where: Where) -> FloatArray:
        own = is_inside(where, peaks.y, peaks.x)
        outer, _ = grown(where, 1, field.shape)
        image = np.where(field.inner(outer), plane[outer], np.nan)
        return peak_heights(image, x=peaks.x[own] - outer[1].start, y=peaks.y[own] - outer[0].start)

    for where, found in field.pieces(of_tile):
        heights[is_inside(where, peaks.y, peaks.x)] = found
    return peaks._replace(value=heights)


def refined(field: Field, plane: Plane, peaks: Maxima) -> FloatArray:
    """Return positions of maxima below the pixel, (n, 2)."""
    points = np.empty((peaks.x.size, 2))

    def of_tile(where: Where) -> FloatArray:
        own = is_inside(where, peaks.y, peaks.x)
        (rows, columns), _ = grown(where, 1, field.shape)
        x, y = refine_positions(
            plane[rows, columns], x=peaks.x[own] - columns.start, y=peaks.y[own] - rows.start
        )
        return np.column_stack([x + columns.start, y + rows.start])

    for where, found in field.pieces(of_tile):
        points[is_inside(where, peaks.y, peaks.x)] = found
    return points
