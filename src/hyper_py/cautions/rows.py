"""What is odd about the rows of a catalogue: one line each."""

import numpy as np
from astropy.table import QTable
from scipy import ndimage, special
from scipy.spatial import cKDTree

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
_NAMED = 5
"""Rows that are named in a warning."""
_FEWEST = 5
"""Rows below which nothing is said of their number."""
_EDGE_BEAMS = 4.0
"""How near an edge is."""
_CHANCE = 1e-6
"""Probability of as many rows near edges by chance below which they crowd there."""
_SAME_PLACE = 0.1
"""Distance in beams below which the fluxes of two sources cannot be told apart."""
_BLANK_BEAMS = 0.5
"""Blank regions smaller than this, in beams, are no edge."""

_OTHER_SIZES = 0.1
"""Share of sources whose size differs between bands above which that is said: 1% do by chance."""


def row_cautions(catalog: QTable, image: SkyImage) -> list[str]:
    """Return what is odd about the rows of a map's catalogue.

    Given sources that are not on the map, smaller than its beam or at one place; hot pixels, very wide
    sources; most rows flagged, or crowded along edges; nothing searched.
    """
    return [
        *image.meta.get("given", ()), *_given(catalog), *_given_twice(catalog, image),
        *_nowhere(catalog, image), *_hot_pixels(catalog), *_wide_sources(catalog), *_flagged(catalog),
        *_crowded(catalog, image),
    ]  # fmt: skip


def band_row_cautions(catalog: QTable) -> list[str]:
    """Return what is odd about the rows of a catalogue of several bands.

    Given sources that are on none, sizes that differ between bands, most rows flagged.
    """
    # What is too faint for one of the bands may be negative there.
    return [*_other_sizes(catalog), *_given(catalog), *_flagged(catalog, _BAD & ~Flag.NEGATIVE_FLUX)]


def _other_sizes(catalog: QTable) -> list[str]:
    """Say that sources differ in size between bands."""
    flags = np.asarray(catalog["FLAGS"]).astype(np.int64)
    differs = np.flatnonzero(flags & int(Flag.SHAPE_DIFFERS))
    if differs.size <= max(_FEWEST, _OTHER_SIZES * flags.size):
        return []
    return [
        f"{_rows(catalog, differs)} sources differ in size between bands, so fluxes with a common shape "
        "are biased; set bands.shape to free"
    ]


def _nowhere(catalog: QTable, image: SkyImage) -> list[str]:
    """Say that sources were looked for nowhere on the map."""
    if len(catalog) or image.searched is None or np.any(sample(np.asarray(image.searched, dtype=np.float64))):
        return []
    return ["detection.region contains no pixel of this map: nothing was searched"]


def _wide_sources(catalog: QTable) -> list[str]:
    """Say which sources are wider than what is known to be measured rightly."""
    if "FLAGS" not in catalog.colnames:
        return []
    wide = np.flatnonzero(np.asarray(catalog["FLAGS"]).astype(np.int64) & int(Flag.VERY_WIDE))
    if not wide.size:
        return []
    return [
        f"{_rows(catalog, wide)} sources are wider than 5 beams: their fluxes and sizes may be wrong, "
        "and sizes are limited by photometry.aper_sup"
    ]


def _given(catalog: QTable) -> list[str]:
    """Say which given sources are not on the map, and which have sizes that none on it can have."""
    flags = np.asarray(catalog["FLAGS"]).astype(np.int64) if "FLAGS" in catalog.colnames else np.zeros(0, int)
    said, n = [], flags.size
    beside, small = (np.flatnonzero(flags & int(f)) for f in (Flag.NOT_ON_MAP, Flag.SIZE_BELOW_BEAM))
    if beside.size:
        advice = ": check the unit and frame of the positions" if beside.size == n else ""
        said.append(
            f"{_rows(catalog, beside)} given sources are not on the map; their rows are blank{advice}"
        )
    if small.size:
        said.append(
            f"{_rows(catalog, small)} given sources have a size (FWHM_1, FWHM_2) below the beam, which no "
            "source on the map can have: check the unit, or set detection.fixed_source_sizes to intrinsic"
        )
    return said


def _given_twice(catalog: QTable, image: SkyImage) -> list[str]:
    """Say which given sources are at the place of another."""
    if not {"FLAGS", "X", "Y"} <= set(catalog.colnames):
        return []
    places = np.column_stack([np.asarray(catalog[axis], dtype=np.float64) for axis in ("X", "Y")])
    given = (np.asarray(catalog["FLAGS"]).astype(np.int64) & int(Flag.FORCED)) != 0
    rows = np.flatnonzero(given & np.isfinite(places).all(axis=1))
    pairs = cKDTree(places[rows]).query_pairs(_SAME_PLACE * image.beam_fwhm_pix, output_type="ndarray")
    if not len(pairs):
        return []
    return [
        f"{_rows(catalog, rows[np.unique(pairs)])} given sources are within a tenth of a beam of another: "
        "their fluxes cannot be separated; give each source once"
    ]


def _hot_pixels(catalog: QTable) -> list[str]:
    """Say which rows are single bright pixels."""
    if "FLAGS" not in catalog.colnames:
        return []
    hot = np.flatnonzero(np.asarray(catalog["FLAGS"]).astype(np.int64) & int(Flag.HOT_PIXEL))
    if not hot.size:
        return []
    return [
        f"{_rows(catalog, hot)} rows are bright pixels without the beam around them, not sources: mask "
        "them with io.mask; if all rows are such pixels, check the beam (survey.beam)"
    ]


def _rows(catalog: QTable, rows: IntArray) -> str:
    """Return `2 of 9 (HYPER_ID 3, 8)`."""
    numbers = ", ".join(str(catalog["HYPER_ID"][row]) for row in rows[:_NAMED])
    return f"{rows.size} of {len(catalog)} (HYPER_ID {numbers}{', ...' if rows.size > _NAMED else ''})"


def _flagged(catalog: QTable, flags_of_doubt: Flag = _BAD) -> list[str]:
    """Say that most rows have flags, and which most of all."""
    if len(catalog) < _FEWEST or "FLAGS" not in catalog.colnames:
        return []
    flags = np.asarray(catalog["FLAGS"]).astype(np.int64)
    bad = (flags & int(flags_of_doubt)) != 0
    if 2 * np.count_nonzero(bad) <= bad.size:
        return []
    numbers = {flag: np.count_nonzero(flags & int(flag)) for flag in FLAG_TEXT if flag & flags_of_doubt}
    most = max(numbers, key=lambda flag: numbers[flag])
    return [
        f"{np.count_nonzero(bad)} of {bad.size} rows have flags, {numbers[most]} of them "
        f"'{FLAG_TEXT[most]}': inspect the map before you use the table"
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
        f"which are {share:.0%} of the map: most are probably noise; set io.error_hdu, or mask the edges "
        "with io.mask"
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
    height, width = (-(-n // step) for n in image.shape)
    rows = np.clip(np.rint(y / step).astype(int), 0, height - 1)
    columns = np.clip(np.rint(x / step).astype(int), 0, width - 1)
    if not image.is_whole:  # only the border is known
        far = [step * np.minimum(np.arange(n) + 1, n - np.arange(n)) > reach for n in (height, width)]
        return ~(far[0][rows] & far[1][columns]), 1.0 - float(far[0].mean() * far[1].mean())
    # One blank pixel between others is no edge.
    valid = np.pad(np.isfinite(image.data[::step, ::step]), 2)
    valid = ndimage.binary_closing(valid, np.ones((3, 3)))[2:-2, 2:-2]
    distance = step * ndimage.distance_transform_edt(np.pad(valid, 1))[1:-1, 1:-1]
    return distance[rows, columns] <= reach, float(np.mean(distance[valid] <= reach)) if valid.any() else 1.0
