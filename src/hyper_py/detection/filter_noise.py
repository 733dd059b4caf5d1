"""The noise of a filtered map: a mesh, a factor near edges, a factor where the map is bright."""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage, special

from hyper_py.arrays import BoolArray, FloatArray, IntArray
from hyper_py.numerics.medians import MAD_TO_RMS, scatter
from hyper_py.numerics.mesh import MeshMap
from hyper_py.numerics.tiles import Where

LOUD, LOUD_BEAMS = 3.0, 2.5
"""Noise that is so much louder than the mesh says within this radius in beams is followed there."""
LOUD_LARGE, LOUD_AREA = 2.0, 40.0
"""This is enough in regions of at least so many square beams; they reach up to their rims."""
LOUD_NOISE = 0.85
"""Such a region looks like noise in at least this share of it: of a complex only parts do."""
LOUD_SHARE = 0.4
"""Share of that circle's square that must be free of sources and blanks."""
TAIL, CROWD = 0.05, 2.0
"""Peaks and holes are compared at this quantile from either end; higher peaks by this factor are sources."""
CROWD_BRIGHTNESS = 3.0
"""So are places brighter than is typical on scales of some beams by so many sigma, times how loud they are:
filters leave holes between the sources of a complex that are as deep as its peaks are high."""
_UPPER_QUARTILE = 1.1503
"""Of the absolute value of a normal deviate."""
EDGE_BINS = np.array([0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.5])
BRIGHTNESS_QUANTILES = (0.0, 0.25, 0.5, 0.75, 0.9, 0.97, 0.99, 1.0)
FEWEST_IN_BIN = 100.0
"""Beams that a bin of brightness needs."""

TAIL_BEAMS, TAIL_SHARE = 5.0, 0.02
LARGEST_BRIGHTNESS_FACTOR, LARGEST_HOLE_FACTOR = 1.5, 4.0
"""Cirrus fluctuates more where it is bright; more than the first is sources, unless holes are as deep."""
BEYOND_HOLES, UNSURE = 1.25, 0.05
"""Where the holes of cirrus are deeper by a share, its peaks are higher by so many times that: 1.1 to 1.35 on
simulated log-normal skies. Peaks higher by the second share yet are faint sources."""
_MOST_WINDOWS = 4_000_000
"""Of larger maps, rows are left out when typical brightness is measured."""
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
        result = np.full(np.shape(values), self.factor[-1])
        within = ~(values >= self.at[-1])  # NaN stays
        result[within] = np.interp(values[within], self.at, self.factor)
        return result


NO_CURVE = Curve(np.zeros(1), np.ones(1))


@dataclass(frozen=True, eq=False)
class BrightnessCurves:
    """How much louder the filtered map is where the background is bright.

    Attributes
    ----------
    peaks : Curve
        By its peaks, of which sources that were not found yet may be some.
    holes : Curve
        By its peaks as far as its holes say so: sources too faint to be found make none.
    """

    peaks: Curve = NO_CURVE
    holes: Curve = NO_CURVE


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
    brightness : BrightnessCurves
        Factor as a function of the brightness of the background, see `BRIGHTNESS_QUANTILES`.
    seams : MeshMap, optional
        Least rms, beside seams.
    by_holes : bool
        Which of the curves of brightness counts, far from edges.
    """

    mesh: MeshMap
    loud: MeshMap
    edge: Curve = NO_CURVE
    brightness: BrightnessCurves = BrightnessCurves()
    seams: MeshMap | None = None
    by_holes: bool = False

    def at(self, where: Where, *, distance: FloatArray, brightness: FloatArray | None = None) -> FloatArray:
        """Return the rms of a part of the map; without a brightness that at a typical one."""
        noise = self.mesh_rms(where) * self.edge(distance)
        return noise if brightness is None else noise * self.factor(brightness, distance)

    def factor(self, brightness: FloatArray, distance: FloatArray) -> FloatArray:
        """Return how much louder places of this brightness, so far from blank regions, are."""
        louder = self.brightness.peaks(brightness)
        if not self.by_holes:
            return louder
        # Near an edge the background is not seen from all sides: where it is steep, it makes peaks alone.
        far = distance > EDGE_BINS[-1]
        return np.where(far, self.brightness.holes(brightness), louder)

    def mesh_rms(self, where: Where) -> FloatArray:
        """Return mesh, loud regions and seams alone."""
        rms: FloatArray = self.mesh[where] * self.loud[where]
        return rms if self.seams is None else np.maximum(rms, self.seams[where])

    def at_pixels(
        self, y: IntArray, x: IntArray, *, distance: FloatArray, brightness: FloatArray | None = None
    ) -> FloatArray:
        """Return the rms of pixels (n,); without a brightness that at a typical one."""
        noise: FloatArray = self.mesh.at(y, x) * self.loud.at(y, x)
        if self.seams is not None:
            noise = np.maximum(noise, self.seams.at(y, x))
        noise = noise * self.edge(distance)
        return noise if brightness is None else noise * self.factor(brightness, distance)


class LoudRegions:
    """Finds where the noise is much louder than a mesh says, tile by tile.

    Parameters
    ----------
    shape : (ny, nx)
    fwhm : float
        Of the beam in pixels.
    tells_crowds : bool
        Whether a large region that looks like a crowd in part is one, and bright places are. On binned maps,
        where sources are looked for that are as wide as the bins are, crowds are blended: what is loud there
        is background.
    mesh : MeshMap, optional
        Where it is high, more brightness is typical.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        *,
        fwhm: float,
        tells_crowds: bool = True,
        mesh: MeshMap | None = None,
    ) -> None:
        self.shape, self._fwhm, self._step = shape, fwhm, max(1, round(0.5 * fwhm))
        self._tells_crowds, self._mesh = tells_crowds, MeshMap.uniform(1.0, shape) if mesh is None else mesh
        self._half = max(2, round(LOUD_BEAMS * fwhm / self._step))
        self._values = np.full(tuple(-(-n // self._step) for n in shape), np.nan, dtype=np.float32)
        self._light = np.full(tuple(part.size for part in self._centres()), np.nan, dtype=np.float32)

    def __getstate__(self) -> dict[str, Any]:
        """Have other processes, which look at single tiles, begin with nothing."""
        return {key: value for key, value in vars(self).items() if key not in ("_values", "_light")}

    def add(self, where: Where, ratio: FloatArray, light: FloatArray, usable: BoolArray) -> None:
        """Add a tile: filtered map over mesh, and the map on scales of some beams."""
        self.put(where, self.combed(where, ratio, light, usable))

    def combed(
        self, where: Where, ratio: FloatArray, light: FloatArray, usable: BoolArray
    ) -> tuple[FloatArray, FloatArray]:
        """Return the values of a tile that are looked at."""
        comb = tuple(slice(-part.start % self._step, None, self._step) for part in where)
        middles = (
            self._step * centres[own] - part.start
            for centres, own, part in zip(self._centres(), self._windows(where), where, strict=True)
        )
        return np.where(usable, ratio, np.nan)[comb], light[np.ix_(*middles)]

    def put(self, where: Where, values: tuple[FloatArray, FloatArray]) -> None:
        """Put the values of a tile in their place."""
        place = tuple(slice(-(-part.start // self._step), -(-part.stop // self._step)) for part in where)
        self._values[place], self._light[self._windows(where)] = values

    def _centres(self) -> tuple[IntArray, IntArray]:
        """Return the rows and columns of windows among those that are looked at: every other one."""
        rows, columns = (
            np.minimum(2 * np.arange(-(-n // (2 * self._step))) + 1, -(-n // self._step) - 1)
            for n in self.shape
        )
        return rows, columns

    def _windows(self, where: Where) -> tuple[slice, slice]:
        """Return which windows have their centres in a tile."""
        rows, columns = (
            slice(*np.searchsorted(self._step * centres, (part.start, part.stop)).tolist())
            for centres, part in zip(self._centres(), where, strict=True)
        )
        return rows, columns

    def factor(self) -> MeshMap:
        """Return how much louder it is: the upper quartile of the moduli within `LOUD_BEAMS`, above `LOUD`.

        Above `LOUD_LARGE` in regions that are large. Noise has holes as deep as its peaks are high, and no
        light; where peaks are much higher, or the map is bright, there is a crowd of sources, not loud noise.
        """
        side, mesh = 2 * self._half + 1, 2 * self._step
        is_loud = np.abs(self._values) > LOUD_LARGE * _UPPER_QUARTILE
        if not is_loud.any():
            return MeshMap.uniform(1.0, self.shape)
        rows, columns = self._centres()
        loud, count = (
            _window_sums(chosen, self._half, rows, columns) for chosen in (is_loud, np.isfinite(self._values))
        )
        # A window of which less than a quarter is loud is not loud.
        likely = (loud >= np.maximum(0.25 * count, 1.0)) & (count >= LOUD_SHARE * side**2)
        padded = np.pad(self._values, self._half, mode="symmetric")
        squares = np.lib.stride_tricks.sliding_window_view(padded, (side, side))
        factor, crowd = np.ones(likely.shape), np.zeros(likely.shape, dtype=bool)
        (middle, sigma), level = self._typical_light(), float(np.median(self._mesh.values))
        for k in np.flatnonzero(likely.any(axis=1)).tolist():
            own = squares[rows[k], columns[likely[k]]].reshape(-1, side**2)
            number = count[k, likely[k]]
            upper = _ranked(np.abs(own), 0.75 * number) / _UPPER_QUARTILE
            highest, deepest = _ranked(own, (1.0 - TAIL) * number), -_ranked(own, TAIL * number)
            is_strong, is_noise = upper > LOUD_LARGE, highest <= CROWD * deepest
            x = self._step * columns[likely[k]]
            louder = upper * self._mesh.at(np.full_like(x, self._step * rows[k]), x) / level
            is_noise &= ~(self._light[k, likely[k]] - middle > CROWD_BRIGHTNESS * sigma * louder)
            factor[k, likely[k]] = np.where(is_strong & is_noise, upper, 1.0)
            crowd[k, likely[k]] = is_strong & ~is_noise & self._tells_crowds
        return MeshMap(self._up_to_rims(factor, crowd, mesh), mesh, self.shape)

    def _typical_light(self) -> tuple[float, float]:
        """Return median and scatter of the brightness; the scatter is infinite where it tells no crowds."""
        known = self._light[:: max(1, self._light.size // _MOST_WINDOWS)].astype(np.float64)
        known = known[np.isfinite(known)]
        sigma = scatter(known) if known.size and self._tells_crowds else 0.0
        return (float(np.median(known)), sigma) if sigma > 0.0 else (0.0, np.inf)

    def _up_to_rims(self, factor: FloatArray, crowd: BoolArray, mesh: int) -> FloatArray:
        """Return the factors with those of large regions of noise carried to their rims.

        A window across a rim is quieter than the region. Small regions may be crowds of sources, and those
        that look like a `crowd` in part are.
        """
        noise = factor > 1.0
        regions, number = ndimage.label(noise | crowd, np.ones((3, 3)))
        windows = np.bincount(regions.ravel(), minlength=number + 1)
        noisy = np.bincount(regions.ravel(), weights=noise.ravel(), minlength=number + 1)
        large = noisy * (mesh / self._fwhm) ** 2 >= LOUD_AREA
        large &= (noisy >= LOUD_NOISE * windows) & (np.arange(number + 1) > 0)
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


def _tail(beams: float) -> float:
    """Return the share of the values of so many beams that makes their tail."""
    return min(max(TAIL_BEAMS / beams, TAIL_SHARE), 0.1)


def brightness_curves(ratio: FloatArray, brightness: FloatArray, *, beams: float) -> BrightnessCurves:
    """Return how the noise depends on the brightness of the background, from 1 to a limit.

    Parameters
    ----------
    ratio, brightness : ndarray, shape (n,)
        Filtered map over its noise so far, and the map on scales of some beams, where there are no sources.
    beams : float
        Number of beams among them.
    """
    if beams < 4 * FEWEST_IN_BIN:
        return BrightnessCurves()
    quantiles = [q for q in BRIGHTNESS_QUANTILES if min(q, 1 - q) * beams >= FEWEST_IN_BIN or q in (0.0, 1.0)]
    limits, typical = np.quantile(brightness, quantiles), scatter(ratio)
    middle = limits[quantiles.index(0.5)]
    number, ordinary = ratio.size, np.abs(ratio) < _OUTLIER_SIGMA
    ratio, brightness = ratio[ordinary], brightness[ordinary]
    reference = ratio[brightness <= middle]
    at, by_peaks, by_holes = [], [], []
    for low, high in itertools.pairwise(limits):
        inside = (brightness >= low) & (brightness <= high)
        own = ratio[inside]
        if own.size > 30 and typical > 0.0:
            at.append(float(np.median(brightness[inside])))
            tail = _tail(beams * own.size / number)
            both = [tail, 1.0 - tail]
            holes, peaks = np.quantile(own, both) / np.quantile(reference, both)
            widest = min(max(float(own.std()) / typical, peaks, 1.0), LARGEST_BRIGHTNESS_FACTOR)
            by_peaks.append(max(widest, min(holes, peaks, LARGEST_HOLE_FACTOR)))
            largest = min(1.0 + BEYOND_HOLES * max(holes - 1.0, 0.0) + UNSURE, LARGEST_HOLE_FACTOR)
            by_holes.append(min(max(widest, peaks), largest))
    if not at:
        return BrightnessCurves()
    return BrightnessCurves(
        *(Curve(np.array(at), np.maximum.accumulate(factor)) for factor in (by_peaks, by_holes))
    )
