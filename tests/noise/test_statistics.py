"""Statistics of noise that is known: white noise seen through a beam, with a white part."""

import numpy as np
import pytest

from helpers.maps import RMS, WHITE_PART, noisy_image
from hyper_py.geometry import FWHM_PER_SIGMA
from hyper_py.noise.statistics import NoiseStatistics
from hyper_py.options import BackgroundOptions, FitOptions, Options
from hyper_py.pipeline.extraction import extract_sources, noise_statistics


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(("fwhm", "step"), [(5.0, 1), (9.0, 2)])
def test_profile_and_spectrum_are_those_of_the_noise(fwhm, step, seed):
    image = noisy_image(fwhm, seed=seed)
    statistics = noise_statistics(extract_sources(image))
    assert isinstance(statistics, NoiseStatistics)
    assert statistics.step == step
    assert not statistics.covariance.assumed
    assert statistics.use == "the fit's whitener"
    # Bartlett: a correlation of N pixels has an error of at most sqrt(2 / N times the sum of its square).
    sigma = fwhm / FWHM_PER_SIGMA
    error = np.sqrt(2.0 * 2.0 * np.pi * sigma**2 / image.data.size)
    radius, values, beam = statistics.profile
    # Means of step x step pixels are seen through a wider beam, and have less white noise.
    wider = sigma**2 + (step**2 - 1) / 12.0
    share, white = (1 - WHITE_PART) * sigma**2 / wider, WHITE_PART / step**2
    assert values[0] == pytest.approx(RMS**2 * (share + white), rel=4 * error)
    near = (radius > 0.0) & (radius < 4.0 * fwhm)
    expected = share * np.exp(-(radius**2) / (4.0 * wider))
    # A ring of square pixels has no one radius.
    np.testing.assert_allclose(values[near] / RMS**2, expected[near], atol=4 * error + 0.01)
    np.testing.assert_allclose(beam[near], (expected / share)[near], atol=0.01)

    frequency, power, _ = statistics.radial_spectrum
    assert statistics.spectrum.sum() * statistics.frequency_step**2 == pytest.approx(values[0])
    expected = 4.0 * np.pi * wider * share * np.exp(-4.0 * np.pi**2 * wider * frequency**2) + white * step**2
    many = slice(5, None)  # rings of many independent frequencies
    # The level by which the map is divided is that of cells of a hundred beams, good to 7% each.
    assert np.median(power[many] / (RMS**2 * expected[many])) == pytest.approx(1.0, abs=0.15)
    bright = (expected > 0.1 * expected[0]) & (np.arange(len(power)) >= 5)
    np.testing.assert_allclose(power[bright], RMS**2 * expected[bright], rtol=0.4)


def test_white_fits_and_maps_without_fits_have_statistics_too():
    image = noisy_image(5.0, seed=4)
    white = Options(
        fit_options=FitOptions(noise_model="white"), background=BackgroundOptions(method="polynomial")
    )
    fitted = noise_statistics(extract_sources(image, options=white))
    detected = noise_statistics(extract_sources(image, options=Options(detection_only=True)))
    assert "white" in fitted.use
    assert "nothing was fitted" in detected.use
    reference = noise_statistics(extract_sources(image)).covariance
    for statistics in (fitted, detected):
        assert statistics.covariance.variance == pytest.approx(reference.variance, rel=0.05)


def test_a_map_too_small_says_that_its_noise_is_assumed():
    image = noisy_image(5.0, seed=5, shape=(29, 31))
    statistics = noise_statistics(extract_sources(image))
    assert statistics.covariance.assumed
    assert "assumed" in statistics.origin
