"""The HTML report of a run: one self-contained page a map, and an index where there are several.

Pages are made from the files of a run, so that a run and `hyper-py report OUT` give the same pages.
"""

import base64
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from hyper_py import __version__
from hyper_py.diagnostics import HyperPyWarning, InputError
from hyper_py.files import is_inside
from hyper_py.names import file_stem, link
from hyper_py.reporting.banners import banners, flat
from hyper_py.reporting.images import palettes, png
from hyper_py.reporting.report_data import ReportData, bin_image, load_report_data, unpack_codes
from hyper_py.writing.layout import (
    REPORT_DIR,
    Layout,
    completeness_page_name,
    report_data_name,
)
from hyper_py.writing.manifests import KILLED, read_manifest
from hyper_py.writing.staging import Stage, remove_pages
from hyper_py.writing.state import parts_of, read_record
from hyper_py.writing.tables import SUFFIXES

INDEX = f"{REPORT_DIR}/index.html"
_SCRIPTS = ("theme", "data", "grid", "paint", "sky", "source", "charts", "table", "main")
_FILE_KINDS = (
    ("regions (DS9)", lambda name: name.endswith("_ellipses.reg")),
    ("regions (CARTA)", lambda name: name.endswith(".crtf")),
    ("figure", lambda name: name.endswith("_map.svg")),
    ("log", lambda name: name.endswith(".log")),
    ("table ({})", lambda name: Path(name).suffix in SUFFIXES.values() and "covariances_" not in name),
)
"""What is linked of the outputs of a map, by their names."""
_THUMBNAIL_SIDE = 160


def write_report(root: Path) -> tuple[str, ...]:
    """Write the report of a finished run.

    Parameters
    ----------
    root : Path
        The output directory.

    Returns
    -------
    tuple of str
        Pages written, relative to `root`; the index is the last.

    Raises
    ------
    InputError
        If this is not the output directory of a run, or the run was made without a report.
    """
    manifest = read_manifest(root)
    if manifest["status"] == KILLED:
        warnings.warn(
            f"the run was killed, or its machine stopped: {_counted(manifest)}; the same command with "
            "--resume goes on from there",
            HyperPyWarning,
            stacklevel=2,
        )
    maps = [part for one in manifest["maps"] for part in _parts(root, one)]
    shown = [one for one in maps if (root / report_data_name(one["name"])).is_file()]
    if not shown and not manifest["configuration"]["outputs"]["report"]:
        raise InputError(f"{root}: nothing to show: the run was made with outputs.report: false")
    pages: list[str] = []
    (root / REPORT_DIR).mkdir(exist_ok=True)
    with Stage(root) as stage:
        alone = len(maps) == 1 and len(shown) == 1
        entries = []
        for one in maps:
            data = _stored(root, one["name"])
            page = None if data is None else INDEX if alone else _page_name(one["name"])
            if data is not None and page is not None:
                page_of = bands_page if data.facts.get("kind") == "bands" else map_page
                stage.text(page, page_of(data, manifest=manifest, entry=one, index=not alone, root=root))
                pages.append(page)
            if not alone:
                entries.append(_index_entry(one, data, page))
        if not alone:
            stage.text(INDEX, _index_page(entries, manifest))
            pages.append(INDEX)
    remove_pages(root, but=pages)
    return tuple(pages)


def map_page(
    data: ReportData,
    *,
    manifest: Mapping[str, Any],
    entry: Mapping[str, Any],
    index: bool = False,
    root: Path | None = None,
) -> str:
    """Return the page of one map.

    Parameters
    ----------
    data : ReportData
    manifest : mapping
        Of the run, as in run.json.
    entry : mapping
        The map's part of the manifest.
    index : bool
        Whether there is an index to go back to.
    root : Path, optional
        The output directory, where a page of the map's completeness may be.
    """
    facts = data.facts
    completeness = completeness_page_name(facts["name"])
    return render_page(
        "report.html",
        _SCRIPTS,
        facts=facts,
        files=_files(entry, root),
        banners=banners(facts, entry, manifest),
        palettes=_safe(json.dumps(palettes())),
        lead=_lead(facts, entry),
        index=index,
        completeness=f"../{link(completeness)}" if root and (root / completeness).is_file() else None,
        # "<" would let a name end the script element.
        facts_json=_safe(json.dumps(facts, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")),
        blobs=[(name, _safe(base64.b64encode(blob).decode())) for name, blob in data.blobs.items()],
        run=list(_run_facts(manifest, entry)),
        warnings=entry.get("warnings", ()),
        notes=entry.get("notes", ()),
        **_configuration(manifest),
    )


def _counted(manifest: Mapping[str, Any]) -> str:
    maps = manifest["maps"]
    return f"{sum(one['status'] == 'done' for one in maps)} of {len(maps)} maps are complete"


def bands_page(
    data: ReportData,
    *,
    manifest: Mapping[str, Any],
    entry: Mapping[str, Any],
    index: bool = False,
    root: Path | None = None,
) -> str:
    """Return the page of a field in several bands; parameters as in `map_page`."""
    facts = data.facts
    files = [
        (Path(one).name, f"../{link(str(one))}")
        for one in map(str, entry.get("outputs", ()))
        if root is not None and is_inside(root, one) and (root / one).is_file()
    ]
    return render_page(
        "bands.html",
        ("theme", "data", "paint", "bands_sky", "bands_source", "bands"),
        facts=facts,
        palettes=_safe(json.dumps(palettes())),
        lead=_bands_lead(facts),
        files=files,
        index=index,
        facts_json=_safe(json.dumps(facts, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")),
        blobs=[(name, _safe(base64.b64encode(blob).decode())) for name, blob in data.blobs.items()],
        run=list(_run_facts(manifest, entry)),
        warnings=entry.get("warnings", ()),
        notes=entry.get("notes", ()),
        **_configuration(manifest),
    )


def _files(entry: Mapping[str, Any], root: Path | None) -> list[tuple[str, str]]:
    """Return names and relative links of the tables, regions, figure and log of a map that are there."""
    names = []
    for one in entry.get("outputs", ()):
        kind = next((text for text, fits in _FILE_KINDS if fits(str(one))), None)
        if kind is not None and root is not None and is_inside(root, str(one)) and (root / one).is_file():
            names.append((kind.format(Path(one).suffix[1:]), f"../{link(str(one))}"))
    return names


def _parts(root: Path, one: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the maps of an input as entries of the manifest: itself, or the channels of a cube."""
    layout = Layout(root=root)
    names = parts_of(layout, one["name"])
    if names == [one["name"]]:
        return [one]
    records = {name: read_record(layout, name) for name in names}
    return [{**one, **(asdict(record) if record else {}), "name": name} for name, record in records.items()]


def _stored(root: Path, name: str) -> ReportData | None:
    """Return the report data of a map, or None if there is none to be read."""
    try:
        return load_report_data(root / report_data_name(name))
    except (OSError, ValueError, KeyError, RecursionError, InputError, BadZipFile):
        return None


def _page_name(name: str) -> str:
    """Return the path of the page of a map; a map called index must not overwrite the index."""
    return f"{REPORT_DIR}/{'map_index' if name == 'index' else file_stem(name)}.html"


# ----------------------------------------------------------------------------------------------- texts


def _lead(facts: Mapping[str, Any], entry: Mapping[str, Any]) -> str:
    beam, n = facts["beam"], entry.get("n_sources", 0)
    parts = [
        facts["object"],
        f"{n} source{'' if n == 1 else 's'}",
        f"noise {facts['noise']['typical']:.3g} {facts['unit']}",
        f"beam {beam['major']:.3g}″ × {beam['minor']:.3g}″",
        f"{facts['shape'][1]} × {facts['shape'][0]} pixels of {facts['pixel_arcsec']:.3g}″",
        f"{facts['frequency'] / 1e9:.4g} GHz" if facts["frequency"] else "",
    ]
    return " · ".join(part for part in parts if part)


def _bands_lead(facts: Mapping[str, Any]) -> str:
    bands, n = facts["bands"], len(facts["sources"]["hyper_id"])
    wavelengths = sorted(band["wavelength"] for band in bands)
    e0, e1, n0, n1 = facts["extent"]
    parts = (
        f"{len(bands)} bands from {wavelengths[0]:.4g} to {wavelengths[-1]:.4g} µm",
        f"{n} source{'' if n == 1 else 's'}",
        f"{(e1 - e0) / 60:.3g}′ × {(n1 - n0) / 60:.3g}′",
        "one position and shape a source, a flux in each band",
    )
    return " · ".join(parts)


def _run_facts(manifest: Mapping[str, Any], entry: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    """Yield what was run, on what, when and by which versions."""
    if entry is not None and "path" in entry:
        yield "Input", str(entry["path"])
        yield "SHA-256", str(entry["checksum"])
        yield "Time for this map", f"{entry['seconds']:.2f} s"
    killed = f"killed, or its machine stopped: {_counted(manifest)}"
    yield "Status of the run", killed if manifest["status"] == KILLED else str(manifest["status"])
    yield "Started", str(manifest["started"])
    if manifest["finished"]:
        yield "Finished", str(manifest["finished"])
        yield "Time of the run", f"{manifest['seconds']:.1f} s for {len(manifest['maps'])} map(s)"
    yield "Versions", ", ".join(f"{name} {version}" for name, version in manifest["software"].items())


def _configuration(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return all keys, and those that are not at their defaults."""
    from hyper_py.config import Config

    keys, defaults = flat(manifest["configuration"]), flat(Config().to_mapping())
    changed = [
        (key, text, defaults.get(key, "none")) for key, text in keys.items() if defaults.get(key) != text
    ]
    return {"configuration": list(keys.items()), "changed": changed}


# ------------------------------------------------------------------------------------------------- index


def _index_page(entries: Sequence[Mapping[str, Any]], manifest: Mapping[str, Any]) -> str:
    n_sources = sum(one.get("n_sources", 0) for one in manifest["maps"])
    n_failed = sum(one["status"] == "failed" for one in manifest["maps"])
    return render_page(
        "index.html",
        ("theme",),
        maps=entries,
        title=f"{len(entries)} map{'' if len(entries) == 1 else 's'}",
        lead=f"{n_sources} sources" + (f" · {n_failed} failed" if n_failed else ""),
        run=list(_run_facts(manifest, None)),
        **_configuration(manifest),
    )


def _index_entry(one: Mapping[str, Any], data: ReportData | None, page: str | None) -> dict[str, Any]:
    done = one["status"] in ("done", "resumed")
    return {
        "name": one["name"],
        "page": None if page is None else link(page.rpartition("/")[2]),
        "picture": None if data is None else base64.b64encode(_thumbnail(data)).decode(),
        "sources": one["n_sources"] if done else "",
        "noise": f"{one['rms']:.3g} {one['unit']}" if done and one["rms"] is not None else "",
        "seconds": f"{one['seconds']:.1f}" if done else "",
        "status": one["reason"] or one["status"],
        "failed": one["status"] == "failed",
    }


def _thumbnail(data: ReportData) -> bytes:
    """Return a small grey PNG of the map."""
    name = data.facts.get("thumbnail", "map")
    layer = data.facts["layers"][name]
    shape = layer["shape"][0], layer["shape"][1]
    codes = unpack_codes(data.blobs[name], shape).astype(np.float64)
    codes[codes == 0.0] = np.nan
    small = bin_image(codes, max(1, -(-max(shape) // _THUMBNAIL_SIDE)))[::-1]
    low, high = np.nanpercentile(small, [1.0, 99.8]) if np.isfinite(small).any() else (0.0, 1.0)
    grey = np.clip((small - low) / (high - low or 1.0), 0.0, 1.0) ** 0.6
    return png(np.where(np.isfinite(grey), 255.0 * grey, 0.0))


# --------------------------------------------------------------------------------------------- templates


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
        version=__version__, style=_safe(_source("report.css")), script=_safe(script), **values
    )  # fmt: skip
    return page


def _safe(text: str) -> Any:
    """Mark a text that is inserted into the page without escaping."""
    from markupsafe import Markup

    return Markup(text)
