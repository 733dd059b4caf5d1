"""Whole maps in white noise on polynomial backgrounds."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.group_cases import FWHM, plane
from helpers.problems import make_problem
from hyper_py.background.separate import Boxes
from hyper_py.config.original import ORIGINAL_POLICY
from hyper_py.diagnostics import Flag
from hyper_py.fitting.weights import WEIGHTS
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.numerics import gaussians
from hyper_py.options import BackgroundOptions, FitOptions, Options, PhotometryOptions
from hyper_py.pipeline.polynomial import (
    initial_of,
    measure_weighted,
    separate_backgrounds_of,
    surroundings_of,
)
from hyper_py.policy import Policy

# ---- a whole map


def white_options(*, original=False, weights=None, loss="linear", **background):
    return Options(
        fit_options=FitOptions(noise_model="white", weights=weights, loss=loss, f_scale=3.0),
        background=BackgroundOptions(method="polynomial", **background),
        policy=ORIGINAL_POLICY if original else Policy(),
        photometry=PhotometryOptions(aper_inf=0.5, aper_sup=2.0),
    )  # fmt: skip


TRUTH = np.array([[40.0, 20.3, 25.8, 1.9, 1.6, 0.4], [30.0, 52.7, 30.1, 1.7, 1.5, 1.0]])
START = TRUTH * [0.8, 1, 1, 0, 0, 0] + [0, 0.3, -0.3, 1.7, 1.7, 0]


@pytest.mark.parametrize("weights", [None, *WEIGHTS])
@pytest.mark.parametrize("original", [False, True])
def test_every_kind_of_weights_measures_bright_sources(weights, original):
    shape = (58, 75)
    rng = np.random.default_rng(1)
    data = gaussians.render(TRUTH, shape) + plane(shape) + 0.1 * rng.normal(size=shape)
    options = white_options(original=original, weights=weights)
    measured = measure_weighted(make_problem(START, data, rms=0.1), options)
    assert (measured.sources.status == 1).all()
    # The mask leaves out what stands out: the peak itself.
    tolerance = 0.6 if weights == "mask" else 0.05
    np.testing.assert_allclose(measured.sources.flux, gaussians.gaussian_flux(TRUTH), rtol=tolerance)
    assert np.isfinite(measured.sources.flux_err).all()
    # The original's RESIDUALS say what is left, ours what was subtracted.
    expected = np.zeros(2) if original else plane(shape)[[26, 30], [20, 53]]
    np.testing.assert_allclose(measured.sources.background, expected, atol=0.25)


@pytest.mark.parametrize("loss", ["soft_l1", "huber", "cauchy"])
def test_losses_on_a_map(loss):
    shape = (58, 75)
    data = gaussians.render(TRUTH, shape) + 0.1 * np.random.default_rng(1).normal(size=shape)
    measured = measure_weighted(make_problem(START, data, rms=0.1), white_options(loss=loss))
    np.testing.assert_allclose(measured.sources.flux, gaussians.gaussian_flux(TRUTH), rtol=0.03)


@pytest.mark.parametrize("original", [False, True])
@settings(max_examples=10, deadline=None)
@given(st.integers(-9, 6))
def test_flux_scale_does_not_matter(original, exponent):
    shape, scale = (58, 75), 10.0**exponent
    data = gaussians.render(TRUTH, shape) + plane(shape) + 0.1 * np.random.default_rng(1).normal(size=shape)
    one = measure_weighted(make_problem(START, data, rms=0.1), white_options(original=original))
    flux = np.array([scale, 1, 1, 1, 1, 1])
    other = measure_weighted(
        make_problem(START * flux, scale * data, rms=0.1 * scale), white_options(original=original)
    )
    for name in ("flux", "flux_err", "flux_gauss_err", "background"):
        np.testing.assert_allclose(
            getattr(other.sources, name), scale * getattr(one.sources, name), rtol=1e-3
        )
    np.testing.assert_array_equal(other.sources.status, one.sources.status)


def test_original_bounds_of_amplitude_shift_and_size():
    shape = (58, 75)
    truth = TRUTH * [1, 1, 1, 2.4, 2.0, 1]
    data = gaussians.render(truth, shape) + 0.05 * np.random.default_rng(1).normal(size=shape)
    measured = measure_weighted(
        make_problem(START, data, rms=0.05, shift=np.ones(2)), white_options(original=True)
    )
    peak = [data[25:28, 19:22].max(), data[29:32, 52:55].max()]
    ratio = measured.sources.parameters[:, 0] / peak
    assert ((ratio > 0.79) & (ratio < 1.31)).all()
    assert (np.abs(measured.sources.parameters[:, 1:3] - START[:, 1:3]) <= 1.0 + 1e-9).all()


@pytest.mark.parametrize("together", [False, True])
def test_original_amplitudes_are_bounded_by_the_local_peak(together):
    shape = (58, 75)
    data = gaussians.render(TRUTH, shape) + 0.05 * np.random.default_rng(1).normal(size=shape)
    changes = {"rms": 0.05, "shift": np.ones(2)}
    if together:
        changes["partition"] = [np.array([0, 1])]
    options = white_options(original=True, fix_min_box=5.0, fix_max_box=5.0)
    spike = data.copy()
    spike[26, 20] += 200.0
    peak = spike[26, 20]
    low = measure_weighted(make_problem(START, spike, **changes), options).sources.parameters[0, 0]
    if together:  # down to 0.4 of the peak
        assert 0.4 * peak < low < 0.75 * peak
    else:
        assert low == pytest.approx(0.8 * peak, rel=0.02)
    # Without a pixel near the peak the bounds are those of the start.
    hole = data.copy()
    hole[24:29, 18:23] = np.nan
    start = START * [0.5, 1, 1, 1, 1, 1]
    high = measure_weighted(make_problem(start, hole, **changes), options).sources.parameters[0, 0]
    assert high == pytest.approx(1.3 * start[0, 0], rel=1e-6)


def test_blank_pixels_in_the_aperture_are_filled_by_the_model():
    shape = (58, 75)
    data = gaussians.render(TRUTH, shape) + 0.1 * np.random.default_rng(1).normal(size=shape)
    data[27:29, 19:23] = np.nan
    measured = measure_weighted(make_problem(START, data, rms=0.1), white_options())
    assert measured.sources.n_blank[0] > 0
    assert measured.sources.n_blank[1] == 0
    np.testing.assert_allclose(measured.sources.flux, gaussians.gaussian_flux(TRUTH), rtol=0.03)


def test_whole_map_background_of_a_map_that_is_not_square():
    shape = (58, 75)
    data = gaussians.render(TRUTH, shape) + plane(shape) + 0.1 * np.random.default_rng(1).normal(size=shape)
    measured = measure_weighted(make_problem(START, data, rms=0.1), white_options(fix_min_box=0.0))
    np.testing.assert_allclose(measured.sources.flux, gaussians.gaussian_flux(TRUTH), rtol=0.03)
    np.testing.assert_array_equal(measured.sources.order, 1)
    image = np.full(shape, np.nan)
    y, x, values, _ = measured.groups[0].background.paint()
    image[y, x] = values
    np.testing.assert_allclose(image, plane(shape), atol=0.05)


def test_source_with_all_pixels_blank_fails_quietly():
    shape = (58, 75)
    data = gaussians.render(TRUTH, shape) + 0.1 * np.random.default_rng(1).normal(size=shape)
    data[10:45, 5:38] = np.nan
    measured = measure_weighted(make_problem(START, data, rms=0.1), white_options())
    assert measured.sources.flux[1] == pytest.approx(gaussians.gaussian_flux(TRUTH)[1], rel=0.03)
    assert np.isnan(measured.sources.flux[0]) or measured.sources.n_blank[0] > 0


# ---- joint fits, and what keys of an original configuration mean

ONE = np.array([[40.0, 30.3, 25.8, 1.9, 1.6, 0.4]])
JOINT = {"fit_gauss_and_bg_separately": False, "fit_gauss_and_bg_together": True}


def noisy(shape=(58, 75), *, sources=ONE, seed=1):
    return (
        gaussians.render(sources, shape)
        + plane(shape)
        + 0.1 * np.random.default_rng(seed).normal(size=shape)
    )  # fmt: skip


@pytest.mark.parametrize("lambda_l2", [1e-4, 2.0, 30.0])
@pytest.mark.parametrize("convert", [False, True])
def test_original_ridge_is_on_all_coefficients_in_pixels_of_the_cutout_and_working_units(lambda_l2, convert):
    data = 1e-3 * noisy()
    start = ONE * [0.9e-3, 1, 1, 1.1, 1.1, 1]
    options = Options(
        fit_options=FitOptions(
            noise_model="white", lambda_l2=lambda_l2, weights="spatial", ftol=1e-13, xtol=1e-13, gtol=1e-13
        ),
        background=BackgroundOptions(method="polynomial", polynomial_orders=(1,), **JOINT),
        photometry=PhotometryOptions(aper_inf=0.5, aper_sup=4.0), policy=ORIGINAL_POLICY, convert_mJy=convert,
    )  # fmt: skip
    group = measure_weighted(make_problem(start, data, rms=1e-4), options).groups[0]
    background, pixels = group.background, group.background.pixels
    unit = 1e3 if convert else 1.0
    # The cutout is the smallest box; its side is known from the definition of boxes.
    boxes = Boxes(beam_fwhm=FWHM, beam_area=18.1, min_box=3.0, max_box=3.0, aper_sup=4.0)
    side = boxes.sides(0.0)[0]
    y0, x0 = round(25.8) - side // 2, round(30.3) - side // 2
    assert background.polynomial.scaling[:2] == (y0, x0)
    weights = np.exp(
        -0.5 * ((pixels.x - 30.3) ** 2 + (pixels.y - 25.8) ** 2) / (1.5 * FWHM / FWHM_PER_SIGMA) ** 2
    )
    left = unit * (data - gaussians.render(group.fit.parameters, data.shape, n_sigma=9))[pixels.y, pixels.x]
    rows = np.column_stack([np.ones(left.size), pixels.x - x0, pixels.y - y0]) * weights[:, None]
    expected = np.linalg.solve(rows.T @ rows + lambda_l2**2 * np.eye(3), rows.T @ (weights * left))
    np.testing.assert_allclose(unit * background.coefficients, expected, rtol=1e-6, atol=1e-9)


def test_our_ridge_leaves_the_constant_free():
    data = noisy() + 1000.0
    options = white_options(polynomial_orders=(2,), **JOINT)
    fit = replace(options.fit_options, lambda_l2=1e4)
    measured = measure_weighted(make_problem(ONE, data, rms=0.1), replace(options, fit_options=fit))
    background = measured.groups[0].background
    assert background.coefficients[0] == pytest.approx(1002, abs=2)
    assert np.abs(background.coefficients[1:]).max() < 0.01


@pytest.mark.parametrize("loss", ["linear", "soft_l1", "huber", "cauchy", "arctan"])
@pytest.mark.parametrize("both", [False, True])
def test_joint_fits_find_source_and_plane(loss, both):
    sources = np.concatenate([ONE, [[25.0, 37.0, 27.0, 1.7, 1.5, 1.0]]])
    data = noisy(sources=sources)
    options = white_options(
        loss=loss, **{**JOINT, "fit_gauss_and_bg_separately": both}, polynomial_orders=(0, 1)
    )
    problem = make_problem(sources * [0.9, 1, 1, 1.1, 1.1, 1], data, rms=0.1, partition=[np.array([0, 1])])
    measured = measure_weighted(problem, options)
    assert (measured.sources.status == 1).all()
    np.testing.assert_allclose(measured.sources.flux, gaussians.gaussian_flux(sources), rtol=0.03)
    np.testing.assert_allclose(measured.sources.background, plane(data.shape)[[26, 27], [30, 37]], atol=0.1)
    assert (measured.sources.order == 1).all()
    y, x, values, _ = measured.groups[0].background.paint()
    np.testing.assert_allclose(values, 3.0 + 0.02 * x - 0.05 * y, atol=0.2)


def test_without_any_background_the_map_is_fitted_as_it_is():
    data = gaussians.render(ONE, (58, 75)) + 0.1 * np.random.default_rng(1).normal(size=(58, 75))
    options = white_options(fit_gauss_and_bg_separately=False)
    measured = measure_weighted(make_problem(ONE, data, rms=0.1), options)
    np.testing.assert_allclose(measured.sources.flux, gaussians.gaussian_flux(ONE), rtol=0.03)
    assert (measured.sources.background == 0.0).all()
    assert (measured.sources.order == -1).all()


@pytest.mark.parametrize(
    ("kind", "changes"), [("joint", JOINT), ("separate", {}), ("group", JOINT), ("group separate", {})]
)
def test_original_ranges_of_amplitudes(kind, changes):
    sources = np.concatenate([ONE, ONE + np.array([0, 5, 0, 0, 0, 0])]) if "group" in kind else ONE
    low, high = {
        "joint": (0.4, 1.5), "separate": (0.8, 1.3), "group": (0.2, 1.5), "group separate": (0.4, 1.3)
    }[kind]  # fmt: skip
    data = gaussians.render(sources, (58, 75)) + 0.01 * np.random.default_rng(1).normal(size=(58, 75))
    problem = make_problem(sources, data, rms=0.01, partition=[np.arange(len(sources))])
    options = white_options(original=True, **changes)
    separate = separate_backgrounds_of(problem, data, sources, options)
    start, bounds = initial_of(problem, surroundings_of(data, separate, options), options)
    np.testing.assert_allclose(bounds.lower[:, 0], low * start[:, 0])
    np.testing.assert_allclose(bounds.upper[:, 0], high * start[:, 0])


def test_original_isolated_peaks_start_at_three_sigma_at_least():
    data = 0.5 * np.random.default_rng(1).normal(size=(58, 75))
    faint = ONE * [1e-3, 1, 1, 1, 1, 1]
    data[20:32, 25:37] *= 0.01
    problem, options = make_problem(faint, data, rms=0.5), white_options(original=True)
    separate = separate_backgrounds_of(problem, data, faint, options)
    start, _ = initial_of(problem, surroundings_of(data, separate, options), options)
    assert start[0, 0] == pytest.approx(1.5, rel=0.15)


def test_other_sources_are_interpolated_in_original_configurations_and_masked_in_ours():
    sources = np.concatenate([ONE, [[20.0, 39.0, 30.0, 1.6, 1.6, 0.0]]])
    data = noisy(sources=sources)
    problem = make_problem(sources, data, rms=0.1)
    for original in (False, True):
        options = white_options(original=original)
        background = separate_backgrounds_of(problem, data, sources, options)[0]
        used = ~background.polynomial.fit_mask
        at_neighbour, at_own = (used[y - background.y0, x - background.x0] for y, x in ((30, 39), (26, 30)))
        assert at_neighbour == original
        assert not at_own
        assert background.at(np.array([26]), np.array([30])) == pytest.approx(
            plane(data.shape)[26, 30], abs=0.3
        )


def test_fits_without_enough_evaluations_are_flagged_and_kept():
    data = noisy()
    fit = replace(white_options().fit_options, max_nfev=2)
    measured = measure_weighted(make_problem(ONE, data, rms=0.1), replace(white_options(), fit_options=fit))
    assert measured.sources.status.tolist() == [0]
    assert measured.sources.flags[0] & Flag.NOT_CONVERGED
    assert np.isfinite(measured.sources.flux).all()
    fit = replace(fit, max_nfev=6)
    start = ONE + np.array([-30.0, 1.8, 1.8, 2.0, 1.0, 1])
    measured = measure_weighted(make_problem(start, data, rms=0.1), replace(white_options(), fit_options=fit))
    assert measured.sources.status.tolist() == [2]
    assert measured.sources.flags[0] & Flag.RETRIED
    np.testing.assert_allclose(measured.sources.flux, gaussians.gaussian_flux(ONE), rtol=0.05)
