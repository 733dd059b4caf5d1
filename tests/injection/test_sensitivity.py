"""The noise of the optimal filter: closed forms for white noise, and the true spectrum for others."""

import math

import numpy as np
import pytest
from scipy import fft

from helpers.injections import noise_sky
from hyper_py.injection.sensitivity import (
    centred_gaussian,
    filled,
    full_mean,
    local_rms,
    measure_sensitivity,
    periodic_part,
)
from hyper_py.numerics import gaussians
from hyper_py.simulation import fields


def beam_parameters(image):
    return np.concatenate([[1.0, 0.0, 0.0], gaussians.shape_parameters(image.beam_covariance(60.0, 60.0))])[
        None
    ]


def measured(sky, data=None):
    image = sky.image
    return measure_sensitivity(
        image.data if data is None else data, beam_covariance=image.beam_covariance(60.0, 60.0)
    )


def test_white_noise_over_the_root_of_the_templates_square_sum(random_seed):
    sky = noise_sky(random_seed, shape=(200, 200))
    template = centred_gaussian(beam_parameters(sky.image), (200, 200))
    expected = sky.noise_rms[0, 0] / math.sqrt(np.sum(template**2))
    sigma = measured(sky).sigma
    assert np.median(sigma) == pytest.approx(expected, rel=0.05)
    assert np.std(sigma) < 0.1 * expected


def test_correlated_noise_has_the_noise_of_its_true_spectrum(random_seed):
    sky = noise_sky(random_seed, shape=(200, 200), noise_white_fraction=0.3)
    beam = sky.image.beam_covariance(100.0, 100.0)
    scale = 2.0 * math.pi * math.sqrt(np.linalg.det(beam))
    template = scale * fields.gaussian_transfer(sky.grid, beam)
    # Noise of the optimal filter: 1 / sum over the plane of |template|^2 / (pixels x power).
    expected = full_mean(template**2 / sky.noise_power, sky.grid[1]) ** -0.5
    assert np.median(measured(sky).sigma) == pytest.approx(expected, rel=0.07)


def test_noise_follows_a_level_that_varies_and_is_nan_where_blank(random_seed):
    sky = noise_sky(random_seed, shape=(200, 200), noise_variation=4.0, blank_border=20)
    sensitivity = measured(sky)
    np.testing.assert_array_equal(np.isnan(sensitivity.sigma), np.isnan(sky.image.data))
    ratio = (sensitivity.sigma / sky.noise_rms)[20:-20, 20:-20]
    assert np.percentile(ratio, 95) < 1.35 * np.percentile(ratio, 5)  # the noise itself: a factor 4


def test_response_is_one_for_the_beam_and_less_for_narrower_sources(random_seed):
    sky = noise_sky(random_seed)
    beam = beam_parameters(sky.image)
    narrow, wide = beam.copy(), beam.copy()
    narrow[:, gaussians.SIGMA_1 : gaussians.THETA] *= 0.7
    wide[:, gaussians.SIGMA_1 : gaussians.THETA] *= 1.3
    answers = measured(sky).response(np.concatenate([narrow, beam, wide]))
    assert answers[1] == pytest.approx(1.0, abs=0.01)
    assert answers[0] < 0.8
    assert answers[2] > 1.15


def test_a_source_on_the_filtered_map_has_its_amplitude(random_seed):
    sky = noise_sky(random_seed)
    sensitivity = measured(sky)
    source = beam_parameters(sky.image)
    source[0, :3] = 50.0, 60.0, 57.0
    radius = sensitivity.kernel.shape[0] // 2
    stamp = gaussians.render(source, (120, 120))[57 - radius : 58 + radius, 60 - radius : 61 + radius]
    assert np.sum(sensitivity.kernel * stamp) == pytest.approx(50.0, rel=0.01)


def test_scaling_the_map_scales_the_noise(random_seed):
    sky = noise_sky(random_seed)
    small, large = measured(sky), measured(sky, 1e3 * sky.image.data)
    np.testing.assert_allclose(large.sigma, 1e3 * small.sigma, rtol=1e-9)


def test_local_rms_is_the_rms_in_each_half(rng):
    data = rng.standard_normal((80, 120))
    data[:, 60:] *= 5.0
    rms = local_rms(data, cell=20)
    assert np.median(rms[:, :30]) == pytest.approx(1.0, rel=0.1)
    assert np.median(rms[:, 90:]) == pytest.approx(5.0, rel=0.1)


def test_periodic_part_of_a_ramp_has_no_jump_and_of_a_periodic_image_is_itself(rng):
    y, x = np.mgrid[:40, :50]
    ramp = periodic_part(0.3 * x + 0.1 * y + 0.0)
    assert np.abs(ramp[:, 0] - ramp[:, -1]).max() < 1.0  # 14.7 before
    wave = np.cos(2.0 * np.pi * x / 50.0) * np.cos(2.0 * np.pi * y / 40.0)
    np.testing.assert_allclose(periodic_part(wave), wave, atol=0.05)
    noise = rng.standard_normal((40, 50))
    power = np.abs(fft.rfft2(periodic_part(noise + 0.3 * x))) ** 2
    assert np.median(power[10:30, 0]) < 5.0 * np.median(power[10:30, 5:])


def test_filled_pixels_continue_their_neighbours():
    image = np.ones((30, 30))
    image[10:20, 10:20] = np.nan
    np.testing.assert_allclose(filled(image), 1.0)
