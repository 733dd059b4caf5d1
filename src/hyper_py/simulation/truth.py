"""Sources of a simulated map: where they are, what they look like, and the table of their true values."""

import math

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import QTable
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree

from hyper_py.arrays import BoolArray, FloatArray
from hyper_py.diagnostics import ConfigurationError
from hyper_py.geometry import (
    FWHM_PER_SIGMA,
    GAUSSIAN_AREA,
    Ellipse,
    celestial_degrees,
    covariance_from_ellipse,
    ellipse_from_covariance,
    sky_ellipse_from_pixel,
)
from hyper_py.image import SkyImage
from hyper_py.simulation.presets import SkyModel
from hyper_py.simulation.resolved import PROFILES as RESOLVED_PROFILES
from hyper_py.simulation.resolved import Shapes, draw_shapes

ISOLATION_BEAMS = 2.0
"""A source without a neighbour this near is isolated."""
GAUSSIAN_REACH = 6.0
"""Sigmas of the major axis out to which a Gaussian is drawn: 1.5e-8 of its peak."""
MOFFAT_REACH = 40.0
"""FWHM of the major axis out to which a Moffat profile is drawn."""


def moffat_beta(model: SkyModel) -> float | None:
    """Return the exponent of the sources' Moffat profile; None if they are Gaussian."""
    return model.moffat_beta if model.profile == "moffat" else None


def draw_sources(
    rng: np.random.Generator,
    model: SkyModel,
    sigma: float,
    *,
    valid: BoolArray | None = None,
    emission: FloatArray | None = None,
    relative_noise: FloatArray | None = None,
    beam_covariance: FloatArray | None = None,
) -> dict[str, FloatArray]:
    """Return the sources of a map whose unit of brightness is `sigma`, in Jy/pixel.

    Positions and shapes have random numbers of their own.

    Parameters
    ----------
    rng : numpy.random.Generator
    model : SkyModel
    sigma : float
        Jy/pixel.
    valid : ndarray of bool, shape (ny, nx), optional
        False where the map is blank: sources keep `model.margin` from there.
    emission : ndarray, shape (ny, nx), optional
        Emission of complexes in units of `sigma`: see `Complexes.source_share`.
    relative_noise : ndarray, shape (ny, nx), optional
        The unit of the peaks is `sigma` times this at the source, for `peak_scale: local`.
    beam_covariance : ndarray, shape (2, 2), optional
        Pixels squared; for `sizes: intrinsic`.

    Returns
    -------
    dict
        x, y, fwhm_major, fwhm_minor in zero-based pixels, theta in radians, amplitude in Jy/pixel; and
        `profile`, a number of `hyper_py.simulation.resolved.PROFILES`, if some are resolved.
    """
    n, beam = model.n_sources, model.beam_fwhm_pix
    shapes, positions, wider = rng.spawn(3)
    low, high = model.peak_range
    share, power = shapes.random(n), 1.0 - model.peak_slope
    if model.peak_log or power == 0.0:
        peak = low * (high / low) ** share
    else:
        peak = (low**power + (high**power - low**power) * share) ** (1.0 / power)
    size = beam * shapes.uniform(*model.size_range, n)
    ratio = np.sqrt(shapes.uniform(*model.axis_ratio_range, n))
    theta = shapes.uniform(0.0, math.pi, n)
    major, minor = size * ratio, size / ratio
    if model.sizes == "intrinsic" and beam_covariance is not None:
        seen = covariance_from_ellipse(major, minor, theta) + beam_covariance
        major, minor, theta = ellipse_from_covariance(seen)
    own = Shapes(major, minor, theta, np.zeros(n))
    extent = np.zeros(n)
    if model.resolved is not None and beam_covariance is not None:
        own = draw_shapes(wider, model.resolved, own, beam=beam, beam_covariance=beam_covariance)
        extent = model.resolved.spacing * own.major
    x, y = _place(positions, model, valid=valid, emission=emission, extent=extent)
    pixel = np.rint(y).astype(int), np.rint(x).astype(int)
    if emission is not None:
        peak = np.maximum(peak, emission[pixel])
    if model.peak_scale == "local" and relative_noise is not None:
        peak = peak * relative_noise[pixel]
    drawn = {
        "x": x, "y": y, "amplitude": peak * sigma, "fwhm_major": own.major, "fwhm_minor": own.minor,
        "theta": own.theta,
    }  # fmt: skip
    return drawn if model.resolved is None else {**drawn, "profile": own.profile}


def _place(
    rng: np.random.Generator, model: SkyModel, *, valid: BoolArray | None, emission: FloatArray | None,
    extent: FloatArray,
) -> FloatArray:  # fmt: skip
    """Return positions (2, n) of pairs and single sources, in random order.

    No two are closer than the sum of their extents (n,), in pixels.
    """
    n, beam, tries = model.n_sources, model.beam_fwhm_pix, 2000
    edge = model.margin * beam + model.blank_border
    low, high = np.array([edge, edge]), np.array(model.shape[::-1]) - 1.0 - edge
    n_pairs = round(0.5 * model.crowded_fraction * n)
    placed = np.full((n, 2), np.inf)
    order = np.argsort(-extent, kind="stable")
    clear = (
        None if valid is None else distance_transform_edt(np.pad(valid, 1))[1:-1, 1:-1] > model.margin * beam
    )
    bright: FloatArray | None = None
    if emission is not None and model.complexes is not None:
        bright, share = np.argwhere(emission > 1.0)[:, ::-1].astype(float), model.complexes.source_share

    def free(point: FloatArray, count: int) -> bool:
        distance = np.hypot(*(placed[:count] - point).T)
        inside = bool(np.all(point >= low) and np.all(point <= high))
        if inside and clear is not None:
            inside = bool(clear[tuple(np.rint(point[::-1]).astype(int))])
        apart = np.maximum(model.min_separation * beam, extent[order[:count]] + extent[order[count]])
        return inside and bool(np.all(distance >= apart))

    done = failures = 0
    while done < n and failures < tries and np.all(low <= high):
        members = 2 if done < 2 * n_pairs else 1
        points = rng.uniform(low, high)[None, :]
        if bright is not None and done < share * n:
            points = bright[rng.integers(len(bright))] + rng.uniform(-0.5, 0.5, (1, 2))
        if members == 2:
            length, angle = beam * rng.uniform(*model.crowded_separation), rng.uniform(0.0, 2.0 * math.pi)
            points = points + length * np.array([[0.0, 0.0], [math.cos(angle), math.sin(angle)]])
        if all(free(point, done) for point in points):
            placed[done : done + members] = points
            done, failures = done + members, 0
        else:
            failures += 1
    if done < n:
        raise ConfigurationError(
            f"simulation: no room for {n} sources in {model.shape[1]} x {model.shape[0]} pixels "
            f"(placed {done}); ask for fewer, or lower min_separation or margin"
        )
    if not extent.any():
        return placed[rng.permutation(n)].T
    positions = np.empty((n, 2))
    positions[order] = placed
    return positions.T


def draw_profiles(
    shape: tuple[int, int], *, x: FloatArray, y: FloatArray, amplitude: FloatArray, fwhm_major: FloatArray,
    fwhm_minor: FloatArray, theta: FloatArray, beta: float | None = None,
) -> FloatArray:  # fmt: skip
    """Return the sum of elliptical Gaussians, or Moffat profiles, sampled at pixel centres.

    Parameters
    ----------
    shape : (int, int)
        (ny, nx).
    x, y, amplitude, fwhm_major, fwhm_minor, theta : ndarray, shape (n,)
        Zero-based pixels; the unit of the result; FWHM in pixels; radians from +x to the major axis.
    beta : float, optional
        Exponent of the Moffat profile; None for a Gaussian.
    """
    image = np.zeros(shape)
    reach = MOFFAT_REACH if beta else GAUSSIAN_REACH / FWHM_PER_SIGMA
    for x0, y0, peak, major, minor, angle in zip(x, y, amplitude, fwhm_major, fwhm_minor, theta, strict=True):
        bottom, top = (int(np.clip(y0 + s * reach * major + (s > 0), 0, shape[0])) for s in (-1, 1))
        left, right = (int(np.clip(x0 + s * reach * major + (s > 0), 0, shape[1])) for s in (-1, 1))
        dy, dx = np.arange(bottom, top)[:, None] - y0, np.arange(left, right)[None, :] - x0
        along, across = (
            dx * math.cos(angle) + dy * math.sin(angle),
            dy * math.cos(angle) - dx * math.sin(angle),
        )
        r2 = (along / major) ** 2 + (across / minor) ** 2
        image[bottom:top, left:right] += peak * _profile(r2, beta)
    return image


def _profile(r2: FloatArray, beta: float | None) -> FloatArray:
    """Return a profile of peak 1 and FWHM 1 at squared radii."""
    if beta is None:
        values: FloatArray = np.exp(-4.0 * math.log(2.0) * r2)
    else:
        values = (1.0 + 4.0 * (2.0 ** (1.0 / beta) - 1.0) * r2) ** -beta
    return values


def profile_area(beta: float | None) -> float:
    """Return the integral of a profile of peak 1 and both FWHM 1."""
    return GAUSSIAN_AREA if beta is None else math.pi / (4.0 * (2.0 ** (1.0 / beta) - 1.0) * (beta - 1.0))


def truth_table(
    image: SkyImage, model: SkyModel, catalogue: dict[str, FloatArray], *, sigma: float,
    noise_rms: FloatArray, background: FloatArray,
) -> QTable:  # fmt: skip
    """Return the truth as a table: columns of the catalogue, and what only a simulation knows.

    Parameters
    ----------
    image : SkyImage
        The map, for its coordinates and beam.
    model : SkyModel
        The kind of sky.
    catalogue : dict
        As from `draw_sources`; and, if given, `peak`: what the map shows if that is not the amplitude of the
        Gaussian; `clump`: above 0 for a clump of a complex; `flux`, `in_aperture`: if some are no Gaussians.
    sigma : float
        Unit of PEAK_SNR, Jy/pixel.
    noise_rms, background : ndarray, shape (ny, nx)
        Jy/pixel; their values at the sources are given.
    """
    x, y, drawn = catalogue["x"], catalogue["y"], catalogue["amplitude"]
    amplitude = catalogue.get("peak", drawn)
    major, minor, theta = catalogue["fwhm_major"], catalogue["fwhm_minor"], catalogue["theta"]
    jacobian = image.jacobian(x, y)
    sky = sky_ellipse_from_pixel(Ellipse(major, minor, theta), jacobian)
    beam_area = image.beam.solid_angle / np.abs(np.linalg.det(jacobian))
    coordinates = SkyCoord(*celestial_degrees(image.wcs, x, y), unit="deg", frame=model.frame)
    icrs, galactic = coordinates.icrs, coordinates.galactic
    iy, ix = np.rint(y).astype(int), np.rint(x).astype(int)
    nearest = _nearest(x, y) / model.beam_fwhm_pix
    jy_pixel = u.Jy / u.pix
    clump = catalogue.get("clump", np.zeros(x.size)).astype(bool)
    flux = catalogue.get("flux", drawn * major * minor * profile_area(moffat_beta(model)))
    table = QTable(
        {
            "ID": np.arange(1, x.size + 1),
            "X": x * u.pix,
            "Y": y * u.pix,
            "RA": icrs.ra.deg * u.deg,
            "DEC": icrs.dec.deg * u.deg,
            "GLON": galactic.l.deg * u.deg,
            "GLAT": galactic.b.deg * u.deg,
            "FLUX": flux * u.Jy,
            "FLUX_PEAK": amplitude * beam_area * u.Jy / u.beam,
            "AMPLITUDE": amplitude * jy_pixel,
            "FWHM_1": sky.major * u.arcsec,
            "FWHM_2": sky.minor * u.arcsec,
            "PA": sky.angle * u.deg,
            "PEAK_SNR": amplitude / (noise_rms[iy, ix] if model.peak_scale == "local" else sigma),
            "PEAK_TO_NOISE": amplitude / noise_rms[iy, ix],
            "BACKGROUND": background[iy, ix] * jy_pixel,
            "NEAREST": nearest,
            "ISOLATED": nearest > ISOLATION_BEAMS,
            "CLUMP": clump,
        }
    )
    if model.resolved is not None:
        table["FLUX_APER"] = catalogue["in_aperture"] * u.Jy
        table["PROFILE"] = np.array(RESOLVED_PROFILES)[catalogue["profile"].astype(int)]
    table.meta.update(
        map=image.name, profile=model.profile, shape=list(image.shape), beam=list(model.beam),
        beam_pixels=model.beam_fwhm_pix, sigma_jy_per_pixel=sigma, pa_frame=model.frame,
    )  # fmt: skip
    return table


def _nearest(x: FloatArray, y: FloatArray) -> FloatArray:
    """Return the distance of each point to the nearest other; infinite for a single one."""
    if x.size < 2:
        return np.full(x.size, np.inf)
    points = np.column_stack([x, y])
    distances, _ = cKDTree(points).query(points, k=2)
    return np.asarray(distances)[:, 1]
