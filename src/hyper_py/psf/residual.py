"""The PSF residual: the light that all sources of a map have in common beyond their Gaussians.

Side lobes and wings of the PSF, or of the sources' own profile, look alike around all sources. Where the PSF
is not known, the median over many isolated sources shows their pattern.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.fft import fftfreq, irfft2, next_fast_len, rfft2, rfftfreq

from hyper_py.arrays import FloatArray, IntArray
from hyper_py.noise.covariance import CovarianceModel
from hyper_py.noise.whitening import whitening_matrix
from hyper_py.numerics import gaussians
from hyper_py.numerics.pairs import group_pairs, pairs_within
from hyper_py.numerics.tiles import LazyPlane, Plane, size_of
from hyper_py.psf.agreement import agreement

PATTERN_BEAMS = 3.5
"""How far from a source the pattern is drawn."""
DIRTY_BEAMS = 16.0
"""The same for the side lobes of a dirty beam, which fall slowly."""
_TESTED_BEAMS = 2.5
"""Radius of the disc on which sources must agree about it."""
_ALONE_BEAMS = 2.0
"""Sources with a neighbour this near are not used."""
_FAINTEST_POWER = 0.02
"""Below this share of a Gaussian's transform its pattern can be made no sharper, and no wider."""
_FEWEST_SOURCES, _FIRST_SOURCES, _MOST_SOURCES = 10, 100, 1000
_AGREEMENT, _COMMON_SHARE = 8.0, 0.01
"""How far the sources must agree: in standard deviations, and in the share of the power that is common.

On 87 maps of a hundred Gaussians, most of them on cirrus, they agreed to 3 and 0.004 at most; with lobes of
0.03, or the wings of a Moffat profile of beta 4, to 18 and 0.026 at least. Enough sources would agree on what
fits in cirrus leave, which is a share of 0.0006.
"""
_FURTHER_AGREEMENT = 3.0
"""In standard deviations, for a correction to a pattern that is known."""
_MEDIAN_VARIANCE = 0.5 * np.pi
"""Variance of a median over that of a mean, for normal deviates."""
_AT_ONCE = 100
"""Sources whose derivatives are in memory together."""
_CLEARLY = 100.0
"""By how much chi-square must be less for the sources' profile than for the beam to be the cause."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ResidualPattern(ABC):
    """The residual pattern that all sources have in common, in shares of their peaks.

    Attributes
    ----------
    reach : int
        How far from a source the pattern is drawn, in pixels.
    """

    reach: int

    @property
    @abstractmethod
    def flux_share(self) -> float:
        """Flux of a source in its pattern, in units of the flux of its Gaussian."""

    @abstractmethod
    def around(self, source: FloatArray) -> FloatArray:
        """Return the pattern of one source on the square of `reach` around the pixel nearest to it."""

    def drawn(self, sources: FloatArray, shape: tuple[int, int]) -> LazyPlane:
        """Return the image of the patterns of all sources."""
        reach, side = self.reach, 2 * self.reach + 1
        placed = gaussians.SourcesByPlace(sources, n_sigma=0.0, more=reach + 1.0)

        def make(rows: slice, columns: slice) -> FloatArray:
            image = np.zeros((rows.stop - rows.start + 4 * reach, columns.stop - columns.start + 4 * reach))
            for source in sources[placed.indices((rows, columns))]:
                x, y = np.rint(source[[gaussians.X, gaussians.Y]]).astype(int)
                # Of the piece's first pixel in the image, which begins two reaches before the part.
                bottom, left = y - rows.start + reach, x - columns.start + reach
                if 0 <= bottom < image.shape[0] - 2 * reach and 0 <= left < image.shape[1] - 2 * reach:
                    image[bottom : bottom + side, left : left + side] += self.around(source)
            return image[2 * reach : -2 * reach, 2 * reach : -2 * reach]

        return LazyPlane(shape, make)

    def share(self, sources: FloatArray) -> FloatArray:
        """Return what the patterns of brighter sources are at the middle of each, in units of its peak."""
        centres = np.rint(sources[:, [gaussians.Y, gaussians.X]]).astype(int)
        bright = sources[:, gaussians.AMPLITUDE]
        total = np.zeros(len(sources))
        near = pairs_within(centres, centres, self.reach * np.sqrt(2.0))
        for i, around in enumerate(group_pairs(*near, len(sources))):
            offset = centres[around] - centres[i] + self.reach
            inside = (offset >= 0).all(axis=1) & (offset <= 2 * self.reach).all(axis=1)
            fainter = inside & (bright[around] < bright[i])
            if fainter.any():
                y, x = offset[fainter].T
                total[around[fainter]] += self.around(sources[i])[y, x]
        # Where a source has no peak, the pattern is everything.
        share: FloatArray = np.divide(
            total, bright, out=np.where(total > 0.0, np.inf, 0.0), where=bright > 0.0
        )
        return share


@dataclass(frozen=True, kw_only=True, eq=False)
class BeamPattern(ResidualPattern):
    """A pattern of the PSF: one convolution turns Gaussians into their images.

    The kernel that turns the mean of some Gaussians into the pattern around them gives the pattern around
    each other one. At frequencies where Gaussians have no power, the pattern is the same for all. It adds no
    flux: the area of the beam accounts for it.

    Attributes
    ----------
    kernel : complex ndarray, shape (n, n // 2 + 1)
        What the transform of a Gaussian of peak 1 is multiplied with.
    same : complex ndarray, shape (n, n // 2 + 1)
        What is added to that.
    """

    kernel: NDArray[np.complex128]
    same: NDArray[np.complex128]

    @classmethod
    def of(cls, pattern: FloatArray, sources: FloatArray, weights: FloatArray) -> "BeamPattern":
        """Return the pattern that is `pattern`, of odd sides, around the weighted mean of sources."""
        reach = pattern.shape[0] // 2
        n = next_fast_len(2 * pattern.shape[0], real=True)
        ky, kx = _frequencies(n)
        mean = np.average(_transforms(sources, ky, kx), axis=0, weights=weights)
        transform = rfft2(pattern, (n, n)) * np.exp(1j * reach * (ky + kx))
        faint = (_FAINTEST_POWER * mean[0, 0]) ** 2
        turned = transform / (mean**2 + faint)
        return cls(kernel=turned * mean, same=turned * faint, reach=reach)

    def __add__(self, other: "BeamPattern") -> "BeamPattern":
        """Return both together; they are drawn as far from a source."""
        return replace(self, kernel=self.kernel + other.kernel, same=self.same + other.same)

    @property
    def flux_share(self) -> float:
        """0: its light is that of the beam."""
        return 0.0

    def around(self, source: FloatArray) -> FloatArray:
        """Return the pattern of one source on the square of `reach` around the pixel nearest to it."""
        n, side = self.kernel.shape[0], 2 * self.reach + 1
        ky, kx = _frequencies(n)
        shift = self.reach + _offset(source)
        turned = self.kernel * _transforms(source[None], ky, kx)[0] + self.same
        turned = turned * np.exp(-1j * (ky * shift[0] + kx * shift[1]))
        piece: FloatArray = source[gaussians.AMPLITUDE] * irfft2(turned, (n, n))[:side, :side]
        return piece


@dataclass(frozen=True, kw_only=True, eq=False)
class ProfilePattern(ResidualPattern):
    """A pattern of the sources: all have one profile that is no Gaussian, as wide as their Gaussians.

    The pattern of a source is that of the mean one, stretched as its Gaussian is. Its light is the source's.

    Attributes
    ----------
    pattern : ndarray, shape (2 reach + 1, 2 reach + 1)
        Around the middle of the central pixel.
    covariance : ndarray, shape (2, 2)
        Of the Gaussian of peak 1 that has it, pixels^2, order (x, y).
    """

    pattern: FloatArray
    covariance: FloatArray

    @property
    def flux_share(self) -> float:
        """Sum of the pattern over the integral of its Gaussian."""
        return float(self.pattern.sum() / (2.0 * np.pi * np.sqrt(np.linalg.det(self.covariance))))

    def around(self, source: FloatArray) -> FloatArray:
        """Return the pattern of one source on the square of `reach` around the pixel nearest to it."""
        middle = np.full(2, self.reach)
        narrower = np.linalg.inv(_stretch(source, self.covariance))
        piece: FloatArray = source[gaussians.AMPLITUDE] * ndimage.affine_transform(
            self.pattern, narrower, middle - narrower @ (middle + _offset(source)), order=3
        )
        return piece


def measure_residual_pattern(
    data: Plane,
    sources: FloatArray,
    *,
    noise: CovarianceModel,
    relative_rms: Plane,
    beam_fwhm: float,
    beam: BeamPattern | None = None,
) -> ResidualPattern | None:
    """Return the residual pattern that all sources have in common.

    It is the median over isolated sources of the residual over the peak, without the part that an unweighted
    fit would have put into the Gaussians. Whether it belongs to the PSF or to the profile of the sources is
    decided by sources of different size: the one is taken that leaves the smaller residuals.

    Parameters
    ----------
    data : Plane, shape (ny, nx)
        Map; blank pixels are NaN.
    sources : ndarray, shape (n, 6)
    noise : CovarianceModel
        Of the map without sources over `relative_rms`.
    relative_rms : Plane, shape (ny, nx)
    beam_fwhm : float
        In pixels.
    beam : BeamPattern, optional
        The pattern that was subtracted from the map before; what is found is added to it.

    Returns
    -------
    ResidualPattern or None
        None unless the sources agree significantly on a pattern.
    """
    reach = int(PATTERN_BEAMS * beam_fwhm)
    inner = min(int(_TESTED_BEAMS * beam_fwhm), noise.reach // 2)
    likely = _alone(sources, size_of(data), reach=reach, beam_fwhm=beam_fwhm)
    # The brightest say whether there is anything; all that there are say what.
    for most in (_FIRST_SOURCES, _MOST_SOURCES):
        stamps, weights, chosen = _stamps(
            data, sources, relative_rms, likely[:most], reach=reach, rim=0.5 * beam_fwhm
        )
        if len(chosen) < _FEWEST_SOURCES:
            return None
        isolated = sources[chosen]
        sigmas, share = agreement(_refitted(stamps, isolated, noise, inner=inner))
        if sigmas < _FURTHER_AGREEMENT or (beam is None and (sigmas < _AGREEMENT or share < _COMMON_SHARE)):
            return None
    signal = _signal_share(stamps, weights, noise, inner=inner)
    mean = np.average(gaussians.source_covariance(isolated), axis=0, weights=weights)

    def pattern(stamps: list[FloatArray]) -> FloatArray:
        return signal * _without_gaussian(_weighted_median(np.stack(stamps), weights), mean)

    pairs = list(zip(stamps, isolated, strict=True))
    of_beam = BeamPattern.of(pattern([_centred(*pair) for pair in pairs]), isolated, weights)
    if beam is not None:
        return beam + of_beam
    of_profile = ProfilePattern(
        pattern=pattern([_narrowed(*pair, mean) for pair in pairs]), covariance=mean, reach=reach
    )
    brightest = stamps[:_FIRST_SOURCES], isolated[:_FIRST_SOURCES], weights[:_FIRST_SOURCES]
    by_beam, by_profile = (
        _chi2_without(*brightest, candidate, noise, inner=inner) for candidate in (of_beam, of_profile)
    )
    return of_profile if by_profile < by_beam - _CLEARLY else of_beam


def known_residual_pattern(psf_residual: FloatArray, *, beam_covariance: FloatArray) -> BeamPattern:
    """Return the residual pattern of a known PSF.

    Parameters
    ----------
    psf_residual : ndarray, shape (2 reach + 1, 2 reach + 1)
        The beam without its Gaussian of peak 1, which is at the central pixel.
    beam_covariance : ndarray, shape (2, 2)
        Of that Gaussian, pixels^2.
    """
    beam = np.array([[1.0, 0.0, 0.0, *gaussians.shape_parameters(beam_covariance)]])
    return BeamPattern.of(psf_residual * _taper(psf_residual.shape[0] // 2), beam, np.ones(1))


def _signal_share(stamps: FloatArray, weights: FloatArray, noise: CovarianceModel, *, inner: int) -> float:
    """Return the share of signal in the medians of two halves, whitened, on a disc of radius `inner`."""
    reach = stamps.shape[-1] // 2
    y, x, whitening = _whitened_disc(noise, inner=inner)
    order, halves = np.argsort(-weights, kind="stable"), []
    for half in (order[::2], order[1::2]):
        pattern = _weighted_median(stamps[half], weights[half])
        whitened = whitening @ pattern[y + reach, x + reach]
        halves.append(whitened * np.sqrt(np.sum(weights[half] ** 2) / _MEDIAN_VARIANCE))
    common = float(halves[0] @ halves[1])
    both = 0.5 * float(halves[0] @ halves[0] + halves[1] @ halves[1])
    return common / (common + 0.5 * max(both - common, 0.0)) if common > 0.0 else 0.0


def _alone(sources: FloatArray, shape: tuple[int, int], *, reach: int, beam_fwhm: float) -> IntArray:
    """Return isolated sources inside the map, the brightest first."""
    if not len(sources):
        return np.empty(0, dtype=np.int64)
    centres = sources[:, [gaussians.X, gaussians.Y]]
    x, y = np.rint(centres).T
    alone = np.bincount(pairs_within(centres, centres, _ALONE_BEAMS * beam_fwhm)[0]) == 1
    inside = (x >= reach) & (y >= reach) & (x < shape[1] - reach) & (y < shape[0] - reach)
    likely = np.flatnonzero(alone & inside & (sources[:, gaussians.AMPLITUDE] > 0.0))
    return likely[np.argsort(-sources[likely, gaussians.AMPLITUDE], kind="stable")]


def _stamps(
    data: Plane, sources: FloatArray, relative_rms: Plane, which: IntArray, *, reach: int, rim: float
) -> tuple[FloatArray, FloatArray, IntArray]:
    """Return pieces of the residual around sources over their peaks, weights, and which have no blanks.

    The mean of a piece's rim is subtracted; the weights are peaks in units of the local rms.
    """
    side = 2 * reach + 1
    distance = np.hypot(*np.mgrid[-reach : reach + 1, -reach : reach + 1])
    outer = (distance <= reach) & (distance > reach - rim)
    placed = gaussians.SourcesByPlace(sources, n_sigma=6.0)
    stamps, weights, chosen = [], [], []
    for i in which:
        x, y = np.rint(sources[i, [gaussians.X, gaussians.Y]]).astype(int)
        where = slice(y - reach, y + reach + 1), slice(x - reach, x + reach + 1)
        stamp = data[where] - gaussians.render(placed[where], (side, side))
        if np.isfinite(stamp).all():
            peak = sources[i, gaussians.AMPLITUDE]
            stamps.append((stamp - stamp[outer].mean()) / peak)
            weights.append(peak / relative_rms[where][reach, reach])
            chosen.append(i)
    return np.array(stamps).reshape(-1, side, side), np.array(weights), np.array(chosen, dtype=np.int64)


def _weighted_median(stamps: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the weighted median along the first axis."""
    order = np.argsort(stamps, axis=0)
    total = np.cumsum(weights[order], axis=0)
    middle = np.argmax(total >= 0.5 * total[-1], axis=0)
    picked = np.take_along_axis(order, middle[None], axis=0)
    median: FloatArray = np.take_along_axis(stamps, picked, axis=0)[0]
    return median


def _offset(source: FloatArray) -> FloatArray:
    """Return how far a source is from the middle of the pixel nearest to it, order (y, x)."""
    centre = source[[gaussians.Y, gaussians.X]]
    offset: FloatArray = centre - np.rint(centre)
    return offset


def _centred(stamp: FloatArray, source: FloatArray) -> FloatArray:
    """Return a piece shifted so that its source is in the middle of its central pixel."""
    shifted: FloatArray = ndimage.shift(stamp, -_offset(source), order=3, mode="nearest")
    return shifted


def _narrowed(stamp: FloatArray, source: FloatArray, covariance: FloatArray) -> FloatArray:
    """Return a piece with its source in the middle, stretched until that has a covariance (order x, y)."""
    middle, stretch = np.full(2, stamp.shape[0] // 2), _stretch(source, covariance)
    narrowed: FloatArray = ndimage.affine_transform(
        stamp, stretch, middle + _offset(source) - stretch @ middle, order=3, mode="nearest"
    )
    return narrowed


def _stretch(source: FloatArray, covariance: FloatArray) -> FloatArray:
    """Return the matrix, order (y, x), that turns a Gaussian of some covariance into that of a source."""
    stretch: FloatArray = _root(gaussians.source_covariance(source)) @ np.linalg.inv(_root(covariance))
    return stretch[::-1, ::-1]


def _root(matrix: FloatArray) -> FloatArray:
    """Return the symmetric square root of a covariance, shape (2, 2) (by Cayley and Hamilton's theorem)."""
    root = np.sqrt(np.linalg.det(matrix))
    result: FloatArray = (matrix + root * np.eye(2)) / np.sqrt(np.trace(matrix) + 2.0 * root)
    return result


def _chi2_without(
    stamps: FloatArray,
    sources: FloatArray,
    weights: FloatArray,
    pattern: ResidualPattern,
    noise: CovarianceModel,
    *,
    inner: int,
) -> float:
    """Return chi-square of pieces of the residual less a pattern, changes of the Gaussians fitted to them."""
    patterns = np.stack([pattern.around(source) / source[gaussians.AMPLITUDE] for source in sources])
    whitened = _refitted(stamps - patterns, sources, noise, inner=inner)
    return float(weights**2 @ np.sum(whitened**2, axis=1))


def _refitted(stamps: FloatArray, sources: FloatArray, noise: CovarianceModel, *, inner: int) -> FloatArray:
    """Return pieces of the residual, whitened, changes of the Gaussians fitted to them: (n, n_pixels)."""
    y, x, whitening = _whitened_disc(noise, inner=inner)
    reach = stamps.shape[-1] // 2
    whitened = stamps[:, y + reach, x + reach] @ whitening.T
    around = sources[:, None].copy()
    around[:, 0, [gaussians.Y, gaussians.X]] = np.stack([_offset(source) for source in sources])
    for some in (slice(k, k + _AT_ONCE) for k in range(0, len(sources), _AT_ONCE)):
        pixels = np.broadcast_to(np.stack([y, x])[:, None].astype(np.float64), (2, len(around[some]), y.size))
        _, jacobian = gaussians.gaussian_sum_and_jacobian(around[some], *pixels)
        basis = np.linalg.qr(whitening @ jacobian.swapaxes(1, 2))[0]
        whitened[some] -= (basis @ (basis.swapaxes(1, 2) @ whitened[some, :, None]))[..., 0]
    return whitened


def _whitened_disc(noise: CovarianceModel, *, inner: int) -> tuple[IntArray, IntArray, FloatArray]:
    """Return offsets y, x of the pixels of a disc from its middle, and the matrix that whitens them."""
    y, x = (v.ravel() for v in np.mgrid[-inner : inner + 1, -inner : inner + 1])
    disc = np.hypot(y, x) <= inner
    y, x = y[disc], x[disc]
    return y, x, whitening_matrix(noise.matrix(y + inner, x + inner))


def _without_gaussian(pattern: FloatArray, spread: FloatArray) -> FloatArray:
    """Return a pattern without its unweighted fit by small changes of a Gaussian, zero at the rim.

    Parameters
    ----------
    pattern : ndarray, shape (2 reach + 1, 2 reach + 1)
    spread : ndarray, shape (2, 2)
        Covariance of the Gaussian, pixels^2, order (x, y).
    """
    reach = pattern.shape[0] // 2
    y, x = (v.ravel().astype(np.float64) for v in np.mgrid[-reach : reach + 1, -reach : reach + 1])
    mean = np.array([1.0, 0.0, 0.0, *gaussians.shape_parameters(spread)])
    _, jacobian = gaussians.gaussian_sum_and_jacobian(mean[None, None], y[None], x[None])
    values = (pattern * _taper(reach)).ravel()
    changes = jacobian[0].T
    values = values - changes @ np.linalg.lstsq(changes, values, rcond=1e-6)[0]
    result: FloatArray = values.reshape(pattern.shape)
    return result


def _taper(reach: int) -> FloatArray:
    """Return weights that fall to 0 at the rim of a square pattern."""
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    taper: FloatArray = np.clip((reach + 0.5 - np.hypot(y, x)) / (0.2 * reach), 0.0, 1.0)
    return taper


def _frequencies(n: int) -> tuple[FloatArray, FloatArray]:
    """Return the angular frequencies of a real transform, shapes (n, 1) and (n // 2 + 1,)."""
    return 2.0 * np.pi * fftfreq(n)[:, None], 2.0 * np.pi * rfftfreq(n)


def _transforms(sources: FloatArray, ky: FloatArray, kx: FloatArray) -> FloatArray:
    """Return Fourier transforms of Gaussians of peak 1 around the origin, shape (n, ny, nx // 2 + 1)."""
    spreads = gaussians.source_covariance(sources)[..., None, None]
    area = 2.0 * np.pi * sources[:, gaussians.SIGMA_1] * sources[:, gaussians.SIGMA_2]
    quadratic = spreads[:, 0, 0] * kx**2 + 2.0 * spreads[:, 0, 1] * kx * ky + spreads[:, 1, 1] * ky**2
    transforms: FloatArray = area[:, None, None] * np.exp(-0.5 * quadratic)
    return transforms
