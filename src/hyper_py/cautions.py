"""Warnings about a catalogue as a whole: most rows flagged, or crowded along edges."""

from collections.abc import Mapping

import numpy as np
from astropy.table import QTable
from scipy import ndimage, special

from hyper_py.arrays import BoolArray, IntArray
from hyper_py.diagnostics import FLAG_TEXT, Flag
from hyper_py.image import SkyImage
from hyper_py.numerics.tiles import sample

_BAD = (
    Flag.BLANK_PIXELS | Flag.EDGE | Flag.SIZE_AT_BOUND | Flag.POSITION_AT_BOUND | Flag.AMPLITUDE_AT_BOUND
    | Flag.NOT_CONVERGED | Flag.FIT_FAILED | Flag.NOISE_ASSUMED | Flag.BACKGROUND_POOR | Flag.NEGATIVE_FLUX
    | Flag.NO_ERROR
)  # fmt: skip
"""Flags that say that something of a row is not to be trusted."""
_WIDEST_BEAM = 0.25
"""Of the shorter side of the map."""
_NAMED = 5
"""Rows that are named in a warning."""
_FEWEST = 5
"""Rows below which nothing is said of their number."""
_EDGE_BEAMS = 4.0
"""How near an edge is."""
_OTHER_SIZES = 0.1
"""Share of sources whose size differs between bands above which that is said: 1% do by chance."""
_CHANCE = 1e-6
"""Probability of as many rows near edges by chance below which they crowd there."""
_BLANK_BEAMS = 0.5
"""Blank regions smaller than this, in beams, are no edge."""


def cautions(catalog: QTable, image: SkyImage) -> tuple[str, ...]:
    """Return warnings, one line each.

    Parameters
    ----------
    catalog : QTable
        As an extraction makes it.
    image : SkyImage
        Its map.

    Returns
    -------
    tuple of str
        Values that were taken for blank or look like it, an error that the file has and that was not used,
        a beam that is not known or wider than a quarter of the map, what was assumed of given sources, those
        that are not on the map or smaller than its beam, hot pixels, most rows flagged, rows that crowd
        along edges.
        Empty if there is nothing to say.
    """
    said = _of_image(image)
    said += [*image.meta.get("given", ()), *_given(catalog), *_wide_beam(image), *_nowhere(catalog, image)]
    said += _hot_pixels(catalog) + _flagged(catalog) + _crowded(catalog, image)
    return tuple(said)


def band_cautions(catalog: QTable, images: Mapping[str, SkyImage]) -> tuple[str, ...]:
    """Return warnings about a catalogue of several bands, one line each.

    Parameters
    ----------
    catalog : QTable
        One row a source.
    images : mapping of str to SkyImage
        The maps, by the names of the bands.

    Returns
    -------
    tuple of str
        What is odd about each map, as in `cautions`; given sources that are on none; sizes that differ
        between bands; most rows flagged.
    """
    said = []
    for name, image in images.items():
        said += [f"{name}: {text}" for text in (*_of_image(image), *_wide_beam(image))]
    flags = np.asarray(catalog["FLAGS"]).astype(np.int64)
    differs = np.flatnonzero(flags & int(Flag.SHAPE_DIFFERS))
    if differs.size > max(_FEWEST, _OTHER_SIZES * flags.size):
        said.append(
            f"{_rows(catalog, differs)} sources have another size in some band: fluxes of one shape are "
            "biased then; set bands.shape to free"
        )
    return (*said, *_given(catalog), *_flagged(catalog))


def _of_image(image: SkyImage) -> list[str]:
    """Say what was assumed of a map, and what is odd about it."""
    said = [*image.meta.get("fill", ()), *([image.meta["errors"]] if "errors" in image.meta else [])]
    return said + [image.meta[key] for key in ("no_beam", "primary_beam") if key in image.meta]


def _wide_beam(image: SkyImage) -> list[str]:
    """Say that the beam is too wide for the map."""
    side = min(image.shape) * image.pixel_scale
    if image.beam.major <= _WIDEST_BEAM * side:
        return []
    return [
        f"a beam of {image.beam.major:.4g} arcsec on a map of {side:.4g}: noise and background cannot be "
        "told from sources; is the beam right (survey.beam)?"
    ]


def _nowhere(catalog: QTable, image: SkyImage) -> list[str]:
    """Say that sources were looked for nowhere on the map."""
    if len(catalog) or image.searched is None or np.any(sample(np.asarray(image.searched, dtype=np.float64))):
        return []
    return ["detection.region holds no pixel of this map: sources were looked for nowhere"]


def _given(catalog: QTable) -> list[str]:
    """Say which given sources are not on the map, and which have sizes that none on it can have."""
    flags = np.asarray(catalog["FLAGS"]).astype(np.int64) if "FLAGS" in catalog.colnames else np.zeros(0, int)
    said, n = [], flags.size
    beside, small = (np.flatnonzero(flags & int(f)) for f in (Flag.NOT_ON_MAP, Flag.SIZE_BELOW_BEAM))
    if beside.size:
        advice = ": look at the unit and frame of the positions" if beside.size == n else ""
        said.append(
            f"{_rows(catalog, beside)} given sources are not on the map; their rows are blank{advice}"
        )
    if small.size:
        said.append(
            f"{_rows(catalog, small)} given sources have a size (FWHM_1, FWHM_2) below the beam, as no "
            "source on the map has: look at its unit, or set detection.fixed_source_sizes to intrinsic"
        )
    return said


def _hot_pixels(catalog: QTable) -> list[str]:
    """Say which rows are single bright pixels."""
    if "FLAGS" not in catalog.colnames:
        return []
    hot = np.flatnonzero(np.asarray(catalog["FLAGS"]).astype(np.int64) & int(Flag.HOT_PIXEL))
    if not hot.size:
        return []
    return [
        f"{_rows(catalog, hot)} rows are bright pixels without the beam around them, and no sources: mask "
        "them with io.mask, or look at the beam if all rows are (survey.beam)"
    ]


def _rows(catalog: QTable, rows: IntArray) -> str:
    """Return `2 of 9 (HYPER_ID 3, 8)`."""
    numbers = ", ".join(str(catalog["HYPER_ID"][row]) for row in rows[:_NAMED])
    return f"{rows.size} of {len(catalog)} (HYPER_ID {numbers}{', ...' if rows.size > _NAMED else ''})"


def _flagged(catalog: QTable) -> list[str]:
    """Say that most rows have flags, and which most of all."""
    if len(catalog) < _FEWEST or "FLAGS" not in catalog.colnames:
        return []
    flags = np.asarray(catalog["FLAGS"]).astype(np.int64)
    bad = (flags & int(_BAD)) != 0
    if 2 * np.count_nonzero(bad) <= bad.size:
        return []
    numbers = {flag: np.count_nonzero(flags & int(flag)) for flag in FLAG_TEXT if flag & _BAD}
    most = max(numbers, key=lambda flag: numbers[flag])
    return [
        f"{np.count_nonzero(bad)} of {bad.size} rows have flags, {numbers[most]} of them "
        f"'{FLAG_TEXT[most]}': look at the map before the table is used"
    ]


def _crowded(catalog: QTable, image: SkyImage) -> list[str]:
    """Say that far more rows are near an edge of the map, or of a blank region, than by chance."""
    if len(catalog) < _FEWEST:
        return []
    near, share = _near_edges(catalog, image)
    n, number = near.size, int(np.count_nonzero(near))
    chance = float(special.bdtrc(number - 1, n, share)) if number else 1.0
    if number < _FEWEST or number < 2.0 * share * n or chance > _CHANCE:
        return []
    return [
        f"{number} of {n} rows are within {_EDGE_BEAMS:g} beams of an edge of the map or of blank pixels, "
        f"{share:.0%} of it: loud edges are no sources; set io.error_hdu, or mask them with io.mask"
    ]


def _near_edges(catalog: QTable, image: SkyImage) -> tuple[BoolArray, float]:
    """Return which rows are near an edge, and the share of the map that is."""
    x, y = (
        np.ma.filled(np.ma.asarray(getattr(catalog[name], "value", catalog[name]), dtype=np.float64), np.nan)
        for name in ("X", "Y")
    )
    x, y = (values[np.isfinite(x) & np.isfinite(y)] for values in (x, y))
    reach = _EDGE_BEAMS * image.beam_fwhm_pix
    step = max(1, int(_BLANK_BEAMS * image.beam_fwhm_pix))
    ny, nx = image.shape
    if image.is_whole:
        valid = np.isfinite(image.data[::step, ::step])
        # One blank pixel between others is no edge.
        valid = ndimage.binary_closing(np.pad(valid, 2), np.ones((3, 3)))[2:-2, 2:-2]
    else:
        valid = np.ones((-(-ny // step), -(-nx // step)), dtype=np.bool_)
    distance = step * ndimage.distance_transform_edt(np.pad(valid, 1))[1:-1, 1:-1]
    rows = np.clip(np.rint(y / step).astype(int), 0, valid.shape[0] - 1)
    columns = np.clip(np.rint(x / step).astype(int), 0, valid.shape[1] - 1)
    return distance[rows, columns] <= reach, float(np.mean(distance[valid] <= reach)) if valid.any() else 1.0
