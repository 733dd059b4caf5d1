"""Detection with the best filter in a family of beam-shaped Gaussians, bright sources taken off first.

The filter is the sum of the map and its means over Gaussians of the beam's shape that has the least variance
outside sources and a response of 1 to a source (`hyper_py.detection.weights`). Its noise follows the map
(`filter_noise`), bright sources are fitted and subtracted (`bright`), what fits may leave counts as noise
(`misfit`), and the significance of a peak says how often noise makes such a one (`false_rate`).
"""

from functools import partial
from typing import NamedTuple

import numpy as np

from hyper_py.detection.bright import Fit, fit_gaussians
from hyper_py.detection.false_rate import FalseRate, measure_false_rate
from hyper_py.detection.field import Field
from hyper_py.detection.filtering import MASK_BEAMS
from hyper_py.detection.peaks import SEPARATION, IntArray, find_maxima, negative, refined
from hyper_py.detection.search import LOWEST, Searched, search
from hyper_py.geometry import FloatArray
from hyper_py.numerics.blocks import Plane, at, grown, is_inside
from hyper_py.numerics.models import AMPLITUDE, X, Y, gaussian_flux
from hyper_py.numerics.neighbours import each_apart, neighbours
from hyper_py.steps.daofind import (
    DaofindKernel,
    DaofindStatistics,
    convolve_kernel,
    daofind_kernel,
    daofind_statistics,
)
from hyper_py.steps.detection import Peaks, brightest_apart, empty_peaks, inside_margin, shoulder_score

MERGED = 0.5
"""Fitted Gaussians closer than this many beams are the profile of one source."""
CLEAN_BEAMS = 2.5
"""False peaks are counted this far from sources, beyond the rings of those that are not taken off."""


class Candidates(NamedTuple):
    """Sources found: positions (n, 2) in the order (x, y), and significance (n,)."""

    points: FloatArray
    significance: FloatArray

    def select(self, index: np.ndarray) -> "Candidates":
        """Return some of them, in the order of the index."""
        return Candidates(self.points[index], self.significance[index])


def detect_matched(
    data: Plane,
    *,
    beam_covariance: FloatArray,
    sigma_threshold: float = 4.0,
    max_false_rate: float | None = None,
    roundlim: tuple[float, float] = (-4.0, 4.0),
    sharplim: tuple[float, float] = (-2.0, 2.0),
    min_distance: float = 0.0,
    margin: float = 0.0,
    shoulder_threshold: float | None = None,
    shoulder_ring_factor: float = 1.5,
    shoulder_n_angles: int = 16,
    shoulder_neighbor_mask: float = 1.0,
    size: int | None = None,
    fit: Fit | None = None,
) -> Peaks:
    """Find sources with the filter that is best in the map's own noise.

    Parameters
    ----------
    data : Plane, shape (ny, nx)
        Map; blank pixels are NaN.
    beam_covariance : ndarray, shape (2, 2)
        Pixels^2, order (x, y).
    sigma_threshold : float
        Least significance: as many peaks exceed it by chance as beams of Gaussian noise do, one in 32,000
        beams for 4.
    max_false_rate : float, optional
        Number of false detections to expect in the map; if given, it sets the threshold instead.
    min_distance : float
        Of sources closer than this in pixels the more significant stays; 0: all that are told apart.
    roundlim, sharplim, margin, shoulder_threshold, shoulder_ring_factor, shoulder_n_angles
        As in `hyper_py.steps.detection.detect_high_pass`, on the map itself.
    shoulder_neighbor_mask
        As there.
    size : int, optional
        Side of the tiles in which the map is worked on, see `hyper_py.numerics.blocks.blocks`.
    fit : callable, optional
        Fits bright sources, see `hyper_py.detection.bright.Fit`; Gaussians by least squares if None.

    Returns
    -------
    Peaks
        Most significant first; `snr` is the significance.
    """
    field = Field.of(data, beam_covariance=beam_covariance, size=size)
    if field is None:
        return empty_peaks()
    found = search(field, fit=fit or partial(fit_gaussians, beam_covariance=beam_covariance))
    rate = false_rate(field, found)
    rate = rate.for_detections(np.concatenate([found.peaks.value, found.bright_snr]))
    threshold = sigma_threshold if max_false_rate is None else rate.threshold(max_false_rate)
    sources = candidates(field, found, rate, threshold=threshold)
    sources = sources.select(_inside(field, sources, margin, min_distance))
    row, column = (np.rint(at_).astype(np.intp) for at_ in (sources.points[:, 1], sources.points[:, 0]))
    shape = peak_shapes(field, daofind_kernel(beam_covariance), x=column, y=row)
    keep = np.flatnonzero(shape.within(roundlim, sharplim))
    sources, shape, row, column = sources.select(keep), shape.select(keep), row[keep], column[keep]
    x, y = sources.points.T
    peak = at(data, row, column) - field.mean
    score = shoulder_score(
        data, x=x, y=y, peak=peak, radius=shoulder_ring_factor * field.fwhm, n_angles=shoulder_n_angles,
        neighbor_radius=shoulder_neighbor_mask * field.fwhm,
    )  # fmt: skip
    peaks = Peaks(
        x, y, peak, sources.significance, shape.roundness, shape.roundness_marginal, shape.sharpness, score
    )
    return peaks if shoulder_threshold is None else peaks.select(~(score > shoulder_threshold))


def false_rate(field: Field, found: Searched) -> FalseRate:
    """Measure the rate of false peaks from the minima of the significance away from sources."""
    minima = find_maxima(field, negative(found.significance, field.shape), threshold=LOWEST)
    away, looked, inner = np.zeros(minima.x.size, dtype=bool), 0, 0
    for where in field.tiles:
        usable = field.inner(where)
        clean = usable & ~found.masks.sources(where, more=(CLEAN_BEAMS - MASK_BEAMS) * field.fwhm)
        inner, looked = inner + int(np.count_nonzero(usable)), looked + int(np.count_nonzero(clean))
        own = np.flatnonzero(is_inside(where, minima.y, minima.x))
        away[own] = clean[minima.y[own] - where[0].start, minima.x[own] - where[1].start]
    return measure_false_rate(minima.value[away], share=looked / max(inner, 1), n_beams=field.n_beams)


def candidates(field: Field, found: Searched, rate: FalseRate, *, threshold: float) -> Candidates:
    """Return the sources above a threshold: those that were fitted, and peaks of what they leave."""
    peaks = found.peaks
    positive = found.bright.sources[:, AMPLITUDE] > 0.0
    fitted = _told_apart(found.bright.sources[positive], found.bright_snr[positive], MERGED * field.fwhm)
    fitted = fitted._replace(significance=rate.significance(fitted.significance))
    points = refined(field, found.significance, peaks)
    same, _ = neighbours(fitted.points, points, SEPARATION * field.fwhm)
    others = np.setdiff1d(np.arange(len(points)), same)
    joined = Candidates(
        np.concatenate([fitted.points, points[others]]),
        np.concatenate([fitted.significance, rate.significance(peaks.value[others])]),
    )
    joined = joined.select(np.flatnonzero(joined.significance >= threshold))
    return joined.select(np.argsort(-joined.significance, kind="stable"))


def _told_apart(sources: FloatArray, snr: FloatArray, distance: float) -> Candidates:
    """Return fitted sources; what two Gaussians closer than a distance describe is one, at their mean."""
    points, flux = sources[:, [X, Y]], gaussian_flux(sources)
    near = each_apart(*neighbours(points, points, distance), len(points))
    free, places, significance = np.ones(len(points), dtype=bool), [], []
    for first in np.argsort(-flux, kind="stable"):
        if free[first]:
            group = near[first][free[near[first]]]
            free[group] = False
            places.append(np.average(points[group], axis=0, weights=flux[group]))
            significance.append(snr[group].max())
    return Candidates(np.reshape(places, (-1, 2)), np.array(significance))


def _inside(field: Field, sources: Candidates, margin: float, min_distance: float) -> np.ndarray:
    """Return which candidates are on the map, far enough from its border and from each other."""
    x, y = sources.points.T
    inside = inside_margin(field.shape, x=x, y=y, margin=max(margin, -0.4))
    index = np.flatnonzero(inside)
    if min_distance > 0.0:
        apart = brightest_apart(
            x[index], y[index], brightness=sources.significance[index], distance=min_distance
        )
        index = index[apart]
    return index


def peak_shapes(field: Field, kernel: DaofindKernel, *, x: IntArray, y: IntArray) -> DaofindStatistics:
    """Return DAOFIND's shape statistics of pixels on the map less its mean over the largest kernel."""
    smoothed, values = field.smoothed(field.data), np.full((3, x.size), np.nan)
    # Blank pixels take the value of the narrowest mean: a checkerboard of blanks leaves shapes as they are.

    def fill(rows: slice, columns: slice) -> FloatArray:
        narrow, mean = smoothed[rows, columns][:2]
        values: FloatArray = np.where(np.isfinite(field.data[rows, columns]), narrow, mean)
        return values

    flat = field.plane(fill)
    halo = 2 * max(side // 2 for side in kernel.inside.shape)
    for where in field.tiles:
        own = np.flatnonzero(is_inside(where, y, x))
        if own.size:
            (rows, columns), _ = grown(where, halo, field.shape)
            piece = flat[rows, columns]
            shapes = daofind_statistics(
                piece, convolve_kernel(piece, kernel.weights), kernel=kernel, x=x[own] - columns.start,
                y=y[own] - rows.start,
            )  # fmt: skip
            values[:, own] = shapes.roundness, shapes.roundness_marginal, shapes.sharpness
    return DaofindStatistics(*values)
