"""What the pages of a report have in common: templates, links, facts of the run, its configuration."""

import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from hyper_py import __version__
from hyper_py.files import is_inside
from hyper_py.names import file_stem, link
from hyper_py.reporting.banners import flat
from hyper_py.reporting.images import palettes
from hyper_py.writing.layout import PRODUCTS_DIR, REPORT_DIR
from hyper_py.writing.manifests import KILLED
from hyper_py.writing.tables import SUFFIXES

_FILE_KINDS: tuple[tuple[str, Callable[[str], bool]], ...] = (
    ("regions (DS9)", lambda name: name.endswith("_ellipses.reg")),
    ("regions (CARTA)", lambda name: name.endswith(".crtf")),
    ("figure", lambda name: name.endswith("_map.svg")),
    ("log", lambda name: name.endswith(".log")),
    ("cube: {}", lambda name: "_cube" in name and name.endswith(".fits")),
    ("spectra ({})", lambda name: Path(name).name.startswith("spectra_")),
    ("overlap checks ({})", lambda name: Path(name).stem.endswith("_OVERLAP_CHECKS")),
    ("overlaps ({})", lambda name: Path(name).stem.endswith("_OVERLAPS")),
    ("{} (FITS)", lambda name: Path(name).parts[0] == PRODUCTS_DIR),
    ("table ({})", lambda name: Path(name).suffix in SUFFIXES.values() and "covariances_" not in name),
)
"""What is linked of the outputs of a map, by their names."""


@cache
def _source(name: str) -> str:
    return resources.files("hyper_py.reporting").joinpath("templates", name).read_text(encoding="utf-8")


@cache
def _environment() -> Any:
    from jinja2 import Environment, FunctionLoader

    return Environment(loader=FunctionLoader(_source), autoescape=True, trim_blocks=False)


def render_page(template: str, scripts: Sequence[str], **values: Any) -> str:
    """Fill a template, with its style and scripts included."""
    script = '"use strict";\n' + "\n".join(_source(f"{name}.js") for name in scripts)
    page: str = _environment().get_template(template).render(
        version=__version__, style=safe(_source("report.css")), script=safe(script), **values
    )  # fmt: skip
    return page


def safe(text: str) -> Any:
    """Mark a text that is inserted into the page without escaping."""
    from markupsafe import Markup

    return Markup(text)


def embedded(facts: Mapping[str, Any], blobs: Mapping[str, bytes]) -> dict[str, Any]:
    """Return what the scripts of a page read: facts, arrays and palettes."""
    # "<" would let a name end the script element.
    text = json.dumps(facts, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return {
        "facts_json": safe(text),
        "blobs": [(name, safe(base64.b64encode(blob).decode())) for name, blob in blobs.items()],
        "palettes": safe(json.dumps(palettes())),
    }


def page_name(name: str) -> str:
    """Return the path of the page of a map; a map called index must not overwrite the index."""
    return f"{REPORT_DIR}/{'map_index' if name == 'index' else file_stem(name)}.html"


def linked_files(entry: Mapping[str, Any], root: Path | None) -> list[tuple[str, str]]:
    """Return names and relative links of the tables, regions, figure and log of a map that are there."""
    names = []
    for one in entry.get("outputs", ()):
        kind = next((text for text, fits in _FILE_KINDS if fits(str(one))), None)
        if kind is not None and root is not None and is_inside(root, str(one)) and (root / one).is_file():
            names.append((kind.format(_short(one)), str(one)))
    return [(_distinct(kind, one, names), f"../{link(one)}") for kind, one in names]


def _distinct(kind: str, path: str, names: Sequence[tuple[str, str]]) -> str:
    """Return the text of a link, with the words of the file's name that others of its kind do not have."""
    common = set.intersection(*({*Path(one).stem.split("_")} for other, one in names if other == kind))
    differs = "_".join(word for word in Path(path).stem.split("_") if word not in common)
    return f"{kind}: {differs}" if differs else kind


def _short(path: str) -> str:
    """Return what tells a file from its neighbours: suffix of a table, content of an image or cube."""
    stem = Path(path).stem
    if "_cube" in stem:
        return stem.partition("_cube")[0].rpartition("_")[2]
    return stem.rpartition("_")[2] if Path(path).parts[0] == PRODUCTS_DIR else Path(path).suffix[1:]


def beam_text(facts: Mapping[str, Any]) -> str:
    """Return the size of the beam."""
    return f"beam {facts['beam']['major']:.3g}″ × {facts['beam']['minor']:.3g}″"


def run_facts(manifest: Mapping[str, Any], entry: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    """Yield what was run, on what, when and by which versions."""
    if entry is not None and "path" in entry:
        paths = [one["path"] for one in entry.get("bands", ()) if "path" in one] or [entry["path"]]
        yield "Input", ", ".join(map(str, paths))
        yield "SHA-256", str(entry["checksum"])
        yield "Time for this map", f"{entry['seconds']:.2f} s"
    killed = f"killed, or its machine stopped: {counted(manifest)}"
    yield "Status of the run", killed if manifest["status"] == KILLED else str(manifest["status"])
    yield "Started", str(manifest["started"])
    if manifest["finished"]:
        yield "Finished", str(manifest["finished"])
        n_maps = len(manifest["maps"])
        yield "Time of the run", f"{manifest['seconds']:.1f} s for {n_maps} map{'' if n_maps == 1 else 's'}"
    yield "Versions", ", ".join(f"{name} {version}" for name, version in manifest["software"].items())


def counted(manifest: Mapping[str, Any]) -> str:
    """Say how many maps of a run are complete."""
    maps = manifest["maps"]
    return f"{sum(one['status'] == 'done' for one in maps)} of {len(maps)} maps are complete"


def configuration_facts(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return all keys, and those that are not at their defaults."""
    from hyper_py.config import Config

    keys, defaults = flat(manifest["configuration"]), flat(Config().to_mapping())
    changed = [
        (key, text, defaults.get(key, "none")) for key, text in keys.items() if defaults.get(key) != text
    ]
    return {"configuration": list(keys.items()), "changed": changed}
