"""Candidates of a search: where they are, how significant, how wide."""

from typing import NamedTuple

import numpy as np

from hyper_py.arrays import FloatArray, IndexArray


class Candidates(NamedTuple):
    """Sources found, arrays of n rows.

    Attributes
    ----------
    points : ndarray, shape (n, 2)
        Positions, order (x, y).
    significance : ndarray, shape (n,)
    size : ndarray, shape (n,)
        FWHM in beams.
    step : ndarray of int, shape (n,)
        Side in pixels of the bins of the map on which each was found.
    """

    points: FloatArray
    significance: FloatArray
    size: FloatArray
    step: IndexArray

    @classmethod
    def compact(cls, points: FloatArray, significance: FloatArray) -> "Candidates":
        """Return candidates of the map itself, of the beam's size."""
        n = len(points)
        return cls(points, significance, np.ones(n), np.ones(n, dtype=np.intp))

    @property
    def pixels(self) -> tuple[IndexArray, IndexArray]:
        """Nearest pixels: x, y."""
        x, y = np.rint(self.points).astype(np.intp).T
        return x, y

    def select(self, index: IndexArray) -> "Candidates":
        """Return some of them, in the order of the index."""
        return Candidates(self.points[index], self.significance[index], self.size[index], self.step[index])
