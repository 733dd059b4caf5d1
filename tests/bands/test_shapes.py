"""Shapes as covariances against the ellipses of the geometry."""

import numpy as np

from hyper_py.bands.shapes import bounded, determinant, sky_ellipses, symmetric, unique_elements
from hyper_py.geometry import Beam


def test_ellipses_are_those_of_a_beam():
    beam = Beam(major=9.0, minor=4.0, pa=33.0)
    major, minor, angle = sky_ellipses(unique_elements(beam.covariance)[None])
    np.testing.assert_allclose([major[0], minor[0], angle[0]], [9.0, 4.0, 33.0])


def test_a_rotation_turns_and_keeps_the_area(rng):
    shape, angle = np.array([5.0, 1.0, 2.0]), rng.uniform(0.0, 6.0)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turned = unique_elements(turn @ symmetric(shape) @ turn.T)
    np.testing.assert_allclose(determinant(turned), determinant(shape))


def test_bounds_hold_for_the_axes_and_leave_the_rest(rng):
    shapes = rng.normal(size=(20, 3)) * 5.0
    values = np.linalg.eigvalsh(symmetric(bounded(shapes, low=-1.0, high=4.0)))
    np.testing.assert_allclose(values, np.clip(np.linalg.eigvalsh(symmetric(shapes)), -1.0, 4.0), atol=1e-12)
