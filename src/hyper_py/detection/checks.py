"""The checks that every peak must pass: one list, which the detectors apply and `pipeline.why` shows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray, IndexArray, IntArray
from hyper_py.detection.daofind import DaofindStatistics
from hyper_py.detection.peaks import brightest_apart, shoulder_score
from hyper_py.numerics.pairs import pairs_within
from hyper_py.numerics.tiles import Plane

SHARPNESS_SIGMA = 3.0
"""Of the noise of pixels, by which limits of sharpness are wider."""


@dataclass(frozen=True, kw_only=True)
class PeakLimits:
    """Limits of the checks.

    Attributes
    ----------
    sigma_threshold : float
        Least significance: in the noise of the map (`highpass`), or of the filtered map (`matched`).
    roundlim, sharplim : tuple of float
        Limits, both included, on both of DAOFIND's roundness statistics and on its sharpness.
    margin : float
        Least distance from the border in pixels.
    min_distance : float
        Of peaks closer than this in pixels the brighter stays; 0: as the detector says.
    shoulder_threshold : float, optional
        Largest shoulder score; None: any.
    shoulder_ring_factor, shoulder_neighbor_mask : float
        Radius of the ring and of what is left out around other peaks in beam FWHM, see `shoulder_score`.
    shoulder_n_angles : int
        Points on the ring.
    """

    sigma_threshold: float = 4.0
    roundlim: tuple[float, float] = (-4.0, 4.0)
    sharplim: tuple[float, float] = (-2.0, 2.0)
    margin: float = 0.0
    min_distance: float = 0.0
    shoulder_threshold: float | None = None
    shoulder_ring_factor: float = 1.5
    shoulder_n_angles: int = 16
    shoulder_neighbor_mask: float = 1.0


@dataclass(frozen=True, eq=False)
class Check:
    """One check of some peaks: values and limits, both included.

    Attributes
    ----------
    name : str
    values : ndarray, shape (n,)
    low, high : float or ndarray, shape (n,)
    is_brightness : bool
        Whether values and limits are in the unit of the map.
    unknown_passes : bool
        Whether a value that cannot be measured (NaN) passes.
    """

    name: str
    values: FloatArray
    low: float | FloatArray = -np.inf
    high: float | FloatArray = np.inf
    is_brightness: bool = False
    unknown_passes: bool = False

    @property
    def passed(self) -> BoolArray:
        """Which peaks pass, shape (n,)."""
        inside: BoolArray = (self.values >= self.low) & (self.values <= self.high)
        return inside | np.isnan(self.values) if self.unknown_passes else inside


def all_passed(checks: Sequence[Check]) -> BoolArray:
    """Return which peaks pass each of the checks."""
    passed: BoolArray = np.logical_and.reduce([check.passed for check in checks])
    return passed


def shape_checks(
    statistics: DaofindStatistics,
    limits: PeakLimits,
    *,
    excess_rms: float | FloatArray = 0.0,
    may_be_hollow: bool | BoolArray = False,
) -> tuple[Check, ...]:
    """Return the checks of DAOFIND's roundness and sharpness.

    Parameters
    ----------
    statistics : DaofindStatistics
    limits : PeakLimits
    excess_rms : float or ndarray, shape (n,)
        Rms of pixels less the mean of their neighbours: where pixels are noisy, faint sources may look sharp,
        and the limits are wider by `SHARPNESS_SIGMA` of what that makes.
    may_be_hollow : bool or bool ndarray, shape (n,)
        Wide sources may be rings: these have no lower limit of sharpness.
    """
    error = SHARPNESS_SIGMA * excess_rms / np.maximum(np.abs(statistics.convolved), np.finfo(float).tiny)
    low, high = limits.sharplim
    least = np.where(may_be_hollow, -np.inf, low - error)
    return (
        Check("roundness from symmetry", statistics.roundness, *limits.roundlim),
        Check("roundness from marginals", statistics.roundness_marginal, *limits.roundlim),
        Check("sharpness", statistics.sharpness, least, high + error),
    )


def border_check(
    shape: tuple[int, ...], *, x: FloatArray | IntArray, y: FloatArray | IntArray, margin: float
) -> Check:
    """Return the check of the distance from the outermost pixels of the map."""
    distance = np.minimum(np.minimum(x, shape[1] - 1 - x), np.minimum(y, shape[0] - 1 - y))
    return Check("distance to the border in pixels", np.asarray(distance, dtype=np.float64), margin)


def apart_check(
    points: FloatArray, brightness: FloatArray, *, kept: tuple[FloatArray, FloatArray], distance: float
) -> Check:
    """Return the check of the distance to brighter peaks; infinite where none is closer than the limit.

    Parameters
    ----------
    points : ndarray, shape (n, 2)
    brightness : ndarray, shape (n,)
    kept : tuple of ndarray
        Points (m, 2) and brightness (m,) of the peaks that are kept; the same ones may be among them.
    distance : float
        Least distance in pixels.
    """
    nearest = np.full(len(points), np.inf)
    place, other = pairs_within(kept[0], points, np.nextafter(distance, 0.0))
    away = np.hypot(*(kept[0][other] - points[place]).T)
    brighter = (kept[1][other] >= brightness[place]) & (away > 0.0)
    np.minimum.at(nearest, place[brighter], away[brighter])
    return Check("distance to a brighter peak in pixels", nearest, distance)


def brightest_checked(
    points: FloatArray, brightness: FloatArray, passed: BoolArray, *, distance: float
) -> IndexArray:
    """Return which of the peaks that passed stay apart (see `apart_check`), the brightest first."""
    index = np.flatnonzero(passed)
    chosen = brightest_apart(*points[index].T, brightness=brightness[index], distance=distance)
    kept: IndexArray = index[chosen]
    return kept


def shoulder_check(
    data: Plane, *, points: FloatArray, peak: FloatArray, limits: PeakLimits, fwhm: float
) -> Check:
    """Return the check of the asymmetry of a ring around each peak.

    Parameters
    ----------
    data : Plane, shape (ny, nx)
    points : ndarray, shape (n, 2)
        Order (x, y).
    peak : ndarray, shape (n,)
        Values of the map less its mean.
    limits : PeakLimits
    fwhm : float
        Of the beam in pixels.
    """
    score = shoulder_score(
        data, x=points[:, 0], y=points[:, 1], peak=peak, radius=limits.shoulder_ring_factor * fwhm,
        n_angles=limits.shoulder_n_angles, neighbor_radius=limits.shoulder_neighbor_mask * fwhm,
    )  # fmt: skip
    highest = np.inf if limits.shoulder_threshold is None else limits.shoulder_threshold
    return Check("shoulder score", score, high=highest, unknown_passes=True)
