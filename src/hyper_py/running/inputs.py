"""Which maps to do: list files, paths, globs, directories and table columns become named paths."""

import csv
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hyper_py.diagnostics import ConfigurationError
from hyper_py.names import map_label
from hyper_py.reading.recognise import is_casa_image

MAP_SUFFIXES = (".fits", ".fit", ".fts")
PACKED_SUFFIXES = (".gz", ".fz", ".bz2")
LIST_SUFFIXES = (".txt", ".lis", ".list")
TABLE_SUFFIXES = (".csv", ".ecsv", ".vot", ".xml", ".parquet")
PATH_COLUMNS = ("path", "file", "filename", "file_name", "map", "map_name", "image")
RESERVED_NAMES = ("ALL", "CUBE_ALL", "OVERLAPS", "OVERLAP_CHECKS")
_COMMENT = re.compile(r"(^|\s)#.*")
_LONGEST_LIST = 100_000_000


@dataclass(frozen=True, kw_only=True)
class MapInput:
    """A map to process: its file, and the name of its outputs."""

    name: str
    path: Path


def map_name(path: str | Path) -> str:
    """Return the name of a map: its file's without .fits, .fit, .gz and .fz."""
    name = Path(path).name
    for suffixes in (PACKED_SUFFIXES, MAP_SUFFIXES):
        for suffix in suffixes:
            if name.lower().endswith(suffix) and len(name) > len(suffix):
                name = name[: -len(suffix)]
                break
    return name


def resolve_inputs(inputs: Sequence[str | Path] | None, *, list_file: Path, maps_dir: Path) -> list[MapInput]:
    """Return the maps of a run, in order.

    Parameters
    ----------
    inputs : sequence of str or Path, or None
        FITS files, directories (their maps by name), globs (matches by name), text files with one map a
        line, tables with a column of paths. None: `list_file`.
    list_file : Path
        Text file with one map a line below `maps_dir`; `#` starts a comment.
    maps_dir : Path
        Directory of the names in `list_file`. Names in other lists and tables are relative to these.

    Returns
    -------
    list of MapInput
        Files need not exist: a missing one is the failure of that map alone.

    Raises
    ------
    ConfigurationError
        A list or table that cannot be read, nothing to do, or two maps with one name.
    """
    if inputs is None:
        paths = list(_read_list(list_file, maps_dir))
        asked = str(list_file)
    else:
        paths = [path for one in inputs for path in expand(one)]
        asked = ", ".join(map(str, inputs)) or "no input"
    if not paths:
        raise ConfigurationError(
            f"{asked}: no maps to run; give FITS files, a directory, a glob or a list file"
        )
    maps = [MapInput(name=map_label(_name_of(path)), path=path) for path in paths]
    _refuse_clashes(maps)
    return maps


def _name_of(path: Path) -> str:
    """Return the name of a map, that of a CASA image without .image."""
    return path.name.removesuffix(".image") if is_casa_image(path) else map_name(path)


def _refuse_clashes(maps: Iterable[MapInput]) -> None:
    # Compared without case and as composed characters: on some file systems "A.txt" and "a.txt" are one file.
    seen: dict[str, Path] = {}
    for one in maps:
        key = unicodedata.normalize("NFC", one.name).casefold()
        if key in seen:
            raise ConfigurationError(
                f"two maps have the same name, '{one.name}', and would overwrite each other's outputs: "
                f"{seen[key]} and {one.path}; rename one, or run them into two directories"
            )
        if one.name.upper() in RESERVED_NAMES:
            raise ConfigurationError(
                f"{one.path}: outputs of a map named '{one.name}' "
                "would overwrite the merged catalogue; rename it"
            )
        seen[key] = one.path


def expand(one: str | Path) -> Iterator[Path]:
    """Yield the files that one input stands for: itself, those in a directory, a glob, a list or a table."""
    text = str(one)
    path = Path(text).expanduser()
    if map_name(path) != path.name and path.is_file():  # whatever else its name might mean
        return iter([path])
    if text.startswith("@"):
        path = Path(text[1:]).expanduser()
        return _read_list(path, path.parent)
    if is_casa_image(path):
        return iter([path])
    if path.is_dir():
        return _maps_in(path)
    if any(character in text for character in "*?[") and not path.exists():
        return _glob(path)
    if path.suffix.lower() in LIST_SUFFIXES:
        return _read_list(path, path.parent)
    table, _, column = text.partition("#")
    if Path(table).suffix.lower() in TABLE_SUFFIXES:
        return _read_column(Path(table).expanduser(), column)
    return iter([path])


def _maps_in(directory: Path) -> Iterator[Path]:
    for path in sorted(directory.iterdir()):
        if not path.name.startswith(".") and (
            is_casa_image(path) or (map_name(path) != path.name and path.is_file())
        ):
            yield path


def _glob(pattern: Path) -> Iterator[Path]:
    anchor = Path(pattern.anchor) if pattern.anchor else Path()
    matches = anchor.glob(str(pattern.relative_to(anchor) if pattern.anchor else pattern))
    found = sorted(path for path in matches if not path.name.startswith("."))
    if not found:
        raise ConfigurationError(f"{pattern}: no file matches")
    return iter(found)


def _read_list(path: Path, start: Path) -> Iterator[Path]:
    for line in _read_text(path, "list of maps").split("\n"):
        entry = _COMMENT.sub("", line).strip()
        if entry:
            yield start / Path(entry).expanduser()


def _read_text(path: Path, what: str) -> str:
    try:
        # A pipe will do; a file without an end will not. Names need not be UTF-8.
        with path.open("rb") as stream:
            data = stream.read(_LONGEST_LIST + 1)
        if b"\0" in data or len(data) > _LONGEST_LIST:
            raise ConfigurationError(f"{path}: cannot be read as a {what}: binary, or too long")
        return data.decode("utf-8-sig", errors="surrogateescape")
    except FileNotFoundError:
        raise ConfigurationError(
            f"{path}: no such {what}; write the names of maps into it, one a line, or give maps after `run`"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read as a {what}: {error}") from None


def _read_column(path: Path, column: str) -> Iterator[Path]:
    names, rows = _read_table(path)
    wanted = [column] if column else list(PATH_COLUMNS)
    lower = [name.strip().casefold() for name in names]
    place = next((lower.index(name.casefold()) for name in wanted if name.casefold() in lower), None)
    if place is None:
        raise ConfigurationError(
            f"{path}: no column {' or '.join(wanted)} with the names of maps among {', '.join(names)}; "
            f"name it as {path}#COLUMN"
        )
    for row in rows:
        if row[place].strip():
            yield path.parent / Path(row[place].strip()).expanduser()


def _read_table(path: Path) -> tuple[list[str], list[list[str]]]:
    if path.suffix.lower() == ".csv":
        rows = [row for row in csv.reader(_read_text(path, "table of maps").splitlines()) if row]
        return (rows[0], [row for row in rows[1:] if len(row) == len(rows[0])]) if rows else ([], [])
    from hyper_py.writing.tables import read_table

    if not path.exists():
        raise ConfigurationError(f"{path}: no such table of maps")
    table = read_table(path)
    columns = [[str(value) for value in table[name]] for name in table.colnames]
    return list(table.colnames), [list(row) for row in zip(*columns, strict=True)]
