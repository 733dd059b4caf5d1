"""Completeness of our detection methods at a purity of 99%, on simulated maps and on the published ones.

    python benchmarks/detection.py [--skies NAME ...] [--seeds N] [--data DIR]

Thresholds are chosen on seeds that are not scored: the lowest at which the mean purity over them stays
above 99.2%, since a threshold chosen at 99.0% would miss that on half of the other seeds. A detection is
true within half a beam of a source, one to one. `one spectrum` is `matched` without
`detection.local_spectrum`; `oracle` is the filter made from the true power spectrum at each place, with the
true noise level (where the background is a Gaussian field). Times are of the processor. DIR holds the published
maps and truth tables, which are matched within 0.02 arcsec at 4 sigma.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from astropy.table import Table
from scipy import fft

from hyper_py import read_image
from hyper_py.evidence.matching import match_positions
from hyper_py.evidence.recipe import Recipe
from hyper_py.evidence.simulate import Simulation, simulate_image
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.image import SkyImage
from hyper_py.numerics.noise import clipped_statistics
from hyper_py.steps.detection import detect_high_pass, inside_margin, local_maxima, refine_positions
from hyper_py.steps.matched import detect_matched
from hyper_py.steps.matched_filter import TEMPLATE_SIZE, disc, measure_filter
from hyper_py.steps.spectrum import FLATTEN_SIZE, flattened

_WHITE = {"noise_white_fraction": 1.0, "background_variation": 30.0}
SKIES: dict[str, tuple[str, dict[str, Any]]] = {
    **{preset: (preset, {}) for preset in ("deep", "crowded", "faint", "alma", "herschel")},
    "changing cirrus": ("deep", _WHITE | {"background": "powerlaw", "background_rms": 20.0}),
    "changing clumps": ("deep", _WHITE | {"background_scale": 1.5}),
    "changing smooth": ("deep", {"background_variation": 30.0}),
    "white herschel": ("herschel", {"noise_white_fraction": 1.0}),
    "changing herschel": ("herschel", {"noise_white_fraction": 1.0, "background_variation": 10.0}),
}
"""Presets, and fields of them that are replaced."""
TRAINING_PURITY = 0.992
LOWEST = 2.5
THRESHOLDS = np.arange(2.6, 25.0, 0.1)
MARGIN = 0.7
"""Beams from the border inside which nothing is detected (`aper_inf`)."""


class Found(NamedTuple):
    """Detections with their significance, and the truth they are compared with; pixels."""

    points: np.ndarray
    snr: np.ndarray
    truth: np.ndarray
    tolerance: float


def beam_covariance(image: SkyImage) -> np.ndarray:
    ny, nx = image.shape
    return image.beam_covariance(0.5 * (nx - 1), 0.5 * (ny - 1))


def high_pass(image: SkyImage, _: Simulation | None, threshold: float):
    peaks = detect_high_pass(
        image.data,
        beam_covariance=beam_covariance(image),
        rms=clipped_statistics(image.data).rms,
        sigma_threshold=threshold,
        margin=MARGIN * image.beam_fwhm_pix,
    )
    return np.column_stack([peaks.x, peaks.y]), peaks.snr


def matched(image: SkyImage, _: Simulation | None, threshold: float, local_spectrum: bool = True):
    covariance = beam_covariance(image)
    peaks = detect_matched(
        image.data,
        beam_covariance=covariance,
        matched_filter=measure_filter(image.data, beam_covariance=covariance, local_spectrum=local_spectrum),
        sigma_threshold=threshold,
        margin=MARGIN * image.beam_fwhm_pix,
    )
    return np.column_stack([peaks.x, peaks.y]), peaks.snr


def oracle(image: SkyImage, simulation: Simulation, threshold: float):
    """Detect with the true spectrum: exact filters on the whole map, exact noise of their outputs.

    Where the strength of the background varies, there is one filter for each of some strengths; their
    significances are interpolated.
    """
    strength = np.log(Recipe(simulation.model, simulation.truth.meta["seed"]).background_variation)
    nodes = np.linspace(strength.min(), strength.max(), 12) if np.ptp(strength) else np.zeros(1)
    grid, (ny, nx) = simulation.grid, image.shape
    ky, kx = 2 * np.pi * fft.fftfreq(grid[0])[:, None], 2 * np.pi * fft.rfftfreq(grid[1])
    c = TEMPLATE_SIZE**2 * beam_covariance(image)
    template = 2 * np.pi * np.sqrt(np.linalg.det(c))
    template = template * np.exp(-0.5 * (c[0, 0] * kx**2 + 2 * c[0, 1] * kx * ky + c[1, 1] * ky**2))
    sigma = FLATTEN_SIZE * image.beam_fwhm_pix / FWHM_PER_SIGMA
    flattening = -np.expm1(-0.5 * sigma**2 * (kx**2 + ky**2))
    waves = fft.rfft2(np.nan_to_num(flattened(image.data, sigma=sigma)[:, :]), grid)
    significance = np.zeros(image.shape)
    for node in nodes:
        power = (simulation.noise_power + np.exp(2 * node) * simulation.background_power) * flattening**2
        transfer = np.divide(template * flattening, power, out=np.zeros_like(power), where=flattening > 0.05)
        rms = np.sqrt(fft.irfft2(transfer**2 * power, grid)[0, 0])
        weight = np.ones(image.shape)
        if nodes.size > 1:
            weight = np.clip(1.0 - np.abs(strength - node) / (nodes[1] - nodes[0]), 0.0, 1.0)
        significance += weight * fft.irfft2(waves * transfer, grid)[:ny, :nx] / rms
    return _peaks_of(significance, image, threshold)


def _peaks_of(significance: np.ndarray, image: SkyImage, threshold: float):
    y, x = local_maxima(significance, footprint=disc(0.6 * image.beam_fwhm_pix), threshold=threshold)
    keep = inside_margin(image.shape, x=x, y=y, margin=MARGIN * image.beam_fwhm_pix)
    y, x = y[keep], x[keep]
    return np.column_stack(refine_positions(significance, x=x, y=y)), significance[y, x]


FINDERS: dict[str, Callable] = {
    "high pass": high_pass,
    "one spectrum": partial(matched, local_spectrum=False),
    "matched": matched,
    "oracle": oracle,
}


def score(found: list[Found], threshold: float) -> tuple[float, float]:
    """Return mean completeness and mean purity over maps."""
    completeness, purity = [], []
    for points, snr, truth, tolerance in found:
        chosen = points[snr >= threshold]
        n = match_positions(chosen, truth, tolerance=tolerance)[0].size
        completeness.append(n / len(truth))
        purity.append(n / len(chosen) if len(chosen) else 1.0)
    return float(np.mean(completeness)), float(np.mean(purity))


def choose_threshold(found: list[Found]) -> float:
    """Return the lowest threshold above which the purity never falls below the one asked for."""
    best = THRESHOLDS[-1]
    for threshold in THRESHOLDS[::-1]:
        if score(found, threshold)[1] < TRAINING_PURITY:
            break
        best = threshold
    return float(best)


def simulated(sky: str, seeds: int) -> None:
    preset, fields = SKIES[sky]
    found: dict[str, list[Found]] = {name: [] for name in FINDERS}
    seconds = dict.fromkeys(FINDERS, 0.0)
    for seed in [*range(101, 101 + seeds), *range(1, 1 + seeds)]:
        simulation = simulate_image(preset, seed=seed, **fields)
        image, truth = simulation.image, simulation.truth
        positions = np.column_stack([truth["X"], truth["Y"]])
        for name, finder in FINDERS.items():
            if name == "oracle" and simulation.model.background == "lognormal":
                continue
            start = time.process_time()
            points, snr = finder(image, simulation, LOWEST)
            seconds[name] += time.process_time() - start
            found[name].append(Found(points, snr, positions, 0.5 * image.beam_fwhm_pix))
    for name, maps in found.items():
        if not maps:
            continue
        threshold = choose_threshold(maps[:seeds])
        completeness, purity = score(maps[seeds:], threshold)
        print(
            f"{sky:17s} {name:12s} threshold {threshold:5.2f}  completeness {completeness:.3f}  "
            f"purity {purity:.4f}  {seconds[name] / len(maps):6.2f} s",
            flush=True,
        )


def published(data: Path) -> None:
    for number in (1, 2):
        image = read_image(data / f"map_500_Gaussians_{number}.fits")
        table = Table.read(data / f"table_500_Gaussians_{number}.txt", format="ascii.ipac")
        truth = np.column_stack([table["X"], table["Y"]])
        for name in ("high pass", "matched"):
            start = time.process_time()
            points, _ = FINDERS[name](image, None, 4.0)
            seconds = time.process_time() - start
            i, j = match_positions(points, truth, tolerance=0.02 / image.pixel_scale)
            rms = np.sqrt(np.mean((points[i] - truth[j]) ** 2))
            print(
                f"published {number} {name:10s} matched {i.size}, false {len(points) - i.size}, "
                f"position {rms:.3f} px, {seconds:.2f} s"
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--skies", nargs="*", default=list(SKIES), choices=list(SKIES))
    parser.add_argument("--seeds", type=int, default=5, help="seeds scored, and as many for the threshold")
    parser.add_argument("--data", type=Path, help="folder with the published maps")
    arguments = parser.parse_args()
    if arguments.data:
        published(arguments.data)
    for sky in arguments.skies:
        simulated(sky, arguments.seeds)


if __name__ == "__main__":
    main()
