"""Clumpy extended complexes, and which rows of a catalogue are on their clumps."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial import cKDTree

from hyper_py.arrays import BoolArray, FloatArray
from hyper_py.columns import column_flags
from hyper_py.diagnostics import ConfigurationError
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.simulation import fields


@dataclass(frozen=True, kw_only=True)
class Complexes:
    """Complexes of clumps on a structured envelope, and compact sources in and beside them.

    Lengths are in beams, peaks in units of the noise.

    Attributes
    ----------
    number : int
        Complexes in the map.
    radius : (float, float)
        Radius at which the envelope has half its peak, uniform.
    envelope : float
        Peak of the envelope, before `structure`.
    structure : float
        Rms over mean of the log-normal field that the envelope is multiplied with.
    clumps : int
        Clumps of each complex.
    clump_size : (float, float)
        Geometric-mean FWHM of clumps as observed, uniform.
    clump_peak : (float, float)
        Peaks of clumps, log-uniform.
    source_share : float
        Share of the compact sources that are where the emission is above the noise. A source there is at
        least as high as the emission under it: the map has a peak at its place.
    """

    number: int = 4
    radius: tuple[float, float] = (4.0, 9.0)
    envelope: float = 20.0
    structure: float = 0.6
    clumps: int = 30
    clump_size: tuple[float, float] = (1.3, 4.0)
    clump_peak: tuple[float, float] = (20.0, 300.0)
    source_share: float = 0.5

    def __post_init__(self) -> None:
        wrong = {}
        for key in ("number", "clumps"):
            if not (isinstance(getattr(self, key), int) and getattr(self, key) > 0):
                wrong[key] = "a positive whole number"
        for key in ("radius", "clump_size", "clump_peak"):
            low, high = getattr(self, key)
            if not 0 < low <= high < math.inf:
                wrong[key] = "two positive numbers, the smaller first"
        for key in ("envelope", "structure"):
            if not 0 <= getattr(self, key) < math.inf:
                wrong[key] = "zero or positive"
        if not 0 <= self.source_share <= 1:
            wrong["source_share"] = "between 0 and 1"
        for key, words in wrong.items():
            raise ConfigurationError(
                f"simulation: complexes.{key} is {getattr(self, key)!r}; it must be {words}"
            )


class Emission(NamedTuple):
    """The smooth part of the complexes in units of the noise, shape (ny, nx), and the clumps on it.

    The keys of `clumps` are those of `hyper_py.simulation.truth.draw_sources`; amplitudes are in units of
    the noise.
    """

    envelope: FloatArray
    clumps: dict[str, FloatArray]


def draw_complexes(
    rng: np.random.Generator,
    complexes: Complexes,
    *,
    shape: tuple[int, int],
    beam: float,
    beam_covariance: FloatArray,
) -> Emission:
    """Return the complexes of a map.

    Parameters
    ----------
    rng : numpy.random.Generator
    complexes : Complexes
    shape : (int, int)
        (ny, nx).
    beam : float
        Geometric-mean FWHM of the beam, pixels.
    beam_covariance : ndarray, shape (2, 2)
        Of the beam, pixels squared: the envelope is seen through it.

    Raises
    ------
    ConfigurationError
        If the complexes are too large for the map.
    """
    places, shapes, texture = rng.spawn(3)
    radius = beam * places.uniform(*complexes.radius, complexes.number)
    edge = 1.5 * radius[:, None]
    size = np.array(shape, dtype=float)
    if np.any(2 * edge >= size):
        raise ConfigurationError(
            f"simulation: complexes.radius {complexes.radius} is too large for a map of "
            f"{shape[1]} x {shape[0]} pixels"
        )
    middle = places.uniform(edge, size - 1 - edge)
    y, x = np.indices(shape)
    envelope = np.zeros(shape)
    for (cy, cx), half in zip(middle, radius, strict=True):
        envelope += np.exp2(-((y - cy) ** 2 + (x - cx) ** 2) / half**2)
    if complexes.structure:
        grid = fields.grid_shape(shape)
        seen = fields.gaussian_transfer(grid, beam_covariance)
        power = fields.power_law(grid, slope=3.0, outer=4.0 * float(radius.max()), transfer=seen)
        field = fields.random_field(texture, grid, power)[: shape[0], : shape[1]]
        variance = fields.lognormal_variance(complexes.structure)
        envelope *= np.exp(math.sqrt(variance) * field - 0.5 * variance)

    n = complexes.number * complexes.clumps
    which = np.repeat(np.arange(complexes.number), complexes.clumps)
    spread = radius[which, None] / FWHM_PER_SIGMA * 1.5
    place = middle[which] + np.clip(shapes.standard_normal((n, 2)), -2.5, 2.5) * spread
    place = np.clip(place, 2 * beam, size - 1 - 2 * beam)
    low, high = complexes.clump_peak
    fwhm, ratio = beam * shapes.uniform(*complexes.clump_size, n), np.sqrt(shapes.uniform(1.0, 1.6, n))
    clumps = {
        "x": place[:, 1], "y": place[:, 0], "amplitude": low * (high / low) ** shapes.random(n),
        "fwhm_major": fwhm * ratio, "fwhm_minor": fwhm / ratio, "theta": shapes.uniform(0.0, math.pi, n),
    }  # fmt: skip
    return Emission(complexes.envelope * envelope, clumps)


def on_clumps(x: ArrayLike, y: ArrayLike, truth: Mapping[str, Any]) -> BoolArray:
    """Return which positions are on a true clump, within half its major FWHM or half a beam.

    Such rows are neither right nor wrong: how a complex is divided is a matter of taste.

    Parameters
    ----------
    x, y : array_like, shape (n,)
        Zero-based pixels.
    truth : QTable or Table
        From `hyper_py.simulate_image`, or read from its file; False everywhere if it marks no clumps.
    """
    points = np.column_stack([np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)])
    on = np.zeros(len(points), dtype=bool)
    table: Any = truth
    if "CLUMP" not in table.colnames or not column_flags(table["CLUMP"], where="column CLUMP").any():
        return on
    clumps = table[column_flags(table["CLUMP"], where="column CLUMP")]
    pixel = math.sqrt(table.meta["beam"][0] * table.meta["beam"][1]) / table.meta["beam_pixels"]
    reach = np.maximum(0.5 * _plain(clumps["FWHM_1"]) / pixel, 0.5 * table.meta["beam_pixels"])
    good = np.isfinite(points).all(axis=1)
    tree = cKDTree(points[good])
    rows = np.flatnonzero(good)
    for place, near in zip(zip(_plain(clumps["X"]), _plain(clumps["Y"]), strict=True), reach, strict=True):
        on[rows[tree.query_ball_point(place, near)]] = True
    return on


def _plain(column: Any) -> FloatArray:
    return np.asarray(getattr(column, "value", column), dtype=np.float64)
