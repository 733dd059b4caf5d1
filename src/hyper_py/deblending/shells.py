"""Pieces of one shell: a ring or a sharp-edged disc, which several Gaussians describe better than one.

Bubbles, ionised shells, planetary nebulae and planets are bright all along a rim, or flat on top. Where one
ring (`hyper_py.numerics.rings`), which has seven parameters, describes several sources nearly as well as they
do themselves, they are its pieces, and one source takes their place.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray, IntArray
from hyper_py.deblending.model_selection import Model, remove_sources
from hyper_py.fitting.groups import Group, work_parts
from hyper_py.fitting.other_sources import with_other_sources
from hyper_py.fitting.problem import AT_LARGEST
from hyper_py.fitting.setup import FitSetup
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.numerics import gaussians, rings
from hyper_py.numerics.pairs import friends_of_friends
from hyper_py.numerics.parallel import in_order
from hyper_py.numerics.solvers import SolverOptions, levenberg_marquardt

_LINK = 1.3
"""Pieces are this near one another, in units of their mean FWHM along the major axes."""
_FAINTEST = 0.3
"""Least peak of a piece over that of the brightest: a faint source beside a bright one is a source."""
_FIRST_RADIUS, _LEAST_RADIUS, _LARGEST_RADIUS = 2.0, 1.1, 8.0
"""Radius of a ring in its sigmas: of the first guess, and of what is one. Rings fitted to two true sources
that are hard to tell apart have up to 1.0, or leave much of their light."""
_LEFT_OF_TWO, _LEFT_OF_MORE = 0.04, 0.12
"""What a ring leaves of two pieces, and of more, over their power in the noise, at most: simulated rings,
whose rims are not those of the model, leave up to a tenth."""
_LONGEST_OF_TWO, _LONGEST_OF_MORE = 1.35, 2.2
"""Largest axis ratio of such a ring: longer ones describe equal sources side by side, or a row of them."""
_CLEARLY = 10.0
"""A ring that leaves so much less in chi-square than the pieces, with fewer parameters, may be longer."""
_LEAST_RIM = 0.6
"""Smallest sigma of a rim in units of the beam's: where a ring is an ellipse, the model makes its rim
narrower along one axis."""
_SHIFT = 0.15
"""How far the centre of the Gaussian of a shell may move, in units of its FWHM."""


_SIGMAS = [gaussians.SIGMA_1, gaussians.SIGMA_2]


class Shell(NamedTuple):
    """Pieces that are one source, as places in the table of sources, and the Gaussian (6,) of its moments."""

    pieces: IntArray
    gaussian: FloatArray


def find_shells(
    groups: Sequence[Group], *, beam_fwhm: float, largest_sigma: float, solver: SolverOptions
) -> list[Shell]:
    """Return the sources that are pieces of one ring each.

    Parameters
    ----------
    groups : sequence of Group
        As fitted, with the light of other sources removed.
    beam_fwhm, largest_sigma : float
        Of the beam, and of any source; pixels. What fills that size is no piece.
    solver : SolverOptions
    """
    limits = _LEAST_RIM * beam_fwhm / FWHM_PER_SIGMA, largest_sigma
    several = [group for group in groups if group.n_sources > 1]
    parts = [[several[k] for k in part] for part in work_parts(several)]

    def of_part(part: Sequence[Group]) -> list[Shell]:
        return [shell for group in part for shell in _shells_of(group.prepared(), limits, solver)]

    return [shell for found in in_order(of_part, parts) for shell in found]


def with_shells(model: Model, shells: Sequence[Shell], *, setup: FitSetup) -> tuple[Model, BoolArray]:
    """Return the model with one Gaussian for each shell, in the place of its first piece, and who remains.

    Groups that lose sources are not fitted.
    """
    problem, sources = model.problem, model.sources.copy()
    start, fixed, variance = problem.start.copy(), problem.fixed.copy(), problem.prior_variance.copy()
    shift, largest = problem.shift.copy(), problem.largest_sigma.copy()
    kept = np.ones(len(sources), dtype=bool)
    for pieces, gaussian in shells:
        first = pieces.min()
        kept[pieces], kept[first] = False, True
        start[first] = sources[first] = gaussian
        fixed[first], variance[first], largest[first] = False, 0.0, np.inf
        shift[first] = _SHIFT * FWHM_PER_SIGMA * gaussian[gaussians.SIGMA_1]
    problem = replace(
        problem, start=start, fixed=fixed, prior_variance=variance, shift=shift, largest_sigma=largest
    )
    return remove_sources(model._replace(problem=problem, sources=sources), kept, setup=setup), kept


def shells_of_model(model: Model, *, setup: FitSetup, solver: SolverOptions) -> list[Shell]:
    """Return the shells among the fitted sources of a map."""
    groups, largest = with_other_sources(model.groups, model.sources), setup.sigma_limits[1]
    return find_shells(groups, beam_fwhm=model.problem.beam_fwhm, largest_sigma=largest, solver=solver)


def _shells_of(group: Group, limits: tuple[float, float], solver: SolverOptions) -> list[Shell]:
    sources = group.fitted.parameters
    x, y = sources[:, gaussians.X], sources[:, gaussians.Y]
    widths, peaks = FWHM_PER_SIGMA * sources[:, gaussians.SIGMA_1], sources[:, gaussians.AMPLITUDE]
    label = friends_of_friends(x, y, linking_length=_LINK, sizes=widths)
    found = []
    for k in range(label.max() + 1):
        own = np.flatnonzero((label == k) & (sources[:, gaussians.SIGMA_1] < AT_LARGEST * limits[1]))
        own = own[peaks[own] >= _FAINTEST * peaks[own].max(initial=0.0)]
        ring = _ring_of(group, own, limits, solver) if own.size > 1 else None
        if ring is not None:
            found.append(Shell(group.members[own], rings.as_gaussian(ring)))
    return found


def _ring_of(
    group: Group, own: IntArray, limits: tuple[float, float], solver: SolverOptions
) -> FloatArray | None:
    """Return the ring (7,) that describes sources of a group nearly as well as they do; None if none does."""
    sources, project = group.fitted.parameters, group.whitener.project
    y, x = group.pixels.y.astype(np.float64), group.pixels.x.astype(np.float64)
    values = group.values - gaussians.gaussian_sum(np.delete(sources, own, axis=0), y, x)
    pieces = gaussians.gaussian_sum(sources[own], y, x)

    def problem(parameters: FloatArray, _: IntArray) -> tuple[FloatArray, FloatArray]:
        value, jacobian = rings.ring_and_jacobian(parameters[0], y, x)
        return project(value - values)[None], project(jacobian)[None]

    start = _first_guess(sources[own])
    lower, upper = _bounds(start, limits[0])
    scale = np.ones(rings.N_PARAMETERS)
    scale[gaussians.AMPLITUDE] = np.abs(values).max(initial=np.finfo(np.float64).tiny)
    found = levenberg_marquardt(
        problem, start[None], lower=lower[None], upper=upper[None], options=solver, x_scale=scale[None]
    )
    ring, power = found.parameters[0], float(np.sum(project(pieces) ** 2))
    left = 2.0 * float(found.cost[0]) - float(np.sum(project(values - pieces) ** 2))
    large = float(rings.as_gaussian(ring)[_SIGMAS].max())
    if found.status[0] <= 0 or ring[rings.RADIUS] < _LEAST_RADIUS or large > limits[1]:
        return None
    most, longest = (_LEFT_OF_TWO, _LONGEST_OF_TWO) if own.size == 2 else (_LEFT_OF_MORE, _LONGEST_OF_MORE)
    is_short = max(ring[_SIGMAS]) <= longest * min(ring[_SIGMAS])
    return ring if left <= -_CLEARLY or (is_short and left <= most * power) else None


def _first_guess(pieces: FloatArray) -> FloatArray:
    """Return the ring with the flux, the centre and the second moments of pieces (n, 6)."""
    flux, places = gaussians.gaussian_flux(pieces), pieces[:, [gaussians.X, gaussians.Y]]
    centre = np.average(places, axis=0, weights=flux)
    away = places - centre
    covariance = gaussians.covariances(pieces) + away[:, :, None] * away[:, None, :]
    return rings.from_moments(
        float(flux.sum()), centre, np.average(covariance, axis=0, weights=flux), radius=_FIRST_RADIUS
    )


def _bounds(start: FloatArray, least_sigma: float) -> tuple[FloatArray, FloatArray]:
    lower, upper = np.full(start.size, -np.inf), np.full(start.size, np.inf)
    reach = _FIRST_RADIUS * start[gaussians.SIGMA_1]
    for axis in (gaussians.X, gaussians.Y):
        lower[axis], upper[axis] = start[axis] - reach, start[axis] + reach
    for axis in (gaussians.SIGMA_1, gaussians.SIGMA_2):
        lower[axis], upper[axis] = least_sigma, max(4.0 * reach, least_sigma)
    lower[[gaussians.AMPLITUDE, rings.RADIUS]], upper[rings.RADIUS] = 0.0, _LARGEST_RADIUS
    return lower, upper
