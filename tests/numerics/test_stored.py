"""Planes in files: what was written is read, by rows and columns and by pixels, and nothing is left."""

import gc
import os
from contextlib import suppress

import numpy as np
import pytest

from hyper_py.numerics import parallel
from hyper_py.numerics.parallel import workers
from hyper_py.numerics.stored import StoredPlane, stored_in, stored_plane, stored_planes
from hyper_py.numerics.tiles import at, tiles


@pytest.fixture(autouse=True)
def _always_parallel(monkeypatch):
    monkeypatch.setattr(parallel, "LEAST_SECONDS", 0.0)


SHAPE = (70, 90)


TILES = [*tiles(SHAPE, size=20)]
WHOLE = [(slice(0, SHAPE[0]), slice(0, SHAPE[1]))]


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.bool_])
@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("cut", [TILES, WHOLE], ids=["tiles", "whole"])
def test_what_was_written_is_read(rng, dtype, n, cut):
    data = (100.0 * rng.standard_normal(SHAPE)).astype(dtype)
    with workers(n):
        plane = stored_plane(SHAPE, dtype, make=lambda *where: data[where], tiles=cut)
    np.testing.assert_array_equal(np.asarray(plane), data)
    for _ in range(40):
        (y0, y1), (x0, x1) = (np.sort(rng.integers(0, size + 1, 2)) for size in SHAPE)
        where = slice(int(y0), int(y1)), slice(int(x0), int(x1))
        np.testing.assert_array_equal(plane[where], data[where])
    # As large as a tile, and not one.
    np.testing.assert_array_equal(plane[20:40, 10:30], data[20:40, 10:30])
    np.testing.assert_array_equal(plane[10:30, 20:40], data[10:30, 20:40])
    y, x = rng.integers(0, SHAPE[0], 50), rng.integers(0, SHAPE[1], 50)
    np.testing.assert_array_equal(at(plane, y, x), data[y, x])
    assert plane[:, :].dtype == dtype
    assert at(plane, y[:0], x[:0]).size == 0


@pytest.mark.parametrize("n", [1, 2])
def test_planes_made_together_are_those_made_alone(rng, n):
    data = rng.standard_normal((3, *SHAPE))
    with workers(n):
        planes = stored_planes(SHAPE, np.float64, number=3, make=lambda *where: data[:, *where], tiles=TILES)
    y, x = rng.integers(0, SHAPE[0], 50), rng.integers(0, SHAPE[1], 50)
    for plane, own in zip(planes, data, strict=True):
        assert plane.shape == SHAPE
        np.testing.assert_array_equal(np.asarray(plane), own)
        np.testing.assert_array_equal(plane[13:40, 7:7], own[13:40, 7:7])
        np.testing.assert_array_equal(plane[13:41, 7:60], own[13:41, 7:60])
        np.testing.assert_array_equal(at(plane, y, x), own[y, x])


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.bool_])
@pytest.mark.parametrize("value", [0.0, 1.0, np.nan])
def test_tiles_of_one_value_take_no_space_and_are_read_as_written(rng, tmp_path, dtype, value):
    shape, own = (256, 384), (slice(128, 256), slice(128, 256))
    cut = [*tiles(shape, size=128)]
    data = np.full(shape, value).astype(dtype)
    data[own] = (rng.standard_normal((128, 128)) > 0.0).astype(dtype)
    with stored_in(tmp_path), workers(2):
        plane = stored_plane(shape, dtype, make=lambda *where: data[where], tiles=cut)
    np.testing.assert_array_equal(plane[:, :], data)
    np.testing.assert_array_equal(plane[100:200, 90:300], data[100:200, 90:300])
    y, x = rng.integers(0, 256, 50), rng.integers(0, 384, 50)
    np.testing.assert_array_equal(at(plane, y, x), data[y, x])
    assert 512 * os.fstat(plane._handle).st_blocks < data.nbytes / 3


def test_a_tile_of_zeros_of_either_sign_keeps_them():
    data = np.zeros(SHAPE)
    data[::2] = -0.0
    plane = stored_plane(SHAPE, np.float64, make=lambda *where: data[where], tiles=TILES)
    np.testing.assert_array_equal(np.signbit(plane[:, :]), np.signbit(data))


def open_files(folder):
    """Return how many files of a folder are open, with a name or without; other tests close others."""
    places = []
    for number in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # that of the listing itself
            places.append(os.readlink(f"/proc/self/fd/{number}"))
    return sum(place.startswith(f"{folder}/") for place in places)


def test_the_file_has_no_name_and_goes_with_the_plane(tmp_path):
    with stored_in(tmp_path):
        planes = [StoredPlane(SHAPE, np.float64, tiles=TILES) for _ in range(3)]
    assert os.listdir(tmp_path) == []
    assert open_files(tmp_path) == 3
    del planes
    gc.collect()
    assert open_files(tmp_path) == 0


def test_no_space_is_known_before_anything_is_written(monkeypatch, tmp_path):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with stored_in(tmp_path), pytest.raises(OSError, match="No space"):
        StoredPlane(SHAPE, np.float64, tiles=TILES)
    gc.collect()
    assert open_files(tmp_path) == 0
