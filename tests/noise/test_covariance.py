import numpy as np
import pytest
from astropy.stats import SigmaClip
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, signal

from hyper_py.geometry import covariance_from_ellipse
from hyper_py.noise.covariance import (
    CovarianceModel,
    autocovariance,
    beam_covariance_model,
    clipped_rows,
    clipped_statistics,
    covariance_model,
    local_rms_map,
    mesh_rms,
    power_spectrum,
    radial_profile,
)
from hyper_py.numerics.mesh import fill_nearest, mesh_map


def _contaminated(seed, shape=(80, 90)):
    rng = np.random.default_rng(seed)
    data = rng.normal(size=shape)
    rows, columns = rng.integers(0, shape[0], 300), rng.integers(0, shape[1], 300)
    data[rows, columns] += rng.exponential(20.0, 300)
    data[rng.random(shape) < 0.05] = np.nan
    return data


def _by_definition(values, sigma, max_iterations):
    values = values[np.isfinite(values)]
    for _ in range(max_iterations):
        keep = np.abs(values - values.mean()) <= sigma * values.std()
        if keep.all():
            break
        values = values[keep]
    return values.mean(), values.std(), values.size


class TestClippedStatistics:
    @pytest.mark.parametrize("seed", range(5))
    @pytest.mark.parametrize(
        ("sigma", "max_iterations"), [(3.0, 10), (2.0, 10), (1.2, 10), (3.0, 2), (3.0, 0)]
    )
    def test_agrees_with_the_definition(self, seed, sigma, max_iterations):
        data = _contaminated(seed)
        result = clipped_statistics(data, sigma=sigma, max_iterations=max_iterations)
        mean, rms, count = _by_definition(data, sigma, max_iterations)
        assert result.n_pixels == count
        assert result.mean == pytest.approx(mean, abs=1e-12)
        assert result.rms == pytest.approx(rms, rel=1e-12)

    @pytest.mark.parametrize("seed", range(3))
    def test_agrees_with_astropy(self, seed):
        data = _contaminated(seed)
        kept = SigmaClip(sigma=3.0, maxiters=10, cenfunc="mean")(data[np.isfinite(data)]).compressed()
        result = clipped_statistics(data)
        assert (result.n_pixels, result.rms) == (kept.size, pytest.approx(kept.std(), rel=1e-12))

    def test_narrow_core_in_broad_data(self):
        """Limits that shrink far below those of the first step see every pixel again."""
        rng = np.random.default_rng(2)
        data = np.concatenate([rng.normal(0, 1e-3, 9000), rng.normal(0, 1.0, 400), [1e3]])
        result = clipped_statistics(data)
        assert (result.mean, result.rms, result.n_pixels) == pytest.approx(_by_definition(data, 3.0, 10))

    @settings(max_examples=30, deadline=None)
    @given(st.integers(0, 10**6), st.floats(1e-12, 1e12), st.floats(-1e3, 1e3))
    def test_scale_and_offset(self, seed, scale, offset):
        data = _contaminated(seed, (30, 30))
        one, other = clipped_statistics(data), clipped_statistics(scale * (data + offset))
        assert other.rms == pytest.approx(scale * one.rms, rel=1e-9)
        assert other.mean == pytest.approx(scale * (one.mean + offset), rel=1e-9, abs=1e-9 * scale)

    def test_nothing_to_measure(self):
        result = clipped_statistics(np.full((3, 3), np.nan))
        assert result.n_pixels == 0
        assert np.isnan(result.rms)
        assert clipped_statistics(np.full(5, 7.0)).rms == 0.0


class TestLocalRms:
    def test_follows_the_level_and_ignores_sources(self):
        rng = np.random.default_rng(4)
        ny, nx = 240, 300
        true = 1.0 + 2.0 * np.arange(nx) / nx * np.ones((ny, 1))
        data = rng.normal(size=(ny, nx)) * true
        data[rng.integers(0, ny, 200), rng.integers(0, nx, 200)] += 100.0
        rms = local_rms_map(data, mesh=30)
        ratio = rms / true
        assert np.abs(np.median(ratio) - 1.0) < 0.03
        assert ratio.std() < 0.05
        assert ratio[:, [0, -1]].min() > 0.8

    def test_mask_takes_sources_out(self):
        rng = np.random.default_rng(5)
        data = rng.normal(size=(100, 100))
        mask = np.zeros(data.shape, bool)
        mask[20:50, 20:50] = True
        data[mask] += rng.normal(size=900) * 5
        assert local_rms_map(data, mesh=25, mask=mask).max() < 1.2
        assert local_rms_map(data, mesh=25).max() > 2

    def test_blank_regions(self):
        rng = np.random.default_rng(6)
        data = rng.normal(size=(100, 140))
        data[:, 60:] = np.nan
        rms = local_rms_map(data, mesh=20)
        assert np.isfinite(rms).all()
        assert np.abs(rms - 1).max() < 0.2
        assert np.isnan(local_rms_map(np.full((10, 10), np.nan), mesh=4)).all()

    def test_tiles_agree(self):
        data = np.random.default_rng(7).normal(size=(200, 200)) * np.linspace(1, 3, 200)
        whole, tile = local_rms_map(data, mesh=20), local_rms_map(data[40:, 60:], mesh=20)
        np.testing.assert_allclose(tile[20:-20, 20:-20], whole[60:-20, 80:-20], rtol=1e-12)

    @settings(max_examples=20, deadline=None)
    @given(st.integers(0, 10**6), st.integers(3, 40), st.floats(1e-9, 1e9))
    def test_scale_and_transposition(self, seed, mesh, scale):
        data = _contaminated(seed, (50, 70))
        rms = local_rms_map(data, mesh=mesh)
        np.testing.assert_allclose(local_rms_map(scale * data.T, mesh=mesh), scale * rms.T, rtol=1e-9)

    def test_mesh_is_clipped_cell_by_cell(self):
        data = _contaminated(8, (60, 60))
        levels = mesh_rms(data, mesh=20)
        expected = [
            [clipped_statistics(data[i : i + 20, j : j + 20]).rms for j in (0, 20, 40)] for i in (0, 20, 40)
        ]
        np.testing.assert_allclose(levels, expected, rtol=1e-12)

    def test_interpolation_is_exact_for_a_plane(self):
        y, x = np.mgrid[:60, :80].astype(float)
        centres = (2 * x + y)[4:60:10, 4:80:10] + 1.5  # centre of a cell of 10 is at 4.5
        result = mesh_map(centres, shape=(60, 80), mesh=10)[:, :]
        np.testing.assert_allclose(result[5:-5, 5:-5], (2 * x + y)[5:-5, 5:-5])

    def test_fill_nearest(self):
        values = np.full((5, 5), np.nan)
        values[0, 0], values[4, 4] = 1.0, 3.0
        filled = fill_nearest(values)
        assert filled[1, 1] == 1.0
        assert filled[2, 2] == 2.0
        assert filled[3, 4] == 3.0


def _smooth_field(seed, shape=(300, 320), sigma=1.6, white=0.3):
    """Return a field, and its true autocovariance as a function of lag."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=shape), sigma, mode="wrap") * 2 * np.sqrt(np.pi) * sigma

    def covariance(dy, dx):
        return np.exp(-(dx**2 + dy**2) / (4 * sigma**2)) + white**2 * ((dx == 0) & (dy == 0))

    return smooth + white * rng.normal(size=shape), covariance


class TestAutocovariance:
    def test_agrees_with_sums_over_pairs(self):
        data = np.random.default_rng(1).normal(size=(14, 17)) + 5.0
        data[3, 4] = np.nan
        mask = np.random.default_rng(2).random(data.shape) < 0.2
        lags = autocovariance(data, max_lag=4, mask=mask, min_pairs=1)
        values = np.where(mask, np.nan, data)
        values = values - np.nanmean(values)
        for dy, dx in [(0, 0), (1, 0), (-2, 3), (4, 4), (0, -4)]:
            pairs = [
                values[i, j] * values[i + dy, j + dx]
                for i in range(14)
                for j in range(17)
                if 0 <= i + dy < 14 and 0 <= j + dx < 17
            ]
            assert lags[4 + dy, 4 + dx] == pytest.approx(np.nanmean(pairs), abs=1e-12)
        np.testing.assert_allclose(lags, lags[::-1, ::-1])

    @pytest.mark.parametrize("seed", range(3))
    def test_masked_estimate_is_unbiased(self, seed):
        data, truth = _smooth_field(seed)
        mask = np.random.default_rng(seed).random(data.shape) < 0.5
        data[mask] = 1e3
        dy, dx = np.mgrid[-6:7, -6:7]
        np.testing.assert_allclose(autocovariance(data, max_lag=6, mask=mask), truth(dy, dx), atol=0.09)

    def test_of_very_many_squares_a_regular_comb_is_taken_unless_the_map_is_blank_there(self, monkeypatch):
        monkeypatch.setattr("hyper_py.noise.covariance._SQUARE", 16)
        monkeypatch.setattr("hyper_py.noise.covariance._MOST_SQUARES", 4)
        data = np.random.default_rng(8).normal(size=(96, 96))  # 6 x 6 squares; step 3, from the second on
        comb = np.zeros((6, 6), dtype=bool)
        comb[1::3, 1::3] = True
        taken = np.kron(comb, np.ones((16, 16))) > 0.0
        found = autocovariance(data, max_lag=2)
        np.testing.assert_allclose(found, autocovariance(np.where(taken, data, np.nan), max_lag=2))
        assert found[2, 2] == pytest.approx(np.var(data[taken]))
        elsewhere = np.where(taken, np.nan, data)
        assert autocovariance(elsewhere, max_lag=2)[2, 2] == pytest.approx(np.nanvar(elsewhere))

    def test_lags_without_pairs(self):
        data = np.random.default_rng(3).normal(size=(6, 40))
        lags = autocovariance(data, max_lag=8)
        assert np.isnan(lags[0]).all()
        assert np.isfinite(lags[8]).all()
        assert np.isnan(autocovariance(np.full((9, 9), np.nan), max_lag=2)).all()
        assert covariance_model(lags) is None
        assert covariance_model(np.zeros((5, 5))) is None

    def test_power_spectrum_mean_is_variance(self):
        data, _ = _smooth_field(4)
        lags = autocovariance(data, max_lag=12)
        assert power_spectrum(lags).mean() == pytest.approx(lags[12, 12])


class TestCovarianceModel:
    def test_matrix_is_the_look_up(self):
        data, _ = _smooth_field(5)
        model = covariance_model(autocovariance(data, max_lag=20))
        rng = np.random.default_rng(0)
        y, x = 30 + rng.integers(0, 20, 50), 90 + rng.integers(0, 20, 50)
        matrix = model.matrix(y, x)
        expected = [
            [model.lags[20 + a - c, 20 + b - d] for c, d in zip(y, x, strict=True)]
            for a, b in zip(y, x, strict=True)
        ]
        np.testing.assert_array_equal(matrix, expected)
        np.testing.assert_allclose(matrix, matrix.T, atol=1e-12)
        assert model.matrix(y[:0], x[:0]).shape == (0, 0)
        with pytest.raises(ValueError, match="only 20"):
            model.matrix(np.array([0, 21]), np.array([0, 0]))

    @pytest.mark.parametrize("floor", [0.1, 0.5, 2.0])
    def test_positive_definite_and_conditioned(self, floor):
        data, _ = _smooth_field(6, white=0.0)
        model = covariance_model(autocovariance(data, max_lag=20), floor=floor)
        y, x = (a.ravel() for a in np.mgrid[:20, :20])
        smallest = np.linalg.eigvalsh(model.matrix(y, x)).min()
        assert smallest >= 0.99 * power_spectrum(model.lags).min() > 0

    def test_beam_model(self):
        beam = covariance_from_ellipse(5.0, 3.0, 0.4)
        model = beam_covariance_model(beam, rms=2.0, max_lag=15)
        assert model.assumed
        assert (model.reach, model.variance) == (15, pytest.approx(4.0))
        y, x = (a.ravel() for a in np.mgrid[:14, :14])
        assert np.linalg.eigvalsh(model.matrix(y, x)).min() > 0
        # White noise seen through the beam.
        rows, columns = np.mgrid[-15:16, -15:16]
        points = np.stack([columns, rows], -1)
        kernel = np.exp(-0.5 * np.einsum("...i,ij,...j", points, np.linalg.inv(beam), points))
        lags = signal.fftconvolve(kernel, kernel, mode="same")
        expected = 4.0 * 0.9 * lags / lags[15, 15]
        expected[15, 15] += 0.4
        np.testing.assert_allclose(model.lags, expected, atol=1e-6)

    def test_radial_profile(self):
        rows, columns = np.mgrid[-8:9, -8:9]
        radius, profile = radial_profile(np.exp(-np.hypot(rows, columns) / 5))
        np.testing.assert_allclose(profile, np.exp(-radius / 5), rtol=0.01)


@given(st.integers(0, 10**6), st.sampled_from([0.0, 1e6]), st.floats(0.0, 0.5))
@settings(deadline=None, max_examples=30)
def test_clipped_rows_are_clipped_one_by_one(seed, level, blank):
    rng = np.random.default_rng(seed)
    rows = level + rng.standard_t(2.0, size=(5, 60))
    rows[rng.random(rows.shape) < blank] = np.nan
    mean, rms = clipped_rows(rows)
    for i, row in enumerate(rows):
        expected = clipped_statistics(row)
        np.testing.assert_allclose([mean[i], rms[i]], [expected.mean, expected.rms], rtol=1e-9, atol=1e-9)


def test_clipped_rows_of_nothing_and_of_equal_values():
    mean, rms = clipped_rows(np.array([[np.nan, np.nan, np.nan], [0.1, 0.1, 0.1]]))
    np.testing.assert_allclose(mean, [0.0, 0.1])
    np.testing.assert_allclose(rms, 0.0, atol=1e-12)


def test_every_second_pixel_shows_smooth_noise_as_well_and_four_times_the_power_of_white_noise():
    away = np.hypot(*np.mgrid[-24:25, -24:25])
    smooth = CovarianceModel(9.0 * np.exp(-(away**2) / (4.0 * 2.0**2)))
    assert smooth.aliasing(2, wavelength=16.0) == pytest.approx(1.0, abs=0.01)
    assert smooth.aliasing(8, wavelength=32.0) > 1.5
    white = CovarianceModel(np.where(away == 0, 9.0, 0.0))
    assert white.aliasing(2, wavelength=16.0) == pytest.approx(4.0)
