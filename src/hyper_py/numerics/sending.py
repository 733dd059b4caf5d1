"""What copies of this process need for parts of a map, as bytes.

Functions inside functions can be sent, since a copy has the program of this process. Objects that many parts
need (`SentOnce`) are sent once; the copies keep them as long as this process does.
"""

import io
import marshal
import pickle
import sys
from collections.abc import Callable
from contextvars import ContextVar
from types import CellType, CodeType, FunctionType
from typing import Any
from weakref import WeakKeyDictionary, finalize

MOST_BYTES = 4_000_000
"""To send more takes longer than to copy this process with it."""

_kept: ContextVar[dict[int, Any]] = ContextVar("kept")
"""What was sent once, by number, where bytes are read."""


class SentOnce:
    """An object that copies of this process get once: it gives the same as long as it lives.

    What it has made of itself to be faster is not sent anew.
    """


class CannotBeSentError(TypeError):
    """It is too large, or of a kind that other processes cannot have."""


class Sender:
    """Makes bytes for one team of copies of this process, all of which get all of them."""

    def __init__(self) -> None:
        self._numbers: WeakKeyDictionary[SentOnce, int] = WeakKeyDictionary()
        self._gone: list[int] = []
        self._n = 0

    def packed(self, value: Any) -> bytes:
        """Return bytes of a value, and of the objects in it that were not sent before.

        Raises
        ------
        CannotBeSentError
            Nothing is sent then.
        """
        new: dict[SentOnce, tuple[int, bytes]] = {}
        body = self._pickled(value, new)
        self._numbers.update((kept, number) for kept, (number, _) in new.items())
        for kept, (number, _) in new.items():
            finalize(kept, self._gone.append, number).atexit = False
        gone, self._gone[:] = tuple(self._gone), []
        return pickle.dumps((gone, [*new.values()], body), protocol=pickle.HIGHEST_PROTOCOL)

    def _pickled(self, value: Any, new: dict[SentOnce, tuple[int, bytes]], *, whole: bool = False) -> bytes:
        """Return a value with numbers in place of objects that are sent once; with `whole`, not of itself."""

        def number(inner: SentOnce) -> int | None:
            if whole and inner is value:
                return None
            if inner in self._numbers:
                return self._numbers[inner]
            if inner not in new:
                text = self._pickled(inner, new, whole=True)  # what is in it comes before it
                self._n += 1
                new[inner] = self._n, text
            return new[inner][0]

        text = _Text()
        try:
            _Pickler(text, number).dump(value)
        except CannotBeSentError:
            raise
        except Exception as error:
            raise CannotBeSentError(str(error)) from error
        return text.getvalue()


class Receiver:
    """Makes values again of the bytes of a `Sender`."""

    def __init__(self) -> None:
        self._kept: dict[int, Any] = {}

    def value(self, text: bytes) -> Any:
        """Return the value that was packed."""
        before = _kept.set(self._kept)
        try:
            gone, new, body = pickle.loads(text)
            for number, one in new:
                self._kept[number] = pickle.loads(one)
            value = pickle.loads(body)
            for number in gone:
                del self._kept[number]
            return value
        finally:
            _kept.reset(before)


class _Text(io.BytesIO):
    """Bytes up to a number."""

    def write(self, text: Any, /) -> int:
        if self.tell() + memoryview(text).nbytes > MOST_BYTES:
            raise CannotBeSentError("it is too large")
        return super().write(text)


class _Pickler(pickle.Pickler):
    """A pickler of functions inside functions, too, and of numbers in place of some objects."""

    def __init__(self, text: io.BytesIO, number: Callable[[SentOnce], int | None]) -> None:
        super().__init__(text, protocol=pickle.HIGHEST_PROTOCOL)
        self._number = number

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, SentOnce):
            number = self._number(value)
            return NotImplemented if number is None else (_taken, (number,))
        if not isinstance(value, FunctionType) or _is_importable(value):
            return NotImplemented
        state = (
            value.__defaults__,
            value.__kwdefaults__,
            [one.cell_contents for one in value.__closure__ or ()],
        )
        return _hollow, (marshal.dumps(value.__code__), value.__module__), state, None, None, _fill


def _taken(number: int) -> Any:
    """Return an object that was sent before."""
    return _kept.get()[number]


def _is_importable(function: FunctionType) -> bool:
    found: Any = sys.modules.get(function.__module__)
    for name in function.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is function


def _hollow(code: bytes, module: str) -> FunctionType:
    """Return a function without what is around it: that may have the function in it."""
    made: CodeType = marshal.loads(code)
    cells = tuple(CellType() for _ in made.co_freevars)
    __import__(module)
    return FunctionType(made, vars(sys.modules[module]), closure=cells)


def _fill(function: FunctionType, state: tuple[Any, Any, list[Any]]) -> None:
    function.__defaults__, function.__kwdefaults__, contents = state
    for cell, value in zip(function.__closure__ or (), contents, strict=True):
        cell.cell_contents = value
