"""The filter measured on a map: its weights, its output, the noise of that."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

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
    scatter,
)
from hyper_py.detection.weights import EdgeWeights, ProductSums, lacking
from hyper_py.numerics.tiles import LazyPlane, Plane, Where, sample

Mask: TypeAlias = PixelMask | SourceMask
Chosen: TypeAlias = Callable[[Where], BoolArray]
"""Gives which pixels of rows and columns are meant."""
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


class Seen(NamedTuple):
    """What a filter sees of a plane, shape (ny, nx) each.

    Attributes
    ----------
    filtered : Plane
        Amplitude of a source of the template's size at each pixel.
    finest, widest : Plane
        The plane itself, and its mean on scales of some beams, less the widest mean.
    """

    filtered: Plane
    finest: Plane
    widest: Plane

    @classmethod
    def of(cls, field: Field, smoothed: Smoothed, weights: EdgeWeights) -> "Seen":
        """Return what is seen of a plane of which the differences are given."""
        if field.is_small:  # they are kept
            finest, widest = (LazyPlane(field.shape, lambda *where, k=k: smoothed[where][k]) for k in (0, -1))
            filtered = field.plane(lambda *where: weights.apply(smoothed[where], field.distance[where]))
            return cls(filtered, finest, widest)

        def make(rows: slice, columns: slice) -> tuple[FloatArray, FloatArray, FloatArray]:
            planes = smoothed[rows, columns]
            return weights.apply(planes, field.distance[rows, columns]), planes[0], planes[-1]

        return cls(*field.planes(make, 3))


@dataclass(frozen=True, eq=False)
class Filtered:
    """A map less a model as a filter sees it.

    Attributes
    ----------
    weights : EdgeWeights
    whole, model : Seen
        The map and the model.
    amplitude : Plane, shape (ny, nx)
        Their difference.
    brightness : Plane, shape (ny, nx)
        The difference on scales of some beams, less what a source of that amplitude gives there.
    noise : FilterNoise
        Of `amplitude`.
    typical : Plane, shape (ny, nx)
        The noise at each pixel if the map were of typical brightness.
    rms : Plane, shape (ny, nx)
        The noise at each pixel.
    """

    weights: EdgeWeights
    whole: Seen
    model: Seen
    amplitude: Plane
    brightness: Plane
    noise: FilterNoise
    typical: Plane
    rms: Plane


@dataclass(frozen=True, eq=False)
class Planes:
    """What the kernels see of the map, and of the model of its bright sources."""

    whole: Smoothed
    model: Smoothed

    def residual(self, where: Where, index: tuple[slice | int, ...] = ()) -> FloatArray:
        """Return an index of the planes of the map less the model, of rows and columns."""
        residual: FloatArray = self.whole[where][index] - self.model[where][index]
        return residual


def first_mask(field: Field, smoothed: Smoothed) -> PixelMask:
    """Mask what stands out of a difference of two Gaussians by itself."""
    narrow, wide = FIRST_PLANES

    def make(rows: slice, columns: slice) -> FloatArray:
        planes = smoothed[rows, columns]
        return np.where(field.inner((rows, columns)), planes[narrow] - planes[wide], np.nan)

    plane = field.plane(make)
    known = sample(plane, size=field.size)
    typical = scatter(known) if known.size else 0.0
    if not typical > 0.0:
        return PixelMask(plane, math.inf, 0.0)
    # Loud noise is no source: what stands out must do so from what is around it.
    regions = LoudRegions(field.shape, fwhm=field.fwhm)

    def combed(where: Where) -> FloatArray:
        ratio = plane[where] / typical
        return regions.combed(where, ratio, np.isfinite(ratio))

    for where, values in field.pieces(combed):
        regions.put(where, values)
    loud = regions.factor()
    relative = field.plane(lambda *where: plane[where] / (typical * loud[where]))
    return PixelMask(relative, FIRST_LIMIT, (MASK_BEAMS - 0.5) * field.fwhm)


def measure_filter(
    field: Field, planes: Planes, masks: Masks, *, before: FilterNoise | None, template: float
) -> Filtered:
    """Measure the filter for sources of a size, and the noise of its output, outside masks.

    Parameters
    ----------
    field : Field
    planes : Planes
    masks : Masks
    before : FilterNoise, optional
        An earlier noise: the covariance is that of the planes over it, so that loud regions do not decide
        for quiet ones.
    template : float
        Size of the sources in beams.
    """
    usable = _usable(field, masks.sources)
    sums, cell = ProductSums(field.family.n_planes), cell_side(field.fwhm)

    def of_tile(where: Where) -> ProductSums:
        own, comb = ProductSums(field.family.n_planes), field.comb(where)
        sample, distance = planes.residual(where, (slice(None), *comb)), field.distance[where]
        if before is not None:
            sample /= before.at(where, distance=distance)[comb]
        rows, columns = (
            np.arange(part.start, part.stop)[every] // (2 * cell) % 2
            for part, every in zip(where, comb, strict=True)
        )
        fold = 2 * rows[:, None] + columns
        own.add_tile(sample, usable=usable(where)[comb], fold=fold, distance=distance[comb])
        return own

    for _, own in field.pieces(of_tile):
        sums.add(own)
    response = field.family.response(template)
    weights = sums.weights(
        response, lacking=lacking(field.family, sums.covariance, response),
        beam_area=field.fwhm**2 / field.comb_area,
    )  # fmt: skip
    whole, model = (Seen.of(field, part, weights) for part in (planes.whole, planes.model))
    amplitude, brightness = _residual(field, whole, model, template=template)
    noise = _noise(field, amplitude, brightness, usable, masks.faint)
    typical = field.plane(lambda *where: noise.at(where, distance=field.distance[where]))
    rms = field.plane(lambda *where: typical[where] * noise.brightness(brightness[where]))
    return Filtered(weights, whole, model, amplitude, brightness, noise, typical, rms)


def refilter(field: Field, planes: Planes, known: Filtered, *, template: float) -> Filtered:
    """Return the map less another model as the same filter sees it, with the same noise."""
    model = Seen.of(field, planes.model, known.weights)
    amplitude, brightness = _residual(field, known.whole, model, template=template)
    rms = field.plane(lambda *where: known.typical[where] * known.noise.brightness(brightness[where]))
    return replace(known, model=model, amplitude=amplitude, brightness=brightness, rms=rms)


def _residual(field: Field, whole: Seen, model: Seen, *, template: float) -> tuple[Plane, Plane]:
    """Return amplitude and brightness, see `Filtered`."""
    largest = float(field.family.response(template)[-1])
    amplitude = field.plane(lambda *where: whole.filtered[where] - model.filtered[where])
    brightness = field.plane(
        lambda *where: whole.widest[where] - model.widest[where] - largest * amplitude[where]
    )
    return amplitude, brightness


def _usable(field: Field, mask: Mask) -> Chosen:
    """Return what tells which pixels show noise alone; all of them if there are hardly any."""
    outside = field.cache.remembered(lambda *where: field.inner(where) & ~mask(where))

    def count(where: Where) -> tuple[int, int]:
        return int(np.count_nonzero(field.inner(where))), int(np.count_nonzero(outside(*where)))

    inner, free = np.sum([numbers for _, numbers in field.pieces(count)], axis=0)
    if free <= LEAST_USABLE * inner:
        return field.inner
    return lambda where: outside(*where)


def _noise(field: Field, amplitude: Plane, brightness: Plane, usable: Chosen, faint: Mask) -> FilterNoise:
    mesh = MeshGatherer(field.shape, fwhm=field.fwhm)
    least = min(MESH_FROM, field.typical_distance)

    def cells(where: Where) -> tuple[FloatArray, FloatArray]:
        far = usable(where) & (field.distance[where] >= least)
        return mesh.cells(amplitude[where], far, np.isfinite(field.data[where]))

    for where, found in field.pieces(cells):
        mesh.put(where, found)
    mesh_rms = mesh.mesh_rms(otherwise=_scatter(field, amplitude, usable))
    regions = LoudRegions(field.shape, fwhm=field.fwhm)
    ratio = field.plane(lambda *where: amplitude[where] / mesh_rms[where])
    for where, values in field.pieces(lambda where: regions.combed(where, ratio[where], usable(where))):
        regions.put(where, values)
    noise = FilterNoise(mesh_rms, regions.factor())

    def sampled(where: Where) -> list[FloatArray | BoolArray]:
        comb = field.comb(where)
        good = usable(where)[comb]
        planes = (
            (ratio[where] / noise.loud[where])[comb], field.distance[where][comb], brightness[where][comb],
            ~faint(where)[comb],
        )  # fmt: skip
        return [plane[good] for plane in planes]

    samples = zip(*(sample for _, sample in field.pieces(sampled)), strict=True)
    ratios, distance, light, clean = (np.concatenate(part) for part in samples)
    if not ratios.size:
        return noise
    beam = field.comb_area / field.fwhm**2
    edge = edge_curve(ratios, distance, beams=ratios.size * beam)
    clean = clean.astype(bool)
    if np.count_nonzero(clean) < LEAST_CLEAN * clean.size:
        clean[:] = True
    beams = np.count_nonzero(clean) * beam
    curve = brightness_curve((ratios / edge(distance))[clean], light[clean], beams=beams)
    return replace(noise, edge=edge, brightness=curve)


def _scatter(field: Field, amplitude: Plane, usable: Chosen) -> float:
    """Return the scatter of all of the filtered map that is noise."""

    def known(where: Where) -> FloatArray:
        comb = field.comb(where)
        return amplitude[where][comb][usable(where)[comb]]

    values = np.abs(np.concatenate([part for _, part in field.pieces(known)]))
    return MAD_TO_RMS * float(np.median(values)) if values.any() else 1.0
