"""Every format gives the catalogue back: columns, units, descriptions, values; empty, single and merged."""

import math

import numpy as np
import pytest
from astropy import units as u
from astropy.table import Table
from hypothesis import given
from hypothesis import strategies as st

from helpers.runner_tasks import make_catalogue
from helpers.tables import write_batches
from hyper_py.catalog import COLUMNS
from hyper_py.diagnostics import ConfigurationError, InputError
from hyper_py.writing.table_columns import COORDINATE_COLUMNS, coordinate_decimals, prepare_table
from hyper_py.writing.tables import SUFFIXES, read_table, write_table


@pytest.mark.parametrize("form", SUFFIXES)
@pytest.mark.parametrize("sizes", [[0], [1], [37], [5, 0, 12]])
def test_every_format_gives_the_catalogue_back(tmp_path, form, sizes):
    path = tmp_path / f"t{SUFFIXES[form]}"
    batches = [make_catalogue(n, seed=i, name="m" * (1 + 3 * i)) for i, n in enumerate(sizes)]
    prepared = write_batches(path, batches, form)
    back = read_table(path)
    assert back.colnames == [column.name for column in COLUMNS]
    assert len(back) == sum(sizes)
    for column in COLUMNS:
        expected = np.concatenate([np.asarray(batch[column.name]) for batch in prepared])
        got = np.asarray(back[column.name])
        if form != "csv":
            assert (back[column.name].unit or u.one) == (prepared[0][column.name].unit or u.one)
            assert got.dtype.kind == {"str": "U", "int": "i", "float": "f"}[column.dtype]
        if form in ("ipac", "csv") and column.dtype == "float":
            text = prepared[0][column.name].format
            places = 0.5 * 10.0 ** -int(text[1:-1]) * 1.0001
            tolerance = {"f": {"atol": places, "rtol": 0}, "g": {"atol": 0, "rtol": 10 * places}}[text[-1]]
            np.testing.assert_allclose(got.astype(float), expected, **tolerance)
        elif column.dtype == "float":
            np.testing.assert_array_equal(got, expected)
        else:
            assert got.tolist() == expected.tolist()


@pytest.mark.parametrize("form", ["ecsv", "votable", "parquet"])
def test_descriptions_and_ucds_are_kept(tmp_path, form):
    path = tmp_path / f"t{SUFFIXES[form]}"
    write_batches(path, [make_catalogue(3)], form)
    back = read_table(path)
    for column in COLUMNS:
        assert back[column.name].description.split() == column.description.split()
        assert back[column.name].meta["ucd"] == column.ucd


@given(st.floats(1e-3, 1e4))
def test_coordinates_resolve_a_hundredth_of_a_pixel(pixel_scale):
    decimals = coordinate_decimals(pixel_scale)
    step = 10.0**-decimals * 3600.0
    assert step <= 0.01 * pixel_scale * (1 + 1e-9)
    assert step >= 0.001 * pixel_scale * (1 - 1e-9) or decimals == 6


@pytest.mark.parametrize("form", ["ipac", "csv"])
def test_written_coordinates_are_within_a_hundredth_of_a_pixel(tmp_path, form):
    path = tmp_path / f"t{SUFFIXES[form]}"
    (prepared,) = write_batches(path, [make_catalogue(200, seed=3)], form, pixel_scale=0.013)
    back = read_table(path)
    for name in COORDINATE_COLUMNS:
        assert np.abs(back[name] - prepared[name]).max() * 3600 <= 0.005 * 0.013 * 1.0001


def test_masked_and_foreign_columns(tmp_path):
    table = Table({"MAP_ID": ["é"], "CHANNEL": np.array([3], dtype=np.int16), "V": np.array([1.5], ">f4")})
    table["V"].unit, table["V"].description = "km/s", "Velocity"
    table["M"] = np.ma.MaskedArray([1.0], mask=[True])
    for form in SUFFIXES:
        path = tmp_path / f"t{SUFFIXES[form]}"
        write_batches(path, [table], form)
        back = read_table(path)
        assert (back["CHANNEL"][0], back["V"][0]) == (3, 1.5)
        assert math.isnan(back["M"][0])
        assert back["MAP_ID"][0] == ("?" if form == "fits" else "é")


@pytest.mark.parametrize("form", [form for form in SUFFIXES if form != "parquet"])
def test_same_rows_give_the_same_bytes_in_one_batch_or_many(tmp_path, form):
    table = make_catalogue(20, seed=5)
    one, many = tmp_path / f"one_{form}", tmp_path / f"many_{form}"
    write_batches(one, [table], form)
    write_batches(many, [table[:7], table[7:8], table[8:]], form)
    assert one.read_bytes() == many.read_bytes()


def test_unknown_formats_are_named(tmp_path):
    with pytest.raises(
        ConfigurationError, match=r"outputs.tables: unknown format 'xls'; known are ipac, ecsv"
    ):
        write_table(tmp_path / "t", [], form="xls", template=Table())
    with pytest.raises(InputError, match="cannot tell the format"):
        read_table(tmp_path / "t.xls")
    (tmp_path / "t.ecsv").write_bytes(b"nonsense")
    with pytest.raises(InputError, match=r"t.ecsv: cannot be read as a table"):
        read_table(tmp_path / "t.ecsv")


@pytest.mark.parametrize("form", SUFFIXES)
def test_metadata_of_any_kind_becomes_plain(tmp_path, form):
    table = make_catalogue(1)
    table.meta = {
        "a": np.float64(1.5),
        "b": None,
        "c": [1, 2],
        "d": "two\nlines",
        "e": True,
        "f": float("nan"),
    }
    prepared = prepare_table(table, pixel_scale=1.0)
    assert prepared.meta["a"] == 1.5
    assert prepared.meta["c"] == "[1, 2]"
    assert prepared.meta["d"] == "two lines"
    assert "b" not in prepared.meta
    write_batches(tmp_path / f"t{SUFFIXES[form]}", [table], form)
    assert len(read_table(tmp_path / f"t{SUFFIXES[form]}")) == 1
