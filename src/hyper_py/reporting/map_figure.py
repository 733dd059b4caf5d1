"""The map with all its sources as an SVG, made without a plotting library, so that it is cheap for each map.

Pixels are an embedded image; apertures, beam, coordinates and texts are vector graphics.
"""

import base64
import math
from collections.abc import Iterator
from html import escape

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray
from hyper_py.geometry import (
    FWHM_PER_SIGMA,
    celestial_degrees,
    ellipse_from_covariance,
    pixel_from_celestial,
)
from hyper_py.numerics import gaussians
from hyper_py.pipeline.extraction import Extraction
from hyper_py.reporting.images import frame_name, indexed, palette, palettes, png
from hyper_py.reporting.report_data import REMARKS, bin_image, detected_places

_SIDE = 900.0
"""Longer side of the map on the page, in CSS pixels."""
_MOST_PIXELS = 1500
_LEFT, _RIGHT, _TOP, _BOTTOM = 96.0, 100.0, 46.0, 62.0
_COLOURS = "inferno"
_APERTURE, _FLAGGED = "#5fe0fb", "#a7f45c"
_DECIMAL = [m * 10.0**e for e in range(-6, 3) for m in (1, 2, 5)]
_MINUTES = [one * unit for unit in (60.0, 3600.0) for one in (1, 2, 5, 10, 20, 30)]
_STEPS = [step for step in _DECIMAL if step <= 20.0] + [30.0, *_MINUTES]
"""Steps between lines of coordinates, in seconds of time or arc."""


def map_svg(extraction: Extraction) -> str:
    """Return a figure of the map: colours, apertures, beam, coordinates, scale of colours.

    Parameters
    ----------
    extraction : Extraction

    Returns
    -------
    str
        SVG in mJy/beam (Jy/beam without `convert_mJy`). Each aperture has its HYPER_ID as title. Apertures of
        sources with a flag that needs attention are green.
    """
    image = extraction.image
    ny, nx = image.shape
    scale = _SIDE / max(nx, ny)
    width, height = nx * scale, ny * scale
    milli, unit = extraction.options.flux_per_jy, f"{extraction.options.flux_unit}/beam"
    data = bin_image(image.data, math.ceil(max(nx, ny) / _MOST_PIXELS)) * (milli * image.beam_area_pix)
    low, high = np.nanpercentile(data, [0.5, 99.7]) if np.isfinite(data).any() else (0.0, 1.0)
    picture = base64.b64encode(png(indexed(data, low, high)[::-1], colours=palette(_COLOURS, 255))).decode()
    n = len(extraction.catalog)
    page = f"{width + _LEFT + _RIGHT:.0f} {height + _TOP + _BOTTOM:.0f}"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {page}" font-family="Helvetica, Arial, '
        'sans-serif" font-size="13" fill="#1c2128">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{_LEFT}" y="{_TOP - 18}" font-size="17" font-weight="bold">{escape(image.name)}</text>',
        f'<text x="{_LEFT + width:.1f}" y="{_TOP - 18}" text-anchor="end">{n} source{"" if n == 1 else "s"}'
        "</text>",
        f'<g transform="translate({_LEFT} {_TOP})">',
        f'<clipPath id="frame"><rect width="{width:.2f}" height="{height:.2f}"/></clipPath>',
        f'<rect width="{width:.2f}" height="{height:.2f}" fill="#d9d9d9"/>',
        f'<image width="{width:.2f}" height="{height:.2f}" preserveAspectRatio="none" '
        f'style="image-rendering:pixelated" href="data:image/png;base64,{picture}"/>',
        '<g clip-path="url(#frame)" fill="none">',
    ]
    lines += _coordinates(extraction, scale)
    lines += _apertures(extraction, scale)
    lines += [_beam(extraction, scale), "</g>"]
    lines.append(f'<rect width="{width:.2f}" height="{height:.2f}" fill="none" stroke="#1c2128"/>')
    lines += _colour_bar(width + 16.0, height, low, high, unit)
    return "\n".join([*lines, "</g>", "</svg>", ""])


def _place(extraction: Extraction, scale: float, x: FloatArray, y: FloatArray) -> FloatArray:
    """Return where pixel coordinates are on the page, shape (2, ...)."""
    return np.stack([(x + 0.5) * scale, (extraction.image.shape[0] - 0.5 - y) * scale])


def _apertures(extraction: Extraction, scale: float) -> Iterator[str]:
    table = extraction.catalog
    ellipses = drawn_ellipses(extraction)
    centres = _place(extraction, scale, ellipses[:, 0], ellipses[:, 1])
    calls: BoolArray = np.asarray(table["FLAGS"]) & ~int(REMARKS) != 0
    for colour, chosen in ((_APERTURE, ~calls), (_FLAGGED, calls)):
        yield f'<g stroke="{colour}" stroke-width="1.1">'
        for k in np.flatnonzero(chosen):
            rx, ry = scale * ellipses[k, 2:4]
            yield (
                f'<ellipse rx="{rx:.2f}" ry="{ry:.2f}" transform="translate({centres[0, k]:.2f} '
                f'{centres[1, k]:.2f}) rotate({-np.degrees(ellipses[k, 4]):.1f})">'
                f"<title>{int(table['HYPER_ID'][k])}</title></ellipse>"
            )
        yield "</g>"


def drawn_ellipses(extraction: Extraction) -> FloatArray:
    """Return x, y, semi-axes in pixels and angle of each aperture, (n, 5); the beam's if not fitted."""
    sources, image = extraction.sources, extraction.image
    n = len(extraction.catalog)
    ratio = extraction.options.photometry.fwhm_radius_ratio
    beam = ellipse_from_covariance(image.central_beam_covariance)
    x, y = detected_places(extraction)
    plain = np.column_stack([x, y, *(np.full(n, float(v)) for v in beam)])
    plain[:, 2:4] *= ratio
    if len(sources) != n:
        return plain
    fitted = sources[:, gaussians.X :].copy()
    fitted[:, 2:4] *= ratio * FWHM_PER_SIGMA
    return np.where(np.isfinite(fitted.sum(axis=1))[:, None], fitted, plain)


def _beam(extraction: Extraction, scale: float) -> str:
    ny = extraction.image.shape[0]
    covariance = extraction.image.central_beam_covariance
    major, minor, angle = (float(value) for value in ellipse_from_covariance(covariance))
    x, y = 14.0 + 0.5 * major * scale, ny * scale - 14.0 - 0.5 * major * scale
    return (
        f'<ellipse rx="{0.5 * major * scale:.2f}" ry="{0.5 * minor * scale:.2f}" fill="white" stroke="black" '
        f'stroke-width="0.6" transform="translate({x:.2f} {y:.2f}) rotate({-np.degrees(angle):.1f})">'
        "<title>beam</title></ellipse>"
    )


def _coordinates(extraction: Extraction, scale: float) -> Iterator[str]:
    """Yield lines of equal longitude and latitude, labelled where they leave the frame, and its two names."""
    image = extraction.image
    ny, nx = image.shape
    edge = [np.linspace(-0.5, side - 0.5, 33) for side in (nx, ny)]
    x, y = np.meshgrid(*edge)
    longitude, latitude = celestial_degrees(image.wcs, x, y)
    on_sky = np.isfinite(longitude + latitude)
    if not on_sky.any():
        return
    middle = float(longitude[on_sky][np.argmin(np.hypot(x - 0.5 * nx, y - 0.5 * ny)[on_sky])])
    # Longitudes relative to the central one, so that they do not wrap inside the map.
    around = middle + (longitude[on_sky] - middle + 180.0) % 360.0 - 180.0
    galactic = image.frame == "galactic"
    names = ("l", "b") if galactic else ("RA", "Dec")
    labels: list[str] = []
    ranges = (around.min(), around.max()), (latitude[on_sky].min(), latitude[on_sky].max())
    # On a map rotated by 90 degrees lines of longitude cross the left edge, and those of latitude the lower.
    north = image.jacobian(0.5 * (nx - 1), 0.5 * (ny - 1))[1]
    below = 0 if abs(north[1]) >= abs(north[0]) else 1
    for axis, (low, high) in enumerate(ranges):
        per_unit = 3600.0 if axis or galactic else 240.0
        steps = [3600.0 * step for step in _DECIMAL] if galactic else _STEPS
        step = next((s for s in steps if s * 6.0 >= (high - low) * per_unit), steps[-1])
        along = np.linspace(*ranges[1 - axis], 97)
        for value in _multiples(step, low * per_unit, high * per_unit):
            fixed = np.full(along.shape, value / per_unit)
            px, py = pixel_from_celestial(image.wcs, *((along, fixed) if axis else (fixed, along)))
            points = _place(extraction, scale, px, py)
            near = np.isfinite(px + py) & (np.abs(px - 0.5 * nx) < nx) & (np.abs(py - 0.5 * ny) < ny)
            if near.sum() < 2:
                continue
            path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points[:, near].T)
            yield f'<polyline points="{path}" stroke="#9a9a9a" stroke-opacity="0.5" stroke-width="0.7"/>'
            text = (
                _degrees(value, step, turn=axis == 0)
                if galactic
                else _sexagesimal(value, step, is_time=axis == 0)
            )
            labels += _label(points, near, text, axis == below, nx * scale, ny * scale)
    frame = f" ({frame_name(image.frame)})" if image.frame else ""
    yield '</g><g stroke="none">'
    yield from labels
    yield _text(names[below] + frame, 0.5 * nx * scale, ny * scale + 44.0)
    yield _text(names[1 - below] + frame, -_LEFT + 14.0, 0.5 * ny * scale, more="rotate(-90)")
    yield '</g><g clip-path="url(#frame)" fill="none">'


def _label(
    points: FloatArray, near: BoolArray, text: str, below: bool, width: float, height: float
) -> Iterator[str]:
    """Yield the label of a line at its first crossing of the lower or the left edge."""
    across, edge, side = (points[1], height, points[0]) if below else (points[0], 0.0, points[1])
    cross = near[1:] & near[:-1] & ((across[1:] - edge) * (across[:-1] - edge) <= 0.0)
    for k in np.flatnonzero(cross)[:1]:
        rise = across[k + 1] - across[k]
        share = (edge - across[k]) / rise if rise else 0.0
        at = side[k] + share * (side[k + 1] - side[k])
        if below and 30.0 <= at <= width - 20.0:
            yield _text(text, at, height + 20.0)
        elif not below and 0.0 <= at <= height:
            yield _text(text, -7.0, at + 4.0, anchor="end")


def _sexagesimal(seconds: float, step: float, *, is_time: bool) -> str:
    """Return hours or degrees, minutes, and as many decimals of seconds as the step needs."""
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    sign = "" if is_time else "-" if seconds < 0 else "+"
    rest = round(abs(seconds), decimals) if not is_time else round(seconds % 86400.0, decimals)
    whole, rest = divmod(rest, 3600.0)
    minutes, rest = divmod(rest, 60.0)
    marks = ("h", "m", "s") if is_time else ("°", "′", "″")
    parts = [f"{whole:02.0f}{marks[0]}"]
    if step < 3600.0:
        parts.append(f"{minutes:02.0f}{marks[1]}")
    if step < 60.0:
        parts.append(f"{rest:0{decimals + 3 if decimals else 2}.{decimals}f}{marks[2]}")
    return sign.replace("-", "−") + "".join(parts)


def _degrees(seconds: float, step: float, *, turn: bool) -> str:
    """Return degrees with the decimals that the step needs; longitudes from 0 to 360."""
    decimals = max(0, -math.floor(math.log10(step / 3600.0) + 1e-9))
    degrees = round(seconds / 3600.0, decimals)
    return f"{degrees % 360.0 if turn else degrees:.{decimals}f}°".replace("-", "−")


def _colour_bar(x: float, height: float, low: float, high: float, unit: str) -> Iterator[str]:
    steps = palettes()[_COLOURS]
    colours = [steps[k : k + 6] for k in range(0, len(steps), 6)]
    stops = "".join(
        f'<stop offset="{k / (len(colours) - 1):.4f}" stop-color="#{c}"/>' for k, c in enumerate(colours)
    )
    yield f'<linearGradient id="colours" x1="0" y1="1" x2="0" y2="0">{stops}</linearGradient>'
    yield (
        f'<rect x="{x:.1f}" width="14" height="{height:.2f}" fill="url(#colours)" stroke="#1c2128" '
        'stroke-width="0.6"/>'
    )
    power = 10.0 ** math.floor(math.log10((high - low) / 5.0)) if high > low else 1.0
    step = power * next(m for m in (1.0, 2.0, 5.0, 10.0) if m * power * 7.0 >= high - low)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    yield _text(unit, x, -8.0, anchor="start")
    for value in _multiples(step, low, high):
        y = height * (1.0 - (value - low) / ((high - low) or 1.0))
        yield f'<path d="M{x + 14:.1f} {y:.1f}h4" stroke="#1c2128"/>'
        yield _text(f"{value:.{decimals}f}", x + 22.0, y + 4.0, anchor="start")


def _multiples(step: float, low: float, high: float) -> Iterator[float]:
    """Yield the multiples of a step from `low` to `high`."""
    for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1):
        yield k * step


def _text(text: str, x: float, y: float, *, anchor: str = "middle", more: str = "") -> str:
    return (
        f'<text transform="translate({x:.1f} {y:.1f}) {more}" font-size="12" text-anchor="{anchor}">'
        f"{escape(text)}</text>"
    )
