import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from hyper_py.geometry import covariance_from_ellipse
from hyper_py.matched import (
    _correlated_area,
    beam_fwhm,
    detect_in_residual,
    detect_matched,
    disc_mask,
    flatten,
    local_noise,
    measure_filter,
    threshold_for_false_rate,
)

BEAM = covariance_from_ellipse(4.5, 3.4, 0.6)
FWHM = beam_fwhm(BEAM)


def gaussian(shape, x, y, peak, covariance):
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    dx, dy = columns - x, rows - y
    c = np.linalg.inv(covariance)
    return peak * np.exp(-0.5 * (c[0, 0] * dx * dx + 2 * c[0, 1] * dx * dy + c[1, 1] * dy * dy))


def noise_field(rng, shape, background=2.0, white=0.3):
    """Noise of variance 1, of which a part is white and the rest has beam size, and a smooth background."""
    fields = []
    for size in (0.9 * FWHM, 3.5 * FWHM):
        field = ndimage.gaussian_filter(rng.normal(size=shape), size / 2.3548, mode="wrap")
        fields.append(field / field.std())
    return np.sqrt(1 - white**2) * fields[0] + white * rng.normal(size=shape) + background * fields[1]


def field(seed=0, shape=(200, 240), number=30, peak=(8.0, 30.0), **options):
    """A map with sources of 0.9 to 1.3 beams, at least three beams apart."""
    rng = np.random.default_rng(seed)
    data = noise_field(rng, shape, **options)
    points = []
    while len(points) < number:
        point = rng.uniform((12, 12), (shape[1] - 13, shape[0] - 13))
        if all(np.hypot(*(point - p)) > 3 * FWHM for p in points):
            points.append(point)
    x, y = np.array(points).T if points else np.empty((2, 0))
    for xi, yi in zip(x, y, strict=True):
        data += gaussian(shape, xi, yi, rng.uniform(*peak), BEAM * rng.uniform(0.9, 1.3) ** 2)
    return data, x, y


def detect(data, **options):
    return detect_matched(data, **{"beam_covariance": BEAM, "sigma_threshold": 5.0, "margin": 4.0} | options)


def count_matched(peaks, x, y, tolerance=0.5 * FWHM):
    distance = np.hypot(peaks.x[:, None] - x, peaks.y[:, None] - y)
    return int((distance.min(axis=0) <= tolerance).sum())


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
        assert optimal.noise.std() < 0.06 * optimal.noise.mean()
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
        assert np.isfinite(optimal.kernel).all()

    def test_level_follows_the_noise(self):
        rng = np.random.default_rng(5)
        true = np.exp(np.log(3.0) * np.arange(400) / 400) * np.ones((300, 1))
        data = noise_field(rng, (300, 400)) * true
        ratio = measure_filter(data, beam_covariance=BEAM).noise / true
        assert np.abs(ratio / np.median(ratio) - 1).max() < 0.35
        assert ratio[30:-30, 30:-30].std() / ratio.mean() < 0.1


class TestSteps:
    def test_flatten_takes_no_notice_of_blanks(self):
        data = 1e6 + np.random.default_rng(0).normal(size=(50, 60))
        data[10:20, 10:30] = np.nan
        flat = flatten(data, sigma=4.0)
        assert (flat[np.isnan(data)] == 0).all()
        assert np.abs(flat).max() < 6
        assert np.abs(flat[:, :10].mean()) < 0.3
        np.testing.assert_allclose(flatten(np.full((9, 9), 5.0), sigma=2.0), 0.0)

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
        assert 2 * _correlated_area(power) / side**2 == pytest.approx(relative, rel=0.25)

    def test_local_noise_of_nothing(self):
        assert (
            local_noise(np.zeros((9, 9)), mask=np.zeros((9, 9), bool), window=3, correlated_area=1) == 1
        ).all()


class TestDetectMatched:
    @pytest.mark.parametrize("seed", range(4))
    def test_finds_sources_and_nothing_else(self, seed):
        data, x, y = field(seed)
        peaks = detect(data)
        assert count_matched(peaks, x, y) == len(x) == len(peaks)
        assert (np.diff(peaks.snr) <= 0).all()
        assert peaks.snr.min() >= 5.0

    def test_rings_of_bright_sources_are_not_sources(self):
        data, x, y = field(7, number=20, peak=(100.0, 300.0))
        assert len(detect(data)) == count_matched(detect(data), x, y) == len(x)

    @pytest.mark.parametrize("seed", range(3))
    def test_noise_alone(self, seed):
        assert len(detect(field(seed, number=0)[0])) == 0

    def test_false_rate(self):
        """Peaks found in pure noise are as many as allowed, over seeds."""
        counts = [len(detect(field(50 + i, number=0)[0], max_false_rate=5.0)) for i in range(8)]
        assert 2.0 < np.mean(counts) < 10.0
        data, x, y = field(9)
        peaks = detect(data, max_false_rate=0.1)
        assert len(peaks) - count_matched(peaks, x, y) <= 1
        assert count_matched(peaks, x, y) == len(x)

    def test_false_rate_without_any_noise(self):
        significance = np.zeros((40, 40))
        assert threshold_for_false_rate(significance, mask=significance > 1, fwhm=3.0, number=1.0) == 2.5
        assert threshold_for_false_rate(significance, mask=significance < 1, fwhm=3.0, number=1.0) == 2.5

    def test_blank_pixels_spread_nothing(self):
        data, x, y = field(10)
        data[60:120, 80:150] = np.nan
        peaks = detect(data)
        clear = (x < 76) | (x > 154) | (y < 56) | (y > 124)
        distance = np.hypot(peaks.x[:, None] - x[clear], peaks.y[:, None] - y[clear])
        assert distance.min(axis=0).max() < 0.5 * FWHM
        inside = np.hypot(peaks.x[:, None] - x, peaks.y[:, None] - y).min(axis=1) < 0.6 * FWHM
        assert inside.all()
        for name in peaks.__dataclass_fields__:
            assert np.isfinite(getattr(peaks, name)).all() or name == "shoulder_score"

    def test_nothing_to_find(self):
        assert len(detect(np.full((40, 40), np.nan))) == 0
        assert len(detect(np.full((60, 60), 3.0))) == 0

    def test_residual(self):
        data, x, y = field(11, number=10, peak=(30.0, 40.0))
        optimal = measure_filter(data, beam_covariance=BEAM)
        x_near, y_near = x[0] + 1.2 * FWHM, y[0]
        rest = field(11, number=0)[0] + gaussian(data.shape, x_near, y_near, 15.0, BEAM)
        options = {"matched_filter": optimal, "sigma_threshold": 5.0}
        xr, yr, snr = detect_in_residual(rest, x=x, y=y, max_distance=1.6 * FWHM, **options)
        assert (xr.size, snr.size) == (1, 1)
        assert np.hypot(xr[0] - x_near, yr[0] - y_near) < 1
        assert detect_in_residual(rest, x=x[1:], y=y[1:], max_distance=1.0, **options)[0].size == 0
        assert detect_in_residual(rest, x=x[:0], y=y[:0], max_distance=9.0, **options)[0].size == 0

    @settings(max_examples=8, deadline=None)
    @given(st.integers(0, 10**6), st.floats(1e-9, 1e9), st.floats(-100, 100))
    def test_flux_scale_and_offset(self, seed, scale, offset):
        data, _, _ = field(seed)
        one, other = detect(data), detect(scale * (data + offset))
        np.testing.assert_allclose(other.x, one.x, atol=1e-6)
        np.testing.assert_allclose(other.snr, one.snr, rtol=1e-6)

    @settings(max_examples=8, deadline=None)
    @given(st.integers(0, 10**6))
    def test_transposition(self, seed):
        data, _, _ = field(seed)
        one, other = detect(data), detect(data.T, beam_covariance=BEAM[::-1, ::-1])
        np.testing.assert_allclose(other.x, one.y, atol=1e-6)
        np.testing.assert_allclose(other.snr, one.snr, rtol=1e-6)

    @settings(max_examples=8, deadline=None)
    @given(st.integers(0, 10**6), st.integers(0, 9), st.integers(0, 9))
    def test_shift(self, seed, dx, dy):
        data, _, _ = field(seed)
        framed = np.full((data.shape[0] + 10, data.shape[1] + 10), np.nan)
        framed[dy : dy + data.shape[0], dx : dx + data.shape[1]] = data
        one, other = detect(data, margin=0.0), detect(framed, margin=0.0)
        np.testing.assert_allclose(other.x, one.x + dx, atol=1e-6)
        np.testing.assert_allclose(other.y, one.y + dy, atol=1e-6)
        np.testing.assert_allclose(other.snr, one.snr, rtol=1e-6)
