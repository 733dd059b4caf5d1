"""Significance of a source in several bands: their filters summed with the weights of grey bodies.

With s the S/N of each band's filter at a place, R the correlation of these between bands (the background is
common to them) and w the fluxes of a source over the noise of the bands, the best sum is w R^-1 s / sqrt(w
R^-1 w). The spectrum is not known: it is the largest over grey bodies of some temperatures. What one band
alone shows is looked for in that band's filter. How often noise makes a peak of either kind is counted on the
negative side.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from hyper_py.arrays import BoolArray, FloatArray, IntArray
from hyper_py.bands.band import Band
from hyper_py.bands.band_filter import FilteredBand
from hyper_py.bands.spectra import grey_body
from hyper_py.detection.false_rate import FalseRate, measure_false_rate
from hyper_py.detection.maxima import LOWEST_PIXEL, neighbourhood
from hyper_py.detection.peaks import local_maxima, peak_heights

STEPS_PER_BEAM = 3.0
"""Of the grid, in FWHM of the sharpest beam."""
SEPARATION = 0.6
"""Peaks closer than so many FWHM of the sharpest beam are one; in a band alone, of that band's."""
LOWEST = 2.5
"""Peaks are listed from here."""
_NODES = 25
_NOISE_LIMIT = 4.0
"""Values beyond are no noise where the correlation between bands is measured."""
_FEWEST_SAMPLES = 100
_STRIP = 64
"""Rows of the grid that are worked on at a time."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Grid:
    """A regular grid on the plane that covers all maps, and where each map shows its points.

    Attributes
    ----------
    east, north : ndarray, shape (nx,), (ny,)
        Arcsec.
    step : float
        Arcsec.
    """

    east: FloatArray
    north: FloatArray
    step: float

    @classmethod
    def over(cls, bands: Sequence[Band]) -> "Grid":
        """Return the grid over some maps."""
        ends = []
        for band in bands:
            ny, nx = band.shape
            x, y = np.meshgrid(np.linspace(0.0, nx - 1.0, 9), np.linspace(0.0, ny - 1.0, 9))
            ends.append(band.positions(np.column_stack([x.ravel(), y.ravel()])))
        corners = np.concatenate(ends)
        step = min(band.fwhm for band in bands) / STEPS_PER_BEAM
        east, north = (np.arange(values.min(), values.max() + step, step) for values in corners.T)
        return cls(east=east, north=north, step=step)

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx)."""
        return self.north.size, self.east.size

    def positions(self, y: IntArray, x: IntArray) -> FloatArray:
        """Return the positions (n, 2) of points of the grid."""
        return np.column_stack([self.east[0] + self.step * x, self.north[0] + self.step * y])

    def pixels(self, band: Band) -> FloatArray:
        """Return y and x of the points on a map, shape (2, ny, nx)."""
        from scipy.interpolate import RectBivariateSpline  # slow to import

        nodes = [np.linspace(axis[0], axis[-1], _NODES) for axis in (self.east, self.north)]
        east, north = np.meshgrid(*nodes)
        seen = band.pixels(np.column_stack([east.ravel(), north.ravel()]))
        return np.array(
            [
                RectBivariateSpline(nodes[1], nodes[0], seen[:, k].reshape(east.shape))(self.north, self.east)
                for k in (1, 0)
            ]
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidates:
    """Peaks that may be sources, the most significant first.

    Attributes
    ----------
    position : ndarray, shape (n, 2)
    significance : ndarray, shape (n,)
    ratio : ndarray, shape (n, n_bands)
        S/N in each band; 0 where it is not known.
    """

    position: FloatArray
    significance: FloatArray
    ratio: FloatArray

    def __len__(self) -> int:
        return len(self.position)


@dataclass(frozen=True, kw_only=True, eq=False)
class _OnGrid:
    """S/N of all bands on the grid, (n_bands, ny, nx), 0 where `known` is False; `masked` near sources.

    `noise` is that of fluxes in each band, (n_bands,), infinite where it takes no part.
    """

    ratio: NDArray[np.float32]
    known: BoolArray
    masked: BoolArray
    noise: FloatArray


def find_candidates(
    bands: Sequence[Band],
    filtered: Iterable[FilteredBand | None],
    grid: Grid,
    *,
    temperatures: Sequence[float],
    beta: float,
) -> Candidates:
    """Return peaks of the joint significance, and of each band alone.

    Parameters
    ----------
    bands : sequence of Band
    filtered : iterable of FilteredBand or None
        One a band, of which one is in memory at a time; None takes no part.
    grid : Grid
    temperatures : sequence of float
        K.
    beta : float
        Emissivity index of the weights.
    """
    on_grid = _resampled(bands, filtered, grid)
    sharpest = min(band.fwhm for band in bands)
    micron = np.array([band.wavelength for band in bands])
    weights = grey_body(micron, np.asarray(temperatures)[:, None], beta) / on_grid.noise
    best, worst = _joint(on_grid, weights)
    area = float(np.count_nonzero(on_grid.known.any(axis=0))) * grid.step**2
    found = [
        _peaks(best, worst, on_grid, grid, fwhm=sharpest, area=area, trials=1.0 if len(bands) > 1 else 0.0)
    ]
    for b, band in enumerate(bands):
        if np.isfinite(on_grid.noise[b]):
            own = np.where(on_grid.known[b], on_grid.ratio[b], -np.inf)
            area = float(np.count_nonzero(on_grid.known[b])) * grid.step**2
            other = np.where(on_grid.known[b], -on_grid.ratio[b], -np.inf)
            found.append(_peaks(own, other, on_grid, grid, fwhm=band.fwhm, area=area, trials=len(bands)))
    y, x = (np.concatenate([part[k] for part in found]) for k in (0, 1))
    significance = np.concatenate([part[2] for part in found])
    order = np.argsort(-significance, kind="stable")
    y, x = y[order], x[order]
    return Candidates(
        position=grid.positions(y, x),
        significance=significance[order],
        ratio=on_grid.ratio[:, y, x].T.astype(np.float64),
    )


def _resampled(bands: Sequence[Band], filtered: Iterable[FilteredBand | None], grid: Grid) -> _OnGrid:
    """Return the S/N of all bands on the grid."""
    shape = (len(bands), *grid.shape)
    ratio, known = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=bool)
    masked, noise = np.zeros(grid.shape, dtype=bool), np.full(len(bands), np.inf)
    for b, (band, seen) in enumerate(zip(bands, filtered, strict=True)):
        if seen is None:
            continue
        noise[b] = seen.flux_noise
        at = grid.pixels(band)
        inside = np.isfinite(seen.ratio)
        values = np.where(inside, seen.ratio, 0.0)
        known[b] = ndimage.map_coordinates(inside.astype(np.uint8), at, order=0, mode="constant") > 0
        ratio[b] = np.where(known[b], ndimage.map_coordinates(values, at, order=3, mode="nearest"), 0.0)
        masked |= ndimage.map_coordinates(seen.masked.astype(np.uint8), at, order=0, mode="constant") > 0
    return _OnGrid(ratio=ratio, known=known, masked=masked, noise=noise)


def _joint(on_grid: _OnGrid, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the largest sum over grey bodies at each point, and the largest of the negative."""
    correlation = _correlation(on_grid)
    best, worst = (np.full(on_grid.known.shape[1:], -np.inf) for _ in range(2))
    bits = 1 << np.arange(len(on_grid.known))
    for first in range(0, on_grid.known.shape[1], _STRIP):
        rows = slice(first, first + _STRIP)
        patterns = (bits[:, None, None] * on_grid.known[:, rows]).sum(axis=0)
        for pattern in np.unique(patterns[patterns > 0]):
            own = np.flatnonzero(pattern & bits)
            here = patterns == pattern
            values = on_grid.ratio[own, rows][:, here].astype(np.float64)
            inverse = np.linalg.inv(correlation[np.ix_(own, own)])
            high, low = np.full(values.shape[1], -np.inf), np.full(values.shape[1], -np.inf)
            for weight in weights[:, own]:
                combined = inverse @ weight
                total = combined @ values / np.sqrt(weight @ combined)
                high, low = np.maximum(high, total), np.maximum(low, -total)
            best[rows][here], worst[rows][here] = high, low
    return best, worst


def _correlation(on_grid: _OnGrid) -> FloatArray:
    """Return the correlation of the S/N between bands, away from sources."""
    n = len(on_grid.known)
    result = np.eye(n)
    sample = (slice(None), slice(None, None, 4), slice(None, None, 4))
    ratio, known = on_grid.ratio[sample].astype(np.float64), on_grid.known[sample]
    quiet = known & (np.abs(ratio) < _NOISE_LIMIT) & ~on_grid.masked[sample[1:]]
    for i in range(n):
        for j in range(i):
            both = quiet[i] & quiet[j]
            if np.count_nonzero(both) >= _FEWEST_SAMPLES:
                result[i, j] = result[j, i] = np.corrcoef(ratio[i][both], ratio[j][both])[0, 1]
    value, vector = np.linalg.eigh(result)
    positive: FloatArray = (vector * np.maximum(value, 0.05)) @ vector.T
    return positive


def _peaks(
    plane: FloatArray,
    negative: FloatArray,
    on_grid: _OnGrid,
    grid: Grid,
    *,
    fwhm: float,
    area: float,
    trials: float,
) -> tuple[IntArray, IntArray, FloatArray]:
    """Return y, x and significance of the peaks of a plane; its rate of false ones is that of the negative.

    `trials` is the number of searches of this kind, among which the false ones are shared; 0 for no search.
    """
    near = neighbourhood(SEPARATION * fwhm / grid.step)
    y, x = local_maxima(plane, footprint=near, threshold=LOWEST)
    if not trials:
        y, x = y[:0], x[:0]
    sigma = peak_heights(plane, x=x, y=y)
    away = ~ndimage.binary_dilation(on_grid.masked, iterations=max(1, round(fwhm / grid.step)))
    usable = np.isfinite(negative)
    share = int(np.count_nonzero(away & usable)) / max(int(np.count_nonzero(usable)), 1)
    ny, nx = local_maxima(negative, footprint=near, threshold=LOWEST_PIXEL * LOWEST)
    minima = peak_heights(negative, x=nx, y=ny)[away[ny, nx]]
    n_beams = max(area / (np.pi / (4.0 * np.log(2.0)) * fwhm**2), 1.0)
    rate = measure_false_rate(minima, share=max(share, 1e-3), n_beams=n_beams)
    rate = FalseRate(rate.number * max(trials, 1.0), rate.spread, rate.n_beams).for_detections(sigma)
    return y, x, rate.significance(sigma)
