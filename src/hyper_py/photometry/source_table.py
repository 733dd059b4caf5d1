"""One table of values over the sources of a map, and the corrections of its fluxes and errors."""

from dataclasses import dataclass, replace

import numpy as np

from hyper_py.arrays import BoolArray, FloatArray, IntArray
from hyper_py.diagnostics import Flag
from hyper_py.numerics import gaussians

LEAST_BEYOND, LEAST_BEYOND_ALONE, MOST_BEYOND = -0.3, -0.8, 1.5
"""Light beyond a Gaussian is in the flux between these multiples of that of the Gaussian. Of a ring that
stands alone the hollow is to be taken off, which the Gaussian fills."""
UNCERTAIN_BEYOND = 0.4
"""This share of that light, at most of the Gaussian's, is in the error: where a profile is no Gaussian it may
be a neighbour's, or there may be more. Simulated discs, cores and complexes have pulls of .5 to 1.4 then."""


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
