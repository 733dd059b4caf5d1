"""Files of one's own: what stands in their place is replaced, and nothing else is touched."""

import os

import pytest

from hyper_py.files import open_own, remove_all


def make(kind, path, other):
    match kind:
        case "link":
            path.symlink_to(other)
        case "hard link":
            os.link(other, path)
        case "circle":
            path.symlink_to(path)
        case "nowhere":
            path.symlink_to(path.with_name("nowhere"))
        case "pipe":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "directory":
            path.mkdir()
            (path / "x").write_text("x")
        case "file":
            path.write_text("mine")


KINDS = ("link", "hard link", "circle", "nowhere", "pipe", "device", "directory", "file", "nothing")


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_ones_own_is_opened_or_made(tmp_path, kind):
    other, path = tmp_path / "other", tmp_path / "own"
    other.write_text("a thesis")
    make(kind, path, other)
    handle = open_own(path)
    assert os.pread(handle, 9, 0) == (b"mine" if kind == "file" else b"")
    os.pwrite(handle, b"x", 0)
    os.close(handle)
    assert path.read_text() == ("xine" if kind == "file" else "x")
    assert not path.is_symlink()
    assert other.read_text() == "a thesis"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["other", "own"]


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_is_named_is_removed(tmp_path, kind):
    other, path = tmp_path / "other", tmp_path / "own"
    other.mkdir()
    (other / "thesis").write_text("a thesis")
    make(kind, path, other / "thesis" if kind == "hard link" else other)
    remove_all(path)
    assert not os.path.lexists(path)
    assert (other / "thesis").read_text() == "a thesis"


def test_a_directory_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        open_own(tmp_path / "nowhere/own")
