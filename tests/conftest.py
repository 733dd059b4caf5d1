"""One thread for linear algebra, the seeds of random tests, and the smoke tests.

A random test takes `random_seed` (an int) or `rng` (a generator made from it), or is a test of hypothesis.
By default all of them repeat themselves: the seed is 1, or those of the mark `seeds`, and hypothesis
derives its examples from the test. `pytest -m fresh` runs these tests, and no others, with a seed that
is drawn and printed; HYPER_PY_SEED sets it, to run a failure again.

`pytest -m smoke` runs the few modules that tell whether the versions of other packages will do.
"""

import os
import secrets
import signal
import warnings
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    # Set before NumPy is loaded: pytest-xdist fills the cores.
    os.environ.setdefault(name, "1")

# Ctrl-C is ignored in what a script starts in the background, SIGHUP by nohup: here, and in all children.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

import numpy as np
import pytest
from hypothesis import settings

TESTS = Path(__file__).parent
SMOKE = (
    "commands/test_demo.py",
    "commands/test_inspect.py",
    "commands/test_simulate.py",
    "commands/test_validate.py",
    "config/test_config.py",
    "numerics/test_solvers.py",
    "reading/test_areas.py",
    "reading/test_cube_region.py",
    "reading/test_streamed.py",
    "reporting/test_figures.py",
    "reporting/test_map_figure.py",
    "reporting/test_noise_products.py",
    "reporting/test_report_data.py",
    "running/test_executors.py",
    "running/test_process_settings.py",
    "test_image.py",
    "validation/test_matching.py",
    "writing/test_sky_regions.py",
    "writing/test_tables.py",
    "writing/test_text_tables.py",
)
"""Marked `smoke`: where other packages are used the most, within a minute."""
FIXED_SEEDS = (1,)
VARIABLE = "HYPER_PY_SEED"

settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True)
settings.register_profile("fresh", derandomize=False, deadline=None, print_blob=True)


def is_fresh(config):
    return "fresh" in config.getoption("markexpr").replace("not fresh", "")


def pytest_configure(config):
    settings.load_profile("fresh" if is_fresh(config) else "ci")
    if is_fresh(config):
        # Workers of pytest-xdist inherit it.
        os.environ.setdefault(VARIABLE, str(secrets.randbelow(2**31)))


def pytest_report_header(config):
    return f"random tests: {VARIABLE}={os.environ[VARIABLE]}" if is_fresh(config) else None


def pytest_generate_tests(metafunc):
    if "random_seed" in metafunc.fixturenames:
        mark = metafunc.definition.get_closest_marker("seeds")
        seeds = mark.args if mark else FIXED_SEEDS
        if is_fresh(metafunc.config):
            seeds = (int(os.environ[VARIABLE]),)
        names = [f"seed={seed}" for seed in seeds]
        metafunc.parametrize("random_seed", seeds, ids=names, indirect=True, scope="module")


def pytest_ignore_collect(collection_path, config):
    """Leave other modules alone in a smoke run: what they import need not be installed."""
    others = collection_path.suffix == ".py" and collection_path not in {TESTS / name for name in SMOKE}
    return True if others and config.getoption("markexpr") == "smoke" else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    if missing := [name for name in SMOKE if not (TESTS / name).is_file()]:
        raise pytest.UsageError(f"{__file__}: SMOKE names files that are not there: {', '.join(missing)}")
    smoke = {TESTS / name for name in SMOKE}
    for item in items:
        if item.path in smoke:
            item.add_marker("smoke")
        test = getattr(item, "obj", None)
        if "random_seed" in getattr(item, "fixturenames", ()) or getattr(test, "is_hypothesis_test", False):
            item.add_marker("fresh")


@pytest.fixture(scope="module")
def random_seed(request):
    """The seed of a random test, an int; it is part of the test's name."""
    return request.param


@pytest.fixture
def rng(random_seed):
    """A random generator made from `random_seed`, new for each test."""
    return np.random.default_rng(random_seed)


@pytest.fixture
def hyper(tmp_path, monkeypatch, capsys):
    """The program in an empty directory and home: arguments in; exit status, stdout and stderr out."""
    from hyper_py import cli

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)

    def call(*arguments):
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        shown = capsys.readouterr()
        return int(ended.value.code or 0), shown.out, shown.err

    with warnings.catch_warnings():  # puts back how warnings are shown, which the program changes
        warnings.simplefilter("default")
        yield call


@pytest.fixture
def notes(monkeypatch):
    """What the command line asks a runner for that runs nothing."""
    from helpers.noted_runs import Notes, install

    noted = Notes()
    install(noted, monkeypatch)
    return noted
