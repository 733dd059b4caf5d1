"""How a catalogue is held against the right answer of a map."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.table import QTable, Table

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from maps_by_others.answers import white_significance
from maps_by_others.expected import Answer, Source, judge, read_expected

SOURCES = (
    Source(x=10.0, y=10.0, peak=2e-3, peak_tolerance=0.2),
    Source(x=30.0, y=10.0, flux=4e-3, flux_tolerance=0.1),
)


def catalogue(tmp_path: Path, rows: list[tuple[float, ...]]) -> Table:
    """Rows of x, y, peak (mJy/beam), flux and its error (mJy), read from a file as the benchmark does."""
    columns = np.array(rows, dtype=float).reshape(-1, 5).T
    table = QTable(dict(zip(("X", "Y", "FLUX_PEAK", "FLUX", "FLUX_ERR"), columns, strict=True)))
    for name, unit in (("FLUX_PEAK", "mJy / beam"), ("FLUX", "mJy"), ("FLUX_ERR", "mJy")):
        table[name].unit = unit
    table.write(tmp_path / "rows.ecsv", overwrite=True)
    return Table.read(tmp_path / "rows.ecsv")


@pytest.mark.parametrize(
    ("rows", "found", "extra", "no_measurement", "words"),
    [
        ([(10, 10.5, 2.1, 3, 0.1), (30, 10, 9, 4.2, 0.1)], 2, 0, 0, []),
        ([(10, 10.5, 2.5, 3, 0.1), (30, 10, 9, 4.2, 0.1)], 1, 0, 0, ["peak x 1.25"]),
        ([(10, 10, 2, 3, 0.1), (30, 10, 9, 4.6, 0.1)], 1, 0, 0, ["flux x 1.15"]),
        ([(10, 10, 2, 3, 0.1)], 1, 0, 0, ["(30, 10) missed"]),
        ([(10, 10, 2, 3, 0.1), (30, 10, 9, 4, 0.1), (50, 52, 1, 1, 0.1)], 2, 0, 0, []),
        ([(10, 10, 2, 3, 0.1), (30, 10, 9, 4, 0.1), (70, 5, 1, 1, 0.1)], 2, 1, 0, ["1 extra rows"]),
        ([(10, 10, 2, 3, 0.1), (30, 10, 9, 4, 2.1), (50, 52, 0, 1, 0.1)], 2, 0, 2, ["2 rows that are no"]),
        ([], 0, 0, 0, ["(10, 10) missed", "(30, 10) missed"]),
    ],
)
def test_rows_are_found_extra_or_no_measurement(
    tmp_path: Path,
    rows: list[tuple[float, ...]],
    found: int,
    extra: int,
    no_measurement: int,
    words: list[str],
) -> None:
    answer = Answer(
        name="one",
        path=tmp_path,
        sources=SOURCES,
        allowed=((50.0, 50.0, 3.0),),
        match_radius=1.5,
        max_extra=0,
    )
    verdict = judge(catalogue(tmp_path, rows), answer)
    assert (verdict.found, verdict.extra, verdict.no_measurement) == (found, extra, no_measurement)
    assert len(verdict.wrong) == len(words)
    assert all(any(word in text for text in verdict.wrong) for word in words)


def test_the_nearest_row_counts_and_others_beside_it_are_not_extra(tmp_path: Path) -> None:
    rows = [(10, 11, 20, 3, 0.1), (10, 10.2, 2, 3, 0.1)]
    answer = Answer(name="one", path=tmp_path, sources=SOURCES[:1], match_radius=1.5, max_extra=0)
    assert not judge(catalogue(tmp_path, rows), answer).wrong


def test_answers_are_read_from_their_file(tmp_path: Path) -> None:
    one = {
        "name": "a", "file": "a.fits", "options": ["units.bunit=Jy/beam"], "match_radius_px": 1.0,
        "sources": [[1.5, 2.5, 0.1, 0.2]], "fluxes": [[1.5, 2.5, 0.3, 0.4]], "allowed": [[5, 6, 7]],
        "artefacts": [], "max_extra_rows": 2,
    }  # fmt: skip
    (tmp_path / "expected.json").write_text(json.dumps({"rules": [], "maps": [one]}))
    (answer,) = read_expected(tmp_path)
    assert answer.sources == (
        Source(x=1.5, y=2.5, peak=0.1, peak_tolerance=0.2, flux=0.3, flux_tolerance=0.4),
    )
    assert (answer.path, answer.allowed, answer.max_extra) == (tmp_path / "a.fits", ((5, 6, 7),), 2)


def test_significance_is_that_of_the_sum_of_the_squared_profile() -> None:
    y, x = np.mgrid[-20:21, -20:21]
    profile = np.exp(-4 * np.log(2) * (x**2 + y**2) / 5.0**2)
    assert white_significance(np.array([3.0]), 5.0)[0] == pytest.approx(3.0 * np.sqrt(np.sum(profile**2)))
