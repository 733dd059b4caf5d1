"""Catalogues on disk: IPAC, ECSV, CSV, FITS, VOTable and parquet, each written as a stream of batches.

Every format starts from an empty `template` that has the final columns, so that a table without rows keeps
them all, and a merged table of any length needs the memory of one batch.
"""

import itertools
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io.ascii import convert_numpy
from astropy.table import Table

from hyper_py.diagnostics import ConfigurationError, InputError
from hyper_py.files import open_regular
from hyper_py.writing.binary_tables import read_parquet, write_fits, write_parquet
from hyper_py.writing.table_columns import Batches
from hyper_py.writing.text_tables import write_csv, write_ecsv, write_ipac, write_votable

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
"""Formats with a header and one line for each row, see `join_tables`."""

_READERS = {
    ".txt": "ascii.ipac",
    ".tbl": "ascii.ipac",
    ".ecsv": "ascii.ecsv",
    ".csv": "ascii.csv",
    ".tsv": "ascii.tab",
    ".fits": "fits",
    ".vot": "votable",
    ".xml": "votable",
    ".parquet": "parquet",
}
_MARKS = {"ipac": ("\\", "|"), "ecsv": ("#",), "csv": ()}
"""Beginnings of header lines."""


def write_table(path: Path, batches: Batches, *, form: str, template: Table) -> None:
    """Write a catalogue from batches of prepared rows.

    Parameters
    ----------
    path : Path
        Written directly; use a `Stage` to let the file appear at once.
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
    """Write a catalogue by copying the rows of other catalogues.

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


def read_table(path: Path, *, default: str | None = None, form: str | None = None) -> Table:
    """Read any table that this module writes; floats that are missing are NaN.

    Parameters
    ----------
    path : Path
        Its suffix gives the format.
    default : str, optional
        astropy's name of the format of files with other suffixes.
    form : str, optional
        The format, whatever the suffix.

    Raises
    ------
    InputError
        An unknown suffix, or a file that does not have the format of its suffix.
    """
    form = form or _READERS.get(path.suffix.lower(), default)
    if form is None:
        raise InputError(
            f"{path}: cannot tell the format of this table; known suffixes: {', '.join(_READERS)}"
        )
    if path.is_file() and not path.stat().st_size:
        raise InputError(f"{path}: empty, not a table")
    options: dict[str, Any] = {"mask_invalid": False, "memmap": False} if form == "fits" else {}
    if form == "ascii.csv":
        options = {"converters": {"MAP_ID": [convert_numpy(str)]}}  # a name may look like a number
    try:
        if form == "fits":  # our own handle: astropy leaves its own open when it fails
            with open_regular(path) as stream:
                table = Table.read(stream, format=form, **options)
        else:
            table = read_parquet(path) if form == "parquet" else Table.read(path, format=form, **options)
    except Exception as error:
        reason = " ".join(str(error).split())
        if "guess" in reason:  # astropy lists all formats that it tried
            reason = "it has no names of columns above columns of equal length"
        raise InputError(f"{path}: cannot be read as a table ({form}): {reason}") from None
    table.convert_bytestring_to_unicode()
    for name in table.colnames:
        if table[name].dtype.kind == "f" and getattr(table[name], "mask", None) is not None:
            table[name] = table[name].filled(np.nan)
    return table


def read_any_table(path: Path) -> Table:
    """Read a table that anybody wrote: as `read_table`, and plain text in columns, whatever its suffix.

    Raises
    ------
    InputError
        The file is no table.
    """
    form = _READERS.get(path.suffix.lower())
    if form not in (None, "ascii.ipac"):
        return read_table(path)
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            first = next((line for line in lines if line.strip()), "")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    if not first.startswith(_MARKS["ipac"]):
        return read_table(path, form="ascii.ecsv" if first.startswith("# %ECSV") else "ascii")
    try:
        return read_table(path, form="ascii.ipac")
    except InputError as error:
        # Columns between bars are not always IPAC's.
        with suppress(InputError):
            return read_table(path, form="ascii.fixed_width")
        raise error from None


_WRITERS: dict[str, Callable[[Path, Table, Batches], None]] = {
    "ipac": write_ipac,
    "ecsv": write_ecsv,
    "csv": write_csv,
    "fits": write_fits,
    "votable": write_votable,
    "parquet": write_parquet,
}
