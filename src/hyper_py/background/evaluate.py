"""Backgrounds of many units at once, each at pixels of its own."""

from collections.abc import Sequence

import numpy as np

from hyper_py.arrays import FloatArray, IntArray
from hyper_py.background.group_polynomials import GroupBackground
from hyper_py.background.joint import BackgroundModel
from hyper_py.fitting.group_fit import FitPixels, padded_pixels
from hyper_py.numerics.polynomial import Scaling, evaluate_polynomial, n_terms


def backgrounds_at(skies: Sequence[BackgroundModel], y: IntArray, x: IntArray) -> FloatArray:
    """Return each background on its own map pixels; y and x are broadcast to one shape (n_skies, ...).

    Polynomials that were fitted apart are evaluated together.
    """
    apart = [sky for sky in skies if isinstance(sky, GroupBackground)]
    if not apart or len(apart) < len(skies):
        y, x = np.broadcast_arrays(y, x)
        return np.array([sky.at(*at) for sky, at in zip(skies, zip(y, x, strict=True), strict=True)])
    polynomials = [sky.polynomial for sky in apart]
    order, trailing = max(polynomial.order for polynomial in polynomials), (1,) * (y.ndim - 1)
    coefficients = np.zeros((n_terms(order), len(apart), *trailing))
    for k, polynomial in enumerate(polynomials):
        coefficients[: polynomial.coefficients.size, k] = polynomial.coefficients.reshape(-1, *trailing)
    y0, x0, y_half, x_half = np.array(
        [(sky.y0 + s.y, sky.x0 + s.x, s.y_half, s.x_half) for sky in apart for s in [sky.polynomial.scaling]]
    ).T.reshape(4, -1, *trailing)
    v, u = (y - y0) / y_half, (x - x0) / x_half
    return evaluate_polynomial(coefficients, v, u, order=order, scaling=Scaling(0.0, 0.0, 1.0, 1.0))


def on_windows(skies: Sequence[BackgroundModel], windows: Sequence[FitPixels]) -> list[FloatArray]:
    """Return each background on the pixels of its window."""
    if not windows:
        return []
    values = backgrounds_at(skies, *padded_pixels(windows))
    return [row[: window.y.size] for row, window in zip(values, windows, strict=True)]
