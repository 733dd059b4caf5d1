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
from hyper_py.simulation.presets import SkyModel
from hyper_py.simulation.simulate import SimulatedCube, Simulation
from hyper_py.writing.staging import Stage

SUFFIXES = (".fits", ".fit", ".fts")


def truth_path(path: Path) -> Path:
    """Return where the truth of a simulated map is: MAP_truth.ecsv beside MAP.fits."""
    return path.with_name(f"{path.stem}_truth.ecsv")


def refuse_to_overwrite(path: Path) -> None:
    """Raise ConfigurationError if a file that is there is no simulated map: it might be precious."""
    if path.exists() and not truth_path(path).exists():
        raise ConfigurationError(f"{path}: exists and is no simulated map; --force overwrites it")


def write_simulation(path: Path, simulation: Simulation, *, limits: bool = False) -> int:
    """Write a simulated map in its own unit as float32, and its truth; both or none.

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
        Number of sources.

    Raises
    ------
    ConfigurationError
        If the suffix is not one of FITS, or the limits are not known for such sources.
    """
    truth = Table(simulation.truth)
    if limits:
        for name, column in Table(simulation.limits()).columns.items():
            truth[name] = column
    with _both(path, simulation.model) as (map_path, truths):
        image = simulation.image
        header = _header(simulation.header(), image.shape)
        pixels = np.asarray(image.data / image.jy_per_pixel, dtype=np.float32)
        fits.PrimaryHDU(pixels, header=header).writeto(map_path)
        truths.append(truth)
    return len(truth)


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
    with _both(path, cube.model) as (map_path, truths):
        stream = fits.StreamingHDU(str(map_path), header)
        for index, simulation in enumerate(cube):
            image = simulation.image
            stream.write(np.asarray(image.data / image.jy_per_pixel, dtype=np.float32))
            truth = Table(simulation.truth)
            truth.add_column(np.full(len(truth), index + 1), name="CHANNEL", index=0)
            truths.append(truth)
        stream.close()
    return sum(map(len, truths))


def _header(keywords: dict[str, str | float | int], shape: tuple[int, ...]) -> fits.Header:
    """Return a header that begins as the standard wants it, float32, with the keywords after that."""
    header = fits.Header({"SIMPLE": True, "BITPIX": -32, "NAXIS": len(shape)})
    header.update({f"NAXIS{axis}": length for axis, length in enumerate(shape[::-1], start=1)})
    header.update(keywords)
    header["CREATOR"] = f"Hyper-Py {__version__}"
    return header


@contextmanager
def _both(path: Path, model: SkyModel) -> Iterator[tuple[Path, list[Table]]]:
    """Give where to write the map and a list for the truth's tables; then write these, and rename both."""
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigurationError(f"{path}: the name of a simulated map must end in {', '.join(SUFFIXES)}")
    tables: list[Table] = []
    with Stage(path.parent) as stage:
        target = stage.path(path.name)
        truth_target = stage.path(truth_path(path).name)
        yield target, tables
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
    return list(value) if isinstance(value, tuple) else value
