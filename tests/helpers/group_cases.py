"""Sources, noise and settings that the tests of groups share."""

import numpy as np

from helpers.groups import fitted_group
from hyper_py.background.selection import Choice
from hyper_py.background.separate import Boxes, separate_backgrounds
from hyper_py.noise.covariance import CovarianceModel
from hyper_py.photometry.aperture import GroupApertures

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


def backgrounds_with(
    data, mask, sources, partition, *, fwhm, beam_area, rms, min_box, max_box, aper_sup, own=None, **choice
):
    """Separate backgrounds by settings such as `SETTINGS`."""
    boxes = Boxes(beam_fwhm=fwhm, beam_area=beam_area, min_box=min_box, max_box=max_box, aper_sup=aper_sup)
    choice = Choice(**{"clip_sigma": 3.0, **choice})
    seen = np.where(mask, np.nan, data)
    return separate_backgrounds(seen, sources, partition, boxes=boxes, choice=choice, rms=rms, own=own)


def with_apertures(fit, pixels, whitener, background, apertures, fractions, *, scale=1.0, **more):
    """A group after its fit on a background that was fitted before, and its apertures."""
    if background is not None:
        more["background"] = background
    group = fitted_group(fit, pixels, whitener, noise_scale=scale, **more)
    return GroupApertures(group=group, apertures=apertures, fractions=fractions)
