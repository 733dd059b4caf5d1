import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from hyper_py.detection.checks import PeakLimits
from hyper_py.detection.daofind import daofind_kernel
from hyper_py.detection.highpass import detect_high_pass
from hyper_py.detection.peaks import (
    brightest_apart,
    empty_peaks,
    local_maxima,
    peak_heights,
    refine_positions,
    shoulder_score,
    snap_to_maximum,
)
from hyper_py.detection.running_mean import default_kernel_size, high_pass
from hyper_py.geometry import covariance_from_ellipse
from hyper_py.numerics.tiles import LazyPlane

BEAM = covariance_from_ellipse(5.0, 3.5, 0.6)


def gaussian(shape, x, y, peak, covariance):
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    dx, dy = columns - x, rows - y
    c = np.linalg.inv(covariance)
    return peak * np.exp(-0.5 * (c[0, 0] * dx * dx + 2 * c[0, 1] * dx * dy + c[1, 1] * dy * dy))


def lattice(seed=0, shape=(160, 200), step=22, noise=0.1, background=1.0):
    """A lattice of sources of peak 2 on a wavy background with white noise of 0.1."""
    rng = np.random.default_rng(seed)
    grid = [(x, y) for y in np.arange(15, shape[0] - 12, step) for x in np.arange(15, shape[1] - 12, step)]
    x, y = (np.array(grid, float) + rng.uniform(-2, 2, (len(grid), 2))).T
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    data = background * np.sin(columns / 60.0) * np.cos(rows / 50.0) + rng.normal(0, noise, shape)
    for xi, yi in zip(x, y, strict=True):
        data += gaussian(shape, xi, yi, 2.0, BEAM)
    return data, x, y


def detect(data, **options):
    options = {"beam_covariance": BEAM, "rms": 0.1, "sigma_threshold": 5.0, "margin": 4.0} | options
    limits = PeakLimits(**{key: options.pop(key) for key in list(options) if hasattr(PeakLimits, key)})
    return detect_high_pass(data, limits=limits, **options)


def same_points(peaks, x, y, tolerance=1.0):
    """Each point is the nearest of just one peak, within the tolerance."""
    distance = np.hypot(peaks.x[:, None] - x, peaks.y[:, None] - y)
    return (
        len(peaks) == len(x)
        and distance.min(axis=0).max() < tolerance
        and distance.min(axis=1).max() < tolerance
    )


class TestHighPass:
    def test_is_the_definition(self):
        data = np.random.default_rng(1).normal(size=(20, 25)) + 1e6
        data[3:6, 4:9] = np.nan
        result = high_pass(data, kernel_size=5)
        padded = np.pad(data, 2, constant_values=np.nan)
        squares = np.lib.stride_tricks.sliding_window_view(padded, (5, 5)).reshape(20, 25, 25)
        expected = data - np.nanmean(np.where(np.isnan(data)[..., None], 0.0, squares), axis=-1)
        np.testing.assert_allclose(result, np.where(np.isnan(data), np.nan, expected), atol=1e-8)

    @settings(max_examples=30, deadline=None)
    @given(
        st.integers(0, 10**6), st.integers(1, 41), st.floats(1e-12, 1e12), st.sampled_from([0.0, 1.0, 1e9])
    )
    def test_any_part_has_the_bytes_of_the_whole_map(self, seed, side, scale, pedestal):
        rng = np.random.default_rng(seed)
        data = scale * (rng.normal(size=(45, 60)) + pedestal)
        data[10:20, 5:30] = data[rng.integers(0, 45, 9), rng.integers(0, 60, 9)] = np.nan
        plane = LazyPlane(data.shape, lambda *where: data[where])
        whole = high_pass(data, kernel_size=side)
        for size in (None, 13):
            pieces = high_pass(plane, kernel_size=side, size=size)
            for _ in range(5):
                first, last = np.sort(rng.integers(0, (46, 61), (2, 2)), axis=0)
                where = slice(first[0], last[0]), slice(first[1], last[1])
                np.testing.assert_array_equal(pieces[where], whole[where])

    def test_nothing_is_left_of_equal_pixels(self):
        data = np.random.default_rng(2).normal(size=(60, 70)) + 0.1
        data[20:50, 15:60] = 0.1 + 0.2
        data[25, 30] = np.nan
        inside = high_pass(data, kernel_size=9)[24:46, 19:56]
        assert (inside[np.isfinite(inside)] == 0.0).all()
        assert np.count_nonzero(np.isnan(inside)) == 1

    def test_default_kernel(self):
        assert [default_kernel_size(f) for f in (1.2, 2.5, 3.3, 4.9, 5.0)] == [3, 5, 9, 17, 25]

    def test_all_blank(self):
        assert np.isnan(high_pass(np.full((5, 6), np.nan), kernel_size=3)).all()
        assert len(detect(np.full((30, 30), np.nan), rms=1.0)) == 0


class TestSteps:
    def test_a_maximum_may_lie_beside_blank_pixels(self):
        data = np.zeros((9, 9))
        data[4, 4], data[5, 3:6], data[2, 2] = 3.0, np.nan, np.nan
        y, x = local_maxima(data, footprint=np.ones((3, 3), dtype=bool), threshold=1.0)
        assert (y.tolist(), x.tolist()) == ([4], [4])

    def test_local_maxima_against_a_maximum_filter(self):
        data = np.random.default_rng(3).normal(size=(50, 60))
        footprint = daofind_kernel(BEAM).inside
        y, x = local_maxima(data, footprint=footprint, threshold=0.5)
        top = (ndimage.maximum_filter(data, footprint=footprint, mode="constant", cval=-9) == data) & (
            data >= 0.5
        )
        np.testing.assert_array_equal(np.argwhere(top), np.column_stack([y, x]))

    def test_snap(self):
        data = np.zeros((9, 9))
        data[4, 5], data[6, 4], data[3, 3] = 1.0, 3.0, np.nan
        at = np.array([4])
        assert [int(v[0]) for v in snap_to_maximum(data, x=at, y=at, radius=0.0)] == [4, 4]
        assert [int(v[0]) for v in snap_to_maximum(data, x=at, y=at, radius=1.0)] == [5, 4]
        assert [int(v[0]) for v in snap_to_maximum(data, x=at, y=at, radius=2.0)] == [4, 6]

    @settings(max_examples=50, deadline=None)
    @given(st.floats(-0.45, 0.45), st.floats(-0.45, 0.45), st.floats(0, np.pi))
    def test_refined_position(self, dx, dy, angle):
        data = gaussian((21, 23), 11 + dx, 10 + dy, 2.0, covariance_from_ellipse(5.0, 4.0, angle))
        x, y = refine_positions(data, x=np.array([11]), y=np.array([10]))
        assert x[0] == pytest.approx(11 + dx, abs=0.08)
        assert y[0] == pytest.approx(10 + dy, abs=0.08)

    def test_refined_position_is_exact_for_a_paraboloid(self):
        y, x = np.mgrid[:7, :7]
        data = 5 - (x - 3.2) ** 2 - 2 * (y - 2.9) ** 2 - 0.5 * (x - 3.2) * (y - 2.9)
        at = refine_positions(data, x=np.array([3]), y=np.array([3]))
        np.testing.assert_allclose(np.ravel(at), [3.2, 2.9], atol=1e-12)

    def test_no_top_no_move(self):
        data = np.add.outer(np.arange(7.0), np.arange(7.0))
        data[0, 0] = np.nan
        x, y = refine_positions(data, x=np.array([3, 1, 6]), y=np.array([3, 1, 6]))
        assert (list(x), list(y)) == ([3, 1, 6], [3, 1, 6])

    def test_brightest_apart(self):
        x = np.array([0.0, 2.0, 4.0, 10.0])
        kept = brightest_apart(x, np.zeros(4), brightness=np.array([1.0, 2.0, 1.5, 0.1]), distance=2.5)
        assert list(kept) == [1, 3]
        assert list(brightest_apart(x, 0 * x, brightness=np.ones(4), distance=2.0)) == [0, 1, 2, 3]


class TestPeakHeights:
    def test_exact_for_a_surface_of_second_order(self):
        rows, columns = np.mgrid[:9, :9]
        u, v = columns - 4.3, rows - 3.8
        data = 7.0 - 0.8 * u**2 - 0.5 * v**2 + 0.3 * u * v
        assert peak_heights(data, x=np.array([4]), y=np.array([4])) == pytest.approx([7.0])

    @pytest.mark.parametrize("fwhm", [2.5, 3.0, 5.0])
    def test_gaussian_between_pixels(self, fwhm):
        sigma = fwhm / 2.3548
        rows, columns = np.mgrid[:15, :15]
        lost, left = [], []
        for dx, dy in np.random.default_rng(3).uniform(-0.5, 0.5, size=(200, 2)):
            data = np.exp(-0.5 * ((columns - 7 - dx) ** 2 + (rows - 7 - dy) ** 2) / sigma**2)
            (height,) = peak_heights(data, x=np.array([7]), y=np.array([7]))
            assert data[7, 7] <= height <= 1.0
            lost.append(1.0 - data[7, 7])
            left.append(1.0 - height)
        assert np.mean(left) < 0.45 * np.mean(lost)
        assert max(left) < 0.45 * max(lost)

    def test_stays_where_there_is_a_blank_neighbour_or_no_top(self):
        data = np.zeros((9, 9))
        data[1, 1], data[1, 2] = 5.0, np.nan
        data[5, 2:6] = 4.0  # a ridge without a top
        data[7, 7], data[7, 8] = 3.0, -np.inf
        x, y = np.array([1, 4, 7]), np.array([1, 5, 7])
        assert peak_heights(data, x=x, y=y) == pytest.approx([5.0, 4.0, 3.0])


class TestShoulder:
    def test_symmetric_source_scores_zero_and_slope_scores_itself(self):
        at = np.array([25.0])
        data = gaussian((51, 51), 25, 25, 1.0, covariance_from_ellipse(5, 5, 0))
        options = {"x": at, "y": at, "peak": np.ones(1), "radius": 7.5}
        assert abs(shoulder_score(data, **options)[0]) < 1e-3
        slope = data + 0.02 * np.arange(51.0)
        # Mean of cos over the brighter half of 16 points, twice.
        cosines = np.sort(np.cos(2 * np.pi * np.arange(16) / 16))
        expected = 0.02 * 7.5 * (cosines[8:].mean() - cosines[:8].mean())
        assert shoulder_score(slope, **options)[0] == pytest.approx(expected, abs=2e-3)

    def test_neighbours_are_left_out(self):
        covariance = covariance_from_ellipse(5, 5, 0)
        data = gaussian((51, 51), 25, 25, 1, covariance) + gaussian((51, 51), 33, 25, 1, covariance)
        x, y, peak = np.array([25.0, 33.0]), np.array([25.0, 25.0]), np.ones(2)
        near = shoulder_score(data, x=x, y=y, peak=peak, radius=7.5)
        masked = shoulder_score(data, x=x, y=y, peak=peak, radius=7.5, neighbor_radius=5.0)
        assert (near > 0.2).all()
        assert (masked < 0.5 * near).all()

    def test_filter(self):
        data, x, _ = lattice()
        scores = detect(data).shoulder_score
        kept = detect(data, shoulder_threshold=float(np.median(scores)))
        assert 0 < len(kept) < len(x)


class TestDetectHighPass:
    @pytest.mark.parametrize("seed", range(3))
    def test_lattice(self, seed):
        data, x, y = lattice(seed)
        peaks = detect(data)
        assert same_points(peaks, x, y)
        assert (np.diff(peaks.peak) <= 0).all()
        np.testing.assert_allclose(peaks.snr, peaks.peak / 0.1)

    @pytest.mark.parametrize("size", [None, 0, 37, 80])
    @pytest.mark.parametrize("is_noise_local", [False, True])
    def test_tiles_of_any_size_give_the_same_peaks(self, size, is_noise_local):
        data, _, _ = lattice()
        data[60:100, 80:130] = data[3, 3:9] = np.nan
        rms = 0.1 + 0.05 * np.sin(np.indices(data.shape)[1] / 20.0) if is_noise_local else 0.1
        lazy = LazyPlane(data.shape, lambda *where: data[where])
        lazy_rms = LazyPlane(data.shape, lambda *where: rms[where]) if is_noise_local else rms
        whole = detect(data, rms=rms, shoulder_threshold=0.5, size=0)
        assert len(whole) > 20
        for found in (
            detect(data, rms=rms, shoulder_threshold=0.5, size=size),
            detect(lazy, rms=lazy_rms, shoulder_threshold=0.5, size=size),
        ):
            for name in whole.__dataclass_fields__:
                np.testing.assert_allclose(getattr(found, name), getattr(whole, name), rtol=1e-12, atol=1e-13)

    def test_blank_pixels_spread_nothing(self):
        data, x, y = lattice()
        data[60:100, 80:130] = np.nan
        peaks = detect(data)
        clear = (x < 75) | (x > 135) | (y < 55) | (y > 105)
        distance = np.hypot(peaks.x[:, None] - x[clear], peaks.y[:, None] - y[clear])
        assert distance.min(axis=0).max() < 1.0
        assert np.isfinite(data[np.rint(peaks.y).astype(int), np.rint(peaks.x).astype(int)]).all()
        for field in (peaks.x, peaks.peak, peaks.snr, peaks.sharpness, peaks.roundness):
            assert np.isfinite(field).all()

    def test_local_rms_makes_the_threshold_local(self):
        data, x, _ = lattice()
        data[:, 100:] += np.random.default_rng(1).normal(0, 3.0, (160, 100))
        rms = np.where(np.arange(200) < 100, 0.1, 3.0) * np.ones((160, 1))
        assert len(detect(data, rms=rms)) == np.count_nonzero(x < 100)
        assert len(detect(data, rms=0.1)) > len(x) + 20

    def test_limits_margin_and_distance(self):
        data, x, _ = lattice()
        assert len(detect(data, roundlim=(3, 4))) == 0
        assert len(detect(data, sharplim=(1.5, 2))) == 0
        assert 0 < len(detect(data, min_distance=40.0)) < len(x)
        peaks = detect(data, margin=30.0)
        assert peaks.x.min() >= 29
        assert peaks.y.max() <= 130

    def test_noise_alone_and_constants(self):
        noise = np.random.default_rng(9).normal(0, 0.1, (200, 200))
        assert len(detect(noise)) == 0
        assert len(detect(np.full((50, 50), 3.0))) == 0
        assert len(empty_peaks()) == 0

    @settings(max_examples=10, deadline=None)
    @given(st.integers(0, 10**6), st.floats(1e-9, 1e9))
    def test_flux_scale(self, seed, scale):
        data, _, _ = lattice(seed)
        one, other = detect(data), detect(scale * data, rms=0.1 * scale)
        np.testing.assert_allclose(other.x, one.x, atol=1e-6)
        np.testing.assert_allclose(other.snr, one.snr, rtol=1e-6)

    @settings(max_examples=10, deadline=None)
    @given(st.integers(0, 10**6))
    def test_transposition(self, seed):
        data, _, _ = lattice(seed)
        one, other = detect(data), detect(data.T, beam_covariance=BEAM[::-1, ::-1])
        np.testing.assert_allclose(other.x, one.y, atol=1e-9)
        np.testing.assert_allclose(other.y, one.x, atol=1e-9)

    @settings(max_examples=10, deadline=None)
    @given(st.integers(0, 10**6), st.integers(0, 9), st.integers(0, 9))
    def test_shift(self, seed, dx, dy):
        """A map set into a larger blank frame gives the same peaks, shifted."""
        data, _, _ = lattice(seed)
        framed = np.full((data.shape[0] + 10, data.shape[1] + 10), np.nan)
        framed[dy : dy + data.shape[0], dx : dx + data.shape[1]] = data
        one, other = detect(data, margin=0.0), detect(framed, margin=0.0)
        np.testing.assert_allclose(other.x, one.x + dx, atol=1e-9)
        np.testing.assert_allclose(other.y, one.y + dy, atol=1e-9)
        np.testing.assert_allclose(other.snr, one.snr, rtol=1e-9)
