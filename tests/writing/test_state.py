"""A record is data from anybody: checked, good for the files it was written with, and kept in its folder."""

import json
from dataclasses import asdict

import pytest

from helpers.staged_maps import stage_map
from hyper_py.writing.layout import Layout
from hyper_py.writing.state import as_json, files_are_whole, forget_map, parts_of, read_record


def test_files_are_whole_only_as_they_were_written(tmp_path):
    layout = Layout(root=tmp_path)
    stage_map(layout, "m", 3)
    record = read_record(layout, "m")
    assert files_are_whole(layout, record)
    table = tmp_path / "params/params_m.csv"
    text = table.read_bytes()
    table.write_bytes(bytes(len(text)))
    assert not files_are_whole(layout, record)
    table.write_bytes(text)
    assert files_are_whole(layout, record)
    table.unlink()
    assert not files_are_whole(layout, record)
    assert "params/params_m.ecsv" in forget_map(layout, "m")
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []
    assert forget_map(layout, "m") == ()


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000, "\x00", '{"name": "m"}'])
def test_a_damaged_record_is_no_record(tmp_path, text):
    layout = Layout(root=tmp_path)
    (tmp_path / ".hyper_py").mkdir()
    (tmp_path / ".hyper_py/m.json").write_text(text)
    assert read_record(layout, "m") is None
    assert parts_of(layout, "m") == ["m"]


WRONG = [None, 1, -1, 1.5, True, "x", [], [1], {}, {"a": 1}, [["a", "b"]]]


@pytest.mark.parametrize("key", ["name", "checksum", "depends", "n_sources", "files", "columns", "parts"])
def test_a_record_with_a_missing_or_wrong_value_is_no_record(tmp_path, key):
    layout = Layout(root=tmp_path)
    stage_map(layout, "m", 2)
    path = tmp_path / layout.state("m")
    good = type(asdict(read_record(layout, "m"))[key])
    whole = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in whole.items() if name != key}))
    assert read_record(layout, "m") is None
    for value in WRONG:
        path.write_text(json.dumps({**whole, key: value}))
        record = read_record(layout, "m")
        # What is taken has the types that the record promises.
        assert record is None or type(asdict(record)[key]) is good


def test_a_record_of_another_map_is_no_record(tmp_path):
    layout = Layout(root=tmp_path)
    stage_map(layout, "m", 2)
    (tmp_path / layout.state("n")).write_bytes((tmp_path / layout.state("m")).read_bytes())
    assert read_record(layout, "n") is None


def test_paths_in_a_record_do_not_leave_the_folder(tmp_path):
    root = tmp_path / "out"
    layout = Layout(root=root)
    stage_map(layout, "m", 2)
    outside = [tmp_path / "thesis_m.tex", tmp_path / "elsewhere" / "m.txt"]
    inside_but_not_ours = root / "thesis.tex"
    for path in [*outside, inside_but_not_ours]:
        path.parent.mkdir(exist_ok=True)
        path.write_text("a thesis")
    (root / "link").symlink_to(tmp_path / "elsewhere")
    state = root / layout.state("m")
    whole = json.loads(state.read_text())
    hostile = [
        "../thesis_m.tex",
        str(outside[0]),
        "link/m.txt",
        "thesis.tex",
        "params/../../thesis_m.tex",
        "",
    ]
    state.write_text(json.dumps({**whole, "files": {**whole["files"], **dict.fromkeys(hostile, "x")}}))
    assert not files_are_whole(layout, read_record(layout, "m"))
    removed = forget_map(layout, "m")
    assert all(path.read_text() == "a thesis" for path in [*outside, inside_but_not_ours])
    assert set(removed) == {name for name in whole["files"] if not name.startswith(".hyper_py")}


def test_json_has_no_nan_and_no_undecodable_text():
    assert as_json({"a": float("nan"), "b": [float("inf"), 1.5]}).split() == [
        "{", '"a":', "null,", '"b":', "[", "null,", "1.5", "]", "}",
    ]  # fmt: skip
    text = as_json({"path": "m\udcff\n"})
    assert json.loads(text.encode()) == {"path": "m%FF%0A"}
