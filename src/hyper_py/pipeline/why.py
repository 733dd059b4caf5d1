"""Why there is, or is not, a source at a place: every test of the detection with its value and limit."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from astropy.coordinates import SkyCoord

from hyper_py.arrays import FloatArray
from hyper_py.detection.daofind import convolve_kernel, daofind_kernel, daofind_statistics
from hyper_py.detection.highpass import (
    FILTERED_SIGNIFICANCE,
    FILTERED_THRESHOLD,
    default_kernel_size,
    high_pass,
    local_maxima,
    shoulder_score,
    snap_to_maximum,
)
from hyper_py.detection.matched import (
    NARROW_FACTOR,
    peak_shapes,
    significant_peaks,
    threshold_for_false_rate,
)
from hyper_py.detection.matched_filter import SEPARATION, measure_filter
from hyper_py.detection.power_spectrum import beam_fwhm
from hyper_py.diagnostics import InputError, describe_flags
from hyper_py.geometry import celestial_degrees, celestial_frame, pixel_from_celestial
from hyper_py.image import SkyImage
from hyper_py.noise.covariance import clipped_statistics
from hyper_py.numerics.tiles import LazyPlane, Plane, at, sample
from hyper_py.options import Options
from hyper_py.pipeline.extraction import Extraction, extract_sources

_HERE_BEAMS = 0.5
"""A source this near to the place is the one asked about."""
_SAME_PEAK = 1.5
"""Pixels; the two filters may see one peak in pixels side by side."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One test that a peak has to pass: what, its value here, what is demanded, and whether it holds."""

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
    checks: tuple[Check, ...]
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
            yield f"  {word}  {check.name}: {check.value} (must be {check.demand})"
        if self.nearest is not None:
            near = self.nearest
            yield f"nearest source: {near.number}, {near.distance:.1f} pixels = {near.beams:.2f} beams away"
            yield from (f"  {text}" for text in near.description)
        yield self.verdict


Stages: TypeAlias = Callable[[int, int], tuple[Check, ...]]
"""Gives the checks of a pixel (x, y)."""


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
    checks: tuple[Check, ...] = ()
    if not blank:
        stages, surface = detection_stages(extraction)
        checks = stages(*_highest_near(surface, column, row, radius=0.5 * image.beam_fwhm_pix))
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
    unit: Any = ("deg", "deg") if longitude.replace(".", "").lstrip("+-").isdigit() else ("hourangle", "deg")
    try:
        place = SkyCoord(longitude, latitude, unit=unit, frame="icrs")
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
    """Return the tests of `hyper_py.detection.highpass.detect_high_pass`."""
    image, detection, rms = extraction.image, extraction.options.detection, extraction.rms
    data, fwhm = image.flattened, beam_fwhm(_beam(image))
    if image.relative_rms is not None:
        rms = rms / image.relative_rms
    difference = high_pass(data, kernel_size=detection.kernel_size_pix or default_kernel_size(fwhm))
    level = np.broadcast_to(np.asarray(rms / np.nanmedian(rms)), data.shape)
    relative = difference / level
    filtered = np.where(difference > 0, difference, 0.0)
    kernel = daofind_kernel(_beam(image))
    convolved = convolve_kernel(filtered, kernel.weights)
    scatter = clipped_statistics(relative[relative > 0]).rms
    threshold = FILTERED_THRESHOLD * scatter * kernel.relative_error * level
    maxima = set(zip(*local_maxima(convolved, footprint=kernel.inside, threshold=-np.inf), strict=True))
    noise = min(FILTERED_SIGNIFICANCE, detection.sigma_thres) * clipped_statistics(relative).rms
    base = data - float(np.nanmean(data))
    show = _shower(extraction)

    def stages(x: int, y: int) -> tuple[Check, ...]:
        at_x, at_y = np.array([x]), np.array([y])
        shape = daofind_statistics(filtered, convolved, kernel=kernel, x=at_x, y=at_y)
        top_x, top_y = snap_to_maximum(base, x=at_x, y=at_y, radius=detection.snap_radius_pix)
        peak = float(base[top_y[0], top_x[0]])
        snr = peak / float(np.broadcast_to(rms, data.shape)[top_y[0], top_x[0]])
        floor = float(noise * level[y, x])
        return (
            _holds(
                "maximum of the filtered map", "yes" if (y, x) in maxima else "no", "one", (y, x) in maxima
            ),
            _at_least("filtered peak", float(convolved[y, x]), float(threshold[y, x]), show),
            _at_least("map minus running mean", float(filtered[y, x]), floor, show),
            *_shape_checks(shape, extraction),
            _margin_check(extraction, x, y),
            _at_least("peak over rms", snr, detection.sigma_thres, _plain),
            _distance_check(extraction, float(top_x[0]), float(top_y[0]), peak, _distance(extraction, fwhm)),
            *_shoulder_checks(extraction, base, float(top_x[0]), float(top_y[0]), peak),
        )

    return stages, convolved


def _matched_stages(extraction: Extraction) -> tuple[Stages, Plane]:
    """Return the tests of `hyper_py.detection.matched.detect_matched`."""
    image, detection = extraction.image, extraction.options.detection
    data, size = image.flattened, extraction.options.tile_size_pix
    optimal = measure_filter(
        data, beam_covariance=_beam(image), local_spectrum=detection.local_spectrum, size=size
    )
    threshold = detection.sigma_thres
    if detection.max_false_rate is not None:
        threshold = threshold_for_false_rate(
            data, matched_filter=optimal, number=detection.max_false_rate, size=size
        )
    found = significant_peaks(
        data,
        matched_filter=optimal,
        threshold=threshold,
        distance=_distance(extraction, SEPARATION * optimal.fwhm),
        size=size,
    )
    flat, kernel = optimal.flattened(data, size=size), daofind_kernel(_beam(image))
    level = float(sample(data, size=size).mean())

    def significance(rows: slice, columns: slice) -> FloatArray:
        seen = [
            image / one.noise[rows, columns] / factor
            for image, one, factor in zip(
                optimal.outputs(flat, (rows, columns)), optimal.both, (1.0, NARROW_FACTOR), strict=False
            )
        ]
        highest: FloatArray = np.fmax.reduce(seen)
        return np.where(np.isfinite(highest), highest, -np.inf)

    def stages(x: int, y: int) -> tuple[Check, ...]:
        shape = peak_shapes(flat, kernel=kernel, x=np.array([x]), y=np.array([y]))
        apart = np.hypot(found.column - x, found.row - y)
        alone = float(apart.min(initial=np.inf)) <= _SAME_PEAK
        return (
            _at_least("significance in the filtered map", _pixel(surface, x, y), threshold, _plain),
            _holds("a peak that no brighter neighbour explains", "yes" if alone else "no", "one", alone),
            *_shape_checks(shape, extraction),
            _margin_check(extraction, x, y),
            *_shoulder_checks(extraction, data, x, y, _pixel(data, x, y) - level),
        )

    surface = LazyPlane(image.shape, significance)
    return stages, surface


def _holds(name: str, value: str, demand: str, passed: bool) -> Check:
    return Check(name=name, value=value, demand=demand, passed=bool(passed))


def _at_least(name: str, value: float, limit: float, show: Callable[[float], str]) -> Check:
    return _holds(name, show(value), f"at least {show(limit)}", value >= limit)


def _shape_checks(shape: Any, extraction: Extraction) -> tuple[Check, ...]:
    detection = extraction.options.detection
    rows = (
        ("roundness from symmetry", shape.roundness[0], detection.roundlim),
        ("roundness from marginals", shape.roundness_marginal[0], detection.roundlim),
        ("sharpness", shape.sharpness[0], detection.sharplim),
    )
    return tuple(
        _holds(name, f"{value:.2f}", f"from {low:g} to {high:g}", low <= value <= high)
        for name, value, (low, high) in rows
    )


def _margin_check(extraction: Extraction, x: int, y: int) -> Check:
    ny, nx = extraction.image.shape
    margin = extraction.options.photometry.aper_inf * extraction.image.beam_fwhm_pix
    near = float(min(x, nx - 1 - x, y, ny - 1 - y))
    return _at_least("distance to the border in pixels", near, margin, _plain)


def _distance_check(extraction: Extraction, x: float, y: float, peak: float, distance: float) -> Check:
    peaks = extraction.peaks
    apart = np.hypot(peaks.x - x, peaks.y - y)
    # A peak is refined by up to half a pixel on either axis: this one itself may be among them.
    brighter = (peaks.peak > peak) & (apart > 0.75)
    nearest = float(apart[brighter].min(initial=np.inf))
    shown = f"{nearest:.1f}" if np.isfinite(nearest) else "none"
    name = "distance to a brighter peak in pixels"
    return _holds(name, shown, f"at least {distance:.1f}", nearest >= distance)


def _shoulder_checks(
    extraction: Extraction, base: Plane, x: float, y: float, peak: float
) -> tuple[Check, ...]:
    detection = extraction.options.detection
    if not detection.shoulder_filter:
        return ()
    score = shoulder_score(
        base, x=np.array([x]), y=np.array([y]), peak=np.array([peak]), n_angles=detection.shoulder_n_angles,
        radius=detection.shoulder_ring_factor * extraction.image.beam_fwhm_pix,
    )[0]  # fmt: skip
    limit = detection.shoulder_threshold
    return (_holds("shoulder score", f"{score:.2f}", f"at most {limit:g}", not score > limit),)


def _distance(extraction: Extraction, default: float) -> float:
    return extraction.options.detection.dist_limit_arcsec / extraction.image.pixel_scale or default


def _beam(image: SkyImage) -> FloatArray:
    ny, nx = image.shape
    return image.beam_covariance(0.5 * (nx - 1), 0.5 * (ny - 1))


def _plain(value: float) -> str:
    return f"{value:.2f}"


# ------------------------------------------------------------------------------------------------ the rest


def _shower(extraction: Extraction) -> Callable[[float], str]:
    """Return what writes Jy/pixel per beam."""
    options = extraction.options
    factor, unit = options.flux_per_jy * extraction.image.beam_area_pix, f"{options.flux_unit}/beam"
    return lambda value: f"{value * factor:.4g} {unit}"


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
    apart = np.hypot(table["X"].value - x, table["Y"].value - y)
    k = int(np.nanargmin(apart))
    row, size = table[k], int(table["CLUSTER"][k])
    flux, error, peak = (row[name].value for name in ("FLUX", "FLUX_ERR", "FLUX_PEAK"))
    unit = row["FLUX"].unit
    numbers = f"flux {flux:.4g} ± {error:.2g} {unit}, peak {peak:.4g} {unit}/beam, S/N {row['SNR']:.1f}"
    group = "alone" if size == 1 else f"in a group of {size}"
    flags = tuple(f"flag: {text}" for text in describe_flags(int(row["FLAGS"])))
    return NearestSource(
        number=int(row["HYPER_ID"]),
        distance=float(apart[k]),
        beams=float(apart[k]) / extraction.image.beam_fwhm_pix,
        description=(numbers, group, *flags),
    )


def _left_out(extraction: Extraction, x: float, y: float) -> str | None:
    """Return why a detection here was left out of the catalogue; None if there is none."""
    reasons = (
        (extraction.explained, "side lobes of brighter sources explain this peak"),
        (extraction.vanished, "this peak was detected, but its fit left no flux above its error"),
    )
    for peaks, reason in reasons:
        if peaks is not None:
            distance = np.hypot(peaks.x - x, peaks.y - y)
            if (distance <= _HERE_BEAMS * extraction.image.beam_fwhm_pix).any():
                return reason
    return None


def _verdict(
    blank: bool, checks: tuple[Check, ...], nearest: NearestSource | None, *, left_out: str | None
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
