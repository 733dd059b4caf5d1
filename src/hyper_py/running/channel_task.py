"""One channel of a cube, from its plane in the file to its rows and product planes."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hyper_py.running.tasks import MapTask, reading_options

if TYPE_CHECKING:
    from hyper_py.config import Config
    from hyper_py.image import SkyImage
    from hyper_py.pipeline.cubes import Reference
    from hyper_py.reading.io import CubeReader
    from hyper_py.writing.plane_files import PlaneFile

_SPECTRAL_COLUMNS = {
    "FREQ": ("FREQUENCY", "Frequency of the channel"),
    "VRAD": ("VELOCITY", "Radio velocity of the channel"),
    "VOPT": ("VELOCITY", "Optical velocity of the channel"),
    "VELO": ("VELOCITY", "Velocity of the channel"),
    "FELO": ("VELOCITY", "Optical velocity of the channel"),
    "WAVE": ("WAVELENGTH", "Wavelength of the channel"),
    "AWAV": ("WAVELENGTH", "Wavelength of the channel in air"),
}


@dataclass(frozen=True, kw_only=True)
class ChannelTask(MapTask):
    """One channel to do; small and picklable.

    Attributes
    ----------
    channel : int
        From 0.
    files : mapping of str to PlaneFile
        Product cubes to write planes to, by their kind.
    reference : Reference, optional
        Sources to measure.
    slice : Path, optional
        Where the channel is written as a map.
    """

    has_figure: ClassVar[bool] = False
    channel: int = 0
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
    # Planes of the product cubes are in the cube's own unit.
    for kind, plane in channel_planes(extraction, kinds=task.files, extent=config.cube.extent).items():
        task.files[kind].write(task.channel, plane / image.jy_per_pixel)
    tables = (
        [extraction.catalog] if extraction.not_on_map is None else [extraction.catalog, extraction.not_on_map]
    )
    for catalog in tables:
        catalog["CHANNEL"] = np.full(len(catalog), task.channel + 1, dtype=np.int64)
        catalog["CHANNEL"].info.description = "Channel of the cube, from 1"
        if task.spectral is not None:
            name, value, unit, description = task.spectral
            catalog[name] = u.Quantity(np.full(len(catalog), value), unit)
            catalog[name].info.description = description
    return extraction


def _write_slice(path: Path, image: "SkyImage") -> None:
    from hyper_py.writing.images import write_image
    from hyper_py.writing.staging import Stage

    with Stage(path.parent) as stage:
        write_image(stage.path(path.name), image.data, image, what="channel of a cube")


def _given_apertures(config: "Config", image: "SkyImage") -> "Reference | None":
    """Return the channel's own detections with the apertures of `photometry.fixed_radius`, if it is set."""
    if not config.photometry.fixed_radius or config.control.detection_only:
        return None
    from hyper_py.detection.given import FixedSources
    from hyper_py.pipeline.cubes import Reference, extract_channel
    from hyper_py.running.forced import fixed_apertures

    found = extract_channel(image, options=replace(config.options(), detection_only=True)).catalog
    if len(found) == 0:
        return None
    apertures = fixed_apertures(config, len(found))
    place = {"longitude": found["RA"].value, "latitude": found["DEC"].value}
    return Reference(sources=FixedSources(**place, frame="icrs", **apertures))


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
