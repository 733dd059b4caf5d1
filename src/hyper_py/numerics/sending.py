"""What workers, which are copies of this process or those of a cluster, need for parts of a map, as bytes.

Functions inside functions can be sent, since a worker has the program of this process. Objects that many
parts need (`SentOnce`) are sent once; the workers keep them as long as this process does.

Copies of this process get all that is sent. Workers of a cluster come and go, and none gets all: such objects
are files in a directory (`Shelf`), from which each worker takes those that it meets.
"""

import io
import marshal
import pickle
import sys
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from types import CellType, CodeType, FunctionType
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary, finalize

MOST_BYTES = 4_000_000
"""To send more takes longer than to copy this process with it."""

_kept: ContextVar[dict[int, Any]] = ContextVar("kept")
"""What was sent once, by number, where bytes are read."""


class SentOnce:
    """An object that workers get once: it gives the same as long as it lives.

    What it has made of itself to be faster is not sent anew.
    """

    def look_again(self) -> None:
        """Read anew what others may have written to files since the last piece of work."""


class CannotBeSentError(TypeError):
    """It is too large, or of a kind that other processes cannot have."""


class Parcel(NamedTuple):
    """A value as bytes.

    Attributes
    ----------
    gone : tuple of int
        Numbers of objects that were sent before and are not needed any more.
    new : list of (int, bytes)
        Objects that were not sent before; what is in one comes before it.
    body : bytes
        With numbers in place of objects.
    """

    gone: tuple[int, ...]
    new: list[tuple[int, bytes]]
    body: bytes


class Sender:
    """Makes parcels for one team of workers.

    Parameters
    ----------
    most : float
        Bytes of a value, or of an object in it.
    """

    def __init__(self, most: float = MOST_BYTES) -> None:
        self._most = most
        self._numbers: WeakKeyDictionary[SentOnce, int] = WeakKeyDictionary()
        self._gone: list[int] = []
        self._n = 0

    def packed(self, value: Any) -> Parcel:
        """Return a value, with the objects in it that were not sent before.

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
        return Parcel(gone, [*new.values()], body)

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

        text = _Text(self._most)
        try:
            _Pickler(text, number).dump(value)
        except CannotBeSentError:
            raise
        except Exception as error:
            raise CannotBeSentError(str(error)) from error
        return text.getvalue()


class Receiver:
    """Makes values again of the parcels of a `Sender`.

    Parameters
    ----------
    shelf : Shelf, optional
        Where objects are that did not come with a parcel.
    """

    def __init__(self, shelf: "Shelf | None" = None) -> None:
        self._shelf, self._kept = shelf, _Kept(shelf)

    def value(self, parcel: Parcel) -> Any:
        """Return the value that was packed.

        Raises
        ------
        FileNotFoundError
            An object in it is not on the shelf any more.
        """
        before, n_before = _kept.set(self._kept), len(self._kept)
        try:
            for number, one in parcel.new:
                self._kept[number] = pickle.loads(one)
            value = pickle.loads(parcel.body)
        finally:
            _kept.reset(before)
        is_new = len(self._kept) > n_before  # a new piece of work
        for number in parcel.gone:
            del self._kept[number]
        if self._shelf is not None and is_new:
            for number in self._kept.keys() - self._shelf.numbers():
                del self._kept[number]
            for kept in self._kept.values():
                kept.look_again()
        return value


class Shelf:
    """Objects that are sent once, as files in a directory that all workers of a cluster see.

    Parameters
    ----------
    directory : Path
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def put(self, parcel: Parcel) -> bytes:
        """Keep what is new in a parcel, and remove what is gone; return its body."""
        for number, text in parcel.new:
            (self._directory / str(number)).write_bytes(text)
        for number in parcel.gone:
            (self._directory / str(number)).unlink(missing_ok=True)
        return parcel.body

    def take(self, number: int) -> bytes:
        """Return the bytes of an object."""
        return (self._directory / str(number)).read_bytes()

    def numbers(self) -> set[int]:
        """Return the numbers of all objects that are there."""
        return {int(path.name) for path in self._directory.iterdir()}


class _Kept(dict[int, Any]):
    """Objects by number; one that is asked for the first time is taken from a shelf."""

    def __init__(self, shelf: Shelf | None) -> None:
        super().__init__()
        self._shelf = shelf

    def __missing__(self, number: int) -> Any:
        if self._shelf is None:
            raise KeyError(number)
        self[number] = value = pickle.loads(self._shelf.take(number))
        return value


class _Text(io.BytesIO):
    """Bytes up to a number."""

    def __init__(self, most: float) -> None:
        super().__init__()
        self._most = most

    def write(self, text: Any, /) -> int:
        if self.tell() + memoryview(text).nbytes > self._most:
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
