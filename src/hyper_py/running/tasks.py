"""The task of one map, and its result."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from hyper_py.diagnostics import InputError
from hyper_py.files import checksum

if TYPE_CHECKING:
    from hyper_py.config import Config
    from hyper_py.pipeline.extraction import Extraction


@dataclass(frozen=True, kw_only=True)
class MapTask:
    """One map to do; small and picklable, so that any executor can carry it.

    Attributes
    ----------
    index : int
        Place in the order of the inputs, from 0.
    name : str
        MAP in the names of outputs.
    path : Path
        The input file.
    config : Config
        The full configuration of the run.
    depends : dict of str to str
        From `hyper_py.running.dependencies.dependencies`.
    checksum : str
        Of the input, where it is known already.
    spectral : tuple of (str, float, str, str), optional
        Of a channel: name, value, unit and description of the column with its frequency or velocity.
    n_workers : int
        Processes that do parts of the map, see `hyper_py.numerics.parallel`.
    """

    index: int
    name: str
    path: Path
    config: "Config"
    depends: dict[str, str] = field(default_factory=dict)
    checksum: str = ""
    n_workers: int = 1
    spectral: tuple[str, float, str, str] | None = None
    has_figure: ClassVar[bool] = True
    """Whether the map with its sources is drawn; a cube has no figure for each channel."""
    may_be_cube: ClassVar[bool] = True
    """Whether the file may hold a cube, to be done channel by channel."""

    def content(self) -> str:
        """Return the SHA-256 of the input; `InputError` if it cannot be read."""
        return self.checksum or input_checksum(self.path)


@dataclass(frozen=True, kw_only=True)
class MapResult:
    """Result of one map.

    Attributes
    ----------
    status : str
        `done`, `failed`, `resumed` (complete from an earlier run) or `pending` (interrupted before).
    reason : str
        One line that says why the map failed; empty otherwise.
    warnings, notes : tuple of str
        What is odd, and what was assumed or corrected when the file was read; one line each.
    flags : dict of str to int
        How many rows have each flag, by its words, the commonest first.
    rms, unit : float, str
        Noise of the map (the median of a map of the noise) and its unit, mJy/beam or Jy/beam.
    pixel_scale, beam_fwhm : float
        Arcsec.
    seconds : float
        Wall-clock time spent on the map.
    checksum : str
        SHA-256 of the input file.
    outputs : tuple of str
        Files written, relative to the output directory.
    attempts : int
        2 if a worker died over the map.
    removed : tuple of str
        Outputs of an earlier run that were removed and not written anew.
    bands : tuple of dict
        Of a field: what is known of each band, plain JSON; empty for a map.
    """

    index: int
    name: str
    path: Path
    status: str
    reason: str = ""
    warnings: tuple[str, ...] = ()
    n_sources: int = 0
    rms: float = float("nan")
    unit: str = ""
    pixel_scale: float = float("nan")
    beam_fwhm: float = float("nan")
    seconds: float = 0.0
    checksum: str = ""
    outputs: tuple[str, ...] = ()
    attempts: int = 1
    removed: tuple[str, ...] = ()
    bands: tuple[dict[str, Any], ...] = ()
    notes: tuple[str, ...] = ()
    flags: dict[str, int] = field(default_factory=dict, hash=False)

    @property
    def ok(self) -> bool:
        """True if the map's outputs are complete."""
        return self.status in ("done", "resumed")


LIGHT_SPEED = 299792458.0
"""Metres a second."""

Measure: TypeAlias = "Callable[[MapTask], Extraction]"
"""Gives the `Extraction` of a task."""


def input_checksum(path: Path) -> str:
    """Return the checksum of an input; `InputError` if it cannot be read."""
    from hyper_py.reading.recognise import casa_checksum, is_casa_image

    try:
        return casa_checksum(path) if is_casa_image(path) else checksum(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def reading_options(config: "Config") -> dict[str, Any]:
    """Return the keyword arguments of `io.read_image` and `open_cube` that a configuration gives.

    Raises
    ------
    InputError
        If the beam is to be measured on an image of the PSF that cannot be used.
    """
    from hyper_py.geometry import Beam
    from hyper_py.reading.auxiliary import is_file_name
    from hyper_py.reading.psf import beam_from_psf

    io, survey, given = config.io, config.survey, config.survey.beam
    beam = None
    if given is not None:
        beam = Beam(major=given.major, minor=given.minor or given.major, pa=given.pa, source="survey.beam")
    if survey.psf is not None:
        path = config.below_config(survey.psf)
        beam = beam_from_psf(path, pixel=survey.psf_pixel, hdu=survey.psf_hdu)

    frequency = config.units.frequency
    if survey.wavelength is not None:
        frequency = 1e6 * LIGHT_SPEED / survey.wavelength

    def place(where: str | int | None) -> str | int | None:
        return str(config.below_config(where)) if isinstance(where, str) and is_file_name(where) else where

    return {
        "hdu": io.hdu,
        "stokes": io.stokes,
        "error_hdu": place(io.error_hdu),
        "mask": place(io.mask),
        "region": place(config.detection.region),
        "region_keep": config.detection.region_keep,
        "primary_beam": place(io.primary_beam),
        "primary_beam_corrected": io.primary_beam_corrected,
        "fill_values": io.fill_values,
        "bunit": config.units.bunit,
        "frequency": frequency,
        "beam": beam,
        "survey_name": survey.name,
        "survey_code": survey.survey_code,
    }
