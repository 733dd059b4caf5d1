"""Groups that are fitted in white noise, their pixels weighted, on polynomial backgrounds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hyper_py.arrays import FloatArray
from hyper_py.background.evaluate import backgrounds_on
from hyper_py.background.joint import JointPolynomial, affordable_orders
from hyper_py.background.model import BackgroundModel, NoBackground
from hyper_py.background.separate import SeparateBackground
from hyper_py.background.surroundings import Surroundings
from hyper_py.fitting.groups import Bounds, Group
from hyper_py.fitting.other_sources import rms_on
from hyper_py.fitting.problem import FitProblem
from hyper_py.fitting.weights import per_rms, pixel_weights
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.noise.whitening import Whitener, linear_terms
from hyper_py.numerics import gaussians
from hyper_py.numerics.fit_pixels import select_fit_pixels
from hyper_py.numerics.polynomial import scaling_of_pixels
from hyper_py.numerics.tiles import at


@dataclass(frozen=True, kw_only=True)
class Discs:
    """The discs around the sources that groups are fitted on.

    Attributes
    ----------
    aper_sup : float
        Largest sigma of a source, in sigmas of the beam.
    margin : float
        What is added to it, in sigmas of the beam.
    least_beams : float
        Least radius in beams.
    by_moments : bool
        Whether discs in groups of several sources are as large as the initial sigmas of their sources.
    """

    aper_sup: float
    margin: float
    least_beams: float = 0.0
    by_moments: bool = False

    def radii(self, sources: FloatArray, *, beam_fwhm: float) -> FloatArray:
        """Return the radii in pixels for the sources of a group, (n_sources, 6)."""
        sigma = beam_fwhm / FWHM_PER_SIGMA
        if self.by_moments and len(sources) > 1:
            radii: FloatArray = sources[:, gaussians.SIGMA_1] + self.margin * sigma
            return radii
        radii = np.full(len(sources), (self.aper_sup + self.margin) * sigma)
        return np.maximum(radii, self.least_beams * beam_fwhm)


@dataclass(frozen=True, kw_only=True)
class Weighting:
    """How the pixels of a group are weighted; see `hyper_py.fitting.weights.pixel_weights`.

    Attributes
    ----------
    kind : str or None
    power_snr : float
    spatial_sigma : float
        In pixels.
    subtract_background : bool
        Whether the map that is weighted has the background of the group subtracted, whatever is fitted.
    per_rms : bool
        Whether weighted residuals are in standard deviations of the noise.
    """

    kind: str | None
    power_snr: float
    spatial_sigma: float
    subtract_background: bool = True
    per_rms: bool = True


def weighted_groups(
    problem: FitProblem,
    sources: FloatArray,
    surroundings: Sequence[Surroundings],
    *,
    subtract: bool,
    bounds: Bounds,
    discs: Discs,
    weighting: Weighting,
) -> list[Group]:
    """Return groups that are ready to be fitted.

    Parameters
    ----------
    problem : FitProblem
    sources : ndarray, shape (n, 6)
        As far as they are known.
    surroundings : sequence of Surroundings
        Of each group.
    subtract : bool
        Whether their backgrounds are subtracted before the fit.
    bounds : Bounds
        Of all sources.
    discs : Discs
    weighting : Weighting
    """
    pixels = [
        select_fit_pixels(
            sources[own, gaussians.X], sources[own, gaussians.Y], usable=problem.usable,
            radius=discs.radii(sources[own], beam_fwhm=problem.beam_fwhm),
        )
        for own in problem.partition
    ]  # fmt: skip
    estimated = backgrounds_on([own.background for own in surroundings], pixels)
    groups = []
    for members, where, own, under in zip(problem.partition, pixels, surroundings, estimated, strict=True):
        background: BackgroundModel = own.background if subtract else NoBackground()
        below = under if subtract else np.zeros(under.shape)
        data, rms = at(problem.data, where.y, where.x), rms_on(problem.rms, where)
        weights = pixel_weights(
            weighting.kind, data - (under if weighting.subtract_background else below), where,
            sources[members], power_snr=weighting.power_snr, spatial_sigma=weighting.spatial_sigma,
            mean=own.mean, std=own.rms,
        )  # fmt: skip
        if weighting.per_rms:
            weights = weights * per_rms(weighting.kind, rms)
        groups.append(
            Group(
                members=members, pixels=where, data=data, noise=Whitener(weights=weights),
                bounds=bounds.of(members), fixed=problem.fixed[members], rms=rms,
                prior_variance=problem.prior_variance[members], background=background, below=below,
            )
        )  # fmt: skip
    return groups


@dataclass(frozen=True, kw_only=True)
class Ridge:
    """Penalty of the coefficients of joint polynomials.

    Attributes
    ----------
    penalty : float
        In units of the noise; or, with `in_cutout`, in that of the weighted residuals.
    in_cutout : bool
        Whether all coefficients are penalised, in pixels of the cutout of the separate background. Else the
        constant is free, and coordinates run from -1 to 1 over the fit pixels.
    """

    penalty: float
    in_cutout: bool = False


def joint_candidates(
    group: Group, orders: Sequence[int], *, cutout: SeparateBackground, ridge: Ridge, highest: bool = False
) -> list[Group]:
    """Return a group with each joint polynomial that its pixels can tell from its sources.

    Parameters
    ----------
    group : Group
    orders : sequence of int
    cutout : SeparateBackground
        Of the group, in the cutout whose pixels a ridge may count.
    ridge : Ridge
    highest : bool
        Whether only the highest order is wanted.
    """
    pixels, weights = group.pixels, group.whitener.weights
    affordable = affordable_orders(orders, n_pixels=pixels.y.size, n_sources=group.n_sources)
    if not pixels.y.size:
        return [group]
    scaling = cutout.pixel_scaling if ridge.in_cutout else scaling_of_pixels(pixels.y, pixels.x)
    candidates = []
    for order in [max(affordable)] if highest else affordable:
        polynomial = JointPolynomial(order, scaling)
        design = polynomial.design(pixels.y, pixels.x)
        penalty = np.full(design.shape[1], ridge.penalty)
        if not ridge.in_cutout:
            assert group.rms is not None
            penalty = np.append(0.0, penalty[1:] / float(np.mean(group.rms)))
        terms = linear_terms(design, weights=weights, penalty=penalty)
        candidates.append(group.but(joint=polynomial, noise=Whitener(weights=weights, terms=terms)))
    return candidates
