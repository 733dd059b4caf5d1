"""Reading the manifest of a run, `run.json`, and what became of a run that could not say so."""

import json
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hyper_py.diagnostics import InputError
from hyper_py.files import read_small
from hyper_py.writing.layout import MANIFEST, Layout
from hyper_py.writing.staging import is_held
from hyper_py.writing.state import read_record

KILLED = "killed"
"""Status of a run whose manifest says that it is running, when no run holds its directory."""
_LARGEST_MANIFEST = 1_000_000_000


def read_manifest(root: Path) -> dict[str, Any]:
    """Return the manifest of a run.

    Of a run that was killed the status is `killed`, and the maps that it completed are `done`: their records
    tell. The file itself is left as it is.

    Raises
    ------
    InputError
        There is none that can be read.
    """
    manifest = _read(root)
    if manifest["status"] == "running" and not is_held(Layout(root=root)):
        manifest |= {"status": KILLED, "maps": [_recorded(root, one) for one in manifest["maps"]]}
    return manifest


def killed_at(root: Path) -> str:
    """Return when a run began that was killed before it could say how it ended; empty if none was.

    To be asked by who holds the directory.
    """
    with suppress(InputError):
        manifest = _read(root)
        if manifest["status"] == "running":
            return str(manifest["started"])
    return ""


def _read(root: Path) -> dict[str, Any]:
    path = root / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(read_small(path, most=_LARGEST_MANIFEST))
        for key in ("status", "started", "configuration", "software"):
            manifest[key]
        for one in manifest["maps"]:
            one["name"], one["status"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise InputError(
            f"{root}: no {MANIFEST} of a run there: name the output directory of a run"
        ) from None
    return manifest


def _recorded(root: Path, one: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a map in a manifest as its record has it, if it is complete."""
    record = read_record(Layout(root=root), str(one["name"]))
    if record is None:
        return one
    known = ("checksum", "n_sources", "rms", "unit", "pixel_scale", "seconds", "warnings", "outputs")
    return {**one, "status": "done", **{key: asdict(record)[key] for key in known}}
