"""Fits of units in turns, each with the present models of all others subtracted."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from hyper_py.diagnostics import Flag
from hyper_py.geometry import FloatArray
from hyper_py.numerics import models
from hyper_py.steps.fitting import IN_CACHE, Metric, UnitFit, Window, fit_units, padded_pixels
from hyper_py.steps.photometry import Aperture, UnitPhotometry

IntArray: TypeAlias = NDArray[np.int64]
BoolArray: TypeAlias = NDArray[np.bool_]

_SWEEP_TOLERANCE = 1e-3
"""Units are fitted again until no flux moves by more than this share of its source's."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Bounds:
    """Lower and upper bounds of every parameter of every source, each (n, 6)."""

    lower: FloatArray
    upper: FloatArray


def sweep_units(
    data: FloatArray,
    sources: FloatArray,
    units: Sequence[IntArray],
    windows: Sequence[Window],
    metrics: Sequence[Metric],
    backgrounds: Sequence[FloatArray],
    *,
    bounds: Bounds,
    max_sweeps: int = 4,
    previous: Sequence[UnitFit | None] | None = None,
    **options: Any,
) -> tuple[FloatArray, list[UnitFit]]:
    """Fit all units, each with the present models of all others subtracted, until nothing moves.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
    sources : ndarray, shape (n, 6)
        Starting values.
    units : sequence of int ndarray
        Sources of each unit.
    windows, metrics, backgrounds : sequences, one entry a unit
        Pixels, cost, and background on these pixels.
    bounds : Bounds
    max_sweeps : int
        Units that see no neighbour outside are fitted once.
    previous : sequence of UnitFit or None, optional
        Fits of units that are as they were: they are fitted again only where a neighbour moves.
    **options
        Of `hyper_py.steps.fitting.fit_units`: loss, tolerances, evaluations.

    Returns
    -------
    sources : ndarray, shape (n, 6)
    fits : list of UnitFit
    """
    sources = sources.copy()
    fits: list[UnitFit | None] = [None] * len(units) if previous is None else list(previous)
    reach = _neighbours(sources, units, windows)
    moved = np.zeros(len(sources), dtype=bool)
    for unit, fit in zip(units, fits, strict=True):
        moved[unit] = fit is None
    todo = [k for k in range(len(units)) if fits[k] is None or moved[reach[k]].any()]
    for _ in range(max_sweeps):
        done = fit_units(
            unit_values(
                data,
                sources,
                [units[k] for k in todo],
                [windows[k] for k in todo],
                [backgrounds[k] for k in todo],
            ),
            [windows[k] for k in todo],
            [metrics[k] for k in todo],
            [sources[units[k]] for k in todo],
            lower=[bounds.lower[units[k]] for k in todo],
            upper=[bounds.upper[units[k]] for k in todo],
            **options,
        )
        moved[:] = False
        for k, fit in zip(todo, done, strict=True):
            fits[k] = fit
            moved[units[k]] = _moved(sources[units[k]], fit.parameters)
            sources[units[k]] = fit.parameters
        todo = [k for k in range(len(units)) if moved[reach[k]].any()]
        if not todo:
            break
    return sources, [fit for fit in fits if fit is not None]


def unit_values(
    data: FloatArray,
    sources: FloatArray,
    units: Sequence[IntArray],
    windows: Sequence[Window],
    backgrounds: Sequence[FloatArray],
) -> list[FloatArray]:
    """Return the data of units on their windows, backgrounds and the models of all other sources removed."""
    image = data - models.render(sources, (data.shape[0], data.shape[1]))
    values = [np.empty(0)] * len(units)
    alike: dict[int, list[int]] = {}
    for k, unit in enumerate(units):
        alike.setdefault(len(unit), []).append(k)
    for members in alike.values():
        for batch in (members[i : i + IN_CACHE] for i in range(0, len(members), IN_CACHE)):
            y, x = padded_pixels([windows[k] for k in batch])
            own = models.gaussian_sum(
                sources[[units[k] for k in batch]], y.astype(np.float64), x.astype(np.float64)
            )
            for k, value in zip(batch, image[y, x] + own, strict=True):
                values[k] = value[: windows[k].y.size] - backgrounds[k]
    return values


def other_starts(task: "Task", sources: FloatArray) -> list[FloatArray]:
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
    data: FloatArray,
    sources: FloatArray,
    fits: Sequence[UnitFit],
    units: Sequence[IntArray],
    windows: Sequence[Window],
    metrics: Sequence[Metric],
    backgrounds: Sequence[FloatArray],
    *,
    starts: Sequence[FloatArray],
    bounds: Bounds,
    **options: Any,
) -> tuple[FloatArray, list[UnitFit], BoolArray]:
    """Fit the units that did not converge again, from other starts; the lowest cost is kept.

    Parameters
    ----------
    data, sources, units, windows, metrics, backgrounds, bounds
        As for `sweep_units`.
    fits : sequence of UnitFit
    starts : sequence of ndarray, shape (n, 6)
        Starting values of all sources, one set a try.
    **options
        Of `hyper_py.steps.fitting.fit_units`.

    Returns
    -------
    sources : ndarray, shape (n, 6)
    fits : list of UnitFit
    retried : bool ndarray, shape (n_units,)
        Units whose fit converged only from another start.
    """
    sources, fits = sources.copy(), list(fits)
    retried = np.zeros(len(units), dtype=bool)
    for start in starts:
        failed = [k for k, fit in enumerate(fits) if not fit.converged]
        if not failed:
            break
        values = unit_values(
            data, sources, [units[k] for k in failed], [windows[k] for k in failed],
            [backgrounds[k] for k in failed],
        )  # fmt: skip
        for k, value in zip(failed, values, strict=True):
            again = fit_units(
                [value],
                [windows[k]],
                [metrics[k]],
                [start[units[k]]],
                lower=[bounds.lower[units[k]]],
                upper=[bounds.upper[units[k]]],
                **options,
            )[0]
            worse = not np.isfinite(fits[k].cost)
            if again.converged or worse or again.cost < fits[k].cost:
                fits[k], sources[units[k]], retried[k] = again, again.parameters, again.converged
    return sources, fits, retried


def _neighbours(sources: FloatArray, units: Sequence[IntArray], windows: Sequence[Window]) -> list[IntArray]:
    """Return for each unit the sources outside it whose light reaches its window."""
    if not units:
        return []
    centres = sources[:, [models.X, models.Y]]
    light = 4.0 * float(sources[:, models.SIGMA_1].max())
    middles, radii = np.zeros((len(units), 2)), np.zeros(len(units))
    for k, window in enumerate(windows):
        if window.x.size:
            x, y = window.x, window.y
            middles[k] = 0.5 * (x.min() + x.max()), 0.5 * (y.min() + y.max())
            radii[k] = np.hypot(x - middles[k, 0], y - middles[k, 1]).max() + light
    near = KDTree(centres).query_ball_point(middles, radii, return_sorted=True)
    return [
        np.array(sorted(set(sees).difference(unit.tolist())) if window.x.size else [], dtype=np.int64)
        for sees, unit, window in zip(near, units, windows, strict=True)
    ]


def _moved(before: FloatArray, after: FloatArray) -> BoolArray:
    """Whether a source changed enough to matter to its neighbours."""
    flux = np.abs(models.gaussian_flux(after))
    change = np.abs(models.gaussian_flux(after) - models.gaussian_flux(before))
    shift = np.abs(after[:, models.X : models.Y + 1] - before[:, models.X : models.Y + 1]).max(axis=1)
    moved: BoolArray = (change > _SWEEP_TOLERANCE * flux) | (
        shift > _SWEEP_TOLERANCE * after[:, models.SIGMA_1]
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
    fit: UnitFit
    n_pixels: int
    n_free: int
    chi2: float
    retried: bool
    covariance: FloatArray | None = None
    background: Patch | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """What is to be measured, in pixels and Jy/pixel.

    Attributes
    ----------
    data : ndarray, shape (ny, nx)
    usable : bool ndarray, shape (ny, nx)
        False where blank.
    rms : float or ndarray
        Noise level of the map.
    start : ndarray, shape (n, 6)
        Starting values: peak, position and the shape of the beam, or what was given.
    fixed : bool ndarray, shape (n, 6)
        Parameters that keep their start.
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
    relative_noise : ndarray, shape (ny, nx), optional
        What is known beforehand of how the noise varies, of median 1.
    """

    data: FloatArray
    usable: BoolArray
    rms: float | FloatArray
    start: FloatArray
    fixed: BoolArray
    shift: FloatArray
    units: Sequence[IntArray]
    beam_fwhm: float
    beam_area: float
    beam_covariance: FloatArray
    forced: bool
    relative_noise: FloatArray | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """What one of the two ways made of a `Task`; arrays over its `n` sources, see `Measurement`."""

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
        fit: UnitFit,
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
        self.nmse[unit] = np.mean(left**2) / np.mean(data**2) if data.any() else np.nan
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
        self, unit: IntArray, photometry: UnitPhotometry, apertures: Sequence[Aperture], usable: BoolArray
    ) -> None:
        """Add fluxes and errors of the unit added last; `usable` (ny, nx) is False where the map is blank."""
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
            self.n_blank[source] = np.count_nonzero((inside.weights > 0.0) & ~usable[inside.slices])
            if self.n_blank[source]:
                self.flags[source] |= int(Flag.BLANK_PIXELS)
            if inside.weights.sum() < aperture.weights.sum() - 1e-9:
                self.flags[source] |= int(Flag.EDGE)
            if not np.isfinite(photometry.flux_err[i]):
                self.flags[source] |= int(Flag.NO_ERROR)
            if not ((inside.weights > 0.0) & usable[inside.slices]).any():
                self.add_nothing(source)

    def measured(self, parameters: FloatArray) -> "Measured":
        """Return everything gathered."""
        return Measured(parameters=parameters, **vars(self))
