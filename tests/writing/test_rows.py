"""The rows of a map are all the numbers and texts that were written, or an error; never objects."""

import numpy as np
import pytest

from helpers.staged_maps import stage_map
from hyper_py.diagnostics import InputError
from hyper_py.writing.layout import Layout
from hyper_py.writing.rows import read_rows, recorded
from hyper_py.writing.tables import read_table


@pytest.fixture
def layout(tmp_path):
    layout = Layout(root=tmp_path)
    stage_map(layout, "m", 3)
    return layout


def test_rows_are_those_of_the_catalogue_in_full_precision(layout):
    rows = read_rows(layout, recorded(layout, "m"))
    table = read_table(layout.root / layout.table("m", "ecsv"))
    assert len(rows) == len(table) == 3
    for name in ("HYPER_ID", "X", "FLUX"):
        np.testing.assert_array_equal(rows[name], np.asarray(table[name]))


def test_a_record_that_is_gone_is_an_error(layout):
    (layout.root / layout.state("m")).unlink()
    with pytest.raises(InputError, match="--resume"):
        recorded(layout, "m")


def damaged(rows, how):
    """Rows as somebody could have changed them."""
    names = list(rows.dtype.names)
    match how:
        case "fewer":
            return rows[:2]
        case "other columns":
            rows.dtype.names = tuple(names[::-1])
            return rows
        case "plain":
            return np.zeros(3)
        case "objects":
            return rows.astype([(name, object) for name in names])


@pytest.mark.parametrize("how", ["fewer", "other columns", "plain", "objects"])
def test_other_rows_are_refused(layout, how):
    record = recorded(layout, "m")
    path = layout.root / layout.rows("m")
    np.save(path, damaged(np.load(path), how), allow_pickle=True)
    with pytest.raises(InputError, match="not the rows of this map"):
        read_rows(layout, record)


@pytest.mark.parametrize(
    "change", [lambda code: code[:-1], lambda code: code + b"x", lambda code: b"\x80" + code]
)
def test_a_file_of_another_length_is_refused(layout, change):
    record = recorded(layout, "m")
    path = layout.root / layout.rows("m")
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(InputError, match="not the rows of this map"):
        read_rows(layout, record)
