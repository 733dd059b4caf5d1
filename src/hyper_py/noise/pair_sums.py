"""Sums over the pairs of pixels of a map, square by square."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from scipy import fft

from hyper_py.arrays import BoolArray, FloatArray
from hyper_py.numerics.parallel import in_order
from hyper_py.numerics.tiles import Plane

Square: TypeAlias = tuple[tuple[int, int], tuple[int, int]]
"""First and last row, first and last column."""


def pair_sums(
    data: Plane,
    mask: BoolArray | None,
    squares: Sequence[Square],
    shape: tuple[int, int],
) -> tuple[FloatArray, FloatArray, FloatArray, float, int]:
    """Return transforms of sums over pairs within squares, on the half plane of `scipy.fft.rfft2`.

    Parameters
    ----------
    data : Plane, shape (ny, nx)
        Blank pixels are NaN.
    mask : ndarray of bool, shape (ny, nx), optional
        True where the data is not to be used.
    squares : sequence of ((int, int), (int, int))
        First and last row, first and last column, of each; the last ones are not in it.
    shape : (int, int)
        Of the transforms.

    Returns
    -------
    power, cross, pairs : ndarray, shape (shape[0], shape[1] // 2 + 1)
        Of products of two values, of values, and of pairs. Values are counted from that near their mean.
    total, count : float, int
        Sum and number of the values.
    """

    def known(square: Square) -> tuple[FloatArray, BoolArray]:
        (y0, y1), (x0, x1) = square
        values = data[y0:y1, x0:x1]
        valid = np.isfinite(values)
        return values, valid if mask is None else valid & ~mask[y0:y1, x0:x1]

    first = (values[valid].mean() for values, valid in map(known, squares) if valid.any())
    offset = float(next(first, np.nan))

    def of_square(square: Square) -> tuple[Any, ...] | None:
        values, valid = known(square)
        if not valid.any():
            return None
        values = np.where(valid, values - offset, 0.0)
        waves, mask_waves = fft.rfft2(values, shape), fft.rfft2(valid.astype(np.float64), shape)
        return (
            waves.real**2 + waves.imag**2,
            waves.real * mask_waves.real + waves.imag * mask_waves.imag,
            mask_waves.real**2 + mask_waves.imag**2,
            float(values.sum()),
            int(np.count_nonzero(valid)),
        )

    power, cross, pairs = (np.zeros((shape[0], shape[1] // 2 + 1)) for _ in range(3))
    total, count = 0.0, 0
    for own in in_order(of_square, squares, recorded=False):
        if own is not None:
            for sums, more in zip((power, cross, pairs), own, strict=False):
                sums += more
            total, count = total + own[3], count + own[4]
    return power, cross, pairs, total, count
