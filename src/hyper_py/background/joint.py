"""A background polynomial that is fitted jointly with the Gaussians.

The model of a group is sum of Gaussians + sum_k c_k t_k(x, y), with the terms t_k of a polynomial. It is
linear in the coefficients c_k, so that a fit with squared residuals eliminates them
(`hyper_py.noise.whitening.LinearTerms`); robust losses fit them together with the Gaussians. Which order is
taken is chosen in `hyper_py.fitting.joint_orders`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hyper_py.arrays import FloatArray, IntArray
from hyper_py.background.model import BackgroundModel, Painted
from hyper_py.numerics import gaussians
from hyper_py.numerics.fit_pixels import FitPixels
from hyper_py.numerics.polynomial import Scaling, evaluate_polynomial, n_terms, polynomial_design

PIXELS_PER_PARAMETER = 2
"""Orders that leave fewer pixels than this for each parameter are not tried."""


class JointPolynomial(NamedTuple):
    """Order of a polynomial, and its coordinates in map pixels."""

    order: int
    scaling: Scaling

    def design(self, y: IntArray, x: IntArray) -> FloatArray:
        """Return the values of the polynomial's terms at map pixels, (..., n_terms)."""
        return polynomial_design(y, x, order=self.order, scaling=self.scaling)


@dataclass(frozen=True, kw_only=True, eq=False)
class JointBackground:
    """The polynomial of a joint fit, on top of a background that was subtracted before.

    Attributes
    ----------
    polynomial : JointPolynomial
    coefficients : ndarray, shape (n_terms,)
    pixels : FitPixels
        Where it was fitted.
    below : BackgroundModel
    """

    polynomial: JointPolynomial
    coefficients: FloatArray
    pixels: FitPixels
    below: BackgroundModel

    @property
    def order(self) -> int:
        """Order of the sum of both."""
        return max(self.polynomial.order, self.below.order)

    def at(self, y: IntArray, x: IntArray) -> FloatArray:
        """Return the background at map pixels."""
        order, scaling = self.polynomial
        own = evaluate_polynomial(self.coefficients, y, x, order=order, scaling=scaling)
        return own + self.below.at(y, x)

    def paint(self) -> Painted:
        """Return the background on the pixels of the fit."""
        y, x = self.pixels.y, self.pixels.x
        return Painted(y, x, self.at(y, x), np.ones(y.shape))


def affordable_orders(orders: Sequence[int], *, n_pixels: int, n_sources: int) -> list[int]:
    """Return the orders for which there are enough pixels a parameter; the lowest, if there is none."""
    most_terms = n_pixels / PIXELS_PER_PARAMETER - gaussians.N_PARAMETERS * n_sources
    return [order for order in orders if n_terms(order) <= most_terms] or [min(orders)]
