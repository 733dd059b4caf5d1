"""The noise of a map as a whole: one number, or one a pixel."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hyper_py.arrays import FloatArray
from hyper_py.numerics.tiles import at, sample


@dataclass(frozen=True, kw_only=True)
class NoiseLevel:
    """Mean of the map and its noise: one number, or one a pixel; Jy/pixel.

    Attributes
    ----------
    mean : float
    rms : float or ndarray of shape (ny, nx)
        A plane if the map is one, see `hyper_py.image.SkyImage`.
    """

    mean: float
    rms: float | FloatArray

    @cached_property
    def typical(self) -> float:
        """Median rms over the map; not a number if no pixel has one."""
        if isinstance(self.rms, float | int):
            return float(self.rms)
        known = sample(self.rms)
        return float(np.median(known)) if known.size else float("nan")

    def at(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Return the rms at the pixels nearest to positions of shape (n,)."""
        if isinstance(self.rms, float | int):
            return np.full(x.shape, self.rms)
        ny, nx = self.rms.shape
        rows = np.clip(np.rint(y).astype(int), 0, ny - 1)
        columns = np.clip(np.rint(x).astype(int), 0, nx - 1)
        return at(self.rms, rows, columns)

    def part(self, rows: slice, columns: slice) -> FloatArray:
        """Return the rms of rows and columns."""
        if isinstance(self.rms, float | int):
            return np.full((rows.stop - rows.start, columns.stop - columns.start), self.rms)
        return self.rms[rows, columns]
