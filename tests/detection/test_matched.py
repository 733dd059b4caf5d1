import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.matched_maps import BEAM, FWHM, field, gaussian
from hyper_py.detection.matched import TAIL_START, detect_matched, tail_threshold
from hyper_py.detection.matched_filter import measure_filter
from hyper_py.geometry import covariance_from_ellipse
from hyper_py.numerics.tiles import LazyPlane
from hyper_py.simulation.simulate import simulate_image


def detect(data, **options):
    return detect_matched(data, **{"beam_covariance": BEAM, "sigma_threshold": 5.0, "margin": 4.0} | options)


def count_matched(peaks, x, y, tolerance=0.5 * FWHM):
    distance = np.hypot(peaks.x[:, None] - x, peaks.y[:, None] - y)
    return int((distance.min(axis=0) <= tolerance).sum())


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

    def test_the_second_ring_of_a_source_of_hundreds_of_sigma_is_no_source(self):
        """Regarded as sky, it makes a hundred and more false sources around these sixty."""
        sky = simulate_image("alma", seed=3, n_sources=60, peak_range=(200.0, 400.0), crowded_fraction=0.0)
        x, y = sky.truth["X"].value, sky.truth["Y"].value
        beam = sky.image.beam_covariance(0.5 * sky.image.shape[1], 0.5 * sky.image.shape[0])
        peaks = detect_matched(sky.image.data, beam_covariance=beam)
        assert count_matched(peaks, x, y, tolerance=0.5 * sky.image.beam_fwhm_pix) == len(x)
        assert len(peaks) <= 1.25 * len(x)

    def test_narrow_filter_sees_a_blend(self):
        """A pair that the first filter, made for larger sources, takes for one."""
        round_beam = covariance_from_ellipse(FWHM, FWHM, 0.0)
        data, _, _ = field(12, number=0)
        for x in (100.0, 100.0 + 0.95 * FWHM):
            data += gaussian(data.shape, x, 90.0, 60.0, round_beam)
        optimal = measure_filter(data, beam_covariance=round_beam)
        options = {"beam_covariance": round_beam, "sigma_threshold": 5.0}
        both = detect_matched(data, matched_filter=optimal, **options)
        assert len(both) == 2
        np.testing.assert_allclose(np.sort(both.x), [100, 100 + 0.95 * FWHM], atol=0.5)
        assert optimal.narrow.narrow is None

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
        assert tail_threshold(np.empty(0), share=0.0, number=1.0) == TAIL_START
        assert tail_threshold(np.empty(0), share=1.0, number=1.0) == TAIL_START

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
        # The mesh of noise levels stays where it was, so that levels differ by what they are uncertain.
        sure = one.select(one.snr > 6.0)
        gaps = np.hypot(other.x[:, None] - sure.x - dx, other.y[:, None] - sure.y - dy)
        assert len(sure) > 10
        assert gaps.min(axis=0).max() < 0.5
        np.testing.assert_allclose(other.snr[gaps.argmin(axis=0)], sure.snr, rtol=0.1)

    @settings(max_examples=6, deadline=None)
    @given(st.integers(0, 10**6), st.integers(17, 400))
    def test_blocks_are_only_an_order_of_work(self, seed, size):
        data, _, _ = field(seed)
        data[40:70, 100:180] = np.nan
        data *= np.linspace(1.0, 3.0, data.shape[1])
        lazy = LazyPlane(data.shape, lambda rows, columns: data[rows, columns])
        whole, pieces = detect(data, size=0), detect(lazy, size=size)
        assert len(whole) > 5
        for name in whole.__dataclass_fields__:
            np.testing.assert_allclose(
                getattr(pieces, name), getattr(whole, name), rtol=1e-8, atol=1e-8, err_msg=name
            )
        rate = detect(data, size=0, max_false_rate=3.0), detect(lazy, size=size, max_false_rate=3.0)
        np.testing.assert_allclose(rate[1].snr, rate[0].snr, rtol=1e-8)
