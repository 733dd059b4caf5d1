"""The filter that is optimal for a source in the noise and background that a map itself shows.

The map is flattened (its local mean removed), its power spectrum measured outside sources, and the filter is
template / power spectrum in Fourier space, both as seen through the flattening. Its output is the amplitude
of a source at each pixel, to be compared with the output's own local noise.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from hyper_py.geometry import FWHM_PER_SIGMA, FloatArray, covariance_from_ellipse
from hyper_py.numerics.blocks import (
    Correlator,
    LazyPlane,
    Plane,
    Where,
    blocks,
    grown,
    is_inside,
    sample,
    size_of,
)
from hyper_py.numerics.coarse import CoarseMap
from hyper_py.numerics.noise import (
    autocovariance,
    beam_covariance_model,
    clipped_statistics,
    parzen_taper,
    power_spectrum,
)
from hyper_py.steps.detection import local_maxima
from hyper_py.steps.local_noise import NoiseMesh

BoolArray: TypeAlias = NDArray[np.bool_]
IntArray: TypeAlias = NDArray[np.intp]
TEMPLATE_SIZE = 1.1
"""Size of the template in beams: sources are rarely smaller than the beam, and often a little larger."""
NARROW_SIZE = 0.7
"""Size of the template of the narrower filter in beams."""
FLATTEN_SIZE = 3.0
"""FWHM in beams of the Gaussian mean that flattens the map, so that a steep spectrum cannot leak."""
SPECTRUM_LAG = 8.0
"""Largest lag in beams of the autocovariance behind the spectrum."""
KERNEL_RADIUS = 4.0
"""The filter ends at this many beams; it is below a thousandth of its peak there."""
POWER_FLOOR = 0.1
"""Powers below this fraction of their median are raised to it: they are the estimate's own noise."""
NOISE_WINDOW = 8.5
"""FWHM in beams of the window in which the local noise is measured; interpolation widens it to about 10."""
MASK_RADIUS = 1.3
"""Sources are masked out to this many beams while spectrum and noise are measured."""
MASK_THRESHOLD = 5.0
N_ROUNDS = 3
SEPARATION = 0.6
"""Peaks closer than this many beams are one."""
RING_REACH = 4.5
"""Rings are looked for up to this many beams from a source: the second one is of a percent, at 3 to 4."""
RING_SIZES, RING_RATIOS, RING_ANGLES = (0.8, 1.0, 1.2, 1.4, 1.55), (1.0, 1.3, 1.6), 6
"""Sizes in beams, axis ratios and number of angles of the sources whose rings are looked for."""


@dataclass(frozen=True, eq=False)
class Discs:
    """A mask, made where it is needed: True within `radius` of any of the pixels (y, x)."""

    y: IntArray
    x: IntArray
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
    kernel : ndarray, odd sides
        To be correlated with the flattened map; the result is the amplitude of a source.
    flattening : float
        Sigma in pixels of the Gaussian mean that flattens.
    noise : CoarseMap, shape (ny, nx)
        Local rms of the filtered map, in the unit of the map.
    ring : ndarray, odd sides
        Largest response, over plausible sizes, to a source of response 1 in the middle.
    sources : Discs
        Where sources were when the noise was measured.
    beam_covariance : ndarray, shape (2, 2)
        Pixels^2, order (x, y).
    assumed : bool
        True where the map was too small to measure its spectrum.
    narrow : MatchedFilter, optional
        The filter for blends, from the same spectrum.
    """

    kernel: FloatArray
    flattening: float
    noise: CoarseMap
    ring: FloatArray
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
    def _correlator(self) -> Correlator:
        return Correlator(*(one.kernel for one in self.both))

    def outputs(self, flat: Plane, where: Where) -> list[FloatArray]:
        """Return a part of the flattened map as `both` filters see it; NaN where `flat` is."""
        outer, inner = grown(where, self._correlator.radius, flat.shape)
        piece = flat[outer]
        valid = np.isfinite(piece)
        filtered = self._correlator(np.where(valid, piece, 0.0))
        return [np.where(valid[inner], image[inner], np.nan) for image in filtered]

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


def beam_fwhm(covariance: FloatArray) -> float:
    """Return the geometric mean FWHM of a Gaussian of this covariance."""
    return FWHM_PER_SIGMA * math.sqrt(math.sqrt(float(np.linalg.det(covariance))))


def measure_filter(data: Plane, *, beam_covariance: FloatArray, size: int | None = None) -> MatchedFilter:
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
    size : int, optional
        Side of the blocks in which the map is worked on, see `hyper_py.numerics.blocks.blocks`.

    Returns
    -------
    MatchedFilter
    """
    fwhm, shape = beam_fwhm(beam_covariance), size_of(data)
    flattening = FLATTEN_SIZE * fwhm / FWHM_PER_SIGMA
    flat = flattened(data, sigma=flattening, size=size)
    sources = _bright_peaks(flat, fwhm=fwhm, size=size)
    level, before = CoarseMap(np.ones((1, 1)), max(shape), shape), 1.0
    expected = level
    for last in (False,) * (N_ROUNDS - 1) + (True,):
        spectrum = _measure_spectrum(flat, level=level, mask=sources, beam_covariance=beam_covariance)
        sizes = (TEMPLATE_SIZE, NARROW_SIZE) if last else (TEMPLATE_SIZE,)
        noise, peaks = _outputs(
            flat, spectrum, sizes=sizes, expected=expected.scaled(1.0 / before), mask=sources, size=size
        )
        bright = peaks.value >= MASK_THRESHOLD * noise[0].at(peaks.y, peaks.x)
        sources = Discs(peaks.y[bright], peaks.x[bright], MASK_RADIUS * fwhm)
        expected, before = noise[0], spectrum.output_rms(TEMPLATE_SIZE)
        level = expected.scaled(1.0 / float(np.median(expected.levels)))
    common = sources, beam_covariance, spectrum.assumed
    wide, narrow = (
        (spectrum.kernel(of), flattening, own, _ring(spectrum, of), *common)
        for of, own in zip(sizes, noise, strict=True)
    )
    return MatchedFilter(*wide, MatchedFilter(*narrow))


class _Maxima(NamedTuple):
    """Positive local maxima of a map: pixels and values, each of shape (n,)."""

    y: IntArray
    x: IntArray
    value: FloatArray

    @classmethod
    def of(cls, data: FloatArray, outer: Where, where: Where, *, fwhm: float) -> "_Maxima":
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
    def joined(cls, parts: "Sequence[_Maxima]") -> "_Maxima":
        """Return all of several lists."""
        return cls(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _bright_peaks(flat: Plane, *, fwhm: float, size: int | None) -> Discs:
    """Mask what stands out of the flattened map by itself.

    In a small map a few bright sources are most of the spectrum, and a filter made from that finds none.
    """
    smooth = Correlator(_gaussian_kernel(0.5 * fwhm / FWHM_PER_SIGMA))
    halo, found = disc(SEPARATION * fwhm).shape[0] // 2, []
    for where in blocks(flat.shape, size=size):
        outer, _ = grown(where, halo, flat.shape)
        wider, inner = grown(outer, smooth.radius, flat.shape)
        piece = flat[wider]
        valid = np.isfinite(piece)
        seen = np.where(valid, smooth(np.where(valid, piece, 0.0))[0], np.nan)
        found.append(_Maxima.of(seen[inner], outer, where, fwhm=fwhm))
    peaks, noise = _Maxima.joined(found), clipped_statistics(sample(flat, size=size)).rms
    bright = peaks.value >= MASK_THRESHOLD * noise
    return Discs(peaks.y[bright], peaks.x[bright], MASK_RADIUS * fwhm)


def _outputs(
    flat: Plane,
    spectrum: "_Spectrum",
    *,
    sizes: Sequence[float],
    expected: CoarseMap,
    mask: Discs,
    size: int | None,
) -> tuple[list[CoarseMap], _Maxima]:
    """Return the local noise of the filters for sources of some sizes in beams, and peaks of the first.

    The noise expected is in units of what the spectrum says of a filter.
    """
    fwhm, shape = beam_fwhm(spectrum.beam_covariance), size_of(flat)
    cell = max(1, round(0.5 * NOISE_WINDOW * fwhm))
    meshes = [NoiseMesh(shape, cell=cell) for _ in sizes]
    units = [spectrum.output_rms(of) for of in sizes]
    correlate_all = Correlator(*(spectrum.kernel(of) for of in sizes))
    found = []
    for where in blocks(shape, size=size, multiple=cell):
        outer, _ = grown(where, cell, shape)  # more than what a maximum must exceed
        wider, inner = grown(outer, correlate_all.radius, shape)
        piece = flat[wider]
        valid = np.isfinite(piece)
        filtered = correlate_all(np.where(valid, piece, 0.0))
        seen = [np.where(valid[inner], image[inner], np.nan) for image in filtered]
        usable, local = valid[inner] & ~mask.mask(outer), expected[outer]
        for image, mesh, unit in zip(seen, meshes, units, strict=True):
            mesh.add(where, image, usable=usable, expected=unit * local)
        found.append(_Maxima.of(seen[0], outer, where, fwhm=fwhm))
    noise = [
        mesh.level(correlated_area=_correlated_area(spectrum.output_power(of)), otherwise=unit)
        for mesh, of, unit in zip(meshes, sizes, units, strict=True)
    ]
    return noise, _Maxima.joined(found)


def flattened(data: Plane, *, sigma: float, size: int | None = None) -> Plane:
    """Return the map minus its Gaussian-weighted local mean; blank pixels take no part and stay blank.

    Parameters
    ----------
    data : Plane, shape (ny, nx)
        Map; blank pixels are NaN.
    sigma : float
        Sigma of the weights in pixels.
    size : int, optional
        Side of the blocks in which it is computed.

    Returns
    -------
    Plane, shape (ny, nx)
        An array where `data` is one; else it is computed where it is asked for.
    """
    mean, shape = Correlator(_gaussian_kernel(sigma)), size_of(data)
    profile = _gaussian_profile(sigma)

    def make(rows: slice, columns: slice) -> FloatArray:
        outer, inner = grown((rows, columns), mean.radius, shape)
        piece = data[outer]
        valid = np.isfinite(piece)
        if not valid.any():
            return np.full(piece[inner].shape, np.nan)
        centred = np.where(valid, piece - piece[valid].mean(), 0.0)
        if valid.all():
            weight = np.multiply.outer(
                *(ndimage.correlate1d(np.ones(n), profile, mode="constant") for n in piece.shape)
            )
        else:
            weight = mean(valid.astype(np.float64))[0]
        local = np.divide(mean(centred)[0], weight, out=np.zeros(piece.shape), where=valid)
        return np.where(valid, centred - local, np.nan)[inner]

    lazy = LazyPlane(shape, make)
    if not isinstance(data, np.ndarray):
        return lazy
    result = np.empty(shape)
    for where in blocks(shape, size=size):
        result[where] = lazy[where]
    return result


def _gaussian_profile(sigma: float) -> FloatArray:
    """Return a Gaussian cut off at 3 sigma, of sum 1."""
    radius = int(3.0 * sigma + 0.5)
    values = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    profile: FloatArray = values / values.sum()
    return profile


def _gaussian_kernel(sigma: float) -> FloatArray:
    """Return the image of a Gaussian of sum 1 in which each axis is cut off at 3 sigma."""
    profile = _gaussian_profile(sigma)
    return np.multiply.outer(profile, profile)


def disc(radius: float) -> BoolArray:
    """Return a disc-shaped footprint; at least the 3 x 3 pixels around the centre."""
    half = max(int(radius), 1)
    rows, columns = np.mgrid[-half : half + 1, -half : half + 1]
    inside: BoolArray = (rows**2 + columns**2 <= radius**2) | (np.maximum(abs(rows), abs(columns)) <= 1)
    return inside


def disc_mask(shape: tuple[int, int], *, x: IntArray, y: IntArray, radius: float) -> BoolArray:
    """Return a mask that is True within `radius` of any of the pixels, which may lie beyond the border."""
    half = int(radius)
    dy, dx = np.mgrid[-half : half + 1, -half : half + 1]
    near = dy**2 + dx**2 <= radius**2
    rows, columns = (y[:, None] + dy[near]).ravel(), (x[:, None] + dx[near]).ravel()
    inside = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
    mask = np.zeros(shape, dtype=bool)
    mask[rows[inside], columns[inside]] = True
    return mask


@dataclass(frozen=True, eq=False)
class _Spectrum:
    """Power spectrum of a flattened map on a grid of side 2 reach + 1, and what follows from it."""

    power: FloatArray
    flattening: FloatArray
    beam_covariance: FloatArray
    reach: int
    assumed: bool

    def seen(self, covariance: FloatArray) -> FloatArray:
        """Return the transform of a Gaussian source of peak 1 in the flattened map."""
        return _gaussian_transfer(covariance, self.reach) * self.flattening

    def filter_transfer(self, size: float) -> FloatArray:
        """Return template / power for a template of `size` beams, of response 1 to the template."""
        template = self.seen(size**2 * self.beam_covariance)
        transfer = template / self.power
        return transfer / float(np.mean(transfer * template))

    def kernel(self, size: float) -> FloatArray:
        """Return the filter for a template of `size` beams, to be correlated with the flattened map."""
        radius = min(math.ceil(KERNEL_RADIUS * beam_fwhm(self.beam_covariance)), self.reach)
        return _centre(self.filter_transfer(size), radius=radius)

    def output_power(self, size: float) -> FloatArray:
        """Return the power spectrum of the filtered map."""
        return self.filter_transfer(size) ** 2 * self.power

    def output_rms(self, size: float) -> float:
        """Return the rms of the filtered map, where the level is 1."""
        return math.sqrt(float(np.mean(self.output_power(size))))


def _measure_spectrum(
    flat: Plane, *, level: CoarseMap, mask: Discs, beam_covariance: FloatArray
) -> _Spectrum:
    """Return the tapered spectrum of a flattened map over its level; an assumed one of too small a map."""

    def make(rows: slice, columns: slice) -> FloatArray:
        values = flat[rows, columns] / level[rows, columns]
        values[mask.mask((rows, columns))] = np.nan
        return values

    even = LazyPlane(size_of(flat), make)
    fwhm = beam_fwhm(beam_covariance)
    reach = math.ceil(SPECTRUM_LAG * fwhm)
    flattening = _flattening_transfer(reach, FLATTEN_SIZE * fwhm / FWHM_PER_SIGMA)
    lags = autocovariance(even, max_lag=reach)
    assumed = not np.isfinite(lags).all() or not lags[reach, reach] > 0
    if assumed:
        rms = clipped_statistics(sample(even)).rms
        model = beam_covariance_model(beam_covariance, rms=rms if rms > 0.0 else 1.0, max_lag=reach)
        power = power_spectrum(model.lags) * flattening**2
    else:
        power = power_spectrum(lags * parzen_taper(reach))
    return _Spectrum(_raised(power), flattening, beam_covariance, reach, assumed)


def _raised(power: FloatArray) -> FloatArray:
    return np.maximum(power, POWER_FLOOR * float(np.median(power[power > 0])))


def _flattening_transfer(reach: int, sigma: float) -> FloatArray:
    """Return what `flatten` does to a wave, on the grid of the spectrum."""
    unit = np.zeros((2 * reach + 1, 2 * reach + 1))
    unit[reach, reach] = 1.0
    return 1.0 - power_spectrum(Correlator(_gaussian_kernel(sigma))(unit)[0])


def _gaussian_transfer(covariance: FloatArray, reach: int) -> FloatArray:
    """Return the Fourier transform of a Gaussian of peak 1, on the grid of the spectrum."""
    frequency = 2.0 * np.pi * fft.fftfreq(2 * reach + 1)
    ky, kx = frequency[:, None], frequency
    exponent = covariance[0, 0] * kx * kx + 2.0 * covariance[0, 1] * kx * ky + covariance[1, 1] * ky * ky
    result: FloatArray = 2.0 * np.pi * math.sqrt(float(np.linalg.det(covariance))) * np.exp(-0.5 * exponent)
    return result


def _centre(transfer: FloatArray, *, radius: int) -> FloatArray:
    """Return the kernel of a transfer function, cut at a radius in pixels."""
    kernel = fft.fftshift(fft.ifft2(transfer).real)
    middle = kernel.shape[0] // 2
    result: FloatArray = kernel[middle - radius : middle + radius + 1, middle - radius : middle + radius + 1]
    return result


def _correlated_area(power: FloatArray) -> float:
    """Return how many pixels of a Gaussian field of this power count as one for its mean square.

    The correlation of squares is the square of the correlation; its sum follows from Parseval.
    """
    return float(np.mean(power**2) / np.mean(power) ** 2)


def _ring(spectrum: _Spectrum, template_size: float) -> FloatArray:
    """Return the largest response around sources of all plausible shapes, in units of their own."""
    fwhm, transfer = beam_fwhm(spectrum.beam_covariance), spectrum.filter_transfer(template_size)
    radius = min(math.ceil(RING_REACH * fwhm), spectrum.reach)
    largest = np.zeros((2 * radius + 1, 2 * radius + 1))
    for size, ratio, i in itertools.product(RING_SIZES, RING_RATIOS, range(RING_ANGLES)):
        if ratio == 1.0 and i > 0:
            continue
        root = math.sqrt(ratio)
        shape = covariance_from_ellipse(size * fwhm * root, size * fwhm / root, math.pi * i / RING_ANGLES)
        response = _centre(transfer * spectrum.seen(shape), radius=radius)
        np.maximum(largest, response / response[radius, radius], out=largest)
    return largest
