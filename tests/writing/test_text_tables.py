"""Text tables say what astropy and the standards expect."""

import numpy as np
from astropy import units as u
from astropy.table import Table

from helpers.runner_tasks import make_catalogue
from helpers.tables import write_one
from hyper_py.catalog import COLUMNS
from hyper_py.writing.tables import read_table
from hyper_py.writing.text_tables import write_csv, write_ecsv, write_ipac, write_votable


def test_ecsv_header_says_what_astropy_would_say(tmp_path):
    table = make_catalogue(3)
    table.meta |= {"remark": "a: 'b' \"c\" # d\\e {f} \u00b5Jy", "yes": True, "on": "no", "n": 3}
    prepared = write_one(write_ecsv, tmp_path / "ours.ecsv", table)
    prepared.write(tmp_path / "astropy.ecsv", format="ascii.ecsv")
    ours, theirs = (Table.read(tmp_path / f"{name}.ecsv") for name in ("ours", "astropy"))
    assert dict(ours.meta) == dict(theirs.meta) == dict(prepared.meta)
    for name in theirs.colnames:
        for attribute in ("dtype", "unit", "format", "description", "meta"):
            assert getattr(ours[name], attribute) == getattr(theirs[name], attribute)


def test_votable_is_valid_and_carries_the_run(tmp_path):
    from astropy.io import votable

    path = tmp_path / "t.vot"
    write_one(write_votable, path, make_catalogue(3, name="a<b&c"))
    document = votable.parse(path, verify="exception")
    assert {info.name: info.value for info in document.resources[0].infos}["sigma_thres"] == "4.0"
    assert votable.parse_single_table(path).to_table()["MAP_ID"][0] == "a<b&c"
    assert votable.parse_single_table(path).get_field_by_id("RA").ucd == "pos.eq.ra;meta.main"


def test_ipac_header_says_what_the_run_was(tmp_path):
    path = tmp_path / "t.txt"
    write_one(write_ipac, path, make_catalogue(3))
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
    write_one(write_ipac, tmp_path / "t.txt", table)
    back = read_table(tmp_path / "t.txt")
    np.testing.assert_allclose(back["X"], [-1.0e12, 123456.789], rtol=1e-6)
    np.testing.assert_allclose(back["SNR"], [1e300, -1e300], rtol=1e-2)
    assert np.isnan(back["PA"]).all()


def test_csv_is_plain(tmp_path):
    write_one(write_csv, tmp_path / "t.csv", make_catalogue(2, name='a,"b'))
    lines = (tmp_path / "t.csv").read_text().splitlines()
    assert lines[0] == ",".join(column.name for column in COLUMNS)
    assert len(lines) == 3
    assert lines[1].startswith('"a,""b",1,')
