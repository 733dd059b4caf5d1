"""Aperture fluxes on a background that was fitted, and the noise covariance carried through all of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from hyper_py.geometry import FloatArray
from hyper_py.numerics import models
from hyper_py.numerics.noise import CovarianceModel
from hyper_py.pipeline.joint import JointSky, Sky
from hyper_py.pipeline.unit_backgrounds import UnitBackground
from hyper_py.steps.fitting import Metric, UnitFit, Window, influence
from hyper_py.steps.photometry import Aperture, UnitPhotometry, aperture_on_pixels, flux_gradient

IntArray: TypeAlias = NDArray[np.int64]
BoolArray: TypeAlias = NDArray[np.bool_]
Response: TypeAlias = tuple[FloatArray, FloatArray, FloatArray]
"""What `hyper_py.steps.fitting.influence` returns."""


_WIDE = 20_000
"""Pixels of a cutout beyond which the noise of its background is computed once, not for every unit."""


@dataclass(frozen=True, kw_only=True, eq=False)
class UnitErrors:
    """Errors of one unit's fluxes and parameters; see `hyper_py.steps.photometry.UnitPhotometry`."""

    flux_err: FloatArray
    flux_gauss_err: FloatArray
    covariance: FloatArray


def hybrid_fluxes(
    residual: FloatArray,
    fit: UnitFit,
    background: Sky,
    apertures: Sequence[Aperture],
    fractions: FloatArray,
    errors: UnitErrors,
) -> UnitPhotometry:
    """Return the aperture fluxes of a unit on the map minus background and companions.

    The aperture sum of a source is that of its own model, which is f times its flux, plus that of the
    residual; pixels that are blank or off the map have no residual, so the model stands in for them.

    Parameters
    ----------
    residual : ndarray, shape (ny, nx)
        Map minus all models, background left in.
    fit, background, apertures, fractions, errors
        Of the unit; `fractions` are the shares f of the sources in their apertures.
    """
    flux, level = models.gaussian_flux(fit.parameters), np.full(len(apertures), np.nan)
    shape = residual.shape[0], residual.shape[1]
    for i, aperture in enumerate(apertures):
        inside = aperture.clipped(shape)
        y, x = (axis.ravel() for axis in np.mgrid[inside.slices])
        sky = background.at(y, x)
        left = residual[inside.slices].ravel() - sky
        weights = np.where(np.isfinite(left), inside.weights.ravel(), 0.0)
        flux[i] += np.sum(weights * np.where(np.isfinite(left), left, 0.0)) / fractions[i]
        level[i] = np.sum(weights * sky) / weights.sum() if weights.any() else np.nan
    return UnitPhotometry(
        flux=flux, flux_err=errors.flux_err, flux_gauss_err=errors.flux_gauss_err, fraction=fractions,
        background=level, covariance=errors.covariance,
    )  # fmt: skip


def unit_errors(
    fit: UnitFit,
    window: Window,
    metric: Metric,
    background: UnitBackground | None,
    apertures: Sequence[Aperture],
    fractions: FloatArray,
    noise: CovarianceModel,
    *,
    joint: JointSky | None = None,
    scale: float = 1.0,
    fixed: BoolArray | None = None,
    usable: BoolArray | None = None,
    response: Response | None = None,
) -> UnitErrors:
    """Carry the noise covariance through fit, background and apertures of one unit.

    Every result is, to first order, a weighted sum over pixels of the data; drawn as an image w, its
    variance is w C w, summed in Fourier space.

    Parameters
    ----------
    fit, window, metric
        The unit as fitted.
    background : UnitBackground, optional
        That was fitted apart and subtracted.
    apertures : sequence of Aperture
    fractions : ndarray, shape (n_sources,)
        Share of each source in its aperture.
    noise : CovarianceModel
    scale : float
        Local noise in units of `noise`.
    joint : JointSky, optional
        Polynomial of the metric's linear terms, under the aperture.
    fixed : bool ndarray, shape (n_sources, 6), optional
    usable : bool ndarray, shape (ny, nx), optional
        False where the map is blank: there, and off the map, the model stands in for the data.
    response : tuple, optional
        What `hyper_py.steps.fitting.influence` returns, where it is known.
    """
    moves, _, on_window = response or influence(fit, window, metric, fixed=fixed)
    gradients = flux_gradient(fit.parameters)
    wide = background is not None and background.polynomial.fit_mask.size > _WIDE
    sky_y, sky_x = _sky_pixels(None if wide else background)
    pixels = _Box.around(
        [window.y, sky_y, *(_rows(a) for a in apertures)],
        [window.x, sky_x, *(_columns(a) for a in apertures)],
    )
    grid_y, grid_x = pixels.grid()
    sums = np.stack([aperture_on_pixels(a, grid_y, grid_x) for a in apertures]) / fractions[:, None]
    if usable is not None:
        sums *= _are_usable(grid_y, grid_x, usable)
    touched = sums.any(axis=0)
    _, jacobian = models.gaussian_sum_and_jacobian(
        fit.parameters[None],
        grid_y[touched].astype(np.float64)[None],
        grid_x[touched].astype(np.float64)[None],
    )
    n_parameters = len(moves)
    images = np.zeros((n_parameters + len(apertures), grid_y.size))
    at_window = pixels.index(window.y, window.x)
    images[:n_parameters, at_window] = moves
    correction = gradients - sums[:, touched] @ jacobian[0].T
    images[n_parameters:] = sums
    images[n_parameters:, at_window] += correction @ moves
    if joint is not None and metric.terms is not None:
        under = sums[:, touched] @ joint.design(grid_y[touched], grid_x[touched]) @ metric.terms.solution
        images[n_parameters:, at_window] -= under - under @ on_window.T @ moves
    if background is None:
        covariance = field_covariance(images.reshape(-1, *pixels.shape), noise)
    else:
        reached = images.any(axis=0)
        polynomial, y0, x0 = background.polynomial, background.y0, background.x0
        design = polynomial.design(grid_y[reached] - y0, grid_x[reached] - x0)
        seen = images[:, reached] @ design @ polynomial.normal_inverse
        if wide:
            covariance = _on_wide_sky(images, seen, background, grid_y, grid_x, pixels.shape, noise)
        else:
            images[:, pixels.index(sky_y, sky_x)] -= seen @ polynomial.design(sky_y - y0, sky_x - x0).T
            covariance = field_covariance(images.reshape(-1, *pixels.shape), noise)
    covariance *= scale**2
    of_parameters = covariance[:n_parameters, :n_parameters]
    return UnitErrors(
        flux_err=np.sqrt(np.diagonal(covariance)[n_parameters:]),
        flux_gauss_err=np.sqrt(np.sum((gradients @ of_parameters) * gradients, axis=1)),
        covariance=of_parameters,
    )


def _on_wide_sky(
    images: FloatArray,
    seen: FloatArray,
    background: UnitBackground,
    y: IntArray,
    x: IntArray,
    shape: tuple[int, int],
    noise: CovarianceModel,
) -> FloatArray:
    """Return the covariance of sums over (data - background) for a background fitted to many pixels.

    With L the images, S what they see of the polynomial's coefficients and G the coefficients' own images,
    it is (L - S G) C (L - S G)^T; C G^T and G C G^T are the same for all units on this background.
    """
    smooth, own = _sky_noise(background, noise)
    row, column = y - background.y0, x - background.x0
    inside = (row >= 0) & (row < smooth.shape[1]) & (column >= 0) & (column < smooth.shape[2])
    cross = seen @ (smooth[:, row[inside], column[inside]] @ images[:, inside].T)
    local = field_covariance(images.reshape(-1, *shape), noise)
    covariance: FloatArray = local - cross - cross.T + seen @ own @ seen.T
    return covariance


@lru_cache(maxsize=2)
def _sky_noise(background: UnitBackground, noise: CovarianceModel) -> tuple[FloatArray, FloatArray]:
    """Return C G^T, shape (k, ny, nx) on the cutout, and G C G^T: G are the terms on the fit pixels."""
    polynomial = background.polynomial
    y, x = polynomial.fit_pixels
    ny, nx = polynomial.fit_mask.shape
    images = np.zeros((polynomial.normal_inverse.shape[0], ny, nx))
    images[:, y, x] = polynomial.design(y, x).T
    shape = tuple(fft.next_fast_len(n + noise.reach, real=True) for n in (ny, nx))
    power, _ = _power(noise, (shape[0], shape[1]))
    smooth = np.empty_like(images)
    for k, image in enumerate(images):
        waves = fft.rfft2(image, shape)
        smooth[k] = fft.irfft2(waves * power.reshape(waves.shape), shape)[:ny, :nx]
    own: FloatArray = np.einsum("kn,ln->kl", images.reshape(len(images), -1), smooth.reshape(len(images), -1))
    return smooth, own


def _sky_pixels(background: UnitBackground | None) -> tuple[IntArray, IntArray]:
    """Return the map pixels (y, x) that determined a background."""
    if background is None:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    y, x = background.polynomial.fit_pixels
    return y + background.y0, x + background.x0


@dataclass(frozen=True)
class _Box:
    """A rectangle of map pixels."""

    y0: int
    x0: int
    shape: tuple[int, int]

    @classmethod
    def around(cls, y: Sequence[IntArray], x: Sequence[IntArray]) -> "_Box":
        y0, y1 = min(int(v.min()) for v in y if v.size), max(int(v.max()) for v in y if v.size)
        x0, x1 = min(int(v.min()) for v in x if v.size), max(int(v.max()) for v in x if v.size)
        return cls(y0, x0, (y1 - y0 + 1, x1 - x0 + 1))

    def grid(self) -> tuple[IntArray, IntArray]:
        y, x = np.mgrid[self.y0 : self.y0 + self.shape[0], self.x0 : self.x0 + self.shape[1]]
        return y.ravel(), x.ravel()

    def index(self, y: IntArray, x: IntArray) -> IntArray:
        return (y - self.y0) * self.shape[1] + (x - self.x0)


def _are_usable(y: IntArray, x: IntArray, usable: BoolArray) -> BoolArray:
    """Whether pixels are on the map and not blank."""
    ny, nx = usable.shape
    inside: BoolArray = (y >= 0) & (y < ny) & (x >= 0) & (x < nx)
    inside[inside] = usable[y[inside], x[inside]]
    return inside


def _rows(aperture: Aperture) -> IntArray:
    return np.array([aperture.y0, aperture.y0 + aperture.weights.shape[0] - 1])


def _columns(aperture: Aperture) -> IntArray:
    return np.array([aperture.x0, aperture.x0 + aperture.weights.shape[1] - 1])


def field_covariance(images: FloatArray, noise: CovarianceModel) -> FloatArray:
    """Return the covariances of weighted sums over noise pixels.

    Parameters
    ----------
    images : ndarray, shape (k, ny, nx)
        Weights of the pixels.
    noise : CovarianceModel

    Returns
    -------
    ndarray, shape (k, k)
    """
    _, ny, nx = images.shape
    # Room for all separations: on a smaller periodic grid opposite borders would be neighbours.
    shape = (
        fft.next_fast_len(ny + min(noise.reach, ny - 1), real=True),
        fft.next_fast_len(nx + min(noise.reach, nx - 1), real=True),
    )
    power, count = _power(noise, shape)
    waves = fft.rfft2(images, shape).reshape(len(images), -1)
    weighted = waves * (power * count)
    covariance: FloatArray = (waves.real @ weighted.real.T + waves.imag @ weighted.imag.T) / (
        shape[0] * shape[1]
    )
    # Cut off at its reach, a covariance may leave a variance of nearly zero on the wrong side of it.
    np.fill_diagonal(covariance, np.maximum(np.diagonal(covariance), 0.0))
    return covariance


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
