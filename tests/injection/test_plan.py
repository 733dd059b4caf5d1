"""Fluxes of the next round lie where the curve rises, and no more runs are asked for than are needed."""

import math

import numpy as np
import pytest
from scipy.special import ndtr, ndtri

from helpers.injections import made_records, sky_setup
from hyper_py.injection.plan import InjectionPlan, first_ranges, next_ranges, pilot_runs, reached


@pytest.fixture(scope="module")
def setup(random_seed):
    return sky_setup(random_seed)


def records_of(setup, rng, n, *, threshold=5.0):
    sigma = setup.typical_sigma
    snr = np.exp(rng.uniform(math.log(2.0), math.log(20.0), n))
    return made_records(snr, rng.random(n) < ndtr(snr - threshold), sigma=sigma)


def test_first_fluxes_lie_around_the_threshold(setup):
    low = setup.options.detection.sigma_thres * setup.typical_sigma
    for one in first_ranges(setup):
        assert one.low < low < one.high < one.bright


def test_next_fluxes_lie_where_the_curve_rises(setup, rng):
    records = records_of(setup, rng, 4000)
    for one in next_ranges(records, setup, first_ranges(setup)):
        assert one.low / setup.typical_sigma == pytest.approx(5.0 + ndtri(0.05), rel=0.3)
        assert one.high / setup.typical_sigma == pytest.approx(5.0 + ndtri(0.97), rel=0.3)
        assert one.bright >= 2.0 * one.high


def test_where_hardly_anything_is_found_fluxes_are_raised(setup, rng):
    before = first_ranges(setup)
    for one, old in zip(
        next_ranges(records_of(setup, rng, 200, threshold=99.0), setup, before), before, strict=True
    ):
        assert one.high == 2.0 * old.high


def test_the_runs_asked_for_give_the_precision(setup, rng):
    records = records_of(setup, rng, 2000)
    ranges = next_ranges(records, setup, first_ranges(setup))
    plan = InjectionPlan(precision=0.03)
    state = reached(records, setup, plan, ranges)
    assert state.error > 0.03
    # As many sources of each bin as there are, times what the precision wants more.
    enough = reached(np.tile(records, math.ceil((state.error / 0.03) ** 2) + 1), setup, plan, ranges)
    assert enough.n_more == 0
    finer = reached(records, setup, InjectionPlan(precision=0.015), ranges)
    assert finer.n_more > 3 * state.n_more


def test_pilot_is_short_and_within_what_is_allowed(setup):
    assert pilot_runs(setup, InjectionPlan()) == 9  # ten with the inverted map
    assert pilot_runs(setup, InjectionPlan(max_runs=3)) == 3
