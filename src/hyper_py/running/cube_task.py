"""One cube, from its file to its outputs: its channels by an executor, then the products of the whole cube.

A channel is processed as a map, under the name CUBE_slice_NNN. Its planes of the product cubes are written
before its record. An interrupted cube continues with the channels that have no record.
"""

import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from hyper_py import __version__
from hyper_py.diagnostics import ConfigurationError, HyperPyError, HyperPyWarning
from hyper_py.running.channel_task import ChannelTask, channel_names, measure_channel, spectral_column
from hyper_py.running.map_log import MapLog, log_warnings, user_warnings
from hyper_py.running.map_outputs import MapWork, record_of, restored, write_failure
from hyper_py.running.map_task import process_map
from hyper_py.running.tasks import MapResult, MapTask, input_checksum, reading_options

if TYPE_CHECKING:
    from hyper_py.geometry import Beam
    from hyper_py.pipeline.cubes import Reference
    from hyper_py.pipeline.extraction import Extraction
    from hyper_py.reading.io import CubeReader
    from hyper_py.running.executors import Outcomes
    from hyper_py.writing.layout import Layout
    from hyper_py.writing.plane_files import PlaneFile

_CONTENT = {
    "background": "background",
    "raw": "background of each channel by itself",
    "cut": "background in the region of interest",
    "model": "sum of the fitted Gaussians",
    "subtracted": "data minus background",
    "residual": "data minus background minus model",
}

Execute: TypeAlias = "Callable[[Callable[[Any], Any], list[Any], Callable[[int, int], None]], Outcomes]"
"""Calls a function with each task, as the executors of `hyper_py.running.executors` do."""

OnChannel: TypeAlias = Callable[[MapResult, int, int], None]
"""Called for every channel with its result, the number of channels done, and the number of all."""


def process_cube(
    task: MapTask, *, execute: Execute, on_channel: OnChannel | None = None, resume: bool = False
) -> MapResult:
    """Do one cube and write its outputs; failures too are results.

    Parameters
    ----------
    task : MapTask
    execute : callable
        Processes the channels, in this process or others.
    on_channel : callable, optional
    resume : bool
        Keep the channels that are complete from an earlier run.
    """
    from hyper_py.writing.layout import Layout
    from hyper_py.writing.state import files_are_whole, read_record

    work = MapWork(task, Layout.from_config(task.config), time.perf_counter(), checksum=task.checksum)
    with work.collected_warnings():
        try:
            work.checksum = input_checksum(task.path)
            record = read_record(work.layout, task.name)
            # The planes of a damaged product would be taken over.
            resume = resume and (record is None or files_are_whole(work.layout, record))
            with unpacked(task.path, work.layout) as path:
                cube = _CubeWork(
                    replace(task, path=path, checksum=work.checksum), work.layout, work.log, on_channel
                )
                result = cube.run(execute, resume=resume)
            log_warnings(work.log, work.caught)
            merged = (*user_warnings(work.caught), *result.warnings)
            result = replace(
                result, path=task.path, seconds=work.seconds, warnings=tuple(dict.fromkeys(merged))
            )
            return cube.record(result)
        except Exception as error:
            reason = work.log_failure(error)
    return write_failure(work, reason)


@contextmanager
def unpacked(path: Path, layout: "Layout") -> Iterator[Path]:
    """Yield the path of a file; a packed one is unpacked once to a temporary file that workers share.

    It is in the output directory: every worker sees that, and the next run removes what a killed one leaves.
    """
    from hyper_py.reading.unpacking import is_packed, unpack
    from hyper_py.writing.layout import STATE_DIR
    from hyper_py.writing.staging import temporary_path

    if not is_packed(path):
        yield path
        return
    plain = temporary_path(layout.root / STATE_DIR, "cube.fits")
    try:
        with plain.open("xb") as target:
            unpack(path, target)
        yield plain
    finally:
        plain.unlink(missing_ok=True)


class _CubeWork:
    """The state of one cube while it is done."""

    def __init__(self, task: MapTask, layout: "Layout", log: MapLog, on_channel: OnChannel | None) -> None:
        self.task, self.layout, self.log, self.on_channel = task, layout, log, on_channel
        self.config = task.config
        self.smoothing = task.config.background.spectral_smoothing
        self.written: list[str] = []
        self.parts: list[str] = []
        self.removed: set[str] = set()

    # ------------------------------------------------------------------------------------------- channels

    def run(self, execute: Execute, *, resume: bool) -> MapResult:
        """Process the channels that are not done, then the products of the whole cube."""
        from hyper_py.reading.io import open_cube

        limit = 1e9 * self.config.control.max_memory
        with open_cube(self.task.path, max_memory=limit, **reading_options(self.config)) as cube:
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
        """Remove the outputs of an earlier run of this cube, unless it is resumed."""
        from hyper_py.writing.state import forget_map, parts_of

        if resume:
            (self.layout.root / self.layout.state(self.task.name)).unlink(missing_ok=True)
            return
        for part in {*parts_of(self.layout, self.task.name), *self.parts} - {self.task.name}:
            self.removed |= {*forget_map(self.layout, part)}
        self.removed |= {*forget_map(self.layout, self.task.name)}
        for kind in _CONTENT:
            self.partial_path(kind).unlink(missing_ok=True)

    def kinds(self) -> set[str]:
        """Return the product cubes that channels write their planes to."""
        outputs = set(self.config.cube.outputs) | ({"background"} if self.config.cube.region else set())
        if not self.smoothing or not outputs - {"model"}:
            return outputs
        return {"raw"} | ({"model"} if outputs & {"model", "residual"} else set())

    def partial_path(self, kind: str) -> Path:
        """Return the path of a product cube while it is being written, beside its final one."""
        final = self.layout.root / self.layout.cube(self.task.name, kind)
        return final.with_name(f"{final.stem}.partial{final.suffix}")

    def create(self, cube: "CubeReader", kind: str, *, reuse: bool = False) -> tuple["PlaneFile", bool]:
        """Begin a product cube of full size, or continue one of an earlier run; say which."""
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
        """Begin or continue all product cubes; say whether all were continued."""
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
        from hyper_py.image import mean_image
        from hyper_py.pipeline.cubes import Reference, extract_channel, reference_from
        from hyper_py.running.forced import fixed_sources, table_beam

        config = self.config
        given, how = fixed_sources(config), config.cube.positions
        if given is not None:
            for text in given.notes:
                warnings.warn(text, HyperPyWarning, stacklevel=2)
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

    def write_reference(self, extraction: "Extraction") -> None:
        """Write the catalogue of the image on which the list for all channels was found."""
        from hyper_py.writing.catalogues import write_catalogue
        from hyper_py.writing.staging import Stage

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
        # The raw background is that of each channel before smoothing along the spectrum.
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
            results = {k: result for k, result in known.items() if isinstance(result, MapResult)}
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
        outputs: set[str] = set(self.config.cube.outputs)
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
        for kind in _CONTENT:  # of an interrupted run with other keys
            self.partial_path(kind).unlink(missing_ok=True)

    def smooth(self, cube: "CubeReader", files: Mapping[str, "PlaneFile"]) -> dict[str, "PlaneFile"]:
        """Smooth the background along the spectrum, and compute the cubes that depend on it again."""
        from hyper_py.background.spectral_smoothing import smooth_spectrally

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
        from hyper_py.writing.catalogues import write_merged

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
        from hyper_py.files import checksum, synchronise
        from hyper_py.writing.staging import Stage

        layout, name = self.layout, self.task.name
        outputs = (*self.written, layout.map_log(name))
        of_channels = {one for part in self.parts for one in layout.outputs(part)}
        removed = tuple(sorted(self.removed - {*outputs} - of_channels))
        result = replace(result, outputs=outputs, removed=removed)
        self.log.add(f"done in {result.seconds:.2f} s: {', '.join(result.outputs)}")
        with Stage(layout.root) as stage:
            stage.text(layout.map_log(name), self.log.text())
            for one in self.written:
                synchronise(layout.root / one)
            files = {one: checksum(layout.root / one) for one in self.written} | stage.checksums()
            record = record_of(result, self.task, files=files, parts=tuple(self.parts))
            stage.text(layout.state(name), record.to_json())
        return result


def _shape_of(beam: "Beam") -> tuple[float, float, float]:
    return beam.major, beam.minor, beam.pa


def _summed(task: MapTask, results: Sequence[MapResult]) -> MapResult:
    """Return the result of a cube from those of its channels."""
    import statistics

    values = [one.rms for one in results if one.rms == one.rms]
    return MapResult(
        index=task.index,
        name=task.name,
        path=task.path,
        status="done",
        warnings=tuple(dict.fromkeys(text for one in results for text in one.warnings)),
        notes=tuple(dict.fromkeys(text for one in results for text in one.notes)),
        flags=dict(sum((Counter(one.flags) for one in results), Counter()).most_common()),
        n_sources=sum(one.n_sources for one in results),
        rms=statistics.median(values) if values else float("nan"),
        unit=results[0].unit,
        pixel_scale=results[0].pixel_scale,
        checksum=task.checksum,
    )
