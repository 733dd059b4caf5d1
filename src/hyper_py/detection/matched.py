"""Detection with the best filter in a family of beam-shaped Gaussians, bright sources taken off first.

The filter is the sum of the map and its means over Gaussians of the beam's shape that has the least variance
outside sources and a response of 1 to a source (`hyper_py.detection.weights`). Its noise follows the map
(`filter_noise`), bright sources are fitted and subtracted (`bright`), what fits may leave counts as noise
(`fit_residual`), and the significance of a peak says how often noise makes such a one (`false_rate`).
"""

import math
from dataclasses import astuple, dataclass, replace
from functools import cached_property, partial

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray, IndexArray
from hyper_py.detection.bright import Fit, fit_gaussians
from hyper_py.detection.candidates import Candidates
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
from hyper_py.detection.false_rate import FalseRate, asymmetry_of_tail, measure_asymmetry, measure_false_rate
from hyper_py.detection.field import Field, Smoothed
from hyper_py.detection.filtering import MASK_BEAMS
from hyper_py.detection.kernels import KernelFamily
from hyper_py.detection.maxima import LOWEST_PIXEL, SEPARATION, between_pixels, find_maxima, negative, refined
from hyper_py.detection.obvious import obvious_sources
from hyper_py.detection.peaks import Peaks, empty_peaks
from hyper_py.detection.search import LOWEST, MOST_ROUNDS, TEMPLATE, Searched, search
from hyper_py.detection.wide import (
    OCTAVES,
    Octave,
    away_from_edges,
    binned_pixels,
    joined,
    on_map,
    search_octave,
)
from hyper_py.numerics.gaussians import AMPLITUDE, X, Y, gaussian_flux
from hyper_py.numerics.medians import scatter
from hyper_py.numerics.pairs import group_pairs, pairs_within
from hyper_py.numerics.tiles import Plane, Where, at, grown, is_inside
from hyper_py.stages import counter

POSITION_STEP, SIGNIFICANCE_STEP = 2.0**-10, 2.0**-10
"""Positions are rounded to the first, in pixels, significances to the second."""
MERGED = 0.5
"""Fitted Gaussians closer than this many beams are the profile of one source."""
CLEAN_BEAMS = 2.5
"""False peaks are counted this far from sources, beyond the rings of those that are not taken off."""
EXCESS_PIXELS = 4000
"""The noise of pixels is measured on so many of them."""
DOUBTFUL, WIDER = 4.0, 0.5
"""Peaks below the first, in sigma, may be knots of the background. All of them are if they have more than the
second beyond what sources have on scales of some beams: faint sources -.3 to .3, log-normal cirrus 1 to 3."""


def detect_matched(
    data: Plane,
    *,
    beam_covariance: FloatArray,
    limits: PeakLimits,
    max_false_rate: float | None = None,
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
    limits : PeakLimits
        As many peaks exceed its `sigma_threshold` by chance as beams of Gaussian noise do, one in 32,000
        beams for 4. A `min_distance` of 0 keeps all that are told apart.
    max_false_rate : float, optional
        Number of false detections to expect in the map; if given, it sets the threshold instead.
    size : int, optional
        Side of the tiles in which the map is worked on, see `hyper_py.numerics.tiles.tiles`.
    fit : callable, optional
        Fits bright sources, see `hyper_py.detection.bright.Fit`; Gaussians by least squares if None.

    Returns
    -------
    Peaks
        Most significant first; `snr` is the significance.
    """
    view = MatchedSearch.of(
        data,
        beam_covariance=beam_covariance,
        limits=limits,
        max_false_rate=max_false_rate,
        size=size,
        fit=fit,
    )
    if view is None:
        return empty_peaks()
    sources = view.candidates
    sources = sources.select(np.flatnonzero(sources.significance >= view.limits.sigma_threshold))
    statistics, checks = view.check(sources)
    kept = brightest_checked(
        sources.points, sources.significance, all_passed(checks), distance=view.limits.min_distance
    )
    sources, statistics = sources.select(kept), statistics.select(kept)
    peak = view.peak(sources)
    shoulder = shoulder_check(data, points=sources.points, peak=peak, limits=limits, fwhm=view.field.fwhm)
    x, y = sources.points.T
    peaks = Peaks(
        x, y, peak, sources.significance, statistics.roundness, statistics.roundness_marginal,
        statistics.sharpness, shoulder.values, sources.size,
    )  # fmt: skip
    return peaks.select(shoulder.passed)


@dataclass(frozen=True, eq=False)
class MatchedSearch:
    """A map that was searched.

    Attributes
    ----------
    data : Plane, shape (ny, nx)
    field : Field
    found : Searched
    rate : FalseRate
    wide : tuple of Octave
        Searches for sources wider than the beam.
    limits : PeakLimits
        With the threshold that is used.
    kernel : DaofindKernel
    """

    data: Plane
    field: Field
    found: Searched
    rate: FalseRate
    wide: tuple[Octave, ...]
    limits: PeakLimits
    kernel: DaofindKernel

    @classmethod
    def of(
        cls,
        data: Plane,
        *,
        beam_covariance: FloatArray,
        limits: PeakLimits,
        max_false_rate: float | None = None,
        size: int | None = None,
        fit: Fit | None = None,
    ) -> "MatchedSearch | None":
        """Search a map; None if it does not vary. Parameters as `detect_matched`."""
        field = Field.of(data, beam_covariance=beam_covariance, size=size)
        if field is None:
            return None
        fit = fit or partial(fit_gaussians, beam_covariance=beam_covariance)
        start = obvious_sources(field, fit=fit, size=TEMPLATE)
        found = search(field, fit=fit, start=start, advance=counter("detection", MOST_ROUNDS))
        rate = false_rate(field, found)
        if rate.asymmetry > 0.0:
            share = background_share(field, found)
            rate = replace(rate, asymmetry=asymmetry_of_tail(rate.asymmetry, share=share))
        rate = rate.for_detections(np.concatenate([found.peaks.value, found.bright_snr]))
        if max_false_rate is not None:
            limits = replace(limits, sigma_threshold=rate.threshold(max_false_rate))
        wide = wide_octaves(data, family=field.family, size=size)
        return cls(data, field, found, rate, wide, limits, daofind_kernel(beam_covariance))

    @cached_property
    def candidates(self) -> Candidates:
        """All sources and peaks, the most significant first."""
        compact = candidates(self.field, self.found, self.rate)
        return joined([Octave(1, self.field, self.found, compact), *self.wide])

    def check(self, sources: Candidates) -> tuple[DaofindStatistics, tuple[Check, ...]]:
        """Return the shapes of places, each on the map it was found on, and the checks of each by itself."""
        shapes, excess_rms = np.full((4, len(sources.points)), np.nan), np.zeros(len(sources.points))
        octaves = ((octave.step, octave.field, octave.found) for octave in self.wide)
        for step, field, found in ((1, self.field, self.found), *octaves):
            own = np.flatnonzero(sources.step == step)
            if own.size:
                x, y = binned_pixels(sources.points[own], step, field.shape)
                shapes[:, own], excess_rms[own] = shapes_in_noise(
                    field, found.planes.whole, self.kernel, x=x, y=y
                )
        statistics = DaofindStatistics(*shapes)
        margin = max(self.limits.margin, -0.4)
        border = border_check(self.field.shape, x=sources.points[:, 0], y=sources.points[:, 1], margin=margin)
        return statistics, (
            Check("significance", sources.significance, self.limits.sigma_threshold),
            *shape_checks(statistics, self.limits, excess_rms=excess_rms, may_be_hollow=sources.step > 1),
            border,
        )

    def place(self, x: int, y: int) -> Candidates:
        """Return a pixel with the significance of what bright sources leave there."""
        residual = self.field.at(self.found.significance, np.array([y]), np.array([x]))
        return Candidates.compact(np.array([[float(x), float(y)]]), self.rate.significance(residual))

    def peak(self, sources: Candidates) -> FloatArray:
        """Return the values of the map less its mean at the pixels of places, shape (n,).

        On a blank pixel, such as a saturated one, it is what the sources fitted around it have there, or else
        what the filter sees.
        """
        x, y = sources.pixels
        peak = at(self.data, y, x) - self.field.mean
        blank = np.isnan(peak)
        if blank.any():
            place = y[blank], x[blank]
            planes = self.found.bright.model, self.found.view.whole.filtered
            peak[blank] = self.field.scale * np.maximum(*(self.field.at(plane, *place) for plane in planes))
        return peak


def false_rate(field: Field, found: Searched) -> FalseRate:
    """Measure the rate of false peaks from minima and skewness of the significance away from sources."""
    inverted = negative(found.significance, field.shape)
    minima = find_maxima(field, inverted, threshold=LOWEST_PIXEL * LOWEST)
    minima = between_pixels(field, inverted, minima)
    away, looked, inner = np.zeros(minima.x.size, dtype=bool), 0, 0
    values = []

    def of_tile(where: Where) -> tuple[int, int, IndexArray, BoolArray, FloatArray]:
        usable, comb = field.inner(where), field.comb(where)
        quiet = found.significance[where][comb][(usable & ~found.masks.faint(where))[comb]]
        clean = usable & ~found.masks.sources(where, more=(CLEAN_BEAMS - MASK_BEAMS) * field.fwhm)
        own = np.flatnonzero(is_inside(where, minima.y, minima.x))
        here = clean[minima.y[own] - where[0].start, minima.x[own] - where[1].start]
        return int(np.count_nonzero(usable)), int(np.count_nonzero(clean)), own, here, quiet

    for _, (n_usable, n_clean, own, here, quiet) in field.pieces(of_tile):
        inner, looked = inner + n_usable, looked + n_clean
        away[own] = here
        values.append(quiet)
    return measure_false_rate(
        minima.value[away], share=looked / max(inner, 1), n_beams=field.n_beams,
        asymmetry=measure_asymmetry(np.concatenate(values)),
    )  # fmt: skip


def background_share(field: Field, found: Searched) -> float:
    """Return whether the asymmetry of a filtered map is that of its background (1 or more) or of sources (0).

    The knots of cirrus are wider than sources: they are bright on scales of some beams as well. What peaks
    have of that beyond minima, in units of what sources have of it, tells one from the other. In deep maps
    the noise is that of faint sources.
    """
    inverted = negative(found.significance, field.shape)
    minima = between_pixels(field, inverted, find_maxima(field, inverted, threshold=LOWEST))
    amplitude = brightness = 0.0
    for peaks in (found.peaks, minima):
        doubtful = peaks.select(peaks.value < DOUBTFUL)
        amplitude += float(np.sum(field.at(found.view.amplitude, doubtful.y, doubtful.x)))
        brightness += float(np.sum(field.at(found.view.brightness, doubtful.y, doubtful.x)))
    of_sources = float(field.family.response(TEMPLATE)[-1]) * amplitude
    return brightness / (WIDER * of_sources) if of_sources > 0.0 else math.inf


def candidates(field: Field, found: Searched, rate: FalseRate) -> Candidates:
    """Return the sources that were fitted, and the peaks of what they leave."""
    peaks = found.peaks
    positive = found.bright.sources[:, AMPLITUDE] > 0.0
    fitted = _separated(found.bright.sources[positive], found.bright_snr[positive], MERGED * field.fwhm)
    fitted = fitted._replace(significance=rate.significance(fitted.significance))
    points, significance = refined(field, found.significance, peaks), rate.significance(peaks.value)
    peak, source = pairs_within(fitted.points, points, SEPARATION * field.fwhm)
    explained = significance[peak] <= fitted.significance[source]
    others = np.setdiff1d(np.arange(len(points)), peak[explained])
    # A fit that left more than it took is none.
    failed = source[np.isin(peak, others)]
    fitted = fitted.select(np.setdiff1d(np.arange(len(fitted.points)), failed))
    places = np.concatenate([fitted.points, points[others]])
    significance = np.concatenate([fitted.significance, significance[others]])
    # What rounding makes of a fit must not depend on the unit of the map.
    both = Candidates.compact(
        np.rint(places / POSITION_STEP) * POSITION_STEP,
        np.rint(significance / SIGNIFICANCE_STEP) * SIGNIFICANCE_STEP,
    )
    return both.select(np.argsort(-both.significance, kind="stable"))


def wide_octaves(data: Plane, *, family: KernelFamily, size: int | None) -> tuple[Octave, ...]:
    """Return the searches of a map for sources wider than the beam, as far as the map is large enough."""
    octaves, advance = [], counter("wide sources", len(OCTAVES) * MOST_ROUNDS)
    for step in OCTAVES:
        searched = search_octave(data, step, family=family, size=size, advance=advance)
        if searched is not None:
            field, found = searched
            rate = false_rate(field, found)
            rate = replace(rate, asymmetry=asymmetry_of_tail(rate.asymmetry, share=math.inf))
            rate = rate.for_detections(np.concatenate([found.peaks.value, found.bright_snr]))
            wide = away_from_edges(candidates(field, found, rate), field)
            octaves.append(Octave(step, field, found, on_map(wide, step)))
    return tuple(octaves)


def _separated(sources: FloatArray, snr: FloatArray, distance: float) -> Candidates:
    """Return fitted sources; what two Gaussians closer than a distance describe is one, at their mean."""
    points, flux = sources[:, [X, Y]], gaussian_flux(sources)
    near = group_pairs(*pairs_within(points, points, distance), len(points))
    free, places, significance = np.ones(len(points), dtype=bool), [], []
    for first in np.argsort(-flux, kind="stable"):
        if free[first]:
            group = near[first][free[near[first]]]
            free[group] = False
            places.append(np.average(points[group], axis=0, weights=flux[group]))
            significance.append(snr[group].max())
    return Candidates.compact(np.reshape(places, (-1, 2)), np.array(significance))


def peak_shapes(
    field: Field, smoothed: Smoothed, kernel: DaofindKernel, *, x: IndexArray, y: IndexArray
) -> DaofindStatistics:
    """Return DAOFIND's shape statistics of pixels on the map less its mean over the largest kernel."""
    (narrow, mean), values = map(smoothed.plane, (0, 1)), np.full((4, x.size), np.nan)
    # Blank pixels take the value of the narrowest mean: a checkerboard of blanks leaves shapes as they are.

    def fill(rows: slice, columns: slice) -> FloatArray:
        where = rows, columns
        values: FloatArray = np.where(field.valid(where), narrow[where], mean[where])
        return values

    flat = field.derived(fill)
    halo = 2 * max(side // 2 for side in kernel.inside.shape)

    def of_tile(where: Where) -> FloatArray:
        own = np.flatnonzero(is_inside(where, y, x))
        if not own.size:
            return np.empty((4, 0))
        (rows, columns), _ = grown(where, halo, field.shape)
        piece = flat[rows, columns]
        shapes = daofind_statistics(
            piece, convolve_kernel(piece, kernel.weights), kernel=kernel, x=x[own] - columns.start,
            y=y[own] - rows.start,
        )  # fmt: skip
        return np.stack(astuple(shapes))

    for where, shapes in field.pieces(of_tile):
        values[:, is_inside(where, y, x)] = shapes
    return DaofindStatistics(*values)


def shapes_in_noise(
    field: Field, smoothed: Smoothed, kernel: DaofindKernel, *, x: IndexArray, y: IndexArray
) -> tuple[FloatArray, float]:
    """Return the shape statistics of pixels, (4, n), and the rms of pixels less the mean of their neighbours.

    That is measured on a grid of pixels of the map.
    """
    step = max(1, round((field.shape[0] * field.shape[1] / EXCESS_PIXELS) ** 0.5))
    rows, columns = (part.ravel() for part in np.mgrid[: field.shape[0] : step, : field.shape[1] : step])
    far = field.at(field.distance, rows, columns) >= 1.0
    both = peak_shapes(
        field, smoothed, kernel, x=np.concatenate([x, columns[far]]), y=np.concatenate([y, rows[far]])
    )
    grid = both.select(np.arange(x.size, x.size + np.count_nonzero(far)))
    excess = grid.sharpness * grid.convolved
    excess = excess[np.isfinite(excess)]
    return np.stack(astuple(both))[:, : x.size], scatter(excess) if excess.size else 0.0
