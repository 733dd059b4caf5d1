"""Given positions and apertures, from lists and tables, reach the extraction as they are meant."""

from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table

from hyper_py.config import Config
from hyper_py.diagnostics import ConfigurationError
from hyper_py.running.forced import check_files, fixed_apertures, fixed_sources
from hyper_py.running.merging import given_catalogue


def make_config(root: Path, **sections):
    return Config.from_mapping({"version": 2, "paths": {"output": {"dir_root": str(root)}}, **sections})


def test_nothing_is_given_by_default(tmp_path):
    config = make_config(tmp_path)
    assert fixed_sources(config) is None
    assert fixed_apertures(config, 3) == {}


def test_lists_are_in_the_frame_of_the_map(tmp_path):
    config = make_config(
        tmp_path,
        detection={"fixed_peaks": True, "xcen_fix": [10.0, 11.0], "ycen_fix": [-1.0, -2.0]},
        photometry={"fixed_radius": True, "fwhm_1": [12.0, 13.0], "fwhm_2": [9.0], "PA_val": [30.0]},
    )
    fixed = fixed_sources(config)
    assert fixed.frame == "map"
    assert fixed.longitude.tolist() == [10.0, 11.0]
    assert fixed.latitude.tolist() == [-1.0, -2.0]
    assert [fixed.fwhm_1.tolist(), fixed.fwhm_2.tolist(), fixed.pa.tolist()] == [[12, 13], [9, 9], [30, 30]]
    free = make_config(tmp_path, detection={"fixed_peaks": True, "xcen_fix": [10.0], "ycen_fix": [-1.0]})
    assert fixed_sources(free).fwhm_1 is None


@pytest.mark.parametrize("name", ["source_table.txt", "sources.dat", "sources.ecsv"])
def test_tables_are_in_icrs(tmp_path, monkeypatch, name):
    table = Table({"ID": [1, 2], "RA": [10.0, 11.0], "DEC": [-1.0, -2.0], "FWHM_1": [12.0, 13.0]})
    table["FWHM_2"], table["PA"] = [9.0, 8.0], [30, 40]
    table.write(tmp_path / name, format="ascii.ecsv" if name.endswith("ecsv") else "ascii.ipac")
    monkeypatch.chdir(tmp_path)
    config = make_config(
        tmp_path / "out", detection={"use_fixed_source_table": True, "fixed_source_table_path": name}
    )
    fixed = fixed_sources(config)
    assert fixed.frame == "icrs"
    assert fixed.ids.tolist() == ["1", "2"]
    assert len(fixed.notes) == 1
    for key, column in {"longitude": "RA", "latitude": "DEC", "fwhm_1": "FWHM_1", "pa": "PA"}.items():
        np.testing.assert_array_equal(getattr(fixed, key), table[column])


@pytest.mark.parametrize("name", ["params_m.csv", "params_ALL.csv"])
def test_a_table_that_the_run_itself_writes_is_refused(tmp_path, monkeypatch, name):
    """It would be removed, or written anew, before or after it is read."""
    (tmp_path / "out" / "params").mkdir(parents=True)
    table = Table({"RA": [10.0], "DEC": [-1.0]})
    table.write(tmp_path / "out" / "params" / name)
    table.write(tmp_path / "out" / "params" / "own.csv")
    monkeypatch.chdir(tmp_path)

    def given(path, root="out"):
        return make_config(
            tmp_path / root, detection={"use_fixed_source_table": True, "fixed_source_table_path": path}
        )

    with pytest.raises(ConfigurationError, match=r"fixed_source_table_path: .*name another output directory"):
        fixed_sources(given(f"out/params/{name}"))
    assert fixed_sources(given(f"out/params/{name}", root="other")).longitude.tolist() == [10.0]
    assert fixed_sources(given("out/params/own.csv")).longitude.tolist() == [10.0]
    compared = make_config(tmp_path / "out", overlaps={"catalogue": f"out/params/{name}"})
    with pytest.raises(ConfigurationError, match=r"overlaps\.catalogue: .*name another output directory"):
        given_catalogue(compared)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (None, "source_table.txt: no such file"),
        ({"RA": [1.0]}, "no column DEC among RA"),
        ({"RA": [1.0], "DEC": [np.nan]}, "column DEC has values that are not numbers"),
        ({"RA": [1.0], "DEC": ["x"]}, "column DEC has values that are not numbers"),
    ],
)
def test_a_table_that_cannot_be_used_is_one_clear_line(tmp_path, monkeypatch, columns, message):
    monkeypatch.chdir(tmp_path)
    if columns:
        Table(columns).write(tmp_path / "source_table.txt", format="ascii.ipac")
    config = make_config(tmp_path, detection={"use_fixed_source_table": True})
    with pytest.raises(ConfigurationError, match=message):
        fixed_sources(config)


def test_where_the_table_is(tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    (tmp_path / "conf").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    own = {"use_fixed_source_table": True, "fixed_source_table_path": "t.csv"}
    values = {"paths": {"output": {"dir_root": "out"}}, "detection": own}
    ours = Config.from_mapping({"version": 2, **values, "maps": {"m": {}}}, base_dir=tmp_path / "conf")
    original = Config.from_mapping(values, base_dir=tmp_path / "conf")
    monkeypatch.chdir(tmp_path)
    assert ours.source_table() == ours.for_map("m").source_table() == tmp_path / "work/t.csv"
    assert original.source_table() == tmp_path / "conf/out/t.csv"
    (tmp_path / "conf/out").mkdir()
    (tmp_path / "conf/out/t.csv").write_text("RA,DEC\n1.0,2.0\n")
    assert fixed_sources(original).notes == ()
    with pytest.raises(ConfigurationError, match=r"work/t\.csv: no such file"):
        fixed_sources(ours)


def test_sizes_without_a_beam_and_with_one_exclude_each_other(tmp_path):
    with pytest.raises(ConfigurationError, match="fixed_source_beam is for observed sizes"):
        make_config(tmp_path, detection={"fixed_source_sizes": "intrinsic", "fixed_source_beam": 18.0})


def test_apertures_must_fit_the_positions(tmp_path):
    photometry = {"fixed_radius": True, "fwhm_1": [12.0, 13.0], "fwhm_2": [9.0, 9.0], "PA_val": [30.0]}
    with pytest.raises(ConfigurationError, match=r"photometry.fwhm_1: 2 values for 3 sources"):
        fixed_apertures(make_config(tmp_path, photometry=photometry), 3)


@pytest.mark.parametrize(
    ("section", "text"),
    [
        ({"survey": {"name": "spire25"}}, r"survey\.name: 'spire25' is not known; did you mean spire250"),
        ({"survey": {"psf": "none.fits"}}, r"^survey\.psf: .*none\.fits: no such file$"),
        ({"io": {"mask": "none.reg"}}, r"^io\.mask: .*none\.reg: no such file$"),
        ({"detection": {"region": "none.moc"}}, r"^detection\.region: .*none\.moc: no such file$"),
        ({"detection": {"regions": "none.reg"}}, r"^detection\.regions: .*none\.reg: no such file$"),
    ],
)
def test_what_all_maps_would_fail_by(section, text):
    with pytest.raises(ConfigurationError, match=text):
        check_files(Config.from_mapping({"version": 2, **section}))
    check_files(Config.from_mapping({"version": 2, "survey": {"name": "SPIRE 250"}}))
