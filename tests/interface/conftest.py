"""One small simulated sky and what is extracted from it."""

import pytest

import hyper_py


@pytest.fixture(scope="package")
def sky():
    return hyper_py.simulate_image("faint", seed=3, shape=(90, 110), n_sources=4, peak_range=(20, 40))


@pytest.fixture(scope="package")
def extraction(sky):
    return hyper_py.extract_sources(sky.image)
