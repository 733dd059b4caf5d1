"""The comparison of frozen catalogues finds what differs, and nothing else."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import QTable, Table

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
CATALOGUE, REGIONS, MODEL = "params/params_one.ecsv", "regions/region_files_one.reg", "fits/model_one.fits"


@dataclass
class Done:
    status: int
    text: str


@pytest.fixture
def call(monkeypatch, capsys):
    """Return what runs the script with some arguments, without another interpreter."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    import frozen

    def run(*arguments) -> Done:
        monkeypatch.setattr("sys.argv", ["frozen.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            frozen.main()
        message = ended.value.code
        text = capsys.readouterr().out
        return Done(1, text + message) if isinstance(message, str) else Done(message, text)

    return run


def freeze(folder: Path) -> Path:
    """Write what a version could have frozen: a catalogue, regions and an image; return their folder."""
    output = folder / "ways" / "default" / "output"
    for name in ("params", "regions", "fits", "logs"):
        (output / name).mkdir(parents=True)
    table = QTable(
        {"MAP_ID": ["one", "one", "one"], "HYPER_ID": [1, 2, 3], "FLUX": [1.0, 2.0, np.nan] * u.Jy}
    )
    table["COVARIANCE"] = np.arange(12.0).reshape(3, 4)
    table.meta["creator"] = folder.name
    table.write(output / CATALOGUE)
    (output / REGIONS).write_text("icrs\npoint(84.123456789012,-69.5) # text={1}\n")
    fits.writeto(output / MODEL, np.array([[1.0, np.nan], [3.0, 4.0]]), fits.Header({"CDELT1": 0.1}))
    (output / "logs" / "one.csv").write_text(f"the words of {folder.name}\n")
    (output.parent / "status").write_text("0\n")
    (folder / "inputs.json").write_text(json.dumps({"alma.fits": "sum"}))
    return output


@pytest.fixture
def sides(tmp_path):
    return freeze(tmp_path / "before"), freeze(tmp_path / "after")


@pytest.fixture
def compared(call, sides):
    return lambda *arguments: call("compare", *(side.parents[2] for side in sides), *arguments)


def change_value(path: Path, name: str, row: int, value) -> None:
    table = Table.read(path)
    table[name][row] = value
    table.write(path, overwrite=True)


def test_equal_catalogues_are_equal_whoever_wrote_them(compared, sides):
    done = compared()
    assert done.text.splitlines() == ["default: equal", "0 of 1 differ"]
    assert done.status == 0


def test_the_largest_difference_is_named_and_the_tolerance_decides(compared, sides):
    change_value(sides[1] / CATALOGUE, "FLUX", 1, 2.0 * (1.0 + 1e-9))
    done = compared()
    assert done.status == 1
    assert "default: DIFFERS in params/params_one.ecsv: 1e-09 in FLUX, row 2: 2.0 before" in done.text
    assert compared("--tolerance", "1e-8").status == 0


def test_small_values_are_compared_with_the_scale_of_their_column(compared, sides):
    for side, value in zip(sides, (0.0, 1e-14), strict=True):
        change_value(side / CATALOGUE, "COVARIANCE", 0, [value, 1.0, 2.0, 3.0])
    assert compared().status == 0
    change_value(sides[1] / CATALOGUE, "COVARIANCE", 0, [1e-6, 1.0, 2.0, 3.0])
    assert compared().status == 1


@pytest.mark.parametrize(
    ("name", "row", "value", "expected"),
    [
        ("FLUX", 2, 3.0, "inf in FLUX, row 3: nan before, 3.0 after"),
        ("FLUX", 0, np.nan, "inf in FLUX, row 1: 1.0 before, nan after"),
        ("HYPER_ID", 1, 7, "inf in HYPER_ID, row 2: 2 before, 7 after"),
        ("MAP_ID", 0, "two", "inf in MAP_ID, row 1: one before, two after"),
    ],
)
def test_what_is_no_small_difference(compared, sides, name, row, value, expected):
    change_value(sides[1] / CATALOGUE, name, row, value)
    done = compared("--tolerance", "1e9")
    assert done.status == 1
    assert expected in done.text


def test_columns_rows_and_units(compared, sides):
    path = sides[1] / CATALOGUE
    whole = QTable.read(path)
    changed = {
        "3 rows before, 2 after": whole[:2],
        "columns HYPER_ID": whole["MAP_ID", "FLUX", "COVARIANCE"],
        "order of columns": whole["HYPER_ID", "MAP_ID", "FLUX", "COVARIANCE"],
        "column FLUX is float64 Jy before, float64 mJy after": QTable(whole, units={"FLUX": "mJy"}),
    }
    for expected, table in changed.items():
        table.write(path, overwrite=True)
        assert expected in compared().text


def test_images_and_their_headers(compared, sides):
    path = sides[1] / MODEL
    fits.writeto(
        path, np.array([[1.0, np.nan], [3.0 + 4e-6, 4.0]]), fits.Header({"CDELT1": 0.1}), overwrite=True
    )
    assert "1e-06 in HDU 0 at (1, 0): 3.0 before" in compared().text
    fits.writeto(path, np.array([[1.0, np.nan], [3.0, 4.0]]), fits.Header({"CDELT1": 0.2}), overwrite=True)
    assert "HDU 0: 0.5 in CDELT1: 0.1 before, 0.2 after" in compared().text


def test_texts_may_differ_in_the_last_digit_only(compared, sides):
    path = sides[1] / REGIONS
    path.write_text("icrs\npoint(84.123456789013,-69.5) # text={1}\n")
    assert compared().status == 0
    path.write_text("icrs\npoint(84.123456799012,-69.5) # text={1}\n")
    assert "DIFFERS in regions/region_files_one.reg: 1.19e-10 in line 2" in compared().text
    path.write_text("fk5\npoint(84.123456789012,-69.5) # text={1}\n")
    assert "line 1: 'icrs' before, 'fk5' after" in compared().text


def test_what_is_missing_and_what_failed(call, compared, sides, tmp_path):
    (sides[1] / MODEL).unlink()
    assert "default: MISSING fits/model_one.fits after" in compared().text
    (sides[1].parent / "status").write_text("1\n")
    assert "default: EXIT STATUS 0 before, 1 after" in compared().text
    (sides[1].parent).rename(sides[1].parents[1] / "other")
    done = compared()
    assert done.text.splitlines() == ["default: MISSING after", "other: MISSING before", "2 of 2 differ"]
    assert done.status == 1
    assert call("compare", tmp_path / "before", tmp_path).status == 1


def test_other_maps_are_not_compared(compared, sides):
    (sides[1].parents[2] / "inputs.json").write_text(json.dumps({"alma.fits": "another"}))
    done = compared()
    assert done.status == 1
    assert "not of the same maps: alma.fits differ" in done.text


def test_every_combination_is_a_map_of_its_own(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    from frozen_ways import _combined
    from option_sets import combinations

    ways = dict(_combined())
    assert sum(len(way.copies) for way in ways.values()) == len(combinations())
    joint = ways["combined"].copies["white_order_2_along_ridge_1"]
    assert joint["fit_options"] == {"noise_model": "white", "lambda_l2": 1.0}
    assert joint["background"]["polynomial_orders"] == [2]
    assert ways["combined_original"].version == 1


def test_a_way_is_run_by_the_command_line(monkeypatch, tmp_path):
    """The command line is replaced by a module that writes what it was asked for."""
    package = tmp_path / "hyper_py"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(
        "import sys, pathlib\n"
        "output = pathlib.Path(sys.argv[sys.argv.index('-o') + 1])\n"
        "(output / 'params').mkdir(parents=True)\n"
        "asked = sys.argv[1] + ' ' + pathlib.Path(sys.argv[2]).read_text()\n"
        "(output / 'params' / 'asked.txt').write_text(asked)\n"
        "sys.exit(3)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(BENCHMARKS)
    from frozen import Way, freeze_way

    way = Way(maps=("a.fits",), sections={"detection": {"sigma_thres": 6.0}})
    assert freeze_way(way, tmp_path / "way", inputs=tmp_path, python=sys.executable) == 3
    asked = (tmp_path / "way" / "output" / "params" / "asked.txt").read_text()
    assert asked.startswith("run version: 2\ncontrol:\n  parallel_maps: false\n")
    assert "sigma_thres: 6.0" in asked
