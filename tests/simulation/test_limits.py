"""Cramer-Rao limits against closed forms, numerical derivatives and a fit that attains them."""

import math

import numpy as np
import pytest
from astropy import units as u
from scipy.linalg import cho_factor
from scipy.optimize import approx_fprime, least_squares

from hyper_py.diagnostics import ConfigurationError
from hyper_py.geometry import FWHM_PER_SIGMA, covariance_from_ellipse, ellipse_from_covariance
from hyper_py.simulation.limits import (
    derived_errors,
    gaussian_derivatives,
    parameter_covariance,
    source_limits,
    window_covariance,
)
from hyper_py.simulation.simulate import Simulation, simulate_image

ONE = {"x": [40.3], "y": [39.8], "amplitude": [2.0], "fwhm_major": [9.0], "fwhm_minor": [6.0], "theta": [0.7]}
VALID = np.ones((81, 81), dtype=bool)


def arrays(**changes: list[float]) -> dict[str, np.ndarray]:
    return {key: np.array(values, dtype=float) for key, values in {**ONE, **changes}.items()}


def white(radius: int, rms: float = 0.1) -> np.ndarray:
    lags = np.zeros((4 * radius + 1, 4 * radius + 1))
    lags[2 * radius, 2 * radius] = rms**2
    return lags


def test_white_noise_gives_condons_errors() -> None:
    """Condon 1997, equations 20 and 21, for a fit without background."""
    limits = source_limits(**arrays(), autocovariance=white(30), valid=VALID, radius=30, free_mean=False)
    major, minor = 9.0, 6.0
    rho2 = math.pi / (8 * math.log(2)) * major * minor * (2.0 / 0.1) ** 2
    assert limits.amplitude[0] == pytest.approx(2.0 * math.sqrt(2 / rho2), rel=1e-3)
    assert limits.fwhm_major[0] == pytest.approx(major * math.sqrt(2 / rho2), rel=1e-3)
    assert limits.fwhm_minor[0] == pytest.approx(minor * math.sqrt(2 / rho2), rel=1e-3)
    flux = 2.0 * math.pi * major * minor / (4 * math.log(2))
    assert limits.flux[0] == pytest.approx(flux * math.sqrt(2 / rho2), rel=1e-3)
    along, across = (f * math.sqrt(2 / rho2) / FWHM_PER_SIGMA for f in (major, minor))
    assert limits.x[0] == pytest.approx(math.hypot(along * math.cos(0.7), across * math.sin(0.7)), rel=1e-3)
    assert limits.theta[0] == pytest.approx(
        2 * math.sqrt(1 / rho2) * major * minor / (major**2 - minor**2), rel=1e-3
    )


def test_derivatives_are_those_of_the_model() -> None:
    py, px = np.mgrid[30:50:3, 30:50:3].reshape(2, -1)
    shape = covariance_from_ellipse(9.0, 6.0, 0.7)
    start = np.array([2.0, 40.3, 39.8, shape[0, 0], shape[1, 1], shape[0, 1]])

    def model(p: np.ndarray) -> np.ndarray:
        inverse = np.linalg.inv([[p[3], p[5]], [p[5], p[4]]])
        d = np.stack([px - p[1], py - p[2]])
        return p[0] * np.exp(-0.5 * np.einsum("in,ij,jn->n", d, inverse, d))

    ours = gaussian_derivatives(px, py, 40.3, 39.8, 2.0, shape)
    # Mean of forward and backward differences, exact to the square of the step.
    numerical = 0.5 * (approx_fprime(start, model, 1e-6) + approx_fprime(start, model, -1e-6))
    np.testing.assert_allclose(ours, numerical, atol=1e-8)


def test_derived_errors_are_first_order_propagation() -> None:
    rng = np.random.default_rng(2)
    shape = covariance_from_ellipse(9.0, 6.0, 0.7)
    half = 1e-4 * rng.standard_normal((6, 6)) * np.array([2.0, 1, 1, 10, 10, 10])[:, None]
    covariance = half @ half.T
    draws = rng.multivariate_normal([2.0, 0, 0, shape[0, 0], shape[1, 1], shape[0, 1]], covariance, 200_000)
    matrices = np.stack([draws[:, 3], draws[:, 5], draws[:, 5], draws[:, 4]], axis=1).reshape(-1, 2, 2)
    ellipses = ellipse_from_covariance(matrices)
    flux = 2 * math.pi * draws[:, 0] * np.sqrt(np.linalg.det(matrices))
    sizes = [ellipses.major, ellipses.minor, np.sqrt(ellipses.major * ellipses.minor), ellipses.angle]
    expected = [np.std(v) for v in (draws[:, 0], flux, draws[:, 1], draws[:, 2], *sizes)]
    assert derived_errors(covariance, 2.0, shape) == pytest.approx(expected, rel=0.01)


def test_a_circle_has_no_angle_but_sizes() -> None:
    round_one = arrays(fwhm_minor=[9.0])
    limits = source_limits(**round_one, autocovariance=white(20), valid=VALID, radius=20)
    assert math.isinf(limits.theta[0])
    assert 0 < limits.fwhm_geom[0] < limits.fwhm_major[0] < 1


def test_what_is_unknown_costs() -> None:
    lags = {"autocovariance": white(15), "valid": VALID, "radius": 15}
    free, known = (source_limits(**arrays(), **lags, free_mean=mean) for mean in (True, False))
    assert free.flux[0] > known.flux[0]
    pair = {key: np.repeat(values, 2) for key, values in arrays().items()}
    pair["x"] = np.array([40.3, 46.3])
    assert source_limits(**pair, **lags).flux[0] > 1.2 * free.flux[0]
    pair["x"] = np.array([40.3, 75.0])
    assert source_limits(**pair, **lags).flux[0] == free.flux[0]
    half_blank = VALID.copy()
    half_blank[:, 43:] = False
    assert source_limits(**arrays(), **{**lags, "valid": half_blank}).flux[0] > free.flux[0]
    nothing = source_limits(**arrays(), **{**lags, "valid": ~VALID})
    assert all(math.isinf(values[0]) for values in nothing)


def test_limits_scale_with_the_noise() -> None:
    lags = {"autocovariance": white(15), "valid": VALID, "radius": 15}
    one = source_limits(**arrays(), **lags)
    twice = source_limits(**arrays(), **lags, scale=np.array([2.0]))
    for a, b in zip(one, twice, strict=True):
        assert b[0] == pytest.approx(2 * a[0], rel=0.01)


def test_no_source_no_limit() -> None:
    empty = {key: np.array([]) for key in ONE}
    limits = source_limits(**empty, autocovariance=white(5), valid=VALID, radius=5)
    assert all(values.shape == (0,) for values in limits)


def gls_fit(s: Simulation, i: int, radius: int, factor: tuple[np.ndarray, bool]) -> np.ndarray:
    """Generalised least squares by scipy: flux, x, y and geometric-mean FWHM of an isolated source."""
    t = s.truth
    x, y, amplitude = (t[name][i].value for name in ("X", "Y", "AMPLITUDE"))
    dy, dx = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    keep = dx**2 + dy**2 <= radius**2
    py, px = dy[keep] + round(y), dx[keep] + round(x)
    data = s.image.data[py, px] / amplitude
    lower = np.tril(factor[0])
    ellipse = [values[i] for values in s.pixel_ellipses]
    shape = covariance_from_ellipse(*ellipse)

    def residual(p: np.ndarray) -> np.ndarray:
        inverse = np.linalg.inv([[p[3], p[5]], [p[5], p[4]]])
        d = np.stack([px - p[1], py - p[2]])
        model = p[0] * np.exp(-0.5 * np.einsum("in,ij,jn->n", d, inverse, d)) + p[6]
        return np.linalg.solve(lower, data - model) * amplitude

    start = [1.0, x, y, shape[0, 0], shape[1, 1], shape[0, 1], 0.0]
    fit = least_squares(residual, start, x_scale=[0.1, 0.1, 0.1, 1, 1, 1, 0.1]).x
    root = math.sqrt(fit[3] * fit[4] - fit[5] ** 2)
    return np.array(
        [2 * math.pi * fit[0] * amplitude * root, fit[1], fit[2], FWHM_PER_SIGMA * math.sqrt(root)]
    )


def test_generalised_least_squares_attains_the_limits_and_not_more() -> None:
    """Strong isolated sources in the noise and background of `alma`: pulls have a width of 1."""
    options = {"shape": (240, 240), "n_sources": 20, "crowded_fraction": 0.0, "min_separation": 8.0}
    pulls = []
    for seed in range(10):
        s = simulate_image("alma", seed=seed, peak_range=(40.0, 60.0), **options)
        limits = s.limits(radius_beams=2.0)
        radius = math.ceil(2.0 * s.model.beam_fwhm_pix)
        dy, dx = np.mgrid[-radius : radius + 1, -radius : radius + 1]
        disc = dx**2 + dy**2 <= radius**2
        factor = cho_factor(window_covariance(s.autocovariance(2 * radius), dy[disc], dx[disc]), lower=True)
        true_geom = np.sqrt(s.pixel_ellipses.major * s.pixel_ellipses.minor)
        for i in range(len(s.truth)):
            true = np.array([*(s.truth[name][i].value for name in ("FLUX", "X", "Y")), true_geom[i]])
            errors = [limits[name][i].value for name in ("FLUX_GAUSS_ERR", "X_ERR", "Y_ERR", "FWHM_GEOM_ERR")]
            errors[3] /= s.image.pixel_scale
            pulls.append((gls_fit(s, i, radius, factor) - true) / errors)
    # 200 sources: the width of a unit normal is known to 0.05.
    assert np.std(pulls, axis=0) == pytest.approx(1.0, abs=0.2)
    assert np.mean(pulls, axis=0) == pytest.approx(0.0, abs=0.3)


def test_a_window_of_three_beams_is_nearly_all() -> None:
    s = simulate_image("alma", seed=3, shape=(200, 200), n_sources=20)
    small, large = (s.limits(radius_beams=beams)["FLUX_GAUSS_ERR"] for beams in (3.0, 6.0))
    isolated = s.truth["ISOLATED"]
    ratio = (small / large)[isolated].value
    assert np.median(ratio) == pytest.approx(1.0, abs=0.03)


def test_limits_of_a_simulation_have_the_catalogues_units() -> None:
    s = simulate_image("deep", seed=3, shape=(200, 200), n_sources=10, noise_variation=3.0, blank_border=10)
    table = s.limits()
    np.testing.assert_array_equal(table["ID"], s.truth["ID"])
    assert table["FLUX_GAUSS_ERR"].unit == u.Jy
    assert table["FLUX_PEAK_ERR"].unit == u.Jy / u.beam
    assert table["FWHM_1_ERR"].unit == u.arcsec
    assert table["PA_ERR"].unit == u.deg
    assert all(np.all(table[name] > 0) for name in table.colnames)
    assert len(simulate_image("deep", seed=1, n_sources=0, shape=(60, 60)).limits()) == 0
    with pytest.raises(ConfigurationError, match="only for Gaussian"):
        simulate_image("deep", seed=1, n_sources=1, shape=(60, 60), profile="moffat").limits()


def test_limits_go_down_with_less_noise_more_than_with_more_background() -> None:
    options = {"seed": 1, "shape": (150, 150), "n_sources": 6, "peak_scale": "noise"}
    base = simulate_image("alma", **options, background="none").limits()
    more = simulate_image("alma", **options).limits()
    assert np.all(more["FLUX_GAUSS_ERR"] > base["FLUX_GAUSS_ERR"])


def test_information_is_what_an_explicit_inverse_gives() -> None:
    rng = np.random.default_rng(0)
    jacobian, half = rng.standard_normal((30, 4)), rng.standard_normal((30, 60))
    matrix = half @ half.T
    ours = parameter_covariance(jacobian, cho_factor(matrix, lower=True))
    np.testing.assert_allclose(ours, np.linalg.inv(jacobian.T @ np.linalg.inv(matrix) @ jacobian), rtol=1e-8)
    singular = parameter_covariance(jacobian[:, [0, 0]], cho_factor(matrix, lower=True))
    assert np.all(np.isinf(np.diag(singular))) or np.all(np.diag(singular) > 1e6)
