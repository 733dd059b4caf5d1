import numpy as np
import pytest

from helpers.problems import make_problem
from hyper_py.deblending.grouping import partition_correlated
from hyper_py.deblending.model_selection import (
    Model,
    apart_after_fit,
    joined_groups,
    recentred,
    remove_sources,
    splits_within_reach,
)
from hyper_py.deblending.splitting import Split
from hyper_py.diagnostics import Flag
from hyper_py.fitting.groups import GroupFit
from hyper_py.fitting.setup import FitSetup
from hyper_py.noise.covariance import beam_covariance_model
from hyper_py.noise.whitener_cache import WhitenerCache
from hyper_py.numerics import gaussians
from hyper_py.options import BackgroundOptions, Options
from hyper_py.pipeline.extraction import extract_sources
from hyper_py.simulation.simulate import simulate_image

SOURCES = np.array([[k + 1.0, 10.0 * k, 20.0, 1.7, 1.6, 0.0] for k in range(5)])


def setup_for(problem):
    noise = beam_covariance_model(problem.beam_covariance, rms=1.0, max_lag=60)
    return FitSetup(
        cache=WhitenerCache(noise), relative_rms=np.ones(problem.data.shape), sigma_limits=(0.8, 4.0),
        aper_sup=2.0, radius_in_fwhm=1.0,
    )  # fmt: skip


def fitted_groups(problem):
    """The groups of a problem, as if they were fitted where they start."""
    return [
        group.refitted(
            GroupFit(
                parameters=problem.start[group.members], at_bound=group.fixed, cost=0.0, status=1,
                n_evaluations=1,
            )
        )
        for group in setup_for(problem).groups(problem)
    ]  # fmt: skip


def test_what_is_removed_leaves_the_rest_in_order_and_no_empty_group():
    partition = [np.array([0, 3]), np.array([1]), np.array([2, 4])]
    variance = np.zeros(SOURCES.shape)
    variance[4, gaussians.SIGMA_1] = 0.1
    problem = make_problem(SOURCES, np.zeros((40, 60)), partition=partition, prior_variance=variance)
    kept = np.array([True, False, True, False, True])
    before = Model(problem, SOURCES, fitted_groups(problem))
    after = remove_sources(before, kept, setup=setup_for(problem))
    np.testing.assert_array_equal(after.sources, SOURCES[kept])
    np.testing.assert_array_equal(after.problem.start, SOURCES[kept])
    assert [own.tolist() for own in after.problem.partition] == [[0], [1, 2]]
    assert [group.members.tolist() for group in after.groups] == [[0], [1, 2]]
    assert after.groups[0].fit is None
    assert after.groups[1].fit is before.groups[2].fit
    assert after.groups[1].pixels is before.groups[2].pixels
    np.testing.assert_array_equal(after.problem.prior_variance, variance[kept])
    np.testing.assert_array_equal(after.groups[1].prior_variance, variance[[2, 4]])
    assert len(after.problem.shift) == len(after.problem.fixed) == 3


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


def joined(start, partition, *, changed):
    """Members of the groups after some have changed, and which fits are left."""
    problem = make_problem(start, np.zeros((60, 60)), partition=partition, beam_fwhm=5.0)
    groups = [None if k in changed else group for k, group in enumerate(fitted_groups(problem))]
    members, left = joined_groups(partition, groups, problem)
    names = [None if group is None else next(k for k, g in enumerate(groups) if g is group) for group in left]
    return [own.tolist() for own in members], names


def test_groups_that_changed_are_joined_with_those_near_them():
    """The new source 4 bridges the gap between two groups; a third is near none that changed."""
    start = at_places((0, 0), (14, 0), (30, 0), (35, 0), (7, 0))
    partition = [np.array([0, 4]), np.array([1]), np.array([2]), np.array([3])]
    assert joined(start, partition, changed={0}) == ([[2], [3], [0, 1, 4]], [2, 3, None])


def test_groups_that_did_not_change_stay_as_they_are():
    start = at_places((0, 0), (3, 0), (6, 0))
    partition = [np.array([0]), np.array([1, 2])]
    assert joined(start, partition, changed=set()) == ([[0], [1, 2]], [0, 1])


def test_joined_groups_join_all_their_neighbours_once():
    start = at_places(*((6 * k, 0) for k in range(6)))
    partition = [np.array([k]) for k in range(6)]
    assert joined(start, partition, changed=set(range(6))) == ([[0, 1, 2, 3, 4, 5]], [None])


def test_no_group_is_larger_than_the_covariance_reaches():
    x = 6.0 * np.arange(40)
    partition = partition_correlated(x, 0 * x, beam_fwhm=5.0)
    assert sorted(np.concatenate(partition).tolist()) == list(range(40))
    assert max(np.ptp(x[own]) for own in partition) <= 8.5 * 5.0
    assert len(partition) < 10


def test_a_group_that_cannot_be_cut_grows_by_one_source_that_keeps_it_small():
    """A group of 38 pixels may be 42.5 wide: by either of two sources beside it, but not both."""
    start = at_places((20, 20), (58, 20), (20, 50))
    partition = [np.array([0, 1]), np.array([2])]
    problem = make_problem(start, np.zeros((80, 80)), partition=partition, beam_fwhm=5.0)
    groups = fitted_groups(problem)

    def split(member, *place):
        sources = np.concatenate([start[[member]], at_places(place)])
        return Split(members=np.array([member]), parameters=sources, typical=np.zeros(2, dtype=bool))

    far, left, right, other = split(0, 14, 20), split(0, 16, 20), split(1, 62, 20), split(2, 24, 50)
    assert splits_within_reach(problem, groups, [far, left, right, other]) == [left, other]


@pytest.mark.parametrize("method", ["conditional", "polynomial"])
def test_a_straight_chain_longer_than_the_covariance_reaches_is_measured(method, rng):
    """Its sources are a beam apart over thirty beams, the brighter and the fainter in turns."""
    image = simulate_image(
        "alma", seed=3, shape=(80, 240), n_sources=0, background="none", pixel_scale=1.0, beam=(5.0, 5.0, 0.0)
    ).image
    rms, n = float(np.std(image.data)), 36
    places = [(25 + 5.2 * k + rng.normal(0, 0.4), 40 + rng.normal(0, 0.6)) for k in range(n)]
    chain = at_places(*places)
    chain[:, gaussians.AMPLITUDE] = rms * np.where(np.arange(n) % 2, 40.0, 25.0)
    chain[:, gaussians.SIGMA_1 : gaussians.THETA] = 5.0 / 2.3548
    options = Options(background=BackgroundOptions(method=method))
    image = image.with_data(image.data + gaussians.render(chain, image.data.shape))
    assert len(extract_sources(image, options=options).catalog) > 20


def test_groups_that_are_joined_leave_the_others_their_pixels():
    """Errors are those of the pixels that a group is on, whatever its place among the others."""
    table = extract_sources(simulate_image("crowded", seed=5, shape=(240, 320), n_sources=60).image).catalog
    assert (table["FLAGS"] & int(Flag.ADDED_IN_RESIDUAL) != 0).any()
    ratio = table["FLUX_PEAK"] / table["FLUX_PEAK_ERR"] / table["SNR"]
    assert (ratio < 20.0).all()
    assert np.median(ratio) > 0.4


def test_of_two_sources_that_moved_into_one_place_the_first_stays():
    problem = make_problem(SOURCES, np.zeros((40, 60)), partition=[np.arange(5)])
    moved = SOURCES.copy()
    moved[3, gaussians.X : gaussians.Y + 1] = moved[1, gaussians.X : gaussians.Y + 1] + [0.3, 1.2]
    moved[4, gaussians.X] = moved[2, gaussians.X] + 0.5 * problem.beam_fwhm
    model = Model(problem, moved, fitted_groups(problem))
    assert apart_after_fit(model).tolist() == [True, True, True, False, True]


def test_sources_move_on_from_where_they_are_only_in_groups_that_lose_one():
    partition = [np.array([0, 1]), np.array([2, 3]), np.array([4])]
    problem = make_problem(SOURCES, np.zeros((40, 60)), partition=partition)
    moved = np.add(SOURCES, [0.5, 1.0, -1.0, 0.1, 0.1, 0.1])
    kept = np.array([True, False, True, True, False])
    start = recentred(Model(problem, moved, fitted_groups(problem)), kept).problem.start
    np.testing.assert_array_equal(start[0, [1, 2]], moved[0, [1, 2]])
    np.testing.assert_array_equal(start[2:4], SOURCES[2:4])
    np.testing.assert_array_equal(start[:, [0, 3, 4, 5]], SOURCES[:, [0, 3, 4, 5]])
