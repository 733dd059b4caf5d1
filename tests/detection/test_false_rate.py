import numpy as np
import pytest
from scipy import integrate, stats

from hyper_py.detection.checks import PeakLimits
from hyper_py.detection.false_rate import (
    LARGEST_CORRECTED,
    TAIL_START,
    FalseRate,
    asymmetry_of_tail,
    measure_asymmetry,
    measure_false_rate,
)
from hyper_py.detection.matched import MatchedSearch, false_rate
from hyper_py.simulation.simulate import simulate_image


def test_significance_is_that_of_a_beam() -> None:
    rate = FalseRate(number=900.0, spread=0.9, n_beams=30_000.0)
    for s in (3.0, 4.0, 5.5, 8.0):
        expected = 900.0 * s / TAIL_START * np.exp(-0.5 * (s**2 - TAIL_START**2) / 0.9)
        assert rate.significance(np.array([s]))[0] == pytest.approx(stats.norm.isf(expected / 30_000.0))
    assert rate.sigma(4.0) == pytest.approx(4.47, abs=0.05)
    assert rate.significance(np.array([rate.sigma(4.3)]))[0] == pytest.approx(4.3)
    assert rate.threshold(30_000.0 * stats.norm.sf(3.7)) == pytest.approx(3.7)


def test_significance_rises() -> None:
    s = np.linspace(0.0, 3000.0, 200_001)
    significance = FalseRate(number=900.0, spread=1.3, n_beams=30_000.0).significance(s)
    assert np.isfinite(significance).all()
    assert (np.diff(significance) >= 0.0).all()


@pytest.mark.parametrize("spread", [1.0, 1.6])
def test_spread_is_measured(spread: float) -> None:
    rng = np.random.default_rng(8)
    s = np.linspace(TAIL_START, 15.0, 20_001)
    above = s / TAIL_START * np.exp(-0.5 * (s**2 - TAIL_START**2) / spread)
    drawn = np.interp(rng.random(20_000), above[::-1], s[::-1])
    rate = measure_false_rate(drawn, share=0.5, n_beams=1e6)
    assert rate.spread == pytest.approx(spread, rel=0.03)
    assert rate.number == pytest.approx(40_000.0, rel=0.01)
    assert integrate.trapezoid(above, s) > 0.0


def test_many_detections_allow_more_false_ones_but_no_larger_share() -> None:
    rate = FalseRate(number=900.0, spread=0.9, n_beams=30_000.0)
    assert rate.for_detections(np.empty(0)) == rate
    many = rate.for_detections(np.linspace(2.5, 30.0, 3000))
    lowest = many.sigma(4.0)
    n_above = np.count_nonzero(np.linspace(2.5, 30.0, 3000) >= lowest)
    expected = 900.0 * lowest / TAIL_START * np.exp(-0.5 * (lowest**2 - TAIL_START**2) / 0.9)
    assert lowest < rate.sigma(4.0)
    assert expected / n_above == pytest.approx(0.005, rel=0.02)


def skewed(rng: np.random.Generator, a: float, n: int = 1_000_000) -> np.ndarray:
    """Log-normal deviates of mean 0 as a filter gives them, in units of the scatter."""
    values = np.expm1(a * rng.normal(size=n)) / a
    return values - values.mean()


@pytest.mark.parametrize("a", [0.02, 0.05])
def test_asymmetry_is_the_skewness_and_is_taken_off(a: float, rng: np.random.Generator) -> None:
    values = skewed(rng, a)
    asymmetry = measure_asymmetry(values)
    assert asymmetry == pytest.approx(stats.skew(values), rel=0.15)
    rate = FalseRate(number=900.0, spread=0.9, n_beams=30_000.0, asymmetry=asymmetry)
    # As many are then above a height as in normal deviates, where without the correction there are far more.
    for height in (3.0, 3.5):
        n = values.size * stats.norm.sf(height)
        assert np.count_nonzero(rate.symmetric(values) > height) == pytest.approx(n, rel=0.15)
        assert np.count_nonzero(values > height) > 1.15 * n


def test_symmetric_noise_has_no_asymmetry_and_bright_peaks_keep_their_order(rng: np.random.Generator) -> None:
    normal = rng.normal(size=1_000_000)
    assert measure_asymmetry(normal) < 0.02
    assert measure_asymmetry(-skewed(rng, 0.05)) == 0.0
    assert measure_asymmetry(np.empty(0)) == 0.0
    assert measure_asymmetry(np.zeros(5)) == 0.0
    rate = FalseRate(number=900.0, spread=0.9, n_beams=30_000.0, asymmetry=0.2)
    s = np.linspace(0.0, 3000.0, 100_001)
    assert (np.diff(rate.symmetric(s)) > 0.0).all()
    taken_off = s - rate.symmetric(s)
    assert taken_off.max() == pytest.approx(taken_off[s > LARGEST_CORRECTED][0])


def test_sources_leave_no_asymmetry(random_seed: int) -> None:
    """Skewness is that of the background: a few faint sources are not seen at two sigma."""
    rng = np.random.default_rng(random_seed)
    values = rng.normal(size=100_000)
    values[:300] += rng.uniform(0.0, 3.5, 300)
    assert measure_asymmetry(values) < 0.04


def test_tail_is_less_gaussian_than_the_map() -> None:
    """Log-normal cirrus had five rows a map: its peaks come from bright parts, which are skewed more."""
    rng = np.random.default_rng(5)
    values = np.concatenate([rng.normal(size=700_000), skewed(rng, 0.11, 300_000)])
    skewness = measure_asymmetry(values)
    n = values.size * stats.norm.sf(4.5)
    corrected = {
        asymmetry: np.count_nonzero(
            FalseRate(number=900.0, spread=0.9, n_beams=30_000.0, asymmetry=asymmetry).symmetric(values) > 4.5
        )
        for asymmetry in (skewness, asymmetry_of_tail(skewness, share=3.0))
    }
    assert corrected[skewness] > 4.0 * n
    assert corrected[asymmetry_of_tail(skewness, share=3.0)] < 2.0 * n
    assert asymmetry_of_tail(0.02, share=3.0) == 0.02
    assert asymmetry_of_tail(0.0, share=3.0) == 0.0


def test_the_tail_of_what_may_be_faint_sources_is_that_of_the_map() -> None:
    """On a radio map of many faint sources a quarter of them was lost."""
    assert asymmetry_of_tail(0.25, share=1.9) == 0.25
    assert asymmetry_of_tail(0.25, share=0.4) == pytest.approx(0.1)
    assert asymmetry_of_tail(0.25, share=-0.8) == 0.0
    # Beyond what cirrus has it is not multiplied.
    assert asymmetry_of_tail(0.6, share=3.0) - asymmetry_of_tail(0.2, share=3.0) == pytest.approx(0.4)


def searched(preset: str, *, seed: int, **fields: object) -> MatchedSearch:
    image = simulate_image(preset, seed=seed, shape=(300, 300), **fields).image
    found = MatchedSearch.of(
        image.data, beam_covariance=image.central_beam_covariance, limits=PeakLimits(sigma_threshold=4.5)
    )
    assert found is not None
    return found


@pytest.mark.parametrize("seed", [501, 502])
def test_noise_is_no_louder_where_faint_sources_are_dense(seed: int) -> None:
    """They were taken for cirrus, which fluctuates more where it is bright: by half here."""
    view = searched("faint", seed=seed).found.view
    bright = view.brightness > np.quantile(view.brightness, 0.995)
    assert np.median((view.rms / view.typical)[bright]) < 1.3


def test_noise_of_faint_sources_is_no_background() -> None:
    """On deep maps, whose noise is skewed by faint sources, hardly a source was left."""
    found = searched("confused", seed=4, n_sources=7000, peak_range=(0.5, 20.0))
    assert false_rate(found.field, found.found).asymmetry > 0.3
    assert found.rate.asymmetry == 0.0


def test_knots_of_cirrus_are_background() -> None:
    found = searched("empty_lognormal", seed=4)
    measured = false_rate(found.field, found.found).asymmetry
    assert measured > 0.05
    assert found.rate.asymmetry > 1.3 * measured
