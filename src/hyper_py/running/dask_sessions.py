"""Workers of a dask cluster that stay for a whole map, and ask this process for parts of it.

To dask each of its tasks costs more of processors than most parts of a map take. So a thread of a worker has
one task, a session: it connects to this process, and does what it is sent until the connection is closed.
"""

import contextlib
import hmac
import pickle
import queue
import secrets
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing import connection
from pathlib import Path
from typing import Any

from hyper_py.diagnostics import HyperPyError
from hyper_py.numerics.sending import Parcel, Receiver, SentOnce, Shelf
from hyper_py.running.dask_cluster import LOST_SECONDS, Watch, threads_of
from hyper_py.running.executors import one_line
from hyper_py.running.map_task import load_libraries
from hyper_py.running.process_settings import one_blas_thread

_LOOK_SECONDS, _CONNECT_SECONDS, _KEY_SECONDS = 1.0, 20.0, 2.0


@dataclass(frozen=True, eq=False)
class Order(SentOnce):
    """What is done to all parts of a piece of work; `recorded`: answers come with their records."""

    function: Callable[[Any], Any]
    recorded: bool


@dataclass(eq=False)
class Session:
    """A thread of a worker.

    Attributes
    ----------
    worker : str
        Its address.
    pipe : Connection
    given : deque of (Order, list of int)
        What it has not answered yet.
    """

    worker: str
    pipe: Any
    given: deque[tuple[Order, list[int]]] = field(default_factory=deque)


class Sessions:
    """The sessions of all threads of a cluster; workers may come and go.

    Parameters
    ----------
    watch : Watch
    directory : Path
        That all workers see, for objects that are sent once.
    """

    def __init__(self, watch: Watch, directory: Path) -> None:
        from distributed.comm import get_address_host
        from distributed.utils import get_ip

        self._watch, self._client = watch, watch.client
        self._server = socket.create_server((get_ip(get_address_host(self._client.scheduler.address)), 0))
        self._key = secrets.token_bytes(32)
        self._arguments = self._server.getsockname(), self._key, str(directory)
        self._tasks: dict[str, list[Any]] = {}
        self._by_pipe: dict[Any, Session] = {}
        self._looked, self._well_at = -_LOOK_SECONDS, time.monotonic()

    def __iter__(self) -> Iterator[Session]:
        return iter([*self._by_pipe.values()])

    def __len__(self) -> int:
        return len(self._by_pipe)

    def look(self) -> list[Session]:
        """Begin what is not begun, now and then; return the sessions of workers that are gone.

        Raises
        ------
        HyperPyError
            The cluster is lost, or its workers do not reach this process.
        """
        if time.monotonic() - self._looked < _LOOK_SECONDS:
            return []
        self._looked = time.monotonic()
        self._watch.look()
        if self._by_pipe:
            self._well_at = self._looked
        elif self._looked - self._well_at > LOST_SECONDS:
            address = self._server.getsockname()
            raise HyperPyError(f"dask workers do not connect to this process, which is at {address}")
        threads = threads_of(self._client)
        if threads is None:
            return []
        for worker, n in threads.items():
            tasks = [task for task in self._tasks.get(worker, ()) if task.status == "pending"]
            self._tasks[worker] = tasks + [
                self._client.submit(_session, *self._arguments, workers=[worker], pure=False)
                for _ in range(n - len(tasks))
            ]
        for worker in self._tasks.keys() - threads.keys():
            self._client.cancel(self._tasks.pop(worker))
        return [self.end(one) for one in self if one.worker not in threads]

    def ready(self) -> list[Session]:
        """Return those that have something to say, or have ended; wait for them, but not for long."""
        found = connection.wait([self._server, *self._by_pipe], timeout=_LOOK_SECONDS)
        if self._server in found:
            self._accept()
        return [self._by_pipe[pipe] for pipe in found if pipe is not self._server]

    def _accept(self) -> None:
        pipe = _pipe(self._server.accept()[0])
        with contextlib.suppress(OSError, EOFError):  # a stranger, or gone
            if pipe.poll(_KEY_SECONDS) and hmac.compare_digest(pipe.recv_bytes(99), self._key):
                self._by_pipe[pipe] = Session(pipe.recv_bytes(999).decode(), pipe)
                return
        pipe.close()

    def end(self, session: Session) -> Session:
        """Close the connection of a session."""
        self._by_pipe.pop(session.pipe).pipe.close()
        return session

    def close(self) -> None:
        """End all of them."""
        for one in self:
            self.end(one)
        self._server.close()
        if self._client.status == "running":
            with contextlib.suppress(Exception):  # the scheduler may just be gone
                self._client.cancel([task for tasks in self._tasks.values() for task in tasks])


def _pipe(own: socket.socket) -> Any:
    own.setblocking(True)
    own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection.Connection(own.detach())


def _session(address: tuple[str, int], key: bytes, directory: str) -> None:
    """Do parts of maps, in a worker, until there are no more."""
    from distributed import get_worker, secede

    worker = get_worker().address
    secede()  # the thread is free for others' tasks
    load_libraries()
    receiver, orders = Receiver(Shelf(Path(directory))), queue.SimpleQueue[bytes | None]()
    with _pipe(socket.create_connection(address, timeout=_CONNECT_SECONDS)) as pipe, one_blas_thread():
        pipe.send_bytes(key)
        pipe.send_bytes(worker.encode())
        threading.Thread(target=_receive, args=(pipe, orders), daemon=True).start()
        with contextlib.suppress(OSError):  # nobody waits for answers any more
            while (text := orders.get()) is not None:
                pipe.send_bytes(pickle.dumps(_answers(receiver, text), protocol=pickle.HIGHEST_PROTOCOL))


def _receive(pipe: Any, orders: "queue.SimpleQueue[bytes | None]") -> None:
    """Take what comes as it comes: the other end may wait for that while answers are sent to it."""
    with contextlib.suppress(OSError, EOFError):
        while True:
            orders.put(pipe.recv_bytes())
    orders.put(None)


def _answers(receiver: Receiver, text: bytes) -> list[tuple[int, bytes]] | str:
    """Return numbers of parts with their answers, none if it is too late for them, or why there are none."""
    from hyper_py.numerics.answers import attempt

    try:
        order, items = receiver.value(Parcel((), [], text))
    except FileNotFoundError:
        return []
    except Exception as error:
        return one_line(error)
    return [(k, attempt(order.function, item, recorded=order.recorded).packed()) for k, item in items]
