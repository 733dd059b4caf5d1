import numpy as np
import pytest

from helpers.problems import make_problem
from hyper_py.noise.covariance import beam_covariance_model
from hyper_py.noise.whitening import WhitenerCache
from hyper_py.numerics import models
from hyper_py.options import FitOptions, Options, PhotometryOptions
from hyper_py.pipeline.fit_setup import FitSetup, _window_radii, ground_of


@pytest.mark.parametrize(
    ("ratio", "size", "beams"), [(1.0, 1.0, 2.5), (1.0, 2.4, 2.9), (1.5, None, 3.5), (1.0, 9.0, 3.5)]
)
def test_windows_hold_the_surroundings_of_their_apertures(ratio, size, beams):
    data = np.random.default_rng(1).normal(size=(100, 100))
    sigma = (size or 1.0) * 4.0 / 2.3548
    source = np.array([[5.0, 50.0, 50.0, sigma, sigma, 0.0]])
    fixed = np.array([[False, True, True, *[size is not None] * 3]])
    task = make_problem(source, data, fixed=fixed, forced=True)
    options = Options(photometry=PhotometryOptions(fwhm_radius_ratio=ratio, aper_sup=2.2))
    radius = _window_radii(task, options)
    np.testing.assert_allclose(radius / 4.0, beams, rtol=1e-3)


def make_round(task, *, noise_model="correlated", level=None, seen=()):
    noise = beam_covariance_model(task.beam_covariance, rms=2.0, max_lag=40)
    options = Options(fit_options=FitOptions(noise_model=noise_model))
    level = np.ones(task.data.shape) if level is None else level
    ground = ground_of(task, task.start, options)
    return FitSetup.make(task, options, WhitenerCache(noise), level, ground, seen=seen)


def test_units_with_a_fit_keep_their_windows_and_fixed_parameters_their_value():
    data = np.random.default_rng(2).normal(size=(90, 100))
    sources = np.array([[5.0, 30.0, 40.0, 1.7, 1.7, 0.0], [4.0, 70.0, 50.0, 1.7, 1.7, 0.0]])
    fixed = np.zeros(sources.shape, dtype=bool)
    fixed[1, models.SIGMA_1 :] = True
    task = make_problem(sources, data, fixed=fixed)
    first = make_round(task)
    again = make_round(task, seen=[(first.windows[0], first.data[0]), None])
    assert again.windows[0] is first.windows[0]
    assert again.windows[1] is not first.windows[1]
    held = first.limits.lower == first.limits.upper
    np.testing.assert_array_equal(held, fixed)
    np.testing.assert_array_equal(first.limits.lower[1, 3:], sources[1, 3:])


@pytest.mark.parametrize("noise_model", ["white", "correlated"])
def test_metrics_weigh_by_the_noise_where_the_unit_is(noise_model):
    data = np.random.default_rng(3).normal(size=(90, 200))
    sources = np.array([[5.0, 30.0, 40.0, 1.7, 1.7, 0.0], [4.0, 170.0, 40.0, 1.7, 1.7, 0.0]])
    level = np.where(np.arange(200) < 100, 1.0, 3.0) * np.ones((90, 1))
    this = make_round(make_problem(sources, data, rms=level), noise_model=noise_model, level=level)
    quiet, loud = (
        whitener.project(np.ones(window.y.size) * np.arange(window.y.size))
        for whitener, window in zip(this.whiteners, this.windows, strict=True)
    )
    np.testing.assert_allclose(quiet, 3.0 * loud, atol=1e-9 * np.abs(quiet).max())
