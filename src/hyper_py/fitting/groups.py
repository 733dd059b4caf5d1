"""A group: sources that are fitted together, and all that belongs to their fit."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, TypedDict, Unpack

import numpy as np
from numpy.typing import ArrayLike

from hyper_py.arrays import BoolArray, FloatArray, IntArray
from hyper_py.background.joint import JointBackground, JointPolynomial
from hyper_py.background.model import BackgroundModel, NoBackground
from hyper_py.noise.whitener_cache import CACHE_BYTES, WhitenerOnDemand
from hyper_py.noise.whitening import TriangularMatrix, Whitener
from hyper_py.numerics import gaussians
from hyper_py.numerics.fit_pixels import FitPixels, padded_pixels
from hyper_py.numerics.solvers import FitStatus

IN_CACHE = 48
"""Most groups of which all arrays stay in the cache of the processor."""

_PART_GROUPS = 32
"""Most groups of one part of the work: many parts share themselves out evenly."""

_Alike: TypeAlias = tuple[int, TriangularMatrix | None, int, bytes]


@dataclass(frozen=True, kw_only=True, eq=False)
class Bounds:
    """Lower and upper bounds of every parameter of some sources, each (n, 6); equal ones fix a parameter."""

    lower: FloatArray
    upper: FloatArray

    @classmethod
    def around(
        cls,
        start: FloatArray,
        *,
        sigma_limits: tuple[ArrayLike, ArrayLike],
        amplitude_limits: tuple[ArrayLike, ArrayLike],
        shift: ArrayLike,
    ) -> "Bounds":
        """Return the bounds around starting values; the angle is free, being periodic.

        Parameters
        ----------
        start : ndarray, shape (n, 6)
        sigma_limits : (array_like, array_like), each broadcast to (n,)
            Smallest and largest sigma of both axes, in pixels.
        amplitude_limits : (array_like, array_like), each broadcast to (n,)
        shift : array_like, broadcast to (n,)
            Largest move of a centre along x or y, in pixels; 0 fixes it.
        """
        lower, upper = start.copy(), start.copy()
        lower[:, gaussians.AMPLITUDE], upper[:, gaussians.AMPLITUDE] = amplitude_limits
        for axis in (gaussians.X, gaussians.Y):
            lower[:, axis] = start[:, axis] - np.asarray(shift)
            upper[:, axis] = start[:, axis] + np.asarray(shift)
        for axis in (gaussians.SIGMA_1, gaussians.SIGMA_2):
            lower[:, axis], upper[:, axis] = sigma_limits
        lower[:, gaussians.THETA], upper[:, gaussians.THETA] = -np.inf, np.inf
        return cls(lower=lower, upper=upper)

    def fixed_at(self, start: FloatArray, fixed: BoolArray) -> "Bounds":
        """Return the bounds with some parameters fixed at their start."""
        return Bounds(lower=np.where(fixed, start, self.lower), upper=np.where(fixed, start, self.upper))

    def of(self, members: IntArray) -> "Bounds":
        """Return the bounds of some of the sources."""
        return Bounds(lower=self.lower[members], upper=self.upper[members])


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupFit:
    """The fit of one group of `n_sources` sources.

    Attributes
    ----------
    parameters : ndarray, shape (n_sources, 6)
        sigma_1 >= sigma_2, theta in [0, pi).
    at_bound : bool ndarray, shape (n_sources, 6)
    cost : float
        Half the weighted sum of squares, or of the loss.
    status : int
        `hyper_py.numerics.solvers.FitStatus`.
    n_evaluations : int
    coefficients : ndarray, shape (k,)
        Of the whitener's linear terms.
    """

    parameters: FloatArray
    at_bound: BoolArray
    cost: float
    status: int
    n_evaluations: int
    coefficients: FloatArray = field(default_factory=lambda: np.empty(0))

    @property
    def converged(self) -> bool:
        """Whether a stopping criterion was met."""
        return self.status > FitStatus.MAX_EVALUATIONS


class GroupChanges(TypedDict, total=False):
    """Other values of the fields of a `Group`."""

    members: IntArray
    pixels: FitPixels
    data: FloatArray
    noise: Whitener | WhitenerOnDemand
    bounds: Bounds
    fixed: BoolArray
    prior_variance: FloatArray
    noise_scale: float
    rms: FloatArray | None
    background: BackgroundModel
    below: FloatArray
    joint: JointPolynomial | None
    others: FloatArray
    fit: GroupFit | None
    retried: bool
    searched: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """Sources that are fitted together.

    Attributes
    ----------
    members : int ndarray, shape (n_sources,)
        Their places in the table of sources.
    pixels : FitPixels
        Where they are fitted, n pixels.
    data : ndarray, shape (n,)
        The map there.
    noise : Whitener or WhitenerOnDemand
        The cost of a residual.
    bounds : Bounds
        Of their parameters, (n_sources, 6).
    fixed : bool ndarray, shape (n_sources, 6)
        Parameters that are not fitted.
    prior_variance : ndarray, shape (n_sources, 6)
        How uncertain the fixed parameters are; 0 where they are given.
    noise_scale : float
        Local noise in units of that of the covariance of the map.
    rms : ndarray, shape (n,), optional
        Noise of each pixel, where the weights of the fit are others.
    background : BackgroundModel
        Subtracted before the fit.
    below : ndarray, shape (n,)
        The same on the pixels.
    joint : JointPolynomial, optional
        The polynomial that is fitted jointly with the Gaussians.
    others : ndarray, shape (n,) or ()
        Light of the sources of other groups on the pixels.
    fit : GroupFit, optional
    retried : bool
        Whether the fit converged only from another start.
    searched : bool
        Whether the residual of this very fit was searched for further sources.
    """

    members: IntArray
    pixels: FitPixels
    data: FloatArray
    noise: Whitener | WhitenerOnDemand
    bounds: Bounds
    fixed: BoolArray
    prior_variance: FloatArray
    noise_scale: float = 1.0
    rms: FloatArray | None = None
    background: BackgroundModel = field(default_factory=NoBackground)
    below: FloatArray = field(default_factory=lambda: np.zeros(()))
    joint: JointPolynomial | None = None
    others: FloatArray = field(default_factory=lambda: np.zeros(()))
    fit: GroupFit | None = None
    retried: bool = False
    searched: bool = False

    @property
    def n_sources(self) -> int:
        """Number of sources that are fitted."""
        return len(self.bounds.lower)

    @property
    def whitener(self) -> Whitener:
        """The cost of a residual; made if need be."""
        return self.noise if isinstance(self.noise, Whitener) else self.noise.make()

    @property
    def values(self) -> FloatArray:
        """The data that the Gaussians of the group are fitted to."""
        values: FloatArray = self.data - self.below - self.others
        return values

    @property
    def fitted(self) -> GroupFit:
        """The fit.

        Raises
        ------
        ValueError
            If the group was not fitted.
        """
        if self.fit is None:
            raise ValueError("the group has not been fitted")
        return self.fit

    @property
    def background_model(self) -> BackgroundModel:
        """The whole background after the fit: what was subtracted, and what was fitted jointly."""
        if self.joint is None or not self.pixels.y.size:
            return self.background
        return JointBackground(
            polynomial=self.joint, coefficients=self.fitted.coefficients, pixels=self.pixels,
            below=self.background,
        )  # fmt: skip

    def but(self, **changes: Unpack[GroupChanges]) -> "Group":
        """Return the group with other values, as `dataclasses.replace` does, at a tenth of its cost."""
        new = object.__new__(Group)
        vars(new).update(vars(self), **changes)
        return new

    def prepared(self) -> "Group":
        """Return the group with its whitener made; it takes memory as long as this is kept."""
        return self if isinstance(self.noise, Whitener) else self.but(noise=self.noise.make())

    def refitted(self, fit: GroupFit, *, retried: bool = False) -> "Group":
        """Return the group with another fit, which was not searched."""
        return self.but(fit=fit, retried=retried, searched=False)


def memory_batches(groups: Sequence[Group]) -> Iterator[list[int]]:
    """Yield places of groups in batches of which all whitening matrices fit into `CACHE_BYTES`.

    Groups that share a matrix are in one batch. Whiteners that are in memory already are one batch.
    """
    made = [k for k, group in enumerate(groups) if isinstance(group.noise, Whitener)]
    if made:
        yield made
    alike: dict[bytes, list[int]] = {}
    for k, group in enumerate(groups):
        if not isinstance(group.noise, Whitener):
            alike.setdefault(group.noise.key, []).append(k)
    batch: list[int] = []
    size = 0
    for members in alike.values():
        own = 8 * groups[members[0]].pixels.y.size ** 2
        if batch and size + own > CACHE_BYTES:
            yield batch
            batch, size = [], 0
        batch, size = batch + members, size + own
    if batch:
        yield batch


def work_parts(groups: Sequence[Group]) -> list[list[int]]:
    """Return places of groups in parts that may be done side by side, see `hyper_py.numerics.parallel`.

    They depend on the groups alone. All whitening matrices of a part fit into `CACHE_BYTES`.
    """
    return [
        batch[first : first + _PART_GROUPS]
        for batch in memory_batches(groups)
        for first in range(0, len(batch), _PART_GROUPS)
    ]


def alike_groups(
    groups: Sequence[Group], *, most: int = IN_CACHE, same_shape: bool = False
) -> Iterator[list[int]]:
    """Yield places of at most so many groups alike: as many sources, the same matrix, as many terms.

    Groups with a similar number of pixels are side by side; with `same_shape` all have pixels of one shape.

    Parameters
    ----------
    groups : sequence of Group
        With their whiteners made, see `Group.prepared`.
    """
    alike: dict[_Alike, list[int]] = {}
    for k, group in enumerate(groups):
        whitener = group.whitener
        key = group.n_sources, whitener.matrix, whitener.n_terms, group.pixels.key if same_shape else b""
        alike.setdefault(key, []).append(k)
    for members in alike.values():
        members.sort(key=lambda k: groups[k].pixels.y.size)
        yield from (members[i : i + most] for i in range(0, len(members), most))


def points_and_weights(groups: Sequence[Group]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return y, x and weights of groups, each (n_groups, n), zero beyond a group's own pixels."""
    y, x = (axis.astype(np.float64) for axis in padded_pixels([group.pixels for group in groups]))
    weights = np.zeros(y.shape)
    for row, group in zip(weights, groups, strict=True):
        own = group.whitener.weights
        row[: own.size] = own
    return y, x, weights
