"""Catalogues as FITS and parquet tables, written as a stream of batches of rows."""

from pathlib import Path

import numpy as np
from astropy.table import Column as TableColumn
from astropy.table import Table

from hyper_py.diagnostics import ConfigurationError
from hyper_py.writing.table_columns import Batches


def write_fits(path: Path, template: Table, batches: Batches) -> None:
    """Write a FITS table with the rows of each batch as they come."""
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


def write_parquet(path: Path, template: Table, batches: Batches) -> None:
    """Write a parquet file; `ConfigurationError` without pyarrow."""
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


def read_parquet(path: Path) -> Table:
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
