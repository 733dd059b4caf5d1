"""The command `demo`: everything is there, good, and named."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from astropy.io import fits

import hyper_py
from helpers.command_line import Hyper
from hyper_py.commands.demo import DEMO_MAP, DEMO_SKY


def run_as_process(arguments: list[str], cwd: Path) -> tuple["subprocess.CompletedProcess[str]", float]:
    environment = os.environ | {"PYTHONPATH": str(Path(hyper_py.__file__).parents[1])}
    start = time.perf_counter()
    command = [sys.executable, "-W", "error::RuntimeWarning", "-m", "hyper_py", *arguments]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    return done, time.perf_counter() - start


def test_demo(tmp_path: Path) -> None:
    done, seconds = run_as_process(["demo", "-o", "my demo"], tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    out = tmp_path / "my demo"
    assert seconds < 60  # 3 to 5 s of processor time; a bound that holds on a busy machine as well
    named = [line.split("  ")[1] for line in done.stdout.splitlines() if line.startswith("  my demo/")]
    assert len(named) >= 5
    assert all((tmp_path / name).is_file() for name in named)
    assert fits.getdata(out / DEMO_MAP).shape == tuple(DEMO_SKY["shape"])
    assert max(map(len, done.stdout.splitlines())) <= 110
    score = json.loads((out / "validation.json").read_text())
    assert score["completeness"]["value"] > 0.5
    assert score["purity"]["value"] > 0.9
    assert (out / "validation.png").read_bytes().startswith(b"\x89PNG")


def test_demo_again_and_into_a_full_directory(hyper: Hyper, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/precious").touch()
    status, out, err = hyper("demo", "-o", "full")
    assert (status, out) == (2, "")
    assert err == "error: full: not empty, and not of an earlier demo; choose another directory\n"
    assert hyper("demo", "--seed", "2")[0] == 0
    assert hyper("demo", "--seed", "2")[0] == 0
