"""Random fields: power on the half plane, and what is made of it."""

import numpy as np
import pytest
from scipy import fft

from hyper_py.simulation import fields

COVARIANCE = np.array([[4.0, 1.0], [1.0, 2.5]])


@pytest.mark.parametrize("shape", [(32, 40), (30, 41)])
def test_plane_mean_is_that_of_the_full_plane(shape):
    image = np.random.default_rng(1).normal(size=shape)
    half = np.abs(fft.rfft2(image)) ** 2
    assert fields.plane_mean(half, shape[1]) == pytest.approx((np.abs(fft.fft2(image)) ** 2).mean())


def test_grid_is_larger_than_the_map_and_even():
    ny, nx = fields.grid_shape((101, 64))
    assert ny >= 1.5 * 101
    assert nx >= 1.5 * 64
    assert ny % 2 == nx % 2 == 0


def test_gaussian_transfer_is_the_transform_of_the_gaussian():
    shape = (64, 64)
    y, x = (np.mgrid[:64, :64] + 32) % 64 - 32
    points = np.stack([x, y], axis=-1)
    gaussian = np.exp(-0.5 * np.einsum("...i,ij,...j->...", points, np.linalg.inv(COVARIANCE), points))
    expected = fft.rfft2(gaussian / gaussian.sum()).real
    np.testing.assert_allclose(fields.gaussian_transfer(shape, COVARIANCE), expected, atol=2e-5)  # folding


@pytest.mark.parametrize("white", [0.0, 0.3, 1.0])
def test_noise_has_unit_rms_and_the_white_share_asked_for(white):
    shape = (64, 64)
    power = fields.noise_power(shape, fields.gaussian_transfer(shape, COVARIANCE), white_fraction=white)
    lags = fields.autocovariance(shape, power, 20)
    assert lags[20, 20] == pytest.approx(1.0)
    # Far out in frequency only the white part is left.
    assert power[32, 32] == pytest.approx(white, abs=1e-6)


def test_random_field_has_the_spectrum_asked_for():
    shape, rng = (48, 48), np.random.default_rng(5)
    power = fields.power_law(shape, slope=3.0, outer=24.0, transfer=np.ones((48, 25)))
    measured = np.mean(
        [np.abs(fft.rfft2(fields.random_field(rng, shape, power))) ** 2 / 48**2 for _ in range(400)], axis=0
    )
    inner = slice(1, 20), slice(1, 20)
    assert measured[0, 0] == pytest.approx(0.0, abs=1e-12)
    assert np.median(measured[inner] / power[inner]) == pytest.approx(1.0, abs=0.02)


def test_side_lobes_keep_peak_and_integral_and_reach_their_level():
    shape = (96, 96)
    gaussian = fields.gaussian_transfer(shape, COVARIANCE)
    beam = fft.irfft2(gaussian * fields.side_lobe_transfer(shape, COVARIANCE, 0.1), s=shape)
    plain = fft.irfft2(gaussian, s=shape)
    assert beam.sum() == pytest.approx(plain.sum())
    assert np.abs(beam - plain).max() == pytest.approx(0.1 * plain[0, 0])


def test_lognormal_power_against_drawn_fields():
    shape, rng = (64, 64), np.random.default_rng(2)
    transfer = fields.gaussian_transfer(shape, 9.0 * np.eye(2))
    power = fields.noise_power(shape, transfer, white_fraction=0.0)
    expected = fields.plane_mean(fields.lognormal_power(shape, power, 0.5), shape[1])
    variance = fields.lognormal_variance(0.5)
    drawn = [np.exp(np.sqrt(variance) * fields.random_field(rng, shape, power)) for _ in range(300)]
    relative = [field / np.exp(0.5 * variance) for field in drawn]
    assert np.var(relative) == pytest.approx(0.25, rel=0.1)
    assert expected == pytest.approx(0.25, rel=1e-6)
