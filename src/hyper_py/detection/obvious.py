"""Sources that fill a map of few beams, taken off before its noise is measured.

Where there are a few beams in all, hardly a pixel shows noise alone: what the sources leave when they are
fitted does.
"""

import numpy as np

from hyper_py.arrays import FloatArray
from hyper_py.detection.bright import Fit, beam_sized
from hyper_py.detection.field import Field
from hyper_py.detection.maxima import find_maxima
from hyper_py.numerics.gaussians import AMPLITUDE, N_PARAMETERS, render
from hyper_py.numerics.medians import scatter

MOST_BEAMS = 50.0
"""A map of more has enough of them without sources."""
LEAST_SHARE = 0.1
"""Maxima below this share of the highest are left to the search."""
LEAST_SIGMA = 20.0
"""Amplitude over the scatter of what all fits leave. A fit takes noise with it: with 10 there were 4 false
sources on 150 maps of noise, 2.5 to 8 beams wide, with 20 none."""


def obvious_sources(field: Field, *, fit: Fit, size: float) -> FloatArray:
    """Return the sources (n, 6) of a small map that stand far above what is left without them.

    None on a map of many beams, and none where nothing stands out.

    Parameters
    ----------
    field : Field
    fit : Fit
    size : float
        Of the Gaussians that fits begin with, in beams.
    """
    nothing = np.empty((0, N_PARAMETERS))
    if not field.keep or field.n_beams > MOST_BEAMS:
        return nothing
    everywhere = slice(0, field.shape[0]), slice(0, field.shape[1])
    data, inner = field.data[everywhere], field.inner(everywhere)
    if not inner.any():
        return nothing
    level = np.median(data[inner])
    above = np.where(inner, data - level, 0.0)
    highest = float(above.max())
    if highest <= 1.0:  # the scatter of the map: what is lower fills nothing
        return nothing
    peaks = find_maxima(field, above, threshold=LEAST_SHARE * highest)
    x, y = peaks.points.T
    sources = beam_sized(x, y, peaks.value, beam_covariance=field.family.beam_covariance, size=size)
    while len(sources):
        fitted = fit(data, sources, np.ones(len(sources), dtype=np.bool_))
        done = np.isfinite(fitted).all(axis=1)
        sources, fitted = sources[done], fitted[done]
        noise = scatter((data - render(fitted, field.shape))[inner])
        order = np.argsort(fitted[:, AMPLITUDE])
        n_fainter = int(np.count_nonzero(fitted[:, AMPLITUDE] < LEAST_SIGMA * noise))
        if not n_fainter:
            return fitted
        # Without the faintest the others may stand out less, or more.
        sources = sources[np.sort(order[(n_fainter + 1) // 2 :])]
    return nothing
