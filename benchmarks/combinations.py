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
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table
from scipy.spatial import cKDTree

import hyper_py
from hyper_py.config.original import ORIGINAL_POLICY
from hyper_py.options import BackgroundOptions, FitOptions, Options, PhotometryOptions
from hyper_py.pipeline.extraction import find_peaks, noise_level
from hyper_py.pipeline.measurement import measure_sources

WHITE: dict[str, Any] = {"noise_model": "white", "method": "polynomial"}
TOGETHER: dict[str, Any] = {"fit_gauss_and_bg_together": True, "fit_gauss_and_bg_separately": False}
JOINT = WHITE | TOGETHER
ORIGINAL: dict[str, Any] = {
    **WHITE, "policy": ORIGINAL_POLICY, "weights": "snr", "min_method": "nmse", "vary": False, "f_scale": 0.1,
    "aper_inf": 1.0, "aperture_correction": False,
}  # fmt: skip
ALL_ESTIMATORS = ("least_squares", "huber", "theil_sen")


def combinations() -> dict[str, dict[str, Any]]:
    """Return the options of every run by its name; the first of each group is its reference."""
    runs: dict[str, dict[str, Any]] = {
        "correlated, conditional (default)": {},
        "correlated, conditional, huber loss": {"loss": "huber"},
        "correlated, conditional, fixed centres": {"vary": False},
        "white, conditional": {"noise_model": "white"},
        "correlated, polynomial": {"method": "polynomial"},
        "correlated, polynomial 2 along": {"method": "polynomial", **TOGETHER, "polynomial_orders": (2,)},
        "correlated, orders 0 to 3 along, cv": {
            "method": "polynomial",
            **TOGETHER,
            "polynomial_orders": (0, 1, 2, 3),
        },
        "correlated, both": {"method": "polynomial", "fit_gauss_and_bg_together": True},
        "white, polynomial": WHITE,
    }
    for criterion in ("nmse", "redchi", "bic"):
        runs[f"white, polynomial, {criterion}"] = {**WHITE, "min_method": criterion}
    for name in ("huber", "theil_sen"):
        runs[f"white, polynomial, {name}"] = {
            **WHITE, "bg_fitters": (name,), "pol_orders_separate": (1,), "fix_max_box": 3.0,
        }  # fmt: skip
    runs["white, polynomial, all estimators"] = {
        **WHITE, "bg_fitters": ALL_ESTIMATORS, "huber_epsilons": (1.35,), "pol_orders_separate": (0, 1),
        "fix_max_box": 3.0,
    }  # fmt: skip
    for orders in ((0,), (1,), (2,), (3,)):
        runs[f"white, polynomial, order {orders[0]}"] = {**WHITE, "pol_orders_separate": orders}
    for smallest, largest in ((1.0, 2.0), (5.0, 8.0), (0.0, 0.0)):
        runs[f"white, polynomial, boxes {smallest:g} to {largest:g}"] = {
            **WHITE, "fix_min_box": smallest, "fix_max_box": largest,
        }  # fmt: skip
    for weights in ("inverse_rms", "snr", "power_snr", "map", "mask", "spatial"):
        runs[f"white, polynomial, weights {weights}"] = {**WHITE, "weights": weights}
    for loss in ("soft_l1", "huber", "cauchy", "arctan"):
        runs[f"white, polynomial, loss {loss}"] = {**WHITE, "loss": loss}
    runs["white, polynomial, fixed centres"] = {**WHITE, "vary": False}
    for order in (0, 1, 2, 3):
        runs[f"white, order {order} along"] = {**JOINT, "polynomial_orders": (order,)}
    orders = {"polynomial_orders": (0, 1, 2, 3)}
    for criterion in ("cv", "bic"):
        runs[f"white, orders 0 to 3 along, {criterion}"] = {**JOINT, **orders, "min_method": criterion}
    runs["white, order 2 along, no ridge"] = {
        **JOINT, "polynomial_orders": (2,), "use_l2_regularization": False,
    }  # fmt: skip
    runs["white, order 2 along, ridge 1"] = {**JOINT, "polynomial_orders": (2,), "lambda_l2": 1.0}
    runs["white, order 2 along, cauchy"] = {**JOINT, "polynomial_orders": (2,), "loss": "cauchy"}
    runs["white, both, orders 0 to 2 along"] = {
        **WHITE, "fit_gauss_and_bg_together": True, "polynomial_orders": (0, 1, 2),
    }  # fmt: skip
    runs["original's defaults"] = ORIGINAL
    for weights in (None, "inverse_rms", "power_snr", "map", "mask", "spatial"):
        runs[f"original, weights {weights}"] = {**ORIGINAL, "weights": weights}
    runs["original, huber, all epsilons"] = {
        **ORIGINAL, "bg_fitters": ("huber",), "fix_max_box": 3.0, "pol_orders_separate": (1,),
    }  # fmt: skip
    runs["original, loss cauchy"] = {**ORIGINAL, "loss": "cauchy"}
    runs["original, vary"] = {**ORIGINAL, "vary": True}
    runs["original, along"] = {**ORIGINAL, **TOGETHER, "polynomial_orders": (0, 1)}
    for strength in (0.0, 1.0, 100.0):
        runs[f"original, along, ridge {strength:g}"] = {
            **ORIGINAL, **TOGETHER, "polynomial_orders": (0, 1), "lambda_l2": strength,
        }  # fmt: skip
    runs["original, both"] = {**ORIGINAL, "fit_gauss_and_bg_together": True}
    return runs


REFERENCES = ("correlated, conditional (default)", "white, polynomial", "original's defaults")


def make_options(changes: dict[str, Any]) -> Options:
    """Return options with keys set, each in the section that has it."""
    sections: dict[str, Any] = {
        "fit_options": FitOptions(), "background": BackgroundOptions(), "photometry": PhotometryOptions()
    }  # fmt: skip
    rest = {}
    for name, value in changes.items():
        section = next((s for s, default in sections.items() if hasattr(default, name)), None)
        if section is None:
            rest[name] = value
        else:
            sections[section] = replace(sections[section], **{name: value})
    # Detection is fixed: no source is added either.
    return Options(**sections, **rest, detection={"deblend_residual": False})


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
        result = measure_sources(image, peaks, rms=noise.rms, options=options).measurement
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
