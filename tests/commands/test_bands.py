"""The command `bands`: what it asks for, what it shows, and mistakes in one line."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from helpers.command_line import Hyper
from helpers.field_tasks import measure, write_field
from hyper_py.commands import bands as command
from hyper_py.running import fields


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fields are measured by a stand-in."""
    monkeypatch.setattr(fields, "run_fields", partial(fields.run_fields, measure=measure))


def test_maps_give_one_catalogue(hyper: Hyper, measured: None) -> None:
    write_field("field", seed=2)
    status, out, err = hyper("bands", *sorted(map(str, Path("field").glob("*.fits"))), "-o", "out")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].split()[:4] == ["Field", "Band", "Micron", "Beam"]
    assert [line.split()[1] for line in lines[1:6]] == ["p100", "p160", "s250", "s350", "s500"]
    assert "reference" in lines[1]
    assert lines[-1].startswith("Fields: 1. Sources: 8. Seconds: ")
    assert len(Table.read("out/params/params_bands.ecsv")) == 8
    status, out, _ = hyper("bands", "field", "-o", "out", "--resume")
    assert status == 0
    assert len(out.splitlines()) == len(lines)
    assert hyper("report", "out")[0] == 0
    assert hyper("validate", "out/params/params_bands.ecsv", "field/truth.ecsv")[0] == 0


def test_configuration_names_the_bands(hyper: Hyper, measured: None) -> None:
    write_field("Maps", seed=2)
    Path("c.yaml").write_text(
        "version: 2\nmaps:\n"
        "  blue: {path: p100.fits, calibration_error: 0.05}\n  p160:\n  s250:\n  s350:\n"
        "  red: {path: s500.fits, name: R}\n"
    )
    arguments = ("bands", "c.yaml", "--quiet", "--set", "maps.blue.name=B", "--products", "residual")
    status, _, err = hyper(*arguments)
    assert (status, err) == (0, "")
    assert Path("output/fits/bands_B_residual.fits").exists()
    table = Table.read("output/params/params_bands.ecsv")
    assert {"FLUX_B", "FLUX_CAL_ERR_B", "FLUX_p160", "FLUX_R"} <= set(table.colnames)


def test_fields_in_parallel(hyper: Hyper, measured: None) -> None:
    for seed in (1, 2):
        write_field(f"f{seed}", seed=seed)
    status, out, _ = hyper("bands", "f1", "f2", "-o", "out", "--jobs", "2")
    assert status == 0
    assert out.splitlines()[-1].startswith("Fields: 2. Sources: 16.")
    assert {line.split()[0] for line in out.splitlines()[1:-1]} == {"f1", "f2"}
    assert json.loads(Path("out/run.json").read_text())["status"] == "complete"


def test_many_fields_are_counted_only(hyper: Hyper, measured: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "FIELDS_SHOWN", 0)
    write_field("f1")
    _, out, _ = hyper("bands", "f1", "-o", "out")
    assert len(out.splitlines()) == 1


def test_sources_and_regions_are_keys(hyper: Hyper, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = []

    def note(config: object, inputs: object, **_: object) -> None:
        asked.append(config)
        raise SystemExit(0)

    monkeypatch.setattr(fields, "run_fields", note)
    hyper("bands", "a.fits", "b.fits", "--sources", "t.ecsv", "--regions", "r.reg")
    (config,) = asked
    assert config.detection.use_fixed_source_table
    assert config.detection.fixed_source_table_path == str(tmp_path / "t.ecsv")
    assert config.detection.regions == str(tmp_path / "r.reg")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a.fits",), "bands: a.fits: a field needs two maps or more; `hyper-py run` measures single maps"),
        (("a.fits", "b.fits", "--set", "maps.a.wavelenth=3"), "the nearest known key is maps.a.wavelength"),
        (
            ("a.fits", "b.fits", "--set", "bands.shape=fre"),
            "bands.shape = 'fre': must be one of shared, free",
        ),
        (("a.fits", "b.fits", "--products", "noise"), "fits_output.fits_noise: only for single maps"),
        (("a.fits", "b.fits", "--regions", "r.reg"), "r.reg: no such file"),
        (("a.fits", "b.fits", "--sources", "t.ecsv"), "t.ecsv: no such file"),
    ],
)
def test_wrong_usage_is_one_line(hyper: Hyper, arguments: tuple[str, ...], message: str) -> None:
    status, out, err = hyper("bands", *arguments)
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_a_map_without_wavelength_is_named_with_the_remedy(hyper: Hyper) -> None:
    write_field("field")
    with fits.open("field/s250.fits", mode="update") as hdus:
        del hdus[0].header["WAVELNTH"]
    status, _, err = hyper("bands", "field", "-o", "out")
    assert status == 1
    assert err.count("\n") == 1
    assert "s250.fits: no wavelength in the header" in err
    assert "maps.s250.wavelength" in err
    assert np.size(list(Path("out/params").iterdir())) == 0
