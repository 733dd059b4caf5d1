"""Copies of this process answer for the items whose numbers they are given."""

import os
import signal
import sys

import pytest

from hyper_py.numerics.forked import Forked

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are copied on Linux only")


def test_each_number_is_answered_once_by_a_copy():
    items = [10 * k for k in range(20)]
    answers = dict(Forked(3).answers(lambda item: (item, os.getpid()), items, [2, 3, 5, 7, 11]))
    assert {k: answer.result[0] for k, answer in answers.items()} == {k: 10 * k for k in (2, 3, 5, 7, 11)}
    assert os.getpid() not in {answer.result[1] for answer in answers.values()}


def test_what_a_copy_that_dies_had_is_left_out_and_the_others_go_on():
    own = os.getpid()

    def of_item(item):
        if item == 4 and os.getpid() != own:
            os.kill(os.getpid(), signal.SIGKILL)
        return item

    answers = dict(Forked(2).answers(of_item, range(9), list(range(9))))
    assert {k: answer.result for k, answer in answers.items()} == {k: k for k in range(9) if k != 4}


def test_an_error_is_an_answer():
    (answer,) = (answer for _, answer in Forked(2).answers(lambda k: 1 // k, [0], [0]))
    with pytest.raises(ZeroDivisionError):
        answer.given()
