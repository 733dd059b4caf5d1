"""Injected sources: fluxes, shapes, places; the same for the same seed."""

import numpy as np
import pytest
from scipy import stats
from scipy.spatial import cKDTree

from helpers.injections import sky_setup
from hyper_py.diagnostics import ConfigurationError
from hyper_py.injection.drawing import BEAM, OWN, FluxRange, draw_sources
from hyper_py.numerics import gaussians

RANGE = FluxRange(low=1.0, high=5.0, bright=20.0)


@pytest.fixture(scope="module")
def setup(random_seed):
    return sky_setup(random_seed)


def draw(setup, seed, positions="random"):
    return draw_sources(setup, rng=np.random.default_rng(seed), ranges=(RANGE, RANGE), positions=positions)


def test_four_in_five_fluxes_are_log_uniform_where_the_curve_is_steep(rng):
    values = RANGE.draw(rng, 4000)
    steep = values < RANGE.high
    assert steep.mean() == pytest.approx(0.8, abs=0.03)
    for part, (low, high) in ((values[steep], (1.0, 5.0)), (values[~steep], (5.0, 20.0))):
        uniform = np.log(part / low) / np.log(high / low)
        assert stats.kstest(uniform, "uniform").pvalue > 1e-3


def test_half_have_the_beam_and_half_a_shape_of_the_catalogue(setup):
    parameters, kinds = draw(setup, 1)
    shapes = parameters[:, gaussians.SIGMA_1 :]
    np.testing.assert_allclose(shapes[kinds == BEAM], np.tile(setup.beam, (np.sum(kinds == BEAM), 1)))
    assert len(setup.shapes) >= 5
    for shape in shapes[kinds == OWN]:
        assert np.abs(setup.shapes - shape).max(axis=1).min() == 0.0


def test_places_are_usable_apart_and_uniform(setup):
    places = []
    for seed in range(150):
        xy = draw(setup, seed)[0][:, [gaussians.X, gaussians.Y]]
        x, y = np.rint(xy).astype(int).T
        assert setup.usable[y, x].all()
        assert cKDTree(xy).query(xy, k=2)[0][:, 1].min() >= setup.separation
        places.append(xy)
    x = np.concatenate(places)[:, 0]
    columns = np.flatnonzero(setup.usable.any(axis=0))
    uniform = (x - columns[0] + 0.5) / columns.size
    # Sources keep apart, which makes them a little more even than chance.
    assert stats.kstest(uniform, "uniform").pvalue > 1e-3


def test_like_sources_have_neighbours_as_near_as_the_catalogue(random_seed):
    setup = sky_setup(random_seed, n_sources=8, crowded_fraction=0.8, crowded_separation=(1.6, 2.4))
    known = cKDTree(setup.known[:, [gaussians.X, gaussians.Y]])
    near = {}
    for positions in ("random", "like-sources"):
        drawn = [draw(setup, seed, positions) for seed in range(60)]
        xy = np.concatenate([p[kinds == OWN][:, [gaussians.X, gaussians.Y]] for p, kinds in drawn])
        near[positions] = np.mean(known.query(xy)[0] < 3.0 * setup.fwhm)
    expected = np.mean(setup.neighbours < 3.0 * setup.fwhm)
    assert expected > 0.5
    assert near["like-sources"] == pytest.approx(expected, abs=0.15)
    assert near["random"] < 0.5 * expected


def test_same_seed_same_sources(setup):
    np.testing.assert_array_equal(draw(setup, 4)[0], draw(setup, 4)[0])
    assert not np.array_equal(draw(setup, 4)[0], draw(setup, 5)[0])


def test_amplitudes_must_rise():
    with pytest.raises(ConfigurationError, match="must be positive and rise"):
        FluxRange(low=2.0, high=1.0, bright=3.0)
