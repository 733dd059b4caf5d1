"""Planes that are made once, tile by tile, and kept in a file.

Without a journal the file has no name and vanishes with this process. With one (`hyper_py.numerics.journal`)
it is beside the journal, so that other machines can read it, and a run that was killed goes on from it: after
each tile its checksum is written behind the pixels.

Tiles whose pixels are all the same, such as those far from any edge or bright source, take no space.
"""

import ctypes
import os
import struct
import tempfile
import weakref
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from hyper_py.arrays import IntArray
from hyper_py.files import open_own
from hyper_py.numerics.journal import UnusableJournalError
from hyper_py.numerics.parallel import current_journal, in_order, place_of_call
from hyper_py.numerics.sending import SentOnce
from hyper_py.numerics.tiles import Where

_directory: ContextVar[Path | None] = ContextVar("directory", default=None)
_RECORD = struct.Struct("<II8s")
"""Of a tile: checksum of its pixels or of the value, how it was written, the value of all pixels."""
_PIXELS, _VALUE = 1, 2
"""How a tile was written; zeros mean that it was not."""
_KEEP_SIZE, _PUNCH_HOLE = 1, 2
"""Flags of fallocate(2)."""


@contextmanager
def stored_in(directory: Path) -> Iterator[None]:
    """Have planes kept in files in a directory inside this context; else it is that of temporary files."""
    before = _directory.set(directory)
    try:
        yield
    finally:
        _directory.reset(before)


def stored_plane(
    shape: tuple[int, int],
    dtype: DTypeLike,
    *,
    make: Callable[[slice, slice], NDArray[Any]],
    tiles: Sequence[Where],
) -> "StoredPlane":
    """Return a plane made tile by tile; what an earlier run has made of it, see `Journal`, is not made again.

    Raises
    ------
    OSError
        There is no space for all of it.
    """
    return stored_planes(shape, dtype, number=1, make=lambda *where: [make(*where)], tiles=tiles)[0]


def stored_planes(
    shape: tuple[int, int],
    dtype: DTypeLike,
    *,
    number: int,
    make: Callable[[slice, slice], Iterable[NDArray[Any]]],
    tiles: Sequence[Where],
) -> tuple["StoredPlane", ...]:
    """Return planes that are made together, as `stored_plane`; each is in a file of its own."""
    planes = tuple(_begun(shape, dtype, tiles) for _ in range(number))

    def write(k: int) -> None:
        if not all(plane.has_tile(k) for plane in planes):
            for plane, part in zip(planes, make(*tiles[k]), strict=True):
                plane.write(k, part)

    if not all(plane.is_gone for plane in planes):
        for _ in in_order(write, range(len(tiles)), recorded=False):
            pass
    return planes


def _begun(shape: tuple[int, int], dtype: DTypeLike, tiles: Sequence[Where]) -> "StoredPlane":
    """Return a plane that nothing is written of, but for what an earlier run has."""
    journal = current_journal()
    if journal is None:
        return StoredPlane(shape, dtype, tiles=tiles)
    work = journal.begin(place_of_call(), len(tiles))
    if journal.is_dropped(work):
        return StoredPlane(shape, dtype, tiles=tiles, handle=-1)
    plane = StoredPlane(shape, dtype, tiles=tiles, path=journal.plane(work))
    weakref.finalize(plane, journal.drop, work).atexit = False
    return plane


class StoredPlane(SentOnce):
    """A plane in a file, written by tiles, read by rows and columns, by any process that shares it.

    The pixels of a tile lie together: it is written and read at once. The file is read, not mapped: pages of
    a memory map would count as memory of the process.

    Parameters
    ----------
    shape : (ny, nx)
    dtype : dtype
    tiles : sequence of tuples of slices
        That cover the plane row by row.
    path : Path, optional
        Of its file, which may be there; if not given, it has none and goes with the process.
    handle : int, optional
        Of the open file; -1 if that is gone.

    Raises
    ------
    OSError
        There is no space for all of it.
    """

    ndim = 2

    def __init__(
        self,
        shape: tuple[int, int],
        dtype: DTypeLike,
        *,
        tiles: Sequence[Where],
        path: Path | None = None,
        handle: int | None = None,
    ) -> None:
        self.shape, self.dtype, self._tiles, self._path = shape, np.dtype(dtype), tiles, path
        self._rows, self._columns = (np.unique([where[axis].start for where in tiles]) for axis in (0, 1))
        sizes = [(rows.stop - rows.start) * (columns.stop - columns.start) for rows, columns in tiles]
        self._begin = [0, *np.cumsum(sizes).tolist()]
        self._end = self._begin[-1] * self.dtype.itemsize
        if handle is None:
            handle = _made_file(path, self._end + len(sizes) * _RECORD.size)
        self._handle = handle
        self._values: dict[int, NDArray[Any] | None] = {}
        if handle >= 0:
            weakref.finalize(self, os.close, handle)

    def __reduce__(self) -> tuple[Any, ...]:
        """Have other processes open the file."""
        if self._path is None:
            raise TypeError("a plane in a file without a name cannot be sent to other processes")
        return _opened, (self.shape, self.dtype.str, self._tiles, self._path)

    def look_again(self) -> None:
        """Open the file anew: in a network others' pixels are seen then, and not before."""
        with suppress(FileNotFoundError):  # nobody reads it any more
            if self._path is not None and not self.is_gone:
                handle = _open(self._path)
                os.dup2(handle, self._handle, inheritable=False)
                os.close(handle)

    @property
    def is_gone(self) -> bool:
        """Whether an earlier run had no more need of it."""
        return self._handle < 0

    def write(self, tile: int, part: NDArray[Any]) -> None:
        """Write a tile and its checksum, unless the plane is gone."""
        if self.is_gone:
            return
        values = np.ascontiguousarray(part, dtype=self.dtype).reshape(-1)
        pixels, begin = values.view(np.uint8).data, self._begin[tile] * self.dtype.itemsize
        with self._to_write() as handle:
            if _are_same(values):
                _punch_hole(handle, begin, pixels.nbytes)
                value = values[:1].tobytes()
                self._record(handle, tile, zlib.crc32(value), _VALUE, value)
                return
            _write_all(handle, pixels, begin)
            # Without a name the plane goes with the process: nobody asks whether a tile is whole.
            self._record(handle, tile, 0 if self._path is None else zlib.crc32(pixels), _PIXELS)

    def _record(self, handle: int, tile: int, checksum: int, how: int, value: bytes = b"") -> None:
        text = _RECORD.pack(checksum, how, value)
        _write_all(handle, memoryview(text), self._end + tile * _RECORD.size)

    def _recorded(self, tile: int) -> tuple[int, int, bytes]:
        """Return checksum, how a tile was written, and the value of all its pixels."""
        text = bytearray(_RECORD.size)
        _read_all(self._handle, memoryview(text), self._end + tile * _RECORD.size)
        checksum, how, value = _RECORD.unpack(text)
        return checksum, how, value[: self.dtype.itemsize]

    def _value(self, tile: int) -> NDArray[Any] | None:
        """Return the value of all pixels of a tile, if they have one."""
        if tile not in self._values:
            _, how, value = self._recorded(tile)
            if not how:
                return None  # it is not written yet
            self._values[tile] = np.frombuffer(value, self.dtype) if how == _VALUE else None
        return self._values[tile]

    @contextmanager
    def _to_write(self) -> Iterator[int]:
        """Have the file open: one without a name always is, in a network others see it when it is closed."""
        if self._path is None:
            yield self._handle
            return
        handle = _open(self._path)
        try:
            yield handle
        finally:
            os.close(handle)

    def has_tile(self, tile: int) -> bool:
        """Return whether a tile is there as it was written, or is not needed."""
        if self._path is None or self.is_gone:
            return self.is_gone
        checksum, how, value = self._recorded(tile)
        if how != _PIXELS:
            return how == _VALUE and zlib.crc32(value) == checksum
        rows, _ = self._tiles[tile]
        pixels = self._read(tile, rows.start, rows.stop).reshape(-1).view(np.uint8).data
        return zlib.crc32(pixels) == checksum

    def __getitem__(self, where: Where) -> NDArray[Any]:
        """Return the pixels of rows and columns; slices may be open, as those of arrays."""
        rows, columns = (slice(*part.indices(size)[:2]) for part, size in zip(where, self.shape, strict=True))
        result = np.empty((max(rows.stop - rows.start, 0), max(columns.stop - columns.start, 0)), self.dtype)
        if not result.size:
            return result
        for tile in self._tiles_in(rows, columns):
            y, x = self._tiles[tile]
            top, bottom = max(rows.start, y.start), min(rows.stop, y.stop)
            left, right = max(columns.start, x.start), min(columns.stop, x.stop)
            part = self._read(tile, top, bottom)
            if part.shape == result.shape and (top, x.start) == (rows.start, columns.start):
                return part
            result[top - rows.start : bottom - rows.start, left - columns.start : right - columns.start] = (
                part[:, left - x.start : right - x.start]
            )
        return result

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """Return the whole plane as an array."""
        return np.asarray(self[:, :], dtype=dtype)

    def at(self, y: IntArray, x: IntArray) -> NDArray[Any]:
        """Return the values of pixels, shape (n,)."""
        row, column = self._places(y, axis=0), self._places(x, axis=1)
        values, tile = np.empty(y.size, self.dtype), row * self._columns.size + column
        order = np.argsort(tile, kind="stable")
        for own in np.split(order, np.flatnonzero(np.diff(tile[order])) + 1) if y.size else []:
            first, number = int(y[own].min()), int(tile[own[0]])
            part = self._read(number, first, int(y[own].max()) + 1)
            values[own] = part[y[own] - first, x[own] - self._tiles[number][1].start]
        return values

    def _tiles_in(self, rows: slice, columns: slice) -> Iterator[int]:
        """Yield the tiles in which rows and columns lie."""
        first, last = self._places(np.array([rows.start, rows.stop - 1]), axis=0).tolist()
        left, right = self._places(np.array([columns.start, columns.stop - 1]), axis=1).tolist()
        for row in range(first, last + 1):
            yield from range(row * self._columns.size + left, row * self._columns.size + right + 1)

    def _places(self, pixels: IntArray, *, axis: int) -> IntArray:
        """Return in which row, or column, of tiles pixels are."""
        begins = self._columns if axis else self._rows
        places: IntArray = np.searchsorted(begins, pixels, side="right") - 1
        return places

    def _read(self, tile: int, first: int, stop: int) -> NDArray[Any]:
        """Return some rows of a tile."""
        rows, columns = self._tiles[tile]
        width = columns.stop - columns.start
        part = np.empty((stop - first, width), self.dtype)
        value = self._value(tile)
        if value is not None:
            part[:] = value
            return part
        place = (self._begin[tile] + (first - rows.start) * width) * self.dtype.itemsize
        _read_all(self._handle, part.reshape(-1).view(np.uint8).data, place)
        return part


def _made_file(path: Path | None, size: int) -> int:
    """Return the handle of a file of a size, which may be there already."""
    if path is None:
        with tempfile.TemporaryFile(dir=_directory.get()) as file:
            handle = os.dup(file.fileno())
    else:
        handle = open_own(path)
    try:
        if os.fstat(handle).st_size == size:
            return handle
        if hasattr(os, "posix_fallocate") and size:
            os.posix_fallocate(handle, 0, size)
        else:
            os.truncate(handle, size)
    except OSError:
        os.close(handle)
        if path is not None:
            path.unlink()
        raise
    return handle


def _are_same(values: NDArray[Any]) -> bool:
    """Return whether all values, of shape (n,), have the same bits."""
    bits = values.view(f"u{values.itemsize}")
    return bool(bits.size and bits[0] == bits[-1] and (bits == bits[0]).all())


def _punch_hole(handle: int, place: int, size: int) -> None:
    """Give back the space of a part of a file, which is not needed, where that is possible."""
    with suppress(AttributeError):  # elsewhere than on Linux
        fallocate = ctypes.CDLL(None).fallocate
        fallocate.argtypes = ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64
        fallocate(handle, _KEEP_SIZE | _PUNCH_HOLE, place, size)


def _opened(shape: tuple[int, int], dtype: str, tiles: Sequence[Where], path: Path) -> StoredPlane:
    """Return a plane that another process has made."""
    return StoredPlane(shape, dtype, tiles=tiles, path=path, handle=_open(path))


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CLOEXEC)


def _write_all(handle: int, data: memoryview, place: int) -> None:
    while data:
        n = os.pwrite(handle, data, place)
        data, place = data[n:], place + n


def _read_all(handle: int, data: memoryview, place: int) -> None:
    if handle < 0:
        raise UnusableJournalError("a plane is read of which the run that was killed had no more need")
    while data:
        n = os.preadv(handle, [data], place)
        if not n:
            raise OSError("a file of a plane is cut short")
        data, place = data[n:], place + n
