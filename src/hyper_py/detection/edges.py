"""Distance from the regions that a map does not cover."""

import math

import numpy as np
from scipy import ndimage

from hyper_py.arrays import BoolArray, FloatArray
from hyper_py.numerics.tiles import LazyPlane, Plane, grown, size_of

FARTHEST = 5.0
"""Distances in beams are cut here: edges matter no farther."""
LEAST_RADIUS = 0.5
"""Blanks into which no disc of this radius in beams fits (pixels, lines, checkerboards) are no edge."""


def edge_distance(data: Plane, *, fwhm: float) -> LazyPlane:
    """Return the distance of each pixel from the nearest blank region or the border, in beams.

    Parameters
    ----------
    data : Plane, shape (ny, nx)
        Blank pixels are NaN.
    fwhm : float
        Of the beam in pixels.

    Returns
    -------
    LazyPlane, shape (ny, nx)
        At most `FARTHEST`; 0 on blank pixels inside a region.
    """
    shape, radius = size_of(data), max(LEAST_RADIUS * fwhm, 1.0)
    halo = math.ceil(FARTHEST * fwhm) + 2 * math.ceil(radius) + 2

    def make(rows: slice, columns: slice) -> FloatArray:
        outer, inner = grown((rows, columns), halo, shape)
        # The border of the map is an edge, that of a tile is not: its halo reaches beyond what counts.
        ends = [(part.start == 0, part.stop == n) for part, n in zip(outer, shape, strict=True)]
        pad = [tuple(halo * int(end) for end in pair) for pair in ends]
        blank = np.pad(~np.isfinite(data[outer]), pad, constant_values=True)
        inside = tuple(
            slice(part.start + before, part.stop + before)
            for part, (before, _) in zip(inner, pad, strict=True)
        )
        if not blank.any():
            return np.full(blank[inside].shape, FARTHEST)
        covered = ~_opened(blank, radius)
        distance = (
            ndimage.distance_transform_edt(covered) if not covered.all() else np.full(blank.shape, np.inf)
        )
        result: FloatArray = np.minimum(distance[inside] / fwhm, FARTHEST)
        return result

    return LazyPlane(shape, make)


def _opened(mask: BoolArray, radius: float) -> BoolArray:
    """Return the part of a mask that discs of a radius inside it cover; beyond its border it goes on."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1, mode="edge"))[1:-1, 1:-1]
    core = depth > radius
    if not core.any():
        return np.zeros(mask.shape, dtype=bool)
    away: FloatArray = ndimage.distance_transform_edt(~core)
    opened: BoolArray = np.logical_and(away <= radius, mask)
    return opened
