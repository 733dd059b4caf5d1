"""A catalogue file against a truth file: what `validate` must know comes from their headers."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from hyper_py.arrays import BoolArray
from hyper_py.columns import column_flags
from hyper_py.diagnostics import ConfigurationError, HyperPyWarning, InputError
from hyper_py.simulation.complexes import on_clumps
from hyper_py.validation.bands import BandsValidation, bands_of_truth, validate_bands
from hyper_py.validation.comparison import SourceTable, match_in_pixels
from hyper_py.validation.matching import inside_margin
from hyper_py.validation.validation import Validation, validate
from hyper_py.writing.tables import read_table

MARGIN = 0.5
"""Beams from the border within which a default extraction detects nothing."""
_CHANNEL_STRIDE = 1e6  # pixels: wider than any map, and X keeps nine decimals


def validate_files(
    catalog: Path,
    truth: Path,
    *,
    columns: Mapping[str, str | None] | None = None,
    truth_columns: Mapping[str, str | None] | None = None,
    column_units: Mapping[str, str] | None = None,
    truth_units: Mapping[str, str] | None = None,
    coordinates: str | None = None,
    beam: float | None = None,
    tolerance: float | None = None,
    margin: float = MARGIN,
    channel: int | None = None,
    band: str | None = None,
) -> Validation:
    """Compare a catalogue on disk with a truth table on disk.

    Parameters
    ----------
    catalog, truth : Path
        Any table that `hyper_py.writing.tables` or astropy's guess of text tables reads.
    columns, truth_columns, column_units, truth_units, coordinates
        As in `hyper_py.validate`.
    beam : float, optional
        Geometric mean FWHM of the beam, arcsec when positions are compared on the sky, else pixels; by
        default from the header of the truth or of the catalogue.
    tolerance : float, optional
        In the unit of `beam`; half of it by default.
    margin : float
        Beams from the border (known for simulated maps) within which truth counts neither for nor against.
    channel : int, optional
        Only this channel of a cube, from 1; by default all, each compared with its own truth.
    band : str, optional
        Only this band of a field in several bands; sizes are the intrinsic ones.

    Returns
    -------
    Validation

    Raises
    ------
    ConfigurationError
        For an unknown column name or option, or if the beam is not known.
    InputError
        If a file cannot be read, or lacks what is needed.
    """
    found, true = _read(catalog), _read(truth)
    if "sigma_jy_per_pixel" in found.meta and "sigma_jy_per_pixel" not in true.meta:
        raise ConfigurationError(
            f"{catalog}: this is the truth of a simulated map: give the catalogue first, then the truth"
        )
    maps = set(found["MAP_ID"]) if "MAP_ID" in found.colnames else set()
    if len(maps) > 1 and "CHANNEL" not in found.colnames:
        raise InputError(
            f"{catalog}: holds the sources of {len(maps)} maps; give the catalogue of one of them"
        )
    if band is not None:
        found, true = _one_band(found, true, band)
        coordinates, beam = coordinates or "sky", beam or float(true.meta["bands"][band]["beam"])
    measured = SourceTable("catalogue", found, columns, column_units)
    known = SourceTable("truth", true, truth_columns, truth_units)
    in_pixels = match_in_pixels(coordinates, measured, known)
    counted = _counted(true, margin)
    if channel is not None or "CHANNEL" in true.colnames:
        found, true, counted = _by_channel(found, true, counted, channel, in_pixels=in_pixels)
    neutral = None
    if "CLUMP" in true.colnames:
        real = ~column_flags(true["CLUMP"], where="truth: column CLUMP")
        counted = real if counted is None else counted & real
        if in_pixels and {"beam", "beam_pixels"} <= true.meta.keys():
            x, y = SourceTable("catalogue", found, columns, column_units).points(in_pixels).T
            neutral = on_clumps(x, y, true)
    fwhm = beam if beam is not None else _beam(found, true, in_pixels=in_pixels)
    if fwhm is None:
        unit = "pixels" if in_pixels else "arcsec"
        raise ConfigurationError(
            f"{truth}: does not say how large the beam is; give its FWHM in {unit}: --beam"
        )
    _warn_of_units(measured, known)
    result = validate(
        found, true, beam_fwhm=fwhm, tolerance=tolerance, coordinates="pixel" if in_pixels else "sky",
        columns=columns, truth_columns=truth_columns, column_units=column_units, truth_units=truth_units,
        counted=counted, neutral=neutral,
    )  # fmt: skip
    if len(found) and len(true) and not result.completeness.part:
        warnings.warn("nothing matches: are both of the same map?", HyperPyWarning, stacklevel=2)
    return result


def bands_of_file(truth: Path) -> tuple[str, ...]:
    """Return the names of the bands of a truth table on disk; none if it is one of a single map."""
    return tuple(band.name for band in bands_of_truth(_read(truth)))


def validate_bands_files(catalog: Path, truth: Path, *, tolerance: float | None = None) -> BandsValidation:
    """Compare the wide catalogue of several bands with the truth of a simulated field, both on disk.

    Parameters as in `hyper_py.validation.bands.validate_bands`.

    Raises
    ------
    InputError
        If a file cannot be read, or lacks what is needed.
    """
    found, true = _read(catalog), _read(truth)
    try:
        result = validate_bands(found, true, tolerance=tolerance)
    except InputError as error:
        raise InputError(f"{catalog}, {truth}: {error}") from None
    if len(found) and len(true) and not result.completeness.part:
        warnings.warn("nothing matches: are both of the same field?", HyperPyWarning, stacklevel=2)
    return result


def _one_band(found: Table, true: Table, band: str) -> tuple[Table, Table]:
    """Return catalogue and truth with the columns of one band under their plain names.

    A catalogue of one map has them already, but for the sizes, which are intrinsic in the truth.
    """
    found, true = found.copy(), true.copy()
    for name in (*found.colnames,):
        if name.endswith(f"_{band}") and not name.startswith("ALPHA"):
            plain = name.removesuffix(f"_{band}")
            found.keep_columns([one for one in found.colnames if one != plain])
            found.rename_column(name, plain)
    for name in ("FWHM_1", "FWHM_2", "PA"):
        if f"DECONV_{name}" in found.colnames:
            for end in ("", "_ERR"):
                found.keep_columns([one for one in found.colnames if one != name + end])
                if f"DECONV_{name}{end}" in found.colnames:
                    found.rename_column(f"DECONV_{name}{end}", name + end)
    if "FLUX_SNR" in found.colnames:
        found["SNR"] = found["FLUX_SNR"]
    true.rename_columns([f"FLUX_{band}", f"PEAK_TO_NOISE_{band}"], ["FLUX", "PEAK_SNR"])
    return found, true[column_flags(true[f"COVERS_{band}"], where=f"truth: column COVERS_{band}")]


def _read(path: Path) -> Table:
    if not path.is_file():
        raise InputError(f"{path}: {'a directory, not a table' if path.is_dir() else 'no such file'}")
    try:
        table = read_table(path, default="ascii")
    except InputError as error:
        if path.suffix.lower() != ".txt":
            raise
        try:  # not IPAC, but a text table of another kind
            table = read_table(path, form="ascii")
        except InputError:
            raise error from None
    if not table.colnames:
        raise InputError(f"{path}: empty")
    return table


def _by_channel(
    found: Table, true: Table, counted: BoolArray | None, channel: int | None, *, in_pixels: bool
) -> tuple[Table, Table, BoolArray | None]:
    """Keep one channel of a cube; or set the channels side by side, so that none matches another's truth."""
    if "CHANNEL" not in true.colnames:
        raise ConfigurationError("truth: has no column CHANNEL; leave --channel out")
    if channel is not None:
        keep = np.asarray(true["CHANNEL"]) == channel
        if not keep.any():
            raise ConfigurationError(f"truth: no source in channel {channel}; they are counted from 1")
        if "CHANNEL" in found.colnames:
            found = found[np.asarray(found["CHANNEL"]) == channel]
        return found, true[keep], None if counted is None else counted[keep]
    if "CHANNEL" not in found.colnames or not in_pixels or not (_has_xy(found) and _has_xy(true)):
        raise ConfigurationError(
            "truth: of a cube, but the catalogue lacks CHANNEL, X or Y; compare one channel: --channel"
        )
    found, true = found.copy(), true.copy()
    for table in (found, true):
        table["X"] = np.asarray(table["X"]) + _CHANNEL_STRIDE * np.asarray(table["CHANNEL"])
    return found, true, counted


def _has_xy(table: Table) -> bool:
    return {"X", "Y"} <= set(table.colnames)


def _beam(found: Table, true: Table, *, in_pixels: bool) -> float | None:
    """Return the beam's geometric mean FWHM in pixels or arcsec, if a header has it."""
    major, minor = (_fact(found, f"beam_{axis}_arcsec") for axis in ("major", "minor"))
    arcsec, scale = (
        None if major is None or minor is None else (major * minor) ** 0.5,
        _fact(found, "pixel_arcsec"),
    )
    axes = true.meta.get("beam")
    if isinstance(axes, list) and len(axes) == 3:  # simulated truth: it knows best
        arcsec = float(axes[0] * axes[1]) ** 0.5
        if in_pixels:
            return _fact(true, "beam_pixels")
    if in_pixels:
        return None if arcsec is None or scale is None else arcsec / scale
    return arcsec


def _fact(table: Table, name: str) -> float | None:
    """Return a number of a table's header, wherever its format puts it."""
    keywords = table.meta.get("keywords", {})  # IPAC
    for place in (table.meta, keywords if isinstance(keywords, Mapping) else {}):
        for key in (name, name.upper()):
            value: Any = place.get(key)
            value = value.get("value") if isinstance(value, Mapping) else value
            if isinstance(value, int | float) and not isinstance(value, bool):
                return float(value)
    return None


def _warn_of_units(found: SourceTable, true: SourceTable) -> None:
    """Warn of units that had to be guessed because one table does not give them."""
    for table, other, option in ((found, true, "--unit"), (true, found, "--truth-unit")):
        names = [
            name
            for name in ("FLUX", "FLUX_PEAK", "FWHM_1", "FWHM_2")
            if table.has(name)
            and other.has(name)
            and table.unit(name) is None
            and other.unit(name) is not None
        ]
        if names:
            units = ", ".join(f"{name} in {other.unit(name)}" for name in names)
            warnings.warn(
                f"{table.role}: no units; taken as the other table has them: {units} ({option} NAME=UNIT)",
                HyperPyWarning,
                stacklevel=3,
            )


def _counted(true: Table, margin: float) -> BoolArray | None:
    """Return which true sources can be asked for; None if the border is not known."""
    shape, pixels = true.meta.get("shape"), _fact(true, "beam_pixels")
    if not isinstance(shape, list) or pixels is None or not {"X", "Y"} <= set(true.colnames):
        return None
    ny, nx = shape
    sky = true.meta.get("sky", {})
    border = int(sky.get("blank_border", 0)) if isinstance(sky, Mapping) else 0
    valid = np.zeros((ny, nx), dtype=bool)
    valid[border : ny - border, border : nx - border] = True
    return inside_margin(true["X"], true["Y"], valid=valid, margin=margin * pixels)
