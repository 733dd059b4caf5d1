"""Many maps: a run that is killed again and again, and the throughput of two workers.

    python benchmarks/many_maps.py killed [--maps 300] [--kills 10] [--seed N]
    python benchmarks/many_maps.py throughput [--maps 20] [--side 300] [--rounds 3]

`killed` simulates small maps, spoils ten of them in as many ways as there are, and runs them once
undisturbed. A second run is killed at random moments: first a worker by SIGKILL, which the run must survive,
then the parent, after which no process may be left; then it is resumed. In between the disk is full once
(files cannot grow beyond some kilobytes), a folder of results vanishes while it is used, and maps and results
are moved to another path, as to another machine: what is complete there must not be done again. At its end
the run must have the same files, with the same bytes where no times are in them, the same ten failures by
name and reason, exit status 1 and nothing half-written. Exit status 1 here if anything is otherwise.

`throughput` runs the same maps by one run of two workers and by two independent runs of one worker side by
side, each of them with half of the maps, in turn; by the clock and by processor time, which is less at the
mercy of what else the machine does.
"""

import argparse
import contextlib
import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from astropy.io import fits

from hyper_py.simulation.simulate import simulate_image
from hyper_py.writing.simulated_files import write_simulation

N_CORRUPT = 10
TEMPORARY = ".hyper-tmp"
FULL = 3000
"""Bytes of the longest file on a full disk."""


def simulate_maps(directory: Path, n_maps: int, *, side: int, n_sources: int, seed: int) -> list[Path]:
    """Write small maps and return their paths."""
    paths = []
    for k in range(n_maps):
        path = directory / f"map_{k:03d}.fits"
        sky = simulate_image("alma", seed=seed + k, shape=(side, side + k % 7), n_sources=n_sources)
        write_simulation(path, sky)
        paths.append(path)
    return paths


def command(inputs: Path, out: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "hyper_py", "run", "-q", f"@{inputs}", "-o", str(out), *options]


# ----------------------------------------------------------------------------------------------- corruption


def without(*keys: str) -> Callable[[Path], None]:
    """Return what takes keys out of a map's header."""

    def spoil(path: Path) -> None:
        with fits.open(path, mode="update") as hdus:
            for key in keys:
                hdus[0].header.remove(key, ignore_missing=True)

    return spoil


def shortened(share: float) -> Callable[[Path], None]:
    """Return what cuts a file off."""

    def spoil(path: Path) -> None:
        os.truncate(path, int(share * path.stat().st_size))

    return spoil


def scribbled(path: Path) -> None:
    path.write_bytes(b"no map at all\n" * 100)


def blank(path: Path) -> None:
    with fits.open(path, mode="update") as hdus:
        hdus[0].data[:] = np.nan


def misspelt(path: Path) -> None:
    with fits.open(path, mode="update") as hdus:
        hdus[0].header["BUNIT"] = "furlong"


SPOILERS = (
    Path.unlink,
    scribbled,
    shortened(0.0),
    shortened(0.02),
    shortened(0.6),
    without("BUNIT"),
    misspelt,
    without("BMAJ", "BMIN", "BPA"),
    without("CTYPE1", "CTYPE2"),
    blank,
)


# --------------------------------------------------------------------------------------------------- killed


def children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def workers(pid: int) -> list[int]:
    """Return the worker processes of a run (it has a helper process of Python's as well)."""
    return [one for one in children(pid) if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes()]


def group_ends(pid: int, *, patience: float = 10.0) -> bool:
    """Wait until no process of a group is left."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        try:
            os.killpg(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def n_complete(out: Path) -> int:
    return len(list(out.glob(".hyper_py/*.json")))


def products(out: Path) -> dict[str, bytes]:
    """Return all files by name, and their bytes where no times are in them."""
    timed = ("logs/", "report/", "run.json", ".hyper_py/")
    names = {str(path.relative_to(out)): path for path in sorted(out.rglob("*")) if path.is_file()}
    return {
        name: b"" if name.startswith(timed) and not name.endswith((".npy", ".npz")) else path.read_bytes()
        for name, path in names.items()
    }


def failures(out: Path) -> dict[str, str]:
    """Return the reason of each failure, from the manifest."""
    maps = json.loads((out / "run.json").read_text())["maps"]
    return {one["name"]: one["reason"] for one in maps if one["status"] == "failed"}


def disturb(run: list[str], out: Path, *, at: int, rng: np.random.Generator) -> str:
    """Start a run, kill a worker and then the parent after about so many maps; say what came of it."""
    at = max(at, n_complete(out) + 1)
    process = subprocess.Popen(run, start_new_session=True, stderr=subprocess.DEVNULL)
    while process.poll() is None and n_complete(out) < at:
        time.sleep(0.01)
    time.sleep(float(rng.uniform(0.0, 0.5)))
    found = workers(process.pid) if process.poll() is None else []
    if found:
        os.kill(int(rng.choice(found)), signal.SIGKILL)
    time.sleep(float(rng.uniform(0.1, 1.0)))
    survived = process.poll() is None
    n_then = n_complete(out)
    process.kill()
    process.wait()
    gone = group_ends(process.pid)
    return (
        f"{n_then} maps complete; a worker killed: {bool(found)}, the run survived: {survived}; "
        f"then the parent, processes left: {not gone}"
    )


def until(process: subprocess.Popen, out: Path, *, at: int) -> None:
    """Wait until a run has ended, or has completed so many maps."""
    while process.poll() is None and n_complete(out) < at:
        time.sleep(0.01)


def disk_full(run: list[str], out: Path, *, at: int) -> dict[str, bool]:
    """Resume a run whose files cannot grow from some moment on, and say whether it told so."""
    at = max(at, n_complete(out) + 1)
    process = subprocess.Popen(run, start_new_session=True, stderr=subprocess.PIPE, text=True)
    until(process, out, at=at)
    for one in (process.pid, *(workers(process.pid) if process.poll() is None else ())):
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(one, resource.RLIMIT_FSIZE, (FULL, FULL))
    text = process.communicate()[1]
    print(
        f"the disk is full after {at} maps: {n_complete(out)} complete, exit {process.returncode}", flush=True
    )
    manifest = json.loads((out / "run.json").read_text())
    reasons = [one["reason"] for one in manifest["maps"]] + [manifest["reason"]]
    full = [reason for reason in reasons if os.strerror(errno.EFBIG) in reason]
    return {
        "a full disk: exit status 1": process.returncode == 1,
        "a full disk: the files are named": bool(full) and all(str(out) in one for one in full),
        "a full disk: no traceback": "Traceback" not in text,
        "a full disk: the manifest does not say that the run goes on": manifest["status"] != "running",
    }


def vanished(run: list[str], out: Path, *, at: int) -> None:
    """Remove a folder of results in the middle of a run, then stop the run."""
    at = max(at, n_complete(out) + 1)
    process = subprocess.Popen(run, start_new_session=True, stderr=subprocess.DEVNULL)
    until(process, out, at=at)
    shutil.rmtree(out / "params", ignore_errors=True)
    until(process, out, at=at + 2)
    process.send_signal(signal.SIGTERM)
    process.wait()
    status = json.loads((out / "run.json").read_text())["status"]
    print(f"params/ has vanished after {at} maps; the manifest says {status!r}", flush=True)


def moved(paths: list[Path], out: Path, place: Path) -> tuple[list[Path], Path]:
    """Move maps and results to another path, with the times that copies have."""
    place.mkdir()
    (place / "maps").mkdir()
    new = [place / "maps" / path.name for path in paths]
    for path, other in zip(paths, new, strict=True):
        if path.exists():
            shutil.copy(path, other)
    shutil.copytree(out, place / "results", copy_function=shutil.copy)
    return new, place / "results"


def killed(arguments: argparse.Namespace) -> bool:
    """Kill and resume a run of many maps; return whether all is as it must be."""
    rng = np.random.default_rng(arguments.seed)
    with tempfile.TemporaryDirectory(dir=arguments.work) as folder:
        work = Path(folder)
        paths = simulate_maps(work / "maps", arguments.maps, side=80, n_sources=6, seed=arguments.seed)
        spoiled = rng.choice(arguments.maps, N_CORRUPT, replace=False)
        for spoil, k in zip(SPOILERS, spoiled, strict=True):
            spoil(paths[k])
        listed = work / "maps.lis"
        listed.write_text("\n".join(map(str, paths)) + "\n")
        options = ("-j", str(arguments.jobs))
        whole, out = work / "whole", work / "out"
        status = subprocess.run(command(listed, whole, *options), stderr=subprocess.DEVNULL).returncode
        print(f"undisturbed: exit {status}, {n_complete(whole)} complete, {len(failures(whole))} failed")

        n_good = arguments.maps - N_CORRUPT
        moments = np.sort(rng.integers(0, n_good, arguments.kills + 2))
        first, second = (
            int(rng.integers(1, len(moments) // 2)),
            int(rng.integers(len(moments) // 2, len(moments))),
        )
        good: dict[str, bool] = {}
        for k, at in enumerate(moments):
            run = command(listed, out, *options, *(("--resume",) if k else ()))
            if k == first:
                good |= disk_full(run, out, at=int(at))
            elif k == second:
                vanished(run, out, at=int(at))
            else:
                print(disturb(run, out, at=int(at), rng=rng), flush=True)
        subprocess.run(command(listed, out, *options, "--resume"), stderr=subprocess.DEVNULL)
        elsewhere, out = moved(paths, out, work / "elsewhere")
        listed.write_text("\n".join(map(str, elsewhere)) + "\n")
        last = subprocess.run(
            command(listed, out, *options, "--resume"), stderr=subprocess.PIPE, text=True, check=False
        )
        ours, theirs = products(out), products(whole)
        statuses = [one["status"] for one in json.loads((out / "run.json").read_text())["maps"]]
        reasons = {
            name: text.replace(str(work / "elsewhere"), folder) for name, text in failures(out).items()
        }
        good |= {
            "exit status 1": (status, last.returncode) == (1, 1),
            f"{n_good} complete": n_complete(out) == n_good,
            "none done again on another path": statuses.count("resumed") == n_good,
            f"{N_CORRUPT} failures, named, same reasons": len(reasons) == N_CORRUPT
            and reasons == failures(whole)
            and all(Path(paths[k]).stem in last.stderr for k in spoiled),
            "no traceback": "Traceback" not in last.stderr,
            "no partial file": not any(TEMPORARY in name or "partial" in name for name in ours),
            f"the same {len(theirs)} files": ours.keys() == theirs.keys(),
            "the same bytes": all(ours[name] == theirs[name] for name in theirs if name in ours),
        }
        for reason in failures(out).values():
            print(f"  {reason.replace(folder + '/', '')}")
    for what, true in good.items():
        print(f"{what}: {'yes' if true else 'NO'}")
    return all(good.values())


# ----------------------------------------------------------------------------------------------- throughput


def seconds(runs: list[list[str]]) -> np.ndarray:
    """Return the wall-clock and the processor time until all of some runs, started at once, are done."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    processes = [subprocess.Popen(run) for run in runs]
    if sum(process.wait() for process in processes):
        raise SystemExit("a run failed")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return np.array([time.perf_counter() - start, used])


def throughput(arguments: argparse.Namespace) -> bool:
    """Compare two workers with two runs of one worker."""
    with tempfile.TemporaryDirectory(dir=arguments.work) as folder:
        work, n = Path(folder), arguments.side**2 // 700
        paths = simulate_maps(
            work / "maps", arguments.maps, side=arguments.side, n_sources=n, seed=arguments.seed
        )
        print(f"{arguments.maps} maps of {arguments.side}^2 pixels, {n} sources each")
        lists = {"all": paths, "even": paths[::2], "odd": paths[1::2]}
        for name, some in lists.items():
            (work / f"{name}.lis").write_text("\n".join(map(str, some)) + "\n")

        def timed(k: int, *names: str, jobs: int) -> np.ndarray:
            return seconds(
                [command(work / f"{name}.lis", work / f"{name}{k}", "-j", str(jobs)) for name in names]
            )

        ratios = []
        for k in range(arguments.rounds):
            # In turn first and second: a machine that is busy otherwise may change its mind between them.
            legs = {"together": ("all",), "apart": ("even", "odd")}
            taken = {
                leg: timed(k, *legs[leg], jobs=2 if leg == "together" else 1)
                for leg in sorted(legs, reverse=bool(k % 2))
            }
            ratios.append(taken["apart"] / taken["together"])
            (wall, used), (wall2, used2) = taken["together"], taken["apart"]
            print(
                f"two workers {wall:.1f} s (processors {used:.1f}), two runs {wall2:.1f} s ({used2:.1f}): "
                f"throughput {ratios[-1][0]:.3f} by the clock, {ratios[-1][1]:.3f} by processor time",
                flush=True,
            )
        median = np.median(ratios, axis=0)
        print(f"median {median[0]:.3f} by the clock, {median[1]:.3f} by processor time")
    return bool(median[0] >= 0.9)


def main() -> None:
    """Do what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("killed", "throughput"))
    parser.add_argument("--maps", type=int, help="300 for `killed`, 20 for `throughput`")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--side", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, help="one of its own each time if not given")
    parser.add_argument("--work", help="directory for temporary files")
    arguments = parser.parse_args()
    arguments.maps = arguments.maps or {"killed": 300, "throughput": 20}[arguments.what]
    if arguments.seed is None:
        arguments.seed = int(np.random.default_rng().integers(1_000_000))
    print(f"seed {arguments.seed}", flush=True)
    good = {"killed": killed, "throughput": throughput}[arguments.what](arguments)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
