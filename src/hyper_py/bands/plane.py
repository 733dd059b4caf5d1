"""The plane on which the bands of a field are fitted: gnomonic offsets in arcsec from a centre."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from hyper_py.arrays import FloatArray
from hyper_py.geometry import ARCSEC_PER_RADIAN


@dataclass(frozen=True, kw_only=True)
class TangentPlane:
    """The plane that touches the sky at one point.

    Attributes
    ----------
    ra, dec : float
        ICRS degrees of that point.
    """

    ra: float
    dec: float

    @classmethod
    def around(cls, ra: ArrayLike, dec: ArrayLike) -> "TangentPlane":
        """Return the plane that touches the sky at the mean direction of positions in degrees."""
        x, y, z = (float(np.mean(part)) for part in _unit_vectors(ra, dec))
        return cls(
            ra=math.degrees(math.atan2(y, x)) % 360.0, dec=math.degrees(math.atan2(z, math.hypot(x, y)))
        )

    def offsets(self, ra: ArrayLike, dec: ArrayLike) -> FloatArray:
        """Return offsets (..., 2) in arcsec, east and north; NaN on the far half of the sky.

        Calabretta & Greisen (2002, A&A 395, 1077), section 5.1.3.
        """
        east, north, towards = self._components(np.stack(_unit_vectors(ra, dec)))
        with np.errstate(divide="ignore", invalid="ignore"):
            offsets = np.stack([east, north], axis=-1) / towards[..., None]
        result: FloatArray = np.where(towards[..., None] > 0.0, ARCSEC_PER_RADIAN * offsets, np.nan)
        return result

    def sky(self, offsets: ArrayLike) -> FloatArray:
        """Return ICRS right ascension and declination in degrees, shape (2, ...), of offsets (..., 2)."""
        east, north = np.moveaxis(np.asarray(offsets, dtype=np.float64), -1, 0) / ARCSEC_PER_RADIAN
        x, y, z = np.tensordot(self._axes().T, np.stack([east, north, np.ones_like(east)]), axes=1)
        return np.stack([np.degrees(np.arctan2(y, x)) % 360.0, np.degrees(np.arctan2(z, np.hypot(x, y)))])

    def _components(self, vectors: FloatArray) -> FloatArray:
        """Return the components (3, ...) of unit vectors: east, north, towards the centre."""
        result: FloatArray = np.tensordot(self._axes(), vectors, axes=1)
        return result

    def _axes(self) -> FloatArray:
        """Return east, north and the centre as unit vectors, shape (3, 3)."""
        a, d = math.radians(self.ra), math.radians(self.dec)
        return np.array(
            [
                [-math.sin(a), math.cos(a), 0.0],
                [-math.sin(d) * math.cos(a), -math.sin(d) * math.sin(a), math.cos(d)],
                [math.cos(d) * math.cos(a), math.cos(d) * math.sin(a), math.sin(d)],
            ]
        )


def _unit_vectors(ra: ArrayLike, dec: ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
    a, d = np.radians(np.asarray(ra, dtype=np.float64)), np.radians(np.asarray(dec, dtype=np.float64))
    return np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d) * np.ones_like(a)
