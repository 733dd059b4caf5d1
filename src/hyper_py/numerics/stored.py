"""Planes that are made once, tile by tile, and kept in a file.

Without a journal the file has no name and vanishes with this process. With one (`hyper_py.numerics.journal`)
it is beside the journal, so that other machines can read it, and a run that was killed goes on from it: after
each tile its checksum is written behind the pixels.
"""

import os
import struct
import tempfile
import weakref
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from hyper_py.arrays import IntArray
from hyper_py.files import open_own
from hyper_py.numerics.journal import UnusableJournalError
from hyper_py.numerics.parallel import current_journal, in_order, place_of_call
from hyper_py.numerics.tiles import Where

_directory: ContextVar[Path | None] = ContextVar("directory", default=None)
_CHECKSUM = struct.Struct("<II")
"""That of the pixels of a tile, and 1: zeros mean that the tile was not written."""


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
    make: Callable[[slice, slice], Sequence[NDArray[Any]]],
    tiles: Sequence[Where],
) -> tuple["StoredPlane", ...]:
    """Return planes that are made together, as `stored_plane`, in one file."""
    journal = current_journal()
    if journal is None:
        file = TileFile(shape, dtype, number=number, tiles=tiles)
    else:
        work = journal.begin(place_of_call(), len(tiles))
        if journal.is_dropped(work):
            file = TileFile(shape, dtype, number=number, tiles=tiles, handle=-1)
            return file.planes()
        file = TileFile(shape, dtype, number=number, tiles=tiles, path=journal.plane(work))
        weakref.finalize(file, journal.drop, work).atexit = False

    def write(k: int) -> None:
        if not file.has_tile(k):
            file.write(k, make(*tiles[k]))

    for _ in in_order(write, range(len(tiles)), recorded=False):
        pass
    return file.planes()


class TileFile:
    """Planes of one shape in a file, which any process that shares it writes and reads.

    The pixels of a tile lie together, plane after plane: a tile is written and read at once. The file is
    read, not mapped: pages of a memory map would count as memory of the process.

    Parameters
    ----------
    shape : (ny, nx)
    dtype : dtype
    number : int
        Of planes.
    tiles : sequence of tuples of slices
        That cover the planes row by row.
    path : Path, optional
        Of the file, which may be there; if not given, it has none and goes with the process.
    handle : int, optional
        Of the open file; -1 if that is gone.

    Raises
    ------
    OSError
        There is no space for all of it.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        dtype: DTypeLike,
        *,
        number: int,
        tiles: Sequence[Where],
        path: Path | None = None,
        handle: int | None = None,
    ) -> None:
        self.shape, self.dtype, self.number, self._tiles = shape, np.dtype(dtype), number, list(tiles)
        self._path = path
        self._rows, self._columns = (np.unique([where[axis].start for where in tiles]) for axis in (0, 1))
        sizes = [(rows.stop - rows.start) * (columns.stop - columns.start) for rows, columns in tiles]
        self._begin = np.concatenate([[0], np.cumsum(sizes)]) * number * self.dtype.itemsize
        if handle is None:
            handle = _made_file(
                path, int(self._begin[-1]) + (0 if path is None else len(tiles) * _CHECKSUM.size)
            )
        self._handle = handle
        if handle >= 0:
            weakref.finalize(self, os.close, handle)

    def __reduce__(self) -> tuple[Any, ...]:
        """Have other processes open the file."""
        if self._path is None:
            raise TypeError("a plane in a file without a name cannot be sent to other processes")
        return _opened, (self.shape, self.dtype.str, self.number, self._tiles, self._path)

    def planes(self) -> tuple["StoredPlane", ...]:
        """Return the planes."""
        return tuple(StoredPlane(self, k) for k in range(self.number))

    def write(self, tile: int, parts: Sequence[NDArray[Any]]) -> None:
        """Write a tile of all planes, and its checksum."""
        checksum, place = 0, int(self._begin[tile])
        with self._to_write() as handle:
            for part in parts:
                pixels = np.ascontiguousarray(part, dtype=self.dtype).reshape(-1).view(np.uint8).data
                _write_all(handle, pixels, place)
                place += pixels.nbytes
                checksum = checksum if self._path is None else zlib.crc32(pixels, checksum)
            if self._path is not None:
                text = _CHECKSUM.pack(checksum, 1)
                _write_all(handle, memoryview(text), self._place_of_checksum(tile))

    @contextmanager
    def _to_write(self) -> Iterator[int]:
        """Have the file open: one without a name always is, in a network others see it when it is closed."""
        if self._path is None:
            yield self._handle
            return
        handle = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        try:
            yield handle
        finally:
            os.close(handle)

    def has_tile(self, tile: int) -> bool:
        """Return whether a tile is there as it was written."""
        if self._path is None:
            return False
        checksum, written = _CHECKSUM.unpack(
            os.pread(self._handle, _CHECKSUM.size, self._place_of_checksum(tile))
        )
        if not written:
            return False
        found = 0
        for k in range(self.number):
            pixels = self.rows_of_tile(tile, k, 0, self._tiles[tile][0].stop - self._tiles[tile][0].start)
            found = zlib.crc32(pixels.reshape(-1).view(np.uint8).data, found)
        return found == int(checksum)

    def _place_of_checksum(self, tile: int) -> int:
        return int(self._begin[-1]) + tile * _CHECKSUM.size

    def tiles_of(self, where: Where) -> Iterator[int]:
        """Yield the tiles in which rows and columns lie."""
        (first, last), (left, right) = (
            np.searchsorted(begins, [part.start, part.stop - 1], side="right") - 1
            for begins, part in zip((self._rows, self._columns), where, strict=True)
        )
        for row in range(first, last + 1):
            yield from range(row * self._columns.size + left, row * self._columns.size + right + 1)

    def tile_of(self, y: IntArray, x: IntArray) -> IntArray:
        """Return the tiles in which pixels are, shape (n,)."""
        row, column = (
            np.searchsorted(begins, places, side="right") - 1
            for begins, places in ((self._rows, y), (self._columns, x))
        )
        tile: IntArray = row * self._columns.size + column
        return tile

    def where(self, tile: int) -> Where:
        """Return the rows and columns of a tile."""
        return self._tiles[tile]

    def rows_of_tile(self, tile: int, plane: int, first: int, stop: int) -> NDArray[Any]:
        """Return some rows of a tile of a plane."""
        rows, columns = self._tiles[tile]
        height, width = rows.stop - rows.start, columns.stop - columns.start
        part = np.empty((stop - first, width), self.dtype)
        place = int(self._begin[tile]) + (plane * height + first) * width * self.dtype.itemsize
        _read_all(self._handle, part.reshape(-1).view(np.uint8).data, place)
        return part


@dataclass(frozen=True, eq=False)
class StoredPlane:
    """One of the planes of a file, read by rows and columns and by pixels."""

    file: TileFile
    number: int
    ndim = 2

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx)."""
        return self.file.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of its pixels."""
        return self.file.dtype

    def __getitem__(self, where: Where) -> NDArray[Any]:
        """Return the pixels of rows and columns; slices may be open, as those of arrays."""
        rows, columns = (slice(*part.indices(size)[:2]) for part, size in zip(where, self.shape, strict=True))
        result = np.empty((max(rows.stop - rows.start, 0), max(columns.stop - columns.start, 0)), self.dtype)
        if not result.size:
            return result
        for tile in self.file.tiles_of((rows, columns)):
            y, x = self.file.where(tile)
            top, bottom = max(rows.start, y.start), min(rows.stop, y.stop)
            left, right = max(columns.start, x.start), min(columns.stop, x.stop)
            part = self.file.rows_of_tile(tile, self.number, top - y.start, bottom - y.start)
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
        values, tile = np.empty(y.size, self.dtype), self.file.tile_of(y, x)
        order = np.argsort(tile, kind="stable")
        for own in np.split(order, np.flatnonzero(np.diff(tile[order])) + 1) if y.size else []:
            rows, columns = self.file.where(int(tile[own[0]]))
            first = int(y[own].min())
            part = self.file.rows_of_tile(
                int(tile[own[0]]), self.number, first - rows.start, int(y[own].max()) + 1 - rows.start
            )
            values[own] = part[y[own] - first, x[own] - columns.start]
        return values


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


def _opened(shape: tuple[int, int], dtype: str, number: int, tiles: Sequence[Where], path: Path) -> TileFile:
    """Return planes that another process has made."""
    handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    return TileFile(shape, dtype, number=number, tiles=tiles, path=path, handle=handle)


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
