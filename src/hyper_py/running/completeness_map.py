"""The completeness of one map or channel, from its file to its outputs."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyper_py.diagnostics import ConfigurationError
from hyper_py.reading.recognise import is_cube
from hyper_py.running.completeness import (
    Event,
    Execute,
    OnEvent,
    RoundFinished,
    dask_executor,
    estimate,
    local_executor,
    mark_of,
)
from hyper_py.running.dependencies import dependencies
from hyper_py.running.inputs import resolve_inputs
from hyper_py.running.run_store import Store
from hyper_py.running.tasks import input_checksum, reading_options

if TYPE_CHECKING:
    from hyper_py.image import SkyImage
    from hyper_py.injection.completeness import Completeness
    from hyper_py.injection.plan import InjectionPlan


@dataclass(frozen=True, kw_only=True)
class CompletenessTask:
    """A map, or a channel of a cube, of which the completeness is asked for.

    Attributes
    ----------
    name : str
        Of its outputs.
    path : Path
    config : Config
    channel : int, optional
        Of a cube, from 1.
    """

    name: str
    path: Path
    config: Any
    channel: int | None = None


def completeness_tasks(
    config: Any, inputs: list[str] | None, *, channels: list[int] | None = None
) -> list[CompletenessTask]:
    """Return the maps and channels that are asked for.

    Parameters
    ----------
    config : Config
    inputs : list of str, optional
        As `hyper_py.running.runner.run` takes them.
    channels : list of int, optional
        Of cubes, from 1.

    Raises
    ------
    ConfigurationError
        For a cube without channels, or channels without a cube; for positions that are given, not detected.
    """
    maps = resolve_inputs(
        inputs, list_file=config.below_maps(config.files.file_map_name), maps_dir=config.below_maps()
    )
    tasks = []
    for one in maps:
        own = config.for_map(one.name)
        if own.detection.use_fixed_source_table or own.detection.fixed_peaks or own.detection.regions:
            raise ConfigurationError(
                f"{one.name}: completeness is of detected sources; leave fixed positions and regions out"
            )
        cube = own.control.datacube or is_cube(one.path)
        if cube and not channels:
            raise ConfigurationError(f"{one.path}: a cube: choose channels with --channel")
        if channels and not cube:
            raise ConfigurationError(f"{one.path}: not a cube; leave --channel out")
        chosen: list[int | None] = [*channels] if channels else [None]
        for channel in chosen:
            name = one.name if channel is None else f"{one.name}_{channel:04d}"
            tasks.append(CompletenessTask(name=name, path=one.path, config=own, channel=channel))
    return tasks


def read_task_image(task: CompletenessTask) -> "SkyImage":
    """Read the map of a task.

    Raises
    ------
    InputError
        The file cannot be used as it is.
    ConfigurationError
        If a cube has no such channel.
    """
    from dataclasses import replace

    from hyper_py.reading.io import open_cube, read_image

    options = reading_options(task.config)
    if task.channel is None:
        return replace(read_image(task.path, **options), name=task.name)
    with open_cube(task.path, **options) as cube:
        if task.channel > len(cube):
            raise ConfigurationError(
                f"{task.path}: has {len(cube)} channels; there is no channel {task.channel}"
            )
        return replace(cube.channel(task.channel - 1), name=task.name)


def measure_completeness(
    task: CompletenessTask,
    *,
    plan: "InjectionPlan",
    resume: bool = False,
    columns: bool = False,
    on_event: OnEvent | None = None,
) -> "Completeness":
    """Estimate the completeness of a map and write its tables, figures and page after each round.

    Parameters
    ----------
    task : CompletenessTask
    plan : InjectionPlan
    resume : bool
        Use what runs of the pipeline an earlier command has left.
    columns : bool
        Write the catalogue with COMPLETENESS, P_TRUE and FLUX_BIAS too.
    on_event : callable, optional

    Raises
    ------
    InputError
        The file cannot be used as it is, or a run of the pipeline fails on it.
    ConfigurationError
        Another run is writing into the output directory.
    """
    from hyper_py.pipeline.extraction import extract_sources
    from hyper_py.reporting.completeness_page import write_page
    from hyper_py.writing.completeness_files import results_directory, write_completeness
    from hyper_py.writing.layout import Layout
    from hyper_py.writing.staging import held

    config, root = task.config, Path(task.config.below_root()).absolute()
    # The numbers of a plan decide which runs are made, and their fluxes are in their names.
    decisive = {key: value for key, value in asdict(plan).items() if key in ("seed", "n_sources")}
    mark = mark_of(dependencies(config), input_checksum(task.path), task.channel, decisive)
    store = Store(directory=results_directory(root, task.name), mark=mark, resume=resume)

    def tell(event: Event) -> None:
        if isinstance(event, RoundFinished):
            write_completeness(root, event.result, forms=tuple(config.outputs.tables), columns=columns)
            write_page(root, event.result)
        if on_event is not None:
            on_event(event)

    with held(Layout(root=root)):
        extraction = extract_sources(read_task_image(task), options=config.options())
        return estimate(
            extraction, plan=plan, execute=chosen_executor(config.control), store=store, on_event=tell
        )


def chosen_executor(control: Any) -> Execute:
    """Return the executor that a configuration names."""
    if not control.parallel_maps or control.executor == "serial":
        return local_executor(1)
    if control.executor == "dask":
        return dask_executor(control.n_cores, control.dask_scheduler)
    return local_executor(control.n_cores)
