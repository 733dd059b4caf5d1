"""Spectra of sources fitted in several bands: spectral indices and grey bodies.

Fluxes are taken as monochromatic flux densities at the nominal wavelengths. No colour correction is made.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hyper_py.arrays import FloatArray, IntArray

HC_OVER_K = 14387.768775
"""Second radiation constant h c / k in micron K (CODATA 2018, exact)."""
_REFERENCE = 250.0
"""Micron at which `grey_body` is normalised; any value gives the same fits."""
_LOWEST, _HIGHEST = 3.0, 150.0
_START_TEMPERATURES = np.geomspace(4.0, 100.0, 120)
_START_BETAS = np.linspace(0.0, 4.0, 17)
_MOST_STEPS = 50


@dataclass(frozen=True, kw_only=True, eq=False)
class SpectralIndices:
    """Indices alpha of F ~ nu^alpha between bands next to each other in wavelength, m = n_bands - 1.

    Attributes
    ----------
    pairs : int ndarray, shape (m, 2)
        Bands, the shorter wavelength first.
    index, error : ndarray, shape (n, m)
        NaN where one of the fluxes is not positive; 1-sigma, with the covariance of the two fluxes.
    """

    pairs: IntArray
    index: FloatArray
    error: FloatArray


@dataclass(frozen=True, kw_only=True, eq=False)
class GreyBodies:
    """Optically thin grey bodies F = A nu^beta B_nu(T) fitted to spectra; each (n,), NaN where none could be.

    Attributes
    ----------
    temperature, temperature_err : ndarray
        K.
    beta, beta_err : ndarray
        Emissivity index; error 0 where it was given.
    amplitude : ndarray
        Flux at 250 micron in the unit of the fluxes.
    chi2 : ndarray
        Of the fit.
    n_fluxes : int ndarray
        Fluxes that it was fitted to.
    """

    temperature: FloatArray
    temperature_err: FloatArray
    beta: FloatArray
    beta_err: FloatArray
    amplitude: FloatArray
    chi2: FloatArray
    n_fluxes: IntArray

    def fluxes(self, wavelengths: Sequence[float] | FloatArray) -> FloatArray:
        """Return the fitted fluxes (n, k) at wavelengths in micron."""
        return self.amplitude[:, None] * grey_body(
            np.asarray(wavelengths, dtype=np.float64), self.temperature[:, None], self.beta[:, None]
        )


def grey_body(
    wavelength: FloatArray, temperature: FloatArray | float, beta: FloatArray | float
) -> FloatArray:
    """Return nu^beta B_nu(T), 1 at 250 micron, for wavelengths in micron."""
    with np.errstate(over="ignore"):
        ratio = np.expm1(HC_OVER_K / (_REFERENCE * temperature)) / np.expm1(
            HC_OVER_K / (wavelength * temperature)
        )
    result: FloatArray = (_REFERENCE / wavelength) ** (3.0 + np.asarray(beta)) * ratio
    return result


def spectral_indices(
    flux: FloatArray, flux_covariance: FloatArray, *, wavelengths: Sequence[float]
) -> SpectralIndices:
    """Return spectral indices between adjacent bands.

    Parameters
    ----------
    flux : ndarray, shape (n, n_bands)
    flux_covariance : ndarray, shape (n, n_bands, n_bands)
    wavelengths : sequence of float
        Micron, in the order of the bands. Bands of one wavelength have no index between them: NaN.
    """
    order = np.argsort(wavelengths, kind="stable")
    pairs = np.column_stack([order[:-1], order[1:]])
    short, long = pairs.T
    span = np.log(np.asarray(wavelengths, dtype=np.float64)[long] / np.asarray(wavelengths)[short])
    positive = np.where(flux > 0.0, flux, np.nan)
    relative = flux_covariance / (positive[:, :, None] * positive[:, None, :])
    variance = relative[:, short, short] + relative[:, long, long] - 2.0 * relative[:, short, long]
    with np.errstate(divide="ignore", invalid="ignore"):
        index = np.log(positive[:, short] / positive[:, long]) / span
        error = np.sqrt(variance) / span
    known = np.isfinite(index)
    return SpectralIndices(
        pairs=pairs.astype(np.int64),
        index=np.where(known, index, np.nan),
        error=np.where(known, error, np.nan),
    )


def fit_grey_bodies(
    flux: FloatArray,
    flux_covariance: FloatArray,
    *,
    wavelengths: Sequence[float],
    beta: float | None = 1.8,
    calibration_errors: Sequence[float | None] = (),
) -> GreyBodies:
    """Fit a grey body to each spectrum: Gauss-Newton from the best point of a grid, the amplitude eliminated.

    Parameters
    ----------
    flux : ndarray, shape (n, n_bands)
        NaN takes no part; negative fluxes do.
    flux_covariance : ndarray, shape (n, n_bands, n_bands)
    wavelengths : sequence of float
        Micron.
    beta : float or None
        None leaves it free; that needs four fluxes, a fixed one three.
    calibration_errors : sequence, optional
        Relative calibration uncertainty of each band, independent of each other; added to the covariance for
        this fit, since a spectrum is only as good as the calibration between its bands.
    """
    micron = np.asarray(wavelengths, dtype=np.float64)
    relative = np.array([value or 0.0 for value in calibration_errors or [0.0] * micron.size])
    rows = np.full((len(flux), 7), np.nan)
    rows[:, 6] = 0
    for i, (values, covariance) in enumerate(zip(flux, flux_covariance, strict=True)):
        used = np.isfinite(values)
        rows[i, 6] = np.count_nonzero(used)
        if rows[i, 6] < (3 if beta is not None else 4):
            continue
        own = covariance[np.ix_(used, used)] + np.diag((relative[used] * values[used]) ** 2)
        try:
            whitening = np.linalg.inv(np.linalg.cholesky(own))
        except np.linalg.LinAlgError:
            continue
        rows[i, :6] = _fit(whitening, whitening @ values[used], micron[used], beta)
    return GreyBodies(
        temperature=rows[:, 0], temperature_err=rows[:, 1], beta=rows[:, 2], beta_err=rows[:, 3],
        amplitude=rows[:, 4], chi2=rows[:, 5], n_fluxes=rows[:, 6].astype(np.int64),
    )  # fmt: skip


def _fit(whitening: FloatArray, target: FloatArray, micron: FloatArray, beta: float | None) -> FloatArray:
    """Return temperature, its error, beta, its error, amplitude, chi-square; NaN where nothing fits.

    Parameters of the iteration are ln T, beta (if free) and the amplitude, which the grid starts at its best.
    """
    nothing = np.full(6, np.nan)
    starts = _START_BETAS if beta is None else np.array([beta])
    temperatures, betas = (part.ravel() for part in np.meshgrid(_START_TEMPERATURES, starts))
    shapes = grey_body(micron, temperatures[:, None], betas[:, None]) @ whitening.T
    amplitude = (shapes @ target) / np.einsum("ij,ij->i", shapes, shapes)
    gain = np.where(amplitude > 0.0, amplitude * (shapes @ target), -np.inf)
    best = int(np.argmax(gain))
    if not np.isfinite(gain[best]):
        return nothing
    theta = np.array([np.log(temperatures[best]), betas[best], amplitude[best]])
    free = np.array([True, beta is None, True])

    def linearised(theta: FloatArray) -> tuple[FloatArray, FloatArray]:
        t, b, a = np.exp(theta[0]), theta[1], theta[2]
        shape = grey_body(micron, t, b)
        x, x0 = HC_OVER_K / (micron * t), HC_OVER_K / (_REFERENCE * t)
        by_log_t = shape * (x / -np.expm1(-x) - x0 / -np.expm1(-x0))
        by_beta = shape * np.log(_REFERENCE / micron)
        jacobian = np.column_stack([a * by_log_t, a * by_beta, shape])[:, free]
        return target - whitening @ (a * shape), whitening @ jacobian

    residual, jacobian = linearised(theta)
    damping = 1e-3
    for _ in range(_MOST_STEPS):
        normal = jacobian.T @ jacobian
        step = np.linalg.lstsq(
            normal + damping * np.diag(np.diag(normal)), jacobian.T @ residual, rcond=None
        )[0]
        trial = theta.copy()
        trial[free] += step
        trial[0] = np.clip(trial[0], np.log(_LOWEST), np.log(_HIGHEST))
        new_residual, new_jacobian = linearised(trial)
        gain_here = residual @ residual - new_residual @ new_residual
        if gain_here < 0.0:
            damping *= 10.0
            if damping > 1e8:
                break
            continue
        theta, residual, jacobian, damping = trial, new_residual, new_jacobian, 0.1 * damping
        if gain_here < 1e-10 * (1.0 + residual @ residual):
            break
    temperature = float(np.exp(theta[0]))
    if not (1.001 * _LOWEST < temperature < 0.999 * _HIGHEST):
        return nothing
    error = np.zeros(3)
    error[free] = np.sqrt(np.diagonal(np.linalg.pinv(jacobian.T @ jacobian)))
    return np.array(
        [temperature, temperature * error[0], theta[1], error[1], theta[2], float(residual @ residual)]
    )
