"""A map that the tests of tiles read in pieces."""

import numpy as np
import pytest
from astropy.io import fits

from hyper_py.simulation.simulate import simulate_image
from hyper_py.writing.simulated_files import write_simulation


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Sources in noise that varies, with a blank region."""
    path = tmp_path_factory.mktemp("map") / "sky.fits"
    simulation = simulate_image("deep", seed=7, shape=(260, 330), n_sources=60, noise_variation=3.0)
    write_simulation(path, simulation)
    with fits.open(path, mode="update") as file:
        file[0].data[40:70, 90:150] = np.nan
    return path
