"""The command `validate`, on a catalogue whose errors are known."""

import json
from pathlib import Path

import pytest
from astropy.table import Table

from helpers.command_line import SMALL, Hyper
from hyper_py.commands.validate import show_tables
from hyper_py.validation.validation import TextTable


@pytest.fixture
def tables(hyper: Hyper) -> tuple[str, str]:
    """Truth of a simulated map, and a catalogue made of it: fluxes 10% high in mJy, one missed, one false."""
    hyper("simulate", "-o", "a.fits", *SMALL)
    truth = Table.read("a_truth.ecsv")
    found = truth["X", "Y", "RA", "DEC", "FLUX", "PEAK_SNR"][:5]
    found.meta.clear()
    found["FLUX"] = found["FLUX"] * 1.1 * 1e3
    found["FLUX"].unit = "mJy"
    found.add_row({"X": 30.0, "Y": 4.0, "RA": 84.0, "DEC": -69.0, "FLUX": 1.0, "PEAK_SNR": 5.0})
    found.write("found.ecsv")
    return "found.ecsv", "a_truth.ecsv"


def test_validate_json(hyper: Hyper, tables: tuple[str, str]) -> None:
    status, out, err = hyper("validate", *tables, "--json")
    assert (status, err) == (0, "")
    score = json.loads(out)
    assert (score["n_matched"], score["n_missed"], score["n_false"], score["unit"]) == (5, 1, 1, "pix")
    assert score["samples"]["all"]["statistics"]["flux"]["bias"] == pytest.approx(0.1)
    on_sky = json.loads(hyper("validate", *tables, "--json", "--match", "sky")[1])
    assert (on_sky["n_matched"], on_sky["unit"]) == (5, "arcsec")
    beam = (0.04808 * 0.03849) ** 0.5
    assert on_sky["tolerance"] == pytest.approx(0.5 * beam)
    assert score["tolerance"] == pytest.approx(0.5 * beam / 0.013)


def test_validate_shows_tables_in_full(hyper: Hyper, tables: tuple[str, str]) -> None:
    status, out, _ = hyper("validate", *tables)
    assert status == 0
    assert "5/6" in out
    assert "+10.0%" in out
    assert "…" not in out
    assert max(map(len, out.splitlines())) <= 100


def test_validate_by_other_names(hyper: Hyper, tables: tuple[str, str]) -> None:
    table = Table.read("found.ecsv")
    table.rename_columns(["X", "Y", "FLUX"], ["xcen", "ycen", "S_nu"])
    for column in table.columns.values():
        column.unit = None
    table.write("other.csv")
    names = [f"--column={name}" for name in ("X=xcen", "Y=ycen", "FLUX=S_nu", "SNR=PEAK_SNR")]
    status, out, err = hyper("validate", "other.csv", tables[1], *names, "--unit", "FLUX=mJy", "--json")
    assert (status, err) == (0, "")
    assert json.loads(out)["samples"]["all"]["statistics"]["flux"]["bias"] == pytest.approx(0.1)
    # Without it the scale cannot be right, and that is said.
    status, _, err = hyper("validate", "other.csv", tables[1], *names, "--json")
    assert status == 0
    assert err == (
        "warning: catalogue: no units; taken as the other table has them: FLUX in Jy (--unit NAME=UNIT)\n"
    )


def test_validate_draws(hyper: Hyper, tables: tuple[str, str]) -> None:
    assert hyper("validate", *tables, "--figure", "a.pdf")[1].endswith("wrote a.pdf\n")
    assert Path("a.pdf").read_bytes().startswith(b"%PDF")
    out = hyper("validate", *tables, "--figure", "a.png", "--json")[1]
    assert json.loads(out)["n_matched"] == 5


def test_validate_a_cube_channel_by_channel(hyper: Hyper) -> None:
    hyper("simulate", "--preset", "cube", "-o", "c.fits", "--set", "n_channels=4", *SMALL)
    truth = Table.read("c_truth.ecsv")
    found = truth["CHANNEL", "X", "Y", "FLUX"]
    found["CHANNEL"][0] = 4 if found["CHANNEL"][0] != 4 else 1  # found where it does not shine, or not there
    found.write("found.ecsv")
    score = json.loads(hyper("validate", "found.ecsv", "c_truth.ecsv", "--json")[1])
    assert score["n_matched"] >= len(truth) - 2
    assert score["n_false"] + score["n_missed"] > 0
    assert abs(score["samples"]["all"]["statistics"]["x"]["bias"]) < 1e-6
    n = int((truth["CHANNEL"] == 2).sum())
    one = json.loads(hyper("validate", "found.ecsv", "c_truth.ecsv", "--json", "--channel", "2")[1])
    assert one["completeness"]["whole"] == n
    found.remove_column("CHANNEL")
    found.write("flat.ecsv")
    status, _, err = hyper("validate", "flat.ecsv", "c_truth.ecsv")
    assert status == 2
    assert "--channel" in err


def test_tables_of_different_maps(hyper: Hyper, tables: tuple[str, str]) -> None:
    hyper("simulate", "-o", "b.fits", "--seed", "9", "--set", "centre=[10.0, 20.0]", *SMALL)
    status, _, err = hyper("validate", tables[0], "b_truth.ecsv", "--match", "sky")
    assert (status, err) == (0, "warning: nothing matches: are both of the same map?\n")


def test_truth_near_the_border_does_not_count(hyper: Hyper, tables: tuple[str, str]) -> None:
    near = Table.read("a_truth.ecsv")
    near["X"][0], near["Y"][0] = 0.3, 50.0
    near.write("near.ecsv")
    whole = [
        json.loads(hyper("validate", "found.ecsv", "near.ecsv", "--json", *more)[1])["completeness"]["whole"]
        for more in ((), ("--margin", "0"))
    ]
    assert whole == [5, 6]


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["none.ecsv", "a_truth.ecsv"], 1, "none.ecsv: no such file"),
        ([".", "a_truth.ecsv"], 1, ".: a directory, not a table"),
        (["a.fits", "a_truth.ecsv"], 1, "a.fits: cannot be read as a table (fits)"),
        (["empty.csv", "a_truth.ecsv"], 1, "empty.csv: empty"),
        (["found.ecsv", "bare.csv"], 2, "--beam"),
        (["found.ecsv", "a_truth.ecsv", "--column", "FLUX"], 2, "--column 'FLUX': must be of the form"),
        (["found.ecsv", "a_truth.ecsv", "--column", "FLUXX=a"], 2, "did you mean 'FLUX'?"),
        (["found.ecsv", "a_truth.ecsv", "--column", "FLUX=S"], 1, "no column 'S' (for FLUX)"),
        (["found.ecsv", "a_truth.ecsv", "--figure", "a.xyz"], 2, "must end in one of"),
        (["found.ecsv", "a_truth.ecsv", "--figure", "none.csv/a.png"], 1, "none.csv: not a directory"),
        (["found.ecsv", "a_truth.ecsv", "--match", "both"], 2, "must be pixel or sky"),
        (["found.ecsv", "a_truth.ecsv", "--channel", "2"], 2, "no column CHANNEL"),
        (["found.ecsv", "a_truth.ecsv", "--beam", "-1"], 2, "must be positive"),
        (["merged.ecsv", "a_truth.ecsv"], 1, "holds the sources of 2 maps"),
        (["a_truth.ecsv", "found.ecsv"], 2, "give the catalogue first"),
        (["found.ecsv"], 2, "Missing argument 'TRUTH'"),
    ],
)
def test_wrong_validations_are_one_line(
    hyper: Hyper, tables: tuple[str, str], arguments: list[str], status: int, text: str
) -> None:
    Path("empty.csv").touch()
    Path("none.csv").mkdir(mode=0o500)
    Path("none.csv").rmdir()
    Path("none.csv").touch()
    Table.read("a_truth.ecsv")["X", "Y", "FLUX"].write("bare.csv")
    merged = Table.read("found.ecsv")
    merged["MAP_ID"] = ["a", "b"] * 3
    merged.write("merged.ecsv")
    code, _, err = hyper("validate", *arguments)
    assert code == status
    assert text in err
    assert err.count("\n") == 1


def test_columns_of_tables_are_as_wide_as_their_widest_cell(capsys: pytest.CaptureFixture[str]) -> None:
    show_tables([TextTable("Counts", ("what", "n"), [("a", "12345"), ("longer", "6")])])
    assert capsys.readouterr().out == "\nCounts\n  what        n\n  a       12345\n  longer      6\n"


def test_validate_a_field_in_several_bands(hyper: Hyper, tmp_path: Path) -> None:
    from helpers.bands import measured_field
    from hyper_py.writing.simulated_files import write_bands

    simulated, extraction = measured_field(seed=2, n_sources=20)
    write_bands(tmp_path / "field", simulated)
    extraction.catalog.write("wide.ecsv")
    status, out, err = hyper("validate", "wide.ecsv", "field/truth.ecsv")
    assert (status, err) == (0, "")
    assert "Fluxes of sources with a true flux above 5 errors" in out
    assert "index s350 to s500" in out
    numbers = json.loads(hyper("validate", "wide.ecsv", "field/truth.ecsv", "--json")[1])
    assert set(numbers["bands"]) == {"p100", "p160", "s250", "s350", "s500"}
    arguments = ("validate", "wide.ecsv", "field/truth.ecsv", "--band", "s250", "--figure", "a.png")
    status, out, err = hyper(*arguments)
    assert (status, err) == (0, "")
    assert "Measured against true, all sources" in out
    assert Path("a.png").exists()
    status, _, err = hyper("validate", "wide.ecsv", "field/truth.ecsv", "--band", "s251")
    assert status == 2
    assert "--band s251: field/truth.ecsv has p100, p160, s250, s350, s500" in err
    status, _, err = hyper("validate", "wide.ecsv", "field/truth.ecsv", "--figure", "a.png")
    assert (status, err.count("\n")) == (2, 1)
