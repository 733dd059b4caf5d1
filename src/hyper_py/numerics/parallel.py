"""Parts of one map as parallel work that a later run can go on from.

All work on the parts of a map goes through `in_order`. Two things may be around it:

- a team that does the parts: copies of this process (`hyper_py.numerics.forked`) or the workers of a cluster
  (`hyper_py.running.dask_tiles`);
- a journal (`hyper_py.numerics.journal`), a file in which results are kept as they come. If a run was killed,
  the next one does everything in the same order again, but takes the results that are in the journal from it.

What the parts are does not depend on the team, and results come in the order of the parts, so that any team
gives the same bytes. Inside a part, and without a team, parts are done one after another.
"""

import hashlib
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, Protocol, TypeVar

from hyper_py.numerics.answers import Answer, Work, attempt
from hyper_py.numerics.forked import Forked
from hyper_py.numerics.journal import Journal
from hyper_py.stages import untold

LEAST_SECONDS = 0.1
"""Less work than this is not worth the making of copies of this process."""
Item = TypeVar("Item")
Result = TypeVar("Result")


class Team(Protocol):
    """Workers that do parts of maps."""

    def prepared(self, function: Callable[[Any], Any], items: Sequence[Any], *, recorded: bool) -> Work:
        """Return a function and its items ready to be done, at once or never.

        With `recorded`, answers come with their records.
        """


_team: ContextVar[Team | None] = ContextVar("team", default=None)
_journal: ContextVar[Journal | None] = ContextVar("journal", default=None)
_paces: ContextVar[dict[str, float] | None] = ContextVar("paces", default=None)
"""Seconds that items took where work was asked for before, for the team."""


@contextmanager
def done_by(team: Team | None) -> Iterator[None]:
    """Have parts of maps done by a team inside this context; by this process itself if None."""
    before = _team.set(team), _paces.set({})
    try:
        yield
    finally:
        _team.reset(before[0])
        _paces.reset(before[1])


@contextmanager
def workers(n: int) -> Iterator[None]:
    """Have parts of maps done by `n` copies of this process inside this context."""
    team = Forked(n) if n > 1 and sys.platform == "linux" else None
    try:
        with done_by(team):
            yield
    finally:
        if team is not None:
            team.stop()


def n_workers() -> int:
    """Return how many copies of this process do parts of a map here."""
    team = _team.get()
    return team.n_workers if isinstance(team, Forked) else 1


def is_remote() -> bool:
    """Return whether parts of maps are done by processes that do not have the memory of this one."""
    return not isinstance(_team.get(), Forked | None)


def current_journal() -> Journal | None:
    """Return the journal that is kept here."""
    return _journal.get()


def recorded_in(journal: Journal, function: Callable[[], Result]) -> Result:
    """Return the result of a function, whose parts are kept in a journal."""
    before = _journal.set(journal)
    try:
        return function()
    finally:
        _journal.reset(before)


def in_order(
    function: Callable[[Item], Result], items: Sequence[Item], *, recorded: bool = True
) -> Iterator[Result]:
    """Yield the results of a function of each item, in their order.

    A worker that dies, such as for want of memory, costs nothing but time: what it had is done here.

    Parameters
    ----------
    function : callable
        Changes nothing that others look at: it may run in another process. Its results can be pickled.
    items : sequence
    recorded : bool
        Whether results go to the journal, if there is one.

    Raises
    ------
    Exception
        As the function does, for the first item for which it does.
    """
    team, journal = _team.get(), _journal.get() if recorded else None
    one = partial(_alone, function)
    if journal is None and (team is None or len(items) < 2):
        yield from map(one, items)
        return
    call = None if journal is None else journal.begin(place_of_call(), len(items))
    todo = [k for k in range(len(items)) if journal is None or not journal.has(call, k)]
    arrived: dict[int, Answer] = {}
    with closing(_answers(team, one, items, todo, recorded=journal is not None)) as answers:
        for k in range(len(items)):
            if journal is not None and journal.has(call, k):
                yield journal.read(call, k).given()
                continue
            while k not in arrived:
                number, arrived[number] = next(answers)
                if journal is not None and arrived[number].error is None:
                    journal.put(call, number, arrived[number])
            yield arrived.pop(k).given()


def in_parts(
    function: Callable[[Item], Result], items: Sequence[Item], *, n: int, recorded: bool = True
) -> Iterator[Result]:
    """Yield what `in_order` does; `n` items are one part: for many that take less than their sending."""
    parts = [items[first : first + n] for first in range(0, len(items), n)]
    for results in in_order(lambda part: [function(item) for item in part], parts, recorded=recorded):
        yield from results


def once(function: Callable[[], Result]) -> Result:
    """Return the result of a function, from the journal if it is there: it may read what is gone by now.

    Nothing that is done for it is recorded, and an earlier run's result stands for all of it: a few numbers
    for the many pixels that they come from.
    """
    journal = _journal.get()
    if journal is None:
        return function()
    call = journal.begin(place_of_call(), 1)
    result: Result
    if journal.has(call, 0):
        result = journal.read(call, 0).given()
        return result
    before = _journal.set(None)
    try:
        answer = attempt(lambda _: function(), None)
    finally:
        _journal.reset(before)
    if answer.error is None:
        journal.put(call, 0, answer)
    result = answer.given()
    return result


def _answers(
    team: Team | None,
    function: Callable[[Any], Any],
    items: Sequence[Any],
    todo: Sequence[int],
    *,
    recorded: bool,
) -> Generator[tuple[int, Answer], None, None]:
    """Yield what comes of items in any order.

    Where a team has a cost, this process begins; the team goes on as soon as what is left is enough for it.
    Where work was asked for before, what an item took then tells that, and the team begins. This process does
    what a team has lost.
    """
    left, begin, paces = deque(todo), time.perf_counter(), _paces.get()
    work = None if team is None or len(todo) < 2 else team.prepared(function, items, recorded=recorded)
    place = "" if work is None else place_of_call()
    seconds = len(todo) * (paces or {}).get(place, 0.0)
    while left:
        if work is not None and len(left) > 1 and seconds >= work.cost * LEAST_SECONDS:
            lost = set(left)
            for number, answer in work.answers(list(left)):
                lost.discard(number)
                yield number, answer
            left, work = deque(sorted(lost)), None
            continue
        number = left.popleft()
        yield number, attempt(function, items[number])
        pace = (time.perf_counter() - begin) / (len(todo) - len(left))
        seconds = pace * len(left)
        if place and paces is not None:
            paces[place] = pace


def _alone(function: Callable[[Any], Any], item: Any) -> Any:
    """Return the result of an item: inside it nothing is parallel, recorded or told."""
    before = _team.set(None), _journal.set(None)
    try:
        with untold():
            return function(item)
    finally:
        _team.reset(before[0])
        _journal.reset(before[1])


def place_of_call() -> str:
    """Return from where work is asked for: a hash of the modules and lines since the journal began."""
    digest, frame = hashlib.blake2b(digest_size=8), sys._getframe(1)
    while frame.f_back is not None and frame.f_code is not recorded_in.__code__:
        if frame.f_globals.get("__name__") != __name__:
            digest.update(f"{frame.f_globals.get('__name__')}:{frame.f_lineno} ".encode())
        frame = frame.f_back
    return digest.hexdigest()
