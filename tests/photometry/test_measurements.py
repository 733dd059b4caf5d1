"""How what was measured of groups becomes one table over sources."""

import numpy as np
import pytest

from helpers.measured_groups import SHAPE, THREE, measured, photometry_of
from hyper_py.background.model import Painted
from hyper_py.diagnostics import Flag
from hyper_py.noise.covariance import CovarianceModel
from hyper_py.numerics.solvers import FitStatus
from hyper_py.photometry.measurements import MeasuredMap, table_of_groups
from hyper_py.photometry.source_table import SourceTable


@pytest.mark.parametrize(
    ("status", "cost", "retried", "expected", "flag"),
    [
        (FitStatus.COST, 3.0, False, 1, 0),
        (FitStatus.STEP, 3.0, True, 2, Flag.RETRIED),
        (FitStatus.MAX_EVALUATIONS, 3.0, False, 0, Flag.NOT_CONVERGED),
        (FitStatus.NOT_FINITE, np.nan, False, 0, Flag.FIT_FAILED),
    ],
)
def test_status_and_flags_say_how_a_fit_ended(status, cost, retried, expected, flag):
    sources = np.add(THREE, [0, 10, 0, 0, 0, 0])
    members = np.array([0, 2])
    group = measured(sources, members, status=status, cost=cost, retried=retried, beam_area=1.6)
    table = table_of_groups(sources, [group])
    assert table.status.tolist() == [expected, 0, expected]
    assert table.flags[members].tolist() == [flag, flag]
    np.testing.assert_allclose(table.nmse[members], 0.15 / 18.0)
    np.testing.assert_allclose(table.chi2_red[members], 6.0 / 2)
    np.testing.assert_allclose(table.bic[members], 6.0 * 2.5 / 4 + 2 * np.log(2.5))
    assert np.isnan(table.nmse[1])


def test_statistics_that_do_not_exist_are_nan():
    nothing = np.zeros(2)
    group = measured(THREE, np.array([0]), residual=nothing, data=nothing, n_free=6, chi2=0.0, beam_area=20.0)
    assert np.isnan(group.nmse)
    assert np.isnan(group.chi2_red)
    assert group.bic == 0.0


def test_photometry_blanks_edges_and_missing_errors():
    usable = np.ones(SHAPE, dtype=bool)
    usable[20, 19:22] = False
    covariance = np.arange(18 * 18, dtype=float).reshape(18, 18)
    photometry = photometry_of(
        3, flux=np.array([1.0, 2.0, 3.0]), flux_err=np.array([0.1, 0.2, np.nan]),
        background=np.array([4.0, 5.0, 6.0]), covariance=covariance,
    )  # fmt: skip
    members = np.array([2, 0, 1])
    table = table_of_groups(THREE, [measured(THREE, members, photometry=photometry, usable=usable)])
    np.testing.assert_array_equal(table.flux, [2, 3, 1])
    np.testing.assert_array_equal(table.background, [5, 6, 4])
    np.testing.assert_array_equal(table.n_blank, [3, 0, 0])
    np.testing.assert_array_equal(table.covariance[0], covariance[6:12, 6:12])
    np.testing.assert_array_equal(table.covariance[2], covariance[:6, :6])
    assert table.flags.tolist() == [Flag.BLANK_PIXELS, Flag.EDGE | Flag.NO_ERROR, 0]


def test_sources_of_groups_that_were_not_measured_have_failed():
    table = table_of_groups(THREE, [])
    assert table.status.tolist() == [0, 0, 0]
    assert np.isnan(table.flux).all()
    assert np.isnan(table.covariance).all()
    assert table.order.tolist() == [-1, -1, -1]
    assert (table.flags == int(Flag.FIT_FAILED | Flag.NO_ERROR | Flag.BLANK_PIXELS)).all()


def test_an_aperture_without_a_pixel_has_no_flux():
    sources = THREE * [1, 1, 1, 1, 1, 1]
    sources[1:, 1:3] = [[40, 40], [-20, 30]]
    usable = np.ones(SHAPE, dtype=bool)
    usable[10:31, 10:31] = False
    table = table_of_groups(sources, [measured(sources, np.arange(3), usable=usable)])
    assert table.status.tolist() == [0, 1, 0]
    for values in (table.flux, table.flux_err, table.flux_gauss_err, table.covariance[:, 0, 0]):
        np.testing.assert_array_equal(np.isnan(values), [True, False, True])
    assert [bool(f & Flag.FIT_FAILED) for f in table.flags] == [True, False, True]


def test_the_background_is_the_weighted_mean_of_pieces_inside_the_map():
    class Piece:
        order = -1

        def __init__(self, y, x, value, weight):
            self.painted = Painted(np.array(y), np.array(x), np.full(len(y), value), np.full(len(y), weight))

        def paint(self):
            return self.painted

    group = measured(THREE, np.array([0]))
    pieces = Piece((1, 1, -1), (1, 2, 0), 2.0, 1.0), Piece((1, 9, 0), (2, 0, -1), 5.0, 2.0)
    groups = [type(group)(**{**vars(group), "background": piece}) for piece in pieces]
    found = MeasuredMap(
        sources=SourceTable.unmeasured(THREE), groups=groups, noise=CovarianceModel(np.ones((1, 1))),
        given=np.arange(3),
    )  # fmt: skip
    expected = np.full((3, 4), np.nan)
    expected[1, 1], expected[1, 2] = 2.0, (2.0 + 2 * 5.0) / 3
    np.testing.assert_allclose(found.background_part((slice(0, 3), slice(0, 4))), expected)


def test_flags_are_added_to_those_that_there_are():
    table = table_of_groups(THREE, [measured(THREE, np.arange(3))])
    found = MeasuredMap(sources=table, groups=[], noise=CovarianceModel(np.ones((1, 1))), given=np.arange(3))
    some = found.with_flags(Flag.FORCED, np.array([True, False, False])).with_flags(Flag.BLENDED)
    before = table.flags
    expected = before | np.array([int(Flag.FORCED), 0, 0]) | int(Flag.BLENDED)
    np.testing.assert_array_equal(some.sources.flags, expected)
