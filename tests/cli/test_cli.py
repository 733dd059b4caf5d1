import os
import subprocess
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

import hyper_py.running
from hyper_py import cli
from hyper_py.config import Config, load_config
from hyper_py.diagnostics import ConfigurationError, HyperPyError, InputError

Outcome = tuple[int, str, str]


@pytest.fixture
def hyper(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Outcome]]:
    """The program in an empty directory and home: arguments in; exit status, stdout and stderr out."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)

    def call(*arguments: str) -> Outcome:
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        shown = capsys.readouterr()
        return int(ended.value.code or 0), shown.out, shown.err

    with warnings.catch_warnings():  # puts back how warnings are shown, which the program changes
        yield call


# A runner that only takes notes
@dataclass(frozen=True)
class Event:
    name: str = ""
    n_maps: int = 0
    n_resumed: int = 0
    redone: tuple[Any, ...] = ()
    result: Any = None
    progress: Any = field(default_factory=lambda: types.SimpleNamespace(n_done=1, n_failed=0))


@dataclass(frozen=True)
class MapResult:
    name: str
    status: str = "done"
    reason: str = ""
    warnings: tuple[str, ...] = ()
    n_sources: int = 3
    rms: float = 0.01234
    unit: str = "Jy/pixel"
    seconds: float = 1.0

    @property
    def ok(self) -> bool:
        return self.status == "done"


@dataclass(frozen=True)
class RunResult:
    maps: tuple[MapResult, ...]
    root: Path = Path("out")
    interrupted: bool = False
    seconds: float = 2.0
    all_removed: tuple[str, ...] = ()

    @property
    def failures(self) -> tuple[MapResult, ...]:
        return tuple(result for result in self.maps if not result.ok)

    @property
    def n_sources(self) -> int:
        return sum(result.n_sources for result in self.maps)

    @property
    def exit_code(self) -> int:
        return 1 if self.failures else 0


@dataclass
class Notes:
    result: RunResult = field(default_factory=lambda: RunResult((MapResult("one"),)))
    error: BaseException | None = None
    config: Config = field(default_factory=Config)
    inputs: Any = None
    resume: bool = False


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> Notes:
    notes = Notes()
    kinds = ("RunStarted", "MapStarted", "ChannelFinished", "MapFinished", "MapFailed", "RunFinished")
    events = {kind: type(kind, (Event,), {}) for kind in kinds}

    def run(config: Config, inputs: Any, *, on_event: Callable[[Any], None], resume: bool) -> RunResult:
        notes.config, notes.inputs, notes.resume = config, inputs, resume
        if notes.error:
            raise notes.error
        on_event(events["RunStarted"](n_maps=len(notes.result.maps), redone=()))
        for one in notes.result.maps:
            on_event(events["MapStarted"](name=one.name))
            on_event(events["MapFinished" if one.ok else "MapFailed"](result=one))
        on_event(events["RunFinished"](result=notes.result))
        return notes.result

    module = types.ModuleType("hyper_py.running.runner")
    vars(module).update(events, run=run)
    monkeypatch.setitem(sys.modules, "hyper_py.running.runner", module)
    monkeypatch.setattr(hyper_py.running, "runner", module, raising=False)
    return notes


# What is asked for


def test_version(hyper: Callable[..., Outcome]) -> None:
    assert hyper("--version") == (0, f"hyper-py {hyper_py.__version__}\n", "")


def test_init_writes_what_run_reads(hyper: Callable[..., Outcome], tmp_path: Path) -> None:
    assert hyper("init") == (0, "wrote hyper_config.yaml\n", "")
    assert load_config("hyper_config.yaml") == Config()
    (tmp_path / "there").mkdir()
    assert hyper("init", "there")[:2] == (0, "wrote there/hyper_config.yaml\n")
    assert hyper("init", "there/other.yaml")[:2] == (0, "wrote there/other.yaml\n")


def test_init_overwrites_only_when_told(hyper: Callable[..., Outcome], tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("precious")
    assert hyper("init", "mine.yaml") == (2, "", "error: mine.yaml: exists; --force overwrites it\n")
    assert (tmp_path / "mine.yaml").read_text() == "precious"
    assert hyper("init", "--force", "mine.yaml")[0] == 0


def test_init_into_nothing(hyper: Callable[..., Outcome]) -> None:
    assert hyper("init", "none/a.yaml") == (1, "", "error: none/a.yaml: No such file or directory\n")


@pytest.mark.parametrize("command", [("run",), ()])
def test_run_with_a_configuration(
    hyper: Callable[..., Outcome], notes: Notes, command: tuple[str, ...]
) -> None:
    Path("a.yaml").write_text("version: 2\ndetection: {sigma_thres: 6}")
    status, out, err = hyper(*command, "a.yaml", "--resume")
    assert (status, err) == (0, "")
    assert (notes.config.detection.sigma_thres, notes.inputs, notes.resume) == (6, None, True)
    assert out.splitlines()[-1] == "Maps: 1. Sources: 3. Seconds: 2.0. Results: out"
    assert "0.01234 Jy/pixel" in out


def test_run_with_maps_needs_no_configuration(
    hyper: Callable[..., Outcome], notes: Notes, tmp_path: Path
) -> None:
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


def test_run_with_maps_and_a_configuration(
    hyper: Callable[..., Outcome], notes: Notes, tmp_path: Path
) -> None:
    Path("sub").mkdir()
    Path("sub/a.yml").write_text("detection: {sigma_thres: 6}")
    assert hyper("b.fits", "sub/a.yml", "-j", "1")[0] == 0
    assert notes.inputs == ["b.fits"]
    assert notes.config.original
    assert not notes.config.control.parallel_maps
    assert notes.config.below_root() == tmp_path / "sub/output"


def test_bare_command_looks_in_the_original_s_places(hyper: Callable[..., Outcome], notes: Notes) -> None:
    status, out, err = hyper()
    assert (status, out) == (2, "")
    assert err == (
        "error: no configuration file found; wrote hyper_config.yaml: edit it, then run hyper-py again\n"
    )
    assert load_config("hyper_config.yaml") == Config()
    Path("hyper_config.yaml").write_text("version: 2\nunits: {bunit: K}")
    assert hyper()[0] == 0
    assert notes.config.units.bunit == "K"


# What is shown


def test_failures_are_named_and_counted(hyper: Callable[..., Outcome], notes: Notes) -> None:
    bad = MapResult("bad", status="failed", reason="bad.fits: no beam", n_sources=0)
    notes.result = RunResult((MapResult("good", warnings=("few pixels",)), bad))
    status, out, err = hyper("good.fits", "bad.fits")
    assert status == 1
    assert err == "warning: good: few pixels\nerror: bad.fits: no beam\n"
    assert out.splitlines()[-1] == "Maps: 2 (1 failed). Sources: 3. Seconds: 2.0. Results: out"
    assert hyper("-q", "good.fits", "bad.fits") == (1, "", "error: bad.fits: no beam\n")


def test_a_reason_that_does_not_name_its_map(hyper: Callable[..., Outcome], notes: Notes) -> None:
    notes.result = RunResult((MapResult("bad", status="failed", reason="out of memory"),))
    assert hyper("-q", "bad.fits") == (1, "", "error: bad: out of memory\n")


def test_many_maps_are_not_all_listed(hyper: Callable[..., Outcome], notes: Notes) -> None:
    notes.result = RunResult(tuple(MapResult(f"map{i}") for i in range(500)))
    _, out, _ = hyper("*.fits")
    assert len(out.splitlines()) == 1


def test_interrupted_runs_say_how_to_go_on(hyper: Callable[..., Outcome], notes: Notes) -> None:
    notes.result = RunResult((), interrupted=True)
    assert "--resume" in hyper("a.fits", "--quiet")[2]


# What is wrong


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
def test_errors_are_one_line(
    hyper: Callable[..., Outcome], notes: Notes, error: Exception, status: int, line: str
) -> None:
    notes.error = error
    assert hyper("a.fits") == (status, "", f"error: {line}\n")


def test_debug_shows_where(hyper: Callable[..., Outcome], notes: Notes) -> None:
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
def test_wrong_usage(hyper: Callable[..., Outcome], notes: Notes, arguments: tuple[str, ...]) -> None:
    status, out, err = hyper(*arguments)
    assert (status, out) == (2, "")
    assert "Traceback" not in err


def test_every_fault_of_a_file_has_its_line(hyper: Callable[..., Outcome]) -> None:
    Path("a.yaml").write_text("detection: {sigma_thres: -1}\nunits: {bunits: K}")
    status, out, err = hyper("a.yaml")
    assert (status, out) == (2, "")
    assert err.splitlines() == [
        "error: a.yaml: units.bunits: unknown key; the nearest known key is units.bunit",
        "error: a.yaml: detection.sigma_thres = -1: must be a number > 0",
    ]


def test_warnings_are_one_line(hyper: Callable[..., Outcome], capsys: pytest.CaptureFixture[str]) -> None:
    hyper("--version")
    warnings.simplefilter("always")
    warnings.warn("a thing\nto know", UserWarning, stacklevel=1)
    assert capsys.readouterr().err == "warning: a thing to know\n"


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


@pytest.mark.parametrize(
    ("per_second", "told"),
    [(None, ""), (0.0, ""), (2.5, "2.5 maps/s"), (0.5, "30 maps/min"), (0.005, "18 maps/h")],
)
def test_rate_has_a_unit_that_suits_it(per_second, told):
    assert cli._rate(per_second) == told


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


def test_ctrl_c_before_a_run_begins(hyper: Callable[..., Outcome], notes: Notes) -> None:
    notes.error = KeyboardInterrupt()
    assert hyper("run", "m.fits") == (130, "", "interrupted\n")
