"""What every background model can do, and the model of a map that has none."""

from typing import NamedTuple, Protocol

import numpy as np

from hyper_py.arrays import FloatArray, IntArray


class Painted(NamedTuple):
    """Pixels y, x, the background there, and its weight where several models overlap, each (n,)."""

    y: IntArray
    x: IntArray
    values: FloatArray
    weights: FloatArray


class BackgroundModel(Protocol):
    """The background under a group of sources."""

    @property
    def order(self) -> int:
        """Order of the polynomial; -1 if it is none."""

    def at(self, y: IntArray, x: IntArray) -> FloatArray:
        """Return the background at map pixels; NaN where the model says nothing."""

    def paint(self) -> Painted:
        """Return the background on the pixels that the model covers."""


class NoBackground:
    """No background: the map has none, or none is wanted."""

    order = -1

    def at(self, y: IntArray, x: IntArray) -> FloatArray:
        """Return zeros."""
        return np.zeros(np.broadcast(y, x).shape)

    def paint(self) -> Painted:
        """Return no pixels."""
        nothing, none = np.empty(0, dtype=np.int64), np.empty(0)
        return Painted(nothing, nothing, none, none)
