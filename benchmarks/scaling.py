"""How time grows with pixels, sources, channels and maps: exponents over two decades.

    python benchmarks/scaling.py [--kinds pixels sources channels maps] [--repeats 3] [--write]

Each input is measured by the command line, by one process with one thread of linear algebra, without report.
Seconds are processor time (user and system), medians of the repeats, less those of what does not grow: a map
of 60 x 60 pixels, the same map with four sources, one channel, one map. Numbers are less what is in that. The
exponent is the slope of the logarithm of seconds on that of the number, with the
largest difference from it of the slopes between neighbours.

`--write` writes results/scaling.md.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from cubes import write_cube
from hyper_py.simulation.simulate import simulate_cube
from large_maps import make_map, measure
from many_maps import simulate_maps
from peers import write_results
from speed import exponent

SOURCES_ON_LARGE, SOURCES_ON_SMALL, SMALL = 100, 4, 100
LARGE, FEW = 2500, 4
"""Side of the map of many sources, and sources that make it be searched as any map with sources is."""


class Input(NamedTuple):
    """A file or a list of maps (`@file`), and configuration."""

    path: str
    settings: list[str]


def large_map(work: Path, side: int, number: int) -> Input:
    path = work / f"sky_{side}_{number}.fits"
    if not path.exists():
        make_map(path, side, number)
    return Input(str(path), [])


def cube(work: Path, channels: int) -> Input:
    path = work / f"cube_{channels}.fits"
    simulation = simulate_cube(
        "cube", seed=1, shape=(SMALL, SMALL), n_channels=channels, n_sources=SOURCES_ON_SMALL
    )
    write_cube(simulation, path)
    return Input(str(path), ["control.datacube=true"])


def maps(work: Path, number: int) -> Input:
    folder = work / f"maps_{number}"
    folder.mkdir()
    paths = simulate_maps(folder, number, side=SMALL, n_sources=SOURCES_ON_SMALL, seed=1)
    (folder / "list.txt").write_text("\n".join(path.name for path in paths) + "\n")
    return Input(f"@{folder / 'list.txt'}", [])


class Kind(NamedTuple):
    """What grows: its numbers, the input of each, and that of what does not grow, with so many of it."""

    title: str
    numbers: tuple[int, ...]
    make: Callable[[Path, int], Input]
    start: Callable[[Path], Input]
    in_start: int = 0


KINDS = {
    "pixels": Kind(
        f"million pixels, {SOURCES_ON_LARGE} sources each", (1, 9, 100),
        lambda work, n: large_map(work, round(1e3 * n**0.5), SOURCES_ON_LARGE * n),
        lambda work: large_map(work, 60, 1),
    ),
    "sources": Kind(
        f"sources on {LARGE} x {LARGE} pixels", (40, 400, 4000),
        lambda work, n: large_map(work, LARGE, n), lambda work: large_map(work, LARGE, FEW), FEW,
    ),
    "channels": Kind(
        f"channels of {SMALL} x {SMALL} pixels", (4, 40, 400), cube, lambda work: cube(work, 1), 1
    ),
    "maps": Kind(f"maps of {SMALL} x {SMALL} pixels", (3, 30, 300), maps, lambda work: maps(work, 1), 1),
}  # fmt: skip


def seconds(given: Input, work: Path, repeats: int) -> float:
    def once() -> float:
        with tempfile.TemporaryDirectory(dir=work) as out:
            return measure(Path(given.path), Path(out) / "out", given.settings)[0]

    return statistics.median(once() for _ in range(repeats))


def between(numbers: Sequence[float], net: Sequence[float], slope: float) -> float:
    """Return the largest difference of the exponents between neighbours from that of all."""
    pairs = zip(pairwise(numbers), pairwise(net), strict=True)
    return max(abs(exponent(*pair) - slope) for pair in pairs)


def measured(kind: Kind, work: Path, repeats: int) -> list[str]:
    """Return the lines of the table of a kind."""
    start = seconds(kind.start(work), work, repeats)
    net = []
    for number in kind.numbers:
        net.append(seconds(kind.make(work, number), work, repeats) - start)
        print(f"{kind.title}: {number}: {net[-1]:.2f} s beyond {start:.2f}", file=sys.stderr, flush=True)
    more = [number - kind.in_start for number in kind.numbers]
    slope = exponent(more, net)
    off = between(more, net, slope)
    lines = [f"| {kind.title} | seconds beyond {start:.2f} | each, ms |", "|---|---|---|"]
    lines += [
        f"| {n} | {s:.2f} | {1e3 * s / m:.1f} |" for n, s, m in zip(kind.numbers, net, more, strict=True)
    ]
    return [*lines, "", f"Exponent {slope:.2f} (between neighbours within {off:.2f} of it).", ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kinds", nargs="+", default=[*KINDS], choices=KINDS)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--directory", type=Path, help="where inputs are made; a temporary one if not given")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    text = ["# How time grows", "", "Written by `python benchmarks/scaling.py --write`.", ""]
    text += [line.strip() for line in __doc__.split("\n\n")[2].splitlines()] + [""]
    for name in arguments.kinds:
        with tempfile.TemporaryDirectory(dir=arguments.directory) as work:
            text += measured(KINDS[name], Path(work), arguments.repeats)
    print("\n".join(text))
    if arguments.write:
        write_results("scaling", text)


if __name__ == "__main__":
    main()
