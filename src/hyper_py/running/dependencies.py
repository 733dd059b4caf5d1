"""What the result of a map depends on besides the map: the configuration, other files, the program itself."""

import hashlib
import json
import os
import re
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import hyper_py
from hyper_py.diagnostics import InputError
from hyper_py.files import checksum

if TYPE_CHECKING:
    from hyper_py.config import Config

_IRRELEVANT = (
    ("control", "parallel_maps"),
    ("control", "n_cores"),
    ("control", "executor"),
    ("control", "dask_scheduler"),
    ("control", "tile_size_pix"),
    ("control", "max_memory"),
    ("paths", "input"),
    ("files", "file_map_name"),
    ("files", "file_log_name"),
    ("outputs", "report"),
    ("overlaps", "merged"),
    ("overlaps", "radius_beams"),
    ("overlaps", "catalogue"),
)
"""Keys that do not affect a map's outputs."""

_PACKAGES = ("numpy", "scipy", "astropy", "regions")
_HDU = re.compile(r"\[[^\[\]]*\]$")


def dependencies(config: "Config", *, known: dict[Path, str] | None = None) -> dict[str, str]:
    """Return a hash of everything besides the map that affects its outputs, by its name.

    Files are known by their contents, not their paths: a run goes on where its files have been moved. The
    program is known by the text of all its modules, and the versions of the packages that compute.

    Parameters
    ----------
    config : Config
    known : dict, optional
        Hashes of files that were read already; those of others are added.
    """
    known = {} if known is None else known
    values = config.to_mapping()
    for section, key in _IRRELEVANT:
        values[section].pop(key, None)
    values["paths"]["output"].pop("dir_root", None)
    found: dict[str, str] = {}
    for key, path in auxiliary_files(config).items():
        section, _, name = key.partition(".")
        given = str(values[section][name])
        # The name, and the HDU that may follow it; not the directory.
        values[section][name] = Path(given).name
        found[key] = known[path] if path in known else known.setdefault(path, _content(path))
    text = json.dumps(values, sort_keys=True, default=str)
    return {
        "the configuration": hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest(),
        "the program": program_hash(),
        **found,
    }


def auxiliary_files(config: "Config") -> dict[str, Path]:
    """Return the files that a configuration names besides maps, by their keys."""
    from hyper_py.reading.auxiliary import is_file_name

    found: dict[str, Path] = {}
    places: dict[str, object] = {
        f"io.{key}": getattr(config.io, key) for key in ("error_hdu", "mask", "primary_beam")
    }
    for key, where in (places | {"detection.region": config.detection.region}).items():
        if isinstance(where, str) and is_file_name(where):
            path = config.below_config(where)
            found[key] = path if path.is_file() else Path(_HDU.sub("", str(path)))
    if config.survey.psf:
        found["survey.psf"] = config.below_config(config.survey.psf)
    if config.detection.regions:
        found["detection.regions"] = config.below_config(config.detection.regions)
    if config.detection.use_fixed_source_table:
        found["detection.fixed_source_table_path"] = config.source_table()
    region = config.cube.region
    if isinstance(region, str) and "(" not in region:
        path = config.below_root("..") / Path(region).expanduser()
        # Before the output directory is made, its ".." leads nowhere.
        found["cube.region"] = path if path.is_file() else Path(os.path.normpath(path))
    return found


def changed(before: dict[str, str], now: dict[str, str]) -> str:
    """Say what differs between the dependencies of a result and those of now; empty if nothing does."""
    names = [name for name in {**now, **before} if before.get(name) != now.get(name)]
    if not names:
        return ""
    return f"{' and '.join(names)} {'has' if len(names) == 1 else 'have'} changed"


def _content(path: Path) -> str:
    try:
        return checksum(path)
    except (OSError, InputError) as error:
        return f"unreadable: {type(error).__name__}"


@cache
def program_hash() -> str:
    """Return a hash of the text of all modules, and of the versions of the packages that compute."""
    digest = hashlib.sha256()
    root = Path(hyper_py.__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\0".encode())
        digest.update(path.read_bytes())
    for package in _PACKAGES:
        digest.update(f"{package} {metadata.version(package)}\0".encode())
    return digest.hexdigest()
