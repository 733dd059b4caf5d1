"""Bright pixels without a beam around them: hot pixels, cosmic rays, spikes. No source is so sharp.

Light that comes through a Gaussian beam has, in the mean over pixels that lie symmetrically around a place,
at least the share that the beam has there, wherever it comes from. For a source at an offset d, the beam B
and a pair of pixels at +v and -v, B(v - d) + B(v + d) = 2 B(v) B(d) cosh(v.d / s^2) >= 2 B(v) B(d), and the
same holds for any sum of sources. What a pixel has beyond that did not come through the beam.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from hyper_py.arrays import BoolArray, FloatArray, IndexArray
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.numerics.parallel import in_parts
from hyper_py.numerics.tiles import Plane, size_of

LEAST_SHARE = 0.6
"""Of the light above the darkest pixel around that the pixel must have beyond the beam's. A source of a beam,
or a wider one, has none; one of 0.8 beams less than half."""
LEAST_SIGMA = 6.0
"""Significance of that light, in its scatter all over the map."""
_AROUND = 0.5
"""The middle is compared with pixels of at least this share of the beam's peak, and with its neighbours."""
_MOST_SAMPLES = 2500
_TOGETHER = 64
"""So many pixels are one part of the work."""
_SHARP, _NEARBY, _FEW = 5.0, 10.0, 10
"""Times the mean of peaks in a square of so many beam sizes; so few single pixels say nothing of the beam."""


class _Ring(NamedTuple):
    """Pixels around a middle one: which, shape (side, side), symmetric, and the beam's value in each."""

    inside: BoolArray
    beam: FloatArray


class _Light(NamedTuple):
    """Of some pixels, shape (n,).

    The light beyond the beam's above a level of 0, how much more it is above a level of 1, the value itself,
    and that of the darkest pixel around.
    """

    beyond: FloatArray
    per_level: FloatArray
    peak: FloatArray
    darkest: FloatArray


def are_hot_pixels(data: Plane, *, x: FloatArray, y: FloatArray, beam_covariance: FloatArray) -> BoolArray:
    """Return which places are single bright pixels, shape (n,).

    Parameters
    ----------
    data : Plane, shape (ny, nx)
        Blank pixels are NaN.
    x, y : ndarray, shape (n,)
        Zero-based positions; their nearest pixels are judged. NaN: not judged.
    beam_covariance : ndarray, shape (2, 2)
        Pixels^2, order (x, y). Below a FWHM of about 1.5 pixels a source is nearly as sharp as a pixel.
    """
    ny, nx = size_of(data)
    hot = np.zeros(x.size, dtype=bool)
    here = np.flatnonzero((x > -0.5) & (x < nx - 0.5) & (y > -0.5) & (y < ny - 0.5))
    ring = _ring(beam_covariance)
    light = _light(data, np.rint(y[here]).astype(np.intp), np.rint(x[here]).astype(np.intp), ring)
    # The level that leaves least beyond the beam: no background is lower than the darkest pixel.
    beyond = light.beyond + light.per_level * light.darkest
    sharp = beyond > LEAST_SHARE * (light.peak - light.darkest)
    if sharp.any():
        hot[here] = sharp & (beyond > LEAST_SIGMA * _scatter(data, ring))
    return hot


def find_hot_pixels(data: FloatArray, *, beam_covariance: FloatArray) -> BoolArray:
    """Return which pixels of a map are bright without a beam around them, shape (ny, nx).

    Where most of what is sharp on a map is of this kind, its beam is not what is said, and none is returned.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
        Blank pixels are NaN.
    beam_covariance : ndarray, shape (2, 2)
        Pixels^2, order (x, y).
    """
    blank = ~np.isfinite(data)
    filled = np.where(blank, -np.inf, data)
    peaks = ~blank & (filled >= ndimage.maximum_filter(filled, size=3, mode="constant", cval=-np.inf))
    # Which peaks are worth a look: those that stand out of their neighbours as others nearby do not.
    above = np.where(peaks, data - _mean_around(data, where=~blank, size=3), 0.0)
    size = math.ceil(max(_NEARBY * math.sqrt(float(np.trace(beam_covariance))), 31.0)) | 1
    rows, columns = np.nonzero(above > _SHARP * _mean_around(above, where=peaks, size=size))
    hot = np.zeros(data.shape, dtype=bool)
    single = are_hot_pixels(
        data, x=columns.astype(np.float64), y=rows.astype(np.float64), beam_covariance=beam_covariance
    )
    if single.sum() <= max(_FEW, single.size // 2):
        hot[rows[single], columns[single]] = True
    return hot


def _mean_around(values: FloatArray, *, where: BoolArray, size: int) -> FloatArray:
    """Return the mean of some pixels in a square around each, without itself; 0 where there is none."""
    own, count = np.where(where, values, 0.0), where.astype(np.float64)
    total = ndimage.uniform_filter(own, size=size, mode="constant") * size**2 - own
    n = ndimage.uniform_filter(count, size=size, mode="constant") * size**2 - count
    return np.asarray(np.divide(total, n, out=np.zeros_like(total), where=n > 0.5))


def _ring(beam_covariance: FloatArray) -> _Ring:
    size = math.sqrt(float(np.linalg.eigvalsh(beam_covariance)[-1]))
    half = max(math.ceil(0.5 * FWHM_PER_SIGMA * size), 1)
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float64)
    inverse = np.linalg.inv(beam_covariance)
    beam = np.exp(-0.5 * (inverse[0, 0] * x * x + 2.0 * inverse[0, 1] * x * y + inverse[1, 1] * y * y))
    inside = (beam >= _AROUND) | (np.abs(x) + np.abs(y) == 1.0)
    inside[half, half] = False
    return _Ring(inside, beam)


def _light(data: Plane, rows: IndexArray, columns: IndexArray, ring: _Ring) -> _Light:
    """Compare pixels with those around them; NaN where none of these is known."""
    half = ring.beam.shape[0] // 2

    def of_pixel(pixel: tuple[int, int]) -> tuple[float, ...]:
        row, column = pixel
        top, left = max(row - half, 0), max(column - half, 0)
        known = data[top : row + half + 1, left : column + half + 1]
        piece = known
        if known.shape != ring.beam.shape:
            piece = np.full(ring.beam.shape, np.nan)
            y0, x0 = top - row + half, left - column + half
            piece[y0 : y0 + known.shape[0], x0 : x0 + known.shape[1]] = known
        inside = ring.inside & np.isfinite(piece)
        inside &= inside[::-1, ::-1]
        if not inside.any():
            return (math.nan,) * 4
        around, share = piece[inside], float(ring.beam[inside].mean())
        peak = float(piece[half, half])
        return float(peak - around.mean() / share), 1.0 / share - 1.0, peak, float(np.nanmin(piece))

    pixels = [*zip(rows.tolist(), columns.tolist(), strict=True)]
    return _Light(*np.reshape([*in_parts(of_pixel, pixels, n=_TOGETHER)], (-1, 4)).T)


def _scatter(data: Plane, ring: _Ring) -> float:
    """Return the scatter of the light beyond the beam's over a regular grid of the map."""
    ny, nx = size_of(data)
    step = max(1, math.ceil(math.sqrt(ny * nx / _MOST_SAMPLES)))
    rows, columns = np.mgrid[step // 2 : ny : step, step // 2 : nx : step]
    light = _light(data, rows.ravel(), columns.ravel(), ring)
    beyond = light.beyond + light.per_level * np.nanmedian(light.peak)
    beyond = beyond[np.isfinite(beyond)]
    return float(1.4826 * np.median(np.abs(beyond))) if beyond.size else math.inf
