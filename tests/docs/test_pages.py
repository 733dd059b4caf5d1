"""What the documentation must hold, without building it: columns, flags, names, files that pages link to."""

import importlib
import re
from pathlib import Path
from types import ModuleType

import pytest
import typer
import yaml

import hyper_py
from hyper_py.catalog import COLUMNS
from hyper_py.cli import app
from hyper_py.config import reference_table
from hyper_py.diagnostics import Flag
from hyper_py.reading.surveys import PRESETS

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(
    path for path in DOCS.rglob("*.md") if not {"generated", "_build"} & {*path.relative_to(DOCS).parts}
)
IMPORT = re.compile(r"^(?:>>> )?from (hyper_py[\w.]*) import (\w[\w, ]*)$", re.MULTILINE)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?![a-z]+:)([^)#\s]*)(?:#[^)]*)?\)")
KEY = re.compile(
    r"`((?:detection|photometry|fit_options|background|cube|survey|units|io|control|outputs|bands)\.[a-zA-Z_]+)"
)


def text_of(name):
    return (DOCS / name).read_text(encoding="utf-8")


def paragraphs(page):
    """Return the text below each heading that is a code word."""
    parts = re.split(r"^### `(\w+)`\n", text_of(page), flags=re.MULTILINE)
    return dict(
        zip(parts[1::2], (re.split(r"^##", part, flags=re.MULTILINE)[0] for part in parts[2::2]), strict=True)
    )


@pytest.mark.parametrize("name", [column.name for column in COLUMNS])
def test_every_column_has_a_paragraph(name):
    assert len(paragraphs("reference/catalogue.md")[name].split()) >= 3


def test_paragraphs_are_of_columns():
    assert {*paragraphs("reference/catalogue.md")} <= {column.name for column in COLUMNS}


@pytest.mark.parametrize("flag", [flag.name for flag in Flag])
def test_every_flag_has_cause_and_remedy(flag):
    text = paragraphs("reference/flags.md")[flag]
    assert "**Cause.**" in text
    assert "**Remedy.**" in text


def test_public_names_are_in_the_reference():
    pages = "\n".join(path.read_text(encoding="utf-8") for path in (DOCS / "reference" / "api").glob("*.md"))
    documented = {
        name.rpartition(".")[2] for name in re.findall(r"^\.\. auto\w+:: (\S+)", pages, re.MULTILINE)
    }
    assert {name for name in hyper_py.__all__ if name != "__version__"} <= documented


def test_documented_names_exist():
    pages = "\n".join(path.read_text(encoding="utf-8") for path in (DOCS / "reference" / "api").glob("*.md"))
    for name in re.findall(r"^\.\. auto\w+:: (\S+)", pages, re.MULTILINE):
        module, _, attribute = name.rpartition(".")
        assert not isinstance(getattr(importlib.import_module(module), attribute), ModuleType)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(DOCS)))
def test_pages_link_to_files_that_are_there(path):
    for target in LINK.findall(path.read_text(encoding="utf-8")):
        assert not target or (path.parent / target).resolve().exists(), target


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(DOCS)))
def test_keys_in_pages_are_keys_of_the_configuration(path):
    known = reference_table()
    modules = {name.name for name in (Path(hyper_py.__file__).parent).glob("*/*.py")}
    for key in KEY.findall(path.read_text(encoding="utf-8")):
        name = key.partition(".")[2]
        assert name in known or f"{name}.py" in modules, key


def test_every_page_is_in_a_toctree():
    listed = set()
    for path in PAGES:
        for block in re.findall(
            r"^```\{toctree\}\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
        ):
            names = (line.strip() for line in block.splitlines() if line.strip() and not line.startswith(":"))
            listed |= {(path.parent / f"{name}.md").resolve() for name in names}
    assert {path.resolve() for path in PAGES} - listed == {(DOCS / "index.md").resolve()}


def test_every_command_is_listed():
    commands = set(typer.main.get_command(app).commands)
    text = text_of("reference/commands.md").partition("## run")[0]
    assert commands == set(re.findall(r"^`hyper-py ([a-z]+)", text, re.MULTILINE))


def test_presets_in_the_how_tos_exist():
    words = re.findall(
        r"survey(?:\.name)?=\"?([a-z0-9-]+)", "\n".join(path.read_text("utf-8") for path in PAGES)
    )
    assert words
    assert {*words} <= {*PRESETS}


def test_examples_of_configuration_are_yaml():
    for path in PAGES:
        for block in re.findall(
            r"^```yaml\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
        ):
            assert yaml.safe_load(block)


@pytest.mark.parametrize(
    "page",
    [path for path in PAGES if IMPORT.search(path.read_text(encoding="utf-8"))],
    ids=lambda path: path.name,
)
def test_what_a_page_imports_is_there(page):
    """Pages are executed when they are built, minutes later; a name that moved is seen here."""
    for module, names in IMPORT.findall(page.read_text(encoding="utf-8")):
        for name in names.split(","):
            assert hasattr(importlib.import_module(module), name.strip()), f"{module} has no {name.strip()}"
