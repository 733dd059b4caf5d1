"""Arguments that several commands take, and the configuration that they make."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hyper_py.diagnostics import ConfigurationError

if TYPE_CHECKING:
    from hyper_py.config import Config

Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Set a key of the configuration. Repeatable."),
]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="Directory of all results; ./output for maps.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show nothing but errors.")]


def configuration(inputs: Sequence[str], overrides: Sequence[str]) -> tuple["Config", list[str]]:
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


def overrides_of_run(overrides: Sequence[str] | None, *, output: Path | None, jobs: int | None) -> list[str]:
    """Return overrides with those that `--output` and `--jobs` stand for."""
    chosen = list(overrides or ())
    if output is not None:
        chosen.append(f"paths.output.dir_root={json.dumps(str(output.absolute()))}")
    if jobs is not None:
        chosen += [f"control.n_cores={jobs}", f"control.parallel_maps={json.dumps(jobs > 1)}"]
    return chosen
