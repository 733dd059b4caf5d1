"""Events of a run, for a progress bar or a log, and its result."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from hyper_py import __version__
from hyper_py.running.tasks import MapResult


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Progress of a run.

    `rate` is in maps per second of this run, NaN before the first is done; so is `seconds_left`.
    """

    n_done: int
    n_failed: int
    n_total: int
    rate: float
    seconds_left: float


@dataclass(frozen=True, kw_only=True)
class RunStarted:
    """The inputs are known and the outputs' directory is ready; `n_resumed` maps need no work.

    `redone` has the names of maps that an earlier run completed and that are done again, and why; `killed`
    says when an earlier run began that was killed, empty if none was.
    """

    n_maps: int
    n_resumed: int
    executor: str
    n_workers: int
    root: Path
    redone: tuple[tuple[str, str], ...] = ()
    killed: str = ""


@dataclass(frozen=True, kw_only=True)
class MapStarted:
    """A map was given to a worker."""

    index: int
    name: str
    attempt: int = 1


@dataclass(frozen=True, kw_only=True)
class MapAdvanced:
    """A map has come to a stage of its extraction, or further in it, see `hyper_py.stages`."""

    index: int
    name: str
    stage: str
    done: int
    total: int


@dataclass(frozen=True, kw_only=True)
class ChannelFinished:
    """A channel of a cube was done, or failed; the cube's own event follows when all are."""

    cube: str
    result: MapResult
    n_done: int
    n_channels: int


@dataclass(frozen=True, kw_only=True)
class MapFinished:
    """A map's outputs are complete."""

    result: MapResult
    progress: Progress


@dataclass(frozen=True, kw_only=True)
class MapFailed:
    """A map failed; `result.reason` says why in one line."""

    result: MapResult
    progress: Progress


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """Result of a run.

    Attributes
    ----------
    maps : tuple of MapResult
        In the order of the inputs.
    root : Path
        The output directory.
    interrupted : bool
        True after Ctrl-C; `resume=True` goes on from there.
    seconds : float
        Wall-clock time of this run.
    removed : tuple of str
        Merged catalogues, and pages of a report, of an earlier run that were removed and not written anew.
    """

    maps: tuple[MapResult, ...]
    root: Path
    interrupted: bool
    seconds: float
    removed: tuple[str, ...] = ()

    @property
    def failures(self) -> tuple[MapResult, ...]:
        """The maps that failed."""
        return tuple(result for result in self.maps if result.status == "failed")

    @property
    def all_removed(self) -> tuple[str, ...]:
        """All outputs of an earlier run that were removed and not written anew."""
        return (*self.removed, *(name for one in self.maps for name in one.removed))

    @property
    def n_sources(self) -> int:
        """Sources in all maps."""
        return sum(result.n_sources for result in self.maps)

    @property
    def exit_code(self) -> int:
        """0 if all maps are done, 1 if some map failed or is missing."""
        return 0 if all(result.ok for result in self.maps) else 1


@dataclass(frozen=True, kw_only=True)
class RunFinished:
    """The last event of every run, interrupted ones too."""

    result: RunResult


Event: TypeAlias = (
    RunStarted | MapStarted | MapAdvanced | ChannelFinished | MapFinished | MapFailed | RunFinished
)
OnEvent: TypeAlias = Callable[[Event], None]


def describe_event(event: Event) -> str:
    """Return an event as a line for the log; empty for events that are not logged."""
    match event:
        case RunStarted():
            resumed = f", {event.n_resumed} of them complete from an earlier run" if event.n_resumed else ""
            again = "".join(f"; {line}" for line in started_lines(event))
            return (
                f"Hyper-Py {__version__}: {event.n_maps} maps{resumed}; {event.executor} x {event.n_workers}"
                f"{again}"
            )
        case MapStarted():
            again = "" if event.attempt == 1 else " once more: its worker died"
            return f"{event.name}: started{again}"
        case MapAdvanced():
            return ""
        case ChannelFinished(result=one):
            said = f"{one.n_sources} sources" if one.ok else f"failed: {one.reason}"
            return f"{one.name}: {said}, {one.seconds:.2f} s ({event.n_done} of {event.n_channels} channels)"
        case MapFinished(result=one, progress=progress):
            warned = "".join(f"; warning: {text}" for text in one.warnings)
            return (
                f"{one.name}: {one.n_sources} sources, rms {one.rms:.4g} {one.unit}, {one.seconds:.2f} s "
                f"({_counted(progress)}){warned}"
            )
        case MapFailed(result=one, progress=progress):
            return f"failed: {named_reason(one)} ({_counted(progress)})"
        case RunFinished(result=result):
            return _summed_up(result)


def started_lines(event: RunStarted) -> list[str]:
    """Return what there is to say of earlier runs: that one was killed, and which maps are done again."""
    killed = f"the run begun at {event.killed} was killed, or its machine stopped, before it could end"
    return [*([killed] if event.killed else []), *redone_lines(event)]


def redone_lines(event: RunStarted) -> list[str]:
    """Return one line for each reason why maps that were complete are done again."""
    counts = Counter(reason for _, reason in event.redone)
    first: dict[str, str] = {}
    for name, reason in event.redone:
        first.setdefault(reason, name)
    return [
        f"{first[reason]}{f' and {n - 1} other maps' if n > 1 else ''}: done again: {reason}"
        for reason, n in counts.items()
    ]


def removed_line(result: RunResult) -> str:
    """Return a line that names what was removed of an earlier run; empty if nothing was."""
    names = result.all_removed
    if not names:
        return ""
    shown, more = ", ".join(names[:3]), f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"removed outputs of an earlier run that this one does not write: {shown}{more}"


def named_reason(result: MapResult) -> str:
    """Return why a map failed, with its name once."""
    return result.reason if result.reason.startswith(result.name) else f"{result.name}: {result.reason}"


def _counted(progress: Progress) -> str:
    done = progress.n_done + progress.n_failed
    return f"{done} of {progress.n_total}, {progress.rate:.3g} maps/s, {progress.seconds_left:.0f} s left"


def _summed_up(result: RunResult) -> str:
    n_ok = sum(one.ok for one in result.maps)
    counted = (
        f"{n_ok} of {len(result.maps)} maps complete, {len(result.failures)} failed, {result.seconds:.1f} s"
    )
    if result.interrupted:
        return f"interrupted: {counted}; the same command with --resume goes on from here"
    removed = removed_line(result)
    return f"finished: {counted}, {result.n_sources} sources{f'; {removed}' if removed else ''}"
