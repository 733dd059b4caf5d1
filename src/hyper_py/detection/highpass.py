"""Detection on the high-pass filtered map: peaks with DAOFIND's statistics, refined on the map itself."""

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from hyper_py.arrays import FloatArray, IndexArray
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
from hyper_py.geometry import ellipse_from_covariance
from hyper_py.noise.covariance import clipped_statistics

FILTERED_THRESHOLD = 2.0
"""Candidates are this many times the scatter of the filtered map's positive pixels."""
FILTERED_SIGNIFICANCE = 3.0
"""And this many times the noise of the filtered map (or the threshold on the map itself, if that is lower):
a bump of the background can pass the latter alone."""


def detect_high_pass(
    data: FloatArray,
    *,
    beam_covariance: FloatArray,
    rms: float | FloatArray,
    limits: PeakLimits,
    kernel_size: int = 0,
    snap_radius: float = 1.0,
) -> Peaks:
    """Find peaks on the map minus its running mean.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
        Map; blank pixels are NaN.
    beam_covariance : ndarray, shape (2, 2)
        Covariance of the beam in pixels^2, order (x, y).
    rms : float or ndarray of shape (ny, nx)
        Noise, in the unit of `data`.
    limits : PeakLimits
        Peaks of the mean-subtracted map below `sigma_threshold` rms are dropped; a `min_distance` of 0 is one
        beam FWHM (geometric mean).
    kernel_size : int
        Side of the running mean in pixels; 0: `default_kernel_size`.
    snap_radius : float
        How far in pixels a position may move to the brightest pixel of the map itself.

    Returns
    -------
    Peaks
        The brightest first.
    """
    maps = HighPassMaps.of(
        data, beam_covariance=beam_covariance, rms=rms, limits=limits, kernel_size=kernel_size
    )
    if maps is None:
        return empty_peaks()
    x, y = maps.candidates()
    found = maps.check(x, y, limits=limits, snap_radius=snap_radius)
    kept = brightest_checked(
        found.points, found.peak, all_passed(found.checks), distance=limits.min_distance or maps.fwhm
    )
    found, (x, y) = found.select(kept), found.points[kept].astype(np.intp).T
    points = np.column_stack(refine_positions(maps.base, x=x, y=y))
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
    points : ndarray, shape (n, 2)
        Pixels of the map that they belong to, order (x, y).
    peak, snr : ndarray, shape (n,)
        Value of the mean-subtracted map there, and over rms.
    statistics : DaofindStatistics
    checks : tuple of Check
        In the order in which they are shown.
    """

    points: FloatArray
    peak: FloatArray
    snr: FloatArray
    statistics: DaofindStatistics
    checks: tuple[Check, ...]

    def select(self, index: IndexArray) -> "CheckedPixels":
        """Return those of an index, without their checks."""
        return CheckedPixels(
            self.points[index], self.peak[index], self.snr[index], self.statistics.select(index), ()
        )


@dataclass(frozen=True, eq=False)
class HighPassMaps:
    """The maps that the high-pass detector looks at, each of shape (ny, nx).

    Attributes
    ----------
    base : ndarray
        Map less its mean.
    filtered, convolved : ndarray
        The positive part of the map less its running mean; the same convolved with DAOFIND's kernel.
    rms, relative_rms : ndarray
        Noise of the map, and over its median.
    kernel : DaofindKernel
    threshold, noise : float
        Least convolved and filtered values where `relative_rms` is 1.
    fwhm : float
        Of the beam in pixels.
    """

    base: FloatArray
    filtered: FloatArray
    convolved: FloatArray
    rms: FloatArray
    relative_rms: FloatArray
    kernel: DaofindKernel
    threshold: float
    noise: float
    fwhm: float

    @classmethod
    def of(
        cls,
        data: FloatArray,
        *,
        beam_covariance: FloatArray,
        rms: float | FloatArray,
        limits: PeakLimits,
        kernel_size: int = 0,
    ) -> "HighPassMaps | None":
        """Return the maps; None if nothing is above the running mean. Parameters as `detect_high_pass`."""
        ellipse = ellipse_from_covariance(beam_covariance)
        fwhm = float(np.sqrt(ellipse.major * ellipse.minor))
        difference = high_pass(data, kernel_size=kernel_size or default_kernel_size(fwhm))
        # With a map of rms each threshold follows it.
        relative_rms = rms / np.nanmedian(rms)
        relative = difference / relative_rms
        if not (relative > 0).any():
            return None
        filtered = np.where(difference > 0, difference, 0.0)
        kernel = daofind_kernel(beam_covariance)
        scatter = clipped_statistics(relative[relative > 0]).rms
        return cls(
            base=np.where(np.isfinite(data), data - float(np.nanmean(data)), np.nan),
            filtered=filtered,
            convolved=convolve_kernel(filtered, kernel.weights),
            rms=np.broadcast_to(rms, data.shape),
            relative_rms=np.broadcast_to(relative_rms, data.shape),
            kernel=kernel,
            threshold=FILTERED_THRESHOLD * scatter * kernel.relative_error,
            noise=min(FILTERED_SIGNIFICANCE, limits.sigma_threshold) * clipped_statistics(relative).rms,
            fwhm=fwhm,
        )

    def candidates(self) -> tuple[IndexArray, IndexArray]:
        """Return x and y of the maxima of the convolved map above its threshold."""
        y, x = local_maxima(
            self.convolved, footprint=self.kernel.inside, threshold=self.threshold * self.relative_rms
        )
        known = np.isfinite(self.base[y, x])
        return x[known], y[known]

    def check(self, x: IndexArray, y: IndexArray, *, limits: PeakLimits, snap_radius: float) -> CheckedPixels:
        """Return pixels with the checks of each by itself."""
        statistics = daofind_statistics(self.filtered, self.convolved, kernel=self.kernel, x=x, y=y)
        top_x, top_y = snap_to_maximum(self.base, x=x, y=y, radius=snap_radius)
        peak, relative_rms = self.base[top_y, top_x], self.relative_rms[y, x]
        snr = peak / self.rms[top_y, top_x]
        checks = (
            Check("filtered peak", self.convolved[y, x], self.threshold * relative_rms, is_brightness=True),
            Check(
                "map minus running mean", self.filtered[y, x], self.noise * relative_rms, is_brightness=True
            ),
            *shape_checks(statistics, limits),
            border_check(self.base.shape, x=x, y=y, margin=limits.margin),
            Check("peak over rms", snr, limits.sigma_threshold),
        )
        points = np.column_stack([top_x, top_y]).astype(np.float64)
        return CheckedPixels(points, peak, snr, statistics, checks)


def default_kernel_size(fwhm: float) -> int:
    """Return the side of the running mean for a beam FWHM in pixels: its floor, squared, made odd.

    At least 3, since a mean over one pixel leaves nothing.
    """
    side = math.floor(fwhm) ** 2
    return max(side + 1 - side % 2, 3)


def high_pass(data: FloatArray, *, kernel_size: int) -> FloatArray:
    """Return the map minus its running mean over a square.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
        Blank pixels (NaN) take no part in any mean, nor do places beyond the border.
    kernel_size : int
        Side of the square in pixels; an even one is made odd by adding 1.

    Returns
    -------
    ndarray, shape (ny, nx)
        NaN exactly where `data` is blank.
    """
    side = kernel_size + 1 - kernel_size % 2
    valid = np.isfinite(data)
    if not valid.any():
        return np.full(data.shape, np.nan)
    # Taking the level away first keeps the running sums accurate on a high pedestal.
    centred = np.where(valid, data - data[valid].mean(), 0.0)
    total = ndimage.uniform_filter(centred, size=side, mode="constant")
    share = ndimage.uniform_filter(valid.astype(np.float64), size=side, mode="constant")
    mean = np.divide(total, share, out=np.zeros_like(total), where=valid)
    return np.where(valid, centred - mean, np.nan)
