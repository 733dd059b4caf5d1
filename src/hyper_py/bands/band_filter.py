"""What the matched filter of a band sees: S/N of a source at each pixel, known sources subtracted."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from hyper_py.arrays import BoolArray, FloatArray
from hyper_py.bands.band import Band
from hyper_py.detection.field import Field
from hyper_py.detection.filtering import MASK_BEAMS, Planes, first_mask, measure_filter
from hyper_py.detection.masks import Masks, SourceMask
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.numerics import gaussians

CORE_RESIDUAL, CORE_SMOOTHING = 0.05, 0.25
"""Share of the light of known sources that counts as noise, and the sigma in beams of its smoothing."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FilteredBand:
    """A band less its known sources as its filter sees it.

    Attributes
    ----------
    ratio : ndarray, shape (ny, nx)
        S/N of a source at each pixel; NaN where nothing is looked for.
    flux_noise : float
        Median noise of a source's flux in Jy.
    masked : bool ndarray, shape (ny, nx)
        Near known sources.
    n_beams : float
        Of the pixels that are searched.
    """

    ratio: FloatArray
    flux_noise: float
    masked: BoolArray
    n_beams: float


def filtered_band(band: Band, sources: FloatArray, *, intrinsic: float) -> FilteredBand | None:
    """Return a band less sources as the filter measured on it sees it; None if it does not vary.

    Parameters
    ----------
    band : Band
    sources : ndarray, shape (n, 6)
        In pixels; weights and noise of the filter are measured outside them.
    intrinsic : float
        FWHM in arcsec, before the beam, of the sources that the filter is for.
    """
    beam = band.beam_covariance
    residual = band.data - gaussians.render(sources, band.shape)
    field = Field.of(_in_units_of(band.relative_rms, residual), beam_covariance=beam, size=None)
    del residual
    if field is None:
        return None
    whole = field.smoothed(field.data, alone=True)
    mask = _source_mask(sources, fwhm=field.fwhm)
    masks = Masks(mask, mask) if len(sources) else Masks(*[first_mask(field, whole)] * 2)
    template = float(np.hypot(1.0, intrinsic / band.fwhm))
    view = measure_filter(field, Planes(whole, field.nothing()), masks, before=None, template=template)
    light = np.abs(_in_units_of(band.relative_rms, gaussians.render(sources, band.shape))) / field.scale
    left = CORE_RESIDUAL * ndimage.gaussian_filter(light, CORE_SMOOTHING * field.fwhm)
    ratio, masked = np.full(field.shape, np.nan), np.zeros(field.shape, dtype=bool)
    for where in field.tiles:
        noise = np.hypot(view.rms[where], left[where])
        ratio[where] = np.where(field.inner(where), view.amplitude[where] / noise, np.nan)
        masked[where] = mask(where)
    known = np.isfinite(ratio)
    if not known.any():
        return None
    rms = float(np.median(np.concatenate([view.rms[where].ravel() for where in field.tiles])))
    area = 2.0 * np.pi * template**2 * float(np.sqrt(np.linalg.det(beam)))
    return FilteredBand(
        ratio=ratio, flux_noise=rms * field.scale * area, masked=masked, n_beams=field.n_beams
    )


def _in_units_of(relative: FloatArray | None, data: FloatArray) -> FloatArray:
    return data if relative is None else data / relative


def _source_mask(sources: FloatArray, *, fwhm: float) -> SourceMask:
    """Return a mask around sources, wider where a source is."""
    sigma = np.sqrt(sources[:, gaussians.SIGMA_1] * sources[:, gaussians.SIGMA_2])
    size = np.ceil(4.0 * np.maximum(FWHM_PER_SIGMA * sigma / fwhm, 1.0)) / 4.0
    return SourceMask(sources[:, [gaussians.X, gaussians.Y]], MASK_BEAMS * fwhm * size)
