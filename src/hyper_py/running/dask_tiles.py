"""Parts of one map on a dask cluster: the workers read the map, and planes made of it, from their files.

What a part needs besides is sent: the function, and what it has in common with others, once, through files
(`hyper_py.numerics.sending`), and what belongs to the part itself, such as the groups that it fits. A whole
map is never sent.
"""

import contextlib
import math
import pickle
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import local
from typing import TYPE_CHECKING, Any

from hyper_py.diagnostics import ConfigurationError, HyperPyError
from hyper_py.files import remove_all
from hyper_py.numerics.sending import CannotBeSentError, Parcel, Receiver, Sender, SentOnce, Shelf
from hyper_py.running.dask_cluster import LOST_SECONDS, Watch, dask_client, finished, n_threads, patiently
from hyper_py.running.dependencies import program_hash
from hyper_py.running.executors import one_line
from hyper_py.running.map_task import has_remote_tiles, load_libraries
from hyper_py.running.process_settings import one_blas_thread
from hyper_py.running.tasks import MapTask

if TYPE_CHECKING:
    from hyper_py.numerics.answers import Answer, Work

SENT_COST = 10.0
"""Of the sending to a cluster, in units of the making of copies of this process."""
_SHARES = 8
"""Parts are handed out together, so many times at least to each worker: few of them wait at the end."""
_MOST_TOGETHER = 16
_IN_FLIGHT = 3
"""Portions that each worker has or waits for."""
_worker = local()


@dataclass(frozen=True, eq=False)
class _Order(SentOnce):
    """What is done to all parts of a piece of work."""

    function: Callable[[Any], Any]
    recorded: bool


@dataclass(frozen=True, eq=False)
class DaskTeam:
    """The workers of a dask cluster, see `hyper_py.numerics.parallel.Team`.

    Attributes
    ----------
    client : distributed.Client
    watch : Watch
    directory : Path
        That all workers see, for objects that are sent once.
    sender : Sender
    """

    client: Any
    watch: Watch
    directory: Path
    sender: Sender = field(default_factory=partial(Sender, math.inf))

    @property
    def n_threads(self) -> int:
        """How many parts are done at once."""
        return n_threads(self.client) or 1

    def prepared(self, function: Callable[[Any], Any], items: Sequence[Any], *, recorded: bool) -> "Work":
        """Return work, see `hyper_py.numerics.parallel.Team`."""
        from hyper_py.numerics.answers import Work

        return Work(SENT_COST, partial(self._answers, function, items, recorded))

    def _answers(
        self, function: Callable[[Any], Any], items: Sequence[Any], recorded: bool, numbers: Sequence[int]
    ) -> "Iterator[tuple[int, Answer]]":
        """Yield answers as they come.

        Left out are parts whose worker died again and again, and those that cannot be sent.

        Raises
        ------
        HyperPyError
            The cluster is lost, or its workers cannot do parts of maps.
        """
        from distributed import KilledWorker, as_completed

        threads = self.n_threads
        size = min(max(len(numbers) // (_SHARES * threads), 1), _MOST_TOGETHER)
        waiting = deque(numbers[first : first + size] for first in range(0, len(numbers), size))
        order, shelf = _Order(function, recorded), Shelf(self.directory)
        completed, pending = as_completed(), set[str]()

        def hand_out() -> None:
            while waiting and len(pending) < _IN_FLIGHT * threads:
                some = waiting.popleft()
                try:
                    parcel = self.sender.packed((order, [(k, items[k]) for k in some]))
                except CannotBeSentError:
                    continue
                future = self.client.submit(_done, str(self.directory), shelf.put(parcel), pure=False)
                pending.add(future.key)
                completed.add(future)

        hand_out()
        try:
            for future in finished(completed, self.watch):
                pending.discard(future.key)
                failure = patiently(future.exception, self.watch)
                if failure is None:
                    for number, text in patiently(future.result, self.watch):
                        yield number, pickle.loads(text)
                elif not isinstance(failure, KilledWorker):
                    raise HyperPyError(f"a dask worker cannot do a part of a map: {one_line(failure)}")
                hand_out()
        finally:
            if self.client.status == "running":
                with contextlib.suppress(Exception):  # the scheduler may just be gone
                    self.client.cancel(list(completed.futures))


@contextlib.contextmanager
def tiles_on_dask(maps: Sequence[MapTask], control: Any, *, directory: Path) -> Iterator[list[MapTask]]:
    """Give the maps whose tiles dask workers do inside this context: large ones, if there are few maps.

    Parameters
    ----------
    maps : sequence of MapTask
        At least as many as workers keep these busy by themselves: then none is given.
    control : hyper_py.config.sections.Control
    directory : Path
        That all workers see.
    """
    large = []
    if control.dask_scheduler or len(maps) < control.n_cores:
        large = [task for task in maps if has_remote_tiles(task)]
    if not large:
        yield []
        return
    from hyper_py.numerics.parallel import done_by

    with dask_team(control.n_cores, control.dask_scheduler, directory=directory) as team:
        if len(maps) >= team.n_threads:
            yield []
            return
        with done_by(team):
            yield large


@contextlib.contextmanager
def dask_team(n_workers: int, scheduler: str | None, *, directory: Path) -> Iterator[DaskTeam]:
    """Give a team of dask workers: those of a running scheduler, or of a local cluster that is started.

    Raises
    ------
    ConfigurationError
        There is no cluster, or its workers have another version of the program or do not see the directory.
    HyperPyError
        It has no workers.
    """
    with dask_client(n_workers, scheduler) as client:
        watch = Watch(client, scheduler)
        try:
            client.wait_for_workers(1, timeout=LOST_SECONDS)
        except TimeoutError:
            watch.lost("has no worker")
        for address, (program, sees) in client.run(_facts, str(directory)).items():
            if program != _program():
                raise ConfigurationError(
                    f"control.dask_scheduler: the worker {address} has another version of Hyper-Py, Python, "
                    "NumPy, SciPy or astropy: install the same everywhere"
                )
            if not sees:
                raise ConfigurationError(
                    f"control.dask_scheduler: the worker {address} does not see {directory}: put the output "
                    "directory on a file system that all workers share"
                )
        from hyper_py.writing.staging import temporary_path

        shelf = temporary_path(directory, "sent")
        shelf.mkdir()
        try:
            yield DaskTeam(client, watch, shelf)
        finally:
            remove_all(shelf)


def _facts(directory: str) -> tuple[str, bool]:
    """Return the program of a worker, and whether it sees a directory."""
    return _program(), Path(directory).is_dir()


def _program() -> str:
    return f"{sys.implementation.cache_tag} {program_hash()}"


def _done(directory: str, text: bytes) -> list[tuple[int, bytes]]:
    """Do parts of a map, in a worker; none if it comes too late for what they need."""
    load_libraries()
    from hyper_py.numerics.answers import attempt

    try:
        order, items = _receiver(directory).value(Parcel((), [], text))
    except FileNotFoundError:
        return []
    with one_blas_thread():
        return [(k, attempt(order.function, item, recorded=order.recorded).packed()) for k, item in items]


def _receiver(directory: str) -> Receiver:
    """Return what has the objects that were sent to this thread."""
    if getattr(_worker, "directory", None) != directory:
        _worker.directory, _worker.receiver = directory, Receiver(Shelf(Path(directory)))
    receiver: Receiver = _worker.receiver
    return receiver
