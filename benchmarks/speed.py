"""Cost of a run: ours and other finders in one go, start-up, scaling, memory; written to results/speed.md.

    python benchmarks/speed.py --data DIR --work DIR [--original PYTHON] [--bdsf PYTHON] [--sep PYTHON]
                               [--repeats 3] [--others 2] [--skip scaling memory ...]

DIR of --data holds the published maps, map_500_Gaussians_N.fits. Each PYTHON is an environment with that
finder. Every process has one thread of linear algebra; plots and reports are off. `core` is from the file of
a map to its catalogue, imports not counted; processor time is user and system, children included. What else
the machine does shows in wall times most: compare within one table.
"""

import argparse
import compileall
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import hyper_py
from peers import HERE, published, timed, versions, write_results

SECTIONS = ("finders", "startup", "scaling", "memory")
ORIGINAL_MAIN = """
import sys, time
from hyper_py.run_hyper import main
sys.argv = ["hyper_py", sys.argv[1]]
wall, cpu = time.perf_counter(), time.process_time()
try:
    main()
finally:
    print("CORE", time.perf_counter() - wall, time.process_time() - cpu, flush=True)
"""
OURS_CORE = """
import re, sys, time, warnings
from pathlib import Path
warnings.simplefilter("ignore")
from hyper_py.config import Config, load_config
from hyper_py.pipeline.extraction import extract_sources
from hyper_py.reading.io import read_image
import hyper_py.detection.matched, hyper_py.pipeline.correlated
path, config, repeats = sys.argv[1], sys.argv[2], int(sys.argv[3])
options = load_config(config).options() if config else Config().options()
def peak():
    # getrusage would count the parent before exec too
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
before = peak()
for _ in range(repeats):
    wall, cpu = time.perf_counter(), time.process_time()
    found = extract_sources(read_image(path), options=options)
    print("CORE", time.perf_counter() - wall, time.process_time() - cpu, len(found.catalog), before, peak())
"""


def environment(*, ours: bool) -> dict[str, str]:
    result = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    result.pop("PYTHONPATH", None)
    if ours:
        result["PYTHONPATH"] = os.pathsep.join(sys.path)
    return result


def whole(command: list[str], work: Path, *, ours: bool = True) -> dict[str, Any]:
    """Run a command; return its wall and processor seconds, peak MB and what it printed."""
    with (work / "output.log").open("w") as log:
        cost = timed(command, environment(ours=ours), log, 3600.0)
    text = (work / "output.log").read_text()
    if cost["status"] != 0:
        sys.exit(f"{' '.join(command)[:300]}\nfailed:\n{text[-2000:]}")
    return cost | {"text": text}


def cores(cost: dict[str, Any]) -> list[list[float]]:
    lines = [line for line in cost["text"].splitlines() if line.startswith("CORE")]
    return [[float(word) for word in line.split()[1:]] for line in lines]


def median(rows: list[Any]) -> Any:
    return [statistics.median(column) for column in zip(*rows, strict=True)]


def costs(cost: dict[str, Any]) -> list[float]:
    return [cost["wall"], cost["cpu"], cost["memory"]]


def original_config(python: str, maps: list[Path], work: Path, *, workers: int) -> Path:
    """Write the configuration that the original ships, for these maps; return its path."""
    code = (
        "from importlib.resources import files;"
        "print(files('hyper_py').joinpath('assets/default_config.yaml').read_text())"
    )
    import yaml

    text = subprocess.run(
        [python, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=work,
        env=environment(ours=False),
    ).stdout
    config = yaml.safe_load(text)
    folder = work / "maps"
    folder.mkdir(exist_ok=True)
    for path in maps:
        (folder / path.name).unlink(missing_ok=True)
        (folder / path.name).symlink_to(path.resolve())
    for place in (work, folder):
        (place / "maps_list.txt").write_text("".join(f"{path.name}\n" for path in maps))
    config["paths"]["input"]["dir_maps"] = str(folder)
    config["paths"]["output"]["dir_root"] = str(work / "output")
    config["control"].update(parallel_maps=workers > 1, n_cores=workers, datacube=False)
    config["detection"]["sigma_thres"] = 4.0
    path = work / f"original_{len(maps)}_{workers}.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def finders(options: argparse.Namespace, work: Path) -> list[str]:
    """Core of one map, and both maps from shell to shell."""
    items = [published(number, options.data, work) for number in (1, 2)]
    maps, ours = [item.per_pixel for item in items], sys.executable
    single = original_config(options.original, maps[:1], work, workers=1) if options.original else None
    core: dict[str, list[list[float]]] = {}
    both: dict[str, list[list[float]]] = {}

    def take(table: dict[str, list[list[float]]], name: str, rows: list[list[float]]) -> None:
        table.setdefault(name, []).extend(rows)
        print(name, rows, flush=True)

    run, quiet = [ours, "-m", "hyper_py", "run"], ["--quiet", "--set", "outputs.report=false"]
    double = original_config(options.original, maps, work, workers=1) if options.original else None
    for repeat in range(options.repeats):
        for name, config in (("ours, defaults", ""), ("ours, the original's settings", single)):
            if config is not None:
                command = [ours, "-c", OURS_CORE, str(maps[0]), str(config), "3"]
                take(core, name, [row[:2] for row in cores(whole(command, work))[1:]])
        for jobs in (1, 2):
            command = [*run, *map(str, maps), "-o", f"{work}/ours", "--jobs", str(jobs), *quiet]
            take(both, f"ours, defaults, {jobs} worker{'s'[: jobs - 1]}", [costs(whole(command, work))])
        if double:
            command = [*run, str(double), "--jobs", "1", *quiet]
            take(both, "ours, the original's settings, 1 worker", [costs(whole(command, work))])
        if repeat >= options.others:
            continue
        for finder in ("bdsf", "sep"):
            if getattr(options, finder):
                take(both, f"{finder}, one map after the other", [peer_costs(finder, options, items, work)])
        if options.original and single:
            cost = whole([options.original, "-c", ORIGINAL_MAIN, str(single)], work, ours=False)
            take(core, "the original", [row[:2] for row in cores(cost)])
            config = original_config(options.original, maps, work, workers=2)
            cost = whole([options.original, "-c", ORIGINAL_MAIN, str(config)], work, ours=False)
            take(both, "the original, 2 workers", [costs(cost)])
    return [
        "### One map from file to catalogue, imports not counted (635 x 565 pixels, 500 sources)",
        "",
        *table(("", "wall s", "processor s"), core, reference="the original"),
        "### Both maps, from shell to shell",
        "",
        *table(("", "wall s", "processor s", "peak MB"), both, reference="the original, 2 workers"),
    ]


def peer_costs(finder: str, options: argparse.Namespace, items: list[Any], work: Path) -> list[float]:
    """Wall and processor seconds of a finder on all maps, one after the other, and the larger peak memory."""
    settings = json.loads((HERE / "peers" / "settings.json").read_text())["alma"][finder]
    command = [getattr(options, finder), str(HERE / "peers" / f"run_{finder}.py")]
    parts = [
        costs(
            whole(
                [*command, str(item.per_beam), f"{work}/{finder}.ecsv", json.dumps(settings)],
                work,
                ours=False,
            )
        )
        for item in items
    ]
    wall, cpu, peak = zip(*parts, strict=True)
    return [sum(wall), sum(cpu), max(peak)]


def table(head: tuple[str, ...], rows: dict[str, list[list[float]]], *, reference: str) -> list[str]:
    """Return medians as a table, with what the reference takes over what a row takes."""
    base = median(rows[reference]) if reference in rows else None
    ratios = ("times faster (wall)", "times less processor") if base else ()
    lines = ["| " + " | ".join((*head, *ratios)) + " |", "|---" * (len(head) + len(ratios)) + "|"]
    for name, values in rows.items():
        middle = median(values)
        cells = [f"{value:.3g}" if value < 100 else f"{value:.0f}" for value in middle]
        if base:
            cells += [f"{base[k] / middle[k]:.1f}" for k in (0, 1)]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def startup(options: argparse.Namespace, work: Path) -> list[str]:
    path = options.data / "map_500_Gaussians_1.fits"
    bare = "import astropy.io.fits, astropy.wcs, astropy.table, scipy.optimize, scipy.ndimage"
    first = (
        "from hyper_py.pipeline.extraction import extract_sources;"
        "from hyper_py.reading.io import read_image;"
        f"read_image({str(path)!r})"
    )
    rows: dict[str, list[list[float]]] = {}
    for _ in range(2 * options.repeats + 1):
        for name, arguments in (
            ("`hyper-py --help`", ["-m", "hyper_py", "--help"]),
            ("bare imports of astropy and scipy", ["-c", bare]),
            ("ours, first pixel read", ["-c", first]),
        ):
            rows.setdefault(name, []).append(costs(whole([sys.executable, *arguments], work)))
    return ["### Start-up", "", *table(("", "wall s", "processor s", "peak MB"), rows, reference="none")]


def extracted(preset: str, work: Path, repeats: int, **overrides: Any) -> list[float]:
    """Simulate a map and extract it in a process of its own.

    Returns pixels, sources found, processor seconds of a run after the first, and how much memory the first
    added to that of the imports, in units of the map's bytes as float64.
    """
    from astropy.io import fits

    from hyper_py.simulation.simulate import simulate_image

    simulation = simulate_image(preset, seed=11, **overrides)
    path, data = work / "scaling.fits", simulation.image.data
    header = fits.Header({**simulation.header(), "BUNIT": "Jy/pixel"})
    fits.PrimaryHDU(data, header).writeto(path, overwrite=True)
    rows = cores(whole([sys.executable, "-c", OURS_CORE, str(path), "", str(repeats)], work))
    _, cpu, found, before, _ = median(rows[1:] or rows)
    added = (rows[0][4] - before) * 1024.0 / (8.0 * data.size)
    print(preset, overrides, data.shape, found, f"{cpu:.2f} s, {added:.1f} times the map", flush=True)
    return [data.size, found, cpu, added]


def exponent(numbers: Sequence[float], seconds: Sequence[float]) -> float:
    """Slope of the logarithm of seconds on that of numbers."""
    return float(np.polyfit(np.log(numbers), np.log(seconds), 1)[0])


def scaling(options: argparse.Namespace, work: Path) -> list[str]:
    text = ["### Scaling, defaults", ""]
    cases: list[tuple[str, str, Callable[[int], dict[str, Any]], tuple[int, ...]]] = [
        ("sources at fixed density", "alma", lambda n: side(n, 27.0), options.sources),
        ("sources at fixed density, crowded", "crowded", lambda n: side(n, 14.0), options.sources),
        ("pixels at 200 sources", "alma", lambda n: {"shape": (n, n), "n_sources": 200}, (400, 800, 1600)),
        ("crowding at 700 x 700 pixels", "alma", lambda n: {"shape": (700, 700), "n_sources": n},
         (100, 200, 400, 700)),
    ]  # fmt: skip
    for name, preset, overrides, numbers in cases:
        rows = [extracted(preset, work, 2, **overrides(n)) for n in numbers]
        text += [
            "| " + name + " | pixels | processor s | ms a source | memory / map |",
            "|---|---|---|---|---|",
        ]
        text += [
            f"| {r[1]:.0f} | {r[0]:.0f} | {r[2]:.2f} | {1e3 * r[2] / r[1]:.2f} | {r[3]:.1f} |" for r in rows
        ]
        found = exponent([row[1] for row in rows], [row[2] for row in rows])
        text += ["", f"Exponent in sources: {found:.2f}.", ""]
    return text


def side(n: int, spacing: float) -> dict[str, Any]:
    """Options of a square map of n sources, so many pixels apart on average."""
    pixels = round(spacing * n**0.5)
    return {"shape": (pixels, pixels), "n_sources": n}


def memory(options: argparse.Namespace, work: Path) -> list[str]:
    sides = [round(n**0.5) for n in options.pixels]
    rows = [extracted("alma", work, 1, shape=(n, n), n_sources=200) for n in sides]
    text = ["### Peak memory beyond that of the imports", "", "| pixels | times the map |", "|---|---|"]
    return [*text, *(f"| {row[0]:.0f} | {row[3]:.1f} |" for row in rows), ""]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the published maps")
    parser.add_argument("--work", type=Path, required=True, help="folder for maps and outputs")
    parser.add_argument("--repeats", type=int, default=3, help="of ours")
    parser.add_argument("--others", type=int, default=2, help="repeats of the other finders, which are slow")
    parser.add_argument("--sources", type=int, nargs="+", default=[500, 1500, 5000, 20000])
    parser.add_argument("--pixels", type=int, nargs="+", default=[1_000_000, 4_000_000, 9_000_000])
    parser.add_argument("--skip", nargs="*", default=[], choices=SECTIONS)
    for finder in ("original", "bdsf", "sep"):
        parser.add_argument(f"--{finder}", metavar="PYTHON")
    options = parser.parse_args()
    options.data = options.data.resolve()
    options.work.mkdir(parents=True, exist_ok=True)
    # What is installed has its modules compiled, a working tree may not.
    compileall.compile_dir(Path(hyper_py.__file__).parent, quiet=1)
    text = [
        "# Speed",
        "",
        "Written by `python benchmarks/speed.py`: medians; what each means is at the head of it.",
        "",
    ]
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        work = Path(folder).resolve()
        for section in SECTIONS:
            if section not in options.skip:
                text += globals()[section](options, work)
    used = {"ours": sys.executable} | {f: getattr(options, f) for f in ("original", "bdsf", "sep")}
    text += [f"- {name} {versions(name, python)}" for name, python in used.items() if python]
    text += [f"- Python {platform.python_version()}, NumPy {np.__version__}, {os.cpu_count()} cores"]
    write_results("speed", text)


if __name__ == "__main__":
    main()
