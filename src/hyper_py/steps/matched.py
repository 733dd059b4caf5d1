"""Detection with the matched filter: peaks of its output, less what brighter neighbours explain.

A source that is not of the template's size leaves a ring in the output, up to a fifth of its peak; a peak
counts only by what it has more than the rings of brighter ones can give. A second, narrower filter is
noisier, but sees apart what the first sees as one.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from scipy.spatial import KDTree

from hyper_py.geometry import FloatArray
from hyper_py.steps.daofind import convolve_kernel, daofind_kernel, daofind_statistics
from hyper_py.steps.detection import (
    Peaks,
    empty_peaks,
    inside_margin,
    local_maxima,
    refine_positions,
    shoulder_score,
)
from hyper_py.steps.matched_filter import (
    SEPARATION,
    BoolArray,
    IntArray,
    MatchedFilter,
    disc,
    disc_mask,
    flatten,
    measure_filter,
)

NARROW_FACTOR = 1.35
"""What the narrower filter alone sees must be this much more significant."""
TAIL_START = 2.5
"""False peaks are counted above this significance."""


def detect_matched(
    data: FloatArray,
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
) -> Peaks:
    """Find peaks with the filter that is optimal in the map's own noise.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
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

    Returns
    -------
    Peaks
        Most significant first; `snr` is the significance of what brighter neighbours do not explain, for
        peaks that the narrower filter alone sees divided by `NARROW_FACTOR`.
    """
    if not np.isfinite(data).any():
        return empty_peaks()
    optimal = matched_filter or measure_filter(data, beam_covariance=beam_covariance)
    if max_false_rate is not None:
        sigma_threshold = threshold_for_false_rate(
            optimal.significance(data), mask=optimal.sources, fwhm=optimal.fwhm, number=max_false_rate
        )
    found = significant_peaks(
        data, matched_filter=optimal, threshold=sigma_threshold,
        distance=min_distance or SEPARATION * optimal.fwhm,
    )  # fmt: skip
    flat = flatten(data, sigma=optimal.flattening)
    kernel = daofind_kernel(beam_covariance)
    shape = daofind_statistics(
        flat, convolve_kernel(flat, kernel.weights), kernel=kernel, x=found.column, y=found.row
    )
    inside = inside_margin(data.shape, x=found.column, y=found.row, margin=margin)
    keep = np.flatnonzero(inside & shape.within(roundlim, sharplim))
    found, shape = found.select(keep), shape.select(keep)
    base = data - float(np.nanmean(data))
    peak = base[found.row, found.column]
    score = shoulder_score(
        base, x=found.x, y=found.y, peak=peak, radius=shoulder_ring_factor * optimal.fwhm,
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

    def with_more(self, other: "FoundPeaks") -> "FoundPeaks":
        """Return these peaks and then those of another list."""
        both = (np.concatenate(pair) for pair in zip(self, other, strict=True))
        return FoundPeaks._make(both)


def significant_peaks(
    data: FloatArray, *, matched_filter: MatchedFilter, threshold: float, distance: float
) -> FoundPeaks:
    """Return peaks above a threshold, both filters together, most significant first.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
        Map or residual.
    matched_filter : MatchedFilter
        Measured on the map.
    threshold : float
        Significance; for what the narrower filter alone sees `NARROW_FACTOR` times as much.
    distance : float
        Peaks closer than this in pixels are one; the first filter's stays.
    """
    found = _peaks_of_one(data, matched_filter=matched_filter, threshold=threshold, distance=distance)
    if matched_filter.narrow is not None:
        more = _peaks_of_one(
            data, matched_filter=matched_filter.narrow, threshold=NARROW_FACTOR * threshold, distance=distance
        )
        if found.x.size and more.x.size:
            tree: Any = KDTree(np.column_stack([found.x, found.y]))
            nearest, _ = tree.query(np.column_stack([more.x, more.y]))
            more = more.select(np.flatnonzero(nearest > distance))
        more = more._replace(snr=more.snr / NARROW_FACTOR)
        found = found.with_more(more)
    return found.select(np.argsort(-found.snr, kind="stable"))


def _peaks_of_one(
    data: FloatArray, *, matched_filter: MatchedFilter, threshold: float, distance: float
) -> FoundPeaks:
    """Return the peaks of one filter, less what rings of brighter ones explain, above a threshold."""
    filtered = matched_filter.apply(data)
    y, x = local_maxima(filtered / matched_filter.noise, footprint=disc(distance), threshold=threshold)
    amplitude = filtered[y, x]
    explained = _explained(amplitude, ring=matched_filter.ring, x=x, y=y)
    snr = (amplitude - explained) / matched_filter.noise[y, x]
    keep = snr >= threshold
    y, x = y[keep], x[keep]
    return FoundPeaks(y, x, *refine_positions(filtered, x=x, y=y), snr[keep])


def _explained(amplitude: FloatArray, *, ring: FloatArray, x: IntArray, y: IntArray) -> FloatArray:
    """Return the largest response at each peak that a ring of one brighter peak can give."""
    explained, half = np.zeros(x.size), ring.shape[0] // 2
    if x.size == 0:
        return explained
    tree: Any = KDTree(np.column_stack([x, y]))
    first, second = tree.query_pairs(half * math.sqrt(2.0), output_type="ndarray").T
    bright = np.where(amplitude[first] < amplitude[second], second, first)
    faint = first + second - bright
    dx, dy = x[faint] - x[bright], y[faint] - y[bright]
    near = np.maximum(np.abs(dx), np.abs(dy)) <= half
    faint, bright, dx, dy = faint[near], bright[near], dx[near], dy[near]
    np.maximum.at(explained, faint, amplitude[bright] * ring[half + dy, half + dx])
    return explained


def threshold_for_false_rate(
    significance: FloatArray, *, mask: BoolArray, fwhm: float, number: float
) -> float:
    """Return the significance above which a map is expected to hold a given number of false peaks.

    Negative peaks outside the sources are noise alone. The number of peaks of a Gaussian field above t falls
    as exp(-t^2 / 2 w^2) (Bond & Efstathiou 1987, MNRAS 226, 655, up to a slow factor); w, which is above 1
    where the tail is heavier, is the likeliest for those seen.

    Parameters
    ----------
    significance : ndarray, shape (ny, nx)
        Filtered map over its noise; blank pixels are NaN.
    mask : ndarray of bool, shape (ny, nx)
        True on sources.
    fwhm : float
        Beam in pixels.
    number : float
        Expected number of false detections in the whole map.

    Returns
    -------
    float
        Never below `TAIL_START`.
    """
    y, x = np.nonzero(mask)
    usable = np.isfinite(significance) & ~disc_mask(mask.shape, x=x, y=y, radius=fwhm)
    if not usable.any():
        return TAIL_START
    negative = np.where(usable, -significance, -np.inf)
    y, x = local_maxima(negative, footprint=disc(SEPARATION * fwhm), threshold=TAIL_START)
    count, excess = max(y.size, 1), negative[y, x] ** 2 - TAIL_START**2
    spread = float(excess.mean()) if y.size else 2.0
    expected = count * np.isfinite(significance).sum() / usable.sum()
    return math.sqrt(TAIL_START**2 + spread * max(math.log(expected / number), 0.0))
