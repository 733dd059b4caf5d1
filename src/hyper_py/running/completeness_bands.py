"""How complete is the catalogue of a field in several bands: extractions with injected sources."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyper_py.diagnostics import ConfigurationError
from hyper_py.running.completeness import (
    Execute,
    do_tasks,
    local_executor,
    mark_of,
    next_runs,
)
from hyper_py.running.process_settings import one_blas_thread
from hyper_py.running.run_store import Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from hyper_py.config import Config
    from hyper_py.injection.bands import BandsCompleteness, BandsSetup
    from hyper_py.injection.drawing import FluxRange
    from hyper_py.injection.plan import InjectionPlan
    from hyper_py.pipeline.bands import BandsExtraction

PILOT_RUNS = 4


@dataclass(frozen=True, kw_only=True)
class BandsTask:
    """One extraction of a field: of its inverted maps, or with injected sources."""

    kind: str
    index: int
    seed: int
    snr_range: "FluxRange"

    @property
    def name(self) -> str:
        """Name under which its result is kept: another one where other sources are injected."""
        chosen = self.snr_range
        ends = "_".join(f"{value:.6g}" for value in (chosen.low, chosen.high, chosen.bright))
        return f"{self.kind}_{self.index:04d}_{self.seed}_{ends}"


def run_bands_task(task: BandsTask, *, setup: "BandsSetup") -> Any:
    """Do one extraction: return records of injected sources, or the number of rows on inverted maps."""
    from hyper_py.injection.bands import realise_in_bands, rows_on_inverted_bands

    with one_blas_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the field's own extraction has given them
        if task.kind == "inverted":
            return rows_on_inverted_bands(setup)
        return realise_in_bands(setup, seed=(task.seed, task.index), snr_range=task.snr_range)


def completeness_bands(
    extraction: "BandsExtraction",
    *,
    precision: float = 0.05,
    seed: int = 1,
    max_runs: int = 100,
    jobs: int = 1,
    on_round: "Callable[[BandsCompleteness], None] | None" = None,
) -> "BandsCompleteness":
    """Tell how complete the catalogue of a field in several bands is, from sources injected into all of them.

    Parameters
    ----------
    extraction : BandsExtraction
        From `hyper_py.extract_bands`, of sources that were found, not given.
    precision : float
        Largest binomial error of the completeness in a bin of joint signal to noise where it rises.
    seed : int
        Same seed, same result, for any number of jobs.
    max_runs : int
        No more extractions with injected sources than these, precise or not.
    jobs : int
        Worker processes.
    on_round : callable, optional
        Called with what is known after each round.

    Returns
    -------
    hyper_py.injection.bands.BandsCompleteness

    Raises
    ------
    InputError
        If the field is too small.

    Examples
    --------
    >>> import hyper_py
    >>> field = hyper_py.simulate_bands(seed=1, size=500.0, n_sources=4, pair_fraction=0.0)
    >>> images = {one.band.name: one.image for one in field.maps if one.band.name in ("s250", "s350")}
    >>> found = hyper_py.extract_bands(images, wavelengths={"s250": 250.0, "s350": 350.0})
    >>> result = hyper_py.completeness_bands(found, precision=0.3, max_runs=2)
    >>> sorted(result.curves)
    ['FLUX_s250', 'FLUX_s350', 'SNR']
    """
    from hyper_py.injection.plan import InjectionPlan

    plan = InjectionPlan(precision=precision, seed=seed, max_runs=max_runs)
    return estimate_bands(extraction, plan=plan, execute=local_executor(jobs), on_round=on_round)


def estimate_bands(
    extraction: "BandsExtraction",
    *,
    plan: "InjectionPlan",
    execute: Execute,
    store: Store | None = None,
    on_round: "Callable[[BandsCompleteness], None] | None" = None,
) -> "BandsCompleteness":
    """Inject sources into the maps of a field until completeness is as precise as planned.

    Parameters
    ----------
    extraction : BandsExtraction
    plan : InjectionPlan
    execute : callable
        Does tasks: `hyper_py.running.completeness.local_executor` or `dask_executor`.
    store : Store, optional
        Where results are kept.
    on_round : callable, optional
    """
    import numpy as np

    from hyper_py.injection.bands import FIRST_RANGE, BandsCompleteness, make_bands_setup
    from hyper_py.injection.plan import missing_sources, next_snr_range

    setup, kept = make_bands_setup(extraction, n_sources=plan.n_sources), store or Store()
    kept.open()
    inverted = BandsTask(kind="inverted", index=0, seed=plan.seed, snr_range=FIRST_RANGE)
    done: list[BandsTask] = []
    chosen, n_next = FIRST_RANGE, min(PILOT_RUNS, plan.max_runs)
    while True:
        new = [
            BandsTask(kind="realisation", index=len(done) + k, seed=plan.seed, snr_range=chosen)
            for k in range(n_next)
        ]
        todo = [task for task in (inverted, *new) if task.name not in kept.results]
        for _ in do_tasks(
            run_bands_task, todo, setup=setup, execute=execute, store=kept, name=extraction.name
        ):
            pass
        done += new
        records = np.concatenate([kept.results[task.name] for task in done])
        snr, found = records["snr"], records["recovered"] > 0
        chosen, needed, error = (
            next_snr_range(snr, found, chosen), *missing_sources(snr, found, precision=plan.precision),
        )  # fmt: skip
        result = BandsCompleteness(
            extraction=extraction, setup=setup, plan=plan, records=records, error=error,
            n_inverted=int(kept.results[inverted.name]),
        )  # fmt: skip
        if on_round is not None:
            on_round(result)
        if error <= plan.precision or len(done) >= plan.max_runs:
            return result
        wanted = math.ceil(needed / max(len(records) / len(done), 1.0))
        n_next = next_runs(wanted, n_done=len(done), max_runs=plan.max_runs)


def measure_bands_completeness(
    config: "Config",
    inputs: Sequence[str] | None,
    *,
    plan: "InjectionPlan",
    resume: bool = False,
    on_round: "Callable[[BandsCompleteness], None] | None" = None,
) -> "list[BandsCompleteness]":
    """Estimate the completeness of fields in several bands and write their tables after each round.

    Parameters
    ----------
    config : Config
    inputs : sequence of str, optional
        As `hyper_py.running.fields.run_fields` takes them.
    plan : InjectionPlan
    resume : bool
        Use what extractions an earlier command has left.
    on_round : callable, optional

    Raises
    ------
    ConfigurationError
        For positions that are given, not detected.
    """
    from hyper_py.running.completeness_map import chosen_executor
    from hyper_py.running.field_task import measure_field
    from hyper_py.running.fields import field_tasks, resolve_fields
    from hyper_py.writing.completeness_files import results_directory, write_bands_completeness
    from hyper_py.writing.layout import Layout
    from hyper_py.writing.staging import held

    given = config.detection
    if given.use_fixed_source_table or given.fixed_peaks or given.regions:
        raise ConfigurationError("completeness is of detected sources; leave fixed positions and regions out")
    root, results = Path(config.below_root()).absolute(), []

    def tell(result: "BandsCompleteness") -> None:
        write_bands_completeness(root, result, forms=tuple(config.outputs.tables))
        if on_round is not None:
            on_round(result)

    for task in field_tasks(resolve_fields(config, inputs), config):
        mark = mark_of(task.depends, task.content(), plan.n_sources)
        store = Store(directory=results_directory(root, task.name), mark=mark, resume=resume)
        with held(Layout(root=root)):
            results.append(
                estimate_bands(
                    measure_field(task), plan=plan, execute=chosen_executor(config.control), store=store,
                    on_round=tell,
                )
            )  # fmt: skip
    return results
