"""A beam measured on an image of the point spread function, for beams that are not Gaussian."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from hyper_py.arrays import FloatArray, IndexArray
from hyper_py.diagnostics import InputError
from hyper_py.geometry import (
    FWHM_PER_SIGMA,
    GAUSSIAN_AREA,
    Beam,
    PsfResidual,
    ellipse_from_covariance,
)
from hyper_py.reading.fits_files import choose_hdu, map_name, open_fits, read_plane, warnings_into
from hyper_py.reading.headers import number_or_none

_MOST_PIXELS = 100_000_000
_DIRTY = 0.5
"""Share of the area of the core's Gaussian below which a beam is a dirty one."""
_ARCSEC = {"": 3600.0, "deg": 3600.0, "degree": 3600.0, "arcmin": 60.0, "arcsec": 1.0}
_SHAPE, _PEAK = 0.2, 0.5
"""Fractions of the peak above which the shape of a point source, and its peak, are fitted."""


def beam_from_psf(path: str | Path, *, pixel: float | None = None, hdu: int | str | None = None) -> Beam:
    """Return the beam of a point spread function: FWHM of its core, and its whole area.

    The core above a fifth of the peak is fitted by an elliptical Gaussian, as a source is. The area is the
    sum over the image divided by the peak, which is fitted to the core above its half: so that Jy/beam maps
    calibrated on the peak get the right integral. Flux outside the image is not included. The width of the
    wings is chosen such that `Beam.flux_factor` is right for a source of the core's own size.

    The dirty beam of an interferometer has no integral, as no baseline is zero. An image whose area is below
    half of its core's is taken for one: its Gaussian is fitted to the main lobe above half of the peak, as
    the CLEAN beam is that maps in Jy/beam are restored with, and its area is that of this Gaussian.

    Parameters
    ----------
    path : str or Path
        FITS image of a point source, background removed, any unit.
    pixel : float, optional
        Side of a pixel in arcsec; needed if the file does not say.
    hdu : int or str, optional
        Found if not given.

    Returns
    -------
    Beam
        Its angle takes +y as north and +x as west, unless the header has them the other way.

    Raises
    ------
    InputError
        If the size of the pixels is unknown, or the image holds no point source.
    """
    with open_fits(path) as file, warnings_into(file.notes):
        index = choose_hdu(file, hdu, option="survey.psf_hdu")
        header, axes = file.header(index), len(file.images[index])
        if math.prod(file.images[index][-2:]) > _MOST_PIXELS:
            raise InputError(
                f"{map_name(path)}: {file.images[index]} pixels: too large for an image of a PSF"
            )
        data = read_plane(file, index, x=1, y=2, fixed=dict.fromkeys(range(3, axes + 1), 0))
        sides = _pixel_sides(header)
    name = map_name(path)
    if pixel is not None:
        if not 0 < pixel < math.inf:
            raise InputError(f"{name}: survey.psf_pixel of {pixel} arcsec: must be a positive number")
        sides = tuple(math.copysign(pixel, side) for side in sides or (-1.0, 1.0))
    if sides is None:
        raise InputError(
            f"{name}: the size of the PSF's pixels is not in the header: set survey.psf_pixel (arcsec)"
        )
    # To a grid whose +x is west and +y north.
    scale = np.diag([-sides[0], sides[1]])
    peak, centre, covariance = _gaussian(data, name)
    ellipse = ellipse_from_covariance(scale @ covariance @ scale)
    area = float(np.nansum(data) / peak * abs(sides[0] * sides[1]))
    squared = float(ellipse.major * ellipse.minor)
    dirty = area < _DIRTY * GAUSSIAN_AREA * squared
    wings = math.inf
    if dirty:
        peak, centre, covariance = _main_lobe(data, name)
        ellipse = ellipse_from_covariance(scale @ covariance @ scale)
    else:
        wings = _wings(data, name, scale, squared_fwhm=squared, core=GAUSSIAN_AREA * squared / area)
    return Beam(
        major=float(ellipse.major),
        minor=float(ellipse.minor),
        pa=float((np.degrees(ellipse.angle) - 90.0) % 180.0),
        area=None if dirty else area,
        wings=wings,
        psf_residual=PsfResidual(
            values=_without_gaussian(data / peak, centre, covariance),
            centre=centre,
            sides=(sides[0], sides[1]),
        ),
        source=f"PSF image {Path(path).name}",
    )


def _pixel_sides(header: Any) -> tuple[float, ...] | None:
    """Return the signed sides of a pixel along x and y in arcsec; None if the header does not give them."""
    for keys in (("CDELT1", "CDELT2"), ("CD1_1", "CD2_2")):
        sides = [number_or_none(header, key) for key in keys]
        units = [_ARCSEC.get(str(header.get(f"CUNIT{i}", "")).strip().lower()) for i in (1, 2)]
        if all(sides) and all(units):
            return tuple(
                float(side or 0.0) * float(unit or 0.0) for side, unit in zip(sides, units, strict=True)
            )
    return None


def _gaussian(data: FloatArray, name: str) -> tuple[float, tuple[float, float], FloatArray]:
    """Return the peak, the centre (x, y) and the covariance (pixels^2) that a fit to such a source has."""
    _, centre, covariance = _core(data, name, _SHAPE)
    return _core(data, name, _PEAK)[0], centre, covariance


def _without_gaussian(data: FloatArray, centre: tuple[float, float], covariance: FloatArray) -> FloatArray:
    """Return an image without a Gaussian of peak 1."""
    offsets = np.moveaxis(np.indices(data.shape)[::-1], 0, -1) - np.array(centre)
    inverse = np.linalg.inv(covariance)
    rest: FloatArray = np.nan_to_num(data) - np.exp(-0.5 * np.sum(offsets @ inverse * offsets, axis=-1))
    return rest


def _wings(data: FloatArray, name: str, scale: FloatArray, *, squared_fwhm: float, core: float) -> float:
    """Return the FWHM of the wings for which `Beam.flux_factor` is right for a source of the core's size.

    `core` is the area of the core's Gaussian over the whole; the factor's formula is solved for the wings.
    """
    sigma = math.sqrt(squared_fwhm) / FWHM_PER_SIGMA / np.abs(np.diagonal(scale)[::-1])
    peak, _, covariance = _gaussian(
        ndimage.gaussian_filter(np.nan_to_num(data), sigma, mode="constant"), name
    )
    ellipse = ellipse_from_covariance(scale @ covariance @ scale)
    area = float(ellipse.major * ellipse.minor)
    factor = float(np.nansum(data)) * abs(float(np.linalg.det(scale))) / (peak * GAUSSIAN_AREA * area)
    wider = area / squared_fwhm - 1.0
    if not (1.0 < factor < 1.0 / core and wider > 0.0):
        return math.inf
    return math.sqrt(squared_fwhm * max(wider * (factor - 1.0) / (1.0 - factor * core), 1.0 / core))


def _core(data: FloatArray, name: str, share: float) -> tuple[float, tuple[float, float], FloatArray]:
    """Return peak, centre (x, y) and covariance (2, 2) in pixels of the Gaussian that fits a core.

    The core is what is above a share of the brightest pixel.
    """
    top = _brightest(data)
    y, x = np.nonzero(data > share * data[top])
    near = np.hypot(y - top[0], x - top[1]) <= 2.0 * np.sqrt(len(y))
    return _fit_logarithm(data, y[near], x[near], top, name)


def _main_lobe(data: FloatArray, name: str) -> tuple[float, tuple[float, float], FloatArray]:
    """Return what `_core` does of a dirty beam: its Gaussian has the peak of the brightest pixel.

    Side lobes may be brighter than half of the peak, and are not joined to the main lobe there.
    """
    top = _brightest(data)
    lobes, _ = ndimage.label(data > _PEAK * data[top])
    y, x = np.nonzero(lobes == lobes[top])
    return _fit_logarithm(data, y, x, top, name, peak=float(data[top]))


def _brightest(data: FloatArray) -> tuple[int, int]:
    flat = int(np.nanargmax(np.where(np.isfinite(data), data, -np.inf)))
    return flat // data.shape[1], flat % data.shape[1]


def _fit_logarithm(
    data: FloatArray,
    y: IndexArray,
    x: IndexArray,
    top: tuple[int, int],
    name: str,
    *,
    peak: float | None = None,
) -> tuple[float, tuple[float, float], FloatArray]:
    """Return peak, centre and covariance of the Gaussian that fits some pixels, its peak given or not.

    The logarithm of a Gaussian is a quadratic form: a linear fit, with the values as weights.
    """
    if data[top] <= 0 or len(y) < 6:
        raise InputError(f"{name}: no point source that fills more than 6 pixels: not an image of a PSF")
    u, v, values = x - float(top[1]), y - float(top[0]), data[y, x]
    design = np.column_stack([np.ones_like(u), u, v, u * u, u * v, v * v])
    if peak is None:
        c = np.linalg.lstsq(design * values[:, None], np.log(values) * values, rcond=None)[0]
    else:
        target = np.log(values / peak) * values
        quadratic = np.linalg.lstsq(design[:, 3:] * values[:, None], target, rcond=None)[0]
        c = np.array([math.log(peak), 0.0, 0.0, *quadratic])
    inverse = np.array([[-2.0 * c[3], -c[4]], [-c[4], -2.0 * c[5]]])
    if np.linalg.eigvalsh(inverse)[0] <= 0:
        raise InputError(f"{name}: the brightest place is no point source: not an image of a PSF")
    covariance = np.linalg.inv(inverse)
    shift = covariance @ c[1:3]
    fitted = float(np.exp(c[0] + 0.5 * c[1:3] @ shift))
    return fitted, (float(top[1] + shift[0]), float(top[0] + shift[1])), covariance
