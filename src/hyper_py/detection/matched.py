"""Detection with the matched filter: peaks of its output, less what brighter neighbours explain.

A source that is not of the template's size leaves a ring in the output, up to a fifth of its peak; a peak
counts only by what it has more than the rings of brighter ones can give. A second, narrower filter is
noisier, but sees apart what the first sees as one.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from hyper_py.arrays import FloatArray, IntArray
from hyper_py.detection.daofind import (
    DaofindKernel,
    DaofindStatistics,
    convolve_kernel,
    daofind_kernel,
    daofind_statistics,
)
from hyper_py.detection.highpass import (
    Peaks,
    empty_peaks,
    inside_margin,
    local_maxima,
    refine_positions,
    shoulder_score,
)
from hyper_py.detection.matched_filter import (
    SEPARATION,
    MatchedFilter,
    disc,
    measure_filter,
)
from hyper_py.numerics.pairs import pairs_within
from hyper_py.numerics.tiles import Plane, at, blocks, grown, is_inside, sample

NARROW_FACTOR = 1.35
"""What the narrower filter alone sees must be this much more significant."""
LEAST_RING = 1.0
"""Rings below this significance explain nothing: they cannot lift noise above a threshold."""
TAIL_START = 2.5
"""False peaks are counted above this significance."""


def detect_matched(
    data: Plane,
    *,
    beam_covariance: FloatArray,
    sigma_threshold: float = 4.0,
    max_false_rate: float | None = None,
    matched_filter: MatchedFilter | None = None,
    roundlim: tuple[float, float] = (-4.0, 4.0),
    sharplim: tuple[float, float] = (-2.0, 2.0),
    min_distance: float = 0.0,
    margin: float = 0.0,
    shoulder_threshold: float | None = None,
    shoulder_ring_factor: float = 1.5,
    shoulder_n_angles: int = 16,
    shoulder_neighbor_mask: float = 1.0,
    size: int | None = None,
) -> Peaks:
    """Find peaks with the filter that is optimal in the map's own noise.

    Parameters
    ----------
    data : Plane, shape (ny, nx)
        Map; blank pixels are NaN.
    beam_covariance : ndarray, shape (2, 2)
        Pixels^2, order (x, y).
    sigma_threshold : float
        In units of the filtered map's local noise.
    max_false_rate : float, optional
        Number of false detections to expect in the map; if given, it sets the threshold instead.
    matched_filter : MatchedFilter, optional
        From `measure_filter` on this map; measured if None.
    min_distance : float
        Of peaks closer than this in pixels the more significant stays; 0: 0.6 beams.
    roundlim, sharplim, margin, shoulder_threshold, shoulder_ring_factor, shoulder_n_angles
        As in `detect_high_pass`, on the flattened map.
    shoulder_neighbor_mask
        As in `detect_high_pass`.
    size : int, optional
        Side of the blocks in which the map is worked on, see `hyper_py.numerics.tiles.blocks`.

    Returns
    -------
    Peaks
        Most significant first; `snr` is the significance of what brighter neighbours do not explain, for
        peaks that the narrower filter alone sees divided by `NARROW_FACTOR`.
    """
    known = sample(data, size=size)
    if not known.size:
        return empty_peaks()
    optimal = matched_filter or measure_filter(data, beam_covariance=beam_covariance, size=size)
    if max_false_rate is not None:
        sigma_threshold = threshold_for_false_rate(
            data, matched_filter=optimal, number=max_false_rate, size=size
        )
    found = significant_peaks(
        data, matched_filter=optimal, threshold=sigma_threshold,
        distance=min_distance or SEPARATION * optimal.fwhm, size=size,
    )  # fmt: skip
    shape = peak_shapes(
        optimal.flattened(data, size=size), kernel=daofind_kernel(beam_covariance), x=found.column,
        y=found.row, size=size,
    )  # fmt: skip
    inside = inside_margin(data.shape, x=found.column, y=found.row, margin=margin)
    keep = np.flatnonzero(inside & shape.within(roundlim, sharplim))
    found, shape = found.select(keep), shape.select(keep)
    level = float(known.mean())
    peak = at(data, found.row, found.column) - level
    score = shoulder_score(
        data, x=found.x, y=found.y, peak=peak, radius=shoulder_ring_factor * optimal.fwhm,
        n_angles=shoulder_n_angles, neighbor_radius=shoulder_neighbor_mask * optimal.fwhm,
    )  # fmt: skip
    peaks = Peaks(
        found.x, found.y, peak, found.snr, shape.roundness, shape.roundness_marginal, shape.sharpness, score
    )
    return peaks if shoulder_threshold is None else peaks.select(~(score > shoulder_threshold))


class FoundPeaks(NamedTuple):
    """Peaks of a filtered map: pixel, refined position and significance, shape (n,) each."""

    row: IntArray
    column: IntArray
    x: FloatArray
    y: FloatArray
    snr: FloatArray

    def select(self, index: IntArray) -> "FoundPeaks":
        """Return the peaks of an index, in its order."""
        return FoundPeaks(self.row[index], self.column[index], self.x[index], self.y[index], self.snr[index])

    @classmethod
    def joined(cls, parts: "Sequence[FoundPeaks]") -> "FoundPeaks":
        """Return all of several lists."""
        return cls(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def significant_peaks(
    data: Plane, *, matched_filter: MatchedFilter, threshold: float, distance: float, size: int | None = None
) -> FoundPeaks:
    """Return peaks above a threshold, both filters together, most significant first.

    Parameters
    ----------
    data : Plane, shape (ny, nx)
        Map or residual.
    matched_filter : MatchedFilter
        Measured on the map.
    threshold : float
        Significance; for what the narrower filter alone sees `NARROW_FACTOR` times as much.
    distance : float
        Peaks closer than this in pixels are one; the first filter's stays.
    size : int, optional
        Side of the blocks in which the map is worked on.
    """
    flat, footprint = matched_filter.flattened(data, size=size), disc(distance)
    thresholds = [threshold, NARROW_FACTOR * threshold]
    pieces: list[list[FoundPeaks]] = [[] for _ in matched_filter.both]
    for where in blocks(data.shape, size=size):
        outer, _ = grown(where, footprint.shape[0] // 2 + 1, data.shape)  # and the rim of blanks
        filtered = matched_filter.outputs(flat, outer)
        for image, one, least, found in zip(filtered, matched_filter.both, thresholds, pieces, strict=False):
            y, x = local_maxima(_without_rim(image) / one.noise[outer], footprint=footprint, threshold=least)
            own = is_inside(where, y + outer[0].start, x + outer[1].start)
            y, x = y[own], x[own]
            fine_x, fine_y = refine_positions(image, x=x, y=y)
            amplitude = image[y, x]
            y, x = y + outer[0].start, x + outer[1].start
            found.append(FoundPeaks(y, x, fine_x + outer[1].start, fine_y + outer[0].start, amplitude))
    peaks, *narrow = (
        _over_noise(FoundPeaks.joined(found), one, threshold=least)
        for found, one, least in zip(pieces, matched_filter.both, thresholds, strict=False)
    )
    for more in narrow:
        places = np.column_stack([more.x, more.y])
        known, _ = pairs_within(np.column_stack([peaks.x, peaks.y]), places, distance)
        more = more.select(np.delete(np.arange(more.x.size), known))
        peaks = FoundPeaks.joined([peaks, more._replace(snr=more.snr / NARROW_FACTOR)])
    return peaks.select(np.argsort(-peaks.snr, kind="stable"))


def _without_rim(image: FloatArray) -> FloatArray:
    """Return an image in which blank pixels, and those beside them, cannot be maxima: edges are noisy."""
    blank = np.isnan(image)
    if not blank.any():
        return image
    return np.where(ndimage.binary_dilation(blank, np.ones((3, 3), dtype=bool)), -np.inf, image)


def _over_noise(found: FoundPeaks, matched_filter: MatchedFilter, *, threshold: float) -> FoundPeaks:
    """Return the peaks of one filter, less what rings of brighter ones explain, that are above a threshold.

    Their `snr` is at first the amplitude.
    """
    found = found.select(np.lexsort((found.column, found.row)))
    noise = matched_filter.noise.at(found.row, found.column)
    explained = _explained(found, matched_filter) / noise
    snr = found.snr / noise - np.where(explained < LEAST_RING, 0.0, explained)
    return found._replace(snr=snr).select(np.flatnonzero(snr >= threshold))


def peak_shapes(
    flat: Plane, *, kernel: DaofindKernel, x: IntArray, y: IntArray, size: int | None = None
) -> DaofindStatistics:
    """Return DAOFIND's shape statistics of peaks of a flattened map."""
    halo = 2 * max(side // 2 for side in kernel.inside.shape)
    values = np.full((3, x.size), np.nan)
    for where in blocks(flat.shape, size=size):
        own = np.flatnonzero(is_inside(where, y, x))
        if own.size:
            outer, _ = grown(where, halo, flat.shape)
            piece = np.nan_to_num(flat[outer], nan=0.0)
            shapes = daofind_statistics(
                piece, convolve_kernel(piece, kernel.weights), kernel=kernel, x=x[own] - outer[1].start,
                y=y[own] - outer[0].start,
            )  # fmt: skip
            values[:, own] = shapes.roundness, shapes.roundness_marginal, shapes.sharpness
    return DaofindStatistics(*values)


def _explained(found: FoundPeaks, matched_filter: MatchedFilter) -> FloatArray:
    """Return the largest response at each peak that a ring of one brighter peak can give."""
    amplitude, x, y = found.snr, found.column, found.row
    explained, reach = np.zeros(x.size), matched_filter.parts.ring_radius
    if x.size == 0:
        return explained
    points = np.column_stack([x, y])
    faint, bright = pairs_within(points, points, reach * math.sqrt(2.0))
    # Of equals the first may explain the second.
    excess = amplitude[bright] - amplitude[faint]
    is_fainter = (excess > 0.0) | ((excess == 0.0) & (bright < faint))
    faint, bright = faint[is_fainter], bright[is_fainter]
    dx, dy = x[faint] - x[bright], y[faint] - y[bright]
    near = np.maximum(np.abs(dx), np.abs(dy)) <= reach
    faint, bright, dx, dy = faint[near], bright[near], dx[near], dy[near]
    ring = matched_filter.ring(y=y[bright], x=x[bright], dy=dy, dx=dx)
    np.maximum.at(explained, faint, amplitude[bright] * ring)
    return explained


def threshold_for_false_rate(
    data: Plane, *, matched_filter: MatchedFilter, number: float, size: int | None = None
) -> float:
    """Return the significance above which a map is expected to hold a given number of false peaks.

    Negative peaks outside the sources are noise alone.

    Parameters
    ----------
    data : Plane, shape (ny, nx)
        Map; blank pixels are NaN.
    matched_filter : MatchedFilter
        Measured on the map.
    number : float
        Expected number of false detections in the whole map.
    size : int, optional
        Side of the blocks in which the map is worked on.

    Returns
    -------
    float
        Never below `TAIL_START`.
    """
    fwhm = matched_filter.fwhm
    flat, footprint = matched_filter.flattened(data, size=size), disc(SEPARATION * fwhm)
    seen, usable, peaks = 0, 0, [np.empty(0)]
    for where in blocks(data.shape, size=size):
        outer, inner = grown(where, footprint.shape[0] // 2, data.shape)
        significance = matched_filter.outputs(flat, outer)[0] / matched_filter.noise[outer]
        noise = np.isfinite(significance) & ~matched_filter.sources.mask(outer, more=fwhm)
        negative = np.where(noise, -significance, -np.inf)
        y, x = local_maxima(negative, footprint=footprint, threshold=TAIL_START)
        own = is_inside(inner, y, x)
        peaks.append(negative[y[own], x[own]])
        seen += int(np.count_nonzero(np.isfinite(significance[inner])))
        usable += int(np.count_nonzero(noise[inner]))
    return tail_threshold(np.concatenate(peaks), share=usable / max(seen, 1), number=number)


def tail_threshold(peaks: FloatArray, *, share: float, number: float) -> float:
    """Return the significance above which a given number of peaks is expected.

    The number of peaks of a Gaussian field above t falls as exp(-t^2 / 2 w^2) (Bond & Efstathiou 1987, MNRAS
    226, 655, up to a slow factor); w, which is above 1 where the tail is heavier, is the likeliest for those
    seen.

    Parameters
    ----------
    peaks : ndarray, shape (n,)
        Significances above `TAIL_START`.
    share : float
        Share of the map in which they were seen.
    number : float
        In the whole map.
    """
    if not share > 0.0:
        return TAIL_START
    spread = float(np.mean(peaks**2 - TAIL_START**2)) if peaks.size else 2.0
    expected = max(peaks.size, 1) / share
    return math.sqrt(TAIL_START**2 + spread * max(math.log(expected / number), 0.0))
