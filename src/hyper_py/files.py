"""Files that anybody may have written: opened only if they are regular, and read to their size.

A FIFO or a device is refused before anything waits for it.
"""

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from hyper_py.diagnostics import InputError

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_STEP = 1 << 20


@contextmanager
def open_regular(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for reading, if it is a regular one (or a link to one).

    Raises
    ------
    InputError
        A directory, FIFO, socket or device.
    OSError
        It cannot be opened.
    """
    # Without O_NONBLOCK, opening a FIFO waits for its other end.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise InputError(f"{path}: no such file, but a directory, pipe or device")
    with os.fdopen(handle, "rb") as stream:
        yield stream


def read_small(path: Path, *, most: int) -> bytes:
    """Return the bytes of a regular file.

    Parameters
    ----------
    path : Path
    most : int
        Larger files are refused.

    Raises
    ------
    InputError
        Not a regular file, or too large.
    OSError
    """
    with open_regular(path) as stream:
        data = stream.read(most + 1)
    if len(data) > most:
        raise InputError(f"{path}: larger than {most / 1e6:g} MB, so not what it should be")
    return data


def checksum(path: Path) -> str:
    """Return the SHA-256 of a regular file, as long as it is when it is opened: it may be growing.

    Raises
    ------
    InputError
        Not a regular file.
    OSError
    """
    digest = hashlib.sha256()
    with open_regular(path) as stream:
        left = os.fstat(stream.fileno()).st_size
        while left > 0 and (block := stream.read(min(_STEP, left))):
            digest.update(block)
            left -= len(block)
    return digest.hexdigest()


def is_inside(root: Path, relative: str) -> bool:
    """Tell whether a path from an untrusted source stays below a directory, links followed."""
    path = Path(relative)
    if not relative or "\0" in relative or path.is_absolute() or ".." in path.parts:
        return False
    try:
        return (root / path).parent.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):  # a circle of links
        return False


def synchronise(path: Path) -> None:
    """Have a file, or the names in a directory, written to the disk, where that can be asked for."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno in (*DISK_FULL, errno.EIO):
            raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        os.close(handle)


def open_own(path: Path, flags: int = 0) -> int:
    """Return the handle of a file to read and write; what is no regular file of its own is replaced by one.

    Parameters
    ----------
    path : Path
        A link in its place is not followed, and nothing is written to a file that has another name too.
    flags : int
        Further ones of `os.open`.
    """
    flags |= os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    try:
        handle = os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0), 0o644)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise
    else:
        facts = os.fstat(handle)
        if stat.S_ISREG(facts.st_mode) and facts.st_nlink == 1:
            return handle
        os.close(handle)
    remove_all(path)
    return os.open(path, flags | os.O_EXCL, 0o644)


def remove_all(path: Path) -> None:
    """Remove a file, or a directory with what is in it, if it is there; of a link only the link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    elif os.path.lexists(path):
        path.unlink()


def unlink_if_link(path: Path) -> None:
    """Remove a symbolic link, which writing to `path` would follow."""
    if path.is_symlink():
        path.unlink()
