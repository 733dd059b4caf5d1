"""A background polynomial in a cutout of the map, and how it responds to the data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from hyper_py.arrays import BoolArray, FloatArray, IntArray
from hyper_py.diagnostics import Flag
from hyper_py.numerics.polynomial import (
    Box,
    Scaling,
    evaluate_polynomial,
    inverse_or_pseudo,
    polynomial_design,
)

Estimator: TypeAlias = tuple[str, float | None]
"""Name, and epsilon if it is Huber's."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CutoutPolynomial:
    """The chosen polynomial of one cutout, in the cutout's pixel coordinates.

    Attributes
    ----------
    order : int
        Total degree.
    box : (y0, y1, x0, x1)
        Where it was fitted, ends excluded.
    estimator : str
        least_squares, huber, theil_sen, median or none.
    epsilon : float or None
        Of Huber.
    coefficients : ndarray, shape (n_terms,)
        Of 1, x, y, x^2, xy, y^2, ... in scaled coordinates.
    scaling : Scaling
        Centre and half-size of these coordinates in pixels.
    fit_mask : ndarray of bool, shape of the cutout
        True where a pixel did not determine the coefficients: outside the box, masked, blank, clipped,
        or an outlier of Huber.
    scores : mapping of str to ndarray, shape (n_estimators, n_boxes, n_orders)
        Of all candidates by each criterion; inf where invalid.
    estimators : sequence of (str, float or None)
        Estimators and epsilons along the first axis of the scores.
    n_pixels : int
        Unmasked pixels of the box.
    n_common : int
        Pixels that all candidates were compared on.
    status : str
        "ok"; "lower_order" when too few pixels forced an order below those asked for; "no_pixels" when
        nothing could be fitted, and the background is 0.
    """

    order: int
    box: Box
    estimator: str
    epsilon: float | None
    coefficients: FloatArray
    scaling: Scaling
    fit_mask: BoolArray
    n_pixels: int
    n_common: int
    status: str = "ok"
    scores: Mapping[str, FloatArray] = field(default_factory=dict)
    estimators: Sequence[Estimator] = ()

    @property
    def flag(self) -> Flag:
        """BACKGROUND_POOR unless all went as asked."""
        return Flag(0) if self.status == "ok" else Flag.BACKGROUND_POOR

    def evaluate(self, y: ArrayLike, x: ArrayLike) -> FloatArray:
        """Return the background at pixels (y, x) of any shape, inside the box or not."""
        return evaluate_polynomial(self.coefficients, y, x, order=self.order, scaling=self.scaling)

    def design(self, y: ArrayLike, x: ArrayLike) -> FloatArray:
        """Return the design matrix (..., n_terms): the background is design @ coefficients."""
        return polynomial_design(y, x, order=self.order, scaling=self.scaling)

    @property
    def fit_pixels(self) -> tuple[IntArray, IntArray]:
        """(y, x) of the pixels that determined the coefficients, one-dimensional."""
        y, x = np.nonzero(~self.fit_mask)
        return y, x

    @cached_property
    def normal_inverse(self) -> FloatArray:
        """(D^T D)^-1 on the fit pixels, shape (n_terms, n_terms); zeros where there are no pixels."""
        design = self.design(*self.fit_pixels)
        return inverse_or_pseudo(design.T @ design)

    def response(self, y: ArrayLike, x: ArrayLike) -> FloatArray:
        """Return d background(y, x) / d data(fit pixels).

        Exact for least squares, linearised for the others (Huber's outliers have no influence).

        Parameters
        ----------
        y, x : array_like, shape (...)
            Where the background is wanted.

        Returns
        -------
        ndarray, shape (..., number of fit pixels)
            D_p (D^T D)^-1 D^T: with noise covariance C of the fit pixels, that of the background at p
            is response @ C @ response.T.
        """
        result: FloatArray = self.design(y, x) @ self.normal_inverse @ self.design(*self.fit_pixels).T
        return result
