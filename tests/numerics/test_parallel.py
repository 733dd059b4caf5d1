"""Parts of a map by several processes: same results, in order, whatever becomes of the workers."""

import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from hyper_py.diagnostics import HyperPyWarning, InputError
from hyper_py.numerics import parallel
from hyper_py.numerics.parallel import in_order, in_parts, n_workers, workers
from hyper_py.numerics.sending import MOST_BYTES
from hyper_py.stages import tell, told_to


@pytest.fixture(autouse=True)
def _always_parallel(monkeypatch):
    monkeypatch.setattr(parallel, "LEAST_SECONDS", 0.0)


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are copied on Linux only")


def children() -> set[int]:
    """Return the processes that this one has, also those that have ended and were not waited for."""
    lists = Path("/proc/self/task").glob("*/children")
    return {int(pid) for one in lists for pid in one.read_text().split()}


def test_results_come_in_order_from_other_processes():
    data = np.arange(1000.0)

    def of_item(k):
        time.sleep(0.02 * (k % 3))
        return k, data[k:].sum(), os.getpid()

    with workers(3):
        found = list(in_order(of_item, range(12)))
    assert [(k, total) for k, total, _ in found] == [(k, data[k:].sum()) for k in range(12)]
    pids = {pid for _, _, pid in found}
    assert os.getpid() not in pids
    assert len(pids) == 3
    assert n_workers() == 1


@pytest.mark.parametrize(("n", "items"), [(1, 5), (4, 1), (4, 0)])
def test_one_worker_and_one_item_are_done_here(n, items):
    with workers(n):
        found = list(in_order(lambda _: os.getpid(), range(items)))
    assert found == [os.getpid()] * items


def test_very_many_items_come_in_order():
    with workers(2):
        found = list(in_order(lambda k: (k, os.getpid()), range(40_000)))
    assert [k for k, _ in found] == list(range(40_000))
    assert os.getpid() not in {pid for _, pid in found}


def test_workers_have_no_workers_and_tell_nobody():
    told = []

    def of_item(_):
        tell("fits", 1, 2)
        return n_workers(), [*in_order(lambda _: os.getpid(), [1, 2])], os.getpid()

    with workers(2), told_to(lambda *what: told.append(what)):
        for n, pids, own in in_order(of_item, range(4)):
            assert n == 1
            assert pids == [own, own]
    assert told == []


def test_large_results_of_many_items_pass():
    with workers(2):
        for k, part in enumerate(in_order(lambda k: np.full(300_000, k), range(20))):
            assert (part == k).all()


def test_the_error_of_the_first_item_that_fails_is_raised_and_no_worker_stays():
    def of_item(k):
        if k in (3, 5):
            raise InputError(f"item {k}")
        return k

    before = children()
    with workers(2), pytest.raises(InputError, match="item 3"):
        list(in_order(of_item, range(8)))
    assert children() <= before


def test_results_that_cannot_be_sent_are_an_error():
    with workers(2), pytest.raises(TypeError, match="cannot be sent"):
        list(in_order(lambda _: threading.Lock(), range(3)))


LARGE = np.zeros(MOST_BYTES)
"""Functions with it are not sent to copies that are kept: these cost nothing."""


def test_copies_are_made_where_what_is_left_takes_longer_than_they_cost(monkeypatch):
    monkeypatch.setattr(parallel, "LEAST_SECONDS", 0.2)
    own, pids = os.getpid(), []
    for seconds in (0.0, 0.1):

        def of_item(k, seconds=seconds, _=LARGE):
            time.sleep(seconds)
            return os.getpid()

        with workers(2):
            pids.append(list(in_order(of_item, range(9))))
    assert set(pids[0]) == {own}
    assert pids[1][0] == own
    assert own not in pids[1][1:]
    assert len(set(pids[1])) == 3


def test_workers_begin_where_it_is_known_what_items_take(monkeypatch):
    monkeypatch.setattr(parallel, "LEAST_SECONDS", 0.2)
    own, pids = os.getpid(), []

    def of_item(_, __=LARGE):
        time.sleep(0.1)
        return os.getpid()

    with workers(2):
        pids += [list(in_order(of_item, range(6))) for _ in range(2)]
    assert pids[0][0] == own
    assert own not in pids[1]
    with workers(2):
        assert next(in_order(of_item, range(6))) == own


@pytest.mark.parametrize("n_items", [0, 1, 7, 9])
def test_items_in_parts_come_as_alone_and_the_items_of_one_from_one_process(n_items):
    with workers(3):
        found = list(in_parts(lambda k: (k, os.getpid()), range(n_items), n=3))
    assert [k for k, _ in found] == list(range(n_items))
    for first in range(0, n_items, 3):
        assert len({pid for _, pid in found[first : first + 3]}) == 1


def test_warnings_are_given_here_in_order():
    def of_item(k):
        warnings.warn(f"warning {k}", HyperPyWarning, stacklevel=1)

    with workers(2), pytest.warns(HyperPyWarning) as caught:
        list(in_order(of_item, range(5)))
    assert [str(one.message) for one in caught] == [f"warning {k}" for k in range(5)]


def test_what_a_worker_that_dies_had_to_do_is_done_here():
    own = os.getpid()

    def of_item(k):
        if k == 2 and os.getpid() != own:
            os.kill(os.getpid(), signal.SIGKILL)
        return 2 * k

    with workers(2):
        assert list(in_order(of_item, range(9))) == [2 * k for k in range(9)]


def test_who_stops_listening_ends_the_workers():
    before = children()
    with workers(2):
        results = in_order(lambda k: (time.sleep(0.01), k)[1], range(1000))
        assert next(results) == 0
        assert len(children() - before) == 2
        results.close()
    assert children() <= before


SCRIPT = """
import os, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from hyper_py.numerics import parallel
from hyper_py.numerics.parallel import in_order, workers
parallel.LEAST_SECONDS = 0.0
with workers(2):
    def of_item(k):
        os.write(1, b"%d\\n" % os.getpid())
        time.sleep(60)
    try:
        list(in_order(of_item, range(4)))
    except KeyboardInterrupt:
        sys.exit(7)
"""


def gone(pid, patience=10.0):
    end = time.monotonic() + patience
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_their_parent(number):
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
    )  # fmt: skip
    pids = [int(process.stdout.readline()) for _ in range(2)]
    # Ctrl-C reaches the whole group.
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
    assert process.wait(20) == (7 if number == signal.SIGINT else -signal.SIGKILL)
    assert all(gone(pid) for pid in pids)
    assert "Traceback" not in process.stderr.read()
    process.stdout.close()
    process.stderr.close()
