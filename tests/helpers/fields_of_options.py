"""A small simulated map for tests of options."""

from hyper_py.image import SkyImage
from hyper_py.simulation.simulate import simulate_image


def small_map(*, seed: int = 3, n_sources: int = 20, side: int = 120) -> SkyImage:
    """A map of `side` pixels with some sources."""
    image: SkyImage = simulate_image("alma", seed=seed, shape=[side, side + 20], n_sources=n_sources).image
    return image
