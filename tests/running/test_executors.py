"""The three executors give the same outcomes, and survive what their tasks do to them."""

import gc
import os
import platform
import subprocess
import sys
import time
from contextlib import closing

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from helpers.executor_tasks import not_picklable, square
from hyper_py.diagnostics import ConfigurationError
from hyper_py.running import executors


def collect(outcomes):
    return {one.index: (one.value, one.error, one.attempts) for one in outcomes}


def ignore(index, attempt):
    pass


@pytest.mark.parametrize("n_workers", [1, 2])
def test_processes_give_what_serial_gives(n_workers):
    numbers = [3, 1, 13, 4, 15, 9]
    expected = collect(executors.execute_serial(square, numbers, on_start=ignore))
    assert expected[0] == (9, "", 1)
    assert expected[2] == (None, "ValueError: unlucky number", 1)
    started = []
    outcomes = executors.execute_processes(
        square, iter(numbers), n_workers=n_workers, on_start=lambda *args: started.append(args)
    )
    assert collect(outcomes) == expected
    assert sorted(started) == [(i, 1) for i in range(6)]


def test_a_worker_that_dies_costs_its_task_one_retry_and_no_other_task_anything():
    started = []
    outcomes = executors.execute_processes(
        square, [1, -1, 2, 3], n_workers=2, on_start=lambda *args: started.append(args)
    )
    outcomes = collect(outcomes)
    assert [outcomes[i] for i in (0, 2, 3)] == [(1, "", 1), (4, "", 1), (9, "", 1)]
    assert outcomes[1] == (None, "its worker process died 2 times (killed by SIGKILL; out of memory?)", 2)
    assert sorted(started) == [(0, 1), (1, 1), (1, 2), (2, 1), (3, 1)]


def test_tasks_are_taken_as_workers_become_free():
    taken = []

    def tasks():
        for number in range(8):
            taken.append(number)
            yield number

    with closing(executors.execute_processes(square, tasks(), n_workers=2, on_start=ignore)) as outcomes:
        next(outcomes)
        assert len(taken) <= 4


def test_no_tasks_and_more_workers_than_tasks():
    assert collect(executors.execute_processes(square, [], n_workers=3, on_start=ignore)) == {}
    assert collect(executors.execute_processes(square, [2], n_workers=3, on_start=ignore)) == {0: (4, "", 1)}


def test_a_result_that_cannot_be_sent_is_an_error_of_its_task():
    outcomes = collect(executors.execute_processes(not_picklable, [1], n_workers=1, on_start=ignore))
    assert outcomes[0][1].startswith("the result cannot be sent back: ")


def test_workers_are_gone_when_the_consumer_stops():
    with closing(
        executors.execute_processes(time.sleep, [0.0, 60.0], n_workers=2, on_start=ignore)
    ) as outcomes:
        next(outcomes)
        begin = time.perf_counter()
    assert time.perf_counter() - begin < 5.0


def test_environment_is_restored(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with executors.pinned_blas():
        assert os.environ["OMP_NUM_THREADS"] == os.environ["MKL_NUM_THREADS"] == "1"
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


def test_blas_of_this_process_is_left_alone_once_numpy_is_loaded(monkeypatch):
    import numpy

    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    executors.pin_own_blas()
    assert os.environ["OMP_NUM_THREADS"] == "7"
    monkeypatch.delitem(sys.modules, "numpy")
    executors.pin_own_blas()
    assert os.environ["OMP_NUM_THREADS"] == "1"
    assert numpy is not None


def blas_threads():
    return {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}


def test_one_blas_thread_where_numpy_is_loaded_already():
    pytest.importorskip("scipy.linalg")  # the libraries of both are to be there before
    with threadpool_limits(2, user_api="blas"):
        assert blas_threads() == {2}
        with executors.one_blas_thread():
            assert blas_threads() == {1}
        assert blas_threads() == {2}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_dask_gives_what_serial_gives():
    pytest.importorskip("distributed")
    numbers = [3, 1, 13, 4, -1, 9]
    outcomes = collect(executors.execute_dask(square, numbers, n_workers=2, on_start=ignore))
    expected = collect(executors.execute_serial(square, [3, 1, 13, 4, 0, 9], on_start=ignore))
    expected[4] = (None, "its worker died repeatedly (out of memory?)", 2)
    # A task that was on the worker when it died has a second attempt.
    assert {k: v[:2] for k, v in outcomes.items()} == {k: v[:2] for k, v in expected.items()}
    assert outcomes[4][2] == 2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_dask_without_scheduler_or_package_is_one_clear_line(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(executors, "_DASK_TIMEOUT", "2s")
    with pytest.raises(ConfigurationError, match=r"no scheduler answers at 'tcp://127.0.0.1:9'"):
        list(executors.execute_dask(square, [1], n_workers=1, scheduler="tcp://127.0.0.1:9", on_start=ignore))
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'hyper-py\[dask\]'"):
        list(executors.execute_dask(square, [1], n_workers=1, on_start=ignore))


@pytest.mark.parametrize("was_on", [True, False])
def test_garbage_is_looked_for_again_after_loading(monkeypatch, was_on):
    monkeypatch.setattr(gc, "freeze", lambda: None)
    (gc.enable if was_on else gc.disable)()
    try:
        with executors.without_collections():
            assert not gc.isenabled()
        assert gc.isenabled() == was_on
    finally:
        gc.enable()


PAGES = """
import resource, sys
import numpy as np
from hyper_py.running.executors import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
for round in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        several = [np.ones(500_000) for _ in range(5)]
        del several
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc fetches it again")
def test_freed_memory_is_kept():
    returned, kept = (
        int(subprocess.run([sys.executable, "-c", PAGES, how], check=True, capture_output=True).stdout)
        for how in ("returned", "kept")
    )
    assert kept < 0.1 * returned
