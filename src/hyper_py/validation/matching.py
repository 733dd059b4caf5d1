"""One-to-one matching of two lists of positions, and isolation within one."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import distance_transform_edt
from scipy.sparse import csr_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from scipy.spatial import cKDTree

from hyper_py.arrays import BoolArray, FloatArray, IndexArray
from hyper_py.geometry import ARCSEC_PER_RADIAN


def match_positions(
    first: ArrayLike, second: ArrayLike, *, tolerance: float
) -> tuple[IndexArray, IndexArray]:
    """Return the best one-to-one matching: as many pairs as possible, then the smallest total distance.

    Parameters
    ----------
    first, second : array_like, shapes (n, d) and (m, d)
        Positions in Euclidean coordinates; rows that are not finite match nothing.
    tolerance : float
        Largest distance of a pair, inclusive, in the unit of the positions.

    Returns
    -------
    tuple of ndarray of int, shape (k,)
        Rows of `first`, ascending, and the rows of `second` that they match.

    Notes
    -----
    Sparse linear assignment (Jonker & Volgenant 1987, Computing 38, 325, as in
    `scipy.sparse.csgraph`). A dummy partner for each row of `first` makes it always solvable. A dummy costs
    more than all real pairs together, so that the number of pairs is maximised before their distance is
    minimised.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    rows, columns = np.flatnonzero(_finite(a)), np.flatnonzero(_finite(b))
    if not rows.size or not columns.size:
        return np.empty(0, dtype=np.intp), np.empty(0, dtype=np.intp)
    near = cKDTree(a[rows]).sparse_distance_matrix(
        cKDTree(b[columns]), tolerance, p=2.0, output_type="coo_matrix"
    )
    n, m = near.shape
    dummy = np.arange(n)
    # Weights from 1 to 2, never 0: a stored zero would count as no edge.
    weights = 1.0 + near.data / tolerance if tolerance > 0 else np.ones_like(near.data)
    cost = np.concatenate([weights, np.full(n, 2.0 * min(n, m) + 1.0)])
    # Before SciPy 1.15 an array keeps 64-bit indices, and the matching takes 32-bit ones only.
    edges = tuple(
        np.concatenate(part).astype(np.int32) for part in ([near.row, dummy], [near.col, m + dummy])
    )
    i, j = min_weight_full_bipartite_matching(csr_array((cost, edges), shape=(n, m + n)))
    real = j < m
    return rows[i[real]], columns[j[real]]


def _finite(points: FloatArray) -> BoolArray:
    result: BoolArray = np.all(np.isfinite(points), axis=1)
    return result


def sky_points(longitude: ArrayLike, latitude: ArrayLike) -> FloatArray:
    """Return degrees on the sky as points (n, 3) on a sphere whose radius makes chords arcseconds."""
    lon, lat = np.radians(np.asarray(longitude, np.float64)), np.radians(np.asarray(latitude, np.float64))
    unit = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)
    result: FloatArray = ARCSEC_PER_RADIAN * unit
    return result


def is_isolated(points: ArrayLike, *, distance: float) -> BoolArray:
    """Return, for each of (n, d) points, whether no other one is within `distance`."""
    p = np.asarray(points, dtype=np.float64)
    alone = np.ones(len(p), dtype=bool)
    if len(p) > 1:
        pairs = cKDTree(p).query_pairs(distance, output_type="ndarray")
        alone[pairs.ravel()] = False
    return alone


def inside_margin(x: ArrayLike, y: ArrayLike, *, valid: ArrayLike, margin: float) -> BoolArray:
    """Return which positions are farther than `margin` from the map's border and from blank pixels.

    Parameters
    ----------
    x, y : array_like, shape (n,)
        Zero-based pixel coordinates.
    valid : array_like of bool, shape (ny, nx)
        True where the map has data.
    margin : float
        Pixels, from the centre of the source's pixel to the centre of the nearest pixel without data.

    Returns
    -------
    ndarray of bool, shape (n,)
        False outside the map too.
    """
    data = np.pad(np.asarray(valid, dtype=bool), 1)
    distance = distance_transform_edt(data)
    ny, nx = data.shape
    column, row = np.rint(np.asarray(x, np.float64)) + 1, np.rint(np.asarray(y, np.float64)) + 1
    on_map = (column >= 0) & (column < nx) & (row >= 0) & (row < ny)
    column, row = np.where(on_map, column, 0).astype(int), np.where(on_map, row, 0).astype(int)
    result: BoolArray = on_map & (distance[row, column] > margin)
    return result
