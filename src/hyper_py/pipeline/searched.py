"""Detection in a part of a map only (`SkyImage.searched`), without harm from the sources beside it."""

from collections.abc import Callable
from typing import Any

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray
from hyper_py.detection.peaks import Peaks
from hyper_py.image import SkyImage
from hyper_py.numerics import gaussians
from hyper_py.numerics.pairs import pairs_within
from hyper_py.numerics.tiles import LazyPlane, combined, kept_like
from hyper_py.photometry.measurements import MeasuredMap

_NEIGHBOUR_BEAMS = 5.0
"""How near a source outside must be to one inside to count in its fit and aperture."""
_COMPANION_BEAMS = 1.5
"""How near to the part that is searched a source outside may have a companion inside."""
_NOTHING = 1e-6
"""Of its peak: what a point source has 2.2 beams from its centre."""


def peaks_inside(
    image: SkyImage, peaks: Peaks, *, measure: Callable[[SkyImage, Peaks], MeasuredMap] | None
) -> tuple[SkyImage, Peaks]:
    """Return the peaks in the part that is searched, and the map without the sources beside them.

    Sources outside whose light reaches those inside are fitted together with them and subtracted; the others
    are blank in that map, since the noise is measured on it.

    Parameters
    ----------
    image : SkyImage
    peaks : Peaks
        Of the whole map.
    measure : callable or None
        Fits peaks on a map; None to subtract nothing.

    Returns
    -------
    image : SkyImage
    peaks : Peaks
        Those inside, and after them the companions inside that the fit found beside sources outside.
    """
    inside = image.is_searched(peaks.x, peaks.y)
    if inside.all():
        return image, peaks
    own, others = peaks.select(inside), peaks.select(~inside)
    if measure is None:
        return image, own
    near = _reach_inside(image, others, own)
    image = _blanked(image, others.select(~near))
    if not near.any():
        return image, own
    rows = np.concatenate([np.flatnonzero(inside), np.flatnonzero(~inside)[near]])
    measured = measure(image, peaks.select(np.sort(rows)))
    fitted, n_given = measured.sources.parameters, measured.given.size
    outside = ~image.is_searched(fitted[:, gaussians.X], fitted[:, gaussians.Y])
    image = _combined(image, np.subtract, gaussians.drawn(fitted[outside], image.shape))
    added = np.flatnonzero(~outside & (np.arange(len(fitted)) >= n_given))
    return image, own.joined(_peaks_of(fitted[added], snr=measured.sources.snr[added]))


def _reach_inside(image: SkyImage, others: Peaks, own: Peaks) -> BoolArray:
    """Return which peaks outside are near one inside, or near the part that is searched."""
    places = np.column_stack([others.x, others.y])
    _, near = pairs_within(places, np.column_stack([own.x, own.y]), _NEIGHBOUR_BEAMS * image.beam_fwhm_pix)
    turn = np.arange(8) * np.pi / 4.0
    ring = places[:, None] + _COMPANION_BEAMS * image.beam_fwhm_pix * np.stack(
        [np.cos(turn), np.sin(turn)], axis=-1
    )
    reach = np.any(image.is_searched(*ring.reshape(-1, 2).T).reshape(-1, 8), axis=1)
    found: BoolArray = reach | np.isin(np.arange(len(others)), near)
    return found


def _peaks_of(fitted: FloatArray, *, snr: FloatArray) -> Peaks:
    """Return fitted sources as peaks."""
    nothing = np.full(len(fitted), np.nan)
    return Peaks(
        x=fitted[:, gaussians.X], y=fitted[:, gaussians.Y], peak=fitted[:, gaussians.AMPLITUDE], snr=snr,
        roundness=nothing, roundness_marginal=nothing, sharpness=nothing, shoulder_score=nothing,
    )  # fmt: skip


def _blanked(image: SkyImage, peaks: Peaks) -> SkyImage:
    """Return the map with peaks blank, out to where a point source is nothing: they are no noise."""
    if not len(peaks):
        return image
    shapes = gaussians.shape_parameters(image.beam_covariance(peaks.x, peaks.y))
    beams = np.column_stack([np.ones(len(peaks)), peaks.x, peaks.y, shapes])
    return _combined(
        image, lambda data, light: np.where(light > _NOTHING, np.nan, data),
        gaussians.drawn(beams, image.shape),
    )  # fmt: skip


def _combined(
    image: SkyImage, operation: Callable[[FloatArray, FloatArray], FloatArray], other: LazyPlane
) -> SkyImage:
    data: Any = kept_like(combined(operation, image.data, other), image.data)
    return image.with_data(data)
