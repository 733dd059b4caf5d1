import numpy as np
import pytest
from astropy.stats import SigmaClip
from hypothesis import given, settings
from hypothesis import strategies as st

from hyper_py.noise import clipped_statistics, fill_nearest, interpolate_mesh, local_rms_map, mesh_rms


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
        result = interpolate_mesh(centres, shape=(60, 80), mesh=10)
        np.testing.assert_allclose(result[5:-5, 5:-5], (2 * x + y)[5:-5, 5:-5])

    def test_fill_nearest(self):
        values = np.full((5, 5), np.nan)
        values[0, 0], values[4, 4] = 1.0, 3.0
        filled = fill_nearest(values)
        assert filled[1, 1] == 1.0
        assert filled[2, 2] == 2.0
        assert filled[3, 4] == 3.0
