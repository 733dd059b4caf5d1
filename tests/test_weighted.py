"""The classical way: backgrounds, weights and errors against dense algebra and Monte Carlo."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyper_py import models
from hyper_py.fitting import Metric, bounds, fit_units, fit_window
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.noise import CovarianceModel
from hyper_py.options import BackgroundOptions, FitOptions, Options, PhotometryOptions
from hyper_py.photometry import aperture_fraction, source_aperture
from hyper_py.propagation import field_covariance, hybrid_fluxes, unit_errors
from hyper_py.sweeps import Task
from hyper_py.unit_backgrounds import box_sizes, unit_backgrounds
from hyper_py.weighted import WEIGHTS, measure_weighted, pixel_weights

FWHM = 4.0
SETTINGS = {
    "fwhm": FWHM, "beam_area": 18.1, "rms": 1.0, "min_box": 2.0, "max_box": 3.0, "aper_sup": 1.5,
    "orders": (1,), "estimators": ("least_squares",), "huber_epsilons": (1.35,), "criterion": "cv",
}  # fmt: skip
TIGHT = {"ftol": 1e-14, "xtol": 1e-12, "gtol": 1e-13}


def noise_model(*, reach=12, width=1.8, white=0.3):
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    lags = (1 - white) * np.exp(-0.25 * (x * x + 2 * 0.3 * x * y + 1.4 * y * y) / width**2)
    lags[reach, reach] += white
    return CovarianceModel(lags)


def dense(noise, y, x):
    """Covariance of pixels, zero beyond the reach."""
    dy, dx = y[:, None] - y, x[:, None] - x
    near = (abs(dy) <= noise.reach) & (abs(dx) <= noise.reach)
    matrix = np.zeros(dy.shape)
    matrix[near] = noise.lags[dy[near] + noise.reach, dx[near] + noise.reach]
    return matrix


# ---- boxes


@given(st.floats(1.5, 12), st.floats(0.5, 5), st.floats(0, 5), st.floats(1, 3), st.floats(0, 40))
def test_boxes_are_odd_nested_and_as_large_as_defined(fwhm, smallest, more, aper_sup, extent):
    sides = box_sizes(fwhm=fwhm, min_box=smallest, max_box=smallest + more, aper_sup=aper_sup, extent=extent)
    assert all(side % 2 == 1 for side in sides)
    assert set(np.diff(sides)) <= {2}
    for side, box in ((sides[0], smallest), (sides[-1], smallest + more)):
        defined = 2 * math.ceil(box * fwhm) + 2 * aper_sup * fwhm + extent
        assert defined <= side < defined + 3


def test_a_largest_box_below_the_smallest_is_the_smallest():
    assert len(box_sizes(fwhm=5.0, min_box=4, max_box=2, aper_sup=2, extent=0)) == 1


# ---- backgrounds


def plane(shape):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return 3.0 + 0.02 * x - 0.05 * y


def sources_at(*places):
    return np.array([[1.0, x, y, 1.7, 1.7, 0.0] for x, y in places])


@pytest.mark.parametrize(("x", "y"), [(30, 25), (0, 0), (60.4, 49.4), (0, 25), (30.2, 49.0), (3, 2)])
@pytest.mark.parametrize("rms", [1.0, "map"])
def test_background_anywhere_on_the_map_is_that_of_a_plane(x, y, rms):
    shape = (50, 61)
    sky, sources = plane(shape), sources_at((x, y))
    data = sky + models.render(sources, shape) * 50
    mask = models.footprints(sources, shape, n_sigma=6.0)
    mask[20:30, 40:55] = True
    data[20:30, 40:55] = np.nan
    settings = {**SETTINGS, "rms": np.full(shape, 0.5) if rms == "map" else rms, "orders": (0, 1)}
    background = unit_backgrounds(data, mask, sources, [np.array([0])], **settings)[0]
    assert background.polynomial.order == 1
    rows, columns = np.mgrid[max(0, int(y) - 5) : int(y) + 6, max(0, int(x) - 5) : int(x) + 6]
    expected = 3.0 + 0.02 * columns - 0.05 * rows
    np.testing.assert_allclose(background.at(rows, columns), expected, rtol=1e-6)
    # The cutout lies around the source, whatever the border.
    half = background.polynomial.fit_mask.shape[0] // 2
    assert (background.y0 + half, background.x0 + half) == (round(y), round(x))
    fit_y, fit_x = background.polynomial.fit_pixels
    fit_y, fit_x = fit_y + background.y0, fit_x + background.x0
    assert fit_y.min() >= 0
    assert fit_x.min() >= 0
    assert not mask[fit_y, fit_x].any()


def test_a_group_shares_one_box_around_its_extent():
    sources = sources_at((20, 20), (34, 24), (50, 12))
    data = plane((60, 70))
    units = [np.array([0, 1]), np.array([2])]
    pair, single = unit_backgrounds(data, np.zeros(data.shape, bool), sources, units, **SETTINGS)
    size = pair.polynomial.fit_mask.shape[0]
    assert size == box_sizes(fwhm=FWHM, min_box=2, max_box=3, aper_sup=1.5, extent=14)[-1]
    assert (pair.y0 + size // 2, pair.x0 + size // 2) == (22, 27)
    assert single.polynomial.fit_mask.shape[0] == size - 14


@pytest.mark.parametrize("shape", [(40, 71), (71, 40)])
def test_box_zero_is_the_whole_map(shape):
    sources = sources_at((30, 20), (10, 11))
    mask = np.zeros(shape, dtype=bool)
    both = unit_backgrounds(
        plane(shape),
        mask,
        sources,
        [np.array([0]), np.array([1])],
        **{**SETTINGS, "min_box": 0, "orders": (0, 1)},
    )
    assert both[0] is both[1]
    assert both[0].polynomial.box == (0, shape[0], 0, shape[1])
    y, x = np.mgrid[: shape[0], : shape[1]]
    np.testing.assert_allclose(both[0].at(y, x), plane(shape), rtol=1e-6, atol=1e-9)


def test_no_pixels_at_all_is_a_flag_and_zero():
    data = np.full((40, 40), np.nan)
    background = unit_backgrounds(data, np.isnan(data), sources_at((20, 20)), [np.array([0])], **SETTINGS)[0]
    assert background.polynomial.flag
    assert background.at(np.array([20]), np.array([20])) == 0.0


def test_painted_background_covers_its_box_and_fades():
    background = unit_backgrounds(
        plane((50, 61)), np.zeros((50, 61), bool), sources_at((30, 25)), [np.array([0])], **SETTINGS
    )[0]
    y, x, values, weights = background.paint()
    np.testing.assert_allclose(values, 3.0 + 0.02 * x - 0.05 * y, rtol=1e-6)
    assert (weights > 0).all()
    middle = (y == 25) & (x == 30)
    assert weights[middle] == weights.max() == pytest.approx(1.0, abs=0.02)
    assert weights[(y == y.min())].max() < 0.05


# ---- weights


def weights_of(kind, values, *, sources=None, window=None, **changes):
    sources = sources_at((10, 10)) if sources is None else sources
    if window is None:
        window = fit_window(
            sources[:, 1], sources[:, 2], radius=np.full(len(sources), 5.0), usable=np.ones((21, 21), bool)
        )
    given = {"power_snr": 3.0, "spatial_sigma": 2.0, "mean": -0.3, "std": 0.5, **changes}
    return pixel_weights(kind, values, window, sources, **given), window


def test_weights_are_as_defined():
    window = weights_of(None, np.zeros(81))[1]
    values = np.linspace(-2, 3, window.y.size)
    expected = {
        None: np.ones(values.size),
        "inverse_rms": np.full(values.size, 1 / 0.8),
        "snr": np.where(values > 0, values / 0.5, 0),
        "power_snr": np.where(values > 0, values / 0.5, 0) ** 3,
        "map": values,
        "mask": np.where((values >= -1.8) & (values <= 1.2), 1.0, 0.0),
        "spatial": np.exp(-((window.x - 10) ** 2 + (window.y - 10) ** 2) / 8.0),
    }
    assert set(expected) == {None, *WEIGHTS}
    for kind, value in expected.items():
        np.testing.assert_allclose(weights_of(kind, values)[0], value, rtol=1e-12, atol=1e-12)


def test_spatial_weight_in_a_group_is_that_of_the_nearest():
    sources = sources_at((8, 10), (13, 11))
    window = fit_window(sources[:, 1], sources[:, 2], radius=np.full(2, 5.0), usable=np.ones((21, 21), bool))
    weights, _ = weights_of("spatial", np.zeros(window.y.size), sources=sources, window=window)
    distance = np.minimum(np.hypot(window.x - 8, window.y - 10), np.hypot(window.x - 13, window.y - 11))
    np.testing.assert_allclose(weights, np.exp(-(distance**2) / 8.0))


def test_unknown_weights_are_an_error():
    with pytest.raises(ValueError, match="inverse_rms"):
        weights_of("none", np.zeros(81))


# ---- errors


@pytest.mark.parametrize("shape", [(9, 14), (30, 23)])
@pytest.mark.parametrize("reach", [12, 4])
def test_covariance_of_sums_is_that_of_the_dense_matrix(shape, reach):
    rng = np.random.default_rng(1)
    noise = noise_model(reach=12, width=1.2)
    noise = CovarianceModel(noise.lags[12 - reach : 13 + reach, 12 - reach : 13 + reach])
    images = rng.normal(size=(3, *shape))
    y, x = (a.ravel() for a in np.mgrid[: shape[0], : shape[1]])
    flat = images.reshape(3, -1)
    expected = flat @ dense(noise, y, x) @ flat.T
    scale = np.sqrt(np.outer(np.diagonal(expected), np.diagonal(expected)))
    np.testing.assert_allclose(field_covariance(images, noise) / scale, expected / scale, atol=0.02)


def test_covariance_of_white_sums():
    noise = CovarianceModel(np.pad(np.array([[4.0]]), 6))
    images = np.random.default_rng(2).normal(size=(4, 12, 11))
    flat = images.reshape(4, -1)
    np.testing.assert_allclose(field_covariance(images, noise), 4.0 * flat @ flat.T, rtol=1e-9)


@pytest.fixture(scope="module", params=[False, True], ids=["whole", "blank"])
def monte_carlo(request):
    """Many fits of a pair on a sloping sky in correlated noise, each with its own background."""
    shape, scale = (37, 39), 0.02
    truth = np.array([[3.0, 17.2, 18.1, 1.9, 1.6, 0.4], [2.0, 22.8, 19.6, 1.7, 1.7, 0.0]])
    noise = noise_model()
    y, x = (a.ravel() for a in np.mgrid[: shape[0], : shape[1]])
    factor = np.linalg.cholesky(dense(noise, y, x) + 1e-9 * np.eye(y.size))
    sky = plane(shape) + models.render(truth, shape)
    mask = models.footprints(truth, shape, n_sigma=2.0)
    mask[5:9, 20:30] = True
    usable = np.ones(shape, dtype=bool)
    if request.param:
        usable[20:24, 20:24] = False
    mask |= ~usable
    sky[~usable] = np.nan
    unit = np.arange(2)
    window = fit_window(truth[:, 1], truth[:, 2], radius=np.full(2, 4.5), usable=usable)
    metric = Metric(weights=np.exp(-0.01 * np.arange(window.y.size)))
    lower, upper = bounds(truth, sigma_limits=(0.5, 5), amplitude_limits=(-np.inf, np.inf), shift=2.0)

    def measure(data):
        settings = {**SETTINGS, "max_box": 2.0, "clip_sigma": None}
        # The wings beyond the footprint are taken off, as in the last pass of the pipeline.
        background = unit_backgrounds(data - models.render(truth, shape), mask, truth, [unit], **settings)[0]
        values = data[window.y, window.x] - background.at(window.y, window.x)
        fit = fit_units([values], [window], [metric], [truth], lower=[lower], upper=[upper], **TIGHT)[0]
        apertures = [source_aperture(p, radius_in_fwhm=0.7) for p in fit.parameters]
        fractions = np.array(
            [aperture_fraction(p, a) for p, a in zip(fit.parameters, apertures, strict=True)]
        )
        residual = data - models.render(fit.parameters, shape, n_sigma=9)
        return fit, background, apertures, fractions, residual

    fit, background, apertures, fractions, residual = measure(sky)
    errors = unit_errors(
        fit, window, metric, background, apertures, fractions, noise, scale=scale, usable=usable
    )
    rng = np.random.default_rng(3)
    parameters, flux = [], []
    for _ in range(250):
        data = sky + scale * (factor @ rng.normal(size=y.size)).reshape(shape)
        fit, background, apertures, fractions, residual = measure(data)
        parameters.append(fit.parameters)
        flux.append(hybrid_fluxes(residual, fit, background, apertures, fractions, errors).flux)
    return truth, errors, np.array(parameters), np.array(flux)


def test_flux_errors_are_those_of_many_measurements(monte_carlo):
    truth, errors, parameters, flux = monte_carlo
    np.testing.assert_allclose(flux.std(axis=0) / errors.flux_err, 1.0, atol=0.15)
    np.testing.assert_allclose(
        flux.mean(axis=0), models.gaussian_flux(truth), atol=0.3 * errors.flux_err.max()
    )
    gauss = models.gaussian_flux(parameters)
    np.testing.assert_allclose(gauss.std(axis=0) / errors.flux_gauss_err, 1.0, atol=0.15)


def test_parameter_errors_are_those_of_many_fits(monte_carlo):
    _, errors, parameters, _ = monte_carlo
    expected = np.sqrt(np.diagonal(errors.covariance)).reshape(2, 6)
    np.testing.assert_allclose(parameters.std(axis=0)[:, :3] / expected[:, :3], 1.0, atol=0.15)
    np.testing.assert_allclose(parameters.std(axis=0)[0, 3:] / expected[0, 3:], 1.0, atol=0.15)


def test_fixed_parameters_have_no_error():
    truth = np.array([[3.0, 17.2, 18.1, 1.9, 1.6, 0.4]])
    shape = (37, 39)
    background = unit_backgrounds(plane(shape), np.zeros(shape, bool), truth, [np.array([0])], **SETTINGS)[0]
    window = fit_window(truth[:, 1], truth[:, 2], radius=np.full(1, 4.5), usable=np.ones(shape, bool))
    metric = Metric(weights=np.ones(window.y.size))
    lower, upper = bounds(truth, sigma_limits=(0.5, 5), amplitude_limits=(0, 9), shift=2.0)
    values = models.gaussian_sum(truth, window.y.astype(float), window.x.astype(float))
    fit = fit_units([values], [window], [metric], [truth], lower=[lower], upper=[upper])[0]
    apertures = [source_aperture(truth[0], radius_in_fwhm=0.7)]
    fixed = np.array([[False, True, True, True, True, True]])
    arguments = (fit, window, metric, background, apertures, np.array([0.7]), noise_model())
    some = unit_errors(*arguments, fixed=fixed)
    assert not some.covariance[1:].any()
    assert 0 < some.flux_gauss_err[0] < unit_errors(*arguments).flux_gauss_err[0]
    assert unit_errors(*arguments, scale=3.0).flux_err == pytest.approx(3 * unit_errors(*arguments).flux_err)


# ---- a whole map


def make_task(sources, data, **changes):
    task = {
        "data": data, "usable": np.isfinite(data), "rms": 1.0, "start": sources,
        "fixed": np.zeros(sources.shape, dtype=bool), "units": [np.array([k]) for k in range(len(sources))],
        "beam_fwhm": FWHM, "beam_area": 18.1, "beam_covariance": np.eye(2) * (FWHM / FWHM_PER_SIGMA) ** 2,
        "forced": False, "shift": np.full(len(sources), 2.0),
    }  # fmt: skip
    return Task(**{**task, **changes})


def white_options(*, original=False, weights=None, loss="linear", **background):
    return Options(
        fit_options=FitOptions(noise_model="white", weights=weights, loss=loss, f_scale=3.0),
        background=BackgroundOptions(method="polynomial", **background), original=original,
        photometry=PhotometryOptions(aper_inf=0.5, aper_sup=2.0),
    )  # fmt: skip


TRUTH = np.array([[40.0, 20.3, 25.8, 1.9, 1.6, 0.4], [30.0, 52.7, 30.1, 1.7, 1.5, 1.0]])
START = TRUTH * [0.8, 1, 1, 0, 0, 0] + [0, 0.3, -0.3, 1.7, 1.7, 0]


@pytest.mark.parametrize("weights", [None, *WEIGHTS])
@pytest.mark.parametrize("original", [False, True])
def test_every_kind_of_weights_measures_bright_sources(weights, original):
    shape = (58, 75)
    rng = np.random.default_rng(1)
    data = models.render(TRUTH, shape) + plane(shape) + 0.1 * rng.normal(size=shape)
    options = white_options(original=original, weights=weights)
    measured = measure_weighted(make_task(START, data, rms=0.1), options)
    assert (measured.status == 1).all()
    # The mask leaves out what stands out: the peak itself.
    tolerance = 0.6 if weights == "mask" else 0.05
    np.testing.assert_allclose(measured.flux, models.gaussian_flux(TRUTH), rtol=tolerance)
    assert np.isfinite(measured.flux_err).all()
    # The original's RESIDUALS say what is left, ours what was taken off.
    level = np.zeros(2) if original else plane(shape)[[26, 30], [20, 53]]
    np.testing.assert_allclose(measured.background, level, atol=0.25)


@pytest.mark.parametrize("loss", ["soft_l1", "huber", "cauchy"])
def test_losses_on_a_map(loss):
    shape = (58, 75)
    data = models.render(TRUTH, shape) + 0.1 * np.random.default_rng(1).normal(size=shape)
    measured = measure_weighted(make_task(START, data, rms=0.1), white_options(loss=loss))
    np.testing.assert_allclose(measured.flux, models.gaussian_flux(TRUTH), rtol=0.03)


@pytest.mark.parametrize("original", [False, True])
@settings(max_examples=10, deadline=None)
@given(st.integers(-9, 6))
def test_flux_scale_does_not_matter(original, exponent):
    shape, scale = (58, 75), 10.0**exponent
    data = models.render(TRUTH, shape) + plane(shape) + 0.1 * np.random.default_rng(1).normal(size=shape)
    one = measure_weighted(make_task(START, data, rms=0.1), white_options(original=original))
    flux = np.array([scale, 1, 1, 1, 1, 1])
    other = measure_weighted(
        make_task(START * flux, scale * data, rms=0.1 * scale), white_options(original=original)
    )
    for name in ("flux", "flux_err", "flux_gauss_err", "background"):
        np.testing.assert_allclose(getattr(other, name), scale * getattr(one, name), rtol=1e-3)
    np.testing.assert_array_equal(other.status, one.status)


def test_original_bounds_of_amplitude_shift_and_size():
    shape = (58, 75)
    truth = TRUTH * [1, 1, 1, 2.4, 2.0, 1]
    data = models.render(truth, shape) + 0.05 * np.random.default_rng(1).normal(size=shape)
    measured = measure_weighted(
        make_task(START, data, rms=0.05, shift=np.ones(2)), white_options(original=True)
    )
    peak = [data[25:28, 19:22].max(), data[29:32, 52:55].max()]
    ratio = measured.parameters[:, 0] / peak
    assert ((ratio > 0.79) & (ratio < 1.31)).all()
    assert (np.abs(measured.parameters[:, 1:3] - START[:, 1:3]) <= 1.0 + 1e-9).all()


def test_blank_pixels_in_the_aperture_are_filled_by_the_model():
    shape = (58, 75)
    data = models.render(TRUTH, shape) + 0.1 * np.random.default_rng(1).normal(size=shape)
    data[27:29, 19:23] = np.nan
    measured = measure_weighted(make_task(START, data, rms=0.1), white_options())
    assert measured.n_blank[0] > 0
    assert measured.n_blank[1] == 0
    np.testing.assert_allclose(measured.flux, models.gaussian_flux(TRUTH), rtol=0.03)


def test_whole_map_background_of_a_map_that_is_not_square():
    shape = (58, 75)
    data = models.render(TRUTH, shape) + plane(shape) + 0.1 * np.random.default_rng(1).normal(size=shape)
    measured = measure_weighted(make_task(START, data, rms=0.1), white_options(fix_min_box=0.0))
    np.testing.assert_allclose(measured.flux, models.gaussian_flux(TRUTH), rtol=0.03)
    np.testing.assert_array_equal(measured.order, 1)
    image = np.full(shape, np.nan)
    y, x, values, _ = measured.patches[0].paint()
    image[y, x] = values
    np.testing.assert_allclose(image, plane(shape), atol=0.05)


def test_source_with_all_pixels_blank_fails_quietly():
    shape = (58, 75)
    data = models.render(TRUTH, shape) + 0.1 * np.random.default_rng(1).normal(size=shape)
    data[10:45, 5:38] = np.nan
    measured = measure_weighted(make_task(START, data, rms=0.1), white_options())
    assert measured.flux[1] == pytest.approx(models.gaussian_flux(TRUTH)[1], rel=0.03)
    assert np.isnan(measured.flux[0]) or measured.n_blank[0] > 0
