"""Which sources are injected, and where."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from hyper_py.arrays import BoolArray, FloatArray
from hyper_py.diagnostics import ConfigurationError
from hyper_py.injection.setup import InjectionSetup
from hyper_py.numerics import gaussians

BEAM, OWN = 0, 1
"""Kinds of injected sources: beam-sized ones, and those with the sizes of the map's own."""
KINDS = ("beam", "own")
POSITIONS = ("random", "like-sources")
_STEEP_SHARE = 0.8
_NEIGHBOUR_BEAMS = 3.0
_ROUNDS = 50


@dataclass(frozen=True, kw_only=True)
class FluxRange:
    """Amplitudes in Jy/pixel between which sources are drawn log-uniformly.

    Four in five lie from `low` to `high`, where the completeness rises; the others from there to `bright`,
    for bias and errors of sources that are always found.
    """

    low: float
    high: float
    bright: float

    def __post_init__(self) -> None:
        if not 0.0 < self.low < self.high < self.bright:
            raise ConfigurationError(f"completeness: amplitudes {self} must be positive and rise")

    def draw(self, rng: np.random.Generator, n: int) -> FloatArray:
        """Return `n` amplitudes."""
        steep, share = rng.random(n) < _STEEP_SHARE, rng.random(n)
        low, high = np.where(steep, self.low, self.high), np.where(steep, self.high, self.bright)
        return low * (high / low) ** share


def draw_sources(
    setup: InjectionSetup,
    *,
    rng: np.random.Generator,
    ranges: tuple[FluxRange, FluxRange],
    positions: str = "random",
) -> tuple[FloatArray, FloatArray]:
    """Draw the sources of one realisation: beam-sized ones and others with the map's own sizes, in turn.

    Parameters
    ----------
    setup : InjectionSetup
    rng : numpy.random.Generator
    ranges : (FluxRange, FluxRange)
        Of the two kinds.
    positions : {"random", "like-sources"}
        "like-sources": those with the map's own sizes have neighbours as near as the catalogue's rows have.

    Returns
    -------
    parameters : ndarray, shape (n, 6)
        In the order of `hyper_py.numerics.gaussians`; fewer than asked for where no free place was found.
    kinds : ndarray of float, shape (n,)
        `BEAM` or `OWN`.
    """
    n = setup.n_sources
    kinds = np.arange(n) % 2
    shapes = setup.shapes[rng.integers(len(setup.shapes), size=n)]
    shapes[kinds == BEAM] = setup.beam
    amplitudes = np.where(kinds == BEAM, *(one.draw(rng, n) for one in ranges))
    clustered = (kinds == OWN) if positions == "like-sources" else np.zeros(n, dtype=bool)
    places = _draw_places(setup, rng, clustered=clustered)
    placed = np.isfinite(places[:, 0])
    parameters = np.column_stack([amplitudes, places, shapes])
    return parameters[placed], kinds[placed].astype(np.float64)


def _draw_places(setup: InjectionSetup, rng: np.random.Generator, *, clustered: BoolArray) -> FloatArray:
    """Return x, y of sources apart from each other, (n, 2); NaN where no place was found.

    Clustered ones have their nearest neighbour in the catalogue as far away as a row of it has, if that is
    within three beams; else none within three beams.
    """
    n, known = clustered.size, setup.known[:, [gaussians.X, gaussians.Y]]
    near = _NEIGHBOUR_BEAMS * setup.fwhm
    distances = np.full(n, np.inf)
    if len(known) > 1:
        distances = setup.neighbours[rng.integers(len(known), size=n)]
    beside = clustered & (distances < near)
    least = np.where(beside, distances - 1e-6, np.where(clustered, near, 0.0))
    places = np.full((n, 2), np.nan)
    for _ in range(_ROUNDS):
        missing = np.flatnonzero(np.isnan(places[:, 0]))
        if not missing.size:
            break
        tried = _random_places(setup, rng, n=missing.size)
        if beside.any():
            angle, centre = rng.uniform(0.0, 2.0 * np.pi, n), known[rng.integers(len(known), size=n)]
            around = centre + distances[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
            tried = np.where(beside[missing, None], around[missing], tried)
        good = _usable(setup, tried)
        if len(known):
            good &= cKDTree(known).query(tried)[0] >= least[missing]
        for k, place in zip(missing[good], tried[good], strict=True):
            others = places[np.isfinite(places[:, 0])]
            if not len(others) or np.hypot(*(others - place).T).min() >= setup.separation:
                places[k] = place
    return places


def _random_places(setup: InjectionSetup, rng: np.random.Generator, *, n: int) -> FloatArray:
    """Return x, y of places uniform over the usable pixels, (n, 2)."""
    rows, columns = np.nonzero(setup.usable)
    chosen = rng.integers(rows.size, size=n)
    places: FloatArray = np.column_stack([columns[chosen], rows[chosen]]) + rng.uniform(
        -0.5, 0.5, size=(n, 2)
    )
    return places


def _usable(setup: InjectionSetup, places: FloatArray) -> BoolArray:
    """Return which positions x, y are on usable pixels."""
    x, y = np.rint(places).astype(int).T
    ny, nx = setup.usable.shape
    inside = (x >= 0) & (x < nx) & (y >= 0) & (y < ny)
    result = np.zeros(len(places), dtype=bool)
    result[inside] = setup.usable[y[inside], x[inside]]
    return result
