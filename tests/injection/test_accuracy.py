"""Bias, scatter and pulls of records of which they are known."""

import math

import numpy as np
import pytest

from helpers.injections import made_records
from hyper_py.injection.accuracy import accuracy, running_bias


@pytest.fixture
def records(rng):
    n = 6000
    snr = np.exp(rng.uniform(np.log(3.0), np.log(50.0), n))
    made = made_records(snr, rng.random(n) < 0.7)
    for name, error in (("flux", 1.0), ("peak", 0.8)):
        # Errors are given 20% too small for the flux, and right for the peak.
        made[f"{name}_found"] = 1.05 * made[name] + rng.normal(0.0, error, n)
        made[f"{name}_err"] = error / (1.2 if name == "flux" else 1.0)
    for axis in "xy":
        made[f"{axis}_found"] = made[axis] + rng.normal(0.0, 0.3, n)
        made[f"{axis}_err"] = 0.3
    return made


def test_bins_give_back_what_was_put_in(records):
    last = accuracy(records, records["amplitude"], edges=(3.0, 20.0, 60.0))[1]
    assert last.n_injected == np.sum(records["amplitude"] >= 20.0)
    assert last.n / last.n_injected == pytest.approx(0.7, abs=0.05)
    assert last.flux_bias == pytest.approx(0.05, abs=0.01)
    assert last.flux_scatter == pytest.approx(1.0 / 33.0, rel=0.25)
    assert last.position_scatter == pytest.approx(0.3, rel=0.08)
    assert last.position_pull_width == pytest.approx(1.0, abs=0.08)


def test_width_of_pulls_is_the_scale_of_errors(records):
    records["flux_found"] -= 0.05 * records["flux"]
    whole = accuracy(records, records["amplitude"], edges=(3.0, math.inf))[0]
    assert whole.flux_pull_width == pytest.approx(1.2, abs=4.0 * 1.2 * whole.pull_width_error)
    assert whole.flux_pull_width > 1.2 - 4.0 * whole.pull_width_error > 1.1


def test_standard_error_of_the_width_is_what_repetitions_show(rng):
    from hyper_py.validation.comparison import robust_sigma

    widths = [robust_sigma(rng.standard_normal(400)) for _ in range(800)]
    made = made_records(np.full(400, 10.0), np.ones(400))
    assert np.std(widths) == pytest.approx(accuracy(made, made["amplitude"])[0].pull_width_error, rel=0.1)


def test_bins_of_few_sources_say_nothing(records):
    few = accuracy(records[:2], records["amplitude"][:2], edges=(3.0, math.inf))[0]
    assert math.isnan(few.flux_bias)


def test_running_bias_follows_the_median():
    snr = np.geomspace(4.0, 40.0, 400)
    bias = running_bias(snr, 1.0 + 1.0 / snr, at=np.array([5.0, 20.0, math.nan]))
    np.testing.assert_allclose(bias[:2], [0.2, 0.05], rtol=0.05)
    assert math.isnan(bias[2])
    assert np.isnan(running_bias(snr[:2], snr[:2], at=np.array([5.0]))).all()
