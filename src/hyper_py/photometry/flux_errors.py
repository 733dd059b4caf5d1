"""Aperture fluxes on a background that was fitted, and the noise covariance carried through all of it."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import fft

from hyper_py.arrays import BoolArray, FloatArray, IntArray
from hyper_py.background.evaluate import backgrounds_at
from hyper_py.background.group_polynomials import GroupBackground
from hyper_py.background.joint import BackgroundModel, JointBackground
from hyper_py.fitting.group_fit import FitPixels, GroupFit, Whitener, influences, spread_of_assumed
from hyper_py.noise.covariance import CovarianceModel
from hyper_py.numerics import models
from hyper_py.numerics.polynomial import Scaling, inverse_or_pseudo, polynomial_design
from hyper_py.photometry.aperture import Aperture, GroupPhotometry, aperture_pixels, flux_gradient

_BATCH_NUMBERS = 200_000
"""Pixels of all images of the units that share the work: enough to amortise calls."""
_TRANSFORMED_NUMBERS = 25_000
"""Pixels of all images that are transformed at once: their waves stay in the cache."""
_MATRIX_NUMBERS = 4
"""Numbers of a covariance matrix that take no longer than the waves of one pixel of one image."""


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupErrors:
    """Errors of one unit's fluxes and parameters; see `hyper_py.photometry.aperture.GroupPhotometry`."""

    flux_err: FloatArray
    flux_gauss_err: FloatArray
    covariance: FloatArray


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedGroup:
    """A unit after its fit, and the apertures to be measured.

    Attributes
    ----------
    fit, window, whitener
        The unit as fitted.
    sky : BackgroundModel
        The background, all of it.
    background : GroupBackground, optional
        The part of it that was fitted apart and subtracted.
    apertures : sequence of Aperture
    fractions : ndarray, shape (n_sources,)
        Share of each source in its aperture.
    fixed : bool ndarray, shape (n_sources, 6)
        Parameters that could not move.
    assumed : ndarray, shape (n_sources, 6)
        Variances of those of them that were assumed.
    scale : float
        Local noise in units of that of the map.
    """

    fit: GroupFit
    window: FitPixels
    whitener: Whitener
    sky: BackgroundModel
    background: GroupBackground | None
    apertures: Sequence[Aperture]
    fractions: FloatArray
    fixed: BoolArray
    assumed: FloatArray
    scale: float = 1.0

    @property
    def joint(self) -> JointBackground | None:
        """Polynomial of the whitener's linear terms, under the apertures."""
        return self.sky if isinstance(self.sky, JointBackground) else None

    @property
    def kind(self) -> Hashable:
        """The same for units that can be measured together."""
        n_terms = 0 if self.whitener.terms is None else self.whitener.terms.penalty.size
        return (
            len(self.apertures),
            n_terms,
            None if self.whitener.matrix is None else id(self.whitener.matrix),
        )


def hybrid_fluxes(
    residual: FloatArray, units: Sequence[FittedGroup], errors: Sequence[GroupErrors]
) -> list[GroupPhotometry]:
    """Return the aperture fluxes of units on the map minus background and companions.

    The aperture sum of a source is that of its own model, which is f times its flux, plus that of the
    residual; pixels that are blank or off the map have no residual, so the model stands in for them.

    Parameters
    ----------
    residual : ndarray, shape (ny, nx)
        Map minus all models, background left in.
    units, errors
        Units and what `group_errors` returns for them.
    """
    y, x, weights = aperture_pixels([aperture for unit in units for aperture in unit.apertures])
    sky = backgrounds_at([unit.sky for unit in units for _ in unit.apertures], y, x)
    ny, nx = residual.shape
    inside = (y >= 0) & (y < ny) & (x >= 0) & (x < nx)
    left = np.where(inside, residual[np.clip(y, 0, ny - 1), np.clip(x, 0, nx - 1)] - sky, np.nan)
    weights = np.where(np.isfinite(left), weights, 0.0)
    area = weights.sum(axis=1)
    sums, under = np.sum(weights * np.where(weights > 0.0, left, 0.0), axis=1), np.sum(weights * sky, axis=1)
    level = np.divide(under, area, out=np.full(area.shape, np.nan), where=area > 0.0)
    ends = np.cumsum([len(unit.apertures) for unit in units])[:-1]
    return [
        GroupPhotometry(
            flux=models.gaussian_flux(unit.fit.parameters) + own / unit.fractions, background=background,
            fraction=unit.fractions, flux_err=error.flux_err, flux_gauss_err=error.flux_gauss_err,
            covariance=error.covariance,
        )
        for unit, error, own, background in zip(
            units, errors, np.split(sums, ends), np.split(level, ends), strict=True
        )
    ]  # fmt: skip


def group_errors(
    units: Sequence[FittedGroup], noise: CovarianceModel, *, usable: BoolArray | None = None
) -> list[GroupErrors]:
    """Carry the noise covariance through fit, background and apertures of units.

    Every result is, to first order, a weighted sum over pixels of the data; drawn as an image w, its
    variance is w C w, summed in Fourier space. Units alike share the work.

    Parameters
    ----------
    units : sequence of FittedGroup
    noise : CovarianceModel
    usable : bool ndarray, shape (ny, nx), optional
        False where the map is blank: there, and off the map, the model stands in for the data.
    """
    results: list[GroupErrors | None] = [None] * len(units)
    frames = [_Frame.around(unit) for unit in units]
    alike: dict[Hashable, list[int]] = {}
    for k, (unit, frame) in enumerate(zip(units, frames, strict=True)):
        alike.setdefault((unit.kind, frame.shape, frame.kind(unit.background)), []).append(k)
    for members in alike.values():
        n_images = 7 * len(units[members[0]].apertures)
        step = max(1, _BATCH_NUMBERS // (n_images * math.prod(frames[members[0]].shape)))
        for chunk in (members[i : i + step] for i in range(0, len(members), step)):
            batch = [units[k] for k in chunk]
            covariances = _alike_covariances(batch, [frames[k] for k in chunk], noise, usable)
            gradients = flux_gradient(np.stack([unit.fit.parameters for unit in batch]))
            of_parameters = covariances[:, : gradients.shape[2], : gradients.shape[2]]
            of_fluxes = np.diagonal(covariances, axis1=1, axis2=2)[:, gradients.shape[2] :]
            of_gauss = np.maximum(np.sum((gradients @ of_parameters) * gradients, axis=2), 0.0)
            for k, *values in zip(chunk, np.sqrt(of_fluxes), np.sqrt(of_gauss), of_parameters, strict=True):
                results[k] = GroupErrors(flux_err=values[0], flux_gauss_err=values[1], covariance=values[2])
    return [result for result in results if result is not None]


def _alike_covariances(
    units: Sequence[FittedGroup],
    frames: Sequence["_Frame"],
    noise: CovarianceModel,
    usable: BoolArray | None,
) -> FloatArray:
    """Return covariances of the parameters and then the fluxes of units alike: (n_groups, 7 s, 7 s).

    For s sources each.
    """
    fits, whiteners = [unit.fit for unit in units], [unit.whitener for unit in units]
    moves, _, on_window = influences(
        fits, [unit.window for unit in units], whiteners, fixed=[unit.fixed for unit in units]
    )
    (n_groups, n_parameters, n), (height, width) = moves.shape, frames[0].shape
    n_sources = n_parameters // models.N_PARAMETERS
    y, x, sums = aperture_pixels([aperture for unit in units for aperture in unit.apertures])
    sums = sums / np.concatenate([unit.fractions for unit in units])[:, None]
    if usable is not None:
        sums = sums * _are_usable(y, x, usable)
    parameters = np.stack([fit.parameters for fit in fits])
    _, jacobian = models.gaussian_sum_and_jacobian(
        np.repeat(parameters, n_sources, axis=0), y.astype(np.float64), x.astype(np.float64)
    )
    of_model = (jacobian @ sums[..., None]).reshape(n_groups, n_sources, n_parameters)
    y, x, sums = (
        y.reshape(n_groups, n_sources, -1), x.reshape(n_groups, n_sources, -1),
        sums.reshape(n_groups, n_sources, -1),
    )  # fmt: skip
    of_parameters = flux_gradient(parameters) - of_model
    change = of_parameters @ moves
    for k, (joint, terms) in enumerate((unit.joint, unit.whitener.terms) for unit in units):
        if joint is not None and terms is not None:
            under = np.einsum("sm,smk->sk", sums[k], joint.design(y[k], x[k])) @ terms.solution
            m = under.shape[1]
            change[k, :, :m] -= under
            of_sky = under @ on_window[k, :, :m].T
            change[k] += of_sky @ moves[k]
            of_parameters[k] += of_sky

    # What is padded falls on a row of pixels that is not looked at.
    images = np.zeros((n_groups, n_parameters + n_sources, height + 1, width))
    flat, row = images.reshape(*images.shape[:2], -1), np.arange(n_groups)[:, None]
    at_window = np.full((n_groups, n), height * width)
    for place, unit, frame in zip(at_window, units, frames, strict=True):
        place[: unit.window.y.size] = frame.index(unit.window.y, unit.window.x)
    corners = np.array([(frame.y0, frame.x0) for frame in frames])[..., None, None]
    at_apertures = np.where(sums > 0.0, (y - corners[:, 0]) * width + x - corners[:, 1], height * width)
    flat[row, :n_parameters, at_window] = moves.swapaxes(1, 2)
    flat[row[..., None], n_parameters + np.arange(n_sources)[:, None], at_apertures] = sums
    flat[row, n_parameters:, at_window] += change.swapaxes(1, 2)
    # Parameters that are fixed have no noise.
    moving = np.flatnonzero(np.append(moves.any(axis=(0, 2)), np.ones(n_sources, dtype=bool)))
    images = images[:, moving, :height]
    if units[0].background is None:
        found = field_covariance(images, noise)
    else:
        found = _on_sky(images, units, frames, noise)
    covariances = np.zeros((n_groups, *2 * (n_parameters + n_sources,)))
    covariances[:, moving[:, None], moving] = found
    covariances *= np.array([unit.scale for unit in units])[:, None, None] ** 2
    assumed = np.stack([unit.assumed.ravel() for unit in units])
    if assumed.any():
        spread = spread_of_assumed(moves, on_window, assumed)
        of_all = np.concatenate([np.broadcast_to(np.eye(n_parameters), spread.shape), of_parameters], axis=1)
        covariances += of_all @ spread @ of_all.swapaxes(1, 2)
    # A variance of nearly zero may lie on the wrong side of it: by rounding, or for a covariance cut off.
    diagonal = np.arange(covariances.shape[1])
    covariances[:, diagonal, diagonal] = np.maximum(covariances[:, diagonal, diagonal], 0.0)
    return covariances


def _on_sky(
    images: FloatArray, units: Sequence[FittedGroup], frames: Sequence["_Frame"], noise: CovarianceModel
) -> FloatArray:
    """Return the covariances of sums over (data - background), the background fitted to the same data."""
    backgrounds = [unit.background for unit in units if unit.background is not None]
    first, polynomial, (height, width) = backgrounds[0], backgrounds[0].polynomial, frames[0].shape
    flat = images.reshape(*images.shape[:2], -1)
    if first.is_wide:
        y, x = (axis.ravel() for axis in frames[0].grid())
        seen = flat @ polynomial.design(y - first.y0, x - first.x0) @ polynomial.normal_inverse
        return np.stack(
            [
                _on_wide_sky(image, s, first, *frame.grid(), noise)
                for image, s, frame in zip(images, seen, frames, strict=True)
            ]
        )
    free = np.zeros((len(units), height, width))
    for pixels, background, frame in zip(free, backgrounds, frames, strict=True):
        y0, y1, x0, x1 = background.polynomial.box
        top, left = background.y0 - frame.y0, background.x0 - frame.x0
        pixels[y0 + top : y1 + top, x0 + left : x1 + left] = ~background.polynomial.fit_mask[y0:y1, x0:x1]
    free = free.reshape(len(units), 1, -1)
    corner = frames[0].y0 - first.y0, frames[0].x0 - first.x0
    terms, products, smooth, own = _terms(
        polynomial.order, polynomial.scaling, corner, (height, width), noise
    )
    normals = (free[:, 0] @ products).reshape(len(units), len(terms), len(terms))
    seen = flat @ terms.T @ inverse_or_pseudo(normals)
    # As if the background were fitted to all pixels of the frame, and the few that are not free put back.
    rest = flat + (seen @ terms) * (1.0 - free)
    cross = rest @ smooth.T @ seen.swapaxes(1, 2)
    of_rest = field_covariance(rest.reshape(images.shape), noise)
    covariances: FloatArray = of_rest - cross - cross.swapaxes(1, 2) + seen @ own @ seen.swapaxes(1, 2)
    return covariances


@lru_cache(maxsize=2)
def _terms(
    order: int, scaling: Scaling, corner: tuple[int, int], shape: tuple[int, int], noise: CovarianceModel
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return the terms G of a polynomial on a frame of n pixels, (k, n), and what is the same for all units.

    That is their products, (n, k k), C G^T, (k, n), and G C G^T.
    """
    y, x = np.mgrid[: shape[0], : shape[1]]
    design = polynomial_design(y + corner[0], x + corner[1], order=order, scaling=scaling)
    smooth, own = _sky_noise(np.moveaxis(design, -1, 0), noise)
    k = design.shape[-1]
    products = (design[..., :, None] * design[..., None, :]).reshape(-1, k * k)
    return np.ascontiguousarray(design.reshape(-1, k).T), products, smooth.reshape(k, -1), own


def _on_wide_sky(
    images: FloatArray,
    seen: FloatArray,
    background: GroupBackground,
    y: IntArray,
    x: IntArray,
    noise: CovarianceModel,
) -> FloatArray:
    """Return the covariance of sums over (data - background) for a background fitted to many pixels.

    With L the images, S what they see of the polynomial's coefficients and G the coefficients' own images,
    it is (L - S G) C (L - S G)^T; C G^T and G C G^T are the same for all units on this background.
    """
    smooth, own = _wide_sky_noise(background, noise)
    row, column = y - background.y0, x - background.x0
    inside = (row >= 0) & (row < smooth.shape[1]) & (column >= 0) & (column < smooth.shape[2])
    cross = seen @ (smooth[:, row[inside], column[inside]] @ images[:, inside].T)
    covariance: FloatArray = field_covariance(images, noise) - cross - cross.T + seen @ own @ seen.T
    return covariance


@lru_cache(maxsize=2)
def _wide_sky_noise(background: GroupBackground, noise: CovarianceModel) -> tuple[FloatArray, FloatArray]:
    """Return `_sky_noise` of a background's terms on its fit pixels."""
    polynomial = background.polynomial
    y, x = polynomial.fit_pixels
    images = np.zeros((polynomial.normal_inverse.shape[0], *polynomial.fit_mask.shape))
    images[:, y, x] = polynomial.design(y, x).T
    return _sky_noise(images, noise)


def _sky_noise(images: FloatArray, noise: CovarianceModel) -> tuple[FloatArray, FloatArray]:
    """Return C G^T, shape (k, ny, nx), and G C G^T, for the images G of terms of a background."""
    k, ny, nx = images.shape
    shape = _padded(ny, nx, noise)
    power, _ = _power(noise, shape)
    smooth = np.empty_like(images)
    for term, image in zip(smooth, images, strict=True):
        waves = fft.rfft2(image, shape)
        term[...] = fft.irfft2(waves * power.reshape(waves.shape), shape)[:ny, :nx]
    return smooth, images.reshape(k, -1) @ smooth.reshape(k, -1).T


@dataclass(frozen=True)
class _Frame:
    """A rectangle of map pixels."""

    y0: int
    x0: int
    shape: tuple[int, int]

    @classmethod
    def around(cls, unit: FittedGroup) -> "_Frame":
        """Return the smallest one with all pixels that a unit's results depend on, but for a wide sky's."""
        low = [(a.y0, a.x0) for a in unit.apertures]
        high = [(a.y0 + a.weights.shape[0], a.x0 + a.weights.shape[1]) for a in unit.apertures]
        low.append((int(unit.window.y.min()), int(unit.window.x.min())))
        high.append((int(unit.window.y.max()) + 1, int(unit.window.x.max()) + 1))
        if unit.background is not None and not unit.background.is_wide:
            y0, y1, x0, x1 = unit.background.polynomial.box
            low.append((unit.background.y0 + y0, unit.background.x0 + x0))
            high.append((unit.background.y0 + y1, unit.background.x0 + x1))
        (y0, x0), (y1, x1) = map(min, zip(*low, strict=True)), map(max, zip(*high, strict=True))
        return cls(y0, x0, (y1 - y0, x1 - x0))

    def kind(self, background: GroupBackground | None) -> Hashable:
        """Return what is the same for frames in which backgrounds' terms are the same images."""
        if background is None:
            return None
        polynomial = background.polynomial
        own = id(polynomial) if background.is_wide else None
        return self.y0 - background.y0, self.x0 - background.x0, polynomial.order, polynomial.scaling, own

    def grid(self) -> tuple[IntArray, IntArray]:
        y, x = np.mgrid[self.y0 : self.y0 + self.shape[0], self.x0 : self.x0 + self.shape[1]]
        return y, x

    def index(self, y: IntArray, x: IntArray) -> IntArray:
        return (y - self.y0) * self.shape[1] + (x - self.x0)


def _are_usable(y: IntArray, x: IntArray, usable: BoolArray) -> BoolArray:
    """Whether pixels are on the map and not blank."""
    ny, nx = usable.shape
    inside: BoolArray = (y >= 0) & (y < ny) & (x >= 0) & (x < nx)
    inside[inside] = usable[y[inside], x[inside]]
    return inside


def field_covariance(images: FloatArray, noise: CovarianceModel) -> FloatArray:
    """Return the covariances of weighted sums over noise pixels.

    Parameters
    ----------
    images : ndarray, shape (..., k, ny, nx)
        Weights of the pixels.
    noise : CovarianceModel

    Returns
    -------
    ndarray, shape (..., k, k)
    """
    *lead, k, ny, nx = images.shape
    groups = images.reshape(-1, k, ny, nx)
    covariances = np.empty((len(groups), k, k))
    # Where few pixels have weights, their covariance matrix is smaller than the waves of the images.
    largest = _MATRIX_NUMBERS * k * ny * nx if max(ny, nx) <= noise.reach else 0
    many = []
    for i, image in enumerate(groups):
        y, x = np.nonzero(image.any(axis=0))
        if y.size**2 > largest:
            many.append(i)
        else:
            weights = image[:, y, x]
            covariances[i] = weights @ noise.matrix(y, x) @ weights.T
    if many:
        covariances[many] = _covariance_of_waves(groups[many], noise)
    return covariances.reshape(*lead, k, k)


def _covariance_of_waves(images: FloatArray, noise: CovarianceModel) -> FloatArray:
    """Return `field_covariance` of images (n, k, ny, nx), summed in Fourier space."""
    n, k, ny, nx = images.shape
    shape = _padded(ny, nx, noise)
    power, count = _power(noise, shape)
    weights = np.repeat(power * count, 2) / math.prod(shape)
    covariances = np.empty((n, k, k))
    step = max(1, _TRANSFORMED_NUMBERS // (k * ny * nx))
    for some in (slice(i, i + step) for i in range(0, n, step)):
        # Rows first, so that those of zeros are not transformed.
        waves = fft.fft(fft.rfft(images[some], shape[1]), shape[0], axis=-2, overwrite_x=True)
        parts = waves.reshape(*waves.shape[:2], -1).view(np.float64)
        covariances[some] = (parts * weights) @ parts.swapaxes(1, 2)
    return covariances


def _padded(ny: int, nx: int, noise: CovarianceModel) -> tuple[int, int]:
    """Return a periodic grid with room for all separations, so that opposite borders are no neighbours."""
    y, x = (n + min(noise.reach, n - 1) for n in (ny, nx))
    return fft.next_fast_len(y), fft.next_fast_len(x, real=True)


@lru_cache(maxsize=64)
def _power(noise: CovarianceModel, shape: tuple[int, int]) -> tuple[FloatArray, FloatArray]:
    """Power spectrum of the noise on a periodic grid, and how often each half-plane wave counts."""
    reach_y, reach_x = (min(noise.reach, (n - 1) // 2) for n in shape)
    centre = noise.reach
    lags = noise.lags[centre - reach_y : centre + reach_y + 1, centre - reach_x : centre + reach_x + 1]
    grid = np.zeros(shape)
    y, x = np.arange(-reach_y, reach_y + 1), np.arange(-reach_x, reach_x + 1)
    grid[np.ix_(y, x)] = lags
    power = fft.rfft2(grid).real.ravel()
    count = np.full((shape[0], shape[1] // 2 + 1), 2.0)
    count[:, 0] = 1.0
    if shape[1] % 2 == 0:
        count[:, -1] = 1.0
    return power, count.ravel()
