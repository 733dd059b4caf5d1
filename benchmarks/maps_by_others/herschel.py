"""Herschel: five bands in two commands."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from scipy import ndimage

from hyper_py.geometry import Beam
from hyper_py.image import SkyImage
from hyper_py.pipeline.extraction import extract_sources
from hyper_py.reading.psf import beam_from_psf
from maps_by_others.common import Array, matched, scatter, table, values

BANDS = {"p100": 100, "p160": 160, "s250": 250, "s350": 350, "s500": 500}
PSF_PIXELS = {"p100": 3.0, "p160": 4.0}
"""Arcsec: not in the headers of these PSF images."""


def herschel(data: Path, *, output: Path) -> None:
    """Find sources at 250 um, measure them in five bands, and look at their spectra."""
    folder, out = data / "herschel_bands", output / "herschel"
    out.mkdir(parents=True, exist_ok=True)
    maps: dict[str, Any] = {}
    for band in BANDS:
        survey: dict[str, Any] = {"psf": str(folder / f"{band}_psf.fits")}
        if band in PSF_PIXELS:
            survey["psf_pixel"] = PSF_PIXELS[band]
        maps[band] = {"units": {"bunit": "Jy/pixel" if band in PSF_PIXELS else "Jy/beam"}, "survey": survey}
    config = {"version": 2, "maps": maps, "outputs": {"report": False}}
    (out / "bands.yaml").write_text(yaml.safe_dump(config))
    beam = beam_from_psf(folder / "s250_psf.fits")
    first = [str(out / "bands.yaml"), str(folder / "s250.fits"), "-o", str(out / "s250")]
    catalog = out / "s250" / "params" / "params_s250.ecsv"
    second = [
        str(out / "bands.yaml"), *(str(folder / f"{band}.fits") for band in BANDS), "-o", str(out / "bands"),
        "--set", "detection.use_fixed_source_table=true",
        "--set", f"detection.fixed_source_table_path={catalog}",
        "--set", f"detection.fixed_source_beam={beam.fwhm:.2f}",
    ]  # fmt: skip
    print("## Herschel, one field in five bands\n")
    for arguments in (first, second):
        command = [sys.executable, "-m", "hyper_py", "run", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        shown = " ".join(Path(a).name if "/" in a and "=" not in a else a for a in arguments)
        print(f"- `hyper-py run {shown}`: status {done.returncode}".replace(str(catalog), catalog.name))
        if done.returncode:
            print(done.stdout, done.stderr)
            return
    merged = Table.read(out / "bands" / "params" / "params_ALL.ecsv")
    show_bands(merged, Table.read(catalog), folder)
    lobed_beams(folder)


def lobed_beams(folder: Path) -> None:
    """Print the fluxes of simulated point sources with the PSF images of PACS, known and not known."""
    print("Point sources with the PSF image of each PACS band, peaks of 15 to 150 sigma, five draws:\n")
    rows = []
    for band, pixel in PSF_PIXELS.items():
        path = folder / f"{band}_psf.fits"
        beam, psf = beam_from_psf(path, pixel=pixel), np.nan_to_num(fits.getdata(path).astype(np.float64))
        for noise, width in (("white", 0.0), ("correlated", 0.3 * beam.fwhm / pixel)):
            for number in (8, 100):
                row = [band, noise, str(number)]
                for known in (beam, replace(beam, psf_residual=None)):
                    draws = [lobed_draw(psf, known, pixel, number, width, seed) for seed in range(5)]
                    ratio, pull = (np.concatenate(parts) for parts in list(zip(*draws, strict=True))[:2])
                    row += [
                        f"{np.median(ratio):.3f} ± {scatter(ratio):.3f}", f"{np.sqrt(np.mean(pull**2)):.1f}",
                        str(sum(draw[2] for draw in draws)),
                    ]  # fmt: skip
                rows.append(row)
    head = ["band", "noise", "sources", "flux / true", "pull rms", "false", "lobes not known: flux / true",
            "pull rms", "false"]  # fmt: skip
    print(table(head, rows), "\n")


def lobed_draw(
    psf: Array, beam: Beam, pixel: float, number: int, width: float, seed: int
) -> tuple[Array, Array, int]:
    """Return flux over true flux, pulls and the number of false sources of one simulated map.

    `width` is the sigma in pixels of the Gaussian that smooths nine tenths of the noise power.
    """
    rng, shape = np.random.default_rng(seed), (300, 300)
    places = np.mgrid[25:276:25, 25:276:25].reshape(2, -1) + rng.uniform(-3, 3, (2, 121))
    y, x = places[:, rng.choice(121, number, replace=False)]
    flux = np.exp(rng.uniform(np.log(15.0), np.log(150.0), number)) * psf.sum() / psf.max()
    data = rng.normal(size=shape)
    if width:
        smooth = ndimage.gaussian_filter(data, width)
        data = 0.95 * smooth / smooth.std() + 0.31 * rng.normal(size=shape)
    middle = np.unravel_index(psf.argmax(), psf.shape)
    rows, columns = np.indices(shape)
    for f, a, b in zip(flux, x, y, strict=True):
        where = [rows - b + middle[0], columns - a + middle[1]]
        data += f * ndimage.map_coordinates(psf / psf.sum(), where, order=3)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [10.0, 0.0]
    wcs.wcs.cdelt, wcs.wcs.crpix = [-pixel / 3600, pixel / 3600], [150.0, 150.0]
    catalog = extract_sources(SkyImage(data=data, wcs=wcs, beam=beam)).catalog
    i, j = matched(x, y, values(catalog, "X"), values(catalog, "Y"), 0.5 * beam.fwhm / pixel).T
    own, error = values(catalog, "FLUX")[j] / 1e3, values(catalog, "FLUX_ERR")[j] / 1e3
    return own / flux[i], (own - flux[i]) / error, len(catalog) - len(i)


def show_bands(merged: Any, reference: Any, folder: Path) -> None:
    """Print beams and fluxes of all bands, a row a source."""
    print()
    rows = []
    fluxes = {band: merged[merged["MAP_ID"] == band] for band in BANDS}
    for band, one in fluxes.items():
        beam = beam_from_psf(folder / f"{band}_psf.fits", pixel=PSF_PIXELS.get(band))
        snr = values(one, "FLUX") / values(one, "FLUX_ERR")
        rows.append(
            [band, f"{beam.major:.1f} x {beam.minor:.1f}", f"{beam.solid_angle:.0f}", str(len(one)),
             str(int((snr > 3).sum())), str(int((values(one, "FLUX") < 0).sum())),
             f"{np.median(values(one, 'FLUX_ERR')):.1f}"]
        )  # fmt: skip
    print(table(["band", "FWHM (arcsec)", "beam area (arcsec2)", "rows", "above 3 errors", "negative",
                 "median error (mJy)"], rows), "\n")  # fmt: skip
    own = values(fluxes["s250"], "FLUX") / values(reference, "FLUX")
    print(
        f"250 um measured again in its own apertures: median ratio {np.median(own):.3f}, scatter "
        f"{scatter(own):.3f}.\n"
    )
    rows = []
    for k in np.argsort(-values(fluxes["s250"], "FLUX"))[:20]:
        row = [str(k + 1)]
        for one in fluxes.values():
            flux, error = values(one, "FLUX")[k], values(one, "FLUX_ERR")[k]
            limit = values(one, "FLUX_ULIM")[k]
            row.append(f"{flux:.1f} ± {error:.1f}" if flux > 3 * error else f"< {limit:.1f}")
        rows.append(row)
    print("The 20 brightest at 250 um, mJy; 3-sigma upper limits where a flux is below three errors.\n")
    print(table(["HYPER_ID", *(f"{um} um" for um in BANDS.values())], rows), "\n")
    shapes(fluxes)


def shapes(fluxes: dict[str, Any]) -> None:
    """Print the mean spectrum of all sources: faint ones too have the shape of dust together."""
    flux = np.array([values(one, "FLUX") for one in fluxes.values()])
    error = np.array([values(one, "FLUX_ERR") for one in fluxes.values()])
    mean, mean_error = flux.mean(axis=1), np.sqrt((error**2).sum(axis=1)) / flux.shape[1]
    parts = (f"{um} um {m:.1f} ± {e:.1f}" for um, m, e in zip(BANDS.values(), mean, mean_error, strict=True))
    print(f"Mean of all {flux.shape[1]}, mJy: {', '.join(parts)}.")
    both = (flux[2] > 3.0 * error[2]) & (flux[3] > 3.0 * error[3])
    print(
        f"250/350 of the {both.sum()} seen in both: median {np.median(flux[2][both] / flux[3][both]):.2f}; "
        f"of the means {mean[2] / mean[3]:.2f}; 350/500 of the means {mean[3] / mean[4]:.2f}. "
        "(Dust of 20 to 25 K, beta 1.8, at redshift 0.3 to 1: 250/350 from 1.0 to 2.0, 350/500 from 1.5 to "
        "2.6.)\n"
    )
