import numpy as np
import pytest
from scipy import ndimage

from hyper_py.evidence.simulate import simulate_image
from hyper_py.steps.local_noise import NoiseMesh
from hyper_py.steps.matched import detect_matched
from hyper_py.steps.matched_filter import disc_mask, measure_filter
from hyper_py.steps.spectrum import correlated_area, flattened
from matched_maps import BEAM, FWHM, field, gaussian, noise_field


class TestFilter:
    def test_gives_the_amplitude_of_a_source(self):
        data, _, _ = field(1, number=0)
        optimal = measure_filter(data, beam_covariance=BEAM)
        source = gaussian(data.shape, 120, 100, 7.0, 1.1**2 * BEAM)
        assert (optimal.apply(data + source) - optimal.apply(data))[100, 120] == pytest.approx(7.0, rel=0.02)

    def test_noise_is_that_of_the_output(self):
        data, _, _ = field(2, number=0)
        optimal = measure_filter(data, beam_covariance=BEAM)
        assert optimal.significance(data)[20:-20, 20:-20].std() == pytest.approx(1.0, abs=0.06)
        # A stationary map has a level without structure.
        assert optimal.noise.levels.std() < 0.06 * optimal.noise.levels.mean()
        assert not optimal.assumed

    def test_is_better_than_any_smoothing(self):
        """Lowest noise for a given response: against difference-of-Gaussian filters of many sizes."""
        data, _, _ = field(3, shape=(300, 300), number=0)
        source = gaussian(data.shape, 150, 150, 1.0, 1.1**2 * BEAM)
        best = np.inf
        for small in (0.1, 0.3, 0.6, 1.0):
            for large in (1.5, 2.0, 3.0, 5.0):

                def apply(image, sizes=(small, large)):
                    a, b = (ndimage.gaussian_filter(image, size * FWHM / 2.3548) for size in sizes)
                    return a - b

                best = min(best, apply(data)[30:-30, 30:-30].std() / apply(source)[150, 150])
        optimal = measure_filter(data, beam_covariance=BEAM)
        assert optimal.apply(data)[30:-30, 30:-30].std() < best

    def test_small_map_has_an_assumed_spectrum(self):
        optimal = measure_filter(field(4, shape=(40, 40), number=0)[0][:16, :16], beam_covariance=BEAM)
        assert optimal.assumed
        assert np.isfinite(optimal.parts.kernels).all()

    def test_level_follows_the_noise(self):
        rng = np.random.default_rng(5)
        true = np.exp(np.log(3.0) * np.arange(400) / 400) * np.ones((300, 1))
        data = noise_field(rng, (300, 400)) * true
        ratio = measure_filter(data, beam_covariance=BEAM).noise[:, :] / true
        assert np.abs(ratio / np.median(ratio) - 1).max() < 0.35
        assert ratio[30:-30, 30:-30].std() / ratio.mean() < 0.1


class TestSteps:
    def test_flatten_takes_no_notice_of_blanks(self):
        data = 1e6 + np.random.default_rng(0).normal(size=(50, 60))
        data[10:20, 10:30] = np.nan
        flat = flattened(data, sigma=4.0)
        np.testing.assert_array_equal(np.isnan(flat), np.isnan(data))
        assert np.nanmax(np.abs(flat)) < 6
        assert np.abs(flat[:, :10].mean()) < 0.3
        np.testing.assert_allclose(flattened(np.full((9, 9), 5.0), sigma=2.0), 0.0, atol=1e-12)

    def test_disc_mask(self):
        mask = disc_mask((21, 21), x=np.array([10]), y=np.array([8]), radius=3.0)
        rows, columns = np.mgrid[:21, :21]
        np.testing.assert_array_equal(mask, np.hypot(rows - 8, columns - 10) <= 3.0)
        assert not disc_mask((5, 5), x=np.empty(0, int), y=np.empty(0, int), radius=3.0).any()

    def test_correlated_area(self):
        """Of a smoothed field, by the scatter of its mean square over realisations."""
        rng, sigma, side = np.random.default_rng(6), 1.5, 64
        k = 2 * np.pi * np.fft.fftfreq(side)
        power = np.exp(-(sigma**2) * (k[:, None] ** 2 + k**2))
        squares = [
            np.mean(ndimage.gaussian_filter(rng.normal(size=(side, side)), sigma, mode="wrap") ** 2)
            for _ in range(400)
        ]
        relative = np.var(squares) / np.mean(squares) ** 2
        assert 2 * correlated_area(power) / side**2 == pytest.approx(relative, rel=0.25)

    def test_local_noise_of_nothing(self):
        mesh, where, ones = NoiseMesh((9, 9), cell=4), (slice(0, 9), slice(0, 9)), np.ones((9, 9))
        mesh.add(where, 0.0 * ones, usable=ones > 0, expected=ones)
        assert (mesh.level(correlated_area=1.0, otherwise=2.0)[:, :] == 2.0).all()


@pytest.mark.parametrize(("shape", "n_sources"), [((60, 60), 2), ((150, 150), 25)])
def test_few_beams_and_bright_sources(shape, n_sources):
    """Sources that are most of a small map's spectrum were taken for its noise."""
    for seed in (4, 5):
        simulation = simulate_image("alma", seed=seed, shape=shape, n_sources=n_sources)
        image = simulation.image
        covariance = image.beam_covariance(0.5 * shape[1], 0.5 * shape[0])
        peaks = detect_matched(image.data, beam_covariance=covariance, sigma_threshold=4.5)
        x, y = simulation.truth["X"].value, simulation.truth["Y"].value
        gaps = np.hypot(np.subtract.outer(peaks.x, x), np.subtract.outer(peaks.y, y))
        assert (gaps.min(axis=0) < 0.5 * image.beam_fwhm_pix).all()
        assert len(peaks) <= n_sources + 1
