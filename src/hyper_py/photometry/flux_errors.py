"""How the error of a flux comes about: the noise covariance is carried through fit, background and aperture.

Write the aperture flux of a source as (`hyper_py.photometry.aperture_flux`)

    F = F_gauss(p) + a (d - g(p) - b) / f,

d the data, g(p) all Gaussians with fitted parameters p, b the background, a the weights of the pixels in the
aperture and f the share of the source in it. To first order all of this is linear in the data. A change e of
the data changes the parameters by R e (`hyper_py.fitting.linear_response`), the background by B e, and the
flux by

    dF = w e,    w = (a / f) (1 - B) + (dF_gauss/dp - (a / f) J) R,

where J is the Jacobian of the Gaussians, and the fit sees the data less its background too: R stands for R
(1 - B) where that was subtracted before. So the variance of F in noise of covariance C, measured on the map
outside its sources, is

    var F = w C w = sum over pixels i, j of w_i C_ij w_j,

and the covariance of the parameters R C R^T. It never uses the scatter of the aperture's own pixels, which
hold the source. Sums are done in Fourier space (`hyper_py.noise.weighted_sums`), for groups alike at once.
Fixed parameters add their prior variances.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray, IntArray
from hyper_py.background.joint import JointBackground
from hyper_py.fitting.linear_response import LinearResponse, linear_response, prior_covariance
from hyper_py.noise.covariance import CovarianceModel
from hyper_py.noise.weighted_sums import field_covariance
from hyper_py.numerics import gaussians
from hyper_py.numerics.tiles import Plane, rows_at
from hyper_py.photometry.aperture import GroupApertures, aperture_pixels, flux_gradient
from hyper_py.photometry.background_errors import Frame, on_background, separate_part

_BATCH_NUMBERS = 200_000
"""Pixels of all images of the groups that share the work: enough to amortise calls."""


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupErrors:
    """Errors of one group's fluxes and parameters; see `hyper_py.photometry.aperture.GroupPhotometry`."""

    flux_err: FloatArray
    flux_gauss_err: FloatArray
    covariance: FloatArray


def group_errors(
    measured: Sequence[GroupApertures], noise: CovarianceModel, *, usable: BoolArray | Plane | None = None
) -> list[GroupErrors]:
    """Carry the noise covariance through fit, background and apertures of groups.

    Parameters
    ----------
    measured : sequence of GroupApertures
    noise : CovarianceModel
        Scaled by the `noise_scale` of each group.
    usable : bool ndarray or Plane, shape (ny, nx), optional
        False, or 0, where the map is blank: there, and off the map, the model stands in for the data.
    """
    results: dict[int, GroupErrors] = {}
    frames = [Frame.around(own) for own in measured]
    alike: dict[Hashable, list[int]] = {}
    for k, (own, frame) in enumerate(zip(measured, frames, strict=True)):
        alike.setdefault((_kind(own), frame.shape, frame.kind(separate_part(own))), []).append(k)
    for members in alike.values():
        n_images = 7 * len(measured[members[0]].apertures)
        step = max(1, _BATCH_NUMBERS // (n_images * math.prod(frames[members[0]].shape)))
        for chunk in (members[i : i + step] for i in range(0, len(members), step)):
            batch = [measured[k] for k in chunk]
            covariances = _alike_covariances(batch, [frames[k] for k in chunk], noise, usable)
            gradients = flux_gradient(np.stack([own.group.fitted.parameters for own in batch]))
            of_parameters = covariances[:, : gradients.shape[2], : gradients.shape[2]]
            of_fluxes = np.diagonal(covariances, axis1=1, axis2=2)[:, gradients.shape[2] :]
            of_gauss = np.maximum(np.sum((gradients @ of_parameters) * gradients, axis=2), 0.0)
            for k, *values in zip(chunk, np.sqrt(of_fluxes), np.sqrt(of_gauss), of_parameters, strict=True):
                results[k] = GroupErrors(flux_err=values[0], flux_gauss_err=values[1], covariance=values[2])
    return [results[k] for k in range(len(measured))]


def _kind(own: GroupApertures) -> Hashable:
    """Return the same for groups that can be measured together."""
    whitener = own.group.whitener
    return len(own.apertures), whitener.n_terms, whitener.matrix


def _alike_covariances(
    measured: Sequence[GroupApertures],
    frames: Sequence[Frame],
    noise: CovarianceModel,
    usable: BoolArray | Plane | None,
) -> FloatArray:
    """Return covariances of the parameters and then the fluxes of groups alike: (n_groups, 7 s, 7 s).

    For s sources each.
    """
    groups = [own.group for own in measured]
    response = linear_response(groups)
    n_groups, n_parameters, _ = response.moves.shape
    apertures = _StackedApertures.of(measured, usable=usable)
    change, of_parameters = _of_fluxes(measured, apertures, response)
    images = _images(measured, frames, apertures, response.moves, change)
    # Parameters that are fixed have no noise.
    n_fluxes = images.shape[1] - n_parameters
    moving = np.flatnonzero(np.append(response.moves.any(axis=(0, 2)), np.ones(n_fluxes, dtype=bool)))
    images = images[:, moving]
    if separate_part(measured[0]) is None:
        found = field_covariance(images, noise)
    else:
        found = on_background(images, measured, frames, noise)
    covariances = np.zeros((n_groups, *2 * (n_parameters + n_fluxes,)))
    covariances[:, moving[:, None], moving] = found
    covariances *= np.array([group.noise_scale for group in groups])[:, None, None] ** 2
    prior_variance = np.stack([group.prior_variance.ravel() for group in groups])
    if prior_variance.any():
        prior = prior_covariance(response, prior_variance)
        of_all = np.concatenate([np.broadcast_to(np.eye(n_parameters), prior.shape), of_parameters], axis=1)
        covariances += of_all @ prior @ of_all.swapaxes(1, 2)
    # A variance of nearly zero may lie on the wrong side of it: by rounding, or for a covariance cut off.
    diagonal = np.arange(covariances.shape[1])
    covariances[:, diagonal, diagonal] = np.maximum(covariances[:, diagonal, diagonal], 0.0)
    return covariances


@dataclass(frozen=True, kw_only=True, eq=False)
class _StackedApertures:
    """Pixels y, x of the apertures of groups alike, and a / f there: each (n_groups, n_sources, m)."""

    y: IntArray
    x: IntArray
    sums: FloatArray

    @classmethod
    def of(
        cls, measured: Sequence[GroupApertures], *, usable: BoolArray | Plane | None
    ) -> "_StackedApertures":
        y, x, sums = aperture_pixels([aperture for own in measured for aperture in own.apertures])
        sums = sums / np.concatenate([own.fractions for own in measured])[:, None]
        if usable is not None:
            sums = sums * (rows_at(usable, y, x) == 1.0)
        shape = len(measured), len(measured[0].apertures), -1
        return cls(y=y.reshape(shape), x=x.reshape(shape), sums=sums.reshape(shape))


def _of_fluxes(
    measured: Sequence[GroupApertures], apertures: _StackedApertures, response: LinearResponse
) -> tuple[FloatArray, FloatArray]:
    """Return how fluxes change through the fit: with the data on the fit pixels, and with the parameters.

    The first is of shape (n_groups, n_sources, n), the second (n_groups, n_sources, 6 n_sources).
    """
    parameters = np.stack([own.group.fitted.parameters for own in measured])
    y, x, sums = apertures.y, apertures.x, apertures.sums
    n_groups, n_sources, m = sums.shape
    _, jacobian = gaussians.gaussian_sum_and_jacobian(
        np.repeat(parameters, n_sources, axis=0),
        y.reshape(-1, m).astype(np.float64),
        x.reshape(-1, m).astype(np.float64),
    )
    of_model = (jacobian @ sums.reshape(-1, m)[..., None]).reshape(n_groups, n_sources, -1)
    of_parameters = flux_gradient(parameters) - of_model
    change = of_parameters @ response.moves
    for k, own in enumerate(measured):
        joint, terms = own.group.background_model, own.group.whitener.terms
        if isinstance(joint, JointBackground) and terms is not None:
            design = joint.polynomial.design(y[k], x[k])
            under = np.einsum("sm,smk->sk", sums[k], design) @ terms.solution
            n = under.shape[1]
            change[k, :, :n] -= under
            of_background = under @ response.jacobian[k, :, :n].T
            change[k] += of_background @ response.moves[k]
            of_parameters[k] += of_background
    return change, of_parameters


def _images(
    measured: Sequence[GroupApertures],
    frames: Sequence[Frame],
    apertures: _StackedApertures,
    moves: FloatArray,
    change: FloatArray,
) -> FloatArray:
    """Return parameters and then fluxes as weighted sums over the data less its background, as images.

    Of shape (n_groups, 7 s, height, width), on the frames, for s sources each.
    """
    (n_groups, n_parameters, n), (height, width) = moves.shape, frames[0].shape
    n_sources, sums = change.shape[1], apertures.sums
    # What is padded falls on a row of pixels that is not looked at.
    images = np.zeros((n_groups, n_parameters + n_sources, height + 1, width))
    flat, row = images.reshape(*images.shape[:2], -1), np.arange(n_groups)[:, None]
    at_pixels = np.full((n_groups, n), height * width)
    for place, own, frame in zip(at_pixels, measured, frames, strict=True):
        pixels = own.group.pixels
        place[: pixels.y.size] = frame.index(pixels.y, pixels.x)
    corners = np.array([(frame.y0, frame.x0) for frame in frames])[..., None, None]
    at_apertures = (apertures.y - corners[:, 0]) * width + apertures.x - corners[:, 1]
    at_apertures = np.where(sums > 0.0, at_apertures, height * width)
    flat[row, :n_parameters, at_pixels] = moves.swapaxes(1, 2)
    flat[row[..., None], n_parameters + np.arange(n_sources)[:, None], at_apertures] = sums
    flat[row, n_parameters:, at_pixels] += change.swapaxes(1, 2)
    return images[:, :, :height]
