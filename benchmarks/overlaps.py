"""Two overlapping pieces of a map, joined, against the map as a whole.

    python benchmarks/overlaps.py MAP.fits [MAP.fits ...] [--share 0.333] [--least 6] [--work DIR]

Each map is cut along x into two pieces that share a part of their width; both are run as two maps with
`overlaps.merged=join`, and the map itself once. Above `--least` sigma, and away from the seams (the outer
edges of the pieces inside the map), the joined catalogue has to have the sources of the whole one, and their
fluxes. Further arguments, such as `--set KEY=VALUE`, go to `hyper-py run`.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from scipy.spatial import cKDTree

SEAM_BEAMS = 3.0


def cut(path: Path, directory: Path, share: float) -> list[tuple[Path, int, int]]:
    """Write two pieces of a map; return their paths and columns."""
    with fits.open(path) as file:
        hdu = next(one for one in file if one.data is not None and one.data.ndim >= 2)
        data, header = hdu.data, hdu.header
    nx = data.shape[-1]
    width = round(nx / (2.0 - share))
    pieces = []
    for name, start in (("left", 0), ("right", nx - width)):
        own = header.copy()
        own["CRPIX1"] = header["CRPIX1"] - start
        target = directory / f"{name}.fits"
        fits.writeto(target, data[..., start : start + width], own, overwrite=True)
        pieces.append((target, start, start + width))
    return pieces


def run(maps: list[Path], out: Path, changes: list[str]) -> Table:
    """Run maps with `overlaps.merged=join`; return the merged catalogue."""
    command = [sys.executable, "-m", "hyper_py", "run", *map(str, maps), "-o", str(out), "--quiet"]
    command += ["--set", "outputs.report=false", "--set", "overlaps.merged=join", *changes]
    subprocess.run(command, check=True)
    return Table.read(out / "params" / "params_ALL.ecsv")


def compare(path: Path, directory: Path, share: float, least: float, changes: list[str]) -> bool:
    """Print how the joined catalogue of two pieces differs from that of the whole map; return if it may."""
    pieces = cut(path, directory, share)
    whole = run([path], directory / "whole", changes)
    joined = run([target for target, _, _ in pieces], directory / "joined", changes)
    left = joined["MAP_ID"] == "left"
    # X of the whole map: that of a piece counts from its first column.
    x = np.asarray(joined["X"]) + np.where(left, pieces[0][1], pieces[1][1])
    beam = float(np.median(whole["FWHM_1"])) / float(whole.meta.get("pixel_arcsec", 0.0) or pixel_of(path))
    seams = (pieces[0][2] - 0.5, pieces[1][1] - 0.5)

    def away(values):
        return np.min([np.abs(values - seam) for seam in seams], axis=0) > SEAM_BEAMS * beam

    tree = cKDTree(np.column_stack([x, joined["Y"]]))
    apart, row = tree.query(np.column_stack([whole["X"], whole["Y"]]))
    found = apart < 0.5 * beam
    own = (whole["SNR"] > least) & away(np.asarray(whole["X"]))
    other = (joined["SNR"] > least) & away(x)
    counts = int(own.sum()), int(other.sum())
    both = own & found
    error = np.asarray(whole["FLUX_ERR"])[both]
    change = (np.asarray(joined["FLUX"])[row[both]] - np.asarray(whole["FLUX"])[both]) / error
    n_unknown = int(np.count_nonzero(~np.isfinite(change)))  # at a bound there is no error
    change = change[np.isfinite(change)]
    lost, within = int(np.count_nonzero(own & ~found)), float(np.mean(np.abs(change) < 1.0))
    taken_twice = len(row[found]) - len(np.unique(row[found]))
    pairs = tree.query_pairs(0.5 * beam)
    good = abs(counts[1] / counts[0] - 1.0) <= 0.02 and within > 0.95 and not taken_twice
    verdict = "good" if good else "FALLS SHORT"
    print(
        f"{path.name}: above {least:g} sigma, away from the seams: {counts[0]} sources of the whole map, "
        f"{counts[1]} joined, {lost} lost; {within:.1%} of {change.size} fluxes within their errors "
        f"({n_unknown} have none), median change "
        f"{np.median(change):+.3f} errors, largest {np.abs(change).max():.2f}; {len(pairs)} pairs of rows "
        f"within half a beam: {verdict}"
    )
    return good


def pixel_of(path: Path) -> float:
    """Return the side of a pixel in arcsec."""
    header = fits.getheader(path)
    return 3600.0 * abs(header.get("CDELT1") or header["CD1_1"])


def main() -> int:
    """Compare each map named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("maps", nargs="+", type=Path)
    parser.add_argument(
        "--share", type=float, default=1.0 / 3.0, help="Part of a piece's width that both have."
    )
    parser.add_argument("--least", type=float, default=6.0, help="Least S/N of the sources compared.")
    parser.add_argument("--work", type=Path, default=None)
    arguments, changes = parser.parse_known_args()
    good = True
    with tempfile.TemporaryDirectory() as temporary:
        for path in arguments.maps:
            directory = (arguments.work or Path(temporary)) / path.stem
            directory.mkdir(parents=True, exist_ok=True)
            good &= compare(
                path, directory, arguments.share, arguments.least, [c for c in changes if c != "--"]
            )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
