"""The page of the report for one extraction that was made in Python."""

import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import astropy
import numpy as np
import scipy

from hyper_py import __version__
from hyper_py.cautions.catalogues import cautions
from hyper_py.diagnostics import InputError
from hyper_py.pipeline.extraction import Extraction
from hyper_py.reporting.report import map_page
from hyper_py.reporting.report_data import make_report_data
from hyper_py.writing.extraction_files import check_free
from hyper_py.writing.staging import Stage

_SECTIONS = ("detection", "photometry", "fit_options", "background", "cube")


def write_page(extraction: Extraction, path: Path, *, overwrite: bool = True) -> Path:
    """Write the page of one map into a file.

    Raises
    ------
    InputError
        For a suffix other than .html, or a file that exists.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"report: {path}: the report is a page: give a name that ends with .html")
    check_free(path, overwrite=overwrite, function="report")
    entry = {
        "n_sources": len(extraction.catalog),
        "warnings": cautions(extraction.complete_catalog, extraction.image, extraction.noise),
        "notes": extraction.image.meta.get("notes", ()),
    }
    page = map_page(make_report_data(extraction), manifest=_manifest(extraction), entry=entry)
    with Stage(path.parent) as stage:
        stage.text(path.name, page)
    return path


def _manifest(extraction: Extraction) -> dict[str, Any]:
    """Return what a run would say of itself."""
    options = extraction.options.to_mapping()
    versions = {
        "hyper-py": __version__, "python": platform.python_version(), "numpy": np.__version__,
        "scipy": scipy.__version__, "astropy": astropy.__version__,
    }  # fmt: skip
    return {
        "status": "made in Python",
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "finished": "",
        "maps": [],
        "software": versions,
        "configuration": {
            **{name: options[name] for name in _SECTIONS},
            "control": {
                "detection_only": options["detection_only"],
                "tile_size_pix": options["tile_size_pix"],
            },
            "units": {"convert_mJy": options["convert_mJy"]},
        },
    }
