"""A scheduler of dask and its workers, as processes of their own."""

import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path


@contextmanager
def dask_cluster(directory, *, n_workers=2):
    """Start a scheduler and its workers as processes of their own, on loopback; give its address and them."""
    file, elsewhere = directory / "scheduler.json", directory / "elsewhere"
    elsewhere.mkdir()
    kinds = [["scheduler", "--host", "127.0.0.1", "--port", "0"]]
    kinds += [["worker", "--nthreads", "1", "--local-directory", str(directory)]] * n_workers
    environment = {**os.environ, "PYTHONPATH": ":".join([str(Path(__file__).parents[1]), *sys.path])}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment}
    processes = []
    with ExitStack() as stack:
        for kind in kinds:
            command = [sys.executable, "-m", "dask", *kind, "--scheduler-file", str(file), "--no-dashboard"]
            process = stack.enter_context(subprocess.Popen(command, cwd=elsewhere, **quiet))
            stack.callback(process.terminate)
            processes.append(process)
            while not file.exists():
                assert process.poll() is None
                time.sleep(0.05)
        yield json.loads(file.read_text())["address"], processes
