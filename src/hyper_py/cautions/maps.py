"""What is odd about a map, whatever is found on it: one line each."""

import re

import numpy as np
from scipy import ndimage

from hyper_py.arrays import BoolArray
from hyper_py.detection.bad_lines import find_bad_lines
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
_SAME_VALUE = 1e-4
_MOST_DARK, _FEWEST_REPEATED = 1000, 4
"""Dark pixels that are looked at; pixels of one dark value that are no chance."""

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
    keys = "no_beam", "levels", "primary_beam", "polarised"
    return said + [image.meta[key] for key in keys if key in image.meta]


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
    """Say that some pixels of one value are far darker than the noise, and blank in all likelihood.

    Many are found when the map is read (`reading.fill`), single ones before detection; these are the few.
    """
    deepest = noise.mean - _DARK * noise.typical
    rows, columns = np.nonzero(image.data < deepest)
    if not rows.size:
        return []
    darkest = np.argsort(image.data[rows, columns], kind="stable")[:_MOST_DARK]
    rows, columns = rows[darkest], columns[darkest]
    values = image.data[rows, columns]
    # In Jy/pixel the areas of pixels make equal values differ a little.
    repeated = int(np.count_nonzero(np.abs(values / values[0] - 1.0) < _SAME_VALUE))
    if repeated < _FEWEST_REPEATED:
        return []
    value = float(values[0] / np.broadcast_to(image.jy_per_pixel, image.shape)[rows[0], columns[0]])
    depth = (noise.mean - values[0]) / noise.typical
    return [
        f"{repeated} pixels of {value:.6g} {image.unit}, {depth:.3g} times the noise below the mean, cannot "
        "be real, since the beam would smooth them: if they are blank, set "
        f"io.fill_values=[{value:.6g}], or mask them (io.mask)"
    ]


def _bad_lines(image: SkyImage, noise: NoiseLevel) -> list[str]:
    """Say which rows and columns of pixels differ from those beside as nothing seen through the beam does."""
    return [
        f"{lines.describe()}: false sources may lie along them; set detection.defects to mend, or mask "
        "them (io.mask)"
        for lines in find_bad_lines(image.data, noise=noise.typical)
    ]


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
