"""The columns of a catalogue as they are written: plain values with units, formats and descriptions."""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
from astropy.table import Column as TableColumn
from astropy.table import Table

from hyper_py.catalog import COLUMNS

COORDINATE_COLUMNS = ("RA", "DEC", "GLON", "GLAT")
SPECTRAL_COLUMNS = ("FREQUENCY", "VELOCITY", "WAVELENGTH", "SPECTRAL_VALUE")
_SPECTRAL_FORMAT = ".12g"
_FLOAT_FORMAT = ".8g"
_BY_NAME = {column.name: column for column in COLUMNS}

Batches: TypeAlias = Iterable[Table]


def coordinate_decimals(pixel_scale: float) -> int:
    """Return how many decimals of a degree resolve a hundredth of a pixel of `pixel_scale` arcsec."""
    return min(max(math.ceil(-math.log10(0.01 * pixel_scale / 3600.0)), 6), 14)


def prepare_table(table: Table, *, pixel_scale: float, meta: Mapping[str, Any] | None = None) -> Table:
    """Return a catalogue as it is written: plain columns with units, formats, descriptions and UCDs.

    Parameters
    ----------
    table : Table or QTable
        Columns without a description, format or UCD of their own get those of `hyper_py.catalog`.
    pixel_scale : float
        Arcsec; decides the digits of coordinates.
    meta : mapping, optional
        Scalars for the header, instead of those in `table.meta`.

    Returns
    -------
    Table
        int64, float64 and text columns without masks.
    """
    decimals = coordinate_decimals(pixel_scale)
    prepared = Table(meta=_scalars(table.meta if meta is None else meta))
    for name, column in table.columns.items():
        known, own = _BY_NAME.get(name), column.info
        values = _plain(column)
        form = own.format or (known.format if known else "") or _FLOAT_FORMAT
        if name in COORDINATE_COLUMNS:
            form = f".{decimals}f"
        if name in SPECTRAL_COLUMNS:
            form = _SPECTRAL_FORMAT
        prepared[name] = TableColumn(
            values,
            unit=column.unit,
            description=own.description or (known.description if known else None),
            format=form if values.dtype.kind == "f" else None,
            meta={"ucd": ucd} if (ucd := (own.meta or {}).get("ucd") or (known.ucd if known else "")) else {},
        )
    return prepared


def _plain(column: Any) -> np.ndarray[Any, Any]:
    values = np.asarray(getattr(column, "value", column))
    mask = getattr(column, "mask", None)
    if values.dtype.kind in "OSU":
        return values.astype(str)
    if values.dtype.kind in "biu":
        return values.astype(np.int64)
    values = values.astype(np.float64)
    if mask is not None and np.any(mask):
        values[np.asarray(mask)] = np.nan
    return values


def _scalars(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Keep text, numbers and truth values, which every header can hold; convert the rest to JSON text."""
    kept = {}
    for key, value in meta.items():
        value = value.item() if isinstance(value, np.generic) else value
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            continue
        if not isinstance(value, str | int | float):
            value = json.dumps(value, default=str)
        kept[str(key)] = " ".join(value.split()) if isinstance(value, str) else value
    return kept


def template_of(table: Table, *, text_widths: Mapping[str, int], meta: Mapping[str, Any]) -> Table:
    """Return an empty table like a prepared one, whose text columns have at least the given widths."""
    template = table[:0]
    template.meta = _scalars(meta)
    for name, column in template.columns.items():
        if column.dtype.kind == "U":
            width = max(1, column.dtype.itemsize // 4, text_widths.get(name, 1))
            template[name] = TableColumn(
                np.empty(0, f"U{width}"), description=column.description, meta=dict(column.meta)
            )
    return template
