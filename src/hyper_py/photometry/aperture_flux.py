"""Aperture fluxes on a polynomial background: sums over the map less background and companions.

With the fitted Gaussian of flux F_gauss, the share f of it in the aperture a, and the residual r of the map
less all models and the background, the flux is F = F_gauss + a r / f: the aperture's sum over the source's
own model and the residual, corrected for what is outside. Its error is in `hyper_py.photometry.flux_errors`.
"""

from collections.abc import Sequence

import numpy as np

from hyper_py.arrays import BoolArray
from hyper_py.background.evaluate import backgrounds_at, backgrounds_on
from hyper_py.fitting.groups import Group
from hyper_py.noise.covariance import CovarianceModel
from hyper_py.numerics import gaussians
from hyper_py.numerics.tiles import Plane, at, rows_at
from hyper_py.photometry.aperture import (
    GroupApertures,
    GroupPhotometry,
    aperture_pixels,
    group_apertures,
)
from hyper_py.photometry.flux_errors import GroupErrors, group_errors
from hyper_py.photometry.measurements import MeasuredGroup, measured_group


def aperture_fluxes(
    residual: Plane, measured: Sequence[GroupApertures], errors: Sequence[GroupErrors]
) -> list[GroupPhotometry]:
    """Return the aperture fluxes of groups on the map minus background and companions.

    Pixels that are blank or off the map have no residual, so the model stands in for them.

    Parameters
    ----------
    residual : Plane, shape (ny, nx)
        Map minus all models, background left in.
    measured : sequence of GroupApertures
    errors : sequence of GroupErrors
        What `group_errors` returns for them.
    """
    y, x, weights = aperture_pixels([aperture for own in measured for aperture in own.apertures])
    background = backgrounds_at([own.group.background_model for own in measured for _ in own.apertures], y, x)
    values = rows_at(residual, y, x) - background
    weights = np.where(np.isfinite(values), weights, 0.0)
    area = weights.sum(axis=1)
    sums = np.sum(weights * np.where(weights > 0.0, values, 0.0), axis=1)
    under = np.sum(weights * background, axis=1)
    mean_below = np.divide(under, area, out=np.full(area.shape, np.nan), where=area > 0.0)
    ends = np.cumsum([len(own.apertures) for own in measured])[:-1]
    return [
        GroupPhotometry(
            flux=gaussians.gaussian_flux(own.group.fitted.parameters) + total / own.fractions,
            background=below,
            fraction=own.fractions, flux_err=error.flux_err, flux_gauss_err=error.flux_gauss_err,
            covariance=error.covariance,
        )
        for own, error, total, below in zip(
            measured, errors, np.split(sums, ends), np.split(mean_below, ends), strict=True
        )
    ]  # fmt: skip


def measure_on_polynomials(
    residual: Plane,
    groups: Sequence[Group],
    *,
    noise: CovarianceModel,
    radius_in_fwhm: float,
    beam_area: float,
    usable: BoolArray | Plane,
) -> list[MeasuredGroup]:
    """Measure apertures and errors of fitted groups on their polynomial backgrounds.

    Parameters
    ----------
    residual : Plane, shape (ny, nx)
        Map minus all models, background left in.
    groups : sequence of Group
        Those without pixels are left out.
    noise : CovarianceModel
        Which errors come from.
    radius_in_fwhm : float
        Semi-axes of apertures in FWHM.
    beam_area : float
        In pixels.
    usable : bool ndarray or Plane, shape (ny, nx)
        False, or 0, where blank.
    """  # fmt: skip
    shown = group_apertures([group for group in groups if group.pixels.y.size], radius_in_fwhm=radius_in_fwhm)
    if not shown:
        return []
    errors = group_errors(shown, noise, usable=usable)
    photometries = aperture_fluxes(residual, shown, errors)
    backgrounds = [own.group.background_model for own in shown]
    below = backgrounds_on(backgrounds, [own.group.pixels for own in shown])
    results = []
    for own, photometry, background, values in zip(shown, photometries, backgrounds, below, strict=True):
        group = own.group
        remaining = at(residual, group.pixels.y, group.pixels.x) - values
        scaled = group.whitener.project(remaining) if group.rms is None else remaining / group.rms
        n_free = int(np.count_nonzero(~group.fixed)) + group.fitted.coefficients.size
        results.append(
            measured_group(
                own, photometry, remaining, chi2=float(scaled @ scaled), n_free=n_free,
                background=background, beam_area=beam_area, usable=usable,
            )
        )  # fmt: skip
    return results
