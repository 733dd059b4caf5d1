"""What is odd about a map, whatever is found on it: one line each."""

import re

import numpy as np
from scipy import ndimage

from hyper_py.arrays import BoolArray, FloatArray, IntArray
from hyper_py.detection.hot_pixels import are_hot_pixels
from hyper_py.image import SkyImage
from hyper_py.noise.covariance import clipped_statistics
from hyper_py.noise.level import NoiseLevel
from hyper_py.numerics.tiles import LazyPlane, sample

_WIDEST_BEAM = 0.25
"""Of the shorter side of the map."""
_LARGEST_RATIO = 3.0
"""Of the noise of a map and what is said to be its noise."""
_SIGMA_OF_STEPS = 1.4826 / np.sqrt(2.0)
"""Sigma of white noise over the median of the absolute differences of neighbours."""
_NEAR = 1.4
"""Ratios that differ by less are near."""
_USUAL_UNITS = {"PACS": "Jy/pixel", "SPIRE": "Jy/beam or MJy/sr"}
_PER = re.compile(r"pix|beam|bm", re.IGNORECASE)
_DARK = 20.0
"""Times the noise below the mean."""
_ALONE = 0.1
"""Of the depth of a dark pixel: its neighbours have less. Seen through 1.5 pixels, they have 0.3."""
_SAME_VALUE = 1e-4
_MOST_DARK, _FEWEST_REPEATED = 1000, 4
"""Dark pixels that are looked at; pixels of one dark value that are no chance."""

_CLIPPED = 3.0
"""Pixels count with at most so many times the scatter of the map in the mean of their row."""
_STANDS_OUT, _NOTABLE = 10.0, 0.5
"""A row of pixels is bad if it exceeds those beside it by so many times what is usual, and this share of
the noise,"""
_ABRUPT = 0.4
"""and these are below those beside them by this share of it: half for a single row, less than a tenth for a
straight filament seen through a beam of two pixels."""
_LEVEL_ROWS = 7
"""The scatter of a row is that of so many."""
_FEWEST_ROWS, _FEWEST_PIXELS = 30, 30
"""Rows of pixels from which one can stand out, and pixels of a row with neighbours."""
_NAMED = 5
"""Rows that are named in a warning, of pixels or of the catalogue."""
BLANK_BEAMS = 0.5
"""Blank regions smaller than this, in beams, are no edge."""
_ISLAND_BEAMS, _ISLAND_SHARE = 2.0, 0.95
"""A map of which this share is within so many beams of an edge, most of it blank, is one of islands."""


def map_cautions(image: SkyImage, noise: NoiseLevel | None) -> list[str]:
    """Return what is odd about a map.

    Parameters
    ----------
    image : SkyImage
    noise : NoiseLevel, optional
        What is taken for its noise. Without it, and of a map that is read in pieces, less is said.

    Returns
    -------
    list of str
        What was assumed when it was read, a beam that is not known, wider than a quarter of the map or
        smaller than a pixel, units that do not go together, a map of islands, single pixels and rows of
        pixels that the beam would smooth.
    """
    said = [
        *_of_image(image), *_wide_beam(image), *_small_beam(image), *_units(image, noise), *_islands(image)
    ]  # fmt: skip
    if noise is None or not image.is_whole or not noise.typical > 0.0:
        return said
    return [*said, *_dark_pixels(image, noise), *_bad_lines(image, noise)]


def named(numbers: IntArray) -> str:
    """Return the first of some numbers, such as `3, 8, 9, 12, 17, ...`."""
    return ", ".join(map(str, numbers[:_NAMED])) + (", ..." if numbers.size > _NAMED else "")


def own_level(image: SkyImage) -> NoiseLevel | None:
    """Return the noise of a map before anything was found: its errors, or the scatter of its pixels.

    None if it is read in pieces.
    """
    if image.error is not None:
        return NoiseLevel(mean=0.0, rms=image.error)
    if not image.is_whole:
        return None
    found = clipped_statistics(image.data)
    return NoiseLevel(mean=found.mean, rms=found.rms)


def _of_image(image: SkyImage) -> list[str]:
    """Say what was assumed of a map, and what is odd about it."""
    said = [*image.meta.get("fill", ()), *([image.meta["errors"]] if "errors" in image.meta else [])]
    return said + [image.meta[key] for key in ("no_beam", "primary_beam", "polarised") if key in image.meta]


def _units(image: SkyImage, noise: NoiseLevel | None) -> list[str]:
    """Say that units do not go together: of errors, of a given rms, of an instrument."""
    said = []
    ratio = 1.0 if noise is None else _noise_ratio(image, noise)
    if ratio != 1.0:
        given = "that of its errors (io.error_hdu)" if image.error is not None else "detection.rms_value"
        said.append(
            f"the noise of the map is {ratio:.3g} times {given}{_of_a_beam(ratio, image)}: do both have the "
            "same unit?"
        )
    instrument, per_pixel = str(image.meta.get("instrument", "")), is_per_pixel(image.unit)
    usual = next((unit for name, unit in _USUAL_UNITS.items() if name in instrument.upper()), None)
    if usual is not None and per_pixel is not None and per_pixel != (usual == "Jy/pixel"):
        said.append(
            f"the unit is {image.unit}, but maps of {instrument} are usually in {usual}: check the unit "
            "(units.bunit)"
        )
    return said


def is_per_pixel(unit: str) -> bool | None:
    """Return whether a unit is per pixel, not per beam; None if it is neither."""
    per = _PER.search(unit)
    return None if per is None else per[0].lower() == "pix"


def _noise_ratio(image: SkyImage, noise: NoiseLevel) -> float:
    """Return the noise of a map over what is said to be its noise, if the two cannot both be right; else 1.

    The scatter of all pixels is at least the noise, that of neighbours without structure at most.
    """
    if not noise.typical > 0.0:
        return 1.0
    if image.is_whole:
        ratio = image.data / noise.rms
    else:
        ratio = sample(LazyPlane(image.shape, lambda *where: image.data[where] / noise.part(*where)))
    scatter = float(clipped_statistics(ratio).rms)
    if scatter < 1.0 / _LARGEST_RATIO:
        return scatter
    steps = np.diff(ratio, axis=-1)
    grain = _SIGMA_OF_STEPS * float(np.nanmedian(np.abs(steps))) if np.isfinite(steps).any() else 1.0
    return grain if grain > _LARGEST_RATIO else 1.0


def _of_a_beam(ratio: float, image: SkyImage) -> str:
    """Say that a ratio is the area of the beam in pixels, or one over it."""
    share = max(ratio, 1.0 / ratio) / image.beam_area_pix
    return ", the number of pixels in a beam" if 1.0 / _NEAR < share < _NEAR else ""


def _wide_beam(image: SkyImage) -> list[str]:
    """Say that the beam is too wide for the map."""
    side = min(image.shape) * image.pixel_scale
    if image.beam.major <= _WIDEST_BEAM * side:
        return []
    return [
        f"the beam is {image.beam.major:.4g} arcsec and the map {side:.4g}: noise and background cannot be "
        "distinguished from sources; is the beam right (survey.beam)?"
    ]


def _small_beam(image: SkyImage) -> list[str]:
    """Say that the beam is smaller than a pixel."""
    if image.beam.minor >= image.pixel_scale:
        return []
    return [
        f"the beam is {image.beam.minor:.4g} arcsec and pixels are {image.pixel_scale:.4g}: point sources "
        "cannot be distinguished from single pixels; is the beam right (survey.beam)?"
    ]


def _dark_pixels(image: SkyImage, noise: NoiseLevel) -> list[str]:
    """Say that some pixels are darker than anything seen through the beam, and are blank in all likelihood.

    Many pixels of one value are found when the map is read (`reading.fill`); these are the few.
    """
    deepest = noise.mean - _DARK * noise.typical
    if not np.nanmin(image.data, initial=noise.mean) < deepest:
        return []
    covariance = image.beam_covariance(0.5 * (image.shape[1] - 1), 0.5 * (image.shape[0] - 1))
    dark, single = _single_pixels(-image.data, covariance, above=-deepest, level=-noise.mean)
    # Loud noise at an edge has as many bright ones.
    bright = _single_pixels(image.data, covariance, above=2.0 * noise.mean - deepest, level=noise.mean)[1]
    darkest = image.data[dark[:, 0], dark[:, 1]]
    # In Jy/pixel the areas of pixels make equal values differ a little.
    repeated = int(np.count_nonzero(np.abs(darkest / darkest[0] - 1.0) < _SAME_VALUE))
    is_repeated, n_single = repeated >= _FEWEST_REPEATED, int(np.count_nonzero(single))
    if not is_repeated and n_single <= 2 * np.count_nonzero(bright):
        return []
    n, first = (repeated, 0) if is_repeated else (n_single, int(np.flatnonzero(single)[0]))
    place = dark[first, 0], dark[first, 1]
    value = float(image.data[place] / np.broadcast_to(image.jy_per_pixel, image.shape)[place])
    depth = (noise.mean - image.data[place]) / noise.typical
    return [
        f"{n} pixel{'s' if n > 1 else ''} of {value:.6g} {image.unit}, {depth:.3g} times the noise below the "
        "mean, cannot be real, since the beam would smooth them: if they are blank, set "
        f"io.fill_values=[{value:.6g}], or mask them (io.mask)"
    ]


def _single_pixels(
    data: FloatArray, covariance: FloatArray, *, above: float, level: float
) -> tuple[IntArray, BoolArray]:
    """Return the brightest pixels above a value, row and column (n, 2), and which lack a beam around them."""
    rows, columns = np.nonzero(data > above)
    order = np.argsort(-data[rows, columns])[:_MOST_DARK]
    rows, columns = rows[order], columns[order]
    x, y = columns.astype(np.float64), rows.astype(np.float64)
    single = are_hot_pixels(data, x=x, y=y, beam_covariance=covariance)
    # Where no pixel has others on two sides, such as in a corner, the first test says nothing.
    places = zip(rows.tolist(), columns.tolist(), strict=True)
    alone = [_is_alone(data, row, column, level=level) for row, column in places]
    return np.column_stack([rows, columns]), single | np.array(alone, dtype=np.bool_)


def _is_alone(data: FloatArray, row: int, column: int, *, level: float) -> bool:
    """Return whether no pixel beside a bright one has a share of its height above a level."""
    around = data[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
    return int(np.count_nonzero(around > level + _ALONE * (data[row, column] - level))) == 1


def _bad_lines(image: SkyImage, noise: NoiseLevel) -> list[str]:
    """Say which rows and columns of pixels differ from those beside as nothing seen through the beam does."""
    said = []
    for name, axis, data in (("row", "y", image.data), ("column", "x", image.data.T)):
        bad, height = bad_rows(data)
        notable = np.abs(height) > _NOTABLE * noise.typical
        bad, height = bad[notable], np.abs(height[notable]) / noise.typical
        if bad.size:
            said.append(
                f"{bad.size} {name}{'s' if bad.size > 1 else ''} of pixels ({axis} = {named(bad)}) differ "
                f"from those beside them by up to {height.max():.2g} times the noise, which the beam would "
                "smooth: false sources may lie along them; mask them (io.mask)"
            )
    return said


def bad_rows(data: FloatArray) -> tuple[IntArray, FloatArray]:
    """Return the rows of a map that stand out abruptly from those beside them.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
        Blank pixels are NaN.

    Returns
    -------
    rows : ndarray of int, shape (n,)
    height : ndarray, shape (n,)
        Median of what they exceed the mean of the two beside them by.
    """
    nothing = np.empty(0, dtype=np.intp), np.empty(0)
    if len(data) < _FEWEST_ROWS:
        return nothing
    beyond = np.full(data.shape, np.nan)
    beyond[1:-1] = data[1:-1] - 0.5 * (data[:-2] + data[2:])
    known = np.isfinite(beyond)
    count = known.sum(axis=1)
    enough = count >= _FEWEST_PIXELS
    if np.count_nonzero(enough) < _FEWEST_ROWS:
        return nothing
    limit = _CLIPPED * clipped_statistics(beyond).rms
    clipped = np.where(known, np.clip(beyond, -limit, limit), 0.0)
    count, total, squares = (part[enough] for part in (count, clipped.sum(axis=1), (clipped**2).sum(axis=1)))
    # A row of few loud pixels differs by chance; a bad one is seen in three rows, and so not in the median.
    error = np.sqrt(ndimage.median_filter(squares / count, _LEVEL_ROWS) / count)
    significance = np.divide(total / count, error, out=np.zeros(total.size), where=error > 0.0)
    usual = clipped_statistics(significance).rms
    likely = np.flatnonzero(enough)[np.abs(significance) > _STANDS_OUT * usual]

    def height(row: int) -> float:
        own = beyond[row][known[row]]
        return float(np.median(own)) if own.size else 0.0

    heights = np.array([[height(row + k) for k in (-1, 0, 1)] for row in likely.tolist()]).reshape(-1, 3)
    sign = np.sign(heights[:, 1])
    before, own, after = (sign * column for column in heights.T)
    bad = (own > np.abs([before, after]).max(axis=0)) & (-0.5 * (before + after) >= _ABRUPT * own)
    return likely[bad], heights[bad, 1]


def _islands(image: SkyImage) -> list[str]:
    """Say that a map is blank but for islands, which show no noise."""
    if not image.is_whole:
        return []
    blank = 1.0 - np.count_nonzero(np.isfinite(image.data)) / image.data.size
    if blank < 0.5 or edge_zone(image, reach=_ISLAND_BEAMS)[1] < _ISLAND_SHARE:
        return []
    return [
        f"{blank:.0%} of the map is blank and all of the rest near that: islands around sources do not show "
        "the noise, and most sources are missed; use the map before it was masked"
    ]


def edge_zone(image: SkyImage, *, reach: float) -> tuple[BoolArray, float]:
    """Return which places of a grid are within so many beams of an edge, and the share of the map that is."""
    step = max(1, int(BLANK_BEAMS * image.beam_fwhm_pix))
    # One blank pixel between others is no edge.
    valid = np.pad(np.isfinite(image.data[::step, ::step]), 2)
    valid = ndimage.binary_closing(valid, np.ones((3, 3)))[2:-2, 2:-2]
    distance = step * ndimage.distance_transform_edt(np.pad(valid, 1))[1:-1, 1:-1]
    near: BoolArray = distance <= reach * image.beam_fwhm_pix
    return near, float(np.mean(near[valid])) if valid.any() else 1.0
