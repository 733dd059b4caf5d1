"""The background of an inverted map, in terms of the map itself."""

from dataclasses import dataclass

from hyper_py.arrays import FloatArray, IntArray
from hyper_py.background.model import BackgroundModel, Painted


@dataclass(frozen=True, kw_only=True, eq=False)
class Inverted:
    """A background that was fitted on a map times -1."""

    background: BackgroundModel

    @property
    def order(self) -> int:
        """That of the background."""
        return self.background.order

    def at(self, y: IntArray, x: IntArray) -> FloatArray:
        """Return the background at map pixels."""
        return -self.background.at(y, x)

    def paint(self) -> Painted:
        """Return the background on the pixels that it covers."""
        y, x, values, weights = self.background.paint()
        return Painted(y, x, -values, weights)
