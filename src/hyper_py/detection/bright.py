"""Bright sources taken off a map, so that neither they nor the rings of a filter hide what is beside them.

Gaussians are fitted to a map less all the others, those close to each other together. The pipeline may pass
another function of the same kind, see `Fit`.
"""

import math
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray, IndexArray, IntArray
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.numerics.gaussians import (
    AMPLITUDE,
    N_PARAMETERS,
    SIGMA_1,
    SIGMA_2,
    THETA,
    X,
    Y,
    drawn,
    gaussian_sum,
    gaussian_sum_and_jacobian,
    shape_parameters,
)
from hyper_py.numerics.pairs import pairs_within
from hyper_py.numerics.parallel import in_order
from hyper_py.numerics.solvers import SolverOptions, levenberg_marquardt
from hyper_py.numerics.tiles import Plane, combined, kept_like, size_of

Fit: TypeAlias = Callable[[Plane, FloatArray, BoolArray], FloatArray]
"""(map, sources (n, 6), which of them to fit (n,)) -> sources (n, 6); NaN where a fit has failed."""

GROUP_BEAMS = 2.0
"""Sources within this many beams of a brighter one are fitted together with it."""
LARGEST_GROUP = 6
PART_GROUPS = 64
"""Most groups that are fitted at once."""
FIT_BEAMS = 0.9
"""Radius in beams of the pixels around each source that are fitted."""
SIZE_RANGE = (0.5, 4.0)
"""Bounds of both axes in beams (of the smaller and the larger axis of the beam)."""
MOST_AMPLITUDE = 5.0
MOST_LEVEL = 0.5
"""Bounds of amplitudes and of the constant, in units of the group's largest start."""
SOLVER = SolverOptions(ftol=1e-6, xtol=1e-5, gtol=1e-6, max_evaluations=60)


class Cutout(NamedTuple):
    """Pixels (n,) that a group is fitted on: places, and the map less all sources, its own too."""

    y: FloatArray
    x: FloatArray
    values: FloatArray


def beam_sized(
    x: FloatArray, y: FloatArray, amplitude: FloatArray, *, beam_covariance: FloatArray, size: float
) -> FloatArray:
    """Return Gaussians of the beam's shape and `size` times its size, shape (n, 6)."""
    sources = np.empty((x.size, N_PARAMETERS))
    sources[:, AMPLITUDE], sources[:, X], sources[:, Y] = amplitude, x, y
    sources[:, SIGMA_1:] = shape_parameters(size**2 * beam_covariance)
    return sources


def fit_gaussians(
    data: Plane, sources: FloatArray, which: BoolArray, *, beam_covariance: FloatArray
) -> FloatArray:
    """Fit Gaussians, and a constant for each group, by least squares.

    Parameters
    ----------
    data : Plane, shape (ny, nx)
        Map; blank pixels are NaN.
    sources : ndarray, shape (n, 6)
        Start; amplitudes keep their sign.
    which : bool ndarray, shape (n,)
        Those to fit; their groups are fitted whole.
    beam_covariance : ndarray, shape (2, 2)
        Pixels^2, order (x, y).

    Returns
    -------
    ndarray, shape (n, 6)
        NaN where the fit has failed or has run away by more than a beam.
    """
    fitted = sources.copy()
    if not which.any():
        return fitted
    fwhm = FWHM_PER_SIGMA * float(np.linalg.det(beam_covariance)) ** 0.25
    groups = [group for group in partition(sources, length=GROUP_BEAMS * fwhm) if which[group].any()]
    residual = kept_like(combined(np.subtract, data, drawn(sources, size_of(data))), data)
    radius, parts = max(FIT_BEAMS * fwhm, 2.0), []
    for size in sorted({group.size for group in groups}):
        alike = np.array([group for group in groups if group.size == size])
        parts += [alike[first : first + PART_GROUPS] for first in range(0, len(alike), PART_GROUPS)]

    def of_part(members: IndexArray) -> FloatArray:
        cutouts = [_cutout(residual, own, radius=radius) for own in sources[members]]
        return _fit_alike(cutouts, sources[members], beam_covariance, fwhm)

    for members, found in zip(parts, in_order(of_part, parts), strict=True):
        fitted[members] = found
    return fitted


def partition(sources: FloatArray, *, length: float) -> list[IndexArray]:
    """Return groups: the brightest source and those within `length`, then the brightest of the others."""
    points = sources[:, [X, Y]]
    place, near = pairs_within(points, points, length)
    ends = np.searchsorted(place, np.arange(len(points) + 1)).tolist()
    free, brightness, groups = np.ones(len(points), dtype=bool), np.abs(sources[:, AMPLITUDE]), []
    for first in np.argsort(-brightness, kind="stable"):
        if ends[first + 1] - ends[first] == 1:  # itself
            groups.append(np.array([first]))
        elif free[first]:
            own = near[ends[first] : ends[first + 1]]
            others = own[free[own] & (own != first)]
            others = others[np.argsort(-brightness[others], kind="stable")][: LARGEST_GROUP - 1]
            groups.append(np.concatenate([[first], others]))
            free[groups[-1]] = False
    return groups


def _cutout(residual: Plane, group: FloatArray, *, radius: float) -> Cutout:
    """Return the pixels of a map less all sources within a radius of any source of a group (n, 6)."""
    ends = (  # a fit may have left the map
        np.clip([math.floor(at.min() - radius), math.ceil(at.max() + radius) + 1], 0, n).tolist()
        for at, n in zip((group[:, Y], group[:, X]), size_of(residual), strict=True)
    )
    rows, columns = (slice(*end) for end in ends)
    y, x = (np.arange(part.start, part.stop, dtype=np.float64) for part in (rows, columns))
    values = residual[rows, columns]
    squares = (y - group[:, Y, None])[:, :, None] ** 2 + (x - group[:, X, None])[:, None] ** 2
    row, column = np.nonzero(np.isfinite(values) & (squares.min(axis=0) <= radius**2))
    return Cutout(y[row], x[column], values[row, column])


def _fit_alike(
    cutouts: list[Cutout], start: FloatArray, beam_covariance: FloatArray, fwhm: float
) -> FloatArray:
    """Fit groups of one size, shape (b, n, 6), at once."""
    b, n, _ = start.shape
    n_pixels = max(cutout.x.size for cutout in cutouts)
    y, x, values, weight = (np.zeros((b, n_pixels)) for _ in range(4))
    for k, cutout in enumerate(cutouts):
        used = slice(cutout.x.size)
        y[k, used], x[k, used], values[k, used], weight[k, used] = *cutout, 1.0
    values += gaussian_sum(start, y, x)
    scale = np.maximum(np.abs(start[:, :, AMPLITUDE]).max(axis=1), np.finfo(np.float64).tiny)[:, None]

    def problem(parameters: FloatArray, which: IntArray) -> tuple[FloatArray, FloatArray]:
        gaussians = parameters[:, :-1].reshape(-1, n, N_PARAMETERS)
        model, jacobian = gaussian_sum_and_jacobian(gaussians, y[which], x[which])
        jacobian = np.concatenate([jacobian, np.ones((len(which), 1, n_pixels))], axis=1)
        residual = model + parameters[:, -1:] - values[which] / scale[which]
        return residual * weight[which], jacobian * weight[which][:, None]

    relative = start.copy()
    relative[:, :, AMPLITUDE] /= scale
    lower, upper = _bounds(relative, beam_covariance, fwhm)
    constant = np.zeros((b, 1))
    result = levenberg_marquardt(
        problem, np.concatenate([relative.reshape(b, -1), constant], axis=1),
        lower=np.concatenate([lower.reshape(b, -1), constant - MOST_LEVEL], axis=1),
        upper=np.concatenate([upper.reshape(b, -1), constant + MOST_LEVEL], axis=1),
        options=SOLVER,
    )  # fmt: skip
    fitted = result.parameters[:, :-1].reshape(b, n, N_PARAMETERS).copy()
    fitted[:, :, AMPLITUDE] *= scale
    moved = np.hypot(fitted[..., X] - start[..., X], fitted[..., Y] - start[..., Y])
    n_free = N_PARAMETERS * n + 1
    bad = (moved >= 0.99 * fwhm) | (result.status < 0)[:, None]
    bad |= (weight.sum(axis=1) <= n_free)[:, None] | (fitted[..., AMPLITUDE] == 0.0)
    fitted[bad] = np.nan
    return fitted


def _bounds(start: FloatArray, beam_covariance: FloatArray, fwhm: float) -> tuple[FloatArray, FloatArray]:
    """Return bounds of sources, shape (b, n, 6)."""
    lower, upper = np.full(start.shape, -np.inf), np.full(start.shape, np.inf)
    positive = start[..., AMPLITUDE] > 0.0
    lower[..., AMPLITUDE], upper[..., AMPLITUDE] = (
        np.where(positive, 0.0, -MOST_AMPLITUDE),
        np.where(positive, MOST_AMPLITUDE, 0.0),
    )
    for axis in (X, Y):
        lower[..., axis], upper[..., axis] = start[..., axis] - fwhm, start[..., axis] + fwhm
    smallest, largest = np.sqrt(np.linalg.eigvalsh(beam_covariance))
    lower[..., SIGMA_1 : SIGMA_2 + 1] = SIZE_RANGE[0] * smallest
    upper[..., SIGMA_1 : SIGMA_2 + 1] = SIZE_RANGE[1] * largest
    lower[..., THETA], upper[..., THETA] = start[..., THETA] - np.pi, start[..., THETA] + np.pi
    return lower, upper
