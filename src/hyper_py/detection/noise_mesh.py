"""The noise of a filtered map on a mesh: its level in cells, smooth but for seams."""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from hyper_py.arrays import BoolArray, FloatArray
from hyper_py.numerics.medians import MAD_TO_RMS, medians
from hyper_py.numerics.mesh import MeshMap, fill_nearest
from hyper_py.numerics.tiles import Where

Scalar = TypeVar("Scalar", bound=np.generic)
CELL_BEAMS = 5.0
"""Side of a cell of the mesh in beams; 3 x 3 cells make one level."""
LEAST_SHARE = 0.15
"""A cell needs this share of its pixels free of sources and blanks."""
SEAM_SHARE = 0.5
"""Crowds of sources, cells of which have less than this left by masks, are no louder noise."""
SEAM_VARIANCE, SEAM_CELLS = 3.0, 3
"""Along a seam the levels of 3 x 3 cells, each that of the side it is on, scatter by more than so many times
the variance of the errors of cells (a factor of 1.8), around at least so many cells. One loud cell, such as
of a blend, is no seam."""


class MeshGatherer:
    """Scatter of a filtered map in the cells of a mesh, tile by tile.

    Parameters
    ----------
    shape : (ny, nx)
    fwhm : float
        Of the beam in pixels.
    """

    def __init__(self, shape: tuple[int, int], *, fwhm: float) -> None:
        self.shape, self.cell = shape, cell_side(fwhm)
        cells = tuple(-(-n // self.cell) for n in shape)
        self._rms, self._count, self._valid = np.full(cells, np.nan), np.zeros(cells), np.zeros(cells)

    def __getstate__(self) -> dict[str, Any]:
        """Have other processes, which look at single tiles, begin with nothing."""
        return {key: value for key, value in vars(self).items() if key not in ("_rms", "_count", "_valid")}

    def add(self, where: Where, filtered: FloatArray, usable: BoolArray, valid: BoolArray) -> None:
        """Add a tile that begins at a multiple of the cell."""
        self.put(where, self.cells(filtered, usable, valid))

    def cells(
        self, filtered: FloatArray, usable: BoolArray, valid: BoolArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return rms, number of pixels it is from, and of all that are not blank, in the cells of a tile."""
        values = _by_cell(np.where(usable, filtered, np.nan), self.cell)
        count = np.isfinite(values).sum(axis=-1)
        view = (_by_cell(np.where(valid, 1.0, np.nan), self.cell) == 1.0).sum(axis=-1)
        # About 0, which a filtered map has for its mean: a cell's own median would follow its few beams.
        rms = MAD_TO_RMS * medians(np.abs(values), count)
        enough = count > np.maximum(30, LEAST_SHARE * view)
        return np.where(enough & (rms > 0.0), rms, np.nan), np.where(enough, count, 0.0), view.astype(float)

    def put(self, where: Where, cells: tuple[FloatArray, FloatArray, FloatArray]) -> None:
        """Put the cells of a tile in their place."""
        place = tuple(slice(part.start // self.cell, -(-part.stop // self.cell)) for part in where)
        self._rms[place], self._count[place], self._valid[place] = cells

    def mesh_rms(self, *, otherwise: Callable[[], float]) -> MeshMap:
        """Return the local rms, as far as it can be told from one that is the same everywhere.

        Where nothing is known it is `otherwise()` everywhere.

        Neighbouring cells differ by the error of their estimates; the scatter of the levels beyond what
        that error explains is real. The logarithm is drawn to its mean by the share that is not.
        """
        known = np.isfinite(self._rms)
        if not known.any():
            return MeshMap.uniform(otherwise(), self.shape)
        logarithm, error = self._logarithm()
        levels, _ = _means(logarithm, self._count, side=3)
        view = levels[known]
        middle, scatter = float(np.median(view)), float(np.var(view))
        trust = max(0.0, 1.0 - error / (9.0 * scatter)) if error and scatter > 0.0 else 1.0
        return MeshMap(np.exp(middle + trust * (levels - middle)), self.cell, self.shape)

    def seams(self) -> MeshMap | None:
        """Return the local rms beside seams, such as those of a mosaic, 0 elsewhere; None without any.

        There `mesh_rms` is a mean of both sides. The louder side reaches half a cell beyond its own: noise
        that is cut off has its peaks there.
        """
        logarithm, error = self._logarithm()
        if min(self._rms.shape) < 3 or not error > 0.0:
            return None
        sharp = _most_even(*_means(logarithm, self._count, side=2))
        free = ndimage.minimum_filter(self._count - SEAM_SHARE * self._valid, 3) >= 0.0
        near = free & np.isfinite(sharp) & _are_seams(sharp, free, error=error)
        if not near.any():
            return None
        halves = _halved(np.where(near, np.exp(sharp), 0.0))
        louder = np.where(_halved(near), ndimage.maximum_filter(halves, 3), 0.0)
        return MeshMap(louder, 0.5 * self.cell, self.shape)

    def _logarithm(self) -> tuple[FloatArray, float]:
        """Return the logarithms of cells, 0 if unknown, and their variance by chance, 0 if unknown."""
        known = np.isfinite(self._rms)
        logarithm = np.log(np.where(known, self._rms, 1.0))
        return logarithm, _error_variance(np.where(known, logarithm, np.nan)) if known.sum() >= 9 else 0.0


def _means(logarithm: FloatArray, count: FloatArray, *, side: int) -> tuple[FloatArray, FloatArray]:
    """Return mean and variance in squares of cells; if none of these has pixels, the mean of the nearest.

    Squares of odd sides are around a cell, others above and to the left of it.
    """
    average = partial(ndimage.uniform_filter, size=side, mode="nearest")
    weight = average(count)
    known = weight > 0.0
    mean, square = (
        np.divide(average(count * values), weight, out=np.full(weight.shape, np.nan), where=known)
        for values in (logarithm, logarithm**2)
    )
    return fill_nearest(mean), np.where(known, square - mean**2, np.inf)


def _most_even(levels: FloatArray, variance: FloatArray) -> FloatArray:
    """Return the level of each cell in the most even of the four squares of 2 x 2 cells that it is in.

    On either side of a seam it is that of the side (Kuwahara et al. 1976, in Digital Processing of Biomedical
    Images, p. 187). It is NaN where none is known.
    """
    # Squares that begin beyond the map are none.
    variance = np.pad(variance[1:, 1:], 1, constant_values=np.inf)
    levels = np.pad(levels[1:, 1:], 1)
    ny, nx = np.array(levels.shape) - 1
    least, sharp = np.full((ny, nx), np.inf), np.full((ny, nx), np.nan)
    for down, right in np.ndindex(2, 2):
        own, level = (values[down : down + ny, right : right + nx] for values in (variance, levels))
        least, sharp = np.minimum(least, own), np.where(own < least, level, sharp)
    return sharp


def _are_seams(sharp: FloatArray, free: BoolArray, *, error: float) -> BoolArray:
    """Return the cells in or beside which the level changes by more than the errors of cells explain."""
    sharp, average = fill_nearest(sharp), partial(ndimage.uniform_filter, size=3, mode="nearest")
    variance = average(sharp**2) - average(sharp) ** 2
    # Squares across the border are of fewer cells than nine.
    uneven = np.pad((free & (variance > SEAM_VARIANCE * error))[1:-1, 1:-1], 1)
    lines, number = ndimage.label(uneven, np.ones((3, 3)))
    long = np.bincount(lines.ravel(), minlength=number + 1) >= SEAM_CELLS
    near: BoolArray = ndimage.binary_dilation(uneven & long[lines])
    return near


def _halved(values: NDArray[Scalar]) -> NDArray[Scalar]:
    """Return the values of cells at the four quarters of each."""
    return np.repeat(np.repeat(values, 2, axis=0), 2, axis=1)


def cell_side(fwhm: float) -> int:
    """Return the side of a cell of the mesh in pixels."""
    return max(8, round(CELL_BEAMS * fwhm))


def _by_cell(values: FloatArray, cell: int) -> FloatArray:
    """Return the pixels of each cell, (rows, columns, cell^2); NaN beyond the map."""
    ny, nx = values.shape
    rows, columns = -(-ny // cell), -(-nx // cell)
    padded = np.full((rows * cell, columns * cell), np.nan)
    padded[:ny, :nx] = values
    return padded.reshape(rows, cell, columns, cell).swapaxes(1, 2).reshape(rows, columns, -1)


def _error_variance(logarithm: FloatArray) -> float:
    """Return half the variance of the differences of neighbouring cells, by their median."""
    differences = np.concatenate([np.diff(logarithm, axis=axis).ravel() for axis in (0, 1)])
    differences = differences[np.isfinite(differences)]
    if not differences.size:
        return 0.0
    return 0.5 * (MAD_TO_RMS * float(np.median(np.abs(differences)))) ** 2
