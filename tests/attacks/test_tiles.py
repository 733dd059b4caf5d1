"""What a killed run has left of a large map, written by somebody else: it helps, or the map is done anew."""

import json
import os
import struct
import zlib

import numpy as np
import pytest

from helpers.attacks import device, directory, flip, gone, pipe, truncate, zeros
from helpers.runner_tasks import make_config
from hyper_py.numerics import journal as module
from hyper_py.numerics.journal import Journal
from hyper_py.numerics.parallel import in_order
from hyper_py.numerics.stored import stored_plane
from hyper_py.numerics.tiles import tiles
from hyper_py.options import Options
from hyper_py.pipeline.extraction import extract_sources
from hyper_py.reading.io import read_image
from hyper_py.running.resumable import forget_journal, resumed
from hyper_py.running.tasks import MapTask
from hyper_py.simulation.simulate import simulate_image
from hyper_py.writing.layout import Layout
from hyper_py.writing.simulated_files import write_simulation

pytestmark = [pytest.mark.attacks, pytest.mark.filterwarnings("ignore")]

SHAPE = (50, 70)
TILES = [*tiles(SHAPE, size=20)]
TEXT = "a thesis" * 10_000


class Killed(BaseException):
    """Ends a run at any place."""


class Program:
    """Work on parts, a plane, and more parts; it may be killed before a part."""

    def __init__(self, last=None):
        self.last, self.done = last, 0

    def first(self, k):
        self.done += 1
        return {"x": np.arange(k, dtype=np.float64), "n": k}

    def make(self, rows, columns):
        self.done += 1
        return np.full((rows.stop - rows.start, columns.stop - columns.start), 1.0 + rows.start)

    def second(self, k):
        if k == self.last:
            raise Killed
        self.done += 1
        return float(self.plane[0 : SHAPE[0], k : k + 1].sum())

    def __call__(self):
        first = list(in_order(self.first, range(5)))
        self.plane = stored_plane(SHAPE, np.float64, make=self.make, tiles=TILES)
        second = list(in_order(self.second, range(6)))
        return sum(one["x"].sum() + one["n"] for one in first), second


N_PARTS = 5 + len(TILES) + 6


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("map") / "sky.fits"
    write_simulation(path, simulate_image("deep", seed=7, shape=(220, 260), n_sources=40))
    return path


@pytest.fixture
def task(path, tmp_path, monkeypatch):
    """A task with what its killed run has left; a thesis that belongs to somebody else."""
    task = MapTask(index=0, name="sky", path=path, config=make_config(tmp_path / "out"))
    # As after SIGKILL: nothing is tidied up.
    with monkeypatch.context() as killed:
        killed.setattr(Journal, "drop", lambda *_: None)
        with pytest.raises(Killed):
            resumed(task, Program(last=3))
    (tmp_path / "thesis.txt").write_text(TEXT)
    (tmp_path / "theses").mkdir()
    (tmp_path / "theses/journal").write_text(TEXT)
    (tmp_path / "theses/plane_1").write_text(TEXT)
    return task


def folder(task):
    return Layout.from_config(task.config).journal(task.name)


def holds_after(task, tmp_path):
    """Whether the result is right, everything else is as it was, and nothing is left."""
    program = Program()
    assert resumed(task, program) == Program()()
    forget_journal(Layout.from_config(task.config), task.name)
    assert not os.path.lexists(folder(task))
    for name in ("thesis.txt", "theses/journal", "theses/plane_1"):
        assert (tmp_path / name).read_text() == TEXT
    assert sorted(path.name for path in (tmp_path / "theses").iterdir()) == ["journal", "plane_1"]
    return program.done


def test_what_is_whole_is_used(task, tmp_path):
    assert holds_after(task, tmp_path) == 3


def scribble(path, rng):
    path.write_bytes(rng.bytes(int(rng.integers(1, 5000))))


def more(path, rng):
    path.write_bytes(path.read_bytes() + rng.bytes(1000))


def endless(path, _):
    with path.open("r+b") as stream:
        stream.truncate(2**40)  # a sparse file


def link(path, _):
    path.unlink()
    path.symlink_to(path.parents[3] / "thesis.txt")


def hard_link(path, _):
    path.unlink()
    os.link(path.parents[3] / "thesis.txt", path)


def circle(path, _):
    path.unlink()
    path.symlink_to(path)


DAMAGES = (
    truncate, zeros, flip, scribble, more, endless, pipe, link, hard_link, circle, device, directory, gone,
)  # fmt: skip


@pytest.mark.parametrize("name", ["journal", "plane_1"])
@pytest.mark.parametrize("attack", DAMAGES)
def test_a_damaged_or_exchanged_file_costs_time_only(task, tmp_path, rng, attack, name):
    attack(folder(task) / name, rng)
    assert holds_after(task, tmp_path) <= N_PARTS


@pytest.mark.parametrize("what", ["link", "circle", "file", "pipe", "nowhere"])
def test_what_stands_in_place_of_the_directory_is_replaced(task, tmp_path, what):
    place = folder(task)
    place.rename(tmp_path / "moved")
    match what:
        case "link":
            place.symlink_to(tmp_path / "theses")
        case "circle":
            place.symlink_to(place)
        case "nowhere":
            place.symlink_to(tmp_path / "nowhere")
        case "file":
            place.write_text("x")
        case "pipe":
            os.mkfifo(place)
    holds_after(task, tmp_path)
    assert not (tmp_path / "nowhere").exists()


def record(work, part, text):
    checksum = zlib.crc32(text, zlib.crc32(struct.pack("<II", work, part)))
    return module._HEADER.pack(len(text), checksum, work, part) + text


def tree(*node):
    text = json.dumps(["tuple", node[0], ["list", *node[1:]]]).encode()
    return struct.pack("<Q", len(text)) + text


FORGED = {
    "another type": record(0, 1, tree("text")),
    "without a key": record(0, 1, tree(["dict", "n", 1])),
    "code": record(0, 1, tree(["object", "hyper_py.numerics.tiles", "np.f2py.subprocess.Popen", ["dict"]])),
    "pickle": record(0, 1, b"cos\nsystem\n(S'touch pwned'\ntR."),
    "a memo without end": record(0, 1, b"\x80\x04Nr\xff\xff\xff\x7f."),
    "warnings": record(0, 1, tree(1, ["tuple", "a", ["class", "builtins", "UserWarning"], "b", "c"])),
    "work that was not begun": record(10**6, 0, tree(1)),
    "plane that was not begun": record(10**6, module._DROPPED, b""),
    "plane that is needed": record(1, module._DROPPED, b""),
    "bytes that are no text": record(3, module._BEGUN, b"\xff\xfe"),
    "another key": record(0, module._KEY, b"x"),
    "part without end": record(0, 2**32 - 10, tree(1)),
    "length without end": module._HEADER.pack(2**63, 0, 0, 0),
}


@pytest.mark.parametrize("name", FORGED)
@pytest.mark.parametrize("first", [True, False])
def test_records_of_somebody_else_that_are_whole_help_or_the_map_is_done_anew(
    task, tmp_path, monkeypatch, name, first
):
    """The last record of a part counts: a forged one stands after all others, or alone behind the key."""
    monkeypatch.chdir(tmp_path)
    file = folder(task) / "journal"
    text = file.read_bytes()
    if first:
        place, records = 0, []
        while place < len(text):
            end = place + module._HEADER.size + module._HEADER.unpack_from(text, place)[0]
            records.append(text[place:end])
            place = end
        text = b"".join(records[:2])
    file.write_bytes(text + FORGED[name])
    holds_after(task, tmp_path)
    assert not (tmp_path / "pwned").exists()


def test_another_maps_journal_is_not_used(task, tmp_path, monkeypatch):
    config = make_config(tmp_path / "out", detection={"sigma_thres": 7.0})
    for other in (
        MapTask(index=0, name="sky", path=task.path, config=config, depends={"the program": "another"}),
        MapTask(index=0, name="sky", path=tmp_path / "thesis.txt", config=config),
    ):
        done = []

        def counted():
            return list(in_order(lambda k: done.append(k) or k, range(5)))  # noqa: B023

        resumed(other, counted)
        assert done == [0, 1, 2, 3, 4]
    holds_after(task, tmp_path)


def catalogue(task, *, last=None):
    """Extract sources with a journal, killed when it has so many records; return them and the catalogue."""
    n, write = 0, Journal._write

    def counted(self, work, part, text):
        nonlocal n
        if last is not None and n >= last:
            if text:  # what is raised where a plane is dropped is not heard
                self.close()
                raise Killed
            return
        write(self, work, part, text)
        n += bool(text)

    image = read_image(task.path, max_memory=1e5)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Journal, "_write", counted)
        try:
            table = resumed(task, lambda: extract_sources(image, options=Options(tile_size_pix=128))).catalog
        except Killed:
            return n, b""
    return n, b"".join(np.asarray(getattr(c, "value", c)).tobytes() for c in table.itercols())


@pytest.mark.slow
@pytest.mark.parametrize("attack", [truncate, flip, scribble, zeros])
def test_the_catalogue_of_a_real_map_is_the_same_whatever_is_damaged(path, tmp_path, rng, attack):
    def task(name):
        return MapTask(index=0, name="sky", path=path, config=make_config(tmp_path / name))

    n_records, whole = catalogue(task("whole"))
    assert n_records > 200
    for share in rng.uniform(0.1, 0.95, 2):
        one = task(f"{share}")
        assert catalogue(one, last=int(share * n_records)) == (int(share * n_records), b"")
        files = sorted(folder(one).iterdir())
        for file in [folder(one) / "journal", *rng.choice(files, min(2, len(files)), replace=False)]:
            if file.stat().st_size:
                attack(file, rng)
        assert catalogue(one)[1] == whole
