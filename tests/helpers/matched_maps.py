"""Maps with sources in correlated noise, shared by the tests of the matched filter."""

import numpy as np
from scipy import ndimage

from hyper_py.detection.power_spectrum import beam_fwhm
from hyper_py.geometry import covariance_from_ellipse

BEAM = covariance_from_ellipse(4.5, 3.4, 0.6)
FWHM = beam_fwhm(BEAM)


def gaussian(shape, x, y, peak, covariance):
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    dx, dy = columns - x, rows - y
    c = np.linalg.inv(covariance)
    return peak * np.exp(-0.5 * (c[0, 0] * dx * dx + 2 * c[0, 1] * dx * dy + c[1, 1] * dy * dy))


def noise_field(rng, shape, background=2.0, white=0.3):
    """Noise of variance 1, of which a part is white and the rest has beam size, and a smooth background."""
    fields = []
    for size in (0.9 * FWHM, 3.5 * FWHM):
        field = ndimage.gaussian_filter(rng.normal(size=shape), size / 2.3548, mode="wrap")
        fields.append(field / field.std())
    return np.sqrt(1 - white**2) * fields[0] + white * rng.normal(size=shape) + background * fields[1]


def field(seed=0, shape=(200, 240), number=30, peak=(8.0, 30.0), **options):
    """A map with sources of 0.9 to 1.3 beams, at least three beams apart."""
    rng = np.random.default_rng(seed)
    data = noise_field(rng, shape, **options)
    points = []
    while len(points) < number:
        point = rng.uniform((12, 12), (shape[1] - 13, shape[0] - 13))
        if all(np.hypot(*(point - p)) > 3 * FWHM for p in points):
            points.append(point)
    x, y = np.array(points).T if points else np.empty((2, 0))
    for xi, yi in zip(x, y, strict=True):
        data += gaussian(shape, xi, yi, rng.uniform(*peak), BEAM * rng.uniform(0.9, 1.3) ** 2)
    return data, x, y
