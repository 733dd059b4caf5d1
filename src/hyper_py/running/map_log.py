"""The log of one map, its warnings, and the line that says why it failed."""

import traceback
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyper_py.diagnostics import HyperPyError, HyperPyWarning
from hyper_py.names import printable, printable_lines
from hyper_py.running.executors import one_line

if TYPE_CHECKING:
    pass


@dataclass
class MapLog:
    """Lines of a map's own log, with the time of each."""

    lines: list[str] = field(default_factory=list)

    def add(self, text: str) -> None:
        """Add a line."""
        self.lines.append(f"{datetime.now():%Y-%m-%d %H:%M:%S} {printable(text)}")

    def text(self) -> str:
        """Return all lines."""
        return printable_lines("\n".join(self.lines)) + "\n"


def explain(error: Exception) -> str:
    """Return why a map failed, in one line."""
    if isinstance(error, HyperPyError):
        return one_line(error)
    if isinstance(error, MemoryError):
        return "out of memory"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(place.filename).name}, line {place.lineno}"
    return f"unexpected {one_line(error)} ({where}); the map's log has the traceback"


def _one_each(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))


def user_warnings(caught: Any) -> tuple[str, ...]:
    """Return the warnings for users, each once."""
    from astropy.utils.exceptions import AstropyWarning

    kinds = (HyperPyWarning, AstropyWarning)
    return _one_each(" ".join(str(one.message).split()) for one in caught if issubclass(one.category, kinds))


def log_warnings(log: MapLog, caught: Any) -> None:
    """Write all warnings to a log, each once."""
    for text in _one_each(f"{one.category.__name__}: {' '.join(str(one.message).split())}" for one in caught):
        log.add(f"warning: {text}")
