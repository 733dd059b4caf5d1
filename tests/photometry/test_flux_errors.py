"""Fluxes on a fitted background and their errors, against dense algebra and Monte Carlo."""

import numpy as np
import pytest
from photutils.aperture import EllipticalAperture

from helpers.group_cases import (
    SETTINGS,
    TIGHT,
    backgrounds_with,
    dense,
    noise_model,
    plane,
    with_apertures,
)
from helpers.groups import bounds_around, fit_all
from hyper_py.background.joint import JointPolynomial
from hyper_py.fitting.groups import GroupFit
from hyper_py.noise.covariance import CovarianceModel
from hyper_py.noise.whitening import Whitener, linear_terms
from hyper_py.numerics import gaussians
from hyper_py.numerics.fit_pixels import select_fit_pixels
from hyper_py.numerics.polynomial import polynomial_design, scaling_of_pixels
from hyper_py.photometry.aperture import aperture_fraction, source_apertures
from hyper_py.photometry.aperture_flux import aperture_fluxes
from hyper_py.photometry.flux_errors import GroupErrors, group_errors


@pytest.fixture(scope="module", params=[False, True], ids=["whole", "blank"])
def monte_carlo(request):
    """Many fits of a pair on a sloping background in correlated noise, each with its own background."""
    shape, scale = (37, 39), 0.003
    truth = np.array([[3.0, 17.2, 18.1, 1.9, 1.6, 0.4], [2.0, 22.8, 19.6, 2.0, 1.5, 1.2]])
    noise = noise_model()
    y, x = (a.ravel() for a in np.mgrid[: shape[0], : shape[1]])
    factor = np.linalg.cholesky(dense(noise, y, x) + 1e-9 * np.eye(y.size))
    truth_map = plane(shape) + gaussians.render(truth, shape)
    mask = gaussians.footprints(truth, shape, n_sigma=2.0)
    mask[5:9, 20:30] = True
    usable = np.ones(shape, dtype=bool)
    if request.param:
        usable[17:24, 23:27] = False
    mask |= ~usable
    truth_map[~usable] = np.nan
    window = select_fit_pixels(truth[:, 1], truth[:, 2], radius=np.full(2, 4.5), usable=usable)
    whitener = Whitener(weights=np.exp(-0.01 * np.arange(window.y.size)))
    lower, upper = bounds_around(truth, sigma_limits=(0.5, 5), amplitude_limits=(-np.inf, np.inf), shift=2.0)

    def measure(data):
        settings = {**SETTINGS, "max_box": 2.0, "clip_sigma": None}
        # The wings beyond the footprint are taken off, as in the last pass of the pipeline.
        background = backgrounds_with(
            data - gaussians.render(truth, shape), mask, truth, [np.arange(2)], **settings
        )[0]
        values = data[window.y, window.x] - background.at(window.y, window.x)
        fit = fit_all([values], [window], [whitener], [truth], lower=[lower], upper=[upper], **TIGHT)[0]
        apertures = source_apertures(fit.parameters, radius_in_fwhm=0.7)
        fractions = np.array(
            [aperture_fraction(p, a) for p, a in zip(fit.parameters, apertures, strict=True)]
        )
        residual = data - gaussians.render(fit.parameters, shape, n_sigma=9)
        return fit, background, apertures, fractions, residual

    fit, background, apertures, fractions, residual = measure(truth_map)
    unit = with_apertures(fit, window, whitener, background, apertures, fractions, scale=scale)
    errors = group_errors([unit], noise, usable=usable)
    rng = np.random.default_rng(3)
    parameters, flux = [], []
    for _ in range(250):
        data = truth_map + scale * (factor @ rng.normal(size=y.size)).reshape(shape)
        fit, background, apertures, fractions, residual = measure(data)
        parameters.append(fit.parameters)
        unit = with_apertures(fit, window, whitener, background, apertures, fractions)
        flux.append(aperture_fluxes(residual, [unit], errors)[0].flux)
    return truth, errors[0], np.array(parameters), np.array(flux)


def test_flux_errors_are_those_of_many_measurements(monte_carlo):
    truth, errors, parameters, flux = monte_carlo
    np.testing.assert_allclose(flux.std(axis=0) / errors.flux_err, 1.0, atol=0.15)
    np.testing.assert_allclose(
        flux.mean(axis=0), gaussians.gaussian_flux(truth), atol=0.3 * errors.flux_err.max()
    )
    gauss = gaussians.gaussian_flux(parameters)
    np.testing.assert_allclose(gauss.std(axis=0) / errors.flux_gauss_err, 1.0, atol=0.15)


def test_parameter_errors_are_those_of_many_fits(monte_carlo):
    _, errors, parameters, _ = monte_carlo
    expected = np.sqrt(np.diagonal(errors.covariance)).reshape(2, 6)
    np.testing.assert_allclose(parameters.std(axis=0)[:, :3] / expected[:, :3], 1.0, atol=0.15)
    np.testing.assert_allclose(parameters.std(axis=0)[0, 3:] / expected[0, 3:], 1.0, atol=0.15)


@pytest.mark.parametrize("joint", [False, True])
def test_errors_count_how_far_an_assumed_shape_may_be_off(joint):
    """The variance on top is that of refits where only the assumed size differs from the true one."""
    shape, off = (37, 39), 1e-4
    truth = np.array([[3.0, 17.2, 18.1, 1.9, 1.6, 0.4], [2.0, 20.8, 19.6, 2.0, 1.5, 1.2]])
    fixed = np.zeros(truth.shape, dtype=bool)
    fixed[1, gaussians.SIGMA_1 :] = True
    window = select_fit_pixels(truth[:, 1], truth[:, 2], radius=np.full(2, 8.5), usable=np.ones(shape, bool))
    weights, scaling = np.exp(-0.01 * np.arange(window.y.size)), scaling_of_pixels(window.y, window.x)
    design = polynomial_design(window.y, window.x, order=1, scaling=scaling)
    terms = linear_terms(design, weights=weights) if joint else None
    whitener = Whitener(weights=weights, terms=terms)
    lower, upper = bounds_around(truth, sigma_limits=(0.5, 5), amplitude_limits=(-np.inf, np.inf), shift=2.0)
    lower, upper = np.where(fixed, truth, lower), np.where(fixed, truth, upper)
    own = source_apertures(truth, radius_in_fwhm=0.7)
    fractions = np.array([aperture_fraction(p, a) for p, a in zip(truth, own, strict=True)])

    def measure(real, *, assumed):
        data = gaussians.render(real, shape, n_sigma=9)
        values = data[window.y, window.x]
        fit = fit_all([values], [window], [whitener], [truth], lower=[lower], upper=[upper], **TIGHT)[0]
        unit = with_apertures(
            fit, window, whitener, None, own, fractions, fixed=fixed, prior_variance=assumed, scale=1e-3,
            joint=JointPolynomial(1, scaling) if joint else None,
        )  # fmt: skip
        errors = group_errors([unit], noise_model())
        left = data - gaussians.render(fit.parameters, shape, n_sigma=9)
        flux = aperture_fluxes(left, [unit], errors)[0].flux
        return fit.parameters - real, flux - gaussians.gaussian_flux(real), errors[0]

    nothing = np.zeros(truth.shape)
    size = nothing.copy()
    size[1, gaussians.SIGMA_1] = 1.0
    ends = [measure(truth + sign * off * size, assumed=nothing) for sign in (1, -1)]
    moved, changed = ((ends[0][k] - ends[1][k]) / (2 * off) for k in (0, 1))
    before, after = measure(truth, assumed=nothing)[2], measure(truth, assumed=0.2**2 * size)[2]
    np.testing.assert_allclose(after.flux_err**2 - before.flux_err**2, (0.2 * changed) ** 2, rtol=1e-3)
    expected = 0.2**2 * np.outer(moved, moved)
    np.testing.assert_allclose(after.covariance - before.covariance, expected, atol=1e-3 * expected.max())


def test_a_level_common_to_all_pixels_is_no_error_of_fluxes():
    """The background takes it up: in the fit and in the aperture."""
    truth = np.array([[3.0, 17.2, 18.1, 1.9, 1.6, 0.4]])
    shape = (37, 39)
    background = backgrounds_with(plane(shape), np.zeros(shape, bool), truth, [np.array([0])], **SETTINGS)[0]
    window = select_fit_pixels(truth[:, 1], truth[:, 2], radius=np.full(1, 4.5), usable=np.ones(shape, bool))
    whitener = Whitener(weights=np.ones(window.y.size))
    fit = fit_all(
        [gaussians.gaussian_sum(truth, window.y.astype(float), window.x.astype(float))], [window], [whitener],
        [truth], lower=[truth - 1], upper=[truth + 1],
    )[0]  # fmt: skip
    apertures = source_apertures(truth[:1], radius_in_fwhm=0.7)
    common = CovarianceModel(np.ones((129, 129)))
    unit = with_apertures(fit, window, whitener, background, apertures, np.array([0.7]))
    errors = group_errors([unit], common)[0]
    alone = group_errors([unit], CovarianceModel(np.pad([[1.0]], 9)))[0]
    assert errors.flux_err[0] < 1e-5 * alone.flux_err[0]
    assert errors.flux_gauss_err[0] < 1e-5 * alone.flux_gauss_err[0]


def test_what_the_fit_left_in_the_aperture_is_part_of_the_flux():
    source = np.array([[3.0, 17.2, 18.1, 1.9, 1.6, 0.4]])
    fit = GroupFit(parameters=source, at_bound=np.zeros((1, 6), bool), cost=0.0, status=1, n_evaluations=1)
    residual = np.random.default_rng(1).normal(size=(37, 39))
    residual[17, 15:18] = np.nan
    aperture = source_apertures(source[:1], radius_in_fwhm=0.7)[0]
    nothing = GroupErrors(flux_err=np.zeros(1), flux_gauss_err=np.zeros(1), covariance=np.zeros((6, 6)))
    unit = with_apertures(fit, None, None, None, [aperture], np.array([0.7]))
    photometry = aperture_fluxes(residual, [unit], [nothing])[0]
    left = EllipticalAperture(
        (17.2, 18.1), 0.7 * 1.9 * 2.35482, 0.7 * 1.6 * 2.35482, theta=0.4
    ).do_photometry(np.nan_to_num(residual), method="exact")[0][0]
    expected = 2 * np.pi * 3.0 * 1.9 * 1.6 + left / 0.7
    assert photometry.flux[0] == pytest.approx(expected, rel=1e-5)


def test_fixed_parameters_have_no_error():
    truth = np.array([[3.0, 17.2, 18.1, 1.9, 1.6, 0.4]])
    shape = (37, 39)
    background = backgrounds_with(plane(shape), np.zeros(shape, bool), truth, [np.array([0])], **SETTINGS)[0]
    window = select_fit_pixels(truth[:, 1], truth[:, 2], radius=np.full(1, 4.5), usable=np.ones(shape, bool))
    whitener = Whitener(weights=np.ones(window.y.size))
    lower, upper = bounds_around(truth, sigma_limits=(0.5, 5), amplitude_limits=(0, 9), shift=2.0)
    values = gaussians.gaussian_sum(truth, window.y.astype(float), window.x.astype(float))
    fit = fit_all([values], [window], [whitener], [truth], lower=[lower], upper=[upper])[0]
    apertures = source_apertures(truth[:1], radius_in_fwhm=0.7)
    fixed = np.array([[False, True, True, True, True, True]])
    arguments = (fit, window, whitener, background, apertures, np.array([0.7]))
    units = [
        with_apertures(*arguments, fixed=fixed), with_apertures(*arguments),
        with_apertures(*arguments, scale=3.0),
    ]  # fmt: skip
    some, free, louder = group_errors(units, noise_model())
    assert not some.covariance[1:].any()
    assert 0 < some.flux_gauss_err[0] < free.flux_gauss_err[0]
    assert louder.flux_err == pytest.approx(3 * free.flux_err)


# ---- joint fits


@pytest.fixture(scope="module", params=[False, True], ids=["joint", "on top"])
def joint_monte_carlo(request):
    """Many joint fits of a pair and a strongly penalised polynomial in correlated noise."""
    shape, scale = (37, 39), 0.02
    truth = np.array([[3.0, 17.2, 18.1, 1.9, 1.6, 0.4], [2.0, 22.8, 19.6, 1.7, 1.7, 0.0]])
    noise = noise_model()
    y, x = (a.ravel() for a in np.mgrid[: shape[0], : shape[1]])
    factor = np.linalg.cholesky(dense(noise, y, x) + 1e-9 * np.eye(y.size))
    truth_map = gaussians.render(truth, shape, n_sigma=9) + plane(shape) * (1.0 if request.param else 0.02)
    mask = gaussians.footprints(truth, shape, n_sigma=2.0)
    window = select_fit_pixels(truth[:, 1], truth[:, 2], radius=np.full(2, 8.5), usable=np.ones(shape, bool))
    weights, scaling = np.exp(-0.01 * np.arange(window.y.size)), scaling_of_pixels(window.y, window.x)
    design = polynomial_design(window.y, window.x, order=2, scaling=scaling)
    terms = linear_terms(design, weights=weights, penalty=np.array([0.0, 3, 3, 3, 3, 3]))
    whitener = Whitener(weights=weights, terms=terms)
    lower, upper = bounds_around(truth, sigma_limits=(0.5, 5), amplitude_limits=(-np.inf, np.inf), shift=2.0)

    def measure(data):
        background = None
        if request.param:
            settings = {**SETTINGS, "max_box": 2.0, "clip_sigma": None}
            background = backgrounds_with(
                data - gaussians.render(truth, shape), mask, truth, [np.arange(2)], **settings
            )[0]
        values = data[window.y, window.x]
        if background is not None:
            values = values - background.at(window.y, window.x)
        fit = fit_all([values], [window], [whitener], [truth], lower=[lower], upper=[upper], **TIGHT)[0]
        apertures = source_apertures(fit.parameters, radius_in_fwhm=0.7)
        fractions = np.array(
            [aperture_fraction(p, a) for p, a in zip(fit.parameters, apertures, strict=True)]
        )
        unit = with_apertures(
            fit, window, whitener, background, apertures, fractions, joint=JointPolynomial(2, scaling),
            scale=scale,
        )  # fmt: skip
        return unit, data - gaussians.render(fit.parameters, shape, n_sigma=9)

    errors = group_errors([measure(truth_map)[0]], noise)
    rng, parameters, flux = np.random.default_rng(5), [], []
    for _ in range(250):
        data = truth_map + scale * (factor @ rng.normal(size=y.size)).reshape(shape)
        unit, residual = measure(data)
        parameters.append(unit.group.fitted.parameters)
        flux.append(aperture_fluxes(residual, [unit], errors)[0].flux)
    return errors[0], np.array(parameters), np.array(flux)


def test_errors_of_joint_fits_are_those_of_many_measurements(joint_monte_carlo):
    errors, parameters, flux = joint_monte_carlo
    np.testing.assert_allclose(flux.std(axis=0) / errors.flux_err, 1.0, atol=0.15)
    gauss = gaussians.gaussian_flux(parameters)
    np.testing.assert_allclose(gauss.std(axis=0) / errors.flux_gauss_err, 1.0, atol=0.15)
    expected = np.sqrt(np.diagonal(errors.covariance)).reshape(2, 6)
    np.testing.assert_allclose(parameters.std(axis=0)[:, :3] / expected[:, :3], 1.0, atol=0.15)


def test_without_a_background_errors_are_those_of_sums():
    """An aperture on a map without background and with all parameters fixed sums noise alone."""
    truth = np.array([[3.0, 17.2, 18.1, 1.9, 1.6, 0.4]])
    window = select_fit_pixels(
        truth[:, 1], truth[:, 2], radius=np.full(1, 4.5), usable=np.ones((37, 39), bool)
    )
    whitener = Whitener(weights=np.ones(window.y.size))
    values = gaussians.gaussian_sum(truth, window.y.astype(float), window.x.astype(float))
    fit = fit_all([values], [window], [whitener], [truth], lower=[truth], upper=[truth])[0]
    aperture, white = source_apertures(truth[:1], radius_in_fwhm=0.7)[0], CovarianceModel(np.pad([[4.0]], 6))
    unit = with_apertures(
        fit, window, whitener, None, [aperture], np.array([0.5]), fixed=np.ones((1, 6), dtype=bool)
    )
    errors = group_errors([unit], white)[0]
    expected = 2.0 * np.sqrt(np.sum(aperture.weights**2)) / 0.5
    assert errors.flux_err[0] == pytest.approx(expected)
    assert errors.flux_gauss_err[0] == 0.0


@pytest.mark.parametrize("order", [0, 2])
def test_wide_and_narrow_ways_to_the_errors_of_a_background_agree(order, monkeypatch):
    shape, truth = (60, 71), np.array([[3.0, 17.2, 18.1, 1.9, 1.6, 0.4]])
    window = select_fit_pixels(truth[:, 1], truth[:, 2], radius=np.full(1, 4.5), usable=np.ones(shape, bool))
    settings = {**SETTINGS, "min_box": 0, "orders": (order,)}
    mask = gaussians.footprints(truth, shape)
    background = backgrounds_with(plane(shape), mask, truth, [np.array([0])], **settings)[0]
    whitener = Whitener(weights=np.ones(window.y.size))
    lower, upper = bounds_around(truth, sigma_limits=(0.5, 5), amplitude_limits=(0, 9), shift=2.0)
    values = gaussians.gaussian_sum(truth, window.y.astype(float), window.x.astype(float))
    fit = fit_all([values], [window], [whitener], [truth], lower=[lower], upper=[upper])[0]
    apertures = source_apertures(truth[:1], radius_in_fwhm=0.7)

    def errors():
        unit = with_apertures(fit, window, whitener, background, apertures, np.array([0.7]), scale=0.3)
        return group_errors([unit], noise_model(), usable=np.ones(shape, dtype=bool))[0]

    narrow = errors()
    monkeypatch.setattr("hyper_py.background.separate._WIDE", 100)
    wide = errors()
    assert wide.flux_err == pytest.approx(narrow.flux_err, rel=1e-3)
    np.testing.assert_allclose(
        wide.covariance, narrow.covariance, atol=1e-3 * np.abs(narrow.covariance).max()
    )


def test_groups_measured_together_are_those_measured_alone():
    """Singles and a pair, at the border and inside, with and without a background of their own."""
    shape, rng = (60, 71), np.random.default_rng(4)
    truth = np.array(
        [[3.0, x, y, 1.9, 1.6, 0.4] for x, y in ((20.3, 18.1), (50, 40.2), (1.0, 58), (30, 30), (33, 31))]
    )
    units = [np.array([0]), np.array([1]), np.array([2]), np.array([3, 4]), np.array([0]), np.array([3, 4])]
    data, usable = gaussians.render(truth, shape) + plane(shape), np.ones(shape, dtype=bool)
    usable[17:19, 21] = False
    residual = rng.normal(size=shape)
    mask = gaussians.footprints(truth, shape) | (rng.random(shape) < 0.1)
    backgrounds = backgrounds_with(data, mask, truth, units[:4], **SETTINGS)
    fitted = []
    for k, unit in enumerate(units):
        own, background = truth[unit], backgrounds[k] if k < 4 else None
        window = select_fit_pixels(own[:, 1], own[:, 2], radius=np.full(len(own), 4.5), usable=usable)
        fit = GroupFit(
            parameters=own, at_bound=np.zeros((len(own), 6), bool), cost=0.0, status=1, n_evaluations=1
        )
        apertures = source_apertures(own, radius_in_fwhm=0.7)
        whitener = Whitener(weights=rng.uniform(0.5, 1.5, window.y.size))
        fitted.append(
            with_apertures(
                fit, window, whitener, background, apertures, rng.uniform(0.6, 0.8, len(own)), scale=k + 1.0
            )
        )
    errors = group_errors(fitted, noise_model(), usable=usable)
    fluxes = aperture_fluxes(residual, fitted, errors)
    for unit, error, flux in zip(fitted, errors, fluxes, strict=True):
        alone = group_errors([unit], noise_model(), usable=usable)[0]
        np.testing.assert_allclose(error.flux_err, alone.flux_err, rtol=1e-9)
        np.testing.assert_allclose(error.covariance, alone.covariance, rtol=1e-6, atol=1e-12)
        np.testing.assert_allclose(flux.flux, aperture_fluxes(residual, [unit], [alone])[0].flux, rtol=1e-12)
