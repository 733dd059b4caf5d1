"""Many maps: inputs, executors, progress, resume and the manifest of a run.

Importing this module costs nothing heavy: NumPy and astropy come with the first map.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias


@dataclass(frozen=True, kw_only=True)
class MapTask:
    """One map to do; small and picklable, so that any executor can carry it.

    Attributes
    ----------
    index : int
        Place in the order of the inputs, from 0.
    name : str
        MAP in the names of outputs.
    path : Path
        The input file.
    config : Config
        The full configuration of the run.
    fingerprint : str
        Hash of everything in the configuration that can change results.
    """

    index: int
    name: str
    path: Path
    config: Any
    fingerprint: str = ""


@dataclass(frozen=True, kw_only=True)
class MapResult:
    """What became of one map.

    Attributes
    ----------
    status : str
        `done`, `failed`, `resumed` (complete from an earlier run) or `pending` (the run was interrupted before).
    reason : str
        One line that says why the map failed; empty otherwise.
    warnings : tuple of str
        One line each.
    rms, unit : float, str
        Global noise of the map and its unit.
    seconds : float
        Wall-clock time spent on the map.
    checksum : str
        SHA-256 of the input file.
    outputs : tuple of str
        Files written, relative to the output directory.
    attempts : int
        2 if a worker died over the map.
    """

    index: int
    name: str
    path: Path
    status: str
    reason: str = ""
    warnings: tuple[str, ...] = ()
    n_sources: int = 0
    rms: float = float("nan")
    unit: str = ""
    pixel_scale: float = 1.0
    seconds: float = 0.0
    checksum: str = ""
    outputs: tuple[str, ...] = ()
    attempts: int = 1

    @property
    def ok(self) -> bool:
        """True if the map's outputs are complete."""
        return self.status in ("done", "resumed")


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is.

    `rate` is in maps per second of this run, NaN before the first is done; so is `seconds_left`.
    """

    n_done: int
    n_failed: int
    n_total: int
    rate: float
    seconds_left: float


@dataclass(frozen=True, kw_only=True)
class RunStarted:
    """The inputs are known and the outputs' directory is ready; `n_resumed` maps need no work."""

    n_maps: int
    n_resumed: int
    executor: str
    n_workers: int
    root: Path


@dataclass(frozen=True, kw_only=True)
class MapStarted:
    """A map was given to a worker."""

    index: int
    name: str
    attempt: int = 1


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
    """What became of a run.

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
    """

    maps: tuple[MapResult, ...]
    root: Path
    interrupted: bool
    seconds: float

    @property
    def failures(self) -> tuple[MapResult, ...]:
        """The maps that failed."""
        return tuple(result for result in self.maps if result.status == "failed")

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


Event: TypeAlias = RunStarted | MapStarted | MapFinished | MapFailed | RunFinished


def run(
    config: Any,
    inputs: Sequence[str | Path] | None = None,
    *,
    on_event: Callable[[Event], None] | None = None,
    resume: bool = False,
) -> RunResult:
    """Extract sources from many maps and write everything below `paths.output.dir_root`.

    Parameters
    ----------
    config : Config
        The configuration.
    inputs : sequence of str or Path, optional
        FITS files, directories, globs, text files with one map a line (`.txt`, `.lis`, `.list`, or any
        file as `@FILE`), tables with a column of names (`.csv`, `.ecsv`, `.vot`; `TABLE#COLUMN` names the column).
        None: the list file `files.file_map_name` below `paths.input.dir_maps`.
    on_event : callable, optional
        Called in this process with each event, in order.
    resume : bool
        Skip maps whose outputs are complete: same input by checksum, same configuration, all files there.

    Returns
    -------
    RunResult

    Raises
    ------
    ConfigurationError
        The inputs do not say what to do, or two have one name; nothing has been written then.
    """
    raise NotImplementedError
