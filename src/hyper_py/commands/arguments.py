"""Arguments that several commands take, and the configuration that they make."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hyper_py.diagnostics import ConfigurationError

if TYPE_CHECKING:
    from hyper_py.config import Config

PRODUCTS = ("model", "residual", "background", "rms", "noise")
"""What `--products` can ask for: images of a map, and the statistics of its noise."""

SHORT_OPTIONS = {
    "survey.beam (major, minor, pa)": "--beam (survey.beam)",
    "units.bunit": "--unit (units.bunit)",
}
"""Options of `run` that errors name in place of the keys they stand for."""

Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Set a configuration key. Repeatable."),
]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="Output directory. Default for maps: ./output.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
Beam = Annotated[
    str | None,
    typer.Option(
        "--beam",
        metavar="MAJOR[,MINOR[,PA]]",
        help="FWHM of the beam in arcsec, position angle in degrees east of north (survey.beam).",
    ),
]
Error = Annotated[
    str | None,
    typer.Option(
        "--error",
        metavar="EXTENSION | FILE",
        help="Extension or file with the errors of the map; none ignores them (io.error_hdu).",
    ),
]
Unit = Annotated[
    str | None, typer.Option("--unit", metavar="UNIT", help="Unit of the map, such as MJy/sr (units.bunit).")
]
Products = Annotated[
    str | None,
    typer.Option(
        "--products",
        metavar="NAME[,NAME...]",
        help=f"Also write FITS images: {', '.join(PRODUCTS)} (outputs.products).",
    ),
]


def configuration(inputs: Sequence[str], overrides: Sequence[str]) -> tuple["Config", list[str]]:
    """Return the configuration and the maps that the arguments of `run` give."""
    from hyper_py.config import Config, apply_overrides, find_config, load_config

    files = [name for name in inputs if name.lower().endswith((".yaml", ".yml"))]
    maps = [name for name in inputs if name not in files]
    if len(files) > 1:
        raise ConfigurationError(f"{' and '.join(files)}: only one configuration file can be used")
    if maps and not files:
        mapping = apply_overrides({"version": 2}, overrides)
        return Config.from_mapping(mapping, source="--set"), maps
    path = Path(files[0]) if files else find_config(Path(typer.get_app_dir("hyper_py")))
    if path is None:
        raise ConfigurationError(
            "nothing to run: name maps or a configuration file; hyper-py init writes one to begin with"
        )
    return load_config(path, overrides), maps


def overrides_of_run(overrides: Sequence[str] | None, *, output: Path | None, jobs: int | None) -> list[str]:
    """Return overrides with those that `--output` and `--jobs` stand for."""
    chosen = list(overrides or ())
    if output is not None:
        chosen.append(f"paths.output.dir_root={json.dumps(str(output.absolute()))}")
    if jobs is not None:
        chosen += [f"control.n_cores={jobs}", f"control.parallel_maps={json.dumps(jobs > 1)}"]
    return chosen


def overrides_of_map(*, beam: str | None, error: str | None, unit: str | None) -> list[str]:
    """Return the overrides that `--beam`, `--error` and `--unit` stand for."""
    chosen = []
    if beam is not None:
        chosen.append(f"survey.beam={json.dumps(_beam(beam))}")
    if error is not None:
        chosen.append(f"io.error_hdu={_extension(error)}")
    if unit is not None:
        chosen.append(f"units.bunit={json.dumps(unit)}")
    return chosen


def with_options(text: str, options: Mapping[str, str]) -> str:
    """Return an error that names options of the command in place of the keys they stand for."""
    for key, option in options.items():
        text = text.replace(f"set {key}", f"set {option}")
    return text


def overrides_of_products(products: str | None) -> list[str]:
    """Return the overrides that `--products` stands for."""
    if products is None:
        return []
    names = [name.strip() for name in products.split(",") if name.strip()]
    for name in names:
        if name not in PRODUCTS:
            raise ConfigurationError(f"--products: {name} is not one of {', '.join(PRODUCTS)}")
    images = [name for name in names if name != "noise"]
    chosen = [f"outputs.products={json.dumps(images)}"] if images else []
    return [*chosen, "fits_output.fits_noise=true"] if "noise" in names else chosen


def _beam(text: str) -> dict[str, float]:
    """Return the values of `survey.beam` for `18.2`, `18.2,17.5` or `18.2,17.5,30`."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not 1 <= len(numbers) <= 3:
        raise ConfigurationError(
            f"--beam: {text!r} is not a beam; it must be MAJOR, MAJOR,MINOR or MAJOR,MINOR,PA, such as 18.2"
        )
    return dict(zip(("major", "minor", "pa"), numbers, strict=False))


def _extension(text: str) -> str:
    """Return an extension, a file or `none` as a value of `io.error_hdu`; files are relative to here."""
    if text.lower() in ("none", "null", "auto") or text.isdecimal():
        return "null" if text.lower() in ("none", "null") else text.lower()
    path = Path(text.partition("[")[0])
    return json.dumps(str(Path(text).absolute()) if path.suffix and path.exists() else text)
