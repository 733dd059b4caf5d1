"""What was measured: one table of values over the sources of a map, and the groups that they come from."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray, IntArray
from hyper_py.background.evaluate import painted
from hyper_py.background.model import BackgroundModel
from hyper_py.diagnostics import Flag
from hyper_py.fitting.groups import GroupFit
from hyper_py.fitting.problem import AT_LARGEST
from hyper_py.noise.covariance import CovarianceModel
from hyper_py.numerics import gaussians
from hyper_py.numerics.tiles import Plane, Where
from hyper_py.photometry.aperture import GroupApertures, GroupPhotometry

_FILLED = (
    "at_bound", "flux", "flux_err", "flux_gauss_err", "aperture_fraction", "background", "n_blank", "nmse",
    "chi2_red", "bic", "status", "flags", "order", "covariance",
)  # fmt: skip
"""Columns that groups fill."""
LEAST_BEYOND, LEAST_BEYOND_ALONE, MOST_BEYOND = -0.3, -0.8, 1.5
"""Light beyond a Gaussian is in the flux between these multiples of that of the Gaussian. Of a ring that
stands alone the hollow is to be taken off, which the Gaussian fills."""
UNCERTAIN_BEYOND = 0.4
"""This share of that light, at most of the Gaussian's, is in the error: where a profile is no Gaussian it may
be a neighbour's, or there may be more. Simulated discs, cores and complexes have pulls of .5 to 1.4 then."""
_NOTHING_SHOWN = int(Flag.FIT_FAILED | Flag.NO_ERROR | Flag.BLANK_PIXELS)
CLEAR_SNR = 10.0
"""A wide source at a bound stays if its flux, one of the largest size if its detection is so clear."""
_RIDGE_RATIO = 2.5
"""What fills the largest size allowed and is so much longer than wide is a piece of a filament."""
_LOST_SHARE, _LOST_SNR, _LOST_SIZE = 0.2, 5.0, 0.7
"""Of what was found hardly anything is left where a source that stands alone has a flux below the first times
its significance, in errors, and below the second: true ones have 0.3 to 0.7 (less in complexes), rings and
rims of bright ones, from which a fit has moved away, less than 0.15. Then it is smaller than what was found
by the third, or held at the end of its way."""
_LEAST_WIDE_SNR = 3.0
"""Flux over its error of a wide source: where its shape is not known, what it describes is background."""
_LEAST_OF_FIT = 2.0
"""Flux of a fit over its error, where that is taken in place of the aperture's."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SourceTable:
    """What was measured of `n` sources, in pixels and Jy/pixel; the catalogue is computed from it.

    Attributes
    ----------
    parameters : ndarray, shape (n, 6)
        Fitted Gaussians, in the order of `hyper_py.numerics.gaussians`.
    covariance : ndarray, shape (n, 6, 6)
        Covariance of `parameters`; NaN where it is unknown.
    at_bound : bool ndarray, shape (n, 6)
        Parameters that a bound holds.
    flux, flux_err, flux_gauss, flux_gauss_err, aperture_fraction : ndarray, shape (n,)
        Jy; the aperture's flux and the Gaussian's, with their corrections applied, and errors.
    local_rms, snr, background, shoulder_score : ndarray, shape (n,)
    beyond, beyond_err, growth_radius : ndarray, shape (n,)
        Light beyond the Gaussian and its error, Jy, and where the growth curve ends, in FWHM; NaN where it
        was not measured.
    order, n_in_group, n_blank, status, flags : int ndarray, shape (n,)
    nmse, chi2_red, bic : ndarray, shape (n,)
    """

    parameters: FloatArray
    covariance: FloatArray
    at_bound: BoolArray
    flux: FloatArray
    flux_err: FloatArray
    flux_gauss: FloatArray
    flux_gauss_err: FloatArray
    aperture_fraction: FloatArray
    local_rms: FloatArray
    snr: FloatArray
    background: FloatArray
    shoulder_score: FloatArray
    order: IntArray
    n_in_group: IntArray
    n_blank: IntArray
    status: IntArray
    flags: IntArray
    nmse: FloatArray
    chi2_red: FloatArray
    bic: FloatArray
    beyond: FloatArray
    beyond_err: FloatArray
    growth_radius: FloatArray

    def __len__(self) -> int:
        return len(self.parameters)

    @property
    def is_below_noise(self) -> BoolArray:
        """Whether the fit left nothing of a source: no peak, or a peak or flux below its own error."""
        peak = self.parameters[:, gaussians.AMPLITUDE]
        peak_err = np.sqrt(self.covariance[:, gaussians.AMPLITUDE, gaussians.AMPLITUDE])
        below: BoolArray = (peak <= 0.0) | (peak < peak_err) | (self.flux < self.flux_err)
        return below

    @classmethod
    def unmeasured(cls, parameters: FloatArray) -> "SourceTable":
        """Return the table of Gaussians, (n, 6), of which nothing was measured: NaN, status and flags 0."""
        n = len(parameters)
        nothing, zero = np.full(n, np.nan), np.zeros(n, dtype=np.int64)
        return cls(
            parameters=parameters,
            covariance=np.full((n, gaussians.N_PARAMETERS, gaussians.N_PARAMETERS), np.nan),
            at_bound=np.zeros((n, gaussians.N_PARAMETERS), dtype=bool),
            flux=nothing, flux_err=nothing, flux_gauss=nothing, flux_gauss_err=nothing,
            aperture_fraction=nothing, local_rms=nothing, snr=nothing, background=nothing,
            shoulder_score=nothing, order=zero - 1, n_in_group=zero + 1, n_blank=zero, status=zero,
            flags=zero, nmse=nothing, chi2_red=nothing, bic=nothing, beyond=nothing,
            beyond_err=nothing, growth_radius=nothing,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class MeasuredGroup:
    """How one group was fitted and measured.

    Attributes
    ----------
    members : int ndarray, shape (n_sources,)
        Rows of its sources.
    fit : GroupFit
    retried : bool
        Whether the fit converged only from another start.
    n_pixels, n_free : int
        Fit pixels and free parameters.
    n_beams : float
        Independent beams among the pixels.
    chi2, nmse : float
    photometry : GroupPhotometry
    n_blank, flags : int ndarray, shape (n_sources,)
    shown : bool ndarray, shape (n_sources,)
        Whether the map shows anything in a source's aperture.
    background : BackgroundModel
    """

    members: IntArray
    fit: GroupFit
    retried: bool
    n_pixels: int
    n_free: int
    n_beams: float
    chi2: float
    nmse: float
    photometry: GroupPhotometry
    n_blank: IntArray
    flags: IntArray
    shown: BoolArray
    background: BackgroundModel

    @property
    def chi2_red(self) -> float:
        """Chi-square over the degrees of freedom."""
        n_left = self.n_pixels - self.n_free
        return self.chi2 / n_left if n_left > 0 else np.nan

    @property
    def bic(self) -> float:
        """Bayesian information criterion: pixels of one beam are one measurement."""
        in_beams = self.chi2 * self.n_beams / max(self.n_pixels, 1)
        return in_beams + self.n_free * float(np.log(max(self.n_beams, 1.0)))

    @property
    def status(self) -> int:
        """1 converged, 2 converged from another start, 0 failed."""
        return (2 if self.retried else 1) if self.fit.converged else 0

    @property
    def covariance(self) -> FloatArray:
        """Of all parameters of the group, (6 n_sources, 6 n_sources)."""
        return self.photometry.covariance


def measured_group(
    own: GroupApertures,
    photometry: GroupPhotometry,
    residual: FloatArray,
    *,
    chi2: float,
    n_free: int,
    background: BackgroundModel,
    beam_area: float,
    usable: BoolArray | Plane,
) -> MeasuredGroup:
    """Gather what was measured of one group.

    Parameters
    ----------
    own : GroupApertures
    photometry : GroupPhotometry
    residual : ndarray, shape (n,)
        What the fit left of the data on the fit pixels.
    chi2, n_free : float, int
        Chi-square, and number of free parameters.
    background : BackgroundModel
    beam_area : float
        In pixels.
    usable : bool ndarray or Plane, shape (ny, nx)
        False, or 0, where blank.
    """
    group, fit = own.group, own.group.fitted
    flags = np.where(np.isfinite(photometry.flux_err), 0, int(Flag.NO_ERROR))
    if group.retried:
        flags |= int(Flag.RETRIED)
    if not fit.converged:
        flags |= int(Flag.NOT_CONVERGED if np.isfinite(fit.cost) else Flag.FIT_FAILED)
    n_blank, n_shown = np.zeros((2, group.n_sources), dtype=np.int64)
    for i, aperture in enumerate(own.apertures):
        inside = aperture.clipped((usable.shape[0], usable.shape[1]))
        covered = inside.weights > 0.0
        n_shown[i] = np.count_nonzero(covered & (usable[inside.slices] != 0.0))
        n_blank[i] = np.count_nonzero(covered) - n_shown[i]
        if n_blank[i]:
            flags[i] |= int(Flag.BLANK_PIXELS)
        if inside is not aperture and inside.weights.sum() < aperture.weights.sum() - 1e-9:
            flags[i] |= int(Flag.EDGE)
    power = float(group.data @ group.data)
    return MeasuredGroup(
        members=group.members, fit=fit, retried=group.retried, n_pixels=residual.size, n_free=n_free,
        n_beams=residual.size / beam_area, chi2=chi2, photometry=photometry, n_blank=n_blank, flags=flags,
        shown=n_shown > 0, background=background,
        nmse=float(residual @ residual) / power if power > 0.0 else np.nan,
    )  # fmt: skip


def source_table(parameters: FloatArray, groups: Sequence[MeasuredGroup]) -> SourceTable:
    """Return the table of Gaussians, (n, 6), as their groups were measured.

    Sources of which the map shows nothing, because their fit pixels or apertures are blank, have no flux or
    error, and a status of 0.
    """
    empty, hidden = SourceTable.unmeasured(parameters), np.ones(len(parameters), dtype=bool)
    table = replace(
        empty, flux_gauss=gaussians.gaussian_flux(parameters),
        **{name: getattr(empty, name).copy() for name in _FILLED},
    )  # fmt: skip
    for group in groups:
        members, photometry = group.members, group.photometry
        for name, values in {
            "at_bound": group.fit.at_bound, "flux": photometry.flux, "flux_err": photometry.flux_err,
            "flux_gauss_err": photometry.flux_gauss_err, "aperture_fraction": photometry.fraction,
            "background": photometry.background, "n_blank": group.n_blank, "flags": group.flags,
            "nmse": group.nmse, "chi2_red": group.chi2_red, "bic": group.bic, "status": group.status,
            "order": group.background.order,
        }.items():  # fmt: skip
            getattr(table, name)[members] = values
        n = len(members)
        by_source = photometry.covariance.reshape(n, gaussians.N_PARAMETERS, n, gaussians.N_PARAMETERS)
        table.covariance[members] = by_source[np.arange(n), :, np.arange(n)]
        hidden[members] = ~group.shown
    table.status[hidden] = 0
    table.flags[hidden] |= _NOTHING_SHOWN
    for values in (table.flux, table.flux_err, table.flux_gauss_err, table.covariance):
        values[hidden] = np.nan
    return table


@dataclass(frozen=True, kw_only=True, eq=False)
class MeasuredMap:
    """The sources of a map as measured.

    Attributes
    ----------
    sources : SourceTable
    groups : sequence of MeasuredGroup
        Without those of which the map shows nothing.
    noise : CovarianceModel
        Which the errors come from, per `noise_step` pixels of separation: that of the last fit, unless this
        took white noise.
    given : int ndarray
        Which of the sources given the first rows are; the others were added.
    vanished : int ndarray
        Which of the sources given are none: the fit left nothing of them above the noise.
    pieces : int ndarray
        Which of the sources given are pieces of one source, for which another of them stands.
    noise_step : int
    flux_factor : float
        What the flux of a source is over that of its Gaussian, where the map shows that.
    """

    sources: SourceTable
    groups: Sequence[MeasuredGroup]
    noise: CovarianceModel
    given: IntArray
    vanished: IntArray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    pieces: IntArray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    noise_step: int = 1
    flux_factor: float = 1.0

    def above_noise(
        self,
        snr: FloatArray,
        *,
        wide_sigma: float = np.inf,
        largest_sigma: float = np.inf,
        apart: BoolArray | None = None,
        found_sigma: FloatArray | None = None,
    ) -> BoolArray:
        """Return which sources stay: of those of a group that are below their noise only the weakest goes.

        So do wide ones (sigma above `wide_sigma`, pixels) of which the flux is not known, or which are held
        by a bound without being clear, and those as large as is allowed (`largest_sigma`) that are long, or
        were not clearly detected: what they describe is background. Nor do those stay that have moved away
        from what was found, see `lost`.

        Two sources in one place both have large errors; without one of them the other is well determined.
        Sources that were added go before those that were detected.

        Parameters
        ----------
        snr : ndarray, shape (n_given,)
            Significance of the detections, which come first.
        apart : bool ndarray, shape (n,), optional
            Those that are False go in any case, and for now no other one of their groups.
        found_sigma : ndarray, shape (n_given,), optional
            Sigma of what was found, in pixels; without it nothing counts as lost.
        """
        table, n_given = self.sources, snr.size
        major = table.parameters[:, gaussians.SIGMA_1]
        wide, filling = major > wide_sigma, major >= AT_LARGEST * largest_sigma
        clear = np.zeros(len(table), dtype=bool)
        clear[:n_given] = snr >= CLEAR_SNR
        # Held by a bound, they have no error later on.
        least = np.where(table.at_bound.any(axis=1), CLEAR_SNR, _LEAST_WIDE_SNR)
        below = table.is_below_noise | (wide & ~(table.flux >= least * table.flux_err))
        below |= are_ridges(table.parameters, largest_sigma=largest_sigma) | (filling & ~clear)
        if found_sigma is not None:
            below |= self.lost(snr, found_sigma)
        kept = np.ones(len(table), dtype=bool) if apart is None else apart.copy()
        ratio = np.divide(table.flux, table.flux_err, out=np.zeros(len(table)), where=table.flux_err > 0.0)
        for group in self.groups:
            failing = group.members[below[group.members]]
            if failing.size and kept[group.members].all():
                kept[failing[np.lexsort((ratio[failing], failing < n_given))[0]]] = False
        return kept

    def with_fluxes_of_fits(self, snr: FloatArray, *, wide_sigma: float) -> "MeasuredMap":
        """Return the same with the flux of the fit where an aperture shows what a wide source leaves.

        The fit of a bright wide source may leave more in the aperture of a compact one in front of it than
        that one has. The error is multiplied by how much more than noise the fit of the group leaves.

        Parameters
        ----------
        snr : ndarray, shape (n_given,)
            Significance of the detections, which come first.
        wide_sigma : float
            Sigma above which a source is wide, in pixels.
        """
        table = self.sources
        error = table.flux_gauss_err * np.sqrt(np.maximum(table.chi2_red, 1.0))
        chosen = (table.flux < table.flux_err) & (table.flux_gauss >= _LEAST_OF_FIT * error)
        chosen &= table.parameters[:, gaussians.SIGMA_1] <= wide_sigma
        chosen[: snr.size] &= snr >= CLEAR_SNR
        chosen[snr.size :] = False
        for group in self.groups:
            if not chosen[group.members].any():
                continue
            sources = table.parameters[group.members]
            wide = sources[sources[:, gaussians.SIGMA_1] > wide_sigma]
            y, x = sources[:, [gaussians.Y, gaussians.X]].T
            light = gaussians.gaussian_sum(wide, y, x)
            chosen[group.members] &= light > sources[:, gaussians.AMPLITUDE]
        if not chosen.any():
            return self
        table = replace(
            table, flux=np.where(chosen, table.flux_gauss, table.flux),
            flux_err=np.where(chosen, error, table.flux_err),
        )  # fmt: skip
        return replace(self, sources=table).with_flags(Flag.FLUX_OF_FIT, chosen)

    def lost(self, snr: FloatArray, found_sigma: FloatArray) -> BoolArray:
        """Return which fits have hardly any of what was found: of clear detections that stand alone.

        Parameters
        ----------
        snr, found_sigma : ndarray, shape (n_given,)
            Significance of the detections, which come first, and the sigma of what was found, in pixels.
        """
        table, lost = self.sources, np.zeros(len(self.sources), dtype=bool)
        alone = [int(group.members[0]) for group in self.groups if len(group.members) == 1]
        clear = np.array([k for k in alone if k < snr.size and snr[k] >= CLEAR_SNR], dtype=np.intp)
        least = np.minimum(_LOST_SHARE * snr[clear], _LOST_SNR)
        sigma_1, sigma_2 = table.parameters[clear, gaussians.SIGMA_1 : gaussians.THETA].T
        elsewhere = np.sqrt(sigma_1 * sigma_2) < _LOST_SIZE * found_sigma[clear]
        elsewhere |= table.at_bound[clear, gaussians.X : gaussians.Y + 1].any(axis=1)
        lost[clear] = elsewhere & (table.flux[clear] < least * table.flux_err[clear])
        return lost

    def among(self, kept: IntArray, n: int) -> "MeasuredMap":
        """Return the same in terms of `n` sources given, of which only those `kept` were measured."""
        others = np.setdiff1d(np.arange(n), kept)
        return replace(
            self, given=kept[self.given], vanished=np.concatenate([others, kept[self.vanished]]),
            pieces=kept[self.pieces],
        )  # fmt: skip

    def of_nothing(self) -> "MeasuredMap":
        """Return the map without any source: all those given have vanished."""
        sources = SourceTable.unmeasured(np.empty((0, gaussians.N_PARAMETERS)))
        none = np.empty(0, dtype=np.int64)
        return replace(self, sources=sources, groups=[], given=none, vanished=np.arange(self.given.size))

    def with_flags(self, flag: Flag, where: BoolArray | bool = True) -> "MeasuredMap":
        """Return the same with a flag set for some sources, or for all."""
        flags = self.sources.flags | np.where(where, int(flag), 0)
        return replace(self, sources=replace(self.sources, flags=flags))

    def background_part(self, where: Where) -> FloatArray:
        """Return the background of rows and columns in Jy/pixel, NaN where there is none.

        Backgrounds are averaged where they overlap.
        """
        (top, bottom), (left, right) = ((part.start, part.stop) for part in where)
        first, last, west, east = self._background_boxes.T
        near = (last >= top) & (first < bottom) & (east >= left) & (west < right)
        return painted([self.groups[int(k)].background for k in np.flatnonzero(near)], where)

    @cached_property
    def _background_boxes(self) -> FloatArray:
        """First and last row and column on which each background is painted, (n_groups, 4)."""
        boxes = np.full((len(self.groups), 4), np.nan)
        for box, group in zip(boxes, self.groups, strict=True):
            y, x, _, _ = group.background.paint()
            if y.size:
                box[:] = y.min(), y.max(), x.min(), x.max()
        return boxes


def are_ridges(sources: FloatArray, *, largest_sigma: float) -> BoolArray:
    """Return which sources (n, 6) are as large as is allowed, and long: pieces of filaments or stripes."""
    major, minor = sources[:, gaussians.SIGMA_1], sources[:, gaussians.SIGMA_2]
    ridges: BoolArray = (major >= AT_LARGEST * largest_sigma) & (major > _RIDGE_RATIO * minor)
    return ridges


def without_errors_at_bounds(table: SourceTable) -> SourceTable:
    """Return the table without errors of what depends on a parameter that a bound holds: NaN.

    Held there, a parameter does not move with the data, and errors that leave it out are too small. The flux
    depends on all parameters, the position only on itself, size and angle not on the position.
    """
    held, covariance = table.at_bound, table.covariance.copy()
    place, size = [gaussians.X, gaussians.Y], [gaussians.SIGMA_1, gaussians.SIGMA_2, gaussians.THETA]
    any_held, position = held.any(axis=1), held[:, place].any(axis=1)
    shape = held[:, size].any(axis=1)
    for which, columns in ((any_held, [gaussians.AMPLITUDE]), (position, place), (shape, size)):
        for column in columns:
            covariance[which, column, :] = covariance[which, :, column] = np.nan
    return replace(
        table,
        covariance=covariance,
        flux_err=np.where(any_held, np.nan, table.flux_err),
        flux_gauss_err=np.where(any_held, np.nan, table.flux_gauss_err),
    )


def corrected_fluxes(
    table: SourceTable, *, beam_factor: FloatArray, flux_factor: float, aperture_correction: bool
) -> SourceTable:
    """Return the table with the light of sources outside their Gaussians and apertures.

    Parameters
    ----------
    table : SourceTable
    beam_factor : ndarray, shape (n,)
        What the flux of a source is over that of its Gaussian, for its beam.
    flux_factor : float
        The same, as the map shows it.
    aperture_correction : bool
        Whether fluxes are corrected for what is outside the apertures.
    """
    factor = beam_factor * flux_factor
    other = (table.flags & int(Flag.OTHER_PROFILE)) != 0
    beyond, gauss = np.nan_to_num(table.beyond, nan=np.inf), np.abs(table.flux_gauss)
    unknown = np.where(other, UNCERTAIN_BEYOND * np.minimum(np.abs(beyond), gauss), 0.0)
    # More is not the source's own: it stands on emission that is wider still. Less is a neighbour's fit.
    least = np.where(table.n_in_group == 1, LEAST_BEYOND_ALONE, LEAST_BEYOND)
    own = other & (beyond <= MOST_BEYOND * gauss) & (beyond >= least * gauss) & aperture_correction
    table = replace(
        table,
        flux=np.where(own, table.flux_gauss + table.beyond, table.flux),
        flux_err=np.hypot(table.flux_err, np.hypot(unknown, np.where(own, table.beyond_err, 0.0))),
    )
    correction = factor if aperture_correction else table.aperture_fraction
    # That light is measured out to some distance only, and uncertain by as much as it adds.
    uncertain = abs(1.0 - 1.0 / flux_factor)
    flux, flux_gauss = table.flux * correction, table.flux_gauss * factor
    return replace(
        table,
        flux=flux,
        flux_err=np.hypot(table.flux_err * correction, uncertain * flux),
        flux_gauss=flux_gauss,
        beyond=table.beyond * factor,
        beyond_err=table.beyond_err * factor,
        flux_gauss_err=np.hypot(table.flux_gauss_err * factor, uncertain * flux_gauss),
        aperture_fraction=table.aperture_fraction / factor,
    )
