"""The noise of a map as a whole: one number, or one a pixel."""

from dataclasses import dataclass

import numpy as np

from hyper_py.arrays import FloatArray


@dataclass(frozen=True, kw_only=True)
class NoiseLevel:
    """Mean of the map and its noise: one number, or one a pixel; Jy/pixel."""

    mean: float
    rms: float | FloatArray

    @property
    def typical(self) -> float:
        """Median rms over the map."""
        return float(np.nanmedian(self.rms))

    def at(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Return the rms at the pixels nearest to positions of shape (n,)."""
        if not isinstance(self.rms, np.ndarray):
            return np.full(x.shape, self.rms)
        ny, nx = self.rms.shape
        rows = np.clip(np.rint(y).astype(int), 0, ny - 1)
        columns = np.clip(np.rint(x).astype(int), 0, nx - 1)
        values: FloatArray = self.rms[rows, columns]
        return values
