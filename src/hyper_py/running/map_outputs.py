"""Writing the outputs of one map and its record, from which a later run restores the result."""

import time
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hyper_py import __version__
from hyper_py.diagnostics import HyperPyError, HyperPyWarning, InputError
from hyper_py.running.dependencies import changed
from hyper_py.running.map_log import MapLog, explain, log_warnings, user_warnings
from hyper_py.running.process_settings import one_blas_thread
from hyper_py.running.tasks import MapResult, MapTask
from hyper_py.stages import tell

if TYPE_CHECKING:
    from hyper_py.pipeline.extraction import Extraction
    from hyper_py.writing.layout import Layout
    from hyper_py.writing.staging import Stage
    from hyper_py.writing.state import Record


@dataclass
class MapWork:
    """One map while it is done.

    Attributes
    ----------
    task : MapTask
    layout : Layout
        Where its outputs go.
    start : float
        `time.perf_counter()` when the work began.
    log : MapLog
    caught : list of WarningMessage
        Warnings of the pipeline, for the log and the user.
    checksum : str
        Of the input file; empty until it is known.
    removed : tuple of str
        Outputs of an earlier run that were removed.
    """

    task: MapTask
    layout: "Layout"
    start: float
    log: MapLog = field(default_factory=MapLog)
    caught: list[warnings.WarningMessage] = field(default_factory=list)
    checksum: str = ""
    removed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.log.add(f"Hyper-Py {__version__}: {self.task.path}")

    @property
    def seconds(self) -> float:
        """Time since the work began."""
        return time.perf_counter() - self.start

    @contextmanager
    def collected_warnings(self) -> Iterator[None]:
        """Collect warnings: they belong in the map's log and to the user, not on a worker's stderr."""
        with one_blas_thread(), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self.caught = caught
            yield

    def log_failure(self, error: Exception) -> str:
        """Write to the log why the map failed; return it in one line."""
        reason = explain(error)
        log_warnings(self.log, self.caught)
        self.log.add(f"failed: {reason}")
        if not isinstance(error, HyperPyError):
            self.log.lines.append(traceback.format_exc().rstrip())
        return reason


def write_failure(work: MapWork, reason: str) -> MapResult:
    """Write the log of a map that failed, and return that result."""
    from hyper_py.writing.staging import write_text

    task, layout = work.task, work.layout
    outputs: tuple[str, ...] = (layout.map_log(task.name),)
    try:
        write_text(layout.root, outputs[0], work.log.text())
    except OSError:
        outputs = ()
    return MapResult(
        index=task.index,
        name=task.name,
        path=task.path,
        status="failed",
        reason=reason,
        warnings=user_warnings(work.caught),
        seconds=work.seconds,
        checksum=work.checksum,
        outputs=outputs,
        removed=work.removed,
    )


def write_outputs(work: MapWork, extraction: "Extraction") -> MapResult:
    """Write all outputs of a map, and last the record that it is complete.

    Parameters
    ----------
    work : MapWork
    extraction : Extraction
    """
    from hyper_py.catalog import add_calibration_error
    from hyper_py.cautions.catalogues import cautions
    from hyper_py.reporting.report_data import flag_counts
    from hyper_py.writing.catalogues import describe_columns, write_catalogue
    from hyper_py.writing.extraction_files import extraction_meta
    from hyper_py.writing.layout import STATE_DIR
    from hyper_py.writing.sky_regions import write_regions
    from hyper_py.writing.staging import Stage

    tell("products")
    task, layout, log = work.task, work.layout, work.log
    image, catalog = extraction.image, extraction.complete_catalog
    if task.config.survey.calibration_error is not None:
        add_calibration_error(catalog, task.config.survey.calibration_error)
    rms, unit = _noise(extraction)
    log.add(f"rms {rms:.4g} {unit}, {len(catalog)} sources, {work.seconds:.2f} s")
    if "stokes" in image.meta:
        log.add(f"Stokes {image.meta['stokes']}")
    _log_details(log, extraction)
    notes: tuple[str, ...] = tuple(image.meta.get("notes", ()))
    flags = flag_counts(catalog["FLAGS"])["flag_counts"]
    for text in notes:
        log.add(f"note: {text}")
    log.add(f"flags: {', '.join(f'{n} {name}' for name, n in flags.items()) or 'none'}")
    for text in cautions(catalog, image, extraction.noise):
        warnings.warn(text, HyperPyWarning, stacklevel=2)
    with Stage(layout.root) as stage:
        meta = extraction_meta(extraction, name=task.name)
        write_catalogue(stage, layout, catalog, name=task.name, pixel_scale=image.pixel_scale, meta=meta)
        ratio = task.config.photometry.fwhm_radius_ratio
        write_regions(stage, layout, catalog, image, name=task.name, fwhm_radius_ratio=ratio)
        _write_on_request(stage, layout, extraction, task, log)
        _write_fits(stage, layout, task, extraction, log)
        log_warnings(log, work.caught)
        outputs = (
            *(name for name in stage.names if not name.startswith(STATE_DIR)),
            layout.map_log(task.name),
        )
        result = MapResult(
            index=task.index,
            name=task.name,
            path=task.path,
            status="done",
            warnings=user_warnings(work.caught),
            notes=notes,
            flags=flags,
            n_sources=len(catalog),
            rms=rms,
            unit=unit,
            pixel_scale=image.pixel_scale,
            beam_fwhm=image.beam.fwhm,
            seconds=work.seconds,
            checksum=work.checksum,
            outputs=outputs,
            removed=tuple(name for name in work.removed if name not in outputs),
        )
        log.add(f"done in {result.seconds:.2f} s: {', '.join(result.outputs)}")
        stage.text(layout.map_log(task.name), log.text())
        record = record_of(result, task, columns=describe_columns(catalog), files=stage.checksums())
        # The record is last: it is there only if all other files are.
        stage.text(layout.state(task.name), record.to_json())
    return result


def record_of(
    result: MapResult,
    task: MapTask,
    *,
    files: Mapping[str, str],
    columns: tuple[tuple[str, str, str], ...] = (),
    parts: tuple[str, ...] = (),
) -> "Record":
    """Return what is recorded of a complete map; `restored` reads it.

    Parameters
    ----------
    result : MapResult
    task : MapTask
    files : mapping of str to str
        SHA-256 of each file written.
    columns : tuple of (name, unit, description)
        Columns of the catalogue.
    parts : tuple of str
        The channels of a cube.
    """
    from hyper_py.writing.state import Record

    keys = (
        "name", "checksum", "n_sources", "rms", "unit", "pixel_scale", "beam_fwhm", "seconds", "warnings",
        "outputs", "bands", "notes", "flags",
    )  # fmt: skip
    known = {key: getattr(result, key) for key in keys}
    return Record(**known, depends=task.depends, columns=columns, files=dict(files), parts=parts)


def _log_details(log: MapLog, extraction: "Extraction") -> None:
    """Write to the log whether side lobes or another source profile were used."""
    if extraction.measured is None or extraction.explained is None:
        return
    if extraction.vanished is not None and (n_vanished := len(extraction.vanished)):
        log.add(f"{n_vanished} detections left out: their fits left no peak or flux above its error")
    if extraction.pieces is not None and (n_pieces := len(extraction.pieces)):
        log.add(f"{n_pieces} detections left out: pieces of rings or discs, each of which is one source")
    if extraction.measured.noise.filtered and not extraction.image.beam.is_dirty:
        warnings.warn(
            "the map lacks scales of its sources, like a filtered map or that of an interferometer: unless "
            "it was cleaned, peaks may be wrong by 15%; give its dirty beam as survey.psf",
            HyperPyWarning, stacklevel=2,
        )  # fmt: skip
    lobes, factor = len(extraction.explained), extraction.measured.flux_factor
    if lobes:
        log.add(f"{lobes} detections left out: side lobes of brighter sources explain them")
    if factor != 1.0:
        log.add(f"fluxes are {factor:.3f} times those of Gaussians: the sources have another profile")


def _write_fits(
    stage: "Stage", layout: "Layout", task: MapTask, extraction: "Extraction", log: MapLog
) -> None:
    """Write the covariances of the fits, and their report, if they are wanted."""
    from hyper_py.reporting.fit_report import fit_covariances, fit_report

    fit = task.config.fit_options
    if fit.calc_covar:
        fit_covariances(extraction).write(stage.path(layout.covariances(task.name)), format="ascii.ecsv")
    if fit.verbose:
        log.lines.extend(fit_report(extraction))


def restored(task: MapTask, layout: "Layout") -> MapResult | str:
    """Return the result of a map that an earlier run completed; or why it is to be done again.

    The reason is empty if there is no result of an earlier run.
    """
    from hyper_py.writing.rows import read_rows
    from hyper_py.writing.state import files_are_whole, read_record

    record = read_record(layout, task.name)
    if record is None:
        return ""
    if reason := changed(record.depends, task.depends):
        return reason
    try:
        if record.checksum != task.content():
            return "its file has changed"
        if not files_are_whole(layout, record):
            return "an output is missing or not as it was written"
        if not record.parts:
            read_rows(layout, record)
    except InputError as error:
        return str(error)
    return MapResult(
        index=task.index,
        name=task.name,
        path=task.path,
        status="resumed",
        warnings=record.warnings,
        notes=record.notes,
        flags=record.flags,
        n_sources=record.n_sources,
        rms=float("nan") if record.rms is None else record.rms,
        unit=record.unit,
        pixel_scale=float("nan") if record.pixel_scale is None else record.pixel_scale,
        beam_fwhm=float("nan") if record.beam_fwhm is None else record.beam_fwhm,
        seconds=record.seconds,
        checksum=record.checksum,
        outputs=record.outputs,
        bands=record.bands,
    )


def _noise(extraction: "Extraction") -> tuple[float, str]:
    per_beam = extraction.noise.typical * extraction.image.beam_area_pix
    options = extraction.options
    return options.flux_per_jy * per_beam, f"{options.flux_unit}/beam"


def _write_on_request(
    stage: "Stage", layout: "Layout", extraction: "Extraction", task: MapTask, log: MapLog
) -> None:
    """Stage the products that the configuration names besides tables and regions."""
    if layout.fitting or layout.deblended or layout.background or layout.products:
        from hyper_py.reporting.fits_products import write_fits_products

        write_fits_products(stage, layout, extraction, name=task.name)
    if layout.plot_fitting or layout.plot_deblended or layout.plot_background:
        from hyper_py.reporting.figures import write_figures

        if extraction.image.is_whole:
            write_figures(stage, layout, extraction, name=task.name)
        else:
            _leave_out("figures of single groups")
    if layout.noise or layout.plot_noise:
        from hyper_py.reporting.noise_products import write_noise

        log.add(write_noise(stage, layout, extraction, name=task.name))
    if task.config.outputs.report and extraction.noise.typical > 0.0:  # a blank channel has nothing to show
        from hyper_py.reporting.report_data import make_report_data, save_report_data
        from hyper_py.writing.layout import report_data_name

        data = make_report_data(extraction, spectral=task.spectral)
        save_report_data(stage.path(report_data_name(task.name)), data)
        if task.has_figure:
            from hyper_py.reporting.map_figure import map_svg

            stage.text(layout.map_figure(task.name), map_svg(extraction))


def _leave_out(what: str) -> None:
    """Warn that an output is left out because the map was read in pieces."""
    warnings.warn(
        f"{what}: left out, the map was read in pieces (control.max_memory)", HyperPyWarning, stacklevel=2
    )
