"""The table of sources of several bands."""

import numpy as np

from hyper_py.bands.plane import TangentPlane
from hyper_py.bands.sources import JointSources


def three_sources(n_bands=2):
    n, covariance = 3, np.array([[4.0, 1.0], [1.0, 9.0]])
    table = np.zeros((n, n_bands))
    return JointSources(
        plane=TangentPlane(ra=84.0, dec=-2.0), position=np.array([[0.0, 0.0], [20.0, 5.0], [-7.0, 40.0]]),
        position_covariance=np.zeros((n, 2, 2)), shape=np.zeros((n, 3)), shape_covariance=np.zeros((n, 3, 3)),
        band_shape=np.zeros((n, n_bands, 3)), flux=np.array([[20.0, 12.0], [5.0, np.nan], [-4.0, 9.0]]),
        flux_covariance=np.where(np.arange(n)[:, None, None] == 1, np.nan, covariance)
        + np.zeros((n, n_bands, n_bands)),
        peak=table, peak_err=table, background=table, seen=np.ones((n, n_bands), dtype=bool),
        significance=np.zeros(n), misfit=table, correlation=table, neighbour=np.array([2, 0, 1]),
        group=np.array([1, 1, 2]), flags=np.zeros(n, dtype=np.int64),
    )  # fmt: skip


def test_significance_in_a_band_is_flux_over_error_and_nothing_where_it_is_not_seen():
    sources = three_sources()
    np.testing.assert_allclose(sources.snr, [[10.0, 4.0], [0.0, 0.0], [-2.0, 3.0]])
    assert sources.detected.tolist() == [[True, True], [False, False], [False, True]]
    assert sources.n_in_group.tolist() == [2, 2, 1]


def test_rows_are_taken_with_their_neighbours():
    two = three_sources().select(np.array([2, 0]))
    assert two.flux[:, 1].tolist() == [9.0, 12.0]
    assert two.neighbour.tolist() == [-1, 0]


def test_positions_on_the_sky_are_those_of_the_plane():
    sources = three_sources()
    np.testing.assert_allclose(sources.plane.offsets(*sources.sky), sources.position, atol=1e-8)


def test_an_empty_table_has_bands():
    empty = JointSources.empty(TangentPlane(ra=0.0, dec=0.0), 4)
    assert (len(empty), empty.n_bands, empty.snr.shape) == (0, 4, (0, 4))
