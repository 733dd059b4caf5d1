"""Tasks in worker processes; a worker that dies is replaced and its task tried once more."""

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from multiprocessing import connection, resource_tracker
from typing import Any

from hyper_py.diagnostics import HyperPyError
from hyper_py.running.executors import (
    MAX_ATTEMPTS,
    Function,
    Job,
    OnStart,
    OnTold,
    Outcome,
    Outcomes,
    attempt,
    one_line,
)
from hyper_py.running.process_settings import pinned_blas
from hyper_py.stages import OnStage, told_to

_STOPPING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_MAX_FAILED_STARTS = 3
_PATIENCE_SECONDS = 2.0
_TOLD_SECONDS = 0.1
"""A worker tells of its stage no more often than this."""


@dataclass(eq=False)
class _Worker:
    process: Any
    pipe: Any
    ready: bool = False
    job: Job | None = None


def _exit_with_parent() -> None:
    """End this process as soon as its parent is gone, even in the middle of a task."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
    os._exit(1)


@dataclass(frozen=True)
class _Told:
    stage: str
    done: int
    total: int


def _teller(pipe: Any) -> OnStage:
    """Return what sends stages through a pipe, but not all that follow at once on one another."""
    last_stage, last_time = "", 0.0

    def tell(stage: str, done: int, total: int) -> None:
        nonlocal last_stage, last_time
        now = time.monotonic()
        if stage != last_stage or now - last_time > _TOLD_SECONDS:
            last_stage, last_time = stage, now
            with contextlib.suppress(OSError):  # the parent is gone: this process ends at once
                pipe.send(_Told(stage, done, total))

    return tell


@contextlib.contextmanager
def _signals_wait() -> Iterator[None]:
    """Have signals that stop a run wait while a worker starts; it inherits that until it is ready for them.

    A parent that is stopped sends it half of its function, and Ctrl-C reaches it in the middle of imports:
    either ends in a traceback.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # when it starts, it has signals come again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _worker_main(pipe: Any, function: Function, tells: bool) -> None:
    # Ctrl-C reaches the whole process group: only the parent decides what to do about it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, OSError):  # the parent is gone, or was stopped
        _do_tasks(pipe, function, tells=tells)


def _do_tasks(pipe: Any, function: Function, *, tells: bool) -> None:
    pipe.send("ready")
    while (task := pipe.recv()) is not None:
        with told_to(_teller(pipe) if tells else None):
            reply = attempt(function, task[0])
        try:
            pipe.send(reply)
        except OSError:
            raise
        except Exception as error:
            pipe.send((None, f"the result cannot be sent back: {one_line(error)}"))


def _start_worker(context: Any, function: Function, *, tells: bool) -> _Worker:
    ours, theirs = context.Pipe()
    process = context.Process(target=_worker_main, args=(theirs, function, tells), name="hyper-py worker")
    with pinned_blas():
        process.start()
    # The worker must hold the only other end: then its death closes the pipe, and the parent knows at once.
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

    def __init__(
        self,
        function: Function,
        tasks: Iterable[Any],
        n_workers: int,
        on_start: OnStart,
        on_told: OnTold | None,
    ) -> None:
        # Not fork: a forked copy of a process with threads can hang. Spawn is the same on every system.
        self.context = multiprocessing.get_context("spawn")
        self.function, self.n_workers, self.on_start, self.on_told = function, n_workers, on_start, on_told
        self.tasks = enumerate(tasks)
        self.retries: deque[Job] = deque()
        self.ahead: deque[Job] = deque()
        self.workers: list[_Worker] = []
        self.failed_starts = 0

    def pull(self) -> Job | None:
        """Take a new job; those of dead workers come last, when memory is likeliest to be free."""
        for index, task in self.tasks:
            return Job(index, task)
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
            with _signals_wait():
                self.workers.append(
                    _start_worker(self.context, self.function, tells=self.on_told is not None)
                )
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
        """Read what a worker sends: that it is ready, the stage of its task, an outcome, or its death."""
        try:
            message = worker.pipe.recv()
        except (EOFError, OSError):
            return self.bury(worker)
        if not worker.ready:
            worker.ready, self.failed_starts = True, 0
            return None
        if isinstance(message, _Told):
            if self.on_told is not None and worker.job is not None:
                self.on_told(worker.job.index, message.stage, message.done, message.total)
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
            self.retries.append(job.again())
            return None
        return Outcome(job.index, None, f"its worker process died {job.attempt} times ({death})", job.attempt)


def execute_processes(
    function: Function,
    tasks: Iterable[Any],
    *,
    n_workers: int,
    on_start: OnStart,
    on_told: OnTold | None = None,
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
    on_told : callable, optional
        Called with the stages of the tasks, in this process.

    Yields
    ------
    Outcome
        In order of completion.

    Raises
    ------
    HyperPyError
        Workers cannot be started at all.
    """
    pool = _Pool(function, tasks, n_workers, on_start, on_told)
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
