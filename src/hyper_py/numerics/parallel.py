"""Parts of one map as parallel work: copies of this process do them, and send back what they find.

A copy (`fork`) has the map, and all that was made of it, in memory that it shares with this process. Nothing
but results is sent. What the parts are does not depend on the number of workers, and results come in the
order of the parts, so that any number of workers gives the same bytes.

Where processes cannot be copied safely (Windows, macOS), and inside a worker, parts are done one after
another.
"""

import ctypes
import os
import pickle
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from multiprocessing import connection
from typing import Any, TypeVar

from hyper_py.stages import untold

Item = TypeVar("Item")
Result = TypeVar("Result")

_n_workers: ContextVar[int] = ContextVar("n_workers", default=1)
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_PR_SET_PDEATHSIG = 1
_INDEX_BYTES = 4
_MOST_ITEMS = 15_000
"""Indices of these fit into the buffer of a pipe."""


@contextmanager
def workers(n: int) -> Iterator[None]:
    """Have parts of maps done by `n` processes inside this context."""
    before = _n_workers.set(n if sys.platform == "linux" else 1)
    try:
        yield
    finally:
        _n_workers.reset(before)


def n_workers() -> int:
    """Return how many processes do parts of a map here."""
    return _n_workers.get()


def in_order(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Yield the results of a function of each item, in their order.

    A worker that dies, such as for want of memory, costs nothing but time: what it had is done here.

    Parameters
    ----------
    function : callable
        Changes nothing that others look at: it may run in another process. Its results can be pickled.
    items : sequence
        More than some thousand are done one after another.

    Raises
    ------
    Exception
        As the function does, for the first item for which it does.
    """
    n = min(_n_workers.get(), len(items))
    if n < 2 or len(items) > _MOST_ITEMS:
        yield from map(function, items)
        return
    team = _Team(function, items)
    try:
        team.start(n)
        yield from team.results()
    finally:
        team.stop()


@dataclass(eq=False)
class _Answer:
    """What came of an item: a result, or an exception, and the warnings that were given."""

    result: Any = None
    error: BaseException | None = None
    warned: list[tuple[Warning | str, type[Warning], str, int]] = field(default_factory=list)


class _Team:
    """Copies of this process that take items from one queue, a pipe with their numbers."""

    def __init__(self, function: Callable[[Any], Any], items: Sequence[Any]) -> None:
        self.function, self.items = function, items
        self.answers: dict[int, _Answer] = {}
        self.pids: dict[Any, int] = {}

    def start(self, n: int) -> None:
        """Copy this process `n` times."""
        queue, ours = os.pipe()
        os.write(ours, b"".join(k.to_bytes(_INDEX_BYTES, "little") for k in range(len(self.items))))
        os.close(ours)
        library = ctypes.CDLL(None)
        try:
            for _ in range(n):
                receiver, sender = connection.Pipe(duplex=False)
                pid = _fork()
                if pid == 0:
                    with suppress(BaseException):
                        library.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
                        self.work(queue, sender)
                    os._exit(0)
                # The worker must hold the only other end: then its death closes the pipe.
                sender.close()
                self.pids[receiver] = pid
        finally:
            os.close(queue)

    def work(self, queue: int, sender: Any) -> None:
        """Do items until none is left; in a worker."""
        _n_workers.set(1)
        with untold():
            while number := os.read(queue, _INDEX_BYTES):
                k = int.from_bytes(number, "little")
                answer = _attempt(self.function, self.items[k])
                try:
                    text = pickle.dumps((k, answer), protocol=pickle.HIGHEST_PROTOCOL)
                except Exception as error:
                    told = _Answer(error=TypeError(f"a result that cannot be sent: {error}"))
                    text = pickle.dumps((k, told))
                sender.send_bytes(text)

    def results(self) -> Iterator[Any]:
        """Yield results in the order of the items."""
        for k in range(len(self.items)):
            while k not in self.answers and self.pids:
                for receiver in connection.wait(list(self.pids)):
                    self.receive(receiver)
            answer = self.answers.pop(k, None)
            if answer is None:  # its worker has died
                yield self.function(self.items[k])
                continue
            for message, category, file, line in answer.warned:
                warnings.warn_explicit(message, category, file, line)
            if answer.error is not None:
                raise answer.error
            yield answer.result

    def receive(self, receiver: Any) -> None:
        """Take an answer; a worker without any more has ended."""
        try:
            k, answer = pickle.loads(receiver.recv_bytes())
        except (EOFError, OSError):
            receiver.close()
            os.waitpid(self.pids.pop(receiver), 0)
            return
        self.answers[k] = answer

    def stop(self) -> None:
        """End the workers that are left."""
        for receiver, pid in self.pids.items():
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            receiver.close()
        self.pids.clear()


def _fork() -> int:
    """Copy this process; the copy leaves Ctrl-C to this one, and ends by SIGTERM as any process does."""
    # Until the copy has its own handlers, it must not run those of this process.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        with warnings.catch_warnings():
            # Threads of this process draw on the terminal, which copies never touch.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return pid


def _attempt(function: Callable[[Any], Any], item: Any) -> _Answer:
    answer = _Answer()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            answer.result = function(item)
        except Exception as error:
            answer.error = error
    answer.warned = [(one.message, one.category, one.filename, one.lineno) for one in caught]
    return answer
