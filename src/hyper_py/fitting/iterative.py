"""Fits of units in turns, each with the present models of all others subtracted."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray, IntArray
from hyper_py.diagnostics import Flag
from hyper_py.fitting.group_fit import FitPixels, GroupFit, Whitener, fit_groups, padded_pixels
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.noise.covariance import CovarianceModel
from hyper_py.numerics import models
from hyper_py.numerics.mesh import MeshMap
from hyper_py.numerics.pairs import group_pairs, pairs_within
from hyper_py.numerics.tiles import Plane, at
from hyper_py.photometry.aperture import Aperture, GroupPhotometry

CACHE_BYTES = 96_000_000
"""Memory for the matrices of windows: the larger ones of a map are made anew when there are many."""
_MODEL_SIGMA = 6.0
"""Where a Gaussian has fallen to 1.5e-8 of its peak."""
_WINDOWS_AT_ONCE = 32
"""Windows of which the models are drawn at once: they stay in the cache."""
_FLUX_TOLERANCE = 1e-3
"""Units are fitted again until no flux moves by more than this share of its source's."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Bounds:
    """Lower and upper bounds of every parameter of every source, each (n, 6)."""

    lower: FloatArray
    upper: FloatArray


def fit_iteratively(
    data: Sequence[FloatArray],
    sources: FloatArray,
    units: Sequence[IntArray],
    windows: Sequence[FitPixels],
    whiteners: Sequence[Whitener],
    backgrounds: Sequence[FloatArray],
    *,
    bounds: Bounds,
    max_iterations: int = 4,
    previous: Sequence[GroupFit | None] | None = None,
    **options: Any,
) -> tuple[FloatArray, list[GroupFit]]:
    """Fit all units, each with the present models of all others subtracted, until nothing moves.

    Parameters
    ----------
    data : sequence of ndarray, shape (n_k,)
        The map on the window of each unit, see `values_on`.
    sources : ndarray, shape (n, 6)
        Starting values.
    units : sequence of int ndarray
        Sources of each unit.
    windows, whiteners, backgrounds : sequences, one entry a unit
        Pixels, cost, and background on these pixels.
    bounds : Bounds
    max_iterations : int
        Units that see no neighbour outside are fitted once.
    previous : sequence of GroupFit or None, optional
        Fits of units that are as they were: they are fitted again only where a neighbour moves.
    **options
        Of `hyper_py.fitting.group_fit.fit_groups`: loss, tolerances, evaluations.

    Returns
    -------
    sources : ndarray, shape (n, 6)
    fits : list of GroupFit
    """
    sources = sources.copy()
    fits: list[GroupFit | None] = [None] * len(units) if previous is None else list(previous)
    reach = _neighbours(sources, units, windows)
    moved = np.zeros(len(sources), dtype=bool)
    for unit, fit in zip(units, fits, strict=True):
        moved[unit] = fit is None
    todo = [k for k, near in enumerate(reach) if fits[k] is None or moved[near].any()]
    for _ in range(max_iterations):
        values = group_data(
            [data[k] for k in todo],
            sources,
            [units[k] for k in todo],
            [windows[k] for k in todo],
            [backgrounds[k] for k in todo],
        )
        before = sources.copy()
        for chunk in affordable(todo, windows, whiteners):
            done = fit_groups(
                [values[i] for i, _ in chunk],
                [windows[k] for _, k in chunk],
                [whiteners[k] for _, k in chunk],
                [before[units[k]] for _, k in chunk],
                lower=[bounds.lower[units[k]] for _, k in chunk],
                upper=[bounds.upper[units[k]] for _, k in chunk],
                **options,
            )
            for (_, k), fit in zip(chunk, done, strict=True):
                fits[k] = fit
                sources[units[k]] = fit.parameters
        moved = _moved(before, sources)
        todo = [k for k, near in enumerate(reach) if near.size and moved[near].any()]
        if not todo:
            break
    return sources, [fit for fit in fits if fit is not None]


def values_on(plane: Plane, windows: Sequence[FitPixels]) -> list[FloatArray]:
    """Return the pixels of a map on each window."""
    return [at(plane, window.y, window.x) for window in windows]


def rms_on(rms: float | FloatArray, window: FitPixels) -> FloatArray:
    """Return the noise level, one number or one a pixel, on a window."""
    return at(rms, window.y, window.x) if isinstance(rms, np.ndarray) else np.full(window.y.size, rms)


def group_data(
    data: Sequence[FloatArray],
    sources: FloatArray,
    units: Sequence[IntArray],
    windows: Sequence[FitPixels],
    backgrounds: Sequence[FloatArray],
) -> list[FloatArray]:
    """Return the data of units on their windows, backgrounds and the models of all other sources removed."""
    return [
        own - background - others
        for own, background, others in zip(
            data, backgrounds, models_on(sources, windows, but=units), strict=True
        )
    ]


class WhitenersOnDemand(Sequence[Whitener]):
    """Metrics that are made when they are asked for."""

    @abstractmethod
    def key(self, index: int) -> bytes:
        """Return the same for whiteners that share a matrix."""


def affordable(
    units: Sequence[int], windows: Sequence[FitPixels], whiteners: Sequence[Whitener]
) -> Iterator[list[tuple[int, int]]]:
    """Yield the units in batches of which the matrices of all windows fit into `CACHE_BYTES`.

    Each comes with its place in `units`. Units with windows of one shape, which share a matrix, are in one
    batch. Metrics that are in memory already are one batch.
    """
    if not isinstance(whiteners, WhitenersOnDemand):
        yield list(enumerate(units))
        return
    alike: dict[bytes, list[tuple[int, int]]] = {}
    for i, k in enumerate(units):
        alike.setdefault(whiteners.key(k), []).append((i, k))
    batch: list[tuple[int, int]] = []
    size = 0
    for members in alike.values():
        own = 8 * windows[members[0][1]].y.size ** 2
        if batch and size + own > CACHE_BYTES:
            yield batch
            batch, size = [], 0
        batch, size = batch + members, size + own
    if batch:
        yield batch


def alternative_starts(task: "FitProblem", sources: FloatArray) -> list[FloatArray]:
    """Return starting values of other fits where the first did not converge, one set a try.

    Where it stopped, so that it may go on; the peak with the beam's shape; the same, smaller and fainter.
    """
    beam = task.start.copy()
    free = ~task.fixed[:, models.SIGMA_1]
    beam[free, models.SIGMA_1 :] = models.shape_parameters(task.beam_covariance)
    small = beam.copy()
    small[free, models.SIGMA_1 : models.THETA] *= 0.8
    small[:, models.AMPLITUDE] *= np.where(task.fixed[:, models.AMPLITUDE], 1.0, 0.7)
    return [sources.copy(), beam, small]


def retry_failed(
    data: Sequence[FloatArray],
    sources: FloatArray,
    fits: Sequence[GroupFit],
    units: Sequence[IntArray],
    windows: Sequence[FitPixels],
    whiteners: Sequence[Whitener],
    backgrounds: Sequence[FloatArray],
    *,
    starts: Sequence[FloatArray],
    bounds: Bounds,
    **options: Any,
) -> tuple[FloatArray, list[GroupFit], BoolArray]:
    """Fit the units that did not converge again, from other starts; the lowest cost is kept.

    Parameters
    ----------
    data, sources, units, windows, whiteners, backgrounds, bounds
        As for `fit_iteratively`.
    fits : sequence of GroupFit
    starts : sequence of ndarray, shape (n, 6)
        Starting values of all sources, one set a try.
    **options
        Of `hyper_py.fitting.group_fit.fit_groups`.

    Returns
    -------
    sources : ndarray, shape (n, 6)
    fits : list of GroupFit
    retried : bool ndarray, shape (n_groups,)
        Units whose fit converged only from another start.
    """
    sources, fits = sources.copy(), list(fits)
    retried = np.zeros(len(units), dtype=bool)
    for start in starts:
        failed = [k for k, fit in enumerate(fits) if not fit.converged]
        if not failed:
            break
        values = group_data(
            [data[k] for k in failed], sources, [units[k] for k in failed], [windows[k] for k in failed],
            [backgrounds[k] for k in failed],
        )  # fmt: skip
        for k, value in zip(failed, values, strict=True):
            again = fit_groups(
                [value],
                [windows[k]],
                [whiteners[k]],
                [start[units[k]]],
                lower=[bounds.lower[units[k]]],
                upper=[bounds.upper[units[k]]],
                **options,
            )[0]
            worse = not np.isfinite(fits[k].cost)
            if again.converged or worse or again.cost < fits[k].cost:
                fits[k], sources[units[k]], retried[k] = again, again.parameters, again.converged
    return sources, fits, retried


def _neighbours(
    sources: FloatArray, units: Sequence[IntArray], windows: Sequence[FitPixels]
) -> list[IntArray]:
    """Return for each unit the sources outside it whose light reaches its window."""
    if not units:
        return []
    centres = sources[:, [models.X, models.Y]]
    light = 4.0 * float(sources[:, models.SIGMA_1].max())
    middles, radii = _circles(windows)
    unit, source = pairs_within(centres, middles, radii + light)
    seen = np.array([window.x.size > 0 for window in windows])[unit]
    seen &= _group_of(units, len(sources))[source] != unit
    return group_pairs(unit[seen], source[seen], len(units))


def _group_of(units: Sequence[IntArray], n_sources: int) -> IntArray:
    """Return the unit of each source; -1 for those in none."""
    owner = np.full(n_sources, -1)
    for k, unit in enumerate(units):
        owner[unit] = k
    return owner


def _circles(windows: Sequence[FitPixels]) -> tuple[FloatArray, FloatArray]:
    """Return middles (n, 2), order x, y, and radii (n,) of circles around windows."""
    circles = np.array([window.circle for window in windows])
    return circles[:, :2], circles[:, 2]


def means_on(plane: Plane, windows: Sequence[FitPixels]) -> list[float]:
    """Return the mean of a map on each window; 1 on an empty one."""
    values: list[FloatArray] = []
    if isinstance(plane, MeshMap):
        for start in range(0, len(windows), _WINDOWS_AT_ONCE):
            values += list(plane.at(*padded_pixels(windows[start : start + _WINDOWS_AT_ONCE])))
    else:
        values = values_on(plane, windows)
    return [
        float(np.mean(row[: window.y.size])) if window.y.size else 1.0
        for row, window in zip(values, windows, strict=True)
    ]


def models_on(
    sources: FloatArray, windows: Sequence[FitPixels], *, but: Sequence[IntArray] | None = None
) -> Iterator[FloatArray]:
    """Yield the sum of all Gaussians on each window, but for some of them, each out to `_MODEL_SIGMA`."""
    if not windows or not len(sources):
        yield from (np.zeros(window.y.shape) for window in windows)
        return
    reach = _MODEL_SIGMA * sources[:, [models.SIGMA_1, models.SIGMA_2]].max(axis=1)
    centres = sources[:, [models.X, models.Y]]
    middles, radii = _circles(windows)
    owner, found = pairs_within(centres, middles, radii + reach.max())
    kept = np.hypot(*(centres[found] - middles[owner]).T) <= radii[owner] + reach[found]
    if but is not None:
        kept &= _group_of(but, len(sources))[found] != owner
    owner, found = owner[kept], found[kept]
    ends = np.searchsorted(owner, np.arange(len(windows) + 1))
    for start in range(0, len(windows), _WINDOWS_AT_ONCE):
        some = windows[start : start + _WINDOWS_AT_ONCE]
        first, last = ends[start], ends[start + len(some)]
        rows = owner[first:last] - start
        y, x = (axis.astype(np.float64) for axis in padded_pixels(some))
        light = models.gaussian_sum(sources[found[first:last], None], y[rows], x[rows])
        total = np.zeros(y.shape)
        lit, begins = np.unique(rows, return_index=True)
        total[lit] = np.add.reduceat(light, begins)
        yield from (own[: window.y.size] for own, window in zip(total, some, strict=True))


def _moved(before: FloatArray, after: FloatArray) -> BoolArray:
    """Whether a source changed enough to matter to its neighbours."""
    flux = np.abs(models.gaussian_flux(after))
    change = np.abs(models.gaussian_flux(after) - models.gaussian_flux(before))
    shift = np.abs(after[:, models.X : models.Y + 1] - before[:, models.X : models.Y + 1]).max(axis=1)
    moved: BoolArray = (change > _FLUX_TOLERANCE * flux) | (
        shift > _FLUX_TOLERANCE * after[:, models.SIGMA_1]
    )
    return moved


class Patch(Protocol):
    """A piece of background: knows the pixels it covers."""

    def paint(self) -> tuple[IntArray, IntArray, FloatArray, FloatArray]:
        """Return y, x, background and weight of the pixels covered, each of shape (n,)."""


@dataclass(kw_only=True, eq=False)
class FitRecord:
    """How one unit's fit went; covariance (6 n, 6 n) and background are those of its measurement."""

    sources: IntArray
    fit: GroupFit
    n_pixels: int
    n_free: int
    chi2: float
    retried: bool
    covariance: FloatArray | None = None
    background: Patch | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class FitProblem:
    """What is to be measured, in pixels and Jy/pixel.

    Attributes
    ----------
    data : ndarray or Plane, shape (ny, nx)
    usable : bool ndarray or Plane, shape (ny, nx)
        False, or 0, where blank.
    rms : float or ndarray
        Noise level of the map.
    start : ndarray, shape (n, 6)
        Starting values: peak, position and the shape of the beam, or what was given.
    fixed : bool ndarray, shape (n, 6)
        Parameters that keep their start.
    assumed : ndarray, shape (n, 6)
        Variances of those that were assumed.
    shift : ndarray, shape (n,)
        Largest move of a centre along x or y, in pixels.
    units : sequence of int ndarray
        Sources to be fitted at once.
    beam_fwhm, beam_area : float
        Geometric mean FWHM and area of the beam, in pixels.
    beam_covariance : ndarray, shape (2, 2)
        At the middle of the map.
    forced : bool
        Whether positions were given, so that negative fluxes are allowed.
    relative_rms : Plane, shape (ny, nx), optional
        What is known beforehand of how the noise varies, of median 1.
    tile_size : int, optional
        Side of the blocks in which the map is worked on, see `hyper_py.numerics.tiles.blocks`.
    beyond : ndarray, shape (2 reach + 1, 2 reach + 1), optional
        What is known of a point source beyond the Gaussian of peak 1 that fits it, at its central pixel.
    """

    data: Any
    usable: Any
    rms: float | FloatArray
    start: FloatArray
    fixed: BoolArray
    assumed: FloatArray
    shift: FloatArray
    units: Sequence[IntArray]
    beam_fwhm: float
    beam_area: float
    beam_covariance: FloatArray
    forced: bool
    relative_rms: Plane | None = None
    tile_size: int | None = None
    beyond: FloatArray | None = None

    def size_limits(self, smallest: float, largest: float, *, round_beam: bool) -> tuple[float, float]:
        """Return the smallest and largest sigma in pixels of sources, given in beams.

        They are counted by the minor and the major axis of the beam, or both by the mean of a round one.
        """
        sigmas = (self.beam_fwhm / FWHM_PER_SIGMA,) * 2
        if not round_beam:
            minor, major = np.sqrt(np.linalg.eigvalsh(self.beam_covariance))
            sigmas = float(minor), float(major)
        return smallest * sigmas[0], largest * sigmas[1]


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """What one of the two ways made of a `FitProblem`; arrays over its `n` sources, see `Measurement`.

    `given` says which of the task's sources the first ones are; the others were added.
    `noise` is the covariance that the errors come from, per `noise_step` pixels of separation: that of the
    last fit unless this took white noise.
    `flux_factor` is what the flux of a source is over that of its Gaussian, where the map shows that.
    """

    parameters: FloatArray
    covariance: FloatArray
    at_bound: BoolArray
    status: IntArray
    flags: IntArray
    flux: FloatArray
    flux_err: FloatArray
    flux_gauss_err: FloatArray
    aperture_fraction: FloatArray
    background: FloatArray
    order: IntArray
    n_blank: IntArray
    nmse: FloatArray
    chi2_red: FloatArray
    bic: FloatArray
    patches: Sequence[Patch]
    fits: Sequence[FitRecord]
    noise: CovarianceModel
    given: IntArray
    noise_step: int = 1
    flux_factor: float = 1.0


class Collector:
    """Gathers the results of units into arrays over sources; what is never added stays failed."""

    def __init__(self, n_sources: int) -> None:
        nan = np.full(n_sources, np.nan)
        self.covariance = np.full((n_sources, models.N_PARAMETERS, models.N_PARAMETERS), np.nan)
        self.at_bound = np.zeros((n_sources, models.N_PARAMETERS), dtype=bool)
        self.status, self.n_blank = np.zeros((2, n_sources), dtype=np.int64)
        self.order = np.full(n_sources, -1, dtype=np.int64)
        self.flags = np.zeros(n_sources, dtype=np.int64)
        self.flux, self.flux_err, self.flux_gauss_err = nan.copy(), nan.copy(), nan.copy()
        self.aperture_fraction, self.background = nan.copy(), nan.copy()
        self.nmse, self.chi2_red, self.bic = nan.copy(), nan.copy(), nan.copy()
        self.patches: list[Patch] = []
        self.fits: list[FitRecord] = []

    def add_fit(
        self,
        unit: IntArray,
        fit: GroupFit,
        left: FloatArray,
        data: FloatArray,
        *,
        n_free: int,
        chi2: float,
        n_beams: float,
        retried: bool,
    ) -> None:
        """Add a unit's fit: what it left of its data (both (n,)), and its chi-square."""
        self.fits.append(
            FitRecord(sources=unit, fit=fit, n_pixels=left.size, n_free=n_free, chi2=chi2, retried=retried)
        )
        self.at_bound[unit] = fit.at_bound
        self.status[unit] = (2 if retried else 1) if fit.converged else 0
        if retried:
            self.flags[unit] |= int(Flag.RETRIED)
        if not fit.converged:
            self.flags[unit] |= int(Flag.NOT_CONVERGED if np.isfinite(fit.cost) else Flag.FIT_FAILED)
        power = float(data @ data)
        self.nmse[unit] = float(left @ left) / power if power > 0.0 else np.nan
        self.chi2_red[unit] = chi2 / (left.size - n_free) if left.size > n_free else np.nan
        # Pixels of one beam are one measurement.
        self.bic[unit] = chi2 * n_beams / max(left.size, 1) + n_free * np.log(max(n_beams, 1.0))

    def add_nothing(self, unit: IntArray | np.int64) -> None:
        """Add a unit of which the map shows nothing: no fit, flux or error."""
        self.status[unit] = 0
        self.flags[unit] |= int(Flag.FIT_FAILED | Flag.NO_ERROR | Flag.BLANK_PIXELS)
        for values in (self.flux, self.flux_err, self.flux_gauss_err, self.covariance):
            values[unit] = np.nan

    def add_background(self, unit: IntArray, patch: Patch, *, order: int) -> None:
        """Add the background of the unit added last: the piece itself and its order."""
        self.patches.append(patch)
        if self.fits:
            self.fits[-1].background = patch
        self.order[unit] = order

    def add_photometry(
        self,
        unit: IntArray,
        photometry: GroupPhotometry,
        apertures: Sequence[Aperture],
        usable: BoolArray | Plane,
    ) -> None:
        """Add fluxes and errors of the unit added last; `usable` as in `FitProblem`."""
        if self.fits:
            self.fits[-1].covariance = photometry.covariance
        self.flux[unit], self.flux_err[unit] = photometry.flux, photometry.flux_err
        self.flux_gauss_err[unit] = photometry.flux_gauss_err
        self.aperture_fraction[unit] = photometry.fraction
        self.background[unit] = photometry.background
        for i, (source, aperture) in enumerate(zip(unit, apertures, strict=True)):
            own = slice(i * models.N_PARAMETERS, (i + 1) * models.N_PARAMETERS)
            self.covariance[source] = photometry.covariance[own, own]
            inside = aperture.clipped((usable.shape[0], usable.shape[1]))
            covered = inside.weights > 0.0
            n_seen = np.count_nonzero(covered & (usable[inside.slices] != 0.0))
            self.n_blank[source] = np.count_nonzero(covered) - n_seen
            if self.n_blank[source]:
                self.flags[source] |= int(Flag.BLANK_PIXELS)
            if inside is not aperture and inside.weights.sum() < aperture.weights.sum() - 1e-9:
                self.flags[source] |= int(Flag.EDGE)
            if not np.isfinite(photometry.flux_err[i]):
                self.flags[source] |= int(Flag.NO_ERROR)
            if not n_seen:
                self.add_nothing(source)

    def measured(
        self,
        parameters: FloatArray,
        *,
        noise: CovarianceModel,
        given: IntArray | None = None,
        flux_factor: float = 1.0,
    ) -> "Measured":
        """Return everything gathered, the noise that errors come from, and which sources were given: all."""
        given = np.arange(len(parameters)) if given is None else given
        return Measured(
            parameters=parameters, noise=noise, given=given, flux_factor=flux_factor, **vars(self)
        )
