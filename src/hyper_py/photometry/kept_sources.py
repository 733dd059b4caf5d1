"""Which of the measured sources of a map are kept, and which have the flux of the fit."""

from dataclasses import replace

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray
from hyper_py.diagnostics import Flag
from hyper_py.fitting.problem import AT_LARGEST
from hyper_py.numerics import gaussians
from hyper_py.photometry.measurements import MeasuredMap

CLEAR_SNR = 10.0
"""A wide source at a bound stays if its flux, one of the largest size if its detection is so clear."""
_RIDGE_RATIO = 2.5
"""What fills the largest size allowed and is so much longer than wide is a piece of a filament."""
_LOST_SHARE, _LOST_SNR, _LOST_SIZE = 0.2, 5.0, 0.7
"""Of what was found hardly anything is left where a source that stands alone has a flux below the first times
its significance, in errors, and below the second: true ones have 0.3 to 0.7 (less in complexes), rings and
rims of bright ones, from which a fit has moved away, less than 0.15. Then it is smaller than what was found
by the third, or held at the end of its way."""
_LEAST_WIDE_SNR = 3.0
"""Flux over its error of a wide source: where its shape is not known, what it describes is background."""
_LEAST_OF_FIT = 2.0
"""Flux of a fit over its error, where that is taken in place of the aperture's."""


def above_noise(
    measured: MeasuredMap,
    snr: FloatArray,
    *,
    wide_sigma: float = np.inf,
    largest_sigma: float = np.inf,
    apart: BoolArray | None = None,
    found_sigma: FloatArray | None = None,
) -> BoolArray:
    """Return which sources stay: of those of a group that are below their noise only the weakest goes.

    So do wide ones (sigma above `wide_sigma`, pixels) of which the flux is not known, or which are held
    by a bound without being clear, and those as large as is allowed (`largest_sigma`) that are long, or
    were not clearly detected: what they describe is background. Nor do those stay that have moved away
    from what was found, see `are_lost`.

    Two sources in one place both have large errors; without one of them the other is well determined.
    Sources that were added go before those that were detected.

    Parameters
    ----------
    measured : MeasuredMap
    snr : ndarray, shape (n_given,)
        Significance of the detections, which come first.
    apart : bool ndarray, shape (n,), optional
        Those that are False go in any case, and for now no other one of their groups.
    found_sigma : ndarray, shape (n_given,), optional
        Sigma of what was found, in pixels; without it nothing counts as lost.
    """
    table, n_given = measured.sources, snr.size
    major = table.parameters[:, gaussians.SIGMA_1]
    wide, filling = major > wide_sigma, major >= AT_LARGEST * largest_sigma
    clear = np.zeros(len(table), dtype=bool)
    clear[:n_given] = snr >= CLEAR_SNR
    # Held by a bound, they have no error later on.
    least = np.where(table.at_bound.any(axis=1), CLEAR_SNR, _LEAST_WIDE_SNR)
    below = table.is_below_noise | (wide & ~(table.flux >= least * table.flux_err))
    below |= are_ridges(table.parameters, largest_sigma=largest_sigma) | (filling & ~clear)
    if found_sigma is not None:
        below |= are_lost(measured, snr, found_sigma)
    kept = np.ones(len(table), dtype=bool) if apart is None else apart.copy()
    ratio = np.divide(table.flux, table.flux_err, out=np.zeros(len(table)), where=table.flux_err > 0.0)
    for group in measured.groups:
        failing = group.members[below[group.members]]
        if failing.size and kept[group.members].all():
            kept[failing[np.lexsort((ratio[failing], failing < n_given))[0]]] = False
    return kept


def are_lost(measured: MeasuredMap, snr: FloatArray, found_sigma: FloatArray) -> BoolArray:
    """Return which fits have hardly any of what was found: of clear detections that stand alone.

    Parameters
    ----------
    measured : MeasuredMap
    snr, found_sigma : ndarray, shape (n_given,)
        Significance of the detections, which come first, and the sigma of what was found, in pixels.
    """
    table, lost = measured.sources, np.zeros(len(measured.sources), dtype=bool)
    alone = [int(group.members[0]) for group in measured.groups if len(group.members) == 1]
    clear = np.array([k for k in alone if k < snr.size and snr[k] >= CLEAR_SNR], dtype=np.intp)
    least = np.minimum(_LOST_SHARE * snr[clear], _LOST_SNR)
    sigma_1, sigma_2 = table.parameters[clear, gaussians.SIGMA_1 : gaussians.THETA].T
    elsewhere = np.sqrt(sigma_1 * sigma_2) < _LOST_SIZE * found_sigma[clear]
    elsewhere |= table.at_bound[clear, gaussians.X : gaussians.Y + 1].any(axis=1)
    lost[clear] = elsewhere & (table.flux[clear] < least * table.flux_err[clear])
    return lost


def are_ridges(sources: FloatArray, *, largest_sigma: float) -> BoolArray:
    """Return which sources (n, 6) are as large as is allowed, and long: pieces of filaments or stripes."""
    major, minor = sources[:, gaussians.SIGMA_1], sources[:, gaussians.SIGMA_2]
    ridges: BoolArray = (major >= AT_LARGEST * largest_sigma) & (major > _RIDGE_RATIO * minor)
    return ridges


def with_fluxes_of_fits(measured: MeasuredMap, snr: FloatArray, *, wide_sigma: float) -> MeasuredMap:
    """Return the same with the flux of the fit where an aperture shows what a wide source leaves.

    The fit of a bright wide source may leave more in the aperture of a compact one in front of it than
    that one has. The error is multiplied by how much more than noise the fit of the group leaves.

    Parameters
    ----------
    measured : MeasuredMap
    snr : ndarray, shape (n_given,)
        Significance of the detections, which come first.
    wide_sigma : float
        Sigma above which a source is wide, in pixels.
    """
    table = measured.sources
    error = table.flux_gauss_err * np.sqrt(np.maximum(table.chi2_red, 1.0))
    chosen = (table.flux < table.flux_err) & (table.flux_gauss >= _LEAST_OF_FIT * error)
    chosen &= table.parameters[:, gaussians.SIGMA_1] <= wide_sigma
    chosen[: snr.size] &= snr >= CLEAR_SNR
    chosen[snr.size :] = False
    for group in measured.groups:
        if not chosen[group.members].any():
            continue
        sources = table.parameters[group.members]
        wide = sources[sources[:, gaussians.SIGMA_1] > wide_sigma]
        y, x = sources[:, [gaussians.Y, gaussians.X]].T
        light = gaussians.gaussian_sum(wide, y, x)
        chosen[group.members] &= light > sources[:, gaussians.AMPLITUDE]
    if not chosen.any():
        return measured
    table = replace(
        table, flux=np.where(chosen, table.flux_gauss, table.flux),
        flux_err=np.where(chosen, error, table.flux_err),
    )  # fmt: skip
    return replace(measured, sources=table).with_flags(Flag.FLUX_OF_FIT, chosen)
