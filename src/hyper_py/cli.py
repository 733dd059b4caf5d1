"""The command line: passes requests to the library and shows the results on the terminal.

Nothing heavy is imported before a command needs it, so that help and errors appear immediately.
Exit status: 0 all done, 1 something failed, 2 wrong usage or configuration.
"""

import gc
import json
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hyper_py import __version__, commands, completeness_command
from hyper_py.commands import Overrides
from hyper_py.diagnostics import ConfigurationError, HyperPyError
from hyper_py.names import printable
from hyper_py.terminal import open_standard_streams, say, silence

if TYPE_CHECKING:
    from collections.abc import Callable

    from hyper_py.config import Config
    from hyper_py.running.runner import Event, RunResult

ROWS_SHOWN = 40
INTERRUPTED = 130
"""Exit status after Ctrl-C outside a run, as in shells."""
_OBJECTS_BETWEEN_COLLECTIONS = 200_000
"""Libraries and arrays leave hardly any garbage; Python's default of 700 would search them all the time."""

app = typer.Typer(
    name="hyper-py",
    help="Find and measure compact sources in far-infrared, sub-millimetre and millimetre maps.",
    epilog="`hyper-py CONFIG.yaml` is `hyper-py run CONFIG.yaml`; `hyper-py` alone looks for "
    "hyper_config.yaml in the working directory, then in the user's configuration directory.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def _program(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,  # noqa: ARG001
) -> None:
    if version:
        say(f"hyper-py {__version__}")
    elif context.invoked_subcommand is None:
        say(context.get_help())


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="File or directory to write to.")] = Path("hyper_config.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that is there.")] = False,
) -> None:
    """Write a configuration file with every key, its default and its meaning."""
    from hyper_py.config import FILE_NAME, template

    path = path / FILE_NAME if path.is_dir() else path
    if path.exists() and not force:
        raise ConfigurationError(f"{path}: exists; --force overwrites it")
    path.write_text(template(), encoding="utf-8")
    say(f"wrote {path}")


@app.command()
def run(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CONFIG.yaml | MAP.fits ...",
            help="A configuration file, or maps (files, directories, patterns, lists), or both.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Directory of all results; ./output for maps.")
    ] = None,
    overrides: Overrides = None,
    regions: Annotated[
        Path | None,
        typer.Option(
            "--regions",
            help="Measure the ellipses, circles and points of this region file (detection.regions).",
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", "-j", min=1, help="Number of maps worked on at a time (control.n_cores)."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Skip maps that an earlier run completed.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show nothing but errors.")] = False,
) -> None:
    """Extract the sources of maps: those that a configuration file lists, or those named here."""
    chosen = list(overrides or [])
    if output is not None:
        chosen.append(f"paths.output.dir_root={json.dumps(str(output.absolute()))}")
    if regions is not None:
        chosen.append(f"detection.regions={json.dumps(str(regions.absolute()))}")
    if jobs is not None:
        chosen += [f"control.n_cores={jobs}", f"control.parallel_maps={json.dumps(jobs > 1)}"]
    config, maps = _configuration(inputs or [], chosen)

    from hyper_py.running import runner

    with _display(quiet=quiet) as on_event:
        result = runner.run(config, maps or None, on_event=on_event, resume=resume)
    _summarise(result, quiet=quiet)
    raise typer.Exit(result.exit_code)


@app.command()
def completeness(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="CONFIG.yaml | MAP.fits ...", help="As for `run`; of cubes, choose channels."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Directory of all results; ./output for maps.")
    ] = None,
    precision: Annotated[
        float,
        typer.Option("--precision", help="Largest binomial error of completeness in a bin where it rises."),
    ] = 0.02,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Same seed, same result.")] = 1,
    positions: Annotated[
        str,
        typer.Option(
            "--positions",
            metavar="random|like-sources",
            help="like-sources: neighbours as near as those of the map's own sources.",
        ),
    ] = "random",
    max_runs: Annotated[
        int, typer.Option("--max-runs", min=1, help="No more runs of the pipeline with injected sources.")
    ] = 400,
    channels: Annotated[
        list[int] | None, typer.Option("--channel", min=1, help="Of a cube, from 1. Repeatable.")
    ] = None,
    purity: Annotated[
        float, typer.Option("--purity", min=0.0, max=1.0, help="Say which threshold gives this purity.")
    ] = 0.99,
    columns: Annotated[
        bool,
        typer.Option("--columns", help="Write the catalogue with COMPLETENESS, P_TRUE and FLUX_BIAS too."),
    ] = False,
    overrides: Overrides = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, help="Runs made at a time (control.n_cores).")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Use the runs that an earlier command has made.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show nothing but errors.")] = False,
) -> None:
    """Inject sources into maps and recover them: how complete and how pure the catalogue is."""
    chosen = list(overrides or [])
    if output is not None:
        chosen.append(f"paths.output.dir_root={json.dumps(str(output.absolute()))}")
    if jobs is not None:
        chosen += [f"control.n_cores={jobs}", f"control.parallel_maps={json.dumps(jobs > 1)}"]
    config, maps = _configuration(inputs or [], chosen)

    from hyper_py.injection.plan import InjectionPlan

    plan = InjectionPlan(precision=precision, seed=seed, positions=positions, max_runs=max_runs)
    status = completeness_command.run_completeness(
        config, maps, plan=plan, channels=channels, resume=resume, columns=columns, purity=purity, quiet=quiet
    )
    raise typer.Exit(status)


@app.command(context_settings={"ignore_unknown_options": True})  # a declination may begin with a minus
def why(
    path: Annotated[Path, typer.Argument(metavar="MAP", help="The map.")],
    x: Annotated[str, typer.Argument(help="Zero-based pixel; with --sky right ascension.")],
    y: Annotated[str, typer.Argument(help="Zero-based pixel; with --sky declination.")],
    sky: Annotated[
        bool, typer.Option("--sky", help="X and Y are RA and Dec (ICRS): degrees, or hh:mm:ss dd:mm:ss.")
    ] = False,
    config_file: Annotated[
        Path | None, typer.Option("--config", help="Configuration file of the run in question.")
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Explain why there is, or is not, a source at a position on a map."""
    from hyper_py.running.inputs import map_name

    files = [str(path)] if config_file is None else [str(path), str(config_file)]
    config, _ = _configuration(files, list(overrides or []))
    config = config.for_map(map_name(path))

    from hyper_py.pipeline.why import explain, pixel_of
    from hyper_py.reading.io import read_image
    from hyper_py.running.tasks import reading_options

    limit = 1e9 * config.control.max_memory
    image = read_image(path, max_memory=limit, **reading_options(config))
    try:
        place = pixel_of(image, x, y) if sky else (float(x), float(y))
    except ValueError:
        raise ConfigurationError(f"{x} {y}: not pixel coordinates; --sky for RA and Dec") from None
    for line in explain(image, *place, options=config.options()).lines():
        say(line)


@app.command()
def report(
    directory: Annotated[Path, typer.Argument(metavar="OUT", help="Output directory of a finished run.")],
) -> None:
    """Write the report of a finished run anew."""
    from hyper_py.reporting.report import write_report

    say(f"wrote {directory / write_report(directory)[-1]}")


def _configuration(inputs: Sequence[str], overrides: Sequence[str]) -> tuple["Config", list[str]]:
    """Return the configuration and the maps that the arguments of `run` give."""
    from hyper_py.config import FILE_NAME, Config, apply_overrides, find_config, load_config, template

    files = [name for name in inputs if name.lower().endswith((".yaml", ".yml"))]
    maps = [name for name in inputs if name not in files]
    if len(files) > 1:
        raise ConfigurationError(f"{' and '.join(files)}: only one configuration file can be used")
    if maps and not files:
        mapping = apply_overrides({"version": 2}, overrides)
        return Config.from_mapping(mapping, source="--set"), maps
    path = Path(files[0]) if files else find_config(Path(typer.get_app_dir("hyper_py")))
    if path is None:
        Path(FILE_NAME).write_text(template(), encoding="utf-8")
        raise ConfigurationError(
            f"no configuration file found; wrote {FILE_NAME}: edit it, then run hyper-py again"
        )
    return load_config(path, overrides), maps


for _command in (commands.demo, commands.simulate, commands.validate, commands.inspect):
    app.command()(_command)


# --------------------------------------------------------------------------------------------------------
# What is shown
# --------------------------------------------------------------------------------------------------------


@contextmanager
def _display(*, quiet: bool) -> "Iterator[Callable[[Event], None]]":
    """Yield the function that shows the events of a run: a progress bar on a terminal, and errors."""
    from hyper_py.running import runner
    from hyper_py.running.events import named_reason, redone_lines

    with _progress_bar() if sys.stderr.isatty() and not quiet else nullcontext() as draw:

        def on_event(event: "Event") -> None:
            if draw is not None:
                draw(event)
            if isinstance(event, runner.RunStarted) and not quiet:
                _complain(*redone_lines(event))
            if isinstance(event, runner.MapFinished | runner.MapFailed):
                result = event.result
                if not result.ok:
                    _complain(f"error: {named_reason(result)}")
                if not quiet:
                    _complain(*(f"warning: {result.name}: {text}" for text in result.warnings))

        yield on_event


@contextmanager
def _progress_bar() -> "Iterator[Callable[[Event], None]]":
    """Yield the function that draws the events of a run on the terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from hyper_py.running import runner

    columns = (
        TextColumn("{task.description}", markup=False),  # a name may have brackets
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("maps", total=None, rate="")

        def advance(**changes: Any) -> None:
            bar.update(task, **changes)
            bar.update(task, rate=_rate(bar.tasks[0].speed))

        def draw(event: "Event") -> None:
            with suppress(OSError):  # the terminal may be gone
                update(event)

        def update(event: "Event") -> None:
            match event:
                case runner.RunStarted():
                    bar.update(task, total=event.n_maps, completed=event.n_resumed)
                case runner.MapStarted():
                    bar.update(task, description=printable(event.name))
                case runner.ChannelFinished():
                    advance(
                        advance=1.0 / event.n_channels,
                        description=f"{event.cube} {event.n_done}/{event.n_channels}",
                    )
                case runner.MapFinished() | runner.MapFailed():
                    advance(completed=event.progress.n_done + event.progress.n_failed)

        yield draw


def _rate(per_second: float | None) -> str:
    """Return the rate of maps as text, in the unit in which it is above one."""
    if not per_second:
        return ""
    number, unit = next(
        ((per_second * n, unit) for unit, n in (("s", 1), ("min", 60)) if per_second * n >= 1.0),
        (per_second * 3600, "h"),
    )
    return f"{number:.3g} maps/{unit}"


def _summarise(result: "RunResult", *, quiet: bool) -> None:
    """Show the result of each map, and the totals."""
    if result.interrupted:
        _complain("interrupted; the same command with --resume goes on from here")
    if quiet:
        return
    from hyper_py.running.events import removed_line

    if line := removed_line(result):
        _complain(line)
    shown = result.maps if len(result.maps) <= ROWS_SHOWN else result.failures[:ROWS_SHOWN]
    rows = [("Map", "Status", "Sources", "rms", "Seconds")]
    for one in shown:
        measured = (str(one.n_sources), f"{one.rms:.4g} {one.unit}", f"{one.seconds:.2f}")
        rows.append((one.name, one.status, *(measured if one.ok else ("", "", ""))))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, status, *numbers in rows if shown else ():
        texts = [name.ljust(widths[0]), status.ljust(widths[1]), *map(str.rjust, numbers, widths[2:])]
        say("  ".join(texts).rstrip())
    failed = f" ({len(result.failures)} failed)" if result.failures else ""
    reached = f"{sum(one.status != 'pending' for one in result.maps)} of " if result.interrupted else ""
    say(
        f"Maps: {reached}{len(result.maps)}{failed}. Sources: {result.n_sources}. "
        f"Seconds: {result.seconds:.1f}. Results: {result.root}"
    )


def _complain(*lines: str) -> None:
    for line in lines:
        say(line, err=True)


def _show_warning(message: Warning | str, *_: Any) -> None:
    _complain(f"warning: {' '.join(str(message).split())}")


# --------------------------------------------------------------------------------------------------------
# The program
# --------------------------------------------------------------------------------------------------------


def _with_command(arguments: Sequence[str]) -> list[str]:
    """Insert the command `run` if none is named: before its files or options, and if there is nothing."""
    commands = {info.name or info.callback.__name__ for info in app.registered_commands if info.callback}
    first = arguments[0] if arguments else ""
    if first in commands or first in ("--help", "--version"):
        return list(arguments)
    is_run = not first or first.startswith("-") or Path(first).suffix or Path(first).exists()
    return ["run", *arguments] if is_run else list(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program; ends it with its exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    open_standard_streams()
    debug = "--debug" in arguments
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    warnings.showwarning = _show_warning  # type: ignore[assignment]
    try:
        words = _with_command([argument for argument in arguments if argument != "--debug"])
        status = app(words, prog_name="hyper-py", standalone_mode=False)
        if status == INTERRUPTED:
            _complain("interrupted")
        sys.exit(status)
    except BrokenPipeError:
        silence(sys.stdout)
        sys.exit(1)
    except Exception as error:
        if debug:
            raise
        _complain(*(f"error: {line}" for line in _explain(error).splitlines()))
        sys.exit(2 if isinstance(error, ConfigurationError) or _is_usage(error) else 1)


def _is_usage(error: Exception) -> bool:
    """Whether an error comes from typer's parser, whose classes are elsewhere in each of its versions."""
    return hasattr(error, "format_message")


def _explain(error: Exception) -> str:
    """Show an error; in one line, except for a configuration with several faults."""
    if isinstance(error, HyperPyError):
        return str(error)
    if _is_usage(error):
        context = getattr(error, "ctx", None)
        text = " ".join(error.format_message().split()).rstrip(".")  # type: ignore[attr-defined]
        return f"{text}; see {context.command_path if context else 'hyper-py'} --help"
    if isinstance(error, FileExistsError | NotADirectoryError) and error.filename:
        return f"{error.filename}: not a directory"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    what = " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return f"out of memory ({what})" if what else "out of memory"
    return f"unexpected {type(error).__name__}: {what}; the same command with --debug shows where"
