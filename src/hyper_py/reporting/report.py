"""The HTML report of a run: one self-contained page a map, and an index where there are several.

Pages are made from the files of a run, so that a run and `hyper-py report OUT` give the same pages.
"""

import warnings
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from hyper_py.diagnostics import HyperPyWarning, InputError
from hyper_py.names import link
from hyper_py.reporting.banners import banners
from hyper_py.reporting.cube_page import CubeData, cube_page, spectral_text
from hyper_py.reporting.index_page import index_entry, index_page
from hyper_py.reporting.pages import (
    beam_text,
    configuration_facts,
    counted,
    embedded,
    linked_files,
    page_name,
    render_page,
    run_facts,
)
from hyper_py.reporting.report_data import ReportData, load_report_data
from hyper_py.writing.layout import (
    REPORT_DIR,
    Layout,
    completeness_page_name,
    report_data_name,
)
from hyper_py.writing.manifests import KILLED, read_manifest
from hyper_py.writing.staging import Stage, remove_pages
from hyper_py.writing.state import parts_of, read_record

INDEX = f"{REPORT_DIR}/index.html"
_SCRIPTS = ("theme", "data", "grid", "paint", "sky", "source", "charts", "table", "main")
_MAPS = "maps."
"""Keys of single maps begin with it."""


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
            f"the run was killed, or its machine stopped: {counted(manifest)}; the same command with "
            "--resume goes on from there",
            HyperPyWarning,
            stacklevel=2,
        )
    maps = [part for one in manifest["maps"] for part in _parts(root, one)]
    shown = any((root / report_data_name(one["name"])).is_file() for one in maps)
    if not shown and not manifest["configuration"]["outputs"]["report"]:
        raise InputError(f"{root}: nothing to show: the run was made with outputs.report: false")
    (root / REPORT_DIR).mkdir(exist_ok=True)
    with Stage(root) as stage:
        pages = _write_pages(stage, root, manifest)
    remove_pages(root, but=pages)
    return tuple(pages)


def _write_pages(stage: Stage, root: Path, manifest: Mapping[str, Any]) -> list[str]:
    """Write a page for each map, cube and channel, and the index where there are several maps or cubes."""
    pages: list[str] = []
    entries = []
    alone = len(manifest["maps"]) == 1
    for one in manifest["maps"]:
        parts, page = _parts(root, one), INDEX if alone else page_name(one["name"])
        shown: ReportData | CubeData | None
        if parts[0]["name"] != one["name"]:
            shown, channels = _write_channels(stage, root, manifest, parts, back=page)
            pages += channels
        else:
            shown = _stored(root, one["name"])
        if isinstance(shown, CubeData):
            text = cube_page(shown, manifest=manifest, entry=one, channels=parts, root=root, index=not alone)
        elif shown is not None:
            page_of = bands_page if shown.facts.get("kind") == "bands" else map_page
            text = page_of(shown, manifest=manifest, entry=one, index=not alone, root=root)
        if shown is not None:
            stage.text(page, text)
            pages.append(page)
        if not alone or shown is None:
            entries.append(index_entry(one, shown, None if shown is None else page))
    if entries:
        stage.text(INDEX, index_page(entries, manifest, root))
        pages.append(INDEX)
    return pages


def _write_channels(
    stage: Stage, root: Path, manifest: Mapping[str, Any], parts: Sequence[Mapping[str, Any]], *, back: str
) -> tuple[CubeData | None, list[str]]:
    """Write the pages of the channels of a cube; return what they gave to its own, and their names."""
    cube, pages = CubeData(parts[0]["path"], len(parts)), []
    for part in parts:
        data = _stored(root, part["name"])
        try:
            cube.add(data)
        except (KeyError, TypeError, ValueError, zlib.error):  # of another version, or of anybody
            cube.add(None)
        if data is not None:
            page = page_name(part["name"])
            stage.text(
                page,
                map_page(data, manifest=manifest, entry=part, index=back.rpartition("/")[2], root=root),
            )
            pages.append(page)
    return (cube if cube.facts else None), pages


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
        files=linked_files(entry, root),
        banners=banners(facts, entry, manifest),
        lead=_lead(facts, entry),
        index="index.html" if index is True else link(index or ""),
        completeness=f"../{link(completeness)}" if root and (root / completeness).is_file() else None,
        **embedded(facts, data.blobs),
        run=list(run_facts(manifest, entry)),
        warnings=entry.get("warnings", ()),
        notes=entry.get("notes", ()),
        **configuration_facts(manifest),
    )


def bands_page(
    data: ReportData,
    *,
    manifest: Mapping[str, Any],
    entry: Mapping[str, Any],
    index: bool | str = False,
    root: Path | None = None,
) -> str:
    """Return the page of a field in several bands; parameters as in `map_page`."""
    facts, keys = data.facts, configuration_facts(manifest)
    of_maps = [(key, text) for key, text, _ in keys["changed"] if key.startswith(_MAPS)]
    keys["changed"] = [one for one in keys["changed"] if not one[0].startswith(_MAPS)]
    return render_page(
        "bands.html",
        ("theme", "data", "grid", "paint", "bands_sky", "bands_source", "bands"),
        facts=facts,
        lead=_bands_lead(facts),
        files=linked_files(entry, root),
        index="index.html" if index is True else link(index or ""),
        **embedded(facts, data.blobs),
        run=list(run_facts(manifest, entry)),
        warnings=entry.get("warnings", ()),
        notes=entry.get("notes", ()),
        of_maps=[(key.removeprefix(_MAPS), text) for key, text in of_maps],
        **keys,
    )


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


# ----------------------------------------------------------------------------------------------- texts


def _lead(facts: Mapping[str, Any], entry: Mapping[str, Any]) -> str:
    n, axis = entry.get("n_sources", 0), facts.get("spectral")
    parts = [
        facts["object"],
        f"{n} source{'' if n == 1 else 's'}",
        f"noise {facts['noise']['typical']:.3g} {facts['unit']}",
        beam_text(facts),
        f"{facts['shape'][1]} × {facts['shape'][0]} pixels of {facts['pixel_arcsec']:.3g}″",
        spectral_text(axis["name"], axis["unit"], axis["value"]) if axis else "",
        f"{facts['frequency'] / 1e9:.6g} GHz" if facts["frequency"] and not axis else "",
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
        "one position and shape for each source, a flux in each band",
    )
    return " · ".join(parts)
