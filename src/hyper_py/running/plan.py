"""What a run would do, from the headers of its files: nothing is measured and nothing written."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hyper_py.running.executors import choose_executor
from hyper_py.running.runner import tasks_of
from hyper_py.running.tasks import MapTask, reading_options

if TYPE_CHECKING:
    from hyper_py.config import Config

_SECONDS, _SECONDS_PER_MEGAPIXEL = 0.5, 25.0
"""Of a crowded map on one core of 2024: measured on maps of 0.03 to 8 megapixels; a sparse one takes half."""
_GIGABYTES, _GIGABYTES_PER_MEGAPIXEL = 0.2, 0.25
"""The same of its memory."""


@dataclass(frozen=True, kw_only=True)
class PlannedMap:
    """A map or cube that would be done.

    Attributes
    ----------
    name : str
    path : Path
    shape : (int, int)
        Of a plane, (ny, nx).
    n_channels : int
    seconds, gigabytes : float
        About what it takes; a cube's memory is that of one channel.
    problem : str
        Why it would fail; empty if nothing is known against it.
    """

    name: str
    path: Path
    shape: tuple[int, int] = (0, 0)
    n_channels: int = 1
    seconds: float = 0.0
    gigabytes: float = 0.0
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run would do.

    Attributes
    ----------
    maps : tuple of PlannedMap
    executor, n_workers : str, int
    seconds, gigabytes : float
        Of the whole run, about.
    root : Path
        The output directory.
    """

    maps: tuple[PlannedMap, ...]
    executor: str
    n_workers: int
    seconds: float
    gigabytes: float
    root: Path


def plan(config: "Config", inputs: Sequence[str | Path] | None = None) -> Plan:
    """Return what `hyper_py.running.runner.run` would do with the same arguments.

    Raises
    ------
    ConfigurationError
        As `run` does.
    """
    tasks = tasks_of(config, inputs)
    maps = tuple(_planned(task) for task in tasks)
    executor, n_workers = choose_executor(config.control, sum(one.n_channels for one in maps))
    largest = max((one.gigabytes for one in maps), default=0.0)
    return Plan(
        maps=maps,
        executor=executor,
        n_workers=n_workers,
        seconds=sum(one.seconds for one in maps) / n_workers,
        gigabytes=min(largest, config.control.max_memory) * n_workers,
        root=config.below_root().absolute(),
    )


def _planned(task: MapTask) -> PlannedMap:
    """Look at the headers of a map."""
    from hyper_py.diagnostics import InputError
    from hyper_py.reading.fits_files import open_fits, warnings_into
    from hyper_py.reading.mapfacts import Given, understand
    from hyper_py.reading.surveys import find_survey

    try:
        options = reading_options(task.config)
        survey = find_survey(code=options["survey_code"], name=options["survey_name"])
        keys = ("hdu", "bunit", "beam", "frequency", "stokes")
        with open_fits(task.path) as file, warnings_into(file.notes):
            facts = understand(file, Given(survey=survey, **{key: options[key] for key in keys}))
    except InputError as error:
        return PlannedMap(name=task.name, path=task.path, problem=str(error))
    megapixels = 1e-6 * facts.shape[0] * facts.shape[1]
    return PlannedMap(
        name=task.name,
        path=task.path,
        shape=facts.shape,
        n_channels=facts.n_channels,
        seconds=facts.n_channels * (_SECONDS + _SECONDS_PER_MEGAPIXEL * megapixels),
        gigabytes=_GIGABYTES + _GIGABYTES_PER_MEGAPIXEL * megapixels,
        problem="; ".join(facts.problems),
    )
