"""The section `maps`: one entry a map, with short keys for what maps differ in, and whole sections."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hyper_py.checked import Checked, NonNegative, Positive, entries, nearest_key, option
from hyper_py.config.sections import Hdu, SurveyBeam
from hyper_py.diagnostics import ConfigurationError

MAP_SECTIONS = ("units", "survey", "io", "detection", "photometry", "fit_options", "background")
"""Sections with keys that `maps` may set for one map."""


@dataclass(frozen=True, kw_only=True)
class MapKeys(Checked, key_path="maps.NAME"):
    """One map: what `hyper-py bands` needs to know of a band, and short names for keys that differ."""

    path: str | None = option(
        None,
        "File of the map, below `paths.input.dir_maps` (or in the directory of a field); null: NAME.fits.",
    )
    name: str | None = option(
        None,
        "Name of the band, which ends the names of its columns, as in FLUX_s500; null: the name of the "
        "entry.",
    )
    wavelength: Positive | None = option(
        None, "Wavelength in micron; null: that of the header or the survey. Short for `survey.wavelength`."
    )
    unit: str | None = option(None, "Unit of the map. Short for `units.bunit`.")
    beam: SurveyBeam | Positive | None = option(
        None, "Beam, or the FWHM of a round one in arcsec. Short for `survey.beam`."
    )
    psf: str | None = option(None, "Image of the point spread function. Short for `survey.psf`.")
    psf_pixel: Positive | None = option(
        None, "Its pixel size in arcsec; null reads its header. Short for `survey.psf_pixel`."
    )
    error: Hdu = option(None, "Errors: an extension or a file. Short for `io.error_hdu`.")
    calibration_error: NonNegative | None = option(
        None, "Relative calibration uncertainty. Short for `survey.calibration_error`."
    )


_SHORT = {
    "wavelength": ("survey", "wavelength"),
    "unit": ("units", "bunit"),
    "beam": ("survey", "beam"),
    "psf": ("survey", "psf"),
    "psf_pixel": ("survey", "psf_pixel"),
    "error": ("io", "error_hdu"),
    "calibration_error": ("survey", "calibration_error"),
}
_OWN = ("path", "name")


def plain_maps(given: Any) -> Any:
    """Return the section `maps` with every short key in the section that it stands for.

    Parameters
    ----------
    given : any
        As read from YAML: entries by the names of maps; or a list of entries, each with `name` or `path`.
        `survey` may be the name of an instrument, and `beam` a number.

    Returns
    -------
    dict
        Entries of sections and, where given, `path` and `name`. What is no entry at all is returned as it is.

    Raises
    ------
    ConfigurationError
        One line for each wrong or unknown key.
    """
    if isinstance(given, list | tuple):
        given = _by_name(given)
    if not isinstance(given, Mapping):
        return given
    plain: dict[str, Any] = {}
    faults: list[str] = []
    for name, entry in given.items():
        if not isinstance(name, str) or not isinstance(entry, Mapping | None):
            return given
        try:
            plain[name] = _plain_entry(name, entry or {})
        except ConfigurationError as error:
            faults += str(error).splitlines()
    if faults:
        raise ConfigurationError("\n".join(faults))
    return plain


def sections_of(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sections of a plain entry."""
    return {key: value for key, value in entry.items() if key not in _OWN}


def map_keys() -> dict[str, Any]:
    """Return the entries of the reference for the keys of a map."""
    return entries(MapKeys)


def _by_name(listed: list[Any] | tuple[Any, ...]) -> dict[str, Any]:
    by_name: dict[str, Any] = {}
    for k, entry in enumerate(listed):
        if not isinstance(entry, Mapping):
            raise ConfigurationError(
                f"maps[{k}] = {entry!r}: must be keys of a map, such as {{path: p160.fits}}"
            )
        name = entry.get("name") or _stem(entry.get("path"))
        if not isinstance(name, str):
            raise ConfigurationError(f"maps[{k}]: has neither a name nor a path")
        if name in by_name:
            raise ConfigurationError(f"maps[{k}]: a second map with the name {name}; give it another name")
        by_name[name] = entry
    return by_name


def _stem(path: Any) -> str | None:
    if not isinstance(path, str) or not path:
        return None
    name = path.replace("\\", "/").rpartition("/")[2]
    for suffixes in ((".gz", ".fz", ".bz2"), (".fits", ".fit", ".fts")):
        name = next((name[: -len(s)] for s in suffixes if name.lower().endswith(s)), name)
    return name


def _plain_entry(name: str, entry: Mapping[Any, Any]) -> dict[str, Any]:
    where = f"maps.{name}"
    survey = entry.get("survey")
    known = entries(MapKeys)
    # Sections that are the same for all maps are refused later, as such.
    sections = [
        key
        for key, value in entry.items()
        if key in MAP_SECTIONS or (f"maps.NAME.{key}" not in known and isinstance(value, Mapping))
    ]
    plain: dict[str, Any] = {
        key: dict(value) if isinstance(value := entry[key], Mapping) else value for key in sections
    }
    if isinstance(survey, str):
        plain["survey"] = {"name": survey}
    short = {key: value for key, value in entry.items() if key not in sections}
    unknown = [key for key in short if f"maps.NAME.{key}" not in known]
    if unknown:
        hint = nearest_key(f"maps.NAME.{unknown[0]}", known).replace("maps.NAME", where)
        raise ConfigurationError(
            f"{where}.{unknown[0]}: unknown key; {hint}, or a section ({', '.join(MAP_SECTIONS)})"
        )
    try:
        MapKeys.from_values(short)
    except ConfigurationError as error:
        raise ConfigurationError(str(error).replace("maps.NAME", where)) from None
    for key, value in short.items():
        if value is None:
            continue
        if key in _OWN:
            plain[key] = value
            continue
        section, own = _SHORT[key]
        place = plain.setdefault(section, {})
        if not isinstance(place, dict):
            continue
        if own in place and place[own] != value:
            raise ConfigurationError(f"{where}: {key} and {section}.{own} are one key: give one of them")
        is_width = key == "beam" and isinstance(value, int | float)
        place[own] = {"major": value} if is_width else value
    return plain
