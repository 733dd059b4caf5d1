"""Files appear together or not at all, and one run holds an output directory."""

import contextlib
import errno
import hashlib
import os
import subprocess
import sys

import pytest

from hyper_py.diagnostics import ConfigurationError
from hyper_py.writing.layout import Layout
from hyper_py.writing.staging import Stage, locked, remove_stale, write_text

FILES = {"a/one.txt": b"1", "b/two.ecsv": b"22"}


def test_a_stage_shows_all_or_nothing(tmp_path):
    with Stage(tmp_path) as stage:
        stage.text("a/one.txt", "1")
        stage.text("b/two.ecsv", "22")
        digests = {name: hashlib.sha256(text).hexdigest() for name, text in FILES.items()}
        assert stage.checksums() == digests
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


def test_files_are_on_the_disk_before_they_have_their_names(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (calls.append("fsync"), fsync(handle)))
    monkeypatch.setattr(os, "replace", lambda *paths: (calls.append("rename"), replace(*paths)))
    with Stage(tmp_path) as stage:
        for name in FILES:
            stage.text(name, "text")
    assert calls == ["fsync"] * 2 + ["rename"] * 2 + ["fsync"] * 2  # the two directories last


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named_by_the_file_that_was_written(tmp_path, code):
    def write():
        with Stage(tmp_path) as stage:
            stage.text("a/one.txt", "1")
            stage.path("b/two.ecsv")
            raise OSError(code, os.strerror(code))  # as a write() says it

    with pytest.raises(OSError, match=r"two\.ecsv") as raised:
        write()
    assert raised.value.filename == str(tmp_path / "b/two.ecsv")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_names_of_any_length_can_be_staged(tmp_path):
    write_text(tmp_path, f"{'x' * 250}.txt", "1")
    assert len([path for path in tmp_path.iterdir() if path.is_file()]) == 1


def test_a_linked_state_directory_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/.hyper_py").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError, match="a link"), locked(Layout(root=tmp_path / "out")):
        pass
    assert not list((tmp_path / "elsewhere").iterdir())


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
