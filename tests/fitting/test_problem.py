import numpy as np
import pytest

from helpers.problems import make_problem
from hyper_py.fitting.problem import FitProblem
from hyper_py.numerics import gaussians
from hyper_py.numerics.tiles import LazyPlane

SOURCES = np.array([[k + 1.0, 10.0 * k, 20.0, 1.7, 1.6, 0.0] for k in range(5)])


def test_some_of_the_sources_keep_their_order_and_their_groups():
    partition = [np.array([0, 3]), np.array([1]), np.array([2, 4])]
    problem = make_problem(SOURCES, np.zeros((40, 60)), partition=partition)
    some = problem.only(np.array([False, False, True, True, True]))
    assert isinstance(some, FitProblem)
    np.testing.assert_array_equal(some.start, SOURCES[2:])
    assert [own.tolist() for own in some.partition] == [[1], [0, 2]]
    assert len(some.fixed) == len(some.prior_variance) == len(some.shift) == 3


def test_a_map_in_pieces_has_the_same_pixels_without_its_sources():
    data = np.arange(12.0).reshape(3, 4)
    data[1, 2] = np.nan
    whole = make_problem(SOURCES, data)
    pieces = make_problem(SOURCES, LazyPlane(data.shape, lambda rows, columns: data[rows, columns]))
    expected = data - gaussians.render(SOURCES, data.shape)
    np.testing.assert_array_equal(whole.without(SOURCES), expected)
    np.testing.assert_allclose(pieces.without(SOURCES)[1:, :3], expected[1:, :3], rtol=1e-12)


def test_sizes_are_counted_by_the_axes_of_the_beam_or_by_a_round_one():
    problem = make_problem(SOURCES, np.zeros((40, 60)), beam_covariance=np.diag([4.0, 1.0]), beam_fwhm=3.3302)
    assert problem.size_limits(0.5, 2.0, round_beam=False) == pytest.approx((0.5, 4.0))
    assert problem.size_limits(0.5, 2.0, round_beam=True) == pytest.approx((0.7071, 2.8284), rel=1e-4)
