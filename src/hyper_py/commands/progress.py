"""The events of a run as they are shown: a progress bar on a terminal, errors and warnings below it."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

from hyper_py.commands.terminal import complain
from hyper_py.names import printable

if TYPE_CHECKING:
    from hyper_py.running.runner import Event


@contextmanager
def display(*, quiet: bool) -> "Iterator[Callable[[Event], None]]":
    """Yield the function that shows the events of a run: a progress bar on a terminal, and errors."""
    from hyper_py.running import runner
    from hyper_py.running.events import named_reason, started_lines

    with _progress_bar() if sys.stderr.isatty() and not quiet else nullcontext() as draw:

        def on_event(event: "Event") -> None:
            if draw is not None:
                draw(event)
            if isinstance(event, runner.RunStarted) and not quiet:
                complain(*started_lines(event))
            if isinstance(event, runner.MapFinished | runner.MapFailed):
                result = event.result
                if not result.ok:
                    complain(f"error: {named_reason(result)}")
                if not quiet:
                    complain(*(f"warning: {result.name}: {text}" for text in result.warnings))

        yield on_event


@contextmanager
def _progress_bar() -> "Iterator[Callable[[Event], None]]":
    """Yield the function that draws the events of a run on the terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from hyper_py.running import runner

    columns = (
        TextColumn("{task.description}", markup=False),  # a name may have brackets
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("maps", total=None, rate="")

        def advance(**changes: Any) -> None:
            bar.update(task, **changes)
            bar.update(task, rate=rate_of_maps(bar.tasks[0].speed))

        def draw(event: "Event") -> None:
            with suppress(OSError):  # the terminal may be gone
                update(event)

        def update(event: "Event") -> None:
            match event:
                case runner.RunStarted():
                    bar.update(task, total=event.n_maps, completed=event.n_resumed)
                case runner.MapStarted():
                    bar.update(task, description=printable(event.name))
                case runner.ChannelFinished():
                    advance(
                        advance=1.0 / event.n_channels,
                        description=f"{event.cube} {event.n_done}/{event.n_channels}",
                    )
                case runner.MapFinished() | runner.MapFailed():
                    advance(completed=event.progress.n_done + event.progress.n_failed)

        yield draw


def rate_of_maps(per_second: float | None) -> str:
    """Return the rate of maps as text, in the unit in which it is above one."""
    if not per_second:
        return ""
    number, unit = next(
        ((per_second * n, unit) for unit, n in (("s", 1), ("min", 60)) if per_second * n >= 1.0),
        (per_second * 3600, "h"),
    )
    return f"{number:.3g} maps/{unit}"
