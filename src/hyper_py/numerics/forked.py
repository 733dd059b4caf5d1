"""Copies of this process that do parts of a map, and send back what they find.

Windows and macOS cannot copy a process safely.
"""

import ctypes
import gc
import os
import pickle
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing import connection
from typing import Any, NamedTuple

from hyper_py.numerics.answers import Answer, Work, attempt
from hyper_py.numerics.sending import CannotBeSentError, Receiver, Sender

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_PR_SET_PDEATHSIG = 1
_NUMBER_BYTES, _PIPE_BYTES = 4, 1 << 20
_END = (2**32 - 1).to_bytes(_NUMBER_BYTES, "little")
"""In place of a number: there are no more items for the copy that reads it."""
_TOGETHER_SECONDS, _TOGETHER_BYTES = 0.1, 60_000
"""Answers that take less are sent together with others."""
_MOST_NUMBERS = 15_000
"""So many fit into the buffer of a pipe."""


class Forked:
    """A team of copies of this process.

    They are kept, and get functions and items as bytes. Where these are too large, such as a map in memory or
    the pixels of many sources, others are made that have them in memory that they share with this process.

    Parameters
    ----------
    n_workers : int
    """

    def __init__(self, n_workers: int) -> None:
        self.n_workers = n_workers
        self._kept: _Copies | None = None
        self._sender = Sender()
        self._is_busy = False

    def prepared(self, function: Callable[[Any], Any], items: Sequence[Any], *, recorded: bool) -> Work:
        """Return work, see `hyper_py.numerics.parallel.Team`."""

        def by_new_ones(numbers: Sequence[int]) -> Iterator[tuple[int, Answer]]:
            if not self._is_busy:
                self.stop()  # what they have in memory is for the new ones
            for first in range(0, len(numbers), _MOST_NUMBERS):
                some = numbers[first : first + _MOST_NUMBERS]
                copies = _Copies(min(self.n_workers, len(some)), _Order(function, items, recorded))
                try:
                    yield from copies.answers(some)
                finally:
                    copies.stop()

        if self._is_busy:
            return Work(1.0, by_new_ones)
        try:
            parcel = self._sender.packed(_Order(function, items, recorded))
        except CannotBeSentError:
            return Work(1.0, by_new_ones)
        text = pickle.dumps(parcel, protocol=pickle.HIGHEST_PROTOCOL)
        return Work(0.0, lambda numbers: self._by_kept_ones(text, numbers))

    def _by_kept_ones(self, text: bytes, numbers: Sequence[int]) -> Iterator[tuple[int, Answer]]:
        copies = self._kept = self._kept or _Copies(self.n_workers)
        self._is_busy = True
        try:
            for first in range(0, len(numbers), _MOST_NUMBERS):
                yield from copies.answers(numbers[first : first + _MOST_NUMBERS], text if not first else b"")
        finally:
            self._is_busy = False
            if not copies.are_ready:
                self.stop()

    def stop(self) -> None:
        """End the copies; others are made when there is more to do."""
        if self._kept is not None:
            self._kept.stop()
        self._kept, self._sender = None, Sender()


class _Order(NamedTuple):
    """What copies do."""

    function: Callable[[Any], Any]
    items: Sequence[Any]
    recorded: bool


class _Copies:
    """Copies of this process that take numbers of items from one queue, a pipe.

    Parameters
    ----------
    n : int
    order : _Order, optional
        What they do, and then end; if not given, they wait to be told.
    """

    def __init__(self, n: int, order: _Order | None = None) -> None:
        self.order, self.are_ready = order, True
        self.queue, self.numbers = os.pipe()
        self.pids: dict[Any, int] = {}
        self.orders: dict[Any, Any] = {}
        library = ctypes.CDLL(None)
        with suppress(AttributeError):
            # Memory that was freed would be copied page by page as copies take it for their arrays.
            library.malloc_trim(0)
        for _ in range(n):
            (receiver, sender), (told, teller) = _large_pipe(), _large_pipe()
            pid = _fork()
            if pid == 0:
                with suppress(BaseException):
                    library.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
                    gc.freeze()  # to look at what is shared would copy it
                    os.close(self.numbers)
                    self.live(told, sender)
                os._exit(0)
            # The worker must hold the only other end: then its death closes the pipe.
            sender.close()
            told.close()
            self.pids[receiver], self.orders[receiver] = pid, teller

    def live(self, told: Any, sender: Any) -> None:
        """Do what is to be done; in a copy."""
        if self.order is not None:
            self.work(self.order, sender)
            return
        receiver, order = Receiver(), None
        while True:
            text = told.recv_bytes()
            if text:
                order = _received(receiver, text)
            assert order is not None
            self.work(order, sender)

    def work(self, order: _Order, sender: Any) -> None:
        """Do items until none is left, and send answers, those of short items together; in a copy."""
        found, since = _Message([], is_last=False), time.monotonic()
        while (number := os.read(self.queue, _NUMBER_BYTES)) != _END:
            k = int.from_bytes(number, "little")
            text = attempt(order.function, order.items[k], recorded=order.recorded).packed()
            found.answers.append((k, text))
            if len(text) > _TOGETHER_BYTES or time.monotonic() - since > _TOGETHER_SECONDS:
                sender.send_bytes(pickle.dumps(found, protocol=pickle.HIGHEST_PROTOCOL))
                found, since = _Message([], is_last=False), time.monotonic()
        sender.send_bytes(pickle.dumps(found._replace(is_last=True), protocol=pickle.HIGHEST_PROTOCOL))

    def answers(self, numbers: Sequence[int], text: bytes = b"") -> Iterator[tuple[int, Answer]]:
        """Yield answers as they come; `text` tells kept copies what to do, if that is not as before.

        Afterwards they are ready for more if none has died: before the last answer is given, too.
        """
        self.are_ready = False
        if self.order is None:
            for teller in self.orders.values():
                with suppress(OSError):  # it has died, as will be seen below
                    teller.send_bytes(text)
        words = [k.to_bytes(_NUMBER_BYTES, "little") for k in numbers]
        os.write(self.numbers, b"".join([*words, *[_END] * len(self.pids)]))
        n, left, busy = len(self.pids), len(numbers), set(self.pids)
        while busy:
            for receiver in connection.wait([*busy]):
                message = self.receive(receiver)
                left -= len(message.answers)
                if message.is_last:
                    busy.discard(receiver)
                if not left:  # the others have no more to say than that
                    self.are_ready = all(self.receive(one).is_last for one in busy) and len(self.pids) == n
                    busy.clear()
                for k, text in message.answers:
                    yield k, pickle.loads(text)
                if not left:
                    break

    def receive(self, receiver: Any) -> "_Message":
        """Return what a copy sends; nothing if it has ended."""
        try:
            message: _Message = pickle.loads(receiver.recv_bytes())
        except (EOFError, OSError):
            self.end(receiver)
            return _Message([], is_last=True)
        return message

    def end(self, receiver: Any) -> None:
        pid = self.pids.pop(receiver)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        receiver.close()
        self.orders.pop(receiver).close()

    def stop(self) -> None:
        """End the copies that are left."""
        for receiver in [*self.pids]:
            self.end(receiver)
        for handle in (self.queue, self.numbers):
            os.close(handle)


class _Message(NamedTuple):
    """Numbers of items with their answers, packed, and whether the copy has no more."""

    answers: list[tuple[int, bytes]]
    is_last: bool


def _received(receiver: Receiver, text: bytes) -> _Order:
    """Return an order; if it makes no sense here, one to say why."""
    try:
        order: _Order = receiver.value(pickle.loads(text))
    except Exception as error:
        reason = error

        def fail(_: Any) -> None:
            raise reason

        return _Order(fail, _Nothing(), recorded=False)
    return order


class _Nothing(Sequence[None]):
    """Items of any number."""

    def __len__(self) -> int:
        return 0

    def __getitem__(self, place: Any) -> Any:
        return None


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
