"""Sources that a user's table gives: its units, its identifiers, and what it leaves to be assumed."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from astropy import units as u
from astropy.table import Table

from hyper_py.arrays import FloatArray
from hyper_py.columns import column_angles, column_numbers, column_unit, not_numbers, with_positions
from hyper_py.detection.given import FixedSources
from hyper_py.diagnostics import InputError
from hyper_py.names import printable

_UNITS = {"RA": u.deg, "DEC": u.deg, "FWHM_1": u.arcsec, "FWHM_2": u.arcsec, "PA": u.deg}
"""Columns that are read, and the units in which they are if the table does not say."""
_IDS = ("ID", "NAME", "SOURCE_ID", "HYPER_ID")
"""Columns of identifiers, in order of precedence."""
_RANGES = {"RA": (-180.0, 360.0), "DEC": (-90.0, 90.0), "PA": (-360.0, 360.0)}
_COARSE = 0.01
"""Arcsec: steps of stored positions that are worth a word."""
_LARGEST_SIZE = 180.0 * 3600.0
_LIKE_A_SIZE = re.compile(r"(FWHM|B?MAJ|B?MIN|SIZE|RADIUS|DIAM|PA\b|[AB]_(IMAGE|WORLD)).*", re.IGNORECASE)
"""Names of columns that may hold sizes."""


def sources_of_table(
    table: Table, *, name: str, intrinsic: bool = False, with_sizes: bool = True
) -> FixedSources:
    """Return the sources of a table: positions in ICRS, sizes and identifiers where it has them.

    Parameters
    ----------
    table : Table
        With the columns RA and DEC, and if given FWHM_1, FWHM_2 and PA, in any unit of an angle, and ID,
        NAME, SOURCE_ID or HYPER_ID. RA and DEC may be sexagesimal texts; RA is then in hours. A column of
        coordinates may stand for them.
    name : str
        Of the table, for messages.
    intrinsic : bool
        Whether the sizes are those on the sky, without a beam.
    with_sizes : bool
        Whether sizes are read at all.

    Raises
    ------
    InputError
        A column that is missing, has no numbers, or has a unit that is no angle; values that are impossible;
        positions that are said to be in another frame.
    """
    table = with_positions(table, name=name)
    columns: dict[str, Any] = {}
    for own in table.colnames:
        if own == own.upper() or own.upper() not in columns:
            columns[own.upper()] = table[own]
    missing = [column for column in ("RA", "DEC") if column not in columns]
    if missing:
        known = ", ".join(map(str, table.colnames[:12]))
        raise InputError(
            f"{name}: no column {' and '.join(missing)} among {printable(known)}; positions are RA and DEC "
            "in ICRS (SkyCoord of astropy converts others, WCS.pixel_to_world pixels)"
        )
    if with_sizes and "FWHM_1" not in columns and "FWHM_2" in columns:
        raise InputError(f"{name}: column FWHM_2 without FWHM_1")
    assumed: dict[str, list[str]] = {}
    values: dict[str, FloatArray] = {}
    for column, unit in _UNITS.items():
        if column in columns and (with_sizes or column in ("RA", "DEC")):
            where, kind = f"{name}: column {column}", column if column in ("RA", "DEC") else ""
            values[column], is_known = column_angles(columns[column], unit=unit, where=where, kind=kind)
            if not np.isfinite(values[column]).all():
                raise not_numbers(where, ~np.isfinite(values[column]))
            if not is_known:
                assumed.setdefault(str(unit), []).append(column)
            _check_range(values[column], column, name, at_least_zero=intrinsic)
    found = next((columns[one] for one in _IDS if one in columns), None)
    said = [f"{' and '.join(which)} taken to be in {unit}" for unit, which in assumed.items()]
    notes = [f"{name} says no unit of some columns: {', '.join(said)}"] if said else []
    notes += _rounded({column: columns[column] for column in ("RA", "DEC")}, name)
    return FixedSources(
        longitude=values["RA"], latitude=values["DEC"], frame="icrs", intrinsic=intrinsic,
        fwhm_1=values.get("FWHM_1"), fwhm_2=values.get("FWHM_2"), pa=values.get("PA"),
        ids=None if found is None else _texts(found),
        notes=(*notes, *(_unread(table, columns, name) if with_sizes else ())),
    )  # fmt: skip


def _rounded(columns: Mapping[str, Any], name: str) -> list[str]:
    """Say that positions were rounded when they were stored as floats of less than 64 bits."""
    steps: dict[str, float] = {}
    bits = 64
    for label, column in columns.items():
        data = np.ma.asarray(getattr(column, "value", column))
        if data.dtype.kind == "f" and data.dtype.itemsize < 8 and data.count():
            unit = column_unit(column, where=name, in_hours=label == "RA") or u.deg
            largest, bits = np.abs(data.compressed()).max(), min(bits, 8 * data.dtype.itemsize)
            steps[label] = float(np.spacing(largest)) * unit.to(u.arcsec)
    coarse = max(steps.values(), default=0.0)
    if not coarse > _COARSE:
        return []
    verb = "is" if len(steps) == 1 else "are"
    return [
        f"{name}: {' and '.join(steps)} {verb} stored in {bits}-bit floats, in steps of {coarse:.2g} arcsec: "
        "use 64-bit floats (float64, double)"
    ]


def _unread(table: Table, columns: Mapping[str, Any], name: str) -> list[str]:
    """Say which columns may hold sizes and are not read, where no size is."""
    if "FWHM_1" in columns:
        return []
    unread = [own for own in map(str, table.colnames) if _LIKE_A_SIZE.fullmatch(own)]
    if not unread:
        return []
    names = printable(", ".join(unread[:5]))
    return [f"{name}: no column FWHM_1, so sizes are left to the fit; not read: {names}"]


def _check_range(values: FloatArray, key: str, name: str, *, at_least_zero: bool) -> None:
    """Raise an error for places that are not on the sky, and for sizes that are none."""
    if key in _RANGES:
        low, high = _RANGES[key]
        if ((values < low) | (values > high)).any():
            raise InputError(
                f"{name}: column {key} has values outside {low:g} to {high:g} deg: look at its unit"
            )
    elif ((values < 0.0) | (values > _LARGEST_SIZE)).any() or not (at_least_zero or (values > 0.0).all()):
        raise InputError(f"{name}: column {key} has values that are no sizes: they must be positive")


def _texts(column: Any) -> Any:
    """Return identifiers as texts; a missing one is empty."""
    data = np.ma.asarray(getattr(column, "value", column))
    texts = (
        np.asarray(data.data).astype(str)
        if data.dtype.kind in "iufUS"
        else np.array([str(one) for one in data.data])
    )
    return np.where(np.ma.getmaskarray(data), "", texts).astype(str)


def fluxes_of_table(table: Table, *, name: str, unit: str) -> tuple[FloatArray, FloatArray, tuple[str, ...]]:
    """Return the columns FLUX and FLUX_ERR of a table in a unit, and what was assumed of them.

    Parameters
    ----------
    table : Table
        Its columns may be in any case. Errors without a unit are in that of the fluxes.
    name : str
        Of the table, for messages.
    unit : str
        Jy or mJy; also that of fluxes without one.

    Returns
    -------
    flux, flux_err : ndarray, shape (n,)
        NaN for an absent column and for missing values.
    notes : tuple of str

    Raises
    ------
    InputError
        If the values are no numbers, or their unit is no flux density.
    """
    standard = own = u.Unit(unit)
    values, notes = [], []
    for column in ("FLUX", "FLUX_ERR"):
        where = f"{name}: column {column}"
        found = next((one for one in table.colnames if one.upper() == column), None)
        if found is None:
            values.append(np.full(len(table), np.nan))
            continue
        numbers = column_numbers(table[found], where=where)
        said = column_unit(table[found], where=where)
        if said is None and column == "FLUX":
            notes.append(f"{name} has no unit of FLUX: {unit} is assumed")
        own = own if said is None else said
        if not own.is_equivalent(standard):
            raise InputError(f"{where} is in '{own}', which is not a flux density: correct its unit")
        values.append(numbers * own.to(standard))
    return values[0], values[1], tuple(notes)
