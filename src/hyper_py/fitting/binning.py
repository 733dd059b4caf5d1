"""Fits on a coarser grid where the beam is many pixels wide: a group costs the cube of its fit pixels.

Pixels are averaged in bins of b x b. A Gaussian averaged over a bin is, to fourth order in b / sigma, a
Gaussian whose variance along each axis has grown by that of the bin's pixel centres, (b^2 - 1) / 12.
"""

import math
from dataclasses import replace
from typing import Any

import numpy as np
from scipy import ndimage

from hyper_py.arrays import FloatArray
from hyper_py.fitting.problem import FitProblem
from hyper_py.numerics import gaussians
from hyper_py.numerics.bins import binned
from hyper_py.numerics.tiles import usable

_PIXELS_PER_BEAM = 4.0
"""Binned maps keep at least this many pixels per beam: they lose nothing that a beam can show."""


def bin_size(beam_fwhm: float) -> int:
    """Return the side of the bins for a beam FWHM in pixels; 1 leaves the map as it is."""
    return max(1, int(beam_fwhm / _PIXELS_PER_BEAM))


def binned_sources(sources: FloatArray, size: int) -> FloatArray:
    """Return Gaussians (n, 6) of a map as they are on the map binned by `size`."""
    result = sources.copy()
    spread = (size**2 - 1) / 12.0
    for axis in (gaussians.X, gaussians.Y):
        result[:, axis] = (sources[:, axis] - 0.5 * (size - 1)) / size
    for axis in (gaussians.SIGMA_1, gaussians.SIGMA_2):
        wide = np.sqrt(sources[:, axis] ** 2 + spread)
        result[:, gaussians.AMPLITUDE] *= sources[:, axis] / wide
        result[:, axis] = wide / size
    return result


def unbinned_sources(sources: FloatArray, size: int) -> FloatArray:
    """Return Gaussians (n, 6) of a binned map on the map itself: the inverse of `binned_sources`."""
    result = sources.copy()
    spread = (size**2 - 1) / 12.0
    for axis in (gaussians.X, gaussians.Y):
        result[:, axis] = sources[:, axis] * size + 0.5 * (size - 1)
    for axis in (gaussians.SIGMA_1, gaussians.SIGMA_2):
        wide = sources[:, axis] * size
        # Noise may make a source narrower than a bin; it stays a source.
        narrow = np.sqrt(np.maximum(wide**2 - spread, (0.1 * wide) ** 2))
        result[:, gaussians.AMPLITUDE] *= wide / narrow
        result[:, axis] = narrow
    return result


def binned_beam(covariance: FloatArray, size: int) -> FloatArray:
    """Return the covariance (2, 2) of a beam on a map binned by `size`, in its pixels^2."""
    binned: FloatArray = (covariance + (size**2 - 1) / 12.0 * np.eye(2)) / size**2
    return binned


def binned_problem(problem: FitProblem, size: int) -> FitProblem:
    """Return the same problem on a map binned by `size`."""
    if size == 1:
        return problem
    data = binned(problem.data, size)
    rms: Any = problem.rms if isinstance(problem.rms, float) else binned(problem.rms, size)
    covariance = binned_beam(problem.beam_covariance, size)
    wider = math.sqrt(math.sqrt(np.linalg.det(covariance) / np.linalg.det(problem.beam_covariance)))
    return replace(
        problem,
        data=data,
        usable=usable(data),
        rms=rms,
        relative_rms=None if problem.relative_rms is None else binned(problem.relative_rms, size),
        start=binned_sources(problem.start, size),
        beside=binned_sources(problem.beside, size),
        shift=problem.shift / size,
        largest_sigma=problem.largest_sigma * wider,
        beam_fwhm=problem.beam_fwhm * wider,
        beam_area=problem.beam_area * wider**2,
        beam_covariance=covariance,
        psf_residual=None
        if problem.psf_residual is None
        else binned_around(problem.psf_residual, size) * wider**2 * size**2,
    )


def binned_around(image: FloatArray, size: int) -> FloatArray:
    """Return the means of bins around the central pixel, to the borders of the image."""
    middle = image.shape[0] // 2
    reach = middle // size
    steps = middle + size * np.arange(-reach, reach + 1) + (0.5 if size % 2 == 0 else 0.0)
    means = ndimage.uniform_filter(image, size, mode="constant")
    binned: FloatArray = ndimage.map_coordinates(means, np.meshgrid(steps, steps, indexing="ij"), order=3)
    return binned
