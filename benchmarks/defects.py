"""Maps with defects and strange backgrounds: what is found, what is false, and whether fluxes stay right.

    python benchmarks/defects.py [--kinds NAME ...] [--seeds 1 2 3 4 5] [--write]

Each map has 400 x 400 pixels, noise of rms 1 seen through a beam of 4 pixels (unless its name says
otherwise), 40 point sources of 6 to 40 sigma at least three beams apart, and one kind of defect. Extraction
runs with its defaults. `found`: true sources with a row within 0.6 beams; `false`: rows without one; `hot`:
how many of these say that they are a hot pixel. Flux: median of FLUX over the truth; pulls: their median
and width.

`--write` writes results/defects.md.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from astropy.wcs import WCS
from scipy import ndimage

import hyper_py
from hyper_py.diagnostics import Flag
from hyper_py.geometry import FWHM_PER_SIGMA, Beam
from hyper_py.image import SkyImage
from hyper_py.numerics import gaussians
from hyper_py.options import Options
from hyper_py.pipeline.extraction import extract_sources
from peers import write_results

SIDE, FWHM, N_SOURCES = 400, 4.0, 40
Y, X = np.mgrid[:SIDE, :SIDE].astype(float)


class Sky(NamedTuple):
    """A map, its sources (n, 3) as x, y and peak, and the FWHM of its beam in pixels."""

    data: np.ndarray
    sources: np.ndarray
    fwhm: float = FWHM


def noise(rng: np.random.Generator, fwhm: float = FWHM) -> np.ndarray:
    """Noise of rms 1, seen through a beam."""
    smooth = ndimage.gaussian_filter(rng.normal(size=(SIDE, SIDE)), fwhm / FWHM_PER_SIGMA, mode="wrap")
    return smooth / smooth.std()


def places(
    rng: np.random.Generator, *, low: float = 6.0, high: float = 40.0, fwhm: float = FWHM
) -> np.ndarray:
    """Sources of log-uniform peaks, at least three beams apart."""
    found: list[np.ndarray] = []
    while len(found) < N_SOURCES:
        place = rng.uniform(20.0, SIDE - 20.0, 2)
        if all(np.hypot(*(place - other[:2])) > 3.0 * fwhm for other in found):
            found.append(np.array([*place, np.exp(rng.uniform(np.log(low), np.log(high)))]))
    return np.array(found)


def drawn(sources: np.ndarray, fwhm: float = FWHM) -> np.ndarray:
    sigma = np.full(len(sources), fwhm / FWHM_PER_SIGMA)
    x, y, peak = sources.T
    return gaussians.render(np.column_stack([peak, x, y, sigma, sigma, 0.0 * x]), (SIDE, SIDE))


def simple(rng: np.random.Generator) -> Sky:
    sources = places(rng)
    return Sky(drawn(sources) + noise(rng), sources)


def with_background(
    make: Callable[[np.random.Generator], np.ndarray],
) -> Callable[[np.random.Generator], Sky]:
    """A kind of map to which something is added."""

    def kind(rng: np.random.Generator) -> Sky:
        sky = simple(rng)
        return sky._replace(data=sky.data + make(rng))

    return kind


def always(added: np.ndarray) -> Callable[[np.random.Generator], np.ndarray]:
    return lambda _: added


def bump(level: float) -> np.ndarray:
    return level * np.exp(-((Y - 180.0) ** 2 + (X - 230.0) ** 2) / (2.0 * 60.0**2))


def spokes(rng: np.random.Generator) -> Sky:
    """A source of 3000 sigma with calibration errors: spokes and rings of a percent."""
    sources = places(rng)
    sources[0, 2] = 3000.0
    radius, angle = (
        np.hypot(X - sources[0, 0], Y - sources[0, 1]),
        np.arctan2(Y - sources[0, 1], X - sources[0, 0]),
    )
    pattern = sum(rng.normal() * np.cos(k * angle + rng.uniform(0.0, 6.0)) for k in (3, 6, 9, 12, 18))
    pattern = pattern * np.exp(-radius / 40.0) * (1.0 - np.exp(-((radius / 6.0) ** 2))) * np.cos(radius / 3.0)
    return Sky(drawn(sources) + 15.0 * pattern + noise(rng), sources)


def scan_stripes(rng: np.random.Generator) -> np.ndarray:
    field = ndimage.gaussian_filter1d(rng.normal(size=(SIDE, SIDE)), 40.0, axis=1, mode="wrap")
    field = ndimage.gaussian_filter1d(field, FWHM / FWHM_PER_SIGMA, axis=0, mode="wrap")
    return 1.5 * field / field.std()


def spikes(low: float, high: float) -> Callable[[np.random.Generator], np.ndarray]:
    def make(rng: np.random.Generator) -> np.ndarray:
        data = np.zeros((SIDE, SIDE))
        np.add.at(data, tuple(rng.integers(0, SIDE, (2, 60))), rng.uniform(low, high, 60))
        return data

    return make


def bad_rows(rng: np.random.Generator) -> np.ndarray:
    data = np.zeros((SIDE, SIDE))
    data[rng.integers(0, SIDE, 6)] += rng.uniform(1.0, 8.0, (6, 1))
    return data


def blank_cores(half: int) -> Callable[[np.random.Generator], Sky]:
    """Ten sources of 20 to 3000 sigma with square blank cores."""

    def kind(rng: np.random.Generator) -> Sky:
        sources = places(rng)
        sources[:10, 2] = np.geomspace(20.0, 3000.0, 10)
        data = drawn(sources) + noise(rng)
        for x, y in np.rint(sources[:10, :2]).astype(int):
            data[y - half : y + half + 1, x - half : x + half + 1] = np.nan
        return Sky(data, sources)

    return kind


def louder(factor: float, *, patches: bool) -> Callable[[np.random.Generator], Sky]:
    """Noise, and sources with it, louder by a factor in bands or patches."""
    gain = np.repeat([1.0, factor, 1.0, factor, 1.0], SIDE // 5)[:, None] * np.ones((1, SIDE))
    if patches:
        gain = np.ones((SIDE, SIDE))
        gain[120:250, 90:260] = gain[300:360, 300:370] = factor

    def kind(rng: np.random.Generator) -> Sky:
        sources = places(rng)
        sources[:, 2] *= gain[tuple(np.rint(sources[:, 1::-1]).astype(int).T)]
        return Sky(drawn(sources) + gain * noise(rng), sources)

    return kind


def daisy(rng: np.random.Generator) -> Sky:
    """A round map, the noise of which rises six times towards its rim."""
    radius = np.hypot(X - 200.0, Y - 200.0) / 200.0
    sources = places(rng)
    sources = sources[np.hypot(sources[:, 0] - 200.0, sources[:, 1] - 200.0) < 188.0]
    gain = np.exp(1.8 * radius**2)
    sources[:, 2] *= gain[tuple(np.rint(sources[:, 1::-1]).astype(int).T)]
    return Sky(np.where(radius <= 1.0, drawn(sources) + gain * noise(rng), np.nan), sources)


def sampled(fwhm: float) -> Callable[[np.random.Generator], Sky]:
    """A beam of few pixels, in white noise."""

    def kind(rng: np.random.Generator) -> Sky:
        sources = places(rng)
        return Sky(drawn(sources, fwhm) + rng.normal(size=(SIDE, SIDE)), sources, fwhm)

    return kind


def bowls(rng: np.random.Generator) -> Sky:
    """Bright sources on a filtered map: negative bowls of some beams around them."""
    sources = places(rng)
    sources[:4, 2] = 100.0, 200.0, 300.0, 800.0
    light = drawn(sources)
    return Sky(light - 4.0 * ndimage.gaussian_filter(light, 14.0) + noise(rng), sources)


def quantised(step: float) -> Callable[[np.random.Generator], Sky]:
    def kind(rng: np.random.Generator) -> Sky:
        sky = simple(rng)
        return sky._replace(data=step * np.round(sky.data / step))

    return kind


def overflows(rng: np.random.Generator) -> Sky:
    """Three pixels of absurd numbers, at least some beams from sources."""
    sky, placed = simple(rng), 0
    while placed < 3:
        y, x = rng.integers(0, SIDE, 2)
        if np.hypot(sky.sources[:, 0] - x, sky.sources[:, 1] - y).min() > 3.0 * FWHM:
            sky.data[y, x] = (1e8, -1e15, 1e22)[placed]
            placed += 1
    return sky


def filled(rng: np.random.Generator) -> Sky:
    """A map of 3.2 beams, with one source."""
    fwhm, side = 16.0, 51
    x, y = rng.uniform(22.0, 28.0, 2)
    return Sky(drawn(np.array([[x, y, 60.0]]), fwhm)[:side, :side] + noise(rng, fwhm)[:side, :side],
               np.array([[x, y, 60.0]]), fwhm)  # fmt: skip


def tile_steps(height: float) -> Callable[[np.random.Generator], np.ndarray]:
    """4 x 4 tiles with levels of their own, which scatter by a height."""
    return lambda rng: np.kron(height * rng.normal(size=(4, 4)), np.ones((SIDE // 4, SIDE // 4)))


def lines_across(rng: np.random.Generator) -> np.ndarray:
    """Three straight lines of 20 to 50 sigma right across the map, as wide as the beam."""
    data = np.zeros((SIDE, SIDE))
    for angle, peak in zip(rng.uniform(0.0, np.pi, 3), rng.uniform(20.0, 50.0, 3), strict=True):
        x, y = rng.uniform(0.25 * SIDE, 0.75 * SIDE, 2)
        across = (Y - y) * np.cos(angle) - (X - x) * np.sin(angle)
        data += peak * np.exp(-0.5 * (across * FWHM_PER_SIGMA / FWHM) ** 2)
    return data


def crosses(rng: np.random.Generator) -> Sky:
    """A snapshot: side lobes of 5 % along two lines through each source, out to 30 beams."""
    sources = places(rng)
    sources[:5, 2] = 50.0, 100.0, 150.0, 200.0, 300.0
    data, angle, reach = drawn(sources) + noise(rng), rng.uniform(0.0, np.pi), 30.0 * FWHM
    for x, y, peak in sources:
        for turn in (0.0, np.pi / 2.0):
            along = (X - x) * np.cos(angle + turn) + (Y - y) * np.sin(angle + turn)
            across = (Y - y) * np.cos(angle + turn) - (X - x) * np.sin(angle + turn)
            profile = np.exp(-0.5 * (across * FWHM_PER_SIGMA / FWHM) ** 2) * np.exp(-np.abs(along) / reach)
            hollow = 1.0 - np.exp(-((along / (1.5 * FWHM)) ** 2))
            lobes = 0.05 * peak * np.cos(2.0 * np.pi * along / (2.5 * FWHM))
            data += lobes * profile * hollow * (np.abs(along) < reach)
    return Sky(data, sources)


def diffraction(rng: np.random.Generator) -> Sky:
    """Three spikes of a percent through the brightest sources."""
    sources = places(rng)
    sources[:2, 2] = 5000.0, 800.0
    data = drawn(sources) + noise(rng)
    for x, y, peak in sources[:2]:
        for angle in 0.2 + np.pi / 3.0 * np.arange(3):
            along = (X - x) * np.cos(angle) + (Y - y) * np.sin(angle)
            across = (Y - y) * np.cos(angle) - (X - x) * np.sin(angle)
            profile = np.exp(-0.5 * (across * FWHM_PER_SIGMA / FWHM) ** 2) * np.exp(-np.abs(along) / 40.0)
            hollow = 1.0 - np.exp(-((along / 6.0) ** 2))
            data += 0.01 * peak * profile * hollow * (1.0 + 0.3 * np.cos(along / 3.0))
    return Sky(data, sources)


KINDS: dict[str, Callable[[np.random.Generator], Sky]] = {
    "nothing": simple,
    "smooth background of 300 sigma": with_background(always(bump(300.0))),
    "smooth background of 3000 sigma": with_background(always(bump(3000.0))),
    "steep gradient, 3000 sigma at the border": with_background(always(3000.0 * np.exp(-Y / 80.0) + 2.0 * X)),
    "offset of a million sigma": with_background(always(np.full((SIDE, SIDE), 1e6))),
    "spokes around a source of 3000 sigma": spokes,
    "stripes along the scans": with_background(scan_stripes),
    "60 hot pixels of 5 to 60 sigma": with_background(spikes(5.0, 60.0)),
    "60 dark pixels of 5 to 300 sigma": with_background(spikes(-300.0, -5.0)),
    "6 bad rows of 1 to 8 sigma": with_background(bad_rows),
    "blank cores of one pixel": blank_cores(0),
    "blank cores of 3 x 3 pixels": blank_cores(1),
    "blank cores of 5 x 5 pixels": blank_cores(2),
    "bands twice as loud": louder(2.0, patches=False),
    "patches twice as loud": louder(2.0, patches=True),
    "patches four times as loud": louder(4.0, patches=True),
    "noise rising six times to a round rim": daisy,
    "bowls around bright sources": bowls,
    "steps of one sigma": quantised(1.0),
    "beam of 1.8 pixels": sampled(1.8),
    "beam of 1.4 pixels": sampled(1.4),
    "3 pixels of absurd numbers": overflows,
    "one source on a map of 3.2 beams": filled,
    "spikes through sources of 800 and 5000 sigma": diffraction,
    "4 x 4 tiles, steps of 10 sigma": with_background(tile_steps(10.0)),
    "4 x 4 tiles, steps of 100 sigma": with_background(tile_steps(100.0)),
    "three lines of 20 to 50 sigma": with_background(lines_across),
    "crosses of side lobes around sources of up to 300 sigma": crosses,
}


class Scored(NamedTuple):
    found: int
    true: int
    false: int
    hot: int
    ratios: np.ndarray
    pulls: np.ndarray
    seconds: float


def score(sky: Sky) -> Scored:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [80.0, 10.0]
    wcs.wcs.crpix, wcs.wcs.cdelt = [SIDE / 2, SIDE / 2], [-1.0 / 3600.0, 1.0 / 3600.0]
    beam = Beam(major=sky.fwhm, minor=sky.fwhm)
    began = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = extract_sources(
            SkyImage(data=sky.data, wcs=wcs, beam=beam, name="map"), options=Options()
        ).catalog
    seconds = time.process_time() - began
    x, y, peak = sky.sources.T
    apart = np.hypot(table["X"].value - x[:, None], table["Y"].value - y[:, None])
    near = apart < 0.6 * sky.fwhm
    found, false = near.any(axis=1), ~near.any(axis=0)
    row = apart[found].argmin(axis=1) if found.any() else np.empty(0, dtype=int)
    flux = 2.0 * np.pi * (sky.fwhm / FWHM_PER_SIGMA) ** 2 * peak[found]
    measured, error = (table[name].to_value("Jy")[row] for name in ("FLUX", "FLUX_ERR"))
    hot = int(np.count_nonzero(np.asarray(table["FLAGS"])[false] & int(Flag.HOT_PIXEL)))
    return Scored(
        int(found.sum()),
        peak.size,
        int(false.sum()),
        hot,
        measured / flux,
        (measured - flux) / error,
        seconds,
    )


def line(name: str, runs: list[Scored]) -> str:
    """Return the line of a kind: sums, and medians over all rows."""
    found, true, false, hot = (
        sum(getattr(run, key) for run in runs) for key in ("found", "true", "false", "hot")
    )
    ratios, pulls = (np.concatenate([getattr(run, key) for run in runs]) for key in ("ratios", "pulls"))
    pulls = pulls[np.isfinite(pulls)]
    middle = float(np.median(pulls)) if pulls.size else np.nan
    width = 1.4826 * float(np.median(np.abs(pulls - middle))) if pulls.size else np.nan
    ratio = float(np.median(ratios)) if ratios.size else np.nan
    seconds = np.median([run.seconds for run in runs])
    cells = (
        name, f"{found} of {true}", f"{false} ({hot} hot)" if hot else f"{false}",
        f"{ratio - 1.0:+.1%}", f"{middle:+.2f}", f"{width:.2f}", f"{seconds:.1f}",
    )  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=KINDS, metavar="NAME")
    parser.add_argument("--seeds", nargs="*", type=int, default=[1, 2, 3, 4, 5])
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    head = ("map", "found", "false rows", "flux", "pulls: median", "width", "s")
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name in options.kinds:
        lines.append(line(name, [score(KINDS[name](np.random.default_rng(seed))) for seed in options.seeds]))
        print(lines[-1], flush=True)
    if options.write:
        command = f"python benchmarks/defects.py --write --seeds {' '.join(map(str, options.seeds))}"
        by = f"Written by `{command}`, version {hyper_py.__version__}."
        told = (__doc__ or "").split("\n\n")[2]
        write_results("defects", ["# Maps with defects", "", by, "", told, "", *lines])


if __name__ == "__main__":
    main()
