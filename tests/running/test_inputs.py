"""Which maps are meant: lists, paths, globs, directories, tables; and what is refused."""

from pathlib import Path

import pytest
from astropy.table import Table

from hyper_py.diagnostics import ConfigurationError
from hyper_py.running.inputs import map_name, resolve_inputs


@pytest.fixture
def maps(tmp_path):
    for name in ("b.fits", "a.fits.gz", "c.FITS", "d.fit", "notes.md", ".hidden.fits"):
        (tmp_path / "maps" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "maps" / name).write_text("")
    return tmp_path / "maps"


def names(inputs, maps):
    return [one.name for one in resolve_inputs(inputs, list_file=maps / "list.txt", maps_dir=maps)]


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("m.fits", "m"),
        ("x/m.fits.gz", "m"),
        ("m.fit.fz", "m"),
        ("M.v2.FITS.GZ", "M.v2"),
        ("m.image", "m.image"),
        (".fits", ".fits"),
        ("m.fits.fits", "m.fits"),
    ],
)
def test_names_are_files_without_fits_suffixes(file, name):
    assert map_name(file) == name


def test_list_file_of_the_configuration(maps):
    (maps / "list.txt").write_text("# header\n\nb.fits\n  sub/e.fits # the second\n/abs/f.fits\n")
    found = resolve_inputs(None, list_file=maps / "list.txt", maps_dir=maps)
    assert [one.name for one in found] == ["b", "e", "f"]
    assert [one.path for one in found] == [maps / "b.fits", maps / "sub/e.fits", Path("/abs/f.fits")]


def test_explicit_inputs_keep_their_order(maps):
    assert names([maps / "c.FITS", str(maps / "a.fits.gz"), "missing.fits"], maps) == ["c", "a", "missing"]


def test_directory_and_glob_are_sorted(maps, monkeypatch):
    assert names([maps], maps) == ["a", "b", "c", "d"]
    assert names([f"{maps}/*.fit*"], maps) == ["a", "b", "d"]
    monkeypatch.chdir(maps)
    assert names(["*.fits"], maps) == ["b"]
    (maps / "odd[1].fits").write_text("")
    assert names(["odd[1].fits"], maps) == ["odd[1]"]


def test_lists_and_tables_of_maps(maps):
    (maps / "some.lis").write_text("b.fits\n")
    (maps / "any").write_text("d.fit\n")
    (maps / "t.csv").write_text("id,File\n1,b.fits\n\n2,c.FITS\n3,\n")
    Table({"n": [1, 2], "where": ["d.fit", "b.fits"]}).write(maps / "t.ecsv")
    assert names([maps / "some.lis"], maps) == ["b"]
    assert names([f"@{maps}/any"], maps) == ["d"]
    assert names([maps / "t.csv"], maps) == ["b", "c"]
    assert names([f"{maps}/t.ecsv#WHERE"], maps) == ["d", "b"]
    assert resolve_inputs([maps / "t.csv"], list_file=maps, maps_dir=maps)[0].path == maps / "b.fits"


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (None, r"list.txt: no such list of maps; write the names of maps into it"),
        ([], r"no input: no maps to run"),
        (["nothing*.fits"], r"nothing\*.fits: no file matches"),
        (["@nowhere"], r"nowhere: no such list of maps"),
        (["x/m.fits", "y/m.fits.gz"], r"two maps have the same name, 'm'.*x/m.fits and y/m.fits.gz"),
        (["x/m.fits", "y/M.fits"], r"two maps have the same name"),
        (["all.fits"], r"would overwrite the merged catalogue"),
        (["t.csv"], r"t.csv: no such table of maps"),
        (["t.ecsv"], r"t.ecsv: no such table of maps"),
    ],
)
def test_what_is_refused(tmp_path, monkeypatch, inputs, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match=message) as raised:
        resolve_inputs(inputs, list_file=Path("list.txt"), maps_dir=tmp_path)
    assert "\n" not in str(raised.value)


def test_a_table_without_a_column_of_maps_says_how_to_name_it(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ConfigurationError, match=r"among a, b; name it as .*t.csv#COLUMN"):
        names([tmp_path / "t.csv"], tmp_path)
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(ConfigurationError, match=r"no column path or"):
        names([tmp_path / "empty.csv"], tmp_path)
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match=r"binary.txt: cannot be read as a list of maps"):
        names([tmp_path / "binary.txt"], tmp_path)


def test_an_empty_directory_or_list_is_nothing_to_do(tmp_path):
    with pytest.raises(ConfigurationError, match="no maps to run"):
        names([tmp_path], tmp_path)
