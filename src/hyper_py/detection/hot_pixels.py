"""Pixels without a beam around them: hot and dead ones, cosmic rays, overflows. No source is so sharp.

Light that comes through a Gaussian beam has, in the mean over pixels that lie symmetrically around a place,
at least the share that the beam has there, wherever it comes from. For a source at an offset d, the beam B
and a pair of pixels at +v and -v, B(v - d) + B(v + d) = 2 B(v) B(d) cosh(v.d / s^2) >= 2 B(v) B(d), and the
same holds for any sum of sources. What a pixel has beyond that did not come through the beam.
"""

import math
from typing import NamedTuple

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray, IndexArray
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.numerics.parallel import in_order, in_parts
from hyper_py.numerics.tiles import LazyPlane, Plane, Where, grown, is_inside, rows_at, size_of, tiles

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
_NARROWEST = 1.9
"""FWHM in pixels from which a beam is told from a pixel."""
_HALO = 8
"""Pixels around that show how loud a map is at a place."""
_ALONE = 0.1
"""Of the height of a single pixel: the eight beside it exceed those around them by less. Of a source in the
middle of a pixel, seen through a beam of 1.3 pixels, they have .115."""
_FEWEST_BESIDE, _FEWEST_BEYOND = 3, 5
"""Pixels of these that must be known: those in a corner."""
_LOUD = 6.0
"""Height over the noise of pixels by themselves."""
_LARGER_STEPS, _SIGMA_OF_STEPS = 0.75, 1.0 / (1.1503 * math.sqrt(2.0))
"""Quantile of the steps between neighbours, and sigma of white noise over it."""


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


def find_single_pixels(data: Plane, *, beam_covariance: FloatArray, size: int | None = None) -> IndexArray:
    """Return the pixels of a map that are bright or dark by themselves, row and column, shape (n, 2).

    What is seen through a beam, however narrow, is seen by the pixels beside it, too: a single pixel stands
    out of all eight by more than these differ, and they do not stand out of those around them. That holds
    where the beam is smaller than is said; that the light did not come through it is asked besides.

    Parameters
    ----------
    data : Plane, shape (ny, nx)
        Blank pixels are NaN.
    beam_covariance : ndarray, shape (2, 2)
        Pixels^2, order (x, y). None are found with a beam of less than about two pixels.
    size : int, optional
        Side of the tiles in which the map is looked at.
    """
    nothing = np.empty((0, 2), dtype=np.intp)
    if FWHM_PER_SIGMA * math.sqrt(float(np.linalg.eigvalsh(beam_covariance)[0])) < _NARROWEST:
        return nothing
    shape = size_of(data)

    def of_tile(where: Where) -> IndexArray:
        outer, _ = grown(where, _HALO, shape)
        found: IndexArray = _standing_alone(data[outer]) + np.array([outer[0].start, outer[1].start])
        return found[is_inside(where, *found.T)]

    found = np.concatenate([nothing, *in_order(of_tile, [*tiles(shape, size=size)])])
    if not len(found):
        return nothing
    y, x = found.T.astype(np.float64)
    dark = LazyPlane(shape, lambda *where: -data[where])
    hot = [are_hot_pixels(plane, x=x, y=y, beam_covariance=beam_covariance) for plane in (data, dark)]
    single = found[np.logical_or(*hot)]
    return single[np.lexsort(single.T[::-1])]


def _standing_alone(piece: FloatArray) -> IndexArray:
    """Return the pixels that stand out of those beside them, which do not, row and column, shape (n, 2)."""
    padded = np.pad(piece, 1, constant_values=np.nan)
    wide = [padded[:, :-2], padded[:, 2:]]

    def around(extreme: np.ufunc) -> FloatArray:
        beside = extreme(*wide)
        three = extreme(beside, padded[:, 1:-1])
        return np.asarray(extreme(extreme(three[:-2], three[2:]), beside[1:-1]))

    highest, lowest = around(np.fmax), around(np.fmin)
    spread = highest - lowest
    rows, columns = np.nonzero((piece - highest > spread) | (lowest - piece > spread))
    found = np.column_stack([rows, columns])
    if not len(found):
        return found
    boxes, distance = _boxes(piece, found, 2)
    middle = boxes[:, distance == 0][:, 0]
    (beside, n_beside), (beyond, n_beyond) = (_mean_of(boxes[:, distance == k]) for k in (1, 2))
    height = np.abs(middle - beyond)
    alone = np.abs(beside - beyond) < _ALONE * height
    found, height = (
        part[alone & (n_beside >= _FEWEST_BESIDE) & (n_beyond >= _FEWEST_BEYOND)] for part in (found, height)
    )
    side = 2 * _HALO + 1
    grain = np.array([_grain(box.reshape(side, side)) for box in _boxes(piece, found, _HALO)[0]])
    return found[height > _LOUD * grain]


def _boxes(piece: FloatArray, centres: IndexArray, half: int) -> tuple[FloatArray, IndexArray]:
    """Return squares around pixels, shape (n, side^2), NaN beyond the border, and how far each pixel is."""
    y, x = np.mgrid[-half : half + 1, -half : half + 1].reshape(2, -1)
    boxes = rows_at(piece, centres[:, :1] + y, centres[:, 1:] + x)
    return boxes, np.maximum(np.abs(y), np.abs(x))


def _grain(box: FloatArray) -> float:
    """Return the noise of pixels by themselves, from the differences of neighbours.

    That of maps of a few digits is seen in their larger ones.
    """
    steps = np.abs(np.diff(box)).ravel()
    steps = steps[np.isfinite(steps)]
    return float(np.quantile(steps, _LARGER_STEPS)) * _SIGMA_OF_STEPS if steps.size else math.inf


def _mean_of(values: FloatArray) -> tuple[FloatArray, IndexArray]:
    """Return the mean of what is known of each row, and of how many values it is."""
    known = np.isfinite(values)
    count = known.sum(axis=1)
    total = np.where(known, values, 0.0).sum(axis=1)
    return np.divide(total, count, out=np.zeros(len(values)), where=count > 0), count


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
