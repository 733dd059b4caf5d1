"""The map that is searched, and what is made of it tile by tile."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from scipy import ndimage

from hyper_py.arrays import BoolArray, FloatArray
from hyper_py.detection.edges import edge_distance
from hyper_py.detection.filter_noise import cell_side
from hyper_py.detection.kernels import KernelFamily
from hyper_py.numerics.tiles import LazyPlane, Plane, Where, blocks, grown, sample, sample_step, size_of

BEAM_AREA = math.pi / (4.0 * math.log(2.0))
"""Of a Gaussian beam, in FWHM^2."""
INNER = 0.5
"""Nothing is detected closer than this many beams to a blank region."""
_REMEMBERED = 2
"""Parts of each plane that are remembered when the whole is not kept."""
_MOST_KEPT = 6_000_000
"""Planes of the smoothed map are kept in memory for maps of at most this many pixels."""


@dataclass(frozen=True, eq=False)
class Field:
    """A map in units of its own scatter about its median, and the kernels it is searched with.

    Attributes
    ----------
    data : Plane, shape (ny, nx)
        Blank pixels are NaN.
    family : KernelFamily
    size : int, optional
        Side of the tiles in pixels, see `hyper_py.numerics.tiles.blocks`.
    unit : float
        Of the scaled map in that of the map given.
    mean : float
        Of the map given.
    keep : bool
        Whether what is made of the map is kept in memory: it is if the map itself is there.
    """

    data: Plane
    family: KernelFamily
    size: int | None
    unit: float
    mean: float
    keep: bool
    _shares: dict[tuple[int, ...], FloatArray] = field(default_factory=dict)

    @classmethod
    def of(cls, data: Plane, *, beam_covariance: FloatArray, size: int | None) -> "Field | None":
        """Return the field of a map; None if that does not vary."""
        known = sample(data, size=size)
        if not known.size:
            return None
        middle = float(np.median(known))
        unit = float(np.median(np.abs(known - middle))) or float(np.abs(known - middle).mean())
        if not unit > 0.0:
            return None
        scaled = LazyPlane(size_of(data), lambda rows, columns: (data[rows, columns] - middle) / unit)
        keep = isinstance(data, np.ndarray)
        plane: Plane = scaled[:, :] if keep else scaled
        return cls(plane, KernelFamily(beam_covariance), size, unit, float(known.mean()), keep)

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
        return list(blocks(self.shape, size=self.size, multiple=cell_side(self.fwhm)))

    @cached_property
    def distance(self) -> Plane:
        """Distance of each pixel from blank regions in beams."""
        return self.plane(edge_distance(self.data, fwhm=self.fwhm).make)

    def inner(self, where: Where) -> BoolArray:
        """Return which pixels are far enough from edges."""
        inside: BoolArray = np.isfinite(self.data[where]) & (self.distance[where] > INNER)
        return inside

    def plane(self, make: Callable[[slice, slice], FloatArray]) -> Plane:
        """Return a plane of the field's shape: an array made tile by tile, or made where it is asked for."""
        if not self.keep:
            return LazyPlane(self.shape, _remembered(make))
        result: FloatArray | None = None
        for rows, columns in self.tiles:
            part = make(rows, columns)
            if result is None:
                result = np.empty(self.shape, dtype=part.dtype)
            result[rows, columns] = part
        assert result is not None
        return result

    def comb(self, where: Where) -> tuple[slice, slice]:
        """Return the rows and columns inside a tile that statistics are made of; the same for all tiles."""
        step = sample_step(self.shape)
        return slice(-where[0].start % step, None, step), slice(-where[1].start % step, None, step)

    @property
    def comb_area(self) -> int:
        """Number of pixels for one of the comb."""
        return sample_step(self.shape) ** 2

    @cached_property
    def typical_distance(self) -> float:
        """Median distance from blank regions of the pixels that are far enough from them, in beams."""
        parts = [
            self.distance[where][self.comb(where)][self.inner(where)[self.comb(where)]]
            for where in self.tiles
        ]
        known = np.concatenate(parts)
        return float(np.median(known)) if known.size else 0.0

    @cached_property
    def n_beams(self) -> float:
        """Number of beams of the pixels that are searched."""
        inner = sum(int(np.count_nonzero(self.inner(where))) for where in self.tiles)
        return max(inner / (BEAM_AREA * self.fwhm**2), 1.0)

    def shares(self, where: Where) -> FloatArray:
        """Return the shares of the kernels on valid pixels, around a tile (see `smoothed`)."""
        key = _key(*where)
        if key not in self._shares:
            outer, inner = grown(where, self.family.radius, self.shape)
            valid = np.isfinite(self.data[outer])
            whole = all(part.start >= self.family.radius for part in inner) and all(
                out.stop - part.stop >= self.family.radius for out, part in zip(outer, where, strict=True)
            )
            if whole and valid.all():
                return np.ones((self.family.n_planes, 1, 1))
            shares = self.family.shares(valid.astype(np.float64))
            if not self._keeps_planes:
                return shares
            self._shares[key] = shares
        return self._shares[key]

    @property
    def _keeps_planes(self) -> bool:
        return self.keep and self.shape[0] * self.shape[1] <= _MOST_KEPT

    def smoothed(self, source: Plane) -> "Smoothed":
        """Return the differences of a plane on the pixels of the field that are not blank."""
        return Smoothed(self, source, {}, None if self._keeps_planes else _REMEMBERED)


@dataclass(frozen=True, eq=False)
class Smoothed:
    """The planes of a kernel family, tile by tile: `smoothed[where]` has shape (k, ny, nx)."""

    field: Field
    source: Plane
    known: dict[tuple[int, ...], FloatArray]
    most: int | None

    def __getitem__(self, where: Where) -> FloatArray:
        key = _key(*where)
        if key in self.known:
            return self.known[key]
        family = self.field.family
        outer, (rows, columns) = grown(where, family.radius, self.field.shape)
        values = np.where(np.isfinite(self.field.data[outer]), self.source[outer], 0.0)
        planes = family.differences(values, self.field.shares(where))[:, rows, columns]
        _keep(self.known, key, planes, self.most)
        return planes


def _key(rows: slice, columns: slice) -> tuple[int, ...]:
    return rows.start, rows.stop, columns.start, columns.stop


def _keep(
    known: dict[tuple[int, ...], FloatArray], key: tuple[int, ...], values: FloatArray, most: int | None
) -> None:
    """Remember values, and forget the oldest if there are too many."""
    known[key] = values
    if most is not None and len(known) > most:
        del known[next(iter(known))]


def _remembered(make: Callable[[slice, slice], FloatArray]) -> Callable[[slice, slice], FloatArray]:
    """Return the function, which then makes the same part twice running only once."""
    known: dict[tuple[int, ...], FloatArray] = {}

    def look(rows: slice, columns: slice) -> FloatArray:
        key = _key(rows, columns)
        if key not in known:
            _keep(known, key, make(rows, columns), _REMEMBERED)
        return known[key]

    return look


@dataclass(frozen=True, eq=False)
class SourceMask:
    """True within a radius (n,) of any of the points (n, 2), in the order (x, y)."""

    points: FloatArray
    radii: FloatArray

    def __call__(self, where: Where, *, more: float = 0.0) -> BoolArray:
        """Return the mask of rows and columns, the radii larger by `more`."""
        rows, columns = where
        mask = np.zeros((rows.stop - rows.start, columns.stop - columns.start), dtype=bool)
        for radius in np.unique(self.radii):
            reach = float(radius) + more
            near = self.points[self.radii == radius]
            inside = (near[:, 0] > columns.start - reach) & (near[:, 0] < columns.stop + reach)
            inside &= (near[:, 1] > rows.start - reach) & (near[:, 1] < rows.stop + reach)
            _add_discs(mask, near[inside] - [columns.start, rows.start], reach)
        return mask


def _add_discs(mask: BoolArray, points: FloatArray, radius: float) -> None:
    half = math.ceil(radius)
    dy, dx = (d.ravel() for d in np.mgrid[-half : half + 1, -half : half + 1])
    for x, y in points:
        row, column = round(float(y)), round(float(x))
        own = (row + dy - y) ** 2 + (column + dx - x) ** 2 <= radius**2
        ys, xs = row + dy[own], column + dx[own]
        inside = (ys >= 0) & (ys < mask.shape[0]) & (xs >= 0) & (xs < mask.shape[1])
        mask[ys[inside], xs[inside]] = True


@dataclass(frozen=True, eq=False)
class PixelMask:
    """True near pixels of which the absolute value exceeds a limit."""

    plane: Plane
    limit: float
    radius: float

    def __call__(self, where: Where, *, more: float = 0.0) -> BoolArray:
        """Return the mask of rows and columns, the radius larger by `more`."""
        radius = self.radius + more
        outer, inner = grown(where, math.ceil(radius) + 1, size_of(self.plane))
        high = np.abs(self.plane[outer]) > self.limit
        if not high.any():
            return high[inner]
        mask: BoolArray = (ndimage.distance_transform_edt(~high) <= radius)[inner]
        return mask
