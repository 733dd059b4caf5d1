"""The plane through a map: no random field, and not to be taken for one.

A gradient over the whole map is correlated over any distance. It would be the larger part of the covariance
of what is measured as noise and background, and of all errors. So it is subtracted before, and added to the
backgrounds; with it the smooth part of a background that is far brighter than the noise.
"""

from dataclasses import dataclass

from hyper_py.arrays import FloatArray, IntArray
from hyper_py.background.model import BackgroundModel, Painted
from hyper_py.noise.measure import measure_trend, outside_sources
from hyper_py.numerics.tiles import Plane
from hyper_py.numerics.trend import Trend


def plane_through(
    data: Plane, sources: FloatArray, *, beam_fwhm: float, tile_size: int | None = None
) -> Trend:
    """Fit a plane, and a smooth surface if need be, to a map outside its sources, of shape (n, 6)."""
    return measure_trend(outside_sources(data, sources), beam_fwhm=beam_fwhm, size=tile_size)


@dataclass(frozen=True, kw_only=True, eq=False)
class OnPlane:
    """A background on top of a plane."""

    background: BackgroundModel
    trend: Trend

    @property
    def order(self) -> int:
        """That of the background."""
        return self.background.order

    def at(self, y: IntArray, x: IntArray) -> FloatArray:
        """Return the background at map pixels."""
        values: FloatArray = self.background.at(y, x) + self.trend.at(y, x)
        return values

    def paint(self) -> Painted:
        """Return the background on the pixels that it covers."""
        y, x, values, weights = self.background.paint()
        return Painted(y, x, values + self.trend.at(y, x), weights)
