"""The program: its errors, in one line each, and what it costs to start it."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import yaml

import hyper_py
import hyper_py.running
from helpers.command_line import Hyper
from helpers.noted_runs import Notes
from hyper_py import cli
from hyper_py.diagnostics import ConfigurationError, HyperPyError, InputError


def test_version(hyper: Hyper) -> None:
    assert hyper("--version") == (0, f"hyper-py {hyper_py.__version__}\n", "")


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (ConfigurationError("two inputs are called a"), 2, "two inputs are called a"),
        (InputError("a.fits: no WCS"), 1, "a.fits: no WCS"),
        (HyperPyError("something"), 1, "something"),
        (PermissionError(13, "Permission denied", "out"), 1, "out: Permission denied"),
        (ValueError("a\nb"), 1, "unexpected ValueError: a b; the same command with --debug shows where"),
        (MemoryError("Unable to allocate 1 TiB"), 1, "out of memory (Unable to allocate 1 TiB)"),
    ],
)
def test_errors_are_one_line(hyper: Hyper, notes: Notes, error: Exception, status: int, line: str) -> None:
    notes.error = error
    assert hyper("a.fits") == (status, "", f"error: {line}\n")


def test_debug_shows_where(hyper: Hyper, notes: Notes) -> None:
    notes.error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        cli.main(["run", "a.fits", "--debug"])


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("--nonsense",),
        ("run", "--jobs", "none", "a.fits"),
        ("run", "--jobs", "0", "a.fits"),
        ("run", "none.yaml"),
        ("run", "a.yaml", "b.yaml"),
        ("run", "a.fits", "--set", "detection.sigma_thres"),
        ("run", "a.fits", "--set", "detection.sigma=4"),
    ],
)
def test_wrong_usage(hyper: Hyper, notes: Notes, arguments: tuple[str, ...]) -> None:
    status, out, err = hyper(*arguments)
    assert (status, out) == (2, "")
    assert "Traceback" not in err


def test_every_fault_of_a_file_has_its_line(hyper: Hyper) -> None:
    Path("a.yaml").write_text("detection: {sigma_thres: -1}\nunits: {bunits: K}")
    status, out, err = hyper("a.yaml")
    assert (status, out) == (2, "")
    assert err.splitlines() == [
        "error: a.yaml: units.bunits: unknown key; the nearest known key is units.bunit",
        "error: a.yaml: units: its keys are convert_mJy, bunit, frequency",
        "error: a.yaml: detection.sigma_thres = -1: must be a number > 0",
    ]


def test_warnings_are_one_line(hyper: Hyper, capsys: pytest.CaptureFixture[str]) -> None:
    hyper("--version")
    warnings.simplefilter("always")
    warnings.warn("a thing\nto know", UserWarning, stacklevel=1)
    assert capsys.readouterr().err == "warning: a thing to know\n"


@pytest.mark.parametrize("category", [DeprecationWarning, PendingDeprecationWarning])
def test_deprecations_in_libraries_are_not_said_to_users(
    hyper: Hyper, capsys: pytest.CaptureFixture[str], category: type[Warning]
) -> None:
    hyper("--version")
    warnings.simplefilter("always")
    warnings.warn("'oneOf' deprecated - use 'one_of'", category, stacklevel=1)
    assert capsys.readouterr() == ("", "")


def test_as_a_module(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(hyper_py.__file__).parents[1])}
    command = [sys.executable, "-m", "hyper_py", "none.yaml"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: none.yaml: no such file")


# What it costs


def outcome(arguments: list[str], cwd: Path) -> tuple[int, bool, float]:
    """Run the program in a process of its own; its exit status, whether NumPy came in, its processor time."""
    code = (
        "import atexit, sys, time\n"
        "atexit.register(lambda: print('numpy' in sys.modules, time.process_time()))\n"
        f"sys.path.insert(0, {str(Path(hyper_py.__file__).parents[1])!r})\n"
        f"from hyper_py.cli import main; main({arguments!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True)
    numpy, seconds = done.stdout.splitlines()[-1].split()
    return done.returncode, numpy == "True", float(seconds)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--help"], 0),
        (["run", "--help"], 0),
        (["--version"], 0),
        (["wrong.yaml"], 2),
        (["none.yaml"], 2),
        (["init", "--force"], 0),
    ],
)
def test_starting_costs_no_numpy_and_little_time(tmp_path: Path, arguments: list[str], status: int) -> None:
    (tmp_path / "wrong.yaml").write_text(
        yaml.safe_dump({"version": 2, "detection": {"sigma": 4, "rms_map": 3}})
    )
    runs = [outcome(arguments, tmp_path) for _ in range(3)]
    assert [run[:2] for run in runs] == [(status, False)] * 3
    # 0.1 to 0.25 s; processor time, and a bound that holds on a busy machine as well.
    assert min(seconds for _, _, seconds in runs) < 0.6


def test_until_a_map_is_read_slow_libraries_wait():
    slow = (
        "scipy.interpolate",
        "scipy.signal",
        "scipy.stats",
        "photutils",
        "regions",
        "matplotlib",
    )
    code = (
        f"import sys; sys.path.insert(0, {str(Path(hyper_py.__file__).parents[1])!r})\n"
        "import hyper_py.pipeline.extraction, hyper_py.reading.io\n"
        f"print([name for name in {slow!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_ctrl_c_before_a_run_begins(hyper: Hyper, notes: Notes) -> None:
    notes.error = KeyboardInterrupt()
    assert hyper("run", "m.fits") == (130, "", "interrupted\n")
