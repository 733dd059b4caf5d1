"""Completeness of our finder and others at the same purity, on simulated maps.

    python benchmarks/completeness.py tune   --work DIR --ours --bdsf PYTHON [...] [--presets deep ...]
    python benchmarks/completeness.py run    --work DIR --ours --bdsf PYTHON [...] [--presets deep ...]
    python benchmarks/completeness.py report --work DIR [--output FIGURE]

The finders and their environments are those of benchmarks/peers.py. `tune`
tries every setting on the first of `--tuning` and the best on all of them. Our threshold is
`detection.sigma_thres` (the settings committed are the defaults, not tuned); the other finders get, besides
low thresholds of their own, a lower limit to the
signal to noise that they report, the one of highest completeness at a mean purity of at least `--purity`,
which is above 99% because a threshold chosen at 99% would miss that on half of other seeds. Presets
without a source use what was chosen for `deep`, and count false rows. The original
only detects (its fits take a minute a map, and leave its positions where they are), and is cut in the map's
value there over the clipped rms. `--before` is the Python of an environment with another version of this
package, which runs with its defaults, as does our high-pass way (`classic`). Both versions also run with a
lower threshold (`lower`), so that their completeness in hindsight is at the same purity. `run` scores seeds
that took no part; `--only` names some of these finders. `report` writes benchmarks/results/completeness.md
and a figure.
"""

import argparse
import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from astropy.io import fits
from astropy.table import Table

from hyper_py.simulation.complexes import on_clumps
from hyper_py.validation.matching import inside_margin, match_positions
from peers import (
    BEFORE,
    FINDERS,
    FIXED,
    OURS,
    SOURCELESS,
    TITLES,
    Input,
    combinations,
    real_sources,
    run_finder,
    score,
    simulated,
    table,
    versions,
    why_not,
    write_results,
)

HERE = Path(__file__).parent
SETTINGS = HERE / "peers" / "settings_completeness.json"
PRESETS = (
    "deep", "crowded", "faint", "herschel", "interferometer", "interferometer_dirty", "dynamic", "complex",
    "edges", "edges_error", "oversampled", *SOURCELESS,
)  # fmt: skip
UNTUNED = (*OURS[1:], *BEFORE)
ABREAST = 6
"""Presets side by side in the figure."""
THRESHOLDS = [round(0.1 * k, 1) for k in range(37, 56)] + [6.0, 7.0, 8.0]
# Their own thresholds are low: what the cut leaves out is decided by purity.
GRIDS: dict[str, dict[str, list[Any]]] = {
    "bdsf": {"thresh_pix": [3.0], "thresh_isl": [2.0, 2.5], "mean_map": ["default", "map"], "box": [12]},
    "aegean": {"seedclip": [3.0], "floodclip": [2.0], "grid": [0], "box": [4, 6, 12]},
    "photutils": {"thresh": [2.5, 4.0], "mesh": [4, 6], "separation": [0.6, 1.0]},
    "sep": {
        "thresh": [1.5],
        "mesh": [3, 6],
        "deblend_cont": [1e-5, 1e-3],
        "aperture": [1.5],
        "smooth": [False, True],
    },
    "original": {"control.detection_only": [True], "detection.sigma_thres": [3.0]},
}
CUTS = np.concatenate([[0.0], np.arange(2.0, 10.0, 0.1), np.arange(10.0, 60.0, 0.5)])
GOALS = {"deep": 10, "crowded": 7, "faint": 3, "herschel": 5}  # percentage points above the best other finder
SNR_EDGES = (3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 60.0)
NEAREST_EDGES = (0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0)


class Found(NamedTuple):
    """Detections inside the map with their signal to noise, and the truth that counts or does not; pixels."""

    points: np.ndarray
    snr: np.ndarray
    truth: np.ndarray
    counted: np.ndarray
    tolerance: float
    neutral: np.ndarray


def load(result: dict[str, Any], item: Input) -> Found:
    truth = np.column_stack([np.array(item.truth["X"]), np.array(item.truth["Y"])])
    valid = np.isfinite(fits.getdata(item.per_beam))
    counted = inside_margin(*truth.T, valid=valid, margin=item.beam_fwhm_pix) & real_sources(item.truth)
    points, snr = np.empty((0, 2)), np.empty(0)
    if "catalog" in result:
        table = Table.read(result["catalog"], format="ascii.ecsv")
        points = np.column_stack([np.array(table["X"], dtype=float), np.array(table["Y"], dtype=float)])
        snr = np.zeros(len(table))
        if "SNR" in table.colnames:
            snr = np.nan_to_num(np.ma.filled(table["SNR"].astype(float), 0.0))
        real = np.isfinite(points).all(axis=1)
        points, snr = points[real], snr[real]
    neutral = on_clumps(*points.T, item.truth)
    return Found(points, snr, truth, counted, 0.5 * item.beam_fwhm_pix, neutral)


def match(found: Found, cut: float) -> tuple[float, float, np.ndarray]:
    """Match one to one within half a beam; return completeness, purity and which of the truth is found.

    Without a source to be found the completeness is 1.
    """
    bright = found.snr >= cut if cut else np.ones(len(found.points), dtype=bool)
    i, j = match_positions(found.points[bright], found.truth, tolerance=found.tolerance)
    is_found = np.zeros(len(found.truth), dtype=bool)
    is_found[j] = True
    unmatched = np.delete(found.neutral[bright], i)
    true, false = int(np.sum(found.counted[j])), int(np.sum(~unmatched))
    whole = int(np.sum(found.counted))
    return true / whole if whole else 1.0, true / (true + false) if true + false else 1.0, is_found


def best_cut(runs: list[tuple[dict[str, Any], Input]], purity: float, cuts: Any) -> tuple[float, ...]:
    """Return (reached, completeness, purity, cut): the most complete that is pure enough, else the purest."""
    tried, loaded = [], [load(result, item) for result, item in runs]
    for cut in cuts:
        c, p = np.mean([match(found, cut)[:2] for found in loaded], axis=0).tolist()
        tried.append((p >= purity, c if p >= purity else p, c, p, float(cut)))
    reached, _, c, p, cut = max(tried)
    return reached, c, p, cut


def tune_cut(finder: str, go: Any, items: list[Input], purity: float, known: Any) -> dict[str, Any]:
    """Choose the settings on the first map, unless they are known, and the cut on all maps."""
    tried = []
    for settings in [known] if known else combinations(GRIDS[finder]):
        result = go(finder, items[0], settings)
        tried.append((best_cut([(result, items[0])], purity, CUTS), settings))
        print(f"{items[0].name} {finder} {tried[-1][0]} {settings}", flush=True)
    settings = max(tried, key=lambda pair: pair[0])[1]
    score = best_cut([(go(finder, item, settings), item) for item in items], purity, CUTS)
    return {"settings": settings, "cut": score[3], "tuned": score}


def tune_threshold(go: Any, items: list[Input], purity: float, grid: list[float]) -> dict[str, Any]:
    """Find our lowest sigma_thres that is pure enough: guessed by cutting runs at the lowest, then tried."""

    def at(threshold: float, cuts: list[float]) -> tuple[float, ...]:
        settings = {"detection.sigma_thres": threshold}
        score = best_cut([(go("ours", item, settings), item) for item in items], purity, cuts)
        print(f"{items[0].preset} ours {score} {settings}", flush=True)
        return score

    reached, _, _, guess = at(grid[0], grid)
    for threshold in [value for value in grid if value >= guess] if reached else grid[-1:]:
        score = at(threshold, [0.0])
        if score[0]:
            break
    return {"settings": {"detection.sigma_thres": threshold}, "cut": 0.0, "tuned": score}


def tune(options: argparse.Namespace, go: Any) -> None:
    for preset in [name for name in options.presets if name not in SOURCELESS]:
        for finder in [name for name in options.finders if name not in UNTUNED]:
            seeds = options.tuning[:1] if finder in options.brief else options.tuning
            items = [simulated(preset, seed, options.work) for seed in seeds]
            chosen = json.loads(SETTINGS.read_text()) if SETTINGS.exists() else {}
            known = chosen[options.like][finder]["settings"] if options.like else None
            if finder == "ours":
                choice = tune_threshold(go, items, options.purity, options.thresholds)
            else:
                choice = tune_cut(finder, go, items, options.purity, known)
            chosen.setdefault(preset, {})[finder] = choice | {"seeds": seeds}
            SETTINGS.write_text(json.dumps(chosen, indent=1, sort_keys=True) + "\n")
            print(f"{preset} {finder} chosen: {choice}", flush=True)


def run(options: argparse.Namespace, go: Any) -> None:
    chosen = json.loads(SETTINGS.read_text())
    store = options.work / "completeness.json"
    for preset in options.presets:
        for finder in options.finders:
            choice = chosen.get(SOURCELESS.get(preset, preset), {}).get(finder)
            if finder in UNTUNED:
                choice = {"settings": FIXED[finder], "cut": 0.0, "seeds": []}
            if choice is None:
                continue
            if set(choice["seeds"]) & set(options.seeds):
                raise SystemExit(f"seeds {choice['seeds']} are for tuning: score other seeds")
            for seed in options.seeds:
                item = simulated(preset, seed, options.work)
                result = go(finder, item, choice["settings"])
                found = load(result, item)
                completeness, purity, is_found = match(found, choice["cut"])
                numbers = {
                    key: result[key] for key in ("status", "wall", "cpu", "memory", "finder", "preset")
                }
                numbers |= {"catalog": result.get("catalog"), "cut": choice["cut"]}
                numbers |= {"seed": seed, "completeness": completeness, "purity": purity}
                numbers |= {"version": versions(finder, options.python[finder])}
                kept = found.snr >= choice["cut"] if choice["cut"] else np.ones(len(found.points), dtype=bool)
                numbers["rows"] = int(kept.sum())
                numbers["found"] = is_found[found.counted].tolist()
                numbers["snr"] = np.array(item.truth["PEAK_SNR"])[found.counted].tolist()
                numbers["nearest"] = np.array(item.truth["NEAREST"])[found.counted].tolist()
                results = json.loads(store.read_text()) if store.exists() else {}
                results[f"{preset} {seed} {finder}"] = numbers
                store.write_text(json.dumps(results))
                shown = f"completeness {completeness:.3f} purity {purity:.4f} {result['cpu']:.1f} s"
                print(f"{item.name} {finder} {shown}, status {result['status']}", flush=True)


def share(runs: list[dict[str, Any]], key: str, low: float, high: float) -> tuple[int, int]:
    """Return how many true sources with `key` in [low, high) were found, and how many there are."""
    parts = []
    for numbers in runs:
        inside = (np.array(numbers[key]) >= low) & (np.array(numbers[key]) < high)
        parts.append((int(np.sum(np.array(numbers["found"])[inside])), int(np.sum(inside))))
    return tuple(map(sum, zip(*parts, strict=True)))


def spread(values: list[float], digits: int = 3) -> str:
    return f"{np.mean(values):.{digits}f} [{min(values):.{digits}f}, {max(values):.{digits}f}]"


def grouped(options: argparse.Namespace) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Return the runs by preset and finder."""
    groups: dict[str, dict[str, list[dict[str, Any]]]] = {}
    results = json.loads((options.work / "completeness.json").read_text()).values()
    for preset in PRESETS:
        for finder in FINDERS:
            runs = [r for r in results if r["preset"] == preset and r["finder"] == finder]
            if runs:
                groups.setdefault(preset, {})[finder] = runs
    return groups


def report(options: argparse.Namespace, _: Any) -> None:
    text = [(HERE / "peers" / "COMPLETENESS_HEAD.md").read_text().rstrip(), ""]
    groups = grouped(options)
    store = options.work / "results.json"  # of peers.py: the original's whole runs
    peers = json.loads(store.read_text()).values() if store.exists() else []
    text += [*summary(groups, options.work), ""]
    if options.output:
        draw({name: of for name, of in groups.items() if name not in SOURCELESS}, options.output)
        text += [f"![Completeness by signal to noise and crowding]({options.output.name})", ""]
    for preset, finders in groups.items():
        if preset in SOURCELESS:
            text += [f"## {preset}", "", *false_rows(finders), ""]
            continue
        text += [f"## {preset}", "", _header(), "|---" * (_header().count("|") - 1) + "|"]
        for finder, runs in finders.items():
            if lost := [why_not({"map": f"seed {r['seed']}"} | r) for r in runs if r["status"] != 0]:
                text.append(f"| {TITLES[finder]} | {'; '.join(lost)} |" + " |" * (_header().count("|") - 3))
                continue
            text.append(_row(finder, runs, options.work))
        rows = {name: measured(runs, options.work) for name, runs in finders.items() if name != "original"}
        if whole := [r for r in peers if r["preset"] == preset and r["finder"] == "original"]:
            rows["original"] = whole
        text += ["", *table(rows), ""]
    text += ["## Versions and settings", "", *settings_used(groups)]
    write_results("completeness", text)


def false_rows(finders: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Return the lines of the table of rows on maps without a source."""
    lines = ["| finder | rows a map | seeds |", "|---|---|---|"]
    for finder, runs in finders.items():
        good = [r["rows"] for r in runs if r["status"] == 0]
        lines.append(f"| {TITLES[finder]} | {spread(good, 1) if good else 'no result'} | {len(runs)} |")
    return lines


def summary(groups: dict[str, dict[str, list[dict[str, Any]]]], work: Path) -> list[str]:
    """Return the lines of the table of ours and the best of the others, as tuned and in hindsight."""
    names = (
        "preset | this Hyper-Py | best other | points above | best other in hindsight | points above | goal"
    )
    lines = [f"| {names} |", "|---" * 7 + "|"]
    for preset, finders in groups.items():
        if preset in SOURCELESS:
            continue
        good = {
            finder: runs for finder, runs in finders.items()
            if finder not in UNTUNED and all(r["status"] == 0 for r in runs)
        }  # fmt: skip
        tuned = {f: 100.0 * float(np.mean([r["completeness"] for r in runs])) for f, runs in good.items()}
        late = {f: 100.0 * hindsight(runs, work) for f, runs in good.items() if f != "ours"}
        ours, cells = tuned.pop("ours", np.nan), []
        for others in (tuned, late):
            best = max(others, key=lambda finder: others[finder], default=None)
            if best is None:
                cells.append("- | -")
                continue
            cells.append(f"{TITLES[best]} {others[best]:.1f}% | {ours - others[best]:+.1f}")
        lines.append(f"| {preset} | {ours:.1f}% | {' | '.join(cells)} | {GOALS.get(preset, 0):+d} |")
    return lines


def settings_used(groups: dict[str, dict[str, list[dict[str, Any]]]]) -> list[str]:
    """Return the lines of a list of versions, settings and cuts, and where they were chosen."""
    chosen, lines = json.loads(SETTINGS.read_text()), []
    for finder in FINDERS:
        used = {r["version"] for finders in groups.values() for r in finders.get(finder, [])}
        if used:
            lines.append(f"- {TITLES[finder]} {', '.join(sorted(used))}")
        for preset, finders in groups.items():
            choice = chosen.get(preset, {}).get(finder)
            if finder not in finders or not choice:
                continue
            if not choice["seeds"]:
                lines.append(f"  - {preset}: `{json.dumps(choice['settings'])}`, its defaults")
                continue
            cut = f", signal to noise at least {choice['cut']:.1f}" if choice["cut"] else ""
            c, p = choice["tuned"][1:3]
            chosen_on = f"seeds {' '.join(map(str, choice['seeds']))}: {c:.3f} / {p:.4f}"
            lines.append(f"  - {preset}: `{json.dumps(choice['settings'])}`{cut} ({chosen_on})")
    return lines


def _header() -> str:
    bins = " | ".join(f"{low:g}-{high:g}" for low, high in pairwise(SNR_EDGES))
    first = "finder | completeness | purity | in hindsight | seeds | isolated | within 2 beams | within 1.25"
    return f"| {first} | {bins} | cpu |"


def measured(runs: list[dict[str, Any]], work: Path) -> list[dict[str, Any]]:
    """Return the runs with the quality of their photometry, after the cut."""
    full = []
    for run in runs:
        item = simulated(run["preset"], run["seed"], work)
        cost = {key: run[key] for key in ("status", "wall", "cpu", "memory", "finder")} | {"map": item.name}
        if run["catalog"]:
            catalog = Table.read(run["catalog"], format="ascii.ecsv")
            if run["cut"]:
                catalog = catalog[
                    np.nan_to_num(np.ma.filled(catalog["SNR"].astype(float), 0.0)) >= run["cut"]
                ]
            cost |= score(catalog, item)
        full.append(cost)
    return full


def hindsight(runs: list[dict[str, Any]], work: Path) -> float:
    """Return the completeness at the best cut, chosen on the scored seeds themselves at a purity of 99%."""
    items = [simulated(r["preset"], r["seed"], work) for r in runs]
    reached, completeness, _, _ = best_cut(list(zip(runs, items, strict=True)), 0.99, CUTS)
    return completeness if reached else 0.0


def _row(finder: str, runs: list[dict[str, Any]], work: Path) -> str:
    parts = [share(runs, "nearest", 2.0, np.inf), share(runs, "nearest", 0.0, 2.0)]
    parts += [share(runs, "nearest", 0.0, 1.25)]
    parts += [share(runs, "snr", low, high) for low, high in pairwise(SNR_EDGES)]
    cells = [f"{n / of:.2f}" if of else "-" for n, of in parts]
    shares = [spread([r[key] for r in runs]) for key in ("completeness", "purity")]
    shares.append(f"{hindsight(runs, work):.3f}")
    cpu = f"{np.mean([r['cpu'] for r in runs]):.1f}"
    return f"| {TITLES[finder]} | " + " | ".join([*shares, str(len(runs)), *cells, cpu]) + " |"


def draw(groups: dict[str, dict[str, list[dict[str, Any]]]], path: Path) -> None:
    """Completeness by true signal to noise (top) and by distance of the nearest neighbour (bottom)."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    blocks = -(-len(groups) // ABREAST)
    size = 3.4 * ABREAST, 5.6 * blocks
    figure, axes = plt.subplots(2 * blocks, ABREAST, figsize=size, sharey=True, squeeze=False)
    columns = axes.reshape(blocks, 2, ABREAST).swapaxes(1, 2).reshape(-1, 2)
    sides = (("snr", SNR_EDGES, "true peak / sigma"), ("nearest", NEAREST_EDGES, "nearest source [beams]"))
    for column, (preset, finders) in zip(columns, groups.items(), strict=False):
        column[0].set_title(preset)
        for axis, (key, edges, label) in zip(column, sides, strict=True):
            for finder, runs in finders.items():
                if finder.endswith("lower") or any(r["status"] != 0 for r in runs):
                    continue
                counts = np.array([share(runs, key, low, high) for low, high in pairwise(edges)], dtype=float)
                known = counts[:, 1] >= 5
                x = np.sqrt(np.array(edges[1:]) * np.array(edges[:-1]))[known]
                p = counts[known, 0] / counts[known, 1]
                error = np.sqrt(np.maximum(p * (1 - p), 0.0) / counts[known, 1])
                style = {"lw": 2.5, "zorder": 5} if finder == "ours" else {"lw": 1.2}
                style["color"] = f"C{FINDERS.index(finder)}"
                axis.errorbar(x, p, error, marker="o", ms=3, label=TITLES[finder], **style)
            axis.set_xscale("log")
            ticks = edges[:-1]
            axis.set_xticks(ticks, [f"{t:g}" for t in ticks], minor=False, fontsize=7)
            axis.minorticks_off()
            axis.set_xlabel(label)
            axis.grid(alpha=0.3)
    for axis in columns[len(groups) :].flat:
        axis.set_axis_off()
    for row in axes:
        row[0].set_ylabel("completeness")
    figure.tight_layout(rect=(0.0, 0.03, 1.0, 1.0))
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="lower center", ncols=len(FINDERS))
    figure.savefig(path, dpi=80)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=("tune", "run", "report"))
    parser.add_argument("--work", type=Path, required=True, help="folder for maps, catalogues and numbers")
    parser.add_argument("--presets", nargs="*", default=PRESETS, choices=PRESETS)
    parser.add_argument("--seeds", nargs="*", type=int, default=[11, 12, 13, 14, 15])
    parser.add_argument("--tuning", nargs="*", type=int, default=[100, 101], help="seeds to tune on")
    parser.add_argument("--brief", nargs="*", default=[], help="finders tuned on the first of them only")
    parser.add_argument("--like", choices=PRESETS, help="tune only the cut; all else as for this preset")
    parser.add_argument(
        "--thresholds",
        nargs="*",
        type=float,
        default=THRESHOLDS,
        help="values of sigma_thres for ours to choose from",
    )
    parser.add_argument("--purity", type=float, default=0.992, help="on the tuning seeds")
    parser.add_argument("--timeout", type=float, default=900.0, help="seconds of processor time of a run")
    parser.add_argument("--only", nargs="*", metavar="FINDER", choices=FINDERS, help="run no others")
    parser.add_argument("--output", type=Path, help="PNG of the figure")
    parser.add_argument("--ours", nargs="?", const=sys.executable, metavar="PYTHON")
    for finder in ("before", *GRIDS):
        parser.add_argument(f"--{finder}", metavar="PYTHON")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    options.work = options.work.resolve()
    options.python = {name: getattr(options, name) for name in GRIDS}
    options.python |= dict.fromkeys(OURS, options.ours) | dict.fromkeys(BEFORE, options.before)
    options.finders = [
        name for name in FINDERS if options.python.get(name) and name in (options.only or FINDERS)
    ]

    def go(finder: str, item: Input, settings: dict[str, Any]) -> dict[str, Any]:
        return run_finder(finder, options.python[finder], item, settings, options.work, options.timeout)

    {"tune": tune, "run": run, "report": report}[options.action](options, go)


if __name__ == "__main__":
    main()
