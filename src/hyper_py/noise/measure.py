"""Measuring noise and background as one random field: its covariance, and its rms over the map."""

import math
from dataclasses import replace

import numpy as np
from scipy import ndimage

from hyper_py.arrays import BoolArray, FloatArray
from hyper_py.noise.covariance import (
    AGAINST_NEIGHBOURS,
    CovarianceModel,
    autocovariance,
    beam_covariance_model,
    clipped_statistics,
    covariance_model,
    local_rms_map,
    mesh_rms,
)
from hyper_py.noise.filtered import tempered
from hyper_py.noise.holes import without_holes
from hyper_py.numerics import gaussians
from hyper_py.numerics.mesh import MeshMap, cell_counts, mesh_map
from hyper_py.numerics.parallel import in_order, once
from hyper_py.numerics.tiles import (
    LazyPlane,
    Plane,
    Where,
    combined,
    grown,
    kept_like,
    sample,
    size_of,
    tiles,
)
from hyper_py.numerics.trend import Trend, cell_means, fit_surface, fit_trend

_FEWEST_BEAMS = 50
"""With fewer beams outside sources than this the covariance is assumed, not measured."""
_FEWEST_FILTERED_BEAMS = 400
"""With fewer, the power spectrum is too uncertain to say that a map lacks scales.

A map of 375 beams in a frame of blank pixels was taken for an interferometer's.
"""
_SMALL_SCALE_BEAMS = 1.0
"""The rms that matters for a source is that of structure of its own size."""

_MASK_SIGMA = 3.0
"""Sources are masked to this many sigma where the noise is measured."""
REACH_BEAMS = 16.0
"""Largest separation of the fit pixels of one group of compact sources, in beams."""
_LEAST_LEFT = 0.6
"""Where blanks are scattered few pixels have all their neighbours: this share of them is needed."""
_MESH_BEAMS = 10.0
"""Side in beams of the cells of the local rms: some 100 beams each, so that it is known to 7%.

Larger ones miss noise that changes by factors within 20 beams, smaller ones take cirrus for noise.
"""

_SMOOTH_LEVEL, _FEWEST_SMOOTH_BEAMS = 50.0, 4.0
"""Where the means of cells of the mesh scatter by more than so many times the noise, the background is far
smoother than any random field of its strength, and is subtracted; cells are no smaller than so many beams.
The scatter is at most 20 times the noise on simulated cirrus and complexes; where it was 80 times, errors
were a third too large (benchmarks/results/defects.md).
"""
_SMOOTH_TOLERANCE = 1.0
"""How well the surface follows the means of the cells, in units of the noise."""

_MOST_CLEANINGS = 4
"""Times that holes are looked for, at most: deep ones hide others, since they move the plane."""


def outside_sources(
    data: Plane, sources: FloatArray, *, subtract: bool = False, n_sigma: float = _MASK_SIGMA
) -> Plane:
    """Return a map with the pixels of sources blank, the wings of these subtracted or not.

    Parameters
    ----------
    data : Plane, shape (ny, nx)
    sources : ndarray, shape (n, 6)
        In the order of `hyper_py.numerics.gaussians`.
    subtract : bool
        Whether to subtract the Gaussians.
    n_sigma : float
        How far sources reach, see `hyper_py.numerics.gaussians.footprints`.

    Returns
    -------
    Plane, shape (ny, nx)
        An array if `data` is one.
    """
    light = gaussians.drawn(sources, size_of(data))
    masked = gaussians.SourcesByPlace(sources, n_sigma=n_sigma)

    def make(rows: slice, columns: slice) -> FloatArray:
        values: FloatArray = data[rows, columns].copy()
        if subtract:
            values -= light[rows, columns]
        values[masked.footprints((rows, columns))] = np.nan
        return values

    return kept_like(LazyPlane(size_of(data), make), data)


def measure_noise(
    residual: Plane,
    mask: BoolArray | None = None,
    *,
    beam_covariance: FloatArray,
    beam_fwhm: float,
    relative: Plane | None = None,
    size: int | None = None,
    reach_beams: float = REACH_BEAMS,
) -> tuple[CovarianceModel, Plane]:
    """Return the covariance of a map's noise and background, and how its rms varies over the map.

    Parameters
    ----------
    residual : Plane, shape (ny, nx)
        Map, sources subtracted if they are known; blank pixels are NaN.
    mask : bool ndarray, shape (ny, nx), optional
        Pixels not to be used, such as those of sources.
    beam_covariance : ndarray, shape (2, 2)
        In pixels^2; its autocorrelation is assumed where the map is too small to measure another.
    beam_fwhm : float
        In pixels.
    relative : Plane, shape (ny, nx), optional
        What is known beforehand of how the noise varies, such as an error map; the rest is measured.
    size : int, optional
        Side of the tiles in which the map is worked on, see `hyper_py.numerics.tiles.tiles`.
    reach_beams : float
        Largest separation for which the covariance is wanted, in beams.

    Returns
    -------
    covariance : CovarianceModel
        Of the residual outside its holes (`hyper_py.noise.holes`), less the plane through it
        (`hyper_py.numerics.trend`), divided by the relative rms.
    relative_rms : Plane, shape (ny, nx)
        Local rms over its median.
    """
    if relative is not None:
        flattened, relative_rms = measure_noise(
            combined(np.divide, residual, relative), mask, beam_covariance=beam_covariance,
            beam_fwhm=beam_fwhm, size=size, reach_beams=reach_beams,
        )  # fmt: skip
        return flattened, combined(np.multiply, relative_rms, relative)
    masked = residual if mask is None else np.where(mask, np.nan, residual[:, :])
    shape, reach = size_of(masked), math.ceil(reach_beams * beam_fwhm)
    masked, relative_rms, trend, n_known = _levels(masked, beam_fwhm=beam_fwhm, size=size)
    masked = combined(np.subtract, masked, trend.plane(shape))
    measurable = min(reach, min(shape) // 3)
    model, n_beams = None, n_known / beam_fwhm**2
    if measurable >= beam_fwhm and n_beams >= _FEWEST_BEAMS:
        flat = combined(np.divide, masked, relative_rms)
        against = kept_like(_against_neighbours(flat), residual)
        lags, sharp = (
            extend_lags(autocovariance(plane, max_lag=measurable), reach=reach) for plane in (flat, against)
        )
        n_left, n_all = once(lambda: (sample(against, size=size).size, sample(flat, size=size).size))
        identifiable = n_left >= _LEAST_LEFT * n_all
        model = covariance_model(lags, sharp=sharp if identifiable else None)
        if model is not None and identifiable and n_beams >= _FEWEST_FILTERED_BEAMS:
            model = tempered(model, lags, sharp, beam_covariance=beam_covariance, n_beams=n_beams)
    if model is None:
        rms = once(lambda: clipped_statistics(sample(masked, size=size)).rms)
        model = beam_covariance_model(beam_covariance, rms=rms if rms > 0.0 else 1.0, max_lag=reach)
    return model, relative_rms


def measure_trend(masked: Plane, *, beam_fwhm: float, size: int | None = None) -> Trend:
    """Return the plane that `measure_noise` subtracts from a map without its sources.

    On it is a smooth surface where the background is far brighter than the noise.
    """
    masked, relative_rms, trend, _ = _levels(masked, beam_fwhm=beam_fwhm, size=size)
    shape = size_of(masked)
    cell = round(min(_MESH_BEAMS * beam_fwhm, min(shape) / 4))
    if cell < _FEWEST_SMOOTH_BEAMS * beam_fwhm:
        return trend
    flat = combined(np.subtract, masked, trend.plane(shape))
    width = _SMALL_SCALE_BEAMS * beam_fwhm
    noise = _small_scale_rms(flat, relative_rms, width=width, size=size)
    scatter = np.nanstd(cell_means(flat, cell=cell, size=size))
    if not noise > 0.0 or not scatter > _SMOOTH_LEVEL * noise:
        return trend
    return replace(
        trend, surface=fit_surface(flat, cell=cell, tolerance=_SMOOTH_TOLERANCE * noise, size=size)
    )


def _small_scale_rms(flat: Plane, relative_rms: Plane, *, width: float, size: int | None) -> float:
    """Return the typical rms of small scales, from a regular grid of a large map."""
    halo = math.ceil(3.0 * width) + 1

    def make(rows: slice, columns: slice) -> FloatArray:
        outer, inner = grown((rows, columns), halo, size_of(flat))
        small: FloatArray = small_scales(flat[outer], width=width)[inner] / relative_rms[rows, columns]
        return small

    def typical() -> float:
        values = sample(LazyPlane(size_of(flat), make), size=size)
        return clipped_statistics(values).rms if values.size else 0.0

    return once(typical)


def _levels(masked: Plane, *, beam_fwhm: float, size: int | None) -> tuple[Plane, MeshMap, Trend, int]:
    """Return a map without its holes, its relative rms, its plane, and how many pixels are known."""
    for _ in range(_MOST_CLEANINGS):
        relative_rms, n_known = _relative_rms(masked, beam_fwhm=beam_fwhm, size=size)
        trend = fit_trend(masked, relative_rms=relative_rms, size=size)
        flat = combined(np.divide, combined(np.subtract, masked, trend.plane(size_of(masked))), relative_rms)
        cleaned = without_holes(masked, flat, beam_fwhm=beam_fwhm, size=size)
        if cleaned is None:
            break
        masked = cleaned
    return masked, relative_rms, trend, n_known


def _relative_rms(masked: Plane, *, beam_fwhm: float, size: int | None) -> tuple[MeshMap, int]:
    """Return the local rms of small scales over its median, or 1; and how many pixels are known."""
    shape = size_of(masked)
    mesh, width = max(8, round(_MESH_BEAMS * beam_fwhm)), _SMALL_SCALE_BEAMS * beam_fwhm
    relative_rms = np.full(tuple(-(-n // mesh) for n in shape), np.nan)
    counts, varies = np.zeros(relative_rms.shape), min(shape) >= 3 * mesh
    uniform = MeshMap.uniform(1.0, shape)
    if varies:  # a slope is structure of small scales at the borders, where the local mean is one-sided
        masked = fit_trend(masked, relative_rms=uniform, size=size).subtracted_from(masked)

    def of_tile(where: Where) -> tuple[FloatArray, FloatArray | None]:
        outer, inner = grown(where, math.ceil(3.0 * width) + 1, shape)
        piece = masked[outer]
        known = cell_counts(np.isfinite(piece[inner]), mesh)
        return known, mesh_rms(small_scales(piece, width=width)[inner], mesh=mesh) if varies else None

    everywhere = list(tiles(shape, size=size, multiple=mesh))
    for where, (known_pixels, rms) in zip(everywhere, in_order(of_tile, everywhere), strict=True):
        place = tuple(slice(part.start // mesh, -(-part.stop // mesh)) for part in where)
        counts[place] = known_pixels
        if rms is not None:
            relative_rms[place] = rms
    n_known = int(counts.sum())
    if not np.isfinite(relative_rms).any():
        return uniform, n_known
    known = np.isfinite(relative_rms)
    order = np.argsort(relative_rms[known])
    below = np.cumsum(counts[known][order])
    middle = float(relative_rms[known][order][np.searchsorted(below, 0.5 * below[-1])])  # over pixels
    return mesh_map(relative_rms / middle, mesh=mesh, shape=shape), n_known


def local_rms(data: Plane, *, mesh: int, size: int | None = None) -> Plane:
    """Return what `hyper_py.noise.covariance.local_rms_map` does, tile by tile unless the map is an array."""
    if isinstance(data, np.ndarray):
        return local_rms_map(data, mesh=mesh)
    shape = size_of(data)
    rms = np.full(tuple(-(-n // mesh) for n in shape), np.nan)
    everywhere = list(tiles(shape, size=size, multiple=mesh))
    found = in_order(lambda where: mesh_rms(data[where], mesh=mesh), everywhere)
    for (rows, columns), cells in zip(everywhere, found, strict=True):
        rms[rows.start // mesh : -(-rows.stop // mesh), columns.start // mesh : -(-columns.stop // mesh)] = (
            cells
        )
    return mesh_map(rms, mesh=mesh, shape=shape)


def small_scales(data: FloatArray, *, width: float) -> FloatArray:
    """Return a map minus its Gaussian-weighted local mean of sigma `width` pixels; NaN takes no part."""
    valid = np.isfinite(data)
    mean, weight = (
        ndimage.gaussian_filter(image, width, mode="constant", truncate=3.0)
        for image in (np.where(valid, data, 0.0), valid.astype(np.float64))
    )
    flattened: FloatArray = data - mean / np.where(valid, weight, 1.0)
    return flattened


def _against_neighbours(data: Plane) -> LazyPlane:
    """Return a map convolved with `AGAINST_NEIGHBOURS`; NaN where a neighbour is, and at the border."""
    shape = size_of(data)

    def make(rows: slice, columns: slice) -> FloatArray:
        outer, inner = grown((rows, columns), 1, shape)
        values = data[outer]
        convolved: FloatArray = ndimage.convolve(values, AGAINST_NEIGHBOURS, mode="constant", cval=np.nan)
        return convolved[inner]

    return LazyPlane(shape, make)


def extend_lags(lags: FloatArray, *, reach: int) -> FloatArray:
    """Return an autocovariance out to `reach`, tapered to zero over its outer half (raised cosine)."""
    measured = lags.shape[0] // 2
    lag = np.minimum(np.abs(np.arange(-reach, reach + 1)), measured)
    taper = 0.5 + 0.5 * np.cos(np.pi * np.clip(2.0 * lag / measured - 1.0, 0.0, 1.0))
    full = np.zeros((2 * reach + 1, 2 * reach + 1))
    inner = slice(reach - measured, reach + measured + 1)
    full[inner, inner] = lags
    tapered: FloatArray = full * taper[:, None] * taper
    return tapered
