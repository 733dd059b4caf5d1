"""Planes in files: what was written is read, by rows and columns and by pixels, and nothing is left."""

import gc
import os

import numpy as np
import pytest

from hyper_py.numerics import parallel
from hyper_py.numerics.parallel import in_order, workers
from hyper_py.numerics.stored import StoredPlane, stored_in, stored_planes
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


@pytest.mark.parametrize("n", [1, 2])
def test_planes_made_together_are_those_made_alone(rng, n):
    data = rng.standard_normal((3, *SHAPE))
    cut = [*tiles(SHAPE, size=20)]
    with workers(n):
        planes = stored_planes(SHAPE, np.float64, number=3, make=lambda *where: data[:, *where], tiles=cut)
    y, x = rng.integers(0, SHAPE[0], 50), rng.integers(0, SHAPE[1], 50)
    for plane, own in zip(planes, data, strict=True):
        assert plane.shape == SHAPE
        np.testing.assert_array_equal(np.asarray(plane), own)
        np.testing.assert_array_equal(plane[13:40, 7:7], own[13:40, 7:7])
        np.testing.assert_array_equal(plane[13:41, 7:60], own[13:41, 7:60])
        np.testing.assert_array_equal(at(plane, y, x), own[y, x])


def test_every_so_many_rows_are_read(rng):
    data = rng.standard_normal(SHAPE)
    plane = StoredPlane(SHAPE, np.float64)
    plane.write((slice(0, SHAPE[0]), slice(0, SHAPE[1])), data)
    np.testing.assert_array_equal(plane[5:66:4, 3:20], data[5:66:4, 3:20])


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
