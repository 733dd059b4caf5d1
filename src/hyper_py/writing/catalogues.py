"""The catalogue of one map in every format, and the merged catalogue of several maps."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from astropy.table import Column as TableColumn
from astropy.table import Table

from hyper_py.writing.layout import MERGED_NAME, Layout
from hyper_py.writing.overlaps import CHECKS_NAME, OVERLAPS_NAME, Overlaps, marked_rows
from hyper_py.writing.overlaps import COLUMNS as OVERLAP_COLUMNS
from hyper_py.writing.rows import read_rows, recorded
from hyper_py.writing.staging import Stage
from hyper_py.writing.state import Record
from hyper_py.writing.table_columns import coordinate_decimals, prepare_table, template_of
from hyper_py.writing.tables import SUFFIXES, can_be_joined, join_tables, write_table

BATCH_ROWS, BATCH_MAPS = 10_000, 1000


def write_catalogue(
    stage: Stage, layout: Layout, catalog: Table, *, name: str, pixel_scale: float, meta: Mapping[str, Any]
) -> None:
    """Stage the catalogue of one map in all formats asked for, and its rows for the merged one.

    Parameters
    ----------
    catalog : Table or QTable
        As `hyper_py.catalog` makes it.
    pixel_scale : float
        Arcsec; decides the digits of coordinates.
    meta : mapping
        Metadata of the run, for the headers.
    """
    prepared = write_tables(stage, layout, catalog, name=name, pixel_scale=pixel_scale, meta=meta)
    np.save(stage.path(layout.rows(name)), prepared.as_array())


def write_tables(
    stage: Stage, layout: Layout, catalog: Table, *, name: str, pixel_scale: float, meta: Mapping[str, Any]
) -> Table:
    """Stage a table in all formats asked for; return it as it was written.

    Parameters as in `write_catalogue`.
    """
    prepared = prepare_table(catalog, pixel_scale=pixel_scale, meta=meta)
    template = template_of(prepared, text_widths={}, meta=prepared.meta)
    for form in layout.formats:
        path = stage.path(layout.table(name, form))
        write_table(path, [prepared], form=form, template=template)
    return prepared


def describe_columns(catalog: Table) -> tuple[tuple[str, str, str], ...]:
    """Return name, unit and description of each column; the stored rows do not have them."""
    return tuple(
        (name, str(column.unit or ""), column.info.description or "")
        for name, column in catalog.columns.items()
    )


def remove_merged(layout: Layout) -> tuple[str, ...]:
    """Remove merged catalogues of an earlier run, and tables of overlaps; return which there were."""
    names = (
        layout.table(what, form) for what in (MERGED_NAME, OVERLAPS_NAME, CHECKS_NAME) for form in SUFFIXES
    )
    found = [name for name in names if (layout.root / name).is_file()]
    for name in found:
        (layout.root / name).unlink()
    return tuple(found)


def write_merged(
    layout: Layout,
    names: Sequence[str],
    *,
    meta: Mapping[str, Any],
    merged: str = MERGED_NAME,
    overlaps: Overlaps | None = None,
    join: bool = False,
) -> tuple[str, ...]:
    """Write the catalogue of several complete maps, with some thousand rows in memory at a time.

    It has the columns that are in all of them.

    Parameters
    ----------
    names : sequence of str
        Complete maps, in the order of the rows.
    meta : mapping
        Metadata of the run, for the headers.
    merged : str
        In the names of the files.
    overlaps : Overlaps, optional
        Whose columns mark the sources that are on several maps.
    join : bool
        Whether only the best row of each of them is written.

    Returns
    -------
    tuple of str
        Files written; none without a map.
    """
    if not names:
        return ()
    columns: list[tuple[str, str, str]] = []
    pixel_scale, n_rows = math.inf, 0
    looks, widths = set(), {"MAP_ID": max(map(len, names))}
    for name in names:
        record = recorded(layout, name)
        own = {column[0]: column for column in record.columns}
        columns = [column for column in columns if column[0] in own] if columns else [*own.values()]
        scale = record.pixel_scale or math.inf
        pixel_scale = min(pixel_scale, scale)
        n_rows += record.n_sources
        width = _id_width(layout, record)
        widths["ID"] = max(width, widths.get("ID", 0))
        looks.add((record.columns, coordinate_decimals(scale), max(len(name), len("MAP_ID")), width))

    def table_of(parts: Sequence[np.ndarray[Any, Any]]) -> Table:
        table = Table()
        for column, unit, description in columns:
            values = np.concatenate([rows[column] for rows in parts])
            table[column] = TableColumn(values, unit=unit or None, description=description)
        return prepare_table(table, pixel_scale=pixel_scale, meta={})

    def rows_of(name: str) -> np.ndarray[Any, Any]:
        rows = read_rows(layout, recorded(layout, name))
        return rows if overlaps is None else marked_rows(rows, overlaps, name, before=before[name], join=join)

    before: dict[str, int] = {}
    if overlaps is not None:
        columns += OVERLAP_COLUMNS
        before, alone = overlaps.rows_before(names)
        n_rows = overlaps.n_sources + alone if join else n_rows
    header = {**meta, "n_sources": n_rows}
    first = table_of([rows_of(names[0])])
    template = template_of(first, text_widths=widths, meta=header)
    with Stage(layout.root) as stage:
        for form in layout.formats:
            path = stage.path(layout.table(merged, form))
            parts = [layout.root / layout.table(name, form) for name in names]
            if overlaps is None and len(looks) == 1 and can_be_joined(parts, form=form):
                join_tables(path, parts, form=form, template=template)
            else:
                batches = map(table_of, _in_batches(map(rows_of, names)))
                write_table(path, batches, form=form, template=template)
    return stage.names


def _id_width(layout: Layout, record: Record) -> int:
    """Return the width of the user's identifiers in the rows of a map; 0 if it has none."""
    if all(column[0] != "ID" for column in record.columns):
        return 0
    return int(read_rows(layout, record).dtype["ID"].itemsize) // 4


def _in_batches(parts: Iterable[np.ndarray[Any, Any]]) -> Iterator[list[np.ndarray[Any, Any]]]:
    """Collect the rows of maps into batches: making a table costs as much as hundreds of rows."""
    held: list[np.ndarray[Any, Any]] = []
    for rows in parts:
        held.append(rows)
        if sum(map(len, held)) >= BATCH_ROWS or len(held) == BATCH_MAPS:
            yield held
            held = []
    if held:
        yield held
