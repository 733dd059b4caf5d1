"""Groups of one or two sources on small discs, in white and in correlated noise, and their fits."""

import numpy as np

from helpers.groups import bounds_around, fit_all, whitener_of
from hyper_py.numerics import gaussians
from hyper_py.numerics.fit_pixels import select_fit_pixels

SHAPE = (41, 43)
TIGHT = {"ftol": 1e-14, "xtol": 1e-12, "gtol": 1e-13}
SINGLE = np.array([[1.0, 20.3, 19.6, 2.4, 1.7, 0.6]])
PAIR = np.array([[1.0, 18.3, 19.6, 2.4, 1.7, 0.6], [0.7, 22.9, 21.2, 1.9, 1.6, 1.9]])


def window_of(sources, *, radius=8.0, usable=None):
    usable = np.ones(SHAPE, dtype=bool) if usable is None else usable
    return select_fit_pixels(
        sources[:, gaussians.X], sources[:, gaussians.Y], radius=np.full(len(sources), radius), usable=usable
    )


def correlation(window, *, width=1.3, white=0.2):
    """Covariance of beam-like correlated noise with a white part, unit variance."""
    distance = (window.y[:, None] - window.y) ** 2 + (window.x[:, None] - window.x) ** 2
    return (1 - white) * np.exp(-0.25 * distance / width**2) + white * np.eye(window.y.size)


def whitener_and_covariance(window, *, kind, sigma=0.02):
    """A whitener, and the covariance of the noise that it belongs to."""
    if kind == "white":
        return whitener_of(np.full(window.y.size, 1 / sigma)), sigma**2 * np.eye(window.y.size)
    covariance = correlation(window)
    whitening = np.linalg.inv(np.linalg.cholesky(covariance))
    return whitener_of(np.full(window.y.size, 1 / sigma), matrix=whitening), sigma**2 * covariance


def model(sources, window):
    return gaussians.gaussian_sum(sources, window.y.astype(float), window.x.astype(float))


def wide_bounds(start):
    return bounds_around(start, sigma_limits=(0.5, 6.0), amplitude_limits=(-np.inf, np.inf), shift=3.0)


def fit_one(values, window, whitener, start, *, limits=None, **options):
    lower, upper = limits or wide_bounds(start)
    return fit_all([values], [window], [whitener], [start], lower=[lower], upper=[upper], **options)[0]
