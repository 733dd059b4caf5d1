"""Runs that end at any step: what is complete stays, the rest is gone, the manifest says how it ended."""

import json
import os
import subprocess
import sys
from contextlib import nullcontext

import pytest

from helpers.attacks import SCRIPT, TESTS, do, results, start, write_maps
from helpers.runner_tasks import make_config, measure
from hyper_py.running import runner
from hyper_py.writing.layout import Layout
from hyper_py.writing.manifests import KILLED, killed_at, read_manifest
from hyper_py.writing.staging import locked

pytestmark = [pytest.mark.attacks, pytest.mark.filterwarnings("ignore")]

TEXTS = {"a": "sources 1", "b": "corrupt", "c": "sources 3"}
LAST_STEP = 40
"""Files that a run of these maps synchronises, renames and removes: some more than that."""


def manifest(root):
    return json.loads((root / "run.json").read_text())


def test_sigkill_at_any_step_and_resume_give_the_same_files(tmp_path, rng):
    maps = write_maps(tmp_path / "maps", TEXTS)
    do(tmp_path / "fresh", maps)
    for step in rng.integers(1, LAST_STEP, 3):
        process = start(tmp_path / "out", maps, what="die", step=int(step), resume=True)
        assert process.returncode in (0, -9), process.stderr
    assert do(tmp_path / "out", maps, resume=True).exit_code == 1
    assert results(tmp_path / "out") == results(tmp_path / "fresh")
    assert manifest(tmp_path / "out")["status"] == "failures"


def test_a_killed_run_is_known_as_one(tmp_path, rng):
    """`run.json` says `running` still: who holds the folder knows better."""
    maps = write_maps(tmp_path / "maps", TEXTS)
    root = tmp_path / "out"
    process = start(root, maps, what="die", step=int(rng.integers(14, 28)))
    assert process.returncode == -9, process.stderr
    left = manifest(root)
    assert left["status"] == "running"
    n_done = sum((root / f".hyper_py/{name}.json").exists() for name in TEXTS)
    for held in (False, True):
        with locked(Layout(root=root)) if held else nullcontext():
            known = read_manifest(root)
        assert known["status"] == ("running" if held else KILLED)
        done = [one["name"] for one in known["maps"] if one["status"] == "done"]
        assert len(done) == (0 if held else n_done)
    events = []
    runner.run(make_config(root), maps, resume=True, measure=measure, on_event=events.append)
    (begun,) = [one for one in events if isinstance(one, runner.RunStarted)]
    assert (begun.killed, begun.n_resumed) == (left["started"], n_done)
    assert f"the run begun at {left['started']} was killed" in (root / "logs/hyper_py.log").read_text()
    assert read_manifest(root)["status"] == "failures"
    assert killed_at(root) == ""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_at_any_step_is_said_in_the_manifest(tmp_path, rng, name):
    maps = write_maps(tmp_path / "maps", TEXTS)
    do(tmp_path / "fresh", maps)
    process = start(tmp_path / "out", maps, what=name, step=int(rng.integers(12, 25)))
    assert process.returncode == 0, process.stderr
    told = manifest(tmp_path / "out")
    assert told["status"] == "interrupted"
    assert told["reason"] == f"stopped by {'Ctrl-C' if name == 'SIGINT' else name}"
    assert not [name for name in results(tmp_path / "out") if "hyper-tmp" in name]
    do(tmp_path / "out", maps, resume=True)
    assert results(tmp_path / "out") == results(tmp_path / "fresh")


def test_a_full_disk_names_the_file_and_the_manifest_is_true(tmp_path, rng):
    maps = write_maps(tmp_path / "maps", TEXTS)
    do(tmp_path / "fresh", maps)
    process = start(tmp_path / "out", maps, what="fill", step=int(rng.integers(3, 25)))
    told = manifest(tmp_path / "out")
    assert told["status"] == "failed", process.stderr
    file, what = told["reason"].split(": ")
    assert file.startswith(str(tmp_path / "out")), "the file is named"
    assert what.startswith("No space left on device; ")
    assert what.endswith(" of 3 maps are complete")
    assert process.stderr.strip().splitlines()[-1].endswith(f"'{file}'")
    do(tmp_path / "out", maps, resume=True)
    assert results(tmp_path / "out") == results(tmp_path / "fresh")


def test_a_script_without_a_main_guard_is_told_so(tmp_path):
    maps = write_maps(tmp_path / "maps", TEXTS)
    guard = 'if __name__ == "__main__":'
    control = {"executor": "processes", "n_cores": 2}
    process = start(tmp_path / "out", maps, script=SCRIPT.replace(guard, "if True:"), control=control)
    assert process.returncode != 0
    told = manifest(tmp_path / "out")
    assert told["status"] == "failed"
    assert "__main__" in told["reason"]


def test_the_manifest_of_a_run_that_fails_has_what_was_done(tmp_path, monkeypatch):
    maps = write_maps(tmp_path / "maps", TEXTS)
    monkeypatch.setattr(runner._Run, "merge", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        do(tmp_path / "out", maps)
    told = manifest(tmp_path / "out")
    assert told["status"] == "failed"
    assert told["reason"] == "unexpected ZeroDivisionError: division by zero; 2 of 3 maps are complete"
    assert [one["status"] for one in told["maps"]] == ["done", "failed", "done"]
    assert "2 of 3 maps are complete" in (tmp_path / "out/logs/hyper_py.log").read_text()


WORKERS = """
import signal, sys, time
from helpers.executor_tasks import Interrupting
from hyper_py.running.manifest import stopped_like_ctrl_c
from hyper_py.running.worker_processes import execute_processes

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    number = getattr(signal, sys.argv[1])
    try:
        with stopped_like_ctrl_c():
            print(len([*execute_processes(Interrupting(number), [1, 2], n_workers=2, on_start=print)]))
    except KeyboardInterrupt:
        print("stopped")
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_while_workers_start_stops_the_run_without_their_complaints(tmp_path, name):
    """What they were being sent was cut off, and they themselves were interrupted before they were ready."""
    (tmp_path / "script.py").write_text(WORKERS)
    environment = {**os.environ, "PYTHONPATH": ":".join([str(TESTS), *sys.path])}
    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py"), name],
        env=environment, capture_output=True, text=True, timeout=60, start_new_session=True, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr, done.returncode) == ("stopped\n", "", 0)
