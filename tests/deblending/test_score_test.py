"""Evidence for one more source against linear refits."""

import numpy as np
import pytest

from helpers.blends import (
    BEAM,
    beam_sources,
    best_addition,
    fit_of,
    make_whitener,
    noise_of,
    value,
    window_of,
)
from hyper_py.deblending.score_test import distant_places
from hyper_py.numerics import gaussians


@pytest.mark.parametrize("kind", ["white", "correlated"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_place_and_amplitude_are_those_of_the_best_linear_refit(kind, seed):
    rng = np.random.default_rng(seed)
    truth = beam_sources((40, 23.2, 22.1), (14, 27.5, 24.0))
    window = window_of(truth[:1])
    whitener = make_whitener(window, kind)
    data = value(truth, window) + noise_of(window, kind, rng)
    fit = fit_of(data, window, whitener, truth[:1])
    place = best_addition(data, window, whitener, fit, beam=BEAM)

    y, x = window.y.astype(float), window.x.astype(float)
    model, jacobian = gaussians.gaussian_sum_and_jacobian(fit.parameters[None], y[None], x[None])

    def whiten(v):
        return v if whitener.matrix is None else whitener.matrix.values @ v

    def refit(columns):
        design, target = whiten(np.column_stack(columns)), whiten(data - model[0])
        solution = np.linalg.lstsq(design, target, rcond=None)[0]
        return np.sum((target - design @ solution) ** 2), solution[-1]

    before, _ = refit(list(jacobian[0]))
    gains, amplitudes = {}, {}
    for px, py in zip(window.x, window.y, strict=True):
        if np.hypot(px - fit.parameters[0, 1], py - fit.parameters[0, 2]) > 7.0 or (px + py) % 2:
            continue
        beam = gaussians.gaussian_sum(np.array([[1.0, px, py, *BEAM]]), y, x)
        after, amplitude = refit([*jacobian[0], beam])
        if amplitude > 0:
            gains[px, py], amplitudes[px, py] = before - after, amplitude
    best = max(gains, key=gains.get)
    assert (place[1], place[2]) == best
    assert place[0] == pytest.approx(amplitudes[best], rel=1e-6)
    assert gains[best] > 3.5**2


@pytest.mark.parametrize("kind", ["white", "correlated"])
def test_noise_alone_rarely_scores(kind):
    rng = np.random.default_rng(5)
    truth = beam_sources((40, 23.2, 22.1))
    window = window_of(truth)
    whitener = make_whitener(window, kind)
    found = 0
    for _ in range(150):
        data = value(truth, window) + noise_of(window, kind, rng)
        fit = fit_of(data, window, whitener, truth)
        found += best_addition(data, window, whitener, fit, beam=BEAM) is not None
    # Some 20 independent places, each beyond 3.5 sigma with 2.3e-4.
    assert found <= 4


def test_nothing_where_there_is_no_pixel_to_look_at():
    truth = beam_sources((40, 23.0, 22.0))
    window = window_of(truth)
    whitener = make_whitener(window, "white")
    far = fit_of(value(truth, window), window, whitener, truth)
    moved = type(far)(
        parameters=np.add(far.parameters, [0, 300.0, 0, 0, 0, 0]),
        at_bound=far.at_bound,
        cost=0.0,
        status=1,
        n_evaluations=1,
    )
    assert best_addition(value(truth, window), window, whitener, moved, beam=BEAM) is None
    assert best_addition(value(truth, window), window, whitener, far, beam=BEAM) is None


def test_negative_residuals_are_no_sources():
    truth = beam_sources((40, 23.2, 22.1), (-20, 28.0, 24.0))
    window = window_of(truth[:1])
    whitener = make_whitener(window, "white")
    data = value(truth, window)
    place = best_addition(data, window, whitener, fit_of(data, window, whitener, truth[:1]), beam=BEAM)
    assert place is None or np.hypot(place[1] - 28, place[2] - 24) > 3


def test_places_keep_a_distance_and_the_best_come_first():
    x = np.arange(10.0)
    score = np.array([4, 9, 8, 4, 7, 1, 5, 6, 2, 3.6])
    assert distant_places(score, x, 0 * x, most=9, distance=2.5) == [1, 4, 7]
    assert distant_places(score, x, 0 * x, most=2, distance=2.5) == [1, 4]
    assert distant_places(np.full(3, 3.4), x[:3], x[:3], most=2, distance=1.0) == []
