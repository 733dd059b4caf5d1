"""Parkes: one sky in three projections."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.modeling.fitting import TRFLSQFitter
from astropy.modeling.models import Gaussian2D, Polynomial2D
from astropy.table import Table
from astropy.wcs.utils import wcs_to_celestial_frame
from scipy import ndimage
from scipy.optimize import least_squares

from hyper_py.diagnostics import Flag
from hyper_py.geometry import FWHM_PER_SIGMA, celestial_degrees
from hyper_py.image import SkyImage
from hyper_py.options import BackgroundOptions, DetectionOptions, FitOptions, Options
from hyper_py.pipeline.extraction import Extraction, extract_sources
from hyper_py.reading.io import read_image
from maps_by_others.common import Array, scatter, sky, table, values

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
