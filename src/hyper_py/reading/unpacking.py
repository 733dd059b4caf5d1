"""Packed FITS files, unpacked as far as their headers go; and the sizes that headers promise.

What is packed may unpack to any size, and a header may promise any size: both are compared with what can be
there before memory or disk is filled.
"""

import bz2
import gzip
import math
import os
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from hyper_py.diagnostics import InputError
from hyper_py.files import DISK_FULL, open_regular

BLOCK = 2880
_LONGEST_HEADER, _MOST_AXES = 2000 * BLOCK, 999
_COPY_STEP = 1 << 20
_GZIP_RATIO = 1032
"""Most bytes that one byte of deflated data can stand for (RFC 1951)."""
_MARGIN = 1 << 20
_OPENERS: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open}


def is_packed(path: Path) -> bool:
    """Tell whether a file is gzipped or bzipped, by its first bytes."""
    with open_regular(path) as stream:
        return _opener(stream.read(3)) is not None


def _opener(first: bytes) -> Any:
    return next((opener for magic, opener in _OPENERS.items() if first.startswith(magic)), None)


def unpack(path: Path, target: IO[bytes]) -> None:
    """Write the HDUs of a packed FITS file, and at most two blocks of what follows them.

    Parameters
    ----------
    path : Path
    target : binary file
        On the disk.

    Raises
    ------
    InputError
        It cannot be unpacked, promises more than it can hold, or needs more disk space than there is.
    """
    with open_regular(path) as packed:
        opener = _opener(packed.read(3))
        packed.seek(0)
        size = os.fstat(packed.fileno()).st_size
        most = _GZIP_RATIO * size + _MARGIN if opener is gzip.open else math.inf
        try:
            with opener(packed, "rb") as stream:
                copy = _Copy(path.name, stream, target, most)
                end_of_hdus(copy, path.name, skip=copy.skip)
                copy.read(BLOCK)
        except (EOFError, zlib.error) as error:
            raise InputError(f"{path.name}: cannot be unpacked: {error}") from None
        except OSError as error:
            if error.errno in DISK_FULL:
                raise InputError(f"{path.name}: no space left on the disk to unpack it") from None
            raise InputError(f"{path.name}: cannot be unpacked: {error}") from None
    target.flush()


class _Copy:
    """A stream that is read once, and written to a file as it is read."""

    def __init__(self, name: str, source: IO[bytes], target: IO[bytes], most: float) -> None:
        self.name, self.source, self.target, self.most = name, source, target, most
        self.n_done = 0

    def read(self, size: int) -> bytes:
        block = self.source.read(size)
        self.target.write(block)
        self.n_done += len(block)
        return block

    def skip(self, size: int) -> None:
        """Copy so many bytes, if they can be there and there is space for them."""
        if self.n_done + size > self.most:
            raise InputError(
                f"{self.name}: the file is cut short: its headers ask for {self.n_done + size} bytes, "
                "more than it can hold"
            )
        free = shutil.disk_usage(os.path.dirname(_place(self.target))).free
        if size > free:
            raise InputError(
                f"{self.name}: {size / 1e9:.3g} GB to unpack, but {free / 1e9:.3g} GB are free: unpack it "
                "elsewhere, or set TMPDIR"
            )
        while size > 0 and (block := self.read(min(size, _COPY_STEP))):
            size -= len(block)


def _place(target: IO[bytes]) -> str:
    import tempfile

    return target.name if isinstance(target.name, str) else os.path.join(tempfile.gettempdir(), "")


def end_of_hdus(stream: Any, name: str, *, skip: Callable[[int], Any]) -> int:
    """Return the byte at which the last HDU ends according to the headers; 0 if the file is not FITS.

    Parameters
    ----------
    stream : object with read()
        At the beginning of the file.
    name : str
        Of the file, for messages.
    skip : callable
        Passes over so many bytes of the stream.

    Raises
    ------
    InputError
        A size in a header that is not possible.
    """
    end = 0
    while True:
        cards, length = _raw_cards(stream, b"XTENSION" if end else b"SIMPLE")
        if not cards:
            return end
        size = -(-_data_size(cards, name) // BLOCK) * BLOCK
        skip(size)
        end += length + size


def _data_size(cards: dict[bytes, bytes], name: str) -> int:
    """Return the bytes of data that a header promises."""
    try:
        naxis = int(cards.get(b"NAXIS", b""))
        if not 0 <= naxis <= _MOST_AXES:
            raise InputError(f"{name}: NAXIS = {naxis} is not possible: correct the file")
        sizes = [int(cards[b"NAXIS%d" % i]) for i in range(1, naxis + 1)]
        if sizes[:1] == [0] and b"GROUPS" in cards:
            sizes = sizes[1:]
        values = math.prod(sizes) + int(cards.get(b"PCOUNT", 0)) if sizes else 0
        size = abs(int(cards.get(b"BITPIX", b""))) // 8 * values * int(cards.get(b"GCOUNT", 1))
    except (KeyError, ValueError) as error:
        raise InputError(f"{name}: BITPIX, NAXIS or a size of an axis is missing or no number") from error
    if size < 0:
        raise InputError(f"{name}: a size of an axis is negative: correct the file")
    if cards.get(b"ZIMAGE") == b"T":
        _check_tiles(cards, name)
    return size


def _check_tiles(cards: dict[bytes, bytes], name: str) -> None:
    """Raise `InputError` unless a tile-compressed image has as many tiles as its size asks for."""
    try:
        sizes = [int(cards[b"ZNAXIS%d" % i]) for i in range(1, int(cards[b"ZNAXIS"]) + 1)]
        # Tiles are rows where nothing else is said.
        tiles = [int(cards.get(b"ZTILE%d" % (i + 1), 1 if i else size)) for i, size in enumerate(sizes)]
        n_tiles = math.prod(-(-size // tile) for size, tile in zip(sizes, tiles, strict=True))
        n_rows = int(cards[b"NAXIS2"])
    except (KeyError, ValueError, ZeroDivisionError) as error:
        raise InputError(f"{name}: a size of a compressed image is missing or no number") from error
    if min(sizes, default=0) < 0 or n_tiles != n_rows:
        raise InputError(
            f"{name}: a compressed image has {n_rows} tiles, its size asks for {n_tiles}: correct the file"
        )


def _raw_cards(stream: Any, first: bytes) -> tuple[dict[bytes, bytes], int]:
    """Read a header as texts of values and its length in bytes; nothing if it does not begin with `first`."""
    cards: dict[bytes, bytes] = {}
    for length in range(BLOCK, _LONGEST_HEADER, BLOCK):
        block = stream.read(BLOCK)
        if len(block) < BLOCK or not (cards or block.startswith(first)):
            break
        for at in range(0, BLOCK, 80):
            key = block[at : at + 8].rstrip()
            if key == b"END":
                return cards, length
            cards.setdefault(key, block[at + 10 : at + 80].split(b"/")[0].strip())
    return {}, 0
