"""The measured noise field against simulated fields of known covariance."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from hyper_py.noise.covariance import autocovariance, power_spectrum
from hyper_py.noise.measure import extend_lags, measure_noise, outside_sources, small_scales
from hyper_py.numerics import gaussians
from hyper_py.numerics.tiles import LazyPlane

BEAM = np.eye(2) * (4.0 / 2.3548) ** 2


def correlated_noise(shape, *, seed, width=1.7, white=0.3):
    """Unit-variance noise: beam-smoothed plus a white part, by filtering a larger white field."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=shape), width, mode="wrap")
    smooth *= 2.0 * np.sqrt(np.pi) * width
    return np.sqrt(1 - white) * smooth + np.sqrt(white) * rng.normal(size=shape)


def expected_lag(dy, dx, *, width=1.7, white=0.3):
    return (1 - white) * np.exp(-0.25 * (dy**2 + dx**2) / width**2) + white * ((dy == 0) & (dx == 0))


def measure(data, mask=None):
    mask = np.zeros(data.shape, dtype=bool) if mask is None else mask
    model, level = measure_noise(data, mask, beam_covariance=BEAM, beam_fwhm=4.0)
    return model, level[:, :]


@pytest.mark.parametrize("scale", [1.0, 1e-9])
def test_covariance_of_a_stationary_field(scale):
    found = []
    for seed in range(4):
        data = scale * correlated_noise((220, 210), seed=seed) + 5.0 * scale
        mask = np.random.default_rng(seed).random(data.shape) < 0.2
        data[100:110, 50:70] = np.nan
        model, level = measure(data, mask | ~np.isfinite(data))
        assert not model.assumed
        np.testing.assert_allclose(level[:, :], 1.0, atol=0.25)  # of cells of 100 beams, to 7% each
        found.append(model.lags / scale**2)
    middle = slice(model.reach - 4, model.reach + 5)
    dy, dx = np.mgrid[-4:5, -4:5]
    np.testing.assert_allclose(np.mean(found, axis=0)[middle, middle], expected_lag(dy, dx), atol=0.05)
    np.testing.assert_allclose(model.lags, model.lags[::-1, ::-1], rtol=1e-9, atol=1e-12 * scale**2)


def test_power_of_large_scales_does_not_leak_into_small_ones():
    """A field without small scales, its true spectrum falling by orders, seen around many masked discs."""
    shape, width = (300, 310), 1.5
    ky, kx = 2.0 * np.pi * np.fft.fftfreq(600)[:, None], 2.0 * np.pi * np.fft.rfftfreq(600)
    transfer = np.exp(-0.5 * width**2 * (ky**2 + kx**2)) * 2.0 * np.sqrt(np.pi) * width
    found, leaking = [], []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        data = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(600, 600))) * transfer)[: shape[0], : shape[1]]
        y, x = np.mgrid[: shape[0], : shape[1]]
        for y0, x0 in rng.uniform(0, 300, (80, 2)):
            data[np.hypot(y - y0, x - x0) < 5.0] = np.nan
        model, _ = measure(data)
        found.append(power_spectrum(model.unconditioned.lags))
        leaking.append(power_spectrum(extend_lags(autocovariance(data, max_lag=64), reach=64)))
    k = 2.0 * np.pi * np.fft.fftfreq(found[0].shape[0])
    k = np.hypot(k[:, None], k)
    true = np.exp(-((width * k) ** 2)) * 4.0 * np.pi * width**2
    for low, high in ((0.5, 0.8), (1.0, 1.4), (1.7, 2.0), (2.2, 2.4)):
        ring = (k > low) & (k < high)
        assert np.mean(found, axis=0)[ring].mean() == pytest.approx(true[ring].mean(), rel=0.3)
    errors = [np.std(np.mean(one, axis=0)[ring] - true[ring]) for one in (found, leaking)]  # in the last
    assert errors[0] < true[ring].mean() < 0.2 * errors[1]


def test_covariance_factors_on_any_window():
    model, _ = measure(correlated_noise((150, 160), seed=1, white=0.02))
    y, x = (a.ravel() for a in np.mgrid[:21, :21])
    eigenvalues = np.linalg.eigvalsh(model.matrix(y, x))
    assert eigenvalues[0] > 1e-4 * eigenvalues[-1]
    assert model.reach == 64


def test_masked_sources_leave_no_trace():
    data = correlated_noise((200, 200), seed=3)
    mask = np.zeros(data.shape, dtype=bool)
    for y, x in np.random.default_rng(3).integers(10, 190, size=(25, 2)):
        data[y - 4 : y + 5, x - 4 : x + 5] += 300.0
        mask[y - 4 : y + 5, x - 4 : x + 5] = True
    model, _ = measure(data, mask)
    assert model.variance == pytest.approx(1.0, abs=0.15)


def test_level_follows_noise_that_varies():
    ny, nx = 400, 410
    truth = np.where(np.arange(nx) < 240, 1.0, 3.0)
    data = correlated_noise((ny, nx), seed=4) * truth
    model, level = measure(data)
    assert level.shape == (ny, nx)
    ratio = np.median(level[:, 300:]) / np.median(level[:, :110])
    assert ratio == pytest.approx(3.0, rel=0.07)
    assert np.median(level) == pytest.approx(1.0, abs=0.1)  # the median
    # Of the residual divided by the level: its variance times the level squared is that of the map.
    left = model.variance * np.median(level[:, :110]) ** 2
    assert left == pytest.approx(1.0, rel=0.12)


def test_level_follows_structure_of_the_size_of_sources_only():
    data = correlated_noise((400, 400), seed=5)
    wide = 20.0 * np.sin(np.arange(400) / 60.0)
    _, plain = measure(data)
    _, waved = measure(data + wide)
    np.testing.assert_allclose(waved, plain, rtol=0.07)  # as well as a cell is known


@pytest.mark.parametrize("shape", [(20, 20), (1, 60), (11, 200), (25, 28)])
def test_maps_too_small_assume_the_beam(shape):
    data = 2.0 * np.random.default_rng(1).normal(size=shape)
    model, level = measure(data)
    assert model.assumed
    assert model.variance == pytest.approx(data.var(), rel=0.2)
    assert model.reach == 64
    np.testing.assert_array_equal(level, 1.0)
    # White noise seen through the beam: correlated as a Gaussian of twice its covariance.
    sigma = 4.0 / 2.3548
    ratio = model.lags[model.reach, model.reach + 3] / model.lags[model.reach, model.reach + 1]
    assert ratio == pytest.approx(np.exp(-0.25 * (9 - 1) / sigma**2), rel=1e-3)


@pytest.mark.parametrize("masked", [False, True])
def test_nothing_to_measure_still_gives_a_covariance(masked):
    data = np.zeros((60, 60))
    model, level = measure(data, np.full(data.shape, masked))
    assert model.assumed
    assert model.variance > 0
    assert np.isfinite(level).all()


@pytest.mark.parametrize("shape", [(300, 300), (60, 60)])
def test_a_map_nearly_all_masked(shape):
    data = correlated_noise(shape, seed=6)
    mask = np.ones(shape, dtype=bool)
    mask[:6, :6] = False
    model, level = measure(data, mask)
    assert model.variance > 0
    assert (np.isfinite(level) & (level > 0)).all()


def test_one_quadrant_blank():
    data = correlated_noise((320, 320), seed=7)
    data[:160, :160] = np.nan
    model, level = measure(data, ~np.isfinite(data))
    assert model.variance == pytest.approx(1.0, abs=0.15)
    np.testing.assert_allclose(level, 1.0, rtol=0.2)


# ---- parts


@given(st.floats(-5, 5), st.floats(0.8, 4))
def test_small_scales_of_a_constant_are_zero_and_noise_keeps_its_power(level, width):
    data = np.full((40, 41), level)
    data[5:9, 30:] = np.nan
    small = small_scales(data, width=width)
    np.testing.assert_array_equal(np.isnan(small), np.isnan(data))
    np.testing.assert_allclose(small[np.isfinite(data)], 0.0, atol=1e-9)


def test_small_scales_lose_the_local_mean_as_a_dense_sum_says():
    data = np.random.default_rng(2).normal(size=(25, 24))
    data[3:6, 8] = np.nan
    small = small_scales(data, width=1.5)
    y, x = np.mgrid[:25, :24]
    for py, px in ((0, 0), (12, 13), (4, 9), (24, 20)):
        reach = int(3.0 * 1.5 + 0.5)
        weight = np.exp(-0.5 * ((y - py) ** 2 + (x - px) ** 2) / 1.5**2)
        weight[(abs(y - py) > reach) | (abs(x - px) > reach) | np.isnan(data)] = 0.0
        mean = np.nansum(weight * data) / weight.sum()
        assert small[py, px] == pytest.approx(data[py, px] - mean, abs=1e-9)


@given(st.integers(2, 9), st.integers(9, 14))
def test_extended_lags_are_tapered_to_zero(measured, reach):
    lags = 1.0 + np.random.default_rng(1).random((2 * measured + 1, 2 * measured + 1))
    full = extend_lags(lags, reach=reach)
    assert full.shape == (2 * reach + 1, 2 * reach + 1)
    assert full[reach, reach] == lags[measured, measured]
    quarter = measured // 2
    inner = slice(reach - quarter, reach + quarter + 1)
    kept = slice(measured - quarter, measured + quarter + 1)
    np.testing.assert_array_equal(full[inner, inner], lags[kept, kept])
    np.testing.assert_allclose(full[reach - measured], 0.0, atol=1e-12)
    np.testing.assert_allclose(full[:, reach + measured :], 0.0, atol=1e-12)
    # Half way through the outer half the raised cosine is one half.
    if measured % 4 == 0:
        at = 3 * measured // 4
        assert full[reach, reach + at] == pytest.approx(0.5 * lags[measured, measured + at])


def test_lags_that_were_not_measured_stay_unknown():
    lags = autocovariance(np.random.default_rng(1).normal(size=(9, 9)), max_lag=8)
    assert np.isnan(extend_lags(lags, reach=10)).any()


def test_what_is_known_of_the_level_comes_back():
    rise = np.broadcast_to(np.geomspace(1.0, 20.0, 260), (250, 260))
    data, mask = correlated_noise(rise.shape, seed=5) * rise, np.zeros(rise.shape, dtype=bool)
    model, level = measure_noise(data, mask, beam_covariance=BEAM, beam_fwhm=4.0, relative=rise)
    level = level[:, :]
    assert model.lags[model.reach, model.reach] == pytest.approx(1.0, rel=0.15)
    np.testing.assert_allclose(level / rise, np.ones(rise.shape), rtol=0.3)


def test_an_offset_of_the_map_is_no_noise(rng):
    """Over a level that varies, a constant looked like structure: errors were seven times too large."""
    rise = np.linspace(1.0, 3.0, 200) * np.ones((180, 1))
    field = ndimage.gaussian_filter(rng.standard_normal((180, 200)), 1.7) * rise
    tilt = 0.3 * np.arange(180)[:, None]
    plain, level = measure_noise(field, beam_covariance=BEAM, beam_fwhm=4.0)
    lifted, same = measure_noise(field + 1000.0 + tilt, beam_covariance=BEAM, beam_fwhm=4.0)
    np.testing.assert_allclose(lifted.lags, plain.lags, atol=1e-6 * plain.variance)
    np.testing.assert_allclose(same[:, :], level[:, :], rtol=1e-6)


@pytest.mark.parametrize("subtract", [False, True])
def test_a_part_of_a_map_without_its_sources_has_the_bytes_of_the_whole(subtract):
    rng = np.random.default_rng(8)
    data, (x, y) = rng.normal(size=(60, 80)), rng.uniform(-2.0, 82.0, (2, 40))
    sources = np.column_stack([np.ones(40), x, y, *rng.uniform(1.0, 3.0, (2, 40)), x])
    expected = data - gaussians.render(sources, data.shape) if subtract else data.copy()
    expected[gaussians.footprints(sources, data.shape, n_sigma=2.5)] = np.nan
    options = {"subtract": subtract, "n_sigma": 2.5}
    np.testing.assert_array_equal(outside_sources(data, sources, **options), expected)
    pieces = outside_sources(LazyPlane(data.shape, lambda *where: data[where]), sources, **options)
    for where in ((slice(0, 17), slice(20, 80)), (slice(31, 60), slice(5, 40))):
        np.testing.assert_array_equal(pieces[where], expected[where])
