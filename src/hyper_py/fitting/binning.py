"""Fits on a coarser grid where the beam is many pixels wide: a window costs the cube of its pixels.

Pixels are averaged in blocks of b x b. A Gaussian averaged over a block is, to fourth order in b / sigma, a
Gaussian whose variance along each axis has grown by that of the block's pixel centres, (b^2 - 1) / 12.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from hyper_py.arrays import FloatArray, IntArray
from hyper_py.fitting.iterative import FitProblem, Measured, Patch
from hyper_py.numerics import models
from hyper_py.numerics.tiles import LazyPlane, Plane, usable

_PIXELS_PER_BEAM = 4.0
"""Binned maps keep at least this many pixels per beam: they lose nothing that a beam can show."""


def bin_size(beam_fwhm: float) -> int:
    """Return the side of the blocks for a beam FWHM in pixels; 1 leaves the map as it is."""
    return max(1, int(beam_fwhm / _PIXELS_PER_BEAM))


def block_mean(image: FloatArray, size: int) -> FloatArray:
    """Return the means of blocks, shape (ny // size, nx // size); rows and columns left over are dropped.

    Blank pixels take no part; a block is NaN where less than half of it is seen.
    """
    ny, nx = (n // size for n in image.shape)
    blocks = image[: ny * size, : nx * size].reshape(ny, size, nx, size)
    seen = np.isfinite(blocks)
    count = seen.sum(axis=(1, 3))
    total = np.where(seen, blocks, 0.0).sum(axis=(1, 3))
    return np.where(2 * count >= size * size, total / np.maximum(count, 1), np.nan)


def _binned(image: Plane, size: int) -> Plane:
    """Return the map of the means of blocks: an array where `image` is one."""
    if isinstance(image, np.ndarray):
        return block_mean(image, size)

    def make(rows: slice, columns: slice) -> FloatArray:
        fine = (slice(size * part.start, size * part.stop) for part in (rows, columns))
        return block_mean(image[next(fine), next(fine)], size)

    return LazyPlane((image.shape[0] // size, image.shape[1] // size), make)


def binned_sources(sources: FloatArray, size: int) -> FloatArray:
    """Return Gaussians (n, 6) of a map as they are on the map binned by `size`."""
    result = sources.copy()
    spread = (size**2 - 1) / 12.0
    for axis in (models.X, models.Y):
        result[:, axis] = (sources[:, axis] - 0.5 * (size - 1)) / size
    for axis in (models.SIGMA_1, models.SIGMA_2):
        wide = np.sqrt(sources[:, axis] ** 2 + spread)
        result[:, models.AMPLITUDE] *= sources[:, axis] / wide
        result[:, axis] = wide / size
    return result


def unbinned_sources(sources: FloatArray, size: int) -> FloatArray:
    """Return Gaussians (n, 6) of a binned map on the map itself: the inverse of `binned_sources`."""
    result = sources.copy()
    spread = (size**2 - 1) / 12.0
    for axis in (models.X, models.Y):
        result[:, axis] = sources[:, axis] * size + 0.5 * (size - 1)
    for axis in (models.SIGMA_1, models.SIGMA_2):
        wide = sources[:, axis] * size
        # Noise may make a source narrower than a block; it stays a source.
        narrow = np.sqrt(np.maximum(wide**2 - spread, (0.1 * wide) ** 2))
        result[:, models.AMPLITUDE] *= wide / narrow
        result[:, axis] = narrow
    return result


def binned_beam(covariance: FloatArray, size: int) -> FloatArray:
    """Return the covariance (2, 2) of a beam on a map binned by `size`, in its pixels^2."""
    binned: FloatArray = (covariance + (size**2 - 1) / 12.0 * np.eye(2)) / size**2
    return binned


def binned_task(task: FitProblem, size: int) -> FitProblem:
    """Return the same task on a map binned by `size`."""
    if size == 1:
        return task
    data = _binned(task.data, size)
    rms = block_mean(task.rms, size) if isinstance(task.rms, np.ndarray) else task.rms
    covariance = binned_beam(task.beam_covariance, size)
    wider = math.sqrt(math.sqrt(np.linalg.det(covariance) / np.linalg.det(task.beam_covariance)))
    return replace(
        task,
        data=data,
        usable=usable(data),
        rms=rms,
        relative_rms=None if task.relative_rms is None else _binned(task.relative_rms, size),
        start=binned_sources(task.start, size),
        shift=task.shift / size,
        beam_fwhm=task.beam_fwhm * wider,
        beam_area=task.beam_area * wider**2,
        beam_covariance=covariance,
        beyond=None if task.beyond is None else _binned_around(task.beyond, size) * wider**2 * size**2,
    )


def _binned_around(image: FloatArray, size: int) -> FloatArray:
    """Return the means of blocks around the central pixel, to the borders of the image."""
    middle = image.shape[0] // 2
    reach = middle // size
    steps = middle + size * np.arange(-reach, reach + 1) + (0.5 if size % 2 == 0 else 0.0)
    means = ndimage.uniform_filter(image, size, mode="constant")
    binned: FloatArray = ndimage.map_coordinates(means, np.meshgrid(steps, steps, indexing="ij"), order=3)
    return binned


@dataclass(frozen=True, kw_only=True, eq=False)
class _CoarsePatch:
    """A patch of a binned map, painted on the map itself."""

    patch: Patch
    size: int

    def paint(self) -> tuple[IntArray, IntArray, FloatArray, FloatArray]:
        """Return y, x, background and weight of the pixels covered."""
        y, x, values, weights = self.patch.paint()
        dy, dx = (offset.ravel() for offset in np.mgrid[: self.size, : self.size])
        fine_y = (y[:, None] * self.size + dy).ravel()
        fine_x = (x[:, None] * self.size + dx).ravel()
        repeat = self.size**2
        return fine_y, fine_x, np.repeat(values, repeat), np.repeat(weights, repeat)


def unbinned_measurement(measured: Measured, size: int) -> Measured:
    """Return what was measured on a map binned by `size` in terms of the map itself."""
    parameters = unbinned_sources(measured.parameters, size)
    step = 1e-4 * np.maximum(np.abs(measured.parameters), 1e-2)
    derivative = np.zeros(measured.covariance.shape)
    for k in range(models.N_PARAMETERS):
        shift = np.zeros_like(step)
        shift[:, k] = step[:, k]
        change = unbinned_sources(measured.parameters + shift, size) - unbinned_sources(
            measured.parameters - shift, size
        )
        derivative[:, :, k] = change / (2.0 * step[:, k, None])
    area = float(size**2)
    return replace(
        measured,
        parameters=parameters,
        covariance=derivative @ measured.covariance @ derivative.swapaxes(1, 2),
        flux=measured.flux * area,
        flux_err=measured.flux_err * area,
        flux_gauss_err=measured.flux_gauss_err * area,
        n_blank=measured.n_blank * size**2,
        noise_step=size,
        patches=[_CoarsePatch(patch=patch, size=size) for patch in measured.patches],
    )
