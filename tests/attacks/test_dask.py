"""A cluster that is lost, and Ctrl-C: one line each, the manifest true, what is complete kept."""

import json

import pytest

from helpers.attacks import SCRIPT, results, start, write_maps
from helpers.dask_clusters import dask_cluster
from helpers.runner_tasks import make_config, measure
from hyper_py.diagnostics import HyperPyError
from hyper_py.running import dask_cluster as module
from hyper_py.running import runner

pytestmark = [pytest.mark.attacks, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
pytest.importorskip("distributed")

TEXTS = {"a": "sources 1", **dict.fromkeys("bcde", "sleep 3600")}


@pytest.mark.parametrize(
    ("lost", "message"), [("scheduler", "does not answer any more"), ("workers", "has no worker")]
)
def test_a_lost_cluster_ends_in_one_line(tmp_path, monkeypatch, lost, message):
    maps = write_maps(tmp_path / "maps", TEXTS)
    with dask_cluster(tmp_path) as (address, processes):

        def on_event(event):
            if isinstance(event, runner.MapFinished):
                monkeypatch.setattr(module, "LOST_SECONDS", 1.0)
                for process in processes[:1] if lost == "scheduler" else processes[1:]:
                    process.kill()

        config = make_config(tmp_path / "out", control={"executor": "dask", "dask_scheduler": address})
        with pytest.raises(HyperPyError, match=message) as raised:
            runner.run(config, maps, measure=measure, on_event=on_event)
    assert "\n" not in str(raised.value)
    told = json.loads((tmp_path / "out/run.json").read_text())
    assert told["status"] == "failed"
    assert "1 of 5 maps are complete" in told["reason"]
    assert [one["status"] for one in told["maps"]] == ["done", *["pending"] * 4]


def test_ctrl_c_on_a_local_cluster_is_an_interruption(tmp_path):
    maps = write_maps(tmp_path / "maps", {"a": "sources 1", "b": "sources 2"})
    control = {"executor": "dask", "n_cores": 1}
    watch = "on_event=lambda event: type(event).__name__ == 'MapStarted' and stop(signal.SIGINT))"
    script = SCRIPT.replace("measure=measure)", f"measure=measure, {watch}")
    process = start(tmp_path / "out", maps, script=script, control=control)
    assert "Traceback" not in process.stderr
    assert json.loads((tmp_path / "out/run.json").read_text())["status"] == "interrupted"
    process = start(tmp_path / "out", maps, resume=True, control={"executor": "serial"})
    assert process.stdout.strip() == "0", process.stderr
    assert "params/params_ALL.csv" in results(tmp_path / "out")
