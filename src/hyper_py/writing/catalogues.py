"""The catalogue of one map in every format, and the merged catalogue of several maps."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from astropy.table import Column as TableColumn
from astropy.table import Table

from hyper_py.diagnostics import InputError
from hyper_py.writing.layout import MERGED_NAME, Layout
from hyper_py.writing.staging import Stage
from hyper_py.writing.state import read_state
from hyper_py.writing.table_columns import coordinate_decimals, prepare_table, template_of
from hyper_py.writing.tables import SUFFIXES, TEXT_FORMS, join_tables, write_table

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
    prepared = prepare_table(catalog, pixel_scale=pixel_scale, meta=meta)
    template = template_of(prepared, text_widths={}, meta=prepared.meta)
    for form in layout.formats:
        path = stage.path(layout.table(name, form))
        write_table(path, [prepared], form=form, template=template)
    np.save(stage.path(layout.rows(name)), prepared.as_array())


def describe_columns(catalog: Table) -> list[list[str]]:
    """Return name, unit and description of each column; the stored rows do not have them."""
    return [
        [name, str(column.unit or ""), column.info.description or ""]
        for name, column in catalog.columns.items()
    ]


def remove_merged(layout: Layout) -> None:
    """Remove merged catalogues of an earlier run."""
    for form in SUFFIXES:
        (layout.root / layout.table(MERGED_NAME, form)).unlink(missing_ok=True)


def write_merged(
    layout: Layout, names: Sequence[str], *, meta: Mapping[str, Any], merged: str = MERGED_NAME
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

    Returns
    -------
    tuple of str
        Files written; none without a map.
    """
    if not names:
        return ()
    columns: list[list[str]] = []
    pixel_scale, n_rows = math.inf, 0
    looks = set()
    for name in names:
        state = read_state(layout, name)
        if state is None:
            raise InputError(
                f"{layout.root / layout.state(name)}: gone while the run was going on; use --resume"
            )
        own = {column[0]: column for column in state["columns"]}
        columns = [column for column in columns if column[0] in own] if columns else [*own.values()]
        pixel_scale = min(pixel_scale, float(state["pixel_scale"]))
        n_rows += int(state["n_sources"])
        decimals = coordinate_decimals(float(state["pixel_scale"]))
        looks.add((json.dumps(state["columns"]), decimals, max(len(name), len("MAP_ID"))))

    def table_of(parts: Sequence[np.ndarray[Any, Any]]) -> Table:
        table = Table()
        for column, unit, description in columns:
            values = np.concatenate([rows[column] for rows in parts])
            table[column] = TableColumn(values, unit=unit or None, description=description)
        return prepare_table(table, pixel_scale=pixel_scale, meta={})

    stored = [layout.root / layout.rows(name) for name in names]
    header = {**meta, "n_sources": n_rows}
    first = table_of([np.load(stored[0])])
    template = template_of(first, text_widths={"MAP_ID": max(map(len, names))}, meta=header)
    with Stage(layout.root) as stage:
        for form in layout.formats:
            path = stage.path(layout.table(merged, form))
            parts = [layout.root / layout.table(name, form) for name in names]
            if len(looks) == 1 and form in TEXT_FORMS and all(part.exists() for part in parts):
                join_tables(path, parts, form=form, template=template)
            else:
                batches = map(table_of, _in_batches(map(np.load, stored)))
                write_table(path, batches, form=form, template=template)
    return stage.names


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
