"""Whether a map was divided by the response of its primary beam: its names, or noise that rises outwards."""

import re
from typing import Any

import numpy as np

from hyper_py.arrays import FloatArray

_CORRECTED = re.compile(r"pb_?cor|pbcorimage", re.IGNORECASE)
_TASK = re.compile(r"\bimpbcor\b", re.IGNORECASE)
_KEYS = re.compile(r"TYPE|BTYPE|OBJECT|FILNAM\d+|FILENAME|ORIGFILE")
_CELLS = 12
"""Cells along the shorter side in which the noise is measured."""
_FEWEST_PIXELS = 25
_LEAST_RISE, _LEAST_CORRELATION = 1.5, 0.8
"""Noise of the outer quarter of the map over that of the inner one; rank correlation of noise and distance
from the middle, of which chance makes 0.2 in a hundred cells."""
_LEAST_WHERE_NAMED = 1.15, 0.4
"""The same for a map whose names say that it is divided by the primary beam."""
ADVICE = "give the response as io.primary_beam (and io.primary_beam_corrected), or the errors as io.error_hdu"


def corrected_by_name(name: str, header: Any) -> str:
    """Return what says that a map is divided by its primary beam; empty if nothing does.

    Parameters
    ----------
    name : str
        Of the map.
    header : astropy.io.fits.Header
    """
    if _CORRECTED.search(name):
        return f"its name, {name}"
    for key in header:
        if _KEYS.fullmatch(key) and _CORRECTED.search(str(header[key])):
            return f"{key} = {header[key]}"
    if any(_TASK.search(str(line)) for line in header.get("HISTORY", [])):
        return "its HISTORY"
    return ""


def noise_rise(
    data: FloatArray, *, least: float = _LEAST_RISE, correlation: float = _LEAST_CORRELATION
) -> float | None:
    """Return by which factor the noise rises from the inner to the outer quarter of a map.

    None if it does not rise everywhere with the distance from the middle, as in a map that was divided by the
    response of one pointing, or covered best in its middle.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
        Blank pixels are NaN.
    least, correlation : float
        Smallest factor, and smallest rank correlation of noise and distance, that count.
    """
    side = max(min(data.shape) // _CELLS, 1)
    ny, nx = (n // side for n in data.shape)
    if side**2 < _FEWEST_PIXELS:
        return None
    # Differences of neighbours: structure wider than a pixel or two leaves little in them.
    steps = np.diff(data, axis=1, append=np.nan)[: ny * side, : nx * side]
    cells = steps.reshape(ny, side, nx, side).swapaxes(1, 2).reshape(ny * nx, side * side)
    enough = np.count_nonzero(np.isfinite(cells), axis=1) >= _FEWEST_PIXELS
    known = np.flatnonzero(enough)
    if known.size < 0.25 * ny * nx or known.size < _CELLS:
        return None
    noise = np.nanmedian(np.abs(cells[known]), axis=1)
    y, x = np.divmod(known, nx)
    radius = np.hypot(y - y.mean(), x - x.mean())
    if not (noise > 0.0).all() or rank_correlation(radius, noise) < correlation:
        return None
    inner, outer = (np.quantile(radius, share) for share in (0.25, 0.75))
    rise = float(np.median(noise[radius >= outer]) / np.median(noise[radius <= inner]))
    return rise if rise >= least else None


def rank_correlation(x: FloatArray, y: FloatArray) -> float:
    """Return Spearman's correlation of two samples (n,), as `scipy.stats`, which is slow to import, has it.

    Equal values share the mean of their ranks. The result is 0 if all values of a sample are equal.
    """
    ranks = []
    for values in (x, y):
        _, place, count = np.unique(values, return_inverse=True, return_counts=True)
        mean = np.cumsum(count) - 0.5 * (count - 1)
        ranks.append(mean[place] - 0.5 * (len(values) + 1))
    norm = float(np.sqrt(np.prod([one @ one for one in ranks])))
    return float(ranks[0] @ ranks[1]) / norm if norm > 0.0 else 0.0


def primary_beam_remark(name: str, header: Any, data: FloatArray | None) -> str:
    """Return what is said of a map without errors and primary beam; empty if there is nothing to say.

    Parameters
    ----------
    name, header
        As in `corrected_by_name`.
    data : ndarray, shape (ny, nx), optional
        The pixels, if they are in memory: a name alone says nothing then.
    """
    named = corrected_by_name(name, header)
    least, correlation = _LEAST_WHERE_NAMED if named else (_LEAST_RISE, _LEAST_CORRELATION)
    rise = None if data is None else noise_rise(data, least=least, correlation=correlation)
    if rise is None and (data is not None or not named):
        return ""
    risen = "" if rise is None else f", here by a factor of {rise:.2g}"
    if named:
        return f"the map is divided by its primary beam ({named}): its noise rises outwards{risen}; {ADVICE}"
    return (
        f"the noise rises outwards{risen}, as in a map that is divided by its primary beam or covered less "
        f"at its edges: {ADVICE}"
    )
