"""Growth curves: what there is of a bright source beyond its Gaussian, and how far out.

On the map less all Gaussians, the mean in elliptical rings around a source says whether its profile is that
of a Gaussian: discs, cores with wings and rings leave light there that noise does not. Where they do, the sum
out to a radius beyond which it grows no more is the light beyond the Gaussian. Its error is that of the noise
measured on the map.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from scipy import fft

from hyper_py.arrays import BoolArray, FloatArray, IntArray
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.noise.covariance import CovarianceModel
from hyper_py.numerics import gaussians
from hyper_py.numerics.pairs import group_pairs, pairs_within
from hyper_py.numerics.parallel import in_order
from hyper_py.numerics.tiles import Plane, size_of

STEP = 0.25
"""Width of a ring in FWHM of the Gaussian."""
FIRST_END, LAST_END = 1.5, 4.0
"""Where a growth curve may end, in FWHM."""
SURROUNDINGS = 0.75
"""Width in FWHM of the ring beyond it, which gives the background."""
BRIGHT = 7.0
"""Flux in units of its error from which a profile is looked at."""
SIGNIFICANT, NOTABLE = 4.5, 0.04
"""A ring shows another profile if its mean exceeds noise by so many sigma, and this share of the peak."""
BEYOND_SIGNIFICANT, BEYOND_NOTABLE = 3.0, 0.05
"""So does the light beyond the Gaussian, with this share of the flux."""
SETTLED = 0.01
"""A curve has ended when the next step adds less than this share of the flux, or than half of its error."""
_LARGEST_HALF = 160
"""Largest half side in pixels of what is looked at around a source."""
_SPECTRA = 16
"""Transforms of the covariance that are remembered: sources of one size look at pieces of one shape."""
_PART_SOURCES = 32
"""So many sources are measured at once."""
_UNKNOWN = False, math.nan, math.nan, math.nan
_OTHERS_SIGMA = 2.5
"""Pixels this near another source are left out."""
_REACH = (LAST_END + SURROUNDINGS) * FWHM_PER_SIGMA
"""How far rings reach, in sigma of the major axis."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Growth:
    """Growth curves of sources; arrays of shape (n,).

    Attributes
    ----------
    is_other : bool ndarray
        Whether the profile is clearly not the Gaussian that was fitted.
    beyond, error : ndarray
        Sum of what the Gaussian leaves, and its error, in the unit of the map; NaN where it was not measured.
    radius : ndarray
        Where the curve ends, in FWHM.
    """

    is_other: BoolArray
    beyond: FloatArray
    error: FloatArray
    radius: FloatArray


def growth_curves(
    residual: Plane,
    sources: FloatArray,
    *,
    snr: FloatArray,
    noise: CovarianceModel,
    relative_rms: Plane,
    step: int = 1,
) -> Growth:
    """Measure the growth curves of bright sources.

    Parameters
    ----------
    residual : Plane, shape (ny, nx)
        Map less all Gaussians; blank pixels are NaN.
    sources : ndarray, shape (n, 6)
    snr : ndarray, shape (n,)
        Flux over its error; fainter ones than `BRIGHT`, and NaN, are not looked at.
    noise : CovarianceModel
        In units of `relative_rms`.
    relative_rms : Plane, shape (ny, nx)
    step : int
        Distance in pixels, along each axis, of those that are looked at, where a source is wide enough.
    """
    spectra, ellipses = _Spectra(noise), _Ellipse.of(sources)
    bright = np.flatnonzero(snr > BRIGHT)
    others = _others(sources, bright)

    def of_source(k: int) -> tuple[bool, float, float, float]:
        own = ellipses[bright[k]]
        least = FWHM_PER_SIGMA * min(own.sigma_1, own.sigma_2)
        rings = _Rings.around(
            residual, own, [ellipses[i] for i in others[k]], step=max(1, min(step, int(least / 3.0)))
        )  # fmt: skip
        if rings is None:
            return _UNKNOWN
        y, x = (min(max(round(v), 0), m - 1) for v, m in zip((own.y, own.x), size_of(residual), strict=True))
        rms = float(relative_rms[y : y + 1, x : x + 1][0, 0])
        return rings.grown(
            spectra.of(rings.values.shape, rings.step), rms=rms, peak=own.amplitude, flux=own.flux
        )

    parts = [
        range(bright.size)[first : first + _PART_SOURCES] for first in range(0, bright.size, _PART_SOURCES)
    ]
    values = np.tile(_UNKNOWN, (len(sources), 1))
    for part, found in zip(parts, in_order(lambda part: [*map(of_source, part)], parts), strict=True):
        values[bright[part]] = found
    is_other, beyond, error, radius = values.T
    return Growth(is_other=is_other != 0.0, beyond=beyond, error=error, radius=radius)


def _others(sources: FloatArray, some: IntArray) -> list[IntArray]:
    """Return which other sources reach into the rings of some."""
    points, size = sources[:, [gaussians.X, gaussians.Y]], sources[:, gaussians.SIGMA_1]
    reach = _REACH * size[some]
    place, other = pairs_within(points, points[some], reach + _OTHERS_SIGMA * size.max(initial=0.0))
    distance = np.hypot(*(points[some[place]] - points[other]).T)
    near = (distance < reach[place] + _OTHERS_SIGMA * size[other]) & (other != some[place])
    return group_pairs(place[near], other[near], some.size)


class _Ellipse(NamedTuple):
    """A source, its flux, and the coefficients of its exponent, see `gaussians.exponents`."""

    amplitude: float
    x: float
    y: float
    sigma_1: float
    sigma_2: float
    theta: float
    flux: float
    a: float
    b: float
    c: float

    @classmethod
    def of(cls, sources: FloatArray) -> "list[_Ellipse]":
        """Return the ellipses of sources (n, 6)."""
        flux = gaussians.gaussian_flux(sources)
        return [cls(*row) for row in np.column_stack([sources, flux, *gaussians.exponents(sources)]).tolist()]

    def distance(self, y: FloatArray, x: FloatArray) -> FloatArray:
        """Return the distance of the pixels of rows y and columns x in sigmas."""
        dy, dx = (y - self.y)[:, None], x - self.x
        square = self.a * dx * dx + 2.0 * self.b * dx * dy + self.c * dy * dy
        distance: FloatArray = np.sqrt(np.maximum(2.0 * square, 0.0))
        return distance


@dataclass(frozen=True, kw_only=True, eq=False)
class _Rings:
    """Rings of a piece of the map: its values, 0 where not used, and the number of each pixel's ring.

    That of pixels that are not used is the number of rings.
    """

    values: FloatArray
    number: IntArray
    area: FloatArray
    step: int

    @classmethod
    def around(
        cls, residual: Plane, own: _Ellipse, others: Sequence[_Ellipse], *, step: int
    ) -> "_Rings | None":
        """Return the rings around a source; None where too little of them is on the map.

        Without the pixels of others, which reach into them.
        """
        ny, nx = size_of(residual)
        half = min(math.ceil(_REACH * own.sigma_1) + 1, _LARGEST_HALF)
        rows, columns = (
            slice(max(round(v) - half, 0), max(min(round(v) + half + 1, m), 0))
            for v, m in ((own.y, ny), (own.x, nx))
        )
        values = residual[rows, columns][::step, ::step]
        if not values.size:
            return None
        y, x = (np.arange(part.start, part.stop, step, dtype=np.float64) for part in (rows, columns))
        radius = own.distance(y, x) / FWHM_PER_SIGMA
        used = np.isfinite(values) & (radius < LAST_END + SURROUNDINGS)
        for other in others:
            reach = _OTHERS_SIGMA * other.sigma_1
            down, across = _within(rows, step, other.y, reach), _within(columns, step, other.x, reach)
            used[down, across] &= other.distance(y[down], x[across]) > _OTHERS_SIGMA
        n_rings = round((LAST_END + SURROUNDINGS) / STEP)
        whole = np.pi * FWHM_PER_SIGMA**2 * own.sigma_1 * own.sigma_2 * STEP**2
        area = whole * (2.0 * np.arange(n_rings, dtype=np.float64) + 1.0)
        return cls(
            values=np.where(used, values, 0.0),
            number=np.where(used, (radius / STEP).astype(np.int64), n_rings), area=area, step=step,
        )  # fmt: skip

    def grown(
        self, spectrum: FloatArray, *, rms: float, peak: float, flux: float
    ) -> tuple[bool, float, float, float]:
        """Return whether the profile is another one, the light beyond, its error, and where it ends."""
        n_rings = self.area.size
        number = self.number.ravel()
        count = np.bincount(number, minlength=n_rings)[:n_rings]
        total = np.bincount(number, self.values.ravel(), minlength=n_rings)[:n_rings].astype(np.float64)
        shown = self.step**2 * count >= np.maximum(0.3 * self.area, 1.0)
        if not shown[: round(FIRST_END / STEP)].all():
            return _UNKNOWN

        def error_of(weights: FloatArray) -> float:
            return rms * math.sqrt(self._variance(weights, spectrum))

        found: tuple[int, FloatArray, float] | None = None
        for end in range(round(FIRST_END / STEP), round(LAST_END / STEP) + 1):
            weights = self._weights(count, end)
            if weights is None:
                break
            light = float(weights @ total)
            if found is not None:
                more = abs(light - found[-1])
                if more < SETTLED * flux or more < 0.5 * error_of(weights):
                    break
            found = end, weights, light
        if found is None:
            return _UNKNOWN
        end, weights, beyond = found
        error = error_of(weights)
        other = beyond > max(BEYOND_SIGNIFICANT * error, BEYOND_NOTABLE * flux)
        other = other or self._is_other(count, total, end, spectrum, rms=rms, peak=peak)
        return other, beyond, error, end * STEP

    def _weights(self, count: IntArray, end: int) -> FloatArray | None:
        """Return the weights of rings in the sum up to `end`, background subtracted."""
        beyond = slice(end, end + round(SURROUNDINGS / STEP))
        outside = count[beyond].sum()
        if self.step**2 * outside < 0.3 * self.area[beyond].sum() or (count[:end] == 0).any():
            return None
        weights = np.zeros(self.area.size)
        weights[:end] = self.area[:end] / count[:end]
        weights[beyond] = -self.area[:end].sum() / outside
        return weights

    def _variance(self, weights: FloatArray, spectrum: FloatArray) -> float:
        """Return the variance of the sum of rings with these weights, for noise of rms 1."""
        return _variance(np.append(weights, 0.0)[self.number], spectrum)

    def _is_other(
        self, count: IntArray, total: FloatArray, end: int, spectrum: FloatArray, *, rms: float, peak: float
    ) -> bool:
        """Return whether two rings next to each other, as wide as the beam or more, are no noise."""
        beyond = slice(end, end + round(SURROUNDINGS / STEP))
        for ring in range(0, end, 2):
            pair = slice(ring, ring + 2)
            if not count[pair].sum():
                continue
            weights = np.zeros(self.area.size)
            weights[pair] = 1.0 / count[pair].sum()
            weights[beyond] -= 1.0 / count[beyond].sum()
            mean = abs(float(weights @ total))
            if mean <= NOTABLE * peak:
                continue
            if mean > SIGNIFICANT * rms * math.sqrt(self._variance(weights, spectrum)):
                return True
        return False


def _within(part: slice, step: int, middle: float, reach: float) -> slice:
    """Return which of every `step`-th of some rows, or columns, are within reach of a place."""
    first, last = ((middle + side * reach - part.start) / step for side in (-1.0, 1.0))
    return slice(max(math.ceil(first), 0), max(math.floor(last) + 1, 0))


@dataclass(frozen=True, eq=False)
class _Spectra:
    """Transforms of a covariance, of which the last made are kept; other processes make their own."""

    noise: CovarianceModel
    known: dict[tuple[tuple[int, ...], int], FloatArray] = field(default_factory=dict)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Spectra, (self.noise,)

    def of(self, shape: tuple[int, ...], step: int) -> FloatArray:
        """Return `_spectrum`."""
        if (shape, step) not in self.known:
            if len(self.known) == _SPECTRA:
                self.known.pop(next(iter(self.known)))
            self.known[shape, step] = _spectrum(self.noise, shape, step)
        return self.known[shape, step]


def _spectrum(noise: CovarianceModel, shape: tuple[int, ...], step: int) -> FloatArray:
    """Return the transform of the covariance as measured on a grid on which no pixels meet.

    Each value twice, for the real and the imaginary part of a wave, and scaled for the sum over all waves.
    """
    lags, reach = noise.unconditioned.lags, noise.reach
    lags = lags[reach % step :: step, reach % step :: step]
    reach //= step
    side = [2 * fft.next_fast_len(math.ceil(0.5 * (n + min(reach, n))), real=True) for n in shape]
    cut = [min(reach, n - 1) for n in shape]
    inner = lags[reach - cut[0] : reach + cut[0] + 1, reach - cut[1] : reach + cut[1] + 1]
    grid = np.zeros(side)
    index = np.ix_(*(np.arange(-c, c + 1) % s for c, s in zip(cut, side, strict=True)))
    grid[index] = inner
    spectrum = fft.rfft2(grid).real
    # Waves of the first and the last column are their own mirror images, those between stand for two.
    spectrum[:, 1:-1] *= 2.0
    return np.repeat(spectrum / grid.size, 2, axis=1)


def _variance(weights: FloatArray, spectrum: FloatArray) -> float:
    """Return w^T C w, at least 0, for weights on pixels and what `_spectrum` gives for C's lags."""
    side = len(spectrum), spectrum.shape[1] - 2
    waves = fft.rfft2(weights, s=side).view(np.float64)
    return max(float(np.vdot(waves * waves, spectrum)), 0.0)
