"""The commands simulate, validate, inspect and demo. `hyper_py.cli` registers them.

Nothing heavy is imported before a command needs it.
"""

import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hyper_py.diagnostics import ConfigurationError, InputError
from hyper_py.terminal import say

if TYPE_CHECKING:
    from hyper_py.reading.inspection import Inspection
    from hyper_py.simulation.simulate import Simulation
    from hyper_py.validation.validation import TextTable, Validation

PRESETS = (
    "alma", "deep", "herschel", "faint", "crowded", "cube", "interferometer", "interferometer_dirty",
    "dynamic", "complex", "edges", "edges_error", "empty", "empty_lognormal", "oversampled",
)  # fmt: skip
CUBE_FIELDS = ("n_channels", "frequency", "channel_width", "line_fwhm", "turnover")
DEMO_SKY = {
    "name": "demo", "shape": [240, 320], "n_sources": 60, "unit": "Jy/beam", "peak_range": [5.0, 60.0]
}  # fmt: skip
DEMO_MAP = "demo.fits"

Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Set a key of the configuration. Repeatable."),
]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column", metavar="NAME=OTHER", help="What the catalogue calls a column of Hyper-Py. Repeatable."
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


# --------------------------------------------------------------------------------------------------------
# simulate
# --------------------------------------------------------------------------------------------------------


def simulate(
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="MAP.fits", help="File of the map, or its directory."),
    ] = None,
    preset: Annotated[
        str, typer.Option("--preset", metavar="NAME", help=f"Kind of sky: {', '.join(PRESETS)}.")
    ] = "alma",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Same seed, same map.")] = 1,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Set a field of the preset. Repeatable."),
    ] = None,
    limits: Annotated[
        bool, typer.Option("--limits", help="Add the smallest possible errors to the truth (slow).")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite a file that is no simulated map.")
    ] = False,
) -> None:
    """Simulate a map (or a cube) with exact truth: MAP.fits, and MAP_truth.ecsv beside it."""
    from hyper_py.config import apply_overrides

    fields = apply_overrides({}, overrides or [])

    from hyper_py.simulation.simulate import simulate_cube, simulate_image
    from hyper_py.writing import simulated_files as files

    default = f"{preset}_{seed}.fits"
    path = Path(default) if output is None else output / default if output.is_dir() else output
    _check_kinds(fields)
    if not force:
        files.refuse_to_overwrite(path)
    if preset == "cube" or any(name in fields for name in CUBE_FIELDS):
        if limits:
            raise ConfigurationError("--limits: only for maps, not for cubes")
        cube = simulate_cube(preset, seed=seed, **fields)
        files.write_cube(path, cube)
        dirty = False
        size, n_sources = list(cube.shape), cube.model.n_sources
    else:
        simulation = simulate_image(preset, seed=seed, **fields)
        n_sources, dirty = files.write_simulation(path, simulation, limits=limits), simulation.is_dirty
        size = list(simulation.image.shape)
    text = " x ".join(map(str, size[::-1]))
    beside = f"{files.truth_path(path)}{f' and {files.psf_path(path)}' if dirty else ''}"
    say(f"wrote {path} ({text} pixels, {n_sources} sources) and {beside}")


def _check_kinds(fields: dict[str, Any]) -> None:
    """Raise ConfigurationError if a value is of another type than the default."""
    import inspect as introspection
    from dataclasses import asdict

    from hyper_py.simulation.presets import PARTS, SkyModel
    from hyper_py.simulation.simulate import simulate_cube

    parameters = introspection.signature(simulate_cube).parameters
    defaults = asdict(SkyModel()) | {name: parameters[name].default for name in CUBE_FIELDS}
    given = {name: value for name, value in fields.items() if name not in PARTS}
    for part, kind in PARTS.items():
        defaults |= {f"{part}.{name}": value for name, value in asdict(kind()).items()}
        if isinstance(fields.get(part), dict):
            given |= {f"{part}.{name}": value for name, value in fields[part].items()}
    for name, value in given.items():
        if name in defaults and not _is_like(value, defaults[name]):
            expected = str(list(defaults[name]) if isinstance(defaults[name], tuple) else defaults[name])
            raise ConfigurationError(f"simulation: {name} is {value!r}; it must be such as {expected}")


def _is_like(value: Any, default: Any) -> bool:
    if isinstance(default, tuple):
        return (
            isinstance(value, list)
            and len(value) == len(default)
            and all(_is_like(one, like) for one, like in zip(value, default, strict=True))
        )
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    return isinstance(value, int | float if isinstance(default, float) else type(default))


# --------------------------------------------------------------------------------------------------------
# validate
# --------------------------------------------------------------------------------------------------------


def validate(
    catalog: Annotated[Path, typer.Argument(metavar="CATALOG", help="Table of what was measured.")],
    truth: Annotated[Path, typer.Argument(metavar="TRUTH", help="Table of what is true.")],
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON instead of tables.")] = False,
    figure: Annotated[
        Path | None, typer.Option("--figure", metavar="FILE", help="Draw it too: .png, .pdf or .svg.")
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
        typer.Option("--beam", metavar="FWHM", help="Of the beam: in arcsec by RA and DEC, else in pixels."),
    ] = None,
    tolerance: Annotated[
        float | None, typer.Option("--tolerance", help="Largest distance of a match; half the beam.")
    ] = None,
    margin: Annotated[
        float,
        typer.Option("--margin", min=0.0, help="Sources this near to the border do not count (in beams)."),
    ] = 0.5,
    channel: Annotated[
        int | None, typer.Option("--channel", min=1, help="Only this channel of a cube, from 1.")
    ] = None,
) -> None:
    """Compare a catalogue with the truth: completeness, purity, bias, scatter, pulls."""
    if coordinates not in (None, "pixel", "sky"):
        raise ConfigurationError(f"--match {coordinates}: must be pixel or sky")
    options: dict[str, Any] = {
        "columns": _pairs("--column", columns),
        "truth_columns": _pairs("--truth-column", truth_columns),
        "column_units": _pairs("--unit", units),
        "truth_units": _pairs("--truth-unit", truth_units),
    }

    from hyper_py.running.scoring import validate_files

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
        _show_tables([counts, *others[:1], *limits, *others[1:]])
    if figure is not None:
        _draw(validation, figure, title=catalog.name)
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


def _show_tables(tables: "Sequence[TextTable]") -> None:
    """Show tables in full width when the output is not a terminal."""
    for title, header, rows in tables:
        say(f"\n{title}")
        widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
        for row in (header, *rows):
            first, *rest = (text.rjust(width) for text, width in zip(row, widths, strict=True))
            say("  " + "  ".join([first.strip().ljust(widths[0]), *rest]).rstrip())


def _draw(validation: "Validation", path: Path, *, title: str) -> None:
    from hyper_py.reporting.validation_figure import plot_validation
    from hyper_py.writing.staging import Stage

    figure = plot_validation(validation, title=title)
    known = figure.canvas.get_supported_filetypes()
    if path.suffix.lower().lstrip(".") not in known:
        raise ConfigurationError(f"--figure {path}: the name must end in one of .{', .'.join(sorted(known))}")
    with Stage(path.parent) as stage:
        figure.savefig(stage.path(path.name), dpi=150)


# --------------------------------------------------------------------------------------------------------
# inspect
# --------------------------------------------------------------------------------------------------------


def inspect(
    path: Annotated[Path, typer.Argument(metavar="MAP", help="FITS file.")],
    overrides: Overrides = None,
) -> None:
    """Show what is read from a map, and what is missing. Exit status 1 if it cannot be run as it is."""
    from hyper_py.config import Config, apply_overrides

    config = Config.from_mapping(apply_overrides({"version": 2}, overrides or []), source="--set")

    from hyper_py.reading.inspection import inspect_image
    from hyper_py.running.tasks import reading_options

    if path.is_dir():
        raise InputError(f"{path}: a directory; name one of the maps in it")
    found = inspect_image(path, **reading_options(config))
    say(path)
    _show_facts(describe(found))
    if found.problems:
        raise typer.Exit(1)


def describe(found: "Inspection") -> list[tuple[str, str]]:
    """Return what was read from a map as pairs of a word and a line."""
    ny, nx = found.shape
    facts = [("file", found.hdus), ("map", f"extension {found.hdu}, {nx} x {ny} pixels (x, y)")]
    if found.n_channels > 1:
        facts.append(("cube", f"{found.n_channels} channels; what follows is of the first"))
    if found.blank_share:
        facts.append(("blank", f"{found.blank_share:.1%} of the pixels"))
    if found.projection:
        centre = "" if found.centre is None else "; centre {:.5f}, {:+.5f} deg".format(*found.centre)
        facts.append(("sky", f"{found.frame or 'unknown frame'} ({found.projection}){centre}"))
    if found.pixel is not None:
        facts.append(("pixel", _pixel(found)))
    if found.beam is not None:
        facts.append(("beam", _beam(found)))
    if found.unit:
        facts.append(("unit", _unit(found)))
    if found.frequency is not None:
        facts.append(("frequency", f"{found.frequency[0] / 1e9:.6g} GHz; from {found.frequency[1]}"))
    if found.rms is not None and found.peak is not None:
        times = f", {found.peak / found.rms:.3g} times that" if found.rms > 0 else ""
        rms = f"{found.rms:.4g} {found.unit}".strip()
        text = f"rms {rms} (3-sigma clipped); peak {found.peak:.4g}{times}"
        facts.append(("noise", text))
    if found.error is not None:
        text = (
            f"median {found.error[0]:.4g} {found.unit}; the map over its errors has rms {found.error[1]:.3g}"
        )
        facts.append(("errors", text))
    if found.primary_beam is not None:
        facts.append(("response", "primary beam from {:.3g} to {:.3g}".format(*found.primary_beam)))
    facts += [("note", text) for text in found.notes]
    if found.rms == 0.0:
        facts.append(("note", "the map does not vary: nothing can be detected in it"))
    facts += [("missing", text) for text in found.problems]
    if found.beam_pixels is not None and found.beam_pixels < 2.0:
        facts.append(
            ("note", f"a beam of {found.beam_pixels:.3g} pixels is too coarsely sampled to fit sizes")
        )
    return [*facts, ("result", _verdict(found))]


def _verdict(found: "Inspection") -> str:
    if found.problems:
        return "cannot be run as it is; inspect takes --set KEY=VALUE as run does, to try what is missing"
    if found.n_channels > 1:
        return "can be run as it is, channel by channel"
    return "can be run as it is"


def _pixel(found: "Inspection") -> str:
    x, y = found.pixel or (0.0, 0.0)
    low, high = found.pixel_area_range or (1.0, 1.0)
    times = f"{high / low - 1.0:.1%}" if high < 2.0 * low else f"a factor of {high / low:.3g}"
    varies = f"; areas vary by {times} over the map" if high > 1.001 * low else ""
    return f"{x:.4g} x {y:.4g} arcsec{varies}"


def _beam(found: "Inspection") -> str:
    beam = found.beam
    assert beam is not None  # for type checkers
    pixels = "" if found.beam_pixels is None else f", {found.beam_pixels:.3g} pixels"
    shape = f"{beam.major:.4g} arcsec" if beam.major == beam.minor else (
        f"{beam.major:.4g} x {beam.minor:.4g} arcsec at {beam.pa:.4g} deg east of north"
    )  # fmt: skip
    if beam.area is not None:
        pixels += f", area {beam.area:.4g} arcsec2 ({beam.flux_factor(beam.fwhm):.3g} times the Gaussian's)"
    many = f"; {found.n_beams} different ones in the cube" if found.n_beams > 1 else ""
    return f"FWHM {shape}{pixels}; from {beam.source}{many}"


def _unit(found: "Inspection") -> str:
    text = f"{found.unit}; from {found.unit_source}"
    if found.jy_per_pixel is None:
        return text
    low, high = found.jy_per_pixel
    factor = f"{low:.5g}" if high <= 1.001 * low else f"{low:.5g} to {high:.5g}"
    return f"{text}; 1 {found.unit} is {factor} Jy/pixel"


def _show_facts(facts: "Sequence[tuple[str, str]]") -> None:
    columns = max(get_terminal_size((100, 24)).columns, 40)
    for name, text in facts:
        indent = " " * 11
        lines = textwrap.wrap(
            text, columns - len(indent), break_long_words=False, break_on_hyphens=False
        ) or [""]
        say("\n".join([f"{name:<{len(indent)}}{lines[0]}", *(indent + line for line in lines[1:])]))


# --------------------------------------------------------------------------------------------------------
# demo
# --------------------------------------------------------------------------------------------------------


def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT", help="Directory of all of it.")
    ] = Path("hyper_demo"),
    seed: Annotated[int, typer.Option("--seed", min=0, help="Same seed, same map.")] = 1,
) -> None:
    """Simulate a small map, extract its sources, compare them with the truth, and list the files."""
    map_path = output / DEMO_MAP
    if output.is_dir() and any(output.iterdir()) and not map_path.exists():
        raise ConfigurationError(f"{output}: not empty, and not of an earlier demo; choose another directory")

    from hyper_py.config import Config
    from hyper_py.running import runner
    from hyper_py.running.scoring import validate_files
    from hyper_py.simulation.simulate import simulate_image
    from hyper_py.writing.layout import Layout
    from hyper_py.writing.simulated_files import truth_path, write_simulation
    from hyper_py.writing.staging import write_text
    from hyper_py.writing.state import as_json

    simulation = simulate_image("deep", seed=seed, **DEMO_SKY)
    write_simulation(map_path, simulation)
    say(_summary(simulation))
    root = str(output.absolute())
    config = Config.from_mapping(
        {
            "version": 2,
            "paths": {"output": {"dir_root": root}},
            "control": {"parallel_maps": False},
            "outputs": {"tables": ["ecsv", "ipac", "csv"]},
        }
    )
    result = runner.run(config, [map_path])
    if result.failures:
        raise InputError(result.failures[0].reason)
    say(f"Extracted: {result.n_sources} sources in {result.seconds:.1f} s.")
    layout = Layout.from_config(config)
    catalog = layout.table(map_path.stem, "ecsv")
    validation = validate_files(output / catalog, truth_path(map_path))
    write_text(output, "validation.json", as_json(validation.to_dict()))
    _draw(validation, output / "validation.png", title="hyper-py demo")
    counts, *others = validation.tables()
    _show_tables([counts, *(table for table in others if "all sources" in table.title)])
    places = {
        "report/index.html": "report",
        "validation.png": "measured against true, in four panels",
        catalog: "catalogue (and as .txt, .csv)",
        layout.region(map_path.stem, "ellipses"): "apertures, for DS9 or CARTA",
        DEMO_MAP: "the map",
        truth_path(map_path).name: "its truth",
    }
    shown = [(str(output / name), what) for name, what in places.items() if (output / name).exists()]
    say("\nWhere to look:")
    width = max(len(name) for name, _ in shown)
    for name, what in shown:
        say(f"  {name:<{width}}  {what}")
    say("\nNow your own: hyper-py inspect MAP.fits, then hyper-py run MAP.fits -o OUT")


def _summary(simulation: "Simulation") -> str:
    ny, nx = simulation.image.shape
    low, high = simulation.model.peak_range
    return (
        f"Simulated: {nx} x {ny} pixels, {len(simulation.truth)} sources with peaks of {low:g} to {high:g} "
        "times the noise."
    )
