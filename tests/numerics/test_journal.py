"""The journal of a map: what is whole in it is used, whatever has happened to the rest."""

import warnings

import numpy as np
import pytest

from hyper_py.diagnostics import HyperPyWarning
from hyper_py.numerics import parallel
from hyper_py.numerics.journal import Journal, UnusableJournalError
from hyper_py.numerics.parallel import in_order, once, recorded_in, workers
from hyper_py.numerics.stored import stored_plane
from hyper_py.numerics.tiles import tiles


@pytest.fixture(autouse=True)
def _always_parallel(monkeypatch):
    monkeypatch.setattr(parallel, "LEAST_SECONDS", 0.0)


SHAPE = (50, 70)
TILES = [*tiles(SHAPE, size=20)]


class Program:
    """Two pieces of work on parts, and a plane between them; it knows which parts it has done itself."""

    def __init__(self):
        self.done = []

    def first(self, k):
        self.done.append(("first", k))
        return np.arange(k, dtype=np.float64)

    def make(self, rows, columns):
        self.done.append(("plane", rows.start, columns.start))
        return np.add.outer(np.arange(rows.start, rows.stop), 1000.0 * np.arange(columns.start, columns.stop))

    def second(self, k):
        self.done.append(("second", k))
        return float(self.plane[0 : SHAPE[0], k : k + 1].sum())

    def __call__(self):
        total = sum(part.sum() for part in in_order(self.first, range(5)))
        self.plane = stored_plane(SHAPE, np.float64, make=self.make, tiles=TILES)
        corner = next(in_order(lambda _: float(self.plane[49:50, 69:70][0, 0]), [None]))
        return total, corner, list(in_order(self.second, range(6)))


def run(directory, *, key="map", n=1):
    """Return the result of a program, and which parts were done for it."""
    program, journal = Program(), Journal(directory, key)
    try:
        with workers(n):
            return recorded_in(journal, program), program.done
    finally:
        journal.close()


def test_nothing_is_done_twice(tmp_path):
    result, done = run(tmp_path)
    assert len(done) == 5 + len(TILES) + 6
    again, nothing = run(tmp_path)
    assert again == result
    assert nothing == []
    assert result[0] == sum(np.arange(k).sum() for k in range(5))
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    assert result[1:] == (49 + 69000.0, [float((y + 1000.0 * x)[:, k].sum()) for k in range(6)])


@pytest.mark.parametrize("n", [1, 2])
def test_of_what_is_done_for_one_result_only_that_is_kept(tmp_path, n):
    done = []

    def largest():
        done.append(len(list(in_order(np.zeros, [300_000] * 4))))
        return float(max(part.max() for part in in_order(np.ones, range(1, 4))))

    results = []
    for _ in range(2):
        journal = Journal(tmp_path, "map")
        with workers(n):
            results.append(recorded_in(journal, lambda: (once(largest), list(in_order(abs, [-1, -2])))))
        journal.close()
    assert results == [(1.0, [1, 2])] * 2
    assert done == [4]
    assert (tmp_path / "journal").stat().st_size < 2000
    assert once(largest) == 1.0  # without a journal


def test_an_error_of_what_is_done_once_is_not_kept(tmp_path):
    def fails():
        raise ValueError("no pixels")

    for _ in range(2):
        journal = Journal(tmp_path, "map")
        with pytest.raises(ValueError, match="no pixels"):
            recorded_in(journal, lambda: once(fails))
        journal.close()


def test_wherever_the_file_ends_the_result_is_the_same(tmp_path):
    """A killed run may leave half a record; what comes before it counts, and it is done again."""
    result, _ = run(tmp_path / "whole")
    text = (tmp_path / "whole" / "journal").read_bytes()
    plane = next((tmp_path / "whole").glob("plane_*"))
    numbers = []
    for end in np.linspace(0, len(text) - 1, 60).astype(int):
        directory = tmp_path / str(end)
        directory.mkdir()
        (directory / "journal").write_bytes(text[:end])
        (directory / plane.name).write_bytes(plane.read_bytes())
        again, done = run(directory, n=1 + end % 2)
        assert again == result
        numbers.append(len(done))
        assert run(directory) == (result, [])
    assert numbers[0] == 5 + len(TILES) + 6
    assert min(numbers) < 3


def test_a_damaged_byte_costs_what_comes_after_it_and_nothing_else(tmp_path):
    result, _ = run(tmp_path)
    file = tmp_path / "journal"
    text = bytearray(file.read_bytes())
    text[len(text) // 3] ^= 1
    file.write_bytes(text)
    again, done = run(tmp_path)
    assert again == result
    assert 0 < len(done) < 5 + len(TILES) + 6


def test_a_tile_that_is_not_as_it_was_written_is_made_again(tmp_path):
    result, _ = run(tmp_path)
    file = next(tmp_path.glob("plane_*"))
    # The end of the first run's second half is cut off, so that the plane is read again.
    journal = (tmp_path / "journal").read_bytes()
    (tmp_path / "journal").write_bytes(journal[: int(0.8 * len(journal))])
    with file.open("r+b") as stream:
        stream.seek(8 * (20 * SHAPE[1] + 25))  # in the tile at row 20, column 0
        stream.write(b"\xff" * 8)
    again, done = run(tmp_path)
    assert again == result
    assert [part for part in done if part[0] == "plane"] == [("plane", 20, 0)]


@pytest.mark.parametrize("change", ["key", "program"])
def test_what_another_map_or_program_has_left_is_not_used(tmp_path, change, monkeypatch):
    result, done = run(tmp_path)
    if change == "key":
        again = run(tmp_path, key="another map")
        assert again == (result, done)
        return
    monkeypatch.setattr(Program, "__call__", lambda self: list(in_order(self.first, range(4))))
    values, own = run(tmp_path)
    assert [value.size for value in values] == [0, 1, 2, 3]
    assert len(own) == 4


def test_a_plane_that_was_not_needed_any_more_says_so(tmp_path):
    run(tmp_path)
    journal = Journal(tmp_path, "map")
    program = Program()
    recorded_in(journal, program)
    number = int(next(tmp_path.glob("plane_*")).name.removeprefix("plane_"))
    del program  # and its plane
    assert not journal.plane(number).exists()
    journal.close()
    text = (tmp_path / "journal").read_bytes()
    program, journal = Program(), Journal(tmp_path, "map")
    assert recorded_in(journal, program) == run(tmp_path / "other")[0]
    with pytest.raises(UnusableJournalError, match="no more need"):
        program.plane[0:2, 0:2]
    journal.close()
    assert (tmp_path / "journal").read_bytes() == text


def test_errors_are_not_kept_and_warnings_are(tmp_path):
    def of_item(k):
        warnings.warn(f"warning {k}", HyperPyWarning, stacklevel=1)
        if k == 2 and not healed:
            raise ValueError("out of order")
        return k

    healed = False

    def program():
        return list(in_order(of_item, range(4)))

    for _ in range(2):
        journal = Journal(tmp_path, "map")
        with pytest.warns(HyperPyWarning) as caught, pytest.raises(ValueError, match="out of order"):
            recorded_in(journal, program)
        assert [str(one.message) for one in caught] == [f"warning {k}" for k in range(3)]
        journal.close()
    healed = True
    for _ in range(2):
        journal = Journal(tmp_path, "map")
        with pytest.warns(HyperPyWarning) as caught:
            assert recorded_in(journal, program) == [0, 1, 2, 3]
        assert [str(one.message) for one in caught] == [f"warning {k}" for k in range(4)]
        journal.close()


class Unknown:
    """A result of a class that the program has no results of."""


def test_what_is_no_result_is_done_again(tmp_path):
    done = []

    def of_item(k):
        done.append(k)
        return Unknown() if k == 1 else k

    for _ in range(2):
        journal = Journal(tmp_path, "map")
        found = recorded_in(journal, lambda: list(in_order(of_item, range(3))))
        assert [one for one in found if one is not found[1]] == [0, 2]
        journal.close()
    assert done == [0, 1, 2, 1]
