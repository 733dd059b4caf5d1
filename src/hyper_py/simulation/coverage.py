"""How long each pixel of a scanned map was observed: edges that get louder, ragged borders, holes."""

import math
from dataclasses import dataclass

import numpy as np
from scipy import fft

from hyper_py.arrays import BoolArray, FloatArray
from hyper_py.diagnostics import ConfigurationError


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """A map scanned along both axes by a round array of detectors.

    The number of hits of a pixel is a Poisson number around what the array gives; the noise goes as its
    inverse square root, and a pixel without hits is blank. Lengths are in beams.

    Attributes
    ----------
    largest_noise : float
        Noise of a pixel hit once over that at full coverage, which has the square of this in hits.
    footprint : float
        Diameter of the array: coverage falls over this distance.
    raggedness : float
        The ends of the scans differ by up to this.
    holes : int
        Number of blank patches inside the map.
    hole_size : float
        Their typical diameter.
    error_extension : bool
        Whether the map has an error map, in an extension ERROR of its file.
    """

    largest_noise: float = 10.0
    footprint: float = 24.0
    raggedness: float = 4.0
    holes: int = 6
    hole_size: float = 5.0
    error_extension: bool = False

    def __post_init__(self) -> None:
        wrong = {
            "largest_noise": not 1 < self.largest_noise < math.inf and "above 1",
            "footprint": not 0 < self.footprint < math.inf and "a positive number",
            "raggedness": not 0 <= self.raggedness < math.inf and "zero or positive",
            "holes": not (isinstance(self.holes, int) and self.holes >= 0) and "a whole number",
            "hole_size": not 0 < self.hole_size < math.inf and "a positive number",
        }
        for key, words in wrong.items():
            if words:
                raise ConfigurationError(
                    f"simulation: coverage.{key} is {getattr(self, key)!r}; it must be {words}"
                )


def expected_hits(
    rng: np.random.Generator, shape: tuple[int, int], *, beam: float, coverage: Coverage
) -> FloatArray:
    """Return the expected hits of each pixel, shape (ny, nx), the most covered one having 1.

    Legs one beam wide in both directions end at random places near the border of the map; the array's
    footprint, a disc, is spread along them.

    Raises
    ------
    ConfigurationError
        If the array is too large for the map.
    """
    radius, ragged = 0.5 * coverage.footprint * beam, coverage.raggedness * beam
    if min(shape) < 4 * radius + 2 * ragged:
        raise ConfigurationError(
            f"simulation: coverage.footprint of {coverage.footprint:g} beams is too large for a map of "
            f"{shape[1]} x {shape[0]} pixels; at most {(min(shape) - 2 * ragged) / (2 * beam):.3g}"
        )
    legs = np.zeros(shape)
    for scans in (legs, legs.T):
        across, along = scans.shape
        n_legs = math.ceil(across / beam)
        start, end = radius + ragged * rng.random((2, n_legs))
        leg = np.minimum((np.arange(across) / beam).astype(int), n_legs - 1)
        place = np.arange(along)[None, :]
        inside = (place >= start[leg][:, None]) & (place < along - end[leg][:, None])
        inside[: math.ceil(radius)] = inside[across - math.ceil(radius) :] = False
        scans += inside
    return _spread(legs, radius)


def _spread(legs: FloatArray, radius: float) -> FloatArray:
    """Return an image convolved with a disc, over its maximum; nothing comes in from opposite borders."""
    grid = tuple(fft.next_fast_len(n + 2 * math.ceil(radius) + 1, real=True) for n in legs.shape)
    y, x = (np.minimum(np.arange(n), n - np.arange(n)) for n in grid)
    disc = (y[:, None] ** 2 + x[None, :] ** 2 <= radius**2).astype(float)
    wide = fft.irfft2(fft.rfft2(legs, s=grid) * fft.rfft2(disc), s=grid)[: legs.shape[0], : legs.shape[1]]
    result: FloatArray = np.maximum(wide, 0.0) / wide.max()
    return result


def relative_noise(
    rng: np.random.Generator, shape: tuple[int, int], *, beam: float, coverage: Coverage
) -> FloatArray:
    """Return the noise over that at full coverage, shape (ny, nx); NaN where the map is blank.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : (int, int)
        (ny, nx).
    beam : float
        Geometric-mean FWHM of the beam, pixels.
    coverage : Coverage
    """
    scans, draws, places = rng.spawn(3)
    expected = expected_hits(scans, shape, beam=beam, coverage=coverage)
    hits = draws.poisson(coverage.largest_noise**2 * expected).astype(float)
    hits[holes(places, expected, beam=beam, coverage=coverage)] = 0.0
    noise = np.full(shape, np.nan)
    noise[hits > 0] = coverage.largest_noise / np.sqrt(hits[hits > 0])
    return noise


def holes(rng: np.random.Generator, expected: FloatArray, *, beam: float, coverage: Coverage) -> BoolArray:
    """Return which pixels are in blank patches: unions of a few discs, well inside the map."""
    y, x = np.indices(expected.shape)
    inner = np.argwhere(expected > 0.5)
    blank: BoolArray = np.zeros(expected.shape, dtype=bool)
    for middle in inner[rng.integers(0, len(inner), coverage.holes)]:
        for _ in range(4):
            cy, cx = middle + 0.3 * coverage.hole_size * beam * rng.standard_normal(2)
            radius = coverage.hole_size * beam * rng.uniform(0.15, 0.4)
            blank |= (y - cy) ** 2 + (x - cx) ** 2 <= radius**2
    return blank
