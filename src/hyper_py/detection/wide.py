"""Sources wider than two beams: a filter with a wide template, and a rule of its own.

The wide filter sees compact sources and their blends, too. A peak counts by what the compact ones near it do
not explain, and must be more significant than they are: structure of the background looks like wide sources.
"""

import numpy as np

from hyper_py.arrays import FloatArray
from hyper_py.detection.field import Field
from hyper_py.detection.filtering import measure_filter
from hyper_py.detection.maxima import Maxima, refined
from hyper_py.detection.search import LOWEST, TEMPLATE, Searched, look
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.numerics.pairs import pairs_within
from hyper_py.numerics.tiles import at

WIDE_TEMPLATE = 2.3
"""Beams."""
WIDE_FACTOR = 1.15
"""The significance of wide sources is divided by this."""
EXPLAINED_BEAMS = 3.0
"""Compact peaks this near are looked at for what they explain."""
OWN_BEAMS = 1.2
"""A compact peak this near to a wide one is the same source."""


def search_wide(field: Field, found: Searched) -> Searched:
    """Search the map less its bright sources with the wide filter."""
    view = measure_filter(field, found.planes, found.masks, before=found.view.noise, template=WIDE_TEMPLATE)
    return look(field, view, found.bright, found.masks, found.planes)


def unexplained(field: Field, wide: Searched, compact: Searched) -> tuple[FloatArray, FloatArray]:
    """Return wide peaks less what compact ones near them explain.

    Parameters
    ----------
    field : Field
    wide, compact : Searched
        The search with each of the filters.

    Returns
    -------
    points : ndarray, shape (n, 2)
        Order (x, y).
    sigma : ndarray, shape (n,)
        What is left, in units of the noise; peaks below `LOWEST` are left out.
    """
    peaks, others = wide.peaks, compact.peaks
    explained = np.zeros(peaks.x.size)
    place, other = pairs_within(others.points, peaks.points, EXPLAINED_BEAMS * field.fwhm)
    away = np.hypot(*(others.points[other] - peaks.points[place]).T) * FWHM_PER_SIGMA / field.fwhm
    response = field.family.response_at(np.full(away.size, TEMPLATE), away) @ wide.view.weights.values[-1]
    amplitude = at(compact.view.amplitude, others.y[other], others.x[other])
    np.add.at(explained, place, amplitude * response)
    own = at(wide.view.amplitude, peaks.y, peaks.x)
    share = 1.0 - np.clip(explained / np.where(own > 0.0, own, np.inf), 0.0, 1.0)
    sigma = share * peaks.value
    kept = np.flatnonzero(sigma >= LOWEST)
    chosen: Maxima = peaks.select(kept)
    return refined(field, wide.significance, chosen), sigma[kept]
