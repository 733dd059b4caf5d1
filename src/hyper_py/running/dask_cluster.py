"""Tasks on a dask cluster: a running one, or a local one that is started."""

import asyncio
import concurrent.futures
import contextlib
import logging
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, NoReturn

from hyper_py.diagnostics import ConfigurationError, HyperPyError
from hyper_py.running.executors import (
    MAX_ATTEMPTS,
    Function,
    Job,
    OnStart,
    Outcome,
    Outcomes,
    attempt,
    one_line,
)
from hyper_py.running.process_settings import pinned_blas

DASK_TIMEOUT = "30s"
CLOSE_SECONDS = 20.0
LOST_SECONDS = 60.0
"""A scheduler that is away for so long, or has had no worker for so long, is given up."""
_SETTINGS = {
    "distributed.scheduler.allowed-failures": MAX_ATTEMPTS - 1,
    # Nobody looks at these, and they take a tenth of the work.
    "distributed.worker.profile.enabled": False,
    "distributed.admin.system-monitor.interval": "10s",
    "distributed.admin.tick.interval": "500ms",
}
"""Of a local cluster."""
_CANCELLED = (asyncio.CancelledError, concurrent.futures.CancelledError)
_LOOK_SECONDS, _PAUSE_SECONDS = 1.0, 0.005


@contextlib.contextmanager
def dask_client(n_workers: int, scheduler: str | None) -> Iterator[Any]:
    """Give a client of a running scheduler, or of a local cluster that is started.

    Raises
    ------
    ConfigurationError
        `distributed` is not installed, or there is no scheduler at the address.
    """
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError:
        raise ConfigurationError(
            "control.executor is 'dask', but its package is not installed: pip install 'hyper-py[dask]'"
        ) from None
    with contextlib.ExitStack() as stack:
        stack.enter_context(_without_logs())
        if scheduler:
            try:
                client = stack.enter_context(Client(scheduler, timeout=DASK_TIMEOUT))
            except (OSError, ValueError) as error:
                raise ConfigurationError(
                    f"control.dask_scheduler: no scheduler answers at {scheduler!r} ({one_line(error)})"
                ) from None
            yield client
            return
        stack.enter_context(pinned_blas())
        stack.enter_context(dask.config.set(_SETTINGS))
        with _ignored_ctrl_c():  # it reaches the whole process group: only this process decides what to do
            cluster = LocalCluster(
                n_workers=n_workers,
                threads_per_worker=1,
                dashboard_address=None,
                silence_logs=logging.CRITICAL,
            )
        stack.callback(_close, cluster)
        yield stack.enter_context(Client(cluster))


def _close(cluster: Any) -> None:
    """Close a local cluster; one whose worker has just died may never answer, and ends with this process."""
    with contextlib.suppress(TimeoutError):
        cluster.close(timeout=CLOSE_SECONDS)


@contextlib.contextmanager
def _without_logs() -> Iterator[None]:
    """Keep distributed from writing tracebacks of lost connections: the run says in a line what was lost."""
    loggers = [logging.getLogger(name) for name in ("distributed", "tornado", "asyncio")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


@contextlib.contextmanager
def _ignored_ctrl_c() -> Iterator[None]:
    """Have processes that are started inside this context ignore SIGINT."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def threads_of(client: Any) -> dict[str, int] | None:
    """Return how many threads each worker has, by address; None if the scheduler cannot be asked."""
    if client.status != "running":
        return None
    try:
        threads: dict[str, int] = client.nthreads()
    except (OSError, TimeoutError, *_CANCELLED):
        return None
    return threads


def n_threads(client: Any) -> int | None:
    """Return how many threads work; None if the scheduler cannot be asked."""
    threads = threads_of(client)
    return None if threads is None else sum(threads.values())


class Watch:
    """Notices that a scheduler, or its last worker, is gone for good."""

    def __init__(self, client: Any, scheduler: str | None) -> None:
        self.client, self.where = client, f"at {scheduler!r}" if scheduler else "of the local cluster"
        self.well_at = time.monotonic()

    def look(self) -> None:
        """Raise `HyperPyError` if nothing is to be expected any more."""
        working = n_threads(self.client)
        if working:
            self.well_at = time.monotonic()
            return
        if self.client.status == "closed" or time.monotonic() - self.well_at > LOST_SECONDS:
            self.lost("does not answer any more" if working is None else "has no worker")

    def lost(self, what: str = "does not answer any more") -> NoReturn:
        """Raise `HyperPyError`."""
        raise HyperPyError(
            f"the dask scheduler {self.where} {what}; what is complete is kept, and --resume goes on from it"
        )


def finished(completed: Any, watch: Watch) -> Iterator[Any]:
    """Yield futures as they are done, looking in between whether anybody still works on them."""
    looked = time.monotonic()
    while not completed.is_empty():
        batch = completed.next_batch(block=False)
        if not batch:
            if time.monotonic() - looked > _LOOK_SECONDS:
                watch.look()
                looked = time.monotonic()
            time.sleep(_PAUSE_SECONDS)
        yield from batch


def patiently(get: Callable[..., Any], watch: Watch) -> Any:
    """Return what a future has; a result that was lost with its worker is computed again, if there is one."""
    while True:
        try:
            return get(timeout=_LOOK_SECONDS)
        except TimeoutError:
            watch.look()
        except _CANCELLED:  # with its scheduler
            watch.lost()


def execute_dask(
    function: Function,
    tasks: Iterable[Any],
    *,
    n_workers: int,
    scheduler: str | None = None,
    on_start: OnStart,
) -> Outcomes:
    """Do tasks on a dask cluster.

    Parameters
    ----------
    function : callable
        Of one task; importable by the workers.
    tasks : iterable
        Picklable; each worker thread is given at most two at a time.
    n_workers : int
        Size of the local cluster that is started when no scheduler is given.
    scheduler : str, optional
        Address of a running scheduler, such as `tcp://host:8786`; its workers must see the same files.
        How often it retries the tasks of a worker that died is its setting
        `distributed.scheduler.allowed-failures`; what it gives up is tried once more, alone.
    on_start : callable
        Called with the index and 1 when a task is submitted.

    Yields
    ------
    Outcome
        In order of completion.

    Raises
    ------
    ConfigurationError
        `distributed` is not installed, or there is no scheduler at the address.
    HyperPyError
        The scheduler, or its last worker, is lost.
    """
    with dask_client(n_workers, scheduler) as client:
        from distributed import KilledWorker, as_completed

        waiting = (Job(index, task) for index, task in enumerate(tasks))
        suspects: deque[Job] = deque()
        jobs: dict[str, Job] = {}
        completed = as_completed()

        def submit(job: Job) -> None:
            on_start(job.index, job.attempt)
            future = client.submit(attempt, function, job.task, pure=False)
            jobs[future.key] = job
            completed.add(future)

        def top_up() -> None:
            free = 2 * (n_threads(client) or 1) - len(jobs)
            for job in islice(waiting, max(free, 0)):
                submit(job)
            # Dask blames all that a worker held when it died: alone, each shows whether it was the cause.
            if suspects and not jobs:
                submit(suspects.popleft())

        watch = Watch(client, scheduler)
        top_up()
        try:
            for future in finished(completed, watch):
                job = jobs.pop(future.key)
                failure = patiently(future.exception, watch)
                if failure is None:
                    value, error = patiently(future.result, watch)
                    yield Outcome(job.index, value, error, job.attempt)
                elif not isinstance(failure, KilledWorker):
                    yield Outcome(job.index, None, one_line(failure), job.attempt)
                elif job.attempt < MAX_ATTEMPTS:
                    suspects.append(job.again())
                else:
                    reason = "its worker died repeatedly (out of memory?)"
                    yield Outcome(job.index, None, reason, job.attempt)
                top_up()
        finally:
            if client.status == "running":
                with contextlib.suppress(Exception):  # the scheduler may just be gone
                    client.cancel(list(completed.futures))
