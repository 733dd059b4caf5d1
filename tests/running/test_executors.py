"""The three executors give the same outcomes, and survive what their tasks do to them."""

import sys
import time
from contextlib import closing
from functools import partial
from types import SimpleNamespace

import pytest

from helpers.executor_tasks import not_picklable, square, told_square
from hyper_py.diagnostics import ConfigurationError
from hyper_py.running import dask_cluster
from hyper_py.running.dask_cluster import execute_dask
from hyper_py.running.executors import execute_serial, workers_of_a_map
from hyper_py.running.worker_processes import execute_processes


def collect(outcomes):
    return {one.index: (one.value, one.error, one.attempts) for one in outcomes}


def ignore(index, attempt):
    pass


@pytest.mark.parametrize("n_workers", [1, 2])
def test_processes_give_what_serial_gives(n_workers):
    numbers = [3, 1, 13, 4, 15, 9]
    expected = collect(execute_serial(square, numbers, on_start=ignore))
    assert expected[0] == (9, "", 1)
    assert expected[2] == (None, "ValueError: unlucky number", 1)
    started = []
    outcomes = execute_processes(
        square, iter(numbers), n_workers=n_workers, on_start=lambda *args: started.append(args)
    )
    assert collect(outcomes) == expected
    assert sorted(started) == [(i, 1) for i in range(6)]


def test_a_worker_that_dies_costs_its_task_one_retry_and_no_other_task_anything():
    started = []
    outcomes = execute_processes(
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

    with closing(execute_processes(square, tasks(), n_workers=2, on_start=ignore)) as outcomes:
        next(outcomes)
        assert len(taken) <= 4


def test_no_tasks_and_more_workers_than_tasks():
    assert collect(execute_processes(square, [], n_workers=3, on_start=ignore)) == {}
    assert collect(execute_processes(square, [2], n_workers=3, on_start=ignore)) == {0: (4, "", 1)}


def test_a_result_that_cannot_be_sent_is_an_error_of_its_task():
    outcomes = collect(execute_processes(not_picklable, [1], n_workers=1, on_start=ignore))
    assert outcomes[0][1].startswith("the result cannot be sent back: ")


def test_workers_are_gone_when_the_consumer_stops():
    with closing(execute_processes(time.sleep, [0.0, 60.0], n_workers=2, on_start=ignore)) as outcomes:
        next(outcomes)
        begin = time.perf_counter()
    assert time.perf_counter() - begin < 5.0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_dask_gives_what_serial_gives():
    pytest.importorskip("distributed")
    numbers = [3, 1, 13, 4, -1, 9]
    outcomes = collect(execute_dask(square, numbers, n_workers=2, on_start=ignore))
    expected = collect(execute_serial(square, [3, 1, 13, 4, 0, 9], on_start=ignore))
    expected[4] = (None, "its worker died repeatedly (out of memory?)", 2)
    # Tasks that were on the worker when it died have a second attempt.
    assert {k: v[:2] for k, v in outcomes.items()} == {k: v[:2] for k, v in expected.items()}
    assert outcomes[4][2] == 2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_dask_loses_no_task_that_shared_its_worker_with_one_that_kills():
    pytest.importorskip("distributed")
    outcomes = collect(execute_dask(square, [-1, 2, -1, 3, 4], n_workers=1, on_start=ignore))
    assert {k: v[0] for k, v in outcomes.items()} == {0: None, 1: 4, 2: None, 3: 9, 4: 16}
    assert {k: v[2] for k, v in outcomes.items() if v[0] is None} == {0: 2, 2: 2}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_dask_without_scheduler_or_package_is_one_clear_line(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(dask_cluster, "DASK_TIMEOUT", "2s")
    with pytest.raises(ConfigurationError, match=r"no scheduler answers at 'tcp://127.0.0.1:9'"):
        list(execute_dask(square, [1], n_workers=1, scheduler="tcp://127.0.0.1:9", on_start=ignore))
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'hyper-py\[dask\]'"):
        list(execute_dask(square, [1], n_workers=1, on_start=ignore))


@pytest.mark.parametrize("execute", [execute_serial, partial(execute_processes, n_workers=2)])
def test_stages_of_tasks_are_told_with_their_index(execute):
    told = []
    outcomes = collect(
        execute(told_square, [2, 3], on_start=ignore, on_told=lambda *stage: told.append(stage))
    )
    assert outcomes == collect(execute(told_square, [2, 3], on_start=ignore))
    for index, number in ((0, 2), (1, 3)):
        mine = [stage for k, *stage in told if k == index]
        assert mine[:2] == [["noise", 0, 0], ["fits", 0, 1000 * number]]
        assert mine[-1] == ["products", 0, 0]
        counted = [done for stage, done, _ in mine if stage == "fits"]
        assert counted == sorted(counted)


def test_a_worker_tells_of_a_stage_ten_times_a_second_at_most():
    told = []
    list(
        execute_processes(
            told_square, [30], n_workers=1, on_start=ignore, on_told=lambda *stage: told.append(stage)
        )
    )
    assert len(told) < 30


@pytest.mark.parametrize(
    ("control", "n_maps", "expected"),
    [
        ({"n_cores": 8}, 1, 8),
        ({"n_cores": 8}, 3, 2),
        ({"n_cores": 2}, 3, 1),
        ({"n_cores": 2}, 0, 1),
        ({"n_cores": 8, "parallel_maps": False}, 1, 1),
        ({"n_cores": 8, "executor": "serial"}, 1, 1),
        ({"n_cores": 8, "executor": "dask"}, 1, 1),
    ],
)
def test_fewer_maps_than_processes_have_several_each(control, n_maps, expected):
    chosen = SimpleNamespace(**{"parallel_maps": True, "executor": "processes", **control})
    assert workers_of_a_map(chosen, n_maps) == expected
