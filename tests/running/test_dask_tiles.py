"""Tiles of one map on dask workers: the bytes of one process, whatever becomes of the workers."""

import os
import sys

import numpy as np
import pytest

from helpers.dask_clusters import dask_cluster
from helpers.parts_of_maps import dying_once, reciprocal
from helpers.runner_tasks import make_config
from hyper_py.diagnostics import ConfigurationError
from hyper_py.numerics import parallel
from hyper_py.numerics.journal import Journal
from hyper_py.numerics.parallel import done_by, in_order, is_remote
from hyper_py.running import dask_tiles, map_task, runner
from hyper_py.running.dask_tiles import dask_team
from hyper_py.writing.staging import remove_stale

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
pytest.importorskip("distributed")


@pytest.fixture(autouse=True)
def _always_parallel(monkeypatch):
    monkeypatch.setattr(parallel, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(map_task, "_LEAST_BYTES", 0)


def test_results_come_in_order_and_those_of_dead_workers_too(tmp_path):
    own, data = os.getpid(), np.arange(30.0)
    marker = tmp_path / "died"
    with dask_team(2, None, directory=tmp_path) as team, done_by(team):
        assert is_remote()
        assert team.n_threads == 2
        found = list(in_order(dying_once(data, marker), range(30)))
        assert marker.exists()
        with pytest.raises(ZeroDivisionError):
            list(in_order(reciprocal, range(30)))
    assert [(k, total) for k, total, _ in found] == [(k, data[k:].sum()) for k in range(30)]
    assert own not in {pid for _, _, pid in found}
    assert [one.name for one in tmp_path.iterdir()] == ["died"]


def test_what_a_run_that_is_killed_leaves_of_its_functions_is_removed_by_the_next(tmp_path):
    with dask_team(2, None, directory=tmp_path) as team, done_by(team):
        results = in_order(abs, range(8))
        assert [next(results) for _ in range(4)] == [0, 1, 2, 3]
        assert len([*tmp_path.iterdir()]) == 1
        assert remove_stale([tmp_path]) == 1
        results.close()


def test_workers_of_another_version_or_another_disk_are_refused(tmp_path, monkeypatch):
    with dask_cluster(tmp_path, n_workers=1) as (address, _):
        with pytest.raises(ConfigurationError, match=r"does not see .*/nowhere"):
            dask_team(1, address, directory=tmp_path / "nowhere").__enter__()
        monkeypatch.setattr(dask_tiles, "program_hash", lambda: "another")
        with pytest.raises(ConfigurationError, match="another version"):
            dask_team(1, address, directory=tmp_path).__enter__()


def table_of(path, root, *, resume=False, sections=None, **control):
    """Run a map; return its table."""
    config = make_config(
        root, control={"tile_size_pix": 170, "max_memory": 0.01, **control}, **(sections or {})
    )
    result = runner.run(config, [path], resume=resume)
    assert result.exit_code == 0, result.maps[0].reason
    return (root / "params" / "params_sky.ecsv").read_bytes()


def test_any_executor_and_any_number_of_workers_give_the_same_bytes(path, tmp_path):
    expected = table_of(path, tmp_path / "one", executor="serial")
    assert table_of(path, tmp_path / "local", executor="dask", n_cores=2) == expected
    with dask_cluster(tmp_path, n_workers=3) as (address, _):
        run = table_of(path, tmp_path / "cluster", executor="dask", n_cores=1, dask_scheduler=address)
        assert run == expected
    assert table_of(path, tmp_path / "copies", n_cores=2) == expected


def test_so_do_they_with_polynomial_backgrounds(path, tmp_path):
    sections = {
        "detection": {"method": "highpass"}, "fit_options": {"noise_model": "white"},
        "background": {"method": "polynomial"},
    }  # fmt: skip
    expected = table_of(path, tmp_path / "one", executor="serial", sections=sections)
    assert table_of(path, tmp_path / "local", executor="dask", n_cores=2, sections=sections) == expected


def test_a_run_that_lost_its_cluster_goes_on_without_one(path, tmp_path, monkeypatch):
    """What was done on the cluster is not done again."""
    expected = table_of(path, tmp_path / "one", executor="serial")
    n, put = 0, Journal.put

    def lost(self, *record):
        nonlocal n
        n += 1
        if n == 150:
            team.watch.lost()
        put(self, *record)

    with dask_team(2, None, directory=tmp_path) as team, monkeypatch.context() as patch:
        patch.setattr(Journal, "put", lost)
        config = make_config(tmp_path / "two", control={"tile_size_pix": 170, "max_memory": 0.01})
        with done_by(team):
            result = runner.run(config, [path])
    assert "the dask scheduler of the local cluster" in result.maps[0].reason
    n = 0
    monkeypatch.setattr(Journal, "put", lambda self, *record: (put(self, *record), counted())[0])

    def counted():
        nonlocal n
        n += 1

    assert table_of(path, tmp_path / "two", resume=True, executor="serial") == expected
    assert 100 < n < 250  # of some 350 in all


def test_workers_of_jobqueue_give_the_same_bytes(path, tmp_path, monkeypatch):
    """The local stand-in of dask-jobqueue starts workers as its SLURMCluster does, but from a shell."""
    jobqueue = pytest.importorskip("dask_jobqueue.local")
    expected = table_of(path, tmp_path / "one", executor="serial")
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
    with jobqueue.LocalCluster(
        cores=1, processes=1, memory="2GB", log_directory=str(tmp_path), local_directory=str(tmp_path),
        scheduler_options={"dashboard_address": None, "host": "127.0.0.1"},
    ) as cluster:  # fmt: skip
        cluster.scale(jobs=2)
        cluster.wait_for_workers(2)
        address = cluster.scheduler_address
        assert table_of(path, tmp_path / "jobs", executor="dask", dask_scheduler=address) == expected
