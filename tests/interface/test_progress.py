"""A line for people, a callback for programs."""

import io

import pytest

import hyper_py
from hyper_py.interface.progress import ProgressLine, as_listener
from hyper_py.stages import SHARES


def test_stages_come_in_their_order(sky):
    told = []
    hyper_py.extract_sources(sky.image, progress=lambda *stage: told.append(stage))
    stages = list(dict.fromkeys(stage for stage, _, _ in told))
    known = [stage for stage in SHARES if stage in stages]
    assert [stage for stage in stages if stage in SHARES] == known
    assert {"noise", "detection"} <= {*stages}
    assert all(0 <= done <= total for _, done, total in told)


def test_other_listeners_are_refused(sky):
    with pytest.raises(hyper_py.HyperPyError, match="progress='bar': give True, or a function"):
        hyper_py.extract_sources(sky.image, progress="bar")


def test_true_writes_one_line(sky, capsys):
    hyper_py.extract_sources(sky.image, progress=True)
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert shown.rstrip().splitlines()[-1].split("\r")[-1].startswith("100%")


def test_a_shorter_text_leaves_nothing_of_a_longer_one():
    stream = io.StringIO()
    line = ProgressLine(stream)
    line.finish("something long")
    line.finish("short")
    assert stream.getvalue().split("\r")[-1] == "short" + 9 * " " + "\n"


def test_nobody_is_told():
    assert as_listener(None) is None
    assert as_listener(False) is None
    assert as_listener(print) is print
