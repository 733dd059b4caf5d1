"""A `SkyImage` from an open file: its plane, error, mask and primary beam, in Jy/pixel."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray
from hyper_py.diagnostics import InputError
from hyper_py.image import SkyImage
from hyper_py.numerics.tiles import LazyPlane, Plane, combined, sample
from hyper_py.reading.auxiliary import find_error, read_error, read_mask, read_primary_beam, streamed_mask
from hyper_py.reading.fill import AUTO, Fill, find_fill, without_fill
from hyper_py.reading.fits_files import FitsFile, header_blank, read_plane
from hyper_py.reading.headers import header_frequency
from hyper_py.reading.mapfacts import Given, MapFacts
from hyper_py.reading.pixel_areas import pixel_areas_in_parts
from hyper_py.reading.primary_beam import primary_beam_remark
from hyper_py.reading.stokes import is_polarised_intensity
from hyper_py.reading.streamed import bytes_at_once, streamed_plane
from hyper_py.units import MapUnit, jy_per_pixel

_FACT_KEYS = {"object": "OBJECT", "telescope": "TELESCOP", "instrument": "INSTRUME", "observed": "DATE-OBS"}


@dataclass(frozen=True, kw_only=True)
class Extras:
    """Error, mask, region and primary beam of a map, as given to `read_image`."""

    error: str | int | Path | None = None
    mask: str | int | Path | BoolArray | None = None
    region: str | int | Path | BoolArray | None = None
    region_keep: str = "inside"
    primary_beam: str | int | Path | None = None
    primary_beam_corrected: bool | None = None
    fill_values: Sequence[float] | str = AUTO


@dataclass(frozen=True, kw_only=True)
class OpenMap:
    """An open map or cube and the facts of its header; `areas` are its pixel areas in arcsec2."""

    file: FitsFile
    facts: MapFacts
    given: Given
    extras: Extras
    areas: float | FloatArray


def make_image(source: OpenMap, channel: int) -> SkyImage:
    """Read one plane with its error, mask and primary beam, and convert it to Jy/pixel."""
    file, facts, extras, areas = source.file, source.facts, source.extras, source.areas
    beam, frequency = facts.beam(channel), facts.frequency
    if channel and source.given.frequency is None:
        frequency = header_frequency(facts.full, facts.header, facts.primary, channel) or frequency
    convert: dict[str, Any] = {
        "pixel_area": areas,
        "beam_area": beam.solid_angle,
        "frequency": None if frequency is None else frequency[0],
    }
    factor = jy_per_pixel(facts.unit, **convert)
    at = facts.fixed if facts.channel_axis is None else facts.fixed | {facts.channel_axis: channel}
    raw = read_plane(file, facts.index, x=facts.axes.x, y=facts.axes.y, fixed=at)
    fills = find_fill(raw, given=extras.fill_values, header_blank=header_blank(facts.header))
    known = without_fill(raw, fills)
    constant = {"constant": float(np.nanmax(known))} if is_constant(known) else {}
    data = known * factor
    place, remark = find_error(file, facts) if extras.error == AUTO else (extras.error, "")
    data[np.isnan(np.broadcast_to(areas, data.shape))] = np.nan
    error, response = None, None
    if extras.mask is not None:
        masked = read_mask(file, facts, extras.mask, channel=channel)
        nothing = "io.mask holds no pixel of this map"
        if not masked.any() and nothing not in file.notes:
            file.notes.append(nothing)
        data[masked] = np.nan
    if place is not None:
        error, error_unit = read_error(file, facts, place, channel=channel)
        _demand_frequency(error_unit, facts, frequency)
        error *= jy_per_pixel(error_unit, **convert)
        _note_lost(file, _is_lost(data, error))
        data[np.isnan(error)] = np.nan
    if extras.primary_beam is not None:
        response, corrected = read_primary_beam(
            file, facts, extras.primary_beam, corrected=extras.primary_beam_corrected, channel=channel
        )
        data = _known_with(data, response) if corrected else data / response
        error = error / response if error is not None and not corrected else error
    return SkyImage(
        data=data,
        wcs=facts.wcs,
        beam=beam,
        name=facts.name,
        unit=facts.unit.text,
        jy_per_pixel=factor,
        error=error,
        primary_beam=response,
        searched=_searched(source, channel),
        meta=map_meta(facts, frequency)
        | constant
        | fills_in_words(fills)
        | ({"errors": remark} if remark else {})
        | ({"no_beam": _NO_BEAM.format(channel + 1)} if facts.has_no_beam(channel) else {})
        | _response_in_words(source, data if error is None else None, is_known=response is not None),
    )


def streamed_image(source: OpenMap, channel: int, *, limit: float) -> SkyImage:
    """Return a map whose pixels stay in the file."""
    file, facts, extras = source.file, source.facts, source.extras
    need = f"{facts.shape[1]} x {facts.shape[0]} pixels take up to {bytes_at_once(facts.shape) / 1e9:.1f} GB"
    advice = f"more than control.max_memory = {limit / 1e9:g}: set it higher"
    place, remark = find_error(file, facts) if extras.error == AUTO else (extras.error, "")
    at = facts.fixed if facts.channel_axis is None else facts.fixed | {facts.channel_axis: channel}
    raw = streamed_plane(file, facts.index, x=facts.axes.x, y=facts.axes.y, fixed=at)
    mask = None if extras.mask is None else streamed_mask(file, facts, extras.mask, channel=channel)
    if extras.mask is not None and mask is None:
        raise InputError(
            f"{facts.name}: {need}, {advice}, or unpack io.mask: only plain FITS can be read in pieces"
        )
    if raw is None:
        raise InputError(
            f"{facts.name}: {need}, {advice}, or unpack the file: only plain FITS can be read in pieces"
        )
    beam, frequency = facts.beam(channel), facts.frequency
    areas = pixel_areas_in_parts(facts.wcs, facts.shape)

    def factor_of(area: float | FloatArray, unit: MapUnit = facts.unit) -> float | FloatArray:
        return jy_per_pixel(
            unit, pixel_area=area, beam_area=beam.solid_angle,
            frequency=None if frequency is None else frequency[0],
        )  # fmt: skip

    factor: Any = factor_of(areas) if isinstance(areas, float) else factor_of(1.0)
    if not isinstance(areas, float) and facts.unit.per != "pixel":
        factor = LazyPlane(facts.shape, lambda rows, columns: np.asarray(factor_of(areas(rows, columns))))

    fills = find_fill(raw, given=extras.fill_values, header_blank=header_blank(facts.header))

    def make(rows: slice, columns: slice) -> FloatArray:
        values = without_fill(raw[rows, columns], fills)
        if mask is not None:
            values[mask[rows, columns] != 0] = np.nan
        if isinstance(areas, float):
            values *= factor
            return values
        area = areas(rows, columns)
        values[np.isnan(area)] = np.nan
        values *= factor_of(area) if isinstance(factor, LazyPlane) else factor
        return values

    data: Any = LazyPlane(facts.shape, make)
    error: Any = None
    if place is not None:
        given, unit = read_error(file, facts, place, channel=channel, in_pieces=True)
        _demand_frequency(unit, facts, frequency)
        error = LazyPlane(
            facts.shape,
            lambda rows, columns: (
                given[rows, columns]
                * factor_of(areas if isinstance(areas, float) else areas(rows, columns), unit)
            ),
        )
        _note_lost(file, sample(combined(_is_lost, data, error)))
        data = combined(_known_with, data, error)
    response: Any = None
    if extras.primary_beam is not None:
        response, corrected = read_primary_beam(
            file, facts, extras.primary_beam, corrected=extras.primary_beam_corrected, channel=channel,
            in_pieces=True,
        )  # fmt: skip
        data = combined(_known_with if corrected else np.divide, data, response)
        error = combined(np.divide, error, response) if error is not None and not corrected else error
    notes = (*file.notes, f"{need} at once: read in pieces")
    return SkyImage(
        data=data, wcs=facts.wcs, beam=beam, name=facts.name, unit=facts.unit.text, jy_per_pixel=factor,
        error=error, primary_beam=response,
        meta=map_meta(facts, frequency) | fills_in_words(fills) | ({"errors": remark} if remark else {})
        | {"notes": notes}, searched=_searched(source, channel, in_pieces=True),
    )  # fmt: skip


def _demand_frequency(unit: MapUnit, facts: MapFacts, frequency: tuple[float, str] | None) -> None:
    """Raise `InputError` if the unit of errors needs a frequency that is not known."""
    if unit.needs_frequency and frequency is None:
        text = f"the errors' unit '{unit.text}' needs a frequency: set units.frequency (Hz)"
        raise InputError(f"{facts.name}: {text}")


def _is_lost(data: FloatArray, error: FloatArray) -> FloatArray:
    """Return 1 where known pixels have no error, 0 where they have one; blank pixels are NaN."""
    return np.where(np.isfinite(data), np.isnan(error), np.nan)


def _note_lost(file: FitsFile, lost: FloatArray) -> None:
    """Note how many pixels are blank for want of an error, if any are."""
    known = lost[np.isfinite(lost)]
    if known.any():
        file.notes.append(f"{known.mean():.1%} of the pixels are blank because they have no error above zero")


def _known_with(data: FloatArray, other: FloatArray) -> FloatArray:
    """Return data, blank where something else is."""
    return np.where(np.isfinite(other), data, np.nan)


def _response_in_words(source: OpenMap, data: FloatArray | None, *, is_known: bool) -> dict[str, str]:
    """Return what is said of a primary beam that was not given; nothing where the errors are known."""
    if is_known or source.extras.error not in (None, AUTO) or source.facts.n_channels > 1:
        return {}
    remark = primary_beam_remark(source.facts.name, source.facts.header, data)
    return {"primary_beam": remark} if remark else {}


def _searched(source: OpenMap, channel: int, *, in_pieces: bool = False) -> BoolArray | Plane | None:
    """Return where sources are looked for: 1, or True; None for everywhere."""
    extras = source.extras
    if extras.region is None:
        return None
    how: dict[str, Any] = {"channel": channel, "option": "detection.region"}
    outside = extras.region_keep == "outside"
    if in_pieces:
        plane = streamed_mask(source.file, source.facts, extras.region, **how)
        if plane is not None:
            return LazyPlane(plane.shape, lambda rows, columns: np.abs(outside - plane[rows, columns]))
    inside = read_mask(source.file, source.facts, extras.region, **how)
    return ~inside if outside else inside


_POLARISED = (
    "the map is of polarised intensity, which has a noise bias: fluxes are too high unless it was taken off"
)
_NO_BEAM = "channel {} has no beam in the table of beams: the median one is used"


def is_constant(values: FloatArray) -> bool:
    """Return whether all pixels that are not blank are the same; in Jy/pixel areas would make them differ."""
    known = values[np.isfinite(values)]
    return bool(known.size > 1 and known.min() == known.max())


def fills_in_words(fills: Sequence[Fill]) -> dict[str, Any]:
    """Return what is said of numbers that stand for blank pixels."""
    return {"fill": tuple(fill.describe() for fill in fills)} if fills else {}


def map_meta(facts: MapFacts, frequency: tuple[float, str] | None) -> dict[str, Any]:
    """Return the facts of a header that outputs repeat, such as object and telescope."""
    meta: dict[str, Any] = {"hdu": facts.index, "unit_source": facts.unit_source}
    if frequency is not None:
        meta |= {"frequency": frequency[0], "frequency_source": frequency[1]}
    if facts.stokes:
        meta["stokes"] = facts.stokes
    if is_polarised_intensity(facts.header):
        meta["polarised"] = _POLARISED
    for name, key in _FACT_KEYS.items():
        value = facts.header.get(key, facts.primary.get(key))
        if isinstance(value, str) and value.strip():
            meta[name] = value.strip()
    return meta
