"""Sources that the configuration gives: positions and apertures, as lists or as a table.

The pipeline is imported only if there are any, because the parent of workers does not need it.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hyper_py.diagnostics import ConfigurationError, InputError
from hyper_py.geometry import Beam
from hyper_py.writing.tables import read_any_table

if TYPE_CHECKING:
    from hyper_py.config import Config
    from hyper_py.detection.given import FixedSources


def fixed_sources(config: "Config") -> "FixedSources | None":
    """Return the sources to measure instead of detected ones, if the configuration gives any.

    A table (`detection.use_fixed_source_table`) gives positions in RA, DEC and apertures, where it has
    columns for them; else `detection.fixed_peaks` gives positions in the map's own frame, and
    `photometry.fixed_radius` their apertures.

    Raises
    ------
    ConfigurationError
        A table that is missing or lacks a column; a number of apertures that differs from that of positions.
    """
    detection = config.detection
    if detection.use_fixed_source_table:
        return _from_table(config)
    if not detection.fixed_peaks:
        return None
    from hyper_py.detection.given import FixedSources

    n = len(detection.xcen_fix)
    longitude, latitude = np.array(detection.xcen_fix), np.array(detection.ycen_fix)
    return FixedSources(longitude=longitude, latitude=latitude, frame="map", **fixed_apertures(config, n))


def table_beam(config: "Config") -> Beam | None:
    """Return the beam with which the sizes of the given table were measured; None to keep the sizes."""
    fwhm = config.detection.fixed_source_beam
    if fwhm is None or not config.detection.use_fixed_source_table:
        return None
    return Beam(major=fwhm, minor=fwhm, source="detection.fixed_source_beam")


def fixed_apertures(config: "Config", n: int) -> dict[str, Any]:
    """Return `fwhm_1`, `fwhm_2` and `pa` of `n` sources if `photometry.fixed_radius` gives them."""
    photometry = config.photometry
    if not photometry.fixed_radius:
        return {}
    values = {"fwhm_1": photometry.fwhm_1, "fwhm_2": photometry.fwhm_2, "pa": photometry.PA_val}
    for name, given in values.items():
        if len(given) not in (1, n):
            key = "PA_val" if name == "pa" else name
            raise ConfigurationError(
                f"photometry.{key}: {len(given)} values for {n} sources; give one for all, or one for each"
            )
    return {name: np.broadcast_to(np.array(given, dtype=np.float64), n) for name, given in values.items()}


def _from_table(config: "Config") -> "FixedSources":
    from hyper_py.reading.source_table import sources_of_table

    path, key = config.source_table(), "detection.fixed_source_table_path"
    if not path.is_file():
        raise ConfigurationError(f"{key}: {path}: no such file")
    check_is_no_output(path, config, key=key)
    intrinsic = config.detection.fixed_source_sizes == "intrinsic"
    try:
        sources = sources_of_table(read_any_table(path), name=path.name, intrinsic=intrinsic)
    except InputError as error:
        raise ConfigurationError(f"{key}: {error}") from None
    # The original's tables have no units: nothing is assumed there.
    return replace(sources, notes=()) if config.original else sources


def check_is_no_output(path: Path, config: "Config", *, key: str) -> None:
    """Check that a table which is read is none that the run writes anew, or removes.

    Raises
    ------
    ConfigurationError
        It is one of the tables in the output directory.
    """
    from hyper_py.writing.layout import Layout

    layout = Layout.from_config(config)
    written = layout.root / layout.tables
    if path.name.startswith(f"{layout.table_base}_") and path.resolve().parent == written.resolve():
        raise ConfigurationError(
            f"{key}: {path}: the run writes its own tables there: name another output directory (-o)"
        )


def check_files(config: "Config") -> None:
    """Check that the instrument is known, and that files other than maps exist.

    Raises
    ------
    ConfigurationError
        One line that names the key; all maps of the run would fail because of it.
    """
    from hyper_py.reading.areas import is_area_file_name
    from hyper_py.reading.surveys import find_survey

    find_survey(code=config.survey.survey_code, name=config.survey.name)
    named: dict[str, str | None] = {
        "survey.psf": config.survey.psf, "detection.regions": config.detection.regions
    }  # fmt: skip
    for key, where in (("io.mask", config.io.mask), ("detection.region", config.detection.region)):
        named[key] = where if isinstance(where, str) and is_area_file_name(where) else None
    for key, name in named.items():
        if name and not config.below_config(name).is_file():
            raise ConfigurationError(f"{key}: {config.below_config(name)}: no such file")
