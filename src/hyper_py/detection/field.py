"""The map that is searched, and what is made of it tile by tile."""

import math
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from operator import itemgetter
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from hyper_py.arrays import BoolArray, FloatArray, IndexArray
from hyper_py.detection.edges import edge_distance
from hyper_py.detection.kernels import KernelFamily
from hyper_py.detection.noise_mesh import cell_side
from hyper_py.numerics.parallel import in_order, once
from hyper_py.numerics.sending import SentOnce
from hyper_py.numerics.stored import StoredPlane, stored_plane, stored_planes
from hyper_py.numerics.tiles import (
    LazyPlane,
    Plane,
    Where,
    at,
    grown,
    number_of_tile,
    sample,
    size_of,
    tiles,
)

AnyArray: TypeAlias = NDArray[Any]
Result = TypeVar("Result")
BEAM_AREA = math.pi / (4.0 * math.log(2.0))
"""Of a Gaussian beam, in FWHM^2."""
INNER = 0.5
"""Nothing is detected closer than this many beams to a blank region."""
_CACHED_BYTES = 64_000_000
"""Parts of planes of a streamed map that are remembered, together: those of one tile, which are used more
than once. Tiles come one after another, and none again before all others."""
_TILES_READ = 8
"""Tiles of which single pixels are read in one part of the work."""
_MOST_KEPT = 6_000_000
"""Planes of the smoothed map are kept in memory for maps of at most this many pixels."""
GRAIN = 2.0**-30
"""Scaled maps are rounded to it, so that what rounding makes of other units does not grow in fits."""
FEWEST_SAMPLED, MOST_SAMPLED = 60_000, 1_000_000
"""Statistics are made of a regular grid of pixels: at least so many, and no more than give a rms to 0.1%."""


class PartCache:
    """Remembers parts of planes that are in use, the last ones used, up to a number of bytes."""

    def __init__(self, limit: float, n_planes: int = 0) -> None:
        self._limit, self._bytes, self._n_planes = limit, 0, n_planes
        self._parts: dict[tuple[int, ...], NDArray[np.generic]] = {}

    def remembered(self, make: Callable[[slice, slice], AnyArray]) -> Callable[[slice, slice], AnyArray]:
        """Return the function, which then makes the same part again only when it was forgotten."""
        plane, self._n_planes = self._n_planes, self._n_planes + 1

        def look(rows: slice, columns: slice) -> AnyArray:
            key = plane, rows.start, rows.stop, columns.start, columns.stop
            part = self._parts.pop(key, None)
            if part is None:
                part = make(rows, columns)
                self._bytes += part.nbytes
            self._parts[key] = part
            while self._bytes > self._limit and len(self._parts) > 1:
                self._drop(next(iter(self._parts)))
            return part

        # Planes of models that were replaced are not asked for again.
        weakref.finalize(look, self._forget, plane).atexit = False
        return look

    @property
    def n_bytes(self) -> int:
        """Size of all that is remembered."""
        return self._bytes

    def __reduce__(self) -> tuple[Any, ...]:
        """Have other processes begin with an empty one, in which planes keep their numbers."""
        return PartCache, (self._limit, self._n_planes)

    def _drop(self, key: tuple[int, ...]) -> None:
        part = self._parts.pop(key, None)
        self._bytes -= 0 if part is None else part.nbytes

    def _forget(self, plane: int) -> None:
        for key in [key for key in self._parts if key[0] == plane]:
            self._drop(key)


@dataclass(frozen=True, eq=False)
class Field(SentOnce):
    """A map in units of its own scatter about its median, and the kernels it is searched with.

    Attributes
    ----------
    data : Plane, shape (ny, nx)
        Blank pixels are NaN.
    family : KernelFamily
    size : int, optional
        Side of the tiles in pixels, see `hyper_py.numerics.tiles.tiles`.
    scale : float
        Of the scaled map in that of the map given.
    mean : float
        Of the map given.
    keep : bool
        Whether what is made of the map is kept in memory: it is if the map itself is there.
    step : int
        Side of the bins of a binned map.
    """

    data: Plane
    family: KernelFamily
    size: int | None
    scale: float
    mean: float
    keep: bool
    step: int = 1

    @classmethod
    def of(
        cls,
        data: Plane,
        *,
        beam_covariance: FloatArray,
        size: int | None,
        step: int = 1,
        family: KernelFamily | None = None,
    ) -> "Field | None":
        """Return the field of a map; None if that does not vary. Fields of one beam may share its kernels."""
        middle, scale, mean = once(lambda: _middle_scale_mean(sample(data, size=size)))
        if not scale > 0.0:
            return None

        def in_scatter(rows: slice, columns: slice) -> FloatArray:
            values: FloatArray = np.rint((data[rows, columns] - middle) / scale / GRAIN) * GRAIN
            return values

        scaled = LazyPlane(size_of(data), in_scatter)
        keep = isinstance(data, np.ndarray)
        plane: Plane = scaled[:, :] if keep else scaled
        field = cls(plane, family or KernelFamily(beam_covariance), size, scale, mean, keep, step)
        if not keep:
            field = replace(field, data=field.plane(scaled.make))
        # Parts of the field read them: made there, they would be made by each worker.
        _ = field._valid, field._inner
        return field

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx)."""
        return size_of(self.data)

    @property
    def fwhm(self) -> float:
        """Of the beam in pixels."""
        return self.family.fwhm

    @cached_property
    def tiles(self) -> list[Where]:
        """Rows and columns of the tiles, which begin at multiples of the cells of the noise mesh."""
        return list(tiles(self.shape, size=self.size, multiple=cell_side(self.fwhm)))

    @cached_property
    def distance(self) -> Plane:
        """Distance of each pixel from blank regions in beams."""
        return self.plane(edge_distance(self.data, fwhm=self.fwhm).make)

    @cached_property
    def cache(self) -> PartCache:
        """For parts of planes that are made where they are asked for."""
        return PartCache(math.inf if self.is_small else _CACHED_BYTES)

    @property
    def is_small(self) -> bool:
        """Whether planes of the smoothed map are kept in memory."""
        return self.keep and self.shape[0] * self.shape[1] <= _MOST_KEPT

    @cached_property
    def _valid(self) -> Callable[[Where], BoolArray]:
        # Of a streamed map a plane of its own, an eighth of what the map is to read.
        plane, data = None, self.data
        if not self.keep:
            plane = self.plane(lambda *where: np.isfinite(data[where]), dtype=np.bool_)

        def valid(where: Where) -> BoolArray:
            return np.isfinite(data[where]) if plane is None else plane[where].astype(np.bool_, copy=False)

        return valid

    def valid(self, where: Where) -> BoolArray:
        """Return which pixels are not blank."""
        return self._valid(where)

    @cached_property
    def _inner(self) -> Plane:
        distance = self.distance
        return self.plane(
            lambda *where: (self.valid(where) & (distance[where] > INNER)).astype(np.bool_), dtype=np.bool_
        )

    def inner(self, where: Where) -> BoolArray:
        """Return which pixels are far enough from edges."""
        inside: BoolArray = self._inner[where].astype(np.bool_, copy=False)
        return inside

    def plane(self, make: Callable[[slice, slice], AnyArray], *, dtype: DTypeLike = np.float64) -> Plane:
        """Return a plane of the field's shape, made tile by tile: an array, or kept in a file.

        If there is no space for the file, the plane is made where it is asked for.
        """
        if not self.keep:
            try:
                return stored_plane(self.shape, dtype, make=make, tiles=self.tiles)
            except OSError:
                return LazyPlane(self.shape, self.cache.remembered(make))
        result: AnyArray | None = None
        for where, part in self.pieces(lambda where: make(*where)):
            if result is None:
                result = np.empty(self.shape, dtype=part.dtype)
            result[where] = part
        assert result is not None
        return result

    def planes(self, make: Callable[[slice, slice], Iterable[FloatArray]], number: int) -> tuple[Plane, ...]:
        """Return planes of the field's shape that are made together, as `plane`."""
        if not self.keep:
            try:
                return stored_planes(self.shape, np.float64, number=number, make=make, tiles=self.tiles)
            except OSError:
                together = self.cache.remembered(lambda *where: np.array([*make(*where)]))
                return tuple(
                    LazyPlane(self.shape, lambda *where, k=k: together(*where)[k]) for k in range(number)
                )
        results = tuple(np.empty(self.shape) for _ in range(number))
        for where, parts in self.pieces(lambda where: [*make(*where)]):
            for result, part in zip(results, parts, strict=True):
                result[where] = part
        return results

    def derived(self, make: Callable[[slice, slice], FloatArray]) -> Plane:
        """Return a plane that follows at once from kept ones: an array, or made where it is asked for."""
        return self.plane(make) if self.keep else LazyPlane(self.shape, make)

    def pieces(self, function: Callable[[Where], Result]) -> Iterator[tuple[Where, Result]]:
        """Yield all tiles with the result of a function of each, see `hyper_py.numerics.parallel`.

        Of a small map they are made here: what is kept in its cache would be lost in other processes.
        """
        made = map(function, self.tiles) if self.is_small else in_order(function, self.tiles)
        return zip(self.tiles, made, strict=True)

    def at(self, plane: Plane, y: IndexArray, x: IndexArray) -> FloatArray:
        """Return the values of a plane of the field at pixels, shape (n,)."""
        if isinstance(plane, np.ndarray):
            return at(plane, y, x)
        values, tile = np.empty(y.size), number_of_tile(self.tiles, y, x)
        order = np.argsort(tile, kind="stable")
        ends = np.searchsorted(tile[order], np.arange(1, len(self.tiles)))
        owned = [own for own in np.split(order, ends) if own.size]
        parts = [owned[first : first + _TILES_READ] for first in range(0, len(owned), _TILES_READ)]

        def read(part: list[IndexArray]) -> list[FloatArray]:
            return [at(plane, y[own], x[own]) for own in part]

        for part, found in zip(parts, in_order(read, parts), strict=True):
            for own, some in zip(part, found, strict=True):
                values[own] = some
        return values

    def comb(self, where: Where) -> tuple[slice, slice]:
        """Return the rows and columns inside a tile that statistics are made of; the same for all tiles."""
        step = self._step
        return slice(-where[0].start % step, None, step), slice(-where[1].start % step, None, step)

    @cached_property
    def _step(self) -> int:
        area = self.shape[0] * self.shape[1]
        fine, coarse = math.floor(math.sqrt(area / FEWEST_SAMPLED)), math.ceil(math.sqrt(area / MOST_SAMPLED))
        # Pixels of a beam are correlated: closer than half a beam nothing is lost.
        return max(coarse, min(max(fine, 1), round(0.6 * self.fwhm)))

    @property
    def comb_area(self) -> int:
        """Number of pixels for one of the comb."""
        return self._step**2

    @cached_property
    def typical_distance(self) -> float:
        """Median distance from blank regions of the pixels that are far enough from them, in beams."""

        def far(where: Where) -> FloatArray:
            comb = self.comb(where)
            return self.distance[where][comb][self.inner(where)[comb]]

        known = np.concatenate([part for _, part in self.pieces(far)])
        return float(np.median(known)) if known.size else 0.0

    @cached_property
    def n_beams(self) -> float:
        """Number of beams of the pixels that are searched."""
        inner = sum(n for _, n in self.pieces(lambda where: int(np.count_nonzero(self.inner(where)))))
        return max(inner / (BEAM_AREA * self.fwhm**2), 1.0)

    @cached_property
    def _shares(self) -> Callable[[slice, slice], Iterable[FloatArray]]:
        return self._remembered(self._make_shares())

    def _make_shares(self) -> Callable[[slice, slice], Iterable[FloatArray]]:
        # Not `self`: the field would keep itself, and all that is remembered, until cycles are looked for.
        is_valid, family, shape = self._valid, self.family, self.shape

        def make(rows: slice, columns: slice) -> Iterable[FloatArray]:
            radius, where = family.radius, (rows, columns)
            outer, inner = grown(where, radius, shape)
            valid = is_valid(outer)
            whole = all(part.start >= radius for part in inner) and all(
                out.stop - part.stop >= radius for out, part in zip(outer, where, strict=True)
            )
            if whole and valid.all():
                return np.ones((family.n_planes, 1, 1))
            return map(itemgetter(inner), family.each_share(valid.astype(np.float64)))

        return make

    def smoothed(self, source: Plane, *, alone: bool = False) -> "Smoothed":
        """Return the differences of a plane on the pixels of the field that are not blank.

        Where it is the only one (`alone`), less is kept in memory.
        """
        shares = self._make_shares() if alone and self.is_small else self._shares

        def each(rows: slice, columns: slice) -> Iterator[FloatArray]:
            outer, inner = grown((rows, columns), self.family.radius, self.shape)
            values = np.where(self.valid(outer), source[outer], 0.0)
            return self.family.each_difference(values, shares(rows, columns), inner)

        return Smoothed(self._remembered(each), source)

    def _remembered(
        self, make: Callable[[slice, slice], Iterable[FloatArray]]
    ) -> Callable[[slice, slice], Iterable[FloatArray]]:
        # Where what is made of a part is kept in files, no part is asked for twice.
        if isinstance(self.data, StoredPlane):
            return make
        return self.cache.remembered(lambda *where: np.array([*make(*where)]))

    def smoothed_map(self) -> "Smoothed":
        """Return the differences of the map itself, kept in a file if the map is."""
        smoothed = self.smoothed(self.data)
        if self.keep:
            return smoothed
        planes = self.planes(lambda *where: smoothed.each(where), self.family.n_planes)
        return Smoothed(partial(_read, planes), self.data, planes)

    def nothing(self) -> "Smoothed":
        """Return the differences of a plane of zeros."""
        n = self.family.n_planes

        def make(rows: slice, columns: slice) -> FloatArray:
            return np.broadcast_to(0.0, (n, rows.stop - rows.start, columns.stop - columns.start))

        return Smoothed(make, LazyPlane(self.shape, lambda *where: make(*where)[0]))


def _read(planes: Sequence[Plane], rows: slice, columns: slice) -> Iterator[FloatArray]:
    """Yield rows and columns of planes."""
    return (plane[rows, columns] for plane in planes)


def _middle_scale_mean(known: FloatArray) -> tuple[float, float, float]:
    """Return median, scatter about it, and mean of pixels; zeros if there are none."""
    if not known.size:
        return 0.0, 0.0, 0.0
    middle = float(np.median(known))
    scale = float(np.median(np.abs(known - middle))) or float(np.abs(known - middle).mean())
    return middle, scale, float(known.mean())


@dataclass(frozen=True, eq=False)
class Smoothed:
    """The planes of a kernel family, tile by tile: `smoothed[where]` has shape (k, ny, nx).

    Attributes
    ----------
    make : callable
        Gives the planes of rows and columns, one after another.
    source : Plane, shape (ny, nx)
        What is smoothed.
    planes : tuple of Plane
        The same planes, if they are kept.
    """

    make: Callable[[slice, slice], Iterable[FloatArray]]
    source: Plane
    planes: tuple[Plane, ...] = ()

    def first(self, number: int) -> "Smoothed":
        """Return the first planes alone, if they are kept: the others' files go when nothing needs them."""
        if not self.planes:
            return self
        planes = self.planes[:number]
        return Smoothed(partial(_read, planes), self.source, planes)

    def plane(self, k: int) -> Plane:
        """Return one of the planes."""
        if self.planes:
            return self.planes[k]
        return LazyPlane(size_of(self.source), lambda *where: self[where][k])

    def each(self, where: Where) -> Iterator[FloatArray]:
        """Yield the planes of rows and columns: they need not be in memory together."""
        return iter(self.make(*where))

    def __getitem__(self, where: Where) -> FloatArray:
        found = self.make(*where)
        return found if isinstance(found, np.ndarray) else np.array([*found])
