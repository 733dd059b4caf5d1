"""Records of complete maps: what was measured, from which input, and which files were written.

A map's outputs are written under temporary names beside their places and renamed; its record is written
last. A map with a record is complete, whatever happened to the run.

A results folder may come from anybody, so a record is data that is checked: one with a wrong key, type or
name is no record, and its map is done again. A path in it is used only if it stays in the folder.
"""

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from hyper_py.diagnostics import InputError
from hyper_py.files import checksum, is_inside, read_small
from hyper_py.names import file_stem, printable
from hyper_py.writing.layout import STATE_DIR, Layout

_LARGEST_RECORD = 50_000_000


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is recorded of a complete map.

    Attributes
    ----------
    name, checksum : str
        Of the map, and the SHA-256 of its file.
    depends : dict of str to str
        What else the result depends on, by its name: a hash of each.
    n_sources : int
    rms : float or None
    unit : str
    pixel_scale, seconds : float
    warnings, outputs : tuple of str
    files : dict of str to str
        SHA-256 of each file, by its path in the output directory.
    columns : tuple of (name, unit, description)
        Columns of the catalogue; none for a cube.
    parts : tuple of str
        The channels of a cube; none for a map.
    beam_fwhm : float or None
        Geometric mean FWHM of the beam in arcsec.
    notes : tuple of str
        What was assumed or corrected when the file was read.
    flags : dict of str to int
        How many rows have each flag.
    bands : tuple of dict
        What is known of each band of a field; none for a map.
    """

    name: str
    checksum: str
    depends: dict[str, str]
    n_sources: int
    rms: float | None
    unit: str
    pixel_scale: float | None
    seconds: float
    warnings: tuple[str, ...]
    outputs: tuple[str, ...]
    files: dict[str, str]
    columns: tuple[tuple[str, str, str], ...] = ()
    parts: tuple[str, ...] = field(default=())
    beam_fwhm: float | None = None
    notes: tuple[str, ...] = ()
    flags: dict[str, int] = field(default_factory=dict)
    bands: tuple[dict[str, Any], ...] = field(default=())

    def to_json(self) -> str:
        """Return the text that `read_record` reads."""
        return as_json(asdict(self))


def _checked(values: Any) -> Record | None:
    """Return a record made from JSON; None unless every key is there with a value of its type."""
    if not isinstance(values, dict) or values.keys() != {item.name for item in fields(Record)}:
        return None
    numbers = (values["rms"], values["pixel_scale"], values["seconds"], values["beam_fwhm"])
    columns = values["columns"]
    good = (
        all(_is_text(values[key]) for key in ("name", "checksum", "unit"))
        and all(_are_texts(values[key]) for key in ("warnings", "outputs", "parts", "notes"))
        and all(_are_named_texts(values[key]) for key in ("depends", "files"))
        and all(one is None or (_is_number(one) and one >= 0) for one in numbers)
        and values["seconds"] is not None
        and type(values["n_sources"]) is int
        and values["n_sources"] >= 0
        and isinstance(values["bands"], list)
        and all(isinstance(one, dict) for one in values["bands"])
        and isinstance(values["flags"], dict)
        and all(type(one) is int for one in values["flags"].values())
        and isinstance(columns, list)
        and all(_are_texts(column) and len(column) == 3 for column in columns)
    )
    if not good:
        return None
    tuples = {key: tuple(values[key]) for key in ("warnings", "outputs", "parts", "bands", "notes")}
    return Record(**{**values, **tuples, "columns": tuple(tuple(column) for column in columns)})


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _are_texts(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(one, str) for one in values)


def _are_named_texts(values: Any) -> bool:
    return isinstance(values, dict) and _are_texts([*values.values()])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def read_record(layout: Layout, name: str) -> Record | None:
    """Return the record of a complete map; None if there is none, or it is not one of this map."""
    path = layout.root / layout.state(name)
    try:
        record = _checked(json.loads(read_small(path, most=_LARGEST_RECORD)))
    except (OSError, ValueError, RecursionError, InputError):
        return None
    return record if record is not None and record.name == name else None


def files_are_whole(layout: Layout, record: Record) -> bool:
    """Whether all files of a record are there as they were written."""
    own = set(layout.outputs(record.name))
    for relative, expected in record.files.items():
        if relative not in own and not is_inside(layout.root, relative):
            return False
        try:
            if checksum(layout.root / relative) != expected:
                return False
        except (OSError, InputError):
            return False
    return True


def forget_map(layout: Layout, name: str) -> tuple[str, ...]:
    """Remove the record of a map, the outputs that it names, and those that this run would write.

    Of the paths in the record, only those in the output directory that have the map's name are touched.

    Returns
    -------
    tuple of str
        What was removed, but the hidden files, sorted.
    """
    record = read_record(layout, name)
    stem = file_stem(name)
    named = () if record is None else (
        path for path in record.files if stem in Path(path).name and is_inside(layout.root, path)
    )  # fmt: skip
    with suppress(OSError):
        (layout.root / layout.state(name)).unlink()
    removed = []
    for relative in {*named, *layout.outputs(name)}:
        with suppress(OSError):
            (layout.root / relative).unlink()
            removed.append(relative)
    return tuple(sorted(one for one in removed if not one.startswith(STATE_DIR)))


def as_json(value: Any) -> str:
    """Return JSON for people and programs; numbers that JSON lacks become null."""
    return json.dumps(_clean(value), indent=2, ensure_ascii=False) + "\n"


def _clean(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {_encodable(str(key)): _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return _encodable(str(value))


def _encodable(text: str) -> str:
    """Return a text that UTF-8 can hold: JSON itself escapes the controls."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return printable(text)
    return text


def parts_of(layout: Layout, name: str) -> list[str]:
    """Return the maps that a complete input consists of: itself, or the channels of a cube."""
    record = read_record(layout, name)
    return list(record.parts) if record and record.parts else [name]
