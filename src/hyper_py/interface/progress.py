"""A line that says how far an extraction is, for notebooks and terminals."""

import sys
import time
from typing import TextIO

from hyper_py.diagnostics import ConfigurationError
from hyper_py.stages import Clock, OnStage, seconds_left

_SECONDS = 0.2
"""Between two changes of the line: notebooks are slow to draw."""


class ProgressLine:
    """Writes stage, share and seconds left over one line; a listener of `hyper_py.extract_sources`.

    Parameters
    ----------
    stream : text stream, optional
        Standard error if not given.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._clock, self._start, self._last = Clock(), time.perf_counter(), -1.0
        self._width = 0

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Take note of a stage."""
        self._clock.told(stage, done, total)
        elapsed = time.perf_counter() - self._start
        if elapsed - self._last < _SECONDS:
            return
        self._last = elapsed
        left = seconds_left(elapsed, share=self._clock.share)
        count = f" {done}/{total}" if total else ""
        rest = f", {left:.0f} s left" if left == left and elapsed > 1.0 else ""
        self._write(f"{self._clock.share:4.0%}  {stage}{count}{rest}")

    def finish(self, text: str) -> None:
        """Write what came out, and end the line."""
        self._write(text)
        self._stream.write("\n")

    def _write(self, text: str) -> None:
        self._stream.write(f"\r{text.ljust(self._width)}")
        self._stream.flush()
        self._width = len(text)


def as_listener(progress: OnStage | bool | None) -> OnStage | None:
    """Return whom to tell of stages: a function of the user's, a `ProgressLine` for True, or nobody.

    Raises
    ------
    ConfigurationError
        For anything else.
    """
    if progress is True:
        return ProgressLine()
    if progress not in (None, False) and not callable(progress):
        raise ConfigurationError(f"progress={progress!r}: give True, or a function of (stage, done, total)")
    return None if progress is False else progress
