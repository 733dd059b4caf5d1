"""Sums over the pairs of pixels of a map, square by square."""

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from scipy import fft

from hyper_py.arrays import BoolArray, FloatArray
from hyper_py.numerics.parallel import in_order
from hyper_py.numerics.tiles import Plane

Square: TypeAlias = tuple[tuple[int, int], tuple[int, int]]
"""First and last row, first and last column."""
_TOGETHER, _MOST_PARTS = 3, 32
"""So many squares, or more, are one part of the work: their sums, some megabytes, are sent."""


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

    def of_part(part: Sequence[Square]) -> tuple[FloatArray, float, int]:
        sums, total, count = np.zeros((3, shape[0], shape[1] // 2 + 1)), 0.0, 0
        for values, valid in map(known, part):
            if not valid.any():
                continue
            values = np.where(valid, values - offset, 0.0)
            total, count = total + float(values.sum()), count + int(np.count_nonzero(valid))
            waves = fft.rfft2(values, shape)
            del values
            mask_waves = fft.rfft2(valid.astype(np.float64), shape)
            sums[0] += waves.real**2 + waves.imag**2
            sums[1] += waves.real * mask_waves.real + waves.imag * mask_waves.imag
            sums[2] += mask_waves.real**2 + mask_waves.imag**2
        return sums, total, count

    sums, total, count = np.zeros((3, shape[0], shape[1] // 2 + 1)), 0.0, 0
    n = max(_TOGETHER, math.ceil(len(squares) / _MOST_PARTS))
    parts = [squares[first : first + n] for first in range(0, len(squares), n)]
    for own, of_values, number in in_order(of_part, parts, recorded=False):
        sums += own
        total, count = total + of_values, count + number
    return sums[0], sums[1], sums[2], total, count
