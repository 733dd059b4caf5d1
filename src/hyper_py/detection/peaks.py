"""Peaks: their list, and how they are found, placed and told apart on a map."""

from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from hyper_py.arrays import BoolArray, FloatArray, IntArray
from hyper_py.numerics.pairs import group_pairs, pairs_within
from hyper_py.numerics.tiles import Plane, grown, is_inside, tiles


@dataclass(frozen=True)
class Peaks:
    """Detected peaks, the brightest first; arrays of shape (n,).

    Attributes
    ----------
    x, y : ndarray
        Zero-based positions, refined below the pixel.
    peak : ndarray
        Value of the mean-subtracted map at the nearest pixel.
    snr : ndarray
        What the threshold was applied to: peak over rms, or the matched filter's significance.
    roundness, roundness_marginal, sharpness : ndarray
        DAOFIND's statistics; NaN where the kernel meets a blank pixel.
    shoulder_score : ndarray
        Asymmetry of a ring around the peak over the peak; see `shoulder_score`.
    size : ndarray
        FWHM in beams of the filter that saw it best, or that it was fitted with; 1 if not given.
    """

    x: FloatArray
    y: FloatArray
    peak: FloatArray
    snr: FloatArray
    roundness: FloatArray
    roundness_marginal: FloatArray
    sharpness: FloatArray
    shoulder_score: FloatArray
    size: FloatArray = field(default_factory=lambda: np.ones(()))

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", np.broadcast_to(self.size, self.x.shape))

    def __len__(self) -> int:
        return self.x.size

    def select(self, index: BoolArray | IntArray) -> "Peaks":
        """Return the peaks of an index or mask, in its order."""
        return Peaks(**{name: getattr(self, name)[index] for name in self.__dataclass_fields__})

    def joined(self, others: "Peaks") -> "Peaks":
        """Return these peaks, and after them others."""
        names = self.__dataclass_fields__
        return Peaks(**{name: np.concatenate([getattr(self, name), getattr(others, name)]) for name in names})


def empty_peaks() -> Peaks:
    """Return a `Peaks` without any peak."""
    return Peaks(*(np.empty(0) for _ in Peaks.__dataclass_fields__))


def local_maxima(
    data: FloatArray, *, footprint: BoolArray, threshold: float | FloatArray
) -> tuple[IntArray, IntArray]:
    """Return y and x of pixels above a threshold that no other pixel of the footprint exceeds.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
        A NaN is never a maximum, and takes part in no comparison.
    footprint : ndarray of bool, odd sides
        Neighbours to compare with, at least the 3 x 3 pixels around the centre.
    threshold : float or ndarray of shape (ny, nx)
        Maxima are at least this.

    Returns
    -------
    y, x : ndarray of int, shape (n,)
        In the order of the array.
    """
    half_y, half_x = (side // 2 for side in footprint.shape)
    padded = np.pad(data, ((half_y, half_y), (half_x, half_x)), constant_values=-np.inf)
    y, x = np.nonzero(data >= threshold)
    # Most pixels are below a direct neighbour: only the others are compared with the whole footprint.
    for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        higher = ~(data[y, x] < padded[y + half_y + dy, x + half_x + dx])
        y, x = y[higher], x[higher]
    offset_y, offset_x = np.nonzero(footprint)
    around = padded[y[:, None] + offset_y, x[:, None] + offset_x]
    keep = (data[y, x][:, None] >= np.where(np.isnan(around), -np.inf, around)).all(axis=1)
    return y[keep], x[keep]


def snap_to_maximum(
    data: FloatArray, *, x: IntArray, y: IntArray, radius: float
) -> tuple[IntArray, IntArray]:
    """Move pixels to the brightest pixel within `radius` (once); blank pixels are never chosen."""
    reach = max(int(radius), 0)
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    near = np.flatnonzero((rows**2 + columns**2).ravel() <= radius**2 + 1e-9)
    # Nearest first, so that a tie leaves the pixel where it is.
    near = near[np.argsort((rows**2 + columns**2).ravel()[near], kind="stable")]
    filled = np.pad(np.where(np.isfinite(data), data, -np.inf), reach, constant_values=-np.inf)
    offset_y, offset_x = rows.ravel()[near], columns.ravel()[near]
    around = filled[y[:, None] + reach + offset_y, x[:, None] + reach + offset_x]
    best = np.argmax(around, axis=1)
    return x + offset_x[best], y + offset_y[best]


def refine_positions(data: FloatArray, *, x: IntArray, y: IntArray) -> tuple[FloatArray, FloatArray]:
    """Return positions below the pixel: the top of a quadratic surface through 3 x 3 pixels.

    Least squares on the nine pixels (or their logarithm would be exact for a Gaussian, but not for a peak on
    a background); a move of more than half a pixel on either axis is cut there, and a pixel with a blank
    neighbour, or where the surface has no top, stays where it is.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
        Map.
    x, y : ndarray of int, shape (n,)
        Pixels.

    Returns
    -------
    x, y : ndarray, shape (n,)
        Zero-based positions.
    """
    stamps = _neighbours(data, x=x, y=y)
    side = np.array([-1.0, 0.0, 1.0])
    rows, columns = stamps.sum(axis=2), stamps.sum(axis=1)
    slope_x, slope_y = columns @ side / 6.0, rows @ side / 6.0
    curve = np.array([1.0, -2.0, 1.0])
    bend_xx, bend_yy = columns @ curve / 3.0, rows @ curve / 3.0
    bend_xy = np.einsum("i,nij,j->n", side, stamps, side) / 4.0
    move_x, move_y = _way_to_top((slope_x, slope_y), (bend_xx, bend_xy, bend_yy))
    return x.astype(np.float64) + move_x, y.astype(np.float64) + move_y


def peak_heights(data: FloatArray, *, x: IntArray, y: IntArray) -> FloatArray:
    """Return the heights of maxima between pixels: the tops of surfaces of second order through the pixels.

    A peak between four pixels is higher than any of them, by 9% where it has an FWHM of 4 pixels and by 17%
    for 3. Slopes and bends are central differences; the top is sought within half a pixel on either axis. A
    pixel with a blank neighbour, or where the surface has no top, keeps its own value.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
        Map; what is not finite is blank.
    x, y : ndarray of int, shape (n,)
        Pixels of local maxima.

    Returns
    -------
    ndarray, shape (n,)
        At least the values of the pixels.
    """
    stamps = _neighbours(data, x=x, y=y)
    (_, below, _), (left, pixel, right), (_, above, _) = stamps.transpose(1, 2, 0)
    slope_x, slope_y = 0.5 * (right - left), 0.5 * (above - below)
    bend_xx, bend_yy = left - 2.0 * pixel + right, below - 2.0 * pixel + above
    bend_xy = 0.25 * (stamps[:, 0, 0] - stamps[:, 0, 2] - stamps[:, 2, 0] + stamps[:, 2, 2])
    move_x, move_y = _way_to_top((slope_x, slope_y), (bend_xx, bend_xy, bend_yy))
    curved = 0.5 * (bend_xx * move_x**2 + bend_yy * move_y**2) + bend_xy * move_x * move_y
    height: FloatArray = np.fmax(pixel, pixel + slope_x * move_x + slope_y * move_y + curved)
    return height


def _neighbours(data: FloatArray, *, x: IntArray, y: IntArray) -> FloatArray:
    """Return the 3 x 3 pixels around pixels, (n, 3, 3); NaN where they are blank or beyond the map."""
    padded = np.pad(data, 1, constant_values=np.nan)
    stamps = padded[y[:, None, None] + np.arange(3)[:, None], x[:, None, None] + np.arange(3)]
    return np.where(np.isfinite(stamps), stamps, np.nan)


def _way_to_top(
    slope: tuple[FloatArray, FloatArray], bend: tuple[FloatArray, FloatArray, FloatArray]
) -> tuple[FloatArray, FloatArray]:
    """Return how far in x and y the tops of surfaces are, at most half a pixel on each axis; 0 without a top.

    From their slopes along x and y, and second derivatives by xx, xy and yy, each (n,).
    """
    (slope_x, slope_y), (bend_xx, bend_xy, bend_yy) = slope, bend
    determinant = bend_xx * bend_yy - bend_xy**2
    with np.errstate(divide="ignore", invalid="ignore"):
        move_x = (bend_xy * slope_y - bend_yy * slope_x) / determinant
        move_y = (bend_xy * slope_x - bend_xx * slope_y) / determinant
    good = (determinant > 0) & (bend_xx < 0) & np.isfinite(move_x) & np.isfinite(move_y)
    move_x, move_y = (np.where(good, np.clip(move, -0.5, 0.5), 0.0) for move in (move_x, move_y))
    return move_x, move_y


def brightest_apart(
    x: FloatArray | IntArray, y: FloatArray | IntArray, *, brightness: FloatArray, distance: float
) -> IntArray:
    """Return the indices, brightest first, of points of which no brighter kept one is closer than `distance`.

    Equally bright points are taken in the order in which they come.
    """
    order = np.argsort(-brightness, kind="stable")
    if order.size == 0:
        return order
    points = np.column_stack([x, y])
    keep = np.ones(order.size, dtype=bool)
    near = group_pairs(*pairs_within(points, points, np.nextafter(distance, 0.0)), order.size)
    for i in order:
        if keep[i]:
            keep[near[i]] = False
            keep[i] = True
    return order[keep[order]]


def _interpolated(data: Plane, *, y: FloatArray, x: FloatArray) -> FloatArray:
    """Return a map at points (n, k), linear between pixels; NaN beyond the border."""
    values = np.full(x.shape, np.nan)
    middles = [np.rint(p.mean(axis=1)) for p in (y, x)]
    row, column = (np.clip(middle, 0, n - 1) for middle, n in zip(middles, data.shape, strict=True))
    for where in tiles(data.shape):
        own = np.flatnonzero(is_inside(where, row, column))
        if own.size:
            reach = max(np.abs(p[own] - c[own, None]).max() for p, c in ((y, row), (x, column)))
            outer, _ = grown(where, int(reach) + 2, data.shape)
            place = [y[own] - outer[0].start, x[own] - outer[1].start]
            values[own] = ndimage.map_coordinates(data[outer], place, order=1, mode="constant", cval=np.nan)
    return values


def shoulder_score(
    data: Plane,
    *,
    x: FloatArray,
    y: FloatArray,
    peak: FloatArray,
    radius: float,
    n_angles: int = 16,
    neighbor_radius: float = 0.0,
) -> FloatArray:
    """Return (mean of the brighter half - mean of the fainter half) / peak on a ring around each peak.

    Parameters
    ----------
    data : Plane, shape (ny, nx)
        Map, interpolated linearly on the ring; blank pixels are left out.
    x, y, peak : ndarray, shape (n,)
        Positions and values of the peaks.
    radius : float
        Radius of the ring in pixels.
    n_angles : int
        Number of points on the ring.
    neighbor_radius : float
        Points of the ring this close to another peak, in pixels, are left out.

    Returns
    -------
    ndarray, shape (n,)
        0 for a symmetric source; NaN where less than four points are left.
    """
    if x.size == 0:
        return np.empty(0)
    angle = 2.0 * np.pi * np.arange(n_angles) / n_angles
    ring_x, ring_y = x[:, None] + radius * np.cos(angle), y[:, None] + radius * np.sin(angle)
    ring = _interpolated(data, y=ring_y, x=ring_x)
    if neighbor_radius > 0:
        points = np.column_stack([ring_x.ravel(), ring_y.ravel()])
        place, near = pairs_within(np.column_stack([x, y]), points, neighbor_radius)
        # The peak itself is always one of those within reach when the mask is wider than the ring.
        ring.ravel()[place[near != place // n_angles]] = np.nan
    ordered = np.sort(ring, axis=1)  # NaN last
    count = np.isfinite(ordered).sum(axis=1)
    half, place = count // 2, np.arange(n_angles)
    fainter = np.where(place < half[:, None], ordered, 0.0).sum(axis=1)
    brighter = np.where((place >= (count - half)[:, None]) & (place < count[:, None]), ordered, 0.0).sum(
        axis=1
    )
    score = (brighter - fainter) / (np.maximum(half, 1) * peak)
    return np.where(count >= 4, score, np.nan)


def inside_margin(shape: tuple[int, ...], *, x: IntArray, y: IntArray, margin: float) -> BoolArray:
    """Return which pixels are at least `margin` from the outermost pixels of the map."""
    inside: BoolArray = np.minimum(np.minimum(x, shape[1] - 1 - x), np.minimum(y, shape[0] - 1 - y)) >= margin
    return inside
