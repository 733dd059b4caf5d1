"""The command `validate`: a catalogue compared with the truth."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hyper_py.commands.terminal import say
from hyper_py.diagnostics import ConfigurationError

if TYPE_CHECKING:
    from hyper_py.validation.validation import TextTable, Validation

Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column", metavar="NAME=OTHER", help="Name of a Hyper-Py column in the catalogue. Repeatable."
    ),
]
TruthColumns = Annotated[
    list[str] | None,
    typer.Option("--truth-column", metavar="NAME=OTHER", help="The same for the truth."),
]
ColumnUnits = Annotated[
    list[str] | None,
    typer.Option("--unit", metavar="NAME=UNIT", help="Unit of a column of the catalogue. Repeatable."),
]
TruthUnits = Annotated[
    list[str] | None, typer.Option("--truth-unit", metavar="NAME=UNIT", help="The same for the truth.")
]


def validate(
    catalog: Annotated[Path, typer.Argument(metavar="CATALOG", help="Table of measured sources.")],
    truth: Annotated[Path, typer.Argument(metavar="TRUTH", help="Table of true sources.")],
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON instead of tables.")] = False,
    figure: Annotated[
        Path | None, typer.Option("--figure", metavar="FILE", help="Also draw a figure: .png, .pdf or .svg.")
    ] = None,
    columns: Columns = None,
    truth_columns: TruthColumns = None,
    units: ColumnUnits = None,
    truth_units: TruthUnits = None,
    coordinates: Annotated[
        str | None,
        typer.Option("--match", metavar="pixel|sky", help="Match by X and Y or by RA and DEC."),
    ] = None,
    beam: Annotated[
        float | None,
        typer.Option(
            "--beam", metavar="FWHM", help="FWHM of the beam, in arcsec for --match sky, else in pixels."
        ),
    ] = None,
    tolerance: Annotated[
        float | None, typer.Option("--tolerance", help="Largest distance of a match. Default: half the beam.")
    ] = None,
    margin: Annotated[
        float,
        typer.Option("--margin", min=0.0, help="Ignore sources this close to the border, in beams."),
    ] = 0.5,
    band: Annotated[
        str | None, typer.Option("--band", metavar="NAME", help="Only this band of a field, in detail.")
    ] = None,
    channel: Annotated[
        int | None, typer.Option("--channel", min=1, help="Only this channel of a cube, from 1.")
    ] = None,
) -> None:
    """Compare a catalogue with the truth: completeness, purity, bias, scatter and pulls.

    With the truth of a field in several bands: fluxes band by band, spectral indices and positions, or with
    --band one band like a single map.
    """
    if coordinates not in (None, "pixel", "sky"):
        raise ConfigurationError(f"--match {coordinates}: must be pixel or sky")
    options: dict[str, Any] = {
        "columns": _pairs("--column", columns),
        "truth_columns": _pairs("--truth-column", truth_columns),
        "column_units": _pairs("--unit", units),
        "truth_units": _pairs("--truth-unit", truth_units),
    }

    from hyper_py.running.scoring import bands_of_file, validate_bands_files, validate_files

    known = bands_of_file(truth)
    if band is None and known:
        overview = validate_bands_files(catalog, truth, tolerance=tolerance)
        if figure is not None:
            raise ConfigurationError(f"--figure: of one band: --band {known[-1]}")
        if as_json:
            say(json.dumps(overview.to_dict(), indent=2))
        else:
            show_tables(overview.tables())
        return
    if band is not None:
        if band not in known:
            names = ", ".join(known) or "no bands"
            raise ConfigurationError(f"--band {band}: {truth} has {names}")
        options["band"] = band
    validation = validate_files(
        catalog, truth, coordinates=coordinates, beam=beam, tolerance=tolerance, margin=margin,
        channel=channel, **options,
    )  # fmt: skip
    if as_json:
        say(json.dumps(validation.to_dict(), indent=2))
    else:
        from hyper_py.injection.truth import curve_of_validation, limits_table

        curve = curve_of_validation(validation)
        counts, *others = validation.tables()
        limits = [] if curve is None else [limits_table(curve)]
        show_tables([counts, *others[:1], *limits, *others[1:]])
    if figure is not None:
        draw(validation, figure, title=catalog.name)
        say(f"wrote {figure}", err=as_json)


def _pairs(option: str, given: Sequence[str] | None) -> dict[str, str]:
    """Return NAME=OTHER options as a mapping."""
    pairs = {}
    for one in given or ():
        name, equals, other = (part.strip() for part in one.partition("="))
        if not (name and equals and other):
            raise ConfigurationError(f"{option} {one!r}: must be of the form NAME=OTHER")
        pairs[name] = other
    return pairs


def show_tables(tables: "Sequence[TextTable]") -> None:
    """Show tables in full width when the output is not a terminal; say what a pull is if there are any."""
    for title, header, rows in tables:
        say(f"\n{title}")
        widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
        for row in (header, *rows):
            first, *rest = (text.rjust(width) for text, width in zip(row, widths, strict=True))
            say("  " + "  ".join([first.strip().ljust(widths[0]), *rest]).rstrip())
    if any("pull" in header for _, header, _ in tables):
        say("  A pull is (measured - true) / error: with right errors the width is 1, and 68% are within 1.")


def draw(validation: "Validation", path: Path, *, title: str) -> None:
    """Draw the comparison into a file whose ending says the format."""
    from hyper_py.reporting.validation_figure import plot_validation
    from hyper_py.writing.staging import Stage

    figure = plot_validation(validation, title=title)
    known = figure.canvas.get_supported_filetypes()
    if path.suffix.lower().lstrip(".") not in known:
        raise ConfigurationError(f"--figure {path}: the name must end in one of .{', .'.join(sorted(known))}")
    with Stage(path.parent) as stage:
        figure.savefig(stage.path(path.name), dpi=150)
