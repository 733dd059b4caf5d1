"""Many maps: which, by what executor, with what progress; the log, the merged catalogue and the manifest.

Importing this module costs nothing heavy: NumPy and astropy come with the first map.
"""

import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyper_py.diagnostics import ConfigurationError, HyperPyWarning
from hyper_py.reading.recognise import is_cube
from hyper_py.running.cube_task import process_cube
from hyper_py.running.dask_cluster import execute_dask
from hyper_py.running.dask_tiles import tiles_on_dask
from hyper_py.running.dependencies import dependencies
from hyper_py.running.events import (
    ChannelFinished,
    Event,
    MapAdvanced,
    MapFailed,
    MapFinished,
    MapStarted,
    OnEvent,
    Progress,
    RunFinished,
    RunResult,
    RunStarted,
    describe_event,
)
from hyper_py.running.executors import (
    OnStart,
    OnTold,
    Outcome,
    Outcomes,
    choose_executor,
    execute_serial,
    workers_of_a_map,
)
from hyper_py.running.inputs import MapInput, resolve_inputs
from hyper_py.running.manifest import Ending, Manifest, RunLog, ended_by, open_log, stopped_like_ctrl_c
from hyper_py.running.map_outputs import restored
from hyper_py.running.map_task import load_libraries, measure_map, process_map
from hyper_py.running.process_settings import pin_own_blas
from hyper_py.running.resumable import forget_journal
from hyper_py.running.tasks import MapResult, MapTask, Measure
from hyper_py.running.worker_processes import execute_processes

if TYPE_CHECKING:
    from hyper_py.config import Config
    from hyper_py.writing.layout import Layout

__all__ = [
    "ChannelFinished",
    "Event",
    "MapAdvanced",
    "MapFailed",
    "MapFinished",
    "MapResult",
    "MapStarted",
    "MapTask",
    "Progress",
    "RunFinished",
    "RunResult",
    "RunStarted",
    "run",
]


def run(
    config: "Config",
    inputs: Sequence[str | Path] | None = None,
    *,
    on_event: OnEvent | None = None,
    resume: bool = False,
    measure: Measure = measure_map,
) -> RunResult:
    """Extract sources from many maps and write everything below `paths.output.dir_root`.

    Parameters
    ----------
    config : Config
        The configuration.
    inputs : sequence of str or Path, optional
        FITS files, directories, globs, text files with one map a line (`.txt`, `.lis`, `.list`, or any
        file as `@FILE`), tables with a column of names (`.csv`, `.ecsv`, `.vot`; `TABLE#COLUMN` says which).
        None: the list file `files.file_map_name` below `paths.input.dir_maps`.
    on_event : callable, optional
        Called in this process with each event, in order.
    resume : bool
        Skip maps whose outputs are complete: same input by checksum, same configuration, all files there.
    measure : callable
        Gives the extraction of a `MapTask`; importable by name in a worker process.

    Returns
    -------
    RunResult
        After Ctrl-C too: then with `interrupted`, and without a merged catalogue.

    Raises
    ------
    ConfigurationError
        The inputs do not say what to do, two have one name, or the output directory cannot be used;
        no map has been touched then.
    """
    from hyper_py.running.merging import given_catalogue

    tasks = tasks_of(config, inputs)
    given_catalogue(config)
    function = partial(process_map, measure=measure)
    return run_tasks(tasks, config, function=function, on_event=on_event, resume=resume)


def run_tasks(
    tasks: Sequence[MapTask],
    config: "Config",
    *,
    function: Callable[[Any], MapResult],
    on_event: OnEvent | None = None,
    resume: bool = False,
) -> RunResult:
    """Do tasks and write everything below `paths.output.dir_root`.

    Parameters
    ----------
    tasks : sequence of MapTask
    config : Config
    function : callable
        Does one task; importable by name in a worker process.
    on_event, resume
        As in `run`.

    Raises
    ------
    ConfigurationError
        The output directory cannot be used; no task has been begun then.
    """
    pin_own_blas()
    load_libraries()
    from hyper_py.writing.catalogues import remove_merged
    from hyper_py.writing.layout import Layout
    from hyper_py.writing.staging import held, remove_pages

    layout = Layout.from_config(config)
    _make_directories(layout)
    with held(layout):
        if not resume:
            for task in tasks:
                forget_journal(layout, task.name)
        removed = remove_merged(layout) + (() if config.outputs.report else remove_pages(layout.root))
        with open_log(layout.root / layout.logs / layout.log_name, append=resume) as log:
            work = _Run(config, layout, tasks, function, log, on_event)
            return work.execute(resume=resume, removed=removed)


def tasks_of(config: "Config", inputs: Sequence[str | Path] | None = None) -> list[MapTask]:
    """Return what `run` would do with the same arguments, one task a map; nothing is written.

    Raises
    ------
    ConfigurationError
        The inputs do not say what to do, two have one name, or a file that the configuration names is wrong.
    """
    maps = resolve_inputs(
        inputs, list_file=config.below_maps(config.files.file_map_name), maps_dir=config.below_maps()
    )
    unknown = sorted(config.maps.keys() - {one.name for one in maps})
    if unknown and inputs is None:  # a file for five bands serves for one of them too
        raise ConfigurationError(
            f"maps.{unknown[0]}: there is no such map; the maps are {', '.join(one.name for one in maps[:9])}"
        )
    return _tasks_of(maps, config)


def _tasks_of(maps: Sequence[MapInput], config: "Config") -> list[MapTask]:
    """Return one task for each map, when all files that the configuration names have been looked at."""
    from hyper_py.running.forced import check_files, fixed_sources

    tasks = []
    known: dict[Path, str] = {}
    looked_at: dict[str | None, tuple[Config, dict[str, str]]] = {}
    for index, one in enumerate(maps):
        # Maps without keys of their own share a configuration: that is looked at once.
        key = one.name if one.name in config.maps else None
        if key not in looked_at:
            own = config.for_map(one.name)
            fixed_sources(own)
            check_files(own)
            looked_at[key] = own, dependencies(own, known=known)
        own, depends = looked_at[key]
        place = one.path.absolute()
        tasks.append(MapTask(index=index, name=one.name, path=place, config=own, depends=depends))
    return tasks


def _make_directories(layout: "Layout") -> None:
    for directory in layout.directories():
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"paths.output.dir_root: cannot write to {directory}: {error.strerror}"
            ) from None


class _Run:
    """The state of one run: results so far, clock and listeners."""

    def __init__(
        self,
        config: "Config",
        layout: "Layout",
        tasks: Sequence[MapTask],
        function: Callable[[Any], MapResult],
        log: RunLog,
        on_event: OnEvent | None,
    ) -> None:
        from hyper_py.writing.manifests import killed_at

        self.config, self.layout, self.tasks = config, layout, tasks
        self.function = function
        self.log, self.on_event = log, on_event
        self.manifest = Manifest(layout, config)
        self.results: dict[int, MapResult] = {}
        self.killed = killed_at(layout.root)
        self.redone: list[tuple[str, str]] = []
        self.n_resumed = 0
        self.said: tuple[tuple[str, ...], tuple[str, ...]] = (), ()
        self.clock = time.perf_counter()

    def execute(self, *, resume: bool, removed: tuple[str, ...] = ()) -> RunResult:
        """Do what is to be done; in any case the manifest says in the end how it ended.

        Parameters
        ----------
        resume : bool
        removed : tuple of str
            Merged catalogues, and pages of a report, of an earlier run that were removed.
        """
        from hyper_py.writing.staging import remove_stale

        merged: tuple[str, ...] = ()
        ending = None
        try:
            with stopped_like_ctrl_c():
                self.manifest.write(Ending(status="running"), self.maps())
                self.do_all(resume=resume)
                merged = self.merge()
        except KeyboardInterrupt as stop:
            ending = ended_by(stop)
        except Exception as error:
            self.fail(error)
            raise
        # What workers that died, or were stopped, had begun to write.
        remove_stale(self.layout.staging_directories())
        result = RunResult(
            maps=self.maps(),
            root=self.layout.root,
            interrupted=ending is not None,
            seconds=time.perf_counter() - self.clock,
            removed=tuple(name for name in removed if name not in merged),
        )
        if ending is None:
            notes, remarks = self.said
            status = "failures" if result.failures else "complete"
            ending = Ending(status=status, merged=merged, notes=notes, warnings=remarks)
        try:
            self.manifest.write(replace(ending, seconds=result.seconds), result.maps)
        except OSError as error:
            self.fail(error)
            raise
        if self.config.outputs.report and any(one.ok for one in result.maps):
            self.report()
        self.emit(RunFinished(result=result))
        return result

    def maps(self) -> tuple[MapResult, ...]:
        """Return the results of all maps so far, in the order of the inputs."""
        return tuple(self.results.get(task.index, _pending(task)) for task in self.tasks)

    def fail(self, error: Exception) -> None:
        """Record that the run itself failed, not only maps; what is complete stays complete."""
        from hyper_py.writing.staging import remove_stale

        ending, n_ok = ended_by(error), sum(one.ok for one in self.results.values())
        reason = f"{ending.reason}; {n_ok} of {len(self.tasks)} maps are complete"
        ending = replace(ending, reason=reason, seconds=time.perf_counter() - self.clock)
        remove_stale(self.layout.staging_directories())
        self.log.add(f"the run failed: {reason}")
        with suppress(OSError):
            self.manifest.write(ending, self.maps())

    def do_all(self, *, resume: bool) -> None:
        """Do all maps that are not complete from an earlier run."""
        if resume:
            self.restore()
        todo = [task for task in self.tasks if task.index not in self.results]
        name, n_workers = choose_executor(self.config.control, len(todo))
        self.emit(
            RunStarted(
                n_maps=len(self.tasks),
                n_resumed=self.n_resumed,
                redone=tuple(self.redone),
                killed=self.killed,
                executor=name,
                n_workers=n_workers,
                root=self.layout.root,
            )
        )
        datacube = self.config.control.datacube
        cubes: list[MapTask] = []
        maps: list[MapTask] = []
        for task in todo:
            whole = not task.may_be_cube or not (datacube or is_cube(task.path))
            (maps if whole else cubes).append(task)
        own = workers_of_a_map(self.config.control, len(maps))
        if name == "dask":
            maps = self.do_tiles(maps)
        maps = [replace(task, n_workers=own) for task in maps]
        self.do_maps(name, n_workers, maps)
        for task in cubes:
            self.take(task, Outcome(0, self.do_cube(task, resume=resume), "", 1))

    def do_maps(self, name: str, n_workers: int, maps: list[MapTask]) -> None:
        """Do maps by an executor."""
        with closing(self.outcomes(name, n_workers, maps)) as outcomes:
            for outcome in outcomes:
                self.take(maps[outcome.index], outcome)

    def do_tiles(self, maps: list[MapTask]) -> list[MapTask]:
        """Do large maps here, one after another, their tiles on dask; return the others."""
        from hyper_py.writing.layout import STATE_DIR

        with tiles_on_dask(maps, self.config.control, directory=self.layout.root / STATE_DIR) as large:
            self.do_maps("serial", 1, large)
        return [task for task in maps if task not in large]

    def restore(self) -> None:
        """Take over maps that are complete."""
        for task in self.tasks:
            result = restored(task, self.layout)
            if isinstance(result, MapResult):
                self.results[task.index] = result
                forget_journal(self.layout, task.name)
            elif result:
                self.redone.append((task.name, result))
        self.n_resumed = len(self.results)

    def outcomes(self, name: str, n_workers: int, todo: list[MapTask]) -> Outcomes:
        """Start the executor on maps."""

        def on_start(index: int, attempt: int) -> None:
            task = todo[index]
            self.emit(MapStarted(index=task.index, name=task.name, attempt=attempt))

        def on_told(index: int, stage: str, done: int, total: int) -> None:
            task = todo[index]
            self.emit(MapAdvanced(index=task.index, name=task.name, stage=stage, done=done, total=total))

        told = None if self.on_event is None else on_told
        return self.start(name, n_workers, self.function, todo, on_start, told)

    def do_cube(self, task: MapTask, *, resume: bool) -> MapResult:
        """Do a cube, its channels by the executor."""
        self.emit(MapStarted(index=task.index, name=task.name))

        def execute(function: Callable[[Any], Any], channels: list[Any], on_start: OnStart) -> Outcomes:
            name, n_workers = choose_executor(self.config.control, len(channels))
            return self.start(name, n_workers, function, channels, on_start)

        def on_channel(result: MapResult, n_done: int, n_channels: int) -> None:
            self.emit(ChannelFinished(cube=task.name, result=result, n_done=n_done, n_channels=n_channels))

        return process_cube(task, execute=execute, on_channel=on_channel, resume=resume)

    def start(
        self,
        name: str,
        n_workers: int,
        function: Callable[[Any], Any],
        todo: list[Any],
        on_start: OnStart,
        on_told: OnTold | None = None,
    ) -> Outcomes:
        """Start an executor; workers of dask do not tell of their stages."""
        if name == "serial":
            return execute_serial(function, todo, on_start=on_start, on_told=on_told)
        if name == "processes":
            return execute_processes(function, todo, n_workers=n_workers, on_start=on_start, on_told=on_told)
        scheduler = self.config.control.dask_scheduler
        return execute_dask(function, todo, n_workers=n_workers, scheduler=scheduler, on_start=on_start)

    def take(self, task: MapTask, outcome: Outcome) -> None:
        """Record what became of a map, and tell."""
        from hyper_py.writing.state import forget_map

        if outcome.error:
            forget_map(self.layout, task.name)
            result = MapResult(
                index=task.index, name=task.name, path=task.path, status="failed", reason=outcome.error
            )
        else:
            result = outcome.value
        result = replace(result, attempts=outcome.attempts)
        self.results[task.index] = result
        event = MapFinished if result.ok else MapFailed
        self.emit(event(result=result, progress=self.progress()))

    def progress(self) -> Progress:
        """Count and extrapolate."""
        n_here = len(self.results) - self.n_resumed
        elapsed = time.perf_counter() - self.clock
        n_failed = sum(not result.ok for result in self.results.values())
        rate = n_here / elapsed if n_here else float("nan")
        return Progress(
            n_done=len(self.results) - n_failed,
            n_failed=n_failed,
            n_total=len(self.tasks),
            rate=rate,
            seconds_left=(len(self.tasks) - len(self.results)) / rate,
        )

    def merge(self) -> tuple[str, ...]:
        """Write the catalogue of all maps, in the order of the inputs, and the tables of overlaps."""
        from hyper_py.running.merging import merged_tables

        good = [task.name for task in self.tasks if self.results[task.index].ok]
        merged, notes, remarks = merged_tables(self.layout, self.config, good)
        self.said = notes, remarks
        for text in notes:
            self.log.add(text)
        for text in remarks:
            warnings.warn(text, HyperPyWarning, stacklevel=2)
            self.log.add(f"warning: {text}")
        return merged

    def report(self) -> None:
        """Write the report; a run is no less complete without it."""
        from hyper_py.reporting.report import write_report

        try:
            write_report(self.layout.root)
        except Exception as error:
            reason = ended_by(error).reason
            warnings.warn(f"no report: {reason}", HyperPyWarning, stacklevel=2)
            self.log.add(f"no report: {reason}")

    def emit(self, event: Event) -> None:
        """Write an event to the log, then pass it on."""
        text = describe_event(event)
        if text:
            self.log.add(text)
        if self.on_event is not None:
            self.on_event(event)


def _pending(task: MapTask) -> MapResult:
    return MapResult(index=task.index, name=task.name, path=task.path, status="pending")
