"""Why there is, or is not, a source at a place: every test of the detection with its value and limit."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from astropy.coordinates import SkyCoord

from hyper_py.detection.checks import Check, apart_check, shoulder_check
from hyper_py.detection.highpass import HighPassMaps
from hyper_py.detection.matched import MatchedSearch
from hyper_py.diagnostics import InputError, describe_flags
from hyper_py.geometry import celestial_degrees, celestial_frame, pixel_from_celestial
from hyper_py.image import SkyImage
from hyper_py.numerics.tiles import Plane, at
from hyper_py.options import Options
from hyper_py.pipeline.extraction import Extraction, extract_sources
from hyper_py.pipeline.peaks import flattened_rms, peak_limits

_HERE_BEAMS = 0.5
"""A source this near to the place is the one asked about."""
_SAME_PEAK = 1.5
"""Pixels; positions are refined, and those of bright sources fitted."""


@dataclass(frozen=True, kw_only=True)
class ShownCheck:
    """A check of `hyper_py.detection.checks` in words: what, its value, the limit, and whether it passes.

    `demand` is empty where every value passes.
    """

    name: str
    value: str
    demand: str
    passed: bool


@dataclass(frozen=True, kw_only=True)
class NearestSource:
    """The catalogue's source nearest to a place.

    Attributes
    ----------
    number : int
        HYPER_ID.
    distance : float
        Pixels.
    beams : float
        The same in beams.
    description : tuple of str
        Its numbers, group and flags, in words.
    """

    number: int
    distance: float
    beams: float
    description: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What there is to say about a place.

    Attributes
    ----------
    x, y : float
        Zero-based pixel asked for.
    sky : str
        The same in ICRS.
    values : tuple of (str, str)
        What the map has there.
    checks : tuple of Check
        In the order of the detection, for the highest filtered pixel within half a beam.
    nearest : NearestSource or None
    verdict : str
        One sentence.
    """

    x: float
    y: float
    sky: str
    values: tuple[tuple[str, str], ...]
    checks: tuple[ShownCheck, ...]
    nearest: NearestSource | None
    verdict: str

    def lines(self) -> Iterator[str]:
        """Yield all of it as text for a terminal."""
        yield f"pixel {self.x:.1f} {self.y:.1f}, {self.sky}"
        for name, value in self.values:
            yield f"  {name}: {value}"
        if self.checks:
            yield "tests of the detection, on the highest filtered pixel within half a beam:"
        for check in self.checks:
            word = "passed" if check.passed else "FAILED"
            limit = f"must be {check.demand}" if check.demand else "no limit is set"
            yield f"  {word}  {check.name}: {check.value} ({limit})"
        if self.nearest is not None:
            near = self.nearest
            yield f"nearest source: {near.number}, {near.distance:.1f} pixels = {near.beams:.2f} beams away"
            yield from (f"  {text}" for text in near.description)
        yield self.verdict


Stages: TypeAlias = Callable[[int, int], tuple[Check, ...]]
"""Gives the checks of a pixel (x, y), of one value each."""


def explain(image: SkyImage, x: float, y: float, *, options: Options | None = None) -> Explanation:
    """Say why there is, or is not, a source at a place.

    Parameters
    ----------
    image : SkyImage
    x, y : float
        Zero-based pixel.
    options : Options, optional
        Those of the extraction.

    Raises
    ------
    InputError
        If the place is not on the map.
    """
    ny, nx = image.shape
    if not (-0.5 <= x < nx - 0.5 and -0.5 <= y < ny - 0.5):
        raise InputError(f"{image.name}: pixel ({x:g}, {y:g}) is not on the map of {nx} x {ny} pixels")
    extraction = extract_sources(image, options=options)
    return explain_place(extraction, x, y)


def explain_place(extraction: Extraction, x: float, y: float) -> Explanation:
    """Say the same of an extraction that was made already."""
    image = extraction.image
    column, row = round(x), round(y)
    nearest = _nearest(extraction, x, y)
    blank = not np.isfinite(_pixel(image.data, column, row))
    checks: tuple[ShownCheck, ...] = ()
    if not blank:
        stages, surface = detection_stages(extraction)
        place = _highest_near(surface, column, row, radius=0.5 * image.beam_fwhm_pix)
        checks = tuple(_shown(check, _shower(extraction)) for check in stages(*place))
    return Explanation(
        x=x,
        y=y,
        sky=_sky_text(image, x, y),
        values=_values(extraction, column, row),
        checks=checks,
        nearest=nearest,
        verdict=_verdict(blank, checks, nearest, left_out=_left_out(extraction, x, y)),
    )


def pixel_of(image: SkyImage, longitude: str, latitude: str) -> tuple[float, float]:
    """Return the pixel of an ICRS position, in degrees or sexagesimal (hours and degrees).

    Raises
    ------
    InputError
        If it cannot be read as a position, or is off the projection.
    """
    units: Any = ("deg", "deg") if longitude.replace(".", "").lstrip("+-").isdigit() else ("hourangle", "deg")
    try:
        place = SkyCoord(longitude, latitude, unit=units, frame="icrs")
    except ValueError:
        raise InputError(f"{longitude} {latitude}: not a position: degrees, or hh:mm:ss dd:mm:ss") from None
    own = place.transform_to(celestial_frame(image.wcs)).spherical
    x, y = pixel_from_celestial(image.wcs, own.lon.deg, own.lat.deg)
    if not np.isfinite(x + y):
        raise InputError(f"{image.name}: {longitude} {latitude} is not on the map")
    return float(x), float(y)


# ---------------------------------------------------------------------------------------------- the tests


def detection_stages(extraction: Extraction) -> tuple[Stages, Plane]:
    """Return what gives the checks of a pixel, and the surface whose maxima are the candidates."""
    matched = extraction.options.detection.method == "matched"
    return _matched_stages(extraction) if matched else _high_pass_stages(extraction)


def _high_pass_stages(extraction: Extraction) -> tuple[Stages, Plane]:
    """Return the checks of `hyper_py.detection.highpass.detect_high_pass`."""
    image, options, known = extraction.image, extraction.options, extraction.peaks
    detection, limits = options.detection, peak_limits(image, options)
    maps = HighPassMaps.of(
        image.flattened, beam_covariance=image.central_beam_covariance, limits=limits,
        rms=flattened_rms(image, extraction.noise), kernel_size=detection.kernel_size_pix,
        size=options.tile_size_pix,
    )  # fmt: skip
    if maps is None:
        return _no_checks, np.zeros(image.shape)
    kept = np.column_stack([known.x, known.y])

    def stages(x: int, y: int) -> tuple[Check, ...]:
        found = maps.check(
            np.array([x]), np.array([y]), where=(slice(y, y + 1), slice(x, x + 1)), limits=limits,
            snap_radius=detection.snap_radius_pix,
        )  # fmt: skip
        separation = np.array([maps.to_maximum(x, y)])
        # A peak is refined by up to half a pixel on either axis: this one itself may be among them.
        others = np.hypot(*(kept - found.points[0]).T) > 0.75
        return (
            Check("distance to a maximum of the filtered map in pixels", separation, high=0.0),
            *found.checks,
            apart_check(
                found.points, found.peak, kept=(kept[others], known.peak[others]),
                distance=limits.min_distance or maps.fwhm,
            ),
            shoulder_check(maps.base, points=found.points, peak=found.peak, limits=limits, fwhm=maps.fwhm),
        )  # fmt: skip

    return stages, maps.convolved


def _matched_stages(extraction: Extraction) -> tuple[Stages, Plane]:
    """Return the checks of `hyper_py.detection.matched.detect_matched`."""
    image, options = extraction.image, extraction.options
    search = MatchedSearch.of(
        image.flattened, beam_covariance=image.central_beam_covariance, limits=peak_limits(image, options),
        max_false_rate=options.detection.max_false_rate, size=options.tile_size_pix,
    )  # fmt: skip
    if search is None:
        return _no_checks, np.zeros(image.shape)
    found, limits, known = search.candidates, search.limits, extraction.peaks
    kept = np.column_stack([known.x, known.y])

    def stages(x: int, y: int) -> tuple[Check, ...]:
        separation = np.hypot(*(found.points - [x, y]).T)
        nearest = separation.min(initial=np.inf, keepdims=True)
        place = search.place(x, y)
        if nearest[0] <= _SAME_PEAK:
            place = found.select(np.array([np.argmin(separation)]))
        others = np.hypot(*(kept - place.points[0]).T) > 0.75
        return (
            Check("distance to a peak in pixels", nearest, high=_SAME_PEAK),
            *search.check(place)[1],
            apart_check(
                place.points, place.significance, kept=(kept[others], known.snr[others]),
                distance=limits.min_distance,
            ),
            shoulder_check(
                search.data, points=place.points, peak=search.peak(place), limits=limits,
                fwhm=search.field.fwhm,
            ),
        )  # fmt: skip

    return stages, search.found.whole


def _no_checks(_x: int, _y: int) -> tuple[Check, ...]:
    """Return no checks: the map has nothing to detect."""
    return ()


def _shown(check: Check, brightness: Callable[[float], str]) -> ShownCheck:
    """Return a check of one value in words."""
    show = brightness if check.is_brightness else _plain
    low, high = (float(np.ravel(limit)[0]) for limit in (check.low, check.high))
    demand = ""
    if np.isfinite(low) and np.isfinite(high):
        demand = f"from {show(low)} to {show(high)}"
    elif np.isfinite(low):
        demand = f"at least {show(low)}"
    elif np.isfinite(high):
        demand = f"at most {show(high)}"
    value = float(check.values[0])
    shown = show(value) if np.isfinite(value) else ("none nearer" if value > 0.0 else "unknown")
    return ShownCheck(name=check.name, value=shown, demand=demand, passed=bool(check.passed[0]))


def _plain(value: float) -> str:
    return f"{value:.2f}"


# ------------------------------------------------------------------------------------------------ the rest


def _shower(extraction: Extraction) -> Callable[[float], str]:
    """Return what writes Jy/pixel per beam."""
    options = extraction.options
    factor, flux_unit = options.flux_per_jy * extraction.image.beam_area_pix, f"{options.flux_unit}/beam"
    return lambda value: f"{value * factor:.4g} {flux_unit}"


def _values(extraction: Extraction, x: int, y: int) -> tuple[tuple[str, str], ...]:
    show, noise = _shower(extraction), extraction.noise
    value = _pixel(extraction.image.data, x, y)
    if not np.isfinite(value):
        return (("value of the map", "blank"),)
    rms = float(noise.at(np.array([float(x)]), np.array([float(y)]))[0])
    return (
        ("value of the map", show(value)),
        ("mean of the map", show(noise.mean)),
        ("rms here", show(rms)),
        ("model here", show(_pixel(extraction.planes()["model"], x, y))),
    )


def _pixel(plane: Plane, x: int, y: int) -> float:
    return float(at(plane, np.array([y]), np.array([x]))[0])


def _highest_near(surface: Plane, x: int, y: int, *, radius: float) -> tuple[int, int]:
    """Return the highest pixel within a radius, at least the eight neighbours being looked at."""
    reach = max(1, round(radius))
    y0, x0 = max(0, y - reach), max(0, x - reach)
    near = surface[y0 : y + reach + 1, x0 : x + reach + 1]
    rows, columns = np.indices(near.shape)
    inside = np.hypot(rows + y0 - y, columns + x0 - x) <= max(radius, 1.5)
    best = int(np.argmax(np.where(inside & np.isfinite(near), near, -np.inf)))
    return x0 + best % near.shape[1], y0 + best // near.shape[1]


def _nearest(extraction: Extraction, x: float, y: float) -> NearestSource | None:
    table = extraction.catalog
    if len(table) == 0:
        return None
    separation = np.hypot(table["X"].value - x, table["Y"].value - y)
    k = int(np.nanargmin(separation))
    row, size = table[k], int(table["CLUSTER"][k])
    flux, error, peak = (row[name].value for name in ("FLUX", "FLUX_ERR", "FLUX_PEAK"))
    flux_unit = row["FLUX"].unit
    numbers = (
        f"flux {flux:.4g} ± {error:.2g} {flux_unit}, peak {peak:.4g} {flux_unit}/beam, S/N {row['SNR']:.1f}"
    )
    group = "alone" if size == 1 else f"in a group of {size}"
    flags = tuple(f"flag: {text}" for text in describe_flags(int(row["FLAGS"])))
    return NearestSource(
        number=int(row["HYPER_ID"]),
        distance=float(separation[k]),
        beams=float(separation[k]) / extraction.image.beam_fwhm_pix,
        description=(numbers, group, *flags),
    )


def _left_out(extraction: Extraction, x: float, y: float) -> str | None:
    """Return why a detection here was left out of the catalogue; None if there is none."""
    if not extraction.image.is_searched(x, y):
        return "detection.region leaves this place out"
    reasons = (
        (extraction.explained, "side lobes of brighter sources explain this peak"),
        (extraction.vanished, "this peak was detected, but its fit left no flux above its error"),
        (extraction.pieces, "this peak is a piece of a ring or disc, which is one source"),
    )
    for peaks, reason in reasons:
        if peaks is not None:
            distance = np.hypot(peaks.x - x, peaks.y - y)
            if (distance <= _HERE_BEAMS * extraction.image.beam_fwhm_pix).any():
                return reason
    return None


def _verdict(
    blank: bool, checks: tuple[ShownCheck, ...], nearest: NearestSource | None, *, left_out: str | None
) -> str:
    here = nearest is not None and nearest.beams <= _HERE_BEAMS
    if here and nearest is not None:
        return f"There is a source here: number {nearest.number}."
    if blank:
        return "There is no source here: the pixel is blank."
    if left_out is not None:
        return f"There is no source of its own here: {left_out}."
    failed = [check for check in checks if not check.passed]
    if failed:
        first = failed[0]
        return f"There is no source here: {first.name} is {first.value}, and must be {first.demand}."
    return "There is no source of its own here: brighter neighbours explain this peak."


def _sky_text(image: SkyImage, x: float, y: float) -> str:
    longitude, latitude = celestial_degrees(image.wcs, x, y)
    if not np.isfinite(longitude + latitude):
        return "not on the sky"
    place = SkyCoord(longitude, latitude, unit="deg", frame=celestial_frame(image.wcs)).icrs
    decimals = max(1, int(np.ceil(1.0 - np.log10(image.pixel_scale))))
    return str(place.to_string("hmsdms", sep=":", precision=min(decimals, 7)))
