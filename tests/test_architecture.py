import ast
import importlib
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "hyper_py"
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    for path in PACKAGE.rglob("*.py")
    if not path.stem.startswith("__")
)

OWNERS = {
    "yaml": {"config"},
    "astropy.io": {"reading", "writing", "reporting.fits_products", "reporting.noise_products"},
    "matplotlib": {
        "reporting",
        "pipeline.results",
        "pipeline.bands_results",
        "image",
        "injection.completeness",
        "validation.validation",
    },
    "jinja2": {"reporting.pages"},
    "typer": {"cli", "commands"},
    "rich": {"commands"},
}
"""The packages and modules that may import a library."""


@cache
def imported(path: Path) -> tuple[str, ...]:
    """Every name that a file imports, at its top or inside functions, with the names taken from modules."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return tuple(names)


def test_layers() -> None:
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "-c", command, "--no-cache"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("library", OWNERS)
def test_libraries_stay_in_their_packages(library: str) -> None:
    for path in PACKAGE.rglob("*.py"):
        if any(f"{name}.".startswith(f"{library}.") for name in imported(path)):
            user = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
            assert any(f"{user}.".startswith(f"{owner}.") for owner in OWNERS[library]), user


@pytest.mark.parametrize("module", MODULES)
def test_every_module_has_tests_of_its_own(module: str) -> None:
    own = f"hyper_py.{module}"
    tests = [path for path in (ROOT / "tests").rglob("test_*.py") if path.stem != "test_architecture"]
    assert any(f"{name}.".startswith(f"{own}.") for path in tests for name in imported(path)), own


def test_modules_named_in_the_method_exist() -> None:
    text = (ROOT / "docs" / "explanation" / "algorithm.md").read_text(encoding="utf-8")
    packages = {path.name for path in PACKAGE.iterdir() if path.is_dir()}
    names = {name for name in re.findall(r"`([a-z_.]+)`", text) if name.split(".")[0] in packages}
    assert len(names) > 20
    for name in names - {"detection.sigma_thres"}:
        assert (PACKAGE / name.replace(".", "/")).is_dir() or name in MODULES, name


@pytest.mark.parametrize("module", MODULES)
def test_modules_say_what_they_are_for(module: str) -> None:
    assert importlib.import_module(f"hyper_py.{module}").__doc__
