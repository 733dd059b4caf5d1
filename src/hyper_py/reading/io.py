"""Maps and cubes from FITS files: `read_image`, `open_cube`."""

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import numpy as np
from astropy.io import fits

from hyper_py.arrays import BoolArray
from hyper_py.diagnostics import InputError
from hyper_py.display import Summarised, Summary
from hyper_py.geometry import Beam
from hyper_py.image import SkyImage
from hyper_py.reading.fill import AUTO
from hyper_py.reading.fits_files import open_fits, warnings_into
from hyper_py.reading.headers import spectral_values
from hyper_py.reading.making import Extras, OpenMap, make_image, streamed_image
from hyper_py.reading.mapfacts import Given, MapFacts, understand
from hyper_py.reading.pixel_areas import pixel_areas
from hyper_py.reading.streamed import bytes_at_once
from hyper_py.reading.surveys import HEADER_CODE, find_survey
from hyper_py.units import standard_text

_LINEAR = 1e-6
"""Of a step: what steps of a linear axis may differ by."""
_CUBE_KEYS = ("OBJECT", "TELESCOP", "INSTRUME", "DATE-OBS")


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
    region: str | Path | int | BoolArray | None = None,
    region_keep: Literal["inside", "outside"] = "inside",
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
        HDU, other file or array; pixels that are True (or not zero) are not used. A DS9 or CRTF region file,
        DS9 text or a MOC: what is in it is not used.
    region : path, int, str or ndarray of bool (ny, nx), optional
        The same for where sources are looked for; all pixels are used.
    region_keep : {"inside", "outside"}
        Whether that is inside `region` or outside.
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
    extras = Extras(
        error=error_hdu, mask=mask, region=region, region_keep=region_keep, primary_beam=primary_beam,
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
        source = OpenMap(file=file, facts=facts, given=given, extras=extras, areas=areas)
        if large:
            return streamed_image(source, plane or 0, limit=max_memory or 0.0)
        image = make_image(source, plane or 0)
    if not np.isfinite(image.data).any():
        errors = None if isinstance(error_hdu, str) and error_hdu == AUTO else error_hdu
        places = {"io.error_hdu": errors, "io.mask": mask, "io.primary_beam": primary_beam}
        used = " and ".join(key for key, place in places.items() if place is not None)
        raise InputError(f"{image.name}: every pixel is blank{f', with {used}' if used else ''}")
    if "constant" in image.meta:
        raise InputError(f"{image.name}: every pixel is {image.meta['constant']:g}: nothing to measure")
    return replace(image, meta=image.meta | {"notes": tuple(file.notes)})


class CubeReader(Summarised):
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

    def __init__(self, source: OpenMap, stack: ExitStack) -> None:
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

    def _summary(self) -> Summary:
        n, ny, nx = self.shape
        first, last = self.spectral_values[0], self.spectral_values[-1]
        beam = self.beams[0]
        beams = f"{beam.major:.4g} x {beam.minor:.4g} arcsec" + (
            ", one for each channel" if len(set(self.beams)) > 1 else ""
        )
        scale, unit = (1e-9, "GHz") if self.spectral_unit == "Hz" else (1.0, self.spectral_unit)
        axis = f"{self.spectral_type} {first * scale:.8g} to {last * scale:.8g} {unit}".strip()
        return Summary(
            title=f"CubeReader {self.name!r}: {n} channels of {nx} x {ny} pixels",
            facts=(("spectrum", axis), ("beam", beams), ("unit", self.unit)),
        )

    def __len__(self) -> int:
        """Return the number of channels."""
        return self.shape[0]

    def __iter__(self) -> Iterator[SkyImage]:
        """Iterate over the channels in order."""
        return (self.channel(k) for k in range(len(self)))

    def __getitem__(self, k: int) -> SkyImage:
        """Read a channel; negative numbers count from the end."""
        return self.channel(k + len(self) if isinstance(k, int) and -len(self) <= k < 0 else k)

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
        if not isinstance(k, int | np.integer) or not 0 <= k < len(self):
            raise InputError(f"{self.name}: no channel {k!r}: there are {len(self)}, counted from 0")
        with warnings_into(self._source.file.notes):
            image = make_image(self._source, k)
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
    region: str | Path | int | BoolArray | None = None,
    region_keep: Literal["inside", "outside"] = "inside",
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
    mask, region, region_keep, primary_beam, primary_beam_corrected, fill_values
        As in `read_image`; error, mask, region and primary beam may be cubes of as many channels, or maps.
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
    extras = Extras(
        error=error_hdu, mask=mask, region=region, region_keep=region_keep, primary_beam=primary_beam,
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
            source = OpenMap(file=file, facts=facts, given=given, extras=extras, areas=areas)
            return CubeReader(source, stack.pop_all())
    raise AssertionError("unreachable")  # for type checkers: ExitStack might swallow exceptions


def _cube_header(facts: MapFacts) -> fits.Header:
    """Return a header with the coordinates of sky and channels, in the order x, y, channel."""
    axes = [facts.axes.x, facts.axes.y]
    axis = facts.channel_axis
    if axis is not None:
        axes.append(axis if axis <= facts.full.naxis else 0)
    header = facts.full.sub(axes).to_header(relax=True)
    if str(header.get("CTYPE3", "")).endswith("-TAB"):
        _without_table(header, facts)
    for key in _CUBE_KEYS:
        value = facts.header.get(key)
        if isinstance(value, int | float | str):
            header[key] = value
    if len(facts.beams) == 1:
        beam = facts.beam(0)
        header["BMAJ"], header["BMIN"], header["BPA"] = beam.major / 3600.0, beam.minor / 3600.0, beam.pa
    header["BUNIT"] = standard_text(facts.unit)
    return header


def _without_table(header: fits.Header, facts: MapFacts) -> None:
    """Replace a tabulated third axis by a linear one; by the numbers of channels if it is not linear."""
    values, unit = spectral_values(facts.full, facts.channel_axis, np.arange(facts.n_channels))
    for key in [key for key in header if re.fullmatch(r"P[SV]3_\d+|C(TYPE|UNIT|RVAL|RPIX|DELT)3", key)]:
        del header[key]
    steps = np.diff(values) if values.size > 1 else np.ones(1)
    is_linear = bool(np.ptp(steps) <= _LINEAR * np.abs(steps).max()) and steps[0] != 0.0
    kind = str(facts.full.wcs.ctype[(facts.channel_axis or 1) - 1])[:4] if is_linear else "CHANNEL"
    header["CTYPE3"], header["CUNIT3"] = kind, unit if is_linear else ""
    header["CRPIX3"], header["CRVAL3"] = 1.0, float(values[0]) if is_linear else 1.0
    header["CDELT3"] = float(steps[0]) if is_linear else 1.0
