"""Generalised least squares against its definitions, written out densely, and against Monte Carlo."""

import numpy as np
import pytest
from scipy.linalg import LinAlgError
from scipy.optimize import minimize_scalar

from helpers.problems import make_problem
from hyper_py.background.conditional import _surroundings_say, photometry_of_alike
from hyper_py.diagnostics import Flag
from hyper_py.fitting.group_fit import Whitener, bounds, fit_groups, select_fit_pixels
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.noise.covariance import CovarianceModel, beam_covariance_model
from hyper_py.noise.whitening import NoiseMatrices, WhitenerCache, whitening_matrix
from hyper_py.numerics import models
from hyper_py.options import Options
from hyper_py.photometry.aperture import aperture_fraction, source_apertures
from hyper_py.pipeline.correlated import measure_correlated

SHAPE = (31, 33)
SOURCE = np.array([[1.0, 16.2, 15.1, 2.1, 1.7, 0.5]])
TIGHT = {"ftol": 1e-14, "xtol": 1e-12, "gtol": 1e-13}


def covariance_lags(*, reach=40, width=1.8, wide=6.0, conditioned=0.0):
    """Beam-correlated noise, a wider background, a white part; the whitener may have more of it."""
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    square = x * x + y * y
    lags = 0.5 * np.exp(-0.25 * square / width**2) + 0.4 * np.exp(-0.25 * square / wide**2)
    lags[reach, reach] += 0.1
    measured = lags.copy()
    lags[reach, reach] += conditioned
    return CovarianceModel(lags, measured=measured)


def random_covariance(n, seed):
    a = np.random.default_rng(seed).normal(size=(n, n))
    return a @ a.T + 0.5 * np.eye(n)


def window_of(sources, *, radius=7.0, usable=None):
    usable = np.ones(SHAPE, dtype=bool) if usable is None else usable
    return select_fit_pixels(
        sources[:, 1], sources[:, 2], radius=np.full(len(sources), radius), usable=usable
    )


def value(sources, window):
    return models.gaussian_sum(sources, window.y.astype(float), window.x.astype(float))


# ---- whitening


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_whitened_square_is_the_smallest_over_all_means(seed):
    covariance = random_covariance(12, seed)
    matrix, inverse = whitening_matrix(covariance), np.linalg.inv(covariance)
    assert not np.triu(matrix, 1).any()
    for r in np.random.default_rng(seed).normal(size=(5, 12)):
        best = minimize_scalar(lambda m, r=r: (r - m) @ inverse @ (r - m)).fun
        assert np.sum((matrix @ r) ** 2) == pytest.approx(best, rel=1e-10)
        np.testing.assert_allclose(matrix @ (r + 7.7), matrix @ r, atol=1e-10)


def test_singular_covariance_is_an_error():
    with pytest.raises(LinAlgError):
        whitening_matrix(np.ones((3, 3)) - 2 * np.eye(3))


# ---- conditional mean


@pytest.mark.parametrize("seed", [1, 2])
def test_surroundings_say_what_kriging_with_an_unknown_mean_says(seed):
    rng = np.random.default_rng(seed)
    covariance = random_covariance(15, seed)
    inside = np.zeros((2, 15), dtype=bool)
    for row in inside:
        row[rng.choice(15, 4, replace=False)] = True
    matrix = whitening_matrix(covariance)
    noise = NoiseMatrices(
        covariance=covariance, whitening=matrix, precision=matrix.T @ matrix, measured=covariance
    )
    sums, residual = inside[:, None] * rng.random((2, 3, 15)), rng.normal(size=(2, 15))
    outer, background = _surroundings_say(noise, inside, sums, residual)
    # An unknown mean is one of huge variance.
    huge = covariance + 1e7
    for k, own in enumerate(inside):
        kriging = huge[np.ix_(own, ~own)] @ np.linalg.inv(huge[np.ix_(~own, ~own)])
        np.testing.assert_allclose(background[k, own], kriging @ residual[k, ~own], atol=1e-5)
        np.testing.assert_allclose(outer[k][:, ~own], sums[k][:, own] @ kriging, atol=1e-5)
        assert np.isnan(background[k, ~own]).all()
        assert not outer[k][:, own].any()


# ---- windows of one shape


def test_cache_gives_each_shape_its_own_matrices():
    noise = covariance_lags()
    cache = WhitenerCache(noise)
    here, there, other = (
        window_of(np.add(SOURCE, [0, dx, dy, 0, 0, 0])) for dx, dy in ((0, 0), (3, 2), (14, 0))
    )
    assert cache.whitening(here) is cache.whitening(there)
    assert cache[here] is not cache[other]
    dy, dx = here.y[:, None] - here.y, here.x[:, None] - here.x
    np.testing.assert_array_equal(cache[here].covariance, noise.lags[dy + noise.reach, dx + noise.reach])
    np.testing.assert_allclose(
        cache[other].precision, cache[other].whitening.T @ cache[other].whitening, rtol=1e-12
    )
    whiteners = cache.whiteners([here, there], [2.0, 0.5])
    assert whiteners[0].matrix is whiteners[1].matrix
    assert set(whiteners[0].weights) == {0.5}
    assert set(whiteners[1].weights) == {2.0}


# ---- photometry of one unit


def make_unit(sources, *, scale=1.0, radius=7.0, usable=None, fixed=None, assumed=None, conditioned=0.0):
    """A unit in noise of known covariance, and a function that fits and measures data on its window."""
    window = window_of(sources, radius=radius, usable=usable)
    cache = WhitenerCache(covariance_lags(conditioned=conditioned))
    whitener, noise = cache.whiteners([window], [scale])[0], cache[window]
    fixed = np.zeros(sources.shape, dtype=bool) if fixed is None else fixed
    lower, upper = bounds(sources, sigma_limits=(0.5, 6), amplitude_limits=(-np.inf, np.inf), shift=2.0)
    lower, upper = np.where(fixed, sources, lower), np.where(fixed, sources, upper)
    apertures = source_apertures(sources, radius_in_fwhm=0.8)

    def measure(data, *, apertures=apertures, own_apertures=False):
        fit = fit_groups([data], [window], [whitener], [sources], lower=[lower], upper=[upper], **TIGHT)[0]
        if own_apertures:
            apertures = source_apertures(fit.parameters, radius_in_fwhm=0.8)
        distance = np.min([np.hypot(window.x - s[1], window.y - s[2]) for s in sources], axis=0)
        return photometry_of_alike(
            [data - value(fit.parameters, window)], [fit], [window], [whitener], noise, [apertures],
            footprints=[distance < 3.5], scales=[scale], fixed=[fixed],
            assumed=None if assumed is None else [assumed],
        )[0]  # fmt: skip

    return window, noise.measured * scale**2, measure


def test_without_noise_flux_and_background_are_exact():
    window, _, measure = make_unit(SOURCE)
    photometry, background = measure(value(SOURCE, window) + 0.3)
    np.testing.assert_allclose(photometry.flux, models.gaussian_flux(SOURCE), rtol=1e-6)
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
    fixed[:, models.SIGMA_1 :] = shape_fixed
    usable = np.ones(SHAPE, dtype=bool)
    usable[18:21, 17:22] = False
    window, covariance, measure = make_unit(
        sources, scale=1.7, usable=usable, fixed=fixed, conditioned=conditioned
    )
    rng = np.random.default_rng(4)
    factor = np.linalg.cholesky(covariance)
    # The error is that of the linearised estimator, so the noise is small beside the sources.
    results = [
        measure(value(sources, window) + 0.1 * factor @ rng.normal(size=window.y.size))[0] for _ in range(250)
    ]
    expected = measure(value(sources, window))[0]
    flux, gauss = np.array([r.flux for r in results]), models.gaussian_flux(sources)
    np.testing.assert_allclose(flux.std(axis=0) / (0.1 * expected.flux_err), 1.0, atol=0.16)
    np.testing.assert_allclose((flux.mean(axis=0) - gauss) / (0.1 * expected.flux_err), 0.0, atol=0.25)
    assert (expected.flux_err > 0.3 * expected.flux_gauss_err).all()


def test_errors_count_how_far_an_assumed_shape_may_be_off():
    """Monte Carlo over noise and the true shape of the second of two sources, which is assumed."""
    fixed = np.zeros(PAIR.shape, dtype=bool)
    fixed[1, models.SIGMA_1 :] = True
    assumed = np.zeros(PAIR.shape)
    assumed[1, models.SIGMA_1 : models.THETA] = 0.05**2
    window, covariance, measure = make_unit(PAIR, fixed=fixed, assumed=assumed)
    rng, factor = np.random.default_rng(5), np.linalg.cholesky(covariance)
    pulls = []
    for _ in range(250):
        truth = PAIR + np.sqrt(assumed) * rng.normal(size=PAIR.shape)
        photometry, _ = measure(value(truth, window) + 0.3 * factor @ rng.normal(size=window.y.size))
        pulls.append(photometry.flux - models.gaussian_flux(truth))
    noise = make_unit(PAIR, scale=0.3, fixed=fixed)[2](value(PAIR, window))[0]
    both = make_unit(PAIR, scale=0.3, fixed=fixed, assumed=assumed)[2](value(PAIR, window))[0]
    np.testing.assert_allclose(np.std(pulls, axis=0) / both.flux_err, 1.0, atol=0.16)
    assert (both.flux_err > 1.3 * noise.flux_err).all()
    error = np.sqrt(np.diag(both.covariance))[models.N_PARAMETERS :]
    np.testing.assert_allclose(error[models.SIGMA_1 : models.THETA], 0.05)


def test_gaussian_flux_error_is_that_of_many_fits():
    source = SOURCE * [40, 1, 1, 1, 1, 1]
    window, covariance, _ = make_unit(source)
    whitener = WhitenerCache(covariance_lags()).whiteners([window], [1.0])[0]
    rng, factor = np.random.default_rng(8), np.linalg.cholesky(covariance)
    data = [value(source, window) + 0.2 * factor @ rng.normal(size=window.y.size) for _ in range(300)]
    lower, upper = bounds(source, sigma_limits=(0.5, 6), amplitude_limits=(-np.inf, np.inf), shift=2.0)
    fits = fit_groups(
        data, [window] * 300, [whitener] * 300, [source] * 300, lower=[lower] * 300, upper=[upper] * 300
    )
    _, _, measure = make_unit(source)
    expected = measure(value(source, window))[0]
    scatter = np.std([models.gaussian_flux(f.parameters)[0] for f in fits])
    assert scatter / (0.2 * expected.flux_gauss_err[0]) == pytest.approx(1.0, abs=0.13)
    sigma = np.std([f.parameters[0, 1] for f in fits])
    assert sigma / (0.2 * np.sqrt(expected.covariance[1, 1])) == pytest.approx(1.0, abs=0.13)


@pytest.mark.parametrize("factor", [1e-9, 1e3])
def test_fluxes_and_errors_scale_with_the_map(factor):
    rng = np.random.default_rng(1)
    source = SOURCE * [20, 1, 1, 1, 1, 1]
    window, covariance, measure = make_unit(source)
    data = value(source, window) + np.linalg.cholesky(covariance) @ rng.normal(size=window.y.size)
    scaled_window, _, scaled_measure = make_unit(source * [factor, 1, 1, 1, 1, 1], scale=factor)
    one, _ = measure(data, own_apertures=True)
    other, _ = scaled_measure(factor * data, own_apertures=True)
    np.testing.assert_array_equal(window.x, scaled_window.x)
    for name in ("flux", "flux_err", "flux_gauss_err", "background"):
        np.testing.assert_allclose(getattr(other, name), factor * getattr(one, name), rtol=1e-4)


def test_a_level_added_to_the_map_changes_the_background_only():
    rng = np.random.default_rng(2)
    source = SOURCE * [20, 1, 1, 1, 1, 1]
    window, covariance, measure = make_unit(source)
    data = value(source, window) + np.linalg.cholesky(covariance) @ rng.normal(size=window.y.size)
    one, _ = measure(data)
    other, _ = measure(data + 100.0)
    np.testing.assert_allclose(other.flux, one.flux, rtol=1e-6)
    np.testing.assert_allclose(other.background, one.background + 100.0, rtol=1e-6)


def test_flux_is_linear_in_the_data_where_everything_is_given():
    fixed = np.ones(SOURCE.shape, dtype=bool)
    fixed[:, models.AMPLITUDE] = False
    window, covariance, measure = make_unit(SOURCE, fixed=fixed)
    rng, factor = np.random.default_rng(3), np.linalg.cholesky(covariance)
    a, b = (factor @ rng.normal(size=window.y.size) for _ in range(2))
    fa, fb, fab = (measure(d)[0].flux for d in (a, b, 2 * a - 3 * b))
    np.testing.assert_allclose(fab, 2 * fa - 3 * fb, rtol=1e-6)


# ---- a whole map


def test_no_source_is_added_in_noise_that_is_assumed(monkeypatch):
    asked = []

    def deblended(*args, **kwargs):
        asked.append(True)

    monkeypatch.setattr("hyper_py.pipeline.correlated.with_more_sources", deblended)
    rng = np.random.default_rng(1)
    for shape, expected in (((24, 25), False), ((70, 75), True)):
        source = np.array([[30.0, 12.3, 11.8, 1.7, 1.7, 0.0]])
        measured = measure_correlated(
            make_problem(source, models.render(source, shape) + rng.normal(size=shape)), Options()
        )
        assert bool(measured.flags[0] & Flag.NOISE_ASSUMED) is not expected
        assert bool(asked) is expected


def test_small_maps_assume_the_noise_and_say_so():
    rng = np.random.default_rng(1)
    source = np.array([[30.0, 12.3, 11.8, 1.7, 1.7, 0.0]])
    data = models.render(source, (24, 25)) + rng.normal(size=(24, 25))
    measured = measure_correlated(make_problem(source, data), Options())
    assert measured.flags[0] & Flag.NOISE_ASSUMED
    assert measured.flux[0] == pytest.approx(models.gaussian_flux(source)[0], rel=0.25)
    assert measured.flux_err[0] > 0


def test_aperture_of_an_elongated_given_shape_counts_its_own_fraction():
    rng = np.random.default_rng(2)
    truth = np.array([[30.0, 40.3, 41.8, 2.2, 1.7, 0.4]])
    data = models.render(truth, (80, 82)) + rng.normal(size=(80, 82))
    fixed = np.array([[False, True, True, True, True, True]])
    measured = measure_correlated(make_problem(truth, data, fixed=fixed, forced=True), Options())
    expected = aperture_fraction(truth[0], source_apertures(truth[:1], radius_in_fwhm=1.0)[0])
    assert measured.aperture_fraction[0] == pytest.approx(expected, rel=1e-9)
    np.testing.assert_array_equal(measured.parameters[0, 1:], truth[0, 1:])
    pull = (measured.flux - models.gaussian_flux(truth)) / measured.flux_err
    assert abs(pull[0]) < 4


def test_beam_correlated_noise_model_is_factorable_on_every_window():
    noise = beam_covariance_model(np.eye(2) * 1.7**2, rms=2.0, max_lag=64)
    for radius in (1.0, 5.0, 10.0):
        window = window_of(SOURCE, radius=radius)
        assert np.isfinite(WhitenerCache(noise)[window].whitening).all()


def test_elliptical_aperture_off_the_footprint_is_part_of_the_conditional():
    window, _, measure = make_unit(SOURCE)
    ellipse = np.array([[1.0, 16.2, 15.1, 5.5, 5.0, 0.0]])
    wide = source_apertures(ellipse, radius_in_fwhm=1.0 / FWHM_PER_SIGMA)
    photometry, background = measure(value(SOURCE, window) - 0.2, apertures=wide)
    assert np.isfinite(background[np.hypot(window.x - 16.2, window.y - 15.1) < 4.8]).all()
    np.testing.assert_allclose(photometry.flux, models.gaussian_flux(SOURCE), rtol=1e-6)


def test_metric_type():
    window = window_of(SOURCE)
    assert isinstance(WhitenerCache(covariance_lags()).whiteners([window], [1.0])[0], Whitener)
