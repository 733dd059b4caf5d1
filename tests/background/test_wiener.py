import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import fft

from hyper_py.background.wiener import fill_smoothly, smooth_background, split_spectrum
from hyper_py.noise.covariance import autocovariance
from hyper_py.noise.measure import extend_lags
from hyper_py.numerics import gaussians
from hyper_py.simulation.simulate import simulate_image

SMALL = {"shape": (160, 180), "n_sources": 12, "margin": 3.0}


def simulated(seed, **overrides):
    simulation = simulate_image("cube", seed=seed, **{**SMALL, **overrides})
    beam = {
        "beam_covariance": simulation.image.central_beam_covariance,
        "beam_fwhm": simulation.image.beam_fwhm_pix,
    }
    return simulation, beam


def true_sources(simulation):
    truth = simulation.truth
    major, minor, theta = simulation.pixel_ellipses
    columns = [truth[name].value for name in ("AMPLITUDE", "X", "Y")]
    return np.column_stack([*columns, major / 2.3548, minor / 2.3548, theta])


@pytest.mark.parametrize("seed", [3, 4])
def test_comes_near_the_wiener_filter_that_knows_the_truth(seed):
    simulation, beam = simulated(seed)
    sky = simulation.noise + simulation.background
    mask = gaussians.footprints(true_sources(simulation), sky.shape)
    found = smooth_background(sky, mask, **beam)
    # The referee knows both spectra and sees the map under the sources as well.
    share = simulation.background_power / (simulation.background_power + simulation.noise_power)
    grid = simulation.grid
    mean = sky.mean()
    padded = np.pad(sky - mean, [(0, g - n) for g, n in zip(grid, sky.shape, strict=True)], mode="symmetric")
    best = mean + fft.irfft2(fft.rfft2(padded) * share, grid)[: sky.shape[0], : sky.shape[1]]

    def error(estimate, where):
        return np.sqrt(np.mean((estimate - simulation.background)[where] ** 2))

    rms = simulation.noise_rms.flat[0]
    assert error(found, ~mask) < 1.1 * error(best, ~mask)
    assert error(found, mask) < 0.9 * rms
    assert abs(np.mean((found - simulation.background)[~mask])) < 0.05 * rms


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_noise_alone_has_no_background(seed):
    simulation, beam = simulated(seed, background="none", n_sources=0)
    found = smooth_background(simulation.noise, np.zeros(simulation.noise.shape, dtype=bool), **beam)
    assert np.std(found) < 0.3 * simulation.noise_rms.flat[0]


def test_split_recovers_the_level_of_the_noise():
    simulation, beam = simulated(5, shape=(240, 240))
    sky = simulation.noise + simulation.background
    reach = 50
    lags = extend_lags(autocovariance(sky, max_lag=reach), reach=reach)
    split = split_spectrum(lags, (320, 320), **beam)
    full = np.concatenate([split.noise, split.noise[:, 1:-1]], axis=1)
    assert np.sqrt(full.mean()) == pytest.approx(simulation.noise_rms.flat[0], rel=0.07)
    assert split.share[0, 0] == 1.0
    assert split.share.min() >= 0.0
    assert split.share.max() <= 1.0
    # Along one axis it never rises again.
    assert (np.diff(split.share[0, 1:]) <= 1e-12).all()


def test_noise_that_is_not_the_beams_is_no_background():
    """Noise narrower in Fourier space than the beam's has an excess at middle waves: it is no background."""
    simulation, beam = simulated(6, background="none", n_sources=0, noise_kernel=0.7)
    rough = simulation.noise - fft.irfft2(
        fft.rfft2(simulation.noise) * (np.hypot(*np.meshgrid(fft.rfftfreq(180), fft.fftfreq(160))) < 0.03),
        simulation.noise.shape,
    )
    found = smooth_background(rough, np.zeros(rough.shape, dtype=bool), **beam)
    assert np.std(found) < 0.3 * np.std(rough)


def test_sources_that_were_not_found_do_not_become_background():
    simulation, beam = simulated(7, n_sources=0)
    rms = simulation.noise_rms.flat[0]
    sky = simulation.noise + simulation.background
    nothing = np.zeros(sky.shape, dtype=bool)
    sigma = beam["beam_fwhm"] / 2.3548
    source = gaussians.render(np.array([[12.0 * rms, 80.0, 70.0, sigma, sigma, 0.0]]), sky.shape)
    change = smooth_background(sky + source, nothing, **beam) - smooth_background(sky, nothing, **beam)
    assert np.abs(change).max() < 0.1 * 12.0 * rms


@settings(max_examples=10, deadline=None)
@given(scale=st.floats(1e-6, 1e6), level=st.floats(-10.0, 10.0), seed=st.integers(0, 99))
def test_units_and_pedestals_change_nothing(scale, level, seed):
    rng = np.random.default_rng(seed)
    sky = rng.normal(size=(60, 64))
    mask = rng.random(sky.shape) < 0.05
    beam = {"beam_covariance": 2.0 * np.eye(2), "beam_fwhm": 3.33}
    plain = smooth_background(sky, mask, **beam)
    moved = smooth_background(scale * (sky + level), mask, **beam)
    np.testing.assert_allclose(moved / scale - level, plain, atol=1e-6)


def test_blank_pixels_stay_blank_and_say_nothing():
    simulation, beam = simulated(8, n_sources=0)
    sky = simulation.noise + simulation.background
    y, x = np.mgrid[: sky.shape[0], : sky.shape[1]]
    blank = np.hypot(y - 80, x - 90) > 70
    nothing = np.zeros(sky.shape, dtype=bool)
    found = smooth_background(np.where(blank, np.nan, sky), nothing, **beam)
    assert (np.isnan(found) == blank).all()
    inner = np.hypot(y - 80, x - 90) < 55
    change = found - smooth_background(sky, nothing, **beam)
    assert np.sqrt(np.mean(change[inner] ** 2)) < 0.3 * simulation.noise_rms.flat[0]
    assert np.isnan(smooth_background(np.full((20, 20), np.nan), np.zeros((20, 20), bool), **beam)).all()


@pytest.mark.parametrize("shape", [(9, 9), (3, 40), (40, 3), (1, 1)])
def test_maps_too_small_for_a_spectrum_are_smoothed(shape):
    sky = np.full(shape, 5.0) + np.random.default_rng(0).normal(size=shape)
    found = smooth_background(
        sky, np.zeros(shape, dtype=bool), beam_covariance=2.0 * np.eye(2), beam_fwhm=3.33
    )
    assert found.shape == shape
    assert np.isfinite(found).all()
    assert abs(found.mean() - sky.mean()) < 1.0


@given(seed=st.integers(0, 1000), ny=st.integers(1, 20), nx=st.integers(1, 20))
@settings(max_examples=30, deadline=None)
def test_filling_keeps_what_is_known_and_stays_inside_it(seed, ny, nx):
    rng = np.random.default_rng(seed)
    data, known = rng.normal(size=(ny, nx)), rng.random((ny, nx)) < 0.3
    known[rng.integers(ny), rng.integers(nx)] = True
    filled = fill_smoothly(data, known)
    np.testing.assert_array_equal(filled[known], data[known])
    assert filled.min() >= data[known].min() - 1e-12
    assert filled.max() <= data[known].max() + 1e-12
