"""Sources that are given instead of detected: positions, and shapes if known."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from astropy.coordinates import SkyCoord, frame_transform_graph
from astropy.wcs import WCS
from numpy.typing import ArrayLike, NDArray

from hyper_py.arrays import BoolArray, FloatArray, IntArray
from hyper_py.detection.peaks import Peaks
from hyper_py.diagnostics import InputError
from hyper_py.display import Summarised, Summary, listed
from hyper_py.geometry import (
    FWHM_PER_SIGMA,
    Beam,
    Ellipse,
    celestial_frame,
    covariance_from_ellipse,
    ellipse_from_covariance,
    pixel_ellipse_from_sky,
    pixel_from_celestial,
)
from hyper_py.image import SkyImage
from hyper_py.noise.level import NoiseLevel
from hyper_py.numerics.tiles import at

_SMALLEST_SIZE = 0.9
"""Of the beam: fitted sizes of point sources scatter by some percent."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FixedSources(Summarised):
    """Positions, and apertures if given, that are measured instead of detected ones.

    Attributes
    ----------
    longitude, latitude : array_like or Quantity, shape (n,)
        Degrees; quantities are converted.
    frame : str
        "map" for the map's own frame, or an astropy frame name such as "icrs".
    fwhm_1, fwhm_2, pa : array_like or Quantity, shape (n,) or (1,), optional
        Shape in arcsec and degrees east of north; None leaves it to the fit. One value serves all.
    intrinsic : bool
        Whether the shapes are those on the sky: each map's beam is added.
    ids : ndarray of str, shape (n,), optional
        Identifiers of the user's; the column ID of the catalogue.
    numbers : int ndarray, shape (n,), optional
        HYPER_ID of each; None counts from 1.
    notes : tuple of str
        What was assumed about them.

    Raises
    ------
    InputError
        If values are no numbers, their numbers differ, or astropy has no such frame.

    Examples
    --------
    >>> FixedSources(longitude=[10.0, 11.0], latitude=[-5.0, -6.0], frame="icrs").hyper_ids.tolist()
    [1, 2]
    """

    longitude: FloatArray
    latitude: FloatArray
    frame: str = "map"
    fwhm_1: FloatArray | None = None
    fwhm_2: FloatArray | None = None
    pa: FloatArray | None = None
    intrinsic: bool = False
    ids: NDArray[np.str_] | None = None
    numbers: IntArray | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, unit in _UNITS.items():
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, _numbers(value, unit, name=name))
        n = self.longitude.size
        sizes = {name: getattr(self, name).size for name in _UNITS if getattr(self, name) is not None}
        sizes |= {} if self.ids is None else {"ids": np.size(self.ids)}
        for name, size in sizes.items():
            if size != n and not (size == 1 and name in ("fwhm_1", "fwhm_2", "pa")):
                raise InputError(f"FixedSources: {size} values of {name} for {n} of longitude: give as many")
        if self.frame != "map" and self.frame not in frame_transform_graph.get_names():
            raise InputError(
                f"FixedSources: frame={self.frame!r} is not known: 'map' is that of the map, others are "
                "those of astropy, such as 'icrs', 'fk5' or 'galactic'"
            )

    def _summary(self) -> Summary:
        n = self.longitude.size
        shapes = "left to the fit"
        if self.fwhm_1 is not None:
            low, high = float(np.min(self.fwhm_1)), float(np.max(self.fwhm_1))
            shapes = f"FWHM_1 {low:.4g} to {high:.4g} arcsec, " + (
                "on the sky: the beam is added" if self.intrinsic else "on the map"
            )
        places = (f"({x:.5f}, {y:.5f})" for x, y in zip(self.longitude, self.latitude, strict=True))
        facts = [("positions", f"{listed(places, most=3)} deg, frame {self.frame}"), ("shapes", shapes)]
        if self.ids is not None:
            facts.append(("ids", listed(map(str, self.ids))))
        facts += [("note", note) for note in self.notes]
        return Summary(title=f"FixedSources: {n} source{'' if n == 1 else 's'}", facts=tuple(facts))

    @property
    def hyper_ids(self) -> IntArray:
        """HYPER_ID of each source."""
        return np.arange(1, self.longitude.size + 1) if self.numbers is None else self.numbers

    def only(self, kept: BoolArray) -> "FixedSources":
        """Return some of the sources, with their numbers."""
        names = ("longitude", "latitude", "fwhm_1", "fwhm_2", "pa", "ids")
        values = {name: getattr(self, name) for name in names}
        each = {name: v[kept] for name, v in values.items() if v is not None and v.size == kept.size}
        return replace(self, **each, numbers=self.hyper_ids[kept])

    def sky(self, wcs: WCS) -> SkyCoord:
        """Return the positions on the sky; `wcs` is that of the map."""
        frame = celestial_frame(wcs) if self.frame == "map" else self.frame
        return SkyCoord(self.longitude, self.latitude, unit="deg", frame=frame)

    def on_map(self, image: SkyImage) -> BoolArray:
        """Return which sources are on the map, blank pixels included."""
        x, y = self.pixels(image.wcs)
        ny, nx = image.shape
        inside: BoolArray = (x > -0.5) & (x < nx - 0.5) & (y > -0.5) & (y < ny - 0.5)
        return inside

    def below_beam(self, beam: Beam) -> BoolArray:
        """Return which given sizes no source on a map of this beam can have."""
        if self.fwhm_1 is None or self.intrinsic:
            return np.zeros(self.longitude.size, dtype=np.bool_)
        minor = self.fwhm_1 if self.fwhm_2 is None else self.fwhm_2
        below = np.sqrt(self.fwhm_1 * minor) < _SMALLEST_SIZE * beam.fwhm
        return np.broadcast_to(below, self.longitude.shape)

    def pixels(self, wcs: WCS) -> tuple[FloatArray, FloatArray]:
        """Return x, y on a map; NaN where its coordinates do not reach."""
        longitude, latitude = self.longitude, self.latitude
        if self.frame != "map":
            own = self.sky(wcs).transform_to(celestial_frame(wcs)).spherical
            longitude, latitude = own.lon.deg, own.lat.deg
        x, y = pixel_from_celestial(wcs, longitude, latitude)
        return x, y


_UNITS = {"longitude": "deg", "latitude": "deg", "fwhm_1": "arcsec", "fwhm_2": "arcsec", "pa": "deg"}
"""Of the numbers of `FixedSources`."""


def _numbers(values: Any, unit: str, *, name: str) -> FloatArray:
    """Return numbers, or a quantity in a unit, as an array, shape (n,)."""
    try:
        plain = values.to_value(unit) if hasattr(values, "to_value") else values
        numbers = np.asarray(plain)
        if numbers.dtype.kind not in "iuf" and numbers.size:
            raise TypeError
        return np.atleast_1d(numbers.astype(np.float64))
    except (TypeError, ValueError):  # a unit that cannot be converted is a TypeError too
        raise InputError(f"FixedSources: {name}: give numbers in {unit}, or a quantity") from None


def given_peaks(image: SkyImage, fixed: FixedSources, noise: NoiseLevel) -> Peaks:
    """Turn given positions into peaks.

    Parameters
    ----------
    image : SkyImage
    fixed : FixedSources
        All on the map.
    noise : NoiseLevel
    """
    x, y = fixed.pixels(image.wcs)
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
    if fixed.intrinsic:
        own = covariance_from_ellipse(*ellipse) + image.beam_covariance(peaks.x, peaks.y)
        ellipse = ellipse_from_covariance(own)
    return np.column_stack([ellipse.major / FWHM_PER_SIGMA, ellipse.minor / FWHM_PER_SIGMA, ellipse.angle])
