"""Places of files that tests of reading write."""

import pytest

from helpers.fits_maps import write_many


@pytest.fixture
def path(tmp_path):
    """Path of a map that is not there yet."""
    return tmp_path / "map.fits"


@pytest.fixture
def many(path):
    """A file with a map, errors of several kinds, weights and a mask."""
    return write_many(path)
