"""Many sources about a beam apart: what the fits cost, and what is found.

    python benchmarks/crowding.py [--sources N] [--layouts chain cluster] [--seeds N ...]

Sources of the beam's shape (FWHM 5 pixels), of peaks of 15 to 60 in units of the noise, in a chain that bends
at random, or in a cluster that grows around its first source: each is 0.8 to 1.2 beams from the one it is
attached to and at least 0.8 from all others. A tenth of the noise power is white, the rest has the beam's
autocorrelation; there are 300 x 300 pixels. Processor seconds are those of one extraction from image to
catalogue, the ways in turns after one of each that is not counted; in brackets over those with white noise,
highpass detection and a polynomial. Found: matched within half a beam.
"""

import argparse
import time
import warnings

import numpy as np

from hyper_py.config import Config, apply_overrides
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.image import SkyImage
from hyper_py.numerics import gaussians
from hyper_py.options import Options
from hyper_py.pipeline.extraction import extract_sources
from hyper_py.simulation.simulate import simulate_image
from hyper_py.validation.matching import match_positions

SHAPE, FWHM = (300, 300), 5.0
CLOSEST, FURTHEST = 0.8, 1.2
WHITE = ["fit_options.noise_model=white", "background.method=polynomial", "detection.method=highpass"]
WAYS = {"white noise": WHITE, "without deblending": ["detection.deblend_residual=false"], "defaults": []}


def places(rng: np.random.Generator, n: int, *, layout: str) -> np.ndarray:
    """Return positions around the origin in beams, shape (n, 2)."""
    found, angle, tries = [np.zeros(2)], rng.uniform(0.0, 2.0 * np.pi), 0
    while len(found) < n:
        tries += 1
        if tries > 1000:  # a chain that has wound itself up
            found, tries = found[:1], 0
        chain = layout == "chain"
        base = found[-1] if chain else found[rng.integers(len(found))]
        turn = angle + rng.normal(0.0, 0.5) if chain else rng.uniform(0.0, 2.0 * np.pi)
        new = base + rng.uniform(CLOSEST, FURTHEST) * np.array([np.cos(turn), np.sin(turn)])
        if np.hypot(*(np.array(found) - new).T).min() >= CLOSEST:
            found.append(new)
            angle, tries = turn, 0
    where = np.array(found)
    centred: np.ndarray = where - 0.5 * (where.min(axis=0) + where.max(axis=0))
    return centred


def crowded_map(n: int, *, layout: str, seed: int) -> tuple[SkyImage, np.ndarray]:
    """Return a map and the true positions in pixels, shape (n, 2)."""
    rng = np.random.default_rng([seed, n])
    image = simulate_image(
        "alma", seed=seed, shape=SHAPE, n_sources=0, background="none", pixel_scale=1.0,
        beam=(FWHM, FWHM, 0.0),
    ).image  # fmt: skip
    rms, sigma = float(np.std(image.data)), np.full(n, FWHM / FWHM_PER_SIGMA)
    where = FWHM * places(rng, n, layout=layout) + 0.5 * (np.array(SHAPE[::-1]) - 1.0)
    where += rng.uniform(-0.5, 0.5, 2)
    sources = np.column_stack([rms * rng.uniform(15.0, 60.0, n), where, sigma, sigma, 0.0 * sigma])
    return image.with_data(image.data + gaussians.render(sources, SHAPE)), where


def measured(image: SkyImage, where: np.ndarray, options: Options) -> tuple[float, int, int]:
    """Return processor seconds of an extraction, and how many of its sources are true and false."""
    start = time.process_time()
    catalog = extract_sources(image, options=options).catalog
    seconds = time.process_time() - start
    found = np.column_stack([catalog["X"].value, catalog["Y"].value])
    matched = len(match_positions(found, where, tolerance=0.5 * FWHM)[0])
    return seconds, matched, len(catalog) - matched


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sources", type=int, default=30)
    parser.add_argument("--layouts", nargs="+", choices=("chain", "cluster"), default=("chain", "cluster"))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3, 4, 5])
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    ways = {
        name: Config.from_mapping(apply_overrides({"version": 2}, keys)).options()
        for name, keys in WAYS.items()
    }
    n = arguments.sources
    image, where = crowded_map(n, layout=arguments.layouts[0], seed=0)
    for options in ways.values():
        measured(image, where, options)
    print(f"{n} sources; white noise: `{' '.join(WHITE)}`\n")
    head = ["layout, seed", *(f"{name}: s, found, false" for name in ways)]
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for layout in arguments.layouts:
        ratios = []
        for seed in arguments.seeds:
            image, where = crowded_map(n, layout=layout, seed=seed)
            done = [measured(image, where, options) for options in ways.values()]
            ratios.append([seconds / done[0][0] for seconds, _, _ in done])
            cells = [
                f"{seconds:.2f} ({ratio:.1f}), {matched}, {false}"
                for (seconds, matched, false), ratio in zip(done, ratios[-1], strict=True)
            ]
            print(f"| {layout}, {seed} | {' | '.join(cells)} |", flush=True)
        medians = [f"({ratio:.1f})" for ratio in np.median(ratios, axis=0)]
        print(f"| {layout}, median | {' | '.join(medians)} |", flush=True)


if __name__ == "__main__":
    main()
