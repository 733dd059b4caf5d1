"""Records of complete maps: what was measured, from which input, and which files were written.

A map's outputs are written under temporary names beside their places and renamed; its record is written
last. A map with a record is complete, whatever happened to the run.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from hyper_py.writing.layout import Layout


def file_checksum(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_state(layout: Layout, name: str) -> dict[str, Any] | None:
    """Return the record of a complete map, or None; also if it cannot be read."""
    try:
        state = json.loads((layout.root / layout.state(name)).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return state if isinstance(state, dict) else None


def state_is_current(layout: Layout, state: Mapping[str, Any], *, checksum: str, fingerprint: str) -> bool:
    """Whether a record is of this input and configuration, and all its files are still as written."""
    if (state.get("checksum"), state.get("fingerprint")) != (checksum, fingerprint):
        return False
    sizes = state.get("sizes")
    if not isinstance(sizes, dict):
        return False
    for relative, size in sizes.items():
        try:
            if (layout.root / relative).stat().st_size != size:
                return False
        except OSError:
            return False
    return True


def forget_map(layout: Layout, name: str) -> None:
    """Remove the record of a map, the outputs that it names, and those that this run would write."""
    state = read_state(layout, name) or {}
    (layout.root / layout.state(name)).unlink(missing_ok=True)
    for relative in {*state.get("sizes", {}), *layout.outputs(name)}:
        with suppress(OSError):
            (layout.root / relative).unlink(missing_ok=True)


def as_json(value: Any) -> str:
    """Return JSON for people and programs; numbers that JSON lacks become null."""
    return json.dumps(_clean(value), indent=2, ensure_ascii=False, default=str) + "\n"


def _clean(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return value


def parts_of(layout: Layout, name: str) -> list[str]:
    """Return the maps that a complete input consists of: itself, or the channels of a cube."""
    state = read_state(layout, name) or {}
    return list(state.get("parts", [name]))
