"""One map, from its file to its outputs; executors run this for each map, in any process."""

import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from hyper_py.diagnostics import HyperPyError
from hyper_py.running.map_outputs import MapWork, write_failure, write_outputs
from hyper_py.running.process_settings import keep_freed_memory, without_collections
from hyper_py.running.resumable import forget_journal, has_journal, resumed
from hyper_py.running.tasks import MapResult, MapTask, reading_options
from hyper_py.stages import tell

_LEAST_BYTES = 16_000_000
"""Files smaller than this are done by one process: a map of 2000 x 2000 pixels in float32."""


def load_libraries() -> None:
    """Import all modules that a map needs, unless they are imported already."""
    if "hyper_py.pipeline.extraction" not in sys.modules:
        with without_collections():
            import hyper_py.pipeline.cubes
            import hyper_py.pipeline.extraction
            import hyper_py.reading.io
            import hyper_py.running.forced
            import hyper_py.writing.catalogues
            import hyper_py.writing.sky_regions  # noqa: F401
        keep_freed_memory()


def measure_map(task: MapTask) -> Any:
    """Read the map of a task and extract its sources.

    Raises
    ------
    InputError
        The file cannot be used as it is.
    """
    from hyper_py.detection.given import FixedSources
    from hyper_py.numerics.parallel import is_remote
    from hyper_py.pipeline.cubes import Reference
    from hyper_py.pipeline.extraction import extract_sources
    from hyper_py.reading.io import read_image
    from hyper_py.running.forced import fixed_apertures, fixed_sources, table_beam

    tell("reading")
    config = task.config
    options, fixed = config.options(), fixed_sources(config)
    limit = 0.0 if is_remote() else 1e9 * config.control.max_memory
    image = replace(read_image(task.path, max_memory=limit, **reading_options(config)), name=task.name)
    if fixed is not None:
        image = replace(image, meta=image.meta | {"given": fixed.notes})
        fixed = Reference(sources=fixed, beam=table_beam(config)).for_beam(image.beam)
    if config.detection.regions:
        from hyper_py.writing.sky_regions import read_regions

        path, ratio = config.below_config(config.detection.regions), config.photometry.fwhm_radius_ratio
        fixed = read_regions(path, image, fwhm_radius_ratio=ratio)

    def extract() -> Any:
        sources = fixed
        if sources is None and config.photometry.fixed_radius and not options.detection_only:
            # Detected positions in given apertures.
            found = extract_sources(image, options=replace(options, detection_only=True)).catalog
            sources = FixedSources(
                longitude=found["RA"].value,
                latitude=found["DEC"].value,
                frame="icrs",
                **fixed_apertures(config, len(found)),
            )
        return extract_sources(image, options=options, fixed=sources)

    return extract() if image.is_whole else resumed(task, extract)


def process_map(
    task: MapTask,
    *,
    measure: Callable[[Any], Any] = measure_map,
    write: Callable[[MapWork, Any], MapResult] = write_outputs,
) -> MapResult:
    """Do one map, or one field of several bands, and write its outputs.

    All of them are written, or, if it fails, none but its log. Outputs of the same map by an earlier run are
    removed first.

    Parameters
    ----------
    task : MapTask
    measure : callable
        Gives the extraction of a task.
    write : callable
        Writes the outputs of work and an extraction, and returns the result.

    Returns
    -------
    MapResult
        Failures too are results.
    """
    start = time.perf_counter()
    load_libraries()
    from hyper_py.numerics.parallel import is_remote, workers
    from hyper_py.numerics.stored import stored_in
    from hyper_py.writing.layout import STATE_DIR, Layout
    from hyper_py.writing.state import forget_map

    layout = Layout.from_config(task.config)
    if not task.has_figure:  # images of channels are planes of the product cubes
        layout = replace(layout, products=())
    work = MapWork(task, layout, start)
    with work.collected_warnings():
        try:
            work.removed = forget_map(work.layout, task.name)
            work.checksum = task.content()
            if has_journal(layout, task.name):
                work.log.add(
                    "what a run that was killed has left of this map is used where nothing has changed"
                )
            team = nullcontext() if is_remote() else workers(_n_workers(task))
            with team, stored_in(layout.root / STATE_DIR):
                extraction = measure(replace(task, checksum=work.checksum))
            result = write(work, extraction)
            forget_journal(layout, task.name)
            return result
        except Exception as error:
            reason = work.log_failure(error)
    return write_failure(work, reason)


def _n_workers(task: MapTask) -> int:
    """Return how many processes do parts of the map; copies cost more than they gain for a small one."""
    return task.n_workers if _is_large(task) else 1


def _is_large(task: MapTask) -> bool:
    try:
        return task.path.stat().st_size >= _LEAST_BYTES
    except OSError:
        return False


def has_remote_tiles(task: MapTask) -> bool:
    """Return whether workers of a cluster can do the tiles of a map: of a large one, read in pieces."""
    if not _is_large(task):
        return False
    load_libraries()
    from hyper_py.pipeline.peaks import check_streamable
    from hyper_py.reading.io import read_image

    try:
        image = read_image(task.path, max_memory=0.0, **reading_options(task.config))
        check_streamable(image, task.config.options())
    except HyperPyError:
        return False
    return True
