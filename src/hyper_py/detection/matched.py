"""Detection with the best filter in a family of beam-shaped Gaussians, bright sources taken off first."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from hyper_py.detection.bright import Fit, beam_sized, fit_gaussians
from hyper_py.detection.field import BoolArray, Field, PixelMask, Smoothed, SourceMask
from hyper_py.detection.filter_noise import (
    MAD_TO_RMS,
    FilterNoise,
    MeshGatherer,
    brightness_curve,
    cell_side,
    edge_curve,
)
from hyper_py.detection.weights import EdgeWeights, ProductSums
from hyper_py.geometry import FloatArray
from hyper_py.numerics.blocks import LazyPlane, Plane, Where, at, grown, is_inside, sample
from hyper_py.numerics.models import AMPLITUDE, SIGMA_1, SIGMA_2, X, Y, drawn
from hyper_py.numerics.neighbours import neighbours
from hyper_py.steps.daofind import daofind_kernel
from hyper_py.steps.detection import (
    Peaks,
    empty_peaks,
    inside_margin,
    local_maxima,
    refine_positions,
    shoulder_score,
)

TEMPLATE = 1.1
"""Size in beams of the sources that are looked for."""
BRIGHT = 20.0
"""Peaks above this significance are fitted and taken off."""
RING_SHARE = 0.15
"""A peak this much fainter than one within `RING_BEAMS` may be its ring, and waits until that is taken off."""
RING_BEAMS = 5.0
MASK_THRESHOLD = 5.0
MASK_BEAMS, CLEAN_BEAMS = 1.3, 2.5
"""Weights and noise are measured this far from sources; how noise depends on brightness, that far."""
COMPANION_BEAMS = 1.3
COMPANION_THRESHOLD = 4.0
SEPARATION = 0.6
"""Peaks closer than this many beams are one."""
RING_MISFIT, CORE_MISFIT = 0.03, 0.1
"""What a fit may leave: shares of the filtered model's highest value nearby, and of the model."""
MOST_FITS, MOST_ROUNDS = 6, 8


@dataclass(frozen=True, eq=False)
class Filtered:
    """A map as a filter sees it.

    Attributes
    ----------
    weights : EdgeWeights
    amplitude : Plane, shape (ny, nx)
        Amplitude of a source of the template's size at each pixel.
    brightness : Plane, shape (ny, nx)
        The map on scales of some beams, without the filtered map's share.
    noise : FilterNoise
    """

    weights: EdgeWeights
    amplitude: Plane
    brightness: Plane
    noise: FilterNoise


def mad(values: FloatArray) -> float:
    return MAD_TO_RMS * float(np.median(np.abs(values - np.median(values))))


def first_mask(field: Field, smoothed: Smoothed) -> PixelMask:
    """Mask what stands out of a difference of two Gaussians before any filter is known."""

    def make(rows: slice, columns: slice) -> FloatArray:
        planes = smoothed[rows, columns]
        return np.where(field.inner((rows, columns)), planes[2] - planes[5], np.nan)

    plane = field.plane(make)
    known = sample(plane, size=field.size)
    limit = 6.0 * mad(known) if known.size else math.inf
    return PixelMask(plane, limit, (MASK_BEAMS - 0.5) * field.fwhm)


def measure(field: Field, smoothed: Smoothed, mask, before: FilterNoise | None, template: float) -> Filtered:
    """Measure weights and noise outside sources."""
    cell, fwhm = cell_side(field.fwhm), field.fwhm
    inner = usable_count = 0
    for where in field.tiles:
        good = field.inner(where)
        inner += np.count_nonzero(good)
        usable_count += np.count_nonzero(good & ~mask(where))
    ignore = usable_count <= 0.1 * inner

    def usable(where: Where) -> BoolArray:
        good = field.inner(where)
        return good if ignore else good & ~mask(where)

    sums = ProductSums(field.family.n_planes)
    for where in field.tiles:
        planes, distance = smoothed[where], field.distance[where]
        if before is not None:
            planes = planes / before.at(where, distance=distance)
        rows, columns = (np.arange(part.start, part.stop) // (2 * cell) % 2 for part in where)
        sums.add(planes, usable=usable(where), fold=rows[:, None] * 2 + columns, distance=distance)
    response = field.family.response(template)
    weights = sums.weights(response, beam_area=fwhm**2)
    amplitude = field.plane(lambda *where: weights.apply(smoothed[where], field.distance[where]))
    last = float(response[-1])
    brightness = field.plane(lambda *where: smoothed[where][-1] - last * amplitude[where])
    noise = measure_noise(field, amplitude, brightness, usable, mask)
    return Filtered(weights, amplitude, brightness, noise)


def measure_noise(field: Field, amplitude: Plane, brightness: Plane, usable, mask) -> FilterNoise:
    mesh = MeshGatherer(field.shape, fwhm=field.fwhm)
    for where in field.tiles:
        mesh.add(where, amplitude[where], usable(where) & (field.distance[where] > 1.5), np.isfinite(field.data[where]))
    level = mesh.level(otherwise=1.0)
    ratio, distance, light, clean = [], [], [], []
    for where in field.tiles:
        comb = field.comb(where)
        good = usable(where)[comb]
        ratio.append((amplitude[where] / level[where])[comb][good])
        distance.append(field.distance[where][comb][good])
        light.append(brightness[where][comb][good])
        clean.append(~mask(where, more=(CLEAN_BEAMS - MASK_BEAMS) * field.fwhm)[comb][good])
    r, d, b, c = (np.concatenate(p) for p in (ratio, distance, light, clean))
    if not r.size:
        return FilterNoise(level)
    edge = edge_curve(r, d)
    c = c if np.count_nonzero(c) > 0.3 * c.size else np.ones(c.size, dtype=bool)
    curve = brightness_curve((r / edge(d))[c], b[c], beams=np.count_nonzero(c) / field.fwhm**2)
    return FilterNoise(level, edge, curve)


def footprint(radius: float) -> BoolArray:
    """Return a disc, at least the 3 x 3 pixels around the centre."""
    half = max(int(radius), 1)
    rows, columns = np.mgrid[-half : half + 1, -half : half + 1]
    inside: BoolArray = (rows**2 + columns**2 <= radius**2) | (np.maximum(abs(rows), abs(columns)) <= 1)
    return inside


class Found(NamedTuple):
    y: np.ndarray
    x: np.ndarray
    value: FloatArray


def maxima(field: Field, plane: Plane, *, threshold: float) -> Found:
    """Return the local maxima of a significance."""
    near, pieces = footprint(SEPARATION * field.fwhm), []
    for where in field.tiles:
        outer, _ = grown(where, near.shape[0] // 2 + 1, field.shape)
        image = plane[outer]
        y, x = local_maxima(image, footprint=near, threshold=threshold)
        own = is_inside(where, y + outer[0].start, x + outer[1].start)
        pieces.append((y[own] + outer[0].start, x[own] + outer[1].start, image[y[own], x[own]]))
    y, x, value = (np.concatenate(part) for part in zip(*pieces, strict=True))
    order = np.lexsort((x, y))
    return Found(y[order], x[order], value[order])


def left_by_fits(field: Field, seen: Filtered, model: Plane) -> Plane:
    """Return the noise of what fits may leave of a model."""
    smoothed, f = field.smoothed(model), field.fwhm
    filtered = field.plane(lambda *where: seen.weights.apply(smoothed[where], field.distance[where]))
    near = footprint(SEPARATION * f)
    halo = near.shape[0] // 2 + math.ceil(4 * 0.4 * f) + 1

    def make(rows: slice, columns: slice) -> FloatArray:
        outer, inner = grown((rows, columns), halo, field.shape)
        image, light = np.abs(filtered[outer]), np.abs(model[outer])
        if not light.any() and not image.any():
            return np.zeros(image[inner].shape)
        rings = ndimage.gaussian_filter(ndimage.maximum_filter(image, footprint=near), 0.4 * f)
        core = ndimage.gaussian_filter(light, 0.25 * f)
        return np.hypot(RING_MISFIT * rings, CORE_MISFIT * core)[inner]

    return field.plane(make), filtered


def search(field: Field, *, fit: Fit):
    sources, fresh = np.empty((0, 6)), 0
    smoothed, model = field.smoothed(field.data), None
    mask, noise, last = first_mask(field, smoothed), None, 0
    companions = 0
    for turn in range(MOST_ROUNDS):
        seen = measure(field, smoothed, mask, noise, TEMPLATE)
        noise = seen.noise
        left, filtered_model = (None, None) if model is None else left_by_fits(field, seen, model)

        def make(rows, columns):
            where = rows, columns
            total = seen.noise.at(where, distance=field.distance[where], brightness=seen.brightness[where])
            if left is not None:
                total = np.hypot(total, left[where])
            return np.where(field.inner(where), seen.amplitude[where] / total, 0.0)

        significance = field.plane(make)
        if turn == 0:
            total0 = None
        peaks = maxima(field, significance, threshold=2.5)
        holes = maxima(field, LazyPlane(field.shape, lambda *w: -significance[w]), threshold=BRIGHT)
        sign = np.r_[np.ones(peaks.x.size), -np.ones(holes.x.size)]
        y, x, s = (np.concatenate([a, b]) for a, b in zip(peaks, holes, strict=True))
        bright = s > BRIGHT
        if (bright & (sign > 0)).any():
            bright &= sign > 0  # rings around these are not yet known for what they are
        new = waiting_removed(np.column_stack([x, y])[bright], s[bright], fwhm=field.fwhm)
        if not bright.any() and len(sources) and companions < 2 and turn > 0:
            companions += 1
            i, j = neighbours(sources[sources[:, AMPLITUDE] > 0][:, [X, Y]], np.column_stack([x, y]), COMPANION_BEAMS * field.fwhm)
            bright = np.zeros(x.size, dtype=bool)
            bright[i] = True
            bright &= (s > COMPANION_THRESHOLD) & (sign > 0)
            new = np.ones(np.count_nonzero(bright), dtype=bool)
        bx, by, bs = x[bright][new], y[bright][new], sign[bright][new]
        if turn < MOST_FITS and bx.size:
            amplitude = at(seen.amplitude, by, bx)
            start = beam_sized(bx.astype(float), by.astype(float), amplitude, beam_covariance=field.family.beam_covariance, size=TEMPLATE)
            n_old = len(sources)
            both = np.concatenate([sources, start])
            which = np.arange(len(both)) >= n_old
            flat = flattened(field, model, smoothed)
            sources = refit(field, flat, both, which, n_old, fit)
            if len(sources):
                model = field.plane(drawn(sources, field.shape).make)
                m = model
                smoothed = field.smoothed(LazyPlane(field.shape, lambda *w: field.data[w] - m[w]))
                last = turn
        strong = peaks.value > MASK_THRESHOLD
        points = np.column_stack([peaks.x, peaks.y])[strong]
        sizes = np.maximum(np.sqrt(sources[:, SIGMA_1] * sources[:, SIGMA_2]) * 2.3548 / field.fwhm, 1.0)
        radii = np.concatenate([np.ones(len(points)), np.ceil(4 * sizes) / 4])
        mask = SourceMask(np.concatenate([points, sources[:, [X, Y]]]), MASK_BEAMS * field.fwhm * radii)
        if turn >= last + 3:
            break
    return seen, significance, peaks, sources, filtered_model


def flattened(field: Field, model: Plane | None, smoothed: Smoothed) -> Plane:
    """Return the map without the local mean of what the model leaves."""

    def make(rows: slice, columns: slice) -> FloatArray:
        where = rows, columns
        values = np.where(np.isfinite(field.data[where]), smoothed[where][0], np.nan)
        return values if model is None else values + model[where]

    return field.plane(make)


def refit(field, flat, sources, which, n_old, fit):
    for turn in range(3):
        fitted = fit(flat, sources, which)
        bad = ~np.isfinite(fitted).all(axis=1)
        keep_old = bad & (np.arange(len(sources)) < n_old)
        fitted[keep_old] = sources[keep_old]
        good = ~(bad & ~keep_old)
        n_old = np.count_nonzero(good[:n_old])
        sources, which = fitted[good], which[good]
        # Those beside new ones move too.
        i, j = neighbours(sources[:, [X, Y]], sources[which][:, [X, Y]], 4.0 * field.fwhm)
        which = which.copy()
        which[j] = True
    return sources


def waiting_removed(points, s, *, fwhm):
    """Return which peaks are not so faint beside a brighter one that they may be its ring."""
    keep = np.ones(len(points), dtype=bool)
    i, j = neighbours(points, points, RING_BEAMS * fwhm)
    keep[i[s[i] < RING_SHARE * s[j]]] = False
    return keep


def detect_matched(
    data: Plane,
    *,
    beam_covariance: FloatArray,
    sigma_threshold: float = 4.0,
    min_distance: float = 0.0,
    margin: float = 0.0,
    size: int | None = None,
    fit: Fit | None = None,
) -> Peaks:
    field = Field.of(data, beam_covariance=beam_covariance, size=size)
    if field is None:
        return empty_peaks()
    seen, significance, peaks, sources, fm = search(field, fit=fit or partial(fit_gaussians, beam_covariance=beam_covariance))
    x, y, s = peaks.x.astype(float), peaks.y.astype(float), peaks.value
    fx, fy = refine(field, significance, peaks)
    x, y = fx, fy
    positive = sources[sources[:, AMPLITUDE] > 0]
    if len(positive):
        pts = positive[:, [X, Y]]
        near, _ = neighbours(pts, np.column_stack([x, y]), SEPARATION * field.fwhm)
        keep = np.ones(x.size, bool); keep[near] = False
        ny, nx = field.shape
        px, py = np.clip(np.rint(pts[:, 0]).astype(int), 0, nx - 1), np.clip(np.rint(pts[:, 1]).astype(int), 0, ny - 1)
        noise = np.array([seen.noise.at((slice(b, b + 1), slice(a, a + 1)), distance=np.full((1, 1), field.distance[b:b+1, a:a+1][0, 0]), brightness=np.asarray(seen.brightness[b:b+1, a:a+1]))[0, 0] for a, b in zip(px, py)])
        sn = at(fm, py, px) / noise
        x, y, s = np.r_[pts[:, 0], x[keep]], np.r_[pts[:, 1], y[keep]], np.r_[sn, s[keep]]
    k = (s >= sigma_threshold) & inside_margin(data.shape, x=x, y=y, margin=margin)
    x, y, s = x[k], y[k], s[k]
    o = np.argsort(-s, kind='stable')
    n = np.full(o.size, np.nan)
    return Peaks(x[o], y[o], s[o], s[o], n, n, n, n)


def refine(field, plane, found):
    x, y = np.empty(found.x.size), np.empty(found.x.size)
    for where in field.tiles:
        own = np.flatnonzero(is_inside(where, found.y, found.x))
        outer, _ = grown(where, 2, field.shape)
        fx, fy = refine_positions(plane[outer], x=found.x[own] - outer[1].start, y=found.y[own] - outer[0].start)
        x[own], y[own] = fx + outer[1].start, fy + outer[0].start
    return x, y
