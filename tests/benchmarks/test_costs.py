"""What the benchmarks say that a command costs."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "peers" / "measure.py"


def cost(code: str, tmp_path: Path, *, limit: int) -> dict[str, float]:
    command = [sys.executable, "-I", "-S", SCRIPT, str(limit), tmp_path / "cost.json"]
    subprocess.run([*command, sys.executable, "-I", "-S", "-c", code], check=True, capture_output=True)
    return json.loads((tmp_path / "cost.json").read_text())


def test_memory_is_the_command_s_and_not_its_parent_s(tmp_path: Path) -> None:
    ballast = np.ones(60_000_000)  # 480 MB here
    small = cost("pass", tmp_path, limit=60)
    large = cost("x = bytearray(150_000_000)\nx[::4096] = x[::4096]", tmp_path, limit=60)
    assert ballast[-1] == 1.0
    assert (small["status"], large["status"]) == (0, 0)
    assert small["memory"] < 100.0
    assert 140.0 < large["memory"] - small["memory"] < 250.0


def test_children_count_and_are_stopped(tmp_path: Path) -> None:
    nested = "import subprocess, sys; subprocess.run([sys.executable, '-c', {!r}], check=True)"
    done = cost(nested.format("import time\nwhile time.process_time() < 0.4: pass"), tmp_path, limit=60)
    assert done["status"] == 0
    assert 0.4 <= done["cpu"] < 5.0
    endless = cost(nested.format("while True: pass"), tmp_path, limit=1)
    assert endless["status"] is None
    assert 0.5 < endless["cpu"] < 5.0
    assert cost("raise SystemExit(3)", tmp_path, limit=60)["status"] == 3
