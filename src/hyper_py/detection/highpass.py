"""Detection on the high-pass filtered map: peaks with DAOFIND's statistics, refined on the map itself."""

from collections.abc import Iterable
from dataclasses import astuple, dataclass

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray, IndexArray
from hyper_py.detection.checks import (
    Check,
    PeakLimits,
    all_passed,
    border_check,
    brightest_checked,
    shape_checks,
    shoulder_check,
)
from hyper_py.detection.daofind import (
    DaofindKernel,
    DaofindStatistics,
    convolve_kernel,
    daofind_kernel,
    daofind_statistics,
)
from hyper_py.detection.peaks import Peaks, empty_peaks, local_maxima, refine_positions, snap_to_maximum
from hyper_py.detection.running_mean import default_kernel_size, high_pass
from hyper_py.geometry import ellipse_from_covariance
from hyper_py.noise.covariance import clipped_statistics
from hyper_py.noise.level import NoiseLevel
from hyper_py.numerics.parallel import in_order
from hyper_py.numerics.tiles import (
    LazyPlane,
    Plane,
    Where,
    grown,
    is_inside,
    kept_like,
    sample,
    size_of,
    tiles,
)

FILTERED_THRESHOLD = 2.0
"""Candidates are this many times the scatter of the filtered map's positive pixels."""
FILTERED_SIGNIFICANCE = 3.0
"""And this many times the noise of the filtered map (or the threshold on the map itself, if that is lower):
a bump of the background can pass the latter alone."""


def detect_high_pass(
    data: Plane,
    *,
    beam_covariance: FloatArray,
    rms: float | FloatArray,
    limits: PeakLimits,
    kernel_size: int = 0,
    snap_radius: float = 1.0,
    size: int | None = None,
) -> Peaks:
    """Find peaks on the map minus its running mean.

    Parameters
    ----------
    data : Plane, shape (ny, nx)
        Map; blank pixels are NaN.
    beam_covariance : ndarray, shape (2, 2)
        Covariance of the beam in pixels^2, order (x, y).
    rms : float or Plane of shape (ny, nx)
        Noise, in the unit of `data`.
    limits : PeakLimits
        Peaks of the mean-subtracted map below `sigma_threshold` rms are dropped; a `min_distance` of 0 is one
        beam FWHM (geometric mean).
    kernel_size : int
        Side of the running mean in pixels; 0: `default_kernel_size`.
    snap_radius : float
        How far in pixels a position may move to the brightest pixel of the map itself.
    size : int, optional
        Side of the tiles in which the map is worked on, see `hyper_py.numerics.tiles.tiles`.

    Returns
    -------
    Peaks
        The brightest first.
    """
    maps = HighPassMaps.of(
        data, beam_covariance=beam_covariance, rms=rms, limits=limits, kernel_size=kernel_size, size=size
    )
    if maps is None:
        return empty_peaks()
    found = maps.passed(limits=limits, snap_radius=snap_radius)
    every = np.ones(len(found.peak), dtype=np.bool_)
    kept = brightest_checked(found.points, found.peak, every, distance=limits.min_distance or maps.fwhm)
    found = found.select(kept)
    points = maps.refined(*found.points.astype(np.intp).T)
    shoulder = shoulder_check(maps.base, points=points, peak=found.peak, limits=limits, fwhm=maps.fwhm)
    shape = found.statistics
    x_fine, y_fine = points.T
    peaks = Peaks(
        x_fine, y_fine, found.peak, found.snr, shape.roundness, shape.roundness_marginal, shape.sharpness,
        shoulder.values,
    )  # fmt: skip
    return peaks.select(shoulder.passed)


@dataclass(frozen=True, eq=False)
class CheckedPixels:
    """Pixels of the filtered map with the checks of each by itself.

    Attributes
    ----------
    places : ndarray, shape (n, 2)
        The pixels, order (x, y).
    points : ndarray, shape (n, 2)
        Pixels of the map that they belong to, order (x, y).
    peak, snr : ndarray, shape (n,)
        Value of the mean-subtracted map there, and over rms.
    statistics : DaofindStatistics
    checks : tuple of Check
        In the order in which they are shown.
    """

    places: IndexArray
    points: FloatArray
    peak: FloatArray
    snr: FloatArray
    statistics: DaofindStatistics
    checks: tuple[Check, ...]

    def select(self, index: BoolArray | IndexArray) -> "CheckedPixels":
        """Return those of an index or mask, without their checks."""
        return CheckedPixels(
            self.places[index], self.points[index], self.peak[index], self.snr[index],
            self.statistics.select(index), (),
        )  # fmt: skip

    @classmethod
    def joined(cls, parts: Iterable["CheckedPixels"]) -> "CheckedPixels":
        """Return those of several parts together, without their checks, in the order of the map."""
        own = [(one.places, one.points, one.peak, one.snr, *astuple(one.statistics)) for one in parts]
        places, points, peak, snr, *statistics = (np.concatenate(same) for same in zip(*own, strict=True))
        order = np.lexsort(places.T)
        return cls(places, points, peak, snr, DaofindStatistics(*statistics), ()).select(order)


@dataclass(frozen=True, eq=False)
class HighPassMaps:
    """The maps that the high-pass detector looks at, each of shape (ny, nx), arrays if the map is one.

    Attributes
    ----------
    base : Plane
        Map less its mean.
    filtered, convolved : Plane
        The positive part of the map less its running mean; the same convolved with DAOFIND's kernel.
    level : NoiseLevel
        Noise of the map.
    kernel : DaofindKernel
    threshold, noise : float
        Least convolved and filtered values where the noise is the typical one.
    fwhm : float
        Of the beam in pixels.
    tiles : tuple of tuple of slices
        Rows and columns of the tiles in which the maps are looked at.
    """

    base: Plane
    filtered: Plane
    convolved: Plane
    level: NoiseLevel
    kernel: DaofindKernel
    threshold: float
    noise: float
    fwhm: float
    tiles: tuple[Where, ...]

    @classmethod
    def of(
        cls,
        data: Plane,
        *,
        beam_covariance: FloatArray,
        rms: float | FloatArray,
        limits: PeakLimits,
        kernel_size: int = 0,
        size: int | None = None,
    ) -> "HighPassMaps | None":
        """Return the maps; None if nothing is above the running mean. Parameters as `detect_high_pass`."""
        ellipse = ellipse_from_covariance(beam_covariance)
        fwhm = float(np.sqrt(ellipse.major * ellipse.minor))
        difference = high_pass(data, kernel_size=kernel_size or default_kernel_size(fwhm), size=size)
        level, kernel, shape = NoiseLevel(mean=0.0, rms=rms), daofind_kernel(beam_covariance), size_of(data)
        typical = level.typical  # known before parts are sent to others, who would look at the whole map
        # With a map of rms each threshold follows it.
        relative = sample(
            LazyPlane(shape, lambda *where: difference[where] / (level.part(*where) / typical)), size=size
        )
        if not (relative > 0.0).any():
            return None
        scatter = clipped_statistics(relative[relative > 0.0]).rms
        mean = float(sample(data, size=size).mean())
        filtered = kept_like(LazyPlane(shape, lambda *where: np.fmax(difference[where], 0.0)), data)
        return cls(
            base=kept_like(LazyPlane(shape, lambda *where: data[where] - mean), data),
            filtered=filtered,
            convolved=kept_like(convolved_plane(filtered, kernel.weights), data),
            level=level,
            kernel=kernel,
            threshold=FILTERED_THRESHOLD * scatter * kernel.relative_error,
            noise=min(FILTERED_SIGNIFICANCE, limits.sigma_threshold) * clipped_statistics(relative).rms,
            fwhm=fwhm,
            tiles=tuple(tiles(shape, size=size)),
        )

    def passed(self, *, limits: PeakLimits, snap_radius: float) -> CheckedPixels:
        """Return the maxima of the convolved map that pass the checks of each by itself."""

        def in_tile(where: Where) -> CheckedPixels:
            x, y = self._maxima(where, threshold=self.threshold)
            found = self.check(x, y, where=where, limits=limits, snap_radius=snap_radius)
            return found.select(all_passed(found.checks))

        return CheckedPixels.joined(in_order(in_tile, self.tiles))

    def to_maximum(self, x: int, y: int) -> float:
        """Return the distance in pixels from a pixel to the nearest maximum of the convolved map."""

        def in_tile(where: Where) -> float:
            return float(np.hypot(*(self._maxima(where, threshold=-np.inf) - [[x], [y]])).min(initial=np.inf))

        return min(in_order(in_tile, self.tiles))

    def _maxima(self, where: Where, *, threshold: float) -> IndexArray:
        """Return x and y, (2, n), of the maxima of a tile above a threshold."""
        outer, _ = grown(where, max(self.kernel.inside.shape) // 2, size_of(self.base))
        y, x = local_maxima(
            self.convolved[outer], footprint=self.kernel.inside,
            threshold=threshold * (self.level.part(*outer) / self.level.typical),
        )  # fmt: skip
        known = np.isfinite(self.base[outer][y, x])
        y, x = y[known] + outer[0].start, x[known] + outer[1].start
        return np.stack([x, y])[:, is_inside(where, y, x)]

    def check(
        self, x: IndexArray, y: IndexArray, *, where: Where, limits: PeakLimits, snap_radius: float
    ) -> CheckedPixels:
        """Return pixels of a tile with the checks of each by itself."""
        shape, halo = size_of(self.base), max(*self.kernel.inside.shape, 2 * int(snap_radius)) // 2
        (rows, columns), _ = grown(where, halo, shape)
        base, filtered, convolved = (
            plane[rows, columns] for plane in (self.base, self.filtered, self.convolved)
        )
        rms, place_x, place_y = self.level.part(rows, columns), x - columns.start, y - rows.start
        statistics = daofind_statistics(filtered, convolved, kernel=self.kernel, x=place_x, y=place_y)
        top_x, top_y = snap_to_maximum(base, x=place_x, y=place_y, radius=snap_radius)
        peak, relative_rms = base[top_y, top_x], rms[place_y, place_x] / self.level.typical
        snr = peak / rms[top_y, top_x]
        checks = (
            Check("filtered peak", statistics.convolved, self.threshold * relative_rms, is_brightness=True),
            Check(
                "map minus running mean", filtered[place_y, place_x], self.noise * relative_rms,
                is_brightness=True,
            ),
            *shape_checks(statistics, limits),
            border_check(shape, x=x, y=y, margin=limits.margin),
            Check("peak over rms", snr, limits.sigma_threshold),
        )  # fmt: skip
        points = np.column_stack([top_x + columns.start, top_y + rows.start]).astype(np.float64)
        return CheckedPixels(np.column_stack([x, y]), points, peak, snr, statistics, checks)

    def refined(self, x: IndexArray, y: IndexArray) -> FloatArray:
        """Return positions of pixels of the map below the pixel, (n, 2), see `refine_positions`."""
        owners = [(where, np.flatnonzero(is_inside(where, y, x))) for where in self.tiles]
        filled = [(where, own) for where, own in owners if own.size]

        def in_tile(item: tuple[Where, IndexArray]) -> FloatArray:
            where, own = item
            (rows, columns), _ = grown(where, 1, size_of(self.base))
            fine_x, fine_y = refine_positions(
                self.base[rows, columns], x=x[own] - columns.start, y=y[own] - rows.start
            )
            return np.column_stack([fine_x + columns.start, fine_y + rows.start])

        points = np.empty((x.size, 2))
        for (_, own), fine in zip(filled, in_order(in_tile, filled), strict=True):
            points[own] = fine
        return points


def convolved_plane(data: Plane, weights: FloatArray) -> LazyPlane:
    """Return a map correlated with a small kernel, see `convolve_kernel`."""
    shape, halo = size_of(data), max(weights.shape) // 2

    def make(rows: slice, columns: slice) -> FloatArray:
        outer, inner = grown((rows, columns), halo, shape)
        return convolve_kernel(data[outer], weights)[inner]

    return LazyPlane(shape, make)
