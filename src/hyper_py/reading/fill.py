"""Numbers that stand for blank pixels: which they are, and what is done about them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray
from hyper_py.numerics.tiles import Plane, grown, sample, size_of, tiles

AUTO = "auto"
_ALWAYS = 1e29
"""No map has values of this size: UNSEEN of HEALPix is -1.6375e30, and 1e30 is common."""
_FEWEST = 50
"""Pixels of a value below which it is no fill."""
_RATIO = 10.0
"""By how much more often than any other value."""
_MOST = 8
"""Different fill values of one map."""
_FEWEST_LEVELS, _SAMPLES = 30, 20_000
"""A map has this many values besides, in a sample of its pixels."""
_BULK = (0.05, 0.95)
"""Quantiles: bright sources have many levels on a map of coarse digits too."""
_DIGITS = 1.5
"""Smallest steps between two values of one map."""
_CONTINUOUS = 0.25
"""Ratio of the 5% quantile to the median of the steps from a clipped value to the pixels beside it.

0.07 for half a Gaussian and for an exponential, near 1 where the map is elsewhere.
"""
_SMALL = 1e-3
"""Such a step over the 90% quantile of the map's distances from the value is near anyway."""
_STEP = 2048
_SENTINELS = frozenset(
    [-99.0, -999.0, -9999.0, -99999.0, -999999.0, -32767.0, -32768.0, -2147483648.0, -1e10, -1e20]
)
"""Numbers that by convention mean blank, also where a single pixel has them."""
_DEEP = 10.0
"""Depth of such a number below the median, over that of the darkest other pixel."""


@dataclass(frozen=True, kw_only=True)
class Fill:
    """A value that many pixels have exactly.

    Attributes
    ----------
    value : float
        In the unit of the file.
    n_pixels : int
        That have it.
    blank : bool
        Whether it is taken for blank; else the map is clipped at it, or goes to it smoothly.
    """

    value: float
    n_pixels: int
    blank: bool

    def describe(self) -> str:
        """Return what is done, and how to change it."""
        many = self.n_pixels >= _FEWEST
        who, it = ("they are", "them") if self.n_pixels > 1 else ("it is", "it")
        what = f"{'many' if many else self.n_pixels} pixel{'s are' if self.n_pixels > 1 else ' is'} exactly"
        if self.blank:
            return f"{what} {self.value:g}: {who} taken for blank (io.fill_values: [] keeps {it})"
        limit = f"{what} {self.value:g}, a limit of the map: {who} kept"
        return f"{limit} (io.fill_values: [{self.value:g}] blanks {it})"


def find_fill(
    data: Plane, *, given: Sequence[float] | str = AUTO, header_blank: float | None = None
) -> tuple[Fill, ...]:
    """Find the values of a map that stand for blank pixels.

    Such a value is that of many pixels exactly, ten times more often than any other, in places next to each
    other or every other one. Where all pixels beside it are larger, or all are smaller, and come near to it,
    the map is clipped there, and the value is one of the map's. Values beyond 1e29 are never a map's. Numbers
    that mean blank by convention, such as -999, are found however few they are, where they lie ten times as
    far below the median as the darkest other pixel.

    Parameters
    ----------
    data : Plane, shape (ny, nx)
        In the unit of the file; blank pixels are NaN.
    given : sequence of float, or "auto"
        The values; empty for none.
    header_blank : float, optional
        A value that the header calls blank.

    Returns
    -------
    tuple of Fill
        The most frequent first; empty if nothing is left of the map without them.
    """
    certain: list[float] = [] if header_blank is None or len(given) == 0 else [float(header_blank)]
    if given == AUTO:
        counts, darkest = _repeated(data)
        certain += [value for value in counts if abs(value) >= _ALWAYS]
        likely = _likely({v: n for v, n in counts.items() if v not in certain})
        candidates = certain + (likely if likely and _is_fine(data, likely + certain) else [])
        deep = _sentinels(data, darkest, others=candidates)
        certain, candidates = certain + deep, candidates + deep
    else:
        certain += [single for value in given for single in (float(value), float(np.float32(value)))]
        candidates = certain
    if not candidates:
        return ()
    values = np.array(sorted(set(candidates)))
    numbers, n_finite = _numbers(data, values)
    if numbers.sum() == n_finite:
        return ()
    found = [
        Fill(value=float(v), n_pixels=int(n), blank=v in certain or not _is_limit(data, float(v)))
        for v, n in zip(values, numbers, strict=True)
        if n
    ]
    return tuple(sorted(found, key=lambda fill: -fill.n_pixels))


def without_fill(data: FloatArray, fills: Sequence[Fill]) -> FloatArray:
    """Return a map in which fill is NaN; the map itself if there is none."""
    values = [fill.value for fill in fills if fill.blank]
    return np.where(np.isin(data, values), np.nan, data) if values else data


def _repeated(data: Plane) -> tuple[dict[float, int], set[float]]:
    """Return how many pixels of each value have the same value to their right, beside or one further.

    And the darkest values of the pieces of the map.
    """
    counts: dict[float, int] = {}
    darkest: set[float] = set()
    for where in tiles(size_of(data), size=_STEP):
        piece = data[where]
        same = np.zeros(piece.shape, dtype=np.bool_)
        for step in (1, 2):
            same[:, :-step] |= piece[:, :-step] == piece[:, step:]
        beyond = np.abs(piece) >= _ALWAYS
        same |= beyond
        darkest.add(float(np.fmin.reduce(np.where(beyond, np.nan, piece), axis=None)))
        values, numbers = np.unique(piece[same], return_counts=True)
        for value, number in zip(values.tolist(), numbers.tolist(), strict=True):
            counts[value] = counts.get(value, 0) + number
    return counts, darkest


def _sentinels(data: Plane, darkest: set[float], *, others: Sequence[float]) -> list[float]:
    """Return the numbers that mean blank by convention and lie far below the rest of the map."""
    found = (darkest & _SENTINELS) - {*others}
    lowest = next(iter(found), np.inf)
    while found and lowest in _SENTINELS:
        found.add(lowest)
        lowest = _darkest(data, without=[*found, *others])
    rest = sample(data)
    rest = rest[np.isfinite(rest) & ~np.isin(rest, [*found, *others])]
    if not found or not rest.size:
        return []
    middle = float(np.median(rest))
    return sorted(value for value in found if middle - value > _DEEP * (middle - lowest))


def _darkest(data: Plane, *, without: Sequence[float]) -> float:
    """Return the smallest value of a map that is not one of some values; infinite if there is none."""
    lowest = np.inf
    for where in tiles(size_of(data), size=_STEP):
        piece = data[where]
        kept = piece[np.isfinite(piece) & ~np.isin(piece, without)]
        lowest = min(lowest, float(kept.min(initial=np.inf)))
    return lowest


def _likely(counts: dict[float, int]) -> list[float]:
    """Return the values that stand out in number."""
    order = sorted(counts, key=lambda value: -counts[value])[: _MOST + 1]
    numbers = [counts[value] for value in order] + [0]
    clear = [
        k + 1 for k in range(min(len(order), _MOST)) if numbers[k] >= max(_FEWEST, _RATIO * numbers[k + 1])
    ]
    return order[: clear[-1]] if clear else []


def _is_fine(data: Plane, values: Sequence[float]) -> bool:
    """Return whether a map without some values has many others in its bulk: few are those of coarse digits.

    Neighbouring levels between the darkest and the brightest are digits too.
    """
    rest = sample(data)
    rest = rest[np.isfinite(rest) & ~np.isin(rest, values)]
    rest = rest[:: max(rest.size // _SAMPLES, 1)]
    if not rest.size:
        return False
    low, high = np.quantile(rest, _BULK)
    levels, bulk = np.unique(rest), rest[(rest >= low) & (rest <= high)]
    if np.unique(bulk).size < _FEWEST_LEVELS:
        return False
    inside = np.sort([value for value in values if levels[0] <= value <= levels[-1]])
    return not np.any(np.diff(inside) < _DIGITS * np.diff(levels).min())


def _numbers(data: Plane, values: FloatArray) -> tuple[FloatArray, int]:
    """Return how many pixels have each of some values, and how many are not blank."""
    numbers, n_finite = np.zeros(values.size), 0
    for where in tiles(size_of(data), size=_STEP):
        piece = data[where]
        n_finite += int(np.count_nonzero(np.isfinite(piece)))
        numbers += [np.count_nonzero(piece == value) for value in values]
    return numbers, n_finite


def _is_limit(data: Plane, value: float) -> bool:
    """Return whether the pixels beside those of a value are on one side of it, and come near to it."""
    steps = [np.empty(0)]
    for where in tiles(size_of(data), size=_STEP):
        outer, inner = grown(where, 1, size_of(data))
        piece = data[outer]
        at: BoolArray = piece == value
        beside = np.zeros(at.shape, dtype=np.bool_)
        beside[1:] |= at[:-1]
        beside[:-1] |= at[1:]
        beside[:, 1:] |= at[:, :-1]
        beside[:, :-1] |= at[:, 1:]
        chosen = (beside & ~at & np.isfinite(piece))[inner]
        steps.append(piece[inner][chosen] - value)
    all_steps = np.concatenate(steps)
    if not all_steps.size or (all_steps.min() < 0.0 < all_steps.max()):
        return False
    low, middle = np.quantile(np.abs(all_steps), [0.05, 0.5])
    rest = np.abs(sample(data) - value)
    wide = float(np.quantile(rest[rest > 0.0], 0.9))
    return bool(low < max(_CONTINUOUS * middle, _SMALL * wide))
