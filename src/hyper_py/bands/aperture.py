"""The common aperture: one ellipse on the sky for all bands, as HYPER measures them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hyper_py.arrays import FloatArray
from hyper_py.bands.band import Band
from hyper_py.bands.estimates import Estimates
from hyper_py.bands.shapes import determinant, symmetric
from hyper_py.bands.surroundings import surroundings_of
from hyper_py.geometry import ellipse_from_covariance, transform_covariance
from hyper_py.numerics import gaussians
from hyper_py.numerics.tiles import at
from hyper_py.photometry.aperture import Aperture, elliptical_apertures

LARGEST = "largest"


@dataclass(frozen=True, kw_only=True, eq=False)
class CommonApertures:
    """Sums in an aperture that is the same on the sky in all bands, n rows in the order of the sources.

    Attributes
    ----------
    band : str
        The band whose fitted ellipse the aperture is; "largest" if it is the largest of all bands.
    ellipse : ndarray, shape (n, 3)
        Covariance xx, xy, yy in arcsec^2 of the Gaussian whose FWHM, times `radius_in_fwhm`, are the
        semi-axes.
    radius_in_fwhm : float
    fraction : ndarray, shape (n, n_bands)
        Of the source's flux inside, by its beam and shape in the band; fluxes are divided by it.
    flux, flux_err : ndarray, shape (n, n_bands)
        Jy; map less background and companions. NaN where the band does not see the source.
    """

    band: str
    ellipse: FloatArray
    radius_in_fwhm: float
    fraction: FloatArray
    flux: FloatArray
    flux_err: FloatArray


def common_apertures(
    bands: Sequence[Band], estimates: Estimates, *, band: str, radius_in_fwhm: float
) -> CommonApertures:
    """Measure all sources in one aperture in all bands.

    The sum is that of the map less background and companions. The background is the mean expected from what
    is left around the aperture (`surroundings`). The error is that of noise and background inside, given what
    is around, and of the companions' fluxes; position and shape count as known.

    Parameters
    ----------
    bands : sequence of Band
    estimates : Estimates
        Of the last fit.
    band : str
        Of which the aperture is: a name, or `LARGEST`.
    radius_in_fwhm : float
        Semi-axes of the aperture in units of the FWHM of sources in that band.
    """
    shown = estimates.shown(bands)
    names = [one.name for one in bands]
    if band == LARGEST:
        choice = np.sqrt(np.maximum(determinant(shown), 0.0)).argmax(axis=0)
    else:
        choice = np.full(len(estimates), names.index(band))
    ellipse = shown[choice, np.arange(len(estimates))] if len(estimates) else np.empty((0, 3))
    fraction, flux, error = (np.full(estimates.flux.shape, np.nan) for _ in range(3))
    for b, one in enumerate(bands):
        sources = estimates.gaussians(one, b)
        residual = one.data - gaussians.render(sources, one.shape)
        apertures = _apertures(one, estimates, ellipse, radius_in_fwhm=radius_in_fwhm)
        gain = one.gains(shown[b])
        for i, aperture in enumerate(apertures):
            if estimates.seen[i, b]:
                measured = _measure(
                    one, sources, residual, aperture, i, variance=estimates.flux_covariance[:, b, b]
                )
                fraction[i, b], flux[i, b], error[i, b] = measured
        flux[:, b], error[:, b] = flux[:, b] / gain, error[:, b] / gain
    return CommonApertures(
        band=band,
        ellipse=ellipse,
        radius_in_fwhm=radius_in_fwhm,
        fraction=fraction,
        flux=flux,
        flux_err=error,
    )


def _apertures(
    band: Band, estimates: Estimates, ellipse: FloatArray, *, radius_in_fwhm: float
) -> list[Aperture]:
    """Return ellipses on the sky as apertures in the pixels of a band."""
    if not len(estimates):
        return []
    pixels = band.pixels(estimates.position)
    inverse = np.linalg.inv(band.mapping.jacobian(pixels))
    major, minor, theta = ellipse_from_covariance(transform_covariance(symmetric(ellipse), inverse))
    return elliptical_apertures(
        pixels[:, 0],
        pixels[:, 1],
        semi_major=radius_in_fwhm * major,
        semi_minor=radius_in_fwhm * minor,
        theta=theta,
    )


def _measure(
    band: Band, sources: FloatArray, residual: FloatArray, aperture: Aperture, i: int, *, variance: FloatArray
) -> tuple[float, float, float]:
    """Return the fraction of a source inside an aperture, its flux there over that, and the error of this."""
    rows, columns = np.nonzero(aperture.weights)
    y, x, weight = rows + aperture.y0, columns + aperture.x0, aperture.weights[rows, columns]
    own = sources[i : i + 1].copy()
    own[:, gaussians.AMPLITUDE] = 1.0
    profile = gaussians.gaussian_sum(own, y.astype(np.float64), x.astype(np.float64))
    profile /= gaussians.gaussian_flux(own)
    share = float(weight @ profile)
    ny, nx = residual.shape
    inside = (y >= 0) & (y < ny) & (x >= 0) & (x < nx)
    inside[inside] = np.isfinite(residual[y[inside], x[inside]])
    y, x, weight, profile = y[inside], x[inside], weight[inside], profile[inside]
    around = surroundings_of(band, residual, y, x)
    if around is None or not share > 0.0:
        return np.nan, np.nan, np.nan
    # Blank pixels take the model: the sum over the rest is scaled by what the rest should hold.
    here = float(weight @ profile)
    if not here > 0.0:
        return np.nan, np.nan, np.nan
    fitted = sources[i, gaussians.AMPLITUDE] * gaussians.gaussian_flux(own)[0]
    left = float(weight @ (at(residual, y, x) - around.expected()))
    near = np.hypot(*(sources[:, [gaussians.X, gaussians.Y]] - sources[i, [gaussians.X, gaussians.Y]]).T)
    reach = max(aperture.weights.shape) + 5.0 * sources[:, gaussians.SIGMA_1]
    leak = 0.0
    for j in np.flatnonzero((near < reach) & (np.arange(len(sources)) != i)):
        other = sources[j : j + 1].copy()
        other[:, gaussians.AMPLITUDE] = 1.0
        light = weight @ gaussians.gaussian_sum(other, y.astype(np.float64), x.astype(np.float64))
        leak += float(light / gaussians.gaussian_flux(other)[0]) ** 2 * float(np.nan_to_num(variance[j]))
    error = np.sqrt(around.variance(weight) + leak)
    return share, fitted + left / here, error / here
