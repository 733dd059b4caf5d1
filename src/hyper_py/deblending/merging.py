"""Pieces of one source that is no Gaussian, which several Gaussians describe better than one.

Bubbles, ionised shells, planetary nebulae and planets are bright all along a rim, or flat on top. Where one
ring (`hyper_py.numerics.rings`), which has seven parameters, describes several sources nearly as well as they
do themselves, they are its pieces, and one source takes their place. The same holds where two concentric
Gaussians (`hyper_py.numerics.concentric`), with eight, are better than they: discs, and cores with wings.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple, TypeAlias

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray, IntArray
from hyper_py.deblending.model_selection import Model, remove_sources
from hyper_py.fitting.groups import Group, work_parts
from hyper_py.fitting.problem import AT_LARGEST
from hyper_py.fitting.setup import FitSetup
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.numerics import concentric, gaussians, rings
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
"""A ring that leaves so much less in chi-square than the pieces, with fewer parameters, may be longer, and
concentric Gaussians must leave so much less."""
_LEFT_OF_PIECE = 0.5
"""What a profile in the place of pieces leaves of any of them, at most: in complexes it takes the light that
is between sources, and is better than they are, but most of one of them is left. Pieces are explained."""
_BRIGHT = 40.0
"""S/N of all pieces together from which noise shows whether they are concentric Gaussians."""
_WIDER = 1.2, 2.0, 4.0
"""How many times as wide the outer Gaussian is: at least, as a first guess, and at most."""
_LEAST_RIM = 0.6
"""Smallest sigma of a rim in units of the beam's: where a ring is an ellipse, the model makes its rim
narrower along one axis."""
_SHIFT = 0.15
"""How far the centre of the Gaussian of a merger may move, in units of its FWHM."""

_SIGMAS = [gaussians.SIGMA_1, gaussians.SIGMA_2]

_Profile: TypeAlias = Callable[[FloatArray, FloatArray, FloatArray], tuple[FloatArray, FloatArray]]
"""Gives values (n,) and derivatives (p, n) for parameters (p,), at places y and x (n,)."""


class Merger(NamedTuple):
    """Pieces that are one source, as places in the table of sources, and the Gaussian (6,) of its moments."""

    pieces: IntArray
    gaussian: FloatArray


def find_mergers(
    groups: Sequence[Group], *, beam_fwhm: float, largest_sigma: float, solver: SolverOptions
) -> list[Merger]:
    """Return the sources that are pieces of one ring, or of concentric Gaussians.

    Parameters
    ----------
    groups : sequence of Group
        As fitted, with the light of other sources removed.
    beam_fwhm, largest_sigma : float
        Of the beam, and of any source; pixels. What fills that size is no piece of a ring.
    solver : SolverOptions
    """
    limits = _LEAST_RIM * beam_fwhm / FWHM_PER_SIGMA, largest_sigma
    several = [group for group in groups if group.n_sources > 1]
    parts = [[several[k] for k in part] for part in work_parts(several)]

    def of_part(part: Sequence[Group]) -> list[Merger]:
        return [one for group in part for one in _mergers_of(group.prepared(), limits, solver)]

    return [one for found in in_order(of_part, parts) for one in found]


def merge_sources(model: Model, mergers: Sequence[Merger], *, setup: FitSetup) -> tuple[Model, BoolArray]:
    """Return the model with one Gaussian in the place of the first of the pieces, and which sources remain.

    Groups that lose sources are not fitted.
    """
    problem, sources = model.problem, model.sources.copy()
    start, fixed, variance = problem.start.copy(), problem.fixed.copy(), problem.prior_variance.copy()
    shift, largest = problem.shift.copy(), problem.largest_sigma.copy()
    kept = np.ones(len(sources), dtype=bool)
    for pieces, gaussian in mergers:
        first = pieces.min()
        kept[pieces], kept[first] = False, True
        start[first] = sources[first] = gaussian
        fixed[first], variance[first], largest[first] = False, 0.0, np.inf
        shift[first] = _SHIFT * FWHM_PER_SIGMA * gaussian[gaussians.SIGMA_1]
    problem = replace(
        problem, start=start, fixed=fixed, prior_variance=variance, shift=shift, largest_sigma=largest
    )
    return remove_sources(model._replace(problem=problem, sources=sources), kept, setup=setup), kept


def _mergers_of(group: Group, limits: tuple[float, float], solver: SolverOptions) -> list[Merger]:
    sources = group.fitted.parameters
    x, y = sources[:, gaussians.X], sources[:, gaussians.Y]
    widths, peaks = FWHM_PER_SIGMA * sources[:, gaussians.SIGMA_1], sources[:, gaussians.AMPLITUDE]
    label = friends_of_friends(x, y, linking_length=_LINK, sizes=widths)
    found = []
    for k in range(label.max() + 1):
        own = np.flatnonzero((label == k) & (peaks > 0.0))
        bright = own[sources[own, gaussians.SIGMA_1] < AT_LARGEST * limits[1]]
        bright = bright[peaks[bright] >= _FAINTEST * peaks[bright].max(initial=0.0)]
        for some, one in ((own, _concentric), (bright, _ring)):
            gaussian = one(_Pieces(group, some), limits, solver) if some.size > 1 else None
            if gaussian is not None and gaussian[_SIGMAS].max() <= limits[1]:
                found.append(Merger(group.members[some], gaussian))
                break
    return found


@dataclass(frozen=True, eq=False)
class _Pieces:
    """Some sources of a group, which may be pieces of one."""

    group: Group
    own: IntArray

    @property
    def sources(self) -> FloatArray:
        """Their Gaussians, (n, 6)."""
        return self.group.fitted.parameters[self.own]

    @cached_property
    def places(self) -> tuple[FloatArray, FloatArray]:
        """The fit pixels, y and x."""
        return self.group.pixels.y.astype(np.float64), self.group.pixels.x.astype(np.float64)

    @cached_property
    def values(self) -> FloatArray:
        """The data without the other sources of the group."""
        others = np.delete(self.group.fitted.parameters, self.own, axis=0)
        return self.group.values - gaussians.gaussian_sum(others, *self.places)

    @cached_property
    def model(self) -> FloatArray:
        """Their light."""
        return gaussians.gaussian_sum(self.sources, *self.places)

    @cached_property
    def power(self) -> float:
        """Square of their S/N together."""
        return float(np.sum(self.group.whitener.project(self.model) ** 2))

    def fit(
        self, profile: _Profile, start: FloatArray, bounds: tuple[FloatArray, FloatArray], *,
        amplitudes: list[int], solver: SolverOptions,
    ) -> tuple[FloatArray, float]:  # fmt: skip
        """Return the profile in their place, and how much more it leaves in chi-square; inf if it failed."""
        project = self.group.whitener.project

        def problem(parameters: FloatArray, _: IntArray) -> tuple[FloatArray, FloatArray]:
            value, jacobian = profile(parameters[0], *self.places)
            return project(value - self.values)[None], project(jacobian)[None]

        scale = np.ones(start.size)
        scale[amplitudes] = np.abs(self.values).max(initial=np.finfo(np.float64).tiny)
        lower, upper = bounds
        found = levenberg_marquardt(
            problem, start[None], lower=lower[None], upper=upper[None], options=solver, x_scale=scale[None]
        )
        left = 2.0 * float(found.cost[0]) - float(np.sum(project(self.values - self.model) ** 2))
        return found.parameters[0], left if found.status[0] > 0 else np.inf

    def are_explained(self, profile: _Profile, parameters: FloatArray) -> bool:
        """Return whether a profile in their place leaves little of each of them, see `_LEFT_OF_PIECE`."""
        project = self.group.whitener.project
        left = project(self.values - profile(parameters, *self.places)[0])
        lights = [project(gaussians.gaussian_sum(own[None], *self.places)) for own in self.sources]
        return all(light @ left <= _LEFT_OF_PIECE * (light @ light) for light in lights)


def _concentric(pieces: _Pieces, limits: tuple[float, float], solver: SolverOptions) -> FloatArray | None:
    """Return the Gaussian (6,) of concentric ones that describe pieces clearly better; None if none do."""
    if pieces.power < _BRIGHT**2:
        return None
    least, guess, most = _WIDER
    brightest = pieces.sources[np.argmax(gaussians.gaussian_flux(pieces.sources))]
    start = np.append(brightest, [0.3 * brightest[gaussians.AMPLITUDE], guess])
    start[gaussians.AMPLITUDE] *= 0.7
    start[_SIGMAS] *= 0.7
    lower, upper = _bounds(start, limits[0], reach=FWHM_PER_SIGMA * brightest[gaussians.SIGMA_1])
    lower[concentric.OUTER], lower[concentric.WIDER], upper[concentric.WIDER] = 0.0, least, most
    found, left = pieces.fit(
        concentric.concentric_and_jacobian, start, (lower, upper), solver=solver,
        amplitudes=[gaussians.AMPLITUDE, concentric.OUTER],
    )  # fmt: skip
    is_one = left <= -_CLEARLY and pieces.are_explained(concentric.concentric_and_jacobian, found)
    return concentric.as_gaussian(found) if is_one else None


def _ring(pieces: _Pieces, limits: tuple[float, float], solver: SolverOptions) -> FloatArray | None:
    """Return the Gaussian (6,) of a ring that describes pieces nearly as well as they do, if there is one."""
    start = _ring_of_moments(pieces.sources)
    lower, upper = _bounds(start, limits[0], reach=_FIRST_RADIUS * start[gaussians.SIGMA_1])
    lower[rings.RADIUS], upper[rings.RADIUS] = 0.0, _LARGEST_RADIUS
    ring, left = pieces.fit(
        rings.ring_and_jacobian, start, (lower, upper), amplitudes=[gaussians.AMPLITUDE], solver=solver
    )
    if ring[rings.RADIUS] < _LEAST_RADIUS:
        return None
    several = pieces.own.size > 2
    most, longest = (_LEFT_OF_MORE, _LONGEST_OF_MORE) if several else (_LEFT_OF_TWO, _LONGEST_OF_TWO)
    is_short = max(ring[_SIGMAS]) <= longest * min(ring[_SIGMAS])
    is_one = left <= -_CLEARLY or (is_short and left <= most * pieces.power)
    is_one = is_one and pieces.are_explained(rings.ring_and_jacobian, ring)
    return rings.as_gaussian(ring) if is_one else None


def _ring_of_moments(pieces: FloatArray) -> FloatArray:
    """Return the ring with the flux, the centre and the second moments of pieces (n, 6)."""
    flux, places = gaussians.gaussian_flux(pieces), pieces[:, [gaussians.X, gaussians.Y]]
    centre = np.average(places, axis=0, weights=flux)
    away = places - centre
    covariance = gaussians.source_covariance(pieces) + away[:, :, None] * away[:, None, :]
    return rings.from_moments(
        float(flux.sum()), centre, np.average(covariance, axis=0, weights=flux), radius=_FIRST_RADIUS
    )


def _bounds(start: FloatArray, least_sigma: float, *, reach: float) -> tuple[FloatArray, FloatArray]:
    """Return bounds of the parameters that profiles have in common; the others are free."""
    lower, upper = np.full(start.size, -np.inf), np.full(start.size, np.inf)
    for axis in (gaussians.X, gaussians.Y):
        lower[axis], upper[axis] = start[axis] - reach, start[axis] + reach
    lower[_SIGMAS], upper[_SIGMAS] = least_sigma, max(4.0 * reach, least_sigma)
    lower[gaussians.AMPLITUDE] = 0.0
    return lower, upper
