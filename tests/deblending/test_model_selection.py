import numpy as np
import pytest

from helpers.problems import make_problem
from hyper_py.deblending.model_selection import _joined, _within_reach, partition_correlated, without
from hyper_py.deblending.splitting import Split
from hyper_py.diagnostics import Flag
from hyper_py.fitting.group_fit import GroupFit
from hyper_py.numerics import models
from hyper_py.options import BackgroundOptions, Options
from hyper_py.pipeline.extraction import extract_sources
from hyper_py.simulation.simulate import simulate_image

SOURCES = np.array([[k + 1.0, 10.0 * k, 20.0, 1.7, 1.6, 0.0] for k in range(5)])


def test_what_is_taken_out_leaves_the_rest_in_order_and_no_empty_unit():
    units = [np.array([0, 3]), np.array([1]), np.array([2, 4])]
    variance = np.zeros(SOURCES.shape)
    variance[4, models.SIGMA_1] = 0.1
    task = make_problem(SOURCES, np.zeros((40, 60)), units=units, assumed=variance)
    kept = np.array([True, False, True, False, True])
    left, sources, fits = without(task, SOURCES, ["a", "b", "c"], kept)
    np.testing.assert_array_equal(sources, SOURCES[kept])
    np.testing.assert_array_equal(left.start, SOURCES[kept])
    assert [unit.tolist() for unit in left.units] == [[0], [1, 2]]
    assert fits == [None, "c"]
    np.testing.assert_array_equal(left.assumed, variance[kept])
    assert len(left.shift) == len(left.fixed) == 3


def test_added_sources_of_assumed_shape_are_told_and_have_errors_of_their_size(random_seed):
    simulation = simulate_image("crowded", seed=random_seed)
    table = extract_sources(simulation.image).catalog
    assumed = table["FLAGS"] & int(Flag.SHAPE_ASSUMED) != 0
    added = table["FLAGS"] & int(Flag.ADDED_IN_RESIDUAL) != 0
    assert added.sum() > assumed.sum() / 2 > 0
    assert (table["FLUX_ERR"] > 0.0).all()
    share = table["FWHM_1_ERR"][assumed] / table["FWHM_1"][assumed]
    # All of one size and one scatter, that of the map's other sources.
    assert np.ptp(table["FWHM_1"][assumed].value) < 1e-6 * table["FWHM_1"][assumed].value.max()
    assert 0.01 < share.min() <= share.max() < 0.3


def at_places(*places):
    return np.array([[1.0, x, y, 1.7, 1.7, 0.0] for x, y in places])


def test_units_without_a_fit_are_joined_with_those_near_them():
    """The new source 4 bridges the gap between two units; a third is near none without a fit."""
    start = at_places((0, 0), (14, 0), (30, 0), (35, 0), (7, 0))
    units = [np.array([0, 4]), np.array([1]), np.array([2]), np.array([3])]
    joined, fits = _joined(units, [None, "b", "c", "d"], start, beam_fwhm=5.0)
    assert [unit.tolist() for unit in joined] == [[2], [3], [0, 1, 4]]
    assert fits == ["c", "d", None]


def test_units_with_a_fit_stay_as_they_are():
    start = at_places((0, 0), (3, 0), (6, 0))
    units = [np.array([0]), np.array([1, 2])]
    joined, fits = _joined(units, ["a", "b"], start, beam_fwhm=5.0)
    assert [unit.tolist() for unit in joined] == [[0], [1, 2]]
    assert fits == ["a", "b"]


def test_joined_units_without_fits_join_all_their_neighbours_once():
    start = at_places(*((6 * k, 0) for k in range(6)))
    joined, fits = _joined([np.array([k]) for k in range(6)], [None] * 6, start, beam_fwhm=5.0)
    assert [unit.tolist() for unit in joined] == [[0, 1, 2, 3, 4, 5]]
    assert fits == [None]


def test_no_unit_is_larger_than_the_covariance_reaches():
    x = 6.0 * np.arange(40)
    units = partition_correlated(x, 0 * x, beam_fwhm=5.0)
    assert sorted(np.concatenate(units).tolist()) == list(range(40))
    assert max(np.ptp(x[unit]) for unit in units) <= 8.5 * 5.0
    assert len(units) < 10


def test_a_unit_that_cannot_be_cut_grows_by_one_source_that_keeps_it_small():
    """A unit of 38 pixels may be 42.5 wide: by either of two sources beside it, but not both."""
    start = at_places((20, 20), (58, 20), (20, 50))
    units = [np.array([0, 1]), np.array([2])]
    task = make_problem(start, np.zeros((80, 80)), units=units, beam_fwhm=5.0)

    def split(unit, member, *place):
        sources = np.concatenate([start[[member]], at_places(place)])
        fit = GroupFit(parameters=sources, at_bound=sources < -1, cost=0.0, status=1, n_evaluations=1)
        return Split(unit=unit, members=np.array([0]), fit=fit, typical=np.zeros(2, dtype=bool))

    far, left, right, other = (
        split(0, 0, 14, 20), split(0, 0, 16, 20), split(0, 1, 62, 20), split(1, 2, 24, 50)
    )  # fmt: skip
    assert _within_reach(task, [far, left, right, other]) == [left, other]


@pytest.mark.parametrize("method", ["conditional", "polynomial"])
def test_a_straight_chain_longer_than_the_covariance_reaches_is_measured(method, rng):
    """Its sources are a beam apart over thirty beams, the brighter and the fainter in turns."""
    image = simulate_image(
        "alma", seed=3, shape=(80, 240), n_sources=0, background="none", pixel_scale=1.0, beam=(5.0, 5.0, 0.0)
    ).image
    rms, n = float(np.std(image.data)), 36
    places = [(25 + 5.2 * k + rng.normal(0, 0.4), 40 + rng.normal(0, 0.6)) for k in range(n)]
    chain = at_places(*places)
    chain[:, models.AMPLITUDE] = rms * np.where(np.arange(n) % 2, 40.0, 25.0)
    chain[:, models.SIGMA_1 : models.THETA] = 5.0 / 2.3548
    options = Options(background=BackgroundOptions(method=method))
    image = image.with_data(image.data + models.render(chain, image.data.shape))
    assert len(extract_sources(image, options=options).catalog) > 20


def test_units_that_are_joined_leave_the_others_their_windows():
    """Errors are those of the pixels that a unit is on, which its fit tells, not its place in a list."""
    table = extract_sources(simulate_image("crowded", seed=5, shape=(240, 320), n_sources=60).image).catalog
    assert (table["FLAGS"] & int(Flag.ADDED_IN_RESIDUAL) != 0).any()
    ratio = table["FLUX_PEAK"] / table["FLUX_PEAK_ERR"] / table["SNR"]
    assert (ratio < 20.0).all()
    assert np.median(ratio) > 0.4
