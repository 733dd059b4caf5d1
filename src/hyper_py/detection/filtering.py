"""The filter measured on a map: its weights, its output, the noise of that."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray
from hyper_py.detection.field import Field, PixelMask, Smoothed, SourceMask
from hyper_py.detection.filter_noise import (
    MAD_TO_RMS,
    FilterNoise,
    LoudRegions,
    MeshGatherer,
    brightness_curve,
    cell_side,
    edge_curve,
)
from hyper_py.detection.weights import EdgeWeights, ProductSums
from hyper_py.numerics.tiles import Plane, Where, sample

Mask: TypeAlias = PixelMask | SourceMask
MASK_BEAMS = 1.3
"""Weights and noise are measured this far from sources."""
FIRST_LIMIT = 6.0
"""Pixels beyond this many sigma of a difference of Gaussians are masked before any filter is known."""
FIRST_PLANES = 2, 5
LEAST_USABLE, LEAST_CLEAN = 0.1, 0.3
"""With less than these shares of the map left, masks are not used."""
MESH_FROM = 1.5
"""The mesh is measured this many beams from edges, where the filter is whole enough."""


@dataclass(frozen=True, eq=False)
class Masks:
    """Where a map is not noise alone: near clear sources, and near those that may be some, too."""

    sources: Mask
    faint: Mask


@dataclass(frozen=True, eq=False)
class Filtered:
    """A map as a filter sees it.

    Attributes
    ----------
    weights : EdgeWeights
    amplitude : Plane, shape (ny, nx)
        Of a source of the template's size at each pixel.
    brightness : Plane, shape (ny, nx)
        The map on scales of some beams, less what a source of that amplitude gives there.
    noise : FilterNoise
        Of `amplitude`.
    """

    weights: EdgeWeights
    amplitude: Plane
    brightness: Plane
    noise: FilterNoise

    def rms(self, field: Field, where: Where) -> FloatArray:
        """Return the noise of rows and columns."""
        return self.noise.at(where, distance=field.distance[where], brightness=self.brightness[where])


def first_mask(field: Field, smoothed: Smoothed) -> PixelMask:
    """Mask what stands out of a difference of two Gaussians by itself."""
    narrow, wide = FIRST_PLANES

    def make(rows: slice, columns: slice) -> FloatArray:
        planes = smoothed[rows, columns]
        return np.where(field.inner((rows, columns)), planes[narrow] - planes[wide], np.nan)

    plane = field.plane(make)
    known = sample(plane, size=field.size)
    scatter = MAD_TO_RMS * float(np.median(np.abs(known - np.median(known)))) if known.size else 0.0
    if not scatter > 0.0:
        return PixelMask(plane, math.inf, 0.0)
    # Loud noise is no source: what stands out must do so from what is around it.
    regions = LoudRegions(field.shape, fwhm=field.fwhm)
    for where in field.tiles:
        ratio = plane[where] / scatter
        regions.add(where, ratio, np.isfinite(ratio))
    loud = regions.factor()
    relative = field.plane(lambda *where: plane[where] / (scatter * loud[where]))
    return PixelMask(relative, FIRST_LIMIT, (MASK_BEAMS - 0.5) * field.fwhm)


def measure_filter(
    field: Field, smoothed: Smoothed, masks: Masks, *, before: FilterNoise | None, template: float
) -> Filtered:
    """Measure the filter for sources of a size, and the noise of its output, outside masks.

    Parameters
    ----------
    field : Field
    smoothed : Smoothed
        Of the map less its bright sources.
    masks : Masks
    before : FilterNoise, optional
        An earlier noise: the covariance is that of the planes over it, so that loud regions do not decide
        for quiet ones.
    template : float
        Size of the sources in beams.
    """
    usable = _usable(field, masks.sources)
    sums, cell = ProductSums(field.family.n_planes), cell_side(field.fwhm)
    for where in field.tiles:
        planes, distance = smoothed[where], field.distance[where]
        if before is not None:
            planes = planes / before.at(where, distance=distance)
        rows, columns = (np.arange(part.start, part.stop) // (2 * cell) % 2 for part in where)
        sums.add(planes, usable=usable(where), fold=2 * rows[:, None] + columns, distance=distance)
    response = field.family.response(template)
    weights = sums.weights(response, beam_area=field.fwhm**2)
    amplitude = field.plane(lambda *where: weights.apply(smoothed[where], field.distance[where]))
    largest = float(response[-1])
    brightness = field.plane(lambda *where: smoothed[where][-1] - largest * amplitude[where])
    return Filtered(weights, amplitude, brightness, _noise(field, amplitude, brightness, usable, masks.faint))


def _usable(field: Field, mask: Mask) -> Callable[[Where], BoolArray]:
    """Return what tells which pixels show noise alone; all of them if there are hardly any."""
    inner = outside = 0
    for where in field.tiles:
        good = field.inner(where)
        inner += int(np.count_nonzero(good))
        outside += int(np.count_nonzero(good & ~mask(where)))
    if outside <= LEAST_USABLE * inner:
        return field.inner
    return lambda where: field.inner(where) & ~mask(where)


def _noise(
    field: Field, amplitude: Plane, brightness: Plane, usable: Callable[[Where], BoolArray], faint: Mask
) -> FilterNoise:
    mesh = MeshGatherer(field.shape, fwhm=field.fwhm)
    least = min(MESH_FROM, field.typical_distance)
    for where in field.tiles:
        far = usable(where) & (field.distance[where] >= least)
        mesh.add(where, amplitude[where], far, np.isfinite(field.data[where]))
    level = mesh.level(otherwise=_scatter(field, amplitude, usable))
    regions = LoudRegions(field.shape, fwhm=field.fwhm)
    for where in field.tiles:
        regions.add(where, amplitude[where] / level[where], usable(where))
    noise, samples = FilterNoise(level, regions.factor()), []
    for where in field.tiles:
        comb, good = field.comb(where), usable(where)
        ratio = amplitude[where] / noise.level(where)
        planes = ratio, field.distance[where], brightness[where], ~faint(where)
        samples.append([plane[comb][good[comb]] for plane in planes])
    ratio, distance, light, clean = (np.concatenate(part) for part in zip(*samples, strict=True))
    if not ratio.size:
        return noise
    edge = edge_curve(ratio, distance)
    clean = clean.astype(bool)
    if np.count_nonzero(clean) < LEAST_CLEAN * clean.size:
        clean[:] = True
    beams = np.count_nonzero(clean) * field.comb_area / field.fwhm**2
    curve = brightness_curve((ratio / edge(distance))[clean], light[clean], beams=beams)
    return replace(noise, edge=edge, brightness=curve)


def _scatter(field: Field, amplitude: Plane, usable: Callable[[Where], BoolArray]) -> float:
    """Return the scatter of all of the filtered map that is noise."""
    known = [amplitude[where][field.comb(where)][usable(where)[field.comb(where)]] for where in field.tiles]
    values = np.abs(np.concatenate(known))
    return MAD_TO_RMS * float(np.median(values)) if values.any() else 1.0
