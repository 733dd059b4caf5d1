"""The examples in docstrings are run, and every public function has one."""

import doctest
import importlib
import inspect
import warnings
from pathlib import Path

import pytest

import hyper_py

PACKAGE = Path(hyper_py.__file__).parent
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    for path in PACKAGE.rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
FUNCTIONS = [name for name in hyper_py.__all__ if inspect.isfunction(getattr(hyper_py, name))]
CLASSES = [name for name in hyper_py.__all__ if inspect.isclass(getattr(hyper_py, name))]
METHODS = [
    "plane", "plot", "plot_source", "report", "segmentation_image", "to_nddata", "to_pandas", "write",
]  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    shown: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for test in doctest.DocTestFinder(exclude_empty=True).find(module):
            runner.run(test, out=shown.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(shown)
    assert runner.tries > 0


@pytest.mark.parametrize("name", [*FUNCTIONS, *CLASSES])
def test_public_functions_and_classes_have_an_example(name):
    assert ">>> " in (getattr(hyper_py, name).__doc__ or "")


@pytest.mark.parametrize("name", METHODS)
def test_methods_of_an_extraction_have_an_example(name):
    assert ">>> " in (getattr(hyper_py.Extraction, name).__doc__ or "")
