"""The stages of an extraction, as they are told to whoever listens.

The listener belongs to the call, not to each function on the way down: steps say `tell(...)` or count with
`counter(...)`, and without a listener nothing is computed for it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias

OnStage: TypeAlias = Callable[[str, int, int], None]
"""Called with the stage, how many of its parts are done, and how many there are; both 0 if it has none."""

SHARES = {
    "reading": 0.02,
    "noise": 0.01,
    "detection": 0.30,
    "wide sources": 0.14,
    "first fits": 0.17,
    "fits": 0.13,
    "deblending": 0.07,
    "apertures": 0.06,
    "products": 0.10,
}
"""The stages in their order, with typical shares of the time of a map. Some maps have no fits."""

_listener: ContextVar[OnStage | None] = ContextVar("listener", default=None)


@contextmanager
def told_to(listener: OnStage | None) -> Iterator[None]:
    """Have `listener` told of all stages inside this context; with None whoever is told already stays it."""
    if listener is None:
        yield
        return
    before = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(before)


@contextmanager
def untold() -> Iterator[None]:
    """Have nobody told inside this context."""
    before = _listener.set(None)
    try:
        yield
    finally:
        _listener.reset(before)


def tell(stage: str, done: int = 0, total: int = 0) -> None:
    """Tell the listener, if there is one."""
    listener = _listener.get()
    if listener is not None:
        listener(stage, done, total)


def counter(stage: str, total: int) -> Callable[[int], None]:
    """Return a function that tells how many parts of a stage are done, given how many more are.

    Parameters
    ----------
    stage : str
    total : int
        Number of parts; that none is done yet is told here.
    """
    listener, done = _listener.get(), 0
    if listener is None:
        return count_for_nobody

    def advance(n: int) -> None:
        nonlocal done
        done += n
        listener(stage, done, total)

    advance(0)
    return advance


def count_for_nobody(_: int) -> None:
    """Count for nobody."""


class Clock:
    """How much of a map is done, from the stages told of it.

    Attributes
    ----------
    share : float
        0 to 1; it never falls.
    """

    def __init__(self) -> None:
        self.share = 0.0

    def told(self, stage: str, done: int, total: int) -> None:
        """Take note of a stage, as a listener does; one that is not known says nothing."""
        if stage in SHARES:
            names = list(SHARES)
            before = sum(SHARES[name] for name in names[: names.index(stage)])
            here = done / total if total else 0.0
            self.share = max(self.share, before + here * SHARES[stage])


def seconds_left(elapsed: float, *, share: float) -> float:
    """Return what the rest takes if it goes on as this share of it did; NaN before anything is done."""
    return elapsed * (1.0 - share) / share if share else float("nan")
