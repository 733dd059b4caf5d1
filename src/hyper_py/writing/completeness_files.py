"""Completeness on disk: tables in all formats, the map of the limit, and a summary."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hyper_py import __version__
from hyper_py.injection.bands import BandsCompleteness
from hyper_py.injection.completeness import Completeness
from hyper_py.injection.tables import bands_tables, completeness_tables
from hyper_py.names import file_stem
from hyper_py.writing.images import write_image
from hyper_py.writing.layout import COMPLETENESS_DIR, STATE_DIR
from hyper_py.writing.staging import Stage
from hyper_py.writing.state import as_json
from hyper_py.writing.table_columns import prepare_table, template_of
from hyper_py.writing.tables import SUFFIXES, write_table

LIMIT_LEVEL = 0.8
"""Completeness of which the limit is written as a map."""


def table_name(name: str, what: str, form: str) -> str:
    """Return where a table of a map goes, relative to the output directory."""
    middle = "" if what == "completeness" else f"_{what}"
    return f"{COMPLETENESS_DIR}/completeness{middle}_{file_stem(name)}{SUFFIXES[form]}"


def limit_name(name: str) -> str:
    """Return where the map of the limit goes."""
    return f"{COMPLETENESS_DIR}/limit_{file_stem(name)}.fits"


def results_directory(root: Path, name: str) -> Path:
    """Return where the results of single runs of the pipeline are kept, for `--resume`."""
    return root / STATE_DIR / f"completeness_{file_stem(name)}"


def write_completeness(
    root: Path, result: Completeness, *, forms: tuple[str, ...], columns: bool = False
) -> tuple[str, ...]:
    """Write all of an estimate but its figures and its page; all files at once or none.

    Parameters
    ----------
    root : Path
        The output directory.
    result : Completeness
    forms : tuple of str
        Formats of tables, see `hyper_py.writing.tables.SUFFIXES`.
    columns : bool
        Write the map's catalogue with COMPLETENESS, P_TRUE and FLUX_BIAS too.

    Returns
    -------
    tuple of str
        Files, relative to `root`.
    """
    tables: dict[str, Any] = dict(completeness_tables(result))
    if columns:
        tables["catalog"] = result.catalog()
    image, summary = result.setup.image, result.summary()
    meta = {
        "creator": f"Hyper-Py {__version__}",
        "map": result.name,
        "beam_major_arcsec": image.beam.major,
        "beam_minor_arcsec": image.beam.minor,
        "pixel_arcsec": image.pixel_scale,
        **{key: summary[key] for key in ("n_runs", "seed", "positions", "precision", "error", "threshold")},
    }
    with Stage(root) as stage:
        _write_tables(stage, tables, name=result.name, pixel_scale=image.pixel_scale, meta=meta, forms=forms)
        what = f"flux of a beam-sized source that is found with {LIMIT_LEVEL:.0%} probability"
        path = stage.path(limit_name(result.name))
        write_image(path, result.limit_map(level=LIMIT_LEVEL), image, what=what[:68])
        stage.text(f"{COMPLETENESS_DIR}/completeness_{file_stem(result.name)}.json", as_json(summary))
    return stage.names


def write_bands_completeness(
    root: Path, result: BandsCompleteness, *, forms: tuple[str, ...]
) -> tuple[str, ...]:
    """Write the tables of several bands, and their summary; all files at once or none.

    Parameters
    ----------
    root : Path
        The output directory.
    result : BandsCompleteness
    forms : tuple of str
        Formats of tables.

    Returns
    -------
    tuple of str
        Files, relative to `root`.
    """
    summary = result.summary()
    meta = {"creator": f"Hyper-Py {__version__}", "field": result.name}
    meta |= {key: summary[key] for key in ("n_runs", "seed", "precision", "error", "n_inverted")}
    scale = min(band.image.pixel_scale for band in result.setup.bands)
    with Stage(root) as stage:
        tables = dict(bands_tables(result))
        _write_tables(stage, tables, name=result.name, pixel_scale=scale, meta=meta, forms=forms)
        stage.text(f"{COMPLETENESS_DIR}/completeness_{file_stem(result.name)}.json", as_json(summary))
    return stage.names


def _write_tables(
    stage: Stage, tables: Mapping[str, Any], *, name: str, pixel_scale: float, meta: Mapping[str, Any],
    forms: tuple[str, ...],
) -> None:  # fmt: skip
    for what, table in tables.items():
        prepared = prepare_table(table, pixel_scale=pixel_scale, meta=meta)
        template = template_of(prepared, text_widths={}, meta=prepared.meta)
        for form in forms:
            path = stage.path(table_name(name, what, form))
            write_table(path, [prepared], form=form, template=template)
