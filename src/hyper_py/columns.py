"""Columns of tables that anybody wrote: numbers, angles and units, whatever their type, mask or spelling."""

from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import Angle, SkyCoord
from astropy.table import Table

from hyper_py.arrays import BoolArray, FloatArray
from hyper_py.diagnostics import InputError
from hyper_py.names import printable

_SPELLINGS = {
    **dict.fromkeys(("degree", "degrees", "degr"), u.deg),
    **dict.fromkeys(("arcsecs", "arcsecond", "arcseconds", "asec", '"', "''"), u.arcsec),
    **dict.fromkeys(("arcmins", "arcminute", "arcminutes", "amin", "'"), u.arcmin),
    **dict.fromkeys(("radian", "radians"), u.rad),
}
_HOURS = ("h", "hr", "hour", "hours", "hourangle", "hms", "h:m:s")
_SEXAGESIMAL_DEGREES = ("dms", "d:m:s")
_YES, _NO = ("true", "t", "yes", "y", "1"), ("false", "f", "no", "n", "0", "")
_NO_UNIT = ("", "-", "--", "---")
_OLD_EQUINOX = 1984.0
"""Positions of an equinox before this are FK4 if nothing else is said (FITS standard 4.0, section 8.3)."""
_OTHER_SYSTEMS = ("eq_fk4", "ecl_fk4", "ecl_fk5", "galactic", "supergalactic")


def column_numbers(column: Any, *, where: str) -> FloatArray:
    """Return a column of numbers, or of texts of numbers, as numbers; NaN for missing values.

    Parameters
    ----------
    column : Column, Quantity or array_like, shape (n,)
    where : str
        What the column is called in messages.

    Raises
    ------
    InputError
        If some values are no numbers, or there are several in a row.
    """
    data = _plain(column, where)
    missing = np.ma.getmaskarray(data)
    numbers = np.full(data.shape, np.nan)
    try:
        # A masked array of texts as a whole cannot be converted: its fill value is no number.
        numbers[~missing] = data.data[~missing].astype(np.float64)
    except (TypeError, ValueError):
        wrong = np.array([not _is_number(one) for one in data.data]) & ~missing
        raise not_numbers(where, wrong) from None
    return numbers


def column_flags(column: Any, *, where: str) -> BoolArray:
    """Return a column of yes and no as booleans, also if it is one of numbers or texts; False where missing.

    Raises
    ------
    InputError
        If some values are neither.
    """
    data = np.ma.asarray(getattr(column, "value", column))
    missing: BoolArray = np.ma.getmaskarray(data)
    plain = data.data
    if plain.dtype.kind in "biuf":
        nonzero: BoolArray = (plain != 0) & ~missing
        return nonzero
    texts = np.array([str(one.decode() if isinstance(one, bytes) else one).strip().lower() for one in plain])
    known = np.isin(texts, _YES + _NO) | missing
    if not known.all():
        row = np.flatnonzero(~known)[0] + 1
        raise InputError(f"{where} has values that are neither true nor false (row {row})")
    yes: BoolArray = np.isin(texts, _YES) & ~missing
    return yes


def not_numbers(where: str, wrong: BoolArray) -> InputError:
    """Return the error for values that are not numbers; `wrong` says which, shape (n,)."""
    rows = np.flatnonzero(wrong)
    place = f" (row {rows[0] + 1})" if rows.size else ""
    return InputError(f"{where} has values that are not numbers{place}")


def column_unit(column: Any, *, where: str, in_hours: bool = False, text: str | None = None) -> Any:
    """Return the unit of a column in any spelling; None if it has none.

    Parameters
    ----------
    column, where
        As in `column_numbers`.
    in_hours : bool
        Whether `h` means 15 degrees, as it does of a right ascension.
    text : str, optional
        The unit, in place of the column's own.

    Raises
    ------
    InputError
        An unknown unit, or a logarithmic one.
    """
    own: Any = getattr(column, "unit", None) if text is None else text
    text = str(own if own is not None else "").strip()
    small = text.lower()
    if text in _NO_UNIT:
        return None
    if in_hours and small in _HOURS:
        return u.hourangle
    if small in _SPELLINGS:
        return _SPELLINGS[small]
    unit = own if isinstance(own, u.UnitBase | u.FunctionUnitBase) else None
    for spelling in (text, small):
        if unit is None or isinstance(unit, u.UnrecognizedUnit):
            unit = u.Unit(spelling, parse_strict="silent")
    if isinstance(unit, u.UnrecognizedUnit):
        raise InputError(f"{where} is in '{text}', which is an unknown unit: correct it")
    if isinstance(unit, u.FunctionUnitBase):
        raise InputError(f"{where} is in '{text}', which is logarithmic: convert its values")
    return unit


def column_angles(
    column: Any, *, unit: Any, where: str, kind: str = "", own_unit: str | None = None
) -> tuple[FloatArray, bool]:
    """Return a column in a unit of an angle, and whether the table says its unit.

    Parameters
    ----------
    column, where
        As in `column_numbers`.
    unit : Unit
        That of the result, and of a column without one.
    kind : {"", "RA", "DEC"}
        A right ascension or declination may be sexagesimal texts, in hours and degrees.
    own_unit : str, optional
        The column's unit, in place of its own.

    Raises
    ------
    InputError
        If some values are no numbers, or the unit is no angle.
    """
    try:
        numbers = column_numbers(column, where=where)
    except InputError:
        data = _plain(column, where)
        # Numbers among sexagesimal texts may be degrees or hours.
        if kind not in ("RA", "DEC") or data.dtype.kind == "O" or any(map(_is_number, data.compressed())):
            raise
        text = str(own_unit or getattr(column, "unit", None) or "").strip()
        return _sexagesimal(data, kind, text, where) * u.deg.to(unit), True
    own = column_unit(column, where=where, in_hours=kind == "RA", text=own_unit)
    if own is None:
        return numbers, False
    if not own.is_equivalent(unit):
        text = own_unit or str(column.unit)
        raise InputError(f"{where} is in '{text}', which is no angle: correct its unit")
    result: FloatArray = numbers * own.to(unit)
    return result, True


def with_positions(table: Table, *, name: str) -> Table:
    """Return a table with the columns RA and DEC, in degrees, of its one column of coordinates.

    A table that has RA and DEC in any case, or no coordinates, is returned as it is. `name` is for messages.

    Raises
    ------
    InputError
        If there are several columns of coordinates, or the table says that its RA and DEC are not those
        of ICRS or FK5.
    """
    if {"RA", "DEC"} <= {own.upper() for own in table.colnames}:
        _check_equinox(table, name)
        return table
    places = [own for own in table.colnames if isinstance(table[own], SkyCoord)]
    if not places:
        return table
    if len(places) > 1:
        raise InputError(
            f"{name}: coordinates in {' and '.join(places)}: keep one of them, or give RA and DEC"
        )
    sky, result = table[places[0]].icrs, table.copy()
    result["RA"], result["DEC"] = sky.ra.deg * u.deg, sky.dec.deg * u.deg
    return result


def _check_equinox(table: Table, name: str) -> None:
    """Raise an error if the header of a table says that its positions are not ICRS or FK5."""
    keywords = table.meta.get("keywords")
    places = [table.meta, keywords if isinstance(keywords, dict) else {}]
    facts = {str(key).lower(): value for place in places for key, value in place.items()}
    facts = {key: value.get("value") if isinstance(value, dict) else value for key, value in facts.items()}
    system = str(facts.get("radesys") or facts.get("radecsys") or "").strip().upper()
    equinox = str(facts.get("equinox", "")).strip().upper().lstrip("BJ")
    systems = facts.get("coosys", ())
    old = not system and _is_number(equinox) and 0.0 < float(equinox) < _OLD_EQUINOX
    other = ""
    if system.startswith("FK4") or old:
        other = system or f"equinox {float(equinox):g}"
    elif systems and all(one.lower() in _OTHER_SYSTEMS for one in systems):
        other = ", ".join(systems)
    if other:
        raise InputError(f"{name}: RA and DEC are those of {printable(other)}: convert them to ICRS")


def _plain(column: Any, where: str) -> Any:
    """Return the values of a column with one value a row, as a masked array."""
    values = getattr(column, "value", column)
    if hasattr(values, "unmasked"):
        values = np.ma.array(values.unmasked, mask=values.mask)
    data = np.ma.asarray(values)
    if data.ndim != 1 or data.dtype.kind not in "iufUSO":
        raise not_numbers(where, np.zeros(0, dtype=np.bool_))
    return data


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _sexagesimal(data: Any, kind: str, unit: str, where: str) -> FloatArray:
    """Return degrees of texts such as 05:35:17.3 or 5h35m17.3s; raise an error for others."""
    missing = np.ma.getmaskarray(data)
    if missing.any():
        raise not_numbers(where, missing)
    in_hours = kind == "RA" and unit.lower() not in ("deg", *_SPELLINGS, *_SEXAGESIMAL_DEGREES)
    texts = [str(one).strip() for one in np.asarray(data)]
    result = np.array([_degrees(one, u.hourangle if in_hours else u.deg) for one in texts])
    if not np.isfinite(result).all():
        raise not_numbers(where, ~np.isfinite(result))
    return result


def _degrees(text: str, unit: Any) -> float:
    """Return the degrees of one angle; NaN if it is none."""
    try:
        return float(Angle(text, unit=unit).deg)
    except Exception:  # the parser raises whatever it meets
        return np.nan
