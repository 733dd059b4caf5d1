"""Peaks, fluxes and their errors on simulated maps of interferometers, positions known to a third of a pixel.

    python benchmarks/interferometers.py [--arrays NAME ...] [--images cleaned dirty beam] [--seeds N ...]

The presets `interferometer` (`cleaned`) and `interferometer_dirty`, the latter without (`dirty`) and with
(`beam`) its dirty beam, in arrays and weightings of several kinds. Sources are not detected but placed, so
that only the fit is judged. A line for each array and image: sources measured, of all; bias of the peak,
median over the sources; median and width (1.4826 MAD) of its pulls; the same of the flux; bias of the flux
of sources of ten sigma and more, since noise in the fitted sizes makes faint sources too large; error of
the peak in units of the noise; share of rows with the flag FILTERED_MAP.
"""

import argparse
from typing import Any

import numpy as np

from hyper_py.catalog import make_catalog
from hyper_py.detection.peaks import Peaks
from hyper_py.diagnostics import Flag
from hyper_py.image import SkyImage
from hyper_py.options import Options
from hyper_py.pipeline.extraction import noise_level
from hyper_py.pipeline.measurement import measure_sources
from hyper_py.simulation.simulate import Simulation, simulate_image
from hyper_py.validation.comparison import robust_sigma
from presets import with_dirty_beam

ARRAYS: dict[str, dict[str, Any]] = {
    "y, uniform, 1 h": {"weighting": "uniform", "hour_angles": (-0.5, 0.5)},
    "y, natural, 1 h": {"weighting": "natural", "hour_angles": (-0.5, 0.5)},
    "y, uniform, 6 h": {"weighting": "uniform", "hour_angles": (-3.0, 3.0)},
    "y, natural, 6 h": {"weighting": "natural", "hour_angles": (-3.0, 3.0)},
    "15 antennas, natural, 2 h": {"weighting": "natural", "antennas": 15, "hour_angles": (-1.0, 1.0)},
    "line of 10, uniform, 6 h": {
        "weighting": "uniform", "layout": "line", "antennas": 10, "hour_angles": (-3.0, 3.0)
    },
    "line of 10, natural, 6 h": {
        "weighting": "natural", "layout": "line", "antennas": 10, "hour_angles": (-3.0, 3.0)
    },
}  # fmt: skip
PRESETS = {"cleaned": "interferometer", "dirty": "interferometer_dirty", "beam": "interferometer_dirty"}
JITTER = 0.3
"""Standard deviation in pixels of the positions that are given."""
COLUMNS = ("peak", "peak pull", "flux", "flux pull", "snr", "error over rms", "flagged")


def placed(simulation: Simulation, image: SkyImage, *, seed: int, rms: float) -> Peaks:
    """Return peaks near the true positions."""
    shift = JITTER * np.random.default_rng(seed).normal(size=(2, len(simulation.truth)))
    x, y = simulation.truth["X"].value + shift[0], simulation.truth["Y"].value + shift[1]
    peak, nothing = image.data[np.rint(y).astype(int), np.rint(x).astype(int)], np.full(x.size, np.nan)
    return Peaks(
        x=x, y=y, peak=peak, snr=peak / rms, roundness=nothing, roundness_marginal=nothing,
        sharpness=nothing, shoulder_score=nothing,
    )  # fmt: skip


def measured(array: dict[str, Any], image: str, seed: int) -> np.ndarray:
    """Return `COLUMNS` of all sources of one map, NaN for one without a row within half a beam."""
    simulation = simulate_image(PRESETS[image], seed=seed, interferometer=array)
    sky, options = simulation.image, Options()
    if image == "beam":
        sky = with_dirty_beam(simulation)
    noise = noise_level(sky, options)
    found = measure_sources(
        sky, placed(simulation, sky, seed=seed, rms=noise.typical), rms=noise.rms, options=options
    )
    table, truth = make_catalog(found.sources, sky, convert_mjy=False), simulation.truth
    rows = np.full((len(truth), len(COLUMNS)), np.nan)
    for row, true in zip(rows, truth, strict=True):
        distance = np.hypot(table["X"] - true["X"], table["Y"] - true["Y"]).value
        if not len(table) or distance.min() > 0.5 * sky.beam_fwhm_pix:
            continue
        own = table[int(distance.argmin())]
        peak, flux = true["FLUX_PEAK"], true["FLUX"]
        row[:] = (
            own["FLUX_PEAK"] / peak, (own["FLUX_PEAK"] - peak) / own["FLUX_PEAK_ERR"],
            own["FLUX"] / flux, (own["FLUX"] - flux) / own["FLUX_ERR"],
            true["PEAK_SNR"], own["FLUX_PEAK_ERR"] / peak * true["PEAK_SNR"],
            bool(own["FLAGS"] & int(Flag.FILTERED_MAP)),
        )  # fmt: skip
    return rows


def line(name: str, image: str, rows: np.ndarray) -> str:
    """Return the line of a table for the sources of some maps."""
    seen = rows[np.isfinite(rows[:, 0])]
    peak, peak_pull, flux, flux_pull, snr, error, flagged = seen.T
    return (
        f"| {name} | {image} | {len(seen)} of {len(rows)} | {np.median(peak) - 1:+.1%} | "
        f"{np.median(peak_pull):+.2f} | {robust_sigma(peak_pull):.2f} | {np.median(flux) - 1:+.1%} | "
        f"{np.median(flux_pull):+.2f} | {robust_sigma(flux_pull):.2f} | "
        f"{np.median(flux[snr >= 10]) - 1:+.1%} | {np.median(error):.2f} | {np.mean(flagged):.0%} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arrays", nargs="+", choices=ARRAYS, default=list(ARRAYS))
    parser.add_argument("--images", nargs="+", choices=PRESETS, default=list(PRESETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(300, 310)))
    arguments = parser.parse_args()
    print("| array | image | measured | peak | its pulls: median | width | flux | its pulls: median | width "
          "| flux, 10 sigma and more | error over rms | flagged |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for image in arguments.images:
        for name in arguments.arrays:
            rows = [measured(ARRAYS[name], image, seed) for seed in arguments.seeds]
            print(line(name, image, np.concatenate(rows)), flush=True)


if __name__ == "__main__":
    main()
