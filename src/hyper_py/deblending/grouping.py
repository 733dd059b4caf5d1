"""Which sources must be measured together."""

import numpy as np

from hyper_py.arrays import FloatArray, IntArray
from hyper_py.numerics.pairs import friends_of_friends

LINKING_BEAMS = 1.6
"""Sources farther from each other need no common fit in correlated noise: the iterative fit is enough."""
LARGEST_EXTENT_BEAMS = 8.5
"""Larger groups are fitted piecewise: their fit pixels must fit into the reach of the covariance."""
_WIDE_BEAMS = 2.2
"""Sources wider than this have larger fit pixels, and links to their neighbours."""
_LARGEST_GROUP = 40
"""Larger groups are fitted piecewise: the cost of a group grows with the cube of its size.

That is not for the better: pieces of a blend cannot separate one another's light from the background.
"""
_SHRINK = 0.8


def members(labels: IntArray) -> list[IntArray]:
    """Return the indices of each group's points, group after group."""
    if labels.size == 0:
        return []
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


def partition_groups(
    x: FloatArray,
    y: FloatArray,
    *,
    linking_length: float,
    max_size: int,
    min_length: float,
    max_extent: float = np.inf,
    sizes: FloatArray | None = None,
    margins: FloatArray | None = None,
) -> list[IntArray]:
    """Cut the groups of linked points into groups of at most `max_size` that are fitted together.

    A group that is too large is cut where its chains are longest, by shrinking the linking length, so that
    the closest neighbours stay together; clumps still too large at `min_length`, and what is too wide, are
    cut in two across their longer side.

    Parameters
    ----------
    x, y : ndarray, shape (n,)
    linking_length : float
        That of the linked points.
    max_size : int
        Largest number of points in a group that is fitted.
    min_length : float
        Linking length below which shrinking stops.
    max_extent : float
        Largest extent of such a group in x or y.
    sizes : ndarray, shape (n,), optional
        See `friends_of_friends`.
    margins : ndarray, shape (n,), optional
        The extent is that of squares around the points, which reach out so far.

    Returns
    -------
    list of ndarray
        Indices of each group, ascending; the groups are in the order of their first points.
    """
    groups: list[IntArray] = []
    around = np.zeros(x.shape) if margins is None else margins
    labels = friends_of_friends(x, y, linking_length=linking_length, sizes=sizes)
    waiting = [(group, linking_length) for group in members(labels)]
    while waiting:
        group, length = waiting.pop()
        own = around[group]
        extent = max((axis[group] + own).max() - (axis[group] - own).min() for axis in (x, y))
        if group.size == 1 or (group.size <= max_size and extent <= max_extent):
            groups.append(group)
            continue
        if extent <= max_extent and _SHRINK * length >= min_length:
            length *= _SHRINK
            some = None if sizes is None else sizes[group]
            labels = friends_of_friends(x[group], y[group], linking_length=length, sizes=some)
            waiting.extend((group[part], length) for part in members(labels))
        else:
            waiting.extend((part, length) for part in _halves(group, x, y))
    return sorted(groups, key=lambda group: int(group[0]))


def partition_correlated(
    x: FloatArray, y: FloatArray, *, beam_fwhm: float, widths: FloatArray | None = None
) -> list[IntArray]:
    """Return which sources are fitted together in correlated noise; see `partition_groups`.

    Parameters
    ----------
    x, y : ndarray, shape (n,)
        Pixels.
    beam_fwhm : float
    widths : ndarray, shape (n,), optional
        FWHM of the sources in pixels; that of the beam if not given.
    """
    sizes = linking_sizes(np.full(x.shape, beam_fwhm) if widths is None else widths, beam_fwhm=beam_fwhm)
    # The fit pixels of a wide source reach further out, and must fit in as well.
    return partition_groups(
        x, y, linking_length=LINKING_BEAMS * beam_fwhm, max_size=_LARGEST_GROUP,
        min_length=0.5 * beam_fwhm, max_extent=LARGEST_EXTENT_BEAMS * beam_fwhm, sizes=sizes,
        margins=0.5 * beam_fwhm * (sizes - 1.0),
    )  # fmt: skip


def linking_sizes(widths: FloatArray, *, beam_fwhm: float) -> FloatArray:
    """Return sizes for `friends_of_friends`: 1 for compact sources, the FWHM in beams of wide ones."""
    beams = widths / beam_fwhm
    sizes: FloatArray = np.where(beams > _WIDE_BEAMS, beams, 1.0)
    return sizes


def _halves(group: IntArray, x: FloatArray, y: FloatArray) -> list[IntArray]:
    """Cut a group in two across its longer side, at the widest gap of the middle half."""
    axis = x[group] if np.ptp(x[group]) > np.ptp(y[group]) else y[group]
    order = np.lexsort((group, axis))
    first = group.size // 4
    gaps = np.diff(axis[order])[first : max(first + 1, group.size - 1 - first)]
    cut = first + 1 + int(np.argmax(gaps))
    return [np.sort(group[part]) for part in (order[:cut], order[cut:])]
