"""Ways to do many independent tasks: one after another, in worker processes, or on a dask cluster.

All three take the same arguments and yield an `Outcome` per task as it completes; none holds more tasks
in flight than it has workers (dask: twice as many). Only the standard library is imported here.
"""

import contextlib
import gc
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from multiprocessing import connection
from typing import Any

from hyper_py.diagnostics import ConfigurationError, HyperPyError

MAX_ATTEMPTS = 2
"""A task whose worker died is tried once more."""

_MAX_FAILED_STARTS = 3
_PATIENCE_SECONDS = 2.0
_DASK_TIMEOUT = "30s"

_BLAS_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
BLAS_ENVIRONMENT = dict.fromkeys(_BLAS_VARIABLES, "1")
"""One BLAS thread a worker: maps are the parallel unit, and sums then have one order everywhere."""


@dataclass(frozen=True)
class Outcome:
    """What became of one task.

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


Function = Callable[[Any], Any]
OnStart = Callable[[int, int], None]
Outcomes = Generator[Outcome, None, None]


def one_line(error: BaseException) -> str:
    """Return the message of an exception in one line, with its class unless it is one for users."""
    text = " ".join(str(error).split())
    if isinstance(error, HyperPyError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


@contextlib.contextmanager
def pinned_blas() -> Iterator[None]:
    """Give processes started inside this context one BLAS thread each."""
    before = {name: os.environ.get(name) for name in BLAS_ENVIRONMENT}
    os.environ.update(BLAS_ENVIRONMENT)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def pin_own_blas() -> None:
    """Give this process one BLAS thread from the start, unless NumPy is loaded: then it is too late."""
    if "numpy" not in sys.modules:
        os.environ.update(BLAS_ENVIRONMENT)


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """Limit BLAS to one thread, whatever the environment says: also where NumPy was loaded long before."""
    with _blas().limit(limits=1, user_api="blas"):
        yield


@cache
def _blas() -> Any:
    """Return what is in control of the libraries of threads that are loaded."""
    import scipy.linalg  # noqa: F401  (it brings a library of its own, which must be there to be limited)
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@contextlib.contextmanager
def without_collections() -> Iterator[None]:
    """Look for no garbage while libraries are loaded: they make many objects, and none to throw away."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()  # nor ever look at them again
        if was_on:
            gc.enable()


def keep_freed_memory() -> None:
    """Have memory of arrays that are freed kept for the next ones, not returned and fetched page by page.

    glibc returns blocks larger than the largest that was freed before, up to 32 MB (mallopt(3),
    M_MMAP_THRESHOLD): here one of nearly that size is freed, which never was written to. Elsewhere this
    changes nothing.
    """
    import numpy as np

    np.empty(4_000_000)


def _attempt(function: Function, task: Any) -> tuple[Any, str]:
    try:
        return function(task), ""
    except Exception as error:
        return None, one_line(error)


def execute_serial(function: Function, tasks: Iterable[Any], *, on_start: OnStart) -> Outcomes:
    """Do tasks one after another in this process.

    Parameters
    ----------
    function : callable
        Of one task. An exception becomes the `error` of its outcome.
    tasks : iterable
        Consumed one at a time.
    on_start : callable
        Called with the index and the number of the attempt before a task starts.

    Yields
    ------
    Outcome
    """
    for index, task in enumerate(tasks):
        on_start(index, 1)
        value, error = _attempt(function, task)
        yield Outcome(index, value, error, 1)


# ---------------------------------------------------------------------------------------------- processes


@dataclass(frozen=True)
class _Job:
    index: int
    task: Any
    attempt: int


@dataclass(eq=False)
class _Worker:
    process: Any
    pipe: Any
    ready: bool = False
    job: _Job | None = None


def _exit_with_parent() -> None:
    """End this process as soon as its parent is gone, even in the middle of a task."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
    os._exit(1)


def _worker_main(pipe: Any, function: Function) -> None:
    # Ctrl-C reaches the whole process group: only the parent decides what to do about it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    pipe.send("ready")
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return
        if task is None:
            return
        reply = _attempt(function, task[0])
        try:
            pipe.send(reply)
        except BrokenPipeError:
            return
        except Exception as error:
            pipe.send((None, f"the result cannot be sent back: {one_line(error)}"))


def _start_worker(context: Any, function: Function) -> _Worker:
    ours, theirs = context.Pipe()
    process = context.Process(target=_worker_main, args=(theirs, function), name="hyper-py worker")
    with pinned_blas():
        process.start()
    # The worker must hold the only other end: then its death closes the pipe, and we are told at once.
    theirs.close()
    return _Worker(process, ours)


def _stop_workers(workers: list[_Worker], *, politely: bool) -> None:
    for worker in workers:
        if politely and worker.ready:
            with contextlib.suppress(OSError):
                worker.pipe.send(None)
        else:
            worker.process.terminate()
    for worker in workers:
        worker.process.join(_PATIENCE_SECONDS)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        worker.pipe.close()
        worker.process.close()


def _describe_death(worker: _Worker) -> str:
    worker.process.join(_PATIENCE_SECONDS)
    code = worker.process.exitcode
    if code is None or code >= 0:
        return f"exit status {code}"
    hint = "; out of memory?" if -code == getattr(signal, "SIGKILL", 9) else ""
    return f"killed by {signal.Signals(-code).name}{hint}"


class _Pool:
    """The state of `execute_processes`: workers, and jobs not yet handed out."""

    def __init__(self, function: Function, tasks: Iterable[Any], n_workers: int, on_start: OnStart) -> None:
        # Not fork: a forked copy of a process with threads can hang. Spawn is the same on every system.
        self.context = multiprocessing.get_context("spawn")
        self.function, self.n_workers, self.on_start = function, n_workers, on_start
        self.tasks = enumerate(tasks)
        self.retries: deque[_Job] = deque()
        self.ahead: deque[_Job] = deque()
        self.workers: list[_Worker] = []
        self.failed_starts = 0

    def pull(self) -> _Job | None:
        """Take a new job; those of dead workers come last, when memory is likeliest to be free."""
        for index, task in self.tasks:
            return _Job(index, task, 1)
        return self.retries.popleft() if self.retries else None

    def fill(self) -> bool:
        """Give every idle worker a job, start workers for more; return False when all is done."""
        for worker in self.workers:
            if worker.ready and worker.job is None:
                self.give(worker)
        n_starting = sum(not worker.ready for worker in self.workers)
        while len(self.workers) < self.n_workers:
            if len(self.ahead) <= n_starting:
                job = self.pull()
                if job is None:
                    break
                self.ahead.append(job)
            self.workers.append(_start_worker(self.context, self.function))
            n_starting += 1
        return bool(self.ahead) or any(worker.job for worker in self.workers)

    def give(self, worker: _Worker) -> None:
        job = self.ahead.popleft() if self.ahead else self.pull()
        if job is None:
            return
        worker.job = job
        self.on_start(job.index, job.attempt)
        # If the worker has just died, its end of the pipe says so at the next wait.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            worker.pipe.send((job.task,))

    def receive(self, worker: _Worker) -> Outcome | None:
        """Read what a worker sends: that it is ready, an outcome, or its death."""
        try:
            message = worker.pipe.recv()
        except (EOFError, OSError):
            return self.bury(worker)
        if not worker.ready:
            worker.ready, self.failed_starts = True, 0
            return None
        job, worker.job = worker.job, None
        assert job is not None
        value, error = message
        return Outcome(job.index, value, error, job.attempt)

    def bury(self, worker: _Worker) -> Outcome | None:
        """Remove a dead worker; its job is tried once more, a second death is its outcome."""
        death, job = _describe_death(worker), worker.job
        self.workers.remove(worker)
        worker.pipe.close()
        if not worker.ready:
            self.failed_starts += 1
            if self.failed_starts >= _MAX_FAILED_STARTS:
                raise HyperPyError(
                    f"worker processes end before they can start ({death}); use control.executor: serial, "
                    "or, in a script of your own, call run() below `if __name__ == '__main__':`"
                )
        if job is None:
            return None
        if job.attempt < MAX_ATTEMPTS:
            self.retries.append(_Job(job.index, job.task, job.attempt + 1))
            return None
        return Outcome(job.index, None, f"its worker process died {job.attempt} times ({death})", job.attempt)


def execute_processes(
    function: Function, tasks: Iterable[Any], *, n_workers: int, on_start: OnStart
) -> Outcomes:
    """Do tasks in worker processes, one task at a time each.

    A worker that dies (killed, out of memory) is replaced and its task tried once more, after the others.
    Workers end with this process, whatever ends it. Each has one BLAS thread.

    Parameters
    ----------
    function : callable
        Of one task; importable by name in a new process.
    tasks : iterable
        Picklable; consumed as workers become free.
    n_workers : int
        Number of processes; no more are started than there are tasks.
    on_start : callable
        Called with the index and the number of the attempt when a task is handed out.

    Yields
    ------
    Outcome
        In order of completion.

    Raises
    ------
    HyperPyError
        Workers cannot be started at all.
    """
    pool = _Pool(function, tasks, n_workers, on_start)
    finished = False
    try:
        while pool.fill():
            by_pipe = {worker.pipe: worker for worker in pool.workers}
            for pipe in connection.wait(list(by_pipe)):
                outcome = pool.receive(by_pipe[pipe])
                if outcome is not None:
                    yield outcome
        finished = True
    finally:
        _stop_workers(pool.workers, politely=finished)


# --------------------------------------------------------------------------------------------------- dask


@contextlib.contextmanager
def _dask_client(n_workers: int, scheduler: str | None) -> Iterator[Any]:
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError:
        raise ConfigurationError(
            "control.executor is 'dask', but its package is not installed: pip install 'hyper-py[dask]'"
        ) from None
    with contextlib.ExitStack() as stack:
        if scheduler:
            try:
                client = stack.enter_context(Client(scheduler, timeout=_DASK_TIMEOUT))
            except (OSError, ValueError) as error:
                raise ConfigurationError(
                    f"control.dask_scheduler: no scheduler answers at {scheduler!r} ({one_line(error)})"
                ) from None
            yield client
            return
        stack.enter_context(pinned_blas())
        stack.enter_context(dask.config.set({"distributed.scheduler.allowed-failures": MAX_ATTEMPTS - 1}))
        cluster = stack.enter_context(
            LocalCluster(n_workers=n_workers, threads_per_worker=1, dashboard_address=None)
        )
        yield stack.enter_context(Client(cluster))


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
        Picklable; at most two a worker thread are under way.
    n_workers : int
        Size of the local cluster that is started when no scheduler is given.
    scheduler : str, optional
        Address of a running scheduler, such as `tcp://host:8786`; its workers must see the same files.
        How often it retries a task whose worker died is its setting `distributed.scheduler.allowed-failures`.
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
    """
    with _dask_client(n_workers, scheduler) as client:
        from distributed import KilledWorker, as_completed

        waiting = enumerate(tasks)
        indices: dict[str, int] = {}
        completed = as_completed()

        def submit() -> bool:
            for index, task in waiting:
                on_start(index, 1)
                future = client.submit(_attempt, function, task, pure=False)
                indices[future.key] = index
                completed.add(future)
                return True
            return False

        def top_up() -> None:
            room = 2 * max(1, sum(client.nthreads().values())) - len(indices)
            while room > 0 and submit():
                room -= 1

        top_up()
        try:
            for future in completed:
                index = indices.pop(future.key)
                # A result that was lost with its worker is computed again: exception() waits for that.
                failure = future.exception()
                if failure is None:
                    value, error = future.result()
                    yield Outcome(index, value, error, 1)
                elif isinstance(failure, KilledWorker):
                    yield Outcome(index, None, "its worker died repeatedly (out of memory?)", MAX_ATTEMPTS)
                else:
                    yield Outcome(index, None, one_line(failure), 1)
                top_up()
        finally:
            client.cancel(list(completed.futures))
