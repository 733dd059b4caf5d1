"""Stages of an extraction: who is told, in which order, and what is extrapolated from them."""

import math

import pytest

from hyper_py.pipeline.extraction import extract_sources
from hyper_py.simulation.simulate import simulate_image
from hyper_py.stages import SHARES, Clock, counter, seconds_left, tell, told_to


@pytest.fixture
def told():
    return []


def test_nobody_is_told_without_a_listener(told):
    tell("noise")
    counter("fits", 5)(2)
    with told_to(lambda *stage: told.append(stage)):
        tell("detection")
        advance = counter("fits", 5)
        advance(2)
        advance(3)
    tell("products")
    assert told == [("detection", 0, 0), ("fits", 0, 5), ("fits", 2, 5), ("fits", 5, 5)]


def test_without_a_listener_of_its_own_a_call_leaves_that_of_its_caller(told):
    with told_to(lambda *stage: told.append(stage)), told_to(None):
        tell("noise")
    assert told == [("noise", 0, 0)]


def test_a_listener_that_fails_is_not_told_again(told):
    def fails(*stage):
        raise RuntimeError("the terminal is gone")

    with pytest.raises(RuntimeError), told_to(fails):
        tell("noise")
    tell("noise")


def test_an_extraction_tells_of_its_stages_in_order(told, tiny_sky):
    quiet = extract_sources(tiny_sky.image)
    heard = extract_sources(tiny_sky.image, progress=lambda *stage: told.append(stage))
    names = list(dict.fromkeys(stage for stage, _, _ in told))
    assert names == [name for name in SHARES if name not in ("reading", "products")]
    fits = [(done, total) for stage, done, total in told if stage == "fits"]
    assert fits[0][0] == 0
    assert fits[-1][0] == fits[-1][1] > 1
    assert all(0 <= done <= total for _, done, total in told)
    assert (quiet.catalog["FLUX"] == heard.catalog["FLUX"]).all()


def test_rounds_of_detection_are_counted_on_the_map_and_for_wide_sources(told, tiny_sky):
    extract_sources(tiny_sky.image, progress=lambda *stage: told.append(stage), detection_only=True)
    for name in ("detection", "wide sources"):
        done = [(n, total) for stage, n, total in told if stage == name and total]
        assert [n for n, _ in done] == list(range(len(done)))
        assert len(done) > 2
        assert {total for _, total in done} == {max(total for _, total in done)}
        assert done[-1][0] <= done[-1][1]


@pytest.fixture(scope="module")
def tiny_sky():
    return simulate_image("alma", seed=3, shape=(120, 120), n_sources=9)


def test_shares_are_all_of_the_time():
    assert math.isclose(sum(SHARES.values()), 1.0)


def test_time_left_is_extrapolated_from_the_share_that_is_done():
    clock = Clock()
    assert math.isnan(seconds_left(3.0, share=clock.share))
    clock.told("fits", 5, 10)
    before = sum(list(SHARES.values())[: list(SHARES).index("fits")])
    assert clock.share == pytest.approx(before + SHARES["fits"] / 2)
    assert seconds_left(7.0, share=clock.share) == pytest.approx(7.0 / clock.share - 7.0)


def test_what_is_done_never_falls():
    clock = Clock()
    for stage in (("fits", 9, 10), ("first fits", 1, 10), ("fits", 1, 10), ("something else", 1, 1)):
        clock.told(*stage)
    until = sum(list(SHARES.values())[: list(SHARES).index("fits")])
    assert clock.share == pytest.approx(until + 0.9 * SHARES["fits"])
