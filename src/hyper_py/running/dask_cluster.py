"""Tasks on a dask cluster: a running one, or a local one that is started."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

from hyper_py.diagnostics import ConfigurationError
from hyper_py.running.executors import MAX_ATTEMPTS, Function, OnStart, Outcome, Outcomes, attempt, one_line
from hyper_py.running.process_settings import pinned_blas

DASK_TIMEOUT = "30s"


@contextlib.contextmanager
def _dask_client(n_workers: int, scheduler: str | None) -> Iterator[Any]:
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError:
        raise ConfigurationError(
            "control.executor is 'dask', but its package is not installed: pip install 'hyper-py[dask]'"
        ) from None
    with contextlib.ExitStack() as stack:
        if scheduler:
            try:
                client = stack.enter_context(Client(scheduler, timeout=DASK_TIMEOUT))
            except (OSError, ValueError) as error:
                raise ConfigurationError(
                    f"control.dask_scheduler: no scheduler answers at {scheduler!r} ({one_line(error)})"
                ) from None
            yield client
            return
        stack.enter_context(pinned_blas())
        stack.enter_context(dask.config.set({"distributed.scheduler.allowed-failures": MAX_ATTEMPTS - 1}))
        cluster = stack.enter_context(
            LocalCluster(n_workers=n_workers, threads_per_worker=1, dashboard_address=None)
        )
        yield stack.enter_context(Client(cluster))


def execute_dask(
    function: Function,
    tasks: Iterable[Any],
    *,
    n_workers: int,
    scheduler: str | None = None,
    on_start: OnStart,
) -> Outcomes:
    """Do tasks on a dask cluster.

    Parameters
    ----------
    function : callable
        Of one task; importable by the workers.
    tasks : iterable
        Picklable; each worker thread is given at most two at a time.
    n_workers : int
        Size of the local cluster that is started when no scheduler is given.
    scheduler : str, optional
        Address of a running scheduler, such as `tcp://host:8786`; its workers must see the same files.
        How often it retries a task whose worker died is its setting `distributed.scheduler.allowed-failures`.
    on_start : callable
        Called with the index and 1 when a task is submitted.

    Yields
    ------
    Outcome
        In order of completion.

    Raises
    ------
    ConfigurationError
        `distributed` is not installed, or there is no scheduler at the address.
    """
    with _dask_client(n_workers, scheduler) as client:
        from distributed import KilledWorker, as_completed

        waiting = enumerate(tasks)
        indices: dict[str, int] = {}
        completed = as_completed()

        def submit() -> bool:
            for index, task in waiting:
                on_start(index, 1)
                future = client.submit(attempt, function, task, pure=False)
                indices[future.key] = index
                completed.add(future)
                return True
            return False

        def top_up() -> None:
            free = 2 * max(1, sum(client.nthreads().values())) - len(indices)
            while free > 0 and submit():
                free -= 1

        top_up()
        try:
            for future in completed:
                index = indices.pop(future.key)
                # A result that was lost with its worker is computed again: exception() waits for that.
                failure = future.exception()
                if failure is None:
                    value, error = future.result()
                    yield Outcome(index, value, error, 1)
                elif isinstance(failure, KilledWorker):
                    yield Outcome(index, None, "its worker died repeatedly (out of memory?)", MAX_ATTEMPTS)
                else:
                    yield Outcome(index, None, one_line(failure), 1)
                top_up()
        finally:
            client.cancel(list(completed.futures))
