"""Sources as regions on the sky, for DS9, CASA and CARTA; and regions drawn there as sources to measure."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from astropy import units as u
from astropy.coordinates import FK4, FK5, ICRS, Galactic, SkyCoord
from astropy.table import Table

from hyper_py.arrays import FloatArray
from hyper_py.detection.given import FixedSources
from hyper_py.diagnostics import ConfigurationError
from hyper_py.geometry import (
    Ellipse,
    celestial_degrees,
    celestial_frame,
    pixel_from_celestial,
    sky_ellipse_from_pixel,
)
from hyper_py.image import SkyImage
from hyper_py.reading import areas
from hyper_py.writing.layout import REGION_KINDS, Layout
from hyper_py.writing.staging import Stage
from hyper_py.writing.table_columns import coordinate_decimals

_Drawn: TypeAlias = tuple[float, float, float, float, float]
"""Longitude and latitude in degrees, semi-axes in arcsec, position angle in degrees."""
_DS9_FRAMES = (ICRS(), Galactic(), FK5(equinox="J2000"), FK4(equinox="B1950"))


def write_regions(
    stage: Stage, layout: Layout, catalog: Table, image: SkyImage, *, name: str, fwhm_radius_ratio: float
) -> None:
    """Stage the region files of one map: centroids, and the ellipses of the apertures."""
    # What is read back lies within a millionth of a pixel.
    decimals = max(8, coordinate_decimals(image.pixel_scale) + 4)
    texts = ds9_texts(catalog, image.wcs, fwhm_radius_ratio=fwhm_radius_ratio, decimals=decimals)
    for kind, text in zip(REGION_KINDS, texts, strict=True):
        stage.text(layout.region(name, kind), text)
    stage.text(
        layout.crtf(name),
        crtf_text(catalog, image.wcs, fwhm_radius_ratio=fwhm_radius_ratio, decimals=decimals),
    )


def ds9_texts(catalog: Table, wcs: Any, *, fwhm_radius_ratio: float, decimals: int = 12) -> tuple[str, str]:
    """Return the centroids and the apertures of a catalogue as DS9 region files.

    Written by columns: region by region, 500 sources take as long as finding and measuring them.

    Parameters
    ----------
    catalog : Table
        With columns HYPER_ID, X, Y, FWHM_1, FWHM_2, PA of `hyper_py.catalog`.
    wcs : astropy.wcs.WCS
        Celestial, two axes: the map's.
    fwhm_radius_ratio : float
        Semi-axes of the apertures over the fitted FWHM.
    decimals : int
        Of positions in degrees.

    Returns
    -------
    centroids, ellipses : str
        Labelled by HYPER_ID, in the map's own frame, or ICRS where DS9 does not know that. Sources without
        a position are left out, those without a size are among the centroids only.
    """
    x, y, major, minor, angle = (_values(catalog[name]) for name in ("X", "Y", "FWHM_1", "FWHM_2", "PA"))
    place, angle = _on_the_sky(wcs, x, y, angle)
    longitude, latitude = place.spherical.lon.deg, place.spherical.lat.deg
    semi_axes = fwhm_radius_ratio / 3600.0 * np.column_stack([major, minor])
    # DS9 counts from west to north where east is left: a quarter turn from position angles.
    turn = np.mod(angle + 90.0, 180.0)
    points, ellipses = [], []
    for i in np.flatnonzero(np.isfinite(x + y)).tolist():
        centre = f"{longitude[i]:.{decimals}f},{latitude[i]:.{decimals}f}"
        label = f"# text={{{catalog['HYPER_ID'][i]}}}"
        points.append(f"point({centre}) {label}")
        a, b = semi_axes[i]
        if np.isfinite(a + b + turn[i]):
            ellipses.append(f"ellipse({centre},{a:.12e},{b:.12e},{turn[i]:.{decimals}f}) {label}")
    head = "# Region file format: DS9 astropy/regions"
    points_text, ellipses_text = (
        "\n".join([head, place.frame.name, *lines] if lines else [head]) + "\n"
        for lines in (points, ellipses)
    )
    return points_text, ellipses_text


def _values(column: Any) -> FloatArray:
    return np.asarray(getattr(column, "value", column), dtype=np.float64)


def _on_the_sky(wcs: Any, x: FloatArray, y: FloatArray, angle: FloatArray) -> tuple[SkyCoord, FloatArray]:
    """Return positions, and position angles in degrees from the north of the positions' frame."""
    place = _sky(wcs, x, y)
    if any(place.frame.is_equivalent_frame(known) for known in _DS9_FRAMES):
        return place, angle
    return _turned(place, angle, "icrs")


def crtf_text(catalog: Table, wcs: Any, *, fwhm_radius_ratio: float, decimals: int = 12) -> str:
    """Return the apertures of a catalogue as a CASA region file (CRTF), for CASA and CARTA.

    Parameters
    ----------
    catalog, wcs, fwhm_radius_ratio
        As in `ds9_texts`.
    decimals : int
        Of positions in degrees.

    Returns
    -------
    str
        Ellipses in ICRS: semi-axes, and the position angle of the first, labelled by HYPER_ID.
    """
    x, y, major, minor, angle = (_values(catalog[name]) for name in ("X", "Y", "FWHM_1", "FWHM_2", "PA"))
    place, angle = _turned(_sky(wcs, x, y), angle, "icrs")
    longitude, latitude = place.ra.deg, place.dec.deg
    lines = ["#CRTFv0 CASA Region Text Format version 0"]
    for i in np.flatnonzero(np.isfinite(x + y + major + minor + angle)):
        centre = f"[{longitude[i]:.{decimals}f}deg, {latitude[i]:.{decimals}f}deg]"
        axes = ", ".join(f"{fwhm_radius_ratio * size[i]:.9g}arcsec" for size in (major, minor))
        label = f"coord=ICRS, label='{catalog['HYPER_ID'][i]}'"
        lines.append(f"ellipse [{centre}, [{axes}], {angle[i]:.7f}deg] {label}")
    return "\n".join(lines) + "\n"


def read_regions(path: Path, image: SkyImage, *, fwhm_radius_ratio: float) -> FixedSources:
    """Read sources to measure from a region file: ellipses and circles are apertures, points positions.

    Excluded regions (`-circle(...)`), of any shape, are no sources, and leave out the others in them.

    Parameters
    ----------
    path : Path
        DS9 or CRTF; on the sky in any frame, or in pixels of the map.
    image : SkyImage
        The map.
    fwhm_radius_ratio : float
        Semi-axes of apertures over FWHM.

    Returns
    -------
    FixedSources
        In the order of the file and the map's own frame. Sizes are left to the fit if there are points
        only; points among ellipses have the size of the beam.

    Raises
    ------
    ConfigurationError
        If the file is none of these, is empty, or holds other shapes.
    """
    found = areas.read_regions(path)
    return sources_of_regions(found, image, where=str(path), fwhm_radius_ratio=fwhm_radius_ratio)


def sources_of_regions(
    found: Sequence[Any], image: SkyImage, *, where: str, fwhm_radius_ratio: float
) -> FixedSources:
    """Return the sources that regions of the package regions mark, as `read_regions` does those of a file.

    `where` begins the messages.
    """
    regions = [_on_map(region, where, image) for region in found if not areas.is_excluded(region)]
    if not regions:
        raise ConfigurationError(f"{where}: no region in it: draw ellipses, circles or points")
    excluded = [region for region in found if areas.is_excluded(region)]
    if excluded:
        regions = _outside(regions, excluded, where, image)
    lon, lat, major, minor, angle = np.array(regions).T
    if np.isnan(major).all():
        return FixedSources(longitude=lon, latitude=lat)
    point, beam = np.isnan(major), image.beam
    scale = np.where(point, 1.0, 1.0 / fwhm_radius_ratio)
    return FixedSources(
        longitude=lon,
        latitude=lat,
        fwhm_1=scale * np.where(point, beam.major, major),
        fwhm_2=scale * np.where(point, beam.minor, minor),
        pa=np.where(point, beam.pa, angle),
    )


def _outside(regions: list[_Drawn], excluded: list[Any], where: str, image: SkyImage) -> list[_Drawn]:
    """Return the regions whose centres are not in excluded ones."""
    x, y = pixel_from_celestial(image.wcs, *np.array(regions).T[:2])
    kept = replace(image, searched=areas.regions_plane(excluded, image.wcs, image.shape, option=where))
    inside = [one for one, is_kept in zip(regions, kept.is_searched(x, y), strict=True) if is_kept]
    if not inside:
        raise ConfigurationError(f"{where}: all regions lie in excluded ones (-...): none is left to measure")
    return inside


def _on_map(region: Any, where: str, image: SkyImage) -> _Drawn:
    """Return longitude and latitude in degrees, semi-axes in arcsec and position angle in the map's frame."""
    kind = type(region).__name__
    shape = kind.removesuffix("PixelRegion").removesuffix("SkyRegion")
    if shape not in ("Ellipse", "Circle", "Point"):
        raise ConfigurationError(
            f"{where}: a region of the kind {shape.lower()}: "
            "only ellipses, circles and points can be measured"
        )
    if kind.endswith("PixelRegion"):
        return _from_pixels(region, shape, image)
    own = celestial_frame(image.wcs)
    if shape == "Point":
        place = region.center.transform_to(own).spherical
        return float(place.lon.deg), float(place.lat.deg), np.nan, np.nan, np.nan
    if shape == "Circle":
        major = minor = region.radius.to_value("arcsec")
        turn = 0.0
    else:
        width, height = (0.5 * side.to_value("arcsec") for side in (region.width, region.height))
        # The height is along the meridian where the angle is 0.
        major, minor, turn = max(width, height), min(width, height), region.angle.to_value("deg")
        turn = turn - 90.0 if width > height else turn
    place, angle = _turned(region.center, np.asarray(turn), own)
    place = place.spherical
    return float(place.lon.deg), float(place.lat.deg), major, minor, float(np.mod(angle, 180.0))


def _from_pixels(region: Any, shape: str, image: SkyImage) -> _Drawn:
    x, y = float(region.center.x), float(region.center.y)
    lon, lat = (float(value) for value in celestial_degrees(image.wcs, x, y))
    if shape == "Point":
        return lon, lat, np.nan, np.nan, np.nan
    width, height = (region.width, region.height) if shape == "Ellipse" else (2.0 * region.radius,) * 2
    angle = region.angle.to_value("rad") if shape == "Ellipse" else 0.0
    ellipse = Ellipse(np.asarray(0.5 * width), np.asarray(0.5 * height), np.asarray(angle))
    sky = sky_ellipse_from_pixel(ellipse, image.jacobian(x, y))
    return lon, lat, float(sky.major), float(sky.minor), float(sky.angle)


def _sky(wcs: Any, x: FloatArray, y: FloatArray) -> SkyCoord:
    longitude, latitude = celestial_degrees(wcs, x, y)
    return SkyCoord(longitude * u.deg, latitude * u.deg, frame=celestial_frame(wcs))


def _turned(place: SkyCoord, angle: FloatArray, frame: Any) -> tuple[SkyCoord, FloatArray]:
    """Return positions in another frame, and position angles in degrees from its north."""
    other = place.transform_to(frame)
    if place.is_equivalent_frame(other.frame):
        return other, angle
    along = place.directional_offset_by(angle * u.deg, 1.0 * u.arcsec).transform_to(frame)
    return other, np.mod(other.position_angle(along).deg, 180.0)
