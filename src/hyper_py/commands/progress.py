"""The events of a run as they are shown: progress on a terminal, errors and warnings below it."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hyper_py.commands.arguments import with_options
from hyper_py.commands.terminal import complain, shows_progress
from hyper_py.names import printable
from hyper_py.stages import Clock, seconds_left

if TYPE_CHECKING:
    from rich.progress import Progress, Task

    from hyper_py.running.runner import Event

_LEAST_SHARE = 0.1
"""Of the work, before which the time left is not guessed."""
_LONGEST_NAME = 36


@contextmanager
def display(*, quiet: bool, options: Mapping[str, str] | None = None) -> "Iterator[Callable[[Event], None]]":
    """Yield the function that shows the events of a run: progress on a terminal, and errors.

    `options` are words that errors have in place of others: the options of the command for its keys.
    """
    from hyper_py.running import runner
    from hyper_py.running.events import named_reason, started_lines

    with _progress() if shows_progress() and not quiet else nullcontext() as draw:

        def on_event(event: "Event") -> None:
            if draw is not None:
                draw(event)
            if isinstance(event, runner.RunStarted) and not quiet:
                complain(*started_lines(event))
            if isinstance(event, runner.MapFinished | runner.MapFailed):
                result = event.result
                if not result.ok:
                    complain(f"error: {with_options(named_reason(result), options or {})}")
                if not quiet:
                    complain(*(f"warning: {result.name}: {text}" for text in result.warnings))

        yield on_event


@contextmanager
def _progress() -> "Iterator[Callable[[Event], None]]":
    """Yield the function that draws the events of a run on the terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, TextColumn
    from rich.text import Text

    class Left(ProgressColumn):
        """Time left, counted down between the events that it follows from."""

        def render(self, task: "Task") -> Text:
            ends = task.fields["ends"]
            return Text("" if ends is None else f"{clock_text(ends - time.monotonic())} left")

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),  # a name may have brackets
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[doing]}", markup=False),
        Left(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        shown = Shown(bar)

        def draw(event: "Event") -> None:
            with suppress(OSError):  # the terminal may be gone
                shown.update(event)

        yield draw


@dataclass
class _MapShown:
    """The line of one map."""

    task: Any
    began: float
    clock: Clock = field(default_factory=Clock)


class Shown:
    """What the terminal shows of a run: a line for the run if it has several maps, and one for each at work.

    Parameters
    ----------
    bar : rich.progress.Progress
    """

    def __init__(self, bar: "Progress") -> None:
        self.bar = bar
        self.maps: dict[str, _MapShown] = {}
        self.total: Any = None
        self.n_maps = self.n_done = self.n_resumed = 0
        self.began = time.monotonic()

    def update(self, event: "Event") -> None:
        """Show an event."""
        from hyper_py.running import runner

        match event:
            case runner.RunStarted():
                self.n_maps, self.n_done, self.n_resumed = event.n_maps, event.n_resumed, event.n_resumed
                if event.n_maps > 1:
                    self.total = self.bar.add_task("maps", total=event.n_maps, doing="", ends=None)
            case runner.MapStarted():
                self.start(event.name)
            case runner.MapAdvanced():
                self.advance(event.name, event.stage, event.done, event.total)
            case runner.ChannelFinished():
                self.channel(event.cube, event.n_done, event.n_channels)
            case runner.MapFinished() | runner.MapFailed():
                self.n_done = event.progress.n_done + event.progress.n_failed
                if (one := self.maps.pop(event.result.name, None)) is not None:
                    self.bar.remove_task(one.task)
        self.count()

    def start(self, name: str) -> None:
        """Begin the line of a map."""
        if (again := self.maps.pop(name, None)) is not None:
            self.bar.remove_task(again.task)
        text = printable(name)
        text = text if len(text) <= _LONGEST_NAME else f"{text[: _LONGEST_NAME - 1]}…"
        task = self.bar.add_task(text, total=1.0, doing="starting", ends=None)
        self.maps[name] = _MapShown(task, time.monotonic())

    def advance(self, name: str, stage: str, done: int, total: int) -> None:
        """Show the stage of a map."""
        if (one := self.maps.get(name)) is not None:
            one.clock.told(stage, done, total)
            self.show(one, f"{stage} {done} of {total}" if total else stage)

    def channel(self, name: str, n_done: int, n_channels: int) -> None:
        """Show how many channels of a cube are done."""
        if (one := self.maps.get(name)) is not None:
            one.clock.share = n_done / n_channels
            self.show(one, f"channel {n_done} of {n_channels}")

    def show(self, one: _MapShown, doing: str) -> None:
        """Draw the line of a map."""
        share = one.clock.share
        self.bar.update(one.task, completed=share, doing=doing, ends=_end(one.began, share))

    def count(self) -> None:
        """Draw the line of the run."""
        if self.total is None:
            return
        here = self.n_done - self.n_resumed + sum(one.clock.share for one in self.maps.values())
        share = here / max(self.n_maps - self.n_resumed, 1)
        rate = rate_of_maps(here / max(time.monotonic() - self.began, 1e-9))
        self.bar.update(
            self.total,
            completed=self.n_resumed + here,
            doing=f"{self.n_done} of {self.n_maps}, {rate}" if rate else f"{self.n_done} of {self.n_maps}",
            ends=_end(self.began, share) if self.n_done > self.n_resumed else None,
        )


def _end(began: float, share: float) -> float | None:
    """Return when something ends that has come to this share; None if it is too early to tell."""
    now = time.monotonic()
    return now + seconds_left(now - began, share=share) if share >= _LEAST_SHARE else None


def clock_text(seconds: float) -> str:
    """Return a time as `8 s`, `1:05` or `2:03:40`."""
    whole = max(round(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes}:{rest:02d}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def rate_of_maps(per_second: float | None) -> str:
    """Return the rate of maps as text, in the unit in which it is above one."""
    if not per_second:
        return ""
    number, unit = next(
        ((per_second * n, unit) for unit, n in (("s", 1), ("min", 60)) if per_second * n >= 1.0),
        (per_second * 3600, "h"),
    )
    return f"{number:.3g} maps/{unit}"
