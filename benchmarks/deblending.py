"""Pairs of known separation, and sources of known signal to noise.

    python benchmarks/deblending.py --data DIR

DIR holds fits_MultDist1.fits (16 pairs of peak 1, FWHM 6 pixels, 1 to 16 pixels apart, white noise of 0.041)
and fits_MultSNR.fits (15 sources with peaks of 1 to 15 on unit white noise, FWHM 5 pixels, measured at their
true positions). Their headers have no beam: it is given.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np

from hyper_py.detection.given import FixedSources
from hyper_py.geometry import Beam, celestial_degrees
from hyper_py.options import DetectionOptions, Options
from hyper_py.pipeline.extraction import extract_sources
from hyper_py.reading.io import read_image


def pairs(folder: Path) -> None:
    image = read_image(folder / "fits_MultDist1.fits", beam=Beam(major=6.0, minor=6.0))
    options = Options(detection=DetectionOptions(sigma_thres=5.0))
    catalog = extract_sources(image, options=options).catalog
    print(f"{len(catalog)} sources in 16 pairs; flux of one source of a pair: 1 mJy\n")
    print("| separation (pixel, beams) | found | fluxes (mJy) | (flux - 1) / error |")
    print("|---|---|---|---|")
    for k in range(16):
        rows = catalog[np.abs(catalog["X"].value - (11 + 20 * k)) < 6.0]
        flux, error = rows["FLUX"].to_value("mJy"), rows["FLUX_ERR"].to_value("mJy")
        fluxes = ", ".join(f"{f:.3f} ± {e:.3f}" for f, e in zip(flux, error, strict=True))
        pulls = ", ".join(f"{p:+.1f}" for p in (flux - 1.0) / error) if len(rows) == 2 else "-"
        print(f"| {k + 1}, {(k + 1) / 6:.2f} | {len(rows)} | {fluxes} | {pulls} |")


def known_places(folder: Path) -> None:
    image = read_image(folder / "fits_MultSNR.fits", beam=Beam(major=5.0, minor=5.0))
    x = 12.0 + 24.0 * np.arange(15)
    longitude, latitude = celestial_degrees(image.wcs, x, np.full(15, 12.0))
    five = np.full(15, 5.0)
    fixed = FixedSources(longitude=longitude, latitude=latitude, fwhm_1=five, fwhm_2=five, pa=0.0 * five)
    catalog = extract_sources(image, fixed=fixed).catalog
    peak, error = (catalog[c].to_value("mJy/beam") for c in ("FLUX_PEAK", "FLUX_PEAK_ERR"))
    pull = (peak - np.arange(1, 16)) / error
    print("\n| true peak | measured | (measured - true) / error |\n|---|---|---|")
    for k in range(15):
        print(f"| {k + 1} | {peak[k]:.2f} ± {error[k]:.2f} | {pull[k]:+.1f} |")
    print(f"\nrms of the last column {np.sqrt(np.mean(pull**2)):.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    folder = parser.parse_args().data
    warnings.simplefilter("ignore")
    pairs(folder)
    known_places(folder)


if __name__ == "__main__":
    main()
