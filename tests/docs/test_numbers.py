"""Numbers of the front page are those of a committed page of results."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FINDERS = (ROOT / "benchmarks" / "results" / "finders.md").read_text(encoding="utf-8")
NAMES = {
    "this Hyper-Py": ("this Hyper-Py", "ours on `alma`"),
    "Hyper-Py 1.2.3 (the original)": ("Hyper-Py 1.2.3",),
}
ROW = re.compile(
    r"^\| ([^|]+?) \| (\d[^|]*%) \| (\d[^|]*%) \| ([^|]*%) \| ([^|]*%) \| ([^|]*) \| ([^|]*) \|$",
    re.MULTILINE,
)


def spellings(number):
    """Return the ways in which the results may write a number of the front page."""
    ways = {number}
    if number.endswith("%") and number[0] not in "+-":
        ways.add(f"{float(number[:-1]) / 100:.3f}")
    if re.fullmatch(r"[\d.]+", number):
        ways |= {f"{float(number):.2f}", f"{float(number):.3f}"}
    return ways


def places(name):
    """Return the rows and paragraphs of the results that speak of a finder."""
    names = NAMES.get(name, (re.sub(r" [\d.]+$", "", name),))
    parts = [
        part
        for block in FINDERS.split("\n\n")
        for part in ([block] if "|" not in block else block.splitlines())
    ]
    return [" ".join(part.split()) for part in parts if any(one in part for one in names)]


def rows():
    return [match.groups() for match in ROW.finditer(README)]


def test_there_is_a_table():
    assert len(rows()) >= 6


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_rows_of_the_front_page_are_results(row):
    name, *numbers = row
    matching = [
        place for place in places(name) if all(any(way in place for way in spellings(one)) for one in numbers)
    ]
    assert matching, f"no place of benchmarks/results/finders.md has {numbers} of {name}"
