"""The right answers of all maps of a folder, as far as their origins state them."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS, FITSFixedWarning

from maps_by_others.common import Array
from maps_by_others.expected import Answer, Source, read_expected

SURE = 7.0
"""Significance in the best filter for white noise above which a simulated source must be found."""
OPTIONS: dict[str, tuple[str, ...]] = {
    "deblending/fits_MultDist3": ("survey.beam={major: 6}",),
    "herschel_bands/p100": ("survey.name=pacs100", "units.bunit=Jy/pixel"),
    "herschel_bands/p160": ("survey.name=pacs160", "units.bunit=Jy/pixel"),
    "herschel_bands/s250": ("survey.name=spire250", "units.bunit=Jy/beam"),
    "herschel_bands/s350": ("survey.name=spire350", "units.bunit=Jy/beam"),
    "herschel_bands/s500": ("survey.name=spire500", "units.bunit=Jy/beam"),
    "headers/fk4_b1950": ("survey.beam={major: 14}", "units.bunit=Jy/beam"),
    "uant_scuba2/": ("survey.name=scuba2-850", "io.error_hdu=VARIANCE"),
}
"""What a file needs, by the beginning of its name, where nothing is known of its sources."""
NO_MAPS = ("_comp.fits", "_psf.fits")


def all_answers(data: Path) -> list[Answer]:
    """Return the answers of every map in the folder; those with stated sources first."""
    stated = [*read_expected(data / "real"), *deblending(data), *nikamap(data), *parkes(data)]
    known = {answer.path for answer in stated}
    others = []
    for path in sorted([*data.rglob("*.fits"), *data.rglob("*.fits.gz")]):
        name = path.relative_to(data).as_posix()
        if path in known or name.endswith(NO_MAPS):
            continue
        options = next((options for start, options in OPTIONS.items() if name.startswith(start)), ())
        is_header = name.startswith("headers/")
        others.append(
            Answer(
                name=name.split(".fits")[0], path=path, options=options, may_be_refused=is_header,
                basis="read, or refused in a line" if is_header else "not stated",
            )
        )  # fmt: skip
    return stated + others


def deblending(data: Path) -> Iterator[Answer]:
    """Yield pairs of point sources at 1 to 16 pixels, and a row of sources of 1 to 15 sigma."""
    pairs, allowed = [], []
    for i in range(16):
        first, second = (11.0 + 20 * i, 11.0), (11.0 + 20 * i, 12.0 + i)
        middle = (0.5 * (first[0] + second[0]), 0.5 * (first[1] + second[1]))
        if i + 1 >= 6:  # one FWHM
            pairs += [Source(x=x, y=y) for x, y in (first, second)]
        else:
            pairs.append(Source(x=middle[0], y=middle[1]))
            allowed.append((*middle, 5.0))
    folder = data / "deblending"
    yield Answer(
        name="deblending/fits_MultDist1", path=folder / "fits_MultDist1.fits",
        options=("survey.beam={major: 6}", "units.bunit=Jy/beam"), basis="simulated: pairs from 1 FWHM apart",
        sources=tuple(pairs), allowed=tuple(allowed), match_radius=3.0, max_extra=0,
    )  # fmt: skip
    yield Answer(
        name="deblending/fits_MultSNR", path=folder / "fits_MultSNR.fits",
        options=("survey.beam={major: 5}",), basis="simulated: peaks of 2 to 15 sigma",
        sources=tuple(Source(x=12.0 + 24 * i, y=12.0) for i in range(1, 15)), allowed=((12.0, 12.0, 2.5),),
        match_radius=2.5, max_extra=0,
    )  # fmt: skip


def nikamap(data: Path) -> Iterator[Answer]:
    """Yield both bands of the simulated NIKA2 map, with its noise."""
    path = data / "nikamap" / "fake_map.fits"
    truth = Table.read(path, hdu="FAKE_SOURCES")
    x, y = (np.asarray(truth[name], dtype=np.float64) for name in ("x_mean", "y_mean"))
    amplitude = np.asarray(truth["amplitude"], dtype=np.float64)
    for band in ("1MM", "2MM"):
        noise, header = fits.getdata(path, f"STDDEV_{band}"), fits.getheader(path, f"BRIGHTNESS_{band}")
        fwhm = 12.5 / abs(3600.0 * header["CDELT2"])
        column, row = np.rint(x).astype(int), np.rint(y).astype(int)
        inside = (column >= 0) & (row >= 0) & (column < noise.shape[1]) & (row < noise.shape[0])
        rms = np.full(len(x), np.nan)
        rms[inside] = noise[row[inside], column[inside]]
        rms[inside] = np.where(rms[inside] > 0, rms[inside], np.nan)
        yield _simulated(
            f"nikamap/{band}", path, x, y, significance=white_significance(amplitude / rms, fwhm), fwhm=fwhm,
            options=(
                "survey.beam={major: 12.5}", f"io.hdu=BRIGHTNESS_{band}", f"io.error_hdu=STDDEV_{band}"
            ),
        )  # fmt: skip


def parkes(data: Path) -> Iterator[Answer]:
    """Yield the synthetic map with its truth, and one sky in three projections with a finder's catalogue."""
    folder = data / "parkes"
    path = folder / "synthetic_image.fits"
    truth, header = Table.read(folder / "synthetic_cat_no_alpha_comp.fits"), fits.getheader(path)
    fwhm = np.sqrt(header["BMAJ"] * header["BMIN"]) / abs(header["CDELT2"])
    x, y = _pixels(path, truth)
    snr = np.asarray(truth["peak_flux"] / truth["local_rms"], dtype=np.float64)
    yield _simulated(
        "parkes/synthetic_image", path, x, y, significance=snr, fwhm=fwhm, options=("units.bunit=Jy/beam",)
    )
    other = Table.read(folder / "1904_comp.fits")
    bright = np.asarray(other["peak_flux"] > 10.0 * other["local_rms"])
    for name, options in (("SIN", ()), ("AIT", ()), ("SIN.lb", ("units.bunit=Jy/beam",))):
        path = folder / f"1904-66_{name}.fits"
        x, y = _pixels(path, other[bright])
        yield Answer(
            name=f"parkes/1904-66_{name}", path=path, options=options,
            basis="another finder's sources above 10 sigma", match_radius=2.0,
            sources=tuple(Source(x=a, y=b) for a, b in zip(x, y, strict=True)),
        )  # fmt: skip


def white_significance(snr: Array, fwhm: float) -> Array:
    """Return the significance of point sources in the best filter, from peak over rms of white noise."""
    return snr * np.sqrt(np.pi) * fwhm / np.sqrt(8.0 * np.log(2.0))


def _simulated(
    name: str, path: Path, x: Array, y: Array, *, significance: Array, fwhm: float, options: tuple[str, ...]
) -> Answer:
    """Return the answer of a simulated map: what is surely above the noise, no row beside true sources."""
    sure = significance >= SURE
    return Answer(
        name=name, path=path, options=options, basis=f"simulated: above {SURE:g} sigma",
        sources=tuple(Source(x=a, y=b) for a, b in zip(x[sure], y[sure], strict=True)),
        allowed=tuple((a, b, 0.5 * fwhm) for a, b in zip(x[~sure], y[~sure], strict=True)),
        match_radius=0.5 * fwhm, max_extra=0,
    )  # fmt: skip


def _pixels(path: Path, table: Table) -> tuple[Array, Array]:
    """Return zero-based pixels of a table's positions (ICRS) in a map."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        wcs = WCS(fits.getheader(path)).celestial
    place = SkyCoord(np.asarray(table["ra"]), np.asarray(table["dec"]), unit="deg")
    x, y = wcs.world_to_pixel(place)
    return np.asarray(x), np.asarray(y)
