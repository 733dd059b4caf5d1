"""The command `run`: the sources of maps."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hyper_py.commands.arguments import Output, Overrides, Quiet, configuration, overrides_of_run
from hyper_py.commands.progress import display
from hyper_py.commands.terminal import complain, say

if TYPE_CHECKING:
    from hyper_py.running.runner import RunResult

ROWS_SHOWN = 40


def run(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CONFIG.yaml | MAP.fits ...",
            help="A configuration file, or maps (files, directories, patterns, lists), or both.",
        ),
    ] = None,
    output: Output = None,
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
    quiet: Quiet = False,
) -> None:
    """Extract the sources of maps: those that a configuration file lists, or those named here."""
    chosen = overrides_of_run(overrides, output=output, jobs=jobs)
    if regions is not None:
        chosen.append(f"detection.regions={json.dumps(str(regions.absolute()))}")
    config, maps = configuration(inputs or [], chosen)

    from hyper_py.running import runner

    with display(quiet=quiet) as on_event:
        result = runner.run(config, maps or None, on_event=on_event, resume=resume)
    _summarise(result, quiet=quiet)
    raise typer.Exit(result.exit_code)


def _summarise(result: "RunResult", *, quiet: bool) -> None:
    """Show the result of each map, and the totals."""
    if result.interrupted:
        complain("interrupted; the same command with --resume goes on from here")
    if quiet:
        return
    from hyper_py.running.events import removed_line

    if line := removed_line(result):
        complain(line)
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
