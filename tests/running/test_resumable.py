"""A map in pieces whose run was killed goes on, and gives the same bytes."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from astropy.io import fits

from helpers.runner_tasks import files_below, make_config
from hyper_py.diagnostics import InputError
from hyper_py.numerics import parallel, stored
from hyper_py.numerics.journal import Journal, UnusableJournalError
from hyper_py.numerics.parallel import current_journal, in_order, recorded_in, workers
from hyper_py.options import Options
from hyper_py.pipeline.extraction import extract_sources
from hyper_py.reading.io import read_image
from hyper_py.running.resumable import forget_journal, has_journal, resumed
from hyper_py.running.tasks import MapTask
from hyper_py.writing.layout import Layout

SETTINGS = [
    "control.max_memory=0.01", "control.tile_size_pix=128", "outputs.report=false",
    "fits_output.fits_fitting=true",
]  # fmt: skip
RUN = """
import os, signal, sys
from hyper_py.numerics.journal import Journal
from hyper_py.running import map_task
from hyper_py.numerics import parallel
map_task._LEAST_BYTES, parallel.LEAST_SECONDS = 0, 0.0  # small maps have one process otherwise
write, last, n = Journal._write, int(sys.argv.pop(1)), 0
def counted(self, *record):
    global n
    write(self, *record)
    n += 1
    if n == last:
        os.kill(os.getpid(), signal.SIGKILL)
Journal._write = counted
from hyper_py.cli import main
try:
    main()
finally:
    print("records", n)
"""


def run(path, out, *, killed_after=0, jobs=1, resume=False, more=()):
    """Run the command line in a process of its own; return how many records its journal got."""
    command = [sys.executable, "-c", RUN, str(killed_after), "run", str(path), "-o", str(out), "--quiet"]
    command += ["--jobs", str(jobs), *(["--resume"] if resume else [])]
    command += [word for one in (*SETTINGS, *more) for word in ("--set", one)]
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    if killed_after:
        assert done.returncode == -signal.SIGKILL, done.stderr
        return None
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split("records")[1])


def contents(out):
    """All results, without what must differ from run to run: logs, times."""
    skipped = ("logs", ".hyper_py", "run.json")
    return {name: (out / name).read_bytes() for name in files_below(out) if not name.startswith(skipped)}


@pytest.fixture(scope="module")
def whole(path, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    n_records = run(path, out)
    assert n_records > 500
    return n_records, contents(out)


@pytest.mark.slow
@pytest.mark.parametrize(("share", "jobs"), [(0.15, (1, 2)), (0.5, (2, 1)), (0.9, (1, 1))])
def test_a_run_that_was_killed_goes_on_and_gives_the_same_bytes(path, whole, tmp_path, share, jobs):
    n_records, expected = whole
    run(path, tmp_path, killed_after=int(share * n_records), jobs=jobs[0])
    journal = tmp_path / ".hyper_py" / "sky.tiles"
    assert journal.is_dir()
    assert run(path, tmp_path, resume=True, jobs=jobs[1]) < (1.02 - share) * n_records
    assert contents(tmp_path) == expected
    assert not journal.exists()
    assert "what a run that was killed has left" in (tmp_path / "logs" / "Hyper_log_sky.log").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("version", [1, 2])
def test_so_does_a_run_with_polynomial_backgrounds(path, tmp_path, version):
    more = [f"version={version}", "detection.method=highpass", "fit_options.noise_model=white"]
    more += ["background.method=polynomial"]
    n_records = run(path, tmp_path / "whole", more=more)
    assert n_records > 50
    run(path, tmp_path / "killed", killed_after=n_records // 2, jobs=2, more=more)
    assert run(path, tmp_path / "killed", resume=True, more=more) < 0.6 * n_records
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_comes_to_its_end(path, whole, tmp_path):
    n_records, expected = whole
    for _ in range(3):
        run(path, tmp_path, killed_after=n_records // 5, resume=True)
    assert run(path, tmp_path, resume=True) < 0.45 * n_records
    assert contents(tmp_path) == expected


@pytest.mark.slow
@pytest.mark.parametrize("change", ["not resumed", "configuration", "tiles", "map"])
def test_what_is_left_is_not_used_when_something_has_changed(path, whole, tmp_path, change):
    n_records, _ = whole
    own = tmp_path / "sky.fits"
    own.write_bytes(path.read_bytes())
    run(own, tmp_path / "out", killed_after=n_records // 2)
    if change == "map":
        with fits.open(own, mode="update") as file:
            file[0].data[200, 200] += 1e-3
    more = {"configuration": ["detection.sigma_thres=6"], "tiles": ["control.tile_size_pix=200"]}.get(
        change, []
    )
    n = run(own, tmp_path / "out", resume=change != "not resumed", more=more)
    other = tmp_path / "other"
    assert run(own, other, more=more) == n
    assert contents(tmp_path / "out") == contents(other)


@pytest.mark.parametrize(
    "error", [InputError("the map is wrong"), OSError(28, "no space"), KeyboardInterrupt()]
)
def test_what_is_known_is_kept_unless_the_map_is_wrong(path, tmp_path, error):
    config = make_config(tmp_path / "out")
    task, layout = MapTask(index=0, name="sky", path=path, config=config), Layout.from_config(config)
    done = []

    def of_item(k):
        done.append(k)
        if k == 3 and error is not None:
            raise error
        return k

    def function():
        return list(in_order(of_item, range(5)))

    assert not has_journal(layout, "sky")
    with pytest.raises(type(error)):
        resumed(task, function)
    assert has_journal(layout, "sky") == (not isinstance(error, InputError))
    first, error = type(error), None
    done.clear()
    assert resumed(task, function) == [0, 1, 2, 3, 4]
    assert done == ([0, 1, 2, 3, 4] if first is InputError else [3, 4])
    forget_journal(layout, "sky")
    assert not has_journal(layout, "sky")


def test_a_journal_that_does_not_help_is_emptied(path, tmp_path):
    """A plane that is gone is needed after all: the map is done anew, not failed."""
    task = MapTask(index=0, name="sky", path=path, config=make_config(tmp_path / "out"))
    tries = []

    def function():
        tries.append(1)
        if len(tries) == 1:
            raise UnusableJournalError("gone")
        return list(in_order(lambda k: k, range(3)))

    assert resumed(task, function) == [0, 1, 2]
    assert len(tries) == 2


class Killed(BaseException):
    """Ends a run at any place."""


def in_parts_only(read):
    """Return a way to read planes that complains unless it is called in a part of the map."""

    def checked(self, *where):
        assert current_journal() is None
        return read(self, *where)

    return checked


def extracted(path, directory, monkeypatch, *, last=0, n=1):
    """Extract sources with a journal that ends with a record; return the catalogue and the records found."""
    n_written, write = 0, Journal._write

    def counted(self, work, part, text):
        nonlocal n_written
        if last and n_written == last:
            if text:  # not from where a plane is dropped: what is raised there is not heard
                self.close()
                raise Killed
            return
        write(self, work, part, text)
        n_written += bool(text)

    journal, image = Journal(directory, "map"), read_image(path, max_memory=1e6)
    monkeypatch.setattr(Journal, "_write", counted)
    monkeypatch.setattr(parallel, "LEAST_SECONDS", 0.0)
    try:
        with workers(n):
            options = Options(tile_size_pix=128)
            table = recorded_in(journal, lambda: extract_sources(image, options=options)).catalog
        return n_written, b"".join(np.asarray(getattr(c, "value", c)).tobytes() for c in table.itercols())
    except Killed:
        return n_written, b""
    finally:
        journal.close()
        monkeypatch.setattr(Journal, "_write", write)


def test_it_goes_on_from_anywhere(path, tmp_path, monkeypatch):
    """Planes are read in parts of the map only: what was read of one that is gone is in the journal."""
    for name in ("__getitem__", "at"):
        monkeypatch.setattr(stored.StoredPlane, name, in_parts_only(getattr(stored.StoredPlane, name)))
    n_records, expected = extracted(path, tmp_path / "whole", monkeypatch)
    for last in np.linspace(1, n_records - 1, 4).astype(int):
        directory = tmp_path / str(last)
        extracted(path, directory, monkeypatch, last=last, n=1 + last % 2)
        n_more, table = extracted(path, directory, monkeypatch)
        assert table == expected
        assert n_more <= n_records - last + 1
