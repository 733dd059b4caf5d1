"""The filter that is optimal for a source in the noise and background that a map itself shows.

The map is flattened (its local mean removed), its power spectrum measured outside sources, and the filter is
template / power spectrum in Fourier space, both as seen through the flattening. Its output is the amplitude
of a source at each pixel, to be compared with the output's own local noise.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray, IndexArray
from hyper_py.detection.filter_bank import FilterBank, FilterParts
from hyper_py.detection.highpass import local_maxima
from hyper_py.detection.local_spectrum import LocalSpectrum, measure_local_spectrum
from hyper_py.detection.power_spectrum import (
    FLATTEN_SIZE,
    beam_fwhm,
    flattened,
    gaussian_kernel,
    measure_spectrum,
)
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.noise.covariance import clipped_statistics
from hyper_py.noise.local_rms import NoiseMesh
from hyper_py.numerics.mesh import MeshMap
from hyper_py.numerics.tiles import (
    Correlator,
    LazyPlane,
    Plane,
    Where,
    blocks,
    grown,
    is_inside,
    sample,
    sample_step,
    size_of,
)

TEMPLATE_SIZE = 1.1
"""Size of the template in beams: sources are rarely smaller than the beam, and often a little larger."""
NARROW_SIZE = 0.7
"""Size of the template of the narrower filter in beams."""
SIZES = (TEMPLATE_SIZE, NARROW_SIZE)
NOISE_WINDOW = 8.5
"""FWHM in beams of the window in which the local noise is measured; interpolation widens it to about 10."""
MASK_RADIUS = 1.3
"""Sources are masked out to this many beams while spectrum and noise are measured."""
MASK_THRESHOLD = 5.0
FEWEST_BEAMS = 4000.0
"""With fewer beams than this the noise of a spectrum in two dimensions makes a filter of long, high rings."""
N_ROUNDS = 3
SEPARATION = 0.6
"""Peaks closer than this many beams are one."""


@dataclass(frozen=True, eq=False)
class Discs:
    """A mask, made where it is needed: True within `radius` of any of the pixels (y, x)."""

    y: IndexArray
    x: IndexArray
    radius: float

    def mask(self, where: Where, *, more: float = 0.0) -> BoolArray:
        """Return the mask of rows and columns, the radius larger by `more`."""
        rows, columns = where
        (outer, _), radius = grown(where, math.ceil(self.radius + more), (2**62, 2**62)), self.radius + more
        near = is_inside(outer, self.y, self.x)
        shape = rows.stop - rows.start, columns.stop - columns.start
        return disc_mask(shape, x=self.x[near] - columns.start, y=self.y[near] - rows.start, radius=radius)


@dataclass(frozen=True, eq=False)
class MatchedFilter:
    """A filter measured on one map, to be used on this map and on its residuals.

    Attributes
    ----------
    parts : FilterParts
        What the flattened map is correlated with; the result is the amplitude of a source.
    local : LocalSpectrum, optional
        How much each part counts where, if the spectrum varies over the map.
    flattening : float
        Sigma in pixels of the Gaussian mean that flattens.
    noise : MeshMap, shape (ny, nx)
        Local rms of the filtered map, in the unit of the map.
    sources : Discs
        Where sources were when the noise was measured.
    beam_covariance : ndarray, shape (2, 2)
        Pixels^2, order (x, y).
    assumed : bool
        True where the map was too small to measure its spectrum.
    narrow : MatchedFilter, optional
        The filter for blends, from the same spectrum.
    """

    parts: FilterParts
    local: LocalSpectrum | None
    flattening: float
    noise: MeshMap
    sources: Discs
    beam_covariance: FloatArray
    assumed: bool
    narrow: "MatchedFilter | None" = None

    @property
    def fwhm(self) -> float:
        """Geometric mean FWHM of the beam in pixels."""
        return beam_fwhm(self.beam_covariance)

    @property  # kept, it would be a cycle, and with it all noise of a map until garbage is looked for
    def both(self) -> "tuple[MatchedFilter, ...]":
        """The filter itself, and the narrow one if there is one."""
        return (self,) if self.narrow is None else (self, self.narrow)

    @cached_property
    def _bank(self) -> FilterBank:
        return FilterBank([one.parts for one in self.both], self.local)

    def outputs(self, flat: Plane, where: Where) -> list[FloatArray]:
        """Return a part of the flattened map as `both` filters see it; NaN where `flat` is."""
        return self._bank(flat, where)

    def flattened(self, data: Plane, *, size: int | None = None) -> Plane:
        """Return the map without its local mean, see `flattened`."""
        return flattened(data, sigma=self.flattening, size=size)

    def apply(self, data: FloatArray) -> FloatArray:
        """Return the filtered map: amplitude of a source at each pixel; NaN where `data` is."""
        filtered = np.empty(data.shape)
        flat = self.flattened(data)
        for where in blocks(data.shape):
            filtered[where] = self.outputs(flat, where)[0]
        return filtered

    def significance(self, data: FloatArray) -> FloatArray:
        """Return the filtered map over its local noise."""
        return self.apply(data) / self.noise[:, :]

    def ring(self, *, y: IndexArray, x: IndexArray, dy: IndexArray, dx: IndexArray) -> FloatArray:
        """Return the largest response, over plausible shapes, around sources of response 1, shape (n,).

        Parameters
        ----------
        y, x : ndarray of int, shape (n,)
            Pixels of the sources.
        dy, dx : ndarray of int, shape (n,)
            How far from there, at most `parts.ring_radius`.
        """
        weights = np.ones((1, y.size)) if self.local is None else self.local.at(y, x)
        return self.parts.ring(weights, dy=dy, dx=dx)


def measure_filter(
    data: Plane, *, beam_covariance: FloatArray, local_spectrum: bool = True, size: int | None = None
) -> MatchedFilter:
    """Measure the optimal filter of a map, and the noise of its output.

    Sources are not known in the beginning: they are found with a first filter, masked, and spectrum, local
    level and filter measured again, `N_ROUNDS` times in all. The spectrum is that of the map over its local
    level, so that loud regions do not decide for quiet ones.

    Parameters
    ----------
    data : Plane, shape (ny, nx)
        Map; blank pixels are NaN.
    beam_covariance : ndarray, shape (2, 2)
        Pixels^2, order (x, y).
    local_spectrum : bool
        Whether the filter follows a spectrum that varies over the map.
    size : int, optional
        Side of the blocks in which the map is worked on, see `hyper_py.numerics.tiles.blocks`.

    Returns
    -------
    MatchedFilter
    """
    fwhm, shape = beam_fwhm(beam_covariance), size_of(data)
    flattening = FLATTEN_SIZE * fwhm / FWHM_PER_SIGMA
    flat = flattened(data, sigma=flattening, size=size)
    known = sample(flat, size=size)
    sources = _bright_peaks(flat, fwhm=fwhm, noise=clipped_statistics(known).rms, size=size)
    few_modes = known.size * sample_step(shape) ** 2 < FEWEST_BEAMS * fwhm**2
    level, before = MeshMap(np.ones((1, 1)), max(shape), shape), 1.0
    expected, local = level, None
    for last in (False,) * (N_ROUNDS - 1) + (True,):
        even = _even(flat, level=level, mask=sources)
        spectrum = measure_spectrum(even, beam_covariance=beam_covariance, rings=few_modes)
        if last and local_spectrum:
            local = measure_local_spectrum(even, spectrum=spectrum, template=TEMPLATE_SIZE, size=size)
        filters = [FilterParts.of(spectrum, of, local) for of in SIZES[: 2 if last else 1]]
        noise, peaks = filter_noise(
            flat, filters, local, fwhm=fwhm, expected=expected.scaled(1.0 / before), mask=sources, size=size
        )
        bright = peaks.value >= MASK_THRESHOLD * noise[0].at(peaks.y, peaks.x)
        sources = Discs(peaks.y[bright], peaks.x[bright], MASK_RADIUS * fwhm)
        expected, before = noise[0], filters[0].output_rms
        level = expected.scaled(1.0 / float(np.median(expected.levels)))
    common = sources, beam_covariance, spectrum.assumed
    wide, narrow = (
        (parts, local, flattening, own, *common) for parts, own in zip(filters, noise, strict=True)
    )
    return MatchedFilter(*wide, MatchedFilter(*narrow))


def _even(flat: Plane, *, level: MeshMap, mask: Discs) -> Plane:
    """Return the flattened map over its level, without sources."""

    def make(rows: slice, columns: slice) -> FloatArray:
        values = flat[rows, columns] / level[rows, columns]
        values[mask.mask((rows, columns))] = np.nan
        return values

    return LazyPlane(size_of(flat), make)


class Maxima(NamedTuple):
    """Positive local maxima of a map: pixels and values, each of shape (n,)."""

    y: IndexArray
    x: IndexArray
    value: FloatArray

    @classmethod
    def of(cls, data: FloatArray, outer: Where, where: Where, *, fwhm: float) -> "Maxima":
        """Return those of a block `where`, of which `data` has the pixels `outer`."""
        y, x = local_maxima(
            np.where(np.isfinite(data), data, -np.inf), footprint=disc(SEPARATION * fwhm),
            threshold=np.finfo(np.float64).tiny,
        )  # fmt: skip
        value = data[y, x]
        y, x = y + outer[0].start, x + outer[1].start
        own = is_inside(where, y, x)
        return cls(y[own], x[own], value[own])

    @classmethod
    def joined(cls, parts: "Sequence[Maxima]") -> "Maxima":
        """Return all of several lists."""
        return cls(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _bright_peaks(flat: Plane, *, fwhm: float, noise: float, size: int | None) -> Discs:
    """Mask what stands out of the flattened map by itself.

    In a small map a few bright sources are most of the spectrum, and a filter made from that finds none.
    """
    smooth = Correlator(gaussian_kernel(0.5 * fwhm / FWHM_PER_SIGMA))
    halo, found = disc(SEPARATION * fwhm).shape[0] // 2, []
    for where in blocks(flat.shape, size=size):
        outer, _ = grown(where, halo, flat.shape)
        wider, inner = grown(outer, smooth.radius, flat.shape)
        piece = flat[wider]
        valid = np.isfinite(piece)
        seen = np.where(valid, smooth(np.where(valid, piece, 0.0))[0], np.nan)
        found.append(Maxima.of(seen[inner], outer, where, fwhm=fwhm))
    peaks = Maxima.joined(found)
    bright = peaks.value >= MASK_THRESHOLD * noise
    return Discs(peaks.y[bright], peaks.x[bright], MASK_RADIUS * fwhm)


def filter_noise(
    flat: Plane,
    filters: Sequence[FilterParts],
    local: LocalSpectrum | None,
    *,
    fwhm: float,
    expected: MeshMap,
    mask: Discs,
    size: int | None,
) -> tuple[list[MeshMap], Maxima]:
    """Return the local noise of filters, and peaks of the first.

    The noise expected is in units of what the spectrum says of a filter.
    """
    shape = size_of(flat)
    cell = max(1, round(0.5 * NOISE_WINDOW * fwhm))
    meshes = [NoiseMesh(shape, cell=cell) for _ in filters]
    bank, found = FilterBank(filters, local), []
    for where in blocks(shape, size=size, multiple=cell):
        outer, _ = grown(where, cell, shape)  # more than what a maximum must exceed
        seen = bank(flat, outer)
        usable, likely = np.isfinite(seen[0]) & ~mask.mask(outer), expected[outer]
        for image, mesh, parts in zip(seen, meshes, filters, strict=True):
            mesh.add(where, image, usable=usable, expected=parts.output_rms * likely)
        found.append(Maxima.of(seen[0], outer, where, fwhm=fwhm))
    noise = [
        mesh.level(correlated_area=parts.correlated_area, otherwise=parts.output_rms)
        for mesh, parts in zip(meshes, filters, strict=True)
    ]
    return noise, Maxima.joined(found)


def disc(radius: float) -> BoolArray:
    """Return a disc-shaped footprint; at least the 3 x 3 pixels around the centre."""
    half = max(int(radius), 1)
    rows, columns = np.mgrid[-half : half + 1, -half : half + 1]
    inside: BoolArray = (rows**2 + columns**2 <= radius**2) | (np.maximum(abs(rows), abs(columns)) <= 1)
    return inside


def disc_mask(shape: tuple[int, int], *, x: IndexArray, y: IndexArray, radius: float) -> BoolArray:
    """Return a mask that is True within `radius` of any of the pixels, which may lie beyond the border."""
    half = int(radius)
    dy, dx = np.mgrid[-half : half + 1, -half : half + 1]
    near = dy**2 + dx**2 <= radius**2
    rows, columns = (y[:, None] + dy[near]).ravel(), (x[:, None] + dx[near]).ravel()
    inside = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
    mask = np.zeros(shape, dtype=bool)
    mask[rows[inside], columns[inside]] = True
    return mask
