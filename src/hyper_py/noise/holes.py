"""Holes of a map (absorption, decrements, bowls beside bright sources) and hidden sources: no noise.

Sources are masked where the noise is measured, since the detection finds them; nothing does that for holes,
nor for a bright source so close to a brighter one that only a later fit finds it. One of 1000 sigma would be
most of the variance of a small map, and faint sources would fall below errors that come from it.
"""

import math

import numpy as np
from scipy import ndimage

from hyper_py.arrays import FloatArray
from hyper_py.noise.covariance import clipped_statistics
from hyper_py.numerics.parallel import once
from hyper_py.numerics.tiles import LazyPlane, Plane, grown, kept_like, sample, size_of

HOLE_SIGMA, HIDDEN_SIGMA = 10.0, 30.0
"""Pixels this many clipped rms below and above the mean are no noise: one of 10 in 100 beams doubles the
variance. Above it, bright parts of a structured background are let be."""
HOLE_BEAMS = 1.5
"""Radius of what is left out around each of them: a beam-sized hole of 10^4 sigma is below 1 sigma there."""


def without_holes(masked: Plane, flat: Plane, *, beam_fwhm: float, size: int | None = None) -> Plane | None:
    """Return a map with its holes and hidden sources blank, or None if it has none.

    Parameters
    ----------
    masked : Plane, shape (ny, nx)
        The map; sources and blank pixels are NaN.
    flat : Plane, shape (ny, nx)
        The same less its trend, over its relative rms, so that loud regions are no holes.
    beam_fwhm : float
        In pixels.
    size : int, optional
        Side of the tiles in which the map is worked on, see `hyper_py.numerics.tiles.tiles`.

    Returns
    -------
    Plane or None
        An array if `masked` is one. Of a very large map the pixels of a regular grid tell whether it has any.
    """
    lowest, highest, has_any = once(lambda: _limits(sample(flat, size=size)))
    if not has_any:
        return None
    radius, shape = HOLE_BEAMS * beam_fwhm, size_of(masked)

    def make(rows: slice, columns: slice) -> FloatArray:
        outer, inner = grown((rows, columns), math.ceil(radius) + 1, shape)
        values, around = masked[rows, columns], flat[outer]
        outside = (around < lowest) | (around > highest)
        if not outside.any():
            return values
        hole = (ndimage.distance_transform_edt(~outside) <= radius)[inner]
        return np.where(hole, np.nan, values)

    return kept_like(LazyPlane(shape, make), masked)


def _limits(known: FloatArray) -> tuple[float, float, bool]:
    """Return the lowest and highest values of what is no hole or source, and whether there are others."""
    # A deep hole moves the plane that was fitted with it, so that the rest is not at zero.
    rest = clipped_statistics(known)
    lowest, highest = rest.mean - HOLE_SIGMA * rest.rms, rest.mean + HIDDEN_SIGMA * rest.rms
    return lowest, highest, bool(((known < lowest) | (known > highest)).any())
