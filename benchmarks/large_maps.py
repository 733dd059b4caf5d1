"""Peak memory, and cost per pixel and per source, from small maps to very large ones of the same sky.

    python benchmarks/large_maps.py [--sides N ...] [--density N] [--directory DIR] [--set KEY=VALUE ...]
    python benchmarks/large_maps.py --tiles [--set KEY=VALUE ...]

Each map is made strip by strip (so that making it takes no memory either): noise of the beam's correlation
and a white part, a background of smooth structure, sources of the beam's size and up to half as much larger
with peaks of 6 to 60 times the noise. Each is measured by the command line in a process of its own, from
shell to finished tables, without report. Seconds are processor time (user and system). The columns `net`
leave out what the first, smallest, map took: the start of the program.

`--tiles` compares instead the catalogues of one simulated map, of sources of all kinds, with blanks and noise
that varies, for tiles of several sizes, in memory and read in pieces.
"""

import argparse
import itertools
import math
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from scipy import ndimage
from scipy.interpolate import RectBivariateSpline
from scipy.spatial import KDTree

from hyper_py.config.model import Config
from hyper_py.config.text import apply_overrides
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.numerics import gaussians
from hyper_py.pipeline.extraction import extract_sources
from hyper_py.reading.io import read_image
from hyper_py.simulation.simulate import simulate_image
from hyper_py.writing.simulated_files import write_simulation

FWHM, PIXEL = 5.0, 2.0
"""Beam in pixels, and the side of a pixel in arcsec."""
STRIP = 250
SCALE = 40
"""Of the background, in pixels."""
TILED_SHAPE = (1600, 1700)


def header(side: int) -> fits.Header:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["GLON-TAN", "GLAT-TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [40.0, 0.0], [0.5 * (side + 1)] * 2
    wcs.wcs.cdelt = [-PIXEL / 3600, PIXEL / 3600]
    result = fits.Header({"SIMPLE": True, "BITPIX": -32, "NAXIS": 2, "NAXIS1": side, "NAXIS2": side})
    result.extend(wcs.to_header())
    result["BUNIT"] = "Jy/beam"
    result["BMAJ"] = result["BMIN"] = FWHM * PIXEL / 3600
    result["BPA"] = 0.0
    return result


def draw_sources(side: int, number: int, rng: np.random.Generator) -> np.ndarray:
    sigma = FWHM / FWHM_PER_SIGMA * rng.uniform(1.0, 1.5, (number, 2))
    return np.column_stack(
        [
            np.exp(rng.uniform(np.log(6.0), np.log(60.0), number)),
            *rng.uniform(3 * FWHM, side - 3 * FWHM, (2, number)),
            sigma.max(axis=1),
            sigma.min(axis=1),
            rng.uniform(0.0, np.pi, number),
        ]
    )


def correlated_noise(side: int, seed: int, first: int, last: int) -> np.ndarray:
    """Rows of noise of rms 1: 10% of the variance white, the rest of the beam's correlation."""
    sigma = FWHM / FWHM_PER_SIGMA
    halo = math.ceil(4 * sigma)

    def white(row: int, kind: int) -> np.ndarray:
        return np.random.default_rng([seed, kind, row]).standard_normal(side)

    rows = np.stack([white(row + halo, 0) for row in range(first - halo, last + halo)])
    smooth = ndimage.gaussian_filter(rows, sigma, mode="constant")[halo : halo + last - first]
    grain = np.stack([white(row, 1) for row in range(first, last)])
    return math.sqrt(0.9) * 2.0 * math.sqrt(math.pi) * sigma * smooth + math.sqrt(0.1) * grain


def make_map(path: Path, side: int, number: int, *, seed: int = 1) -> np.ndarray:
    """Write a map strip by strip, in units of its noise, as float32; return its sources (n, 6)."""
    rng = np.random.default_rng(seed)
    sources = draw_sources(side, number, rng)
    nodes = np.arange(-2, side // SCALE + 4) * SCALE
    background = RectBivariateSpline(nodes, nodes, 2.0 * rng.standard_normal((nodes.size, nodes.size)))
    placed = gaussians.SourcesByPlace(sources, n_sigma=6.0)
    stream = fits.StreamingHDU(str(path), header(side))
    for first in range(0, side, STRIP):
        last = min(first + STRIP, side)
        rows = correlated_noise(side, seed, first, last)
        rows += background(np.arange(first, last), np.arange(side))
        gaussians.render(placed[slice(first, last), slice(0, side)], rows.shape, out=rows)
        stream.write(rows.astype(np.float32))
    stream.close()
    return sources


def measure(path: Path, out: Path, options: list[str]) -> tuple[float, float]:
    """Run the command line; return processor seconds and peak memory in MB."""
    command = [sys.executable, "-m", "hyper_py", "run", str(path), "-o", str(out), "--jobs", "1", "--quiet"]
    settings = [word for one in ["outputs.report=false", *options] for word in ("--set", one)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    process = subprocess.Popen([*command, *settings], env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{path.name}: exit status {os.waitstatus_to_exitcode(status)}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def compare_tiles(settings: list[str]) -> None:
    """Print what the catalogues of tiles of several sizes differ in from that of the whole map at once."""
    with tempfile.TemporaryDirectory() as directory:
        path = tiled_map(Path(directory) / "sky.fits")
        options = Config.from_mapping(apply_overrides({"version": 2}, settings)).options()
        whole = replace(options, tile_size_pix=0)
        expected = extract_sources(read_image(path), options=whole).catalog
        print(f"{len(expected)} sources on {TILED_SHAPE[1]} x {TILED_SHAPE[0]} pixels")
        print("| tiles | map | rows | equal | largest relative difference | column |")
        print("|---|---|---|---|---|---|")
        for size, where in itertools.product((None, 256, 512, 1000), ("in memory", "in pieces")):
            image = read_image(path, max_memory=1e6 if where == "in pieces" else None)
            catalog = extract_sources(image, options=replace(options, tile_size_pix=size)).catalog
            same, worst, column = difference(catalog, expected)
            print(
                f"| {size or 'automatic'} | {where} | {len(catalog)} | {same} | {worst:.1e} | {column} |",
                flush=True,
            )


def tiled_map(path: Path, *, seed: int = 5) -> Path:
    """Write a map with pairs and single sources, and blanks at a corner, an edge, inside, here and there."""
    simulation = simulate_image("crowded", seed=seed, shape=TILED_SHAPE, n_sources=900, noise_variation=3.0)
    write_simulation(path, simulation)
    rng = np.random.default_rng(seed)
    with fits.open(path, mode="update") as file:
        data = file[0].data
        data[:120, :90] = data[600:700, 480:560] = data[1510:, 700:] = np.nan
        data[rng.integers(0, data.shape[0], 40), rng.integers(0, data.shape[1], 40)] = np.nan
    return path


def difference(catalog: Table, expected: Table) -> tuple[str, float, str]:
    """Return whether rows and whole numbers are equal, and the largest relative difference and its column.

    Differences below 1e-9 of a column's largest value are rounding; of errors below 1e-8, because that of a
    size at its bound is the square root of what is left of zero.
    """
    if len(catalog) != len(expected):
        return "no", math.inf, ""
    same, worst, column = True, 0.0, ""
    for name in expected.colnames:
        one, other = (np.asarray(getattr(t[name], "value", t[name])) for t in (catalog, expected))
        if other.dtype.kind not in "fc":
            same &= bool((one == other).all())
            continue
        same &= bool((np.isnan(one) == np.isnan(other)).all())
        known = np.isfinite(other) & (other != 0.0)
        rounding = (1e-8 if name.endswith("ERR") else 1e-9) * np.abs(other[known]).max(initial=0.0)
        beyond = np.maximum(np.abs(one - other)[known] - rounding, 0.0)
        change = float((beyond / np.abs(other[known])).max(initial=0.0))
        if change > worst:
            worst, column = change, name
    return "yes" if same else "no", worst, column


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sides", nargs="+", type=int, default=[200, 1000, 3000, 12000])
    parser.add_argument("--density", type=float, default=20000 / 144, help="sources per million pixels")
    parser.add_argument("--directory", type=Path, help="where maps are made; a temporary one if not given")
    parser.add_argument("--set", nargs="*", default=[], help="configuration, as for hyper-py run")
    parser.add_argument(
        "--tiles", action="store_true", help="compare the catalogues of tiles of several sizes"
    )
    arguments = parser.parse_args()
    if arguments.tiles:
        compare_tiles(arguments.set)
        return
    print("| side | sources | found | false | processor s | net s per Mpixel | net ms per source | peak MB |")
    print("|---|---|---|---|---|---|---|---|")
    first: tuple[float, float, float] | None = None
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        for side in arguments.sides:
            path, out = Path(directory) / f"sky_{side}.fits", Path(directory) / f"out_{side}"
            number = round(arguments.density * side**2 / 1e6)
            sources = make_map(path, side, number)
            seconds, peak = measure(path, out, arguments.set)
            table = Table.read(out / "params" / f"params_{path.stem}.ecsv")
            true, ours = sources[:, [gaussians.X, gaussians.Y]], np.column_stack([table["X"], table["Y"]])
            found = KDTree(ours).query(true)[0] < 0.5 * FWHM
            wrong = KDTree(true).query(ours)[0] >= 0.5 * FWHM
            first = first or (seconds, side**2, number)
            more, pixels, more_sources = np.subtract((seconds, side**2, number), first)
            net = "- | -" if not pixels else f"{more / pixels * 1e6:.2f} | {more / more_sources * 1e3:.1f}"
            print(
                f"| {side} | {number} | {found.sum()} | {wrong.sum()} | {seconds:.1f} | {net} | {peak:.0f} |",
                flush=True,
            )
            path.unlink()


if __name__ == "__main__":
    main()
