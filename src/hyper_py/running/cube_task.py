"""One cube, from its file to its outputs: channels by an executor, then what belongs to all of them.

A channel is done as a map is, under the name CUBE_slice_NNN; its planes of the product cubes are in place
before its record is. A cube that was interrupted goes on with the channels that have no record.
"""

import gzip
import shutil
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from hyper_py import __version__
from hyper_py.diagnostics import ConfigurationError, HyperPyError
from hyper_py.running.executors import one_blas_thread
from hyper_py.running.map_task import (
    MapLog,
    MapResult,
    MapTask,
    explain,
    failed,
    input_checksum,
    log_warnings,
    process_map,
    reading_options,
    restored,
    user_warnings,
)

if TYPE_CHECKING:
    from hyper_py.pipeline.cubes import Reference
    from hyper_py.reading.io import CubeReader
    from hyper_py.running.executors import Outcomes
    from hyper_py.writing.plane_files import PlaneFile
    from hyper_py.writing.products import Layout

_SPECTRAL_COLUMNS = {
    "FREQ": ("FREQUENCY", "Frequency of the channel"),
    "VRAD": ("VELOCITY", "Radio velocity of the channel"),
    "VOPT": ("VELOCITY", "Optical velocity of the channel"),
    "VELO": ("VELOCITY", "Velocity of the channel"),
    "FELO": ("VELOCITY", "Optical velocity of the channel"),
    "WAVE": ("WAVELENGTH", "Wavelength of the channel"),
    "AWAV": ("WAVELENGTH", "Wavelength of the channel in air"),
}
_CONTENT = {
    "background": "background",
    "raw": "background of each channel by itself",
    "cut": "background in the region of interest",
    "model": "sum of the fitted Gaussians",
    "subtracted": "data minus background",
    "residual": "data minus background minus model",
}

Execute: TypeAlias = "Callable[[Callable[[Any], Any], list[Any], Callable[[int, int], None]], Outcomes]"
"""Does a function's tasks, as the executors of `hyper_py.running.executors` do."""
OnChannel: TypeAlias = Callable[[MapResult, int, int], None]
"""Told of every channel: its result, how many are done, how many there are."""


@dataclass(frozen=True, kw_only=True)
class ChannelTask(MapTask):
    """One channel to do; small and picklable.

    Attributes
    ----------
    channel : int
        From 0.
    spectral : tuple of (str, float, str, str), optional
        Name, value, unit and description of the column with the channel's frequency or velocity.
    files : mapping of str to PlaneFile
        Product cubes to write planes to, by their kind.
    reference : Reference, optional
        Sources to measure.
    slice : Path, optional
        Where the channel is written as a map.
    """

    has_figure: ClassVar[bool] = False
    channel: int = 0
    spectral: tuple[str, float, str, str] | None = None
    files: Mapping[str, "PlaneFile"] = field(default_factory=dict)
    reference: "Reference | None" = None
    slice: Path | None = None


def measure_channel(task: Any) -> Any:
    """Extract the sources of a channel and write its planes.

    Parameters
    ----------
    task : ChannelTask

    Raises
    ------
    InputError
        The file cannot be read there.
    """
    import numpy as np
    from astropy import units as u

    from hyper_py.pipeline.cubes import channel_planes, extract_channel
    from hyper_py.reading.io import open_cube

    config = task.config
    with open_cube(task.path, **reading_options(config)) as cube:
        image = replace(cube.channel(task.channel), name=task.name)
    if task.slice is not None:
        _write_slice(task.slice, image)
    options = config.options()
    reference = task.reference or _given_apertures(config, image)
    extraction = extract_channel(image, options=options, reference=reference)
    # Planes that the cubes want are made from what was measured, in the cube's own unit.
    for kind, plane in channel_planes(extraction, kinds=task.files, extent=config.cube.extent).items():
        task.files[kind].write(task.channel, plane / image.jy_per_pixel)
    catalog = extraction.catalog
    catalog["CHANNEL"] = np.full(len(catalog), task.channel + 1, dtype=np.int64)
    catalog["CHANNEL"].info.description = "Channel of the cube, from 1"
    if task.spectral is not None:
        name, value, unit, description = task.spectral
        catalog[name] = u.Quantity(np.full(len(catalog), value), unit)
        catalog[name].info.description = description
    return extraction


def _write_slice(path: Path, image: Any) -> None:
    from hyper_py.writing.products import Stage, write_image

    with Stage(path.parent) as stage:
        write_image(stage.path(path.name), image.data, image, what="channel of a cube")


def _given_apertures(config: Any, image: Any) -> "Reference | None":
    """Return the channel's own detections with the apertures of `photometry.fixed_radius`, if it is set."""
    if not config.photometry.fixed_radius or config.control.detection_only:
        return None
    from hyper_py.pipeline.cubes import Reference, extract_channel
    from hyper_py.pipeline.extraction import FixedSources
    from hyper_py.running.forced import fixed_apertures

    found = extract_channel(image, options=replace(config.options(), detection_only=True)).catalog
    if len(found) == 0:
        return None
    apertures = fixed_apertures(config, len(found))
    place = {"longitude": found["RA"].value, "latitude": found["DEC"].value}
    return Reference(sources=FixedSources(**place, frame="icrs", **apertures))


def process_cube(
    task: MapTask, *, execute: Execute, on_channel: OnChannel | None = None, resume: bool = False
) -> MapResult:
    """Do one cube and write its outputs; failures too are results.

    Parameters
    ----------
    task : MapTask
    execute : callable
        Does the channels, in this process or others.
    on_channel : callable, optional
    resume : bool
        Keep the channels that are complete from an earlier run.
    """
    from hyper_py.writing.products import Layout

    start, layout, log = time.perf_counter(), Layout.from_config(task.config), MapLog()
    log.add(f"Hyper-Py {__version__}: {task.path}")
    with one_blas_thread(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            task = replace(task, checksum=input_checksum(task.path))
            with unpacked(task.path) as path:
                work = _CubeWork(replace(task, path=path), layout, log, on_channel)
                result = work.run(execute, resume=resume)
            log_warnings(log, caught)
            merged = (*user_warnings(caught), *result.warnings)
            result = replace(
                result,
                path=task.path,
                seconds=time.perf_counter() - start,
                warnings=tuple(dict.fromkeys(merged)),
            )
            return work.record(result)
        except Exception as error:
            reason = explain(error)
            log_warnings(log, caught)
            log.add(f"failed: {reason}")
            if not isinstance(error, HyperPyError):
                log.lines.append(traceback.format_exc().rstrip())
    return failed(task, layout, reason, log=log, caught=caught, checksum=task.checksum, start=start)


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """Yield the path of a file, gunzipped once to a temporary one if need be: workers then share it."""
    from hyper_py.reading.fits_files import is_gzip

    if not is_gzip(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="hyper_py_") as directory:
        plain = Path(directory) / path.name.removesuffix(".gz")
        with gzip.open(path, "rb") as source, plain.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
        yield plain


class _CubeWork:
    """The state of one cube while it is done."""

    def __init__(self, task: MapTask, layout: "Layout", log: MapLog, on_channel: OnChannel | None) -> None:
        self.task, self.layout, self.log, self.on_channel = task, layout, log, on_channel
        self.config = task.config
        self.smoothing = task.config.background.spectral_smoothing
        self.written: list[str] = []
        self.parts: list[str] = []

    # ------------------------------------------------------------------------------------------- channels

    def run(self, execute: Execute, *, resume: bool) -> MapResult:
        """Do the channels that are not done, and what belongs to all."""
        from hyper_py.reading.io import open_cube

        with open_cube(self.task.path, **reading_options(self.config)) as cube:
            self.parts = channel_names(self.task.name, len(cube))
            self.forget(resume=resume)
            files, reused = self.open_files(cube, resume=resume)
            region = self.region(cube)
            reference = self.reference(cube)
            tasks = self.channel_tasks(cube, files, reference)
            self.log.add(f"{len(cube)} channels of {cube.shape[2]} x {cube.shape[1]} pixels, {cube.unit}")
            results = self.do_channels(tasks, execute, resume=resume and reused)
            broken = [one for one in results if not one.ok]
            if broken:
                raise HyperPyError(
                    f"{len(broken)} of {len(cube)} channels failed; the first, {broken[0].name}: "
                    f"{broken[0].reason}"
                )
            self.finish_cubes(cube, files, region)
        self.write_tables(results, spectra=reference is not None)
        return _summed(self.task, results)

    def forget(self, *, resume: bool) -> None:
        """Remove what an earlier run left of this cube, but for what is to be resumed."""
        from hyper_py.writing.products import forget_map, parts_of

        if resume:
            (self.layout.root / self.layout.state(self.task.name)).unlink(missing_ok=True)
            return
        for part in {*parts_of(self.layout, self.task.name), *self.parts} - {self.task.name}:
            forget_map(self.layout, part)
        forget_map(self.layout, self.task.name)

    def kinds(self) -> set[str]:
        """Return the product cubes that channels write their planes to."""
        outputs = set(self.config.cube.outputs) | ({"background"} if self.config.cube.region else set())
        if not self.smoothing or not outputs - {"model"}:
            return outputs
        return {"raw"} | ({"model"} if outputs & {"model", "residual"} else set())

    def partial_path(self, kind: str) -> Path:
        """Return where a cube is while it grows: beside its final place, to be looked at."""
        final = self.layout.root / self.layout.cube(self.task.name, kind)
        return final.with_name(f"{final.stem}.partial{final.suffix}")

    def create(self, cube: "CubeReader", kind: str, *, reuse: bool = False) -> tuple["PlaneFile", bool]:
        """Begin a cube of full size, or take over a grown one."""
        from hyper_py.writing.plane_files import PlaneFile

        path, final = self.partial_path(kind), self.layout.root / self.layout.cube(self.task.name, kind)
        path.parent.mkdir(parents=True, exist_ok=True)
        if reuse and final.is_file() and not path.exists():
            final.replace(path)
        beams = cube.beams if len(set(map(_shape_of, cube.beams))) > 1 else ()
        return PlaneFile.create(
            path, shape=cube.shape, dtype=cube.dtype, header=cube.header, beams=beams,
            content=_CONTENT[kind], reuse=reuse,
        )  # fmt: skip

    def open_files(self, cube: "CubeReader", *, resume: bool) -> tuple[dict[str, "PlaneFile"], bool]:
        """Begin or take over all cubes; say whether all were taken over."""
        made = {kind: self.create(cube, kind, reuse=resume) for kind in sorted(self.kinds())}
        return {kind: file for kind, (file, _) in made.items()}, all(reused for _, reused in made.values())

    def region(self, cube: "CubeReader") -> Any:
        """Return the mask of the region of interest; None if there is none."""
        if self.config.cube.region is None:
            return None
        from hyper_py.reading.cube_region import region_mask

        return region_mask(
            self.config.cube.region, cube.wcs, cube.shape[1:], base=self.config.below_root("..")
        )

    def reference(self, cube: "CubeReader") -> "Reference | None":
        """Return the list of sources for all channels; None where each finds its own."""
        from hyper_py.pipeline.cubes import Reference, extract_channel, mean_image, reference_from
        from hyper_py.running.forced import fixed_sources, table_beam

        config = self.config
        given, how = fixed_sources(config), config.cube.positions
        if given is not None:
            return Reference(sources=given, beam=table_beam(config))
        if how == "per_channel":
            return None
        if how == "fixed":
            raise ConfigurationError(
                "cube.positions is fixed, but nothing is given: set detection.fixed_peaks or "
                "detection.use_fixed_source_table"
            )
        if how == "channel" and config.cube.channel > len(cube):
            raise ConfigurationError(f"cube.channel is {config.cube.channel}, but there are {len(cube)}")
        image = mean_image(cube) if how == "moment0" else cube.channel(config.cube.channel - 1)
        extraction = extract_channel(image, options=config.options())
        self.log.add(f"{len(extraction.catalog)} sources found on the {how}")
        self.write_reference(extraction)
        return reference_from(extraction, keep_shapes=config.cube.shapes == "fixed")

    def write_reference(self, extraction: Any) -> None:
        """Write the catalogue of the image on which the list for all channels was found."""
        from hyper_py.writing.products import Stage, write_catalogue

        with Stage(self.layout.root) as stage:
            write_catalogue(
                stage, self.layout, extraction.catalog, name=f"{self.task.name}_reference",
                pixel_scale=extraction.image.pixel_scale, meta=extraction.catalog.meta,
            )  # fmt: skip
        self.written += stage.names

    def channel_tasks(
        self, cube: "CubeReader", files: Mapping[str, "PlaneFile"], reference: "Reference | None"
    ) -> list[ChannelTask]:
        """Return one task a channel."""
        shared = {one.name: getattr(self.task, one.name) for one in fields(MapTask)}
        # The raw background is the background as a channel sees it.
        files = {"background" if kind == "raw" else kind: file for kind, file in files.items()}
        tasks = []
        for k, name in enumerate(self.parts):
            place = self.layout.root / self.layout.slice(name) if self.config.cube.slices else None
            own = {"index": k, "name": name, "spectral": spectral_column(cube, k), "slice": place}
            tasks.append(ChannelTask(**{**shared, **own}, channel=k, files=files, reference=reference))
        return tasks

    def do_channels(self, tasks: Sequence[ChannelTask], execute: Execute, *, resume: bool) -> list[MapResult]:
        """Do all channels that are not complete."""
        results: dict[int, MapResult] = {}
        if resume:
            known = {task.channel: restored(task, self.layout) for task in tasks}
            results = {k: result for k, result in known.items() if result is not None}
            self.log.add(f"{len(results)} channels complete from an earlier run")
        todo = [task for task in tasks if task.channel not in results]
        for outcome in execute(partial(process_map, measure=measure_channel), todo, lambda *_: None):
            task = todo[outcome.index]
            result = outcome.value
            if outcome.error:
                result = MapResult(
                    index=task.index, name=task.name, path=task.path, status="failed", reason=outcome.error
                )
            results[task.channel] = result
            said = (
                f"{result.n_sources} sources, rms {result.rms:.4g} {result.unit}"
                if result.ok
                else result.reason
            )
            self.log.add(f"{result.name}: {said}, {result.seconds:.2f} s")
            if self.on_channel is not None:
                self.on_channel(result, len(results), len(tasks))
        return [results[task.channel] for task in tasks]

    # ------------------------------------------------------------------------------------- the whole cube

    def finish_cubes(self, cube: "CubeReader", files: dict[str, "PlaneFile"], region: Any) -> None:
        """Smooth along the spectrum and cut to the region if asked; give all cubes their names."""
        outputs = set(self.config.cube.outputs)
        if "raw" in files:
            files |= self.smooth(cube, files)
        if region is not None:
            files["cut"] = self.cut(cube, files["background"], region)
            outputs.add("cut")
        for kind, file in files.items():
            if kind in outputs:
                relative = self.layout.cube(self.task.name, kind)
                file.finish(self.layout.root / relative)
                self.written.append(relative)
            else:
                file.path.unlink()

    def smooth(self, cube: "CubeReader", files: Mapping[str, "PlaneFile"]) -> dict[str, "PlaneFile"]:
        """Average the background over channels, and make anew what follows from it."""
        from hyper_py.pipeline.cubes import smooth_spectrally

        wanted = set(self.config.cube.outputs) & {"subtracted", "residual"} | {"background"}
        made = {kind: self.create(cube, kind)[0] for kind in sorted(wanted)}
        planes = smooth_spectrally(files["raw"].read, len(cube), fwhm=self.smoothing)
        for k, background in enumerate(planes):
            made["background"].write(k, background)
            if len(made) == 1:
                continue
            image = cube.channel(k)
            subtracted = image.data / image.jy_per_pixel - background
            if "subtracted" in made:
                made["subtracted"].write(k, subtracted)
            if "residual" in made:
                made["residual"].write(k, subtracted - files["model"].read(k))
        return made

    def cut(self, cube: "CubeReader", full: "PlaneFile", region: Any) -> "PlaneFile":
        """Write the background inside the region, cut to its bounding box, blank outside."""
        import numpy as np

        from hyper_py.reading.cube_region import bounding_box
        from hyper_py.writing.plane_files import PlaneFile, cut_header

        rows, columns = bounding_box(region)
        inside = region[rows, columns]
        beams = cube.beams if len(set(map(_shape_of, cube.beams))) > 1 else ()
        small, _ = PlaneFile.create(
            self.partial_path("cut"), shape=(len(cube), *inside.shape), dtype=cube.dtype, beams=beams,
            header=cut_header(cube.header, x0=columns.start, y0=rows.start), content=_CONTENT["cut"],
        )  # fmt: skip
        for k in range(len(cube)):
            small.write(k, np.where(inside, full.read(k)[rows, columns], np.nan))
        return small

    def write_tables(self, results: Sequence[MapResult], *, spectra: bool) -> None:
        """Write the catalogue of all channels, and the spectra of the sources if there is one list."""
        from hyper_py.reporting.spectra import write_spectra
        from hyper_py.writing.products import write_merged

        meta = {
            "creator": f"Hyper-Py {__version__}",
            "cube": self.task.name,
            "sigma_thres": self.config.detection.sigma_thres,
            "n_channels": len(results),
        }
        merged = f"{self.task.name}_ALL"
        self.written += write_merged(self.layout, self.parts, meta=meta, merged=merged)
        if spectra:
            self.written += write_spectra(self.layout, self.task.name, self.parts, meta=meta)

    def record(self, result: MapResult) -> MapResult:
        """Write the log and the record of the complete cube."""
        from hyper_py.writing.products import Stage, as_json

        layout, name = self.layout, self.task.name
        result = replace(result, outputs=(*self.written, layout.map_log(name)))
        self.log.add(f"done in {result.seconds:.2f} s: {', '.join(result.outputs)}")
        with Stage(layout.root) as stage:
            stage.text(layout.map_log(name), self.log.text())
            sizes = {one: (layout.root / one).stat().st_size for one in self.written}
            keys = ("name", "n_sources", "rms", "unit", "pixel_scale", "seconds", "warnings", "outputs")
            state = {key: getattr(result, key) for key in keys} | {
                "fingerprint": self.task.fingerprint,
                "checksum": self.task.checksum,
                "parts": self.parts,
                "columns": [],
                "sizes": sizes | stage.sizes(),
            }
            stage.text(layout.state(name), as_json(state))
        return result


def channel_names(name: str, n_channels: int) -> list[str]:
    """Return the names under which channels are done: CUBE_slice_001 and so on."""
    digits = max(3, len(str(n_channels)))
    return [f"{name}_slice_{k + 1:0{digits}d}" for k in range(n_channels)]


def spectral_column(cube: "CubeReader", channel: int) -> tuple[str, float, str, str] | None:
    """Return name, value, unit and description of a channel's frequency or velocity; None if it has none.

    Velocities are in km/s.
    """
    if not cube.spectral_unit:
        return None
    from astropy import units as u

    name, description = _SPECTRAL_COLUMNS.get(
        cube.spectral_type, ("SPECTRAL_VALUE", f"Value of the axis {cube.spectral_type} at the channel")
    )
    value, unit = float(cube.spectral_values[channel]), u.Unit(cube.spectral_unit)
    if name == "VELOCITY":
        value, unit = float(value * unit.to(u.km / u.s)), u.km / u.s
    return name, value, str(unit), description


def _shape_of(beam: Any) -> tuple[float, float, float]:
    return beam.major, beam.minor, beam.pa


def _summed(task: MapTask, results: Sequence[MapResult]) -> MapResult:
    """Return the result of a cube from those of its channels."""
    import statistics

    levels = [one.rms for one in results if one.rms == one.rms]
    return MapResult(
        index=task.index,
        name=task.name,
        path=task.path,
        status="done",
        warnings=tuple(dict.fromkeys(text for one in results for text in one.warnings)),
        n_sources=sum(one.n_sources for one in results),
        rms=statistics.median(levels) if levels else float("nan"),
        unit=results[0].unit,
        pixel_scale=results[0].pixel_scale,
        checksum=task.checksum,
    )
