"""A record is good for the same input, configuration and files only."""

import pytest

from helpers.staged_maps import stage_map
from hyper_py.writing.layout import Layout
from hyper_py.writing.state import as_json, forget_map, read_state, state_is_current


def test_a_state_is_current_only_for_the_same_input_configuration_and_files(tmp_path):
    layout = Layout(root=tmp_path)
    stage_map(layout, "m", 3)
    state = read_state(layout, "m")
    assert state_is_current(layout, state, checksum="c", fingerprint="f")
    assert not state_is_current(layout, state, checksum="x", fingerprint="f")
    assert not state_is_current(layout, state, checksum="c", fingerprint="x")
    (tmp_path / "params/params_m.csv").write_text("cut")
    assert not state_is_current(layout, state, checksum="c", fingerprint="f")
    (tmp_path / "params/params_m.csv").unlink()
    assert not state_is_current(layout, state, checksum="c", fingerprint="f")
    assert not state_is_current(layout, {"checksum": "c", "fingerprint": "f"}, checksum="c", fingerprint="f")
    forget_map(layout, "m")
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []
    forget_map(layout, "m")


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_a_damaged_state_is_no_state(tmp_path, text):
    layout = Layout(root=tmp_path)
    (tmp_path / ".hyper_py").mkdir()
    (tmp_path / ".hyper_py/m.json").write_text(text)
    assert read_state(layout, "m") is None


def test_json_has_no_nan():
    assert as_json({"a": float("nan"), "b": [float("inf"), 1.5]}).split() == [
        "{", '"a":', "null,", '"b":', "[", "null,", "1.5", "]", "}",
    ]  # fmt: skip
