"""A results folder from somebody else: its state is data, and nothing outside it is touched."""

import json
import os

import numpy as np
import pytest

from helpers.attacks import device, directory, do, flip, gone, pipe, results, truncate, write_maps, zeros
from hyper_py.diagnostics import ConfigurationError
from hyper_py.running.run_store import Store

pytestmark = [pytest.mark.attacks, pytest.mark.filterwarnings("ignore")]

TEXTS = {"a": "sources 1", "b": "sources 2"}


def link(path, _):
    thesis = path.parents[2] / "thesis.txt"
    path.unlink()
    path.symlink_to(thesis)


def archive(path, _):
    with path.open("wb") as stream:
        np.savez(stream, x=np.arange(3.0))


@pytest.mark.parametrize("attack", [truncate, zeros, flip, pipe, link, gone, device])
def test_any_damaged_file_of_a_map_is_noticed_and_made_anew(tmp_path, rng, attack):
    maps = write_maps(tmp_path / "maps", TEXTS)
    (tmp_path / "thesis.txt").write_text("a thesis")
    root = tmp_path / "out"
    do(tmp_path / "fresh", maps)
    do(root, maps)
    whole = results(root)
    files = sorted(name for name in whole if "_b" in name and "Hyper_log" not in name)
    for name in [".hyper_py/b.json", ".hyper_py/b.npy", str(rng.choice(files))]:
        attack(root / name, rng)
        do(root, maps, resume=True)
        assert results(root) == whole == results(tmp_path / "fresh"), name
    assert (tmp_path / "thesis.txt").read_text() == "a thesis"


def test_links_in_place_of_what_a_run_writes_are_not_followed(tmp_path):
    maps = write_maps(tmp_path / "maps", TEXTS)
    root = tmp_path / "out"
    do(root, maps)
    names = sorted(results(root))
    for number, name in enumerate(names):
        thesis = tmp_path / f"thesis{number}.txt"
        thesis.write_text("a thesis")
        (root / name).unlink()
        (root / name).symlink_to(thesis)
    do(root, maps)
    assert {(tmp_path / f"thesis{k}.txt").read_text() for k in range(len(names))} == {"a thesis"}
    do(tmp_path / "fresh", maps)
    assert results(root) == results(tmp_path / "fresh")


@pytest.mark.parametrize("payload", ["pickle", "promise", "object", "columns"])
def test_rows_that_run_code_or_promise_too_much_are_no_rows(tmp_path, payload):
    maps = write_maps(tmp_path / "maps", TEXTS)
    root, mark = tmp_path / "out", tmp_path / "ran"
    do(root, maps)
    whole = results(root)
    rows = root / ".hyper_py/a.npy"

    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(mark),))

    if payload in ("pickle", "object"):
        np.save(rows, np.array([Evil()], dtype=object), allow_pickle=True)
    elif payload == "columns":
        np.save(rows, np.zeros(1, dtype=[("X", "f8")]))
    else:
        text = rows.read_bytes()
        rows.write_bytes(text.replace(b"(1,)", b"(9" + b"9" * 9 + b",)").replace(b" " * 9, b"", 1))
    state = root / ".hyper_py/a.json"
    record = json.loads(state.read_text())
    import hashlib

    # Whoever writes the rows can write their checksum.
    record["files"][".hyper_py/a.npy"] = hashlib.sha256(rows.read_bytes()).hexdigest()
    state.write_text(json.dumps(record))
    do(root, maps, resume=True)
    assert not mark.exists()
    assert results(root) == whole


def test_channels_of_a_hostile_record_are_no_paths(tmp_path):
    maps = write_maps(tmp_path / "maps", TEXTS)
    root = tmp_path / "out"
    do(root, maps)
    (tmp_path / "thesis.json").write_text("a thesis")
    state = root / ".hyper_py/a.json"
    state.write_text(json.dumps({**json.loads(state.read_text()), "parts": ["../../thesis", "/etc/x"]}))
    do(root, maps)
    assert (tmp_path / "thesis.json").read_text() == "a thesis"


def test_another_set_of_keys_says_what_it_removes(tmp_path):
    maps = write_maps(tmp_path / "maps", TEXTS)
    do(tmp_path / "out", maps, outputs={"tables": ["csv", "fits"]})
    result = do(tmp_path / "out", maps, outputs={"tables": ["csv"]})
    gone = {f"params/params_{name}.fits" for name in ("a", "b", "ALL")}
    assert set(result.all_removed) == gone
    assert "removed outputs of an earlier run" in (tmp_path / "out/logs/hyper_py.log").read_text()
    assert do(tmp_path / "out", maps, outputs={"tables": ["csv"]}).all_removed == ()


def test_a_report_that_this_run_does_not_write_is_removed_and_that_is_said(tmp_path):
    maps = write_maps(tmp_path / "maps", TEXTS)
    root = tmp_path / "out"
    (root / "report").mkdir(parents=True)
    (root / "report/index.html").write_text("old numbers")
    assert do(root, maps).all_removed == ("report/index.html",)
    assert not any((root / "report").iterdir())
    (tmp_path / "site").mkdir()
    (tmp_path / "site/index.html").write_text("a thesis")
    (root / "report").rmdir()
    (root / "report").symlink_to(tmp_path / "site")
    assert do(root, maps).all_removed == ()
    assert (tmp_path / "site/index.html").read_text() == "a thesis"


@pytest.mark.parametrize("attack", [truncate, zeros, flip, archive, pipe, link, gone, device, directory])
def test_damaged_runs_of_a_completeness_are_made_again(tmp_path, rng, attack):
    (tmp_path / "thesis.txt").write_text("a thesis")
    directory = tmp_path / "out/runs"
    store = Store(directory=directory, mark="a")
    store.open()
    for name in "xy":
        store.add(name, np.arange(100.0))
    attack(directory / "x.npy", rng)
    again = Store(directory=directory, mark="a", resume=True)
    again.open()
    assert [*again.results] == ["y"]
    (directory / "mark.txt").unlink()
    (directory / "mark.txt").symlink_to(tmp_path / "thesis.txt")
    other = Store(directory=directory, mark="a", resume=True)
    other.open()
    assert not other.results
    assert (tmp_path / "thesis.txt").read_text() == "a thesis"
    (tmp_path / "link").symlink_to(directory)
    with pytest.raises(ConfigurationError, match="a link"):
        Store(directory=tmp_path / "link").open()
