"""Fields on disk, and a stand-in for their measurement that worker processes can import."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from astropy.io import fits

from helpers.bands import SMALL, extraction_of
from hyper_py.diagnostics import InputError
from hyper_py.running.field_task import read_band
from hyper_py.simulation.bands import simulate_bands
from hyper_py.writing.simulated_files import write_bands


def write_field(directory, *, seed=1, **overrides):
    """Write a small field; return its maps."""
    return write_bands(Path(directory), simulate_bands("bands", seed=seed, **{**SMALL, **overrides}))


def measure(task):
    """Return the truth of the field as what was measured, once all its maps have been read."""
    bands = [read_band(band) for band in task.bands]
    seed = int(fits.getheader(task.bands[0].path)["SIMSEED"])
    if seed == 13:
        raise InputError("thirteen")
    simulated = simulate_bands("bands", seed=seed, **SMALL)
    for band, one in zip(bands, simulated.maps, strict=True):
        np.testing.assert_allclose(band.image.data, one.image.data, rtol=1e-5, atol=1e-9)
    extraction = extraction_of(simulated, seed=seed)
    measured = tuple(
        replace(one, band=replace(band, image=one.band.image))
        for one, band in zip(extraction.measured, bands, strict=True)
    )
    return replace(extraction, measured=measured, options=task.config.options(), name=task.name)
