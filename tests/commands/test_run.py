"""The command `run`: what it asks the runner for, and what it shows."""

from pathlib import Path

import numpy as np
import pytest
import typer
from astropy.io import fits
from astropy.wcs import WCS

from helpers.command_line import Hyper
from helpers.noted_runs import MapResult, Notes, RunResult
from hyper_py.commands.run import run
from hyper_py.commands.summary import ROWS_SHOWN
from hyper_py.config import Config


@pytest.mark.parametrize("command", [("run",), ()])
def test_run_with_a_configuration(hyper: Hyper, notes: Notes, command: tuple[str, ...]) -> None:
    Path("a.yaml").write_text("version: 2\ndetection: {sigma_thres: 6}")
    status, out, err = hyper(*command, "a.yaml", "--resume")
    assert (status, err) == (0, "")
    assert (notes.config.detection.sigma_thres, notes.inputs, notes.resume) == (6, None, True)
    assert out.splitlines()[-1] == "Maps: 1. Sources: 3. Seconds: 2.0. Results: out"
    assert "0.01234 Jy/pixel" in out


def test_run_with_maps_needs_no_configuration(hyper: Hyper, notes: Notes, tmp_path: Path) -> None:
    Path("hyper_config.yaml").write_text("version: 2\ndetection: {sigma_thres: 6}")
    status, _, _ = hyper(
        "run", "a.fits", "b*.fits.gz", "-o", "o: [ut", "--set", "fit_options.xtol=1e-9", "--jobs", "3"
    )
    assert status == 0
    assert notes.inputs == ["a.fits", "b*.fits.gz"]
    assert notes.config.below_root() == tmp_path / "o: [ut"
    assert notes.config.fit_options.xtol == 1e-9
    assert (notes.config.control.n_cores, notes.config.control.parallel_maps) == (3, True)
    assert notes.config.detection.sigma_thres == Config().detection.sigma_thres
    assert not notes.config.original


def test_run_with_maps_and_a_configuration(hyper: Hyper, notes: Notes, tmp_path: Path) -> None:
    Path("sub").mkdir()
    Path("sub/a.yml").write_text("detection: {sigma_thres: 6}")
    assert hyper("b.fits", "sub/a.yml", "-j", "1")[0] == 0
    assert notes.inputs == ["b.fits"]
    assert notes.config.original
    assert not notes.config.control.parallel_maps
    assert notes.config.below_root() == tmp_path / "sub/output"


def test_run_without_arguments_looks_in_the_original_s_places(hyper: Hyper, notes: Notes) -> None:
    assert hyper("run") == (
        2,
        "",
        "error: nothing to run: name maps or a configuration file; hyper-py init writes one to begin with\n",
    )
    assert not any(Path().iterdir())
    Path("hyper_config.yaml").write_text("version: 2\nunits: {bunit: K}")
    assert hyper("run")[0] == 0
    assert notes.config.units.bunit == "K"


@pytest.mark.parametrize("arguments", [(), ("-h",), ("--help",)])
def test_help_is_shown_and_nothing_written(hyper: Hyper, notes: Notes, arguments: tuple[str, ...]) -> None:
    Path("hyper_config.yaml").write_text("version: 2")
    status, out, err = hyper(*arguments)
    assert (status, err, notes.inputs) == (0, "", None)
    assert "completeness" in out
    assert [path.name for path in Path().iterdir()] == ["hyper_config.yaml"]
    assert "--resume" in hyper("run", "-h")[1]


def test_short_ways_to_keys_that_everybody_sets(hyper: Hyper, notes: Notes, tmp_path: Path) -> None:
    Path("errors.fits").write_text("")
    short = (
        "--beam",
        "18.2,17.5,30",
        "--error",
        "errors.fits",
        "--unit",
        "MJy/sr",
        "--products",
        "model,noise",
    )
    assert hyper("a.fits", *short)[0] == 0
    config = notes.config
    assert (config.survey.beam.major, config.survey.beam.minor, config.survey.beam.pa) == (18.2, 17.5, 30.0)
    assert config.io.error_hdu == str(tmp_path / "errors.fits")
    assert config.units.bunit == "MJy/sr"
    assert (config.outputs.products, config.fits_output.fits_noise) == (("model",), True)
    for text, value in (("VARIANCE", "VARIANCE"), ("2", 2), ("none", None), ("auto", "auto")):
        assert hyper("a.fits", "--beam", "18.2", "--error", text)[0] == 0
        assert notes.config.io.error_hdu == value
    assert notes.config.survey.beam.minor is None


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ("--beam", "x"),
            "--beam: 'x' is not a beam; it must be MAJOR, MAJOR,MINOR or MAJOR,MINOR,PA, such as 18.2",
        ),
        (("--beam", "1,2,3,4"), "--beam: '1,2,3,4' is not a beam"),
        (
            ("--products", "model,sky"),
            "--products: sky is not one of model, residual, background, rms, noise",
        ),
    ],
)
def test_short_ways_that_are_wrong(hyper: Hyper, notes: Notes, arguments: tuple[str, ...], line: str) -> None:
    status, out, err = hyper("a.fits", *arguments)
    assert (status, out) == (2, "")
    assert err.startswith(f"error: {line}")


# What is shown


def test_failures_are_named_and_counted(hyper: Hyper, notes: Notes) -> None:
    bad = MapResult("bad", status="failed", reason="bad.fits: no beam", n_sources=0)
    notes.result = RunResult((MapResult("good", warnings=("few pixels",)), bad))
    status, out, err = hyper("good.fits", "bad.fits")
    assert status == 1
    assert err == "warning: good: few pixels\nerror: bad.fits: no beam\n"
    assert out.splitlines()[-1] == "Maps: 2 (1 failed). Sources: 3. Seconds: 2.0. Results: out"
    assert hyper("-q", "good.fits", "bad.fits") == (1, "", "error: bad.fits: no beam\n")


def test_a_reason_that_does_not_name_its_map(hyper: Hyper, notes: Notes) -> None:
    notes.result = RunResult((MapResult("bad", status="failed", reason="out of memory"),))
    assert hyper("-q", "bad.fits") == (1, "", "error: bad: out of memory\n")


def test_many_maps_are_not_all_listed(hyper: Hyper, notes: Notes) -> None:
    notes.result = RunResult(tuple(MapResult(f"map{i}") for i in range(ROWS_SHOWN)))
    assert len(hyper("*.fits")[1].splitlines()) == ROWS_SHOWN + 2
    notes.result = RunResult(tuple(MapResult(f"map{i}") for i in range(ROWS_SHOWN + 1)))
    assert len(hyper("*.fits")[1].splitlines()) == 1


def test_interrupted_runs_say_how_to_go_on(hyper: Hyper, notes: Notes) -> None:
    notes.result = RunResult((), interrupted=True)
    assert "--resume" in hyper("a.fits", "--quiet")[2]


@pytest.mark.parametrize(("status", "code"), [("done", 0), ("failed", 1)])
def test_the_command_as_a_function_ends_with_the_status_of_the_run(
    notes: Notes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str, code: int
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my: [sources].reg").write_text("")
    notes.result = RunResult((MapResult("one", status=status),))
    with pytest.raises(typer.Exit) as ended:
        run(["a.fits"], regions=Path("my: [sources].reg"), jobs=2, resume=True, quiet=True)
    assert ended.value.exit_code == code
    assert (notes.inputs, notes.resume, notes.config.control.n_cores) == (["a.fits"], True, 2)
    assert notes.config.detection.regions == str(tmp_path / "my: [sources].reg")


def test_the_error_of_a_map_names_the_short_option(hyper: Hyper) -> None:
    """Of a map without a beam, and of one without a unit; a single map that failed has no table."""
    data = np.random.default_rng(3).normal(size=(40, 40))
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.cdelt, wcs.wcs.crpix = ("RA---TAN", "DEC--TAN"), (-1e-3, 1e-3), (20, 20)
    for name, cards, remedy in (
        ("beamless", {"BUNIT": "Jy/beam"}, "set --beam (survey.beam)"),
        ("unitless", {"BMAJ": 4e-3, "BMIN": 4e-3, "BPA": 0.0}, "set --unit (units.bunit)"),
    ):
        header = wcs.to_header()
        header.update(cards)
        fits.writeto(f"{name}.fits", data, header)
        status, out, err = hyper(f"{name}.fits", "-o", "out", "-j", "1")
        assert status == 1
        assert remedy in err
        assert out.splitlines()[0].split() == [name, "failed"]
