"""What fits may leave of bright sources, as noise."""

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from hyper_py.arrays import BoolArray, FloatArray, IndexArray
from hyper_py.detection.field import Field
from hyper_py.numerics.gaussians import X, Y
from hyper_py.numerics.parallel import in_parts
from hyper_py.numerics.tiles import LazyPlane, Plane, Where, grown

RING_RESIDUAL, CORE_RESIDUAL = 0.03, 0.1
"""Shares of the filtered model's highest value nearby, and of the model itself, that a fit may leave."""
RING_SMOOTHING, CORE_SMOOTHING = 0.4, 0.25
"""Sigma in beams."""
BINS, PER_BEAM = 16, 4
"""Rings around bright sources: their number, and how many a beam is wide."""
FIRST_BIN = 2
FEWEST = 5
"""Rings of fewer pixels say nothing."""
EXCESS_FACTOR = 1.5
_TOGETHER = 64
"""Sources around which rings are measured in one part of the work."""


def fit_residual_noise(field: Field, model: Plane, filtered: Plane, *, near: BoolArray) -> Plane:
    """Return the noise of what fits may leave of a model.

    Parameters
    ----------
    field : Field
    model, filtered : Plane, shape (ny, nx)
        The model, and as the filter sees it.
    near : bool ndarray, odd sides
        Pixels in which the highest value is looked for.
    """
    halo = near.shape[0] // 2 + math.ceil(4 * RING_SMOOTHING * field.fwhm) + 1

    def make(rows: slice, columns: slice) -> FloatArray:
        outer, inner = grown((rows, columns), halo, field.shape)
        image, light = np.abs(filtered[outer]), np.abs(model[outer])
        if not light.any() and not image.any():
            return np.zeros(image[inner].shape)
        highest = ndimage.maximum_filter(image, footprint=near)
        rings = ndimage.gaussian_filter(highest, RING_SMOOTHING * field.fwhm)
        core = ndimage.gaussian_filter(light, CORE_SMOOTHING * field.fwhm)
        residual: FloatArray = np.hypot(RING_RESIDUAL * rings, CORE_RESIDUAL * core)
        return residual[inner]

    return LazyPlane(field.shape, make)


@dataclass(frozen=True, eq=False)
class RingNoise:
    """What is left all around some sources, in units of the noise.

    A profile that is no Gaussian leaves rings; the median on a ring sees them, and no neighbour moves it.

    Attributes
    ----------
    points : ndarray, shape (n, 2)
        Order (x, y).
    excess : ndarray, shape (n, BINS + 1)
        By distance, in rings of `PER_BEAM` a beam; the last is 0.
    fwhm : float
        Pixels.
    """

    points: FloatArray
    excess: FloatArray
    fwhm: float

    @classmethod
    def measure(cls, significance: Plane, sources: FloatArray, *, fwhm: float) -> "RingNoise":
        """Measure what is left around sources (n, 6)."""
        points, shape = sources[:, [X, Y]], (significance.shape[0], significance.shape[1])
        excess = np.zeros((len(points), BINS + 1))

        def medians(point: tuple[float, float]) -> FloatArray:
            where = square(*point, BINS / PER_BEAM * fwhm, shape)
            values = np.abs(significance[where])
            values[values == 0.0] = np.nan
            return ring_medians(values, _rings(*point, where, fwhm))

        for k, median in enumerate(in_parts(medians, [(x, y) for x, y in points], n=_TOGETHER)):
            wider = np.maximum(median, np.append(median[1:], 0.0))
            excess[k, FIRST_BIN:-1] = EXCESS_FACTOR * np.maximum(wider[FIRST_BIN:] - 1.0, 0.0)
        some = excess.any(axis=1)
        return cls(points[some], excess[some], fwhm)

    def factor(self, where: Where) -> FloatArray:
        """Return by how much the noise is larger for it, on rows and columns."""
        rows, columns = where
        residual = np.zeros((rows.stop - rows.start, columns.stop - columns.start))
        reach = BINS / PER_BEAM * self.fwhm
        (across, up), near = self.points.T, reach + 1.0
        here = (across > columns.start - near) & (across < columns.stop + near)
        here &= (up > rows.start - near) & (up < rows.stop + near)
        for (x, y), excess in zip(self.points[here], self.excess[here], strict=True):
            own = square(x, y, reach, (1 << 62, 1 << 62))
            part = tuple(
                slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(own, where, strict=True)
            )
            if part[0].start >= part[0].stop or part[1].start >= part[1].stop:
                continue
            ring = np.minimum(_rings(x, y, (part[0], part[1]), self.fwhm), BINS)
            place = tuple(
                slice(a.start - b.start, a.stop - b.start) for a, b in zip(part, where, strict=True)
            )
            np.maximum(residual[place], excess[ring], out=residual[place])
        return np.hypot(1.0, residual)


def square(x: float, y: float, reach: float, shape: tuple[int, int]) -> Where:
    """Return the rows and columns within a distance on either axis, on a map of a shape."""
    rows, columns = (
        slice(min(max(math.ceil(at - reach), 0), n), min(max(math.floor(at + reach) + 1, 0), n))
        for at, n in zip((y, x), shape, strict=True)
    )
    return rows, columns


def _rings(x: float, y: float, where: Where, fwhm: float) -> IndexArray:
    rows, columns = (np.arange(part.start, part.stop) for part in where)
    distance = np.hypot(rows[:, None] - y, columns[None, :] - x)
    rings: IndexArray = (PER_BEAM * distance / fwhm).astype(np.intp)
    return rings


def ring_medians(values: FloatArray, ring: IndexArray) -> FloatArray:
    """Return the medians of rings from `FIRST_BIN`, without NaN; 0 for fewer than `FEWEST` values.

    Parameters
    ----------
    values : ndarray, shape (ny, nx)
    ring : int ndarray, shape (ny, nx)
        Number of the ring that a pixel is in; those from `BINS` are left out.

    Returns
    -------
    ndarray, shape (BINS,)
    """
    known = np.isfinite(values) & (ring >= FIRST_BIN) & (ring < BINS)
    values, ring = values[known], ring[known]
    values = values[np.lexsort((values, ring))]
    count = np.bincount(ring, minlength=BINS)
    first, enough = np.cumsum(count) - count, count >= FEWEST
    low, high = (first[enough] + (count[enough] - odd) // 2 for odd in (1, 0))
    median = np.zeros(BINS)
    median[enough] = 0.5 * (values[low] + values[high])
    return median


def strong_sources(sources: FloatArray, filtered: FloatArray, noise: FloatArray) -> FloatArray:
    """Return the sources of which a fit may leave more than 3 sigma; values at their pixels given."""
    chosen: FloatArray = sources[CORE_RESIDUAL * np.abs(filtered) > 3.0 * noise]
    return chosen if len(sources) else sources
