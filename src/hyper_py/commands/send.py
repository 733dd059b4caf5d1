"""The command `send`: results to DS9, TOPCAT, Aladin and other programs on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from hyper_py.commands.terminal import complain, say


def send(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="OUT|FILE...", help="Output directories of runs, or tables, maps and DS9 regions."
        ),
    ],
    to: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="PROGRAM", help="Send only to this program, such as ds9, topcat or aladin."
        ),
    ] = None,
) -> None:
    """Send results to DS9, TOPCAT, Aladin and other programs by SAMP."""
    from hyper_py.running.sending import send_files

    deliveries = send_files(paths, to=to)
    for one in deliveries:
        if one.reason:
            complain(f"warning: {one.program} did not load {one.message.name}: {one.reason}")
        else:
            say(f"{one.program} has the {one.message.kind} {one.message.name}")
    if all(one.reason for one in deliveries):
        raise typer.Exit(1)
