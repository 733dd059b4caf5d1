"""A family of Gaussian kernels of the beam's shape, and what they make of a map.

A linear filter made from a few kernels of known shape needs no power spectrum: its weights follow in closed
form from the covariance of the smoothed maps, see `hyper_py.detection.weights`.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hyper_py.arrays import FloatArray
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.numerics.sending import SentOnce
from hyper_py.numerics.tiles import Correlator, Where

SIZES = (0.5, 0.8, 1.2, 1.8, 2.7, 4.0)
"""Sigma of the kernels in units of the beam's; the map itself is a further member of the family."""
REACH = 4.5
"""Kernels end at this many sigma: at 4e-5 of their peak."""
LEAST_SHARE = 0.02
"""A mean over less than this share of a kernel is not enlarged any further."""


@dataclass(frozen=True, eq=False)
class KernelFamily(SentOnce):
    """The map itself and its means over Gaussians of the beam's shape, less the mean over the largest.

    The differences do not see a constant, and so no filter made from them does.

    Attributes
    ----------
    beam_covariance : ndarray, shape (2, 2)
        Pixels^2, order (x, y).
    """

    beam_covariance: FloatArray

    @cached_property
    def fwhm(self) -> float:
        """Geometric mean FWHM of the beam in pixels."""
        return float(FWHM_PER_SIGMA * np.linalg.det(self.beam_covariance) ** 0.25)

    @property
    def n_planes(self) -> int:
        """Number of differences."""
        return len(SIZES)

    @property
    def radius(self) -> int:
        """Half side of the largest kernel in pixels: the halo that a tile needs."""
        return self._correlator.radius

    @cached_property
    def kernels(self) -> list[FloatArray]:
        """The kernels, each of sum 1 and odd sides."""
        return [gaussian_kernel(size**2 * self.beam_covariance) for size in SIZES]

    @cached_property
    def _correlator(self) -> Correlator:
        return Correlator(*self.kernels)

    def each_share(self, valid: FloatArray) -> Iterator[FloatArray]:
        """Yield the share of each kernel that lies on valid pixels (1, else 0), that of the largest first."""
        return map(_not_too_small, self._correlator.each(valid, self._order))

    def each_difference(
        self, data: FloatArray, shares: Iterable[FloatArray], inner: Where
    ) -> Iterator[FloatArray]:
        """Yield the map and its means, less the mean over the largest kernel, the map itself first.

        One after another: they need not be in memory together.

        Parameters
        ----------
        data : ndarray, shape (ny, nx)
            0 where it is blank; beyond its border it counts as blank.
        shares : iterable of ndarray
            From `each_share` for the pixels that are not blank, in the part wanted, or arrays of one 1.
        inner : tuple of slices
            The part wanted.
        """
        means, shares = self._correlator.each(data, self._order), iter(shares)
        largest = next(means)[inner] / next(shares)
        plane: FloatArray = data[inner] - largest
        del data  # whoever asks for planes one after another wants little in memory
        yield plane
        for _ in range(self.n_planes - 1):
            plane = next(means)[inner].copy()
            share = next(shares)
            if share.size > 1 or share.item() != 1.0:
                plane /= share
            del share
            plane -= largest
            yield plane
            del plane

    @property
    def _order(self) -> list[int]:
        """In which kernels are used: the largest is needed for all differences."""
        last = len(SIZES) - 1
        return [last, *range(last)]

    def response(self, template: float) -> FloatArray:
        """Return the differences at the centre of a Gaussian of peak 1 and `template` beams, (n_planes,)."""
        half = self.kernels[-1].shape[0] // 2, self.kernels[-1].shape[1] // 2
        source = _gaussian(template**2 * self.beam_covariance, half)
        means = [1.0]
        for kernel in self.kernels:
            rows, columns = (
                slice(h - side // 2, h + side // 2 + 1) for h, side in zip(half, kernel.shape, strict=True)
            )
            means.append(float(np.sum(kernel * source[rows, columns])))
        return np.array(means[:-1]) - means[-1]

    def response_at(self, size: FloatArray, away: FloatArray) -> FloatArray:
        """Return the differences at a distance from round Gaussians of peak 1, shape (n, n_planes).

        Parameters
        ----------
        size : ndarray, shape (n,)
            Sigma of the sources in units of the beam's.
        away : ndarray, shape (n,)
            Distance in the same unit.
        """
        area = size[:, None] ** 2
        total = area + np.array([0.0, *SIZES]) ** 2
        means = area / total * np.exp(-0.5 * away[:, None] ** 2 / total)
        response: FloatArray = means[:, :-1] - means[:, -1:]
        return response


def gaussian_kernel(covariance: FloatArray) -> FloatArray:
    """Return a Gaussian of this covariance in pixels^2, cut off at `REACH` sigma, of sum 1."""
    half = [max(math.ceil(REACH * math.sqrt(covariance[i, i])), 1) for i in (1, 0)]
    values = _gaussian(covariance, (half[0], half[1]))
    values[values < math.exp(-0.5 * REACH**2)] = 0.0
    kernel: FloatArray = values / values.sum()
    return kernel


def _not_too_small(share: FloatArray) -> FloatArray:
    return np.maximum(share, LEAST_SHARE, out=share)


def _gaussian(covariance: FloatArray, half: tuple[int, int]) -> FloatArray:
    """Return a Gaussian of peak 1 on 2 half + 1 pixels (y, x)."""
    y, x = np.mgrid[-half[0] : half[0] + 1, -half[1] : half[1] + 1]
    inverse = np.linalg.inv(covariance)
    exponent = inverse[0, 0] * x * x + 2.0 * inverse[0, 1] * x * y + inverse[1, 1] * y * y
    values: FloatArray = np.exp(-0.5 * exponent)
    return values
