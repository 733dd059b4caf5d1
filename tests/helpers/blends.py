"""Small blends of sources, in white and correlated noise, and their fits."""

import numpy as np

from helpers.groups import bounds_around, fit_all, fitted_group, whitener_of
from hyper_py.deblending.score_test import best_additions
from hyper_py.noise.whitening import whitening_matrix
from hyper_py.numerics import gaussians
from hyper_py.numerics.fit_pixels import select_fit_pixels

SHAPE = (45, 47)
BEAM = np.array([2.0, 1.8, 0.4])
SIGMA_LIMITS = (0.9, 3.8)
SHIFT = 2.2


def window_of(sources, radius=11.0):
    return select_fit_pixels(
        sources[:, 1], sources[:, 2], radius=np.full(len(sources), radius), usable=np.ones(SHAPE, dtype=bool)
    )


def value(sources, window):
    return gaussians.gaussian_sum(sources, window.y.astype(float), window.x.astype(float))


def covariance_of(window, kind):
    n = window.y.size
    if kind == "white":
        return np.eye(n)
    distance = (window.y[:, None] - window.y) ** 2 + (window.x[:, None] - window.x) ** 2
    return 0.7 * np.exp(-0.25 * distance / 1.9**2) + 0.3 * np.eye(n)


def make_whitener(window, kind):
    """A whitener in noise of rms 1, the mean free in correlated noise as in the pipeline."""
    if kind == "white":
        return whitener_of(weights=np.ones(window.y.size))
    return whitener_of(weights=np.ones(window.y.size), matrix=whitening_matrix(covariance_of(window, kind)))


def noise_of(window, kind, rng):
    return np.linalg.cholesky(covariance_of(window, kind)) @ rng.normal(size=window.y.size)


def fit_of(data, window, whitener, start):
    lower, upper = bounds_around(
        start, sigma_limits=SIGMA_LIMITS, amplitude_limits=(-np.inf, np.inf), shift=SHIFT
    )
    return fit_all([data], [window], [whitener], [start], lower=[lower], upper=[upper])[0]


def best_addition(data, window, whitener, fit, *, beam):
    found = best_additions([fitted_group(fit, window, whitener, data=data)], beam=beam)[0]
    return found[0] if len(found) else None


def beam_sources(*places):
    """Beam-shaped sources of (amplitude, x, y)."""
    return np.array([[*place, *BEAM] for place in places])
