"""Planes in files: what was written is read, by rows and columns and by pixels, and nothing is left."""

import gc
import os

import numpy as np
import pytest

from hyper_py.numerics import parallel
from hyper_py.numerics.parallel import in_order, workers
from hyper_py.numerics.stored import StoredPlane, stored_in
from hyper_py.numerics.tiles import at, tiles


@pytest.fixture(autouse=True)
def _always_parallel(monkeypatch):
    monkeypatch.setattr(parallel, "LEAST_SECONDS", 0.0)


SHAPE = (70, 90)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.bool_])
@pytest.mark.parametrize("n", [1, 2])
def test_what_was_written_is_read(rng, dtype, n):
    data = (100.0 * rng.standard_normal(SHAPE)).astype(dtype)
    plane = StoredPlane(SHAPE, dtype)
    with workers(n):
        for _ in in_order(lambda where: plane.write(where, data[where]), [*tiles(SHAPE, size=20)]):
            pass
    np.testing.assert_array_equal(np.asarray(plane), data)
    for _ in range(20):
        (y0, y1), (x0, x1) = (np.sort(rng.integers(0, size + 1, 2)) for size in SHAPE)
        where = slice(int(y0), int(y1)), slice(int(x0), int(x1))
        np.testing.assert_array_equal(plane[where], data[where])
    y, x = rng.integers(0, SHAPE[0], 50), rng.integers(0, SHAPE[1], 50)
    np.testing.assert_array_equal(at(plane, y, x), data[y, x])
    assert plane[:, :].dtype == dtype
    assert at(plane, y[:0], x[:0]).size == 0


def test_the_file_has_no_name_and_goes_with_the_plane(tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    with stored_in(tmp_path):
        planes = [StoredPlane(SHAPE, np.float64) for _ in range(3)]
    assert os.listdir(tmp_path) == []
    assert len(os.listdir("/proc/self/fd")) == before + 3
    del planes
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_no_space_is_known_before_anything_is_written(monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="No space"):
        StoredPlane(SHAPE, np.float64)
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before
