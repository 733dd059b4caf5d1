"""The noise of a filtered map: a mesh, a factor near edges, a factor where the map is bright."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage, special

from hyper_py.arrays import BoolArray, FloatArray, IndexArray, IntArray
from hyper_py.numerics.mesh import MeshMap, mesh_map
from hyper_py.numerics.tiles import Where

MAD_TO_RMS = 1.4826
CELL_BEAMS = 5.0
"""Side of a cell of the mesh in beams; 3 x 3 cells make one level."""
LEAST_SHARE = 0.15
"""A cell needs this share of its pixels free of sources and blanks."""
LOUD, LOUD_BEAMS = 3.0, 2.5
"""Noise that is so much louder than the mesh says within this radius in beams is followed there."""
LOUD_LARGE, LOUD_AREA = 2.0, 40.0
"""This is enough in regions of at least so many square beams; they reach up to their rims."""
LOUD_SHARE = 0.4
"""Share of that circle's square that must be free of sources and blanks."""
TAIL, CROWD = 0.05, 2.0
"""Peaks and holes are compared at this quantile from either end; higher peaks by this factor are sources."""
_UPPER_QUARTILE = 1.1503
"""Of the absolute value of a normal deviate."""
EDGE_BINS = np.array([0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.5])
BRIGHTNESS_QUANTILES = (0.0, 0.25, 0.5, 0.75, 0.9, 0.97, 0.99, 1.0)
FEWEST_IN_BIN = 100.0
"""Beams that a bin of brightness needs."""

TAIL_BEAMS, TAIL_SHARE = 5.0, 0.02
LARGEST_BRIGHTNESS_FACTOR, LARGEST_HOLE_FACTOR = 1.5, 4.0
"""Cirrus fluctuates more where it is bright; more than the first is sources, unless holes are as deep."""
_OUTLIER_SIGMA = 6.0
"""Values beyond this many sigma are no noise."""


@dataclass(frozen=True, eq=False)
class Curve:
    """A factor as a function of some quantity, linear between points and constant beyond them."""

    at: FloatArray
    factor: FloatArray

    def __call__(self, values: FloatArray) -> FloatArray:
        """Return the factor at values of any shape."""
        if (self.factor == self.factor[0]).all():
            return np.full(np.shape(values), self.factor[0])
        result: FloatArray = np.interp(values, self.at, self.factor)
        return result


NO_CURVE = Curve(np.zeros(1), np.ones(1))


@dataclass(frozen=True, eq=False)
class FilterNoise:
    """Rms of a filtered map at each pixel.

    Attributes
    ----------
    mesh : MeshMap
        Far from edges, at typical brightness.
    loud : MeshMap
        Factor where the noise rises within less than a cell of the mesh, else 1.
    edge : Curve
        Factor as a function of the distance from a blank region in beams.
    brightness : Curve
        Factor as a function of the brightness of the background, see `BRIGHTNESS_QUANTILES`.
    """

    mesh: MeshMap
    loud: MeshMap
    edge: Curve = NO_CURVE
    brightness: Curve = NO_CURVE

    def at(self, where: Where, *, distance: FloatArray, brightness: FloatArray | None = None) -> FloatArray:
        """Return the rms of a part of the map; without a brightness that at a typical one."""
        noise = self.mesh_rms(where) * self.edge(distance)
        return noise if brightness is None else noise * self.brightness(brightness)

    def mesh_rms(self, where: Where) -> FloatArray:
        """Return mesh and loud regions alone."""
        rms: FloatArray = self.mesh[where] * self.loud[where]
        return rms

    def at_pixels(
        self, y: IntArray, x: IntArray, *, distance: FloatArray, brightness: FloatArray | None = None
    ) -> FloatArray:
        """Return the rms of pixels (n,); without a brightness that at a typical one."""
        noise: FloatArray = self.mesh.at(y, x) * self.loud.at(y, x) * self.edge(distance)
        return noise if brightness is None else noise * self.brightness(brightness)


class MeshGatherer:
    """Scatter of a filtered map in the cells of a mesh, tile by tile.

    Parameters
    ----------
    shape : (ny, nx)
    fwhm : float
        Of the beam in pixels.
    """

    def __init__(self, shape: tuple[int, int], *, fwhm: float) -> None:
        self.shape, self.cell = shape, cell_side(fwhm)
        cells = tuple(-(-n // self.cell) for n in shape)
        self._rms, self._count = np.full(cells, np.nan), np.zeros(cells)

    def __getstate__(self) -> dict[str, Any]:
        """Have other processes, which look at single tiles, begin with nothing."""
        return {key: value for key, value in vars(self).items() if key not in ("_rms", "_count")}

    def add(self, where: Where, filtered: FloatArray, usable: BoolArray, valid: BoolArray) -> None:
        """Add a tile that begins at a multiple of the cell."""
        self.put(where, self.cells(filtered, usable, valid))

    def cells(
        self, filtered: FloatArray, usable: BoolArray, valid: BoolArray
    ) -> tuple[FloatArray, FloatArray]:
        """Return rms and number of pixels in the cells of a tile."""
        values = _by_cell(np.where(usable, filtered, np.nan), self.cell)
        count = np.isfinite(values).sum(axis=-1)
        view = (_by_cell(np.where(valid, 1.0, np.nan), self.cell) == 1.0).sum(axis=-1)
        # About 0, which a filtered map has for its mean: a cell's own median would follow its few beams.
        rms = MAD_TO_RMS * _medians(np.abs(values), count)
        enough = count > np.maximum(30, LEAST_SHARE * view)
        return np.where(enough & (rms > 0.0), rms, np.nan), np.where(enough, count, 0.0)

    def put(self, where: Where, cells: tuple[FloatArray, FloatArray]) -> None:
        """Put the cells of a tile in their place."""
        place = tuple(slice(part.start // self.cell, -(-part.stop // self.cell)) for part in where)
        self._rms[place], self._count[place] = cells

    def mesh_rms(self, *, otherwise: Callable[[], float]) -> MeshMap:
        """Return the local rms, as far as it can be told from one that is the same everywhere.

        Where nothing is known it is `otherwise()` everywhere.

        Neighbouring cells differ by the error of their estimates; the scatter of the levels beyond what
        that error explains is real. The logarithm is drawn to its mean by the share that is not.
        """
        known = np.isfinite(self._rms)
        if not known.any():
            return MeshMap(np.full((1, 1), otherwise()), max(self.shape), self.shape)
        logarithm = np.where(known, np.log(np.where(known, self._rms, 1.0)), 0.0)
        weight = ndimage.uniform_filter(self._count, 3, mode="nearest")
        mean = ndimage.uniform_filter(self._count * logarithm, 3, mode="nearest")
        values = np.divide(mean, weight, out=np.full(mean.shape, np.nan), where=weight > 0.0)
        view = values[known]
        middle = float(np.median(view))
        trust = 1.0
        if view.size >= 9:
            error = _error_variance(np.where(known, logarithm, np.nan)) / 9.0
            scatter = float(np.var(view))
            trust = max(0.0, 1.0 - error / scatter) if scatter > 0.0 else 0.0
        return mesh_map(np.exp(middle + trust * (values - middle)), mesh=self.cell, shape=self.shape)


class LoudRegions:
    """Finds where the noise is much louder than a mesh says, tile by tile.

    Parameters
    ----------
    shape : (ny, nx)
    fwhm : float
        Of the beam in pixels.
    """

    def __init__(self, shape: tuple[int, int], *, fwhm: float) -> None:
        self.shape, self._fwhm, self._step = shape, fwhm, max(1, round(0.5 * fwhm))
        self._half = max(2, round(LOUD_BEAMS * fwhm / self._step))
        self._values = np.full(tuple(-(-n // self._step) for n in shape), np.nan, dtype=np.float32)

    def __getstate__(self) -> dict[str, Any]:
        """Have other processes, which look at single tiles, begin with nothing."""
        return {key: value for key, value in vars(self).items() if key != "_values"}

    def add(self, where: Where, ratio: FloatArray, usable: BoolArray) -> None:
        """Add a tile: filtered map over mesh."""
        self.put(where, self.combed(where, ratio, usable))

    def combed(self, where: Where, ratio: FloatArray, usable: BoolArray) -> FloatArray:
        """Return the values of a tile that are looked at."""
        comb = tuple(slice(-part.start % self._step, None, self._step) for part in where)
        return np.where(usable, ratio, np.nan)[comb]

    def put(self, where: Where, values: FloatArray) -> None:
        """Put the values of a tile in their place."""
        place = tuple(slice(-(-part.start // self._step), -(-part.stop // self._step)) for part in where)
        self._values[place] = values

    def factor(self) -> MeshMap:
        """Return how much louder it is: the upper quartile of the moduli within `LOUD_BEAMS`, above `LOUD`.

        Above `LOUD_LARGE` in regions that are large. Noise has holes as deep as its peaks are high; where
        peaks are much higher there is a crowd of sources, not loud noise.
        """
        side, mesh = 2 * self._half + 1, 2 * self._step
        is_loud = np.abs(self._values) > LOUD_LARGE * _UPPER_QUARTILE
        if not is_loud.any():
            return MeshMap(np.ones((1, 1)), max(self.shape), self.shape)
        rows, columns = (
            np.minimum(2 * np.arange(-(-n // mesh)) + 1, m - 1)
            for n, m in zip(self.shape, is_loud.shape, strict=True)
        )
        loud, count = (
            _window_sums(chosen, self._half, rows, columns) for chosen in (is_loud, np.isfinite(self._values))
        )
        # A window of which less than a quarter is loud is not loud.
        likely = (loud >= np.maximum(0.25 * count, 1.0)) & (count >= LOUD_SHARE * side**2)
        padded = np.pad(self._values, self._half, mode="symmetric")
        squares = np.lib.stride_tricks.sliding_window_view(padded, (side, side))
        factor = np.ones(likely.shape)
        for k in np.flatnonzero(likely.any(axis=1)):
            own = squares[rows[k], columns[likely[k]]].reshape(-1, side**2)
            number = count[k, likely[k]]
            upper = _ranked(np.abs(own), 0.75 * number) / _UPPER_QUARTILE
            highest, deepest = _ranked(own, (1.0 - TAIL) * number), -_ranked(own, TAIL * number)
            is_noise = (upper > LOUD_LARGE) & (highest <= CROWD * deepest)
            factor[k, likely[k]] = np.where(is_noise, upper, 1.0)
        return MeshMap(self._up_to_rims(factor, mesh), mesh, self.shape)

    def _up_to_rims(self, factor: FloatArray, mesh: int) -> FloatArray:
        """Return the factors with those of large regions carried to their rims.

        A window across a rim is quieter than the region. Small regions may be crowds of sources.
        """
        regions, number = ndimage.label(factor > 1.0, np.ones((3, 3)))
        area = np.bincount(regions.ravel(), minlength=number + 1) * (mesh / self._fwhm) ** 2
        large = (area >= LOUD_AREA) & (np.arange(number + 1) > 0)
        side = 2 * max(1, round(0.5 * LOUD_BEAMS * self._fwhm / mesh)) + 1
        carried = ndimage.maximum_filter(np.where(large[regions], factor, 1.0), side)
        result: FloatArray = np.maximum(np.where(factor > LOUD, factor, 1.0), carried)
        return result


def _window_sums(chosen: BoolArray, half: int, rows: IntArray, columns: IntArray) -> FloatArray:
    """Return how many are True in the squares of this half side around rows and columns, (n, m).

    The map goes on mirrored.
    """
    sums: IntArray | BoolArray = chosen
    for axis, middles in ((0, rows), (1, columns)):
        wide = [(half + 1, half) if k == axis else (0, 0) for k in (0, 1)]
        total = np.cumsum(np.pad(sums, wide, mode="symmetric"), axis=axis, dtype=np.int32)
        sums = total.take(middles + 2 * half + 1, axis=axis) - total.take(middles, axis=axis)
    return sums.astype(np.float64)


def _ranked(values: FloatArray, rank: FloatArray) -> FloatArray:
    """Return the value of a rank, counted from 0, in each row; NaN come last."""
    ordered = np.sort(values, axis=1)
    ranked: FloatArray = np.take_along_axis(ordered, rank.astype(np.intp)[:, None], axis=1)[:, 0]
    return ranked


def cell_side(fwhm: float) -> int:
    """Return the side of a cell of the mesh in pixels."""
    return max(8, round(CELL_BEAMS * fwhm))


def _by_cell(values: FloatArray, cell: int) -> FloatArray:
    """Return the pixels of each cell, (rows, columns, cell^2); NaN beyond the map."""
    ny, nx = values.shape
    rows, columns = -(-ny // cell), -(-nx // cell)
    padded = np.full((rows * cell, columns * cell), np.nan)
    padded[:ny, :nx] = values
    return padded.reshape(rows, cell, columns, cell).swapaxes(1, 2).reshape(rows, columns, -1)


def _medians(values: FloatArray, count: IndexArray) -> FloatArray:
    """Return the medians along the last axis of `count` values that are no NaN; 0 of none."""
    ordered = np.sort(values, axis=-1)  # NaN last
    low, high = (np.clip(k, 0, values.shape[-1] - 1)[..., None] for k in ((count - 1) // 2, count // 2))
    middle = 0.5 * (np.take_along_axis(ordered, low, -1) + np.take_along_axis(ordered, high, -1))[..., 0]
    return np.where(count > 0, middle, 0.0)


def _error_variance(logarithm: FloatArray) -> float:
    """Return half the variance of the differences of neighbouring cells, by their median."""
    differences = np.concatenate([np.diff(logarithm, axis=axis).ravel() for axis in (0, 1)])
    differences = differences[np.isfinite(differences)]
    if not differences.size:
        return 0.0
    return 0.5 * (MAD_TO_RMS * float(np.median(np.abs(differences)))) ** 2


def edge_curve(ratio: FloatArray, distance: FloatArray, *, beams: float) -> Curve:
    """Return how much louder than the mesh says the filtered map is towards edges, at least 1.

    By the median of the moduli, or by the depth of the deepest holes where those are deeper than such noise
    makes them: where few observations were made, noise differs from pixel to pixel.

    Parameters
    ----------
    ratio : ndarray, shape (n,)
        Filtered map over its mesh where there are no sources.
    distance : ndarray, shape (n,)
        From blank regions in beams.
    beams : float
        Number of beams among them.
    """
    at, factor = [], []
    for low, high in itertools.pairwise(EDGE_BINS):
        own = ratio[(distance > low) & (distance <= high)]
        if own.size > 30:
            at.append(0.5 * (low + high))
            tail = _tail(beams * own.size / ratio.size)
            deepest = float(np.quantile(own, tail) / special.ndtri(tail))
            factor.append(max(1.0, MAD_TO_RMS * float(np.median(np.abs(own))), deepest))
    if not at:
        return NO_CURVE
    return Curve(np.array([*at, EDGE_BINS[-1] + 0.5]), np.array([*factor, 1.0]))


def scatter(values: FloatArray) -> float:
    """Return 1.4826 times the median absolute deviation of values (n,): the rms of a normal deviate."""
    deviations = values - np.median(values)
    return MAD_TO_RMS * float(np.median(np.abs(deviations, out=deviations), overwrite_input=True))


def _quantiles_of_sorted(values: FloatArray, quantiles: list[float]) -> FloatArray:
    """Return what `numpy.quantile` does of sorted values, without another look at all of them."""
    if not values.size:
        return np.full(len(quantiles), np.nan)
    place = np.array(quantiles) * (values.size - 1)
    low = np.floor(place).astype(np.intp)
    first, second, share = values[low], values[np.minimum(low + 1, values.size - 1)], place - low
    # As NumPy rounds it.
    step = second - first
    result: FloatArray = np.where(share < 0.5, first + step * share, second - step * (1.0 - share))
    return result


def _tail(beams: float) -> float:
    """Return the share of the values of so many beams that makes their tail."""
    return min(max(TAIL_BEAMS / beams, TAIL_SHARE), 0.1)


def brightness_curve(ratio: FloatArray, brightness: FloatArray, *, beams: float) -> Curve:
    """Return how the noise depends on the brightness of the background, from 1 to a limit.

    Parameters
    ----------
    ratio, brightness : ndarray, shape (n,)
        Filtered map over its noise so far, and the map on scales of some beams, where there are no sources.
    beams : float
        Number of beams among them.
    """
    if beams < 4 * FEWEST_IN_BIN:
        return NO_CURVE
    quantiles = [q for q in BRIGHTNESS_QUANTILES if min(q, 1 - q) * beams >= FEWEST_IN_BIN or q in (0.0, 1.0)]
    limits, middle, typical = np.quantile(brightness, quantiles), np.median(brightness), scatter(ratio)
    number, ordinary = ratio.size, np.abs(ratio) < _OUTLIER_SIGMA
    ratio, brightness = ratio[ordinary], brightness[ordinary]
    reference = np.sort(ratio[brightness <= middle])
    at, factor = [], []
    for low, high in itertools.pairwise(limits):
        inside = (brightness >= low) & (brightness <= high)
        own = ratio[inside]
        if own.size > 30 and typical > 0.0:
            at.append(float(np.median(brightness[inside])))
            tail = _tail(beams * own.size / number)
            both = [tail, 1.0 - tail]
            holes, peaks = np.quantile(own, both) / _quantiles_of_sorted(reference, both)
            widest = min(max(float(own.std()) / typical, peaks, 1.0), LARGEST_BRIGHTNESS_FACTOR)
            factor.append(max(widest, min(holes, peaks, LARGEST_HOLE_FACTOR)))
    return Curve(np.array(at), np.maximum.accumulate(factor)) if at else NO_CURVE
