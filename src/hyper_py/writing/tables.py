"""Catalogues on disk: IPAC, ECSV, CSV, FITS, VOTable and parquet, each written as a stream of batches.

Every format starts from an empty `template` that has the final columns, so that a table without rows keeps
them all, and a merged table of any length needs the memory of one batch.
"""

import itertools
import re
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io.ascii import convert_numpy
from astropy.table import Table
from astropy.units import UnitsWarning

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
_UNTYPED = ("ascii", "ascii.csv", "ascii.tab", "ascii.fixed_width")
"""Formats that do not say the types of their columns."""
_IDENTIFIERS = ("[Ii][Dd]", "[Nn][Aa][Mm][Ee]", "[Ss][Oo][Uu][Rr][Cc][Ee]_[Ii][Dd]")
"""Columns of a user's identifiers: 007 is not 7."""
_HEAD_BYTES = 1 << 16
_COOSYS = re.compile(r"<COOSYS\b[^>]*\bsystem\s*=\s*[\"']([^\"']+)")
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


def can_be_joined(parts: Sequence[Path], *, form: str) -> bool:
    """Return whether rows of one table can follow those of another: those of IPAC have widths."""
    if form not in TEXT_FORMS or not all(part.exists() for part in parts):
        return False
    return form != "ipac" or len({tuple(_ipac_columns(part)) for part in parts}) == 1


def join_tables(path: Path, parts: Sequence[Path], *, form: str, template: Table) -> None:
    """Write a catalogue by copying the rows of other catalogues.

    Parameters
    ----------
    path, template
        As for `write_table`.
    parts : sequence of Path
        Written by `write_table` in the same form, with the columns of `template`; see `can_be_joined`.
    form : str
        One of `TEXT_FORMS`.
    """
    write_table(path, [], form=form, template=template)
    if form == "ipac":
        # As wide as the rows: columns may have formats of their own, which the template does not know.
        header = [line for line in path.read_text(encoding="utf-8").splitlines(True) if line[0] != "|"]
        path.write_text("".join([*header, *_ipac_columns(parts[0])]), encoding="utf-8", newline="\n")
    with path.open("a", encoding="utf-8", newline="") as stream:
        for part in parts:
            with part.open(encoding="utf-8", newline="") as lines:
                rows = itertools.dropwhile(lambda line: line.startswith(_MARKS[form]), lines)
                if form != "ipac":
                    next(rows)  # names of the columns
                stream.writelines(rows)


def _ipac_columns(path: Path) -> list[str]:
    """Return the lines of an IPAC table that name its columns."""
    with path.open(encoding="utf-8", newline="") as lines:
        header = itertools.takewhile(lambda line: line.startswith(_MARKS["ipac"]), lines)
        return [line for line in header if line.startswith("|")]


def read_table(
    path: Path, *, default: str | None = None, form: str | None = None, texts: Sequence[str] = ()
) -> Table:
    """Read any table that this module writes; floats that are missing are NaN.

    Units that astropy does not know are kept without a warning: who uses a column checks its unit.

    Parameters
    ----------
    path : Path
        Its suffix gives the format.
    default : str, optional
        astropy's name of the format of files with other suffixes.
    form : str, optional
        The format, whatever the suffix.
    texts : sequence of str
        Columns of texts, with wildcards, where the file does not say so: a name may look like a number.

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
    if form in _UNTYPED:
        # Programs of spreadsheets begin a file with the mark of its encoding.
        options = {
            "converters": {name: [convert_numpy(str)] for name in ("MAP_ID", *texts)}, "encoding": "utf-8-sig"
        }  # fmt: skip
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnitsWarning)
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
    if all(hasattr(table[name], "dtype") for name in table.colnames):  # coordinates have none
        table.convert_bytestring_to_unicode()
    for name in table.colnames:
        kind = getattr(getattr(table[name], "dtype", None), "kind", "")
        if kind == "f" and getattr(table[name], "mask", None) is not None:
            table[name] = table[name].filled(np.nan)
    if form == "votable":
        table.meta["coosys"] = _systems(path)
    return table


def _systems(path: Path) -> list[str]:
    """Return the coordinate systems that the head of a VOTable names."""
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES).decode(errors="replace")
    return _COOSYS.findall(head)


def read_any_table(path: Path) -> Table:
    """Read a table that anybody wrote: as `read_table`, and plain text in columns, whatever its suffix.

    Raises
    ------
    InputError
        The file is no table.
    """
    form = _READERS.get(path.suffix.lower())
    if form not in (None, "ascii.ipac"):
        return read_table(path, texts=_IDENTIFIERS)
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as lines:
            first = next((line for line in lines if line.strip()), "")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    if not first.startswith(_MARKS["ipac"]):
        is_ecsv = first.startswith("# %ECSV")
        return read_table(path, form="ascii.ecsv" if is_ecsv else "ascii", texts=_IDENTIFIERS)
    try:
        return read_table(path, form="ascii.ipac")
    except InputError as error:
        # Columns between bars are not always IPAC's.
        with suppress(InputError):
            return read_table(path, form="ascii.fixed_width", texts=_IDENTIFIERS)
        raise error from None


_WRITERS: dict[str, Callable[[Path, Table, Batches], None]] = {
    "ipac": write_ipac,
    "ecsv": write_ecsv,
    "csv": write_csv,
    "fits": write_fits,
    "votable": write_votable,
    "parquet": write_parquet,
}
