"""Maps by others, measured: fluxes, positions and completeness against what their origins know about them.

    python benchmarks/real_maps.py --data DIR [--output DIR] [--only uant parkes nikamap herschel]

DIR holds the folders uant_scuba2, nikamap, parkes and herschel_bands. What is printed is Markdown.
"""

import argparse
import subprocess
import sys
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.modeling.fitting import TRFLSQFitter
from astropy.modeling.models import Gaussian2D, Polynomial2D
from astropy.table import Table
from astropy.wcs import WCS
from astropy.wcs.utils import wcs_to_celestial_frame
from numpy.typing import NDArray
from photutils.aperture import CircularAperture
from scipy import ndimage
from scipy.optimize import least_squares

from hyper_py.diagnostics import Flag
from hyper_py.geometry import FWHM_PER_SIGMA, Beam, celestial_degrees
from hyper_py.image import SkyImage
from hyper_py.numerics import models
from hyper_py.options import BackgroundOptions, DetectionOptions, FitOptions, Options, PhotometryOptions
from hyper_py.pipeline.extraction import Extraction, FixedSources, extract_sources
from hyper_py.reading.io import read_image
from hyper_py.reading.psf import beam_from_psf

Array = NDArray[np.float64]


def scatter(values: Array) -> float:
    """Return 1.4826 MAD."""
    return float(1.4826 * np.median(np.abs(values - np.median(values)))) if len(values) else np.nan


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


def values(catalog: Any, name: str) -> Array:
    """Return a column as plain numbers."""
    return np.asarray(getattr(catalog[name], "value", catalog[name]), dtype=np.float64)


# --------------------------------------------------------------------------------------------------------
# U Ant: a published aperture flux
# --------------------------------------------------------------------------------------------------------

UANT_FLUX, UANT_RADIUS, UANT_PLACE = 199.163, 14.0, (131.0, 121.0)


def uant(data: Path) -> None:
    """Reproduce the published flux by a fixed aperture, without background and without correction."""
    path = data / "uant_scuba2" / "uant_850.fits"
    options = Options(
        photometry=PhotometryOptions(aperture_correction=False),
        fit_options=FitOptions(noise_model="white"),
        background=BackgroundOptions(method="none"),
    )
    print("## U Ant, SCUBA-2 850 um\n")
    rows = []
    for error in (None, "VARIANCE"):
        image = read_image(path, survey_name="scuba2-850", error_hdu=error)
        longitude, latitude = celestial_degrees(image.wcs, *np.array(UANT_PLACE)[:, None])
        size = np.array([UANT_RADIUS * image.pixel_scale])
        fixed = FixedSources(longitude=longitude, latitude=latitude, fwhm_1=size, fwhm_2=size)
        catalog = extract_sources(image, options=options, fixed=fixed).catalog
        flux, error_of_flux = values(catalog, "FLUX")[0], values(catalog, "FLUX_ERR")[0]
        circle = CircularAperture(UANT_PLACE, UANT_RADIUS)
        exact = circle.do_photometry(image.data * 1e3, method="exact")[0][0]
        rows.append(
            [error or "none", f"{flux:.4f} ± {error_of_flux:.1f}", f"{exact:.4f}", f"{flux / exact - 1:+.1e}",
             f"{flux / UANT_FLUX - 1:+.2%}", str(len(extract_sources(image).catalog))]
        )  # fmt: skip
    head = ["errors", "FLUX (mJy)", "photutils, exact", "ours / exact - 1", "ours / published - 1", "found"]
    print(table(head, rows))
    print(
        f"\nPublished: {UANT_FLUX} ± 17 mJy in {UANT_RADIUS:g} pixels around {UANT_PLACE}. `found`: sources "
        "of the whole map with default options; 36% of it is blank, and its edge is violently noisy.\n"
    )


# --------------------------------------------------------------------------------------------------------
# NIKA2: simulated sources in two bands
# --------------------------------------------------------------------------------------------------------


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
        data = models.render(sources, image.shape) + noise
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


def matched(x: Array, y: Array, other_x: Array, other_y: Array, distance: float) -> NDArray[np.int64]:
    """Return pairs (i, j) of mutually nearest points within a distance, shape (n, 2)."""
    apart = np.hypot(x[:, None] - other_x, y[:, None] - other_y)
    if not apart.size:
        return np.empty((0, 2), dtype=np.int64)
    nearest, back = apart.argmin(axis=1), apart.argmin(axis=0)
    i = np.flatnonzero((back[nearest] == np.arange(len(x))) & (apart.min(axis=1) <= distance))
    return np.column_stack([i, nearest[i]])


# --------------------------------------------------------------------------------------------------------
# Parkes: one sky in three projections
# --------------------------------------------------------------------------------------------------------

PARKES = {"SIN": ("1904-66_SIN.fits", None), "AIT": ("1904-66_AIT.fits", None),
          "galactic": ("1904-66_SIN.lb.fits", "Jy/beam")}  # fmt: skip
BRIGHT = 800.0
"""mJy/beam."""
ELONGATED = 5.0
"""Of these the major axis is longer than the minor one by this many errors."""


def parkes(data: Path) -> None:
    """Compare the catalogues of one sky in three projections, and with another finder's."""
    print("## Parkes 1.4 GHz, one sky in SIN, AIT and galactic SIN\n")
    images = {name: read_image(data / "parkes" / file, bunit=unit) for name, (file, unit) in PARKES.items()}
    images["SIN on AIT's grid"] = on_grid(images["SIN"], images["AIT"])
    plain = Options(detection=DetectionOptions(deblend_residual=False))
    white = FitOptions(noise_model="white")
    ways = {
        "yes": Options(),
        "no": plain,
        "no, white": replace(plain, fit_options=white, background=BackgroundOptions(method="polynomial")),
    }
    rows = []
    for way, options in ways.items():
        found = {name: extract_sources(image, options=options) for name, image in images.items()}
        counts = ", ".join(f"{name} {len(one.catalog)}" for name, one in found.items())
        print(f"- `deblend_residual` {way}: {counts} sources")
        for name in ("AIT", "SIN on AIT's grid", "galactic"):
            rows += [
                [way, *compare_projections(found["SIN"], found[name], name, whole=whole)]
                for whole in (False, True)
            ]
    print()
    head = ["deblended", "SIN and", "sources", "bright in SIN", "in both", "distance: median", "largest",
            "flux ratio", "largest difference", "beyond 5% and 3 errors", "difference / error",
            "elongated", "angles within 3 errors", "median difference"]  # fmt: skip
    print(table(head, rows))
    print(referee(images, found))
    print(compare_with_finder(found["SIN"], Table.read(data / "parkes" / "1904_comp.fits")), "\n")


def on_grid(image: SkyImage, other: SkyImage) -> SkyImage:
    """Return an image on the pixels of another, by splines of the fifth order: one sky in two projections."""
    shape = other.data.shape
    y, x = np.indices(shape, dtype=float).reshape(2, -1)
    column, row = pixels_in(image, other, x, y)
    native = image.data / image.jy_per_pixel
    blank = ~np.isfinite(native)
    seen = ndimage.map_coordinates(np.where(blank, 0.0, native), [row, column], order=5, cval=np.nan)
    hidden = ndimage.map_coordinates(blank.astype(float), [row, column], order=1, cval=1.0) > 0.0
    return other.with_data(np.where(hidden, np.nan, seen).reshape(shape) * other.jy_per_pixel)


def pixels_in(image: SkyImage, other: SkyImage, x: Array, y: Array) -> tuple[Array, Array]:
    """Return where in an image pixels x, y of another one are."""
    lon, lat = celestial_degrees(other.wcs, x, y)
    frames = [wcs_to_celestial_frame(map_.wcs) for map_ in (other, image)]
    there = SkyCoord(lon, lat, unit="deg", frame=frames[0]).transform_to(frames[1])
    column, row = image.wcs.world_to_pixel(there)
    return column, row


def compare_projections(first: Extraction, second: Extraction, name: str, *, whole: bool) -> list[str]:
    """Return how the bright sources of two maps of one sky agree; `whole`: those not cut by a border."""
    a, b = first.catalog, second.catalog
    near = sky(a).match_to_catalog_sky(sky(b))
    back = sky(b).match_to_catalog_sky(sky(a))[0]
    cut = int(Flag.EDGE | Flag.BLANK_PIXELS | Flag.SIZE_AT_BOUND)
    bright = values(a, "FLUX_PEAK") > BRIGHT
    if whole:
        bright &= (a["FLAGS"] & cut == 0) & (b["FLAGS"][near[0]] & cut == 0)
    limit = 0.5 * first.image.beam.fwhm
    mutual = (back[near[0]] == np.arange(len(a))) & (near[1].arcsec < limit)
    i = np.flatnonzero(bright & mutual)
    j = near[0][i]
    distance = near[1].arcsec[i] / first.image.pixel_scale
    flux, other = values(a, "FLUX")[i], values(b, "FLUX")[j]
    error = np.hypot(values(a, "FLUX_ERR")[i], values(b, "FLUX_ERR")[j])
    difference = other / flux - 1.0
    beyond = (np.abs(difference) > 0.05) & (np.abs(other - flux) > 3.0 * error)
    angle, own = icrs_angle(a)[i], icrs_angle(b)[j]
    turned = np.mod(own - angle + 90.0, 180.0) - 90.0
    angle_error = np.hypot(values(a, "PA_ERR")[i], values(b, "PA_ERR")[j])
    long_axis = values(a, "FWHM_1") - values(a, "FWHM_2")
    long = (long_axis > ELONGATED * np.hypot(values(a, "FWHM_1_ERR"), values(a, "FWHM_2_ERR")))[i]
    within = int((np.abs(turned) <= 3.0 * angle_error)[long].sum())
    median_angle = f"{np.median(np.abs(turned[long])):.1f} deg" if long.any() else ""
    return [
        name, "whole" if whole else "all", str(int(bright.sum())), str(len(i)), f"{np.median(distance):.3f}",
        f"{distance.max():.3f}", f"{np.median(other / flux):.4f}",
        f"{100 * difference[np.argmax(np.abs(difference))]:+.1f}%", str(int(beyond.sum())),
        f"{scatter((other - flux) / error):.2f}", str(int(long.sum())), str(within), median_angle,
    ]  # fmt: skip


def referee(images: dict[str, SkyImage], found: dict[str, Extraction]) -> str:
    """Return what astropy's fits of the same pixels say of the bright sources, beside ours: SIN and AIT."""
    first, second = found["SIN"].catalog, found["AIT"].catalog
    near = sky(first).match_to_catalog_sky(sky(second))
    cut = int(Flag.EDGE | Flag.BLANK_PIXELS | Flag.SIZE_AT_BOUND)
    chosen = (values(first, "FLUX_PEAK") > BRIGHT) & (near[1].arcsec < 0.5 * images["SIN"].beam.fwhm)
    chosen &= (first["FLAGS"] & cut == 0) & (second["FLAGS"][near[0]] & cut == 0)
    rows = []
    for i in np.flatnonzero(chosen):
        fits = [astropy_fit(images[name], found["SIN"], int(i)) for name in ("SIN", "AIT")]
        j = near[0][i]
        ours = [
            (values(c, "FLUX")[k], icrs_angle(c)[k], values(c, "FWHM_1")[k] / values(c, "FWHM_2")[k])
            for c, k in ((first, i), (second, j))
        ]
        distance = near[1].arcsec[i], float(np.hypot(*np.subtract(fits[1][3:], fits[0][3:])))
        pixel = images["SIN"].pixel_scale
        row = [f"{first['X'][i].value:.0f}, {first['Y'][i].value:.0f}"]
        for pair, apart in zip((ours, [f[:3] for f in fits]), distance, strict=True):
            turned = np.mod(pair[1][1] - pair[0][1] + 90.0, 180.0) - 90.0
            axes = f"{pair[0][2]:.2f}, {pair[1][2]:.2f}"
            row += [f"{pair[1][0] / pair[0][0]:.3f}", f"{apart / pixel:.2f}", axes, f"{turned:+.0f}"]
        rows.append([*row, f"{moved(images, found['SIN'], int(i)):.2f}"])
    head = ["x, y in SIN"]
    for who in ("ours", "astropy"):
        head += [f"{who}: flux AIT / SIN", "apart (pixels)", "axis ratios", "turned (deg)"]
    head.append("the maps' pixels moved (pixels)")
    return (
        "\nIs it the map or the measurement? The same pixels fitted by astropy (Gaussians and a plane, least "
        "squares on the sky, white noise), beside ours in white noise; and by how much the pixels of one map "
        "within a beam must be moved to be those of the other, no source fitted:\n\n" + table(head, rows)
    )


def moved(images: dict[str, SkyImage], extraction: Extraction, i: int) -> float:
    """Return how far the pixels of AIT are from those of SIN around a source, in pixels; nothing is fitted.

    The shift and the factor that turn one map, interpolated, into the other best within a beam.
    """
    first, second = images["SIN"], images["AIT"]
    catalog = extraction.catalog
    x0, y0 = values(catalog, "X")[i], values(catalog, "Y")[i]
    y, x = np.mgrid[-4:5, -4:5].astype(float).reshape(2, -1)
    near = np.hypot(y, x) <= first.beam_fwhm_pix
    y, x = y[near] + np.rint(y0), x[near] + np.rint(x0)
    column, row = pixels_in(second, first, x, y)
    mine, other = (np.nan_to_num(image.data / image.jy_per_pixel) for image in (first, second))
    scale = first.pixel_scale / second.pixel_scale

    def difference(p: Array) -> Array:
        seen = ndimage.map_coordinates(other, [row + scale * p[1], column + scale * p[0]], order=3)
        result: Array = p[2] * seen + p[3] - mine[y.astype(int), x.astype(int)]
        return result

    shift = least_squares(difference, [0.0, 0.0, 1.0, 0.0]).x
    return float(np.hypot(*shift[:2]))


def astropy_fit(image: SkyImage, extraction: Extraction, i: int) -> tuple[float, ...]:
    """Return flux, angle, axis ratio and place (arcsec from the catalogue's) of a source by astropy's fit."""
    catalog, beam = extraction.catalog, image.beam.fwhm
    places = sky(catalog)
    y, x = np.indices(image.shape)
    lon, lat = celestial_degrees(image.wcs, x.ravel().astype(float), y.ravel().astype(float))
    seen = np.isfinite(lon) & np.isfinite(image.data.ravel())
    frame = wcs_to_celestial_frame(image.wcs)
    icrs = SkyCoord(lon[seen], lat[seen], unit="deg", frame=frame).icrs
    pixels = SkyCoord(icrs.ra, icrs.dec)  # no equinox of another frame beside it
    inside = places[i].separation(pixels).arcsec < 3.0 * beam
    data = (image.data / image.jy_per_pixel).ravel()[seen][inside]
    east, north = (offset.arcsec for offset in places[i].spherical_offsets_to(pixels[inside]))
    model: Any = Polynomial2D(1)
    close = np.flatnonzero(places[i].separation(places).arcsec < 2.5 * beam)
    for k in sorted(close, key=lambda k: k != i):
        start = [offset.arcsec for offset in places[i].spherical_offsets_to(places[k])]
        sigma = beam / FWHM_PER_SIGMA
        model = model + Gaussian2D(values(catalog, "FLUX_PEAK")[k] / 1e3, *start, sigma, 0.95 * sigma, 0.5)
    fitted = TRFLSQFitter()(model, east, north, data, maxiter=3000)[1]
    major, minor, angle = abs(fitted.x_stddev.value), abs(fitted.y_stddev.value), fitted.theta.value
    if major < minor:
        major, minor, angle = minor, major, angle + np.pi / 2
    return (
        float(fitted.amplitude.value * major * minor), float(90.0 - np.degrees(angle)), float(major / minor),
        float(fitted.x_mean.value), float(fitted.y_mean.value),
    )  # fmt: skip


def sky(catalog: Any) -> SkyCoord:
    """Return positions."""
    return SkyCoord(values(catalog, "RA"), values(catalog, "DEC"), unit="deg")


def icrs_angle(catalog: Any) -> Array:
    """Return position angles east of the north of ICRS, whatever frame the catalogue's are in."""
    place = sky(catalog)
    own = place.transform_to(catalog.meta["frame_of_pa"])
    north = own.directional_offset_by(0.0 * u.deg, 1.0 * u.arcsec).icrs
    return np.mod(values(catalog, "PA") + place.position_angle(north).deg, 180.0)


def compare_with_finder(extraction: Extraction, other: Any) -> str:
    """Return how our fluxes and positions compare with those of the catalogue beside the map."""
    catalog = extraction.catalog
    place = SkyCoord(np.asarray(other["ra"]), np.asarray(other["dec"]), unit="deg")
    near, apart, _ = place.match_to_catalog_sky(sky(catalog))
    good = apart.arcsec < 0.5 * extraction.image.beam.fwhm
    ratio = values(catalog, "FLUX_PEAK")[near[good]] / (1e3 * np.asarray(other["peak_flux"])[good])
    flux = values(catalog, "FLUX")[near[good]] / (1e3 * np.asarray(other["int_flux"])[good])
    return (
        f"\nThe other finder's catalogue: {good.sum()} of its {len(other)} components within half a beam of "
        f"ours; our peak / its peak {np.median(ratio):.3f} (scatter {scatter(ratio):.3f}), flux / flux "
        f"{np.median(flux):.3f} (scatter {scatter(flux):.3f})."
    )


# --------------------------------------------------------------------------------------------------------
# Herschel: five bands in two commands
# --------------------------------------------------------------------------------------------------------

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
                for known in (beam, replace(beam, beyond=None)):
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


PARTS = ("uant", "nikamap", "parkes", "herschel")


def main() -> None:
    """Measure all, or the parts named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, help="directory for products; a temporary one if not given")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        data, output = arguments.data.resolve(), arguments.output or Path(temporary)
        parts = (uant, nikamap, parkes, partial(herschel, output=output))
        for name, part in zip(PARTS, parts, strict=True):
            if name in arguments.only:
                part(data)
            sys.stdout.flush()


if __name__ == "__main__":
    main()
