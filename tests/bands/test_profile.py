"""The profile of a source: its integral, and derivatives against differences."""

import numpy as np

from hyper_py.bands.profile import unit_gaussian, unit_gaussian_and_derivatives

SHAPES = np.array([[40.0, 12.0, 25.0], [9.0, -2.0, 16.0]])


def test_its_integral_is_one():
    x, y = np.meshgrid(np.arange(-60.0, 60.0), np.arange(-60.0, 60.0))
    offsets = np.tile(np.column_stack([x.ravel(), y.ravel()]), (2, 1, 1))
    np.testing.assert_allclose(unit_gaussian(offsets, SHAPES).sum(axis=1), 1.0, rtol=1e-6)


def test_derivatives_are_those_of_differences(rng):
    pixels, theta = rng.normal(size=(30, 2)) * 8.0, np.column_stack([rng.normal(size=(2, 2)), SHAPES])

    def value(t):
        return unit_gaussian(pixels - t[:, None, :2], t[:, 2:])

    found = unit_gaussian_and_derivatives(pixels - theta[:, None, :2], theta[:, 2:])
    np.testing.assert_allclose(found[:, 0], value(theta))
    for k in range(5):
        step = np.zeros(5)
        step[k] = 1e-4
        difference = (value(theta + step) - value(theta - step)) / 2e-4
        np.testing.assert_allclose(found[:, 1 + k], difference, rtol=1e-6, atol=1e-10)
