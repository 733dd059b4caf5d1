"""Sources that are given instead of found."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from hyper_py.arrays import FloatArray
from hyper_py.bands.band import Band
from hyper_py.bands.estimates import Estimates
from hyper_py.bands.plane import TangentPlane
from hyper_py.bands.shapes import bounded, unique_elements
from hyper_py.detection.given import FixedSources
from hyper_py.diagnostics import Flag
from hyper_py.geometry import covariance_from_ellipse, position_angle_to_east_angle


def given_sources(bands: Sequence[Band], fixed: FixedSources, plane: TangentPlane) -> Estimates:
    """Return given sources on the plane, in the order given; flagged as forced, and where no map has them.

    Positions in the frame of "the map" are in that of the first band. Shapes that are not said to be
    intrinsic are those in the sharpest band, and have its beam taken out.
    """
    sky = fixed.sky(bands[0].image.wcs).icrs
    position = plane.offsets(sky.ra.deg, sky.dec.deg)
    n, sharpest = len(position), min(bands, key=lambda band: band.fwhm)
    shape = np.zeros((n, 3))
    if fixed.fwhm_1 is not None:
        shape = _covariances(fixed, n)
        if not fixed.intrinsic:
            beam = sharpest.beams(position)
            shape = bounded(shape - beam, low=np.zeros(n), high=np.full(n, np.inf))
    seen = np.column_stack([band.sees(position) for band in bands])
    flags = np.full(n, int(Flag.FORCED), dtype=np.int64)
    flags |= np.where(seen.any(axis=1), 0, int(Flag.NOT_ON_MAP))
    estimates = Estimates.of(
        position, shape=shape, scale=np.full(n, sharpest.fwhm), significance=np.full(n, np.nan),
        flux=np.zeros(seen.shape),
    )  # fmt: skip
    return replace(estimates, seen=seen, flags=flags)


def _covariances(fixed: FixedSources, n: int) -> FloatArray:
    """Return the given shapes as covariances in arcsec^2, (n, 3)."""

    def column(values: ArrayLike | None, default: ArrayLike) -> FloatArray:
        chosen = default if values is None else values
        return np.broadcast_to(np.asarray(chosen, dtype=np.float64), (n,))

    major = column(fixed.fwhm_1, 0.0)
    angle = position_angle_to_east_angle(column(fixed.pa, 0.0))
    return unique_elements(covariance_from_ellipse(major, column(fixed.fwhm_2, major), angle))
