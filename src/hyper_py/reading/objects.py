"""Maps from objects in memory: arrays with their coordinates, astropy's NDData, HDUs."""

import io
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.nddata import (
    Cutout2D,
    InverseVariance,
    NDData,
    NDUncertainty,
    StdDevUncertainty,
    VarianceUncertainty,
)
from astropy.wcs import WCS
from numpy.typing import ArrayLike

from hyper_py.arrays import BoolArray, FloatArray
from hyper_py.diagnostics import ConfigurationError, InputError
from hyper_py.geometry import Beam, celestial_frame
from hyper_py.image import SkyImage
from hyper_py.reading.fill import AUTO, find_fill, without_fill
from hyper_py.reading.fits_files import FitsFile, open_stream, warnings_into
from hyper_py.reading.headers import header_beam, header_frequency, header_unit
from hyper_py.reading.making import Extras, OpenMap, fills_in_words, is_constant, make_image
from hyper_py.reading.mapfacts import Given, check_beams, understand
from hyper_py.reading.pixel_areas import pixel_areas
from hyper_py.units import ACCEPTED_UNITS, MapUnit, jy_per_pixel, parse_unit

Header: TypeAlias = fits.Header | Mapping[str, Any]
MapLike: TypeAlias = (
    SkyImage | NDData | Cutout2D | u.Quantity | fits.PrimaryHDU | fits.ImageHDU | fits.CompImageHDU
    | fits.HDUList | ArrayLike
)  # fmt: skip
"""What a map can be."""
BeamLike: TypeAlias = Beam | u.Quantity | tuple[u.Quantity, ...]

_UNCERTAINTIES: dict[Any, float] = {StdDevUncertainty: 1.0, VarianceUncertainty: 0.5, InverseVariance: -0.5}
"""The power of each that is an error."""


class MapInput(NamedTuple):
    """What the user gives beside the pixels; each of them may be missing.

    Attributes
    ----------
    wcs : WCS or Header
    beam : Beam
    unit : str
    error : array_like, Quantity or NDUncertainty
    mask : array_like of bool
        True where data are not used.
    frequency : float
        Hz.
    name : str
    """

    wcs: Any = None
    beam: Beam | None = None
    unit: str | None = None
    error: Any = None
    mask: Any = None
    frequency: float | None = None
    name: str = "map"


def as_beam(beam: Any) -> Beam | None:
    """Return a beam from a `Beam`, an angle, (major, minor, pa), or an object with these attributes.

    Parameters
    ----------
    beam : Beam, Quantity, tuple of Quantity, radio_beam.Beam or None
        FWHM of the axes, and the position angle of the major one.

    Raises
    ------
    InputError
        For anything else, numbers without a unit included.

    Examples
    --------
    >>> from astropy import units as u
    >>> as_beam(18 * u.arcsec).major
    18.0
    >>> as_beam((20 * u.arcsec, 0.3 * u.arcmin, 40 * u.deg)).minor
    18.0
    """
    if beam is None or isinstance(beam, Beam):
        return beam
    if hasattr(beam, "major"):
        parts = [beam.major, beam.minor, beam.pa]
    else:
        parts = [*beam] if isinstance(beam, tuple | list) else [beam, beam]
    try:
        major, minor, pa = map(u.Quantity, parts if len(parts) > 2 else [*parts, 0.0 * u.deg])
        return Beam(
            major=float(major.to_value("arcsec")), minor=float(minor.to_value("arcsec")),
            pa=float(pa.to_value("deg")), source="beam=",
        )  # fmt: skip
    except (TypeError, ValueError, u.UnitsError):
        raise InputError(
            f"beam={beam!r}: give hyper_py.Beam(major=, minor=, pa=) in arcsec and degrees, or an angle such "
            "as 18 * u.arcsec, or (major, minor, pa) as quantities"
        ) from None


def as_unit(unit: Any, *, name: str = "unit") -> str | None:
    """Return the text of a unit of a map, given as text or as a unit of astropy; `name` is the argument.

    Raises
    ------
    InputError
        If it is neither a flux density nor a brightness.
    """
    if unit is None:
        return None
    try:
        text = unit if isinstance(unit, str) else u.Unit(unit).to_string()
        parse_unit(text)
    except TypeError:
        raise InputError(f"{name}=: a {type(unit).__name__}: give a unit, such as 'Jy/beam'") from None
    except InputError as error:
        raise InputError(f"{name}={text!r}: {error}") from None
    return text


def as_frequency(frequency: Any) -> float | None:
    """Return a frequency in Hz from a number in Hz, or a quantity: frequency or wavelength.

    Examples
    --------
    >>> from astropy import units as u
    >>> round(as_frequency(1 * u.mm) / 1e9, 1)
    299.8
    """
    if frequency is None:
        return None
    try:
        if isinstance(frequency, u.Quantity | str):
            return float(u.Quantity(frequency).to_value(u.Hz, equivalencies=u.spectral()))
        return float(frequency)
    except (TypeError, ValueError, u.UnitsError):
        raise InputError(f"frequency={frequency!r}: give Hz, or a quantity such as 230 * u.GHz") from None


def image_of(data: Any, given: MapInput, *, fill_values: Sequence[float] | str = AUTO) -> SkyImage:
    """Return the map of an array, a Quantity, an NDData or an HDU, in Jy/pixel.

    Parameters
    ----------
    data : array_like (ny, nx), Quantity, NDData, HDU or HDUList
        Any real type and byte order; axes of length 1 before the two of the map are dropped.
    given : MapInput
        What `data` does not have itself; beam and frequency take precedence over a header's.
    fill_values : sequence of float, or "auto"
        See `hyper_py.read_image`.

    Raises
    ------
    InputError
        If something is missing, contradicts what the data have, or is impossible; it names the argument.
    """
    if isinstance(data, fits.HDUList):
        return _of_hdus(list(data), given, fill_values)
    if isinstance(data, fits.PrimaryHDU | fits.ImageHDU | fits.CompImageHDU):
        return _of_hdus([data], given, fill_values)
    if isinstance(data, str | Path):
        raise InputError(f"{data}: a path is read by hyper_py.read_image(path)")
    if isinstance(given.wcs, Mapping) and not isinstance(given.wcs, fits.Header):
        given = given._replace(wcs=_header(given.wcs))
    if isinstance(data, Cutout2D):
        data, given = data.data, given._replace(wcs=data.wcs if given.wcs is None else given.wcs)
    if isinstance(data, NDData):
        data, given = _opened_nddata(data, given)
    if isinstance(data, u.Quantity):
        data, given = data.value, given._replace(unit=_same_unit(given.unit, data.unit, "the quantity"))
    if isinstance(given.wcs, fits.Header):
        header = given.wcs.copy(strip=True)
        header.extend((card for card in given.wcs.cards if card.keyword not in header), unique=True)
        values, mask = _pixels(data, given)
        return _of_hdus([fits.ImageHDU(values, header)], given._replace(mask=mask), fill_values)
    return _of_array(data, given, fill_values)


def _of_array(data: Any, given: MapInput, fill_values: Sequence[float] | str) -> SkyImage:
    """Return the map of an array whose unit, coordinates and beam are given."""
    values, mask = _pixels(data, given)
    name = given.name
    missing = [] if given.wcs is not None else ["wcs= (WCS(header), or the header)"]
    missing += [] if given.unit else [f"unit= (one of {ACCEPTED_UNITS})"]
    missing += [] if given.beam else ["beam= (hyper_py.Beam(major=18, minor=18) in arcsec, or 18 * u.arcsec)"]
    if missing or given.unit is None or given.beam is None:
        raise InputError(f"{name}: the data alone do not say what they are: give {' and '.join(missing)}")
    wcs = _celestial(given.wcs, values.shape)
    check_beams({"wcs": wcs, "shape": values.shape, "beams": (given.beam,)})
    unit = parse_unit(given.unit)
    areas = pixel_areas(wcs, values.shape)
    factor = _factor(unit, areas, given)
    fills = find_fill(values, given=fill_values)
    known = without_fill(values, fills)
    if is_constant(known):
        raise InputError(f"{name}: every pixel is {np.nanmax(known):g}: nothing to measure")
    data = known * factor
    data[np.isnan(np.broadcast_to(areas, data.shape))] = np.nan
    if mask is not None:
        data[mask] = np.nan
    error = None if given.error is None else _error(given, areas, values.shape)
    if error is not None:
        data[np.isnan(error)] = np.nan
    if not np.isfinite(data).any():
        raise InputError(f"{name}: every pixel is blank: look at the data and at mask= and error=")
    meta: dict[str, Any] = {"unit_source": "unit=", **fills_in_words(fills)}
    if given.frequency is not None:
        meta |= {"frequency": given.frequency, "frequency_source": "frequency="}
    return SkyImage(
        data=data, wcs=wcs, beam=given.beam, name=name, unit=given.unit, jy_per_pixel=factor, error=error,
        meta=meta,
    )  # fmt: skip


def _factor(unit: MapUnit, areas: float | FloatArray, given: MapInput) -> float | FloatArray:
    if unit.needs_frequency and given.frequency is None:
        raise InputError(f"unit={unit.text!r} needs a frequency: give frequency= (Hz, or a quantity)")
    assert given.beam is not None
    return jy_per_pixel(
        unit, pixel_area=areas, beam_area=given.beam.solid_angle, frequency=given.frequency
    )  # fmt: skip


def _of_hdus(hdus: list[Any], given: MapInput, fill_values: Sequence[float] | str) -> SkyImage:
    """Return the map of HDUs as if it were read from their file."""
    if isinstance(given.wcs, WCS):
        raise InputError(
            "wcs=: the HDU has coordinates of its own: leave wcs out, or give the array hdu.data"
        )
    for hdu in hdus:
        if getattr(hdu, "is_image", False) and hdu.data is not None:
            break
    else:
        raise InputError("the HDU holds no image: give the one that does, or the HDUList")
    stream = io.BytesIO()
    primary = [] if isinstance(hdus[0], fits.PrimaryHDU) else [fits.PrimaryHDU()]
    fits.HDUList([*primary, *hdus]).writeto(stream, output_verify="silentfix")
    stream.seek(0)
    with open_stream(stream, name=given.name) as file, warnings_into(file.notes):
        return _of_file(file, given, fill_values)


def _of_file(file: FitsFile, given: MapInput, fill_values: Sequence[float] | str) -> SkyImage:
    options = Given(bunit=given.unit, beam=given.beam, frequency=given.frequency)
    facts = understand(file, options)
    if facts.n_channels > 1:
        raise InputError(
            f"{facts.name}: a cube of {facts.n_channels} channels: give one plane, or use hyper_py.open_cube"
        )
    facts.demand()
    mask = given.mask
    if mask is not None:
        mask = np.asarray(mask)
        if mask.shape != facts.shape:
            raise InputError(
                f"mask= of shape {mask.shape} for data of shape {facts.shape}: give one of each pixel"
            )
    areas = pixel_areas(facts.wcs, facts.shape)
    extras = Extras(
        error=AUTO if given.error is None else None, mask=None if mask is None else mask != 0,
        fill_values=fill_values,
    )  # fmt: skip
    image = make_image(OpenMap(file=file, facts=facts, given=options, extras=extras, areas=areas), 0)
    if given.error is not None:
        own = given._replace(beam=image.beam, unit=given.unit or facts.unit.text)
        error = _error(own, areas, facts.shape)
        data = np.where(np.isnan(error), np.nan, image.data)
        image = replace(image, data=data, error=error)
    if not np.isfinite(image.data).any():
        raise InputError(f"{image.name}: every pixel is blank: look at the data and at mask= and error=")
    if "constant" in image.meta:
        raise InputError(f"{image.name}: every pixel is {image.meta['constant']:g}: nothing to measure")
    return image


# --------------------------------------------------------------------------------------------------- parts


def _header(cards: Mapping[str, Any]) -> fits.Header:
    """Return the header of a mapping of keywords, such as `dict(header)`."""
    try:
        return fits.Header(
            [(key, value) for key, value in cards.items() if key not in ("", "COMMENT", "HISTORY")]
        )
    except (TypeError, ValueError) as error:
        raise InputError(f"wcs=: no FITS header can be made of the mapping: {error}") from None


def _pixels(data: Any, given: MapInput) -> tuple[FloatArray, BoolArray | None]:
    """Return pixels as float64, infinite and masked ones blank, and the mask that was given."""
    masked = np.ma.getmaskarray(data) if isinstance(data, np.ma.MaskedArray) else None
    values = np.asarray(data)
    if values.dtype == object and values.ndim:
        with suppress(TypeError, ValueError):
            values = values.astype(np.float64)
    if values.dtype.kind not in "fiu":
        what = f"an array of {values.dtype}" if values.ndim else f"a {type(data).__name__}"
        raise InputError(
            f"data: {what}: give an array of real numbers, a Quantity, NDData, CCDData or HDU; a file is "
            "read by hyper_py.read_image(path)"
        )
    while values.ndim > 2 and values.shape[0] == 1:
        values = values[0]
        masked = None if masked is None else masked[0]
    if values.ndim != 2:
        what = (
            "a cube? give one plane, data[k], or hyper_py.open_cube(path)"
            if values.ndim == 3
            else "give a map"
        )
        raise InputError(f"data: an array of shape {values.shape}: {what}, of shape (ny, nx)")
    if min(values.shape) == 0:
        raise InputError(f"data: an array of shape {values.shape} has no pixels")
    pixels = values.astype(np.float64)
    pixels[~np.isfinite(pixels)] = np.nan
    if masked is not None:
        pixels[masked] = np.nan
    if given.mask is None:
        return pixels, None
    mask = np.asarray(given.mask)
    if mask.shape != pixels.shape or mask.dtype.kind not in "biu":
        raise InputError(
            f"mask= of shape {mask.shape} and type {mask.dtype} for data of shape {pixels.shape}: "
            "give an array of bool of that shape, True where data are not to be used, or regions (files are "
            "for hyper_py.read_image)"
        )
    return pixels, mask != 0


def _celestial(wcs: Any, shape: tuple[int, int]) -> WCS:
    """Return the two celestial axes of given coordinates."""
    if not isinstance(wcs, WCS):
        raise InputError(f"wcs=: a {type(wcs).__name__}: give an astropy.wcs.WCS or a FITS header")
    if not wcs.has_celestial:
        raise InputError(
            "wcs: no celestial coordinates: CTYPE of two axes must be such as RA---TAN and DEC--TAN"
        )
    celestial = wcs if wcs.naxis == 2 else wcs.celestial
    known = celestial.array_shape
    if known is not None and tuple(known) != shape:
        raise InputError(
            f"wcs: made for an array of shape {tuple(known)}, the data have {shape}: cut both alike "
            "(astropy.nddata.Cutout2D, or wcs[rows, columns])"
        )
    celestial_frame(celestial)
    return celestial


def _error(given: MapInput, areas: float | FloatArray, shape: tuple[int, int]) -> FloatArray:
    """Return 1-sigma errors in Jy/pixel, NaN where they are not positive."""
    error, unit, power = given.error, given.unit, 1.0
    for kind, own_power in _UNCERTAINTIES.items():
        if isinstance(error, kind):
            power = own_power
            own_unit = error.unit
            error = error.array
            if own_unit is not None:
                unit = as_unit(own_unit**power, name="error")
            break
    if isinstance(error, NDUncertainty):
        raise InputError(
            f"error=: a {type(error).__name__}: give a StdDevUncertainty, VarianceUncertainty or "
            "InverseVariance"
        )
    if isinstance(error, u.Quantity):
        unit, error = as_unit(error.unit, name="error"), error.value
    values = np.asarray(error)
    if values.shape != shape or values.dtype.kind not in "fiu":
        raise InputError(
            f"error= of shape {values.shape} and type {values.dtype} for data of shape {shape}: give the "
            "1-sigma error of each pixel, in the unit of the data or as a quantity "
            "(np.full(data.shape, sigma) if it is one number; files are for hyper_py.read_image)"
        )
    assert unit is not None
    with np.errstate(divide="ignore", invalid="ignore"):
        sigma = values.astype(np.float64) ** power * _factor(parse_unit(unit), areas, given)
    sigma[~(np.isfinite(sigma) & (sigma > 0.0))] = np.nan
    return sigma


def _opened_nddata(data: NDData, given: MapInput) -> tuple[Any, MapInput]:
    """Return the pixels of an NDData, and what it says of them where nothing else is given."""
    for name, own in (("wcs", data.wcs), ("mask", data.mask), ("error", data.uncertainty)):
        if own is not None and getattr(given, name) is not None:
            raise InputError(f"{name}=: the {type(data).__name__} has its own: leave {name} out")
    unit = (
        given.unit if data.unit is None else _same_unit(given.unit, data.unit, f"the {type(data).__name__}")
    )
    header = fits.Header(data.meta) if data.meta and not isinstance(data.meta, fits.Header) else data.meta
    notes: list[str] = []
    beam, frequency = given.beam, given.frequency
    wcs = data.wcs if data.wcs is not None else given.wcs
    if isinstance(header, fits.Header):
        beam = beam or header_beam(header, header, notes)
        full = wcs if isinstance(wcs, WCS) else None
        found = header_frequency(full, header, header) if frequency is None else None
        frequency = found[0] if found else frequency
        if unit is None and (text := header_unit(header, header)):
            unit = text[0]
    error = data.uncertainty if data.uncertainty is not None else given.error
    mask = None if data.mask is None else np.broadcast_to(np.asarray(data.mask), np.shape(data.data))
    return data.data, given._replace(
        wcs=wcs, beam=beam, unit=unit, error=error, mask=given.mask if mask is None else mask,
        frequency=frequency,
        name=str(header.get("OBJECT", "") or given.name) if header else given.name,
    )  # fmt: skip


def _same_unit(given: str | None, own: Any, what: str) -> str:
    """Return the unit that data have themselves; raise an error for one that contradicts it."""
    text = as_unit(own)
    assert text is not None
    if given is None:
        return text
    mine, theirs = parse_unit(text), parse_unit(given)
    if (mine.quantity, mine.per, mine.scale) != (theirs.quantity, theirs.per, theirs.scale):
        raise InputError(f"unit={given!r}: {what} is in {text}: leave unit out, or give data.value")
    return text


def check_nothing_given(given: MapInput) -> None:
    """Raise an error if anything is given beside a `SkyImage`, which has all of it.

    Raises
    ------
    ConfigurationError
        Names the arguments.
    """
    names = [name for name, value in given._asdict().items() if value is not None and name != "name"]
    if names:
        raise ConfigurationError(
            f"{', '.join(f'{name}=' for name in names)}: a SkyImage has its own, and is in Jy/pixel: leave "
            "that out, or give the array it was made from"
        )
