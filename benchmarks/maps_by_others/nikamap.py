"""NIKA2: simulated sources in two bands."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from hyper_py.geometry import FWHM_PER_SIGMA, Beam
from hyper_py.numerics import gaussians
from hyper_py.pipeline.extraction import extract_sources
from hyper_py.reading.io import read_image
from maps_by_others.common import matched, scatter, table, values


def nikamap(data: Path) -> None:
    """Compare both bands with the true sources."""
    path, beam = data / "nikamap" / "fake_map.fits", Beam(major=12.5, minor=12.5, source="FWHM_260")
    truth = Table.read(path, hdu="FAKE_SOURCES")
    print("## NIKA2, simulated: 50 sources, noise rising to the edge\n")
    rows = []
    for band in ("1MM", "2MM"):
        for error in (f"STDDEV_{band}", None):
            image = read_image(path, hdu=f"BRIGHTNESS_{band}", error_hdu=error, beam=beam)
            catalog = extract_sources(image).catalog
            rows.append([band, "yes" if error else "no", *nika_scores(path, band, catalog, truth)])
    rows += [nika_draws(path, beam, known=known) for known in (True, False)]
    head = ["band", "error map", "found / true within the map", "found / true above 5 sigma", "false",
            "isolated: flux ratio", "scatter", "pull width", "pull rms"]  # fmt: skip
    print(table(head, rows), "\n")


def nika_draws(path: Path, beam: Beam, *, known: bool) -> list[str]:
    """Return the scores of other sources and other noise of one error map, known or not, 8 draws together."""
    image = read_image(path, hdu="BRIGHTNESS_1MM", error_hdu="STDDEV_1MM", beam=beam)
    assert image.error is not None
    ratios, pulls, counts = [], [], np.zeros(3, dtype=int)
    sigma = image.beam_fwhm_pix / FWHM_PER_SIGMA
    for seed in range(8):
        rng = np.random.default_rng(seed)
        y, x = np.mgrid[60:460:45, 60:460:45].reshape(2, -1) + rng.uniform(-8, 8, (2, 81))
        seen = np.isfinite(image.data[np.rint(y).astype(int), np.rint(x).astype(int)])
        x, y, flux = x[seen], y[seen], rng.uniform(1.0, 10.0, seen.sum())
        shape = np.full(len(x), sigma)
        sources = np.column_stack([flux * 1e-3 / image.beam_area_pix, x, y, shape, shape, 0.0 * x])
        noise = np.where(np.isfinite(image.data), image.error * rng.normal(size=image.shape), np.nan)
        data = gaussians.render(sources, image.shape) + noise
        catalog = extract_sources(replace(image, data=data, error=image.error if known else None)).catalog
        i, j = matched(x, y, values(catalog, "X"), values(catalog, "Y"), 0.5 * image.beam_fwhm_pix).T
        counts += len(i), len(x), len(catalog) - len(i)
        own, error = values(catalog, "FLUX")[j], values(catalog, "FLUX_ERR")[j]
        ratios.append(own / flux[i])
        pulls.append((own - flux[i]) / error)
    ratio, pull = np.concatenate(ratios), np.concatenate(pulls)
    return [
        "8 draws", "yes" if known else "no", f"{counts[0]} / {counts[1]}", "", str(counts[2]),
        f"{np.median(ratio):.3f}", f"{scatter(ratio):.3f}", f"{scatter(pull):.2f}",
        f"{np.sqrt(np.mean(pull**2)):.2f}",
    ]  # fmt: skip


def nika_scores(path: Path, band: str, catalog: Any, truth: Any) -> list[str]:
    """Return completeness, false sources, flux ratio and pulls of one catalogue."""
    noise = read_image(
        path, hdu=f"BRIGHTNESS_{band}", error_hdu=f"STDDEV_{band}", beam=Beam(major=12.5, minor=12.5)
    )
    assert noise.error is not None
    x, y = values(truth, "x_mean"), values(truth, "y_mean")
    column, row = np.rint(x).astype(int), np.rint(y).astype(int)
    inside = (column >= 0) & (row >= 0) & (column < noise.shape[1]) & (row < noise.shape[0])
    inside[inside] &= np.isfinite(noise.data[row[inside], column[inside]])
    x, y = x[inside], y[inside]
    peak = values(truth, "amplitude")[inside] * 1e3
    rms = noise.error[np.rint(y).astype(int), np.rint(x).astype(int)] * noise.beam_area_pix * 1e3
    pairs = matched(x, y, values(catalog, "X"), values(catalog, "Y"), 0.5 * noise.beam_fwhm_pix)
    true, ours = pairs.T
    # What the best filter in white noise sees: the peak times the root of the sum of the squared profile.
    significance = peak / rms * np.sqrt(np.pi) * noise.beam_fwhm_pix / FWHM_PER_SIGMA
    bright = significance > 5.0
    apart = np.hypot(x[:, None] - x, y[:, None] - y) + np.diag(np.full(len(x), np.inf))
    lonely = (apart.min(axis=1) > 1.5 * noise.beam_fwhm_pix)[true]
    true, ours = true[lonely], ours[lonely]
    ratio = values(catalog, "FLUX")[ours] / peak[true]
    pull = (values(catalog, "FLUX")[ours] - peak[true]) / values(catalog, "FLUX_ERR")[ours]
    return [
        f"{len(pairs)} / {len(x)}", f"{np.isin(np.flatnonzero(bright), pairs[:, 0]).sum()} / {bright.sum()}",
        str(len(catalog) - len(pairs)), f"{np.median(ratio):.3f}", f"{scatter(ratio):.3f}",
        f"{scatter(pull):.2f}", f"{np.sqrt(np.mean(pull**2)):.2f}",
    ]  # fmt: skip
