"""Sources, noise and settings that the tests of units share."""

import numpy as np

from hyper_py.background.joint import NoBackground
from hyper_py.noise.covariance import CovarianceModel
from hyper_py.photometry.flux_errors import FittedGroup

FWHM = 4.0
SETTINGS = {
    "fwhm": FWHM, "beam_area": 18.1, "rms": 1.0, "min_box": 2.0, "max_box": 3.0, "aper_sup": 1.5,
    "orders": (1,), "estimators": ("least_squares",), "huber_epsilons": (1.35,), "criterion": "cv",
}  # fmt: skip
TIGHT = {"ftol": 1e-14, "xtol": 1e-12, "gtol": 1e-13}


def plane(shape):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return 3.0 + 0.02 * x - 0.05 * y


def sources_at(*places):
    return np.array([[1.0, x, y, 1.7, 1.7, 0.0] for x, y in places])


def noise_model(*, reach=12, width=1.8, white=0.3):
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    lags = (1 - white) * np.exp(-0.25 * (x * x + 2 * 0.3 * x * y + 1.4 * y * y) / width**2)
    lags[reach, reach] += white
    return CovarianceModel(lags)


def dense(noise, y, x):
    """Covariance of pixels, zero beyond the reach."""
    dy, dx = y[:, None] - y, x[:, None] - x
    near = (abs(dy) <= noise.reach) & (abs(dx) <= noise.reach)
    matrix = np.zeros(dy.shape)
    matrix[near] = noise.lags[dy[near] + noise.reach, dx[near] + noise.reach]
    return matrix


def fitted_unit(
    fit, window, whitener, background, apertures, fractions, *, sky=None, scale=1.0, fixed=None, assumed=None
):
    """A unit after its fit on the background that was fitted apart, or on a sky that holds it."""
    if sky is None:
        sky = NoBackground() if background is None else background
    if fixed is None:
        fixed = np.zeros(fit.parameters.shape, dtype=bool)
    if assumed is None:
        assumed = np.zeros(fit.parameters.shape)
    return FittedGroup(
        fit=fit, window=window, whitener=whitener, sky=sky, background=background, apertures=apertures,
        fractions=fractions, scale=scale, fixed=fixed, assumed=assumed,
    )  # fmt: skip
