"""The command `run`: the sources of maps."""

import json
from pathlib import Path
from typing import Annotated

import typer

from hyper_py.commands.arguments import (
    SHORT_OPTIONS,
    Beam,
    Error,
    Output,
    Overrides,
    Products,
    Quiet,
    Unit,
    configuration,
    overrides_of_map,
    overrides_of_products,
    overrides_of_run,
)
from hyper_py.commands.progress import display
from hyper_py.commands.terminal import complain


def run(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CONFIG.yaml | MAP.fits ...",
            help="A configuration file, maps (files, directories, glob patterns, list files), or both.",
        ),
    ] = None,
    output: Output = None,
    overrides: Overrides = None,
    beam: Beam = None,
    error: Error = None,
    unit: Unit = None,
    products: Products = None,
    regions: Annotated[
        Path | None,
        typer.Option(
            "--regions",
            help="Measure the ellipses, circles and points of this region file instead of detecting "
            "(detection.regions).",
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", "-j", min=1, help="Number of worker processes (control.n_cores)."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Skip maps that an earlier run has completed.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be run, with time and memory; write nothing.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Extract sources from maps, which a configuration file lists or which are named here.

    Without arguments, hyper_config.yaml of the working directory is used, or that of the user's
    configuration directory.
    """
    chosen = overrides_of_run(overrides, output=output, jobs=jobs)
    chosen += overrides_of_map(beam=beam, error=error, unit=unit) + overrides_of_products(products)
    if regions is not None:
        chosen.append(f"detection.regions={json.dumps(str(regions.absolute()))}")
    config, maps = configuration(inputs or [], chosen)

    if dry_run:
        from hyper_py.commands.dry_run import show_plan

        raise typer.Exit(show_plan(config, maps or None))

    from hyper_py.running import runner

    with display(quiet=quiet, options=SHORT_OPTIONS) as on_event:
        result = runner.run(config, maps or None, on_event=on_event, resume=resume)
    if result.interrupted:
        complain("interrupted; the same command with --resume goes on from here")
    if not quiet:
        from hyper_py.commands.summary import show_summary

        show_summary(result, config)
    raise typer.Exit(result.exit_code)
