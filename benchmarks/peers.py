"""Other source finders and ours on the same maps: what is found, how right it is, and what it costs.

    python benchmarks/peers.py tune   --work DIR --bdsf PYTHON [...] [--presets alma ...] [--seed 100]
    python benchmarks/peers.py run    --work DIR --bdsf PYTHON [...] [--presets alma ...] [--data DIR]
    python benchmarks/peers.py report --work DIR

Each finder runs as a process of its own in an environment of its own, given by the Python of that
environment (benchmarks/peers/README.md says how to make them); ours runs in this one. `tune` tries a grid
of settings on a seed that is never scored and keeps in benchmarks/peers/settings.json those of least flux
scatter among the ones within 0.01 of the best harmonic mean of completeness and purity. `run` scores them
on other seeds and, with --data, on both published maps, whose settings are those of the preset made like
them. `report` writes benchmarks/results/finders.md, with what `published.py --output DIR` left in the same
DIR. A run that DIR holds already is not repeated, nor one of ours that the same code has made.
completeness.py compares at equal purity.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import QTable, Table
from astropy.wcs import WCS, FITSFixedWarning

import hyper_py
from hyper_py.simulation.complexes import on_clumps
from hyper_py.simulation.presets import PRESETS
from hyper_py.simulation.simulate import simulate_image
from hyper_py.validation.matching import inside_margin
from hyper_py.validation.validation import validate

HERE = Path(__file__).parent
SETTINGS = HERE / "peers" / "settings.json"
SOURCELESS = {"empty": "deep", "empty_lognormal": "deep"}
"""Presets without a source, and those whose settings and thresholds are used on them."""
MAP_PRESETS = (
    "alma", "deep", "herschel", "faint", "crowded", "interferometer", "interferometer_dirty", "dynamic",
    "complex", "edges", "edges_error", "oversampled", "clumps", "resolved", *SOURCELESS,
)  # fmt: skip
PAPER_LIKE = "alma"
FIXED: dict[str, dict[str, Any]] = {
    "ours": {},
    "classic": {
        "fit_options.noise_model": "white",
        "background.method": "polynomial",
        "detection.method": "highpass",
    },
    "lower": {"detection.sigma_thres": 3.7},
    "before": {},
    "before_lower": {"detection.sigma_thres": 3.7},
    "original": {"detection.sigma_thres": 4.0, "photometry.fwhm_radius_ratio": 1.0},
}
GRIDS: dict[str, dict[str, list[Any]]] = {
    "bdsf": {"thresh_pix": [4.0, 5.0], "thresh_isl": [3.0, 4.0], "mean_map": ["default", "map"], "box": [12]},
    "aegean": {"seedclip": [4.0, 5.0], "floodclip": [3.5], "grid": [0, 3], "box": [12]},
    "sep": {
        "thresh": [2.0, 3.0, 4.0],
        "mesh": [3, 6],
        "deblend_cont": [1e-5, 1e-4],
        "aperture": [1.5],
        "smooth": [False, True],
    },
    "photutils": {"thresh": [2.5, 4.0], "mesh": [4, 8], "separation": [0.6, 1.0]},
}
FINDERS = (*FIXED, *GRIDS)
OURS, BEFORE = ("ours", "classic", "lower"), ("before", "before_lower")
"""This package in various ways, and another version of it."""
TITLES = {
    "ours": "this Hyper-Py",
    "classic": "this, high-pass and white noise",
    "lower": "this, lower threshold",
    "before": "this, another version",
    "before_lower": "another version, lower threshold",
    "original": "Hyper-Py 1.2.3",
    "bdsf": "PyBDSF",
    "aegean": "Aegean",
    "sep": "SEP",
    "photutils": "photutils",
}
PACKAGES = {
    **dict.fromkeys((*OURS, *BEFORE), "hyper-py"),
    "original": "hyper-py-photometry",
    "bdsf": "bdsf",
    "aegean": "AegeanTools",
    "sep": "sep",
    "photutils": "photutils",
}

FORMS = {
    "completeness": ".3f",
    "purity": ".3f",
    "false": ".1f",
    "flux bias": "+.1%",
    "flux scatter": ".1%",
    "isolated": ".1%",
    "flux pull": ".2f",
    "peak bias": "+.1%",
    "peak scatter": ".1%",
    "position": ".3f",
    "wall": ".1f",
    "cpu": ".1f",
    "MB": ".0f",
}


@dataclass(frozen=True)
class Input:
    """A map on disk, in Jy/beam and, for the original, in Jy/pixel, with its truth."""

    name: str
    preset: str
    per_beam: Path
    per_pixel: Path
    truth: Table
    beam_fwhm_pix: float


def simulated(preset: str, seed: int, work: Path) -> Input:
    """Write a simulated map in both units; return it with its truth."""
    name = f"{preset}_{seed}"
    per_beam, per_pixel, truth = (
        work / f"{name}{end}" for end in ("_beam.fits", "_pixel.fits", "_truth.ecsv")
    )
    if not truth.exists():
        simulation = simulate_image(preset, seed=seed)
        header, image = simulation.header(), simulation.image
        for path, factor, unit in (
            (per_beam, image.beam_area_pix, "Jy/beam"), (per_pixel, 1.0, "Jy/pixel")
        ):  # fmt: skip
            error = None if image.error is None else factor * image.error
            write_map(path, factor * image.data, header, unit, error=error)
        simulation.truth.write(truth, format="ascii.ecsv", overwrite=True)
    table = QTable.read(truth, format="ascii.ecsv")
    return Input(name, preset, per_beam, per_pixel, table, float(table.meta["beam_pixels"]))


def published(number: int, data: Path, work: Path) -> Input:
    """Write a published map in Jy/beam too; return it with its truth (sizes are one number a source)."""
    path = data / f"map_500_Gaussians_{number}.fits"
    header = fits.getheader(path)
    scale = 3600.0 * header["CDELT2"]
    beam = float(np.sqrt(header["BMAJ"] * header["BMIN"])) * 3600.0 / scale
    area = np.pi / (4.0 * np.log(2.0)) * beam**2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        celestial = WCS(header).celestial
    plain = dict(celestial.to_header()) | {key: header[key] for key in ("BMAJ", "BMIN", "BPA")}
    per_beam = work / f"published_{number}_beam.fits"
    write_map(per_beam, fits.getdata(path) * area, plain, "Jy/beam")
    table = Table.read(data / f"table_500_Gaussians_{number}.txt", format="ascii.ipac")
    truth = Table(
        {"X": np.array(table["X"]), "Y": np.array(table["Y"]), "FLUX": np.array(table["Flux_Integrated"])}
    )
    truth["FLUX_PEAK"] = np.array(table["Flux_Peak"]) * area
    truth["FWHM_GEOM"] = np.array(table["FWHM"]) * scale
    for column, unit in (("FLUX", "Jy"), ("FLUX_PEAK", "Jy / beam"), ("FWHM_GEOM", "arcsec")):
        truth[column].unit = unit
    return Input(f"published_{number}", PAPER_LIKE, per_beam, path, truth, beam)


def write_map(path: Path, data: Any, header: dict[str, Any], unit: str, *, error: Any = None) -> None:
    cards = fits.Header()
    for key, value in (header | {"BUNIT": unit}).items():
        cards[key] = value
    planes = [fits.PrimaryHDU(data, cards)]
    if error is not None:
        planes.append(fits.ImageHDU(error, cards, name="ERROR"))
    fits.HDUList(planes).writeto(path, overwrite=True)


def run_finder(
    finder: str, python: str, item: Input, settings: dict[str, Any], work: Path, timeout: float
) -> dict[str, Any]:
    """Run one finder on one map, unless `work` has that run; return its numbers, or why there are none."""
    is_ours = finder in OURS
    named = json.dumps(settings, sort_keys=True) + (our_code() if is_ours else "")
    mark = hashlib.md5(named.encode()).hexdigest()[:8]
    out = work / f"{item.name}_{finder}_{mark}.ecsv"
    kept = out.with_suffix(".json")
    if kept.exists():
        return json.loads(kept.read_text())
    path = item.per_pixel if finder == "original" else item.per_beam
    script = HERE / "peers" / f"run_{'ours' if is_ours or finder in BEFORE else finder}.py"
    command = [python, str(script), str(path), str(out), json.dumps(settings)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    if is_ours:
        environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    else:
        environment.pop("PYTHONPATH", None)
    out.unlink(missing_ok=True)
    with out.with_suffix(".log").open("w") as log:
        cost = timed(command, environment, log, timeout)
    result = {"map": item.name, "preset": item.preset, "finder": finder, "settings": settings, **cost}
    if out.exists() and cost["status"] == 0:
        result |= {"catalog": str(out)} | score(Table.read(out, format="ascii.ecsv"), item)
    kept.write_text(json.dumps(result))
    return result


@cache
def our_code() -> str:
    """Return a digest of the package, so that what other code of ours has measured is measured again."""
    digest = hashlib.md5()
    for path in sorted(Path(hyper_py.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def timed(command: list[str], environment: dict[str, str], log: Any, timeout: float) -> dict[str, Any]:
    """Run a command; return status (None: stopped), seconds and peak MB, children included."""
    with tempfile.TemporaryDirectory(prefix="peer_") as folder:
        cost = Path(folder) / "cost.json"
        measure = [
            sys.executable,
            "-I",
            "-S",
            str(HERE / "peers" / "measure.py"),
            f"{timeout:.0f}",
            str(cost),
        ]
        subprocess.run(
            [*measure, *command], env=environment, stdout=log, stderr=subprocess.STDOUT, check=True
        )
        return json.loads(cost.read_text())


def score(catalog: Table, item: Input) -> dict[str, Any]:
    """Validate; truth within one beam of the border or of blank pixels does not count, nor do clumps."""
    valid = np.isfinite(fits.getdata(item.per_beam))
    x, y = np.array(item.truth["X"]), np.array(item.truth["Y"])
    counted = inside_margin(x, y, valid=valid, margin=item.beam_fwhm_pix) & real_sources(item.truth)
    neutral = on_clumps(catalog["X"], catalog["Y"], item.truth)
    return validate(
        catalog, item.truth, beam_fwhm=item.beam_fwhm_pix, coordinates="pixel", counted=counted,
        neutral=neutral,
    ).to_dict()  # fmt: skip


def real_sources(truth: Table) -> Any:
    """Return which rows of a truth are compact sources and no clumps of complexes."""
    clump = truth["CLUMP"] if "CLUMP" in truth.colnames else np.zeros(len(truth))
    return ~np.asarray(clump, dtype=bool)


def combinations(grid: dict[str, list[Any]]) -> Iterator[dict[str, Any]]:
    for values in product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def harmonic(result: dict[str, Any]) -> float:
    """Return the harmonic mean of completeness and purity; 0 for a failed run."""
    shares = [result.get(key, {}).get("value") or 0.0 for key in ("completeness", "purity")]
    return 2.0 * shares[0] * shares[1] / sum(shares) if sum(shares) else 0.0


def versions(finder: str, python: str) -> str:
    """Return the version of a finder; of ours with the last commit that changed it."""
    code = f"from importlib.metadata import version; print(version('{PACKAGES[finder]}'))"
    if PACKAGES[finder] == "hyper-py":
        last = ["git", "-C", str(HERE.parent), "log", "-1", "--format=%h of %cs", "--", "src"]
        commit = subprocess.run(last, capture_output=True, text=True, check=False).stdout.strip()
        return f"{hyper_py.__version__}, {commit}" if commit else hyper_py.__version__
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def line(result: dict[str, Any]) -> str:
    head = f"{result['map']:14} {result['finder']:10}"
    if "completeness" not in result:
        return f"{head} {why_not(result)}"
    return f"{head} " + " ".join(f"{key} {value}" for key, value in cells([result]).items())


def numbers(result: dict[str, Any]) -> dict[str, float]:
    """Return the columns of the table for one run; NaN where not known."""
    every, single = (result["samples"][name]["statistics"] for name in ("all", "isolated"))

    def get(statistics: dict[str, Any], name: str, key: str) -> float:
        value = statistics.get(name, {}).get(key)
        return np.nan if value is None else float(value)

    place = [get(every, axis, "scatter") for axis in "xy"]
    return {  # without a true source only the false ones say something
        **{
            key: np.nan if result["completeness"]["whole"] == 0 else result[key]["value"] or 0.0
            for key in ("completeness", "purity")
        },
        "false": result["purity"]["whole"] - result["purity"]["part"],
        "flux bias": get(every, "flux", "bias"),
        "flux scatter": get(every, "flux", "scatter"),
        "isolated": get(single, "flux", "scatter"),
        "flux pull": get(every, "flux", "pull_width"),
        "peak bias": get(every, "peak", "bias"),
        "peak scatter": get(every, "peak", "scatter"),
        "position": float(np.sqrt(np.mean(np.square(place)))),
        "wall": result["wall"],
        "cpu": result["cpu"],
        "MB": result["memory"],
    }


def cells(results: list[dict[str, Any]]) -> dict[str, str]:
    """Return the columns of the table: the means over runs, one a seed."""
    rows = [numbers(result) for result in results]
    means = {name: float(np.mean([row[name] for row in rows])) for name in FORMS}
    return {name: format(mean, FORMS[name]) if np.isfinite(mean) else "-" for name, mean in means.items()}


def why_not(result: dict[str, Any]) -> str:
    """Return why a run has no numbers; seconds are those of the processor."""
    if result["status"] is None:
        return f"{result['map']}: no result in {result['cpu']:.0f} s"
    return f"{result['map']}: failed with status {result['status']} after {result['cpu']:.0f} s"


def table(finders: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Return the lines of the table of one kind of map: the runs of each finder."""
    lines = ["| finder | " + " | ".join(FORMS) + " |", "|---" * (len(FORMS) + 1) + "|"]
    for finder, runs in finders.items():
        good = [r for r in runs if "completeness" in r]
        lost = "; ".join(why_not(r) for r in runs if "completeness" not in r)
        values = list(cells(good).values()) if good else [lost] + [""] * (len(FORMS) - 1)
        label = f"{TITLES[finder]} ({lost})" if good and lost else TITLES[finder]
        lines.append(f"| {label} | " + " | ".join(values) + " |")
    return lines


def tune(options: argparse.Namespace) -> None:
    chosen = json.loads(SETTINGS.read_text()) if SETTINGS.exists() else {}
    for preset in [name for name in options.presets if name not in SOURCELESS]:
        item = simulated(preset, options.seed, options.work)
        for finder, python in environments(options).items():
            tried = []
            for settings in combinations(GRIDS[finder]) if finder in GRIDS else ():
                result = run_finder(finder, python, item, settings, options.work, options.timeout)
                print(f"{harmonic(result):.4f} {settings} {line(result)}", flush=True)
                tried.append(result)
            if tried:
                chosen.setdefault(preset, {})[finder] = best(tried)["settings"]
                SETTINGS.write_text(json.dumps(chosen, indent=1, sort_keys=True) + "\n")


def best(tried: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the run of least flux scatter among those within 0.01 of the best harmonic mean."""
    top = max(map(harmonic, tried))
    good = [result for result in tried if harmonic(result) >= top - 0.01]
    return min(good, key=lambda r: r["samples"]["all"]["statistics"]["flux"]["scatter"] if top else 0.0)


def run(options: argparse.Namespace) -> None:
    chosen = json.loads(SETTINGS.read_text()) if SETTINGS.exists() else {}
    items = [published(number, options.data, options.work) for number in (1, 2)] if options.data else []
    items += [simulated(preset, seed, options.work) for preset in options.presets for seed in options.seeds]
    store = options.work / "results.json"
    results = json.loads(store.read_text()) if store.exists() else {}
    for item in items:
        for finder, python in environments(options).items():
            settings = FIXED.get(finder, {})
            if finder not in FIXED:
                settings = chosen[SOURCELESS.get(item.preset, item.preset)][finder]
            result = run_finder(finder, python, item, settings, options.work, options.timeout)
            result["version"] = versions(finder, python)
            results[f"{item.name} {finder}"] = result
            store.write_text(json.dumps(results, indent=1))
            print(line(result), flush=True)


def report(options: argparse.Namespace) -> None:
    results = json.loads((options.work / "results.json").read_text())

    def kind_of(result: dict[str, Any]) -> str:
        return result["map"] if result["map"].startswith("published") else result["preset"]

    kinds = sorted({kind_of(r) for r in results.values()}, key=lambda k: (not k.startswith("published"), k))
    text = [(HERE / "peers" / "RESULTS_HEAD.md").read_text().rstrip(), ""]
    paper = options.work / "published.txt"
    if paper.exists():
        text += ["## The published catalogues, and ours", "", "```", paper.read_text().rstrip(), "```", ""]
    for kind in kinds:
        runs = [r for r in results.values() if kind_of(r) == kind]
        seeds = sorted({r["map"].removeprefix(f"{kind}_") for r in runs})
        title = kind if kind.startswith("published") else f"{kind}, seeds {' '.join(seeds)}"
        finders = {finder: [r for r in runs if r["finder"] == finder] for finder in FINDERS}
        text += [f"## {title}", "", *table({name: of for name, of in finders.items() if of}), ""]
    text += ["## Versions and settings", ""]
    for finder in FINDERS:
        used = [r for r in results.values() if r["finder"] == finder]
        if used:
            version = ", ".join(sorted({r["version"] for r in used}))
            text.append(f"- {TITLES[finder]} ({PACKAGES[finder]} {version})")
            for preset in sorted({r["preset"] for r in used}):
                settings = next(r["settings"] for r in used if r["preset"] == preset)
                text.append(f"  - {preset}: `{json.dumps(settings)}`")
    write_results("finders", text)


def write_results(topic: str, text: list[str]) -> None:
    """Write the page of one topic in benchmarks/results."""
    (HERE / "results" / f"{topic}.md").write_text("\n".join(text).strip() + "\n")


def environments(options: argparse.Namespace) -> dict[str, str]:
    """The finders asked for and the Python of each."""
    given = {finder: getattr(options, finder) for finder in FINDERS if finder not in OURS + BEFORE}
    given |= {"ours": options.ours, "classic": options.ours, "before": options.before}
    return {finder: given[finder] for finder in FINDERS if given.get(finder)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=("tune", "run", "report"))
    parser.add_argument("--work", type=Path, required=True, help="folder for maps, catalogues and numbers")
    parser.add_argument("--data", type=Path, help="folder of the published maps")
    parser.add_argument("--presets", nargs="*", default=[], choices=[p for p in MAP_PRESETS if p in PRESETS])
    parser.add_argument("--seeds", nargs="*", type=int, default=[1, 2, 3])
    parser.add_argument("--seed", type=int, default=100, help="seed to tune on")
    parser.add_argument("--timeout", type=float, default=900.0, help="seconds of processor time of a run")
    parser.add_argument("--ours", nargs="?", const=sys.executable, metavar="PYTHON")
    for finder in ("before", "original", *GRIDS):
        parser.add_argument(f"--{finder}", metavar="PYTHON")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    options.work = options.work.resolve()
    if options.action != "report" and options.seed in options.seeds and options.action == "run":
        parser.error(f"seed {options.seed} is for tuning: score other seeds")
    {"tune": tune, "run": run, "report": report}[options.action](options)


if __name__ == "__main__":
    main()
