"""One extraction as a file of the user's choice: its catalogue, or its apertures as regions."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from astropy.table import QTable

from hyper_py import __version__
from hyper_py.diagnostics import InputError
from hyper_py.pipeline.extraction import Extraction
from hyper_py.writing.samp import Message, send
from hyper_py.writing.sky_regions import crtf_text, ds9_texts
from hyper_py.writing.staging import Stage
from hyper_py.writing.table_columns import prepare_table, template_of
from hyper_py.writing.tables import SUFFIXES, write_table

_FORMS = {suffix: form for form, suffix in SUFFIXES.items()} | {".tbl": "ipac", ".xml": "votable"}
"""Formats by suffix; those of `outputs.tables`, and what other programs call the same."""
_REGIONS = (".reg", ".crtf")


def write_extraction(extraction: Extraction, path: Path, *, overwrite: bool = False) -> Path:
    """Write the catalogue or the apertures of an extraction, as the suffix of the path says.

    Raises
    ------
    InputError
        For another suffix, a directory that is not there, or a file that exists.
    """
    suffix = path.suffix.lower()
    if suffix not in _REGIONS:
        return write_catalog(
            extraction.complete_catalog, path, overwrite=overwrite,
            pixel_scale=extraction.image.pixel_scale, meta=extraction_meta(extraction), others=_REGIONS,
        )  # fmt: skip
    check_free(path, overwrite=overwrite, function="write")
    with Stage(path.parent) as stage:
        stage.text(path.name, _regions_text(extraction, suffix))
    return path


def write_catalog(
    catalog: QTable,
    path: Path,
    *,
    overwrite: bool,
    pixel_scale: float,
    meta: dict[str, Any] | None = None,
    others: Sequence[str] = (),
) -> Path:
    """Write a catalogue, as the suffix of the path says.

    Parameters
    ----------
    catalog : QTable
    path : Path
    overwrite : bool
        Whether a file of that name may be replaced.
    pixel_scale : float
        Arcsec; positions are written to a hundredth of it.
    meta : dict, optional
        Metadata; those of the catalogue if not given.
    others : sequence of str
        Further suffixes that messages name.

    Raises
    ------
    InputError
        For another suffix, a directory that is not there, or a file that exists.
    """
    suffix = path.suffix.lower()
    if suffix not in _FORMS:
        known = ", ".join((*_FORMS, *others))
        raise InputError(f"write: {path}: no format of that suffix; known are {known}")
    check_free(path, overwrite=overwrite, function="write")
    with Stage(path.parent) as stage:
        table = prepare_table(
            catalog, pixel_scale=pixel_scale, meta=dict(catalog.meta) if meta is None else meta
        )
        template = template_of(table, text_widths={}, meta=table.meta)
        write_table(stage.path(path.name), [table], form=_FORMS[suffix], template=template)
    return path


def send_extraction(extraction: Extraction, *, to: str | None = None) -> tuple[str, ...]:
    """Send the catalogue of an extraction by SAMP; return the names of the programs that have loaded it."""
    with tempfile.TemporaryDirectory(prefix="hyper-py-") as folder:
        path = write_extraction(extraction, Path(folder) / "catalogue.vot")
        done = send([Message(kind="table", path=path, name=f"{extraction.image.name} sources")], to=to)
    return tuple(one.program for one in done if not one.reason)


def check_free(path: Path, *, overwrite: bool, function: str) -> None:
    """Raise `InputError` where a file cannot be written, or would be replaced without being asked."""
    if not path.parent.is_dir():
        raise InputError(f"{function}: {path.parent}: no such directory: make it first")
    if path.exists() and not overwrite:
        raise InputError(f"{function}: {path} exists: give overwrite=True, or another name")


def _regions_text(extraction: Extraction, suffix: str) -> str:
    table, wcs = extraction.catalog, extraction.image.wcs
    ratio = extraction.options.photometry.fwhm_radius_ratio
    if suffix == ".crtf":
        return crtf_text(table, wcs, fwhm_radius_ratio=ratio)
    return ds9_texts(table, wcs, fwhm_radius_ratio=ratio)[1]


def extraction_meta(extraction: Extraction, *, name: str | None = None) -> dict[str, Any]:
    """Return the metadata of the tables of a map; the same for the same input."""
    image, options = extraction.image, extraction.options
    per_beam = extraction.noise.typical * image.beam_area_pix
    return {
        "creator": f"Hyper-Py {__version__}",
        "map": image.name if name is None else name,
        "map_unit": image.unit,
        "frame_of_pa": image.frame,
        "beam_major_arcsec": image.beam.major,
        "beam_minor_arcsec": image.beam.minor,
        "beam_pa_deg": image.beam.pa,
        "beam_source": image.beam.source,
        "pixel_arcsec": float(f"{image.pixel_scale:.8g}"),
        "rms": float(f"{options.flux_per_jy * per_beam:.6g}"),
        "rms_unit": f"{options.flux_unit}/beam",
        "sigma_thres": options.detection.sigma_thres,
        "n_sources": len(extraction.catalog),
        **({"stokes": image.meta["stokes"]} if "stokes" in image.meta else {}),
        **({"fill": "; ".join(image.meta["fill"])} if "fill" in image.meta else {}),
        **{key: image.meta[key] for key in ("levels", "errors") if key in image.meta},
        **extraction.catalog.meta,
    }
