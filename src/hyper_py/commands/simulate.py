"""The command `simulate`: maps and cubes with exact truth."""

from pathlib import Path
from typing import Annotated, Any

import typer

from hyper_py.commands.terminal import say
from hyper_py.diagnostics import ConfigurationError

PRESETS = (
    "alma", "deep", "herschel", "faint", "crowded", "cube", "interferometer", "interferometer_dirty",
    "dynamic", "complex", "edges", "edges_error", "empty", "empty_lognormal", "oversampled", "confused",
    "clumps", "resolved",
)  # fmt: skip
BANDS_PRESETS = ("bands", "bands_simple")
CUBE_FIELDS = ("n_channels", "frequency", "channel_width", "line_fwhm", "turnover")


def simulate(
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="MAP.fits", help="FITS file to write, or a directory for it."),
    ] = None,
    preset: Annotated[
        str,
        typer.Option("--preset", metavar="NAME", help=f"Type of sky: {', '.join(PRESETS + BANDS_PRESETS)}."),
    ] = "alma",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Random seed.")] = 1,
    seeds: Annotated[
        str | None,
        typer.Option(
            "--seeds", metavar="FIRST-LAST", help="One map for each seed; --output is then a directory."
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Set a field of the preset. Repeatable."),
    ] = None,
    limits: Annotated[
        bool, typer.Option("--limits", help="Add the Cramer-Rao limits of the errors to the truth (slow).")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite a file that is not a simulated map.")
    ] = False,
) -> None:
    """Simulate a map or cube with known truth: writes MAP.fits and MAP_truth.ecsv.

    The presets of several bands write a directory with BAND.fits for each band and truth.ecsv.
    """
    from hyper_py.config import apply_overrides

    fields = apply_overrides({}, overrides or [])
    chosen = [seed] if seeds is None else seed_range(seeds)
    if seeds is not None and output is not None:
        if output.suffix:
            raise ConfigurationError(f"--seeds: {output} must be a directory: there are several maps")
        output.mkdir(parents=True, exist_ok=True)
    in_bands = preset in BANDS_PRESETS
    if not in_bands:
        _check_kinds(fields)
    for one in chosen:
        name = f"{preset}_{one}" if in_bands else f"{preset}_{one}.fits"
        if output is None:
            path = Path(name)
        else:
            path = output / name if output.is_dir() and (seeds is not None or not in_bands) else output
        write = _simulate_bands if in_bands else _simulate_one
        write(path, preset, seed=one, fields=fields, limits=limits, force=force)


def seed_range(text: str) -> range:
    """Return the seeds of `1-20`, or of `7`."""
    first, dash, last = text.partition("-")
    if not first.isdecimal() or (dash and not last.isdecimal()) or int(last or first) < int(first):
        raise ConfigurationError(
            f"--seeds: {text!r} is not a range of seeds; it must be FIRST-LAST, such as 1-20"
        )
    return range(int(first), int(last or first) + 1)


def _simulate_one(
    path: Path, preset: str, *, seed: int, fields: dict[str, Any], limits: bool, force: bool
) -> None:
    """Simulate and write one map or cube, and say so."""
    from hyper_py.simulation.simulate import simulate_cube, simulate_image
    from hyper_py.writing import simulated_files as files

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


def _simulate_bands(
    directory: Path, preset: str, *, seed: int, fields: dict[str, Any], limits: bool, force: bool
) -> None:
    """Write a field in several bands."""
    from hyper_py.simulation.bands import simulate_bands
    from hyper_py.writing.simulated_files import BANDS_TRUTH, write_bands

    if limits:
        raise ConfigurationError("--limits: only for maps, not for fields in several bands")
    if directory.suffix.lower() == ".fits":
        raise ConfigurationError(f"--output {directory}: several maps are written; give a directory")
    simulated = simulate_bands(preset, seed=seed, **fields)
    paths = write_bands(directory, simulated, force=force)
    names = ", ".join(path.name for path in paths)
    say(f"wrote {names} ({len(simulated.truth)} sources) and {BANDS_TRUTH} in {directory}")


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
