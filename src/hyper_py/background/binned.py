"""The background of a binned map, on the map itself."""

from dataclasses import dataclass

import numpy as np

from hyper_py.arrays import FloatArray, IntArray
from hyper_py.background.model import BackgroundModel, Painted


@dataclass(frozen=True, kw_only=True, eq=False)
class BinnedBackground:
    """A background on means of `size` x `size` pixels; all pixels of a bin have its value."""

    background: BackgroundModel
    size: int

    @property
    def order(self) -> int:
        """That of the background."""
        return self.background.order

    def at(self, y: IntArray, x: IntArray) -> FloatArray:
        """Return the background at map pixels."""
        return self.background.at(y // self.size, x // self.size)

    def paint(self) -> Painted:
        """Return the background on the pixels that it covers."""
        y, x, values, weights = self.background.paint()
        dy, dx = (offset.ravel() for offset in np.mgrid[: self.size, : self.size])
        fine_y = (y[:, None] * self.size + dy).ravel()
        fine_x = (x[:, None] * self.size + dx).ravel()
        repeat = self.size**2
        return Painted(fine_y, fine_x, np.repeat(values, repeat), np.repeat(weights, repeat))
