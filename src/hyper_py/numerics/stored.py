"""Planes that are made once and kept in a file without a name, which vanishes with this process."""

import os
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from hyper_py.arrays import IntArray
from hyper_py.numerics.tiles import Where

_directory: ContextVar[Path | None] = ContextVar("directory", default=None)


@contextmanager
def stored_in(directory: Path) -> Iterator[None]:
    """Have planes kept in files in a directory inside this context; else it is that of temporary files."""
    before = _directory.set(directory)
    try:
        yield
    finally:
        _directory.reset(before)


class StoredPlane:
    """A plane in a file, written and read by rows and columns, by any process that shares it.

    The file is read, not mapped: pages of a memory map would count as memory of the process.

    Parameters
    ----------
    shape : (ny, nx)
    dtype : dtype

    Raises
    ------
    OSError
        There is no space for all of it.
    """

    ndim = 2

    def __init__(self, shape: tuple[int, int], dtype: DTypeLike) -> None:
        self.shape, self.dtype = shape, np.dtype(dtype)
        with tempfile.TemporaryFile(dir=_directory.get()) as file:
            self._handle = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._handle)
        size = shape[0] * shape[1] * self.dtype.itemsize
        if hasattr(os, "posix_fallocate") and size:
            os.posix_fallocate(self._handle, 0, size)
        else:
            os.truncate(self._handle, size)

    def write(self, where: Where, part: NDArray[Any]) -> None:
        """Write rows and columns."""
        rows, columns = where
        part, step = np.ascontiguousarray(part, dtype=self.dtype), self.shape[1] * self.dtype.itemsize
        place = rows.start * step + columns.start * self.dtype.itemsize
        for k, row in enumerate(part.view(np.uint8)):
            _write_all(self._handle, row.data, place + k * step)

    def __getitem__(self, where: Where) -> NDArray[Any]:
        """Return the pixels of rows and columns; slices may be open, as those of arrays."""
        rows, columns = (slice(*part.indices(size)[:2]) for part, size in zip(where, self.shape, strict=True))
        part = np.empty((max(rows.stop - rows.start, 0), max(columns.stop - columns.start, 0)), self.dtype)
        if not part.size:
            return part
        step = self.shape[1] * self.dtype.itemsize
        place = rows.start * step + columns.start * self.dtype.itemsize
        for k, row in enumerate(part.view(np.uint8)):
            _read_all(self._handle, row.data, place + k * step)
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


def _write_all(handle: int, data: memoryview, place: int) -> None:
    while data:
        n = os.pwrite(handle, data, place)
        data, place = data[n:], place + n


def _read_all(handle: int, data: memoryview, place: int) -> None:
    while data:
        n = os.preadv(handle, [data], place)
        if not n:
            raise OSError("a file of a plane is cut short")
        data, place = data[n:], place + n
