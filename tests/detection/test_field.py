"""What is made of a map that is searched, in memory and in pieces."""

import numpy as np
import pytest

from hyper_py.detection.field import Field
from hyper_py.detection.kernels import KernelFamily
from hyper_py.numerics import parallel
from hyper_py.numerics.parallel import workers
from hyper_py.numerics.stored import StoredPlane
from hyper_py.numerics.tiles import LazyPlane

SHAPE = (190, 230)
BEAM = np.eye(2) * (4.0 / 2.3548) ** 2


def field_of(*, in_pieces: bool) -> Field:
    data = np.random.default_rng(7).standard_normal(SHAPE)
    data[40:70, 100:140] = np.nan
    data[150, 11] = np.nan
    plane = LazyPlane(SHAPE, lambda *where: data[where]) if in_pieces else data
    field = Field.of(plane, beam_covariance=BEAM, size=60)
    assert field is not None
    return field


@pytest.mark.parametrize("n", [1, 2])
def test_pixels_are_read_tile_by_tile_by_any_number_of_workers(monkeypatch, n):
    monkeypatch.setattr(parallel, "LEAST_SECONDS", 0.0)
    field, rng = field_of(in_pieces=True), np.random.default_rng(2)
    y, x = rng.integers(0, SHAPE[0], 300), rng.integers(0, SHAPE[1], 300)
    doubled = LazyPlane(SHAPE, lambda *where: 2.0 * field.data[where])
    assert isinstance(field.data, StoredPlane)
    values = field.data[:, :]
    with workers(n):
        np.testing.assert_array_equal(field.at(field.data, y, x), values[y, x])
        np.testing.assert_array_equal(field.at(doubled, y, x), 2.0 * values[y, x])
        assert field.at(field.data, y[:0], x[:0]).size == 0
    np.testing.assert_array_equal(field.at(values, y, x), values[y, x])


@pytest.mark.parametrize("in_pieces", [False, True])
def test_pixels_that_are_not_blank_are_valid(in_pieces):
    field = field_of(in_pieces=in_pieces)
    for where in field.tiles:
        valid = field.valid(where)
        assert valid.dtype == np.bool_
        np.testing.assert_array_equal(valid, np.isfinite(field.data[where]))


@pytest.mark.parametrize(("side", "step"), [(200, 1), (1000, 3), (3000, 3), (6000, 6), (100_000, 100)])
def test_statistics_are_made_of_a_pixel_in_half_a_beam_and_not_of_too_many(side, step):
    plane = LazyPlane((side, side), lambda rows, columns: np.zeros((1, 1)))
    field = Field(plane, KernelFamily(4.5 * np.eye(2)), None, 1.0, 0.0, False)
    assert field.comb_area == step**2
