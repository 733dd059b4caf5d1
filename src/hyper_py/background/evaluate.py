"""Many background models at once, each at pixels of its own."""

from collections.abc import Sequence

import numpy as np

from hyper_py.arrays import FloatArray, IntArray
from hyper_py.background.model import BackgroundModel
from hyper_py.background.separate import SeparateBackground
from hyper_py.numerics.fit_pixels import FitPixels, padded_pixels
from hyper_py.numerics.polynomial import Scaling, evaluate_polynomial, n_terms
from hyper_py.numerics.tiles import Where, is_inside


def backgrounds_at(backgrounds: Sequence[BackgroundModel], y: IntArray, x: IntArray) -> FloatArray:
    """Return each background on its own map pixels; y and x are broadcast to one shape (n_backgrounds, ...).

    Separate backgrounds are evaluated together.
    """
    separate = [own for own in backgrounds if isinstance(own, SeparateBackground)]
    if not separate or len(separate) < len(backgrounds):
        y, x = np.broadcast_arrays(y, x)
        return np.array([own.at(*at) for own, at in zip(backgrounds, zip(y, x, strict=True), strict=True)])
    polynomials = [own.polynomial for own in separate]
    order, trailing = max(polynomial.order for polynomial in polynomials), (1,) * (y.ndim - 1)
    coefficients = np.zeros((n_terms(order), len(separate), *trailing))
    for k, polynomial in enumerate(polynomials):
        coefficients[: polynomial.coefficients.size, k] = polynomial.coefficients.reshape(-1, *trailing)
    scalings = [(own.y0, own.x0, own.polynomial.scaling) for own in separate]
    y0, x0, y_half, x_half = np.array(
        [(top + s.y, left + s.x, s.y_half, s.x_half) for top, left, s in scalings]
    ).T.reshape(4, -1, *trailing)
    v, u = (y - y0) / y_half, (x - x0) / x_half
    return evaluate_polynomial(coefficients, v, u, order=order, scaling=Scaling(0.0, 0.0, 1.0, 1.0))


def backgrounds_on(backgrounds: Sequence[BackgroundModel], pixels: Sequence[FitPixels]) -> list[FloatArray]:
    """Return each background on its own fit pixels."""
    if not pixels:
        return []
    values = backgrounds_at(backgrounds, *padded_pixels(pixels))
    return [row[: own.y.size] for row, own in zip(values, pixels, strict=True)]


def painted(backgrounds: Sequence[BackgroundModel], where: Where) -> FloatArray:
    """Return a part of the image of all backgrounds, averaged where they overlap; NaN where there is none."""
    rows, columns = where
    shape = rows.stop - rows.start, columns.stop - columns.start
    total, weight = np.zeros(shape), np.zeros(shape)
    for background in backgrounds:
        y, x, values, weights = background.paint()
        own = is_inside(where, y, x)  # boxes near the border reach beyond it
        if own.any():
            place = y[own] - rows.start, x[own] - columns.start
            total[place] += weights[own] * values[own]
            weight[place] += weights[own]
    image: FloatArray = np.divide(total, weight, out=np.full(shape, np.nan), where=weight > 0.0)
    return image
