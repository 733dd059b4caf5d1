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
from typing import Any, NamedTuple

import numpy as np
from scipy.spatial import cKDTree
from scipy.stats import binomtest

import hyper_py
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.injection.accuracy import MAD_ERROR
from hyper_py.injection.completeness import Completeness
from hyper_py.injection.curve import Limit, completeness_curve
from hyper_py.injection.plan import InjectionPlan
from hyper_py.injection.purity import Purity
from hyper_py.injection.recovery import TOLERANCE_BEAMS
from hyper_py.injection.sensitivity import at_pixels
from hyper_py.running.completeness import estimate, local_executor
from hyper_py.simulation.complexes import on_clumps
from hyper_py.simulation.presets import PRESETS
from hyper_py.simulation.simulate import Simulation
from hyper_py.validation.comparison import robust_sigma

HEAD = """# Completeness predicted from a map alone, against its truth

    python benchmarks/completeness_on_maps.py run --work DIR
    python benchmarks/completeness_on_maps.py report --work DIR

Maps with the densities of sources of the presets. Predictions are from injected sources with the map's own
sizes and positions like theirs (`positions="like-sources"`), and do not know the truth. Signal to noise is
that of the optimal filter; z is found minus predicted in standard errors of both; limits are those of smooth
curves through the real sources and through the injected ones; false rows are counted at the default
threshold. A row belongs to the brightest source within half a beam that has none yet.

Bounds: each share within 3 points or 2.5 standard errors, limits within 5% or 2.5 standard errors, expected
false rows within a factor of 1.5 of the true ones or not excluded by their counting statistics (probability
of 1%), and the width of the pulls of injected sources within 5% or 2.5 standard errors of that of the real
ones. **What is outside is bold.**
"""
SNR_EDGES = (0.0, 3.0, 4.0, 5.0, 6.0, 8.0, 12.0, 20.0, math.inf)
PULL_SNR = 6.0
MOST_SHARE, MOST_LIMIT, MOST_FACTOR, MOST_WIDTH = 0.03, 0.05, 1.5, 0.05
MOST_Z, LEAST_CHANCE = 2.5, 0.01


class Case(NamedTuple):
    """Side of the maps of a preset (None: its own shape), and the most runs with injected sources on each."""

    side: int | None
    runs: int


CASES = {
    "alma": Case(260, 8), "deep": Case(260, 8), "herschel": Case(360, 8), "faint": Case(260, 8),
    "crowded": Case(260, 8), "cube": Case(None, 8), "dynamic": Case(300, 8), "edges": Case(360, 8),
    "edges_error": Case(360, 8), "interferometer": Case(None, 8), "interferometer_dirty": Case(None, 8),
    "oversampled": Case(400, 8), "confused": Case(200, 8), "clumps": Case(300, 8), "resolved": Case(400, 8),
    "complex": Case(200, 6),
}  # fmt: skip
"""All presets with sources; about as many injected sources as real ones."""


def simulated(preset: str, seed: int, side: int | None) -> Simulation:
    """Return a map of a preset: of its own size, or smaller, with its density of sources."""
    model = PRESETS[preset]
    if side is None:
        return hyper_py.simulate_image(preset, seed=seed)
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


def match_brightest(
    rows: np.ndarray, sources: np.ndarray, amplitudes: np.ndarray, *, tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and the sources they are: the brightest first, each the nearest row that is free."""
    pairs, free = [], np.ones(len(rows), dtype=bool)
    if not len(rows):
        return np.empty(0, dtype=int), np.empty(0, dtype=int)
    near = cKDTree(rows).query_ball_point(sources, tolerance)
    for j in np.argsort(-amplitudes, kind="stable"):
        own = [i for i in near[j] if free[i]]
        if own:
            i = min(own, key=lambda k: float(np.hypot(*(rows[k] - sources[j]))))
            free[i] = False
            pairs.append((i, int(j)))
    i, j = np.array(pairs, dtype=int).reshape(-1, 2).T
    return i, j


def compared(simulation: Simulation, result: Completeness) -> dict[str, Any]:
    """Return what is true of each real source, and what the injections say of it."""
    setup, table, truth = result.setup, result.extraction.catalog, simulation.truth
    true = true_parameters(simulation)
    rows = np.column_stack([table["X"].value, table["Y"].value])
    i, j = match_brightest(rows, true[:, 1:3], true[:, 0], tolerance=TOLERANCE_BEAMS * setup.fwhm)
    # Clumps of a complex are background: how it is divided is a matter of taste.
    clump = np.asarray(truth["CLUMP"], dtype=bool)
    false = ~on_clumps(*rows.T, truth)
    false[i] = False
    counted = (at_pixels(setup.usable.astype(float), true) > 0) & ~clump
    found = np.zeros(len(true), dtype=bool)
    found[j] = True
    snr = setup.sensitivity.signal_to_noise(true)
    curve = result.curve("SNR", shape="own")
    low, high = curve.band(snr)
    error = table["FLUX_ERR"].to_value("Jy")[i]
    pulls = (table["FLUX"].to_value("Jy")[i] - truth["FLUX"].to_value("Jy")[j]) / error
    gaussian = np.ones(len(true), dtype=bool)
    if "PROFILE" in truth.colnames:
        gaussian = np.asarray(truth["PROFILE"]) == "gaussian"
    strong = (counted & gaussian)[j] & (snr[j] >= PULL_SNR) & np.isfinite(pulls)
    is_own = result.records["kind"] == 1
    own = result.records[is_own & (result.records["recovered"] > 0)]
    own_snr = own["amplitude"] * own["response"] / own["sigma"]
    injected_pulls = ((own["flux_found"] - own["flux"]) / own["flux_err"])[own_snr >= PULL_SNR]
    return {
        "version": hyper_py.__version__,
        "snr": snr[counted].tolist(),
        "found": found[counted].tolist(),
        "predicted": curve(snr[counted]).tolist(),
        "predicted_error": (0.5 * (high - low))[counted].tolist(),
        "pulls": pulls[strong].tolist(),
        "injected_pulls": injected_pulls[np.isfinite(injected_pulls)].tolist(),
        "injected_snr": result.signal_to_noise[is_own].tolist(),
        "recovered": (result.records["recovered"][is_own] > 0).tolist(),
        "n_rows": len(table),
        "n_false": int(np.count_nonzero(false)),
        "false_inverted": len(result.purity.inverted),
        "false_surrogates": [len(one) for one in result.purity.surrogates],
        "n_runs": result.n_runs,
        "summary": result.summary(),
    }


def run(options: argparse.Namespace) -> None:
    for seed in options.seeds:
        for preset in options.presets:
            path = options.work / f"{preset}_{seed}.json"
            if path.exists():
                continue
            start, case = time.perf_counter(), CASES[preset]
            simulation = simulated(preset, seed, case.side)
            plan = InjectionPlan(
                precision=options.precision, seed=1000 + seed, positions="like-sources", max_runs=case.runs,
                n_surrogates=options.surrogates,
            )  # fmt: skip
            extraction = hyper_py.extract_sources(simulation.image)
            result = estimate(extraction, plan=plan, execute=local_executor(options.jobs))
            path.write_text(json.dumps(compared(simulation, result)))
            print(f"{path.stem}: {result} ({time.perf_counter() - start:.0f} s)", flush=True)


def report(options: argparse.Namespace) -> None:
    lines, checks = [], []
    for preset in options.presets:
        parts = [json.loads(p.read_text()) for p in sorted(options.work.glob(f"{preset}_[0-9]*.json"))]
        if parts:
            own = Comparison(preset, parts)
            lines += own.lines()
            checks += own.checks
    within = sum(checks)
    text = "\n".join([HEAD, f"{within} of {len(checks)} comparisons are within these bounds.", "", *lines])
    if options.output:
        options.output.write_text(text + "\n")
    print(text)


def expected_false(part: dict[str, Any]) -> tuple[float, int]:
    """Return the expected number of one map, as `hyper_py.injection.purity.Purity` has it, and its count."""
    empty = [np.zeros(n) for n in (part["false_inverted"], *part["false_surrogates"])]
    purity = Purity(threshold=0.0, rows=np.zeros(1), inverted=empty[0], surrogates=tuple(empty[1:]))
    return purity.expected_false(), purity.n_maps


def words(limit: Limit) -> str:
    return "-" if math.isnan(limit.value) else f"{limit.value:.2f} ({limit.low:.2f}-{limit.high:.2f})"


class Comparison:
    """The maps of one preset: lines of Markdown, and for each number whether it is within its bound."""

    def __init__(self, preset: str, parts: list[dict[str, Any]]) -> None:
        self.preset, self.parts, self.checks = preset, parts, list[bool]()

    def joined(self, name: str) -> np.ndarray:
        return np.concatenate([np.array(part[name], dtype=float) for part in self.parts])

    def judged(self, text: str, good: bool) -> str:
        """Count a comparison, and return its text, bold where it is not within its bound."""
        self.checks.append(bool(good))
        return text if good else f"**{text}**"

    def lines(self) -> list[str]:
        runs = sum(part["n_runs"] for part in self.parts)
        title = (
            f"## {self.preset}: {len(self.parts)} seeds, {self.joined('snr').size} real sources, "
            f"{runs} runs, {self.joined('injected_snr').size} injected sources with the map's own sizes"
        )
        return [title, "", *self.shares(), "", *self.limits(), "", self.false_rows(), self.pulls(), ""]

    def shares(self) -> list[str]:
        snr, found, predicted, error = (
            self.joined(n) for n in ("snr", "found", "predicted", "predicted_error")
        )
        lines = ["| signal to noise | real sources | found | predicted | z |", "|---|---|---|---|---|"]
        for low, high in pairwise(SNR_EDGES):
            inside = (snr >= low) & (snr < high)
            n = int(inside.sum())
            if n:
                share, mean = found[inside].mean(), predicted[inside].mean()
                variance = float(np.sum(predicted[inside] * (1 - predicted[inside]))) / n**2
                # The curve's errors are common to the sources of a map; near 0 and 1 it has none.
                curve = float(np.mean(error[inside])) ** 2 / len(self.parts)
                variance += max(curve, self.injected_variance(low, high))
                z = (share - mean) / math.sqrt(variance)
                good = abs(share - mean) <= MOST_SHARE or abs(z) <= MOST_Z
                judged = self.judged(f"{z:+.1f}", good)
                lines.append(f"| {low:g}-{high:g} | {n} | {share:.3f} | {mean:.3f} | {judged} |")
        return lines

    def injected_variance(self, low: float, high: float) -> float:
        """Return the variance of the share of injected sources that were found in a bin (Jeffreys)."""
        snr = self.joined("injected_snr")
        inside = (snr >= low) & (snr < high)
        n = np.count_nonzero(inside)
        share = (np.sum(self.joined("recovered")[inside]) + 0.5) / (n + 1.0)
        return float(share * (1.0 - share) / (n + 2.0))

    def limits(self) -> list[str]:
        real = completeness_curve(self.joined("snr"), self.joined("found") > 0)
        injected = completeness_curve(self.joined("injected_snr"), self.joined("recovered") > 0)
        lines = [
            "| limit | real sources | injected | difference | standard errors |",
            "|---|---|---|---|---|",
        ]
        for one, other in zip(real.limits, injected.limits, strict=True):
            spread = math.hypot(0.5 * (one.high - one.low), 0.5 * (other.high - other.low))
            difference, text = other.value - one.value, "- | -"
            if math.isfinite(spread):
                share, z = difference / one.value, difference / spread
                good = abs(share) <= MOST_LIMIT or abs(z) <= MOST_Z
                text = f"{share:+.1%} | {self.judged(f'{z:+.1f}', good)}"
            lines.append(f"| {one.level:.0%} | {words(one)} | {words(other)} | {text} |")
        return lines

    def false_rows(self) -> str:
        n_false, n_rows = (sum(part[name] for part in self.parts) for name in ("n_false", "n_rows"))
        pairs = [expected_false(part) for part in self.parts]
        expected, counted = sum(one for one, _ in pairs), sum(one * n for one, n in pairs)
        n_maps = sum(n for _, n in pairs)
        # Given the sum of two Poisson counts, each is binomial.
        total, share = n_false + round(counted), len(pairs) / (len(pairs) + n_maps)
        chance = float(binomtest(n_false, total, share).pvalue) if total else 1.0
        close = expected > 0 and 1 / MOST_FACTOR <= n_false / expected <= MOST_FACTOR
        inverted = sum(part["false_inverted"] for part in self.parts)
        surrogates = sum(np.mean(part["false_surrogates"]) for part in self.parts)
        text = self.judged(f"{n_false} of {n_rows}", close or chance >= LEAST_CHANCE)
        return (
            f"False rows: {text}; expected {expected:.1f} (inverted maps {inverted}, surrogates "
            f"{surrogates:.1f}); chance {chance:.2g}."
        )

    def pulls(self) -> str:
        pairs = [self.joined(name) for name in ("pulls", "injected_pulls")]
        widths = [robust_sigma(one) if one.size > 2 else math.nan for one in pairs]
        errors = [MAD_ERROR * w / math.sqrt(max(one.size, 1)) for w, one in zip(widths, pairs, strict=True)]
        difference = abs(widths[1] - widths[0])
        good = difference <= MOST_WIDTH * widths[0] or difference <= MOST_Z * math.hypot(*errors)
        real = f"{widths[0]:.2f} +- {errors[0]:.2f}"
        return (
            f"Pull width of the flux from a signal to noise of {PULL_SNR:g}: real "
            f"{self.judged(real, good) if math.isfinite(difference) else real}, injected {widths[1]:.2f} +- "
            f"{errors[1]:.2f}."
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("run", "report"))
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--presets", nargs="+", default=list(CASES), choices=CASES)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--precision", type=float, default=0.05)
    parser.add_argument("--surrogates", type=int, default=2, help="maps without sources, beside one inverted")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    {"run": run, "report": report}[options.command](options)


if __name__ == "__main__":
    main()
