import numpy as np
import pytest
from scipy import integrate, stats

from hyper_py.detection.false_rate import TAIL_START, FalseRate, measure_false_rate


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
