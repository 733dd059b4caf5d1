"""How groups are fitted in the noise measured on a map: fit pixels, whiteners, bounds, backgrounds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hyper_py.arrays import FloatArray, IntArray
from hyper_py.background.joint import JointPolynomial, affordable_orders
from hyper_py.background.model import BackgroundModel, NoBackground
from hyper_py.fitting.groups import Bounds, Group
from hyper_py.fitting.other_sources import means_on, rms_on
from hyper_py.fitting.problem import FitProblem
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.noise.measure import REACH_BEAMS
from hyper_py.noise.whitener_cache import WhitenerCache, WhitenerOnDemand
from hyper_py.noise.whitening import Whitener, white_whitener
from hyper_py.numerics import gaussians
from hyper_py.numerics.fit_pixels import FitPixels, select_fit_pixels
from hyper_py.numerics.parallel import in_order
from hyper_py.numerics.polynomial import scaling_of_pixels
from hyper_py.numerics.tiles import Plane, at

_DISC_BEAMS = 2.5
"""Radius of the discs that are fitted; results are flat between 2 and 4."""
COMPACT_BEAMS = 2.0
"""Sources of up to this size are fitted on the same discs."""
_SURROUNDINGS_BEAMS = 0.5
"""What a disc must have around the largest aperture."""
_COMPACT_DISC_BEAMS = 3.5
"""A group of such discs still fits into the reach of the covariance for compact sources."""
LARGEST_DISC_BEAMS = 6.5
"""Outside, the model replaces the data."""
_MOST_PIXELS = 2500.0
"""Larger discs are coarser whatever the noise."""
_SIZE_STEP_BEAMS = 0.5
"""The pixels that a source can spare are found for its minor axis rounded down to a multiple of this."""
_READ_GROUPS = 32
"""Groups whose pixels are read at once."""
_LONG, _ANGLE_STEP = 2.0, np.pi / 12.0
"""Axis ratio, over that of the beam, from which discs are cut to bands, and the step of their angles."""
_DISC_STEP_BEAMS = 0.5
"""Radii of larger discs are multiples of this, so that groups alike share matrices."""


class OwnBackground(NamedTuple):
    """The background of one group: what is subtracted, and the order of the joint polynomial."""

    separate: BackgroundModel
    order: int | None = None

    @classmethod
    def of(cls, group: Group) -> "OwnBackground":
        """Return that of a group."""
        return cls(group.background, None if group.joint is None else group.joint.order)


@dataclass(frozen=True, kw_only=True, eq=False)
class FitSetup:
    """How the groups of a map are fitted.

    Attributes
    ----------
    cache : WhitenerCache
        Of the noise of the map.
    relative_rms : Plane, shape (ny, nx)
        Local rms over its median.
    sigma_limits : (float, float)
        Smallest and largest sigma of a source, in pixels.
    aper_sup, radius_in_fwhm : float
        Largest source in beams, and semi-axes of apertures in FWHM: they must fit into the pixels.
    white : bool
        Whether fits take the noise for white.
    ridge : float
        Penalty of the coefficients of joint polynomials, in units of the rms.
    coarse : bool
        Whether fewer pixels may do for wide sources: not for polynomials.
    """

    cache: WhitenerCache
    relative_rms: Plane
    sigma_limits: tuple[float, float]
    aper_sup: float
    radius_in_fwhm: float
    white: bool = False
    ridge: float = 0.0
    coarse: bool = False

    def groups(
        self,
        problem: FitProblem,
        partition: Sequence[IntArray] | None = None,
        *,
        backgrounds: Sequence[OwnBackground] | None = None,
    ) -> list[Group]:
        """Return groups that are ready to be fitted.

        Parameters
        ----------
        problem : FitProblem
        partition : sequence of int ndarray, optional
            Sources of each group; those of the problem if not given.
        backgrounds : sequence of OwnBackground, optional
            Of each group; none if not given.
        """
        partition = problem.partition if partition is None else partition
        backgrounds = backgrounds or [OwnBackground(NoBackground())] * len(partition)
        radius, bounds = self.disc_radii(problem), self._bounds(problem)
        x, y = problem.start[:, gaussians.X], problem.start[:, gaussians.Y]
        steps, bands = self.pixel_steps(problem, radius), self.bands(problem, radius)

        def read(part: Sequence[IntArray]) -> list[tuple[FitPixels, FloatArray]]:
            chosen = [
                select_fit_pixels(
                    x[own],
                    y[own],
                    radius=radius[own],
                    usable=problem.usable,
                    steps=steps[own],
                    bands=bands[own],
                )
                for own in part
            ]
            return [(where, at(problem.data, where.y, where.x)) for where in chosen]

        parts = [partition[first : first + _READ_GROUPS] for first in range(0, len(partition), _READ_GROUPS)]
        # Not recorded: the map can be read again, and its pixels would be most of a journal.
        known = [own for found in in_order(read, parts, recorded=False) for own in found]
        scales = means_on(self.relative_rms, [where for where, _ in known])
        groups = [
            Group(
                members=own, pixels=where, data=data, noise=self._noise(problem, where, scale),
                bounds=bounds.of(own), fixed=problem.fixed[own], prior_variance=problem.prior_variance[own],
                noise_scale=scale,
            )
            for own, (where, data), scale in zip(partition, known, scales, strict=True)
        ]  # fmt: skip
        return [self.on(group, own) for group, own in zip(groups, backgrounds, strict=True)]

    def on(self, group: Group, background: OwnBackground) -> Group:
        """Return a group on another background, not fitted."""
        pixels, (separate, order) = group.pixels, background
        group = group.but(background=separate, below=separate.at(pixels.y, pixels.x), fit=None)
        if order is None:
            return group
        return group.but(
            joint=JointPolynomial(order, scaling_of_pixels(pixels.y, pixels.x)),
            noise=self.cache.joint_whitener(pixels, group.noise_scale, order=order, ridge=self.ridge),
        )

    def candidates(self, group: Group, separate: BackgroundModel, orders: Sequence[int]) -> list[Group]:
        """Return a group with the joint polynomials that its pixels can tell from its sources."""
        n_pixels, n_sources = group.pixels.y.size, group.n_sources
        affordable = affordable_orders(orders, n_pixels=n_pixels, n_sources=n_sources)
        return [self.on(group, OwnBackground(separate, order)) for order in affordable]

    def disc_radii(self, problem: FitProblem) -> FloatArray:
        """Return `disc_radii` in this setup."""
        return disc_radii(problem, aper_sup=self.aper_sup, radius_in_fwhm=self.radius_in_fwhm)

    def bands(self, problem: FitProblem, radius: FloatArray) -> FloatArray:
        """Return half-width and angle of the bands to which discs are cut, (n, 2), see `select_fit_pixels`.

        A long and narrow source has around it what a compact one has.
        """
        minor = FWHM_PER_SIGMA * problem.start[:, gaussians.SIGMA_2] / problem.beam_fwhm
        half = _reaches(minor, aper_sup=self.aper_sup, radius_in_fwhm=self.radius_in_fwhm) * problem.beam_fwhm
        smallest, largest = np.sqrt(np.linalg.eigvalsh(problem.beam_covariance))
        ratio = problem.start[:, gaussians.SIGMA_1] / problem.start[:, gaussians.SIGMA_2]
        long = ratio > _LONG * largest / smallest
        angle = _ANGLE_STEP * np.rint(problem.start[:, gaussians.THETA] / _ANGLE_STEP)
        return np.column_stack([np.where(long & (half < radius), half, np.inf), angle])

    def pixel_steps(self, problem: FitProblem, radius: FloatArray) -> IntArray:
        """Return the steps between the pixels of discs, (n,): 1 for compact sources.

        The cost of a group grows with the cube of the number of its pixels. Noise that was seen through the
        beam has nothing on the scale of the source between the pixels that are left.
        """
        steps = np.ones(len(radius), dtype=np.int64)
        wide = np.flatnonzero(radius > (_DISC_BEAMS + 1e-6) * problem.beam_fwhm)
        if wide.size and self.coarse:
            needed = np.ceil(np.sqrt(np.pi / _MOST_PIXELS) * radius[wide]).astype(np.int64)
            minor = FWHM_PER_SIGMA * problem.start[wide, gaussians.SIGMA_2] / problem.beam_fwhm
            sizes, own = np.unique(_SIZE_STEP_BEAMS * np.floor(minor / _SIZE_STEP_BEAMS), return_inverse=True)
            coarsest = [self._coarsest(problem, max(float(size), _SIZE_STEP_BEAMS)) for size in sizes]
            steps[wide] = np.maximum(np.array(coarsest)[own], needed)
        return steps

    def _coarsest(self, problem: FitProblem, size: float) -> int:
        return self.cache.coarsest(problem.beam_fwhm, source_fwhm=size * problem.beam_fwhm)

    def _bounds(self, problem: FitProblem) -> Bounds:
        smallest, largest = self.sigma_limits
        bounds = Bounds.around(
            problem.start, sigma_limits=(smallest, np.minimum(largest, problem.largest_sigma)),
            shift=problem.shift,
            amplitude_limits=(-np.inf if problem.forced else 0.0, np.inf),
        )  # fmt: skip
        return bounds.fixed_at(problem.start, problem.fixed)

    def _noise(self, problem: FitProblem, pixels: FitPixels, scale: float) -> Whitener | WhitenerOnDemand:
        if self.white:
            return white_whitener(rms_on(problem.rms, pixels))
        return self.cache.whitener(pixels, scale)


def disc_radii(problem: FitProblem, *, aper_sup: float, radius_in_fwhm: float) -> FloatArray:
    """Return the radii in pixels of the discs to fit, (n,): apertures need surroundings in them.

    Parameters
    ----------
    problem : FitProblem
        Its starting shapes say how wide sources are.
    aper_sup, radius_in_fwhm : float
        See `FitSetup`.
    """
    own = FWHM_PER_SIGMA * problem.start[:, gaussians.SIGMA_1] / problem.beam_fwhm
    given = problem.fixed[:, gaussians.SIGMA_1]
    fitted = _reaches(own, aper_sup=aper_sup, radius_in_fwhm=radius_in_fwhm)
    exact = np.clip(radius_in_fwhm * own + _SURROUNDINGS_BEAMS, _DISC_BEAMS, LARGEST_DISC_BEAMS)
    radii: FloatArray = problem.beam_fwhm * np.where(given, exact, fitted)
    return radii


def _reaches(fwhm: FloatArray, *, aper_sup: float, radius_in_fwhm: float) -> FloatArray:
    """Return how far pixels reach from sources of some width of which the shapes are fitted, in beams."""
    # A source may become wider than it starts.
    free = np.clip(fwhm, min(aper_sup, COMPACT_BEAMS), aper_sup)
    reach = radius_in_fwhm * free + _SURROUNDINGS_BEAMS
    steps = _DISC_STEP_BEAMS * np.ceil(reach / _DISC_STEP_BEAMS * (1.0 - 1e-9))
    return np.clip(steps, _DISC_BEAMS, LARGEST_DISC_BEAMS)


def covariance_reach(problem: FitProblem, *, aper_sup: float, radius_in_fwhm: float) -> float:
    """Return the largest separation of the fit pixels of one group, in beams; at least `REACH_BEAMS`."""
    radii = disc_radii(problem, aper_sup=aper_sup, radius_in_fwhm=radius_in_fwhm)
    largest = float(radii.max(initial=0.0)) / problem.beam_fwhm
    return REACH_BEAMS + 2.0 * max(largest - _COMPACT_DISC_BEAMS, 0.0)
