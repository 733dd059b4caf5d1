"""`inspect_image`: what is read from a file, and what is missing."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hyper_py.arrays import FloatArray
from hyper_py.catalog import empty_catalog
from hyper_py.cautions.catalogues import cautions
from hyper_py.cautions.maps import own_level
from hyper_py.diagnostics import InputError
from hyper_py.geometry import (
    Beam,
    celestial_degrees,
    celestial_frame,
    reference_jacobian,
)
from hyper_py.image import SkyImage
from hyper_py.noise.covariance import clipped_statistics
from hyper_py.pipeline.defects import mended
from hyper_py.reading.auxiliary import is_error_name
from hyper_py.reading.fill import AUTO, find_fill, without_fill
from hyper_py.reading.fits_files import FitsFile, header_blank, open_fits, read_plane, warnings_into
from hyper_py.reading.io import read_image
from hyper_py.reading.mapfacts import Given, MapFacts, understand
from hyper_py.reading.pixel_areas import pixel_areas
from hyper_py.reading.surveys import HEADER_CODE, find_survey
from hyper_py.units import jy_per_pixel

_MEASURED = (
    "centre",
    "pixel",
    "pixel_area_range",
    "beam",
    "beam_pixels",
    "jy_per_pixel",
    "blank_share",
    "rms",
    "peak",
    "error",
    "primary_beam",
)


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What was read of a map or cube; None, or '', for what could not be read.

    Attributes
    ----------
    name : str
    hdus : str
        All HDUs of the file.
    hdu : int
        The one that holds the map.
    shape : (int, int)
        ny, nx.
    n_channels : int
        1 for a map.
    frame : str
        Name of the map's own frame.
    projection : str
        Such as RA---SIN, DEC--SIN.
    centre : (float, float) or None
        Longitude and latitude of the central pixel in degrees, in the map's own frame.
    pixel : (float, float) or None
        Sides in arcsec, along x and y.
    pixel_area_range : (float, float) or None
        Smallest and largest area of a pixel in arcsec2.
    beam : Beam or None
        Of the first channel; its `source` says where it came from.
    n_beams : int
        Number of different channels with a beam of their own; 1 for one beam.
    beam_pixels : float or None
        Geometric mean FWHM in pixels.
    unit, unit_source : str
        As written, and the keyword or option.
    jy_per_pixel : (float, float) or None
        Smallest and largest factor to Jy/pixel.
    frequency : (float, str) or None
        Hz, and where it came from.
    blank_share : float or None
        Of the (first) plane.
    rms : float or None
        Clipped rms of the (first) plane in the file's unit.
    peak : float or None
        Largest value of the (first) plane in the file's unit.
    error : (float, float) or None
        Median of the errors in the file's unit, and clipped rms of the (first) plane over its errors.
    primary_beam : (float, float) or None
        Smallest and largest response.
    notes : tuple of str
        What was assumed or odd.
    problems : tuple of str
        What is missing or impossible, each with the option that supplies it; empty if the map can be read.
    """

    name: str
    hdus: str
    hdu: int
    shape: tuple[int, int]
    n_channels: int
    frame: str
    projection: str
    centre: tuple[float, float] | None
    pixel: tuple[float, float] | None
    pixel_area_range: tuple[float, float] | None
    beam: Beam | None
    n_beams: int
    beam_pixels: float | None
    unit: str
    unit_source: str
    jy_per_pixel: tuple[float, float] | None
    frequency: tuple[float, str] | None
    blank_share: float | None
    rms: float | None
    peak: float | None
    error: tuple[float, float] | None
    primary_beam: tuple[float, float] | None
    notes: tuple[str, ...]
    problems: tuple[str, ...]


def inspect_image(
    path: str | Path,
    *,
    hdu: int | str | None = None,
    bunit: str | None = None,
    beam: Beam | None = None,
    survey_name: str | None = None,
    survey_code: int = HEADER_CODE,
    frequency: float | None = None,
    stokes: str = "I",
    **extras: Any,
) -> Inspection:
    """Find out what `read_image` would make of a file.

    Parameters
    ----------
    path, hdu, bunit, beam, survey_name, survey_code, frequency, stokes
        As in `hyper_py.reading.io.read_image`.
    **extras
        Its `error_hdu`, `mask`, `primary_beam` and `primary_beam_corrected`.

    Returns
    -------
    Inspection
        What a header lacks is in its `problems`, and is no error. Without any the (first) plane was read.

    Raises
    ------
    InputError
        If the file cannot be opened, or holds no image.
    """
    survey = find_survey(code=survey_code, name=survey_name)
    given = Given(hdu=hdu, bunit=bunit, beam=beam, survey=survey, frequency=frequency, stokes=stokes)
    with open_fits(path) as file, warnings_into(file.notes):
        facts = understand(file, given)
        found = _inspection(file, facts, fill_values=extras.get("fill_values", AUTO))
        names = [] if extras.get("error_hdu") else _error_names(file, facts)
    if names:
        found = replace(found, notes=(*found.notes, f"{', '.join(names)} may hold errors: set io.error_hdu"))
    if found.problems:
        return found
    try:
        image = read_image(
            path, hdu=hdu, bunit=bunit, beam=beam, survey_name=survey_name, survey_code=survey_code,
            frequency=frequency, plane=0 if found.n_channels > 1 else None, **extras,
        )  # fmt: skip
    except InputError as error:
        return replace(found, problems=(re.sub(rf"^{re.escape(found.name)}\S*: ", "", str(error)),))
    image = mended(image)
    said = (*image.meta.get("notes", ()), *cautions(empty_catalog(), image, own_level(image)))
    found = replace(found, notes=tuple(dict.fromkeys((*found.notes, *said))))
    return replace(found, **_what_goes_with_it(image))


def _error_names(file: FitsFile, facts: MapFacts) -> list[str]:
    """Return HDUs of the size of the map whose names are those of errors."""
    return [
        file.label(i)
        for i, shape in file.images.items()
        if shape == file.images[facts.index] and is_error_name(file.hdus[i].name)
    ]


def _what_goes_with_it(image: SkyImage) -> dict[str, Any]:
    """Return what there is to say of a map's errors and primary beam."""
    found: dict[str, Any] = {}
    if image.error is not None:
        ratio = (image.data / image.error)[np.isfinite(image.data)]
        median = float(np.nanmedian(image.error / image.jy_per_pixel))
        found["error"] = median, float(clipped_statistics(ratio).rms)
    if image.primary_beam is not None:
        found["primary_beam"] = float(np.nanmin(image.primary_beam)), float(np.nanmax(image.primary_beam))
    return found


def _inspection(file: FitsFile, facts: MapFacts, *, fill_values: Sequence[float] | str) -> Inspection:
    """Gather the facts; each part is left out where the header does not give it."""
    found: dict[str, Any] = dict.fromkeys(_MEASURED)
    areas: float | FloatArray | None = None
    if facts.wcs is not None:
        areas = pixel_areas(facts.wcs, facts.shape)
        found |= _sky(facts, areas)
    if facts.beams:
        found["beam"] = facts.beam(0)
        if found["pixel"] is not None:
            found["beam_pixels"] = facts.beam(0).fwhm / float(np.sqrt(np.prod(found["pixel"])))
    found |= _signal(file, facts, given=fill_values)
    if not facts.problems and areas is not None:
        hz = None if facts.frequency is None else facts.frequency[0]
        factor = jy_per_pixel(facts.unit, pixel_area=areas, beam_area=facts.beam(0).solid_angle, frequency=hz)
        found["jy_per_pixel"] = (float(np.nanmin(factor)), float(np.nanmax(factor)))
    ny, nx = facts.shape if facts.wcs is not None else file.images[facts.index][-2:]
    return Inspection(
        name=facts.name,
        hdus=file.describe(),
        hdu=facts.index,
        shape=(ny, nx),
        n_channels=facts.n_channels,
        frame="" if facts.wcs is None else celestial_frame(facts.wcs).name,
        projection="" if facts.wcs is None else ", ".join(facts.wcs.wcs.ctype),
        n_beams=len(facts.beams),
        unit=facts.unit.text,
        unit_source=facts.unit_source,
        frequency=facts.frequency,
        notes=tuple(file.notes),
        problems=facts.problems,
        **found,
    )


def _sky(facts: MapFacts, areas: float | FloatArray) -> dict[str, Any]:
    """Return centre, pixel and range of pixel areas."""
    ny, nx = facts.shape
    lon, lat = celestial_degrees(facts.wcs, 0.5 * (nx - 1), 0.5 * (ny - 1))
    found: dict[str, Any] = {"centre": (float(lon), float(lat)) if np.isfinite([lon, lat]).all() else None}
    try:
        sides = np.hypot(*reference_jacobian(facts.wcs, facts.shape))
    except InputError:
        return found
    return found | {
        "pixel": (float(sides[0]), float(sides[1])),
        "pixel_area_range": (float(np.nanmin(areas)), float(np.nanmax(areas))),
    }


def _signal(file: FitsFile, facts: MapFacts, *, given: Sequence[float] | str) -> dict[str, Any]:
    """Return blank share, rms and peak of the first plane; nothing if it cannot be read."""
    fixed = facts.fixed if facts.channel_axis is None else facts.fixed | {facts.channel_axis: 0}
    naxis = len(file.images[facts.index])
    try:
        data = read_plane(
            file,
            facts.index,
            x=facts.axes.x,
            y=facts.axes.y,
            fixed=dict.fromkeys(range(1, naxis + 1), 0) | fixed,
        )
    except InputError as error:
        file.notes.append(str(error))
        return {}
    fills = find_fill(data, given=given, header_blank=header_blank(facts.header))
    file.notes.extend(fill.describe() for fill in fills)
    data = without_fill(data, fills)
    good = data[np.isfinite(data)]
    found: dict[str, Any] = {"blank_share": 1.0 - good.size / data.size}
    if good.size:
        found |= {"rms": float(clipped_statistics(good).rms), "peak": float(good.max())}
    return found
