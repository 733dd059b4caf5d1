"""Multiplicative noise: errors of pixels in proportion to the light of sources on them.

Gridding, interpolation and gains leave such errors. In maps of smooth noise, at a signal to noise of some
hundreds, they dominate the residual of a source, and must not be taken for companions.
"""

import numpy as np
from scipy import ndimage

from hyper_py.arrays import FloatArray
from hyper_py.noise.covariance import AGAINST_NEIGHBOURS
from hyper_py.numerics.parallel import in_order
from hyper_py.numerics.tiles import Plane, Where, grown, sample_step, tiles

_MEDIAN_CHI2 = 0.4549
"""Median of the square of a normal deviate."""
_FEWEST_PIXELS = 20
_LEAST_POWER = 1e-3
"""Pixels with less light than this share of the noise have no information: they would weigh a millionth."""
_LEAST_LIGHT = 1e-5
"""Pixels with less light than this share of the brightest are not looked at."""
_LARGEST_SHARE = 1.0


def multiplicative_noise(data: Plane, light: Plane, *, relative_rms: Plane, size: int | None = None) -> float:
    """Return the independent error of each pixel in units of the sources' light on it.

    The variance of the residual convolved with `AGAINST_NEIGHBOURS` is that of the noise, measured where
    there is no light, plus share^2 times q, the light squared convolved with the kernel squared. The share
    is that for which the squares have the median of such variances, pixels weighted by their information.

    Parameters
    ----------
    data : Plane, shape (ny, nx)
        Map; blank pixels are NaN.
    light : Plane, shape (ny, nx)
        The models of all sources.
    relative_rms : Plane, shape (ny, nx)
        Local noise over its median.
    size : int, optional
        Side of the tiles in which the map is worked on, see `hyper_py.numerics.tiles.tiles`.

    Returns
    -------
    float
        0 where the noise hides it.
    """
    everywhere = list(tiles(data.shape, size=size))
    brightest = max(in_order(lambda where: float(np.abs(light[where]).max()), everywhere))

    def of_tile(where: Where) -> tuple[FloatArray, FloatArray]:
        outer, own = grown(where, 2, data.shape)
        values, own_light, noise = data[outer], light[outer], relative_rms[outer]
        inside = ndimage.binary_erosion(np.isfinite(values), np.ones((3, 3)))[own]
        residual = np.where(np.isfinite(values), values - own_light, 0.0) / noise
        squares = ndimage.convolve(residual, AGAINST_NEIGHBOURS)[own] ** 2
        power = ndimage.convolve((own_light / noise) ** 2, AGAINST_NEIGHBOURS**2)[own]
        faint = inside & (np.abs(own_light[own]) <= 0.01 * brightest)
        step = sample_step(data.shape)
        comb = tuple(slice(-part.start % step, None, step) for part in where)
        bright = inside & (power > _LEAST_LIGHT**2 * brightest**2)
        return squares[comb][faint[comb]], np.stack([squares[bright], power[bright]])

    dark, lit = zip(*in_order(of_tile, everywhere), strict=True)
    faintest = np.concatenate(dark)
    if faintest.size < _FEWEST_PIXELS:
        return 0.0
    noise_power = float(np.median(faintest)) / _MEDIAN_CHI2
    squares, power = np.concatenate(lit, axis=1)
    identifiable = power > _LEAST_POWER * noise_power
    squares, power = squares[identifiable], power[identifiable]

    def excess(share: float) -> float:
        variance = noise_power + share**2 * power
        weights = (power / variance) ** 2 if share else power**2
        order = np.argsort(squares / variance)
        total = np.cumsum(weights[order])
        return float((squares / variance)[order][np.searchsorted(total, 0.5 * total[-1])]) - _MEDIAN_CHI2

    if (
        squares.size < _FEWEST_PIXELS
        or not noise_power > 0.0
        or excess(0.0) <= 0.0
        or excess(_LARGEST_SHARE) > 0.0
    ):
        return 0.0
    from scipy.optimize import brentq  # slow to import, and few maps need it

    return float(brentq(excess, 0.0, _LARGEST_SHARE, xtol=1e-5))
