"""Fluxes, sizes, positions and their errors on simulated maps with exact truth, beside the smallest errors.

    python benchmarks/presets.py [--presets NAME ...] [--seeds N ...] [--set KEY=VALUE ...]
        [--sky KEY=VALUE ...] [--least SIGMA] [--psf]

For each preset: completeness, purity, false rows a map, rows that are no measurement (FLUX_PEAK <= 0, or
FLUX < 2 FLUX_ERR), and for isolated and blended sources whose true peak is at least
`--least` sigma the bias and scatter of the fluxes, the scatter over the Cramer-Rao limit, and width and
median of the pulls; medians over the seeds, with the range in brackets. Rows on the clumps of a complex
count neither way. With `--psf` the dirty beam is given to the extraction as `survey.psf` gives it.
"""

import argparse
import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hyper_py.config import Config, apply_overrides
from hyper_py.diagnostics import HyperPyError
from hyper_py.image import SkyImage
from hyper_py.pipeline.extraction import extract_sources
from hyper_py.reading.psf import beam_from_psf
from hyper_py.simulation.complexes import on_clumps
from hyper_py.simulation.simulate import Simulation, simulate_image
from hyper_py.validation.matching import inside_margin
from hyper_py.validation.validation import Validation, validate
from hyper_py.writing.simulated_files import psf_path, write_simulation

PRESETS = (
    "alma", "deep", "crowded", "faint", "herschel", "interferometer", "interferometer_dirty", "dynamic",
    "complex", "edges", "edges_error", "empty", "empty_lognormal", "oversampled",
)  # fmt: skip
QUANTITIES = ("flux (Gaussian)", "flux", "peak", "x", "y", "size", "major axis", "minor axis")


class Run(NamedTuple):
    """How good one catalogue is, what it took, and how many of its rows are no measurement."""

    validation: Validation
    seconds: float
    empty_rows: int


def with_dirty_beam(simulation: Simulation) -> SkyImage:
    """Return the map with the beam that `survey.psf` would give it; as it is if it is not dirty."""
    if not simulation.is_dirty:
        return simulation.image
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "map.fits"
        write_simulation(path, simulation)
        return replace(simulation.image, beam=beam_from_psf(psf_path(path)))


def run(preset: str, seed: int, options, sky: dict, *, least: float, psf: bool) -> Run:
    simulation = simulate_image(preset, seed=seed, **sky)
    image = with_dirty_beam(simulation) if psf else simulation.image
    start = time.process_time()
    catalog = extract_sources(image, options=options).catalog
    seconds = time.process_time() - start
    truth = simulation.truth
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
    counted &= ~np.asarray(truth["CLUMP"])
    neutral = on_clumps(catalog["X"].value, catalog["Y"].value, truth)
    result = validate(
        catalog, truth, beam_fwhm=image.beam_fwhm_pix, limits=limits, counted=counted, neutral=neutral
    )
    flux, error = (catalog[name].value for name in ("FLUX", "FLUX_ERR"))
    empty_rows = int(np.sum((catalog["FLUX_PEAK"].value <= 0) | (flux < 2 * error)))
    return Run(result, seconds, empty_rows)


def spread(values: list[float], form: str = ".3f") -> str:
    values = [v for v in values if v is not None and np.isfinite(v)]
    if not values:
        return "-"
    return f"{np.median(values):{form}} [{min(values):{form}}, {max(values):{form}}]"


def report(preset: str, runs: list[Run]) -> None:
    print(f"\n### {preset}, {len(runs)} seeds")
    validations = [r.validation for r in runs]
    completeness = spread([v.completeness.value for v in validations])
    purity = spread([v.purity.value for v in validations])
    false = spread([len(v.false) for v in validations], "g")
    empty = spread([r.empty_rows for r in runs], "g")
    print(
        f"completeness {completeness}, purity {purity}, false {false}, no measurement {empty}, "
        f"{spread([r.seconds for r in runs], '.2f')} s\n"
    )
    if not any(v.completeness.whole for v in validations):
        return
    print("| sample | quantity | bias | scatter | over limit | pull width | pull median | within 1 sigma |")
    print("|---|---|---|---|---|---|---|---|")
    for sample in ("isolated", "blended"):
        for name in QUANTITIES:
            s = [v.samples[sample][name] for v in validations]
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
    parser.add_argument("--psf", action="store_true", help="give the dirty beam of dirty maps")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    options = Config.from_mapping(apply_overrides({"version": 2}, arguments.set)).options()
    for preset in arguments.presets:
        runs = [
            run(preset, seed, options, pairs(arguments.sky), least=arguments.least, psf=arguments.psf)
            for seed in arguments.seeds
        ]
        report(preset, runs)


if __name__ == "__main__":
    main()
