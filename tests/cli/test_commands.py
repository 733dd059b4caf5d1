import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

import hyper_py
from hyper_py import cli, commands
from hyper_py.simulation.presets import PRESETS

Outcome = tuple[int, str, str]
SMALL = ("--set", "shape=[96, 120]", "--set", "n_sources=6", "--set", "peak_range=[30, 60]")


@pytest.fixture
def hyper(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Outcome]]:
    """The program in an empty directory: arguments in; exit status, stdout and stderr out."""
    import warnings

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def call(*arguments: str) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        shown = capsys.readouterr()
        return int(ended.value.code or 0), shown.out, shown.err

    with warnings.catch_warnings():
        warnings.simplefilter("default")
        yield call


def run_as_process(arguments: list[str], cwd: Path) -> tuple["subprocess.CompletedProcess[str]", float]:
    environment = os.environ | {"PYTHONPATH": str(Path(hyper_py.__file__).parents[1])}
    start = time.perf_counter()
    command = [sys.executable, "-W", "error::RuntimeWarning", "-m", "hyper_py", *arguments]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    return done, time.perf_counter() - start


# demo


def test_demo(tmp_path: Path) -> None:
    done, seconds = run_as_process(["demo", "-o", "my demo"], tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    out = tmp_path / "my demo"
    assert seconds < 60  # 3 to 5 s of processor time; a bound that holds on a busy machine as well
    named = [line.split("  ")[1] for line in done.stdout.splitlines() if line.startswith("  my demo/")]
    assert len(named) >= 5
    assert all((tmp_path / name).is_file() for name in named)
    assert max(map(len, done.stdout.splitlines())) <= 110
    score = json.loads((out / "validation.json").read_text())
    assert score["completeness"]["value"] > 0.5
    assert score["purity"]["value"] > 0.9
    assert (out / "validation.png").read_bytes().startswith(b"\x89PNG")


def test_demo_again_and_into_a_full_directory(hyper: Callable[..., Outcome], tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/precious").touch()
    status, out, err = hyper("demo", "-o", "full")
    assert (status, out) == (2, "")
    assert err == "error: full: not empty, and not of an earlier demo; choose another directory\n"
    assert hyper("demo", "--seed", "2")[0] == 0
    assert hyper("demo", "--seed", "2")[0] == 0


# simulate


def test_help_names_the_presets() -> None:
    assert set(commands.PRESETS) == set(PRESETS)


def test_simulate_writes_map_and_truth(hyper: Callable[..., Outcome]) -> None:
    status, out, err = hyper("simulate", "--preset", "alma", "--seed", "3", "-o", "new/a b.fits", *SMALL)
    assert (status, err) == (0, "")
    assert out == "wrote new/a b.fits (120 x 96 pixels, 6 sources) and new/a b_truth.ecsv\n"
    expected = hyper_py.simulate_image("alma", seed=3, shape=(96, 120), n_sources=6, peak_range=(30.0, 60.0))
    data, header = fits.getdata("new/a b.fits", header=True)
    np.testing.assert_allclose(data, expected.image.data, rtol=1e-6)
    assert header["SIMSEED"] == "3"
    truth = Table.read("new/a b_truth.ecsv")
    np.testing.assert_array_equal(truth["FLUX"], expected.truth["FLUX"].value)
    assert truth["ISOLATED"].dtype == bool
    assert truth.meta["sky"]["noise_white_fraction"] == expected.model.noise_white_fraction


@pytest.mark.parametrize("unit", ["Jy/beam", "MJy/sr"])
def test_simulated_maps_read_back_in_jy_per_pixel(hyper: Callable[..., Outcome], unit: str) -> None:
    assert (
        hyper("simulate", "-o", "a.fits", "--set", f"unit={unit}", "--set", "frame=galactic", *SMALL)[0] == 0
    )
    options = {"unit": unit, "frame": "galactic", "shape": (96, 120), "n_sources": 6}
    expected = hyper_py.simulate_image("alma", seed=1, peak_range=(30.0, 60.0), **options).image
    image = hyper_py.read_image("a.fits")
    np.testing.assert_allclose(image.data, expected.data, rtol=1e-5)
    assert image.unit == unit
    assert image.beam.fwhm == pytest.approx(expected.beam.fwhm)


def test_simulate_is_deterministic(hyper: Callable[..., Outcome]) -> None:
    for name in ("a.fits", "b.fits"):
        assert hyper("simulate", "--seed", "5", "-o", name, *SMALL)[0] == 0
    assert Path("a.fits").read_bytes() == Path("b.fits").read_bytes()
    assert Path("a_truth.ecsv").read_bytes() == Path("b_truth.ecsv").read_bytes()


def test_simulate_a_cube(hyper: Callable[..., Outcome]) -> None:
    from hyper_py.simulation.simulate import simulate_cube

    assert hyper("simulate", "--preset", "cube", "-o", "c.fits", "--set", "n_channels=3", *SMALL)[0] == 0
    cube = simulate_cube("cube", seed=1, n_channels=3, shape=(96, 120), n_sources=6, peak_range=(30.0, 60.0))
    data, header = fits.getdata("c.fits", header=True)
    assert data.shape == (3, 96, 120)
    factor = cube.channel(0).image.jy_per_pixel
    np.testing.assert_allclose(data * factor, cube.data(), rtol=1e-5, atol=1e-12)
    assert (header["CTYPE3"], header["BUNIT"], header["CRVAL3"]) == ("FREQ", "Jy/beam", 230.5e9)
    assert Path("c.fits").stat().st_size % 2880 == 0
    truth = Table.read("c_truth.ecsv")
    assert set(truth["CHANNEL"]) <= {1, 2, 3}
    one = truth[truth["CHANNEL"] == 2]
    np.testing.assert_allclose(one["FLUX"], cube.channel(1).truth["FLUX"].value)
    assert truth.meta["beam"] == list(cube.model.beam)


def test_limits_go_into_the_truth(hyper: Callable[..., Outcome]) -> None:
    assert hyper("simulate", "-o", "a.fits", "--limits", *SMALL)[0] == 0
    truth = Table.read("a_truth.ecsv")
    assert (truth["FLUX_GAUSS_ERR"] > 0).all()
    assert (truth["FLUX_GAUSS_ERR"] < truth["FLUX"]).all()
    assert hyper("simulate", "--preset", "cube", "-o", "c.fits", "--limits")[0] == 2


def test_only_simulated_maps_are_overwritten(hyper: Callable[..., Outcome]) -> None:
    Path("mine.fits").write_text("precious")
    status, _, err = hyper("simulate", "-o", "mine.fits", *SMALL)
    assert (status, err) == (2, "error: mine.fits: exists and is no simulated map; --force overwrites it\n")
    assert Path("mine.fits").read_text() == "precious"
    assert hyper("simulate", "-o", "mine.fits", "--force", *SMALL)[0] == 0
    assert hyper("simulate", "-o", "mine.fits", *SMALL)[0] == 0


def test_simulate_into_a_directory(hyper: Callable[..., Outcome]) -> None:
    assert hyper("simulate", "-o", ".", "--seed", "7", *SMALL)[1].startswith("wrote alma_7.fits ")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--preset", "alam"], "no preset 'alam'; did you mean 'alma'?"),
        (["--set", "n_source=3"], "did you mean 'n_sources'?"),
        (["--set", "shape=big"], "shape is 'big'; it must be such as [565, 635]"),
        (["--set", "beam=0.05"], "beam is 0.05; it must be such as [0.04808, 0.03849, 22.7]"),
        (["--set", "name=[]"], "name is []"),
        (["--set", "mirrored=1"], "mirrored is 1"),
        (["--set", "noise_rms=true"], "noise_rms is True"),
        (["--set", "turnover=slow"], "turnover is 'slow'"),
        (["--set", "n_channels=0"], "at least one channel"),
        (["--set", "noise_rms"], "must be of the form"),
        (["--seed", "-1"], "--seed"),
        (["--set", "n_sources=900", "--set", "shape=[64, 64]"], "no room for 900 sources"),
        (["-o", "a.png"], "must end in .fits"),
    ],
)
def test_wrong_simulations_are_one_line(
    hyper: Callable[..., Outcome], arguments: list[str], text: str
) -> None:
    status, out, err = hyper("simulate", *arguments)
    assert (status, out) == (2, "")
    assert text in err
    assert err.count("\n") == 1
    assert not list(Path().iterdir())


def test_files_that_cannot_be_written_have_their_own_name(hyper: Callable[..., Outcome]) -> None:
    Path("file").touch()
    status, _, err = hyper("simulate", "-o", "file/a.fits", *SMALL)
    assert (status, err.count("\n")) == (1, 1)
    assert err.startswith("error: file")
    assert "hyper-tmp" not in err


# validate


@pytest.fixture
def tables(hyper: Callable[..., Outcome]) -> tuple[str, str]:
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


def test_validate_json(hyper: Callable[..., Outcome], tables: tuple[str, str]) -> None:
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


def test_validate_shows_tables_in_full(hyper: Callable[..., Outcome], tables: tuple[str, str]) -> None:
    status, out, _ = hyper("validate", *tables)
    assert status == 0
    assert "5/6" in out
    assert "+10.0%" in out
    assert "…" not in out
    assert max(map(len, out.splitlines())) <= 100


def test_validate_by_other_names(hyper: Callable[..., Outcome], tables: tuple[str, str]) -> None:
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


def test_validate_draws(hyper: Callable[..., Outcome], tables: tuple[str, str]) -> None:
    assert hyper("validate", *tables, "--figure", "a.pdf")[1].endswith("wrote a.pdf\n")
    assert Path("a.pdf").read_bytes().startswith(b"%PDF")
    out = hyper("validate", *tables, "--figure", "a.png", "--json")[1]
    assert json.loads(out)["n_matched"] == 5


def test_validate_a_cube_channel_by_channel(hyper: Callable[..., Outcome]) -> None:
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


def test_tables_of_different_maps(hyper: Callable[..., Outcome], tables: tuple[str, str]) -> None:
    hyper("simulate", "-o", "b.fits", "--seed", "9", "--set", "centre=[10.0, 20.0]", *SMALL)
    status, _, err = hyper("validate", tables[0], "b_truth.ecsv", "--match", "sky")
    assert (status, err) == (0, "warning: nothing matches: are both of the same map?\n")


def test_truth_near_the_border_does_not_count(hyper: Callable[..., Outcome], tables: tuple[str, str]) -> None:
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
        (["a_truth.ecsv", "found.ecsv"], 2, "the catalogue comes first"),
        (["found.ecsv"], 2, "Missing argument 'TRUTH'"),
    ],
)
def test_wrong_validations_are_one_line(
    hyper: Callable[..., Outcome], tables: tuple[str, str], arguments: list[str], status: int, text: str
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


# inspect


def test_inspect(hyper: Callable[..., Outcome]) -> None:
    hyper("simulate", "-o", "a.fits", "--set", "unit=Jy/beam", *SMALL)
    status, out, err = hyper("inspect", "a.fits")
    assert (status, err) == (0, "")
    facts = {line[:11].strip(): line[11:] for line in out.splitlines()[1:]}
    assert facts["map"] == "extension 0, 120 x 96 pixels (x, y)"
    assert facts["pixel"] == "0.013 x 0.013 arcsec"
    assert facts["unit"].startswith("Jy/beam; from BUNIT; 1 Jy/beam is ")
    assert facts["result"] == "can be run as it is"
    assert max(map(len, out.splitlines())) <= 100


def test_inspect_says_what_is_missing_and_tries_it(hyper: Callable[..., Outcome]) -> None:
    hyper("simulate", "-o", "a.fits", *SMALL)
    with fits.open("a.fits", mode="update") as hdus:
        for key in ("BUNIT", "BMAJ", "BMIN", "BPA"):
            del hdus[0].header[key]
    status, out, _ = hyper("inspect", "a.fits")
    assert status == 1
    missing = [line for line in out.splitlines() if line.startswith("missing")]
    assert len(missing) == 2
    given = ["--set", "units.bunit=Jy/pixel", "--set", "survey.beam={major: 0.05}"]
    status, out, _ = hyper("inspect", "a.fits", *given)
    assert status == 0
    assert "survey.beam" in out
    assert "missing" not in out


def test_inspect_says_that_a_map_does_not_vary(hyper: Callable[..., Outcome]) -> None:
    hyper("simulate", "-o", "a.fits", *SMALL)
    with fits.open("a.fits", mode="update") as hdus:
        hdus[0].data[:] = 1.0
    status, out, _ = hyper("inspect", "a.fits")
    assert status == 0
    assert "note       the map does not vary" in out


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("none.fits", "no such file"),
        (".", "a directory"),
        ("text.fits", "not a FITS file"),
        ("table.fits", "no image"),
    ],
)
def test_what_cannot_be_inspected(hyper: Callable[..., Outcome], name: str, text: str) -> None:
    Path("text.fits").write_text("hello")
    Table({"a": [1]}).write("table.fits")
    status, out, err = hyper("inspect", name)
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert text in err
