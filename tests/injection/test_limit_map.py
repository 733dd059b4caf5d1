"""The limit as a map: made of records of which the local completeness is known."""

import numpy as np
import pytest
from scipy.special import ndtr, ndtri

from helpers.injections import made_records, sky_setup
from hyper_py.injection.limit_map import local_completeness
from hyper_py.numerics import gaussians


def test_neighbours_light_counts_as_much_as_it_did(rng):
    n = 8000
    sigma, light = (
        np.exp(rng.normal(0.0, 0.5, n)),
        np.where(rng.random(n) < 0.5, 0.0, rng.exponential(10.0, n)),
    )
    amplitude = np.exp(rng.uniform(np.log(1.0), np.log(40.0), n))
    found = rng.random(n) < ndtr(amplitude / np.hypot(sigma, 0.3 * light) - 4.5)
    local = local_completeness(made_records(amplitude / sigma, found, sigma=sigma, light=light))
    assert local.share in (0.2, 0.3, 0.5)
    assert local.curve.limit(0.8).value == pytest.approx(4.5 + ndtri(0.8), rel=0.04)


def test_the_map_follows_noise_and_sources_and_leaves_edges_out(random_seed):
    setup = sky_setup(random_seed, noise_variation=5.0, shape=(160, 160))
    rng = np.random.default_rng(random_seed)
    snr = np.exp(rng.uniform(np.log(2.0), np.log(12.0), 4000))
    light = np.where(np.arange(4000) % 4 == 0, 20.0, 0.0)
    found = rng.random(4000) < ndtr(snr / np.hypot(1.0, 0.3 * light) - 4.5)
    local = local_completeness(made_records(snr, found, light=light))
    limits = local.limit_map(setup)
    np.testing.assert_array_equal(np.isfinite(limits), setup.usable)
    far = setup.usable & (gaussians.render(setup.known, setup.image.shape) < 0.01 * setup.typical_sigma)
    ratio = limits[far] / setup.sensitivity.sigma[far]
    np.testing.assert_allclose(ratio, local.curve.limit(0.8).value, rtol=1e-3)
    x, y = np.rint(setup.known[:, [gaussians.X, gaussians.Y]]).astype(int).T
    assert np.nanmedian(limits[y, x] / setup.sensitivity.sigma[y, x]) > 1.3 * np.median(ratio)
