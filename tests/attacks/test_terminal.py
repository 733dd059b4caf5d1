"""A closed or broken terminal changes nothing but what is printed; control characters never reach one."""

import os
import subprocess
import sys

import numpy as np
import pytest

from helpers.attacks import do, results, write_maps
from hyper_py.commands.terminal import say
from hyper_py.diagnostics import InputError
from hyper_py.running.manifest import open_log
from hyper_py.writing.layout import Layout
from hyper_py.writing.rows import read_rows, recorded
from hyper_py.writing.state import read_record

pytestmark = [pytest.mark.attacks, pytest.mark.filterwarnings("ignore")]

SCRIPT = """
import sys, typer
from pathlib import Path
from hyper_py import cli
from hyper_py.running import runner
from helpers.runner_tasks import make_config, measure
original = runner.run
def run(config, maps, **options):
    return original(make_config(Path(sys.argv[1]).absolute()), maps, measure=measure, **options)
runner.run = run
cli.main(["run", *sys.argv[2:]])
"""


@pytest.mark.parametrize(
    "redirection", ["", ">&-", "2>&-", ">&- 2>&- <&-", "| true", "2>&1 | true", ">/dev/full"]
)
def test_closed_streams_change_nothing_but_what_is_printed(tmp_path, redirection):
    maps = write_maps(tmp_path / "maps", {"a": "warn\nsources 1", "b": "corrupt"})
    do(tmp_path / "fresh", maps)
    (tmp_path / "script.py").write_text(SCRIPT)
    shell = f'"$0" script.py out maps {redirection}; echo "${{PIPESTATUS[0]:-$?}}" > status'
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        ["bash", "-c", shell, sys.executable], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert (tmp_path / "status").read_text().strip() == "1"  # one map failed
    assert results(tmp_path / "out") == results(tmp_path / "fresh")


def test_control_characters_are_not_printed(capsys):
    say("red \x1b[31m\x07 \x9b31m\ttab\nline\r\udcff")
    say("error", err=True)
    out, err = capsys.readouterr()
    assert (out, err) == ("red %1B[31m%07 %C2%9B31m\ttab\nline%0D%FF\n", "error\n")


def test_a_log_is_written_to_a_file_of_its_own(tmp_path):
    (tmp_path / "thesis").write_text("a thesis")
    (tmp_path / "log").symlink_to(tmp_path / "thesis")
    os.mkfifo(tmp_path / "pipe")
    for name in ("log", "pipe"):
        with open_log(tmp_path / name, append=False) as log:
            log.add("m\x1b[2J\udcff")
        assert (tmp_path / name).read_text().endswith(" m%1B[2J%FF\n")
    assert (tmp_path / "thesis").read_text() == "a thesis"


def test_rows_are_read_back_as_they_were(tmp_path):
    maps = write_maps(tmp_path / "maps", {"a": "sources 4"})
    do(tmp_path / "out", maps)
    layout = Layout(root=tmp_path / "out")
    record = recorded(layout, "a")
    rows = read_rows(layout, record)
    assert rows.tobytes() == np.load(tmp_path / "out/.hyper_py/a.npy").tobytes()
    assert [column[0] for column in record.columns] == list(rows.dtype.names)
    (tmp_path / "out/.hyper_py/a.json").unlink()
    assert read_record(layout, "a") is None
    with pytest.raises(InputError, match="use --resume"):
        recorded(layout, "a")
