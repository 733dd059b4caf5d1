"""One field in several bands, from its files to its extraction; executors run this in any process."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from hyper_py.diagnostics import InputError
from hyper_py.running.tasks import LIGHT_SPEED, MapTask, input_checksum, reading_options
from hyper_py.stages import tell

if TYPE_CHECKING:
    from hyper_py.bands.images import BandImage
    from hyper_py.config import Config
    from hyper_py.detection.given import FixedSources
    from hyper_py.pipeline.bands import BandsExtraction


@dataclass(frozen=True, kw_only=True)
class BandInput:
    """The map of one band: its name, its file, and the configuration that holds for it."""

    name: str
    path: Path
    config: "Config"


@dataclass(frozen=True, kw_only=True)
class FieldTask(MapTask):
    """One field to do.

    Attributes
    ----------
    path : Path
        The first of its maps.
    config : Config
        That of the run, without what `maps` says of single maps.
    bands : tuple of BandInput
    """

    bands: tuple[BandInput, ...] = ()
    may_be_cube: ClassVar[bool] = False

    def content(self) -> str:
        """Return one SHA-256 for all maps of the field."""
        parts = [input_checksum(band.path) for band in self.bands]
        return self.checksum or hashlib.sha256(" ".join(parts).encode()).hexdigest()


MeasureField: TypeAlias = "Callable[[FieldTask], BandsExtraction]"


def measure_field(task: FieldTask) -> Any:
    """Read the maps of a field and extract its sources.

    Raises
    ------
    InputError
        A file cannot be used as it is, or has no wavelength.
    """
    from hyper_py.pipeline.bands import extract_bands

    tell("reading")
    bands = [read_band(band) for band in task.bands]
    fixed = given_sources(task, bands)
    return extract_bands(bands, options=task.config.options(), fixed=fixed, name=task.name)


def read_band(band: BandInput) -> "BandImage":
    """Read the map of a band.

    Raises
    ------
    InputError
        The file cannot be used as it is, or its wavelength is not known.
    """
    from hyper_py.bands.images import BandImage
    from hyper_py.reading.io import read_image

    try:
        image = replace(read_image(band.path, **reading_options(band.config)), name=band.name)
    except InputError as error:
        if ": set " not in str(error):
            raise
        raise InputError(f"{error}; for this map alone, the same keys below maps.{band.name}") from None
    frequency = image.meta.get("frequency")
    if not frequency:
        raise InputError(
            f"{band.path}: no wavelength in the header (WAVELNTH, RESTFRQ, a spectral axis): set "
            f"maps.{band.name}.wavelength in micron, or maps.{band.name}.survey to an instrument, such as "
            "spire250"
        )
    return BandImage(
        name=band.name, image=image, wavelength=float(f"{1e6 * LIGHT_SPEED / frequency:.9g}"),
        calibration_error=band.config.survey.calibration_error,
    )  # fmt: skip


def given_sources(task: FieldTask, bands: "list[BandImage]") -> "FixedSources | None":
    """Return the sources to measure instead of detected ones, if the configuration gives any.

    Positions without a frame, and regions in pixels, are those of the band with the smallest beam.
    """
    from hyper_py.bands.images import reference_band
    from hyper_py.running.forced import fixed_sources

    config, image = task.config, bands[reference_band(bands)].image
    if config.detection.regions:
        from hyper_py.writing.sky_regions import read_regions

        path, ratio = config.below_config(config.detection.regions), config.photometry.fwhm_radius_ratio
        fixed = read_regions(path, image, fwhm_radius_ratio=ratio)
    else:
        found = fixed_sources(config)
        if found is None:
            return None
        fixed = found
    return replace(fixed, frame=image.frame) if fixed.frame == "map" else fixed
