"""How complete is the catalogue of a map: many runs of the pipeline with injected sources, in parallel.

Realisations are made in rounds. What a round injects is decided from the rounds before it, and each
realisation has random numbers of its own, so that the result does not depend on who does what first.
"""

from __future__ import annotations  # short signatures in notebooks

import hashlib
import math
import pickle
import time
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, Unpack

from hyper_py import __version__
from hyper_py.diagnostics import ConfigurationError, HyperPyError
from hyper_py.display import shows_keywords
from hyper_py.options import OptionChanges, Options
from hyper_py.running import executors
from hyper_py.running.dask_cluster import execute_dask
from hyper_py.running.process_settings import one_blas_thread
from hyper_py.running.run_store import Store
from hyper_py.running.worker_processes import execute_processes

if TYPE_CHECKING:
    from hyper_py.image import SkyImage
    from hyper_py.injection.completeness import Completeness
    from hyper_py.injection.drawing import FluxRange
    from hyper_py.injection.plan import InjectionPlan
    from hyper_py.injection.setup import InjectionSetup
    from hyper_py.pipeline.extraction import Extraction

_GROWTH = 1.5
"""A round makes at most this many times the realisations of all before: the curve may still change."""
_LEAST_GROWTH = 0.15
_SURROGATE, _REALISATION = 1, 2
"""Second numbers of seeds, so that no two maps share random numbers."""


@dataclass(frozen=True, kw_only=True)
class RealisationTask:
    """One run of the pipeline: on the inverted map, on a surrogate, or with injected sources."""

    kind: str
    index: int
    seed: int
    ranges: tuple[FluxRange, FluxRange] | None = None
    positions: str = "random"

    @property
    def name(self) -> str:
        """Name under which its result is kept: another one where other sources are injected."""
        what = hashlib.sha256(repr((self.seed, self.ranges, self.positions)).encode()).hexdigest()[:12]
        return f"{self.kind}_{self.index:04d}_{what}"


@dataclass(frozen=True, kw_only=True)
class RealisationDone:
    """A run of the pipeline was done.

    `n_runs` is how many are expected in all; `error` the largest binomial error so
    far, infinite where a bin is empty; `seconds_left` is NaN in the first round.
    """

    name: str
    n_done: int
    n_runs: int
    error: float
    seconds_left: float


@dataclass(frozen=True, kw_only=True)
class RoundFinished:
    """A round is over: `result` is what is known so far."""

    result: Completeness


Event: TypeAlias = RealisationDone | RoundFinished
OnEvent: TypeAlias = Callable[[Event], None]
Execute: TypeAlias = Callable[[Callable[[Any], Any], Sequence[Any]], executors.Outcomes]


@shows_keywords(OptionChanges)
def completeness(
    image: SkyImage | Extraction,
    *,
    options: Options | None = None,
    precision: float = 0.02,
    seed: int = 1,
    positions: str = "random",
    max_runs: int = 400,
    jobs: int = 1,
    on_event: OnEvent | None = None,
    **changes: Unpack[OptionChanges],
) -> Completeness:
    """Tell how complete and pure the catalogue of a map is, from sources injected into it.

    Parameters
    ----------
    image : SkyImage or Extraction
        A map from `hyper_py.read_image` or `hyper_py.as_sky_image`; or what was extracted from it, whose
        options are then those in question.
    options : Options, optional
        Of the extraction in question; default: those of a new configuration.
    precision : float
        Largest binomial error of the completeness in a bin of peak flux where it rises.
    seed : int
        Same seed, same result, for any number of jobs.
    positions : {"random", "like-sources"}
        "like-sources": injected sources with the map's own sizes have neighbours as near as the catalogue's.
    max_runs : int
        No more runs of the pipeline with injected sources than these, precise or not.
    jobs : int
        Worker processes.
    on_event : callable, optional
        Called with `RealisationDone` and `RoundFinished`.
    **changes
        Other values of `options`, as in `hyper_py.extract_sources`.

    Returns
    -------
    hyper_py.injection.completeness.Completeness

    Raises
    ------
    InputError
        If the map is blank, or a run of the pipeline fails on it.
    ConfigurationError
        For options that make no sense.

    Examples
    --------
    >>> import hyper_py
    >>> sky = hyper_py.simulate_image("faint", seed=1, shape=(120, 120), n_sources=15)
    >>> result = hyper_py.completeness(sky.image, seed=2, max_runs=8)  # 400 runs by default: minutes
    >>> 3.0 < result.curve("SNR").limit(0.5).value < 10.0
    True
    """
    from hyper_py.image import checked_image
    from hyper_py.injection.plan import InjectionPlan
    from hyper_py.pipeline.extraction import Extraction, extract_sources

    if isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1:
        raise ConfigurationError(f"completeness: jobs={jobs!r}: give the number of worker processes")
    if isinstance(image, Extraction):
        if options is not None or changes:
            raise ConfigurationError(
                "completeness: an extraction has its options: give its `.image` for others"
            )
        extraction = image
    else:
        chosen = Options.chosen(options, **changes)
        extraction = extract_sources(checked_image(image, name="image"), options=chosen)
    plan = InjectionPlan(precision=precision, seed=seed, positions=positions, max_runs=max_runs)
    execute = local_executor(jobs)
    return estimate(extraction, plan=plan, execute=execute, on_event=on_event)


def local_executor(jobs: int) -> Execute:
    """Return what does tasks in this process, or in worker processes."""

    def execute(function: Callable[[Any], Any], tasks: Sequence[Any]) -> executors.Outcomes:
        n_workers = min(jobs, len(tasks))
        if n_workers <= 1:
            return executors.execute_serial(function, tasks, on_start=_ignore)
        return execute_processes(function, tasks, n_workers=n_workers, on_start=_ignore)

    return execute


def dask_executor(jobs: int, scheduler: str | None) -> Execute:
    """Return what does tasks on a dask cluster."""

    def execute(function: Callable[[Any], Any], tasks: Sequence[Any]) -> executors.Outcomes:
        n_workers = max(1, min(jobs, len(tasks)))
        return execute_dask(function, tasks, n_workers=n_workers, scheduler=scheduler, on_start=_ignore)

    return execute


def _ignore(index: int, attempt: int) -> None:
    """Tell nobody that a task was started."""


def run_task(task: RealisationTask, *, setup: InjectionSetup) -> Any:
    """Do one run of the pipeline: return records of injected sources, or signal to noise of false rows."""
    from hyper_py.injection import purity
    from hyper_py.injection.recovery import realise

    with one_blas_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the map's own extraction has given them
        if task.kind == "inverted":
            return purity.false_rows(purity.inverted_map(setup), setup)
        if task.kind == "surrogate":
            seed = (task.seed, _SURROGATE, task.index)
            return purity.false_rows(purity.surrogate_map(setup, seed=seed), setup)
        assert task.ranges is not None
        seed = (task.seed, _REALISATION, task.index)
        return realise(setup, seed=seed, ranges=task.ranges, positions=task.positions)


def next_runs(n_more: int, *, n_done: int, max_runs: int) -> int:
    """Return how many realisations the next round makes, if so many more seem to be needed."""
    # No rounds of one: workers have to be started for each.
    n_next = max(n_more, math.ceil(_LEAST_GROWTH * n_done))
    return min(n_next, math.ceil(_GROWTH * n_done), max_runs - n_done)


def do_tasks(
    function: Callable[..., Any],
    tasks: Sequence[Any],
    *,
    setup: Any,
    execute: Execute,
    store: Store,
    name: str,
) -> Generator[Any, None, None]:
    """Do tasks and store their results; yield each task when it is done.

    Parameters
    ----------
    function : callable
        Does a task, with the keyword `setup`.
    tasks : sequence
        With a `name` under which their results are stored.
    setup : object
    execute : callable
    store : Store
    name : str
        Of the map or field, for messages.

    Raises
    ------
    HyperPyError
        If a task fails.
    """
    if not tasks:
        return
    with closing(execute(partial(_do, function, _Silent(setup)), tasks)) as outcomes:
        for outcome in outcomes:
            task = tasks[outcome.index]
            if outcome.error:
                raise HyperPyError(f"{name}: {task.name}: {outcome.error}")
            store.add(task.name, outcome.value)
            yield task


class _Silent:
    """Something of which copies in other processes do not give the warnings of its WCS again."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __reduce__(self) -> tuple[Callable[[bytes], _Silent], tuple[bytes]]:
        return _read_silently, (pickle.dumps(self.value),)


def _read_silently(text: bytes) -> _Silent:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _Silent(pickle.loads(text))


def _do(function: Callable[..., Any], setup: _Silent, task: Any) -> Any:
    return function(task, setup=setup.value)


def mark_of(*parts: object) -> str:
    """Return a hash of what decides results, the version included."""
    return hashlib.sha256("\n".join(map(repr, (__version__, *parts))).encode()).hexdigest()


def estimate(
    extraction: Extraction,
    *,
    plan: InjectionPlan,
    execute: Execute,
    store: Store | None = None,
    on_event: OnEvent | None = None,
) -> Completeness:
    """Inject sources into a map until completeness is as precise as planned.

    Parameters
    ----------
    extraction : Extraction
        Of the map as it is.
    plan : InjectionPlan
    execute : callable
        Does tasks: `local_executor` or `dask_executor`.
    store : Store, optional
        Where results are kept.
    on_event : callable, optional

    Returns
    -------
    Completeness
        Of the planned precision, or of `max_runs` realisations.
    """
    return _Estimate(extraction, plan, execute, store or Store(), on_event).run()


class _Estimate:
    """The state of one estimate: runs done and runs expected."""

    def __init__(
        self,
        extraction: Extraction,
        plan: InjectionPlan,
        execute: Execute,
        store: Store,
        on_event: OnEvent | None,
    ) -> None:
        from hyper_py.injection.setup import make_setup

        self.extraction, self.plan, self.execute = extraction, plan, execute
        self.store, self.on_event = store, on_event
        self.setup = make_setup(extraction, n_sources=plan.n_sources)
        self.error, self.n_done, self.n_expected = math.inf, 0, 0
        self.realised: list[RealisationTask] = []
        self.started, self.n_made = time.perf_counter(), 0

    def run(self) -> Completeness:
        """Make rounds until the precision is reached."""
        import numpy as np

        from hyper_py.injection.plan import first_ranges, next_ranges, pilot_runs, reached

        plan, setup = self.plan, self.setup
        ranges = first_ranges(setup)
        self.store.open()
        n_next, n_realised, n_empty = pilot_runs(setup, plan), 0, 1 + plan.n_surrogates
        self.n_expected = n_empty + n_next
        empty: list[RealisationTask] = []
        due = [RealisationTask(kind="inverted", index=0, seed=plan.seed)]
        # Surrogates wait for the second round: the first answer comes early.
        later = [RealisationTask(kind="surrogate", index=k, seed=plan.seed) for k in range(plan.n_surrogates)]
        while True:
            tasks = [
                RealisationTask(
                    kind="realisation", index=k, seed=plan.seed, ranges=ranges, positions=plan.positions
                )
                for k in range(n_realised, n_realised + n_next)
            ]
            self.do(due + tasks)
            empty, due, later = empty + due, later, []
            n_realised += n_next
            self.realised += tasks
            records = np.concatenate([self.store.results[task.name] for task in self.realised])
            ranges = next_ranges(records, setup, ranges)
            state = reached(records, setup, plan, ranges)
            self.error = state.error
            result = self.result(records, empty)
            if self.on_event is not None:
                self.on_event(RoundFinished(result=result))
            enough = not state.n_more or n_realised >= plan.max_runs
            if enough and not due:
                return result
            n_next = 0 if enough else next_runs(state.n_more, n_done=n_realised, max_runs=plan.max_runs)
            n_more = 0 if enough else state.n_more
            self.n_expected = n_empty + min(n_realised + n_more, plan.max_runs)

    def do(self, tasks: Sequence[RealisationTask]) -> None:
        """Do the tasks of a round that are not done yet."""
        todo = [task for task in tasks if task.name not in self.store.results]
        self.n_done += len(tasks) - len(todo)
        done = do_tasks(
            run_task, todo, setup=self.setup, execute=self.execute, store=self.store,
            name=self.setup.image.name,
        )  # fmt: skip
        with closing(done):  # whoever is told may end it all
            for _ in done:
                self.n_done, self.n_made = self.n_done + 1, self.n_made + 1
                self.tell()

    def tell(self) -> None:
        """Tell that a task was done."""
        if self.on_event is None:
            return
        pace = (time.perf_counter() - self.started) / self.n_made
        left = pace * (self.n_expected - self.n_done) if self.realised else math.nan
        self.on_event(
            RealisationDone(
                name=self.setup.image.name, n_done=self.n_done, n_runs=self.n_expected, error=self.error,
                seconds_left=left,
            )
        )  # fmt: skip

    def result(self, records: Any, empty: Sequence[RealisationTask]) -> Completeness:
        """Return what is known so far."""
        import numpy as np

        from hyper_py.injection.completeness import Completeness
        from hyper_py.injection.purity import Purity

        inverted, *surrogates = (self.store.results[task.name] for task in empty)
        purity = Purity(
            threshold=self.setup.options.detection.sigma_thres,
            rows=np.asarray(self.extraction.catalog["SNR"], dtype=np.float64),
            inverted=inverted,
            surrogates=tuple(surrogates),
        )
        return Completeness(
            extraction=self.extraction, setup=self.setup, plan=self.plan, records=records, purity=purity,
            error=self.error,
        )  # fmt: skip
