"""Fluxes, sizes, positions and their errors on simulated maps with exact truth, beside the smallest errors.

    python benchmarks/presets.py [--presets NAME ...] [--seeds N ...] [--set KEY=VALUE ...]
        [--sky KEY=VALUE ...] [--least SIGMA]

For each preset: completeness and purity, and for isolated and blended sources whose true peak is at least
`--least` sigma the bias and scatter of the fluxes, the scatter over the Cramer-Rao limit, and width and
median of the pulls; medians over the seeds, with the range in brackets.
"""

import argparse
import time
import warnings

import numpy as np

from hyper_py.config import Config, apply_overrides
from hyper_py.diagnostics import HyperPyError
from hyper_py.pipeline.extraction import extract_sources
from hyper_py.simulation.simulate import simulate_image
from hyper_py.validation.matching import inside_margin
from hyper_py.validation.validation import Validation, validate

PRESETS = ("alma", "deep", "crowded", "faint", "herschel")
QUANTITIES = ("flux (Gaussian)", "flux", "peak", "x", "y", "size", "major axis", "minor axis")


def run(preset: str, seed: int, options, sky: dict, *, least: float) -> tuple[Validation, float]:
    simulation = simulate_image(preset, seed=seed, **sky)
    start = time.process_time()
    extraction = extract_sources(simulation.image, options=options)
    seconds = time.process_time() - start
    truth, image = simulation.truth, simulation.image
    try:
        limits = simulation.limits()
    except HyperPyError:  # not defined for this sky
        limits = None
    counted = inside_margin(
        truth["X"].value,
        truth["Y"].value,
        valid=np.isfinite(image.data),
        margin=options.photometry.aper_inf * image.beam_fwhm_pix,
    )
    counted &= np.asarray(truth["PEAK_SNR"]) >= least
    result = validate(
        extraction.catalog, truth, beam_fwhm=image.beam_fwhm_pix, limits=limits, counted=counted
    )
    return result, seconds


def spread(values: list[float], form: str = ".3f") -> str:
    values = [v for v in values if v is not None and np.isfinite(v)]
    if not values:
        return "-"
    return f"{np.median(values):{form}} [{min(values):{form}}, {max(values):{form}}]"


def report(preset: str, runs: list[tuple[Validation, float]]) -> None:
    print(f"\n### {preset}, {len(runs)} seeds")
    completeness = spread([v.completeness.value for v, _ in runs])
    purity = spread([v.purity.value for v, _ in runs])
    print(f"completeness {completeness}, purity {purity}, {spread([s for _, s in runs], '.2f')} s\n")
    print("| sample | quantity | bias | scatter | over limit | pull width | pull median | within 1 sigma |")
    print("|---|---|---|---|---|---|---|---|")
    for sample in ("isolated", "blended"):
        for name in QUANTITIES:
            s = [v.samples[sample][name] for v, _ in runs]
            print(
                f"| {sample} | {name} | {spread([x.bias for x in s])} | {spread([x.scatter for x in s])} "
                f"| {spread([x.excess for x in s], '.2f')} | {spread([x.pull_width for x in s], '.2f')} "
                f"| {spread([x.pull_median for x in s], '.2f')} "
                f"| {spread([x.pull_within for x in s], '.2f')} |"
            )


def pairs(texts: list[str]) -> dict:
    return {key: eval(value, {}) for key, value in (text.split("=", 1) for text in texts)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--presets", nargs="+", default=PRESETS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[11, 12, 13, 14, 15])
    parser.add_argument("--set", nargs="*", default=[], help="configuration, as for hyper-py run")
    parser.add_argument("--sky", nargs="*", default=[], help="fields of the simulated sky, as Python values")
    parser.add_argument("--least", type=float, default=0.0, help="faintest true peak in sigma")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    options = Config.from_mapping(apply_overrides({"version": 2}, arguments.set)).options()
    for preset in arguments.presets:
        runs = [
            run(preset, seed, options, pairs(arguments.sky), least=arguments.least)
            for seed in arguments.seeds
        ]
        report(preset, runs)


if __name__ == "__main__":
    main()
