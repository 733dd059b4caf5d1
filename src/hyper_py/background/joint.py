"""Gaussians and a background polynomial in one fit: the polynomial's terms, its order, and what was fitted.

The polynomial is linear in its coefficients, so that a fit with squared residuals eliminates it
(`hyper_py.fitting.group_fit.LinearTerms`); robust losses fit the coefficients along.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray, IntArray
from hyper_py.fitting.group_fit import FitPixels, GroupFit, Whitener, fit_groups, whiten
from hyper_py.numerics import models
from hyper_py.numerics.polynomial import Scaling, evaluate_polynomial, n_terms, polynomial_design

PIXELS_PER_PARAMETER = 2
"""Orders that leave fewer pixels than this for each parameter are not tried."""
_INITIAL_TOLERANCES = {"ftol": 1e-4, "xtol": 1e-4, "gtol": 1e-4}
"""Scores differ by more than what a fit gains beyond this."""
_FOOTPRINT_SIGMA = 2.0
"""Pixels this near a source are not predicted: the source itself is not known without them."""


class BackgroundModel(Protocol):
    """A background under a unit of sources."""

    def at(self, y: IntArray, x: IntArray) -> FloatArray:
        """Return the background at map pixels."""

    def paint(self) -> tuple[IntArray, IntArray, FloatArray, FloatArray]:
        """Return y, x, background and weight of the pixels covered, each of shape (n,)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class NoBackground:
    """No background: the map has none, or none is wanted."""

    def at(self, y: IntArray, x: IntArray) -> FloatArray:
        """Return zeros."""
        return np.zeros(np.broadcast(y, x).shape)

    def paint(self) -> tuple[IntArray, IntArray, FloatArray, FloatArray]:
        """Return no pixels."""
        nothing, none = np.empty(0, dtype=np.int64), np.empty(0)
        return nothing, nothing, none, none


@dataclass(frozen=True, kw_only=True, eq=False)
class JointBackground:
    """The polynomial of a joint fit, on top of a background that was subtracted before.

    Attributes
    ----------
    order : int
    scaling : Scaling
        In map pixels.
    coefficients : ndarray, shape (n_terms,)
    window : FitPixels
        Where it was fitted.
    below : BackgroundModel
    """

    order: int
    scaling: Scaling
    coefficients: FloatArray
    window: FitPixels
    below: BackgroundModel

    def at(self, y: IntArray, x: IntArray) -> FloatArray:
        """Return the background at map pixels."""
        own = evaluate_polynomial(self.coefficients, y, x, order=self.order, scaling=self.scaling)
        return own + self.below.at(y, x)

    def design(self, y: IntArray, x: IntArray) -> FloatArray:
        """Return the values of the polynomial's terms at map pixels, (n, n_terms)."""
        return polynomial_design(y, x, order=self.order, scaling=self.scaling)

    def paint(self) -> tuple[IntArray, IntArray, FloatArray, FloatArray]:
        """Return y, x, background and weight on the pixels of the fit."""
        y, x = self.window.y, self.window.x
        return y, x, self.at(y, x), np.ones(y.shape)


def window_scaling(window: FitPixels) -> Scaling:
    """Return the scaling that takes a window to [-1, 1]; it follows the window when that is shifted."""
    if not window.y.size:
        return Scaling(0.0, 0.0, 1.0, 1.0)
    ends = [(int(axis.min()), int(axis.max())) for axis in (window.y, window.x)]
    (y, y_half), (x, x_half) = ((0.5 * (a + b), max(0.5 * (b - a), 0.5)) for a, b in ends)
    return Scaling(y, x, y_half, x_half)


def affordable_orders(orders: Sequence[int], *, n_pixels: int, n_sources: int) -> list[int]:
    """Return the orders that a window's pixels can tell from the sources; the lowest, if none can."""
    room = n_pixels / PIXELS_PER_PARAMETER - models.N_PARAMETERS * n_sources
    return [order for order in orders if n_terms(order) <= room] or [min(orders)]


def choose_orders(
    values: Sequence[FloatArray],
    windows: Sequence[FitPixels],
    choices: Sequence[dict[int, Whitener]],
    start: Sequence[FloatArray],
    *,
    lower: Sequence[FloatArray],
    upper: Sequence[FloatArray],
    criterion: str,
    rms: Sequence[FloatArray],
    beam_area: float,
    **solver: Any,
) -> list[int]:
    """Return the order of the polynomial of each unit that is best by a criterion.

    Parameters
    ----------
    values, windows, start, lower, upper
        As for `hyper_py.fitting.group_fit.fit_groups`.
    choices : sequence of dict
        Whitener for each order that a unit may have; units with one order only are not fitted.
    criterion : str
        nmse, redchi, bic or cv; see `order_score`.
    rms : sequence of ndarray, shape (n_k,)
        Noise at each pixel.
    beam_area : float
        In pixels.
    **solver
        Options of `fit_groups`.
    """
    trials = [(k, order) for k, c in enumerate(choices) if len(c) > 1 for order in c]
    solver.update(_INITIAL_TOLERANCES)
    fits = fit_groups(
        [values[k] for k, _ in trials],
        [windows[k] for k, _ in trials],
        [choices[k][order] for k, order in trials],
        [start[k] for k, _ in trials],
        lower=[lower[k] for k, _ in trials],
        upper=[upper[k] for k, _ in trials],
        **solver,
    )
    best = [(np.inf, min(c)) for c in choices]
    for (k, order), fit in zip(trials, fits, strict=True):
        fixed = lower[k] >= upper[k]
        score = order_score(
            criterion, fit, values[k], windows[k], choices[k][order],
            fixed=fixed, rms=rms[k], beam_area=beam_area,
        )  # fmt: skip
        best[k] = min(best[k], (score, order))
    return [order for _, order in best]


def order_score(
    criterion: str,
    fit: GroupFit,
    values: FloatArray,
    window: FitPixels,
    whitener: Whitener,
    *,
    fixed: BoolArray,
    rms: FloatArray,
    beam_area: float,
) -> float:
    """Return how good a joint fit is; lower is better.

    Parameters
    ----------
    criterion : str
        nmse: mean(res^2) / mean(data^2); redchi: chi-square over degrees of freedom; bic: chi-square + k ln n
        with n independent beams; cv: mean squared error, in units of the noise, of predicting blocks of
        a beam outside the sources from a fit without them and their neighbours, times 1 + k / n.
        A whitener that whitens makes residuals independent: they are their own beams and blocks.
    fit, values, window, whitener
        The unit as fitted.
    fixed : bool ndarray, shape (n_sources, 6)
    rms : ndarray, shape (n,)
    beam_area : float
    """
    terms = whitener.terms
    if terms is None or not np.isfinite(fit.cost):
        return np.inf
    y, x = window.y.astype(np.float64), window.x.astype(np.float64)
    value, jacobian = models.gaussian_sum_and_jacobian(fit.parameters[None], y[None], x[None])
    left = values - value[0] - terms.design @ fit.coefficients
    free = ~(fixed | fit.at_bound).ravel()
    derivatives = np.vstack([jacobian[0][free], terms.design.T])
    n_free = len(derivatives)
    if criterion == "nmse":
        return float(left @ left) / float(values @ values)
    if whitener.matrix is not None:
        white = whiten(left * whitener.weights, whitener.matrix)
        chi2, n = float(white @ white), float(left.size)
    else:
        n = left.size / beam_area
        chi2 = float(np.sum((left / rms) ** 2)) / beam_area
    if criterion == "redchi":
        return float(chi2 / max(n * (1.0 - n_free / left.size), 1e-9))
    if criterion == "bic":
        return chi2 + n_free * float(np.log(max(n, 1.0)))
    penalty = np.append(np.zeros(n_free - terms.penalty.size), terms.penalty)
    if whitener.matrix is not None:
        error = _left_out_one_by_one(white, whiten(derivatives * whitener.weights, whitener.matrix), penalty)
    else:
        error = _left_out_in_blocks(
            left, derivatives, penalty, whitener.weights, window, ~_near_sources(fit.parameters, window),
            rms=rms, side=float(np.sqrt(beam_area)),
        )  # fmt: skip
    return error * (1.0 + n_free / n)


def _near_sources(sources: FloatArray, window: FitPixels) -> BoolArray:
    a, b, c = models.exponents(sources)
    dy, dx = window.y - sources[:, models.Y, None], window.x - sources[:, models.X, None]
    exponent = a * dx * dx + 2.0 * b * dx * dy + c * dy * dy
    near: BoolArray = np.any(exponent <= 0.5 * _FOOTPRINT_SIGMA**2, axis=0)
    return near


def _left_out_one_by_one(residual: FloatArray, derivatives: FloatArray, penalty: FloatArray) -> float:
    """Return the mean squared residual of each point from a linear fit without it: r / (1 - leverage)."""
    basis = np.linalg.qr(np.vstack([derivatives.T, np.diag(penalty)]))[0][: residual.size]
    leverage = np.minimum(np.sum(basis**2, axis=1), 1.0 - 1e-9)
    squares = (residual / (1.0 - leverage)) ** 2
    return float(squares.mean())


def _left_out_in_blocks(
    left: FloatArray,
    derivatives: FloatArray,
    penalty: FloatArray,
    weights: FloatArray,
    window: FitPixels,
    predicted: BoolArray,
    *,
    rms: FloatArray,
    side: float,
) -> float:
    """Return the mean squared error of predicting square blocks from a fit without them and the next ones."""
    if not predicted.any():
        return np.inf
    row, column = (((v - v.min()) / max(side, 1.0)).astype(np.int64) for v in (window.y, window.x))
    weighted, residual = derivatives * weights, left * weights
    normal = weighted @ weighted.T + np.diag(penalty**2)
    scale = 1.0 / np.sqrt(np.maximum(np.diagonal(normal), np.finfo(np.float64).tiny))
    blocks = np.unique(np.column_stack([row, column])[predicted], axis=0)
    matrices, vectors = np.empty((len(blocks), *normal.shape)), np.empty((len(blocks), len(normal)))
    for i, (r, c) in enumerate(blocks):
        out = (np.abs(row - r) <= 1) & (np.abs(column - c) <= 1)
        matrices[i] = normal - weighted[:, out] @ weighted[:, out].T
        vectors[i] = weighted[:, out] @ residual[out]
    matrices = matrices * scale * scale[:, None] + 1e-9 * np.eye(len(normal))
    change = -scale * np.linalg.solve(matrices, (vectors * scale)[..., None])[..., 0]
    number = np.full((row.max() + 1, column.max() + 1), -1)
    number[blocks[:, 0], blocks[:, 1]] = np.arange(len(blocks))
    block = number[row, column][predicted]
    error = left[predicted] - np.einsum("np,pn->n", change[block], derivatives[:, predicted])
    squares = (error / rms[predicted]) ** 2
    return float(squares.mean())
