"""What was measured: the groups of a map, the table of their sources, and the map with both."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray, IntArray
from hyper_py.background.evaluate import painted
from hyper_py.background.model import BackgroundModel
from hyper_py.diagnostics import Flag
from hyper_py.fitting.groups import GroupFit
from hyper_py.noise.covariance import CovarianceModel
from hyper_py.numerics import gaussians
from hyper_py.numerics.tiles import Plane, Where
from hyper_py.photometry.aperture import GroupApertures, GroupPhotometry
from hyper_py.photometry.source_table import SourceTable

_FILLED = (
    "at_bound", "flux", "flux_err", "flux_gauss_err", "aperture_fraction", "background", "n_blank", "nmse",
    "chi2_red", "bic", "status", "flags", "order", "covariance",
)  # fmt: skip
"""Columns that groups fill."""
_NOTHING_SHOWN = int(Flag.FIT_FAILED | Flag.NO_ERROR | Flag.BLANK_PIXELS)


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


def table_of_groups(parameters: FloatArray, groups: Sequence[MeasuredGroup]) -> SourceTable:
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
