"""One map, from its file to its outputs: the piece of work that executors carry to wherever they run it."""

import hashlib
import json
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from hyper_py import __version__
from hyper_py.diagnostics import HyperPyError, HyperPyWarning, InputError
from hyper_py.running.executors import keep_freed_memory, one_blas_thread, one_line, without_collections

if TYPE_CHECKING:
    from hyper_py.writing.products import Layout, Stage

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
)
"""Keys that change nothing in a map's outputs."""


@dataclass(frozen=True, kw_only=True)
class MapTask:
    """One map to do; small and picklable, so that any executor can carry it.

    Attributes
    ----------
    index : int
        Place in the order of the inputs, from 0.
    name : str
        MAP in the names of outputs.
    path : Path
        The input file.
    config : Config
        The full configuration of the run.
    fingerprint : str
        From `fingerprint`.
    checksum : str
        Of the input, where it is known already.
    """

    index: int
    name: str
    path: Path
    config: Any
    fingerprint: str = ""
    checksum: str = ""
    has_figure: ClassVar[bool] = True
    """Whether the map with its sources is drawn; a cube has no figure for each channel."""


@dataclass(frozen=True, kw_only=True)
class MapResult:
    """What became of one map.

    Attributes
    ----------
    status : str
        `done`, `failed`, `resumed` (complete from an earlier run) or `pending` (interrupted before).
    reason : str
        One line that says why the map failed; empty otherwise.
    warnings : tuple of str
        One line each.
    rms, unit : float, str
        Noise of the map (the median of a map of the noise) and its unit, mJy/beam or Jy/beam.
    pixel_scale : float
        Arcsec.
    seconds : float
        Wall-clock time spent on the map.
    checksum : str
        SHA-256 of the input file.
    outputs : tuple of str
        Files written, relative to the output directory.
    attempts : int
        2 if a worker died over the map.
    """

    index: int
    name: str
    path: Path
    status: str
    reason: str = ""
    warnings: tuple[str, ...] = ()
    n_sources: int = 0
    rms: float = float("nan")
    unit: str = ""
    pixel_scale: float = float("nan")
    seconds: float = 0.0
    checksum: str = ""
    outputs: tuple[str, ...] = ()
    attempts: int = 1

    @property
    def ok(self) -> bool:
        """True if the map's outputs are complete."""
        return self.status in ("done", "resumed")


Measure: TypeAlias = Callable[[MapTask], Any]
"""Gives the `Extraction` of a task."""


def fingerprint(config: Any) -> str:
    """Return a hash of all that decides outputs besides the map: configuration, fixed sources, version."""
    values = config.model_dump(mode="json")
    for section, key in _IRRELEVANT:
        values[section].pop(key, None)
    values["paths"]["output"].pop("dir_root", None)
    values["software"] = __version__
    if config.detection.use_fixed_source_table:
        table = config.below_root(config.detection.fixed_source_table_path)
        values["fixed_sources"] = table.read_text(errors="replace") if table.is_file() else None
    if config.detection.regions:
        regions = config.below_config(config.detection.regions)
        values["regions"] = regions.read_text(errors="replace") if regions.is_file() else None
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def reading_options(config: Any) -> dict[str, Any]:
    """Return what a configuration says about reading files, as `io.read_image` and `open_cube` take it.

    Raises
    ------
    InputError
        If the beam is to be measured on an image of the PSF that cannot be used.
    """
    from hyper_py.geometry import Beam
    from hyper_py.reading.auxiliary import is_file_name
    from hyper_py.reading.psf import beam_from_psf

    io, survey, beam = config.io, config.survey, config.survey.beam
    if beam is not None:
        beam = Beam(major=beam.major, minor=beam.minor or beam.major, pa=beam.pa, source="survey.beam")
    if survey.psf is not None:
        path = config.below_config(survey.psf)
        beam = beam_from_psf(path, pixel=survey.psf_pixel, hdu=survey.psf_hdu)

    def place(where: str | int | None) -> str | int | None:
        return str(config.below_config(where)) if isinstance(where, str) and is_file_name(where) else where

    return {
        "hdu": io.hdu,
        "error_hdu": place(io.error_hdu),
        "mask": place(io.mask),
        "primary_beam": place(io.primary_beam),
        "primary_beam_corrected": io.primary_beam_corrected,
        "bunit": config.units.bunit,
        "frequency": config.units.frequency,
        "beam": beam,
        "survey_name": survey.name,
        "survey_code": survey.survey_code,
    }


def load_libraries() -> None:
    """Load all that a map needs, if it is not there."""
    if "hyper_py.pipeline.extraction" not in sys.modules:
        with without_collections():
            import hyper_py.pipeline.cubes
            import hyper_py.pipeline.extraction
            import hyper_py.reading.io
            import hyper_py.running.forced
            import hyper_py.writing.products
            import hyper_py.writing.sky_regions  # noqa: F401
        keep_freed_memory()


def measure_map(task: MapTask) -> Any:
    """Read the map of a task and extract its sources.

    Raises
    ------
    InputError
        The file cannot be used as it is.
    """
    from hyper_py.pipeline.cubes import Reference
    from hyper_py.pipeline.extraction import FixedSources, extract_sources
    from hyper_py.reading.io import read_image
    from hyper_py.running.forced import fixed_apertures, fixed_sources, table_beam

    config = task.config
    options, fixed = config.options(), fixed_sources(config)
    limit = 1e9 * config.control.max_memory
    image = read_image(task.path, max_memory=limit, **reading_options(config))
    if fixed is not None:
        fixed = Reference(sources=fixed, beam=table_beam(config)).for_beam(image.beam)
    if config.detection.regions:
        from hyper_py.writing.sky_regions import read_regions

        path, ratio = config.below_config(config.detection.regions), config.photometry.fwhm_radius_ratio
        fixed = read_regions(path, image, fwhm_radius_ratio=ratio)
    if fixed is None and config.photometry.fixed_radius and not options.detection_only:
        # Detected positions in given apertures.
        found = extract_sources(image, options=replace(options, detection_only=True)).catalog
        fixed = FixedSources(
            longitude=found["RA"].value,
            latitude=found["DEC"].value,
            frame="icrs",
            **fixed_apertures(config, len(found)),
        )
    return extract_sources(image, options=options, fixed=fixed)


@dataclass
class MapLog:
    """Lines of a map's own log, with the time of each."""

    lines: list[str] = field(default_factory=list)

    def add(self, text: str) -> None:
        """Add a line."""
        self.lines.append(f"{datetime.now():%Y-%m-%d %H:%M:%S} {text}")

    def text(self) -> str:
        """Return all lines."""
        return "\n".join(self.lines) + "\n"


def process_map(task: MapTask, *, measure: Measure = measure_map) -> MapResult:
    """Do one map and write its outputs: all of them, or, if it fails, none but its log.

    Outputs of the same map by an earlier run are removed first.

    Parameters
    ----------
    task : MapTask
    measure : callable
        Gives the extraction of a task.

    Returns
    -------
    MapResult
        Failures too are results.
    """
    start = time.perf_counter()
    load_libraries()
    from hyper_py.writing.products import Layout, forget_map

    layout = Layout.from_config(task.config)
    log = MapLog()
    log.add(f"Hyper-Py {__version__}: {task.path}")
    checksum = ""
    # The pipeline warns; a record of it belongs into the map's log and to the user, not on a worker's stderr.
    with one_blas_thread(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            forget_map(layout, task.name)
            checksum = task.checksum or input_checksum(task.path)
            return _extract_and_write(
                task, layout, measure, log=log, caught=caught, checksum=checksum, start=start
            )
        except Exception as error:
            reason = explain(error)
            log_warnings(log, caught)
            log.add(f"failed: {reason}")
            if not isinstance(error, HyperPyError):
                log.lines.append(traceback.format_exc().rstrip())
    return failed(task, layout, reason, log=log, caught=caught, checksum=checksum, start=start)


def failed(
    task: MapTask, layout: "Layout", reason: str, *, log: MapLog, caught: Any, checksum: str, start: float
) -> MapResult:
    """Write the log of a map that failed, and return that result."""
    from hyper_py.writing.products import write_text

    outputs: tuple[str, ...] = (layout.map_log(task.name),)
    try:
        write_text(layout.root, outputs[0], log.text())
    except OSError:
        outputs = ()
    return MapResult(
        index=task.index,
        name=task.name,
        path=task.path,
        status="failed",
        reason=reason,
        warnings=user_warnings(caught),
        seconds=time.perf_counter() - start,
        checksum=checksum,
        outputs=outputs,
    )


def input_checksum(path: Path) -> str:
    """Return the checksum of an input; `InputError` if it cannot be read."""
    from hyper_py.writing.products import file_checksum

    try:
        return file_checksum(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def _extract_and_write(
    task: MapTask,
    layout: "Layout",
    measure: Measure,
    *,
    log: MapLog,
    caught: Any,
    checksum: str,
    start: float,
) -> MapResult:
    from hyper_py.writing.products import (
        STATE_DIR,
        Stage,
        as_json,
        describe_columns,
        write_catalogue,
        write_regions,
    )

    extraction = measure(task)
    image, catalog = extraction.image, extraction.catalog
    rms, unit = _noise(extraction)
    log.add(f"rms {rms:.4g} {unit}, {len(catalog)} sources, {time.perf_counter() - start:.2f} s")
    if "local_spectrum_gain" in catalog.meta:
        gain = catalog.meta["local_spectrum_gain"]
        log.add(
            f"the spectrum varies over the map: following it leaves {gain:.1%} less variance to detection"
        )
    if extraction.field is not None:
        lobes, factor = len(extraction.field.explained), extraction.field.measured.flux_factor
        if lobes:
            log.add(f"{lobes} detections left out: side lobes of brighter sources explain them")
        if factor != 1.0:
            log.add(f"fluxes are {factor:.3f} times those of Gaussians: the sources have another profile")
    with Stage(layout.root) as stage:
        meta = _header(task, extraction, rms=rms, unit=unit)
        write_catalogue(stage, layout, catalog, name=task.name, pixel_scale=image.pixel_scale, meta=meta)
        ratio = task.config.photometry.fwhm_radius_ratio
        write_regions(stage, layout, catalog, image, name=task.name, fwhm_radius_ratio=ratio)
        _write_on_request(stage, layout, extraction, task, log)
        _write_fits(stage, layout, task, extraction, log)
        log_warnings(log, caught)
        result = MapResult(
            index=task.index,
            name=task.name,
            path=task.path,
            status="done",
            warnings=user_warnings(caught),
            n_sources=len(catalog),
            rms=rms,
            unit=unit,
            pixel_scale=image.pixel_scale,
            seconds=time.perf_counter() - start,
            checksum=checksum,
            outputs=(
                *(name for name in stage.names if not name.startswith(STATE_DIR)),
                layout.map_log(task.name),
            ),
        )
        log.add(f"done in {result.seconds:.2f} s: {', '.join(result.outputs)}")
        stage.text(layout.map_log(task.name), log.text())
        state = {
            "name": task.name,
            "fingerprint": task.fingerprint,
            "checksum": checksum,
            "n_sources": result.n_sources,
            "rms": rms,
            "unit": unit,
            "pixel_scale": image.pixel_scale,
            "seconds": result.seconds,
            "warnings": result.warnings,
            "outputs": result.outputs,
            "columns": describe_columns(catalog),
            "sizes": stage.sizes(),
        }
        # Last, so that it is there only when all else is.
        stage.text(layout.state(task.name), as_json(state))
    return result


def _write_fits(stage: "Stage", layout: "Layout", task: MapTask, extraction: Any, log: MapLog) -> None:
    """Write the covariances of the fits, and the report of them, if they were asked for."""
    from hyper_py.reporting.fit_report import fit_covariances, fit_report

    fit = task.config.fit_options
    if fit.calc_covar:
        fit_covariances(extraction).write(stage.path(layout.covariances(task.name)), format="ascii.ecsv")
    if fit.verbose:
        log.lines.extend(fit_report(extraction))


def restored(task: MapTask, layout: "Layout") -> MapResult | None:
    """Return the result of a map that an earlier run completed from the same input and configuration."""
    from hyper_py.writing.products import read_state, state_is_current

    state = read_state(layout, task.name)
    if state is None or state.get("fingerprint") != task.fingerprint:
        return None
    try:
        checksum = task.checksum or input_checksum(task.path)
    except InputError:
        return None
    if not state_is_current(layout, state, checksum=checksum, fingerprint=task.fingerprint):
        return None
    rms = state.get("rms")
    return MapResult(
        index=task.index,
        name=task.name,
        path=task.path,
        status="resumed",
        warnings=tuple(state["warnings"]),
        n_sources=state["n_sources"],
        rms=float("nan") if rms is None else rms,
        unit=state["unit"],
        pixel_scale=state["pixel_scale"],
        seconds=state["seconds"],
        checksum=checksum,
        outputs=tuple(state["outputs"]),
    )


def _noise(extraction: Any) -> tuple[float, str]:
    import numpy as np

    rms = np.asarray(extraction.rms)
    known = rms[np.isfinite(rms)]
    per_beam = float(np.median(known) if known.size else np.nan) * extraction.image.beam_area_pix
    options = extraction.options
    return options.flux_per_jy * per_beam, f"{options.flux_unit}/beam"


def _header(task: MapTask, extraction: Any, *, rms: float, unit: str) -> dict[str, Any]:
    """Return what the headers of a map's tables say about the run; the same for the same run."""
    from hyper_py.geometry import celestial_frame

    image = extraction.image
    return {
        "creator": f"Hyper-Py {__version__}",
        "map": task.name,
        "map_unit": image.unit,
        "frame_of_pa": celestial_frame(image.wcs).name,
        "beam_major_arcsec": image.beam.major,
        "beam_minor_arcsec": image.beam.minor,
        "beam_pa_deg": image.beam.pa,
        "beam_source": image.beam.source,
        "pixel_arcsec": float(f"{image.pixel_scale:.8g}"),
        "rms": float(f"{rms:.6g}"),
        "rms_unit": unit,
        "sigma_thres": task.config.detection.sigma_thres,
        "n_sources": len(extraction.catalog),
        **extraction.catalog.meta,
    }


def _write_on_request(stage: "Stage", layout: "Layout", extraction: Any, task: MapTask, log: MapLog) -> None:
    """Stage what the configuration asks for besides tables and regions."""
    if layout.fitting or layout.deblended or layout.background:
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
        from hyper_py.writing.products import report_data_name

        if extraction.image.is_whole:
            save_report_data(stage.path(report_data_name(task.name)), make_report_data(extraction))
        else:
            _leave_out("the page of the report")
        if task.has_figure:
            from hyper_py.reporting.map_figure import map_svg

            stage.text(layout.map_figure(task.name), map_svg(extraction))


def _leave_out(what: str) -> None:
    """Warn that a map that was read in pieces has no such output."""
    warnings.warn(
        f"{what}: left out, the map was read in pieces (control.max_memory)", HyperPyWarning, stacklevel=2
    )


def explain(error: Exception) -> str:
    """Return why a map failed, in one line."""
    if isinstance(error, HyperPyError):
        return one_line(error)
    if isinstance(error, MemoryError):
        return "out of memory"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(place.filename).name}, line {place.lineno}"
    return f"unexpected {one_line(error)} ({where}); the map's log has the traceback"


def _one_each(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))


def user_warnings(caught: Any) -> tuple[str, ...]:
    """Return the warnings that are for users, once each."""
    from astropy.utils.exceptions import AstropyWarning

    kinds = (HyperPyWarning, AstropyWarning)
    return _one_each(" ".join(str(one.message).split()) for one in caught if issubclass(one.category, kinds))


def log_warnings(log: MapLog, caught: Any) -> None:
    """Write all warnings to a log, once each."""
    for text in _one_each(f"{one.category.__name__}: {' '.join(str(one.message).split())}" for one in caught):
        log.add(f"warning: {text}")
