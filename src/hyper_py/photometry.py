"""Elliptical apertures on the map with background and companions removed."""

from dataclasses import dataclass

import numpy as np
from photutils.geometry import elliptical_overlap_grid

from hyper_py import models
from hyper_py.geometry import FWHM_PER_SIGMA, FloatArray
from hyper_py.models import enclosed_fraction


@dataclass(frozen=True, kw_only=True, eq=False)
class Aperture:
    """An ellipse on the pixel grid.

    Attributes
    ----------
    y0, x0 : int
        Map pixel of `weights[0, 0]`; may lie outside the map.
    weights : ndarray, shape (h, w)
        Area of each pixel inside the ellipse, exact, from 0 to 1.
    """

    y0: int
    x0: int
    weights: FloatArray

    def clipped(self, shape: tuple[int, int]) -> "Aperture":
        """Return the part inside a map of this shape."""
        top, left = max(0, -self.y0), max(0, -self.x0)
        weights = self.weights[top : max(top, shape[0] - self.y0), left : max(left, shape[1] - self.x0)]
        return Aperture(y0=self.y0 + top, x0=self.x0 + left, weights=weights)

    @property
    def slices(self) -> tuple[slice, slice]:
        """Where a clipped aperture lies in the map."""
        height, width = self.weights.shape
        return slice(self.y0, self.y0 + height), slice(self.x0, self.x0 + width)


def elliptical_aperture(
    x: float, y: float, *, semi_major: float, semi_minor: float, theta: float
) -> Aperture:
    """Return the exact overlap of an ellipse with the pixels.

    Parameters
    ----------
    x, y : float
        Centre, zero-based pixels.
    semi_major, semi_minor : float
        Pixels.
    theta : float
        Angle of the major axis, radians from +x.
    """
    half_x = np.hypot(semi_major * np.cos(theta), semi_minor * np.sin(theta))
    half_y = np.hypot(semi_major * np.sin(theta), semi_minor * np.cos(theta))
    x0, x1 = int(np.floor(x - half_x + 0.5)), int(np.floor(x + half_x + 0.5)) + 1
    y0, y1 = int(np.floor(y - half_y + 0.5)), int(np.floor(y + half_y + 0.5)) + 1
    weights = elliptical_overlap_grid(
        x0 - 0.5 - x, x1 - 0.5 - x, y0 - 0.5 - y, y1 - 0.5 - y, x1 - x0, y1 - y0,
        semi_major, semi_minor, theta, 1, 1,
    )  # fmt: skip
    return Aperture(y0=y0, x0=x0, weights=np.asarray(weights, dtype=np.float64))


def source_aperture(source: FloatArray, *, radius_in_fwhm: float) -> Aperture:
    """Return the aperture of semi-axes `radius_in_fwhm` times both FWHM of a source's six parameters."""
    scale = radius_in_fwhm * FWHM_PER_SIGMA
    return elliptical_aperture(
        float(source[models.X]),
        float(source[models.Y]),
        semi_major=scale * float(source[models.SIGMA_1]),
        semi_minor=scale * float(source[models.SIGMA_2]),
        theta=float(source[models.THETA]),
    )


@dataclass(frozen=True, kw_only=True)
class ApertureSum:
    """A sum over an aperture.

    Attributes
    ----------
    total : float
        Sum over usable pixels plus the model's share of the missing ones; NaN if none is usable.
    area : float
        Area of the whole aperture in pixels.
    n_blank : int
        Blank pixels that the aperture touches.
    outside : bool
        Whether the aperture reaches beyond the map.
    """

    total: float
    area: float
    n_blank: int
    outside: bool


def aperture_sum(data: FloatArray, aperture: Aperture, *, model: FloatArray | None = None) -> ApertureSum:
    """Sum an image over an aperture; what is blank or off the map is taken from a model.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
        Background and companions removed; NaN where blank.
    aperture : Aperture
    model : ndarray, shape of `aperture.weights`, optional
        The source's model on the aperture's own pixels; None leaves missing pixels out.
    """
    inside = aperture.clipped((data.shape[0], data.shape[1]))
    values = data[inside.slices]
    blank = ~np.isfinite(values) & (inside.weights > 0.0)
    seen = np.where(np.isfinite(values), inside.weights, 0.0)
    total = float(np.sum(seen * np.where(np.isfinite(values), values, 0.0)))
    outside = float(aperture.weights.sum() - inside.weights.sum()) > 1e-9
    if (blank.any() or outside) and model is not None:
        top, left = inside.y0 - aperture.y0, inside.x0 - aperture.x0
        missing = aperture.weights.copy()
        missing[top : top + seen.shape[0], left : left + seen.shape[1]] -= seen
        total += float(np.sum(missing * model))
    return ApertureSum(
        total=total if seen.any() else np.nan,
        area=float(aperture.weights.sum()),
        n_blank=int(blank.sum()),
        outside=outside,
    )


def aperture_growth(radius_in_fwhm: float) -> float:
    """Return d ln(flux) / d ln(size) when the aperture follows the fitted size.

    The flux inside k FWHM of a Gaussian is 1 - 2^(-4 k^2); an aperture that is wider by a fraction e of both
    axes holds e times this much more of it.
    """
    k = radius_in_fwhm
    return float(8.0 * k * k * models.LN2 * np.exp2(-4.0 * k * k) / enclosed_fraction(k))
