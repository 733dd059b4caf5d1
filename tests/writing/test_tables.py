"""Every format gives the catalogue back: columns, units, descriptions, values; empty, single and merged."""

import math

import numpy as np
import pytest
from astropy import units as u
from astropy.table import Table
from hypothesis import given
from hypothesis import strategies as st

from helpers.runner_tasks import make_catalogue
from hyper_py.catalog import COLUMNS
from hyper_py.diagnostics import ConfigurationError, InputError
from hyper_py.writing import tables


def write(path, batches, form, *, pixel_scale=0.013):
    prepared = [tables.prepare_table(batch, pixel_scale=pixel_scale) for batch in batches]
    widths = {"MAP_ID": max((len(str(v)) for b in prepared for v in b["MAP_ID"]), default=1)}
    template = tables.template_of(prepared[0], text_widths=widths, meta=prepared[0].meta)
    tables.write_table(path, iter(prepared), form=form, template=template)
    return prepared


@pytest.mark.parametrize("form", tables.SUFFIXES)
@pytest.mark.parametrize("sizes", [[0], [1], [37], [5, 0, 12]])
def test_every_format_gives_the_catalogue_back(tmp_path, form, sizes):
    path = tmp_path / f"t{tables.SUFFIXES[form]}"
    batches = [make_catalogue(n, seed=i, name="m" * (1 + 3 * i)) for i, n in enumerate(sizes)]
    prepared = write(path, batches, form)
    back = tables.read_table(path)
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
    path = tmp_path / f"t{tables.SUFFIXES[form]}"
    write(path, [make_catalogue(3)], form)
    back = tables.read_table(path)
    for column in COLUMNS:
        assert back[column.name].description.split() == column.description.split()
        assert back[column.name].meta["ucd"] == column.ucd


def test_ecsv_header_says_what_astropy_would_say(tmp_path):
    table = make_catalogue(3)
    table.meta |= {"remark": "a: 'b' \"c\" # d\\e {f} \u00b5Jy", "yes": True, "on": "no", "n": 3}
    prepared = write(tmp_path / "ours.ecsv", [table], "ecsv")[0]
    prepared.write(tmp_path / "astropy.ecsv", format="ascii.ecsv")
    ours, theirs = (Table.read(tmp_path / f"{name}.ecsv") for name in ("ours", "astropy"))
    assert ours.meta == theirs.meta == prepared.meta
    for name in theirs.colnames:
        for attribute in ("dtype", "unit", "format", "description", "meta"):
            assert getattr(ours[name], attribute) == getattr(theirs[name], attribute)


def test_fits_header_describes_columns_and_run(tmp_path):
    from astropy.io import fits

    path = tmp_path / "t.fits"
    write(path, [make_catalogue(3)], "fits")
    with fits.open(path) as hdus:
        hdus.verify("exception")
        header = hdus[1].header
    names = {header[f"TTYPE{i}"]: i for i in range(1, header["TFIELDS"] + 1)}
    for column in COLUMNS:
        assert header[f"TCOMM{names[column.name]}"] == column.description
        assert header[f"TUCD{names[column.name]}"] == column.ucd
    assert header["rms"] == 1.25e-3
    assert header["beam"] == "12.0 x 11.0 arcsec"


def test_votable_is_valid_and_carries_the_run(tmp_path):
    from astropy.io import votable

    path = tmp_path / "t.vot"
    write(path, [make_catalogue(3, name="a<b&c")], "votable")
    document = votable.parse(path, verify="exception")
    assert {info.name: info.value for info in document.resources[0].infos}["sigma_thres"] == "4.0"
    assert votable.parse_single_table(path).to_table()["MAP_ID"][0] == "a<b&c"
    assert votable.parse_single_table(path).get_field_by_id("RA").ucd == "pos.eq.ra;meta.main"


def test_ipac_header_says_what_the_run_was(tmp_path):
    path = tmp_path / "t.txt"
    write(path, [make_catalogue(3)], "ipac")
    back = Table.read(path, format="ipac")
    assert back.meta["keywords"]["rms"]["value"] == 1.25e-3
    assert back.meta["keywords"]["beam"]["value"] == "12.0 x 11.0 arcsec"
    assert any(line.startswith("FLUX (mJy): Aperture flux") for line in back.meta["comments"])
    lines = path.read_text().splitlines()
    assert len({len(line) for line in lines if not line.startswith("\\")}) == 1
    bars = [i for i, character in enumerate(next(x for x in lines if x.startswith("|"))) if character == "|"]
    rows = [line for line in lines if line[0] not in "|\\"]
    assert len(rows) == 3
    assert all(row[i] == " " for row in rows for i in bars)


def test_ipac_cells_never_run_into_each_other(tmp_path):
    table = make_catalogue(2)
    table["X"] = [-1.0e12, 123456.78901] * u.pix
    table["SNR"] = [1e300, -1e300]
    table["PA"] = [np.inf, -np.inf] * u.deg
    write(tmp_path / "t.txt", [table], "ipac")
    back = tables.read_table(tmp_path / "t.txt")
    np.testing.assert_allclose(back["X"], [-1.0e12, 123456.789], rtol=1e-6)
    np.testing.assert_allclose(back["SNR"], [1e300, -1e300], rtol=1e-2)
    assert np.isnan(back["PA"]).all()


@given(st.floats(1e-3, 1e4))
def test_coordinates_resolve_a_hundredth_of_a_pixel(pixel_scale):
    decimals = tables.coordinate_decimals(pixel_scale)
    step = 10.0**-decimals * 3600.0
    assert step <= 0.01 * pixel_scale * (1 + 1e-9)
    assert step >= 0.001 * pixel_scale * (1 - 1e-9) or decimals == 6


@pytest.mark.parametrize("form", ["ipac", "csv"])
def test_written_coordinates_are_within_a_hundredth_of_a_pixel(tmp_path, form):
    path = tmp_path / f"t{tables.SUFFIXES[form]}"
    (prepared,) = write(path, [make_catalogue(200, seed=3)], form, pixel_scale=0.013)
    back = tables.read_table(path)
    for name in tables.COORDINATE_COLUMNS:
        assert np.abs(back[name] - prepared[name]).max() * 3600 <= 0.005 * 0.013 * 1.0001


def test_csv_is_plain(tmp_path):
    write(tmp_path / "t.csv", [make_catalogue(2, name='a,"b')], "csv")
    lines = (tmp_path / "t.csv").read_text().splitlines()
    assert lines[0] == ",".join(column.name for column in COLUMNS)
    assert len(lines) == 3
    assert lines[1].startswith('"a,""b",1,')


def test_masked_and_foreign_columns(tmp_path):
    table = Table({"MAP_ID": ["é"], "CHANNEL": np.array([3], dtype=np.int16), "V": np.array([1.5], ">f4")})
    table["V"].unit, table["V"].description = "km/s", "Velocity"
    table["M"] = np.ma.MaskedArray([1.0], mask=[True])
    for form in tables.SUFFIXES:
        path = tmp_path / f"t{tables.SUFFIXES[form]}"
        write(path, [table], form)
        back = tables.read_table(path)
        assert (back["CHANNEL"][0], back["V"][0]) == (3, 1.5)
        assert math.isnan(back["M"][0])
        assert back["MAP_ID"][0] == ("?" if form == "fits" else "é")


@pytest.mark.parametrize("form", [form for form in tables.SUFFIXES if form != "parquet"])
def test_same_rows_give_the_same_bytes_in_one_batch_or_many(tmp_path, form):
    table = make_catalogue(20, seed=5)
    one, many = tmp_path / f"one_{form}", tmp_path / f"many_{form}"
    write(one, [table], form)
    write(many, [table[:7], table[7:8], table[8:]], form)
    assert one.read_bytes() == many.read_bytes()


def test_unknown_formats_are_named(tmp_path):
    with pytest.raises(
        ConfigurationError, match=r"outputs.tables: unknown format 'xls'; known are ipac, ecsv"
    ):
        tables.write_table(tmp_path / "t", [], form="xls", template=Table())
    with pytest.raises(InputError, match="cannot tell the format"):
        tables.read_table(tmp_path / "t.xls")
    (tmp_path / "t.ecsv").write_bytes(b"nonsense")
    with pytest.raises(InputError, match=r"t.ecsv: cannot be read as a table"):
        tables.read_table(tmp_path / "t.ecsv")


@pytest.mark.parametrize("form", tables.SUFFIXES)
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
    prepared = tables.prepare_table(table, pixel_scale=1.0)
    assert prepared.meta["a"] == 1.5
    assert prepared.meta["c"] == "[1, 2]"
    assert prepared.meta["d"] == "two lines"
    assert "b" not in prepared.meta
    write(tmp_path / f"t{tables.SUFFIXES[form]}", [table], form)
    assert len(tables.read_table(tmp_path / f"t{tables.SUFFIXES[form]}")) == 1
