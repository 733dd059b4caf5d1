"""Pixels inside ellipses against photutils, closed forms and what cannot be."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from photutils.geometry import elliptical_overlap_grid

from hyper_py.numerics.overlap import ellipse_overlap


def overlap(dy, dx, a, b, theta):
    """Return the areas of one grid."""
    a, b, theta = (np.array([value]) for value in (a, b, theta))
    return ellipse_overlap(dy[None], dx[None], semi_major=a, semi_minor=b, theta=theta)[0]


@given(
    st.floats(-12, 12),
    st.floats(-12, 12),
    st.floats(0.05, 9),
    st.floats(0.05, 1),
    st.floats(-7, 7),
)
def test_every_pixel_is_that_of_photutils(y0, x0, major, ratio, theta):
    dy, dx = y0 + np.arange(11.0), x0 + np.arange(14.0)
    expected = elliptical_overlap_grid(
        dx[0], dx[-1], dy[0], dy[-1], 13, 10, major, ratio * major, theta, 1, 1
    )
    np.testing.assert_allclose(overlap(dy, dx, major, ratio * major, theta), expected, atol=1e-10)


def test_circle_through_corners_and_along_edges():
    edges = np.arange(-3.0, 4.0)
    inside = overlap(edges, edges, 3.0, 3.0, 0.0)
    quarter = inside[3:, 3:]
    assert inside.sum() == pytest.approx(9.0 * np.pi, rel=1e-14)
    np.testing.assert_allclose(inside, inside[::-1], atol=1e-14)
    # Under the arc from x = 0 to 1 above y = 2.
    expected = 0.5 * (np.sqrt(8.0) + 9.0 * np.arcsin(1.0 / 3.0)) - 2.0
    assert quarter[2, 0] == pytest.approx(expected, rel=1e-13)
    assert quarter[0, 0] == 1.0


def test_far_pixels_have_exactly_nothing():
    edges = np.arange(4.0, 9.0)
    assert (overlap(edges, edges, 5.0, 2.0, 0.3) >= 0.0).all()
    assert not overlap(edges + 3.0, edges + 3.0, 5.0, 2.0, 0.3).any()


def test_ellipse_smaller_than_a_pixel():
    edges = np.array([-0.5, 0.5])
    assert overlap(edges, edges, 0.2, 0.1, 1.0)[0, 0] == pytest.approx(0.02 * np.pi, rel=1e-13)
