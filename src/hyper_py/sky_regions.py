"""Sources as regions on the sky, for DS9 and other viewers."""

from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import FK4, FK5, ICRS, Galactic, SkyCoord
from astropy.table import Table
from astropy.wcs.utils import wcs_to_celestial_frame

from hyper_py.geometry import FloatArray, celestial_degrees

_DS9_FRAMES = (ICRS(), Galactic(), FK5(equinox="J2000"), FK4(equinox="B1950"))


def source_regions(catalog: Table, wcs: Any, *, fwhm_radius_ratio: float) -> tuple[Any, Any]:
    """Return the centroids and the apertures of a catalogue as regions on the sky.

    Parameters
    ----------
    catalog : Table
        With columns HYPER_ID, X, Y, FWHM_1, FWHM_2, PA of `hyper_py.catalog`.
    wcs : astropy.wcs.WCS
        Celestial, two axes: the map's.
    fwhm_radius_ratio : float
        Semi-axes of the apertures over the fitted FWHM.

    Returns
    -------
    centroids, ellipses : regions.Regions
        Labelled by HYPER_ID, in the map's own frame, or ICRS where DS9 does not know that. Sources without
        a position are left out, those without a size are among the centroids only.
    """
    from regions import EllipseSkyRegion, PointSkyRegion, RegionMeta, Regions

    x, y, major, minor, angle = (_values(catalog[name]) for name in ("X", "Y", "FWHM_1", "FWHM_2", "PA"))
    place, angle = _on_the_sky(wcs, x, y, angle)
    labels = [str(label) for label in catalog["HYPER_ID"]]
    centroids = [
        PointSkyRegion(place[i], meta=RegionMeta(text=labels[i])) for i in np.flatnonzero(np.isfinite(x + y))
    ]
    width, height = (2.0 * fwhm_radius_ratio * size * u.arcsec for size in (major, minor))
    # regions and DS9 count from west to north where east is left: a quarter turn from position angles.
    turn = (np.mod(angle + 90.0, 180.0)) * u.deg
    ellipses = [
        EllipseSkyRegion(place[i], width[i], height[i], angle=turn[i], meta=RegionMeta(text=labels[i]))
        for i in np.flatnonzero(np.isfinite(x + y + major + minor + angle))
    ]
    return Regions(centroids), Regions(ellipses)


def _values(column: Any) -> FloatArray:
    return np.asarray(getattr(column, "value", column), dtype=np.float64)


def _on_the_sky(wcs: Any, x: FloatArray, y: FloatArray, angle: FloatArray) -> tuple[SkyCoord, FloatArray]:
    """Return positions, and position angles in degrees from the north of the positions' frame."""
    frame = wcs_to_celestial_frame(wcs)
    longitude, latitude = celestial_degrees(wcs, x, y)
    place = SkyCoord(longitude * u.deg, latitude * u.deg, frame=frame)
    if any(frame.is_equivalent_frame(known) for known in _DS9_FRAMES):
        return place, angle
    along = place.directional_offset_by(angle * u.deg, 1.0 * u.arcsec)
    return place.icrs, place.icrs.position_angle(along.icrs).deg
