"""Threads and memory of a process are as asked for, and as before afterwards."""

import gc
import os
import platform
import subprocess
import sys

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from hyper_py.running.process_settings import (
    one_blas_thread,
    pin_own_blas,
    pinned_blas,
    without_collections,
)


def test_environment_is_restored(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with pinned_blas():
        assert os.environ["OMP_NUM_THREADS"] == os.environ["MKL_NUM_THREADS"] == "1"
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


def test_blas_of_this_process_is_left_alone_once_numpy_is_loaded(monkeypatch):
    import numpy

    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    pin_own_blas()
    assert os.environ["OMP_NUM_THREADS"] == "7"
    monkeypatch.delitem(sys.modules, "numpy")
    pin_own_blas()
    assert os.environ["OMP_NUM_THREADS"] == "1"
    assert numpy is not None


def blas_threads():
    return {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}


def test_one_blas_thread_where_numpy_is_loaded_already():
    pytest.importorskip("scipy.linalg")  # the libraries of both are to be there before
    with threadpool_limits(2, user_api="blas"):
        assert blas_threads() == {2}
        with one_blas_thread():
            assert blas_threads() == {1}
        assert blas_threads() == {2}


@pytest.mark.parametrize("was_on", [True, False])
def test_garbage_is_looked_for_again_after_loading(monkeypatch, was_on):
    monkeypatch.setattr(gc, "freeze", lambda: None)
    (gc.enable if was_on else gc.disable)()
    try:
        with without_collections():
            assert not gc.isenabled()
        assert gc.isenabled() == was_on
    finally:
        gc.enable()


PAGES = """
import resource, sys
import numpy as np
from hyper_py.running.process_settings import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
for round in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        several = [np.ones(500_000) for _ in range(5)]
        del several
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc fetches it again")
@pytest.mark.parametrize("more", [{}, {"MALLOC_TRIM_THRESHOLD_": "65536"}])
def test_freed_memory_is_kept(more):
    """Workers of dask have that variable: arrays were fetched page by page, for as long as the work took."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")} | more
    returned, kept = (
        int(subprocess.check_output([sys.executable, "-c", PAGES, how], env=environment))
        for how in ("returned", "kept")
    )
    assert kept < 0.1 * returned
