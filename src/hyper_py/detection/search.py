"""Search of a map: bright sources are fitted and taken off until none is left, then the filter is final."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray, IndexArray
from hyper_py.detection.bright import Fit, beam_sized
from hyper_py.detection.field import Field, Smoothed
from hyper_py.detection.filter_noise import CROWD_BRIGHTNESS
from hyper_py.detection.filtering import (
    MASK_BEAMS,
    Filtered,
    Planes,
    by_holes,
    first_mask,
    measure_filter,
    refilter,
)
from hyper_py.detection.fit_residual import RingNoise, fit_residual_noise, square, strong_sources
from hyper_py.detection.masks import Masks, SourceMask
from hyper_py.detection.maxima import SEPARATION, Maxima, between_pixels, find_maxima, negative, neighbourhood
from hyper_py.detection.weights import EdgeWeights
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.numerics.gaussians import AMPLITUDE, N_PARAMETERS, SIGMA_1, SIGMA_2, X, Y, drawn
from hyper_py.numerics.medians import scatter
from hyper_py.numerics.pairs import pairs_within
from hyper_py.numerics.parallel import in_parts, once
from hyper_py.numerics.tiles import LazyPlane, Plane, sample
from hyper_py.stages import count_for_nobody

TEMPLATE = 1.1
"""Size in beams of the sources looked for: rarely smaller than the beam, often a little larger."""
LOWEST = 2.5
"""Significance from which peaks are listed."""
BRIGHT = 20.0
"""Peaks above this significance are fitted and taken off."""
CROWD_NOISE, CROWD_BRIGHT, CROWD_CLEAR = 1.5, 2.5, 5.0
"""A crowd of sources looks like loud noise, but is bright on scales of some beams as well. Where the noise is
louder than is typical by the first factor, and the brightness differs by `CROWD_BRIGHTNESS` sigma from its
median (sigma multiplied by that factor), peaks of the second significance that would be bright elsewhere are
fitted, too. Those of the third are in any case: what is left of a crowd stays loud until they are off.
"""
RING_BEAMS, RING_SHARE, HOLE_SHARE = 5.0, 0.15, 0.4
"""Within so many beams, a peak with less than this share of another's significance may be its ring, and waits
until that is off; the second share is that between peaks and holes."""
COMPANION_BEAMS, COMPANION_THRESHOLD = 1.3, 4.0
"""Peaks so near a source that was fitted are fitted with it, since that took part of their light."""
COMPANION_ROUNDS = 2
MASK_THRESHOLD, FAINT_THRESHOLD = 5.0, 3.5
FAINT_REACH = 1.5
"""The mask of what may be sources reaches farther around clear ones, by this factor."""
REFITS = 3
OWN_MEAN, SETTLED = 0.01, 0.5
"""Fits are to the map less its local mean, in which is a part of the source's own light: this share of an
amplitude is wrong until the next round; what that leaves must be below so many sigma."""
REACH_BEAMS = 4.0
"""Sources so near one that has changed are fitted again."""
NEAR_BEAMS = 2.0
"""Fitted sources this near count with the significance of each other."""
CHECKED, LEFT_BEAMS, LEFT_SHARE = 1000.0, 1.0, 0.01
"""Above this S/N a fit is believed as far as what it leaves within so many beams is below this share."""
CHECKED_TOGETHER = 64
"""So many of them are one part of the work."""
LAST_PLANES = 2
"""Planes of the smoothed map that the shapes of peaks are measured on."""
NO_SOURCES: FloatArray = np.empty((0, N_PARAMETERS))
MOST_FITS, MOST_ROUNDS, FIRST_MEASURED = 6, 10, 2
"""Rounds with fits, in all, and those at the beginning in which the filter is measured."""


@dataclass(frozen=True, eq=False)
class Bright:
    """Sources taken off a map.

    Attributes
    ----------
    sources : ndarray, shape (n, 6)
        Negative ones too.
    model : Plane, shape (ny, nx)
        Their sum.
    smoothed : Smoothed
        What the kernels see of it.
    change : ndarray, shape (n,)
        Share by which the last fit of each has changed its amplitude; 1 for the first one.
    """

    sources: FloatArray
    model: Plane
    smoothed: Smoothed
    change: FloatArray

    @classmethod
    def of(cls, field: Field, sources: FloatArray, change: FloatArray) -> "Bright":
        """Return sources with their sum."""
        if not len(sources):
            nothing = field.nothing()
            return cls(sources, nothing.source, nothing, change)
        model = field.plane(drawn(sources, field.shape).make)
        return cls(sources, model, field.smoothed(model), change)

    def unsettled(self, snr: FloatArray) -> BoolArray:
        """Return which of them, of this S/N, another fit may change by more than their noise."""
        unsettled: BoolArray = OWN_MEAN * self.change * np.abs(snr) > SETTLED
        return unsettled

    def points(self, chosen: IndexArray) -> FloatArray:
        """Return positions, order (x, y)."""
        points: FloatArray = self.sources[chosen][:, [X, Y]]
        return points


@dataclass(frozen=True, eq=False)
class Searched:
    """What a search has found.

    Attributes
    ----------
    view : Filtered
        The map less its bright sources.
    significance : Plane, shape (ny, nx)
        Its amplitude over its noise and what fits may have left; 0 where nothing is looked for.
    whole : Plane, shape (ny, nx)
        The same with the bright sources.
    peaks : Maxima
        Of the significance; in the end with their heights between pixels.
    bright : Bright
    bright_snr : ndarray, shape (n,)
        Amplitude of the bright sources together over the noise, at each of them.
    masks : Masks
        Where the noise was not measured.
    planes : Planes
        What the kernels see of the map and of the bright sources; in the end the first `LAST_PLANES` of that.
    """

    view: Filtered
    significance: Plane
    whole: Plane
    peaks: Maxima
    bright: Bright
    bright_snr: FloatArray
    masks: Masks
    planes: Planes


def search(
    field: Field,
    *,
    fit: Fit,
    start: FloatArray = NO_SOURCES,
    advance: Callable[[int], None] = count_for_nobody,
) -> Searched:
    """Search a map, see `Searched`.

    The filter is measured in the first two rounds, and again when no bright source is left.

    Parameters
    ----------
    field : Field
    fit : Fit
    start : ndarray, shape (n, 6)
        Bright sources that are known.
    advance : callable
        Called with 1 after each of at most `MOST_ROUNDS` rounds.
    """
    bright = Bright.of(field, start, np.ones(len(start)))
    planes = Planes(field.smoothed_map(), bright.smoothed)
    masks, companions, measuring = Masks(*[first_mask(field, planes.whole)] * 2), 0, True
    view: Filtered | None = None
    found: Searched | None = None
    for turn in range(MOST_ROUNDS):
        last = turn == MOST_ROUNDS - 1
        if view is None or turn < FIRST_MEASURED or measuring or last:
            noise = None if view is None else view.noise
            view = found = None  # their planes go before others are made
            view = measure_filter(field, planes, masks, before=noise, template=TEMPLATE)
        else:
            found = None
            view = refilter(field, planes, view, template=TEMPLATE)
        found = look(field, view, bright, masks, planes)
        new = _new_bright(field, found) if turn < MOST_FITS else NO_SOURCES
        if not len(new) and companions < COMPANION_ROUNDS and turn:
            new, companions = _companions(field, found), companions + 1
        again = bright.unsettled(found.bright_snr)
        fitting = len(new) > 0 or bool(again.any())
        if last or (measuring and turn and not fitting):
            break
        if fitting:
            bright = _fitted(field, _flattened(field, view, bright.model), bright, new, fit, again=again)
            planes = replace(planes, model=bright.smoothed)
        masks, measuring = _masks(field, found.peaks, bright.sources), not fitting
        advance(1)
    assert view is not None
    found = None
    # Not before: while bright sources are missing, what surrounds them is louder than its holes say.
    found = look(field, by_holes(field, view), bright, masks, planes)
    found = replace(found, peaks=between_pixels(field, found.significance, found.peaks))
    return found if field.keep else _without_files(field, found)


def _without_files(field: Field, found: Searched) -> Searched:
    """Return what was found without the files that further rounds alone would need."""
    view, anew = found.view, field.smoothed(field.data)
    bright = found.bright
    if len(bright.sources):
        model = drawn(bright.sources, field.shape)
        bright = replace(bright, model=model, smoothed=field.smoothed(model))
    planes = Planes(found.planes.whole.first(LAST_PLANES), bright.smoothed)
    view = replace(
        view, source=bright.model, whole=view.whole._replace(widest=anew.plane(-1)),
        finest=LazyPlane(field.shape, lambda *where: planes.finest(where)),
    )  # fmt: skip
    return replace(found, view=view, bright=bright, planes=planes)


def look(field: Field, view: Filtered, bright: Bright, masks: Masks, planes: Planes) -> Searched:
    """Return the peaks of a filtered map over all its noise."""

    def over_noise(rows: slice, columns: slice) -> FloatArray:
        where = rows, columns
        return np.where(field.inner(where), view.amplitude[where] / view.rms[where], 0.0)

    if not len(bright.sources):
        snr, significance = np.empty(0), field.plane(over_noise)
        whole = significance
    else:
        pixels = _pixels(bright.sources, field.shape)
        distance, light = field.at(field.distance, *pixels), field.at(view.brightness, *pixels)
        noise = view.noise.at_pixels(*pixels, distance=distance, brightness=light)
        together = field.at(view.model, *pixels)
        snr = np.maximum(together, _near_amplitude(field, view.weights, bright.sources)) / noise
        snr = np.where(bright.sources[:, AMPLITUDE] > 0.0, snr, together / noise)
        residual = _fit_residual(field, view, bright, snr)

        def with_fit_residual(rows: slice, columns: slice) -> FloatArray:
            where = rows, columns
            total = np.hypot(view.rms[where], residual[where])
            return np.where(field.inner(where), view.amplitude[where] / total, 0.0)

        first = field.plane(with_fit_residual)
        strong = strong_sources(bright.sources, snr * noise, noise)
        rings = RingNoise.measure(first, strong, fwhm=field.fwhm)
        significance = first
        if len(rings.points):
            significance = field.plane(lambda *where: first[where] / rings.factor(where))

        filtered, rms = view.whole.filtered, view.rms  # not the view: it would keep all its files

        def with_bright(rows: slice, columns: slice) -> FloatArray:
            where = rows, columns
            return np.where(field.inner(where), filtered[where] / rms[where], 0.0)

        whole = LazyPlane(field.shape, with_bright)
    peaks = find_maxima(field, significance, threshold=LOWEST)
    return Searched(view, significance, whole, peaks, bright, snr, masks, planes)


def _near_amplitude(field: Field, weights: EdgeWeights, sources: FloatArray) -> FloatArray:
    """Return the filtered amplitude at each source of it and those within `NEAR_BEAMS`, far from edges.

    The rings of a far brighter one are not in it. Sources and kernels count as circles.
    """
    points = sources[:, [X, Y]]
    place, other = pairs_within(points, points, NEAR_BEAMS * field.fwhm)
    beam = field.fwhm / FWHM_PER_SIGMA
    size = np.sqrt(sources[other, SIGMA_1] * sources[other, SIGMA_2]) / beam
    away = np.hypot(*(points[place] - points[other]).T) / beam
    light = sources[other, AMPLITUDE] * (field.family.response_at(size, away) @ weights.values[-1])
    return np.bincount(place, light, minlength=len(sources)).astype(np.float64)


def _fit_residual(field: Field, view: Filtered, bright: Bright, snr: FloatArray) -> Plane:
    """Return the noise of what fits may leave; less where a far brighter source is seen to leave little."""
    near = neighbourhood(SEPARATION * field.fwhm)
    model, filtered = bright.model, view.model
    checked = np.flatnonzero(np.abs(snr) > CHECKED)
    if checked.size:
        trust = np.zeros(len(bright.sources))
        around = [square(x, y, LEFT_BEAMS * field.fwhm, field.shape) for x, y in bright.points(checked)]
        left = in_parts(
            lambda where: float(np.abs(view.amplitude[where]).max(initial=0.0)), around, n=CHECKED_TOGETHER
        )
        for k, residual in zip(checked, left, strict=True):
            trust[k] = max(0.0, 1.0 - residual / (LEFT_SHARE * abs(bright.sources[k, AMPLITUDE])))
        sources = bright.sources[trust > 0.0].copy()
        sources[:, AMPLITUDE] *= trust[trust > 0.0]
        sure = field.plane(drawn(sources, field.shape).make)
        smoothed = field.smoothed(sure)
        model = field.plane(lambda *where: bright.model[where] - sure[where])
        filtered = field.plane(
            lambda *where: view.model[where] - view.weights.apply(smoothed.each(where), field.distance[where])
        )
    return fit_residual_noise(field, model, filtered, near=near)


def _pixels(sources: FloatArray, shape: tuple[int, int]) -> tuple[IndexArray, IndexArray]:
    """Return y and x of the pixels nearest to sources, on the map."""
    y, x = (
        np.clip(np.rint(sources[:, column]).astype(np.intp), 0, n - 1)
        for column, n in zip((Y, X), shape, strict=True)
    )
    return y, x


def _new_bright(field: Field, found: Searched) -> FloatArray:
    """Return bright peaks, and holes, as sources to be fitted, without those that may be rings of others."""
    holes = find_maxima(field, negative(found.significance, field.shape), threshold=BRIGHT)
    peaks = found.peaks.select((found.peaks.value > BRIGHT) | _in_crowds(field, found))
    sign = np.repeat([1.0, -1.0], [peaks.x.size, holes.x.size])
    both = Maxima(*(np.concatenate(part) for part in zip(peaks, holes, strict=True)))
    faint, bright = pairs_within(both.points, both.points, RING_BEAMS * field.fwhm)
    share = np.where(sign[faint] == sign[bright], RING_SHARE, HOLE_SHARE)
    waits = faint[both.value[faint] < share * both.value[bright]]
    return _sources(field, found, both.select(np.setdiff1d(np.arange(sign.size), waits)))


def _in_crowds(field: Field, found: Searched) -> BoolArray:
    """Return which peaks are bright, but for the loud noise that a crowd of sources looks like."""
    view, place = found.view, (found.peaks.y, found.peaks.x)
    noise = view.noise.at_pixels(*place, distance=field.at(field.distance, *place))
    light, loud = field.at(view.brightness, *place), noise / view.level
    crowded: BoolArray = (loud > CROWD_NOISE) & (found.peaks.value > CROWD_BRIGHT)
    crowded &= field.at(view.amplitude, *place) > BRIGHT * view.level
    if crowded.any():
        middle, sigma = once(lambda: _middle_and_scatter(sample(view.brightness, size=field.size)))
        is_bright = np.abs(light - middle) > CROWD_BRIGHTNESS * sigma * loud
        crowded &= is_bright | (found.peaks.value > CROWD_CLEAR)
    return crowded


def _middle_and_scatter(known: FloatArray) -> tuple[float, float]:
    return float(np.median(known)), scatter(known)


def _companions(field: Field, found: Searched) -> FloatArray:
    """Return peaks close to sources that were fitted, to be fitted together with them."""
    peaks = found.peaks.select(found.peaks.value > COMPANION_THRESHOLD)
    positive = np.flatnonzero(found.bright.sources[:, AMPLITUDE] > 0.0)
    points = found.bright.points(positive)
    near, _ = pairs_within(points, peaks.points, COMPANION_BEAMS * field.fwhm)
    return _sources(field, found, peaks.select(np.unique(near)))


def _sources(field: Field, found: Searched, peaks: Maxima) -> FloatArray:
    amplitude = field.at(found.view.amplitude, peaks.y, peaks.x)
    covariance = field.family.beam_covariance
    x, y = peaks.points.T
    return beam_sized(x, y, amplitude, beam_covariance=covariance, size=TEMPLATE)


def _flattened(field: Field, view: Filtered, model: Plane) -> Plane:
    """Return the map without the local mean of what the model leaves of it."""

    def make(rows: slice, columns: slice) -> FloatArray:
        where = rows, columns
        return np.where(field.valid(where), view.finest[where] + model[where], np.nan)

    return field.plane(make) if field.is_small else LazyPlane(field.shape, make)


def _fitted(
    field: Field, flat: Plane, known: Bright, start: FloatArray, fit: Fit, *, again: BoolArray
) -> Bright:
    """Fit new sources, some known ones and those beside; a new one that cannot be fitted is dropped."""
    before = np.concatenate([known.sources, start])
    sources, is_new = before, np.arange(len(before)) >= len(known.sources)
    changed, number = np.concatenate([again, np.ones(len(start), dtype=bool)]), np.arange(len(before))
    fitted = changed.copy()
    for _ in range(REFITS):
        result = fit(flat, sources, changed)
        failed = np.asarray(np.isnan(result).any(axis=1))
        stays = ~(failed & is_new)
        fitted[number[changed]] = True
        sources = np.where(failed[:, None], sources, result)[stays]
        changed, is_new, number = changed[stays], is_new[stays], number[stays]
        points = sources[:, [X, Y]]
        _, near = pairs_within(points, points[changed], REACH_BEAMS * field.fwhm)
        changed[near] = True
    first = before[number, AMPLITUDE]
    change = np.abs(sources[:, AMPLITUDE] / first - 1.0)
    change[~fitted[number]] = known.change[number[~fitted[number]]]
    change[is_new] = 1.0
    return Bright.of(field, sources, change)


def _masks(field: Field, peaks: Maxima, sources: FloatArray) -> Masks:
    """Return masks around peaks and fitted sources, those wider where a source is."""
    strong = peaks.select(peaks.value > MASK_THRESHOLD)
    faint = peaks.select((peaks.value > FAINT_THRESHOLD) & (peaks.value <= MASK_THRESHOLD))
    size = FWHM_PER_SIGMA * np.sqrt(sources[:, SIGMA_1] * sources[:, SIGMA_2]) / field.fwhm
    radius = MASK_BEAMS * field.fwhm
    # Few different radii: discs of one radius are drawn together.
    radii = radius * np.concatenate([np.ones(strong.x.size), np.ceil(4.0 * np.maximum(size, 1.0)) / 4.0])
    points = np.concatenate([strong.points, sources[:, [X, Y]]])
    wider = np.concatenate([FAINT_REACH * radii, np.full(faint.x.size, radius)])
    return Masks(SourceMask(points, radii), SourceMask(np.concatenate([points, faint.points]), wider))
