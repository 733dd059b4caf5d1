"""The configuration as a whole: made from a file or a mapping, complete and consistent, or refused.

A file with `version: 2` is one of ours. A file without it was written for the original Hyper-Py: keys that
it lacks take the meaning that they had there, and nothing new applies silently.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import yaml

from hyper_py.checked import Checked, option, section
from hyper_py.config.maps import MAP_SECTIONS, plain_maps, sections_of
from hyper_py.config.original import ORIGINAL_DEFAULTS, ORIGINAL_POLICY
from hyper_py.config.sections import (
    Control,
    Cube,
    Detection,
    Files,
    FitsOutput,
    Io,
    Outputs,
    OverlapOptions,
    Paths,
    Photometry,
    Survey,
    Units,
    Visualization,
)
from hyper_py.config.text import apply_overrides, merged, read_mapping
from hyper_py.diagnostics import ConfigurationError
from hyper_py.options import (
    BackgroundOptions,
    BandsOptions,
    CubeOptions,
    DetectionOptions,
    FitOptions,
    Options,
    PhotometryOptions,
)
from hyper_py.policy import Policy

FILE_NAME = "hyper_config.yaml"
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Config(Checked):
    """Configuration of Hyper-Py.

    `version: 2` says that keys which are not given have the defaults shown here. Without it, a file is read
    as one of the original Hyper-Py, whose defaults were others.
    """

    version: Literal[1, 2] = option(
        2, "2 for a file of this version; 1, or no such key, for a file of the original Hyper-Py."
    )
    paths: Paths = section(Paths)
    files: Files = section(Files)
    control: Control = section(Control)
    units: Units = section(Units)
    survey: Survey = section(Survey)
    io: Io = section(Io)
    detection: Detection = section(Detection)
    photometry: Photometry = section(Photometry)
    fit_options: FitOptions = section(FitOptions)
    background: BackgroundOptions = section(BackgroundOptions)
    cube: Cube = section(Cube)
    bands: BandsOptions = section(BandsOptions)
    fits_output: FitsOutput = section(FitsOutput)
    visualization: Visualization = section(Visualization)
    outputs: Outputs = section(Outputs)
    overlaps: OverlapOptions = section(OverlapOptions)

    maps: dict[str, dict[str, Any]] = option(
        {},
        "Keys for single maps, by the name of the map, such as {p160: {unit: Jy/pixel, survey: pacs160}, "
        "s250: {path: HATLAS_PSW.fits, wavelength: 250, beam: 18.1, calibration_error: 0.05}}: short keys "
        "of `maps.NAME`, and keys of the sections units, survey, io, detection, photometry, fit_options, "
        "background. For `hyper-py bands`, one entry for each band. A list of entries with `name` works too.",
    )

    _base_dir: Path = field(default_factory=Path.cwd, repr=False, compare=False)
    _work_dir: Path = field(default_factory=Path.cwd, repr=False, compare=False)

    @classmethod
    def from_mapping(
        cls, mapping: Mapping[str, Any], *, base_dir: Path | None = None, source: str = "configuration"
    ) -> Self:
        """Return the configuration that a mapping, as read from YAML, stands for.

        Parameters
        ----------
        mapping : mapping
            Sections and keys; without `version: 2`, those of an original file.
        base_dir : Path, optional
            What relative paths are relative to; the working directory if not given.
        source : str
            What error messages call the mapping, usually the file's name.

        Raises
        ------
        ConfigurationError
            One line for each wrong value and unknown key.
        """
        values = merged(ORIGINAL_DEFAULTS, mapping) if mapping.get("version", 1) == 1 else mapping
        try:
            if values.get("maps"):
                values = {**values, "maps": plain_maps(values["maps"])}
            config = cls.from_values(values)
        except ConfigurationError as error:
            lines = (f"{source}: {line}" for line in str(error).splitlines())
            raise ConfigurationError("\n".join(lines)) from None
        # Absolute: workers of a cluster may have been started elsewhere.
        object.__setattr__(config, "_base_dir", Path(base_dir or Path()).absolute())
        for name in config.maps:
            config.for_map(name, source=f"{source}: maps.{name}")
        return config

    def conflicts(self) -> Iterator[str]:
        """Yield keys that contradict each other, and keys of one map that are the same for all."""
        try:
            self.options()
        except ConfigurationError as error:
            yield from str(error).splitlines()
        if self.units.frequency is not None and self.survey.wavelength is not None:
            yield "give units.frequency or survey.wavelength, not both"
        for name, entry in self.maps.items():
            sections = sections_of(entry)
            units, wrong = sections.get("units"), sorted(sections.keys() - set(MAP_SECTIONS))
            if isinstance(units, Mapping) and "convert_mJy" in units:
                wrong.append("units.convert_mJy")
            if wrong:
                yield (
                    f"maps.{name}: {wrong[0]} is the same for all maps; here may be {', '.join(MAP_SECTIONS)}"
                )

    @property
    def original(self) -> bool:
        """Whether this is a configuration of the original Hyper-Py."""
        return self.version == 1

    def options(self) -> Options:
        """Return what decides what is measured on one map, as the pipeline takes it."""
        return Options(
            detection=_picked(DetectionOptions, self.detection),
            photometry=_picked(PhotometryOptions, self.photometry),
            fit_options=self.fit_options,
            background=self.background,
            cube=_picked(CubeOptions, self.cube),
            bands=self.bands,
            detection_only=self.control.detection_only,
            tile_size_pix=self.control.tile_size_pix,
            convert_mJy=self.units.convert_mJy,
            policy=ORIGINAL_POLICY if self.original else Policy(),
        )

    def for_map(self, name: str, *, source: str = "configuration") -> Self:
        """Return the configuration of one map: this one with the keys laid over it that `maps` has for it."""
        if not self.maps:
            return self
        values = {**self.to_mapping(), "maps": {}}
        config = self.from_mapping(
            merged(values, sections_of(self.maps.get(name, {}))), base_dir=self._base_dir, source=source
        )
        object.__setattr__(config, "_work_dir", self._work_dir)
        return config

    def below_maps(self, name: str = "") -> Path:
        """Return where a map or list file is: below `dir_maps`, unless absolute."""
        return self._base_dir / Path(self.paths.input.dir_maps).expanduser() / name

    def below_config(self, name: str) -> Path:
        """Return where a file is that stands beside the configuration, unless absolute."""
        return self._base_dir / Path(name).expanduser()

    def below_root(self, name: str = "") -> Path:
        """Return where an output is: below `dir_root`, unless absolute."""
        return self._base_dir / Path(self.paths.output.dir_root).expanduser() / name

    def source_table(self) -> Path:
        """Return where the table of given sources is, unless absolute.

        Relative to the working directory in which the run was started; in a configuration of the original,
        below `dir_root`.
        """
        name = self.detection.fixed_source_table_path
        return self.below_root(name) if self.original else self._work_dir / Path(name).expanduser()

    def compared_catalogue(self) -> Path | None:
        """Return where the user's catalogue for the table of overlaps is; None if there is none."""
        name = self.overlaps.catalogue
        return None if name is None else self._work_dir / Path(name).expanduser()

    def to_yaml(self) -> str:
        """Return the configuration as YAML with every key; reading it gives the same configuration."""
        return yaml.safe_dump(self.to_mapping(), sort_keys=False, allow_unicode=True)


def _picked(cls: type[T], section: Checked) -> T:
    """Return the options alone of a section that adds keys of the file to them."""
    return cls(**{item.name: getattr(section, item.name) for item in fields(cls)})  # type: ignore[arg-type]


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Return the configuration of a file.

    Parameters
    ----------
    path : str or Path
        YAML file; relative paths in it are relative to its directory.
    overrides : sequence of str
        Keys to set, each as `section.key=value`.

    Raises
    ------
    ConfigurationError
        One line for each problem of the file.
    """
    path = Path(path)
    mapping = apply_overrides(read_mapping(path), overrides)
    return Config.from_mapping(mapping, base_dir=path.parent, source=str(path))


def find_config(user_dir: Path) -> Path | None:
    """Return the configuration file to use when none is named: the working directory's, then the user's."""
    return next((path for path in (Path(FILE_NAME), user_dir / FILE_NAME) if path.is_file()), None)
