"""Maps and cubes from FITS files: `read_image`, `open_cube`."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from astropy.io import fits

from hyper_py.arrays import BoolArray, FloatArray
from hyper_py.diagnostics import InputError
from hyper_py.geometry import Beam
from hyper_py.image import SkyImage
from hyper_py.numerics.tiles import LazyPlane
from hyper_py.reading.auxiliary import find_error, read_error, read_mask, read_primary_beam, streamed_mask
from hyper_py.reading.fill import AUTO, Fill, find_fill, without_fill
from hyper_py.reading.fits_files import FitsFile, header_blank, open_fits, read_plane, warnings_into
from hyper_py.reading.headers import header_frequency, spectral_values
from hyper_py.reading.mapfacts import Given, MapFacts, understand
from hyper_py.reading.pixel_areas import pixel_areas, pixel_areas_in_parts
from hyper_py.reading.streamed import bytes_at_once, streamed_plane
from hyper_py.reading.surveys import HEADER_CODE, find_survey
from hyper_py.units import jy_per_pixel, standard_text

_FACT_KEYS = {"object": "OBJECT", "telescope": "TELESCOP", "instrument": "INSTRUME", "observed": "DATE-OBS"}
_CUBE_KEYS = ("OBJECT", "TELESCOP", "INSTRUME", "DATE-OBS")


@dataclass(frozen=True, kw_only=True)
class _Extras:
    """Error, mask and primary beam of a map, as given to `read_image`."""

    error: str | int | Path | None = None
    mask: str | int | Path | BoolArray | None = None
    primary_beam: str | int | Path | None = None
    primary_beam_corrected: bool | None = None
    fill_values: Sequence[float] | str = AUTO


@dataclass(frozen=True, kw_only=True)
class _Source:
    """An open map or cube and the facts of its header; `areas` are its pixel areas in arcsec2."""

    file: FitsFile
    facts: MapFacts
    given: Given
    extras: _Extras
    areas: float | FloatArray


def read_image(
    path: str | Path,
    *,
    hdu: int | str | None = None,
    error_hdu: int | str | Path | None = None,
    bunit: str | None = None,
    beam: Beam | None = None,
    survey_name: str | None = None,
    survey_code: int = HEADER_CODE,
    frequency: float | None = None,
    stokes: str = "I",
    mask: str | Path | int | BoolArray | None = None,
    primary_beam: str | Path | int | None = None,
    primary_beam_corrected: bool | None = None,
    fill_values: Sequence[float] | str = AUTO,
    plane: int | None = None,
    max_memory: float | None = None,
) -> SkyImage:
    """Read a map from a FITS file into Jy/pixel.

    Parameters
    ----------
    path : str or Path
        Plain, gzipped or tile-compressed FITS.
    hdu : int or str, optional
        Number or name of the HDU of the map; found if not given.
    error_hdu : int, str or Path, optional
        HDU with the 1-sigma error, the variance or the inverse variance, or another file (`error.fits`,
        `error.fits[ERR]`); a pixel without a positive error is blank. "auto" takes the extension of the file
        that is named so and has the map's pixels, if there is just one.
    bunit : str, optional
        Unit of the map, in place of BUNIT.
    beam : Beam, optional
        Beam of the map, in place of the header's.
    survey_name : str, optional
        Preset with the beam, see `hyper_py.reading.surveys`; in place of the header's.
    survey_code : int
        The original's code of a preset; 15 takes the beam from the header.
    frequency : float, optional
        Hz, in place of the header's; needed by K and W/m2/sr.
    stokes : str
        Which plane of a polarisation axis; one that is not there is an error.
    mask : path, int, str or ndarray of bool (ny, nx), optional
        HDU, other file or array; pixels that are True (or not zero) are not used.
    primary_beam : path, int or str, optional
        HDU or other file with the response of the primary beam.
    primary_beam_corrected : bool, optional
        Whether the map is divided by the primary beam already; needed if the file does not say so.
    fill_values : sequence of float, or "auto"
        Values, in the file's unit, that mean blank; "auto" finds them, see `hyper_py.reading.fill`.
    plane : int, optional
        Channel of a cube, from 0.
    max_memory : float, optional
        Bytes; the pixels of a map that would need more memory stay in the file and are read when they are
        needed.

    Returns
    -------
    SkyImage
        `meta` holds `notes` (what was assumed or odd), `unit_source`, `frequency` in Hz and its source,
        `hdu`, `fill` (values that stand for blank pixels, and what was done), and `object`, `telescope`,
        `instrument`, `observed` where the header has them.

    Raises
    ------
    InputError
        If something is missing or impossible; one line names the file, all that is missing, and the options.
    ConfigurationError
        If there is no such survey.
    """
    survey = find_survey(code=survey_code, name=survey_name)
    given = Given(hdu=hdu, bunit=bunit, beam=beam, survey=survey, frequency=frequency, stokes=stokes)
    extras = _Extras(
        error=error_hdu, mask=mask, primary_beam=primary_beam,
        primary_beam_corrected=primary_beam_corrected, fill_values=fill_values,
    )  # fmt: skip
    with open_fits(path) as file, warnings_into(file.notes):
        facts = understand(file, given)
        if plane is None and facts.n_channels > 1:
            raise InputError(
                f"{facts.name}: a cube of {facts.n_channels} channels: set control.datacube to true"
            )
        facts.demand()
        if plane is not None and not 0 <= plane < facts.n_channels:
            raise InputError(f"{facts.name}: no plane {plane}: there are {facts.n_channels}, counted from 0")
        large = max_memory is not None and bytes_at_once(facts.shape) > max_memory
        areas = 1.0 if large else pixel_areas(facts.wcs, facts.shape)
        source = _Source(file=file, facts=facts, given=given, extras=extras, areas=areas)
        if large:
            return _streamed_image(source, plane or 0, limit=max_memory or 0.0)
        image = _make_image(source, plane or 0)
    if not np.isfinite(image.data).any():
        places = {"io.error_hdu": error_hdu, "io.mask": mask, "io.primary_beam": primary_beam}
        used = " and ".join(key for key, place in places.items() if place is not None)
        raise InputError(f"{image.name}: every pixel is blank{f', with {used}' if used else ''}")
    if "constant" in image.meta:
        raise InputError(f"{image.name}: every pixel is {image.meta['constant']:g}: nothing to measure")
    return replace(image, meta=image.meta | {"notes": tuple(file.notes)})


def _make_image(source: _Source, channel: int) -> SkyImage:
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
    constant = {"constant": float(np.nanmax(known))} if _is_constant(known) else {}
    data = known * factor
    place, remark = find_error(file, facts) if extras.error == AUTO else (extras.error, "")
    data[np.isnan(np.broadcast_to(areas, data.shape))] = np.nan
    error, response = None, None
    if extras.mask is not None:
        data[read_mask(file, facts, extras.mask, channel=channel)] = np.nan
    if place is not None:
        error, error_unit = read_error(file, facts, place, channel=channel)
        if error_unit.needs_frequency and frequency is None:
            text = f"the errors' unit '{error_unit.text}' needs a frequency: set units.frequency (Hz)"
            raise InputError(f"{facts.name}: {text}")
        error *= jy_per_pixel(error_unit, **convert)
        data[np.isnan(error)] = np.nan
    if extras.primary_beam is not None:
        response, corrected = read_primary_beam(
            file, facts, extras.primary_beam, corrected=extras.primary_beam_corrected, channel=channel
        )
        data = data + 0.0 * response if corrected else data / response
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
        meta=_meta(facts, frequency)
        | constant
        | _said(fills)
        | ({"errors": remark} if remark else {})
        | ({"no_beam": _NO_BEAM.format(channel + 1)} if facts.has_no_beam(channel) else {}),
    )


def _streamed_image(source: _Source, channel: int, *, limit: float) -> SkyImage:
    """Return a map whose pixels stay in the file."""
    file, facts, extras = source.file, source.facts, source.extras
    need = f"{facts.shape[1]} x {facts.shape[0]} pixels take up to {bytes_at_once(facts.shape) / 1e9:.1f} GB"
    advice = f"more than control.max_memory = {limit / 1e9:g}: set it higher"
    found, remark = find_error(file, facts) if extras.error == AUTO else (None, "")
    if found is not None:
        remark = f"{file.label(found)} may hold the errors of the map, which was read in pieces: not used; "
        remark += "io.error_hdu needs the map in memory, see control.max_memory"
    named = None if extras.error == AUTO else extras.error
    for key, extra in (("io.error_hdu", named), ("io.primary_beam", extras.primary_beam)):
        if extra is not None:
            raise InputError(f"{facts.name}: {need}, {advice}; with {key} a map cannot be read in pieces")
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

    def factor_of(area: float | FloatArray) -> float | FloatArray:
        return jy_per_pixel(
            facts.unit, pixel_area=area, beam_area=beam.solid_angle,
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
    notes = (*file.notes, f"{need} at once: read in pieces")
    return SkyImage(
        data=data, wcs=facts.wcs, beam=beam, name=facts.name, unit=facts.unit.text, jy_per_pixel=factor,
        meta=_meta(facts, frequency) | _said(fills) | ({"errors": remark} if remark else {})
        | {"notes": notes},
    )  # fmt: skip


_NO_BEAM = "channel {} has no beam in the table of beams: the median one is used"


def _is_constant(values: FloatArray) -> bool:
    """Return whether all pixels that are not blank are the same; in Jy/pixel areas would make them differ."""
    known = values[np.isfinite(values)]
    return bool(known.size > 1 and known.min() == known.max())


def _said(fills: Sequence[Fill]) -> dict[str, Any]:
    """Return what is said of numbers that stand for blank pixels."""
    return {"fill": tuple(fill.describe() for fill in fills)} if fills else {}


def _meta(facts: MapFacts, frequency: tuple[float, str] | None) -> dict[str, Any]:
    """Return the facts of a header that outputs repeat, such as object and telescope."""
    meta: dict[str, Any] = {"hdu": facts.index, "unit_source": facts.unit_source}
    if frequency is not None:
        meta |= {"frequency": frequency[0], "frequency_source": frequency[1]}
    if facts.stokes:
        meta["stokes"] = facts.stokes
    for name, key in _FACT_KEYS.items():
        value = facts.header.get(key, facts.primary.get(key))
        if isinstance(value, str) and value.strip():
            meta[name] = value.strip()
    return meta


class CubeReader:
    """A cube whose channels are read one at a time; made by `open_cube`, to be used in a `with` statement.

    Memory holds a few planes, whatever the number of channels. A gzipped cube is unpacked to a temporary
    file on disk; of a tile-compressed one, only the tiles of the channel are unpacked.

    Attributes
    ----------
    name : str
    shape : (int, int, int)
        Channels, ny, nx.
    wcs : astropy.wcs.WCS
        Of a plane.
    unit : str
        The cube's own unit.
    beams : tuple of Beam
        One for each channel.
    spectral_values : ndarray, shape (n_channels,)
        From the file's coordinates; channel numbers, from 0, where it has none.
    spectral_unit : str
        '' for channel numbers.
    spectral_type : str
        Type of the spectral axis as in CTYPE, such as FREQ or VRAD; '' for channel numbers.
    dtype : str
        Type of derived cubes: float64 if the file has float64, else float32.
    header : astropy.io.fits.Header
        For a cube of this shape in this unit: coordinates of all three axes, the beam, the object.
    """

    def __init__(self, source: _Source, stack: ExitStack) -> None:
        facts = source.facts
        self._source, self._stack = source, stack
        self.name, self.wcs, self.unit = facts.name, facts.wcs, facts.unit.text
        self.shape = (facts.n_channels, *facts.shape)
        self.beams = tuple(facts.beam(k) for k in range(facts.n_channels))
        self.spectral_values, self.spectral_unit = spectral_values(
            facts.full, facts.channel_axis, np.arange(facts.n_channels)
        )
        axis = facts.channel_axis
        known = axis is not None and self.spectral_unit
        self.spectral_type = str(facts.full.wcs.ctype[axis - 1]).strip()[:4] if axis and known else ""
        self.dtype = "float64" if int(facts.header["BITPIX"]) == -64 else "float32"
        self.header = _cube_header(facts)

    def __len__(self) -> int:
        """Return the number of channels."""
        return self.shape[0]

    def __iter__(self) -> Iterator[SkyImage]:
        """Iterate over the channels in order."""
        return (self.channel(k) for k in range(len(self)))

    def channel(self, k: int) -> SkyImage:
        """Read a channel.

        Parameters
        ----------
        k : int
            From 0.

        Returns
        -------
        SkyImage
            With the channel's own beam and frequency; it may be blank. Its name is the cube's, and
            `meta['channel']` is `k`.

        Raises
        ------
        InputError
            If the file cannot be read there, or there is no such channel.
        """
        if not 0 <= k < len(self):
            raise InputError(f"{self.name}: no channel {k}: there are {len(self)}, counted from 0")
        with warnings_into(self._source.file.notes):
            image = _make_image(self._source, k)
        values = {"channel": k, "spectral_value": float(self.spectral_values[k])}
        return replace(image, meta=image.meta | values | {"notes": self.notes})

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks about the file: assumptions and oddities."""
        return tuple(self._source.file.notes)

    def close(self) -> None:
        """Close the file."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_cube(
    path: str | Path,
    *,
    hdu: int | str | None = None,
    error_hdu: int | str | Path | None = None,
    bunit: str | None = None,
    beam: Beam | None = None,
    survey_name: str | None = None,
    survey_code: int = HEADER_CODE,
    frequency: float | None = None,
    stokes: str = "I",
    mask: str | Path | int | BoolArray | None = None,
    primary_beam: str | Path | int | None = None,
    primary_beam_corrected: bool | None = None,
    fill_values: Sequence[float] | str = AUTO,
    max_memory: float | None = None,
) -> CubeReader:
    """Open a cube, to read its channels one at a time.

    Parameters
    ----------
    path, hdu, error_hdu, bunit, beam, survey_name, survey_code, frequency, stokes
        As in `read_image`.
    mask, primary_beam, primary_beam_corrected, fill_values
        As in `read_image`; error, mask and primary beam may be cubes of as many channels, or maps.
    max_memory : float, optional
        Bytes; a cube whose channels would need more is refused.

    Returns
    -------
    CubeReader
        Close it, or use it in a `with` statement.

    Raises
    ------
    InputError
        As `read_image`. A map is a cube of one channel.
    """
    survey = find_survey(code=survey_code, name=survey_name)
    given = Given(hdu=hdu, bunit=bunit, beam=beam, survey=survey, frequency=frequency, stokes=stokes)
    extras = _Extras(
        error=error_hdu, mask=mask, primary_beam=primary_beam,
        primary_beam_corrected=primary_beam_corrected, fill_values=fill_values,
    )  # fmt: skip
    with ExitStack() as stack:
        file = stack.enter_context(open_fits(path))
        with warnings_into(file.notes):
            facts = understand(file, given)
            facts.demand()
            if max_memory is not None and bytes_at_once(facts.shape) > max_memory:
                raise InputError(
                    f"{facts.name}: a channel of {facts.shape[1]} x {facts.shape[0]} pixels takes up to "
                    f"{bytes_at_once(facts.shape) / 1e9:.1f} GB, more than control.max_memory: set it higher"
                )
            areas = pixel_areas(facts.wcs, facts.shape)
            source = _Source(file=file, facts=facts, given=given, extras=extras, areas=areas)
            return CubeReader(source, stack.pop_all())
    raise AssertionError("unreachable")  # for type checkers: ExitStack might swallow exceptions


def _cube_header(facts: MapFacts) -> fits.Header:
    """Return a header with the coordinates of sky and channels, in the order x, y, channel."""
    axes = [facts.axes.x, facts.axes.y]
    axis = facts.channel_axis
    if axis is not None:
        axes.append(axis if axis <= facts.full.naxis else 0)
    header = facts.full.sub(axes).to_header(relax=True)
    for key in _CUBE_KEYS:
        value = facts.header.get(key)
        if isinstance(value, int | float | str):
            header[key] = value
    if len(facts.beams) == 1:
        beam = facts.beam(0)
        header["BMAJ"], header["BMIN"], header["BPA"] = beam.major / 3600.0, beam.minor / 3600.0, beam.pa
    header["BUNIT"] = standard_text(facts.unit)
    return header
