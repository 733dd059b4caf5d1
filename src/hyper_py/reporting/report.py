"""The HTML report of a run: one self-contained page a map, and an index where there are several.

Pages are made from the files of a run, so that a run and `hyper-py report OUT` give the same pages.
"""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from hyper_py import __version__
from hyper_py.diagnostics import InputError
from hyper_py.files import is_inside, read_small
from hyper_py.names import file_stem, link
from hyper_py.reporting.banners import banners, flat
from hyper_py.reporting.cube_page import CubeData, brightest, spectral_text
from hyper_py.reporting.images import indexed, palette, palettes, png
from hyper_py.reporting.report_data import ReportData, bin_image, load_report_data, unpack_codes
from hyper_py.writing.layout import (
    MANIFEST,
    REPORT_DIR,
    Layout,
    completeness_page_name,
    report_data_name,
)
from hyper_py.writing.staging import Stage
from hyper_py.writing.state import parts_of, read_record
from hyper_py.writing.tables import SUFFIXES

INDEX = f"{REPORT_DIR}/index.html"
_SCRIPTS = ("theme", "data", "grid", "paint", "sky", "source", "charts", "table", "main")
_FILE_KINDS = (
    ("regions (DS9)", lambda name: name.endswith("_ellipses.reg")),
    ("regions (CARTA)", lambda name: name.endswith(".crtf")),
    ("figure", lambda name: name.endswith("_map.svg")),
    ("log", lambda name: name.endswith(".log")),
    ("cube: {}", lambda name: "_cube" in name and name.endswith(".fits")),
    ("spectra ({})", lambda name: Path(name).name.startswith("spectra_")),
    ("table ({})", lambda name: Path(name).suffix in SUFFIXES.values() and "covariances_" not in name),
)
"""What is linked of the outputs of a map, by their names."""
_THUMBNAIL_SIDE = 160
_LARGEST_MANIFEST = 1_000_000_000


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
    manifest = _read_manifest(root)
    maps = [part for one in manifest["maps"] for part in _parts(root, one)]
    shown = any((root / report_data_name(one["name"])).is_file() for one in maps)
    if not shown and not manifest["configuration"]["outputs"]["report"]:
        raise InputError(f"{root}: nothing to show: the run was made with outputs.report: false")
    (root / REPORT_DIR).mkdir(exist_ok=True)
    with Stage(root) as stage:
        pages = _write_pages(stage, root, manifest)
    _remove_others(root, set(pages))
    return tuple(pages)


def _short(path: str) -> str:
    """Return what tells a file from its neighbours: the suffix of a table, the content of a product cube."""
    stem = Path(path).stem
    return stem.partition("_cube")[0].rpartition("_")[2] if "_cube" in stem else Path(path).suffix[1:]


def _write_pages(stage: Stage, root: Path, manifest: Mapping[str, Any]) -> list[str]:
    """Write a page for each map, cube and channel, and the index where there are several maps or cubes."""
    pages: list[str] = []
    entries = []
    alone = len(manifest["maps"]) == 1
    for one in manifest["maps"]:
        parts, page = _parts(root, one), INDEX if alone else _page_name(one["name"])
        shown: ReportData | CubeData | None
        if parts[0]["name"] != one["name"]:
            shown, channels = _write_channels(stage, root, manifest, parts, back=page)
            pages += channels
        else:
            shown = _stored(root, one["name"])
        if isinstance(shown, CubeData):
            text = cube_page(shown, manifest=manifest, entry=one, channels=parts, root=root, index=not alone)
        elif shown is not None:
            text = map_page(shown, manifest=manifest, entry=one, index=not alone, root=root)
        if shown is not None:
            stage.text(page, text)
            pages.append(page)
        if not alone or shown is None:
            entries.append(_index_entry(one, shown, None if shown is None else page))
    if entries:
        stage.text(INDEX, _index_page(entries, manifest, root))
        pages.append(INDEX)
    return pages


def _write_channels(
    stage: Stage, root: Path, manifest: Mapping[str, Any], parts: Sequence[Mapping[str, Any]], *, back: str
) -> tuple[CubeData | None, list[str]]:
    """Write the pages of the channels of a cube; return what they gave to its own, and their names."""
    cube, pages = CubeData(parts[0]["path"], len(parts)), []
    for part in parts:
        data = _stored(root, part["name"])
        cube.add(data)
        if data is not None:
            page = _page_name(part["name"])
            stage.text(
                page,
                map_page(data, manifest=manifest, entry=part, index=back.rpartition("/")[2], root=root),
            )
            pages.append(page)
    return (cube if cube.facts else None), pages


def cube_page(
    data: CubeData,
    *,
    manifest: Mapping[str, Any],
    entry: Mapping[str, Any],
    channels: Sequence[Mapping[str, Any]],
    root: Path,
    index: bool = False,
) -> str:
    """Return the page of a cube.

    Parameters
    ----------
    data : CubeData
    manifest : mapping
        Of the run.
    entry : mapping
        The cube's part of the manifest.
    channels : sequence of mapping
        The same of its channels.
    root : Path
        The output directory.
    index : bool
        Whether there is an index to go back to.
    """
    facts, blobs = data.page_data()
    facts["name"], axis = entry["name"], facts["spectral"]
    texts = [spectral_text(axis["name"], axis["unit"], value) for value in data.spectral]
    n_rows, known = sum(facts["n_rows"]), [text for text in texts if text]
    count = f"{facts['n_sources']} sources in {data.n_channels} channels"
    lead = [
        facts["object"],
        count,
        f"{known[0]} to {known[-1]}" if known else "",
        f"noise {facts['noise']['typical']:.3g} {facts['unit']}",
        _beam_text(facts),
        f"{facts['shape'][1]} × {facts['shape'][0]} pixels of {facts['pixel_arcsec']:.3g}″",
    ]
    return render_page(
        "cube.html",
        ("theme", "data", "grid", "paint", "charts", "cube"),
        facts=facts,
        files=_files(entry, root),
        banners=banners({}, entry, manifest),
        lead=" · ".join(part for part in lead if part),
        count=f"{count}; {n_rows} rows in all: a source has one in each channel where it was measured",
        index=index,
        channels=[
            {
                "number": k + 1,
                "text": text,
                "rows": n,
                "page": link(_page_name(part["name"]).rpartition("/")[2]),
            }
            for k, (part, text, n) in enumerate(zip(channels, texts, facts["n_rows"], strict=True))
        ],
        **_embedded(facts, blobs),
        run=list(_run_facts(manifest, entry)),
        warnings=entry.get("warnings", ()),
        **_configuration(manifest),
    )


def _embedded(facts: Mapping[str, Any], blobs: Mapping[str, bytes]) -> dict[str, Any]:
    """Return what the scripts of a page read: facts, arrays and palettes."""
    # "<" would let a name end the script element.
    text = json.dumps(facts, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return {
        "facts_json": _safe(text),
        "blobs": [(name, _safe(base64.b64encode(blob).decode())) for name, blob in blobs.items()],
        "palettes": _safe(json.dumps(palettes())),
    }


def map_page(
    data: ReportData,
    *,
    manifest: Mapping[str, Any],
    entry: Mapping[str, Any],
    index: bool | str = False,
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
    index : bool or str
        Whether there is an index to go back to, or the name of another page.
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
        lead=_lead(facts, entry),
        index="index.html" if index is True else link(index or ""),
        completeness=f"../{link(completeness)}" if root and (root / completeness).is_file() else None,
        **_embedded(facts, data.blobs),
        run=list(_run_facts(manifest, entry)),
        warnings=entry.get("warnings", ()),
        **_configuration(manifest),
    )


def _files(entry: Mapping[str, Any], root: Path | None) -> list[tuple[str, str]]:
    """Return names and relative links of the tables, regions, figure and log of a map that are there."""
    names = []
    for one in entry.get("outputs", ()):
        kind = next((text for text, fits in _FILE_KINDS if fits(str(one))), None)
        if kind is not None and root is not None and is_inside(root, str(one)) and (root / one).is_file():
            names.append((kind.format(_short(one)), f"../{link(str(one))}"))
    return names


def _read_manifest(root: Path) -> dict[str, Any]:
    path = root / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(read_small(path, most=_LARGEST_MANIFEST))
        manifest["maps"], manifest["configuration"], manifest["software"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise InputError(
            f"{root}: no {MANIFEST} of a run there: name the output directory of a run"
        ) from None
    return manifest


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


def _remove_others(root: Path, pages: set[str]) -> None:
    """Remove pages of maps that are no longer part of the run."""
    for path in (root / REPORT_DIR).glob("*.html"):
        if f"{REPORT_DIR}/{path.name}" not in pages:
            path.unlink()


# ----------------------------------------------------------------------------------------------- texts


def _lead(facts: Mapping[str, Any], entry: Mapping[str, Any]) -> str:
    n, axis = entry.get("n_sources", 0), facts.get("spectral")
    parts = [
        facts["object"],
        f"{n} source{'' if n == 1 else 's'}",
        f"noise {facts['noise']['typical']:.3g} {facts['unit']}",
        _beam_text(facts),
        f"{facts['shape'][1]} × {facts['shape'][0]} pixels of {facts['pixel_arcsec']:.3g}″",
        spectral_text(axis["name"], axis["unit"], axis["value"]) if axis else "",
        f"{facts['frequency'] / 1e9:.6g} GHz" if facts["frequency"] and not axis else "",
    ]
    return " · ".join(part for part in parts if part)


def _beam_text(facts: Mapping[str, Any]) -> str:
    return f"beam {facts['beam']['major']:.3g}″ × {facts['beam']['minor']:.3g}″"


def _run_facts(manifest: Mapping[str, Any], entry: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    """Yield what was run, on what, when and by which versions."""
    if entry is not None:
        yield "Input", str(entry["path"])
        yield "SHA-256", str(entry["checksum"])
        yield "Time for this map", f"{entry['seconds']:.2f} s"
    yield "Status of the run", str(manifest["status"])
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


def _index_page(entries: Sequence[Mapping[str, Any]], manifest: Mapping[str, Any], root: Path) -> str:
    maps = manifest["maps"]
    n_sources, n_failed = sum(one.get("n_sources", 0) for one in maps), sum(one["failed"] for one in entries)
    calling = sum(one["calling"] or 0 for one in entries)
    parts = [
        f"{n_sources} sources",
        f"{calling} to look at" if calling else "",
        f"{n_failed} failed" if n_failed else "",
        f"{manifest['seconds']:.0f} s" if manifest["finished"] else "",
    ]
    return render_page(
        "index.html",
        ("theme", "index"),
        maps=sorted(entries, key=lambda one: not one["failed"]),
        title=f"{len(entries)} map{'' if len(entries) == 1 else 's'}",
        lead=" · ".join(part for part in parts if part),
        files=_files({"outputs": manifest.get("merged", ())}, root),
        run=list(_run_facts(manifest, None)),
        **_configuration(manifest),
    )


def _index_entry(
    one: Mapping[str, Any], data: ReportData | CubeData | None, page: str | None
) -> dict[str, Any]:
    """Return what the card of a map or cube shows and is sorted by."""
    done = one["status"] in ("done", "resumed")
    noise = one["rms"] if done else None
    facts = {} if data is None else data.facts
    flags, sources, calling = facts.get("flag_counts", {}), one["n_sources"], facts.get("n_calling", 0)
    words = ", ".join(f"{n} {name}" for name, n in list(flags.items())[:3])
    if isinstance(data, CubeData):
        found = data.sources()
        sources, calling = len(found), sum(bool(source["n_calling"]) for source in found)
        words = f"cube of {data.n_channels} channels"
    return {
        "name": one["name"],
        "page": None if page is None else link(page.rpartition("/")[2]),
        "picture": None if data is None else base64.b64encode(_thumbnail(data)).decode(),
        "done": done,
        "sources": sources if done else "",
        "calling": calling if done and data is not None else "",
        "noise": "" if noise is None else f"{noise:.3g} {one['unit']}",
        "noise_value": "" if noise is None else f"{noise:.6g}",
        "seconds": f"{one['seconds']:.1f}" if done else "",
        "status": one["reason"] or one["status"],
        "failed": one["status"] == "failed",
        "flags": words,
    }


def _thumbnail(data: ReportData | CubeData) -> bytes:
    """Return a small PNG of the map, or of the brightest channel of each pixel; blank pixels are clear."""
    if isinstance(data, CubeData):
        values = brightest(data.planes)
    else:
        shape = tuple(data.facts["layers"]["map"]["shape"])
        values = unpack_codes(data.blobs["map"], shape).astype(np.float64)
        values[values == 0.0] = np.nan
    small = bin_image(values, max(1, -(-max(values.shape) // _THUMBNAIL_SIDE)))[::-1]
    if not np.isfinite(small).any():
        return png(np.zeros(small.shape))
    # Noise is dark and loud edges have no say: cuts from the middle of the distribution.
    low, middle, high = np.nanpercentile(small, [16.0, 50.0, 99.7])
    low, high = 2.5 * low - 1.5 * middle, min(high, middle + 40.0 * (middle - low))
    share = np.clip((small - low) / ((high - low) or 1.0), 0.0, 1.0)
    return png(indexed(np.sqrt(share), 0.0, 1.0), colours=palette("inferno", 255))


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
