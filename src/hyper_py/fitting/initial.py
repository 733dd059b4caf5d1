"""Initial values of fits and their bounds, from local peaks and second moments above the background."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray, IntArray
from hyper_py.background.evaluate import backgrounds_at
from hyper_py.background.model import BackgroundModel, NoBackground
from hyper_py.fitting.groups import Bounds
from hyper_py.fitting.problem import FitProblem
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.numerics import gaussians
from hyper_py.numerics.fit_pixels import disc
from hyper_py.numerics.tiles import rows_at

_DISC_BEAMS = 1.2
"""Radius of the discs in which sources are looked at."""


class InitialValues(NamedTuple):
    """Where fits start.

    Attributes
    ----------
    start : ndarray, shape (n, 6)
    moment_sigma : ndarray, shape (n,)
        Larger sigma by second moments; that of the beam where there are none.
    """

    start: FloatArray
    moment_sigma: FloatArray


class AmplitudeFactors(NamedTuple):
    """Bounds of amplitudes over the local peak: smallest of sources alone, and in groups; largest."""

    isolated: float
    grouped: float
    largest: float


def initial_values(
    problem: FitProblem, backgrounds: Sequence[BackgroundModel], *, sigma_limits: tuple[float, float]
) -> InitialValues:
    """Return the local peak and the shape of second moments of each source above the background of its group.

    Where a source shows none, it keeps what the problem says; so do fixed shapes.

    Parameters
    ----------
    problem : FitProblem
    backgrounds : sequence of BackgroundModel
        Of each group.
    sigma_limits : (float, float)
        Smallest and largest sigma in pixels.
    """
    start, sigma = problem.start.copy(), problem.beam_fwhm / FWHM_PER_SIGMA
    below: list[BackgroundModel] = [NoBackground()] * len(start)
    for members, background in zip(problem.partition, backgrounds, strict=True):
        for i in members:
            below[i] = background
    peak, shape = _peaks_and_shapes(problem, below)
    start[:, gaussians.AMPLITUDE] = np.where(np.isfinite(peak), peak, start[:, gaussians.AMPLITUDE])
    known = np.isfinite(shape).all(axis=1) & ~problem.fixed[:, gaussians.SIGMA_1]
    start[known, gaussians.SIGMA_1 : gaussians.THETA] = np.clip(shape[known, :2], *sigma_limits)
    start[known, gaussians.THETA] = shape[known, 2]
    return InitialValues(start, np.where(known, shape[:, 0], sigma))


def initial_bounds(
    problem: FitProblem,
    initial: InitialValues,
    *,
    sigma_limits: tuple[float, float],
    amplitude: AmplitudeFactors | None = None,
    moment_size_factor: float | None = None,
) -> Bounds:
    """Return the bounds of all parameters.

    Parameters
    ----------
    problem : FitProblem
    initial : InitialValues
    sigma_limits : (float, float)
        Smallest and largest sigma in pixels.
    amplitude : AmplitudeFactors, optional
        Amplitudes are free without.
    moment_size_factor : float, optional
        The largest sigma is at least this times that of second moments.
    """
    start, moment_sigma = initial
    smallest, largest = (np.full(len(start), limit) for limit in sigma_limits)
    if moment_size_factor is not None:
        largest = np.maximum(largest, moment_size_factor * moment_sigma)
    free = np.full(len(start), np.inf)
    amplitude_limits = -free, free
    if amplitude is not None:
        factor = np.where(in_groups(problem.partition, len(start)), amplitude.grouped, amplitude.isolated)
        peak = start[:, gaussians.AMPLITUDE]
        ends = np.stack([factor * peak, amplitude.largest * peak])
        amplitude_limits = ends.min(axis=0), ends.max(axis=0)
    bounds = Bounds.around(
        start, sigma_limits=(smallest, largest), amplitude_limits=amplitude_limits, shift=problem.shift
    )
    return bounds.fixed_at(start, problem.fixed)


def in_groups(partition: Sequence[IntArray], n_sources: int) -> BoolArray:
    """Return which sources are fitted together with others."""
    together = np.zeros(n_sources, dtype=bool)
    for members in partition:
        together[members] = len(members) > 1
    return together


def _peaks_and_shapes(
    problem: FitProblem, backgrounds: Sequence[BackgroundModel]
) -> tuple[FloatArray, FloatArray]:
    """Return sources' local peaks, (n,), and the shapes of their second moments, (n, 3); NaN without any."""
    places = problem.start[:, gaussians.Y, None], problem.start[:, gaussians.X, None]
    offsets = disc(_DISC_BEAMS * problem.beam_fwhm)
    y, x = (np.rint(place).astype(int) + offset for place, offset in zip(places, offsets, strict=True))
    values = rows_at(problem.data, y, x) - backgrounds_at(backgrounds, y, x)
    values = np.where(np.isfinite(values), values, np.nan)
    dy, dx = y - places[0], x - places[1]
    centre = (np.abs(dy) <= 1.5) & (np.abs(dx) <= 1.5) & np.isfinite(values)
    peak = np.max(values, axis=1, where=centre, initial=-np.inf)
    covariance = second_moments(values, dy, dx, width=problem.beam_fwhm / FWHM_PER_SIGMA)
    return peak, gaussians.shape_parameters(covariance)


def second_moments(values: FloatArray, dy: FloatArray, dx: FloatArray, *, width: float) -> FloatArray:
    """Return the covariance of positive values under a round Gaussian window, window removed.

    A Gaussian source of covariance S seen through a window of covariance w^2 has the moments
    (S^-1 + w^-2)^-1; inverting this gives S from a few central pixels, whatever lies further out.

    Parameters
    ----------
    values : ndarray, shape (..., n)
        Background-subtracted; NaN is left out.
    dy, dx : ndarray, shape (..., n)
        Distances from the centre in pixels.
    width : float
        Sigma of the window in pixels.

    Returns
    -------
    ndarray, shape (..., 2, 2)
        NaN where the values have no such covariance.
    """
    weights = np.where(values > 0.0, values, 0.0) * np.exp(-0.5 * (dx**2 + dy**2) / width**2)
    with np.errstate(divide="ignore", invalid="ignore"):
        xx, xy, yy = ((weights * a * b).sum(axis=-1) for a, b in ((dx, dx), (dx, dy), (dy, dy)))
        xx, xy, yy = (moment / weights.sum(axis=-1) for moment in (xx, xy, yy))
        determinant = xx * yy - xy**2
        # Of the precision, which is the inverse of the moments minus that of the window.
        px, pxy, py = yy / determinant - width**-2, -xy / determinant, xx / determinant - width**-2
        determinant_2 = px * py - pxy**2
        sound = (determinant > 0.0) & (determinant_2 > 0.0) & (px > 0.0)
        columns = [np.where(sound, value / determinant_2, np.nan) for value in (py, -pxy, -pxy, px)]
    return np.stack(columns, axis=-1).reshape(*sound.shape, 2, 2)
