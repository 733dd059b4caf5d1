"""Rounds of injections into several bands: no more than asked for, and none that was made before."""

import numpy as np
import pytest

from hyper_py import extract_bands, simulate_bands
from hyper_py.diagnostics import HyperPyError
from hyper_py.injection.plan import InjectionPlan
from hyper_py.running import completeness_bands as module
from hyper_py.running.completeness import local_executor
from hyper_py.running.completeness_bands import estimate_bands
from hyper_py.running.run_store import Store

WAVELENGTHS = {"s250": 250.0, "s350": 350.0}


@pytest.fixture(scope="module")
def extraction(random_seed):
    field = simulate_bands(seed=random_seed, size=500.0, n_sources=8, pair_fraction=0.0)
    images = {one.band.name: one.image for one in field.maps if one.band.name in WAVELENGTHS}
    return extract_bands(images, wavelengths=WAVELENGTHS)


def made_up(task, *, setup):
    """Records of 50 sources, of which those above a signal to noise of 5 are found, without an extraction."""
    from hyper_py.injection.bands import band_record

    if task.kind == "inverted":
        return 3
    rng = np.random.default_rng((task.seed, task.index))
    records = np.zeros(50, dtype=band_record(2))
    records["snr"] = task.snr_range.draw(rng, 50)
    records["flux"] = records["snr"][:, None] * [1.0, 2.0]
    records["recovered"] = records["snr"] + rng.standard_normal(50) > 5.0
    records["realisation"] = task.index
    return records


def test_rounds_go_on_until_the_precision_is_reached(extraction, monkeypatch):
    monkeypatch.setattr(module, "run_bands_task", made_up)
    rounds = []
    plan = InjectionPlan(precision=0.05, seed=1, max_runs=400)
    result = estimate_bands(extraction, plan=plan, execute=local_executor(1), on_round=rounds.append)
    assert result.error <= 0.05
    assert 4 < result.n_runs < 60
    assert [one.n_runs for one in rounds] == sorted(one.n_runs for one in rounds)
    assert rounds[0].n_runs == module.PILOT_RUNS
    # Phi(S/N - 5): half of the sources are found at 5, 80% at 5.84.
    for level, right in ((0.5, 5.0), (0.8, 5.84)):
        limit = result.curves["SNR"].limit(level)
        assert abs(limit.value - right) < 4.0 * (limit.high - limit.low) / 2.0 + 0.1
    flux = result.curves["FLUX_s350"].limit(0.5).value / result.setup.options.flux_per_jy
    assert flux == pytest.approx(2.0 * result.curves["SNR"].limit(0.5).value, rel=0.02)
    assert result.n_inverted == 3


def test_no_more_runs_than_allowed_and_none_again(extraction, tmp_path, monkeypatch):
    done = []

    def counted(task, *, setup):
        done.append(task.name)
        return made_up(task, setup=setup)

    monkeypatch.setattr(module, "run_bands_task", counted)
    plan = InjectionPlan(precision=0.001, seed=1, max_runs=7)
    results = [
        estimate_bands(
            extraction, plan=plan, execute=local_executor(1),
            store=Store(directory=tmp_path, mark="one", resume=resume),
        )
        for resume in (False, True)
    ]  # fmt: skip
    assert results[0].n_runs == results[1].n_runs == 7
    assert results[0].records.tobytes() == results[1].records.tobytes()
    assert len(done) == len(set(done)) == 8


def test_a_run_that_fails_is_named(extraction, monkeypatch):
    def fail(task, *, setup):
        raise ValueError("no luck")

    monkeypatch.setattr(module, "run_bands_task", fail)
    with pytest.raises(HyperPyError, match=r"inverted_0000_.*no luck"):
        estimate_bands(extraction, plan=InjectionPlan(max_runs=4), execute=local_executor(1))
