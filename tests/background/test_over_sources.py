"""A surface in place of sources, piece by piece: the pixels of the whole map."""

import numpy as np
import pytest

from hyper_py.background.over_sources import over_sources
from hyper_py.noise.measure import outside_sources
from hyper_py.numerics import gaussians, tiles
from hyper_py.numerics.interpolation import interpolate_masked
from hyper_py.numerics.tiles import LazyPlane

SHAPE = (90, 110)


@pytest.fixture
def case(rng, monkeypatch):
    """A slope with blanks; sources that touch in a chain, single ones, and one beyond the border."""
    monkeypatch.setattr(tiles, "_AUTOMATIC_SIZE", 40)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    data = 0.1 * x - 0.05 * y + rng.normal(size=SHAPE)
    data[30:45, 60:75] = data[10, 11] = np.nan
    chain = np.column_stack([np.linspace(12, 70, 12), np.linspace(20, 75, 12)])
    places = np.vstack([chain, [[67, 37], [100, 5], [-1.3, 40], [109.6, 88.2]]])
    n = len(places)
    shapes = rng.uniform(1.5, 2.2, (n, 2)), rng.uniform(0, 3, n)
    return data, np.column_stack([np.ones(n), places, *shapes])


def in_pieces(data):
    """The same as a plane that is never read whole."""

    def make(rows, columns):
        assert (rows.stop - rows.start) * (columns.stop - columns.start) < data.size
        return data[rows, columns]

    return LazyPlane(data.shape, make)


PARTS = (
    (slice(0, 31), slice(0, 40)),
    (slice(33, 37), slice(20, 90)),
    (slice(60, 90), slice(70, 110)),
    (slice(44, 45), slice(44, 45)),
)


@pytest.mark.parametrize("where", PARTS)
def test_regions_are_interpolated_as_a_whole_wherever_a_part_is_wanted(case, where):
    data, sources = case
    expected = interpolate_masked(data, gaussians.footprints(sources, SHAPE, n_sigma=3.0))
    expected[np.isnan(data)] = np.nan
    np.testing.assert_array_equal(over_sources(data, sources, n_sigma=3.0), expected)
    part = over_sources(in_pieces(data), sources, n_sigma=3.0)[where]
    np.testing.assert_allclose(part, expected[where], rtol=1e-11, atol=1e-12)


def test_a_source_amid_blanks_takes_the_level_of_the_map(case):
    data, _ = case
    source = np.array([[1.0, 67.0, 37.0, 1.2, 1.2, 0.0]])
    data[36:39, 66:69] = 50.0
    whole = over_sources(data, source, n_sigma=3.0)
    level = np.nanmedian(outside_sources(data, source, n_sigma=3.0))
    assert (whole[36:39, 66:69] == level).all()
    piece = over_sources(in_pieces(data), source, n_sigma=3.0)[30:45, 60:75]
    np.testing.assert_array_equal(piece, whole[30:45, 60:75])
