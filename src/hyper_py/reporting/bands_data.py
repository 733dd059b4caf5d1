"""Data of the report of a field in several bands: maps, models and backgrounds, and the sources' numbers.

Layers are packed as those of a single map (`hyper_py.reporting.report_data`). Each band has a polynomial from
the common plane, in arcsec east and north, to its pixels, so that the page shows all bands on the same sky.
"""

import math
from typing import Any

import numpy as np
from astropy.coordinates import SkyCoord

from hyper_py.arrays import FloatArray
from hyper_py.bands.catalog import column_suffixes
from hyper_py.bands.plane import TangentPlane
from hyper_py.bands.shapes import sky_ellipses
from hyper_py.diagnostics import FLAG_TEXT, Flag
from hyper_py.geometry import celestial_degrees, celestial_frame
from hyper_py.image import SkyImage
from hyper_py.pipeline.bands import BandsExtraction, MeasuredBand
from hyper_py.reporting.report_data import REMARKS, ReportData, bin_image, pack_codes, quantise, words

MOST_PIXELS = 1_500_000
"""Larger maps are shown binned."""
_STEPS_PER_RMS = 10.0
_BACKGROUND_PIXELS = 4.0
"""Pixels of the background layer in a beam."""
_NODES = 13
_DIGITS = 5


def make_bands_data(extraction: BandsExtraction) -> ReportData:
    """Return the data of the report of a field.

    Returns
    -------
    ReportData
        Fluxes in mJy (Jy without `convert_mJy`), pixels in mJy/beam (Jy/beam).
    """
    milli, sources = extraction.options.flux_per_jy, extraction.sources
    blobs: dict[str, bytes] = {}
    layers: dict[str, Any] = {}
    bands = []
    for b, one in enumerate(extraction.measured):
        facts, own_layers = _band(one, b, milli=milli)
        for name, (values, step) in own_layers.items():
            codes, offset, step = quantise(values, step=step)
            blobs[name] = pack_codes(codes)
            layers[name] = {"shape": list(values.shape), "offset": offset, "step": step}
        shift = extraction.offsets.values[b]
        facts["to_pixels"] = pixel_polynomial(one.band.image, sources.plane, shift)
        facts |= _counts(extraction, b)
        bands.append(facts)
    reference = extraction.offsets.reference
    facts = {
        "kind": "bands",
        "name": extraction.name,
        "unit": f"{extraction.options.flux_unit}/beam",
        "flux_unit": extraction.options.flux_unit,
        "pixel_arcsec": min(one.band.image.pixel_scale for one in extraction.measured),
        "method": "matched",
        "threshold": extraction.options.bands.sigma_thres,
        "shape": extraction.options.bands.shape,
        "thumbnail": f"map_{len(bands) // 2}",
        "plane": {"ra": sources.plane.ra, "dec": sources.plane.dec},
        "reference": reference,
        "bands": bands,
        "layers": layers,
        "extent": _extent(extraction),
        "sources": _sources(extraction, milli=milli),
        "flags": [
            {"bit": int(flag), "name": words(flag), "text": text, "remark": bool(flag & REMARKS)}
            for flag, text in FLAG_TEXT.items()
        ],
    }
    return ReportData(facts=facts, blobs=blobs)


def pixel_polynomial(image: SkyImage, plane: TangentPlane, shift: FloatArray) -> dict[str, Any]:
    """Return the cubic from the plane to the pixels of a map, positions on which are off by `shift`.

    Returns
    -------
    dict
        `scale` in arcsec, and `x`, `y`: coefficients of e^i n^j, i + j <= 3, in the order of
        `polynomial_powers`, where e and n are arcsec east and north over the scale.
    """
    ny, nx = image.shape
    x, y = (
        part.ravel() for part in np.meshgrid(np.linspace(0, nx - 1, _NODES), np.linspace(0, ny - 1, _NODES))
    )
    place = plane_places(image, plane, x, y) - shift
    good = np.isfinite(place).all(axis=1)
    scale = float(np.abs(place[good]).max()) or 1.0
    terms = polynomial_terms(place[good] / scale)
    fitted = [np.linalg.lstsq(terms, values[good], rcond=None)[0] for values in (x, y)]
    return {"scale": scale, "x": fitted[0].tolist(), "y": fitted[1].tolist()}


def polynomial_powers() -> list[tuple[int, int]]:
    """Return the powers of east and north in a cubic."""
    return [(i, j) for degree in range(4) for i in range(degree + 1) for j in [degree - i]]


def polynomial_terms(place: FloatArray) -> FloatArray:
    """Return the terms of a cubic at places (n, 2), shape (n, 10)."""
    return np.stack([place[:, 0] ** i * place[:, 1] ** j for i, j in polynomial_powers()], axis=1)


def plane_places(image: SkyImage, plane: TangentPlane, x: FloatArray, y: FloatArray) -> FloatArray:
    """Return arcsec east and north on the plane of pixels, shape (n, 2); NaN off the sky."""
    longitude, latitude = celestial_degrees(image.wcs, x, y)
    known = np.isfinite(longitude + latitude)
    frame = celestial_frame(image.wcs)
    sky = SkyCoord(np.where(known, longitude, 0.0), np.where(known, latitude, 0.0), unit="deg", frame=frame)
    places = plane.offsets(sky.icrs.ra.deg, sky.icrs.dec.deg)
    return np.where(known[:, None], places, np.nan)


def _band(one: MeasuredBand, b: int, *, milli: float) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the facts of a band, and its layers with their steps, by name."""
    band, image = one.band, one.band.image
    per_beam = milli * image.beam_area_pix
    rms = math.sqrt(one.noise.covariance.variance) * per_beam
    data, model = image.data * per_beam, one.model_image() * per_beam
    binning = max(1, math.ceil(math.sqrt(data.size / MOST_PIXELS)))
    left = data - model
    level = float(np.nanmedian(left)) if np.isfinite(left).any() else 0.0
    background = np.full(image.shape, np.nan) if one.background is None else one.background * per_beam
    background = np.where(np.isfinite(background), background, level)
    coarse = max(binning, int(image.beam_fwhm_pix / _BACKGROUND_PIXELS))
    step = rms / _STEPS_PER_RMS
    layers = {
        f"map_{b}": (bin_image(data, binning), step),
        f"model_{b}": (bin_image(model, binning), step),
        f"background_{b}": (bin_image(background, coarse), step),
    }
    if image.relative_rms is not None:
        layers[f"rms_{b}"] = (bin_image(rms * image.relative_rms, coarse), step / 20.0)
    beam = image.beam
    return {
        "name": band.name,
        "wavelength": band.wavelength,
        "beam": {"major": beam.major, "minor": beam.minor, "pa": beam.pa},
        "pixel_arcsec": image.pixel_scale,
        "shape": list(image.shape),
        "binning": binning,
        "coarse": coarse,
        "rms": rms,
        "level": level,
        "has_background": one.background is not None,
        "file_unit": image.unit,
        "calibration_error": band.calibration_error,
    }, layers


def _counts(extraction: BandsExtraction, b: int) -> dict[str, Any]:
    """Return how many sources a band sees and detects, and its offset."""
    sources, offsets = extraction.sources, extraction.offsets
    error = offsets.errors[b]
    return {
        "covered": int(sources.seen[:, b].sum()),
        "detected": int(sources.detected[:, b].sum()),
        "offset": [float(value) for value in offsets.values[b]],
        "offset_error": [_number(value) for value in error],
    }


def _extent(extraction: BandsExtraction) -> list[float]:
    """Return the smallest and largest east and north that the maps cover: e0, e1, n0, n1 in arcsec."""
    corners = []
    for one in extraction.measured:
        ny, nx = one.band.image.shape
        x, y = np.array([0, nx - 1, 0, nx - 1.0]), np.array([0, 0, ny - 1.0, ny - 1])
        corners.append(plane_places(one.band.image, extraction.sources.plane, x, y))
    places = np.concatenate(corners)
    low, high = np.nanmin(places, axis=0), np.nanmax(places, axis=0)
    return [float(low[0]), float(high[0]), float(low[1]), float(high[1])]


def _sources(extraction: BandsExtraction, *, milli: float) -> dict[str, Any]:
    """Return the numbers of the sources, one list a quantity; those of bands by band."""
    sources, table = extraction.sources, extraction.catalog
    suffixes = column_suffixes([band.name for band in extraction.bands])
    columns = {
        name.lower(): _numbers(table[name])
        for name in (
            "HYPER_ID", "RA", "DEC", "RA_ERR", "DEC_ERR", "DECONV_FWHM_1", "DECONV_FWHM_2", "DECONV_PA",
            "DECONV_FWHM_1_ERR", "DECONV_FWHM_2_ERR", "DECONV_ULIM", "SNR", "CLUSTER", "NEIGHBOUR", "FLAGS",
        )
    }  # fmt: skip
    columns |= {
        "ra": [round(v, 9) for v in table["RA"].value],
        "dec": [round(v, 9) for v in table["DEC"].value],
    }
    columns["unresolved"] = (table["FLAGS"] & int(Flag.UNRESOLVED)).astype(bool).astype(int).tolist()
    columns["east"], columns["north"] = (_numbers(sources.position[:, k]) for k in (0, 1))
    per_band = {
        key: [_numbers(table[f"{name}_{suffix}"]) for suffix in suffixes]
        for key, name in (
            ("flux", "FLUX"), ("error", "FLUX_ERR"), ("limit", "FLUX_ULIM"), ("correlation", "CORRELATION"),
            ("misfit", "SHAPE_MISFIT"), ("peak", "FLUX_PEAK"),
        )
    }  # fmt: skip
    ellipses = [sky_ellipses(one.shape) for one in extraction.measured]
    per_band["major"], per_band["minor"], per_band["pa"] = (
        [_numbers(getattr(one, name)) for one in ellipses] for name in ("major", "minor", "angle")
    )
    per_beam = [milli * one.band.image.beam_area_pix for one in extraction.measured]
    per_band["background"] = [
        _numbers(factor * sources.background[:, b]) for b, factor in enumerate(per_beam)
    ]
    per_band["seen"] = [sources.seen[:, b].astype(int).tolist() for b in range(len(suffixes))]
    result: dict[str, Any] = {**columns, "bands": per_band}
    index = extraction.spectral_indices
    result["pairs"] = index.pairs.tolist()
    result["alpha"] = [_numbers(index.index[:, k]) for k in range(len(index.pairs))]
    result["alpha_error"] = [_numbers(index.error[:, k]) for k in range(len(index.pairs))]
    grey = extraction.grey_bodies
    if grey is not None:
        names = ("temperature", "temperature_err", "beta", "beta_err", "chi2", "n_fluxes")
        result["grey"] = {name: _numbers(getattr(grey, name)) for name in names}
        result["grey"]["amplitude"] = _numbers(milli * grey.amplitude)
    return result


def _numbers(values: Any) -> list[float | int | None]:
    """Return numbers with the digits that a page shows; what is not finite is None."""
    array = np.asarray(getattr(values, "value", values))
    if array.dtype.kind in "iu":
        return [int(value) for value in array]
    return [_number(value) for value in array]


def _number(value: float) -> float | None:
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
