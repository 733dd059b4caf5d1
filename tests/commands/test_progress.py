"""What is shown of the events of a run."""

import io

import pytest
from rich.console import Console
from rich.progress import Progress

from hyper_py.commands.progress import Shown, clock_text, rate_of_maps
from hyper_py.running import runner
from hyper_py.stages import SHARES


@pytest.mark.parametrize(
    ("per_second", "text"),
    [(None, ""), (0.0, ""), (2.5, "2.5 maps/s"), (0.5, "30 maps/min"), (0.005, "18 maps/h")],
)
def test_rate_has_a_unit_that_suits_it(per_second, text):
    assert rate_of_maps(per_second) == text


@pytest.mark.parametrize(("seconds", "text"), [(-3, "0 s"), (59.4, "59 s"), (65, "1:05"), (7384, "2:03:04")])
def test_time_left_is_short(seconds, text):
    assert clock_text(seconds) == text


def lines(bar):
    return [(task.description, task.fields["doing"], round(task.percentage)) for task in bar.tasks]


def finished(name, n_done):
    result = runner.MapResult(index=0, name=name, path="", status="done")
    counted = runner.Progress(n_done=n_done, n_failed=0, n_total=3, rate=1.0, seconds_left=1.0)
    return runner.MapFinished(result=result, progress=counted)


@pytest.fixture
def bar():
    return Progress(console=Console(file=io.StringIO()), disable=True)


def started(n_maps, n_resumed=0):
    return runner.RunStarted(n_maps=n_maps, n_resumed=n_resumed, executor="serial", n_workers=1, root="")


def test_one_map_has_a_line_that_names_its_stage(bar):
    shown = Shown(bar)
    shown.update(started(1))
    shown.update(runner.MapStarted(index=0, name="m"))
    shown.update(runner.MapAdvanced(index=0, name="m", stage="detection", done=0, total=0))
    assert lines(bar) == [("m", "detection", 3)]
    assert bar.tasks[0].fields["ends"] is None  # too early to tell
    shown.update(runner.MapAdvanced(index=0, name="m", stage="fits", done=120, total=400))
    share = sum(list(SHARES.values())[: list(SHARES).index("fits")])
    assert lines(bar) == [("m", "fits 120 of 400", round(100 * (share + 0.3 * SHARES["fits"])))]
    assert bar.tasks[0].fields["ends"] is not None


def test_many_maps_have_a_line_of_all_and_one_for_each_at_work(bar):
    shown = Shown(bar)
    shown.update(started(3, n_resumed=1))
    for k, name in enumerate(("a", "b")):
        shown.update(runner.MapStarted(index=k, name=name))
    shown.update(runner.MapAdvanced(index=0, name="a", stage="products", done=0, total=0))
    assert [line[0] for line in lines(bar)] == ["maps", "a", "b"]
    assert lines(bar)[0][2] == round(100 * (1 + 0.9) / 3)
    shown.update(finished("a", n_done=2))
    assert [line[0] for line in lines(bar)] == ["maps", "b"]
    assert lines(bar)[0][1].startswith("2 of 3, ")
    shown.update(finished("b", n_done=3))
    assert [(line[0], line[2]) for line in lines(bar)] == [("maps", 100)]


def test_a_cube_counts_its_channels(bar):
    shown = Shown(bar)
    shown.update(started(1))
    shown.update(runner.MapStarted(index=0, name="cube"))
    channel = runner.MapResult(index=0, name="cube_slice_001", path="", status="done")
    shown.update(runner.ChannelFinished(cube="cube", result=channel, n_done=6, n_channels=24))
    assert lines(bar) == [("cube", "channel 6 of 24", 25)]


def test_a_map_that_is_tried_again_has_one_line(bar):
    shown = Shown(bar)
    shown.update(started(1))
    shown.update(runner.MapStarted(index=0, name="m"))
    shown.update(runner.MapStarted(index=0, name="m", attempt=2))
    assert lines(bar) == [("m", "starting", 0)]
