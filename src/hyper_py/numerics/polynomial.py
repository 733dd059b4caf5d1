"""Polynomials of two coordinates: design matrices, moments over rectangles, and nested normal equations.

Terms are ordered by total degree, so that the normal matrix of a lower order is a leading submatrix of
that of a higher one, and its Cholesky factor a leading submatrix of the other's: one factorisation
serves all orders. The normal matrix of a rectangle consists of its moments sum(w y^q x^p), which two small
matrix products give.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from hyper_py.arrays import BoolArray, FloatArray, IndexArray, IntArray

Box: TypeAlias = tuple[int, int, int, int]
"""Rectangle of pixels (y0, y1, x0, x1), ends excluded."""

_SMALLEST_PIVOT = 1e-11
"""Of a normal matrix of unit diagonal: a smaller pivot leaves fewer than five digits to a coefficient."""
_SMALLEST_ROOT = 1e-4
"""Pivots whose roots differ by more are left to the pseudo-inverse."""


class Scaling(NamedTuple):
    """Pixel coordinates that become 0, and the lengths that become 1."""

    y: float
    x: float
    y_half: float
    x_half: float


def scaling_of_pixels(y: IntArray, x: IntArray) -> Scaling:
    """Return the scaling that takes pixels, (n,), to [-1, 1]; it moves with them."""
    if not y.size:
        return Scaling(0.0, 0.0, 1.0, 1.0)
    ends = [(int(axis.min()), int(axis.max())) for axis in (y, x)]
    (y_mid, y_half), (x_mid, x_half) = ((0.5 * (a + b), max(0.5 * (b - a), 0.5)) for a, b in ends)
    return Scaling(y_mid, x_mid, y_half, x_half)


def n_terms(order: int) -> int:
    """Return the number of terms x^i y^j with i + j <= order."""
    return (order + 1) * (order + 2) // 2


@lru_cache(maxsize=32)
def term_powers(order: int) -> tuple[IndexArray, IndexArray]:
    """Return the powers of y and of x of each term: 1, x, y, x^2, xy, y^2, ..."""
    pairs = [(j, total - j) for total in range(order + 1) for j in range(total + 1)]
    powers = np.array(pairs, dtype=np.intp)
    return powers[:, 0], powers[:, 1]


def polynomial_design(y: ArrayLike, x: ArrayLike, *, order: int, scaling: Scaling) -> FloatArray:
    """Return the design matrix of all terms x^i y^j, i + j <= order, in scaled coordinates.

    Parameters
    ----------
    y, x : array_like, shape (...)
        Pixel coordinates.
    order : int
        Highest total degree, 0 or more.
    scaling : Scaling
        Centre and half-size in pixels.

    Returns
    -------
    ndarray, shape (..., n_terms)
        Columns 1, x, y, x^2, xy, y^2, ...: those of a lower order come first.
    """
    power_y, power_x = term_powers(order)
    v, u = _scaled(y, x, scaling)
    result: FloatArray = _powers(v, order)[..., power_y] * _powers(u, order)[..., power_x]
    return result


def _scaled(y: ArrayLike, x: ArrayLike, scaling: Scaling) -> tuple[FloatArray, FloatArray]:
    v = (np.asarray(y, dtype=np.float64) - scaling.y) / scaling.y_half
    u = (np.asarray(x, dtype=np.float64) - scaling.x) / scaling.x_half
    return v, u


def _powers(values: FloatArray, degree: int) -> FloatArray:
    """Return 1, values, values^2, ... along a new last axis."""
    result = np.ones((*values.shape, degree + 1))
    for d in range(degree):
        result[..., d + 1] = result[..., d] * values
    return result


def evaluate_polynomial(
    coefficients: FloatArray, y: ArrayLike, x: ArrayLike, *, order: int, scaling: Scaling
) -> FloatArray:
    """Return polynomials at pixels of any shape, without forming a design matrix.

    Coefficients are of shape (n_terms, ...): what follows, and the numbers of the scaling, may be arrays that
    are broadcast with the pixels, for a polynomial of each row.
    """
    table = np.zeros((order + 1, order + 1, *coefficients.shape[1:]))
    table[term_powers(order)] = coefficients
    v, u = _scaled(y, x, scaling)
    value: FloatArray = table[order, 0]
    for j in range(order - 1, -1, -1):
        # Horner's rule in both coordinates.
        row: FloatArray = table[j, order - j]
        for i in range(order - j - 1, -1, -1):
            row = row * u + table[j, i]
        value = value * v + row
    shape = np.broadcast(v, u, value).shape
    return value if value.shape == shape else np.broadcast_to(value, shape).copy()


def inverse_or_pseudo(normal: FloatArray) -> FloatArray:
    """Return the inverses of normal matrices, (..., k, k), or pseudo-inverses if any is (nearly) singular."""
    try:
        pivots = np.diagonal(np.linalg.cholesky(normal), axis1=-2, axis2=-1)
    except np.linalg.LinAlgError:
        pivots = np.zeros(1)
    is_sound = (pivots.min(axis=-1) > _SMALLEST_ROOT * pivots.max(axis=-1)).all()
    inverse = np.linalg.inv(normal) if is_sound else np.linalg.pinv(normal, hermitian=True)
    return np.asarray(inverse, dtype=np.float64)


def axis_powers(shape: tuple[int, int], *, degree: int, scaling: Scaling) -> tuple[FloatArray, FloatArray]:
    """Return scaled y^q of the rows, (ny, degree + 1), and x^p of the columns, (nx, degree + 1)."""
    v, u = _scaled(np.arange(shape[0]), np.arange(shape[1]), scaling)
    return _powers(v, degree), _powers(u, degree)


def box_moments(
    values: FloatArray, *, boxes: Sequence[Box], powers: tuple[FloatArray, FloatArray]
) -> FloatArray:
    """Return sum(values y^q x^p) over each box.

    Parameters
    ----------
    values : ndarray, shape (n, ny, nx)
        One image for each of n sources.
    boxes : sequence of (y0, y1, x0, x1)
        The same for all images.
    powers : pair of ndarray, shapes (ny, n_powers) and (nx, n_powers)
        From `axis_powers`.

    Returns
    -------
    ndarray, shape (n_powers**2, n, n_boxes)
        Index q * n_powers + p first, contiguous: the layout that `solve_leading` is fast on.
    """
    v, u = powers
    n_powers = v.shape[1]
    result = np.empty((len(boxes), values.shape[0], n_powers, n_powers))
    for i, (y0, y1, x0, x1) in enumerate(boxes):
        result[i] = v[y0:y1].T @ (values[:, y0:y1, x0:x1] @ u[x0:x1])
    return np.ascontiguousarray(result.reshape(*result.shape[:2], -1).T)


def grid_moments(
    values: FloatArray, *, edges: tuple[IndexArray, IndexArray], powers: tuple[FloatArray, FloatArray]
) -> FloatArray:
    """Return sum(values y^q x^p) over each rectangle of a grid, in two matrix products.

    Parameters
    ----------
    values, powers
        As in `box_moments`.
    edges : pair of ndarray of int
        First rows and first columns of the rectangles, and the ends of the last.

    Returns
    -------
    ndarray, shape (n_powers**2, n, n_rectangles)
    """
    columns_y, columns_x = (_split_by_rectangle(p, e) for p, e in zip(powers, edges, strict=True))
    (y0, y1), (x0, x1) = ((edge[0], edge[-1]) for edge in edges)
    n_powers, n_rows, n_columns = powers[0].shape[1], edges[0].size - 1, edges[1].size - 1
    sums = columns_y.T @ (values[:, y0:y1, x0:x1] @ columns_x)
    grid = sums.reshape(-1, n_rows, n_powers, n_columns, n_powers).transpose(2, 4, 0, 1, 3)
    return np.ascontiguousarray(grid).reshape(n_powers**2, values.shape[0], n_rows * n_columns)


def _split_by_rectangle(powers: FloatArray, edges: IndexArray) -> FloatArray:
    """Return powers of the rows from first to last edge, each rectangle in columns of its own."""
    rows = np.arange(edges[0], edges[-1])
    rectangle = np.searchsorted(edges, rows, side="right") - 1
    result = np.zeros((rows.size, edges.size - 1, powers.shape[1]))
    result[np.arange(rows.size), rectangle] = powers[rows]
    return result.reshape(rows.size, -1)


def normal_matrix(moments: FloatArray, *, order: int) -> FloatArray:
    """Arrange moments up to degree 2 * order, shape (n_powers**2, ...), as matrices (k, k, ...)."""
    power_y, power_x = term_powers(order)
    n_powers = 2 * order + 1
    index = (power_y[:, None] + power_y) * n_powers + power_x[:, None] + power_x
    result: FloatArray = moments[index]
    return result


def normal_vector(moments: FloatArray, *, order: int) -> FloatArray:
    """Arrange moments up to degree `order`, shape (n_powers**2, ...), as right-hand sides (k, ...)."""
    power_y, power_x = term_powers(order)
    result: FloatArray = moments[power_y * (order + 1) + power_x]
    return result


def solve_leading(
    matrix: FloatArray, vector: FloatArray, *, sizes: Sequence[int]
) -> list[tuple[FloatArray, BoolArray]]:
    """Solve the leading m x m systems of many symmetric positive matrices, for several m at once.

    One Cholesky factorisation serves all sizes. Arithmetic runs along the last axes, since LAPACK
    called for thousands of 6 x 6 systems spends its time on calls.

    Parameters
    ----------
    matrix : ndarray, shape (k, k, ...)
        Normal matrices, batch axes last.
    vector : ndarray, shape (k, ...)
        Right-hand sides.
    sizes : sequence of int
        Values of m <= k.

    Returns
    -------
    list of (ndarray of shape (m, ...), ndarray of bool of shape (...))
        Solutions, and whether each system is well enough conditioned to be believed.
    """
    k = max(sizes)
    diagonal = matrix[range(k), range(k)]
    scale = 1.0 / np.sqrt(np.where(diagonal > 0.0, diagonal, 1.0))
    lower = np.empty((k, k, *matrix.shape[2:]))
    forward = np.empty((k, *matrix.shape[2:]))
    sound = np.empty(forward.shape, dtype=np.bool_)
    for j in range(k):
        column = matrix[j:k, j] * (scale[j:] * scale[j])
        right = vector[j] * scale[j]
        if j:
            column -= (lower[j:, :j] * lower[j, :j]).sum(axis=1)
            right -= (lower[j, :j] * forward[:j]).sum(axis=0)
        sound[j] = column[0] > _SMALLEST_PIVOT
        pivot = np.sqrt(np.where(sound[j], column[0], 1.0))
        lower[j:, j] = column / pivot
        lower[j, j] = pivot
        forward[j] = right / pivot
    results: list[tuple[FloatArray, BoolArray]] = []
    for m in sizes:
        solution = forward[:m].copy()
        for i in range(m - 1, -1, -1):
            if i < m - 1:
                solution[i] -= (lower[i + 1 : m, i] * solution[i + 1 :]).sum(axis=0)
            solution[i] /= lower[i, i]
        solution *= scale[:m]
        results.append((solution, np.asarray(sound[:m].all(axis=0))))
    return results
