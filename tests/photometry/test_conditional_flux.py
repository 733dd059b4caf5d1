"""Fluxes on the conditional background against Monte Carlo, and what they must not depend on."""

import numpy as np
import pytest

from helpers.correlated_cases import SHAPE, SOURCE, TIGHT, covariance_lags, value, window_of
from helpers.groups import bounds_around, fit_all, fitted_group
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.noise.whitener_cache import WhitenerCache
from hyper_py.numerics import gaussians
from hyper_py.photometry.aperture import (
    GroupApertures,
    aperture_fraction,
    aperture_fractions,
    source_apertures,
)
from hyper_py.photometry.conditional_flux import conditional_fluxes


def make_case(sources, *, scale=1.0, radius=7.0, usable=None, fixed=None, assumed=None, conditioned=0.0):
    """Fit pixels in noise of known covariance, and a function that fits and measures data on them."""
    window = window_of(sources, radius=radius, usable=usable)
    cache = WhitenerCache(covariance_lags(conditioned=conditioned))
    whitener, noise = cache.whitener(window, scale).make(), cache.matrices(window)
    fixed = np.zeros(sources.shape, dtype=bool) if fixed is None else fixed
    lower, upper = bounds_around(
        sources, sigma_limits=(0.5, 6), amplitude_limits=(-np.inf, np.inf), shift=2.0
    )
    lower, upper = np.where(fixed, sources, lower), np.where(fixed, sources, upper)
    apertures = source_apertures(sources, radius_in_fwhm=0.8)

    def measure(data, *, apertures=apertures, own_apertures=False):
        fit = fit_all([data], [window], [whitener], [sources], lower=[lower], upper=[upper], **TIGHT)[0]
        if own_apertures:
            apertures = source_apertures(fit.parameters, radius_in_fwhm=0.8)
        group = fitted_group(
            fit, window, whitener, data=data, noise_scale=scale, fixed=fixed, prior_variance=assumed
        )
        own = GroupApertures(
            group=group, apertures=apertures, fractions=aperture_fractions(fit.parameters, apertures)
        )
        residual = data - value(fit.parameters, window)
        photometry, background = conditional_fluxes([own], [residual], noise=noise)[0]
        return photometry, background.at(window.y, window.x)

    return window, noise.measured * scale**2, measure


def test_without_noise_flux_and_background_are_exact():
    window, _, measure = make_case(SOURCE)
    photometry, background = measure(value(SOURCE, window) + 0.3)
    np.testing.assert_allclose(photometry.flux, gaussians.gaussian_flux(SOURCE), rtol=1e-6)
    known = np.isfinite(background)
    np.testing.assert_allclose(background[known], 0.3, rtol=1e-5)
    np.testing.assert_allclose(photometry.background, 0.3, rtol=1e-5)
    assert known.any()
    assert not known.all()
    expected = aperture_fraction(SOURCE[0], source_apertures(SOURCE[:1], radius_in_fwhm=0.8)[0])
    assert photometry.fraction[0] == pytest.approx(expected, rel=1e-9)


PAIR = np.array([[40.0, 14.2, 15.1, 2.1, 1.7, 0.5], [30.0, 18.4, 16.8, 1.9, 1.6, 1.2]])


@pytest.mark.parametrize("sources", [SOURCE * [40, 1, 1, 1, 1, 1], PAIR], ids=["single", "pair"])
@pytest.mark.parametrize(("shape_fixed", "conditioned"), [(False, 0.0), (True, 0.0), (False, 0.5)])
def test_flux_errors_are_those_of_many_measurements(sources, shape_fixed, conditioned):
    """Also where the whitener takes for granted more noise than there is."""
    fixed = np.zeros(sources.shape, dtype=bool)
    fixed[:, gaussians.SIGMA_1 :] = shape_fixed
    usable = np.ones(SHAPE, dtype=bool)
    usable[18:21, 17:22] = False
    window, covariance, measure = make_case(
        sources, scale=1.7, usable=usable, fixed=fixed, conditioned=conditioned
    )
    rng = np.random.default_rng(4)
    factor = np.linalg.cholesky(covariance)
    # The error is that of the linearised estimator, so the noise is small beside the sources.
    results = [
        measure(value(sources, window) + 0.1 * factor @ rng.normal(size=window.y.size))[0] for _ in range(250)
    ]
    expected = measure(value(sources, window))[0]
    flux, gauss = np.array([r.flux for r in results]), gaussians.gaussian_flux(sources)
    np.testing.assert_allclose(flux.std(axis=0) / (0.1 * expected.flux_err), 1.0, atol=0.16)
    np.testing.assert_allclose((flux.mean(axis=0) - gauss) / (0.1 * expected.flux_err), 0.0, atol=0.25)
    assert (expected.flux_err > 0.3 * expected.flux_gauss_err).all()


def test_errors_count_how_far_an_assumed_shape_may_be_off():
    """Monte Carlo over noise and the true shape of the second of two sources, which is assumed."""
    fixed = np.zeros(PAIR.shape, dtype=bool)
    fixed[1, gaussians.SIGMA_1 :] = True
    assumed = np.zeros(PAIR.shape)
    assumed[1, gaussians.SIGMA_1 : gaussians.THETA] = 0.05**2
    window, covariance, measure = make_case(PAIR, fixed=fixed, assumed=assumed)
    rng, factor = np.random.default_rng(5), np.linalg.cholesky(covariance)
    pulls = []
    for _ in range(250):
        truth = PAIR + np.sqrt(assumed) * rng.normal(size=PAIR.shape)
        photometry, _ = measure(value(truth, window) + 0.3 * factor @ rng.normal(size=window.y.size))
        pulls.append(photometry.flux - gaussians.gaussian_flux(truth))
    noise = make_case(PAIR, scale=0.3, fixed=fixed)[2](value(PAIR, window))[0]
    both = make_case(PAIR, scale=0.3, fixed=fixed, assumed=assumed)[2](value(PAIR, window))[0]
    np.testing.assert_allclose(np.std(pulls, axis=0) / both.flux_err, 1.0, atol=0.16)
    assert (both.flux_err > 1.3 * noise.flux_err).all()
    error = np.sqrt(np.diag(both.covariance))[gaussians.N_PARAMETERS :]
    np.testing.assert_allclose(error[gaussians.SIGMA_1 : gaussians.THETA], 0.05)


def test_gaussian_flux_error_is_that_of_many_fits():
    source = SOURCE * [40, 1, 1, 1, 1, 1]
    window, covariance, _ = make_case(source)
    whitener = WhitenerCache(covariance_lags()).whitener(window, 1.0).make()
    rng, factor = np.random.default_rng(8), np.linalg.cholesky(covariance)
    data = [value(source, window) + 0.2 * factor @ rng.normal(size=window.y.size) for _ in range(300)]
    lower, upper = bounds_around(source, sigma_limits=(0.5, 6), amplitude_limits=(-np.inf, np.inf), shift=2.0)
    fits = fit_all(
        data, [window] * 300, [whitener] * 300, [source] * 300, lower=[lower] * 300, upper=[upper] * 300
    )
    _, _, measure = make_case(source)
    expected = measure(value(source, window))[0]
    scatter = np.std([gaussians.gaussian_flux(f.parameters)[0] for f in fits])
    assert scatter / (0.2 * expected.flux_gauss_err[0]) == pytest.approx(1.0, abs=0.13)
    sigma = np.std([f.parameters[0, 1] for f in fits])
    assert sigma / (0.2 * np.sqrt(expected.covariance[1, 1])) == pytest.approx(1.0, abs=0.13)


@pytest.mark.parametrize("factor", [1e-9, 1e3])
def test_fluxes_and_errors_scale_with_the_map(factor):
    rng = np.random.default_rng(1)
    source = SOURCE * [20, 1, 1, 1, 1, 1]
    window, covariance, measure = make_case(source)
    data = value(source, window) + np.linalg.cholesky(covariance) @ rng.normal(size=window.y.size)
    scaled_window, _, scaled_measure = make_case(source * [factor, 1, 1, 1, 1, 1], scale=factor)
    one, _ = measure(data, own_apertures=True)
    other, _ = scaled_measure(factor * data, own_apertures=True)
    np.testing.assert_array_equal(window.x, scaled_window.x)
    for name in ("flux", "flux_err", "flux_gauss_err", "background"):
        np.testing.assert_allclose(getattr(other, name), factor * getattr(one, name), rtol=1e-4)


def test_a_level_added_to_the_map_changes_the_background_only():
    rng = np.random.default_rng(2)
    source = SOURCE * [20, 1, 1, 1, 1, 1]
    window, covariance, measure = make_case(source)
    data = value(source, window) + np.linalg.cholesky(covariance) @ rng.normal(size=window.y.size)
    one, _ = measure(data)
    other, _ = measure(data + 100.0)
    np.testing.assert_allclose(other.flux, one.flux, rtol=1e-6)
    np.testing.assert_allclose(other.background, one.background + 100.0, rtol=1e-6)


def test_flux_is_linear_in_the_data_where_everything_is_given():
    fixed = np.ones(SOURCE.shape, dtype=bool)
    fixed[:, gaussians.AMPLITUDE] = False
    window, covariance, measure = make_case(SOURCE, fixed=fixed)
    rng, factor = np.random.default_rng(3), np.linalg.cholesky(covariance)
    a, b = (factor @ rng.normal(size=window.y.size) for _ in range(2))
    fa, fb, fab = (measure(d)[0].flux for d in (a, b, 2 * a - 3 * b))
    np.testing.assert_allclose(fab, 2 * fa - 3 * fb, rtol=1e-6)


def test_elliptical_aperture_off_the_footprint_is_part_of_the_conditional():
    window, _, measure = make_case(SOURCE)
    ellipse = np.array([[1.0, 16.2, 15.1, 5.5, 5.0, 0.0]])
    wide = source_apertures(ellipse, radius_in_fwhm=1.0 / FWHM_PER_SIGMA)
    photometry, background = measure(value(SOURCE, window) - 0.2, apertures=wide)
    assert np.isfinite(background[np.hypot(window.x - 16.2, window.y - 15.1) < 4.8]).all()
    np.testing.assert_allclose(photometry.flux, gaussians.gaussian_flux(SOURCE), rtol=1e-6)
