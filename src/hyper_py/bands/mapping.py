"""Pixels of a map and the tangent plane of the field: a smooth function, from a grid of exact positions."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hyper_py.arrays import FloatArray
from hyper_py.bands.plane import TangentPlane
from hyper_py.diagnostics import InputError
from hyper_py.geometry import celestial_degrees, celestial_frame
from hyper_py.image import SkyImage

if TYPE_CHECKING:
    from scipy.interpolate import RectBivariateSpline

_NODES = 25
"""Along each axis: cubic splines through so many are exact to 1e-6 of a pixel on maps of some degrees."""
_MARGIN = 0.25
"""The grid reaches beyond the map by this share of its sides, and by at least `_LEAST_MARGIN` pixels."""
_LEAST_MARGIN = 10.0
_NEWTON_STEPS, _NEWTON_TOLERANCE = 20, 1e-9


@dataclass(frozen=True, eq=False)
class PixelMapping:
    """Position on the plane, arcsec, as a function of pixel, and back.

    Attributes
    ----------
    east, north : RectBivariateSpline
        Of y and x on the map.
    low, high : ndarray, shape (2,)
        Ends of the grid, x and y.
    size : int
        Side of the bins of map pixels that are the pixels here.
    """

    east: "RectBivariateSpline"
    north: "RectBivariateSpline"
    low: FloatArray
    high: FloatArray
    size: int = 1

    @classmethod
    def of(cls, image: SkyImage, plane: TangentPlane) -> "PixelMapping":
        """Return the mapping of a map.

        Raises
        ------
        InputError
            If a part of the map is too far from the centre of the plane.
        """
        from scipy.interpolate import RectBivariateSpline  # slow to import

        ny, nx = image.shape
        margins = [max(_MARGIN * n, _LEAST_MARGIN) for n in (nx, ny)]
        for share in (1.0, 0.0):  # beyond some maps there is no sky
            x, y = (
                np.linspace(-share * margin, n - 1.0 + share * margin, _NODES)
                for n, margin in zip((nx, ny), margins, strict=True)
            )
            nodes = plane.offsets(*icrs_degrees(image.wcs, *np.meshgrid(x, y)))
            if np.isfinite(nodes).all():
                break
        else:
            raise InputError(
                f"{image.name}: a part of it is more than 90 degrees from the middle of the maps, or not "
                "on the sky: cut it to the field"
            )
        east, north = (RectBivariateSpline(y, x, nodes[..., k]) for k in (0, 1))
        return cls(east, north, np.array([x[0], y[0]]), np.array([x[-1], y[-1]]))

    def position(self, pixels: FloatArray) -> FloatArray:
        """Return positions (n, 2) on the plane of pixels (n, 2), order (x, y)."""
        return self._position(self.on_map(pixels))

    def jacobian(self, pixels: FloatArray) -> FloatArray:
        """Return arcsec east and north for a pixel along x and y, (n, 2, 2)."""
        return self.size * self._jacobian(self.on_map(pixels))

    def on_map(self, pixels: FloatArray) -> FloatArray:
        """Return the pixels of the map, (n, 2), at the places of pixels (n, 2)."""
        return pixels * self.size + 0.5 * (self.size - 1)

    def _position(self, pixels: FloatArray) -> FloatArray:
        x, y = pixels.T
        return np.column_stack([self.east.ev(y, x), self.north.ev(y, x)])

    def _jacobian(self, pixels: FloatArray) -> FloatArray:
        x, y = pixels.T
        return np.stack(
            [
                np.stack([spline.ev(y, x, dy=1), spline.ev(y, x, dx=1)], axis=-1)
                for spline in (self.east, self.north)
            ],
            axis=-2,
        )

    def pixels(self, position: FloatArray) -> FloatArray:
        """Return pixels (n, 2), order (x, y), of positions (n, 2), by Newton's method.

        Beyond the grid they are those of its ends continued linearly: right enough to say that they are off
        the map.
        """
        pixels = np.tile(0.5 * (self.low + self.high), (len(position), 1))
        for _ in range(_NEWTON_STEPS):
            inside = np.clip(pixels, self.low, self.high)
            jacobian = self._jacobian(inside)
            seen = self._position(inside) + np.einsum("nij,nj->ni", jacobian, pixels - inside)
            change = np.linalg.solve(jacobian, (position - seen)[..., None])[..., 0]
            pixels = pixels + change
            if not np.abs(change).max(initial=0.0) > _NEWTON_TOLERANCE:
                break
        return (pixels - 0.5 * (self.size - 1)) / self.size


def icrs_degrees(wcs: Any, x: FloatArray, y: FloatArray) -> FloatArray:
    """Return ICRS right ascension and declination in degrees, shape (2, ...), of pixels; NaN off the sky."""
    from astropy.coordinates import SkyCoord

    longitude, latitude = celestial_degrees(wcs, x, y)
    known = np.isfinite(longitude) & np.isfinite(latitude)
    sky = SkyCoord(longitude[known], latitude[known], unit="deg", frame=celestial_frame(wcs)).icrs
    result = np.full((2, *longitude.shape), np.nan)
    result[:, known] = sky.ra.deg, sky.dec.deg
    return result
