"""Runs that end at any step: what is complete stays, the rest is gone, the manifest says how it ended."""

import json

import pytest

from helpers.attacks import SCRIPT, do, results, start, write_maps

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
    from hyper_py.running import runner

    maps = write_maps(tmp_path / "maps", TEXTS)
    monkeypatch.setattr(runner._Run, "merge", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        do(tmp_path / "out", maps)
    told = manifest(tmp_path / "out")
    assert told["status"] == "failed"
    assert told["reason"] == "unexpected ZeroDivisionError: division by zero; 2 of 3 maps are complete"
    assert [one["status"] for one in told["maps"]] == ["done", "failed", "done"]
    assert "2 of 3 maps are complete" in (tmp_path / "out/logs/hyper_py.log").read_text()
