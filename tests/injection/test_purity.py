"""False rows: maps that keep everything but the sources, and what is expected from counts on them."""

import math

import numpy as np
import pytest

from helpers.injections import sky_setup
from hyper_py.injection.purity import Purity, inverted_map, surrogate_map
from hyper_py.injection.sensitivity import measure_sensitivity
from hyper_py.numerics import gaussians


@pytest.fixture(scope="module")
def setup(random_seed):
    return sky_setup(
        random_seed, noise_white_fraction=0.2, background="smooth", background_rms=2.0, blank_border=8,
        noise_variation=3.0, shape=(160, 160), margin=4.0,
    )  # fmt: skip


def test_inverted_map_has_no_sources_and_the_same_noise(setup):
    inverted = inverted_map(setup)
    residual = setup.image.data - gaussians.render(setup.known, setup.image.shape)
    known = np.isfinite(residual)
    np.testing.assert_array_equal(np.isfinite(inverted.data), known)
    assert np.std(inverted.data[known]) == pytest.approx(np.std(residual[known]), rel=1e-9)
    assert np.corrcoef(inverted.data[known], residual[known])[0, 1] == pytest.approx(-1.0)


def test_surrogates_keep_blanks_level_and_the_noise_of_the_filter(setup):
    ratios = []
    for k in range(4):
        surrogate = surrogate_map(setup, seed=(7, k))
        np.testing.assert_array_equal(np.isnan(surrogate.data), np.isnan(setup.image.data))
        again = measure_sensitivity(surrogate.data, beam_covariance=setup.image.beam_covariance(80.0, 80.0))
        ratios.append(again.sigma / setup.sensitivity.sigma)
    ratio = np.mean(ratios, axis=0)[setup.usable]
    # Level, spectrum and so the noise of the filter that follows from them, everywhere on the map.
    assert np.median(ratio) == pytest.approx(1.0, abs=0.06)
    assert np.percentile(ratio, [5, 95]) == pytest.approx(1.0, abs=0.3)


def test_surrogates_are_random_and_repeatable(setup):
    first, again, other = (surrogate_map(setup, seed=(7, k)).data for k in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    valid = setup.sensitivity.valid
    assert abs(np.corrcoef(first[valid], other[valid])[0, 1]) < 0.3
    residual = setup.image.data - gaussians.render(setup.known, setup.image.shape)
    assert abs(np.corrcoef(first[valid], residual[valid])[0, 1]) < 0.3


def counted(rng, *, n_maps=20, mean=6.0, decay=0.4, n_rows=100):
    """Counts on maps without sources, exponential above 4.5, and a catalogue with as many false rows."""
    false = [4.5 + rng.exponential(decay, rng.poisson(mean)) for _ in range(n_maps)]
    rows = np.concatenate([4.5 + rng.exponential(decay, rng.poisson(mean)), rng.uniform(4.5, 20.0, n_rows)])
    return Purity(threshold=4.5, rows=rows, inverted=false[0], surrogates=tuple(false[1:]))


def test_expected_false_rows_follow_the_exponential_behind_them(rng):
    purity = counted(rng)
    assert purity.expected_false() == pytest.approx(6.0, rel=0.25)  # 120 counts: 9%
    assert purity.expected_false(5.5) == pytest.approx(6.0 * math.exp(-1.0 / 0.4), rel=0.45)
    low, high = purity.expected_interval()
    assert low < purity.expected_false() < high
    assert purity.purity() == pytest.approx(1.0 - 6.0 / len(purity.rows), abs=0.03)


def test_threshold_for_a_purity_reaches_it_and_no_lower_one_does(rng):
    purity = counted(rng)
    threshold = purity.threshold_for(0.99)
    assert purity.purity(threshold) >= 0.99
    assert purity.purity(threshold - 0.01) < 0.99
    assert purity.threshold_for(0.5) == 4.5


def test_probability_of_a_row_to_be_true_rises_and_sums_to_the_true_rows(rng):
    purity = counted(rng)
    at = np.linspace(4.5, 20.0, 50)
    probability = purity.probability_true(at)
    assert (np.diff(probability) >= 0.0).all()
    assert probability[0] < 0.9
    assert probability[-1] == pytest.approx(1.0)
    # What rows lack of certainty is the number of false ones among them.
    missing = np.sum(1.0 - purity.probability_true(purity.rows))
    assert missing == pytest.approx(purity.expected_false(), rel=0.4)


def test_an_inverted_map_with_more_false_rows_than_surrogates_explain_is_counted_alone():
    few, many = np.full(2, 5.0), np.linspace(4.5, 9.0, 16)
    gaussian = Purity(threshold=4.5, rows=many, inverted=few, surrogates=(few,) * 8)
    tails = Purity(threshold=4.5, rows=many, inverted=many, surrogates=(few,) * 8)
    assert not gaussian.has_tails
    assert gaussian.expected_false() == 2.0
    assert tails.has_tails
    assert tails.expected_false() == 16.0
    # Fewer than the surrogates have are no tails.
    fewer = Purity(threshold=4.5, rows=many, inverted=np.empty(0), surrogates=(many,) * 8)
    assert not fewer.has_tails
    assert fewer.expected_false() == pytest.approx(16.0 * 8 / 9)


def test_without_false_rows_all_are_true():
    nothing = np.empty(0)
    purity = Purity(threshold=4.5, rows=np.array([5.0, 9.0]), inverted=nothing, surrogates=(nothing,))
    assert purity.expected_false() == 0.0
    assert purity.expected_interval()[1] > 0.5  # one map more might have one
    np.testing.assert_array_equal(purity.probability_true(purity.rows), [1.0, 1.0])
    assert purity.threshold_for(0.99) == 4.5


def test_an_empty_catalogue_has_no_purity():
    nothing = np.empty(0)
    purity = Purity(threshold=4.5, rows=nothing, inverted=np.array([5.0]), surrogates=())
    assert math.isnan(purity.purity())
    assert math.isnan(purity.threshold_for(0.9))
    assert np.isnan(purity.probability_true(np.array([5.0]))).all()
