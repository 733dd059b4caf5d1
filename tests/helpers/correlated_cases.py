"""A source in correlated noise of known covariance."""

import numpy as np

from hyper_py.noise.covariance import CovarianceModel
from hyper_py.numerics import gaussians
from hyper_py.numerics.fit_pixels import select_fit_pixels

SHAPE = (31, 33)
SOURCE = np.array([[1.0, 16.2, 15.1, 2.1, 1.7, 0.5]])
TIGHT = {"ftol": 1e-14, "xtol": 1e-12, "gtol": 1e-13}


def covariance_lags(*, reach=40, width=1.8, wide=6.0, conditioned=0.0):
    """Beam-correlated noise, a wider background, a white part; the whitener may have more of it."""
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    square = x * x + y * y
    lags = 0.5 * np.exp(-0.25 * square / width**2) + 0.4 * np.exp(-0.25 * square / wide**2)
    lags[reach, reach] += 0.1
    measured = lags.copy()
    lags[reach, reach] += conditioned
    return CovarianceModel(lags, measured=measured)


def window_of(sources, *, radius=7.0, usable=None):
    usable = np.ones(SHAPE, dtype=bool) if usable is None else usable
    return select_fit_pixels(
        sources[:, 1], sources[:, 2], radius=np.full(len(sources), radius), usable=usable
    )


def value(sources, window):
    return gaussians.gaussian_sum(sources, window.y.astype(float), window.x.astype(float))
