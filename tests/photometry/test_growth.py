"""Growth curves on residuals of which the light is known."""

import pickle

import numpy as np
import pytest
from scipy import ndimage

from hyper_py.noise.covariance import beam_covariance_model
from hyper_py.numerics import parallel
from hyper_py.numerics.answers import Work, attempt
from hyper_py.numerics.gaussians import gaussian_flux, render
from hyper_py.numerics.parallel import done_by, workers
from hyper_py.photometry.growth import growth_curves

SHAPE = (161, 171)
BEAM = 1.5**2 * np.eye(2)
MODEL = beam_covariance_model(BEAM, rms=1.0, max_lag=60)
SOURCE = np.array([[40.0, 85.2, 80.4, 5.0, 4.0, 0.5]])
FLAT = np.ones(SHAPE)


def noise(seed: int) -> np.ndarray:
    seen = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=SHAPE), 1.5, mode="wrap")
    return seen * 2.0 * np.sqrt(np.pi) * 1.5


def grown(residual: np.ndarray, sources: np.ndarray = SOURCE, *, step: int = 1, snr: float = 50.0):
    return growth_curves(
        residual, sources, snr=np.full(len(sources), snr), noise=MODEL, relative_rms=FLAT, step=step
    )


@pytest.mark.parametrize("step", [1, 2])
def test_light_beyond_a_gaussian_is_summed(step: int) -> None:
    wider = SOURCE.copy()
    wider[0, 0], wider[0, 3:5] = 8.0, (9.0, 7.2)
    result = grown(render(wider, SHAPE) + 5.0, step=step)
    assert result.is_other[0]
    assert result.beyond[0] == pytest.approx(gaussian_flux(wider)[0], rel=0.1)
    assert 1.5 <= result.radius[0] <= 4.0


def test_noise_is_no_other_profile_and_the_error_is_that_of_the_noise() -> None:
    results = [grown(noise(seed)) for seed in range(60)]
    pull = np.array([r.beyond[0] / r.error[0] for r in results])
    assert 0.75 < pull.std() < 1.3
    assert sum(r.is_other[0] for r in results) <= 2


def test_faint_sources_and_those_beside_the_map_are_not_looked_at() -> None:
    assert np.isnan(grown(noise(1), snr=5.0).beyond[0])
    beside = SOURCE.copy()
    beside[0, 1:3] = -9.0, 80.0
    result = grown(noise(1), beside)
    assert np.isnan(result.beyond[0])
    assert not result.is_other[0]


def test_a_neighbour_is_left_out() -> None:
    neighbour = np.array([[30.0, 110.0, 80.0, 2.0, 2.0, 0.0]])
    left = render(np.array([[15.0, 110.0, 80.0, 2.0, 2.0, 0.0]]), SHAPE)
    alone, both = grown(left), grown(left, np.concatenate([SOURCE, neighbour]))
    light = gaussian_flux(np.array([[15.0, 110.0, 80.0, 2.0, 2.0, 0.0]]))[0]
    assert abs(both.beyond[0]) < 0.1 * light < abs(alone.beyond[0])


class Remote:
    """A team that gets its functions as a cluster does."""

    def __init__(self) -> None:
        self.n_done = 0

    def prepared(self, function, items, *, recorded):
        def answers(numbers):
            cloudpickle = pytest.importorskip("cloudpickle")
            sent = pickle.loads(cloudpickle.dumps(function))
            for k in numbers:
                self.n_done += 1
                yield k, attempt(sent, items[k])

        return Work(0.0, answers)


@pytest.mark.parametrize("is_remote", [False, True])
def test_processes_give_the_same_bytes(monkeypatch, is_remote: bool) -> None:
    monkeypatch.setattr(parallel, "LEAST_SECONDS", 0.0)
    places = np.random.default_rng(6).uniform(20, 140, (70, 2))
    sources = np.column_stack([np.full(70, 20.0), places, np.tile([2.0, 1.6, 0.3], (70, 1))])
    alone = grown(noise(2), sources)
    team = Remote()
    with done_by(team) if is_remote else workers(2):
        shared = grown(noise(2), sources)
    assert team.n_done == 3 * is_remote
    assert np.isfinite(alone.beyond).any()
    for name in ("is_other", "beyond", "error", "radius"):
        assert getattr(alone, name).tobytes() == getattr(shared, name).tobytes()
