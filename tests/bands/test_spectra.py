"""Spectral indices and grey bodies against closed forms, astropy's Planck function and Monte Carlo."""

import numpy as np
import pytest
from astropy import units as u
from astropy.modeling.physical_models import BlackBody
from scipy.optimize import least_squares

from hyper_py.bands.spectra import fit_grey_bodies, grey_body, spectral_indices

MICRON = np.array([100.0, 160.0, 250.0, 350.0, 500.0])


def test_a_grey_body_is_a_planck_function_times_a_power():
    planck = BlackBody(temperature=17.0 * u.K)
    expected = planck(MICRON * u.um).value * (250.0 / MICRON) ** 1.8
    np.testing.assert_allclose(grey_body(MICRON, 17.0, 1.8), expected / planck(250.0 * u.um).value, rtol=1e-6)


def test_the_index_of_a_power_law_is_its_power():
    frequency = 1.0 / MICRON[::-1]  # the order of the bands does not matter
    flux = np.array([frequency**2.5, frequency**-0.7])
    covariance = np.einsum("ni,nj,ij->nij", flux, flux, 0.01 * np.eye(5) + 0.005)
    found = spectral_indices(flux, covariance, wavelengths=MICRON[::-1])
    np.testing.assert_allclose(found.index, [[2.5] * 4, [-0.7] * 4])
    np.testing.assert_allclose(MICRON[::-1][found.pairs[:, 0]], MICRON[:-1])
    expected = np.sqrt(0.02) / np.log(MICRON[1:] / MICRON[:-1])  # what the two have in common drops out
    np.testing.assert_allclose(found.error, [expected] * 2)


def test_there_is_no_index_of_a_flux_that_is_not_positive():
    flux = np.array([[1.0, -1.0, 1.0, np.nan, 1.0]])
    found = spectral_indices(flux, np.eye(5)[None], wavelengths=MICRON)
    assert np.isnan(found.index).all()
    assert np.isnan(found.error).all()


@pytest.mark.parametrize("beta", [1.8, None])
def test_grey_bodies_have_true_parameters_and_errors(beta, rng):
    n, temperature, power = 400, rng.uniform(10.0, 25.0, 400), 1.8 if beta else rng.uniform(1.2, 2.2, 400)
    true = grey_body(MICRON, temperature[:, None], np.broadcast_to(power, n)[:, None])
    covariance = np.array([np.diag((0.02 * f) ** 2) + 0.00001 * np.outer(f, f) for f in true])
    flux = np.array([rng.multivariate_normal(f, c) for f, c in zip(true, covariance, strict=True)])
    found = fit_grey_bodies(flux, covariance, wavelengths=MICRON, beta=beta)
    pulls = (found.temperature - temperature) / found.temperature_err
    assert abs(np.median(pulls)) < 0.2
    assert pulls.std() == pytest.approx(1.0, abs=0.12)
    assert np.median(found.chi2) == pytest.approx(2.37 if beta else 1.39, abs=0.35)  # of 3 and of 2
    if beta is None:
        assert ((found.beta - power) / found.beta_err).std() == pytest.approx(1.0, abs=0.12)


def test_the_fit_is_that_of_scipy(rng):
    true = 3.0 * grey_body(MICRON, 14.0, 1.8)
    error = 0.1 * true
    flux = true + error * rng.normal(size=5)
    flux[0] = -0.5 * error[0]  # negative fluxes count as they are
    found = fit_grey_bodies(flux[None], np.diag(error**2)[None], wavelengths=MICRON)
    referee = least_squares(
        lambda p: (flux - p[1] * grey_body(MICRON, p[0], 1.8)) / error, [20.0, 1.0], xtol=1e-14, ftol=1e-14
    )
    assert found.temperature[0] == pytest.approx(referee.x[0], rel=1e-4)
    assert found.temperature_err[0] == pytest.approx(
        np.sqrt(np.linalg.inv(referee.jac.T @ referee.jac)[0, 0]), rel=1e-2
    )
    np.testing.assert_allclose(
        found.fluxes(MICRON)[0], referee.x[1] * grey_body(MICRON, referee.x[0], 1.8), rtol=1e-3
    )


def test_calibration_widens_errors_and_too_few_fluxes_give_none():
    flux = 2.0 * grey_body(MICRON, 14.0, 1.8)[None]
    covariance = np.diag((0.001 * flux[0]) ** 2)[None]
    narrow = fit_grey_bodies(flux, covariance, wavelengths=MICRON)
    wide = fit_grey_bodies(flux, covariance, wavelengths=MICRON, calibration_errors=[0.05] * 5)
    assert wide.temperature_err[0] > 30.0 * narrow.temperature_err[0]
    flux[0, :3] = np.nan
    nothing = fit_grey_bodies(flux, covariance, wavelengths=MICRON)
    assert np.isnan(nothing.temperature[0])
    assert nothing.n_fluxes[0] == 2
