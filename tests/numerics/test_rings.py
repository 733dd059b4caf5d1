"""Rings: Gaussians spread over an ellipse, their derivatives, fluxes and moments."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from hyper_py.numerics import gaussians, rings

RING = np.array([3.0, 21.3, 18.6, 3.1, 2.2, 0.7, 1.8])
Y, X = (axis.ravel().astype(float) for axis in np.mgrid[:40, :44])


def test_a_ring_is_a_gaussian_spread_over_an_ellipse():
    """The referee puts many Gaussians on the ellipse."""
    amplitude, x, y, sigma_1, sigma_2, theta, k = RING
    at = np.linspace(0.0, 2.0 * np.pi, 400, endpoint=False)
    along, across = k * sigma_1 * np.cos(at), k * sigma_2 * np.sin(at)
    many = np.tile(RING[:6], (at.size, 1))
    many[:, gaussians.AMPLITUDE] = amplitude / at.size
    many[:, gaussians.X] = x + np.cos(theta) * along - np.sin(theta) * across
    many[:, gaussians.Y] = y + np.sin(theta) * along + np.cos(theta) * across
    value, _ = rings.ring_and_jacobian(RING, Y, X)
    np.testing.assert_allclose(value, gaussians.gaussian_sum(many, Y, X), atol=1e-12)


def test_a_ring_without_radius_is_a_gaussian():
    ring = RING.copy()
    ring[rings.RADIUS] = 0.0
    value, _ = rings.ring_and_jacobian(ring, Y, X)
    np.testing.assert_allclose(value, gaussians.gaussian_sum(ring[None, :6], Y, X), rtol=1e-12)
    np.testing.assert_array_equal(rings.as_gaussian(ring), ring[:6])


@pytest.mark.parametrize("radius", [0.3, 1.8, 6.0])
def test_derivatives_are_those_of_finite_differences(radius):
    ring = RING.copy()
    ring[rings.RADIUS] = radius
    for y, x in ((18.6, 21.3), (20.0, 25.0), (12.5, 20.1)):  # at the centre, too
        _, jacobian = rings.ring_and_jacobian(ring, np.array([y]), np.array([x]))

        def value(p, y=y, x=x):
            return rings.ring_and_jacobian(p, np.array([y]), np.array([x]))[0][0]

        np.testing.assert_allclose(jacobian[:, 0], approx_fprime(ring, value, 1e-6), atol=2e-5)


def test_flux_and_second_moments_are_those_of_the_gaussian_that_stands_for_a_ring():
    y, x = (axis.ravel().astype(float) for axis in np.mgrid[-40:80, -40:84])
    value, _ = rings.ring_and_jacobian(RING, y, x)
    gaussian = rings.as_gaussian(RING)
    assert value.sum() == pytest.approx(gaussians.gaussian_flux(gaussian[None])[0], rel=1e-9)
    away = np.stack([x - RING[gaussians.X], y - RING[gaussians.Y]])
    moments = (value * away) @ away.T / value.sum()
    np.testing.assert_allclose(moments, gaussians.source_covariance(gaussian), rtol=1e-6)
    again = rings.from_moments(value.sum(), RING[[1, 2]], moments, radius=RING[rings.RADIUS])
    np.testing.assert_allclose(again, RING, rtol=1e-6)
