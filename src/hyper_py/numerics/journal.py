"""A journal of the parts of a map that are done, from which a run that was killed goes on.

A map is worked on in the same order each time: the n-th piece of work of one run is the n-th of the next. So
a journal needs no more than the number of each piece of work, the numbers of its parts, and their results,
one after another in a file. Each record is written at once when its result is there, with a checksum:
whatever kills the run, what is whole in the file is right, and the rest is done again. Planes
(`hyper_py.numerics.stored`) are files beside the journal, named by the number of the work that makes them.

The directory may come from anybody: records are plain values (`hyper_py.numerics.plain_bytes`), and what is
no regular file, such as a link, is removed and never followed.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from hyper_py.files import open_own, remove_all
from hyper_py.numerics.answers import Answer, kept, of_kept
from hyper_py.numerics.plain_bytes import DamagedBytesError

_HEADER = struct.Struct("<QIII")
"""Bytes of the text, checksum, number of the work, number of the part."""
_BEGUN, _DROPPED, _KEY = 2**32 - 1, 2**32 - 2, 2**32 - 3
"""In place of a part: a piece of work begins, a plane is not needed any more, what the journal is for."""
_LONGEST_PLACE, _LONGEST, _STEP = 200, 2**30, 2**20
"""Bytes of a place or key, of a record, and read at once."""


class UnusableJournalError(RuntimeError):
    """What is needed is not in the journal: the map is to be done anew."""


@dataclass(eq=False)
class _Work:
    """What an earlier run has written of a piece of work: where it was asked for, and its parts."""

    place: str
    begin: int
    parts: dict[int, int] = field(default_factory=dict)
    dropped: bool = False


class Journal:
    """The journal of one map.

    Parameters
    ----------
    directory : Path
        For this map alone; it is made if it is not there.
    key : str
        Of all that results depend on; a journal with another key is emptied.
    """

    def __init__(self, directory: Path, key: str) -> None:
        self.directory, self._key, self._pid = directory, key, os.getpid()
        self._known: list[_Work] = []
        self._n, self.n_found = 0, 0
        self._file = self._open()
        end = self._load()
        if end:
            os.ftruncate(self._file, end)
        else:
            self.clear()

    def begin(self, place: str, n_parts: int) -> int:
        """Return the number of the next piece of work.

        Parameters
        ----------
        place : str
            Where in the program it is asked for. If an earlier run was somewhere else by then, nothing of it
            is used from here on.
        n_parts : int
        """
        work, place = self._n, f"{n_parts} {place}"
        self._n += 1
        if work < len(self._known) and self._known[work].place != place:
            self._forget_from(work)
        if work >= len(self._known):
            self._known.append(_Work(place, 0))
            remove_all(self.plane(work))
            self._write(work, _BEGUN, place.encode())
        return work

    def has(self, work: int | None, part: int) -> bool:
        """Return whether an earlier run has done a part."""
        return work is not None and part in self._known[work].parts

    def read(self, work: int | None, part: int) -> Answer:
        """Return what came of a part, which is then forgotten here."""
        assert work is not None
        begin = self._known[work].parts.pop(part)
        length = _HEADER.unpack(os.pread(self._file, _HEADER.size, begin))[0]
        try:
            return of_kept(os.pread(self._file, length, begin + _HEADER.size))
        except DamagedBytesError as error:
            raise UnusableJournalError(str(error)) from None

    def put(self, work: int | None, part: int, answer: Answer) -> None:
        """Keep what came of a part, unless it is no result that can be kept: then it is done again."""
        assert work is not None
        with suppress(TypeError):
            self._write(work, part, kept(answer) if answer.record is None else answer.record)
        answer.record = None

    def plane(self, work: int) -> Path:
        """Return the file of the plane that a piece of work makes."""
        return self.directory / f"plane_{work}"

    def drop(self, work: int) -> None:
        """Remove a plane that is not needed any more; copies of this process do not."""
        if self._file >= 0 and os.getpid() == self._pid:
            self._write(work, _DROPPED, b"")
            remove_all(self.plane(work))

    def is_dropped(self, work: int) -> bool:
        """Return whether an earlier run had no more need of a plane."""
        return self._known[work].dropped

    def close(self) -> None:
        """Write nothing more, and remove nothing."""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def clear(self) -> None:
        """Begin anew, without anything of an earlier run."""
        self.close()
        remove_all(self.directory)
        self._known, self._n, self.n_found = [], 0, 0
        self._file = self._open()
        self._write(0, _KEY, self._key.encode())

    def _open(self) -> int:
        if self.directory.is_symlink() or not self.directory.is_dir():
            remove_all(self.directory)
            self.directory.mkdir(parents=True)
        return open_own(self.directory / "journal", os.O_APPEND)

    def _write(self, work: int, part: int, text: bytes) -> None:
        if len(text) > _LONGEST:
            return  # it would not be read
        record = memoryview(_HEADER.pack(len(text), _checksum(work, part, text), work, part) + text)
        while record:
            record = record[os.write(self._file, record) :]

    def _load(self) -> int:
        """Learn what is in the file; return where it is damaged, or ends: 0 if it is for something else."""
        end = 0
        for begin, length, work, part in self._records():
            place = begin + _HEADER.size
            if part in (_KEY, _BEGUN):
                text = os.pread(self._file, min(length, _LONGEST_PLACE), place).decode(errors="replace")
            if not begin and (part != _KEY or text != self._key):
                return 0
            if part == _BEGUN and work == len(self._known):
                self._known.append(_Work(text, begin))
            elif part == _KEY and not begin:
                pass
            elif part in (_KEY, _BEGUN) or work >= len(self._known):
                break
            elif part == _DROPPED:
                self._known[work].dropped = True
            else:
                self._known[work].parts[part] = begin
                self.n_found += 1
            end = place + length
        return end

    def _records(self) -> Iterator[tuple[int, int, int, int]]:
        """Yield place, length, work and part of the records, until one is not as it was written."""
        size, begin = os.fstat(self._file).st_size, 0
        while begin + _HEADER.size <= size:
            length, checksum, work, part = _HEADER.unpack(os.pread(self._file, _HEADER.size, begin))
            end = begin + _HEADER.size + length
            if end > size or length > _LONGEST:
                return
            found = _checksum(work, part, b"")
            for place in range(begin + _HEADER.size, end, _STEP):
                found = zlib.crc32(os.pread(self._file, min(_STEP, end - place), place), found)
            if found != checksum:
                return
            yield begin, length, work, part
            begin = end

    def _forget_from(self, work: int) -> None:
        """Cut off what an earlier run has written from a piece of work on."""
        os.ftruncate(self._file, self._known[work].begin)
        for k in range(work, len(self._known)):
            remove_all(self.plane(k))
        del self._known[work:]


def _checksum(work: int, part: int, text: bytes) -> int:
    return zlib.crc32(text, zlib.crc32(struct.pack("<II", work, part)))
