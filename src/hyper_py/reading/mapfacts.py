"""Facts of a map from its FITS file and the user's options, and what is still missing.

All faults of a file are collected, so that one line names all of them and the options that help.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from hyper_py.diagnostics import InputError
from hyper_py.geometry import Beam, reference_jacobian
from hyper_py.reading.fits_files import FitsFile, casa_beams, check_scaling, choose_hdu, map_name
from hyper_py.reading.headers import (
    Axes,
    beam_hints,
    celestial_wcs,
    header_beam,
    header_frequency,
    header_unit,
    spectral_axis,
)
from hyper_py.reading.stokes import stokes_keyword, stokes_plane
from hyper_py.reading.surveys import Survey
from hyper_py.units import ACCEPTED_UNITS, FREQUENCY_RANGE, NO_UNIT, MapUnit, parse_unit

T = TypeVar("T")

BEAM_OPTIONS = "set survey.beam (major, minor, pa), survey.psf or survey.name"
_NO_AXES = Axes(x=1, y=2, others=())
_SMALLEST_BEAM = 0.5
"""Pixels per FWHM; with fewer, beam or pixel size must be wrong."""


@dataclass(frozen=True, kw_only=True)
class Given:
    """The user's options for a map, in place of the header; the attributes are those of `io.read_image`."""

    hdu: int | str | None = None
    bunit: str | None = None
    beam: Beam | None = None
    survey: Survey | None = None
    frequency: float | None = None
    stokes: str = "I"


@dataclass(frozen=True, kw_only=True)
class MapFacts:
    """Facts of a map or cube.

    Attributes
    ----------
    name : str
        Of the map.
    index : int
        HDU of the map.
    header, primary : astropy.io.fits.Header
        Of the map and of the file.
    axes : Axes
        Which axis is which.
    wcs, full : astropy.wcs.WCS or None
        The two celestial axes, and all axes.
    shape : (int, int)
        Of a plane, (ny, nx).
    channel_axis : int or None
        FITS number of the axis of channels.
    n_channels : int
        1 for a map.
    fixed : dict
        Position on each axis that is neither sky nor channel.
    unit : MapUnit
        `NO_UNIT` if it is missing.
    unit_source : str
    beams : tuple of (Beam or None)
        One for all, or one for each channel; empty if there is none.
    frequency : (float, str) or None
        Hz at the first channel, and its source.
    problems : tuple of str
        What is missing or impossible, with the option that helps.
    stokes : str
        Name of the plane; empty if nothing says it.
    """

    name: str
    index: int
    header: Any
    primary: Any
    axes: Axes = _NO_AXES
    wcs: Any = None
    full: Any = None
    shape: tuple[int, int] = (0, 0)
    channel_axis: int | None = None
    n_channels: int = 1
    fixed: dict[int, int] = field(default_factory=dict)
    unit: MapUnit = NO_UNIT
    unit_source: str = ""
    beams: tuple[Beam | None, ...] = ()
    frequency: tuple[float, str] | None = None
    problems: tuple[str, ...] = ()
    stokes: str = ""

    def beam(self, channel: int) -> Beam:
        """Beam of a channel; the median one where the file has none for it."""
        beam = self.beams[channel] if len(self.beams) > 1 else self.beams[0]
        if beam is None:
            known = sorted((b for b in self.beams if b is not None), key=lambda b: b.fwhm)
            return known[len(known) // 2]
        return beam

    def has_no_beam(self, channel: int) -> bool:
        """Whether the file has beams, but none for this channel."""
        return len(self.beams) > 1 and self.beams[channel] is None

    def demand(self) -> None:
        """Raise `InputError` if anything is missing: one line with all of it."""
        if self.problems:
            raise InputError(f"{self.name}: {'; '.join(self.problems)}")


def understand(file: FitsFile, given: Given) -> MapFacts:
    """Collect the facts of a file; faults of the header are no exceptions, see `MapFacts.problems`.

    Parameters
    ----------
    file : FitsFile
        Open; assumptions are added to its notes.
    given : Given
        The user's options, which take precedence over the header.

    Raises
    ------
    InputError
        If there is no image in the file, or not the one asked for.
    """
    index = choose_hdu(file, given.hdu)
    header, primary = file.header(index), file.primary
    problems: list[str] = []
    facts: dict[str, Any] = {}
    _attempt(problems, lambda: check_scaling(file, index))
    found = _attempt(problems, lambda: celestial_wcs(header, file.notes, hdus=file.hdus))
    if found is not None:
        wcs, axes, full = found
        sizes = file.images[index][::-1]
        facts = {"wcs": wcs, "axes": axes, "full": full, "shape": (sizes[axes.y - 1], sizes[axes.x - 1])}
        facts |= _attempt(problems, lambda: _channels(file, index, axes, full, given.stokes)) or {}
    facts |= _unit(problems, header, primary, given)
    facts["frequency"] = _frequency(problems, facts, header, primary, given)
    beams = _attempt(problems, lambda: _beams(file, header, primary, given), f": {BEAM_OPTIONS}")
    if beams is not None and not beams:
        problems.append(f"no beam{beam_hints(header, primary)}: {BEAM_OPTIONS}")
    facts["beams"] = tuple(beams or ())
    pixel = None if found is None else _attempt(problems, lambda: reference_jacobian(wcs, facts["shape"]))
    if pixel is not None and beams:
        _attempt(problems, lambda: check_beams(facts), f": {BEAM_OPTIONS}, or correct the header")
    return MapFacts(
        name=map_name(file.path),
        index=index,
        header=header,
        primary=primary,
        problems=tuple(problems),
        **facts,
    )


def _attempt(problems: list[str], action: Callable[[], T], advice: str = "") -> T | None:
    """Return the result of an action; None, and the fault noted, if it raises `InputError`."""
    try:
        return action()
    except InputError as error:
        problems.append(f"{error}{advice}")
        return None


def _channels(file: FitsFile, index: int, axes: Axes, full: Any, wanted: str) -> dict[str, Any]:
    """Find the axis of channels, and the position on each remaining axis that is not celestial."""
    stokes, sizes = "", file.images[index][::-1]
    long = [axis for axis in axes.others if sizes[axis - 1] > 1]
    spectral = spectral_axis(full)
    fixed = {axis: 0 for axis in axes.others if axis not in long}
    for axis in axes.others:
        if axis <= full.naxis and str(full.wcs.ctype[axis - 1]).upper().startswith("STOKES"):
            fixed[axis], stokes = stokes_plane(full, axis, sizes[axis - 1], wanted=wanted)
            if axis in long:
                long.remove(axis)
                file.notes.append(f"Stokes {stokes} was taken of {sizes[axis - 1]} planes")
    if not stokes:
        stokes = stokes_keyword(file.header(index), wanted=wanted)
    if not stokes and wanted != "I":
        raise InputError(f"no axis of Stokes parameters for io.stokes: {wanted}: leave the key out")
    if len(long) > 1:
        raise InputError(
            f"axes {long} of the data are neither sky nor Stokes: only one axis of channels can be read"
        )
    channel_axis = long[0] if long else spectral if spectral in axes.others else None
    if channel_axis is not None:
        fixed.pop(channel_axis, None)
    n_channels = 1 if channel_axis is None else sizes[channel_axis - 1]
    return {"channel_axis": channel_axis, "n_channels": n_channels, "fixed": fixed, "stokes": stokes}


def _unit(problems: list[str], header: Any, primary: Any, given: Given) -> dict[str, Any]:
    """Read the unit from the option or the header."""
    found = (given.bunit, "units.bunit") if given.bunit else header_unit(header, primary)
    if found is None:
        problems.append(f"no BUNIT in the header: set units.bunit to one of {ACCEPTED_UNITS}")
        return {}
    advice = "" if given.bunit else ": set units.bunit"
    unit = _attempt(problems, lambda: parse_unit(found[0]), advice)
    return {"unit": unit or NO_UNIT, "unit_source": found[1]}


def _frequency(
    problems: list[str], facts: dict[str, Any], header: Any, primary: Any, given: Given
) -> tuple[float, str] | None:
    """Return the frequency and its source: the option, the header, the preset."""
    found = header_frequency(facts.get("full"), header, primary)
    if given.frequency is not None:
        found = (given.frequency, "units.frequency")
        if not FREQUENCY_RANGE[0] <= given.frequency <= FREQUENCY_RANGE[1]:
            problems.append(f"units.frequency of {given.frequency} Hz is not plausible")
    elif found is None and given.survey is not None:
        found = (given.survey.frequency, f"survey {given.survey.name}")
    unit = facts.get("unit", NO_UNIT)
    if found is None and unit is not NO_UNIT and unit.needs_frequency:
        problems.append(f"unit '{unit.text}' needs a frequency: set units.frequency (Hz)")
    return found


def _beams(file: FitsFile, header: Any, primary: Any, given: Given) -> list[Beam | None]:
    """Return the beam, or one for each channel: option, preset, header, CASA table, AIPS HISTORY."""
    if given.beam is not None:
        return [given.beam]
    if given.survey is not None:
        if given.survey.note:
            file.notes.append(f"survey {given.survey.name}: {given.survey.note}")
        return [given.survey.beam]
    beam = header_beam(header, primary, file.notes)
    by_channel = header.get("CASAMBM") is True
    if beam is not None and "HISTORY" not in beam.source and not by_channel:
        return [beam]
    beams = casa_beams(file)
    known = [b for b in beams if b is not None]
    if not known:
        return [] if beam is None else [beam]
    if beam is not None and by_channel:
        file.notes.append(f"CASAMBM: the beams are those of the table, not of {beam.source}")
    if len(known) < len(beams):
        without = [k + 1 for k, b in enumerate(beams) if b is None]
        file.notes.append(f"channels without a beam in the CASA table, the median one is used: {without}")
    return beams


def check_beams(facts: dict[str, Any]) -> None:
    """Raise an error if a beam is much smaller than a pixel or larger than the map.

    Parameters
    ----------
    facts : dict
        `wcs`, `shape`, `beams` and, of a cube, `n_channels`.
    """
    scale = float(np.sqrt(abs(np.linalg.det(reference_jacobian(facts["wcs"], facts["shape"])))))
    for beam in facts["beams"]:
        if (
            beam is not None
            and not _SMALLEST_BEAM * scale <= beam.minor <= beam.major <= max(facts["shape"]) * scale
        ):
            raise InputError(
                f"a beam of {beam.major:.4g} x {beam.minor:.4g} arcsec ({beam.source}) cannot be right on "
                f"pixels of {scale:.4g} arcsec and a map of {max(facts['shape']) * scale:.4g} arcsec"
            )
    n = facts.get("n_channels", 1)
    if 1 < len(facts["beams"]) < n:
        raise InputError(f"the beams table has {len(facts['beams'])} channels, the data {n}")
