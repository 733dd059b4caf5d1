"""The tutorials run as written: the first half hour here, all of them when the docs are built."""

import re
from pathlib import Path

import matplotlib as mpl
import pytest

DOCS = Path(__file__).parents[1] / "docs"
CELL = re.compile(r"^```\{code-cell\} python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FIRST = DOCS / "tutorials" / "first_half_hour.md"


def cells(path):
    return [match[1] for match in CELL.finditer(path.read_text(encoding="utf-8"))]


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """Run all cells as one session, in a folder of its own; names and printed lines are kept."""
    mpl.use("agg")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("first"))
        printed: list[str] = []
        names = {"__name__": "__main__", "print": lambda *words: printed.append(" ".join(map(str, words)))}
        for number, cell in enumerate(cells(FIRST)):
            code = compile(cell, f"cell {number + 1} of {FIRST.name}", "exec")
            exec(code, names)
        names["folder"] = Path.cwd()
        yield names, printed


def test_there_are_cells():
    assert len(cells(FIRST)) > 15


def test_what_it_says_comes_out(session):
    """Nine tenths of the sources are found, all ways agree, and nothing was found that is not there."""
    names, _ = session
    result = names["hyper_py"].validate(names["extraction"], names["sky"])
    assert result.completeness.value > 0.8
    assert result.purity.value > 0.95
    assert len(names["same"].catalog) == len(names["extraction"].catalog)
    assert len(names["strict"].catalog) < len(names["extraction"].catalog)
    flux, error = (names["forced"].catalog[name].value for name in ("FLUX", "FLUX_ERR"))
    assert abs(flux[2]) < 5 * error[2]
    assert flux[0] > 5 * error[0]


def test_each_error_on_the_way_names_the_argument_and_the_remedy(session):
    _, printed = session
    text = "\n".join(printed)
    assert re.search("bare: .*set unit= .*set beam=", text)
    assert "unit='MJy/sr': the CCDData is in Jy / beam: leave unit out" in text
    assert "detection.sigma_tres: unknown key; the nearest known key is detection.sigma_thres" in text


def test_its_files_are_there(session):
    names, _ = session
    written = {path.name for path in names["folder"].iterdir()}
    assert {"first_sources.fits", "first_sources.reg", "first.html"} <= written
