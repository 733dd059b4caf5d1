"""Writing the outputs of one field in several bands."""

import warnings
from typing import TYPE_CHECKING, Any

from hyper_py import __version__
from hyper_py.diagnostics import HyperPyWarning
from hyper_py.running.field_task import FieldTask
from hyper_py.running.map_log import log_warnings, user_warnings
from hyper_py.running.map_outputs import MapWork, record_of
from hyper_py.running.tasks import MapResult
from hyper_py.stages import tell

if TYPE_CHECKING:
    from hyper_py.pipeline.bands import BandsExtraction, MeasuredBand
    from hyper_py.running.map_log import MapLog
    from hyper_py.writing.staging import Stage


def write_field_outputs(work: MapWork, extraction: "BandsExtraction") -> MapResult:
    """Write all outputs of a field, and last the record that it is complete.

    Parameters
    ----------
    work : MapWork
        Of a `FieldTask`.
    extraction : BandsExtraction
    """
    from hyper_py.cautions.catalogues import band_cautions
    from hyper_py.writing.band_files import long_name, write_band_files
    from hyper_py.writing.catalogues import describe_columns, write_catalogue, write_tables
    from hyper_py.writing.layout import STATE_DIR
    from hyper_py.writing.staging import Stage

    tell("products")
    task, layout, log = work.task, work.layout, work.log
    assert isinstance(task, FieldTask)
    catalog = extraction.catalog
    reference = extraction.measured[extraction.offsets.reference]
    pixel_scale = min(band.image.pixel_scale for band in extraction.bands)
    rms, unit = _noise(reference, extraction)
    log.add(f"{len(extraction.bands)} bands, {len(catalog)} sources, {work.seconds:.2f} s")
    facts = band_facts(extraction)
    facts = tuple({**one, "path": str(band.path)} for one, band in zip(facts, task.bands, strict=True))
    _log_bands(log, facts)
    for text in band_cautions(catalog, {band.name: band.image for band in extraction.bands}):
        warnings.warn(text, HyperPyWarning, stacklevel=2)
    with Stage(layout.root) as stage:
        meta = {
            "creator": f"Hyper-Py {__version__}",
            "sigma_thres": extraction.options.bands.sigma_thres,
            "shape": extraction.options.bands.shape,
            "n_sources": len(catalog),
            **catalog.meta,
        }
        write_catalogue(stage, layout, catalog, name=task.name, pixel_scale=pixel_scale, meta=meta)
        long = extraction.long_catalog
        write_tables(stage, layout, long, name=long_name(task.name), pixel_scale=pixel_scale, meta=meta)
        ratio = task.config.photometry.fwhm_radius_ratio
        write_band_files(stage, layout, extraction, name=task.name, fwhm_radius_ratio=ratio)
        _write_report_data(stage, extraction, work)
        log_warnings(log, work.caught)
        hidden = (STATE_DIR,)
        outputs = (*(n for n in stage.names if not n.startswith(hidden)), layout.map_log(task.name))
        result = MapResult(
            index=task.index, name=task.name, path=task.path, status="done",
            warnings=user_warnings(work.caught), n_sources=len(catalog), rms=rms, unit=unit,
            pixel_scale=pixel_scale, beam_fwhm=reference.band.image.beam.fwhm, seconds=work.seconds,
            checksum=work.checksum, outputs=outputs,
            removed=tuple(name for name in work.removed if name not in outputs), bands=facts,
        )  # fmt: skip
        log.add(f"done in {result.seconds:.2f} s: {', '.join(result.outputs)}")
        stage.text(layout.map_log(task.name), log.text())
        record = record_of(result, task, columns=describe_columns(catalog), files=stage.checksums())
        # The record is last: it is there only if all other files are.
        stage.text(layout.state(task.name), record.to_json())
    return result


def _noise(band: "MeasuredBand", extraction: "BandsExtraction") -> tuple[float, str]:
    """Return the noise of the sharpest band and its unit."""
    per_beam = band.noise.covariance.variance**0.5 * band.band.image.beam_area_pix
    options = extraction.options
    return options.flux_per_jy * per_beam, f"{options.flux_unit}/beam"


def band_facts(extraction: "BandsExtraction") -> tuple[dict[str, Any], ...]:
    """Return what is known of each band: plain JSON."""
    detected, seen = extraction.sources.detected, extraction.sources.seen
    facts = []
    for b, one in enumerate(extraction.measured):
        band, offsets = one.band, extraction.offsets
        rms, unit = _noise(one, extraction)
        facts.append(
            {
                "name": band.name,
                "wavelength_um": band.wavelength,
                "beam_arcsec": round(band.image.beam.fwhm, 4),
                "rms": float(f"{rms:.6g}"),
                "unit": unit,
                "n_covered": int(seen[:, b].sum()),
                "n_detected": int(detected[:, b].sum()),
                "reference": b == offsets.reference,
                "offset_arcsec": [round(float(value), 4) for value in offsets.values[b]],
                "offset_error_arcsec": [
                    round(float(value), 4) if value == value else None for value in offsets.errors[b]
                ],
            }
        )
    return tuple(facts)


def offset_text(facts: dict[str, Any]) -> str:
    """Return the offset of a band in words."""
    if facts["reference"]:
        return "reference"
    (east, north), errors = facts["offset_arcsec"], facts["offset_error_arcsec"]
    if None in errors:
        return "not measured"
    return f"{east:+.2f} {north:+.2f} +- {max(errors):.2f} arcsec"


def _log_bands(log: "MapLog", facts: tuple[dict[str, Any], ...]) -> None:
    """Write to the log what is known of each band."""
    for band in facts:
        log.add(
            f"{band['name']}: {band['wavelength_um']:g} um, beam {band['beam_arcsec']:.4g} arcsec, "
            f"rms {band['rms']:.4g} {band['unit']}, {band['n_detected']} of {band['n_covered']} sources "
            f"above 3 errors, offset {offset_text(band)}"
        )


def _write_report_data(stage: "Stage", extraction: "BandsExtraction", work: MapWork) -> None:
    if not work.task.config.outputs.report:
        return
    from hyper_py.reporting.bands_data import make_bands_data
    from hyper_py.reporting.report_data import save_report_data
    from hyper_py.writing.layout import report_data_name

    save_report_data(stage.path(report_data_name(work.task.name)), make_bands_data(extraction))
