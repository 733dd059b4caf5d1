import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.ndimage import distance_transform_edt

from helpers.matched_maps import BEAM, FWHM, field, gaussian, noise_field
from hyper_py.detection.matched import detect_matched
from hyper_py.detection.matched_filter import disc_mask, measure_filter
from hyper_py.noise.local_rms import NoiseMesh
from hyper_py.simulation.simulate import simulate_image


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
    def test_disc_mask(self):
        mask = disc_mask((21, 21), x=np.array([10]), y=np.array([8]), radius=3.0)
        rows, columns = np.mgrid[:21, :21]
        np.testing.assert_array_equal(mask, np.hypot(rows - 8, columns - 10) <= 3.0)
        assert not disc_mask((5, 5), x=np.empty(0, int), y=np.empty(0, int), radius=3.0).any()

    def test_local_noise_of_nothing(self):
        mesh, where, ones = NoiseMesh((9, 9), cell=4), (slice(0, 9), slice(0, 9)), np.ones((9, 9))
        mesh.add(where, 0.0 * ones, usable=ones > 0, expected=ones)
        assert (mesh.level(correlated_area=1.0, otherwise=2.0)[:, :] == 2.0).all()


def found_and_true(image, truth, **options):
    """Return which true sources have a peak, and how many peaks have no source."""
    ny, nx = image.shape
    peaks = detect_matched(image.data, beam_covariance=image.beam_covariance(0.5 * nx, 0.5 * ny), **options)
    x, y = truth["X"].value, truth["Y"].value
    near = np.hypot(np.subtract.outer(peaks.x, x), np.subtract.outer(peaks.y, y)) < 0.5 * image.beam_fwhm_pix
    return near.any(axis=0), int(np.count_nonzero(~near.any(axis=1)))


@pytest.mark.parametrize(("shape", "n_sources"), [((60, 60), 2), ((150, 150), 25)])
def test_few_beams_and_bright_sources(shape, n_sources):
    """Sources that are most of a small map's spectrum were taken for its noise."""
    for seed in (4, 5):
        simulation = simulate_image("alma", seed=seed, shape=shape, n_sources=n_sources)
        found, extra = found_and_true(simulation.image, simulation.truth, sigma_threshold=4.5)
        assert found.all()
        assert extra <= 1


BLANKS = {
    "none": lambda y, x: np.zeros(y.shape, dtype=bool),
    "a side": lambda y, x: x < 16,
    "a hole": lambda y, x: (np.abs(y - 27) < 6) & (np.abs(x - 39) < 7),
    "corners": lambda y, x: np.hypot(y - 32, x - 32) > 31,
}


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**31), blank=st.sampled_from(sorted(BLANKS)), peaks=st.sampled_from([8.0, 20.0]))
def test_a_map_full_of_bright_sources_keeps_them(seed, blank, peaks):
    """The noise of a spectrum of few modes made rings as high as sources, and nothing stood out of these."""
    simulation = simulate_image(
        "alma", seed=seed, shape=(64, 64), n_sources=8, peak_range=(peaks, 3 * peaks), crowded_fraction=0.0,
        margin=2.5,
    )  # fmt: skip
    mask = BLANKS[blank](*np.mgrid[:64, :64])
    image = simulation.image.with_data(np.where(mask, np.nan, simulation.image.data))
    found, extra = found_and_true(image, simulation.truth, sigma_threshold=4.5)
    apart = distance_transform_edt(~mask) if mask.any() else np.full(mask.shape, 64.0)
    x, y = (np.rint(simulation.truth[name].value).astype(int) for name in ("X", "Y"))
    assert found[apart[y, x] > 2 * image.beam_fwhm_pix].all()
    assert extra <= 1


@pytest.mark.parametrize("pixels", [3.5, 7.0])
def test_the_edge_of_blanks_is_no_source(pixels, random_seed):
    """Noise without small scales: to its filter a step down to zero is a row of sources."""
    rows, columns = np.mgrid[:128, :128]
    blank, extra = np.hypot(rows - 64, columns - 64) > 57, 0
    for seed in np.random.SeedSequence(random_seed).generate_state(4):
        simulation = simulate_image(
            "deep", seed=int(seed), shape=(128, 128), n_sources=0, noise_white_fraction=0.01,
            beam=(0.013 * pixels, 0.013 * pixels, 0.0),
        )  # fmt: skip
        image = simulation.image.with_data(np.where(blank, np.nan, simulation.image.data))
        extra += found_and_true(image, simulation.truth, sigma_threshold=4.5)[1]
    assert extra <= 1
