"""The command `bands`: several wavelengths, one catalogue."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hyper_py.commands.arguments import (
    Output,
    Overrides,
    Products,
    Quiet,
    configuration,
    overrides_of_products,
    overrides_of_run,
)
from hyper_py.commands.progress import display
from hyper_py.commands.terminal import complain, say

if TYPE_CHECKING:
    from hyper_py.running.runner import RunResult

FIELDS_SHOWN = 8


def bands(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CONFIG.yaml | MAP.fits ... | FIELD ...",
            help="A configuration file that lists the bands (section maps), the maps of one field, or one "
            "directory for each of several fields.",
        ),
    ] = None,
    output: Output = None,
    overrides: Overrides = None,
    products: Products = None,
    regions: Annotated[
        Path | None,
        typer.Option(
            "--regions",
            help="Measure the ellipses, circles and points of this region file in all bands instead of "
            "detecting (detection.regions).",
        ),
    ] = None,
    sources: Annotated[
        Path | None,
        typer.Option(
            "--sources",
            metavar="TABLE",
            help="Measure the sources of this table in all bands (detection.fixed_source_table_path).",
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", "-j", min=1, help="Number of fields measured in parallel (control.n_cores)."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Skip fields that an earlier run has completed.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Extract sources from maps of a field in several bands: one source list, a flux in each band."""
    chosen = overrides_of_run(overrides, output=output, jobs=jobs) + overrides_of_products(products)
    if regions is not None:
        chosen.append(f"detection.regions={json.dumps(str(regions.absolute()))}")
    if sources is not None:
        chosen.append("detection.use_fixed_source_table=true")
        chosen.append(f"detection.fixed_source_table_path={json.dumps(str(sources.absolute()))}")
    config, maps = configuration(inputs or [], chosen)

    from hyper_py.running import fields

    with display(quiet=quiet) as on_event:
        result = fields.run_fields(config, maps or None, on_event=on_event, resume=resume)
    _summarise(result, quiet=quiet)
    raise typer.Exit(result.exit_code)


def _summarise(result: "RunResult", *, quiet: bool) -> None:
    """Show what was found in each field, band by band."""
    if result.interrupted:
        complain("interrupted; the same command with --resume goes on from here")
    if quiet:
        return
    from hyper_py.running.events import removed_line
    from hyper_py.running.field_outputs import offset_text

    if line := removed_line(result):
        complain(line)
    rows = [("Field", "Band", "Micron", "Beam", "rms", "Sources", "Detected", "Offset east, north")]
    for one in result.maps:
        for band in one.bands if len(result.maps) <= FIELDS_SHOWN else ():
            numbers = (f"{band['wavelength_um']:g}", f"{band['beam_arcsec']:.3g}", f"{band['rms']:.3g}")
            found = (str(band["n_covered"]), str(band["n_detected"]))
            rows.append((one.name, band["name"], *numbers, *found, offset_text(band)))
    if len(rows) > 1:
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for field, name, *columns in rows:
            texts = [field.ljust(widths[0]), name.ljust(widths[1]), *map(str.rjust, columns, widths[2:])]
            say("  ".join(texts).rstrip())
    failed = f" ({len(result.failures)} failed)" if result.failures else ""
    say(
        f"Fields: {len(result.maps)}{failed}. Sources: {result.n_sources}. "
        f"Seconds: {result.seconds:.1f}. Results: {result.root}"
    )
