"""Ellipses, beams and angles: between pixels and the sky, between covariance and FWHM.

Angles are radians counter-clockwise from +x on the pixel grid, and degrees east of north on the sky.
An ellipse on the pixel grid is `(fwhm_major, fwhm_minor, theta)`. Ellipses are rotated, stretched and
subtracted as covariance matrices of shape (..., 2, 2).
"""

from __future__ import annotations  # short signatures in notebooks

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

from hyper_py.arrays import FloatArray
from hyper_py.diagnostics import InputError

if TYPE_CHECKING:
    from astropy.units import Quantity

FWHM_PER_SIGMA = 2.0 * math.sqrt(2.0 * math.log(2.0))
GAUSSIAN_AREA = math.pi / (4.0 * math.log(2.0))
"""A Gaussian of peak 1 has the integral GAUSSIAN_AREA * fwhm_major * fwhm_minor."""
ARCSEC_PER_RADIAN = math.degrees(1.0) * 3600.0
_NEWTON_STEPS, _NEWTON_TOLERANCE = 12, 1e-6
"""Steps that invert distortions, and what the last may still change, in pixels."""


class Ellipse(NamedTuple):
    """FWHM of the major and minor axis and the angle of the major axis; numbers or arrays of one shape."""

    major: FloatArray
    minor: FloatArray
    angle: FloatArray


def covariance_from_ellipse(major: ArrayLike, minor: ArrayLike, angle: ArrayLike) -> FloatArray:
    """Return the covariance of a Gaussian from its FWHM and the angle of its major axis.

    Parameters
    ----------
    major, minor : array_like
        FWHM, any unit.
    angle : array_like
        Radians from the first coordinate axis towards the second.

    Returns
    -------
    ndarray, shape (..., 2, 2)
        Covariance in the squared unit of the FWHM.
    """
    a = (np.asarray(major, dtype=np.float64) / FWHM_PER_SIGMA) ** 2
    b = (np.asarray(minor, dtype=np.float64) / FWHM_PER_SIGMA) ** 2
    cos, sin = np.cos(angle), np.sin(angle)
    cxx, cyy, cxy = a * cos**2 + b * sin**2, a * sin**2 + b * cos**2, (a - b) * sin * cos
    return np.stack([np.stack([cxx, cxy], axis=-1), np.stack([cxy, cyy], axis=-1)], axis=-2)


def ellipse_from_covariance(covariance: ArrayLike) -> Ellipse:
    """Return FWHM and angle of the major axis of Gaussians from their covariances.

    Parameters
    ----------
    covariance : array_like, shape (..., 2, 2)
        Symmetric; a negative eigenvalue gives an axis of 0.

    Returns
    -------
    Ellipse
        FWHM in the unit of the covariance's root, angle in radians in [0, pi).
    """
    c = np.asarray(covariance, dtype=np.float64)
    cxx, cxy, cyy = c[..., 0, 0], c[..., 0, 1], c[..., 1, 1]
    mean, half = 0.5 * (cxx + cyy), np.hypot(0.5 * (cxx - cyy), cxy)
    major = FWHM_PER_SIGMA * np.sqrt(np.maximum(mean + half, 0.0))
    minor = FWHM_PER_SIGMA * np.sqrt(np.maximum(mean - half, 0.0))
    angle = np.mod(0.5 * np.arctan2(2.0 * cxy, cxx - cyy), math.pi)
    return Ellipse(major, minor, angle)


def transform_covariance(covariance: ArrayLike, jacobian: ArrayLike) -> FloatArray:
    """Return J C J^T: the covariance after the linear map `jacobian`, both of shape (..., 2, 2)."""
    j = np.asarray(jacobian, dtype=np.float64)
    result: FloatArray = j @ np.asarray(covariance, dtype=np.float64) @ np.swapaxes(j, -1, -2)
    return result


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class PsfResidual:
    """Residual of an image of the point spread function from the Gaussian of its beam.

    Attributes
    ----------
    values : ndarray, shape (ny, nx)
        In units of the Gaussian's peak.
    centre : (float, float)
        Pixel x, y of the Gaussian's centre.
    sides : (float, float)
        Arcsec east for one pixel along x, and arcsec north for one pixel along y.
    """

    values: FloatArray
    centre: tuple[float, float]
    sides: tuple[float, float]

    def __repr__(self) -> str:
        ny, nx = self.values.shape
        return f"PsfResidual({nx} x {ny} pixels of {abs(self.sides[0]):.4g} arcsec)"

    def on_grid(self, jacobian: FloatArray, *, reach: int) -> FloatArray:
        """Return the residual on the pixels of a map, centred, shape (2 reach + 1, 2 reach + 1).

        `jacobian`, shape (2, 2), has the arcsec east and north of one pixel along the map's x and y.
        """
        offsets = np.mgrid[-reach : reach + 1, -reach : reach + 1][::-1].reshape(2, -1)
        x, y = (jacobian @ offsets) / np.array(self.sides)[:, None] + np.array(self.centre)[:, None]
        seen: FloatArray = ndimage.map_coordinates(self.values, [y, x], order=3)
        return seen.reshape(2 * reach + 1, 2 * reach + 1)


@dataclass(frozen=True, kw_only=True)
class Beam:
    """A Gaussian beam on the sky.

    Sizes, angle and area may be given as quantities; they are converted to the units below.

    Attributes
    ----------
    major, minor : float
        FWHM in arcsec, major >= minor > 0.
    pa : float
        Position angle of the major axis, degrees east of north.
    area : float, optional
        Effective area in arcsec2 where it was measured; None means that of the Gaussian.
    wings : float
        FWHM in arcsec of the wings that the area includes beyond the Gaussian; infinite if not known.
    psf_residual : PsfResidual, optional
        Residual of the beam from its Gaussian, if an image of the beam is known.
    source : str
        Where the numbers come from, for the log and for `inspect`.

    Raises
    ------
    InputError
        If something is no number, in a unit of another kind, or impossible.

    Examples
    --------
    >>> from astropy import units as u
    >>> Beam(major=18 * u.arcsec, minor=0.25 * u.arcmin)
    Beam(major=18.0, minor=15.0, pa=0.0, source='given')
    """

    major: float
    minor: float
    pa: float = 0.0
    area: float | None = None
    wings: float = math.inf
    psf_residual: PsfResidual | None = None
    source: str = "given"

    if TYPE_CHECKING:

        def __init__(
            self, *, major: float | Quantity, minor: float | Quantity, pa: float | Quantity = 0.0,
            area: float | Quantity | None = None, wings: float | Quantity = math.inf,
            psf_residual: PsfResidual | None = None, source: str = "given",
        ) -> None: ...  # fmt: skip

    def __repr__(self) -> str:
        shown = [f"{name}={getattr(self, name)!r}" for name in ("major", "minor", "pa")]
        shown += [] if self.area is None else [f"area={self.area!r}"]
        shown += [] if math.isinf(self.wings) else [f"wings={self.wings!r}"]
        shown += [] if self.psf_residual is None else [f"psf_residual={self.psf_residual!r}"]
        return f"Beam({', '.join(shown)}, source={self.source!r})"

    def __post_init__(self) -> None:
        for name, unit in _BEAM_UNITS.items():
            value = getattr(self, name)
            if type(value) is not float and not (name == "area" and value is None):
                object.__setattr__(self, name, _number_in(value, unit, what=f"Beam({name}={value!r})"))
        sizes = (self.major, self.minor, self.pa)
        if not all(map(math.isfinite, sizes)) or not self.major >= self.minor > 0:
            raise InputError(
                f"beam of {self.major} x {self.minor} arcsec, angle {self.pa} ({self.source}): "
                "the axes must be positive numbers, major >= minor"
            )
        if self.area is not None and not 0 < self.area < math.inf:
            raise InputError(f"beam area of {self.area} arcsec2 ({self.source}): must be a positive number")
        if not self.wings > self.major:
            raise InputError(
                f"beam wings of {self.wings} arcsec ({self.source}): must be wider than the beam"
            )

    @property
    def solid_angle(self) -> float:
        """Beam area in arcsec2: measured if known, else that of the Gaussian."""
        return GAUSSIAN_AREA * self.major * self.minor if self.area is None else self.area

    @property
    def is_dirty(self) -> bool:
        """Whether it is the dirty beam of an interferometer, known from its image: it has no integral."""
        return self.psf_residual is not None and self.area is None

    @property
    def fwhm(self) -> float:
        """Geometric mean FWHM in arcsec."""
        return math.sqrt(self.major * self.minor)

    def flux_factor(self, fwhm: ArrayLike) -> FloatArray:
        """Return the ratio of a source's flux to that of its fitted Gaussian: 1 for a Gaussian beam.

        The beam is modelled as two Gaussians, core and wings, whose sum has peak 1 and the beam's area. A
        Gaussian source on the sky is then the sum of two Gaussians on the map. A single Gaussian of the same
        peak, with the size of the source convolved with the core, has (g + q u) / (1 + q u) of the flux. Here
        g is the area of the core's Gaussian over the beam's, u the squared FWHM of the core over that of the
        wings, and q the squared FWHM of the source over that of the core. For point sources the factor is 1/g
        for any wings; for sources much wider than the wings it is 1.

        Parameters
        ----------
        fwhm : array_like
            Geometric mean FWHM of fitted Gaussians in arcsec.
        """
        size = np.asarray(fwhm, dtype=np.float64)
        if self.area is None:
            return np.ones(size.shape)
        core = GAUSSIAN_AREA * self.major * self.minor / self.area
        wide = np.maximum((size / self.fwhm) ** 2 - 1.0, 0.0) * (self.fwhm / self.wings) ** 2
        factor: FloatArray = (1.0 + wide) / (core + wide)
        return factor

    @property
    def covariance(self) -> FloatArray:
        """Covariance in (east, north) in arcsec2, shape (2, 2)."""
        return covariance_from_ellipse(self.major, self.minor, position_angle_to_east_angle(self.pa))


_BEAM_UNITS = {"major": "arcsec", "minor": "arcsec", "pa": "deg", "area": "arcsec2", "wings": "arcsec"}
"""Of the numbers of a `Beam`."""


def _number_in(value: Any, unit: str, *, what: str) -> float:
    """Return a number, or a quantity in a unit."""
    try:
        if isinstance(value, str | bytes | bool):
            raise TypeError
        return float(value.to_value(unit) if hasattr(value, "to_value") else value)
    except (TypeError, ValueError):  # a unit that cannot be converted is a TypeError too
        example = "400 * u.arcsec**2" if unit == "arcsec2" else f"18 * u.{unit}"
        raise InputError(f"{what}: give one number in {unit}, or a quantity such as {example}") from None


def position_angle_to_east_angle(pa: ArrayLike) -> FloatArray:
    """Turn degrees east of north into radians from east towards north."""
    return 0.5 * math.pi - np.radians(np.asarray(pa, dtype=np.float64))


def local_jacobian(wcs: Any, x: ArrayLike, y: ArrayLike) -> FloatArray:
    """Return the Jacobian of the map's coordinates on the sky at given positions.

    Central differences of the full WCS are taken between unit vectors, so that longitude wraps and poles
    need no special care. Rotation, parity, non-square pixels and distortion are included.

    Parameters
    ----------
    wcs : astropy.wcs.WCS
        Celestial, two axes (longitude and latitude in either order).
    x, y : array_like, shape (...)
        Zero-based pixel coordinates.

    Returns
    -------
    ndarray, shape (..., 2, 2)
        [[dE/dx, dE/dy], [dN/dx, dN/dy]] in arcsec per pixel, north and east of the map's own frame;
        NaN outside the projection.
    """
    x, y = np.broadcast_arrays(np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64))
    dx = np.array([0.0, 0.5, -0.5, 0.0, 0.0]).reshape(5, *[1] * x.ndim)
    dy = np.array([0.0, 0.0, 0.0, 0.5, -0.5]).reshape(5, *[1] * x.ndim)
    lon, lat = np.radians(celestial_degrees(wcs, x + dx, y + dy))
    points = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)
    lon, lat = lon[0], lat[0]
    east = np.stack([-np.sin(lon), np.cos(lon), np.zeros_like(lon)], axis=-1)
    north = np.stack([-np.sin(lat) * np.cos(lon), -np.sin(lat) * np.sin(lon), np.cos(lat)], axis=-1)
    steps = np.stack([points[1] - points[2], points[3] - points[4]], axis=-1)
    axes = np.stack([east, north], axis=-2)
    result: FloatArray = ARCSEC_PER_RADIAN * (axes @ steps)
    return result


def celestial_frame(wcs: Any) -> Any:
    """Return the frame of the sky of a WCS.

    CTYPE decides for galactic, ecliptic (mean, of the equinox) and supergalactic coordinates. RADESYS is
    ignored for them: wcslib sets it where the file has none, and many galactic maps have one. The frame of RA
    and DEC is the one that astropy reads: ICRS, FK5 or FK4.

    Returns
    -------
    astropy.coordinates.BaseCoordinateFrame

    Raises
    ------
    InputError
        If the coordinates cannot be transformed to ICRS: those of the Sun, of planets, of the Earth, or of an
        unknown RADESYS.
    """
    from astropy import coordinates
    from astropy.time import Time
    from astropy.wcs.utils import wcs_to_celestial_frame

    kind = wcs.wcs.ctype[wcs.wcs.lng][:4]
    if kind == "GLON":
        return coordinates.Galactic()
    if kind == "SLON":
        return coordinates.Supergalactic()
    if kind == "ELON":
        equinox = wcs.wcs.equinox if np.isfinite(wcs.wcs.equinox) else 2000.0
        return coordinates.BarycentricMeanEcliptic(equinox=Time(equinox, format="jyear"))
    try:
        frame = wcs_to_celestial_frame(wcs)
    except ValueError:
        frame = None
    if kind != "RA--" or frame is None:
        what = ", ".join(wcs.wcs.ctype) + (f" of RADESYS {wcs.wcs.radesys}" if wcs.wcs.radesys else "")
        raise InputError(f"coordinates {what} cannot be turned into ICRS: correct CTYPE or RADESYS")
    return frame


def grid_nodes(n: int, number: int) -> FloatArray:
    """Return distinct positions from 0 to n - 1, an odd number of them."""
    return np.linspace(0.0, n - 1.0, number) if n > 1 else np.zeros(1)


def reference_jacobian(wcs: Any, shape: tuple[int, int]) -> FloatArray:
    """Return the Jacobian (2, 2) in arcsec/pixel at the reference pixel, or at the centre of the map.

    The centre is used if the reference pixel is off the map. If the centre is outside the projection, the
    nearest point of a coarse grid inside the projection is used.

    Raises
    ------
    InputError
        If no point of the grid is on the sky, or all have the same coordinates.
    """
    ny, nx = shape
    x, y = wcs.wcs.crpix - 1.0
    centre = 0.5 * (nx - 1), 0.5 * (ny - 1)
    if not (0 <= x <= nx - 1 and 0 <= y <= ny - 1):
        x, y = centre
    jacobian = local_jacobian(wcs, x, y)
    if np.isfinite(jacobian).all():
        if np.linalg.det(jacobian) == 0.0:
            raise InputError("pixels have no area on the sky: correct the coordinates")
        return jacobian
    x, y = np.meshgrid(grid_nodes(nx, 33), grid_nodes(ny, 33))
    jacobians = local_jacobian(wcs, x, y)
    distance = np.where(
        np.isfinite(jacobians).all(axis=(-1, -2)), np.hypot(x - centre[0], y - centre[1]), np.inf
    )
    nearest = np.unravel_index(np.argmin(distance), distance.shape)
    if not np.isfinite(distance[nearest]):
        raise InputError("no pixel of the map is on the sky: correct the coordinates")
    result: FloatArray = jacobians[nearest]
    return result


def celestial_degrees(wcs: Any, x: ArrayLike, y: ArrayLike) -> FloatArray:
    """Return longitude and latitude in degrees, shape (2, ...), whichever of the two axes comes first.

    The whole transformation is used, with SIP and tabulated distortions.
    """
    shape = np.shape(x)
    pixels = np.column_stack([np.ravel(x), np.ravel(y)])
    with np.errstate(over="ignore", invalid="ignore"):  # a polynomial far off the map
        world = wcs.all_pix2world(pixels, 0)
    result: FloatArray = world[:, [wcs.wcs.lng, wcs.wcs.lat]].T.reshape(2, *shape)
    return result


def pixel_from_celestial(wcs: Any, longitude: ArrayLike, latitude: ArrayLike) -> FloatArray:
    """Return zero-based x and y, shape (2, ...), from degrees in the map's own frame.

    With distortions the inverse is found by Newton's method, starting without them. Places at which it does
    not converge, far off the map, are NaN.
    """
    shape = np.shape(longitude)
    world = np.empty((np.size(longitude), 2))
    world[:, wcs.wcs.lng], world[:, wcs.wcs.lat] = np.ravel(longitude), np.ravel(latitude)
    pixels: FloatArray = wcs.wcs_world2pix(world, 0)
    if wcs.has_distortion:
        pixels = _undistorted(wcs, pixels)
    return pixels.T.reshape(2, *shape)


def _undistorted(wcs: Any, flat: FloatArray) -> FloatArray:
    """Return the pixels, shape (n, 2), that the distortions of a WCS take to `flat`."""
    pixels = flat.copy()
    steps = np.array([[0.0, 0.0], [0.5, 0.0], [-0.5, 0.0], [0.0, 0.5], [0.0, -0.5]])
    with np.errstate(all="ignore"):
        for _ in range(_NEWTON_STEPS):
            seen = wcs.pix2foc((pixels[:, None] + steps).reshape(-1, 2), 0).reshape(-1, 5, 2)
            (a, c), (b, d) = (seen[:, 1] - seen[:, 2]).T, (seen[:, 3] - seen[:, 4]).T
            u, v = (flat - seen[:, 0]).T
            change = np.column_stack([d * u - b * v, a * v - c * u]) / (a * d - b * c)[:, None]
            pixels = pixels + change
        pixels[~(np.hypot(*change.T) < _NEWTON_TOLERANCE)] = np.nan
    return pixels


def sky_ellipse_from_pixel(ellipse: Ellipse, jacobian: FloatArray) -> Ellipse:
    """Turn an ellipse on the pixel grid into one on the sky.

    Parameters
    ----------
    ellipse : Ellipse
        FWHM in pixels, angle in radians from +x.
    jacobian : ndarray, shape (..., 2, 2)
        From `local_jacobian` at the place of the ellipse.

    Returns
    -------
    Ellipse
        FWHM in arcsec; angle in degrees east of north, in [0, 180).
    """
    sky = ellipse_from_covariance(transform_covariance(covariance_from_ellipse(*ellipse), jacobian))
    return Ellipse(sky.major, sky.minor, np.mod(90.0 - np.degrees(sky.angle), 180.0))


def pixel_ellipse_from_sky(ellipse: Ellipse, jacobian: FloatArray) -> Ellipse:
    """Turn an ellipse on the sky into one on the pixel grid: the inverse of `sky_ellipse_from_pixel`."""
    covariance = covariance_from_ellipse(
        ellipse.major, ellipse.minor, position_angle_to_east_angle(ellipse.angle)
    )
    return ellipse_from_covariance(transform_covariance(covariance, np.linalg.inv(jacobian)))
