"""How the power spectrum of a map varies over the map, and the filter that follows it.

The map is cut into tiles, and the power of each is compared with the map's in a few bands of frequency: in a
band there are many modes, so that a small tile is enough. A matched filter is the sum of its parts in the
bands; where a band is louder than on the map's mean, its part counts less, in proportion.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import fft, special

from hyper_py.arrays import FloatArray, IntArray
from hyper_py.detection.power_spectrum import Spectrum, beam_fwhm, reduced_frequency
from hyper_py.noise.covariance import parzen_taper
from hyper_py.noise.local_rms import WEIGHTS, smooth
from hyper_py.numerics.mesh import MeshMap, coarse_map
from hyper_py.numerics.tiles import Plane, Where, blocks, size_of

BANDS = (0.4, 0.8, 1.2, 1.6, 2.0)
"""Centres of the bands: frequency times 2 pi times sigma of the beam in its direction."""
TILE = 12.0
"""Side of a tile in beams; with its neighbours, which count a half and a quarter, it sees twice as far."""
LEAST_SHARE = 0.25
"""A tile needs this share of its pixels, and of its pairs of pixels at each lag."""
POWER_FLOOR = 0.05
"""Powers below this fraction of the map's are raised to it."""
LEAST_TILES = 16
"""Fewer tiles than these do not show whether they differ."""
SIGNIFICANCE = 0.001
"""How often a map of one spectrum may be taken for one that varies."""
LEAST_GAIN = 0.01
"""What local filters must gain in variance on the mean over tiles, to be worth their time."""


@dataclass(frozen=True, eq=False)
class LocalSpectrum:
    """The spectrum of a map in bands of frequency, over that of the whole map.

    Attributes
    ----------
    bands : ndarray, shape (n_bands, side, side)
        How much a frequency of the spectrum's grid belongs to each band; the sum over bands is 1.
    inverse : tuple of MeshMap
        Power of the whole map over the local one, for each band; only their ratios count.
    gain : float
        Share of the variance that filters from neighbouring tiles have taken off a tile's filtered map.
    """

    bands: FloatArray
    inverse: tuple[MeshMap, ...]
    gain: float

    def __getitem__(self, where: Where) -> FloatArray:
        """Return the inverse powers at pixels of rows and columns, shape (n_bands, ny, nx)."""
        return np.stack([one[where] for one in self.inverse])

    def at(self, y: IntArray, x: IntArray) -> FloatArray:
        """Return the inverse powers at pixels, shape (n_bands, n)."""
        return np.stack([one.at(y, x) for one in self.inverse])


def band_shapes(spectrum: Spectrum) -> FloatArray:
    """Return how much each frequency of the grid belongs to each band, shape (n_bands, side, side).

    Raised cosines between the centres of the bands; the outermost bands are open.
    """
    reduced = reduced_frequency(spectrum.beam_covariance, spectrum.reach)
    place = np.interp(reduced, BANDS, np.arange(len(BANDS)))
    distance = np.abs(place - np.arange(len(BANDS))[:, None, None])
    shapes: FloatArray = np.where(distance < 1.0, 0.5 + 0.5 * np.cos(np.pi * distance), 0.0)
    return shapes


def measure_local_spectrum(
    even: Plane, *, spectrum: Spectrum, template: float, size: int | None = None
) -> LocalSpectrum | None:
    """Measure how the spectrum of a map varies; None if it cannot be told from that of the whole map.

    A tile and its neighbours are drawn to the map's spectrum by the share of their scatter over the map that
    is chance, which is known from how much single tiles differ from their neighbours. Whether the spectrum
    varies at all is decided by prediction: each tile is filtered as its neighbours ask for, and its variance
    compared with what the map's own filter leaves. Chance predicts nothing of a neighbour, however the noise
    is distributed.

    Parameters
    ----------
    even : Plane, shape (ny, nx)
        Flattened map over its level; sources and blank pixels are NaN.
    spectrum : Spectrum
        Of the whole map.
    template : float
        Size in beams of the sources that are looked for.
    size : int, optional
        Side of the blocks in which the map is worked on.
    """
    shape, fwhm = size_of(even), beam_fwhm(spectrum.beam_covariance)
    tile = round(TILE * fwhm)
    if spectrum.assumed or math.prod(-(-n // tile) for n in shape) < LEAST_TILES:
        return None
    bands = band_shapes(spectrum)
    information = bands * spectrum.seen(template**2 * spectrum.beam_covariance) ** 2 / spectrum.power
    shares = information.sum(axis=(1, 2)) / information.sum()
    estimators = relative_power(spectrum, information)
    power, pixels = tile_powers(even, estimators=estimators, tile=tile, size=size)
    pixels[np.tensordot(shares, power, axes=1) < POWER_FLOOR] = 0.0  # such as a border of zeros
    n_tiles = np.count_nonzero(pixels)
    if n_tiles < LEAST_TILES:
        return None
    power *= pixels.sum() / np.sum(pixels * power, axis=(1, 2), keepdims=True)
    around, beside = (_Neighbourhood.of(power, pixels, own=own) for own in (True, False))
    chance = _chance(power, pixels, beside, shares)
    known = np.where(pixels > 0, around.contrast(shares) ** 2 - chance * around.per_pixel, 0.0)
    signal = np.maximum(np.sum(pixels * known, axis=(1, 2)) / pixels.sum(), 0.0)[:, None, None]
    gain, error = _predicted_gain(power, pixels, beside.drawn(shares, signal, chance), beside, shares)
    if gain < max(LEAST_GAIN, error * float(special.stdtrit(n_tiles - 1, 1.0 - SIGNIFICANCE))):
        return None
    inverse = np.where(np.isfinite(around.per_pixel), 1.0 / around.drawn(shares, signal, chance), np.nan)
    return LocalSpectrum(bands, tuple(coarse_map(one, mesh=tile, shape=shape) for one in inverse), gain)


@dataclass(frozen=True, eq=False)
class _Neighbourhood:
    """Relative powers of tiles and their neighbours together.

    Attributes
    ----------
    power : ndarray, shape (n_bands, ny, nx)
    per_pixel : ndarray, shape (ny, nx)
        Variance of a mean of so many pixels over that of one; infinite where there is none.
    """

    power: FloatArray
    per_pixel: FloatArray

    @classmethod
    def of(cls, power: FloatArray, pixels: FloatArray, *, own: bool) -> "_Neighbourhood":
        """Return the means over tiles and their neighbours, or over the neighbours only."""
        centre = 0.0 if own else float(WEIGHTS[1] ** 2)
        total = np.stack([smooth(pixels * one) - centre * pixels * one for one in power])
        weight = smooth(pixels) - centre * pixels
        squares = smooth(pixels, weights=WEIGHTS**2) - centre**2 * pixels
        some = weight > 0.5  # less is what rounding leaves of nothing
        weight = np.where(some, weight, 1.0)
        return cls(np.where(some, total / weight, 1.0), np.where(some, squares / weight**2, np.inf))

    def contrast(self, shares: FloatArray) -> FloatArray:
        """Return the logarithms of the powers less their common level."""
        logarithm = np.log(np.maximum(self.power, POWER_FLOOR))
        result: FloatArray = logarithm - np.tensordot(shares, logarithm, axes=1)
        return result

    def drawn(self, shares: FloatArray, signal: FloatArray, chance: FloatArray) -> FloatArray:
        """Return relative powers without their common level, drawn to 1 where they are not well known.

        `signal` is the variance of the true contrasts, `chance` that of a pixel's, shape (n_bands, 1, 1).
        """
        total = signal + chance * self.per_pixel
        trust = np.divide(signal, total, out=np.zeros(total.shape), where=np.isfinite(total) & (total > 0.0))
        result: FloatArray = np.exp(trust * self.contrast(shares))
        return result


def _chance(power: FloatArray, pixels: FloatArray, beside: _Neighbourhood, shares: FloatArray) -> FloatArray:
    """Return the variance of the relative power of one pixel in each band, shape (n_bands, 1, 1).

    It is what tiles differ from their neighbours by: few modes, masks, leaking from louder bands, and
    noise that is not Gaussian all count as they do.
    """
    pairs = (pixels > 0) & np.isfinite(beside.per_pixel)
    if not pairs.any():
        return np.full((len(power), 1, 1), np.inf)
    one, other = (image[:, pairs] / (shares @ image[:, pairs]) for image in (power, beside.power))
    expected = np.mean(1.0 / pixels[pairs] + beside.per_pixel[pairs])
    chance: FloatArray = np.mean((one / other - 1.0) ** 2, axis=1) / expected
    return chance[:, None, None]


def _predicted_gain(
    power: FloatArray, pixels: FloatArray, predicted: FloatArray, beside: _Neighbourhood, shares: FloatArray
) -> tuple[float, float]:
    """Return the mean share of the variance that filters for predicted powers take off, and its error."""
    weights = 1.0 / predicted
    weights /= np.tensordot(shares, weights, axes=1)
    before, after, level = (
        np.tensordot(shares, image, axes=1) for image in (power, weights**2 * power, beside.power)
    )
    gain, part = (before - after) / np.maximum(level, POWER_FLOOR), pixels / pixels.sum()
    mean = float(np.sum(part * gain))
    # Two neighbours predict each other, so that only half of the products are independent.
    return mean, math.sqrt(2.0 * float(np.sum((part * (gain - mean)) ** 2)))


def relative_power(spectrum: Spectrum, weights: FloatArray) -> FloatArray:
    """Return what gives means of power over the map's when multiplied by an autocovariance and summed.

    Parameters
    ----------
    spectrum : Spectrum
        Of the whole map, of which the taper is taken over.
    weights : ndarray, shape (n_bands, side, side)
        Of the frequencies, in any unit.

    Returns
    -------
    ndarray, shape (n_bands, side, side)
        By lag, zero in the middle.
    """
    weights = weights / weights.sum(axis=(1, 2), keepdims=True) / spectrum.power
    by_lag: FloatArray = fft.fftshift(fft.fft2(weights).real, axes=(1, 2)) * parzen_taper(spectrum.reach)
    return by_lag


def tile_powers(
    even: Plane, *, estimators: FloatArray, tile: int, size: int | None = None
) -> tuple[FloatArray, FloatArray]:
    """Return the power of each tile in bands, and the number of its pixels.

    Parameters
    ----------
    even : Plane, shape (ny, nx)
        NaN where it is not to be used.
    estimators : ndarray, shape (n_bands, 2 lag + 1, 2 lag + 1)
        Weights of the autocovariance by lag.
    tile : int
        Side in pixels; the first begins at pixel (0, 0).
    size : int, optional
        Side of the blocks in which the map is worked on.

    Returns
    -------
    power : ndarray, shape (n_bands, ceil(ny / tile), ceil(nx / tile))
        0 where there is none.
    pixels : ndarray, shape (ceil(ny / tile), ceil(nx / tile))
        0 for tiles that see too little.
    """
    lag, shape = estimators.shape[1] // 2, tuple(-(-n // tile) for n in even.shape)
    power, pixels = np.zeros((len(estimators), *shape)), np.zeros(shape)
    grid = fft.next_fast_len(tile + lag, real=True)
    lags = np.arange(-lag, lag + 1)
    overlap = np.multiply.outer(tile - np.abs(lags), tile - np.abs(lags))
    for where, cut in _cut(even, tile=tile, size=size):
        valid = np.isfinite(cut)
        waves, window = (fft.rfft2(image, (grid, grid)) for image in (np.where(valid, cut, 0.0), 1.0 * valid))
        sums, pairs = (
            fft.irfft2(one.real**2 + one.imag**2, (grid, grid))[..., lags[:, None], lags]
            for one in (waves, window)
        )
        enough = (pairs >= LEAST_SHARE * overlap).all(axis=(-2, -1))
        covariance = sums / np.maximum(pairs, 1.0)
        own = np.einsum("bij,yxij->byx", estimators, covariance, optimize=True)
        power[(slice(None), *where)] = np.where(enough, own, 0.0)
        pixels[where] = np.where(enough, valid.sum(axis=(-2, -1)), 0)
    return power, pixels


def _cut(even: Plane, *, tile: int, size: int | None) -> Iterator[tuple[Where, FloatArray]]:
    """Yield rows and columns of tiles, and their pixels: (rows, columns, tile, tile), NaN beyond the map."""
    for where in blocks(even.shape, size=size, multiple=tile):
        piece = even[where]
        rows, columns = (-(-n // tile) for n in piece.shape)
        padded = np.full((rows * tile, columns * tile), np.nan)
        padded[: piece.shape[0], : piece.shape[1]] = piece
        y, x = (part.start // tile for part in where)
        place = slice(y, y + rows), slice(x, x + columns)
        yield place, padded.reshape(rows, tile, columns, tile).swapaxes(1, 2)
