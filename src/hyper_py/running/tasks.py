"""The task of one map, and its result."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from hyper_py import __version__

if TYPE_CHECKING:
    from hyper_py.config import Config
    from hyper_py.pipeline.extraction import Extraction

_IRRELEVANT = (
    ("control", "parallel_maps"),
    ("control", "n_cores"),
    ("control", "executor"),
    ("control", "dask_scheduler"),
    ("control", "tile_size_pix"),
    ("control", "max_memory"),
    ("paths", "input"),
    ("files", "file_map_name"),
    ("files", "file_log_name"),
    ("outputs", "report"),
)
"""Keys that do not affect a map's outputs."""


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
    fingerprint : str
        From `fingerprint`.
    checksum : str
        Of the input, where it is known already.
    """

    index: int
    name: str
    path: Path
    config: "Config"
    fingerprint: str = ""
    checksum: str = ""
    has_figure: ClassVar[bool] = True
    """Whether the map with its sources is drawn; a cube has no figure for each channel."""


@dataclass(frozen=True, kw_only=True)
class MapResult:
    """Result of one map.

    Attributes
    ----------
    status : str
        `done`, `failed`, `resumed` (complete from an earlier run) or `pending` (interrupted before).
    reason : str
        One line that says why the map failed; empty otherwise.
    warnings : tuple of str
        One line each.
    rms, unit : float, str
        Noise of the map (the median of a map of the noise) and its unit, mJy/beam or Jy/beam.
    pixel_scale : float
        Arcsec.
    seconds : float
        Wall-clock time spent on the map.
    checksum : str
        SHA-256 of the input file.
    outputs : tuple of str
        Files written, relative to the output directory.
    attempts : int
        2 if a worker died over the map.
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
    seconds: float = 0.0
    checksum: str = ""
    outputs: tuple[str, ...] = ()
    attempts: int = 1

    @property
    def ok(self) -> bool:
        """True if the map's outputs are complete."""
        return self.status in ("done", "resumed")


Measure: TypeAlias = "Callable[[MapTask], Extraction]"
"""Gives the `Extraction` of a task."""


def fingerprint(config: "Config") -> str:
    """Return a hash of everything besides the map that affects its outputs."""
    values = config.to_mapping()
    for section, key in _IRRELEVANT:
        values[section].pop(key, None)
    values["paths"]["output"].pop("dir_root", None)
    values["software"] = __version__
    if config.detection.use_fixed_source_table:
        table = config.below_root(config.detection.fixed_source_table_path)
        values["fixed_sources"] = table.read_text(errors="replace") if table.is_file() else None
    if config.detection.regions:
        regions = config.below_config(config.detection.regions)
        values["regions"] = regions.read_text(errors="replace") if regions.is_file() else None
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


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

    def place(where: str | int | None) -> str | int | None:
        return str(config.below_config(where)) if isinstance(where, str) and is_file_name(where) else where

    return {
        "hdu": io.hdu,
        "error_hdu": place(io.error_hdu),
        "mask": place(io.mask),
        "primary_beam": place(io.primary_beam),
        "primary_beam_corrected": io.primary_beam_corrected,
        "fill_values": io.fill_values,
        "bunit": config.units.bunit,
        "frequency": config.units.frequency,
        "beam": beam,
        "survey_name": survey.name,
        "survey_code": survey.survey_code,
    }
