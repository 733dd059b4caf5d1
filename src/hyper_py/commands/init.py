"""The command `init`: a configuration file with every key."""

from pathlib import Path
from typing import Annotated

import typer

from hyper_py.commands.terminal import say
from hyper_py.diagnostics import ConfigurationError


def init(
    path: Annotated[Path, typer.Argument(help="File or directory to write.")] = Path("hyper_config.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Write a commented configuration file with every key, its default and its meaning."""
    from hyper_py.config import FILE_NAME, template

    path = path / FILE_NAME if path.is_dir() else path
    if path.exists() and not force:
        raise ConfigurationError(f"{path}: exists; --force overwrites it")
    path.write_text(template(), encoding="utf-8")
    say(f"wrote {path}")
