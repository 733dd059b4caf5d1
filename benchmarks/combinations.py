"""Whole runs of the published maps under many combinations of background and fit options, detection fixed.

    python benchmarks/combinations.py --data DIR [--map N] [--only TEXT ...]
    python benchmarks/combinations.py --seed N [--only TEXT ...]

DIR holds map_500_Gaussians_N.fits and table_500_Gaussians_N.txt; with --seed the map is simulated, like the
published ones but with exact truth. --outliers adds bad pixels: this share of them, 10 rms high; --gradient
adds a plane that rises by so many rms in a beam. The sources
are those that the default configuration detects, given to every run as the same peaks; nothing else differs
but the options named in the first column. Columns: sources matched with the truth within half a beam of the
measured position; sources whose fit did not converge; median and scatter (1.4826 MAD over the median) of the
isolated ones' FLUX over truth; the median change of FLUX against the reference of the same group of runs, and
its scatter; the scatter of (FLUX - truth) / FLUX_ERR; seconds.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table
from scipy.spatial import cKDTree

import hyper_py
from hyper_py.config.original import ORIGINAL_POLICY
from hyper_py.options import Options
from hyper_py.pipeline.extraction import find_peaks, noise_level
from hyper_py.pipeline.measurement import measure_sources
from hyper_py.policy import Policy
from option_sets import as_sections, combinations

REFERENCES = ("correlated, conditional (default)", "white, polynomial", "original's defaults")


def make_options(changes: dict[str, Any]) -> Options:
    """Return options with keys set; detection is fixed: no source is added either."""
    policy = ORIGINAL_POLICY if changes.get("original") else Policy()
    return Options(**as_sections(changes), detection={"deblend_residual": False}, policy=policy)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--map", type=int, default=1)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--outliers", type=float, default=0.0)
    parser.add_argument("--gradient", type=float, default=0.0)
    parser.add_argument("--only", nargs="*", default=[""], help="Run those with one of these in the name.")
    arguments = parser.parse_args()
    if arguments.seed is not None:
        simulation = hyper_py.simulate_image("alma", seed=arguments.seed)
        image, truth = simulation.image, simulation.truth
        expected = truth["FLUX"].to_value("Jy")
    elif arguments.data is not None:
        image = hyper_py.read_image(arguments.data / f"map_500_Gaussians_{arguments.map}.fits")
        truth = Table.read(arguments.data / f"table_500_Gaussians_{arguments.map}.txt", format="ascii.ipac")
        expected = np.array(truth["Flux_Integrated"])
    else:
        parser.error("give --data or --seed")
    noise = noise_level(image, Options())
    peaks = find_peaks(image, noise, Options())
    bad = np.random.default_rng(0).random(image.shape) < arguments.outliers
    plane = arguments.gradient * noise.typical / image.beam_fwhm_pix * np.arange(image.shape[1])
    image = image.with_data(np.where(bad, image.data + 10.0 * noise.typical, image.data) + plane)
    places = np.column_stack([np.array(truth["X"]), np.array(truth["Y"])])
    alone = cKDTree(places).query(places, k=2)[0][:, 1] > 2.0 * image.beam_fwhm_pix
    tree = cKDTree(places)
    print(f"{len(peaks)} peaks\n")
    print("| options | matched | not converged | flux bias | scatter | change | its scatter | pull | s |")
    print("|---|---|---|---|---|---|---|---|---|")
    reference = np.ones(len(peaks))
    for name, changes in combinations().items():
        if not any(text in name for text in arguments.only) and name not in REFERENCES:
            continue
        options, start = make_options(changes), time.perf_counter()
        result = measure_sources(image, peaks, rms=noise.rms, options=options).sources
        seconds = time.perf_counter() - start
        distance, nearest = tree.query(
            result.parameters[:, 1:3], distance_upper_bound=0.5 * image.beam_fwhm_pix
        )
        found = np.flatnonzero(np.isfinite(distance))
        flux = result.flux / (1.0 if changes.get("aperture_correction", True) else result.aperture_fraction)
        error = result.flux_err * flux / result.flux
        if name in REFERENCES:
            reference = flux
        one = found[alone[nearest[found]]]
        true = expected[nearest[one]]
        ratio, change = flux[one] / true, flux[found] / reference[found]
        values = [
            str(np.unique(nearest[found]).size), str(int((result.status == 0).sum())),
            f"{np.median(ratio) - 1:+.1%}", f"{spread(ratio) / np.median(ratio):.1%}",
            f"{np.median(change) - 1:+.1%}", f"{spread(change):.1%}",
            f"{spread((flux[one] - true) / error[one]):.2f}", f"{seconds:.1f}",
        ]  # fmt: skip
        print(f"| {name} | {' | '.join(values)} |", flush=True)


def spread(values: Any) -> float:
    """Return 1.4826 times the median absolute deviation."""
    return float(1.4826 * np.nanmedian(np.abs(values - np.nanmedian(values))))


if __name__ == "__main__":
    main()
