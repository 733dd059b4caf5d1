"""The noise of a map: its rms, how it varies over the map, and how it is correlated."""

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from hyper_py.arrays import BoolArray, FloatArray
from hyper_py.noise.pair_sums import pair_sums
from hyper_py.numerics.mesh import mesh_map
from hyper_py.numerics.tiles import Plane

_SQUARE = 1024
"""Side in pixels of the squares in which the autocovariance of large maps is summed."""
_MOST_SQUARES = 36
"""More of them add nothing: with a beam of 5 pixels so many hold a million beams and more."""
MIN_VALID_FRACTION = 0.3
"""A mesh cell with less of its pixels valid takes the level of its neighbours."""
AGAINST_NEIGHBOURS = np.array([[0.0, -0.25, 0.0], [-0.25, 1.0, -0.25], [0.0, -0.25, 0.0]])
"""A pixel minus the mean of its neighbours: smooth noise, background and companions leave little of it."""
_LEAST_RESPONSE = 0.01
"""Where `AGAINST_NEIGHBOURS` leaves less power, below a fifth of Nyquist's frequency, it is not used."""


@dataclass(frozen=True)
class ClippedStatistics:
    """Mean and rms of the pixels that survive clipping, and how many they are."""

    mean: float
    rms: float
    n_pixels: int


def clipped_statistics(
    data: FloatArray, *, sigma: float = 3.0, max_iterations: int = 10
) -> ClippedStatistics:
    """Return the clipped mean and rms of an array.

    Values further than `sigma` times the rms from the mean are taken away, mean and rms of the rest
    computed anew, until nothing more is clipped.

    Parameters
    ----------
    data : ndarray, any shape
        Values that are not finite are ignored.
    sigma : float
        Clipping limit.
    max_iterations : int
        How often to clip at most.

    Returns
    -------
    ClippedStatistics
        In the unit of `data`; NaN where there is no finite value.
    """
    values = data[np.isfinite(data)]
    if values.size == 0:
        return ClippedStatistics(float("nan"), float("nan"), 0)
    # One offset for all keeps the sums of squares accurate on a high pedestal.
    offset = float(values.mean())
    core, rest = np.empty(0), values - offset
    radius, sums = 0.0, np.zeros(3)
    mean, rms = _moments(rest, sums)
    for _ in range(max_iterations):
        limit = sigma * rms
        if limit < abs(mean) + radius:
            core, rest, radius, sums = np.empty(0), np.concatenate([core, rest]), 0.0, np.zeros(3)
        keep = np.abs(rest - mean) <= limit
        # Rounding can put all of many equal values outside limits of nearly zero width.
        if keep.all() or not (keep.any() or core.size):
            break
        rest = rest[keep]
        if core.size == 0:
            # What is deep inside the limits stays; only its sums are needed from here on.
            radius = 0.5 * limit
            inside = np.abs(rest) < radius
            core, rest = rest[inside], rest[~inside]
            sums = np.array([core.size, core.sum(), core @ core])
        mean, rms = _moments(rest, sums)
    return ClippedStatistics(mean + offset, rms, core.size + rest.size)


def _moments(values: FloatArray, sums: FloatArray) -> tuple[float, float]:
    """Return mean and rms of values together with others, given as number, sum and sum of squares."""
    total = sums + np.array([values.size, values.sum(), values @ values])
    mean = float(total[1] / total[0])
    return mean, math.sqrt(max(float(total[2] / total[0]) - mean * mean, 0.0))


def local_rms_map(
    data: FloatArray, *, mesh: int, mask: BoolArray | None = None, sigma: float = 3.0
) -> FloatArray:
    """Return the rms at every pixel: the clipped rms on a mesh, interpolated.

    The mesh starts at pixel (0, 0), so that a tile which starts at a multiple of `mesh` gives the same
    values. Cells with too few valid pixels take the rms of the nearest cells that have enough.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
        Blank pixels are NaN.
    mesh : int
        Side of a cell in pixels.
    mask : ndarray of bool, shape (ny, nx), optional
        True where a source is, or where the data is not to be used.
    sigma : float
        Clipping limit within a cell.

    Returns
    -------
    ndarray, shape (ny, nx)
        Finite and positive everywhere if any cell has one, blank pixels included; else NaN.
    """
    values = data if mask is None else np.where(mask, np.nan, data)
    shape = data.shape[0], data.shape[1]
    return mesh_map(mesh_rms(values, mesh=mesh, sigma=sigma), mesh=mesh, shape=shape)[:, :]


def mesh_rms(data: FloatArray, *, mesh: int, sigma: float = 3.0, max_iterations: int = 10) -> FloatArray:
    """Return the clipped rms in each cell of a mesh, shape (ceil(ny / mesh), ceil(nx / mesh)).

    NaN where less than `MIN_VALID_FRACTION` of a whole cell is finite, or where all values are equal.
    """
    cells = _cells(data, mesh)
    valid = np.isfinite(cells)
    enough = valid.sum(axis=-1) >= MIN_VALID_FRACTION * mesh * mesh
    scale = np.max(np.abs(cells), where=valid, initial=0.0)
    _, rms = clipped_rows(cells / (scale if scale > 0 else 1.0), sigma=sigma, max_iterations=max_iterations)
    scaled = rms * scale
    return np.where(enough & (scaled > 0), scaled, np.nan)


def clipped_rows(
    values: FloatArray, *, sigma: float = 3.0, max_iterations: int = 10
) -> tuple[FloatArray, FloatArray]:
    """Return mean and rms of each row as `clipped_statistics` does; rows of shape (..., n), NaN left out.

    Both are 0 where a row has no value.
    """
    rows = values.reshape(-1, values.shape[-1]).copy()
    valid = np.isfinite(rows)
    rows[~valid] = 0.0
    count = valid.sum(axis=1, keepdims=True)
    # One offset for all keeps the sums of squares accurate on a high pedestal.
    offset = rows.sum(axis=1) / np.maximum(count[:, 0], 1)
    rows -= offset[:, None]
    mean, rms, moving = np.zeros((len(rows), 1)), np.zeros((len(rows), 1)), np.arange(len(rows))
    for _ in range(max_iterations + 1):
        np.copyto(rows, 0.0, where=~valid)
        number = np.maximum(count, 1)
        middle = rows.sum(axis=1, keepdims=True) / number
        spread = np.sqrt(np.maximum(np.einsum("rn,rn->r", rows, rows)[:, None] / number - middle**2, 0.0))
        mean[moving], rms[moving] = middle, spread
        distance = rows - middle
        valid &= np.abs(distance, out=distance) <= sigma * spread
        remaining = valid.sum(axis=1, keepdims=True)
        # Rounding can put all of many equal values outside limits of nearly zero width.
        goes_on = ((remaining < count) & (remaining > 0))[:, 0]
        moving, rows, valid, count = moving[goes_on], rows[goes_on], valid[goes_on], remaining[goes_on]
        if not moving.size:
            break
    return (mean[:, 0] + offset).reshape(values.shape[:-1]), rms.reshape(values.shape[:-1])


def _cells(data: FloatArray, mesh: int) -> FloatArray:
    """Cut an array into cells, shape (rows, columns, mesh * mesh), padded with NaN."""
    ny, nx = data.shape
    rows, columns = -(-ny // mesh), -(-nx // mesh)
    padded = np.full((rows * mesh, columns * mesh), np.nan)
    padded[:ny, :nx] = data
    cells = padded.reshape(rows, mesh, columns, mesh).swapaxes(1, 2)
    return cells.reshape(rows, columns, mesh * mesh)


@dataclass(frozen=True, eq=False)
class CovarianceModel:
    """A stationary noise covariance on the pixel grid.

    Attributes
    ----------
    lags : ndarray, shape (2 reach + 1, 2 reach + 1)
        Covariance of two pixels by their separation (dy, dx), zero in the middle; symmetric under a
        half turn, and positive definite for pixels no more than `reach` apart on either axis.
    assumed : bool
        True where the covariance was not measured (`Flag.NOISE_ASSUMED`).
    measured : ndarray, shape of `lags`, optional
        The covariance before it was conditioned to be inverted; without it `lags` is.
    filtered : bool
        True where the map lacks scales of its sources (`Flag.FILTERED_MAP`).
    """

    lags: FloatArray
    assumed: bool = False
    measured: FloatArray | None = None
    filtered: bool = False

    @property
    def reach(self) -> int:
        """Largest separation in pixels, on either axis."""
        return int(self.lags.shape[0]) // 2

    @property
    def variance(self) -> float:
        """Variance of one pixel."""
        return float(self.lags[self.reach, self.reach])

    def matrix(self, y: NDArray[np.integer], x: NDArray[np.integer]) -> FloatArray:
        """Return the covariance of the pixels (y, x), both of shape (n,), as a matrix of shape (n, n).

        Raises
        ------
        ValueError
            If two pixels are further apart than `reach` on either axis.
        """
        y, x = np.asarray(y, dtype=np.intp), np.asarray(x, dtype=np.intp)
        if y.size and (span := max(np.ptp(y), np.ptp(x))) > self.reach:
            raise ValueError(f"pixels span {span}, the covariance only {self.reach}")
        # One number a pixel: differences of them are places in the flat array of lags.
        place, lags = y * self.lags.shape[1] + x, self.lags.ravel()
        result = np.empty((place.size, place.size))
        for row, own in zip(result, place + lags.size // 2, strict=True):
            lags.take(own - place, out=row, mode="clip")
        return result

    def aliasing(self, step: int, *, wavelength: float) -> float:
        """Return the power that every `step`-th pixel shows at a wavelength in pixels, over what all show.

        The larger one of both axes. Where it is near 1 a wide source is measured as well on fewer pixels.
        """
        lag = np.arange(-self.reach, self.reach + 1)
        wave, coarse = np.cos(2.0 * np.pi * lag / wavelength), lag % step == 0
        some = self.lags[np.ix_(coarse, coarse)]
        ratios = []
        for axis in (0, 1):
            every, few = self.lags.sum(axis=axis) @ wave, some.sum(axis=axis) @ wave[coarse]
            ratios.append(step**2 * float(few) / max(float(every), 1e-300))
        return max(ratios)

    @property
    def unconditioned(self) -> "CovarianceModel":
        """The covariance as measured, for errors: it may be singular."""
        return self if self.measured is None else CovarianceModel(self.measured)


def autocovariance(
    data: Plane, *, max_lag: int, mask: BoolArray | None = None, min_pairs: int = 100
) -> FloatArray:
    """Measure the autocovariance of a map from the pixels that are not masked.

    The mean of these is removed; at each lag the sum over pairs is divided by their number, so that masks
    and borders leave no bias. A large map is cut into squares, of which the sums are added; pairs across
    their borders, a few percent of all, are not counted. Of very many squares a regular comb is enough.

    Parameters
    ----------
    data : Plane, shape (ny, nx)
        Blank pixels are NaN.
    max_lag : int
        Largest lag on either axis, in pixels.
    mask : ndarray of bool, shape (ny, nx), optional
        True where the data is not to be used, as on sources.
    min_pairs : int
        Lags with less pairs of pixels are NaN.

    Returns
    -------
    ndarray, shape (2 max_lag + 1, 2 max_lag + 1)
        Covariance at lag (dy, dx), lag zero in the middle, in the squared unit of `data`.
    """
    rows, columns = (_square_edges(n, side=max(_SQUARE, 8 * max_lag)) for n in data.shape)
    shape = tuple(
        fft.next_fast_len(int(np.diff(ends).max()) + max_lag, real=True) for ends in (rows, columns)
    )
    step = math.ceil(math.sqrt((len(rows) - 1) * (len(columns) - 1) / _MOST_SQUARES))
    power, cross, pairs, total, count = pair_sums(
        data, mask, [*itertools.product(_comb(rows, step=step), _comb(columns, step=step))], shape
    )
    if step > 1 and count < _SQUARE**2:  # the known pixels of the map lie between
        everything = [*itertools.product(itertools.pairwise(rows), itertools.pairwise(columns))]
        power, cross, pairs, total, count = pair_sums(data, mask, everything, shape)
    lags = np.arange(-max_lag, max_lag + 1)
    if not count:
        return np.full((lags.size, lags.size), np.nan)
    mean = total / count  # the remaining mean is subtracted from the sums
    power += mean * (mean * pairs - 2.0 * cross)
    # Column by column first: of the rows only those of the lags are looked at.
    sums, numbers = (
        fft.irfft(fft.ifft(array, axis=0)[lags], shape[1], axis=1)[:, lags] for array in (power, pairs)
    )
    numbers = np.rint(numbers)
    lacking = np.full((lags.size, lags.size), np.nan)
    result: FloatArray = np.divide(sums, numbers, out=lacking, where=numbers >= max(min_pairs, 1))
    return result


def _comb(ends: list[int], *, step: int) -> list[tuple[int, int]]:
    """Return every `step`-th piece between two ends, as many left out before the first as after the last."""
    pieces = list(itertools.pairwise(ends))
    return pieces[(len(pieces) - 1) % step // 2 :: step]


def _square_edges(length: int, *, side: int) -> list[int]:
    """Cut an axis into equal pieces of about `side` pixels."""
    n_pieces = max(round(length / side), 1)
    return [round(length * i / n_pieces) for i in range(n_pieces + 1)]


def power_spectrum(lags: FloatArray) -> FloatArray:
    """Return the power spectrum of an autocovariance: its Fourier transform, zero frequency first.

    Parameters
    ----------
    lags : ndarray, shape (n, n), n odd
        Lag zero in the middle.

    Returns
    -------
    ndarray, shape (n, n)
        Squared unit times pixel; its mean is the variance. Negative values are possible for a measured
        autocovariance.
    """
    power: FloatArray = fft.fft2(fft.ifftshift(lags)).real
    return power


def covariance_model(
    lags: FloatArray, *, sharp: FloatArray | None = None, floor: float = 0.5
) -> CovarianceModel | None:
    """Turn a measured autocovariance into one that is positive definite and well conditioned.

    The eigenvalues of a stationary covariance are its power spectrum: small and negative ones are raised to
    a fraction of their median. Masks and borders make power of large scales leak into the small ones, where
    it may be a millionth: so these are measured on the map less what is smooth, and divided by what that
    leaves of them (prewhitening: Blackman & Tukey 1958, Bell System Technical Journal 37, 185).

    Parameters
    ----------
    lags : ndarray, shape (n, n), n odd
        From `autocovariance`.
    sharp : ndarray, shape (n, n), optional
        That of the same map convolved with `AGAINST_NEIGHBOURS`.
    floor : float
        Fraction of the median power.

    Returns
    -------
    CovarianceModel or None
        None where lags are missing or nothing varies, that is where the map is too small.
    """
    if not np.isfinite(lags).all() or not lags[lags.shape[0] // 2, lags.shape[1] // 2] > 0:
        return None
    power = power_spectrum(0.5 * (lags + lags[::-1, ::-1]))
    # Of the power with what leaks: a whitener of powers a millionth of the largest sees errors of any model.
    raised = np.maximum(power, floor * float(np.median(power[power > 0])))
    if sharp is not None and np.isfinite(sharp).all():
        wave = np.cos(2.0 * np.pi * fft.fftfreq(lags.shape[0]))
        response = (1.0 - 0.5 * (wave[:, None] + wave)) ** 2
        # What leaks is a share of the variance: less of it where more of the power is left than of that.
        middle = lags.shape[0] // 2, lags.shape[1] // 2
        small = response > max(_LEAST_RESPONSE, sharp[middle] / lags[middle])
        power[small] = power_spectrum(0.5 * (sharp + sharp[::-1, ::-1]))[small] / response[small]
    conditioned, measured = (fft.fftshift(fft.ifft2(p).real) for p in (raised, np.maximum(power, 0.0)))
    return CovarianceModel(conditioned, measured=measured)


def beam_covariance_model(
    beam_covariance: FloatArray, *, rms: float, max_lag: int, white_fraction: float = 0.1
) -> CovarianceModel:
    """Return the covariance of noise that has the beam's autocorrelation, and a white part.

    For maps too small to measure it. White noise seen through a Gaussian beam has a Gaussian
    autocorrelation of twice the beam's covariance.

    Parameters
    ----------
    beam_covariance : ndarray, shape (2, 2)
        Pixels^2, order (x, y).
    rms : float
        Rms of one pixel.
    max_lag : int
        Largest lag in pixels.
    white_fraction : float
        Share of the variance that is not correlated; keeps the covariance well conditioned.

    Returns
    -------
    CovarianceModel
        Marked as assumed.
    """
    dy, dx = np.mgrid[-max_lag : max_lag + 1, -max_lag : max_lag + 1].astype(np.float64)
    inverse = np.linalg.inv(beam_covariance)
    distance = inverse[0, 0] * dx * dx + 2.0 * inverse[0, 1] * dx * dy + inverse[1, 1] * dy * dy
    lags = (1.0 - white_fraction) * np.exp(-0.25 * distance)
    lags[max_lag, max_lag] += white_fraction
    # A Gaussian cut off at max_lag has small negative powers; the white part outweighs them.
    return CovarianceModel(rms**2 * lags, assumed=True)


def radial_profile(lags: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return mean radii in pixels and mean values of rings one pixel wide of an autocovariance."""
    reach = lags.shape[0] // 2
    dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    distance = np.hypot(dy, dx)
    ring = np.rint(distance).astype(np.intp)
    good = np.isfinite(lags) & (ring <= reach)
    count = np.bincount(ring[good], minlength=reach + 1)
    radius, profile = (
        np.divide(np.bincount(ring[good], weights=values[good], minlength=reach + 1), count,
                  out=np.full(reach + 1, np.nan), where=count > 0)
        for values in (distance, lags)
    )  # fmt: skip
    return radius, profile
