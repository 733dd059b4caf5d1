"""How a run went and ended: the manifest `run.json`, the summary table and the log of the run.

The manifest is true in the end whatever ends the run but SIGKILL and the machine: it is written when the run
begins, and again when it is complete, interrupted or failed, by whatever error.
"""

import csv
import io
import platform
import signal
import stat
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from hyper_py import __version__
from hyper_py.diagnostics import HyperPyError
from hyper_py.names import printable
from hyper_py.running.tasks import MapResult

if TYPE_CHECKING:
    from hyper_py.config import Config
    from hyper_py.writing.layout import Layout

SUMMARY = "summary.csv"
_PACKAGES = ("numpy", "scipy", "astropy", "regions", "distributed", "pyarrow")
_STOPPED_BY = ("SIGTERM", "SIGHUP")


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a run ended.

    Attributes
    ----------
    status : str
        `running`, `complete`, `failures` (of maps), `interrupted` or `failed` (the run itself).
    reason : str
        One line for the last two.
    seconds : float or None
    merged : tuple of str
        Merged catalogues.
    notes, warnings : tuple of str
        What overlapping maps say of each other, one line each.
    """

    status: str
    reason: str = ""
    seconds: float | None = None
    merged: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def ended_by(error: BaseException) -> Ending:
    """Return what an exception says about the end of a run."""
    if isinstance(error, KeyboardInterrupt):
        return Ending(status="interrupted", reason=f"stopped by {error.args[0] if error.args else 'Ctrl-C'}")
    text = " ".join(str(error).split())
    if isinstance(error, HyperPyError):
        return Ending(status="failed", reason=text)
    if isinstance(error, OSError) and error.strerror:
        return Ending(status="failed", reason=f"{error.filename or 'an output'}: {error.strerror}")
    return Ending(status="failed", reason=f"unexpected {type(error).__name__}: {text}")


@contextmanager
def stopped_like_ctrl_c() -> Iterator[None]:
    """Have SIGTERM and SIGHUP end a run as Ctrl-C does, where nobody else handles or ignores them."""
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for name in _STOPPED_BY:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                before[number] = signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, _: object) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)


class Manifest:
    """`run.json` and the summary of a run.

    Parameters
    ----------
    layout : Layout
    config : Config
    """

    def __init__(self, layout: "Layout", config: "Config") -> None:
        self.layout, self.config = layout, config
        self.started = datetime.now().astimezone()

    def write(self, ending: Ending, maps: Sequence[MapResult]) -> None:
        """Write the manifest, and the summary when the run is over.

        On a full disk the first one is overwritten in its place by a few lines: that needs no space.
        """
        from hyper_py.writing.layout import MANIFEST
        from hyper_py.writing.staging import write_text
        from hyper_py.writing.state import as_json

        over = ending.status != "running"
        facts: dict[str, Any] = {
            "status": ending.status,
            "reason": ending.reason,
            "started": self.started.isoformat(timespec="seconds"),
            "finished": datetime.now().astimezone().isoformat(timespec="seconds") if over else None,
            "seconds": ending.seconds,
            "maps": [],
        }
        whole = {
            **facts,
            "software": software_versions(),
            "configuration": self.config.to_mapping(),
            "merged": ending.merged,
            "notes": ending.notes,
            "warnings": ending.warnings,
            "maps": [asdict(one) for one in maps],
        }
        try:
            write_text(self.layout.root, MANIFEST, as_json(whole))
            if over:
                write_text(self.layout.root, f"{self.layout.logs}/{SUMMARY}", summary_table(maps))
        except OSError:
            if ending.status == "failed":  # as every other run does that cannot say how it ended
                _overwrite(self.layout.root / MANIFEST, as_json(facts))
            raise


def _overwrite(path: Path, text: str) -> None:
    """Write a text over the beginning of a longer file, and cut off the rest."""
    code = text.encode()
    with suppress(OSError):
        if path.is_symlink() or path.stat().st_size < len(code):
            return
        with path.open("r+b", buffering=0) as stream:
            stream.write(code)
            stream.truncate(len(code))


class RunLog:
    """The log of a run; a run is no less complete without it."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream

    def add(self, text: str) -> None:
        """Write a line, if there is space on the disk."""
        with suppress(OSError, ValueError):
            self.stream.write(f"{datetime.now():%Y-%m-%d %H:%M:%S} {printable(text)}\n")
            self.stream.flush()


@contextmanager
def open_log(path: Path, *, append: bool) -> Iterator[RunLog]:
    """Open the log of a run; a link or a pipe in its place is replaced."""
    with suppress(OSError):
        if not stat.S_ISREG(path.lstat().st_mode):
            path.unlink()
    stream = path.open("a" if append else "w", encoding="utf-8", errors="backslashreplace")
    try:
        yield RunLog(stream)
    finally:
        with suppress(OSError):
            stream.close()


@cache
def software_versions() -> dict[str, str]:
    """Return the versions of everything that can change a result."""
    versions = {"hyper-py": __version__, "python": platform.python_version(), "platform": platform.platform()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def summary_table(maps: Sequence[MapResult]) -> str:
    """Return one CSV line for each map: status, sources, rms, seconds."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["map", "status", "n_sources", "rms", "unit", "seconds", "attempts", "reason", "input"])
    for one in maps:
        numbers = (
            [one.n_sources, f"{one.rms:.6g}", one.unit, f"{one.seconds:.3f}"] if one.ok else ["", "", "", ""]
        )
        writer.writerow(
            [one.name, one.status, *numbers, one.attempts, printable(one.reason), printable(str(one.path))]
        )
    return buffer.getvalue()
