"""Joint background polynomials against their definition."""

import numpy as np

from hyper_py.background.joint import JointBackground, JointPolynomial, affordable_orders
from hyper_py.background.model import NoBackground
from hyper_py.numerics.fit_pixels import select_fit_pixels
from hyper_py.numerics.polynomial import Scaling, n_terms, scaling_of_pixels


def test_orders_that_the_pixels_cannot_carry_are_not_tried():
    assert affordable_orders((0, 1, 2, 3), n_pixels=300, n_sources=2) == [0, 1, 2, 3]
    assert affordable_orders((0, 1, 2, 3), n_pixels=25, n_sources=1) == [0, 1, 2]
    assert affordable_orders((2, 3), n_pixels=10, n_sources=1) == [2]


def test_a_background_on_top_of_another_is_their_sum():
    pixels = select_fit_pixels(
        np.array([9.0]), np.array([7.0]), radius=np.array([4.0]), usable=np.ones((20, 20), bool)
    )
    plain = JointPolynomial(1, Scaling(0.0, 0.0, 1.0, 1.0))
    one = JointBackground(
        polynomial=plain, coefficients=np.array([1.0, 2.0, 3.0]), pixels=pixels, below=NoBackground()
    )
    two = JointBackground(
        polynomial=plain._replace(order=0), coefficients=np.array([5.0]), pixels=pixels, below=one
    )
    y, x = np.array([2, 3]), np.array([4, 9])
    np.testing.assert_allclose(one.at(y, x), 1 + 2 * x + 3 * y)
    np.testing.assert_allclose(two.at(y, x), 6 + 2 * x + 3 * y)
    assert two.paint().values.shape == pixels.y.shape
    assert plain.design(y, x).shape == (2, n_terms(1))
    assert two.order == one.order == 1
    assert NoBackground().paint().y.size == 0
    assert not NoBackground().at(y, x).any()


def test_no_pixels_have_a_scaling():
    none = np.empty(0, dtype=np.int64)
    assert scaling_of_pixels(none, none) == Scaling(0.0, 0.0, 1.0, 1.0)
