"""What is odd about the rows of a catalogue: one line each."""

import numpy as np
from astropy.table import QTable
from scipy import special
from scipy.spatial import cKDTree

from hyper_py.arrays import BoolArray, FloatArray, IntArray
from hyper_py.cautions.maps import BLANK_BEAMS, edge_zone, is_per_pixel
from hyper_py.cautions.side_lobes import lined_up
from hyper_py.diagnostics import FLAG_TEXT, Flag
from hyper_py.display import named
from hyper_py.image import SkyImage
from hyper_py.numerics.medians import scatter
from hyper_py.numerics.tiles import sample

_BAD = (
    Flag.BLANK_PIXELS | Flag.EDGE | Flag.SIZE_AT_BOUND | Flag.POSITION_AT_BOUND | Flag.AMPLITUDE_AT_BOUND
    | Flag.NOT_CONVERGED | Flag.FIT_FAILED | Flag.NOISE_ASSUMED | Flag.BACKGROUND_POOR | Flag.NEGATIVE_FLUX
    | Flag.NO_ERROR
)  # fmt: skip
"""Flags that say that something of a row is not to be trusted."""
_FEWEST = 5
"""Rows below which nothing is said of their number."""
_EDGE_BEAMS = 4.0
"""How near an edge is."""
_CHANCE = 1e-6
"""Probability of as many rows near edges by chance below which they crowd there."""
_SAME_PLACE = 0.1
"""Distance in beams below which the fluxes of two sources cannot be told apart."""
_LONG, _NARROW, _FEWEST_LONG = 2.5, 1.3, 3
"""Beams along and across from and up to which a row is a piece of a line; fewer may be galaxies."""
_CLEAR, _FEWEST_ALIKE = 10.0, 8
"""Signal to noise of the rows of which sizes are compared with the beam, and how many are needed."""
_ALIKE, _OTHER_BEAM = 0.04, 0.1
"""Scatter of sizes up to which all are one, and by how much that must differ from the beam's."""

_OTHER_SIZES = 0.1
"""Share of sources whose size differs between bands above which that is said: 1% do by chance."""


def row_cautions(catalog: QTable, image: SkyImage) -> list[str]:
    """Return what is odd about the rows of a map's catalogue.

    Given sources that are not on the map, smaller than its beam or at one place; sources that all have one
    size which is not the beam's, pieces of lines, side lobes, hot pixels, very wide sources; most rows
    flagged, or crowded along edges; nothing searched.
    """
    return [
        *image.meta.get("given", ()), *_given(catalog), *_given_twice(catalog, image),
        *_nowhere(catalog, image), *_other_beam(catalog, image), *_lines(catalog, image),
        *_side_lobes(catalog, image), *_hot_pixels(catalog), *_wide_sources(catalog), *_flagged(catalog),
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
    differs = _with(catalog, Flag.SHAPE_DIFFERS)
    if differs.size <= max(_FEWEST, _OTHER_SIZES * len(catalog)):
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


def _other_beam(catalog: QTable, image: SkyImage) -> list[str]:
    """Say that clear sources all have one size that is not the beam's."""
    if not {"FWHM_1", "FWHM_2", "SNR", "FLAGS"} <= set(catalog.colnames) or not len(catalog):
        return []
    size = np.sqrt(_numbers(catalog, "FWHM_1") * _numbers(catalog, "FWHM_2")) / image.beam.fwhm
    size[_with(catalog, Flag.SIZE_AT_BOUND | Flag.SHAPE_ASSUMED)] = np.nan
    size = size[(np.abs(_numbers(catalog, "SNR")) > _CLEAR) & np.isfinite(size)]
    if size.size < _FEWEST_ALIKE:
        return []
    typical = float(np.median(size))
    if scatter(size) > _ALIKE * typical or abs(typical - 1.0) < _OTHER_BEAM:
        return []
    effect = "fluxes" if is_per_pixel(image.unit) is False else "peaks"
    why, wrong = "if they are points, it is", f"{effect} are too large by a factor of {typical**2:.2f}"
    if typical < 1.0:
        why, wrong = (
            "none can be narrower, so it is",
            f"{effect} are too small by a factor of {typical**-2:.2f}",
        )
    return [
        f"the {size.size} clearest sources are all {typical:.2f} times as wide as the beam; {why} "
        f"{typical * image.beam.fwhm:.3g} arcsec, and {wrong}: check the beam (survey.beam)"
    ]


def _lines(catalog: QTable, image: SkyImage) -> list[str]:
    """Say which rows are long and as narrow as the beam."""
    if not {"FWHM_1", "FWHM_2"} <= set(catalog.colnames) or not len(catalog):
        return []
    long = _numbers(catalog, "FWHM_1") >= _LONG * image.beam.major
    narrow = _numbers(catalog, "FWHM_2") <= _NARROW * image.beam.minor
    pieces = np.flatnonzero(long & narrow)
    if pieces.size < _FEWEST_LONG:
        return []
    return [
        f"{_rows(catalog, pieces)} rows are {_LONG:g} beams long and more, and hardly wider than the beam: "
        "pieces of filaments, jets, spikes or bad rows rather than compact sources"
    ]


def _side_lobes(catalog: QTable, image: SkyImage) -> list[str]:
    """Say that rows line up with several bright sources in one direction."""
    if not {"X", "Y", "FLUX_PEAK"} <= set(catalog.colnames):
        return []
    x, y, peak = (_numbers(catalog, name) for name in ("X", "Y", "FLUX_PEAK"))
    known = np.flatnonzero(np.isfinite(x) & np.isfinite(y) & (peak > 0.0))
    rows, n_sources = lined_up(x[known], y[known], peak[known], fwhm=image.beam_fwhm_pix)
    if not rows.size:
        return []
    return [
        f"{_rows(catalog, known[rows])} rows lie on lines through {n_sources} far brighter sources, in the "
        "same directions for all of them: side lobes of the beam, in all likelihood; clean deeper, or give "
        "the dirty beam (survey.psf)"
    ]


def _with(catalog: QTable, flags: Flag) -> IntArray:
    """Return which rows have one of some flags; none of a catalogue without flags."""
    if "FLAGS" not in catalog.colnames:
        return np.empty(0, dtype=np.intp)
    return np.flatnonzero(np.asarray(catalog["FLAGS"]).astype(np.int64) & int(flags))


def _numbers(catalog: QTable, name: str) -> FloatArray:
    """Return a column without its unit; masked values are NaN."""
    values = np.ma.asarray(getattr(catalog[name], "value", catalog[name]), dtype=np.float64)
    return np.asarray(np.ma.filled(values, np.nan))


def _wide_sources(catalog: QTable) -> list[str]:
    """Say which sources are wider than what is known to be measured rightly."""
    wide = _with(catalog, Flag.VERY_WIDE)
    if not wide.size:
        return []
    return [
        f"{_rows(catalog, wide)} sources are wider than 5 beams: their fluxes and sizes may be wrong, "
        "and sizes are limited by photometry.aper_sup"
    ]


def _given(catalog: QTable) -> list[str]:
    """Say which given sources are not on the map, and which have sizes that none on it can have."""
    said = []
    beside, small = (_with(catalog, flag) for flag in (Flag.NOT_ON_MAP, Flag.SIZE_BELOW_BEAM))
    if beside.size:
        advice = ": check the unit and frame of the positions" if beside.size == len(catalog) else ""
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
    given = _with(catalog, Flag.FORCED)
    rows = given[np.isfinite(places[given]).all(axis=1)]
    pairs = cKDTree(places[rows]).query_pairs(_SAME_PLACE * image.beam_fwhm_pix, output_type="ndarray")
    if not len(pairs):
        return []
    return [
        f"{_rows(catalog, rows[np.unique(pairs)])} given sources are within a tenth of a beam of another: "
        "their fluxes cannot be separated; give each source once"
    ]


def _hot_pixels(catalog: QTable) -> list[str]:
    """Say which rows are single bright pixels."""
    hot = _with(catalog, Flag.HOT_PIXEL)
    if not hot.size:
        return []
    return [
        f"{_rows(catalog, hot)} rows are bright pixels without the beam around them, not sources: mask "
        "them with io.mask; if all rows are such pixels, check the beam (survey.beam)"
    ]


def _rows(catalog: QTable, rows: IntArray) -> str:
    """Return `2 of 9 (HYPER_ID 3, 8)`."""
    return f"{rows.size} of {len(catalog)} (HYPER_ID {named(np.asarray(catalog['HYPER_ID'])[rows])})"


def _flagged(catalog: QTable, flags_of_doubt: Flag = _BAD) -> list[str]:
    """Say that most rows have flags, and which most of all."""
    if len(catalog) < _FEWEST:
        return []
    bad, n = _with(catalog, flags_of_doubt).size, len(catalog)
    if 2 * bad <= n:
        return []
    numbers = {flag: _with(catalog, flag).size for flag in FLAG_TEXT if flag & flags_of_doubt}
    most = max(numbers, key=lambda flag: numbers[flag])
    return [
        f"{bad} of {n} rows have flags, {numbers[most]} of them "
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
    x, y = (_numbers(catalog, name) for name in ("X", "Y"))
    x, y = (values[np.isfinite(x) & np.isfinite(y)] for values in (x, y))
    reach = _EDGE_BEAMS * image.beam_fwhm_pix
    step = max(1, int(BLANK_BEAMS * image.beam_fwhm_pix))
    height, width = (-(-n // step) for n in image.shape)
    rows = np.clip(np.rint(y / step).astype(int), 0, height - 1)
    columns = np.clip(np.rint(x / step).astype(int), 0, width - 1)
    if not image.is_whole:  # only the border is known
        far = [step * np.minimum(np.arange(n) + 1, n - np.arange(n)) > reach for n in (height, width)]
        return ~(far[0][rows] & far[1][columns]), 1.0 - float(far[0].mean() * far[1].mean())
    near, share = edge_zone(image, reach=_EDGE_BEAMS)
    return near[rows, columns], share
