"""Pairs of points within a radius, found on a grid of cells as wide as the largest; chains of points."""

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hyper_py.arrays import FloatArray, IndexArray, IntArray

RealArray: TypeAlias = NDArray[np.number]

_PLACES_AT_ONCE = 2000
_MOST_CELLS = 2000
"""Largest number of cells along an axis, however small the radius is."""


def pairs_within(points: RealArray, places: RealArray, radius: ArrayLike) -> tuple[IndexArray, IndexArray]:
    """Return which points lie within a radius of which places.

    Parameters
    ----------
    points : ndarray, shape (n, 2)
    places : ndarray, shape (m, 2)
    radius : array_like, broadcast to (m,)
        Inclusive.

    Returns
    -------
    place, point : ndarray of int, shape (k,)
        Pairs of indices, sorted by place and then by point.
    """
    radii = np.broadcast_to(np.asarray(radius, dtype=np.float64), len(places))
    if not len(points) or not len(places):
        return np.empty(0, dtype=np.intp), np.empty(0, dtype=np.intp)
    pairs = list(_pairs(np.asarray(points, dtype=np.float64), np.asarray(places, dtype=np.float64), radii))
    place, point = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    order = np.lexsort((point, place))
    return place[order], point[order]


def group_pairs(place: IndexArray, point: IndexArray, n_places: int) -> list[IndexArray]:
    """Return the pairs of `pairs_within` as one array of points for each place."""
    return np.split(point, np.searchsorted(place, np.arange(1, n_places))) if n_places else []


def friends_of_friends(
    x: ArrayLike, y: ArrayLike, *, linking_length: float, sizes: FloatArray | None = None
) -> IntArray:
    """Label groups of points that are chained by steps of at most `linking_length`.

    Parameters
    ----------
    x, y : array_like, shape (n,)
    linking_length : float
        Same unit as the positions.
    sizes : ndarray, shape (n,), optional
        The length of a step is that times the mean of the sizes at its ends.

    Returns
    -------
    ndarray of int, shape (n,)
        Group of each point, numbered from 0 in the order of the groups' first points.
    """
    points = np.column_stack([np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)])
    n = len(points)
    if n == 0:
        return np.empty(0, dtype=np.int64)
    own, other = linked_pairs(points, linking_length=linking_length, sizes=sizes)
    starts, labels = np.searchsorted(own, np.arange(n)), np.arange(n)
    while True:
        # Each takes the lowest label beside it, and that which this one's point has.
        lowest = np.minimum.reduceat(labels[other], starts)
        lowest = lowest[lowest]
        if (lowest == labels).all():
            return _in_order(labels)
        labels = lowest


def linked_pairs(
    points: FloatArray, *, linking_length: float, sizes: FloatArray | None
) -> tuple[IndexArray, IndexArray]:
    """Return the pairs of points (n, 2) that are linked, see `friends_of_friends`, sorted by the first."""
    if sizes is None:
        return pairs_within(points, points, linking_length)
    reach = 0.5 * linking_length * (sizes + sizes.max(initial=0.0))
    own, other = pairs_within(points, points, reach)
    apart = np.hypot(*(points[own] - points[other]).T)
    linked = apart <= 0.5 * linking_length * (sizes[own] + sizes[other])
    return own[linked], other[linked]


def _in_order(labels: NDArray[np.integer]) -> IntArray:
    """Renumber labels in the order of their first appearance."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(first.size, dtype=np.int64)
    rank[np.argsort(first)] = np.arange(first.size)
    result: IntArray = rank[inverse]
    return result


def _pairs(
    points: FloatArray, places: FloatArray, radii: FloatArray
) -> Iterator[tuple[IndexArray, IndexArray]]:
    """Yield pairs, for some of the places at a time."""
    low, extent = points.min(axis=0), np.ptp(points, axis=0).max()
    side = max(float(radii.max()), float(extent) / _MOST_CELLS) or 1.0
    cells = np.floor((points - low) / side).astype(np.intp)
    # Places outside the points get the cells around the grid, which are empty.
    own = np.clip(np.floor((places - low) / side), -1, cells.max(axis=0) + 1).astype(np.intp)
    columns = int(cells[:, 1].max()) + 3
    numbers = cells[:, 0] * columns + cells[:, 1]
    order = np.argsort(numbers, kind="stable")
    # The numbers of three adjacent cells are consecutive, in each of three rows.
    middles = (own[:, :1] + [-1, 0, 1]) * columns + own[:, 1:]
    first = np.searchsorted(numbers[order], middles - 1)
    counts = np.searchsorted(numbers[order], middles + 1, side="right") - first
    for start in range(0, len(places), _PLACES_AT_ONCE):
        some = slice(start, start + _PLACES_AT_ONCE)
        count = counts[some].ravel()
        place = start + np.repeat(np.arange(count.size) // 3, count)
        within = np.arange(place.size) - np.repeat(np.cumsum(count) - count, count)
        point = order[np.repeat(first[some].ravel(), count) + within]
        near = ((points[point] - places[place]) ** 2).sum(axis=1) <= radii[place] ** 2
        yield place[near], point[near]
