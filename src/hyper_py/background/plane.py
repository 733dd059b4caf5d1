"""The plane through a map: no random field, and not to be taken for one.

Correlated over any distance, a gradient over the whole map would be the larger part of the covariance of what
is measured as noise and background, and of all errors. It is taken off before, and given back to the
backgrounds.
"""

from dataclasses import dataclass, replace

from hyper_py.arrays import FloatArray, IntArray
from hyper_py.fitting.iterative import FitProblem, Measured, Patch
from hyper_py.noise.measure import measure_trend, outside_sources
from hyper_py.numerics import models
from hyper_py.numerics.trend import Trend


def trend_of(task: FitProblem) -> Trend:
    """Fit a plane to the map of a task outside its sources."""
    masked = outside_sources(task.data, task.start)
    return measure_trend(masked, beam_fwhm=task.beam_fwhm, size=task.tile_size)


def without_trend(task: FitProblem, trend: Trend) -> FitProblem:
    """Return the same task on its map without a plane."""
    return replace(task, data=trend.taken_off(task.data))


@dataclass(frozen=True, kw_only=True, eq=False)
class _RaisedPatch:
    """A piece of background on top of a plane."""

    patch: Patch
    trend: Trend

    def paint(self) -> tuple[IntArray, IntArray, FloatArray, FloatArray]:
        """Return y, x, background and weight of the pixels covered."""
        y, x, values, weights = self.patch.paint()
        return y, x, values + self.trend.at(y, x), weights


def with_trend(measured: Measured, trend: Trend) -> Measured:
    """Return what was measured on a map without a plane in terms of the map itself."""
    under = trend.at(measured.parameters[:, models.Y], measured.parameters[:, models.X])
    return replace(
        measured,
        background=measured.background + under,
        patches=[_RaisedPatch(patch=patch, trend=trend) for patch in measured.patches],
    )
