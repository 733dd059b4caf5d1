"""Runs of pretended maps that are attacked, in this process or in one that dies at a given step."""

import os
import subprocess
import sys
from pathlib import Path

from helpers.runner_tasks import files_below, make_config, measure
from hyper_py.running import runner

TESTS = Path(__file__).parents[1]

SCRIPT = """
import errno, json, os, signal, sys
from pathlib import Path
from helpers.runner_tasks import make_config, measure
from hyper_py.running import runner

def at_step(number, what):
    '''Do something at the so-manieth time that a file is synchronised, renamed or removed.'''
    count = 0
    def counted(function):
        def call(*arguments, **options):
            nonlocal count
            count += 1
            if count == number:
                what()
            return function(*arguments, **options)
        return call
    for name in ("fsync", "replace", "unlink"):
        setattr(os, name, counted(getattr(os, name)))

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def stop(number):
    os.kill(os.getpid(), number)

def fill_the_disk():
    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.fsync = full  # file systems that write late say only then that there is no space

def run(facts):
    config = make_config(facts["root"], **facts["sections"])
    return runner.run(config, facts["maps"], resume=facts["resume"], measure=measure)

if __name__ == "__main__":
    # A shell without job control has its background jobs ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    facts = json.loads(sys.argv[1])
    what = {"die": die, "fill": fill_the_disk, "none": None}.get(
        facts["what"], lambda: stop(getattr(signal, facts["what"]))
    )
    if what:
        at_step(facts["step"], what)
    result = run(facts)
    print(result.exit_code)
"""
"""`what` is done at the step: no test depends on how fast the machine is."""


def start(root, maps, *, what="none", step=0, resume=False, script=SCRIPT, **sections):
    """Do a run in a process of its own; return it when it has ended."""
    import json

    facts = {"root": str(root), "maps": [*map(str, maps)], "what": what, "step": step, "resume": resume}
    path = Path(root).parent / "script.py"
    path.write_text(script)
    environment = {**os.environ, "PYTHONPATH": ":".join([str(TESTS), *sys.path]), "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, str(path), json.dumps({**facts, "sections": sections})]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)


def do(root, maps, *, resume=False, **sections):
    """Do a run in this process; return its result."""
    return runner.run(make_config(root, **sections), maps, resume=resume, measure=measure)


def write_maps(directory, texts):
    """Write pretended maps, each a text that says what to do; return their paths."""
    directory.mkdir(exist_ok=True)
    paths = [directory / f"{name}.fits" for name in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        path.write_text(text)
    return paths


def results(root):
    """All files by name, with their bytes where no times are in them."""
    timed = ("logs/", "run.json", ".hyper_py/")
    return {
        name: None if name.startswith(timed) and not name.endswith(".npy") else (root / name).read_bytes()
        for name in files_below(root)
    }


# What is done to a file: `path` and a random generator.


def truncate(path, rng):
    os.truncate(path, int(rng.integers(0, path.stat().st_size)))


def zeros(path, _):
    path.write_bytes(bytes(path.stat().st_size))


def flip(path, rng):
    text = bytearray(path.read_bytes())
    text[rng.integers(len(text))] ^= 1 << int(rng.integers(8))
    path.write_bytes(text)


def pipe(path, _):
    path.unlink()
    os.mkfifo(path)


def gone(path, _):
    path.unlink()


def device(path, _):
    path.unlink()
    path.symlink_to("/dev/zero")


def directory(path, _):
    path.unlink()
    path.mkdir()
    (path / "x").write_text("x")
