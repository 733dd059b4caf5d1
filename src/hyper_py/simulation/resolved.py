"""Sources wider than the beam, of Gaussian and other profiles."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy import fft

from hyper_py.arrays import FloatArray
from hyper_py.diagnostics import ConfigurationError
from hyper_py.geometry import (
    FWHM_PER_SIGMA,
    GAUSSIAN_AREA,
    covariance_from_ellipse,
    ellipse_from_covariance,
)
from hyper_py.numerics.overlap import ellipse_overlap
from hyper_py.simulation import fields

PROFILES = ("gaussian", "disc", "core", "ring", "planet")
_REACH = {"disc": 5.0, "core": 4.0, "ring": 1.0, "planet": 0.5}
"""Where profiles end, in units of their FWHM."""
_CORE_RADIUS = 0.5 / math.sqrt(math.sqrt(2.0) - 1.0)
"""In units of the FWHM: (1 + r^2 / R^2)^-2 is 1/2 at half of it."""
_RING_WIDTH = 0.3
"""FWHM of the rim over that of the whole ring."""
_FINER = 4
"""Profiles are averaged over so many points along each side of a pixel."""
_BEAM_REACH = 6.0
"""Sigmas of the beam that a stamp has around the profile."""


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """A share of the sources is wider than the beam.

    Attributes
    ----------
    share : float
        Of all sources.
    size : (float, float)
        FWHM of the major axis as seen, in beams, uniform.
    axis_ratio : (float, float)
        Major over minor FWHM before the beam, uniform.
    profiles : tuple of str
        Each source has one of them: `gaussian`; `disc`: exponential, to 5 FWHM; `core`: a Plummer-like core
        with wings as r^-4, to 4 FWHM; `ring`: a rim of 0.3 FWHM; `planet`: uniform to its
        edge. All but Gaussians are drawn as they are on the sky, and seen through the beam: their FWHM in the
        truth is that of the sky and that of the beam in quadrature.
    spacing : float
        No two sources are closer than this times the sum of their FWHM.
    """

    share: float = 0.5
    size: tuple[float, float] = (2.0, 6.0)
    axis_ratio: tuple[float, float] = (1.0, 3.0)
    profiles: tuple[str, ...] = ("gaussian",)
    spacing: float = 1.0

    def __post_init__(self) -> None:
        wrong = {}
        if not 0 <= self.share <= 1:
            wrong["share"] = "between 0 and 1"
        for key in ("size", "axis_ratio"):
            low, high = getattr(self, key)
            if not 1 <= low <= high < math.inf:
                wrong[key] = "two numbers of at least 1, the smaller first"
        if not self.profiles or any(name not in PROFILES for name in self.profiles):
            wrong["profiles"] = f"some of {', '.join(PROFILES)}"
        if not 0 <= self.spacing < math.inf:
            wrong["spacing"] = "zero or positive"
        for key, words in wrong.items():
            raise ConfigurationError(
                f"simulation: resolved.{key} is {getattr(self, key)!r}; it must be {words}"
            )


class Shapes(NamedTuple):
    """FWHM in pixels and angles from +x of sources as seen, and numbers of their profiles, each (n,)."""

    major: FloatArray
    minor: FloatArray
    theta: FloatArray
    profile: FloatArray


def draw_shapes(
    rng: np.random.Generator, resolved: Resolved, compact: Shapes, *, beam: float, beam_covariance: FloatArray
) -> Shapes:
    """Return the shapes of sources of which a share is resolved, and the others as they were.

    Parameters
    ----------
    rng : numpy.random.Generator
    resolved : Resolved
    compact : Shapes
        Of all sources if none were resolved.
    beam : float
        Geometric-mean FWHM in pixels.
    beam_covariance : ndarray, shape (2, 2)
        Pixels squared.
    """
    n = compact.major.size
    wide = rng.permutation(n) < round(resolved.share * n)
    size, ratio = rng.uniform(*resolved.size, n), rng.uniform(*resolved.axis_ratio, n)
    theta, kind = rng.uniform(0.0, math.pi, n), rng.integers(len(resolved.profiles), size=n)
    on_sky = np.maximum(beam * np.sqrt(np.maximum(size**2 - 1.0, 0.0)), 1e-6 * beam)
    seen = covariance_from_ellipse(on_sky, on_sky / ratio, theta) + beam_covariance
    numbers = np.array([PROFILES.index(name) for name in resolved.profiles], dtype=np.float64)[kind]
    shapes = *ellipse_from_covariance(seen), numbers
    return Shapes(*(np.where(wide, own, other) for own, other in zip(shapes, compact, strict=True)))


class Drawn(NamedTuple):
    """An image of a source: its first pixel (y, x), its values of peak 1, flux, and flux in the aperture."""

    corner: tuple[int, int]
    values: FloatArray
    flux: float
    in_aperture: float


def draw_resolved(
    profile: str, *, x: float, y: float, shape: tuple[float, float, float], beam_covariance: FloatArray
) -> Drawn:
    """Return the image of a source of a profile other than a Gaussian, seen through the beam.

    Its flux is exact; the aperture is the ellipse with both FWHM, as seen, for semi-axes.

    Parameters
    ----------
    profile : str
        `disc`, `core`, `ring` or `planet`.
    x, y : float
        Zero-based pixels.
    shape : (float, float, float)
        FWHM as seen in pixels, and the angle of the major axis from +x.
    beam_covariance : ndarray, shape (2, 2)
    """
    covariance = covariance_from_ellipse(*(np.asarray(value) for value in shape))
    # A narrow source is a little wider than nothing.
    values, vectors = np.linalg.eigh(covariance - beam_covariance)
    axes = FWHM_PER_SIGMA * np.sqrt(np.maximum(values, 1e-4))
    largest = _BEAM_REACH * math.sqrt(float(np.linalg.eigvalsh(beam_covariance)[-1]))
    half = math.ceil(_REACH[profile] * float(axes[-1]) + largest) + 1
    side = 2 * fft.next_fast_len(half + 1, real=True)
    corner = round(y) - side // 2, round(x) - side // 2
    edge_y, edge_x = (np.arange(side + 1) + c - 0.5 - p for c, p in zip(corner, (y, x), strict=True))
    if profile == "planet":  # its edge is sharp
        turned = np.array([math.atan2(vectors[1, 1], vectors[0, 1])])
        sky = ellipse_overlap(
            edge_y[None], edge_x[None], semi_major=0.5 * axes[1:], semi_minor=0.5 * axes[:1], theta=turned
        )[0]
    else:
        sky = _sampled(profile, edge_y, edge_x, vectors / axes)
    sky *= profile_flux(profile) * float(axes.prod()) / sky.sum()
    seen = fft.irfft2(fft.rfft2(sky) * fields.gaussian_transfer(sky.shape, beam_covariance), s=sky.shape)
    major, minor, theta = (np.array([value]) for value in shape)
    inside = ellipse_overlap(edge_y[None], edge_x[None], semi_major=major, semi_minor=minor, theta=theta)[0]
    peak = float(seen.max())
    return Drawn(corner, seen / peak, float(sky.sum()) / peak, float(np.sum(inside * seen)) / peak)


def _sampled(profile: str, edge_y: FloatArray, edge_x: FloatArray, units: FloatArray) -> FloatArray:
    """Return the sum of a profile over points of each pixel; columns of `units` are axes over their FWHM."""
    sky = np.zeros((edge_y.size - 1, edge_x.size - 1))
    fine = (np.arange(_FINER) + 0.5) / _FINER
    for oy in fine:
        for ox in fine:
            dy, dx = edge_y[:-1, None] + oy, edge_x[None, :-1] + ox
            along = [dx * units[0, k] + dy * units[1, k] for k in range(2)]
            sky += profile_values(profile, np.hypot(*along))
    return sky


def profile_values(profile: str, radius: FloatArray) -> FloatArray:
    """Return a profile of peak 1 at radii in units of its FWHM; 0 beyond its end."""
    if profile == "disc":
        values: FloatArray = np.exp2(-2.0 * radius)
    elif profile == "core":
        values = (1.0 + (radius / _CORE_RADIUS) ** 2) ** -2
    elif profile == "planet":
        values = np.ones(np.shape(radius))
    else:
        rim, width = _ring()
        values = np.exp(-0.5 * ((radius - rim) / width) ** 2)
    return np.where(radius <= _REACH[profile], values, 0.0)


def profile_flux(profile: str) -> float:
    """Return the integral of a profile of peak 1 and both FWHM 1."""
    if profile == "gaussian":
        return GAUSSIAN_AREA
    end = _REACH[profile]
    if profile == "disc":
        scale = 0.5 / math.log(2.0)
        return 2.0 * math.pi * scale**2 * (1.0 - (1.0 + end / scale) * math.exp(-end / scale))
    if profile == "core":
        return math.pi * _CORE_RADIUS**2 * (1.0 - 1.0 / (1.0 + (end / _CORE_RADIUS) ** 2))
    if profile == "planet":
        return math.pi * end**2
    rim, width = _ring()
    inner = width**2 * math.exp(-0.5 * (rim / width) ** 2)
    whole = rim * width * math.sqrt(0.5 * math.pi) * (1.0 + math.erf(rim / width / math.sqrt(2.0)))
    return 2.0 * math.pi * (inner + whole)


def _ring() -> tuple[float, float]:
    """Return radius and sigma of the rim in units of the FWHM of the whole ring."""
    return 0.5 - 0.5 * _RING_WIDTH, _RING_WIDTH / FWHM_PER_SIGMA


def add_resolved(
    image: FloatArray, drawn: Mapping[str, Any], *, beam_covariance: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Add the sources of profiles other than Gaussians to an image; return fluxes in all and in apertures.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        Is changed.
    drawn : dict
        As from `hyper_py.simulation.truth.draw_sources`, `profile` included.
    beam_covariance : ndarray, shape (2, 2)

    Returns
    -------
    flux, in_aperture : ndarray, shape (n,)
        Those of Gaussians are analytic.
    """
    amplitude = drawn["amplitude"]
    flux = GAUSSIAN_AREA * amplitude * drawn["fwhm_major"] * drawn["fwhm_minor"]
    in_aperture = (1.0 - 2.0**-4) * flux
    for k in np.flatnonzero(drawn["profile"] > 0):
        shape = float(drawn["fwhm_major"][k]), float(drawn["fwhm_minor"][k]), float(drawn["theta"][k])
        one = draw_resolved(
            PROFILES[int(drawn["profile"][k])], x=float(drawn["x"][k]), y=float(drawn["y"][k]), shape=shape,
            beam_covariance=beam_covariance,
        )  # fmt: skip
        flux[k], in_aperture[k] = amplitude[k] * one.flux, amplitude[k] * one.in_aperture
        y0, x0 = one.corner
        rows, columns = np.arange(y0, y0 + len(one.values)), np.arange(x0, x0 + len(one.values))
        own = [(axis >= 0) & (axis < n) for axis, n in zip((rows, columns), image.shape, strict=True)]
        image[np.ix_(rows[own[0]], columns[own[1]])] += amplitude[k] * one.values[np.ix_(*own)]
    return flux, in_aperture
