"""Sources wider than the beam: ours, PyBDSF and Aegean on the presets `resolved` and `clumps`.

    python benchmarks/wide.py --work DIR [--bdsf PYTHON] [--aegean PYTHON] [--seeds 1 2 ...] [--presets ...]

Each finder runs with one setting (5 sigma; ours with its defaults); benchmarks/peers/README.md says how to
make the environments of the others. Tables that DIR holds already are not made again. A row is a source's if
it is the nearest within half a beam or a quarter of the source's FWHM; every other row is false. Prints the
results as Markdown.
"""

import argparse
import json
import subprocess
import sys
import time
import warnings
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import numpy as np
from astropy.table import QTable, Table

import hyper_py
from hyper_py.diagnostics import Flag
from peers import HERE, simulated

SETTINGS = {
    "bdsf": {"box": 12, "thresh_pix": 5.0, "thresh_isl": 3.0, "mean_map": "map"},
    "aegean": {"box": 12, "grid": 3, "seedclip": 5.0, "floodclip": 3.5},
}
TITLES = {"ours": "this Hyper-Py", "bdsf": "PyBDSF", "aegean": "Aegean"}
EDGES = (0.0, 1.5, 2.5, 3.5, 5.0, 7.0)
MARKED = int(
    Flag.OTHER_PROFILE | Flag.FLUX_AT_BOUND | Flag.VERY_WIDE | Flag.SIZE_AT_BOUND | Flag.PROFILE_UNKNOWN
)


def catalogue(finder: str, python: str, path: Path, out: Path) -> None:
    """Make the table of a finder."""
    began = time.monotonic()
    if finder == "ours":
        hyper_py.extract_sources(hyper_py.read_image(path)).catalog.write(out, overwrite=True)
    else:
        script = HERE / "peers" / f"run_{finder}.py"
        command = [python, str(script), str(path), str(out), json.dumps(SETTINGS[finder])]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    print(f"{out.name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)


def matched(rows: QTable, truth: Table, beam: float, size: np.ndarray) -> np.ndarray:
    """Return the row of each true source, the brightest first, or -1."""
    x, y = (np.asarray(getattr(rows[c], "value", rows[c]), float) for c in ("X", "Y"))
    index, free = np.full(len(truth), -1), np.ones(x.size, dtype=bool)
    for k in np.argsort(-truth["FLUX"].value):
        away = np.where(free, np.hypot(x - truth["X"][k].value, y - truth["Y"][k].value), np.inf)
        if away.size and away.min() < beam * max(0.5, 0.25 * size[k]):
            index[k] = away.argmin()
            free[index[k]] = False
    return index


def compared(rows: QTable, truth: Table, beam: float) -> tuple[Table, int]:
    """Return one row for each true source, and the number of rows."""
    scale = np.sqrt(truth.meta["beam"][0] * truth.meta["beam"][1])
    size = truth["FWHM_1"].to_value("arcsec") / scale
    index = matched(rows, truth, beam, size)
    found, own = index >= 0, np.maximum(index, 0)
    result = Table({"size": size, "profile": np.asarray(truth["PROFILE"]), "found": found})
    flux, error = (rows[c].to_value("Jy")[own] for c in ("FLUX", "FLUX_ERR"))
    true = truth["FLUX"].to_value("Jy")
    result["ratio"], result["pull"] = np.where(found, flux / true, np.nan), (flux - true) / error
    measured = np.sqrt(rows["FWHM_1"].to_value("arcsec") * rows["FWHM_2"].to_value("arcsec"))[own]
    result["width"] = measured / np.sqrt(
        truth["FWHM_1"].to_value("arcsec") * truth["FWHM_2"].to_value("arcsec")
    )
    flags = np.asarray(rows["FLAGS"])[own] if "FLAGS" in rows.colnames else np.zeros(len(truth), int)
    result["marked"] = (flags & MARKED) != 0
    return result, len(rows)


def spread(values: np.ndarray) -> float:
    """Return 1.4826 MAD."""
    values = values[np.isfinite(values)]
    return float(1.4826 * np.median(np.abs(values - np.median(values)))) if values.size else np.nan


def unflagged(ratio: np.ndarray, marked: np.ndarray) -> str:
    """Return the bias of the sources without a flag, and their number."""
    return f"{np.nanmedian(ratio[~marked]) - 1:+.1%} ({np.sum(~marked)})" if not marked.all() else "-"


def show(preset: str, seeds: list[int], results: dict[str, list[tuple[Table, int]]]) -> None:
    """Print the results of one preset."""
    print(f"\n## {preset}, seeds {', '.join(map(str, seeds))}\n")
    print("| finder | completeness | purity |\n|---|---|---|")
    for finder, parts in results.items():
        found = sum(int(np.sum(part["found"])) for part, _ in parts)
        total, rows = sum(len(part) for part, _ in parts), sum(n for _, n in parts)
        print(f"| {TITLES[finder]} | {found / total:.1%} | {found / max(rows, 1):.1%} |")
    print("\n| finder | profile | size (beams) | found | flux bias | scatter | pull width | size | flagged "
          "| bias of the others |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|---|")
    for finder, parts in results.items():
        every = {
            name: np.concatenate([np.asarray(part[name]) for part, _ in parts])
            for name in parts[0][0].colnames
        }
        for profile in ("gaussian", "disc", "core", "ring"):
            edges = EDGES if profile == "gaussian" else (0.0, 5.0, 7.0)
            for low, high in pairwise(edges):
                some = (every["profile"] == profile) & (every["size"] >= low) & (every["size"] < high)
                seen = some & every["found"]
                if not seen.any():
                    continue
                ratio = every["ratio"][seen]
                cells = [
                    TITLES[finder], profile, f"{low:g}-{high:g}", f"{seen.sum()} of {some.sum()}",
                    f"{np.nanmedian(ratio) - 1:+.1%}", f"{spread(ratio):.1%}",
                    f"{spread(every['pull'][seen]):.2f}", f"{np.nanmedian(every['width'][seen]) - 1:+.1%}",
                    f"{np.mean(every['marked'][seen]):.0%}", unflagged(ratio, every["marked"][seen]),
                ]  # fmt: skip
                print("| " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--presets", nargs="+", default=["resolved", "clumps"])
    for finder in SETTINGS:
        parser.add_argument(f"--{finder}", default="", metavar="PYTHON")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    print("# Sources wider than the beam\n\nMade by `benchmarks/wide.py`.")
    for preset in options.presets:
        results: dict[str, list[tuple[Table, int]]] = defaultdict(list)
        for seed in options.seeds:
            sky = simulated(preset, seed, options.work)
            for finder in TITLES:
                out = options.work / f"{preset}_{seed}_{finder}.ecsv"
                python = getattr(options, finder, sys.executable)
                if not out.exists():
                    if not python:
                        continue
                    catalogue(finder, python, sky.per_beam, out)
                results[finder].append(compared(QTable.read(out), sky.truth, sky.beam_fwhm_pix))
        show(preset, options.seeds, results)


if __name__ == "__main__":
    main()
