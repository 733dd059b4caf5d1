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
from typing import TYPE_CHECKING, Any

from hyper_py.diagnostics import ConfigurationError, HyperPyError
from hyper_py.files import remove_all
from hyper_py.numerics.sending import CannotBeSentError, Sender, Shelf
from hyper_py.running.dask_cluster import LOST_SECONDS, Watch, dask_client, n_threads
from hyper_py.running.dask_sessions import Order, Session, Sessions
from hyper_py.running.dependencies import program_hash
from hyper_py.running.map_task import has_remote_tiles
from hyper_py.running.tasks import MapTask

if TYPE_CHECKING:
    from hyper_py.numerics.answers import Answer, Work

_SHARES = 4
"""Parts are handed out together, at most so many times fewer than there are for each thread."""
_MOST_TOGETHER = 16
_GIVEN = 2
"""Portions that each thread has or waits for."""


@dataclass(frozen=True, eq=False)
class DaskTeam:
    """The workers of a dask cluster, see `hyper_py.numerics.parallel.Team`.

    Attributes
    ----------
    client : distributed.Client
    watch : Watch
    directory : Path
        That all workers see, for objects that are sent once.
    sessions : Sessions
    sender : Sender
    """

    client: Any
    watch: Watch
    directory: Path
    sessions: Sessions
    sender: Sender = field(default_factory=partial(Sender, math.inf))

    @property
    def n_threads(self) -> int:
        """How many parts are done at once."""
        return n_threads(self.client) or 1

    def prepared(self, function: Callable[[Any], Any], items: Sequence[Any], *, recorded: bool) -> "Work":
        """Return work, see `hyper_py.numerics.parallel.Team`."""
        from hyper_py.numerics.answers import Work

        return Work(0.0, partial(self._answers, function, items, recorded))

    def _answers(
        self, function: Callable[[Any], Any], items: Sequence[Any], recorded: bool, numbers: Sequence[int]
    ) -> "Iterator[tuple[int, Answer]]":
        """Yield answers as they come.

        Left out are parts over which two workers died, and those that cannot be sent.

        Raises
        ------
        HyperPyError
            The cluster is lost, or its workers cannot do parts of maps.
        """
        order, left, again = Order(function, recorded), deque(numbers), set[int]()
        while left or any(order is one for session in self.sessions for one, _ in session.given):
            lost = self.sessions.look()
            for session in self.sessions:
                while left and len(session.given) < _GIVEN:
                    self._give(session, order, items, left)
            for session in self.sessions.ready():
                try:
                    found = pickle.loads(session.pipe.recv_bytes())
                except (EOFError, OSError):
                    lost.append(self.sessions.end(session))
                    continue
                if isinstance(found, str):
                    raise HyperPyError(f"a dask worker cannot do a part of a map: {found}")
                if session.given.popleft()[0] is order:
                    for number, text in found:
                        yield number, pickle.loads(text)
            for numbers in [some for session in lost for one, some in session.given if one is order]:
                left.extend(number for number in numbers if number not in again)
                again.update(numbers)

    def _give(self, session: Session, order: Order, items: Sequence[Any], left: deque[int]) -> None:
        """Send the next parts to a session."""
        size = min(max(len(left) // (_SHARES * len(self.sessions)), 1), _MOST_TOGETHER)
        some = [left.popleft() for _ in range(size)]
        with contextlib.suppress(CannotBeSentError):
            parcel = self.sender.packed((order, [(k, items[k]) for k in some]))
            session.given.append((order, some))
            with contextlib.suppress(OSError):  # it has ended, as will be seen
                session.pipe.send_bytes(Shelf(self.directory).put(parcel))


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
        with contextlib.ExitStack() as stack:
            stack.callback(remove_all, shelf)
            sessions = stack.enter_context(contextlib.closing(Sessions(watch, shelf)))
            yield DaskTeam(client, watch, shelf, sessions)


def _facts(directory: str) -> tuple[str, bool]:
    """Return the program of a worker, and whether it sees a directory."""
    return _program(), Path(directory).is_dir()


def _program() -> str:
    return f"{sys.implementation.cache_tag} {program_hash()}"
