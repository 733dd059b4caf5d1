"""Catalogues of every way through the code, frozen by one version and compared with those of another.

    python benchmarks/frozen.py write OUT [--data DIR] [--inputs DIR] [--only NAME ...] [--quick]
        [--python PY]
    python benchmarks/frozen.py compare BEFORE AFTER [--tolerance 1e-12] [--only NAME ...]

`write` runs `PY -m hyper_py` (PYTHONPATH chooses the version) once for each way: both published maps, each
preset of the simulator, all combinations of `combinations.py`, the original's configuration, cubes, tiles,
forced measurements, regions, PSF, error map, primary beam, mask, detections, products. DIR of --data holds
map_500_Gaussians_N.fits; without it the published maps are left out. The other maps are simulated by the
command as well, but only where the folder of inputs has none: give the second version those of the first by
--inputs, so that a change of the simulator does not read as one of the extraction. --quick takes a small
case of every way. --only takes the ways with one of the texts in their name.

`compare` reads the catalogues, region files and FITS products of both, and prints a line for each way (for
each map, if a run has several): `equal`, or what differs most, or what is missing. Differences of a table
are relative to the value or to the median of its column, whichever is larger; those of an image to its
largest value; texts are compared but for the last digit of their numbers. NaN equals NaN. Exit status 1 if
anything differs by more than the tolerance.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import yaml

from frozen_differences import compare_folders
from frozen_ways import BASE, PUBLISHED, SIMULATED, Way, all_ways, copy_published, merged, write_companions

THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def call(python: str, arguments: Sequence[str], log: Path) -> int:
    """Run the command line of the version that is frozen; return its exit status."""
    command = [python, "-m", "hyper_py", *arguments]
    with log.open("a") as file:
        file.write(" ".join(command) + "\n")
        file.flush()
        return subprocess.run(
            command,
            cwd=log.parent,
            env=os.environ | THREADS,
            stdout=file,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode


def make_inputs(inputs: Path, *, python: str, data: Path | None, quick: bool) -> None:
    """Write the maps that are not there yet, all of one size."""
    recipe = {name: simulated.arguments(quick=quick) for name, simulated in SIMULATED.items()}
    stamp = inputs / "recipe.json"
    if stamp.exists():
        if json.loads(stamp.read_text()) != recipe:
            sys.exit(f"{inputs}: inputs of another size or recipe; give another folder")
    else:
        inputs.mkdir(parents=True, exist_ok=True)
        if any(inputs.iterdir()):
            sys.exit(f"{inputs}: not empty, and no inputs of this benchmark; give another folder")
        for name, arguments in recipe.items():
            log = inputs / "simulate.log"
            if call(python, ["simulate", *arguments, "-o", f"{name}.fits"], log) != 0:
                sys.exit(f"simulating {name} failed:\n{log.read_text()}")
        write_companions(inputs)
        stamp.write_text(json.dumps(recipe, indent=1))
    if data is not None and not (inputs / PUBLISHED.format(1)).exists():
        copy_published(data, inputs, quick=quick)


def freeze_way(way: Way, folder: Path, *, inputs: Path, python: str) -> int:
    """Run a way into a folder; return the exit status."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    maps = [inputs / name for name in way.maps]
    configuration = merged(BASE, way.sections)
    if way.copies:
        original, maps = maps[0], [folder / "maps" / f"{name}.fits" for name in way.copies]
        (folder / "maps").mkdir()
        for path in maps:
            shutil.copy(original, path)
        configuration["maps"] = way.copies
    if way.version != 1:
        configuration = {"version": way.version, **configuration}
    (folder / "config.yaml").write_text(yaml.safe_dump(configuration, sort_keys=False))
    arguments = ["run", str(folder / "config.yaml"), *map(str, maps), "-o", str(folder / "output"), "--quiet"]
    return call(python, arguments, folder / "run.log")


def selected(names: Sequence[str], only: Sequence[str]) -> list[str]:
    """Return the names that have one of the texts in them."""
    chosen = [name for name in names if any(text in name for text in only)]
    if not chosen:
        sys.exit(f"no way with {' or '.join(only)} in its name; there are {', '.join(names)}")
    return chosen


def write(arguments: argparse.Namespace) -> int:
    out = arguments.out.absolute()
    inputs = (arguments.inputs or out / "inputs").absolute()
    where = [arguments.python, "-c", "import hyper_py; print(hyper_py.__file__)"]
    found = subprocess.run(
        where, cwd="/", env=os.environ | THREADS, capture_output=True, text=True, check=True
    )
    print(f"freezing {found.stdout.strip()}", flush=True)
    data = arguments.data and arguments.data.absolute()
    make_inputs(inputs, python=arguments.python, data=data, quick=arguments.quick)
    ways, failed, start = all_ways(inputs, quick=arguments.quick), 0, time.perf_counter()
    for name in selected(list(ways), arguments.only):
        begin = time.perf_counter()
        status = freeze_way(ways[name], out / "ways" / name, inputs=inputs, python=arguments.python)
        failed += status != 0
        # A way that one version refuses, and another does not, is a difference as well.
        (out / "ways" / name / "status").write_text(f"{status}\n")
        print(
            f"{name}: {time.perf_counter() - begin:.1f} s{f', EXIT STATUS {status}' if status else ''}",
            flush=True,
        )
        shutil.rmtree(out / "ways" / name / "maps", ignore_errors=True)
    sums = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(inputs.glob("*.fits"))
    }
    (out / "inputs.json").write_text(json.dumps(sums, indent=1))
    print(f"{failed} failed; {time.perf_counter() - start:.0f} s")
    return 1 if failed else 0


def compare(arguments: argparse.Namespace) -> int:
    before, after = arguments.before, arguments.after
    for folder in (before, after):
        if not (folder / "ways").is_dir():
            sys.exit(f"{folder}: no frozen catalogues")
    sums = [json.loads((folder / "inputs.json").read_text()) for folder in (before, after)]
    other = sorted(name for name in sums[0].keys() & sums[1].keys() if sums[0][name] != sums[1][name])
    if other:
        sys.exit(f"not of the same maps: {', '.join(other)} differ; write with --inputs of the other side")
    names = sorted({path.name for folder in (before, after) for path in (folder / "ways").iterdir()})
    different, count = 0, 0
    for name in selected(names, arguments.only):
        sides = [folder / "ways" / name for folder in (before, after)]
        for title, verdict in compare_folders(*sides, tolerance=arguments.tolerance):
            count += 1
            different += verdict != "equal"
            print(f"{name}{f'/{title}' if title else ''}: {verdict}", flush=True)
    print(f"{different} of {count} differ")
    return 1 if different else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    writing = commands.add_parser("write", help="freeze what a version gives")
    writing.add_argument("out", type=Path)
    writing.add_argument("--data", type=Path, help="folder of the published maps")
    writing.add_argument("--inputs", type=Path, help="folder of the simulated maps; OUT/inputs")
    writing.add_argument("--only", nargs="+", default=[""], metavar="NAME")
    writing.add_argument("--quick", action="store_true", help="a small case of every way")
    writing.add_argument(
        "--python", default=sys.executable, metavar="PY", help="interpreter with the version"
    )
    comparing = commands.add_parser("compare", help="compare two versions")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("after", type=Path)
    comparing.add_argument("--tolerance", type=float, default=1e-12)
    comparing.add_argument("--only", nargs="+", default=[""], metavar="NAME")
    arguments = parser.parse_args()
    sys.exit(write(arguments) if arguments.command == "write" else compare(arguments))


if __name__ == "__main__":
    main()
