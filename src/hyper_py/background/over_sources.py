"""A map with its sources replaced by a smooth surface."""

from functools import cache

import numpy as np

from hyper_py.arrays import FloatArray
from hyper_py.noise.measure import outside_sources
from hyper_py.numerics import gaussians
from hyper_py.numerics.interpolation import interpolate_masked
from hyper_py.numerics.pairs import friends_of_friends
from hyper_py.numerics.tiles import LazyPlane, Plane, grown, kept_like, sample, size_of


def over_sources(data: Plane, sources: FloatArray, *, n_sigma: float) -> Plane:
    """Return a map with the footprints of sources (n, 6) interpolated; blank pixels stay so.

    Footprints that touch are one region: it is interpolated as a whole wherever a part of it is wanted. An
    array if the map is one.
    """
    shape, placed = size_of(data), gaussians.SourcesByPlace(sources, n_sigma=n_sigma)
    first, last = _regions(sources, n_sigma=n_sigma)

    @cache
    def level() -> float:
        known = sample(outside_sources(data, sources, n_sigma=n_sigma))
        return float(np.median(known)) if known.size else np.nan

    def make(rows: slice, columns: slice) -> FloatArray:
        own = placed.indices((rows, columns))
        low = np.floor(first[own].min(axis=0, initial=np.inf))
        high = np.ceil(last[own].max(axis=0, initial=-np.inf)) + 1.0
        region = [
            slice(int(min(part.start, start)), int(max(part.stop, stop)))
            for part, start, stop in zip((rows, columns), low, high, strict=True)
        ]
        (top, left), _ = grown((region[0], region[1]), 1, shape)
        values = data[top, left]
        filled = interpolate_masked(values, placed.footprints((top, left)), level=level)
        filled[~np.isfinite(values)] = np.nan
        y, x = rows.start - top.start, columns.start - left.start
        return filled[y : y + rows.stop - rows.start, x : x + columns.stop - columns.start]

    return kept_like(LazyPlane(shape, make), data)


def _regions(sources: FloatArray, *, n_sigma: float) -> tuple[FloatArray, FloatArray]:
    """Return the first and last coordinates (n, 2), order (y, x), of the region of each source."""
    reach = n_sigma * sources[:, gaussians.SIGMA_1 : gaussians.SIGMA_2 + 1].max(axis=1, initial=0.0) + 1.0
    centres = sources[:, [gaussians.Y, gaussians.X]]
    labels = friends_of_friends(*centres.T, linking_length=1.0, sizes=2.0 * reach)
    first, last = np.full(centres.shape, np.inf), np.full(centres.shape, -np.inf)
    np.minimum.at(first, labels, centres - reach[:, None])
    np.maximum.at(last, labels, centres + reach[:, None])
    return first[labels], last[labels]
