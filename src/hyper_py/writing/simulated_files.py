"""Simulated maps and cubes on disk: FITS, with the truth beside it as ECSV."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table, vstack

from hyper_py import __version__
from hyper_py.diagnostics import ConfigurationError
from hyper_py.simulation.bands import SimulatedBands, as_mapping
from hyper_py.simulation.presets import SkyModel
from hyper_py.simulation.simulate import SimulatedCube, Simulation
from hyper_py.writing.staging import Stage

SUFFIXES = (".fits", ".fit", ".fts")
BANDS_TRUTH = "truth.ecsv"
"""The truth of a field in several bands, beside its maps."""


def truth_path(path: Path) -> Path:
    """Return where the truth of a simulated map is: MAP_truth.ecsv beside MAP.fits."""
    return path.with_name(f"{path.stem}_truth.ecsv")


def psf_path(path: Path) -> Path:
    """Return where the dirty beam of a simulated map is: MAP_psf.fits beside MAP.fits."""
    return path.with_name(f"{path.stem}_psf.fits")


def refuse_to_overwrite(path: Path) -> None:
    """Raise ConfigurationError if a file that is there is no simulated map: it might be precious."""
    if path.exists() and not truth_path(path).exists():
        raise ConfigurationError(f"{path}: exists and is not a simulated map; --force overwrites it")


def write_simulation(path: Path, simulation: Simulation, *, limits: bool = False) -> int:
    """Write a simulated map in its own unit as float32, and its truth; both or none.

    A map with errors has them in an extension ERROR. Beside a dirty map its beam is written, as an image
    that `survey.psf` takes.

    Parameters
    ----------
    path : Path
        FITS file; its directory is made.
    simulation : Simulation
        From `hyper_py.simulate_image`.
    limits : bool
        Add the smallest possible errors to the truth (`Simulation.limits`), which `validate` then uses.

    Returns
    -------
    int
        Number of sources, clumps of complexes not among them.

    Raises
    ------
    ConfigurationError
        If the suffix is not one of FITS, or the limits are not known for such sources.
    """
    truth = Table(simulation.truth)
    if limits:
        for name, column in Table(simulation.limits()).columns.items():
            truth[name] = column
    with _together(path, simulation.model, dirty=simulation.is_dirty) as (map_path, truths, psf_target):
        image = simulation.image
        header = _header(simulation.header(), image.shape)
        pixels = np.asarray(image.data / image.jy_per_pixel, dtype=np.float32)
        planes = [fits.PrimaryHDU(pixels, header=header)]
        if image.error is not None:
            errors = np.asarray(image.error / image.jy_per_pixel, dtype=np.float32)
            planes.append(fits.ImageHDU(errors, header=_sky_header(header), name="ERROR"))
        fits.HDUList(planes).writeto(map_path)
        if psf_target is not None and simulation.psf is not None:
            beam = _header(_psf_header(simulation), simulation.psf.shape)
            fits.PrimaryHDU(simulation.psf.astype(np.float32), header=beam).writeto(psf_target)
        truths.append(truth)
    return int(np.count_nonzero(~np.asarray(truth["CLUMP"])))


def write_cube(path: Path, cube: SimulatedCube) -> int:
    """Write a simulated cube with one channel in memory at a time, and its truth; both or none.

    The truth has a row for each source in each channel that it shines in; CHANNEL counts from 1.

    Parameters
    ----------
    path : Path
        FITS file; its directory is made.
    cube : SimulatedCube
        From `hyper_py.simulation.simulate.simulate_cube`.

    Returns
    -------
    int
        Number of rows of the truth.

    Raises
    ------
    ConfigurationError
        If the suffix is not one of FITS.
    """
    header = _header(cube.header(), cube.shape)
    with _together(path, cube.model) as (map_path, truths, _):
        stream = fits.StreamingHDU(str(map_path), header)
        for index, simulation in enumerate(cube):
            image = simulation.image
            stream.write(np.asarray(image.data / image.jy_per_pixel, dtype=np.float32))
            truth = Table(simulation.truth)
            truth.add_column(np.full(len(truth), index + 1), name="CHANNEL", index=0)
            truths.append(truth)
        stream.close()
    return sum(map(len, truths))


def write_bands(directory: Path, simulated: SimulatedBands, *, force: bool = False) -> tuple[Path, ...]:
    """Write the maps of a simulated field as BAND.fits, and their truth as truth.ecsv; all or none.

    Parameters
    ----------
    directory : Path
        Is made.
    simulated : SimulatedBands
        From `hyper_py.simulation.bands.simulate_bands`.
    force : bool
        Overwrite files that no simulation wrote.

    Returns
    -------
    tuple of Path
        The maps.

    Raises
    ------
    ConfigurationError
        If the name of a band makes no file name, or a file that is there is no simulated map.
    """
    paths = tuple(directory / f"{one.band.name}.fits" for one in simulated.maps)
    for one, path in zip(simulated.maps, paths, strict=True):
        if Path(path.name).stem != one.band.name or one.band.name.startswith("."):
            raise ConfigurationError(f"simulation: bands.{one.band.name}: not a name for a file")
        if path.exists() and not force and not (directory / BANDS_TRUTH).exists():
            raise ConfigurationError(f"{path}: exists and is not a simulated map; --force overwrites it")
    truth = Table(simulated.truth)
    truth.meta |= {"creator": f"Hyper-Py {__version__}", "sky": as_mapping(simulated.model)}
    with Stage(directory) as stage:
        for one, path in zip(simulated.maps, paths, strict=True):
            pixels = np.asarray(one.image.data / one.image.jy_per_pixel, dtype=np.float32)
            header = _header(one.header(), pixels.shape)
            header.comments["WAVELNTH"] = "[um]"
            fits.PrimaryHDU(pixels, header=header).writeto(stage.path(path.name))
        truth.write(stage.path(BANDS_TRUTH), format="ascii.ecsv")
    return paths


def _header(keywords: dict[str, str | float | int], shape: tuple[int, ...]) -> fits.Header:
    """Return a header that begins as the standard wants it, float32, with the keywords after that."""
    header = fits.Header({"SIMPLE": True, "BITPIX": -32, "NAXIS": len(shape)})
    header.update({f"NAXIS{axis}": length for axis, length in enumerate(shape[::-1], start=1)})
    header.update(keywords)
    header["CREATOR"] = f"Hyper-Py {__version__}"
    return header


def _sky_header(header: fits.Header) -> fits.Header:
    """Return the header of an extension with the same sky."""
    structure = ("SIMPLE", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2")
    return fits.Header([card for card in header.cards if card.keyword not in structure])


def _psf_header(simulation: Simulation) -> dict[str, str | float | int]:
    """Return the keywords of a dirty beam: the map's, with the peak of the beam at the reference pixel."""
    assert simulation.psf is not None  # for type checkers
    ny, nx = simulation.psf.shape
    return {**simulation.header(), "CRPIX1": nx // 2 + 1.0, "CRPIX2": ny // 2 + 1.0, "OBJECT": "dirty beam"}


@contextmanager
def _together(
    path: Path, model: SkyModel, *, dirty: bool = False
) -> Iterator[tuple[Path, list[Table], Path | None]]:
    """Give where to write the map, a list for the truth's tables, and where to write a dirty map's beam.

    Then write the tables, and rename all.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigurationError(f"{path}: the name of a simulated map must end in {', '.join(SUFFIXES)}")
    tables: list[Table] = []
    with Stage(path.parent) as stage:
        target = stage.path(path.name)
        truth_target = stage.path(truth_path(path).name)
        yield target, tables, stage.path(psf_path(path).name) if dirty else None
        truth = vstack(tables, metadata_conflicts="silent")
        truth.meta = dict(tables[0].meta)  # vstack joins lists end to end
        if len(tables) > 1:
            truth.meta = {
                key: value for key, value in truth.meta.items() if key not in ("channel", "frequency")
            }
        truth.meta["creator"] = f"Hyper-Py {__version__}"
        truth.meta["sky"] = {key: _yaml(value) for key, value in asdict(model).items()}
        truth.write(truth_target, format="ascii.ecsv")


def _yaml(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _yaml(one) for key, one in value.items()}
    return list(value) if isinstance(value, tuple) else value
