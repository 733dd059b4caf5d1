"""Completeness against flux: a smooth curve that never falls, its limits, and their errors."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.interpolate import BSpline
from scipy.special import expit

from hyper_py.arrays import BoolArray, FloatArray
from hyper_py.injection.binomial import jeffreys_interval

LEVELS = (0.5, 0.8, 0.95)
"""Completeness at which limits are quoted."""
BINS_PER_DEX = 12
"""Bins in which completeness is counted: fluxes 21% apart."""
_FINE_BINS = 80
_INTERVALS = 10
_DEGREE = 3
_PENALTIES = (0.03, 0.3, 3.0, 30.0, 300.0)
TRIALS = 60
_GRID = 241
_RIDGE = 1e-3
_STEPS, _HALVINGS, _TOLERANCE = 60, 30, 1e-10


@dataclass(frozen=True, kw_only=True, eq=False)
class Limit:
    """The flux at which a completeness is reached, with its 1-sigma interval; NaN if it never is."""

    level: float
    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, eq=False)
class CompletenessCurve:
    """Completeness against one quantity: counted in bins, and as a smooth curve.

    Attributes
    ----------
    edges : ndarray, shape (n + 1,)
        Of the bins, logarithmic.
    injected, recovered : ndarray of float, shape (n,)
        Counts.
    x, curve, low, high : ndarray, shape (k,)
        The smooth curve and its 1-sigma band, on a logarithmic grid.
    limits : tuple of Limit
        At `LEVELS`.
    """

    edges: FloatArray
    injected: FloatArray
    recovered: FloatArray
    x: FloatArray
    curve: FloatArray
    low: FloatArray
    high: FloatArray
    limits: tuple[Limit, ...]

    def __call__(self, values: ArrayLike) -> FloatArray:
        """Return the completeness at values of the quantity; beyond the curve that of its nearest end."""
        at = np.log(np.maximum(np.asarray(values, dtype=np.float64), 1e-300))
        result: FloatArray = np.interp(at, np.log(self.x), self.curve)
        return result

    def band(self, values: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Return the 1-sigma band of the curve at values of the quantity."""
        at = np.log(np.maximum(np.asarray(values, dtype=np.float64), 1e-300))
        return np.interp(at, np.log(self.x), self.low), np.interp(at, np.log(self.x), self.high)

    @property
    def centres(self) -> FloatArray:
        """Geometric centres of the bins."""
        centres: FloatArray = np.sqrt(self.edges[1:] * self.edges[:-1])
        return centres

    @property
    def shares(self) -> FloatArray:
        """Recovered over injected in each bin; NaN in empty ones."""
        shares: FloatArray = np.full(self.injected.shape, np.nan)
        some = self.injected > 0
        shares[some] = self.recovered[some] / self.injected[some]
        return shares

    def limit(self, level: float) -> Limit:
        """Return one of the limits."""
        return next(one for one in self.limits if one.level == level)

    @property
    def is_steep(self) -> BoolArray:
        """Bins in which completeness is between 5% and 95%."""
        expected = self(self.centres)
        return (expected > 0.05) & (expected < 0.95)

    @property
    def error(self) -> float:
        """Largest binomial error of a bin in which completeness is between 5% and 95%.

        Half the Jeffreys interval; infinite if there is no such bin or one is empty.
        """
        steep = self.is_steep
        if not steep.any() or (self.injected[steep] == 0).any():
            return math.inf
        low, high = jeffreys_interval(self.recovered[steep], self.injected[steep])
        return float(0.5 * (high - low).max())


def completeness_curve(
    values: FloatArray,
    recovered: BoolArray,
    *,
    seed: int = 0,
    trials: int = TRIALS,
    levels: Sequence[float] = LEVELS,
) -> CompletenessCurve:
    """Measure completeness against a quantity.

    The logit of the curve is a cubic spline in the logarithm of the quantity that never falls. Its steps
    between knots are penalised where they change, so that few counts give a logistic curve; the penalty is
    chosen by AIC. Errors are the scatter of curves fitted to counts drawn from it.

    Parameters
    ----------
    values : ndarray, shape (n,)
        Positive: flux or signal to noise of injected sources.
    recovered : ndarray of bool, shape (n,)
    seed : int
        Of the trials behind the errors.
    trials : int
        Number of sets of counts drawn from the curve; 0 for no errors.
    levels : sequence of float
        Completeness of the limits.
    """
    at, found = np.log(values), np.asarray(recovered, dtype=np.float64)
    model = MonotoneLogit(at)
    whole, part = model.counts(at, np.ones_like(at)), model.counts(at, found)
    coefficients, penalty = model.chosen(part, whole)
    grid = np.linspace(model.low, model.high, _GRID)
    basis = model.basis(grid)
    curve = expit(basis @ coefficients)
    expected = expit(model.design @ coefficients)
    rng = np.random.default_rng((seed, 20))
    drawn = np.tile(curve, (max(trials, 1), 1))
    for trial in drawn[:trials]:
        counts = rng.binomial(whole.astype(np.int64), expected).astype(np.float64)
        trial[:] = expit(basis @ model.fit(counts, whole, penalty=penalty, start=coefficients))
    low, high = np.percentile(drawn, [15.87, 84.13], axis=0)
    edges = np.exp(_edges(model.low, model.high))
    return CompletenessCurve(
        edges=edges,
        injected=np.histogram(values, edges)[0].astype(np.float64),
        recovered=np.histogram(values, edges, weights=found)[0],
        x=np.exp(grid), curve=curve, low=np.minimum(low, curve), high=np.maximum(high, curve),
        limits=tuple(_limit(level, grid, curve, drawn) for level in levels),
    )  # fmt: skip


def log_likelihood(values: FloatArray, recovered: BoolArray) -> float:
    """Return the log-likelihood of the best smooth curve: how well a quantity predicts recovery."""
    at, found = np.log(values), np.asarray(recovered, dtype=np.float64)
    model = MonotoneLogit(at)
    whole, part = model.counts(at, np.ones_like(at)), model.counts(at, found)
    return model.log_likelihood(part, whole, model.chosen(part, whole)[0])


def _edges(low: float, high: float) -> FloatArray:
    """Return edges of bins on multiples of their width, so that they do not depend on the extremes."""
    width = math.log(10.0) / BINS_PER_DEX
    numbers = np.arange(math.floor(low / width), math.ceil(high / width - 1e-9) + 1)
    return width * numbers.astype(np.float64)


def crossing(level: float, grid: FloatArray, curve: FloatArray) -> float:
    """Return where a rising curve reaches a level; NaN if it does not, or did before it begins."""
    if not curve[0] < level <= curve[-1]:
        return math.nan
    k = int(np.argmax(curve >= level))
    share = (level - curve[k - 1]) / (curve[k] - curve[k - 1])
    return float(grid[k - 1] + share * (grid[k] - grid[k - 1]))


def _limit(level: float, grid: FloatArray, curve: FloatArray, trials: FloatArray) -> Limit:
    places = np.array([crossing(level, grid, trial) for trial in trials])
    value = math.exp(crossing(level, grid, curve))
    if np.isnan(places).mean() > 0.16:
        return Limit(level=level, value=value, low=math.nan, high=math.nan)
    low, high = np.exp(np.nanpercentile(places, [15.87, 84.13])).tolist()
    return Limit(level=level, value=value, low=min(low, value), high=max(high, value))


class MonotoneLogit:
    """A logit that never falls, fitted to counts in fine bins: a constant plus rising splines."""

    def __init__(self, at: FloatArray) -> None:
        self.low, self.high = float(at.min()), float(at.max())
        if not self.high > self.low:
            self.low, self.high = self.low - 0.5, self.high + 0.5
        self.edges = np.linspace(self.low, self.high, _FINE_BINS + 1)
        step = (self.high - self.low) / _INTERVALS
        inner = self.low + step * np.arange(-_DEGREE, _INTERVALS + _DEGREE + 1)
        self.knots = inner
        self.design = self.basis(0.5 * (self.edges[1:] + self.edges[:-1]))
        n = self.design.shape[1]
        self.roughness = np.zeros((n - 2, n))
        self.roughness[np.arange(n - 2), np.arange(1, n - 1)] = -1.0
        self.roughness[np.arange(n - 2), np.arange(2, n)] = 1.0

    def basis(self, at: FloatArray) -> FloatArray:
        """Return the constant and the rising splines at points, (k, n): sums of the last B-splines."""
        inside = np.clip(at, self.low, self.high - 1e-9 * (self.high - self.low))
        splines = BSpline.design_matrix(inside, self.knots, _DEGREE).toarray()
        result: FloatArray = np.cumsum(splines[:, ::-1], axis=1)[:, ::-1].copy()
        return result

    def counts(self, at: FloatArray, weights: FloatArray) -> FloatArray:
        """Return sums of weights in the fine bins."""
        return np.histogram(at, self.edges, weights=weights)[0]

    def fit(
        self, part: FloatArray, whole: FloatArray, *, penalty: float, start: FloatArray | None = None
    ) -> FloatArray:
        """Return the coefficients of greatest penalised likelihood.

        By the projected Newton method (Bertsekas 1982, SIAM J. Control Optim. 20, 221): the objective is
        convex, the bounds are simple ones.
        """
        c = np.full(self.design.shape[1], 1.0) if start is None else start
        if start is None:
            c[0] = -3.0
        # Logits of counts of none or all have no bound of their own.
        quadratic = penalty * (self.roughness.T @ self.roughness) + _RIDGE * np.eye(c.size)

        def objective(c: FloatArray) -> float:
            logit = self.design @ c
            return float(np.sum(whole * np.logaddexp(0.0, logit) - part * logit) + 0.5 * c @ quadratic @ c)

        value = objective(c)
        for _ in range(_STEPS):
            p = expit(self.design @ c)
            slope = self.design.T @ (whole * p - part) + quadratic @ c
            free = (c > 0.0) | (slope < 0.0)
            free[0] = True
            curvature = (self.design.T * (whole * p * (1.0 - p))) @ self.design + quadratic
            step = np.zeros_like(c)
            step[free] = np.linalg.solve(curvature[np.ix_(free, free)], slope[free])
            for _ in range(_HALVINGS):
                new = self._bounded(c - step)
                least = float(slope @ (c - new))
                new_value = objective(new)
                if new_value <= value - 1e-4 * least:
                    break
                step *= 0.5
            else:
                break  # as good as rounding allows
            c, value = new, new_value
            if least < _TOLERANCE * max(abs(value), 1.0):
                break
        return c

    @staticmethod
    def _bounded(c: FloatArray) -> FloatArray:
        """Return coefficients of a curve that does not fall: all but the constant are 0 or positive."""
        return np.concatenate([c[:1], np.maximum(c[1:], 0.0)])

    def chosen(self, part: FloatArray, whole: FloatArray) -> tuple[FloatArray, float]:
        """Return the coefficients and the penalty of least AIC."""
        best, least = None, math.inf
        for penalty in _PENALTIES:
            c = self.fit(part, whole, penalty=penalty)
            p = expit(self.design @ c)
            information = (self.design.T * (whole * p * (1.0 - p))) @ self.design
            free = np.concatenate([[True], c[1:] > 1e-8])
            information = information[np.ix_(free, free)]
            total = information + (penalty * self.roughness.T @ self.roughness)[np.ix_(free, free)]
            n_free = float(np.trace(np.linalg.solve(total + _RIDGE * np.eye(len(total)), information)))
            aic = 2.0 * n_free - 2.0 * self.log_likelihood(part, whole, c)
            if aic < least:
                best, least = (c, penalty), aic
        assert best is not None
        return best

    def log_likelihood(self, part: FloatArray, whole: FloatArray, coefficients: FloatArray) -> float:
        """Return the logarithm of the likelihood of counts."""
        logit = self.design @ coefficients
        return float(np.sum(part * logit - whole * np.logaddexp(0.0, logit)))
