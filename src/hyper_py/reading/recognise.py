"""What a file is: a CASA image; a cube, from its first headers. Cheap enough for any number of files."""

import gzip
import hashlib
import re
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from hyper_py.diagnostics import InputError
from hyper_py.files import checksum, open_regular

_BLOCK, _CARD = 2880, 80
_LONGEST_HEADER = 500
_MOST_UNPACKED = 1 << 30
_CASA_INFO, _MOST_INFO = "table.info", 10_000
_CARD_PATTERN = re.compile(r"([A-Z0-9_-]+) *= *('(?:[^']|'')*'|[^/]*)")


def is_cube(path: Path) -> bool:
    """Tell whether the first image of a file has three axes that are longer than one, Stokes not counted.

    A file that cannot be read is not a cube; the error is reported when it is read as a map.
    """
    if is_casa_image(path):
        from hyper_py.reading.casa import n_long_axes  # slow to import

        return n_long_axes(path) >= 3
    try:
        with open_regular(path) as stream:
            packed = stream.read(2) == b"\x1f\x8b"
            stream.seek(0)
            opened: Any = gzip.GzipFile(fileobj=stream) if packed else stream
            # To look behind a large first HDU of a packed file, all of it would have to be unpacked.
            for header in _headers(opened, most=_MOST_UNPACKED if packed else None):
                sizes = _long_axes(header)
                if sizes >= 2:
                    return sizes >= 3
    except (OSError, EOFError, ValueError, KeyError, zlib.error, InputError):
        pass
    return False


def is_casa_image(path: Path) -> bool:
    """Return whether a path is the directory of a CASA image."""
    try:
        info = path / _CASA_INFO
        if not path.is_dir() or not stat.S_ISREG(info.stat().st_mode) or info.stat().st_size > _MOST_INFO:
            return False
        return "Type = Image" in info.read_text(errors="replace")
    except OSError:
        return False


def casa_files(path: Path) -> list[Path]:
    """Return the files of a CASA image in a fixed order, but for its lock.

    Raises
    ------
    InputError
        If something in it is no regular file: it would be read without an end.
    """
    found = sorted(one for one in path.rglob("*") if not one.is_dir() and one.name != "table.lock")
    for one in found:
        if one.is_symlink() or not stat.S_ISREG(one.stat().st_mode):
            raise InputError(f"{path}: {one.name} is no regular file, as a CASA image has")
    return found


def casa_checksum(path: Path) -> str:
    """Return one SHA-256 of the names and contents of all files of a CASA image."""
    digest = hashlib.sha256()
    for one in casa_files(path):
        digest.update(f"{one.relative_to(path)}\0{checksum(one)}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _headers(file: IO[bytes], *, most: int | None) -> Iterator[dict[str, str]]:
    """Yield the headers of a file, skipping the data between them."""
    while True:
        cards: dict[str, str] = {}
        for _ in range(_LONGEST_HEADER):
            block = file.read(_BLOCK)
            if len(block) < _BLOCK:
                return
            text = block.decode("ascii", errors="replace")
            lines = [text[i : i + _CARD] for i in range(0, _BLOCK, _CARD)]
            for line in lines:
                match = _CARD_PATTERN.match(line)
                if match:
                    cards.setdefault(match[1], match[2].strip().strip("'").strip())
            if any(line.rstrip() == "END" for line in lines):
                break
        if not {"SIMPLE", "XTENSION"} & cards.keys():
            return
        yield cards
        count = 1 if int(cards.get("NAXIS", "0")) else 0
        for axis in range(1, int(cards.get("NAXIS", "0")) + 1):
            count *= int(cards[f"NAXIS{axis}"])
        values = int(cards.get("GCOUNT", "1")) * (int(cards.get("PCOUNT", "0")) + count)
        size = abs(int(cards["BITPIX"])) // 8 * values
        if most is not None and size > most:
            return
        file.seek(-(-size // _BLOCK) * _BLOCK, 1)


def _long_axes(header: dict[str, str]) -> int:
    """Count the axes of an image that are longer than one; 0 if the header is not of an image."""
    prefix = "Z" if "ZIMAGE" in header else ""
    if not prefix and header.get("XTENSION", "IMAGE") not in ("IMAGE", "IUEIMAGE"):
        return 0
    n_axes = int(header.get(f"{prefix}NAXIS", "0"))
    return sum(
        int(header[f"{prefix}NAXIS{axis}"]) > 1
        and not header.get(f"CTYPE{axis}", "").upper().startswith("STOKES")
        for axis in range(1, n_axes + 1)
    )
