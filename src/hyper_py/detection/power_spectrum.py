"""The flattened map, its power spectrum, and the filters that follow from it."""

import itertools
import math
from dataclasses import dataclass

import numpy as np
from scipy import fft, ndimage

from hyper_py.arrays import FloatArray
from hyper_py.geometry import FWHM_PER_SIGMA, covariance_from_ellipse
from hyper_py.noise.covariance import (
    autocovariance,
    beam_covariance_model,
    clipped_statistics,
    parzen_taper,
    power_spectrum,
)
from hyper_py.numerics.tiles import Correlator, LazyPlane, Plane, blocks, grown, sample, size_of

FLATTEN_SIZE = 3.0
"""FWHM in beams of the Gaussian mean that flattens the map, so that a steep spectrum cannot leak."""
SPECTRUM_LAG = 8.0
"""Largest lag in beams of the autocovariance behind the spectrum."""
KERNEL_RADIUS = 4.0
"""The filter ends at this many beams; it is below a thousandth of its peak there."""
POWER_FLOOR = 0.1
"""Powers below this fraction of their median are raised to it: they are the estimate's own noise."""
RING_REACH = 4.5
"""Rings are looked for up to this many beams from a source: the second one is of a percent, at 3 to 4."""
RING_SIZES, RING_RATIOS, RING_ANGLES = (0.8, 1.0, 1.2, 1.4, 1.55), (1.0, 1.3, 1.6), 6
"""Sizes in beams, axis ratios and number of angles of the sources whose rings are looked for."""


def beam_fwhm(covariance: FloatArray) -> float:
    """Return the geometric mean FWHM of a Gaussian of this covariance."""
    return FWHM_PER_SIGMA * math.sqrt(math.sqrt(float(np.linalg.det(covariance))))


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
    mean, shape = Correlator(gaussian_kernel(sigma)), size_of(data)
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


def gaussian_kernel(sigma: float) -> FloatArray:
    """Return the image of a Gaussian of sum 1 in which each axis is cut off at 3 sigma."""
    profile = _gaussian_profile(sigma)
    return np.multiply.outer(profile, profile)


@dataclass(frozen=True, eq=False)
class Spectrum:
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

    def output_power(self, size: float) -> FloatArray:
        """Return the power spectrum of the filtered map."""
        return self.filter_transfer(size) ** 2 * self.power


def measure_spectrum(even: Plane, *, beam_covariance: FloatArray, rings: bool = False) -> Spectrum:
    """Return the tapered spectrum of a flattened map; an assumed one of too small a map.

    Parameters
    ----------
    even : Plane, shape (ny, nx)
        Flattened map over its level; sources and blank pixels are NaN.
    beam_covariance : ndarray, shape (2, 2)
        Pixels^2, order (x, y).
    rings : bool
        Whether frequencies that the beam sees alike get one power, as they must where there are few modes.
    """
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
        if rings:
            power = _ring_means(power, beam_covariance)
    return Spectrum(_raised(power), flattening, beam_covariance, reach, assumed)


def _ring_means(power: FloatArray, beam_covariance: FloatArray) -> FloatArray:
    """Return the means of a spectrum over rings of frequencies that the beam sees alike."""
    step = 2.0 * np.pi / power.shape[0] * beam_fwhm(beam_covariance) / FWHM_PER_SIGMA
    reduced = reduced_frequency(beam_covariance, power.shape[0] // 2)
    ring = np.rint(reduced / step).astype(np.intp)
    means = np.bincount(ring.ravel(), weights=power.ravel()) / np.maximum(np.bincount(ring.ravel()), 1)
    result: FloatArray = means[ring]
    return result


def reduced_frequency(beam_covariance: FloatArray, reach: int) -> FloatArray:
    """Return 2 pi frequency times sigma of the beam in its direction, on the grid of a spectrum."""
    frequency = 2.0 * np.pi * fft.fftfreq(2 * reach + 1)
    ky, kx = frequency[:, None], frequency
    c = beam_covariance
    reduced: FloatArray = np.sqrt(c[0, 0] * kx * kx + 2.0 * c[0, 1] * kx * ky + c[1, 1] * ky * ky)
    return reduced


def _raised(power: FloatArray) -> FloatArray:
    return np.maximum(power, POWER_FLOOR * float(np.median(power[power > 0])))


def _flattening_transfer(reach: int, sigma: float) -> FloatArray:
    """Return what `flatten` does to a wave, on the grid of the spectrum."""
    unit = np.zeros((2 * reach + 1, 2 * reach + 1))
    unit[reach, reach] = 1.0
    return 1.0 - power_spectrum(Correlator(gaussian_kernel(sigma))(unit)[0])


def _gaussian_transfer(covariance: FloatArray, reach: int) -> FloatArray:
    """Return the Fourier transform of a Gaussian of peak 1, on the grid of the spectrum."""
    frequency = 2.0 * np.pi * fft.fftfreq(2 * reach + 1)
    ky, kx = frequency[:, None], frequency
    exponent = covariance[0, 0] * kx * kx + 2.0 * covariance[0, 1] * kx * ky + covariance[1, 1] * ky * ky
    result: FloatArray = 2.0 * np.pi * math.sqrt(float(np.linalg.det(covariance))) * np.exp(-0.5 * exponent)
    return result


def correlated_area(power: FloatArray) -> float:
    """Return how many pixels of a Gaussian field of this power count as one for its mean square.

    The correlation of squares is the square of the correlation; its sum follows from Parseval.
    """
    return float(np.mean(power**2) / np.mean(power) ** 2)


def source_shapes(beam_covariance: FloatArray) -> list[FloatArray]:
    """Return the covariances of sources of all plausible shapes."""
    fwhm, shapes = beam_fwhm(beam_covariance), []
    for size, ratio, i in itertools.product(RING_SIZES, RING_RATIOS, range(RING_ANGLES)):
        if ratio > 1.0 or i == 0:
            root = math.sqrt(ratio)
            shapes.append(
                covariance_from_ellipse(size * fwhm * root, size * fwhm / root, math.pi * i / RING_ANGLES)
            )
    return shapes
