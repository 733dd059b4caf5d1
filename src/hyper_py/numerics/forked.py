"""Copies of this process that do parts of a map, and send back what they find.

A copy (`fork`) has the map, and all that was made of it, in memory that it shares with this process. Nothing
but results is sent. Windows and macOS cannot copy a process safely.
"""

import ctypes
import os
import pickle
import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection
from typing import Any

from hyper_py.numerics.answers import Answer, attempt

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_PR_SET_PDEATHSIG = 1
_NUMBER_BYTES, _PIPE_BYTES = 4, 1 << 20
_MOST_NUMBERS = 15_000
"""So many fit into the buffer of a pipe."""


@dataclass(frozen=True)
class Forked:
    """A team of copies of this process, made anew for each piece of work.

    Attributes
    ----------
    n_workers : int
    """

    n_workers: int

    def answers(
        self,
        function: Callable[[Any], Any],
        items: Sequence[Any],
        numbers: Sequence[int],
        *,
        recorded: bool = False,
    ) -> Iterator[tuple[int, Answer]]:
        """Yield answers as they come, see `hyper_py.numerics.parallel.Team`."""
        for first in range(0, len(numbers), _MOST_NUMBERS):
            some = numbers[first : first + _MOST_NUMBERS]
            copies = _Copies(function, items, recorded=recorded)
            try:
                copies.start(min(self.n_workers, len(some)), some)
                yield from copies.answers()
            finally:
                copies.stop()


class _Copies:
    """Copies of this process that take numbers of items from one queue, a pipe."""

    def __init__(self, function: Callable[[Any], Any], items: Sequence[Any], *, recorded: bool) -> None:
        self.function, self.items, self.recorded = function, items, recorded
        self.pids: dict[Any, int] = {}

    def start(self, n: int, numbers: Sequence[int]) -> None:
        """Copy this process `n` times."""
        queue, ours = os.pipe()
        os.write(ours, b"".join(k.to_bytes(_NUMBER_BYTES, "little") for k in numbers))
        os.close(ours)
        library = ctypes.CDLL(None)
        with suppress(AttributeError):
            # Memory that was freed would be copied page by page as copies take it for their arrays.
            library.malloc_trim(0)
        try:
            for _ in range(n):
                receiver, sender = _large_pipe()
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
        while number := os.read(queue, _NUMBER_BYTES):
            k = int.from_bytes(number, "little")
            answer = attempt(self.function, self.items[k], recorded=self.recorded)
            sender.send_bytes(number + answer.packed())

    def answers(self) -> Iterator[tuple[int, Answer]]:
        """Yield answers as they come."""
        while self.pids:
            for receiver in connection.wait(list(self.pids)):
                text = self.receive(receiver)
                if text:
                    yield int.from_bytes(text[:_NUMBER_BYTES], "little"), pickle.loads(text[_NUMBER_BYTES:])

    def receive(self, receiver: Any) -> bytes:
        """Return what a worker sends; nothing if it has ended."""
        try:
            text: bytes = receiver.recv_bytes()
        except (EOFError, OSError):
            receiver.close()
            os.waitpid(self.pids.pop(receiver), 0)
            return b""
        return text

    def stop(self) -> None:
        """End the workers that are left."""
        for receiver, pid in self.pids.items():
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            receiver.close()
        self.pids.clear()


def _large_pipe() -> tuple[Any, Any]:
    """Return the ends of a pipe that holds results of a megabyte, so that neither end waits for the other."""
    receiver, sender = connection.Pipe(duplex=False)
    with suppress(ImportError, AttributeError, OSError):  # not on Linux, or too much for this user
        import fcntl

        fcntl.fcntl(sender.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return receiver, sender


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
