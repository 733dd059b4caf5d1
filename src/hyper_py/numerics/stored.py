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
    journal = current_journal()
    if journal is None:
        plane = StoredPlane(shape, dtype)
    else:
        work = journal.begin(place_of_call(), len(tiles))
        if journal.is_dropped(work):
            return StoredPlane(shape, dtype, handle=-1)
        path = journal.plane(work)
        plane = StoredPlane(shape, dtype, path=path, n_tiles=len(tiles))
        weakref.finalize(plane, journal.drop, work).atexit = False

    def write(k: int) -> None:
        if not plane.has_tile(k, tiles[k]):
            plane.write(tiles[k], make(*tiles[k]), tile=k)

    for _ in in_order(write, range(len(tiles)), recorded=False):
        pass
    return plane


def stored_planes(
    shape: tuple[int, int],
    dtype: DTypeLike,
    *,
    number: int,
    make: Callable[[slice, slice], Sequence[NDArray[Any]]],
    tiles: Sequence[Where],
) -> tuple["PlaneOfSeveral", ...]:
    """Return planes that are made together, as `stored_plane`: their rows lie beside each other in one."""

    def beside(rows: slice, columns: slice) -> NDArray[Any]:
        parts = make(slice(rows.start // number, rows.stop // number), columns)
        return np.stack(list(parts), axis=1).reshape(rows.stop - rows.start, -1)

    all_rows = [(slice(number * rows.start, number * rows.stop), columns) for rows, columns in tiles]
    together = stored_plane((number * shape[0], shape[1]), dtype, make=beside, tiles=all_rows)
    return tuple(PlaneOfSeveral(together, k, number) for k in range(number))


class StoredPlane:
    """A plane in a file, written and read by rows and columns, by any process that shares it.

    The file is read, not mapped: pages of a memory map would count as memory of the process.

    Parameters
    ----------
    shape : (ny, nx)
    dtype : dtype
    path : Path, optional
        Of its file, which may be there; if not given, it has none and goes with the process.
    n_tiles : int
        Of which checksums are kept; none without a path.
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
        path: Path | None = None,
        n_tiles: int = 0,
        handle: int | None = None,
    ) -> None:
        self.shape, self.dtype, self._path = shape, np.dtype(dtype), path
        self._end = shape[0] * shape[1] * self.dtype.itemsize
        if handle is None:
            handle = _made_file(path, self._end + n_tiles * _CHECKSUM.size)
        self._handle = handle
        if handle >= 0:
            weakref.finalize(self, os.close, handle)

    def __reduce__(self) -> tuple[Any, ...]:
        """Have other processes open the file."""
        if self._path is None:
            raise TypeError("a plane in a file without a name cannot be sent to other processes")
        return _opened, (self.shape, self.dtype.str, self._path)

    def write(self, where: Where, part: NDArray[Any], *, tile: int | None = None) -> None:
        """Write rows and columns; if they are a tile, its checksum too."""
        rows, columns = where
        part, step = np.ascontiguousarray(part, dtype=self.dtype), self.shape[1] * self.dtype.itemsize
        place = rows.start * step + columns.start * self.dtype.itemsize
        with self._to_write() as handle:
            for k, row in enumerate(part.view(np.uint8)):
                _write_all(handle, row.data, place + k * step)
            if tile is not None and self._path is not None:
                text = _CHECKSUM.pack(zlib.crc32(part.view(np.uint8).data), 1)
                _write_all(handle, memoryview(text), self._end + tile * _CHECKSUM.size)

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

    def has_tile(self, tile: int, where: Where) -> bool:
        """Return whether a tile is there as it was written."""
        if self._path is None:
            return False
        checksum, written = _CHECKSUM.unpack(
            os.pread(self._handle, _CHECKSUM.size, self._end + tile * _CHECKSUM.size)
        )
        return bool(written) and zlib.crc32(self[where].view(np.uint8).data) == checksum

    def __getitem__(self, where: Where) -> NDArray[Any]:
        """Return the pixels of rows, every so many of them, and columns; slices may be open, as of arrays."""
        rows = range(*where[0].indices(self.shape[0]))
        first, stop, _ = where[1].indices(self.shape[1])
        part = np.empty((len(rows), max(stop - first, 0)), self.dtype)
        if not part.size:
            return part
        step, begin = self.shape[1] * self.dtype.itemsize, first * self.dtype.itemsize
        for k, row in zip(rows, part.view(np.uint8), strict=True):
            _read_all(self._handle, row.data, k * step + begin)
        return part

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """Return the whole plane as an array."""
        return np.asarray(self[:, :], dtype=dtype)

    def at(self, y: IntArray, x: IntArray) -> NDArray[Any]:
        """Return the values of pixels, shape (n,)."""
        values, size = np.empty(y.size, self.dtype), self.dtype.itemsize
        places = (np.asarray(y, dtype=np.int64) * self.shape[1] + x) * size
        for row, place in zip(values.view(np.uint8).reshape(y.size, size), places.tolist(), strict=True):
            _read_all(self._handle, row.data, place)
        return values


@dataclass(frozen=True, eq=False)
class PlaneOfSeveral:
    """One of `n` planes in one file, see `stored_planes`."""

    together: StoredPlane
    number: int
    n: int
    ndim = 2

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx)."""
        return self.together.shape[0] // self.n, self.together.shape[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of its pixels."""
        return self.together.dtype

    def __getitem__(self, where: Where) -> NDArray[Any]:
        """Return the pixels of rows and columns; slices may be open, as those of arrays."""
        first, stop, _ = where[0].indices(self.shape[0])
        return self.together[slice(self.n * first + self.number, self.n * stop, self.n), where[1]]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """Return the whole plane as an array."""
        return np.asarray(self[:, :], dtype=dtype)

    def at(self, y: IntArray, x: IntArray) -> NDArray[Any]:
        """Return the values of pixels, shape (n,)."""
        return self.together.at(self.n * y + self.number, x)


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


def _opened(shape: tuple[int, int], dtype: str, path: Path) -> StoredPlane:
    """Return a plane that another process has made."""
    return StoredPlane(shape, dtype, path=path, handle=os.open(path, os.O_RDWR | os.O_CLOEXEC))


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
