"""Executors of many independent tasks: their outcomes, and the executor that runs in this process.

`hyper_py.running.worker_processes` and `hyper_py.running.dask_cluster` have the others. All three take the
same arguments and yield an `Outcome` per task as it completes. None holds more tasks in flight than it has
workers (dask: twice as many). These modules import nothing heavy.
"""

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from hyper_py.diagnostics import HyperPyError
from hyper_py.stages import told_to

MAX_ATTEMPTS = 2
"""A task whose worker died is tried once more."""


@dataclass(frozen=True)
class Outcome:
    """Result of one task.

    Attributes
    ----------
    index : int
        Place of the task among those given.
    value : object
        What the function returned; None if there is an error.
    error : str
        One line; empty if the function returned.
    attempts : int
        2 if a worker died over the task.
    """

    index: int
    value: Any
    error: str
    attempts: int


@dataclass(frozen=True)
class Job:
    """A task that is given to a worker, with its place among the tasks and the number of the attempt."""

    index: int
    task: Any
    attempt: int = 1

    def again(self) -> "Job":
        """Return the next attempt."""
        return replace(self, attempt=self.attempt + 1)


Function = Callable[[Any], Any]
OnStart = Callable[[int, int], None]
OnTold = Callable[[int, str, int, int], None]
"""Called with the index of a task, and the stage of it, see `hyper_py.stages.OnStage`."""
Outcomes = Generator[Outcome, None, None]


def one_line(error: BaseException) -> str:
    """Return the message of an exception in one line, with its class unless it is a `HyperPyError`."""
    text = " ".join(str(error).split())
    if isinstance(error, HyperPyError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def attempt(function: Function, task: Any) -> tuple[Any, str]:
    """Return the result of a task, and its error in one line (empty if there is none)."""
    try:
        return function(task), ""
    except Exception as error:
        return None, one_line(error)


def execute_serial(
    function: Function, tasks: Iterable[Any], *, on_start: OnStart, on_told: OnTold | None = None
) -> Outcomes:
    """Do tasks one after another in this process.

    Parameters
    ----------
    function : callable
        Of one task. An exception becomes the `error` of its outcome.
    tasks : iterable
        Consumed one at a time.
    on_start : callable
        Called with the index and the number of the attempt before a task starts.
    on_told : callable, optional
        Called with the stages of the tasks.

    Yields
    ------
    Outcome
    """
    for index, task in enumerate(tasks):
        on_start(index, 1)
        with told_to(on_told and partial(on_told, index)):
            value, error = attempt(function, task)
        yield Outcome(index, value, error, 1)


def workers_of_a_map(control: Any, n_maps: int) -> int:
    """Return how many processes do parts of each map: more than one if there are more than maps."""
    if not control.parallel_maps or control.executor != "processes" or not n_maps:
        return 1
    return max(1, int(control.n_cores) // n_maps)


def choose_executor(control: Any, n_tasks: int) -> tuple[str, int]:
    """Return the executor and its number of workers; no processes where one would be enough."""
    if not control.parallel_maps or control.executor == "serial":
        return "serial", 1
    n_workers = max(1, min(control.n_cores, n_tasks))
    if control.executor == "dask" and n_tasks:
        return "dask", n_workers
    return ("processes", n_workers) if n_workers > 1 else ("serial", 1)
