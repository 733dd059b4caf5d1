"""The spectrum of a map in tiles: only where it varies, as it varies, and without a trace of tiles."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.matched_maps import BEAM, FWHM, gaussian, noise_field
from hyper_py.detection import local_spectrum
from hyper_py.detection.local_spectrum import (
    band_shapes,
    measure_local_spectrum,
    relative_power,
    tile_powers,
)
from hyper_py.detection.matched import detect_matched
from hyper_py.detection.matched_filter import TEMPLATE_SIZE, disc_mask, measure_filter
from hyper_py.detection.power_spectrum import measure_spectrum
from hyper_py.numerics.tiles import LazyPlane
from hyper_py.simulation.recipe import Recipe
from hyper_py.simulation.simulate import simulate_image

CHANGING = {
    "shape": (300, 320), "n_sources": 100, "noise_white_fraction": 1.0, "background": "powerlaw",
    "background_rms": 20.0, "background_variation": 30.0,
}  # fmt: skip
TILE = round(local_spectrum.TILE * FWHM)
HOLES = np.array([8, 25, 38, 12, 40, 24]), np.array([8, 14, 5, 30, 28, 40])


def changing(seed, **options):
    simulation = simulate_image("deep", seed=seed, **CHANGING | options)
    ny, nx = simulation.image.shape
    return simulation, simulation.image.beam_covariance(0.5 * nx, 0.5 * ny)


def local(data, spectrum, **options):
    return measure_local_spectrum(data, spectrum=spectrum, template=TEMPLATE_SIZE, **options)


@pytest.fixture(scope="module")
def quiet_and_loud():
    """Fields of different spectra, each large and stationary."""
    shape = (12 * TILE, 12 * TILE)
    return [
        noise_field(np.random.default_rng(k), shape, background=background, white=white)
        for k, (background, white) in enumerate([(0.0, 0.8), (1.0, 0.2)])
    ]


class TestTiles:
    def test_bands_share_all_frequencies(self, quiet_and_loud):
        bands = band_shapes(measure_spectrum(quiet_and_loud[0], beam_covariance=BEAM))
        np.testing.assert_allclose(bands.sum(axis=0), 1.0, rtol=1e-12)
        assert bands.min() >= 0.0
        np.testing.assert_allclose(bands, np.roll(bands[:, ::-1, ::-1], 1, axis=(1, 2)), atol=1e-12)

    @pytest.mark.parametrize("blank", [False, True])
    def test_powers_are_unbiased(self, blank):
        """Of many tiles of one field, also where a quarter of the pixels is masked as sources are."""
        data = noise_field(np.random.default_rng(8), (24 * TILE, 24 * TILE), background=1.0)
        holes = disc_mask((TILE, TILE), x=HOLES[0], y=HOLES[1], radius=6.0)
        spectrum = measure_spectrum(data, beam_covariance=BEAM)
        weights = band_shapes(spectrum) * spectrum.seen(BEAM) ** 2 / spectrum.power
        estimators = relative_power(spectrum, weights)
        data[np.tile(holes & blank, (24, 24))] = np.nan
        power, pixels = tile_powers(data, estimators=estimators, tile=TILE)
        assert (pixels == TILE**2 - blank * np.count_nonzero(holes)).all()
        assert power.mean(axis=(1, 2)) == pytest.approx(1.0, abs=0.05)

    def test_inverse_powers_are_those_of_the_fields(self, quiet_and_loud):
        """A map of two halves: the ratio of each band's weights follows from each half's own spectrum."""
        quiet, loud = quiet_and_loud
        half = 6 * TILE
        data = np.hstack([quiet[:, :half] / quiet.std(), loud[:, :half] / loud.std()])
        spectrum = measure_spectrum(data, beam_covariance=BEAM)
        measured = local(data, spectrum)
        weights = measured.bands * spectrum.seen(TEMPLATE_SIZE**2 * BEAM) ** 2 / spectrum.power**2
        powers = [measure_spectrum(half, beam_covariance=BEAM).power for half in np.hsplit(data, 2)]
        one, other = (np.sum(weights * power, axis=(1, 2)) for power in powers)
        left, right = (measured.at(np.array([half]), np.array([x]))[:, 0] for x in (2 * TILE, 10 * TILE))
        ratio, expected = left / right, other / one
        np.testing.assert_allclose(ratio / ratio[2], expected / expected[2], rtol=0.2)
        assert expected.max() > 2 * expected.min()

    def test_does_not_depend_on_blocks(self, quiet_and_loud):
        data = np.hstack([field[: 9 * TILE + 7, : 5 * TILE - 5] for field in quiet_and_loud])
        data[:, 30:60] = data[100:180, 100:170] = np.nan
        spectrum = measure_spectrum(data, beam_covariance=BEAM)
        lazy = LazyPlane(data.shape, lambda rows, columns: data[rows, columns])
        results = [local(plane, spectrum, size=size) for plane in (data, lazy) for size in (0, 60, 200, None)]
        for result in results[1:]:
            np.testing.assert_allclose(result[:, :], results[0][:, :], rtol=1e-9)
            assert result.gain == pytest.approx(results[0].gain, rel=1e-9)
        assert np.isfinite(results[0][:, :]).all()
        assert results[0][:, :].min() > 0.0


class TestDecision:
    @pytest.mark.parametrize("background", [0.0, 2.0])
    def test_a_map_of_one_spectrum_has_one(self, background, random_seed):
        """Also with every gain thought worth it: the test alone is right in all of so few maps."""
        for seed in np.random.SeedSequence(random_seed).generate_state(12):
            data = noise_field(np.random.default_rng(seed), (6 * TILE, 7 * TILE), background=background)
            spectrum = measure_spectrum(data, beam_covariance=BEAM)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(local_spectrum, "LEAST_GAIN", 1e-9)
                assert local(data, spectrum) is None, seed

    def test_one_spectrum_leaves_the_filter_as_it_is(self):
        simulation = simulate_image("deep", seed=7, shape=(260, 260), n_sources=60)
        covariance = simulation.image.beam_covariance(130, 130)
        with_test, without = (
            measure_filter(simulation.image.data, beam_covariance=covariance, local_spectrum=local)
            for local in (True, False)
        )
        assert with_test.local is None
        np.testing.assert_array_equal(with_test.parts.kernels, without.parts.kernels)
        np.testing.assert_array_equal(with_test.noise.levels, without.noise.levels)

    def test_a_changing_level_is_no_changing_spectrum(self):
        data = noise_field(np.random.default_rng(3), (8 * TILE, 8 * TILE))
        data *= np.exp(np.log(3.0) * np.linspace(0, 1, data.shape[1]))
        assert measure_filter(data, beam_covariance=BEAM).local is None

    def test_a_changing_spectrum_is_seen(self, random_seed):
        for seed in np.random.SeedSequence(random_seed).generate_state(3):
            simulation, covariance = changing(int(seed))
            optimal = measure_filter(simulation.image.data, beam_covariance=covariance)
            assert optimal.local.gain > 0.03, seed
            assert optimal.narrow.local is optimal.local
            off = measure_filter(simulation.image.data, beam_covariance=covariance, local_spectrum=False)
            assert off.local is None

    def test_too_small_or_too_blank_to_tell(self, quiet_and_loud):
        small = np.hstack([field[: 3 * TILE, : 2 * TILE] for field in quiet_and_loud])
        spectrum = measure_spectrum(small, beam_covariance=BEAM)
        assert local(small, spectrum) is None
        large = np.hstack([field[:, : 6 * TILE] for field in quiet_and_loud])
        assert local(large, spectrum) is not None
        large[2 * TILE :] = np.nan
        large[:, : 5 * TILE] = np.nan
        assert local(large, spectrum) is None
        assert local(np.full_like(large, np.nan), spectrum) is None

    @pytest.mark.filterwarnings("error")
    def test_a_border_of_zeros_is_no_spectrum(self):
        simulation, covariance = changing(14)
        data = simulation.image.data.copy()
        data[:100] = data[:, -70:] = 0.0
        optimal = measure_filter(data, beam_covariance=covariance)
        assert np.isfinite(optimal.significance(data)[110:, :-80]).all()
        even = noise_field(np.random.default_rng(4), (8 * TILE, 8 * TILE))
        even[: 3 * TILE] = 0.0
        assert local(even, measure_spectrum(even, beam_covariance=BEAM)) is None


class TestFilter:
    def test_keeps_the_amplitude_and_lowers_the_noise_at_both_ends(self):
        simulation, covariance = changing(11, n_sources=0)
        data = simulation.image.data
        one, local = (
            measure_filter(data, beam_covariance=covariance, local_spectrum=way) for way in (False, True)
        )
        for y, x in ((60, 70), (150, 161), (230, 260)):
            source = gaussian(data.shape, x, y, 5.0, TEMPLATE_SIZE**2 * covariance)
            response = local.apply(data + source) - local.apply(data)
            assert response[y, x] == pytest.approx(5.0, rel=0.02)
        ratio = np.log(local.noise[:, :] / one.noise[:, :])
        strength = Recipe(simulation.model, 11).background_variation
        for end in (strength < np.quantile(strength, 0.2), strength > np.quantile(strength, 0.8)):
            assert ratio[end].mean() < -0.03
        assert np.quantile(ratio, 0.95) < 0.03
        assert local.significance(data)[15:-15, 15:-15].std() == pytest.approx(1.0, abs=0.1)

    def test_rings_are_those_of_the_joined_filter(self):
        """Around a source of the beam's shape: one of those of which the ring is the largest."""
        simulation, covariance = changing(12, n_sources=0)
        optimal = measure_filter(simulation.image.data, beam_covariance=covariance)
        shape = simulation.image.shape
        for y, x in ((50, 60), (240, 260)):
            response = optimal.apply(gaussian(shape, x, y, 1.0, covariance))
            reach = optimal.parts.ring_radius - 3
            dy, dx = (part.ravel() for part in np.mgrid[-reach : reach + 1, -reach : reach + 1])
            ring = optimal.ring(y=np.full(dy.size, y), x=np.full(dy.size, x), dy=dy, dx=dx)
            assert (ring >= response[y + dy, x + dx] / response[y, x] - 0.02).all()
            assert ring[dy.size // 2] == pytest.approx(1.0)
            assert ring[np.hypot(dy, dx) > 0.8 * reach].max() < 0.15


@settings(max_examples=6, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    scale=st.floats(1e-6, 1e6),
    offset=st.floats(-50, 50),
    size=st.sampled_from([0, 64, 150, None]),
)
def test_peaks_follow_scale_and_offset_and_know_of_no_tiles(seed, scale, offset, size):
    simulation, covariance = changing(seed)
    data = simulation.image.data / simulation.noise_rms.mean()
    data[40:75, 100:140] = np.nan
    peaks = detect_matched(data, beam_covariance=covariance)
    other = detect_matched(scale * (data + offset), beam_covariance=covariance, size=size)
    assert len(peaks) == len(other) > 20
    np.testing.assert_allclose(other.snr, peaks.snr, rtol=1e-6)
    np.testing.assert_allclose(other.x, peaks.x, atol=1e-6)


def test_a_shifted_map_has_the_same_filter_but_for_its_tiles():
    """Other tiles of the same sky: the same sources, but for a few at the threshold."""
    simulation, covariance = changing(21, shape=(400, 420), n_sources=170)
    data, dy, dx = simulation.image.data, 17, 23
    whole, cut = (detect_matched(image, beam_covariance=covariance) for image in (data, data[dy:, dx:]))
    bright = whole.select((whole.snr > 5.5) & (whole.x > dx + 15) & (whole.y > dy + 15))
    apart = np.hypot(np.subtract.outer(bright.x, cut.x + dx), np.subtract.outer(bright.y, cut.y + dy))
    assert np.count_nonzero(apart.min(axis=1) > 1.0) <= 1
    assert len(bright) > 50


def test_sums_over_pairs_are_those_of_a_loop():
    rng, tile = np.random.default_rng(5), 9
    data = rng.normal(size=(tile, tile))
    data[2, 3:5] = np.nan
    lag = 2
    estimator = rng.normal(size=(1, 2 * lag + 1, 2 * lag + 1))
    expected = 0.0
    for dy in range(-lag, lag + 1):
        for dx in range(-lag, lag + 1):
            products = [
                data[y, x] * data[y + dy, x + dx]
                for y in range(tile)
                for x in range(tile)
                if 0 <= y + dy < tile and 0 <= x + dx < tile
            ]
            expected += estimator[0, lag + dy, lag + dx] * np.nanmean(products)
    power, pixels = tile_powers(data, estimators=estimator, tile=tile)
    assert power[0, 0, 0] == pytest.approx(expected)
    assert pixels[0, 0] == tile**2 - 2
