"""A runner that only takes notes of what the command line asks for, and gives the result it is told."""

import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import hyper_py
import hyper_py.running
from hyper_py.config import Config


@dataclass(frozen=True)
class Event:
    name: str = ""
    n_maps: int = 0
    n_resumed: int = 0
    redone: tuple[Any, ...] = ()
    killed: str = ""
    result: Any = None
    progress: Any = field(default_factory=lambda: types.SimpleNamespace(n_done=1, n_failed=0))


@dataclass(frozen=True)
class MapResult:
    name: str
    status: str = "done"
    reason: str = ""
    warnings: tuple[str, ...] = ()
    n_sources: int = 3
    rms: float = 0.01234
    unit: str = "Jy/pixel"
    seconds: float = 1.0

    @property
    def ok(self) -> bool:
        return self.status == "done"


@dataclass(frozen=True)
class RunResult:
    maps: tuple[MapResult, ...]
    root: Path = Path("out")
    interrupted: bool = False
    seconds: float = 2.0
    all_removed: tuple[str, ...] = ()

    @property
    def failures(self) -> tuple[MapResult, ...]:
        return tuple(result for result in self.maps if not result.ok)

    @property
    def n_sources(self) -> int:
        return sum(result.n_sources for result in self.maps)

    @property
    def exit_code(self) -> int:
        return 1 if self.failures else 0


@dataclass
class Notes:
    result: RunResult = field(default_factory=lambda: RunResult((MapResult("one"),)))
    error: BaseException | None = None
    config: Config = field(default_factory=Config)
    inputs: Any = None
    resume: bool = False


def install(notes: Notes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the program run nothing but these notes."""
    kinds = ("RunStarted", "MapStarted", "ChannelFinished", "MapFinished", "MapFailed", "RunFinished")
    events = {kind: type(kind, (Event,), {}) for kind in kinds}

    def run(config: Config, inputs: Any, *, on_event: Callable[[Any], None], resume: bool) -> RunResult:
        notes.config, notes.inputs, notes.resume = config, inputs, resume
        if notes.error:
            raise notes.error
        on_event(events["RunStarted"](n_maps=len(notes.result.maps), redone=()))
        for one in notes.result.maps:
            on_event(events["MapStarted"](name=one.name))
            on_event(events["MapFinished" if one.ok else "MapFailed"](result=one))
        on_event(events["RunFinished"](result=notes.result))
        return notes.result

    module = types.ModuleType("hyper_py.running.runner")
    vars(module).update(events, run=run)
    monkeypatch.setitem(sys.modules, "hyper_py.running.runner", module)
    monkeypatch.setattr(hyper_py.running, "runner", module, raising=False)
