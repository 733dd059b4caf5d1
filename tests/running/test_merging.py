"""The merged catalogue of a run, by the choices of its configuration."""

import numpy as np
import pytest
from astropy.table import Table

from helpers.runner_tasks import make_config
from helpers.staged_maps import stage_map
from hyper_py.diagnostics import ConfigurationError
from hyper_py.running.merging import given_catalogue, merged_tables
from hyper_py.writing.layout import Layout
from hyper_py.writing.tables import read_table


def staged(tmp_path, **overlaps):
    config = make_config(tmp_path, overlaps=overlaps, outputs={"tables": ["ecsv"]})
    layout = Layout.from_config(config)
    for name in ("a", "b"):
        stage_map(
            layout, name, 2, seed=3, beam_fwhm=10.0, RA=[10.0, 11.0], DEC=[1.0, 2.0], FLUX=[10.0, 20.0],
            FLUX_ERR=[1.0, 1.0], FLAGS=0,
        )  # fmt: skip
    return config, layout


@pytest.mark.parametrize(
    ("merged", "rows", "marked"), [("mark", 4, True), ("join", 2, True), ("none", 4, False)]
)
def test_choices(tmp_path, merged, rows, marked):
    config, layout = staged(tmp_path, merged=merged)
    names, notes, remarks = merged_tables(layout, config, ["a", "b"])
    table = read_table(tmp_path / "params/params_ALL.ecsv")
    assert len(table) == rows
    assert ("SKY_ID" in table.colnames) == marked
    assert len(names) == (3 if marked else 1)
    assert notes == (("2 of 2 sources are on several maps",) if marked else ())
    assert remarks == ()


def test_channels_of_a_cube_do_not_overlap(tmp_path):
    config, layout = staged(tmp_path)
    stage_map(layout, "cube", 0, parts=("a", "b"))
    names, notes, _ = merged_tables(layout, config, ["cube"])
    assert names == ("params/params_ALL.ecsv",)
    assert notes == ()


def test_one_map_and_a_catalogue(tmp_path):
    own = tmp_path / "mine.ecsv"
    table = Table({"RA": [10.0, 50.0], "DEC": [1.0, 2.0], "FLUX": [0.011, 1.0], "NAME": ["x", "y"]})
    table["FLUX"].unit = "Jy"
    table["RA"].unit = table["DEC"].unit = "deg"
    table.write(own)
    config, layout = staged(tmp_path, catalogue=str(own))
    names, notes, _ = merged_tables(layout, config, ["a"])
    assert notes == ("1 of 2 sources of mine are in the catalogue",)
    pairs = read_table(tmp_path / "params/params_OVERLAPS.ecsv")
    assert list(pairs["ID"]) == ["x"]
    np.testing.assert_allclose(pairs["FLUX_1"], 11.0)
    assert "SKY_ID" not in read_table(tmp_path / "params/params_ALL.ecsv").colnames
    assert len(names) == 3


@pytest.mark.parametrize(
    ("unit", "text"), [("K", "is in 'K', which is not a flux density"), (None, "no such file")]
)
def test_catalogues_that_cannot_be_used(tmp_path, unit, text):
    path = tmp_path / "mine.ecsv"
    if unit:
        table = Table({"RA": [10.0], "DEC": [1.0], "FLUX": [0.011]})
        table["FLUX"].unit = unit
        table.write(path)
    with pytest.raises(ConfigurationError, match=rf"^overlaps\.catalogue: .*{text}"):
        given_catalogue(make_config(tmp_path, overlaps={"catalogue": str(path)}))


def test_no_catalogue(tmp_path):
    assert given_catalogue(make_config(tmp_path)) is None
