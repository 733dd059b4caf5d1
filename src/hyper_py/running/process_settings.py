"""Threads and memory of a process that does maps."""

import contextlib
import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

_BLAS_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
BLAS_ENVIRONMENT = dict.fromkeys(_BLAS_VARIABLES, "1")
"""One BLAS thread a worker: maps are the parallel unit, and sums then have one order everywhere."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_KEPT = 32 * 1024**2


@contextlib.contextmanager
def pinned_blas() -> Iterator[None]:
    """Give processes started inside this context one BLAS thread each."""
    before = {name: os.environ.get(name) for name in BLAS_ENVIRONMENT}
    os.environ.update(BLAS_ENVIRONMENT)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def pin_own_blas() -> None:
    """Give this process one BLAS thread from the start, unless NumPy is loaded: then it is too late."""
    if "numpy" not in sys.modules:
        os.environ.update(BLAS_ENVIRONMENT)


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """Limit BLAS to one thread, whatever the environment says: also where NumPy was loaded long before."""
    with _blas().limit(limits=1, user_api="blas"):
        yield


@cache
def _blas() -> Any:
    """Return what is in control of the libraries of threads that are loaded."""
    import scipy.linalg  # noqa: F401  (it brings a library of its own, which must be there to be limited)
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@contextlib.contextmanager
def without_collections() -> Iterator[None]:
    """Look for no garbage while libraries are loaded: they make many objects, and none to throw away."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()  # nor ever look at them again
        if was_on:
            gc.enable()


def keep_freed_memory() -> None:
    """Have memory of arrays that are freed kept for the next ones, not returned and fetched page by page.

    glibc returns at once what is larger than a bound, which grows with what is freed (mallopt(3)), but not
    where `MALLOC_TRIM_THRESHOLD_` is set, as it is in workers of dask. Here it is as large as it can grow.
    Elsewhere this changes nothing.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        set_bound = ctypes.CDLL(None).mallopt
        set_bound(_M_MMAP_THRESHOLD, _LARGEST_KEPT)
        set_bound(_M_TRIM_THRESHOLD, 2 * _LARGEST_KEPT)
