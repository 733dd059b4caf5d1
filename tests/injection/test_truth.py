"""The curve of a validation is that of its true sources."""

import numpy as np
import pytest
from astropy.table import Table
from scipy.special import ndtr

from hyper_py.injection.truth import curve_of_validation, limits_table
from hyper_py.validation.validation import validate


def compared(rng, n, *, with_snr=True):
    snr = np.exp(rng.uniform(np.log(2.0), np.log(15.0), n))
    places = {"X": 20.0 * np.arange(n), "Y": np.zeros(n)}
    truth = Table(places | ({"SNR": snr} if with_snr else {}))
    return validate(truth[rng.random(n) < ndtr(snr - 5.0)], truth, beam_fwhm=4.0)


def test_half_is_found_at_the_threshold(rng):
    curve = curve_of_validation(compared(rng, 3000))
    assert curve.limit(0.5).value == pytest.approx(5.0, rel=0.03)
    assert curve.injected.sum() == 3000
    _, header, rows = limits_table(curve)
    assert rows[0][0] == "50%"
    assert float(rows[0][1]) == pytest.approx(5.0, rel=0.03)
    assert len(header) == len(rows[0])


def test_no_curve_without_signal_to_noise_or_with_few_sources(rng):
    assert curve_of_validation(compared(rng, 100, with_snr=False)) is None
    assert curve_of_validation(compared(rng, 10)) is None


def test_limits_below_all_sources_and_limits_that_are_not_reached():
    """All found from a signal to noise of 8 on: half are found somewhere below; where nothing is, nowhere."""
    snr = np.linspace(8.0, 30.0, 40)
    truth = Table({"X": 20.0 * np.arange(40), "Y": np.zeros(40), "SNR": snr})
    every = curve_of_validation(validate(truth, truth, beam_fwhm=4.0))
    assert [row[1] for row in limits_table(every)[2]] == ["below 8"] * 3
    shifted = Table({"X": truth["X"] + 10.0, "Y": truth["Y"]})
    none = curve_of_validation(validate(shifted, truth, beam_fwhm=4.0))
    assert [row[1] for row in limits_table(none)[2]] == ["not reached"] * 3
