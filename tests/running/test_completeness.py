"""The run of injections: the same for any number of workers, resumable, precise as asked, right."""

import math

import numpy as np
import pytest
from scipy.special import ndtri

from helpers.injections import noise_sky
from hyper_py.diagnostics import ConfigurationError, HyperPyError, InputError
from hyper_py.injection.completeness import COLUMNS
from hyper_py.injection.drawing import FluxRange
from hyper_py.injection.plan import InjectionPlan, reached
from hyper_py.injection.tables import completeness_tables
from hyper_py.options import DetectionOptions, Options
from hyper_py.pipeline.extraction import extract_sources
from hyper_py.running.completeness import (
    RealisationDone,
    RoundFinished,
    completeness,
    estimate,
    local_executor,
    mark_of,
)
from hyper_py.running.run_store import Store

PLAN = InjectionPlan(precision=0.2, seed=3, max_runs=12, n_surrogates=2, n_sources=6)


@pytest.fixture(scope="module")
def extraction(random_seed):
    sky = noise_sky(random_seed, n_sources=12, peak_range=(5.0, 30.0), margin=2.0, shape=(100, 110))
    return extract_sources(sky.image)


@pytest.fixture(scope="module")
def serial(extraction):
    events = []
    result = estimate(extraction, plan=PLAN, execute=local_executor(1), on_event=events.append)
    return result, events


def same(one, other):
    return (
        one.records.tobytes() == other.records.tobytes()
        and one.purity.false.tobytes() == other.purity.false.tobytes()
        and one.error == other.error
    )


def test_worker_processes_give_what_one_process_gives(extraction, serial):
    assert same(serial[0], estimate(extraction, plan=PLAN, execute=local_executor(2)))


def test_a_run_that_was_stopped_goes_on_where_it_was(extraction, serial, tmp_path):
    class StoppedError(Exception):
        pass

    def stop_after(n):
        def on_event(event):
            if isinstance(event, RealisationDone) and event.n_done == n:
                raise StoppedError

        return on_event

    store = Store(directory=tmp_path / "runs", mark="a")
    with pytest.raises(StoppedError):
        estimate(extraction, plan=PLAN, execute=local_executor(1), store=store, on_event=stop_after(5))
    made = []
    again = Store(directory=tmp_path / "runs", mark="a", resume=True)
    result = estimate(extraction, plan=PLAN, execute=local_executor(1), store=again, on_event=made.append)
    assert same(serial[0], result)
    first = next(event for event in made if isinstance(event, RealisationDone))
    assert first.n_done == 6
    other = Store(directory=tmp_path / "runs", mark="b", resume=True)
    other.open()
    assert not other.results
    assert not list((tmp_path / "runs").glob("*.npy"))


def test_events_tell_the_progress(serial):
    result, events = serial
    done = [event for event in events if isinstance(event, RealisationDone)]
    rounds = [event for event in events if isinstance(event, RoundFinished)]
    assert [event.n_done for event in done] == list(range(1, len(done) + 1))
    assert len(done) == result.n_runs + 1 + PLAN.n_surrogates
    assert len(rounds) >= 2
    assert math.isnan(done[0].seconds_left)
    assert done[-1].seconds_left == 0.0
    assert done[-2].seconds_left > 0.0
    assert rounds[-1].result is result


def test_no_more_runs_than_allowed_and_none_where_the_precision_is_reached(extraction, serial):
    result, _ = serial
    assert result.n_runs == PLAN.max_runs
    one = FluxRange(low=1.0, high=5.0, bright=9.0)
    state = reached(result.records, result.setup, PLAN, (one, one))
    assert state.error == result.error > PLAN.precision
    assert state.n_more > 0
    easy = InjectionPlan(precision=0.49, n_sources=6)
    many = np.tile(result.records, 30)
    # Sources of a few runs leave bins of flux without any: many have all fluxes.
    many["peak"] *= np.exp(np.random.default_rng(1).uniform(-0.2, 0.2, many.size))
    assert reached(many, result.setup, easy, (one, one)).n_more == 0


@pytest.mark.slow
def test_white_noise_and_beams_give_the_normal_distribution_of_the_filters_signal_to_noise(random_seed):
    """Completeness is Phi(S/N - threshold), but for what the pipeline's own filter loses and peaks gain."""
    sky = noise_sky(random_seed, shape=(180, 180))
    options = Options(detection=DetectionOptions(sigma_thres=5.0))
    plan = InjectionPlan(precision=0.02, seed=1, max_runs=36, n_surrogates=0, n_sources=10)
    result = estimate(extract_sources(sky.image, options=options), plan=plan, execute=local_executor(1))
    curve = result.curve("SNR")
    for level in (0.5, 0.8):
        limit = curve.limit(level)
        assert limit.value == pytest.approx(5.0 + ndtri(level), abs=0.35 + 2.0 * (limit.high - limit.low))
    assert curve.curve[0] < 0.05
    assert curve.curve[-1] > 0.95
    records = result.records
    strong = records[(records["recovered"] > 0) & (result.signal_to_noise >= 8.0)]
    # Bins of it have 40 sources, and medians that are wrong by up to 6% by chance; all have 130.
    assert abs(np.median(strong["flux_found"] / strong["flux"]) - 1.0) < 0.04
    for one in result.accuracy:
        if one.low >= 8.0 and one.n >= 30:
            assert one.flux_pull_width == pytest.approx(1.0, abs=0.15 + 3.0 * one.pull_width_error)


def test_columns_are_added_and_nothing_else_is_changed(serial):
    result, _ = serial
    table, own = result.catalog(), result.extraction.catalog
    assert table.colnames == [*own.colnames, *COLUMNS]
    for name in own.colnames:
        np.testing.assert_array_equal(np.asarray(table[name]), np.asarray(own[name]))
    assert not set(COLUMNS) & set(own.colnames)
    for name in ("COMPLETENESS", "P_TRUE"):
        values = np.asarray(table[name])
        assert ((values >= 0.0) & (values <= 1.0)).all()
    order = np.argsort(np.asarray(own["SNR"]))
    assert (np.diff(np.asarray(table["P_TRUE"])[order]) >= 0.0).all()


def test_tables_hold_all_injected_sources_in_the_units_of_the_catalogue(serial):
    result, _ = serial
    tables = completeness_tables(result)
    counts = tables["completeness"]
    for quantity in ("FLUX_PEAK", "FLUX", "SNR"):
        chosen = counts[counts["QUANTITY"] == quantity]
        assert chosen["N_INJECTED"].sum() == len(result.records)
        assert chosen["N_FOUND"].sum() == result.records["recovered"].sum()
    peaks = counts[(counts["QUANTITY"] == "FLUX_PEAK") & (counts["N_INJECTED"] > 0)]
    assert set(peaks["UNIT"]) == {"mJy/beam"}
    assert peaks["LOW"].min() <= 1e3 * result.records["peak"].min()
    assert peaks["HIGH"].max() >= 1e3 * result.records["peak"].max()
    assert len(tables["limits"]) == 2 * 3 * 3
    assert tables["purity"]["N_ROWS"][0] == len(result.extraction.catalog)


def test_completeness_is_public_and_takes_options(extraction):
    import hyper_py

    options = Options(detection=DetectionOptions(sigma_thres=8.0))
    result = hyper_py.completeness(extraction.image, options=options, precision=0.3, max_runs=4)
    assert result.purity.threshold == 8.0
    assert "80% of beam-sized ones" in repr(result)
    assert hyper_py.completeness is completeness


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"precision": 0.7}, "precision is 0.7"),
        ({"positions": "clumped"}, "must be random or like-sources"),
        ({"max_runs": 0}, "max_runs is 0"),
        ({"n_sources": 1}, "n_sources is 1"),
    ],
)
def test_wrong_plans_are_refused_in_a_line(wrong, words):
    with pytest.raises(ConfigurationError, match=words):
        InjectionPlan(**wrong)


def test_what_cannot_be_injected_into_is_refused(extraction):
    tiny = noise_sky(shape=(9, 9)).image
    with pytest.raises(InputError, match="too small"):
        estimate(extract_sources(tiny), plan=PLAN, execute=local_executor(1))
    found = extract_sources(extraction.image, options=Options(detection_only=True))
    with pytest.raises(ConfigurationError, match="detection_only"):
        estimate(found, plan=PLAN, execute=local_executor(1))


def test_a_run_that_fails_says_which(extraction):
    def failing(function, tasks):
        from hyper_py.running.executors import Outcome

        yield Outcome(0, None, "out of memory", 1)

    with pytest.raises(HyperPyError, match=r"inverted_0000.*out of memory"):
        estimate(extraction, plan=PLAN, execute=failing)


def test_marks_differ_where_anything_does():
    assert mark_of(1, "a") == mark_of(1, "a")
    assert mark_of(1, "a") != mark_of(1, "b")
