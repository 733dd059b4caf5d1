"""Maps by others, measured: catalogues against right answers, fluxes against what their origins know.

    python benchmarks/real_maps.py --data DIR [--output DIR] [--only NAME ...]
    python benchmarks/real_maps.py --data DIR --parts uant parkes nikamap herschel [--output DIR]

The first runs `hyper-py run` with defaults on every map below DIR, holds the catalogues against the right
answers that are stated (real/expected.json, true sources of simulated maps, other finders), and prints a
table; `--only` takes beginnings of names, and `--write` writes benchmarks/results/real_maps.md. A map of
which the output directory has a catalogue is not run again. The second
looks at single maps more closely: benchmarks/results/maps.md. What is printed is Markdown.
"""

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path

from maps_by_others.answers import all_answers
from maps_by_others.common import table
from maps_by_others.expected import HEAD, Verdict, lines, run
from maps_by_others.herschel import herschel
from maps_by_others.nikamap import nikamap
from maps_by_others.parkes import parkes
from maps_by_others.uant import uant
from peers import versions, write_results

PARTS = ("uant", "nikamap", "parkes", "herschel")
PAGE = """\
# Maps that nobody simulated, and others with right answers

Written by `python benchmarks/real_maps.py --data DIR --write`: `hyper-py run` with defaults on each map, and
with the options that its file needs. Version {version}.

A source is found where the nearest row lies within the radius that its map allows (1 to 3 pixels, or half a
beam) and has the peak and flux that are stated, within the tolerance that is stated. `extra`: rows at no
source and at no place that is allowed. `no measurement`: FLUX_PEAK is not above 0, or FLUX is below twice
its error; no catalogue may have such a row. `right` asks for all of it; `runs`: nothing is stated of the
map's sources but the last.

{summary}

"""


def answer_table(data: Path, output: Path, only: list[str], *, timeout: float) -> str:
    """Run every map, or those named; return the summary and the table."""
    rows, verdicts = [], []
    for answer in all_answers(data):
        if only and not answer.name.startswith(tuple(only)):
            continue
        verdict = run(answer, output / answer.name, timeout=timeout)
        rows.append(lines(answer, verdict))
        verdicts.append(verdict)
        print(f"{answer.name}: {rows[-1][-2]} {rows[-1][-1]}", file=sys.stderr, flush=True)
    return f"{summary(verdicts)}\n\n{table(HEAD, rows)}"


def summary(verdicts: list[Verdict]) -> str:
    """Return in a line how many maps are wrong."""
    wrong = sum(bool(verdict.wrong) for verdict in verdicts)
    empty = sum(verdict.no_measurement for verdict in verdicts)
    return f"{len(verdicts)} maps, {wrong} wrong; {empty} rows that are no measurement."


def main() -> None:
    """Print the table of all maps, or measure the parts named."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, help="directory for products; a temporary one if not given")
    parser.add_argument("--only", nargs="+", default=[], help="maps whose names begin so")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds for one map")
    parser.add_argument("--write", action="store_true", help="write the page of results")
    parser.add_argument("--parts", nargs="+", choices=PARTS, help="look at these maps more closely instead")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        data, output = arguments.data.resolve(), arguments.output or Path(temporary)
        if arguments.parts is None:
            counts, rows = answer_table(data, output, arguments.only, timeout=arguments.timeout).split(
                "\n\n", 1
            )
            print(f"{counts}\n\n{rows}")
            if arguments.write:
                head = PAGE.format(version=versions("ours", sys.executable), summary=counts)
                write_results("real_maps", [head, rows])
            return
        parts = (uant, nikamap, parkes, partial(herschel, output=output))
        for name, part in zip(PARTS, parts, strict=True):
            if name in arguments.parts:
                part(data)
            sys.stdout.flush()


if __name__ == "__main__":
    main()
