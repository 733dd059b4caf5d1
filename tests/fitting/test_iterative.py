"""Fits in turns against a fit of everything at once; retries; and how results are gathered."""

import numpy as np
import pytest

from hyper_py.diagnostics import Flag
from hyper_py.fitting.group_fit import GroupFit, Whitener, bounds, fit_groups, select_fit_pixels
from hyper_py.fitting.iterative import Bounds, Collector, fit_iteratively, retry_failed, values_on
from hyper_py.noise.covariance import CovarianceModel
from hyper_py.numerics import models
from hyper_py.numerics.solvers import FitStatus
from hyper_py.photometry.aperture import GroupPhotometry, source_apertures

SHAPE = (60, 62)
NOISE = CovarianceModel(np.ones((1, 1)))
TIGHT = {"ftol": 1e-14, "xtol": 1e-12, "gtol": 1e-13}


def chain(n=4, spacing=9.0):
    """Sources in a row, each in the wings of the next."""
    x = 10.0 + spacing * np.arange(n)
    rows = [[1.0 + 0.3 * k, x[k], 30.2 + 0.4 * k, 2.4, 1.9, 0.3 * k + 0.1] for k in range(n)]
    return np.array(rows)


def prepared(sources, data, *, units=None, radius=9.0, sigma=0.01, shift=2.0):
    units = [np.array([k]) for k in range(len(sources))] if units is None else units
    usable = np.isfinite(data)
    windows = [
        select_fit_pixels(sources[u, 1], sources[u, 2], radius=np.full(len(u), radius), usable=usable)
        for u in units
    ]
    whiteners = [Whitener(weights=np.full(w.y.size, 1 / sigma)) for w in windows]
    backgrounds = [np.zeros(w.y.size) for w in windows]
    lower, upper = bounds(sources, sigma_limits=(0.8, 5), amplitude_limits=(-np.inf, np.inf), shift=shift)
    return (units, windows, whiteners, backgrounds), Bounds(lower=lower, upper=upper)


def test_sweeps_over_a_chain_find_the_truth():
    truth = chain()
    data = models.render(truth, SHAPE)
    start = truth * [1.3, 1, 1, 1.1, 1.1, 1] + [0, 0.2, -0.2, 0, 0, 0]
    arguments, limits = prepared(start, data)
    before = start.copy()
    sources, fits = fit_iteratively(
        values_on(data, arguments[1]), start, *arguments, bounds=limits, max_iterations=30, **TIGHT
    )
    np.testing.assert_allclose(sources[:, :5], truth[:, :5], rtol=4e-3)
    assert all(fit.converged for fit in fits)
    np.testing.assert_array_equal(start, before)


@pytest.mark.parametrize("seed", [1, 2])
def test_sweeps_agree_with_one_fit_of_all(seed):
    rng = np.random.default_rng(seed)
    truth = chain(3)
    data = models.render(truth, SHAPE) + 0.01 * rng.normal(size=SHAPE)
    # One window for all, so that both minimise the same sum.
    together, limits = prepared(truth, data, units=[np.arange(3)], radius=12.0)
    one, fits = fit_iteratively(values_on(data, together[1]), truth, *together, bounds=limits, **TIGHT)
    units = [np.array([k]) for k in range(3)]
    apart = units, together[1] * 3, together[2] * 3, together[3] * 3
    swept, _ = fit_iteratively(
        values_on(data, apart[1]), truth, *apart, bounds=limits, max_iterations=60, **TIGHT
    )
    assert fits[0].n_evaluations > 1
    error = np.array([0.01, 0.03, 0.03, 0.03, 0.03, 0.1])
    np.testing.assert_array_less(np.abs(swept - one), np.broadcast_to(0.2 * error, one.shape))


def test_lonely_units_are_fitted_once_and_neighbours_again(monkeypatch):
    truth = np.vstack([chain(2, spacing=9.0), [[1.0, 45.0, 50.0, 2.0, 2.0, 0.0]]])
    data = models.render(truth, SHAPE)
    arguments, limits = prepared(truth * [1.3, 1, 1, 1, 1, 1], data, radius=7.0)
    counts = []

    def counting(values, *args, **kwargs):
        counts.append(len(values))
        return fit_groups(values, *args, **kwargs)

    monkeypatch.setattr("hyper_py.fitting.iterative.fit_groups", counting)
    fit_iteratively(
        values_on(data, arguments[1]),
        truth * [1.3, 1, 1, 1, 1, 1],
        *arguments,
        bounds=limits,
        max_iterations=10,
    )
    assert counts[0] == 3
    assert len(counts) > 1
    assert max(counts[1:]) <= 2
    assert len(counts) < 10
    counts.clear()
    fit_iteratively(
        values_on(data, arguments[1]),
        truth * [1.3, 1, 1, 1, 1, 1],
        *arguments,
        bounds=limits,
        max_iterations=2,
    )
    assert len(counts) == 2


def test_backgrounds_are_taken_off_and_blank_pixels_do_not_matter():
    truth = chain(2)
    data = models.render(truth, SHAPE) + 5.0
    data[28:33, 12:14] = np.nan
    (units, windows, whiteners, _), limits = prepared(truth, data)
    backgrounds = [np.full(w.y.size, 5.0) for w in windows]
    start = truth * [1.1, 1, 1, 1, 1, 1]
    sources, _ = fit_iteratively(
        values_on(data, windows),
        start,
        units,
        windows,
        whiteners,
        backgrounds,
        bounds=limits,
        max_iterations=40,
        **TIGHT,
    )
    np.testing.assert_allclose(sources[:, :5], truth[:, :5], rtol=4e-3)


def test_no_units_and_empty_windows():
    data = np.ones(SHAPE)
    sources, fits = fit_iteratively(
        [], np.empty((0, 6)), [], [], [], [], bounds=Bounds(lower=np.empty((0, 6)), upper=np.empty((0, 6)))
    )
    assert len(sources) == len(fits) == 0
    truth = chain(2)
    data[:, :25] = np.nan
    arguments, limits = prepared(truth, data)
    assert arguments[1][0].y.size == 0
    sources, fits = fit_iteratively(values_on(data, arguments[1]), truth, *arguments, bounds=limits)
    assert len(fits) == 2
    assert np.isfinite(sources).all()


# ---- retries


def test_only_failed_units_are_tried_again_and_the_lower_cost_stays():
    truth = chain(2, spacing=20.0)
    data = models.render(truth, SHAPE)
    arguments, limits = prepared(truth, data)
    far = truth * [1, 1, 1, 1.4, 0.8, 1]
    sources, fits = fit_iteratively(
        values_on(data, arguments[1]), far, *arguments, bounds=limits, max_iterations=1
    )
    stuck = fit_iteratively(
        values_on(data, arguments[1]), far, *arguments, bounds=limits, max_iterations=1, max_evaluations=2
    )[1][0]
    assert not stuck.converged
    sources[0] = stuck.parameters[0]
    mended, after, retried = retry_failed(
        values_on(data, arguments[1]), sources, [stuck, fits[1]], *arguments, starts=[truth], bounds=limits
    )
    assert retried.tolist() == [True, False]
    assert after[1] is fits[1]
    assert after[0].converged
    np.testing.assert_allclose(mended[0, :5], truth[0, :5], rtol=1e-3)
    assert sources[0, 0] == stuck.parameters[0, 0]


def test_a_retry_that_fails_too_is_kept_only_if_it_is_better():
    truth = chain(1)
    data = models.render(truth, SHAPE)
    arguments, limits = prepared(truth, data)
    near, far = truth * [1.01, 1, 1, 1, 1, 1], truth * [0.1, 1, 1, 1, 1, 1]
    few = {"max_evaluations": 1}
    _, good = fit_iteratively(values_on(data, arguments[1]), near, *arguments, bounds=limits, **few)
    sources, fits, retried = retry_failed(
        values_on(data, arguments[1]), near, good, *arguments, starts=[far], bounds=limits, **few
    )
    assert fits[0] is good[0]
    assert not retried.any()
    _, bad = fit_iteratively(values_on(data, arguments[1]), far, *arguments, bounds=limits, **few)
    sources, fits, retried = retry_failed(
        values_on(data, arguments[1]), far, bad, *arguments, starts=[near], bounds=limits, **few
    )
    assert fits[0].cost == pytest.approx(good[0].cost)
    np.testing.assert_array_equal(sources, near)
    assert not retried.any()


# ---- gathering


def fit_with(parameters, *, status=FitStatus.COST, cost=3.0):
    return GroupFit(
        parameters=parameters, at_bound=np.zeros(parameters.shape, dtype=bool), cost=cost, status=int(status),
        n_evaluations=4,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("status", "cost", "retried", "expected", "flag"),
    [
        (FitStatus.COST, 3.0, False, 1, 0),
        (FitStatus.STEP, 3.0, True, 2, Flag.RETRIED),
        (FitStatus.MAX_EVALUATIONS, 3.0, False, 0, Flag.NOT_CONVERGED),
        (FitStatus.NOT_FINITE, np.nan, False, 0, Flag.FIT_FAILED),
    ],
)
def test_status_and_flags_say_how_a_fit_ended(status, cost, retried, expected, flag):
    sources = chain(3)
    collected = Collector(3)
    left, data = np.array([0.1, -0.2, 0.3, 0.1]), np.array([1.0, 2.0, 3.0, 2.0])
    unit = np.array([0, 2])
    collected.add_fit(
        unit, fit_with(sources[unit], status=status, cost=cost), left, data, n_free=2, chi2=6.0, n_beams=2.5,
        retried=retried,
    )  # fmt: skip
    assert collected.status.tolist() == [expected, 0, expected]
    assert collected.flags.tolist() == [flag, 0, flag]
    np.testing.assert_allclose(collected.nmse[unit], 0.15 / 18.0)
    np.testing.assert_allclose(collected.chi2_red[unit], 6.0 / 2)
    np.testing.assert_allclose(collected.bic[unit], 6.0 * 2.5 / 4 + 2 * np.log(2.5))
    assert np.isnan(collected.nmse[1])


def test_statistics_that_do_not_exist_are_nan():
    collected = Collector(1)
    collected.add_fit(
        np.array([0]), fit_with(chain(1)), np.zeros(2), np.zeros(2), n_free=6, chi2=0.0, n_beams=0.1,
        retried=False,
    )  # fmt: skip
    assert np.isnan(collected.nmse[0])
    assert np.isnan(collected.chi2_red[0])
    assert collected.bic[0] == 0.0


def test_photometry_blanks_edges_and_missing_errors():
    sources = np.array([[1.0, 20, 20, 2, 2, 0], [1.0, 1, 30, 2, 2, 0], [1.0, 40, 40, 2, 2, 0]])
    usable = np.ones(SHAPE, dtype=bool)
    usable[20, 19:22] = False
    covariance = np.arange(18 * 18, dtype=float).reshape(18, 18)
    photometry = GroupPhotometry(
        flux=np.array([1.0, 2.0, 3.0]), flux_err=np.array([0.1, 0.2, np.nan]),
        flux_gauss_err=np.array([0.3, 0.4, 0.5]), fraction=np.array([0.9, 0.8, 0.7]),
        background=np.array([4.0, 5.0, 6.0]), covariance=covariance,
    )  # fmt: skip
    collected = Collector(3)
    apertures = source_apertures(sources, radius_in_fwhm=1.0)
    unit = np.array([2, 0, 1])
    collected.add_photometry(unit, photometry, [apertures[k] for k in unit], usable)
    measured = collected.measured(sources, noise=NOISE)
    np.testing.assert_array_equal(measured.flux, [2, 3, 1])
    np.testing.assert_array_equal(measured.background, [5, 6, 4])
    np.testing.assert_array_equal(measured.n_blank, [3, 0, 0])
    np.testing.assert_array_equal(measured.covariance[0], covariance[6:12, 6:12])
    np.testing.assert_array_equal(measured.covariance[2], covariance[:6, :6])
    assert measured.flags.tolist() == [Flag.BLANK_PIXELS, Flag.EDGE | Flag.NO_ERROR, 0]


def test_what_is_never_added_stays_failed():
    measured = Collector(2).measured(chain(2), noise=NOISE)
    assert measured.status.tolist() == [0, 0]
    assert np.isnan(measured.flux).all()
    assert np.isnan(measured.covariance).all()
    assert measured.order.tolist() == [-1, -1]


def test_an_aperture_without_a_seen_pixel_has_no_flux():
    sources = np.array([[1.0, 20, 20, 2, 2, 0], [1.0, 40, 40, 2, 2, 0], [1.0, -20, 30, 2, 2, 0]])
    usable = np.ones(SHAPE, dtype=bool)
    usable[10:31, 10:31] = False
    photometry = GroupPhotometry(
        flux=np.ones(3), flux_err=np.ones(3), flux_gauss_err=np.ones(3), fraction=np.ones(3),
        background=np.ones(3), covariance=np.eye(18),
    )  # fmt: skip
    collected = Collector(3)
    unit = np.arange(3)
    collected.add_fit(
        unit, fit_with(sources), np.ones(50), np.ones(50), n_free=18, chi2=1.0, n_beams=2.0, retried=False
    )
    apertures = source_apertures(sources, radius_in_fwhm=1.0)
    collected.add_photometry(unit, photometry, apertures, usable)
    measured = collected.measured(sources, noise=NOISE)
    assert measured.status.tolist() == [0, 1, 0]
    for values in (measured.flux, measured.flux_err, measured.flux_gauss_err, measured.covariance[:, 0, 0]):
        np.testing.assert_array_equal(np.isnan(values), [True, False, True])
    assert [bool(f & Flag.FIT_FAILED) for f in measured.flags] == [True, False, True]
