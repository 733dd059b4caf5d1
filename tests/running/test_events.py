"""What the log says of each event, and the exit status."""

from pathlib import Path

import pytest

from hyper_py.running.events import (
    MapFailed,
    MapFinished,
    MapStarted,
    Progress,
    RunFinished,
    RunResult,
    RunStarted,
    describe_event,
)
from hyper_py.running.tasks import MapResult


def result(status, **facts):
    return MapResult(index=0, name="m", path=Path("m.fits"), status=status, **facts)


def run_of(*statuses, interrupted=False):
    maps = tuple(result(status, n_sources=2 * (status in ("done", "resumed"))) for status in statuses)
    return RunResult(maps=maps, root=Path("out"), interrupted=interrupted, seconds=1.5)


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        (["done", "resumed"], 0),
        (["done", "failed"], 1),
        (["done", "pending"], 1),
        (["failed"], 1),
    ],
)
def test_exit_status_is_1_if_anything_is_missing(statuses, code):
    assert run_of(*statuses).exit_code == code
    assert run_of(*statuses).n_sources == 2 * sum(status in ("done", "resumed") for status in statuses)


def test_every_event_is_one_plain_line():
    progress = Progress(n_done=3, n_failed=1, n_total=8, rate=0.5, seconds_left=8.0)
    done = result("done", n_sources=5, rms=0.0123456, unit="mJy/beam", seconds=1.234, warnings=("odd",))
    events = {
        RunStarted(
            n_maps=8, n_resumed=2, executor="serial", n_workers=1, root=Path("out")
        ): "8 maps, 2 of them",
        MapStarted(index=0, name="m"): "m: started",
        MapStarted(index=0, name="m", attempt=2): "m: started once more: its worker died",
        MapFinished(result=done, progress=progress): (
            "m: 5 sources, rms 0.01235 mJy/beam, 1.23 s (4 of 8, 0.5 maps/s, 8 s left); warning: odd"
        ),
        MapFailed(result=result("failed", reason="no beam"), progress=progress): "failed: m: no beam (4 of 8",
        RunFinished(result=run_of("done", "failed")): "finished: 1 of 2 maps complete, 1 failed",
        RunFinished(result=run_of("done", "pending", interrupted=True)): "with --resume goes on from here",
    }
    for event, text in events.items():
        assert text in describe_event(event)
        assert "\n" not in describe_event(event)
