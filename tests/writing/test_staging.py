"""Files appear together or not at all, and one run holds an output directory."""

import contextlib
import subprocess
import sys

from hyper_py.writing.layout import Layout
from hyper_py.writing.staging import Stage, locked, remove_stale, write_text


def test_a_stage_shows_all_or_nothing(tmp_path):
    with Stage(tmp_path) as stage:
        stage.text("a/one.txt", "1")
        stage.text("b/two.ecsv", "22")
        assert stage.sizes() == {"a/one.txt": 1, "b/two.ecsv": 2}
        assert not (tmp_path / "a/one.txt").exists()
        assert stage.path("b/two.ecsv").suffix == ".ecsv"
        stage.text("b/two.ecsv", "22")
    assert sorted(p.name for p in tmp_path.rglob("*.*")) == ["one.txt", "two.ecsv"]


def test_a_stage_that_fails_leaves_what_was_there(tmp_path):
    write_text(tmp_path, "a/one.txt", "1")
    stage = Stage(tmp_path)
    with contextlib.suppress(RuntimeError), stage:
        stage.text("a/one.txt", "new")
        stage.text("a/three.txt", "3")
        raise RuntimeError
    assert (tmp_path / "a/one.txt").read_text() == "1"
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["one.txt"]


def test_stale_temporaries_are_removed_and_nothing_else(tmp_path):
    stage = Stage(tmp_path)
    stage.text("params/m.txt", "half")
    (tmp_path / "params/.keep").write_text("")
    (tmp_path / "params/m.txt").write_text("whole")
    assert remove_stale([tmp_path / "params", tmp_path / "missing"]) == 1
    assert sorted(p.name for p in (tmp_path / "params").iterdir()) == [".keep", "m.txt"]


def test_two_runs_cannot_share_an_output_directory(tmp_path):
    layout = Layout(root=tmp_path)
    code = (
        "import sys, pathlib\n"
        "from hyper_py.writing.layout import Layout\nfrom hyper_py.writing.staging import locked\n"
        "layout = Layout(root=pathlib.Path(sys.argv[1]))\n"
        "with locked(layout) as held: print(held)"
    )

    def other():
        command = [sys.executable, "-c", code, str(tmp_path)]
        environment = {"PYTHONPATH": ":".join(sys.path), "OPENBLAS_NUM_THREADS": "1"}
        return subprocess.run(
            command, capture_output=True, text=True, check=True, env=environment
        ).stdout.strip()

    with locked(layout) as held:
        assert held
        assert other() == "False"
    assert other() == "True"
