"""Sources that are given instead of detected: positions, and shapes if known."""

from dataclasses import dataclass

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from numpy.typing import ArrayLike

from hyper_py.arrays import FloatArray
from hyper_py.detection.peaks import Peaks
from hyper_py.diagnostics import InputError
from hyper_py.geometry import (
    FWHM_PER_SIGMA,
    Ellipse,
    celestial_frame,
    pixel_ellipse_from_sky,
    pixel_from_celestial,
)
from hyper_py.image import SkyImage
from hyper_py.noise.level import NoiseLevel
from hyper_py.numerics.tiles import at


@dataclass(frozen=True, kw_only=True, eq=False)
class FixedSources:
    """Positions, and apertures if given, that are measured instead of detected ones.

    Attributes
    ----------
    longitude, latitude : ndarray, shape (n,)
        Degrees.
    frame : str
        "map" for the map's own frame, or an astropy frame name such as "icrs".
    fwhm_1, fwhm_2, pa : ndarray, shape (n,) or (1,), optional
        Shape in arcsec and degrees east of north; None leaves it to the fit. One value serves all.
    """

    longitude: FloatArray
    latitude: FloatArray
    frame: str = "map"
    fwhm_1: FloatArray | None = None
    fwhm_2: FloatArray | None = None
    pa: FloatArray | None = None

    def pixels(self, wcs: WCS) -> tuple[FloatArray, FloatArray]:
        """Return x, y on a map; NaN where its coordinates do not reach."""
        longitude, latitude = self.longitude, self.latitude
        if self.frame != "map":
            places = SkyCoord(longitude, latitude, unit="deg", frame=self.frame)
            own = places.transform_to(celestial_frame(wcs)).spherical
            longitude, latitude = own.lon.deg, own.lat.deg
        x, y = pixel_from_celestial(wcs, longitude, latitude)
        return x, y


def given_peaks(image: SkyImage, fixed: FixedSources, noise: NoiseLevel) -> Peaks:
    """Turn given positions into peaks.

    Raises
    ------
    InputError
        If a position is not on the map.
    """
    longitude, latitude = fixed.longitude, fixed.latitude
    x, y = fixed.pixels(image.wcs)
    ny, nx = image.shape
    inside = (x > -0.5) & (x < nx - 0.5) & (y > -0.5) & (y < ny - 0.5)
    if not inside.all():
        k = int(np.flatnonzero(~inside)[0])
        raise InputError(
            f"{image.name}: given source {k + 1} at ({longitude[k]:.6f}, {latitude[k]:.6f}) deg "
            f"is not on the map ({int((~inside).sum())} of {inside.size} are not): remove it from the list"
        )
    peak = at(image.data, np.rint(y).astype(int), np.rint(x).astype(int)) - noise.mean
    nothing = np.full(x.shape, np.nan)
    return Peaks(
        x=x, y=y, peak=peak, snr=peak / noise.at(x, y), roundness=nothing, roundness_marginal=nothing,
        sharpness=nothing, shoulder_score=nothing,
    )  # fmt: skip


def given_shapes(image: SkyImage, peaks: Peaks, fixed: FixedSources) -> FloatArray | None:
    """Return (sigma_1, sigma_2, theta) in pixels of given apertures, (n, 3); None if they are not given."""
    if fixed.fwhm_1 is None:
        return None
    jacobian = image.jacobian(peaks.x, peaks.y)

    def column(values: ArrayLike | None, default: ArrayLike) -> FloatArray:
        chosen = default if values is None else values
        return np.broadcast_to(np.asarray(chosen, dtype=np.float64), peaks.x.shape)

    major = column(fixed.fwhm_1, 0.0)
    ellipse = pixel_ellipse_from_sky(
        Ellipse(major, column(fixed.fwhm_2, major), column(fixed.pa, 0.0)), jacobian
    )
    return np.column_stack([ellipse.major / FWHM_PER_SIGMA, ellipse.minor / FWHM_PER_SIGMA, ellipse.angle])
