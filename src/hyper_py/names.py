"""Names and texts from anywhere, as names of files, on a terminal, and in links.

A file name may hold any byte but "/" and NUL: line feeds, escape sequences, bytes that are no UTF-8. Each of
these becomes %XX, as in a URL, before a name reaches a table, a log, a terminal or the name of an output.
"""

import hashlib
import unicodedata
from urllib.parse import quote

LONGEST_STEM = 160
"""Bytes of a map's name in the names of its outputs; file systems allow 255 for the whole name."""

_UNPRINTABLE = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Controls, invisible marks that reorder text, bytes that are no UTF-8, separators of lines."""


def printable(text: str) -> str:
    r"""Return a text of one line that any terminal, table and editor shows as it is.

    Parameters
    ----------
    text : str
        Undecodable bytes are surrogates, as `os.fsdecode` gives them.

    Examples
    --------
    >>> printable("a\x1b[2Jb")
    'a%1B[2Jb'
    >>> printable("m\udcff")
    'm%FF'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(c) if _is_unprintable(c) else c for c in text)


def _is_unprintable(character: str) -> bool:
    no_character = ord(character) & 0xFFFE == 0xFFFE  # XML has no way to write these
    return no_character or unicodedata.category(character) in _UNPRINTABLE


def _escaped(character: str) -> str:
    try:
        code = character.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half of a surrogate pair, from JSON or Windows
        code = character.encode("utf-8", "surrogatepass")
    return "".join(f"%{byte:02X}" for byte in code)


def map_label(name: str) -> str:
    """Return the name of a map in tables: printable, without blanks at its ends, which readers strip.

    Examples
    --------
    >>> map_label(" m 1 ")
    '%20m 1%20'
    """
    text = printable(name)
    inner = text.strip()
    if not inner:
        return quote(text)
    start = text.index(inner)
    return f"{quote(text[:start])}{inner}{quote(text[start + len(inner) :])}"


def printable_lines(text: str) -> str:
    """Return a text whose lines are printable; tabs stay."""
    return "\n".join("\t".join(map(printable, line.split("\t"))) for line in text.split("\n"))


def file_stem(name: str) -> str:
    """Return the part of the names of outputs that stands for a map: in one directory, and not too long.

    Parameters
    ----------
    name : str
        Anything; a printable name of ordinary length is returned as it is.

    Examples
    --------
    >>> file_stem("IRAS12:45?b")
    'IRAS12:45?b'
    >>> file_stem("../../thesis")
    '..%2F..%2Fthesis'
    """
    stem = printable(name).replace("/", "%2F").replace("\\", "%5C")
    code = stem.encode()
    if len(code) <= LONGEST_STEM:
        return stem
    mark = hashlib.sha256(code).hexdigest()[:12]
    return f"{code[: LONGEST_STEM - 13].decode(errors='ignore')}~{mark}"


def link(path: str) -> str:
    """Return a relative path as a URL: never one with a scheme, such as `javascript:`.

    Examples
    --------
    >>> link("javascript:alert(1)#x?.html")
    'javascript%3Aalert%281%29%23x%3F.html'
    """
    return quote(path, errors="surrogateescape")
