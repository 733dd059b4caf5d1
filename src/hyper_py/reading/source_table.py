"""Sources that a user's table gives: its units, its identifiers, and what it leaves to be assumed."""

from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import Angle
from astropy.table import Table

from hyper_py.arrays import FloatArray
from hyper_py.detection.given import FixedSources
from hyper_py.diagnostics import InputError
from hyper_py.names import printable

_UNITS = {"RA": u.deg, "DEC": u.deg, "FWHM_1": u.arcsec, "FWHM_2": u.arcsec, "PA": u.deg}
"""Columns that are read, and the units in which they are if the table does not say."""
_IDS = ("ID", "NAME", "SOURCE_ID", "HYPER_ID")
"""Columns of identifiers, in order of precedence."""
_SPELLINGS = {
    **dict.fromkeys(("degree", "degrees", "degr"), u.deg),
    **dict.fromkeys(("arcsecs", "arcsecond", "arcseconds", "asec", '"', "''"), u.arcsec),
    **dict.fromkeys(("arcmins", "arcminute", "arcminutes", "amin", "'"), u.arcmin),
    **dict.fromkeys(("radian", "radians"), u.rad),
}
_HOURS = ("h", "hr", "hour", "hours", "hourangle", "hms", "h:m:s")
_SEXAGESIMAL_DEGREES = ("dms", "d:m:s")
_RANGES = {"RA": (-180.0, 360.0), "DEC": (-90.0, 90.0), "PA": (-360.0, 360.0)}
_LARGEST_SIZE = 180.0 * 3600.0


def sources_of_table(table: Table, *, name: str, intrinsic: bool = False) -> FixedSources:
    """Return the sources of a table: positions in ICRS, sizes and identifiers where it has them.

    Parameters
    ----------
    table : Table
        With the columns RA and DEC, and if given FWHM_1, FWHM_2 and PA, in any unit of an angle, and ID,
        NAME, SOURCE_ID or HYPER_ID. RA and DEC may be sexagesimal texts; RA is then in hours.
    name : str
        Of the table, for messages.
    intrinsic : bool
        Whether the sizes are those on the sky, without a beam.

    Raises
    ------
    InputError
        A column that is missing, has no numbers, or has a unit that is no angle; values that are impossible.
    """
    columns: dict[str, Any] = {}
    for own in table.colnames:
        if own == own.upper() or own.upper() not in columns:
            columns[own.upper()] = table[own]
    missing = [column for column in ("RA", "DEC") if column not in columns]
    if missing:
        known = ", ".join(map(str, table.colnames[:12]))
        raise InputError(f"{name}: no column {' and '.join(missing)} among {printable(known)}")
    if "FWHM_1" not in columns and "FWHM_2" in columns:
        raise InputError(f"{name}: column FWHM_2 without FWHM_1")
    assumed: dict[str, list[str]] = {}
    values: dict[str, FloatArray] = {}
    for column, unit in _UNITS.items():
        if column in columns:
            values[column], is_known = _angles(columns[column], column, name)
            if not is_known:
                assumed.setdefault(str(unit), []).append(column)
            _check_range(values[column], column, name, at_least_zero=intrinsic)
    found = next((columns[one] for one in _IDS if one in columns), None)
    notes = [f"{' and '.join(which)} taken to be in {unit}" for unit, which in assumed.items()]
    return FixedSources(
        longitude=values["RA"], latitude=values["DEC"], frame="icrs", intrinsic=intrinsic,
        fwhm_1=values.get("FWHM_1"), fwhm_2=values.get("FWHM_2"), pa=values.get("PA"),
        ids=None if found is None else _texts(found),
        notes=(f"{name} says no unit of some columns: {', '.join(notes)}",) if notes else (),
    )  # fmt: skip


def _angles(column: Any, key: str, name: str) -> tuple[FloatArray, bool]:
    """Return a column in the unit of `_UNITS`, and whether the table says its unit."""
    where, standard = f"{name}: column {key}", _UNITS[key]
    data = np.ma.asarray(getattr(column, "value", column))
    text = str(getattr(column, "unit", None) or "").strip()
    if data.ndim != 1 or data.dtype.kind not in "iufUSO":
        raise InputError(f"{where} has values that are not numbers")
    try:
        numbers = _numbers(data)
    except (TypeError, ValueError):
        return _sexagesimal(data, key, text, where), True
    if not np.isfinite(numbers).all():
        raise InputError(f"{where} has values that are not numbers")
    if text in ("", "-", "--", "---"):
        return numbers, False
    unit = _unit(text, key, column)
    if unit is None or not unit.is_equivalent(standard):
        raise InputError(f"{where} is in '{text}', which is no angle: correct its unit")
    result: FloatArray = numbers * unit.to(standard)
    return result, True


def _numbers(column: Any) -> FloatArray:
    """Return a column of numbers, or of texts of numbers, as numbers; NaN for missing values."""
    data = np.ma.asarray(getattr(column, "value", column))
    missing = np.ma.getmaskarray(data)
    numbers = np.full(data.shape, np.nan)
    # A masked array of texts as a whole cannot be converted: its fill value is no number.
    numbers[~missing] = data.data[~missing].astype(np.float64)
    return numbers


def _unit(text: str, key: str, column: Any) -> Any:
    """Return a unit by its name; None if it is not known."""
    small = text.lower()
    if key == "RA" and small in _HOURS:
        return u.hourangle
    if small in _SPELLINGS:
        return _SPELLINGS[small]
    unit = column.unit
    if isinstance(unit, u.UnitBase) and not isinstance(unit, u.UnrecognizedUnit):
        return unit
    for spelling in (text, small):
        try:
            return u.Unit(spelling)
        except (ValueError, TypeError):
            continue
    return None


def _sexagesimal(data: Any, key: str, unit: str, where: str) -> FloatArray:
    """Return degrees of texts such as 05:35:17.3 or 5h35m17.3s; raise an error for others."""
    wrong = InputError(f"{where} has values that are not numbers")
    if key not in ("RA", "DEC") or np.ma.is_masked(data):
        raise wrong
    in_hours = key == "RA" and unit.lower() not in ("deg", *_SPELLINGS, *_SEXAGESIMAL_DEGREES)
    try:
        angles = Angle(
            [str(one).strip() for one in np.asarray(data)], unit=u.hourangle if in_hours else u.deg
        )
    except Exception:  # the parser raises whatever it meets
        raise wrong from None
    result: FloatArray = np.asarray(angles.deg, dtype=np.float64)
    if not np.isfinite(result).all():
        raise wrong
    return result


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


def fluxes_of_table(table: Table, column: str, *, name: str, unit: str) -> FloatArray:
    """Return a column of fluxes, shape (n,), in a unit; NaN for an absent column and for missing values.

    Parameters
    ----------
    table : Table
    column : str
        In any case; a column without a unit is taken to be in `unit`.
    name : str
        Of the table, for messages.
    unit : str
        Jy or mJy.

    Raises
    ------
    InputError
        If the values are no numbers, or their unit is no flux density.
    """
    own = next((one for one in table.colnames if one.upper() == column), None)
    if own is None:
        return np.full(len(table), np.nan)
    where = f"{name}: column {column}"
    try:
        values = _numbers(table[own])
    except (TypeError, ValueError):
        raise InputError(f"{where} has values that are not numbers") from None
    text = str(table[own].unit or "").strip()
    if not text:
        return values
    try:
        factor = u.Unit(text).to(u.Unit(unit))
    except (ValueError, TypeError, u.UnitsError):
        raise InputError(f"{where} is in '{text}', which is not a flux density: correct its unit") from None
    result: FloatArray = values * factor
    return result
