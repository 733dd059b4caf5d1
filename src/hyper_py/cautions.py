"""Warnings about a catalogue as a whole: most rows flagged, or crowded along edges."""

import re
from collections.abc import Mapping

import numpy as np
from astropy.table import QTable
from scipy import ndimage, special
from scipy.spatial import cKDTree

from hyper_py.arrays import BoolArray, FloatArray, IntArray
from hyper_py.detection.hot_pixels import are_hot_pixels
from hyper_py.diagnostics import FLAG_TEXT, Flag
from hyper_py.image import SkyImage
from hyper_py.noise.covariance import clipped_statistics
from hyper_py.noise.level import NoiseLevel
from hyper_py.numerics.tiles import LazyPlane, sample

_BAD = (
    Flag.BLANK_PIXELS | Flag.EDGE | Flag.SIZE_AT_BOUND | Flag.POSITION_AT_BOUND | Flag.AMPLITUDE_AT_BOUND
    | Flag.NOT_CONVERGED | Flag.FIT_FAILED | Flag.NOISE_ASSUMED | Flag.BACKGROUND_POOR | Flag.NEGATIVE_FLUX
    | Flag.NO_ERROR
)  # fmt: skip
"""Flags that say that something of a row is not to be trusted."""
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
_SAME_PLACE = 0.1
"""Distance in beams below which the fluxes of two sources cannot be told apart."""
_DARK = 20.0
"""Times the noise below the mean."""
_ALONE = 0.1
"""Of the depth of a dark pixel: its neighbours have less. Seen through 1.5 pixels, they have 0.3."""
_SAME_VALUE = 1e-4
_MOST_DARK, _FEWEST_REPEATED = 1000, 4
"""Dark pixels that are looked at; pixels of one dark value that are no chance."""
_BLANK_BEAMS = 0.5
"""Blank regions smaller than this, in beams, are no edge."""
_ISLAND_BEAMS, _ISLAND_SHARE = 2.0, 0.95
"""A map of which this share is within so many beams of an edge, most of it blank, is one of islands."""
_LONG, _NARROW, _FEWEST_LONG = 2.5, 1.3, 3
"""Beams along and across from and up to which a row is a piece of a line; fewer may be galaxies."""
_CLEAR, _FEWEST_ALIKE = 10.0, 8
"""Signal to noise of the rows of which sizes are compared with the beam, and how many are needed."""
_ALIKE, _OTHER_BEAM = 0.04, 0.1
"""Scatter of sizes up to which all are one, and by how much that must differ from the beam's."""


def cautions(catalog: QTable, image: SkyImage, noise: NoiseLevel | None = None) -> tuple[str, ...]:
    """Return warnings, one line each.

    Parameters
    ----------
    catalog : QTable
        As an extraction makes it.
    image : SkyImage
        Its map.
    noise : NoiseLevel, optional
        What the extraction took for the noise of the map.

    Returns
    -------
    tuple of str
        Values that were taken for blank or look like it, an error that the file has and that was not used,
        a beam that is not known, wider than a quarter of the map or smaller than a pixel, what was assumed of
        given sources, those that are not on the map, smaller than its beam or at one place, pixels that are
        too dark or too bright to be seen through the beam, a map of islands, sources that all have one size
        which is not the beam's, pieces of lines, most rows flagged, rows that crowd along edges.
        Empty if there is nothing to say.
    """
    said = _of_image(image)
    said += [*image.meta.get("given", ()), *_given(catalog), *_given_twice(catalog, image)]
    said += [*_wide_beam(image), *_small_beam(image), *_dark_pixels(image, noise), *_nowhere(catalog, image)]
    said += [*_units(image, noise)]
    said += [*_islands(image), *_other_beam(catalog, image), *_lines(catalog, image)]
    said += _hot_pixels(catalog) + _wide_sources(catalog) + _flagged(catalog) + _crowded(catalog, image)
    return tuple(said)


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
        of_map = (*_of_image(image), *_wide_beam(image), *_small_beam(image), *_units(image, None))
        said += [f"{name}: {text}" for text in (*of_map, *_dark_pixels(image, own_level(image)))]
    flags = np.asarray(catalog["FLAGS"]).astype(np.int64)
    differs = np.flatnonzero(flags & int(Flag.SHAPE_DIFFERS))
    if differs.size > max(_FEWEST, _OTHER_SIZES * flags.size):
        said.append(
            f"{_rows(catalog, differs)} sources differ in size between bands, so fluxes with a common shape "
            "are biased; set bands.shape to free"
        )
    # What is too faint for one of the bands may be negative there.
    return (*said, *_given(catalog), *_flagged(catalog, _BAD & ~Flag.NEGATIVE_FLUX))


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
    instrument, per = str(image.meta.get("instrument", "")), _PER.search(image.unit)
    usual = next((unit for name, unit in _USUAL_UNITS.items() if name in instrument.upper()), None)
    if usual is not None and per is not None and (per[0].lower() == "pix") != (usual == "Jy/pixel"):
        said.append(
            f"the unit is {image.unit}, but maps of {instrument} are usually in {usual}: check the unit "
            "(units.bunit)"
        )
    return said


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


def _dark_pixels(image: SkyImage, noise: NoiseLevel | None) -> list[str]:
    """Say that some pixels are darker than anything seen through the beam, and are blank in all likelihood.

    Many pixels of one value are found when the map is read (`reading.fill`); these are the few.
    """
    if noise is None or not image.is_whole or not noise.typical > 0.0:
        return []
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


def _nowhere(catalog: QTable, image: SkyImage) -> list[str]:
    """Say that sources were looked for nowhere on the map."""
    if len(catalog) or image.searched is None or np.any(sample(np.asarray(image.searched, dtype=np.float64))):
        return []
    return ["detection.region contains no pixel of this map: nothing was searched"]


def _islands(image: SkyImage) -> list[str]:
    """Say that a map is blank but for islands, which show no noise."""
    if not image.is_whole:
        return []
    blank = 1.0 - np.count_nonzero(np.isfinite(image.data)) / image.data.size
    if blank < 0.5 or _near_edge(image, reach=_ISLAND_BEAMS)[1] < _ISLAND_SHARE:
        return []
    return [
        f"{blank:.0%} of the map is blank and all of the rest near that: islands around sources do not show "
        "the noise, and most sources are missed; use the map before it was masked"
    ]


def _other_beam(catalog: QTable, image: SkyImage) -> list[str]:
    """Say that clear sources all have one size that is not the beam's."""
    if not {"FWHM_1", "FWHM_2", "SNR", "FLAGS"} <= set(catalog.colnames) or not len(catalog):
        return []
    size = np.sqrt(_numbers(catalog, "FWHM_1") * _numbers(catalog, "FWHM_2")) / image.beam.fwhm
    taken = np.asarray(catalog["FLAGS"]).astype(np.int64) & int(Flag.SIZE_AT_BOUND | Flag.SHAPE_ASSUMED)
    size = size[(np.abs(_numbers(catalog, "SNR")) > _CLEAR) & (taken == 0) & np.isfinite(size)]
    if size.size < _FEWEST_ALIKE:
        return []
    typical = float(np.median(size))
    scatter = 1.4826 * float(np.median(np.abs(size - typical)))
    if scatter > _ALIKE * typical or abs(typical - 1.0) < _OTHER_BEAM:
        return []
    per = _PER.search(image.unit)
    effect = "peaks" if per is None or per[0].lower() == "pix" else "fluxes"
    why, wrong = "if they are points", f"{effect} are too large by a factor of {typical**2:.2f}"
    if typical < 1.0:
        why, wrong = "which none can be", f"{effect} are too small by a factor of {typical**-2:.2f}"
    return [
        f"the {size.size} clearest sources are all {typical:.2f} times as wide as the beam; {why}, the beam "
        f"is {typical * image.beam.fwhm:.3g} arcsec and {wrong}: check it (survey.beam)"
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


def _numbers(catalog: QTable, name: str) -> FloatArray:
    """Return a column without its unit; masked values are NaN."""
    values = np.ma.asarray(getattr(catalog[name], "value", catalog[name]), dtype=np.float64)
    return np.asarray(np.ma.filled(values, np.nan))


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
    x, y = (_numbers(catalog, name) for name in ("X", "Y"))
    x, y = (values[np.isfinite(x) & np.isfinite(y)] for values in (x, y))
    reach = _EDGE_BEAMS * image.beam_fwhm_pix
    step = max(1, int(_BLANK_BEAMS * image.beam_fwhm_pix))
    height, width = (-(-n // step) for n in image.shape)
    rows = np.clip(np.rint(y / step).astype(int), 0, height - 1)
    columns = np.clip(np.rint(x / step).astype(int), 0, width - 1)
    if not image.is_whole:  # only the border is known
        far = [step * np.minimum(np.arange(n) + 1, n - np.arange(n)) > reach for n in (height, width)]
        return ~(far[0][rows] & far[1][columns]), 1.0 - float(far[0].mean() * far[1].mean())
    near, share = _near_edge(image, reach=_EDGE_BEAMS)
    return near[rows, columns], share


def _near_edge(image: SkyImage, *, reach: float) -> tuple[BoolArray, float]:
    """Return which places of a grid are within so many beams of an edge, and the share of the map that is."""
    step = max(1, int(_BLANK_BEAMS * image.beam_fwhm_pix))
    # One blank pixel between others is no edge.
    valid = np.pad(np.isfinite(image.data[::step, ::step]), 2)
    valid = ndimage.binary_closing(valid, np.ones((3, 3)))[2:-2, 2:-2]
    distance = step * ndimage.distance_transform_edt(np.pad(valid, 1))[1:-1, 1:-1]
    near: BoolArray = distance <= reach * image.beam_fwhm_pix
    return near, float(np.mean(near[valid])) if valid.any() else 1.0
