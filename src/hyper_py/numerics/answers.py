"""What comes of a part of a map: a result or an exception, and warnings; it can be sent and kept."""

import pickle
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from hyper_py.numerics.plain_bytes import DamagedBytesError, from_bytes, to_bytes


@dataclass(eq=False)
class Answer:
    """What came of an item: a result, or an exception, and the warnings that were given.

    It may come with its `record`, the bytes that are kept of it: workers make them.
    """

    result: Any = None
    error: BaseException | None = None
    warned: list[tuple[str, type[Warning], str, int]] = field(default_factory=list)
    record: bytes | None = None

    def given(self) -> Any:
        """Return the result as if it had been computed here: warnings are given, an exception is raised."""
        for message, category, file, line in self.warned:
            warnings.warn_explicit(message, category, file, line)
        if self.error is not None:
            raise self.error
        return self.result

    def packed(self) -> bytes:
        """Return bytes from which `unpacked` makes it again; what cannot be sent becomes an error."""
        try:
            return pickle.dumps(self, protocol=pickle.HIGHEST_PROTOCOL)
        except Exception as error:
            told = Answer(error=TypeError(f"a result that cannot be sent: {error}"))
            return pickle.dumps(told, protocol=pickle.HIGHEST_PROTOCOL)


@dataclass(frozen=True)
class Work:
    """A function and its items, ready for a team.

    Attributes
    ----------
    cost : float
        Of having it done, in units of the making of copies of this process.
    answers : callable
        Takes numbers of items and yields them with what came of them, in any order; lost ones are left out.
    """

    cost: float
    answers: Callable[[Sequence[int]], Iterator[tuple[int, Answer]]]


def kept(answer: Answer) -> bytes:
    """Return bytes from which `of_kept` makes an answer without an error again; they may be kept in a file.

    Raises
    ------
    TypeError
        The result is of a class that is no class of results (`hyper_py.numerics.plain_bytes`).
    """
    return to_bytes((answer.result, answer.warned))


def of_kept(text: bytes) -> Answer:
    """Return the answer that `kept` was called with.

    Raises
    ------
    DamagedBytesError
        The bytes are of something else.
    """
    match from_bytes(text):
        case (result, list(warned)) if all(map(_is_warning, warned)):
            return Answer(result=result, warned=warned)
    raise DamagedBytesError("no answer")


def _is_warning(told: Any) -> bool:
    match told:
        case (str(), type() as category, str(), int()):
            return issubclass(category, Warning)
    return False


def attempt(function: Callable[[Any], Any], item: Any, *, recorded: bool = False) -> Answer:
    """Return what comes of an item, with its record if that is wanted and there is one."""
    answer = Answer()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            answer.result = function(item)
        except Exception as error:
            answer.error = error
    # As text: libraries such as tblib change how exceptions are pickled.
    answer.warned = [(str(one.message), one.category, one.filename, one.lineno) for one in caught]
    if recorded and answer.error is None:
        with suppress(TypeError):
            answer.record = kept(answer)
    return answer
