"""One large map: by one process, several, dask workers, killed and resumed; written to results/one_map.md.

    python benchmarks/one_map.py [--side 12000] [--workers 1 2 4] [--dask 2] [--kills 3] [--repeats 5]
                                 [--directory DIR] [--set KEY=VALUE ...] [--output FILE]

The map is that of large_maps.py, read in pieces. Each run is one of the command line, from shell to finished
tables, in processes of their own with one thread of linear algebra, without report. Seconds are medians of
the repeats. Memory is that of all processes together, each page counted once (PSS), the largest seen in looks
half a second apart; of the parent, the largest resident set. Disk is what lies beside the outputs meanwhile.
Killed runs are killed with SIGKILL, at equal steps of the time of one process, and then resumed; "again" is
what the resumed run takes. Tables are the same if they are so byte for byte.

Other work on the machine shows in all columns: run this on an idle one. It shows least in the seconds of
processors, those of all processes and of the parent itself: what the parent does is not shared.
"""

import argparse
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import hyper_py
from large_maps import make_map

LOOK_SECONDS = 0.5
DENSITY = 20000 / 144
"""Sources per million pixels."""
HERE = Path(__file__).parent


@dataclass
class Cost:
    """What a run has taken: seconds of the clock, of processors and of the parent's own, MB of memory."""

    wall: float = 0.0
    processor: float = 0.0
    own: float = 0.0
    together: float = 0.0
    parent: float = 0.0
    disk: float = 0.0


@dataclass
class Runs:
    """Runs of one map.

    Attributes
    ----------
    path, directory : Path
    settings : list of str
        Configuration, as for hyper-py run.
    """

    path: Path
    directory: Path
    settings: list[str]
    tables: set[bytes] = field(default_factory=set)

    def command(self, out: Path, jobs: int, more: list[str]) -> list[str]:
        command = [sys.executable, "-m", "hyper_py", "run", str(self.path), "-o", str(out), "--quiet"]
        common = ["outputs.report=false", "control.max_memory=0.1", *self.settings]
        settings = [word for one in (*common, *more) for word in ("--set", one)]
        return [*command, "--jobs", str(jobs), *settings]

    def run(
        self, name: str, *, jobs: int = 1, more: tuple[str, ...] = (), resume: bool = False, kill: float = 0.0
    ) -> Cost:
        """Run the command line; after `kill` seconds, end it."""
        out = self.directory / name
        command = self.command(out, jobs, list(more)) + (["--resume"] if resume else [])
        environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        begin, cost = time.perf_counter(), Cost()
        process = subprocess.Popen(command, env=environment, start_new_session=True)
        watch = threading.Thread(target=watched, args=(process.pid, out, cost))
        watch.start()
        if kill:
            time.sleep(kill)
            process.send_signal(signal.SIGKILL)
        _, status, usage = os.wait4(process.pid, 0)
        cost.wall, cost.processor = time.perf_counter() - begin, usage.ru_utime + usage.ru_stime
        watch.join()
        if kill:
            assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, "it was done before it was killed"
            return cost
        if status:
            raise SystemExit(f"{name}: exit status {os.waitstatus_to_exitcode(status)}")
        self.tables.add((out / "params" / f"params_{self.path.stem}.ecsv").read_bytes())
        shutil.rmtree(out)
        return cost


def watched(pid: int, out: Path, cost: Cost) -> None:
    """Look at the memory of a process and of all that it has started, until it has ended."""
    while True:
        sizes = {one: memory(one) for one in family(pid)}
        if pid not in sizes or not sizes[pid][1]:
            return
        cost.together = max(cost.together, sum(shared for shared, _ in sizes.values()) / 1024)
        cost.own = max(cost.own, own_seconds(pid))
        cost.parent = max(cost.parent, sizes[pid][1] / 1024)
        state = out / ".hyper_py"
        cost.disk = max(cost.disk, sum(blocks(file) for file in state.rglob("*")) / 1e6)
        time.sleep(LOOK_SECONDS)


def blocks(file: Path) -> int:
    try:
        return 512 * file.stat().st_blocks
    except OSError:
        return 0


def family(pid: int) -> list[int]:
    """Return a process and all below it."""
    found, todo = [], [pid]
    while todo:
        found.append(todo.pop())
        for file in Path(f"/proc/{found[-1]}/task").glob("*/children"):
            try:
                todo += [int(word) for word in file.read_text().split()]
            except OSError:
                continue
    return found


def memory(pid: int) -> tuple[int, int]:
    """Return the share of a process in the memory, and its resident set, in kB; zeros if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0, 0
    values = {line.split(":")[0]: int(line.split()[1]) for line in lines[1:] if ":" in line}
    return values.get("Pss", 0), values.get("Rss", 0)


def own_seconds(pid: int) -> float:
    """Return the processor time of a process without that of its children; 0 if it has ended."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def median(costs: list[Cost]) -> Cost:
    return Cost(*(statistics.median(getattr(one, key) for one in costs) for key in vars(costs[0])))


def planned(costs: dict[int, Cost], megapixels: float) -> list[str]:
    """Return the lines of the table of what larger maps of the same sky take, from runs by n processes.

    What the parent does itself in the run by most of them takes the same time with any number of processes;
    the rest is divided by it. Nothing waits for a disk.
    """
    one, most = costs[1], costs[max(costs)]
    shared = most.processor - most.own
    text = [
        f"Per million pixels: {one.processor / megapixels:.2f} s of one process; with {max(costs)}, "
        f"{most.own / megapixels:.2f} s of the parent and {shared / megapixels:.2f} s of the others. "
        f"Disk: {one.disk / megapixels:.0f} bytes a pixel.",
        "",
        "| pixels | 1 process | 16 | 64 | 640 | disk GB |",
        "|---|---|---|---|---|---|",
    ]
    for pixels in (1e8, 1e9, 1e10):
        hours = [
            (one.processor if n == 1 else most.own + shared / n) / megapixels * pixels / 1e6 / 3600
            for n in (1, 16, 64, 640)
        ]
        cells = " | ".join(f"{value:.2g} h" for value in hours)
        text.append(f"| {pixels:.0e} | {cells} | {one.disk / megapixels * pixels / 1e9:.0f} |")
    return text


def lines(runs: Runs, arguments: argparse.Namespace) -> tuple[list[str], dict[int, Cost]]:
    """Return the lines of the table of all runs, and the costs by the number of processes."""
    known: dict[int, Cost] = {}
    kinds = [(f"{n} process{'es' * (n > 1)}", n, ()) for n in arguments.workers]
    kinds += [(f"{n} dask workers", n, ("control.executor=dask",)) for n in arguments.dask]
    text, first = [], 0.0
    for name, n, more in kinds:
        costs = [runs.run(f"out_{k}", jobs=n, more=more) for k in range(arguments.repeats)]
        cost = median(costs)
        first = first or cost.wall
        if not more:
            known[n] = cost
        spread = f"{min(one.wall for one in costs):.0f} to {max(one.wall for one in costs):.0f}"
        text.append(
            f"| {name} | {cost.wall:.1f} | {spread} | {first / cost.wall:.2f} | {cost.processor:.0f} | "
            f"{cost.own:.0f} | {cost.together:.0f} | {cost.parent:.0f} | {cost.disk:.0f} |"
        )
        print(text[-1], flush=True)
    for k in range(arguments.kills):
        after = first * (k + 1) / (arguments.kills + 1)
        runs.run("killed", kill=after)
        cost = runs.run("killed", resume=True)
        text.append(
            f"| killed after {after:.0f} s, again | {cost.wall:.1f} | | {first / (after + cost.wall):.2f} | "
            f"{cost.processor:.0f} | {cost.own:.0f} | {cost.together:.0f} | {cost.parent:.0f} | "
            f"{cost.disk:.0f} |"
        )
        print(text[-1], flush=True)
    return text, known


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--side", type=int, default=12000)
    parser.add_argument("--workers", nargs="*", type=int, default=[1, 2])
    parser.add_argument("--dask", nargs="*", type=int, default=[2])
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--directory", type=Path, help="where maps are made; a temporary one if not given")
    parser.add_argument("--set", nargs="*", default=[], help="configuration, as for hyper-py run")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "one_map.md")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        path = Path(directory) / "sky.fits"
        number = round(DENSITY * arguments.side**2 / 1e6)
        make_map(path, arguments.side, number)
        runs = Runs(path, Path(directory), arguments.set)
        table, costs = lines(runs, arguments)
    larger = ["## Larger maps", "", *planned(costs, arguments.side**2 / 1e6), ""] if 1 in costs else []
    command = " ".join(["python benchmarks/one_map.py", *sys.argv[1:]])
    text = [
        "# One large map",
        "",
        f"Written by `{command}`; what the columns mean is at the head of that script. {arguments.side} x "
        f"{arguments.side} pixels, {number} sources.",
        "",
        "| | s | from to | times faster | processor s | parent's | all MB | parent MB | disk MB |",
        "|---|---|---|---|---|---|---|---|---|",
        *table,
        "",
        f"Tables of all runs: {'the same bytes' if len(runs.tables) == 1 else 'DIFFERENT'}.",
        "",
        *larger,
        f"- hyper-py {hyper_py.__version__}, Python {platform.python_version()}, {os.cpu_count()} cores",
    ]
    arguments.output.write_text("\n".join(text) + "\n")
    print("\n".join(text[-12:]))


if __name__ == "__main__":
    main()
