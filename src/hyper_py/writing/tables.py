"""Catalogues on disk: IPAC, ECSV, CSV, FITS, VOTable and parquet, each written as a stream of batches.

Every format starts from an empty `template` that has the final columns, so that a table without rows keeps
them all, and a merged table of any length needs the memory of one batch.
"""

import itertools
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, TextIO, TypeAlias
from xml.sax.saxutils import escape

import numpy as np
from astropy.table import Column as TableColumn
from astropy.table import Table

from hyper_py.catalog import COLUMNS
from hyper_py.diagnostics import ConfigurationError, InputError

SUFFIXES = {
    "ipac": ".txt",
    "ecsv": ".ecsv",
    "csv": ".csv",
    "fits": ".fits",
    "votable": ".vot",
    "parquet": ".parquet",
}
"""File suffix of each format of `outputs.tables`."""

TEXT_FORMS = ("ipac", "ecsv", "csv")
"""Formats of which rows are lines after a header, see `join_tables`."""

COORDINATE_COLUMNS = ("RA", "DEC", "GLON", "GLAT")
SPECTRAL_COLUMNS = ("FREQUENCY", "VELOCITY", "WAVELENGTH", "SPECTRAL_VALUE")
_SPECTRAL_FORMAT = ".12g"
_FLOAT_FORMAT = ".8g"
_READERS = {
    ".txt": "ascii.ipac",
    ".tbl": "ascii.ipac",
    ".ecsv": "ascii.ecsv",
    ".csv": "ascii.csv",
    ".fits": "fits",
    ".vot": "votable",
    ".xml": "votable",
    ".parquet": "parquet",
}
_SPECIAL = re.compile(r'[",\r\n]')
_MARKS = {"ipac": ("\\", "|"), "ecsv": ("#",), "csv": ()}
"""What lines of headers begin with."""
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
        Columns known to `hyper_py.catalog` are described by it, others by themselves.
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
        known = _BY_NAME.get(name)
        values = _plain(column)
        form = known.format if known and known.format else _FLOAT_FORMAT
        if name in COORDINATE_COLUMNS:
            form = f".{decimals}f"
        if name in SPECTRAL_COLUMNS:
            form = _SPECTRAL_FORMAT
        prepared[name] = TableColumn(
            values,
            unit=column.unit,
            description=known.description if known else column.info.description,
            format=form if values.dtype.kind == "f" else None,
            meta={"ucd": known.ucd} if known and known.ucd else {},
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
    """Keep what every header can hold: text, numbers and truth values; the rest as JSON text."""
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
    """Return an empty table like a prepared one, with room for texts of the given widths."""
    template = table[:0]
    template.meta = _scalars(meta)
    for name, column in template.columns.items():
        if column.dtype.kind == "U":
            width = max(1, column.dtype.itemsize // 4, text_widths.get(name, 1))
            template[name] = TableColumn(
                np.empty(0, f"U{width}"), description=column.description, meta=dict(column.meta)
            )
    return template


def write_table(path: Path, batches: Batches, *, form: str, template: Table) -> None:
    """Write a catalogue from batches of prepared rows.

    Parameters
    ----------
    path : Path
        Written as it is; whoever wants it to appear at once gives a temporary name.
    batches : iterable of Table
        From `prepare_table`, with the columns of `template`; consumed one at a time.
    form : str
        A key of `SUFFIXES`.
    template : Table
        From `template_of`: columns, units, widths of texts and header of the file.

    Raises
    ------
    ConfigurationError
        An unknown format, or parquet without pyarrow.
    """
    if form not in _WRITERS:
        raise ConfigurationError(f"outputs.tables: unknown format {form!r}; known are {', '.join(SUFFIXES)}")
    _WRITERS[form](path, template, batches)


def join_tables(path: Path, parts: Iterable[Path], *, form: str, template: Table) -> None:
    """Write a catalogue from the rows of others as they stand there.

    Parameters
    ----------
    path, template
        As for `write_table`.
    parts : iterable of Path
        Written by `write_table` in the same form, with columns like those of `template`: units, formats
        and, for IPAC, widths.
    form : str
        One of `TEXT_FORMS`.
    """
    write_table(path, [], form=form, template=template)
    with path.open("a", encoding="utf-8", newline="") as stream:
        for part in parts:
            with part.open(encoding="utf-8", newline="") as lines:
                rows = itertools.dropwhile(lambda line: line.startswith(_MARKS[form]), lines)
                if form != "ipac":
                    next(rows)  # names of the columns
                stream.writelines(rows)


def read_table(path: Path, *, default: str | None = None) -> Table:
    """Read any table that this module writes; floats that are missing are NaN.

    Parameters
    ----------
    path : Path
        Its suffix says what it is.
    default : str, optional
        astropy's name of the format of files with other suffixes.

    Raises
    ------
    InputError
        A suffix that is not known, or a file that is not what its suffix says.
    """
    form = _READERS.get(path.suffix.lower(), default)
    if form is None:
        raise InputError(
            f"{path}: cannot tell the format of this table; known suffixes: {', '.join(_READERS)}"
        )
    options: dict[str, Any] = {"mask_invalid": False} if form == "fits" else {}
    try:
        table = _read_parquet(path) if form == "parquet" else Table.read(path, format=form, **options)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: cannot be read as a table ({form}): {reason}") from None
    table.convert_bytestring_to_unicode()
    for name in table.colnames:
        if table[name].dtype.kind == "f" and getattr(table[name], "mask", None) is not None:
            table[name] = table[name].filled(np.nan)
    return table


# -------------------------------------------------------------------------------------------------- texts


def _exact(column: TableColumn) -> list[str]:
    """Values as shortest text that gives the same number back."""
    return list(map(repr if column.dtype.kind == "f" else str, column.tolist()))


def _formatted(column: TableColumn, *, missing: str) -> list[str]:
    """Values in the column's format."""
    values = column.tolist()
    if column.dtype.kind == "f":
        form = column.format
        return [format(value, form) if math.isfinite(value) else missing for value in values]
    return list(map(str, values))


def _quoted(texts: Iterable[str]) -> list[str]:
    """Texts as fields of CSV: in quotes where it takes some."""
    quoted = '"{}"'.format
    return [quoted(text.replace('"', '""')) if _SPECIAL.search(text) else text for text in texts]


def _write_csv(path: Path, template: Table, batches: Batches) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        _write_fields(stream, template, batches, partial(_formatted, missing="NaN"))


def _write_ecsv(path: Path, template: Table, batches: Batches) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        _write_ecsv_header(stream, template)
        _write_fields(stream, template, batches, _exact)


def _write_fields(
    stream: TextIO, template: Table, batches: Batches, texts_of: Callable[[TableColumn], list[str]]
) -> None:
    """Write names and rows with commas between: a column at a time, csv.writer would look at each letter."""
    stream.write(f"{','.join(_quoted(template.colnames))}\n")
    for batch in batches:
        columns = [batch[name] for name in template.colnames]
        fields = [_quoted(texts_of(c)) if c.dtype.kind == "U" else texts_of(c) for c in columns]
        stream.writelines(f"{','.join(row)}\n" for row in zip(*fields, strict=True))


def _write_ecsv_header(stream: TextIO, template: Table) -> None:
    """Write what the columns are, one a line: JSON is YAML, and made a hundred times faster."""
    stream.write("# %ECSV 1.0\n# ---\n# delimiter: ','\n# datatype:\n")
    for name, column in template.columns.items():
        about = {
            "name": name,
            "unit": str(column.unit or ""),
            "datatype": "string" if column.dtype.kind == "U" else column.dtype.name,
            "format": column.format,
            "description": column.description,
            "meta": dict(column.meta),
        }
        known = {key: value for key, value in about.items() if value}
        stream.write(f"# - {json.dumps(known, ensure_ascii=False)}\n")
    stream.write("# meta: !!omap\n" if template.meta else "")
    for key, value in template.meta.items():
        stream.write(f"# - {json.dumps({key: value}, ensure_ascii=False)}\n")
    stream.write("# schema: astropy-2.0\n")


_IPAC_TYPES = {"U": "char", "i": "long", "f": "double"}


def _ipac_width(column: TableColumn) -> int:
    kind = column.dtype.kind
    if kind == "U":
        value = column.dtype.itemsize // 4
    elif kind == "i":
        value = 11
    else:
        # Sign, point, exponent; `.4f` leaves room for six digits before the point.
        value = int(column.format[1:-1]) + 8
    widths: tuple[int, ...] = (
        value,
        len(column.name),
        len(_IPAC_TYPES[kind]),
        len(str(column.unit or "")),
        4,
    )
    return max(widths)


def _ipac_cells(column: TableColumn, width: int) -> list[str]:
    if column.dtype.kind == "U":
        return [(text or "null").ljust(width) for text in column.tolist()]
    texts = _formatted(column, missing="null")
    if max(map(len, texts), default=0) > width:
        texts = [
            text if len(text) <= width else format(value, f".{width - 7}g")
            for text, value in zip(texts, column.tolist(), strict=True)
        ]
    return [text.rjust(width) for text in texts]


def _write_ipac(path: Path, template: Table, batches: Batches) -> None:
    columns = list(template.columns.values())
    widths = [_ipac_width(column) for column in columns]
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        _write_ipac_header(stream, template, widths)
        for batch in batches:
            cells = [_ipac_cells(batch[c.name], w) for c, w in zip(columns, widths, strict=True)]
            stream.writelines(f" {' '.join(row)} \n" for row in zip(*cells, strict=True))


def _write_ipac_header(stream: TextIO, template: Table, widths: list[int]) -> None:
    for key, value in template.meta.items():
        text = "'" + value.replace("'", '"') + "'" if isinstance(value, str) else str(value)
        stream.write(f"\\{key} = {text}\n")
    for column in template.columns.values():
        unit = f" ({column.unit})" if column.unit else ""
        stream.write(f"\\ {column.name}{unit}: {column.description or ''}\n")
    columns = list(template.columns.values())
    for texts in (
        [column.name for column in columns],
        [_IPAC_TYPES[column.dtype.kind] for column in columns],
        [str(column.unit or "") for column in columns],
        ["null" for _ in columns],
    ):
        stream.write("|" + "|".join(f"{t:<{w}}" for t, w in zip(texts, widths, strict=True)) + "|\n")


def _write_votable(path: Path, template: Table, batches: Batches) -> None:
    from astropy.io.votable import from_table
    from astropy.io.votable.tree import CooSys, Info

    document = from_table(template)
    resource = document.resources[0]
    resource.coordinate_systems.append(CooSys(ID="icrs", system="ICRS"))
    for key, value in template.meta.items():
        resource.infos.append(Info(name=key, value=str(value)))
    buffer = BytesIO()
    document.to_xml(buffer)
    head, end, tail = buffer.getvalue().decode().partition("  </TABLE>")
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        stream.write(f"{head}   <DATA>\n    <TABLEDATA>\n")
        for batch in batches:
            for row in zip(*(_exact(batch[name]) for name in template.colnames), strict=True):
                cells = (escape("NaN" if value == "nan" else str(value)) for value in row)
                stream.write("<TR><TD>" + "</TD><TD>".join(cells) + "</TD></TR>\n")
        stream.write(f"    </TABLEDATA>\n   </DATA>\n{end}{tail}")


# ------------------------------------------------------------------------------------------------- binary


def _write_fits(path: Path, template: Table, batches: Batches) -> None:
    from astropy.io import fits

    plain = Table(template, meta={})
    for name, column in template.columns.items():
        if column.dtype.kind == "U":
            plain[name] = np.empty(0, f"S{column.dtype.itemsize // 4}")
    header = fits.table_to_hdu(plain).header
    header["EXTNAME"] = "CATALOG"
    for number, column in enumerate(template.columns.values(), start=1):
        if column.description:
            header[f"TCOMM{number}"] = column.description
        if column.meta.get("ucd"):
            header[f"TUCD{number}"] = column.meta["ucd"]
    for key, value in template.meta.items():
        header[f"HIERARCH {key}"] = _ascii(value) if isinstance(value, str) else value
    row_type = np.dtype([(n, plain[n].dtype.newbyteorder(">")) for n in plain.colnames])
    with path.open("wb") as stream:
        stream.write(fits.PrimaryHDU().header.tostring().encode("ascii"))
        start = stream.tell()
        stream.write(header.tostring().encode("ascii"))
        for batch in batches:
            rows = np.zeros(len(batch), row_type)
            for name in plain.colnames:
                text = row_type[name].kind == "S"
                rows[name] = [_ascii(v).encode() for v in batch[name]] if text else batch[name]
            stream.write(rows.tobytes())
            header["NAXIS2"] += len(batch)
        stream.write(b"\0" * (-stream.tell() % 2880))
        # Only now is the number of rows known; the length of the header does not depend on it.
        stream.seek(start)
        stream.write(header.tostring().encode("ascii"))


def _ascii(text: str) -> str:
    return str(text).encode("ascii", "replace").decode()


def _write_parquet(path: Path, template: Table, batches: Batches) -> None:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise ConfigurationError(
            "outputs.tables: 'parquet' needs pyarrow, which is not installed: pip install 'hyper-py[parquet]'"
        ) from None
    # astropy knows how to keep units and descriptions in the schema; it writes them with the empty table.
    template.write(path, format="parquet", overwrite=True)
    schema = parquet.read_schema(path)
    with parquet.ParquetWriter(path, schema, version="2.4") as writer:
        for batch in batches:
            arrays = [
                pyarrow.array(np.asarray(batch[name]), type=schema.field(name).type) for name in schema.names
            ]
            writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))


def _read_parquet(path: Path) -> Table:
    """Read without pandas, which astropy's own reader asks for."""
    from astropy.table import meta
    from pyarrow import parquet

    stored = parquet.read_table(path)
    described = (stored.schema.metadata or {}).get(b"table_meta_yaml", b"").decode().split("\n")
    header = meta.get_header_from_yaml(described) if described != [""] else {}
    table = Table(meta={k: v for k, v in header.get("meta", {}).items() if not k.startswith("__")})
    known = {column["name"]: column for column in header.get("datatype", [])}
    for name in stored.column_names:
        values = stored[name].to_numpy()
        about = {key: known.get(name, {}).get(key) for key in ("unit", "description", "format", "meta")}
        table[name] = TableColumn(values.astype(str) if values.dtype.kind == "O" else values, **about)
    return table


_WRITERS: dict[str, Callable[[Path, Table, Batches], None]] = {
    "ipac": _write_ipac,
    "ecsv": _write_ecsv,
    "csv": _write_csv,
    "fits": _write_fits,
    "votable": _write_votable,
    "parquet": _write_parquet,
}
