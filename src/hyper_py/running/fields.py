"""Fields of several bands: which maps belong to which field, and the run over all fields."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyper_py.diagnostics import ConfigurationError
from hyper_py.names import map_label
from hyper_py.running.dependencies import dependencies
from hyper_py.running.events import OnEvent, RunResult
from hyper_py.running.field_outputs import write_field_outputs
from hyper_py.running.field_task import BandInput, FieldTask, MeasureField, measure_field
from hyper_py.running.inputs import expand, map_name
from hyper_py.running.map_task import process_map
from hyper_py.running.runner import run_tasks

if TYPE_CHECKING:
    from hyper_py.config import Config

FIELD_NAME = "bands"
"""Name of a field whose maps were named one by one."""
NOT_FOR_FIELDS = (
    "control.detection_only",
    "control.datacube",
    "photometry.fixed_radius",
    "fits_output.fits_deblended",
    "fits_output.fits_noise",
    "visualization.visualize_fitting",
    "visualization.visualize_deblended",
    "visualization.visualize_bg_separate",
    "visualization.visualize_noise",
)
"""Keys that ask for what is done with single maps only."""
_NOT_MAPS = ("_psf", "_error", "_mask")
"""Ends of names of files in a field's directory that belong to a map of the name before."""


@dataclass(frozen=True, kw_only=True)
class FieldInput:
    """The maps of one field: files by the names of their entries in the section `maps`."""

    name: str
    paths: dict[str, Path]


def run_fields(
    config: "Config",
    inputs: Sequence[str | Path] | None = None,
    *,
    on_event: OnEvent | None = None,
    resume: bool = False,
    measure: MeasureField = measure_field,
) -> RunResult:
    """Extract the sources of fields in several bands and write everything below `paths.output.dir_root`.

    Parameters
    ----------
    config : Config
    inputs : sequence of str or Path, optional
        The maps of one field (files, patterns, lists), or a directory for each of several fields. None: the
        maps that the section `maps` names. See `resolve_fields`.
    on_event, resume
        As in `hyper_py.running.runner.run`, a field for a map.
    measure : callable
        Gives the extraction of a `FieldTask`; importable by name in a worker process.

    Returns
    -------
    RunResult

    Raises
    ------
    ConfigurationError
        The inputs do not say what to do, or the output directory cannot be used; nothing has been touched.
    """
    tasks = field_tasks(resolve_fields(config, inputs), config)
    function = partial(process_map, measure=measure, write=write_field_outputs)
    return run_tasks(tasks, config, function=function, on_event=on_event, resume=resume)


def resolve_fields(config: "Config", inputs: Sequence[str | Path] | None) -> list[FieldInput]:
    """Return the fields of a run, in order.

    Parameters
    ----------
    config : Config
        Its section `maps` names bands. Maps that are given otherwise find their entry by their name, or by
        the name of the file in its `path`.
    inputs : sequence of str or Path, or None
        None: the maps of the section `maps`, below `paths.input.dir_maps`. Directories: one field each, of
        the maps that the section names and that are there, or else of all FITS files there. Anything else
        that `hyper_py.running.inputs.resolve_inputs` takes: the maps of one field.

    Raises
    ------
    ConfigurationError
        There is no map, one map only, or files and directories together.
    """
    given = [str(one) for one in inputs or ()]
    if not given:
        if not config.maps:
            raise ConfigurationError(
                "no maps to measure: give the maps of a field, or name them in section maps of a file"
            )
        paths = {key: config.below_maps(_file_of(key, entry)) for key, entry in config.maps.items()}
        return [_checked(FieldInput(name=FIELD_NAME, paths=paths))]
    directories = [Path(one).expanduser() for one in given if Path(one).expanduser().is_dir()]
    if not directories:
        files = [path for one in given for path in expand(one)]
        return [_checked(FieldInput(name=FIELD_NAME, paths=_by_entry(files, config)))]
    if len(directories) < len(given):
        raise ConfigurationError(
            f"{directories[0]}: a directory among files: give the maps of one field, or directories of fields"
        )
    names = [FIELD_NAME] if len(directories) == 1 else [map_label(one.resolve().name) for one in directories]
    for k, name in enumerate(names):
        if name.casefold() in (other.casefold() for other in names[:k]):
            raise ConfigurationError(
                f"two fields have the same name, '{name}': rename the directory {directories[k]}"
            )
    fields = zip(names, directories, strict=True)
    return [_checked(FieldInput(name=name, paths=_in_directory(place, config))) for name, place in fields]


def field_tasks(fields: Sequence[FieldInput], config: "Config") -> list[FieldTask]:
    """Return one task for each field, when all files that the configuration names have been looked at."""
    from hyper_py.running.forced import check_files, fixed_sources

    for key in NOT_FOR_FIELDS:
        section, _, name = key.partition(".")
        if getattr(getattr(config, section), name):
            raise ConfigurationError(f"{key}: only for single maps; leave it out for several bands")
    fixed_sources(config)
    known: dict[Path, str] = {}
    own: dict[str, Config] = {}
    depends: dict[str, dict[str, str]] = {}
    for key in dict.fromkeys(key for field in fields for key in field.paths):
        own[key] = config.for_map(key, source=f"maps.{key}")
        check_files(own[key])
        depends[key] = dependencies(own[key], known=known)
    tasks = []
    for index, field in enumerate(fields):
        bands = tuple(
            BandInput(name=band_name(key, config.maps.get(key, {})), path=path.absolute(), config=own[key])
            for key, path in field.paths.items()
        )
        names = [band.name for band in bands]
        if len(set(names)) < len(names):
            raise ConfigurationError(f"{field.name}: two bands of one name among {', '.join(names)}")
        tasks.append(
            FieldTask(
                index=index, name=field.name, path=bands[0].path, config=config, bands=bands,
                depends=_merged({key: depends[key] for key in field.paths}, names),
            )
        )  # fmt: skip
    return tasks


def band_name(key: str, entry: Mapping[str, Any]) -> str:
    """Return the name of a band: that of its entry in the section `maps`, or its key."""
    return str(entry.get("name") or key)


def _merged(depends: Mapping[str, Mapping[str, str]], names: Sequence[str]) -> dict[str, str]:
    """Return what a field depends on: what its bands do, and how they are called."""
    common = {"the program": next(iter(depends.values()))["the program"], "the bands": " ".join(names)}
    own = {
        f"{what} of {key}": value
        for key, one in depends.items()
        for what, value in one.items()
        if what != "the program"
    }
    return common | own


def _checked(field: FieldInput) -> FieldInput:
    if len(field.paths) < 2:
        only = ", ".join(map(str, field.paths.values())) or "no map"
        raise ConfigurationError(
            f"{field.name}: {only}: a field needs two maps or more; `hyper-py run` measures single maps"
        )
    return field


def _file_of(key: str, entry: Mapping[str, Any]) -> str:
    return str(entry.get("path") or f"{key}.fits")


def _by_entry(files: Sequence[Path], config: "Config") -> dict[str, Path]:
    """Return files by the key of their entry in `maps`, or by their own name."""
    by_file = {Path(_file_of(key, entry)).name: key for key, entry in config.maps.items()}
    found: dict[str, Path] = {}
    for path in files:
        own = map_label(map_name(path))
        key = own if own in config.maps else by_file.get(path.name, own)
        if key in found:
            raise ConfigurationError(
                f"{path}: a second map with the name {key}, after {found[key]}; rename one"
            )
        found[key] = path
    return found


def _in_directory(place: Path, config: "Config") -> dict[str, Path]:
    if config.maps:
        paths = {key: place / _file_of(key, entry) for key, entry in config.maps.items()}
        return {key: path for key, path in paths.items() if path.is_file()}
    files = list(expand(place))
    names = {map_name(path) for path in files}
    parts = {name + end for name in names for end in _NOT_MAPS}
    return _by_entry([path for path in files if map_name(path) not in parts], config)
