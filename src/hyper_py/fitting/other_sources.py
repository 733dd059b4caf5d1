"""The light of sources on fit pixels, and which sources reach which groups."""

from collections.abc import Iterator, Sequence

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray, IndexArray, IntArray
from hyper_py.fitting.groups import Group
from hyper_py.numerics import gaussians
from hyper_py.numerics.fit_pixels import FitPixels, padded_pixels
from hyper_py.numerics.mesh import MeshMap
from hyper_py.numerics.pairs import group_pairs, pairs_within
from hyper_py.numerics.tiles import Plane, at

_MODEL_SIGMA = 6.0
"""Where a Gaussian has fallen to 1.5e-8 of its peak."""
_REACH_SIGMA = 4.0
"""Where it has fallen to 3e-4: further sources need not be fitted again when this one moves."""
_LEFT_BY_SUBTRACTION = 0.3
"""Of the light of a source, where its shape is not known well: beside one of the other sign it is not."""
_SETS_AT_ONCE = 32
"""Sets of fit pixels on which the models are drawn at once: they stay in the cache."""


def with_other_sources(groups: Sequence[Group], sources: FloatArray) -> list[Group]:
    """Return groups with the light of all other sources, of a table (n, 6), on their pixels."""
    light = models_on(sources, [g.pixels for g in groups], but=[g.members for g in groups])
    return [group.but(others=others) for group, others in zip(groups, light, strict=True)]


def sources_in_reach(groups: Sequence[Group], sources: FloatArray) -> list[IndexArray]:
    """Return for each group the sources outside it whose light reaches its pixels."""
    if not groups:
        return []
    centres = sources[:, [gaussians.X, gaussians.Y]]
    light = _REACH_SIGMA * float(sources[:, gaussians.SIGMA_1].max())
    middles, radii = _circles([group.pixels for group in groups])
    group, source = pairs_within(centres, middles, radii + light)
    shown = np.array([group.pixels.x.size > 0 for group in groups])[group]
    shown &= group_of([group.members for group in groups], len(sources))[source] != group
    return group_pairs(group[shown], source[shown], len(groups))


def group_of(partition: Sequence[IntArray], n_sources: int) -> IntArray:
    """Return the place of the group of each source; -1 for those in none."""
    owner = np.full(n_sources, -1)
    for k, members in enumerate(partition):
        owner[members] = k
    return owner


def models_on(
    sources: FloatArray, pixels: Sequence[FitPixels], *, but: Sequence[IntArray] | None = None
) -> Iterator[FloatArray]:
    """Yield the sum of all Gaussians on each set of pixels, each out to `_MODEL_SIGMA`.

    Parameters
    ----------
    sources : ndarray, shape (n, 6)
    pixels : sequence of FitPixels
    but : sequence of int ndarray, optional
        Sources that are left out, for each set of pixels.
    """
    if not pixels or not len(sources):
        yield from (np.zeros(own.y.shape) for own in pixels)
        return
    reach = _MODEL_SIGMA * sources[:, [gaussians.SIGMA_1, gaussians.SIGMA_2]].max(axis=1)
    centres = sources[:, [gaussians.X, gaussians.Y]]
    middles, radii = _circles(pixels)
    owner, found = pairs_within(centres, middles, radii + reach.max())
    kept = np.hypot(*(centres[found] - middles[owner]).T) <= radii[owner] + reach[found]
    if but is not None:
        kept &= group_of(but, len(sources))[found] != owner
    owner, found = owner[kept], found[kept]
    ends = np.searchsorted(owner, np.arange(len(pixels) + 1))
    for start in range(0, len(pixels), _SETS_AT_ONCE):
        some = pixels[start : start + _SETS_AT_ONCE]
        first, last = ends[start], ends[start + len(some)]
        rows = owner[first:last] - start
        y, x = (axis.astype(np.float64) for axis in padded_pixels(some))
        light = gaussians.gaussian_sum(sources[found[first:last], None], y[rows], x[rows])
        total = np.zeros(y.shape)
        lit, begins = np.unique(rows, return_index=True)
        total[lit] = np.add.reduceat(light, begins)
        yield from (own[: points.y.size] for own, points in zip(total, some, strict=True))


def outshines(peak: FloatArray, x: FloatArray, y: FloatArray, others: FloatArray) -> BoolArray:
    """Return which peaks are more than what the subtraction of other sources may have left there.

    Parameters
    ----------
    peak, x, y : ndarray, shape (n,)
    others : ndarray, shape (k, 6)
        Gaussians of either sign.

    Returns
    -------
    bool ndarray, shape (n,)
    """
    light, points = np.zeros(peak.shape), np.column_stack([x, y])
    if len(others):
        reach = _REACH_SIGMA * float(others[:, gaussians.SIGMA_1].max())
        place, other = pairs_within(others[:, [gaussians.X, gaussians.Y]], points, reach)
        there = gaussians.gaussian_sum(others[other, None], y[place, None], x[place, None])[:, 0]
        np.add.at(light, place, np.abs(there))
    shown: BoolArray = np.abs(peak) > _LEFT_BY_SUBTRACTION * light
    return shown


def means_on(plane: Plane, pixels: Sequence[FitPixels]) -> list[float]:
    """Return the mean of a map on each set of pixels; 1 on an empty one."""
    values: list[FloatArray] = []
    if isinstance(plane, MeshMap):
        for start in range(0, len(pixels), _SETS_AT_ONCE):
            values += list(plane.at(*padded_pixels(pixels[start : start + _SETS_AT_ONCE])))
    else:
        values = [at(plane, own.y, own.x) for own in pixels]
    return [
        float(np.mean(row[: own.y.size])) if own.y.size else 1.0
        for row, own in zip(values, pixels, strict=True)
    ]


def rms_on(rms: float | FloatArray, pixels: FitPixels) -> FloatArray:
    """Return the noise, one number or one a pixel of the map, on fit pixels."""
    return np.full(pixels.y.size, rms) if isinstance(rms, float) else at(rms, pixels.y, pixels.x)


def _circles(pixels: Sequence[FitPixels]) -> tuple[FloatArray, FloatArray]:
    """Return middles (n, 2), order x, y, and radii (n,) of circles around sets of pixels."""
    circles = np.array([own.circle for own in pixels])
    return circles[:, :2], circles[:, 2]
