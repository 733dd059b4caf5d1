"""Rows of a catalogue that are side lobes: they line up with bright sources, in one direction for all."""

import numpy as np
from scipy import special

from hyper_py.arrays import BoolArray, FloatArray, IntArray

_FAINT = 0.2
"""Side lobes are fainter than this share of the source they belong to."""
_MOST_BRIGHT = 10
"""Sources around which they are looked for."""
_NEAREST, _FARTHEST, _HALF_WIDTH = 2.0, 30.0, 0.5
"""Distance of side lobes along a line through the source, and across it, in beams."""
_N_ANGLES = 180
_BESIDE = 6, 12
"""Angles, in degrees, from the direction of the lines to others: a plane of sources is wide in angle."""
_ARMS = 2
"""Directions that are tried: of a cross, one may happen to go through two of the sources."""
_FEWEST, _FEWEST_SOURCES = 3, 3
"""Rows on the line through a source, and sources with as many; two may share a filament."""
_CHANCE_OF_ONE, _CHANCE = 0.02, 1e-7
"""Probability of as many rows on the line through one source, and through all of them."""


def lined_up(x: FloatArray, y: FloatArray, peak: FloatArray, *, fwhm: float) -> tuple[IntArray, int]:
    """Find rows that line up with several bright sources in one direction.

    Lines through two sources that are close to each other, such as along one filament, count once.

    Parameters
    ----------
    x, y, peak : ndarray, shape (n,)
        Pixels, and any unit.
    fwhm : float
        Of the beam in pixels.

    Returns
    -------
    rows : ndarray of int
        Those on the lines; none if there are not many more than in other directions.
    n_sources : int
        Bright sources with such lines.
    """
    nothing = np.empty(0, dtype=np.intp), 0
    if not x.size:
        return nothing
    bright = np.argsort(-peak, kind="stable")[:_MOST_BRIGHT]
    angle = np.pi / _N_ANGLES * np.arange(_N_ANGLES)
    direction = np.column_stack([np.cos(angle), np.sin(angle)])
    east, north = (values - values[bright][:, None] for values in (x / fwhm, y / fwhm))
    distance = np.hypot(east, north)
    is_faint = (peak < _FAINT * peak[bright][:, None]) & (distance > _NEAREST) & (distance < _FARTHEST)
    across = direction[:, 0, None, None] * north - direction[:, 1, None, None] * east
    on_line: BoolArray = is_faint & (np.abs(across) < _HALF_WIDTH)  # (angle, source, row)
    count = on_line.sum(axis=2)
    turns = [sign * turn for turn in range(*_BESIDE) for sign in (-1, 1)]
    beside = np.mean([np.roll(count, turn, axis=0) for turn in turns], axis=0)
    usual = np.maximum(count.mean(axis=0), beside)
    is_clear = (count >= _FEWEST) & (special.pdtrc(count - 1, usual) < _CHANCE_OF_ONE)
    clear = (count * is_clear).sum(axis=1)
    for _ in range(_ARMS):
        best = int(clear.argmax())
        place = direction[best, 0] * y[bright] / fwhm - direction[best, 1] * x[bright] / fwhm
        own = _apart(np.flatnonzero(is_clear[best]), place)
        number, expected = int(count[best, own].sum()), float(usual[best, own].sum())
        if len(own) >= _FEWEST_SOURCES and special.pdtrc(number - 1, expected) < _CHANCE:
            return np.flatnonzero((on_line & is_clear[..., None])[:, own].any(axis=(0, 1))), len(own)
        clear[np.arange(best - _BESIDE[1], best + _BESIDE[1] + 1) % _N_ANGLES] = 0
    return nothing


def _apart(sources: IntArray, place: FloatArray) -> list[int]:
    """Return the sources of which no brighter one has nearly the same line."""
    chosen: list[int] = []
    for source in sources.tolist():
        if all(abs(place[source] - place[other]) > 2.0 * _HALF_WIDTH for other in chosen):
            chosen.append(source)
    return chosen
