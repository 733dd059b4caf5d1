"""The command `report`: the report of a finished run."""

from pathlib import Path
from typing import Annotated

import typer

from hyper_py.commands.terminal import say


def report(
    directory: Annotated[Path, typer.Argument(metavar="OUT", help="Output directory of a finished run.")],
) -> None:
    """Rewrite the report of a finished run."""
    from hyper_py.reporting.report import write_report

    say(f"wrote {directory / write_report(directory)[-1]}")
