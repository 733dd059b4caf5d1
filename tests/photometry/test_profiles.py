"""Profiles against linear refits, and of shapes that are known."""

import numpy as np
import pytest

from helpers.groups import fitted_group
from helpers.single_groups import (
    PAIR,
    SINGLE,
    fit_one,
    model,
    whitener_and_covariance,
    wide_bounds,
    window_of,
)
from hyper_py.numerics import gaussians, parallel
from hyper_py.numerics.parallel import workers
from hyper_py.photometry.profiles import OF_A_CORE, SIGNIFICANT, WIDER, Profiles, measure_profiles
from hyper_py.simulation.resolved import profile_values


def fitted(data, window, whitener, sources):
    fit = fit_one(data, window, whitener, sources, limits=wide_bounds(sources))
    return fitted_group(fit, window, whitener, data=data)


@pytest.mark.parametrize("kind", ["white", "correlated"])
@pytest.mark.parametrize("sources", [SINGLE, PAIR], ids=["single", "pair"])
def test_amplitude_and_error_are_those_of_a_linear_refit(kind, sources):
    window = window_of(sources, radius=11.0)
    whitener, covariance = whitener_and_covariance(window, kind=kind)
    noise = np.random.default_rng(7).multivariate_normal(np.zeros(window.y.size), covariance)
    group = fitted(model(sources, window) + noise, window, whitener, sources)
    found = measure_profiles([group], len(sources))
    y, x = window.y.astype(float), window.x.astype(float)
    own = group.fitted.parameters
    value, jacobian = gaussians.gaussian_sum_and_jacobian(own[None], y[None], x[None])
    root = np.linalg.inv(np.linalg.cholesky(covariance))
    for k, source in enumerate(own):
        wider = source * [1.0, 1.0, 1.0, WIDER, WIDER, 1.0]
        design = root @ np.column_stack([*jacobian[0], gaussians.gaussian_sum(wider[None], y, x)])
        solution = np.linalg.lstsq(design, root @ (group.values - value[0]), rcond=None)[0]
        error = np.sqrt(np.linalg.pinv(design.T @ design)[-1, -1])
        assert found.amplitude[k] == pytest.approx(solution[-1], rel=1e-4, abs=1e-6)
        assert found.error[k] == pytest.approx(error, rel=1e-4)


@pytest.mark.parametrize(("profile", "sign"), [("gaussian", 0), ("disc", 1), ("core", 1), ("ring", -1)])
def test_discs_and_cores_have_more_light_outside_and_rings_less(profile, sign):
    source = np.array([[1.0, 20.3, 19.6, 3.0, 2.5, 0.6]])
    window = window_of(source, radius=14.0)
    whitener, covariance = whitener_and_covariance(window, kind="white", sigma=0.005)
    data = model(source, window)
    if sign:
        radius = np.sqrt(-2.0 * np.log(model(source, window))) / 2.3548  # in FWHM
        data = profile_values(profile, radius)
    data = data + np.random.default_rng(3).normal(size=data.size) * np.sqrt(covariance[0, 0])
    found = measure_profiles([fitted(data, window, whitener, source)], 1)
    assert found.is_other[0] == (sign != 0)
    assert not found.is_unknown[0]
    assert sign * found.amplitude[0] > 0.3 or not sign


def test_where_noise_hides_a_core_the_profile_is_unknown():
    limit = OF_A_CORE / SIGNIFICANT
    found = Profiles(
        amplitude=np.array([0.0, 0.0, 2.0, np.nan]), error=np.array([0.9, 1.1, 1.1, np.nan]) * limit
    )
    assert found.is_unknown.tolist() == [False, True, False, False]
    assert found.is_other.tolist() == [False, False, True, False]


def test_processes_give_the_same_bytes(monkeypatch):
    monkeypatch.setattr(parallel, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr("hyper_py.fitting.groups._PART_GROUPS", 1)
    window = window_of(SINGLE, radius=11.0)
    whitener, covariance = whitener_and_covariance(window, kind="white")
    groups = []
    for k in range(4):
        noise = np.random.default_rng(k).normal(size=window.y.size) * np.sqrt(covariance[0, 0])
        group = fitted(model(SINGLE, window) + noise, window, whitener, SINGLE)
        groups.append(group.but(members=np.array([k])))
    alone = measure_profiles(groups, 4)
    with workers(2):
        shared = measure_profiles(groups, 4)
    assert np.unique(alone.amplitude).size == 4
    assert alone.amplitude.tobytes() == shared.amplitude.tobytes()
    assert alone.error.tobytes() == shared.error.tobytes()
