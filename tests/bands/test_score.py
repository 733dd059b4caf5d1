"""Score test for a further source: against least squares on the whole linear model."""

from dataclasses import replace

import numpy as np

from helpers.aligned_bands import small_field
from hyper_py.bands.blocks import FieldView
from hyper_py.bands.profile import unit_gaussian_and_derivatives
from hyper_py.bands.score import further_source

SHAPE, WEIGHT = np.array([4.0, 0.0, 4.0]), np.array([0.0, 0.0, 0.01, 0.02, 0.01])
FIELD = {
    "size": 320.0, "n_sources": 2, "margin": 120.0, "pair_fraction": 1.0, "flux_range": (0.8, 1.0),
    "temperature_range": (16.0, 20.0), "fwhm_range": (4.0, 6.0), "pair_separation": (11.0, 11.1),
}  # fmt: skip


def blocks_of_one():
    """Blocks of the first of a pair, of which the second is not known; its place and that of the other."""
    _, bands, truth = small_field(seed=5, **FIELD)
    alone = truth.select(np.array([0]))
    theta = np.append(alone.position[0], alone.shape[0])
    return FieldView.of(bands, alone).blocks(np.array([0])), theta, truth.position[1]


def linear_gain(blocks, theta, place):
    """Fall of the cost by a further source: all linear terms of all bands in one design matrix."""
    rows, data, n = [], [], len(blocks)
    for b, block in enumerate(blocks):
        known = block.whiten(
            block.factor[0]
            * unit_gaussian_and_derivatives(block.sky - theta[None, None, :2], theta[None, 2:] + block.beam)[
                0
            ].T
        )
        new = block.whiten(block.model(np.append(place, SHAPE)[None]).T)
        flux = known[:, 0] @ block.whitened / (known[:, 0] @ known[:, 0])
        design = np.zeros((len(new), 5 + 2 * n))
        design[:, :5], design[:, 5 + b], design[:, 5 + n + b] = flux * known[:, 1:], known[:, 0], new[:, 0]
        rows.append(design)
        data.append(block.whitened)
    prior = np.zeros((5, 5 + 2 * n))
    prior[:, :5] = np.diag(np.sqrt(WEIGHT))
    design, data = np.vstack([*rows, prior]), np.concatenate([*data, np.zeros(5)])
    costs = []
    for columns in (5 + n, 5 + 2 * n):
        solution = np.linalg.lstsq(design[:, :columns], data, rcond=None)[0]
        costs.append(np.sum((data - design[:, :columns] @ solution) ** 2))
    return costs[0] - costs[1], solution[5 + n :]


def test_the_gain_is_that_of_least_squares():
    blocks, theta, other = blocks_of_one()
    gain = further_source(blocks, theta, other[None], shape=SHAPE, weight=WEIGHT).gains
    expected, fluxes = linear_gain(blocks, theta, other)
    assert (fluxes > 0.0).all()
    np.testing.assert_allclose(gain, expected, rtol=1e-3)


def with_light_at(block, theta, place):
    """The block of one source with its light and a fifth of that at another place, without noise."""
    light = block.model(theta[None]) + 0.2 * block.model(np.append(place, SHAPE)[None])
    return replace(block, whitened=block.whiten(light.T)[:, 0])


def test_the_gain_is_largest_where_the_source_is_that_is_not_known():
    blocks, theta, other = blocks_of_one()
    blocks = [with_light_at(block, theta, other) for block in blocks]
    ticks = np.arange(-15.0, 15.1, 3.0)
    places = other + np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
    places = places[np.hypot(*(places - theta[:2]).T) > 3.0]
    gains = further_source(blocks, theta, places, shape=SHAPE, weight=WEIGHT).gains
    np.testing.assert_array_equal(places[gains.argmax()], other)


def without_prior_or_noise(blocks, theta, place, fluxes):
    """What a fit of the known source finds of its light and a further one's: all linear terms at once."""
    n, rows, data = len(blocks), [], []
    for b, block in enumerate(blocks):
        profile = unit_gaussian_and_derivatives(
            block.sky - theta[None, None, :2], theta[None, 2:] + block.beam
        )[0]
        known = block.whiten(block.factor[0] * profile.T)
        design = np.zeros((len(known), 5 + n))
        design[:, :5], design[:, 5 + b] = known[:, 1:], known[:, 0]
        rows.append(design)
        data.append(
            known[:, 0] + fluxes[b] * block.whiten(block.model(np.append(place, SHAPE)[None]).T)[:, 0]
        )
    return np.linalg.lstsq(np.vstack(rows), np.concatenate(data), rcond=None)[0]


def test_what_is_wrong_without_the_further_source_is_that_of_least_squares():
    blocks, theta, other = blocks_of_one()
    alone = [replace(block, whitened=block.whiten(block.model(theta[None]).T)[:, 0]) for block in blocks]
    fluxes = 1e-3 * np.arange(1.0, len(blocks) + 1.0)
    result = further_source(alone, theta, other[None], shape=SHAPE, weight=np.zeros(5))
    expected = without_prior_or_noise(blocks, theta, other, fluxes)
    np.testing.assert_allclose(result.moves[0] @ fluxes, expected[:5], rtol=1e-6)
    np.testing.assert_allclose(result.adds[0] @ fluxes, expected[5:] - 1.0, rtol=1e-6)
