"""The manifest, the summary and the log of a run, and how signals end it."""

import csv
import json
import os
import signal
from importlib import metadata

import pytest

from helpers.runner_tasks import make_config
from hyper_py.diagnostics import InputError
from hyper_py.running import manifest as module
from hyper_py.running.manifest import (
    SUMMARY,
    Ending,
    Manifest,
    ended_by,
    open_log,
    software_versions,
    stopped_like_ctrl_c,
    summary_table,
)
from hyper_py.running.tasks import MapResult
from hyper_py.writing.layout import MANIFEST, Layout

GOOD = {"rms": 1.5e-3, "unit": "mJy/beam", "seconds": 0.25, "n_sources": 7}


def result(name, tmp_path, **values):
    given = {"index": 0, "name": name, "path": tmp_path / f"{name}.fits", "status": "done", **GOOD}
    return MapResult(**{**given, **values})


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (KeyboardInterrupt(), "interrupted", "stopped by Ctrl-C"),
        (KeyboardInterrupt("SIGTERM"), "interrupted", "stopped by SIGTERM"),
        (InputError("a.fits: no\nWCS"), "failed", "a.fits: no WCS"),
        (OSError(28, "No space left on device", "out"), "failed", "out: No space left on device"),
        (ZeroDivisionError("a / b"), "failed", "unexpected ZeroDivisionError: a / b"),
    ],
)
def test_how_a_run_ended(error, status, reason):
    assert ended_by(error) == Ending(status=status, reason=reason)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_signals_end_a_run_as_ctrl_c_does_and_only_a_run(name):
    number = getattr(signal, name)
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt, match=name), stopped_like_ctrl_c():
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


def test_a_signal_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopped_like_ctrl_c():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_manifest_says_what_was_done_and_with_what(tmp_path):
    config = make_config(tmp_path / "out", detection={"sigma_thres": 6.0})
    layout = Layout.from_config(config)
    manifest = Manifest(layout, config)
    maps = [result("a", tmp_path), result("b", tmp_path, status="failed", reason="b.fits: no beam")]
    manifest.write(Ending(status="running"), [])
    written = json.loads((layout.root / MANIFEST).read_text())
    assert (written["status"], written["finished"], written["maps"]) == ("running", None, [])
    assert not (layout.root / layout.logs / SUMMARY).exists()
    manifest.write(Ending(status="failures", seconds=1.5), maps)
    written = json.loads((layout.root / MANIFEST).read_text())
    assert (written["status"], written["seconds"]) == ("failures", 1.5)
    assert written["configuration"]["detection"]["sigma_thres"] == 6.0
    assert [(one["name"], one["status"]) for one in written["maps"]] == [("a", "done"), ("b", "failed")]
    assert written["started"] <= written["finished"]
    assert (layout.root / layout.logs / SUMMARY).read_text() == summary_table(maps)


def test_a_full_disk_leaves_a_manifest_that_tells_the_end(tmp_path, monkeypatch):
    from hyper_py.writing import staging

    config = make_config(tmp_path / "out")
    layout = Layout.from_config(config)
    manifest = Manifest(layout, config)
    pending = [result(f"m{i}", tmp_path, status="pending") for i in range(3)]
    manifest.write(Ending(status="running"), pending)
    size = (layout.root / MANIFEST).stat().st_size

    def full(*_):
        raise OSError(28, "No space left on device", "out")

    monkeypatch.setattr(staging, "write_text", full)
    ending = Ending(status="failed", reason="full", seconds=1.0)
    with pytest.raises(OSError, match="No space left"):
        manifest.write(ending, [result("a", tmp_path)])
    written = json.loads((layout.root / MANIFEST).read_text())
    assert (written["status"], written["reason"]) == ("failed", "full")
    assert (layout.root / MANIFEST).stat().st_size < size


def test_the_summary_has_a_line_a_map(tmp_path):
    maps = [result("a,b", tmp_path), result("c", tmp_path, status="failed", reason='no "beam"\n')]
    first, second = csv.DictReader(summary_table(maps).splitlines())
    assert (first["map"], first["n_sources"], float(first["rms"]), first["unit"]) == (
        "a,b", "7", 1.5e-3, "mJy/beam"
    )  # fmt: skip
    assert (second["status"], second["rms"], second["reason"]) == ("failed", "", 'no "beam"%0A')


def test_the_log_has_a_line_an_entry_and_replaces_a_link(tmp_path):
    precious, log = tmp_path / "precious", tmp_path / "run.log"
    precious.write_text("kept")
    log.symlink_to(precious)
    with open_log(log, append=False) as one:
        one.add("first\x1b[2J")
    with open_log(log, append=True) as one:
        one.add("second")
        one.stream.close()
        one.add("lost, and no error")
    assert precious.read_text() == "kept"
    assert [line.split(" ", 2)[2] for line in log.read_text().splitlines()] == ["first%1B[2J", "second"]


def test_versions_are_those_that_are_installed():
    versions = software_versions()
    assert versions["numpy"] == metadata.version("numpy")
    assert versions["hyper-py"] == module.__version__
