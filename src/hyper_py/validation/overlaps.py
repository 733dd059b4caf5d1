"""One source on several maps: the rows of one map after another are linked to the sources known so far.

Memory holds the sources on the sky, not their rows.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial import cKDTree

from hyper_py.arrays import FloatArray, IntArray
from hyper_py.geometry import ARCSEC_PER_RADIAN
from hyper_py.validation.matching import sky_points

_CELL = 3600.0
"""Side in arcsec of the cells in which known sources are kept."""


@dataclass(eq=False)
class SkySources:
    """Sources on the sky, each with its rows on some maps; `add` links the rows of one more map.

    Attributes
    ----------
    n_maps : list of int
        On how many maps each source is.
    best : list of (int, int)
        Map and row of the best S/N of each source, among whole rows if there is one.
    """

    n_maps: list[int] = field(default_factory=list)
    best: list[tuple[int, int]] = field(default_factory=list)
    _points: list[FloatArray] = field(default_factory=list)
    _worth: list[tuple[bool, float]] = field(default_factory=list)
    _cells: dict[tuple[int, int, int], list[int]] = field(default_factory=dict)
    _n_added: int = 0

    def __len__(self) -> int:
        return len(self.n_maps)

    def add(
        self, longitude: ArrayLike, latitude: ArrayLike, *, snr: ArrayLike, whole: ArrayLike, radius: float
    ) -> IntArray:
        """Link the rows of a map to known sources, one to one, the nearest first; others are new sources.

        Parameters
        ----------
        longitude, latitude : array_like, shape (n,)
            Degrees; rows without a position are new sources that nothing is linked to.
        snr : array_like, shape (n,)
            Which row of a source is the best: the largest one.
        whole : array_like of bool, shape (n,)
            Rows that are better than any others, such as those that no edge cuts.
        radius : float
            Largest distance in arcsec from the best row of a source.

        Returns
        -------
        int ndarray, shape (n,)
            The number of the source of each row, from 0.
        """
        points = sky_points(longitude, latitude)
        worth = [
            (bool(a), float(b)) for a, b in zip(np.asarray(whole), np.nan_to_num(np.abs(snr)), strict=True)
        ]
        known = np.all(np.isfinite(points), axis=1).reshape(len(points))
        numbers = np.full(len(points), -1, dtype=np.int64)
        rows = np.flatnonzero(known)
        near = np.array(sorted(self._near(points[rows], radius)), dtype=np.int64)
        if near.size:
            places = np.array([self._points[k] for k in near])
            row, source = nearest_pairs(points[rows], places, radius=radius)
            numbers[rows[row]] = near[source]
        current = self._n_added
        for k in range(len(points)):
            if numbers[k] < 0:
                numbers[k] = self._new(points[k], worth[k], (current, k), is_placed=bool(known[k]))
            else:
                self._seen_again(int(numbers[k]), points[k], worth[k], (current, k))
        self._n_added += 1
        return numbers

    def _near(self, points: FloatArray, radius: float) -> set[int]:
        """Return the known sources in the cells around points."""
        reach = int(np.ceil(radius / _CELL))
        steps = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 3), axis=-1).reshape(-1, 3)
        cells = np.unique(np.floor(points / _CELL).astype(np.int64), axis=0)
        around = {(int(a), int(b), int(c)) for cell in cells for a, b, c in cell + steps}
        return {one for cell in around for one in self._cells.get(cell, ())}

    def _cell(self, point: FloatArray) -> list[int]:
        a, b, c = np.floor(point / _CELL).astype(np.int64).tolist()
        return self._cells.setdefault((a, b, c), [])

    def _new(
        self, point: FloatArray, worth: tuple[bool, float], place: tuple[int, int], *, is_placed: bool
    ) -> int:
        number = len(self.n_maps)
        self.n_maps.append(1)
        self.best.append(place)
        self._points.append(point)
        self._worth.append(worth)
        if is_placed:
            self._cell(point).append(number)
        return number

    def _seen_again(
        self, number: int, point: FloatArray, worth: tuple[bool, float], place: tuple[int, int]
    ) -> None:
        self.n_maps[number] += 1
        if worth > self._worth[number]:
            self._cell(self._points[number]).remove(number)
            self._cell(point).append(number)
            self._points[number], self._worth[number], self.best[number] = point, worth, place


def nearest_pairs(first: FloatArray, second: FloatArray, *, radius: float) -> tuple[IntArray, IntArray]:
    """Return pairs of points, one to one, the nearest first.

    Parameters
    ----------
    first, second : ndarray, shapes (n, 3) and (m, 3)
        From `hyper_py.validation.matching.sky_points`.
    radius : float
        Largest distance, inclusive.

    Returns
    -------
    first, second : int ndarray, shape (k,)
        Places in the two lists, in ascending order of the first.
    """
    if not len(first) or not len(second):
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    near = cKDTree(first).sparse_distance_matrix(cKDTree(second), radius, output_type="coo_matrix")
    free_1, free_2 = np.ones(len(first), dtype=bool), np.ones(len(second), dtype=bool)
    pairs = []
    for k in np.lexsort((near.col, near.row, near.data)):
        one, other = int(near.row[k]), int(near.col[k])
        if free_1[one] and free_2[other]:
            free_1[one] = free_2[other] = False
            pairs.append((one, other))
    found = np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)
    return found[:, 0], found[:, 1]


@dataclass(frozen=True, kw_only=True)
class Differences:
    """Second minus first of linked rows, shape (n,): arcsec along RA and DEC, and the ratio of fluxes.

    `pull` is the difference of the fluxes in units of its error.
    """

    separation: FloatArray
    east: FloatArray
    north: FloatArray
    ratio: FloatArray
    pull: FloatArray


def differences(first: dict[str, FloatArray], second: dict[str, FloatArray]) -> Differences:
    """Compare linked rows; both have the columns RA, DEC (deg), FLUX and FLUX_ERR, shape (n,)."""
    d_lon = np.mod(second["RA"] - first["RA"] + 180.0, 360.0) - 180.0
    east = 3600.0 * d_lon * np.cos(np.radians(0.5 * (first["DEC"] + second["DEC"])))
    chord = np.linalg.norm(
        sky_points(first["RA"], first["DEC"]) - sky_points(second["RA"], second["DEC"]), axis=1
    )
    error = np.hypot(first["FLUX_ERR"], second["FLUX_ERR"])
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio, pull = second["FLUX"] / first["FLUX"], (second["FLUX"] - first["FLUX"]) / error
    return Differences(
        separation=2.0 * ARCSEC_PER_RADIAN * np.arcsin(np.minimum(0.5 * chord / ARCSEC_PER_RADIAN, 1.0)),
        east=east, north=3600.0 * (second["DEC"] - first["DEC"]), ratio=ratio, pull=pull,
    )  # fmt: skip


def middle(values: FloatArray) -> tuple[float, float]:
    """Return the median and its error, from the median absolute deviation; NaN of fewer than three values.

    The error of a median of Gaussian values is sqrt(pi / 2) times that of their mean.
    """
    known = values[np.isfinite(values)]
    if known.size < 3:
        return (float(np.median(known)) if known.size else np.nan), np.nan
    median = float(np.median(known))
    spread = 1.4826 * float(np.median(np.abs(known - median)))
    return median, float(np.sqrt(0.5 * np.pi) * spread / np.sqrt(known.size))
