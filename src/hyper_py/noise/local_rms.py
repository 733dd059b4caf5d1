"""The local noise of a filtered map: clipped squares in the cells of a mesh, smoothed over neighbours."""

import numpy as np
from scipy import ndimage

from hyper_py.arrays import BoolArray, FloatArray
from hyper_py.numerics.mesh import MeshMap, cell_counts, cell_sums, coarse_map
from hyper_py.numerics.tiles import Where, grown

CLIPPED_GAUSSIAN_RMS = 0.98658
"""Rms of a normal distribution cut off at 3 sigma."""
_LEAST_SHARE = 0.05
"""The rms of a cell needs this share of the pixels in reach."""
WEIGHTS = np.array([0.25, 0.5, 0.25])
"""Of a cell and its neighbours on either axis: with cells of half a window about a triangle of its FWHM."""


class NoiseMesh:
    """Gathers the squares of a map of mean zero, block by block.

    Parameters
    ----------
    shape : (ny, nx)
    cell : int
        Side of a cell in pixels; blocks must begin at multiples of it.
    """

    def __init__(self, shape: tuple[int, int], *, cell: int) -> None:
        self.shape, self.cell = shape, cell
        cells = tuple(-(-n // cell) for n in shape)
        self._total, self._count, self._known = (np.zeros(cells) for _ in range(3))

    def add(self, where: Where, data: FloatArray, *, usable: BoolArray, expected: FloatArray) -> None:
        """Add a block.

        Pixels beyond three times the local noise are left out. That noise is measured without those beyond
        five times the expected noise.

        Parameters
        ----------
        where : (slice, slice)
            Its rows and columns.
        data : ndarray, shape (ny, nx)
            Of the block and of the cells around it; finite where it is not blank.
        usable : bool ndarray, shape (ny, nx)
            False on sources and blank pixels.
        expected : ndarray, shape (ny, nx)
            Noise.
        """
        (rows, columns), _ = grown(where, self.cell, self.shape)
        square = data * data
        used = usable & (square <= 25.0 * expected * expected)
        total, count = (
            smooth(cell_sums(np.where(used, square, 0.0), self.cell)),
            smooth(cell_counts(used, self.cell)),
        )
        mean = np.divide(total, count, out=np.zeros(total.shape), where=count > 0.0)
        limit = np.repeat(np.repeat(9.0 * mean, self.cell, axis=0), self.cell, axis=1)
        used = usable & (square <= limit[: data.shape[0], : data.shape[1]])
        place = tuple(slice(part.start // self.cell, -(-part.stop // self.cell)) for part in where)
        own = tuple(
            slice(part.start - out.start // self.cell, part.stop - out.start // self.cell)
            for part, out in zip(place, (rows, columns), strict=True)
        )
        self._known[place] = cell_counts(np.isfinite(data), self.cell)[own]
        self._total[place] = cell_sums(np.where(used, square, 0.0), self.cell)[own]
        self._count[place] = cell_counts(used, self.cell)[own]

    def level(self, *, correlated_area: float, otherwise: float) -> MeshMap:
        """Return the local rms, as far as it differs significantly from the global one.

        The scatter of its logarithm over the map is partly that of the estimate itself; the logarithm is
        drawn to its mean by that share, so that a map of uniform noise gets a uniform rms.

        Parameters
        ----------
        correlated_area : float
            Number of pixels that count as one independent value of the square.
        otherwise : float
            The rms of a map that shows none.
        """
        total, count = (smooth(values) for values in (self._total, self._count))
        whole = smooth(np.full(self._total.shape, float(self.cell**2)))
        share = count / whole
        known = (share > _LEAST_SHARE) & (total > 0.0)
        if not known.any():
            return MeshMap(np.full(share.shape, otherwise), self.cell, self.shape)
        logarithm = 0.5 * np.log(np.divide(total, count, out=np.ones(share.shape), where=known))
        shown = known & (self._known > 0)
        shown = shown if shown.any() else known
        # Pixels that count fully: 1 / sum of the squared weights, on both axes.
        n_pixels = (self.cell / float(np.sum(WEIGHTS**2))) ** 2
        independent = max(n_pixels * float(share[shown].mean()) / correlated_area, 1.0)
        middle, scatter = float(logarithm[shown].mean()), float(logarithm[shown].var())
        trust = max(0.0, 1.0 - 0.5 / independent / scatter) if scatter > 0 else 0.0
        rms = np.exp(middle + trust * (logarithm - middle)) / CLIPPED_GAUSSIAN_RMS
        return coarse_map(np.where(known, rms, np.nan), mesh=self.cell, shape=self.shape)


def smooth(values: FloatArray, *, weights: FloatArray = WEIGHTS) -> FloatArray:
    """Return the weighted sums of cells and their neighbours; beyond the map there is nothing."""
    for axis in (0, 1):
        values = ndimage.correlate1d(values, weights, axis=axis, mode="constant")
    return values
