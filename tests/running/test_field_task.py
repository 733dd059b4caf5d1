"""A field from its files to its extraction: searched, and with sources that are given."""

import json
from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import Table

from helpers.field_tasks import write_field
from hyper_py.config import Config
from hyper_py.running.field_task import given_sources, measure_field, read_band
from hyper_py.running.fields import field_tasks, resolve_fields

FEW = {
    "bands": {"p100": None, "s500": None}, "size": 420.0, "n_sources": 5, "margin": 70.0,
    "pair_fraction": 0.0, "flux_range": (0.8, 2.0), "temperature_range": (15.0, 25.0), "cirrus": 0.3,
}  # fmt: skip


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    """Directory of a small field, and its truth."""
    root = tmp_path_factory.mktemp("few")
    write_field(root, seed=3, **FEW)
    return root, Table.read(root / "truth.ecsv")


def task_of(root, **sections):
    config = Config.from_mapping({"version": 2, **sections}, base_dir=root)
    (task,) = field_tasks(resolve_fields(config, [root]), config)
    return task


def test_a_field_is_measured_as_its_truth_is(field):
    root, truth = field
    extraction = measure_field(
        task_of(root, maps={"s250": {"calibration_error": 0.1}, "p160": {}, "s350": {}})
    )
    assert [band.name for band in extraction.bands] == ["s250", "p160", "s350"]
    assert extraction.name == "bands"
    table = extraction.catalog
    i, distance, _ = SkyCoord(truth["RA"], truth["DEC"]).match_to_catalog_sky(
        SkyCoord(table["RA"], table["DEC"])
    )
    assert len(table) == len(truth)
    assert distance.arcsec.max() < 1.5
    for name in ("p160", "s250", "s350"):
        flux, error = (table[f"{key}_{name}"][i].to_value("Jy") for key in ("FLUX", "FLUX_ERR"))
        assert np.abs((flux - truth[f"FLUX_{name}"]) / error).max() < 6.0
        assert (np.abs(flux / truth[f"FLUX_{name}"] - 1.0) < 0.15).all()
    assert "FLUX_CAL_ERR_s250" in table.colnames


def test_given_sources_are_measured_and_no_others(field):
    root, truth = field
    own = root / "given.ecsv"
    truth["RA", "DEC", "ID"][:2].write(own, overwrite=True)
    keys = {"use_fixed_source_table": True, "fixed_source_table_path": str(own)}
    table = measure_field(task_of(root, detection=keys)).catalog
    assert len(table) == 2
    np.testing.assert_array_equal(table["ID"], truth["ID"][:2].astype(str))
    np.testing.assert_allclose(table["RA"].value, truth["RA"][:2], atol=1.5 / 3600)
    flux = table["FLUX_s250"].to_value("Jy")
    np.testing.assert_allclose(flux, truth["FLUX_s250"][:2], rtol=0.2)


def test_regions_are_sources_too(field):
    root, truth = field
    lines = [f"point({ra},{dec})" for ra, dec in zip(truth["RA"], truth["DEC"], strict=True)]
    path = root / "drawn.reg"
    path.write_text("\n".join(["# Region file format: DS9", "icrs", *lines]) + "\n")
    task = task_of(root, detection={"regions": json.loads(json.dumps(str(path)))})
    fixed = given_sources(task, [read_band(band) for band in task.bands])
    assert fixed is not None
    assert fixed.frame == "icrs"
    np.testing.assert_allclose(fixed.longitude, truth["RA"])
    assert Path(path).exists()


def test_without_any_there_are_none(field):
    task = task_of(field[0])
    assert given_sources(task, [read_band(band) for band in task.bands]) is None
