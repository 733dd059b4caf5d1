"""The matched filter of a spectrum, as a whole or in parts by band of frequency."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import fft, ndimage

from hyper_py.arrays import FloatArray, IntArray
from hyper_py.detection.local_spectrum import LocalSpectrum
from hyper_py.detection.power_spectrum import (
    KERNEL_RADIUS,
    RING_REACH,
    Spectrum,
    beam_fwhm,
    correlated_area,
    source_shapes,
)
from hyper_py.noise.covariance import radial_profile
from hyper_py.numerics.tiles import Correlator, Plane, Where, grown


@dataclass(frozen=True, eq=False)
class FilterParts:
    """A filter for sources of one size.

    Attributes
    ----------
    kernels : ndarray, shape (n_parts, side, side)
        One, or one a band; their sum is the filter of the whole map's spectrum.
    shares : ndarray, shape (n_parts,)
        Response of each part to a source of amplitude 1, sum 1.
    rings : ndarray, shape (n_shapes, n_parts, side, side)
        Response of each part around sources of different shapes in the middle.
    output_rms : float
        Of the filtered map, where the level is 1.
    correlated_area : float
        How many of its pixels count as one independent value of the square.
    correlation : ndarray, shape (n,)
        Of two pixels of the map 0, 1, 2 ... pixels apart, 0 where it is negative.
    """

    kernels: FloatArray
    shares: FloatArray
    rings: FloatArray
    output_rms: float
    correlated_area: float
    correlation: FloatArray

    @classmethod
    def of(cls, spectrum: Spectrum, size: float, local: LocalSpectrum | None) -> "FilterParts":
        """Return the filter for a template of `size` beams, in the bands of a spectrum that varies."""
        fwhm, power = beam_fwhm(spectrum.beam_covariance), spectrum.output_power(size)
        transfers = spectrum.filter_transfer(size) * (np.ones((1, 1, 1)) if local is None else local.bands)
        template = spectrum.seen(size**2 * spectrum.beam_covariance)
        rings = np.stack(
            [
                _centre(transfers * spectrum.seen(shape), radius=math.ceil(RING_REACH * fwhm))
                for shape in source_shapes(spectrum.beam_covariance)
            ]
        )
        middle = rings.shape[-1] // 2
        if local is None:
            rings = (rings / rings[..., middle, middle, None, None]).max(axis=0, keepdims=True)
        return cls(
            kernels=_centre(transfers, radius=math.ceil(KERNEL_RADIUS * fwhm)),
            shares=np.mean(transfers * template, axis=(1, 2)),
            rings=rings,
            output_rms=math.sqrt(float(np.mean(power))),
            correlated_area=correlated_area(power),
            correlation=_correlation(spectrum.power),
        )

    @property
    def ring_radius(self) -> int:
        """How far rings are known, in pixels."""
        return int(self.rings.shape[-1]) // 2

    def joined(self, parts: Sequence[FloatArray], weights: FloatArray) -> FloatArray:
        """Return the output of the filter in which parts count by weights, shape (n_parts, ny, nx)."""
        total: FloatArray = sum(weight * part for weight, part in zip(weights, parts, strict=True))
        return total / np.tensordot(self.shares, weights, axes=1)

    def ring(self, weights: FloatArray, *, dy: IntArray, dx: IntArray) -> FloatArray:
        """Return the largest response, over shapes, at places around sources of response 1, shape (n,).

        `weights` are those of the parts, shape (n_parts, n).
        """
        middle, largest = self.ring_radius, np.zeros(dy.size)
        for parts in self.rings:
            there = np.sum(weights * parts[:, middle + dy, middle + dx], axis=0)
            np.maximum(largest, there / (parts[:, middle, middle] @ weights), out=largest)
        return largest


class FilterBank:
    """Filters for sources of several sizes at once, each joined from its parts."""

    def __init__(self, filters: Sequence[FilterParts], local: LocalSpectrum | None) -> None:
        self._filters, self._local = filters, local
        self._correlate_all = Correlator(*(kernel for parts in filters for kernel in parts.kernels))

    def __call__(self, flat: Plane, where: Where) -> list[FloatArray]:
        """Return a part of the flattened map as each filter sees it; NaN where `flat` is."""
        outer, inner = grown(where, self._correlate_all.radius, flat.shape)
        piece = flat[outer]
        valid = np.isfinite(piece)
        if not valid[inner].any():
            return [np.full(valid[inner].shape, np.nan) for _ in self._filters]
        if not valid.all():
            correlation = self._filters[0].correlation
            piece = _continued(flat, outer, reach=self._correlate_all.radius, correlation=correlation)
        seen = iter(self._correlate_all(piece))
        weights = None if self._local is None else self._local[where]
        results = []
        for parts in self._filters:
            images = [next(seen)[inner] for _ in parts.kernels]
            joined = images[0] if weights is None else parts.joined(images, weights)
            results.append(np.where(valid[inner], joined, np.nan))
        return results


def _continued(flat: Plane, where: Where, *, reach: int, correlation: FloatArray) -> FloatArray:
    """Return a part of a map in which blank pixels have what the nearest that is not blank lets expect.

    Zeros there would be steps, and the filter of noise without small scales takes steps for sources. What is
    expected is the value times the correlation over the distance. All is as it is for the whole map within
    `reach` pixels, on either axis, of what is not blank.
    """
    outer, inner = grown(where, math.ceil(math.sqrt(2.0) * reach), flat.shape)
    piece = flat[outer]
    distance, (rows, columns) = ndimage.distance_transform_edt(~np.isfinite(piece), return_indices=True)
    factor = np.interp(distance[inner], np.arange(correlation.size), correlation)
    result: FloatArray = piece[rows[inner], columns[inner]] * factor
    return result


def _correlation(power: FloatArray) -> FloatArray:
    """Return the mean correlation over rings of 0, 1, 2 ... pixels, 0 where it is negative."""
    _, profile = radial_profile(fft.fftshift(fft.ifft2(power).real))
    result: FloatArray = np.maximum(profile / profile[0], 0.0)
    return result


def _centre(transfers: FloatArray, *, radius: int) -> FloatArray:
    """Return the kernels of transfer functions, shape (n, side, side), cut at a radius in pixels."""
    kernels = fft.fftshift(fft.ifft2(transfers).real, axes=(1, 2))
    middle = kernels.shape[-1] // 2
    inner = slice(middle - radius, middle + radius + 1)
    result: FloatArray = kernels[:, inner, inner]
    return result
