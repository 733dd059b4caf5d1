"""Copies of this process answer for the items whose numbers they are given."""

import os
import signal
import sys

import numpy as np
import pytest

from hyper_py.numerics.forked import Forked
from hyper_py.numerics.sending import MOST_BYTES

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are copied on Linux only")


@pytest.fixture
def team():
    team = Forked(2)
    yield team
    team.stop()


def answers(team, function, items, numbers=None):
    work = team.prepared(function, items, recorded=False)
    return {k: answer.result for k, answer in work.answers(range(len(items)) if numbers is None else numbers)}


def test_each_number_is_answered_once_by_a_copy(team):
    items = [10 * k for k in range(20)]
    found = answers(team, lambda item: (item, os.getpid()), items, [2, 3, 5, 7, 11])
    assert {k: value for k, (value, _) in found.items()} == {k: 10 * k for k in (2, 3, 5, 7, 11)}
    assert os.getpid() not in {pid for _, pid in found.values()}


def test_copies_are_kept_and_end_when_the_team_stops(team):
    pids = [set(answers(team, lambda _: os.getpid(), range(50)).values()) for _ in range(3)]
    assert len(set.union(*pids)) <= 2
    team.stop()
    for pid in set.union(*pids):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert not set(answers(team, lambda _: os.getpid(), range(9)).values()) & set.union(*pids)


def test_what_is_too_large_to_be_sent_is_done_by_copies_of_their_own(team):
    large = np.arange(MOST_BYTES / 8 + 1)
    kept = set(answers(team, lambda _: os.getpid(), range(50)).values())
    found = answers(team, lambda k: (large[k], os.getpid()), range(5))
    assert {k: value for k, (value, _) in found.items()} == {k: k for k in range(5)}
    assert not kept & {pid for _, pid in found.values()}
    for pid in kept:  # they leave their memory to the others
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert team.prepared(lambda k: large[k], range(5), recorded=False).cost == 1.0
    assert team.prepared(abs, range(5), recorded=False).cost == 0.0


def test_work_inside_other_work_is_done_by_copies_of_its_own(team):
    outer = team.prepared(abs, range(-20, 0), recorded=False).answers(range(20))
    found = [next(outer)]
    assert answers(team, lambda k: 2 * k, range(5)) == {k: 2 * k for k in range(5)}
    found += outer
    assert {k: answer.result for k, answer in found} == {k: 20 - k for k in range(20)}


def test_what_a_copy_that_dies_had_is_left_out_and_the_others_go_on(team):
    own = os.getpid()

    def of_item(item):
        if item == 4 and os.getpid() != own:
            os.kill(os.getpid(), signal.SIGKILL)
        return item

    found = answers(team, of_item, range(100))
    assert set(range(50, 100)) <= set(found)
    assert 4 not in found
    assert all(found[k] == k for k in found)
    assert answers(team, abs, range(9)) == {k: k for k in range(9)}


def test_who_stops_listening_gets_other_answers_next_time(team):
    work = team.prepared(lambda k: k, range(1000), recorded=False).answers(range(1000))
    next(work)
    work.close()
    assert answers(team, lambda k: -k, range(5)) == {k: -k for k in range(5)}


def test_an_error_is_an_answer(team):
    (answer,) = (answer for _, answer in team.prepared(lambda k: 1 // k, [0], recorded=False).answers([0]))
    with pytest.raises(ZeroDivisionError):
        answer.given()


class Unreadable:
    def __reduce__(self):
        return int, ("no number",)


def test_what_copies_cannot_read_is_an_error(team):
    thing = Unreadable()
    work = team.prepared(lambda _: thing, [0, 1], recorded=False).answers([0, 1])
    for _, answer in work:
        with pytest.raises(ValueError, match="no number"):
            answer.given()
