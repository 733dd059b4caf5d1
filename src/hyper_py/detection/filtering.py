"""The filter measured on a map: its weights, its output, the noise of that."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray
from hyper_py.detection.field import Field, Smoothed
from hyper_py.detection.filter_noise import FilterNoise, LoudRegions, brightness_curves, edge_curve
from hyper_py.detection.masks import Mask, Masks, PixelMask
from hyper_py.detection.noise_mesh import MeshGatherer, cell_side
from hyper_py.detection.weights import EdgeWeights, ProductSums, lacking
from hyper_py.numerics.medians import MAD_TO_RMS, scatter
from hyper_py.numerics.mesh import MeshMap
from hyper_py.numerics.parallel import once
from hyper_py.numerics.tiles import LazyPlane, Plane, Where, grown, sample

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


class Seen(NamedTuple):
    """What a filter sees of a map, planes of shape (ny, nx).

    Attributes
    ----------
    filtered : Plane
        Amplitude of a source of the template's size at each pixel.
    finest, widest : Plane
        The map itself, and its mean on scales of some beams, less the widest mean.
    """

    filtered: Plane
    finest: Plane
    widest: Plane


@dataclass(frozen=True, eq=False)
class Filtered:
    """A map less a model as a filter sees it.

    Attributes
    ----------
    weights : EdgeWeights
    whole : Seen
        The map.
    source, model : Plane, shape (ny, nx)
        The model, and its amplitude.
    amplitude : Plane, shape (ny, nx)
        That of the map less that of the model.
    brightness : Plane, shape (ny, nx)
        The difference on scales of some beams, less what a source of that amplitude gives there.
    finest : Plane, shape (ny, nx)
        The difference itself, less the widest mean.
    noise : FilterNoise
        Of `amplitude`.
    typical : Plane, shape (ny, nx)
        The noise at each pixel if the map were of typical brightness.
    level : float
        Its median.
    rms : Plane, shape (ny, nx)
        The noise at each pixel.
    """

    weights: EdgeWeights
    whole: Seen
    source: Plane
    model: Plane
    amplitude: Plane
    brightness: Plane
    finest: Plane
    noise: FilterNoise
    typical: Plane
    level: float
    rms: Plane


@dataclass(frozen=True, eq=False)
class Planes:
    """What the kernels see of the map, and of the model of its bright sources."""

    whole: Smoothed
    model: Smoothed

    def residual(self, where: Where, comb: tuple[slice, slice]) -> FloatArray:
        """Return some rows and columns of a tile of the planes of the map less the model, (k, ny, nx)."""
        both = zip(self.whole.each(where), self.model.each(where), strict=True)
        return np.array([whole[comb] - model[comb] for whole, model in both])

    def finest(self, where: Where) -> FloatArray:
        """Return a tile of the first of the planes of the map less the model."""
        return next(self.whole.each(where)) - next(self.model.each(where))


def first_mask(field: Field, smoothed: Smoothed) -> PixelMask:
    """Mask what stands out of a difference of two Gaussians by itself."""
    narrow, wide = map(smoothed.plane, FIRST_PLANES)

    def make(rows: slice, columns: slice) -> FloatArray:
        where = rows, columns
        return np.where(field.inner(where), narrow[where] - wide[where], np.nan)

    plane = field.plane(make)
    typical = once(lambda: _scatter_of(sample(plane, size=field.size)))
    if not typical > 0.0:
        return PixelMask(plane, math.inf, 0.0)
    # Loud noise is no source: what stands out must do so from what is around it.
    ratio = LazyPlane(field.shape, lambda *where: plane[where] / typical)
    regions = LoudRegions(field.shape, fwhm=field.fwhm, tells_crowds=field.step == 1)
    loud = _loud(field, regions, ratio, smoothed.plane(-1), lambda where: np.isfinite(ratio[where]))
    relative = field.plane(lambda *where: plane[where] / (typical * loud[where]))
    return PixelMask(relative, FIRST_LIMIT, (MASK_BEAMS - 0.5) * field.fwhm)


def _filtered(
    smoothed: Smoothed, where: Where, weights: EdgeWeights, distance: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return a tile of the filtered map, and of the first and the last of the planes."""
    ends: list[FloatArray] = []

    def planes() -> Iterator[FloatArray]:
        found = smoothed.each(where)
        for k in range(weights.values.shape[1]):
            plane = next(found)
            if k in (0, weights.values.shape[1] - 1):
                ends.append(plane)
            yield plane
            del plane  # before the next one is made

    filtered = weights.apply(planes(), distance)
    first, last = ends
    return filtered, first, last


def _scatter_of(known: FloatArray) -> float:
    return scatter(known) if known.size else 0.0


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
        sample, distance = planes.residual(where, comb), field.distance[where]
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
    largest = float(response[-1])

    def seen(where: Where) -> list[FloatArray]:
        distance = field.distance[where]
        # The model first: to make its planes takes more memory than to read those of the map.
        of_model, finest_of_model, widest_of_model = _filtered(planes.model, where, weights, distance)
        filtered, finest, widest = _filtered(planes.whole, where, weights, distance)
        brightness = widest - widest_of_model - largest * (filtered - of_model)
        return [filtered, of_model, brightness, finest - finest_of_model]

    filtered, model, brightness, finest = _made(field, seen, planes, 4)
    amplitude = field.derived(lambda *where: filtered[where] - model[where])
    # Crowds of sources look like seams: before they are masked, and to cells as wide as they are.
    has_seams = before is not None and field.step == 1
    light = planes.whole.plane(-1)
    noise = _noise(field, amplitude, brightness, light, usable, masks.faint, has_seams=has_seams)
    typical = field.derived(lambda *where: noise.at(where, distance=field.distance[where]))
    level = once(lambda: float(np.median(sample(typical, size=field.size))))
    return Filtered(
        weights, Seen(filtered, planes.whole.plane(0), planes.whole.plane(-1)), planes.model.source, model,
        amplitude, brightness, finest, noise, typical, level, _rms(field, typical, noise, brightness),
    )  # fmt: skip


def refilter(field: Field, planes: Planes, known: Filtered, *, template: float) -> Filtered:
    """Return the map less another model as the same filter sees it, with the same noise.

    Tiles in which the model is as before are taken as they are.
    """
    largest, source = float(field.family.response(template)[-1]), planes.model.source
    filtered, before = known.whole.filtered, (known.model, known.brightness, known.finest)

    def seen(where: Where) -> list[FloatArray]:
        outer, _ = grown(where, field.family.radius, field.shape)
        if np.array_equal(source[outer], known.source[outer]):
            return [plane[where] for plane in before]
        of_model, finest, widest = _filtered(planes.model, where, known.weights, field.distance[where])
        amplitude = filtered[where] - of_model
        brightness = known.whole.widest[where] - widest - largest * amplitude
        return [of_model, brightness, known.whole.finest[where] - finest]

    model, brightness, finest = _made(field, seen, planes, 3)
    return replace(
        known, source=source, model=model, brightness=brightness, finest=finest,
        amplitude=field.derived(lambda *where: filtered[where] - model[where]),
        rms=_rms(field, known.typical, known.noise, brightness),
    )  # fmt: skip


def by_holes(field: Field, view: Filtered) -> Filtered:
    """Return the same with the noise of bright places as their holes say, for when all sources are found."""
    noise = replace(view.noise, by_holes=True)
    return replace(view, noise=noise, rms=_rms(field, view.typical, noise, view.brightness))


def _rms(field: Field, typical: Plane, noise: FilterNoise, brightness: Plane) -> Plane:
    """Return the noise at each pixel."""
    distance = field.distance
    return field.derived(lambda *where: typical[where] * noise.factor(brightness[where], distance[where]))


def _made(
    field: Field, seen: Callable[[Where], list[FloatArray]], planes: Planes, number: int
) -> tuple[Plane, ...]:
    """Return planes made tile by tile, the last of which is the finest of the residual."""
    if not field.is_small:
        return field.planes(lambda *where: seen(where), number)
    # Of a small map all that is smoothed is kept.
    finest = LazyPlane(field.shape, lambda *where: planes.finest(where))
    return *field.planes(lambda *where: seen(where)[:-1], number - 1), finest


def _usable(field: Field, mask: Mask) -> Chosen:
    """Return what tells which pixels show noise alone; all of them if there are hardly any."""
    outside = field.plane(lambda *where: field.inner(where) & ~mask(where), dtype=np.bool_)

    def count(where: Where) -> tuple[int, int]:
        return int(np.count_nonzero(field.inner(where))), int(np.count_nonzero(outside[where]))

    inner, free = np.sum([numbers for _, numbers in field.pieces(count)], axis=0)
    if free <= LEAST_USABLE * inner:
        return field.inner
    return lambda where: outside[where].astype(np.bool_, copy=False)


def _loud(field: Field, regions: LoudRegions, ratio: Plane, light: Plane, usable: Chosen) -> MeshMap:
    """Return how much louder than `ratio` is measured in the noise is, see `LoudRegions`."""
    for where, values in field.pieces(
        lambda where: regions.combed(where, ratio[where], light[where], usable(where))
    ):
        regions.put(where, values)
    return regions.factor()


def _noise(
    field: Field,
    amplitude: Plane,
    brightness: Plane,
    light: Plane,
    usable: Chosen,
    faint: Mask,
    *,
    has_seams: bool,
) -> FilterNoise:
    mesh = MeshGatherer(field.shape, fwhm=field.fwhm)
    least = min(MESH_FROM, field.typical_distance)

    def cells(where: Where) -> tuple[FloatArray, FloatArray, FloatArray]:
        far = usable(where) & (field.distance[where] >= least)
        return mesh.cells(amplitude[where], far, field.valid(where))

    for where, found in field.pieces(cells):
        mesh.put(where, found)
    mesh_rms = mesh.mesh_rms(otherwise=lambda: _scatter(field, amplitude, usable))
    regions = LoudRegions(field.shape, fwhm=field.fwhm, tells_crowds=field.step == 1, mesh=mesh_rms)
    ratio = LazyPlane(field.shape, lambda *where: amplitude[where] / mesh_rms[where])
    loud = _loud(field, regions, ratio, light, usable)
    noise = FilterNoise(mesh_rms, loud, seams=mesh.seams() if has_seams else None)

    def sampled(where: Where) -> list[FloatArray | BoolArray]:
        comb = field.comb(where)
        good = usable(where)[comb]
        planes = (
            amplitude[where][comb] / noise.mesh_rms(where)[comb], field.distance[where][comb],
            brightness[where][comb], ~faint(where)[comb],
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
    curves = brightness_curves((ratios / edge(distance))[clean], light[clean], beams=beams)
    return replace(noise, edge=edge, brightness=curves)


def _scatter(field: Field, amplitude: Plane, usable: Chosen) -> float:
    """Return the scatter of all of the filtered map that is noise."""

    def known(where: Where) -> FloatArray:
        comb = field.comb(where)
        return amplitude[where][comb][usable(where)[comb]]

    values = np.abs(np.concatenate([part for _, part in field.pieces(known)]))
    return MAD_TO_RMS * float(np.median(values)) if values.any() else 1.0
