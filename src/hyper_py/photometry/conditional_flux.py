"""Aperture fluxes on the conditional background, and their errors.

With the fitted Gaussian of flux F_gauss, the residual r of the fit, the conditional background K r_o under
the sources (`hyper_py.background.conditional`), the aperture a and the fraction f of the Gaussian inside it,
the flux is

    F = F_gauss + a (r - K r_o) / f.

That is linear in the data: dF = w e for a change e of the data, with

    w = (a - K^T a) / f + (dF_gauss/dp - (a - K^T a) J / f) R,

J the Jacobian of the Gaussians and R the response of the parameters (`hyper_py.fitting.linear_response`). In
noise of covariance C the error of F is sqrt(w C w). Fixed parameters add their prior
variances.
"""

from collections.abc import Sequence

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray
from hyper_py.background.conditional import (
    ConditionalBackground,
    conditional_mean,
    source_footprint,
    symmetric_times,
)
from hyper_py.fitting.groups import Group, alike_groups, work_parts
from hyper_py.fitting.linear_response import linear_response, prior_covariance
from hyper_py.fitting.other_sources import models_on
from hyper_py.noise.whitener_cache import NoiseMatrices, WhitenerCache
from hyper_py.numerics import gaussians
from hyper_py.numerics.parallel import in_order
from hyper_py.numerics.tiles import Plane
from hyper_py.photometry.aperture import (
    GroupApertures,
    GroupPhotometry,
    aperture_on_pixels,
    flux_gradient,
    group_apertures,
)
from hyper_py.photometry.measurements import MeasuredGroup, measured_group
from hyper_py.stages import counter


def conditional_fluxes(
    measured: Sequence[GroupApertures], residuals: Sequence[FloatArray], *, noise: NoiseMatrices
) -> list[tuple[GroupPhotometry, ConditionalBackground]]:
    """Measure aperture fluxes on the map minus companions and conditional background.

    Parameters
    ----------
    measured : sequence of GroupApertures
        Groups with fit pixels of one shape, one matrix and as many sources, with their whiteners made.
    residuals : sequence of ndarray, shape (n,)
        Data minus all models on the fit pixels of each group.
    noise : NoiseMatrices
        Of these fit pixels, for a noise scale of 1.

    Returns
    -------
    list of (GroupPhotometry, ConditionalBackground)
        Of each group; the background is known on the pixels of the sources and apertures.
    """
    groups = [own.group for own in measured]
    response = linear_response(groups)
    moves, _, jacobian = response
    scales = np.array([group.noise_scale for group in groups])
    prior = prior_covariance(response, np.stack([group.prior_variance.ravel() for group in groups]))
    # The whitener need not be that of the noise: it is white, or conditioned.
    covariance = scales[:, None, None] ** 2 * (symmetric_times(moves, noise.measured) @ moves.swapaxes(1, 2))
    covariance = covariance + prior
    gradients = np.stack([flux_gradient(group.fitted.parameters) for group in groups])
    sums = np.stack([_on_fit_pixels(own) for own in measured])
    fractions = np.stack([own.fractions for own in measured])
    inside = np.stack([_footprint(own) for own in measured]) | (sums > 0.0).any(axis=1)
    residual = np.stack(residuals)
    outer, background = conditional_mean(noise, inside, apertures=sums, residual=residual)
    weights = (sums - outer) / fractions[..., None]
    of_model = gradients - weights @ jacobian.swapaxes(1, 2)
    influence = weights + of_model @ moves
    variance = scales[:, None] ** 2 * np.sum(symmetric_times(influence, noise.measured) * influence, axis=-1)
    variance = variance + np.sum((of_model @ prior) * of_model, axis=-1)
    variance_gauss = np.sum((gradients @ covariance) * gradients, axis=-1)
    correction = np.sum(weights * residual[:, None], axis=-1)
    area = sums.sum(axis=-1)
    below = np.sum(sums * np.where(inside, background, 0.0)[:, None], axis=-1)
    mean_below = np.divide(below, area, out=np.full(area.shape, np.nan), where=area > 0.0)
    results = []
    for k, group in enumerate(groups):
        known, (y, x) = np.isfinite(background[k]), (group.pixels.y, group.pixels.x)
        photometry = GroupPhotometry(
            flux=gaussians.gaussian_flux(group.fitted.parameters) + correction[k],
            flux_err=np.sqrt(np.maximum(variance[k], 0.0)),
            flux_gauss_err=np.sqrt(np.maximum(variance_gauss[k], 0.0)),
            fraction=fractions[k], background=mean_below[k], covariance=covariance[k],
        )  # fmt: skip
        under = ConditionalBackground(y=y[known], x=x[known], values=background[k, known])
        results.append((photometry, under))
    return results


def measure_on_conditional(
    groups: Sequence[Group],
    sources: FloatArray,
    *,
    cache: WhitenerCache,
    radius_in_fwhm: float,
    beam_area: float,
    usable: BoolArray | Plane,
) -> list[MeasuredGroup]:
    """Measure apertures and errors of fitted groups on their conditional backgrounds.

    Parameters
    ----------
    groups : sequence of Group
        Those without pixels are left out.
    sources : ndarray, shape (n, 6)
        All sources of the map.
    cache : WhitenerCache
        Of the noise that errors come from.
    radius_in_fwhm : float
        Semi-axes of apertures in FWHM.
    beam_area : float
        In pixels.
    usable : bool ndarray or Plane, shape (ny, nx)
        False, or 0, where blank.
    """  # fmt: skip
    shown = [group for group in groups if group.pixels.y.size]

    def of_part(part: list[Group]) -> list[MeasuredGroup]:
        return _measured_part(
            [group.prepared() for group in part], sources, cache=cache, radius_in_fwhm=radius_in_fwhm,
            beam_area=beam_area, usable=usable,
        )  # fmt: skip

    results: list[MeasuredGroup] = []
    measured = counter("apertures", len(shown))
    for found in in_order(of_part, [[shown[k] for k in part] for part in work_parts(shown)]):
        results += found
        measured(len(found))
    return results


def _measured_part(
    groups: Sequence[Group],
    sources: FloatArray,
    *,
    cache: WhitenerCache,
    radius_in_fwhm: float,
    beam_area: float,
    usable: BoolArray | Plane,
) -> list[MeasuredGroup]:
    """Measure groups with their whiteners made, see `measure_on_conditional`."""
    results: list[MeasuredGroup] = []
    light = models_on(sources, [group.pixels for group in groups])
    residuals = [group.data - model for group, model in zip(groups, light, strict=True)]
    for alike in alike_groups(groups, same_shape=True):
        own = group_apertures([groups[k] for k in alike], radius_in_fwhm=radius_in_fwhm)
        noise = cache.matrices(own[0].group.pixels, own[0].group.noise_scale)
        some = [residuals[k] for k in alike]
        found = conditional_fluxes(own, some, noise=noise)
        for one, residual, (photometry, background) in zip(own, some, found, strict=True):
            whitened = one.group.whitener.project(residual)
            results.append(
                measured_group(
                    one, photometry, residual, chi2=float(whitened @ whitened), beam_area=beam_area,
                    n_free=int((~one.group.fixed).sum()) + 1, background=background, usable=usable,
                )
            )  # fmt: skip
    return results


def _on_fit_pixels(own: GroupApertures) -> FloatArray:
    """Return the weights of the fit pixels in each aperture, (n_sources, n)."""
    pixels = own.group.pixels
    sums = np.stack([aperture_on_pixels(aperture, pixels.y, pixels.x) for aperture in own.apertures])
    return sums if pixels.area is None else sums * pixels.area


def _footprint(own: GroupApertures) -> BoolArray:
    pixels = own.group.pixels
    return source_footprint(own.group.fitted.parameters, pixels.y, pixels.x)
