"""Completeness, limits, false rows and errors predicted from a map alone, against the truth of that map.

    python benchmarks/completeness_on_maps.py run    --work DIR [--presets alma ...] [--seeds 1 2]
    python benchmarks/completeness_on_maps.py report --work DIR [--output FILE.md]

`run` simulates a map a preset and seed (of the preset's density of sources), estimates its completeness as
`hyper-py completeness` does, with neighbours like those of the catalogue (`positions="like-sources"`), and
keeps one JSON file of each: what is there is not made again. `report` adds up the seeds and compares:

- in bins of signal to noise of the true sources (in the noise of the optimal filter), the mean of the
  predicted completeness with the share that was found; z is their difference in standard errors;
- the limits of curves through the real sources and through the injected ones, for the sources' own sizes;
- expected with true numbers of false rows;
- the width of the pulls of the flux of injected and of real sources.
"""

import argparse
import json
import math
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import hyper_py
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.injection.completeness import Completeness
from hyper_py.injection.curve import Limit, completeness_curve
from hyper_py.injection.plan import InjectionPlan
from hyper_py.injection.purity import Purity
from hyper_py.injection.recovery import TOLERANCE_BEAMS
from hyper_py.injection.sensitivity import at_pixels
from hyper_py.running.completeness import estimate, local_executor
from hyper_py.simulation.presets import PRESETS
from hyper_py.simulation.simulate import Simulation
from hyper_py.validation.comparison import robust_sigma
from hyper_py.validation.matching import match_positions

HEAD = """# Completeness predicted from a map alone, against its truth

    python benchmarks/completeness_on_maps.py run --work DIR
    python benchmarks/completeness_on_maps.py report --work DIR

Small maps (260 x 260 pixels) with the densities of sources of the presets. Predictions are from at most 40
runs with injected sources a map (`positions="like-sources"`, those with the map's own sizes) and do not know
the truth. Signal to noise is that of the optimal filter; z is found minus predicted in standard errors of
both; limits are those of smooth curves through the real sources and through the injected ones; false rows
are counted at the default threshold.
"""
CHOSEN = ("alma", "crowded", "faint", "deep", "herschel")
SNR_EDGES = (0.0, 3.0, 4.0, 5.0, 6.0, 8.0, 12.0, 20.0, math.inf)
PULL_SNR = 6.0


def simulated(preset: str, seed: int, side: int) -> Simulation:
    """Return a smaller map of a preset, with its density of sources."""
    model = PRESETS[preset]
    share = side * side / (model.shape[0] * model.shape[1])
    return hyper_py.simulate_image(
        preset, seed=seed, shape=(side, side), n_sources=round(share * model.n_sources)
    )


def true_parameters(simulation: Simulation) -> np.ndarray:
    truth, ellipses = simulation.truth, simulation.pixel_ellipses
    return np.column_stack(
        [
            truth["AMPLITUDE"].value, truth["X"].value, truth["Y"].value,
            ellipses.major / FWHM_PER_SIGMA, ellipses.minor / FWHM_PER_SIGMA, ellipses.angle,
        ]
    )  # fmt: skip


def compared(simulation: Simulation, result: Completeness) -> dict[str, Any]:
    """Return what is true of each real source, and what the injections say of it."""
    setup, table = result.setup, result.extraction.catalog
    true = true_parameters(simulation)
    rows = np.column_stack([table["X"].value, table["Y"].value])
    i, j = match_positions(rows, true[:, 1:3], tolerance=TOLERANCE_BEAMS * setup.fwhm)
    counted = at_pixels(setup.usable.astype(float), true) > 0
    found = np.zeros(len(true), dtype=bool)
    found[j] = True
    snr = setup.sensitivity.signal_to_noise(true)
    curve = result.curve("SNR", shape="own")
    low, high = curve.band(snr)
    pulls = (table["FLUX"].to_value("Jy")[i] - simulation.truth["FLUX"].to_value("Jy")[j]) / table[
        "FLUX_ERR"
    ].to_value("Jy")[i]
    strong = counted[j] & (snr[j] >= PULL_SNR)
    own = result.records[(result.records["recovered"] > 0) & (result.records["kind"] == 1)]
    own_snr = own["amplitude"] * own["response"] / own["sigma"]
    injected_pulls = ((own["flux_found"] - own["flux"]) / own["flux_err"])[own_snr >= PULL_SNR]
    return {
        "snr": snr[counted].tolist(),
        "found": found[counted].tolist(),
        "predicted": curve(snr[counted]).tolist(),
        "predicted_error": (0.5 * (high - low))[counted].tolist(),
        "pulls": pulls[strong].tolist(),
        "injected_pulls": injected_pulls[np.isfinite(injected_pulls)].tolist(),
        "injected_snr": result.signal_to_noise[result.records["kind"] == 1].tolist(),
        "recovered": (result.records["recovered"][result.records["kind"] == 1] > 0).tolist(),
        "n_rows": len(table),
        "n_false": len(table) - len(i),
        "false_inverted": len(result.purity.inverted),
        "false_surrogates": [len(one) for one in result.purity.surrogates],
        "n_runs": result.n_runs,
        "summary": result.summary(),
    }


def run(options: argparse.Namespace) -> None:
    for seed in options.seeds:
        for preset in options.presets:
            path = options.work / f"{preset}_{seed}_{options.side}.json"
            if path.exists():
                continue
            start = time.perf_counter()
            simulation = simulated(preset, seed, options.side)
            plan = InjectionPlan(
                precision=options.precision, seed=1000 + seed, positions="like-sources", max_runs=options.runs
            )
            extraction = hyper_py.extract_sources(simulation.image)
            result = estimate(extraction, plan=plan, execute=local_executor(options.jobs))
            path.write_text(json.dumps(compared(simulation, result)))
            print(f"{path.stem}: {result} ({time.perf_counter() - start:.0f} s)", flush=True)


def report(options: argparse.Namespace) -> None:
    lines = [HEAD]
    for preset in options.presets:
        parts = [json.loads(p.read_text()) for p in sorted(options.work.glob(f"{preset}_*_*.json"))]
        if parts:
            lines += preset_lines(preset, parts)
    text = "\n".join(lines) + "\n"
    if options.output:
        options.output.write_text(text)
    print(text)


def expected_false(part: dict[str, Any]) -> float:
    """Return what the counts of one map say, as `hyper_py.injection.purity.Purity` takes them together."""
    empty = [np.zeros(n) for n in (part["false_inverted"], *part["false_surrogates"])]
    purity = Purity(threshold=0.0, rows=np.zeros(1), inverted=empty[0], surrogates=tuple(empty[1:]))
    return purity.expected_false()


def words(limit: Limit) -> str:
    return "-" if math.isnan(limit.value) else f"{limit.value:.2f} ({limit.low:.2f}-{limit.high:.2f})"


def preset_lines(preset: str, parts: list[dict[str, Any]]) -> list[str]:
    """Return the comparison of one preset, in Markdown."""

    def joined(name: str) -> np.ndarray:
        return np.concatenate([np.array(part[name], dtype=float) for part in parts])

    snr, found, predicted, error = (joined(n) for n in ("snr", "found", "predicted", "predicted_error"))
    runs = sum(part["n_runs"] for part in parts)
    lines = [
        f"## {preset}: {len(parts)} seeds, {snr.size} real sources, {runs} runs, "
        f"{joined('injected_snr').size} injected sources with the map's own sizes",
        "",
        "| signal to noise | real sources | found | predicted | z |",
        "|---|---|---|---|---|",
    ]
    for low, high in pairwise(SNR_EDGES):
        inside = (snr >= low) & (snr < high)
        n = int(inside.sum())
        if n:
            share, mean = found[inside].mean(), predicted[inside].mean()
            variance = float(np.sum(predicted[inside] * (1 - predicted[inside]))) / n**2
            # The curve's errors are common to the sources of a bin.
            z = (share - mean) / math.sqrt(variance + float(np.mean(error[inside])) ** 2 / len(parts) + 1e-6)
            lines.append(f"| {low:g}-{high:g} | {n} | {share:.3f} | {mean:.3f} | {z:+.1f} |")
    real = completeness_curve(snr, found > 0)
    injected = completeness_curve(joined("injected_snr"), joined("recovered") > 0)
    lines += [
        "",
        "| limit | real sources | injected | difference | standard errors |",
        "|---|---|---|---|---|",
    ]
    for one, other in zip(real.limits, injected.limits, strict=True):
        spread = math.hypot(0.5 * (one.high - one.low), 0.5 * (other.high - other.low))
        difference = other.value - one.value
        compared = (
            f"{difference / one.value:+.1%} | {difference / spread:+.1f}"
            if math.isfinite(spread)
            else "- | -"
        )
        lines.append(f"| {one.level:.0%} | {words(one)} | {words(other)} | {compared} |")
    inverted = sum(part["false_inverted"] for part in parts)
    surrogates = sum(np.mean(part["false_surrogates"]) for part in parts)
    pulls, ours = joined("pulls"), joined("injected_pulls")
    lines += [
        "",
        f"False rows: {sum(part['n_false'] for part in parts)} of {sum(part['n_rows'] for part in parts)}; "
        f"expected {sum(expected_false(part) for part in parts):.1f} (inverted maps {inverted}, "
        f"surrogates {surrogates:.1f}).",
        f"Pull width of the flux from a signal to noise of {PULL_SNR:g}: real "
        f"{robust_sigma(pulls):.2f} +- {1.166 * robust_sigma(pulls) / math.sqrt(pulls.size):.2f}, injected "
        f"{robust_sigma(ours):.2f} +- {1.166 * robust_sigma(ours) / math.sqrt(ours.size):.2f}.",
        "",
    ]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("run", "report"))
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--presets", nargs="+", default=CHOSEN, choices=CHOSEN)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--side", type=int, default=260, help="of the maps, in pixels")
    parser.add_argument("--precision", type=float, default=0.05)
    parser.add_argument("--runs", type=int, default=40, help="at most, for each map")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    {"run": run, "report": report}[options.command](options)


if __name__ == "__main__":
    main()
